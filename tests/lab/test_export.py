import json
import sys

import cv2
import numpy as np
import pytest
import torch

from bystander.models import open_model
from bystander.models.onnx import checked
from bystander_lab.cli import main
from bystander_lab.evaluate import TorchModel, detector, run, table, with_min_height
from bystander_lab.export import PARITY_SHAPES, export, fuse, parity
from bystander_lab.model import FACE_ANCHORS, load_checkpoint, yolov5
from bystander_lab.widerface import DataError, Sample


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained model whose rows differ widely (a 1 % change in one layer moves boxes by 100 px), yet where the
    rounding of float32 stays far below the parity limit: that takes batch statistics of its own and tame heads.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = yolov5("n").train()
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.momentum = None  # plain mean over the batches below
    for _ in range(3):
        model(torch.rand(2, 3, 128, 128))
    for head in model.model[-1].m:
        head.weight.data *= 0.03
        head.bias.data[4::6] += 3  # objectness: scores from 0 to 0.5
    path = tmp_path_factory.mktemp("run") / "last.pt"
    torch.save({"ema": model.state_dict(), "size": "n", "names": ["face"], "imgsz": 416}, path)
    return path


@pytest.fixture(scope="module")
def onnx_file(checkpoint):
    out = checkpoint.with_suffix(".onnx")
    export(checkpoint, out)
    return out


def test_the_exported_file_carries_what_the_runtime_needs(onnx_file):
    """Names and stride come back from the file; its SHA-256 is noted beside it."""
    model = open_model(onnx_file)
    assert (model.names, model.stride) == (("face",), 32)
    assert onnx_file.name in (onnx_file.parent / "SHA256SUMS").read_text()


def test_the_exported_file_says_how_it_was_trained(onnx_file):
    """Training size and anchors in px can be read from the metadata."""
    meta = open_model(onnx_file).session.get_modelmeta().custom_metadata_map
    assert meta["imgsz"] == "416"
    assert np.allclose(json.loads(meta["anchors"]), FACE_ANCHORS, atol=0.01)


def test_fusing_leaves_the_function_as_it_was(checkpoint):
    """Folding batch norms changes no prediction beyond rounding, and leaves no batch norm."""
    model = load_checkpoint(checkpoint)[0]
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(fuse(model)(images), model(images), rtol=1e-4, atol=1e-2)
    assert not [m for m in fuse(model).modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_one_file_serves_every_size_and_batch(checkpoint, onnx_file):
    """Shapes that were not traced, two pictures at once among them, agree with torch."""
    assert {b for b, _, _ in PARITY_SHAPES} == {1, 2}
    assert parity(load_checkpoint(checkpoint)[0], onnx_file) < 0.05


@pytest.mark.parametrize("spoil", [1.01, float("nan")])
def test_an_export_that_differs_is_refused(checkpoint, onnx_file, spoil):
    """A model one weight of which is not the checkpoint's own, or is no number, does not pass the parity check."""
    model = load_checkpoint(checkpoint)[0]
    model.model[0].conv.weight.data *= spoil
    with pytest.raises(DataError, match="differs from the checkpoint"):
        parity(model, onnx_file)


def test_exporting_again_keeps_other_sums(checkpoint, tmp_path):
    """Only the exported file's own line changes, and nothing but the two files is left."""
    (tmp_path / "SHA256SUMS").write_text("1  other.onnx\n2  a.onnx\n")
    export(checkpoint, tmp_path / "a.onnx")
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines[0] == "1  other.onnx"
    assert checked(tmp_path / "a.onnx")
    assert len(lines) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["SHA256SUMS", "a.onnx"]


def test_torch_and_exported_model_find_the_same(checkpoint, onnx_file, tmp_path):
    """Through the shipped detector both give the same detections on a picture."""
    picture = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    true = np.array([[10, 10, 40, 50]], np.float32)
    sample = Sample(tmp_path / "a.png", "clip012", true, np.array([False]), np.zeros((1, 6), int))
    results = [run([sample], detector(m)) for m in (TorchModel(load_checkpoint(checkpoint)[0]), open_model(onnx_file))]
    (name, a), (_, b) = results[0][0], results[1][0]
    assert name == "clip"
    assert len(a.score) == len(b.score) > 0
    assert np.ptp(a.score) > 0.05  # rows that are all alike would agree in any case
    assert np.allclose(np.sort(a.score), np.sort(b.score), atol=1e-4)
    apart = np.abs(a.found[:, None] - b.found[None]).max(2)  # px; near-equal scores may swap places
    assert apart.min(1).max() < 0.1
    assert apart.min(0).max() < 0.1
    assert set(table(results[0])) == {"clip", "all"}
    assert with_min_height(a, 1e6).ignore.all()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["export", "missing.pt", "x.onnx"], "missing.pt"),
        (["eval", "--data", "nowhere"], "WIDER FACE layout"),
        (["train", "--data", "nowhere"], "WIDER FACE layout"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args, says, capsys):
    """The lab's command line says what is wrong in one line."""
    assert main(args) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00."])
def test_a_file_that_is_no_checkpoint_is_told(content, tmp_path, capsys):
    """Empty, foreign and pickled files end in one line, before anything is written."""
    bad = tmp_path / "bad.pt"
    bad.write_bytes(content)
    assert main(["export", str(bad), str(tmp_path / "x.onnx")]) == 2
    err = capsys.readouterr().err
    assert "not a checkpoint" in err
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    """A pickle that would call a function when loaded is refused, and the function is not called."""

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"ema": Trap(), "size": "n", "names": ["face"]}, tmp_path / "trap.pt")
    assert main(["export", str(tmp_path / "trap.pt"), str(tmp_path / "x.onnx")]) == 2
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("library", ["torch", "onnx"])
def test_a_missing_library_is_told_with_its_cure(library, monkeypatch, capsys):
    """Without the lab extra, the command says what is missing and what to install."""
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["eval", "--data", "nowhere"]) == 2
    err = capsys.readouterr().err
    assert f"{library} is missing" in err
    assert "bystander[lab]" in err
