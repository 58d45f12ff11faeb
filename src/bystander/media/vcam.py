"""``CoveredFrame``s into a virtual camera, for OBS and video calls, by way of pyvirtualcam (extra ``vcam``).

Imported only when used. The picture keeps the size of the first one.
"""

from __future__ import annotations

import importlib
from typing import Any

from bystander.errors import OutputError, SettingsError
from bystander.media.address import Address
from bystander.media.live_picture import even_size, planar
from bystander.types import CoveredFrame, Sound

FPS = 30.0


def load() -> Any:
    """pyvirtualcam. SettingsError when it is not installed."""
    try:
        return importlib.import_module("pyvirtualcam")
    except ImportError as e:
        raise SettingsError("vcam: needs pyvirtualcam; pip install 'bystander[vcam]'") from e


class VirtualCamera:
    """``vcam`` or ``vcam:/dev/video10``."""

    def __init__(self, address: Address, size: tuple[int, int] | None = None) -> None:
        """``size``: width, height, px; None: of the first picture. SettingsError when pyvirtualcam is not installed."""
        self.pyvirtualcam, self.size = load(), size
        self.device = address.url.partition(":")[2] or None
        self.camera: Any = None

    def picture(self, covered: CoveredFrame) -> None:
        """Show it. OutputError when there is no loopback device; TypeError for anything but a ``CoveredFrame``."""
        if not isinstance(covered, CoveredFrame):
            raise TypeError(f"only covered frames may be shown, not {type(covered).__name__}")
        try:
            if self.camera is None:
                self.width, self.height = self.size or even_size(covered)
                how = self.pyvirtualcam.PixelFormat.I420
                self.camera = self.pyvirtualcam.Camera(self.width, self.height, FPS, fmt=how, device=self.device)
            self.camera.send(planar(covered, self.width, self.height))
        except (RuntimeError, OSError, ValueError) as e:
            hint = "on Linux: sudo modprobe v4l2loopback; elsewhere: install OBS, which brings a virtual camera"
            raise OutputError(f"vcam: no virtual camera to be had ({first_line(e)}); {hint}") from e

    def sound(self, sound: Sound) -> None:
        """There is none in a camera."""

    def close(self) -> None:
        camera, self.camera = self.camera, None
        if camera is not None:
            camera.close()


def first_line(e: Exception) -> str:
    return str(e).strip().partition("\n")[0]
