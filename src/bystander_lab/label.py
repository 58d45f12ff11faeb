"""A page on this machine to draw and correct boxes and roles. Serves ``label.html`` and the pictures, takes labels.

Only this machine is answered: the server listens on the loopback address, refuses other host names (a foreign page
that points its name here) and takes labels only as JSON from its own page (a foreign page cannot send that).
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bystander_lab.dataset import Dataset, Picture, checked
from bystander_lab.widerface import DataError

ADDRESS = "127.0.0.1"
MAX_BODY = 1 << 20  # bytes
PAGE = Path(__file__).with_name("label.html")
SAFE = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Session:
    """The pictures being labelled and where they are saved; calls come from several threads."""

    def __init__(self, pictures: list[Picture], dataset: Dataset) -> None:
        self.pictures = [dataset.known(p) for p in pictures]
        self.dataset, self.lock = dataset, threading.Lock()

    def listing(self) -> list[dict[str, Any]]:
        """What the page needs to know, without pixels."""
        keys = ("file", "group", "width", "height", "faces", "complete", "saved")
        return [{k: getattr(p, k) for k in keys} for p in self.pictures]

    def save(self, i: int, body: Any) -> None:
        """Take the labels of picture i. DataError when they do not fit, OSError when they cannot be written."""
        if not isinstance(body, dict) or not isinstance(body.get("complete"), bool):
            raise DataError("labels must be an object with faces and complete")
        with self.lock:
            p = self.pictures[i]
            p = replace(p, faces=checked(body.get("faces"), p.width, p.height), complete=body["complete"], saved=True)
            self.dataset.save(p)
            self.pictures[i] = p


class Handler(BaseHTTPRequestHandler):
    session: Session
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.from_here():
            return
        number = self.number(".jpg")
        if self.path == "/":
            self.answer(200, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/pictures":
            self.answer_json(200, self.session.listing())
        elif number is not None:
            self.answer(200, self.session.pictures[number].jpeg, "image/jpeg")
        else:
            self.answer_json(404, {"error": "no such page"})

    def do_POST(self) -> None:
        self.close_connection = True  # whatever of the body stays unread is no next request
        if not self.from_here():
            return
        number, length = self.number(""), self.headers.get("Content-Length", "")
        if number is None:
            self.answer_json(404, {"error": "no such picture"})
        elif self.headers.get_content_type() != "application/json":
            self.answer_json(415, {"error": "labels must be JSON"})
        elif not length.isdecimal() or int(length) > MAX_BODY:
            self.answer_json(413, {"error": f"labels must be at most {MAX_BODY} bytes"})
        else:
            self.take(number, self.rfile.read(int(length)))

    def take(self, number: int, data: bytes) -> None:
        try:
            self.session.save(number, json.loads(data))
        except (DataError, ValueError) as e:
            self.answer_json(400, {"error": str(e)})
        except OSError as e:
            self.answer_json(500, {"error": f"cannot be saved: {e.strerror}"})
        else:
            self.answer_json(200, {"saved": True})

    def from_here(self) -> bool:
        """Whether the request is meant for this server, by this server's page; answers if not."""
        port = self.server.server_address[1]
        hosts = {f"{ADDRESS}:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        here = self.headers.get("Host") in hosts and (origin is None or origin.removeprefix("http://") in hosts)
        if not here:
            self.answer_json(403, {"error": "only for this machine's own page"})
        return here

    def number(self, suffix: str) -> int | None:
        """The picture that the path names, or None."""
        name = self.path.removeprefix("/pictures/").removesuffix(suffix)
        fits = self.path == f"/pictures/{name}{suffix}" and name.isascii() and name.isdecimal()
        return int(name) if fits and len(name) < 8 and int(name) < len(self.session.pictures) else None

    def answer_json(self, code: int, value: object) -> None:
        self.answer(code, json.dumps(value).encode(), "application/json")

    def answer(self, code: int, data: bytes, kind: str) -> None:
        self.send_response(code)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **SAFE}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Requests are nobody's business."""


def open_server(session: Session, port: int) -> ThreadingHTTPServer:
    """A server on the loopback address; port 0 takes a free one. DataError when the port is taken."""
    handler = type("SessionHandler", (Handler,), {"session": session})
    try:
        return ThreadingHTTPServer((ADDRESS, port), handler)
    except OSError as e:
        raise DataError(f"port {port}: cannot be opened ({e.strerror}); choose another with --port") from e
