"""Tracks of a whole file, saved as JSON lines while the run goes on. Format: docs/tracks.md.

Frames' tracks come in, one line each goes out; memory stays flat and the file appears only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from bystander.errors import OutputError
from bystander.types import CoveredFrame, Track

FORMAT = "bystander-tracks"
VERSION = 1
EDGE = 1 << 20  # bytes hashed at each end of the source


def fingerprint(path: Path) -> str:
    """Size and SHA-256 of the first and last MiB: cheap for any length, different for another source."""
    size = path.stat().st_size
    with path.open("rb") as f:
        digest = hashlib.sha256(f.read(EDGE))
        f.seek(max(0, size - EDGE))
        digest.update(f.read(EDGE))
    return f"{size}-{digest.hexdigest()}"


def exact(value: float) -> float:
    """The shortest number that is the same float32, so that what is painted from the file is what was painted first."""
    return float(str(np.float32(value)))


class TracksFile:
    """A context manager; leaving it without an exception moves the finished file into place."""

    def __init__(self, path: Path, header: dict[str, Any], *, overwrite: bool) -> None:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; give a file name for the tracks")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists; give --overwrite to replace it")
        self.path = path
        self.part = path.with_name(f".{path.name}.partial-{os.getpid()}")
        try:
            self.file: IO[str] = self.part.open("w", encoding="utf-8")
        except OSError as e:
            raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
        self._line({"format": FORMAT, "version": VERSION, **header})

    def _line(self, row: dict[str, Any]) -> None:
        try:
            self.file.write(json.dumps(row, separators=(",", ":")) + "\n")
        except OSError as e:
            raise OutputError(f"{self.path}: cannot be written ({e.strerror}); nothing was written") from e

    def add(self, covered: CoveredFrame, tracks: Sequence[Track], kept: frozenset[int]) -> None:
        """One frame's tracks, as they were when it left. OutputError when the disk says no."""
        frame = covered.frame
        rows = [
            {"id": t.id, "xyxy": [exact(v) for v in t.xyxy], "score": round(t.score, 3),
             "unseen_s": exact(t.unseen_s), "speed": exact(t.speed), "foreground": round(t.foreground, 3),
             "steady": t.steady, "kept": t.id in kept}
            for t in tracks
        ]  # fmt: skip
        row = {"frame": frame.index, "pts": frame.pts, "time_s": round(frame.time_s, 6), "whole": covered.whole}
        self._line({**row, "tracks": rows})

    def __enter__(self) -> TracksFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()
            if kind is None:
                self.part.replace(self.path)
        except OSError as e:
            if kind is None:  # otherwise the fault on its way out is the one to tell
                raise OutputError(f"{self.path}: cannot be written ({e.strerror}); there is no tracks file") from e
        finally:
            self.part.unlink(missing_ok=True)
