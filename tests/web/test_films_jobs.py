"""The queue: order, cancel and removal in every state, restarts, events, removal in time."""

import json
import time

import pytest

from bystander.web.films.child import Limits, Stop, run_child
from web_site import FakeSteps, User, code, ready_film, site_of, wait

STATES = ("uploading", "checking", "queued", "analysing", "rendering", "ready", "failed", "cancelled")


def brought_to(state, app, user, tmp_path):
    """A film in that state; the job that it has, if any, is being done or waits."""
    films = site_of(app).films
    if state == "uploading":
        return user.announce(5).json["id"]
    if state in {"ready", "rendering"}:
        first = user.announce(5).json["id"]
        owner = films.store.films[first].owner
        user.send("DELETE", f"/api/films/{first}")
        film = ready_film(site_of(app), owner, tmp_path)
        if state == "rendering":
            assert user.post(f"/api/films/{film.id}/render").status_code == 202
            wait(lambda: film.id in films.queue.running)
        return film.id
    if state == "queued":  # another film of this user is worked on
        user.upload(b"01234")
        wait(lambda: films.queue.running)
        film = films.store.create(next(iter(films.store.films.values())).owner, "b.mp4", 1, {})
        films.queue.add(film, "cover")
        return film.id
    if state == "analysing":
        film_id = user.announce(5).json["id"]
        films.queue.add(films.store.films[film_id], "cover")
        wait(lambda: film_id in films.queue.running)
        return film_id
    film_id = user.upload(b"01234")
    wait(lambda: film_id in films.queue.running)
    if state == "failed":
        FakeSteps.newest.fail = True
        FakeSteps.newest.go.set()
        user.wait(film_id, "failed")
        FakeSteps.newest.fail = False
        FakeSteps.newest.go.clear()
    if state == "cancelled":
        assert user.post(f"/api/films/{film_id}/cancel").json["state"] == "cancelled"
    return film_id


@pytest.mark.parametrize("state", STATES)
def test_cancel_in_every_state(start, tmp_path, state):
    """What goes on ends at once; a film that was covered stays; what is at rest says that there is nothing to end."""
    app = start()
    user = User(app)
    film_id = brought_to(state, app, user, tmp_path)
    assert user.film(film_id)["state"] == state
    answer = user.post(f"/api/films/{film_id}/cancel")
    if state in {"ready", "failed", "cancelled"}:
        assert code(answer) == (409, "not_running")
        assert user.film(film_id)["state"] == state
    else:
        assert answer.json["state"] == ("ready" if state == "rendering" else "cancelled")
        assert film_id not in site_of(app).films.queue.running
        assert not site_of(app).films.store.films[film_id].job


@pytest.mark.parametrize("state", STATES)
def test_removal_in_every_state(start, tmp_path, state):
    """Nothing of the film is left on the disk, in the list or in the queue."""
    app = start()
    user = User(app)
    film_id = brought_to(state, app, user, tmp_path)
    assert user.send("DELETE", f"/api/films/{film_id}").status_code == 204
    films = site_of(app).films
    assert film_id not in [f["id"] for f in user.get("/api/films").json["films"]]
    assert film_id not in films.queue.running
    assert all(f.id != film_id for f in films.queue.waiting)
    assert film_id not in {p.name.removeprefix(".gone-") for p in films.store.root.iterdir()}
    assert user.get(f"/api/films/{film_id}").status_code == 404


@pytest.mark.parametrize("state", STATES)
def test_a_restart_in_every_state(start, tmp_path, state):
    """Whatever was going on goes on, or is done again, under the same id."""
    app = start()
    user = User(app)
    film_id = brought_to(state, app, user, tmp_path)
    app = start()
    film = site_of(app).films.store.films[film_id]
    FakeSteps.newest.go.set()
    if state in {"uploading", "failed", "cancelled"}:
        assert film.state == state
    else:
        wait(lambda: film.state == "ready")
    if state in {"checking", "queued", "analysing", "rendering"}:
        assert film_id in {done for _, done in FakeSteps.newest.done}


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_try_again(start, tmp_path, state):
    """What failed or was cancelled is done again from where it was; the error is gone."""
    app = start()
    user = User(app)
    film_id = brought_to(state, app, user, tmp_path)
    assert bool(user.film(film_id)["error"]) == (state == "failed")
    FakeSteps.newest.go.set()
    assert user.post(f"/api/films/{film_id}/retry").json["error"] is None
    user.wait(film_id, "ready")
    assert code(user.post(f"/api/films/{film_id}/retry")) == (409, "nothing_failed")


