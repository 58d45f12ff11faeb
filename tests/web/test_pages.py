"""The pages in a real headless Chromium: policy, languages, keyboard, accessibility, states of the live view."""

import re
from pathlib import Path

import pytest

from web.browser import Visitor, running
from web.test_words import WORDS

PAGES = ("/#live", "/#film", "/privacy", "/api/docs", "/nothing-here")
TOKEN = "a-token-for-tests"
PIXEL = bytes.fromhex("47494638396101000100800000ffffff0000002c00000000010001000002024401003b")  # a GIF
NO_CAMERA = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'));"
STATES = {
    "nocamera": NO_CAMERA.format("NotFoundError"),
    "denied": NO_CAMERA.format("NotAllowedError"),
    "insecure": "Object.defineProperty(window, 'isSecureContext', {value: false});",
    "blocked": "delete window.RTCPeerConnection;",
}
SHOWN_TEXTS = """[...document.querySelectorAll('body *')]
  .filter((e) => e.checkVisibility() && !e.closest('code, pre, #api-paths'))
  .flatMap((e) => [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim())
  .concat(['aria-label', 'title', 'alt', 'placeholder'].map((a) => e.getAttribute(a)))).filter(Boolean)"""

CONTROLS = """[...document.querySelectorAll(
    'a[href], button:not(:disabled), select, summary, input:not([type=radio])')]
  .filter((e) => e.checkVisibility({visibilityProperty: true}))"""
# number of the element with the focus, whether that is seen on it or its label, and its beginning
FOCUSED = """(() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const near = [e, e.nextElementSibling, e.parentElement?.querySelector('label')].filter(Boolean);
  return [[...document.querySelectorAll('*')].indexOf(e),
    near.some((n) => getComputedStyle(n).outlineStyle !== 'none'), e.outerHTML.slice(0, 90)];
})()"""


@pytest.fixture
def visit(browser, server):
    """Opens a browser window for one person: ``visit(path, **options)``; whatever goes wrong in it fails the test."""
    visitors = []

    def make(path, expected=(), script="", **options):
        visitor = Visitor(browser, server, **options)
        visitors.append(visitor)
        visitor.expected += [r"status of 404", *expected] if path == "/nothing-here" or expected else []
        if script:
            visitor.context.add_init_script(script)
        visitor.go(path)
        return visitor.page

    yield make
    for visitor in visitors:
        visitor.close()


def axe(page):
    """Serious and critical findings of axe-core in the page as it is now."""
    package = pytest.importorskip("axe_core_python", reason="axe-core is missing: pip install axe-core-python")
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    bad = [v for v in found if v["impact"] in {"serious", "critical"}]
    return [(v["id"], n["html"][:160], n["failureSummary"][:300]) for v in bad for n in v["nodes"]]


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_speaks_the_browsers_language_and_loads_without_a_fault(visit, path, locale):
    """No console error, no third party, no breach of the policy; no English sentence is left in German."""
    page = visit(path, locale=locale)
    code = locale[:2]
    assert page.get_attribute("html", "lang") == code
    if code == "de":
        english = {WORDS["en"][k] for k in WORDS["en"] if WORDS["en"][k] != WORDS["de"][k]}
        assert not english & set(page.evaluate(SHOWN_TEXTS)) - set(WORDS["de"].values())


def test_language_and_light_switch_in_place_and_are_remembered(visit):
    """The page stays as it is (a running upload would not survive a reload), and the next page follows."""
    page = visit("/#film", color_scheme="light")
    page.evaluate("window.stayed = true")
    page.click("#language")
    page.get_by_role("heading", name=WORDS["de"]["film.title"]).wait_for()
    page.click("#theme")
    assert page.evaluate("window.stayed")
    page.goto(page.url.split("#")[0] + "privacy")
    assert page.inner_text("h1") == WORDS["de"]["privacy.title"]
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 22)"


@pytest.mark.parametrize("path", ["/#live", "/#film"])
def test_every_control_is_reached_with_tab_and_shows_its_focus(visit, path):
    """Nobody needs a mouse, and everybody sees where they are."""
    page = visit(path)
    wanted = page.evaluate(f"{CONTROLS}.length")
    seen, bare = set(), []
    for _ in range(wanted + 12):
        page.keyboard.press("Tab")
        state = page.evaluate(FOCUSED)
        if state is None:
            break
        seen.add(state[0])
        if not state[1]:
            bare.append(state[2])
    assert not bare
    assert len(seen) >= wanted


