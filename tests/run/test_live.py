"""The live driver with fake edges: what leaves, when, and what happens when an edge breaks."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from bystander.errors import InputError, LiveError, OutputError, SettingsError
from bystander.run.control import Control, Manner, covers_more
from bystander.run.live import LiveSettings, LiveStream
from bystander.run.live_meters import LiveMeters
from bystander.run.live_output import Outlet, Output, Sent
from bystander.stages.cover import CoverSettings, cover, cover_whole
from bystander.stages.policy import PolicySettings
from bystander.types import Choices, CoveredFrame, Sound, Verdict
from fakes import FakeLive, FakeSink, faces, noise_frame

BOX = (16, 12, 40, 36)
QUICK = LiveSettings(lookahead_s=0.0, stall_s=0.1, slate_s=0.3, repeat_s=0.03)


def clip(n=25):
    return [noise_frame(index=i) for i in range(n)]


def go(source, *sinks, detect=lambda _: faces(BOX), settings=QUICK, control=None):
    """Run a stream to its end; ``source``: a FakeLive or a function that opens one. Returns the stream."""
    outputs = [Output(f"fake{i}", sink.open) for i, sink in enumerate(sinks)]
    opener = source if callable(source) else lambda: source
    stream = LiveStream(opener, outputs, lambda _px: detect, settings, control)
    stream.run()
    return stream


def test_every_picture_leaves_covered_and_in_order():
    """Times rise, and the face's pixels are gone in every picture of the source."""
    frames, sink = clip(), FakeSink()
    raw = {f.y[12:36, 16:40].tobytes() for f in frames}
    go(FakeLive(frames), sink)
    assert len(sink.pictures) >= 10
    assert sink.times == sorted(set(sink.times))
    assert all(p[12:36, 16:40].tobytes() not in raw for p in sink.pictures)


def test_a_slate_comes_before_the_first_picture():
    """Until the first covered picture exists, the output shows a card of the input's size."""
    sink = FakeSink()
    go(FakeLive(clip(5), step_s=0.1), sink)
    assert sink.whole[0]
    assert sink.pictures[0].shape == (48, 64)


@pytest.mark.parametrize("turn", [0, 90])
def test_the_slate_has_the_shape_of_the_picture_as_it_is_shown(turn):
    """Outputs keep the size of their first picture, so it must be that of a turned phone's, told before or not."""
    frames, sink = [replace(f, rotation_deg=turn) for f in clip(5)], FakeSink()
    source = FakeLive(frames, step_s=0.1)
    source.info = replace(source.info, width=0, height=0)
    go(source, sink)
    assert sink.whole[0]
    assert sink.pictures[0].shape == ((64, 48) if turn else (48, 64))


def test_a_film_waits_until_the_outputs_and_the_detector_are_ready():
    """Nothing of a file is lost while the detector's first call takes its time, and a slate is shown meanwhile."""
    slow = [0.5]

    def detect(_frame):
        time.sleep(slow.pop() if slow else 0)
        return faces(BOX)

    sink = FakeSink()
    stream = go(FakeLive(clip(20), step_s=0.03), sink, detect=detect)
    assert stream.meters.counts["in"] == 20
    assert stream.meters.counts["drops"] <= 5
    assert sum(sink.whole) >= 2
    assert sum(not w for w in sink.whole) >= 12


def test_a_film_that_fails_in_the_middle_is_not_played_again():
    """A file that cannot be read on ends the stream; only what is live is opened again."""
    sink = FakeSink()
    with pytest.raises(InputError, match="damaged"):
        go(FakeLive([*clip(10), InputError("damaged"), *clip(10)]), sink)
    assert not all(sink.whole)


def test_a_detector_that_hangs_from_the_start_shows_a_slate_and_obeys():
    """Before the first answer there is a slate, and stop ends the stream."""
    control, sink, release = Control(), FakeSink(), threading.Event()

    def stop():
        end = time.monotonic() + 15
        while len(sink.whole) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        control.stop()
        time.sleep(1)
        release.set()

    threading.Thread(target=stop).start()
    go(FakeLive(clip(500), step_s=0.03, endless=True), sink, detect=lambda _f: (release.wait(20), faces())[1],
       control=control)  # fmt: skip
    assert len(sink.whole) >= 3
    assert all(sink.whole)


