"""Live outputs and inputs that need no server, read back."""

import builtins
import importlib
import os
import sys
import threading
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from bystander.errors import InputError, OutputError, SettingsError
from bystander.media.address import parse
from bystander.media.live_picture import even_size, jpeg, planar
from bystander.media.live_sinks import EncodedSink, StreamSettings, Target
from bystander.media.live_source import open_live
from bystander.media.live_targets import PROMPT, open_sink
from bystander.media.mjpeg import MjpegServer
from bystander.media.reader import plane_view
from bystander.stages.cover import CoverSettings, cover, slate
from bystander.types import Frame, Sound
from fakes import make_clip, noise_frame
from receivers import decoded, free_port

RATE = 48_000


def covered(index=0, width=64, height=48, **how):
    f = noise_frame(width, height, index)
    return cover(replace(f, time_s=index / 25, **how), (), CoverSettings())


def record(path, frames=50, **settings):
    """Write a recording with a click in the sound at every whole second."""
    sink = open_sink(parse(str(path)), StreamSettings(**settings))()
    for i in range(frames):
        wave = np.zeros((2, 1920), np.float32)
        if i % 25 == 0:
            wave[:, :200] = 0.9
        sink.sound(Sound(wave, RATE, i / 25))
        c = covered(i)
        if i % 25 == 0:
            c.frame.y[...] = 235
        else:
            c.frame.y[...] = 16
        sink.picture(c)
    sink.close()


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_sound_and_picture_stay_together(tmp_path, suffix):
    """A flash and a click of the same time are less than 40 ms apart in the recording."""
    path = tmp_path / f"a.{suffix}"
    record(path, 76)
    with av.open(str(path)) as c:
        flashes = [float(f.pts * f.time_base) for f in c.decode(video=0) if f.to_ndarray(format="gray").mean() > 150]
    clicks = []
    with av.open(str(path)) as c:
        for f in c.decode(audio=0):
            loud = np.flatnonzero(np.abs(f.to_ndarray()[0]) > 0.3)
            if len(loud):
                clicks.append(float(f.pts * f.time_base) + loud[0] / RATE)
    for flash in flashes[1:]:
        assert min(abs(flash - click) for click in clicks) < 0.04


def test_a_recording_that_was_cut_off_still_plays(tmp_path):
    """MP4 is written in fragments: without its end the beginning is there."""
    path = tmp_path / "a.mp4"
    sink = open_sink(parse(str(path)), StreamSettings())()
    for i in range(120):
        sink.picture(covered(i))
    data = path.read_bytes()
    sink.close()
    (tmp_path / "cut.mp4").write_bytes(data)
    with av.open(str(tmp_path / "cut.mp4")) as c:
        assert sum(1 for _ in c.decode(video=0)) >= 40


def test_pictures_of_another_size_are_fitted_into_the_first(tmp_path):
    """The stream keeps its size; the new picture is scaled with bars."""
    path = tmp_path / "a.mkv"
    sink = open_sink(parse(str(path)), StreamSettings())()
    sink.picture(covered(0))
    sink.picture(covered(1, 96, 200))
    sink.close()
    with av.open(str(path)) as c:
        assert {(f.width, f.height) for f in c.decode(video=0)} == {(64, 48)}


def test_a_stream_without_sound_gets_silence(tmp_path):
    """Platforms want a sound track: it is there, and silent, when the source has none."""
    path = tmp_path / "a.mkv"
    sink = open_sink(parse(str(path)), StreamSettings())()
    for i in range(50):
        sink.picture(covered(i))
    sink.close()
    with av.open(str(path)) as c:
        assert max(float(np.abs(f.to_ndarray()).max()) for f in c.decode(audio=0)) < 0.01


@pytest.mark.parametrize("late", [0, 20])
def test_sound_that_comes_after_its_picture_is_not_taken_for_silence(tmp_path, late):
    """Some sources send their sound most of a second after the picture: it is sent late, but all of it."""
    path = tmp_path / "a.mkv"
    sink = open_sink(parse(str(path)), StreamSettings())()
    for i in range(125):
        sink.picture(covered(i))
        if i >= late:
            sink.sound(Sound(np.full((2, 1920), 0.5, np.float32), RATE, (i - late) / 25))
    sink.close()
    with av.open(str(path)) as c:
        heard = sum(int((np.abs(f.to_ndarray()[0]) > 0.2).sum()) for f in c.decode(audio=0)) / RATE
    assert heard > (125 - late) / 25 - 0.7


def test_a_size_that_was_asked_for_holds(tmp_path):
    """4K in, 720p out, and a slate before the camera is there does not decide."""
    path = tmp_path / "a.mkv"
    sink = open_sink(parse(str(path)), StreamSettings(size=(96, 64)))()
    sink.picture(covered(0))
    sink.close()
    with av.open(str(path)) as c:
        assert {(f.width, f.height) for f in c.decode(video=0)} == {(96, 64)}


