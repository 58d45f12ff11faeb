"""Addresses of live inputs and outputs: what kind they are, how they are shown, what must never be shown.

An address with its secrets comes in; out come its kind and a name for people. Passwords, stream keys and query values
never leave this module in a name.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_plus, urlsplit

from bystander.errors import BystanderError, SettingsError

NETWORK = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "http", "https", "mjpeg"})
LOOPBACK = "127.0.0.1"
HIDDEN = "***"
NO_HOST = "there is no host of that name"  # FFmpeg says: Input/output error
KEYED = frozenset({"rtmp", "rtmps"})  # the last part of the path is a key
LONGEST_LINE = 10_000  # characters
SAFE = frozenset({"listen", "mode", "latency", "pkt_size"})  # parts of a query that hold no secret
SHORTEST_SECRET = 4  # shorter texts would be found everywhere


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a stream comes from or goes to. Its ``repr`` and ``name`` hold no secret; ``url`` does."""

    kind: str  # a scheme of NETWORK, or file, device, stdio, vcam
    url: str
    name: str

    def __repr__(self) -> str:
        return f"Address({self.name})"

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def query(self) -> dict[str, str]:
        """The values after the question mark; a bare word has the value 1."""
        pairs = parse_qsl(self.parts.query, keep_blank_values=True)
        return {k: v or "1" for k, v in pairs}

    @property
    def host(self) -> str:
        """Loopback where none is given: a listener is open to others only when told so."""
        return self.parts.hostname or LOOPBACK

    @property
    def host_and_port(self) -> str:
        """As in an address, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.parts.port}" if self.parts.port else host

    @property
    def port(self) -> int:
        """SettingsError when there is none."""
        try:
            port = self.parts.port
        except ValueError:
            port = None
        if not port:
            raise SettingsError(f"{self.name}: give a port, like {self.kind}://{self.host}:9000")
        return port


def parse(text: str) -> Address:
    """An address as typed; ``env:NAME`` takes it from the environment, ``@FILE`` from a file's first line.

    SettingsError for a scheme nobody knows.
    """
    if text.startswith("env:"):
        name = text[4:]
        if name not in os.environ:
            raise SettingsError(f"{text}: there is no environment variable of that name")
        text = os.environ[name]
    elif text.startswith("@"):
        text = first_line(Path(text[1:]))
    scheme, colon, _ = text.partition("://")
    scheme = scheme.lower()
    if colon and scheme not in NETWORK:
        raise SettingsError(f"{scheme}://: unknown kind of address; choose {', '.join(sorted(NETWORK))} or a file")
    if colon:
        try:
            return Address(scheme, text, shown(text))
        except ValueError as e:
            raise SettingsError(f"{scheme}://: is not an address that can be read") from e
    if text == "-":
        return Address("stdio", text, "-")
    if text == "vcam" or text.startswith("vcam:"):
        return Address("vcam", text, text)
    if text.isdecimal() or re.fullmatch(r"/dev/video\d+", text):
        device = f"/dev/video{text}" if text.isdecimal() else text
        return Address("device", device, device)
    return Address("file", text, text)


def first_line(path: Path) -> str:
    """A secret kept in a file, so that no list of processes or containers shows it. SettingsError without one."""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline(LONGEST_LINE).strip()
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else "no text"
        raise SettingsError(f"{path}: cannot be read ({why}); its first line is wanted") from e
    if not line:
        raise SettingsError(f"{path}: its first line is empty")
    return line


def shown(url: str) -> str:
    """The address for people: user, password, key and query values hidden."""
    u = urlsplit(url)
    host = u.hostname or ""
    host = f"[{host}]" if ":" in host else host
    user = f"{HIDDEN}@" if u.username or u.password else ""
    port = f":{u.port}" if u.port else ""
    path = u.path
    if key := key_of(u):
        path = f"{path[: path.rindex(key)]}{HIDDEN}"
    query = "&".join(shown_pair(pair) for pair in u.query.split("&"))
    return f"{u.scheme}://{user}{host}{port}{path}{'?' + query if u.query else ''}"


def shown_pair(pair: str) -> str:
    """One part of a query for people. A bare word may be a key itself."""
    name, equals, _ = pair.partition("=")
    if name in SAFE:
        return pair
    return f"{name}={HIDDEN}" if equals else HIDDEN


def key_of(u: SplitResult) -> str:
    """The stream key in the path, where there is one: its last part, and whatever follows a blank."""
    if u.scheme.lower() not in KEYED:
        return ""
    blank = u.path.partition(" ")[2]
    return blank or (u.path.rstrip("/").rpartition("/")[2] if u.path.rstrip("/").count("/") >= 2 else "")


def secrets(url: str) -> frozenset[str]:
    """Every part of an address that must not be shown, as written and as decoded. For looking them up in texts."""
    return frozenset(t for t in every_secret(url) if len(t) >= SHORTEST_SECRET)


def every_secret(url: str) -> frozenset[str]:
    """Like ``secrets``, and the short ones, too, which cannot be told from other text."""
    u = urlsplit(url)
    pairs = [pair.partition("=") for pair in u.query.split("&")]
    values = [v if equals else name for name, equals, v in pairs if name not in SAFE]
    found = [u.username, u.password, u.fragment, key_of(u), *values, u.query if values and "=" in u.query else ""]
    return frozenset(t for raw in found if raw for t in (raw, unquote(raw), unquote_plus(raw)))


def masked(url: str) -> str:
    """The address with stars for its secrets, as many bytes long."""
    scheme, colon, rest = url.partition("://")
    end = min((rest.index(c) for c in "/?#" if c in rest), default=len(rest))
    user, at, host = rest[:end].rpartition("@")
    tail = rest[end:]
    for secret in sorted(every_secret(url), key=len, reverse=True):
        user, tail = (part.replace(secret, "*" * len(secret.encode())) for part in (user, tail))
    return scheme + colon + user + at + host + tail


def scrub(text: str, hidden: frozenset[str]) -> str:
    """``text`` with every secret replaced, the longest first."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def addresses(host: str, port: int) -> set[tuple[str, int]]:
    """(IP address, port) of every address of that name; empty when there is none. Asks the network."""
    try:
        return {(str(where[0]), port) for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def in_folder(path: Path, error: type[BystanderError]) -> None:
    """``error`` when the folder that shall hold ``path`` is not there."""
    if not path.parent.is_dir():
        raise error(f"{path.parent}: no such folder; create it first")
