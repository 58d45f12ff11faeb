"""Ends connections that FFmpeg waits on for ever: a pulled cable, a platform that takes no byte any more.

PyAV gives its protocols no time limit for connecting and writing. So whoever calls FFmpeg says so here; when a call
takes too long, the TCP connections that it has opened are shut down, and FFmpeg comes back with an error.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator

from bystander.media.address import addresses

PATIENCE_S = 6.0
LOOK_S = 0.5  # how often it is looked
MOST_FILES = 4096  # file numbers that are looked through for sockets
DEFAULT_PORTS = {"rtmp": 1935, "rtmps": 443, "rtsp": 554, "rtsps": 322}


class Patience:
    """``with patience(): ...`` around each call for a connection to ``host``; one thread at a time."""

    def __init__(self, host: str, port: int, patience_s: float = PATIENCE_S) -> None:
        self.where, self.patience_s = (host, port), patience_s
        self.others = set(sockets().values())  # connections of others, open already
        self.since_s: float | None = None  # when the call that lasts began
        self.closed = threading.Event()
        threading.Thread(target=self._work, name="bystander-patience", daemon=True).start()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self.since_s = time.monotonic()
        try:
            yield
        finally:
            self.since_s = None

    def _work(self) -> None:
        while not self.closed.wait(LOOK_S):
            since_s = self.since_s
            if since_s is not None and time.monotonic() - since_s > self.patience_s:
                self.hang_up()

    def hang_up(self) -> None:
        """Shut down every connection to the host that was not open before this one."""
        hosts = addresses(*self.where)
        for number, inode in sockets().items():
            if inode not in self.others:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as s:
                    if s.getpeername()[:2] in hosts:
                        s.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.closed.set()


def answers(host: str, port: int, *, encrypted: bool) -> None:
    """``OSError`` unless an RTSP server speaks there.

    PyAV holds Python's lock while it opens RTSP: a server that does not answer would stop the whole program.
    """
    with socket.create_connection((host, port), PATIENCE_S) as s:
        if not encrypted:
            s.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            if not s.recv(1):
                raise OSError("no answer")


def sockets() -> dict[int, int]:
    """File number -> inode of every socket of this process."""
    found = {}
    for number in range(3, MOST_FILES):
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode):
                found[number] = status.st_ino
    return found
