"""Paints regions of a frame so that the face cannot be seen. The only maker of ``CoveredFrame``.

A writable ``Frame`` and ``Region``s go in; the same memory comes out, wrapped. Luma and chroma are covered, chroma for
every sample that a region touches. What is painted depends on few, coarse numbers a region: cell means, quantised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from bystander.errors import SettingsError
from bystander.types import U8, CoveredFrame, Frame, Region

Style = Literal["pixelate", "blur", "solid"]
CELLS = 6  # at most so many cells across the longer side of a region (the face itself spans about 4)
MIN_CELL_PX = 8
LEVELS = 16  # step of the quantised cell means, of 256
NOISE = 6  # amplitude added to blur, so that it cannot be inverted exactly
QUANTISED: U8 = (np.arange(256) // LEVELS * LEVELS + LEVELS // 2).astype(np.uint8)
NEUTRAL = 128
KEPT_MASK_PX = 96 * 96  # smaller ellipses are kept: a crowd needs hundreds of them a frame


@dataclass(frozen=True, slots=True)
class CoverSettings:
    style: Style = "pixelate"

    def __post_init__(self) -> None:
        if self.style not in ("pixelate", "blur", "solid"):
            raise SettingsError(f"style {self.style!r}: choose pixelate, blur or solid")


def cover(frame: Frame, regions: tuple[Region, ...], settings: CoverSettings) -> CoveredFrame:
    """Paint every region into the frame's planes."""
    for r in regions:
        paint(frame.y[r.y1 : r.y2, r.x1 : r.x2], r, settings.style)
        # a chroma sample belongs to 2x2 luma px: the far edge is rounded up for frames of odd size
        half = (slice(r.y1 // 2, -(-r.y2 // 2)), slice(r.x1 // 2, -(-r.x2 // 2)))
        paint(frame.u[half], r, settings.style)
        paint(frame.v[half], r, settings.style)
    return CoveredFrame(frame, regions, whole=False)


def cover_whole(frame: Frame) -> CoveredFrame:
    """Fail-safe: the whole picture becomes one grey."""
    for plane in (frame.y, frame.u, frame.v):
        plane[...] = NEUTRAL
    return CoveredFrame(frame, (), whole=True)


def slate(width: int, height: int, text: str) -> CoveredFrame:
    """A grey card with a line of text, at time 0, for when there is no picture to show."""
    width, height = max(2, width), max(2, height)
    half = (-(-height // 2), -(-width // 2))
    y, u, v = (np.full(shape, NEUTRAL, np.uint8) for shape in ((height, width), half, half))
    covered = cover_whole(Frame(0, 0, Fraction(1, 90_000), 0.0, y, u, v, 0))
    size = width / 640
    (w, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    at = (max(0, (width - w) // 2), height // 2)
    cv2.putText(y, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, 235, max(1, round(2 * size)), cv2.LINE_AA)
    return covered


def at_time(covered: CoveredFrame, time_s: float) -> CoveredFrame:
    """The same covered picture with another time, to be shown again."""
    ticks = round(time_s * 90_000)
    frame = replace(covered.frame, pts=ticks, time_base=Fraction(1, 90_000), time_s=time_s)
    return CoveredFrame(frame, covered.regions, covered.whole)


def paint(patch: U8, region: Region, style: Style) -> None:
    """Cover one plane's patch in place. It may be the luma or the chroma part of the region."""
    h, w = patch.shape
    if style == "solid":
        fill: U8 = np.full((h, w), NEUTRAL, np.uint8)
    else:
        fill = mosaic(patch, blend=style == "blur")
    if region.shape == "box":
        patch[...] = fill
    else:
        np.copyto(patch, fill, where=kept_ellipse(h, w) if h * w <= KEPT_MASK_PX else ellipse(h, w))


def mosaic(patch: U8, *, blend: bool) -> U8:
    """The patch as a grid of cell means anchored to its own corner; blended into each other for the blur style."""
    h, w = patch.shape
    cell = max(MIN_CELL_PX, -(-max(h, w) // CELLS))
    rows, cols = max(1, round(h / cell)), max(1, round(w / cell))
    means = cv2.resize(patch, (cols, rows), interpolation=cv2.INTER_AREA).reshape(rows, cols)
    coarse = QUANTISED[means]
    how = cv2.INTER_LINEAR if blend else cv2.INTER_NEAREST
    big = cv2.resize(coarse, (w, h), interpolation=how).reshape(h, w)
    if blend:
        big = np.clip(big.astype(np.int16) + noise(h, w), 0, 255)
    return np.asarray(big, np.uint8)


@lru_cache(maxsize=32)
def noise(height: int, width: int) -> npt.NDArray[np.int16]:
    return np.random.default_rng(height * 65537 + width).integers(-NOISE, NOISE + 1, (height, width), np.int16)


def ellipse(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Pixels that the ellipse inside the patch touches at any of their corners (outward)."""
    y = np.maximum(np.abs(np.arange(height) + 0.5 - height / 2) - 0.5, 0) / (height / 2)
    x = np.maximum(np.abs(np.arange(width) + 0.5 - width / 2) - 0.5, 0) / (width / 2)
    return np.asarray(y[:, None] ** 2 + x[None, :] ** 2 <= 1)


kept_ellipse = lru_cache(maxsize=1024)(ellipse)
