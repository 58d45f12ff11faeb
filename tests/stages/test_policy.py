from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bystander.errors import SettingsError
from bystander.stages.cover import ellipse
from bystander.stages.policy import Policy, PolicySettings, region_of, track_at
from bystander.types import Choices, Track

W, H = 1280, 720
FACE = Track(1, (400.0, 300.0, 460.0, 380.0), 0.9, 0.0, 5.0, 0.0, 0.0, steady=True)
NOBODY = Choices()


def regions(policy, tracks, choices=NOBODY):
    return policy.regions(tracks, policy.kept(tracks, choices), W, H)


def test_unknown_is_covered():
    """By default every track has a region, coasting and doubtful ones too."""
    tracks = [FACE, replace(FACE, id=2, unseen_s=0.5, steady=False, score=0.1)]
    assert {r.track_id for r in regions(Policy(), tracks)} == {1, 2}


def test_the_ellipse_holds_the_whole_face_box():
    """Every pixel of the face box lies inside the painted ellipse."""
    r = region_of(FACE, PolicySettings(), W, H)
    mask = ellipse(r.y2 - r.y1, r.x2 - r.x1)
    assert mask[300 - r.y1 : 380 - r.y1, 400 - r.x1 : 460 - r.x1].all()


def test_at_the_edge_the_cover_is_a_box():
    """A cut region is not squeezed into an ellipse that would uncover the face's corner."""
    assert region_of(replace(FACE, xyxy=(-10.0, 0.0, 30.0, 50.0)), PolicySettings(), W, H).shape == "box"


@given(st.floats(0, 20), st.floats(0, 20), st.floats(1, 4), st.floats(1, 4))
def test_speed_and_grow_only_add_cover(slow, fast, small, large):
    """More speed or a larger factor never gives a smaller region."""
    slow, fast = sorted((slow, fast))
    small, large = sorted((small, large))
    a = region_of(replace(FACE, speed=slow), PolicySettings(grow=small), W, H)
    b = region_of(replace(FACE, speed=fast), PolicySettings(grow=large), W, H)
    assert b.x1 <= a.x1
    assert b.y1 <= a.y1
    assert b.x2 >= a.x2
    assert b.y2 >= a.y2


def test_a_persons_keep_holds_only_while_the_face_is_seen():
    """A kept face is uncovered while seen and covered while its track coasts."""
    keep = Choices(keep=frozenset({1}))
    assert regions(Policy(), [FACE], keep) == ()
    assert len(regions(Policy(), [replace(FACE, unseen_s=0.04)], keep)) == 1


def test_cover_beats_keep():
    """Whoever a person covered stays covered, whatever else was said."""
    assert len(regions(Policy(), [FACE], Choices(keep=frozenset({1}), cover=frozenset({1})))) == 1


def test_largest_keeps_only_after_a_while_and_with_a_clear_lead():
    """The largest face is kept after half a second of clear lead, and not at all beside one of like size."""
    policy = Policy(PolicySettings(keep="largest"))
    small = replace(FACE, id=2, xyxy=(10.0, 10.0, 30.0, 40.0))
    counts = [len(regions(policy, [replace(FACE, age_s=a), small])) for a in (1.0, 1.3, 1.6)]
    assert counts == [2, 2, 1]
    rival = replace(FACE, id=3, xyxy=(600.0, 300.0, 658.0, 380.0))
    assert len(regions(policy, [replace(FACE, age_s=2.0), rival])) == 2


def test_doubt_covers_the_largest_again_at_once():
    """The leader is covered in the very frame in which its track stops being steady."""
    policy = Policy(PolicySettings(keep="largest"))
    for age in (1.0, 1.6):
        kept = policy.kept([replace(FACE, age_s=age)], NOBODY)
    assert kept == {1}
    assert policy.kept([replace(FACE, age_s=1.7, steady=False)], NOBODY) == frozenset()


@pytest.mark.parametrize("bad", [{"grow": 0.9}, {"keep": "me"}, {"shape": "star"}, {"grow": float("nan")}])
def test_weaker_than_safe_is_refused(bad):
    """A margin below the least safe one, or an unknown rule, is a settings error."""
    with pytest.raises(SettingsError):
        PolicySettings(**bad)


def test_a_click_takes_the_smallest_visible_face_under_it():
    """Of two boxes under the point the smaller is meant; beside both, nobody."""
    inner = replace(FACE, id=2, xyxy=(410.0, 310.0, 440.0, 350.0))
    assert track_at([FACE, inner], 420, 320) == 2
    assert track_at([FACE, inner], 10, 10) is None
