"""Uploads in pieces: limits, breaks, restarts, names."""

import threading

import pytest

from bystander.web.films import uploads as uploads_module
from bystander.web.films.store import FilmStore
from web_site import FakeSteps, User, code, site_of, wait


def test_a_film_comes_in_pieces_and_is_checked(start):
    """Each answer names the next offset; the last piece starts the work."""
    app = start()
    user = User(app)
    film = user.announce(10, name="my film.mp4").json
    assert (film["state"], film["received"], film["size"]) == ("uploading", 0, 10)
    assert user.piece(film["id"], 0, b"0123").headers["Upload-Offset"] == "4"
    answer = user.send("HEAD", f"/api/films/{film['id']}/upload")
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("4", "10")
    assert user.piece(film["id"], 4, b"456789").headers["Upload-Offset"] == "10"
    assert user.film(film["id"])["state"] in {"checking", "queued"}
    store = site_of(app).films.store
    assert store.files(store.films[film["id"]]).source.read_bytes() == b"0123456789"


@pytest.mark.parametrize("offset", [3, 5, 99])
def test_a_piece_at_the_wrong_place_is_refused(start, offset):
    """409 with the right offset; nothing is written."""
    user = User(start())
    film_id = user.announce(10).json["id"]
    user.piece(film_id, 0, b"0123")
    answer = user.piece(film_id, offset, b"xx")
    assert code(answer) == (409, "wrong_offset")
    assert answer.headers["Upload-Offset"] == "4"
    assert user.film(film_id)["received"] == 4


@pytest.mark.parametrize("given", ["", "-1", "1e3", "x", "٣", "9" * 30])
def test_an_offset_that_is_no_number_is_refused(start, given):
    """A header that makes no sense is told as such."""
    user = User(start())
    film_id = user.announce(10).json["id"]
    answer = user.send(
        "PATCH", f"/api/films/{film_id}/upload", {"Upload-Offset": given.encode().decode("latin-1")}, data=b"x"
    )
    assert code(answer) == (400, "bad_offset")


def test_more_than_announced_is_refused(start):
    """A film cannot grow beyond what its size was checked for; nor may one piece be too long."""
    user = User(start(chunk_bytes=1000))
    film_id = user.announce(3).json["id"]
    assert code(user.piece(film_id, 0, b"0123")) == (413, "too_large")
    assert code(user.piece(user.announce(5000).json["id"], 0, b"x" * 1001)) == (413, "too_large")


def test_two_uploads_to_one_film_at_once(start, monkeypatch):
    """Of two pieces for the same place one is taken and the other told to ask again; nothing is doubled."""
    app = start()
    user = User(app)
    film_id = user.announce(8).json["id"]
    entered, go = threading.Event(), threading.Event()
    real = uploads_module.os.fsync

    def slow(handle):
        entered.set()
        go.wait(20)
        real(handle)

    monkeypatch.setattr(uploads_module.os, "fsync", slow)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(user.piece(film_id, 0, b"01234567")))
    thread.start()
    assert entered.wait(60)
    monkeypatch.setattr(uploads_module.os, "fsync", real)
    second = User(app)
    second.http, second.csrf = app.test_client(), user.csrf
    second.http.set_cookie("bystander_owner", user.http.get_cookie("bystander_owner").value)
    assert code(second.piece(film_id, 0, b"abcdefgh")) == (409, "wrong_offset")
    go.set()
    thread.join(60)
    assert answers[0].status_code == 204
    store = site_of(app).films.store
    assert store.files(store.films[film_id]).source.read_bytes() == b"01234567"


def test_a_restart_in_the_middle_of_an_upload(start):
    """What had arrived is still there under the same id and owner, and the upload goes on."""
    app = start()
    user = User(app)
    film_id = user.announce(10).json["id"]
    user.piece(film_id, 0, b"01234")
    app = start()
    again = User.__new__(User)
    again.http, again.csrf = app.test_client(), user.csrf
    again.http.set_cookie("bystander_owner", user.http.get_cookie("bystander_owner").value)
    assert again.film(film_id)["received"] == 5
    assert again.piece(film_id, 5, b"56789").status_code == 204
    store = site_of(app).films.store
    assert store.files(store.films[film_id]).source.read_bytes() == b"0123456789"


def test_a_crash_after_the_last_piece(start):
    """A film that was complete but not yet queued is worked on after the restart."""
    app = start()
    user = User(app)
    film_id = user.announce(4).json["id"]
    films = site_of(app).films
    films.store.files(films.store.films[film_id]).source.write_bytes(b"0123")
    app = start()
    assert site_of(app).films.store.films[film_id].job == "check"


