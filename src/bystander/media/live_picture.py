"""A covered picture as live outputs want it: upright, of a fixed even size, limited range, planes in one array.

A ``CoveredFrame`` goes in, a copy comes out: outputs run in threads of their own and share the original.
"""

from __future__ import annotations

import cv2
import numpy as np

from bystander.types import U8, CoveredFrame

BLACK, NEUTRAL = 16, 128  # luma, chroma of the bars beside a picture of another shape


def even_size(covered: CoveredFrame) -> tuple[int, int]:
    """Width and height of the upright picture, px, rounded up to even."""
    f = covered.frame
    w, h = (f.height, f.width) if f.rotation_deg in (90, 270) else (f.width, f.height)
    return w + w % 2, h + h % 2


def planar(covered: CoveredFrame, width: int, height: int) -> U8:
    """(height * 3 / 2, width) planes Y, U, V, as OpenCV and PyAV take 4:2:0. TypeError for all but covered frames."""
    if not isinstance(covered, CoveredFrame):
        raise TypeError(f"only covered frames may be shown, not {type(covered).__name__}")
    f = covered.frame
    y, u, v = (np.rot90(p, k=-f.rotation_deg // 90) for p in (f.y, f.u, f.v))
    if f.full_range:
        y, u, v = limited(y, 219, 16), limited(u, 224, 16), limited(v, 224, 16)
    out: U8 = np.empty((height * 3 // 2, width), np.uint8)
    chroma = out[height:].reshape(2, height // 2, width // 2)
    place(y, out[:height], BLACK)
    place(u, chroma[0], NEUTRAL)
    place(v, chroma[1], NEUTRAL)
    return out


def limited(plane: U8, span: int, least: int) -> U8:
    """Values 0-255 moved to ``span`` levels from ``least`` on."""
    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(plane), alpha=span / 255, beta=least), np.uint8)


def place(plane: U8, out: U8, bars: int) -> None:
    """Copy a plane into the middle of ``out``, scaled to fit where it is of another size."""
    (h, w), (height, width) = plane.shape, out.shape
    if (h, w) == (height, width):
        out[...] = plane
        return
    if height - 1 <= h <= height and width - 1 <= w <= width:  # an odd size, made even
        out[...] = np.pad(plane, [(0, height - h), (0, width - w)], "edge")
        return
    scale = min(width / w, height / h)
    new_w, new_h = max(1, min(width, round(w * scale))), max(1, min(height, round(h * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out[...] = bars
    top, left = (height - new_h) // 2, (width - new_w) // 2
    small = cv2.resize(np.ascontiguousarray(plane), (new_w, new_h), interpolation=how)
    out[top : top + new_h, left : left + new_w] = small


def jpeg(covered: CoveredFrame, long_side: int, quality: int = 80) -> bytes:
    """The picture as JPEG, its long side at most ``long_side`` px."""
    width, height = even_size(covered)
    scale = min(1.0, long_side / max(width, height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
    bgr = cv2.cvtColor(planar(covered, width, height), cv2.COLOR_YUV2BGR_I420)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
