import numpy as np
import pytest
import torch

from bystander.models import open_model
from bystander_lab.cli import main
from bystander_lab.evaluate import TorchModel, detector, run, table, with_min_height
from bystander_lab.export import export
from bystander_lab.model import yolov5
from bystander_lab.widerface import Sample


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained model with lively statistics, so that scores differ from row to row."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = yolov5("n").train()
    for _ in range(3):
        model(torch.rand(2, 3, 64, 64))
    for head in model.model[-1].m:
        head.weight.data *= 30
    path = tmp_path_factory.mktemp("run") / "last.pt"
    torch.save({"ema": model.state_dict(), "size": "n", "names": ["face"]}, path)
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


def test_torch_and_exported_model_find_the_same(checkpoint, onnx_file, tmp_path):
    """Through the shipped detector both give the same detections on a picture."""
    import cv2

    from bystander_lab.model import load_checkpoint

    picture = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    true = np.array([[10, 10, 40, 50]], np.float32)
    sample = Sample(tmp_path / "a.png", "clip012", true, np.array([False]), np.zeros((1, 6), int))
    results = [run([sample], detector(m)) for m in (TorchModel(load_checkpoint(checkpoint)[0]), open_model(onnx_file))]
    (name, a), (_, b) = results[0][0], results[1][0]
    assert name == "clip"
    assert len(a.score) == len(b.score) > 0
    assert np.allclose(np.sort(a.score), np.sort(b.score), atol=1e-4)
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
