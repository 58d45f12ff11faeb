"""The pages: one for everything, the login, what is stored, the API. No data in them but the page's own secret."""

from __future__ import annotations

from flask import Blueprint, g, redirect, render_template, request
from werkzeug.wrappers import Response

from bystander import __version__
from bystander.web.errors import ApiError
from bystander.web.site import site_of

blueprint = Blueprint("pages", __name__)


def page(name: str, status: int = 200, **values: object) -> Response:
    s = site_of().settings
    text = render_template(name, version=__version__, keep_hours=s.keep_hours, token_needed=bool(s.token), **values)
    return Response(text, status, mimetype="text/html")


@blueprint.get("/")
def start() -> Response:
    return page("index.html")


@blueprint.get("/privacy")
def privacy() -> Response:
    return page("privacy.html")


@blueprint.get("/api/docs")
def docs() -> Response:
    return page("api_docs.html")


@blueprint.get("/login")
def login_page() -> Response:
    return page("login.html") if site_of().settings.token else redirect("/", 303)


@blueprint.post("/login")
def login() -> Response:
    """The form field ``token``; a wrong one shows the form again, with ``error`` set to its code."""
    guard = site_of().guard
    try:
        guard.right(request.form.get("token", "").strip())
    except ApiError as e:
        answer = page("login.html", e.status, error=e.code, message=e.message)
        answer.headers.update(e.headers)
        return answer
    g.new_owner = False
    return guard.let_in(redirect("/", 303))
