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
from bystander_lab.bootstrap import Interval, interval
from bystander_lab.evaluate import FOUND, Find, group_of, still_frame
from bystander_lab.markdown import table
from bystander_lab.roles import ROLES, load_roles
from bystander_lab.widerface import Sample, load_widerface, read_image

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # of the evidence, in the operating curve
FIGURES = ("keep_precision", "keep_recall", "bystanders_kept")


@dataclass(frozen=True, slots=True)
class Judged:
    """One true face with a role. evidence 0-1; NaN where the face was not found."""

    subject: bool
    evidence: float
    face: int = 0  # row of the sample
    group: str = ""  # film or picture


def look(paths: Iterable[Path], root: Path, find: Find) -> tuple[list[Sample], list[Detections]]:
    """All images of these JSONL files and what is found in them; the folder's validation split completes the labels."""
    samples = [s for p in paths for s in load_roles(p, (root,), load_widerface(root, "val"))]
    return samples, [find(still_frame(read_image(s.path))) for s in samples]


def judge_all(samples: list[Sample], found: list[Detections]) -> list[Judged]:
    return [j for s, d in zip(samples, found, strict=True) for j in judge_faces(s, d)]


def evaluate_roles(samples: list[Sample], found: list[Detections]) -> dict[str, Any]:
    """Numbers for all images that ``look`` gave."""
    judged = judge_all(samples, found)
    return {
        "faces": len(judged),
        "role_ap": {name: role_ap(samples, found, i) for i, name in enumerate(ROLES)},
        "evidence_ap": evidence_ap(judged),
        "confusion": confusion(judged),
        "curve": [operating_point(judged, t) for t in THRESHOLDS],
    }


def role_intervals(judged: list[Judged]) -> dict[str, Any]:
    """95 % intervals of what ``evaluate_roles`` says of telling roles; pictures of one film are drawn together."""
    groups = [j.group for j in judged]

    def sure(threshold: float, key: str) -> Interval:
        def figure(weight: np.ndarray) -> float:
            value = operating_point(judged, threshold, weight)[key]
            return float("nan") if value is None else value

        return interval(figure, groups)

    return {
        "evidence_ap": interval(lambda weight: evidence_ap(judged, weight), groups),
        "curve": [{"threshold": t, **{key: sure(t, key) for key in FIGURES}} for t in THRESHOLDS],
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
        evidence = float(found.foreground[sure][best]) if hit else float("nan")
        judged.append(Judged(bool(sample.role[i] == 0), evidence, int(i), group_of(sample)))
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


def evidence_ap(judged: list[Judged], weight: np.ndarray | None = None) -> float:
    """Area under precision over recall of "is a subject" among the faces that were found; blind to finding them.

    ``weight`` (n,): how often each face counts. NaN without a subject.
    """
    evidence = np.array([j.evidence for j in judged])
    order = np.argsort(-evidence, kind="stable")
    order = order[~np.isnan(evidence[order])]
    w = np.ones(len(order)) if weight is None else weight[order]
    hit = w * np.array([j.subject for j in judged], bool)[order]
    if not hit.any():
        return float("nan")
    precision = np.cumsum(hit) / np.maximum(np.cumsum(w), 1e-9)
    return float((precision * hit).sum() / hit.sum())


def confusion(judged: list[Judged]) -> dict[str, dict[str, int]]:
    """True role -> told as interview, as background (evidence below a half), or not found."""
    table = {name: {"interview": 0, "background": 0, "not found": 0} for name in ROLES}
    for j in judged:
        told = "not found" if np.isnan(j.evidence) else ROLES[int(j.evidence < 0.5)]
        table[ROLES[int(not j.subject)]][told] += 1
    return table


def operating_point(
    judged: list[Judged], threshold: float, weight: np.ndarray | None = None
) -> dict[str, float | None]:
    """Keep precision, keep recall and the share of bystanders kept, when faces from this evidence on are kept."""
    subject = np.array([j.subject for j in judged], bool)
    kept = np.nan_to_num(np.array([j.evidence for j in judged])) >= threshold
    w = np.ones(len(judged)) if weight is None else weight
    return {
        "threshold": threshold,
        "keep_precision": share(subject, w * kept),
        "keep_recall": share(kept, w * subject),
        "bystanders_kept": share(kept, w * ~subject),
    }


def share(flags: np.ndarray, weight: np.ndarray) -> float | None:
    """The weighted share of True; None of nothing."""
    return float((flags * weight).sum() / weight.sum()) if weight.any() else None


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


def render_role_intervals(found: dict[str, Any]) -> str:
    """A Markdown table."""
    head = ("95 % interval, films and pictures drawn anew", "keep precision", "keep recall", "bystanders kept")
    rows = [
        (f"evidence {p['threshold']:.2f} and more", *(f"{100 * p[k][0]:.1f}-{100 * p[k][1]:.1f} %" for k in FIGURES))
        for p in found["curve"]
    ]
    low, high = found["evidence_ap"]
    return f"AP of telling a subject among the faces found: {low:.3f}-{high:.3f}\n\n{table(head, rows)}"
