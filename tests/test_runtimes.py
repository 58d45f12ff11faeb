import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bystander import cli, cli_devices, models
from bystander.boxes import iou
from bystander.errors import ModelError, SettingsError
from bystander.models import RuntimeSettings, Weights, auto, choose, probe, read_weights, runtimes
from bystander.models.auto import Measured, best_of, measured
from bystander.models.drawing import picture
from bystander.models.runtimes import PLAIN, Runtime, available, candidates, open_runtime
from bystander.stages.detector import DetectorSettings, decode
from fakes import make_clip

FAST = Runtime("openvino", "bf16")
SIZE = (96, 160)
NAMES = ("face",)
OTHER = Runtime("cuda", "fp32")


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
    assert available(read_weights("n"))[0] == PLAIN


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("size", [SIZE, (384, 640)])
@pytest.mark.parametrize("runtime", available(read_weights("n")), ids=str)
def test_every_runtime_of_this_machine_agrees_with_plain_fp32(weights, runtime, size, prompt):
    """Boxes of faces within 5 % of their size and scores within 0.1, and the same faces after suppression."""
    images = picture(*size)
    plain, other = open_runtime(weights, PLAIN)(images), open_runtime(weights, runtime, prompt=prompt)(images)
    judged = auto.judged(row(runtime, 1.0), other, plain)
    assert not judged.fault
    settings = DetectorSettings(min_score=0.3)
    faces = [decode(rows[0], NAMES, settings) for rows in (plain, other)]
    assert len(faces[0]) == len(faces[1])
    assert iou(faces[0].xyxy, faces[1].xyxy).max(axis=1).min() > 0.9


@pytest.mark.parametrize("size", [SIZE, (192, 320), (384, 640), (640, 384)])
def test_the_picture_to_compare_on_shows_faces(weights, size):
    """The shipped model finds the drawn faces: two runtimes that find nothing would agree on everything."""
    found = decode(open_runtime(weights, PLAIN)(picture(*size))[0], NAMES, DetectorSettings(min_score=0.3))
    assert len(found) >= 3


def wrong_answers(plain):
    """Predictions that must not pass for the plain ones."""
    moved, blind, halved = plain.copy(), plain.copy(), plain.copy()
    moved[..., 0] += 8  # px
    blind[..., 4:] = 0
    halved[..., 4] /= 2
    return {"moved": moved, "blind": blind, "halved": halved, "NaN": plain * np.nan, "short": plain[:, :-1]}


@pytest.mark.parametrize("how", ["moved", "blind", "halved", "NaN", "short"])
def test_a_runtime_that_disagrees_is_never_chosen(weights, how):
    """Boxes elsewhere, no face found, lower scores, no numbers, another shape: each keeps the plain runtime."""
    plain = open_runtime(weights, PLAIN)(picture(*SIZE))
    judged = auto.judged(row(FAST, 1.0), wrong_answers(plain)[how], plain)
    assert judged.fault
    assert best_of([row(PLAIN, 10.0), judged], [PLAIN, FAST]) == PLAIN


def test_a_model_that_finds_no_drawn_face_is_compared_by_all_its_rows():
    """Without a candidate in either answer, boxes anywhere count."""
    plain = np.full((1, 40, 6), 10, np.float32)
    plain[..., 4:] = 0.001
    moved = plain + np.array([5, 0, 0, 0, 0, 0], np.float32)
    assert not auto.judged(row(FAST, 1.0), plain, plain).fault
    assert auto.judged(row(FAST, 1.0), moved, plain).fault


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [("abacus", "auto", "choose auto, cpu"), ("cpu", "fp7", "choose auto, fp32"), ("cpu", "int8", "it has cpu fp32"),
     ("coreml", "auto", "only on macOS")],
)  # fmt: skip
def test_what_is_not_there_is_told(weights, device, precision, words):
    """An unknown device, an unknown precision and an absent one each give a line with what there is."""
    with pytest.raises(SettingsError, match=words):
        candidates(device, precision, weights)


def test_int8_without_its_file_is_told(weights):
    """The line names the file, the way to it, and what there is."""
    weights = replace(weights, int8=None)
    with pytest.raises(SettingsError, match=r"it has cpu fp32.*int8.onnx; bystander-lab quantize"):
        candidates("cpu", "int8", weights)


@pytest.fixture
def with_file(weights, tmp_path):
    """A function that writes a model with an int8 file beside it, which says that it was made from ``sha``."""

    def write(sha):
        (tmp_path / "m.onnx").write_bytes(weights.data)
        (tmp_path / "m.int8.onnx").write_bytes(b"quantized_from " + sha.encode())
        return read_weights(tmp_path / "m.onnx")

    return write


