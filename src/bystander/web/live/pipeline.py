"""One running pipeline: a browser's pictures in, the stages of ``bystander live`` in threads, covered pictures out.

It remembers for some seconds which faces were where in the pictures it gave out, so that a click finds the face that
the person saw. Nothing but the driver's own ``CoveredFrame``s leaves it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bystander.errors import BystanderError, SettingsError
from bystander.run.control import Control, Manner
from bystander.run.face_filter import Detect, FilterSettings
from bystander.run.live import LiveSettings, LiveStream
from bystander.run.live_output import Output
from bystander.stages.cover import CoverSettings
from bystander.stages.policy import PolicySettings
from bystander.types import CoveredFrame, Track
from bystander.web.live.frames import Fitting
from bystander.web.live.source import WebSource
from bystander.web.live.track import Feed

log = logging.getLogger("bystander.web")
MakeDetector = Callable[[int], Detect]
REMEMBERED = 400  # pictures; 13 s at 30 a second
ENDLESS = 1 << 60  # faults in a row: a browser session goes on, wholly covered, until its user ends it
LOOKAHEAD_S = 0.2
STRONGEST = 3.0  # factor on the margin; more would cover the picture


@dataclass(frozen=True, slots=True)
class Sight:
    """A face in one picture."""

    id: int
    xyxy: tuple[float, float, float, float]  # luma px
    kept: bool
    evidence: float  # 0-1, that this is the subject
    seen: bool  # False: it coasts, nobody was found there


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session asks for at its start. SettingsError for what does not fit."""

    mode: str = "auto"  # auto, none, largest
    style: str = "pixelate"
    strength: float = 1.0  # factor on the margin around a face, 1 to 3
    width: int = 640  # px, long side of the picture; 0: as it comes

    def manner(self) -> Manner:
        if not 1 <= self.strength <= STRONGEST:
            raise SettingsError(f"strength {self.strength:g}: must lie between 1 and {STRONGEST:g}")
        mode, style = self.mode, self.style
        return Manner(PolicySettings(mode, self.strength), CoverSettings(style))  # type: ignore[arg-type]

    def check(self) -> None:
        self.manner()
        if self.width and not 160 <= self.width <= 4096:
            raise SettingsError(f"width {self.width}: must lie between 160 and 4096 px")


class WebStream(LiveStream):
    """A stream that remembers the faces of the pictures it gave out."""

    def prepare(self) -> None:
        self.newest: tuple[Sight, ...] = ()  # faces of the newest picture
        self.sights: OrderedDict[int, tuple[float, tuple[Sight, ...]]] = OrderedDict()  # by index: time, faces

    def _note(self, covered: CoveredFrame, tracks: Sequence[Track], kept: frozenset[int]) -> None:
        super()._note(covered, tracks, kept)
        self.newest = tuple(Sight(t.id, t.xyxy, t.id in self.kept, t.foreground, t.unseen_s == 0) for t in tracks)
        self.sights[covered.frame.index] = (covered.frame.time_s, self.newest)
        while len(self.sights) > REMEMBERED:
            self.sights.popitem(last=False)


class Pipeline:
    """Runs from ``start`` until ``close`` or until its source ends; then ``on_end`` is called, in its thread."""

    def __init__(self, make_detector: MakeDetector, wanted: Wanted, on_end: Callable[[], None]) -> None:
        manner = wanted.manner()
        self.wanted, self.on_end = wanted, on_end
        self.source = WebSource(Fitting(wanted.width), (640, 360))
        self.feed, self.fault = Feed(), ""
        filtering = FilterSettings(policy=manner.policy, cover=manner.cover)
        settings = LiveSettings(filtering, LOOKAHEAD_S, faults_in_row=ENDLESS, slate_size=(640, 360))
        output = Output("browser", lambda: self.feed)
        self.stream = WebStream(lambda: self.source, [output], make_detector, settings)
        self.stream.prepare()
        self.control: Control = self.stream.control
        self.thread = threading.Thread(target=self._run, name="bystander-session", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        try:
            self.stream.run()
        except BystanderError as e:
            self.fault = str(e)
            log.warning("a live session ended: %s", e)
        except Exception:
            self.fault = "unexpected fault"
            log.exception("a live session ended")
        finally:
            self.on_end()

    def panic(self, *, on: bool) -> None:
        """Cover everything, beginning with the very next picture, or go on."""
        self.control.panic = on
        self.feed.nudge()

    def change(self, **values: object) -> None:
        """Another mode, style or strength. SettingsError for one that does not fit; nothing changes then."""
        wanted = replace(self.wanted, **values)  # type: ignore[arg-type]
        self.control.manner = wanted.manner()
        self.wanted = wanted

    def sights(self, covered: CoveredFrame) -> tuple[Sight, ...]:
        """The faces in a picture that this pipeline gave out, repeats too; none where they are not known."""
        time_s, faces = self.stream.sights.get(covered.frame.index, (-1.0, ()))
        if covered.whole and time_s != covered.frame.time_s:
            return ()  # a slate
        return tuple(replace(f, kept=False) for f in faces) if covered.whole else faces

    def knows(self, track_id: int) -> bool:
        """Whether somebody has, or had, this number."""
        return track_id in self.stream.face_filter.known

    def close(self) -> None:
        """Ask it to end, also before it began; returns at once."""
        self.control.stop()
        self.source.end()
        if self.thread.ident is None:
            self.stream.stages.close()
