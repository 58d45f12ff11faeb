"""Watch the stream that ``bystander live --control`` runs on this machine: its status, covered preview, choices, panic.

Only the control address given at start is ever asked, on loopback or a container network, with its token, which pages
never see.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request

from bystander.errors import SettingsError
from bystander.web.asked import body
from bystander.web.errors import ApiError
from bystander.web.settings import LOOPBACK, WebSettings
from bystander.web.site import site_of

PATIENCE_S = 3.0
MOST_BYTES = 5_000_000  # of an answer


def install(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/api/watch", "watch", status, methods=["GET"])
    blueprint.add_url_rule("/api/watch/preview.jpg", "watch_preview", preview, methods=["GET"])
    for what in ("choices", "panic"):
        blueprint.add_url_rule(f"/api/watch/{what}", f"watch_{what}", change, methods=["POST"])


def address(s: WebSettings) -> tuple[str, int]:
    """Host and port of the control. SettingsError where it is neither on this machine nor a container beside this one.

    The token travels in plain text, so a name with a dot or an address of elsewhere is refused; a name of one word is
    a neighbour on a container network.
    """
    url = urlsplit(s.watch if "//" in s.watch else f"//{s.watch}")
    try:
        host, port = (url.hostname or "127.0.0.1"), url.port
    except ValueError:
        host, port = "", None
    near = host in LOOPBACK or (host.replace("-", "").replace("_", "").isalnum() and not host.isdigit())
    if not near or port is None or url.scheme not in ("", "http"):
        raise SettingsError(
            f"watch {s.watch}: give the control address on this machine, like http://127.0.0.1:8771, or of a container"
        )
    return host, port


def status() -> Response:
    _, text = ask("GET", "/status")
    return jsonify(known_object(text))


def preview() -> Response:
    kind, data = ask("GET", "/preview.jpg")
    if kind != "image/jpeg":
        raise ApiError(502, "bad_watch", "The stream's control answers nonsense; check the address given at start.")
    return Response(data, mimetype="image/jpeg")


def change() -> Response:
    path = "/" + request.path.rpartition("/")[2]
    _, text = ask("POST", path, json.dumps(body()).encode())
    return jsonify(known_object(text))


def ask(method: str, path: str, sent: bytes | None = None) -> tuple[str, bytes]:
    """Content type and bytes of the control's answer. ApiError for every other."""
    settings = site_of().settings
    if not settings.watch:
        raise ApiError(404, "no_watch", "No stream to watch; start bystander web with --watch and the control address.")
    try:
        connection = http.client.HTTPConnection(*address(settings), timeout=PATIENCE_S)
    except SettingsError as e:
        raise ApiError(502, "bad_watch", f"{e}.") from None
    headers = {"Authorization": f"Bearer {settings.watch_token}"} | (
        {"Content-Type": "application/json"} if sent else {}
    )
    try:
        connection.request(method, path, sent, headers)
        answer = connection.getresponse()
        data = answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException):
        raise ApiError(
            502, "watch_gone", "The stream is not there; start bystander live again with --control."
        ) from None
    finally:
        connection.close()
    if answer.status == 200:
        return answer.headers.get_content_type(), data
    raise refused(answer.status)


def refused(code: int) -> ApiError:
    """What the control said no to, for people."""
    if code == 401:
        return ApiError(502, "bad_watch_token", "The stream's control refuses our token; check --watch-token-file.")
    if code == 400:
        return ApiError(422, "bad_value", "The stream's control does not understand that choice; reload the page.")
    if code == 503:
        return ApiError(503, "no_picture", "There is no preview now: no picture yet, or the machine is too slow.")
    return ApiError(502, "bad_watch", "The stream's control answers nonsense; check the address given at start.")


def known_object(text: bytes) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError(502, "bad_watch", "The stream's control answers nonsense; check the address given at start.")
    return found
