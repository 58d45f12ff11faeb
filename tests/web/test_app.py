"""The application as a whole: what it tells about itself, and what it does with its own defects."""

import sys

import pytest

from bystander.errors import SettingsError
from bystander.web import create_app as made_at_the_top
from bystander.web.films import views_review, why
from bystander.web.films.store import FilmStore
from web_site import BEARER, TOKEN, User, create_app, faked, ready_film, settings, site_of


@pytest.fixture
def app(tmp_path, monkeypatch):
    faked(monkeypatch)
    app = create_app(settings(tmp_path / "data"))
    yield app
    site_of(app).close()


def own_film(app, user, folder):
    first = user.announce(5).json["id"]
    return ready_film(site_of(app), site_of(app).films.store.films[first].owner, folder)


def test_health_says_what_is_amiss(app, monkeypatch):
    """200 while films can be worked on; 503 with the failing check where not."""
    http = app.test_client()
    assert http.get("/healthz").json == {"status": "ok", "checks": {"worker": True, "disk": True, "model": True}}
    with monkeypatch.context() as patch:
        patch.setattr(FilmStore, "free_bytes", lambda _s: -1)
        answer = http.get("/healthz")
        assert (answer.status_code, answer.json["checks"]["disk"]) == (503, False)
    site_of(app).films.queue.close()
    assert http.get("/healthz").json["checks"]["worker"] is False


def test_a_model_that_is_not_there_is_seen(tmp_path, monkeypatch):
    """Before the first film fails."""
    faked(monkeypatch)
    app = create_app(settings(tmp_path / "data", model=str(tmp_path / "none.onnx")))
    assert app.test_client().get("/healthz").json["checks"]["model"] is False
    site_of(app).close()


def test_metrics(app, monkeypatch):
    """Numbers for Prometheus, without owners or names; where its client is missing, what to install."""
    user = User(app)
    user.announce(5, name="a name.mp4")
    text = user.get("/metrics").text
    assert 'bystander_web_films{state="uploading"} 1.0' in text
    assert "a name" not in text
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = user.get("/metrics")
    assert (answer.status_code, answer.json["error"]["code"]) == (501, "metrics_missing")


def test_limits_are_told_to_everybody(app):
    """What a page needs to refuse a film before it is sent."""
    limits = app.test_client().get("/api/limits").json
    assert limits["styles"] == ["pixelate", "blur", "solid"]
    assert limits["chunk_bytes"] == app.config["MAX_CONTENT_LENGTH"]


def test_a_defect_tells_nothing_but_that_it_was_one(app, monkeypatch, caplog):
    """A sentence for the user, the traceback for the log."""
    monkeypatch.setattr(FilmStore, "of", lambda _s, _o: 1 / 0)
    answer = User(app).get("/api/films")
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "fault")
    assert "ZeroDivision" not in answer.text
    assert "ZeroDivision" in caplog.text


def test_unknown_addresses_and_methods(app):
    """JSON for programs, a page for people; a wrong method names the right ones."""
    http = app.test_client()
    user = User(app)
    assert user.get("/api/nothing").json["error"]["code"] == "not_found"
    assert http.get("/nothing", headers={"Accept": "text/html"}).mimetype == "text/html"
    answer = user.send("PUT", "/api/films")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_without_the_lab_why_says_what_to_install(app, tmp_path, monkeypatch):
    """501, and the limits say so beforehand."""
    monkeypatch.setattr(why, "lab_installed", lambda: False)
    user = User(app)
    film = own_film(app, user, tmp_path)
    answer = user.post(f"/api/films/{film.id}/why", {"person": 1, "at_s": 0.1})
    assert (answer.status_code, answer.json["error"]["code"]) == (501, "lab_missing")
    assert "pip install" in answer.json["error"]["message"]


def test_why_is_asked_about_the_face_that_was_meant(app, tmp_path, monkeypatch):
    """The lab's command gets the middle of the person's face at the sight nearest to the asked moment."""
    asked = []

    def answer(_films, _film, _folder, where):
        asked.append(where)
        return b"\x89PNG"

    monkeypatch.setattr(why, "lab_installed", lambda: True)
    monkeypatch.setattr(why, "answer", answer)
    user = User(app)
    path = f"/api/films/{own_film(app, user, tmp_path).id}/why"
    told = user.post(path, {"person": 2, "at_s": 0.9})
    assert (told.status_code, told.mimetype) == (200, "image/png")
    assert asked == [(45.0, 16.0, pytest.approx(0.6))]
    assert user.post(path, {"person": 99, "at_s": 0.9}).status_code == 422
    assert user.post(path, {"person": 2, "at_s": "now"}).status_code == 422
    assert views_review.ask is why.ask


def test_the_data_folder_has_one_server(tmp_path, monkeypatch):
    """Two would work on the same films; the second says so. A folder that cannot be had is told as well."""
    faked(monkeypatch)
    app = made_at_the_top(settings(tmp_path / "data"))
    with pytest.raises(SettingsError, match="another bystander web"):
        create_app(settings(tmp_path / "data"))
    site_of(app).close()
    site_of(create_app(settings(tmp_path / "data"))).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="data folder"):
        create_app(settings(tmp_path / "file"))


def test_sessions_outlive_a_restart(tmp_path, monkeypatch):
    """The secret is kept, readable by the server's user alone."""
    faked(monkeypatch)
    app = create_app(settings(tmp_path / "data"))
    user = User(app)
    film_id = user.announce(5).json["id"]
    site_of(app).close()
    app = create_app(settings(tmp_path / "data"))
    http = app.test_client()
    http.set_cookie("bystander_owner", user.http.get_cookie("bystander_owner").value)
    assert [f["id"] for f in http.get("/api/films").json["films"]] == [film_id]
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o077 == 0
    site_of(app).close()


def test_a_program_without_cookies_has_films(tmp_path, monkeypatch):
    """From announcing to removing, with nothing but the token."""
    faked(monkeypatch)
    app = create_app(settings(tmp_path / "data", token=TOKEN))
    http = app.test_client()
    film_id = http.post("/api/films", json={"name": "a.mp4", "size": 1}, headers=BEARER).json["id"]
    sent = http.patch(f"/api/films/{film_id}/upload", data=b"0", headers={**BEARER, "Upload-Offset": "0"})
    assert sent.status_code == 204
    assert http.delete(f"/api/films/{film_id}", headers=BEARER).status_code == 204
    site_of(app).close()
