import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from bystander.models import open_model
from bystander.stages.detector import Detector
from bystander.types import Detections
from bystander_lab.augment import Example, mosaic, whole
from bystander_lab.cli import main
from bystander_lab.data import DataSettings, role_weights, training_batches, training_samples
from bystander_lab.evaluate import drops, still_frame
from bystander_lab.export import export
from bystander_lab.loss import class_loss
from bystander_lab.model import load_checkpoint, yolov5
from bystander_lab.role_eval import (
    Judged,
    confusion,
    evaluate_roles,
    evidence_ap,
    judge_faces,
    look,
    operating_point,
    role_intervals,
)
from bystander_lab.roles import ROLES, load_faces, load_roles
from bystander_lab.train import TrainSettings, train
from bystander_lab.transfer import put_below, start_from
from bystander_lab.widerface import DataError, Sample, load_widerface

SUBJECT, OTHER = (20, 10, 44, 40), (80, 30, 90, 42)


def row(**values):
    faces = [{"xyxy": SUBJECT, "role": "interview"}, {"xyxy": OTHER, "role": "background"}]
    return {"file": "WIDER_train/images/a/0.png", "width": 120, "height": 80, "group": "g", "source": "s",
            "complete": True, "faces": faces, **values}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """One picture in the WIDER layout: a subject, a bystander, and a doubtful face that is ignored."""
    folder = tmp_path / "data"
    for split in ("train", "val"):
        (folder / f"WIDER_{split}/images/a").mkdir(parents=True)
        (folder / "wider_face_split").mkdir(exist_ok=True)
        picture = np.zeros((80, 120, 3), np.uint8)
        for shade, (x1, y1, x2, y2) in ((255, SUBJECT), (90, OTHER)):
            picture[y1:y2, x1:x2] = shade
        cv2.imwrite(str(folder / f"WIDER_{split}/images/a/0.png"), picture)
        boxes = "20 10 24 30 0 0 0 0 0 0\n80 30 10 12 0 0 0 0 0 0\n100 60 5 6 0 0 0 1 0 0"
        (folder / f"wider_face_split/wider_face_{split}_bbx_gt.txt").write_text(f"a/0.png\n3\n{boxes}\n")
    return folder


def write(path, *rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_role_belongs_to_its_box_and_other_labels_stay(root, tmp_path):
    """Roles come in the order of the classes; the doubtful face of the same image stays an ignore region."""
    path = write(tmp_path / "train.jsonl", row())
    (s,) = load_roles(path, (root,), load_widerface(root, "train"))
    assert s.role.tolist() == [0, 1, -1]
    assert s.invalid.tolist() == [False, False, True]
    assert s.xyxy[1].tolist() == list(OTHER)


def test_of_an_incomplete_image_no_background_is_taught(root, tmp_path):
    """Faces without a box may be anywhere, so an ignore region lies over the whole image."""
    (s,) = load_roles(write(tmp_path / "train.jsonl", row(complete=False)), (root,))
    assert s.xyxy[s.invalid].tolist() == [[0, 0, 120, 80]]
    assert s.role.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    "bad", [{"faces": [{"xyxy": SUBJECT, "role": "star"}]}, {"file": "x.png"}, {"faces": [{"xyxy": [9, 9, 9, 9]}]},
            {"faces": [{"xyxy": [9, 9, 5, 20], "role": "interview"}]}],
)  # fmt: skip
def test_a_line_that_does_not_fit_is_named(root, tmp_path, bad):
    """Unknown roles, images that are not there and broken boxes end in one error with file and line."""
    path = write(tmp_path / "train.jsonl", row(), row(**bad))
    with pytest.raises(DataError, match=r"train\.jsonl: line 2"):
        load_roles(path, (root,))


def test_only_known_roles_teach_the_classes():
    """Cells of unknown class leave loss and gradient as they are."""
    logits = torch.tensor([[2.0, -2.0], [3.0, 1.0]], requires_grad=True)
    assert class_loss(logits, torch.tensor([-1, -1])).item() == 0
    class_loss(logits, torch.tensor([0, -1])).backward()
    assert logits.grad[1].tolist() == [0, 0]
    assert logits.grad[0].abs().min() > 0


def test_a_kept_bystander_costs_more_than_a_covered_subject():
    """Beside an undecided subject and bystander, a confident mistake on a bystander has the higher loss."""
    interview, background = 0, 1
    sure_interview, sure_background = [3.0, -3.0], [-3.0, 3.0]
    undecided, both = [[0.0, 0.0], [0.0, 0.0]], [interview, background]
    kept = class_loss(torch.tensor([sure_interview, *undecided]), torch.tensor([background, *both]))
    covered = class_loss(torch.tensor([sure_background, *undecided]), torch.tensor([interview, *both]))
    assert kept > covered


