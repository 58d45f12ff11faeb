"""A film's pictures and files for its owner: the player's films (byte ranges), small pictures, downloads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from flask import Blueprint, Response, send_file

from bystander.web.errors import ApiError, not_found
from bystander.web.films.film import Files, Film
from bystander.web.films.people import thumb_row
from bystander.web.films.views import films, own

blueprint = Blueprint("media", __name__)
TYPES = {".mp4": "video/mp4", ".mkv": "video/x-matroska", ".jsonl": "application/jsonl", ".html": "text/html"}
REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"  # it is a page of its own
UNSAFE = re.compile(r"[^\w .,()+-]+")


@blueprint.get("/api/films/<film_id>/media/original.mp4")
def original(film_id: str) -> Response:
    film = own(film_id)
    files = films().store.files(film)
    if film.info is None:
        raise not_ready()
    return sent(files.source if film.inner.get("source_plays") else files.source_proxy, "video/mp4")


@blueprint.get("/api/films/<film_id>/media/covered.mp4")
def covered(film_id: str) -> Response:
    film = own(film_id)
    files = films().store.files(film)
    if not film.rendered_version:
        raise not_ready()
    return sent(files.covered(film) if film.inner.get("covered_plays") else files.covered_proxy, "video/mp4")


@blueprint.get("/api/films/<film_id>/media/thumb/<int:person>.jpg")
def thumb(film_id: str, person: int) -> Response:
    film = own(film_id)
    people = films().review.people(film)
    row = thumb_row(people.index, np.flatnonzero(people.person == person).astype(np.int32))
    if row < 0:
        raise not_found()
    return sent(films().store.files(film).thumbs / f"{row}.jpg", "image/jpeg")


@blueprint.get("/api/films/<film_id>/download/<kind>")
def download(film_id: str, kind: str) -> Response:
    film = own(film_id)
    path = wanted(film, films().store.files(film), kind)
    answer = sent(path, TYPES[path.suffix], attachment=shown_name(film, kind, path))
    if kind == "report":
        answer.headers["Content-Security-Policy"] = REPORT_CSP
    return answer


def wanted(film: Film, files: Files, kind: str) -> Path:
    """The file that a download gives. ApiError where there is none."""
    if kind not in {"film", "tracks", "report"}:
        raise not_found()
    if not film.rendered_version:
        raise not_ready()
    if kind == "film":
        return files.covered(film)
    if kind == "tracks":
        return files.edited if files.edited.exists() else files.tracks
    return files.report


def sent(path: Path, kind: str, attachment: str = "") -> Response:
    """The file, or the part of it that was asked for."""
    try:
        answer = send_file(path, kind, as_attachment=bool(attachment), download_name=attachment or None,
                           conditional=True, etag=True, max_age=None)  # fmt: skip
    except OSError as e:
        raise not_ready() from e
    answer.headers["Cache-Control"] = "no-store"  # Flask's own would leave people's faces in the browser's cache
    return answer


def shown_name(film: Film, kind: str, path: Path) -> str:
    """A name for the download, made of the film's without anything that could be a path or a hidden file."""
    last = re.split(r"[/\\]", film.name)[-1]
    stem = UNSAFE.sub("_", last.rpartition(".")[0] or last).strip(" ._")[:100] or "film"
    return f"{stem}.{'covered' if kind == 'film' else kind}{path.suffix}"


def not_ready() -> ApiError:
    return ApiError(409, "not_ready", "This is not made yet; wait until the film is ready.")
