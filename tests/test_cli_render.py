import json

import av
import numpy as np
import pytest

from bystander.cli import main
from bystander.stages.cover import SAFE_CELLS, cover
from bystander.types import Detections
from fakes import faces, make_clip, packets

BOX = (24, 20, 56, 60)
MIDDLE = (slice(30, 50), slice(30, 50))


def run(*args):
    return main([str(a) for a in args])


def lumas(path):
    with av.open(str(path)) as c:
        return [f.to_ndarray(format="gray").astype(int) for f in c.decode(video=0)]


@pytest.fixture
def painted(monkeypatch):
    """Every covered frame's planes in the order of painting, before the encoder, whose threads round differently."""
    planes = []

    def spy(frame, *how):
        done = cover(frame, *how)
        planes.append([frame.y.copy(), frame.u.copy(), frame.v.copy()])
        return done

    monkeypatch.setattr("bystander.run.face_filter.cover", spy)
    return planes


@pytest.fixture
def film(tmp_path, monkeypatch, painted):
    """A folder with a film, its covered copy and its tracks: one face, found in frames 10 to 19 of 60."""
    found = {i: faces(BOX) for i in range(10, 20)}
    monkeypatch.setattr("bystander.run.job.Detector", lambda *_: lambda f: found.get(f.index, Detections.none()))
    make_clip(tmp_path / "a.mp4", frames=60, width=96, height=96, sound=True)
    how = ["--tracks", tmp_path / "t.jsonl", "--quiet", "--keep", "none", "--grow", 1.5]
    assert run("file", tmp_path / "a.mp4", tmp_path / "first.mp4", *how) == 0

    def never(*_):
        raise AssertionError("a film that is painted again needs no model")

    monkeypatch.setattr("bystander.cli.open_model", never)
    return tmp_path


def edit(path, change):
    """Apply ``change(header, rows)``, which may change them in place."""
    header, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(header, rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in [header, *rows]))


def render(folder, *more):
    return run("render", folder / "a.mp4", folder / "t.jsonl", folder / "second.mp4", "--quiet", *more)


def shown(folder):
    """Whether the middle of the face is as in the original, for each frame."""
    pairs = zip(lumas(folder / "a.mp4"), lumas(folder / "second.mp4"), strict=True)
    return [bool(np.abs(a[MIDDLE] - b[MIDDLE]).mean() < 6) for a, b in pairs]


def test_unedited_tracks_give_the_same_film(film, painted):
    """Painting again changes no pixel and keeps the sound."""
    assert render(film) == 0
    assert len(painted) == 120
    first, second = painted[:60], painted[60:]
    assert all(np.array_equal(a, b) for f, s in zip(first, second, strict=True) for a, b in zip(f, s, strict=True))
    assert packets(film / "second.mp4", "audio") == packets(film / "a.mp4", "audio")


def test_a_cover_that_is_too_weak_is_told(film, capsys):
    """Cells of the tracks file or of the flag: one line, and the exit code of success."""
    assert render(film, "--cells", SAFE_CELLS + 1) == 0
    assert capsys.readouterr().err.count("--cells") == 1

    def weaken(header, _rows):
        header["settings"]["cover"]["cells"] = SAFE_CELLS + 2

    edit(film / "t.jsonl", weaken)
    assert render(film, "--overwrite") == 0
    assert f"with {SAFE_CELLS + 2} cells" in capsys.readouterr().err
    assert render(film, "--overwrite", "--cells", SAFE_CELLS) == 0
    assert "--cells" not in capsys.readouterr().err


def test_tracks_of_an_older_run_get_the_cells_of_today(film, capsys):
    """A file that does not say how many cells is painted with the default."""
    edit(film / "t.jsonl", lambda header, _rows: header["settings"]["cover"].pop("cells"))
    assert render(film) == 0
    assert "--cells" not in capsys.readouterr().err


def test_kept_can_be_edited_where_the_face_was_found(film):
    """The flag uncovers the frames in which the face was found, and no frame in which it was not."""

    def keep(_header, rows):
        for row in rows:
            for t in row["tracks"]:
                t["kept"] = True

    edit(film / "t.jsonl", keep)
    assert render(film) == 0
    open_ = shown(film)
    assert all(open_[10:20])
    assert not any(open_[6:10]) and not any(open_[20:24])  # noqa: PT018  around it the face is guessed


