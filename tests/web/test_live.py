"""Live sessions over real WebRTC on this machine: what a browser gets back, whatever happens on the way."""

import time

import numpy as np
import pytest

from bystander.types import Detections
from bystander.web import live
from bystander.web.app import create_app, site_of
from bystander.web.live.loop import Loop
from bystander.web.live.server import live_of
from bystander.web.settings import WebSettings
from fakes import faces
from rtc_client import BOX, HEIGHT, OTHER, WIDTH, Browser, Camera, Client, likeness, wait

RAW = 0.6  # likeness from which a face counts as shown
GREY = 12  # largest difference to 128 of a picture that shows nothing


def find(frame):
    """The detector of these tests: it knows where the faces are."""
    scale = frame.width / WIDTH
    return faces(*(tuple(v * scale for v in box) for box in (BOX, OTHER)))


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def serve(tmp_path):
    """Makes an application whose detector is ``detect``."""
    apps = []

    def make(detect=find, **settings):
        app = create_app(WebSettings(data=tmp_path / f"data{len(apps)}", **settings))
        live_of(app).make_detector = lambda _px: detect
        apps.append(app)
        return app

    yield make
    for app in apps:
        site_of(app).close()


@pytest.fixture
def connect(loop):
    """Opens sessions; returns client, browser and session id."""
    clients = []

    def make(app, browser=None, camera=None, **settings):
        browser = browser or Browser(app)
        client = Client(loop, camera or Camera())
        clients.append(client)
        return client, browser, browser.live(client, mode="none", **settings)

    yield make
    for client in clients:
        client.close()


def shows(client, box=BOX, since=0.0):
    """Likeness of each returned picture that came after ``since``."""
    return [likeness(y, box) for when, y, _ in list(client.pictures) if when >= since]


def covered(client, n=30):
    """Wait for ``n`` returned pictures with news of both faces."""
    wait(lambda: len(client.pictures) >= n and client.news and len(client.news[-1]["faces"]) == 2, 40)


def test_no_raw_face_ever_comes_back(serve, connect):
    """Both faces are covered in every returned picture from the very first, which is a slate."""
    client, _, _ = connect(serve())
    covered(client, 50)
    assert max(shows(client)) < RAW
    assert max(shows(client, OTHER)) < RAW
    first = client.pictures[0][1]
    assert np.abs(first[:100].astype(int) - 128).max() < GREY
    moving = [y[-10:].astype(int) for _, y, _ in client.pictures[-10:]]
    assert any(np.abs(moving[0] - m).max() > 50 for m in moving[1:])  # the rest of the picture is shown


def test_a_tap_keeps_and_covers_again(serve, connect):
    """A click keeps the face of the picture that the person saw, and only that one; another click covers it."""
    client, _, _ = connect(serve())
    covered(client)
    seen = client.news[-1]
    face = min(seen["faces"], key=lambda f: f["x"])
    at = {"x": face["x"] + face["w"] / 2, "y": face["y"] + face["h"] / 2}
    answer = client.ask(kind="tap", **at, t=seen["t"])
    assert (answer["kind"], answer["id"], answer["kept"]) == ("done", face["id"], True)
    wait(lambda: shows(client)[-1] > 0.8, 10, "the kept face")
    assert max(shows(client, OTHER)) < RAW
    wait(lambda: any(f["kept"] for f in client.news[-1]["faces"]))
    assert client.ask(kind="tap", **at, t=client.news[-1]["t"])["kept"] is False
    wait(lambda: shows(client)[-1] < RAW)
