"""One output of a live stream: a thread with a bounded queue, and reconnects with back-off.

``CoveredFrame``s and sound go in, from one thread; whatever the other side does, it never holds up the stream. Nothing
else than a ``CoveredFrame`` is ever passed on as a picture.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bystander.errors import BystanderError, OutputError, SettingsError
from bystander.run.backoff import BackOff
from bystander.run.control import OutputStatus
from bystander.run.live_meters import LiveMeters
from bystander.stages.cover import blank
from bystander.types import CoveredFrame, Sink, Sound

log = logging.getLogger("bystander")
PICTURES = 20  # waiting for the encoder; more and the oldest goes
SOUNDS = 200
CLOSE_S = 5.0  # so long may an output take to flush
STARVED = 30  # pictures in a row without memory for them: the output is of no use
PREVIEW_S = 1.0  # distance of pictures on a preview output while the machine is too slow


@dataclass(frozen=True, slots=True)
class Output:
    """Where to send. ``open_sink`` is called for every connection."""

    name: str  # for people: the address without secrets
    open_sink: Callable[[], Sink]
    once: bool = False  # True: cannot be opened again after a fault, e.g. a file
    preview: bool = False  # True: only for a look, thinned out when the machine is too slow


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture and when its raw frame had come in, on the meters' clock; None for repeats and slates."""

    covered: CoveredFrame
    arrived_s: float | None


class Outlet:
    """Feeds one ``Output``. ``offer`` never blocks."""

    def __init__(self, output: Output, meters: LiveMeters, *, wait: bool) -> None:
        self.output, self.meters = output, meters
        self.state, self.reconnects, self.fault = "starting", 0, ""
        self.wait = wait  # True: a first connection that fails is tried again, too
        self.fatal: BystanderError | None = None  # given up
        self.begun = False  # sent something, ever
        self.starved = 0  # pictures in a row for which there was no memory
        self.ready = threading.Condition()
        self.pictures: deque[Sent] = deque()
        self.sounds: deque[Sound] = deque(maxlen=SOUNDS)
        self.slow = False  # set by the stream: previews are a luxury now
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._work, name=f"bystander-out {output.name}", daemon=True)
        self.thread.start()

    @property
    def status(self) -> OutputStatus:
        return OutputStatus(self.output.name, self.state, self.reconnects, self.fault)

    @property
    def behind(self) -> bool:
        """Whether the encoder does not keep up."""
        return self.state == "connected" and len(self.pictures) > PICTURES // 2

    def offer(self, sent: Sent) -> None:
        """Send a picture, soon; the oldest waiting one gives way. TypeError for anything but a ``CoveredFrame``."""
        if not isinstance(sent.covered, CoveredFrame):
            raise TypeError(f"only covered frames may be sent, not {type(sent.covered).__name__}")
        with self.ready:
            self.pictures.append(sent)
            if len(self.pictures) > PICTURES:
                self.pictures.popleft()
                self.meters.count("output_drops", self.state == "connected")
            self.ready.notify()

    def keep_whole(self) -> None:
        """Forget what waits and is not covered whole: people want nothing else to be seen from now on."""
        with self.ready:
            self.pictures = deque(sent for sent in self.pictures if sent.covered.whole)

    def offer_sound(self, sound: Sound) -> None:
        with self.ready:
            self.sounds.append(sound)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what waits, then end; an output that hangs is left behind."""
        self.closing.set()
        with self.ready:
            self.ready.notify()
        self.thread.join(timeout_s)

    def _next(self) -> tuple[list[Sound], Sent | None]:
        """The oldest picture and the sound up to it; (.., None) when the stream ends."""
        with self.ready:
            self.ready.wait_for(lambda: self.pictures or self.closing.is_set())
            sent = self.pictures.popleft() if self.pictures else None
            sounds = []
            while self.sounds and (sent is None or self.sounds[0].time_s <= sent.covered.frame.time_s):
                sounds.append(self.sounds.popleft())
            return sounds, sent

    def _work(self) -> None:
        back_off = BackOff()
        while not self.closing.is_set():
            begin = self.meters.clock()
            fault: BystanderError
            try:
                self._connection()
                self.state = "closed"
                return
            except BystanderError as e:
                fault = e
            except Exception as e:  # a fault of one output must not take the others along
                log.exception("%s: unexpected fault", self.output.name)
                fault = OutputError(f"{self.output.name}: unexpected fault ({type(e).__name__})")
            if self._give_up(fault):
                return
            wait_s = back_off.failed(self.meters.clock() - begin)
            log.warning("%s; next try in %.1f s", fault, wait_s)
            self.closing.wait(wait_s)

    def _give_up(self, fault: BystanderError) -> bool:
        self.state, self.fault = "waiting", str(fault)
        first = not self.begun and (not self.wait or isinstance(fault, SettingsError))
        if first or self.output.once:
            self.state, self.fatal = "failed", fault
            if self.begun:
                log.error("%s; this output is given up", fault)
            return True
        self.reconnects += self.begun
        return False

    def _connection(self) -> None:
        """One connection from open to close. OutputError when it is lost."""
        sink = self.output.open_sink()
        shown_s, opened = -PREVIEW_S, False
        try:
            with self.ready:
                self._only_newest()
            while True:
                sounds, sent = self._next()
                for sound in sounds:
                    sink.sound(sound)
                if sent is None:
                    return
                if self.output.preview and self.slow and sent.covered.frame.time_s - shown_s < PREVIEW_S:
                    continue
                shown_s = sent.covered.frame.time_s
                if not self._send(sink, sent.covered, opened=opened):
                    continue
                opened = True
                self.state, self.begun, self.fault = "connected", True, ""
                if sent.arrived_s is not None:
                    self.meters.took("total", self.meters.clock() - sent.arrived_s)
        finally:
            sink.close()

    def _send(self, sink: Sink, covered: CoveredFrame, *, opened: bool) -> bool:
        """False when there was no memory for this picture; the next one may fit again.

        What opens a connection, which may take minutes, is blank: people may have said meanwhile to cover more.
        """
        try:
            with self.meters.stage("encode"):
                sink.picture(covered if opened else blank(covered))
        except MemoryError as e:
            self.starved += 1
            if self.starved >= STARVED:
                raise OutputError(f"{self.output.name}: no memory for {STARVED} pictures in a row") from e
            if self.meters.edge("output: MemoryError"):
                log.exception("%s: no memory for a picture; such pictures are left out", self.output.name)
            return False
        self.starved = 0
        return True

    def _only_newest(self) -> None:
        """Old pictures are of no use to a new connection."""
        while len(self.pictures) > 1:
            self.pictures.popleft()
