"""The stages in order for one frame, and the one catch-all of the program.

A ``Frame`` goes in, a ``CoveredFrame`` comes out, always: whatever goes wrong in a stage covers the whole frame. The
raw frame is never returned.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np

from bystander import boxes
from bystander.run.meters import Meters
from bystander.stages.cover import CoverSettings, Memory, cover, cover_whole
from bystander.stages.cuts import CutDetector
from bystander.stages.policy import Policy, PolicySettings, track_at, tracks_at
from bystander.stages.tracker import Tracker, TrackerSettings
from bystander.types import Choices, CoveredFrame, Detections, Frame, Track, Verdict

T = TypeVar("T")
log = logging.getLogger("bystander")
Detect = Callable[[Frame], Detections]
Recorder = Callable[[CoveredFrame, Sequence[Track], frozenset[int]], None]  # frame, its tracks, ids kept
MAX_FACES = 2000  # more in one frame is nonsense


@dataclass(frozen=True, slots=True)
class Click:
    """A person's word: keep, or cover, whoever is under this point at this time."""

    x: float  # px of the upright picture, as a player shows it
    y: float
    time_s: float
    verdict: Verdict = Verdict.KEEP


@dataclass(frozen=True, slots=True)
class Zone:
    """A person's word: keep whoever's face has its middle in here."""

    x: float  # px of the upright picture
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class FilterSettings:
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    cover: CoverSettings = field(default_factory=CoverSettings)
    clicks: tuple[Click, ...] = ()
    zones: tuple[Zone, ...] = ()
    lookback_s: float = 0.4  # a new face is covered in so much of the past, too
    lookback_frames: int = 60  # and in no more frames, so that memory is bounded at any frame rate


@dataclass(frozen=True, slots=True)
class Planned:
    """A frame on its way: what is known about it, not yet painted. ``tracks`` None: cover it whole."""

    frame: Frame
    tracks: tuple[Track, ...] | None
    shot: int = 0
    subjects: frozenset[int] | None = None  # known from the whole film; None: the policy decides as it goes


class Script(Protocol):
    """What a whole film's analysis has decided."""

    def at(self, frame: Frame) -> tuple[tuple[Track, ...], frozenset[int]] | None: ...


