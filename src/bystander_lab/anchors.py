"""Anchors fitted to faces: k-means over box sides, distance 1 - IoU (Redmon & Farhadi 2016, arXiv:1612.08242)."""

from __future__ import annotations

import numpy as np


def shape_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 2), (k, 2) sides in px -> (n, k) IoU of boxes that share a corner."""
    inter = np.minimum(a[:, None], b[None]).prod(2)
    return inter / (a.prod(1)[:, None] + b.prod(1)[None] - inter)


def fit_anchors(sides: np.ndarray, k: int = 9, rounds: int = 100) -> tuple[np.ndarray, float]:
    """(n, 2) widths and heights in px -> (k, 2) anchors by area, and the mean best IoU. Starts from quantiles."""
    order = sides[np.argsort(sides.prod(1))]
    centres = order[((np.arange(k) + 0.5) / k * len(order)).astype(int)].astype(float)
    for _ in range(rounds):
        nearest = shape_iou(sides, centres).argmax(1)
        new = np.stack([np.median(sides[nearest == i], 0) if (nearest == i).any() else centres[i] for i in range(k)])
        if np.allclose(new, centres):
            break
        centres = new
    return centres[np.argsort(centres.prod(1))], float(shape_iou(sides, centres).max(1).mean())
