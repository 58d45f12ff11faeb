"""Who is missed: shares of faces by what the picture shows of them (``traits``), with intervals over images or films.

For faces: the share found. For roles: the share of subjects kept, and of bystanders kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from bystander import boxes
from bystander.types import Detections
from bystander_lab.ap import IOU, ImageResult
from bystander_lab.bootstrap import Interval, interval
from bystander_lab.evaluate import FOUND, group_of, scale_of
from bystander_lab.markdown import table
from bystander_lab.role_eval import judge_faces
from bystander_lab.traits import order, traits
from bystander_lab.widerface import Sample, read_image

LEAST = 20  # faces; of fewer no share is shown
Traits = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Face:
    """One true face: what it shows, and whether the detector did what is counted."""

    traits: Traits
    hit: bool
    group: Hashable  # what it is resampled with


@dataclass(frozen=True, slots=True)
class Share:
    """One row of a table."""

    trait: str
    value: str
    faces: int
    share: float  # 0-1
    sure: Interval


def shares(faces: Iterable[Face]) -> list[Share]:
    """A row for every trait and value."""
    seen: dict[tuple[str, str], list[Face]] = defaultdict(list)
    for face in faces:
        for key in face.traits:
            seen[key].append(face)
    return [row(*key, seen[key]) for key in sorted(seen, key=order)]


def row(trait: str, value: str, faces: list[Face]) -> Share:
    hit = np.array([f.hit for f in faces])

    def figure(weight: np.ndarray) -> float:
        return float((weight * hit).sum() / weight.sum()) if weight.sum() else float("nan")

    return Share(trait, value, len(faces), float(hit.mean()), interval(figure, [f.group for f in faces]))


def faces_found(samples: list[Sample], results: list[tuple[str, ImageResult]]) -> list[Face]:
    """Every true face; hit: found at a score of ``FOUND`` and more. DataError when an image does not decode."""
    out = []
    for s, (_, r) in zip(samples, results, strict=True):
        rgb = read_image(s.path)
        overlap = boxes.iou(s.xyxy * scale_of(rgb), r.found[r.score >= FOUND])
        hit = (overlap >= IOU).any(1)
        out += [Face(tuple(traits(rgb, s, i)), bool(hit[i]), group_of(s)) for i in np.flatnonzero(~s.invalid)]
    return out


def faces_kept(samples: list[Sample], found: list[Detections], threshold: float) -> tuple[list[Face], list[Face]]:
    """Subjects and bystanders; hit: kept at this evidence. DataError when an image does not decode."""
    subjects, bystanders = [], []
    for s, d in zip(samples, found, strict=True):
        rgb = read_image(s.path)
        for j in judge_faces(s, d):
            face = Face(tuple(traits(rgb, s, j.face)), j.evidence >= threshold, group_of(s))
            (subjects if j.subject else bystanders).append(face)
    return subjects, bystanders


def percent(r: Share | None) -> str:
    """The share and its interval, or that there are too few faces for one."""
    if r is None or r.faces < LEAST:
        return "too few"
    low, high = (100 * v for v in r.sure)
    return f"{100 * r.share:.1f} % ({low:.1f}-{high:.1f})"


def render_breakdown(rows: list[Share]) -> str:
    """A Markdown table."""
    head = ("by", "of the face", "faces", f"found (score {FOUND} and more)")
    return table(head, [(r.trait, r.value, str(r.faces), percent(r)) for r in rows])


def render_roles_breakdown(subjects: list[Share], bystanders: list[Share], threshold: float) -> str:
    """A Markdown table."""
    kept, wrong = ({(r.trait, r.value): r for r in rows} for rows in (subjects, bystanders))
    head = ("by", "of the face", "subjects", f"kept (evidence {threshold} and more)", "bystanders", "kept")
    rows = []
    for key in sorted(kept.keys() | wrong.keys(), key=order):
        mine, other = kept.get(key), wrong.get(key)
        counts = [str(r.faces if r else 0) for r in (mine, other)]
        rows.append((*key, counts[0], percent(mine), counts[1], percent(other)))
    return table(head, rows)
