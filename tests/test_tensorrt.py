"""ONNX Runtime's GPU providers with a stand-in for the library: which options and memory it is given."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from bystander import cli, cli_devices
from bystander.errors import ModelError
from bystander.models import RuntimeSettings, Weights, auto, onnx, tensorrt
from bystander.models.runtimes import PLAIN, Runtime, open_runtime

WEIGHTS = Weights(Path("m.onnx"), b"fp32", Weights(Path("m.int8.onnx"), b"int8"))
TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"


class FakeValue:
    """Memory on a GPU that is not there."""

    made = 0

    def __init__(self, array):
        self.array = array.copy()

    @staticmethod
    def ortvalue_from_numpy(array, device, number):
        assert (device, number) == ("cuda", 0)
        FakeValue.made += 1
        return FakeValue(array)

    def update_inplace(self, array):
        assert array.shape == self.array.shape
        self.array[...] = array


class FakeBinding:
    def bind_ortvalue_input(self, name, value):
        assert name == "images"
        self.value = value

    def bind_output(self, name, device):
        assert (name, device) == ("predictions", "cuda")

    def copy_outputs_to_cpu(self):
        return [self.rows]


class FakeSession:
    """Keeps what it was opened with; answers with the mean of the picture that lies on the "GPU"."""

    opened = ()
    loads = True

    def __init__(self, data, options, providers):
        FakeSession.opened = (data, options, providers)
        self.used = [p if isinstance(p, str) else p[0] for p in providers] if FakeSession.loads else [CPU]

    def get_modelmeta(self):
        return type("Meta", (), {"custom_metadata_map": {"names": '["face"]', "stride": "32"}})

    def get_providers(self):
        return self.used

    def io_binding(self):
        return FakeBinding()

    def run_with_iobinding(self, binding):
        binding.rows = np.full((1, 4, 6), binding.value.array.mean(), np.float32)

    def run(self, names, feeds):
        assert (names, list(feeds)) == (["predictions"], ["images"])
        return [np.full((1, 4, 6), 7, np.float32)]


@pytest.fixture(autouse=True)
def library(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnx.ort, "InferenceSession", FakeSession)
    monkeypatch.setattr(onnx.ort, "OrtValue", FakeValue)
    monkeypatch.setattr(onnx.ort, "preload_dlls", lambda: print("loaded"), raising=False)
    monkeypatch.setattr(FakeSession, "loads", True)
    monkeypatch.setattr(FakeValue, "made", 0)
    machine(monkeypatch)
    return tmp_path / "bystander" / "tensorrt"


def machine(monkeypatch, gpu=("NVIDIA T4", "550.54"), version="100900"):
    monkeypatch.setattr(tensorrt, "gpu", lambda: gpu)
    monkeypatch.setattr(tensorrt, "tensorrt_version", lambda: version)


def given(runtime, imgsz=640, weights=WEIGHTS):
    """(data, provider names, TensorRT's options) of the session that is opened for a runtime."""
    open_runtime(weights, runtime, imgsz=imgsz)
    data, _, chain = FakeSession.opened
    names = [p if isinstance(p, str) else p[0] for p in chain]
    return data, names, chain[0][1]


@pytest.mark.parametrize(
    ("precision", "data", "fp16", "int8"),
    [("fp32", b"fp32", "False", "False"), ("fp16", b"fp32", "True", "False"), ("int8", b"int8", "True", "True")],
)
def test_each_precision_has_its_file_and_flags(precision, data, fp16, int8):
    """int8 takes the quantised file, and computes in fp16 what that leaves in float."""
    found, names, options = given(Runtime("tensorrt", precision))
    assert (found, options["trt_fp16_enable"], options["trt_int8_enable"]) == (data, fp16, int8)
    assert names == [TENSORRT, CUDA, CPU]


def test_engines_and_timings_are_kept(library):
    """Both caches are on, below the user's cache folder; the timings are shared by a machine's engines."""
    options = given(Runtime("tensorrt", "fp16"))[2]
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "True"
    engines, timings = Path(options["trt_engine_cache_path"]), Path(options["trt_timing_cache_path"])
    assert engines.is_dir()
    assert engines.parent == timings
    assert timings.parent == library
    assert timings.name == "NVIDIA-T4-550.54-tensorrt-100900"


@pytest.mark.parametrize(
    "other",
    [{"gpu": ("NVIDIA A10", "550.54")}, {"gpu": ("NVIDIA T4", "560.1")}, {"version": "101300"}, {}],
    ids=["GPU", "driver", "TensorRT", "model"],
)
def test_an_engine_is_for_one_gpu_driver_version_and_model(other, monkeypatch):
    """With another of them an engine is looked for elsewhere, so a stale one is never loaded."""
    before = given(Runtime("tensorrt", "fp16"))[2]["trt_engine_cache_path"]
    if other:
        machine(monkeypatch, **other)
        after = given(Runtime("tensorrt", "fp16"))[2]
    else:
        after = given(Runtime("tensorrt", "fp16"), weights=Weights(Path("m.onnx"), b"trained again"))[2]
    assert after["trt_engine_cache_path"] != before


def test_precisions_and_sizes_do_not_share_an_engine():
    """fp16, int8 and each picture size have folders of their own."""
    runs = [(p, s) for p in ("fp16", "fp32", "int8") for s in (640, 448)]
    assert len({given(Runtime("tensorrt", p), s)[2]["trt_engine_cache_path"] for p, s in runs}) == 6


@pytest.mark.parametrize(
    ("imgsz", "least", "best", "most"),
    [(640, "128x128", "384x640", "640x640"), (320, "128x128", "192x320", "320x320"), (1280, "128x128", "736x1280",
     "1280x1280"), (64, "32x32", "64x64", "64x64")],
)  # fmt: skip
def test_one_engine_serves_every_shape_of_its_size(imgsz, least, best, most):
    """The profile goes from the smallest picture of a slow live stream to a square; it is best for a wide one."""
    options = given(Runtime("tensorrt", "fp16"), imgsz)[2]
    found = [options[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")]
    assert found == [f"images:1x3x{shape}" for shape in (least, best, most)]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_picture_is_copied_into_memory_that_is_kept(device):
    """On a GPU the input's memory is made once a shape and thread; every call computes its own picture."""
    model = open_runtime(WEIGHTS, Runtime(device, "fp32"))
    for value in (1, 2, 3):
        assert model(np.full((1, 3, 32, 32), value, np.float32))[0, 0, 0] == value
    assert FakeValue.made == 1
    assert model(np.full((1, 3, 64, 32), 4, np.float32))[0, 0, 0] == 4
    assert FakeValue.made == 2


def test_directml_is_called_one_at_a_time_without_memory_patterns():
    """What DirectML's documentation asks for; and no GPU memory of CUDA's."""
    model = open_runtime(WEIGHTS, Runtime("directml", "fp32"))
    assert not FakeSession.opened[1].enable_mem_pattern
    with model.alone:
        assert model.alone.locked()
    assert model(np.zeros((1, 3, 32, 32), np.float32))[0, 0, 0] == 7
    assert FakeValue.made == 0


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "coreml", "directml"])
def test_a_provider_that_silently_does_not_load_is_told(device, monkeypatch):
    """ONNX Runtime goes on with the processor and only logs; here that is a ModelError."""
    monkeypatch.setattr(FakeSession, "loads", False)
    with pytest.raises(ModelError, match="does not load here"):
        open_runtime(WEIGHTS, Runtime(device, "fp32"))


def test_libraries_that_load_say_nothing_on_standard_output(capsys):
    """Standard output may be the film; the processor alone loads nothing."""
    open_runtime(WEIGHTS, PLAIN)
    assert capsys.readouterr() == ("", "")
    open_runtime(WEIGHTS, Runtime("cuda", "fp32"))
    assert capsys.readouterr() == ("", "loaded\n")


@pytest.mark.parametrize(
    ("answer", "found"),
    [("NVIDIA A10, 550.54.14\nNVIDIA A10, 550.54.14\n", ("NVIDIA A10", "550.54.14")), ("", ("unknown",)),
     ("A10, 1\nT4, 1\n", ("A10", "1", "T4", "1", "shown 1")),
     (OSError(), ("unknown",)), (subprocess.TimeoutExpired("nvidia-smi", 1), ("unknown",))],
)  # fmt: skip
def test_the_gpu_is_asked_of_its_driver(answer, found, monkeypatch):
    """Each kind of GPU, its driver, which of several kinds is shown; "unknown" when the driver's program is silent."""

    def answers(*_args, **_how):
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess([], 0, answer, "")

    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(tensorrt.subprocess, "run", answers)
    monkeypatch.setattr(tensorrt, "JETSON", ())
    assert tensorrt.gpu.__wrapped__() == found


def test_a_jetson_is_told_by_its_board_and_release(monkeypatch, tmp_path):
    """Without nvidia-smi the board's own files speak."""
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.0\nmore\n")
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tensorrt, "JETSON", (tmp_path / "model", tmp_path / "release"))
    assert tensorrt.gpu.__wrapped__() == ("NVIDIA Jetson Orin Nano", "# R36 (release), REVISION: 4.0")