def test_a_detector_ten_times_too_slow_is_asked_for_less_and_the_stream_lives():
    """A second at 640 px: every frame is late and covered whole until the governor has come down, then it goes on."""
    sink = FakeSink()

    def make(px):
        def detect(_frame):
            time.sleep((px / 640) ** 2)
            return faces(BOX)

        return detect

    frames = [noise_frame(index=i) for i in range(240)]
    raw = {f.y[12:36, 16:40].tobytes() for f in frames}
    settings = LiveSettings(lookahead_s=0.0, deadline_s=0.5)
    stream = LiveStream(lambda: FakeLive(frames, step_s=0.04, endless=False), [Output("x", sink.open)], make, settings)
    stream.run()
    assert stream.meters.whole["detector: late"] > 5
    assert stream.stages.governor.plan.imgsz == 320
    assert not sink.whole[-1]
    assert all(p[12:36, 16:40].tobytes() not in raw for p in sink.pictures)


def test_all_outputs_get_the_pictures():
    """Two outputs show the same."""
    a, b = FakeSink(), FakeSink()
    go(FakeLive(clip()), a, b)
    assert len(a.pictures) == len(b.pictures)
    assert all(np.array_equal(p, q) for p, q in zip(a.pictures, b.pictures, strict=True))


def test_a_face_found_late_is_covered_in_the_frames_before():
    """With look-ahead the frames just before a face's first detection leave covered, too."""
    # one shot (noise that changes is a cut in every frame), in which the top row tells the frames apart
    frames, sink = [replace(noise_frame(), index=i, time_s=i / 25) for i in range(30)], FakeSink()
    for frame in frames:
        frame.y[0] = frame.index
    raw = frames[0].y[12:36, 16:40].copy()
    settings = LiveSettings(lookahead_s=0.3)
    go(FakeLive(frames, step_s=0.03), sink, settings=settings,
                detect=lambda f: faces(BOX) if f.index >= 20 else faces())  # fmt: skip
    sharp = [int(p[0, 0]) for p in sink.pictures if np.array_equal(p[12:36, 16:40], raw)]
    assert sharp[-1] < 17
    assert 0 in sharp


def test_sound_leaves_with_the_picture_of_its_time():
    """A piece of sound is sent just before the first picture that is not older than it."""
    items = []
    for i, frame in enumerate(clip(20)):
        items += [Sound(np.full((2, 960), i / 100, np.float32), 48_000, i / 25), frame]
    sink = FakeSink()
    go(FakeLive(items, step_s=0.04), sink, settings=LiveSettings(lookahead_s=0.2))
    assert len(sink.sounds) >= 15
    for position, sound in sink.sounds:
        before, after = sink.times[position - 1], sink.times[position]
        assert before < sound.time_s + 1e-6
        assert sound.time_s <= after + 1e-6


def test_a_lost_input_becomes_a_slate_and_comes_back():
    """While the input is away the output shows repeats, then a slate; then it goes on, times still rising."""
    opened = []

    def opener():
        opened.append(1)
        if len(opened) == 2:
            raise InputError("still away")
        return FakeLive([*clip(10), InputError("cable")] if len(opened) == 1 else clip(10), endless=len(opened) == 1)

    sink = FakeSink()
    stream = go(opener, sink, settings=LiveSettings(lookahead_s=0, stall_s=0.1, slate_s=0.2, repeat_s=0.05))
    assert len(opened) == 3
    assert stream.intake.reconnects == 1
    assert sink.times == sorted(set(sink.times))
    kinds = "".join("s" if w else "." for w in sink.whole)
    assert "..sss" in kinds
    assert kinds.endswith("...")


def test_a_lost_output_comes_back_while_the_others_go_on():
    """One output that breaks is opened again; the other one misses nothing."""
    bad, good = FakeSink(faults=[5]), FakeSink()
    stream = go(FakeLive(clip(60), step_s=0.02), bad, good)
    assert bad.opened == 2
    assert bad.closed == 2
    assert len(bad.pictures) > 5
    assert len(good.pictures) >= 40
    assert stream.outlets[0].reconnects == 1


@pytest.mark.parametrize("wrong", ["input", "output"])
def test_a_first_connection_that_fails_is_told_at_once(wrong):
    """A mistyped address ends the run instead of being tried for ever."""

    def refuse():
        raise InputError("nobody there") if wrong == "input" else OutputError("nobody there")

    stream = LiveStream(refuse if wrong == "input" else lambda: FakeLive(clip(500)),
                        [Output("x", refuse if wrong == "output" else FakeSink().open)], lambda _: lambda _f: faces(),
                        QUICK)  # fmt: skip
    with pytest.raises((InputError, OutputError), match="nobody there"):
        stream.run()


