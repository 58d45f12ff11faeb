"""Live sessions over real WebRTC on this machine: what a browser gets back, whatever happens on the way."""

# ruff: noqa: F811  fixtures are imported and then named as parameters

import threading
import time

import numpy as np
import pytest

from bystander.types import Detections
from bystander.web.app import site_of
from bystander.web.live import session as session_module
from bystander.web.live.server import live_of
from rtc_client import OTHER, Browser, Camera, Client, picture, wait
from rtc_fixtures import RAW, SLOW_S, connect, grey, loop, serve, shows  # noqa: F401


def covered(client, n=30):
    """Wait for ``n`` returned pictures with news of both faces."""
    wait(lambda: len(client.pictures) >= n and client.news and len(client.news[-1]["faces"]) == 2, SLOW_S)


def centre(face):
    return {"x": face["x"] + face["w"] / 2, "y": face["y"] + face["h"] / 2}


def test_no_raw_face_ever_comes_back(serve, connect):
    """Both faces are covered in every returned picture from the very first, which is a slate."""
    client, _, _ = connect(serve())
    covered(client, 50)
    assert max(shows(client)) < RAW
    assert max(shows(client, OTHER)) < RAW
    assert grey(client.pictures[0][1])
    moving = [y[-10:].astype(int) for _, y, _ in client.pictures[-10:]]
    assert any(np.abs(moving[0] - m).max() > 50 for m in moving[1:])  # the rest of the picture is shown


def test_a_tap_keeps_and_covers_again(serve, connect):
    """A click keeps the face of the picture that the person saw, and only that one; another click covers it."""
    client, _, _ = connect(serve())
    covered(client)
    seen = client.news[-1]
    face = min(seen["faces"], key=lambda f: f["x"])
    answer = client.ask(SLOW_S, kind="tap", **centre(face), t=seen["t"])
    assert (answer["kind"], answer["id"], answer["kept"]) == ("done", face["id"], True)
    wait(lambda: shows(client)[-1] > 0.8, SLOW_S, "the kept face")
    assert max(shows(client, OTHER)) < RAW
    wait(lambda: any(f["kept"] for f in client.news[-1]["faces"]), SLOW_S)
    assert client.ask(SLOW_S, kind="tap", **centre(face), t=client.news[-1]["t"])["kept"] is False
    wait(lambda: shows(client)[-1] < RAW, SLOW_S)