def test_engine_build_makes_one_engine_a_size_and_measures_again(monkeypatch, capsys):
    """``bystander engine build`` opens TensorRT for every size, runs it once, and renews the choice of ``auto``."""
    built, asked = [], []

    def fake_runtime(_weights, runtime, imgsz):
        return lambda images: built.append((str(runtime), imgsz, images.shape))

    def fake_choose(_weights, settings):
        asked.append((settings.imgsz, settings.anew))
        fault = "its boxes differ" if settings.imgsz == 320 else ""
        row = auto.Measured("tensorrt", "fp16", 1.0, 0.1, 0.0, fault)
        return PLAIN if fault else row.runtime, [row]

    here = (PLAIN, Runtime("tensorrt", "fp16"))
    monkeypatch.setattr(cli_devices, "available", lambda _w: here)
    monkeypatch.setattr("bystander.models.runtimes.available", lambda _w: here)
    monkeypatch.setattr(cli_devices, "open_runtime", fake_runtime)
    monkeypatch.setattr(cli_devices, "choose", fake_choose)
    assert cli.main(["engine", "build", "--imgsz", "640", "320", "--json"]) == 0
    assert built == [("tensorrt fp16", 640, (1, 3, 384, 640)), ("tensorrt fp16", 320, (1, 3, 192, 320))]
    assert asked == [(640, True), (320, True)]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["imgsz"] for t in told] == [640, 320]
    assert [(t["chosen"], t["fault"]) for t in told] == [("tensorrt fp16", ""), ("cpu fp32", "its boxes differ")]


