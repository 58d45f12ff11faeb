from bystander.stages.tracker import Tracker
from bystander.types import Detections
from fakes import faces

W, H = 640, 360
NOBODY = Detections.none()


def run(sequence, fps=25):
    """Tracks after each step."""
    tracker = Tracker()
    return [tracker.update(found, i / fps, W, H) for i, found in enumerate(sequence)]


def test_first_sight_counts():
    """A face is a track in the very frame in which it is first found."""
    assert len(run([faces((10, 10, 40, 50))])[0]) == 1


def test_a_weak_detection_starts_no_track_but_continues_one():
    """Weak candidates alone give nothing; after a strong one they keep the track seen."""
    weak = faces((10, 10, 40, 50), score=0.15)
    assert run([weak])[0] == ()
    assert run([faces((10, 10, 40, 50)), weak])[1][0].unseen_s == 0


def test_a_missed_face_stays_and_grows():
    """While a face is not found its box holds the last one and grows from frame to frame."""
    steps = run([faces((100, 100, 130, 140))] * 10 + [NOBODY] * 8)
    widths = [t[0].xyxy[2] - t[0].xyxy[0] for t in steps[9:]]
    assert widths == sorted(widths)
    assert widths[-1] > widths[0] * 1.2
    assert steps[-1][0].xyxy[0] < 100
    assert steps[-1][0].xyxy[2] > 130


def test_a_lost_face_ends_in_time():
    """A face not found for longer than the coasting time is gone."""
    assert run([faces((100, 100, 130, 140))] * 10 + [NOBODY] * 25)[-1] == ()


def test_coasting_follows_the_motion():
    """A walking face that is missed stays under its track."""
    walk = [faces((100 + 8 * i, 100, 130 + 8 * i, 140)) for i in range(10)]
    last = run(walk + [NOBODY] * 4)[-1][0]
    assert last.xyxy[0] <= 100 + 8 * 13
    assert last.xyxy[2] >= 130 + 8 * 11


def test_a_small_fast_face_keeps_its_id():
    """A face that moves by its own width a frame is one track."""
    steps = run([faces((100 + 14 * i, 100, 114 + 14 * i, 118)) for i in range(12)])
    assert {t.id for step in steps for t in step} == {1}


def test_two_faces_keep_their_ids():
    """Two people side by side do not swap."""
    steps = run([faces((100, 100, 130, 140), (200, 100, 230, 140))] * 5)
    assert all([t.id for t in step] == [1, 2] for step in steps)


def test_steady_needs_time_and_is_lost_by_overlap():
    """A new track is not steady, after a while it is, and another face over it takes that away."""
    alone = [faces((100, 100, 130, 140))] * 12
    steps = run([*alone, faces((100, 100, 130, 140), (112, 100, 142, 140))])
    assert not steps[0][0].steady
    assert steps[11][0].steady
    assert not steps[12][0].steady


def test_ids_are_never_reused():
    """Somebody who appears after another has gone has a new id."""
    steps = run([faces((10, 10, 40, 50))] + [NOBODY] * 40 + [faces((10, 10, 40, 50))])
    assert steps[-1][0].id != steps[0][0].id


def test_a_jump_in_time_forgets():
    """After time runs backwards everybody is new, and covered on first sight."""
    tracker = Tracker()
    tracker.update(faces((10, 10, 40, 50)), 5.0, W, H)
    (track,) = tracker.update(faces((10, 10, 40, 50)), 1.0, W, H)
    assert track.id == 2


def test_a_face_that_walks_out_is_not_kept_outside():
    """A coasting track whose centre has left the frame ends."""
    out = [faces((W - 60 + 12 * i, 100, W - 30 + 12 * i, 140)) for i in range(4)]
    assert run(out + [NOBODY] * 6)[-1] == ()
