"""A process of its own, after the analysis: arrays for the review and a small picture of everybody.

``python -m bystander.web.films.prepare FOLDER``. The small pictures show faces uncovered; they are for the film's
owner alone, as the film is.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bystander.media.reader import open_reader
from bystander.types import U8, Frame
from bystander.web.films.film import Files
from bystander.web.films.index import I32, Index, build_index
from bystander.web.films.tell import tell

SIDE = 96  # px of a small picture
MARGIN = 0.35  # of the face's size, shown around it
MOST = 4000  # small pictures
EVERY_S = 0.5  # one of each person in so much time, so that a split finds one as well
TURN = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def main(argv: list[str]) -> int:
    files = Files(Path(argv[0]))
    with closing(open_reader(files.source)) as reader:
        rotation = reader.info.rotation_deg
        index = build_index(files.tracks, rotation)
        rows = best_rows(index)
        files.thumbs.mkdir(exist_ok=True)
        wanted: dict[int, list[int]] = {}
        for row in rows.tolist():
            wanted.setdefault(int(index.frame[row]), []).append(row)
        for frame in reader if wanted else ():
            for row in wanted.pop(frame.index, ()):
                save(upright(frame, rotation), index.xyxy[row], files.thumbs / f"{row}.jpg")
            if not wanted:
                break
    done = np.array([r for r in rows.tolist() if (files.thumbs / f"{r}.jpg").exists()], np.int32)
    replace(index, thumbs=done).save(files.index)
    tell("people", people=len(np.unique(index.track)))
    return 0


def best_rows(index: Index) -> I32:
    """The best sight of each track in every ``EVERY_S``, at most ``MOST``; else those of longer spans."""
    every_s = EVERY_S
    while len(rows := best_of_spans(index, every_s)) > MOST and every_s < 1e5:
        every_s *= 2
    return rows[:MOST]


def best_of_spans(index: Index, every_s: float) -> I32:
    heights = np.maximum(index.xyxy[:, 3] - index.xyxy[:, 1], 1)
    worth = index.score * np.sqrt(heights)
    span = (index.row_times // every_s).astype(np.int64)
    seen = np.flatnonzero(index.unseen_s == 0)
    order = seen[np.lexsort((-worth[seen], span[seen], index.track[seen]))]
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(index.track[order]) != 0) | (np.diff(span[order]) != 0)
    return np.sort(order[first]).astype(np.int32)


def upright(frame: Frame, rotation_deg: int) -> U8:
    """(h, w, 3) BGR as a player shows it."""
    native: Any = frame.native
    picture = native.to_ndarray(format="bgr24")
    return np.asarray(cv2.rotate(picture, TURN[rotation_deg]) if rotation_deg else picture, np.uint8)


def save(picture: U8, xyxy: np.ndarray, path: Path) -> None:
    """A square around the box, ``SIDE`` px wide."""
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    half = max(x2 - x1, y2 - y1, 2) * (0.5 + MARGIN)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    scale = SIDE / (2 * half)
    matrix = np.array([[scale, 0, SIDE / 2 - cx * scale], [0, scale, SIDE / 2 - cy * scale]], np.float32)
    small = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    path.write_bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
