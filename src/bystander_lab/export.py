"""Checkpoint -> ONNX with dynamic height and width, proven equal to the torch model.

The file's input ``images`` is (b, 3, h, w) float32 RGB 0-1, its output ``predictions`` (b, n, 5 + classes), decoded;
its metadata carries what the runtime must know (names, stride) and what a reader may ask (imgsz, anchors in px).
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
from bystander_lab.model import STRIDES, Conv, YOLOv5, open_checkpoint
from bystander_lab.widerface import DataError

PARITY_SHAPES = ((1, 256, 256), (2, 192, 320), (1, 384, 640), (1, 640, 352))  # (b, h, w); none is the traced one
TOLERANCE_PX, TOLERANCE_SCORE = 0.05, 1e-4  # boxes; scores and probabilities


def fuse(model: YOLOv5) -> YOLOv5:
    """A copy in which every batch norm is folded into its convolution: the same function, fewer operations."""
    fused = copy.deepcopy(model).eval()
    for block in [m for m in fused.modules() if isinstance(m, Conv)]:
        block.conv = nn.utils.fusion.fuse_conv_bn_eval(block.conv, block.bn)
        block.bn = nn.Identity()
    return fused


def export(checkpoint: Path, out: Path) -> float:
    """Write ``out`` and its line in ``SHA256SUMS`` beside it; returns the largest box difference to torch in px.

    DataError when the checkpoint does not open or the exported model does not agree with it; ``out`` is then as before.
    """
    model, state = open_checkpoint(checkpoint)
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder; make it first")
    part = out.with_suffix(".partial")
    try:
        write_onnx(model, part, {
            "names": json.dumps(model.names), "stride": str(STRIDES[-1]), "imgsz": str(state.get("imgsz", "")),
            "anchors": json.dumps(anchors_px(model)),
        })  # fmt: skip
        worst = parity(model, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    write_sum(out)
    return worst


def anchors_px(model: YOLOv5) -> list[list[list[float]]]:
    """(levels, anchors, 2) widths and heights in input px."""
    strides = torch.tensor(STRIDES).view(-1, 1, 1)
    px = model.model[-1].anchors.cpu() * strides
    return [[[round(side, 2) for side in pair] for pair in level] for level in px.tolist()]


def write_onnx(model: YOLOv5, path: Path, metadata: dict[str, str]) -> None:
    """The fused model with dynamic batch, height and width; checked by ONNX's own checker."""
    import onnx

    dynamic = {"images": {0: "batch", 2: "height", 3: "width"}, "predictions": {0: "batch", 1: "rows"}}
    with warnings.catch_warnings():
        # torch's newer exporter needs onnxscript, a dependency that this graph of plain operators does not justify
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            fuse(model), (torch.zeros(1, 3, 320, 640),), str(path), input_names=["images"],
            output_names=["predictions"], dynamic_axes=dynamic, opset_version=17, dynamo=False,
        )  # fmt: skip
    graph = onnx.load(str(path))
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def parity(model: YOLOv5, path: Path) -> float:
    """Largest difference in px between torch and ONNX Runtime over several sizes. DataError when it is too large."""
    exported = OnnxModel(path, path.read_bytes())
    worst = 0.0
    for b, h, w in PARITY_SHAPES:
        images = torch.rand(b, 3, h, w, generator=torch.Generator().manual_seed(h))
        with torch.no_grad():
            want = model(images).numpy()
        got = exported(images.numpy())
        difference = np.abs(got - want)
        close = difference[..., :4].max() <= TOLERANCE_PX and difference[..., 4:].max() <= TOLERANCE_SCORE
        if not close:  # not "if far": a value that is not a number is far from everything
            raise DataError(f"{path}: differs from the checkpoint by {difference.max():.3g} at {w}x{h}")
        worst = max(worst, float(difference[..., :4].max()))
    return worst


def write_sum(path: Path) -> None:
    """Note the file's SHA-256 in ``SHA256SUMS`` beside it; the lines of other files stay as they are."""
    sums = path.parent / "SHA256SUMS"
    old = sums.read_text(encoding="ascii").splitlines() if sums.exists() else []
    lines = [line for line in old if not line.endswith(f"  {path.name}")]
    lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    sums.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
