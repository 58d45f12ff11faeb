"""Who is the subject: one role per face, from JSONL files.

One image a line: ``file``, ``width``, ``height``, ``group`` (film or photo), ``complete`` (false: small faces without a
box exist) and ``faces``: [{``xyxy`` px, ``role``: "interview" or "background"}]. ``file`` is relative to the JSONL
file's folder or to one of the folders in the WIDER FACE layout. What is not labelled is ignored, never taught as
background.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bystander import boxes
from bystander_lab.widerface import DataError, Sample, load_widerface

ROLES = ("interview", "background")
SAME = 0.5  # IoU above which a box of the face set is the face with a role


def load_roles(path: Path, roots: Iterable[Path], faces: Iterable[Sample] = ()) -> list[Sample]:
    """All images of a JSONL file. Faces and ignore regions of the same images in ``faces`` are added, roles unknown.

    An incomplete image gets one ignore region over all of it: its faces are taught, its background is not. DataError
    names the line that does not fit.
    """
    known = {s.path.resolve(): s for s in faces}
    folders = (path.parent, *roots)
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not a text file of JSON lines") from e
    for number, line in enumerate(lines, 1):
        try:
            sample = sample_of(json.loads(line), folders)
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(f"{path}: line {number} is not in the role format ({type(e).__name__}: {e})") from e
        samples.append(with_faces(sample, known.get(sample.path.resolve())))
    if not samples:
        raise DataError(f"{path}: holds no image")
    return samples


def load_faces(root: Path, split: str) -> list[Sample]:
    """All samples of a folder in the WIDER FACE layout, or of one that ``bystander-lab label`` made, without its roles.

    DataError when it is neither.
    """
    labelled = root / f"{split}.jsonl"
    if labelled.is_file() and not (root / "wider_face_split").is_dir():
        return [replace(s, role=None) for s in load_roles(labelled, ())]
    return load_widerface(root, split)


def sample_of(row: dict[str, Any], folders: Iterable[Path]) -> Sample:
    image = next((p for f in folders if (p := f / row["file"]).is_file()), None)
    if image is None:
        raise ValueError(f"{row['file']} lies neither beside the file nor in a data folder")
    xyxy = np.array([f["xyxy"] for f in row["faces"]], np.float32).reshape(-1, 4)
    if other := [f["role"] for f in row["faces"] if f["role"] not in ROLES]:
        raise ValueError(f"role {other[0]!r} is neither of {', '.join(ROLES)}")
    role = np.array([ROLES.index(f["role"]) for f in row["faces"]], np.int64)
    if not np.isfinite(xyxy).all() or (xyxy[:, 2:] <= xyxy[:, :2]).any():
        raise ValueError("a box without area")
    ignore = np.zeros(len(xyxy), bool)
    if not row["complete"]:
        xyxy = np.concatenate((xyxy, [[0, 0, row["width"], row["height"]]])).astype(np.float32)
        role, ignore = np.append(role, -1), np.append(ignore, True)
    return Sample(image, image.parent.name, xyxy, ignore, np.zeros((len(xyxy), 6), np.int64), role, row["group"])


def with_faces(sample: Sample, other: Sample | None) -> Sample:
    """The sample with those boxes of the same image in the face set that are none of its own."""
    if other is None or not len(other.xyxy):
        return sample
    new = boxes.iou(other.xyxy, sample.xyxy).max(axis=1, initial=0) < SAME
    assert sample.role is not None
    return replace(
        sample,
        event=other.event,
        xyxy=np.concatenate((sample.xyxy, other.xyxy[new])),
        invalid=np.concatenate((sample.invalid, other.invalid[new])),
        attributes=np.concatenate((sample.attributes, other.attributes[new])),
        role=np.concatenate((sample.role, np.full(int(new.sum()), -1))),
    )
