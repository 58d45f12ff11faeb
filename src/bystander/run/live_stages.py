"""A live stream's frames through the filter, one at a time, under a deadline.

A ``Frame`` goes in, the ``CoveredFrame``s that are ready come out, always: a detector that is late, a source that
changes its size, a frame that makes no sense cover the whole picture, are counted by kind and logged once per kind.
Never gives a raw frame back.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bystander.run.face_filter import Detect, FaceFilter
from bystander.run.governor import MAX_LOAD, Governor, in_words
from bystander.run.live_meters import LiveMeters
from bystander.stages.cover import slate
from bystander.types import CoveredFrame, Detections, Frame

log = logging.getLogger("bystander")
CLOSE_S = 5.0  # so long a call may take at the end; the interpreter must not go away below native code


class Late(Exception):
    """No answer before the deadline."""


@dataclass(slots=True)
class Question:
    frame: Frame
    answered: threading.Event = field(default_factory=threading.Event)
    found: Detections | None = None


class Watched:
    """Runs ``detect`` in a thread that may be left behind when it hangs."""

    def __init__(self, detect: Callable[[Frame], Detections | None]) -> None:
        self.detect = detect
        self.questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self.newest: Question | None = None
        self.thread = threading.Thread(target=self._work, name="bystander-detect", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (question := self.questions.get()) is not None:
            question.found = self.detect(question.frame)
            question.answered.set()

    def __call__(self, frame: Frame, deadline_s: float) -> Detections | None:
        """The answer. Late when it does not come in time, or when the one before is still awaited."""
        if self.newest and not self.newest.answered.is_set():
            raise Late
        self.newest = Question(frame)
        self.questions.put(self.newest)
        if not self.newest.answered.wait(deadline_s):
            raise Late
        return self.newest.found

    def close(self) -> None:
        """End after the answer that is awaited; one that does not come is left behind."""
        self.questions.put(None)
        self.thread.join(CLOSE_S)


class LiveStages:
    """``step`` for each frame, from one thread. ``make_detector`` gives a detector for a picture of so many px."""

    def __init__(
        self, face_filter: FaceFilter, make_detector: Callable[[int], Detect], meters: LiveMeters, governor: Governor,
        deadline_s: float,
    ) -> None:  # fmt: skip
        self.face_filter, self.make_detector, self.meters, self.governor = face_filter, make_detector, meters, governor
        self.watched = Watched(face_filter.detect)
        self.deadline_s = deadline_s
        self.size = (0, 0)
        self.faults_in_row = 0
        self.pressure = 0.0  # load that outputs report, like the stages' own
        self.previous_s: float | None = None
        self.late = False  # whether this frame's answer did not come in time
        self.warming: threading.Thread | None = None
        self.before_paint: Callable[[], None] = lambda: None

    def step(self, frame: Frame, *, jumped: bool = False) -> list[CoveredFrame]:
        """Take the next frame; returns what is ready to leave. ``jumped``: the source's clock did."""
        before, begin = self.meters.faults, self.meters.clock()
        self.late = False
        try:
            ready = self._step(frame, jumped=jumped)
        except Exception as e:
            ready = []  # the last covered picture is shown again until there is another
            self.fail(f"stages: {type(e).__name__}", e)
        self.faults_in_row = self.faults_in_row + 1 if self.meters.faults > before else 0
        self._govern(begin)
        return ready

    def _step(self, frame: Frame, *, jumped: bool) -> list[CoveredFrame]:
        check(frame)
        changed = self.size not in ((0, 0), (frame.width, frame.height))
        self.size = (frame.width, frame.height)
        ready = self.face_filter.restart() if changed or jumped else []
        if changed or jumped:
            self.fail("input: its size changed" if changed else "input: its clock jumped")
            return ready + self.face_filter.push(frame, None)
        found = self._found(frame)
        self.before_paint()  # what people said meanwhile holds for this very picture
        return ready + self.face_filter.push(frame, found)

    def _found(self, frame: Frame) -> Detections | None:
        try:
            return self.watched(frame, self.deadline_s)
        except Late:
            self.late = True
            self.fail("detector: late")
            return None

    def _govern(self, begin: float) -> None:
        now = self.meters.clock()
        if self.previous_s is not None:
            # frames behind a late one are not waited for: they cost no time, yet the machine is far too slow
            load = MAX_LOAD if self.late else (now - begin) / max(now - self.previous_s, 1e-6)
            if self.governor.update(max(load, self.pressure), now):
                plan = self.governor.plan
                self.warming = threading.Thread(
                    target=self.change, args=(plan.imgsz,), name="bystander-warm", daemon=True
                )
                self.warming.start()
                log.warning("speed: %s", in_words(plan, self.governor.plans[0]) or "everything as wished")
        self.previous_s = now

    def change(self, px: int, size: tuple[int, int] | None = None) -> None:
        """Work with a detector for ``px`` once it is warm; the first call of some takes seconds."""
        width, height = size or self.size
        try:
            detector = self.make_detector(px)
        except Exception as e:
            log.warning("no detector for %d px (%s); the one before goes on", px, type(e).__name__)
            return
        try:
            detector(slate(width, height, "").frame)
        except Exception as e:  # with a real frame it will fail again, and that frame is covered whole
            log.warning("the detector for %d px fails (%s)", px, type(e).__name__)
        if px == self.governor.plan.imgsz:
            self.face_filter.detector = detector

    def fail(self, kind: str, e: Exception | None = None) -> None:
        """Count a frame that is covered whole, log its kind once."""
        if self.meters.fail_safe(kind):
            log.error("%s%s; such frames are covered whole", kind, f" ({e})" if e else "")

    def close(self) -> None:
        """Wait for native code that still computes, which would abort the program's end, but not for ever."""
        self.watched.close()
        if self.warming is not None:
            self.warming.join(CLOSE_S)


def check(frame: Frame) -> None:
    """ValueError when the planes are not 8-bit 4:2:0 or cannot be painted."""
    h, w = frame.y.shape
    half = (-(-h // 2), -(-w // 2))
    planes = (frame.y, frame.u, frame.v)
    if frame.u.shape != half or frame.v.shape != half or any(p.dtype != np.uint8 for p in planes):
        raise ValueError("planes that are not 8-bit 4:2:0")
    if not all(p.flags.writeable for p in planes):
        raise ValueError("planes that cannot be painted")
    if min(h, w) < 2:
        raise ValueError(f"a picture of {w}x{h} px")
