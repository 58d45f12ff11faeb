from dataclasses import replace

import cv2
import numpy as np
import pytest

from bystander.stages.follow import DOUBTFUL_S, LIMIT_S, PAST_S, Follower
from bystander.types import Track
from fakes import noise_frame

W, H = 320, 240
RNG = np.random.default_rng(3)
HEAD = cv2.GaussianBlur(RNG.integers(0, 256, (48, 40), np.uint8), (0, 0), 2)
OTHER = cv2.GaussianBlur(RNG.integers(0, 256, (48, 40), np.uint8), (0, 0), 2)
WALL = cv2.GaussianBlur(RNG.integers(60, 200, (H, 2 * W), np.uint8), (0, 0), 3)


def shot(index, xy=None, head=HEAD, pan=0):
    """A frame of a wall, 25 a second, with a head at ``xy``; ``pan``: px by which the camera has turned."""
    frame = noise_frame(W, H, index)
    frame.y[...] = WALL[:, pan : pan + W]
    if xy is not None:
        x, y = xy
        part = frame.y[y : y + 48, max(0, x) : max(0, x + 40)]
        part[...] = head[:, max(0, -x) :][:, : part.shape[1]]
    return frame


def track(x, y, name=1, unseen_s=0.0):
    return Track(name, (x, y, x + 40, y + 48), 0.9, 0.0, 1.0, unseen_s, 0.0, steady=True)


def run(frames, seen, cuts=()):
    """Guesses by frame and id. ``seen``: index -> tracks."""
    follower, guesses = Follower(), {}
    for f in frames:
        for g in follower.update(f, f.index in cuts, seen.get(f.index, ())):
            guesses[g.frame, g.track] = g
    return guesses


def centre(guess):
    x1, y1, x2, y2 = guess.xyxy
    return (x1 + x2) / 2, (y1 + y2) / 2


def test_a_face_that_is_not_found_any_more_is_followed():
    """The head moves on after its last detection; the guess stays on it, to three pixels."""
    where = [(60 + 4 * i, 80 + i) for i in range(20)]
    guesses = run([shot(i, xy) for i, xy in enumerate(where)], {i: [track(*where[i])] for i in range(5)})
    assert sorted(guesses) == [(i, 1) for i in range(5, 20)]
    for (i, _), g in guesses.items():
        assert centre(g) == pytest.approx((where[i][0] + 20, where[i][1] + 24), abs=3)
        assert g.unseen_s > 0


def test_a_face_that_is_found_late_is_followed_back():
    """The frames before the first detection get guesses on the moving head, as far as it is in the picture."""
    where = [(60 + 4 * i, 80) for i in range(20)]
    guesses = run([shot(i, xy if i > 3 else None) for i, xy in enumerate(where)], {19: [track(*where[19])]})
    assert sorted(guesses) == [(i, 1) for i in range(4, 19)]
    assert centre(guesses[4, 1]) == pytest.approx((where[4][0] + 20, 104), abs=4)


