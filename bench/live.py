"""Speed and delay of ``bystander live``: ``python bench/live.py CLIP [--seconds 60] [--lookahead 0] [--one-core]``.

Three processes on this machine: a camera (the clip at 1280x720 and 30 fps in real time, H.264 over UDP or RTMP, with a
clock burnt into the picture and a beep on every second), ``bystander live``, and a viewer that decodes what comes out
over UDP and reads the burnt clock. First the camera straight to the viewer, then with bystander in between: the
difference is what it adds. ``--one-core`` runs bystander under ``taskset`` on one core, camera and viewer on the others
(``taskset -c 0 python bench/live.py ...`` has all three on one). ``--soak 30`` runs for 30 minutes and also tells how
memory grows and how sound and picture drift apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, FPS, RATE = 1280, 720, 30, 48_000
CELL, BITS, CHECK = 16, 32, 8  # px a side; bits of the clock in ms; bits of its checksum
KEPT_FRAMES = 150  # of the clip, played to and fro
BEEP_S = 0.05
SILENT = 3  # frames: FLV refuses packets older than the first, and the sound's first one lies before its first sample


def burn(y, ms):
    """Write the clock into the top left corner of a luma plane."""
    word = (ms << CHECK) | checksum(ms)
    for i in range(BITS + CHECK):
        y[:CELL, i * CELL : (i + 1) * CELL] = 235 if word >> i & 1 else 16


def read(y):
    """The burnt clock, ms, or None when it is not legible."""
    word = sum(int(y[4 : CELL - 4, i * CELL + 4 : (i + 1) * CELL - 4].mean() > 128) << i for i in range(BITS + CHECK))
    ms, check = word >> CHECK, word & (1 << CHECK) - 1
    return ms if ms and check == checksum(ms) else None


def checksum(ms):
    return sum(ms >> 8 * k & 255 for k in range(4)) * 37 + 11 & 255


def now_ms():
    return int(time.monotonic() * 1000) & (1 << BITS) - 1


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pictures_of(clip):
    """The clip's first frames at 1280x720, (720 * 3 / 2, 1280) planes."""
    with av.open(str(clip)) as c:
        frames = (f.reformat(WIDTH, HEIGHT, "yuv420p").to_ndarray() for f in c.decode(video=0))
        return [f for f, _ in zip(frames, range(KEPT_FRAMES), strict=False)]


def camera(clip, url, seconds):
    """Send the clip in real time; a frame's clock is the moment at which it would have been taken."""
    how = "flv" if url.startswith("rtmp") else "mpegts"
    kept = pictures_of(clip)
    order = kept + kept[-2:0:-1]
    options = {"flush_packets": "1", "max_interleave_delta": "1"}
    with av.open(url, "w", format=how, container_options=options) as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency", "g": "30"})
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", 6_000_000
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        connect(out)
        begin = time.monotonic()
        for i in range(seconds * FPS):
            time.sleep(max(0, begin + i / FPS - time.monotonic()))
            picture = order[i % len(order)].copy()
            burn(picture[:HEIGHT], now_ms())
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            out.mux(video.encode(frame))
            if i >= SILENT:
                out.mux(sound.encode(beep(begin, i)))


def connect(out):
    """Until the other side listens."""
    end = time.monotonic() + 30
    while True:
        try:
            return out.start_encoding()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def beep(begin, i):
    """A frame's worth of sound: a tone at the start of every whole second of the clock."""
    n = RATE // FPS
    at = begin + (i * n + np.arange(n)) / RATE
    wave = np.where(at % 1 < BEEP_S, np.sin(at * 2000 * np.pi) * 0.5, 0).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, i * n, Fraction(1, RATE)
    return frame


def viewer(port, result, seconds):
    """Decode what comes; put (moments of pictures, of clocks, clocks, ms, sound's lead in s) into ``result``."""
    shown, moments, clocks, stamps, beeps, loud_s = [], [], [], [], [], -1.0
    options = {"localaddr": "127.0.0.1", "timeout": "20000000", "probesize": "500000", "fifo_size": "100000"}
    end = time.monotonic() + seconds + 20
    with contextlib.suppress(av.FFmpegError, OSError), av.open(
        f"udp://127.0.0.1:{port}", format="mpegts", container_options=options, timeout=(30, 3)
    ) as c:  # fmt: skip
        c.streams.video[0].thread_type = "SLICE"
        for packet in c.demux():
            for item in packet.decode():
                if isinstance(item, av.AudioFrame):
                    level = np.abs(item.to_ndarray()).max(axis=0)
                    for at in item.pts * item.time_base + np.flatnonzero(level > 0.15) / RATE:
                        if at - loud_s > 0.5:
                            beeps.append(float(at))
                        loud_s = at
                    continue
                shown.append(now_ms())
                ms = read(item.to_ndarray()[:CELL])
                if ms is not None and (not clocks or ms != clocks[-1]):
                    moments.append(now_ms()), clocks.append(ms)
                    stamps.append(float(item.pts * item.time_base))
            if time.monotonic() > end:
                break
    result.put((shown, moments, clocks, leads(clocks, stamps, beeps)))


def leads(clocks, stamps, beeps):
    """How much later than the picture of its time each beep sounds, s."""
    if len(clocks) < 2:
        return []
    found = []
    for at in beeps:
        if not stamps[0] <= at <= stamps[-1]:
            continue  # no picture that could be read was shown with it
        clock_s = float(np.interp(at, stamps, clocks)) / 1000  # the clock in the picture that is shown with the beep
        found.append(float((clock_s + 0.5) % 1 - 0.5))
    return found


