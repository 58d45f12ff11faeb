"""One WebRTC connection: an offer in, our answer out, until either side ends it. Everything here is on the event loop.

No STUN or TURN server is ever asked: candidates are this machine's own addresses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError

from bystander.web.errors import ApiError
from bystander.web.live.offers import limited, unreadable
from bystander.web.live.sound import SoundTrack
from bystander.web.live.track import CoveredTrack

log = logging.getLogger("bystander.web")
CLOSE_S = 5.0
RTP_WRAP = 1 << 32


class Peer:
    """``on_gone`` is awaited when the connection fails or the other side closes it."""

    def __init__(self, on_gone: Callable[[], Awaitable[None]]) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.on_gone, self.closed = on_gone, False
        self.sender: Any = None
        self.clock = RtpClock()
        self.pc.on("connectionstatechange", self._changed)

    @property
    def state(self) -> str:
        return self.pc.connectionState

    async def answer(
        self, sdp: str, outgoing: tuple[CoveredTrack, SoundTrack] | None,
        on_track: Callable[[MediaStreamTrack], None] | None = None,
        on_channel: Callable[[RTCDataChannel], None] | None = None,
    ) -> str:  # fmt: skip
        """Our answer; ``outgoing`` is what the other side will see and hear. ApiError when nothing can come of it."""
        if on_track is not None:
            self.pc.on("track", on_track)
        if on_channel is not None:
            self.pc.on("datachannel", on_channel)
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            self._direct(outgoing, listening=on_track is not None)
            await self.pc.setLocalDescription(await self.pc.createAnswer())
        except OperationError:
            raise ApiError(422, "no_codec", "Offer VP8 or H.264 video; this browser offered neither.") from None
        except Exception as e:
            log.warning("an offer was refused (%s)", type(e).__name__)  # its text may hold passwords and addresses
            raise unreadable() from None
        return limited(self.pc.localDescription.sdp)

    def _direct(self, outgoing: tuple[CoveredTrack, SoundTrack] | None, *, listening: bool) -> None:
        """Say in which direction each medium goes, and with what."""
        for t in self.pc.getTransceivers():
            with_loopback(t.receiver.transport.transport.iceGatherer)
            if outgoing is not None:
                t.sender.replaceTrack(next(track for track in outgoing if track.kind == t.kind))
                t.direction = "sendrecv" if listening else "sendonly"
                self.sender = t.sender if t.kind == "video" else self.sender
        if self.pc.sctp is not None:
            with_loopback(self.pc.sctp.transport.transport.iceGatherer)

    async def _changed(self) -> None:
        if self.pc.connectionState in ("failed", "closed") and not self.closed:
            await self.on_gone()

    def receiver_of(self, track: MediaStreamTrack) -> RTCRtpReceiver | None:
        return next((r for r in self.pc.getReceivers() if r.track is track), None)

    def rtp(self, pts: int) -> int | None:
        """The RTP timestamp with which a picture of this ``pts`` leaves; None until it is known."""
        return self.clock.of(pts, getattr(self.sender, "_RTCRtpSender__rtp_timestamp", None))

    async def close(self) -> None:
        """Safe to call twice."""
        if not self.closed:
            self.closed = True
            try:
                await asyncio.wait_for(self.pc.close(), CLOSE_S)
            except asyncio.TimeoutError:
                log.warning("a WebRTC connection did not close in time")


class RtpClock:
    """WebRTC adds a random number to all times of a stream; this finds it, so that pages can tell pictures apart.

    aiortc tells it to nobody, but keeps the timestamp of what it sent last.
    """

    def __init__(self) -> None:
        self.previous: int | None = None  # pts of the picture before
        self.candidate: int | None = None
        self.origin: int | None = None

    def of(self, pts: int, newest: int | None) -> int | None:
        """``newest``: RTP timestamp of the picture before this one. Called once for each picture."""
        if newest is not None and self.previous is not None:
            found = (newest - self.previous) % RTP_WRAP
            if found == self.candidate:  # twice the same: nothing got lost between
                self.origin = found
            self.candidate = found
        self.previous = pts
        return None if self.origin is None else (self.origin + pts) % RTP_WRAP


def with_loopback(gatherer: Any) -> None:
    """Let this connection use 127.0.0.1 too, which ICE leaves out: a machine without any network has nothing else."""
    connection: Any = getattr(gatherer, "_connection", None)
    gather = getattr(connection, "get_component_candidates", None)
    if gather is None or isinstance(gather, partial):
        return
    connection.get_component_candidates = partial(gather_more, gather)


async def gather_more(gather: Any, component: int, addresses: list[str], **more: Any) -> Any:
    return await gather(component=component, addresses=[*addresses, "127.0.0.1"], **more)
