"""The WIDER FACE layout: a folder of images by event and one text file of boxes.

``ROOT/WIDER_{split}/images/<event>/*.jpg`` and ``ROOT/wider_face_split/wider_face_{split}_bbx_gt.txt``; a line of
ten numbers a face: x y w h blur expression illumination invalid occlusion pose (shuoyang1213.me/WIDERFACE). Invalid
faces are ignored in loss and AP, never taught as background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np


class DataError(Exception):
    """The data set is not what it should be; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, not yet loaded."""

    path: Path
    event: str  # the folder's name
    xyxy: np.ndarray  # (n, 4) float32 image px
    invalid: np.ndarray  # (n,) bool
    attributes: np.ndarray  # (n, 6) int: blur, expression, illumination, invalid, occlusion, pose
    role: np.ndarray | None = None  # (n,) int index into roles.ROLES, -1 unknown; None: no role is known
    group: str = ""  # film or photo that the image is of; images of one group are alike


def load_widerface(root: Path | str, split: str) -> list[Sample]:
    """All samples of ``split`` ("train" or "val") in the order of the file. DataError when the layout is not there."""
    root = Path(root)
    truth = root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
    images = root / f"WIDER_{split}" / "images"
    if not truth.is_file():
        raise DataError(f"{truth}: not found; --data must point at a folder in the WIDER FACE layout")
    try:
        lines = truth.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise DataError(f"{truth}: not a text file of boxes") from e
    samples, at = [], 0
    try:
        while at < len(lines):
            name, count = lines[at].strip(), int(lines[at + 1])
            rows = lines[at + 2 : at + 2 + max(count, 1)]  # a face-free image still has one row, of zeros
            if len(rows) < count:
                raise ValueError(f"{len(rows)} boxes instead of {count} for {name}")
            numbers = [[float(v) for v in row.split()[:10]] for row in rows[:count]]
            if any(len(row) < 10 for row in numbers):
                raise ValueError(f"a face of {name} has fewer than ten numbers")
            values = np.array(numbers, np.float32).reshape(-1, 10)
            if not np.isfinite(values).all():
                raise ValueError(f"a box of {name} is not of finite numbers")
            values = values[(values[:, 2] > 0) & (values[:, 3] > 0)]
            xyxy = np.concatenate((values[:, :2], values[:, :2] + values[:, 2:4]), 1)
            attributes = values[:, 4:].astype(np.int64)
            samples.append(Sample(images / name, Path(name).parts[0], xyxy, attributes[:, 3] > 0, attributes))
            at += 2 + max(count, 1)
    except (ValueError, IndexError) as e:
        raise DataError(f"{truth}: line {at + 1} or soon after is not in the WIDER FACE format ({e})") from e
    if not samples:
        raise DataError(f"{truth}: holds no image")
    return samples


def read_image(path: Path) -> np.ndarray:
    """The picture as (h, w, 3) RGB uint8. DataError when it does not decode."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: missing or not an image that decodes")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
