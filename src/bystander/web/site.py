"""What all views of one application share: settings, secret, guard, and what has to be closed at its end."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from flask import Flask, current_app

from bystander.errors import SettingsError
from bystander.web.films.service import Films
from bystander.web.guard import Guard
from bystander.web.private import write_private
from bystander.web.settings import WebSettings

NAME = "bystander"  # in app.extensions


class Site:
    """Owns the data folder while it lives. SettingsError when that cannot be had."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self.closers: list[Callable[[], None]] = []
        try:
            settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.lock = own(settings.data)
            self.guard = Guard(settings, secret_of(settings.data / "secret"))
        except OSError as e:
            raise SettingsError(f"{settings.data}: cannot be used as data folder ({e.strerror})") from e
        self.films = Films(settings)
        self.on_close(self.films.close)

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call this at the end, the newest first."""
        self.closers.append(closer)

    def close(self) -> None:
        while self.closers:
            self.closers.pop()()
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def own(folder: Path) -> int:
    """A file handle that marks the folder as taken. SettingsError where another server has it."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(handle)
        raise SettingsError(f"{folder}: another bystander web uses it; give another --data") from e
    return handle


def secret_of(path: Path) -> bytes:
    """The secret that signs cookies, made once and kept, so that a restart logs nobody out."""
    if not path.exists():
        write_private(path, secrets.token_bytes(32))
    secret = path.read_bytes()
    if len(secret) < 32:
        raise SettingsError(f"{path}: is damaged; remove it")
    return secret


def site_of(app: Flask | None = None) -> Site:
    """The shared parts of this application, or of the one that answers now."""
    site: Site = (app or current_app).extensions[NAME]
    return site
