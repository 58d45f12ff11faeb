"""An exported fp32 ONNX file -> the same network with 8-bit integers beside it (``onnxruntime.quantization``).

Static, QDQ format, one scale a channel for weights. Ranges come from training images, and so does the search for the
best way to take them and for the blocks that must stay in float: no evaluation image is looked at. The file notes the
SHA-256 of the fp32 file that it was made from, and the runtime uses it for no other.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import logging
import random
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bystander.models import Weights
from bystander.models.auto import GAIN
from bystander.models.drawing import picture
from bystander.models.onnx import OnnxModel
from bystander.models.probe import milliseconds
from bystander.models.runtimes import available, open_runtime
from bystander.stages.letterbox import letterbox
from bystander_lab.ap import average_precision
from bystander_lab.evaluate import HEIGHTS, LONG, MAX_DROP, Table, detector, run, set_of, still_frame, with_min_height
from bystander_lab.transfer import open_onnx
from bystander_lab.widerface import DataError, Sample, load_widerface, read_image

OPERATORS = {
    "all": ("Conv", "Sigmoid", "Mul", "Add", "Concat", "MaxPool", "Resize"),
    "conv": ("Conv",),
}
CALIBRATIONS: dict[str, tuple[str, dict[str, Any]]] = {  # ONNX Runtime's method and its options
    # the mean over images of least and greatest value: one odd image does not stretch the steps of all
    "mean": ("MinMax", {"CalibMovingAverage": True}),
    "extremes": ("MinMax", {}),
    # without the outermost values; one image at a time, as they have other sizes
    "percentile": (
        "Percentile",
        {"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False, "CalibStridedMinMax": 1},
    ),
}
COUNTED_PX = 16  # faces from this height on decide, at long side 640
MOST_FLOAT = 6  # blocks; with more in float there is nothing left to gain
NEARER = 0.9  # of the change before: a block that brings less stays in int8
PICTURES = 24  # on which predictions are compared
CANDIDATE = 0.05  # a row with this score in either network is compared
FEW = 20  # images; the AP of a smaller set is noise


@dataclass(frozen=True, slots=True)
class QuantizeSettings:
    data: Path  # folder in the WIDER FACE layout; only its training split is read
    operators: str = "all"  # what becomes int8: all that it can, or only the convolutions
    calibration: int = 64  # images that give the ranges
    trial: int = 200  # other images that the search measures AP on
    calibrate: str = "mean"  # one of ``CALIBRATIONS``
    thorough: bool = False  # choose ``calibrate`` and further float blocks by how near the predictions come to fp32
    max_drop: float = 0.003  # AP on those that int8 may cost, in every set; the limit on evaluation sets is 0.005
    seed: int = 0


@dataclass
class Found:
    """What the search came to."""

    float_blocks: list[str] = field(default_factory=list)  # in the order in which they were given up
    log: list[str] = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)

    def note(self, line: str) -> None:
        """Keep and show it, with the seconds since the beginning."""
        self.log.append(f"{time.monotonic() - self.begin:4.0f} s: {line}")
        print(self.log[-1], flush=True)


class Images:
    """Calibration images, one at a time, as the detector would see them: ONNX Runtime's ``CalibrationDataReader``."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples, self.left = samples, iter(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.left = iter(self.samples[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        s = next(self.left, None)
        return None if s is None else {"images": picture_of(s)}

    def __iter__(self) -> Images:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        item = self.get_next()
        if item is None:
            raise StopIteration
        return item


def picture_of(s: Sample) -> np.ndarray:
    """(1, 3, h, w) RGB 0-1 at long side 640."""
    return letterbox(still_frame(read_image(s.path)), LONG, 32)[0]


def drawn(s: QuantizeSettings) -> tuple[list[Sample], list[Sample]]:
    """Training images for the ranges, and others for the search; all sets alike. DataError when there are too few."""
    samples = load_widerface(s.data, "train")
    random.Random(s.seed).shuffle(samples)
    sets: dict[str, list[Sample]] = {}
    for sample in samples:
        sets.setdefault(set_of(sample.event), []).append(sample)
    turns = [group[i] for i in range(max(map(len, sets.values()))) for group in sets.values() if i < len(group)]
    calibration, trial = turns[: s.calibration], turns[s.calibration : s.calibration + s.trial]
    if not trial:
        raise DataError(f"{s.data}: {len(samples)} training images are too few to quantise with")
    return calibration, trial


