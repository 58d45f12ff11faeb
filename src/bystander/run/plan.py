"""A whole film's detections -> who is where in each frame, and who is kept. No pictures, no clock, no threads.

The tracker goes through the film forwards and backwards. The way back adds what no live run can know: a face that is
found late is covered in the frames before, weak detections that lead up to a strong one count, and a gap is bridged
from both its ends. It only ever adds cover.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from bystander import boxes
from bystander.run.face_filter import FilterSettings, reach
from bystander.stages.close import together
from bystander.stages.evidence import Sightings, judge_tracks
from bystander.stages.follow import Follower, Guess
from bystander.stages.tracker import Tracker, TrackerSettings
from bystander.types import F32, Detections, Frame, Track

ID, SCORE, FOREGROUND, AGE, UNSEEN, SPEED, STEADY = 0, 5, 6, 7, 8, 9, 10  # columns of packed tracks; 1 to 4: the box
BOX = slice(1, 5)
COLUMNS = 11
LATE = 1e6  # s: what the way back adds is no fresh start
GUESSED_S = 0.001  # s unseen: found, but not by the look that may keep somebody
WITHIN = 0.95  # of a box's area; the margin of the cover is wider than the rest
OVERLAP = 0.15  # IoU above which a young face may be somebody else


@dataclass(frozen=True, slots=True)
class Look:
    """What the analysis found in one frame."""

    pts: int
    time_s: float
    found: Detections | None  # None: a stage failed, so that the frame is covered whole
    cut: bool  # another shot begins with this frame
    closer: Detections = field(default_factory=Detections.none)  # found by a closer look, where one was taken


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision for each frame of a film, by its index. Tracks are packed: a film may have millions."""

    pts: tuple[int, ...]
    packed: tuple[F32 | None, ...]  # (n, COLUMNS) a frame; None: cover it whole
    subjects: tuple[frozenset[int], ...]  # ids that the evidence of the whole film keeps

    def at(self, frame: Frame) -> tuple[tuple[Track, ...], frozenset[int]] | None:
        """Tracks and subjects of a frame, None where it is to be covered whole. ValueError for another film's frame."""
        i = frame.index
        if i >= len(self.pts) or self.pts[i] != frame.pts:
            raise ValueError(f"frame {i} is not the one that was analysed")
        rows = self.packed[i]
        return None if rows is None else (unpack(rows), self.subjects[i])


def make_plan(
    looks: Sequence[Look], settings: FilterSettings, width: int, height: int, guesses: Sequence[Guess] = ()
) -> Plan:
    """The plan of a film whose frames are ``width`` x ``height`` luma px. ``guesses``: of ``Watch``, on these looks."""
    forward = way(looks, settings.tracker, (width, height))
    backward = way(mirrored(looks), settings.tracker, (width, height))[::-1]
    packed = merged(reached_back(looks, forward, settings.lookback_s), backward)
    subjects: list[frozenset[int]] = [frozenset()] * len(looks)
    if settings.policy.keep == "auto":
        subjects = judged(looks, packed, settings)
    if guesses or any(len(look.closer) for look in looks):
        packed = with_more(packed, forward, closer_ways(looks, settings, (width, height)), guesses)
    return Plan(tuple(look.pts for look in looks), tuple(packed), tuple(subjects))


class Watch:
    """Follows unseen faces while the film is looked at for the first time; stateful, frames in order."""

    def __init__(self, settings: TrackerSettings) -> None:
        self.tracker, self.follower = Tracker(settings), Follower()

    def __call__(self, frame: Frame, look: Look) -> list[Guess]:
        """Where faces are that nobody saw, in this frame and those before, under the names of ``closer_ways``."""
        if look.cut:
            self.tracker.cut()
        if look.found is None:
            return []
        found = together(look.found, look.closer, self.tracker.settings.new_score)
        tracks = self.tracker.update(found, look.time_s, frame.width, frame.height)
        return self.follower.update(frame, look.cut, tracks)


def mirrored(looks: Sequence[Look]) -> list[Look]:
    """The film backwards: times rise again, and a cut lies before the frame that it used to follow."""
    if not looks:
        return []
    end = looks[-1].time_s
    cuts = [*(look.cut for look in looks[1:]), False]
    return [replace(look, time_s=end - look.time_s, cut=cut) for look, cut in zip(looks[::-1], cuts[::-1], strict=True)]


