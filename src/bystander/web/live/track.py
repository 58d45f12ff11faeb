"""The way out to a browser: covered pictures and nothing else.

``CoveredFrame``s come in from the pipeline's thread, WebRTC asks for pictures from the event loop. It gets the newest
one, or the last one again, or a slate; while somebody has hit panic it gets a card, whatever waits. A slow viewer
misses pictures, it never holds up anybody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from bystander.media.live_picture import even_size, planar
from bystander.stages.cover import slate
from bystander.types import CoveredFrame, Sound
from bystander.web.live.sound import SoundTrack

log = logging.getLogger("bystander.web")
CLOCK = 90_000  # ticks a second of video in RTP (RFC 3551)
TICK = 90  # least distance of two pictures, 1 ms
STALL_S = 0.5  # without a new picture for so long the last one is sent again
SLATE_S = 2.5  # and after so long the slate
WAITING, PANIC = "bystander: waiting for the picture", "bystander: everything is covered"


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that was given to WebRTC."""

    covered: CoveredFrame
    pts: int  # ticks of CLOCK from the track's begin
    card: bool  # a slate or the panic card of our own, which stands for no picture of the pipeline


class CoveredTrack(MediaStreamTrack):
    """Give it covered pictures with ``show``. Its first picture is a slate."""

    kind = "video"

    def __init__(self, panic: Callable[[], bool], on_sent: Callable[[Shown], None] | None = None) -> None:
        """Must be made on the event loop. ``on_sent`` is called there for every picture."""
        super().__init__()
        self.panic, self.on_sent = panic, on_sent or (lambda _shown: None)
        self.loop, self.fresh = asyncio.get_running_loop(), asyncio.Event()
        self.newest: CoveredFrame | None = None
        self.size = (640, 360)  # of the newest picture, px
        self.pts, self.sent_s, self.fresh_s = -1, 0.0, 0.0  # of the newest picture sent; when; when a new one was
        self.sent = self.repeats = self.slates = 0

    def show(self, covered: CoveredFrame) -> None:
        """Send this next, unless a newer one comes before. From any thread. TypeError for all but covered frames."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be sent, not {type(covered).__name__}")
        self.newest = covered
        self.nudge()

    def nudge(self) -> None:
        """Send something now: the newest picture, or the panic card. From any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.fresh.set)

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        fresh = await self._wait() if self.pts >= 0 else False
        if self.readyState != "live":
            raise MediaStreamError
        covered, card = self._choose(fresh=fresh)
        self._stamp(covered.frame.time_s if fresh and not card else None)
        if not covered.whole:
            self.size = even_size(covered)
        picture = av.VideoFrame.from_ndarray(planar(covered, *self.size), format="yuv420p")
        picture.pts, picture.time_base = self.pts, Fraction(1, CLOCK)
        self.sent += 1
        try:
            self.on_sent(Shown(covered, self.pts, card))
        except Exception:  # telling about a picture must not end the pictures
            log.exception("the page could not be told about a picture")
        return picture

    async def _wait(self) -> bool:
        """Whether something new came within ``STALL_S``."""
        try:
            await asyncio.wait_for(self.fresh.wait(), STALL_S)
        except asyncio.TimeoutError:
            return False
        self.fresh.clear()
        self.fresh_s = time.monotonic()
        return True

    def _choose(self, *, fresh: bool) -> tuple[CoveredFrame, bool]:
        """What to send, and whether it is a card of our own. Panic is looked at last of all."""
        covered = self.newest
        if self.panic():
            return slate(*self.size, PANIC), True
        if covered is None or time.monotonic() - self.fresh_s > SLATE_S:
            self.slates += 1
            return slate(*self.size, WAITING), True
        self.repeats += not fresh
        return covered, False

    def _stamp(self, time_s: float | None) -> None:
        """Set the time of the picture that is sent now: its own, or, without one, that of the clock; it only rises."""
        now = time.monotonic()
        passed = self.pts + round((now - self.sent_s) * CLOCK) if self.pts >= 0 else 0
        wanted = passed if time_s is None else round(time_s * CLOCK)
        self.pts, self.sent_s = max(wanted, self.pts + TICK), now


class Feed:
    """A ``Sink`` that shows each covered picture on any number of tracks, one for each viewer, with its sound."""

    def __init__(self) -> None:
        self.tracks: tuple[CoveredTrack, ...] = ()  # replaced, never changed; the next as well
        self.sounds: tuple[SoundTrack, ...] = ()

    def add(self, track: CoveredTrack, sound: SoundTrack) -> None:
        self.tracks, self.sounds = (*self.tracks, track), (*self.sounds, sound)

    def remove(self, track: CoveredTrack, sound: SoundTrack) -> None:
        self.tracks = tuple(t for t in self.tracks if t is not track)
        self.sounds = tuple(s for s in self.sounds if s is not sound)

    def picture(self, covered: CoveredFrame) -> None:
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be sent, not {type(covered).__name__}")
        for track in self.tracks:
            track.show(covered)

    def nudge(self) -> None:
        for track in self.tracks:
            track.nudge()

    def sound(self, sound: Sound) -> None:
        for track in self.sounds:
            track.hear(sound)

    def close(self) -> None:
        """The tracks go on with slates until their connections are closed."""
