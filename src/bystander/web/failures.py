"""Wrong tokens a client may try: ten a minute. Addresses in, seconds to wait out; memory is bounded."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock

MOST, WINDOW_S = 10, 60.0
CLIENTS = 10_000  # remembered


class Failures:
    """Safe in several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.lock = clock, Lock()
        self.times: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, client: str) -> None:
        with self.lock:
            self.times.setdefault(client, deque(maxlen=MOST)).append(self.clock())
            self.times.move_to_end(client)
            while len(self.times) > CLIENTS:
                self.times.popitem(last=False)

    def wait_s(self, client: str) -> int:
        """Whole seconds until this client may try again; 0: now."""
        with self.lock:
            times = self.times.get(client)
            if times is None or len(times) < MOST:
                return 0
            return max(0, math.ceil(times[0] + WINDOW_S - self.clock()))
