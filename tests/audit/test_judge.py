import cv2
import numpy as np
import pytest

from bystander.audit.judge import Limits, judge, pairing
from bystander.audit.people import Person, closed, starts
from bystander.audit.result import figures

BOX = (40.0, 30.0, 88.0, 90.0)
SMALL = (140.0, 20.0, 150.0, 32.0)


def scene(shift=0, size=(192, 128)):
    """A picture with fine structure everywhere, moved sideways."""
    rng = np.random.default_rng(0)
    return np.roll(cv2.GaussianBlur(rng.integers(0, 256, size[::-1], dtype=np.uint8), (0, 0), 0.8), shift, axis=1)


def hidden(picture, box=BOX):
    out = picture.copy()
    x1, y1, x2, y2 = (int(v) for v in box)
    out[y1 - 6 : y2 + 6, x1 - 6 : x2 + 6] = 128
    return out


def film(pictures, step_s=0.04):
    return [(i * step_s, p) for i, p in enumerate(pictures)]


def person(box=BOX, role="background", frames=range(10), name=1):
    return Person(name, role, dict.fromkeys(frames, box))


def judged(after, people, before=None):
    """Ten equal pictures against ``after``, frame by frame."""
    before = film([scene()] * 10) if before is None else before
    pairs = pairing([t for t, _ in before], [t for t, _ in after])
    return judge(before, after, people, pairs, Limits())


def test_one_frame_that_flashes_is_found_with_its_time():
    """One open frame among ten is a run of 40 ms, and its crop is of that frame."""
    verdict = judged(film([scene() if i == 5 else hidden(scene()) for i in range(10)]), [person()])
    f = figures(verdict)
    assert (f.faces, f.exposed, f.longest, f.people_exposed) == (10, 1, 1, 1)
    assert f.longest_ms == pytest.approx(40)
    assert [m.frame for m in verdict.moments] == [5]


def test_a_run_up_to_the_last_frame_lasts_as_long_as_it_is_shown():
    """Three open frames at the end are 120 ms."""
    f = figures(judged(film([hidden(scene())] * 7 + [scene()] * 3), [person()]))
    assert (f.longest, round(f.longest_ms)) == (3, 120)


def test_roles_decide_what_is_wrong():
    """A subject is wrong when covered, a bystander when seen; who is to be ignored counts nowhere."""
    people = [person(role="interview"), person(role="ignore", name=2), person(role="either", name=3)]
    f = figures(judged(film([hidden(scene())] * 10), people))
    assert (f.subject_faces, f.subject_covered, f.faces) == (10, 10, 0)
    f = figures(judged(film([scene()] * 10), people))
    assert (f.subject_covered, f.exposed) == (0, 0)


def test_small_faces_are_counted_apart():
    """A face of 10 px adds nothing to the figures that decide."""
    f = figures(judged(film([scene()] * 10), [person(SMALL)]))
    assert (f.faces, f.small_faces, f.small_exposed) == (0, 10, 10)


def test_cover_without_a_face_is_measured():
    """A grey patch away from everybody is stray cover, the one over the face is none."""
    near = figures(judged(film([hidden(scene())] * 10), [person()])).stray_pct
    far = figures(judged(film([hidden(scene(), (140, 60, 186, 120))] * 10), [person()])).stray_pct
    assert near == 0
    assert 10 < far < 25


def test_another_film_is_noticed():
    """Where the pictures differ everywhere, nobody is called covered."""
    assert judged(film([scene(shift=50)] * 10), [person()]).alien
    assert not judged(film([hidden(scene())] * 10), [person()]).alien
    assert not judged(film([np.full((128, 192), 128, np.uint8)] * 10), [person()]).alien


def test_films_with_other_frame_counts_are_aligned_by_time():
    """Half of the frames left out, an open face is found all the same, in each of them."""
    before = film([scene(shift=i) for i in range(10)])
    after = film([scene(shift=i) for i in range(0, 10, 2)], 0.08)
    people = [Person(1, "background", {i: (40.0 + i, 30.0, 88.0 + i, 90.0) for i in range(10)})]
    f = figures(judged(after, people, before))
    assert (f.faces, f.exposed) == (5, 5)


def test_as_many_frames_belong_together_whatever_their_times():
    """A program that changes the times of frames is judged frame by frame."""
    assert pairing([0, 0.1, 0.9], [0, 0.04, 0.08]) == [[0], [1], [2]]
    assert [p[0] for p in pairing([0, 0.04, 0.08, 0.12], [0.01, 0.11])] == [0, 3]


def test_short_gaps_between_sightings_are_closed():
    """A face between two sightings is there; after a long time away it is not."""
    times = [i * 0.1 for i in range(40)]
    filled = closed({0: (0.0, 0.0, 10.0, 10.0), 2: (20.0, 0.0, 30.0, 10.0), 30: (0.0, 0.0, 9.0, 9.0)}, times)
    assert filled[1] == (10, 0, 20, 10)
    assert sorted(filled) == [0, 1, 2, 30]


@pytest.mark.parametrize("length", [500, 641, 960, 1080, 1920, 3841])
def test_tiles_reach_from_edge_to_edge(length):
    """Tiles begin at even px, overlap, and leave nothing out."""
    found = starts(length)
    assert found[0] == 0
    assert found[-1] + 640 >= length
    assert all(b - a <= 480 and a % 2 == 0 for a, b in zip(found, found[1:], strict=False))  # noqa: RUF007
