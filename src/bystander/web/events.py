"""Server-sent events: what happens to an owner's films, told to that owner's open pages only."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, g, request

from bystander.web.hub import Hub, Page
from bystander.web.site import site_of

blueprint = Blueprint("events", __name__)
PING_S, LOOK_S = 15.0, 1.0


@blueprint.get("/api/events")
def events() -> Response:
    """All own films first, then every change."""
    films, owner = site_of().films, g.owner
    page = films.hub.open(owner)
    gone = request.environ.get("waitress.client_disconnected", lambda: False)
    first = deque(("film", film) for film in films.list(owner))
    lines = Stream(films.hub, owner, page, first, gone)
    answer = Response(lines, mimetype="text/event-stream")
    answer.headers["X-Accel-Buffering"] = "no"
    answer.call_on_close(lines.close)
    return answer


class Stream:
    """The lines of one stream; the server closes it when the client leaves."""

    def __init__(
        self, hub: Hub, owner: str, page: Page, first: deque[tuple[str, dict[str, Any]]], gone: Callable[[], bool]
    ) -> None:
        self.hub, self.owner, self.page, self.first, self.gone = hub, owner, page, first, gone
        self.left = False
        self.lines = self._lines()

    def __iter__(self) -> Iterator[str]:
        return self.lines

    def _lines(self) -> Iterator[str]:
        yield "retry: 2000\n\n"
        while self.first:
            yield line(*self.first.popleft())
        told = time.monotonic()
        while not self.hub.closed and not self.gone():
            found, now = self.hub.take(self.page, LOOK_S), time.monotonic()
            for kind, data in found:
                yield line(kind, data)
            if not found and now - told >= PING_S:
                yield ": ping\n\n"
            if found or now - told >= PING_S:
                told = now

    def close(self) -> None:
        if not self.left:
            self.left = True
            self.hub.leave(self.owner, self.page)


def line(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
