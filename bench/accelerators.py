"""Every runtime of this machine, as a table in Markdown: ``python bench/accelerators.py --model n s --imgsz 640 448``.

For each runtime, precision, model and picture size: ms a picture on one core, one call at a time (p50, p95); ms with
two calls side by side, as the file pipeline has them; time from nothing to the first result; peak memory; with
``--film CLIP`` frames a second of the whole ``bystander file``; with ``--ap DIR`` AP at >= 16 px on an evaluation split
in the WIDER layout; the largest difference of a face's box to plain fp32 on drawn faces.

Each figure comes from a process of its own, and the runtimes take turns, so that a busy machine slows all of them;
quote the ratios, to plain fp32 in ONNX Runtime and, where the lab is installed, to eager PyTorch on the same weights.
A size that is not shipped (p, s) is measured untrained. Ends with 1 when what ``auto`` would take is slower than plain
fp32 by more than noise.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bystander.models import SHIPPED, RuntimeSettings, choose, read_weights
from bystander.models.auto import CANDIDATE
from bystander.models.drawing import picture
from bystander.models.probe import milliseconds
from bystander.models.runtimes import PLAIN, Runtime, available, open_runtime

EAGER = Runtime("torch", "fp32")
COLUMNS = (
    "model", "imgsz", "runtime", "ms p50", "p95", "two at a time", "to cpu fp32", "to PyTorch", "first s", "MiB",
    "film fps", "box px", "AP >= 16 px",
)  # fmt: skip
NOISE = 1.15  # times: two rounds of the same thing differ by as much on a busy machine


def opened(model, runtime, imgsz):
    """A model file in a runtime, on one core a call."""
    weights = read_weights(model)
    if runtime != EAGER:
        return open_runtime(weights, runtime, imgsz=imgsz)
    import torch

    from bystander_lab.evaluate import TorchModel
    from bystander_lab.explain.rebuild import rebuild

    torch.set_num_threads(1)
    return TorchModel(rebuild(weights.path).yolo)


def one(model, runtime, imgsz, calls):
    """In a child process: times, and the process's peak memory."""
    images, begin = picture(*RuntimeSettings(imgsz=imgsz).size), time.perf_counter()
    run = opened(model, runtime, imgsz)
    run(images)
    first, times = time.perf_counter() - begin, []
    for _ in range(calls):
        begin = time.perf_counter()
        run(images)
        times.append((time.perf_counter() - begin) * 1e3)
    p50, p95 = np.percentile(times, (50, 95))
    side_by_side = milliseconds(run, images)
    print(json.dumps({"first_s": first, "p50": p50, "p95": p95, "two": side_by_side, "mib": peak_mib()}))


def peak_mib():
    """This program's own peak memory; ``ru_maxrss`` would count what its parent held when it was started."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(a, model, runtime, imgsz):
    arguments = [model, runtime.device, runtime.precision, imgsz, a.calls]
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def film_fps(a, model, runtime, imgsz):
    """Frames a second of the whole program, start included."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--model", model, "--device", runtime.device, "--precision", runtime.precision, "--imgsz", imgsz]
        command = [sys.executable, "-m", "bystander", "file", a.film, Path(folder) / "out.mp4", "--json", *flags]
        begin = time.perf_counter()
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - begin
    return json.loads(done.stdout.splitlines()[-1])["frames"] / seconds


def accuracy(a, model, runtime, imgsz):
    """AP at >= 16 px for each set."""
    from bystander.stages.detector import Detector
    from bystander_lab.evaluate import HEIGHTS, SETTINGS, evaluate

    rows = evaluate(a.ap, Detector(opened(model, runtime, imgsz), replace(SETTINGS, imgsz=imgsz)))
    return {name: aps[HEIGHTS.index(16)] for name, aps in rows.items() if len(aps) == len(HEIGHTS)}


def difference(model, runtime, imgsz):
    """Largest difference of a face's box to plain fp32, px; NaN where none is found (untrained models)."""
    images = picture(*RuntimeSettings(imgsz=imgsz).size)
    plain, other = (opened(model, r, imgsz)(images)[0] for r in (PLAIN, runtime))
    faces = np.maximum(plain[:, 4], other[:, 4]) >= CANDIDATE
    return float(np.abs(plain[faces, :4] - other[faces, :4]).max(initial=0)) if faces.any() else float("nan")


