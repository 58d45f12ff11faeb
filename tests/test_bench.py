import importlib.util
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from bystander.audit.structure import exposed, high_pass
from bystander.types import Detections
from fakes import noise_frame


def bench(name):
    """A measurement as a module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).parents[1] / f"bench/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


roles, accelerators, sizes = bench("roles"), bench("accelerators"), bench("sizes")

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


def test_the_table_of_runtimes_has_both_ratios(capsys):
    """A runtime twice as fast as plain fp32 and six times as fast as eager PyTorch is told so, as a Markdown row."""
    fast = accelerators.Runtime("openvino", "bf16")
    rows = {accelerators.PLAIN: measured(10.0), fast: measured(5.0, film=30.0), accelerators.EAGER: measured(30.0)}
    accelerators.show({("m.onnx", 640, r): row for r, row in rows.items()})
    lines = capsys.readouterr().out.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    cells = [cell.strip() for cell in lines[3].split("|")]
    assert cells[1:4] == ["m", "640", "openvino bf16"]
    assert cells[7:9] == ["2.00", "6.00"]
    assert "news 0.900" in lines[3]


@pytest.mark.parametrize(("two", "found"), [(5.0, 0), (11.0, 0), (12.0, 1)])
def test_auto_slower_than_plain_by_more_than_noise_is_found(two, found, monkeypatch):
    """A choice that this run finds a fifth slower than plain fp32 fails the bench; a tenth is noise."""
    fast = accelerators.Runtime("openvino", "bf16")
    monkeypatch.setattr(accelerators, "choose", lambda *_: (fast, []))
    rows = {accelerators.PLAIN: measured(10.0), fast: measured(two)}
    assert len(accelerators.slower({("n", 640, r): row for r, row in rows.items()})) == found


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
