import importlib.util
import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bystander.audit.people import read_truth
from bystander.media.luma import frame_times


def bench(name):
    """A measurement as a module, to be found by the others under its own name."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"bench/{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hard = bench("hard_clips")
leak = bench("leak")

KINDS = {"pan", "zoom", "shake", "whip pan", "motion blur", "occluder", "edge", "crossing", "light", "cuts", "10 fps",
         "vfr"}  # fmt: skip
DARK = {0: np.zeros((hard.WORLD[1], hard.WORLD[0], 3), np.uint8)}
FACE = (60, 50, 140, 150)


def head(face=(250, 250, 250), around=90):
    """A portrait of one shade with a face of another."""
    rgb = np.full((200, 200, 3), around, np.uint8)
    rgb[FACE[1] : FACE[3], FACE[0] : FACE[2]] = face
    return hard.Portrait(rgb, FACE)


def grainy():
    """A portrait with fine structure everywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    return hard.Portrait(cv2.GaussianBlur(noise, (0, 0), 1.2), FACE)


MOVING = hard.Scene(
    (hard.Actor(0, ((0, 700, 400, 60), (2, 900, 460, 110))),),
    camera=((0, 700, 430, 0.6), (1, 800, 450, 1.7), (2, 500, 450, 1)),
    shake=9,
)


@pytest.mark.parametrize("index", range(0, 48, 5))
def test_the_true_box_is_where_the_face_is_painted(index):
    """Under pan, zoom and shake the bright pixels of the face fill its true box, to a pixel."""
    clip = hard.Clip("moving", ((0, MOVING),))
    bright = hard.picture_at(clip, index, [head()], DARK)[..., 0] > 170
    box = hard.truth_at(clip, index, [head()]).get(0)
    if box is None:
        whole = hard.face_box(head(), hard.placed(MOVING.actors[0], head(), *clip.at(clip.times[index])))
        assert bright.sum() < hard.VISIBLE * hard.area(whole)
    else:
        ys, xs = np.nonzero(bright)
        assert np.allclose((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), box, atol=1.01)


def test_the_same_portraits_give_the_same_films():
    """Pictures and truth are a function of portraits and time."""
    clip = hard.clips()["shake"]
    behind = [{0: hard.background(0)} for _ in range(2)]
    a, b = (hard.picture_at(clip, 7, [grainy()], each) for each in behind)
    assert np.array_equal(a, b)
    assert hard.truth(clip, [grainy()]) == hard.truth(hard.clips()["shake"], [grainy()])


def test_every_kind_of_hard_film_is_there():
    """Each has true faces inside the picture, and times that rise."""
    assert set(hard.clips()) == KINDS
    for clip in hard.clips().values():
        tracks = hard.truth(clip, [head()])["tracks"]
        boxes = np.array([b for t in tracks for b in t["boxes"].values()])
        assert len(boxes) >= len(clip.times) / 3
        assert (boxes >= 0).all()
        assert (boxes <= [hard.WIDTH, hard.HEIGHT] * 2).all()
        assert (np.diff(clip.times) > 0).all()


