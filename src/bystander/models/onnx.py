"""ONNX Runtime as a ``types.Model``: weights in, predictions out. Nothing is fetched, nothing is sent.

Whatever goes wrong, in loading or in a call, is a ``ModelError``; output of another shape or type is never passed on.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bystander.errors import ModelError
from bystander.types import F32


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


class OnnxModel:
    """A session with ``threads`` threads a call; calls from several threads run side by side."""

    def __init__(self, path: Path, data: bytes, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # only fatal: errors arrive as exceptions, not as lines on stderr
        # threads that spin while they wait would take the processor from decoder and encoder
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            meta = self.session.get_modelmeta().custom_metadata_map
            self._names = tuple(str(name) for name in json.loads(meta["names"]))
            self._stride = int(meta["stride"])
        except Exception as e:  # ONNX Runtime raises types of its own, unlisted
            raise ModelError(f"{path.name}: not a YOLOv5 model that bystander-lab exported ({type(e).__name__})") from e
        self._id = f"{path.stem}-{hashlib.sha256(data).hexdigest()[:12]}"

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    @property
    def stride(self) -> int:
        return self._stride

    @property
    def id(self) -> str:
        return self._id

    def __call__(self, images: F32) -> F32:
        """See ``types.Model``. ModelError when the call fails or the output has another shape or type."""
        try:
            rows = self.session.run(["predictions"], {"images": images})[0]
        except Exception as e:  # ONNX Runtime raises types of its own, unlisted
            raise ModelError(f"{self._id}: inference failed on {images.dtype} input of shape {images.shape}") from e
        if rows.dtype != np.float32 or rows.ndim != 3 or rows.shape[::2] != (len(images), 5 + len(self._names)):
            raise ModelError(f"{self._id}: {rows.dtype} predictions of shape {rows.shape} do not fit {self._names}")
        return np.asarray(rows, np.float32)