def test_tracks_can_be_added_and_removed(film):
    """A track with no more than a place is covered; one that a person took out is not."""

    def change(_header, rows):
        rows[12]["tracks"] = []
        rows[50]["tracks"] = [{"id": 77, "xyxy": list(BOX)}]

    edit(film / "t.jsonl", change)
    assert render(film) == 0
    open_ = shown(film)
    assert open_[12]
    assert not open_[13]
    assert open_[49]
    assert not open_[50]


def test_what_is_not_known_is_covered_whole(film, capsys):
    """A frame without a line, one of another time and one marked so become grey all over, and the run says so."""

    def change(_header, rows):
        rows[40]["pts"] += 1
        rows[45]["whole"] = True
        del rows[50]

    edit(film / "t.jsonl", change)
    assert render(film) == 0
    grey = [i for i, y in enumerate(lumas(film / "second.mp4")) if np.abs(y - 128).mean() < 4]
    assert grey == [40, 45, 50]
    told = capsys.readouterr()
    assert "2 frames covered whole" in told.out
    assert "1 frames are covered whole, as the tracks file says" in told.err


def test_an_id_with_two_boxes_is_kept_only_if_both_are(film):
    """A doubt about one of the boxes covers both."""

    def change(_header, rows):
        t = rows[15]["tracks"][0]
        rows[15]["tracks"] = [{**t, "kept": True}, {**t, "xyxy": [0, 0, 9, 9], "kept": False}]

    edit(film / "t.jsonl", change)
    assert render(film) == 0
    assert not shown(film)[15]


def test_style_and_margin_can_change(film):
    """The flags win over what the file says."""
    assert render(film, "--style", "solid", "--shape", "box") == 0
    assert np.abs(lumas(film / "second.mp4")[15][MIDDLE] - 128).max() < 12


def change_of(number, **values):
    """Line ``number``, 0 for the header, gets these values."""
    return lambda header, rows: ([header, *rows][number]).update(values)


def track(**values):
    return {"tracks": [{"id": 1, "xyxy": [1, 2, 30, 40], **values}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_of(0, source="1-00"), "another file"),
        (change_of(0, format="coco"), "no tracks file"),
        (change_of(0, version=99), "update bystander"),
        (change_of(0, version="1"), "no version"),
        (change_of(0, settings={}), "settings"),
        (change_of(0, settings={"policy": {"grow": 0, "shape": "box"}, "cover": {}}), "grow 0"),
        (change_of(3, frame=0), "line 4: frame 0 has a line already"),
        (change_of(3, frame=-1), "line 4"),
        (change_of(3, pts=None), "line 4"),
        (change_of(3, tracks={}), "line 4"),
        (change_of(3, **track(xyxy=[1, 2, 3])), "four numbers"),
        (change_of(3, **track(xyxy=[1, 2, 3, float("nan")])), "nan"),
        (change_of(3, **track(xyxy=[9, 2, 3, 9])), "without area"),
        (change_of(3, **track(kept="no")), "kept 'no'"),
        (change_of(3, **track(id="me")), "id 'me'"),
        (change_of(3, **track(speed=-1)), "speed"),
        (change_of(3, tracks=[{"id": 3}]), "'xyxy' is missing"),
        (lambda _h, rows: rows.append([1]), "line 62"),
    ],
)
def test_tracks_that_cannot_be_true_are_refused_in_one_line(film, capsys, change, says):
    """Exit code 2, one line that says what is wrong, no output."""
    edit(film / "t.jsonl", change)
    capsys.readouterr()
    assert render(film) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in film.iterdir()) == ["a.mp4", "first.mp4", "t.jsonl"]


@pytest.mark.parametrize(("data", "says"), [(b"", "no tracks"), (b"\xff\x00", "no tracks"), (None, "cut off")])
def test_a_broken_file_is_refused_in_one_line(film, capsys, data, says):
    """Nothing in it, no text in it, and a file that ends in the midst of a line."""
    path = film / "t.jsonl"
    path.write_bytes(path.read_bytes()[:-9] if data is None else data)
    capsys.readouterr()
    assert render(film) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_render_never_replaces_its_inputs(film):
    """OUT on the source or on the tracks is refused, even with --overwrite."""
    before = (film / "t.jsonl").read_bytes()
    for out in ("a.mp4", "t.jsonl"):
        assert run("render", film / "a.mp4", film / "t.jsonl", film / out, "--overwrite", "--quiet") == 2
    assert (film / "t.jsonl").read_bytes() == before