def test_mosaics_teach_no_role_and_whole_pictures_do():
    """A tile shows nobody's part in the scene; a whole picture keeps every role with its box."""
    image = np.zeros((100, 160, 3), np.uint8)
    e = Example(image, np.array([[60, 30, 90, 70]], np.float32), np.array([False]), np.array([0]))
    rng = np.random.default_rng(0)
    assert all((mosaic(lambda: e, 128, rng).role == -1).all() for _ in range(5))
    shown = [whole(e, 128, rng) for _ in range(40)]
    assert all(w.role.tolist() == [0] for w in shown)
    widths = [float(w.xyxy[0, 2] - w.xyxy[0, 0]) for w in shown]  # on 128x64 px the picture fits at 0.64 of its size
    assert min(widths) > 0.6 * 30 * 0.64  # no thumbnails
    assert max(widths) < 1.5 * 30 * 0.64


def test_pictures_of_one_film_are_drawn_less_and_those_with_both_roles_more():
    """Four frames of a film count twice one photo; both roles in a picture double its weight."""

    def sample(group, *roles):
        n = len(roles)
        return Sample(None, "a", np.zeros((n, 4)), np.zeros(n, bool), np.zeros((n, 6), int), np.array(roles), group)

    weights = role_weights([*[sample("film", 0)] * 4, sample("p", 0), sample("q", 0, 1, -1)])
    assert weights.tolist() == [0.5] * 4 + [1, 2]


def test_role_batches_are_whole_pictures_of_the_role_files(root, tmp_path):
    """Every box is of a known class, in pictures that each hold subject and bystander."""
    path = write(tmp_path / "train.jsonl", row())
    data = DataSettings((root,), imgsz=128, cache=tmp_path / "c", roles=(path,))
    _, targets = next(training_batches(data, 8, 0, 0))
    assert set(targets.boxes[:, 1].tolist()) == {0, 1}
    assert (targets.boxes[:, 1] == 0).sum() == 8


def checkpoint(path, names=("face",)):
    torch.manual_seed(0)
    model = yolov5("n", names).eval()
    torch.save({"ema": model.state_dict(), "size": "n", "names": list(names), "imgsz": 96}, path)
    return model


def test_transfer_keeps_boxes_and_objectness(tmp_path):
    """Before the first step a two-class model finds the faces of the model it starts from, and decides no role."""
    old = checkpoint(tmp_path / "face.pt")
    new = yolov5("n", ROLES).eval()
    start_from(new, tmp_path / "face.pt", list)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        a, b = old(images), new.eval()(images)
    assert torch.equal(a[..., :5], b[..., :5])
    assert (b[..., 5:] == 0.5).all()


def test_a_newer_face_detector_goes_below_the_roles(tmp_path):
    """Its faces, and everything else as it was."""
    new, old = checkpoint(tmp_path / "roles.pt", ROLES), yolov5("n", ("face",))
    torch.manual_seed(1)
    for p in old.parameters():
        torch.nn.init.normal_(p, std=0.05)
    torch.save({"ema": old.state_dict(), "size": "n", "names": ["face"], "imgsz": 96}, tmp_path / "face.pt")
    before = {k: v.clone() for k, v in new.state_dict().items()}
    put_below(new, tmp_path / "face.pt")
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(old.eval()(images)[..., :5], new.eval()(images)[..., :5])
    face = old.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in new.state_dict().items() if k not in face)
    with pytest.raises(DataError, match="not a face detector of this size"):
        put_below(yolov5("s", ROLES), tmp_path / "face.pt")


def test_roles_are_learnt_exported_and_read_by_the_runtime(root, tmp_path):
    """Training on one picture lowers the class loss; the exported model gives the detector evidence of its names."""
    torch.set_num_threads(1)
    checkpoint(tmp_path / "face.pt")
    path = write(tmp_path / "train.jsonl", row())
    data = DataSettings((root,), imgsz=64, cache=tmp_path / "c", roles=(path,))
    s = TrainSettings(data, tmp_path / "run", names=ROLES, weights=tmp_path / "face.pt", batch=4, steps=16, lr=5e-3,
                      workers=0, statistics=2, warmup=2, save_every_s=0.2)  # fmt: skip
    last = train(s)
    losses = [json.loads(line)["cls"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-3:]) < 0.9 * 1.5 * math.log(2)  # what three levels undecided between two classes cost
    export(last, tmp_path / "roles.onnx")
    model = open_model(tmp_path / "roles.onnx")
    assert model.names == ROLES
    rows = model(np.random.default_rng(0).random((1, 3, 96, 96), np.float32))
    assert rows.shape[2] == 7
    frame = still_frame(cv2.imread(str(root / "WIDER_val/images/a/0.png")))
    assert isinstance(Detector(model)(frame), Detections)


def found(*rows):
    """Detections of (box, score, evidence)."""
    boxes, score, foreground = zip(*rows, strict=True)
    return Detections(*(np.array(v, np.float32) for v in (boxes, score, foreground)))


