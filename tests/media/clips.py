"""Short clips made on the spot: moving texture, so that every frame differs and P frames lean on earlier ones."""

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

RATE = 25


@dataclass(frozen=True)
class Clip:
    width: int = 96
    height: int = 64
    pts: tuple = tuple(range(24))  # in units of ``tick``
    tick: Fraction = Fraction(1, RATE)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rotation: tuple | None = None  # arguments of set_display_rotation
    tags: dict = field(default_factory=dict)  # attributes of the codec context
    options: dict = field(default_factory=dict)
    sound: bool = False
    metadata: dict = field(default_factory=dict)
    chapters: tuple = ()  # (start s, end s, title)
    cover_picture: bool = False


def picture(width, height, step):
    """(h, w, 3) RGB: a texture that moves by ``step`` pixels."""
    rng = np.random.default_rng(7)
    tile = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    big = tile.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return np.ascontiguousarray(np.roll(big, step, axis=1))


def make_clip(path, clip=None, **changes):
    """Write a clip; returns its path."""
    c = clip or Clip(**changes)
    with av.open(str(path), "w") as out:
        out.metadata.update(c.metadata)
        video = out.add_stream(c.codec, rate=RATE, options=c.options)
        video.width, video.height, video.pix_fmt = c.width, c.height, c.pix_fmt
        video.codec_context.time_base = c.tick
        for name, value in c.tags.items():
            setattr(video.codec_context, name, value)
        if c.rotation:
            video.set_display_rotation(*c.rotation)
        audio = out.add_stream("aac", rate=48_000) if c.sound else None
        thumb = add_cover_picture(out) if c.cover_picture else None
        if c.chapters:
            out.set_chapters([
                {"id": i, "start": round(a * 1000), "end": round(b * 1000), "time_base": Fraction(1, 1000),
                 "metadata": {"title": t}} for i, (a, b, t) in enumerate(c.chapters)])  # fmt: skip
        if thumb:
            encode(out, thumb, [(picture(32, 32, 0), 0)], Fraction(1, RATE))
        encode(out, video, [(picture(c.width, c.height, i), pts) for i, pts in enumerate(c.pts)], c.tick)
        if audio:
            encode_tone(out, audio, float((c.pts[-1] + 1) * c.tick))
    return path


def encode(out, stream, pictures, tick):
    for rgb, pts in pictures:
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = pts, tick
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def encode_tone(out, stream, seconds):
    for i in range(int(seconds * 48_000) // 1024):
        t = (np.arange(1024) + i * 1024) / 48_000
        tone = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, i * 1024, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def add_cover_picture(out):
    from av.stream import Disposition

    stream = out.add_stream("mjpeg", rate=RATE)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    return stream


def make_sound(path, codec="aac"):
    """A file without any picture."""
    with av.open(str(path), "w") as out:
        encode_tone(out, out.add_stream(codec, rate=48_000), 0.5)
    return path


def packets(path, kind):
    """The packets of the first stream of that kind, as bytes."""
    with av.open(str(path)) as c:
        stream = next(s for s in c.streams if s.type == kind)
        return [bytes(p) for p in c.demux(stream) if p.size]


def times(path):
    """Presentation times of the decoded frames, s."""
    with av.open(str(path)) as c:
        return [f.pts * f.time_base for f in c.decode(video=0)]
