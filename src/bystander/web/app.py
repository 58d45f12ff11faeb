"""``create_app``: the Flask application, wired from its parts. See docs/web.md for addresses and rules."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException

from bystander.web import events, health, live, openapi, pages
from bystander.web.errors import CODES, ApiError, as_answer, as_http_answer
from bystander.web.films import views as films
from bystander.web.films import views_media as media
from bystander.web.films import views_review as review
from bystander.web.settings import WebSettings
from bystander.web.site import NAME, Site, site_of
from bystander.web.words import add_words

__all__ = ["create_app", "site_of"]
log = logging.getLogger("bystander.web")


def create_app(settings: WebSettings | None = None) -> Flask:
    """A WSGI application. ``site_of(app).close()`` ends its threads and frees its data folder."""
    s = settings or WebSettings()
    app = Flask("bystander.web")
    app.config["MAX_CONTENT_LENGTH"] = s.chunk_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = 100_000
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    site = Site(s)
    app.extensions[NAME] = site
    site.guard.install(app)
    add_words(app)
    app.register_error_handler(ApiError, as_answer)
    app.register_error_handler(HTTPException, as_http_answer)
    app.register_error_handler(Exception, fault)
    for part in (pages, films, review, media, events, health, openapi, live):
        app.register_blueprint(part.blueprint)
    return app


def fault(error: Exception) -> Any:
    """A defect of ours: its traceback goes to the log, a sentence to the user."""
    log.error("a request failed", exc_info=error)
    return as_answer(ApiError(500, *CODES[500]))
