"""Runtimes behind ``types.Model``. A name or a path in, a model out; each runtime is imported only when used."""

from __future__ import annotations

from pathlib import Path

from bystander.errors import ModelError
from bystander.types import Model

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = {"n": "yolov5n-face.onnx"}


def open_model(name: str | Path = "n", threads: int = 1) -> Model:
    """A shipped model by name, or an ONNX file of one's own by path. ModelError when it is not to be had."""
    from bystander.models.onnx import OnnxModel, checked

    if str(name) in SHIPPED:
        path = WEIGHTS / SHIPPED[str(name)]
        return OnnxModel(path, checked(path), threads)
    path = Path(name)
    if not path.is_file():
        raise ModelError(f"{name}: no such model; choose {', '.join(SHIPPED)} or the path of an ONNX file")
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"{name}: cannot be read ({e.strerror}); check its permissions") from e
    return OnnxModel(path, data, threads)
