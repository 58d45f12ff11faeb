"""Live streams through real parts over loopback: nginx-rtmp, SRT, RTSP, UDP, and the ffmpeg program."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bystander.errors import BystanderError, OutputError, SettingsError
from bystander.media.address import parse
from bystander.media.live_sinks import StreamSettings
from bystander.media.live_source import open_live
from bystander.media.live_targets import open_sink
from bystander.media.patience import sockets
from bystander.media.srt import library
from bystander.run.live_output import Output
from bystander.stages.cover import CoverSettings, cover
from fakes import FakeLive, FakeSink, faces, noise_frame
from live_parts import BOX, feed, needs_ffmpeg, program, running, until
from receivers import decoded, free_port
from rtsp_server import RtspServer

RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")

needs_nginx = pytest.mark.skipif(
    not (shutil.which("nginx") and RTMP_MODULE.exists()), reason="nginx with libnginx-mod-rtmp is not installed"
)
pytestmark = needs_ffmpeg


@pytest.fixture
def srt():
    try:
        return library()
    except SettingsError as e:
        pytest.skip(str(e))


class Nginx:
    """A platform: nginx-rtmp on loopback."""

    def __init__(self, folder):
        self.port, self.folder = free_port(), folder
        self.conf = folder / "nginx.conf"
        self.conf.write_text(
            f"load_module {RTMP_MODULE}; daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;"
            f"events {{}} rtmp {{ access_log off; server {{ listen 127.0.0.1:{self.port};"
            "application live { live on; } } }"
        )
        self.url = f"rtmp://127.0.0.1:{self.port}/live/s3cret-key"
        self.start()

    def start(self):
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.child = subprocess.Popen(["nginx", "-c", str(self.conf), "-p", str(self.folder)], **how)
        until(lambda: reachable(self.port))

    def stop(self):
        self.child.kill()
        self.child.wait()


@pytest.fixture
def nginx(tmp_path):
    server = Nginx(tmp_path)
    yield server
    server.stop()


def reachable(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def clip(path, seconds=20):
    """A file for --realtime: fine texture that moves, with a tone. Texture, because a mosaic keeps coarse patterns."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (120, 160), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_LINEAR)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18", "g": "25"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = out.add_stream("aac", rate=48_000, layout="mono")
        for i in range(seconds * 25):
            grey = np.roll(texture, 2 * i, axis=1)
            frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(video.encode(frame))
            t = (np.arange(1920) + i * 1920) / 48_000
            tone = av.AudioFrame.from_ndarray(np.sin(2765 * t).astype(np.float32)[None] / 2, "fltp", "mono")
            tone.sample_rate, tone.pts, tone.time_base = 48_000, i * 1920, Fraction(1, 48_000)
            out.mux(sound.encode(tone))
        for stream in (video, sound):
            out.mux(stream.encode(None))
    return path


def source_in(pictures, path, box=BOX):
    """(best likeness inside the box, outside of it) of the pictures with any frame of the source, -1..1."""
    x1, y1, x2, y2 = box
    raws = decoded(path)[:160]  # the texture is where it was after 160 frames
    inside, outside = -1.0, -1.0
    for p in pictures[-20::5]:
        likeness = [(fine(p[y1:y2, x1:x2], r[y1:y2, x1:x2]), fine(p[:y1], r[:y1])) for r in raws]
        inside, outside = max(inside, *(a for a, _ in likeness)), max(outside, *(b for _, b in likeness))
    return inside, outside


def fine(a, b):
    """Correlation of the fine structure of two patches."""
    a, b = (np.diff(v.astype(np.float32), axis=1).ravel() for v in (a, b))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0


def pull(url, out, seconds=4, before=()):
    """The ffmpeg program as a viewer: record some seconds."""
    command = ["ffmpeg", "-v", "error", "-y", *before, "-i", url, "-t", str(seconds), "-c", "copy", str(out)]
    subprocess.run(command, check=False, timeout=30, stdin=subprocess.DEVNULL)
    return decoded(out)


