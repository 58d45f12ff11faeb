import numpy as np
import pytest

from bystander_lab.ap import ImageResult, average_precision, judge


def image(found, score, true, ignore=None):
    true = np.array(true, np.float32).reshape(-1, 4)
    ignore = np.zeros(len(true), bool) if ignore is None else np.array(ignore)
    return ImageResult(np.array(found, np.float32).reshape(-1, 4), np.array(score, np.float32), true, ignore)


A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [80, 80, 90, 90]


def test_all_found_is_one():
    """Finding every face and nothing else has AP 1."""
    assert average_precision([image([A, B], [0.9, 0.8], [A, B])]) == pytest.approx(1)


def test_hand_computed_curve():
    """Hit, false alarm, hit over two faces: 1/2 * 1 + 1/2 * 2/3."""
    assert average_precision([image([A, FAR, B], [0.9, 0.8, 0.7], [A, B])]) == pytest.approx(1 / 2 + 1 / 3)


def test_a_second_box_on_a_face_is_a_false_alarm():
    """Each true face can be found once."""
    assert judge(image([A, A], [0.9, 0.8], [A])).tolist() == [1, 0]


def test_boxes_on_ignored_faces_do_not_count():
    """A detection that matches only an ignored face is neither hit nor false alarm."""
    assert judge(image([B], [0.9], [A, B], [False, True])).tolist() == [-1]
    assert average_precision([image([B, A], [0.9, 0.8], [A, B], [False, True])]) == pytest.approx(1)


def test_scores_are_ranked_over_all_images():
    """A confident false alarm in one image lowers the precision at a hit in another."""
    both = [image([FAR], [0.9], [A]), image([A], [0.5], [A])]
    assert average_precision(both) == pytest.approx(0.5 * 0.5)


def test_no_face_is_no_number():
    """Without a true face there is no AP."""
    assert np.isnan(average_precision([image([A], [0.9], [])]))
