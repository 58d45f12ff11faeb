"""TLS before waitress, which speaks none: bytes come in encrypted and go on, in clear, to a port of loopback.

One asyncio loop in a thread of its own. What reaches that port by another way than the front is refused, and the
application sees the browser's address, not the front's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

PIECE = 65536
HANDSHAKE_S = 15.0
MOST, EACH = 200, 60  # connections at a time, and of one address
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Front:
    """Listens once it is made (OSError when it cannot), answers after ``start``."""

    def __init__(self, where: tuple[str, int], context: ssl.SSLContext) -> None:
        self.context = context
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.socket = socket.create_server(where, family=family)
        self.clients: dict[int, str] = {}  # port of the connection behind -> the browser's address
        self.loop = asyncio.new_event_loop()
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def start(self, behind: int) -> None:
        """Take connections, and pass them on to this port of loopback."""
        self.behind = behind
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve()),
                                       name="bystander-tls", daemon=True)  # fmt: skip
        self.thread.start()

    async def _serve(self) -> None:
        self.stop = asyncio.Event()
        server = await asyncio.start_server(
            self._connection, sock=self.socket, ssl=self.context, ssl_handshake_timeout=HANDSHAKE_S, limit=PIECE
        )
        await self.stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = None
        try:
            client = str(writer.get_extra_info("peername")[0])
            if len(self.clients) >= MOST or list(self.clients.values()).count(client) >= EACH:
                return
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.behind, limit=PIECE)
            own = int(back_writer.get_extra_info("sockname")[1])
            self.clients[own] = client
            there = asyncio.ensure_future(pump(reader, back_writer))
            here = asyncio.ensure_future(pump(back_reader, writer))
            await asyncio.wait(
                (there, here), return_when=asyncio.FIRST_COMPLETED
            )  # TLS knows no half-closed connections
            for task in (there, here):
                task.cancel()
            back_writer.close()
        except OSError:
            return
        finally:
            if own is not None:
                self.clients.pop(own, None)
            with suppress(OSError, RuntimeError):
                writer.close()

    def trusting(self, application: Any) -> Application:
        """The application, asked only by way of this front."""

        def asked(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            client = self.clients.get(int(environ.get("REMOTE_PORT") or 0))
            if client is None:
                start("403 Forbidden", [("Content-Type", "text/plain")])
                return [b"Use HTTPS.\n"]
            environ["REMOTE_ADDR"] = client
            answer: Iterable[bytes] = application(environ, start)
            return answer

        return asked

    def close(self) -> None:
        if self.thread is not None:
            self.loop.call_soon_threadsafe(self.stop.set)
            self.thread.join(5)
        self.socket.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes of one side to the other."""
    with suppress(OSError, ssl.SSLError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
