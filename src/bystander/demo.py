"""A demonstration that needs no input: makes a clip with real faces of several sizes, for the file job to cover.

The portrait is NASA's of Eileen Collins, in the public domain, as scikit-image ships it (``skimage.data.astronaut``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from bystander import boxes
from bystander.errors import BystanderError, OutputError
from bystander.types import F32, U8, CoveredFrame

WIDTH, HEIGHT, FPS, SECONDS = 1280, 720, 25, 6
RATE = 48_000  # Hz
PORTRAIT = "BYSTANDER_PORTRAIT"  # the portrait as a file, where it is without scikit-image around it: the container
FACE = np.array([178, 76, 270, 180], np.float32) / 512  # forehead to chin in the portrait, 0-1, read off by eye
VISIBLE = 0.5  # a face counts while so much of it is inside the picture and not behind a nearer portrait
INSIDE = 0.95  # and is covered when so much of it lies within one region
# each portrait: its side in px at the start, factor on it by the end, path from (x, y) to (x, y) of its centre, 0-1
WALKERS = (
    (420, 1.1, (0.26, 0.55), (0.34, 0.55)),
    (220, 1.2, (1.05, 0.35), (0.55, 0.4)),
    (130, 1.0, (0.62, 0.8), (0.95, 0.72)),
    (90, 0.9, (0.5, 0.12), (0.1, 0.12)),
)


def portrait() -> U8:
    """(512, 512, 3) RGB. BystanderError where the extra is not installed."""
    if file := os.environ.get(PORTRAIT):
        picture = cv2.imread(file)
        if picture is None:
            raise BystanderError(f"${PORTRAIT}: {file} is no picture that can be read")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    try:
        from skimage.data import astronaut
    except ImportError as e:
        raise BystanderError("the demo needs scikit-image: pip install 'bystander[demo]'") from e
    return np.asarray(astronaut(), np.uint8)


def scene(face: U8, progress: float) -> U8:
    """(HEIGHT, WIDTH, 3) RGB at ``progress`` 0-1: a plain street of grey shades, the portraits walking through it."""
    shade = np.linspace(90, 190, HEIGHT).astype(np.uint8)
    picture = np.repeat(np.repeat(shade[:, None, None], WIDTH, 1), 3, 2)
    for x in range(0, WIDTH, 160):
        cv2.rectangle(picture, (x, 60), (x + 110, 260), (120, 130, 150), -1)
    for x, y, s in reversed(places(progress)):
        paste(picture, np.asarray(cv2.resize(face, (s, s), interpolation=cv2.INTER_AREA), np.uint8), x, y)
    return np.asarray(picture, np.uint8)


def places(progress: float) -> list[tuple[int, int, int]]:
    """x, y, side in px of each portrait, the nearest first."""
    found = []
    for side, factor, start, end in WALKERS:
        s = round(side * (1 + (factor - 1) * progress))
        cx, cy = (a + (b - a) * progress for a, b in zip(start, end, strict=True))
        found.append((round(cx * WIDTH - s / 2), round(cy * HEIGHT - s / 2), s))
    return found


def true_faces(index: int) -> F32:
    """(n, 4) px: the faces to be seen in frame ``index``, cut at the picture's edge."""
    found, nearer = [], np.zeros((0, 4), np.float32)
    for x, y, s in places(index / (FPS * SECONDS - 1)):
        whole = FACE * s + np.array([x, y, x, y], np.float32)
        inside = boxes.clip(whole, WIDTH, HEIGHT)
        seen = float(boxes.area(inside)[0] - boxes.intersection(inside, nearer).sum())
        if seen >= VISIBLE * float(boxes.area(whole)[0]):
            found.append(inside[0])
        nearer = np.concatenate([nearer, np.array([[x, y, x + s, y + s]], np.float32)])
    return np.array(found, np.float32).reshape(-1, 4)


def count_covered(covered: CoveredFrame) -> tuple[int, int]:
    """How many true faces of the demo's frame are covered, and how many there are."""
    faces = true_faces(covered.frame.index)
    if covered.whole:
        return len(faces), len(faces)
    regions = [(r.x1, r.y1, r.x2, r.y2) for r in covered.regions]
    if not len(faces) or not regions:
        return 0, len(faces)
    share = boxes.intersection(faces, regions).max(axis=1) / boxes.area(faces)
    return int((share >= INSIDE).sum()), len(faces)


def paste(picture: U8, patch: U8, x: int, y: int) -> None:
    """Put ``patch`` at (x, y) px, as far as it lies inside the picture."""
    s = len(patch)
    x1, y1, x2, y2 = max(0, x), max(0, y), min(WIDTH, x + s), min(HEIGHT, y + s)
    if x1 < x2 and y1 < y2:
        picture[y1:y2, x1:x2] = patch[y1 - y : y2 - y, x1 - x : x2 - x]


@contextmanager
def placed(path: Path) -> Iterator[str]:
    """A name to write to, moved to ``path`` at the end; nothing is left when that fails."""
    part = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield str(part)
        part.replace(path)
    except (av.FFmpegError, OSError) as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror}); choose another folder") from e
    finally:
        part.unlink(missing_ok=True)


def make_demo_clip(path: Path) -> None:
    """Write the clip, H.264 with a quiet sine tone as sound."""
    face = portrait()
    with placed(path) as part, av.open(part, "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for i in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(scene(face, i / (FPS * SECONDS - 1)), format="rgb24")
            container.mux(video.encode(frame))
            container.mux(sound.encode(tone(i)))
        for stream in (video, sound):
            container.mux(stream.encode(None))


def tone(i: int) -> av.AudioFrame:
    """The sine tone of 220 Hz that belongs to frame i."""
    n = RATE // FPS
    t = (np.arange(n) + i * n) / RATE
    frame = av.AudioFrame.from_ndarray((0.05 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)[None], "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, i * n, Fraction(1, RATE)
    return frame


def side_by_side(before: Path, after: Path, video: Path, still: Path) -> None:
    """The demo's own made-up clip beside its covered copy, as a film and one still from its middle."""
    with (
        placed(video) as part,
        av.open(str(before)) as a,
        av.open(str(after)) as b,
        av.open(part, "w") as out,
    ):
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT // 2, "yuv420p"
        for i, (left, right) in enumerate(zip(a.decode(video=0), b.decode(video=0), strict=True)):
            pair = np.concatenate([half(left), half(right)], axis=1)
            if i == FPS * SECONDS // 2:
                cv2.imwrite(str(still), cv2.cvtColor(pair, cv2.COLOR_RGB2BGR))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pair, format="rgb24")))
        out.mux(stream.encode(None))


def half(frame: Any) -> U8:
    return np.asarray(frame.to_ndarray(width=WIDTH // 2, height=HEIGHT // 2, format="rgb24"), np.uint8)
