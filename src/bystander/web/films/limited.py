"""Runs a command under limits: ``limited.py BYTES CPU_S FILE_BYTES COMMAND...``. Standard library alone.

Started as a script of its own, so that the limits hold before anything of the film is read. Niceness 5, no core dump;
the command dies with the server.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
NICE = 5


def main(argv: list[str]) -> None:
    memory, cpu_s, file_bytes = (int(v) for v in argv[:3])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(NICE)
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu_s),
                        (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0)):  # fmt: skip
        most = resource.getrlimit(kind)[1]
        value = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with a message
    os.execv(argv[3], argv[3:])  # noqa: S606  no shell is meant


if __name__ == "__main__":
    main(sys.argv[1:])
