"""A few covered pictures of a run, to look at before the film is shared.

``CoveredFrame``s come in, JPEG files go out, upright, only once the run is complete. Never a raw frame.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bystander.errors import OutputError
from bystander.run.batch import make_folder
from bystander.stages.letterbox import to_rgb
from bystander.types import CoveredFrame

PICTURES = 8
LONG_SIDE = 1280  # px
EVERY_S = 10.0  # where the number of frames is unknown


class Preview:
    """Keeps at most ``PICTURES`` encoded pictures, spread over the film; ``save`` writes them."""

    def __init__(self) -> None:
        self.pictures: dict[int, bytes] = {}  # frame index -> JPEG
        self.next_s = 0.0

    def add(self, covered: CoveredFrame, total: int) -> None:
        """Take the frame if its turn has come. ``total``: estimated number of frames, 0 where unknown."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be shown, not {type(covered).__name__}")
        frame = covered.frame
        due = frame.index % -(-total // PICTURES) == 0 if total else frame.time_s >= self.next_s
        if due and len(self.pictures) < PICTURES:
            self.next_s = frame.time_s + EVERY_S
            self.pictures[frame.index] = jpeg(covered)

    def save(self, folder: Path, stem: str) -> None:
        """Write ``STEM-000123.jpg``, numbered by frame. OutputError when the folder says no."""
        make_folder(folder)
        for index, data in self.pictures.items():
            path = folder / f"{stem}-{index:06d}.jpg"
            try:
                path.write_bytes(data)
            except OSError as e:
                raise OutputError(f"{path}: cannot be written ({e.strerror})") from e


def jpeg(covered: CoveredFrame) -> bytes:
    """The picture, upright, its long side at most ``LONG_SIDE`` px."""
    frame = covered.frame
    scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    rgb = np.rot90(to_rgb(frame, width, height), k=-frame.rotation_deg // 90)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR))
    return data.tobytes()
