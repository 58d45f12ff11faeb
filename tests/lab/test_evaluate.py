import json

import cv2
import numpy as np
import pytest

from bystander.stages.letterbox import letterbox
from bystander.types import Detections
from bystander_lab import cli, eval_cli, evaluate
from bystander_lab.evaluate import (
    OTHERS,
    largest_difference,
    load_subset,
    render,
    run,
    set_of,
    still_frame,
    subset_ap,
    with_min_height,
)
from bystander_lab.widerface import DataError, load_widerface

FACES = {"clip007": [(10, 20, 30, 40)], "wider": [(100, 50, 8, 9), (200, 60, 50, 60)]}  # x y w h, 400x200 pictures


def write_data(root):
    """A validation split of one 400x200 picture an event."""
    lines = []
    for event, faces in FACES.items():
        folder = root / "WIDER_val" / "images" / event
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.jpg"), np.full((200, 400, 3), 90, np.uint8))
        lines += [f"{event}/a.jpg", str(len(faces)), *(" ".join(map(str, (*f, 0, 0, 0, 0, 0, 0))) for f in faces)]
    (root / "wider_face_split").mkdir()
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path)


def cells(items):
    """A column of MATLAB cells."""
    out = np.empty((len(items), 1), object)
    out[:, 0] = items
    return out


def write_subset(root, name, rows):
    """The official pair of files; ``rows``: event -> numbers of the faces that count, from 1."""
    io = pytest.importorskip("scipy.io", reason="the official subset files are MATLAB's; scipy is not installed")
    truth = {
        "event_list": cells(list(FACES)),
        "file_list": cells([cells(["a"]) for _ in FACES]),
        "face_bbx_list": cells([cells([np.array(f, float)]) for f in FACES.values()]),
    }
    subset = {"gt_list": cells([cells([np.array(rows[e], float).reshape(-1, 1)]) for e in FACES])}
    io.savemat(root / "wider_face_split" / "wider_face_val.mat", truth)
    io.savemat(root / "wider_face_split" / f"wider_{name}_val.mat", subset)


def find_only(*xyxy):
    """A detector that reports the same boxes in every picture."""
    boxes = np.array(xyxy, np.float32)
    return lambda _: Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.float32))


@pytest.mark.parametrize(("event", "name"), [("clip012", "clip"), ("wider", "wider"), ("2020", "2020")])
def test_sets_are_events_without_their_number(event, name):
    """Numbered clips are one set; a name that is only a number stays."""
    assert set_of(event) == name


def test_results_are_in_pixels_at_long_side_640_and_in_order(data):
    """Boxes found and true are both scaled from the file's pixels, image by image as they were listed."""
    results = run(load_widerface(data, "val"), find_only((10, 20, 40, 60)))
    assert [name for name, _ in results] == ["clip", "wider"]
    assert np.allclose(results[0][1].true, np.array([[10, 20, 40, 60]]) * 1.6)
    assert np.allclose(results[0][1].found, results[0][1].true)


def test_height_classes_count_at_long_side_640(data):
    """A face 9 px high in a 400 px picture is 14.4 px high at 640: it counts from 10 px on, not from 16."""
    result = run(load_widerface(data, "val"), find_only((0, 0, 1, 1)))[1][1]
    assert with_min_height(result, 10).ignore.tolist() == [False, False]
    assert with_min_height(result, 16).ignore.tolist() == [True, False]


