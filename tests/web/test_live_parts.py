"""The parts of a live session that need no network: the way out, messages, sizes, times, offers."""

import asyncio
import inspect
import json
import queue
import threading
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av
import numpy as np
import pytest
from aiortc import RTCRtpReceiver, RTCRtpSender
from hypothesis import given, settings
from hypothesis import strategies as st

from bystander.errors import InputError, SettingsError
from bystander.stages.cover import cover_whole
from bystander.types import CoveredFrame, Sound
from bystander.web.errors import ApiError
from bystander.web.live import protocol
from bystander.web.live.backlog import AGAIN, Backlog, is_whole
from bystander.web.live.frames import Fitting, Hearing, to_frame
from bystander.web.live.offers import checked, limited, near, own_network
from bystander.web.live.peer import RTP_WRAP, RtpClock
from bystander.web.live.pipeline import Pipeline, Sight, Wanted
from bystander.web.live.protocol import Sent, Talk, face_of
from bystander.web.live.sound import PIECE, SoundTrack
from bystander.web.live.source import Anchor, WebSource
from bystander.web.live.track import CoveredTrack, Feed
from fakes import faces, noise_frame

FACE = Sight(3, (100.0, 100.0, 200.0, 200.0), kept=False, evidence=0.5, seen=True)


def on_loop(work):
    return asyncio.run(work())


def luma(picture):
    return picture.to_ndarray(format="yuv420p")[: picture.height]


def pipeline():
    made = Pipeline(lambda _px: lambda _frame: faces(), Wanted(mode="none"), lambda: None)
    made.stream.face_filter.known.add(3)
    return made


@pytest.fixture
def talk():
    talk = Talk(pipeline())
    talk.sent.append(Sent(5.0, 640, 360, (FACE,)))
    yield talk
    talk.pipeline.close()


# --- the way out ---


def test_nothing_but_covered_frames_can_be_shown():
    """A raw frame, a picture of the decoder and an array are refused by the track and by the feed."""

    async def work():
        track, feed = CoveredTrack(lambda: False), Feed()
        for raw in (noise_frame(), av.VideoFrame(64, 48, "yuv420p"), np.zeros((48, 64), np.uint8), None):
            with pytest.raises(TypeError):
                track.show(raw)
            with pytest.raises(TypeError):
                feed.picture(raw)
        assert track.newest is None

    on_loop(work)


def test_the_first_picture_is_a_slate_even_when_a_covered_one_waits():
    """WebRTC gets a picture at once, with nothing of the input in it."""

    async def work():
        track = CoveredTrack(lambda: False)
        track.show(CoveredFrame(noise_frame(), (), whole=False))
        first, second = luma(await track.recv()), luma(await track.recv())
        assert np.abs(first[:100].astype(int) - 128).max() == 0
        assert second.shape == (48, 64)

    on_loop(work)


def test_panic_covers_a_picture_that_waits():
    """What was painted before panic and not yet sent is never sent."""

    async def work():
        panic = False
        track = CoveredTrack(lambda: panic)
        await track.recv()
        track.show(CoveredFrame(noise_frame(640, 360), (), whole=False))
        panic = True
        assert np.abs(luma(await track.recv())[:100].astype(int) - 128).max() == 0
        track.nudge()
        assert np.abs(luma(await track.recv())[:100].astype(int) - 128).max() == 0

    on_loop(work)


def test_a_late_pipeline_shows_the_last_picture_again_and_then_a_slate(monkeypatch):
    """Both are counted, and the times still rise."""
    monkeypatch.setattr("bystander.web.live.track.STALL_S", 0.02)
    monkeypatch.setattr("bystander.web.live.track.SLATE_S", 0.2)

    async def work():
        track = CoveredTrack(lambda: False)
        await track.recv()
        track.show(CoveredFrame(noise_frame(), (), whole=False))
        pictures = [await track.recv() for _ in range(3)]
        assert all(np.array_equal(luma(p), luma(pictures[0])) for p in pictures)
        assert track.repeats == 2
        await asyncio.sleep(0.25)
        assert np.abs(luma(await track.recv())[:10].astype(int) - 128).max() == 0
        assert track.slates >= 1
        pts = [p.pts for p in pictures]
        assert pts == sorted(set(pts))

    on_loop(work)


