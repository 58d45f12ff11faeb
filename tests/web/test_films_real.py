"""One film through the real processes, from the upload to the downloads and a second render."""

import json
from contextlib import closing

import av
import cv2
import numpy as np
import pytest

from bystander.web.films import why
from bystander.web.films.child import Stop
from web_site import SLOW_S, User, create_app, settings, site_of, wait

DIFFERENT = 6.0


@pytest.fixture
def app(tmp_path):
    app = create_app(settings(tmp_path / "data"))
    yield app
    site_of(app).close()


def clip(path, face, frames=8):
    """A face that moves a little to the right."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"crf": "12"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for i in range(frames):
            picture = np.full((240, 320, 3), 120, np.uint8)
            picture[:, 5 + i % 40 : 245 + i % 40] = face
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
    return path.read_bytes()


def luma(data, path):
    path.write_bytes(data)
    with closing(av.open(str(path))) as film:
        return np.array([f.to_ndarray(format="gray").astype(float) for f in film.decode(video=0)])


def difference(one, other, box):
    x1, y1, x2, y2 = (int(v) for v in box)
    return float(np.abs(one[3, y1:y2, x1:x2] - other[3, y1:y2, x1:x2]).mean())


def test_a_film_from_upload_to_download(app, tmp_path):
    """The face is covered, a chosen one is not after the second render; tracks and report come along."""
    data = pytest.importorskip("skimage.data")
    source = clip(tmp_path / "a.mp4", cv2.resize(data.astronaut(), (240, 240)))
    user = User(app)
    film_id = user.upload(source, name="a film.mp4", keep="none")
    film = user.wait(film_id, "ready", "failed")
    assert film["error"] is None, (
        site_of(app).films.store.files(site_of(app).films.store.films[film_id]).log.read_text()
    )
    assert (film["info"]["frames"], film["people"] > 0, film["rendered_version"]) == (8, True, 1)
    path = f"/api/films/{film_id}"
    frame = user.get(f"{path}/boxes?from=0.25&to=0.35").json["frames"][0]
    face = max(frame["faces"], key=lambda f: f["xyxy"][3] - f["xyxy"][1])
    original = luma(user.get(f"{path}/media/original.mp4").data, tmp_path / "o.mp4")
    covered = luma(user.get(f"{path}/media/covered.mp4").data, tmp_path / "c.mp4")
    assert difference(original, covered, face["xyxy"]) > DIFFERENT
    part = user.get(f"{path}/media/covered.mp4", headers={"Range": "bytes=10-19"})
    assert (part.status_code, len(part.data)) == (206, 10)
    assert user.get(f"{path}/media/thumb/{face['id']}.jpg").mimetype == "image/jpeg"

    user.post(f"{path}/edits", {"op": "choose", "person": face["id"], "verdict": "keep"})
    assert user.post(f"{path}/render").json["state"] == "rendering"
    assert user.wait(film_id, "ready", "failed")["rendered_version"] == 2
    again = user.get(f"{path}/download/film")
    assert 'filename="a film.covered.mp4"' in again.headers["Content-Disposition"]
    assert difference(original, luma(again.data, tmp_path / "d.mp4"), face["xyxy"]) < DIFFERENT / 2
    lines = user.get(f"{path}/download/tracks").data.splitlines()
    assert len(lines) == 9
    assert any(t["kept"] for t in json.loads(lines[4])["tracks"])

    assert user.get(f"{path}/download/report").status_code == 409
    assert user.post(f"{path}/audit").status_code == 202
    wait(lambda: user.film(film_id)["report"] != "waiting")
    report = user.get(f"{path}/download/report")
    assert b"<html" in report.data
    assert "sandbox" in report.headers["Content-Security-Policy"]
    assert str(tmp_path).encode() not in report.data


def test_what_is_no_film_fails_with_a_sentence(app):
    """A real check in a real process."""
    user = User(app)
    film_id = user.upload(b"not a film\n" * 100)
    film = user.wait(film_id, "failed", "ready")
    assert film["error"]["code"] == "not_a_film"


def test_cancel_ends_the_real_process(app, tmp_path):
    """In midst of the analysis, without a trace of its unfinished files."""
    data = pytest.importorskip("skimage.data")
    user = User(app)
    film_id = user.upload(clip(tmp_path / "a.mp4", cv2.resize(data.astronaut(), (240, 240)), frames=200))
    user.wait(film_id, "analysing")
    queue = site_of(app).films.queue
    stop: Stop = wait(lambda: queue.running.get(film_id), SLOW_S)[1]
    process = wait(lambda: stop.process, SLOW_S)
    assert user.post(f"/api/films/{film_id}/cancel").json["state"] == "cancelled"
    assert process.poll() is not None
    folder = site_of(app).films.store.root / film_id
    assert not (folder / "covered.mp4").exists()


def test_why_is_answered_by_the_lab(app, tmp_path, monkeypatch):
    """A picture out of the film goes to the lab's own command, and its heat map comes back."""
    monkeypatch.setattr(why, "WALL_S", 4 * SLOW_S)
    data = pytest.importorskip("skimage.data")
    if not why.lab_installed():
        pytest.skip("the lab is not installed")
    source = clip(tmp_path / "a.mp4", cv2.resize(data.astronaut(), (240, 240)))
    films = site_of(app).films
    film = films.store.create("somebody", "a.mp4", len(source), {})
    films.store.files(film).source.write_bytes(source)
    (folder := tmp_path / "work").mkdir()
    png = why.answer(films, film, folder, (112, 57, 0.3))  # the middle of her face
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).shape[2] == 3