def runtimes_of(model):
    lab = all(importlib.util.find_spec(name) for name in ("torch", "onnx"))
    return [*available(read_weights(model)), *([EAGER] if lab else [])]


def measure(a, models):
    """{(model, imgsz, runtime): figures}; the rounds go through all of them in turn."""
    keys = [(m, size, r) for m in models for size in a.imgsz for r in runtimes_of(m) if a.only in ("", str(r.device))
            or r in (PLAIN, EAGER)]  # fmt: skip
    runs = {key: [] for key in keys}
    for _ in range(a.rounds):
        for model, size, runtime in keys:
            figures = child(a, model, runtime, size)
            if a.film and runtime != EAGER:
                figures["film"] = film_fps(a, model, runtime, size)
            runs[model, size, runtime].append(figures)
    table = {}
    for model, size, runtime in keys:
        mine = runs[model, size, runtime]
        row = {name: statistics.median(run[name] for run in mine) for name in mine[0]}
        row["px"] = difference(model, runtime, size)
        row["ap"] = accuracy(a, model, runtime, size) if a.ap and runtime != EAGER else {}
        table[model, size, runtime] = row
    return table


def show(table):
    """The table in Markdown."""
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for (model, size, runtime), r in table.items():
        ratios = [f"{table[k]['two'] / r['two']:.2f}" if (k := (model, size, base)) in table else ""
                  for base in (PLAIN, EAGER)]  # fmt: skip
        aps = " ".join(f"{name} {ap:.3f}" for name, ap in r["ap"].items())
        film = f"{r['film']:.1f}" if "film" in r else ""
        cells = [Path(model).stem, size, runtime, f"{r['p50']:.1f}", f"{r['p95']:.1f}", f"{r['two']:.1f}", *ratios,
                 f"{r['first_s']:.2f}", f"{r['mib']:.0f}", film, f"{r['px']:.2f}", aps]  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |")


def slower(table):
    """Where ``auto`` would take something that this run found slower than plain fp32, by more than noise."""
    found = []
    for model, size in dict.fromkeys((m, s) for m, s, _ in table):
        chosen = choose(read_weights(model), RuntimeSettings(imgsz=size))[0]
        rows = [table.get((model, size, r)) for r in (chosen, PLAIN)]
        if all(rows) and rows[0]["two"] > NOISE * rows[1]["two"]:
            found.append(f"{Path(model).stem} at {size} px: auto takes {chosen}, {rows[0]['two']:.1f} ms against "
                         f"{rows[1]['two']:.1f} ms")  # fmt: skip
    return found


def untrained(size, folder):
    """A model of this size with random weights, exported: its speed is that of a trained one."""
    from bystander_lab.export import anchors_px, write_onnx
    from bystander_lab.model import yolov5

    model, path = yolov5(size).eval(), folder / f"{size}-untrained.onnx"
    write_onnx(model, path, {"names": '["face"]', "stride": "32", "anchors": json.dumps(anchors_px(model))})
    return str(path)


def main():
    if sys.argv[1:2] == ["--one"]:
        model, device, precision, imgsz, calls = sys.argv[2:]
        return one(model, Runtime(device, precision), int(imgsz), int(calls))
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", nargs="+", default=["n"], help="shipped models, paths of ONNX files, or untrained p, s")
    p.add_argument("--imgsz", type=int, nargs="+", default=[640])
    p.add_argument("--only", default="", metavar="DEVICE", help="beside plain fp32 and PyTorch")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--calls", type=int, default=15)
    p.add_argument("--film", type=Path)
    p.add_argument("--ap", type=Path, metavar="DIR")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = [m if m in SHIPPED or Path(m).is_file() else untrained(m, Path(folder)) for m in a.model]
        table = measure(a, models)
        show(table)
        faults = slower(table)
    return "; ".join(faults) or None


if __name__ == "__main__":
    sys.exit(main())
