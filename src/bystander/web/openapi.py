"""The API's own description (OpenAPI 3.1), made from one table of routes; ``openapi_schemas`` has the shapes.

A test compares the table with the routes that the application really has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, jsonify

from bystander import __version__
from bystander.web.openapi_schemas import BODIES, SCHEMAS, ref

blueprint = Blueprint("openapi", __name__)
JSON = "application/json"
FILM = "/api/films/{film_id}"
SESSION = "/api/live/{session_id}"


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    summary: str
    answer: str = ""  # schema, or a media type; empty: no content
    status: int = 200
    refuses: tuple[int, ...] = ()  # besides those that every route may give
    body: str = ""  # schema in BODIES, or a media type
    optional: bool = False  # the body may be left out
    query: tuple[str, ...] = ()  # numbers; the last one is required
    tag: str = "films"


ROUTES = (
    Route("get", "/api/limits", "What this server allows: sizes, lengths, styles", "Limits"),
    Route("get", "/api/films", "One's own films, the newest first", "Films"),
    Route("post", "/api/films", "Announce a film, then upload it", "Film", 201, (413, 415, 429, 507), "NewFilm"),
    Route("get", FILM, "One film: its state and progress", "Film"),
    Route("delete", FILM, "Remove a film and all that was made of it, at once", "", 204),
    Route("head", f"{FILM}/upload", "How much of the upload has arrived: headers Upload-Offset, Upload-Length"),
    Route("patch", f"{FILM}/upload", "The next piece of the upload, at Upload-Offset", "", 204, (409, 413, 507),
          "application/offset+octet-stream"),
    Route("post", f"{FILM}/cancel", "Stop what is done with this film", "Film", 200, (409,)),
    Route("post", f"{FILM}/retry", "Try again what failed or was cancelled", "Film", 200, (409,)),
    Route("get", "/api/events", "Server-sent events: film, gone", "text/event-stream", 200, (429,)),
    Route("get", f"{FILM}/people", "Everybody found, with the edits applied", "People", 200, (409,), tag="review"),
    Route("get", f"{FILM}/boxes", "Faces of each frame, at most 20 s at once", "Boxes", 200, (409,),
          query=("from", "to"), tag="review"),
    Route("get", f"{FILM}/edits", "All edits as they stand", "Edits", 200, (409,), tag="review"),
    Route("post", f"{FILM}/edits", "One edit", "Edits", 200, (409, 413, 415, 507), "Edit", tag="review"),
    Route("post", f"{FILM}/render", "Paint the film again by its edits, without detecting", "Film", 202,
          (409, 413, 415), "Render", optional=True, tag="review"),
    Route("post", f"{FILM}/audit", "Check independently what can still be seen", "Film", 202, (409, 413, 415),
          "Nothing", optional=True, tag="review"),
    Route("post", f"{FILM}/why", "A heat map of what spoke for a face's role", "image/png", 200,
          (409, 413, 415, 501, 503), "Why", tag="review"),
    Route("get", f"{FILM}/media/original.mp4", "The film as uploaded, for its owner's player; byte ranges",
          "video/mp4", 200, (409, 416), tag="media"),
    Route("get", f"{FILM}/media/covered.mp4", "The covered film, for the player; byte ranges", "video/mp4", 200,
          (409, 416), tag="media"),
    Route("get", f"{FILM}/media/thumb/{{person}}.jpg", "A small picture of a person, uncovered", "image/jpeg", 200,
          (409, 416), tag="media"),
    Route("get", f"{FILM}/download/{{kind}}", "The covered film, its tracks, or the audit's report", "*/*", 200,
          (409, 416), tag="media"),
    Route("post", "/api/live", "Begin a live session: an SDP offer for its answer", "LiveAnswer", 201,
          (415, 429, 503), "Offer", tag="live"),
    Route("get", "/api/live", "One's own live sessions and streams", "LiveList", tag="live"),
    Route("get", SESSION, "One live session", "Status", tag="live"),
    Route("delete", SESSION, "End a live session", "", 204, tag="live"),
    Route("post", f"{SESSION}/say", "One message of the data channel's protocol", "Status", 200, (415,), "Message",
          tag="live"),
    Route("get", f"{SESSION}/preview.jpg", "The newest covered picture with numbers", "image/jpeg", 200, (503,),
          tag="live"),
    Route("get", "/api/watch", "Status of the stream that bystander live runs", "Status", 200, (502, 503), tag="watch"),
    Route("get", "/api/watch/preview.jpg", "Its covered preview", "image/jpeg", 200, (502, 503), tag="watch"),
    Route("post", "/api/watch/choices", "Whom that stream keeps and covers", "Status", 200, (415, 502, 503), "Choices",
          tag="watch"),
    Route("post", "/api/watch/panic", "Cover everything in that stream, or no longer", "Status", 200, (415, 502, 503),
          "Panic", tag="watch"),
)  # fmt: skip
LEFT_OUT = frozenset(("/api/docs", "/api/openapi.json"))


def operation(route: Route) -> dict[str, Any]:
    refused = sorted({400, 401, 403, 404, 405, 422, 429, *route.refuses})
    error = {"description": "Refused; the code says why", "content": {JSON: {"schema": ref("Error")}}}
    if route.method == "head":
        error = {"description": "Refused"}
    told: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.method + re.sub(r"\W+", "_", route.path).rstrip("_"),
        "tags": [route.tag],
        "parameters": parameters(route),
        "responses": {str(route.status): answer(route), **{str(code): error for code in refused}},
    }
    if route.answer.startswith("video"):
        told["responses"]["206"] = answer(route)
    if route.body:
        kind, schema = (JSON, BODIES[route.body]) if route.body in BODIES else (route.body, {"type": "string"})
        told["requestBody"] = {"required": not route.optional, "content": {kind: {"schema": schema}}}
    return told


def answer(route: Route) -> dict[str, Any]:
    told: dict[str, Any] = {"description": "Done"}
    if route.answer:
        kind = route.answer if "/" in route.answer else JSON
        told["content"] = {kind: {"schema": {} if "/" in route.answer else ref(route.answer)}}
    if route.path.endswith("/upload"):
        told["headers"] = {"Upload-Offset": {"schema": {"type": "string"}, "required": True}}
    return told


def parameters(route: Route) -> list[dict[str, Any]]:
    text: dict[str, Any] = {"type": "string", "minLength": 1}
    kinds = {"person": {"type": "integer", "minimum": 0}, "kind": {"enum": ["film", "tracks", "report"]}}
    names = [part.partition("}")[0] for part in route.path.split("{")[1:]]
    found = [{"name": n, "in": "path", "required": True, "schema": kinds.get(n, text)} for n in names]
    found += [
        {"name": n, "in": "query", "required": n == route.query[-1], "schema": {"type": "number", "minimum": 0}}
        for n in route.query
    ]
    if route.method == "patch":
        whole = {"type": "string", "pattern": "^[0-9]{1,17}$"}
        found.append({"name": "Upload-Offset", "in": "header", "required": True, "schema": whole})
    return found


def openapi() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bystander",
            "version": __version__,
            "description": "Programs send Authorization: Bearer TOKEN. Browsers have a cookie and send the page's "
            "secret as X-Bystander-CSRF with everything but GET. Films and sessions are their "
            "owner's alone: others get 404. WHIP and WHEP (docs/web-live.md): /whip/NAME and /whep/NAME.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "bystander_owner"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


@blueprint.get("/api/openapi.json")
def document() -> Response:
    return jsonify(openapi())
