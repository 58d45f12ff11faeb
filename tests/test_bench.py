import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("exposure", Path(__file__).parents[1] / "bench/exposure.py")
exposure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exposure)

BOX = (40, 30, 88, 90)


@pytest.fixture
def face():
    """A picture with fine structure everywhere."""
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (128, 128), dtype=np.uint8), (0, 0), 0.8)


def judge(before, after):
    return exposure.exposed(exposure.high_pass(before), exposure.high_pass(after), BOX)


def test_an_uncovered_face_is_exposed_though_it_was_encoded_again(face):
    """JPEG artefacts do not hide a face from the measure."""
    again = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    assert judge(face, again) is True


@pytest.mark.parametrize("cover", ["solid", "pixelate", "blur"])
def test_a_covered_face_is_not_exposed(face, cover):
    """Fills, mosaics and strong blur count as covered."""
    after = face.copy()
    patch = after[25:95, 35:93]
    small = cv2.resize(patch, (5, 6), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if cover == "pixelate" else cv2.INTER_CUBIC
    patch[...] = 128 if cover == "solid" else cv2.resize(small, patch.shape[::-1], interpolation=how)
    assert judge(face, after) is False


def test_a_cover_that_leaves_half_of_the_face_is_no_cover(face):
    """A shifted cover is found out."""
    after = face.copy()
    after[25:60, 35:93] = 128
    assert judge(face, after) is True


def test_a_face_without_structure_is_not_judged(face):
    """A face that was blurred in the original cannot be exposed."""
    flat = cv2.GaussianBlur(face, (0, 0), 8)
    assert judge(flat, flat) is None
