"""A shrunk, decoded copy of the training images in one memory-mapped file.

Decoding JPEGs would take more processor time than learning from them; this is done once per data set and size.
The cache is a by-product: delete it at will. It is keyed by the files' places, sizes and times,
and by the chosen long side.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bystander_lab.widerface import DataError, Sample, read_image


@dataclass(frozen=True, slots=True)
class CachedImage:
    offset: int  # bytes into the file
    height: int
    width: int
    scale: float  # cached px per px of the file


class ImageCache:
    """``cache[i]`` is sample i as (h, w, 3) RGB uint8; opened anew in each worker process."""

    def __init__(self, path: Path, index: list[CachedImage]) -> None:
        self.index = index
        self.pixels = np.memmap(path, np.uint8, "r")

    def __getitem__(self, i: int) -> np.ndarray:
        e = self.index[i]
        return self.pixels[e.offset : e.offset + e.height * e.width * 3].reshape(e.height, e.width, 3)


def shrink(path: Path, long_side: int) -> tuple[np.ndarray, float]:
    """The image at ``long_side`` px or its own size if smaller, and the scale used."""
    image = read_image(path)
    scale = min(1.0, long_side / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image, scale


def key_of(samples: list[Sample], long_side: int) -> str:
    """Changes with the files, wherever the program is started. DataError names a file that is missing."""
    names = [str(long_side)]
    for s in samples:
        try:
            stat = s.path.stat()
        except OSError as e:
            raise DataError(f"{s.path}: missing or not an image that decodes ({e.strerror})") from e
        names.append(f"{s.path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def open_cache(samples: list[Sample], long_side: int, folder: Path) -> ImageCache:
    """The cache of these samples, made if it is not there. An image that does not decode raises DataError."""
    key = key_of(samples, long_side)
    path, index_path = folder / f"{key}.rgb", folder / f"{key}.json"
    if not index_path.exists():
        make_cache(samples, long_side, path, index_path)
    return ImageCache(path, [CachedImage(*row) for row in json.loads(index_path.read_text())])


def make_cache(samples: list[Sample], long_side: int, path: Path, index_path: Path) -> None:
    """Pixels first, then the index that makes them count: what was begun and not ended is never read."""
    index, offset = [], 0
    parts = [p.with_name(f"{p.name}.partial") for p in (path, index_path)]  # of a killed run: written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with parts[0].open("wb") as f, ThreadPoolExecutor(4) as pool:
            for image, scale in pool.map(lambda s: shrink(s.path, long_side), samples):
                f.write(np.ascontiguousarray(image).data)
                index.append((offset, *image.shape[:2], scale))
                offset += image.size
        parts[1].write_text(json.dumps(index))
        for part, whole in zip(parts, (path, index_path), strict=True):
            part.replace(whole)
    except OSError as e:
        raise DataError(
            f"{path.parent}: cannot write the image cache ({e.strerror}); free some space, or name another --cache"
        ) from e
    finally:
        for part in parts if path.parent.is_dir() else ():
            part.unlink(missing_ok=True)
