"""How well a detector tells subjects from bystanders, on images with a role per face.

Detections of the shipped runtime and JSONL labels in; AP per role, confusion and the operating curve out. A subject
that is not found counts as not kept, a bystander that is not found as not kept either: whether faces are found at all
is what ``evaluate`` measures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bystander import boxes
from bystander.types import Detections
from bystander_lab.ap import IOU, ImageResult, average_precision
from bystander_lab.evaluate import Find, still_frame
from bystander_lab.roles import ROLES, load_roles
from bystander_lab.widerface import Sample, load_widerface, read_image

FOUND = 0.2  # least score of a face; the tracker starts a track there
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)  # of the evidence, in the operating curve


@dataclass(frozen=True, slots=True)
class Judged:
    """One true face with a role. evidence 0-1; NaN where the face was not found."""

    subject: bool
    evidence: float


def evaluate_roles(paths: Iterable[Path], root: Path, find: Find) -> dict[str, Any]:
    """Numbers for all images of these JSONL files; faces of the folder's validation split complete the labels."""
    samples = [s for p in paths for s in load_roles(p, (root,), load_widerface(root, "val"))]
    found = [find(still_frame(read_image(s.path))) for s in samples]
    judged = [j for s, d in zip(samples, found, strict=True) for j in judge_faces(s, d)]
    return {
        "faces": len(judged),
        "role_ap": {name: role_ap(samples, found, i) for i, name in enumerate(ROLES)},
        "evidence_ap": evidence_ap(judged),
        "confusion": confusion(judged),
        "curve": [operating_point(judged, t) for t in THRESHOLDS],
    }


def judge_faces(sample: Sample, found: Detections) -> list[Judged]:
    """Each true face with a role, and the evidence of the best detection on it."""
    assert sample.role is not None
    sure = found.score >= FOUND
    overlap = boxes.iou(sample.xyxy, found.xyxy[sure])
    judged = []
    for i in np.flatnonzero(sample.role >= 0):
        best = overlap[i].argmax() if overlap.shape[1] else -1
        hit = best >= 0 and overlap[i][best] >= IOU
        judged.append(Judged(bool(sample.role[i] == 0), float(found.foreground[sure][best]) if hit else float("nan")))
    return judged


def role_ap(samples: list[Sample], found: list[Detections], role: int) -> float:
    """Detection AP of one class: score times the class's share of the evidence; faces of unknown role are ignored."""
    results = []
    for s, d in zip(samples, found, strict=True):
        assert s.role is not None
        share = d.foreground if role == 0 else 1 - d.foreground
        mine = (s.role == role) | (s.role < 0)
        results.append(ImageResult(d.xyxy, d.score * share, s.xyxy[mine], (s.role < 0)[mine]))
    return average_precision(results)


def evidence_ap(judged: list[Judged]) -> float:
    """Area under precision over recall of "is a subject" among the faces that were found; blind to finding them."""
    seen = [j for j in judged if not np.isnan(j.evidence)]
    order = sorted(seen, key=lambda j: -j.evidence)
    hit = np.array([j.subject for j in order])
    if not hit.any():
        return float("nan")
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return float(precision[hit].mean())


def confusion(judged: list[Judged]) -> dict[str, dict[str, int]]:
    """True role -> told as interview, as background (evidence below a half), or not found."""
    table = {name: {"interview": 0, "background": 0, "not found": 0} for name in ROLES}
    for j in judged:
        told = "not found" if np.isnan(j.evidence) else ROLES[int(j.evidence < 0.5)]
        table[ROLES[int(not j.subject)]][told] += 1
    return table


def operating_point(judged: list[Judged], threshold: float) -> dict[str, float | None]:
    """Keep precision, keep recall and the share of bystanders kept, when faces from this evidence on are kept."""
    subject = np.array([j.subject for j in judged], bool)
    kept = np.nan_to_num(np.array([j.evidence for j in judged])) >= threshold
    return {
        "threshold": threshold,
        "keep_precision": share(subject[kept]),
        "keep_recall": share(kept[subject]),
        "bystanders_kept": share(kept[~subject]),
    }


def share(flags: np.ndarray) -> float | None:
    """The share of True; None of nothing."""
    return float(flags.mean()) if len(flags) else None


def render_roles(name: str, report: dict[str, Any]) -> str:
    ap = report["role_ap"]
    lines = [
        f"{name}: {report['faces']} faces with a role",
        f"role AP: interview {ap['interview']:.3f}, background {ap['background']:.3f}",
        f"AP of telling a subject among the faces found: {report['evidence_ap']:.3f}",
    ]
    for role, told in report["confusion"].items():
        lines.append(f"  {role:10s} told as " + ", ".join(f"{k} {v}" for k, v in told.items()))
    lines.append("threshold  keep precision  keep recall  bystanders kept")
    for p in report["curve"]:
        values = (p["keep_precision"], p["keep_recall"], p["bystanders_kept"])
        precision, recall, kept = ("-" if v is None else f"{100 * v:.1f} %" for v in values)
        lines.append(f"{p['threshold']:9.2f}  {precision:>14s}  {recall:>11s}  {kept:>15s}")
    return "\n".join(lines)