def way(looks: Iterable[Look], settings: TrackerSettings, size: tuple[int, int]) -> list[F32 | None]:
    """One way through the film: the tracks of each frame, packed."""
    tracker, found = Tracker(settings), []
    for look in looks:
        if look.cut:
            tracker.cut()
        found.append(None if look.found is None else pack(tracker.update(look.found, look.time_s, *size)))
    return found


def merged(forward: Sequence[F32 | None], backward: Sequence[F32 | None]) -> list[F32 | None]:
    """Both ways in one: the forward tracks, and of the way back what they lack, under the same person's id."""
    names = same_person(forward, backward)
    out: list[F32 | None] = []
    for i, (ahead, back) in enumerate(zip(forward, backward, strict=True)):
        if ahead is None or back is None:
            out.append(None)
            continue
        seen = set(ahead[ahead[:, UNSEEN] == 0, ID].tolist())
        ids = [nearest(names[int(row[ID])], i) for row in back]
        extra = back[[k for k, name in enumerate(ids) if name not in seen]]
        extra[:, ID] = [name for name in ids if name not in seen]
        extra[:, STEADY] = 0  # weak or unseen: nothing to keep anybody for
        extra[:, AGE] = LATE
        out.append(np.concatenate([ahead, extra]))
    return out


def closer_ways(looks: Sequence[Look], settings: FilterSettings, size: tuple[int, int]) -> list[F32 | None]:
    """Both ways with the closer looks, under the names of the way forwards."""
    tracker = settings.tracker
    closer = [
        look if look.found is None else replace(look, found=together(look.found, look.closer, tracker.new_score))
        for look in looks
    ]
    return merged(way(closer, tracker, size), way(mirrored(closer), tracker, size)[::-1])


def with_more(
    packed: Sequence[F32 | None], forward: Sequence[F32 | None], closer: Sequence[F32 | None], guesses: Sequence[Guess]
) -> list[F32 | None]:
    """With what the closer ways find and where unseen faces were followed to. No row of ``packed`` is touched.

    Added rows never count as seen, so that they keep nobody, and whoever was seen in a frame gets none there. Whom no
    ordinary look ever saw gets an id below 0, lower than all others: once such a person is out of sight, anybody may be
    them, so a word to cover them bars everybody else from being kept by a rule.
    """
    names = same_person(forward, closer)
    followed: dict[int, list[Guess]] = defaultdict(list)
    for guess in guesses:
        followed[guess.frame].append(guess)
    out: list[F32 | None] = []
    for i, (rows, more) in enumerate(zip(packed, closer, strict=True)):
        if rows is None or more is None:
            out.append(None)
            continue
        added = np.concatenate([more, guessed(followed[i])])
        added = added[~within(added[:, BOX], rows[:, BOX])]
        added[:, ID] = [nearest(names[int(n)], i) if int(n) in names else -n for n in added[:, ID]]
        added = added[~np.isin(added[:, ID], rows[rows[:, UNSEEN] == 0, ID])]
        added[:, UNSEEN] = np.maximum(added[:, UNSEEN], GUESSED_S)
        added[:, AGE], added[:, STEADY] = LATE, 0
        out.append(np.concatenate([rows, added]))
    return out


def guessed(guesses: Sequence[Guess]) -> F32:
    """(n, COLUMNS) of where faces were followed to."""
    return pack([Track(g.track, g.xyxy, 0.0, 0.0, 0.0, g.unseen_s, 0.0, steady=False) for g in guesses])


def within(inner: F32, outer: F32) -> npt.NDArray[np.bool_]:
    """(n,) whether each of (n, 4) boxes lies, but for a trifle, in one of (m, 4) others."""
    if not len(inner) or not len(outer):
        return np.zeros(len(inner), bool)
    share = boxes.intersection(inner, outer).max(axis=1) / np.maximum(boxes.area(inner), 1e-6)
    return np.asarray(share >= WITHIN)


