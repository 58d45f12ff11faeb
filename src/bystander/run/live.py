"""From any live source to any number of outputs, failing closed.

Frames come in over one newest-wins slot (the only drop point), go through the stages under a deadline, wait in the
filter's look-ahead, and leave as ``CoveredFrame``s. Sound waits exactly as long as the picture of its time. Where there
is no fresh covered picture the last one is shown again; where there is no input, or not yet, a slate. Prints nothing;
usable inside another program: make a ``LiveStream`` and call ``run`` in a thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bystander.errors import InputError, LiveError, SettingsError
from bystander.run.control import Control, FaceStatus, LiveStatus, covers_more
from bystander.run.face_filter import Detect, FaceFilter, FilterSettings
from bystander.run.governor import Governor, in_words
from bystander.run.live_input import Arrived, Intake
from bystander.run.live_meters import LiveMeters
from bystander.run.live_output import Outlet, Output, Sent
from bystander.run.live_stages import LiveStages
from bystander.run.stamps import TICK_S
from bystander.stages.cover import at_time, blank, slate
from bystander.types import Choices, CoveredFrame, Frame, LiveSource, Track

log = logging.getLogger("bystander")
NO_PICTURE = "bystander: waiting for the picture"
STATUS_S = 0.25  # distance of two status snapshots
POLL_S = 0.05  # how often panic and an idle input are looked at
WARM_UP_S = 60.0  # a detector whose first call takes longer is late
LEAST_PX = 16  # some inputs tell no size, or a nonsensical one, before their first picture


@dataclass(frozen=True, slots=True)
class LiveSettings:
    filter: FilterSettings = field(default_factory=FilterSettings)
    lookahead_s: float = 0.2  # a new face is covered in so much of the past, too; picture and sound are late by it
    imgsz: int = 640  # px, long side of the detector's picture at best
    deadline_s: float = 0.5  # a detector that takes longer is late
    faults_in_row: int = 150  # so many frames covered whole by faults, one after the other, end the stream
    stall_s: float = 0.5  # without a new picture for so long the last one is shown again
    slate_s: float = 2.0  # and after so long the slate
    repeat_s: float = 0.2  # distance of repeats and slates
    slate_size: tuple[int, int] = (1280, 720)  # px, before the input's size is known
    wait: bool = False  # True: sources and outputs that are not there yet are waited for

    def __post_init__(self) -> None:
        if not 0 <= self.lookahead_s <= 1:
            raise SettingsError(f"lookahead {self.lookahead_s * 1000:g}: must lie between 0 and 1000 ms")
        if self.faults_in_row < 1:
            raise SettingsError(f"faults in a row {self.faults_in_row}: must be 1 or more")


class LiveStream:
    """One input, the stages, any number of outputs. ``control`` may be used from any thread."""

    def __init__(
        self, open_source: Callable[[], LiveSource], outputs: Sequence[Output],
        make_detector: Callable[[int], Detect], settings: LiveSettings | None = None,
        control: Control | None = None, meters: LiveMeters | None = None,
    ) -> None:  # fmt: skip
        """``make_detector`` gives a detector for a picture whose long side has so many px."""
        self.settings = s = settings or LiveSettings()
        self.control = control or Control()
        self.meters = meters or LiveMeters()
        self.intake = Intake(open_source, self.meters, wait=s.wait)
        governor = Governor(s.imgsz)
        lookback = replace(s.filter, lookback_s=s.lookahead_s)
        self.face_filter = FaceFilter(make_detector(s.imgsz), lookback, self.meters, self._note)
        if self.control.choices.version == 0:  # nobody has said anything yet; covering clicks may await their moment
            self.control.choices = self.face_filter.choices
        self.applied: Choices | None = None  # the choices that the filter was given last
        self.stages = LiveStages(self.face_filter, make_detector, self.meters, governor, s.deadline_s)
        self.stages.before_paint = self._take_choices
        self.outputs, self.outlets = outputs, list[Outlet]()
        self.arrived: dict[int, float] = {}  # frame index -> when it came in, for frames on their way
        self.shown: CoveredFrame | None = None  # newest covered picture of the input; grey once it is outdated
        self.outdated = False  # people have said since that more is to be covered
        self.card: CoveredFrame | None = None  # the slate
        self.out_s = -1.0  # newest time that went out
        # when anything went out, when a new picture did, when a frame came in
        self.emitted_s = self.fresh_s = self.taken_s = self.meters.clock()
        self.told_s = -STATUS_S
        self.faces: tuple[FaceStatus, ...] = ()
        self.kept: frozenset[int] = frozenset()

    def run(self) -> None:
        """Until the source ends or ``control.stop()``. LiveError, or a first connection's error, when it must end."""
        s = self.settings
        try:
            self.intake.start()
            self._until_begun()
            if self.control.stop_asked.is_set():
                return
            self.outlets = [Outlet(o, self.meters, wait=s.wait) for o in self.outputs]
            self.emitted_s = self.fresh_s = self.meters.clock() - s.slate_s  # begin with a slate
            self._warm_up()
            self.intake.go.set()
            while not self.control.stop_asked.is_set() and self._turn():
                pass
            self._emit_all(self.face_filter.release())
        finally:
            self._close()
        self._raise_faults()

    def _until_begun(self) -> None:
        """Wait for the first picture, whose size the outputs take, but for ``slate_s`` at most once it may come."""
        since_s = self.meters.clock() if self.settings.wait else None
        while self.intake.size is None and not self.intake.ended.wait(POLL_S):
            if since_s is None and self.intake.info is not None:
                since_s = self.meters.clock()
            late = since_s is not None and self.meters.clock() - since_s > self.settings.slate_s
            if late or self.control.stop_asked.is_set():
                break
        self._raise_faults()
        if self.intake.ended.is_set() and self.intake.size is None:
            raise InputError("the input ended before its first picture; nothing of it decodes")

    def _warm_up(self) -> None:
        """Let the detector's first call, which takes seconds for some, pass while the outputs show a slate."""
        warming = threading.Thread(
            target=self.stages.change, args=(self.settings.imgsz, self._size()), name="bystander-warm", daemon=True
        )
        self.stages.warming = warming
        warming.start()
        self._idle()
        end_s = self.meters.clock() + WARM_UP_S
        while warming.is_alive() and self.meters.clock() < end_s and not self.control.stop_asked.is_set():
            warming.join(POLL_S)
            self._idle()
            self._tell()
            self._raise_faults()

    def _turn(self) -> bool:
        """One frame, or one wait for it. False when the stream is over."""
        arrived = self.intake.slot.take(POLL_S)
        self._take_choices()
        if arrived is not None:
            self._frame(arrived)
        elif self.intake.ended.is_set():
            return False
        self._idle()
        self._tell()
        self._raise_faults()
        return True

    def _take_choices(self) -> None:
        """People's newest word goes to the filter; what clicks settled there, to the people."""
        before, manner, panic = self.applied, self.control.manner, self.control.panic
        self.face_filter.panic = panic
        self.applied = self.face_filter.choices = self.control.settle(before, self.face_filter.choices)
        other = manner is not None and self.face_filter.change(manner.policy, manner.cover)
        if panic or other or (before is not None and covers_more(self.applied, before)):
            self._outdate()

    def _outdate(self) -> None:
        """What was painted by people's word of before is not sent any more, nor shown again."""
        for outlet in self.outlets:
            outlet.keep_whole()
        if self.shown is not None and not self.shown.whole:
            self.shown, self.outdated = blank(self.shown), True

    def _frame(self, arrived: Arrived) -> None:
        self.taken_s = self.meters.clock()
        self.arrived[arrived.frame.index] = arrived.arrived_s
        self._emit_all(self.stages.step(arrived.frame, jumped=arrived.jumped))
        self.intake.every = self.stages.governor.plan.every
        self.stages.pressure = 1.5 if any(o.behind for o in self.outlets) else 0.0
        for outlet in self.outlets:
            outlet.slow = not self.stages.governor.plan.preview

    def _emit_all(self, ready: Sequence[CoveredFrame]) -> None:
        for covered in ready:
            arrived_s = self.arrived.pop(covered.frame.index, None)
            if covered.frame.time_s <= self.out_s:
                self.meters.tick("late")  # something was shown in its place already
                continue
            self.shown, self.outdated, self.fresh_s = covered, False, self.meters.clock()
            self.meters.tick("out")
            self._emit(Sent(covered, arrived_s))
        if self.arrived and ready:  # frames that were lost to a fault
            newest = ready[-1].frame.index
            self.arrived = {k: v for k, v in self.arrived.items() if k > newest}

    def _emit(self, sent: Sent) -> None:
        """Send a covered picture, and the sound up to its time."""
        frame = sent.covered.frame
        self.out_s, self.emitted_s = frame.time_s, self.meters.clock()
        sounds = []
        while self.intake.sounds and self.intake.sounds[0].time_s <= frame.time_s:
            sounds.append(self.intake.sounds.popleft())
        for outlet in self.outlets:
            for sound in sounds:
                outlet.offer_sound(sound)
            outlet.offer(sent)

    def _idle(self) -> None:
        """Show the last covered picture again, or the slate, where no new one is there in time."""
        now, s = self.meters.clock(), self.settings
        if now - self.taken_s > s.stall_s and self.face_filter.held:
            self._emit_all(self.face_filter.release())
        silent_s = now - self.fresh_s
        patience_s = 0.0 if self.outdated else s.lookahead_s + s.stall_s
        if silent_s < patience_s or now - self.emitted_s < s.repeat_s:
            return
        picture = self.shown if self.shown and silent_s < s.slate_s and not self.control.panic else self._slate()
        self.meters.tick("repeats")
        self._emit(Sent(at_time(picture, self._repeat_time()), None))

    def _repeat_time(self) -> float:
        """When a picture is shown that has no time of its own: before the frames that still wait, s."""
        held, s = self.face_filter.held, self.settings
        wanted = max(self.intake.now_s() - s.lookahead_s, self.out_s + s.repeat_s / 2, 0.0)
        return max(min(wanted, held[0].frame.time_s - TICK_S), self.out_s + TICK_S) if held else wanted

    def _slate(self) -> CoveredFrame:
        """Made once a size, so that it is there when memory is not."""
        if self.card is None or (self.card.frame.width, self.card.frame.height) != self._size():
            self.card = slate(*self._size(), NO_PICTURE)
        return self.card

    def _size(self) -> tuple[int, int]:
        """Of the upright picture, px, as far as it is known."""
        info = self.intake.info
        known = self.intake.size or ((info.width, info.height) if info else (0, 0))
        return known if min(known) >= LEAST_PX else self.settings.slate_size

    def _note(self, covered: CoveredFrame, tracks: Sequence[Track], kept: frozenset[int]) -> None:
        """What the newest picture shows, for the status."""
        self.kept = frozenset() if covered.whole else kept
        self.faces = tuple(FaceStatus(t.id, t.xyxy, t.id in self.kept) for t in tracks)

    def _raise_faults(self) -> None:
        """The error that ends the stream, if there is one."""
        if self.intake.fatal is not None:
            raise self.intake.fatal
        if self.stages.faults_in_row >= self.settings.faults_in_row:
            kinds = ", ".join(self.meters.whole)
            raise LiveError(f"{self.stages.faults_in_row} frames in a row were covered whole ({kinds}); stream ended")
        for outlet in self.outlets:
            if outlet.fatal is not None and not outlet.begun:
                raise outlet.fatal
        lost = [o for o in self.outlets if o.fatal is not None]
        if lost and len(lost) == len(self.outlets):
            raise LiveError(f"all outputs are gone; the last one said: {lost[-1].fatal}")

    def _tell(self) -> None:
        now = self.meters.clock()
        if now - self.told_s >= STATUS_S:
            self.told_s = now
            self.control.status = self.status()

    def status(self) -> LiveStatus:
        """A snapshot, without picture content."""
        m, plan = self.meters, self.stages.governor.plan
        frame: Frame | None = self.shown.frame if self.shown else None
        slating = m.clock() - self.fresh_s > self.settings.slate_s
        return LiveStatus(
            state="slate" if slating else "live", panic=self.control.panic,
            width=frame.width if frame else 0, height=frame.height if frame else 0,
            fps_in=round(m.rate("in"), 1), fps_out=round(m.rate("out"), 1), latency_ms=m.percentiles_ms(),
            frames=m.counts["out"], drops=m.counts["drops"] + m.counts["output_drops"], repeats=m.counts["repeats"],
            whole=dict(m.whole), edges=dict(m.edges), reconnects=self.intake.reconnects,
            imgsz=plan.imgsz, every=plan.every, preview=plan.preview,
            slow=in_words(plan, self.stages.governor.plans[0]), faces=self.faces,
            outputs=tuple(o.status for o in self.outlets),
        )  # fmt: skip

    def _close(self) -> None:
        """End the threads: input first, so that nothing new comes; outputs send what waits."""
        self.intake.close()
        for outlet in self.outlets:
            outlet.closing.set()
        for outlet in self.outlets:
            outlet.close()
        self.stages.close()
        self.control.status = replace(self.status(), state="ended")
