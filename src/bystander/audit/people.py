"""Who is in the original film: from a file of true tracks, or found anew with the strongest setting.

Finding: the whole picture at two scales and overlapping tiles, linked over time in both directions, gaps closed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from bystander import boxes
from bystander.errors import InputError
from bystander.run.face_filter import Click, FilterSettings, stored_point
from bystander.run.plan import BOX, ID, SCORE, UNSEEN, Look, make_plan
from bystander.stages.cuts import CutDetector
from bystander.stages.detector import Detector, DetectorSettings
from bystander.stages.tracker import TrackerSettings
from bystander.types import Detections, Frame, Model

SCALES = (640, 1280)  # px, long side of the detector's picture
TILE = 640  # px, side of a tile; neighbours share a quarter
LARGE = 960  # px: smaller pictures need no tiles, they are enlarged already
WEAK = 0.15  # score that only prolongs a track
START = 0.35  # score that starts one
SURE = 0.5  # best score of a track without which it is no face
LEAST = 2  # frames in which a track was seen
GAP_S = 1.0  # longest gap closed between two sightings of one person
ROLES = ("background", "interview", "either", "ignore")


@dataclass(frozen=True, slots=True)
class Person:
    """One person's face over the film."""

    id: int
    role: str  # background: to be covered; interview: to stay sharp; either: both are right; ignore: not counted
    boxes: dict[int, tuple[float, ...]]  # frame -> x1, y1, x2, y2 in luma px of the stored frame


def read_truth(path: Path) -> tuple[list[Person], tuple[int, int]]:
    """True tracks and the frame size they were drawn for. InputError for anything else; format: docs/audit.md."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        size = int(data["w"]), int(data["h"])
        people = [
            Person(int(t["id"]), str(t["role"]), {int(i): quad(b) for i, b in t["boxes"].items()})
            for t in data["tracks"]
        ]
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path}: is no file of true tracks ({type(e).__name__}: {e}); docs/audit.md has them") from e
    if bad := {p.role for p in people} - set(ROLES):
        raise InputError(f"{path}: unknown role {min(bad)!r}; known are {', '.join(ROLES)}")
    return people, size


def quad(box: Sequence[float]) -> tuple[float, ...]:
    x1, y1, x2, y2 = (float(v) for v in box)
    if not np.isfinite([x1, y1, x2, y2]).all() or x2 <= x1 or y2 <= y1:
        raise ValueError(f"{list(box)} is no box")
    return x1, y1, x2, y2


def look(frame: Frame, model: Model) -> Detections:
    """Every face in a frame, at all scales and in tiles."""
    found = [Detector(model, DetectorSettings(s, WEAK))(frame) for s in SCALES]
    tiled = Detector(model, DetectorSettings(TILE, WEAK))
    for x, y, part in tiles(frame):
        inside = tiled(part)
        found.append(Detections(inside.xyxy + np.array([x, y] * 2, np.float32), inside.score, inside.foreground))
    xyxy, score = np.concatenate([f.xyxy for f in found]), np.concatenate([f.score for f in found])
    keep = boxes.nms(xyxy, score, 0.4)
    return Detections(xyxy[keep], score[keep], np.zeros(len(keep), np.float32))


def tiles(frame: Frame) -> list[tuple[int, int, Frame]]:
    """(x, y, view) of overlapping parts of a large frame, luma px; corners are even, so that chroma fits."""
    if max(frame.width, frame.height) < LARGE:
        return []
    parts = []
    for y in starts(frame.height):
        for x in starts(frame.width):
            half = (slice(y // 2, (y + TILE) // 2), slice(x // 2, (x + TILE) // 2))
            luma = frame.y[y : y + TILE, x : x + TILE]
            parts.append((x, y, replace(frame, y=luma, u=frame.u[half], v=frame.v[half])))
    return parts


def starts(length: int) -> list[int]:
    last = max(0, (length - TILE + 1) // 2 * 2)
    return sorted({min(s, last) for s in range(0, last + TILE * 3 // 4, TILE * 3 // 4)})


def looks_of(frames: Iterable[Frame], model: Model, clicks: Sequence[Click]) -> tuple[list[Look], list[Click]]:
    """What is found in each frame; and the clicks (px of the upright picture), in px of the stored frame."""
    cuts, found, turned = CutDetector(), [], list(clicks)
    for frame in frames:
        if frame.index == 0:
            turned = [replace(c, x=p[0], y=p[1]) for c in clicks for p in [stored_point(c.x, c.y, frame)]]
        found.append(Look(frame.pts, frame.time_s, look(frame, model), cuts(frame)))
    return found, turned


def link(looks: Sequence[Look], size: tuple[int, int]) -> list[Person]:
    """Detections of a film whose frames are of ``size`` px -> people, each to be covered."""
    settings = FilterSettings(tracker=TrackerSettings(new_score=START))
    sights: dict[int, dict[int, tuple[float, ...]]] = defaultdict(dict)
    best: dict[int, float] = defaultdict(float)
    for i, rows in enumerate(make_plan(looks, settings, *size).packed):
        for row in () if rows is None else rows[rows[:, UNSEEN] == 0]:
            name = int(row[ID])
            sights[name][i] = tuple(row[BOX].tolist())
            best[name] = max(best[name], float(row[SCORE]))
    times = [s.time_s for s in looks]
    sure = (name for name in sorted(sights) if best[name] >= SURE and len(sights[name]) >= min(LEAST, len(looks)))
    return [Person(name, "background", closed(sights[name], times)) for name in sure]


def closed(seen: dict[int, tuple[float, ...]], times: Sequence[float]) -> dict[int, tuple[float, ...]]:
    """With the gaps of no more than ``GAP_S`` filled in a straight line."""
    filled, order = dict(seen), sorted(seen)
    for a, b in pairwise(order):
        if times[b] - times[a] > GAP_S:
            continue
        for i in range(a + 1, b):
            share = (times[i] - times[a]) / max(times[b] - times[a], 1e-9)
            filled[i] = tuple(p + share * (q - p) for p, q in zip(seen[a], seen[b], strict=True))
    return dict(sorted(filled.items()))


def with_subjects(people: Sequence[Person], clicks: Sequence[Click], times: Sequence[float]) -> list[Person]:
    """The people, those under a click as subjects. InputError where nobody is."""
    chosen = set()
    for c in clicks:
        at = min(range(len(times)), key=lambda i: abs(times[i] - c.time_s))
        here = [(b, p) for p in people if (b := p.boxes.get(at)) and b[0] <= c.x < b[2] and b[1] <= c.y < b[3]]
        if not here:
            raise InputError(f"--keep: nobody was found there at {c.time_s:g} s; choose a moment in which they look up")
        chosen.add(min(here, key=lambda f: boxes.area(f[0])[0])[1].id)
    return [replace(p, role="interview") if p.id in chosen else p for p in people]
