"""What the model looks at, over a set of pictures with a role per face: numbers by method and layer.

Each row is one map of one found face. ``collect`` makes the rows, ``aggregate`` the figures. Hands and microphones are
counted where the JSONL line has ``"regions": [{"kind": "hand" or "microphone", "xyxy": [x1, y1, x2, y2] px}]``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bystander.media.images import read_image
from bystander.types import F32, U8
from bystander_lab.explain import METHOD
from bystander_lab.explain.draw import heat_picture
from bystander_lab.explain.faithful import area_under, curves, near_map, random_map, randomised
from bystander_lab.explain.maps import AUTO, HeatMap, explain
from bystander_lab.explain.regions import MARKED, areas, masks, points_at, shares
from bystander_lab.explain.scene import Face, Opened, Scene, look, nearest
from bystander_lab.roles import ROLES, load_roles
from bystander_lab.widerface import DataError, Sample

Way = tuple[str, str]  # method, layer
RANDOM, NEAR = ("random", "-"), ("near the face", "-")
WAYS: tuple[Way, ...] = (
    *((m, layer) for m in ("gradcam", "gradcam++", "hirescam", "eigencam") for layer in ("6", "9", "13")),
    ("occlusion", "-"),
)
SHUFFLED = 6  # faces of the randomisation test; it changes little from face to face


@dataclass(frozen=True, slots=True)
class Case:
    """A found face whose true role is known."""

    sample: Sample
    scene: Scene
    face: Face
    role: str
    marked: list[dict[str, Any]]


@dataclass
class Collected:
    told: list[tuple[str, str]] = field(default_factory=list)  # true role, told role
    marked: int = 0  # faces in pictures with marked hands or microphones
    looks: list[dict[str, Any]] = field(default_factory=list)  # target, way, shares, areas, pointing
    tests: list[dict[str, Any]] = field(default_factory=list)  # way, curves
    shuffles: list[dict[str, Any]] = field(default_factory=list)  # way, stage -> correlation
    examples: list[dict[str, Any]] = field(default_factory=list)  # picture as JPEG, what to say of it


def cases(opened: Opened, paths: Iterable[Path], root: Path, limit: int) -> Iterator[Case]:
    """Up to ``limit`` faces (0: all), a film or photo at a time, as many of each role as there are.

    DataError when a file is not in the format or no face with a role is found.
    """
    rows = [row for p in paths for row in zip(load_roles(p, (root,)), marked_in(p), strict=True)]
    left = dict.fromkeys(ROLES, (limit + 1) // 2 if limit else len(rows) * 500)
    found = 0
    for sample, marked in spread(rows):
        wanted = [i for i in np.flatnonzero(sample.role >= 0) if left[ROLES[sample.role[i]]]]
        if not wanted:
            continue
        frame = read_image(sample.path)
        scene = look(opened, frame)
        boxes = {i: scene.from_size(sample.xyxy[i], frame.width) for i in wanted}
        scaled = [{**m, "xyxy": scene.from_size(np.array(m["xyxy"], np.float32), frame.width)} for m in marked]
        for i in wanted:
            role = ROLES[sample.role[i]]
            face = nearest(scene.faces, boxes[i])
            if face is not None and left[role] and not (limit and found >= limit):
                left[role] -= 1
                found += 1
                yield Case(sample, scene, face, role, scaled)
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no face with a role was found by this model")


def spread(rows: list[tuple[Sample, Any]]) -> list[tuple[Sample, Any]]:
    """The first picture of every group, then the second of each, in an order that does not follow the names."""
    random = np.random.default_rng(0)
    seen: dict[str, int] = {}
    keyed = []
    for i in random.permutation(len(rows)):
        group = rows[i][0].group
        seen[group] = seen.get(group, 0) + 1
        keyed.append((seen[group], rows[i]))
    return [row for _, row in sorted(keyed, key=lambda k: k[0])]


def marked_in(path: Path) -> list[list[dict[str, Any]]]:
    """The marked regions of each line of a role file. DataError when they are not in the format."""
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        regions = json.loads(line).get("regions", [])
        if not isinstance(regions, list) or not all(is_marked(r) for r in regions):
            raise DataError(f"{path}: line {number}: regions must be a list of kind ({' or '.join(MARKED)}) and xyxy")
        out.append(regions)
    return out


def is_marked(region: Any) -> bool:
    if not isinstance(region, dict) or region.get("kind") not in MARKED:
        return False
    xyxy = region.get("xyxy")
    return (
        isinstance(xyxy, list) and len(xyxy) == 4 and all(isinstance(v, int | float) and np.isfinite(v) for v in xyxy)
    )


def collect(opened: Opened, found: Iterable[Case], ways: tuple[Way, ...] = WAYS) -> Collected:
    """All rows. Evidence is looked at for both roles, curves are drawn for the role that was told."""
    c = Collected()
    targets = ROLES if opened.roles else ("face",)
    shown = (METHOD, AUTO) if (METHOD, AUTO) in ways else ways[0]
    for n, case in enumerate(found):
        scene, face = case.scene, case.face
        c.told.append((case.role, face.role))
        c.marked += bool(case.marked)
        regions = masks(scene, face, case.marked)
        even = areas(regions)
        for way in ways:
            maps = {t: explain(opened, scene, face, t, *way_of(way)) for t in targets}
            for t, heat in maps.items():
                c.looks.append({"target": t, "way": way, "shares": shares(heat.values, regions), "areas": even,
                                "points": points_at(heat.values, regions["face"]), "person":
                                points_at(heat.values, regions["face"] | regions["body"])})  # fmt: skip
            told = maps[face.role]
            c.tests.append(test_of(opened, case, way, told.values))
            if n < SHUFFLED and way[0] != "occlusion":
                c.shuffles.append({"way": way, "stages": randomised(opened, scene, face, told)})
            if way == shown:
                c.examples.append(example(case, told, shares(told.values, regions)))
        c.tests.append(test_of(opened, case, RANDOM, random_map(scene, n)))
        c.tests.append(test_of(opened, case, NEAR, near_map(scene, face)))
    return c


def way_of(way: Way) -> tuple[str, str]:
    """Method and layer as ``explain`` takes them; occlusion takes any."""
    return way[0], "auto" if way[1] == "-" else way[1]


def test_of(opened: Opened, case: Case, way: Way, values: F32) -> dict[str, Any]:
    gone, back = curves(opened, case.scene, case.face, case.face.role, values)
    return {"way": way, "deletion": gone, "insertion": back}


def example(case: Case, heat: HeatMap, share: dict[str, float]) -> dict[str, Any]:
    number = next(i for i, f in enumerate(case.scene.faces, 1) if f is case.face)
    picture: U8 = heat_picture(case.scene, case.face, heat, number)
    wide = cv2.resize(picture, (560, round(picture.shape[0] * 560 / picture.shape[1])), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(wide, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return {"jpeg": jpeg, "name": f"{case.sample.event}/{case.sample.path.name}", "role": case.role,
            "told": case.face.role, "shares": share}  # fmt: skip


def aggregate(c: Collected) -> dict[str, Any]:
    """Figures for ``summary.json``: everything a mean over faces unless it says otherwise."""
    keys = sorted({(r["target"], r["way"]) for r in c.looks})
    ways = sorted({r["way"] for r in c.tests})
    return {
        "faces": len(c.told),
        "told_right": None if any(b == "face" for _, b in c.told) else sum(a == b for a, b in c.told),
        "faces_with_marked_regions": c.marked,
        "evidence": [evidence_row(t, w, [r for r in c.looks if (r["target"], r["way"]) == (t, w)]) for t, w in keys],
        "faithfulness": [test_row(w, c.tests) for w in ways],
        "randomisation": [shuffle_row(w, c.shuffles) for w in sorted({r["way"] for r in c.shuffles})],
    }


def evidence_row(target: str, way: Way, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares are over the faces that have any positive evidence in the map."""
    some = [r for r in rows if sum(r["shares"].values()) > 0]
    names = list(rows[0]["areas"])
    return {
        "target": target, "method": way[0], "layer": way[1], "faces": len(rows),
        "without_evidence": len(rows) - len(some),
        "share": {n: mean([r["shares"][n] for r in some]) for n in names},
        "share_if_even": {n: mean([r["areas"][n] for r in some]) for n in names},
        "pointing_game_face": mean([r["points"] for r in some]),
        "pointing_game_face_or_body": mean([r["person"] for r in some]),
    }  # fmt: skip


