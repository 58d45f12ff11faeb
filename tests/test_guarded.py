"""A provider that fails, answers nonsense or hangs: what it costs, and what goes on."""

import time

import numpy as np
import pytest

from bystander.errors import ModelError
from bystander.models import RuntimeSettings, auto, guarded, open_model, runtimes
from bystander.models.auto import Measured
from bystander.models.guarded import GuardedModel
from bystander.models.runtimes import PLAIN, Runtime
from bystander.run.face_filter import FaceFilter, FilterSettings
from bystander.run.meters import Meters
from bystander.run.offline import run_offline
from bystander.stages.detector import Detector
from fakes import FakeReader, FakeWriter, noise_frame

FAST = Runtime("openvino", "bf16")
IMAGES = np.zeros((1, 3, 32, 32), np.float32)
SECRET = RuntimeError("driver gone")


class FakeModel:
    """Answers rows with one far too weak face; an exception among ``faults`` is raised, a number is a wait in s."""

    names, stride, id = ("face",), 32, "fake"

    def __init__(self, faults=None):
        self.faults, self.calls = faults or {}, 0

    def __call__(self, images):
        self.calls += 1
        fault = self.faults.get(self.calls)
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, np.ndarray):
            return fault
        time.sleep(fault or 0)
        return rows()


def rows(box=(8, 8, 4, 4), scores=(0.01, 0.5)):
    return np.array([[[*box, *scores]]], np.float32)


@pytest.fixture
def quick(monkeypatch):
    """A limit that a test can wait for, far above what the fake needs even on a busy machine."""
    monkeypatch.setattr(guarded, "LIMIT_S", 1.0)


@pytest.mark.parametrize(
    "fault",
    [ModelError("driver gone"), SECRET, rows(box=(np.nan, 8, 4, 4)), rows(scores=(np.inf, 0.5)),
     rows(box=(8, 8, -4, 4)), rows(scores=(1.5, 0.5)), rows(scores=(0.5, -0.2))],
    ids=["ModelError", "RuntimeError", "NaN", "infinite", "negative side", "score above 1", "score below 0"],
)  # fmt: skip
def test_a_fault_at_the_tenth_frame_costs_that_frame_alone(fault, caplog):
    """The tenth call raises; the plain runtime computes all later ones, and one line says so."""
    fast, plain = FakeModel({10: fault}), FakeModel()
    model = GuardedModel(fast, lambda: plain)
    for n in range(1, 21):
        if n == 10:
            with pytest.raises(ModelError):
                model(IMAGES)
        else:
            model(IMAGES)
    assert (fast.calls, plain.calls) == (10, 10)
    assert len(caplog.records) == 1
    assert "going on with the plain processor runtime" in caplog.text


def test_a_hanging_call_is_given_up(quick, caplog):
    """A driver that does not answer for 5 s is left behind after the limit; the next call does not wait for it."""
    model = GuardedModel(FakeModel({2: 5.0}), FakeModel)
    model(IMAGES)
    begin = time.monotonic()
    with pytest.raises(ModelError, match="no answer within"):
        model(IMAGES)
    model(IMAGES)
    assert time.monotonic() - begin < 4
    assert len(caplog.records) == 1


def test_the_first_picture_of_a_size_may_take_longer(quick):
    """A size that is compiled at its first picture is not taken for a hang."""
    fast = FakeModel({1: 1.3, 3: 1.3})
    model = GuardedModel(fast, lambda: pytest.fail("fell back"))
    model(IMAGES)
    model(IMAGES)
    model(np.zeros((1, 3, 64, 32), np.float32))
    assert fast.calls == 3


def test_large_pictures_get_more_time(quick):
    """The limit grows with the pixels."""
    fast = FakeModel({2: 1.3})
    model, images = GuardedModel(fast, lambda: pytest.fail("fell back")), np.zeros((1, 3, 1280, 1280), np.float32)
    model(images)
    model(images)
    assert fast.calls == 2


def test_a_runtime_that_does_not_load_is_replaced(monkeypatch, caplog):
    """A provider that fails at load gives way to the plain runtime with one line."""
    plain = FakeModel()

    def broken(_weights, runtime, **_):
        if runtime == FAST:
            raise ModelError("no driver")
        return plain

    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST))
    monkeypatch.setattr(runtimes, "open_runtime", broken)
    assert open_model("n", RuntimeSettings("openvino", "bf16")) is plain
    assert [r.message for r in caplog.records] == ["no driver; going on with the plain processor runtime"]


@pytest.fixture
def pair(monkeypatch, tmp_path):
    """A function that opens a fast fake runtime with these faults, its figures kept as faultless; (plain, opened)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runtimes, "available", lambda _w: (PLAIN, FAST))
    sound = [Measured("cpu", "fp32", 9.0, 0.1, 0.0, ""), Measured("openvino", "bf16", 1.0, 0.1, 0.0, "")]
    monkeypatch.setattr(auto, "probe_all", lambda *_: sound)

    def opened(faults, settings):
        fast, plain = FakeModel(faults), FakeModel()
        monkeypatch.setattr(runtimes, "open_runtime", lambda _w, r, **_: fast if r == FAST else plain)
        return plain, open_model("n", settings)

    return opened


WRONG = rows(box=(8, 8, 6, 4), scores=(0.9, 0.5))


@pytest.mark.parametrize("forced", [False, True], ids=["by the cache", "by a flag"])
@pytest.mark.parametrize(
    ("fault", "says"),
    [(WRONG, "its boxes differ by 50%"), (ModelError("driver gone"), "driver gone"), (WRONG * np.nan, "not finite")],
    ids=["other boxes", "fails", "NaN"],
)
def test_a_runtime_that_is_wrong_at_its_first_picture_is_not_used(forced, fault, says, pair, caplog):
    """However it was chosen, and whatever the cache says of it: one line, and no frame is lost to it."""
    plain, model = pair({1: fault}, RuntimeSettings(*(("openvino", "bf16") if forced else ())))
    assert model is plain
    assert len(caplog.records) == 1
    assert says in caplog.text
    assert "going on with the plain processor runtime" in caplog.text


def test_a_runtime_that_agrees_is_used(pair, caplog):
    """The same without a fault, so that the test above fails for no other reason."""
    plain, model = pair({}, RuntimeSettings())
    assert (model.fast, model.fast.calls) == (model.model, 1)
    assert model.fast is not plain
    assert not caplog.records


@pytest.mark.parametrize("fault", [ModelError("driver gone"), rows(box=(np.nan, 8, 4, 4)), 5.0])
def test_the_failing_frame_leaves_covered_whole_and_no_other(quick, fault):
    """Through the file pipeline: of 24 frames the one whose call failed is covered whole, and none is lost."""
    model = GuardedModel(FakeModel({10: fault}), FakeModel)
    frames = [noise_frame(64, 64, i) for i in range(24)]
    reader, writer = FakeReader(frames), FakeWriter()
    face_filter = FaceFilter(Detector(model), FilterSettings(), Meters())
    run_offline(reader, writer, face_filter)
    assert len(writer.pictures) == 24
    # two frames are detected side by side, and both may be at the faulty runtime when it fails
    assert 1 <= sum(writer.whole) <= 2
    assert not any(writer.whole[:8])
    assert not any(writer.whole[12:])
