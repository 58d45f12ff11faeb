"""More small faces: copies of those in a picture, pasted elsewhere in it (Kisantal et al. 2019, arXiv:1902.07296)."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from bystander import boxes
from bystander_lab.augment import UNKNOWN, Example

SMALL = (6.0, 32.0)  # px, height of the faces that are copied
COPIES, TRIES = 3, 10  # most copies a picture, places tried for each
MARGIN = 0.3  # of the face's sides, copied along: a face without its head is another thing to find


def paste_faces(example: Example, rng: np.random.Generator) -> Example:
    """Up to ``COPIES`` copies of small faces, at 0.8 to 1.25 of their size, where they hide no other face."""
    height = example.xyxy[:, 3] - example.xyxy[:, 1]
    small = np.flatnonzero(~example.ignore & (height >= SMALL[0]) & (height <= SMALL[1]))
    if not len(small):
        return example
    image, taken = example.image.copy(), example.xyxy
    new = []
    for i in rng.choice(small, COPIES):
        placed = paste(example, image, int(i), taken, rng)
        if placed is not None:
            new.append(placed)
            taken = np.concatenate((taken, placed[None]))
    added = len(new)
    return replace(
        example, image=image, xyxy=taken, ignore=np.append(example.ignore, np.zeros(added, bool)),
        role=np.append(example.role, np.full(added, UNKNOWN)),
    )  # fmt: skip


def paste(
    example: Example, image: np.ndarray, i: int, taken: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """Paint face ``i`` into ``image`` once; its new box (4,), None where no free place was found."""
    rows, columns = image.shape[:2]
    x1, y1, x2, y2 = example.xyxy[i]
    dx, dy = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    left, top = max(0, int(x1 - dx)), max(0, int(y1 - dy))
    patch = example.image[top : min(rows, int(y2 + dy) + 1), left : min(columns, int(x2 + dx) + 1)]
    scale = float(np.exp(rng.uniform(-0.22, 0.22)))
    width, height = (max(1, round(side * scale)) for side in patch.shape[1::-1])
    if width > columns or height > rows:
        return None
    sx, sy = width / patch.shape[1], height / patch.shape[0]
    box = (example.xyxy[i] - (left, top, left, top)) * (sx, sy, sx, sy)
    for _ in range(TRIES):
        x, y = int(rng.integers(0, columns - width + 1)), int(rng.integers(0, rows - height + 1))
        if not boxes.iou(np.array([[x, y, x + width, y + height]], np.float32), taken).any():
            image[y : y + height, x : x + width] = cv2.resize(patch, (width, height), interpolation=cv2.INTER_LINEAR)
            return (box + np.array([x, y, x, y])).astype(np.float32)
    return None
