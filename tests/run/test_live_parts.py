"""The pure parts of the live driver, with made-up clocks."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bystander.run.backoff import BackOff
from bystander.run.control import Control
from bystander.run.face_filter import FaceFilter, FilterSettings
from bystander.run.governor import Governor, in_words
from bystander.run.keys import HELP, Keys
from bystander.run.live_meters import LiveMeters
from bystander.run.live_stages import Late, LiveStages, Watched, check
from bystander.run.slot import Slot
from bystander.run.stamps import Stamps
from bystander.stages.cover import CoverSettings
from bystander.stages.policy import Policy, PolicySettings
from bystander.types import Choices
from fakes import faces, noise_frame


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_newest_item_wins_in_the_slot():
    """What nobody took is replaced, and the producer is told."""
    slot = Slot()
    assert slot.put(1)
    assert not slot.put(2)
    assert slot.take(0) == 2
    assert slot.take(0) is None


def test_a_waiting_consumer_gets_the_item():
    """take wakes up when something comes."""
    slot, got = Slot(), []
    t = threading.Thread(target=lambda: got.append(slot.take(5)))
    t.start()
    slot.put("x")
    t.join(5)
    assert got == ["x"]


@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(0, 10)), min_size=1, max_size=50))
def test_stream_times_rise_whatever_the_clocks_do(steps):
    """Jumps back, jumps ahead and stand-still never make a picture's time fall."""
    stamps, now, out = Stamps(), 0.0, []
    for source, passed in steps:
        now += passed
        out.append(stamps.picture(source, now)[0])
    assert (np.diff(out) > 0).all()


@pytest.mark.parametrize(("second", "jumped"), [(0.04, False), (0.9, False), (5.0, True), (-0.1, True), (-3e5, True)])
def test_a_clock_that_jumps_is_told(second, jumped):
    """A step back, or one far ahead of the time that passed, is a jump; the next time is then the arrival's."""
    stamps = Stamps()
    stamps.picture(0.0, 10.0)
    time_s, told = stamps.picture(second, 10.04)
    assert told is jumped
    if jumped:
        assert time_s == pytest.approx(10.04)


def test_a_burst_after_a_stall_is_no_jump():
    """Frames that a late network delivers at once keep their distances."""
    stamps = Stamps()
    stamps.picture(0.0, 0.0)
    got = [stamps.picture(i / 25, 1.5) for i in range(1, 30)]
    assert not any(jumped for _, jumped in got)
    assert np.diff([t for t, _ in got]) == pytest.approx(0.04)


def test_a_source_that_falls_behind_is_moved_along():
    """A slow clock, or decoding slower than real time: a gap in the times, as if frames were dropped, but no jump."""
    stamps = Stamps()
    stamps.picture(0.0, 0.0)
    got = [stamps.picture(i / 25, 3 + i / 25) for i in range(1, 80)]
    assert not any(jumped for _, jumped in got)
    assert got[-1][0] == pytest.approx(3 + 79 / 25)
    slow = [stamps.picture(3.16 + i / 50, 6.16 + i / 25) for i in range(1, 2000)]
    assert not any(jumped for _, jumped in slow)
    assert all(6.16 + i / 25 - time_s < 1.5 for i, (time_s, _) in enumerate(slow, 1))


def test_a_source_that_ran_ahead_keeps_its_distances_over_a_reconnect():
    """A server hands out two seconds at once; after a short cut pictures are not squeezed together, sound fits them."""
    stamps = Stamps()
    before = [stamps.picture(10 + i / 25, i / 1000)[0] for i in range(50)]
    stamps.reconnect()
    after = [stamps.picture(90 + i / 25, 0.5 + i / 25)[0] for i in range(10)]
    assert after[0] > before[-1]
    assert np.diff(after) == pytest.approx(0.04)
    assert stamps.sound(90.2) == pytest.approx(after[5])


def test_sound_moves_with_the_picture():
    """Sound gets the picture's offset, over reconnects too, and none before the first picture."""
    stamps = Stamps()
    assert stamps.sound(5.0) is None
    stamps.picture(100.0, 7.0)
    assert stamps.sound(100.5) == pytest.approx(7.5)
    stamps.reconnect()
    stamps.picture(3.0, 20.0)
    assert stamps.sound(3.1) == pytest.approx(20.1)


def drive(governor, load, seconds, start=0.0):
    """Feed a constant load at 25 frames a second; returns the plans on the way."""
    of = load if callable(load) else lambda _plan: load
    moments = (start + i / 25 for i in range(round(seconds * 25)))
    return [governor.plan for now in moments if governor.update(of(governor.plan), now)]


