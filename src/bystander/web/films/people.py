"""Who is in a film once its edits are applied, when they are seen, where the program is unsure, and who stays sharp.

``Index`` and ``Edits`` in, plain values out. A person's word to cover beats everything, a doubt takes every rule away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bystander.stages.evidence import DROP_AT, KEEP_AT
from bystander.web.films.edits import Edits, History, fold
from bystander.web.films.index import F64, I32, Flags, Index

LOW_SCORE = 0.35  # a face found with less may be none
MARGIN = 0.2  # below DROP_AT: evidence from there to KEEP_AT is neither yes nor no
GAP_S = 0.3  # spans closer than this are one


@dataclass(frozen=True, slots=True)
class People:
    """The rows of an index with the edits applied."""

    index: Index
    edits: Edits
    person: I32  # (n,) who a row is
    kept: Flags  # (n,) who stays sharp


def apply_edits(index: Index, edits: Edits) -> People:
    person = index.track.copy()
    times = index.row_times
    for kind, a, at_s, b in edits.steps:
        if kind == "split":
            person[(person == a) & (times >= at_s)] = b
        else:
            person[person == b] = a
    return People(index, edits, person, kept_rows(index, edits, person))


def kept_rows(index: Index, edits: Edits, person: I32) -> Flags:
    """(n,) which rows stay sharp."""
    chosen_keep, chosen_cover = (
        np.isin(person, [p for p, v in edits.choices.items() if v == word]) for word in ("keep", "cover")
    )
    ruled = index.kept | (in_zones(index, edits) & index.steady)
    ruled &= ~barred(index, person, chosen_cover)
    return np.asarray((ruled | chosen_keep) & index.seen & ~chosen_cover)


def in_zones(index: Index, edits: Edits) -> Flags:
    """Rows whose middle lies in a zone while it holds."""
    inside = np.zeros(len(index.frame), np.bool_)
    times = index.row_times
    x, y = (index.xyxy[:, 0] + index.xyxy[:, 2]) / 2, (index.xyxy[:, 1] + index.xyxy[:, 3]) / 2
    for z in edits.zones:
        here = (z.x <= x) & (x < z.x + z.w) & (z.y <= y) & (y < z.y + z.h)
        inside |= here & (z.from_s <= times) & (times <= z.to_s)
    return inside


def barred(index: Index, person: I32, covered: Flags) -> Flags:
    """Rows that no rule may keep: from when on a person came so close to one whom somebody covered that both may have
    changed places (as in ``stages/policy``).
    """
    out = np.zeros(len(person), np.bool_)
    if not covered.any() or not len(index.touches):
        return out
    times = index.row_times
    near = index.touches[covered[index.touches[:, 0]], 1]  # rows beside a covered one
    for who in np.unique(person[near]):
        since = times[near[person[near] == who]].min()
        out |= (person == who) & (times >= since)
    return out


def first_new(index: Index) -> int:
    """The number from which people that a split makes are counted."""
    return int(index.track.max(initial=0)) + 1


def numbers(p: People) -> list[int]:
    """Everybody's id, in the order in which they appear."""
    ids, first = np.unique(p.person, return_index=True)
    return [int(i) for i in ids[np.argsort(first, kind="stable")]]


def describe(p: People) -> Iterator[dict[str, Any]]:
    """Everybody who was seen, in the order in which they appear."""
    index, roles = p.index, bool((p.index.foreground > 0).any())
    order = np.argsort(p.person, kind="stable")
    for number, who in enumerate(numbers(p), 1):
        rows = np.sort(order[slice(*np.searchsorted(p.person[order], [who, who + 1]))])
        yield {"id": who, "name": str(number), **about(p, who, rows, roles=roles)} | {
            "thumb_row": thumb_row(index, rows)
        }


def about(p: People, who: int, rows: I32, *, roles: bool) -> dict[str, Any]:
    index = p.index
    times, seen = index.row_times[rows], index.seen[rows]
    evidence = index.foreground[rows]
    doubt = ~seen | (index.score[rows] < LOW_SCORE)
    if roles:
        doubt |= (evidence >= DROP_AT - MARGIN) & (evidence < KEEP_AT)
    heights = index.xyxy[rows, 3] - index.xyxy[rows, 1]
    kept = p.kept[rows]
    return {
        "kept": bool(kept.any()),
        "kept_share": round(float(kept[seen].mean()), 3) if seen.any() else 0.0,
        "auto": bool(index.kept[rows].any()),
        "choice": p.edits.choices.get(who, "auto"),
        "spans": spans(times, index.step_s),
        "unsure": spans(times[doubt], index.step_s),
        "evidence": round(float(evidence[seen].mean()), 3) if seen.any() else 0.0,
        "size": round(float(np.median(heights)) / int(index.size[1]), 4),
    }


def spans(times: F64, step_s: float) -> list[list[float]]:
    """Moments of rising time as [from, to], small gaps closed."""
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times) > max(GAP_S, 1.5 * step_s)) + 1
    return [[round(float(part[0]), 3), round(float(part[-1]) + step_s, 3)] for part in np.split(times, breaks)]


def thumb_row(index: Index, rows: I32) -> int:
    """The row whose picture shows this person best; -1 where there is none."""
    own = np.intersect1d(rows, index.thumbs)
    if not len(own):
        return -1
    worth = index.score[own] * np.sqrt(index.xyxy[own, 3] - index.xyxy[own, 1])
    return int(own[int(np.argmax(worth))])


def boxes_between(p: People, from_s: float, to_s: float) -> list[dict[str, Any]]:
    """The faces of each frame in this span; of one person's boxes in a frame the one in which they were found."""
    index = p.index
    first, last = np.searchsorted(index.times, [from_s, to_s], "left")
    rows = np.searchsorted(index.frame, np.arange(first, last + 1))
    frames = []
    for i in range(first, last):
        here = range(rows[i - first], rows[i - first + 1])
        best = {int(p.person[k]): k for k in sorted(here, key=lambda k: -float(index.unseen_s[k]))}
        faces = [
            {"id": who, "xyxy": [round(float(v), 1) for v in index.xyxy[k]], "kept": bool(p.kept[k])}
            for who, k in sorted(best.items())
        ]
        frames.append({"t": round(float(index.times[i]), 4), "faces": faces})
    return frames


def about_kept(index: Index, history: History) -> list[tuple[float, float, float]]:
    """x, y (px of the upright picture) and time (s) of one sure sight of everybody who stays sharp."""
    p = apply_edits(index, fold(history.done, first_new(index)))
    points = []
    for who in numbers(p):
        rows = np.flatnonzero((p.person == who) & p.kept)
        if len(rows):
            x1, y1, x2, y2 = (float(v) for v in index.xyxy[rows[len(rows) // 2]])
            points.append(((x1 + x2) / 2, (y1 + y2) / 2, float(index.row_times[rows[len(rows) // 2]])))
    return [p for p in points if p[0] >= 0 and p[1] >= 0]
