"""An accelerated model that falls back to the plain one when it fails.

The call that fails raises, so that its frame is covered whole; the calls after it are computed by the plain runtime.
Predictions that are not finite count as failed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from bystander.errors import ModelError
from bystander.types import F32, Model

log = logging.getLogger("bystander")


class GuardedModel:
    """``fast`` while it works; what ``plain()`` opens once it failed."""

    def __init__(self, fast: Model, plain: Callable[[], Model]) -> None:
        self.model, self.fast, self.plain = fast, fast, plain
        self.lock = threading.Lock()

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
        try:
            rows = model(images)
            if not np.isfinite(rows).all():
                raise ModelError(f"{self.id}: predictions that are not finite")
        except ModelError as e:
            self._fall_back(model, e)
            raise
        return rows

    def _fall_back(self, failed: Model, e: ModelError) -> None:
        with self.lock:
            if self.model is failed is self.fast:
                self.model = self.plain()
                log.warning("%s; going on with the plain processor runtime", e)
