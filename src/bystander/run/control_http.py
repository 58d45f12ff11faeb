"""A stream's control over HTTP on loopback: status, choices, panic, the covered preview with numbers on the faces.

Requests come in with the token that the caller was given; JSON and covered pictures go out. Never a raw frame, never an
address's secrets. A page from elsewhere cannot use it: it does not know the token.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from bystander.errors import SettingsError
from bystander.run.control import Control
from bystander.types import Verdict

LONGEST_BODY = 100_000  # bytes
Preview = Callable[[], bytes | None]  # JPEG of the newest covered picture with numbers; None where there is none


class ControlServer:
    """``GET /status``, ``GET /preview.jpg``, ``POST /choices``, ``/panic``, ``/stop``; see docs/live.md."""

    def __init__(self, where: tuple[str, int], token: str, control: Control, preview: Preview) -> None:
        """SettingsError when the port cannot be had."""
        self.token, self.control, self.preview = token, control, preview
        try:
            self.http = ThreadingHTTPServer(where, handler(self))
        except OSError as e:
            raise SettingsError(f"control {where[0]}:{where[1]}: cannot listen there ({e.strerror})") from e
        self.http.daemon_threads = True
        Thread(target=self.http.serve_forever, name="bystander-control", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def post(self, path: str, body: dict[str, Any]) -> bool:
        """Do what was asked. False for an unknown path; ValueError for a body that does not fit."""
        if path == "/choices":
            keep, cover = ids(body, "keep"), ids(body, "cover")
            self.control.choose(keep, cover, Verdict(body.get("default", "cover")))
        elif path == "/panic":
            if not isinstance(body.get("on"), bool):
                raise ValueError('give {"on": true} or {"on": false}')
            self.control.panic = body["on"]
        elif path == "/stop":
            self.control.stop()
        else:
            return False
        return True

    def state(self) -> dict[str, object]:
        c = self.control.choices
        chosen = {"keep": sorted(c.keep), "cover": sorted(c.cover), "default": c.default.value}
        return {**asdict(self.control.status), "panic": self.control.panic, "choices": chosen}


def ids(body: dict[str, Any], key: str) -> frozenset[int]:
    """Track ids from a JSON list. ValueError for anything else."""
    values = body.get(key, [])
    if not isinstance(values, list) or any(type(v) is not int for v in values):
        raise ValueError(f"{key}: must be a list of face numbers")
    return frozenset(values)


def handler(server: ControlServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.allowed():
                return
            if self.path == "/status":
                self.answer(200, server.state())
            elif self.path == "/preview.jpg":
                picture = server.preview()
                if picture is None:
                    self.answer(503, {"error": "no preview now: no picture yet, or the machine is too slow"})
                else:
                    self.send(200, "image/jpeg", picture)
            else:
                self.answer(404, {"error": "unknown path"})

        def do_POST(self) -> None:
            if not self.allowed():
                return
            try:
                length = int(self.headers.get("Content-Length", 0))
                if not 0 <= length <= LONGEST_BODY:
                    raise ValueError("the body is too long")
                body = json.loads(self.rfile.read(length) or b"{}")
                if not isinstance(body, dict):
                    raise TypeError("the body must be a JSON object")
                known = server.post(self.path, body)
            except (TypeError, ValueError, RecursionError) as e:
                self.answer(400, {"error": str(e)})
                return
            self.answer(200 if known else 404, server.state() if known else {"error": "unknown path"})

        def allowed(self) -> bool:
            given = self.headers.get("Authorization", "").encode(errors="replace")
            if hmac.compare_digest(given, f"Bearer {server.token}".encode()):
                return True
            self.answer(401, {"error": "the token is missing or wrong"})
            return False

        def answer(self, code: int, value: object) -> None:
            self.send(code, "application/json", json.dumps(value).encode())

        def send(self, code: int, kind: str, data: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: Any) -> None:
            """Requests are no news."""

    return Handler
