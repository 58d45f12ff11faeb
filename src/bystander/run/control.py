"""What people decide while a stream runs, and what they are told. Shared by terminal keys, HTTP and the web app.

Choices and panic go in, from any thread; a ``LiveStatus`` without any picture content comes out. Doubt covers: unknown
ids are accepted (nobody has them yet), and panic beats every choice.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from bystander.stages.cover import CoverSettings
from bystander.stages.policy import PolicySettings
from bystander.types import Choices, Verdict


@dataclass(frozen=True, slots=True)
class Manner:
    """By which rule faces are kept, and how the others are covered."""

    policy: PolicySettings
    cover: CoverSettings


def covers_more(word: Choices, before: Choices) -> bool:
    """Whether somebody who was sharp by the word before may be covered by this one."""
    default = word.default is Verdict.COVER and before.default is not Verdict.COVER
    rules = before.rules and not word.rules
    return default or rules or bool(word.cover - before.cover) or bool(before.keep - word.keep)


@dataclass(frozen=True, slots=True)
class FaceStatus:
    """A face in the newest picture."""

    id: int
    xyxy: tuple[float, float, float, float]  # luma px
    kept: bool


@dataclass(frozen=True, slots=True)
class OutputStatus:
    name: str  # address without secrets
    state: str  # starting, connected, waiting (for the next try), failed
    reconnects: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """A snapshot of a running stream."""

    state: str = "starting"  # starting, live, slate (no input), ended
    panic: bool = False
    width: int = 0
    height: int = 0
    fps_in: float = 0.0
    fps_out: float = 0.0
    latency_ms: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # p50, p95, p99 by stage; "total"
    frames: int = 0
    drops: int = 0
    repeats: int = 0
    whole: dict[str, int] = field(default_factory=dict)  # frames covered whole, by kind of fault
    edges: dict[str, int] = field(default_factory=dict)  # other faults of the input and the outputs, by kind
    reconnects: int = 0  # of the input
    imgsz: int = 0
    every: int = 1
    preview: bool = True
    slow: str = ""  # what the governor lowered, in words
    faces: tuple[FaceStatus, ...] = ()
    outputs: tuple[OutputStatus, ...] = ()


class Control:
    """The hands on a running stream. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.choices = Choices()  # replaced, never changed
        self.manner: Manner | None = None  # None: as the stream was started; replaced, never changed
        self.panic = False
        self.stop_asked = threading.Event()
        self.status = LiveStatus()  # replaced by the stream

    def keep(self, track_id: int) -> None:
        """Keep this face from now on."""
        with self._lock:
            c = self.choices
            self._swap(keep=c.keep | {track_id}, cover=c.cover - {track_id})

    def cover(self, track_id: int) -> None:
        """Cover this face from now on, whatever else says."""
        with self._lock:
            c = self.choices
            self._swap(keep=c.keep - {track_id}, cover=c.cover | {track_id})

    def forget(self, track_id: int) -> None:
        """Nobody has said anything about this face any more: the rule decides."""
        with self._lock:
            c = self.choices
            self._swap(keep=c.keep - {track_id}, cover=c.cover - {track_id})

    def choose(self, keep: frozenset[int], cover: frozenset[int], default: Verdict = Verdict.COVER) -> None:
        """Replace all choices at once."""
        with self._lock:
            self._swap(keep=keep - cover, cover=cover, default=default)

    def settle(self, applied: Choices | None, found: Choices) -> Choices:
        """For the stream: what holds now, people's word if it changed since ``applied``, else what clicks ``found``."""
        with self._lock:
            if self.choices is applied:
                self.choices = found
            return self.choices

    def _swap(self, **values: object) -> None:
        self.choices = replace(self.choices, **values, version=self.choices.version + 1)  # type: ignore[arg-type]

    def stop(self) -> None:
        """End the stream after the frames that are on their way."""
        self.stop_asked.set()