def test_a_question_mark_shows_the_shortcuts_and_escape_closes_them(visit):
    """The list of keys can be had by key, and gives the focus back."""
    page = visit("/#film")
    page.focus("#help-open")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()
    assert page.evaluate("document.activeElement.id") == "help-open"


def test_a_shortcut_is_not_taken_from_somebody_who_types(visit):
    """A question mark in a name is a question mark."""
    page = visit("/#live")
    page.click("#obs summary")
    page.fill("#obs-name", "")
    page.type("#obs-name", "p?")
    assert page.locator("#help").is_hidden()
    assert page.input_value("#obs-name") == "p?"
    assert page.inner_text("#obs-whip").endswith("/whip/p%3F")


@pytest.mark.parametrize("state", STATES)
def test_without_a_camera_there_is_a_sentence_and_a_way_on(visit, state):
    """Each reason has words of its own, and the button tries again where that can help."""
    page = visit("/#live", script=STATES[state])
    if state != "insecure":
        page.click("#live-start")
    page.wait_for_selector(f"#view-live[data-state={state}]")
    assert page.inner_text("#live-card-title") == WORDS["en"][f"live.{state}.title"]
    assert page.inner_text("#live-card-text") == WORDS["en"][f"live.{state}.text"]
    assert page.locator("#live-start").is_visible() == (state != "insecure")
    assert not axe(page)


@pytest.mark.parametrize(("status", "code", "state"), [(0, "", "lost"), (429, "too_many_live", "refused"),
                                                       (503, "something_new", "refused")])  # fmt: skip
def test_a_server_that_does_not_start_a_session_is_told(visit, status, code, state):
    """Gone is gone; a refusal is told in the user's words, and in the server's own where the page does not know it."""
    page = visit("/#live", expected=["Failed to load resource"])
    answer = {"status": status, "json": {"error": {"code": code, "message": "The server says why."}}}
    page.route("**/api/live", lambda route: route.abort() if not status else route.fulfill(**answer))
    page.click("#live-start")
    page.wait_for_selector(f"#view-live[data-state={state}]")
    told = page.inner_text("#live-card-text")
    known = WORDS["en"].get(f"error.{code}", "The server says why.")
    assert told == (known if status else WORDS["en"]["live.lost.text"])


def test_the_cameras_own_picture_is_never_shown(visit):
    """While the page waits for the covered picture no video element has one."""
    page = visit("/#live", expected=["Failed to load resource"])
    page.route("**/api/live", lambda _route: None)  # the server never answers
    page.click("#live-start")
    page.wait_for_selector("#view-live[data-state=connecting]")
    assert page.evaluate("[...document.querySelectorAll('video')].every((v) => v.srcObject === null)")
    page.click("#live-cancel")
    page.wait_for_selector("#view-live[data-state=idle]")


