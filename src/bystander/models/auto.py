"""Chooses the fastest runtime by measuring it: once a machine, model and size of picture, kept in a cache.

Every candidate is probed in a process of its own. One whose predictions differ from plain fp32, that crashes or takes
too long, is never chosen. The cache is a by-product: anything odd in it is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from bystander.models import Weights
from bystander.models.runtimes import PLAIN, Runtime, cache_folder
from bystander.types import F32

TIMEOUT_S = 30.0  # for one candidate; engines that take longer are built ahead
GAIN = 0.9  # of the plain runtime's time: less is not worth another library
BOX_TOLERANCE, SCORE_TOLERANCE = 0.05, 0.05  # of the box's longer side; of 1
NEARLY_ALL = 0.999  # of the boxes of all anchors: those of the least likely ones may wander
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What a probe of one runtime gave."""

    device: str
    precision: str
    ms: float  # a picture, two calls side by side; 0 where it failed
    first_s: float  # from nothing to the first result
    difference: float  # of nearly all boxes to plain fp32, in box sizes
    fault: str  # empty where it may be chosen

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.device, self.precision)


def measured(weights: Weights, runtimes: Sequence[Runtime], size: tuple[int, int], *, anew: bool) -> list[Measured]:
    """A row for each runtime, plain fp32 first, from the cache where it fits. ``size``: height, width in px."""
    todo = [PLAIN, *(r for r in runtimes if r != PLAIN)]
    path, key = cache_folder() / "runtimes.json", cache_key(weights, todo, size)
    rows = None if anew else recall(path, key, todo)
    if rows is None:
        rows = probe_all(weights, todo, size)
        remember(path, key, rows)
    return rows


def best_of(rows: Sequence[Measured], fits: Sequence[Runtime]) -> Runtime:
    """The fastest of ``fits`` without a fault; plain fp32 where nothing is left or nothing is clearly faster."""
    plain = rows[0]
    good = [r for r in rows if not r.fault and r.runtime in fits]
    best = min(good, key=lambda r: r.ms, default=plain)
    return plain.runtime if PLAIN in fits and best.ms > GAIN * plain.ms else best.runtime


def probe_all(weights: Weights, runtimes: Sequence[Runtime], size: tuple[int, int]) -> list[Measured]:
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / weights.path.name
        model.write_bytes(weights.data)
        reference: F32 | None = None
        for runtime in runtimes:
            row, predictions = probe_one(model, runtime, size)
            reference = predictions if reference is None else reference
            rows.append(judged(row, predictions, reference))
    return rows


def probe_one(model: Path, runtime: Runtime, size: tuple[int, int]) -> tuple[Measured, F32 | None]:
    """One child process. The predictions are None where it failed."""
    out = model.with_name(f"{runtime.device}-{runtime.precision}.npy")
    arguments = [model, runtime.device, runtime.precision, *size, out]
    command = [sys.executable, "-m", "bystander.models.probe", *map(str, arguments)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        figures = json.loads(child.stdout.splitlines()[-1])
        row = Measured(runtime.device, runtime.precision, float(figures["ms"]), float(figures["first_s"]), 0.0, "")
        return row, np.load(out, allow_pickle=False)
    except subprocess.TimeoutExpired:
        fault = f"not ready within {TIMEOUT_S:.0f} s; bystander engine build gets TensorRT ready"
    except subprocess.CalledProcessError as e:
        last = (e.stderr.strip().splitlines() or ["no message"])[-1]
        fault = f"failed ({last.rpartition('Error: ')[2][:160]})"
    except (OSError, ValueError, KeyError, IndexError) as e:
        fault = f"gave no figures ({type(e).__name__})"
    return Measured(runtime.device, runtime.precision, 0.0, 0.0, 0.0, fault), None


def asdict_runtime(runtime: Runtime) -> tuple[str, str]:
    return runtime.device, runtime.precision


def judged(row: Measured, predictions: F32 | None, reference: F32 | None) -> Measured:
    """The row with its difference to the reference, and a fault where that is too large."""
    if row.fault or predictions is None:
        return row
    values = asdict(row)
    if reference is None or predictions.shape != reference.shape or not np.isfinite(predictions).all():
        return Measured(**{**values, "fault": "its predictions cannot be compared with plain fp32"})
    side = np.maximum(reference[..., 2:4].max(axis=-1, keepdims=True), 1.0)
    box = float(np.quantile(np.abs(predictions[..., :4] - reference[..., :4]) / side, NEARLY_ALL))
    score = float(np.abs(predictions[..., 4:] - reference[..., 4:]).max())
    agrees = box <= BOX_TOLERANCE and score <= SCORE_TOLERANCE
    fault = "" if agrees else f"its boxes differ by {box:.0%} of their size, its scores by {score:.2f}"
    return Measured(**{**values, "difference": round(box, 5), "fault": fault})


def cache_key(weights: Weights, runtimes: Sequence[Runtime], size: tuple[int, int]) -> str:
    """Changes with everything that may change the answer: model, size, machine, versions."""
    parts = [
        str(FORMAT), hashlib.sha256(weights.data).hexdigest(), str(size), str(os.cpu_count()), processor(),
        *map(str, runtimes), *(f"{name} {installed(name)}" for name in ("onnxruntime", "onnxruntime-gpu", "openvino")),
    ]  # fmt: skip
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def processor() -> str:
    """The processor's name and abilities, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "Model"))}))


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def recall(path: Path, key: str, runtimes: Sequence[Runtime]) -> list[Measured] | None:
    """The rows kept under ``key``; None when there are none or anything about them is odd."""
    try:
        rows = [Measured(**row) for row in json.loads(path.read_text(encoding="utf-8"))[key]]
        fits = [r.runtime for r in rows] == list(runtimes) and all(r.ms > 0 or r.fault for r in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rows if fits else None


def remember(path: Path, key: str, rows: Sequence[Measured]) -> None:
    """Keep the rows, atomically; a cache that cannot be written is done without."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        old = {}
    table = old if isinstance(old, dict) else {}
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps({**table, key: [asdict(r) for r in rows]}, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
