"""``CoveredFrame``s in, a video file out, with the source's sound, subtitles, chapters and look.

Picture: encoded anew with the source's times, turn, shape and colour tags. Sound and subtitles: copied packet by
packet. Left out: everything that may show or locate people behind the cover's back, that is location and other
metadata, cover pictures, thumbnails, attachments, data streams. Written under a temporary name and moved into place
once it was verified; an interrupted run leaves nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from bystander.errors import OutputError, SettingsError
from bystander.media.reader import FileReader, open_container, plane_view, reason
from bystander.types import CoveredFrame, Frame

X264 = ("libx264", {"preset": "veryfast"})
VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "b:v": "0"})
CONTAINERS = {".mp4": X264, ".m4v": X264, ".mov": X264, ".mkv": X264, ".webm": VP9}
# tells nothing about the place or the people; location keys are not among them
SAFE_KEYS = ("title", "artist", "album", "copyright", "date", "creation_time", "genre", "language")


@dataclass(frozen=True, slots=True)
class WriterSettings:
    crf: int = 20  # x264's quality, lower is better; VP9 gets 12 more for about the same look
    overwrite: bool = False
    keep_metadata: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 40:
            raise SettingsError(f"crf {self.crf}: must lie between 0 and 40")


class FileWriter:
    """Writes one covered copy of ``source``. Use ``write`` for each frame, then ``finish``, or ``abort``."""

    def __init__(self, source: FileReader, path: Path, settings: WriterSettings) -> None:
        check_target(source.path, path, settings.overwrite)
        if path.suffix.lower() not in CONTAINERS:
            raise OutputError(f"{path}: unknown kind of video file; choose {', '.join(CONTAINERS)}")
        self.source, self.path, self.settings = source, path, settings
        self.part = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
        self.frames = 0
        self.copied: dict[int, int] = {}  # output stream index -> packets
        self.container: Any = None
        self.sidecar = open_container(source.path)  # a second look at the source, for what is copied
        try:
            self.container = av.open(str(self.part), "w")
            self._add_streams()
            self.container.start_encoding()
        except BaseException as e:
            self.abort()
            if isinstance(e, av.FFmpegError | OSError | ValueError):
                raise self._fault(e) from e
            raise

    def _add_streams(self) -> None:
        source = self.source
        codec, options = CONTAINERS[self.path.suffix.lower()]
        crf = self.settings.crf + (12 if codec == VP9[0] else 0)
        rate = source.stream.average_rate or source.stream.guessed_rate or 25
        self.video = self.container.add_stream(codec, rate=rate, options={**options, "crf": str(crf)})
        w, h = source.info.width, source.info.height
        self.video.width, self.video.height = w + w % 2, h + h % 2  # 4:2:0 codecs know only even sizes
        first = source.first
        context = self.video.codec_context
        self.video.pix_fmt = "yuvj420p" if first.format.name == "yuvj420p" else "yuv420p"
        context.time_base = source.time_base
        context.thread_type = "FRAME"
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(context, tag, getattr(first, tag))
        if source.stream.sample_aspect_ratio:
            context.sample_aspect_ratio = source.stream.sample_aspect_ratio
        if first.rotation:
            self.video.set_display_rotation(first.rotation)
        self.streams: dict[int, Any] = {}  # source stream index -> output stream
        for s in (*self.sidecar.streams.audio, *self.sidecar.streams.subtitles):
            out = self.container.add_stream_from_template(s)
            out.metadata.clear()
            out.metadata.update({k: v for k, v in s.metadata.items() if k == "language"})
            out.disposition = s.disposition
            self.streams[s.index] = out
            self.copied[out.index] = 0
        self.packets = self._copied_packets()
        self.waiting: Any = None
        chapters = [{**c, "metadata": {k: v for k, v in c["metadata"].items() if k == "title"}}
                    for c in self.sidecar.chapters()]  # fmt: skip
        if chapters:
            self.container.set_chapters(chapters)
        if self.settings.keep_metadata:
            meta = self.sidecar.metadata
            self.container.metadata.update({k: v for k, v in meta.items() if k.lower() in SAFE_KEYS})

    def _copied_packets(self) -> Iterator[Any]:
        """Packets of sound and subtitles in file order; reading stops where the source is damaged."""
        if not self.streams:
            return
        wanted = [self.sidecar.streams[i] for i in self.streams]
        try:
            for packet in self.sidecar.demux(wanted):
                if packet.dts is not None or packet.pts is not None:
                    yield packet
        except (av.FFmpegError, OSError):
            return  # the reader has met the same damage and tells it

    def write(self, covered: CoveredFrame) -> None:
        """Encode one frame. TypeError for anything but a ``CoveredFrame``; OutputError when the disk says no."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be written, not {type(covered).__name__}")
        frame = covered.frame
        picture = even(frame) if frame.width % 2 or frame.height % 2 else frame.native
        picture.pts, picture.time_base = frame.pts, frame.time_base
        picture.pict_type = 0  # let the encoder choose key frames
        try:
            self._mux(self.video.encode(picture))
            self._copy_until(float(frame.pts * frame.time_base))
        except (av.FFmpegError, OSError) as e:
            raise self._fault(e) from e
        self.frames += 1

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self.container.mux(packet)

    def _copy_until(self, time_s: float) -> None:
        """Copy what is due before ``time_s``, so that the file is interleaved and memory stays flat."""
        while True:
            packet = self.waiting or next(self.packets, None)
            self.waiting = packet
            if packet is None:
                return
            stamp = packet.dts if packet.dts is not None else packet.pts
            if float(stamp * packet.time_base) > time_s:
                return
            packet.stream = self.streams[packet.stream.index]
            self.copied[packet.stream.index] += 1
            self.container.mux(packet)
            self.waiting = None

    def finish(self) -> None:
        """Flush, verify, move into place. OutputError, and nothing left behind, when something is amiss."""
        try:
            self._mux(self.video.encode(None))
            self._copy_until(float("inf"))
            self.container.close()
            verify(self.part, self.frames, self.copied)
            with self.part.open("rb+") as f:
                os.fsync(f.fileno())
            self.part.replace(self.path)
        except (av.FFmpegError, OSError) as e:
            self.abort()
            raise self._fault(e) from e
        except BaseException:
            self.abort()
            raise
        finally:
            self.sidecar.close()

    def abort(self) -> None:
        """Stop and leave nothing behind. Safe to call twice and after ``finish``."""
        self.sidecar.close()
        if self.container is not None:
            try:
                self.container.close()
            except (av.FFmpegError, OSError, ValueError):
                self.container = None  # a full disk lets even the trailer fail; the file goes anyway
        self.part.unlink(missing_ok=True)

    def _fault(self, e: BaseException) -> OutputError:
        if isinstance(e, OSError) and e.errno == errno.ENOSPC:
            return OutputError(f"{self.path}: the disk is full; nothing was written")
        if isinstance(e, PermissionError):
            return OutputError(f"{self.path}: no permission to write there")
        hint = "" if self.path.suffix.lower() == ".mkv" else "; if a sound or subtitle codec does not fit, choose .mkv"
        return OutputError(f"{self.path}: cannot be written ({reason(e)}){hint}")


