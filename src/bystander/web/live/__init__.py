"""The live half: a browser's camera over WebRTC, covered, and back."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("live", __name__)
