import cv2
import numpy as np
import pytest

from bystander.types import Detections
from bystander_lab import cli, eval_cli
from bystander_lab.breakdown import (
    LEAST,
    Face,
    Share,
    faces_found,
    faces_kept,
    render_breakdown,
    render_roles_breakdown,
    shares,
)
from bystander_lab.evaluate import run
from bystander_lab.traits import HEIGHTS as STEPS
from bystander_lab.traits import halves, level, sharpness, symmetry, traits, typology_angle
from bystander_lab.widerface import Sample, load_widerface
from bystander_lab.worst import false_alarms, missed, write_sheet, wrong_roles

SKIN = (200, 150, 120)


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


def boxes(*rows):
    """Detections of xyxy, score, evidence."""
    values = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5])


BRIGHT = boxes((60, 40, 110, 110, 1, 0))


def judged(root, find):
    samples = load_widerface(root, "val")
    return samples, run(samples, find, workers=1)


def test_what_is_missed_is_told_by_what_it_looks_like(tmp_path):
    """A detector that finds the bright face alone misses all dark, low and occluded ones."""
    both = judged(write_data(tmp_path), lambda f: BRIGHT if f.y.mean() > 100 else Detections.none())
    rows = {(r.trait, r.value): r for r in shares(faces_found(*both))}
    assert rows["set", "a"].share == 0.5
    assert rows["height", "16-32 px"].share == 0  # 9 px in 320 are 18 in 640
    assert rows["height", "128 px and more"].share == 1
    assert rows["light", "dark (mean luma under 60)"].share == 0
    assert rows["light", "bright (180 and more)"].share == 1
    assert rows["occlusion (label)", "2"].share == 0
    assert ("blur (label)", "0") not in rows  # no label says anything of blur
    assert not any(trait == "tone" for trait, _ in rows)  # grey pictures show no tone


def test_the_sure_interval_holds_the_share(tmp_path):
    """None of two faces found: surely none."""
    both = judged(write_data(tmp_path), lambda _: Detections.none())
    (row,) = [r for r in shares(faces_found(*both)) if r.trait == "set"]
    assert (row.share, row.sure) == (0, (0, 0))


def test_few_faces_have_no_share():
    """A group of fewer than twenty faces says "too few" and shows no figure; twenty do."""
    rows = [Share("height", name, n, 0.5, (0.4, 0.6)) for name, n in (("low", LEAST - 1), ("high", LEAST))]
    few, enough = render_breakdown(rows).splitlines()[2:]
    assert "too few" in few
    assert "%" not in few
    assert "50.0 % (40.0-60.0)" in enough


def test_roles_are_told_for_subjects_and_bystanders_apart(tmp_path):
    """A kept subject counts on the left, a kept bystander on the right, and what is on one side only has a row too."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((200, 320, 3), 90, np.uint8))
    faces = np.array([[10, 10, 50, 60], [100, 10, 112, 24]], np.float32)
    sample = Sample(path, "a", faces, np.zeros(2, bool), np.zeros((2, 6), int), np.array([0, 1]), "film")
    found = [boxes((*faces[0], 0.9, 0.95), (*faces[1], 0.9, 0.9))]
    subjects, bystanders = faces_kept([sample], found, 0.92)
    assert [f.hit for f in subjects] == [True]
    assert [f.hit for f in bystanders] == [False]
    many = shares([Face((("set", "a"),), True, str(i)) for i in range(30)])
    text = render_roles_breakdown(many, shares(bystanders), 0.92)
    (both,) = [line for line in text.splitlines() if "| set " in line]
    assert [cell.strip() for cell in both.split("|")[3:7]] == ["30", "100.0 % (100.0-100.0)", "1", "too few"]
    (alone,) = [line for line in text.splitlines() if "16-32 px" in line]
    assert alone.split("|")[3].strip() == "0"


def test_traits_follow_the_pixels():
    """Blur lowers the sharpness; a lighter tone has the larger angle; a value on a step belongs to it."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert sharpness(cv2.GaussianBlur(noise, (0, 0), 3)) < sharpness(noise) / 10
    light, dark = (np.full((30, 30, 3), colour, np.uint8) for colour in ((230, 190, 160), (90, 60, 45)))
    assert typology_angle(light) > 30
    assert typology_angle(dark) < 0
    assert level(16, STEPS) == "16-32 px"
    assert level(3, STEPS) == "under 10 px"


def drawn(shift=0, mask=False):
    """A face of 60x60 px with eyes and a mouth, looking aside by ``shift`` px."""
    face = np.full((60, 60, 3), SKIN, np.uint8)
    for x in (20, 40):
        cv2.circle(face, (x + shift, 22), 5, (40, 30, 30), -1)
    cv2.ellipse(face, (30 + shift, 45), (9, 3), 0, 0, 360, (150, 50, 50), -1)
    if shift:
        face[:, :18] = (30, 20, 20)  # hair
    if mask:
        face[32:] = (120, 170, 220)
    return face