def test_a_page_that_cannot_be_told_still_gets_pictures():
    """A fault in what is said about a picture does not end the pictures."""

    async def work():
        def fail(_shown):
            raise RuntimeError("broken")

        track = CoveredTrack(lambda: False, fail)
        assert luma(await track.recv()).shape == (360, 640)
        track.nudge()
        assert luma(await track.recv()).shape == (360, 640)

    on_loop(work)


def test_a_fault_in_answering_is_an_answer(talk, monkeypatch):
    monkeypatch.setattr(talk.pipeline, "panic", lambda **_how: 1 / 0)
    assert talk.answer('{"kind": "panic", "on": true}')["code"] == "fault"


def test_a_wholly_covered_picture_keeps_the_size_of_the_stream():
    async def work():
        track = CoveredTrack(lambda: False)
        await track.recv()
        track.show(CoveredFrame(noise_frame(320, 180), (), whole=False))
        await track.recv()
        track.show(cover_whole(noise_frame(64, 48)))
        assert luma(await track.recv()).shape == (180, 320)

    on_loop(work)


def test_sound_comes_out_evenly_and_silence_where_there_is_none():
    """Pieces of 20 ms; it begins once some waits, what piles up is dropped."""

    async def work():
        track = SoundTrack()
        assert not (await track.recv()).to_ndarray().any()
        track.hear(Sound(np.full((2, PIECE), 0.5, np.float32), 48_000, 0.0))
        assert not (await track.recv()).to_ndarray().any()  # too little yet
        track.hear(Sound(np.full((2, 2 * PIECE), 0.5, np.float32), 48_000, 0.0))
        pieces = [await track.recv() for _ in range(4)]
        assert [bool(p.to_ndarray().any()) for p in pieces] == [True, True, True, False]
        assert [p.pts for p in pieces] == [2 * PIECE, 3 * PIECE, 4 * PIECE, 5 * PIECE]
        track.hear(Sound(np.zeros((2, 480_000), np.float32), 48_000, 0.0))
        assert track.buffer.shape[1] == 24_000

    on_loop(work)


# --- messages ---


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_message"), ("nonsense", "bad_message"), ("[]", "bad_message"), ("3", "bad_message"),
        (b"\x00\xff", "bad_message"), (None, "bad_message"), ("[" * 1500, "bad_message"), ("x" * 3000, "bad_message"),
        ("{}", "unknown_kind"), ('{"kind": 3}', "unknown_kind"), ('{"kind": "sing"}', "unknown_kind"),
        ('{"kind": "keep"}', "bad_value"), ('{"kind": "keep", "id": true}', "bad_value"),
        ('{"kind": "keep", "id": "3"}', "bad_value"), ('{"kind": "keep", "id": -1}', "bad_value"),
        ('{"kind": "keep", "id": 99}', "unknown_face"), ('{"kind": "cover", "id": 1e3}', "bad_value"),
        ('{"kind": "tap", "x": 0.2, "y": 0.4}', "bad_value"), ('{"kind": "tap", "x": 0, "y": 0, "t": 5}', "no_face"),
        ('{"kind": "tap", "x": NaN, "y": 0, "t": 5}', "bad_value"),
        ('{"kind": "tap", "x": 1e999, "y": 0, "t": 5}', "bad_value"),
        ('{"kind": "tap", "x": 0.2, "y": 0.4, "t": 50}', "too_old"), ('{"kind": "mode", "value": 3}', "bad_value"),
        ('{"kind": "mode", "value": "everybody"}', "bad_value"), ('{"kind": "style", "value": "none"}', "bad_value"),
        ('{"kind": "strength", "value": 0.2}', "bad_value"), ('{"kind": "strength", "value": NaN}', "bad_value"),
        ('{"kind": "strength", "value": 100}', "bad_value"), ('{"kind": "strength", "value": true}', "bad_value"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_answered_and_changes_nothing(talk, text, code):
    """Every such message gets one error; nobody is kept, and the manner stays."""
    control = talk.pipeline.control
    answer = talk.answer(text)
    assert (answer["kind"], answer["code"]) == ("error", code)
    assert answer["message"]
    assert not control.choices.keep
    assert control.manner is None


@settings(max_examples=40, deadline=None)
@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(json.dumps))
def test_any_text_is_answered(text):
    assert Talk.answer(SHARED, text)["kind"] == "error"


SHARED = Talk(pipeline())
SHARED.pipeline.close()


