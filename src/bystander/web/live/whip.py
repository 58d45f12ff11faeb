"""WHIP (RFC 9725) to publish and WHEP (draft-ietf-wish-whep) to play: SDP over HTTP for OBS and other programs.

A published stream has a name; several may play it, covered. The guard has asked for the token before any of this runs.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, g, request

from bystander.web.errors import ApiError, not_found
from bystander.web.live.pipeline import Wanted
from bystander.web.live.server import live_of, wanted_of

SDP = "application/sdp"
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def install(blueprint: Blueprint) -> None:
    for protocol, post, delete in (("whip", publish, unpublish), ("whep", play, leave)):
        blueprint.add_url_rule(f"/{protocol}/<name>", protocol, post, methods=["POST"])
        blueprint.add_url_rule(f"/{protocol}/<name>/<session_id>", f"{protocol}_end", delete, methods=["DELETE"])


def publish(name: str) -> Response:
    """Everybody is covered unless ?mode=, ?style=, ?strength= or ?width= ask for else; the picture keeps its size."""
    if not NAMES.fullmatch(name):
        raise ApiError(404, "bad_name", "Name the stream with up to 64 letters, digits, - and _.")
    session, sdp = live_of().open(g.owner, offer(), asked(), name)
    return created(sdp, f"/whip/{name}/{session.id}")


def unpublish(name: str, session_id: str) -> Response:
    live = live_of()
    session = live.named(name)
    if session.id != session_id:
        raise not_found()
    live.end(session)
    return Response(status=200)


def play(name: str) -> Response:
    viewer, sdp = live_of().view(name, offer())
    return created(sdp, f"/whep/{name}/{viewer.id}")


def leave(name: str, session_id: str) -> Response:
    live_of().leave(name, session_id)
    return Response(status=200)


def asked() -> Wanted:
    """The settings in the address, as a publisher cannot send others."""
    values: dict[str, object] = {"mode": "none", "width": 0, **request.args}
    try:
        for key, kind in (("strength", float), ("width", int)):
            if key in values:
                values[key] = kind(str(values[key]))
    except ValueError:
        raise ApiError(422, "bad_settings", "strength and width must be numbers.") from None
    return wanted_of(values)


def offer() -> str:
    """The request's SDP. A page elsewhere cannot send this type without asking, and it is not allowed to."""
    if request.mimetype != SDP:
        raise ApiError(415, "not_sdp", f"Send an SDP offer with Content-Type {SDP}.")
    return request.get_data(cache=False).decode(errors="replace")


def created(sdp: str, location: str) -> Response:
    return Response(sdp, 201, {"Location": location}, mimetype=SDP)