def test_slow_movement_is_not_lost():
    """A third of a pixel a frame adds up."""
    where = [(60 + i // 3, 80) for i in range(36)]
    guesses = run([shot(i, xy) for i, xy in enumerate(where)], {0: [track(*where[0])]})
    assert centre(guesses[35, 1])[0] == pytest.approx(where[35][0] + 20, abs=1.5)


def test_a_gap_is_filled_from_both_ends_and_no_further():
    """A face found again is looked for back to the frame where it was last seen, not before."""
    seen = {i: [track(60, 80)] for i in (*range(5), *range(12, 15))}
    guesses = run([shot(i, (60, 80)) for i in range(15)], seen)
    assert sorted(guesses) == [(i, 1) for i in range(5, 12)]


def test_nothing_is_followed_over_a_cut():
    """Neither forwards nor backwards, though the head would be found there."""
    frames = [shot(i, (60, 80)) for i in range(10)] + [shot(i, (60, 80), pan=280) for i in range(10, 20)]
    seen = {**{i: [track(60, 80)] for i in range(8)}, **{i: [track(60, 80, 2)] for i in range(13, 20)}}
    guesses = run(frames, seen, cuts=(10,))
    assert {i for i, name in guesses if name == 1} == {8, 9}
    assert {i for i, name in guesses if name == 2} == {10, 11, 12}


def test_what_looks_different_is_not_followed():
    """Somebody else's head in the same place, or the bare wall, ends it."""
    for after in ({"xy": (60, 80), "head": OTHER}, {"xy": None}):
        frames = [shot(i, (60, 80)) for i in range(5)] + [shot(i, **after) for i in range(5, 10)]
        assert not run(frames, {i: [track(60, 80)] for i in range(5)})


def test_who_leaves_the_picture_is_followed_to_its_edge():
    """No guess has its middle outside."""
    where = [(40 - 6 * i, 80) for i in range(20)]
    guesses = run([shot(i, xy) for i, xy in enumerate(where)], {0: [track(*where[0])]})
    assert guesses
    assert all(centre(g)[0] >= 0 for g in guesses.values())
    assert max(i for i, _ in guesses) < 12


def test_following_ends():
    """Forwards after ``LIMIT_S``, backwards after ``PAST_S``: a poster would else be followed for ever."""
    frames = [shot(i, (60, 80)) for i in range(100)]
    ahead = run(frames, {0: [track(60, 80)]})
    back = run(frames, {99: [track(60, 80)]})
    assert len(ahead) == pytest.approx(LIMIT_S * 25, abs=1)
    assert len(back) == pytest.approx(PAST_S * 25, abs=1)


def test_who_is_found_under_another_name_is_followed_no_longer():
    """The tracker's new track takes over."""
    seen = {0: [track(60, 80)], **{i: [track(61, 80, 2)] for i in range(5, 12)}}
    guesses = run([shot(i, (60, 80)) for i in range(12)], seen)
    assert max(i for i, name in guesses if name == 1) == 4


def test_a_whip_of_the_camera_carries_faces_along():
    """The picture moves by more than a face and is too blurred to tell heads; the guess moves with it."""
    pans = [0, 0, 0, 50, 100, 150]
    frames = [shot(i, (240 - p, 80) if i < 3 else None, pan=p) for i, p in enumerate(pans)]
    guesses = run(frames, {i: [track(240, 80)] for i in range(3)}, cuts=(3,))
    assert [centre(guesses[i, 1])[0] for i in (3, 4, 5)] == pytest.approx([210, 160, 110], abs=6)


def test_a_plain_patch_is_not_followed():
    """What has no structure is like anything."""
    flat = np.full((48, 40), 128, np.uint8)
    frames = [shot(i, (60, 80), head=flat) for i in range(6)]
    for f in frames:
        f.y[...] = 128
    assert not run(frames, {0: [track(60, 80)]})


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (2000, 3)])
def test_odd_pictures_do_no_harm(size):
    """Tiny and narrow pictures give guesses or none, never an error."""
    follower = Follower()
    for i in range(3):
        follower.update(noise_frame(*size, i), False, [track(0, 0)] if i == 0 else ())


@pytest.mark.parametrize(
    ("score", "sights", "seconds"), [(0.3, 1, DOUBTFUL_S), (0.3, 2, DOUBTFUL_S), (0.3, 3, LIMIT_S), (0.6, 1, LIMIT_S)]
)
def test_what_was_hardly_seen_is_not_followed_for_long(score, sights, seconds):
    """One or two weak sightings, and three or a sure one."""
    seen = {i: [replace(track(60, 80), score=score)] for i in range(sights)}
    guesses = run([shot(i, (60, 80)) for i in range(50)], seen)
    assert max(g.unseen_s for g in guesses.values()) == pytest.approx(seconds, abs=0.05)