def test_a_face_that_looks_into_the_camera_is_like_its_mirror_image():
    """Also a little off the box's middle; one turned aside is less alike."""
    assert symmetry(drawn()) > 0.9
    assert symmetry(np.roll(drawn(), 3, axis=1)) > 0.8
    assert symmetry(drawn(shift=14)) < 0.5


def test_tone_is_judged_where_it_can_be():
    """A large, lit, coloured face has a tone; a masked, dark or small one has none."""

    def of(crop, side=60):
        sample = Sample(None, "a", np.array([[0, 0, side, side]], np.float32), np.zeros(1, bool), np.zeros((1, 6), int))
        return dict(traits(np.ascontiguousarray(crop[:side, :side]), sample, 0))

    assert of(drawn())["tone"] == "intermediate (28-41)"
    assert of(drawn(mask=True))["halves"] == "different, as with a mask (12 and more)"
    assert halves(drawn()) < 6
    for crop, side in ((drawn(mask=True), 60), (drawn() // 5, 60), (drawn(), 30)):
        assert "tone" not in of(crop, side)


def test_the_worst_misses_come_first_and_say_what_came_closest(tmp_path):
    """The taller of two missed faces leads; a box that fits badly is named with its score, no box as well."""
    samples, results = judged(write_data(tmp_path), lambda _: boxes((60, 40, 110, 70, 0.7, 0)))
    tall, low = missed(samples, results)
    assert tall.path.name == "bright.png"
    assert tall.about == "a 140px score 0.70 IoU 0.43"
    assert low.about.startswith("a 18px no box")


def test_false_alarms_are_sorted_by_score(tmp_path):
    """What lies on no face leads by its score, at its place in the file; a hit is none."""

    def find(frame):
        return boxes((200, 10, 240, 60, 0.6 if frame.y.mean() > 100 else 0.9, 0), (60, 40, 110, 110, 0.95, 0))

    samples, results = judged(write_data(tmp_path), find)
    first = false_alarms(samples, results)
    assert [m.path.name for m in first] == ["dark.png", "dark.png", "bright.png"]
    assert first[1].xyxy == pytest.approx((200, 10, 240, 60))


def test_a_sheet_shows_each_crop_with_its_number(tmp_path):
    """Two crops make one row; the crop's middle is the face; an old sheet does not outlive its mistakes."""
    samples, results = judged(write_data(tmp_path), lambda _: Detections.none())
    path = tmp_path / "run/missed.png"
    lines = write_sheet(missed(samples, results), path)
    picture = cv2.imread(str(path))
    assert picture.shape == (284, 5 * 240, 3)
    assert picture[120, 120].tolist() == [220, 220, 220]
    assert picture[120, 360].tolist() == [20, 20, 20]
    assert lines[1:] == ["   1 a/bright.png: a 140px no box", "   2 a/dark.png: a 18px no box"]
    assert "nothing to show" in write_sheet([], path)[0]
    assert not path.exists()


def test_wrong_roles_are_told_by_evidence(tmp_path):
    """The subject with least evidence and the bystander with most lead; what was not found is no wrong role."""
    faces = np.array([[0, 0, 20, 20], [30, 0, 50, 20], [60, 0, 80, 20]], np.float32)
    sample = Sample(tmp_path, "a", faces, np.zeros(3, bool), np.zeros((3, 6), int), np.array([0, 0, 1]), "film")
    lost, kept = wrong_roles([sample], [boxes((*faces[0], 0.9, 0.3), (*faces[2], 0.9, 0.8))])
    assert [m.xyxy[0] for m in lost] == [0]
    assert [m.about for m in kept] == ["a evidence 0.800"]


def test_eval_writes_everything_it_is_asked_for(tmp_path, monkeypatch, capsys):
    """One command prints Markdown tables of intervals and kinds, and leaves both sheets."""

    class Blind:
        names, stride, id = ("face",), 32, "blind"

        def __call__(self, images):
            return np.zeros((1, 1, 6), np.float32)

    monkeypatch.setattr(eval_cli, "models_of", lambda _: [Blind()])
    root, out = write_data(tmp_path), tmp_path / "run"
    report = tmp_path / "r.json"
    args = ["eval", "--data", str(root), "--intervals", "--by", "--worst", str(out), "--json", str(report)]
    assert cli.main(args) == 0
    said = capsys.readouterr().out
    assert "| 95 % interval" in said
    assert "| height" in said
    assert (out / "missed.png").exists()
    assert not list(out.glob("*.partial"))
    assert '"by"' in report.read_text()


def test_a_report_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys):
    """A missing folder is one line at once."""
    assert cli.main(["eval", "--data", str(tmp_path), "--json", str(tmp_path / "no/where.json")]) == 2
    assert "its folder does not exist" in capsys.readouterr().err
