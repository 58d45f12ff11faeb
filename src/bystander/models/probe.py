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

import numpy as np

from bystander.models import Weights, read_weights
from bystander.models.drawing import picture
from bystander.models.runtimes import Runtime, open_runtime
from bystander.types import F32, Model

CALLS = 2  # side by side, as in the file pipeline
ROUNDS = 4
PICTURES = 4  # a round and call
ENOUGH_S = 3.0  # a slow machine measures fewer rounds


def milliseconds(model: Model, images: F32) -> float:
    """Time a picture, the best of some rounds: what disturbs a round only ever makes it slower."""
    times: list[float] = []
    with ThreadPoolExecutor(CALLS) as pool:
        while len(times) < ROUNDS and sum(times) < ENOUGH_S:
            begin = time.perf_counter()
            list(pool.map(lambda _: model(images), range(CALLS * PICTURES)))
            times.append(time.perf_counter() - begin)
    return min(times) / (CALLS * PICTURES) * 1000


def probe(weights: Weights, runtime: Runtime, height: int, width: int) -> tuple[dict[str, float], F32]:
    """Figures and the predictions for ``picture``. ModelError when the runtime fails."""
    images, begin = picture(height, width), time.perf_counter()
    model = open_runtime(weights, runtime, imgsz=max(height, width))
    rows = model(images)
    first = time.perf_counter() - begin
    return {"first_s": round(first, 3), "ms": round(milliseconds(model, images), 2)}, rows


def main() -> None:
    path, device, precision, height, width, out = sys.argv[1:]
    figures, rows = probe(read_weights(Path(path)), Runtime(device, precision), int(height), int(width))
    np.save(out, rows)
    print(json.dumps(figures))  # noqa: T201  the parent process reads it


if __name__ == "__main__":
    main()
