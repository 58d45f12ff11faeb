import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bystander.models import SHIPPED, WEIGHTS, open_model, read_weights
from bystander.models.drawing import picture
from bystander.models.onnx import checked
from bystander.models.runtimes import PLAIN, Runtime, open_runtime
from bystander_lab import quantize as q
from bystander_lab.cli import main
from bystander_lab.quantize import (
    CALIBRATIONS,
    Found,
    Quantizer,
    QuantizeSettings,
    change,
    drawn,
    nearer,
    nearest_ranges,
    quantize,
    search,
    verdict,
)
from bystander_lab.widerface import DataError

SOURCE = WEIGHTS / SHIPPED["n-face"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of drawn faces in the WIDER layout: 12 training and 4 evaluation images."""
    root = tmp_path_factory.mktemp("faces")
    (root / "wider_face_split").mkdir()
    for split, count in (("train", 12), ("val", 4)):
        lines = []
        for i in range(count):
            name = f"{'news' if i % 2 else 'clip01'}/{i}.png"
            path = root / f"WIDER_{split}" / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.roll(picture(192, 320)[0].transpose(1, 2, 0), 8 * i, axis=1)
            cv2.imwrite(str(path), (image[..., ::-1] * 255).astype(np.uint8))
            lines += [name, "1", f"{46 + 8 * i} 46 62 80 0 0 0 0 0 0"]
        (root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    return root


def settings(data, **how):
    return QuantizeSettings(data, calibration=4, trial=4, **how)


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """(fp32 file, int8 file beside it, what the search found)."""
    source = tmp_path_factory.mktemp("models") / "m.onnx"
    source.write_bytes(SOURCE.read_bytes())
    out = source.with_suffix(".int8.onnx")
    return source, out, quantize(source, out, settings(data, max_drop=1.0))


def test_the_int8_file_is_smaller_and_finds_the_same_faces(made):
    """A third of the bytes or less; boxes of drawn faces within 0.9 IoU's worth of plain fp32, by the row."""
    source, out, _ = made
    assert out.stat().st_size < source.stat().st_size / 2
    plain, int8 = (open_model(path)(picture(384, 640)) for path in (source, out))
    sure = plain[0, :, 4] > 0.5
    assert sure.any()
    assert np.abs(plain[0, sure, 4] - int8[0, sure, 4]).mean() < 0.1
    assert 0 < change(plain, int8) < 0.2


def test_the_runtime_takes_it_as_the_int8_of_these_weights(made):
    """It lies where it is looked for, and says which file it was made from."""
    source, out, _ = made
    weights = read_weights(source)
    assert weights.int8.data == out.read_bytes()
    rows = open_runtime(weights, Runtime("cpu", "int8"))(picture(96, 160))
    assert not np.array_equal(rows, open_runtime(weights, PLAIN)(picture(96, 160)))


def test_notes_and_log_are_written(made):
    """The source and the float blocks stand in the file, the trials in the log."""
    source, out, found = made
    meta = open_model(out).session.get_modelmeta().custom_metadata_map
    assert meta["quantized_from"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert json.loads(meta["float_blocks"]) == found.float_blocks == []
    assert out.with_suffix(".log").read_text().splitlines() == found.log
    assert any("AP >= 16 px falls by" in line for line in found.log)


@pytest.mark.parametrize("worth", [True, False])
def test_the_command_keeps_what_is_worth_it(worth, data, tmp_path, monkeypatch, capsys):
    """A good file gets its SHA-256 noted; another one is moved to where no runtime looks, with exit code 2."""
    monkeypatch.setattr(q, "times_of", lambda *_: {"cpu fp32": 10.0, "cpu int8": 5.0 if worth else 20.0})
    source, out = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    source.write_bytes(SOURCE.read_bytes())
    arguments = ["--data", str(data), "--images", "4", "--trial", "4", "--max-drop", "1"]
    monkeypatch.setattr(q, "MAX_DROP", 1.0)  # five drawn faces say nothing of accuracy, so that only the time decides
    assert main(["quantize", str(source), str(out), *arguments]) == (0 if worth else 2)
    assert "AP >= 16 px" in out.with_suffix(".log").read_text()
    assert (read_weights(source).int8 is not None) is worth
    if worth:
        assert checked(out)
    else:
        assert "not worth shipping" in capsys.readouterr().err
        assert sorted(p.suffix for p in tmp_path.iterdir()) == [".log", ".onnx", ".rejected"]


def test_the_last_block_stays_float_and_weights_are_per_channel(made):
    """No quantiser sits before a node of the head; the scale of a convolution's weights is a vector."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(made[1])).graph
    makers = {o: n for n in graph.node for o in n.output}
    vectors = {t.name: list(t.dims) for t in graph.initializer}
    heads = [n for n in graph.node if n.op_type == "Conv" and n.name.startswith("/model.24/")]
    others = [n for n in graph.node if n.op_type == "Conv" and not n.name.startswith("/model.24/")]
    assert len(heads) == 3
    assert all(n.input[1] in vectors for n in heads)  # float weights, straight from the file
    scales = [vectors[makers[n.input[1]].input[1]] for n in others]
    assert all(len(s) == 1 and s[0] > 1 for s in scales)


def test_calibration_and_trial_images_are_training_images_and_do_not_meet(data):
    """No evaluation image is read, all sets have their share, and no image gives both ranges and verdict."""
    calibration, trial = drawn(settings(data))
    paths = [[s.path for s in part] for part in (calibration, trial)]
    assert all("WIDER_train" in str(p) for part in paths for p in part)
    assert not set(paths[0]) & set(paths[1])
    assert {p.parent.name for p in paths[0]} == {"clip01", "news"}


def test_harmful_blocks_go_back_to_float_one_after_the_other(data, monkeypatch, tmp_path):
    """While the AP falls too far, the worst block not yet in float is the next; the log says so."""
    quantizer = Quantizer(SOURCE, settings(data), drawn(settings(data))[0], tmp_path)
    asked = []
    monkeypatch.setattr(quantizer, "make", lambda _name, blocks: asked.append(list(blocks)) or SOURCE)
    monkeypatch.setattr(q, "harm", lambda *_: ["/model.2/", "/model.0/", "/model.5/"])
    answers = iter([{"all": 0.9}, {"all": 0.8}, {"all": 0.85}, {"all": 0.899}])
    monkeypatch.setattr(q, "aps", lambda *_: next(answers))
    found = search(quantizer, [])[1]
    assert asked == [[], ["/model.2/"], ["/model.2/", "/model.0/"]]
    assert found.float_blocks == ["/model.2/", "/model.0/"]


@pytest.mark.parametrize("how", CALIBRATIONS)
def test_every_way_to_take_ranges_gives_a_file_of_its_own(how, data, made, tmp_path):
    """Each predicts nearly what fp32 does, and no other one what the mean over images does, which is the default."""
    quantizer = Quantizer(SOURCE, settings(data, calibrate=how), drawn(settings(data))[0], tmp_path)
    model = q.opened(quantizer.make("t.onnx", []))
    images = picture(96, 160)
    assert 0 < change(open_model(SOURCE)(images), model(images)) < 0.5
    same = np.array_equal(model(images), open_model(made[1])(images))
    assert same is (how == "mean")


class Numbers:
    """Stands in for ``Compared``: what each file changes, by what it was made of."""

    def __init__(self, quantizer, monkeypatch, changes):
        self.changes, self.asked = changes, []
        monkeypatch.setattr(quantizer, "make", lambda _name, blocks: " ".join([quantizer.calibrate, *blocks]))
        monkeypatch.setattr(q, "opened", lambda path: path)
        monkeypatch.setattr(q, "harm", lambda *_: ["/a/", "/b/", "/c/", "/d/"])

    def change(self, path):
        self.asked.append(str(path))
        return self.changes[str(path)]


def test_the_ranges_nearest_to_fp32_are_taken(data, monkeypatch, tmp_path):
    """Predictions on training images decide, and the log tells each figure."""
    quantizer, found = Quantizer(SOURCE, settings(data), [], tmp_path), Found()
    few = Numbers(quantizer, monkeypatch, {"mean": 0.3, "extremes": 0.4, "percentile": 0.2})
    assert nearest_ranges(quantizer, few, found) == "percentile"
    assert [line.rpartition(" ")[2] for line in found.log] == ["0.3000", "0.4000", "0.2000"]


def test_blocks_go_back_to_float_while_each_brings_a_tenth(data, monkeypatch, tmp_path):
    """The second block helps, the third no more: the file of two is kept, whatever is left."""
    quantizer, found = Quantizer(SOURCE, settings(data), [], tmp_path), Found(float_blocks=["/a/"])
    few = Numbers(quantizer, monkeypatch, {"start": 0.3, "mean /a/ /b/": 0.2, "mean /a/ /b/ /c/": 0.19})
    path = nearer(quantizer, few, found, Path("start"), ["/b/", "/c/", "/d/"])
    assert path == "mean /a/ /b/"
    assert found.float_blocks == ["/a/", "/b/"]
    assert few.asked == ["start", "mean /a/ /b/", "mean /a/ /b/ /c/"]


def test_the_thorough_search_does_both(data, monkeypatch, tmp_path):
    """Ranges first, then the AP, then further blocks; without it neither is tried."""
    for thorough, expected in ((True, "nearer"), (False, "trial")):
        quantizer = Quantizer(SOURCE, settings(data, thorough=thorough), [], tmp_path)
        monkeypatch.setattr(quantizer, "make", lambda *_: SOURCE)
        monkeypatch.setattr(q, "aps", lambda *_: {"all": 0.9})
        monkeypatch.setattr(q, "nearest_ranges", lambda *_: "extremes")
        monkeypatch.setattr(q, "nearer", lambda *_: Path("nearer"))
        path = search(quantizer, [])[0]
        assert (path == Path("nearer")) is (expected == "nearer")
        assert quantizer.calibrate == ("extremes" if thorough else "mean")


def test_a_network_that_int8_always_harms_is_given_up(data, monkeypatch, tmp_path):
    """After six blocks there is nothing left to gain: DataError."""
    quantizer = Quantizer(SOURCE, settings(data), [], tmp_path)
    monkeypatch.setattr(quantizer, "make", lambda *_: SOURCE)
    monkeypatch.setattr(q, "harm", lambda *_: [f"/model.{i}/" for i in range(9)])
    answers = iter([{"all": 0.9}] + [{"all": 0.1}] * 9)
    monkeypatch.setattr(q, "aps", lambda *_: next(answers))
    with pytest.raises(DataError, match=r"costs 0.8000 AP"):
        search(quantizer, [])


@pytest.mark.parametrize(
    ("after", "ms", "worth"),
    [(0.899, 5, True), (0.894, 5, False), (0.899, 9.5, False), (0.91, 5, True)],
    ids=["good", "AP lost", "not faster", "better"],
)
def test_int8_is_worth_it_when_faster_and_as_good(after, ms, worth, monkeypatch):
    """At most half a point of AP in every set, and a tenth faster than fp32 on some device."""
    monkeypatch.setattr(q, "times_of", lambda *_: {"cpu fp32": 10.0, "cpu int8": ms})
    tables = ({"news": (0.9,) * 4, "easy": (0.9,)}, {"news": (after,) * 4, "easy": (0.1,)})
    assert verdict(SOURCE, SOURCE, tables)[1] is worth


@pytest.mark.parametrize(
    ("name", "out", "says"),
    [
        ("gone.onnx", "o.onnx", "gone.onnx"),
        ("text.onnx", "o.onnx", "not an ONNX file"),
        ("m.onnx", "x/o.onnx", "make it first"),
        ("m.onnx", "m.onnx", "the fp32 file itself"),
    ],
)
def test_bad_input_is_one_line(name, out, says, data, tmp_path, capsys):
    """A missing model, a file of another kind, a missing folder."""
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "m.onnx").write_bytes(SOURCE.read_bytes())
    assert main(["quantize", str(tmp_path / name), str(tmp_path / out), "--data", str(data)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "o.onnx").exists()


def test_an_int8_file_is_not_quantised_again(made, data, tmp_path):
    """The file that came out is no file to put in."""
    with pytest.raises(DataError, match="is int8 already"):
        quantize(made[1], tmp_path / "twice.onnx", settings(data))
