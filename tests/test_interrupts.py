"""Signals: held back while native code runs, never lost."""

import os
import signal
import subprocess
import sys

import pytest

from bystander.interrupts import Terminated, held_back


def send(number):
    os.kill(os.getpid(), number)


def test_a_signal_waits_for_the_safe_point():
    """The first one does nothing by itself, is told, and is raised where it is let through."""
    told, reached = [], []

    def work():
        with held_back(lambda: told.append(True)) as let_through:
            let_through()
            send(signal.SIGTERM)
            reached.append("after the signal")
            let_through()
            reached.append("after the safe point")

    with pytest.raises(Terminated):
        work()
    assert told == [True]
    assert reached == ["after the signal"]


def test_a_terminal_that_is_closed_ends_the_run_too_unless_it_was_told_to_outlive_it():
    """SIGHUP is held back like the others; who ignores it (nohup) goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with pytest.raises(Terminated), held_back():
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with held_back():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_at_the_end_at_the_latest(number):
    """Leaving lets it through, and the handlers from before are back."""
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt) as e, held_back():
        send(number)
    assert (e.type is Terminated) == (number == signal.SIGTERM)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_signal_takes_effect_at_once():
    """Who asks twice does not wait."""
    reached = []

    def work():
        with held_back():
            send(signal.SIGINT)
            send(signal.SIGINT)
            reached.append("went on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not reached


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_libraries_load_is_one_line(number, code):
    """A signal that comes before the command line is loaded ends the process with its code and no traceback."""
    child = f"""
import os, sys, bystander.__main__ as program

class Signals:
    def find_spec(name, *_):
        if name == "bystander.cli":
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Signals)
program.start()
"""
    ended = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert ended.stderr == "bystander: stopped before anything was begun\n"
