"""A film of explanations: one face followed by the runtime's tracker, its map over every picture.

The face is chosen by its number in the first picture with a face; where the tracker does not see it the picture
stays grey and says so. What is written shows faces uncovered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from bystander.errors import InputError, OutputError
from bystander.media.reader import open_reader
from bystander.stages.tracker import Tracker
from bystander.types import U8, Detections, Frame
from bystander_lab.explain.draw import LEAST_WIDTH, LEGEND, describe, heat_picture, text
from bystander_lab.explain.maps import explain
from bystander_lab.explain.scene import Face, Opened, Scene, look, nearest
from bystander_lab.explain.why import Question, face_of

WIDTH = 960  # px, of the film
SUFFIXES = (".mp4", ".mkv", ".mov")


@dataclass(frozen=True, slots=True)
class FilmSettings:
    start_s: float = 0.0
    seconds: float = 10.0
    fps: float = 8.0  # pictures explained a second


def explain_film(
    opened: Opened, source: Path, out: Path, number: int, question: Question, settings: FilmSettings
) -> tuple[str, int, int]:
    """Write the film; returns the face's line, pictures written, and those in which it was seen.

    InputError when no face is found in the stretch asked for, OutputError when the film cannot be written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{out}: a film's name ends in {', '.join(SUFFIXES)}")
    part = out.with_name(f".{out.stem}.partial-{os.getpid()}{out.suffix}")
    reader = open_reader(source)
    try:
        follower = Follower(opened, number, question)
        pictures = (follower.picture(f) for f in picked(reader, settings))
        count = write_film((p for p in pictures if p is not None), part, settings.fps)
        if not count:
            raise InputError(f"{source}: no face was found in the stretch asked for; there is nothing to explain")
        part.replace(out)
        return follower.line, count, follower.seen
    except (av.FFmpegError, OSError) as e:
        raise OutputError(f"{out}: cannot be written as a film ({e})") from e
    finally:
        reader.close()
        part.unlink(missing_ok=True)


def picked(reader: Any, s: FilmSettings) -> Iterator[Frame]:
    """Frames of the stretch, ``fps`` a second."""
    due = s.start_s
    for frame in reader:
        if frame.time_s >= s.start_s + s.seconds:
            return
        if frame.time_s >= due - 1e-6:
            due = max(due + 1 / s.fps, frame.time_s)
            yield frame


class Follower:
    """Follows one face from picture to picture; ``picture`` gives None until there is a face."""

    def __init__(self, opened: Opened, number: int, question: Question) -> None:
        self.opened, self.number, self.question = opened, number, question
        self.tracker, self.track_id, self.seen, self.line = Tracker(), 0, 0, ""

    def picture(self, frame: Frame) -> U8 | None:
        scene = look(self.opened, frame)
        face = self.follow(scene, frame.time_s)
        if not self.track_id:
            return None
        if face is None:
            return unseen(scene)
        self.seen += 1
        q = self.question
        heat = explain(self.opened, scene, face, q.target, q.method, q.layer)
        return heat_picture(scene, face, heat, self.number)

    def follow(self, scene: Scene, time_s: float) -> Face | None:
        """The face in this picture; None where it is not seen."""
        found = Detections.none()
        if scene.faces:
            xyxy = np.stack([f.xyxy for f in scene.faces])
            figures = np.array([(f.score, f.evidence) for f in scene.faces], np.float32)
            found = Detections(xyxy, figures[:, 0], figures[:, 1])
        h, w = scene.images.shape[2:]
        tracks = self.tracker.update(found, time_s, w, h)
        if not self.track_id and scene.faces:
            self.number = self.number or 1 + max(range(len(scene.faces)), key=lambda i: scene.faces[i].score)
            chosen = face_of(scene, self.number)
            overlap = {t.id: nearest((chosen,), np.array(t.xyxy, np.float32), 0.1) for t in tracks}
            self.track_id = next((i for i, f in overlap.items() if f), 0)
            self.line = describe(chosen, self.number)
            return chosen
        mine = [t for t in tracks if t.id == self.track_id and not t.unseen_s]
        return nearest(scene.faces, np.array(mine[0].xyxy, np.float32), 0.3) if mine else None


def unseen(scene: Scene) -> U8:
    """The picture in grey, without a map."""
    grey = cv2.cvtColor(cv2.cvtColor(scene.picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    grow = max(1.0, LEAST_WIDTH / grey.shape[1])
    grey = cv2.resize(grey, None, fx=grow, fy=grow)
    below = np.full((LEGEND, grey.shape[1], 3), 24, np.uint8)
    text(below, "not seen in this picture", (8, 20), 0.5)
    return np.concatenate((np.asarray(grey, np.uint8), below))


def write_film(pictures: Iterator[U8], path: Path, fps: float) -> int:
    """H.264 in the container of the name; returns the number of pictures. Nothing is written for none."""
    first = next(pictures, None)
    if first is None:
        return 0
    height = round(first.shape[0] * WIDTH / first.shape[1] / 2) * 2
    count = 0
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, height, "yuv420p"
        for picture in chain((first,), pictures):
            small = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(small, "rgb24")))
            count += 1
        out.mux(stream.encode(None))
    return count
