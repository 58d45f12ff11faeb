"""``bystander devices`` and ``bystander engine build``: what computes here, and why. Prints, like ``cli``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from bystander.errors import SettingsError
from bystander.models import RuntimeSettings, choose, read_weights
from bystander.models.auto import Measured
from bystander.models.runtimes import INSTALL, Runtime, available, open_runtime


def add_devices(sub: Any) -> None:
    """The two commands' flags."""
    d = sub.add_parser("devices", help="what computes here, how fast, and what was chosen")
    e = sub.add_parser("engine", help="get a runtime ready that takes minutes to do so (TensorRT)")
    e.add_argument("action", choices=("build",))
    for p in (d, e):
        p.add_argument("--model", default="n", help="shipped model or path of an ONNX file")
        p.add_argument("--imgsz", type=int, default=640, help="long side of the detector's picture, px")
        p.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    d.add_argument("--recalibrate", action="store_true", help="measure again instead of using the last result")
    e.add_argument("--precision", default="fp16", choices=("fp16", "fp32"))


def cmd_devices(a: argparse.Namespace) -> int:
    settings = RuntimeSettings(imgsz=a.imgsz)
    runtime, rows = choose(read_weights(a.model), settings, anew=a.recalibrate)
    if a.json:
        print(json.dumps({"chosen": str(runtime), "measured": [asdict(r) for r in rows], "imgsz": a.imgsz}))
        return 0
    for row in rows:
        print(line(row, rows[0], chosen=row.runtime == runtime))
    if not rows:
        print(f"{runtime!s:16s} the only one here; nothing to measure")
    for device, hint in INSTALL.items():
        if device not in {r.device for r in available()}:
            print(f"{device:16s} not here ({hint})")
    return 0


def line(row: Measured, plain: Measured, *, chosen: bool) -> str:
    """One row of the table."""
    if row.fault:
        return f"{row.runtime!s:16s} not used: {row.fault}"
    times = f"{plain.ms / row.ms:5.2f} times cpu fp32" if row.ms else ""
    mark = "  <- chosen" if chosen else ""
    return f"{row.runtime!s:16s} {row.ms:7.1f} ms a picture {times}, boxes within {row.difference:.2%}{mark}"


def cmd_engine(a: argparse.Namespace) -> int:
    """Build TensorRT's engine for the sizes that ``--imgsz`` gives; ONNX Runtime keeps it in the cache folder."""
    runtime = Runtime("tensorrt", a.precision)
    if runtime not in available():
        raise SettingsError(f"{runtime}: not on this machine ({INSTALL['tensorrt']})")
    begin = time.monotonic()
    print("building the engine; this takes minutes", file=sys.stderr)
    height, width = RuntimeSettings(imgsz=a.imgsz).size
    open_runtime(read_weights(a.model), runtime)(np.zeros((1, 3, height, width), np.float32))
    seconds = round(time.monotonic() - begin, 1)
    print(json.dumps({"built": str(runtime), "seconds": seconds}) if a.json else f"{runtime}: ready after {seconds} s")
    return 0
