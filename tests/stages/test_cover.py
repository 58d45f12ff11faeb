import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bystander.errors import SettingsError
from bystander.stages import cover as stage
from bystander.stages.cover import MAX_CELLS, SAFE_CELLS, CoverSettings, Memory, cover, cover_whole, ellipse, weakness
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


def face_at(x, y, brightness=0):
    """A still room of 256x192 px with a face of 96x128 px at x, y: fine and coarse structure, the same every time."""
    frame, rng = noise_frame(256, 192), np.random.default_rng(5)
    for plane, f in ((frame.y, 1), (frame.u, 2), (frame.v, 2)):
        plane[...] = 100
        rough = cv2.resize(rng.integers(40, 216, (8, 6), np.uint8), (96 // f, 128 // f), interpolation=cv2.INTER_CUBIC)
        plane[y // f : (y + 128) // f, x // f : (x + 96) // f] = np.clip(rough.astype(int) + brightness, 0, 255)
    return frame


def shown(frame, x, y, settings, memory=None, wider=0):
    """The luma of the face at x, y, covered as track 1."""
    cover(frame, (Region(x, y, x + 96 + wider, y + 128, "box", 1),), settings, memory)
    return frame.y[y : y + 128, x : x + 96 + wider]


@pytest.mark.parametrize("style", ["pixelate", "blur"])
@pytest.mark.parametrize("step", [(2, 0), (6, 4), (34, 10)])
def test_the_grid_moves_with_the_face(style, step):
    """A face that moved by some px is covered by the same cells, moved by as many px."""
    before = shown(face_at(20, 30), 20, 30, CoverSettings(style))
    after = shown(face_at(20 + step[0], 30 + step[1]), 20 + step[0], 30 + step[1], CoverSettings(style))
    assert (before == after).all()


@pytest.mark.parametrize("style", ["pixelate", "blur"])
def test_many_frames_of_a_face_tell_no_more_than_one(style):
    """Found unsteadily, in changing light, a track shows the cells of its first frame again: their mean is no news."""
    settings, memory = CoverSettings(style), Memory()
    first = shown(face_at(40, 20), 40, 20, settings, memory).copy()
    for k in range(12):
        again = shown(face_at(40 + 2 * k, 20, 3 * k), 38 + 2 * k, 22, settings, memory)
        assert (again == first).all()
    assert (shown(face_at(40, 20, 60), 40, 20, settings) != first).any()  # without a memory it would be another sample


def test_a_track_of_another_size_shows_the_same_cells():
    """A cover that grows stretches its cells; it takes no new sample of the face."""
    settings, memory = CoverSettings("pixelate"), Memory()
    first = shown(face_at(40, 20), 40, 20, settings, memory)
    wide = shown(face_at(40, 20, 50), 40, 20, settings, memory, wider=48)
    assert (first[:, 12::24] == wide[:, 18::36]).all()  # the middles of four cells, of 24 px and of 36


def test_another_track_and_no_track_take_their_own_cells():
    """Cells belong to one track; a region without one is covered by what is under it."""
    memory = Memory()
    for track, level in ((1, 50), (2, 200), (None, 200), (None, 50)):
        frame = noise_frame(64, 64)
        frame.y[...] = level
        cover(frame, (Region(0, 0, 64, 64, "box", track),), CoverSettings(), memory)
        assert abs(frame.y.mean() - level) < 2 * stage.NOISE


def test_forgotten_tracks_do_not_pile_up(monkeypatch):
    """A stream of days keeps a bounded number of tracks, the newest."""
    monkeypatch.setattr(stage, "KEPT_CELLS", 6)
    memory = Memory()
    for track in range(5):
        cover(noise_frame(64, 64), (Region(0, 0, 64, 64, "box", track),), CoverSettings(), memory)
    assert {track for track, _ in memory.cells} == {3, 4}


def test_noise_is_the_same_every_time_and_depends_on_what_is_hidden():
    """The same cells get the same noise, others another, within twice the amplitude: a shift of all and one of each."""
    means = np.random.default_rng(0).integers(0, 256, (6, 5), np.uint8)
    drawn = [stage.noise(means, 24), stage.noise(means.copy(), 24), stage.noise(means ^ 1, 24)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    many = np.concatenate([stage.noise(means + np.uint8(k), 24).ravel() for k in range(200)])
    assert -48 <= many.min() < -40
    assert 40 < many.max() <= 48
    assert abs(many.mean()) < 3


def test_noise_is_not_averaged_away_within_a_track():
    """The mean of a hundred frames of a flat grey face is as far from its grey as the first frame is."""
    settings, memory, seen = CoverSettings("blur"), Memory(), []
    for k in range(100):
        frame = noise_frame(96, 96)
        frame.y[...] = 100 + k % 3
        cover(frame, (Region(0, 0, 96, 96, "box", 1),), settings, memory)
        seen.append(frame.y.copy())
    assert (np.mean(seen, 0) == seen[0]).all()
    assert seen[0].std() > 4


def test_cells_are_bounded_and_weak_settings_are_told():
    """More cells than the hard minimum allows are refused; more than measured to be safe are told; solid never."""
    for cells in (0, MAX_CELLS + 1):
        with pytest.raises(SettingsError, match="cells"):
            CoverSettings(cells=cells)
    assert weakness(CoverSettings()) is None
    assert weakness(CoverSettings("blur", SAFE_CELLS)) is None
    assert weakness(CoverSettings("solid", MAX_CELLS)) is None
    assert f"--cells {SAFE_CELLS}" in weakness(CoverSettings("pixelate", SAFE_CELLS + 1))


def test_unknown_style_is_refused():
    """A style that does not exist is a settings error."""
    with pytest.raises(SettingsError, match="pixelate, blur or solid"):
        CoverSettings("none")
