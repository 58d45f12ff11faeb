"""The live half: a browser's camera or a publisher's stream over WebRTC, covered, and back. See docs/web-live.md."""

from __future__ import annotations

from bystander.web.live.views import blueprint

__all__ = ["blueprint"]
