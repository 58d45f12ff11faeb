"""Every runtime of this machine, as tables: ``python bench/accelerators.py [--quick] --film CLIP --ap DIR``.

For each runtime, precision, model and picture size: ms a picture on one core, one call at a time (p50, p95), and with
two calls side by side, as the file pipeline has them; frames a second of the whole ``bystander file`` on the first
seconds of ``--film``; time from nothing to the first result; peak memory; the largest difference of a face's box to
plain fp32 on drawn faces, in px and of its size; with ``--ap`` AP at >= 16 px on an evaluation split in the WIDER
layout. Then all of them as ratios to plain fp32 in ONNX Runtime and, where the lab is installed, to eager PyTorch on
the same weights (whose film goes through the same pipeline). Above 1 is better.

Each figure comes from a process of its own, and the runtimes take turns, so that a busy machine slows all of them;
quote the ratios. ``--quick``: one size, one round. ``--into docs/devices.md`` puts the result there under this
machine's name. A size that is not shipped (p, s) is measured untrained. Ends with 1 when what ``auto`` would take is
slower than plain fp32 by more than noise, in this run and once more.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from accelerators_table import machine, markdown, put_into, section
from bystander.models import SHIPPED, RuntimeSettings, choose, read_weights
from bystander.models.auto import CANDIDATE, versions_here
from bystander.models.drawing import picture
from bystander.models.probe import milliseconds
from bystander.models.runtimes import PLAIN, Runtime, available, open_runtime

EAGER = Runtime("torch", "fp32")
NOISE = 1.15  # times: two rounds of the same thing differ by as much on a busy machine
PATIENCE_S = 900.0  # for a child; the film on eager PyTorch takes longest


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


def film(model, runtime, imgsz, clip):
    """In a child process: the whole ``bystander file`` with a model that is opened here; for eager PyTorch."""
    from bystander import cli

    cli.open_model = lambda *_: opened(model, runtime, imgsz)
    with tempfile.TemporaryDirectory() as folder:
        code = cli.main(["file", clip, f"{folder}/out.mp4", "--json", "--imgsz", str(imgsz)])
    sys.exit(code)


def peak_mib():
    """This program's own peak memory; ``ru_maxrss`` would count what its parent held when it was started."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def told(command):
    """The last line of what a child printed, as JSON. RuntimeError with what it complained of when it failed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200])
    return json.loads(done.stdout.splitlines()[-1])


def child(a, model, imgsz, runtime):
    return told([sys.executable, __file__, "--one", model, runtime.device, runtime.precision, imgsz, a.calls])


def film_fps(a, model, imgsz, runtime):
    """Frames a second of the whole program, start included."""
    key = [model, runtime.device, runtime.precision, imgsz]
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--model", model, "--device", runtime.device, "--precision", runtime.precision, "--imgsz", imgsz]
        command = [sys.executable, "-m", "bystander", "file", a.film, Path(folder) / "out.mp4", "--json", *flags]
        begin = time.perf_counter()
        done = told(command if runtime != EAGER else [sys.executable, __file__, "--one-film", *key, a.film])
        return done["frames"] / (time.perf_counter() - begin)


def accuracy(a, model, imgsz, runtime):
    """AP at >= 16 px for each set."""
    from bystander.stages.detector import Detector
    from bystander_lab.evaluate import HEIGHTS, SETTINGS, evaluate

    rows = evaluate(a.ap, Detector(opened(model, runtime, imgsz), replace(SETTINGS, imgsz=imgsz)))
    return {name: aps[HEIGHTS.index(16)] for name, aps in rows.items() if len(aps) == len(HEIGHTS)}


def difference(model, imgsz, runtime):
    """Largest difference of a face's box to plain fp32, px and % of its longer side; NaN where none is found."""
    images = picture(*RuntimeSettings(imgsz=imgsz).size)
    plain, other = (opened(model, r, imgsz)(images)[0] for r in (PLAIN, runtime))
    faces = np.maximum(plain[:, 4], other[:, 4]) >= CANDIDATE
    if not faces.any():  # an untrained model
        return {"px": float("nan"), "size": float("nan")}
    apart = np.abs(plain[faces, :4] - other[faces, :4]).max(axis=1)
    sides = np.maximum(plain[faces, 2:4].max(axis=1), 1)
    return {"px": float(apart.max()), "size": float((100 * apart / sides).max())}


def runtimes_of(model):
    lab = all(importlib.util.find_spec(name) for name in ("torch", "onnx"))
    return [*available(read_weights(model)), *([EAGER] if lab else [])]


