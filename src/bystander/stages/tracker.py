"""Detections over time -> tracks: a decision belongs to a person, not to a frame.

First sight counts: a face is a track in the very frame it is found in. A face that is not found again coasts on its
velocity and grows with the time unseen, so that a missed detection never uncovers anybody. Weak detections may prolong
a track but not start one. The usual trackers do the opposite (SORT reports nothing for a face's first frames).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bystander import boxes
from bystander.stages.evidence import LIMIT, follow, log_odds, probability
from bystander.types import F32, Detections, Track

BLINK_S = 0.1  # a face unseen for no longer is still the same person
GHOST_S = 0.2


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    new_score: float = 0.2  # a stronger detection starts a track at once
    coast_s: float = 0.8  # how long an established face that is not found stays covered
    coast_young_s: float = 0.35  # the same for a face seen for less than ``young_s``
    young_s: float = 0.25
    reset_gap_s: float = 2.0  # a longer gap in time, or a step back, forgets all tracks
    steady_after_s: float = 0.3  # clean sight needed before a track counts as steady (again)
    growth_per_s: float = 0.5  # face sizes per second that the box grows on each side while unseen


@dataclass(slots=True)
class Face:
    """The mutable state behind a Track. Box in luma px, velocity in px per second."""

    id: int
    xyxy: F32  # (4,) newest detection, moved along while unseen
    velocity: F32  # (2,)
    score: float
    odds: float  # running mean of the evidence, log-odds
    latest: float  # evidence of the newest detection, log-odds
    first_s: float
    seen_s: float
    clean_since_s: float
    hits: int = 1

    @property
    def height(self) -> float:
        return max(1.0, float(self.xyxy[3] - self.xyxy[1]))

    @property
    def centre(self) -> F32:
        return np.asarray((self.xyxy[:2] + self.xyxy[2:]) / 2, np.float32)


class Tracker:
    """Stateful over one run; ids are never reused."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.faces: list[Face] = []
        self.ghosts: list[Face] = []  # of the shot before: covered for a moment, never found again
        self.time_s: float | None = None
        self.next_id = 1

    def update(self, found: Detections, time_s: float, width: int, height: int) -> tuple[Track, ...]:
        """Tracks at ``time_s`` (seconds, rising), faces seen and coasting, in a frame of ``width`` x ``height`` px."""
        s = self.settings
        gap = 0.0 if self.time_s is None else time_s - self.time_s
        if gap < 0 or gap > s.reset_gap_s:
            self.faces, self.ghosts = [], []
            gap = 0.0
        self.time_s = time_s
        for face in self.faces:
            move(face, gap, time_s - face.seen_s)
        strong = np.flatnonzero(found.score >= s.new_score)
        weak = np.flatnonzero(found.score < s.new_score)
        unseen = self.match(found, strong, self.faces, time_s)
        self.match(found, weak, unseen, time_s)
        for i in strong:
            if not self.claimed[i]:
                self.faces.append(self.start(found, int(i), time_s))
        self.faces = [f for f in self.faces if not self.gone(f, time_s, width, height)]
        mark_overlaps(self.faces, time_s)
        for face in self.faces:
            if face.seen_s < time_s:  # not to be found speaks against a subject
                face.odds = follow(face.odds, -LIMIT, gap, face.hits)
            if face.clean_since_s == time_s:  # better evidence from before may be of somebody else
                face.odds = min(face.odds, face.latest)
        self.ghosts = [f for f in self.ghosts if time_s - f.seen_s <= GHOST_S]
        return self.report([*self.faces, *self.ghosts], time_s)

    def cut(self) -> None:
        """Another shot begins with the next update: everybody in it is new.

        The old faces stay covered where they were for a moment, in case the cut was none (a flash).
        """
        self.ghosts += self.faces
        self.faces = []

    def match(self, found: Detections, rows: np.ndarray, faces: Sequence[Face], time_s: float) -> list[Face]:
        """Give detections ``rows`` to ``faces``, best first; returns the faces left without one."""
        if faces is self.faces:
            self.claimed = np.zeros(len(found), bool)
        left = list(faces)
        if not len(rows) or not left:
            return left
        likeness = similarity(left, found.xyxy[rows], time_s)
        taken: set[int] = set()
        for flat in np.argsort(-likeness, axis=None):
            k, j = divmod(int(flat), len(rows))
            if likeness[k, j] <= 0:
                break
            if k in taken or self.claimed[rows[j]]:
                continue
            taken.add(k)
            self.claimed[rows[j]] = True
            self.see(left[k], found, int(rows[j]), time_s)
        return [f for k, f in enumerate(left) if k not in taken]

    def start(self, found: Detections, i: int, time_s: float) -> Face:
        odds = log_odds(float(found.foreground[i]))
        face = Face(
            self.next_id, found.xyxy[i].copy(), np.zeros(2, np.float32), float(found.score[i]),
            odds, odds, time_s, time_s, time_s,
        )  # fmt: skip
        self.next_id += 1
        return face

    def see(self, face: Face, found: Detections, i: int, time_s: float) -> None:
        unseen = time_s - face.seen_s
        step = (found.xyxy[i, :2] + found.xyxy[i, 2:]) / 2 - face.centre  # beyond what the velocity foretold
        if unseen > 0:
            face.velocity += np.float32(0.5) * step / np.float32(unseen)
        if unseen > BLINK_S:  # found again: may be somebody else
            face.clean_since_s = time_s
        face.xyxy = found.xyxy[i].copy()
        face.score = float(found.score[i])
        face.hits += 1
        face.latest = log_odds(float(found.foreground[i]))
        face.odds = follow(face.odds, face.latest, unseen, face.hits)
        face.seen_s = time_s

    def gone(self, face: Face, time_s: float, width: int, height: int) -> bool:
        s, unseen = self.settings, time_s - face.seen_s
        young = face.seen_s - face.first_s < s.young_s
        if unseen > 0:
            x, y = face.centre
            if not (0 <= x < width and 0 <= y < height):
                return True
        return unseen > (s.coast_young_s if young else s.coast_s)

    def report(self, faces: Sequence[Face], time_s: float) -> tuple[Track, ...]:
        """The faces as they are now, those unseen grown by what is not known."""
        if not faces:
            return ()
        growth = np.array([self.settings.growth_per_s * (time_s - f.seen_s) for f in faces], np.float32)
        grown = boxes.grow(np.stack([f.xyxy for f in faces]), growth, growth, growth, growth).tolist()
        return tuple(
            Track(
                id=f.id, xyxy=(x1, y1, x2, y2), score=f.score, foreground=probability(f.odds),
                age_s=time_s - f.first_s, unseen_s=time_s - f.seen_s,
                speed=math.hypot(*f.velocity.tolist()) / f.height,
                steady=time_s - f.seen_s <= BLINK_S and time_s - f.clean_since_s >= self.settings.steady_after_s,
            )
            for f, (x1, y1, x2, y2) in zip(faces, grown, strict=True)
        )  # fmt: skip


