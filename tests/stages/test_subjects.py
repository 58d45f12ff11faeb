"""The rule "auto", and how rules and people's words compose."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bystander.stages.policy import Policy, PolicySettings, tracks_at
from bystander.types import Choices, Track, Verdict

FPS = 20
FACE = Track(1, (400.0, 300.0, 460.0, 380.0), 0.9, 0.95, 5.0, 0.0, 0.0, steady=True)
NOBODY = Choices()


def person(i, **values):
    """Faces side by side, none touching another."""
    x = 100.0 * i
    return replace(FACE, id=i, xyxy=(x, 300.0, x + 60, 380.0), **values)


def run(frames, choices=NOBODY, zoned=frozenset(), **how):
    """Ids kept in each frame; frames are lists of tracks, ages are filled in."""
    policy = Policy(PolicySettings(**{"keep": "auto", **how}))
    return [policy.kept([replace(t, age_s=n / FPS) for t in tracks], choices, zoned) for n, tracks in enumerate(frames)]


def test_a_subject_is_kept_after_half_a_second_of_steady_evidence():
    """Not in the first ten frames of half a second, and from then on without a gap."""
    kept = run([[FACE]] * 40)
    assert not any(kept[:10])
    assert all(kept[10:])


@pytest.mark.parametrize("evidence", [0.0, 0.5, 0.75])
def test_weak_evidence_keeps_nobody(evidence):
    """Below the keeping threshold nobody is kept, however long it lasts; no roles at all is the weakest."""
    assert not any(run([[replace(FACE, foreground=evidence)]] * 100))


def test_between_the_thresholds_a_subject_stays_and_nobody_becomes_one():
    """Evidence that falls a little does not flicker; the same evidence from the start keeps nobody."""
    weaker = [replace(FACE, foreground=0.7)]
    assert all(run([[FACE]] * 20 + [weaker] * 20)[10:])
    assert not any(run([weaker] * 40))


@pytest.mark.parametrize("doubt", [{"foreground": 0.39}, {"steady": False}, {"unseen_s": 0.2, "steady": False}])
def test_doubt_covers_in_the_very_frame_and_costs_half_a_second(doubt):
    """One doubtful frame covers at once, and trust must be earned again."""
    kept = run([[FACE]] * 20 + [[replace(FACE, **doubt)]] + [[FACE]] * 20)
    assert kept[19]
    assert not any(kept[20:30])
    assert all(kept[30:])


def test_a_blink_is_covered_but_forgiven():
    """A face unseen for a moment is covered then, and kept again when it is seen."""
    kept = run([[FACE]] * 20 + [[replace(FACE, unseen_s=0.05)]] + [[FACE]] * 5)
    assert [bool(k) for k in kept[19:]] == [True, False] + [True] * 5


def test_no_more_than_max_subjects_are_kept():
    """Of five equal people three are kept, always the same; with one place, one."""
    crowd = [person(i) for i in range(1, 6)]
    assert {len(k) for k in run([crowd] * 40)[10:]} == {3}
    assert len(set(run([crowd] * 40)[10:])) == 1
    assert {len(k) for k in run([crowd] * 40, max_subjects=1)[10:]} == {1}
    assert not any(run([crowd] * 40, max_subjects=0))


def test_doubt_about_one_does_not_uncover_another():
    """A place belongs to a track for its life: while its holder is doubtful nobody moves up; when it ends, one does."""
    pair = [person(1), person(2, foreground=0.9)]
    doubtful = [person(1, steady=False), pair[1]]
    kept = run([pair] * 20 + [doubtful] * 20 + [pair[1:]] * 5, max_subjects=1)
    assert kept[19] == {1}
    assert not any(kept[20:40])
    assert kept[-1] == {2}


def test_one_picture_needs_stronger_evidence_and_no_time():
    """In a still picture strong evidence is enough at once, and what would do in a film is not."""
    still = replace(FACE, steady=False, foreground=0.99)
    assert run([[still]], still=True) == [{1}]
    assert run([[replace(still, foreground=0.95)]], still=True) == [frozenset()]


def test_who_was_covered_by_a_person_is_never_kept_by_the_model():
    """However strong the evidence, and a zone or the size do not help either."""
    choices = Choices(cover=frozenset({1}))
    assert not any(run([[FACE]] * 40, choices, frozenset({1})))
    assert not any(run([[FACE]] * 40, choices, keep="largest"))


def test_a_persons_keep_needs_no_evidence():
    """A person's word keeps whom the model would cover, at once."""
    assert run([[replace(FACE, foreground=0.0)]], Choices(keep=frozenset({1}))) == [{1}]
    assert run([[replace(FACE, foreground=0.0)]], Choices(default=Verdict.KEEP)) == [{1}]


