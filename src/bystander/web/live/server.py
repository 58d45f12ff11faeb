"""All live sessions of one application: who may open one, who finds which, and the end of all of them.

Called from the server's threads; WebRTC itself runs on the one event loop. Somebody else's session does not exist.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from flask import Flask, current_app

from bystander.errors import BystanderError, SettingsError
from bystander.models import RuntimeSettings, open_model
from bystander.run.face_filter import Detect
from bystander.run.live import LiveSettings
from bystander.stages.detector import INTERVIEW, Detector, DetectorSettings
from bystander.types import Model
from bystander.web.errors import ApiError, not_found
from bystander.web.live.loop import Loop
from bystander.web.live.offers import checked
from bystander.web.live.pipeline import MakeDetector, Wanted
from bystander.web.live.session import Session, Viewer
from bystander.web.settings import WebSettings

NAME = "bystander_live"  # in app.extensions
PER_OWNER = 2  # cameras of one browser at a time; a page that is loaded again finds a place
VIEWERS = 8  # of one stream; each has an encoder of its own
LONGEST_VALUE = 40  # characters
STALE_S = 5.0  # a publisher that was silent for so long may be replaced
END_S = 10.0  # so long may pipelines take to end with the server


class Detectors:
    """The model, opened at the first use, for all sessions; it may be called from several threads."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device, self.lock = name, device, threading.Lock()
        self.model: Model | None = None

    def opened(self) -> Model:
        with self.lock:
            if self.model is None:
                self.model = open_model(self.name, RuntimeSettings(self.device))
            return self.model

    def __call__(self, px: int) -> Detect:
        return Detector(self.opened(), DetectorSettings(px))

    @property
    def roles(self) -> bool:
        """Whether the model tells who is interviewed; without that the mode "auto" keeps nobody."""
        return INTERVIEW in self.opened().names


class Live:
    def __init__(self, settings: WebSettings, make_detector: MakeDetector | None = None) -> None:
        self.settings, self.loop, self.lock = settings, Loop(), threading.Lock()
        self.detectors = Detectors(settings.model, settings.device)
        self.make_detector = make_detector or self.detectors
        self.sessions: dict[str, Session] = {}
        self.threads: list[threading.Thread] = []  # of pipelines, also of those that are about to end

    def open(self, owner: str, sdp: object, wanted: Wanted, name: str = "") -> tuple[Session, str]:
        """A new session and our answer. ApiError when there shall be none."""
        offer = checked(sdp, sends=True)
        session = self._admitted(owner, wanted, name)
        try:
            answer = self.loop.do(session.open(offer))
        except BaseException:
            self.loop.do(session.close("refused"))
            raise
        return session, answer

    def _admitted(self, owner: str, wanted: Wanted, name: str) -> Session:
        """A place among the sessions. ApiError when there is none left."""
        try:
            wanted.check()
            self.make_detector(LiveSettings().imgsz)  # opens the model, which takes a while at the first time
        except SettingsError as e:
            raise ApiError(422, "bad_settings", f"{e}.") from None
        except BystanderError as e:
            raise ApiError(503, "no_model", f"The face detector cannot be used ({e}).") from None
        if name:
            self._replace(name)
        with self.lock:
            mine = [s for s in self.sessions.values() if s.owner == owner and not s.name]
            if len(self.sessions) >= self.settings.max_live or (not name and len(mine) >= PER_OWNER):
                raise ApiError(429, "too_many_live", "Too many live sessions; end one, or close a tab, and try again.")
            if name and any(s.name == name for s in self.sessions.values()):
                raise ApiError(409, "name_taken", "A stream of that name is running; choose another name.")
            session = Session(owner, name, wanted, self.make_detector, self._closed)
            self.sessions[session.id] = session
            self.threads = [t for t in self.threads if t.is_alive()] + [session.pipeline.thread]
        return session

    def _replace(self, name: str) -> None:
        """End a publisher of that name that has become silent: it may well be the same one, back again."""
        for session in list(self.sessions.values()):
            if session.name == name and session.silent_s > STALE_S:
                self.loop.do(session.close("replaced"))

    def _closed(self, session: Session) -> None:
        with self.lock:
            self.sessions.pop(session.id, None)

    def find(self, owner: str, session_id: str) -> Session:
        """An own session, or a named stream, which whoever may use this server at all may control. Else 404."""
        session = self.sessions.get(session_id)
        if session is None or (session.owner != owner and not session.name):
            raise not_found()
        return session

    def listed(self, owner: str) -> list[Session]:
        return [s for s in list(self.sessions.values()) if s.owner == owner or s.name]

    def end(self, session: Session) -> None:
        self.loop.do(session.close("asked"))

    def view(self, name: str, sdp: object) -> tuple[Viewer, str]:
        """Somebody plays a stream. ApiError for an unknown name or one viewer too many."""
        session = self.named(name)
        offer = checked(sdp, sends=False)
        return self.loop.do(self._view(session, offer))

    async def _view(self, session: Session, offer: str) -> tuple[Viewer, str]:
        if len(session.viewers) >= VIEWERS:
            raise ApiError(429, "too_many_viewers", "Too many people watch this stream; try again later.")
        viewer = Viewer(session)
        session.viewers[viewer.id] = viewer
        try:
            return viewer, await viewer.open(offer)
        except BaseException:
            await viewer.close()
            raise

    def named(self, name: str) -> Session:
        session = next((s for s in list(self.sessions.values()) if s.name == name), None)
        if session is None:
            raise not_found()
        return session

    def leave(self, name: str, viewer_id: str) -> None:
        viewer = self.named(name).viewers.get(viewer_id)
        if viewer is None:
            raise not_found()
        self.loop.do(viewer.close())

    def readings(self) -> list[tuple[str, str, float]]:
        """Name, explanation and value of what watchers of the server may want to know. Nothing of anybody."""
        sessions = list(self.sessions.values())
        states = [s.pipeline.control.status for s in sessions]
        return [
            ("sessions", "live sessions now", len(sessions)),
            ("viewers", "players of published streams now", sum(len(s.viewers) for s in sessions)),
            ("fps", "new covered pictures a second, of all sessions now", sum(s.fps_out for s in states)),
            (
                "whole",
                "pictures covered whole by faults, in the sessions of now",
                sum(sum(s.whole.values()) for s in states),
            ),
        ]

    def close(self) -> None:
        """End everything; returns when the threads have ended or were given up."""
        for session in list(self.sessions.values()):
            try:
                self.loop.do(session.close("server_ends"))
            except Exception:  # noqa: S112  the others must end too
                continue
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(END_S)
        self.loop.close()


def live_of(app: Flask | None = None) -> Live:
    """The sessions of this application, or of the one that answers now."""
    live: Live = (app or current_app).extensions[NAME]
    return live


def wanted_of(values: Any) -> Wanted:
    """The settings of a request. ApiError for what does not fit; what is left out is as usual."""
    if values is None:
        return Wanted()
    kinds: dict[str, tuple[type, ...]] = {"mode": (str,), "style": (str,), "strength": (int, float), "width": (int,)}
    if not isinstance(values, dict) or not set(values) <= set(kinds):
        raise ApiError(422, "bad_settings", f"Settings are an object with {', '.join(kinds)}.")
    given = {k: v for k, v in values.items() if v is not None}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, kinds[key]) or len(str(value)) > LONGEST_VALUE:
            raise ApiError(422, "bad_settings", f"The setting {key} is of the wrong type.")
    return replace(Wanted(), **given)
