"""Is this frame the first of another shot? Frames in order come in, True or False goes out. Frames are only read.

After a cut nobody is who they were. A flash may be taken for a cut (that covers more for a moment); slow dissolves are
not found here: in them the faces themselves come and go.
"""

from __future__ import annotations

import cv2
import numpy as np

from bystander.types import F32, Frame

GRID = (32, 18)  # cells, width and height
STEP = 4  # every fourth pixel each way is enough for cell means
# Mean difference of cells, of the full range, from which it can be a cut. Measured on ten films: cuts between cameras
# of one studio 0.041 and more, between films 0.061 and more; within shots, one of them hand-held, 0.018 at most.
DIFFERENT = 0.03
JUMP = 4.0  # and so many times the usual difference between neighbouring frames
USUAL = 0.2  # share of the newest difference in the usual one


class CutDetector:
    """Stateful over one run: remembers the last frame's thumbnail and how much frames usually differ."""

    def __init__(self) -> None:
        self.last: F32 | None = None
        self.usual = 0.0

    def __call__(self, frame: Frame) -> bool:
        """Whether a cut lies between the frame before and this one; False for the first."""
        now = thumbnail(frame)
        if self.last is None:
            self.last = now
            return False
        difference = float(np.abs(now - self.last).mean())
        self.last = now
        cut = difference > max(DIFFERENT, JUMP * self.usual)
        self.usual += USUAL * (difference - self.usual)
        return cut


def thumbnail(frame: Frame) -> F32:
    """(3, h, w) cell means of Y, U and V, 0-1."""
    steps = (STEP, STEP // 2, STEP // 2) if min(frame.y.shape) >= STEP * max(GRID) else (1, 1, 1)
    planes = (np.ascontiguousarray(p[::k, ::k]) for p, k in zip((frame.y, frame.u, frame.v), steps, strict=True))
    cells = [cv2.resize(p, GRID, interpolation=cv2.INTER_AREA) for p in planes]
    return np.asarray(np.stack(cells), np.float32) / np.float32(255)
