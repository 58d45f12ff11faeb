"""One runtime's speed and predictions: ``python -m bystander.models.probe MODEL DEVICE PRECISION HEIGHT WIDTH OUT``.

Run as a process of its own, because a driver may crash or hang instead of failing. Prints one JSON line: seconds to the
first result, ms a picture with two calls side by side. Writes the predictions to OUT (NumPy).
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from bystander.models import Weights
from bystander.models.runtimes import Runtime, open_runtime
from bystander.types import F32, Model

CALLS = 2  # side by side, as in the file pipeline
ROUNDS = 4
PICTURES = 4  # a round and call


def picture(height: int, width: int) -> F32:
    """(1, 3, h, w) RGB 0-1, the same on every machine: coarse and fine random structure."""
    rng = np.random.default_rng(0)
    layers = [cv2.resize(rng.random((n, n, 3), np.float32), (width, height)) for n in (6, 24, 96)]
    mixed = np.asarray(sum(layers), np.float32) / len(layers)
    return np.ascontiguousarray(mixed.transpose(2, 0, 1)[None])


def milliseconds(model: Model, images: F32) -> float:
    """Time a picture, the best of some rounds: what disturbs a round only ever makes it slower."""
    best = float("inf")
    with ThreadPoolExecutor(CALLS) as pool:
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            list(pool.map(lambda _: model(images), range(CALLS * PICTURES)))
            best = min(best, (time.perf_counter() - begin) / (CALLS * PICTURES))
    return best * 1000


def probe(weights: Weights, runtime: Runtime, height: int, width: int) -> tuple[dict[str, float], F32]:
    """Figures and the predictions for ``picture``. ModelError when the runtime fails."""
    images, begin = picture(height, width), time.perf_counter()
    model = open_runtime(weights, runtime)
    rows = model(images)
    first = time.perf_counter() - begin
    return {"first_s": round(first, 3), "ms": round(milliseconds(model, images), 2)}, rows


def main() -> None:
    path, device, precision, height, width, out = sys.argv[1:]
    weights = Weights(Path(path), Path(path).read_bytes())
    figures, rows = probe(weights, Runtime(device, precision), int(height), int(width))
    np.save(out, rows)
    print(json.dumps(figures))  # noqa: T201  the parent process reads it


if __name__ == "__main__":
    main()
