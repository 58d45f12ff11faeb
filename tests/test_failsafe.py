"""The promise, attacked: every stage raises, every bad value arrives, and no raw pixel leaves."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from bystander.errors import InputError, LiveError, OutputError
from bystander.media.address import parse
from bystander.media.live_sinks import StreamSettings
from bystander.media.live_targets import open_sink
from bystander.run.backoff import BackOff
from bystander.run.face_filter import FaceFilter, FilterSettings
from bystander.run.live import LiveSettings, LiveStream
from bystander.run.live_output import Output
from bystander.run.meters import Meters
from bystander.run.offline import run_offline
from bystander.stages.detector import Detector, DetectorSettings
from bystander.types import Detections
from fakes import FakeLive, FakeReader, FakeSink, FakeWriter, faces, noise_frame
from receivers import receiver

BOX = (16, 12, 40, 36)
COUNT = 30


def broken(*_a, **_k):
    raise RuntimeError("broken")


def detections(xyxy, score=0.9):
    n = len(xyxy)
    return Detections(np.array(xyxy, np.float32), np.full(n, score, np.float32), np.zeros(n, np.float32))


def go(detect, prepare=lambda _f: None):
    """Run a clip; returns (frames as written, whole flags, meters)."""
    writer, meters = FakeWriter(), Meters()
    face_filter = FaceFilter(detect, FilterSettings(), meters)
    prepare(face_filter)
    run_offline(FakeReader([noise_frame(index=i) for i in range(COUNT)]), writer, face_filter)
    assert len(writer.pictures) == COUNT
    return writer, meters


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("tracker", "bystander.run.face_filter.Tracker.update"),
        ("cover", "bystander.run.face_filter.Policy.kept"),
        ("cover", "bystander.run.face_filter.Policy.regions"),
        ("cover", "bystander.run.face_filter.cover"),
    ],
)
def test_a_stage_that_raises_covers_every_frame_whole(monkeypatch, name, target):
    """Whichever stage fails, all frames leave covered whole, and the fault is counted by kind."""
    monkeypatch.setattr(target, broken)
    writer, meters = go(lambda _: faces(BOX))
    assert all(writer.whole)
    assert all((p == 128).all() for p in writer.pictures)
    assert meters.whole == {f"{name}: RuntimeError": COUNT}


def test_painting_that_fails_half_way_covers_the_whole_frame(monkeypatch):
    """A fault after part of the frame was painted does not let the rest out."""
    calls = []

    def paint(patch, *_):
        calls.append(1)
        if len(calls) % 2 == 0:
            raise MemoryError
        patch[...] = 0

    monkeypatch.setattr("bystander.stages.cover.paint", paint)
    writer, _ = go(lambda _: faces(BOX))
    assert all((p == 128).all() for p in writer.pictures)


BAD = {
    "raises": broken,
    "nan": lambda _: detections([[np.nan, 1, 2, 3]]),
    "infinite": lambda _: detections([[0, 0, np.inf, 3]]),
    "no area": lambda _: detections([[9, 9, 9, 20]]),
    "inside out": lambda _: detections([[30, 30, 10, 10]]),
    "thousands": lambda _: detections([[1, 1, 9, 9]] * 5000),
    "outside": lambda _: detections([[5000, 5000, 5100, 5100]]),
    "left of it": lambda _: detections([[-90, 5, -20, 30]]),
    "score too high": lambda _: detections([[1, 1, 9, 9]], 7.0),
    "score nan": lambda _: detections([[1, 1, 9, 9]], np.nan),
    "nothing at all": lambda _: None,
    "wrong shape": lambda _: Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32)),
}


@pytest.mark.parametrize("kind", BAD)
def test_nonsense_from_the_detector_covers_the_frame_whole(kind):
    """A detector that fails or returns nonsense never lets a frame out uncovered."""
    writer, _ = go(BAD[kind])
    assert all(writer.whole)
    assert all((p == 128).all() for p in writer.pictures)


def test_a_single_failure_covers_a_single_frame():
    """One late failure covers its frame; the others go on with their faces covered."""

    def detect(frame):
        if frame.index == 12:
            raise RuntimeError
        return faces(BOX)

    writer, _ = go(detect)
    assert [i for i, whole in enumerate(writer.whole) if whole] == [12]


def test_a_box_that_reaches_beyond_the_frame_covers_what_is_inside():
    """A face cut by the frame's edge is covered up to the edge, and the frame is not covered whole."""
    writer, _ = go(lambda _: faces((40, 20, 100, 90)))
    for i, (picture, whole) in enumerate(zip(writer.pictures, writer.whole, strict=True)):
        assert not whole
        assert not np.array_equal(picture[-8:, -8:], noise_frame(index=i).y[-8:, -8:])


