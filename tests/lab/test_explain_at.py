"""``explain --at X,Y``: which face is meant by a point of the picture."""

import numpy as np
import pytest

pytest.importorskip("torch")

from bystander.errors import InputError
from bystander_lab.explain.scene import Face, Scene
from bystander_lab.explain.why import number_at
from bystander_lab.explain_cli import point_of
from bystander_lab.widerface import DataError


def scene(*boxes):
    """Faces in px of a detector's picture of 640x384 that holds the upright one 12 px below its top."""
    faces = tuple(Face(i, np.array(b, np.float32), 0.9, 0.5, {}) for i, b in enumerate(boxes))
    picture = np.zeros((720, 1280, 3), np.uint8)
    return Scene(np.zeros((1, 3, 384, 640), np.float32), (0, 12, 640, 372), picture, faces)


def test_the_smallest_face_at_the_point_is_meant():
    """Points are px of the upright picture, whatever size the detector sees it at."""
    found = scene((10, 22, 110, 132), (40, 52, 60, 72), (300, 22, 350, 82))
    assert number_at(found, (100, 100), 1280) == 2
    assert number_at(found, (30, 30), 1280) == 1
    assert number_at(found, (650, 60), 1280) == 3
    assert number_at(found, (325, 30), 640) == 3


def test_a_point_without_a_face_is_refused():
    """Nobody else is explained in their place."""
    with pytest.raises(InputError):
        number_at(scene((10, 22, 110, 132)), (900, 600), 1280)


@pytest.mark.parametrize("words", ["", "1", "1,2,3", "a,b", "1;2"])
def test_a_point_is_two_numbers(words):
    """Anything else is told."""
    with pytest.raises(DataError):
        point_of(words)
