import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bystander.media.live_sound import SoundTrack
from bystander.types import Sound

RATE = 48_000


def piece(time_s, n=960, value=0.5):
    return Sound(np.full((2, n), value, np.float32), RATE, time_s)


def test_pieces_in_a_row_pass_unchanged():
    """Sound without gaps keeps every sample."""
    track = SoundTrack(RATE, 0.0)
    got = [p for i in range(10) for p in track.fit(piece(i * 0.02))]
    assert [position for position, _ in got] == [i * 960 for i in range(10)]
    assert sum(s.shape[1] for _, s in got) == 9600


def test_a_gap_becomes_silence():
    """What is missing is filled, so that later sound keeps its place."""
    track = SoundTrack(RATE, 0.0)
    track.fit(piece(0.0))
    gap, after = track.fit(piece(0.5))
    assert not gap[1].any()
    assert after[0] == 24_000


def test_an_overlap_is_cut():
    """Sound that was sent already is not sent twice."""
    track = SoundTrack(RATE, 0.0)
    track.fit(piece(0.0, 4800))
    ((position, samples),) = track.fit(piece(0.05, 4800))
    assert position == 4800
    assert samples.shape[1] == 2400
    assert track.fit(piece(0.0, 960)) == []


@given(st.lists(st.floats(0, 30), min_size=1, max_size=30))
def test_sound_never_leaves_its_place_by_more_than_20_ms(times):
    """Whatever the times, positions rise without overlap and what is sent is where it belongs."""
    track, end = SoundTrack(RATE, 0.0), 0
    for time_s in times:
        for position, samples in track.fit(piece(time_s)):
            assert position >= end
            end = position + samples.shape[1]
            if samples.all():
                last = position + samples.shape[1] - 960
                assert abs(last / RATE - time_s) <= 0.0201 or samples.shape[1] < 960


def test_hours_of_silence_do_not_fill_memory():
    """A jump ahead by a day is filled with two seconds."""
    track = SoundTrack(RATE, 0.0)
    ((position, samples),) = track.silence(86_400.0)
    assert samples.shape[1] == 2 * RATE
    assert (position + samples.shape[1]) / RATE == pytest.approx(86_400)
