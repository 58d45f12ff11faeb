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
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from bystander.errors import ModelError
from bystander.models import RuntimeSettings, Weights
from bystander.models.folders import cache_folder

if TYPE_CHECKING:
    from bystander.models.runtimes import Runtime

log = logging.getLogger("bystander")
EVERY_S = 30.0  # between two lines on an engine that is being built
SMALLEST = 320  # px, long side; a live stream that is too slow goes down to this
NARROWEST = 3 / 8  # of the long side: the short side of the widest films
LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8", "nvinfer_10.dll", "nvinfer.dll")
JETSON = ("/proc/device-tree/model", "/etc/nv_tegra_release")


def options(weights: Weights, precision: str, imgsz: int) -> dict[str, str]:
    """For the provider list of an ``onnxruntime.InferenceSession``."""
    engines = engine_folder(weights, precision, imgsz)
    return {
        "trt_fp16_enable": str(precision in ("fp16", "int8")),  # what int8 leaves in float is computed in fp16
        "trt_int8_enable": str(precision == "int8"),  # scales come with the file, so there is no calibration table
        "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "True", "trt_timing_cache_path": str(engines.parent),  # shared by all models
        **profile(imgsz),
    }  # fmt: skip


def engine_folder(weights: Weights, precision: str, imgsz: int) -> Path:
    """Where engines of this file, precision and size lie, made if it is not there. ModelError when that fails."""
    machine = folder_name(*gpu(), f"tensorrt {tensorrt_version()}")
    model = hashlib.sha256(weights.data).hexdigest()[:16]
    width = RuntimeSettings(imgsz=imgsz).size[1]
    return cache_folder("tensorrt", machine, f"{model}-{precision}-{width}")


def has_engine(weights: Weights, precision: str, imgsz: int) -> bool:
    """Whether one was built here before."""
    try:
        return any(engine_folder(weights, precision, imgsz).glob("*.engine"))
    except (ModelError, OSError):
        return False


@contextmanager
def building(weights: Weights, runtime: Runtime, imgsz: int) -> Iterator[None]:
    """Tells, now and every half minute, that what happens inside builds an engine, if it does."""
    done = threading.Event()
    if runtime.device == "tensorrt" and not has_engine(weights, runtime.precision, imgsz):
        log.warning("building %s for %d px, which takes minutes; bystander engine build does it ahead", runtime, imgsz)
        begin = time.monotonic()

        def tell() -> None:
            while not done.wait(EVERY_S):
                log.warning("building %s for %d px: %.0f s so far", runtime, imgsz, time.monotonic() - begin)

        threading.Thread(target=tell, name="bystander-building", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def profile(imgsz: int) -> dict[str, str]:
    """The shapes that one engine serves: best for a wide picture, good for every format that films have."""
    height, width = RuntimeSettings(imgsz=imgsz).size
    least = round(min(SMALLEST, width) * NARROWEST / 32 + 0.49) * 32
    sides = {"min": (least, least), "opt": (height, width), "max": (width, width)}
    return {f"trt_profile_{name}_shapes": f"images:1x3x{h}x{w}" for name, (h, w) in sides.items()}


def folder_name(*parts: str) -> str:
    """One name for a folder, readable, without odd characters."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(parts)).strip("-")[:200] or "unknown"


@cache
def gpu() -> tuple[str, ...]:
    """Name and driver of each kind of GPU, or the Jetson's board and release; "unknown" where neither is told.

    With several kinds it also counts which of them are shown to programs: CUDA's first need not be the driver's first.
    """
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        if lines := done.stdout.strip().splitlines():
            shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            parts = [part.strip() for line in dict.fromkeys(lines) for part in line.split(",")]
            return (*parts, *([f"shown {shown}"] if shown and len(parts) > 2 else []))
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
