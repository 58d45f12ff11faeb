import cv2
import numpy as np
import pytest

from bystander_lab.anchors import fit_anchors
from bystander_lab.augment import Example, augment, crop_labels, flip, mosaic, occlude, place
from bystander_lab.cache import open_cache
from bystander_lab.copy_paste import paste_faces
from bystander_lab.data import DataSettings, training_batches
from bystander_lab.widerface import DataError, load_widerface

WHITE = np.full((60, 80, 3), 255, np.uint8)


def example(xyxy=((30, 20, 50, 44),)):
    """Black picture, white faces."""
    image = np.zeros((100, 140, 3), np.uint8)
    boxes = np.array(xyxy, np.float32).reshape(-1, 4)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 255
    return Example(image, boxes, np.zeros(len(boxes), bool), np.arange(len(boxes)))


def wider(root, text, images=("a/1.jpg",)):
    (root / "wider_face_split").mkdir(parents=True)
    (root / "wider_face_split/wider_face_train_bbx_gt.txt").write_text(text)
    for name in images:
        path = root / "WIDER_train/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), WHITE)
    return root


def test_wider_layout_is_read(tmp_path):
    """Boxes, attributes and invalid flags come out; the row of zeros of a face-free image does not."""
    root = wider(tmp_path, "a/1.jpg\n2\n1 2 10 20 1 0 0 0 2 1\n5 5 3 3 0 0 0 1 0 0\nb/2.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n")
    one, two = load_widerface(root, "train")
    assert one.xyxy.tolist() == [[1, 2, 11, 22], [5, 5, 8, 8]]
    assert one.invalid.tolist() == [False, True]
    assert one.attributes[0].tolist() == [1, 0, 0, 0, 2, 1]
    assert (one.event, two.event, len(two.xyxy)) == ("a", "b", 0)


@pytest.mark.parametrize(
    "text",
    [
        "a/1.jpg\n3\n1 2 3 4 0 0 0 0 0 0\n",
        "a/1.jpg\nmany\n",
        "",
        "a/1.jpg\n1\nnan 2 3 4 0 0 0 0 0 0\n",
        "a/1.jpg\n5\n" + "1 2 3 4\n" * 5,
    ],
)
def test_bad_label_file_is_one_clear_error(tmp_path, text):
    """A label file that is cut off, garbled or empty raises DataError and names the file."""
    with pytest.raises(DataError, match="wider_face_train_bbx_gt"):
        load_widerface(wider(tmp_path, text), "train")


