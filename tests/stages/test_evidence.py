import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bystander.stages.evidence import LIMIT, Sightings, follow, judge_track, judge_tracks, log_odds, probability

evidence = st.floats(0, 1)
odds = st.floats(-LIMIT, LIMIT)


def sightings(values, steady=None, fps=25):
    n = len(values)
    return Sightings(
        np.arange(n) / fps, np.array(values, np.float32), np.ones(n, bool) if steady is None else np.array(steady)
    )


def test_nothing_known_is_no_evidence():
    """A model without roles says 0, and 0 it stays; a half stays a half."""
    assert probability(log_odds(0.0)) == 0
    assert probability(log_odds(0.5)) == pytest.approx(0.5)


@given(odds, odds, odds, odds, st.floats(0.01, 2), st.integers(1, 200))
def test_less_evidence_never_gives_a_higher_mean(m1, m2, e1, e2, gap, hits):
    """The running mean rises with the mean before and with the new detection, whatever the two are."""
    low = follow(min(m1, m2), min(e1, e2), gap, hits)
    high = follow(max(m1, m2), max(e1, e2), gap, hits)
    assert low <= high + 1e-9


def test_doubt_counts_sooner_than_trust():
    """From the same mean, a bad detection pulls further than a good one of the same distance."""
    assert abs(follow(0.0, -2.0, 0.04, 100)) > 2 * follow(0.0, 2.0, 0.04, 100)


def test_a_whole_track_is_kept_from_its_first_frame():
    """Steady strong evidence keeps every sighting, the first ones too."""
    assert judge_track(sightings([0.9] * 50)).all()


def test_where_it_overlapped_it_is_covered():
    """Of a subject's track, sightings that are not steady are covered, the others kept."""
    steady = [True] * 20 + [False] * 5 + [True] * 25
    assert judge_track(sightings([0.95] * 50, steady)).tolist() == steady


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.95] * 10,  # 0.4 s
        [0.7] * 100,  # never strong enough
        [0.97] * 80 + [0.05] * 20,  # somebody else at the end, though the mean is high
        [0.05] * 20 + [0.97] * 80,
        [0.0] * 100,
    ],
)
def test_short_weak_or_mixed_evidence_keeps_nothing(values):
    """A track that is short, weak, or doubtful for a second anywhere is covered as a whole."""
    assert not judge_track(sightings(values)).any()


rows = st.lists(st.tuples(evidence, evidence, st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(rows, st.floats(0, 0.5))
def test_adding_uncertainty_to_a_track_never_uncovers(rows, base):
    """Lower evidence and fewer steady sightings keep a subset of what was kept."""
    better = [max(a, b) * (1 - base) + base for a, b, _, _ in rows]
    worse = [min(a, b) * (1 - base) + base for a, b, _, _ in rows]
    sure = judge_track(sightings(better, [s for _, _, s, _ in rows], fps=10))
    unsure = judge_track(sightings(worse, [s and t for _, _, s, t in rows], fps=10))
    assert not (unsure & ~sure).any()


def during(start_s, evidence):
    """A steady track of one second."""
    s = sightings([evidence] * 26)
    return Sightings(s.time_s + start_s, s.evidence, s.steady)


def test_of_a_whole_film_the_surest_are_kept_and_no_more_than_places():
    """Three tracks at a time and two places: the least sure is covered as a whole; one later in the film is kept."""
    tracks = {1: during(0, 0.9), 2: during(0.2, 0.95), 3: during(0.5, 0.97), 4: during(3, 0.85), 5: during(3, 0.1)}
    verdicts = judge_tracks(tracks, 2)
    assert [i for i, v in verdicts.items() if v.all()] == [2, 3, 4]
    assert not verdicts[1].any()
    assert not verdicts[5].any()
    assert not any(v.any() for v in judge_tracks(tracks, 0).values())
    assert [i for i, v in judge_tracks(tracks, 9).items() if v.all()] == [1, 2, 3, 4]


def test_two_short_shots_may_follow_each_other_in_one_place():
    """Tracks that do not meet in time share a place, also when a longer one spans both."""
    tracks = {1: during(0, 0.95), 2: during(1.5, 0.94), 3: sightings([0.9] * 70)}
    assert [i for i, v in judge_tracks(tracks, 2).items() if v.all()] == [1, 2, 3]


def test_unequal_lengths_are_refused():
    """Sightings that do not belong together are an error, not a guess."""
    with pytest.raises(ValueError, match="lengths"):
        Sightings(np.zeros(2), np.zeros(3, np.float32), np.zeros(2, bool))
