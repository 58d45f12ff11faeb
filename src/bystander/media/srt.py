"""SRT as a file-like object, over the system's libsrt (PyAV's own FFmpeg is built without it).

Bytes of an MPEG transport stream go in or come out, in messages of at most 1316. The passphrase stays in this process:
no helper program carries it in its arguments.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import struct
from functools import lru_cache
from typing import Any

from bystander.errors import BystanderError, SettingsError
from bystander.media.address import Address

LIBRARIES = ("libsrt-gnutls.so.1.5", "libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt.so.1", "libsrt.1.5.dylib")
MESSAGE = 1316  # bytes: seven transport stream packets
LATENCY_MS = 120  # libsrt's own default; covers loss on a path with a round trip of 30 ms
TIMEOUT_MS = 5000  # silence for longer is a lost connection
# option numbers from srt.h of libsrt 1.5
SNDTIMEO, RCVTIMEO, LATENCY, PASSPHRASE, CONNTIMEO, STREAMID = 13, 14, 23, 26, 36, 46
RCVSYN = 2
ACCEPT_MS = 500  # how often a listener looks whether it shall go on
INVALID = -1


@lru_cache(maxsize=1)
def library() -> Any:
    """libsrt, started. SettingsError when this system has none."""
    for name in (*LIBRARIES, ctypes.util.find_library("srt")):
        if name is None:
            continue
        try:
            lib = ctypes.CDLL(name)
        except OSError:
            continue
        lib.srt_getlasterror_str.restype = ctypes.c_char_p
        lib.srt_setloglevel(1)  # critical: keep its own lines off the terminal
        lib.srt_startup()
        return lib
    raise SettingsError("srt: libsrt is not installed; on Debian: apt install libsrt1.5-gnutls")


class SrtStream:
    """An open connection; ``read`` and ``write`` for PyAV. ``mode=listener`` in the address waits for a caller."""

    def __init__(self, address: Address, error: type[BystanderError], closing: Any = None) -> None:
        """``closing``: an Event that ends a listener's wait. ``error`` is raised when there is no connection."""
        self.lib, self.name, self.error = library(), address.name, error
        self.handle, self.listening = self.lib.srt_create_socket(), INVALID
        try:
            self._options(address)
            if address.query.get("mode") == "listener" or not address.parts.hostname:
                self._accept(address, closing)
            else:
                self._check(self.lib.srt_connect(self.handle, *sockaddr(address, error)))
        except BaseException:
            self.close()
            raise

    def _options(self, address: Address) -> None:
        query = address.query
        unknown = set(query) - {"mode", "latency", "passphrase", "streamid"}
        if unknown:
            raise SettingsError(f"{self.name}: unknown {', '.join(sorted(unknown))}; known are latency (ms), mode, "
                                "passphrase, streamid")  # fmt: skip
        if query.get("mode", "caller") not in ("caller", "listener"):
            raise SettingsError(f"{self.name}: mode is caller or listener")
        if not query.get("latency", "0").isdecimal() or len(query.get("latency", "")) > 6:
            raise SettingsError(f"{self.name}: latency must be whole milliseconds")
        latency = int(query.get("latency", LATENCY_MS))
        for option, value in (
            (LATENCY, latency),
            (CONNTIMEO, TIMEOUT_MS),
            (SNDTIMEO, TIMEOUT_MS),
            (RCVTIMEO, TIMEOUT_MS),
        ):
            self._set(option, struct.pack("i", value))
        if query.get("passphrase") and not 10 <= len(query["passphrase"]) <= 79:
            raise SettingsError(f"{self.name}: a passphrase has 10 to 79 characters")
        for option, key in ((PASSPHRASE, "passphrase"), (STREAMID, "streamid")):
            if query.get(key):
                self._set(option, query[key].encode())

    def _set(self, option: int, value: bytes) -> None:
        self._check(self.lib.srt_setsockflag(self.handle, option, value, len(value)))

    def _accept(self, address: Address, closing: Any) -> None:
        self._set(RCVSYN, struct.pack("?", True))
        self._check(self.lib.srt_bind(self.handle, *sockaddr(address, self.error)))
        self._check(self.lib.srt_listen(self.handle, 1))
        poll = self.lib.srt_epoll_create()
        try:
            self._check(self.lib.srt_epoll_add_usock(poll, self.handle, None))
            one, count = (ctypes.c_int * 1)(), ctypes.c_int(1)
            while not (closing and closing.is_set()):
                count.value = 1
                timeout = ctypes.c_int64(ACCEPT_MS)
                if self.lib.srt_epoll_wait(poll, one, ctypes.byref(count), None, None, timeout, *[None] * 4) > 0:
                    break
            else:
                raise self.error(f"{self.name}: closed while nobody called")
        finally:
            self.lib.srt_epoll_release(poll)
        self.listening = self.handle
        self.handle = self.lib.srt_accept(self.listening, None, None)
        self._check(self.handle)

    def _check(self, result: int) -> None:
        if result == INVALID:
            reason = self.lib.srt_getlasterror_str().decode(errors="replace")
            raise self.error(f"{self.name}: {reason.strip().rstrip('.').lower()}")

    def read(self, size: int) -> bytes:
        """The next message; empty when the other side has gone."""
        buffer = ctypes.create_string_buffer(max(size, MESSAGE))
        got = self.lib.srt_recvmsg(self.handle, buffer, len(buffer))
        return buffer.raw[:got] if got > 0 else b""

    def write(self, data: bytes) -> int:
        """Send all of it. ``OSError`` when the other side has gone."""
        data = bytes(data)
        for i in range(0, len(data), MESSAGE):
            part = data[i : i + MESSAGE]
            if self.lib.srt_sendmsg(self.handle, part, len(part), -1, 1) == INVALID:
                raise OSError("the connection is lost")
        return len(data)

    def close(self) -> None:
        for handle in (self.handle, self.listening):
            if handle != INVALID:
                self.lib.srt_close(handle)
        self.handle = self.listening = INVALID


def sockaddr(address: Address, error: type[BystanderError]) -> tuple[bytes, int]:
    """The C structure of an IPv4 or IPv6 address, and its length."""
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
    except OSError as e:
        raise error(f"{address.name}: the host's name is not known ({e.strerror})") from e
    head = struct.pack("=H", family) + struct.pack("!H", address.port)
    if family == socket.AF_INET6:
        raw = head + bytes(4) + socket.inet_pton(family, str(where[0])) + bytes(4)
    else:
        raw = head + socket.inet_pton(family, str(where[0])) + bytes(8)
    return raw, len(raw)
