"""Chooses the fastest runtime by measuring it: once a machine, model and size of picture, kept in a cache.

Every candidate is probed in a process of its own. One whose predictions differ from plain fp32, that crashes or takes
too long, is never chosen. The cache is a by-product: anything odd in it is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from bystander.errors import ModelError
from bystander.models import Weights, int8_beside
from bystander.models.folders import cache_folder
from bystander.models.runtimes import PLAIN, Runtime, file_for
from bystander.models.tensorrt import gpu, has_engine
from bystander.types import F32

log = logging.getLogger("bystander")

TIMEOUT_S = 30.0  # for one candidate; engines that take longer are built ahead
GAIN = 0.9  # of the plain runtime's time: less is not worth another library
CANDIDATE = 0.1  # score from which a row may become a face
BOX_TOLERANCE, SCORE_TOLERANCE = 0.05, 0.10  # of the box's longer side; of 1
INCOMPARABLE = "its predictions cannot be compared with plain fp32"
MOST = 0.95  # of the candidate rows must keep to these
FORMAT = 3
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "openvino", "tensorrt")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a probe of one runtime gave."""

    device: str
    precision: str
    ms: float  # a picture, two calls side by side; 0 where it failed
    first_s: float  # from nothing to the first result
    difference: float  # of the boxes of faces to plain fp32, in box sizes
    fault: str  # empty where it may be chosen

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.device, self.precision)


def measured(weights: Weights, runtimes: Sequence[Runtime], size: tuple[int, int], *, anew: bool) -> list[Measured]:
    """A row for each runtime, plain fp32 first, from the cache where it fits. ``size``: height, width in px."""
    todo = [PLAIN, *(r for r in runtimes if r != PLAIN)]
    versions = versions_here(weights)
    key = cache_key(size, [*versions, *(f"engine of {r}" for r in todo if is_built(weights, r, size))])
    try:
        path = cache_folder() / "runtimes.json"
    except ModelError as e:
        log.warning("%s; measuring each time", e)
        return probe_all(weights, todo, size)
    rows = None if anew else recall(path, key, todo)
    if rows is None:
        rows = probe_all(weights, todo, size)
        if not rows[0].fault:  # without plain fp32 to compare with, nothing was learnt that is worth keeping
            remember(path, key, versions, rows)
    return rows


def best_of(rows: Sequence[Measured], fits: Sequence[Runtime]) -> Runtime:
    """The fastest of ``fits`` without a fault; plain fp32 where nothing is left or nothing is clearly faster."""
    plain = rows[0]
    good = [r for r in rows if not r.fault and r.runtime in fits]
    best = min(good, key=lambda r: r.ms, default=plain)
    return plain.runtime if PLAIN in fits and best.ms > GAIN * plain.ms else best.runtime


def is_built(weights: Weights, runtime: Runtime, size: tuple[int, int]) -> bool:
    """Whether it is TensorRT with an engine that waits: loading one takes a moment, building it takes minutes."""
    return runtime.device == "tensorrt" and has_engine(file_for(weights, runtime), runtime.precision, max(size))


def probe_all(weights: Weights, runtimes: Sequence[Runtime], size: tuple[int, int]) -> list[Measured]:
    """Measure them, the first being plain fp32, which the others are compared with."""
    if sys.stderr.isatty():  # somebody waits
        log.warning("measuring once which of %d runtimes is the fastest here for %d px", len(runtimes), max(size))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / weights.path.name
        model.write_bytes(weights.data)
        if weights.int8:
            int8_beside(model).write_bytes(weights.int8.data)
        first, reference = probe_one(model, runtimes[0], size)
        rows = [judged(first, reference, reference)]
        for runtime in runtimes[1:]:
            if first.fault:  # the machine is too busy to measure anything; the others would only take as long
                rows.append(failed(runtime, "not measured: cpu fp32 failed"))
            elif runtime.device == "tensorrt" and not is_built(weights, runtime, size):
                rows.append(failed(runtime, "has no engine for this size yet; bystander engine build makes it"))
            else:
                row, predictions = probe_one(model, runtime, size)
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
        fault = f"not ready within {TIMEOUT_S:.0f} s; --recalibrate tries again"
    except subprocess.CalledProcessError as e:
        last = (e.stderr.strip().splitlines() or ["no message"])[-1]
        fault = f"failed ({last.rpartition('Error: ')[2][:160]})"
    except (OSError, ValueError, KeyError, IndexError) as e:
        fault = f"gave no figures ({type(e).__name__})"
    return failed(runtime, fault), None


