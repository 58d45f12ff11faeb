"""A film as grey pictures of one size, for comparing two films. Read only; nothing is written."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from bystander.media.reader import open_reader
from bystander.types import U8


def luma_frames(path: Path, width: int, height: int, rotation_deg: int = 0) -> Generator[tuple[float, U8], None, None]:
    """(time in s from the first frame, (height, width) luma) of every frame, turned as a film whose frames are stored
    with ``rotation_deg``, and scaled where the size differs. InputError when the film cannot be read.
    """
    reader = open_reader(path)
    try:
        turns = (rotation_deg - reader.info.rotation_deg) // 90 % 4
        size = (height, width) if turns % 2 else (width, height)
        for frame in reader:
            native: Any = frame.native
            luma = native.reformat(*size, "gray").to_ndarray()
            yield frame.time_s, np.ascontiguousarray(np.rot90(luma, turns)) if turns else luma
    finally:
        reader.close()


def frame_times(path: Path) -> list[float]:
    """Seconds from the first frame, of every frame that decodes."""
    reader = open_reader(path)
    try:
        return [frame.time_s for frame in reader]
    finally:
        reader.close()