@needs_nginx
def test_a_platform_shows_the_covered_stream(nginx, tmp_path):
    """What nginx-rtmp hands out: the source's picture around the face, nothing of it inside, and the tone."""
    source = clip(tmp_path / "in.mp4")
    with running(str(source), nginx.url):
        pictures = pull(nginx.url, tmp_path / "seen.ts")
    assert len(pictures) > 20
    inside, outside = source_in(pictures, source)
    assert outside > 0.8
    assert inside < 0.3
    with av.open(str(tmp_path / "seen.ts")) as c:
        assert max(float(np.abs(f.to_ndarray()).max()) for f in c.decode(audio=0)) > 0.05


@needs_nginx
def test_a_platform_that_is_killed_comes_back(nginx, tmp_path):
    """The server dies under load and returns: the output reconnects, the recording beside it misses nothing."""
    source = clip(tmp_path / "in.mp4", 30)
    record = FakeSink()
    with running(str(source), nginx.url, Output("record", record.open)) as stream:
        until(lambda: len(record.times) > 40)
        nginx.stop()
        until(lambda: stream.outlets[0].state == "waiting")
        before = len(record.times)
        nginx.start()
        until(lambda: stream.outlets[0].state == "connected")
        until(lambda: len(record.times) > before + 10)
        pictures = pull(nginx.url, tmp_path / "seen.ts", 4)
        assert "s3cret" not in repr(stream.status())
    assert stream.outlets[0].reconnects >= 1
    assert len(pictures) > 5
    assert source_in(pictures, source)[0] < 0.3
    assert max(np.diff(record.times)) < 1.0


@needs_nginx
def test_an_rtmp_input_that_is_cut_comes_back_over_a_slate(nginx):
    """The platform as input dies: slate, reconnect, picture; times rise throughout."""
    sink = FakeSink()
    with feed(["-f", "flv", nginx.url]):
        time.sleep(1)
        with running(nginx.url, Output("x", sink.open)) as stream:
            until(lambda: sum(not w for w in sink.whole) > 20)
            nginx.stop()
            until(lambda: sink.whole[-1])
            nginx.start()
            with feed(["-f", "flv", nginx.url]):
                until(lambda: not sink.whole[-1], 40)
    assert stream.intake.reconnects >= 1
    assert sink.times == sorted(set(sink.times))


@needs_nginx
def test_a_platform_that_takes_nothing_any_more_is_left_and_found_again(nginx):
    """A stalled server, like a pulled cable, blocks a writer for ever: it is hung up on, and opened again later."""
    frames = [noise_frame(320, 240, i) for i in range(1800)]  # more than the waiting below
    for i, frame in enumerate(frames):
        frame.y[...] = np.roll(frame.y, 77 * i)  # fills what is buffered on the way
    source = FakeLive(frames, step_s=0.04)
    record = FakeSink()
    loud = Output("platform", open_sink(parse(nginx.url), StreamSettings(bitrate_k=20_000, size=(1280, 720))))
    with running(lambda: source, loud, Output("record", record.open)) as stream:
        until(lambda: len(record.times) > 10 and stream.outlets[0].state == "connected", 60)
        buffer_little(nginx.port)
        os.kill(nginx.child.pid, signal.SIGSTOP)
        before = len(record.times)
        until(lambda: stream.outlets[0].state == "waiting", 60)
        until(lambda: len(record.times) > before + 10)
        os.kill(nginx.child.pid, signal.SIGCONT)
        until(lambda: stream.outlets[0].state == "connected", 30)
    assert stream.outlets[0].reconnects >= 1


def buffer_little(port):
    """Let the system keep less of what this process sends to that port, so that a stall is felt soon."""
    for number in sockets():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as s:
            if s.getpeername()[1] == port:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


