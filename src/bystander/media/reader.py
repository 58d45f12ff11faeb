"""Files in, ``Frame``s out: anything FFmpeg reads, as writable 8-bit 4:2:0 planes with their times.

Damage does not end a run: what decodes is delivered, what was lost is told in ``damage``. Attached pictures are never
taken for the video. Nothing is written here.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from bystander.errors import InputError
from bystander.types import U8, Frame, SourceInfo

PLANAR = ("yuv420p", "yuvj420p")
FULL_RANGE = 2  # AVCOL_RANGE_JPEG


class FileReader:
    """An open video file. ``info`` is known before the first frame, ``damage`` after the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
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
        origin: float | None = None
        last_pts: int | None = None
        step = max(1, round(1 / (self.info.fps or 25) / self.time_base))
        for index, native in enumerate(self._frames()):
            pts = native.pts
            if pts is None or (last_pts is not None and pts <= last_pts):
                pts = 0 if last_pts is None else last_pts + step
            last_pts = pts
            time_s = float(pts * self.time_base)
            origin = time_s if origin is None else origin
            yield self._frame(native, index, pts, time_s - origin)

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
        lost: Counter[str] = Counter()
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                break
            except (av.FFmpegError, OSError) as e:
                lost[f"reading stopped early ({reason(e)})"] += 1
                break
            if packet.is_corrupt:
                lost["damaged packet"] += 1
            try:
                yield from packet.decode()
            except av.FFmpegError as e:
                if not isinstance(e, av.EOFError):
                    lost[f"packet that does not decode ({reason(e)})"] += 1
        self.damage += [f"{n} x {what}" for what, n in lost.items()]

    def _frame(self, native: av.VideoFrame, index: int, pts: int, time_s: float) -> Frame:
        picture = native
        if native.format.name not in PLANAR or (native.width, native.height) != (self.info.width, self.info.height):
            if (native.width, native.height) != (self.info.width, self.info.height):
                self._note(
                    f"the picture changes size at {time_s:.2f} s; scaled to {self.info.width}x{self.info.height}"
                )
            picture = native.reformat(self.info.width, self.info.height, "yuv420p", **ranges(native))
        # the decoder still refers to this memory: painting it in place would damage later frames
        picture.make_writable()
        y, u, v = (plane_view(p) for p in picture.planes[:3])
        return Frame(
            index, pts, self.time_base, time_s, y, u, v, self.info.rotation_deg, picture,
            native.color_range == FULL_RANGE or native.format.name == "yuvj420p",
        )  # fmt: skip

    def _note(self, line: str) -> None:
        if line.split(" at ", maxsplit=1)[0] not in " ".join(self.damage):
            self.damage.append(line)

    def _describe(self) -> SourceInfo:
        s, first = self.stream, self.first
        rate = s.average_rate or s.guessed_rate or 0
        duration = float(s.duration * self.time_base) if s.duration else (self.container.duration or 0) / av.time_base
        notes = []
        if first.format.components[0].bits > 8:
            notes.append(f"{first.format.components[0].bits}-bit picture becomes 8-bit; its colour tags are kept")
        if first.format.name not in PLANAR and first.format.components[0].bits <= 8:
            notes.append(f"{first.format.name} picture becomes yuv420p")
        return SourceInfo(
            name=str(self.path), width=first.width, height=first.height,
            # FFmpeg's angle is counter-clockwise: what was turned by it has to be turned back to look upright
            rotation_deg=-round(first.rotation) % 360 if round(first.rotation) % 90 == 0 else 0,
            fps=float(rate), duration_s=duration, frames=s.frames or round(duration * float(rate)), notes=tuple(notes),
        )  # fmt: skip


def open_reader(path: str | Path) -> FileReader:
    """Open a video for reading. InputError with what is wrong and what to do."""
    return FileReader(Path(path))


def open_container(path: Path) -> Any:
    """FFmpeg's view of the file. InputError when it cannot be opened."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a video")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes)")
    try:
        return av.open(str(path), metadata_errors="replace")
    except PermissionError as e:
        raise InputError(f"{path}: no permission to read it") from e
    except (av.FFmpegError, OSError, ValueError) as e:
        raise InputError(f"{path}: is not a video that FFmpeg can read ({reason(e)})") from e


def video_stream(container: Any, path: Path) -> Any:
    """The best real video stream, set up for threaded decoding."""
    real = [s for s in container.streams.video if not s.disposition & attached_picture()]
    if not real:
        kind = "audio only" if container.streams.audio else "no picture in it"
        raise InputError(f"{path}: has no video stream ({kind})")
    best = max(real, key=lambda s: (s.width or 0) * (s.height or 0))
    if best.codec_context is None:
        raise InputError(f"{path}: its video codec is unknown to this FFmpeg")
    best.thread_type = "AUTO"
    return best


def attached_picture() -> Any:
    from av.stream import Disposition

    return Disposition.attached_pic | Disposition.timed_thumbnails


def plane_view(plane: Any) -> U8:
    """(h, w) view of a plane without its padding."""
    rows = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def ranges(frame: av.VideoFrame) -> dict[str, Any]:
    """Arguments that keep the value range when FFmpeg converts a frame."""
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    value = FULL_RANGE if full else 1
    return {} if frame.format.is_rgb else {"src_color_range": value, "dst_color_range": value}


def reason(e: BaseException) -> str:
    """FFmpeg's short text for an error."""
    if isinstance(e, OSError) and e.errno:
        return errno.errorcode.get(e.errno, "") + " " + (e.strerror or "") if e.errno > 0 else (e.strerror or "error")
    return str(e)