def test_the_boxes_belong_to_the_picture_with_their_rtp_time(serve, connect):
    """``rtp`` and ``t`` rise together at 90 kHz, as the returned pictures' own times do."""
    client, _, _ = connect(serve())
    wait(lambda: len([m for m in client.news if m["rtp"] is not None]) >= 10, SLOW_S)
    known = [m for m in client.news if m["rtp"] is not None]
    offsets = {(m["rtp"] - round(m["t"] * 90_000)) % (1 << 32) // 200 for m in known}  # t is rounded to ms
    assert len(offsets) <= 2
    times = {pts for _, _, pts in list(client.pictures)}
    first = client.pictures[0][2]
    assert first is not None
    assert len(times) > 10


def test_panic_covers_the_next_picture(serve, connect, capsys):
    """After the first covered picture that follows the message none shows anything, until panic is over."""
    client, _, _ = connect(serve())
    covered(client)
    said = time.monotonic()
    client.say(kind="panic", on=True)
    wait(lambda: grey(client.pictures[-1][1]), 5, "panic")  # measured: see docs/web-live.md
    first = next(when for when, y, _ in list(client.pictures) if when > said and grey(y))
    with capsys.disabled():
        print(f"\npanic to covered: {1000 * (first - said):.0f} ms")
    n = len(client.pictures)
    wait(lambda: len(client.pictures) > n + 10, SLOW_S)
    assert all(grey(y) for when, y, _ in list(client.pictures) if when >= first)
    assert client.news[-1]["panic"] is True
    client.say(kind="panic", on=False)
    wait(lambda: not grey(client.pictures[-1][1]), SLOW_S, "the end of panic")
    assert max(shows(client)) < RAW


def hang(_frame):
    threading.Event().wait(6)  # far beyond every deadline


def fail(_frame):
    raise RuntimeError("broken")


def nonsense(_frame):
    nan = np.full((1, 4), np.nan, np.float32)
    return Detections(nan, np.ones(1, np.float32), np.ones(1, np.float32))


@pytest.mark.parametrize("detect", [fail, nonsense, hang])
def test_a_detector_that_breaks_covers_everything(serve, connect, detect):
    """Not one returned picture shows anything, and the session goes on and says so."""
    client, browser, session = connect(serve(detect))
    wait(lambda: len(client.pictures) >= 15 and client.news and client.news[-1]["whole"] >= 2, SLOW_S)
    assert all(grey(y) for _, y, _ in list(client.pictures))
    assert browser.get(f"/api/live/{session}").json["whole"] >= 2
    metrics = browser.get("/metrics").get_data(as_text=True)
    assert "bystander_web_live_sessions 1.0" in metrics
    assert "bystander_web_live_whole 0.0" not in metrics


def test_words_that_make_no_sense_do_not_end_a_session(serve, connect):
    """Each is answered with an error; pictures go on, covered."""
    client, _, _ = connect(serve())
    covered(client)
    for text in ("", "{", "[]", '{"kind": "keep", "id": 1e9}', '{"kind": "tap"}', "x" * 5000, '{"kind": "panic"'):
        n = len(client.answers)
        client.raw(text)
        wait(lambda n=n: len(client.answers) > n, SLOW_S)
        assert client.answers[-1]["kind"] == "error"
    n = len(client.pictures)
    wait(lambda: len(client.pictures) > n + 5, SLOW_S)
    assert max(shows(client)) < RAW


def test_an_input_that_is_lost_is_followed_by_a_slate(serve, connect):
    """The last covered picture is shown again, then the slate; nothing raw, and the session is still there."""
    camera = Camera()
    client, browser, session = connect(serve(), camera=camera)
    covered(client)
    camera.stopped = True
    wait(lambda: grey(client.pictures[-1][1]), SLOW_S, "the slate")
    assert max(shows(client)) < RAW
    assert browser.get(f"/api/live/{session}").json["repeats"] > 0
    # the preview does not go back to a picture that knows nothing of what was chosen since
    wait(lambda: browser.get(f"/api/live/{session}/preview.jpg").status_code == 503, SLOW_S, "no preview")
    camera.stopped = False
    wait(lambda: not grey(client.pictures[-1][1]), SLOW_S, "the picture")


def test_fewer_pixels_on_a_slow_network_forget_nobody(serve, connect):
    """A kept face stays kept when the browser sends a smaller picture of the same shape."""
    small = threading.Event()
    camera = Camera(lambda i: picture(i, 320, 180) if small.is_set() else picture(i))
    client, _, _ = connect(serve(), camera=camera, width=640)
    covered(client)
    ids = {f["id"] for f in client.news[-1]["faces"]}
    small.set()
    n = len(client.pictures)
    wait(lambda: len(client.pictures) > n + 20, SLOW_S)
    assert {f["id"] for f in client.news[-1]["faces"]} == ids
    assert client.pictures[-1][1].shape == (360, 640)
    assert not [kind for kind in client.news[-1]["faults"] if kind.startswith("input")]


def test_two_sessions_side_by_side(serve, connect):
    """One person's panic and choices are not the other's."""
    app = serve()
    one, _, first = connect(app)
    two, other, second = connect(app)
    covered(one)
    covered(two)
    one.ask(SLOW_S, kind="panic", on=True)
    two.ask(SLOW_S, kind="keep", id=two.news[-1]["faces"][0]["id"])
    wait(lambda: grey(one.pictures[-1][1]), SLOW_S)
    wait(lambda: max(shows(two)[-1], shows(two, OTHER)[-1]) > 0.8, SLOW_S)
    assert not two.news[-1]["panic"]
    assert [s["id"] for s in other.get("/api/live").json["live"]] == [second]
    assert other.get(f"/api/live/{first}").status_code == 404
    assert other.delete(f"/api/live/{first}").status_code == 404
    assert other.post(f"/api/live/{first}/say", {"kind": "panic", "on": False}).status_code == 404
    assert other.get(f"/api/live/{first}/preview.jpg").status_code == 404
    assert one.news[-1]["panic"]


def test_a_session_ends_when_it_is_told_to(serve, connect):
    """DELETE ends it on both sides; a second one finds nothing."""
    app = serve()
    client, browser, session = connect(app)
    wait(lambda: client.pictures, SLOW_S)
    assert browser.delete(f"/api/live/{session}").status_code == 204
    assert browser.delete(f"/api/live/{session}").status_code == 404
    wait(lambda: client.pc.connectionState == "closed", SLOW_S)
    assert not live_of(app).sessions


def test_the_end_of_the_server_ends_everything(serve, connect):
    """Sessions, their threads and the loop; a page is told."""
    others = set(threading.enumerate())  # detectors that other tests made hang
    app = serve()
    client, _, _ = connect(app)
    covered(client, 5)
    site_of(app).close()
    wait(lambda: client.pc.connectionState == "closed", SLOW_S)
    assert client.said[-1][1] == {"kind": "end", "code": "server_ends", "message": ""}
    ours = ("bystander-session", "bystander-in", "bystander-out", "bystander-detect")
    wait(lambda: not [t for t in set(threading.enumerate()) - others if t.name.startswith(ours)], SLOW_S)


def test_what_closes_by_itself_or_never_comes_frees_its_place(serve, connect, loop, monkeypatch):
    """A page that goes away, and an offer that nobody follows up, end their sessions."""
    monkeypatch.setattr(session_module, "CONNECT_S", 2.0)
    app = serve()
    client, browser, _ = connect(app)
    wait(lambda: client.pictures, SLOW_S)
    client.close()
    wait(lambda: not live_of(app).sessions, SLOW_S)
    nobody = Client(loop, Camera())
    assert browser.post("/api/live", {"sdp": nobody.offer(), "type": "offer"}).status_code == 201
    wait(lambda: not live_of(app).sessions, SLOW_S)
    nobody.close()


def test_silence_ends_a_session(serve, connect, monkeypatch):
    """Nothing for a while: the place is needed by others."""
    monkeypatch.setattr(session_module, "IDLE_S", 2.0)
    camera = Camera()
    client, _, _ = connect(serve(), camera=camera)
    wait(lambda: len(client.pictures) > 3, SLOW_S)
    camera.stopped = True
    wait(lambda: client.said and client.said[-1][1]["kind"] == "end", SLOW_S)
    assert client.said[-1][1]["code"] == "idle"


def test_places_are_limited(serve, loop):
    """In all by ``max_live``, for one browser by two; the rest is told so."""
    app = serve(max_live=3)
    one, two = Browser(app), Browser(app)
    clients = [Client(loop, Camera()) for _ in range(5)]
    one.live(clients[0])
    one.live(clients[1])
    body = {"sdp": clients[2].offer(), "type": "offer"}
    answer = one.post("/api/live", body)
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "too_many_live")
    two.live(clients[3])
    answer = two.post("/api/live", {**body, "sdp": clients[4].offer()})
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "too_many_live")
    for client in clients:
        client.close()


