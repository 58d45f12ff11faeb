"""The input of a live stream: a thread that reads, puts frames into the slot, and reconnects with back-off.

``Frame``s and sound of one source after the other come in; frames with the stream's own rising times go into the one
newest-wins slot, sound into a bounded queue. Nothing here knows an output.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from bystander.errors import BystanderError, InputError, SettingsError
from bystander.run.backoff import BackOff
from bystander.run.live_meters import LiveMeters
from bystander.run.slot import Slot
from bystander.run.stamps import Stamps
from bystander.types import Frame, LiveSource, Sound, SourceInfo

log = logging.getLogger("bystander")
TICKS = Fraction(1, 90_000)  # the stream's time base, s
SOUNDS = 1000  # pieces of about 20 ms
ODD_FAULTS = 10  # so many unexpected faults without a picture in between are a defect that does not go away


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame in the slot."""

    frame: Frame
    arrived_s: float  # on the meters' clock
    jumped: bool  # the source's clock jumped, or the source is another one


class Intake:
    """Reads ``open_source()`` until it ends; an endless one is opened again whenever it is lost."""

    def __init__(self, open_source: Callable[[], LiveSource], meters: LiveMeters, *, wait: bool) -> None:
        self.open_source, self.meters, self.wait = open_source, meters, wait
        self.slot: Slot[Arrived] = Slot()
        self.sounds: deque[Sound] = deque(maxlen=SOUNDS)
        self.stamps = Stamps()
        self.every = 1  # set by the governor: every n-th frame goes on
        self.info: SourceInfo | None = None  # of the newest connection
        self.size: tuple[int, int] | None = None  # of the newest picture, upright, px
        self.go = threading.Event()  # until then a source that can wait is read up to its first picture only
        self.odd = 0  # unexpected faults since the newest picture
        self.connected = False
        self.reconnects = 0
        self.index = 0
        self.seen = 0
        self.fatal: BaseException | None = None
        self.ended = threading.Event()
        self.closing = threading.Event()
        self.back_off = BackOff()
        self.source: LiveSource | None = None
        self.began_s = meters.clock()
        self.thread = threading.Thread(target=self._work, name="bystander-in", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def now_s(self) -> float:
        """Seconds since the stream's begin."""
        return self.meters.clock() - self.began_s

    def close(self) -> None:
        """End reading; a source that hangs is left behind."""
        self.closing.set()
        self.go.set()
        if self.source is not None:
            self.source.close()
        if self.thread.is_alive():
            self.thread.join(2.0)

    def _work(self) -> None:
        while not self.closing.is_set():
            begin = self.meters.clock()
            try:
                if self._connection():
                    break
                fault: BystanderError = InputError("the input ended")
            except BystanderError as e:
                fault = e
            except Exception as e:
                fault = self._unexpected(e)
            if self.closing.is_set():
                break
            if self._is_end(fault):
                self.fatal = fault
                break
            wait_s = self.back_off.failed(self.meters.clock() - begin)
            log.warning("%s; next try in %.1f s", fault, wait_s)
            self.closing.wait(wait_s)
        self.connected = False
        self.ended.set()

    def _unexpected(self, e: Exception) -> BystanderError:
        """A defect, or no memory: told once a kind with its traceback, and taken for a lost connection."""
        self.odd += 1
        if self.meters.edge(f"input: {type(e).__name__}"):
            log.error("input: unexpected fault", exc_info=e)
        return InputError(f"the input failed unexpectedly ({type(e).__name__})")

    def _is_end(self, fault: BystanderError) -> bool:
        """Whether this fault ends the stream."""
        first = self.info is None and not self.wait
        once = self.source is not None and not self.source.endless  # a file would begin anew
        return first or once or isinstance(fault, SettingsError) or self.odd >= ODD_FAULTS

    def _connection(self) -> bool:
        """Read one connection to its end. True when there is nothing more to come."""
        self.source = None
        source = self.source = self.open_source()
        try:
            self.reconnects += self.info is not None
            self.info, self.connected = source.info, True
            fresh = self.reconnects > 0
            self.stamps.reconnect()
            for item in source:
                if self.closing.is_set():
                    return True
                if isinstance(item, Sound):
                    self._sound(item)
                else:
                    self._look(item)
                    if not source.endless:
                        self.go.wait()
                    self._picture(item, fresh=fresh)
                    fresh = False
            return not source.endless
        finally:
            self.connected = False
            source.close()

    def _sound(self, sound: Sound) -> None:
        time_s = self.stamps.sound(sound.time_s)
        if time_s is not None:
            self.sounds.append(replace(sound, time_s=time_s))

    def _look(self, frame: Frame) -> None:
        sideways = frame.rotation_deg in (90, 270)
        self.size = (frame.height, frame.width) if sideways else (frame.width, frame.height)
        self.odd = 0

    def _picture(self, frame: Frame, *, fresh: bool) -> None:
        now = self.now_s()
        self.meters.tick("in")
        time_s, jumped = self.stamps.picture(frame.time_s, now)
        self.seen += 1
        if self.seen % self.every:
            self.meters.count("thinned")
            return
        moved = replace(frame, index=self.index, pts=round(time_s / TICKS), time_base=TICKS, time_s=time_s)
        self.index += 1
        if not self.slot.put(Arrived(moved, self.began_s + now, jumped or fresh)):
            self.meters.tick("drops")
