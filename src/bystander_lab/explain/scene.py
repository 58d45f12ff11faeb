"""A picture as the model sees it: the runtime's own letterbox, model and detector, and which row found which face.

``Frame`` in, ``Scene`` out. All boxes of a scene are in px of the detector's picture (upright, padded).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bystander import boxes
from bystander.errors import ModelError
from bystander.models import open_model, read_weights
from bystander.stages.detector import DetectorSettings, decode
from bystander.stages.letterbox import Letterbox, letterbox
from bystander.types import F32, U8, Frame, Model
from bystander_lab.dataset import upright
from bystander_lab.evaluate import FOUND
from bystander_lab.explain.rebuild import Logits, rebuild
from bystander_lab.export import TOLERANCE_PX, TOLERANCE_SCORE


@dataclass(frozen=True, slots=True)
class Opened:
    """One exported file twice: in the runtime, which decides, and in torch, which can be asked why."""

    runtime: Model
    torch: Logits
    imgsz: int = 640  # px, long side of the detector's picture

    @property
    def roles(self) -> bool:
        return "interview" in self.runtime.names


@dataclass(frozen=True, slots=True)
class Face:
    """A face that the runtime found."""

    row: int  # of the model's predictions
    xyxy: F32  # (4,) px of the detector's picture
    score: float  # 0-1, how surely a face
    evidence: float  # 0-1, for "interview", as the runtime's policy gets it
    p: dict[str, float]  # class -> probability

    @property
    def role(self) -> str:
        """What the evidence says; "face" where the model knows no roles."""
        if "interview" not in self.p:
            return "face"
        return "interview" if self.evidence >= 0.5 else "background"


@dataclass(frozen=True, slots=True)
class Scene:
    images: F32  # (1, 3, h, w) RGB 0-1, padded
    inner: tuple[int, int, int, int]  # x1, y1, x2, y2 of the picture inside its padding, px
    picture: U8  # (H, W, 3) RGB, upright, long side at most 1280 px
    faces: tuple[Face, ...]  # from left to right

    def to_picture(self, xyxy: F32) -> F32:
        """A box in px of ``picture``."""
        scale = self.picture.shape[1] / (self.inner[2] - self.inner[0])
        return (xyxy - np.array(self.inner[:2] * 2, np.float32)) * np.float32(scale)

    def from_size(self, xyxy: F32, width: int) -> F32:
        """A box in px of the upright picture at ``width`` px -> px of the detector's picture."""
        scale = (self.inner[2] - self.inner[0]) / width
        return xyxy * np.float32(scale) + np.array(self.inner[:2] * 2, np.float32)


def open_for_explaining(weights: str | Path = "n", imgsz: int = 640) -> Opened:
    """A shipped model by name or an exported ONNX file. ModelError or DataError when it is neither."""
    DetectorSettings(imgsz=imgsz)  # refuses sizes out of range
    return Opened(open_model(weights), rebuild(read_weights(weights).path), imgsz)


def look(opened: Opened, frame: Frame, least: float = FOUND) -> Scene:
    """Find the faces as the runtime does. ModelError when torch and the runtime do not agree on them."""
    images, box = letterbox(frame, opened.imgsz, opened.runtime.stride)
    inner = inside(box)
    found = faces_in(opened, images, inner, least)
    return Scene(images, inner, upright(frame), tuple(sorted(found, key=lambda f: float(f.xyxy[0]))))


def inside(box: Letterbox) -> tuple[int, int, int, int]:
    """Where the picture lies in its padding."""
    turned = box.rotation_deg in (90, 270)
    w, h = (box.height, box.width) if turned else (box.width, box.height)
    return box.pad_left, box.pad_top, box.pad_left + w, box.pad_top + h


def faces_in(opened: Opened, images: F32, inner: tuple[int, int, int, int], least: float = FOUND) -> list[Face]:
    """Faces in a detector's picture, best first."""
    rows = opened.runtime(images)[0]
    found = decode(rows, opened.runtime.names, DetectorSettings(opened.imgsz, least))
    half = rows[:, 2:4] / 2
    every = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
    faces = []
    for xyxy, score, evidence in zip(found.xyxy, found.score, found.foreground, strict=True):
        row = int(np.flatnonzero((every == xyxy).all(1) & (np.minimum(rows[:, 4], 1) == score))[0])
        shown = np.clip(xyxy, np.array(inner[:2] * 2), np.array(inner[2:] * 2)).astype(np.float32)
        if (shown[2:] - shown[:2] < 1).any():
            continue
        p = {name: float(v) for name, v in zip(opened.runtime.names, rows[row, 5:], strict=True)}
        faces.append(Face(row, shown, float(score), float(evidence), p))
    if faces:
        agree(opened, images, rows, [f.row for f in faces])
    return faces


def agree(opened: Opened, images: F32, rows: F32, which: list[int]) -> None:
    """ModelError unless torch predicts these rows as the runtime does: boxes to 0.05 px, scores to 1e-4."""
    mine = opened.torch.predictions(torch.from_numpy(images))[0].numpy()[which]
    apart = np.abs(mine - rows[which])
    if not (apart[:, :4].max() <= TOLERANCE_PX and apart[:, 4:].max() <= TOLERANCE_SCORE):
        raise ModelError(f"{opened.runtime.id}: torch differs from the runtime by {apart.max():.2g}; nothing explained")


def nearest(faces: list[Face] | tuple[Face, ...], xyxy: F32, least: float = 0.5) -> Face | None:
    """The face that overlaps a box most; None where none does by ``least`` IoU."""
    if not faces:
        return None
    overlap = boxes.iou(xyxy, np.stack([f.xyxy for f in faces]))[0]
    return faces[int(overlap.argmax())] if overlap.max() >= least else None
