"""Uploads in pieces that may be interrupted at any time: bytes and their offset in, the file on disk out."""

from __future__ import annotations

import os
from threading import Lock
from typing import IO

from bystander.web.errors import ApiError
from bystander.web.films.film import Film
from bystander.web.films.store import FilmStore, disk_full

PIECE = 1 << 20  # bytes copied at a time


class Uploads:
    """One writer per film at a time."""

    def __init__(self, store: FilmStore) -> None:
        self.store, self.lock = store, Lock()
        self.writing: set[str] = set()  # film ids

    def append(self, film: Film, offset: int, body: IO[bytes], length: int) -> int:
        """Add ``length`` bytes at ``offset``; returns the new offset. ApiError where that does not fit."""
        with self.lock:
            if film.id in self.writing:
                raise wrong_offset(film)
            self.writing.add(film.id)
        try:
            if film.state != "uploading":
                raise ApiError(409, "not_uploading", "This film is complete or was cancelled; upload it anew.")
            if offset != film.received:
                raise wrong_offset(film)
            if offset + length > film.size:
                raise ApiError(413, "too_large", "More came than was announced; upload the film anew.")
            self._write(film, offset, body, length)
            return film.received
        finally:
            with self.lock:
                self.writing.discard(film.id)

    def _write(self, film: Film, offset: int, body: IO[bytes], left: int) -> None:
        try:
            with self.store.files(film).source.open("r+b") as f:
                f.seek(offset)
                f.truncate()
                try:
                    while left and (piece := body.read(min(PIECE, left))):
                        f.write(piece)
                        left -= len(piece)
                finally:
                    f.flush()
                    os.fsync(f.fileno())
                    film.received = min(f.tell(), film.size)
        except FileNotFoundError as e:
            raise ApiError(404, "not_found", "This film was removed.") from e
        except OSError as e:
            raise disk_full() from e


def wrong_offset(film: Film) -> ApiError:
    return ApiError(409, "wrong_offset", "The upload goes on at another place; ask for it with HEAD.",
                    {"Upload-Offset": str(film.received)})  # fmt: skip
