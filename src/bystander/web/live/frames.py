"""A WebRTC decoder's pictures and sound -> ``Frame``s and ``Sound``, as every live source gives them.

Pictures become writable 8-bit 4:2:0 planes with one owner, all of one size while their shape stays the same: browsers
send fewer pixels whenever the network is slow, and a change of size would forget every face. Nothing is shown here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from bystander.errors import InputError
from bystander.media.live_source import CODEC_TICKS, RATE
from bystander.media.reader import FULL_RANGE, PLANAR, conversion, plane_view
from bystander.types import Frame, Sound

LONG_SIDE, MOST_PIXELS = 1280, 1280 * 720  # of a picture on its way through the stages; larger ones are scaled down
MOST_SIDE = 4096  # px; what is larger is refused
SAME_SHAPE = 0.02  # relative difference of two aspect ratios up to which a picture counts as scaled, not as another
MUCH_LARGER = 1.5  # times the width: worth beginning anew


@dataclass(slots=True)
class Fitting:
    """The size in which a session works. ``wanted``: long side in px, 0 for as it comes."""

    wanted: int = 0
    size: tuple[int, int] | None = None

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, px, for a picture that comes in as ``width`` x ``height``. InputError for nonsense."""
        if min(width, height) < 2 or max(width, height) > MOST_SIDE:
            raise InputError(f"the picture is {width}x{height} px; send at most {MOST_SIDE} px a side")
        if self.size is None or not self._same(width, height, self.size):
            self.size = fitted(width, height, self.wanted)
        return self.size

    def _same(self, width: int, height: int, size: tuple[int, int]) -> bool:
        shape, known = width / height, size[0] / size[1]
        if abs(shape - known) > SAME_SHAPE * known:
            return False
        larger = fitted(width, height, 0)[0] >= MUCH_LARGER * size[0]
        return bool(self.wanted) or not larger


def fitted(width: int, height: int, wanted: int) -> tuple[int, int]:
    """The even size of the same shape whose long side is ``wanted`` px (0: unchanged), within the limits."""
    scale = (min(wanted, LONG_SIDE) if wanted else min(max(width, height), LONG_SIDE)) / max(width, height)
    scale = min(scale, (MOST_PIXELS / (width * height)) ** 0.5)
    if scale == 1:
        return width, height
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def to_frame(native: Any, index: int, time_s: float, fitting: Fitting) -> Frame:
    """A decoded picture as a ``Frame`` that nobody else refers to. InputError when it cannot be one."""
    width, height = fitting.of(native.width, native.height)
    full = native.color_range == FULL_RANGE or native.format.name.startswith("yuvj")
    picture = native
    if (native.width, native.height, native.format.name) != (width, height, PLANAR):
        picture = native.reformat(width, height, PLANAR, **conversion(native))
    picture.make_writable()  # the decoder still refers to this memory
    y, u, v = (plane_view(p) for p in picture.planes[:3])
    return Frame(index, round(time_s / CODEC_TICKS), CODEC_TICKS, time_s, y, u, v, 0, picture, full)


class Hearing:
    """Decoded sound of any format -> 48 kHz stereo."""

    def __init__(self) -> None:
        self.resampler = av.AudioResampler("fltp", "stereo", RATE)

    def sounds(self, native: Any, time_s: float) -> list[Sound]:
        """``time_s``: of the first sample. What cannot be understood is left out."""
        try:
            pieces = self.resampler.resample(native)
        except (av.FFmpegError, ValueError):  # its format changed
            self.resampler = av.AudioResampler("fltp", "stereo", RATE)
            return []
        found = []
        for piece in pieces:
            samples = np.ascontiguousarray(piece.to_ndarray(), np.float32)
            found.append(Sound(samples, RATE, time_s))
            time_s += samples.shape[1] / RATE
        return found