@pytest.fixture
def engine(library):
    """A function that puts an engine for fp16 and a size where ONNX Runtime would write it."""
    return lambda imgsz: (tensorrt.engine_folder(WEIGHTS, "fp16", imgsz) / "graph_sm75.engine").write_bytes(b"")


def test_auto_waits_for_no_engine(monkeypatch, engine):
    """Without an engine TensorRT is not tried, for that takes minutes; with one it is measured without being asked."""
    tried = []

    def probe_one(_model, runtime, _size):
        tried.append(runtime)
        return auto.Measured(runtime.device, runtime.precision, 1.0, 0.1, 0.0, ""), np.ones((1, 4, 6), np.float32)

    monkeypatch.setattr(auto, "probe_one", probe_one)
    fast = Runtime("tensorrt", "fp16")
    first = auto.measured(WEIGHTS, [PLAIN, fast], (384, 640), anew=False)
    assert "bystander engine build makes it" in first[1].fault
    engine(320)
    assert auto.measured(WEIGHTS, [PLAIN, fast], (384, 640), anew=False) == first
    assert tried == [PLAIN]
    engine(640)
    assert not auto.measured(WEIGHTS, [PLAIN, fast], (384, 640), anew=False)[1].fault
    assert tried == [PLAIN, PLAIN, fast]


def test_building_in_passing_is_told(monkeypatch, engine, caplog):
    """Who forces TensorRT without an engine reads that it takes minutes, and how many went by; with one nothing."""
    monkeypatch.setattr(tensorrt, "EVERY_S", 0.05)
    with tensorrt.building(WEIGHTS, Runtime("tensorrt", "fp16"), 640):
        time.sleep(0.5)
    assert "takes minutes" in caplog.records[0].message
    assert "so far" in caplog.records[1].message
    caplog.clear()
    engine(640)
    for runtime in (Runtime("tensorrt", "fp16"), PLAIN):
        with tensorrt.building(WEIGHTS, runtime, 640):
            time.sleep(0.1)
    assert not caplog.records


def test_a_size_that_is_no_multiple_of_the_stride_has_the_engine_of_the_next_one():
    """The measuring rounds up, and must find the engine that was built for the size as it was asked for."""
    assert tensorrt.engine_folder(WEIGHTS, "fp16", 650) == tensorrt.engine_folder(WEIGHTS, "fp16", 672)


def test_an_int8_engine_needs_the_int8_file(monkeypatch, capsys):
    """Without it there is one line that names it."""
    here = (PLAIN, Runtime("tensorrt", "fp16"))
    monkeypatch.setattr(cli_devices, "available", lambda _w: here)
    monkeypatch.setattr(cli_devices, "read_weights", lambda _name: Weights(Path("m.onnx"), b""))
    monkeypatch.setattr("bystander.models.runtimes.available", lambda _w: here)
    assert cli.main(["engine", "build", "--precision", "int8"]) == 2
    assert "m.int8.onnx" in capsys.readouterr().err


def test_the_profile_is_in_the_form_that_the_provider_reads():
    """input:dimxdim..., all positive multiples of the stride."""
    for value in tensorrt.profile(RuntimeSettings().imgsz).values():
        name, shape = value.split(":")
        assert name == "images"
        assert all(int(n) % 32 == 0 for n in shape.split("x")[2:])
