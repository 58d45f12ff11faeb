"""ONNX Runtime as a ``types.Model``: weights in, predictions out. Nothing is fetched, nothing is sent.

Whatever goes wrong, in loading or in a call, is a ``ModelError``; output of another shape or type is never passed on.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from bystander.errors import ModelError
from bystander.types import F32

PLAIN = ("CPUExecutionProvider",)
GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
DIRECTML = "DmlExecutionProvider"


def checked(path: Path) -> bytes:
    """The file's bytes, if their SHA-256 is the one in ``SHA256SUMS`` beside it. ModelError if not."""
    try:
        lines = (path.parent / "SHA256SUMS").read_text(encoding="ascii", errors="replace").splitlines()
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"{path.name}: the shipped weights cannot be read ({e.strerror}); reinstall bystander") from e
    if f"{hashlib.sha256(data).hexdigest()}  {path.name}" not in lines:
        raise ModelError(f"{path.name}: the weights are not the ones that were shipped (SHA-256); reinstall bystander")
    return data


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the exported file says of itself, the same in every runtime."""

    names: tuple[str, ...]
    stride: int
    id: str  # name and start of the file's SHA-256

    @staticmethod
    def of(path: Path, data: bytes, entries: dict[str, str]) -> Metadata:
        """From the file's own entries. KeyError or ValueError when they are not there."""
        names = tuple(str(name) for name in json.loads(entries["names"]))
        return Metadata(names, int(entries["stride"]), f"{path.stem}-{hashlib.sha256(data).hexdigest()[:12]}")

    def checked(self, rows: Any, batch: int) -> F32:
        """The predictions, if type and shape are the documented ones. ModelError if not."""
        if rows.dtype != np.float32 or rows.ndim != 3 or rows.shape[::2] != (batch, 5 + len(self.names)):
            raise ModelError(f"{self.id}: {rows.dtype} predictions of shape {rows.shape} do not fit {self.names}")
        return np.asarray(rows, np.float32)


class OnnxModel:
    """A session with ``threads`` threads a call; calls from several threads run side by side, but for DirectML's."""

    def __init__(self, path: Path, data: bytes, threads: int = 1, providers: Sequence[Any] = PLAIN) -> None:
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if wanted in GPU:
            load_libraries()
        try:
            self.session = ort.InferenceSession(data, session_options(threads, wanted), providers=list(providers))
            self.meta = Metadata.of(path, data, self.session.get_modelmeta().custom_metadata_map)
        except Exception as e:  # ONNX Runtime raises types of its own, unlisted
            raise ModelError(f"{path.name}: not a YOLOv5 model that bystander-lab exported ({type(e).__name__})") from e
        used = self.session.get_providers()[0]
        if used != wanted:  # ONNX Runtime goes on without a provider that does not load, and only logs it
            raise ModelError(f"{path.name}: {wanted} does not load here; see its driver and libraries")
        self.gpu = wanted in GPU
        self.local = threading.local()  # what a GPU keeps for each thread that calls
        # DirectML's documentation forbids calls side by side in one session
        self.alone: Any = threading.Lock() if wanted == DIRECTML else nullcontext()

    @property
    def names(self) -> tuple[str, ...]:
        return self.meta.names

    @property
    def stride(self) -> int:
        return self.meta.stride

    @property
    def id(self) -> str:
        return self.meta.id

    def __call__(self, images: F32) -> F32:
        """See ``types.Model``. ModelError when the call fails or the output has another shape or type."""
        try:
            with self.alone:
                rows = self._bound(images) if self.gpu else self.session.run(["predictions"], {"images": images})[0]
        except Exception as e:  # ONNX Runtime raises types of its own, unlisted
            raise ModelError(f"{self.id}: inference failed on {images.dtype} input of shape {images.shape}") from e
        return self.meta.checked(rows, len(images))

    def _bound(self, images: F32) -> Any:
        """On a GPU: into memory that is kept there for each thread and shape, so that a picture is copied once."""
        kept = self.local.__dict__.setdefault("bound", {})
        if images.shape not in kept:
            there = ort.OrtValue.ortvalue_from_numpy(images, "cuda", 0)
            binding = self.session.io_binding()
            binding.bind_ortvalue_input("images", there)
            binding.bind_output("predictions", "cuda")
            kept[images.shape] = (binding, there)
        binding, there = kept[images.shape]
        there.update_inplace(images)
        self.session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]


def session_options(threads: int, provider: str) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # only fatal: errors arrive as exceptions, not as lines on stderr
    # threads that spin while they wait would take the processor from decoder and encoder
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = provider != DIRECTML  # which has its own, as its documentation says
    return options


def load_libraries() -> None:
    """CUDA and cuDNN from NVIDIA's Python packages where they are there; else the system's are found as usual."""
    if hasattr(ort, "preload_dlls"):  # since 1.21
        with redirect_stdout(sys.stderr):  # standard output may be the film
            ort.preload_dlls()
