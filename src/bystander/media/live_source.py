"""Cameras and streams in, ``Frame``s and ``Sound`` out, as they arrive.

Pictures become writable 8-bit 4:2:0 planes, sound 48 kHz stereo. Whatever ends the connection is an ``InputError``
without secrets. Nothing is written here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from bystander.errors import InputError, SettingsError
from bystander.media.address import NETWORK, NO_HOST, Address, addresses
from bystander.media.reader import FULL_RANGE, PLANAR, clockwise, conversion, display_matrix, plane_view, reason
from bystander.media.srt import SrtStream
from bystander.types import Frame, Sound, SourceInfo

RATE = 48_000  # samples per second of all sound in a stream
READ_S = 5.0  # silence for longer is a lost connection
OPEN_S = 10.0
LISTEN_S = 24 * 3600.0  # how long a server waits for its publisher
CODEC_TICKS = Fraction(1, 90_000)
# not fflags nobuffer: it throws away what was read to know the streams, with the first key frame in it
QUICK = {"probesize": "500000", "analyzeduration": "1000000"}
MICROS = str(int(READ_S * 1e6))
NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS: MJPEG, bare H.264; FFmpeg takes any rate for 25 fps, so the arrival counts
DAMAGED = 200  # packets in a row that do not decode: the stream is of no use


def ignore(_kind: str) -> None:
    """Where nobody counts."""


class LiveInput:
    """An open input. Its pictures may change size; its times are those of the source."""

    def __init__(self, address: Address, *, realtime: bool = False, tell: Callable[[str], object] = ignore) -> None:
        """``realtime``: a file is played at its own pace. ``tell`` is called with the kind of each fault that was got
        over. InputError or SettingsError when it cannot be opened.
        """
        self.tell = tell
        self.address, self.closing = address, threading.Event()
        self.endless = address.kind not in ("file", "stdio")
        self.paced = realtime
        self.pipe: SrtStream | None = None
        try:
            self.container = self._open()
        except (av.FFmpegError, OSError, ValueError) as e:
            self.close()
            unknown = address.kind in NETWORK and not addresses(address.host, address.parts.port or 0)
            raise InputError(f"{address.name}: cannot be opened ({NO_HOST if unknown else told(e)})") from None
        try:
            self._choose_streams()
        except BaseException:
            self.close()
            raise

    container: Any = None

    def _open(self) -> Any:
        a = self.address
        if a.kind == "srt":
            self.pipe = SrtStream(a, InputError, self.closing)
            return av.open(self.pipe, format="mpegts", container_options=QUICK)
        url, how, options = arguments(a)
        patience = (LISTEN_S, READ_S) if "listen" in options else (OPEN_S, READ_S)
        if a.kind in ("file", "stdio"):
            patience = (None, None)  # type: ignore[assignment]
        return av.open(url, format=how, timeout=patience, container_options=options, metadata_errors="replace")

    def _choose_streams(self) -> None:
        streams = self.container.streams
        if not streams.video or streams.video[0].codec_context is None:
            raise InputError(f"{self.address.name}: has no picture that this FFmpeg decodes")
        self.video = max(streams.video, key=lambda s: s.width * s.height if s.codec_context else 0)
        self.video.thread_type = "SLICE"  # frame threads would hold pictures back
        self.audio = next((s for s in streams.audio if s.codec_context), None)
        self.resampler = av.AudioResampler("fltp", "stereo", RATE)
        # HLS delivers in bursts, files over HTTP as fast as they are read: their own times set the pace
        hls = self.container.format.name == "hls"
        self.paced |= hls or bool(self.container.duration)
        if self.address.kind in ("http", "https") and (
            self.container.duration or (not hls and self.container.size > 0)
        ):
            self.endless, self.paced = False, True  # a film on a server; a live stream tells no length
        self.timeless = not self.paced and bool(self.container.format.flags & NO_TIMES)
        rate = self.video.average_rate or self.video.guessed_rate or 0
        self.info = SourceInfo(self.address.name, self.video.width, self.video.height, 0, float(rate), 0.0, 0)

    def __iter__(self) -> Iterator[Frame | Sound]:
        """Pictures and sound until the end. InputError when the connection is lost."""
        try:
            yield from self._items()
        finally:
            self.container.close()  # here, because it must not be freed while this thread reads from it

    def _items(self) -> Iterator[Frame | Sound]:
        self.began_s: float | None = None
        self.index, bad = 0, 0
        for packet in self._packets():
            try:
                decoded = packet.decode()
                bad = 0
            except av.EOFError:
                continue
            except (av.FFmpegError, MemoryError) as e:
                bad += 1  # lossy networks are no reason to stop
                self.tell("input: MemoryError" if isinstance(e, MemoryError) else "input: damaged packet")
                if bad >= DAMAGED:
                    raise InputError(f"{self.address.name}: nothing of it decodes any more") from None
                continue
            for item in decoded:
                try:
                    yield from self._sounds(item) if packet.stream is self.audio else self._picture(item)
                except MemoryError:  # the last covered picture stays until there is memory again
                    self.tell("input: MemoryError")
            if self.closing.is_set():
                return

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux([s for s in (self.video, self.audio) if s])
        while not self.closing.is_set():
            try:
                yield next(packets)
            except (StopIteration, av.EOFError):
                return
            except (av.FFmpegError, OSError) as e:
                raise InputError(f"{self.address.name}: the connection is lost ({told(e)})") from None

    def _picture(self, native: Any) -> Iterator[Frame]:
        if self.timeless:
            time_s = time.monotonic()
        else:
            time_s = float(native.pts * native.time_base) if native.pts is not None else self.index / 25
        if native.is_corrupt and not self.index:
            return  # the smear before the first key frame
        self._pace(time_s)
        picture = native
        if native.format.name != PLANAR:
            picture = native.reformat(format=PLANAR, **conversion(native))
        picture.make_writable()  # the decoder still refers to this memory
        y, u, v = (plane_view(p) for p in picture.planes[:3])
        turn = clockwise(display_matrix(native))
        full = picture.color_range == FULL_RANGE
        yield Frame(self.index, round(time_s / CODEC_TICKS), CODEC_TICKS, time_s, y, u, v, turn, picture, full)
        self.index += 1

    def _sounds(self, native: Any) -> Iterator[Sound]:
        if native.pts is None:
            return
        try:
            pieces = self.resampler.resample(native)
        except (av.FFmpegError, ValueError):  # the source changed its format
            self.resampler = av.AudioResampler("fltp", "stereo", RATE)
            return
        for piece in pieces:
            if piece.pts is not None and piece.time_base is not None:
                samples = np.ascontiguousarray(piece.to_ndarray(), np.float32)
                yield Sound(samples, RATE, float(piece.pts * piece.time_base))

    def _pace(self, time_s: float) -> None:
        """Wait until the picture's time has come."""
        if not self.paced:
            return
        now = time.monotonic()
        behind_s = 0.1 if self.address.kind == "file" else 1.0  # a file waits, a server's pieces come when they come
        if self.began_s is None or not -behind_s < self.began_s + time_s - now < 5.0:
            self.began_s = now - time_s
        self.closing.wait(max(0.0, self.began_s + time_s - now))

    def close(self) -> None:
        """End the iteration, which frees the input when it belongs to another thread."""
        self.closing.set()
        if self.pipe is not None:
            self.pipe.close()


