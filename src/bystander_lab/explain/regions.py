"""Where in a picture evidence lies: face, marked things, body, other faces, the picture's edge, the rest.

Every pixel belongs to one region, the first of ``REGIONS`` that claims it, so shares add up to 1. The body is a guess:
the face's box extended downward. Hands and microphones count only where somebody marked them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bystander.types import F32
from bystander_lab.explain.draw import unit
from bystander_lab.explain.scene import Face, Scene

REGIONS = ("face", "microphone", "hand", "other faces", "body", "edge", "rest")
MARKED = ("microphone", "hand")
BODY_WIDTH, BODY_HEIGHT = 3.0, 5.0  # in widths and heights of the face
EDGE = 0.08  # of the picture's side, at each side
Mask = npt.NDArray[np.bool_]


def box_mask(shape: tuple[int, ...], xyxy: F32 | list[float]) -> Mask:
    """(h, w), True inside the box, rounded outward."""
    mask = np.zeros(shape, bool)
    x1, y1 = (max(0, int(np.floor(v))) for v in xyxy[:2])
    x2, y2 = (max(0, int(np.ceil(v))) for v in xyxy[2:])
    mask[y1:y2, x1:x2] = True
    return mask


def body_box(face: F32) -> F32:
    """Where the rest of the person is likely to be, below the face's box."""
    x1, y1, x2, y2 = face
    w, h, cx = x2 - x1, y2 - y1, (x1 + x2) / 2
    return np.array([cx - w * BODY_WIDTH / 2, y2, cx + w * BODY_WIDTH / 2, y2 + h * BODY_HEIGHT], np.float32)


def masks(scene: Scene, face: Face, marked: list[dict[str, Any]] | None = None) -> dict[str, Mask]:
    """Region -> (h, w) mask in the detector's picture, without padding, none overlapping another.

    ``marked``: [{"kind": "hand" or "microphone", "xyxy": px of the detector's picture}].
    """
    shape = scene.images.shape[2:]
    inner = box_mask(shape, list(scene.inner))
    claims = {"face": box_mask(shape, face.xyxy), "body": box_mask(shape, body_box(face.xyxy)),
              "edge": edge_mask(scene), "rest": np.ones(shape, bool)}  # fmt: skip
    claims["other faces"] = union(shape, [f.xyxy for f in scene.faces if f is not face])
    for kind in MARKED:
        claims[kind] = union(shape, [m["xyxy"] for m in marked or () if m["kind"] == kind])
    out, free = {}, inner
    for name in REGIONS:
        out[name] = claims[name] & free
        free = free & ~claims[name]
    return out


def union(shape: tuple[int, ...], found: list[Any]) -> Mask:
    mask = np.zeros(shape, bool)
    for xyxy in found:
        mask |= box_mask(shape, xyxy)
    return mask


def edge_mask(scene: Scene) -> Mask:
    """The outer ``EDGE`` of the picture at each side."""
    x1, y1, x2, y2 = scene.inner
    dx, dy = EDGE * (x2 - x1), EDGE * (y2 - y1)
    return ~box_mask(scene.images.shape[2:], [x1 + dx, y1 + dy, x2 - dx, y2 - dy])


def shares(values: F32, regions: dict[str, Mask]) -> dict[str, float]:
    """Region -> share of the positive evidence; all 0 where there is none. The face's is called energy in box."""
    positive = unit(values)
    total = float(sum(positive[m].sum() for m in regions.values()))
    return {name: float(positive[m].sum()) / max(total, 1e-12) for name, m in regions.items()}


def areas(regions: dict[str, Mask]) -> dict[str, float]:
    """Region -> share of the picture's area: what evidence spread evenly would give."""
    total = sum(int(m.sum()) for m in regions.values())
    return {name: float(m.sum()) / total for name, m in regions.items()}


def points_at(values: F32, mask: Mask) -> bool:
    """The pointing game: the strongest place lies in the mask."""
    return bool(values.max() > 0 and mask.flat[int(values.argmax())])
