"""How well does a cover hide who somebody is? ``python bench/reidentify.py [--more DIR] [--only NAME ...]``.

Everybody in the films of ``$BYSTANDER_DATA/clips`` (default ../shared) whose true track is long and large enough is one
person: the first part of the track is covered by the real cover stage and attacked, the last part stands open in the
gallery, among faces of ``WIDER_val`` as distractors. Same film, same light, same clothes: easier for the attacker than
life. What lies outside the face box is not shown to the attacker. The attacks (``bystander_lab.attacker``):

- nearest: the covered face is compared with the open gallery as it is;
- parrot: the attacker covers the gallery the same way first (Newton et al. 2005);
- restored: a ridge regression trained on pairs of that cover guesses the open face, which is then compared;
- learned: a network trained on that cover lands covered faces beside open ones (McPherson et al. 2016);
- fused: all of these, on the mean of all frames of the covered part, registered by the true boxes.

Each counts with the best of three embeddings (network, eigenfaces, pixels). The attackers are trained anew, on
``WIDER_train`` and, with ``--more``, a second folder in that layout; nothing of them is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from bystander.media.reader import open_reader
from bystander.stages.cover import CoverSettings, Memory, cover
from bystander.stages.policy import PolicySettings, region_of
from bystander.types import Frame, Track
from bystander_lab.attacker import (
    SIDE,
    Eigenfaces,
    Restoration,
    Schedule,
    pixels,
    rank_rates,
    train_on_cover,
    train_on_faces,
)
from bystander_lab.widerface import load_widerface, read_image

EVERY = 3  # frames between two looks
LEAST_LOOKS, LEAST_PX = 10, 20  # of a track, and of the shorter side of its boxes
PROBE, GALLERY = 0.4, 0.7  # the first part of a track is attacked, what comes after the second bound is known
SINGLE = 3  # frames of a track that are attacked one by one
JITTER = 0.02  # how unsteadily a detector finds a face, in face sizes, standard deviation
LARGEST_PX = 64  # training faces are shrunk to this height
OURS = CoverSettings()
ATTACKS = ("nearest", "parrot", "restored", "learned", "fused")


@dataclass(frozen=True, slots=True)
class Cover:
    """One way to cover. ``kind``: "own" is the product's; the others are what it must be better than."""

    name: str
    kind: str = "own"
    settings: CoverSettings = OURS
    remembers: bool = True


def covers():
    own = {"pixelate": (6, 4, 8, 12, 16), "blur": (6, 12)}
    return [
        Cover("open", "open"),
        Cover("solid", settings=CoverSettings("solid")),
        Cover("plain mosaic, fixed grid", "grid"),
        Cover("plain blur, sigma face / 8", "gauss"),
        *(Cover(f"{style} {n}", settings=CoverSettings(style, n)) for style, cells in own.items() for n in cells),
        Cover("pixelate 6, each frame anew", settings=CoverSettings("pixelate", 6), remembers=False),
    ]


