"""Picture and face in, heat-map picture out: the function behind the command and behind any page's "Why?".

What it returns shows the picture and its faces uncovered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bystander.errors import InputError, OutputError
from bystander.media.images import IMAGE_SUFFIXES
from bystander.types import U8, Frame
from bystander_lab.dataset import write
from bystander_lab.explain import METHOD
from bystander_lab.explain.draw import describe, heat_picture, sheet
from bystander_lab.explain.maps import explain
from bystander_lab.explain.scene import Face, Opened, Scene, look
from bystander_lab.widerface import DataError

MOST = 12  # faces on a contact sheet


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a face. DataError from ``why`` when a value does not fit."""

    target: str = ""  # interview, background or face; empty: what the runtime took the face for
    method: str = METHOD
    layer: str = "auto"


@dataclass(frozen=True, slots=True)
class Answer:
    picture: U8  # (H, W, 3) RGB, faces uncovered
    lines: tuple[str, ...]  # one a face explained
    notes: tuple[str, ...] = ()


def why(opened: Opened, frame: Frame, number: int = 0, question: Question | None = None) -> Answer:
    """Explain face ``number`` (from 1, left to right), or all of them on a contact sheet for 0.

    InputError when no face is found, DataError when there is no such face or the question does not fit.
    """
    scene = look(opened, frame)
    if not scene.faces:
        raise InputError("no face was found in the picture; there is nothing to explain")
    if number:
        face = face_of(scene, number)
        return Answer(one(opened, scene, face, number, question), (describe(face, number),))
    best = sorted(sorted(range(len(scene.faces)), key=lambda i: -scene.faces[i].score)[:MOST])
    pictures = [one(opened, scene, scene.faces[i], i + 1, question) for i in best]
    left = len(scene.faces) - len(best)
    notes = (f"{left} faces of lower score are not on the sheet; ask for one with --face",) if left else ()
    lines = tuple(describe(scene.faces[i], i + 1) for i in best)
    return Answer(pictures[0] if len(pictures) == 1 else sheet(pictures), lines, notes)


def face_of(scene: Scene, number: int) -> Face:
    if not 1 <= number <= len(scene.faces):
        raise DataError(
            f"--face {number}: the picture has {len(scene.faces)} found faces, numbered from the left from 1"
        )
    return scene.faces[number - 1]


def number_at(scene: Scene, point: tuple[float, float], width: int) -> int:
    """The number of the smallest face that holds the point, px of the upright picture at ``width`` px.

    InputError where there is none.
    """
    x, y = scene.from_size(np.array([*point, *point], np.float32), width)[:2]
    hits = [
        (float((f.xyxy[2] - f.xyxy[0]) * (f.xyxy[3] - f.xyxy[1])), i)
        for i, f in enumerate(scene.faces, 1)
        if f.xyxy[0] <= x < f.xyxy[2] and f.xyxy[1] <= y < f.xyxy[3]
    ]
    if not hits:
        raise InputError("no face was found at that point")
    return min(hits)[1]


def one(opened: Opened, scene: Scene, face: Face, number: int, question: Question | None) -> U8:
    q = question or Question()
    return heat_picture(scene, face, explain(opened, scene, face, q.target, q.method, q.layer), number)


def save(picture: U8, path: Path) -> None:
    """Write an RGB picture in the format of the name, at once or not at all. OutputError when that fails."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{path}: a picture's name ends in {', '.join(IMAGE_SUFFIXES)}")
    packed = cv2.imencode(path.suffix, cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))[1]
    try:
        write(path, packed.tobytes())
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
