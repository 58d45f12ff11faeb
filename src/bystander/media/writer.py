"""``CoveredFrame``s in, a video file out, with the source's sound, subtitles, chapters and look.

Picture: encoded anew with the source's times, turn, shape and colour tags. Sound and subtitles: copied packet by
packet. Left out: everything that may show or locate people behind the cover's back, that is location and other
metadata, cover pictures, thumbnails, attachments, data streams. Written under a temporary name and moved into place
once it was verified; an interrupted run leaves nothing.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from bystander.errors import OutputError, SettingsError
from bystander.media.reader import PLANAR, FileReader, colour_tags, open_container, plane_view, reason
from bystander.types import CoveredFrame, Frame

X264 = ("libx264", {"preset": "veryfast"})
VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "b:v": "0"})
CONTAINERS = {".mp4": X264, ".m4v": X264, ".mov": X264, ".mkv": X264, ".webm": VP9}
# what to advise where a kind of file cannot hold the sound or the subtitles, by FFmpeg's names
FORMATS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov"}
# Matroska would move everything, pictures too, by the sound's lead-in before time 0
MATROSKA = {"avoid_negative_ts": "disabled"}
MUXER = {".mkv": MATROSKA, ".webm": MATROSKA}
NAME_BYTES = 220  # file systems allow 255; the unfinished file's name is longer than the finished one's
LEAD_IN_S = 0.1  # a decoder of sound needs the packet or two before its first sample; Matroska has no edit list
STAMP_TOLERANCE_S = Fraction(2, 1000)  # Matroska stores whole milliseconds
TRACK_KEYS = ("language", "title", "handler_name")  # what a track is, e.g. "Commentary"
# what --keep-metadata keeps: nothing that tells a place, no comments in which one may be written
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
        self.span: list[Fraction] = []  # times of the first and the last frame, s
        self.notes = tuple(notes(source, path))
        self.copied: dict[int, int] = {}  # output stream index -> packets
        self.container: Any = None
        self.sidecar = open_container(source.path)  # a second look at the source, for what is copied
        try:
            self.container = av.open(f"file:{self.part}", "w", options=MUXER.get(path.suffix.lower(), {}))
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
        self.video.width, self.video.height = stored_size(source, self.path)
        self.video.pix_fmt = PLANAR
        context = self.video.codec_context
        context.time_base = source.time_base
        context.thread_type = "FRAME"
        for tag, value in colour_tags(source.first).items():
            setattr(context, tag, value)
        if source.stream.sample_aspect_ratio:
            context.sample_aspect_ratio = source.stream.sample_aspect_ratio
        if source.matrix:
            self.video.set_display_matrix(source.matrix)
        self.video.metadata.update(kept(source.stream.metadata, TRACK_KEYS))
        self.streams: dict[int, Any] = {}  # source stream index -> output stream
        for s in (*self.sidecar.streams.audio, *self.sidecar.streams.subtitles):
            out = self._copy_of(s)
            out.metadata.clear()
            out.metadata.update(kept(s.metadata, TRACK_KEYS))
            out.disposition = s.disposition
            self.streams[s.index] = out
            self.copied[out.index] = 0
        self.packets = self._copied_packets()
        self.waiting: Any = None
        chapters = [{**c, "metadata": kept(c["metadata"], ("title",))} for c in self.sidecar.chapters()]
        if chapters:
            self.container.set_chapters(chapters)
        if self.settings.keep_metadata:
            self.container.metadata.update(kept(self.sidecar.metadata, SAFE_KEYS))

    def _copy_of(self, stream: Any) -> Any:
        try:
            return self.container.add_stream_from_template(stream)
        except ValueError as e:
            others = [suffix for suffix, name in FORMATS.items() if holds(name, stream.name)]
            hint = f"choose {' or '.join(others)}" if others else "no kind of file written here can; convert it first"
            what = f"{self.path.suffix.lower()} cannot hold {stream.name} {stream.type}"
            raise OutputError(f"{self.path}: {what}; {hint}") from e

    def _copied_packets(self) -> Iterator[Any]:
        """Packets of sound and subtitles in file order; reading stops where the source is damaged."""
        if not self.streams:
            return
        wanted = [self.sidecar.streams[i] for i in self.streams]
        try:
            for packet in self.sidecar.demux(wanted):
                if packet.size == 0 and packet.dts is None:
                    continue  # it only marks the end
                if self.path.suffix.lower() in MUXER and trimmed_away(packet):
                    continue
                yield packet
        except (av.FFmpegError, OSError):
            return  # the reader has met the same damage and tells it

    def write(self, covered: CoveredFrame) -> None:
        """Encode one frame. TypeError for anything but a ``CoveredFrame``; OutputError when the disk says no."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be written, not {type(covered).__name__}")
        frame = covered.frame
        size = (self.video.width, self.video.height)
        picture = frame.native if (frame.width, frame.height) == size else padded(frame, *size)
        picture.pts, picture.time_base = frame.pts, frame.time_base
        picture.pict_type = 0  # let the encoder choose key frames
        try:
            self._mux(self.video.encode(picture))
            self._copy_until(float(frame.pts * frame.time_base))
        except (av.FFmpegError, OSError) as e:
            raise self._fault(e) from e
        self.frames += 1
        self.span = [*self.span[:1], frame.pts * frame.time_base]

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
            if stamp is not None and float(stamp * packet.time_base) > time_s:
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
            verify(self.part, self.frames, self.copied, self.span)
            if self.path.exists() and not self.settings.overwrite:
                raise OutputError(f"{self.path}: came into being meanwhile; give --overwrite to replace it")
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
        hint = "; choose .mkv, which holds nearly every sound and subtitle" if self.copied and not self.frames else ""
        return OutputError(f"{self.path}: cannot be written ({reason(e)}){hint}")


