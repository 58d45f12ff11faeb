"""``CoveredFrame``s and sound in, an H.264 and AAC stream out: to a platform, a folder, a file, standard output.

Each output encodes for itself at the size of its first picture. Whatever the other side does wrong is an
``OutputError`` without secrets. Nothing but a ``CoveredFrame`` is ever encoded as a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from bystander.errors import OutputError, SettingsError
from bystander.media.address import NO_HOST, addresses
from bystander.media.live_picture import even_size, planar
from bystander.media.live_sound import SoundTrack
from bystander.media.patience import Patience
from bystander.media.reader import LIMITED_RANGE, PLANAR, reason
from bystander.processors import processors
from bystander.types import F32, CoveredFrame, Sound

RATE = 48_000
TICKS = Fraction(1, 90_000)
GOOD, QUICK = "veryfast", "superfast"  # of x264: QUICK takes two thirds of the time and loses about 0.3 dB
FEW = 2  # processors: the detector needs them more
KEY_FRAME = 1  # AV_PICTURE_TYPE_I
SILENCE_AFTER_S = 0.5  # without sound for so long there is none
LATE_SOUND_S = 1.5  # some sources send their sound so long after the picture of its time
# FLV refuses packets older than the first one, and the sound encoder's first packet lies 21 ms before its first sample
SOUND_AFTER_S = 0.05
BITS_PER_PIXEL = 0.11  # at 30 fps: 720p gets 3 Mbit/s, 1080p 6.8


@dataclass(frozen=True, slots=True)
class StreamSettings:
    bitrate_k: int = 0  # kbit/s of the picture; 0: by its size
    preset: str = field(default_factory=lambda: QUICK if processors() <= FEW else GOOD)
    threads: int = field(default_factory=lambda: min(processors(), 2))
    size: tuple[int, int] | None = None  # width, height, px, even; None: of the first picture
    key_frame_s: float = 2.0  # what platforms ask for
    sound: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.bitrate_k and not 50 <= self.bitrate_k <= 100_000:
            raise SettingsError(f"bitrate {self.bitrate_k}: must lie between 50 and 100000 kbit/s")


@dataclass(frozen=True, slots=True)
class Target:
    """Where an encoded stream goes, in FFmpeg's words."""

    name: str
    open: Callable[[], tuple[Any, Any]]  # (container, what to close after it or None)
    host: tuple[str, int] | None = None  # that FFmpeg connects to over TCP


class EncodedSink:
    """One connection. Opened by its first picture, whose size it keeps."""

    def __init__(self, target: Target, settings: StreamSettings) -> None:
        self.target, self.settings = target, settings
        self.container: Any = None
        self.pipe: Any = None
        self.track: SoundTrack | None = None
        self.lost = False
        self.time_s = 0.0  # of the newest picture
        self.heard_s = -LATE_SOUND_S  # when there was sound last
        self.patience = Patience(*target.host) if target.host else None

    def _patiently(self) -> AbstractContextManager[None]:
        """Around everything that may wait for the other side."""
        return self.patience() if self.patience else nullcontext()

    def picture(self, covered: CoveredFrame) -> None:
        """Encode and send. OutputError when the connection is lost; TypeError for anything but a ``CoveredFrame``."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be sent, not {type(covered).__name__}")
        try:
            with self._patiently():
                if self.container is None:
                    self._open(covered)
                self._send(covered)
        except (av.FFmpegError, OSError, ValueError) as e:
            self.lost = True
            what = "the connection is lost" if self.track else "cannot be opened"
            raise OutputError(f"{self.target.name}: {what} ({self._why(e)})") from None

    def _why(self, e: Exception) -> str:
        unknown = self.track is None and self.target.host is not None and not addresses(*self.target.host)
        return NO_HOST if unknown else reason(e)

    def _open(self, covered: CoveredFrame) -> None:
        self.container, self.pipe = self.target.open()
        s = self.settings
        self.width, self.height = s.size or even_size(covered)
        kbit = s.bitrate_k or max(300, round(self.width * self.height * 30 * BITS_PER_PIXEL / 1000))
        options = {"preset": s.preset, "tune": "zerolatency", "forced-idr": "1", "g": "600",
                   "maxrate": f"{kbit}k", "bufsize": f"{kbit}k"}  # fmt: skip
        self.video = self.container.add_stream("libx264", rate=30, options=options)
        self.video.width, self.video.height, self.video.pix_fmt = self.width, self.height, PLANAR
        self.video.bit_rate = kbit * 1000
        context = self.video.codec_context
        context.time_base, context.thread_count, context.color_range = TICKS, s.threads, LIMITED_RANGE
        if s.sound:
            self.audio = self.container.add_stream("aac", rate=RATE, layout="stereo")
            self.audio.bit_rate = 128_000
        self.container.start_encoding()
        self.track = SoundTrack(RATE, covered.frame.time_s + SOUND_AFTER_S)
        self.key_s = covered.frame.time_s

    def _send(self, covered: CoveredFrame) -> None:
        time_s = covered.frame.time_s
        native = av.VideoFrame.from_ndarray(planar(covered, self.width, self.height), format=PLANAR)
        native.pts, native.time_base = round(time_s / TICKS), TICKS
        if time_s >= self.key_s:
            native.pict_type, self.key_s = KEY_FRAME, time_s + self.settings.key_frame_s
        self.time_s = time_s
        silent_s = LATE_SOUND_S if time_s - self.heard_s < LATE_SOUND_S else SILENCE_AFTER_S
        if self.track and self.settings.sound and self.track.end_s < time_s - silent_s:
            self._encode(self.track.silence(time_s - silent_s + SILENCE_AFTER_S / 2))
        self.container.mux(self.video.encode(native))

    def sound(self, sound: Sound) -> None:
        """Encode and send; before the first picture there is nothing to be in step with."""
        if self.track is None or not self.settings.sound:
            return
        try:
            self.heard_s = self.time_s
            with self._patiently():
                self._encode(self.track.fit(sound))
        except (av.FFmpegError, OSError, ValueError) as e:
            self.lost = True
            raise OutputError(f"{self.target.name}: the connection is lost ({reason(e)})") from None

    def _encode(self, pieces: list[tuple[int, F32]]) -> None:
        for position, samples in pieces:
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, position, Fraction(1, RATE)
            self.container.mux(self.audio.encode(frame))

    def close(self) -> None:
        """Flush what a living connection still takes, and free. Safe to call twice."""
        container, self.container = self.container, None
        try:
            with self._patiently():
                self._finish(container)
        except (av.FFmpegError, OSError, ValueError):
            self.lost = True  # the other side is gone: there is nobody to tell the end to
        finally:
            if self.pipe is not None:
                self.pipe.close()
            if self.patience is not None:
                self.patience.close()

    def _finish(self, container: Any) -> None:
        if container is None:
            return
        if self.track is not None and not self.lost:
            for stream in container.streams:
                container.mux(stream.encode(None))
        container.close()
