"""Planes of a frame -> the detector's picture, and the one way back.

A ``Frame`` goes in; out come upright RGB pixels (1, 3, h, w), 0-1, and the ``Letterbox`` that maps boxes found in them
to luma pixels of the stored frame. The frame is only read.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bystander.types import F32, U8, Frame

GREY = 114  # the padding that the detector saw in training
MAX_ENLARGE = 2.0  # tiny pictures gain nothing from more


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How the detector's picture was made: scale, turn, pad."""

    sx: float  # detector px per frame px, before the turn
    sy: float
    rotation_deg: int
    width: int  # of the scaled picture before the turn, px
    height: int
    pad_left: int  # px, in the upright picture
    pad_top: int

    def to_frame(self, xyxy: F32) -> F32:
        """(n, 4) boxes in detector px -> (n, 4) in luma px of the stored frame, not clipped."""
        b = np.asarray(xyxy, np.float32).reshape(-1, 4) - np.array([self.pad_left, self.pad_top] * 2, np.float32)
        x1, y1, x2, y2 = b.T
        w, h = np.float32(self.width), np.float32(self.height)
        if self.rotation_deg == 90:
            x1, y1, x2, y2 = y1, h - x2, y2, h - x1
        elif self.rotation_deg == 180:
            x1, y1, x2, y2 = w - x2, h - y2, w - x1, h - y1
        elif self.rotation_deg == 270:
            x1, y1, x2, y2 = w - y2, x1, w - y1, x2
        return np.stack([x1 / self.sx, y1 / self.sy, x2 / self.sx, y2 / self.sy], axis=1).astype(np.float32)


def letterbox(frame: Frame, long_side: int, stride: int) -> tuple[F32, Letterbox]:
    """Scale the frame's long side to ``long_side`` px, turn it upright, pad to multiples of ``stride``."""
    scale = min(long_side / max(frame.width, frame.height), MAX_ENLARGE)
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    rgb = to_rgb(frame, width, height)
    if frame.rotation_deg:
        rgb = np.rot90(rgb, k=-frame.rotation_deg // 90)
    h, w = rgb.shape[:2]
    padded_h, padded_w = -(-h // stride) * stride, -(-w // stride) * stride
    top, left = (padded_h - h) // 2, (padded_w - w) // 2
    out = np.full((1, 3, padded_h, padded_w), GREY / 255, np.float32)
    np.multiply(rgb.transpose(2, 0, 1), np.float32(1 / 255), out=out[0, :, top : top + h, left : left + w])
    box = Letterbox(width / frame.width, height / frame.height, frame.rotation_deg, width, height, left, top)
    return out, box


def to_rgb(frame: Frame, width: int, height: int) -> U8:
    """(height, width, 3) RGB; both even. Each plane is scaled by itself, so only small planes change colour space."""
    planar: U8 = np.empty((height * 3 // 2, width), np.uint8)
    planar[:height] = resize(frame.y, width, height)
    chroma = planar[height:].reshape(2, height // 2, width // 2)
    chroma[0] = resize(frame.u, width // 2, height // 2)
    chroma[1] = resize(frame.v, width // 2, height // 2)
    if frame.full_range:  # cv2 expects 16-235
        planar[:height] = cv2.convertScaleAbs(planar[:height], alpha=219 / 255, beta=16)
    return np.asarray(cv2.cvtColor(planar, cv2.COLOR_YUV2RGB_I420), np.uint8)


def resize(plane: U8, width: int, height: int) -> U8:
    """(h, w) samples -> (height, width)."""
    h, w = plane.shape
    if (h, w) == (height, width):
        return plane
    plane = np.ascontiguousarray(plane)
    if h < height or w < width:
        return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    while h % 2 == w % 2 == 0 and h >= 2 * height and w >= 2 * width:  # OpenCV is far faster at exactly half the size
        h, w = h // 2, w // 2
        plane = np.asarray(cv2.resize(plane, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