def told(e: Exception) -> str:
    """Why; FFmpeg's word for the end of our patience would puzzle."""
    return "nothing comes" if isinstance(e, av.error.ExitError) else reason(e)


def arguments(a: Address) -> tuple[str, str | None, dict[str, str]]:
    """What FFmpeg needs to open this address: its url, its format (None: by looking), its options."""
    options = dict(QUICK)
    if a.kind == "stdio":
        return "pipe:0", None, options
    if a.kind == "device":
        return a.url, "v4l2", {}
    if a.kind == "file":
        return f"file:{a.url}", None, {}
    if a.kind in ("rtsp", "rtsps"):
        return a.url, None, {**options, "rtsp_transport": "tcp", "timeout": MICROS}
    if a.kind in ("rtmp", "rtmps"):
        listen = "listen" in a.query
        # without a host every interface would listen
        url = f"{a.kind}://{a.host_and_port}{a.parts.path}" if listen else a.url
        return url, None, {**options, **({"listen": "1"} if listen else {"rw_timeout": MICROS})}
    if a.kind == "udp":
        # without localaddr every interface would listen
        options |= {"localaddr": a.host, "timeout": MICROS, "fifo_size": "50000", "overrun_nonfatal": "1"}
        return f"udp://{a.host}:{a.port}", "mpegts", options
    return a.url, None, {"rw_timeout": MICROS}


def open_live(address: Address, *, realtime: bool = False, tell: Callable[[str], object] = ignore) -> LiveInput:
    """Open a live input. ``tell``: see ``LiveInput``. InputError, or SettingsError for what cannot be one."""
    if address.kind == "file":
        if not realtime:
            raise SettingsError(f"{address.name}: is a file; give --realtime to play it, or use: bystander file")
        if not Path(address.url).is_file():
            raise InputError(f"{address.name}: no such file")
    if address.kind == "device" and not Path(address.url).exists():
        raise InputError(f"{address.name}: no such camera")
    if address.kind in ("mjpeg", "vcam"):
        raise SettingsError(f"{address.name}: is an output, not an input")
    return LiveInput(address, realtime=realtime, tell=tell)