def measure(a, models):
    """{(model, imgsz, runtime): figures}; the rounds go through all of them in turn. One that fails is left out."""
    keys = [(m, size, r) for m in models for size in a.imgsz for r in runtimes_of(m) if a.only in ("", str(r.device))
            or r in (PLAIN, EAGER)]  # fmt: skip
    runs = {key: [] for key in keys}
    table = {}
    for number in range(a.rounds):
        for key in [k for k in keys if k in runs]:
            say(f"round {number + 1} of {a.rounds}: {key}")
            try:
                figures = child(a, *key)
                if a.film and number == 0:
                    figures["film"] = film_fps(a, *key)
                runs[key].append(figures)
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                say(f"{key}: left out, {e}")
                del runs[key]
    for key, mine in runs.items():
        table[key] = {name: statistics.median(run[name] for run in mine if name in run) for name in mine[0]}
        table[key] |= difference(*key)
        if a.ap and key[2] != EAGER:
            say(f"AP: {key}")
            table[key]["ap"] = accuracy(a, *key)
    return table


def say(line):
    print(line, file=sys.stderr, flush=True)


def slower(table, again=lambda _key: None):
    """Where ``auto`` would take something slower than plain fp32 by more than noise; ``again`` measures once more."""
    found = []
    for model, size in dict.fromkeys((m, s) for m, s, _ in table):
        chosen = choose(read_weights(model), RuntimeSettings(imgsz=size))[0]
        keys = [(model, size, r) for r in (chosen, PLAIN)]
        if not all(key in table for key in keys):
            continue
        ms = [table[key]["two"] for key in keys]
        if ms[0] > NOISE * ms[1]:
            ms = [min(before, after or before) for before, after in zip(ms, map(again, keys), strict=True)]
        if ms[0] > NOISE * ms[1]:
            found.append(f"{Path(model).stem} at {size} px: auto takes {chosen}, {ms[0]:.1f} ms against {ms[1]:.1f} ms")
    return found


def untrained(size, folder):
    """A model of this size with random weights, exported: its speed is that of a trained one."""
    from bystander_lab.export import anchors_px, write_onnx
    from bystander_lab.model import yolov5

    model, path = yolov5(size).eval(), folder / f"{size}-untrained.onnx"
    write_onnx(model, path, {"names": '["face"]', "stride": "32", "anchors": json.dumps(anchors_px(model))})
    return str(path)


def cut(clip, seconds, folder):
    """The first seconds of a film, its packets as they are."""
    out = folder / f"cut{clip.suffix}"
    command = ["ffmpeg", "-v", "error", "-i", clip, "-t", seconds, "-map", "0:v:0", "-c", "copy", out]
    subprocess.run([str(c) for c in command], check=True)
    return out


def flags():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", nargs="+", default=["n", "n-face"], help="shipped models, ONNX files, or untrained p, s")
    p.add_argument("--imgsz", type=int, nargs="+", default=[640, 448, 320])
    p.add_argument("--only", default="", metavar="DEVICE", help="beside plain fp32 and PyTorch")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--calls", type=int, default=30)
    p.add_argument("--quick", action="store_true", help="640 px, one round, 15 calls")
    p.add_argument("--film", type=Path)
    p.add_argument("--seconds", type=float, default=6.0, help="of the film (default 6)")
    p.add_argument("--ap", type=Path, metavar="DIR")
    p.add_argument("--into", type=Path, metavar="FILE.md", help="document that gets the result")
    a = p.parse_args()
    if a.quick:
        a.imgsz, a.rounds, a.calls = [640], 1, 15
    return a


def main():
    if sys.argv[1:2] in (["--one"], ["--one-film"]):
        model, device, precision, imgsz, last = sys.argv[2:]
        work = one if sys.argv[1] == "--one" else film
        return work(model, Runtime(device, precision), int(imgsz), int(last) if work is one else last)
    a, before = flags(), os.getloadavg()[0]
    given = [
        Path(g).name if Path(g).is_absolute() else g for g in sys.argv[1:]
    ]  # where files lie tells nobody anything
    command = " ".join(["python bench/accelerators.py", *given])
    with tempfile.TemporaryDirectory() as folder:
        models = [m if m in SHIPPED or Path(m).is_file() else untrained(m, Path(folder)) for m in a.model]
        a.film = a.film and cut(a.film, a.seconds, Path(folder))
        table = measure(a, models)
        versions = [v for v in versions_here(read_weights(models[0])) if ".onnx " not in v]
        lines = section(markdown(table, PLAIN, EAGER), command, (before, os.getloadavg()[0]), versions)
        faults = slower(table, lambda key: child(a, *key)["two"])
    print("\n".join(lines))
    if a.into:
        put_into(a.into, lines)
        say(f"{a.into}: holds it under {machine()}")
    return "; ".join(faults) or None


if __name__ == "__main__":
    sys.exit(main())
