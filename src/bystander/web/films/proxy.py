"""A process of its own: a film that every browser plays. ``python -m bystander.web.films.proxy IN OUT.mp4``.

H.264 with at most 1280 px and AAC sound, the source's times and turn. What goes in is the owner's own film, as
uploaded or covered; what comes out is for that owner's player alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av

from bystander.media.reader import FileReader, open_reader
from bystander.types import Frame
from bystander.web.films.tell import tell

LONG_SIDE = 1280
TOLD_EVERY = 25  # frames


def main(argv: list[str]) -> int:
    source, out = Path(argv[0]), Path(argv[1])
    part = out.with_name(f".{out.stem}.partial-0{out.suffix}")
    with closing(open_reader(source)) as reader:
        convert(reader, part)
    part.replace(out)
    return 0


def convert(reader: FileReader, out: Path) -> None:
    info = reader.info
    scale = min(1.0, LONG_SIDE / max(info.width, info.height))
    width, height = (max(2, round(v * scale / 2) * 2) for v in (info.width, info.height))
    with av.open(f"file:{out}", "w", format="mp4", options={"movflags": "faststart"}) as target:
        video: Any = target.add_stream("libx264", rate=reader.stream.average_rate or 25,
                                       options={"preset": "veryfast", "crf": "23"})  # fmt: skip
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = reader.time_base
        if reader.matrix:
            video.set_display_matrix(reader.matrix)
        if reader.stream.sample_aspect_ratio:
            video.codec_context.sample_aspect_ratio = reader.stream.sample_aspect_ratio
        sound = Sound(reader.path, target)
        for frame in reader:
            target.mux(video.encode(scaled(frame, width, height)))
            for packet in sound.until(frame.pts * float(frame.time_base)):
                target.mux(packet)
            if frame.index % TOLD_EVERY == 0:
                tell("progress", frames=frame.index + 1, total=info.frames)
        target.mux(video.encode(None))
        for packet in sound.until(float("inf")):
            target.mux(packet)


def scaled(frame: Frame, width: int, height: int) -> av.VideoFrame:
    native: Any = frame.native
    picture: av.VideoFrame = native.reformat(width, height, "yuv420p")
    picture.pts, picture.time_base = frame.pts, frame.time_base
    picture.pict_type = 0  # let the encoder choose key frames
    return picture


class Sound:
    """The source's first sound as AAC packets, in step with the picture."""

    def __init__(self, path: Path, target: Any) -> None:
        self.waiting: Any = None
        self.source = av.open(f"file:{path}")
        streams = [s for s in self.source.streams.audio if s.codec_context is not None]
        if not streams:
            self.packets: Iterator[Any] = iter(())
            return
        rate = min(streams[0].codec_context.sample_rate, 48_000) or 48_000
        out = target.add_stream("aac", rate=rate, layout="stereo")
        self.packets = self._encoded(streams[0], out, rate)

    def _encoded(self, stream: Any, out: Any, rate: int) -> Iterator[Any]:
        resampler = av.AudioResampler("fltp", "stereo", rate)
        try:
            for frame in self.source.decode(stream):
                for piece in resampler.resample(frame):
                    yield from out.encode(piece)
        except (av.FFmpegError, OSError):
            pass  # damaged sound ends early; the film itself keeps what can be kept
        for piece in resampler.resample(None):
            yield from out.encode(piece)
        yield from out.encode(None)

    def until(self, time_s: float) -> Iterator[Any]:
        """Packets that are due before ``time_s``."""
        while (packet := self.waiting or next(self.packets, None)) is not None:
            self.waiting = packet
            if packet.pts is not None and float(packet.pts * packet.time_base) > time_s:
                return
            self.waiting = None
            yield packet


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