class Quantizer:
    """Makes files with some blocks in float; the ranges are taken once and kept in ``folder``."""

    def __init__(self, source: Path, settings: QuantizeSettings, calibration: list[Sample], folder: Path) -> None:
        self.source, self.settings, self.calibration, self.folder = source, settings, calibration, folder
        self.calibrate = settings.calibrate
        self.nodes = [n.name for n in open_onnx(source).graph.node]
        # the exporter names a node /model.8/cv1/conv/Conv: block 8 of ``model.YOLOv5``
        inside = [n for n in self.nodes if n.startswith("/model.")]
        self.blocks = list(dict.fromkeys(f"/{n.split('/')[1]}/" for n in inside))
        if len(self.blocks) < 2:
            raise DataError(f"{source}: not a model that bystander-lab exported")

    @property
    def head(self) -> str:
        """The last block, which turns features into boxes: a step of its 8 bits would be pixels, so it stays float."""
        return self.blocks[-1]

    def make(self, name: str, float_blocks: list[str]) -> Path:
        from onnxruntime import quantization as q

        out = self.folder / name
        kept = (self.head, *float_blocks)
        ranges = self.folder / f"ranges-{self.calibrate}.json"
        method, options = CALIBRATIONS[self.calibrate]
        cached = "calibration_cache_path" in inspect.signature(q.quantize_static).parameters  # newer than 1.23
        logging.disable(logging.WARNING)  # it recommends a pre-processing that export has done
        try:
            with redirect_stdout(io.StringIO()):  # which counts bins
                q.quantize_static(
                    self.source, out, Images(self.calibration), quant_format=q.QuantFormat.QDQ, per_channel=True,
                    op_types_to_quantize=list(OPERATORS[self.settings.operators]),
                    nodes_to_exclude=[n for n in self.nodes if n.startswith(kept)],
                    activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
                    calibrate_method=q.CalibrationMethod[method], extra_options=dict(options),
                    **({"calibration_cache_path": ranges} if cached else {}),
                )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return out


def quantize(source: Path, out: Path, s: QuantizeSettings) -> Found:
    """Write ``out``, and beside it a log that tells every trial; its line in ``SHA256SUMS`` waits for a verdict.

    DataError when no int8 file keeps the AP of the trial images; ``out`` is then as before.
    """
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder; make it first")
    if out.resolve() == source.resolve():
        raise DataError(f"{out}: is the fp32 file itself; name the int8 file NAME.int8.onnx")
    if any(n.op_type == "QuantizeLinear" for n in open_onnx(source).graph.node):
        raise DataError(f"{source}: is int8 already; give the fp32 file")
    calibration, trial = drawn(s)
    with tempfile.TemporaryDirectory() as folder:
        quantizer = Quantizer(source, s, calibration, Path(folder))
        best, found = search(quantizer, trial)
        finish(best, out, source, found)
    out.with_suffix(".log").write_text("\n".join(found.log) + "\n", encoding="utf-8")
    return found