def test_a_perfect_detector_scores_one_and_a_swapped_one_is_seen(root, tmp_path):
    """Right roles give AP 1 and no bystander kept; swapped roles give an empty diagonal."""
    path = write(tmp_path / "val.jsonl", row(file="WIDER_val/images/a/0.png"))
    right = evaluate_roles(*look([path], root, lambda _: found((SUBJECT, 0.9, 0.95), (OTHER, 0.8, 0.05))))
    assert right["role_ap"] == {"interview": 1.0, "background": 1.0}
    assert right["curve"][0] == {"threshold": 0.5, "keep_precision": 1, "keep_recall": 1, "bystanders_kept": 0}
    swapped = evaluate_roles(*look([path], root, lambda _: found((SUBJECT, 0.9, 0.1), (OTHER, 0.8, 0.9))))
    assert swapped["confusion"]["interview"] == {"interview": 0, "background": 1, "not found": 0}
    assert swapped["curve"][0]["keep_precision"] == 0


def test_a_subject_that_is_not_found_is_not_kept():
    """Missing a subject costs recall, and shows in the confusion as not found."""
    judged = [Judged(True, 0.9), Judged(True, float("nan")), Judged(False, 0.6)]
    assert operating_point(judged, 0.5)["keep_recall"] == 0.5
    assert operating_point(judged, 0.99)["keep_precision"] is None
    assert confusion(judged)["interview"]["not found"] == 1
    assert evidence_ap(judged) == 1.0


def test_labelled_films_teach_faces_too(root, tmp_path):
    """A folder of bystander-lab label is face data as it is; over an incomplete picture lies an ignore region."""
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images/0.png"), np.zeros((80, 120, 3), np.uint8))
    write(folder / "train.jsonl", row(file="images/0.png", complete=False))
    (sample,) = load_faces(folder, "train")
    assert sample.role is None
    assert sample.invalid.tolist() == [False, False, True]
    settings = DataSettings((root, folder), imgsz=64, cache=tmp_path / "c")
    assert len(training_samples(settings)) == len(load_faces(root, "train")) + 1
    with pytest.raises(DataError, match="not found"):
        load_faces(folder, "val")


def test_figures_of_roles_follow_how_often_a_face_counts():
    """A face counted twice changes every figure as if it were there twice; films are resampled as a whole."""
    judged = [Judged(True, 0.9, group="a"), Judged(True, 0.3, group="a"), Judged(False, 0.8, group="b")]
    weight, again = np.array([1, 2, 0]), [judged[0], judged[1], judged[1]]
    assert operating_point(judged, 0.5, weight) == operating_point(again, 0.5)
    assert evidence_ap(judged, np.array([2, 0, 1])) == evidence_ap([judged[0], judged[0], judged[2]])
    sure = role_intervals(judged)["curve"][0]
    assert sure["keep_recall"] == (0.5, 0.5)  # whichever films are drawn, both subjects are of the same one
    assert sure["keep_precision"] == (0, 1)


def test_weak_detections_do_not_count_as_found():
    """Below the score from which the tracker starts a track, a face was not found."""
    s = Sample(None, "a", np.array([SUBJECT], np.float32), np.array([False]), np.zeros((1, 6), int), np.array([0]))
    assert np.isnan(judge_faces(s, found((SUBJECT, 0.1, 0.9)))[0].evidence)
    assert judge_faces(s, found((SUBJECT, 0.5, 0.9)))[0].evidence == pytest.approx(0.9)


def test_a_loss_of_faces_is_told():
    """Sets whose AP fell by more than half a point are named, others not."""
    before, after = {"a": (0.9,), "b": (0.9,)}, {"a": (0.896,), "b": (0.89,)}
    assert list(drops(before, after)) == ["b"]


@pytest.mark.parametrize("args", [["--task", "roles"], ["--roles", "x.jsonl"]])
def test_task_and_roles_belong_together(args, capsys):
    """One without the other is one line and exit code 2, for training and evaluation."""
    for command in ("train", "eval"):
        assert main([command, "--data", "nowhere", *args]) == 2
        assert "--task roles needs --roles" in capsys.readouterr().err


def test_learning_roles_leaves_the_face_detector_as_it_is(root, tmp_path):
    """After training, boxes and objectness are those of the face model to the bit; the classes are not."""
    torch.set_num_threads(1)
    old = checkpoint(tmp_path / "face.pt")
    data = DataSettings((root,), imgsz=64, cache=tmp_path / "c", roles=(write(tmp_path / "t.jsonl", row()),))
    s = TrainSettings(
        data, tmp_path / "run", names=ROLES, weights=tmp_path / "face.pt", batch=2, steps=3, workers=0, statistics=2
    )
    new = load_checkpoint(train(s))[0]
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        a, b = old(images), new(images)
    assert torch.equal(a[..., :5], b[..., :5])
    assert (b[..., 5:] != 0.5).any()
    train(replace(s, steps=4, resume=True))
    with torch.no_grad():
        assert torch.equal(a[..., :5], load_checkpoint(tmp_path / "run/last.pt")[0](images)[..., :5])


def test_roles_need_a_face_detector_to_start_from(root, tmp_path):
    """Without a checkpoint the run is refused before anything is learnt."""
    data = DataSettings((root,), imgsz=64, cache=tmp_path / "c", roles=(write(tmp_path / "t.jsonl", row()),))
    with pytest.raises(DataError, match="--weights"):
        train(TrainSettings(data, tmp_path / "run", names=ROLES, batch=2, steps=1, workers=0))
