"""Fixtures of the tests that go live: an application, and clients that are closed at the end."""

import numpy as np
import pytest

from bystander.web.app import create_app, site_of
from bystander.web.live.loop import Loop
from bystander.web.live.server import live_of
from bystander.web.settings import WebSettings
from fakes import faces
from rtc_client import BOX, OTHER, WIDTH, Browser, Camera, Client, likeness

RAW = 0.6  # likeness from which a face counts as shown
GREY = 12  # largest difference to 128 of a picture that shows nothing
SLOW_S = 60.0  # other work may hold this machine up


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
        return client, browser, browser.live(client, **{"mode": "none", **settings})

    yield make
    for client in clients:
        client.close()


def shows(client, box=BOX, since=0.0):
    """Likeness of each returned picture that came after ``since``."""
    return [likeness(y, box) for when, y, _ in list(client.pictures) if when >= since]


def grey(y):
    """Whether a returned picture shows nothing of what was sent; the middle may hold a line of text."""
    edges = np.concatenate([y[: y.shape[0] // 3].ravel(), y[-y.shape[0] // 3 :].ravel()])
    return np.abs(edges.astype(int) - 128).max() < GREY
