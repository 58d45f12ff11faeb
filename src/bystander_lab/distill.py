"""Learning from a larger detector's answers: objectness as the teacher gives it, boxes where the teacher is sure.

Objectness-scaled distillation (Mehta & Ozturk 2018, arXiv:1805.06361), with the losses of ``loss`` in place of squares.
The teacher sees the very pictures of the student, and its answers need no label.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bystander_lab.explain.rebuild import rebuild
from bystander_lab.loss import BOX_GAIN, LEVEL_BALANCE, OBJ_GAIN, ciou, decode_cells
from bystander_lab.model import FACE, Detect, YOLOv5, open_checkpoint
from bystander_lab.widerface import DataError

SURE = 0.1  # objectness from which the teacher's box is worth learning


def open_teacher(path: Path) -> YOLOv5:
    """A face detector that gives raw heads and learns nothing, from a checkpoint or an exported file.

    DataError when it is none. OSError when missing.
    """
    model = rebuild(path).yolo if path.suffix == ".onnx" else open_checkpoint(path)[0]
    if model.names != FACE:
        raise DataError(f"{path}: tells {', '.join(model.names)}; a teacher must be a face detector")
    model.eval().requires_grad_(False)
    model.model[-1].train()  # raw heads; batch norms as they were trained
    return model


def distillation_loss(heads: list[Tensor], taught: list[Tensor], student: Detect, teacher: Detect) -> Tensor:
    """Raw heads of both, (b, a, h, w, 5 + classes) a level -> the loss summed over the batch."""
    box, obj = (torch.zeros((), device=heads[0].device) for _ in range(2))
    for level, (raw, want) in enumerate(zip(heads, taught, strict=True)):
        p, t = raw.float(), want.float()
        face = t[..., 4].sigmoid()
        obj = obj + LEVEL_BALANCE[level] * F.binary_cross_entropy_with_logits(p[..., 4], face)
        sure = face > SURE
        if sure.any():
            anchor = sure.nonzero()[:, 1]
            fit = ciou(decode_cells(p[sure], student.anchors[level][anchor]),
                       decode_cells(t[sure], teacher.anchors[level][anchor]))  # fmt: skip
            box = box + (face[sure] * (1 - fit)).sum() / face[sure].sum()
    return (box * BOX_GAIN + obj * OBJ_GAIN) * len(heads[0])
