"""Speed of ``bystander file`` beside deface and the ceiling: ``python bench/file_speed.py CLIP [--deface PROGRAM]``.

The ceiling decodes and encodes the same film with the writer's settings and does nothing else. Runs are interleaved,
so that a busy machine slows all of them; quote the ratios. ``deface`` wants a virtual environment of its own, with
opencv-python-headless below 5.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

CEILING = """
import sys, av
from bystander.media.reader import open_reader
from bystander.media.writer import FileWriter, WriterSettings
from bystander.stages.cover import CoverSettings, cover
from pathlib import Path
reader = open_reader(sys.argv[1])
writer = FileWriter(reader, Path(sys.argv[2]), WriterSettings(overwrite=True))
for frame in reader:
    writer.write(cover(frame, (), CoverSettings()))
writer.finish()
"""


def timed(command):
    """(seconds, peak resident MiB) of a child process."""
    begin = time.monotonic()
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command}: exit code {child.returncode}")
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("clip", type=Path)
    p.add_argument("--deface", help="path of the deface program")
    p.add_argument("--runs", type=int, default=3)
    a = p.parse_args()
    with av.open(str(a.clip)) as c:
        frames = sum(1 for packet in c.demux(video=0) if packet.size)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        ours = [sys.executable, "-m", "bystander", "file", a.clip, out, "--overwrite", "--quiet"]
        commands = {"bystander file": ours, "ceiling": [sys.executable, "-c", CEILING, a.clip, out]}
        if a.deface:
            commands["deface"] = [a.deface, a.clip, "-o", out]
        seconds, peak = {k: [] for k in commands}, {}
        for _ in range(a.runs):
            for name, command in commands.items():
                s, peak[name] = timed(command)
                seconds[name].append(s)
    fps = {k: frames / statistics.median(v) for k, v in seconds.items()}
    for name, value in fps.items():
        ratio = fps["bystander file"] / value
        print(f"{name:15s} {value:7.1f} fps  {peak[name]:6.0f} MiB peak  bystander is {ratio:.2f} times this")


if __name__ == "__main__":
    main()
