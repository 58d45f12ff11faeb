"""Two films and the people in the first -> who can be seen in the second, when, and what was covered for nothing.

Pixels are compared, never anybody's regions. Pictures come in one after the other and none is kept but small crops of
the covered film at its worst moments; of the original not one pixel leaves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from bystander.audit.people import Person
from bystander.audit.structure import BLOCK, blocks, exposed, high_pass
from bystander.types import F32, U8

MIN_SIDE = 14.0  # px: smaller faces are counted apart
AROUND = 0.75  # of a face's width and height on each side: cover so near is no stray cover
CROPS = 12
FOREIGN = 0.3  # share of clear blocks with other structure from which these are not two copies of one film
Step = tuple[float, bool | None]  # time in s, exposed


@dataclass(slots=True)
class Story:
    """One person through the covered film."""

    person: Person
    steps: list[Step] = field(default_factory=list)  # of the frames in which the face is large enough
    small: list[Step] = field(default_factory=list)  # and of the others
    run: int = 0  # frames exposed in a row, now
    since_s: float = 0.0
    longest: int = 0
    longest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A face that can be seen in the covered film."""

    frame: int  # of the covered film
    time_s: float
    person: int
    box: tuple[float, ...]  # px of the picture that was compared
    crop: U8  # (h, w) luma of the covered film

    @property
    def size(self) -> float:
        return self.box[3] - self.box[1]


@dataclass(slots=True)
class Verdict:
    """All that was counted."""

    stories: list[Story]
    moments: list[Moment] = field(default_factory=list)
    frames: int = 0
    changed: float = 0.0  # sum over frames of the share of the picture that was changed away from faces
    foreign: float = 0.0  # sum of blocks
    clear: float = 0.0

    @property
    def alien(self) -> bool:
        """Whether the films do not show the same, so that nothing can be said."""
        return self.foreign > FOREIGN * max(self.clear, 1.0)


def pairing(original: Sequence[float], covered: Sequence[float]) -> list[list[int]]:
    """For each frame of the covered film the frames of the original that it may show, the likeliest first.

    As many frames: one to one, whatever their times. Otherwise the frame nearest in time and its two neighbours: the
    face counts as exposed if it is so against any of them.
    """
    if len(original) == len(covered):
        return [[i] for i in range(len(covered))]
    pairs = []
    for t in covered:
        k = min(bisect_left(original, t), len(original) - 1)
        if k > 0 and t - original[k - 1] < original[k] - t:
            k -= 1
        pairs.append([k, *(i for i in (k - 1, k + 1) if 0 <= i < len(original))])
    return pairs


@dataclass(frozen=True, slots=True)
class Limits:
    min_side: float = MIN_SIDE  # px of the original
    scale: float = 1.0  # compared px per px of the original, 1 or less
    frame_s: float = 0.04  # how long the last frame is shown


def judge(
    before: Iterable[tuple[float, U8]],
    after: Iterable[tuple[float, U8]],
    people: Sequence[Person],
    pairs: Sequence[Sequence[int]],
    limits: Limits,
) -> Verdict:
    """Compare two films of grey pictures of one size, see ``pairing``. Boxes of ``people`` are in px of that size."""
    verdict = Verdict([Story(p) for p in people if p.role != "ignore"])
    unseen = [p for p in people if p.role == "ignore"]
    originals = Window(before)
    last_s = 0.0
    for index, (time_s, covered) in enumerate(after):
        if index >= len(pairs):
            break
        seen = originals.upto(max(pairs[index]))
        found = [(i, *seen[i]) for i in pairs[index] if i in seen]
        pass_ = high_pass(covered)
        last_s = time_s
        for story in verdict.stories:
            follow(story, index, time_s, found, (covered, pass_), limits, verdict)
        if found:
            stray(verdict, found[0], covered, pass_, [s.person for s in verdict.stories] + unseen)
        verdict.frames += 1
    for story in verdict.stories:  # a run up to the last frame lasts as long as that is shown
        ended(story, last_s + limits.frame_s)
    verdict.moments = worst(verdict.moments)
    return verdict


