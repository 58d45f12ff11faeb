"""Does a face's fine structure survive in a covered picture? Two pictures and a box in, an answer out.

Nothing here knows how the film was covered. A face is exposed when the fine structure of the original (high-pass luma)
survives in a quarter or more of 4x4 cells over the central 80 % of its box.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from bystander.types import F32, U8

GRID = 4
CENTRAL = 0.8
STRUCTURE = 1.5  # least standard deviation of a cell's high-pass luma that counts as fine structure, of 255
# Correlation of high-pass luma above which a cell's structure survived. At 0.7 the faces of films that were only
# encoded again count as exposed, and faces whose true box was covered do not (bench/exposure_check.py has the shares)
ALIKE = 0.7
BLOCK = 16  # px, cells of the picture away from faces
CLEAR = 4.0  # structure that survives any ordinary encoding
CHANGED_BY = 14.0  # mean luma difference of a block, of 255, that no encoding makes


def high_pass(luma: U8) -> F32:
    """(h, w) uint8 -> float32 luma without what is coarser than about 2 px: blocks of a mosaic do not count."""
    y = luma.astype(np.float32)
    return np.asarray(y - cv2.GaussianBlur(y, (0, 0), 1.0), np.float32)


def exposed(original: F32, covered: F32, box: Sequence[float]) -> bool | None:
    """True or False for a face box (px) in two high-pass pictures; None where the original has no fine structure."""
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * (1 - CENTRAL) / 2, (y2 - y1) * (1 - CENTRAL) / 2
    h, w = original.shape
    xs = np.clip(np.linspace(x1 + dx, x2 - dx, GRID + 1).round().astype(int), 0, w)
    ys = np.clip(np.linspace(y1 + dy, y2 - dy, GRID + 1).round().astype(int), 0, h)
    structured = survived = 0
    for r in range(GRID):
        for c in range(GRID):
            a, b = (p[ys[r] : ys[r + 1], xs[c] : xs[c + 1]].ravel() for p in (original, covered))
            if a.size < 4 or a.std() < STRUCTURE:
                continue
            structured += 1
            norm = a.std() * b.std()
            survived += bool(norm > 0 and ((a - a.mean()) * (b - b.mean())).mean() / norm > ALIKE)
    if structured < GRID * GRID / 4:
        return None
    return bool(survived >= GRID * GRID / 4)


def blocks(original: F32, covered: F32, difference: F32) -> tuple[F32, F32, F32]:
    """Of the picture's ``BLOCK`` px blocks, (rows, cols) of 0 or 1 each: changed, foreign, and clear in the original.

    Two high-pass pictures and their absolute difference in luma go in. Foreign: clear structure in both films that is
    not the same structure, as when two different pictures are compared.
    """
    mean_a, mean_b = means(original), means(covered)
    var_a, var_b = means(original * original) - mean_a**2, means(covered * covered) - mean_b**2
    alike = (means(original * covered) - mean_a * mean_b) / np.sqrt(np.maximum(var_a * var_b, 1e-6))
    clear = var_a > CLEAR**2
    changed = (clear & (alike < 0.5)) | (means(difference) > CHANGED_BY)
    foreign = clear & (var_b > var_a / 4) & (alike < 0.3)
    return changed.astype(np.float32), foreign.astype(np.float32), clear.astype(np.float32)


def means(plane: F32) -> F32:
    """(h, w) -> means of whole ``BLOCK`` px blocks; what is left at the right and bottom edge is not looked at."""
    rows, cols = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    inside = np.ascontiguousarray(plane[: rows * BLOCK, : cols * BLOCK])
    return np.asarray(cv2.resize(inside, (cols, rows), interpolation=cv2.INTER_AREA), np.float32).reshape(rows, cols)
