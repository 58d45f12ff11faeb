"""The runtimes that this machine has. Names of devices and precisions in, models out; nothing is measured here.

Nothing but ``cpu`` in fp32 is always there. A library is imported only when it is asked for.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from bystander.errors import ModelError, SettingsError
from bystander.models import DEVICES, PRECISIONS, Weights
from bystander.models.onnx import OnnxModel
from bystander.types import Model

# ONNX Runtime's execution providers, and the precisions that each can turn a plain fp32 file into
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", ("fp32",)),
    "cuda": ("CUDAExecutionProvider", ("fp32",)),
    "tensorrt": ("TensorrtExecutionProvider", ("fp16", "fp32")),
    "coreml": ("CoreMLExecutionProvider", ("fp16",)),
    "directml": ("DmlExecutionProvider", ("fp32",)),
}
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


def available() -> tuple[Runtime, ...]:
    """Every runtime whose library is installed and finds its device, plain CPU first. Their drivers may still fail."""
    have = ort.get_available_providers()
    found = [Runtime(d, p) for d, (name, precisions) in PROVIDERS.items() if name in have for p in precisions]
    if importlib.util.find_spec("openvino"):
        from bystander.models.openvino import precisions

        found += [Runtime("openvino", p) for p in precisions()]
    return tuple(found)


def candidates(device: str, precision: str) -> tuple[Runtime, ...]:
    """The available runtimes that fit what was asked for. SettingsError with what there is when none does."""
    for value, known, key in ((device, DEVICES, "device"), (precision, PRECISIONS, "precision")):
        if value not in known:
            raise SettingsError(f"{key} {value!r}: choose {', '.join(known)}")
    have = available()
    fits = tuple(r for r in have if device in ("auto", r.device) and precision in ("auto", r.precision))
    if fits:
        return fits
    hint = INSTALL.get(device, "") if device not in {r.device for r in have} else ""
    raise SettingsError(
        f"{Runtime(device, precision)}: not on this machine; it has {', '.join(map(str, have))}"
        + (f" ({hint})" if hint else "")
    )


def open_runtime(weights: Weights, runtime: Runtime, threads: int = 1) -> Model:
    """The model in this runtime. ModelError when the runtime does not take it."""
    if runtime.device == "openvino":
        from bystander.models.openvino import OpenVinoModel

        return OpenVinoModel(weights.path, weights.data, runtime.precision)
    return OnnxModel(weights.path, weights.data, threads, providers(runtime))


def providers(runtime: Runtime) -> list[Any]:
    """ONNX Runtime's provider list: the one asked for, then what takes the operators it does not know."""
    name = PROVIDERS[runtime.device][0]
    chain: list[Any] = [(name, provider_options(runtime))] if runtime.device != "cpu" else []
    if runtime.device == "tensorrt":
        chain.append("CUDAExecutionProvider")
    return [*chain, "CPUExecutionProvider"]


def provider_options(runtime: Runtime) -> dict[str, str]:
    """Options of ONNX Runtime's providers; TensorRT keeps its engines, whose building takes minutes."""
    if runtime.device != "tensorrt":
        return {}
    folder = str(cache_folder("tensorrt"))
    return {
        "trt_fp16_enable": str(runtime.precision == "fp16"),
        "trt_engine_cache_enable": "True", "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "True", "trt_timing_cache_path": folder,
    }  # fmt: skip


def cache_folder(*below: str) -> Path:
    """Where this user's caches lie. Made if it is not there; ModelError when that fails."""
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base, "bystander", *below).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ModelError(f"{folder}: the cache folder cannot be made ({e.strerror}); set XDG_CACHE_HOME") from e
    return folder
