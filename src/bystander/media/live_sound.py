"""Pieces of sound with gaps and overlaps in, one unbroken run of samples out, in step with the picture.

Gaps become silence, overlaps are cut, so that sound and picture never drift apart by more than ``TOLERANCE_S``.
"""

from __future__ import annotations

import numpy as np

from bystander.types import F32, Sound

TOLERANCE_S = 0.02  # smaller differences are jitter of the stamps
CHANNELS = 2
LONGEST_S = 2.0  # of silence at once, so that a jump of hours does not fill memory


class SoundTrack:
    """Counts samples at ``rate`` from the time of the first picture."""

    def __init__(self, rate: int, start_s: float) -> None:
        self.rate = rate
        self.next = round(start_s * rate)  # position of the next sample, from time 0 of the stream

    @property
    def end_s(self) -> float:
        return self.next / self.rate

    def fit(self, sound: Sound) -> list[tuple[int, F32]]:
        """(position, samples) to encode, in order, without gap or overlap."""
        start = round(sound.time_s * self.rate)
        samples, ready = sound.samples, list[tuple[int, F32]]()
        off = start - self.next
        if off > TOLERANCE_S * self.rate:
            ready += self.silence(sound.time_s)
        elif off < -TOLERANCE_S * self.rate:
            samples = samples[:, -off:]
        if samples.shape[1]:
            ready.append((self._take(samples.shape[1]), samples))
        return ready

    def silence(self, until_s: float) -> list[tuple[int, F32]]:
        """Silence up to ``until_s``; after a long gap only its end, so the position may jump."""
        end = round(until_s * self.rate)
        self.next = max(self.next, end - round(LONGEST_S * self.rate))
        n = end - self.next
        return [(self._take(n), np.zeros((CHANNELS, n), np.float32))] if n > 0 else []

    def _take(self, n: int) -> int:
        position, self.next = self.next, self.next + n
        return position
