import numpy as np
import pytest
import torch

from bystander.models import open_model
from bystander_lab.export import export, fuse
from bystander_lab.model import yolov5
from bystander_lab.roles import ROLES
from bystander_lab.transfer import open_onnx, start_from, tensors_of
from bystander_lab.widerface import DataError


@pytest.fixture(scope="module")
def pictures():
    return [torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(3)]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory, pictures):
    """An exported model whose batch norms are far from the identity."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = yolov5("n").train()
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.momentum = None
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    for x in pictures:
        model(x)
    for head in model.model[-1].m:
        head.weight.data *= 0.03
    folder = tmp_path_factory.mktemp("export")
    torch.save({"ema": model.state_dict(), "size": "n", "names": ["face"], "imgsz": 64}, folder / "last.pt")
    export(folder / "last.pt", folder / "face.onnx")
    return folder / "face.onnx"


def test_training_goes_on_from_an_exported_file(onnx_file, pictures):
    """A model started from ONNX finds the same, and its batch norms agree with the pictures' own statistics."""
    model = yolov5("n")
    start_from(model, onnx_file, lambda: pictures)
    got = model.eval()(pictures[0]).detach().numpy()
    want = open_model(onnx_file)(pictures[0].numpy())
    assert np.abs(got - want).max() < 0.05
    seen = torch.cat(pictures)
    with torch.no_grad():
        model.model[-1].train()  # raw heads from running statistics, then from the pictures' own
        running = model(seen)
        own = model.train()(seen)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(running, own, strict=True))


def test_a_face_file_begins_a_role_model(onnx_file, pictures):
    """What tells roles begins as a copy of the face layers; boxes and objectness are the face model's."""
    model = yolov5("n", ROLES)
    start_from(model, onnx_file, lambda: pictures)
    got = model.eval()(pictures[0]).detach().numpy()[..., :5]
    assert np.abs(got - open_model(onnx_file)(pictures[0].numpy())[..., :5]).max() < 0.05
    assert torch.equal(model.context.model[4].cv1.conv.weight, model.model[4].cv1.conv.weight)


def test_equal_tensors_that_the_exporter_merged_come_back(tmp_path):
    """Layers that learnt nothing yet have equal tensors, stored once: each parameter still has its own name."""
    model = yolov5("n", ROLES).eval()
    torch.save({"ema": model.state_dict(), "size": "n", "names": list(ROLES), "imgsz": 64}, tmp_path / "last.pt")
    export(tmp_path / "last.pt", tmp_path / "roles.onnx")
    tensors = tensors_of(open_onnx(tmp_path / "roles.onnx"))
    assert {k for k, _ in fuse(model).named_parameters()} <= set(tensors)


def test_statistics_are_drawn_for_onnx_alone(onnx_file):
    """A checkpoint carries its own statistics: no picture is asked for."""

    def none():
        raise AssertionError

    start_from(yolov5("n"), onnx_file.with_name("last.pt"), none)


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_file_that_is_no_export_is_told(content, tmp_path):
    """Rubbish with the right name is one clear error."""
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.onnx"):
        start_from(yolov5("n"), path, list)


def test_another_size_is_refused(onnx_file, pictures):
    """Weights of n do not begin an s."""
    with pytest.raises(DataError, match="another model"):
        start_from(yolov5("s"), onnx_file, lambda: pictures)
