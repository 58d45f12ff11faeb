"""What a person decided about a film, operation by operation, in a file that only grows: undo and redo are lines too.

Operations in, ``Edits`` out. A line that was cut off by a crash is as if it had not been.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bystander.web.errors import ApiError

MOST = 5000  # operations
VERDICTS = ("keep", "cover", "auto")


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle over a span of time: a box covers what is in it, a zone keeps who is steady in it."""

    id: str
    from_s: float
    to_s: float
    x: float  # px of the upright picture
    y: float
    w: float
    h: float
    verdict: str  # cover or keep


@dataclass(slots=True)
class Edits:
    choices: dict[int, str] = field(default_factory=dict)  # person -> keep or cover
    boxes: list[Area] = field(default_factory=list)
    zones: list[Area] = field(default_factory=list)
    steps: list[tuple[str, int, float, int]] = field(
        default_factory=list
    )  # (split, person, at_s, new) | (merge, a, 0, b)


@dataclass(slots=True)
class History:
    """All operations so far. ``version`` counts every line, undo and redo as well."""

    done: list[dict[str, Any]] = field(default_factory=list)
    undone: list[dict[str, Any]] = field(default_factory=list)
    version: int = 0

    def add(self, op: dict[str, Any]) -> None:
        """ApiError where there is nothing to undo or redo, or too much was done already."""
        if self.version >= MOST:
            raise ApiError(422, "bad_edit", "This film has been edited too often; upload it anew to go on.")
        if op["op"] == "undo":
            if not self.done:
                raise ApiError(409, "nothing_to_undo", "There is nothing to undo.")
            self.undone.append(self.done.pop())
        elif op["op"] == "redo":
            if not self.undone:
                raise ApiError(409, "nothing_to_redo", "There is nothing to redo.")
            self.done.append(self.undone.pop())
        else:
            self.done.append(op)
            self.undone.clear()
        self.version += 1


def read_history(path: Path, most: int | None = None) -> History:
    """All lines, or the first ``most``."""
    history = History()
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return history
    for line in text.splitlines(keepends=True)[:most]:
        if line.endswith(b"\n"):
            history.add(json.loads(line))
    return history


def append(path: Path, op: dict[str, Any]) -> None:
    """Add one line for good. OSError when the disk says no."""
    with path.open("ab+") as f:
        f.seek(0)
        whole = f.read().rpartition(b"\n")
        f.truncate(len(whole[0]) + len(whole[1]))  # without what a crash cut off
        f.seek(0, os.SEEK_END)
        f.write(json.dumps(op).encode() + b"\n")
        f.flush()
        os.fsync(f.fileno())


def fold(done: Iterable[dict[str, Any]], first_new: int) -> Edits:
    """All operations as one state. People that a split makes are numbered from ``first_new`` on."""
    e = Edits()
    for count, op in enumerate(done, 1):
        kind = op["op"]
        if kind == "choose":
            choose(e, op["person"], op["verdict"])
        elif kind in {"add_box", "add_zone"}:
            box = kind == "add_box"
            from_s, to_s, x, y, w, h = (float(op[k]) for k in ("from_s", "to_s", "x", "y", "w", "h"))
            name, verdict = (f"b{count}", "cover") if box else (f"z{count}", "keep")
            area = Area(name, from_s, to_s, x, y, w, h, verdict)
            (e.boxes if box else e.zones).append(area)
        elif kind == "remove":
            e.boxes = [a for a in e.boxes if a.id != op["id"]]
            e.zones = [a for a in e.zones if a.id != op["id"]]
        elif kind == "split":
            new = first_new + sum(step[0] == "split" for step in e.steps)
            e.steps.append(("split", op["person"], op["at_s"], new))
            e.choices[new] = "cover"  # who that is nobody has said yet
        elif kind == "merge":
            a, b = op["people"]
            e.steps.append(("merge", a, 0.0, b))
            one, other = e.choices.pop(a, "auto"), e.choices.pop(b, "auto")
            choose(e, a, "cover" if "cover" in {one, other} else "keep" if "keep" in {one, other} else "auto")
        else:
            raise ValueError(f"unknown operation {kind!r}")
    return e


def choose(e: Edits, person: int, verdict: str) -> None:
    if verdict == "auto":
        e.choices.pop(person, None)
    else:
        e.choices[person] = verdict
