"""The promise, attacked: every stage raises, every bad value arrives, and no raw pixel leaves."""

import numpy as np
import pytest

from bystander.errors import OutputError
from bystander.run.face_filter import FaceFilter, FilterSettings
from bystander.run.meters import Meters
from bystander.run.offline import run_offline
from bystander.types import Detections
from fakes import FakeReader, FakeWriter, faces, noise_frame

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