def test_the_film_with_cuts_cuts_every_second_to_other_people():
    """Nobody is seen across a cut."""
    tracks = hard.truth(hard.clips()["cuts"], [head()])["tracks"]
    seconds = [{int(i) // hard.FPS for i in t["boxes"]} for t in tracks]
    assert len(tracks) == 6
    assert all(len(s) == 1 for s in seconds)


def test_who_is_behind_something_does_not_count():
    """The pillar hides a face for some frames, after which the same person is back."""
    frames = [sorted(map(int, t["boxes"])) for t in hard.truth(hard.clips()["occluder"], [head()])["tracks"]]
    assert len(frames) == 2
    assert all(f[-1] - f[0] + 1 > len(f) for f in frames)


def test_a_nearer_head_hides_a_face():
    """Of two people who cross, the farther one is not to be seen for a moment."""
    frames = [sorted(map(int, t["boxes"])) for t in hard.truth(hard.clips()["crossing"], [head()])["tracks"]]
    assert sorted(f[-1] - f[0] + 1 > len(f) for f in frames) == [False, True]


def test_an_open_shutter_blurs_what_moves():
    """The motion blur is in the picture, not only in the name."""
    sharp = hard.Scene((hard.Actor(0, ((0, 500, 450, 80), (1, 1100, 450, 80))),), shutter=0)
    blurred = hard.Scene(sharp.actors, shutter=0.9)
    pictures = [hard.picture_at(hard.Clip("", ((0, s),)), 12, [grainy()], DARK)[..., 1] for s in (sharp, blurred)]
    fine = [float(np.abs(np.diff(p.astype(np.float32), axis=1)).mean()) for p in pictures]
    assert fine[1] < fine[0] / 2


@pytest.fixture
def film(tmp_path):
    """A short film of uneven times, written, with its truth."""
    clip = hard.Clip("short", ((0, MOVING),), hard.uneven()[:12])
    return hard.write(clip, tmp_path / "short.mp4", [grainy()])


def test_a_film_keeps_its_uneven_times(film):
    """What is written has the frames and the times of the clip, and a truth that the audit reads."""
    assert frame_times(film) == pytest.approx(hard.uneven()[:12], abs=1e-3)
    people, size = read_truth(film.with_suffix(".json"))
    assert size == (hard.WIDTH, hard.HEIGHT)
    assert set(people[0].boxes) == set(range(12))


def covered(film, out):
    """The film with every true box painted over."""
    tracks = json.loads(film.with_suffix(".json").read_text())["tracks"]
    with av.open(str(film)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = hard.WIDTH, hard.HEIGHT, "yuv420p"
        stream.codec_context.time_base = source.streams.video[0].time_base
        for i, frame in enumerate(source.decode(video=0)):
            rgb = frame.to_ndarray(format="rgb24")
            for t in tracks:
                x1, y1, x2, y2 = (round(v) for v in t["boxes"][str(i)])
                rgb[max(0, y1 - 9) : y2 + 9, max(0, x1 - 9) : x2 + 9] = 128
            painted = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            painted.pts, painted.time_base = frame.pts, frame.time_base
            target.mux(stream.encode(painted))
        target.mux(stream.encode())
    return out


def test_the_figures_tell_an_open_film_from_a_covered_one(film, tmp_path):
    """The film itself is exposed in every frame, the covered one in none; neither has stray cover."""
    truth = film.with_suffix(".json")
    open_, _ = leak.figures(film, film, truth)
    shut, _ = leak.figures(film, covered(film, tmp_path / "c.mp4"), truth)
    assert (open_["exposed"], open_["longest"], open_["people_exposed"]) == (12, 12, 1)
    assert (shut["faces"], shut["exposed"], shut["longest"]) == (12, 0, 0)
    assert open_["stray_pct"] == shut["stray_pct"] == 0


def test_sums_and_lines():
    """Counts add up, the longest run is the longest of all, stray cover is weighted by frames."""
    a = {"faces": 10, "exposed": 1, "people": 2, "people_exposed": 1, "frames": 100, "longest": 1, "longest_ms": 40.0,
         "stray_pct": 1.0}  # fmt: skip
    both = leak.total([a, {**a, "frames": 300, "longest": 3, "stray_pct": 3.0}])
    assert (both["faces"], both["exposed"], both["longest"], both["stray_pct"]) == (20, 2, 3, 2.5)
    assert leak.line("all", "bystander", both).split() == [
        "all",
        "bystander",
        "20",
        "2",
        "10.00",
        "3",
        "40",
        "2/4",
        "2.50",
    ]
    assert len(leak.HEAD) == len(leak.line("all", "bystander", both))


def test_annotations_are_read_file_by_file():
    """A file without faces has a line of zeros, which is no end of the list."""
    lines = ["a.jpg", "1", "1 2 3 4 0", "b.jpg", "0", "0 0 0 0 0", "c.jpg", "2", "5 6 7 8 0", "9 9 9 9 1"]
    assert [(name, len(faces)) for name, faces in leak.listed(lines)] == [("a.jpg", 1), ("b.jpg", 1), ("c.jpg", 2)]
