"""Encoded pictures that wait for their decoder, and what to do when this machine cannot keep up with them.

WebRTC's queue in front of the decoder has no end: on a busy machine the picture would become later and later. So when
too much waits it is thrown away and the sender is asked for a whole picture; nothing is decoded before that comes,
because what builds on thrown-away pictures decodes to smears. aiortc offers no way to this; its own queue is replaced.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import deque
from typing import Any

LATE_S = 0.6  # longer must no picture wait
AGAIN = 20  # pictures thrown away after which a whole one is asked for again
WHOLE_H264 = re.compile(rb"\x00\x00\x01[\x05\x25\x45\x65]")  # the start of an IDR slice (H.264, 7.3.1 and Annex B)
QUEUE, DAMAGED = "_RTCRtpReceiver__decoder_queue", "_RTCRtpReceiver__decoder_error"


class Backlog(queue.Queue[Any]):
    """Takes the place of an ``RTCRtpReceiver``'s queue before it receives. ``put`` is called on the event loop."""

    def __init__(self, receiver: Any) -> None:
        self.since: deque[float] = deque()  # since when each picture waits
        super().__init__()
        damaged = getattr(receiver, DAMAGED, None)
        self.damaged: threading.Event = damaged or threading.Event()  # set: the sender is asked for a whole picture
        self.broken, self.thrown = False, 0  # pictures thrown away
        if hasattr(receiver, QUEUE):  # another aiortc may have none: nothing is thrown away then
            setattr(receiver, QUEUE, self)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """``item``: (codec, encoded picture), or None at the end."""
        if item is not None and not self._usable(*item):
            self.thrown += 1
            if self.thrown % AGAIN == 0:
                self.damaged.set()  # ask again: the answer may have got lost
            return
        super().put(item, block, timeout)

    def _put(self, item: Any) -> None:  # like _get, what Queue offers to those who build on it
        super()._put(item)
        self.since.append(time.monotonic())

    def _get(self) -> Any:
        self.since.popleft()
        return super()._get()

    @property
    def late_s(self) -> float:
        """How long the oldest picture has waited."""
        with self.mutex:
            return time.monotonic() - self.since[0] if self.since else 0.0

    def _usable(self, codec: Any, encoded: Any) -> bool:
        if self.late_s > LATE_S:
            self._throw_away()
        if self.broken and is_whole(codec.name, encoded.data):
            self.broken = False
        return not self.broken

    def _throw_away(self) -> None:
        self.broken = True
        self.damaged.set()
        while True:
            try:
                self.get_nowait()
            except queue.Empty:
                return
            self.thrown += 1


def is_whole(codec: str, data: bytes) -> bool:
    """Whether an encoded picture needs no other one. True for codecs that are not known."""
    if codec.upper() == "VP8":
        return bool(data) and not data[0] & 1  # RFC 6386, 9.1
    return codec.upper() != "H264" or WHOLE_H264.search(data) is not None
