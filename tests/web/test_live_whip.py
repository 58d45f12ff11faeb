"""WHIP and WHEP, as OBS and players use them: several watch what one publishes, covered."""

# ruff: noqa: F811  fixtures are imported and then named as parameters

import time

import pytest

from bystander.web.app import create_app, site_of
from bystander.web.live import server
from bystander.web.live.server import live_of
from bystander.web.settings import WebSettings
from rtc_client import OTHER, Browser, Camera, Client, Microphone, wait
from rtc_fixtures import RAW, SLOW_S, connect, grey, loop, serve, shows  # noqa: F401

TOKEN = "correct-horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SDP = "application/sdp"


@pytest.fixture
def app(serve):
    return serve(token=TOKEN)


@pytest.fixture
def join(app, loop):
    """Publishes or plays; returns client, answer."""
    clients = []

    def make(path, camera=None, headers=BEARER, **more):
        client = Client(loop, camera, channel=False, **more)
        clients.append(client)
        answer = app.test_client().post(path, data=client.offer(), content_type=SDP, headers=headers)
        if answer.status_code == 201:
            client.answer(answer.get_data(as_text=True))
        return client, answer

    yield make
    for client in clients:
        client.close()


def test_several_watch_what_one_publishes(app, join):
    """Viewers get covered pictures only; who holds the token keeps a face, and panic covers for all of them."""
    publisher, answer = join("/whip/studio", Camera())
    assert (answer.status_code, answer.mimetype) == (201, SDP)
    place = answer.headers["Location"]
    assert place.startswith("/whip/studio/")
    viewers = [join("/whep/studio")[0] for _ in range(2)]
    wait(lambda: all(len(v.pictures) >= 25 and not grey(v.pictures[-1][1]) for v in viewers), SLOW_S)
    assert max(max(shows(v)) for v in viewers) < RAW
    assert max(max(shows(v, OTHER)) for v in viewers) < RAW
    assert not publisher.pictures
    http, path = app.test_client(), f"/api/live/{place.rpartition('/')[2]}"
    status = http.get(path, headers=BEARER).json
    assert (status["name"], status["viewers"], len(status["faces"])) == ("studio", 2, 2)
    face = min(status["faces"], key=lambda f: f["x"])
    assert http.post(f"{path}/say", json={"kind": "keep", "id": face["id"]}, headers=BEARER).status_code == 200
    wait(lambda: all(shows(v)[-1] > 0.8 for v in viewers), SLOW_S, "the kept face")
    assert http.get(f"{path}/preview.jpg", headers=BEARER).mimetype == "image/jpeg"
    http.post(f"{path}/say", json={"kind": "panic", "on": True}, headers=BEARER)
    wait(lambda: all(grey(v.pictures[-1][1]) for v in viewers), SLOW_S, "panic")
    assert http.get(f"{path}/preview.jpg", headers=BEARER).status_code == 503
    assert http.delete(place, headers=BEARER).status_code == 200
    assert http.delete(place, headers=BEARER).status_code == 404
    wait(lambda: all(v.pc.connectionState == "closed" for v in (publisher, *viewers)), SLOW_S)


def test_sound_is_passed_on(app, join):
    """A viewer hears the publisher's tone; one that asks for no sound gets none."""
    join("/whip/a", Camera(), microphone=Microphone())
    hearing, deaf = join("/whep/a", listen=True)[0], join("/whep/a")[0]
    wait(lambda: sum(loud > 0.05 for loud in hearing.heard) >= 20, SLOW_S, "the tone")
    assert not deaf.heard
    assert max(hearing.heard) < 0.5


def test_h264_as_obs_sends_it(app, join):
    """A publisher of H.264 and a viewer of it: covered all the same."""
    join("/whip/a", Camera(), codec="H264")
    viewer, answer = join("/whep/a", codec="H264")
    assert "H264/90000" in answer.get_data(as_text=True)
    assert "VP8/90000" not in answer.get_data(as_text=True)
    wait(lambda: len(viewer.pictures) >= 15 and not grey(viewer.pictures[-1][1]), SLOW_S)
    assert max(shows(viewer)) < RAW
    assert max(shows(viewer, OTHER)) < RAW


