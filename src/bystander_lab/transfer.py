"""Where training starts from: a checkpoint, or an exported ONNX file whose batch norms were folded away.

An exported file is one of the two products of training, and the only one that is kept for long. ``unfold`` gives its
convolutions new batch norms that compute the same function in evaluation mode, and nearly the same in training mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bystander_lab.model import Conv, YOLOv5, open_checkpoint
from bystander_lab.widerface import DataError


def start_from(model: YOLOv5, path: Path, images: Callable[[], Iterable[Tensor]]) -> None:
    """Copy every tensor of ``path`` whose name and shape fit; the rest (what tells roles) stays new.

    ``images()`` gives training batches (b, 3, h, w) RGB 0-1; they are drawn only for an ONNX file, whose statistics are
    taken anew on them. DataError when ``path`` is of another model.
    """
    folded = path.suffix == ".onnx"
    old = read_onnx(path) if folded else open_checkpoint(path)[1]["ema"]
    own = model.state_dict()
    fits = {k: v for k, v in old.items() if k in own and own[k].shape == v.shape}
    wanted = [k for k in own if k.startswith("model.") and (not folded or k.endswith((".weight", ".bias")))]
    if len(fits) < len(wanted) // 2:
        raise DataError(f"{path}: only {len(fits)} of {len(wanted)} tensors fit; it is the file of another model")
    model.load_state_dict({**own, **fits})
    if folded:
        unfold(model, [b for b in blocks(model) if f"{b[0]}.conv.weight" in fits], images())
    if model.context is not None and not any(k.startswith("context.") for k in fits):
        face = {k: v for k, v in model.model.state_dict().items() if k in model.context.model.state_dict()}
        model.context.model.load_state_dict(face)


def put_below(model: YOLOv5, path: Path) -> None:
    """The face detector of a checkpoint in place of the model's own; what tells roles stays, to be learnt on.

    DataError when ``path`` is of another model.
    """
    own, face = model.state_dict(), open_checkpoint(path)[1]["ema"]
    if any(k not in own or own[k].shape != v.shape for k, v in face.items()):
        raise DataError(f"{path}: is not a face detector of this size")
    model.load_state_dict({**own, **face})


def open_onnx(path: Path) -> Any:
    """The file's graph and metadata. DataError when it is no ONNX file. OSError when missing."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model_from_string(path.read_bytes())
    except DecodeError as e:
        raise DataError(f"{path}: not an ONNX file") from e


def tensors_of(exported: Any) -> dict[str, Tensor]:
    """The tensors of a file that ``export`` wrote, under the names of the folded model's parameters."""
    from onnx import numpy_helper

    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in exported.graph.initializer}
    for node in exported.graph.node:  # the exporter stores equal tensors once and names the others by an identity
        if node.op_type == "Identity" and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]]
    return tensors


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The file's tensors under the names of a checkpoint: a folded bias is the norm's. Errors of ``open_onnx``."""
    return {k.replace(".conv.bias", ".bn.bias"): v for k, v in tensors_of(open_onnx(path)).items()}


def blocks(model: YOLOv5) -> list[tuple[str, Conv]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, Conv)]


@torch.no_grad()
def unfold(model: YOLOv5, folded: list[tuple[str, Conv]], images: Iterable[Tensor]) -> None:
    """Give folded convolutions their batch norms back: outputs of unit variance, the rest in the norm's own weights.

    The blocks hold folded weights, and folded biases in ``bn.bias``. The function stays the same to rounding.
    """
    eps = folded[0][1].bn.eps
    sums = {name: torch.zeros(3, block.bn.num_features, dtype=torch.float64) for name, block in folded}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor], y: Tensor) -> None:
            rows = y.double().transpose(0, 1).flatten(1)  # (channels, values)
            sums[name] += torch.stack((torch.full_like(rows[:, 0], rows.shape[1]), rows.sum(1), rows.square().sum(1)))

        return hook

    for _, block in folded:  # an identity until the statistics are known
        block.bn.weight.fill_(1)
        block.bn.running_mean.zero_()
        block.bn.running_var.fill_(1 - eps)
    hooks = [block.conv.register_forward_hook(watch(name)) for name, block in folded]
    model.eval()
    for x in images:
        model(x)
    for hook in hooks:
        hook.remove()
    for name, block in folded:
        count, total, squares = sums[name]
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(1e-4).sqrt()
        block.bn.bias.add_(mean.float())
        block.bn.weight.copy_(deviation)
        block.conv.weight.div_(deviation.float().view(-1, 1, 1, 1))
        block.bn.running_mean.copy_(mean / deviation)
