"""The other side of live outputs: what a viewer would see."""

import http.client
import socket
import sys
import threading
import time
import types
from contextlib import contextmanager

import av
import cv2
import numpy as np


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def decoded(path, **how):
    """Luma of every picture that decodes."""
    pictures = []
    try:
        with av.open(str(path), **how) as c:
            for f in c.decode(video=0):
                pictures.append(f.reformat(format="gray").to_ndarray())  # noqa: PERF401  what came before a fault counts
    except (av.FFmpegError, OSError):
        pass
    return pictures


class FakeCamera:
    """pyvirtualcam's camera; keeps what is sent."""

    def __init__(self, sent, width, height, _fps, **_how):
        self.sent, self.width, self.height = sent, width, height

    def send(self, planes):
        assert planes.shape == (self.height * 3 // 2, self.width)
        self.sent.append(planes[: self.height].copy())

    def close(self):
        pass


def look(port, pictures, done):
    """A browser at the MJPEG output."""
    while not done.is_set():
        try:
            page = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            page.request("GET", "/")
            answer = page.getresponse()
            while not done.is_set():
                line = answer.readline()
                if line.lower().startswith(b"content-length"):
                    answer.readline()
                    data = answer.read(int(line.split(b":")[1]))
                    pictures.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
        except OSError:
            time.sleep(0.05)


def listen(port, pictures):
    """A player of a transport stream over UDP."""
    options = {"localaddr": "127.0.0.1", "timeout": "3000000"}
    pictures += decoded(f"udp://127.0.0.1:{port}", format="mpegts", container_options=options, timeout=(5, 2))


@contextmanager
def receiver(kind, tmp_path, monkeypatch):
    """(OUT as typed, list of luma pictures that is full once the context has ended)."""
    pictures, done, port = [], threading.Event(), free_port()
    if kind == "vcam":
        camera = lambda *a, **k: FakeCamera(pictures, *a, **k)  # noqa: E731
        library = types.SimpleNamespace(Camera=camera, PixelFormat=types.SimpleNamespace(I420=1))
        monkeypatch.setitem(sys.modules, "pyvirtualcam", library)
        yield "vcam", pictures
    elif kind in ("mjpeg", "udp"):
        work, args = (look, (port, pictures, done)) if kind == "mjpeg" else (listen, (port, pictures))
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        yield f"mjpeg://:{port}" if kind == "mjpeg" else f"udp://127.0.0.1:{port}", pictures
        done.set()
        thread.join(10)
    elif kind == "hls":
        yield f"{tmp_path}/hls/", pictures
        pictures += decoded(tmp_path / "hls/live.m3u8")
    else:
        path = tmp_path / f"a.{kind}"
        yield str(path), pictures
        pictures += decoded(path)
