"""How many true faces stay visible in covered films: ``python bench/exposure.py [--json OUT] [--worst DIR]``.

Runs ``bystander file --keep none`` over the films of ``$BYSTANDER_DATA/clips`` (default ../shared) and compares pixels,
not our own boxes. A face in a frame is exposed when the fine structure of the original survives in a quarter or more
of 4x4 cells over the central 80 % of its true box. Faces with a side under 14 px, and faces without fine structure in
the original, are not counted; tracks whose role is "ignore" neither. ``--covered DIR`` judges films of the same names
that another program has covered.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np

GRID = 4
MIN_SIDE = 14  # px
CENTRAL = 0.8
STRUCTURE = 1.5  # least standard deviation of a cell's high-pass luma that counts as fine structure, of 255
# Correlation of high-pass luma above which a cell's structure survived. At 0.7 the faces of films that were only
# encoded again count as exposed, and faces whose true box was covered do not (bench/exposure_check.py has the shares)
ALIKE = 0.7


def high_pass(luma):
    """(h, w) uint8 -> float32 luma without what is coarser than about 2 px: blocks of a mosaic do not count."""
    y = luma.astype(np.float32)
    return y - cv2.GaussianBlur(y, (0, 0), 1.0)


def exposed(original, covered, box):
    """True or False for a face box in two high-pass pictures; None where the original has no fine structure."""
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * (1 - CENTRAL) / 2, (y2 - y1) * (1 - CENTRAL) / 2
    h, w = original.shape
    xs = np.clip(np.linspace(x1 + dx, x2 - dx, GRID + 1).round().astype(int), 0, w)
    ys = np.clip(np.linspace(y1 + dy, y2 - dy, GRID + 1).round().astype(int), 0, h)
    structured = survived = 0
    for r in range(GRID):
        for c in range(GRID):
            a, b = (p[ys[r] : ys[r + 1], xs[c] : xs[c + 1]].ravel() for p in (original, covered))
            if a.size < 4 or a.std() < STRUCTURE:
                continue
            structured += 1
            norm = a.std() * b.std()
            survived += norm > 0 and ((a - a.mean()) * (b - b.mean())).mean() / norm > ALIKE
    if structured < GRID * GRID / 4:
        return None
    return bool(survived >= GRID * GRID / 4)


def lumas(path, width, height):
    """Luma of each frame; scaled where the program that covered the film changed its size."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(width, height, "gray").to_ndarray()


def measure(original, covered, truth):
    """Counts for one film: faces, exposed, longest exposed run in frames, people, people exposed; the worst frames."""
    tracks = [t for t in truth["tracks"] if t["role"] != "ignore"]
    films = [lumas(path, truth["w"], truth["h"]) for path in (original, covered)]
    runs, longest, faces, hits, worst = {}, 0, 0, 0, []
    seen, shown = set(), set()
    for i, (before, after) in enumerate(zip(*films, strict=True)):
        a, b = high_pass(before), high_pass(after)
        for t in tracks:
            box = t["boxes"].get(str(i))
            state = exposed(a, b, box) if box and min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE else None
            if state is not None:
                faces += 1
                seen.add(t["id"])
            runs[t["id"]] = runs.get(t["id"], 0) + 1 if state else 0
            if state:
                hits += 1
                shown.add(t["id"])
                longest = max(longest, runs[t["id"]])
                worst.append((i, box, after))
    counts = {"faces": faces, "exposed": hits, "longest": longest, "people": len(seen), "people_exposed": len(shown)}
    return counts, worst[:: max(1, len(worst) // 8)]


def covered_here(film, folder, extra):
    out = folder / film.name
    command = [sys.executable, "-m", "bystander", "file", film, out, "--quiet", "--keep", "none", *extra]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def save_worst(folder, name, worst):
    folder.mkdir(parents=True, exist_ok=True)
    for i, (x1, y1, x2, y2), picture in worst:
        m = int(1.5 * (y2 - y1))
        crop = picture[max(0, int(y1) - m) : int(y2) + m, max(0, int(x1) - m) : int(x2) + m]
        crop = cv2.resize(crop, (200, 200), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{name}_{i:04d}_{int(x1)}.png"), crop)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--json", type=Path)
    p.add_argument("--worst", type=Path, help="folder for crops of exposed faces; keep it out of the project")
    p.add_argument("--only", nargs="*", help="names of films")
    p.add_argument("--covered", type=Path, help="folder of covered films to judge instead of covering them here")
    p.add_argument("extra", nargs="*", help="further arguments for bystander file, after --")
    a = p.parse_args()
    clips = Path(os.environ.get("BYSTANDER_DATA", "../shared")) / "clips"
    films = [f for f in sorted(clips.glob("*.mp4")) if not a.only or f.stem in a.only]
    if not films:
        sys.exit(f"{clips}: no films; set BYSTANDER_DATA")
    rows = {}
    for film in films:
        truth = json.loads(film.with_suffix(".json").read_text())
        with tempfile.TemporaryDirectory() as folder:
            out = a.covered / film.name if a.covered else covered_here(film, Path(folder), a.extra)
            rows[film.stem], worst = measure(film, out, truth)
        if a.worst:
            save_worst(a.worst, film.stem, worst)
    total = {k: sum(r[k] for r in rows.values()) for k in ("faces", "exposed", "people", "people_exposed")}
    rows["all"] = {**total, "longest": max(r["longest"] for r in rows.values())}
    print(f"{'film':18s} faces exposed      %  longest  people exposed")
    for name, r in rows.items():
        share = 100 * r["exposed"] / max(1, r["faces"])
        people = f"{r['people_exposed']}/{r['people']}"
        print(f"{name:18s} {r['faces']:5d} {r['exposed']:7d} {share:6.2f} {r['longest']:8d} {people:>8s}")
    if a.json:
        a.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