def test_an_int8_file_beside_the_model_is_offered(weights, with_file):
    """It is one more candidate on the processor, from its own bytes."""
    found = with_file(hashlib.sha256(weights.data).hexdigest())
    assert found.int8.data.startswith(b"quantized_from")
    assert Runtime("cpu", "int8") in available(found)
    assert candidates("cpu", "int8", found) == (Runtime("cpu", "int8"),)


def test_an_int8_file_of_other_weights_is_not_used(with_file, caplog):
    """After a new training the old int8 file would find other faces: it is left out, with one line."""
    assert with_file("0" * 64).int8 is None
    assert len(caplog.records) == 1
    assert "made from other weights" in caplog.text


def test_an_altered_shipped_int8_file_is_refused(weights, tmp_path, monkeypatch):
    """The int8 file beside shipped weights must be the one that was shipped, too."""
    for name in (models.SHIPPED["n"], "SHA256SUMS"):
        shutil.copy(models.WEIGHTS / name, tmp_path / name)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    models.int8_beside(tmp_path / models.SHIPPED["n"]).write_bytes(b"anything")
    with pytest.raises(ModelError, match="SHA-256"):
        read_weights("n")


def test_the_fastest_without_a_fault_is_chosen():
    """Speed decides among the faultless, and a gain that is no more than noise keeps the plain runtime."""
    other = Runtime("cuda", "fp32")
    assert best_of([row(PLAIN, 10), row(FAST, 5), row(other, 2, "crashed")], [PLAIN, FAST, other]) == FAST
    assert best_of([row(PLAIN, 10), row(FAST, 9.5)], [PLAIN, FAST]) == PLAIN


def test_a_forced_runtime_wins_over_a_faster_one_unless_it_fails():
    """Who asks for a device gets it, even when slower; the plain runtime takes over when it has a fault."""
    assert best_of([row(PLAIN, 10), row(FAST, 50)], [FAST]) == FAST
    assert best_of([row(PLAIN, 10), row(FAST, 0, "failed")], [FAST]) == PLAIN


def test_a_forced_runtime_that_fails_is_told(cache, weights, monkeypatch, caplog):
    """Who asks for a device and gets the plain runtime reads why, in one line."""
    other = Runtime("openvino", "fp32")
    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST, other))
    monkeypatch.setattr(auto, "probe_all", lambda *_: [row(PLAIN, 9.0), row(FAST, 0, "crashed"), row(other, 0, "hung")])
    assert choose(weights, RuntimeSettings("openvino"))[0] == PLAIN
    assert [r.message for r in caplog.records] == [
        "openvino bf16 crashed; openvino fp32 hung; going on with the plain processor runtime"
    ]
    assert choose(weights, RuntimeSettings())[0] == PLAIN
    assert len(caplog.records) == 1


def test_measured_once(cache, probes, weights):
    """The second run takes the figures from the cache; --recalibrate measures again."""
    first = measured(weights, [PLAIN, FAST], SIZE, anew=False)
    assert measured(weights, [PLAIN, FAST], SIZE, anew=False) == first
    assert len(probes) == 1
    measured(weights, [PLAIN, FAST], SIZE, anew=True)
    assert len(probes) == 2
    assert cache.exists()


GOOD = {"device": "cpu", "precision": "fp32", "ms": 9.0, "first_s": 0.1, "difference": 0.0, "fault": ""}


def poisoned(**values):
    """A cache whose row for the fast runtime holds these values."""
    return json.dumps({"KEY": {"rows": [GOOD, {**GOOD, "device": "openvino", "precision": "bf16", **values}]}})


@pytest.mark.parametrize(
    "spoil",
    ["", "[]", "{", "[" * 100_000, '{"KEY": [{"device": "cpu"}]}', '{"KEY": "x"}', '{"KEY": {"rows": []}}',
     poisoned(ms=0), poisoned(ms=-1), poisoned(ms=float("nan")), poisoned(ms=float("inf")), poisoned(ms="1"),
     poisoned(fault=None), poisoned(difference=0.9), poisoned(difference=float("nan")), poisoned(device="cuda"),
     poisoned(extra=1)],
)  # fmt: skip
def test_a_spoilt_cache_is_measured_anew(cache, probes, weights, spoil):
    """Whatever stands in the cache, the answer is right."""
    key = auto.cache_key(SIZE, auto.versions_here(weights))
    cache.parent.mkdir()
    cache.write_text(spoil.replace("KEY", key))
    assert [r.runtime for r in measured(weights, [PLAIN, FAST], SIZE, anew=False)] == [PLAIN, FAST]
    assert len(probes) == 1
    assert key in json.loads(cache.read_text())