def test_who_appears_after_a_covered_person_was_lost_may_be_them():
    """No rule keeps a later track; whoever was seen beside the covered person is somebody else and is kept."""
    choices = Choices(cover=frozenset({1}))
    beside, later = person(2), person(3)
    kept = run([[person(1), beside]] * 20 + [[beside, later]] * 40, choices)
    assert kept[19] == {2}
    assert kept[-1] == {2}
    assert run([[beside, later]] * 40)[-1] == {2, 3}  # without the word both are kept


def test_who_touches_a_covered_person_may_have_changed_places_with_them():
    """After their boxes met, no rule keeps either, for as long as the tracks live."""
    choices = Choices(cover=frozenset({1}))
    apart, meet = [person(1), person(2)], [person(1), replace(person(2), xyxy=(140.0, 300.0, 200.0, 380.0))]
    kept = run([apart] * 20 + [meet] + [apart] * 60, choices)
    assert kept[19] == {2}
    assert not any(kept[20:])


def test_a_word_to_cover_can_be_taken_back():
    """Without it the model decides again, for those who touched that person too."""
    policy = Policy(PolicySettings(keep="auto"))
    close = [person(1), replace(person(2), xyxy=(140.0, 300.0, 200.0, 380.0))]
    for n in range(20):
        assert not policy.kept([replace(t, age_s=n / FPS) for t in close], Choices(cover=frozenset({1})))
    assert policy.kept([replace(t, age_s=1.0) for t in close], NOBODY) == {1, 2}


def test_while_somebody_to_cover_is_not_found_no_rule_keeps_anybody():
    """The model keeps nobody who may be the person meant; a person's own word still does."""
    assert not any(run([[FACE]] * 40, Choices(rules=False)))
    assert run([[FACE]] * 40, Choices(rules=False, keep=frozenset({1})))[-1] == {1}


def test_a_zone_keeps_steady_faces_only():
    """In a zone drawn by a person a steady face is kept without evidence, a new one is not."""
    plain = replace(FACE, foreground=0.0)
    assert run([[plain]], zoned=frozenset({1})) == [{1}]
    assert run([[replace(plain, steady=False)]], zoned=frozenset({1})) == [frozenset()]


def test_a_click_to_cover_means_everybody_under_it():
    """Smallest first, coasting faces too."""
    inner = replace(FACE, id=2, xyxy=(410.0, 310.0, 440.0, 350.0), unseen_s=0.3)
    assert tracks_at([FACE, inner], 420, 320) == [2, 1]
    assert tracks_at([FACE, inner], 10, 10) == []


frame = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=3, max_size=3)  # three people
LIVELY = [(0.95, True, True)] * 3


def tracks(rows):
    return [
        person(i, foreground=f, steady=steady and seen, unseen_s=0.0 if seen else 0.2)
        for i, (f, steady, seen) in enumerate(rows, 1)
    ]


def less_sure(a, b):
    return [(min(f, g), s and t, u and v) for (f, s, u), (g, t, v) in zip(a, b, strict=True)]


# long stretches of strong evidence between the drawn frames, so that people are kept at all
films = st.lists(st.one_of(frame, st.just(LIVELY)), min_size=12, max_size=40)


@settings(max_examples=200)
@given(films, films, st.sets(st.integers(1, 3)))
def test_adding_uncertainty_never_uncovers(film, doubts, covered):
    """Lower evidence, unsteady or unseen tracks, and people's words to cover keep a subset in every single frame."""
    film = [LIVELY] * 12 + film
    doubts = [*doubts, *[LIVELY] * len(film)]
    sure = run([tracks(rows) for rows in film])
    choices = Choices(cover=frozenset(covered))
    unsure = run([tracks(less_sure(a, b)) for a, b in zip(film, doubts, strict=False)], choices)
    assert any(sure)
    assert all(b <= a for a, b in zip(sure, unsure, strict=True))


@settings(max_examples=100)
@given(films, films, st.integers(0, 2))
def test_doubt_about_a_person_never_uncovers_that_person(film, doubts, places):
    """With fewer places than people too: less evidence for one of them never gets them kept."""
    film = [LIVELY] * 12 + film
    doubts = [*doubts, *[LIVELY] * len(film)]
    mine = [[less_sure(a, b)[0], *a[1:]] for a, b in zip(film, doubts, strict=False)]
    sure = run([tracks(rows) for rows in film], max_subjects=places)
    unsure = run([tracks(rows) for rows in mine], max_subjects=places)
    assert all(1 in a or 1 not in b for a, b in zip(sure, unsure, strict=True))
