import json
import os
import random
import shutil
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
from bystander_lab.model import load_checkpoint, yolov5
from bystander_lab.train import TrainSettings, lr_at, read_log, train
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
    values = {"batch": 2, "steps": 4, "workers": 0, "warmup": 2, "statistics": 2, **more}
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


def test_the_schedule_goes_on_where_it_stopped(root, monkeypatch):
    """The first learning rate after resuming is that of the next step, at its place in the whole schedule."""
    train(settings(root, steps=4))
    asked = []
    monkeypatch.setattr("bystander_lab.train.lr_at", lambda step, progress, _: asked.append((step, progress)) or 1e-4)
    train(settings(root, steps=8, resume=True))
    assert asked[0] == (4, 0.5)
    assert asked[-1] == (7, 7 / 8)


def test_resume_after_a_kill_at_any_moment(root, tmp_path):
    """A run killed without warning goes on from its last checkpoint with the same weights, average, optimiser and
    random state.
    """
    code = textwrap.dedent(f"""
        from pathlib import Path
        from bystander_lab.data import DataSettings
        from bystander_lab.train import TrainSettings, train
        data = DataSettings((Path({str(root)!r}),), imgsz=64, cache=Path({str(root.parent / "cache")!r}))
        train(TrainSettings(data, Path({str(tmp_path / "run")!r}), batch=2, steps=10**6, workers=0, save_every_s=0.2))
    """)
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 300
    while not (tmp_path / "run/last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(random.random())  # in the middle of a step, of a checkpoint or of a line of the log
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = load_checkpoint(tmp_path / "run/last.pt")[1]
    assert before["step"] > 0
    train(settings(root, steps=before["step"], resume=True))  # nothing is left to learn
    after = load_checkpoint(tmp_path / "run/last.pt")[1]
    assert (after["step"], after["elapsed_s"]) == (before["step"], before["elapsed_s"])
    assert after["generation"] == before["generation"] + 1  # new pictures, not those of the start
    assert torch.equal(after["rng"], before["rng"])
    assert all(torch.equal(v, before["model"][k]) for k, v in after["model"].items())
    assert all(torch.equal(v, before["ema"][k]) for k, v in after["ema"].items() if ".bn." not in k)
    for i, moments in after["optimizer"]["state"].items():
        assert all(torch.equal(v, before["optimizer"]["state"][i][k]) for k, v in moments.items())
    assert not list((tmp_path / "run").glob("last.partial"))
    train(settings(root, steps=before["step"] + 1, resume=True))
    assert load_checkpoint(tmp_path / "run/last.pt")[1]["step"] == before["step"] + 1


def test_checkpoints_are_kept_to_be_averaged(root):
    """With ``keep`` the newest stay beside the last, each one whole."""
    last = train(settings(root, steps=3, save_every_s=0, keep=2))
    kept = sorted(last.parent.glob("step-*.pt"))
    assert [load_checkpoint(p)[1]["step"] for p in kept] == [2, 3]


def test_the_average_ends_with_statistics_of_its_own(root):
    """The batch norms of the average, not those of the model, are taken anew at the end."""
    _, state = load_checkpoint(train(settings(root)))
    assert state["ema"]["model.0.bn.num_batches_tracked"] == 2
    assert state["model"]["model.0.bn.num_batches_tracked"] == 4


def test_a_teacher_is_learnt_from(root):
    """With a teacher, its answers change what is learnt."""
    torch.manual_seed(5)
    torch.save({"ema": yolov5("n").state_dict(), "size": "n", "names": ["face"], "imgsz": 64}, root / "t.pt")
    plain = load_checkpoint(train(settings(root, steps=2)))[1]["model"]
    shutil.rmtree(root.parent / "run")
    taught = load_checkpoint(train(settings(root, steps=2, teacher=root / "t.pt", teacher_weight=10.0)))[1]["model"]
    assert not torch.equal(plain["model.24.m.0.weight"], taught["model.24.m.0.weight"])


def test_a_line_that_was_cut_off_does_not_end_the_curves(tmp_path):
    """What a kill left of a line is skipped."""
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"ste\n{"step": 2}\n')
    assert [r["step"] for r in read_log(tmp_path / "log.jsonl")] == [1, 2]


BAD = {
    "a number out of range": (["--batch", "0"], "--batch 0: must be 1 to 4096"),
    "a rate that is no number": (["--lr", "nan"], "--lr nan: must be"),
    "a size that does not fit": (["--imgsz", "100"], "--imgsz 100: must be a multiple of 32"),
    "a machine that is not there": (["--device", "nowhere"], "--device nowhere: "),
    "a folder that is a file": (["--data", __file__], "not found; --data must point at a folder"),
    "weights that are missing": (["--weights", "no/where.pt"], "no/where.pt: No such file"),
    "a teacher that is missing": (["--teacher", "no/where.onnx"], "no/where.onnx: No such file"),
}


@pytest.mark.parametrize(("args", "says"), BAD.values(), ids=BAD)
def test_bad_arguments_are_one_line(root, args, says, capsys):
    """Each is told before anything is begun: exit code 2, one line, no run folder."""
    run = ["train", "--data", str(root), "--run", str(root / "r"), "--cache", str(root / "c"), "--steps", "1"]
    assert main([*run, "--batch", "2", "--imgsz", "64", *args]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says in said
    assert not (root / "r").exists()
