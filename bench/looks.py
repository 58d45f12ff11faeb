"""What cheaper and dearer looks at a frame cost in exposed faces: ``python bench/looks.py [--only NAMES] [WAY ...]``.

Ways: ``640``, ``448``, ``320`` (long side of the detector's picture, px), ``tiled`` (four enlarged tiles beside the
whole, see ``sizes.py``), ``around-K`` (a full look every K-th frame, at shot cuts and whenever nobody is known, else
only the surroundings of known faces at the same scale). Films: the first seconds of those in ``$BYSTANDER_DATA/clips``
(default ../shared) with their true tracks, in one pass with the look-ahead of a live run, everybody covered.

Exposed face-frames are counted on pixels as ``bench/exposure.py`` does, but on what was painted, not encoded. ms: the
processor time of detection a frame, on one thread; px: the share of pixels looked at, which no load changes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np

from bystander import boxes
from bystander.audit.judge import Limits, judge, pairing
from bystander.audit.people import read_truth
from bystander.audit.result import figures
from bystander.media.reader import open_reader
from bystander.models import open_model
from bystander.run.face_filter import FaceFilter, FilterSettings
from bystander.run.meters import Meters
from bystander.stages.close import one_each, part_of, whole_faces
from bystander.stages.cuts import CutDetector
from bystander.stages.detector import Detector, DetectorSettings
from sizes import Tiled

FULL = 640  # px, long side
AROUND = 1.0  # of a face's width and height that is looked at on each side of where it was
WORTH = 0.7  # of the whole picture; looking around faces that fill more saves nothing
LEAST = 64  # px, long side of a part in the detector's picture
HEAD = ("film", "way", "faces", "exposed", "longest", "people exposed", "ms", "px")


class Counted:
    """A model that counts the pixels and the processor time of its thread."""

    def __init__(self, model):
        self.model, self.pixels, self.seconds = model, 0, 0.0
        self.names, self.stride, self.id = model.names, model.stride, model.id

    def __call__(self, images):
        self.pixels += images.shape[2] * images.shape[3]
        begin = time.thread_time()
        rows = self.model(images)
        self.seconds += time.thread_time() - begin
        return rows


class Around:
    """Looks around known faces, at everything every ``every``-th frame. ``known()``: the tracks of the last frame."""

    def __init__(self, model, every, known):
        self.model, self.every, self.known, self.age = model, every, known, 0
        self.full, self.cuts = Detector(model, DetectorSettings(FULL)), CutDetector()

    def __call__(self, frame):
        places = surroundings(self.known(), frame)
        self.age += 1
        covered = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in places) / (frame.width * frame.height)
        if self.cuts(frame) or self.age >= self.every or not places or covered > WORTH:
            self.age = 0
            return self.full(frame)
        return one_each(self.look(frame, place) for place in places)

    def look(self, frame, place):
        x1, y1, x2, y2 = place
        part = part_of(frame, x1, y1, x2 - x1, y2 - y1)
        long_side = max(x2 - x1, y2 - y1) * FULL / max(frame.width, frame.height)
        settings = DetectorSettings(max(LEAST, round(long_side)))
        return whole_faces(part, Detector(self.model, settings)(part.frame), frame)


def surroundings(tracks, frame):
    """Boxes (even px) around the faces; those that meet are one."""
    if not tracks:
        return []
    grown = boxes.grow(np.array([t.xyxy for t in tracks], np.float32), *[AROUND] * 4)
    todo = [[max(0, int(x1) // 2 * 2), max(0, int(y1) // 2 * 2), min(frame.width, -(-int(x2) // 2) * 2),
             min(frame.height, -(-int(y2) // 2) * 2)] for x1, y1, x2, y2 in grown]  # fmt: skip
    found = []
    while todo:
        a = todo.pop()
        near = [b for b in (*todo, *found) if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]]
        if not near:
            found.append(a)
            continue
        todo, found = [b for b in todo if b not in near], [b for b in found if b not in near]
        mine = np.array([a, *near])
        todo.append([*mine[:, :2].min(0).tolist(), *mine[:, 2:].max(0).tolist()])
    return [f for f in found if f[2] - f[0] > 2 and f[3] - f[1] > 2]


def looking(way, model, face_filter):
    """The detector of a way."""
    if way == "tiled":
        tiled = Tiled(model)
        tiled.detector = Detector(model, DetectorSettings(FULL))
        return tiled
    if way.startswith("around-"):
        return Around(model, int(way.removeprefix("around-")), lambda: face_filter.newest)
    return Detector(model, DetectorSettings(int(way)))


def covered(frames, way, model):
    """The painted luma of each frame, and the model that counted."""
    counted, out = Counted(model), []
    face_filter = FaceFilter(None, replace(FilterSettings(), lookback_s=0.2), Meters())
    face_filter.detector = looking(way, counted, face_filter)
    for frame in frames:
        mine = replace(frame, y=frame.y.copy(), u=frame.u.copy(), v=frame.v.copy())
        out += face_filter.push(mine, face_filter.detect(mine))
    out += face_filter.flush()
    if face_filter.meters.whole:
        sys.exit(f"{way}: frames were covered whole; the figures would flatter it")
    return [(c.frame.time_s, c.frame.y) for c in out], counted


def first_seconds(film, seconds):
    """Copies of the film's first frames."""
    reader, kept = open_reader(film), deque()
    try:
        for frame in reader:
            if frame.time_s >= seconds:
                break
            kept.append(replace(frame, y=frame.y.copy(), u=frame.u.copy(), v=frame.v.copy(), native=None))
    finally:
        reader.close()
    return list(kept)


