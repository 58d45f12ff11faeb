"""Who stays sharp: ``python bench/roles.py [--json OUT] [--only NAME ...] [--pictures N] [-- more for bystander file]``

Runs ``bystander file --keep auto`` over the films of ``$BYSTANDER_DATA/clips`` (default ../shared), its stages over the
pictures of ``roles/val.jsonl``, and compares with the true roles. Keep precision: share of the kept face-frames that
are subjects. Keep recall: share of the subjects' face-frames that are kept. Exposed: share of the bystanders'
face-frames that are kept. Baselines keep the largest, or the most central, of the same faces in every frame. The rows
"as seen" judge pixels of the output (bench/exposure.py), so a face that was not found counts as kept there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from bystander import boxes
from bystander.audit.judge import MIN_SIDE
from bystander.audit.structure import exposed, high_pass
from bystander.cli import flags_of, parser
from bystander.media.images import read_image
from bystander.media.luma import luma_frames
from bystander.models import open_model
from bystander.run.face_filter import FaceFilter
from bystander.run.meters import Meters
from bystander.settings import load_settings
from bystander.stages.detector import Detector

SAME = 0.4  # IoU of a track's box and a true one
ROLES = {"interview": "subject", "background": "other"}  # both answers are right for "either"; "ignore" does not count
METHODS = ("auto", "largest", "centre-most")


def count(counts, true, found, kept):
    """Add one frame. true: [(role, xyxy)], found (n, 4), kept: rows of found."""
    overlap = boxes.iou([b for _, b in true], found)
    for (role, _), row in zip(true, overlap, strict=True):
        if role in ROLES:
            best = int(row.argmax()) if len(row) else -1
            counts[ROLES[role]] += 1
            counts[f"{ROLES[role]} kept"] += int(best in kept and row[best] >= SAME)


def baselines(found, width, height):
    """Method -> the one row of found that it keeps."""
    if not len(found):
        return {"largest": set(), "centre-most": set()}
    middle = (found[:, :2] + found[:, 2:]) / 2
    distance = np.hypot(*(middle - (width / 2, height / 2)).T)
    return {"largest": {int(boxes.area(found).argmax())}, "centre-most": {int(distance.argmin())}}


def add_frame(counts, true, tracks, size):
    """Count one frame for every method. tracks: [(xyxy, seen, kept)]."""
    seen = [(xyxy, kept) for xyxy, visible, kept in tracks if visible]
    found = np.array([xyxy for xyxy, _ in seen], np.float32).reshape(-1, 4)
    rows = {"auto": {i for i, (_, kept) in enumerate(seen) if kept}, **baselines(found, *size)}
    for method, kept in rows.items():
        count(counts[method], true, found, kept)


def add_pixels(counts, truth, original, covered):
    """Count what the output shows, whatever the reason."""
    films = [luma_frames(path, truth["w"], truth["h"]) for path in (original, covered)]
    for i, ((_, before), (_, after)) in enumerate(zip(*films, strict=True)):
        a, b = high_pass(before), high_pass(after)
        for t in truth["tracks"]:
            box = t["boxes"].get(str(i))
            large = box is not None and min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE
            state = exposed(a, b, box) if large and t["role"] in ROLES else None
            if state is not None:
                counts[ROLES[t["role"]]] += 1
                counts[f"{ROLES[t['role']]} kept"] += state


def measure_film(film, extra):
    """Method -> counts for one film."""
    truth = json.loads(film.with_suffix(".json").read_text())
    counts = {m: Counter() for m in (*METHODS, "as seen")}
    with tempfile.TemporaryDirectory() as folder:
        out, tracks = Path(folder) / film.name, Path(folder) / "tracks.jsonl"
        command = [
            sys.executable,
            "-m",
            "bystander",
            "file",
            film,
            out,
            "--quiet",
            "--keep",
            "auto",
            "--tracks",
            tracks,
        ]
        subprocess.run([*command, *extra], check=True, stdout=subprocess.DEVNULL)
        for line in tracks.read_text().splitlines()[1:]:
            row = json.loads(line)
            true = [(t["role"], t["boxes"][k]) for t in truth["tracks"] if (k := str(row["frame"])) in t["boxes"]]
            found = [(t["xyxy"], t["unseen_s"] == 0, t["kept"]) for t in row["tracks"]]
            add_frame(counts, true, found, (truth["w"], truth["h"]))
        add_pixels(counts["as seen"], truth, film, out)
    return counts


def measure_pictures(data, limit, extra):
    """Row -> method -> counts over the pictures, each for itself; those that show both roles once more alone."""
    settings = load_settings(None, flags_of(parser().parse_args(["file", "x", "--keep", "auto", *extra])))
    model = open_model(settings.model, settings.runtime())
    rows = {name: {m: Counter() for m in METHODS} for name in ("pictures", "of both roles")}
    for line in (data / "roles/val.jsonl").read_text().splitlines()[:limit]:
        row = json.loads(line)
        tracks = []

        def record(_covered, seen, kept, tracks=tracks):
            tracks.extend((t.xyxy, True, t.id in kept) for t in seen)

        detector = Detector(model, settings.detector())
        face_filter = FaceFilter(detector, settings.filter(still=True), Meters(), record)
        frame = read_image(data / "faces" / row["file"])
        face_filter.push(frame, face_filter.detect(frame))
        face_filter.flush()
        true = [(f["role"], f["xyxy"]) for f in row["faces"]]
        add_frame(rows["pictures"], true, tracks, (row["width"], row["height"]))
        if len({role for role, _ in true} & set(ROLES)) > 1:
            add_frame(rows["of both roles"], true, tracks, (row["width"], row["height"]))
    return rows


def shares(c):
    """Keep precision, keep recall, exposed; NaN of nothing."""
    kept = c["subject kept"] + c["other kept"]
    pairs = ((c["subject kept"], kept), (c["subject kept"], c["subject"]), (c["other kept"], c["other"]))
    return tuple(a / b if b else math.nan for a, b in pairs)


def render(rows):
    """rows: name -> method -> counts."""
    lines = [f"{'':18s} {'kept':12s} precision   recall  exposed  subject and bystander face-frames"]
    for name, methods in rows.items():
        for i, (method, c) in enumerate(methods.items()):
            numbers = " ".join("       -" if math.isnan(v) else f"{100 * v:6.2f} %" for v in shares(c))
            lines.append(f"{'' if i else name:18s} {method:12s}  {numbers}  {c['subject']:6d} {c['other']:6d}")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--json", type=Path)
    p.add_argument("--only", nargs="*", help="names of films")
    p.add_argument("--pictures", type=int, help="so many pictures (default: all)")
    p.add_argument("extra", nargs="*", help="further arguments for bystander file, after --")
    a = p.parse_args()
    data = Path(os.environ.get("BYSTANDER_DATA", "../shared"))
    films = [f for f in sorted((data / "clips").glob("*.mp4")) if a.only is None or f.stem in a.only]
    if not films and not a.pictures:
        sys.exit(f"{data}/clips: no films; set BYSTANDER_DATA")
    rows = {film.stem: measure_film(film, a.extra) for film in films}
    if rows:
        methods = next(iter(rows.values()))
        rows["all films"] = {m: sum((r[m] for r in rows.values()), Counter()) for m in methods}
    if a.pictures != 0:
        rows |= measure_pictures(data, a.pictures, a.extra)
    print(render(rows))
    if a.json:
        report = {n: {m: {**c, **dict(zip(("precision", "recall", "exposed"), map(finite, shares(c)), strict=True))}
                      for m, c in methods.items()} for n, methods in rows.items()}  # fmt: skip
        a.json.write_text(json.dumps(report, indent=1))


def finite(value):
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


if __name__ == "__main__":
    main()
