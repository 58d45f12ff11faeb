"""How long to wait before the next try. Failures and successes go in, seconds come out; no clock, no sleep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BackOff:
    """Doubles from ``first_s`` to ``most_s``; a connection that held for a while starts over."""

    first_s: float = 0.5
    most_s: float = 10.0
    held_s: float = 5.0  # a connection that lasted this long was a good one
    wait_s: float = 0.0

    def failed(self, lasted_s: float = 0.0) -> float:
        """Seconds to wait now, after a connection that lasted ``lasted_s``."""
        fresh = self.wait_s == 0 or lasted_s >= self.held_s
        self.wait_s = self.first_s if fresh else min(2 * self.wait_s, self.most_s)
        return self.wait_s
