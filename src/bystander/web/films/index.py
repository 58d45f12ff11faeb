"""A film's saved tracks as arrays, one row a face and frame, for questions that a page asks.

Tracks file in, ``Index`` out; boxes are in px of the upright picture. Nothing here changes who is covered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bystander import boxes
from bystander.stages.policy import TOUCH
from bystander.types import F32

I32 = npt.NDArray[np.integer[Any]]
F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Index:
    times: F64  # (f,) s from the first frame, rising
    whole: Flags  # (f,) covered whole by a fault
    frame: I32  # (n,) which frame a row belongs to, rising
    track: I32  # (n,) the tracker's id
    xyxy: F32  # (n, 4) px of the upright picture
    score: F32  # (n,) 0-1
    unseen_s: F32  # (n,)
    foreground: F32  # (n,) 0-1, evidence for "interview"
    steady: Flags  # (n,)
    kept: Flags  # (n,) what the model and the rule decided
    touches: I32  # (m, 2) pairs of rows of one frame whose boxes overlap, both ways round
    thumbs: I32  # (k,) rows of which there is a picture
    size: I32  # (2,) width and height of the upright picture

    @property
    def row_times(self) -> F64:
        return self.times[self.frame]

    @property
    def seen(self) -> Flags:
        """Rows in which the face was found and may be kept."""
        return np.asarray((self.unseen_s == 0) & ~self.whole[self.frame])

    @property
    def step_s(self) -> float:
        """Between two frames."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.04

    @property
    def end_s(self) -> float:
        """Where the last frame ends."""
        return float(self.times[-1]) + self.step_s if len(self.times) else 0.0

    def save(self, path: Path) -> None:
        part = path.with_suffix(".partial")
        with part.open("wb") as f:
            np.savez(f, **{x.name: getattr(self, x.name) for x in fields(self)})
        part.replace(path)


def load_index(path: Path) -> Index:
    """OSError or ValueError where there is none."""
    with np.load(path, allow_pickle=False) as values:
        return Index(**{x.name: values[x.name] for x in fields(Index)})


def build_index(tracks: Path, rotation_deg: int) -> Index:
    """The arrays of a tracks file that this program wrote. Without thumbs."""
    times: list[float] = []
    whole: list[bool] = []
    rows: list[tuple[Any, ...]] = []
    touches: list[tuple[int, int]] = []
    with tracks.open(encoding="utf-8") as lines:
        header = json.loads(next(lines))
        for i, line in enumerate(lines):
            row = json.loads(line)
            times.append(row["time_s"])
            whole.append(row["whole"])
            touches += [(a + len(rows), b + len(rows)) for a, b in overlaps([t["xyxy"] for t in row["tracks"]])]
            rows += [
                (i, t["id"], *t["xyxy"], t["score"], t["unseen_s"], t["foreground"], t["steady"], t["kept"])
                for t in row["tracks"]
            ]
    width, height = header["width"], header["height"]
    columns = np.array(rows, np.float64).reshape(-1, 11)
    upright = (height, width) if rotation_deg % 180 else (width, height)
    score, unseen_s, foreground = columns[:, 6:9].astype(np.float32).T
    steady, kept = columns[:, 9:11].astype(np.bool_).T
    return Index(
        times=np.array(times, np.float64), whole=np.array(whole, np.bool_), frame=columns[:, 0].astype(np.int32),
        track=columns[:, 1].astype(np.int32), xyxy=turned(columns[:, 2:6], rotation_deg, width, height), score=score,
        unseen_s=unseen_s, foreground=foreground, steady=steady, kept=kept,
        touches=np.array(touches, np.int32).reshape(-1, 2), thumbs=np.zeros(0, np.int32),
        size=np.array(upright, np.int32),
    )  # fmt: skip


def overlaps(found: list[list[float]]) -> list[tuple[int, int]]:
    """Pairs of boxes that overlap, both ways round."""
    if len(found) < 2:
        return []
    near = boxes.iou(found, found) >= TOUCH
    np.fill_diagonal(near, val=False)
    return [(int(a), int(b)) for a, b in np.argwhere(near)]


def turned(xyxy: npt.NDArray[np.float64], rotation_deg: int, width: int, height: int) -> F32:
    """Boxes of the stored frame (``width`` x ``height``) in px of the upright picture."""
    x1, y1, x2, y2 = xyxy.T
    parts = {
        90: (height - y2, x1, height - y1, x2),
        180: (width - x2, height - y2, width - x1, height - y1),
        270: (y1, width - x2, y2, width - x1),
    }.get(rotation_deg, (x1, y1, x2, y2))
    return np.stack(parts, 1).astype(np.float32)


def stored(xyxy: tuple[float, float, float, float], rotation_deg: int, size: tuple[int, int]) -> tuple[float, ...]:
    """A box of the upright picture of ``size`` in px of the stored frame: ``turned`` the other way."""
    back = turned(np.array([xyxy], np.float64), -rotation_deg % 360, *size)
    return tuple(float(v) for v in back[0])