def search(quantizer: Quantizer, trial: list[Sample]) -> tuple[Path, Found]:
    """Everything in int8, then block after block back to float, the most harmful first, until the AP is kept."""
    found, limit = Found(), quantizer.settings.max_drop
    found.note(f"{quantizer.source.name}: ranges from {len(quantizer.calibration)} training images")
    found.note(f"trials on {len(trial)} others; operators: {quantizer.settings.operators}")
    found.note(f"{quantizer.head} stays float")
    plain = opened(quantizer.source)
    few = Compared(plain, trial[:: max(1, len(trial) // PICTURES)])
    if quantizer.settings.thorough:
        quantizer.calibrate = nearest_ranges(quantizer, few, found)
        found.note(f"ranges are taken by {quantizer.calibrate}")
    before, ranked = aps(plain, trial), list[str]()
    while True:
        path = quantizer.make("trial.onnx", found.float_blocks)
        lost = {name: before[name] - after for name, after in aps(opened(path), trial).items()}
        worst = max(lost, key=lambda name: lost[name])
        kept = ", ".join(found.float_blocks) or "no other block"
        found.note(f"float: {kept}: AP >= {COUNTED_PX} px falls by {lost[worst]:.4f} at most ({worst})")
        if lost[worst] <= limit:
            return (nearer(quantizer, few, found, path, ranked) if quantizer.settings.thorough else path), found
        if len(found.float_blocks) == MOST_FLOAT:
            raise DataError(f"{quantizer.source}: int8 costs {lost[worst]:.4f} AP ({worst}) even so, over {limit}")
        ranked = ranked or harm(quantizer, few, found)
        found.float_blocks.append(ranked.pop(0))


class Compared:
    """Pictures with what fp32 predicts on them."""

    def __init__(self, plain: OnnxModel, samples: list[Sample]) -> None:
        self.pictures = [picture_of(s) for s in samples]
        self.wanted = [plain(p) for p in self.pictures]

    def change(self, model: OnnxModel) -> float:
        """How far a model's predictions are from those, see ``change``."""
        return float(np.mean([change(w, model(p)) for w, p in zip(self.wanted, self.pictures, strict=True)]))


def nearest_ranges(quantizer: Quantizer, few: Compared, found: Found) -> str:
    """The way to take ranges whose int8 file predicts most like fp32."""
    scores = {}
    for quantizer.calibrate in CALIBRATIONS:
        scores[quantizer.calibrate] = few.change(opened(quantizer.make("ranges.onnx", [])))
        found.note(f"ranges by {quantizer.calibrate} change the predictions by {scores[quantizer.calibrate]:.4f}")
    return min(scores, key=lambda how: scores[how])


def nearer(quantizer: Quantizer, few: Compared, found: Found, path: Path, ranked: list[str]) -> Path:
    """Gives further blocks back to float as long as each brings the predictions clearly nearer to fp32."""
    left, best = ranked or harm(quantizer, few, found), few.change(opened(path))
    while len(found.float_blocks) < MOST_FLOAT:
        block = left.pop(0)
        trial = quantizer.make(f"nearer-{len(found.float_blocks)}.onnx", [*found.float_blocks, block])
        now = few.change(opened(trial))
        found.note(f"{block} in float as well: the predictions change by {now:.4f} instead of {best:.4f}")
        if now > NEARER * best:
            break
        found.float_blocks.append(block)
        path, best = trial, now
    return path


def harm(quantizer: Quantizer, few: Compared, found: Found) -> list[str]:
    """The blocks by what each does to the predictions when it alone is int8, the worst first."""
    others = [b for b in quantizer.blocks if b != quantizer.head]
    scores = {}
    for block in others:
        scores[block] = few.change(opened(quantizer.make("alone.onnx", [b for b in others if b != block])))
        found.note(f"int8 in {block} alone changes the predictions by {scores[block]:.4f}")
    return sorted(others, key=lambda b: -scores[b])


def change(want: np.ndarray, got: np.ndarray) -> float:
    """Mean over the candidate rows of score difference plus box difference in box sizes."""
    rows = np.maximum(want[0, :, 4], got[0, :, 4]) > CANDIDATE
    if not rows.any():
        return 0.0
    a, b = want[0, rows], got[0, rows]
    side = np.maximum(a[:, 2:4].max(1, keepdims=True), 1.0)
    return float((np.abs(a[:, 4] - b[:, 4]) + (np.abs(a[:, :4] - b[:, :4]) / side).mean(1)).mean())


def aps(model: OnnxModel, trial: list[Sample]) -> dict[str, float]:
    """Set -> AP at >= 16 px, for the sets with enough images, and "all"."""
    results = [(name, with_min_height(r, COUNTED_PX)) for name, r in run(trial, detector(model))]
    names = [name for name, _ in results]
    sets = {n for n in names if names.count(n) >= FEW}
    table = {n: average_precision([r for name, r in results if name == n]) for n in sorted(sets)}
    table["all"] = average_precision([r for _, r in results])
    return {name: value for name, value in table.items() if not np.isnan(value)}


def opened(path: Path) -> OnnxModel:
    return OnnxModel(path, path.read_bytes())


def finish(made: Path, out: Path, source: Path, found: Found) -> None:
    """Note what it was made from and how, check, move into place."""
    import onnx

    graph = open_onnx(made)
    notes = {"quantized_from": hashlib.sha256(source.read_bytes()).hexdigest(),
             "float_blocks": json.dumps(found.float_blocks)}  # fmt: skip
    for key, value in notes.items():
        graph.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(graph)
    part = out.with_suffix(".partial")
    try:
        onnx.save(graph, str(part))
        opened(part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def verdict(source: Path, out: Path, tables: tuple[Table, Table]) -> tuple[list[str], bool]:
    """Lines on what int8 loses on the evaluation sets and gains in time; whether it is worth shipping.

    Worth it: at most ``MAX_DROP`` AP lost in every set at >= 16 px, and on some device faster than fp32 there.
    """
    at = HEIGHTS.index(COUNTED_PX)
    sets = [n for n in tables[0] if len(tables[0][n]) == len(HEIGHTS)]
    lost = {n: tables[0][n][at] - tables[1][n][at] for n in sets}
    lines = [f"{n}: AP >= {COUNTED_PX} px {tables[0][n][at]:.4f} in fp32, {tables[1][n][at]:.4f} in int8" for n in sets]
    times = times_of(source, out)
    lines += [f"{name}: {ms:.1f} ms, {times['cpu fp32'] / ms:.2f} times cpu fp32" for name, ms in times.items()]
    gains = {name: times[name.replace("int8", "fp32")] / ms for name, ms in times.items() if name.endswith("int8")}
    kept, faster = max(lost.values()) <= MAX_DROP, {name: gain for name, gain in gains.items() if gain > 1 / GAIN}
    where = ", ".join(f"{name} {gain:.2f} times" for name, gain in faster.items()) or "nowhere"
    lines.append(f"at most {max(lost.values()):.4f} AP lost, {'within' if kept else 'over'} {MAX_DROP}")
    lines.append(f"faster than fp32 on the same device: {where}")
    return lines, kept and bool(faster)


def times_of(source: Path, out: Path) -> dict[str, float]:
    """Runtime -> ms a picture of 640x384 px, two calls side by side; the runtimes take turns."""
    both = replace(Weights(source, source.read_bytes()), int8=Weights(out, out.read_bytes()))
    models: dict[str, Any] = {str(r): open_runtime(both, r) for r in available(both)}
    images = picture(384, 640)
    best = dict.fromkeys(models, float("inf"))
    for _ in range(3):
        for name, model in models.items():
            model(images)
            best[name] = min(best[name], milliseconds(model, images))
    return best
