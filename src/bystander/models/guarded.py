"""An accelerated model that falls back to the plain one when it fails, hangs or answers nonsense.

The call that fails raises, so that its frame is covered whole; the calls after it are computed by the plain runtime.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bystander.errors import ModelError
from bystander.types import F32, Model

log = logging.getLogger("bystander")
LIMIT_S = 3.0  # for a picture of 640x640 px, a hundred times what the slowest known runtime needs
FIRST_S = (60.0, 1800.0)  # for the first picture of a size, which is compiled; TensorRT takes minutes
AREA = 640 * 640  # px; more of them may take longer
END_S = 5.0  # so long the program's end waits for the threads


@dataclass(slots=True)
class Call:
    images: F32
    done: threading.Event = field(default_factory=threading.Event)
    answer: F32 | Exception | None = None


WORKING: weakref.WeakKeyDictionary[threading.Thread, queue.SimpleQueue[Call | None]] = weakref.WeakKeyDictionary()


@atexit.register
def end_all() -> None:
    """The interpreter must not go away below a thread that holds, or frees, a runtime's objects: that may abort it."""
    threads, end_s = list(WORKING.items()), time.monotonic() + END_S
    for _, calls in threads:
        calls.put(None)
    for thread, _ in threads:
        thread.join(max(0.0, end_s - time.monotonic()))


class Worker:
    """Runs one caller's calls in a thread of its own, which can be left behind when a driver hangs."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        thread = threading.Thread(target=work, args=(model, self.calls), name="bystander-model", daemon=True)
        WORKING[thread] = self.calls
        thread.start()

    def __call__(self, images: F32, limit_s: float) -> F32:
        """The model's answer, or what it raised. ModelError when it does not come in time."""
        call = Call(images)
        self.calls.put(call)
        if not call.done.wait(limit_s):
            raise ModelError(f"{self.model.id}: no answer within {limit_s:.0f} s")
        if isinstance(call.answer, Exception):
            raise call.answer
        assert call.answer is not None
        return call.answer

    def __del__(self) -> None:
        self.calls.put(None)


def work(model: Model, calls: queue.SimpleQueue[Call | None]) -> None:
    """The thread's own loop; it does not hold the ``Worker``, so that one nobody uses any more ends."""
    while (call := calls.get()) is not None:
        try:
            call.answer = model(call.images)
        except Exception as e:
            call.answer = e
        call.done.set()


class GuardedModel:
    """``fast`` while it works; what ``plain()`` opens once it failed."""

    def __init__(self, fast: Model, plain: Callable[[], Model], first_s: float = FIRST_S[0]) -> None:
        self.model, self.fast, self.plain, self.first_s = fast, fast, plain, first_s
        self.lock = threading.Lock()
        self.local = threading.local()  # a worker for each thread that calls
        self.compiled: set[tuple[int, ...]] = set()  # shapes that have been answered once

    @property
    def names(self) -> tuple[str, ...]:
        return self.fast.names

    @property
    def stride(self) -> int:
        return self.fast.stride

    @property
    def id(self) -> str:
        return self.fast.id

    def __call__(self, images: F32) -> F32:
        """See ``types.Model``. ModelError for the call that failed."""
        model = self.model
        if model is not self.fast:
            return model(images)
        try:
            return self._guarded(images)
        except Exception as e:
            self._fall_back(e)
            raise ModelError(str(e)) from e

    def _guarded(self, images: F32) -> F32:
        worker: Worker | None = getattr(self.local, "worker", None)
        if worker is None:
            worker = self.local.worker = Worker(self.fast)
        pixels = images.shape[-1] * images.shape[-2]
        usual = LIMIT_S * max(1.0, pixels / AREA)
        rows = worker(images, usual if images.shape in self.compiled else max(usual, self.first_s))
        if not plausible(rows):
            raise ModelError(f"{self.id}: predictions that are not finite or out of range")
        self.compiled.add(images.shape)
        return rows

    def _fall_back(self, e: Exception) -> None:
        with self.lock:
            if self.model is self.fast:
                self.model = self.plain()
                log.warning("%s; going on with the plain processor runtime", e)


def plausible(rows: F32) -> bool:
    """Whether predictions are finite, sides not negative, scores 0 to 1 but for rounding."""
    if not np.isfinite(rows).all():
        return False
    return bool((rows[..., 2:4] >= 0).all() and (rows[..., 4:] >= -1e-3).all() and (rows[..., 4:] <= 1 + 1e-3).all())
