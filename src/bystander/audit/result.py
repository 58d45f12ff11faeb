"""What was counted -> the figures of an audit, as plain numbers that go into JSON, the page and the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bystander.audit.judge import Step, Story, Verdict

FORMAT, VERSION = "bystander-audit", 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Face-frames: one face in one frame. Faces without fine structure in the original are in none of the counts."""

    faces: int  # bystanders' face-frames
    exposed: int
    longest: int  # frames, of the longest run in which one bystander was exposed
    longest_ms: float
    people: int  # bystanders
    people_exposed: int
    subject_faces: int  # face-frames of those who should stay sharp
    subject_covered: int
    small_faces: int  # bystanders' face-frames under the limit of size, counted apart
    small_exposed: int
    stray_pct: float  # of the picture: covered without a face near

    @property
    def exposed_pct(self) -> float:
        return percent(self.exposed, self.faces)

    @property
    def subject_covered_pct(self) -> float:
        return percent(self.subject_covered, self.subject_faces)


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def figures(verdict: Verdict) -> Figures:
    bystanders = [s for s in verdict.stories if s.person.role == "background"]
    subjects = [s for s in verdict.stories if s.person.role == "interview"]
    return Figures(
        faces=sum(len(s.steps) for s in bystanders),
        exposed=sum(hits(s.steps) for s in bystanders),
        longest=max((s.longest for s in bystanders), default=0),
        longest_ms=1000 * max((s.longest_s for s in bystanders), default=0.0),
        people=sum(bool(s.steps) for s in bystanders),
        people_exposed=sum(hits(s.steps) > 0 for s in bystanders),
        subject_faces=sum(len(s.steps) for s in subjects),
        subject_covered=sum(len(s.steps) - hits(s.steps) for s in subjects),
        small_faces=sum(len(s.small) for s in bystanders),
        small_exposed=sum(hits(s.small) for s in bystanders),
        stray_pct=100 * verdict.changed / max(verdict.frames, 1),
    )


def hits(steps: Sequence[Step]) -> int:
    return sum(state is True for _, state in steps)


def spans(steps: Sequence[Step], frame_s: float) -> list[tuple[float, float, bool]]:
    """Steps in a row with the same answer as (from s, to s, exposed); a gap of more than two frames parts them."""
    found: list[tuple[float, float, bool]] = []
    for time_s, state in steps:
        if found and found[-1][2] == state and time_s - found[-1][1] <= 1.5 * frame_s:
            found[-1] = (found[-1][0], time_s + frame_s, bool(state))
        else:
            found.append((time_s, time_s + frame_s, bool(state)))
    return found


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit, ready to be told."""

    original: Path
    covered: Path
    figures: Figures
    verdict: Verdict
    frame_s: float  # mean duration of a frame
    duration_s: float
    max_exposed_pct: float
    min_side: float  # px of the original
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.figures.exposed_pct <= self.max_exposed_pct

    def as_json(self) -> dict[str, Any]:
        """The whole result; times in s, rounded to a millisecond."""
        f = self.figures
        people = [person(s, self.frame_s) for s in self.verdict.stories if s.steps or s.small]
        return {
            "format": FORMAT, "version": VERSION, "original": str(self.original), "covered": str(self.covered),
            "passed": self.passed, "max_exposed_pct": self.max_exposed_pct, "frames": self.verdict.frames,
            "bystanders": {"people": f.people, "people_exposed": f.people_exposed, "face_frames": f.faces,
                           "exposed": f.exposed, "exposed_pct": round(f.exposed_pct, 4),
                           "longest_frames": f.longest, "longest_ms": round(f.longest_ms, 1)},
            "subjects": {"face_frames": f.subject_faces, "covered": f.subject_covered,
                         "covered_pct": round(f.subject_covered_pct, 4)},
            "small": {"under_px": self.min_side, "face_frames": f.small_faces, "exposed": f.small_exposed},
            "covered_without_face_pct": round(f.stray_pct, 4),
            "people": people, "notes": list(self.notes),
        }  # fmt: skip


def person(story: Story, frame_s: float) -> dict[str, Any]:
    shown = [[round(a, 3), round(b, 3)] for a, b, state in spans(story.steps, frame_s) if state]
    return {"id": story.person.id, "role": story.person.role, "face_frames": len(story.steps),
            "exposed": hits(story.steps), "exposed_s": shown}  # fmt: skip
