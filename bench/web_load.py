"""Several people live at once: real WebRTC clients against ``bystander web`` in a process of its own, on this machine.

    python bench/web_load.py --sessions 4 --seconds 30

Each client sends the demo's clip at 640x360 and 25 pictures a second and looks at every picture that comes back: when
that was sent (a number is painted at its lower edge), and whether one of its faces can be seen. The clients need the
same processors as the server. Prints one JSON object.
"""

import argparse
import asyncio
import http.cookiejar
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from bystander.demo import FPS, SECONDS, portrait, scene, true_faces
from bystander.demo import WIDTH as DEMO_WIDTH
from bystander.web.live.backlog import Backlog

WIDTH, HEIGHT, EVERY = 640, 360, 25
BITS, BIT = 12, 32  # a picture's number: so many squares along the lower edge, px each
SMALLEST = 20  # px, height of a face that is looked at
SEEN = 0.6  # correlation of a face's details with what was sent; covered ones have about 0


def clip():
    """[(luma, face boxes)] of the demo's pictures, each with its number painted in."""
    face, pictures = portrait(), []
    for i in range(FPS * SECONDS):
        big = scene(face, i / (FPS * SECONDS - 1))
        small = cv2.resize(big, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for bit in range(BITS):
            small[-BIT:, bit * BIT : (bit + 1) * BIT] = 235 if i >> bit & 1 else 20
        pictures.append((small, true_faces(i) * WIDTH / DEMO_WIDTH))
    return pictures


def encoded(pictures):
    """The clip as VP8, with a whole picture every second: encoded once, so that clients cost little."""
    codec = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt, codec.bit_rate = WIDTH, HEIGHT, "yuv420p", 1_000_000
    codec.gop_size, codec.time_base = EVERY, Fraction(1, EVERY)
    codec.options = {"deadline": "realtime", "cpu-used": "4", "lag-in-frames": "0", "auto-alt-ref": "0"}
    packets = []
    for picture, _ in pictures:
        packets += codec.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"))
    packets += codec.encode(None)
    assert len(packets) == len(pictures)
    return [bytes(p) for p in packets]


def number_of(y):
    """The number painted into a returned picture; None when it shows none (a slate)."""
    means = [y[-BIT + 8 : -8, b * BIT + 8 : (b + 1) * BIT - 8].mean() for b in range(BITS)]
    if any(70 < m < 190 for m in means):
        return None
    return sum((m > 128) << b for b, m in enumerate(means))


def details(patch):
    patch = patch.astype(np.float32)
    return patch - cv2.blur(patch, (7, 7))


def seen(sent, came, boxes):
    """How many of the faces show their details."""
    n = 0
    for x1, y1, x2, y2 in np.round(boxes).astype(int):
        if y2 - y1 < SMALLEST or y2 > HEIGHT - BIT:
            continue
        a, b = details(sent[y1:y2, x1:x2]), details(came[y1:y2, x1:x2])
        n += (a * b).sum() > SEEN * max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-6)
    return int(n)


class Clip(MediaStreamTrack):
    """The clip, over and over. ``sent``: number -> when it was sent last."""

    kind = "video"

    def __init__(self, packets):
        super().__init__()
        self.packets, self.sent, self.i, self.began = packets, {}, 0, time.monotonic()

    async def recv(self):
        self.i += 1
        await asyncio.sleep(max(0.0, self.began + self.i / EVERY - time.monotonic()))
        if self.readyState != "live":
            raise MediaStreamError
        n = (self.i - 1) % len(self.packets)
        packet = av.Packet(self.packets[n])
        packet.pts, packet.time_base = round(self.i / EVERY * 90_000), Fraction(1, 90_000)
        self.sent[n] = time.monotonic()
        return packet


class Person:
    """One browser's worth of a client."""

    def __init__(self, url, pictures, packets):
        self.url, self.pictures, self.camera = url, pictures, Clip(packets)
        self.luma = [cv2.cvtColor(p, cv2.COLOR_RGB2YUV_I420)[:HEIGHT] for p, _ in pictures]
        self.http = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        page = self.http.open(url).read().decode()
        self.secret = re.search(r'name="csrf-token" content="([^"]+)"', page).group(1)
        self.came, self.news = [], []  # (when, latency in s or None, faces seen, faces there)

    async def open(self):
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        channel = self.pc.createDataChannel("bystander")
        channel.on("message", lambda text: self.news.append(json.loads(text)))
        self.pc.addTrack(self.camera)
        self.pc.on("track", lambda track: asyncio.ensure_future(self.look(track)))
        self.backlog = Backlog(self.pc.getReceivers()[0])  # so that a slow client is not taken for a slow server
        await self.pc.setLocalDescription(await self.pc.createOffer())
        body = {"sdp": self.pc.localDescription.sdp, "type": "offer",
                "settings": {"mode": "none", "style": "pixelate", "strength": 1, "width": WIDTH}}  # fmt: skip
        answer = await asyncio.to_thread(self.post, "/api/live", body)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {
            "Content-Type": "application/json", "X-Bystander-CSRF": self.secret})  # fmt: skip
        return json.load(self.http.open(request, timeout=60))

    async def look(self, track):
        try:
            while True:
                came = (await track.recv()).to_ndarray(format="yuv420p")[:HEIGHT]
                now, n = time.monotonic(), number_of(came)
                if n is None or n not in self.camera.sent:
                    self.came.append((now, None, 0, 0))
                    continue
                boxes = self.pictures[n][1]
                self.came.append((now, now - self.camera.sent[n], seen(self.luma[n], came, boxes), len(boxes)))
        except MediaStreamError:
            return

    def result(self, since, seconds):
        rows = [r for r in self.came if r[0] >= since]
        late = sorted(r[1] for r in rows if r[1] is not None)
        newest = self.news[-1] if self.news else {}
        percentiles = [round(1000 * late[min(len(late) - 1, len(late) * p // 100)]) for p in (50, 95)] if late else []
        return {
            "fps": round(len(late) / seconds, 1), "slates_or_covered_whole": len(rows) - len(late),
            "latency_ms": percentiles,
            "faces": sum(r[3] for r in rows), "faces_seen": sum(r[2] for r in rows),
            "client_threw_away": self.backlog.thrown,
            "server": {k: newest.get(k) for k in ("fps", "fps_in", "latency_ms", "whole", "faults", "drops", "slow")},
        }  # fmt: skip


async def measure(url, a):
    pictures = clip()
    packets = encoded(pictures)
    people = [Person(url, pictures, packets) for _ in range(a.sessions)]
    for person in people:
        await person.open()
    await asyncio.sleep(a.warm)
    since = time.monotonic()
    await asyncio.sleep(a.seconds)
    result = [p.result(since, time.monotonic() - since) for p in people]
    for person in people:
        await person.pc.close()
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sessions", type=int, default=4)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--warm", type=float, default=10, help="seconds before anything is counted")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bystander", "web", "--port", "0", "--data", str(Path(folder) / "data"),
                   "--max-live", str(a.sessions)]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = re.search(r"http://\S+", server.stdout.readline()).group(0).rstrip("/")
            load = os.getloadavg()[0]
            print(json.dumps({"sessions": asyncio.run(measure(url, a)), "load_before": load, "cpus": os.cpu_count()}))
        finally:
            server.terminate()
            print(f"the server ended with {server.wait(20)}", file=sys.stderr)


if __name__ == "__main__":
    main()
