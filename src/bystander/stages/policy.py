"""Tracks and people's choices -> the regions to cover. The foreground/background verdict lives here.

Everybody is covered unless there is a reason to keep them, and every doubt takes the reason away. A person's word beats
every rule, and who was covered by a person is kept by no rule. A region is larger than the face: hair line, ears and
chin are inside, and it grows with speed and with the time unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bystander import boxes
from bystander.errors import SettingsError
from bystander.stages.evidence import DROP_AT, KEEP_AFTER_S, KEEP_AT
from bystander.types import Choices, Region, Shape, Track, Verdict

Rule = Literal["auto", "none", "largest"]
RULES = ("auto", "none", "largest")
SIDE, TOP, BOTTOM = 0.15, 0.25, 0.15  # least margin, in face widths and heights
# an ellipse in that box would cut the corners of the face box: (.5/.65)² + (.55/.70)² = 1.10²
ELLIPSE = 1.10
REACTION_S = 0.05  # the margin also holds what the face travels in this time
MAX_SPEED_MARGIN = 0.5  # face heights
LARGEST_BY = 1.3  # "largest" needs this much more area than the next, for this long
LARGEST_FOR_S = 0.5
STILL_AT = (
    0.99  # evidence that a picture without a before and after needs: 1.3 in 100 bystanders reach it (docs/log.md)
)
TOUCH = 0.02  # IoU from which a face may have changed places with one that a person covered


@dataclass(frozen=True, slots=True)
class PolicySettings:
    keep: Rule = "none"
    grow: float = 1.0  # factor on the margin; never below 1
    shape: Shape = "ellipse"
    max_subjects: int = 3  # the rule "auto" keeps no more
    still: bool = False  # one picture: no time to gather evidence, so it must be stronger

    def __post_init__(self) -> None:
        if self.keep not in RULES:
            raise SettingsError(f"keep {self.keep!r}: choose {', '.join(RULES)} or X,Y@TIME")
        if not 1 <= self.grow <= 10:
            raise SettingsError(f"grow {self.grow}: must lie between 1 (the least safe margin) and 10")
        if self.shape not in ("ellipse", "box"):
            raise SettingsError(f"shape {self.shape!r}: choose ellipse or box")
        if not 0 <= self.max_subjects <= 100:
            raise SettingsError(f"max-subjects {self.max_subjects}: must lie between 0 and 100")


@dataclass(slots=True)
class Standing:
    """What speaks for one track."""

    doubt_s: float  # the track's age at the newest doubt
    subject: bool = False


@dataclass(slots=True)
class Subjects:
    """The rule "auto": slow to keep, quick to cover again.

    A track becomes a subject after ``KEEP_AFTER_S`` of steady sight and strong mean evidence; any doubt ends that in
    the very frame. Whoever got one of the places holds it as long as the track lives, so that a doubt about one person
    never uncovers another.
    """

    settings: PolicySettings
    standing: dict[int, Standing] = field(default_factory=dict)  # by track id
    places: set[int] = field(default_factory=set)  # track ids

    def update(self, tracks: Sequence[Track]) -> frozenset[int]:
        """The subjects among the tracks of the next frame."""
        here = {t.id for t in tracks}
        self.standing = {i: s for i, s in self.standing.items() if i in here}
        self.places &= here
        kept = set()
        for t in sorted(tracks, key=lambda t: -t.foreground):
            chosen = t.foreground >= STILL_AT if self.settings.still else self.judge(t)
            if chosen and (t.id in self.places or len(self.places) < self.settings.max_subjects):
                self.places.add(t.id)
                kept.add(t.id)
        return frozenset(kept)

    def judge(self, t: Track) -> bool:
        s = self.standing.setdefault(t.id, Standing(t.age_s))
        if not t.steady or t.foreground < (DROP_AT if s.subject else KEEP_AT):
            s.doubt_s = t.age_s
        s.subject = t.age_s - s.doubt_s >= KEEP_AFTER_S
        return s.subject


class Policy:
    """Stateful over one run: rules must hold for a while before they keep anybody."""

    def __init__(self, settings: PolicySettings | None = None) -> None:
        self.settings = settings or PolicySettings()
        self.subjects = Subjects(self.settings)
        self.leader: tuple[int, float] | None = None  # track id, leading since (track's age_s)
        self.touched: set[int] = set()  # ids that may have changed places with somebody whom a person covered
        self.newest_beside: dict[int, int] = {}  # id covered by a person -> highest id seen together with it

    def change(self, settings: PolicySettings) -> None:
        """Other settings from the next frame on. Another rule has to find its people afresh."""
        if settings.keep != self.settings.keep:
            self.subjects, self.leader = Subjects(settings), None
        self.settings = self.subjects.settings = settings

    def regions(self, tracks: Sequence[Track], kept: frozenset[int], width: int, height: int) -> tuple[Region, ...]:
        """What to cover in a frame of ``width`` x ``height`` luma px: everybody but ``kept``."""
        found = (region_of(t, self.settings, width, height) for t in tracks if t.id not in kept)
        return tuple(r for r in found if r is not None)

    def kept(
        self,
        tracks: Sequence[Track],
        choices: Choices,
        zoned: frozenset[int] = frozenset(),
        judged: frozenset[int] | None = None,
    ) -> frozenset[int]:
        """Ids that stay sharp in the next frame.

        ``zoned``: those inside a zone that a person drew. ``judged``: the subjects in this frame, where the whole film
        is known; the rule "auto" then has nothing to find out. A person's word to cover beats everything; coasting
        tracks are never kept.
        """
        ruled = {t.id for t in tracks if t.steady and t.id in zoned}
        if self.settings.keep == "auto":
            ruled |= self.subjects.update(tracks) if judged is None else judged
        elif self.settings.keep == "largest" and (leader := self.lead(tracks)) is not None:
            ruled.add(leader)
        ruled -= self.barred(tracks, choices)
        named = {t.id for t in tracks} if choices.default is Verdict.KEEP else choices.keep
        visible = {t.id for t in tracks if t.unseen_s == 0}
        return frozenset(((ruled | named) & visible) - choices.cover)

    def barred(self, tracks: Sequence[Track], choices: Choices) -> set[int]:
        """Ids that no rule may keep, because they may be somebody whom a person covered.

        Who came close to such a person may have changed places with them; and once such a person is out of sight,
        whoever appears later may be them. Those seen together with them are somebody else for sure.
        """
        if not choices.rules:
            return {t.id for t in tracks}
        if not choices.cover:  # also when a person took their word back
            self.touched.clear()
            return set()
        seen = {t.id for t in tracks if t.unseen_s == 0}
        covered = [t for t in tracks if t.id in choices.cover]
        for t, row in zip(covered, boxes.iou([t.xyxy for t in covered], [t.xyxy for t in tracks]), strict=True):
            self.touched |= {other.id for other, iou in zip(tracks, row, strict=True) if iou >= TOUCH}
            if t.id in seen:
                self.newest_beside[t.id] = max(seen)
        lost = choices.cover - {t.id for t in covered}
        limit = min((self.newest_beside.get(i, i) for i in lost), default=None)
        return self.touched | (set() if limit is None else {t.id for t in tracks if t.id > limit})

    def lead(self, tracks: Sequence[Track]) -> int | None:
        """The clearly largest face, once it has been so, in plain sight, for ``LARGEST_FOR_S``."""
        areas = boxes.area([t.xyxy for t in tracks])
        order = sorted(range(len(tracks)), key=lambda i: -areas[i])
        if not order:
            self.leader = None
            return None
        best = tracks[order[0]]
        rival = areas[order[1]] if len(order) > 1 else 0.0
        if not best.steady or areas[order[0]] < LARGEST_BY * rival:
            self.leader = None
            return None
        if self.leader is None or self.leader[0] != best.id:
            self.leader = (best.id, best.age_s)
        return best.id if best.age_s - self.leader[1] >= LARGEST_FOR_S else None


def region_of(track: Track, settings: PolicySettings, width: int, height: int) -> Region | None:
    """The patch that covers this face; None when it lies outside the frame."""
    extra = min(track.speed * REACTION_S, MAX_SPEED_MARGIN)
    side, top, bottom = ((m + extra) * settings.grow for m in (SIDE, TOP, BOTTOM))
    x1, y1, x2, y2 = (float(v) for v in boxes.grow(track.xyxy, side, top, side, bottom)[0])
    if settings.shape == "ellipse":
        cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * ELLIPSE, (y2 - y1) * ELLIPSE
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    # an ellipse must not be squeezed into what is left at the frame's edge: it would no longer hold the face
    cut = x1 < 0 or y1 < 0 or x2 > width or y2 > height
    corners = boxes.round_outward((x1, y1, x2, y2), width, height)
    return None if corners is None else Region(*corners, "box" if cut else settings.shape, track.id)


def tracks_at(tracks: Sequence[Track], x: float, y: float) -> list[int]:
    """The ids of all faces whose box holds the point (luma px), smallest first; coasting ones too."""
    hits = [t for t in tracks if t.xyxy[0] <= x < t.xyxy[2] and t.xyxy[1] <= y < t.xyxy[3]]
    return [t.id for t in sorted(hits, key=lambda t: boxes.area(t.xyxy)[0])]


def track_at(tracks: Sequence[Track], x: float, y: float) -> int | None:
    """The id of the smallest visible face whose box holds the point (luma px), or None."""
    return next(iter(tracks_at([t for t in tracks if t.unseen_s == 0], x, y)), None)
