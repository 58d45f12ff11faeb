from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bystander.run.face_filter import Click, FaceFilter, FilterSettings
from bystander.run.job import Job, cover_file
from bystander.run.meters import Meters
from bystander.run.plan import ID, UNSEEN, Look, make_plan, pack, unpack, way
from bystander.stages.detector import DetectorSettings
from bystander.stages.follow import Guess
from bystander.stages.policy import Policy, PolicySettings
from bystander.stages.tracker import Tracker
from bystander.types import Choices, Detections, Track
from fakes import FakeReader, FakeWriter, faces, noise_frame

SIZE = (640, 480)
BOX = (100, 100, 140, 150)
ELSEWHERE = (400, 300, 440, 350)


def looks(found, cuts=()):
    """25 frames a second; ``found``: Detections, None, or () for nobody."""
    return [Look(i, i / 25, Detections.none() if f == () else f, i in cuts) for i, f in enumerate(found)]


def plan(found, cuts=(), **settings):
    return make_plan(looks(found, cuts), FilterSettings(**settings), *SIZE)


def covers(rows, box=BOX):
    """Whether a track of the frame holds the middle of the box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return any(r[1] <= x <= r[3] and r[2] <= y <= r[4] for r in rows)


def test_weak_detections_that_lead_up_to_a_strong_one_count():
    """A face that is weak for two seconds before it is clear is covered from its first weak detection on."""
    weak = faces(BOX, score=0.12)
    p = plan([()] * 20 + [weak] * 50 + [faces(BOX)] * 10)
    assert all(covers(rows) for rows in p.packed[20:])


def test_a_face_is_covered_before_it_is_found():
    """The frames before the first detection are covered for at least as long as those after the last."""
    p = plan([()] * 40 + [faces(BOX)] * 20 + [()] * 40)
    covered = [covers(rows) for rows in p.packed]
    assert sum(covered[60:]) >= 15
    assert sum(covered[:40]) >= sum(covered[60:])


def test_a_gap_is_bridged_from_both_ends():
    """A face lost for more than a second and found again is covered all along, under one id where it was seen."""
    p = plan([faces(BOX)] * 30 + [()] * 32 + [faces(BOX)] * 30)
    assert all(covers(rows) for rows in p.packed)


def test_nothing_reaches_over_a_cut():
    """The face of the second shot is not covered in the first one, where the same place shows something else."""
    p = plan([()] * 30 + [faces(BOX)] * 30, cuts=(30,))
    assert not any(covers(rows) for rows in p.packed[:24])


def test_what_comes_from_the_way_back_carries_the_persons_id():
    """The frames before a late find belong to the same person, so that one word covers or keeps all of it."""
    p = plan([()] * 10 + [faces(BOX)] * 30)
    ids = {int(row[0]) for rows in p.packed for row in rows}
    assert len(ids) == 1


def test_a_failed_stage_covers_the_frame_whole():
    """A frame whose detection failed has no tracks but None."""
    p = plan([faces(BOX), None, faces(BOX)])
    assert [rows is None for rows in p.packed] == [False, True, False]


box = st.tuples(st.integers(0, 500), st.integers(0, 400), st.integers(8, 90), st.integers(8, 60))
frame = st.lists(st.tuples(box, st.sampled_from((0.12, 0.3, 0.9))), max_size=4)


def detections(entries):
    xyxy = np.array([(x, y, x + w, y + h) for (x, y, w, h), _ in entries], np.float32).reshape(-1, 4)
    score = np.array([s for _, s in entries], np.float32)
    return Detections(xyxy, score, np.zeros_like(score))


@given(st.lists(frame, min_size=1, max_size=12), st.sets(st.integers(1, 11)))
def test_two_ways_only_add_cover(frames, cuts):
    """Every track of the forward way is in the plan, in its place."""
    seen = looks([detections(entries) for entries in frames], cuts)
    forward = way(seen, FilterSettings().tracker, SIZE)
    for ahead, both in zip(forward, make_plan(seen, FilterSettings(), *SIZE).packed, strict=True):
        assert np.array_equal(both[: len(ahead)], ahead)


guess = st.builds(
    lambda i, name, b: Guess(i, name, (b[0], b[1], b[0] + b[2], b[1] + b[3]), 0.0),
    st.integers(0, 11), st.integers(1, 6), box,
)  # fmt: skip


@given(
    st.lists(st.tuples(frame, frame), min_size=1, max_size=12), st.sets(st.integers(1, 11)), st.lists(guess, max_size=9)
)
def test_a_closer_look_and_guesses_only_add_cover(frames, cuts, guesses):
    """Every row of the plan without them stays in its place; what is added never counts as seen."""
    seen = looks([detections(ordinary) for ordinary, _ in frames], cuts)
    closer = [replace(look, closer=detections(more)) for look, (_, more) in zip(seen, frames, strict=True)]
    settings = FilterSettings(policy=PolicySettings("auto"))
    without, with_ = make_plan(seen, settings, *SIZE), make_plan(closer, settings, *SIZE, guesses)
    assert with_.subjects == without.subjects
    for few, many in zip(without.packed, with_.packed, strict=True):
        assert np.array_equal(many[: len(few)], few)
        added, sharp = many[len(few) :], few[few[:, UNSEEN] == 0, ID]
        assert (added[:, UNSEEN] > 0).all()
        assert not np.isin(added[:, ID], sharp).any()


def test_what_only_the_closer_look_finds_is_covered_around_it():
    """One find in a second covers the frames before and after."""
    seen = looks([()] * 41)
    seen[20] = replace(seen[20], closer=faces(BOX, score=0.6))
    covered = [covers(rows) for rows in make_plan(seen, FilterSettings(), *SIZE).packed]
    assert all(covered[13:28])
    assert not any(covered[:5])


def test_who_was_never_seen_by_an_ordinary_look_bars_rules():
    """A word to cover somebody whom only the closer look finds: as long as they are out of sight nobody is kept."""
    seen = looks([()] * 41)
    seen[20] = replace(seen[20], closer=faces(BOX, score=0.6))
    rows = make_plan(seen, FilterSettings(), *SIZE).packed[20]
    (name,) = set(rows[:, ID].tolist())
    later = unpack(pack([Track(1, ELSEWHERE, 0.9, 1.0, 9.0, 0.0, 0.0, steady=True)]))
    assert name < 0
    assert Policy().barred(later, Choices(cover=frozenset({int(name)}))) == {1}


def test_a_guess_carries_the_id_of_the_person():
    """What was followed belongs to the track that broke off, so that a word about that person covers it as well."""
    seen = looks([faces(BOX)] * 10 + [()] * 30)
    guesses = [Guess(i, 1, ELSEWHERE, 0.1) for i in range(35, 38)]
    rows = make_plan(seen, FilterSettings(), *SIZE, guesses).packed[36]
    assert covers(rows, ELSEWHERE)
    assert set(rows[:, ID].tolist()) == {1}


def test_packing_loses_nothing():
    """Tracks come out of the compact form as they went in."""
    tracker = Tracker()
    tracker.update(faces(BOX, ELSEWHERE), 0.0, *SIZE)
    tracks = tracker.update(faces(BOX), 0.04, *SIZE)
    again = unpack(pack(tracks))
    assert [(t.id, t.xyxy, t.steady) for t in again] == [(t.id, t.xyxy, t.steady) for t in tracks]
    assert [t.unseen_s for t in again] == pytest.approx([t.unseen_s for t in tracks])


def test_a_subject_is_sharp_from_its_first_frame():
    """Knowing the whole film, the rule "auto" keeps the subject at once, and never the one without evidence."""
    both = Detections(
        np.array([BOX, ELSEWHERE], np.float32), np.array([0.9, 0.9], np.float32), np.array([0.98, 0.1], np.float32)
    )
    p = plan([both] * 60, policy=PolicySettings("auto"))
    kept = {i for names in p.subjects for i in names}
    assert len(kept) == 1
    assert all(names == kept for names in p.subjects)
    (name,) = kept
    assert all(covers(rows[rows[:, 0] == name]) for rows in p.packed)


def job(tmp_path, detect, monkeypatch, frames=50, **how):
    """The job on a film of still noise; returns the writer and the originals."""
    pictures = [noise_frame(width=160, height=160, index=i) for i in range(frames)]
    originals = [f.y.copy() for f in pictures]
    writer = FakeWriter()
    writer.notes = ()
    # parts of a frame, which the closer look shows, are of no interest here
    monkeypatch.setattr("bystander.run.job.Detector", lambda *_: lambda f: detect(f) if f.width == 160 else faces())

    def open_reader(_path):
        return FakeReader([noise_frame(width=160, height=160, index=i) for i in range(how.pop("second", frames))])

    one_pass = how.pop("one_pass", False)
    work = Job(tmp_path / "a", open_reader, lambda _: writer, None, DetectorSettings(), FilterSettings(**how),
               one_pass=one_pass)  # fmt: skip
    report = cover_file(work)
    return writer, originals, report


def test_a_follower_that_fails_covers_the_frame_whole(tmp_path, monkeypatch):
    """A fault in following leaves no frame with less cover."""

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("bystander.run.plan.Follower.update", broken)
    writer, _, report = job(tmp_path, lambda _: faces(BOX), monkeypatch, frames=5)
    assert writer.whole == [True] * 5
    assert dict(report.meters.whole) == {"follower: ZeroDivisionError": 5}


def test_a_face_that_only_a_closer_look_finds_is_covered(tmp_path, monkeypatch):
    """Two passes look at parts of the picture, too; the ordinary look finds nobody here."""
    monkeypatch.setattr("bystander.run.job.look_closer", lambda _frame, **_: faces(BOX, score=0.6))
    writer, originals, _ = job(tmp_path, lambda _: faces(), monkeypatch, frames=20)
    assert not any(shows(p, o) for p, o in zip(writer.pictures, originals, strict=True))


def shows(picture, original):
    return np.array_equal(picture[115:135, 110:130], original[115:135, 110:130])


def test_a_late_find_is_covered_half_a_second_before(tmp_path, monkeypatch):
    """Two passes cover frames that one pass has already let go."""

    def late(frame):
        return faces(BOX) if frame.index >= 40 else Detections.none()

    two, originals, _ = job(tmp_path, late, monkeypatch)
    one, _, _ = job(tmp_path, late, monkeypatch, one_pass=True)
    shown = [[shows(p, o) for p, o in zip(w.pictures, originals, strict=True)] for w in (two, one)]
    assert not any(shown[0][24:])
    assert sum(shown[0]) < sum(shown[1])


def test_a_click_works_in_two_passes(tmp_path, monkeypatch):
    """The clicked face is sharp from the click on."""
    writer, originals, _ = job(tmp_path, lambda _: faces(BOX), monkeypatch, clicks=(Click(120, 125, 0.8),))
    shown = [shows(p, o) for p, o in zip(writer.pictures, originals, strict=True)]
    assert not any(shown[:20])
    assert all(shown[20:])


def test_frames_that_were_not_analysed_are_covered_whole():
    """A source that changes between the passes is covered whole where it differs."""
    filter_ = FaceFilter(lambda _: faces(BOX), FilterSettings(), Meters())
    filter_.script = plan([faces(BOX)] * 2)
    out = [c for i in (0, 1, 2) for c in filter_.push(noise_frame(index=i), filter_.detect(noise_frame(index=i)))]
    assert [c.whole for c in out] == [False, False, True]


def test_a_detector_that_fails_covers_those_frames_whole(tmp_path, monkeypatch):
    """A fault in the analysis is a whole cover in the copy, counted once a frame."""

    def broken(frame):
        if frame.index == 7:
            raise RuntimeError("no")
        return Detections.none()

    writer, _, report = job(tmp_path, broken, monkeypatch)
    assert [i for i, whole in enumerate(writer.whole) if whole] == [7]
    assert sum(report.meters.whole.values()) == 1
