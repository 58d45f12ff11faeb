"""Times of a live stream -> times that only rise, over reconnects, clock jumps and repeats.

The source's own times and the moments of arrival go in; seconds since the stream's begin come out. Frames and sound of
one connection are moved by the same amount, so they stay together.
"""

from __future__ import annotations

from dataclasses import dataclass

JUMP_S = 1.0  # a step ahead of the time that passed by more is a jump; so is any step back
LAG_S = 0.3  # a source that falls behind by so much
LAG_FOR_S = 2.0  # for so long has a slow clock, stood still or is decoded too slowly: the network alone would catch up
TICK_S = 0.001  # least distance of two pictures


@dataclass(slots=True)
class Stamps:
    """The offset between the source's clock and the stream's own."""

    offset_s: float | None = None  # None: anchor at the next frame
    source_s: float = 0.0  # newest frame, on the source's clock
    arrived_s: float = 0.0
    in_time_s: float = 0.0  # when a frame was last less than LAG_S late
    newest_s: float = -1.0  # newest time that was given out

    def reconnect(self) -> None:
        """The next frame comes from a new connection, whose clock may begin anywhere."""
        self.offset_s = None

    def picture(self, source_s: float, now_s: float) -> tuple[float, bool]:
        """(time of a frame in the stream, whether its clock jumped). ``now_s``: seconds since the stream's begin."""
        step, passed = source_s - self.source_s, now_s - self.arrived_s
        jumped = self.offset_s is not None and not 0 <= step < passed + JUMP_S
        if self.offset_s is None or jumped:
            # never before what was given out, also when that ran ahead: frames would be squeezed, their sound not
            self.offset_s = max(now_s, self.newest_s + TICK_S) - source_s
            self.in_time_s = now_s
        self.offset_s += self._slip(now_s - (source_s + self.offset_s), now_s)
        self.source_s, self.arrived_s = source_s, now_s
        self.newest_s = max(source_s + self.offset_s, self.newest_s + TICK_S)
        return self.newest_s, jumped

    def _slip(self, lag_s: float, now_s: float) -> float:
        """How much to move all times ahead now. Like dropped frames it makes a gap; the picture goes on as it was."""
        late_for_s = now_s - self.in_time_s
        if lag_s >= LAG_S and late_for_s <= LAG_FOR_S:
            return 0.0
        self.in_time_s = now_s
        return lag_s if lag_s >= LAG_S else 0.0

    def sound(self, source_s: float) -> float | None:
        """The time of a piece of sound; None before the first frame, when nothing could be in step with it."""
        return None if self.offset_s is None else source_s + self.offset_s