def test_the_governor_lowers_resolution_then_rate_then_preview():
    """The order is the promised one, and it ends with the cheapest plan."""
    governor = Governor(640)
    plans = drive(governor, 2.0, 60)
    assert [(p.imgsz, p.every, p.preview) for p in plans] == [
        (512, 1, True), (416, 1, True), (320, 1, True), (320, 2, True), (320, 3, True), (320, 3, False)]  # fmt: skip
    assert in_words(plans[-1], governor.plans[0]) == "detector at 320 px, every 3. frame goes out, no preview"


def test_the_governor_goes_back_up_when_there_is_slack():
    """After the load has gone everything is as wished again."""
    governor = Governor(640)
    drive(governor, 2.0, 60)
    drive(governor, 0.05, 200, start=60)
    assert governor.plan == governor.plans[0]
    assert in_words(governor.plan, governor.plans[0]) == ""


def test_the_governor_does_not_swing():
    """A machine that keeps up with 512 but not with 640 px is tried ever more seldom."""
    governor = Governor(640)
    plans = drive(governor, lambda plan: 1.3 if plan.imgsz > 512 else 0.3, 300)
    ups = [p for p in plans if p.imgsz == 640]
    assert 1 <= len(ups) <= 8


def test_the_farther_too_slow_the_sooner_the_governor_acts():
    """Five times too slow: the lowest resolution within 1.5 s, before the late frames end the stream."""
    governor = Governor(640)
    drive(governor, 5.0, 1.5)
    assert governor.plan.imgsz == 320


def test_one_slow_frame_changes_nothing():
    """A single frame that takes for ever does not lower the plan."""
    governor = Governor(640)
    assert not drive(governor, 0.5, 5)
    governor.update(1e9, 5.0)
    assert not drive(governor, 0.5, 5, start=5.04)


