"""Who can still be seen in covered films: ``python bench/leak.py [--deface PROGRAM] [-- options of bystander file]``.

Films: those of ``$BYSTANDER_DATA/clips`` (default ../shared), where they are, and hard ones that are made on the spot
(``hard_clips.py``). Everybody in them counts as a bystander. Each is covered with ``bystander file --keep none``, with
the options given after ``--``, and by deface with its defaults, and judged by ``bystander audit`` with true tracks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

import hard_clips
from bystander.cli import parser
from bystander.cli_audit import audited
from bystander.demo import FACE, portrait
from bystander.errors import InputError

SHARED = Path(os.environ.get("BYSTANDER_DATA", "../shared"))
AROUND = 0.6  # of a face's height, what a portrait shows on each side of it
LARGE = 90  # px: smaller stills would show no more than the film does
STILLS = 5  # people besides the astronaut
HEAD = "film               covered by  faces exposed       %  longest     ms  people exposed  stray %"


def portraits():
    """The astronaut, and sharp frontal faces of WIDER FACE's validation stills where they are (for evaluation only)."""
    face = tuple(float(v) * 512 for v in FACE)
    return [cut_out(portrait(), face), *stills()]


def cut_out(rgb, face):
    x1, y1, x2, y2 = face
    m, (h, w) = AROUND * (y2 - y1), rgb.shape[:2]
    left, top, right, bottom = max(0, int(x1 - m)), max(0, int(y1 - m)), min(w, int(x2 + m)), min(h, int(y2 + m))
    return hard_clips.Portrait(rgb[top:bottom, left:right], (x1 - left, y1 - top, x2 - left, y2 - top))


def stills():
    """The first ``STILLS`` large faces, one a picture, with room around them and no flaw noted, in the list's order."""
    folder, index = SHARED / "faces/WIDER_val/images", SHARED / "faces/wider_face_split/wider_face_val_bbx_gt.txt"
    if not index.exists():
        return []
    found = []
    for name, faces in listed(index.read_text().splitlines()):
        for x, y, w, h, *flaws in faces:
            if len(found) < STILLS and name.startswith("news/") and h >= LARGE and not any(flaws):
                rgb = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
                m = AROUND * h
                if x >= m and y >= m and x + w + m <= rgb.shape[1] and y + h + m <= rgb.shape[0]:
                    found.append(cut_out(rgb, (x, y, x + w, y + h)))
                    break
    return found


def listed(lines):
    """(file, faces) of an annotation file in WIDER FACE's layout."""
    at = 0
    while at < len(lines):
        count = max(1, int(lines[at + 1]))  # a picture without faces has one line of zeros
        yield lines[at], [[int(v) for v in line.split()] for line in lines[at + 2 : at + 2 + count]]
        at += 2 + count


def films(folder, only, shared):
    """(name, film, truth) one after the other; the hard ones are written to ``folder``."""
    clips = SHARED / "clips"
    for film in sorted(clips.glob("*.mp4")) if shared else ():
        if not only or film.stem in only:
            yield film.stem, film, film.with_suffix(".json")
    people = portraits()
    for name, clip in hard_clips.clips().items():
        if not only or name in only:
            path = hard_clips.write(clip, folder / f"{name.replace(' ', '_')}.mp4", people)
            yield name, path, path.with_suffix(".json")


def figures(film, covered, truth):
    """What the audit counts, as a plain dict."""
    a = parser().parse_args(
        ["audit", str(film), str(covered), "--tracks", str(truth), "--everybody", "--quiet", "--max-exposed", "100"]
    )
    audit = audited(a)
    f = audit.figures
    return {"faces": f.faces, "exposed": f.exposed, "longest": f.longest, "longest_ms": round(f.longest_ms, 1),
            "people": f.people, "people_exposed": f.people_exposed, "stray_pct": round(f.stray_pct, 3),
            "frames": audit.verdict.frames}, audit.verdict.moments  # fmt: skip


def total(rows):
    """One row of several; the stray cover is the mean over frames."""
    frames = sum(r["frames"] for r in rows)
    summed = {k: sum(r[k] for r in rows) for k in ("faces", "exposed", "people", "people_exposed", "frames")}
    longest = {k: max((r[k] for r in rows), default=0) for k in ("longest", "longest_ms")}
    return {**summed, **longest, "stray_pct": sum(r["stray_pct"] * r["frames"] for r in rows) / max(frames, 1)}


def line(film, program, r):
    share = 100 * r["exposed"] / max(1, r["faces"])
    people = f"{r['people_exposed']}/{r['people']}"
    return (f"{film:18s} {program:10s} {r['faces']:6d} {r['exposed']:7d} {share:7.2f} {r['longest']:8d} "
            f"{r['longest_ms']:6.0f} {people:>15s} {r['stray_pct']:8.2f}")  # fmt: skip


def programs(a):
    """Name -> command that covers ``film`` into ``out``."""
    here = [sys.executable, "-m", "bystander", "file"]
    found = {"bystander": lambda film, out: [*here, film, out, "--quiet", "--keep", "none", *a.extra]}
    if a.deface:
        found["deface"] = lambda film, out: [a.deface, film, "-o", out]
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--deface", default=shutil.which("deface"), metavar="PROGRAM", help="default: if it is on the path")
    p.add_argument("--only", nargs="*", help="names of films")
    p.add_argument("--hard", action="store_true", help="only the films that are made here")
    p.add_argument("--json", type=Path)
    p.add_argument("--keep", type=Path, metavar="DIR", help="keep what is made: films, covered films, worst moments")
    p.add_argument("extra", nargs="*", help="further options of bystander file, after --")
    a = p.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(HEAD)
        for name, film, truth in films(folder, a.only, not a.hard):
            for program, command in programs(a).items():
                out = folder / f"{film.stem}.{program}.mp4"
                out.unlink(missing_ok=True)
                subprocess.run(list(map(str, command(film, out))), check=True, stdout=subprocess.DEVNULL,
                               stderr=None if program == "bystander" else subprocess.DEVNULL)  # fmt: skip
                try:
                    rows[name, program], worst = figures(film, out, truth)
                except InputError:  # frames are missing or at other times (deface evens out a variable rate)
                    print(f"{name:18s} {program:10s} not judged: not the same frames", flush=True)
                    continue
                print(line(name, program, rows[name, program]), flush=True)
                for m in worst if a.keep else ():
                    cv2.imwrite(str(folder / f"{film.stem}.{program}.{m.frame:04d}.{m.person}.png"), m.crop)
    for program in programs(a):
        rows["all", program] = total([r for (_, by), r in rows.items() if by == program])
        print(line("all", program, rows["all", program]))
    if a.json:
        a.json.write_text(json.dumps([{"film": f, "by": by, **r} for (f, by), r in rows.items()], indent=1))


if __name__ == "__main__":
    main()
