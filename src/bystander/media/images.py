"""Still pictures: a file in, a ``Frame`` of the same size through the caller's filter, a covered file out.

The output carries no metadata at all (EXIF places and thumbnails show what was covered). Written atomically.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from bystander.errors import InputError, OutputError
from bystander.types import CoveredFrame, Frame

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif")
QUALITY = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
    ".avif": [cv2.IMWRITE_AVIF_QUALITY, 95],
}


def read_image(path: Path) -> Frame:
    """The picture, turned upright by its EXIF tag, as planes. InputError when it does not decode."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:
        bgr = None
    if bgr is None:
        raise InputError(f"{path}: is not a picture that decodes")
    h, w = bgr.shape[:2]
    even = cv2.copyMakeBorder(bgr, 0, h % 2, 0, w % 2, cv2.BORDER_REPLICATE)
    planar = cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420)
    eh, ew = even.shape[:2]
    u, v = np.asarray(planar[eh:], np.uint8).reshape(2, eh // 2, ew // 2)
    return Frame(0, 0, Fraction(1, 25), 0.0, np.asarray(planar[:h, :w], np.uint8), u, v, 0)


def write_image(covered: CoveredFrame, path: Path) -> None:
    """Save a covered picture in the format of the name. TypeError for anything but a ``CoveredFrame``."""
    if not isinstance(covered, CoveredFrame):
        raise TypeError(f"only covered frames may be written, not {type(covered).__name__}")
    f = covered.frame
    h, w = f.height + f.height % 2, f.width + f.width % 2
    planar = np.empty((h * 3 // 2, w), np.uint8)
    planar[:h] = np.pad(f.y, [(0, h - f.height), (0, w - f.width)], "edge")
    planar[h:] = np.concatenate([f.u.ravel(), f.v.ravel()]).reshape(h // 2, w)
    bgr = cv2.cvtColor(planar, cv2.COLOR_YUV2BGR_I420)[: f.height, : f.width]
    options = QUALITY.get(path.suffix.lower(), [])
    part = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        _, data = cv2.imencode(path.suffix.lower(), bgr, options)
        part.write_bytes(data.tobytes())
        part.replace(path)
    except cv2.error as e:
        raise OutputError(f"{path}: cannot be encoded as {path.suffix}; choose {', '.join(IMAGE_SUFFIXES)}") from e
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    finally:
        part.unlink(missing_ok=True)


def cover_image(source: Path, out: Path, cover: Callable[[Frame], list[CoveredFrame]]) -> None:
    """Read, cover, write one picture."""
    (covered,) = cover(read_image(source))
    write_image(covered, out)