def test_back_off_doubles_up_to_its_limit_and_starts_over():
    """Waits double to ten seconds; a connection that held for a while resets them."""
    b = BackOff()
    assert [b.failed() for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert b.failed(lasted_s=60) == 0.5


def test_meters_give_rates_and_percentiles_of_the_newest_time():
    """fps and latencies follow the clock that was given."""
    clock = Clock()
    meters = LiveMeters(clock)
    for i in range(250):
        clock.now = i / 25
        meters.tick("in")
        meters.took("total", i / 1000)
    assert meters.rate("in") == pytest.approx(25, abs=0.5)
    assert meters.percentiles_ms()["total"] == (125, 237, 247)
    clock.now += 100
    assert meters.rate("in") == 0


def test_keys_panic_keep_cover_and_quit():
    """p, 12k, 3c, r and q do what they say; a choice needs a number."""
    control = Control()
    keys = Keys(control)
    for key in "12k3k3c":
        keys.press(key)
    assert (control.choices.keep, control.choices.cover) == ({12}, {3})
    assert "number" in keys.press("k")
    assert "PANIC" in keys.press("p")
    assert control.panic
    keys.press("p")
    assert not control.panic
    keys.press("r")
    assert not control.choices.keep | control.choices.cover
    assert keys.press("x") == HELP
    keys.press("q")
    assert control.stop_asked.is_set()


def test_cover_beats_keep():
    """A face that is in both lists is covered."""
    control = Control()
    control.choose(frozenset({1, 2}), frozenset({2}))
    assert control.choices.keep == {1}


def stages(detect, clock=None, **settings):
    meters = LiveMeters(clock or Clock())
    face_filter = FaceFilter(detect, FilterSettings(lookback_s=settings.pop("lookback_s", 0.0)), meters)
    return LiveStages(face_filter, lambda _px: detect, meters, Governor(640), settings.pop("deadline_s", 2.0))


def test_a_late_detector_covers_the_frame_and_those_after_it():
    """Until the late answer is there, frames are covered whole at once instead of waiting behind it."""
    go = threading.Event()

    def detect(_frame):
        go.wait(10)
        return faces((16, 12, 40, 36))

    s = stages(detect, deadline_s=0.05)
    for i in range(3):
        (covered,) = s.step(noise_frame(index=i))
        assert covered.whole
    assert s.meters.whole == {"detector: late": 3}
    assert s.faults_in_row == 3
    go.set()
    s.watched.newest.answered.wait(5)
    (covered,) = s.step(noise_frame(index=3))
    assert not covered.whole
    assert s.faults_in_row == 0


def test_late_frames_lower_the_detectors_resolution():
    """Frames behind a late one are covered at once and cost no time; the governor still knows that it is too slow."""
    clock = Clock()
    s = stages(lambda _: None, clock)

    def late(_frame, deadline_s):
        raise Late

    s.watched.__class__ = type("Late", (Watched,), {"__call__": lambda *_: late(*_[1:])})
    for i in range(60):
        clock.now = i / 25
        (covered,) = s.step(noise_frame(index=i))
        assert covered.whole
    assert s.governor.plan.imgsz == 320


def test_a_resolution_for_which_no_detector_can_be_made_changes_nothing():
    """The one before goes on, also when its weights are gone meanwhile."""
    s = stages(lambda _: faces())
    before = s.face_filter.detector
    s.size = (64, 48)

    def gone(_px):
        raise FileNotFoundError

    s.make_detector = gone
    s.change(640)
    assert s.face_filter.detector is before


def test_a_hanging_detector_is_not_asked_again():
    """No second question is queued behind one that hangs."""
    go = threading.Event()
    asked = []
    watched = Watched(lambda f: (asked.append(f.index), go.wait(10))[0])
    for i in range(3):
        with pytest.raises(Late):
            watched(noise_frame(index=i), 0.02)
    go.set()
    assert asked == [0]


@pytest.mark.parametrize("how", ["dtype", "chroma", "read-only", "tiny"])
def test_frames_that_cannot_be_painted_are_refused(how):
    """Planes that are not writable 8-bit 4:2:0 never enter the stages."""
    f = noise_frame()
    if how == "dtype":
        f = replaced(f, y=f.y.astype(np.uint16))
    if how == "chroma":
        f = replaced(f, u=f.u[:4])
    if how == "read-only":
        f.y.flags.writeable = False
    if how == "tiny":
        f = replaced(f, y=f.y[:1, :1], u=f.u[:1, :1], v=f.v[:1, :1])
    with pytest.raises(ValueError):
        check(f)


def replaced(frame, **planes):
    from dataclasses import replace

    return replace(frame, **planes)


def test_a_new_detector_is_warm_before_it_is_used():
    """A change of resolution never makes frames wait for the first, slow call of the new detector."""
    called = []

    def make(px):
        return lambda frame: (called.append((px, frame.index)), faces())[1]

    meters = LiveMeters(Clock())
    face_filter = FaceFilter(make(640), FilterSettings(lookback_s=0.0), meters)
    s = LiveStages(face_filter, make, meters, Governor(640), 2.0)
    s.step(noise_frame(index=7))
    s.governor.level = 1
    s.change(512)
    s.step(noise_frame(index=8))
    assert called == [(640, 7), (512, 0), (512, 8)]


def test_a_detector_that_is_ready_too_late_is_not_used():
    """When the plan has moved on meanwhile, the old resolution does not come back."""
    s = stages(lambda _: faces())
    before = s.face_filter.detector
    s.size = (64, 48)
    s.governor.level = 2
    s.change(512)
    assert s.face_filter.detector is before


def test_a_word_that_comes_while_the_stream_looks_is_not_lost():
    """What a person says between two frames holds, even when a click has settled meanwhile."""
    control = Control()
    applied = control.settle(None, Choices())
    control.cover(4)
    assert control.settle(applied, Choices(keep=frozenset({4}))).cover == {4}


def test_what_clicks_found_holds_when_nobody_said_anything_else():
    control = Control()
    applied = control.settle(None, Choices())
    assert control.settle(applied, Choices(keep=frozenset({4}))).keep == {4}
    assert control.choices.keep == {4}


def test_a_choice_can_be_taken_back():
    """Forgotten faces are neither kept nor covered by a person; the rule decides again."""
    control = Control()
    control.keep(1)
    control.cover(2)
    control.forget(1)
    control.forget(2)
    assert (control.choices.keep, control.choices.cover) == (frozenset(), frozenset())


def test_another_manner_holds_for_frames_that_wait():
    """Style and margin of a running stream change with the next frame that leaves."""
    face_filter = FaceFilter(lambda _: faces(), FilterSettings(lookback_s=1.0), LiveMeters())
    face_filter.push(noise_frame(), faces((16, 12, 40, 36)))
    before = noise_frame().y
    face_filter.change(PolicySettings(grow=1.5, shape="box"), CoverSettings("solid"))
    covered = face_filter.release()[0]
    region = covered.regions[0]
    assert region.shape == "box"
    assert (covered.frame.y[region.y1 : region.y2, region.x1 : region.x2] == 128).all()
    assert np.array_equal(covered.frame.y[:2], before[:2])


def test_to_forget_all_choices_is_told_as_what_it_is():
    """r leaves the rule its word: with --keep auto the subject stays sharp, so nobody is told otherwise."""
    assert "--keep" in Keys(Control()).press("r")


def test_another_rule_finds_its_people_afresh():
    """Who was a subject under "auto" before it was switched off must be seen for a while again."""
    policy = Policy(PolicySettings("auto"))
    policy.subjects.places.add(3)
    policy.change(PolicySettings("auto", grow=2.0))
    assert policy.subjects.places == {3}
    policy.change(PolicySettings("none"))
    policy.change(PolicySettings("auto"))
    assert not policy.subjects.places
