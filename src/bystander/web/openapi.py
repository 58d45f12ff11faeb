"""The API's own description."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/api/openapi.json")
def document() -> Response:
    doc: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "bystander", "version": "1"}, "paths": {}}
    return jsonify(doc)