def test_a_cancelled_upload_goes_on(start):
    """Nothing of what had arrived is lost."""
    user = User(start())
    film_id = user.announce(5).json["id"]
    user.piece(film_id, 0, b"012")
    user.post(f"/api/films/{film_id}/cancel")
    assert code(user.piece(film_id, 3, b"34")) == (409, "not_uploading")
    assert user.post(f"/api/films/{film_id}/retry").json["received"] == 3
    assert user.piece(film_id, 3, b"34").status_code == 204


def test_users_take_turns(start):
    """Who brings many films does not keep others waiting, and nobody has two done at once."""
    app = start(workers=2)
    one, two, three = (User(app) for _ in range(3))
    films = site_of(app).films
    first = [one.upload(b"0") for _ in range(3)]
    wait(lambda: films.queue.running)
    assert len(films.queue.running) == 1  # the second worker does not take another film of the same user
    second = two.upload(b"0")
    wait(lambda: len(films.queue.running) == 2)
    third = three.upload(b"0")
    assert [f.id for f in films.queue.order()] == [third, *first[1:]]
    assert three.film(third)["queue_place"] == 1
    assert one.film(first[2])["queue_place"] == 3
    assert second in films.queue.running


def test_only_one_thing_at_a_time_is_done_with_a_film(start, tmp_path):
    """A second render or audit meanwhile is refused."""
    app = start()
    user = User(app)
    film_id = brought_to("rendering", app, user, tmp_path)
    assert code(user.post(f"/api/films/{film_id}/render")) == (409, "busy")
    assert code(user.post(f"/api/films/{film_id}/audit")) == (409, "busy")


def test_a_film_that_is_not_ready_has_no_review(start):
    """Each part of it says so."""
    user = User(start())
    film_id = user.announce(5).json["id"]
    for path in ("people", "edits", "boxes?from=0&to=1", "media/original.mp4", "media/covered.mp4", "download/film"):
        assert code(user.get(f"/api/films/{film_id}/{path}")) == (409, "not_ready")
    for path in ("render", "audit"):
        assert code(user.post(f"/api/films/{film_id}/{path}")) == (409, "not_ready")


def test_films_are_removed_in_time(start, tmp_path):
    """After keep_hours a film and its files are gone, also one that is being worked on."""
    app = start(keep_hours=1)
    user = User(app)
    film_id, young = user.upload(b"0"), user.announce(5).json["id"]
    films = site_of(app).films
    wait(lambda: film_id in films.queue.running)
    films.store.films[film_id].created = time.time() - 3601
    films.tidy()
    assert [f["id"] for f in user.get("/api/films").json["films"]] == [young]
    assert [p.name for p in (tmp_path / "data" / "films").iterdir()] == [young]


class Events:
    """An open event stream, read event by event."""

    def __init__(self, user):
        self.answer = user.http.get("/api/events")
        self.lines = iter(self.answer.response)

    def next(self):
        while True:
            text = next(self.lines)
            text = text.decode() if isinstance(text, bytes) else text
            if text.startswith("event: "):
                kind, _, data = text.partition("\n")
                return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    def until(self, kind, **values):
        while True:
            found, data = self.next()
            if found == kind and all(data.get(k) == v for k, v in values.items()):
                return data


def test_events_tell_of_own_films_only(start):
    """All own films at first, then each change, at last that a film is gone; never somebody else's."""
    app = start()
    user, other = User(app), User(app)
    film_id = user.announce(1).json["id"]
    stream = Events(user)
    assert stream.next() == ("film", user.film(film_id))
    theirs = other.upload(b"0")
    user.piece(film_id, 0, b"0")
    seen = []
    FakeSteps.newest.go.set()
    while not seen or seen[-1]["state"] != "ready":
        seen.append(stream.next()[1])
    user.send("DELETE", f"/api/films/{film_id}")
    assert stream.until("gone") == {"id": film_id}
    assert theirs not in {film["id"] for film in seen}
    stream.answer.close()
    assert not site_of(app).films.hub.pages


def test_open_streams_are_limited(start):
    """One user cannot hold all of the server's threads."""
    app = start()
    user = User(app)
    streams = [Events(user) for _ in range(4)]
    assert code(user.get("/api/events")) == (429, "too_many_streams")
    for stream in streams:
        stream.answer.close()
    again = Events(user)
    again.answer.close()