def test_sizes_are_limited(start):
    """Too large, none, or no number: each is told before a byte travels."""
    user = User(start(max_bytes=100, owner_bytes=150))
    assert code(user.announce(101)) == (413, "too_large")
    for size in (0, -1, 1.5, "5", True, None, 1 << 60):
        assert user.announce(size).status_code == 422
    assert user.announce(100).status_code == 201
    assert code(user.announce(51)) == (429, "too_many")
    assert user.announce(50).status_code == 201


def test_the_number_of_films_is_limited_for_each_user(start):
    """One user's films do not take another's place; a removed one gives its place back."""
    app = start(max_films=2)
    user, other = User(app), User(app)
    ids = [user.announce(5).json["id"] for _ in range(2)]
    assert code(user.announce(5)) == (429, "too_many")
    assert other.announce(5).status_code == 201
    assert user.send("DELETE", f"/api/films/{ids[0]}").status_code == 204
    assert user.announce(5).status_code == 201


def test_a_full_disk_is_told_before_the_upload(start, monkeypatch):
    """507 with a way on; other uploads that were promised their space keep it."""
    user = User(start(spare_bytes=1000))
    monkeypatch.setattr(FilmStore, "free_bytes", lambda _s: 1500)
    assert user.announce(200).status_code == 201
    assert code(user.announce(200)) == (507, "disk_full")


def test_a_disk_that_fills_up_meanwhile(start, monkeypatch):
    """The piece is refused with 507, and the upload goes on at the same place later."""
    user = User(start())
    film_id = user.announce(8).json["id"]

    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploads_module.os, "fsync", full)
        assert code(user.piece(film_id, 0, b"0123")) == (507, "disk_full")
    offset = int(user.send("HEAD", f"/api/films/{film_id}/upload").headers["Upload-Offset"])
    assert user.piece(film_id, offset, b"01234567"[offset:]).status_code == 204


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        "/etc/passwd",
        "C:\\films\\a.mp4",
        "a\x00b.mp4",
        "x" * 4000,
        "<script>.mp4",
        "\n",
        "Ä 😀.mp4",
    ],
)
def test_names_are_only_shown(start, tmp_path, name):
    """No name ever becomes a path: each film lies in a folder with a name of ours, as source.bin."""
    app = start()
    user = User(app)
    answer = user.announce(5, name=name)
    if not name.strip():
        assert answer.status_code == 422
        return
    film = answer.json
    assert len(film["name"]) <= 200
    assert film["name"].isprintable()
    assert sorted(p.name for p in (tmp_path / "data" / "films").iterdir()) == [film["id"]]
    assert {p.name for p in (tmp_path / "data" / "films" / film["id"]).iterdir()} == {"film.json", "source.bin"}


BAD_SETTINGS = [
    {"keep": "everybody"},
    {"style": "invisible"},
    {"strength": 0.5},
    {"strength": "much"},
    {"strength": float("nan")},
    {"strength": True},
    {"strength": 10**400},
    {"unknown": 1},
]


@pytest.mark.parametrize("bad", BAD_SETTINGS, ids=str)
def test_settings_that_do_not_fit_are_refused(start, bad):
    """Above all a margin below the least safe one."""
    assert code(User(start()).announce(5, **bad)) == (422, "bad_settings")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b'{"name": "a"}', b'{"name": 1, "size": 1}', b"[" * 50_000]
)
def test_bodies_that_make_no_sense(start, body):
    """Each is refused with an error that pages can show."""
    answer = User(start()).send("POST", "/api/films", data=body, content_type="application/json")
    assert answer.status_code in {400, 422}
    assert set(answer.json["error"]) == {"code", "message"}


def test_state_files_that_a_crash_left(start, tmp_path):
    """A folder without its state is removed at the start, and so is one that was being removed."""
    start()
    root = tmp_path / "data" / "films"
    (root / "0123").mkdir()
    (root / ".gone-4567").mkdir()
    (root / "89ab").mkdir()
    (root / "89ab" / "film.json").write_text("{")
    start()
    assert list(root.iterdir()) == []


def test_the_work_starts_by_itself(start):
    """An uploaded film becomes ready without anybody asking."""
    user = User(start())
    film_id = user.upload(b"0123")
    FakeSteps.newest.go.set()
    assert user.wait(film_id, "ready")["progress"] == 1
    assert wait(lambda: FakeSteps.newest.done) == [("check", film_id), ("cover", film_id)]
