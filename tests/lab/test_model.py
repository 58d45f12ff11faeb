import pytest
import torch

from bystander_lab.model import STRIDES, load_checkpoint, yolov5

COCO = tuple(f"class{i}" for i in range(80))


@pytest.mark.parametrize(("size", "parameters"), [("n", 1_872_157), ("s", 7_235_389)])
def test_parameter_count_is_the_published_one(size, parameters):
    """With 80 classes the model has exactly as many parameters as the published YOLOv5 of that size."""
    assert sum(p.numel() for p in yolov5(size, COCO).parameters()) == parameters


def test_parameter_names_are_the_published_ones():
    """Keys from each kind of layer are spelt and shaped as in a published YOLOv5n state dict."""
    state = yolov5("n", COCO).state_dict()
    published = {
        "model.0.conv.weight": (16, 3, 6, 6),
        "model.2.m.0.cv2.bn.running_var": (16,),
        "model.4.m.1.cv1.conv.weight": (32, 32, 1, 1),
        "model.6.m.2.cv2.conv.weight": (64, 64, 3, 3),
        "model.9.cv2.conv.weight": (256, 512, 1, 1),
        "model.13.cv1.conv.weight": (64, 256, 1, 1),
        "model.23.cv3.bn.num_batches_tracked": (),
        "model.24.anchors": (3, 3, 2),
        "model.24.m.2.weight": (255, 256, 1, 1),
        "model.24.m.0.bias": (255,),
    }
    assert {k: tuple(state[k].shape) for k in published} == published


def test_every_grid_cell_predicts_inside_its_reach():
    """A decoded centre lies within one cell and a half of its cell, a side within four anchors."""
    model = yolov5("n").eval()
    with torch.no_grad():
        rows = model(torch.rand(1, 3, 64, 96))[0]
    assert rows.shape == (3 * sum(64 // s * (96 // s) for s in STRIDES), 6)
    assert (rows[:, 0] > -16).all()
    assert (rows[:, 0] < 96 + 16).all()
    assert (rows[:, 2:4] <= 4 * 230).all()
    assert ((rows[:, 4:] >= 0) & (rows[:, 4:] <= 1)).all()


def test_checkpoint_with_code_is_refused(tmp_path):
    """A checkpoint that would run code when unpickled is not loaded."""
    torch.save({"ema": yolov5}, tmp_path / "bad.pt")
    with pytest.raises(Exception, match="weights_only"):
        load_checkpoint(tmp_path / "bad.pt")
