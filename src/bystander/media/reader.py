"""Files in, ``Frame``s out: anything FFmpeg reads, as writable 8-bit 4:2:0 planes with their times.

Damage does not end a run: what decodes is delivered, what was lost is told in ``damage``. Attached pictures are never
taken for the video. Nothing is written here.
"""

from __future__ import annotations

import math
import stat
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from bystander.errors import InputError
from bystander.types import U8, Frame, SourceInfo

PLANAR = "yuv420p"  # everything else is converted to it, with its value range
LIMITED_RANGE, FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
BT601, SMPTE170M = 5, 6  # one matrix: swscale's number for it, and the colour tag's
ENDS_EARLY_S = 0.5  # a picture that stops this long before the time the file states was cut off


class FileReader:
    """An open video file. ``info`` is known before the first frame, ``damage`` after the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self.lost: Counter[str] = Counter()
        self.container = open_container(path)
        try:
            self.stream = video_stream(self.container, path)
            self.first = self._first_frame()
        except BaseException:
            self.container.close()
            raise
        self.info = self._describe()

    def close(self) -> None:
        """Free the file; safe to call twice."""
        self.container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Every frame that decodes, once."""
        origin = previous = None
        for index, native in enumerate(self._frames()):
            previous = pts = self._pts(native, previous)
            origin = pts if origin is None else origin
            yield self._frame(native, index, pts, float((pts - origin) * self.time_base))
        self.damage += [f"{n} x {what}" for what, n in self.lost.items()]

    def _pts(self, native: av.VideoFrame, previous: int | None) -> int:
        """The frame's time, made up where the file has none, always later than ``previous``."""
        # AVI stores the times of decoding only, at which frames leave the decoder; FFmpeg's guess at more is wrong
        pts = native.dts if self.container.format.name == "avi" else native.pts
        if pts is None:
            return 0 if previous is None else previous + self.step
        return pts if previous is None or pts > previous else previous + 1

    @property
    def time_base(self) -> Fraction:
        return self.stream.time_base or Fraction(1, 90_000)

    def _frames(self) -> Iterator[av.VideoFrame]:
        yield self.first
        yield from self.decoded

    def _first_frame(self) -> av.VideoFrame:
        self.decoded = self._decode()
        first = next(self.decoded, None)
        if first is None:
            raise InputError(f"{self.path}: not one video frame decodes; the file is empty or damaged")
        return first

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decoded frames; damaged packets are counted and skipped, a cut-off end ends the iteration."""
        packets, end_s = 0, 0.0
        for packet in self._packets():
            packets += packet.size > 0
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            try:
                for frame in packet.decode():
                    self.lost["picture with damage"] += frame.is_corrupt
                    yield frame
            except av.EOFError:
                continue
            except av.FFmpegError as e:
                self.lost[f"packet that does not decode ({reason(e)})"] += 1
        self.lost = +self.lost  # without the zeros
        self._check_end(packets, end_s)

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except (av.FFmpegError, OSError) as e:
                self.lost[f"reading stopped early ({reason(e)})"] += 1
                return
            self.lost["damaged packet"] += packet.is_corrupt
            yield packet

    def _check_end(self, packets: int, end_s: float) -> None:
        """A file that was cut off between two packets reads without any error, but its index or header knows better.

        Asked only where these are exact: MP4's index (as cut by edit lists) and Matroska's length of the track.
        """
        indexed = len(self.stream.index_entries) if self.container.format.name.startswith("mov,") else 0
        stated_s = stated_end_s(self.stream)
        if packets < indexed:
            self.damage.append(f"the file is cut off: {indexed - packets} of {indexed} frames are missing")
        elif end_s < stated_s - ENDS_EARLY_S:
            self.damage.append(f"the file is cut off: the picture ends at {end_s:.1f} of {stated_s:.1f} s")

    def _frame(self, native: av.VideoFrame, index: int, pts: int, time_s: float) -> Frame:
        info = self.info
        same_size = (native.width, native.height) == (info.width, info.height)
        if not same_size:
            self.lost[f"picture of another size, scaled to {info.width}x{info.height}"] += 1
        picture = native
        if native.format.name != PLANAR or not same_size:
            picture = native.reformat(info.width, info.height, PLANAR, **conversion(native))
        # the decoder still refers to this memory: painting it in place would damage later frames
        picture.make_writable()
        y, u, v = (plane_view(p) for p in picture.planes[:3])
        return Frame(
            index, pts, self.time_base, time_s, y, u, v, info.rotation_deg, picture, picture.color_range == FULL_RANGE
        )

    def _describe(self) -> SourceInfo:
        s, first = self.stream, self.first
        rate = s.average_rate or s.guessed_rate or 0
        duration = float(s.duration * self.time_base) if s.duration else (self.container.duration or 0) / av.time_base
        self.step = max(1, round(1 / (rate or 25) / self.time_base))
        self.matrix = display_matrix(first)
        return SourceInfo(
            name=str(self.path), width=first.width, height=first.height, rotation_deg=clockwise(self.matrix),
            fps=float(rate), duration_s=duration, frames=s.frames or round(duration * float(rate)),
            notes=tuple(self._notes()),
        )  # fmt: skip

    def _notes(self) -> Iterator[str]:
        """What the output will not keep of the picture."""
        first, bits = self.first, self.first.format.components[0].bits
        if bits > 8:
            yield f"{bits}-bit picture becomes 8-bit; its colour tags are kept"
        elif first.format.name not in (PLANAR, "yuvj420p"):
            yield f"{first.format.name} picture becomes {PLANAR}"
        if first.interlaced_frame:
            yield "interlaced picture is stored as progressive frames"
        others = sum(real_video(s) for s in self.container.streams.video) - 1
        if others:
            yield f"{others} more video stream(s) left out; only the largest picture is covered and kept"


def open_reader(path: str | Path) -> FileReader:
    """Open a video for reading. InputError with what is wrong and what to do."""
    return FileReader(Path(path))


def open_container(path: Path) -> Any:
    """FFmpeg's view of the file. InputError when it cannot be opened."""
    try:
        status = path.stat()
    except PermissionError as e:
        raise InputError(f"{path}: no permission to read it") from e
    except OSError as e:
        raise InputError(f"{path}: no such file") from e
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a folder, not a video")
    if status.st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes)")
    try:
        # "file:" so that a colon in the name is not taken for an address
        container = av.open(f"file:{path}", metadata_errors="replace")
    except PermissionError as e:
        raise InputError(f"{path}: no permission to read it") from e
    except (av.FFmpegError, OSError, ValueError) as e:
        raise InputError(f"{path}: is not a video that FFmpeg can read ({reason(e)})") from e
    if container.format.name == "tty":
        container.close()
        raise InputError(f"{path}: is not a video but text")
    return container


