"""A data set of one's own: pictures from one's videos and a role per face, in the format that ``roles.py`` reads.

Sources go in, ``FOLDER/images/*.jpg`` and ``FOLDER/{train,val}.jsonl`` come out, one picture at a time. Each file is
replaced at once or not at all. Nothing is sent anywhere; what is saved here shows faces, so keep the folder safe.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bystander.errors import InputError
from bystander.media.images import IMAGE_SUFFIXES, read_image
from bystander.media.reader import open_reader
from bystander.stages.letterbox import to_rgb
from bystander.types import Detections, Frame
from bystander_lab.evaluate import still_frame
from bystander_lab.roles import ROLES
from bystander_lab.widerface import DataError

SPLITS = ("train", "val")
LONG_SIDE = 1280  # px, of a saved picture
SURE = 0.3  # least score of a face that is proposed
MAX_FACES = 500
Face = dict[str, Any]  # {"xyxy": [x1, y1, x2, y2] px, "role": "interview" or "background"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to label, and its labels so far."""

    file: str  # relative to the data set's folder
    group: str  # the source's name
    width: int
    height: int
    jpeg: bytes
    faces: tuple[Face, ...]
    complete: bool = True  # every face has its box
    saved: bool = False


def gather(sources: list[Path], every_s: float, limit: int, find: Callable[[Frame], Detections]) -> Iterator[Picture]:
    """Pictures of films, one each ``every_s`` seconds, and still pictures, labelled as the model proposes."""
    groups = [s.stem for s in sources]
    if len(set(groups)) < len(groups):
        twice = next(g for g in groups if groups.count(g) > 1)
        raise DataError(f"{twice}: two sources have this name; rename one, the name tells their pictures apart")
    left = limit
    for source in sources:
        for index, rgb in frames_of(source, every_s):
            if not left:
                return
            left -= 1
            h, w = rgb.shape[:2]
            jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[
                1
            ].tobytes()
            faces = proposed(find(still_frame(rgb)))
            yield Picture(f"images/{source.stem}-{index:06d}.jpg", source.stem, w, h, jpeg, faces)


def frames_of(source: Path, every_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """(frame index, upright (h, w, 3) RGB), long side at most ``LONG_SIDE`` px. InputError when it does not open."""
    if source.suffix.lower() in IMAGE_SUFFIXES:
        yield 0, upright(read_image(source))
        return
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    reader = open_reader(source)
    try:
        due = 0.0
        for frame in reader:
            if frame.time_s >= due:
                due = (math.floor(frame.time_s / every_s) + 1) * every_s
                yield frame.index, upright(frame)
    finally:
        reader.close()


def upright(frame: Frame) -> np.ndarray:
    """The frame as a player shows it."""
    scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    return np.ascontiguousarray(np.rot90(to_rgb(frame, width, height), k=-frame.rotation_deg // 90))


def proposed(found: Detections) -> tuple[Face, ...]:
    """Detections as labels to correct."""
    rows = zip(found.xyxy, found.score, found.foreground, strict=True)
    return tuple(
        {"xyxy": [round(float(v), 1) for v in xyxy], "role": ROLES[int(evidence < 0.5)]}
        for xyxy, score, evidence in rows
        if score >= SURE
    )


def checked(faces: Any, width: int, height: int) -> tuple[Face, ...]:
    """Labels from outside, clipped to the picture. DataError names what does not fit."""
    if not isinstance(faces, list) or len(faces) > MAX_FACES:
        raise DataError(f"faces must be a list of at most {MAX_FACES}")
    good = []
    for i, face in enumerate(faces, 1):
        role, xyxy = (face.get("role"), face.get("xyxy")) if isinstance(face, dict) else (None, None)
        if role not in ROLES:
            raise DataError(f"face {i}: the role must be one of {', '.join(ROLES)}")
        numbers = isinstance(xyxy, list) and len(xyxy) == 4 and all(isinstance(v, int | float) for v in xyxy)
        if not numbers or not all(math.isfinite(v) for v in xyxy):
            raise DataError(f"face {i}: the box must be four numbers")
        x1, y1, x2, y2 = (
            round(min(max(float(v), 0), side), 1) for v, side in zip(xyxy, (width, height) * 2, strict=True)
        )
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise DataError(f"face {i}: the box is empty or outside the picture")
        good.append({"xyxy": [x1, y1, x2, y2], "role": role})
    return tuple(good)


class Dataset:
    """A folder's pictures and rows of one split; goes on with what is there."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.path = folder, folder / f"{split}.jsonl"
        self.rows = read_rows(self.path)
        others = [read_rows(folder / f"{s}.jsonl") for s in SPLITS if s != split]
        self.taken = {row["group"] for rows in others for row in rows.values()}

    def known(self, picture: Picture) -> Picture:
        """The picture with the labels saved for it, if there are any. DataError when its film is in another split."""
        if picture.group in self.taken:
            raise DataError(f"{picture.group}: is in the other split of {self.folder}; a film belongs to one only")
        row = self.rows.get(picture.file)
        if row is None:
            return picture
        return replace(picture, faces=tuple(row["faces"]), complete=row["complete"], saved=True)

    def save(self, picture: Picture) -> None:
        """Write the picture and its row. OSError when the folder says no; nothing is then changed."""
        image = self.folder / picture.file
        image.parent.mkdir(parents=True, exist_ok=True)
        write(image, picture.jpeg)
        row = {"file": picture.file, "width": picture.width, "height": picture.height, "group": picture.group,
               "source": "own", "complete": picture.complete, "faces": list(picture.faces)}  # fmt: skip
        rows = self.rows | {picture.file: row}
        write(self.path, "".join(f"{json.dumps(r)}\n" for r in rows.values()).encode())
        self.rows = rows


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by file name; none where there is no file yet. DataError when it is something else."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {row["file"]: row for row in rows if row["faces"] is not None and row["group"] and "complete" in row}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: is no file of this data set ({type(e).__name__}: {e}); choose another folder") from e


def write(path: Path, data: bytes) -> None:
    """Replace the file at once."""
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
