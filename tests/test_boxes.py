import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bystander import boxes

side = st.floats(-200, 400, allow_nan=False)
box = st.tuples(side, side, st.floats(0.1, 300), st.floats(0.1, 300)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(box, st.integers(1, 300), st.integers(1, 300))
def test_rounding_never_loses_a_pixel_of_the_face(b, width, height):
    """The rounded box holds every part of the box that lies in the frame, and its near corners are even."""
    out = boxes.round_outward(b, width, height)
    inside = (max(b[0], 0), max(b[1], 0), min(b[2], width), min(b[3], height))
    if out is None:
        assert inside[2] <= inside[0] or inside[3] <= inside[1]
        return
    assert out[0] <= inside[0] or inside[2] <= inside[0]
    assert out[1] <= inside[1] or inside[3] <= inside[1]
    assert out[2] >= inside[2]
    assert out[3] >= inside[3]
    assert out[0] % 2 == out[1] % 2 == 0
    assert 0 <= out[0] < out[2] <= width
    assert 0 <= out[1] < out[3] <= height


def test_a_box_that_is_not_finite_is_refused():
    """NaN never becomes a region."""
    with pytest.raises(ValueError, match="finite"):
        boxes.round_outward((0, 0, float("nan"), 4), 10, 10)


@given(box, box)
def test_iou_is_symmetric_and_one_for_itself(a, b):
    """IoU is symmetric, within 0 and 1, and 1 for equal boxes."""
    assert boxes.iou([a], [b])[0, 0] == pytest.approx(boxes.iou([b], [a])[0, 0], abs=1e-5)
    assert boxes.iou([a], [a])[0, 0] == pytest.approx(1, abs=1e-3)
    assert 0 <= boxes.iou([a], [b])[0, 0] <= 1.0001


def test_nms_keeps_the_best_of_a_heap_and_what_stands_apart():
    """Of overlapping boxes the best score stays; a box apart stays too."""
    kept = boxes.nms([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], [0.5, 0.9, 0.3], 0.5)
    assert kept.tolist() == [1, 2]


@given(box, st.floats(0, 2))
def test_growing_never_loses_the_box(b, g):
    """A grown box holds the box."""
    x1, y1, x2, y2 = boxes.grow(b, g, g, g, g)[0]
    b = np.float32(b)
    assert x1 <= b[0]
    assert y1 <= b[1]
    assert x2 >= b[2]
    assert y2 >= b[3]
