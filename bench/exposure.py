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

import cv2

from bystander.audit.judge import Limits, judge, pairing
from bystander.audit.people import Person
from bystander.audit.result import figures
from bystander.media.luma import frame_times, luma_frames


def measure(original, covered, truth):
    """Counts for one film: faces, exposed, longest exposed run in frames, people, people exposed; the worst moments."""
    everybody = [
        Person(t["id"], "background", {int(i): tuple(b) for i, b in t["boxes"].items()})
        for t in truth["tracks"]
        if t["role"] != "ignore"
    ]
    films = [luma_frames(path, truth["w"], truth["h"]) for path in (original, covered)]
    pairs = pairing(frame_times(original), frame_times(covered))
    verdict = judge(*films, everybody, pairs, Limits())
    f = figures(verdict)
    counts = {"faces": f.faces, "exposed": f.exposed, "longest": f.longest, "people": f.people}
    return {**counts, "people_exposed": f.people_exposed}, verdict.moments


def covered_here(film, folder, extra):
    out = folder / film.name
    command = [sys.executable, "-m", "bystander", "file", film, out, "--quiet", "--keep", "none", *extra]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def save_worst(folder, name, worst):
    folder.mkdir(parents=True, exist_ok=True)
    for m in worst:
        cv2.imwrite(str(folder / f"{name}_{m.frame:04d}_{int(m.box[0])}.png"), m.crop)


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
