"""``python -m bystander`` and the ``bystander`` command: the same start."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def start() -> int:
    """Run the command line. Its libraries take a second to load and must not see an exception meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    from bystander.cli import main

    return main()


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End at once: nothing has been opened yet."""
    os.write(2, b"bystander: stopped before anything was begun\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(start())
