import threading

import numpy as np
import pytest

from bystander.run.face_filter import Click, FaceFilter, FilterSettings
from bystander.run.meters import Meters
from bystander.run.offline import ahead_of, marked, run_offline
from bystander.types import Detections
from fakes import FakeReader, FakeWriter, faces, noise_frame

BOX = (16, 12, 40, 36)


def go(count, detect, settings=None, reader=None, writer=None):
    """Run frames through; returns what was written, the originals and the meters."""
    frames = [noise_frame(index=i) for i in range(count)]
    originals = [f.y.copy() for f in frames]
    writer = writer or FakeWriter()
    meters = Meters()
    run_offline(reader or FakeReader(frames), writer, FaceFilter(detect, settings or FilterSettings(), meters))
    return writer, originals, meters


def exposed(picture, original):
    """Whether the middle of the face is as in the original."""
    return np.array_equal(picture[18:30, 22:34], original[18:30, 22:34])


def test_every_frame_leaves_once_in_order():
    """As many frames come out as went in, in order, each its own."""
    writer, originals, meters = go(70, lambda _: Detections.none())
    assert all(np.array_equal(a, b) for a, b in zip(writer.pictures, originals, strict=True))
    assert writer.finished
    assert meters.counts["frames"] == 70


def test_a_face_is_covered_in_every_frame_in_which_it_is_found():
    """No frame with a detection shows the face."""
    writer, originals, _ = go(30, lambda _: faces(BOX))
    assert not any(exposed(p, o) for p, o in zip(writer.pictures, originals, strict=True))


def test_a_face_is_covered_shortly_before_it_is_first_found():
    """The frames just before the first detection are covered too, those long before are not."""
    writer, originals, _ = go(40, lambda f: faces(BOX) if f.index >= 20 else Detections.none())
    shown = [exposed(p, o) for p, o in zip(writer.pictures, originals, strict=True)]
    assert not any(shown[11:])
    assert all(shown[:9])


def test_a_missed_detection_does_not_flash():
    """A gap of several frames in detection shows nothing."""
    writer, originals, _ = go(40, lambda f: Detections.none() if 15 <= f.index < 24 else faces(BOX))
    assert not any(exposed(p, o) for p, o in zip(writer.pictures, originals, strict=True))


def test_a_click_keeps_the_face_from_then_on():
    """The clicked face is covered before the click and sharp after it."""
    settings = FilterSettings(clicks=(Click(28, 24, 0.8),))
    writer, originals, _ = go(40, lambda _: faces(BOX), settings)
    shown = [exposed(p, o) for p, o in zip(writer.pictures, originals, strict=True)]
    assert not any(shown[:9])
    assert all(shown[21:])


def test_a_broken_reader_ends_the_run_and_leaves_nothing():
    """A fault in the reader's thread is raised here, and the writer aborts."""
    writer = FakeWriter()
    reader = FakeReader([noise_frame(index=i) for i in range(30)], fail_at=20)
    with pytest.raises(OSError, match="reader broke"):
        go(1, lambda _: faces(BOX), reader=reader, writer=writer)
    assert writer.aborted
    assert reader.closed


def test_a_broken_writer_ends_the_run_without_hanging():
    """A fault in the writer stops all threads."""
    before = threading.active_count()
    writer = FakeWriter(fail_at=5)
    with pytest.raises(OSError, match="writer broke"):
        go(200, lambda _: faces(BOX), writer=writer)
    assert writer.aborted
    assert threading.active_count() == before


def test_the_reader_is_never_far_ahead():
    """The queue bounds what is in memory."""
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    stream = ahead_of(source(), 3)
    assert next(stream) == 0
    threading.Event().wait(0.3)
    assert len(made) <= 6
    stream.close()


def test_closer_looks_are_due_at_every_shot_and_every_second_after():
    """By time, not by frames: half of the frames are missing here."""
    frames = [noise_frame(index=i, time_s=i / 12.5) for i in range(40)]
    for f in frames[20:]:
        f.y[...] = 255 - f.y  # another shot
    due = [m.frame.index for m in marked(frames, 1.0) if m.closer]
    assert due == [0, 13, 20, 33]
