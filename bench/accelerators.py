"""Every runtime of this machine: ``python bench/accelerators.py [--data DIR] [--clip FILM] [--imgsz 640 448 320]``.

Time a picture (p50, p95; one call at a time, two threads), time to the first result, peak memory, the whole
``bystander file`` on FILM, and AP on the validation split of DIR (WIDER layout) beside the largest box difference to
plain fp32. Each figure comes from a process of its own, and the runtimes take turns, so that a busy machine slows all
of them; quote the ratios. Eager PyTorch is measured too where the lab and ``--checkpoint`` are there.
"""

from __future__ import annotations

import argparse
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

from bystander.models import RuntimeSettings, read_weights
from bystander.models.probe import picture
from bystander.models.runtimes import PLAIN, Runtime, available, open_runtime

ROUNDS, CALLS = 3, 15
EAGER = Runtime("torch", "fp32")


def opened(name, runtime, checkpoint):
    if runtime != EAGER:
        return open_runtime(read_weights(name), runtime, threads=2)
    import torch

    from bystander_lab.evaluate import TorchModel
    from bystander_lab.export import open_checkpoint

    torch.set_num_threads(2)
    return TorchModel(open_checkpoint(Path(checkpoint))[0])


def one(name, runtime, imgsz, checkpoint):
    """In a child process: times of single calls and the process's peak memory."""
    images, begin = picture(*RuntimeSettings(imgsz=imgsz).size), time.perf_counter()
    model = opened(name, runtime, checkpoint)
    model(images)
    first, times = time.perf_counter() - begin, []
    for _ in range(CALLS):
        begin = time.perf_counter()
        model(images)
        times.append((time.perf_counter() - begin) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    p50, p95 = np.percentile(times, (50, 95))
    print(json.dumps({"first_s": first, "p50": p50, "p95": p95, "mib": peak}))


def child(a, runtime, imgsz):
    arguments = [a.model, runtime.device, runtime.precision, str(imgsz), a.checkpoint or ""]
    done = subprocess.run([sys.executable, __file__, "--one", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def film_fps(a, runtime, imgsz):
    """Frames a second of the whole program, start included."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--model", a.model, "--device", runtime.device, "--precision", runtime.precision, "--imgsz", imgsz]
        command = [sys.executable, "-m", "bystander", "file", a.clip, Path(folder) / "out.mp4", "--json", *flags]
        begin = time.perf_counter()
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - begin
    return json.loads(done.stdout.splitlines()[-1])["frames"] / seconds


def accuracy(a, runtime, imgsz):
    """AP at >= 16 px for each set."""
    from bystander.stages.detector import Detector
    from bystander_lab.evaluate import HEIGHTS, SETTINGS, evaluate

    model = opened(a.model, runtime, a.checkpoint)
    rows = evaluate(a.data, Detector(model, replace(SETTINGS, imgsz=imgsz)))
    return {name: aps[HEIGHTS.index(16)] for name, aps in rows.items() if len(aps) == len(HEIGHTS)}


def difference(a, runtime, imgsz):
    """Largest difference of a box to plain fp32, px, on a picture of this size."""
    images = picture(*RuntimeSettings(imgsz=imgsz).size)
    rows = [opened(a.model, r, a.checkpoint)(images)[..., :4] for r in (PLAIN, runtime)]
    return float(np.abs(rows[0] - rows[1]).max())


def measure(a, runtimes):
    """{(runtime, imgsz): figures}; the rounds go through all of them in turn."""
    keys = [(r, size) for size in a.imgsz for r in runtimes]
    runs = {key: [] for key in keys}
    for _ in range(ROUNDS):
        for key in keys:
            runs[key].append(child(a, *key))
            if a.clip and key[0] != EAGER:
                runs[key][-1]["film"] = film_fps(a, *key)
    table = {}
    for key in keys:
        table[key] = {name: statistics.median(run[name] for run in runs[key]) for name in runs[key][0]}
        table[key]["px"] = difference(a, *key)
        table[key]["ap"] = accuracy(a, *key) if a.data else {}
    return table


def show(table):
    plain = {size: row["p50"] for (runtime, size), row in table.items() if runtime == PLAIN}
    print("| runtime | imgsz | ms p50 | p95 | to cpu fp32 | first s | MiB | film fps | box px | AP >= 16 px |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (runtime, size), r in table.items():
        aps = " ".join(f"{name} {ap:.3f}" for name, ap in r["ap"].items())
        film = f"{r['film']:.1f}" if "film" in r else ""
        ratio = plain[size] / r["p50"]
        print(f"| {runtime} | {size} | {r['p50']:.1f} | {r['p95']:.1f} | {ratio:.2f} | {r['first_s']:.2f} "
              f"| {r['mib']:.0f} | {film} | {r['px']:.3f} | {aps} |")  # fmt: skip


def main():
    if sys.argv[1:2] == ["--one"]:
        name, device, precision, imgsz, checkpoint = sys.argv[2:]
        return one(name, Runtime(device, precision), int(imgsz), checkpoint)
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", default="n")
    p.add_argument("--imgsz", type=int, nargs="+", default=[640, 448, 320])
    p.add_argument("--data", type=Path)
    p.add_argument("--clip", type=Path)
    p.add_argument("--checkpoint", help="of the same model, for eager PyTorch")
    a = p.parse_args()
    return show(measure(a, [*available(), *([EAGER] if a.checkpoint else [])]))


if __name__ == "__main__":
    main()
