"""Training pictures from cached images: mosaics of four, made for small, hidden, dark and blurred faces; whole ones for
roles.

Cached images and their boxes in, one ``size`` x ``size`` RGB picture with boxes (px) and ignore flags out. All
randomness comes from the generator passed in, so a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

MIN_FACE_PX = 5.0  # smaller ones are ignored, neither face nor background
MIN_VISIBLE = 0.35  # share of a face's area left inside its tile below which it is ignored
GREY = 114
IN_USE = 640  # px, long side of the pictures that the detector will see; training pictures are smaller windows of such
UNKNOWN = -1  # role of a face that nobody judged


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and its labels.

    image (h, w, 3) uint8 RGB; xyxy (n, 4) float32 px; ignore (n,) bool; role (n,) int class index, -1 unknown.
    """

    image: np.ndarray
    xyxy: np.ndarray
    ignore: np.ndarray
    role: np.ndarray


def place(
    source: Example, canvas: np.ndarray, rng: np.random.Generator, scale: float, aspect: float, *, aim: bool = False
) -> Example:
    """Scale ``source`` (x by scale*aspect), paint a random window of it into ``canvas``. Labels in canvas px.

    ``aim``: the window holds the middle of one of the faces, where there is one.
    """
    h, w = source.image.shape[:2]
    ch, cw = canvas.shape[:2]
    sx, sy = scale * aspect, scale / aspect
    # window of the source that the canvas shows; a source smaller than the canvas sits anywhere inside it
    room = np.array([w * sx - cw, h * sy - ch])
    low, high = np.minimum(room, 0), np.maximum(room, 0)
    ox, oy = rng.uniform(low, high)
    faces = source.xyxy[~source.ignore]
    if aim and len(faces):
        middle = faces[rng.integers(len(faces))].reshape(2, 2).mean(0) * (sx, sy)
        ox, oy = np.clip(middle - rng.uniform(0.15, 0.85, 2) * (cw, ch), low, high)
    x1, y1 = max(0, int(np.floor(ox / sx))), max(0, int(np.floor(oy / sy)))
    x2, y2 = min(w, int(np.ceil((ox + cw) / sx)) + 1), min(h, int(np.ceil((oy + ch) / sy)) + 1)
    patch = source.image[y1:y2, x1:x2]
    if min(sx, sy) < 0.6:  # plain bilinear would alias
        pw, ph = max(1, round((x2 - x1) * sx)), max(1, round((y2 - y1) * sy))
        patch = cv2.resize(patch, (pw, ph), interpolation=cv2.INTER_AREA)
        matrix = np.array([[1, 0, x1 * sx - ox], [0, 1, y1 * sy - oy]], np.float32)
    else:
        matrix = np.array([[sx, 0, x1 * sx - ox], [0, sy, y1 * sy - oy]], np.float32)
    cv2.warpAffine(
        np.ascontiguousarray(patch),
        matrix,
        (cw, ch),
        dst=canvas,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    boxes = source.xyxy * np.array([sx, sy, sx, sy], np.float32) - np.array([ox, oy, ox, oy], np.float32)
    return crop_labels(Example(canvas, boxes, source.ignore, source.role))


def crop_labels(e: Example) -> Example:
    """Boxes clipped to the picture; those with little left, or too small to learn, become ignore regions."""
    height, width = e.image.shape[:2]
    inside = np.clip(e.xyxy, 0, [width, height, width, height]).astype(np.float32)
    side = inside[:, 2:] - inside[:, :2]
    before = np.maximum((e.xyxy[:, 2:] - e.xyxy[:, :2]).prod(1), 1e-6)
    seen = side.prod(1) / before
    keep = (side > 1).all(1)
    hard = (seen < MIN_VISIBLE) | (side.min(1) < MIN_FACE_PX * 0.7) | (side.max(1) < MIN_FACE_PX)
    return Example(e.image, inside[keep], (e.ignore | hard)[keep], e.role[keep])


def mosaic(pick: Callable[[], Example], size: int, rng: np.random.Generator) -> Example:
    """Four pictures around a random centre."""
    image = np.full((size, size, 3), GREY, np.uint8)
    cx, cy = (int(v) for v in rng.uniform(0.25, 0.75, 2) * size)
    boxes, flags, roles = [], [], []
    for x1, y1, x2, y2 in ((0, 0, cx, cy), (cx, 0, size, cy), (0, cy, cx, size), (cx, cy, size, size)):
        source = pick()
        tile = np.full((y2 - y1, x2 - x1, 3), GREY, np.uint8)
        fit = size / max(source.image.shape[:2])  # long side of a tile's picture before the jitter
        scale = np.exp(rng.uniform(np.log(0.4), np.log(max(2.0, 1.3 * IN_USE / size))))
        part = place(source, tile, rng, fit * scale, np.exp(rng.uniform(-0.13, 0.13)), aim=scale > 1)
        image[y1:y2, x1:x2] = light(tile, rng)
        boxes.append(part.xyxy + np.array([x1, y1, x1, y1], np.float32))
        flags.append(part.ignore)
        roles.append(np.full(len(part.role), UNKNOWN))  # a tile shows nobody's part in the scene
    return Example(image, np.concatenate(boxes), np.concatenate(flags), np.concatenate(roles))


def single(pick: Callable[[], Example], size: int, rng: np.random.Generator) -> Example:
    """One picture, or a window of it in which faces are as large as the detector meets them in use."""
    source = pick()
    canvas = np.full((size, size, 3), GREY, np.uint8)
    fit = size / max(source.image.shape[:2])
    scale = np.exp(rng.uniform(np.log(0.5), np.log(1.6 * IN_USE / size)))
    part = place(source, canvas, rng, fit * scale, np.exp(rng.uniform(-0.1, 0.1)), aim=scale > 1)
    return replace(part, image=light(canvas, rng), role=np.full(len(part.role), UNKNOWN))


def whole(source: Example, size: int, rng: np.random.Generator) -> Example:
    """One picture as somebody framed it, on a canvas as wide as films are: (about 0.6 ``size``, ``size``) px.

    Who is meant shows in framing, gaze, focus and in what is around a face; a mosaic's tile or a tight crop loses that.
    Sizes vary around those in use: size in pixels alone must not decide.
    """
    canvas = np.full((wide(size), size, 3), GREY, np.uint8)
    height, width = source.image.shape[:2]
    fit = min(size / width, wide(size) / height)
    scale, aspect = np.exp(rng.uniform(np.log(0.75), np.log(1.35))), np.exp(rng.uniform(-0.06, 0.06))
    part = place(source, canvas, rng, fit * scale, aspect)
    example = replace(part, image=light(canvas, rng))
    if rng.random() < 0.5:
        example = flip(example)
    return replace(example, image=degrade(example.image, rng))


def wide(size: int) -> int:
    """Height of a whole picture's canvas, a multiple of 32."""
    return max(32, round(size * 0.6 / 32) * 32)


def light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain per channel, gamma, contrast, now and then grey or dark with noise."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    gamma = np.exp(rng.uniform(-0.35, 0.35))
    if rng.random() < 0.08:  # night
        gain, gamma = gain * rng.uniform(0.25, 0.6), gamma * 1.2
    steps = np.arange(256) / 255
    table = np.clip(steps[:, None] ** gamma * gain * 255, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(1, 256, 3))
    if rng.random() < 0.08:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    return image


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras and codecs do: defocus, motion blur, noise, low resolution, JPEG."""
    roll = rng.random()
    if roll < 0.08:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8))
    elif roll < 0.14:
        image = motion_blur(image, int(rng.integers(3, 10)), rng.uniform(0, 180))
    elif roll < 0.20:
        noise = rng.normal(0, rng.uniform(3, 14), (*image.shape[:2], 1))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    elif roll < 0.32:
        f = rng.uniform(0.4, 0.8)
        low = cv2.resize(image, None, fx=f, fy=f, interpolation=cv2.INTER_AREA)
        image = cv2.resize(low, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.15:
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 75))])[1]
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image


def motion_blur(image: np.ndarray, length: int, angle_deg: float) -> np.ndarray:
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle_deg, 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6))


def occlude(example: Example, rng: np.random.Generator) -> None:
    """Cover part of some faces, in place: the lower half (mask), a bar (glasses) or a patch from elsewhere (object)."""
    size_y, size_x = example.image.shape[:2]
    for (x1, y1, x2, y2), ignored in zip(example.xyxy, example.ignore, strict=True):
        if ignored or y2 - y1 < 16 or rng.random() > 0.12:
            continue
        w, h = x2 - x1, y2 - y1
        kind = rng.integers(3)
        if kind == 0:
            top, bottom, left, right = y1 + rng.uniform(0.45, 0.6) * h, y2, x1, x2
        elif kind == 1:
            top = y1 + rng.uniform(0.25, 0.35) * h
            bottom, left, right = top + rng.uniform(0.12, 0.22) * h, x1, x2
        else:
            pw, ph = rng.uniform(0.25, 0.6) * w, rng.uniform(0.25, 0.6) * h
            left, top = x1 + rng.uniform(-0.1, 0.9) * (w - pw), y1 + rng.uniform(-0.1, 0.9) * (h - ph)
            right, bottom = left + pw, top + ph
        l, t, r, b = (int(v) for v in (max(0, left), max(0, top), min(size_x, right), min(size_y, bottom)))
        if r <= l or b <= t:
            continue
        if kind == 2:
            sy, sx = int(rng.integers(0, size_y - (b - t) + 1)), int(rng.integers(0, size_x - (r - l) + 1))
            example.image[t:b, l:r] = example.image[sy : sy + b - t, sx : sx + r - l].copy()
        else:
            example.image[t:b, l:r] = rng.integers(0, 256, 3)


def flip(example: Example) -> Example:
    width = example.image.shape[1]
    boxes = example.xyxy[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    boxes += np.array([width, 0, width, 0], np.float32)
    return replace(example, image=np.ascontiguousarray(example.image[:, ::-1]), xyxy=boxes)


def augment(
    pick: Callable[[], Example],
    size: int,
    rng: np.random.Generator,
    mosaic_share: float,
    more: Callable[[Example, np.random.Generator], Example] | None = None,
) -> Example:
    """One training picture; ``pick()`` draws an image, ``mosaic_share`` is the chance of a mosaic.

    ``more`` changes the scene before it is degraded.
    """
    example = (mosaic if rng.random() < mosaic_share else single)(pick, size, rng)
    if more:
        example = more(example, rng)
    occlude(example, rng)
    if rng.random() < 0.5:
        example = flip(example)
    return replace(example, image=degrade(example.image, rng))
