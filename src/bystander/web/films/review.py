"""One film's review: its people, its edits, and whether a new edit makes sense. Bad ones are refused, never ignored."""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import Any

import numpy as np

from bystander.web.asked import number, unfit
from bystander.web.errors import ApiError
from bystander.web.films.edits import VERDICTS, Area, Edits, History, append, fold, read_history
from bystander.web.films.film import Film
from bystander.web.films.index import Index, load_index
from bystander.web.films.people import People, apply_edits, first_new, numbers
from bystander.web.films.store import FilmStore, disk_full

CACHED = 4  # films whose arrays stay in memory
LEAST = 1.0  # px, side of an area
KEYS = {
    "choose": {"person", "verdict"},
    "add_box": {"from_s", "to_s", "x", "y", "w", "h"},
    "add_zone": {"from_s", "to_s", "x", "y", "w", "h"},
    "remove": {"id"},
    "split": {"person", "at_s"},
    "merge": {"people"},
    "undo": set(),
    "redo": set(),
}  # fmt: skip
BAD = "bad_edit"


class Review:
    """Safe in several threads."""

    def __init__(self, store: FilmStore) -> None:
        self.store, self.lock = store, RLock()
        self.indexes: OrderedDict[tuple[str, int], Index] = OrderedDict()  # film id, time of the file
        self.newest: tuple[tuple[str, int, int], People] | None = None

    def index(self, film: Film) -> tuple[tuple[str, int], Index]:
        """ApiError until the film was looked at."""
        path = self.store.files(film).index
        try:
            key = (film.id, path.stat().st_mtime_ns)
            with self.lock:
                if key not in self.indexes:
                    self.indexes[key] = load_index(path)
                self.indexes.move_to_end(key)
                while len(self.indexes) > CACHED:
                    self.indexes.popitem(last=False)
                return key, self.indexes[key]
        except (OSError, ValueError, KeyError) as e:
            raise ApiError(409, "not_ready", "This film was not looked at yet; wait until it is ready.") from e

    def history(self, film: Film) -> History:
        return read_history(self.store.files(film).edits)

    def people(self, film: Film) -> People:
        with self.lock:
            key, index = self.index(film)
            history = self.history(film)
            if self.newest is None or self.newest[0] != (*key, history.version):
                people = apply_edits(index, fold(history.done, first_new(index)))
                self.newest = ((*key, history.version), people)
            return self.newest[1]

    def where(self, film: Film, who: Any, at_s: float) -> tuple[float, float, float]:
        """x, y (px of the upright picture) and time (s) of the sight of a person nearest to a moment."""
        found = self.people(film)
        rows = np.flatnonzero((found.person == person(who, found)) & found.index.seen)
        if not len(rows):
            raise unfit("this person was never seen clearly", "no_answer")
        row = rows[int(np.argmin(np.abs(found.index.row_times[rows] - at_s)))]
        x1, y1, x2, y2 = (float(v) for v in found.index.xyxy[row])
        return (x1 + x2) / 2, (y1 + y2) / 2, float(found.index.row_times[row])

    def forget(self) -> None:
        """Nothing of a film that was removed stays in memory."""
        with self.lock:
            self.indexes.clear()
            self.newest = None

    def edit(self, film: Film, given: dict[str, Any]) -> None:
        """Add one operation for good. ApiError where it makes no sense."""
        with self.lock:
            people = self.people(film)
            op = checked(given, people)
            history = self.history(film)
            history.add(op)
            try:
                append(self.store.files(film).edits, op)
            except OSError as e:
                raise disk_full() from e
            now = self.people(film)
            film.people = len(numbers(now))
            with self.store.lock:
                film.edits_version = history.version + 1
                if film.job in {"", "audit"} and self._holds(film, now):
                    film.rendered_version = film.edits_version
        self.store.save(film)

    def _holds(self, film: Film, now: People) -> bool:
        """Whether the covered film was made by edits that come to the same as those of now."""
        then = read_history(self.store.files(film).edits, film.rendered_version - 1)
        return fold(then.done, first_new(now.index)) == now.edits

    def edits(self, film: Film) -> dict[str, Any]:
        """All edits as JSON."""
        history, people = self.history(film), self.people(film)
        e = people.edits
        return {
            "version": history.version + 1,
            "rendered_version": film.rendered_version,
            "can_undo": bool(history.done),
            "can_redo": bool(history.undone),
            "choices": {str(p): v for p, v in e.choices.items()},
            "boxes": [shown(a) for a in e.boxes],
            "zones": [shown(a) for a in e.zones],
            "splits": [{"person": a, "at_s": t, "new": b} for kind, a, t, b in e.steps if kind == "split"],
            "merges": [[a, b] for kind, a, _, b in e.steps if kind == "merge"],
        }


