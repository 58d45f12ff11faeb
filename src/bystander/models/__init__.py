"""Runtimes behind ``types.Model``. A name or a path in, a model out; each runtime is imported only when used."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bystander.errors import ModelError
from bystander.types import Model

if TYPE_CHECKING:
    from bystander.models.auto import Measured
    from bystander.models.runtimes import Runtime

log = logging.getLogger("bystander")
# Importing openvino tells Google Analytics so, from a forked process, unless this package of its is not to be had.
# Nothing may leave the machine, and a fork beside other threads can hang.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: importing it fails
WEIGHTS = Path(__file__).parent / "weights"
DEVICES = ("auto", "cpu", "openvino", "cuda", "tensorrt", "coreml", "directml")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
# "n-face" finds the same faces as "n" and tells no roles, which takes a fifth less time
SHIPPED = {"n": "yolov5n-roles.onnx", "n-face": "yolov5n-face.onnx"}


@dataclass(frozen=True, slots=True)
class Weights:
    """An ONNX file, read and, where it was shipped, checked."""

    path: Path
    data: bytes
    int8: Weights | None = None  # the same network in 8-bit integers, where such a file lies beside it


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Where to compute. "auto" measures what the machine has, once."""

    device: str = "auto"
    precision: str = "auto"
    imgsz: int = 640  # px, long side of the pictures to come: what is measured
    anew: bool = False  # measure again, whatever is kept from before
    # True: one picture at a time over several processors, for the least delay; False: two side by side, for speed
    prompt: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width to measure at, px: a wide picture, rounded up to the model's stride."""
        return -(-self.imgsz * 9 // 16 // 32) * 32, -(-self.imgsz // 32) * 32


def open_model(name: str | Path = "n", settings: RuntimeSettings | None = None) -> Model:
    """A shipped model by name, or an ONNX file of one's own by path, in the runtime asked for (plain CPU by default).

    ModelError when the model is not to be had, SettingsError when the runtime is not.
    """
    from bystander.models.guarded import FIRST_S, GuardedModel
    from bystander.models.runtimes import PLAIN, file_for, open_runtime
    from bystander.models.tensorrt import building

    weights = read_weights(name)
    if settings is None:
        return open_runtime(weights, PLAIN)
    runtime = choose(weights, settings)[0]

    def plain() -> Model:
        return open_runtime(weights, PLAIN, prompt=settings.prompt)

    if runtime == PLAIN:
        return plain()
    try:
        with building(file_for(weights, runtime), runtime, settings.imgsz):
            fast = open_runtime(weights, runtime, imgsz=settings.imgsz, prompt=settings.prompt)
    except ModelError as e:
        log.warning("%s; going on with the plain processor runtime", e)
        return plain()
    guarded = GuardedModel(fast, plain, FIRST_S[runtime.device == "tensorrt"])
    reference = plain()
    return guarded if proved(guarded, reference, settings.size) else reference


def proved(fast: Model, plain: Model, size: tuple[int, int]) -> bool:
    """Whether the two agree on drawn faces; if not, a line has said so.

    Asked each time, for a runtime may be forced, kept figures may be wrong, a driver may have been changed. One that
    fails does so here, before there is a film of which a frame would have to be covered whole.
    """
    from bystander.models.auto import fault_of
    from bystander.models.drawing import picture

    images = picture(*size)
    want = plain(images)
    try:
        fault = fault_of(fast(images), want)
    except ModelError:
        return False  # ``GuardedModel`` has told
    if fault:
        log.warning("%s: %s; going on with the plain processor runtime", fast.id, fault)
    return not fault


def choose(weights: Weights, settings: RuntimeSettings) -> tuple[Runtime, list[Measured]]:
    """The runtime to use, and what was measured to choose it: nothing where there is no choice.

    SettingsError when the machine lacks what was asked for.
    """
    from bystander.models.auto import best_of, measured
    from bystander.models.runtimes import candidates

    fits = candidates(settings.device, settings.precision, weights)
    if len(fits) == 1 and not settings.anew:
        return fits[0], []
    rows = measured(weights, fits, settings.size, anew=settings.anew)
    best = best_of(rows, fits)
    if best not in fits:
        faults = "; ".join(f"{row.runtime} {row.fault}" for row in rows if row.runtime in fits)
        log.warning("%s; going on with the plain processor runtime", faults)
    return best, rows


def read_weights(name: str | Path) -> Weights:
    """The file's bytes; those of a shipped model are checked against their SHA-256. ModelError when not to be had."""
    from bystander.models.onnx import checked

    if str(name) in SHIPPED:
        path = WEIGHTS / SHIPPED[str(name)]
        return with_int8(Weights(path, checked(path)), checked)
    path = Path(name)
    if not path.is_file():
        raise ModelError(f"{name}: no such model; choose {', '.join(SHIPPED)} or the path of an ONNX file")
    try:
        return with_int8(Weights(path, path.read_bytes()), Path.read_bytes)
    except OSError as e:
        raise ModelError(f"{name}: cannot be read ({e.strerror}); check its permissions") from e


def with_int8(weights: Weights, read: Callable[[Path], bytes]) -> Weights:
    """The weights with the int8 file that lies beside them (``NAME.int8.onnx``), if it was made from these."""
    path = int8_beside(weights.path)
    if not path.is_file():
        return weights
    data = read(path)
    if hashlib.sha256(weights.data).hexdigest().encode() not in data:  # the file's own entry, as bystander-lab notes it
        log.warning("%s: was made from other weights, not used; bystander-lab quantize makes it anew", path.name)
        return weights
    return replace(weights, int8=Weights(path, data))


def int8_beside(path: Path) -> Path:
    """Where the int8 file of a model is looked for."""
    return path.with_suffix(".int8.onnx")