def test_image_that_does_not_decode_is_named(tmp_path):
    """A broken image stops the preparation with its name."""
    root = wider(tmp_path / "d", "a/1.jpg\n1\n1 2 30 30 0 0 0 0 0 0\n")
    (root / "WIDER_train/images/a/1.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"1\.jpg"):
        training_batches(DataSettings((root,), imgsz=64, cache=tmp_path / "c"), 1, 0, 0)


def test_no_face_to_learn_from_is_an_error(tmp_path):
    """A data set with only invalid faces is refused."""
    root = wider(tmp_path / "d", "a/1.jpg\n1\n1 2 30 30 0 0 0 1 0 0\n")
    with pytest.raises(DataError, match="no labelled face"):
        training_batches(DataSettings((root,), imgsz=64, cache=tmp_path / "c"), 1, 0, 0)


@pytest.mark.parametrize("xywh", ["90 10 20 20", "-30 10 20 20", "10 70 9 9"])
def test_a_box_outside_its_picture_is_named(tmp_path, xywh):
    """Labels of another picture, or in another unit, are told before anything is learnt."""
    root = wider(tmp_path / "d", f"a/1.jpg\n1\n{xywh} 0 0 0 0 0 0\n")
    with pytest.raises(DataError, match=r"1\.jpg: the face .* lies outside the 80x60 px"):
        training_batches(DataSettings((root,), imgsz=64, cache=tmp_path / "c"), 1, 0, 0)


def test_folders_are_drawn_by_their_weight(tmp_path):
    """A folder of weight 0.1 gives about a tenth of what one of weight 1 gives."""
    box = "10 10 30 40 0 0 0 0 0 0"
    roots = tuple(wider(tmp_path / name, f"a/1.jpg\n1\n{box}\n") for name in ("white", "black"))
    cv2.imwrite(str(roots[1] / "WIDER_train/images/a/1.jpg"), WHITE * 0)
    settings = DataSettings(roots, imgsz=64, cache=tmp_path / "c", mosaic=0, root_weights=(1, 0.1))
    images, _ = next(training_batches(settings, 200, 0, 0))
    centres = images.float().amax((1, 2, 3))
    assert 3 <= int((centres < 120).sum()) <= 40


def test_batches_are_pictures_with_their_boxes(tmp_path):
    """A batch is uint8 (b, 3, s, s), its boxes lie inside and name their image."""
    root = wider(tmp_path / "d", "a/1.jpg\n1\n10 10 30 40 0 0 0 0 0 0\n")
    images, targets = next(training_batches(DataSettings((root,), imgsz=96, cache=tmp_path / "c"), 4, 0, 0))
    assert images.shape == (4, 3, 96, 96)
    assert len(targets.boxes) > 0
    assert set(targets.boxes[:, 0].tolist()) <= {0, 1, 2, 3}
    assert ((targets.boxes[:, 2:4] >= 0) & (targets.boxes[:, 2:4] <= 96)).all()


def test_mosaic_boxes_lie_on_their_faces():
    """The pixels under every box of a mosaic are the face's: bright, on a dark picture."""
    rng = np.random.default_rng(1)
    bright = []
    for _ in range(20):
        e = mosaic(example, 128, rng)
        for x1, y1, x2, y2 in e.xyxy[~e.ignore]:
            cx, cy = int((x1 + x2) / 2), int((y1 + y2) / 2)
            bright.append(e.image[cy, cx].mean() > 40)
    assert len(bright) > 20
    assert np.mean(bright) > 0.97


def test_a_window_that_aims_holds_a_face():
    """A small window of a much enlarged picture shows the one face in a far corner every time it aims there."""
    source = example([[2, 2, 10, 12]])
    for seed in range(20):
        e = place(source, np.zeros((64, 64, 3), np.uint8), np.random.default_rng(seed), 4.0, 1.0, aim=True)
        assert len(e.xyxy) == 1
        assert e.image.max() > 200


def test_flip_moves_the_box_with_the_face():
    """After a flip the box still lies on the bright patch."""
    e = flip(example())
    x1, y1, x2, y2 = e.xyxy[0].astype(int)
    assert (e.image[y1:y2, x1:x2] == 255).all()
    assert e.image.sum() == 255 * 3 * 20 * 24


def test_a_face_mostly_outside_becomes_an_ignore_region():
    """What is left of a face cut off by the tile is ignored, not taught as background; what is whole stays a face."""
    picture = np.zeros((64, 64, 3), np.uint8)
    boxes = np.array([[-18, 0, 2, 20], [4, 4, 24, 24]], np.float32)
    e = crop_labels(Example(picture, boxes, np.zeros(2, bool), np.array([0, 1])))
    assert e.ignore.tolist() == [True, False]
    assert e.role.tolist() == [0, 1]
    assert e.xyxy.min() >= 0


def test_occlusion_stays_near_the_face():
    """Occluders change pixels of large faces and nothing beyond a tenth of a face around them."""
    rng, changed = np.random.default_rng(0), 0
    for _ in range(100):
        e = example(((40, 30, 80, 78),))
        before = e.image.copy()
        occlude(e, rng)
        diff = (e.image != before).any(2)
        changed += diff.any()
        diff[25:83, 36:84] = False
        assert not diff.any()
    assert changed > 3


def test_the_same_seed_makes_the_same_picture():
    """Augmentation depends on its generator alone."""
    a, b = (augment(example, 96, np.random.default_rng(5), 0.5) for _ in range(2))
    assert (a.image == b.image).all()
    assert (a.xyxy == b.xyxy).all()


def test_anchors_find_the_clusters():
    """k-means returns the sides of well separated groups, small first."""
    rng = np.random.default_rng(0)
    sides = np.concatenate([rng.normal(m, 0.2, (200, 2)) for m in (8, 30, 90)])
    anchors, fit = fit_anchors(sides, 3)
    assert np.allclose(anchors, [[8, 8], [30, 30], [90, 90]], atol=0.5)
    assert fit > 0.9


def test_copies_of_small_faces_are_faces_too():
    """Copies lie inside the picture, hide no other face, are as bright as the face they copy, and nobody's role."""
    source, copies = example([[30, 20, 50, 44], [80, 10, 130, 90]]), 0
    for seed in range(20):
        e = paste_faces(source, np.random.default_rng(seed))
        new = e.xyxy[2:]
        copies += len(new)
        assert (new >= 0).all()
        assert (new <= [140, 100, 140, 100]).all()
        for x1, y1, x2, y2 in new:
            assert e.image[int((y1 + y2) / 2), int((x1 + x2) / 2)].min() > 200
            assert not ((x2 > e.xyxy[:2, 0]) & (x1 < e.xyxy[:2, 2]) & (y2 > e.xyxy[:2, 1]) & (y1 < e.xyxy[:2, 3])).any()
        assert (e.role[2:] == -1).all()
        assert not e.ignore[2:].any()
        assert (e.image[10:90, 80:130] == 255).all()
    assert copies > 5


def test_large_and_ignored_faces_are_not_copied():
    """Without a small face to copy the picture stays as it is."""
    source = example([[80, 10, 130, 90], [10, 10, 30, 30]])
    source.ignore[1] = True
    assert paste_faces(source, np.random.default_rng(0)) is source


def test_a_changed_picture_gets_a_new_cache(tmp_path):
    """A picture replaced under its name is not shown from the old cache."""
    root = wider(tmp_path / "d", "a/1.jpg\n1\n10 10 30 40 0 0 0 0 0 0\n")
    samples = load_widerface(root, "train")
    assert open_cache(samples, 512, tmp_path / "c")[0].mean() > 250
    cv2.imwrite(str(samples[0].path), np.zeros((50, 70, 3), np.uint8))
    assert open_cache(samples, 512, tmp_path / "c")[0].mean() < 5
    assert open_cache(samples, 512, tmp_path / "c").index[0].height == 50


def test_a_cache_that_was_not_finished_is_not_read(tmp_path):
    """A picture that does not decode leaves neither pixels nor an index behind."""
    box = "1\n10 10 30 40 0 0 0 0 0 0\n"
    root = wider(tmp_path / "d", f"a/1.jpg\n{box}a/2.jpg\n{box}", ("a/1.jpg", "a/2.jpg"))
    (root / "WIDER_train/images/a/2.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"2\.jpg"):
        open_cache(load_widerface(root, "train"), 512, tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())