def shown(a: Area) -> dict[str, Any]:
    return {k: getattr(a, k) for k in ("id", "from_s", "to_s", "x", "y", "w", "h", "verdict")}


def checked(given: dict[str, Any], people: People) -> dict[str, Any]:
    """The operation with plain values. ApiError 422 for one that is unknown or cannot be true."""
    kind = given.get("op")
    if not isinstance(kind, str) or kind not in KEYS:
        raise unfit(f"op must be one of {', '.join(KEYS)}", BAD)
    if set(given) - {"op"} != KEYS[kind]:
        raise unfit(f"{kind} needs {', '.join(sorted(KEYS[kind])) or 'nothing else'}", BAD)
    if kind == "choose":
        if given["verdict"] not in VERDICTS:
            raise unfit(f"verdict must be one of {', '.join(VERDICTS)}", BAD)
        return {"op": kind, "person": person(given["person"], people), "verdict": given["verdict"]}
    if kind in {"add_box", "add_zone"}:
        return {"op": kind, **area(given, people.index)}
    if kind == "remove":
        return {"op": kind, "id": known_area(given["id"], people.edits)}
    if kind == "split":
        return {"op": kind, **split(person(given["person"], people), given["at_s"], people)}
    if kind == "merge":
        return {"op": kind, "people": merge(given["people"], people)}
    return {"op": kind}


def person(value: Any, people: People) -> int:
    """A person's number, also as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not (people.person == np.int64(clamp(value))).any():
        raise unfit("there is no such person in this film", BAD)
    return value


def clamp(value: int) -> int:
    return max(-1, min(value, 1 << 40))


def area(given: dict[str, Any], index: Index) -> dict[str, float]:
    v = {k: number(given[k], k, BAD) for k in ("from_s", "to_s", "x", "y", "w", "h")}
    if not 0 <= v["from_s"] < v["to_s"] or v["from_s"] >= index.end_s:
        raise unfit(f"from_s and to_s must be moments of the film, 0 to {index.end_s:.2f}, the first before the last",
                    BAD)  # fmt: skip
    width, height = (int(s) for s in index.size)
    x1, y1 = max(0.0, v["x"]), max(0.0, v["y"])
    x2, y2 = min(float(width), v["x"] + v["w"]), min(float(height), v["y"] + v["h"])
    if v["w"] <= 0 or v["h"] <= 0 or x2 - x1 < LEAST or y2 - y1 < LEAST:
        raise unfit(f"x, y, w and h must be an area of the picture of {width}x{height} px", BAD)
    return {"from_s": v["from_s"], "to_s": v["to_s"], "x": x1, "y": y1, "w": x2 - x1, "h": y2 - y1}


def known_area(value: Any, edits: Edits) -> str:
    if not isinstance(value, str) or value not in {a.id for a in (*edits.boxes, *edits.zones)}:
        raise unfit("there is no such box or zone", BAD)
    return value


def split(who: int, at_s: Any, people: People) -> dict[str, Any]:
    """Both parts must have somebody in them."""
    at = number(at_s, "at_s", BAD)
    times = people.index.row_times[people.person == who]
    if not times.min() < at <= times.max():
        raise unfit(f"at_s must lie between {times.min():.2f} and {times.max():.2f}, while this person is there", BAD)
    return {"person": who, "at_s": at}


def merge(given: Any, people: People) -> list[int]:
    """Two people who were never seen at the same time; the one who appears first gives the number."""
    if not isinstance(given, list) or len(given) != 2:
        raise unfit("people must be two people's numbers", BAD)
    a, b = (person(v, people) for v in given)
    if a == b:
        raise unfit("these are the same person already", BAD)
    index = people.index
    frames = [set(index.frame[(people.person == who) & index.seen].tolist()) for who in (a, b)]
    if frames[0] & frames[1]:
        raise unfit("these two are seen at the same time, so they cannot be one person", BAD)
    order = numbers(people)
    return sorted((a, b), key=order.index)
