import cv2
import numpy as np

from bystander.types import Detections
from bystander_lab.breakdown import HEIGHTS as STEPS
from bystander_lab.breakdown import breakdown, level, render_breakdown, sharpness, typology_angle


def write_data(root):
    """Two 320x200 pictures with a face each: a dark low one that is labelled occluded, and a bright tall one."""
    rows = {"dark.png": (20, (40, 30, 12, 9), 2), "bright.png": (220, (60, 40, 50, 70), 0)}
    folder = root / "WIDER_val/images/a"
    folder.mkdir(parents=True)
    lines = []
    for name, (grey, xywh, occlusion) in rows.items():
        cv2.imwrite(str(folder / name), np.full((200, 320, 3), grey, np.uint8))
        lines += [f"a/{name}", "1", " ".join(map(str, (*xywh, 0, 0, 0, 0, occlusion, 0)))]
    (root / "wider_face_split").mkdir()
    (root / "wider_face_split/wider_face_val_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    return root


def test_what_is_missed_is_told_by_what_it_looks_like(tmp_path):
    """A detector that finds the bright face alone misses all dark, low and occluded ones."""
    found = Detections(np.array([[60, 40, 110, 110]], np.float32), np.ones(1, np.float32), np.zeros(1, np.float32))
    root = write_data(tmp_path)
    rows = {(r.trait, r.value): r for r in breakdown(root, lambda f: found if f.y.mean() > 100 else Detections.none())}
    assert rows["set", "a"].found == 0.5
    assert rows["height", "16-32 px"].found == 0  # 9 px in 320 are 18 in 640
    assert rows["height", "64 px and more"].found == 1
    assert rows["light", "dark (mean luma under 60)"].found == 0
    assert rows["light", "bright (180 and more)"].found == 1
    assert rows["occlusion", "2"].found == 0
    assert ("blur", "0") not in rows  # no label says anything of blur
    assert "16-32 px" in render_breakdown(list(rows.values()))


def test_the_sure_interval_holds_the_share(tmp_path):
    """Half of two faces found: somewhere between none and all."""
    find = iter([Detections.none(), Detections.none()])
    (row,) = [r for r in breakdown(write_data(tmp_path), lambda _: next(find)) if r.trait == "set"]
    assert (row.found, row.sure) == (0, (0, 0))


def test_traits_follow_the_pixels():
    """Blur lowers the sharpness; a lighter tone has the larger angle; a value on a step belongs to it."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert sharpness(cv2.GaussianBlur(noise, (0, 0), 3)) < sharpness(noise) / 10
    light, dark = (np.full((30, 30, 3), colour, np.uint8) for colour in ((230, 190, 160), (90, 60, 45)))
    assert typology_angle(light) > 30
    assert typology_angle(dark) < 0
    assert level(16, STEPS) == "16-32 px"
    assert level(3, STEPS) == "under 10 px"
