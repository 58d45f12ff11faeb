import resource

import cv2
import numpy as np
import pytest
import torch

from bystander_lab.checkpoint import average, keep_newest, restate, save
from bystander_lab.cli import main
from bystander_lab.model import load_checkpoint, yolov5
from bystander_lab.roles import ROLES
from bystander_lab.widerface import DataError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def write(path, seed, size="n"):
    """A checkpoint of random weights."""
    torch.manual_seed(seed)
    model = yolov5(size)
    save(path, {"ema": model.state_dict(), "size": size, "names": ["face"], "imgsz": 64})
    return model.state_dict()


def pictures(many=3):
    return [torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(many)]


def test_the_average_lies_between(tmp_path):
    """Every weight is the mean of the two; what says which model it is stays."""
    a, b = (write(tmp_path / f"{i}.pt", i) for i in range(2))
    model, state = average([tmp_path / "0.pt", tmp_path / "1.pt"])
    for k, v in model.state_dict().items():
        if v.is_floating_point():
            assert torch.allclose(v, (a[k] + b[k]) / 2, atol=1e-6), k
    assert (state["size"], state["names"], state["imgsz"]) == ("n", ["face"], 64)


def test_checkpoints_of_two_models_are_not_averaged(tmp_path):
    """The odd one out is named."""
    write(tmp_path / "n.pt", 0)
    write(tmp_path / "p.pt", 0, "p")
    with pytest.raises(DataError, match=r"p\.pt: is a YOLOv5p .*not the model of .*n\.pt"):
        average([tmp_path / "n.pt", tmp_path / "p.pt"])


def test_statistics_are_those_of_the_pictures():
    """After re-estimation the first norm holds the mean of what its convolution gives on these pictures."""
    model = yolov5("n").eval()
    restate(model, pictures())
    first = model.model[0]
    with torch.no_grad():
        means = torch.stack([first.conv(x).mean((0, 2, 3)) for x in pictures()])
    assert torch.allclose(first.bn.running_mean, means.mean(0), atol=1e-5)
    assert first.bn.momentum == 0.03
    assert not model.training


def test_statistics_of_the_face_detector_in_a_role_model_stay():
    """Only what tells roles is measured anew: boxes and objectness are the same to the bit."""
    torch.manual_seed(0)
    model = yolov5("n", ROLES).eval()
    x = pictures(1)[0]
    with torch.no_grad():
        before = model(x)[..., :5].clone()
        restate(model, pictures())
        assert torch.equal(model(x)[..., :5], before)
    assert model.context.model[0].bn.running_mean.abs().max() > 0


def test_the_newest_are_kept(tmp_path):
    """Of many copies the last ones by step stay; none is kept when none is asked for."""
    last = tmp_path / "last.pt"
    last.write_bytes(b"x")
    keep_newest(last, 1, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    for step in (90, 100, 1000):
        keep_newest(last, step, 2)
    assert sorted(p.name for p in tmp_path.glob("step*")) == ["step-00000100.pt", "step-00001000.pt"]


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path):
    """A write that is cut off is one line, and neither harms the old file nor leaves a piece of the new one."""
    path = tmp_path / "last.pt"
    write(path, 0)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(DataError, match=r"last\.pt: cannot write the checkpoint") as told:
            save(path, {"ema": torch.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(told.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "wider_face_split").mkdir(parents=True)
    (folder / "WIDER_train/images/a").mkdir(parents=True)
    cv2.imwrite(str(folder / "WIDER_train/images/a/0.png"), np.full((64, 64, 3), 90, np.uint8))
    (folder / "wider_face_split/wider_face_train_bbx_gt.txt").write_text("a/0.png\n1\n20 20 24 30 0 0 0 0 0 0\n")
    return folder


def test_average_is_a_command(tmp_path, data, monkeypatch):
    """Checkpoints in, one out that opens, with the pictures' own statistics; it never writes over a file."""
    monkeypatch.setattr("bystander_lab.train_cli.STATISTICS", 1)
    old = write(tmp_path / "a.pt", 0)
    args = ["--data", str(data), "--cache", str(tmp_path / "cache")]
    assert main(["average", str(tmp_path / "a.pt"), str(tmp_path / "out.pt"), *args]) == 0
    new = load_checkpoint(tmp_path / "out.pt")[0].state_dict()
    assert torch.equal(new["model.0.conv.weight"], old["model.0.conv.weight"])
    assert not torch.equal(new["model.0.bn.running_mean"], old["model.0.bn.running_mean"])
    before = (tmp_path / "a.pt").read_bytes()
    assert main(["average", str(tmp_path / "out.pt"), str(tmp_path / "a.pt"), *args]) == 2
    assert (tmp_path / "a.pt").read_bytes() == before


def test_weights_alone_are_not_resumed(tmp_path, data, capsys):
    """An averaged file in the place of the last checkpoint is told, with what to do."""
    (tmp_path / "run").mkdir()
    write(tmp_path / "run/last.pt", 0)
    args = ["train", "--data", str(data), "--run", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    assert main([*args, "--resume"]) == 2
    assert "holds weights alone" in capsys.readouterr().err
    assert main(args) == 2
    assert "--resume goes on from it" in capsys.readouterr().err
