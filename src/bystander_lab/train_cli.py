"""``bystander-lab train`` and ``average``: read their arguments, refuse what does not fit before anything is begun."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bystander_lab.eval_cli import task_names

if TYPE_CHECKING:
    from bystander_lab.data import DataSettings

STATISTICS = 64  # batches of 16 pictures on which batch norms are taken anew
# argument -> least value, largest value
LIMITS = {
    "imgsz": (32, 4096), "epochs": (0, 1e6), "steps": (0, 1e9), "minutes": (0, 1e6), "batch": (1, 4096),
    "lr": (1e-9, 10), "ema": (0, 0.999999), "mosaic": (0, 1), "copy_paste": (0, 1), "nwd": (0, 64), "workers": (0, 256),
    "keep": (0, 1000), "teacher_weight": (0, 100), "cache_long": (64, 8192),
}  # fmt: skip


def add_train(sub: Any) -> None:
    t = sub.add_parser("train", help="train a detector on data in the WIDER FACE layout")
    add_data(t)
    t.add_argument("--run", type=Path, default=Path("runs/face"), help="run folder (default runs/face)")
    t.add_argument("--model", choices=("p", "n", "s"), default="n", help="p: half of n's channels, untried")
    t.add_argument("--imgsz", type=int, default=416)
    t.add_argument("--epochs", type=float, default=100, help="passes over the images, each a quarter of a mosaic")
    t.add_argument("--steps", type=int, default=0, help="end the schedule after this many batches instead")
    t.add_argument("--minutes", type=float, default=0, help="end the schedule after this much training instead")
    t.add_argument("--batch", type=int, default=32)
    t.add_argument("--lr", type=float, default=2e-3)
    t.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights (default 0.999)")
    t.add_argument("--workers", type=int, default=1)
    t.add_argument("--device", default="cpu")
    t.add_argument("--weights", type=Path, help="start from this checkpoint or exported ONNX file")
    t.add_argument("--face", type=Path, help="with --task roles: a newer face detector to go below those of --weights")
    t.add_argument("--keep", type=int, default=0, metavar="N", help="keep the N newest checkpoints, to be averaged")
    t.add_argument("--copy-paste", type=float, default=0, metavar="P", help="share of pictures with small faces copied")
    t.add_argument("--nwd", type=float, default=0, metavar="PX", help="Wasserstein distance for lower faces, not CIoU")
    t.add_argument("--teacher", type=Path, help="learn the answers of this face detector too (checkpoint or ONNX)")
    t.add_argument("--teacher-weight", type=float, default=1, metavar="W", help="of its loss (default 1)")
    t.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")


def add_average(sub: Any) -> None:
    v = sub.add_parser("average", help="the mean of several checkpoints, batch norms taken anew on training pictures")
    v.add_argument("checkpoints", type=Path, nargs="+", metavar="IN", help="as train --keep leaves them")
    v.add_argument("out", type=Path, metavar="OUT", help="a new file; export it, or start from it with train --weights")
    add_data(v)
    v.add_argument("--imgsz", type=int, default=0, help="default: that of the first checkpoint")


def add_data(p: argparse.ArgumentParser) -> None:
    """What ``data_settings`` reads."""
    p.add_argument("--task", choices=("face", "roles"), default="face", help="roles: tell subjects from others")
    p.add_argument("--roles", type=Path, nargs="+", default=(), metavar="JSONL", help="images with a role per face")
    p.add_argument("--data", type=Path, nargs="+", required=True, help="folders in the WIDER FACE layout, or of label")
    p.add_argument(
        "--data-weight", type=float, nargs="+", default=(), metavar="W", help="how often each folder is drawn"
    )
    p.add_argument("--mosaic", type=float, default=0.75, help="share of mosaics (default 0.75)")
    p.add_argument("--cache", type=Path, default=Path("~/.cache/bystander-lab"), help="folder for the shrunk images")
    p.add_argument("--cache-long", type=int, default=512, help="long side of the shrunk images (default 512)")


def data_settings(a: argparse.Namespace, imgsz: int) -> DataSettings:
    """DataError when an argument is out of its range or does not fit the others."""
    from bystander_lab.data import DataSettings
    from bystander_lab.widerface import DataError

    weights = tuple(a.data_weight)
    if weights and (len(weights) != len(a.data) or not all(0 < w < math.inf for w in weights)):
        raise DataError(f"--data-weight: give one number above 0 for each of the {len(a.data)} --data folders")
    for name, (least, most) in LIMITS.items():
        value = getattr(a, name, least)
        if not (least <= value <= most) and not (name == "imgsz" and value == 0):
            raise DataError(f"--{name.replace('_', '-')} {value}: must be {least:g} to {most:g}")
    if imgsz % 32 or not imgsz:
        raise DataError(f"--imgsz {imgsz}: must be a multiple of 32")
    return DataSettings(
        tuple(a.data), imgsz, a.cache, a.cache_long, a.mosaic, root_weights=weights, roles=tuple(a.roles),
        copy_paste=getattr(a, "copy_paste", 0.0),
    )  # fmt: skip


def check_device(name: str) -> None:
    """DataError when torch cannot compute there."""
    import torch

    from bystander_lab.widerface import DataError

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as e:
        raise DataError(f"--device {name}: {str(e).splitlines()[0]}") from e


def cmd_train(a: argparse.Namespace) -> None:
    from bystander_lab.data import training_samples
    from bystander_lab.train import TrainSettings, train
    from bystander_lab.widerface import DataError

    names = task_names(a)
    data = data_settings(a, a.imgsz)
    if a.roles and (a.teacher or a.copy_paste or a.nwd or a.mosaic != 0.75):
        raise DataError("--teacher, --copy-paste, --nwd and --mosaic are for --task face: roles are learnt beside it")
    if a.face and not (a.roles and a.weights):
        raise DataError("--face goes below the roles of --weights: it needs --task roles and --weights")
    check_device(a.device)
    steps = a.steps or max(1, round(a.epochs * len(training_samples(data)) / a.batch))
    print(train(TrainSettings(
        data, a.run, size=a.model, names=names, weights=a.weights, face=a.face, batch=a.batch, steps=steps,
        minutes=a.minutes, lr=a.lr, ema=a.ema, workers=a.workers, device=a.device, resume=a.resume, keep=a.keep,
        nwd_under_px=a.nwd, teacher=a.teacher, teacher_weight=a.teacher_weight,
    )))  # fmt: skip


def cmd_average(a: argparse.Namespace) -> None:
    from bystander_lab.checkpoint import average, restate, save
    from bystander_lab.data import some_pictures
    from bystander_lab.widerface import DataError

    names = task_names(a)
    if a.out.exists():
        raise DataError(f"{a.out}: is there already; the last name is that of the new file")
    if not a.out.absolute().parent.is_dir():
        raise DataError(f"{a.out}: its folder does not exist; make it first")
    model, state = average(a.checkpoints)
    if tuple(model.names) != names:
        raise DataError(f"{a.checkpoints[0]}: tells {', '.join(model.names)}; that does not go with --task {a.task}")
    data = data_settings(a, a.imgsz or state["imgsz"])
    restate(model, some_pictures(data, 16, 0, STATISTICS))
    save(a.out, {"ema": model.state_dict(), **state})
    print(a.out)
