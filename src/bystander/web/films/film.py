"""One film of one owner: what is known of it, kept in ``film.json`` in a folder of its own. No names become paths."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# state: uploading, checking, queued, analysing, rendering, ready, failed or cancelled
STYLES = ("pixelate", "blur", "solid")
KEEPS = ("auto", "none", "largest")
MOST_STRENGTH = 10.0  # as policy allows


@dataclass(slots=True)
class Film:
    """Mutable; changed only under the store's lock and then saved."""

    id: str
    owner: str
    name: str  # only ever shown
    size: int  # bytes, as announced
    created: float  # seconds since the epoch
    settings: dict[str, Any]  # keep, style, strength (factor on the margin)
    state: str = "uploading"
    job: str = ""  # what is to be done or being done: check, cover, render, audit; empty: nothing
    info: dict[str, Any] | None = None
    inner: dict[str, Any] = field(default_factory=dict)  # what only we need to know of the source
    error: dict[str, str] | None = None
    warnings: list[str] = field(default_factory=list)
    people: int = 0
    edits_version: int = 0  # 1 once it was covered, one more with every edit
    rendered_version: int = 0  # the newest edits that the covered film holds; 0: there is none
    report: str = ""  # of the audit: waiting, ready or failed; empty: none
    # --- not saved ---
    received: int = 0
    progress: float = 0.0
    fps: float = 0.0
    left_s: float | None = None
    gone: bool = False


PASSING = frozenset(("received", "progress", "fps", "left_s", "gone"))  # known anew after a restart


@dataclass(frozen=True, slots=True)
class Files:
    """Where the parts of one film lie."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source.bin"

    @property
    def state(self) -> Path:
        return self.folder / "film.json"

    @property
    def tracks(self) -> Path:
        return self.folder / "tracks.jsonl"

    @property
    def edits(self) -> Path:
        return self.folder / "edits.jsonl"

    @property
    def edited(self) -> Path:
        """The tracks with the edits applied: what the covered film was painted by."""
        return self.folder / "edited.jsonl"

    @property
    def next(self) -> Path:
        """The same for the film that is being painted."""
        return self.folder / "next.jsonl"

    @property
    def index(self) -> Path:
        return self.folder / "index.npz"

    @property
    def thumbs(self) -> Path:
        return self.folder / "thumbs"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def covered(self, film: Film) -> Path:
        return self.folder / f"covered{film.inner.get('suffix', '.mp4')}"

    @property
    def covered_proxy(self) -> Path:
        return self.folder / "covered.play.mp4"

    def next_covered(self, film: Film) -> Path:
        """The film that is being painted, until the player's copy is made as well."""
        return self.folder / f"next{film.inner.get('suffix', '.mp4')}"

    @property
    def next_proxy(self) -> Path:
        return self.folder / "next.play.mp4"

    @property
    def source_proxy(self) -> Path:
        return self.folder / "source.play.mp4"


def new_film(owner: str, name: str, size: int, settings: dict[str, Any]) -> Film:
    return Film(secrets.token_hex(16), owner, shown_name(name), size, time.time(), settings)


def shown_name(name: str) -> str:
    """A name fit to be shown: no control characters, at most 200 of the others, its end kept."""
    text = "".join(c for c in name if c.isprintable()).strip() or "film"
    return text if len(text) <= 200 else f"{text[:150]}…{text[-40:]}"


def save(film: Film, files: Files) -> None:
    """Write ``film.json`` at once or not at all. OSError when the disk says no."""
    values = {k: v for k, v in asdict(film).items() if k not in PASSING}
    part = files.state.with_suffix(".partial")
    with part.open("w", encoding="utf-8") as f:
        json.dump(values, f, ensure_ascii=False)
        f.flush()
        os.fsync(f.fileno())
    part.replace(files.state)


def load(files: Files) -> Film:
    """ValueError, TypeError or OSError where the folder holds no film."""
    values = json.loads(files.state.read_text(encoding="utf-8"))
    known = {f.name for f in fields(Film)} - PASSING
    film = Film(**{k: v for k, v in values.items() if k in known})
    film.received = files.source.stat().st_size if files.source.exists() else 0
    return film


def view(film: Film, keep_hours: float, queue_place: int) -> dict[str, Any]:
    """What its owner may know, as JSON."""
    ends = datetime.fromtimestamp(film.created + keep_hours * 3600, timezone.utc)
    shared = ("id", "name", "size", "received", "state", "error", "info", "settings", "people", "edits_version",
              "rendered_version", "warnings", "report")  # fmt: skip
    return {
        **{k: getattr(film, k) for k in shared},
        "progress": round(film.progress, 4),
        "fps": round(film.fps, 1),
        "left_s": film.left_s,
        "expires_at": ends.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "queue_place": queue_place,
    }
