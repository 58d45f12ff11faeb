"""What a request carries, checked: JSON bodies and their values. ApiError names what does not fit."""

from __future__ import annotations

import json
import math
from typing import Any

from flask import request

from bystander.web.errors import CODES, ApiError

MOST_JSON = 100_000  # bytes


def body(known: frozenset[str] | None = None, *, optional: bool = False) -> dict[str, Any]:
    """The request's JSON object, with no other keys than ``known``; None: with any. ``optional``: it may be empty."""
    data = request.get_data(cache=False)
    if optional and not data:
        return {}
    if request.mimetype != "application/json":
        raise ApiError(415, *CODES[415])
    if len(data) > MOST_JSON:
        raise ApiError(413, *CODES[413])
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ApiError(400, "bad_json", "The body is no JSON.") from e
    if not isinstance(value, dict):
        raise ApiError(400, "bad_json", "The body must be a JSON object.")
    if known is not None and (extra := sorted(set(value) - known)):
        raise unfit(f"{extra[0][:40]!r} is not known here; known are {', '.join(sorted(known)) or 'no keys'}")
    return value


def unfit(what: str, code: str = "bad_request") -> ApiError:
    """What was asked for cannot be."""
    return ApiError(422, code, f"{what[:1].upper()}{what[1:]}.")


def number(value: Any, name: str, code: str = "bad_request") -> float:
    """A finite number; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unfit(f"{name} must be a number", code)
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real):
        raise unfit(f"{name} must be a number", code)
    return real


def argument(name: str, default: float | None = None) -> float:
    """A number of the query string."""
    text = request.args.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise unfit(f"{name} must be a number of seconds")
    return value
