"""How the C library gives memory back. Called once by programs that run for hours."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 128 * 1024  # bytes; its own default, which grows with use as long as nobody sets it


def return_large_blocks() -> bool:
    """Let every freed block of a picture's size go back to the system at once. False where the library is another one.

    glibc otherwise keeps them in up to eight pools a processor, which pictures from many threads break into pieces:
    a stream's memory grew by hundreds of MiB within half an hour.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE))
    except (OSError, AttributeError, TypeError):  # Windows and macOS have no such function
        return False
