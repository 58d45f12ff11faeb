import shutil

import numpy as np
import pytest

from bystander.errors import ModelError
from bystander.models import SHIPPED, WEIGHTS, open_model
from bystander.models.onnx import checked


@pytest.mark.parametrize("size", [(192, 320), (384, 640), (32, 32)])
def test_the_shipped_model_runs_at_any_multiple_of_its_stride(size):
    """Predictions have the documented shape and are finite at several sizes."""
    model = open_model("n")
    rows = model(np.zeros((1, 3, *size), np.float32))
    assert rows.shape == (1, 3 * sum(size[0] // s * (size[1] // s) for s in (8, 16, 32)), 5 + len(model.names))
    assert np.isfinite(rows).all()


def test_altered_weights_are_refused(tmp_path):
    """One changed byte in the shipped weights is told, not run."""
    for name in (SHIPPED["n"], "SHA256SUMS"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    path = tmp_path / SHIPPED["n"]
    assert checked(path)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        checked(path)


def test_missing_weights_are_told(tmp_path):
    """Weights that are not there give one line with the way out."""
    with pytest.raises(ModelError, match="reinstall"):
        checked(tmp_path / "gone.onnx")


def test_unknown_model_names_what_there_is():
    """A name that is neither shipped nor a file is refused."""
    with pytest.raises(ModelError, match="choose n"):
        open_model("huge")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    """Any other file gives a ModelError."""
    (tmp_path / "x.onnx").write_bytes(b"hello")
    with pytest.raises(ModelError, match="not a YOLOv5 model"):
        open_model(tmp_path / "x.onnx")
