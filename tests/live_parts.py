"""What the tests of live streams with real parts share: the ffmpeg program as a camera, and a stream that runs."""

import contextlib
import shutil
import subprocess
import threading
import time

import pytest

from bystander.media.address import parse
from bystander.media.live_sinks import StreamSettings
from bystander.media.live_source import open_live
from bystander.media.live_targets import open_sink
from bystander.run.live import LiveSettings, LiveStream
from bystander.run.live_output import Output
from fakes import faces

BOX = (96, 72, 224, 168)
QUICK = LiveSettings(lookahead_s=0.1, stall_s=0.3, slate_s=0.6)
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not installed")


@contextlib.contextmanager
def program(*args, **how):
    """A child process that is ended with the test."""
    child = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def feed(out, *, seconds=60, size="320x240", clip=None):
    """The ffmpeg program as a camera with a tone, sending to ``out``: a test picture, or a clip over and over."""
    if clip:
        return program("ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", clip, "-c", "copy", *out)
    return program(
        "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-f", "lavfi", "-i",
        "sine=frequency=440:sample_rate=48000", "-t", seconds, "-c:v", "libx264", "-preset", "ultrafast", "-tune",
        "zerolatency", "-g", 25, "-c:a", "aac", *out)  # fmt: skip


def until(true, seconds=20.0):
    """Wait for a fact; the test fails when it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextlib.contextmanager
def running(source, *outs, settings=QUICK, detect=lambda _: faces(BOX), realtime=True):
    """A live stream in a thread of its own; ended and checked with the test."""
    opener = (lambda: open_live(parse(source), realtime=realtime)) if isinstance(source, str) else source
    outputs = [
        o if isinstance(o, Output) else Output(parse(o).name, open_sink(parse(o), StreamSettings())) for o in outs
    ]
    stream, faults = LiveStream(opener, outputs, lambda _: detect, settings), []

    def run():
        try:
            stream.run()
        except Exception as e:
            faults.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stream
    finally:
        stream.control.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert not faults, faults
