"""A short film for the web tests and the pictures of the docs: one person near the camera, two behind.

All three are NASA's portrait of Eileen Collins, in the public domain, as scikit-image ships it
(``skimage.data.astronaut``).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

CROP = (slice(0, 400), slice(60, 400))  # head and shoulders in the portrait
FACE = (178, 76, 270, 180)  # forehead to chin in the portrait, px
# height as a share of the picture's, centre x at the start and at the end, top, mirrored
PEOPLE = ((0.94, 0.34, 0.36, 0.06, False), (0.6, 0.74, 0.68, 0.4, True), (0.48, 0.93, 0.9, 0.52, False))


def portrait() -> np.ndarray:
    """(400, 340, 3) RGB."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[CROP])


def mask(height: int, width: int) -> np.ndarray:
    """(height, width, 1) 0-1: a soft edge, so that people do not stand in boxes."""
    y, x = np.mgrid[0:height, 0:width]
    sides = np.minimum(x, width - 1 - x) / (0.18 * width)
    return np.clip(np.minimum(sides, y / (0.06 * height)), 0, 1)[..., None]


def picture(progress: float, width: int, height: int) -> np.ndarray:
    """(height, width, 3) RGB at ``progress`` 0-1."""
    street = np.linspace((96, 110, 122), (168, 160, 150), height)[:, None, :].repeat(width, 1)
    for i in range(6):
        left = int(width * (0.04 + i * 0.17))
        street[int(height * 0.08) : int(height * 0.42), left : left + int(width * 0.11)] = (120, 134, 146)
    street = cv2.GaussianBlur(street, (0, 0), width / 160)
    for share, start, end, top, mirrored in reversed(PEOPLE):
        paste(street, share, start + (end - start) * progress, top, mirrored)
    return street.clip(0, 255).astype(np.uint8)


def paste(street: np.ndarray, share: float, centre: float, top: float, mirrored: bool) -> None:
    height, width = street.shape[:2]
    face = portrait()[:, ::-1] if mirrored else portrait()
    h = round(share * height)
    w = round(h * face.shape[1] / face.shape[0])
    small = cv2.resize(np.ascontiguousarray(face), (w, h), interpolation=cv2.INTER_AREA).astype(float)
    x, y = round(centre * width - w / 2), round(top * height)
    x1, x2, y2 = max(0, x), min(width, x + w), min(height, y + h)
    part, soft = small[: y2 - y, x1 - x : x2 - x], mask(h, w)[: y2 - y, x1 - x : x2 - x]
    street[y:y2, x1:x2] = street[y:y2, x1:x2] * (1 - soft) + part * soft


def face_box(person: int, progress: float, width: int, height: int) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 px of the face of ``PEOPLE[person]``, forehead to chin."""
    share, start, end, top, mirrored = PEOPLE[person]
    scale = share * height / 400
    w = 340 * scale
    left = (start + (end - start) * progress) * width - w / 2
    x1, x2 = ((v - 60) * scale for v in (FACE[0], FACE[2]))
    if mirrored:
        x1, x2 = w - x2, w - x1
    return left + x1, top * height + FACE[1] * scale, left + x2, top * height + FACE[3] * scale


def make_street(path: Path, seconds: float = 2, width: int = 480, height: int = 270, fps: int = 10) -> None:
    """Write an H.264 film without sound."""
    count = round(seconds * fps)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i / max(1, count - 1), width, height), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def make_camera(path: Path, seconds: float = 4, width: int = 640, height: int = 360, fps: int = 12) -> None:
    """Write Motion JPEG for Chromium's fake camera: there and back, so that it plays in a loop."""
    count = round(seconds * fps)
    with av.open(str(path), "w", format="mjpeg") as out:
        video = out.add_stream("mjpeg", rate=fps, options={"qscale": "2"})
        video.width, video.height, video.pix_fmt = width, height, "yuvj420p"
        for i in range(count):
            progress = 1 - abs(2 * i / count - 1)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture(progress, width, height), format="rgb24")))
        out.mux(video.encode(None))
