import numpy as np
import pytest

from bystander_lab.ap import ImageResult, rank
from bystander_lab.bootstrap import interval


def mean(values):
    return lambda weight: float((weight * values).sum() / weight.sum())


def test_the_interval_of_a_mean_is_that_of_theory():
    """400 coin tosses: 95 % lie within 1.96 standard errors, 0.049, of the share of heads."""
    tosses = np.arange(400) % 2
    low, high = interval(mean(tosses), list(range(400)))
    assert low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert high == pytest.approx(0.5 + 0.049, abs=0.006)


def test_items_of_one_group_are_drawn_together():
    """Ten alike items say as much as one: the interval is as wide as that of the groups."""
    values = np.arange(40) % 2
    alike = interval(mean(np.repeat(values, 10)), [i // 10 for i in range(400)])
    assert alike == pytest.approx(interval(mean(values), list(range(40))))


def test_one_group_says_nothing():
    """There is nothing to draw from."""
    assert np.isnan(interval(mean(np.ones(5)), ["a"] * 5)).all()


def test_ap_of_images_counted_twice_is_that_of_a_list_with_them_twice():
    """The weights of a resampled set give the very AP of that set."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(6):
        corner = rng.uniform(0, 50, (4, 2))
        true = np.concatenate((corner, corner + 20), 1)
        found = true[:3] + rng.uniform(-6, 6, (3, 4))
        images.append(ImageResult(found, rng.random(3), true, np.array([False, False, False, True])))
    weight = np.array([2, 0, 1, 1, 3, 0])
    again = [image for image, n in zip(images, weight, strict=True) for _ in range(n)]
    assert rank(images).ap(weight) == pytest.approx(rank(again).ap())
