from dataclasses import replace

import numpy as np
import pytest

from bystander.stages.cuts import CutDetector
from fakes import noise_frame


def scene(seed, shift=0, width=640, height=360, gain=1.0):
    """A made-up scene of large soft shapes, the camera ``shift`` px to the right."""
    rng = np.random.default_rng(seed)
    x = np.arange(width)[None, :] + shift
    y = np.arange(height)[:, None]
    shapes = rng.uniform((20, 30, 30, 0), (50, 99, 99, 6), (4, 4))
    waves = [a * np.sin(x / p + f) * np.cos(y / q) for a, p, q, f in shapes]
    luma = np.clip((128 + sum(waves)) * gain, 16, 235).astype(np.uint8)
    frame = noise_frame(width, height)
    u, v = (np.full(frame.u.shape, rng.integers(90, 170), np.uint8) for _ in range(2))
    return replace(frame, y=luma, u=u, v=v)


def cuts(frames):
    detector = CutDetector()
    return [i for i, f in enumerate(frames) if detector(f)]


@pytest.mark.parametrize("size", [(640, 360), (64, 48), (1920, 1080), (361, 641)])
def test_a_cut_is_found_in_its_frame(size):
    """The first frame of another scene is a cut, at any size, and no other frame is."""
    width, height = size
    frames = [scene(1, 2 * i, width, height) for i in range(8)] + [scene(2, 2 * i, width, height) for i in range(8)]
    assert cuts(frames) == [8]


def test_a_moving_camera_is_no_cut():
    """Neither a slow nor a fast pan, nor light that changes over half a second, is a cut."""
    assert cuts([scene(1, 3 * i) for i in range(20)]) == []
    assert cuts([scene(1, 12 * i) for i in range(20)]) == []
    assert cuts([scene(1, 0, gain=1 + 0.02 * i) for i in range(20)]) == []


def test_shots_that_follow_each_other_are_found():
    """Of three cuts in a row, half a second apart, none is missed."""
    frames = [scene(k, i) for k in range(4) for i in range(12)]
    assert cuts(frames) == [12, 24, 36]


def test_frames_that_always_change_are_not_cuts_for_ever():
    """Where every frame is another picture, no cut can be told, and most are not called one."""
    rng = np.random.default_rng(0)
    frames = [replace(noise_frame(64, 48), y=rng.integers(0, 256, (48, 64), dtype=np.uint8)) for _ in range(30)]
    assert len(cuts(frames)) < 6