def test_a_tap_changes_over_whom_the_person_saw(talk):
    """The face of the picture of that time is kept; where it was kept in that picture, it is covered."""
    control = talk.pipeline.control
    assert talk.answer('{"kind": "tap", "x": 0.2, "y": 0.4, "t": 5.1}') == {
        "kind": "done", "of": "tap", "id": 3, "kept": True,
    }  # fmt: skip
    assert control.choices.keep == {3}
    talk.sent.append(Sent(6.0, 640, 360, (Sight(3, FACE.xyxy, kept=True, evidence=0.5, seen=True),)))
    assert talk.answer('{"kind": "tap", "x": 0.2, "y": 0.4, "t": 6}')["kept"] is False
    assert (control.choices.keep, control.choices.cover) == (frozenset(), {3})


def test_a_tap_on_a_face_that_was_not_found_there_keeps_nobody(talk):
    """A coasting box may hold anybody."""
    talk.sent.append(Sent(7.0, 640, 360, (Sight(3, FACE.xyxy, kept=False, evidence=0.5, seen=False),)))
    assert talk.answer('{"kind": "tap", "x": 0.2, "y": 0.4, "t": 7}')["code"] == "no_face"


def test_a_doubtful_word_about_panic_covers(talk):
    """Only a clear "off" ends it."""
    control = talk.pipeline.control
    for text, on in (('{"kind": "panic"}', True), ('{"kind": "panic", "on": false}', False),
                     ('{"kind": "panic", "on": 0}', True)):  # fmt: skip
        assert talk.answer(text)["on"] is on
        assert control.panic is on


def test_words_change_choices_and_manner(talk):
    """keep, cover, auto, mode, style and strength do what they say."""
    control = talk.pipeline.control
    talk.answer('{"kind": "keep", "id": 3}')
    assert control.choices.keep == {3}
    talk.answer('{"kind": "auto", "id": 3}')
    assert not control.choices.keep
    talk.answer('{"kind": "cover", "id": 4}')  # of somebody who was never seen: no harm
    assert control.choices.cover == {4}
    for kind, value in (("mode", '"largest"'), ("style", '"solid"'), ("strength", "1.5")):
        assert talk.answer(f'{{"kind": "{kind}", "value": {value}}}')["kind"] == "done"
    manner = control.manner
    assert (manner.policy.keep, manner.cover.style, manner.policy.grow) == ("largest", "solid", 1.5)


def test_numbers_that_nobody_has_are_covered_but_not_without_end(talk, monkeypatch):
    """Who sends numbers for ever fills no memory; faces that are there can be covered all the same."""
    monkeypatch.setattr(protocol, "MOST_COVERED", 5)
    answers = [talk.answer(json.dumps({"kind": "cover", "id": n}))["kind"] for n in range(100, 110)]
    assert answers == ["done"] * 5 + ["error"] * 5
    assert talk.answer('{"kind": "cover", "id": 3}')["kind"] == "done"
    assert 3 in talk.pipeline.control.choices.cover


def test_a_face_is_told_as_shares_of_the_picture():
    """Boxes stay inside it."""
    told = face_of(Sight(1, (-64.0, 90.0, 320.0, 400.0), kept=True, evidence=0.123, seen=True), 640, 360)
    assert told == {"id": 1, "x": 0, "y": 0.25, "w": 0.5, "h": 0.75, "kept": True, "evidence": 0.12, "seen": True}


@pytest.mark.parametrize("how", [{"mode": "all"}, {"style": "x"}, {"strength": 0.5}, {"strength": float("nan")},
                                 {"strength": 9}, {"width": 20}, {"width": 9000}])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(how):
    with pytest.raises(SettingsError):
        Wanted(**how).check()


# --- pictures and sound in ---


@pytest.mark.parametrize(
    ("came", "wanted", "size"),
    [
        ((640, 360), 0, (640, 360)), ((1920, 1080), 0, (1280, 720)), ((1080, 1920), 0, (720, 1280)),
        ((1920, 1920), 0, (960, 960)), ((1280, 720), 640, (640, 360)), ((320, 180), 640, (640, 360)),
        ((1920, 1080), 4000, (1280, 720)), ((641, 361), 0, (641, 361)), ((2000, 10), 0, (1280, 6)),
    ],
)  # fmt: skip
def test_pictures_are_fitted(came, wanted, size):
    assert Fitting(wanted).of(*came) == size