def test_key_frames_come_every_two_seconds(tmp_path):
    """Platforms ask for it, at any frame rate."""
    sink = open_sink(parse(str(tmp_path / "a.mkv")), StreamSettings())()
    for i in range(126):
        sink.picture(cover(replace(slate(64, 48, "").frame, time_s=i / 25), (), CoverSettings()))
    sink.close()
    with av.open(str(tmp_path / "a.mkv")) as c:
        keys = [float(p.pts * p.time_base) for p in c.demux(video=0) if p.is_keyframe]
    assert np.diff(keys) == pytest.approx([2.0, 2.0], abs=0.01)


def test_hls_is_a_folder_with_a_playlist(tmp_path):
    """A folder with a slash at its end becomes HLS."""
    sink = open_sink(parse(f"{tmp_path}/web/"), StreamSettings())()
    for i in range(150):
        sink.picture(covered(i))
    sink.close()
    assert "#EXTM3U" in (tmp_path / "web/live.m3u8").read_text()
    assert len(list((tmp_path / "web").glob("*.ts"))) >= 2


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_outputs_show_the_picture_upright(rotation):
    """A phone's sideways picture is turned: its marked corner is where a player would show it."""
    c = slate(64, 48, "")
    frame = replace(c.frame, rotation_deg=rotation)
    frame.y[:8, :8] = 250
    turned = cover(frame, (), CoverSettings())
    width, height = even_size(turned)
    y = planar(turned, width, height)[:height]
    corner = {0: y[:8, :8], 90: y[:8, -8:], 180: y[-8:, -8:], 270: y[-8:, :8]}[rotation]
    assert (corner == 250).all()


