import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from bystander.audit.structure import exposed, high_pass
from bystander.types import Detections, Track
from fakes import noise_frame


def bench(name):
    """A measurement as a module, to be found by the others under its own name."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"bench/{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


roles, sizes, table = bench("roles"), bench("sizes"), bench("accelerators_table")
accelerators, around = bench("accelerators"), bench("looks")

BOX = (40, 30, 88, 90)


@pytest.fixture
def face():
    """A picture with fine structure everywhere."""
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (128, 128), dtype=np.uint8), (0, 0), 0.8)


def judge(before, after):
    return exposed(high_pass(before), high_pass(after), BOX)


def test_an_uncovered_face_is_exposed_though_it_was_encoded_again(face):
    """JPEG artefacts do not hide a face from the measure."""
    again = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    assert judge(face, again) is True


@pytest.mark.parametrize("cover", ["solid", "pixelate", "blur"])
def test_a_covered_face_is_not_exposed(face, cover):
    """Fills, mosaics and strong blur count as covered."""
    after = face.copy()
    patch = after[25:95, 35:93]
    small = cv2.resize(patch, (5, 6), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if cover == "pixelate" else cv2.INTER_CUBIC
    patch[...] = 128 if cover == "solid" else cv2.resize(small, patch.shape[::-1], interpolation=how)
    assert judge(face, after) is False


def test_a_cover_that_leaves_half_of_the_face_is_no_cover(face):
    """A shifted cover is found out."""
    after = face.copy()
    after[25:60, 35:93] = 128
    assert judge(face, after) is True


def test_a_face_without_structure_is_not_judged(face):
    """A face that was blurred in the original cannot be exposed."""
    flat = cv2.GaussianBlur(face, (0, 0), 8)
    assert judge(flat, flat) is None


SUBJECT, OTHER, SIDE = (10, 10, 50, 60), (100, 20, 120, 45), (150, 5, 198, 66)


def counted(tracks, true=(("interview", SUBJECT), ("background", OTHER), ("background", SIDE))):
    """What one frame of 200x100 px adds for every method."""
    counts = {m: Counter() for m in roles.METHODS}
    roles.add_frame(counts, list(true), tracks, (200, 100))
    return {m: roles.shares(c) for m, c in counts.items()}


def test_keep_precision_recall_and_exposure_are_counted_per_face_frame():
    """The subject alone kept is perfect; the baselines keep the largest and the most central face, both wrong here."""
    shares = counted([(SUBJECT, True, True), (OTHER, True, False), (SIDE, True, False)])
    assert shares == {"auto": (1, 1, 0), "largest": (0, 0, 0.5), "centre-most": (0, 0, 0.5)}


def test_who_is_not_found_or_coasts_is_not_kept():
    """A subject without a track costs recall; a track that is not seen in the frame keeps nobody."""
    assert np.isnan(counted([(OTHER, True, False)])["auto"][0])
    assert counted([(SUBJECT, False, True)])["auto"][1] == 0


def test_faces_without_a_clear_role_do_not_count():
    """Where both answers are right, neither keeping nor covering changes a number."""
    assert all(np.isnan(v) for v in counted([(SUBJECT, True, True)], [("either", SUBJECT)])["auto"])


def test_the_table_has_one_line_a_method():
    """Numbers of nothing are shown as a dash."""
    text = roles.render({"film": {"auto": Counter(), "largest": Counter({"subject": 2, "subject kept": 1})}})
    assert "-" in text.splitlines()[1]
    assert "50.00 %" in text.splitlines()[2]
    assert len(text.splitlines()) == 3


def measured(two, film=None):
    """Figures as a child process of the bench gives them, merged."""
    row = {"p50": two, "p95": two + 1, "two": two, "first_s": 0.5, "mib": 200, "px": 0.1, "ap": {"news": 0.9}}
    return row if film is None else {**row, "film": film}


FAST = accelerators.Runtime("openvino", "bf16")


def test_the_tables_of_runtimes_have_figures_and_both_ratios():
    """A runtime twice as fast as plain fp32 and six times as fast as PyTorch is told so; so is what AP it loses."""
    rows = {accelerators.PLAIN: measured(10.0, film=20.0), FAST: measured(5.0, film=30.0),
            accelerators.EAGER: measured(30.0, film=5.0)}  # fmt: skip
    rows[FAST]["ap"] = {"news": 0.896}
    lines = table.markdown({("m.onnx", 640, r): row for r, row in rows.items()}, accelerators.PLAIN, accelerators.EAGER)
    figures, ratios = (cells(part) for part in (lines[: lines.index("")], lines[lines.index("") + 1 :]))
    fast = figures["openvino bf16"]
    assert (fast["model"], fast["imgsz"], fast["p95"], fast["film fps"], fast["MiB"]) == (
        "m",
        "640",
        "6.0",
        "30.0",
        "200",
    )
    assert fast["AP news"] == "0.8960 (-0.0040)"
    assert figures["cpu fp32"]["AP news"] == "0.9000"
    fast = ratios["openvino bf16"]
    assert (fast["two at a time / fp32"], fast["two at a time / PyTorch"]) == ("2.00", "6.00")
    assert (fast["film / fp32"], fast["film / PyTorch"], fast["memory / fp32"]) == ("1.50", "6.00", "1.00")
    assert ratios["eager PyTorch"]["film / fp32"] == "0.25"


def cells(lines):
    """Runtime -> heading -> cell of a Markdown table."""
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in split}) == 1
    return {line[2]: dict(zip(split[0], line, strict=True)) for line in split[2:]}


def test_what_was_not_measured_is_left_empty():
    """Without a film, PyTorch or an evaluation set there is no figure and no ratio, and none is made up."""
    lines = table.markdown({("m", 640, FAST): {"p50": 5.0}}, accelerators.PLAIN, accelerators.EAGER)
    assert lines[2] == "| m | 640 | openvino bf16 | 5.0 |  |  |  |  |  |  |  |"
    assert set(lines[-1].replace("| m | 640 | openvino bf16", "")) == set("| ")


@pytest.mark.parametrize("before", ["# Runtimes\n", "# Runtimes\n\n### this\n\nold\n\n### other\n\nkept\n\n## Next\n"])
def test_each_machine_has_one_section_in_the_document(before, tmp_path):
    """The machine's own section is replaced, or put at the end; others stay."""
    path = tmp_path / "d.md"
    path.write_text(before)
    table.put_into(path, ["### this", "", "new", ""])
    text = path.read_text()
    assert text.count("### this") == text.count("new") == 1
    assert "old" not in text
    assert [line for line in before.splitlines() if line and line not in text.splitlines()] in ([], ["old"])
    table.put_into(path, ["### this", "", "new", ""])
    assert path.read_text() == text


