"""One live session: a browser or another publisher that sends pictures, its pipeline, and who looks at the result.

Everything but ``status`` and ``talk.answer`` runs on the event loop. Viewers get covered pictures only.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiortc import MediaStreamTrack, RTCDataChannel
from aiortc.mediastreams import MediaStreamError

from bystander.web.live.backlog import Backlog
from bystander.web.live.peer import Peer
from bystander.web.live.pipeline import MakeDetector, Pipeline, Wanted
from bystander.web.live.protocol import Talk, face_of, state, told
from bystander.web.live.sound import SoundTrack
from bystander.web.live.track import CLOCK, CoveredTrack, Shown

log = logging.getLogger("bystander.web")
CHANNEL = "bystander"  # the data channel's label
CONNECT_S = 20.0  # so long may a connection take
IDLE_S = 30.0  # and so long may pictures stay away
TELL_S = 0.07  # least distance of two messages about pictures
BACKLOG = 100_000  # bytes that wait in the data channel; more and news is left out


class Viewer:
    """Somebody who plays a named stream."""

    def __init__(self, session: Session) -> None:
        self.id, self.session = secrets.token_urlsafe(12), session
        self.began_s = time.monotonic()
        self.peer = Peer(self.close)
        self.out = CoveredTrack(lambda: session.pipeline.control.panic), SoundTrack()

    async def open(self, sdp: str) -> str:
        answer = await self.peer.answer(sdp, self.out)
        self.session.pipeline.feed.add(*self.out)
        return answer

    async def close(self) -> None:
        self.session.pipeline.feed.remove(*self.out)
        for track in self.out:
            track.stop()
        self.session.viewers.pop(self.id, None)
        await self.peer.close()


class Session:
    """``on_closed`` is called once, on the event loop, when all of it has ended."""

    def __init__(
        self, owner: str, name: str, wanted: Wanted, make_detector: MakeDetector, on_closed: Callable[[Session], None]
    ) -> None:
        """``name``: of a published stream; empty for a browser's own camera. SettingsError when ``wanted`` is wrong."""
        self.id, self.owner, self.name, self.on_closed = secrets.token_urlsafe(12), owner, name, on_closed
        self.pipeline = Pipeline(make_detector, wanted, self._pipeline_ended)
        self.talk = Talk(self.pipeline)
        self.viewers: dict[str, Viewer] = {}
        self.began_s, self.told_s, self.why = time.monotonic(), 0.0, ""
        self.told_panic = self.sound = False
        self.channel: RTCDataChannel | None = None
        self.out: tuple[CoveredTrack, SoundTrack] | None = None
        self.peer: Peer | None = None
        self.backlog: Backlog | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def open(self, sdp: str) -> str:
        """Our answer to the offer; the pipeline runs from now on. ApiError when the offer is of no use."""
        self.loop = asyncio.get_running_loop()
        self.peer = Peer(self._gone)
        if not self.name:
            self.out = CoveredTrack(lambda: self.pipeline.control.panic, self._sent), SoundTrack()
        answer = await self.peer.answer(sdp, self.out, self._on_track, self._on_channel)
        if self.out is not None:
            self.pipeline.feed.add(*self.out)
        self.pipeline.start()
        self._task(self._watch())
        return answer

    def _task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- pictures ---

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            assert self.peer is not None
            self.backlog = Backlog(self.peer.receiver_of(track))
            self._task(self._pull(track))
        else:
            self._task(self._listen(track))

    async def _pull(self, track: MediaStreamTrack) -> None:
        """Hand pictures to the pipeline as they come, the newest winning."""
        try:
            while True:
                self.pipeline.source.picture(await track.recv())
        except MediaStreamError:
            self.pipeline.close()

    async def _listen(self, track: MediaStreamTrack) -> None:
        self.sound = True
        try:
            while True:
                self.pipeline.source.sound(await track.recv())
        except MediaStreamError:
            return

    def _sent(self, shown: Shown) -> None:
        """A picture goes to the page: remember it, and tell what is in it."""
        assert self.peer is not None
        sent = self.talk.note(shown.covered, shown.pts / CLOCK, card=shown.card)
        rtp, now, panic = self.peer.rtp(shown.pts), time.monotonic(), self.pipeline.control.panic
        if now - self.told_s >= TELL_S or panic != self.told_panic:
            self.told_s, self.told_panic = now, panic
            self.say({**told(sent, self.pipeline), "rtp": rtp})

    @property
    def silent_s(self) -> float:
        """Since the newest picture came in."""
        return time.monotonic() - self.pipeline.source.arrived_s

    # --- messages ---

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label != CHANNEL or self.channel is not None:
            channel.close()
            return
        self.channel = channel
        channel.on("message", lambda text: self.say(self.talk.answer(text), always=True))

    def say(self, message: dict[str, Any], *, always: bool = False) -> None:
        """Send it to the page, unless that does not listen; ``always``: also where much waits."""
        channel = self.channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount < (10 * BACKLOG if always else BACKLOG):
            channel.send(json.dumps(message))

    # --- the end ---

    async def _watch(self) -> None:
        """End what never connects or has become silent."""
        assert self.peer is not None
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            if self.peer.state != "connected" and now - self.began_s > CONNECT_S:
                return await self.close("not_connected")
            if self.silent_s > IDLE_S:
                return await self.close("idle")
            for viewer in [v for v in self.viewers.values() if v.peer.state != "connected"]:
                if now - viewer.began_s > CONNECT_S:
                    await viewer.close()

    async def _gone(self) -> None:
        await self.close("gone")

    def _pipeline_ended(self) -> None:
        """In the pipeline's thread."""
        if self.loop is not None and not self.loop.is_closed():
            asyncio.run_coroutine_threadsafe(self.close("ended"), self.loop)

    async def close(self, why: str) -> None:
        """End all of it. Safe to call twice."""
        if self.why:
            return
        self.why = why
        self.pipeline.close()
        self.say({"kind": "end", "code": why, "message": self.pipeline.fault}, always=True)
        for viewer in list(self.viewers.values()):
            await viewer.close()
        for track in self.out or ():
            track.stop()
        if self.peer is not None:
            await self.peer.close()
        self.on_closed(self)
        me = asyncio.current_task()
        for task in [t for t in self.tasks if t is not me]:
            task.cancel()

    def status(self) -> dict[str, Any]:
        """For ``GET``: without any picture content."""
        status = self.pipeline.control.status
        width, height = status.width or 1, status.height or 1
        seen = self.pipeline.stream.newest if status.width else ()
        connecting = self.peer is None or self.peer.state in ("new", "connecting")
        return {
            "id": self.id, "name": self.name, "state": "connecting" if connecting else status.state,
            "width": status.width, "height": status.height, "seconds": round(time.monotonic() - self.began_s),
            "faces": [face_of(f, width, height) for f in seen], "viewers": len(self.viewers), "sound": self.sound,
            "thrown": self.backlog.thrown if self.backlog else 0,
            **state(self.pipeline, status),
        }  # fmt: skip