def video_stream(container: Any, path: Path) -> Any:
    """The largest real video stream, set up for threaded decoding."""
    real = [s for s in container.streams.video if real_video(s)]
    if not real:
        kind = "audio only" if container.streams.audio else "no picture in it"
        raise InputError(f"{path}: has no video stream ({kind})")
    best = max(real, key=lambda s: s.width * s.height if s.codec_context else 0)
    if best.codec_context is None:
        raise InputError(f"{path}: its video codec is unknown to this FFmpeg; convert it to H.264 first")
    best.thread_type = "AUTO"
    return best


def real_video(stream: Any) -> bool:
    """False for cover pictures and thumbnails."""
    return not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)


def stated_end_s(stream: Any) -> float:
    """Where Matroska's tag says that this stream ends, s; 0 where there is none."""
    parts = stream.metadata.get("DURATION", "").split(":")  # e.g. 00:00:02.000000000
    try:
        h, m, s = (float(p) for p in parts)
    except ValueError:
        return 0.0
    return h * 3600 + m * 60 + s


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """The file's 3x3 display matrix, row by row, in FFmpeg's fixed-point numbers; empty where it has none."""
    data: Any
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return tuple(int(v) for v in np.frombuffer(data, np.int32)[:9])
    return ()


def clockwise(matrix: tuple[int, ...]) -> int:
    """The clockwise turn, degrees, that shows the picture's top on top; 0 for angles between. A mirror is no turn."""
    if not matrix:
        return 0
    down_x, down_y = matrix[3], matrix[4]  # where the picture's downward axis points on the display
    return round(math.degrees(math.atan2(-down_x, down_y)) / 90) % 4 * 90


def plane_view(plane: Any) -> U8:
    """(h, w) view of a plane without its padding."""
    rows = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def conversion(frame: av.VideoFrame) -> dict[str, Any]:
    """Arguments that keep a YUV frame's value range and matrix when FFmpeg converts it; RGB becomes BT.601."""
    if frame.format.is_rgb or frame.format.has_palette or frame.colorspace == 0:
        return {"src_color_range": FULL_RANGE, "dst_color_range": LIMITED_RANGE,
                "src_colorspace": BT601, "dst_colorspace": BT601}  # fmt: skip
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    value = FULL_RANGE if full else LIMITED_RANGE
    return {"src_color_range": value, "dst_color_range": value}


def colour_tags(frame: av.VideoFrame) -> dict[str, int]:
    """Range, matrix, primaries and transfer of the 4:2:0 picture that ``conversion`` makes of this frame."""
    to = conversion(frame)
    full = to["dst_color_range"] == FULL_RANGE
    return {
        "color_range": FULL_RANGE if full else LIMITED_RANGE if "dst_colorspace" in to else frame.color_range,
        "colorspace": SMPTE170M if "dst_colorspace" in to else frame.colorspace,
        "color_primaries": frame.color_primaries,
        "color_trc": frame.color_trc,
    }


def reason(e: BaseException) -> str:
    """The system's or FFmpeg's short text for an error."""
    return str(getattr(e, "strerror", None) or e)
