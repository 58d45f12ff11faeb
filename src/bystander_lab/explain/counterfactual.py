"""What if? The picture is changed and the model asked again: how far does the role's probability move?

Unlike a heat map this is an experiment, though on pictures that no camera took. Edits are made on the detector's
picture; the face is then looked for anew, since an edit may hide it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from bystander.stages.letterbox import GREY
from bystander.types import F32, U8
from bystander_lab.explain.draw import draw_box, sheet, text
from bystander_lab.explain.regions import body_box, box_mask
from bystander_lab.explain.scene import Face, Opened, Scene, faces_in, nearest
from bystander_lab.widerface import DataError

LEAST = 0.05  # score from which the face still counts as found
BLUR = 0.06  # sigma of the blurred subject, in face heights
SHRINK = 0.5
TILE = 420  # px


@dataclass(frozen=True, slots=True)
class Outcome:
    edit: str
    images: F32  # (1, 3, h, w)
    face: Face | None  # None: the face is not found any more


def outcomes(opened: Opened, scene: Scene, face: Face, region: tuple[float, ...] | None = None) -> list[Outcome]:
    """The picture as it is, then each edit. ``region``: x, y, w, h in px of ``scene.picture``; DataError outside."""
    out = [Outcome("as it is", scene.images, face)]
    for name, image, expected in edits(scene, face, region):
        images = image[None].astype(np.float32)
        found = nearest(faces_in(opened, images, scene.inner, LEAST), expected, 0.4)
        out.append(Outcome(name, images, found))
    return out


def edits(scene: Scene, face: Face, region: tuple[float, ...] | None) -> Iterator[tuple[str, F32, F32]]:
    """Name, (3, h, w) picture, and where the face is then."""
    image, shape = scene.images[0], scene.images.shape[2:]
    body = clipped(body_box(face.xyxy), scene)
    inner = box_mask(shape, list(scene.inner))
    at_face, at_body = box_mask(shape, face.xyxy), box_mask(shape, body)
    person = (at_face | at_body) & inner
    sigma = max(1.0, BLUR * float(face.xyxy[3] - face.xyxy[1]))
    yield "subject blurred", np.where(person, blurred(image, sigma), image), face.xyxy
    small, box = shrunk(scene, face, body)
    yield f"subject at {SHRINK:.0%}", small, box
    yield "background grey", grey(image, inner & ~person), face.xyxy
    yield "background blurred", np.where(inner & ~person, blurred(image, 12), image), face.xyxy
    yield "body grey", grey(image, at_body & inner & ~at_face), face.xyxy
    if region is not None:
        yield "region grey", grey(image, masked(scene, region) & inner), face.xyxy


def masked(scene: Scene, region: tuple[float, ...]) -> np.ndarray:
    """DataError when the region is empty or outside of the picture."""
    x, y, w, h = region
    height, width = scene.picture.shape[:2]
    if w <= 0 or h <= 0 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise DataError(f"--mask {x:g},{y:g},{w:g},{h:g}: lies outside of the picture of {width}x{height} px")
    box = scene.from_size(np.array([x, y, x + w, y + h], np.float32), width)
    return box_mask(scene.images.shape[2:], box)


def clipped(xyxy: F32, scene: Scene) -> F32:
    x1, y1, x2, y2 = scene.inner
    return np.clip(xyxy, [x1, y1, x1, y1], [x2, y2, x2, y2]).astype(np.float32)


def grey(image: F32, mask: np.ndarray) -> F32:
    return np.where(mask, np.float32(GREY / 255), image)


def blurred(image: F32, sigma: float) -> F32:
    """(3, h, w)."""
    return cv2.GaussianBlur(np.ascontiguousarray(image.transpose(1, 2, 0)), (0, 0), sigma).transpose(2, 0, 1)


def shrunk(scene: Scene, face: Face, body: F32) -> tuple[F32, F32]:
    """The person's box, scaled about the middle of its lower edge over a blurred copy of what was there; and the face.

    The box holds some of what is beside the person, and a seam: read small movements with care.
    """
    image = scene.images[0]
    x1, y1, x2, y2 = (round(float(v)) for v in clipped(whole(face, body), scene))
    w, h = max(1, round((x2 - x1) * SHRINK)), max(1, round((y2 - y1) * SHRINK))
    patch = np.ascontiguousarray(image[:, y1:y2, x1:x2].transpose(1, 2, 0))
    small = cv2.resize(patch, (w, h), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    out = image.copy()
    out[:, y1:y2, x1:x2] = blurred(image, 24)[:, y1:y2, x1:x2]
    left, top = x1 + (x2 - x1 - w) // 2, y2 - h
    out[:, top : top + h, left : left + w] = small
    corner, to = np.array([x1, y1] * 2, np.float32), np.array([left, top] * 2, np.float32)
    return out, ((face.xyxy - corner) * np.float32(SHRINK) + to).astype(np.float32)


def whole(face: Face, body: F32) -> F32:
    """The box around face and body, with room for the hair."""
    x1, y1, x2, y2 = np.concatenate([np.minimum(face.xyxy[:2], body[:2]), np.maximum(face.xyxy[2:], body[2:])])
    return np.array([x1, y1 - 0.5 * (face.xyxy[3] - face.xyxy[1]), x2, y2], np.float32)


def table(results: list[Outcome]) -> list[str]:
    """Lines of figures after each edit; the move is the evidence's, or the face score's where there are no roles."""
    before = results[0].face
    assert before is not None
    columns = (*before.p, "evidence") if before.role != "face" else ()
    lines = [f"{'edit':20s}" + "".join(f"{n:>12s}" for n in (*columns, "face score", "move"))]
    for r in results:
        if r.face is None:
            lines.append(f"{r.edit:20s}  the face is not found any more")
            continue
        values = {**r.face.p, "evidence": r.face.evidence}
        figures = [f"{values[n]:.3f}" for n in columns] + [
            f"{r.face.score:.3f}",
            f"{asked(r.face) - asked(before):+.3f}",
        ]
        lines.append(f"{r.edit:20s}" + "".join(f"{v:>12s}" for v in figures))
    return lines


def asked(face: Face) -> float:
    return face.score if face.role == "face" else face.evidence


def contact(scene: Scene, results: list[Outcome]) -> U8:
    """(H, W, 3) RGB: every edited picture with its figures. Shows faces uncovered."""
    x1, y1, x2, y2 = scene.inner
    tiles = []
    for r in results:
        rgb = np.rint(np.clip(r.images[0, :, y1:y2, x1:x2], 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        scale = TILE / rgb.shape[1]
        tile = cv2.resize(rgb, (TILE, round(rgb.shape[0] * scale)), interpolation=cv2.INTER_LINEAR)
        if r.face is not None:
            draw_box(tile, (r.face.xyxy - np.array([x1, y1] * 2, np.float32)) * np.float32(scale), "")
        below = np.full((46, TILE, 3), 24, np.uint8)
        text(below, r.edit, (8, 18), 0.5)
        text(below, caption(r.face), (8, 38), 0.42)
        tiles.append(np.concatenate((tile, below)))
    return sheet(tiles, 3, TILE)


def caption(face: Face | None) -> str:
    if face is None:
        return "face not found any more"
    if "interview" not in face.p:
        return f"face score {face.score:.2f}"
    return f"evidence for interview {face.evidence:.2f}, face score {face.score:.2f}"
