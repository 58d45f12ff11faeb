"""What smaller and larger detector pictures cost and gain: ``python bench/sizes.py --data DIR [--model n] [SIZE ...]``.

AP on the evaluation split of DIR (WIDER layout) over the same faces at every size: true faces of at least 16 px, and
of any height, at long side 640. ``tiled`` stands for four overlapping tiles at nearly twice the scale and the whole
picture, at 640 px each, merged: what 1280 px find, with five calls of a 640 px engine. For exposed face-frames of
films: ``python bench/exposure.py -- --imgsz SIZE``.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from bystander import boxes
from bystander.models import RuntimeSettings, open_model
from bystander.stages.detector import Detector
from bystander.types import Detections
from bystander_lab.evaluate import HEIGHTS, SETTINGS, evaluate

TILE = 0.56  # of the picture's sides: four tiles overlap by an eighth
BORDER = 2.0  # px: a box that touches an inner edge of its tile is a cut face; a neighbour has it whole


class Tiled:
    """A detector over four tiles and the whole picture."""

    def __init__(self, model):
        self.detector = Detector(model, replace(SETTINGS, imgsz=640))

    def __call__(self, frame):
        w, h = (2 * round(TILE * side / 2) for side in (frame.width, frame.height))
        corners = itertools.product((0, (frame.width - w) // 2 * 2), (0, (frame.height - h) // 2 * 2))
        found = [self.detector(frame), *(self.tile(frame, x, y, w, h) for x, y in corners)]
        xyxy, score = np.concatenate([f.xyxy for f in found]), np.concatenate([f.score for f in found])
        keep = boxes.nms(xyxy, score, SETTINGS.nms_iou, SETTINGS.limit)
        return Detections(xyxy[keep], score[keep], np.zeros(len(keep), np.float32))

    def tile(self, frame, x, y, w, h):
        c = slice(y // 2, -(-(y + h) // 2)), slice(x // 2, -(-(x + w) // 2))
        found = self.detector(replace(frame, y=frame.y[y : y + h, x : x + w], u=frame.u[c], v=frame.v[c]))
        x1, y1, x2, y2 = found.xyxy.T
        cut = ((x > 0) & (x1 < BORDER)) | ((y > 0) & (y1 < BORDER))
        cut |= ((x + w < frame.width) & (x2 > w - BORDER)) | ((y + h < frame.height) & (y2 > h - BORDER))
        moved = found.xyxy + np.array([x, y, x, y], np.float32)
        return Detections(moved[~cut], found.score[~cut], found.foreground[~cut])


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("sizes", nargs="*", default=["640", "448", "320", "1280", "tiled"], metavar="SIZE")
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--model", default="n")
    a = p.parse_args()
    model = open_model(a.model, RuntimeSettings("cpu", "fp32"))
    rows = {}
    for size in a.sizes:
        find = Tiled(model) if size == "tiled" else Detector(model, replace(SETTINGS, imgsz=int(size)))
        rows[size] = {k: v for k, v in evaluate(a.data, find).items() if len(v) == len(HEIGHTS)}
        if len(rows) == 1:
            print("| size | " + " | ".join(f"{name} >= 16 / all" for name in rows[size]) + " |")
            print("|---" * (1 + len(rows[size])) + "|")
        cells = [f"{v[HEIGHTS.index(16)]:.3f} / {v[0]:.3f}" for v in rows[size].values()]
        print(f"| {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
