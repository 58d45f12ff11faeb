"""The review of a film over HTTP: people, boxes, edits, rendering again, the audit."""

from __future__ import annotations

import json

from flask import Blueprint, Response, jsonify

from bystander.web.asked import argument, body, unfit
from bystander.web.errors import ApiError
from bystander.web.films.film import Film
from bystander.web.films.people import boxes_between, describe
from bystander.web.films.review import KEYS
from bystander.web.films.views import films, own, settings_of, told
from bystander.web.films.why import ask

blueprint = Blueprint("review", __name__)
MOST_S = 20.0  # of boxes in one answer
EDIT_KEYS = frozenset({"op"}.union(*KEYS.values()))


@blueprint.get("/api/films/<film_id>/people")
def people(film_id: str) -> Response:
    film = own(film_id)
    found = films().review.people(film)
    rows = []
    for row in describe(found):
        thumb = row.pop("thumb_row")
        row["thumbnail"] = f"/api/films/{film.id}/media/thumb/{row['id']}.jpg?v={thumb}" if thumb >= 0 else None
        rows.append(row)
    return jsonify(people=rows, duration_s=round(found.index.end_s, 3))


@blueprint.get("/api/films/<film_id>/boxes")
def boxes(film_id: str) -> Response:
    film = own(film_id)
    from_s, to_s = argument("from", 0.0), argument("to")
    if not 0 <= from_s <= to_s or to_s - from_s > MOST_S + 1e-6:
        raise unfit(f"from and to must be moments of the film, at most {MOST_S:g} s apart")
    answer = {"frames": boxes_between(films().review.people(film), from_s, to_s)}
    return Response(json.dumps(answer, separators=(",", ":")), mimetype="application/json")


@blueprint.get("/api/films/<film_id>/edits")
def edits(film_id: str) -> Response:
    return jsonify(films().review.edits(own(film_id)))


@blueprint.post("/api/films/<film_id>/edits")
def edit(film_id: str) -> Response:
    film = own(film_id)
    films().review.edit(film, body(EDIT_KEYS))
    films().changed(film)
    return jsonify(films().review.edits(film))


@blueprint.post("/api/films/<film_id>/render")
def render(film_id: str) -> Response:
    """By the edits as they are now; ``settings`` may change style and strength."""
    film = own(film_id)
    given = body(frozenset(("settings",)), optional=True).get("settings", {})
    if isinstance(given, dict) and "keep" in given:
        raise unfit("keep was decided when the film was looked at; choose people instead", "bad_settings")
    settings = settings_of(given, film.settings)
    check_ready(film)
    with films().store.lock:  # the worker begins once this is left
        films().queue.add(film, "render")
        film.settings = settings
        films().store.save(film)
    return told(film, 202)


@blueprint.post("/api/films/<film_id>/audit")
def audit(film_id: str) -> Response:
    film = own(film_id)
    body(frozenset(), optional=True)
    check_ready(film)
    films().queue.add(film, "audit")
    return told(film, 202)


@blueprint.post("/api/films/<film_id>/why")
def why(film_id: str) -> Response:
    film = own(film_id)
    values = body(frozenset(("person", "at_s")))
    return Response(ask(films(), film, values.get("person"), values.get("at_s")), mimetype="image/png")


def check_ready(film: Film) -> None:
    if not film.rendered_version:
        raise ApiError(409, "not_ready", "This film was not covered yet; wait until it is ready.")
