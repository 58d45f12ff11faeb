"""Where a live stream's frames wait: one slot in which the newest wins, the stream's only drop point.

A producer never blocks; a consumer waits at most as long as it says. Never reorders.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Holds at most one item. ``put`` replaces what nobody took."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._item: T | None = None

    def put(self, item: T) -> bool:
        """Offer ``item``; False when it replaced one that nobody took (a drop)."""
        with self._ready:
            free = self._item is None
            self._item = item
            self._ready.notify()
            return free

    def take(self, timeout_s: float) -> T | None:
        """The item, or None when none came in time."""
        with self._ready:
            self._ready.wait_for(lambda: self._item is not None, timeout_s)
            item, self._item = self._item, None
            return item
