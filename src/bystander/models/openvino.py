"""OpenVINO as a ``types.Model``, on processors: weights in, predictions out. Imported only when it is chosen.

Compiled once for each size of picture, because OpenVINO is faster with fixed sizes. Whatever fails is a ``ModelError``.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from bystander.errors import ModelError
from bystander.models.onnx import OnnxModel
from bystander.types import F32

CALLS = 2  # calls that run side by side, as many as the file pipeline has in the air
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
NATIVE = ("bf16", "fp16", "fp32")  # for what an int8 file leaves in float: the first that the processor has


def precisions() -> tuple[str, ...]:
    """What this processor computes faster than it would emulate it, fp32 included."""
    capable = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(p for p in HINTS if p.upper() in capable)


class OpenVinoModel:
    """Calls from several threads run side by side, each on a core of its own.

    With more than one ``threads`` a call runs on so many cores, and calls one after the other.
    """

    def __init__(self, path: Path, data: bytes, precision: str, threads: int = 1) -> None:
        self.meta = OnnxModel(path, data).meta  # one reader of the file's own entries is enough
        self.core = openvino.Core()
        self.data = data
        rest = next(p for p in NATIVE if p in precisions()) if precision == "int8" else precision
        calls = CALLS if threads == 1 else 1
        self.config = {"INFERENCE_PRECISION_HINT": HINTS[rest], "NUM_STREAMS": calls,
                       "INFERENCE_NUM_THREADS": calls * threads}  # fmt: skip
        self.lock = threading.Lock()
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.local = threading.local()  # a request serves one call at a time

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
        """See ``types.Model``. ModelError when compiling or the call fails."""
        try:
            rows = self._request(images.shape).infer([images])["predictions"]
        except RuntimeError as e:
            raise ModelError(f"{self.id}: OpenVINO failed on input of shape {images.shape}") from e
        return self.meta.checked(np.array(rows), len(images))

    def _request(self, shape: tuple[int, ...]) -> Any:
        requests = self.local.__dict__.setdefault("requests", {})
        if shape not in requests:
            requests[shape] = self._compiled(shape).create_infer_request()
        return requests[shape]

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        with self.lock:
            if shape not in self.compiled:
                model = self.core.read_model(self.data)
                model.reshape(list(shape))
                compiled = self.core.compile_model(model, "CPU", self.config)
                # the very first call must be alone: two threads in it can wait for each other for ever
                compiled.create_infer_request().infer([np.zeros(shape, np.float32)])
                self.compiled[shape] = compiled
            return self.compiled[shape]