def test_the_table_has_each_set_and_all(data):
    """AP per set and over everything, by hand: 1 of 1, 0 of 2, and 1 of 3 with one false alarm in between."""
    rows = evaluate.evaluate(data, find_only((10, 20, 40, 60)))
    assert rows["clip"][0] == pytest.approx(1)
    assert rows["wider"][0] == 0
    assert rows["all"][0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("size", [(60, 80), (61, 81)])
def test_a_still_keeps_its_colours_on_the_way_through_the_planes(size):
    """An RGB picture reaches the detector with its colours, at odd sizes too: channels are neither swapped nor lost."""
    rgb = np.full((*size, 3), (200, 60, 30), np.uint8)
    images, _ = letterbox(still_frame(rgb), 80, 32)
    middle = images[0, :, images.shape[2] // 2, images.shape[3] // 2] * 255
    assert np.abs(middle - (200, 60, 30)).max() < 4


def test_subset_counts_only_its_faces(data):
    """With the official files, faces outside the subset are ignored: finding the one inside is AP 1."""
    write_subset(data, "easy", {"clip007": [], "wider": [2]})
    rows = evaluate.evaluate(data, find_only((200, 60, 250, 120)))
    assert rows["wider"][0] == pytest.approx(1 / 2)
    samples = load_widerface(data, "val")
    found = run(samples[1:], find_only((200, 60, 250, 120), (100, 50, 108, 59)))
    assert subset_ap(samples[1:], found, load_subset(data, "easy")) == pytest.approx(1)
    assert rows["easy"] == (pytest.approx(1 / 2),)  # the same box is a false alarm of equal score in the other picture


def test_without_the_official_files_there_is_no_subset(data):
    """Data in the layout alone gives no Easy, Medium or Hard."""
    assert load_subset(data, "easy") is None
    assert "easy" not in evaluate.evaluate(data, find_only((0, 0, 1, 1)))


def test_subset_of_other_images_is_told(data):
    """Official files beside other pictures stop the evaluation instead of ignoring every face."""
    write_subset(data, "hard", {"clip007": [1], "wider": [1]})
    counted = load_subset(data, "hard")
    del counted["wider", "a"]
    samples = load_widerface(data, "val")
    with pytest.raises(DataError, match="not in the official subset"):
        subset_ap(samples, run(samples, find_only((0, 0, 1, 1))), counted)


def test_broken_subset_file_is_told(data):
    """A subset file that is not MATLAB's is one clear error."""
    pytest.importorskip("scipy.io", reason="the official subset files are MATLAB's; scipy is not installed")
    for name in ("face", "easy"):
        (data / "wider_face_split" / f"wider_{name}_val.mat").write_bytes(b"x" * 200)
    with pytest.raises(DataError, match="not the official subset file"):
        load_subset(data, "easy")


def test_difference_of_tables_sees_the_worst_number():
    """The largest gap counts; sets without a face on both sides do not; a number on one side only is no agreement."""
    nan = float("nan")
    assert largest_difference({"a": (0.5, nan), "b": (0.9,)}, {"a": (0.4, nan), "b": (0.9,)}) == pytest.approx(0.1)
    assert largest_difference({"a": (nan,)}, {"a": (0.5,)}) == np.inf


def test_other_detectors_stand_beside_ours():
    """Each known set lists every other detector under ours."""
    text = render({"mine": {"news": (0.5,) * 4, "all": (0.5,) * 4}})
    assert all(text.count(f"  {who} ") == 1 for who in OTHERS)


def test_disagreement_is_an_error_after_the_numbers(data, tmp_path, monkeypatch, capsys):
    """When the export is not what was trained, the numbers are shown and written, and the exit code is 2."""

    class Fixed:
        names, stride = ("face",), 32

        def __init__(self, name, score):
            self.id, self.score = name, score

        def __call__(self, images):
            # the face of the clip in detector px: 400x200 enlarged 1.6 times fills 640x320 without padding
            return np.array([[[40, 64, 48, 64, self.score, 1]]], np.float32)

    monkeypatch.setattr(eval_cli, "models_of", lambda _: [Fixed("torch", 0.9), Fixed("exported", 0.001)])
    out = tmp_path / "ap.json"
    assert cli.main(["eval", "--data", str(data), "--json", str(out)]) == 2
    said = capsys.readouterr()
    assert "exported" in said.out
    assert said.err.count("\n") == 1
    report = json.loads(out.read_text())
    assert report["ap"]["torch"]["clip"][0] == pytest.approx(1)
    assert report["largest_difference"] == pytest.approx(1)
