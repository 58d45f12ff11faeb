"""One frame -> the faces in it. Pure but for the model call; safe to use from several threads at once.

Objectness decides whether something is a face, blind to roles; the classes only add evidence for the foreground.
Predictions that make no sense raise ``ModelError``, so that the caller covers the whole frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bystander import boxes
from bystander.errors import ModelError, SettingsError
from bystander.stages.letterbox import letterbox
from bystander.types import F32, Detections, Frame, Model

INTERVIEW = "interview"


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    imgsz: int = 640  # px, long side of the detector's picture
    min_score: float = 0.1  # weaker candidates are not reported; the tracker judges the weak ones
    nms_iou: float = 0.45
    limit: int = 3000  # faces a frame; more than ``FaceFilter`` believes, so that none is left out in silence

    def __post_init__(self) -> None:
        if not 64 <= self.imgsz <= 4096:
            raise SettingsError(f"imgsz {self.imgsz}: must be between 64 and 4096 px")
        if not 0 < self.min_score < 1:
            raise SettingsError(f"min-score {self.min_score}: must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Detector:
    model: Model
    settings: DetectorSettings = DetectorSettings()

    def __call__(self, frame: Frame) -> Detections:
        """Faces in luma px of the frame, best first. ModelError when the model returns nonsense."""
        images, box = letterbox(frame, self.settings.imgsz, self.model.stride)
        rows = self.model(images)
        if rows.ndim != 3 or rows.shape[0] != 1 or rows.shape[2] != 5 + len(self.model.names):
            raise ModelError(f"{self.model.id}: predictions of shape {rows.shape} do not fit {self.model.names}")
        found = decode(rows[0], self.model.names, self.settings)
        height, width = images.shape[2:]
        centre = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
        if ((centre < -self.model.stride) | (centre > np.add((width, height), self.model.stride))).any():
            raise ModelError(f"{self.model.id}: faces outside of the picture")  # so they are somewhere else inside
        xyxy = boxes.clip(box.to_frame(found.xyxy), frame.width, frame.height)
        visible = ((xyxy[:, 2:] - xyxy[:, :2]) >= 1).all(axis=1)
        return Detections(xyxy[visible], found.score[visible], found.foreground[visible])


def decode(rows: F32, names: tuple[str, ...], settings: DetectorSettings) -> Detections:
    """(n, 5 + classes) predictions of one picture -> detections in its own pixels, after suppression."""
    if not np.isfinite(rows).all():
        raise ModelError("the model returned values that are not finite")
    rows = rows[rows[:, 4] >= settings.min_score]
    if (rows[:, 2:4] < 0).any() or (rows[:, 4] > 1.001).any():
        raise ModelError("the model returned boxes or scores out of range")
    half = rows[:, 2:4] / 2
    xyxy = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
    keep = boxes.nms(xyxy, rows[:, 4], settings.nms_iou, settings.limit)
    return Detections(xyxy[keep], np.minimum(rows[keep, 4], 1), evidence(rows[keep, 5:], names))


def evidence(scores: F32, names: tuple[str, ...]) -> F32:
    """(n, classes) -> (n,) for "interview": its score or its share among the classes, whichever is less.

    Little of every class is little evidence. 0 where the model knows no roles.
    """
    if INTERVIEW not in names:
        return np.zeros(len(scores), np.float32)
    mine = scores[:, names.index(INTERVIEW)]
    return np.asarray(np.minimum(mine, mine / np.maximum(scores.sum(axis=1), 1e-6)), np.float32)
