"""Stand-ins for the edges, and media made on the spot."""

import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from bystander.errors import OutputError
from bystander.types import CoveredFrame, Detections, Frame, SourceInfo


def noise_frame(width=64, height=48, index=0, time_s=None, rotation_deg=0):
    """A frame of a still camera: every pixel is told from its neighbours, and the top row tells the frame's index."""
    rng = np.random.default_rng(0)
    half = (-(-height // 2), -(-width // 2))
    y = rng.integers(0, 256, (height, width), dtype=np.uint8)
    u, v = (rng.integers(0, 256, half, dtype=np.uint8) for _ in range(2))
    y[0] = index % 256
    return Frame(index, index, Fraction(1, 25), index / 25 if time_s is None else time_s, y, u, v, rotation_deg)


def faces(*xyxy, score=0.9, evidence=0.0):
    """Detections of these boxes."""
    n = len(xyxy)
    boxes = np.array(xyxy, np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(n, score, np.float32), np.full(n, evidence, np.float32))


class FakeReader:
    def __init__(self, frames, fail_at=None):
        self.frames, self.fail_at, self.closed, self.damage = frames, fail_at, False, []
        first = frames[0]
        self.info = SourceInfo("fake", first.width, first.height, 0, 25.0, len(frames) / 25, len(frames))

    def __iter__(self):
        for frame in self.frames:
            if frame.index == self.fail_at:
                raise OSError("the reader broke")
            yield frame

    def close(self):
        self.closed = True


class FakeWriter:
    """Keeps copies of what leaves the program."""

    def __init__(self, fail_at=None):
        self.fail_at, self.pictures, self.whole = fail_at, [], []
        self.finished = self.aborted = False

    def write(self, covered):
        assert isinstance(covered, CoveredFrame)
        if len(self.pictures) == self.fail_at:
            raise OSError("the writer broke")
        self.pictures.append(covered.frame.y.copy())
        self.whole.append(covered.whole)

    def finish(self):
        self.finished = True

    def abort(self):
        self.aborted = not self.finished


def picture(index, width, height):
    """(h, w, 3) RGB: a gradient that moves, so that frames differ."""
    x = np.arange(width)[None, :] * 3 + index * 5
    y = np.arange(height)[:, None] * 2
    return np.stack([(x + y) % 256, (x - y) % 256, (x * 0 + y + index) % 256], 2).astype(np.uint8)


def make_clip(path: Path, **how):
    """Write a clip: width, height, frames, pts (ticks of 1/1000 s), sound, rotation, pix_fmt, metadata, chapters."""
    width, height, frames = how.get("width", 64), how.get("height", 48), how.get("frames", 12)
    pts = how.get("pts") or [i * 40 for i in range(frames)]
    with av.open(str(path), "w") as out:
        out.metadata.update(how.get("metadata", {}))
        video = out.add_stream(how.get("codec", "libx264"), rate=25)
        video.width, video.height, video.pix_fmt = width, height, how.get("pix_fmt", "yuv420p")
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.color_primaries = video.codec_context.color_trc = video.codec_context.colorspace = 1
        if how.get("rotation"):
            video.set_display_rotation(how["rotation"])
        sound = out.add_stream("aac", rate=48_000, layout="mono") if how.get("sound") else None
        if how.get("chapters"):
            out.set_chapters(how["chapters"])
        for i, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(i, width, height), format="rgb24").reformat(format=video.pix_fmt)
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(video.encode(frame))
            if sound:
                t = (np.arange(1920) + i * 1920) / 48_000
                tone = av.AudioFrame.from_ndarray(np.sin(2765 * t).astype(np.float32)[None], "fltp", "mono")
                tone.sample_rate, tone.pts, tone.time_base = 48_000, i * 1920, Fraction(1, 48_000)
                out.mux(sound.encode(tone))
        for stream in (video, *([sound] if sound else [])):
            out.mux(stream.encode(None))
    return path


def packets(path, kind):
    """(pts in s, bytes) of each packet of the first stream of that kind."""
    with av.open(str(path)) as c:
        stream = next(s for s in c.streams if s.type == kind)
        return sorted((float(p.pts * p.time_base), bytes(p)) for p in c.demux(stream) if p.size)


class FakeLive:
    """A live source: yields its items, waiting ``step_s`` before each frame; an exception in the list is raised.

    ``ready(n)``: whether the n-th frame may come, asked for a second at most. A busy machine then drops none.
    """

    def __init__(self, items, step_s=0.004, endless=False, ready=lambda _n: True):
        self.items, self.step_s, self.endless, self.closed = items, step_s, endless, threading.Event()
        self.ready = ready
        first = next((i for i in items if isinstance(i, Frame)), noise_frame())
        self.info = SourceInfo("fake", first.width, first.height, 0, 25.0, 0, 0)

    def __iter__(self):
        n = 0
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Frame):
                if self.closed.wait(self.step_s) or self.wait_until_ready(n):
                    return
                n += 1
            yield item

    def wait_until_ready(self, n):
        """True when the source was closed meanwhile."""
        end = time.monotonic() + 1
        while not self.ready(n) and time.monotonic() < end:
            if self.closed.wait(0.002):
                return True
        return False

    def close(self):
        self.closed.set()


class FakeSink:
    """Keeps copies of what leaves. ``faults``: numbers of the pictures at which OutputError is raised, once each."""

    def __init__(self, faults=()):
        self.faults, self.pictures, self.whole, self.times, self.sounds = set(faults), [], [], [], []
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        return self

    def picture(self, covered):
        assert isinstance(covered, CoveredFrame)
        if len(self.pictures) in self.faults:
            self.faults.remove(len(self.pictures))
            raise OutputError("fake: the other side is gone")
        self.pictures.append(covered.frame.y.copy())
        self.whole.append(covered.whole)
        self.times.append(covered.frame.time_s)

    def sound(self, sound):
        self.sounds.append((len(self.pictures), sound))

    def close(self):
        self.closed += 1
