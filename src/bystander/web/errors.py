"""What an API answers when it cannot do as asked: ``{"error": {"code", "message"}}``. Pages translate by the code."""

from __future__ import annotations

from flask import Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from bystander.web.words import words

MACHINES = ("/api", "/static/", "/whip/", "/whep/", "/healthz", "/metrics")  # never answered with a page
CODES = {
    400: ("bad_request", "The request makes no sense; reload the page and try again."),
    404: ("not_found", "There is nothing here; it may have been removed. Go back to the start page."),
    405: ("wrong_method", "This address cannot be used that way; the API page lists what it can do."),
    413: ("too_large", "That is too large; send it in smaller pieces."),
    415: ("not_json", "Send JSON with Content-Type application/json."),
    416: ("bad_range", "That part of the film does not exist; load it from the start."),
    500: ("fault", "Something went wrong here. It was logged; try again."),
}


class ApiError(Exception):
    """Raised anywhere below a view. ``message`` is one sentence with a way on, without picture content or paths."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


def not_found() -> ApiError:
    """The same for what does not exist and for what is somebody else's."""
    return ApiError(404, *CODES[404])


def as_answer(error: ApiError) -> Response:
    """JSON for programs; people who asked for a page get one."""
    login = request.path == "/login"
    if (request.method == "GET" or login) and wants_page():
        again = (login or error.code in {"bad_token", "too_many_tries"}) and f"error.{error.code}" in words("en")
        page = "login.html" if again else "error.html"
        text = render_template(page, error=error.code, code=error.status)
        answer = Response(text, error.status, mimetype="text/html")
    else:
        answer = jsonify({"error": {"code": error.code, "message": error.message}})
        answer.status_code = error.status
    answer.headers.update(error.headers)
    return answer


def as_http_answer(error: HTTPException) -> Response:
    """Flask's own errors in the same shape."""
    status = error.code or 500
    code, message = CODES.get(status, ("http_error", error.name))
    allow = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(sorted(allow))} if status == 405 and allow else {}
    return as_answer(ApiError(status, code, message, headers))


def wants_page() -> bool:
    return not request.path.startswith(MACHINES) and request.accept_mimetypes.accept_html