def reached_back(looks: Sequence[Look], forward: Sequence[F32 | None], lookback_s: float) -> list[F32 | None]:
    """With new faces added to the frames just before, as a live run does: where they were is not quite known."""
    out, known = list(forward), set[float]()
    for i, rows in enumerate(forward):
        if rows is None:
            continue
        fresh = rows[[name not in known for name in rows[:, ID].tolist()]]
        known.update(rows[:, ID].tolist())
        for j in range(i - 1, -1, -1):
            before_s = looks[i].time_s - looks[j].time_s
            if not len(fresh) or looks[j + 1].cut or before_s > lookback_s:
                break
            if (there := out[j]) is not None:
                out[j] = np.concatenate([there, where_it_was(fresh, before_s)])
    return out


def where_it_was(rows: F32, before_s: float) -> F32:
    """Faces so long before they were first seen."""
    was, margin = rows.copy(), reach(before_s)
    was[:, BOX] = boxes.grow(rows[:, BOX], margin, margin, margin, margin)
    was[:, UNSEEN], was[:, AGE], was[:, STEADY] = before_s, LATE, 0
    return was


def same_person(forward: Sequence[F32 | None], backward: Sequence[F32 | None]) -> dict[int, list[tuple[int, int]]]:
    """Backward id -> (frame, forward id) where both ways saw the very same detection, in order of frames."""
    names: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, (ahead, back) in enumerate(zip(forward, backward, strict=True)):
        if ahead is None or back is None:
            continue
        by_box = {row[BOX].tobytes(): int(row[ID]) for row in ahead if row[UNSEEN] == 0}
        for row in back[back[:, UNSEEN] == 0]:
            if (name := by_box.get(row[BOX].tobytes())) is not None:
                names[int(row[ID])].append((i, name))
    return names


def nearest(named: Sequence[tuple[int, int]], index: int) -> int:
    """The forward id nearest after ``index``, or else before it: the way back comes from there."""
    return next((name for i, name in named if i >= index), named[-1][1] if named else 0)


def judged(looks: Sequence[Look], packed: Sequence[F32 | None], settings: FilterSettings) -> list[frozenset[int]]:
    """The subjects of each frame, with the whole of every track at hand."""
    sights: dict[int, list[tuple[int, float, bool]]] = defaultdict(list)  # id -> frame, evidence, steady
    for i, (look, rows) in enumerate(zip(looks, packed, strict=True)):
        if look.found is None or rows is None:
            continue
        evidence = {box.tobytes(): float(e) for box, e in zip(look.found.xyxy, look.found.foreground, strict=True)}
        crowded = boxes.iou(rows[:, BOX], rows[:, BOX]) > OVERLAP
        for row, near in zip(rows, crowded, strict=True):
            if row[UNSEEN] > 0:
                continue
            fresh = row[AGE] < settings.tracker.steady_after_s and near.sum() == 1  # a start is no doubt
            sights[int(row[ID])].append((i, evidence.get(row[BOX].tobytes(), 0.0), bool(row[STEADY]) or fresh))
    times = np.array([look.time_s for look in looks])
    tracks = {name: sightings(seen, times) for name, seen in sights.items()}
    kept: list[set[int]] = [set() for _ in looks]
    for name, verdict in judge_tracks(tracks, settings.policy.max_subjects).items():
        for (i, _, _), keep in zip(sights[name], verdict, strict=True):
            if keep:
                kept[i].add(name)
    return [frozenset(names) for names in kept]


def sightings(seen: Sequence[tuple[int, float, bool]], times: np.ndarray) -> Sightings:
    frames, evidence, steady = zip(*seen, strict=True)
    return Sightings(times[list(frames)], np.array(evidence, np.float32), np.array(steady, bool))


def pack(tracks: Sequence[Track]) -> F32:
    """Tracks -> (n, COLUMNS)."""
    rows = [(t.id, *t.xyxy, t.score, t.foreground, t.age_s, t.unseen_s, t.speed, t.steady) for t in tracks]
    return np.array(rows, np.float32).reshape(-1, COLUMNS)


def unpack(rows: F32) -> tuple[Track, ...]:
    """(n, COLUMNS) -> tracks."""
    return tuple(
        Track(
            id=int(r[ID]), xyxy=(r[1], r[2], r[3], r[4]), score=r[SCORE], foreground=r[FOREGROUND], age_s=r[AGE],
            unseen_s=r[UNSEEN], speed=r[SPEED], steady=bool(r[STEADY]),
        )
        for r in rows.tolist()
    )  # fmt: skip
