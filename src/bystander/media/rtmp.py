"""RTMP as a file-like object, over the FFmpeg library that PyAV brings.

PyAV opens outputs itself without any time limit and, worse, holds Python's lock meanwhile: a platform that does not
answer would stop the whole program. Called from here, FFmpeg has a limit and everything else goes on. Bytes of an FLV
stream go in.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from typing import Any

import av.container.core

WRITE = 2  # AVIO_FLAG_WRITE
TIMEOUT = b"5000000"  # µs; a connection on which nothing moves for so long is lost


class Context(ctypes.Structure):
    """The beginning of FFmpeg's AVIOContext, up to its error."""

    _fields_ = (
        ("av_class", ctypes.c_void_p), ("buffer", ctypes.c_void_p), ("buffer_size", ctypes.c_int),
        ("buf_ptr", ctypes.c_void_p), ("buf_end", ctypes.c_void_p), ("opaque", ctypes.c_void_p),
        ("read_packet", ctypes.c_void_p), ("write_packet", ctypes.c_void_p), ("seek", ctypes.c_void_p),
        ("pos", ctypes.c_int64), ("eof_reached", ctypes.c_int), ("error", ctypes.c_int),
    )  # fmt: skip


@lru_cache(maxsize=1)
def library() -> Any:
    """The functions of FFmpeg, found through PyAV's own module, which is linked to them. None where that cannot be."""
    try:
        lib = ctypes.CDLL(av.container.core.__file__)
        lib.avio_open2  # noqa: B018  looked up here
    except (OSError, AttributeError):
        return None  # Windows looks into one library only
    context, dictionary = ctypes.POINTER(ctypes.POINTER(Context)), ctypes.POINTER(ctypes.c_void_p)
    lib.avio_open2.argtypes = [context, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, dictionary]
    lib.avio_write.argtypes = [ctypes.POINTER(Context), ctypes.c_char_p, ctypes.c_int]
    lib.avio_flush.argtypes = [ctypes.POINTER(Context)]
    lib.avio_closep.argtypes = [context]
    lib.av_dict_set.argtypes = [dictionary, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    lib.av_dict_free.argtypes = [dictionary]
    return lib


class RtmpStream:
    """An open connection; ``write`` and ``close`` for PyAV. ``OSError`` when there is none, or none any more."""

    def __init__(self, url: str) -> None:
        self.lib, self.context = library(), ctypes.POINTER(Context)()
        options = ctypes.c_void_p()
        self.lib.av_dict_set(ctypes.byref(options), b"rw_timeout", TIMEOUT, 0)
        code = self.lib.avio_open2(ctypes.byref(self.context), os.fsencode(url), WRITE, None, ctypes.byref(options))
        self.lib.av_dict_free(ctypes.byref(options))
        check(code)

    def write(self, data: Any) -> int:
        """Send all of it at once."""
        data = bytes(data)
        self.lib.avio_write(self.context, data, len(data))
        self.lib.avio_flush(self.context)
        check(self.context.contents.error)
        return len(data)

    def close(self) -> None:
        """Safe to call twice."""
        if self.context:
            self.lib.avio_closep(ctypes.byref(self.context))


def check(code: int) -> None:
    """``OSError`` for FFmpeg's number of an error; its text holds no address."""
    if code < 0:
        raise OSError(-code, os.strerror(-code) if -code < 200 else "refused")
