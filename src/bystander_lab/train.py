"""Training: one straight-line loop, top to bottom. Face images in the WIDER layout in, a run folder out.

The run folder holds ``config.json``, ``log.jsonl`` (a line every two minutes), ``curves.png`` and ``last.pt`` (weights,
average, optimiser, schedule and random state: ``resume`` goes on from it after a kill at any moment).
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bystander_lab.checkpoint import keep_newest, restate, save, write_text
from bystander_lab.data import DataSettings, some_pictures, training_batches
from bystander_lab.distill import distillation_loss, open_teacher
from bystander_lab.loss import Losses, Targets, detection_loss
from bystander_lab.model import FACE, YOLOv5, open_checkpoint, yolov5
from bystander_lab.transfer import put_below, start_from
from bystander_lab.widerface import DataError

STATISTICS_BATCHES = 16
LONGEST_STEP_S = 60.0  # a program that was stopped meanwhile does not use up its schedule


@dataclass(frozen=True, slots=True)
class TrainSettings:
    data: DataSettings
    run: Path  # the run folder
    size: str = "n"
    names: tuple[str, ...] = FACE
    weights: Path | None = None  # start from this checkpoint's average, or from this ONNX file
    face: Path | None = None  # with roles: the checkpoint of a newer face detector than the one in ``weights``
    batch: int = 32
    steps: int = 10_000
    minutes: float = 0.0  # if > 0 the schedule ends after this much training time instead of after ``steps``
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 200  # steps
    ema: float = 0.9990
    workers: int = 1
    device: str = "cpu"
    save_every_s: float = 120.0
    resume: bool = False
    seed: int = 0
    statistics: int = 64  # batches on which the average's batch norms are taken anew at the end
    keep: int = 0  # how many of the newest checkpoints stay beside the last, to be averaged
    nwd_under_px: float = 0.0  # faces lower than this are judged by their Wasserstein distance instead of CIoU
    teacher: Path | None = None  # a face detector, checkpoint or ONNX, whose answers are learnt too
    teacher_weight: float = 1.0  # of its loss beside that of the labels


def lr_at(step: int, progress: float, s: TrainSettings) -> float:
    """Linear warm-up, then a cosine from ``lr`` to 2 % of it; progress 0-1 of the whole schedule."""
    cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return s.lr * cosine * min(1.0, (step + 1) / s.warmup)


def optimizer_for(model: nn.Module, s: TrainSettings) -> torch.optim.Optimizer:
    """AdamW; only convolution weights decay, as published."""
    learns = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in learns if p.ndim > 1]
    rest = [p for p in learns if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": s.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=s.lr, betas=(0.9, 0.99))


def set_training(model: YOLOv5) -> None:
    """Training mode. Where there are roles to learn, only what tells them learns; the face detector stays as it is.

    Learning everything at once, even slowly and with faces mixed in, cost 9 points of face AP within 200 steps.
    """
    model.train()
    if model.context is None:
        return
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    model.requires_grad_(False)
    for part in (model.context, model.model[-1].role):
        part.train()
        part.requires_grad_(True)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of all floating-point state; the decay ramps up so that early weights fade."""
    d = decay * (1 - math.exp(-step / 500))
    for a, m in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(m, 1 - d)
        else:
            a.copy_(m)