class FaceFilter:
    """Detect in any thread; plan and paint in one."""

    def __init__(
        self, detector: Detect, settings: FilterSettings, meters: Meters, record: Recorder | None = None
    ) -> None:
        self.record = record
        self.detector, self.settings, self.meters = detector, settings, meters
        self.script: Script | None = None  # when set, frames are painted as planned; nothing is detected or tracked
        self.tracker = Tracker(settings.tracker)
        self.policy = Policy(settings.policy)
        self.memory = Memory()  # of how each track is painted
        self.clicks = sorted(settings.clicks, key=lambda c: c.time_s)
        # until everybody whom a person covers was found, anybody may be one of them
        self.choices = Choices(rules=not any(c.verdict is Verdict.COVER for c in self.clicks))
        self.unplaced = False  # somebody whom a person covered was not found
        self.cuts, self.shot = CutDetector(), 0
        self.held: deque[Planned] = deque()  # frames that a face found soon may still reach back into
        self.known: set[int] = set()
        self.newest: tuple[Track, ...] = ()  # faces in the newest frame
        self.panic = False  # True: every frame is covered whole, those that wait as well

    def detect(self, frame: Frame, closer: Detect | None = None) -> Detections | None:
        """Faces of a frame, or None when the detector failed or returned nonsense. Safe in several threads.

        ``closer`` looks instead of the ordinary detector.
        """
        if self.script is not None:
            return Detections.none()
        look = closer or self.detector
        return self.guarded(
            "detector", "look closer" if closer else "detect", lambda: sane(look(frame), frame.width, frame.height)
        )

    def guarded(self, stage: str, meter: str, work: Callable[[], T]) -> T | None:
        """What ``work`` returns; None when it failed, so that the frame is to be covered whole."""
        try:
            with self.meters.stage(meter):
                return work()
        except Exception as e:
            self._failed(stage, e)
            return None

    def push(self, frame: Frame, found: Detections | None) -> list[CoveredFrame]:
        """Take the next frame; returns the frames that are ready to leave, covered, in order."""
        try:
            with self.meters.stage("track"):
                planned = self._plan(frame, found) if self.script is None else self._follow(frame, self.script)
        except Exception as e:
            self._failed("tracker", e)
            planned = Planned(frame, None)
        self.held.append(planned)
        ready = []
        while self.held and self._due(frame.time_s):
            ready.append(self._paint(self.held.popleft()))
        return ready

    def _due(self, now_s: float) -> bool:
        if self.script is not None:
            return True
        old = now_s - self.held[0].frame.time_s >= self.settings.lookback_s
        return old or len(self.held) > self.settings.lookback_frames

    def flush(self) -> list[CoveredFrame]:
        """The frames still held, covered."""
        ready = self.release()
        for click in self.clicks:
            log.warning("the film ends before %.2f s; nobody was found for that point", click.time_s)
        return ready

    def release(self) -> list[CoveredFrame]:
        """The frames still held, covered, when no more come for a while."""
        ready = []
        while self.held:
            ready.append(self._paint(self.held.popleft()))
        return ready

    def restart(self) -> list[CoveredFrame]:
        """The frames still held, covered. Tracks are forgotten: what comes next is another picture."""
        ready = self.release()
        self.tracker.faces, self.tracker.ghosts = [], []
        return ready

    def change(self, policy: PolicySettings, cover: CoverSettings) -> bool:
        """Go on by other rules, in another style; frames that wait as well. False when they are the same."""
        other = (policy, cover) != (self.settings.policy, self.settings.cover)
        if other:
            self.settings = replace(self.settings, policy=policy, cover=cover)
            self.policy.change(policy)
        return other

    def _follow(self, frame: Frame, script: Script) -> Planned:
        found = script.at(frame)
        if found is None:
            return Planned(frame, None)
        tracks, subjects = found
        self._due_clicks(frame, tracks)
        self.known.update(t.id for t in tracks)
        self.meters.counts["people"] = len(self.known)
        return Planned(frame, tracks, subjects=subjects)

    def _plan(self, frame: Frame, found: Detections | None) -> Planned:
        if self.cuts(frame):
            self.shot += 1
            self.tracker.cut()
        if found is None:
            return Planned(frame, None, self.shot)
        tracks = self.newest = self.tracker.update(found, frame.time_s, frame.width, frame.height)
        self._due_clicks(frame, tracks)
        fresh = [t for t in tracks if t.id not in self.known]
        self.known.update(t.id for t in fresh)
        if fresh:
            for i, planned in enumerate(self.held):
                if planned.shot == self.shot:  # before a cut the same place shows something else
                    self.held[i] = replace(planned, tracks=reach_back(planned, fresh, frame.time_s))
        self.meters.counts["people"] = len(self.known)
        return Planned(frame, tracks, self.shot)

    def _due_clicks(self, frame: Frame, tracks: Sequence[Track]) -> None:
        while self.clicks and self.clicks[0].time_s <= frame.time_s:
            self._click(self.clicks.pop(0), frame, tracks)

    def _click(self, click: Click, frame: Frame, tracks: Sequence[Track]) -> None:
        point, c = stored_point(click.x, click.y, frame), self.choices
        if click.verdict is Verdict.COVER:
            hits = tracks_at(tracks, *point)
            waiting = any(later.verdict is Verdict.COVER for later in self.clicks)
            self.unplaced |= not hits
            c = replace(c, cover=c.cover | set(hits), rules=not waiting and not self.unplaced)
        else:
            hit = track_at(tracks, *point)
            hits = [] if hit is None else [hit]
            c = replace(c, keep=c.keep | set(hits))
        self.choices = replace(c, version=c.version + 1)
        if not hits:
            so = (
                "no rule keeps anybody, as it may be them"
                if click.verdict is Verdict.COVER
                else "nobody is kept for it"
            )
            log.warning("nobody is at %g,%g at %.2f s; %s", click.x, click.y, click.time_s, so)

    def _paint(self, planned: Planned) -> CoveredFrame:
        covered, kept = self._covered(planned)
        self.meters.count("frames")
        self.meters.count("faces", len(covered.regions))
        if self.record:  # outside the catch-all: a full disk ends the run, it is no reason to cover the picture
            self.record(covered, planned.tracks or (), kept)
        return covered

    def _covered(self, planned: Planned) -> tuple[CoveredFrame, frozenset[int]]:
        """The painted frame and the ids that stayed sharp in it."""
        frame = planned.frame
        if planned.tracks is None or self.panic:
            return cover_whole(frame), frozenset()
        try:
            with self.meters.stage("cover"):
                zoned = in_zones(planned, self.settings.zones)
                kept = self.policy.kept(planned.tracks, self.choices, zoned, planned.subjects)
                regions = self.policy.regions(planned.tracks, kept, frame.width, frame.height)
                return cover(frame, regions, self.settings.cover, self.memory), kept
        except Exception as e:
            self._failed("cover", e)
            return cover_whole(frame), frozenset()

    def _failed(self, stage: str, e: Exception) -> None:
        kind = f"{stage}: {type(e).__name__}"
        if self.meters.fail_safe(kind):
            log.error("%s failed (%s: %s); such frames are covered whole", stage, type(e).__name__, e)


