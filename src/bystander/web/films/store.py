"""All films on this server, by id, each in a folder of its own. State survives a restart; removal leaves nothing.

A film is found only by id and owner; somebody else's does not exist.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import RLock

from bystander.web.errors import ApiError, not_found
from bystander.web.films.film import Files, Film, load, new_film, save
from bystander.web.settings import WebSettings

log = logging.getLogger("bystander.web")
MOST_FILMS = 1000  # of all owners: a session costs nothing to make
GONE = ".gone-"  # prefix of a folder that is being removed


class FilmStore:
    """Safe in several threads; ``lock`` guards every film."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings, self.lock = settings, RLock()
        self.root = settings.data / "films"
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.films: dict[str, Film] = {}
        for folder in sorted(self.root.iterdir()):
            self._open(folder)

    def _open(self, folder: Path) -> None:
        """Take up a film that an earlier server left; what is no film any more is removed."""
        if folder.name.startswith(GONE):
            shutil.rmtree(folder, ignore_errors=True)
            return
        try:
            film = load(Files(folder))
        except (OSError, ValueError, TypeError):
            log.warning("a film's folder without its state was removed")
            shutil.rmtree(folder, ignore_errors=True)
            return
        for left in folder.glob(".*.partial-*"):
            left.unlink(missing_ok=True)
        for left in folder.glob(".why-*"):
            shutil.rmtree(left, ignore_errors=True)
        self.films[film.id] = film

    def files(self, film: Film) -> Files:
        return Files(self.root / film.id)

    def get(self, film_id: str, owner: str) -> Film:
        """ApiError 404 where there is none of this owner's."""
        with self.lock:
            film = self.films.get(film_id)
            if film is None or not owner or film.owner != owner:
                raise not_found()
            return film

    def of(self, owner: str) -> list[Film]:
        """The newest first."""
        with self.lock:
            return sorted((f for f in self.films.values() if f.owner == owner), key=lambda f: -f.created)

    def create(self, owner: str, name: str, size: int, settings: dict[str, object]) -> Film:
        """ApiError where a limit or the disk forbids it."""
        with self.lock:
            self._check_room(owner, size)
            film = new_film(owner, name, size, settings)
            files = self.files(film)
            try:
                files.folder.mkdir(mode=0o700)
                files.source.touch(mode=0o600)
                save(film, files)
            except OSError as e:
                shutil.rmtree(files.folder, ignore_errors=True)
                raise disk_full() from e
            self.films[film.id] = film
            return film

    def _check_room(self, owner: str, size: int) -> None:
        s, own = self.settings, self.of(owner)
        if size > s.max_bytes:
            raise ApiError(413, "too_large", f"The film is larger than {s.max_bytes / 1e9:.3g} GB; shorten or "
                           "compress it first.")  # fmt: skip
        if len(self.films) >= MOST_FILMS:
            raise ApiError(429, "too_many", "There are too many films on this server; try again later.")
        if len(own) >= s.max_films:
            raise ApiError(429, "too_many", f"There are {len(own)} films already; remove one first.")
        if sum(f.size for f in own) + size > s.owner_bytes:
            raise ApiError(429, "too_many", "Your films fill the space that one user has; remove one first.")
        promised = sum(f.size - f.received for f in self.films.values() if f.state == "uploading")
        if self.free_bytes() - promised - 2 * size < s.spare_bytes:  # the covered film needs about as much again
            raise disk_full()

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def save(self, film: Film) -> None:
        """Keep its state. A full disk is told in the log; the film goes on in memory."""
        with self.lock:
            if film.gone:
                return
            try:
                save(film, self.files(film))
            except OSError as e:
                log.warning("a film's state cannot be saved (%s)", e.strerror)

    def remove(self, film: Film) -> None:
        """It and all its files, at once; nobody finds it from the first step on."""
        with self.lock:
            film.gone = True
            self.films.pop(film.id, None)
            folder = self.files(film).folder
            aside = folder.with_name(f"{GONE}{film.id}")
            try:
                folder.rename(aside)
            except OSError:
                aside = folder
        shutil.rmtree(aside, ignore_errors=True)

    def expired(self) -> Iterator[Film]:
        limit = time.time() - self.settings.keep_hours * 3600
        with self.lock:
            old = [f for f in self.films.values() if f.created < limit]
        yield from old


def disk_full() -> ApiError:
    return ApiError(507, "disk_full", "The server's disk is full; remove films or ask whoever runs it, then try again.")
