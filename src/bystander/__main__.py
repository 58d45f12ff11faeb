"""``python -m bystander`` and the ``bystander`` command: the same start."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn


def start() -> int:
    """Run the command line. Its libraries take a second to load and must not see an exception meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    from bystander.cli import main

    code = main()
    if any(t.daemon and t.name.startswith("bystander-") for t in threading.enumerate()):
        # a thread hangs in native code: taking the interpreter down below it would abort the process
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End at once: nothing has been opened yet."""
    os.write(2, b"bystander: stopped before anything was begun\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(start())
