import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from bystander.cli import main
from bystander.settings import Settings, load_settings
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
    """--json prints one object with counts and times."""
    assert run("file", make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == 12
    assert report["whole_frame_covers"] == {}


def test_tracks_are_saved(tmp_path):
    """--tracks writes a header and one line a frame."""
    run("file", make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", "--tracks", tmp_path / "t.jsonl", "--quiet")
    header, *rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert (header["format"], header["version"]) == ("bystander-tracks", 1)
    assert [r["frame"] for r in rows] == list(range(12))


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
        (["a.mp4", "--model", "xxl"], "no such model"),
        (["a.mp4", "--imgsz", "7"], "imgsz"),
        (["empty"], "no video or picture"),
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
    assert "exists, skipped" in capsys.readouterr().err


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
    assert b"nothing was left behind" in child.stderr.read()
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
    assert "people covered" in capsys.readouterr().out
