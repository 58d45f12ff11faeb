"""Paints regions of a frame so that the face cannot be seen. The only maker of ``CoveredFrame``.

A writable ``Frame`` and ``Region``s go in; the same memory comes out, wrapped. Luma and chroma are covered, chroma for
every sample that a region touches. What is painted depends on few, coarse numbers a region: the means of its cells,
with noise, quantised. The cells belong to the region, so they move with the face, and with a ``Memory`` a track keeps
those it was first covered with: more frames of a face tell no more about it than one. Measured in docs/irreversible.md.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
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
SAFE_CELLS = 6  # of more it is told that they may hide too little
MIN_CELL_PX = 8
LEVELS = 16  # step of the quantised cell means, of 256
NOISE, COLOUR_NOISE = 24, 10  # amplitude, luma and chroma, of what is added to the cell means before they are quantised
QUANTISED: U8 = (np.arange(256) // LEVELS * LEVELS + LEVELS // 2).astype(np.uint8)
NEUTRAL = 128
MAX_CELLS = 16  # the hard minimum of cover
KEPT_CELLS = 3 * 4096  # planes of tracks in memory; whoever was not seen for longest is forgotten first
KEPT_MASK_PX = 96 * 96  # smaller ellipses are kept: a crowd needs hundreds of them a frame


@dataclass(frozen=True, slots=True)
class CoverSettings:
    style: Style = "pixelate"
    cells: int = CELLS  # across the longer side of a region, for pixelate and blur; fewer hide more

    def __post_init__(self) -> None:
        if self.style not in ("pixelate", "blur", "solid"):
            raise SettingsError(f"style {self.style!r}: choose pixelate, blur or solid")
        if not 1 <= self.cells <= MAX_CELLS:
            raise SettingsError(f"cells {self.cells}: must lie between 1 and {MAX_CELLS}; more would show the face")


def weakness(settings: CoverSettings) -> str | None:
    """Why these settings may not hide who somebody is, in a sentence; None where the measurements support them."""
    if settings.style == "solid" or settings.cells <= SAFE_CELLS:
        return None
    return (f"{settings.style} with {settings.cells} cells may not hide who somebody is (docs/irreversible.md); "
            f"choose --cells {SAFE_CELLS} or fewer, or --style solid")  # fmt: skip


@dataclass(slots=True)
class Memory:
    """The cells that each track was first covered with, for one run of frames in order."""

    cells: OrderedDict[tuple[int, str], U8] = field(default_factory=OrderedDict)  # by track id and plane

    def first(self, patch: U8, track_id: int | None, plane: str, most: int) -> U8:
        """The track's cells in this plane; those of the patch where it has none yet, or is no track."""
        amplitude = NOISE if plane == "y" else COLOUR_NOISE
        if track_id is None:
            return coarse(patch, most, amplitude)
        key = (track_id, plane)
        if key not in self.cells:
            self.cells[key] = coarse(patch, most, amplitude)
        self.cells.move_to_end(key)
        if len(self.cells) > KEPT_CELLS:
            self.cells.popitem(last=False)
        return self.cells[key]


def cover(
    frame: Frame, regions: tuple[Region, ...], settings: CoverSettings, memory: Memory | None = None
) -> CoveredFrame:
    """Paint every region into the frame's planes. Without a ``memory`` each frame shows its own cells."""
    known = Memory() if memory is None else memory
    for r in regions:
        # a chroma sample belongs to 2x2 luma px: the far edge is rounded up for frames of odd size
        half = (slice(r.y1 // 2, -(-r.y2 // 2)), slice(r.x1 // 2, -(-r.x2 // 2)))
        patches = {"y": frame.y[r.y1 : r.y2, r.x1 : r.x2], "u": frame.u[half], "v": frame.v[half]}
        for plane, patch in patches.items():
            if settings.style == "solid":
                fill: U8 | int = NEUTRAL
            else:
                cells = known.first(patch, r.track_id, plane, settings.cells)
                fill = spread(cells, patch.shape, blend=settings.style == "blur")
            paint(patch, fill, r)
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


def blank(covered: CoveredFrame) -> CoveredFrame:
    """A grey picture in the place of this one: its size, its time, nothing of what it shows."""
    f = covered.frame
    y, u, v = (np.empty(p.shape, np.uint8) for p in (f.y, f.u, f.v))
    return cover_whole(replace(f, y=y, u=u, v=v, native=None))


def at_time(covered: CoveredFrame, time_s: float) -> CoveredFrame:
    """The same covered picture with another time, to be shown again."""
    ticks = round(time_s * 90_000)
    frame = replace(covered.frame, pts=ticks, time_base=Fraction(1, 90_000), time_s=time_s)
    return CoveredFrame(frame, covered.regions, covered.whole)


def paint(patch: U8, fill: U8 | int, region: Region) -> None:
    """Put the fill over one plane's patch, in place. It may be the luma or the chroma part of the region."""
    h, w = patch.shape
    if region.shape == "box":
        patch[...] = fill
    else:
        np.copyto(patch, fill, where=kept_ellipse(h, w) if h * w <= KEPT_MASK_PX else ellipse(h, w))


def coarse(patch: U8, most: int, amplitude: int) -> U8:
    """The means of a grid of cells anchored to the patch, at most ``most`` along its longer side; noisy, quantised."""
    h, w = patch.shape
    cell = max(MIN_CELL_PX, -(-max(h, w) // most))
    rows, cols = max(1, round(h / cell)), max(1, round(w / cell))
    means: U8 = np.asarray(cv2.resize(patch, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8).reshape(rows, cols)
    return np.asarray(QUANTISED[np.clip(means + noise(means, amplitude), 0, 255)], np.uint8)


def noise(means: U8, amplitude: int) -> npt.NDArray[np.int16]:
    """What is added to the cell means, same shape: one shift of all, and one of each, -amplitude to amplitude.

    It is drawn from the means themselves: the same film gives the same noise, nobody can take it away who does not know
    them already, and there is no secret to steal. Only where a track keeps its cells can it not be averaged away.
    """
    drawn = np.frombuffer(hashlib.shake_128(means.tobytes()).digest(2 * (means.size + 1)), "<u2")
    steps = (drawn % (2 * amplitude + 1)).astype(np.int16) - np.int16(amplitude)
    return np.asarray(steps[1:].reshape(means.shape) + steps[0], np.int16)


def spread(cells: U8, shape: tuple[int, ...], *, blend: bool) -> U8:
    """The cells over a patch of this (h, w), as a mosaic or blended into each other."""
    h, w = shape
    how = cv2.INTER_LINEAR if blend else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(cells, (w, h), interpolation=how).reshape(h, w), np.uint8)


def ellipse(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Pixels that the ellipse inside the patch touches at any of their corners (outward)."""
    y = np.maximum(np.abs(np.arange(height) + 0.5 - height / 2) - 0.5, 0) / (height / 2)
    x = np.maximum(np.abs(np.arange(width) + 0.5 - width / 2) - 0.5, 0) / (width / 2)
    return np.asarray(y[:, None] ** 2 + x[None, :] ** 2 <= 1)


kept_ellipse = lru_cache(maxsize=1024)(ellipse)
