import json
import os
import shutil
import signal
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest

from bystander import cli
from bystander.cli import main
from bystander.errors import BystanderError
from bystander.settings import Settings, load_settings
from bystander.stages.cover import CELLS, MAX_CELLS, SAFE_CELLS
from fakes import make_clip, packets


def run(*args):
    return main([str(a) for a in args])


def test_a_video_goes_through(tmp_path, capsys):
    """One command makes the covered copy beside the source and says what it did."""
    source = make_clip(tmp_path / "a.mp4", sound=True)
    assert run("file", source) == 0
    out = tmp_path / "a.covered.mp4"
    assert len(packets(out, "video")) == 12
    assert packets(out, "audio") == packets(source, "audio")
    assert "12 frames" in capsys.readouterr().out


def test_json_reports_the_run(tmp_path, capsys):
    """--json prints events, one object a line; the last has counts and times."""
    assert run("file", make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", "--json") == 0
    first, *_, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["event"], last["event"]) == ("start", "done")
    assert last["frames"] == 12
    assert last["whole_frame_covers"] == {}


@pytest.mark.parametrize("style", ["pixelate", "blur"])
def test_a_cover_that_is_too_weak_is_done_and_told_in_one_line(tmp_path, capsys, style):
    """More cells than measured to be safe: one warning, and the exit code of success."""
    how = ["--style", style, "--cells", SAFE_CELLS + 1, "--overwrite", "--quiet", "--keep", "none"]
    assert run("file", make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", *how) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "--cells" in line]
    assert len(told) == 1
    assert f"warning: {style} with {SAFE_CELLS + 1} cells" in told[0]
    assert run("file", tmp_path / "a.mp4", tmp_path / "b.mp4", *how, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["event"] for e in events if "--cells" in e.get("message", "")] == ["warning"]


def test_a_folder_is_warned_of_once(tmp_path, capsys):
    """The warning does not come for every file."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        make_clip(tmp_path / "in" / f"{name}.mp4")
    assert run("file", tmp_path / "in", "--cells", MAX_CELLS, "--quiet") == 0
    assert capsys.readouterr().err.count("--cells") == 1


def test_settings_that_hide_enough_are_not_warned_of(tmp_path, capsys):
    """The defaults, a solid fill and few cells need no warning."""
    clip = make_clip(tmp_path / "a.mp4")
    for how in ([], ["--style", "solid", "--cells", MAX_CELLS], ["--style", "blur", "--cells", SAFE_CELLS]):
        assert run("file", clip, tmp_path / "b.mp4", "--quiet", "--overwrite", *how) == 0
    assert "--cells" not in capsys.readouterr().err


def test_more_cells_than_the_hard_minimum_are_refused(tmp_path, capsys):
    """What would show the face is an error, by flag and in the settings file."""
    clip, config = make_clip(tmp_path / "a.mp4"), tmp_path / "s.toml"
    config.write_text(f"cells = {MAX_CELLS + 1}")
    for how in (["--cells", MAX_CELLS + 1], ["--cells", 0], ["--config", config]):
        assert run("file", clip, tmp_path / "b.mp4", *how) == 2
        assert "must lie between 1 and" in capsys.readouterr().err
    assert not (tmp_path / "b.mp4").exists()


def test_the_first_progress_tells_no_fantastic_rate(tmp_path, capsys, monkeypatch):
    """A rate needs two pictures; the first one only starts the clock."""
    monkeypatch.setattr(cli, "PROGRESS_S", 0)
    assert run("file", make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["fps"] for e in events if e["event"] == "progress" and e["frames"] == 1] == [0, 0]


def test_json_reports_an_error_as_an_event(tmp_path, capsys):
    """With --json a failure is an event on stdout too, not only a line on stderr."""
    assert run("file", tmp_path / "none.mp4", "--json") == 2
    assert json.loads(capsys.readouterr().out)["event"] == "error"


def test_tracks_are_saved(tmp_path):
    """--tracks writes a header and one line a frame."""
    run("file", make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", "--tracks", tmp_path / "t.jsonl", "--quiet")
    header, *rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert (header["format"], header["version"]) == ("bystander-tracks", 1)
    assert [r["frame"] for r in rows] == list(range(12))
    assert header["settings"]["cover"] == {"style": "pixelate", "cells": CELLS}


def test_what_a_person_said_is_saved_with_the_tracks(tmp_path):
    """Rule, clicks and zones of a run stand in the header of its tracks."""
    said = [
        "--keep",
        "auto",
        "--keep",
        "5,6@0.1",
        "--cover",
        "7,8@0.2",
        "--keep-zone",
        "1,2,30,40",
        "--max-subjects",
        2,
    ]
    out = [tmp_path / "b.mp4", "--tracks", tmp_path / "t.jsonl", "--quiet"]
    assert run("file", make_clip(tmp_path / "a.mp4"), *out, *said, "--max-subjects", 2) == 0
    settings = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])["settings"]
    assert (settings["policy"]["keep"], settings["policy"]["max_subjects"]) == ("auto", 2)
    assert [c["verdict"] for c in settings["clicks"]] == ["keep", "cover"]
    assert settings["zones"] == [{"x": 1, "y": 2, "width": 30, "height": 40}]


def test_a_model_without_roles_says_so_once(tmp_path, capsys, monkeypatch):
    """With the rule "auto" one line tells that everybody is covered; with another rule there is none."""

    class Faces:
        """Finds nothing, and knows one class."""

        names, stride, id = ("face",), 32, "faces-1"

        def __call__(self, images):
            return np.zeros((1, 0, 6), np.float32)

    monkeypatch.setattr("bystander.cli.open_model", lambda *_: Faces())
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        make_clip(folder / f"{name}.mp4")
    run("file", folder, tmp_path / "out", "--quiet")
    assert capsys.readouterr().err.count("knows faces but no roles") == 1
    run("file", folder / "a.mp4", tmp_path / "a.mp4", "--quiet")
    assert capsys.readouterr().err.count("knows faces but no roles") == 1
    run("file", folder / "a.mp4", tmp_path / "b.mp4", "--quiet", "--keep", "none")
    assert "roles" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({}, "auto"), ({"keep": "none"}, "none"), ({"keep": "5,6@1"}, "none"), ({"keep_zone": "1,2,3,4"}, "none"),
        ({"keep": "auto 5,6@1"}, "auto"), ({"cover": "5,6@1"}, "auto"),
        ({"keep": "largest", "cover": "5,6@1"}, "largest"),
    ],
)  # fmt: skip
def test_naming_people_without_a_rule_means_nobody_else(settings, rule):
    """The model decides unless a person says whom to keep; whom to cover says nothing about the others."""
    assert Settings(**settings).filter().policy.keep == rule


@pytest.mark.parametrize("name", ["a.mp4", "b.mp4"])
def test_tracks_never_replace_source_or_output(tmp_path, capsys, name):
    """--tracks on the source or on OUT is refused, even with --overwrite, and the source stays as it was."""
    source = make_clip(tmp_path / "a.mp4")
    before = source.read_bytes()
    assert run("file", source, tmp_path / "b.mp4", "--tracks", tmp_path / name, "--overwrite", "--quiet") == 2
    assert source.read_bytes() == before
    assert not (tmp_path / "b.mp4").exists()


def test_previews_are_covered_pictures_of_the_output(tmp_path):
    """--preview saves at most eight pictures, each like the frame of that number in the output."""
    out = tmp_path / "b.mp4"
    run("file", make_clip(tmp_path / "a.mp4", frames=20), out, "--preview", tmp_path / "p", "--quiet")
    made = sorted((tmp_path / "p").iterdir())
    assert 0 < len(made) <= 8
    with av.open(str(out)) as c:
        frames = [f.to_ndarray(format="bgr24") for f in c.decode(video=0)]
    for path in made:
        shown = cv2.imread(str(path)).astype(int)
        assert np.abs(shown - frames[int(path.stem.split("-")[1])]).mean() < 12


def test_an_interrupted_run_saves_no_preview(tmp_path, monkeypatch):
    """A run that fails leaves no preview folder."""
    monkeypatch.setattr("bystander.cli.FileWriter.finish", interrupt)
    assert run("file", make_clip(tmp_path / "a.mp4"), "--preview", tmp_path / "p", "--quiet") == 130
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_lower_min_score_reaches_tracker_and_detector():
    """--min-score moves the score from which a face counts, and the detector reports such faces."""
    settings = Settings(min_score=0.05)
    assert settings.filter().tracker.new_score == settings.detector().min_score == 0.05


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["none.mp4"], "no such file"),
        (["text.mp4"], "not a video"),
        (["a.mp4", "a.mp4"], "source itself"),
        (["a.mp4", "taken.mp4"], "--overwrite"),
        (["a.mp4", "no/b.mp4"], "no such folder"),
        (["a.mp4", "b.txt"], "unknown kind"),
        (["a.mp4", "--grow", "0.5"], "least safe"),
        (["a.mp4", "--keep", "somebody"], "X,Y@TIME"),
        (["a.mp4", "--keep", "auto", "--keep", "none"], "choose one of"),
        (["a.mp4", "--cover", "auto"], "cover 'auto'"),
        (["a.mp4", "--keep-zone", "1,2,3"], "X,Y,WIDTH,HEIGHT"),
        (["a.mp4", "--keep-zone", "1,2,0,5"], "X,Y,WIDTH,HEIGHT"),
        (["a.mp4", "--max-subjects", "-1"], "max-subjects"),
        (["a.mp4", "--model", "xxl"], "no such model"),
        (["a.mp4", "--imgsz", "7"], "imgsz"),
        (["a.mp4", "--min-score", "nan"], "min-score"),
        (["a.mp4", "--tracks", "empty"], "is a folder"),
        (["empty", "--tracks", "t.json"], "one video"),
        (["empty"], "no video or picture"),
        (["a.mp4", "n" * 221 + ".mp4"], "name is too long"),
        (["a.mp4", "n" * 300 + ".mp4"], "name is too long"),
        (["a.mp4", "--preview", "taken.mp4"], "is no folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_lost(tmp_path, monkeypatch, capsys, args, says):
    """Exit code 2, one line on stderr, and the folder as it was."""
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4")
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "taken.mp4").write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    before = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    assert run("file", *args, "--quiet") == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert {p.name: p.stat().st_size for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("args", "says"),
    [([""], "name is empty"), (["a.mp4", ""], "name is empty"), (["a.mp4", "--style", "none"], "pixelate")],
)
def test_a_wrong_flag_is_one_line(capsys, args, says):
    """A flag, a value or a name that cannot be meant is told in one line, with exit code 2."""
    with pytest.raises(SystemExit) as e:
        run("file", *args)
    assert e.value.code == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_a_cut_off_source_ends_with_code_3(tmp_path, capsys):
    """What decodes is covered and written, the loss is told, the exit code is 3."""
    source = make_clip(tmp_path / "a.mp4", frames=120, width=160, height=120)
    data = source.read_bytes()
    cut = tmp_path / "cut.mp4"
    moov = data.index(b"moov") - 4
    box = data[moov:]
    front = data[: data.index(b"mdat") - 4]
    body = data[data.index(b"mdat") - 4 : moov]
    cut.write_bytes(front + body[: len(body) // 2] + bytes(len(body) - len(body) // 2) + box)
    code = run("file", cut, "--quiet")
    assert code == 3
    assert "part of the source was lost" in capsys.readouterr().err
    assert 0 < len(packets(tmp_path / "cut.covered.mp4", "video")) <= 120


def test_a_picture_keeps_its_size_and_loses_its_metadata(tmp_path):
    """A still of odd size comes out at its size, without EXIF."""
    cv2.imwrite(str(tmp_path / "a.jpg"), np.random.default_rng(0).integers(0, 255, (61, 83, 3), np.uint8))
    assert run("file", tmp_path / "a.jpg") == 0
    data = (tmp_path / "a.covered.jpg").read_bytes()
    assert cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape == (61, 83, 3)
    assert b"Exif" not in data


def test_a_cut_off_picture_is_one_line(tmp_path, capfd):
    """A picture that ends too early is told in one line: the library that decodes it stays silent."""
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    assert run("file", tmp_path / "a.png") == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_folder_is_mirrored_and_goes_on_where_it_stopped(tmp_path, capsys):
    """Names are mirrored, one bad file is told and the rest done, a second run does only what is missing."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    make_clip(root / "a.mp4")
    cv2.imwrite(str(root / "sub/b.png"), np.zeros((20, 30, 3), np.uint8))
    (root / "bad.mp4").write_text("no film")
    assert run("file", root, "--quiet") == 3
    out = tmp_path / "in.covered"
    made = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert made == {"a.mp4", "sub/b.png"}
    stamp = (out / "a.mp4").stat().st_mtime_ns
    assert run("file", root, "--quiet") == 3
    assert (out / "a.mp4").stat().st_mtime_ns == stamp
    told = capsys.readouterr()
    assert "exists, skipped" in told.err
    assert "with faults: " + str(root / "bad.mp4") in told.out


def test_the_folder_one_stands_in_may_be_given(tmp_path, monkeypatch):
    """The folder "." is mirrored beside itself, under its own name."""
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/b.png"), np.zeros((20, 30, 3), np.uint8))
    monkeypatch.chdir(tmp_path / "in")
    assert run("file", ".", "--quiet") == 0
    assert (tmp_path / "in.covered/b.png").exists()


def test_no_file_of_a_folder_is_left_out_silently(tmp_path, capsys):
    """Videos of kinds that are only read become Matroska; what is neither video nor picture is named."""
    root = tmp_path / "in"
    root.mkdir()
    shutil.copy(make_clip(tmp_path / "a.mkv"), root / "a.avi")
    (root / "notes.xyz").write_text("?")
    assert run("file", root, "--quiet") == 0
    assert [p.name for p in (tmp_path / "in.covered").iterdir()] == ["a.avi.mkv"]
    assert "notes.xyz" in capsys.readouterr().err


def test_a_signal_in_a_stage_ends_the_run(tmp_path, monkeypatch):
    """SIGTERM that arrives inside the detector ends the run with 143; it is not taken for a fault of the stage."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    monkeypatch.setattr("bystander.cli.Detector.__call__", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run("file", tmp_path / "a.png") == 143
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(tmp_path, number, code):
    """Ctrl-C and SIGTERM end the run with their codes and without output or litter."""
    source = make_clip(tmp_path / "a.mp4", frames=1500)
    child = subprocess.Popen([sys.executable, "-m", "bystander", "file", source, "--quiet"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".a.covered.partial*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    assert child.wait(60) == code
    assert b"nothing unfinished was left behind" in child.stderr.read()
    child.stderr.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_settings_file_and_flags(tmp_path):
    """Keys of the file hold unless a flag says otherwise; an unknown key names its neighbour."""
    path = tmp_path / "b.toml"
    path.write_text('style = "blur"\ngrow = 2\n')
    assert load_settings(path, {"style": None, "grow": 3.0}) == Settings(style="blur", grow=3.0)
    path.write_text("styel = 1\n")
    with pytest.raises(Exception, match="did you mean style"):
        load_settings(path, {})
    path.write_text('grow = "big"\n')
    with pytest.raises(Exception, match="type float"):
        load_settings(path, {})


def test_no_permission_is_told(tmp_path, capsys):
    """A folder that may not be written to is told before anything is read."""
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    source = make_clip(tmp_path / "a.mp4")
    tmp_path.chmod(0o500)
    try:
        assert run("file", source) == 2
    finally:
        tmp_path.chmod(0o700)
    assert "not writable" in capsys.readouterr().err


def test_the_demos_portrait_may_be_a_file(tmp_path, monkeypatch):
    """The container has the picture without scikit-image; one that cannot be read is told."""
    from bystander import demo

    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "face.png"), picture)
    monkeypatch.setenv(demo.PORTRAIT, str(tmp_path / "face.png"))
    assert np.array_equal(demo.portrait(), picture[..., ::-1])  # RGB
    monkeypatch.setenv(demo.PORTRAIT, str(tmp_path / "none.png"))
    with pytest.raises(BystanderError, match=r"none\.png"):
        demo.portrait()


def test_the_demo_covers_real_faces(tmp_path, capsys):
    """The demo makes its clip, covers the portrait's face and shows both side by side."""
    pytest.importorskip("skimage", reason="the demo extra is not installed")
    from bystander import demo

    demo.SECONDS = 1
    assert run("demo", "--out", tmp_path) == 0
    pair = cv2.imread(str(tmp_path / "side_by_side.png"))
    before, after = pair[:, : demo.WIDTH // 2].astype(int), pair[:, demo.WIDTH // 2 :].astype(int)
    # the largest portrait's face: at 0.30, 0.55 of the picture, 440 px wide, face in its upper middle
    x, y = int(0.28 * demo.WIDTH / 2), int(0.41 * demo.HEIGHT / 2)
    face = (slice(y - 20, y + 20), slice(x - 15, x + 15))
    assert np.abs(before[face] - after[face]).mean() > 8
    hits, _, total, *_ = capsys.readouterr().out.splitlines()[-1].split()
    assert 0.9 * int(total) <= int(hits) <= int(total)
    assert int(total) >= 75
