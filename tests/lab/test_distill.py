import pytest
import torch

from bystander_lab.distill import distillation_loss, open_teacher
from bystander_lab.model import yolov5
from bystander_lab.roles import ROLES
from bystander_lab.widerface import DataError

A_FACE = (0, 0, 2, 3)  # image, anchor, row, col


@pytest.fixture(scope="module")
def detect():
    return yolov5("n").model[-1]


def heads(face=None):
    """Raw heads of one 64 px picture: nothing anywhere, but for one cell of the finest level."""
    levels = [torch.zeros(1, 3, 64 // stride, 64 // stride, 6) for stride in (8, 16, 32)]
    for level in levels:
        level[..., 4] = -8
    if face is not None:
        levels[0][A_FACE] = torch.tensor([*face, 3.0, 0.0])
    return levels


def test_who_answers_as_the_teacher_has_the_least_loss(detect):
    """Another box, or no face where the teacher has one, or one where it has none, costs more."""
    taught = heads((0.2, -0.1, 0.3, 0.4))
    same, shifted, blind = (
        float(distillation_loss(h, taught, detect, detect))
        for h in (heads((0.2, -0.1, 0.3, 0.4)), heads((1.2, -0.1, 0.3, 0.4)), heads())
    )
    assert same < shifted
    assert same < blind
    assert float(distillation_loss(taught, heads(), detect, detect)) > float(
        distillation_loss(heads(), heads(), detect, detect)
    )


def test_the_student_learns_from_the_teacher_alone(detect):
    """A few steps bring the student's box and score to the teacher's; the teacher gets no gradient."""
    taught = heads((0.2, -0.1, 0.3, 0.4))
    mine = [h.requires_grad_() for h in heads()]
    learn = torch.optim.Adam(mine, lr=0.1)
    for _ in range(200):
        learn.zero_grad()
        distillation_loss(mine, taught, detect, detect).backward()
        learn.step()
    assert torch.allclose(mine[0][A_FACE][:4], taught[0][A_FACE][:4], atol=0.1)
    assert mine[0][A_FACE][4] > 2


def test_a_teacher_gives_raw_heads_and_stays(tmp_path):
    """From a checkpoint: raw heads, no gradient; a model of roles or rubbish is refused."""
    for names in (("face",), ROLES):
        state = {"ema": yolov5("n", names).state_dict(), "size": "n", "names": list(names), "imgsz": 64}
        torch.save(state, tmp_path / f"{len(names)}.pt")
    teacher = open_teacher(tmp_path / "1.pt")
    assert [tuple(h.shape[2:4]) for h in teacher(torch.zeros(1, 3, 64, 64))] == [(8, 8), (4, 4), (2, 2)]
    assert not any(p.requires_grad for p in teacher.parameters())
    with pytest.raises(DataError, match="must be a face detector"):
        open_teacher(tmp_path / "2.pt")
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match=r"x\.onnx: not an ONNX file"):
        open_teacher(tmp_path / "x.onnx")
