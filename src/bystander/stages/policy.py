"""Tracks and people's choices -> the regions to cover. The foreground/background verdict lives here.

Everybody is covered unless there is a reason to keep them, and every doubt takes the reason away. A region is larger
than the face: hair line, ears and chin are inside, and it grows with speed and with the time unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bystander import boxes
from bystander.errors import SettingsError
from bystander.types import Choices, Region, Shape, Track, Verdict

Rule = Literal["none", "largest"]
SIDE, TOP, BOTTOM = 0.15, 0.25, 0.15  # least margin, in face widths and heights
# an ellipse in that box would cut the corners of the face box: (.5/.65)² + (.55/.70)² = 1.10²
ELLIPSE = 1.10
REACTION_S = 0.05  # the margin also holds what the face travels in this time
MAX_SPEED_MARGIN = 0.5  # face heights
LARGEST_BY = 1.3  # "largest" needs this much more area than the next, for this long
LARGEST_FOR_S = 0.5


@dataclass(frozen=True, slots=True)
class PolicySettings:
    keep: Rule = "none"
    grow: float = 1.0  # factor on the margin; never below 1
    shape: Shape = "ellipse"

    def __post_init__(self) -> None:
        if self.keep not in ("none", "largest"):
            raise SettingsError(f"keep {self.keep!r}: choose none, largest or X,Y@TIME")
        if not 1 <= self.grow <= 10:
            raise SettingsError(f"grow {self.grow}: must lie between 1 (the least safe margin) and 10")
        if self.shape not in ("ellipse", "box"):
            raise SettingsError(f"shape {self.shape!r}: choose ellipse or box")


class Policy:
    """Stateful only for the rule "largest", which must hold for a while before it keeps anybody."""

    def __init__(self, settings: PolicySettings | None = None) -> None:
        self.settings = settings or PolicySettings()
        self.leader: tuple[int, float] | None = None  # track id, leading since (track's age_s)

    def regions(self, tracks: Sequence[Track], kept: frozenset[int], width: int, height: int) -> tuple[Region, ...]:
        """What to cover in a frame of ``width`` x ``height`` luma px: everybody but ``kept``."""
        found = (region_of(t, self.settings, width, height) for t in tracks if t.id not in kept)
        return tuple(r for r in found if r is not None)

    def kept(self, tracks: Sequence[Track], choices: Choices) -> frozenset[int]:
        """Ids that stay sharp. A person's word to cover beats everything; coasting tracks are never kept."""
        wanted = {t.id for t in tracks} if choices.default is Verdict.KEEP else set(choices.keep)
        if self.settings.keep == "largest" and (leader := self.lead(tracks)) is not None:
            wanted.add(leader)
        visible = {t.id for t in tracks if t.unseen_s == 0}
        return frozenset((wanted & visible) - choices.cover)

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


def track_at(tracks: Sequence[Track], x: float, y: float) -> int | None:
    """The id of the smallest visible face whose box holds the point (luma px), or None."""
    hits = [t for t in tracks if t.unseen_s == 0 and t.xyxy[0] <= x < t.xyxy[2] and t.xyxy[1] <= y < t.xyxy[3]]
    return min(hits, key=lambda t: boxes.area(t.xyxy)[0]).id if hits else None