@pytest.mark.parametrize("width", [320, 360, 768, 1600])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_sticks_out_at_any_width(visit, path, width):
    """From a phone to a large screen no page scrolls sideways, in the language with the longer words."""
    page = visit(path, viewport={"width": width, "height": 740}, locale="de-DE")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(visit, path, scheme):
    """Contrast, names, roles and order, as far as axe-core can judge."""
    page = visit(path, expected=["status of 404"], color_scheme=scheme)  # no stream to watch, no such page
    for summary in page.locator("details:visible > summary").all()[:4]:
        summary.click()
    assert not axe(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_list_of_keys(visit, scheme):
    page = visit("/#film", color_scheme=scheme)
    page.click("#help-open")
    assert not axe(page)


def test_a_running_stream_can_be_watched_and_covered(visit, server):
    """The panel shows the stream's state and faces, and its buttons send whole choices and panic to the server."""
    page = visit("/#live", expected=["status of 503"])
    status = {
        "state": "live", "panic": False, "fps_out": 24.9, "latency_ms": {"total": [210.0, 250.0, 300.0]},
        "faces": [{"id": 3, "xyxy": [1, 2, 3, 4], "kept": False}, {"id": 5, "xyxy": [5, 2, 9, 4], "kept": True}],
        "choices": {"keep": [5], "cover": [], "default": "cover"},
    }  # fmt: skip
    sent = []

    def changed(route):
        sent.append((route.request.url.rpartition("/")[2], route.request.post_data_json))
        route.fulfill(json={**status, "panic": bool(route.request.post_data_json.get("on"))})

    limits = page.context.request.get(f"{server.url}/api/limits").json()
    page.route("**/api/limits", lambda route: route.fulfill(json={**limits, "watch": True}))
    page.route("**/api/watch", lambda route: route.fulfill(json=status))
    page.route("**/api/watch/preview.jpg", lambda route: route.fulfill(status=503, json={}))
    page.route(re.compile("/api/watch/(choices|panic)$"), changed)
    page.click("#watch summary")
    page.locator("#watch-people li").nth(1).wait_for()
    assert not axe(page)
    page.locator("#watch-people li.covered button").click()
    page.click("#watch-panic")
    page.locator("#watch-panic[aria-pressed=true]").wait_for()
    assert sent == [("choices", {"keep": [5, 3], "cover": [], "default": "cover"}), ("panic", {"on": True})]


def test_without_a_stream_to_watch_nothing_is_asked_for(visit):
    """The panel says what to start; no request fails, so nothing is logged."""
    page = visit("/#live")
    page.click("#watch summary")
    page.locator("#watch-text[data-t='watch.none']").wait_for()


def test_a_published_stream_can_be_steered(visit):
    """What OBS publishes here has a row for each face and a panic button; they say so to the server."""
    page = visit("/#live")
    stream = {"id": "abc", "name": "studio", "state": "live", "width": 640, "height": 360, "fps": 24.0,
              "latency_ms": 300, "panic": False,
              "faces": [{"id": 7, "kept": False}, {"id": 8, "kept": True}]}  # fmt: skip
    own = {"id": "own", "name": ""}  # this page's own camera is no published stream
    said = []

    def say(route):
        said.append(route.request.post_data_json)
        stream["panic"] = said[-1].get("on", stream["panic"])
        route.fulfill(json={"kind": "done"})

    page.route("**/api/live", lambda route: route.fulfill(json={"live": [stream, own], "max_live": 4}))
    page.route("**/api/live/abc/preview.jpg", lambda route: route.fulfill(body=PIXEL, content_type="image/gif"))
    page.route("**/api/live/abc/say", say)
    page.click("#obs summary")
    page.locator("#streams img:visible").wait_for()
    assert page.locator("#streams > li").count() == 1
    assert not axe(page)
    page.locator("#streams li.covered button").click()
    page.locator("#streams li.kept button").click()
    page.click("#streams button.danger")
    page.locator("#streams button.danger[aria-pressed=true]").wait_for()
    page.locator("#streams img").wait_for(state="hidden")
    assert said == [{"kind": "keep", "id": 7}, {"kind": "cover", "id": 8}, {"kind": "panic", "on": True}]


def test_the_title_names_the_view(visit):
    """Tabs and histories of browsers tell the views apart, in the page's language."""
    page = visit("/#live", locale="de-DE")
    assert page.title() == WORDS["de"]["title.live"]
    page.click("[data-tab=film]")
    page.locator("#view-film").wait_for()
    assert page.title() == WORDS["de"]["title.film"]


def test_the_api_page_shows_what_the_document_has(visit, server):
    """Every address and method of openapi.json is on the page."""
    page = visit("/api/docs")
    page.wait_for_selector(".operation")
    document = page.context.request.get(f"{server.url}/api/openapi.json").json()
    methods = {"get", "head", "post", "put", "patch", "delete"}
    count = sum(len(methods & item.keys()) for item in document["paths"].values())
    assert page.locator(".operation").count() == count > 10


def test_a_wrong_token_is_told_and_the_right_one_opens(browser, tmp_path):
    """The login shows nothing else, says what was wrong, and leads to the page."""
    with running(tmp_path / "web", "--token", TOKEN) as server:
        visitor = Visitor(browser, server)
        visitor.expected.append("status of 401")
        page = visitor.page
        page.goto(f"{server.url}/#film")
        assert page.url.endswith("/login#film")
        assert not axe(page)
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#login-error:visible")
        assert page.inner_text("#login-error") == WORDS["en"]["error.bad_token"]
        assert page.evaluate("document.activeElement.id") == "token"
        assert not axe(page)
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        assert TOKEN not in page.url
        visitor.close()
