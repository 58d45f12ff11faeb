"""Addresses of live inputs and outputs: what kind they are, how they are shown, what must never be shown.

An address with its secrets comes in; out come its kind and a name for people. Passwords, stream keys and query values
never leave this module in a name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from bystander.errors import BystanderError, SettingsError

NETWORK = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "http", "https", "mjpeg"})
LOOPBACK = "127.0.0.1"
HIDDEN = "***"
KEYED = frozenset({"rtmp", "rtmps"})  # the last part of the path is a key
LONGEST_LINE = 10_000  # characters
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
    if u.scheme.lower() in KEYED and path.count("/") >= 2 and not path.endswith("/"):
        path = f"{path.rpartition('/')[0]}/{HIDDEN}"
    names = ["?" + "&".join(n if n in SAFE_WORDS else f"{n}={HIDDEN}" for n, _ in parse_qsl(u.query, True))]
    return f"{u.scheme}://{user}{host}{port}{path}{names[0] if u.query else ''}"


SAFE_WORDS = frozenset({"listen"})


def secrets(url: str) -> frozenset[str]:
    """Every part of an address that must not be shown, as written and as decoded."""
    u = urlsplit(url)
    found = [u.username, u.password, *(v for _, v in parse_qsl(u.query)), u.query if "=" in u.query else None]
    if u.scheme.lower() in KEYED and u.path.count("/") >= 2:
        found.append(u.path.rpartition("/")[2])
    texts = {t for raw in found if raw for t in (raw, unquote(raw))}
    return frozenset(t for t in texts if len(t) >= SHORTEST_SECRET and t not in SAFE_WORDS)


def scrub(text: str, hidden: frozenset[str]) -> str:
    """``text`` with every secret replaced, the longest first."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def in_folder(path: Path, error: type[BystanderError]) -> None:
    """``error`` when the folder that shall hold ``path`` is not there."""
    if not path.parent.is_dir():
        raise error(f"{path.parent}: no such folder; create it first")
