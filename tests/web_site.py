"""Stand-ins for the web app's tests: clients with their own sessions, small films, jobs that wait for the test."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

from bystander.media.reader import open_reader
from bystander.run.timeline import fingerprint
from bystander.web.app import create_app, site_of
from bystander.web.films import prepare, service
from bystander.web.films.steps import JobError
from bystander.web.settings import WebSettings
from fakes import make_clip

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SLOW_S = 300  # a busy machine is no defect


def settings(folder: Path, **values) -> WebSettings:
    return WebSettings(**{"data": folder, "device": "cpu", "spare_bytes": 0, **values})


class User:
    """One browser: cookies, the page's secret, and requests as the page makes them."""

    def __init__(self, app):
        self.http = app.test_client()
        page = self.http.get("/").text
        found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', page)
        self.csrf = found[1] if found else ""

    def get(self, path, **more):
        return self.http.get(path, buffered=True, **more)

    def send(self, method, path, headers=None, **more):
        return self.http.open(path, method=method, headers={"X-Bystander-CSRF": self.csrf, **(headers or {})}, **more)

    def post(self, path, json=None, **more):
        return self.send("POST", path, json={} if json is None else json, **more)

    def announce(self, size, name="film.mp4", **settings):
        return self.post("/api/films", {"name": name, "size": size, "settings": settings})

    def piece(self, film_id, offset, data):
        return self.send("PATCH", f"/api/films/{film_id}/upload", {"Upload-Offset": str(offset)}, data=data)

    def upload(self, data, **more):
        """A whole film; returns its id."""
        film_id = self.announce(len(data), **more).json["id"]
        assert self.piece(film_id, 0, data).status_code == 204
        return film_id

    def film(self, film_id):
        return self.get(f"/api/films/{film_id}").json

    def wait(self, film_id, *states):
        return wait(lambda: (f := self.film(film_id))["state"] in states and f)


def code(answer):
    return answer.status_code, answer.json["error"]["code"]


def wait(what, longest_s=SLOW_S):
    """The value of ``what`` once it is true."""
    end = time.monotonic() + longest_s
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


class FakeSteps:
    """Jobs that end when the test says so: ``go`` lets all through, ``fail`` makes them fail."""

    def __init__(self, store, changed):
        self.store, self.changed = store, changed
        self.go, self.fail, self.done = threading.Event(), False, []
        FakeSteps.newest = self

    def run(self, kind, film, stop):
        self.changed(film)
        while not self.go.is_set() and not stop.asked.is_set():
            self.go.wait(0.01)
        if stop.asked.is_set():
            return
        if self.fail:
            raise JobError("failed", "It failed.")
        self.done.append((kind, film.id))
        if kind == "check":
            film.info = {"width": 64, "height": 48, "duration_s": 1.0, "fps": 25.0, "frames": 25, "audio": False}
            film.inner |= {"source_plays": True, "covered_plays": True, "suffix": ".mp4", "rotation": 0}
        if kind == "cover":
            film.edits_version = film.rendered_version = 1
            self.store.files(film).covered(film).write_bytes(b"covered")


def faked(monkeypatch):
    monkeypatch.setattr(service, "Steps", FakeSteps)


def small_film(path: Path, **how) -> bytes:
    return make_clip(path, **how).read_bytes()


def tracks_rows(source, faces, whole=()):
    """Lines of a film's tracks file: ``faces(i)`` gives (id, xyxy, changes) of frame i."""
    for i, pts in enumerate([frame.pts for frame in open_reader(source)]):
        tracks = [
            {"id": n, "xyxy": list(xyxy), "score": 0.9, "unseen_s": 0.0, "speed": 0.0, "foreground": 0.0,
             "steady": True, "kept": False, **more}
            for n, xyxy, more in faces(i)
        ]  # fmt: skip
        yield {"frame": i, "pts": pts, "time_s": i * 0.04, "whole": i in whole, "tracks": tracks}


def two_people(i):
    """One on the left, one on the right, who leaves after frame 15; somebody comes in frame 18."""
    found = [(1, (10, 10, 20, 22), {})]
    found += [(2, (40, 10, 50, 22), {"foreground": 0.9, "kept": True})] if i <= 15 else []
    return found + ([(3, (40, 30, 48, 40), {})] if i >= 18 else [])


def ready_film(site, owner, folder, faces=two_people, frames=25, rotation=0, whole=()):
    """A film that was covered, with tracks made by hand."""
    source = make_clip(folder / "source.mp4", frames=frames, **({"rotation": -rotation} if rotation else {}))
    store = site.films.store
    film = store.create(owner, "ready.mp4", source.stat().st_size, {"keep": "auto", "style": "solid", "strength": 1.0})
    files = store.files(film)
    files.source.write_bytes(source.read_bytes())
    header = {"format": "bystander-tracks", "version": 1, "source": fingerprint(files.source), "model": "none",
              "width": 64, "height": 48,
              "settings": {"policy": {"grow": 1.0, "shape": "box"}, "cover": {"style": "solid"}}}  # fmt: skip
    rows = [header, *tracks_rows(files.source, faces, whole)]
    files.tracks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    size = (48, 64) if rotation % 180 else (64, 48)
    film.info = {"width": size[0], "height": size[1], "duration_s": 1.0, "fps": 25.0, "frames": frames, "audio": False}
    film.inner = {"rotation": rotation, "suffix": ".mp4", "source_plays": True, "covered_plays": True}
    film.received, film.state, film.edits_version, film.rendered_version = film.size, "ready", 1, 1
    film.people = 3
    prepare.main([str(files.folder)])
    files.covered(film).write_bytes(b"covered")
    store.save(film)
    return film


__all__ = [
    "BEARER",
    "TOKEN",
    "FakeSteps",
    "User",
    "code",
    "create_app",
    "faked",
    "ready_film",
    "settings",
    "site_of",
    "small_film",
    "tracks_rows",
    "wait",
]
