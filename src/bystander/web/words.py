"""The languages of the pages. A request's cookie or Accept-Language goes in; the words of one language come out.

The same JSON files serve the templates here and the scripts in the browser. Keys are flat, ``{name}`` in a sentence is
replaced. A missing key is an error, so that no page shows a raw key.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, request
from markupsafe import Markup, escape

LANGUAGES = ("en", "de")
FOLDER = Path(__file__).parent / "static" / "i18n"
COOKIE = "bystander_lang"  # set by the page's switch; holds nothing but "en" or "de"


@lru_cache(maxsize=len(LANGUAGES))
def words(language: str) -> dict[str, str]:
    """Key -> sentence of one of ``LANGUAGES``."""
    found: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


def language() -> str:
    """What the visitor chose, else the browser's first choice that we speak, else English."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES, "en")


def say(key: str, **values: object) -> str:
    """The sentence of ``key`` in the visitor's language. KeyError for an unknown key."""
    return words(language())[key].format(**values)


def text(key: str, **values: object) -> Markup:
    """The sentence in a span that the page's script can translate in place."""
    given = escape(json.dumps(values)) if values else ""
    extra = Markup(' data-t-values="{}"').format(given) if values else Markup("")
    return Markup('<span data-t="{}"{}>{}</span>').format(key, extra, say(key, **values))


def attribute(name: str, key: str) -> Markup:
    """``name="sentence"`` for a tag, translated in place as well."""
    return Markup('{0}="{1}" data-t-{0}="{2}"').format(name, say(key), key)


def add_words(app: Flask) -> None:
    """Give every template ``lang``, ``say``, ``text`` and ``attribute``."""

    @app.context_processor
    def offered() -> dict[str, Any]:
        return {"lang": language(), "say": say, "text": text, "attribute": attribute}
