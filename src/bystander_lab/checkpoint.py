"""Checkpoints of training: written whole or not at all, the newest kept, several averaged into one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bystander_lab.model import YOLOv5, open_checkpoint
from bystander_lab.widerface import DataError

STEPS = "step-*.pt"  # the checkpoints that ``keep_newest`` keeps beside last.pt


def save(path: Path, state: dict[str, Any]) -> None:
    """Atomic: a kill or a full disk leaves the previous checkpoint. DataError when it cannot be written."""
    part = path.with_suffix(".partial")
    try:
        with part.open("wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as e:
        why = e.strerror if isinstance(e, OSError) else "the disk is full or the file too large"
        raise DataError(f"{path}: cannot write the checkpoint ({why}); what was there before is whole") from e
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all. OSError when it cannot be written."""
    part = path.with_name(f"{path.name}.partial")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def keep_newest(last: Path, step: int, many: int) -> None:
    """Keep a copy of ``last`` under its step's number, and of those the ``many`` newest."""
    if not many:
        return
    part = last.with_name("copy.partial")
    try:
        shutil.copyfile(last, part)
        part.replace(last.with_name(f"step-{step:08d}.pt"))
    finally:
        part.unlink(missing_ok=True)
    for old in sorted(last.parent.glob(STEPS))[:-many]:
        old.unlink()


def average(paths: list[Path]) -> tuple[YOLOv5, dict[str, Any]]:
    """The mean of the averaged weights of several checkpoints of one model, and what a checkpoint says of it.

    Batch norms hold the mean of statistics that fit no longer: take them anew with ``restate`` (Izmailov et al. 2018,
    arXiv:1803.05407). DataError when a file is no checkpoint or one of another model.
    """
    model, first = open_checkpoint(paths[0])
    total = {k: v.double() if v.is_floating_point() else v for k, v in first["ema"].items()}
    for path in paths[1:]:
        other = open_checkpoint(path)[1]
        if (other["size"], other["names"]) != (first["size"], first["names"]):
            raise DataError(f"{path}: is a YOLOv5{other['size']} for {other['names']}, not the model of {paths[0]}")
        for k, v in other["ema"].items():
            if v.is_floating_point():
                total[k] += v.double()
    mean = {k: (v / len(paths)).to(first["ema"][k].dtype) if v.is_floating_point() else v for k, v in total.items()}
    model.load_state_dict(mean)
    return model, {"size": first["size"], "names": first["names"], "imgsz": first.get("imgsz", 416)}


@torch.no_grad()
def restate(model: YOLOv5, images: Iterable[Tensor]) -> None:
    """Take the running statistics of batch norms anew, as the mean over these batches (b, 3, h, w) RGB 0-1.

    Of a model with roles only those of the parts that learn: the face detector in it stays as it is, to the bit.
    """
    parts: list[nn.Module] = [model] if model.context is None else [model.context, model.model[-1].role]
    norms = [m for part in parts for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    momentum = norms[0].momentum
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
        norm.train()
    for x in images:
        model(x)
    for norm in norms:
        norm.momentum = momentum
    model.eval()
