"""The addresses of the live half under ``/api``: sessions of browsers, control of all one's streams.

Requests and JSON in and out; what happens is in ``server``. ``whip`` and ``watch`` add their addresses.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from flask.blueprints import BlueprintSetupState

from bystander.run.numbered import numbered
from bystander.web.asked import body
from bystander.web.errors import ApiError
from bystander.web.live import watch, whip
from bystander.web.live.server import NAME, Live, live_of, wanted_of
from bystander.web.site import site_of

blueprint = Blueprint("live", __name__)
whip.install(blueprint)
watch.install(blueprint)


@blueprint.record_once
def begin(setup: BlueprintSetupState) -> None:
    app: Any = setup.app
    site = site_of(app)
    live = app.extensions[NAME] = Live(site.settings)
    site.on_close(live.close)


@blueprint.post("/api/live")
def create() -> tuple[Response, int]:
    given = body()
    if given.get("type") != "offer":
        raise ApiError(400, "bad_sdp", "Send an SDP offer; reload the page and try again.")
    live = live_of()
    session, sdp = live.open(g.owner, given.get("sdp"), wanted_of(given.get("settings")))
    return jsonify({"id": session.id, "sdp": sdp, "type": "answer", "roles": roles(live)}), 201


def roles(live: Live) -> bool:
    """A page may have to explain that "auto" keeps nobody with a model without roles."""
    return live.make_detector is live.detectors and live.detectors.roles


@blueprint.get("/api/live")
def everything() -> Response:
    live = live_of()
    sessions = [s.status() for s in live.listed(g.owner)]
    return jsonify({"live": sessions, "max_live": live.settings.max_live})


@blueprint.get("/api/live/<session_id>")
def one(session_id: str) -> Response:
    return jsonify(live_of().find(g.owner, session_id).status())


@blueprint.delete("/api/live/<session_id>")
def end(session_id: str) -> tuple[str, int]:
    live = live_of()
    live.end(live.find(g.owner, session_id))
    return "", 204


@blueprint.post("/api/live/<session_id>/say")
def say(session_id: str) -> tuple[Response, int]:
    """One message of the data channel's protocol, for streams whose publisher has no data channel."""
    session = live_of().find(g.owner, session_id)
    answer = session.talk.answer(request.get_data(cache=False, as_text=True))
    if answer["kind"] == "error":
        raise ApiError(422, answer["code"], answer["message"])
    return jsonify(answer), 200


@blueprint.get("/api/live/<session_id>/preview.jpg")
def preview(session_id: str) -> Response:
    """The newest covered picture, with numbers on the faces."""
    stream = live_of().find(g.owner, session_id).pipeline.stream
    if stream.shown is None or stream.control.panic or stream.control.status.state != "live":  # old ones know no news
        raise ApiError(503, "no_picture", "There is no picture yet, or everything is covered; try again.")
    picture = numbered(stream.shown, stream.faces)
    if stream.control.panic:  # pressed meanwhile
        raise ApiError(503, "no_picture", "Everything is covered; try again when it is shown again.")
    return Response(picture, mimetype="image/jpeg")
