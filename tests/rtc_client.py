"""A WebRTC client for tests and benches: sends made-up pictures, keeps what comes back. Runs on a loop of its own."""

import asyncio
import json
import re
import time
from fractions import Fraction

import av
import cv2
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack

from bystander.web.live.peer import with_loopback

WIDTH, HEIGHT, FPS = 640, 360, 20
BOX = (200, 120, 320, 240)  # px, of the stand-in for a face
OTHER = (440, 120, 560, 240)


def pattern(seed=1, side=120, block=10):
    """(side, side) luma of random blocks, which any cover destroys and any codec keeps."""
    cells = np.random.default_rng(seed).choice(np.array([40, 210], np.uint8), (side // block, side // block))
    return np.kron(cells, np.ones((block, block), np.uint8))


FACES = {BOX: pattern(1), OTHER: pattern(2)}


def likeness(y, box=BOX):
    """How much a returned luma picture shows of what was sent at ``box``: 1 all, about 0 nothing."""
    scale = y.shape[1] / WIDTH
    x1, y1, x2, y2 = (round(v * scale) for v in box)
    patch = y[y1:y2, x1:x2].astype(np.float32)
    sent = cv2.resize(FACES[box], (patch.shape[1], patch.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    patch, sent = patch - patch.mean(), sent - sent.mean()
    return float((patch * sent).sum() / max(np.sqrt((patch**2).sum() * (sent**2).sum()), 1e-6))


def picture(i, width=WIDTH, height=HEIGHT):
    """(h, w, 3) RGB: two stand-ins for faces on a gradient, and a bar that moves."""
    grey = np.tile(np.linspace(60, 160, WIDTH).astype(np.uint8), (HEIGHT, 1))
    grey[-20:, (i * 8) % (WIDTH - 40) :][:, :40] = 235
    for (x1, y1, x2, y2), what in FACES.items():
        grey[y1:y2, x1:x2] = what
    return cv2.cvtColor(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)


class Camera(MediaStreamTrack):
    """Shows ``make(i)``, an RGB picture, at ``fps``. ``stopped``: nothing comes any more."""

    kind = "video"

    def __init__(self, make=picture, fps=FPS):
        super().__init__()
        self.make, self.fps, self.i, self.began, self.stopped = make, fps, 0, time.monotonic(), False

    async def recv(self):
        while True:
            await asyncio.sleep(max(0.001, self.began + self.i / self.fps - time.monotonic()))
            if self.readyState != "live":
                raise MediaStreamError
            self.i += 1
            if not self.stopped:
                break
        frame = av.VideoFrame.from_ndarray(self.make(self.i), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = round((time.monotonic() - self.began) * 90_000), Fraction(1, 90_000)
        return frame


class Microphone(AudioStreamTrack):
    """A tone of 440 Hz."""

    async def recv(self):
        piece = await super().recv()
        t = (np.arange(piece.samples) + piece.pts) / piece.sample_rate
        tone = (8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
        made = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        made.sample_rate, made.pts, made.time_base = piece.sample_rate, piece.pts, piece.time_base
        return made


class Client:
    """``pictures``: (when it came, luma, pts); ``said``: (when, message); ``heard``: loudness of pieces, 0-1.

    Everything is safe to read from the test.
    """

    def __init__(self, loop, camera=None, channel=True, keep=lambda y: y, microphone=None, listen=False, codec=""):
        self.loop, self.camera, self.keep = loop, camera, keep
        self.microphone, self.listen, self.heard = microphone, listen, []
        self.codec = codec  # of pictures: VP8 or H264; empty: whatever is agreed on
        self.pictures, self.said, self.channel, self.wants_channel = [], [], None, channel
        self.pc = None

    def offer(self):
        return self.loop.do(self._offer())

    async def _offer(self):
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if self.wants_channel:
            self.channel = self.pc.createDataChannel("bystander")
            self.channel.on("message", lambda text: self.said.append((time.monotonic(), json.loads(text))))
        if self.camera:
            self.pc.addTrack(self.camera)
        else:
            self.pc.addTransceiver("video", direction="recvonly")
        if self.microphone:
            self.pc.addTrack(self.microphone)
        elif self.listen:
            self.pc.addTransceiver("audio", direction="recvonly")
        self.pc.on("track", lambda track: asyncio.ensure_future(self._watch(track)))
        for t in self.pc.getTransceivers():
            if self.codec and t.kind == "video":
                known = RTCRtpSender.getCapabilities("video").codecs
                t.setCodecPreferences([c for c in known if c.mimeType == f"video/{self.codec}"])
            with_loopback(t.receiver.transport.transport.iceGatherer)
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def _watch(self, track):
        try:
            while True:
                frame = await track.recv()
                if track.kind == "audio":
                    self.heard.append(float(np.abs(frame.to_ndarray().astype(float)).mean() / 32768))
                    continue
                planes = frame.to_ndarray(format="yuv420p")
                self.pictures.append((time.monotonic(), self.keep(planes[: frame.height].copy()), frame.pts))
        except MediaStreamError:
            return

    def answer(self, sdp):
        self.loop.do(self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer")))

    def say(self, **message):
        self.raw(json.dumps(message))

    def raw(self, text):
        async def send():
            self.channel.send(text)

        self.loop.do(send())

    def ask(self, seconds=10.0, **message):
        """Say it; returns the answer."""
        n = len(self.answers)
        self.say(**message)
        wait(lambda: len(self.answers) > n, seconds)
        return self.answers[n]

    @property
    def answers(self):
        return [m for _, m in list(self.said) if m["kind"] in ("done", "error")]

    @property
    def news(self):
        return [m for _, m in list(self.said) if m["kind"] == "faces"]

    def close(self):
        async def close():
            if self.pc is not None:
                await self.pc.close()

        self.loop.do(close())


def wait(until, seconds=20.0, what=""):
    """Wait for something to become true; generous, as machines may be busy."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what or 'it'}"
        time.sleep(0.02)


class Browser:
    """A Flask test client with the cookie and the secret of the page."""

    def __init__(self, app, token=""):
        self.http = app.test_client()
        page = self.http.get(f"/?token={token}" if token else "/", follow_redirects=True).get_data(as_text=True)
        found = re.search(r'name="csrf-token" content="([^"]+)"', page)
        self.headers = {"X-Bystander-CSRF": found.group(1)}

    def post(self, path, value=None, **more):
        return self.http.post(path, json=value, headers=self.headers, **more)

    def get(self, path):
        return self.http.get(path)

    def delete(self, path):
        return self.http.delete(path, headers=self.headers)

    def live(self, client, **settings):
        """Open a session; returns its id."""
        answer = self.post("/api/live", {"sdp": client.offer(), "type": "offer", "settings": settings})
        assert answer.status_code == 201, answer.get_data(as_text=True)
        client.answer(answer.json["sdp"])
        return answer.json["id"]