def test_odd_sizes_and_full_range_are_made_fit():
    """An odd picture gains a column and row; full range becomes limited."""
    c = cover(replace(noise_frame(63, 47), full_range=True), (), CoverSettings())
    c.frame.y[...] = 255
    out = planar(c, *even_size(c))
    assert out.shape == (72, 64)
    assert (out[:48] == 235).all()
    assert jpeg(c, 32)[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("out", "says", "kind"),
    [("a.xyz", "unknown kind of output", SettingsError), ("no/a.mkv", "no such folder", OutputError),
     ("taken.mkv", "--overwrite", OutputError), ("/dev/video0", "is a camera", SettingsError),
     ("https://h/x", "cannot be sent to", SettingsError)],
)  # fmt: skip
def test_outputs_that_cannot_be_are_told_before_going_on_air(tmp_path, monkeypatch, out, says, kind):
    """A mistake in OUT is one line, at once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.mkv").write_bytes(b"mine")
    with pytest.raises(kind, match=says):
        open_sink(parse(out), StreamSettings())
    assert (tmp_path / "taken.mkv").read_bytes() == b"mine"


@pytest.mark.parametrize("out", ["rtmp://127.0.0.1:1/app/s3cret-key", "srt://127.0.0.1:1?passphrase=s3cret-key-9"])
def test_a_platform_that_is_not_there_is_told_without_the_key(out, capfd):
    """The error names the address, not its secret; nothing else is printed."""
    sink = open_sink(parse(out), StreamSettings())()
    try:
        sink.picture(covered())
    except (OutputError, SettingsError) as e:  # the latter where libsrt is not installed
        assert "s3cret" not in repr(e)  # noqa: PT017
        assert e.__cause__ is None  # noqa: PT017  its text would hold the key
    sink.close()
    assert "s3cret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("where", ["rtmp://no-host.invalid/app/s3cret-key", "rtsp://u:s3cret@no-host.invalid/x"])
def test_a_host_that_is_not_there_is_told_as_such(where):
    """A mistyped name is no "Input/output error"."""
    with pytest.raises(OutputError, match=r"no host of that name") as e:
        open_sink(parse(where), StreamSettings())().picture(covered())
    assert "s3cret" not in str(e.value)
    with pytest.raises(InputError, match="no host of that name"):
        open_live(parse(where))


def test_a_virtual_camera_without_its_library_or_device_says_what_to_do(monkeypatch):
    """Without pyvirtualcam: which extra; without a loopback device: which command."""
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(SettingsError, match=r"bystander\[vcam\]"):
        open_sink(parse("vcam"), StreamSettings())

    class NoDevice:
        class PixelFormat:
            I420 = 1

        @staticmethod
        def Camera(*_a, **_k):  # noqa: N802
            raise RuntimeError("no backend")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", NoDevice)
    with pytest.raises(OutputError, match="modprobe v4l2loopback"):
        open_sink(parse("vcam"), StreamSettings())().picture(covered())


def test_the_optional_libraries_are_imported_only_when_used():
    """The command line imports without pyvirtualcam and prometheus-client."""
    real = builtins.__import__

    def guarded(name, *a, **k):
        assert name not in ("pyvirtualcam", "prometheus_client")
        return real(name, *a, **k)

    builtins.__import__ = guarded
    try:
        importlib.reload(importlib.import_module("bystander.media.vcam"))
        importlib.reload(importlib.import_module("bystander.run.metrics_http"))
    finally:
        builtins.__import__ = real


def test_a_file_plays_in_real_time_with_its_sound(tmp_path):
    """Frames and sound of a file come as they would from a camera, planes writable, all frames once."""
    source = open_live(parse(str(make_clip(tmp_path / "a.mp4", sound=True, frames=10))), realtime=True)
    items = list(source)
    frames = [i for i in items if isinstance(i, Frame)]
    sounds = [i for i in items if isinstance(i, Sound)]
    assert [f.index for f in frames] == list(range(10))
    assert all(f.y.flags.writeable for f in frames)
    assert np.diff([f.time_s for f in frames]) == pytest.approx(0.04)
    assert sum(s.samples.shape[1] for s in sounds) == pytest.approx(0.4 * RATE, abs=3000)
    assert not source.endless


@pytest.mark.parametrize(
    ("name", "says", "kind"),
    [("a.mp4", "--realtime", SettingsError), ("/dev/video77", "no such camera", InputError),
     ("mjpeg://:80", "is an output", SettingsError), ("rtsp://127.0.0.1:1/x", "cannot be opened", InputError),
     ("rtmp://127.0.0.1:1/app/s3cret", "cannot be opened", InputError)],
)  # fmt: skip
def test_inputs_that_cannot_be_are_told(tmp_path, monkeypatch, name, says, kind):
    """A mistake in IN is one line without secrets."""
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4")
    with pytest.raises(kind, match=says) as e:
        open_live(parse(name))
    assert "s3cret" not in str(e.value)


def test_memory_that_is_short_for_a_frame_leaves_it_out(tmp_path, monkeypatch):
    """The other frames come, the fault is told, the file plays on."""
    calls, told = [], []

    def scarce(plane):
        calls.append(1)
        if len(calls) == 7:  # the third frame's luma
            raise MemoryError
        return plane_view(plane)

    monkeypatch.setattr("bystander.media.live_source.plane_view", scarce)
    source = open_live(parse(str(make_clip(tmp_path / "a.mp4", frames=10))), realtime=True, tell=told.append)
    assert len(list(source)) == 9
    assert told == ["input: MemoryError"]


def test_a_source_without_picture_is_refused(tmp_path):
    """Sound alone is no input."""
    path = tmp_path / "a.mka"
    with av.open(str(path), "w", format="matroska") as c:
        stream = c.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        c.mux(stream.encode(frame))
        c.mux(stream.encode(None))
    with pytest.raises(InputError, match="no picture"):
        open_live(parse(str(path)), realtime=True)


def test_close_from_another_thread_ends_a_source(tmp_path):
    """A reader that plays a long file stops when it is told to."""
    source = open_live(parse(str(make_clip(tmp_path / "a.mp4", frames=300))), realtime=True)
    threading.Timer(0.3, source.close).start()
    assert len(list(source)) < 100


def test_sound_from_the_start_is_taken_by_flv(tmp_path):
    """RTMP's format refuses packets older than the first; the sound encoder's first one would be."""
    path = tmp_path / "a.flv"
    target = Target("a", lambda: (av.open(str(path), "w", format="flv", container_options=PROMPT), None))
    sink = EncodedSink(target, StreamSettings())
    for i in range(10, 40):
        sink.picture(covered(i))
        sink.sound(Sound(np.zeros((2, 1920), np.float32), RATE, i / 25))
    sink.close()
    with av.open(str(path)) as c:
        assert min(p.dts for p in c.demux() if p.dts is not None) >= 0


def test_who_looks_later_is_not_shown_what_was_on_air_before():
    """While nobody looks no picture is kept: somebody may have been covered since."""
    server = MjpegServer(parse(f"mjpeg://:{free_port()}"))
    sink = server.sink()
    server.viewers = 1
    sink.picture(covered())
    assert server.picture
    server.viewers = 0
    sink.picture(covered())
    assert server.picture is None
    server.close()


def fill(sink):
    for i in range(600):
        c = covered(i, 320, 240)
        if i > 60:  # the first piece of HLS fits
            c.frame.y[...] = np.roll(c.frame.y, 77 * i)
        sink.picture(c)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "hls/"])
def test_a_full_disk_is_told_and_leaves_what_plays(tmp_path, name, capfd):
    """No byte more fits into a file: an OutputError that says so, no other line, and pictures in what was written."""
    resource = pytest.importorskip("resource")  # not on Windows
    sink = open_sink(parse(f"{tmp_path}/{name}"), StreamSettings(bitrate_k=2000))()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"File too large"):
            fill(sink)
        sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(decoded(tmp_path / "hls/live.m3u8" if name == "hls/" else tmp_path / name)) > 20
    assert "dropped" not in "".join(capfd.readouterr())


def test_a_pipe_is_not_taken_for_a_recording(tmp_path):
    """Opening it would wait for a reader, and everything with it."""
    os.mkfifo(tmp_path / "a.ts")
    with pytest.raises(OutputError, match="not a plain file"):
        open_sink(parse(str(tmp_path / "a.ts")), StreamSettings(overwrite=True))
