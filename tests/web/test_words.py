"""The pages' languages and rules that can be read off their sources, without a browser."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("flask", reason="the web extra is missing")

from bystander.web.words import FOLDER, LANGUAGES

WEB = FOLDER.parents[1]
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
SCRIPTS = sorted((WEB / "static" / "js").rglob("*.js"))
WORDS = {code: json.loads((FOLDER / f"{code}.json").read_text()) for code in LANGUAGES}
# what scripts and templates put together themselves: "live." + state + ".title" and so on
MADE = (
    r"live\.(idle|asking|connecting|nocamera|denied|insecure|blocked|lost|ended|refused)\.(title|text)",
    r"keep\.(auto|none|largest)(\.hint)?", r"style\.(pixelate|blur|solid)", r"film\.state\.\w+", r"error\.\w+",
    r"draw\.(box|zone)\.text", r"draw\.row\.(cover|keep)",
    r"title\.(live|film|review)", r"privacy\.\w+(\.title)?", r"film\.refuse\.\w+",
)  # fmt: skip
SAME = {
    "API",
    "Live",
    "Film",
    "Token",
    "Zoom",
    "Original",
    "bystander",
    "API · bystander",
    "Live · bystander",
    "Person {n}",
    "Person {n}, {verdict}",
    "{fps} fps",
}  # in both


def used_keys():
    """Keys that templates and scripts name."""
    found = set()
    for path in TEMPLATES:
        source = path.read_text()
        found |= set(re.findall(r"""(?:text|say)\(["']([\w.]+)["']""", source))
        found |= set(re.findall(r"""attribute\(["'][\w-]+["'], ["']([\w.]+)["']""", source))
        found |= set(re.findall(r"title_key %\}([\w.]+)\{%", source))
    for path in SCRIPTS:
        found |= set(re.findall(r'"((?:[a-z_]+\.)+[a-z_]+)"', path.read_text()))
    return {key for key in found if not key.endswith((".", ".js", ".json"))}


def test_both_languages_have_the_same_keys_and_values_to_fill_in():
    """No sentence is missing in one language, and both name the same values."""
    assert WORDS["en"].keys() == WORDS["de"].keys()
    for key, english in WORDS["en"].items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", WORDS["de"][key])), key
        assert WORDS["de"][key].strip(), key


def test_german_is_german():
    """A sentence of several words that is the same in both languages was forgotten."""
    same = {v for k, v in WORDS["en"].items() if v == WORDS["de"][k] and v not in SAME}
    assert not {v for v in same if len(re.findall(r"[a-z]{3,}", v)) > 1}


def test_every_named_sentence_exists_and_none_is_left_over():
    """No page shows a raw key, and no sentence is dead."""
    used = used_keys()
    assert not {k for k in used if k not in WORDS["en"]}
    made = [re.compile(pattern) for pattern in MADE]
    assert not {k for k in WORDS["en"] if k not in used and not any(m.fullmatch(k) for m in made)}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_no_template_holds_a_word_of_its_own(path):
    """Every word that a template shows comes from the languages' files; only the name and key caps stand there."""
    bare = re.sub(r"\{% block (?:title_key|script) %\}.*?\{% endblock %\}", " ", path.read_text())
    shown = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|<!--.*?-->", " ", bare, flags=re.DOTALL)
    shown = re.sub(r"<[^>]*>", " ", shown)
    assert not set(re.findall(r"[^\W\d_]{2,}", shown)) - {"bystander", "openapi", "json"}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_no_template_has_inline_script_or_style(path):
    """The content security policy allows neither."""
    source = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", source)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source))


def test_every_code_of_the_server_has_a_sentence():
    """An error that a user can meet is told in the user's language."""
    sources = "\n".join(p.read_text() for p in WEB.rglob("*.py"))
    raised = r'(?:ApiError\(\s*\d+,|NoFilm\(|JobError\(|BadMessage\(|\d{3}: \(|"code": |status, \()\s*"([a-z_]+)"'
    given = r'(?:unfit\(|number\([^\n]*, )"[^\n]*", "([a-z]+_[a-z]+)"\)|BAD = "([a-z_]+)"|code: str = "([a-z_]+)"'
    codes = set(re.findall(raised, sources)) | {c for found in re.findall(given, sources) for c in found if c}
    assert codes > {"bad_edit", "bad_settings", "no_answer", "failed", "http_error"}  # the patterns still find them
    assert not {c for c in codes if f"error.{c}" not in WORDS["en"]}


def test_nothing_comes_from_elsewhere():
    """No page, script or style names another server."""
    for path in (*TEMPLATES, *SCRIPTS, WEB / "static" / "app.css"):
        addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text())
        assert not [a for a in addresses if "www.w3.org" not in a], path


def test_scripts_stay_small():
    """Each module can be read in one go."""
    assert not {str(p): n for p in SCRIPTS if (n := len(Path(p).read_text().splitlines())) > 330}