def test_tracks_that_cannot_be_saved_end_the_run():
    """A full disk for the tracks is raised, not taken for a reason to cover the picture."""

    def full(*_):
        raise OutputError("the disk is full")

    def prepare(face_filter):
        face_filter.record = full

    with pytest.raises(OutputError, match="full"):
        go(lambda _: faces(BOX), prepare)


def live(detect, frames=None, sink=None, prepare=lambda _s: None, **settings):
    """Run a live stream over the frames, slowly enough that none is dropped; returns (sink, stream)."""
    sink = sink or FakeSink()
    frames = frames or [noise_frame(index=i) for i in range(COUNT)]
    settings = LiveSettings(**{"lookahead_s": 0.0, "stall_s": 0.2, "repeat_s": 0.05, **settings})
    sinks = {"x": sink.open} if isinstance(sink, FakeSink) else sink
    stepped = []
    source = FakeLive(frames, step_s=0.01, ready=lambda n: len(stepped) >= n)
    stream = LiveStream(lambda: source, [Output(*named) for named in sinks.items()], lambda _: detect, settings)
    step = stream.stages.step

    def noted(*args, **kwargs):
        try:
            return step(*args, **kwargs)
        finally:
            stepped.append(True)

    stream.stages.step = noted
    prepare(stream)
    stream.run()
    return sink, stream


def raw_in(pictures, width=64, height=48):
    """Whether fine structure of any raw frame is in any of the pictures."""
    raws = [noise_frame(width, height, i).y.astype(np.float32) for i in range(COUNT)]
    shown = [p.astype(np.float32).ravel() for p in pictures if p.std()]
    return any(np.corrcoef(p, r.ravel())[0, 1] > 0.2 for p in shown for r in raws)


LIVE_STAGES = {
    "tracker": "bystander.run.face_filter.Tracker.update",
    "kept": "bystander.run.face_filter.Policy.kept",
    "regions": "bystander.run.face_filter.Policy.regions",
    "cover": "bystander.run.face_filter.cover",
    "cover of the whole frame": "bystander.run.face_filter.cover_whole",
    "push": "bystander.run.face_filter.FaceFilter.push",
    "check": "bystander.run.live_stages.check",
    "cuts": "bystander.run.face_filter.CutDetector.__call__",
    "note": "bystander.run.live.LiveStream._note",
}


@pytest.mark.parametrize("stage", LIVE_STAGES)
@pytest.mark.parametrize("lookahead_s", [0.0, 0.1])
def test_live_a_stage_that_raises_lets_no_raw_pixel_out(monkeypatch, stage, lookahead_s):
    """Whichever part of a live stream fails, frames are covered whole or not sent, and after N the stream ends."""
    monkeypatch.setattr(LIVE_STAGES[stage], broken)
    if stage == "cover of the whole frame":
        monkeypatch.setattr(LIVE_STAGES["tracker"], broken)
    sink = FakeSink()
    with pytest.raises(LiveError, match="frames in a row"):
        live(lambda _: faces(BOX), sink=sink, faults_in_row=10, lookahead_s=lookahead_s)
    assert all(sink.whole)
    assert not raw_in(sink.pictures)


@pytest.mark.parametrize("kind", BAD)
def test_live_nonsense_from_the_detector_lets_no_raw_pixel_out(kind):
    """A live detector that fails or returns nonsense covers every frame whole."""
    sink, stream = live(BAD[kind])
    assert sum(stream.meters.whole.values()) >= COUNT - 5
    assert all(sink.whole)
    assert not raw_in(sink.pictures)