def check_target(source: Path, path: Path, overwrite: bool) -> None:
    """OutputError when writing ``path`` would fail or lose something."""
    if len(os.fsencode(path.name)) > NAME_BYTES:
        raise OutputError(f"{path}: the name is too long; choose one of at most {NAME_BYTES} bytes")
    if not os.path.isdir(path.parent):  # noqa: PTH112  Path.is_dir raises where a folder above may not be read
        raise OutputError(f"{path.parent}: no such folder; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path.parent}: the folder is not writable; choose another one")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    if path.exists():
        if source.exists() and path.samefile(source):
            raise OutputError(f"{path}: is the source itself; give the output another name")
        if not overwrite:
            raise OutputError(f"{path}: exists; give --overwrite to replace it")


def holds(format_name: str, codec: str) -> bool:
    """Whether sound or subtitles of this codec fit into files of FFmpeg's format."""
    with av.open(io.BytesIO(), "w", format=format_name) as trial:
        try:
            trial.add_mux_stream(codec)
        except ValueError:
            return False
    return True


def trimmed_away(packet: Any) -> bool:
    """Sound that the source's edit list hides, which would be heard where there are no edit lists."""
    return bool(packet.is_discard) and packet.pts is not None and packet.pts * packet.time_base < -LEAD_IN_S


def kept(metadata: dict[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    """The entries with these keys, upper or lower case."""
    return {k: v for k, v in metadata.items() if k.lower() in keys}


def stored_size(source: FileReader, path: Path) -> tuple[int, int]:
    """Width and height of the output, px: the source's own, rounded up to even for H.264's 4:2:0."""
    w, h = source.info.width, source.info.height
    return (w, h) if CONTAINERS[path.suffix.lower()] is VP9 else (w + w % 2, h + h % 2)


def notes(source: FileReader, path: Path) -> Iterator[str]:
    """One line for each thing that the output cannot keep."""
    size, w, h = stored_size(source, path), source.info.width, source.info.height
    if size != (w, h):
        yield f"H.264 knows only even sizes: {w}x{h} becomes {size[0]}x{size[1]}, the last column or row repeated"


def padded(frame: Frame, width: int, height: int) -> av.VideoFrame:
    """A copy of that size, its last column and row repeated."""
    out = av.VideoFrame(width, height, PLANAR)
    for plane, values in zip(out.planes, (frame.y, frame.u, frame.v), strict=True):
        view = plane_view(plane)
        view[...] = np.pad(values, [(0, view.shape[0] - values.shape[0]), (0, view.shape[1] - values.shape[1])], "edge")
    return out


def verify(path: Path, frames: int, copied: dict[int, int], span: list[Fraction]) -> None:
    """Read the finished file's packets. OutputError when their number or times are not those that were written."""
    seen = dict.fromkeys(copied, 0)
    stamps: list[Fraction] = []
    pictures = 0
    with av.open(f"file:{path}") as container:
        for packet in container.demux():
            if packet.size == 0:
                continue
            if packet.stream.type == "video" and packet.pts is not None:
                pictures += 1
                at = packet.pts * packet.time_base
                stamps = [min(at, *stamps), max(at, *stamps)] if stamps else [at, at]
            elif packet.stream.index in seen:
                seen[packet.stream.index] += 1
    if pictures != frames or not frames:
        raise OutputError(f"{path.name}: verification failed ({pictures} of {frames} frames); nothing was written")
    if seen != copied:
        raise OutputError(f"{path.name}: verification failed (sound or subtitles incomplete); nothing was written")
    if abs((stamps[-1] - stamps[0]) - (span[-1] - span[0])) > STAMP_TOLERANCE_S:
        raise OutputError(f"{path.name}: verification failed (the length changed); nothing was written")
