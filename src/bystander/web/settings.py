"""What whoever starts the web app decides. Values in, one frozen object out; nothing is opened here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bystander.errors import SettingsError

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
WILDCARD = frozenset(("", "0.0.0.0", "::"))  # noqa: S104  compared with, not bound to
GB = 1_000_000_000


def user_folder() -> Path:
    """Where this user's programs keep data (XDG base directory specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "bystander" / "web"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """SettingsError for a value that does not fit."""

    host: str = "127.0.0.1"
    port: int = 8080
    data: Path = field(default_factory=user_folder)
    token: str = ""  # empty: nobody needs one, which only loopback allows
    https: bool = False
    hosts: frozenset[str] = frozenset()  # further names in the Host header that are this machine
    model: str = "n"  # shipped model or path of an ONNX file
    device: str = "auto"  # where to compute
    keep_hours: float = 24.0  # a film is removed so long after its upload began
    max_bytes: int = 4 * GB  # of one film
    owner_bytes: int = 20 * GB  # of all of one owner's films as uploaded
    max_seconds: float = 3600.0  # of one film
    max_films: int = 20  # of one owner
    chunk_bytes: int = 8 << 20  # of one upload request
    spare_bytes: int = 500_000_000  # disk space that always stays free
    workers: int = 1  # films worked on at a time
    job_memory: int = 8 << 30  # bytes of address space of one job's process
    max_live: int = 4  # live sessions at a time
    watch: str = ""  # control address of a running ``bystander live``
    watch_token: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port {self.port}: must lie between 0 and 65535")
        if self.exposed and not self.token:
            raise SettingsError(f"host {self.host}: anybody could reach this; give a token")
        if self.token and (not self.token.isascii() or any(c.isspace() for c in self.token)):
            raise SettingsError("token: use letters, digits and signs without blanks")
        if self.token and len(self.token) < 8:
            raise SettingsError("token: must have 8 characters or more")
        if not 0 < self.keep_hours <= 24 * 365:
            raise SettingsError(f"keep-hours {self.keep_hours}: must lie above 0 and at most a year")
        if (
            self.max_bytes < 1
            or not 0 < self.max_seconds < 1e9
            or self.max_films < 1
            or self.workers < 1
            or self.max_live < 0
        ):
            raise SettingsError("limits of size, length, films, workers and live sessions must lie above 0")

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOOPBACK
