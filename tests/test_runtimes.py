import json
import stat
from pathlib import Path

import numpy as np
import pytest

from bystander import cli
from bystander.errors import ModelError, SettingsError
from bystander.models import RuntimeSettings, auto, open_model, read_weights, runtimes
from bystander.models.auto import Measured, best_of, measured
from bystander.models.guarded import GuardedModel
from bystander.models.probe import picture
from bystander.models.runtimes import PLAIN, Runtime, available, candidates, open_runtime, providers

FAST = Runtime("openvino", "bf16")
SIZE = (96, 160)


class FakeModel:
    names, stride, id = ("face",), 32, "fake"

    def __init__(self, answers):
        self.answers = iter(answers)

    def __call__(self, images):
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return np.full((1, 2, 6), answer, np.float32)


@pytest.fixture
def weights():
    return read_weights("n")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "bystander" / "runtimes.json"


@pytest.fixture
def probes(monkeypatch):
    """Counts how often something is measured, and makes the fast runtime fast."""
    calls = []

    def probe_all(_weights, todo, _size):
        calls.append(todo)
        return [row(r, 10.0 if r == PLAIN else 4.0) for r in todo]

    monkeypatch.setattr(auto, "probe_all", probe_all)
    return calls


def row(runtime, ms, fault=""):
    return Measured(runtime.device, runtime.precision, ms, 0.1, 0.0, fault)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def test_plain_fp32_is_always_there_and_first():
    """The runtime that everything falls back to is the first candidate."""
    assert available()[0] == PLAIN


@pytest.mark.parametrize("runtime", available(), ids=str)
def test_every_runtime_of_this_machine_agrees_with_plain_fp32(weights, runtime):
    """Boxes within 5 % of their size and scores within 0.05 for all but one anchor in a thousand."""
    images = picture(*SIZE)
    plain, other = (open_runtime(weights, r)(images) for r in (PLAIN, runtime))
    judged = auto.judged(row(runtime, 1.0), other, plain)
    assert not judged.fault


def test_boxes_that_differ_are_a_fault(weights):
    """A runtime whose boxes lie elsewhere, or are not finite, is never chosen."""
    plain = open_runtime(weights, PLAIN)(picture(*SIZE))
    moved = plain + np.array([8, 0, 0, 0, 0, 0], np.float32)[: plain.shape[2]]
    for wrong in (moved, plain * np.nan, plain[:, :-1]):
        judged = auto.judged(row(FAST, 1.0), wrong, plain)
        assert judged.fault
        assert best_of([row(PLAIN, 10.0), judged], [PLAIN, FAST]) == PLAIN


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [("abacus", "auto", "choose auto, cpu"), ("cpu", "fp7", "choose auto, fp32"), ("cpu", "int8", "it has cpu fp32"),
     ("coreml", "auto", "only on macOS")],
)  # fmt: skip
def test_what_is_not_there_is_told(device, precision, words):
    """An unknown device, an unknown precision and an absent one each give a line with what there is."""
    with pytest.raises(SettingsError, match=words):
        candidates(device, precision)


def test_the_fastest_without_a_fault_is_chosen():
    """Speed decides among the faultless, and a gain that is no more than noise keeps the plain runtime."""
    other = Runtime("cuda", "fp32")
    assert best_of([row(PLAIN, 10), row(FAST, 5), row(other, 2, "crashed")], [PLAIN, FAST, other]) == FAST
    assert best_of([row(PLAIN, 10), row(FAST, 9.5)], [PLAIN, FAST]) == PLAIN


def test_a_forced_runtime_wins_over_a_faster_one_unless_it_fails():
    """Who asks for a device gets it, even when slower; the plain runtime takes over when it has a fault."""
    assert best_of([row(PLAIN, 10), row(FAST, 50)], [FAST]) == FAST
    assert best_of([row(PLAIN, 10), row(FAST, 0, "failed")], [FAST]) == PLAIN


def test_measured_once(cache, probes, weights):
    """The second run takes the figures from the cache; --recalibrate measures again."""
    first = measured(weights, [PLAIN, FAST], SIZE, anew=False)
    assert measured(weights, [PLAIN, FAST], SIZE, anew=False) == first
    assert len(probes) == 1
    measured(weights, [PLAIN, FAST], SIZE, anew=True)
    assert len(probes) == 2
    assert cache.exists()


