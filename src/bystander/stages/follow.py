"""Follows faces that the detector does not see, by what they looked like: template search in neighbouring frames.

Grey thumbnails of frames in order and the tracker's faces go in; out come boxes of where unseen faces are now, and of
where new faces were before. A head that turns away still looks nearly as it did a frame ago, so the cover stays on it.
Never over a shot cut, never over the picture's edge, and never for longer than ``LIMIT_S``; what was hardly seen, much
less long. No frame is kept, but of
the newest ``PAST_S`` seconds one thumbnail each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from bystander import boxes
from bystander.types import F32, U8, Frame, Track

LONG_SIDE = 1280  # px of a thumbnail at most
PAST_S, PAST_FRAMES = 1.0, 60  # how far back a new face is looked for, whichever is less
LIMIT_S = 1.5  # how long an unseen face is followed
DOUBTFUL_S = 0.3  # and one that was seen less than ``SIGHTS`` times, and never with a score of ``SURE``
SIGHTS, SURE = 3, 0.5
MOST = 40  # faces followed at once
HEAD = 0.1  # of the box's sides: what is looked for is a little more than the face, hardly what is behind it
REACH = 0.8  # of the box's longer side: how far it may have moved from one frame to the next
SIDE = 24  # px, to which what is looked for is shrunk
ALIKE = 0.7  # correlation from which it is the same head
FADED = 0.85  # and below which it is remembered as it looks now: a head turns away bit by bit
STRANGE = 0.3  # correlation with how it looked when it was found, below which it is something else by now
COARSE = 160  # px, long side of the picture in which the camera's own movement is measured
CERTAIN = 0.1  # response of the phase correlation, 0-1, from which that movement is believed
WHIP = 0.3  # of the face's longer side: a camera that moves more a frame carries faces along, blurred beyond likeness
WHIP_S = 0.4  # and for no longer than this
LEAST, PLAIN = 8, 4.0  # px and standard deviation of luma: what is smaller or plainer is like anything
FOUND = 0.3  # IoU with a face that is seen, from which it is that face
GROWTH_PER_S = 0.2  # box sizes on each side, by which a followed box becomes less certain


@dataclass(frozen=True, slots=True)
class Thumb:
    """What is kept of a frame."""

    index: int
    time_s: float
    luma: U8
    scale: float  # thumbnail px per luma px
    coarse: F32
    step: F32  # (2,) px by which the camera moved everything since the frame before


@dataclass(frozen=True, slots=True)
class Guess:
    """Where a face is that was not seen, in luma px of the frame."""

    frame: int
    track: int  # id
    xyxy: tuple[float, float, float, float]
    unseen_s: float


@dataclass(frozen=True, slots=True)
class Lead:
    """A face on the way, as it looked in the last frame in which it was found."""

    track: int
    xyxy: F32  # (4,) of the face, thumbnail px
    corner: tuple[float, float]  # of what is looked for, thumbnail px; its size is that of ``looks`` / ``shrink``
    first: U8  # the head when it was found, ``SIDE`` px at its longer side
    looks: U8  # the same, or as it looks by now
    shrink: float  # px of ``looks`` per thumbnail px
    seen_s: float
    limit_s: float = LIMIT_S


class Follower:
    """Stateful over one run, frames in order."""

    def __init__(self) -> None:
        self.past: deque[Thumb] = deque()
        self.leads: list[Lead] = []
        self.seen: dict[int, int] = {}  # track id -> frame in which it was last seen
        self.worth: dict[int, int] = {}  # track id -> sightings

    def update(self, frame: Frame, cut: bool, tracks: Sequence[Track]) -> list[Guess]:
        """What is known of faces not seen: in this frame, and in those before of the ones that are seen (again)."""
        now = thumb_of(frame, self.past[-1] if self.past else None)
        if cut and not now.step.any():  # a whip of the camera looks like a cut, but the picture can be found again
            self.past.clear()
            self.leads = []
        seen = [t for t in tracks if t.unseen_s == 0]
        guesses = self._ahead(now, seen)
        leads = [lead_of(t, now) for t in seen]
        for t, lead in zip(seen, leads, strict=True):
            guesses += before(lead, now, self.past, self.seen.get(t.id, -1))
            self.seen[t.id] = now.index
            self.worth[t.id] = self.worth.get(t.id, 0) + (SIGHTS if t.score >= SURE else 1)
        self._remember(now, seen, leads)
        return guesses

    def _ahead(self, now: Thumb, seen: Sequence[Track]) -> list[Guess]:
        """Follow those who are not seen any more; who is found again, by whatever name, is followed no longer."""
        ids, xyxy = {t.id for t in seen}, np.array([t.xyxy for t in seen], np.float32).reshape(-1, 4) * now.scale
        followed, guesses = [], []
        for lead in self.leads:
            if lead.track in ids or now.time_s - lead.seen_s > lead.limit_s:
                continue
            found = follow(lead, now, now.step)
            if found is None or boxes.iou(found.xyxy, xyxy).max(initial=0) > FOUND:
                continue
            followed.append(found)
            guesses.append(guess_of(found, now))
        self.leads = followed
        return guesses

    def _remember(self, now: Thumb, seen: Sequence[Track], leads: Sequence[Lead]) -> None:
        room = MOST - len(self.leads)
        for t, lead in list(zip(seen, leads, strict=True))[:room]:
            limit_s = LIMIT_S if self.worth[t.id] >= SIGHTS else DOUBTFUL_S
            self.leads.append(replace(lead, limit_s=limit_s))
        self.past.append(now)
        while now.time_s - self.past[0].time_s > PAST_S or len(self.past) > PAST_FRAMES:
            self.past.popleft()


def before(lead: Lead, now: Thumb, past: Sequence[Thumb], last: int) -> list[Guess]:
    """Where a face was in the frames before ``now`` and after frame ``last``, as far as it can be followed."""
    guesses: list[Guess] = []
    later = now
    for thumb in reversed(past):
        found = follow(lead, thumb, -later.step) if thumb.index > last else None
        if found is None:
            break
        lead, later = found, thumb
        guesses.append(guess_of(lead, thumb))
    return guesses


def thumb_of(frame: Frame, before: Thumb | None) -> Thumb:
    """A copy, at most ``LONG_SIDE`` px wide or high."""
    scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    luma = resized(frame.y, scale) if scale < 1 else frame.y.copy()
    coarse = resized(luma, COARSE / max(luma.shape)).astype(np.float32)
    return Thumb(frame.index, frame.time_s, luma, scale, coarse, camera_step(before, coarse, luma.shape[1]))


def camera_step(before: Thumb | None, coarse: F32, width: int) -> F32:
    """(2,) px of a thumbnail ``width`` px wide by which the whole picture moved; 0 where that is not certain."""
    if before is None or min(coarse.shape) < LEAST or before.coarse.shape != coarse.shape:
        return np.zeros(2, np.float32)
    window = cv2.createHanningWindow(coarse.shape[::-1], cv2.CV_32F)
    step, response = cv2.phaseCorrelate(before.coarse, coarse, window)
    sure = response >= CERTAIN
    return np.array(step, np.float32) * np.float32(width / coarse.shape[1] if sure else 0)


def follow(lead: Lead, thumb: Thumb, step: F32) -> Lead | None:
    """The lead in the next picture, which the camera moved by ``step`` px; None where it is not to be found there."""
    x, y = (float(v) for v in step)
    carried = replace(lead, xyxy=lead.xyxy + np.array([x, y, x, y], np.float32),
                      corner=(lead.corner[0] + x, lead.corner[1] + y))  # fmt: skip
    found = search(carried, thumb.luma)
    if found is None:
        whips = max(abs(x), abs(y)) > WHIP * float(max(lead.xyxy[2:] - lead.xyxy[:2]))
        found = carried if whips and abs(thumb.time_s - lead.seen_s) <= WHIP_S else None
    return found if found is not None and inside(found.xyxy, thumb.luma) else None


def inside(xyxy: F32, luma: U8) -> bool:
    """Whether the middle of the box lies in the picture."""
    x, y = (float(v) for v in (xyxy[:2] + xyxy[2:]) / 2)
    return bool(0 <= x < luma.shape[1] and 0 <= y < luma.shape[0])


def lead_of(track: Track, now: Thumb) -> Lead:
    xyxy = np.array(track.xyxy, np.float32) * np.float32(now.scale)
    head = boxes.grow(xyxy, HEAD, HEAD, HEAD, HEAD)[0]
    part, corner = cut_out(now.luma, head)
    shrink = SIDE / max(float(max(head[2:] - head[:2])), 1.0)
    looks = resized(part, shrink)
    return Lead(track.id, xyxy, corner, looks, looks, shrink, now.time_s)


def guess_of(lead: Lead, now: Thumb) -> Guess:
    unseen_s = abs(now.time_s - lead.seen_s)
    grown = boxes.grow(lead.xyxy / now.scale, *[GROWTH_PER_S * unseen_s] * 4)[0]
    x1, y1, x2, y2 = (float(v) for v in grown)
    return Guess(now.index, lead.track, (x1, y1, x2, y2), unseen_s)


def search(lead: Lead, luma: U8) -> Lead | None:
    """The lead in another picture; None where nothing near looks like it."""
    if min(lead.looks.shape) < LEAST or lead.looks.std() < PLAIN:
        return None
    (left, top), reach = lead.corner, REACH * float(max(lead.xyxy[2:] - lead.xyxy[:2]))
    h, w = (n / lead.shrink for n in lead.looks.shape)
    part, corner = cut_out(luma, (left - reach, top - reach, left + w + reach, top + h + reach))
    small = resized(part, lead.shrink)
    if small.shape[0] < lead.looks.shape[0] or small.shape[1] < lead.looks.shape[1]:
        return None
    likeness = np.asarray(cv2.matchTemplate(small, lead.looks, cv2.TM_CCOEFF_NORMED), np.float32)
    _, best, _, (x, y) = cv2.minMaxLoc(likeness)
    there = small[y : y + lead.looks.shape[0], x : x + lead.looks.shape[1]]
    if not best >= ALIKE or not cv2.matchTemplate(there, lead.first, cv2.TM_CCOEFF_NORMED)[0, 0] >= STRANGE:
        return None  # also where a correlation is no number
    at = corner[0] + finer(likeness[y], x) / lead.shrink, corner[1] + finer(likeness[:, x], y) / lead.shrink
    step = np.array([at[0] - left, at[1] - top] * 2, np.float32)
    # remembered anew each time, it would lose every movement of less than a pixel
    return replace(lead, xyxy=lead.xyxy + step, corner=at, looks=there.copy() if best < FADED else lead.looks)


def cut_out(luma: U8, xyxy: Sequence[float] | F32) -> tuple[U8, tuple[float, float]]:
    """The part of the picture in this box, and its corner, px; empty where it lies outside."""
    x1, y1 = max(0, int(xyxy[0])), max(0, int(xyxy[1]))
    part = luma[y1 : max(y1, int(np.ceil(xyxy[3]))), x1 : max(x1, int(np.ceil(xyxy[2])))]
    return part, (float(x1), float(y1))


def resized(part: U8, scale: float) -> U8:
    h, w = (round(n * scale) for n in part.shape)
    if h < 1 or w < 1:
        return np.zeros((0, 0), np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (w, h), interpolation=how), np.uint8)


def finer(row: F32, at: int) -> float:
    """The place of a peak between pixels, by a parabola through it and its neighbours."""
    if not 0 < at < len(row) - 1:
        return float(at)
    a, b, c = (float(v) for v in row[at - 1 : at + 2])
    return at + 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else float(at)