def test_a_viewer_may_leave(app, join):
    """DELETE frees the viewer's place; the stream goes on."""
    join("/whip/a", Camera())
    _, answer = join("/whep/a")
    place = answer.headers["Location"]
    http = app.test_client()
    assert http.delete(place.replace("/a/", "/b/"), headers=BEARER).status_code == 404
    assert http.delete(place, headers=BEARER).status_code == 200
    assert http.delete(place, headers=BEARER).status_code == 404
    assert not live_of(app).named("a").viewers


def test_nobody_publishes_plays_or_ends_without_the_token(app, join):
    """401 for all of it, with a wrong token, without one, and with a logged-in browser's cookie alone."""
    _, answer = join("/whip/a", Camera())
    place = answer.headers["Location"]
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert join("/whip/b", Camera(), headers)[1].status_code == 401
        assert join("/whep/a", None, headers)[1].status_code == 401
        assert app.test_client().delete(place, headers=headers).status_code == 401
    browser = Browser(app, TOKEN)
    assert browser.http.post("/whip/b", data="v=0", content_type=SDP).status_code == 401
    assert len(live_of(app).sessions) == 1


@pytest.mark.parametrize("name", ["-a", "a b", "a.b", "ä", "x" * 65, "..", "a%2Fb"])
def test_names_are_plain(app, join, name):
    assert join(f"/whip/{name}", Camera())[1].status_code in (404, 405)


def test_a_name_is_taken_while_its_publisher_sends(app, join, monkeypatch):
    """A second publisher is refused; one that fell silent is replaced."""
    first, _ = join("/whip/a", camera := Camera())
    wait(lambda: live_of(app).named("a").pipeline.source.seen > 3, SLOW_S)
    answer = join("/whip/a", Camera())[1]
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "name_taken")
    monkeypatch.setattr(server, "STALE_S", 0.5)
    camera.stopped = True
    time.sleep(1.5)
    assert join("/whip/a", Camera())[1].status_code == 201
    wait(lambda: first.pc.connectionState == "closed", SLOW_S)


def test_what_does_not_fit_is_refused(app, join, monkeypatch):
    """Unknown streams, other types, no SDP, one viewer too many, trickled candidates."""
    http = app.test_client()
    assert join("/whep/nothing")[1].status_code == 404
    assert http.post("/whip/a", data="{}", content_type="application/json", headers=BEARER).status_code == 415
    assert http.post("/whip/a", data=b"\xff\x00", content_type=SDP, headers=BEARER).status_code in (400, 422)
    assert join("/whip/a")[1].status_code == 422  # offers no video
    for wrong in ("mode=all", "strength=x", "width=1.5", "colour=red", "strength=nan"):
        assert join(f"/whip/a?{wrong}", Camera())[1].status_code == 422
    join("/whip/b?mode=largest&style=solid&strength=1.5", Camera())
    wanted = live_of(app).named("b").pipeline.wanted
    assert (wanted.mode, wanted.style, wanted.strength, wanted.width) == ("largest", "solid", 1.5, 0)
    place = join("/whip/a", Camera())[1].headers["Location"]
    assert http.patch(place, data="", content_type="application/trickle-ice-sdpfrag", headers=BEARER).status_code == 405
    monkeypatch.setattr(server, "VIEWERS", 1)
    assert join("/whep/a")[1].status_code == 201
    assert join("/whep/a")[1].status_code == 429


def test_without_a_token_another_sites_page_cannot_publish(serve):
    """On loopback nobody needs a token, but a page from elsewhere is told apart by its origin."""
    http = serve().test_client()
    answer = http.post("/whip/a", data="v=0", content_type=SDP, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_a_camera_of_a_browser_cannot_be_played(app, join, loop, connect):
    """Only published streams have names."""
    browser = Browser(app, TOKEN)
    _, _, session = connect(app, browser)
    assert join(f"/whep/{session}")[1].status_code == 404
    assert app.test_client().get(f"/api/live/{session}", headers=BEARER).status_code == 404


def test_closing_an_unused_server_is_quick(tmp_path):
    """No loop was begun, none has to end."""
    app = create_app(WebSettings(data=tmp_path))
    site_of(app).close()
    assert live_of(app).loop.loop is None