def measure(a, *, through):
    """One run; ``through``: bystander is in between. Returns its figures."""
    first, last = free_port(), free_port()
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    look = context.Process(target=viewer, args=(last if through else first, result, a.seconds))
    look.start()
    memory, statuses, program = [], [], None
    if through:
        source = f"rtmp://127.0.0.1:{first}/live/cam?listen" if a.camera == "rtmp" else f"udp://:{first}"
        command = [sys.executable, "-m", "bystander", "live", source, f"udp://127.0.0.1:{last}", "--json",
                   "--lookahead", str(a.lookahead), "--wait", "--imgsz", str(a.imgsz)]  # fmt: skip
        if a.one_core:
            command = ["taskset", "-c", str(a.one_core[0]), *command]
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        threading.Thread(target=follow, args=(program, statuses, memory), daemon=True).start()
        time.sleep(5)
    rtmp = through and a.camera == "rtmp"
    url = f"rtmp://127.0.0.1:{first}/live/cam" if rtmp else f"udp://127.0.0.1:{first}?pkt_size=1316"
    take = context.Process(target=camera, args=(a.clip, url, a.seconds))
    take.start()
    take.join()
    cpu = None
    if program:
        ticks = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") / a.seconds
        program.terminate()
        program.wait()
    shown, moments, clocks, sound = result.get(timeout=60)
    look.join()
    return {
        **figures(shown, moments, clocks, a.warm_up),
        "cpu": cpu,
        "lead": sound,
        "memory": memory,
        "status": statuses[-1:],
    }


def follow(program, statuses, memory):
    """Keep the newest status line and the resident memory at each."""
    for line in program.stderr:
        with contextlib.suppress(ValueError, OSError):
            event = json.loads(line)
            if event["event"] != "status":
                continue
            statuses.append(event)
            pages = int(Path(f"/proc/{program.pid}/statm").read_text().split()[1])
            memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def figures(shown, moments, clocks, warm_up):
    """Pictures per second and delay, ms, after the warm-up. A clock under a cover is not legible, and is left out."""
    late = [m - c for m, c in zip(moments, clocks, strict=True) if c - clocks[0] >= warm_up * 1000]
    if not late:
        sys.exit("the viewer could not read the clock")
    # in the viewer's own time: the first pictures come in a heap, the last ones when it gave up waiting
    begin, end = moments[0] + warm_up * 1000, moments[0] + clocks[-1] - clocks[0]
    seen, span = sum(begin <= t <= end for t in shown), (end - begin) / 1000
    return {"fps": seen / span, "missing": round(span * FPS) - seen, "legible": len(late),
            "delay": [float(np.percentile(late, p)) for p in (50, 95, 99)]}  # fmt: skip


def tell_memory(mebibytes, warm_up):
    """``mebibytes``: resident memory, once a second."""
    tenth = max(1, len(mebibytes) // 10)
    tenths = [statistics.median(mebibytes[i : i + tenth]) for i in range(0, len(mebibytes), tenth)]
    print("memory, MiB, by tenth of the run: " + " ".join(f"{v:.0f}" for v in tenths))
    half = mebibytes[max(warm_up, len(mebibytes) // 2) :]
    if len(half) > 1:
        slope = statistics.linear_regression(range(len(half)), half).slope
        print(f"memory grows by {slope * 3600:.1f} MiB an hour in the second half")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("clip", type=Path)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--warm-up", type=int, default=10)
    p.add_argument("--lookahead", type=float, default=0, help="ms")
    p.add_argument("--imgsz", type=int, default=640)
    p.add_argument("--camera", choices=("udp", "rtmp"), default="udp", help="how it sends to bystander")
    p.add_argument("--one-core", action="store_true", help="bystander on one core, camera and viewer on the others")
    p.add_argument("--soak", type=float, metavar="MINUTES", help="also tell growth of memory and drift of sound")
    a = p.parse_args()
    cv2.setNumThreads(1)
    cores = sorted(os.sched_getaffinity(0))
    print(f"load average before: {os.getloadavg()[0]:.1f}; cores: {len(cores)}")
    a.one_core = cores[:1] if a.one_core else []
    os.sched_setaffinity(0, set(cores) - set(a.one_core) or set(cores))
    if a.soak:
        a.seconds = max(2 * a.warm_up, round(a.soak * 60))
    short = argparse.Namespace(**{**vars(a), "seconds": min(a.seconds, 20), "warm_up": 3})
    plain, ours = measure(short, through=False), measure(a, through=True)
    for name, r in (("camera to viewer", plain), ("with bystander", ours)):
        p50, p95, p99 = r["delay"]
        print(f"{name:18s} {r['fps']:5.1f} fps, {r['missing']} missing, {r['legible']} clocks legible, "
              f"delay p50 {p50:.0f} p95 {p95:.0f} p99 {p99:.0f} ms")  # fmt: skip
    base = plain["delay"][0]
    print("added by bystander  p50 {:.0f} p95 {:.0f} p99 {:.0f} ms".format(*(d - base for d in ours["delay"])))
    print(f"cpu {ours['cpu']:.2f} cores; last status: {json.dumps(ours['status'])}")
    lead = ours["lead"][a.warm_up :]
    if lead:
        parts = (("median", lead), ("first ten", lead[:10]), ("last ten", lead[-10:]))
        told = {k: statistics.median(v) * 1000 for k, v in parts}
        print("sound after picture, ms: " + ", ".join(f"{k} {v:.0f}" for k, v in told.items())
              + f"; drift {told['last ten'] - told['first ten']:.0f}")  # fmt: skip
    if a.soak and ours["memory"]:
        tell_memory(ours["memory"], a.warm_up)


if __name__ == "__main__":
    main()