@pytest.mark.parametrize("spoil", ["", "[]", "{", '{"KEY": [{"device": "cpu"}]}', '{"KEY": "x"}', '{"KEY": []}'])
def test_a_spoilt_cache_is_measured_anew(cache, probes, weights, spoil):
    """Whatever stands in the cache, the answer is right."""
    key = auto.cache_key(weights, [PLAIN, FAST], SIZE)
    cache.parent.mkdir()
    cache.write_text(spoil.replace("KEY", key))
    assert [r.runtime for r in measured(weights, [PLAIN, FAST], SIZE, anew=False)] == [PLAIN, FAST]
    assert len(probes) == 1
    assert key in json.loads(cache.read_text())


def test_another_version_is_measured_anew(cache, probes, weights, monkeypatch):
    """A new version of a library makes the old figures void."""
    measured(weights, [PLAIN, FAST], SIZE, anew=False)
    monkeypatch.setattr(auto, "version", lambda name: "99.0")
    measured(weights, [PLAIN, FAST], SIZE, anew=False)
    assert len(probes) == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [("sleep 20", "not ready within"), ("kill -SEGV $$", "failed"), ("echo hello", "no figures"),
     ("echo 'ModelError: no such device' >&2; exit 1", "no such device")],
)  # fmt: skip
def test_a_probe_that_hangs_crashes_or_babbles_is_a_fault(weights, tmp_path, monkeypatch, text, fault):
    """A driver that takes its process down, or never returns, only loses its place."""
    monkeypatch.setattr(auto, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(auto.sys, "executable", program(tmp_path / "p", f"exec 3>&-\n{text}"))
    found, predictions = auto.probe_one(tmp_path / "model.onnx", FAST, SIZE)
    assert fault in found.fault
    assert predictions is None


def test_a_real_probe_gives_figures(weights, tmp_path):
    """The child process measures the plain runtime and returns its predictions."""
    model = tmp_path / "m.onnx"
    model.write_bytes(weights.data)
    found, predictions = auto.probe_one(model, PLAIN, SIZE)
    assert not found.fault
    assert found.ms > 0
    assert np.array_equal(predictions, open_runtime(weights, PLAIN)(picture(*SIZE)))


@pytest.mark.parametrize("bad", [ModelError("driver gone"), float("nan")])
def test_a_runtime_that_fails_later_is_replaced(bad, caplog):
    """The failing call raises, so that its frame is covered; later calls come from the plain runtime, said once."""
    model = GuardedModel(FakeModel([1, bad]), lambda: FakeModel([2, 3]))
    assert model(None)[0, 0, 0] == 1
    with pytest.raises(ModelError):
        model(None)
    assert [model(None)[0, 0, 0] for _ in range(2)] == [2, 3]
    assert len(caplog.records) == 1


def test_a_runtime_that_does_not_load_is_replaced(weights, monkeypatch, caplog):
    """A provider that fails at load gives way to the plain runtime with one line."""

    def broken(_weights, runtime, *_):
        if runtime == FAST:
            raise ModelError("no driver")
        return FakeModel([7])

    monkeypatch.setattr(runtimes, "available", lambda: (PLAIN, FAST))
    monkeypatch.setattr(runtimes, "open_runtime", broken)
    model = open_model("n", RuntimeSettings("openvino", "bf16"))
    assert model(None)[0, 0, 0] == 7
    assert [r.message for r in caplog.records] == ["no driver; going on with the plain processor runtime"]


def test_tensorrt_keeps_its_engines(cache):
    """Engines and timings are cached below the user's cache folder; what TensorRT cannot do goes to CUDA, then CPU."""
    (name, options), *rest = providers(Runtime("tensorrt", "fp16"))
    assert name == "TensorrtExecutionProvider"
    assert options["trt_fp16_enable"] == options["trt_engine_cache_enable"] == "True"
    assert Path(options["trt_engine_cache_path"]).parent == cache.parent
    assert rest == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_devices_names_the_chosen_one(monkeypatch, capsys, cache, probes):
    """``bystander devices`` marks one runtime and says what the absent ones need."""
    monkeypatch.setattr(runtimes, "available", lambda: (PLAIN, FAST))
    assert cli.main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "<- chosen" in line] == ["openvino"]
    assert any("onnxruntime-gpu" in line for line in lines)


def test_an_engine_needs_tensorrt(capsys, monkeypatch):
    """Building an engine where there is no TensorRT is one line with exit code 2."""
    monkeypatch.setattr("bystander.cli_devices.available", lambda: (PLAIN,))
    assert cli.main(["engine", "build"]) == 2
    assert "TensorRT" in capsys.readouterr().err
