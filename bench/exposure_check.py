"""Does ``bench/exposure.py`` see what it should? ``python bench/exposure_check.py [--every 6]``.

The films of ``$BYSTANDER_DATA/clips`` are judged twice: only encoded again (every face should count as exposed), and
with every true box covered as bystander covers it (none should). No detector is involved.
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

from bystander.audit.judge import MIN_SIDE
from bystander.audit.structure import exposed, high_pass
from bystander.media.reader import open_reader
from bystander.stages.cover import CoverSettings, cover
from bystander.stages.policy import PolicySettings, region_of
from bystander.types import Track


def boxes_of(truth, index):
    """True boxes of the frame that are large enough to count."""
    found = (t["boxes"].get(str(index)) for t in truth["tracks"] if t["role"] != "ignore")
    return [b for b in found if b and min(b[2] - b[0], b[3] - b[1]) >= MIN_SIDE]


def covered_luma(frame, boxes):
    """The frame's luma with these faces covered."""
    tracks = (Track(i, tuple(b), 1.0, 0.0, 1.0, 0.0, 0.0, steady=False) for i, b in enumerate(boxes))
    regions = [region_of(t, PolicySettings(), frame.width, frame.height) for t in tracks]
    return cover(frame, tuple(r for r in regions if r), CoverSettings()).frame.y


def check(film, again, every):
    """Faces judged, how many of them count as exposed when open, and when covered."""
    truth = json.loads(film.with_suffix(".json").read_text())
    counts = [0, 0, 0]
    with av.open(str(again)) as container:
        for frame, encoded in zip(open_reader(film), container.decode(video=0), strict=True):
            if frame.index % every:
                continue
            boxes = boxes_of(truth, frame.index)
            original = high_pass(frame.y.copy())
            pictures = [encoded.to_ndarray(format="gray"), covered_luma(frame, boxes)]
            for box in boxes:
                open_, shut = (exposed(original, high_pass(p), box) for p in pictures)
                if open_ is not None:
                    counts = [counts[0] + 1, counts[1] + open_, counts[2] + shut]
    return counts


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--every", type=int, default=6, help="judge every n-th frame")
    a = p.parse_args()
    films = sorted((Path(os.environ.get("BYSTANDER_DATA", "../shared")) / "clips").glob("*.mp4"))
    if not films:
        sys.exit("no films; set BYSTANDER_DATA")
    total = [0, 0, 0]
    print("film               faces   open counts   covered counts")
    for film in films:
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / "again.mp4"
            encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-an", again]
            subprocess.run(["ffmpeg", "-v", "error", "-i", film, *encode], check=True)
            counts = check(film, again, a.every)
        total = [x + y for x, y in zip(total, counts, strict=True)]
        print(f"{film.stem:18s} {counts[0]:5d} {counts[1]:13d} {counts[2]:16d}", flush=True)
    print(f"{'all':18s} {total[0]:5d} {total[1]:13d} {total[2]:16d}")


if __name__ == "__main__":
    main()
