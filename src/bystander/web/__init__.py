"""The web app: pages, films and live pictures, served to their owners alone. Needs the extra ``web``.

Importing this loads neither Flask nor a model, as the processes that read films do not need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bystander.web.settings import WebSettings

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["WebSettings", "create_app"]


def create_app(settings: WebSettings | None = None) -> Flask:
    """The WSGI application; see ``bystander.web.app``."""
    from bystander.web.app import create_app as make

    return make(settings)
