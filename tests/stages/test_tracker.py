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


SPOT = (100, 100, 130, 140)


def test_evidence_is_averaged_over_the_track():
    """One bad detection among good ones lowers the mean without deciding; many do."""
    good, bad = faces(SPOT, evidence=0.95), faces(SPOT, evidence=0.05)
    steps = run([good] * 30 + [bad] + [good] * 5 + [bad] * 30)
    values = [t[0].foreground for t in steps]
    assert values[29] > 0.94
    assert 0.8 < values[30] < values[29]
    assert values[-1] < 0.1


def test_not_to_be_found_speaks_against_a_subject():
    """Evidence falls with every frame in which the face is missed."""
    steps = run([faces(SPOT, evidence=0.95)] * 30 + [NOBODY] * 5)
    values = [t[0].foreground for t in steps[29:]]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] - 0.1


def test_evidence_from_before_an_overlap_does_not_help_afterwards():
    """Who comes out of an overlap may be somebody else: the mean is then no better than the newest detection."""
    other = (110, 100, 140, 140)
    doubtful = faces(SPOT, other, evidence=0.3)
    steps = run([faces(SPOT, evidence=0.98)] * 30 + [doubtful])
    assert steps[-1][0].foreground <= 0.31


def test_a_blink_leaves_a_track_steady_and_a_longer_gap_does_not():
    """Unseen for two frames the track is steady when found again; after five it is not."""
    seen = faces(SPOT)
    assert run([seen] * 20 + [NOBODY] + [seen])[-1][0].steady
    assert not run([seen] * 20 + [NOBODY] * 5 + [seen])[-1][0].steady


def test_after_a_cut_everybody_is_new():
    """A face at the very same place gets another id; the old one stays covered for a moment and is never seen again."""
    tracker = Tracker()
    for i in range(20):
        (before,) = tracker.update(faces(SPOT, evidence=0.98), i / 25, W, H)
    tracker.cut()
    new, ghost = tracker.update(faces(SPOT, evidence=0.98), 20 / 25, W, H)
    assert (new.id, new.steady, new.age_s) == (before.id + 1, False, 0)
    assert ghost.id == before.id
    assert ghost.unseen_s > 0
    for i in range(21, 32):
        tracks = tracker.update(faces(SPOT), i / 25, W, H)
    assert [t.id for t in tracks] == [new.id]
    assert tracks[0].steady
