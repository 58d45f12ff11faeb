"""The runtimes that this machine has. Names of devices and precisions in, models out; nothing is measured here.

Nothing but ``cpu`` in fp32 is always there. A library is imported only when it is asked for.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import onnxruntime as ort

from bystander.errors import SettingsError
from bystander.models import DEVICES, PRECISIONS, Weights, int8_beside
from bystander.models.onnx import OnnxModel
from bystander.processors import processors
from bystander.types import Model

ort.disable_telemetry_events()  # which it has on Windows
# ONNX Runtime's execution providers, and the precisions that each can turn a plain fp32 file into
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", ("fp32",)),
    "cuda": ("CUDAExecutionProvider", ("fp32",)),
    "tensorrt": ("TensorrtExecutionProvider", ("fp16", "fp32")),
    "coreml": ("CoreMLExecutionProvider", ("fp16",)),
    "directml": ("DmlExecutionProvider", ("fp32",)),
}
INT8 = ("cpu", "openvino", "tensorrt")  # devices that gain from a file in 8-bit integers
INSTALL = {
    "openvino": "pip install 'bystander[openvino]'",
    "cuda": "replace onnxruntime by onnxruntime-gpu",
    "tensorrt": "replace onnxruntime by onnxruntime-gpu, and install NVIDIA's TensorRT libraries",
    "coreml": "only on macOS",
    "directml": "on Windows, replace onnxruntime by onnxruntime-directml",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how precisely a model is computed."""

    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"


PLAIN = Runtime("cpu", "fp32")
MOST_THREADS = 4  # a call; so small a network gains nothing from more


def available(weights: Weights) -> tuple[Runtime, ...]:
    """Every runtime whose library is installed and finds its device, plain CPU first. Their drivers may still fail."""
    have = ort.get_available_providers()
    found = [Runtime(d, p) for d, (name, precisions) in PROVIDERS.items() if name in have for p in precisions]
    if importlib.util.find_spec("openvino"):
        from bystander.models.openvino import precisions

        found += [Runtime("openvino", p) for p in precisions()]
    devices = dict.fromkeys(r.device for r in found)
    return (*found, *(Runtime(d, "int8") for d in devices if weights.int8 and d in INT8))


def file_for(weights: Weights, runtime: Runtime) -> Weights:
    """The file that a runtime reads."""
    return weights.int8 if runtime.precision == "int8" and weights.int8 else weights


def candidates(device: str, precision: str, weights: Weights) -> tuple[Runtime, ...]:
    """The available runtimes that fit what was asked for. SettingsError with what there is when none does."""
    have = available(weights)
    here = ", ".join(map(str, have))
    for value, known, key in ((device, DEVICES, "device"), (precision, PRECISIONS, "precision")):
        if value not in known:
            raise SettingsError(f"{key} {value!r}: choose {', '.join(known)}; this machine has {here}")
    fits = tuple(r for r in have if device in ("auto", r.device) and precision in ("auto", r.precision))
    if fits:
        return fits
    hint = INSTALL.get(device, "") if device not in {r.device for r in have} else ""
    if precision == "int8" and not weights.int8 and not hint:
        hint = f"int8 needs its own file, {int8_beside(weights.path).name}; bystander-lab quantize makes it"
    raise SettingsError(
        f"{Runtime(device, precision)}: not on this machine; it has {here}" + (f" ({hint})" if hint else "")
    )


def open_runtime(weights: Weights, runtime: Runtime, imgsz: int = 640, *, prompt: bool = False) -> Model:
    """The model in this runtime, for pictures of ``imgsz`` px. ModelError when the runtime does not take it.

    ``prompt``: each call over several processors, for the least delay, instead of several calls side by side.
    """
    threads = min(processors(), MOST_THREADS) if prompt else 1
    file = weights.int8 if runtime.precision == "int8" and weights.int8 else weights
    if runtime.device == "openvino":
        from bystander.models.openvino import OpenVinoModel

        return OpenVinoModel(file.path, file.data, runtime.precision, threads)
    return OnnxModel(file.path, file.data, threads, providers(file, runtime, imgsz))


def providers(file: Weights, runtime: Runtime, imgsz: int) -> list[Any]:
    """ONNX Runtime's provider list: the one asked for, then what takes the operators it does not know."""
    chain: list[Any] = []
    if runtime.device == "tensorrt":
        from bystander.models.tensorrt import options

        chain = [(PROVIDERS["tensorrt"][0], options(file, runtime.precision, imgsz)), PROVIDERS["cuda"][0]]
    elif runtime.device != "cpu":
        chain = [PROVIDERS[runtime.device][0]]
    return [*chain, PROVIDERS["cpu"][0]]