def move(face: Face, gap_s: float, unseen_s: float) -> None:
    """Carry the box along its velocity, which fades while the face is unseen."""
    fade = math.exp(-max(0.0, unseen_s - gap_s) / 0.3)
    step = face.velocity * np.float32(gap_s * fade)
    face.xyxy = face.xyxy + np.concatenate((step, step))


def similarity(faces: Sequence[Face], xyxy: F32, time_s: float) -> F32:
    """(faces, detections) likeness; > 0 where they may be the same face.

    Overlap where there is some; else nearness in face sizes, so that small fast faces that jump further than their own
    width from frame to frame keep their track. The reach widens with the time unseen.
    """
    mine = np.stack([f.xyxy for f in faces])
    overlap = boxes.iou(mine, xyxy)
    centres = (mine[:, :2] + mine[:, 2:]) / 2
    theirs = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    size_a, size_b = np.sqrt(np.maximum(boxes.area(mine), 1)), np.sqrt(np.maximum(boxes.area(xyxy), 1))
    size = np.maximum(size_a[:, None], size_b[None])
    ratio = np.minimum(size_a[:, None], size_b[None]) / size
    distance = np.linalg.norm(centres[:, None] - theirs[None], axis=2) / size
    reach = np.array([1.0 + 2.0 * (time_s - f.seen_s) for f in faces], np.float32)[:, None]
    near = np.where((distance < reach) & (ratio > 0.5), 0.5 * (1 - distance / reach), 0)
    return np.asarray(np.where(overlap > 0.05, overlap, 0) + near, np.float32)


def mark_overlaps(faces: Sequence[Face], time_s: float) -> None:
    """Faces that overlap may swap identities: neither counts as steady for a while."""
    if len(faces) < 2:
        return
    overlap = boxes.iou(*[np.stack([f.xyxy for f in faces])] * 2)
    np.fill_diagonal(overlap, 0)
    for face, most in zip(faces, overlap.max(axis=1), strict=True):
        if most > 0.15:
            face.clean_since_s = time_s