def test_a_cache_that_is_not_spoilt_is_used(cache, probes, weights):
    """The same row with sound values is taken, so the test above fails for no other reason."""
    key = auto.cache_key(SIZE, auto.versions_here(weights))
    cache.parent.mkdir()
    cache.write_text(poisoned(ms=3.0).replace("KEY", key))
    assert measured(weights, [PLAIN, FAST], SIZE, anew=False)[1].ms == 3.0
    assert not probes


def test_part_of_what_was_measured_serves_who_asks_for_less(cache, probes, weights):
    """Who forces a device after ``auto`` measured everything uses those figures, so both know of a new engine."""
    measured(weights, [PLAIN, FAST, OTHER], SIZE, anew=False)
    assert [r.runtime for r in measured(weights, [OTHER], SIZE, anew=False)] == [PLAIN, OTHER]
    assert len(probes) == 1


def test_the_cache_tells_versions(cache, probes, weights):
    """Beside the figures stand the versions of what they were measured with, the model's hash among them."""
    measured(weights, [PLAIN, FAST], SIZE, anew=False)
    (entry,) = json.loads(cache.read_text()).values()
    assert any(v.startswith("onnxruntime ") for v in entry["versions"])
    assert any(hashlib.sha256(weights.data).hexdigest() in v for v in entry["versions"])


def test_another_model_or_size_is_measured_anew(cache, probes, weights):
    """Figures are for one model and one picture size."""
    measured(weights, [PLAIN, FAST], SIZE, anew=False)
    measured(weights, [PLAIN, FAST], (192, 320), anew=False)
    measured(Weights(weights.path, weights.data + b"x"), [PLAIN, FAST], SIZE, anew=False)
    assert len(probes) == 3