def test_offers_that_do_not_fit_are_refused(serve, loop):
    """One clear error each, and no place is taken."""
    app = serve()
    browser, viewer, camera = Browser(app), Client(loop), Client(loop, Camera())
    good = {"sdp": camera.offer(), "type": "offer"}
    no_video = viewer.offer()  # only asks for one
    av1 = good["sdp"].replace("VP8/90000", "AV1/90000").replace("H264/90000", "AV1/90000")
    cases = [
        ({}, 400, "bad_sdp"), ({"type": "offer"}, 400, "bad_sdp"), ({**good, "type": "answer"}, 400, "bad_sdp"),
        ({**good, "sdp": "nonsense"}, 422, "no_video"), ({**good, "sdp": no_video}, 422, "no_video"),
        ({**good, "sdp": good["sdp"].replace("a=fingerprint", "a=x")}, 400, "bad_sdp"),
        ({**good, "sdp": av1}, 422, "no_codec"),
        ({**good, "settings": {"mode": "x"}}, 422, "bad_settings"), ({**good, "settings": 3}, 422, "bad_settings"),
        ({**good, "settings": {"strength": "1"}}, 422, "bad_settings"), ([], 400, "bad_json"),
        ({**good, "settings": {"colour": "red"}}, 422, "bad_settings"),
        ({**good, "settings": {"width": 10}}, 422, "bad_settings"),
    ]  # fmt: skip
    for body, status, code in cases:
        answer = browser.post("/api/live", body)
        assert (answer.status_code, answer.json["error"]["code"]) == (status, code)
    assert not live_of(app).sessions
    for client in (viewer, camera):
        client.close()


def test_a_browser_that_hides_its_addresses_connects(serve, loop):
    """Without any candidate of the other side (mDNS names are left out) its own checks find the way."""
    client, browser = Client(loop, Camera()), Browser(serve())
    offer = "".join(f"{line}\r\n" for line in client.offer().splitlines() if "candidate" not in line)
    answer = browser.post("/api/live", {"sdp": offer, "type": "offer"})
    assert "typ host" in answer.json["sdp"]
    assert "typ srflx" not in answer.json["sdp"]
    client.answer(answer.json["sdp"])
    wait(lambda: len(client.pictures) > 3, SLOW_S)
    client.close()


def test_a_page_without_the_secret_opens_nothing(serve):
    """No CSRF header, no cookie: refused before anything is looked at."""
    app = serve()
    assert Browser(app).http.post("/api/live", json={}).status_code == 403
    assert app.test_client().get("/api/live").status_code == 401