def test_a_picture_that_is_scaled_on_its_way_keeps_its_size():
    """Browsers send fewer pixels on slow networks; another shape is another picture."""
    fitting = Fitting()
    assert fitting.of(1280, 720) == (1280, 720)
    assert fitting.of(640, 360) == (1280, 720)
    assert fitting.of(480, 272) == (1280, 720)
    assert fitting.of(720, 1280) == (720, 1280)


def test_a_stream_that_began_small_may_grow():
    fitting = Fitting()
    assert fitting.of(320, 180) == (320, 180)
    assert fitting.of(400, 224) == (320, 180)
    assert fitting.of(640, 360) == (640, 360)


@pytest.mark.parametrize("size", [(0, 5), (1, 1), (5000, 100)])
def test_nonsense_sizes_are_refused(size):
    with pytest.raises(InputError):
        Fitting().of(*size)


def test_a_frame_is_nobody_elses():
    """Painting it changes nothing that the decoder still refers to."""
    native = av.VideoFrame.from_ndarray(np.full((72, 64), 50, np.uint8), format="yuv420p")
    other = av.VideoFrame(64, 48, "yuv420p")
    del other
    packet = to_frame(native, 0, 1.0, Fitting())
    packet.y[...] = 9
    assert (packet.width, packet.height, packet.time_s) == (64, 48, 1.0)
    assert packet.y.flags.writeable


@pytest.mark.parametrize("kind", ["rgb24", "yuvj420p", "gray", "yuv422p", "nv12"])
def test_other_kinds_of_pictures_become_planes(kind):
    native = av.VideoFrame(64, 48, "yuv420p").reformat(format=kind)
    frame = to_frame(native, 0, 0.0, Fitting())
    assert (frame.y.shape, frame.u.shape, frame.v.shape) == ((48, 64), (24, 32), (24, 32))


def test_the_source_skips_what_cannot_be_used_and_says_why():
    source = WebSource(Fitting(), (640, 360))
    big = av.VideoFrame(5000, 16, "yuv420p")
    assert source._frame(big, 0.0, 0) is None
    assert "5000x16" in source.fault


def test_times_stay_near_the_moments_of_arrival():
    """Even pictures stay even; after a pause in which nothing was decoded times jump ahead, and never back."""
    anchor = Anchor()
    even = [anchor.time_s(i / 25, 5 + i / 25) for i in range(10)]
    assert even == pytest.approx([5 + i / 25 for i in range(10)])
    late = [anchor.time_s(i / 25, 8 + i / 100) for i in range(10, 200)]  # 3 s later, then four times as fast
    assert late[0] == pytest.approx(8.1)
    assert all(b >= a for a, b in pairwise(late))
    assert max(t - (8 + i / 100) for i, t in enumerate(late, 10)) < 3


def test_sound_becomes_48_khz_stereo():
    native = av.AudioFrame.from_ndarray(np.zeros((1, 160), np.int16), "s16", "mono")
    native.sample_rate, native.pts, native.time_base = 8000, 0, Fraction(1, 8000)
    hearing = Hearing()
    pieces = hearing.sounds(native, 2.0) + hearing.sounds(native, 2.02)
    assert all(p.samples.shape[0] == 2 and p.rate == 48_000 for p in pieces)


# --- times and offers ---


@settings(max_examples=40, deadline=None)
@given(st.integers(0, RTP_WRAP - 1), st.lists(st.integers(90, 9000), min_size=4, max_size=20))
def test_the_rtp_time_of_a_picture_is_found(origin, steps):
    """From the third picture on it is told, and it is right, over the wrap of 32 bits as well."""
    clock, pts, newest, found = RtpClock(), 0, 0, []
    for step in steps:
        pts += step
        found.append((clock.of(pts, newest), (origin + pts) % RTP_WRAP))
        newest = (origin + pts) % RTP_WRAP
    assert all(told in (None, right) for told, right in found)
    assert found[-1][0] == found[-1][1]


@pytest.mark.parametrize(("host", "fine"), [
    ("127.0.0.1", True), ("192.168.1.4", True), ("10.1.2.3", True), ("fd00::2", True), ("fe80::1%eth0", True),
    ("8.8.8.8", False), ("2001:4860:4860::8888", False), ("::ffff:8.8.8.8", False), ("0.0.0.0", False),
    ("3f2c.local", False), ("example.org", False), ("", False)])  # fmt: skip
