"""Who listens to which owner's events, and what waits for them. In memory alone, bounded."""

from __future__ import annotations

from collections import defaultdict
from threading import Condition
from typing import Any

from bystander.web.errors import ApiError

OWNER_STREAMS, ALL_STREAMS = 4, 16  # open at a time; each holds a thread of the server
WAITING = 500  # films whose newest state waits for a page that does not read


class Page:
    """One open stream's events that were not sent yet: the newest of each film."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[str, dict[str, Any]]] = {}  # film id -> event, data


class Hub:
    """Safe in several threads."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.pages: defaultdict[str, list[Page]] = defaultdict(list)
        self.closed = False

    def tell(self, owner: str, kind: str, data: dict[str, Any]) -> None:
        with self.changed:
            for page in self.pages.get(owner, ()):
                page.waiting.pop(data["id"], None)
                page.waiting[data["id"]] = (kind, data)
                if len(page.waiting) > WAITING:
                    page.waiting.pop(next(iter(page.waiting)))
            self.changed.notify_all()

    def open(self, owner: str) -> Page:
        """ApiError where too many are open."""
        with self.changed:
            if len(self.pages.get(owner, ())) >= OWNER_STREAMS or self.count() >= ALL_STREAMS:
                raise ApiError(429, "too_many_streams", "Too many pages are open; close one.", {"Retry-After": "10"})
            page = Page()
            self.pages[owner].append(page)
            return page

    def count(self) -> int:
        """Open streams of everybody."""
        with self.changed:
            return sum(map(len, self.pages.values()))

    def leave(self, owner: str, page: Page) -> None:
        with self.changed:
            self.pages[owner].remove(page)
            if not self.pages[owner]:
                del self.pages[owner]

    def take(self, page: Page, timeout_s: float) -> list[tuple[str, dict[str, Any]]]:
        """What waits for this page, after at most ``timeout_s``."""
        with self.changed:
            if not page.waiting and not self.closed:
                self.changed.wait(timeout_s)
            found, page.waiting = list(page.waiting.values()), {}
            return found

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()