def test_an_output_that_hangs_holds_up_nobody():
    """One sink that never returns: the other goes on, and the end comes."""
    stuck, good = FakeSink(), FakeSink()
    release = threading.Event()
    stuck.picture = lambda _c: release.wait(20)
    started = time.monotonic()
    stream = LiveStream(lambda: FakeLive(clip(), step_s=0.01), [Output("a", stuck.open), Output("b", good.open)],
                        lambda _: lambda _f: faces(), QUICK)  # fmt: skip
    stream.run()
    release.set()
    assert len(good.pictures) >= 15
    assert time.monotonic() - started < 15


def test_panic_covers_everything_even_what_waits():
    """After panic not one picture leaves that is not covered whole, though 0.5 s of frames wait in the look-ahead."""
    control, sink = Control(), FakeSink()
    frames = clip(60)

    def detect(frame):
        if frame.index == 30:
            control.panic = True
        return faces()

    go(FakeLive(frames, step_s=0.02), sink, detect=detect, control=control, settings=LiveSettings(lookahead_s=0.5))
    last_sharp = max(i for i, whole in enumerate(sink.whole) if not whole)
    assert sum(not w for w in sink.whole) <= 31
    assert all(sink.whole[last_sharp + 1 :])
    assert len(sink.whole) - last_sharp > 20


def test_panic_reaches_what_waits_in_an_output():
    """A platform that takes pictures late gets none from before panic any more."""
    sink = FakeSink()
    outlet = Outlet(Output("x", sink.open), LiveMeters(), wait=False)
    hold = threading.Event()
    show = sink.picture
    sink.picture = lambda c: (sink.pictures and hold.wait(10), show(c))
    for i in range(6):
        outlet.offer(Sent(cover(noise_frame(index=i), (), CoverSettings()), None))
        time.sleep(0.05)
    outlet.keep_whole()
    outlet.offer(Sent(cover_whole(noise_frame(index=9)), None))
    hold.set()
    outlet.close()
    assert sink.whole == [True, False, True]  # the one that opened it, blank; the second was on its way already


def test_choices_take_effect_and_are_seen_in_the_status():
    """keep leaves the face sharp, cover takes it back."""
    control, sink = Control(), FakeSink()
    seen = []

    def detect(frame):
        if frame.index == 10:
            control.keep(1)
        if frame.index == 30:
            seen.append(control.status.faces)
            control.cover(1)
        return faces(BOX)

    frames = clip(45)
    raw = {f.y[12:36, 16:40].tobytes() for f in frames}
    go(FakeLive(frames, step_s=0.03), sink, detect=detect, control=control)
    sharp = [p[12:36, 16:40].tobytes() in raw for p in sink.pictures]
    assert any(sharp)
    assert not any(sharp[:8])
    assert not any(sharp[-8:])
    assert [(f.id, f.kept) for f in seen[0]] == [(1, True)]


def test_stop_ends_the_stream():
    """control.stop() ends a source that would go on for ever, and closes everything."""
    control, sink, source = Control(), FakeSink(), FakeLive([noise_frame(index=i) for i in range(3000)])
    threading.Timer(0.3, control.stop).start()
    go(source, sink, control=control)
    assert source.closed.is_set()
    assert sink.closed == 1
    assert control.status.state == "ended"


def test_only_covered_frames_are_taken_by_an_outlet():
    """A raw frame offered to an output is a TypeError, before any queue."""
    sink = FakeSink()
    stream = go(FakeLive(clip(3)), sink)
    with pytest.raises(TypeError, match="only covered"):
        stream.outlets[0].offer(type("Sent", (), {"covered": noise_frame(), "arrived_s": 0.0})())


def test_nothing_but_covered_frames_reaches_a_sink():
    """Pictures, repeats and slates are all CoveredFrames."""
    seen = []

    class Strict(FakeSink):
        def picture(self, covered):
            seen.append(type(covered))

    go(FakeLive([*clip(5), *clip(5)], step_s=0.2), Strict())
    assert set(seen) == {CoveredFrame}


def test_a_slow_detector_drops_frames_in_the_slot_only():
    """Ten times too slow: frames are dropped at the input and counted, and all that leave are covered."""

    def slow(_frame):
        time.sleep(0.05)
        return faces(BOX)

    frames, sink = clip(200), FakeSink()
    raw = {f.y[12:36, 16:40].tobytes() for f in frames}
    stream = go(FakeLive(frames, step_s=0.005), sink, detect=slow)
    assert stream.meters.counts["drops"] > 100
    assert all(p[12:36, 16:40].tobytes() not in raw for p in sink.pictures)


def test_too_many_faults_in_a_row_end_the_stream():
    """A detector that never answers ends the stream with an error that names the fault, never with a raw picture."""

    def broken(_frame):
        raise RuntimeError

    sink = FakeSink()
    settings = LiveSettings(lookahead_s=0, faults_in_row=10)
    with pytest.raises(LiveError, match=r"10 frames in a row.*RuntimeError"):
        go(FakeLive(clip(100), step_s=0.02), sink, detect=broken, settings=settings)
    assert all(sink.whole)