@pytest.mark.parametrize("kind", ["rtmp", "rtsp", "rtsps"])
def test_a_server_that_never_answers_is_not_waited_for(kind):
    """It takes the connection and says nothing: an error after some seconds, not a wait for ever."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        sink = open_sink(parse(f"{kind}://127.0.0.1:{server.getsockname()[1]}/live/s3cret-key"), StreamSettings())()
        with pytest.raises(OutputError, match="cannot be opened"):
            sink.picture(cover(noise_frame(), (), CoverSettings()))
        sink.close()


def flashing(out, seconds=60):
    """A camera whose picture flashes while a tone sounds, at every whole second."""
    return program(
        "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i",
        "color=black:s=320x240:r=25,drawbox=enable='lt(mod(t,1),0.2)':color=white:t=fill", "-f", "lavfi", "-i",
        "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.2)':s=48000", "-t", seconds, "-c:v", "libx264", "-preset",
        "ultrafast", "-tune", "zerolatency", "-g", 25, "-pix_fmt", "yuv420p", "-c:a", "aac", *out)  # fmt: skip


def sound_after_flash(path):
    """(time of each flash, how much later its tone begins), s, of a recording."""
    lit, flashes, tones, loud_s = False, [], [], -1.0
    with av.open(str(path)) as c:
        for f in c.decode(video=0):
            mean = f.reformat(format="gray").to_ndarray().mean()
            if mean > 200 and not lit:
                flashes.append(f.time)
            lit = mean > 200
    with av.open(str(path)) as c:
        for f in c.decode(audio=0):
            for at in f.time + np.flatnonzero(np.abs(f.to_ndarray()[0]) > 0.1) / 48_000:
                if at - loud_s > 0.3:
                    tones.append(at)
                loud_s = at
    nearest = [(flash, min(tones, key=lambda t: abs(t - flash)) - flash) for flash in flashes]
    return [(flash, late) for flash, late in nearest if abs(late) < 0.4]


@needs_nginx
def test_sound_and_picture_stay_together_over_reconnects(nginx, tmp_path):
    """The input's server dies and returns: before and after, tone and flash are less than 40 ms apart."""
    record = tmp_path / "record.mkv"
    with flashing(["-f", "flv", nginx.url]):
        time.sleep(1)
        with running(nginx.url, str(record), detect=lambda _: faces()) as stream:
            until(lambda: stream.meters.counts["in"] > 125)
            nginx.stop()
            until(lambda: stream.status().state == "slate")
            cut_s = stream.out_s
            nginx.start()
            with flashing(["-f", "flv", nginx.url]):
                until(lambda: stream.intake.reconnects and stream.status().state == "live", 40)
                before = stream.meters.counts["in"]
                until(lambda: stream.meters.counts["in"] > before + 125)
    found = sound_after_flash(record)
    for part in ([late for at, late in found if at < cut_s], [late for at, late in found if at > cut_s]):
        assert len(part) >= 2
        assert abs(float(np.median(part))) < 0.04, found
    with av.open(str(record)) as c:
        for stream in c.streams:
            times = [p.dts for p in c.demux(stream) if p.dts is not None]
            assert times == sorted(set(times))
            c.seek(0)


@pytest.mark.parametrize("kind", ["udp", "srt", "rtmp"])
def test_listening_inputs_take_what_is_pushed_to_them(kind, request):
    """A transport stream over UDP, an SRT caller with a passphrase, an RTMP publisher."""
    port, sink = free_port(), FakeSink()
    if kind == "srt":
        request.getfixturevalue("srt")
    here = {"udp": f"udp://:{port}", "srt": f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret-1",
            "rtmp": f"rtmp://127.0.0.1:{port}/live/key-1?listen"}[kind]  # fmt: skip
    there = {"udp": ["-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"],
             "srt": ["-f", "mpegts", f"srt://127.0.0.1:{port}?passphrase=long-secret-1"],
             "rtmp": ["-f", "flv", f"rtmp://127.0.0.1:{port}/live/key-1"]}[kind]  # fmt: skip
    with running(here, Output("x", sink.open)):
        time.sleep(1)
        with feed(there):
            until(lambda: sum(not w for w in sink.whole) > 25)
    assert sum(s.samples.shape[1] for _, s in sink.sounds) > 24_000
    assert {p.shape for p in sink.pictures} <= {(240, 320)}


@pytest.mark.parametrize(
    "address", ["udp://:{}", "rtmp://:{}/live/key-1?listen", "srt://:{}?mode=listener", "srt://:{}", "mjpeg://:{}"]
)
def test_a_listener_without_a_host_is_closed_to_the_network(address, request):
    """Whatever listens is bound to loopback, not to all interfaces, unless its address names another one."""
    if address.startswith("srt"):
        request.getfixturevalue("srt")
    port = free_port()
    as_input = not address.startswith("mjpeg")
    kind = "tcp" if address.startswith(("rtmp", "mjpeg")) else "udp"
    work = threading.Thread(
        target=listen_for_a_while, args=(address.format(port),), kwargs={"as_input": as_input}, daemon=True
    )
    work.start()
    until(lambda: bound_to(kind, port))
    assert bound_to(kind, port) == {"0100007F"}