def measured(film, frames, way, model):
    """One row: counts of the audit, ms and pixels a frame."""
    people = [replace(p, role="ignore" if p.role == "ignore" else "background")
              for p in read_truth(film.with_suffix(".json"))[0]]  # fmt: skip
    after, counted = covered(frames, way, model)
    times = [f.time_s for f in frames]
    verdict = judge(((f.time_s, f.y) for f in frames), after, people, pairing(times, times), Limits())
    f = figures(verdict)
    whole = -(-FULL * min(frames[0].y.shape) // max(frames[0].y.shape) // 32) * 32 * FULL * len(frames)
    return {"faces": f.faces, "exposed": f.exposed, "longest": f.longest, "people": f.people,
            "people_exposed": f.people_exposed, "frames": len(frames), "seconds": counted.seconds,
            "pixels": counted.pixels, "whole": whole}  # fmt: skip


def total(rows):
    return {k: (max if k == "longest" else sum)(r[k] for r in rows) for k in rows[0]}


def line(name, way, r):
    cells = (name, way, r["faces"], r["exposed"], r["longest"], f"{r['people_exposed']}/{r['people']}",
             f"{r['seconds'] / r['frames'] * 1e3:.1f}", f"{r['pixels'] / r['whole']:.2f}")  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("ways", nargs="*", default=["640", "around-3", "around-5", "448", "320", "tiled"], metavar="WAY")
    p.add_argument("--only", nargs="*", help="names of films")
    p.add_argument("--seconds", type=float, default=5.0, help="of each film (default 5)")
    p.add_argument("--model", default="n-face")
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    clips = Path(os.environ.get("BYSTANDER_DATA", "../shared")) / "clips"
    films = [f for f in sorted(clips.glob("*.mp4")) if not a.only or f.stem in a.only]
    if not films:
        sys.exit(f"{clips}: no films; set BYSTANDER_DATA")
    model, rows = open_model(a.model), {}
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for film in films:
        frames = first_seconds(film, a.seconds)
        for way in a.ways:
            rows[film.stem, way] = measured(film, frames, way, model)
            print(line(film.stem, way, rows[film.stem, way]), flush=True)
    for way in a.ways:
        rows["all", way] = total([r for (_, w), r in rows.items() if w == way])
        print(line("all", way, rows["all", way]))
    if a.json:
        a.json.write_text(json.dumps([{"film": f, "way": w, **r} for (f, w), r in rows.items()], indent=1))


if __name__ == "__main__":
    main()
