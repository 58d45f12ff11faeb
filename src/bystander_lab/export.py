"""Checkpoint -> ONNX with dynamic height and width, proven equal to the torch model.

The file's input ``images`` is (b, 3, h, w) float32 RGB 0-1, its output ``predictions`` (b, n, 5 + classes), decoded;
its metadata carries what the runtime must know: names and stride.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bystander.models.onnx import OnnxModel
from bystander_lab.model import STRIDES, Conv, YOLOv5, load_checkpoint
from bystander_lab.widerface import DataError

PARITY_SIZES = ((256, 256), (192, 320), (384, 640))  # (h, w)
TOLERANCE_PX = 0.05  # boxes; scores 1e-4


def fuse(model: YOLOv5) -> YOLOv5:
    """A copy in which every batch norm is folded into its convolution: the same function, fewer operations."""
    fused = copy.deepcopy(model).eval()
    for block in [m for m in fused.modules() if isinstance(m, Conv)]:
        block.conv = nn.utils.fusion.fuse_conv_bn_eval(block.conv, block.bn)
        block.bn = nn.Identity()
    return fused


def export(checkpoint: Path, out: Path) -> float:
    """Write ``out`` and its line in ``SHA256SUMS`` beside it; returns the largest box difference to torch in px.

    DataError when the exported model does not agree with the checkpoint.
    """
    import onnx

    model, _ = load_checkpoint(checkpoint)
    part = out.with_suffix(".partial")
    dynamic = {"images": {0: "batch", 2: "height", 3: "width"}, "predictions": {0: "batch", 1: "rows"}}
    with warnings.catch_warnings():
        # torch's newer exporter needs onnxscript, a dependency that this graph of plain operators does not justify
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            fuse(model), (torch.zeros(1, 3, 320, 640),), str(part), input_names=["images"],
            output_names=["predictions"], dynamic_axes=dynamic, opset_version=17, dynamo=False,
        )  # fmt: skip
    graph = onnx.load(str(part))
    for key, value in {"names": json.dumps(model.names), "stride": str(STRIDES[-1])}.items():
        graph.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(part))
    worst = parity(model, part)
    part.replace(out)
    write_sums(out.parent)
    return worst


def parity(model: YOLOv5, path: Path) -> float:
    """Largest difference in px between torch and ONNX Runtime over several sizes. DataError when it is too large."""
    exported = OnnxModel(path, path.read_bytes())
    worst = 0.0
    for h, w in PARITY_SIZES:
        images = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(h))
        with torch.no_grad():
            want = model(images).numpy()
        got = exported(images.numpy())
        difference = np.abs(got - want)
        if difference[..., :4].max() > TOLERANCE_PX or difference[..., 4:].max() > 1e-4:
            raise DataError(f"{path}: differs from the checkpoint by {difference.max():.3g} at {w}x{h}")
        worst = max(worst, float(difference[..., :4].max()))
    return worst


def write_sums(folder: Path) -> None:
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.onnx"))]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
