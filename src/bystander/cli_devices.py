"""``bystander devices`` and ``bystander engine build``: what computes here, and why. Prints, like ``cli``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bystander.errors import SettingsError
from bystander.models import DEVICES, PRECISIONS, RuntimeSettings, Weights, choose, read_weights
from bystander.models.auto import GAIN, Measured, measured, versions_here
from bystander.models.runtimes import INSTALL, PLAIN, Runtime, available, candidates, open_runtime
from bystander.stages.detector import DetectorSettings


def add_devices(sub: Any) -> None:
    """The two commands' flags."""
    d = sub.add_parser("devices", help="what computes here, how fast, and what was chosen")
    e = sub.add_parser("engine", help="get a runtime ready that takes minutes to do so (TensorRT)")
    e.add_argument("action", choices=("build",))
    for p in (d, e):
        p.add_argument("--model", default="n", help="shipped model or path of an ONNX file")
        p.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    d.add_argument("--imgsz", type=int, default=640, help="long side of the detector's picture, px (default 640)")
    d.add_argument("--device", metavar="|".join(DEVICES), default="auto", help="look at this one only, beside cpu fp32")
    d.add_argument("--precision", metavar="|".join(PRECISIONS), default="auto", help="look at this one only")
    d.add_argument("--recalibrate", action="store_true", help="measure again instead of using the last result")
    e.add_argument("--imgsz", type=int, nargs="+", default=[640], help="one engine for each, px (default 640)")
    e.add_argument("--precision", default="fp16", choices=("fp16", "fp32", "int8"))


def cmd_devices(a: argparse.Namespace) -> int:
    DetectorSettings(imgsz=a.imgsz)  # a size out of range is told as everywhere
    weights = read_weights(a.model)
    settings = RuntimeSettings(a.device, a.precision, a.imgsz, a.recalibrate)
    runtime, rows = choose(weights, settings)
    reason = why(runtime, rows)
    if not rows and runtime != PLAIN:  # forced, so nothing had to be measured; here it is asked for
        rows = measured(weights, [runtime], settings.size, anew=False)
        if rows[-1].fault:
            reason += "; where it fails as it did here, cpu fp32 takes over"
    versions = versions_here(weights)
    if a.json:
        told = {"chosen": str(runtime), "why": reason, "measured": [asdict(r) for r in rows]}
        print(json.dumps({**told, "imgsz": a.imgsz, "versions": versions}))
        return 0
    for row in rows:
        print(line(row, rows[0], chosen=row.runtime == runtime))
    if not rows:
        print(f"{runtime!s:16s} the only one that fits; nothing to measure")
    here = {r.device for r in available(weights)}
    for device, hint in INSTALL.items():
        if device not in here:
            print(f"{device:16s} not here ({hint})")
    print(f"{runtime}: {reason}")
    print("measured with " + ", ".join(v for v in versions if ".onnx " not in v))
    return 0


def why(runtime: Runtime, rows: Sequence[Measured]) -> str:
    """The reason for the choice, in words."""
    if not rows:
        return "the only one that fits what was asked for"
    if runtime != PLAIN:
        return "the fastest whose boxes agree with cpu fp32"
    if all(row.fault for row in rows[1:]):
        return "no other one can be used"
    return f"no other one is {1 - GAIN:.0%} faster"


def line(row: Measured, plain: Measured, *, chosen: bool) -> str:
    """One row of the table."""
    if row.fault:
        return f"{row.runtime!s:16s} not used: {row.fault}"
    times = f"{plain.ms / row.ms:5.2f} times cpu fp32" if row.ms else ""
    mark = "  <- chosen" if chosen else ""
    return f"{row.runtime!s:16s} {row.ms:7.1f} ms a picture {times}, boxes within {row.difference:.2%}{mark}"


def cmd_engine(a: argparse.Namespace) -> int:
    """Build TensorRT's engines for the sizes of ``--imgsz``; ONNX Runtime keeps them. Then measure what is fastest."""
    for imgsz in a.imgsz:
        DetectorSettings(imgsz=imgsz)
    weights, runtime = read_weights(a.model), Runtime("tensorrt", a.precision)
    if not any(r.device == "tensorrt" for r in available(weights)):
        raise SettingsError(f"{runtime}: not on this machine ({INSTALL['tensorrt']})")
    candidates("tensorrt", a.precision, weights)
    for imgsz in a.imgsz:
        settings = RuntimeSettings(imgsz=imgsz, anew=True)
        seconds = built(weights, runtime, settings)
        chosen, rows = choose(weights, settings)  # an earlier measurement found no engine
        fault = next((row.fault for row in rows if row.runtime == runtime), "")
        told = {"built": str(runtime), "imgsz": imgsz, "seconds": seconds, "chosen": str(chosen), "fault": fault}
        but = f" but not used, {fault}" if fault else ""
        sentence = f"{runtime} for {imgsz} px: ready after {seconds} s{but}; from now on auto takes {chosen}"
        print(json.dumps(told) if a.json else sentence)
    return 0


def built(weights: Weights, runtime: Runtime, settings: RuntimeSettings) -> float:
    """Seconds that it took. TensorRT tells nothing of how far it is, so the time goes by on stderr."""
    begin = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"building {runtime} for {settings.imgsz} px; this takes minutes", total=None)
        open_runtime(weights, runtime, imgsz=settings.imgsz)(np.zeros((1, 3, *settings.size), np.float32))
    return round(time.monotonic() - begin, 1)