@pytest.mark.parametrize("bad", [{"lookahead_s": -0.1}, {"lookahead_s": 2.0}, {"faults_in_row": 0}])
def test_settings_out_of_range_are_refused(bad):
    """Look-ahead lies between 0 and 1 s."""
    with pytest.raises(SettingsError):
        LiveSettings(**bad)


def test_what_is_said_while_the_detector_works_holds_for_that_picture():
    """Panic and choices need not wait for the next picture."""
    control, sink = Control(), FakeSink()

    def detect(frame):
        control.panic |= frame.index >= 3
        return faces(BOX)

    go(FakeLive(clip(8), step_s=0.05), sink, detect=detect, control=control)
    shown = [int(p[0, 0]) for p, whole in zip(sink.pictures, sink.whole, strict=True) if not whole]
    assert shown
    assert max(shown) < 3  # the top row tells the picture's index


class Standing(FakeLive):
    """A camera that stands still at its end for a while, and says so."""

    def __init__(self, items, still_s, on_still=lambda: None):
        super().__init__(items, step_s=0.03)
        self.still_s, self.on_still = still_s, on_still

    def __iter__(self):
        yield from super().__iter__()
        self.closed.wait(0.3)
        self.on_still()
        self.closed.wait(self.still_s)


WORDS = {
    "nothing": lambda _c: None,
    "cover him": lambda c: c.cover(1),
    "keep him no more": lambda c: c.forget(1),
    "cover by default": lambda c: c.choose(frozenset(), frozenset()),
    "another style": lambda c: setattr(c, "manner", Manner(PolicySettings(), CoverSettings("solid"))),
    "panic": lambda c: setattr(c, "panic", True),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_covers_more_holds_for_pictures_that_are_shown_again(word):
    """The input stands still while a kept face is on air: once somebody says to cover it, it is not repeated."""
    control, sink, said = Control(), FakeSink(), []
    control.choose(frozenset({1}), frozenset(), Verdict.KEEP)
    frames = clip(20)
    raw = frames[0].y[13:36, 16:40].tobytes()

    def speak():
        time.sleep(0.3)  # for the pictures that are on their way, and a repeat
        WORDS[word](control)
        time.sleep(0.2)  # until it was taken
        said.append(len(sink.pictures))

    settings = LiveSettings(lookahead_s=0.0, stall_s=0.1, slate_s=5.0, repeat_s=0.05)
    go(Standing(frames, 0.6, speak), sink, settings=settings, control=control)
    sharp = [p[13:36, 16:40].tobytes() == raw for p in sink.pictures]
    assert any(sharp[: said[0]])
    assert len(sharp) - said[0] > 3
    assert all(sharp[said[0] :]) if word == "nothing" else not any(sharp[said[0] :])


def test_a_word_that_covers_more_is_not_kept_waiting_by_a_stall():
    """What viewers see frozen is replaced at once, not when the input has been silent for long."""
    control, sink = Control(), FakeSink()
    control.keep(1)
    moments = []
    source = Standing(clip(10), 0.5, lambda: (control.cover(1), moments.append(len(sink.whole))))
    go(source, sink, settings=LiveSettings(lookahead_s=0.0, stall_s=5.0, slate_s=9.0, repeat_s=0.1), control=control)
    assert not any(sink.whole[1 : moments[0]])
    assert sink.whole[moments[0] : moments[0] + 1] == [True]


def test_a_word_that_covers_less_keeps_what_waits():
    """Keeping somebody is no reason to leave pictures out."""
    a, b = Choices(cover=frozenset({1})), Choices(keep=frozenset({2}), default=Verdict.KEEP)
    assert not covers_more(b, a)
    assert covers_more(a, b)
    assert covers_more(replace(b, rules=False), b)


def test_a_connection_that_is_long_in_coming_begins_blank():
    """A caller who comes hours later is not shown the picture that has waited for them, painted by an older word."""
    sink, called = FakeSink(), threading.Event()
    show = sink.picture
    sink.picture = lambda c: (called.wait(10), show(c))
    outlet = Outlet(Output("x", sink.open), LiveMeters(), wait=False)
    outlet.offer(Sent(cover(noise_frame(), (), CoverSettings()), None))
    time.sleep(0.2)
    outlet.keep_whole()
    called.set()
    outlet.close()
    assert [p.tolist() for p in sink.pictures] == [np.full((48, 64), 128).tolist()]