def plot_curves(run: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = read_log(run / "log.jsonl")
    figure, axes = plt.subplots(1, 4, figsize=(14, 3), layout="constrained")
    for ax, key in zip(axes, ("box", "obj", "cls", "lr"), strict=True):
        ax.plot([r["step"] for r in rows], [r[key] for r in rows])
        ax.set(title=key, xlabel="step")
    part = run / "curves.partial"
    try:
        figure.savefig(part, dpi=100, format="png")
        part.replace(run / "curves.png")
    finally:
        part.unlink(missing_ok=True)
        plt.close(figure)


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows; a line that a kill or a full disk cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def describe(s: TrainSettings) -> dict[str, Any]:
    config = asdict(s)
    return json.loads(json.dumps(config, default=str))


def state_to_resume(s: TrainSettings) -> dict[str, Any] | None:
    """The run folder's last checkpoint; None where there is none. DataError when it is not to be gone on from."""
    last = s.run / "last.pt"
    if not last.exists():
        return None
    if not s.resume:
        raise DataError(f"{last}: is there already; --resume goes on from it, another --run begins anew")
    state = open_checkpoint(last)[1]
    if state["size"] != s.size or tuple(state["names"]) != s.names:
        raise DataError(f"{last}: is a YOLOv5{state['size']} for {state['names']}, not what was asked for")
    if "optimizer" not in state:
        raise DataError(f"{last}: holds weights alone and cannot be resumed; start another --run with --weights {last}")
    return state


def train(s: TrainSettings) -> Path:
    """Run the schedule; returns the checkpoint's path. DataError for bad data, FloatingPointError for a bad loss."""
    device = torch.device(s.device)
    torch.manual_seed(s.seed)
    model = yolov5(s.size, s.names)
    step, elapsed, generation = 0, 0.0, 0
    last = s.run / "last.pt"
    state = state_to_resume(s)
    if state:
        model.load_state_dict(state["model"])
        step, elapsed, generation = state["step"], state["elapsed_s"], state["generation"] + 1
    elif s.weights:
        start_from(model, s.weights, lambda: some_pictures(s.data, s.batch, s.seed, STATISTICS_BATCHES))
        if s.face:
            put_below(model, s.face)
    elif len(s.names) > 1:
        raise DataError("roles are learnt on top of a face detector: name its checkpoint with --weights")
    teacher = open_teacher(s.teacher).to(device, memory_format=torch.channels_last) if s.teacher else None
    model = model.to(device, memory_format=torch.channels_last)
    average: YOLOv5 = copy.deepcopy(model).eval()
    set_training(model)
    optimizer = optimizer_for(model, s)
    scaler = torch.amp.GradScaler(enabled=device.type == "cuda")
    if state:
        average.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
    # a resumed run draws new pictures instead of repeating those of the run's start
    batches = training_batches(s.data, s.batch, s.workers, s.seed + 1000 * generation)
    s.run.mkdir(parents=True, exist_ok=True)  # not before the data have proved sound
    write_text(s.run / "config.json", json.dumps(describe(s), indent=1))

    def checkpoint() -> None:
        save(last, {
            "model": model.state_dict(), "ema": average.state_dict(), "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(), "rng": torch.get_rng_state(), "step": step, "elapsed_s": elapsed,
            "generation": generation, "size": s.size, "names": list(s.names), "imgsz": s.data.imgsz,
        })  # fmt: skip
        keep_newest(last, step, s.keep)

    half = torch.bfloat16 if device.type == "cpu" else torch.float16
    totals, since = torch.zeros(3), time.monotonic()
    logged = step
    tick = time.monotonic()
    for images, targets in batches:
        progress = elapsed / (s.minutes * 60) if s.minutes else step / s.steps
        if progress >= 1:
            break
        lr = lr_at(step, progress, s)
        for group in optimizer.param_groups:
            group["lr"] = lr
        x = images.to(device, non_blocking=True).float().div_(255)  # (b, 3, s, s), channels_last
        labels = Targets(targets.boxes.to(device), targets.ignore.to(device))
        with torch.autocast(device.type, half):
            heads = model(x)
            taught = teacher(x) if teacher else None
        losses: Losses = detection_loss(heads, labels, model.model[-1], s.nwd_under_px)
        total = losses.total
        if teacher and taught:
            total = total + s.teacher_weight * distillation_loss(heads, taught, model.model[-1], teacher.model[-1])
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"step {step}: the loss is not finite ({losses}); {last} holds the last good state"
            )
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(total / s.batch).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
        step += 1
        update_average(average, model, step, s.ema)
        totals += torch.stack((losses.box, losses.obj, losses.cls)).detach().float().cpu() / s.batch
        now = time.monotonic()
        elapsed, tick = elapsed + min(now - tick, LONGEST_STEP_S), now
        if now - since > s.save_every_s:
            log(s, step, elapsed, totals / (step - logged), lr, (step - logged) / (now - since))
            checkpoint()
            totals.zero_()
            logged, since = step, now
    checkpoint()
    restate(average, (x.to(device) for x in some_pictures(s.data, s.batch, s.seed, s.statistics)))
    checkpoint()
    if (s.run / "log.jsonl").exists():
        plot_curves(s.run)
    return last


def log(s: TrainSettings, step: int, elapsed: float, mean: torch.Tensor, lr: float, steps_per_s: float) -> None:
    box, obj, cls = mean.tolist()
    row = {"step": step, "minutes": elapsed / 60, "box": box, "obj": obj, "cls": cls, "lr": lr,
           "images_per_s": steps_per_s * s.batch}  # fmt: skip
    with (s.run / "log.jsonl").open("a") as f:
        f.write(json.dumps({k: round(v, 6) for k, v in row.items()}) + "\n")
    print(" ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
