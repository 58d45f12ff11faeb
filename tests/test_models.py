import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bystander.errors import ModelError
from bystander.models import SHIPPED, WEIGHTS, open_model
from bystander.models.onnx import checked
from bystander.settings import Settings


@pytest.mark.parametrize("size", [(192, 320), (384, 640), (32, 32)])
def test_the_shipped_model_runs_at_any_multiple_of_its_stride(size):
    """Predictions have the documented shape and are finite at several sizes."""
    model = open_model("n")
    rows = model(np.zeros((1, 3, *size), np.float32))
    assert rows.shape == (1, 3 * sum(size[0] // s * (size[1] // s) for s in (8, 16, 32)), 5 + len(model.names))
    assert np.isfinite(rows).all()


def test_both_shipped_models_find_the_same_faces():
    """Telling roles changes neither boxes nor objectness: what differs is rounding on the way."""
    images = np.random.default_rng(0).random((1, 3, 192, 320), np.float32)
    with_roles, without = open_model("n"), open_model("n-face")
    assert (with_roles.names, without.names) == (("interview", "background"), ("face",))
    apart = np.abs(with_roles(images)[..., :5] - without(images)[..., :5])
    assert apart[..., :4].max() < 0.02  # px
    assert apart[..., 4].max() < 1e-4


@pytest.mark.parametrize(
    ("values", "name"),
    [({}, "n"), ({"keep": "none"}, "n-face"), ({"keep": "10,20@1"}, "n-face"), ({"keep": "auto 1,2@3"}, "n"),
     ({"keep": "none", "model": "my.onnx"}, "my.onnx")],
)  # fmt: skip
def test_roles_are_told_where_a_rule_asks_for_them(values, name):
    """Without the rule "auto" the shipped model that takes less time is opened; a model of one's own always."""
    assert Settings(**values).weights() == name


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


@pytest.mark.parametrize("text", ["", "abc", "\xff", "0" * 64 + f"  {SHIPPED['n']}"])
def test_a_spoilt_list_of_sums_is_told(tmp_path, text):
    """Weights that ``SHA256SUMS`` does not vouch for are refused, however the list is broken."""
    shutil.copy(WEIGHTS / SHIPPED["n"], tmp_path / SHIPPED["n"])
    (tmp_path / "SHA256SUMS").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="SHA-256"):
        checked(tmp_path / SHIPPED["n"])


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 3, 100, 100), np.float32), np.zeros((1, 3, 64, 64), np.float64), np.zeros((3, 64, 64), np.float32)],
)
def test_a_failed_call_is_a_model_error(images, capfd):
    """Input that the network cannot take raises ModelError, and the library prints nothing of its own."""
    model = open_model("n")
    with pytest.raises(ModelError, match="inference failed"):
        model(images)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("names", "kind"), [(["face", "cat"], "FLOAT"), (["face"], "FLOAT16")])
def test_output_that_does_not_fit_is_refused(tmp_path, names, kind):
    """Predictions of another width or number type than the file promises are not passed on."""
    onnx = pytest.importorskip("onnx", reason="the lab extra is not installed")
    make, code = onnx.helper, getattr(onnx.TensorProto, kind)
    graph = make.make_graph(
        [
            make.make_node("Slice", ["images", "start", "end", "axes"], ["six"]),
            make.make_node("Squeeze", ["six", "one"], ["flat"]),
            make.make_node("Cast", ["flat"], ["predictions"], to=code),
        ],
        "six_columns",
        [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [make.make_tensor_value_info("predictions", code, None)],
        [
            make.make_tensor("start", onnx.TensorProto.INT64, [2], [0, 0]),
            make.make_tensor("end", onnx.TensorProto.INT64, [2], [1, 6]),
            make.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 3]),
            make.make_tensor("one", onnx.TensorProto.INT64, [1], [1]),
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    for key, value in {"names": str(names).replace("'", '"'), "stride": "32"}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(tmp_path / "x.onnx"))
    with pytest.raises(ModelError, match="do not fit"):
        open_model(tmp_path / "x.onnx")(np.zeros((1, 3, 32, 32), np.float32))


def test_calls_from_several_threads_do_not_mix():
    """Eight pictures through one model from four threads give what they give one after the other."""
    model = open_model("n")
    pictures = [np.random.default_rng(i).random((1, 3, 64, 96), np.float32) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model, pictures))
    assert all(np.array_equal(a, model(p)) for a, p in zip(together, pictures, strict=True))