@pytest.mark.parametrize("fault", [MemoryError, FileNotFoundError, RecursionError])
def test_live_a_single_fault_covers_a_single_frame(fault):
    """Out of memory, or a model file that is gone: that frame is covered whole, the next ones as usual."""

    def detect(frame):
        if frame.index == 12:
            raise fault
        return faces(BOX)

    sink, stream = live(detect)
    assert stream.meters.whole == {f"detector: {fault.__name__}": 1}
    assert sum(sink.whole) <= 3  # the slate before the first picture, and this one
    assert not raw_in([p[12:36, 16:40] for p in sink.pictures[-1:]], 24, 24)


CROWD = [[2 + i % 60 * 2.1, 18 + i // 60 * 2.1, 2.05, 2.05, 0.9, 1] for i in range(2600)]  # in 128x128 px


@pytest.mark.parametrize(
    "rows", [np.full((1, 9, 6), np.nan), [[[5e4, 9, 9, 9, 0.9, 1]]], [[[9, 9, 9, 9, 5, 1]]], [CROWD]]
)
def test_live_a_model_that_returns_nonsense_lets_no_raw_pixel_out(rows):
    """NaN, a face far outside, a score above 1, thousands of faces, through the detector as it ships."""

    class Mad:
        names, stride, id = ("face",), 32, "mad"

        def __call__(self, _images):
            return np.asarray(rows, np.float32)

    sink, stream = live(Detector(Mad(), DetectorSettings(640)))
    assert sum(stream.meters.whole.values()) >= COUNT - 5
    assert all(sink.whole)
    assert not raw_in(sink.pictures)


def test_live_memory_that_is_short_at_the_edges_leaves_pictures_out(caplog):
    """No memory for a picture in an output: that picture is left out, counted, logged once, the stream goes on."""
    sink = FakeSink()
    show, calls = sink.picture, []

    def picture(covered):
        calls.append(1)
        if 10 <= len(calls) < 15:
            raise MemoryError
        show(covered)

    sink.picture = picture
    _, stream = live(lambda _: faces(BOX), sink=sink)
    assert stream.meters.edges == {"output: MemoryError": 5}
    assert sink.opened == 1
    assert sum("no memory" in r.getMessage() for r in caplog.records) == 1
    assert not raw_in([p[12:36, 16:40] for p in sink.pictures], 24, 24)


def test_live_an_input_that_fails_unexpectedly_is_opened_again_and_given_up_in_the_end():
    """A defect or no memory in the reader: a slate, another try, and after ten in a row an error; nothing raw."""
    sink, opened = FakeSink(), []

    def opener():
        opened.append(1)
        if len(opened) > 1:
            raise MemoryError
        return FakeLive([noise_frame(index=i) for i in range(5)], endless=True)

    settings = LiveSettings(lookahead_s=0.0, stall_s=0.1, slate_s=0.2, repeat_s=0.05)
    stream = LiveStream(opener, [Output("x", sink.open)], lambda _: lambda _f: faces(BOX), settings)
    stream.intake.back_off = BackOff(0.01, 0.01)
    with pytest.raises(InputError, match="MemoryError"):
        stream.run()
    assert len(opened) == 11
    assert stream.meters.edges == {"input: MemoryError": 10}
    assert not raw_in([p[12:36, 16:40] for p in sink.pictures], 24, 24)


def test_live_a_change_of_size_covers_the_frame_and_goes_on():
    """Another size in mid-stream: one frame covered whole, counted; the faces of the new size are covered."""
    frames = [noise_frame(index=i) for i in range(10)] + [noise_frame(96, 64, index=i) for i in range(10, 20)]
    sink, stream = live(lambda _: faces(BOX), frames)
    assert stream.meters.whole == {"input: its size changed": 1}
    first = next(i for i, p in enumerate(sink.pictures) if p.shape == (64, 96))
    assert sink.whole[first]
    assert not any(sink.whole[first + 1 :])


def test_live_a_size_that_changes_all_the_time_ends_the_stream():
    """A source that never settles is never shown."""
    sink = FakeSink()
    frames = [noise_frame(64 + 2 * (i % 2), 48, index=i) for i in range(COUNT)]
    with pytest.raises(LiveError, match="size changed"):
        live(lambda _: faces(), frames, sink, faults_in_row=10)
    assert sum(not w for w in sink.whole) <= 1  # the very first frame had no other size before it


def test_live_another_pixel_format_is_not_shown():
    """Planes that are not 8-bit 4:2:0 in mid-stream: the last covered picture stays, the fault is counted."""
    frames = [noise_frame(index=i) for i in range(COUNT)]
    for i in range(10, 15):
        frames[i] = replace(frames[i], u=np.zeros((48, 64), np.uint8), v=np.zeros((48, 64), np.uint8))
    sink, stream = live(lambda _: faces(BOX), frames)
    assert stream.meters.whole["stages: ValueError"] >= 3
    assert len(sink.pictures) >= 20


def test_live_a_clock_that_jumps_covers_the_frame_and_goes_on():
    """A jump of an hour, ahead or back: one frame covered whole each, times still rise, faces are told again."""
    frames = [noise_frame(index=i, time_s=i / 25 + (3600 if 10 <= i < 20 else 0)) for i in range(COUNT)]
    sink, stream = live(lambda _: faces(BOX), frames)
    assert stream.meters.whole == {"input: its clock jumped": 2}
    assert sink.times == sorted(set(sink.times))
    assert not sink.whole[-1]


def test_live_a_fault_is_logged_once_per_kind(caplog):
    """Thirty faults of one kind make one line."""
    live(broken)
    assert sum("detector failed" in r.getMessage() for r in caplog.records) == 1


KINDS = ["mkv", "mp4", "ts", "hls", "udp", "mjpeg", "vcam"]
WIDE, HIGH = 160, 120  # px; smaller pictures lose their noise in the encoder


def through(kind, detect, tmp_path, monkeypatch):
    """Luma of what a viewer of this kind of output sees of thirty frames of noise."""
    return through_all([kind], detect, tmp_path, monkeypatch)[kind]


def through_all(kinds, detect, tmp_path, monkeypatch):
    """By kind of output, the same; all of them at once."""
    with ExitStack() as stack:
        out = {kind: stack.enter_context(receiver(kind, tmp_path, monkeypatch)) for kind in kinds}
        sinks = {kind: open_sink(parse(to), StreamSettings(bitrate_k=20_000)) for kind, (to, _) in out.items()}
        live(detect, [noise_frame(WIDE, HIGH, i) for i in range(COUNT)], sinks, faults_in_row=1000)
    return {kind: pictures for kind, (_, pictures) in out.items()}


@pytest.mark.parametrize("fault", [*BAD, *LIVE_STAGES])
def test_live_no_fault_carries_a_raw_pixel_to_any_kind_of_output(fault, tmp_path, monkeypatch):
    """Every bad value, and every stage that raises, seen by a viewer of each kind of output."""
    if fault in LIVE_STAGES:
        monkeypatch.setattr(LIVE_STAGES[fault], broken)
        if fault == "cover of the whole frame":
            monkeypatch.setattr(LIVE_STAGES["tracker"], broken)
    detect = BAD.get(fault, lambda _: faces())
    for kind, seen in through_all(KINDS, detect, tmp_path, monkeypatch).items():
        assert seen, kind
        assert not raw_in(seen, WIDE, HIGH), kind


@pytest.mark.parametrize("kind", KINDS)
def test_live_no_output_kind_carries_a_raw_pixel(kind, tmp_path, monkeypatch):
    """With a broken detector nothing of the source is seen on any kind of output; with a blind one it would be."""
    for name in "ab":
        (tmp_path / name).mkdir()
    seen = through(kind, broken, tmp_path / "a", monkeypatch)
    assert len(seen) > 3
    assert not raw_in(seen, WIDE, HIGH)
    assert raw_in(through(kind, lambda _: faces(), tmp_path / "b", monkeypatch), WIDE, HIGH)


@pytest.mark.parametrize("kind", ["rtmp://127.0.0.1:1/a/b", "srt://127.0.0.1:1", "rtsp://127.0.0.1:1/a", "-", "x.mkv"])
def test_live_no_encoding_sink_takes_a_raw_frame(kind, tmp_path, monkeypatch):
    """A raw frame is a TypeError before anything is opened."""
    monkeypatch.chdir(tmp_path)
    sink = open_sink(parse(kind), StreamSettings())()
    with pytest.raises(TypeError, match="only covered"):
        sink.picture(noise_frame())
    assert not list(tmp_path.iterdir())
