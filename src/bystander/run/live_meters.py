"""Rates and percentiles of a stream that runs for hours: what ``Meters`` counts, and the newest few seconds of it.

Times of single events go in, numbers come out, in memory of a fixed size. Never any picture content.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bystander.run.meters import Meters

log = logging.getLogger("bystander")
SAMPLES = 1024  # newest values from which percentiles are taken
RATE_S = 4.0  # span over which rates are taken


class LiveMeters(Meters):
    """Thread-safe. ``clock`` gives seconds that only rise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.started = clock()
        self.edges: Counter[str] = Counter()  # faults of inputs and outputs by kind
        self.latency: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))
        self.moments: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage ``name``, and keep it for the percentiles."""
        begin = self.clock()
        try:
            yield
        finally:
            self.took(name, self.clock() - begin)

    def took(self, name: str, seconds: float) -> None:
        with self._lock:
            self.seconds[name] += seconds
            self.latency[name].append(seconds)

    def edge(self, kind: str) -> bool:
        """Count a fault of an input or output, which covers no frame; True the first time for this kind."""
        with self._lock:
            self.edges[kind] += 1
            return self.edges[kind] == 1

    def told(self, kind: str) -> None:
        """Count a fault of an edge that was got over, log its kind once."""
        if self.edge(kind):
            log.warning("%s; the stream goes on", kind)

    def tick(self, name: str) -> None:
        """Count an event whose rate matters, e.g. a frame that came in."""
        with self._lock:
            self.counts[name] += 1
            self.moments[name].append(self.clock())

    def rate(self, name: str) -> float:
        """Events per second over the last ``RATE_S``."""
        with self._lock:
            moments = list(self.moments[name])
        span = min(RATE_S, max(self.elapsed_s, 0.5))
        return sum(m > self.clock() - span for m in moments) / span

    def percentiles_ms(self) -> dict[str, tuple[float, float, float]]:
        """p50, p95, p99 of every stage and of the whole way, ms."""
        with self._lock:
            known = {name: sorted(values) for name, values in self.latency.items() if values}
        return {name: tuple(at(values, p) * 1000 for p in (50, 95, 99)) for name, values in known.items()}  # type: ignore[misc]

    @property
    def faults(self) -> int:
        """Frames covered whole because something failed."""
        with self._lock:
            return sum(self.whole.values())

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self.started


def at(ordered: list[float], percent: float) -> float:
    """The value below which ``percent`` of the ordered values lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