def listen_for_a_while(address, *, as_input):
    """Open a listener that nobody talks to."""
    with contextlib.suppress(BystanderError):
        source = open_live(parse(address)) if as_input else open_sink(parse(address), StreamSettings())()
        with contextlib.suppress(TypeError):
            next(iter(source))


def bound_to(kind, port):
    """The addresses, in hexadecimal, on which this port is open."""
    lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    lines += Path(f"/proc/net/{kind}6").read_text().splitlines()[1:]
    places = [line.split()[1].split(":") for line in lines]
    return {where for where, number in places if int(number, 16) == port}


def test_srt_with_a_wrong_passphrase_is_refused(srt):
    """The wrong secret gives an error that does not hold it."""
    port = free_port()
    with feed(["-f", "mpegts", f"srt://127.0.0.1:{port}?mode=listener&passphrase=the-right-one"]):
        time.sleep(1)
        with pytest.raises(Exception, match="srt://127") as e:
            open_live(parse(f"srt://127.0.0.1:{port}?passphrase=the-wrong-one"))
    assert "wrong-one" not in str(e.value)


@pytest.mark.parametrize("kind", ["srt", "rtsp"])
def test_pushed_outputs_arrive_covered(kind, tmp_path, request):
    """SRT and RTSP push to the ffmpeg program as listener: the face is gone, the rest is there."""
    if kind == "srt":
        request.getfixturevalue("srt")
    port, source, seen = free_port(), clip(tmp_path / "in.mp4"), tmp_path / "seen.ts"
    listen = {"srt": [f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret-1"],
              "rtsp": [f"rtsp://127.0.0.1:{port}/x"]}[kind]  # fmt: skip
    flags = ["-rtsp_flags", "listen"] if kind == "rtsp" else []
    out = f"srt://127.0.0.1:{port}?passphrase=long-secret-1" if kind == "srt" else listen[0]
    with program("ffmpeg", "-v", "error", "-y", *flags, "-i", *listen, "-t", "3", "-c", "copy", seen) as viewer:
        time.sleep(1)
        with running(str(source), out):
            viewer.wait(30)
    pictures = decoded(seen)
    assert len(pictures) > 40
    inside, outside = source_in(pictures, source)
    assert (inside < 0.3, outside > 0.8) == (True, True)


class LossyRelay:
    """Forwards UDP datagrams and loses a share of them."""

    def __init__(self, to, loss):
        self.port, self.to, self.loss = free_port(), to, loss
        self.passed = self.lost = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", self.port))
        self.socket.settimeout(0.2)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        rng = random.Random(1)
        while not self.done.is_set():
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            if rng.random() < self.loss:
                self.lost += 1
            else:
                self.passed += 1
                self.socket.sendto(data, ("127.0.0.1", self.to))

    def close(self):
        self.done.set()
        self.thread.join()
        self.socket.close()


def test_a_lossy_network_neither_ends_the_stream_nor_uncovers_anything(tmp_path):
    """With 3 % of the datagrams lost the stream goes on and every picture leaves covered."""
    port, sink = free_port(), FakeSink()
    source = clip(tmp_path / "in.mp4")
    relay = LossyRelay(port, 0.03)
    with running(f"udp://:{port}", Output("x", sink.open)):
        time.sleep(0.5)
        with feed(["-f", "mpegts", f"udp://127.0.0.1:{relay.port}?pkt_size=1316"], clip=source):
            until(lambda: sum(not w for w in sink.whole) > 75)
    relay.close()
    assert relay.lost > 3
    pictures = [p for p, whole in zip(sink.pictures, sink.whole, strict=True) if not whole]
    assert source_in(pictures, source)[0] < 0.3
    assert sink.times == sorted(set(sink.times))


def test_a_size_that_changes_on_the_wire_is_covered(tmp_path):
    """The camera comes back with another size: pictures of both sizes leave, each face covered."""
    port, sink = free_port(), FakeSink()
    with running(f"udp://:{port}", Output("x", sink.open)) as stream:
        time.sleep(0.5)
        with feed(["-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"]):
            until(lambda: sum(not w for w in sink.whole) > 25)
        with feed(["-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"], size="480x360"):
            until(
                lambda: any(p.shape == (360, 480) and not w for p, w in zip(sink.pictures, sink.whole, strict=False)),
                30,
            )
    assert stream.meters.counts["faces"] > 25


KINDS = {  # what a source may turn into in mid-stream: ffmpeg's arguments
    "10 bit": ["-pix_fmt", "yuv420p10le", "-c:v", "libx264"],
    "4:2:2": ["-pix_fmt", "yuv422p", "-c:v", "libx264"],
    "interlaced": ["-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ilme+ildct"],
    "variable rate": ["-vf", "select='not(mod(n,3))+lt(mod(n,20),9)'", "-fps_mode", "vfr", "-c:v", "libx264"],
    "another size": ["-s", "204x150", "-c:v", "libx264"],
    "with sound": ["-f", "lavfi", "-i", "sine", "-shortest", "-c:v", "libx264", "-c:a", "aac"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_turns_into_another_one_on_the_wire_stays_covered(kind, tmp_path):
    """One transport stream, two encodes one after the other, over UDP: pictures of both leave, faces covered."""
    for name, how in (("a", ["-c:v", "libx264"]), ("b", KINDS[kind])):
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=3", *how,
                   "-preset", "ultrafast", "-g", "12", "-bf", "0", "-f", "mpegts", tmp_path / f"{name}.ts"]  # fmt: skip
        subprocess.run([c for c in command if "mpeg2video" not in how or c not in ("-preset", "ultrafast")], check=True)
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    raws = [raw[:60, :80] for name in "ab" for raw in decoded(tmp_path / f"{name}.ts")[::12]]
    port, sink = free_port(), FakeSink()
    with running(f"udp://:{port}", Output("x", sink.open), detect=lambda _: faces((0, 0, 80, 60))) as stream:
        time.sleep(0.5)
        with feed(["-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"], clip=both):
            until(lambda: sum(not w for w in sink.whole) > 110, 60)
    pictures = [p for p, whole in zip(sink.pictures, sink.whole, strict=True) if not whole]
    assert max(fine(p[:60, :80], raw) for p in pictures[::10] for raw in raws) < 0.3
    assert sink.times == sorted(set(sink.times))
    assert (kind == "another size") == (len({p.shape for p in pictures}) == 2)
    assert stream.intake.reconnects == 0


def test_a_camera_device_is_opened_by_name():
    """A real webcam, where there is one."""
    if not Path("/dev/video0").exists():
        pytest.skip("there is no /dev/video0")
    source = open_live(parse("0"))
    frame = next(iter(source))
    source.close()
    assert frame.y.flags.writeable


def test_libsrt_answers_with_the_version_the_option_numbers_are_from(srt):
    """Option numbers of libsrt are those of series 1."""
    srt.srt_getversion.restype = ctypes.c_uint32
    assert srt.srt_getversion() >> 16 == 1


def test_an_rtsp_camera_is_pulled_and_comes_back():
    """RTSP over TCP with sound; the cable is pulled for a moment, and the stream goes on."""
    sink = FakeSink()
    with RtspServer() as server, feed(["-f", "rtsp", "-rtsp_transport", "tcp", f"rtsp://127.0.0.1:{server.port}/cam"]):
        until(lambda: server.sdp)
        with running(f"rtsp://bob:passw0rd@127.0.0.1:{server.port}/cam", Output("x", sink.open)) as stream:
            until(lambda: sum(not w for w in sink.whole) > 25)
            server.cut()
            until(lambda: stream.intake.reconnects == 1)
            seen = len(sink.whole)
            until(lambda: sum(not w for w in sink.whole[seen:]) > 25, 40)
    assert sum(s.samples.shape[1] for _, s in sink.sounds) > 24_000
    assert sink.times == sorted(set(sink.times))
