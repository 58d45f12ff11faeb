"""Options of ONNX Runtime's TensorRT provider: a model, a precision and a picture size in, options out.

Building an engine takes minutes, so engines are kept. One is good only for the GPU, driver and TensorRT that built it
and for its model, which is why each of these has a part in the name of its folder: ONNX Runtime's own names do not
tell models with the same graph apart. Nothing here needs TensorRT; none of it has been run on a GPU by us.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bystander.models import RuntimeSettings, Weights
from bystander.models.folders import cache_folder

SMALLEST = 320  # px, long side; a live stream that is too slow goes down to this
NARROWEST = 3 / 8  # of the long side: the short side of the widest films
LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8", "nvinfer_10.dll", "nvinfer.dll")
JETSON = ("/proc/device-tree/model", "/etc/nv_tegra_release")


def options(weights: Weights, precision: str, imgsz: int) -> dict[str, str]:
    """For the provider list of an ``onnxruntime.InferenceSession``."""
    machine = folder_name(*gpu(), f"tensorrt {tensorrt_version()}")
    model = hashlib.sha256(weights.data).hexdigest()[:16]
    engines = cache_folder("tensorrt", machine, f"{model}-{precision}-{imgsz}")
    return {
        "trt_fp16_enable": str(precision in ("fp16", "int8")),  # what int8 leaves in float is computed in fp16
        "trt_int8_enable": str(precision == "int8"),  # scales come with the file, so there is no calibration table
        "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "True", "trt_timing_cache_path": str(engines.parent),  # shared by all models
        **profile(imgsz),
    }  # fmt: skip


def profile(imgsz: int) -> dict[str, str]:
    """The shapes that one engine serves: best for a wide picture, good for every format that films have."""
    height, width = RuntimeSettings(imgsz=imgsz).size
    least = round(min(SMALLEST, width) * NARROWEST / 32 + 0.49) * 32
    sides = {"min": (least, least), "opt": (height, width), "max": (width, width)}
    return {f"trt_profile_{name}_shapes": f"images:1x3x{h}x{w}" for name, (h, w) in sides.items()}


def folder_name(*parts: str) -> str:
    """One name for a folder, readable, without odd characters."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(parts)).strip("-")[:120] or "unknown"


@cache
def gpu() -> tuple[str, ...]:
    """Name and driver of the first GPU, or the Jetson's board and release; "unknown" where neither is told."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        if lines := done.stdout.strip().splitlines():
            return tuple(part.strip() for part in lines[0].split(","))
    except (OSError, subprocess.SubprocessError):
        pass
    found = [Path(p).read_text(encoding="utf-8", errors="replace") for p in JETSON if Path(p).is_file()]
    return tuple(text.strip("\0\n ").splitlines()[0] for text in found if text.strip("\0\n ")) or ("unknown",)


@cache
def tensorrt_version() -> str:
    """From the library itself, or from its Python package; "unknown" where there is neither."""
    load_libraries()
    for name in LIBRARIES:
        try:
            return str(ctypes.CDLL(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
    try:
        return version("tensorrt")
    except PackageNotFoundError:
        return "unknown"


@cache
def load_libraries() -> None:
    """TensorRT from NVIDIA's Python package, if it is there: importing it loads the libraries into the process."""
    if importlib.util.find_spec("tensorrt_libs"):
        try:
            importlib.import_module("tensorrt_libs")
        except (ImportError, OSError):
            return  # ONNX Runtime will say that the provider does not load
