"""The data that travels between stages, and the three edges of the program. Read this first.

A picture goes ``Reader -> Frame -> (stages) -> CoveredFrame -> Writer``. Nothing but
``bystander.stages.cover`` builds a ``CoveredFrame``, and writers accept nothing else: that is how the type
system carries the promise that no raw frame reaches an output.

Coordinates are luma pixels of the *stored* frame (before display rotation), x right, y down, boxes
``x1, y1, x2, y2`` half-open. Times are seconds; durations too, so dropped frames and other frame rates do not
change behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

Shape = Literal["ellipse", "box"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture, writable, with a single owner."""

    index: int  # 0-based, in presentation order
    pts: int  # in time_base units
    time_base: Fraction  # seconds per pts unit
    time_s: float  # seconds from the stream's first frame
    y: U8  # (h, w) luma view, padding hidden, 8 bit
    u: U8  # (ceil(h/2), ceil(w/2)) chroma view, 4:2:0
    v: U8  # same shape as u
    rotation_deg: int  # clockwise turn that shows the picture upright: 0, 90, 180 or 270
    native: Any = None  # the owner of the memory (keeps colour tags); opaque to the stages
    full_range: bool = False  # luma 0-255 instead of 16-235

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one frame, struct of arrays, any order."""

    xyxy: F32  # (n, 4) luma px of the frame
    score: F32  # (n,) 0-1, how surely this is a face, blind to roles
    foreground: F32  # (n,) 0-1, evidence for "interview"; 0 where the model knows no roles

    def __len__(self) -> int:
        return len(self.score)

    @staticmethod
    def none() -> Detections:
        """No face found."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Track:
    """One person's face over time, as known at one frame."""

    id: int  # from 1, never reused in a run
    xyxy: tuple[float, float, float, float]  # best estimate now, luma px
    score: float  # of the newest detection, 0-1
    foreground: float  # running mean of the evidence (of its log-odds), 0-1
    age_s: float  # since first sight
    unseen_s: float  # since the newest detection; 0 = seen in this frame
    speed: float  # of the centre, face heights per second
    steady: bool  # False after overlap, re-find, or more than a blink unseen: may be somebody else


@dataclass(frozen=True, slots=True)
class Region:
    """A patch to cover: luma px, half-open, even, clipped to the frame, rounded outward."""

    x1: int
    y1: int
    x2: int
    y2: int
    shape: Shape
    track_id: int | None = None


@dataclass(frozen=True, slots=True)
class CoveredFrame:
    """A picture that may leave the program. Only ``bystander.stages.cover`` builds it."""

    frame: Frame
    regions: tuple[Region, ...]
    whole: bool  # True: everything is covered (fail-safe)


class Verdict(str, Enum):
    COVER = "cover"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Choices:
    """What people decided. Immutable, swapped by one assignment. ``cover`` beats ``keep``."""

    default: Verdict = Verdict.COVER
    keep: frozenset[int] = frozenset()  # track ids
    cover: frozenset[int] = frozenset()  # track ids
    version: int = 0
    rules: bool = True  # False: somebody whom a person covered may be anybody here, so no rule keeps anyone


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a reader knows before the first frame."""

    name: str  # for messages: the path or address, without secrets
    width: int  # luma px as stored
    height: int
    rotation_deg: int
    fps: float  # average; 0 where unknown
    duration_s: float  # 0 where unknown
    frames: int  # estimate; 0 where unknown
    notes: tuple[str, ...] = field(default=())  # one line each: what will not survive, and why


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of decoded sound on its way past the stages; it carries no picture."""

    samples: F32  # (channels, n) -1..1
    rate: int  # samples per second
    time_s: float  # of the first sample, on the clock of the frames that came with it

    @property
    def end_s(self) -> float:
        return self.time_s + int(self.samples.shape[1]) / self.rate


class Reader(Protocol):
    """An input edge. Iterating yields every decodable frame once, in presentation order."""

    @property
    def info(self) -> SourceInfo: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


class Model(Protocol):
    """An inference edge: upright RGB in, raw predictions out. Safe to call from several threads."""

    @property
    def names(self) -> tuple[str, ...]: ...  # class names, e.g. ("face",)
    @property
    def stride(self) -> int: ...  # height and width must be multiples of it
    @property
    def id(self) -> str: ...  # name and start of the weights' SHA-256
    def __call__(self, images: F32) -> F32:
        """(b, 3, h, w) RGB 0-1 -> (b, n, 5 + classes): cx, cy, w, h in input px, objectness, class scores 0-1."""
        ...


class Writer(Protocol):
    """An output edge."""

    def write(self, covered: CoveredFrame) -> None: ...
    def finish(self) -> None:
        """Flush, verify and move into place."""
        ...

    def abort(self) -> None:
        """Stop and leave nothing behind. Safe to call twice and after ``finish``."""
        ...


class LiveSource(Protocol):
    """A live input edge. Iterating yields frames and sound as they arrive; InputError when the input is lost."""

    endless: bool  # True: an end is a loss, after which the driver opens the input again

    @property
    def info(self) -> SourceInfo: ...
    def __iter__(self) -> Iterator[Frame | Sound]: ...
    def close(self) -> None:
        """Free the input; may be called from another thread to end an iteration that waits."""
        ...


class Sink(Protocol):
    """A live output edge. Called from one thread of its own; OutputError when the other side is lost."""

    def picture(self, covered: CoveredFrame) -> None:
        """Send one picture. Times rise; the size may change. TypeError for anything but a ``CoveredFrame``."""
        ...

    def sound(self, sound: Sound) -> None: ...
    def close(self) -> None:
        """Flush and free. Safe to call twice."""
        ...