class Window:
    """The newest three pictures of the original with their high-pass, by index."""

    def __init__(self, pictures: Iterable[tuple[float, U8]]) -> None:
        self.pictures: Iterator[tuple[float, U8]] = iter(pictures)
        self.kept: deque[tuple[int, tuple[U8, F32]]] = deque(maxlen=3)
        self.next = 0

    def upto(self, index: int) -> dict[int, tuple[U8, F32]]:
        while self.next <= index and (item := next(self.pictures, None)) is not None:
            self.kept.append((self.next, (item[1], high_pass(item[1]))))
            self.next += 1
        return dict(self.kept)


def follow(
    story: Story,
    index: int,
    time_s: float,
    originals: Sequence[tuple[int, U8, F32]],
    covered: tuple[U8, F32],
    limits: Limits,
    verdict: Verdict,
) -> None:
    """One person in one frame of the covered film."""
    states = []
    box: tuple[float, ...] | None = None
    for i, _, pass_ in originals:
        if (there := story.person.boxes.get(i)) is not None:
            box = box or there
            states.append(exposed(pass_, covered[1], there))
    state = None if not states else True if True in states else False if False in states else None
    large = box is not None and min(box[2] - box[0], box[3] - box[1]) >= limits.min_side * limits.scale
    if box is not None and state is not None:
        (story.steps if large else story.small).append((time_s, state))
    if not (state and large and box is not None):
        ended(story, time_s)
        return
    if not story.run:
        story.since_s = time_s
    story.run += 1
    if story.person.role == "background":
        note(verdict, Moment(index, time_s, story.person.id, box, crop_of(covered[0], box)))


def ended(story: Story, time_s: float) -> None:
    """The face is not, or no longer, exposed at this time."""
    if story.run:
        story.longest = max(story.longest, story.run)
        story.longest_s = max(story.longest_s, time_s - story.since_s)
    story.run = 0


def note(verdict: Verdict, moment: Moment) -> None:
    verdict.moments.append(moment)
    if len(verdict.moments) > 8 * CROPS:
        verdict.moments = worst(verdict.moments)


def worst(moments: Sequence[Moment]) -> list[Moment]:
    """The largest faces, a person at most twice unless there is room."""
    ranked, of = sorted(moments, key=lambda m: -m.size), dict[int, int]()
    places = []
    for m in ranked:
        of[m.person] = of.get(m.person, 0) + 1
        places.append((of[m.person] > 2, -m.size, m.frame))
    order = sorted(range(len(ranked)), key=lambda k: places[k])[:CROPS]
    return [ranked[k] for k in order]


def crop_of(luma: U8, box: Sequence[float]) -> U8:
    """The face with its surroundings, 200 px square at most."""
    x1, y1, x2, y2 = box
    m, (cx, cy), (h, w) = max(y2 - y1, x2 - x1) * 1.2, ((x1 + x2) / 2, (y1 + y2) / 2), luma.shape
    part = luma[max(0, int(cy - m)) : min(h, int(cy + m)) + 1, max(0, int(cx - m)) : min(w, int(cx + m)) + 1]
    scale = 200 / max(part.shape)
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)


def stray(verdict: Verdict, original: tuple[int, U8, F32], covered: U8, pass_: F32, people: Sequence[Person]) -> None:
    """Count what was changed away from every face."""
    index, luma, before = original
    if min(luma.shape) < BLOCK:
        return
    difference = np.asarray(cv2.absdiff(luma, covered), np.float32)
    changed, foreign, clear = blocks(before, pass_, difference)
    away = np.ones_like(changed)
    for p in people:
        if (box := p.boxes.get(index)) is not None:
            x1, y1, x2, y2 = box
            w, h = (x2 - x1) * AROUND, (y2 - y1) * AROUND
            left, top = max(0, int((x1 - w) // BLOCK)), max(0, int((y1 - h) // BLOCK))
            away[top : max(0, int((y2 + h) // BLOCK) + 1), left : max(0, int((x2 + w) // BLOCK) + 1)] = 0
    verdict.changed += float((changed * away).mean())
    verdict.foreign += float((foreign * away).sum())
    verdict.clear += float((clear * away).sum())