def test_no_place_for_a_cache_is_no_reason_to_stop(probes, weights, tmp_path, monkeypatch, caplog):
    """Where nothing can be kept, it is measured each time, with a line that says so."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(measured(weights, [PLAIN, FAST], SIZE, anew=False)) == 2
    assert "XDG_CACHE_HOME" in caplog.text


def test_a_machine_too_busy_to_measure_learns_nothing(cache, weights, monkeypatch):
    """When even plain fp32 is not ready in time, the others are not tried, plain is used, and nothing is kept."""
    tried = []

    def late(_model, runtime, _size):
        tried.append(runtime)
        return row(runtime, 0.0, "not ready within 30 s"), None

    monkeypatch.setattr(auto, "probe_one", late)
    rows = measured(weights, [PLAIN, FAST], SIZE, anew=False)
    assert tried == [PLAIN]
    assert best_of(rows, [PLAIN, FAST]) == PLAIN
    assert not cache.exists()


def test_another_version_is_measured_anew(cache, probes, weights, monkeypatch):
    """A new version of a library makes the old figures void."""
    measured(weights, [PLAIN, FAST], SIZE, anew=False)
    monkeypatch.setattr(auto, "version", lambda name: "99.0")
    measured(weights, [PLAIN, FAST], SIZE, anew=False)
    assert len(probes) == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_measuring_is_told_to_who_waits(terminal, weights, monkeypatch, caplog):
    """The first run takes some seconds longer; on a terminal one line says why, a script reads nothing of it."""
    monkeypatch.setattr(auto, "probe_one", lambda _m, runtime, _s: (row(runtime, 1.0, "fake"), None))
    monkeypatch.setattr(auto.sys.stderr, "isatty", lambda: terminal, raising=False)
    auto.probe_all(weights, [PLAIN, FAST], SIZE)
    line = "measuring once which of 2 runtimes is the fastest here for 160 px"
    assert [r.message for r in caplog.records] == ([line] if terminal else [])


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


def test_a_slow_runtime_is_measured_for_a_few_seconds_only(monkeypatch):
    """After so long no further round begins; one is always measured."""
    monkeypatch.setattr(probe, "ENOUGH_S", 0.1)
    calls = []
    assert probe.milliseconds(lambda _images: calls.append(time.sleep(0.05)), None) > 0
    assert len(calls) == probe.CALLS * probe.PICTURES


def test_a_real_probe_gives_figures(weights, tmp_path):
    """The child process measures the plain runtime and returns its predictions."""
    model = tmp_path / "m.onnx"
    model.write_bytes(weights.data)
    found, predictions = auto.probe_one(model, PLAIN, SIZE)
    assert not found.fault
    assert found.ms > 0
    assert np.array_equal(predictions, open_runtime(weights, PLAIN)(picture(*SIZE)))


def test_devices_names_the_chosen_one(monkeypatch, capsys, cache, probes):
    """``bystander devices`` marks one runtime and says what the absent ones need."""
    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST))
    assert cli.main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "<- chosen" in line] == ["openvino"]
    assert any("onnxruntime-gpu" in line for line in lines)
    assert "openvino bf16: the fastest whose boxes agree with cpu fp32" in lines
    assert any("onnxruntime 1." in line for line in lines)


@pytest.mark.parametrize(
    ("ms", "fault", "reason"),
    [(4.0, "", "the fastest"), (9.5, "", "no other one is 10% faster"), (0.0, "crashed", "no other one can be used")],
)
def test_devices_says_why(ms, fault, reason):
    """The choice comes with its reason."""
    rows = [row(PLAIN, 10.0), row(FAST, ms, fault)]
    assert cli_devices.why(best_of(rows, [PLAIN, FAST]), rows).startswith(reason)


def test_devices_of_one_kind(monkeypatch, capsys, cache, probes):
    """``--device`` and ``--json`` together tell about one device, measured beside plain fp32."""
    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST))
    assert cli.main(["devices", "--device", "openvino", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] == "openvino bf16"
    assert [r["device"] for r in told["measured"]] == ["cpu", "openvino"]


def test_devices_tells_that_a_forced_runtime_fails(monkeypatch, capsys, cache):
    """Who forces one reads what happened to it when it was tried, and what will be used then."""
    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST))
    monkeypatch.setattr(auto, "probe_all", lambda *_: [row(PLAIN, 9.0), row(FAST, 0, "crashed")])
    assert cli.main(["devices", "--device", "openvino"]) == 0
    out = capsys.readouterr().out
    assert "not used: crashed" in out
    assert "cpu fp32 takes over" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [(["--imgsz", "3"], "imgsz 3"), (["--device", "abacus"], "directml; this machine has cpu fp32"),
     (["--precision", "fp7"], "int8; this machine has cpu fp32"),
     (["--model", "gone.onnx"], "gone.onnx"), (["--device", "directml"], "it has cpu fp32")],
)  # fmt: skip
def test_bad_input_to_devices_is_one_line(args, says, capsys):
    """Wrong sizes, devices, precisions and models end in one line with exit code 2."""
    try:
        code = cli.main(["devices", *args])
    except SystemExit as e:  # argparse's own
        code = e.code
    err = capsys.readouterr().err
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_recalibrate_measures_again(monkeypatch, cache, probes, weights):
    """The flag of ``file`` and ``live`` reaches the measurement."""
    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST))
    for anew in (False, False, True):
        choose(weights, RuntimeSettings(imgsz=128, anew=anew))
    assert len(probes) == 2


@pytest.mark.parametrize("command", ["file", "live"])
@pytest.mark.parametrize(
    ("args", "says"),
    [(["--device", "abacus"], "choose auto, cpu"), (["--precision", "fp7"], "choose auto, fp32"),
     (["--device", "coreml"], "it has cpu fp32"), (["--precision", "int8"], "bystander-lab quantize makes it")],
)  # fmt: skip
def test_bad_runtimes_are_one_line_before_the_work_begins(command, args, says, tmp_path, capsys):
    """A runtime that is unknown, not there or without its file ends ``file`` and ``live`` with what there is."""
    clip, out = make_clip(tmp_path / "c.mp4"), tmp_path / "o.mkv"
    assert cli.main([command, str(clip), str(out), *args]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "cpu fp32" in err
    assert err.count("\n") == 1
    assert not out.exists()


SPY = """
import sys, time
told = []
watched = "socket.", "os.fork", "subprocess"
sys.addaudithook(lambda name, args: told.append(name) if name.startswith(watched) else None)
from bystander.models import read_weights
from bystander.models.runtimes import available
assert len(available(read_weights("n-face"))) > 1
time.sleep(0.3)
print(told)
"""


def test_openvino_reports_nothing():
    """Loading it opens no connection and starts no process: left alone it tells Google Analytics of each import."""
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", SPY], capture_output=True, text=True, check=True, env=here())
    assert done.stdout.strip() == "[]"


def here():
    """The environment, with the package that is being tested first on the path."""
    return {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}


def test_an_engine_needs_tensorrt(capsys, monkeypatch):
    """Building an engine where there is no TensorRT is one line with exit code 2."""
    monkeypatch.setattr(cli_devices, "available", lambda _w: (PLAIN,))
    assert cli.main(["engine", "build"]) == 2
    assert "TensorRT" in capsys.readouterr().err