def check_target(source: Path, path: Path, overwrite: bool) -> None:
    """OutputError when writing ``path`` would fail or lose something."""
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; create it first")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder")
    if path.exists():
        if path.samefile(source):
            raise OutputError(f"{path}: is the source itself; give the output another name")
        if not overwrite:
            raise OutputError(f"{path}: exists; give --overwrite to replace it")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent}: the folder is not writable")


def even(frame: Frame) -> av.VideoFrame:
    """A copy with its last column or row repeated, because 4:2:0 codecs know only even sizes."""
    w, h = frame.width + frame.width % 2, frame.height + frame.height % 2
    out = av.VideoFrame(w, h, "yuv420p")
    for plane, values in zip(out.planes, (frame.y, frame.u, frame.v), strict=True):
        view = plane_view(plane)
        view[...] = np.pad(values, [(0, view.shape[0] - values.shape[0]), (0, view.shape[1] - values.shape[1])], "edge")
    return out


def verify(path: Path, frames: int, copied: dict[int, int]) -> None:
    """Count the packets of the finished file. OutputError when they are not the ones that were written."""
    seen = dict.fromkeys(copied, 0)
    pictures = 0
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size == 0:
                continue
            if packet.stream.type == "video":
                pictures += 1
            elif packet.stream.index in seen:
                seen[packet.stream.index] += 1
    if pictures != frames or seen != copied:
        raise OutputError(f"{path.name}: verification failed ({pictures} of {frames} frames); nothing was written")
