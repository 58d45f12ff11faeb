"""The worst mistakes as contact sheets: numbered crops, to be looked at. For the run folder, never for the project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bystander import boxes
from bystander.types import Detections
from bystander_lab.ap import IOU, ImageResult, judge
from bystander_lab.evaluate import FOUND, scale_of, set_of
from bystander_lab.role_eval import judge_faces
from bystander_lab.widerface import DataError, Sample, read_image

MANY, COLUMNS, SIDE, TEXT = 20, 5, 240, 44  # crops a sheet; px of a crop and of the lines under it
AROUND = 1.0  # face sides shown around the face
GREEN, WHITE = (80, 255, 80), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A face, or what was taken for one."""

    path: Path
    xyxy: tuple[float, ...]  # px of the file
    badness: float  # larger is worse
    about: str


def missed(samples: list[Sample], results: list[tuple[str, ImageResult]]) -> list[Mistake]:
    """True faces without a detection of score ``FOUND`` and more on them, the highest (at long side 640) first."""
    out = []
    for s, (name, r) in zip(samples, results, strict=True):
        overlap = boxes.iou(r.true, r.found)
        hit = overlap[:, r.score >= FOUND].max(1, initial=0) >= IOU
        for i in np.flatnonzero(~hit & ~r.ignore):
            height = float(r.true[i, 3] - r.true[i, 1])
            out.append(Mistake(s.path, tuple(s.xyxy[i]), height, f"{name} {height:.0f}px {nearest(overlap[i], r)}"))
    return worst(out)


def nearest(overlap: np.ndarray, r: ImageResult) -> str:
    """The highest score on a face; where no box fits it, that of the box that fits best."""
    if not overlap.any():
        return "no box"
    on = overlap >= IOU
    best = int(np.where(on, r.score, -1).argmax() if on.any() else overlap.argmax())
    return f"score {r.score[best]:.2f} IoU {overlap[best]:.2f}"


def false_alarms(samples: list[Sample], results: list[tuple[str, ImageResult]]) -> list[Mistake]:
    """Detections on nothing (or again on a face that was found), the highest score first."""
    pairs = list(zip(samples, results, strict=True))
    wrong = [(float(r.score[i]), k, i) for k, (_, (_, r)) in enumerate(pairs) for i in np.flatnonzero(judge(r) == 0)]
    out = []
    for score, k, i in sorted(wrong, key=lambda w: -w[0])[:MANY]:
        s, (name, r) = pairs[k]
        height, touches = float(r.found[i, 3] - r.found[i, 1]), boxes.iou(r.found[i : i + 1], r.true).max(initial=0)
        about = f"{name} {height:.0f}px score {score:.2f} IoU {touches:.2f}"
        out.append(Mistake(s.path, tuple(r.found[i] / scale_of(read_image(s.path))), score, about))
    return out


def wrong_roles(samples: list[Sample], found: list[Detections]) -> tuple[list[Mistake], list[Mistake]]:
    """Subjects found with the least evidence, and bystanders with the most."""
    lost, kept = [], []
    for s, d in zip(samples, found, strict=True):
        for j in judge_faces(s, d):
            if np.isnan(j.evidence):
                continue
            about = f"{set_of(s.event)} evidence {j.evidence:.3f}"
            mine, badness = (lost, -j.evidence) if j.subject else (kept, j.evidence)
            mine.append(Mistake(s.path, tuple(s.xyxy[j.face]), badness, about))
    return worst(lost), worst(kept)


def worst(mistakes: Iterable[Mistake]) -> list[Mistake]:
    return sorted(mistakes, key=lambda m: -m.badness)[:MANY]


def write_sheet(mistakes: list[Mistake], path: Path) -> list[str]:
    """Write the PNG and return a line for each crop. No file where there is no mistake. DataError when it cannot be."""
    path.unlink(missing_ok=True)  # an old sheet would pass for a new one
    if not mistakes:
        return [f"{path}: not written, nothing to show"]
    tiles = [tile(number, m) for number, m in enumerate(mistakes, 1)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    picture = np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".partial")
    try:
        part.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
        part.replace(path)
    except OSError as e:
        raise DataError(f"{path}: cannot write the sheet ({e.strerror})") from e
    finally:
        part.unlink(missing_ok=True)
    return [f"{path}:", *(f"  {n:2d} {m.path.parent.name}/{m.path.name}: {m.about}" for n, m in enumerate(mistakes, 1))]


def tile(number: int, m: Mistake) -> np.ndarray:
    """(SIDE + TEXT, SIDE, 3): the face with what is around it, its box, and two lines under it."""
    rgb = read_image(m.path)
    x1, y1, x2, y2 = m.xyxy
    half = max(x2 - x1, y2 - y1, 8) * (0.5 + AROUND)
    scale = SIDE / (2 * half)
    left, top = (x1 + x2) / 2 - half, (y1 + y2) / 2 - half
    move = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    crop = cv2.warpAffine(rgb, move, (SIDE, SIDE), flags=how)
    corners = [(round((x - left) * scale), round((y - top) * scale)) for x, y in ((x1, y1), (x2, y2))]
    cv2.rectangle(crop, *corners, GREEN, 1)
    text = np.zeros((TEXT, SIDE, 3), np.uint8)
    for line, y in ((f"{number} {m.about}", 17), (f"{m.path.parent.name}/{m.path.name}"[-34:], 36)):
        cv2.putText(text, line, (3, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, WHITE, 1, cv2.LINE_AA)
    return np.vstack((crop, text))