def reach_back(planned: Planned, fresh: Sequence[Track], now_s: float) -> tuple[Track, ...] | None:
    """The plan of an earlier frame with the faces found only now: where they first were, grown with time."""
    if planned.tracks is None:
        return None
    before_s = now_s - planned.frame.time_s
    margin = reach(before_s)
    added = []
    for t in fresh:
        x1, y1, x2, y2 = (float(v) for v in boxes.grow(t.xyxy, margin, margin, margin, margin)[0])
        added.append(replace(t, xyxy=(x1, y1, x2, y2), unseen_s=before_s, age_s=0.0, steady=False))
    return planned.tracks + tuple(added)


def reach(before_s: float) -> float:
    """How far a face may have been from where it was first seen so long after, in face sizes."""
    return min(0.6, 1.5 * before_s)  # a walker 3 m away moves about 1.5 face widths a second


def in_zones(planned: Planned, zones: Sequence[Zone]) -> frozenset[int]:
    """Ids of the tracks whose middle lies in one of the zones."""
    inside = set()
    for zone in zones:
        ax, ay = stored_point(zone.x, zone.y, planned.frame)
        bx, by = stored_point(zone.x + zone.width, zone.y + zone.height, planned.frame)
        for t in planned.tracks or ():
            x, y = (t.xyxy[0] + t.xyxy[2]) / 2, (t.xyxy[1] + t.xyxy[3]) / 2
            if min(ax, bx) <= x < max(ax, bx) and min(ay, by) <= y < max(ay, by):
                inside.add(t.id)
    return frozenset(inside)


def stored_point(x: float, y: float, frame: Frame) -> tuple[float, float]:
    """A point of the upright picture in luma px of the stored frame, which may be turned against it."""
    w, h = frame.width, frame.height
    return {90: (y, h - x), 180: (w - x, h - y), 270: (w - y, x)}.get(frame.rotation_deg, (x, y))


def sane(found: Detections, width: int, height: int) -> Detections:
    """The detections, or ValueError when they cannot be true of a frame of ``width`` x ``height`` px."""
    arrays = (found.xyxy, found.score, found.foreground)
    if found.xyxy.shape != (len(found.score), 4) or len(found.score) != len(found.foreground):
        raise ValueError("detections of unequal lengths")
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError("detections that are not finite")
    if len(found) > MAX_FACES:
        raise ValueError(f"{len(found)} faces in one frame")
    if (found.xyxy[:, 2:] <= found.xyxy[:, :2]).any():
        raise ValueError("a box without area")
    if (found.xyxy[:, 2:] <= 0).any() or (found.xyxy[:, :2] >= (width, height)).any():
        raise ValueError("a box outside the frame")  # a mapping went wrong: the face is somewhere else
    if any((a < 0).any() or (a > 1).any() for a in (found.score, found.foreground)):
        raise ValueError("a score out of range")
    return found
