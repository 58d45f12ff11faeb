"""A picture to try runtimes on: drawn faces of nobody before coarse and fine noise, the same on every machine.

Faces, because two runtimes that find nothing would agree on everything.
"""

from __future__ import annotations

import cv2
import numpy as np

from bystander.types import F32

# centre and height of each face, as shares of the picture's size and of its shorter side
FACES = ((0.19, 0.44, 0.44), (0.51, 0.31, 0.24), (0.73, 0.29, 0.13), (0.87, 0.68, 0.29), (0.51, 0.78, 0.17))
# strokes in face widths and heights from the middle: x, y, half width, half height, softness, strength, RGB
STROKES = (
    (0, 1.6, 1.5, 0.75, 4, 1.0, (0.25, 0.30, 0.45)),  # shoulders
    (0, -0.15, 1.15, 1.08, 4, 1.0, (0.16, 0.11, 0.08)),  # hair
    (0, 1.0, 0.5, 0.5, 4, 1.0, (0.68, 0.50, 0.40)),  # neck
    (0, 0.08, 0.92, 0.95, 4, 1.0, (0.85, 0.66, 0.55)),  # skin
    (0.5, 0.1, 0.5, 0.8, 1, 0.2, (0.45, 0.30, 0.22)),  # a side in shade
    (-0.4, -0.12, 0.24, 0.1, 1.5, 0.6, (0.45, 0.30, 0.25)), (0.4, -0.12, 0.24, 0.1, 1.5, 0.6, (0.45, 0.30, 0.25)),
    (-0.4, -0.1, 0.17, 0.07, 4, 1.0, (0.95, 0.93, 0.90)), (0.4, -0.1, 0.17, 0.07, 4, 1.0, (0.95, 0.93, 0.90)),
    (-0.4, -0.1, 0.08, 0.08, 4, 1.0, (0.12, 0.08, 0.06)), (0.4, -0.1, 0.08, 0.08, 4, 1.0, (0.12, 0.08, 0.06)),
    (-0.4, -0.3, 0.26, 0.05, 1, 1.0, (0.20, 0.13, 0.10)), (0.4, -0.3, 0.26, 0.05, 1, 1.0, (0.20, 0.13, 0.10)),
    (0.07, 0.12, 0.07, 0.25, 1, 0.5, (0.50, 0.33, 0.27)), (0, 0.28, 0.17, 0.06, 1, 0.8, (0.50, 0.30, 0.26)),
    (0, 0.55, 0.32, 0.08, 1.2, 1.0, (0.62, 0.25, 0.24)),
)  # fmt: skip
FADED = 2.0  # over a softness: so many sizes beyond its edge a stroke has faded to a ten-millionth


def picture(height: int, width: int) -> F32:
    """(1, 3, h, w) RGB 0-1."""
    rng = np.random.default_rng(0)
    noise = [cv2.resize(rng.random((n, n, 3), np.float32), (width, height)) for n in (6, 24, 96)]
    image = 0.35 + 0.1 * np.asarray(sum(noise), np.float32)
    for x, y, tall in FACES:
        draw_face(image, x * width, y * height, tall * min(height, width))
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def draw_face(image: F32, x: float, y: float, tall: float) -> None:
    """Paint a face into ``image`` (h, w, 3): its middle and its height in px. A stroke touches what is near."""
    half_w, half_h = 0.37 * tall, 0.5 * tall  # px; -1 to 1 is within the face
    for sx, sy, wide, high, soft, strength, rgb in STROKES:
        reach = 1 + FADED / soft
        left, right = span(x + sx * half_w, wide * half_w * reach, image.shape[1])
        top, bottom = span(y + sy * half_h, high * half_h * reach, image.shape[0])
        rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
        distance = np.hypot(((columns - x) / half_w - sx) / wide, ((rows - y) / half_h - sy) / high)
        share = strength / (1 + np.exp(np.clip(8 * soft * (distance - 1), -40, 40)))
        part = image[top:bottom, left:right]
        part += share[..., None] * (np.array(rgb, np.float32) - part)


def span(middle: float, half: float, length: int) -> tuple[int, int]:
    """First and one past the last px within ``half`` of the middle; the same where none is inside."""
    first = min(max(0, int(middle - half)), length)
    return first, max(first, min(length, int(middle + half) + 2))
