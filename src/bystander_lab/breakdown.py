"""Which faces a detector misses: the share found, by what the picture shows of them, with intervals over images.

Height, light, sharpness and tone are read off the pixels of the true box, attributes off the labels where they are
given. Tone is the individual typology angle (Chardon et al. 1991) of the box's middle *as lit in the picture*: it
mixes skin with light and camera, and says nothing about a person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bystander import boxes
from bystander_lab.ap import IOU
from bystander_lab.bootstrap import Interval, interval
from bystander_lab.evaluate import LONG, Find, set_of, still_frame
from bystander_lab.widerface import Sample, load_widerface, read_image

FOUND = 0.2  # score from which the tracker starts a track
HEIGHTS = ((0, "under 10 px"), (10, "10-16 px"), (16, "16-32 px"), (32, "32-64 px"), (64, "64 px and more"))
LUMA = ((0, "dark (mean luma under 60)"), (60, "60-120"), (120, "120-180"), (180, "bright (180 and more)"))
SHARP = ((0, "blurred (Laplacian variance under 100 at 32 px)"), (100, "100-400"), (400, "sharp (400 and more)"))
TONES = ((-90, "ITA under 10"), (10, "10-28"), (28, "28-41"), (41, "41 and more"))
JUDGED = 16  # px at long side 640; what is smaller shows neither sharpness nor tone
ATTRIBUTES = {"blur": 0, "illumination": 2, "occlusion": 4, "pose": 5}  # columns of the WIDER FACE labels


@dataclass(frozen=True, slots=True)
class Share:
    """One row of the table."""

    trait: str
    value: str
    faces: int
    found: float  # share 0-1
    sure: Interval


def breakdown(root: Path, find: Find, split: str = "val") -> list[Share]:
    """Rows for every trait that the data shows. DataError when the layout or an image is broken."""
    seen: dict[tuple[str, str], list[tuple[bool, int]]] = defaultdict(list)
    for number, s in enumerate(load_widerface(root, split)):
        rgb = read_image(s.path)
        d = find(still_frame(rgb))
        overlap = boxes.iou(s.xyxy, d.xyxy[d.score >= FOUND])
        for face in np.flatnonzero(~s.invalid):
            hit = bool((overlap[face] >= IOU).any())
            for trait, value in traits(rgb, s, int(face)):
                seen[trait, value].append((hit, number))
    return [row(trait, value, faces) for (trait, value), faces in sorted(seen.items(), key=lambda kv: order(kv[0]))]


def row(trait: str, value: str, faces: list[tuple[bool, int]]) -> Share:
    hit = np.array([h for h, _ in faces])

    def figure(weight: np.ndarray) -> float:
        return float((weight * hit).sum() / weight.sum()) if weight.sum() else float("nan")

    return Share(trait, value, len(faces), float(hit.mean()), interval(figure, [n for _, n in faces]))


def order(key: tuple[str, str]) -> tuple[str, int, str]:
    """Traits by name, their values from low to high."""
    trait, value = key
    names = [name for table in (HEIGHTS, LUMA, SHARP, TONES) for _, name in table]
    return trait, names.index(value) if value in names else -1, value


def traits(rgb: np.ndarray, s: Sample, face: int) -> Iterator[tuple[str, str]]:
    """(trait, value) of one face, as far as they can be judged."""
    yield "set", set_of(s.event)
    x1, y1, x2, y2 = s.xyxy[face]
    height = float(y2 - y1) * LONG / max(rgb.shape[:2])
    yield "height", level(height, HEIGHTS)
    for name, column in ATTRIBUTES.items():
        if s.attributes[:, column].any():
            yield name, str(int(s.attributes[face, column]))
    crop = rgb[max(0, int(y1)) : int(np.ceil(y2)), max(0, int(x1)) : int(np.ceil(x2))]
    if not crop.size or height < JUDGED:
        return
    yield "light", level(float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean()), LUMA)
    yield "sharpness", level(sharpness(crop), SHARP)
    yield "tone", level(typology_angle(crop), TONES)


def level(value: float, table: tuple[tuple[float, str], ...]) -> str:
    """The last step that ``value`` reaches."""
    return [name for least, name in table if value >= least or least == table[0][0]][-1]


def sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the face at 32x32 px."""
    small = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).var())


def typology_angle(crop: np.ndarray) -> float:
    """ITA in degrees, atan((L* - 50) / b*), of the median colour in the middle of the box."""
    h, w = crop.shape[:2]
    middle = crop[h // 3 : h - h // 4, w // 4 : w - w // 4]
    lab = cv2.cvtColor(np.ascontiguousarray(middle, np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    lightness, _, b = np.median(lab, axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, max(float(b), 1e-3))))


def render_breakdown(rows: list[Share]) -> str:
    """A plain-text table."""
    lines = [f"faces found (score {FOUND} and more) by what the picture shows of them, 95 % interval over images"]
    for r in rows:
        low, high = (100 * v for v in r.sure)
        lines.append(f"  {r.trait:12s} {r.value:48s} {r.faces:5d} faces  {100 * r.found:5.1f} % ({low:.1f}-{high:.1f})")
    return "\n".join(lines)
