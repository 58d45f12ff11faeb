"""Films over HTTP: limits, upload, state, cancel, retry, removal. Owners alone; everybody else gets 404."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from bystander import __version__
from bystander.web.asked import body, number, unfit
from bystander.web.errors import ApiError
from bystander.web.films.film import KEEPS, MOST_STRENGTH, STYLES, Film
from bystander.web.films.service import Films
from bystander.web.films.why import lab_installed
from bystander.web.site import site_of

blueprint = Blueprint("films", __name__)
MOST_BYTES = 1 << 53  # what JSON's numbers hold


def films() -> Films:
    return site_of().films


def own(film_id: str) -> Film:
    """ApiError 404 where the one who asks has no such film."""
    return films().store.get(film_id, g.owner)


def told(film: Film, status: int = 200) -> Response:
    answer = jsonify(films().view(film))
    answer.status_code = status
    return answer


@blueprint.get("/api/limits")
def limits() -> Response:
    s = site_of().settings
    return jsonify(
        max_bytes=s.max_bytes, max_seconds=s.max_seconds, keep_hours=s.keep_hours, max_films=s.max_films,
        chunk_bytes=s.chunk_bytes, styles=list(STYLES), keeps=list(KEEPS), max_live=s.max_live,
        explain=lab_installed(), watch=bool(s.watch), version=__version__,
    )  # fmt: skip


@blueprint.get("/api/films")
def every() -> Response:
    return jsonify(films=films().list(g.owner))


@blueprint.post("/api/films")
def create() -> Response:
    values = body(frozenset(("name", "size", "settings")))
    name, size = values.get("name"), values.get("size")
    if not isinstance(name, str) or not name.strip() or len(name) > 4096:
        raise unfit("name must be the film's name")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size < MOST_BYTES:
        raise unfit("size must be the film's size in bytes, 1 or more")
    film = films().store.create(g.owner, name, size, settings_of(values.get("settings", {})))
    films().changed(film)
    answer = told(film, 201)
    answer.headers["Location"] = f"/api/films/{film.id}"
    return answer


def settings_of(given: Any, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """How a film is to be covered; what is not given is as ``before``, or as the program's defaults are."""
    if not isinstance(given, dict) or set(given) - {"keep", "style", "strength", "grow"}:
        raise unfit("settings have keep, style and strength, and nothing else", "bad_settings")
    s = {**(before or {"keep": "auto", "style": "pixelate", "strength": 1.0}), **given}
    strength = number(s.pop("grow", s["strength"]), "strength", "bad_settings")
    if s["keep"] not in KEEPS or s["style"] not in STYLES:
        raise unfit(f"keep must be one of {', '.join(KEEPS)}, style one of {', '.join(STYLES)}", "bad_settings")
    if not 1 <= strength <= MOST_STRENGTH:
        raise unfit(f"strength must lie between 1 and {MOST_STRENGTH:g}", "bad_settings")
    return {**s, "strength": strength}


@blueprint.get("/api/films/<film_id>")
def one(film_id: str) -> Response:
    return told(own(film_id))


@blueprint.route("/api/films/<film_id>/upload", methods=["HEAD"], provide_automatic_options=False)
def offset(film_id: str) -> Response:
    film = own(film_id)
    return Response(headers={"Upload-Offset": str(film.received), "Upload-Length": str(film.size)})


@blueprint.patch("/api/films/<film_id>/upload")
def append(film_id: str) -> Response:
    film = own(film_id)
    given = request.headers.get("Upload-Offset", "")
    if not (given.isascii() and given.isdigit() and len(given) < 18):
        raise ApiError(400, "bad_offset", "The header Upload-Offset must say where this piece begins.")
    received = films().uploads.append(film, int(given), request.stream, request.content_length or 0)
    films().received(film)
    return Response(status=204, headers={"Upload-Offset": str(received)})


@blueprint.post("/api/films/<film_id>/cancel")
def cancel(film_id: str) -> Response:
    film = own(film_id)
    films().queue.cancel(film)
    return told(film)


@blueprint.post("/api/films/<film_id>/retry")
def retry(film_id: str) -> Response:
    film = own(film_id)
    films().queue.retry(film)
    return told(film)


@blueprint.delete("/api/films/<film_id>")
def remove(film_id: str) -> Response:
    films().remove(own(film_id))
    return Response(status=204)