def failed(runtime: Runtime, fault: str) -> Measured:
    return Measured(runtime.device, runtime.precision, 0.0, 0.0, 0.0, fault)


def judged(row: Measured, predictions: F32 | None, reference: F32 | None) -> Measured:
    """The row with its difference to the reference, and a fault where that is too large."""
    if row.fault or predictions is None:
        return row
    if reference is None or not comparable(predictions, reference):
        return replace(row, fault=INCOMPARABLE)
    box, _ = differences(predictions, reference)
    return replace(row, difference=round(box, 5), fault=fault_of(predictions, reference))


def fault_of(predictions: F32, reference: F32) -> str:
    """In what they differ too much from the reference; empty where they agree."""
    if not comparable(predictions, reference):
        return INCOMPARABLE
    box, score = differences(predictions, reference)
    agrees = box <= BOX_TOLERANCE and score <= SCORE_TOLERANCE
    return "" if agrees else f"its boxes differ by {box:.0%} of their size, its scores by {score:.2f}"


def comparable(predictions: F32, reference: F32) -> bool:
    return predictions.shape == reference.shape and bool(np.isfinite(predictions).all())


def differences(got: F32, want: F32) -> tuple[float, float]:
    """How far most boxes, in sizes of theirs, and most scores are apart, over the rows that either takes for a face.

    Over all rows where neither finds one (in a picture of drawn faces that is another kind of model).
    """
    faces = np.maximum(got[..., 4], want[..., 4]) >= CANDIDATE
    rows = faces if faces.any() else np.ones_like(faces)
    a, b = got[rows], want[rows]
    side = np.maximum(b[:, 2:4].max(axis=1, keepdims=True), 1.0)
    box = np.abs(a[:, :4] - b[:, :4]).max(axis=1, keepdims=True) / side
    return float(np.quantile(box, MOST)), float(np.quantile(np.abs(a[:, 4:] - b[:, 4:]).max(axis=1), MOST))


def versions_here(weights: Weights) -> list[str]:
    """Everything but the task that may change the answer: programs, machine, models."""
    packages = [f"{name} {v}" for name in ("bystander", *PACKAGES) if (v := installed(name))]
    files = [weights, *([weights.int8] if weights.int8 else [])]
    models = [f"{f.path.name} {hashlib.sha256(f.data).hexdigest()}" for f in files]
    machine = hashlib.sha256(processor().encode()).hexdigest()[:12]
    return [*packages, f"{os.cpu_count()} processors {machine}", f"gpu {' '.join(gpu())}", *models]


def cache_key(size: tuple[int, int], versions: Sequence[str]) -> str:
    parts = [str(FORMAT), str(size), *versions]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def processor() -> str:
    """The processor's name and abilities, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "Model"))}))


def installed(name: str) -> str:
    """The package's version; empty where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def recall(path: Path, key: str, runtimes: Sequence[Runtime]) -> list[Measured] | None:
    """The rows kept for ``runtimes`` under ``key``; None when one is missing or anything about them is odd."""
    try:
        kept = [Measured(**row) for row in json.loads(path.read_text(encoding="utf-8"))[key]["rows"]]
        rows = {row.runtime: row for row in kept}
        return [rows[r] for r in runtimes] if all(map(sound, kept)) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def sound(row: Measured) -> bool:
    """Whether a kept row is one that ``judged`` could have written."""
    if not isinstance(row.fault, str) or not all(math.isfinite(v) for v in (row.ms, row.first_s, row.difference)):
        return False
    return bool(row.fault) or (row.ms > 0 and 0 <= row.difference <= BOX_TOLERANCE)


def remember(path: Path, key: str, versions: Sequence[str], rows: Sequence[Measured]) -> None:
    """Keep the rows, atomically; a cache that cannot be written is done without."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        old = {}
    table = old if isinstance(old, dict) else {}
    entry = {"versions": list(versions), "rows": [asdict(r) for r in rows]}
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps({**table, key: entry}, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
