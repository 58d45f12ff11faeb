"""The newest covered picture with a number on every face, so that people can say whom to keep.

A ``CoveredFrame`` and the faces' places go in, JPEG comes out. What is drawn only ever adds to the cover.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from bystander.run.control import FaceStatus
from bystander.stages.letterbox import to_rgb
from bystander.types import CoveredFrame

LONG_SIDE = 960  # px
COVERED, KEPT = (40, 40, 220), (60, 180, 60)  # BGR


def numbered(covered: CoveredFrame, faces: Sequence[FaceStatus]) -> bytes:
    """Upright JPEG. TypeError for anything but a ``CoveredFrame``."""
    if not isinstance(covered, CoveredFrame):
        raise TypeError(f"only covered frames may be shown, not {type(covered).__name__}")
    frame = covered.frame
    scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    bgr = cv2.cvtColor(to_rgb(frame, width, height), cv2.COLOR_RGB2BGR)
    bgr = np.ascontiguousarray(np.rot90(bgr, k=-frame.rotation_deg // 90))
    for face in faces:
        x1, y1, x2, y2 = upright(face.xyxy, frame.width, frame.height, frame.rotation_deg)
        corners = [round(float(np.clip(v * scale, -9999, 9999))) for v in (x1, y1, x2, y2)]
        colour = KEPT if face.kept else COVERED
        cv2.rectangle(bgr, (corners[0], corners[1]), (corners[2], corners[3]), colour, 2)
        at = (max(0, corners[0]), max(16, corners[1] - 6))
        cv2.putText(bgr, str(face.id), at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return data.tobytes()


def upright(
    xyxy: tuple[float, float, float, float], width: int, height: int, rotation_deg: int
) -> tuple[float, float, float, float]:
    """A box of the stored frame in the picture as it is shown, px."""
    x1, y1, x2, y2 = xyxy
    turned = {90: (height - y2, x1, height - y1, x2), 180: (width - x2, height - y2, width - x1, height - y1),
              270: (y1, width - x2, y2, width - x1)}  # fmt: skip
    return turned.get(rotation_deg, xyxy)