def test_only_own_networks_are_spoken_to(host, fine):
    assert own_network(host) is fine
    assert near(f"a=candidate:1 1 udp 2122260223 {host} 5000 typ host") is (fine and bool(host))


def test_candidates_of_servers_are_left_out():
    assert not near("a=candidate:1 1 udp 1 192.168.1.4 5000 typ srflx raddr 10.0.0.1 rport 5000")
    assert not near("a=candidate:1 1 tcp 1 192.168.1.4 9 typ host tcptype active")
    assert not near("a=end-of-candidates")
    assert not near("a=candidate:1")
    assert near("a=mid:0")


@pytest.mark.parametrize(
    "sdp", [None, 3, "", "hello", "v=0\r\n", "m=video\r\n", "x" * 70_000, "v=0\r\nm=video 9 UDP 96"]
)
def test_an_offer_that_makes_no_sense_is_one_clear_error(sdp):
    with pytest.raises(ApiError) as e:
        checked(sdp, sends=True)
    assert e.value.status in (400, 422)


def test_the_browser_is_asked_to_hold_back():
    """The limit stands in the video's part alone, where SDP wants it: after the connection line."""
    answer = limited("v=0\r\nm=audio 9 X 0\r\nc=IN IP4 1.2.3.4\r\nm=video 9 X 96\r\nc=IN IP4 1.2.3.4\r\na=mid:1\r\n")
    assert answer.count("b=AS:") == 1
    assert "m=video 9 X 96\r\nc=IN IP4 1.2.3.4\r\nb=AS:2500\r\na=mid:1\r\n" in answer


class Receiver:
    """What is used of aiortc's."""

    def __init__(self):
        self._RTCRtpReceiver__decoder_queue, self._RTCRtpReceiver__decoder_error = queue.Queue(), threading.Event()


VP8, H264 = SimpleNamespace(name="VP8"), SimpleNamespace(name="H264")
PART, WHOLE = SimpleNamespace(data=b"\x01abc"), SimpleNamespace(data=b"\x10abc")


def test_what_waits_too_long_for_the_decoder_is_thrown_away(monkeypatch):
    """Then nothing is decoded until a whole picture comes, which is asked for; the mark of the end gets through."""
    receiver = Receiver()
    backlog = Backlog(receiver)
    assert receiver._RTCRtpReceiver__decoder_queue is backlog
    for _ in range(3):
        backlog.put((VP8, PART))
    assert backlog.get_nowait() == (VP8, PART)
    assert (backlog.qsize(), backlog.thrown) == (2, 0)
    monkeypatch.setattr("bystander.web.live.backlog.LATE_S", 0.0)
    backlog.put((VP8, PART))
    assert (backlog.qsize(), backlog.thrown) == (0, 3)
    assert receiver._RTCRtpReceiver__decoder_error.is_set()
    backlog.put((VP8, PART))
    assert backlog.empty()
    backlog.put(None)
    assert backlog.get_nowait() is None
    monkeypatch.undo()
    backlog.put((VP8, WHOLE))
    backlog.put((VP8, PART))
    assert backlog.qsize() == 2


def test_a_whole_picture_is_asked_for_again():
    backlog = Backlog(Receiver())
    backlog.broken = True
    for _ in range(AGAIN):
        backlog.put((VP8, PART))
    assert backlog.damaged.is_set()


def test_whole_pictures_are_told_from_parts():
    """By what encoders of this machine make of two pictures."""
    for codec, name, options in (("libvpx", VP8, {"lag-in-frames": "0"}), ("libx264", H264, {"tune": "zerolatency"})):
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 25)
        encoder.options = options
        grey = [av.VideoFrame.from_ndarray(np.full((72, 64), 90, np.uint8), "yuv420p") for _ in range(3)]
        packets = [p for picture in grey for p in encoder.encode(picture)]
        packets += encoder.encode(None)
        assert [is_whole(name.name, bytes(p)) for p in packets] == [True, False, False]
    assert not is_whole("VP8", b"")
    assert is_whole("other", b"")


def test_aiortc_still_has_the_queue_that_is_looked_at():
    """Its private names may change with a new version; then the backlog and the boxes' RTP times go unnoticed."""
    assert "__decoder_queue" in inspect.getsource(RTCRtpReceiver)
    assert "__decoder_error" in inspect.getsource(RTCRtpReceiver)
    assert "__rtp_timestamp" in inspect.getsource(RTCRtpSender)
