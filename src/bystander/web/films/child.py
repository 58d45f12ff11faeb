"""Child processes that read films: limited in memory, time and file size, without a shell, killed as a group.

JSON lines of the child come out as dictionaries; its errors go to a file. The server's token is not in its environment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bystander

LIMITED = Path(__file__).with_name("limited.py")
HOME = Path(bystander.__file__).parents[1]  # modules are found from here
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
GRACE_S = 5.0  # from SIGTERM to SIGKILL
LOG_BYTES = 100_000  # of children's errors, above which they are forgotten


@dataclass(frozen=True, slots=True)
class Limits:
    memory: int  # bytes of address space
    wall_s: float
    file_bytes: int


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended."""

    code: int  # exit code, negative: the signal
    error: str = ""  # the message of its last error event
    late: bool = False  # the wall limit ended it


class Stop:
    """Ends what runs, from another thread; also what has not begun yet."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        self.asked.set()
        with self.lock:
            if self.process is not None:
                end_group(self.process)


def run_child(
    arguments: Sequence[str], limits: Limits, log: Path, on_event: Callable[[dict[str, Any]], None], stop: Stop
) -> End:
    """``python ARGUMENTS`` until it ends. Every JSON line on its standard output is given to ``on_event``."""
    cpus = os.cpu_count() or 1
    command = [sys.executable, "-I", str(LIMITED), str(limits.memory), str(int(limits.wall_s * cpus) + 1),
               str(limits.file_bytes), sys.executable, *arguments]  # fmt: skip
    environment = {k: v for k in PASSED if (v := os.environ.get(k))}
    started, error = time.monotonic(), ""
    with log.open("ab") as errors:
        if errors.tell() > LOG_BYTES:
            errors.truncate(0)
        with stop.lock:
            if stop.asked.is_set():
                return End(-signal.SIGTERM)
            process = stop.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=HOME,
                env={**environment, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
            )  # fmt: skip
    timer = threading.Timer(limits.wall_s, lambda: end_group(process))
    timer.daemon = True
    timer.start()
    try:
        for event in events_of(process):
            if event.get("event") == "error":
                error = str(event.get("message", ""))
            on_event(event)
        code = process.wait()
    finally:
        timer.cancel()
        end_group(process, now=True)
        process.wait()
        with stop.lock:
            stop.process = None
    return End(code, error, late=code != 0 and time.monotonic() - started >= limits.wall_s)


def events_of(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects that the child prints, one a line; other lines are dropped."""
    assert process.stdout is not None
    with process.stdout as lines:
        while text := lines.readline(1 << 20):
            with suppress(ValueError):
                value = json.loads(text)
                if isinstance(value, dict):
                    yield value


def end_group(process: subprocess.Popen[bytes], *, now: bool = False) -> None:
    """End the child and all that it started: politely at first, unless ``now``."""

    def send(number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    if now:
        send(signal.SIGKILL)
        return
    send(signal.SIGTERM)
    timer = threading.Timer(GRACE_S, last, (process,))
    timer.daemon = True
    timer.start()


def last(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        end_group(process, now=True)