# --- the processes that read films ---


def child(code, tmp_path, wall_s=60.0, memory=1 << 40, file_bytes=1 << 30, stop=None):
    events = []
    limits = Limits(memory, wall_s, file_bytes)
    end = run_child(["-c", code], limits, tmp_path / "log.txt", events.append, stop or Stop())
    return end, events


def test_a_childs_events_and_error_come_back(tmp_path):
    """JSON lines are events, other lines nothing; the exit code and the last error are told."""
    end, events = child('print("x"); print(\'{"event": "error", "message": "no"}\'); raise SystemExit(2)', tmp_path)
    assert (end.code, end.error) == (2, "no")
    assert events == [{"event": "error", "message": "no"}]


def test_a_child_has_limits(tmp_path):
    """Memory, time and file size end it; it has no core dump and is nicer than the server."""
    told = "import json, os, resource as r; print(json.dumps([r.getrlimit(k)[0] for k in (r.RLIMIT_AS, r.RLIMIT_FSIZE, "
    told += (
        "r.RLIMIT_CORE)] and {'limits': [r.getrlimit(k)[0] for k in (r.RLIMIT_AS, r.RLIMIT_FSIZE, r.RLIMIT_CORE)]}))"
    )
    assert child(told, tmp_path, memory=1 << 34, file_bytes=1234567)[1] == [{"limits": [1 << 34, 1234567, 0]}]
    assert child("x = bytearray(1 << 32)", tmp_path, memory=1 << 30)[0].code == 1
    assert "MemoryError" in (tmp_path / "log.txt").read_text()
    end, _ = child("import time; time.sleep(300)", tmp_path, wall_s=2)
    assert end.late
    assert end.code < 0


def test_a_child_knows_no_token(tmp_path, monkeypatch):
    """What the server was started with is not in the environment of what reads films."""
    monkeypatch.setenv("BYSTANDER_TOKEN", "secret-secret")
    code = "import json, os; print(json.dumps({'names': list(os.environ)}))"
    assert "BYSTANDER_TOKEN" not in child(code, tmp_path)[1][0]["names"]


def test_a_cancelled_child_takes_its_own_children_along(tmp_path):
    """The whole group is ended, also a child that does not listen."""
    stop, pid = Stop(), tmp_path / "pid"
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
open({str(pid)!r}, "w").write(str(inner.pid))
print('{{"event": "up"}}', flush=True)
time.sleep(300)
"""
    limits = Limits(1 << 40, 100.0, 1 << 30)
    end = run_child(["-c", code], limits, tmp_path / "log.txt", lambda _e: stop(), stop)
    assert end.code < 0
    number = pid.read_text()

    def dead():
        try:
            with open(f"/proc/{number}/stat") as f:  # noqa: PTH123  a process, not a file
                return f.read().split()[2] == "Z"
        except OSError:
            return True

    wait(dead, 30)


def test_what_was_cancelled_before_it_began_never_begins(tmp_path):
    """A stop that comes early is not lost."""
    stop = Stop()
    stop()
    end, events = child("print('{}')", tmp_path, stop=stop)
    assert end.code < 0
    assert events == []


def test_an_upload_that_was_cancelled_with_its_last_piece_goes_on(start):
    """The piece was on its way; nothing is sent again, and the film does not wait for ever."""
    app = start()
    user = User(app)
    film_id = user.announce(4).json["id"]
    film = site_of(app).films.store.films[film_id]
    user.post(f"/api/films/{film_id}/cancel")
    film.received = 4
    assert user.post(f"/api/films/{film_id}/retry").json["state"] == "checking"
    FakeSteps.newest.go.set()
    user.wait(film_id, "ready")


def test_a_failed_audit_is_told_and_forgotten(start):
    """The film stays ready; the sentence goes with the next try."""
    app = start()
    user = User(app)
    FakeSteps.newest.go.set()
    film_id = user.upload(b"0123")
    user.wait(film_id, "ready")
    FakeSteps.newest.fail = True
    user.post(f"/api/films/{film_id}/audit")
    wait(lambda: user.film(film_id)["report"] == "failed")
    assert (user.film(film_id)["state"], user.film(film_id)["error"]["code"]) == ("ready", "failed")
    FakeSteps.newest.fail = False
    user.post(f"/api/films/{film_id}/audit")
    wait(lambda: user.film(film_id)["report"] == "ready")
    assert user.film(film_id)["error"] is None