def test_row(way: Way, tests: list[dict[str, Any]]) -> dict[str, Any]:
    """Areas under the mean curves, and how they compare with the random map on the same faces."""
    mine, chance = ([r for r in tests if r["way"] == w] for w in (way, RANDOM))
    out: dict[str, Any] = {"method": way[0], "layer": way[1], "faces": len(mine)}
    for name, sign in (("deletion", -1), ("insertion", 1)):
        a, b = (np.array([area_under(r[name]) for r in rows]) for rows in (mine, chance))
        gain = sign * (a - b)
        out[name] = {"auc": mean(a), "better_than_random_by": mean(gain), "standard_error": error_of(gain),
                     "faces_better": int((gain > 0).sum()),
                     "curve": [round(float(v), 4) for v in np.mean([r[name] for r in mine], 0)]}  # fmt: skip
    return out


def shuffle_row(way: Way, rows: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [r["stages"] for r in rows if r["way"] == way]
    return {"method": way[0], "layer": way[1], "faces": len(mine),
            "rank_correlation": {s: mean([m[s] for m in mine]) for s in mine[0]}}  # fmt: skip


def mean(values: Any) -> float | None:
    """Rounded; None of nothing."""
    return round(float(np.mean(values)), 4) if len(values) else None


def error_of(values: F32) -> float | None:
    """Of the mean."""
    return round(float(np.std(values, ddof=1) / np.sqrt(len(values))), 4) if len(values) > 1 else None
