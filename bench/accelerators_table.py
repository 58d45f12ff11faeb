"""What ``accelerators.py`` measured, as a section in Markdown: one for each machine that it ran on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from pathlib import Path

from bystander.models.tensorrt import gpu

FIGURES = (  # name, heading, digits
    ("p50", "ms p50", 1), ("p95", "p95", 1), ("two", "two at a time", 1), ("film", "film fps", 1),
    ("first_s", "first s", 2), ("mib", "MiB", 0), ("px", "box px", 2), ("size", "box %", 2),
)  # fmt: skip
SPEEDS = (("p50", "p50"), ("p95", "p95"), ("two", "two at a time"), ("film", "film"), ("first_s", "first"))
RATIOS = (*SPEEDS, ("mib", "memory"))


def ratio(name, row, base):
    """How many times better than ``base``: faster, more frames a second, less memory. None where one is not known."""
    if base is None or not row.get(name) or not base.get(name):
        return None
    return row[name] / base[name] if name == "film" else base[name] / row[name]


def markdown(table, plain, eager):
    """Two tables: the figures, and all of them as ratios to plain fp32 and to eager PyTorch of the same run."""
    return [*figures(table, plain), "", *ratios(table, plain, eager)]


def named(key):
    model, size, runtime = key
    return [Path(model).stem, str(size), "eager PyTorch" if runtime.device == "torch" else str(runtime)]


def figures(table, plain):
    sets = list(dict.fromkeys(name for row in table.values() for name in row.get("ap", {})))
    heads = ["model", "imgsz", "runtime", *(head for _, head, _ in FIGURES), *(f"AP {name}" for name in sets)]
    rows = []
    for key, row in table.items():
        cells = [f"{row[name]:.{digits}f}" if name in row else "" for name, _, digits in FIGURES]
        base = table.get((*key[:2], plain), {}).get("ap", {})
        rows.append([*named(key), *cells, *(accuracy(row.get("ap", {}), base, name) for name in sets)])
    return grid(heads, rows)


def accuracy(ap, base, name):
    """AP, and how far it is from plain fp32's where it is another number."""
    if name not in ap:
        return ""
    apart = ap[name] - base.get(name, ap[name])
    return f"{ap[name]:.4f}" + (f" ({apart:+.4f})" if abs(apart) >= 5e-5 else "")


def ratios(table, plain, eager):
    bases = {"fp32": plain, "PyTorch": eager}
    heads = ["model", "imgsz", "runtime", *(f"{head} / {base}" for _, head in RATIOS for base in bases)]
    rows = []
    for key, row in table.items():
        found = [ratio(name, row, table.get((*key[:2], base))) for name, _ in RATIOS for base in bases.values()]
        rows.append([*named(key), *("" if r is None else f"{r:.2f}" for r in found)])
    return grid(heads, rows)


def grid(heads, rows):
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)]


def machine():
    """The processor's name, how many, and the GPU where there is one."""
    text = Path("/proc/cpuinfo").read_text(errors="replace") if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    card = "" if gpu() == ("unknown",) else f", {gpu()[0]}"
    return f"{found.group(1).strip() if found else platform.machine()}, {os.cpu_count()} processors{card}"


def section(lines, command, loads, versions):
    """The tables under the machine's name, with what one must know to read them."""
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    return [f"### {machine()}", "", f"`{command}`, {today}, load {loads[0]:.1f} before and {loads[1]:.1f} after;",
            ", ".join(versions) + ".", "", *lines, ""]  # fmt: skip


def put_into(path, lines):
    """The section in a document: instead of the one with its heading, or at the end."""
    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    old = re.compile(rf"^{re.escape(lines[0])}\n.*?(?=^##|\Z)", re.MULTILINE | re.DOTALL)
    new = "\n".join(lines) + "\n"
    text = old.sub(lambda _: new, text, count=1) if old.search(text) else f"{text}\n{new}"
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
