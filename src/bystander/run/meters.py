"""Counts and times of a run, for the closing line, events and benchmarks. Never any picture content."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Meters:
    """Thread-safe counters: seconds per stage, frames, faces, people, whole-frame covers by kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()  # fail-safe covers by kind of fault
        self.started = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage ``name``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.perf_counter() - begin

    def count(self, name: str, n: int = 1) -> None:
        with self._lock:
            self.counts[name] += n

    def fail_safe(self, kind: str) -> bool:
        """Count a frame that was covered whole; True the first time for this kind."""
        with self._lock:
            self.whole[kind] += 1
            return self.whole[kind] == 1

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def summary(self) -> dict[str, object]:
        """Plain values, ready for JSON: ms per frame of each stage and all counts."""
        frames = max(1, self.counts["frames"])
        return {
            **self.counts,
            "whole_frame_covers": dict(self.whole),
            "seconds": round(self.elapsed_s, 3),
            "fps": round(self.counts["frames"] / max(self.elapsed_s, 1e-9), 2),
            "ms_per_frame": {k: round(v * 1000 / frames, 3) for k, v in self.seconds.items()},
        }
