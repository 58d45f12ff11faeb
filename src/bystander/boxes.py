"""Box arithmetic on plain arrays: ``xyxy`` rows in, numbers or rows out. No state, no I/O.

Boxes are ``x1, y1, x2, y2`` in pixels, half-open, so a width is ``x2 - x1`` and touching boxes do not overlap.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from bystander.types import F32


def area(xyxy: npt.ArrayLike) -> F32:
    """(n, 4) -> (n,) areas in px²; inverted boxes count 0."""
    b = np.asarray(xyxy, np.float32).reshape(-1, 4)
    return np.asarray(np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0), np.float32)


def intersection(a: npt.ArrayLike, b: npt.ArrayLike) -> F32:
    """(n, 4), (m, 4) -> (n, m) shared areas in px²."""
    a = np.asarray(a, np.float32).reshape(-1, 1, 4)
    b = np.asarray(b, np.float32).reshape(1, -1, 4)
    w = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    h = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return np.asarray(np.maximum(w, 0) * np.maximum(h, 0), np.float32)


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> F32:
    """(n, 4), (m, 4) -> (n, m) intersection over union, 0 for empty boxes."""
    inter = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - inter
    return np.asarray(inter / np.maximum(union, 1e-9), np.float32)


def nms(xyxy: npt.ArrayLike, score: npt.ArrayLike, threshold: float, limit: int = 1000) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression: indices kept, best score first, at most ``limit``.

    A box goes when its IoU with a better kept one exceeds ``threshold``. Scores must be above 0.
    """
    b = np.asarray(xyxy, np.float64).reshape(-1, 4)
    if not len(b):
        return np.zeros(0, np.intp)
    xywh = np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(xywh, np.asarray(score, np.float32), 0.0, threshold)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp).reshape(-1)[:limit]


def clip(xyxy: npt.ArrayLike, width: float, height: float) -> F32:
    """(n, 4) -> (n, 4) inside 0..width, 0..height."""
    b = np.asarray(xyxy, np.float32).reshape(-1, 4)
    return np.clip(b, 0, np.array([width, height, width, height], np.float32))


def grow(xyxy: npt.ArrayLike, left: float | F32, top: float | F32, right: float | F32, bottom: float | F32) -> F32:
    """(n, 4) -> (n, 4), each side moved outward by a fraction of the box's own width or height, or by (n,) of them."""
    b = np.asarray(xyxy, np.float32).reshape(-1, 4)
    w, h = b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]
    return np.stack([b[:, 0] - left * w, b[:, 1] - top * h, b[:, 2] + right * w, b[:, 3] + bottom * h], axis=1)


def round_outward(xyxy: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int] | None:
    """The smallest box of even corners that holds ``xyxy``, clipped to the frame; None when nothing is inside.

    Even, because one chroma sample covers 2x2 luma px. The frame's own right and bottom edge may be odd.
    """
    x1, y1, x2, y2 = xyxy
    if not all(math.isfinite(v) for v in xyxy):
        raise ValueError(f"box with a value that is not finite: {xyxy}")
    left, top = max(0, math.floor(x1 / 2) * 2), max(0, math.floor(y1 / 2) * 2)
    right, bottom = min(width, math.ceil(x2 / 2) * 2), min(height, math.ceil(y2 / 2) * 2)
    if right <= left or bottom <= top:
        return None
    return left, top, right, bottom
