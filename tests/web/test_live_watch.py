"""Watching a ``bystander live`` through its control API."""

import http.server
import threading

import pytest

from bystander.errors import SettingsError
from bystander.run.control import Control
from bystander.run.control_http import ControlServer
from bystander.web.app import create_app, site_of
from bystander.web.live.watch import address
from bystander.web.settings import WebSettings
from rtc_client import Browser


@pytest.fixture
def open_app(tmp_path):
    apps = []

    def make(**settings):
        app = create_app(WebSettings(data=tmp_path / str(len(apps)), **settings))
        apps.append(app)
        return Browser(app)

    yield make
    for app in apps:
        site_of(app).close()


@pytest.fixture
def control():
    control = Control()
    server = ControlServer(("127.0.0.1", 0), "secret-token", control, lambda: b"jpeg" if not control.panic else None)
    control.port = server.port
    yield control
    server.close()


def test_a_stream_is_watched_and_controlled(open_app, control):
    """Status and preview come through, choices and panic go through; the control's token stays here."""
    browser = open_app(watch=f"http://127.0.0.1:{control.port}", watch_token="secret-token")
    answer = browser.get("/api/watch")
    assert (answer.status_code, answer.json["panic"]) == (200, False)
    assert "secret-token" not in answer.get_data(as_text=True)
    preview = browser.get("/api/watch/preview.jpg")
    assert (preview.mimetype, preview.data) == ("image/jpeg", b"jpeg")
    assert browser.post("/api/watch/choices", {"keep": [3], "cover": [4]}).json["choices"]["keep"] == [3]
    assert control.choices.cover == {4}
    assert browser.post("/api/watch/panic", {"on": True}).json["panic"] is True
    assert control.panic
    assert browser.get("/api/watch/preview.jpg").status_code == 503


@pytest.mark.parametrize(("path", "body"), [("choices", {"keep": "all"}), ("panic", {"on": 1}), ("choices", [])])
def test_choices_that_make_no_sense_are_refused(open_app, control, path, body):
    browser = open_app(watch=f"127.0.0.1:{control.port}", watch_token="secret-token")
    assert browser.post(f"/api/watch/{path}", body).status_code in (400, 422)


def test_the_stream_cannot_be_stopped_from_here(open_app, control):
    """Only what a page needs is let through."""
    browser = open_app(watch=f"127.0.0.1:{control.port}", watch_token="secret-token")
    assert browser.post("/api/watch/stop", {}).status_code == 404
    assert not control.stop_asked.is_set()


def code_of(answer):
    return answer.status_code, answer.json["error"]["code"]


def test_every_way_to_fail_is_told(open_app, control):
    """Nothing to watch, a wrong token, nobody there, another machine, an answer that makes no sense."""
    assert code_of(open_app().get("/api/watch")) == (404, "no_watch")
    wrong = open_app(watch=f"127.0.0.1:{control.port}", watch_token="wrong")
    assert code_of(wrong.get("/api/watch")) == (502, "bad_watch_token")
    assert code_of(open_app(watch="127.0.0.1:9", watch_token="x").get("/api/watch")) == (502, "watch_gone")
    for other in ("http://192.168.1.2:8771", "https://127.0.0.1:1", "file:///etc/passwd", "127.0.0.1", "127.0.0.1:x"):
        assert code_of(open_app(watch=other, watch_token="x").get("/api/watch")) == (502, "bad_watch")


def test_an_answer_that_makes_no_sense_is_told(open_app):
    class Nonsense(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Nonsense)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = open_app(watch=f"127.0.0.1:{server.server_address[1]}", watch_token="x")
    assert code_of(browser.get("/api/watch")) == (502, "bad_watch")
    assert code_of(browser.get("/api/watch/preview.jpg")) == (502, "bad_watch")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8771", "localhost:8771", "http://live:8771", "http://live-1:8771"])
def test_a_control_here_or_in_a_neighbouring_container_may_be_watched(url):
    """Loopback, and names of one word, as containers have them."""
    assert address(WebSettings(watch=url))[1] == 8771


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:8771", "http://live.example:8771", "https://live:8771", "live", "x:y"]
)
def test_a_control_elsewhere_is_refused(url):
    """The token would travel in plain text."""
    with pytest.raises(SettingsError, match="watch"):
        address(WebSettings(watch=url))
