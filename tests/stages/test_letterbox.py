import cv2
import numpy as np
import pytest

from bystander.stages.letterbox import letterbox, resize
from fakes import noise_frame


def with_patch(width, height, rotation):
    """A dark frame with one bright patch; returns it and the patch's box."""
    frame = noise_frame(width, height, rotation_deg=rotation)
    frame.y[...], frame.u[...], frame.v[...] = 16, 128, 128
    x1, y1, x2, y2 = width // 5, height // 4, width // 5 + width // 4, height // 4 + height // 3
    frame.y[y1:y2, x1:x2] = 235
    return frame, (x1, y1, x2, y2)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(640, 360), (359, 641), (100, 80)])
def test_a_box_found_in_the_detectors_picture_maps_back(rotation, size):
    """The bright patch, located in the upright picture, maps back to where it was in the stored frame."""
    frame, box = with_patch(*size, rotation)
    images, back = letterbox(frame, 320, 32)
    ys, xs = np.nonzero(images[0].mean(0) > 0.75)
    found = back.to_frame(np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32))[0]
    pixel = 1.5 / min(back.sx, back.sy) + 1
    assert np.abs(found - box).max() <= pixel


def test_rotation_turns_clockwise():
    """A frame to be turned by 90 degrees shows its left edge on top."""
    frame = noise_frame(200, 100, rotation_deg=90)
    frame.y[...], frame.u[...], frame.v[...] = 16, 128, 128
    frame.y[:, :20] = 235
    images, _ = letterbox(frame, 192, 32)
    upright = images[0].mean(0)
    content = upright[:, upright.shape[1] // 2]
    assert content[2] > 0.8
    assert content[-30] < 0.2


@pytest.mark.parametrize("size", [(1, 1), (4000, 16), (16, 4000), (7680, 4320)])
def test_extreme_sizes_give_a_picture_of_whole_strides(size):
    """Any frame gives finite pixels 0-1 in multiples of the stride, no longer than asked."""
    images, _ = letterbox(noise_frame(*size), 640, 32)
    assert images.shape[2] % 32 == images.shape[3] % 32 == 0
    assert max(images.shape) <= 640
    assert np.isfinite(images).all()
    assert 0 <= images.min() <= images.max() <= 1


def test_the_frame_is_only_read():
    """Letterboxing leaves the frame as it was."""
    frame = noise_frame(64, 48)
    before = frame.y.copy()
    letterbox(frame, 64, 32)
    assert (frame.y == before).all()


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (3840, 2160), (1278, 718), (1279, 719), (300, 200)])
@pytest.mark.parametrize("long_side", [640, 512, 416, 320])
def test_a_plane_is_shrunk_to_means_of_areas(size, long_side):
    """In steps of a half where that is faster: what comes out is within 4 grey levels of the means in one step."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    plane = (127 + 60 * np.sin(x / 40) + 60 * np.cos(y / 30)).astype(np.uint8)
    shape = (long_side, round(long_side * height / width))
    how = cv2.INTER_AREA if width >= long_side else cv2.INTER_LINEAR
    wanted = cv2.resize(plane, shape, interpolation=how)
    got = resize(plane, *shape)
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).max() <= 4