def test_a_runtime_that_fails_is_left_out_of_the_table(monkeypatch, capsys):
    """The others are measured all the same, and stderr tells which one was left out and why."""

    def child(_a, _model, _imgsz, runtime):
        if runtime == FAST:
            raise RuntimeError("driver gone")
        return {"p50": 10.0, "two": 10.0}

    monkeypatch.setattr(accelerators, "runtimes_of", lambda _m: [accelerators.PLAIN, FAST])
    monkeypatch.setattr(accelerators, "child", child)
    monkeypatch.setattr(accelerators, "difference", lambda *_: {"px": 0.0, "size": 0.0})
    a = SimpleNamespace(imgsz=[640], only="", rounds=2, film=None, ap=None)
    assert list(accelerators.measure(a, ["n"])) == [("n", 640, accelerators.PLAIN)]
    assert "driver gone" in capsys.readouterr().err


@pytest.mark.parametrize(("two", "found"), [(5.0, 0), (11.0, 0), (12.0, 1)])
def test_auto_slower_than_plain_by_more_than_noise_is_found(two, found, monkeypatch):
    """A choice that this run finds a fifth slower than plain fp32 fails the bench; a tenth is noise."""
    monkeypatch.setattr(accelerators, "choose", lambda *_: (FAST, []))
    rows = {("n", 640, accelerators.PLAIN): measured(10.0), ("n", 640, FAST): measured(two)}
    assert len(accelerators.slower(rows)) == found
    assert not accelerators.slower(rows, lambda key: 9.0 if key[2] == FAST else 10.0)  # it was a disturbance


class Square:
    """A "detector" that finds a white square, whole or cut, as the box of its white pixels."""

    def __call__(self, frame):
        rows, columns = np.nonzero(frame.y > 200)
        if not len(rows):
            return Detections.none()
        box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
        return Detections(np.array(box, np.float32), np.array([0.9], np.float32), np.zeros(1, np.float32))


@pytest.mark.parametrize("corner", [(4, 4), (28, 20), (50, 36), (28, 4), (4, 40)])
def test_tiles_lose_no_face_and_double_none(corner):
    """A square anywhere, cut by a tile's edge or in several tiles, is found once, where it is."""
    frame = noise_frame(72, 56)
    frame.y[...] = 0
    x, y = corner
    frame.y[y : y + 8, x : x + 12] = 255
    tiled = sizes.Tiled(None)
    tiled.detector = Square()
    assert tiled(frame).xyxy.tolist() == [[x, y, x + 12, y + 8]]


def track(*xyxy):
    return Track(1, xyxy, 0.9, 0.0, 1.0, 0.0, 0.0, steady=True)


def test_looking_around_faces_sees_their_surroundings_and_no_more():
    """Faces far apart give a place each, those that meet share one; the places are even and inside the frame."""
    frame = noise_frame(200, 100)
    assert around.surroundings([], frame) == []
    places = around.surroundings([track(10, 10, 20, 22), track(150, 60, 160, 72)], frame)
    assert sorted(places) == [[0, 0, 30, 34], [140, 48, 170, 84]]
    together = around.surroundings([track(10, 10, 20, 20), track(25, 10, 35, 20), track(45, 10, 55, 20)], frame)
    assert together == [[0, 0, 66, 30]]


def test_a_full_look_comes_in_time(monkeypatch):
    """Every third frame, and every frame while nobody is known."""
    known = []
    look = around.Around(None, 3, lambda: known)
    monkeypatch.setattr(around.Around, "look", lambda *_: Detections.none())
    full = []
    look.full = lambda frame: full.append(frame.index) or Detections.none()
    for index in range(10):
        known[:] = [track(10, 10, 20, 20)] if index >= 3 else []
        look(noise_frame(200, 100, index))
    assert full == [0, 1, 2, 5, 8]
