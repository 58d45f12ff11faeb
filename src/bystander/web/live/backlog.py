"""Encoded pictures that wait for their decoder, and what to do when this machine cannot keep up with them.

WebRTC's queue in front of the decoder has no end: on a busy machine the picture would become later and later. So what
waits too long is thrown away, and the sender is asked for a whole picture; until that comes nothing new is shown,
because what builds on thrown-away pictures decodes to smears. aiortc offers no way to this; its own queue is used.
"""

from __future__ import annotations

import queue
from typing import Any

MOST = 20  # pictures; 0.7 s at 30 a second


class Backlog:
    """Of one ``RTCRtpReceiver``. Without such a queue, in another aiortc, nothing is ever thrown away."""

    def __init__(self, receiver: Any) -> None:
        self.waiting: queue.Queue[Any] | None = getattr(receiver, "_RTCRtpReceiver__decoder_queue", None)
        self.damaged = getattr(receiver, "_RTCRtpReceiver__decoder_error", None)  # set: a whole picture is asked for
        self.broken, self.thrown, self.skipped = False, 0, 0  # pictures thrown away; decoded ones not used

    def usable(self, native: Any) -> bool:
        """Whether a decoded picture is whole. Called for each; throws away what waits when that is too much."""
        if self.waiting is not None and self.waiting.qsize() > MOST:
            self._throw_away(self.waiting)
        if self.broken and native.key_frame:
            self.broken = False
        if self.broken:
            self.skipped += 1
            if self.damaged is not None and self.skipped % MOST == 0:
                self.damaged.set()  # ask again: the answer may have got lost
        return not self.broken

    def _throw_away(self, waiting: queue.Queue[Any]) -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:  # the mark of the end
                waiting.put(None)
                break
            self.thrown += 1
        self.broken = True
        if self.damaged is not None:
            self.damaged.set()
