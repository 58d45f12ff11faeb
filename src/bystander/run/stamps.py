"""Times of a live stream -> times that only rise, over reconnects, clock jumps and repeats.

The source's own times and the moments of arrival go in; seconds since the stream's begin come out. Frames and sound of
one connection are moved by the same amount, so they stay together.
"""

from __future__ import annotations

from dataclasses import dataclass

JUMP_S = 1.0  # a step ahead of the time that passed by more is a jump; so is any step back
LAG_FOR_S = 2.0  # frames that are JUMP_S late for so long come from a clock that stood still, not from a late network
TICK_S = 0.001  # least distance of two pictures


@dataclass(slots=True)
class Stamps:
    """The offset between the source's clock and the stream's own."""

    offset_s: float | None = None  # None: anchor at the next frame
    source_s: float = 0.0  # newest frame, on the source's clock
    arrived_s: float = 0.0
    in_time_s: float = 0.0  # when a frame was last less than JUMP_S late
    newest_s: float = -1.0  # newest time that was given out

    def reconnect(self) -> None:
        """The next frame comes from a new connection, whose clock may begin anywhere."""
        self.offset_s = None

    def picture(self, source_s: float, now_s: float) -> tuple[float, bool]:
        """(time of a frame in the stream, whether its clock jumped). ``now_s``: seconds since the stream's begin."""
        jumped = self.offset_s is not None and self._jumps(source_s, now_s, self.offset_s)
        if self.offset_s is None or jumped:
            self.offset_s, self.in_time_s = now_s - source_s, now_s
        self.source_s, self.arrived_s = source_s, now_s
        self.newest_s = max(source_s + self.offset_s, self.newest_s + TICK_S)
        return self.newest_s, jumped

    def _jumps(self, source_s: float, now_s: float, offset_s: float) -> bool:
        step, passed = source_s - self.source_s, now_s - self.arrived_s
        if now_s - (source_s + offset_s) < JUMP_S:
            self.in_time_s = now_s
        return not 0 <= step < passed + JUMP_S or now_s - self.in_time_s > LAG_FOR_S

    def sound(self, source_s: float) -> float | None:
        """The time of a piece of sound; None before the first frame, when nothing could be in step with it."""
        return None if self.offset_s is None else source_s + self.offset_s
