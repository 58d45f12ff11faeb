"""What a picture shows of a face, for tables of who is missed: read off the pixels of the true box, and off its labels.

All of it is rough. Light, sharpness, symmetry and the colours of the two halves are judged from 16 px on (at long side
640). Symmetry is the likeness of the face and its mirror image: by eye, high means "looks into the camera", low means
turned, tilted or half hidden. Halves of different colours are masks, but also hats, sunglasses and hands. Tone is the
individual typology angle (Chardon et al. 1991) of the box's middle *as lit in the picture*, taken only on faces of
40 px that are lit well, in colour and with halves alike: it mixes skin with light and camera, says nothing about a
person, and is used nowhere but here.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from bystander_lab.evaluate import LONG, set_of
from bystander_lab.widerface import Sample

Steps = tuple[tuple[float, str], ...]  # least value of each group, and its name
JUDGED = 16  # px at long side 640; what is smaller shows little but its height
TONE_JUDGED, TONE_LUMA, TONE_CHROMA = 40, (60.0, 220.0), 5.0  # px of the file; mean luma; least b*
HEIGHTS: Steps = (
    (0, "under 10 px"), (10, "10-16 px"), (16, "16-32 px"), (32, "32-64 px"), (64, "64-128 px"),
    (128, "128 px and more"),
)  # fmt: skip
LUMA: Steps = ((0, "dark (mean luma under 60)"), (60, "60-120"), (120, "120-180"), (180, "bright (180 and more)"))
SHARP: Steps = (
    (0, "blurred (Laplacian variance under 100 at 32 px)"), (100, "100-400"), (400, "sharp (400 and more)"),
)  # fmt: skip
MIRROR: Steps = (
    (-1, "turned, tilted or half hidden (under 0.15)"),
    (0.15, "0.15-0.6"),
    (0.6, "frontal (0.6 and more)"),
)
HALVES: Steps = ((0, "alike (under 6)"), (6, "6-12"), (12, "different, as with a mask (12 and more)"))
# classes of Del Bino & Bernerd 2013, the two lightest as one
TONES: Steps = (
    (-90, "dark (ITA under -30)"), (-30, "brown (-30-10)"), (10, "tan (10-28)"), (28, "intermediate (28-41)"),
    (41, "light (41 and more)"),
)  # fmt: skip
TABLES = (HEIGHTS, LUMA, SHARP, MIRROR, HALVES, TONES)
ATTRIBUTES = {"blur": 0, "illumination": 2, "occlusion": 4, "pose": 5}  # columns of the WIDER FACE labels


def traits(rgb: np.ndarray, s: Sample, face: int) -> Iterator[tuple[str, str]]:
    """(trait, value) of one face, as far as they can be judged."""
    yield "set", set_of(s.event)
    x1, y1, x2, y2 = s.xyxy[face]
    height = float(y2 - y1) * LONG / max(rgb.shape[:2])
    yield "height", level(height, HEIGHTS)
    for name, column in ATTRIBUTES.items():
        if s.attributes[:, column].any():
            yield f"{name} (label)", str(int(s.attributes[face, column]))
    crop = rgb[max(0, int(y1)) : int(np.ceil(y2)), max(0, int(x1)) : int(np.ceil(x2))]
    if min(crop.shape[:2]) < 4 or height < JUDGED:
        return
    luma, apart = float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean()), halves(crop)
    yield "light", level(luma, LUMA)
    yield "sharpness", level(sharpness(crop), SHARP)
    yield "symmetry", level(symmetry(crop), MIRROR)
    yield "halves", level(apart, HALVES)
    lit = TONE_LUMA[0] <= luma < TONE_LUMA[1] and colour(crop)[2] >= TONE_CHROMA
    if crop.shape[0] >= TONE_JUDGED and lit and apart < HALVES[-1][0]:
        yield "tone", level(typology_angle(crop), TONES)


def level(value: float, steps: Steps) -> str:
    """The last step that ``value`` reaches."""
    return [name for least, name in steps if value >= least or least == steps[0][0]][-1]


def order(key: tuple[str, str]) -> tuple[str, int, str]:
    """Traits by name, their values from low to high."""
    trait, value = key
    names = [name for steps in TABLES for _, name in steps]
    return trait, names.index(value) if value in names else -1, value


def sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the face at 32x32 px."""
    return float(cv2.Laplacian(grey(crop), cv2.CV_32F).var())


def symmetry(crop: np.ndarray) -> float:
    """Correlation (-1..1) of the face at 32x32 px with its mirror image, about the best of the nine middle axes.

    Soft gradients are taken out first: light from one side is no turned head.
    """
    face = cv2.GaussianBlur(grey(crop).astype(np.float32), (0, 0), 1)
    face -= cv2.GaussianBlur(face, (0, 0), 8)
    return max(likeness(face[:, max(0, k) : 32 + min(0, k)]) for k in range(-4, 5))


def likeness(part: np.ndarray) -> float:
    part = part[3:-3, 3:-3]
    part = part - part.mean()
    return float((part * part[:, ::-1]).sum() / max(float((part**2).sum()), 1e-6))


def halves(crop: np.ndarray) -> float:
    """How far apart the colours (a*, b*) of forehead and eyes, and of nose and mouth, are."""
    lab = to_lab(cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA))
    upper, lower = (np.median(lab[rows, 9:23].reshape(-1, 3), 0) for rows in (slice(6, 15), slice(19, 28)))
    return float(np.hypot(*(upper - lower)[1:]))


def colour(crop: np.ndarray) -> np.ndarray:
    """(3,) median L*, a*, b* in the middle of the box."""
    h, w = crop.shape[:2]
    return np.median(to_lab(crop[h // 3 : h - h // 4, w // 4 : w - w // 4]).reshape(-1, 3), 0)


def typology_angle(crop: np.ndarray) -> float:
    """ITA in degrees, atan((L* - 50) / b*), of the median colour in the middle of the box."""
    lightness, _, b = colour(crop)
    return float(np.degrees(np.arctan2(lightness - 50, max(float(b), 1e-3))))


def grey(crop: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(rgb, np.float32) / 255, cv2.COLOR_RGB2LAB)
