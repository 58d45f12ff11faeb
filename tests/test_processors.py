"""What follows from the number of processors that this process may use."""

import os

import pytest

from bystander.media.live_sinks import StreamSettings
from bystander.models import read_weights, runtimes
from bystander.models.runtimes import PLAIN, open_runtime
from bystander.processors import processors


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to processors")
def test_taskset_counts():
    """A process that was bound to one processor has one."""
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, mine)
    assert processors() == len(mine)


@pytest.mark.parametrize(("count", "preset", "threads"), [(1, "superfast", 1), (2, "superfast", 2), (8, "veryfast", 2)])
def test_few_processors_encode_quickly(monkeypatch, count, preset, threads):
    monkeypatch.setattr("bystander.media.live_sinks.processors", lambda: count)
    settings = StreamSettings()
    assert (settings.preset, settings.threads) == (preset, threads)


@pytest.mark.parametrize(("count", "prompt", "threads"), [(1, True, 1), (2, True, 2), (64, True, 4), (64, False, 1)])
def test_a_prompt_model_computes_on_several(monkeypatch, count, prompt, threads):
    monkeypatch.setattr(runtimes, "processors", lambda: count)
    model = open_runtime(read_weights("n-face"), PLAIN, prompt=prompt)
    assert model.session.get_session_options().intra_op_num_threads == threads