def paint(how, frame, regions, memory):
    """Cover in place, as the product does or as simple tools do."""
    if how.kind == "own":
        cover(frame, regions, how.settings, memory if how.remembers else None)
        return
    for r in regions if how.kind != "open" else ():
        for plane, f in ((frame.y, 1), (frame.u, 2), (frame.v, 2)):
            patch = plane[r.y1 // f : -(-r.y2 // f), r.x1 // f : -(-r.x2 // f)]
            if how.kind == "gauss":
                patch[...] = cv2.GaussianBlur(patch, (0, 0), max(patch.shape) / 1.5 / 8)
            else:
                fixed_mosaic(patch, r.y1 // f, r.x1 // f, max(2, round(max(patch.shape) / 1.5 / 8)))


def fixed_mosaic(patch, top, left, cell):
    """Means of cells that stand still in the frame while faces move."""
    h, w = patch.shape
    rows, columns = (top + np.arange(h)) // cell, (left + np.arange(w)) // cell
    index = (rows - rows[0])[:, None] * (columns[-1] - columns[0] + 1) + (columns - columns[0])
    sums, counts = np.bincount(index.ravel(), patch.ravel()), np.bincount(index.ravel())
    patch[...] = (sums / np.maximum(counts, 1))[index].astype(np.uint8)


def look(frame, box):
    """The face box as the attacker sees it: (3, 24, 24) float32 0-1."""
    x1, y1, x2, y2 = box
    planes, fine = [], 3 * SIDE
    for plane, f in ((frame.y, 1), (frame.u, 2), (frame.v, 2)):
        sx, sy = (x2 - x1) / f / fine, (y2 - y1) / f / fine
        back = np.array([[sx, 0, x1 / f + sx / 2 - 0.5], [0, sy, y1 / f + sy / 2 - 0.5]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        big = cv2.warpAffine(plane, back, (fine, fine), flags=how, borderMode=cv2.BORDER_REPLICATE)
        planes.append(cv2.resize(big, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(planes).astype(np.float32) / 255


def regions_of(frame, boxes, random):
    """Regions of found faces: boxes by track id, found with a detector's unsteadiness."""
    regions = []
    for i, (x1, y1, x2, y2) in boxes.items():
        dx1, dy1, dx2, dy2 = JITTER * random.standard_normal(4)
        w, h = x2 - x1, y2 - y1
        found = (x1 + dx1 * w, y1 + dy1 * h, x2 + dx2 * w, y2 + dy2 * h)
        track = Track(i, found, 1.0, 0.0, 1.0, 0.0, 0.0, steady=False)
        regions.append(region_of(track, PolicySettings(shape="box"), frame.width, frame.height))
    return tuple(r for r in regions if r)


def copy_of(frame):
    return replace(frame, y=frame.y.copy(), u=frame.u.copy(), v=frame.v.copy(), native=None)


def covered_look(how, frame, boxes, memory, random):
    """The attacker's looks at all boxes of a covered copy of the frame, by track id."""
    copy = copy_of(frame)
    paint(how, copy, regions_of(frame, boxes, random), memory)
    return {i: look(copy, box) for i, box in boxes.items()}


# ---- the films ----


@dataclass(frozen=True, slots=True)
class Film:
    frames: list[Frame]  # every third
    boxes: list[dict[int, tuple[float, float, float, float]]]  # of the people in each, by track id
    people: dict[int, tuple[list[int], list[int]]]  # track id -> frames attacked, frames known


def load_film(path):
    truth = json.loads(path.with_suffix(".json").read_text())
    frames = [copy_of(f) for f in open_reader(path) if f.index % EVERY == 0]
    boxes, people = [{} for _ in frames], {}
    for t in truth["tracks"]:
        seen = [k for k, f in enumerate(frames) if str(f.index) in t["boxes"]]
        sides = [min(b[2] - b[0], b[3] - b[1]) for b in t["boxes"].values()]
        if len(seen) >= LEAST_LOOKS and np.median(sides) >= LEAST_PX:
            people[t["id"]] = (seen[: round(PROBE * len(seen))], seen[round(GALLERY * len(seen)) :])
            for k in seen:
                boxes[k][t["id"]] = t["boxes"][str(frames[k].index)]
    return Film(frames, boxes, people)


def probes_of(film, how, seed):
    """For each person all looks at the covered part, as a run over the film gives them: [(n, 3, 24, 24)]."""
    random, memory = np.random.default_rng(seed), Memory()
    seen = {i: [] for i in film.people}
    for k, (frame, boxes) in enumerate(zip(film.frames, film.boxes, strict=True)):
        now = {i: box for i, box in boxes.items() if k in film.people[i][0]}
        for i, seen_now in covered_look(how, frame, now, memory, random).items() if now else ():
            seen[i].append(seen_now)
    return [np.stack(v) for v in seen.values()]


def known_of(film, how, seed):
    """For each person four looks at the known part, covered by the attacker frame by frame."""
    random = np.random.default_rng(seed + 1)
    found = []
    for i, (_, known) in film.people.items():
        chosen = [known[round(k)] for k in np.linspace(0, len(known) - 1, 4)]
        one = [covered_look(how, film.frames[k], {i: film.boxes[k][i]}, Memory(), random)[i] for k in chosen]
        found.append(np.stack(one))
    return found


# ---- single faces ----


@dataclass(frozen=True, slots=True)
class Face:
    frame: Frame  # the face with its surroundings
    box: tuple[float, float, float, float]
    group: str  # faces of one group are one person


def faces_of(root, split, count, least_px, seed=0):
    """Up to ``count`` faces. A film's frames with a single face are one person; every other face is its own."""
    samples = load_widerface(root, split)
    crowded = {s.event for s in samples if s.event.startswith("clip") and len(s.xyxy) != 1}
    wanted = []
    for s in samples:
        for k, (box, invalid) in enumerate(zip(s.xyxy, s.invalid, strict=True)):
            if not invalid and min(box[2] - box[0], box[3] - box[1]) >= least_px:
                one = s.event.startswith("clip") and s.event not in crowded
                wanted.append((s.path, box, s.event if one else f"{s.path}:{k}"))
    order = np.random.default_rng(seed).permutation(len(wanted))[:count]
    return [face_of(read_image(wanted[i][0]), *wanted[i][1:]) for i in order]


def face_of(image, box, group):
    """The face with a face's width around it, as planes, not larger than it needs to be."""
    x1, y1, x2, y2 = (float(v) for v in box)
    w, h = x2 - x1, y2 - y1
    left, top = max(0, int(x1 - w)), max(0, int(y1 - h))
    part = image[top : int(y2 + h) + 1, left : int(x2 + w) + 1]
    factor = min(1.0, LARGEST_PX / h)
    size = [max(2, round(side * factor / 2) * 2) for side in part.shape[1::-1]]
    fx, fy = size[0] / part.shape[1], size[1] / part.shape[0]
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    planar = cv2.cvtColor(small, cv2.COLOR_RGB2YUV_I420)
    u, v = planar[size[1] :].reshape(2, size[1] // 2, size[0] // 2)
    frame = Frame(0, 0, Fraction(1, 25), 0.0, planar[: size[1]], u, v, 0)
    return Face(frame, ((x1 - left) * fx, (y1 - top) * fy, (x2 - left) * fx, (y2 - top) * fy), group)


def looks_at(faces, how, seed=0):
    """(n, 3, 24, 24), each covered on its own."""
    random = np.random.default_rng(seed)
    return np.stack([covered_look(how, f.frame, {0: f.box}, Memory(), random)[0] for f in faces])


# ---- the attack ----


@dataclass(frozen=True, slots=True)
class Attacker:
    """What was learned from open faces, and the faces, for learning each cover."""

    net: object
    eigen: Eigenfaces
    faces: list[Face]
    clear: np.ndarray
    steps: int

    def embeddings(self):
        found = {"eigenfaces": self.eigen, "pixels": pixels}
        return found if self.net is None else {**found, "network": self.net.embed}


@dataclass(frozen=True, slots=True)
class Scene:
    """Films, distractors and what the attacker knows of both, open."""

    films: list[Film]
    distractors: list[Face]

    def gallery(self, how):
        """(m, 3, 24, 24) and whose they are, (m,) numbers; those attacked come first, from 0."""
        known = [looks for film in self.films for looks in known_of(film, how, seed=7)]
        others = looks_at(self.distractors, how, seed=8)
        people = np.repeat(np.arange(len(known)), [len(k) for k in known])
        return np.concatenate([*known, others]), np.concatenate([people, len(known) + np.arange(len(others))])

    def probes(self, how):
        return [looks for film in self.films for looks in probes_of(film, how, seed=9)]


def best_of(tries):
    """The embedding with the most hits among several: (people, 2)."""
    return max(tries, key=lambda t: t[:, 0].mean())


def attack(how, scene, attacker, open_gallery):
    """For each attack the chance of each person to be found first and among five: (people, 2)."""
    probes = scene.probes(how)
    single = np.concatenate([p[np.linspace(0, len(p) - 1, SINGLE).astype(int)] for p in probes])
    whose = np.repeat(np.arange(len(probes)), SINGLE)
    fused = np.stack([p.mean(0) for p in probes])
    gallery, people = open_gallery
    parrot, _ = scene.gallery(how)
    covered = looks_at(attacker.faces, how, seed=5)
    restore = Restoration(covered, attacker.clear)
    learned = None
    if attacker.net and attacker.steps:
        learned = train_on_cover(attacker.net, covered, attacker.clear, Schedule(attacker.steps))
    embed = attacker.embeddings()

    def rates(query, against, true):
        return rank_rates(query, against, people, true).reshape(len(probes), -1, 2).mean(1)

    def all_of(pictures, true):
        found = {
            "nearest": best_of([rates(e(pictures), e(gallery), true) for e in embed.values()]),
            "parrot": best_of([rates(e(pictures), e(parrot), true) for e in embed.values()]),
            "restored": best_of([rates(e(restore(pictures)), e(gallery), true) for e in embed.values()]),
        }
        if learned:
            found["learned"] = rates(learned.embed(pictures), attacker.net.embed(gallery), true)
        return found

    result = all_of(single, whose)
    result["fused"] = best_of(list(all_of(fused, np.arange(len(probes))).values()))
    return result


def interval(rates, seed=0):
    """95 % of 2,000 draws of people with replacement, %."""
    random = np.random.default_rng(seed)
    means = rates[random.integers(0, len(rates), (2000, len(rates)))].mean(1)
    return tuple(100 * float(v) for v in np.percentile(means, (2.5, 97.5)))


def row_of(found):
    """Numbers of one cover, %: each attack's first ranks, and the best attack's with interval and first fives."""
    best = max(found, key=lambda k: found[k][:, 0].mean())
    low, high = interval(found[best][:, 0])
    row = {k: 100 * float(v[:, 0].mean()) for k, v in found.items()}
    return {**row, "best": best, "rank1": row[best], "low": low, "high": high,
            "rank5": 100 * float(max(v[:, 1].mean() for v in found.values()))}  # fmt: skip


def mean_colours(scene, open_gallery):
    """What the mean colour of the open face box gives away, and nothing else: the yardstick of a coarse cover."""
    gallery, people = open_gallery
    probes = scene.probes(Cover("open", "open"))
    query = np.stack([p.mean((0, 2, 3)) for p in probes])
    distance = np.linalg.norm(query[:, None] - gallery.mean((2, 3))[None], axis=2)
    # as cosines: only their order matters
    near = rank_rates(np.eye(len(query)), (1 - distance).T, people, np.arange(len(query)))
    return {"mean colour": near}


def line_of(name, row):
    cells = " ".join(f"{row[k]:8.1f}" if k in row else f"{'-':>8s}" for k in ATTACKS)
    return f"{name:30s} {cells}   {row['rank1']:5.1f} ({row['low']:.1f}-{row['high']:.1f}) {row['rank5']:6.1f}"


def train(roots, count, steps, query_steps):
    faces = [f for root in roots for f in faces_of(root, "train", count // len(roots), 32)]
    clear = looks_at(faces, Cover("open", "open"))
    net = train_on_faces(clear, [f.group for f in faces], Schedule(steps)) if steps else None
    return Attacker(net, Eigenfaces(clear), faces, clear, query_steps)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--more", type=Path, help="further training faces, in the WIDER FACE layout")
    p.add_argument("--faces", type=int, default=1000, help="training faces")
    p.add_argument("--steps", type=int, default=300, help="of the network on open faces; 0: classical attackers alone")
    p.add_argument("--query-steps", type=int, default=80, help="of the network on each cover; 0 leaves it out")
    p.add_argument("--distractors", type=int, default=250)
    p.add_argument("--only", nargs="*", help="names of covers")
    p.add_argument("--films", nargs="*", help="names of films")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    data = Path(os.environ.get("BYSTANDER_DATA", "../shared"))
    paths = [f for f in sorted((data / "clips").glob("*.mp4")) if not a.films or f.stem in a.films]
    if not paths:
        sys.exit(f"{data}/clips: no films; set BYSTANDER_DATA")
    began = time.monotonic()
    attacker = train([data / "faces", *([a.more] if a.more else [])], a.faces, a.steps, a.query_steps)
    scene = Scene([load_film(f) for f in paths], faces_of(data / "faces", "val", a.distractors, 24))
    open_gallery = scene.gallery(Cover("open", "open"))
    persons = sum(len(f.people) for f in scene.films)
    names = len(np.unique(open_gallery[1]))
    print(f"{persons} people attacked, {names} in the gallery; chance: first {100 / names:.2f} %, among five "
          f"{500 / names:.2f} %; trained on {len(attacker.faces)} faces, {time.monotonic() - began:.0f} s")  # fmt: skip
    titles = " ".join(f"{k:>8s}" for k in ATTACKS)
    print(f"{'rank-1, %':30s} {titles}   best (95 %)       rank-5")
    colour = row_of(mean_colours(scene, open_gallery))
    print(line_of("mean colour alone", colour), flush=True)
    rows = {"mean colour alone": colour}
    for how in covers():
        if a.only is None or how.name in a.only:
            rows[how.name] = row_of(attack(how, scene, attacker, open_gallery))
            print(line_of(how.name, rows[how.name]), flush=True)
    if a.json:
        a.json.write_text(json.dumps({"people": persons, "gallery": names, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
