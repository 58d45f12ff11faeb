"""``CoveredFrame``s as MJPEG over HTTP, for a quick look in any browser.

Listens on loopback unless the address names another interface. Encodes only while somebody looks. Sends nothing but
covered pictures.
"""

from __future__ import annotations

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bystander.errors import OutputError
from bystander.media.address import Address
from bystander.media.live_picture import jpeg
from bystander.types import CoveredFrame, Sound

LONG_SIDE = 1280  # px
WAIT_S = 5.0  # a viewer is told nothing new for so long at most
BOUNDARY = "picture"


class MjpegServer:
    """One listening server for the whole run; ``sink`` feeds it."""

    def __init__(self, address: Address) -> None:
        """OutputError when the port cannot be had."""
        self.fresh = threading.Condition()
        self.picture: bytes | None = None
        self.viewers = 0
        try:
            self.http = ThreadingHTTPServer((address.host, address.port), handler(self))
        except OSError as e:
            raise OutputError(f"{address.name}: cannot listen there ({e.strerror})") from e
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, name="bystander-mjpeg", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])

    def sink(self) -> MjpegSink:
        return MjpegSink(self)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class MjpegSink:
    def __init__(self, server: MjpegServer) -> None:
        self.server = server

    def picture(self, covered: CoveredFrame) -> None:
        """Show it to those who look. TypeError for anything but a ``CoveredFrame``."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be shown, not {type(covered).__name__}")
        # without viewers the last one is forgotten: the next viewer must not be shown what people have covered since
        data = jpeg(covered, LONG_SIDE) if self.server.viewers else None
        with self.server.fresh:
            self.server.picture = data
            self.server.fresh.notify_all()

    def sound(self, sound: Sound) -> None:
        """There is none in MJPEG."""

    def close(self) -> None:
        """The server goes on for the next connection of the stream; its last picture is forgotten."""
        self.server.picture = None


def differs(server: MjpegServer, shown: bytes | None) -> bool:
    return server.picture is not shown


def handler(server: MjpegServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            with server.fresh:
                server.viewers += 1
            try:
                self.feed()
            except OSError:
                self.close_connection = True  # the viewer left
            finally:
                with server.fresh:
                    server.viewers -= 1

        def feed(self) -> None:
            shown: bytes | None = None
            while True:
                with server.fresh:
                    server.fresh.wait_for(partial(differs, server, shown), WAIT_S)
                    data = server.picture
                if data is not None:
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                shown = data

        def log_message(self, *_args: Any) -> None:
            """Who looks is nobody's business."""

    return Handler
