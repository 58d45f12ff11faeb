"""Heat maps for people: the colours over the picture, the face's box and role, and a legend below. RGB in, RGB out."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bystander.types import F32, U8
from bystander_lab.explain.maps import HeatMap
from bystander_lab.explain.scene import Face, Scene

LEGEND = 74  # px
LEAST_WIDTH = 560  # px, so that the legend's words fit
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK, DIM = (255, 255, 255), (0, 0, 0), (190, 190, 190)
TITLES = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM", "eigencam": "Eigen-CAM",
          "occlusion": "occlusion"}  # fmt: skip


def heat_picture(scene: Scene, face: Face, heat: HeatMap, number: int) -> U8:
    """(H, W, 3): the map over the picture, box, role, score, legend."""
    x1, y1, x2, y2 = scene.inner
    picture = overlay(scene.picture, heat.values[y1:y2, x1:x2])
    grow = max(1.0, LEAST_WIDTH / picture.shape[1])
    picture = cv2.resize(picture, None, fx=grow, fy=grow, interpolation=cv2.INTER_LINEAR)
    draw_box(picture, scene.to_picture(face.xyxy) * grow, f"{number}")
    return np.concatenate((picture, legend(picture.shape[1], face, heat, number)))


def overlay(picture: U8, values: F32) -> U8:
    """Warm colours where ``values`` are above 0, the stronger the more; elsewhere the picture in grey."""
    h, w = picture.shape[:2]
    strength = cv2.resize(unit(values), (w, h), interpolation=cv2.INTER_LINEAR)[..., None]
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colours = palette(strength[..., 0])
    alpha = 0.65 * np.sqrt(strength)
    return np.asarray(np.rint(grey * (1 - alpha) + colours * alpha), np.uint8)


def unit(values: F32) -> F32:
    """The positive part as a share of its largest value."""
    positive = np.maximum(values, 0)
    return np.asarray(positive / max(float(positive.max()), 1e-12), np.float32)


def palette(strength: F32) -> U8:
    """0-1 -> RGB."""
    levels = np.rint(np.clip(strength, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB), np.uint8)


def draw_box(picture: U8, xyxy: F32, label: str) -> None:
    """A white box in a black one, readable on any picture."""
    x1, y1, x2, y2 = (round(float(v)) for v in xyxy)
    for colour, thickness in ((BLACK, 4), (WHITE, 2)):
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thickness)
    text(picture, label, (x1 + 4, max(16, y1 - 6)), 0.55)


def text(
    picture: U8, words: str, at: tuple[int, int], size: float = 0.45, colour: tuple[int, int, int] = WHITE
) -> None:
    """Words with a dark edge. The edge is the same words moved: thicker ones would run wider."""
    x, y = at
    for dx, dy, ink in ((-1, 0, BLACK), (1, 0, BLACK), (0, -1, BLACK), (0, 1, BLACK), (0, 0, colour)):
        cv2.putText(picture, words, (x + dx, y + dy), FONT, size, ink, 1, cv2.LINE_AA)


def legend(width: int, face: Face, heat: HeatMap, number: int) -> U8:
    """(LEGEND, width, 3): what was found, what was asked, and the scale of the colours."""
    out = np.full((LEGEND, width, 3), 24, np.uint8)
    text(out, describe(face, number), (8, 20), 0.5)
    layer = "" if heat.layer == "-" else f", layer {heat.layer}"
    blind = ", whatever the class" if heat.method == "eigencam" else f" for '{heat.target}'"
    text(out, f"what spoke{blind} ({TITLES[heat.method]}{layer})", (8, 42), 0.45, DIM)
    if not (heat.values > 0).any():
        text(out, "nothing spoke for it", (8, 64), 0.45, DIM)
        return out
    out[52:68, 70:230] = palette(np.linspace(0, 1, 160, dtype=np.float32)[None].repeat(16, 0))
    text(out, "nothing", (8, 65), 0.42, DIM)
    text(out, "most in this picture; no probability", (238, 65), 0.42, DIM)
    return out


def describe(face: Face, number: int) -> str:
    """One line for a face: number, role, figures."""
    if "interview" not in face.p:
        return f"face {number}: found with score {face.score:.2f} (no roles in these weights)"
    figures = ", ".join(f"{name} {p:.2f}" for name, p in face.p.items())
    return f"face {number}: {face.role} ({figures}; face score {face.score:.2f})"


def sheet(pictures: list[U8], columns: int = 0, tile: int = LEAST_WIDTH) -> U8:
    """Pictures of one size or several on one contact sheet, each ``tile`` px wide."""
    columns = columns or min(3, math.ceil(math.sqrt(len(pictures))))
    small = [
        cv2.resize(p, (tile, round(p.shape[0] * tile / p.shape[1])), interpolation=cv2.INTER_AREA) for p in pictures
    ]
    height = max(p.shape[0] for p in small)
    tiles = [cv2.copyMakeBorder(p, 0, height - p.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(24,) * 3) for p in small]
    tiles += [np.full((height, tile, 3), 24, np.uint8)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.asarray(np.concatenate(rows), np.uint8)
