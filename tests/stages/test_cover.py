import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bystander.errors import SettingsError
from bystander.stages.cover import CoverSettings, cover, cover_whole, ellipse
from bystander.types import Region
from fakes import noise_frame

STYLES = ("pixelate", "blur", "solid")


def luma_and_chroma(frame):
    return [p.copy() for p in (frame.y, frame.u, frame.v)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 64), st.integers(1, 48), st.sampled_from(STYLES))
def test_nothing_outside_a_region_changes(x, y, w, h, style):
    """Luma outside the region, and chroma samples that it does not touch, stay as they were."""
    frame = noise_frame(63, 47)
    before = luma_and_chroma(frame)
    x, y = x // 2 * 2, y // 2 * 2
    r = Region(x, y, min(63, x + w), min(47, y + h), "box")
    cover(frame, (r,), CoverSettings(style))
    for plane, old, f in zip((frame.y, frame.u, frame.v), before, (1, 2, 2), strict=True):
        outside = np.ones(plane.shape, bool)
        outside[r.y1 // f : -(-r.y2 // f), r.x1 // f : -(-r.x2 // f)] = False
        assert (plane[outside] == old[outside]).all()


@pytest.mark.parametrize("style", STYLES)
def test_fine_structure_does_not_survive(style):
    """Two pictures with the same coarse content and different detail look the same once covered."""
    results = []
    for sign in (1, -1):
        frame = noise_frame(96, 96)
        checker = np.indices((96, 96)).sum(0) % 2 * 2 - 1
        for plane in (frame.y, frame.u, frame.v):
            plane[...] = 100 + sign * 40 * checker[: plane.shape[0], : plane.shape[1]]
        cover(frame, (Region(16, 16, 80, 80, "box"),), CoverSettings(style))
        results.append(frame.y[16:80, 16:80].copy())
    assert (results[0] == results[1]).all()


def test_pixelation_leaves_few_numbers():
    """At most 6x6 cells remain of a region, and their values are multiples of a coarse step."""
    frame = noise_frame(256, 256)
    cover(frame, (Region(0, 0, 200, 200, "box"),), CoverSettings("pixelate"))
    patch = frame.y[:200, :200]
    runs = 1 + np.count_nonzero(np.diff(patch.astype(int), axis=1), axis=1)
    assert runs.max() <= 6
    assert set(np.unique(patch % 16)) == {8}


def test_ellipse_covers_what_it_says_and_leaves_the_corners():
    """Inside the ellipse everything is painted, the region's corners stay."""
    frame = noise_frame(100, 80)
    old = frame.y.copy()
    cover(frame, (Region(10, 10, 70, 60, "ellipse"),), CoverSettings("solid"))
    assert (frame.y[10:60, 10:70][ellipse(50, 60)] == 128).all()
    assert frame.y[10, 10] == old[10, 10]


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (641, 359)])
def test_whole_cover_leaves_nothing(size):
    """The fail-safe paints every sample of every plane, at odd sizes too."""
    frame = noise_frame(*size)
    covered = cover_whole(frame)
    assert covered.whole
    assert all((p == 128).all() for p in (frame.y, frame.u, frame.v))


def test_unknown_style_is_refused():
    """A style that does not exist is a settings error."""
    with pytest.raises(SettingsError, match="pixelate, blur or solid"):
        CoverSettings("none")
