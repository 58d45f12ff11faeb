"""The way out for sound: pieces as they leave with the picture of their time in, an even stream of 20 ms out.

Where nothing has come there is silence. What piles up because the other side is slow is dropped, the oldest first.
"""

from __future__ import annotations

import asyncio
import threading
import time
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from bystander.media.live_source import RATE
from bystander.types import F32, Sound

PIECE = RATE // 50  # samples, 20 ms
FIRST = 3 * PIECE  # so much must wait before it begins, as pieces come in bursts, one a picture
MOST = RATE // 2
BEHIND_S = 0.5  # later than this the clock begins anew


class SoundTrack(MediaStreamTrack):
    """Give it sound with ``hear``, from any thread."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.buffer: F32 = np.zeros((2, 0), np.float32)
        self.playing = False
        self.pieces, self.next_s = 0, time.monotonic()

    def hear(self, sound: Sound) -> None:
        with self.lock:
            self.buffer = np.concatenate([self.buffer, sound.samples], axis=1)[:, -MOST:]

    async def recv(self) -> av.AudioFrame:
        now = time.monotonic()
        self.next_s = max(self.next_s, now - BEHIND_S) + PIECE / RATE
        await asyncio.sleep(max(0.0, self.next_s - now))
        if self.readyState != "live":
            raise MediaStreamError
        samples = np.clip(self._take() * 32767, -32768, 32767).astype(np.int16)
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), "s16", "stereo")
        piece.sample_rate, piece.pts, piece.time_base = RATE, self.pieces * PIECE, Fraction(1, RATE)
        self.pieces += 1
        return piece

    def _take(self) -> F32:
        """(2, PIECE) of what has come, or silence."""
        with self.lock:
            waiting = self.buffer.shape[1]
            self.playing = waiting >= (PIECE if self.playing else FIRST)
            if not self.playing:
                return np.zeros((2, PIECE), np.float32)
            taken, self.buffer = self.buffer[:, :PIECE], self.buffer[:, PIECE:]
            return taken
