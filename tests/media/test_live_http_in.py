"""Inputs over HTTP, from servers of the test's own: HLS, a transport stream, MJPEG; cut off and come back."""

import http.server
import subprocess
import sys
import threading
import time
from functools import partial

import cv2
import pytest

from bystander.errors import InputError
from bystander.media.address import parse
from bystander.media.live_source import open_live
from bystander.run.live_output import Output
from bystander.types import Frame
from fakes import FakeSink, faces, make_clip, noise_frame
from live_parts import feed, needs_ffmpeg, running, until
from receivers import decoded


class Served(http.server.ThreadingHTTPServer):
    """A handler's class on a free port of loopback."""

    daemon_threads = True

    def __init__(self, handler, port=0):
        super().__init__(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *fault):
        self.shutdown()
        super().__exit__(*fault)

    def handle_error(self, *_a):
        """A viewer that left is no news."""


class Folder(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_a):
        pass


def sender(pieces):
    """A handler that answers every request with what ``pieces(request number)`` yields, as fast as it comes."""
    asked = []

    class Sender(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            kind, parts = pieces(len(asked))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part)

        def log_message(self, *_a):
            pass

    return Sender


def sharp(sink):
    return sum(not w for w in sink.whole)


@needs_ffmpeg
def test_hls_is_played_from_a_server(tmp_path):
    """A live playlist that grows: pictures at their own pace, with sound, covered."""
    sink = FakeSink()
    out = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments", tmp_path / "a.m3u8"]
    with feed(out, size="160x120"), Served(partial(Folder, directory=tmp_path)) as server:
        until((tmp_path / "a.m3u8").exists, 40)
        with running(f"{server.url}/a.m3u8", Output("x", sink.open), realtime=False) as stream:
            until(lambda: sharp(sink) > 60, 60)
    assert stream.intake.reconnects == 0
    assert sum(s.samples.shape[1] for _, s in sink.sounds) > 48_000
    assert sink.times == sorted(set(sink.times))


@needs_ffmpeg
def test_hls_whose_server_goes_away_comes_back(tmp_path):
    """The server is gone for some seconds: a slate, then the picture again."""
    sink = FakeSink()
    out = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments", tmp_path / "a.m3u8"]
    with feed(out, size="160x120"):
        until((tmp_path / "a.m3u8").exists, 40)
        with Served(partial(Folder, directory=tmp_path)) as server:
            port = server.server_address[1]
            stack = running(f"{server.url}/a.m3u8", Output("x", sink.open), realtime=False)
            stream = stack.__enter__()
            until(lambda: sharp(sink) > 10, 60)
        until(lambda: stream.status().state == "slate", 60)
        with Served(partial(Folder, directory=tmp_path), port):
            until(lambda: stream.status().state == "live", 60)
            stack.__exit__(None, None, None)
    assert sink.times == sorted(set(sink.times))


def paced(data, seconds, size=1316):
    """The bytes in pieces, over so many seconds."""
    for i in range(0, len(data), size):
        yield data[i : i + size]
        time.sleep(seconds * size / len(data))


@pytest.mark.parametrize("end", ["closed", "silent"])
def test_a_transport_stream_over_http_that_stops_comes_back(tmp_path, end):
    """Cut off in mid-stream, or silent with the connection open: a slate, another request, the picture again."""
    data, sink = make_clip(tmp_path / "a.ts", frames=150, sound=True).read_bytes(), FakeSink()

    def pieces(_n):
        yield from paced(data, 6)
        time.sleep(0 if end == "closed" else 12)

    server = Served(sender(lambda n: ("video/mp2t", pieces(n))))
    with (
        server,
        running(
            f"{server.url}/cam?token=s3cret",
            Output("x", sink.open),
            realtime=False,
            detect=lambda _: faces((16, 12, 40, 36)),
        ) as stream,
    ):
        until(lambda: sharp(sink) > 20, 60)
        until(lambda: stream.intake.reconnects == 1, 60)
        before = sharp(sink)
        until(lambda: sharp(sink) > before + 20, 60)
    assert sink.times == sorted(set(sink.times))
    assert sum(s.samples.shape[1] for _, s in sink.sounds) > 48_000


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_a_film_on_a_plain_server_is_played_once_at_its_own_pace(tmp_path, name):
    """Also by a server that hands out no parts, and a format that tells no length."""
    make_clip(tmp_path / name, frames=50)
    with Served(partial(Folder, directory=tmp_path)) as server:
        source, begin = open_live(parse(f"{server.url}/{name}")), time.monotonic()
        assert sum(isinstance(item, Frame) for item in source) == 50
    assert time.monotonic() - begin > 1.5
    assert not source.endless


def test_mjpeg_has_the_times_of_its_arrival():
    """A camera with ten pictures a second is not taken for one with twenty-five."""
    jpegs = [cv2.imencode(".jpg", noise_frame(index=i).y)[1].tobytes() for i in range(30)]

    def pieces(_n):
        for data in jpegs:
            yield b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
            time.sleep(0.1)

    times = []
    with Served(sender(lambda n: ("multipart/x-mixed-replace; boundary=x", pieces(n)))) as server:
        source = open_live(parse(f"{server.url}/video.mjpg"))
        with pytest.raises(InputError, match="connection is lost"):
            times.extend(item.time_s for item in source)
    assert len(times) == 30
    assert times[-1] - times[5] > 2.0
    assert source.endless


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["mpegts", "mjpeg"])
def test_standard_input_is_fed_by_a_program(tmp_path, kind):
    """ffmpeg ... | bystander live - OUT: what comes in plays as it comes, and its end is the stream's."""
    encoder = "mjpeg" if kind == "mjpeg" else "mpeg4"
    command = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-t", "12",
               "-c:v", encoder, "-f", kind, "-"]  # fmt: skip
    record = tmp_path / "a.mkv"
    bystander = [sys.executable, "-m", "bystander", "live", "-", str(record), "--device", "cpu", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as camera:
        done = subprocess.run(bystander, stdin=camera.stdout, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(decoded(record)) > 10
