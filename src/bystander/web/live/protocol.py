"""What pages and pipelines say to each other over the data channel, as JSON texts; see docs/web-live.md.

Text in, a dict out, whatever was in the text. Whatever is in doubt changes nothing, or covers.
"""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from bystander.errors import SettingsError
from bystander.run.control import LiveStatus
from bystander.types import CoveredFrame
from bystander.web.live.pipeline import Pipeline, Sight

log = logging.getLogger("bystander.web")
LONGEST = 2000  # characters of a message
REMEMBERED = 400  # pictures whose faces a tap can find
NEAREST_S = 0.25  # a tap's time may be so far from that of a picture which was sent
MOST_FACES = 200  # in one message, the largest
MOST_COVERED = 1000  # numbers that nobody has yet may be covered, but not without end


class BadMessage(Exception):
    """``code`` is for the page, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture that went to the page."""

    time_s: float
    width: int  # px
    height: int
    faces: tuple[Sight, ...]


class Talk:
    """One page's side of the talk; a pipeline may have several."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sent: deque[Sent] = deque(maxlen=REMEMBERED)

    def note(self, covered: CoveredFrame, time_s: float, *, card: bool) -> Sent:
        """Remember what the page sees now. ``time_s``: by which the page will speak of it."""
        faces = () if card else self.pipeline.sights(covered)
        sent = Sent(time_s, covered.frame.width, covered.frame.height, faces)
        self.sent.append(sent)
        return sent

    def answer(self, text: object) -> dict[str, Any]:
        """Do what the message asks. Never raises."""
        of = ""
        try:
            message = parsed(text)
            of = str(message.get("kind", ""))[:20]
            return {"kind": "done", "of": of, **self._do(of, message)}
        except BadMessage as e:
            return {"kind": "error", "of": of, "code": e.code, "message": str(e)}
        except SettingsError as e:
            return {"kind": "error", "of": of, "code": "bad_value", "message": str(e)}
        except Exception:
            log.exception("a message was not understood")
            return {"kind": "error", "of": of, "code": "fault", "message": "something went wrong; try again"}

    def _do(self, kind: str, message: dict[str, Any]) -> dict[str, Any]:
        if kind == "panic":
            on = message.get("on") is not False  # whatever else was meant: doubt covers
            self.pipeline.panic(on=on)
            return {"on": on}
        if kind in ("keep", "cover", "auto"):
            return self._choose(kind, message.get("id"))
        if kind == "tap":
            return self._tap(*(number(message, key) for key in ("x", "y", "t")))
        if kind in ("mode", "style"):
            value = message.get("value")
            if not isinstance(value, str):
                raise BadMessage("bad_value", f"{kind}: give value as a word")
            self.pipeline.change(**{kind: value[:20]})
            return {"value": value}
        if kind == "strength":
            self.pipeline.change(strength=number(message, "value"))
            return {"value": self.pipeline.wanted.strength}
        raise BadMessage("unknown_kind", "this server does not know that message; reload the page")

    def _choose(self, kind: str, track_id: object) -> dict[str, Any]:
        if type(track_id) is not int or not 0 < track_id < 1 << 53:
            raise BadMessage("bad_value", f"{kind}: give id as a face's number")
        if kind == "keep" and not self.pipeline.knows(track_id):
            raise BadMessage("unknown_face", "nobody has this number; click the face again")
        control = self.pipeline.control
        if kind == "cover" and len(control.choices.cover) >= MOST_COVERED and not self.pipeline.knows(track_id):
            raise BadMessage("unknown_face", "nobody has this number; click the face again")
        {"keep": control.keep, "cover": control.cover, "auto": control.forget}[kind](track_id)
        return {"id": track_id}

    def _tap(self, x: float, y: float, time_s: float) -> dict[str, Any]:
        """Change over whoever was at ``x``, ``y`` (0-1) in the picture of that time: a kept face is covered."""
        sent = min(tuple(self.sent), key=lambda s: abs(s.time_s - time_s), default=None)
        if sent is None or abs(sent.time_s - time_s) > NEAREST_S:
            raise BadMessage("too_old", "that picture is too long ago; click again")
        hits = at_point(sent.faces, x * sent.width, y * sent.height)
        kept = [f for f in hits if f.kept]
        for face in kept:  # all that may have been meant
            self.pipeline.control.cover(face.id)
        if kept:
            return {"id": kept[0].id, "kept": False}
        seen = [f for f in hits if f.seen]
        if not seen:
            raise BadMessage("no_face", "no face was found there; click in the middle of one")
        self.pipeline.control.keep(seen[0].id)
        return {"id": seen[0].id, "kept": True}


def parsed(text: object) -> dict[str, Any]:
    """BadMessage for all but a JSON object."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise BadMessage("bad_message", f"send JSON text of at most {LONGEST} characters")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("bad_message", "this is no JSON") from None
    if not isinstance(message, dict):
        raise BadMessage("bad_message", "send a JSON object")
    return message


def number(message: dict[str, Any], key: str) -> float:
    """A finite number of the message."""
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15 or math.isnan(value):
        raise BadMessage("bad_value", f"{message.get('kind')}: give {key} as a number")
    return float(value)


def at_point(faces: tuple[Sight, ...], x: float, y: float) -> list[Sight]:
    """The faces whose box holds the point (luma px), the smallest first."""
    hits = [f for f in faces if f.xyxy[0] <= x < f.xyxy[2] and f.xyxy[1] <= y < f.xyxy[3]]
    return sorted(hits, key=lambda f: (f.xyxy[2] - f.xyxy[0]) * (f.xyxy[3] - f.xyxy[1]))


def face_of(face: Sight, width: int, height: int) -> dict[str, Any]:
    """For the page: shares of the picture, inside it."""
    x1, x2 = (min(max(v / width, 0.0), 1.0) for v in (face.xyxy[0], face.xyxy[2]))
    y1, y2 = (min(max(v / height, 0.0), 1.0) for v in (face.xyxy[1], face.xyxy[3]))
    return {"id": face.id, "x": round(x1, 4), "y": round(y1, 4), "w": round(x2 - x1, 4), "h": round(y2 - y1, 4),
            "kept": face.kept, "evidence": round(face.evidence, 2), "seen": face.seen}  # fmt: skip


def told(sent: Sent, pipeline: Pipeline) -> dict[str, Any]:
    """The message about one picture: its faces, and how the pipeline does."""
    status: LiveStatus = pipeline.control.status
    faces = sorted(sent.faces, key=lambda f: f.xyxy[1] - f.xyxy[3])[:MOST_FACES]
    return {
        "kind": "faces", "t": round(sent.time_s, 3), "width": sent.width, "height": sent.height,
        "faces": [face_of(f, sent.width, sent.height) for f in faces], **state(pipeline, status),
    }  # fmt: skip


def state(pipeline: Pipeline, status: LiveStatus) -> dict[str, Any]:
    """How a pipeline does, without its faces."""
    wanted = pipeline.wanted
    return {
        "panic": pipeline.control.panic, "mode": wanted.mode, "style": wanted.style, "strength": wanted.strength,
        "fps": status.fps_out, "fps_in": status.fps_in, "drops": status.drops, "repeats": status.repeats,
        "latency_ms": round(status.latency_ms.get("total", (0.0,))[0]), "whole": sum(status.whole.values()),
        "faults": dict(status.whole), "slow": status.slow, "fault": pipeline.fault or pipeline.source.fault,
    }  # fmt: skip
