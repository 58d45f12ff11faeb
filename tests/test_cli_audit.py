import json

import av
import numpy as np
import pytest

from bystander.cli import main
from fakes import faces

BOX = (40, 30, 88, 90)


def write(path, pictures, size=None):
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "12"})
        h, w = pictures[0].shape
        video.width, video.height = size or (w, h)
        video.pix_fmt = "yuv420p"
        for p in pictures:
            frame = av.VideoFrame.from_ndarray(p, format="gray")
            out.mux(video.encode(frame.reformat(*(size or (w, h)), "yuv420p")))
        out.mux(video.encode(None))
    return path


@pytest.fixture
def films(tmp_path):
    """A film, a covered copy that shows the face in frame 3, and the true tracks."""
    rng = np.random.default_rng(0)
    tile = rng.integers(60, 200, (32, 48), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    shut = tile.copy()
    shut[20:100, 30:98] = 128
    write(tmp_path / "a.mp4", [tile] * 8)
    write(tmp_path / "b.mp4", [tile if i == 3 else shut for i in range(8)])
    write(tmp_path / "shut.mp4", [shut] * 8)
    write(tmp_path / "tiny.mp4", [shut] * 8, (96, 64))
    write(tmp_path / "other.mp4", [np.ascontiguousarray(np.roll(tile, 37, 1))] * 8)
    truth = {"w": 192, "h": 128, "tracks": [{"id": 4, "role": "background", "boxes": {str(i): BOX for i in range(8)}}]}
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "size.json").write_text(json.dumps({**truth, "w": 640}))
    return tmp_path


def audit(folder, covered, *more, truth="t.json"):
    tracks = ["--tracks", folder / truth] if truth else []
    return main([str(v) for v in ("audit", folder / "a.mp4", folder / covered, *tracks, "--quiet", *more)])


def test_a_film_that_shows_a_face_does_not_pass(films, capsys):
    """Exit code 1, the figures in the JSON, and a page that holds all it needs."""
    assert audit(films, "b.mp4", "--report", films / "out", "--json", films / "r.json") == 1
    result = json.loads((films / "r.json").read_text())
    assert result["bystanders"]["exposed"] == 1
    assert result["bystanders"]["longest_ms"] == pytest.approx(40)
    assert result["people"][0]["exposed_s"] == [[0.12, 0.16]]
    page = (films / "out/report.html").read_text()
    assert "data:image/jpeg;base64" in page
    assert "<svg" in page
    assert "http" not in page
    assert "1 of 8 face-frames" in capsys.readouterr().out


def test_a_covered_film_passes(films):
    """Exit code 0; what is allowed can be raised."""
    assert audit(films, "shut.mp4") == 0
    assert audit(films, "b.mp4", "--max-exposed", "20") == 0


def test_a_smaller_copy_is_compared_at_its_size(films, capsys):
    """A film of half the size is judged, and this is said."""
    assert audit(films, "tiny.mp4") == 0
    assert "compared at its size" in capsys.readouterr().err


def test_without_tracks_the_faces_are_found(films, monkeypatch, capsys):
    """Found in the original and linked; a click makes somebody a subject."""
    monkeypatch.setattr("bystander.audit.people.Detector", lambda *_: lambda _f: faces(BOX))
    assert audit(films, "b.mp4", truth=None) == 1
    assert "whom it misses" in capsys.readouterr().err
    assert audit(films, "b.mp4", "--keep", "60,60@0.1", truth=None) == 0
    assert "subjects covered: 87.50 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "truth", "says"),
    [
        (["none.mp4"], "t.json", "no such file"), (["other.mp4"], "t.json", "nothing can be said"),
        (["b.mp4"], "bad.json", "true tracks"), (["b.mp4"], "size.json", "was drawn for 640x128"),
        (["b.mp4"], "none.json", "cannot be read"), (["b.mp4", "--max-exposed", "nan"], "t.json", "max-exposed"),
        (["b.mp4", "--json", "bad.json"], "t.json", "exists"),
        (["b.mp4", "--json", "t.json"], "t.json", "an input"), (["t.json"], "t.json", "t.json"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(films, monkeypatch, capsys, args, truth, says):
    """Exit code 2, one line on stderr."""
    monkeypatch.chdir(films)
    assert audit(films, *args, truth=truth) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
