import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import cv2
import numpy as np
import pytest
import torch

from bystander_lab.cli import main
from bystander_lab.data import DataSettings
from bystander_lab.model import load_checkpoint
from bystander_lab.train import TrainSettings, lr_at, train
from bystander_lab.widerface import DataError


@pytest.fixture
def root(tmp_path):
    """Three pictures with a bright square as the face."""
    folder = tmp_path / "data"
    (folder / "wider_face_split").mkdir(parents=True)
    (folder / "WIDER_train/images/a").mkdir(parents=True)
    lines = []
    for i in range(3):
        image = np.zeros((64, 64, 3), np.uint8)
        image[10 + 5 * i : 40 + 5 * i, 20:44] = 220
        cv2.imwrite(str(folder / f"WIDER_train/images/a/{i}.png"), image)
        lines += [f"a/{i}.png", "1", f"20 {10 + 5 * i} 24 30 0 0 0 0 0 0"]
    (folder / "wider_face_split/wider_face_train_bbx_gt.txt").write_text("\n".join(lines))
    return folder


def settings(root, **more):
    data = DataSettings((root,), imgsz=64, cache=root.parent / "cache")
    values = {"batch": 2, "steps": 4, "workers": 0, "warmup": 2, **more}
    return TrainSettings(data, root.parent / "run", **values)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_learning_rate_warms_up_and_falls():
    """The rate rises over the warm-up, peaks, and ends at two percent."""
    s = TrainSettings(DataSettings(()), run=None, lr=1.0, warmup=10)
    assert lr_at(0, 0, s) == pytest.approx(0.1)
    assert lr_at(50, 0.0, s) == pytest.approx(1.0)
    assert lr_at(50, 1.0, s) == pytest.approx(0.02)


def test_a_run_leaves_what_is_needed_to_go_on(root):
    """The run folder holds the configuration and a checkpoint that loads; resume goes on at its step."""
    last = train(settings(root))
    assert json.loads((last.parent / "config.json").read_text())["steps"] == 4
    assert load_checkpoint(last)[1]["step"] == 4
    train(settings(root, steps=6, resume=True))
    model, checkpoint = load_checkpoint(last)
    assert checkpoint["step"] == 6
    assert not model.training


def test_resume_refuses_another_model(root):
    """A checkpoint of n is not resumed as s."""
    train(settings(root, steps=1))
    with pytest.raises(DataError, match="YOLOv5n"):
        train(settings(root, size="s", resume=True))


def test_resume_from_a_broken_checkpoint_is_told(root):
    """What is no checkpoint is named and left as it is."""
    last = train(settings(root, steps=1))
    last.write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"last\.pt: not a checkpoint"):
        train(settings(root, resume=True))
    assert last.read_bytes() == b"half a file"


@pytest.mark.parametrize("weights", [["1", "2"], ["0"], ["-1"], ["nan"]])
def test_weights_of_folders_must_fit(root, weights, capsys):
    """One number above 0 for each folder, or one clear line."""
    assert main(["train", "--data", str(root), "--data-weight", *weights, "--run", str(root / "r")]) == 2
    assert "--data-weight: give one number above 0 for each of the 1" in capsys.readouterr().err
    assert not (root / "r").exists()


def test_a_loss_that_is_not_finite_stops_the_run(root, monkeypatch):
    """Training stops at once on a NaN instead of saving it."""
    nan = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr("bystander_lab.train.detection_loss", lambda *_: type("L", (), {"total": nan})())
    with pytest.raises(FloatingPointError, match="not finite"):
        train(settings(root))
    assert not (root.parent / "run/last.pt").exists()


def test_resume_after_a_kill(root, tmp_path):
    """A run killed without warning goes on from its last checkpoint."""
    code = textwrap.dedent(f"""
        from pathlib import Path
        from bystander_lab.data import DataSettings
        from bystander_lab.train import TrainSettings, train
        data = DataSettings((Path({str(root)!r}),), imgsz=64, cache=Path({str(root.parent / "cache")!r}))
        train(TrainSettings(data, Path({str(tmp_path / "run")!r}), batch=2, steps=10**6, workers=0, save_every_s=0.2))
    """)
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 90
    while not (tmp_path / "run/last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    step = load_checkpoint(tmp_path / "run/last.pt")[1]["step"]
    assert step > 0
    train(settings(root, steps=step + 1, resume=True))
    assert load_checkpoint(tmp_path / "run/last.pt")[1]["step"] == step + 1
