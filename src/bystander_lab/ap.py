"""Average precision of face boxes, in numpy. Boxes and truths of many images in, one number out.

Detections sorted by score over all images; each takes the best unused true box of its image with IoU >= 0.5; those that
match only an ignored truth (invalid, or too small for the class) are left out; area under the monotone precision
envelope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bystander import boxes

IOU = 0.5


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image: found (n, 4) with score (n,), true (m, 4) with ignore (m,) bool; px of the same picture."""

    found: np.ndarray
    score: np.ndarray
    true: np.ndarray
    ignore: np.ndarray


def judge(r: ImageResult) -> np.ndarray:
    """(n,) per detection: 1 hit, 0 false alarm, -1 left out."""
    verdict = np.zeros(len(r.score), np.int8)
    overlap = boxes.iou(r.found, r.true)  # (n, m)
    used = np.zeros(len(r.true), bool)
    for i in np.argsort(-r.score, kind="stable"):
        free = np.where(used | r.ignore, 0, overlap[i])
        if len(free) and free.max() >= IOU:
            used[free.argmax()] = True
            verdict[i] = 1
        elif (overlap[i][r.ignore] >= IOU).any():
            verdict[i] = -1
    return verdict


@dataclass(frozen=True, slots=True)
class Ranked:
    """All detections that count, best first: hit (n,) bool and image (n,) index; faces (images,) true ones each."""

    hit: np.ndarray
    image: np.ndarray
    faces: np.ndarray

    def ap(self, weight: np.ndarray | None = None) -> float:
        """AP with image i counted ``weight[i]`` times, once each by default; NaN when there is no true face."""
        w = np.ones(len(self.faces)) if weight is None else weight
        total = float((w * self.faces).sum())
        if not total:
            return float("nan")
        seen = np.cumsum(w[self.image])
        hits = np.cumsum(w[self.image] * self.hit)
        recall = np.concatenate([[0.0], hits / total])
        precision = np.concatenate([[1.0], hits / np.maximum(seen, 1)])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall) * envelope[1:]))


def rank(results: list[ImageResult]) -> Ranked:
    """Judge and sort the detections of all images."""
    faces = np.array([int((~r.ignore).sum()) for r in results], int)
    score = np.concatenate([[], *[r.score for r in results]])
    verdict = np.concatenate([np.zeros(0, np.int8), *[judge(r) for r in results]])
    image = np.repeat(np.arange(len(results)), [len(r.score) for r in results])
    order = np.argsort(-score, kind="stable")
    order = order[verdict[order] >= 0]
    return Ranked(verdict[order] == 1, image[order], faces)


def average_precision(results: list[ImageResult]) -> float:
    """AP over all images; NaN when there is no true face."""
    return rank(results).ap()
