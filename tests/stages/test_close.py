import numpy as np
import pytest

from bystander.stages.close import SMALL, SURE, WEAK, look_closer, parts, together
from bystander.types import Detections
from fakes import faces, noise_frame

BOX = (300, 200, 316, 220)


def finder(score=0.9, marks=((BOX, 255),)):
    """A detector that finds boxes by the shade of their middle, in whatever part of the frame it is shown."""

    def detect(frame):
        found = []
        for _, shade in marks:
            ys, xs = np.nonzero(frame.y == shade)
            if len(xs):
                found.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        return faces(*found, score=score)

    return detect


def picture(width=640, height=360, marks=((BOX, 255),)):
    frame = noise_frame(width, height)
    frame.y[...] = 100
    for (x1, y1, x2, y2), shade in marks:
        frame.y[y1:y2, x1:x2] = shade
    return frame


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (1920, 1080), (3840, 2160), (359, 641), (33, 20), (2, 2)])
def test_parts_cover_the_whole_frame(size):
    """Every pixel is in a part, corners are even, chroma fits, and no part is larger than the frame."""
    frame = picture(*size, marks=())
    seen = np.zeros(size[::-1], bool)
    for p in parts(frame, 640):
        h, w = p.frame.y.shape
        assert p.x % 2 == p.y % 2 == 0
        assert p.frame.u.shape == p.frame.v.shape == (-(-h // 2), -(-w // 2))
        seen[p.y : p.y + h, p.x : p.x + w] = True
    assert seen.all()
    assert 4 <= len(parts(frame, 640)) <= 16


def test_a_face_is_found_once_in_px_of_the_frame():
    """Though two parts or more show it."""
    found = look_closer(picture(), finder(), 640)
    assert found.xyxy.tolist() == [list(BOX)]


def test_a_piece_of_a_face_is_no_face():
    """Where the edge of a part cuts a face, only the part that holds all of it counts."""
    frame = picture()
    edges = sorted({p.x + p.frame.width for p in parts(frame, 640)})
    box = (edges[0] - 8, 100, edges[0] + 8, 118)
    found = look_closer(picture(marks=((box, 255),)), finder(marks=((box, 255),)), 640)
    assert found.xyxy.tolist() == [list(box)]


def test_doubtful_finds_only_prolong_a_track():
    """Below ``SURE`` the score falls to what starts nothing; above it stays."""
    low, high = (look_closer(picture(), finder(s), 640).score.tolist() for s in (SURE - 0.05, SURE + 0.05))
    assert low == pytest.approx([WEAK])
    assert high == pytest.approx([SURE + 0.05])


def test_a_large_face_is_left_to_the_ordinary_look():
    """Enlarged, much that is no face looks like one."""
    frame = picture()
    limit = SMALL * max(frame.width, frame.height)
    for side, found in ((limit - 2, 1), (limit + 2, 0)):
        mark = (300, 200, 300 + int(side), 200 + int(side))
        assert len(look_closer(picture(marks=((mark, 255),)), finder(marks=((mark, 255),)), 640)) == found


def test_what_the_ordinary_look_found_stays():
    """Its box wins over a surer one of the closer look; a doubtful one of it gives way."""
    near = (301, 201, 318, 221)
    sure = together(faces(BOX, score=0.3), faces(near, score=0.9), 0.2)
    weak = together(faces(BOX, score=0.15), faces(near, score=0.9), 0.2)
    assert sure.xyxy.tolist() == [list(BOX)]
    assert weak.xyxy.tolist() == [list(near)]
    assert len(together(Detections.none(), faces(BOX), 0.2)) == 1
