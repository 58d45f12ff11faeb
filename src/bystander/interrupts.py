"""Ctrl-C and SIGTERM end a run between two frames, not in the midst of native code that other threads use as well.

So does a terminal that is closed, but for those who asked to outlive it (nohup).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP. Like Ctrl-C not an ``Exception``, so that no catch-all takes it for the fault of a stage."""


def raise_now(number: int, _frame: FrameType | None = None) -> NoReturn:
    """What a signal means: KeyboardInterrupt for SIGINT, Terminated for the others."""
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


@contextmanager
def held_back(notify: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """Hold the first signal back, and call ``notify``; a second one takes effect at once. Main thread only.

    Yields a function that lets the held signal through where that is safe; leaving does so in any case.
    """
    came: list[int] = []

    def let_through() -> None:
        if came:
            raise_now(came[0])

    def on_signal(number: int, _frame: FrameType | None) -> None:
        let_through()
        came.append(number)
        notify()

    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        numbers.append(hangup)
    before = {n: signal.signal(n, on_signal) for n in numbers}
    try:
        yield let_through
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    let_through()
