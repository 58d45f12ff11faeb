"""A closer look at a frame: the same detector on enlarged parts of it. Pure but for the model call.

Small faces that the ordinary look misses are found in parts that are shown larger. Every part has the frame's own shape
and is scaled to the size of the ordinary look, so that no runtime has to get ready for another size of picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from bystander import boxes
from bystander.types import F32, Detections, Frame

OVERLAP = 0.2  # of a part's width and height, shared with its neighbour: a face up to this size is whole in one of them
MOST_PARTS = 4  # a side
EDGE = 2.0  # px: a box so near to a part's inner edge may be a piece of a face
SURE = 0.5  # score from which a face that only the closer look finds starts a track
WEAK = 0.15  # and what a weaker one counts for
SMALL = (
    1 / 16
)  # of the frame's longer side: larger faces the ordinary look sees well; enlarged, much else looks like one
SAME = 0.4  # IoU from which two looks found the same face


@dataclass(frozen=True, slots=True)
class Part:
    """A view of a frame, not a copy."""

    x: int  # of its corner in the frame, luma px, even, so that chroma fits
    y: int
    frame: Frame


def part_of(frame: Frame, x: int, y: int, width: int, height: int) -> Part:
    """The view of ``width`` x ``height`` px at (x, y), which are even."""
    half = (slice(y // 2, -(-(y + height) // 2)), slice(x // 2, -(-(x + width) // 2)))
    luma = frame.y[y : y + height, x : x + width]
    return Part(x, y, replace(frame, y=luma, u=frame.u[half], v=frame.v[half]))


def starts(length: int, count: int) -> tuple[int, list[int]]:
    """Side of a part and where each of ``count`` parts begins, even, so that they overlap and reach ``length``."""
    side = min(length, 2 * math.ceil(length / (count - (count - 1) * OVERLAP) / 2) + length % 2)
    return side, [int(k * (length - side) / (count - 1)) // 2 * 2 for k in range(count)]


def parts(frame: Frame, imgsz: int) -> list[Part]:
    """The frame in 2x2 to 4x4 parts, each about as large as the picture that the detector sees, ``imgsz`` px."""
    count = min(MOST_PARTS, max(2, -(-max(frame.width, frame.height) // imgsz) + 1))
    width, xs = starts(frame.width, count)
    height, ys = starts(frame.height, count)
    return [part_of(frame, x, y, width, height) for y in ys for x in xs]


def look_closer(frame: Frame, detect: Callable[[Frame], Detections], imgsz: int) -> Detections:
    """Small faces found in the frame's parts, in luma px of the frame; raises what ``detect`` raises.

    Those less sure than ``SURE`` come out with a score that only prolongs a track: an enlarged picture shows more of
    what only looks like a face.
    """
    found = small(one_each(whole_faces(part, detect(part.frame), frame) for part in parts(frame, imgsz)), frame)
    score = np.where(found.score >= SURE, found.score, np.minimum(found.score, WEAK))
    return Detections(found.xyxy, score.astype(np.float32), found.foreground)


def small(found: Detections, frame: Frame) -> Detections:
    """Without those that are larger than ``SMALL``."""
    longest = (found.xyxy[:, 2:] - found.xyxy[:, :2]).max(axis=1, initial=0)
    few = longest <= SMALL * max(frame.width, frame.height)
    return Detections(found.xyxy[few], found.score[few], found.foreground[few])


def whole_faces(part: Part, found: Detections, frame: Frame) -> Detections:
    """In px of the frame, without those cut off by an edge of the part that is none of the frame."""
    xyxy = found.xyxy
    near = np.zeros(len(found), bool)
    if part.x > 0:
        near |= xyxy[:, 0] < EDGE
    if part.y > 0:
        near |= xyxy[:, 1] < EDGE
    if part.x + part.frame.width < frame.width:
        near |= xyxy[:, 2] > part.frame.width - EDGE
    if part.y + part.frame.height < frame.height:
        near |= xyxy[:, 3] > part.frame.height - EDGE
    moved = xyxy + np.array([part.x, part.y] * 2, np.float32)
    return Detections(moved[~near], found.score[~near], found.foreground[~near])


def one_each(found: Iterable[Detections]) -> Detections:
    """Several looks at one frame as one; of boxes on the same face the surest stays."""
    looks = list(found)
    xyxy = np.concatenate([f.xyxy for f in looks])
    score = np.concatenate([f.score for f in looks])
    foreground = np.concatenate([f.foreground for f in looks])
    keep = boxes.nms(xyxy, score, SAME)
    return Detections(xyxy[keep], score[keep], foreground[keep])


def together(ordinary: Detections, closer: Detections, sure: float) -> Detections:
    """Both looks. What the ordinary one found with a score of ``sure`` or more stays as it is."""
    xyxy = np.concatenate([ordinary.xyxy, closer.xyxy])
    rank: F32 = np.concatenate([ordinary.score + (ordinary.score >= sure), closer.score])
    keep = boxes.nms(xyxy, rank, SAME)
    score = np.concatenate([ordinary.score, closer.score])
    return Detections(xyxy[keep], score[keep], np.concatenate([ordinary.foreground, closer.foreground])[keep])
