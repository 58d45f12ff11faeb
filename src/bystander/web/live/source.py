"""The input of a session: pictures and sound from the event loop in, ``Frame``s and ``Sound`` out, in a thread.

One newest-wins slot lies between, so the loop never waits. Silence is no error: the driver then shows what it has.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import av

from bystander.errors import InputError
from bystander.run.slot import Slot
from bystander.types import Frame, Sound, SourceInfo
from bystander.web.live.frames import Fitting, Hearing, to_frame

POLL_S = 0.02  # how often waiting sound is looked at while no picture comes
SOUNDS = 100  # pieces of 20 ms


LATE_S, EARLY_S = 0.5, 0.05  # how far times may stray from the moments of arrival


class Anchor:
    """One stream's own times -> seconds since the session began, near the moments of arrival.

    What is late by much jumps ahead, so that a machine that was busy for a while does not stay behind; what is early
    goes at half the pace. Times never fall where the stream's own do not.
    """

    def __init__(self) -> None:
        self.offset_s: float | None = None
        self.newest_s = 0.0  # on the stream's own clock

    def time_s(self, own_s: float, arrived_s: float) -> float:
        step, self.newest_s = max(own_s - self.newest_s, 0.0), own_s
        if self.offset_s is None:
            self.offset_s = arrived_s - own_s
        early = own_s + self.offset_s - arrived_s
        if early < -LATE_S:
            self.offset_s -= early
        elif early > EARLY_S:
            self.offset_s -= min(early, step / 2)
        return own_s + self.offset_s


class WebSource:
    """A ``LiveSource``. ``picture``, ``sound`` and ``end`` may be called from any thread."""

    endless = False  # when the browser stops sending for good, the session is over

    def __init__(self, fitting: Fitting, size: tuple[int, int]) -> None:
        """``size``: px, of the slate before the first picture."""
        self.fitting, self.hearing = fitting, Hearing()
        self.info = SourceInfo("browser", *size, 0, 0.0, 0.0, 0)
        self.began_s = time.monotonic()
        self.slot: Slot[tuple[Any, float]] = Slot()
        self.waiting: queue.Queue[tuple[Any, float]] = queue.Queue(SOUNDS)
        self.closing = threading.Event()
        self.seen, self.arrived_s = 0, self.began_s  # pictures that came, and when the newest did
        self.fault = ""  # why the newest picture could not be used
        self.seeing, self.listening = Anchor(), Anchor()

    def picture(self, native: Any) -> None:
        self.seen, self.arrived_s = self.seen + 1, time.monotonic()
        self.slot.put((native, self.arrived_s - self.began_s))

    def sound(self, native: Any) -> None:
        try:
            self.waiting.put_nowait((native, time.monotonic() - self.began_s))
        except queue.Full:
            return  # sound that nobody takes is of no use later

    def end(self) -> None:
        self.closing.set()

    close = end

    def __iter__(self) -> Iterator[Frame | Sound]:
        index = 0
        while not self.closing.is_set():
            taken = self.slot.take(POLL_S)
            yield from self._sounds()
            frame = None if taken is None else self._frame(*taken, index)
            if frame is not None:
                yield frame
                index += 1

    def _frame(self, native: Any, arrived_s: float, index: int) -> Frame | None:
        """None for a picture that cannot be used: nothing new is shown then."""
        try:
            frame = to_frame(native, index, self.seeing.time_s(own_time(native), arrived_s), self.fitting)
        except (InputError, av.FFmpegError, ValueError) as e:
            self.fault = str(e)
            return None
        self.fault = ""
        return frame

    def _sounds(self) -> Iterator[Sound]:
        while not self.waiting.empty():
            native, arrived_s = self.waiting.get_nowait()
            yield from self.hearing.sounds(native, self.listening.time_s(own_time(native), arrived_s))


def own_time(native: Any) -> float:
    """Of a decoded picture or piece of sound, on its sender's clock, s; 0 where it has none."""
    return 0.0 if native.pts is None or native.time_base is None else float(native.pts * native.time_base)
