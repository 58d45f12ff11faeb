"""Control and metrics over HTTP, as another program uses them."""

import json
import sys
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from bystander.errors import SettingsError
from bystander.run.control import Control, FaceStatus, LiveStatus, OutputStatus
from bystander.run.control_http import ControlServer
from bystander.run.metrics_http import Metrics
from bystander.run.numbered import numbered
from bystander.stages.cover import slate
from bystander.types import Verdict
from fakes import noise_frame


@pytest.fixture
def served():
    control = Control()
    server = ControlServer(("127.0.0.1", 0), "t0ken", control, lambda: b"\xff\xd8picture")
    yield control, server
    server.close()


def ask(server, path, body=None, token="t0ken"):
    """(status code, answer)."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def test_status_choices_panic_and_stop(served):
    """Another program sees the stream and steers it."""
    control, server = served
    control.status = LiveStatus(state="live", faces=(FaceStatus(3, (1.0, 2.0, 3.0, 4.0), kept=False),))
    assert json.loads(ask(server, "/status")[1])["faces"][0]["id"] == 3
    assert ask(server, "/choices", {"keep": [3, 4], "cover": [4]})[0] == 200
    assert (control.choices.keep, control.choices.cover) == ({3}, {4})
    assert control.choices.default is Verdict.COVER
    assert json.loads(ask(server, "/panic", {"on": True})[1])["panic"] is True
    assert control.panic
    ask(server, "/stop", {})
    assert control.stop_asked.is_set()
    assert ask(server, "/preview.jpg")[1] == b"\xff\xd8picture"


@pytest.mark.parametrize("token", ["", "wrong", "t0ke"])
@pytest.mark.parametrize(("path", "body"), [("/status", None), ("/preview.jpg", None), ("/choices", {"keep": [1]})])
def test_without_the_token_nothing_is_told_or_done(served, token, path, body):
    """A web page or another user without the token gets nothing."""
    control, server = served
    assert ask(server, path, body, token)[0] == 401
    assert not control.choices.keep


@pytest.mark.parametrize(
    "body", [b"{", [], {"keep": "1"}, {"keep": [True]}, {"keep": [1.5]}, {"default": "x"}, b"x" * 200_000]
)
def test_bodies_that_do_not_fit_change_nothing(served, body):
    """A malformed request is a 400, and the choices stay."""
    control, server = served
    before = control.choices
    try:
        assert ask(server, "/choices", body)[0] == 400
    except OSError:  # the server hung up in the middle of a body that is too long
        assert len(body) > 100_000
    assert control.choices is before


def test_unknown_paths_and_half_a_panic(served):
    """404 for what is not there; panic needs a clear word."""
    _, server = served
    assert ask(server, "/nothing")[0] == 404
    assert ask(server, "/nothing", {})[0] == 404
    assert ask(server, "/panic", {"on": 1})[0] == 400


def test_metrics_are_those_of_the_status():
    """Prometheus reads fps, latency, fail-safe frames and reconnects."""
    pytest.importorskip("prometheus_client")
    control = Control()
    control.status = LiveStatus(
        state="live", fps_in=30.0, latency_ms={"total": (10.0, 20.0, 30.0)}, whole={"detector: late": 4}, drops=7,
        faces=(FaceStatus(1, (0, 0, 1, 1), kept=True),), outputs=(OutputStatus("rtmp://h/a/***", "connected", 2),),
    )  # fmt: skip
    metrics = Metrics(("127.0.0.1", 0), control)
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5) as page:
        text = page.read().decode()
    metrics.close()
    for line in ("bystander_live 1.0", "bystander_fps_in 30.0", "bystander_kept 1.0", "bystander_drops_total 7.0",
                 'bystander_fail_safe_frames_total{kind="detector: late"} 4.0',
                 'bystander_latency_seconds{quantile="0.95",stage="total"} 0.02',
                 'bystander_output_connected{output="rtmp://h/a/***"} 1.0',
                 'bystander_output_reconnects_total{output="rtmp://h/a/***"} 2.0'):  # fmt: skip
        assert line in text


def test_metrics_without_their_library_say_what_to_install(monkeypatch):
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(SettingsError, match=r"bystander\[live\]"):
        Metrics(("127.0.0.1", 0), Control())


def test_a_port_that_is_taken_is_told(served):
    """One line, no traceback."""
    _, server = served
    with pytest.raises(SettingsError, match="cannot listen"):
        ControlServer(("127.0.0.1", server.port), "x", Control(), lambda: None)


def test_the_preview_shows_numbers_and_only_covered_frames():
    """Each face has a frame; a raw frame is refused."""
    covered = slate(320, 240, "")
    plain = cv2.imdecode(np.frombuffer(numbered(covered, ()), np.uint8), 1)
    face = FaceStatus(5, (100.0, 80.0, 180.0, 160.0), kept=False)
    marked = cv2.imdecode(np.frombuffer(numbered(covered, (face,)), np.uint8), 1)
    assert marked.shape == plain.shape == (240, 320, 3)
    changed = np.abs(marked.astype(int) - plain).max(axis=2) > 60
    assert changed[78:83, 100:180].any()
    assert not changed[200:, 250:].any()
    with pytest.raises(TypeError, match="only covered"):
        numbered(noise_frame(), ())
