"""From an output's address to the muxer that FFmpeg opens for it. What cannot be is told before anything goes on air.

An ``Address`` comes in, a function that opens one connection, each time anew, goes out. Nothing is encoded here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from bystander.errors import OutputError, SettingsError
from bystander.media.address import Address, in_folder
from bystander.media.live_sinks import EncodedSink, StreamSettings, Target
from bystander.media.patience import DEFAULT_PORTS, answers
from bystander.media.rtmp import WRITE, RtmpStream, library
from bystander.media.srt import SrtStream
from bystander.types import Sink

FLV = {"flvflags": "no_duration_filesize"}  # nobody can go back and write them
# one packet is sent as soon as it is there; the muxer's own wait for the other stream would add delay
PROMPT = {"max_interleave_delta": "1", "flush_packets": "1"}
# with its length a player need not wait for the next picture to know where this one ends
LENGTHS = {"omit_video_pes_length": "0"}
# PyAV opens it under Python's lock: without the limit (µs) a server that never answers would stop everything for ever
RTSP = {"rtsp_transport": "tcp", "timeout": "5000000"}
RECORDINGS = {".mkv": "matroska", ".mp4": "mp4", ".ts": "mpegts"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}  # readable even when it was cut off
HLS = {"hls_time": "2", "hls_list_size": "6",
       "hls_flags": "delete_segments+append_list+independent_segments+temp_file"}  # fmt: skip


def open_sink(address: Address, settings: StreamSettings) -> Callable[[], Sink]:
    """A function that opens a connection to this address, each time anew. SettingsError for what is no output."""
    if address.kind == "mjpeg":
        from bystander.media.mjpeg import MjpegServer

        return MjpegServer(address).sink
    if address.kind == "vcam":
        from bystander.media.vcam import VirtualCamera, load

        load()
        return lambda: VirtualCamera(address, settings.size)
    if address.kind == "device":
        raise SettingsError(f"{address.name}: is a camera to read from; for a virtual camera give vcam")
    usual = DEFAULT_PORTS.get(address.kind)
    host = (address.host, address.parts.port or usual) if usual else None
    target = Target(address.name, opener(address, settings), host)
    return lambda: EncodedSink(target, settings)


def opener(a: Address, settings: StreamSettings) -> Callable[[], tuple[Any, Any]]:
    """A function that opens FFmpeg's muxer for this address."""
    if a.kind == "srt":

        def srt() -> tuple[Any, Any]:
            pipe = SrtStream(a, OutputError)
            return av.open(pipe, "w", format="mpegts", container_options=PROMPT | LENGTHS), pipe

        return srt  # fmt: skip
    if a.kind in ("rtmp", "rtmps"):

        def rtmp() -> tuple[Any, Any]:
            pipe = RtmpStream(a.url) if library() else None
            return av.open(pipe or a.url, "w", format="flv", container_options=PROMPT | FLV), pipe

        return rtmp
    if a.kind in ("rtsp", "rtsps"):
        opened = list[bool]()

        def rtsp() -> tuple[Any, Any]:
            if opened:  # not the first time: simple receivers take one connection only
                answers(a.host, a.parts.port or DEFAULT_PORTS[a.kind], encrypted=a.kind == "rtsps")
            opened.append(True)
            return av.open(a.url, "w", format="rtsp", container_options=PROMPT | RTSP), None

        return rtsp
    if a.kind == "file":
        return recording(a, settings)
    url, how, options = {
        "udp": (a.url.partition("?")[0] + "?pkt_size=1316", "mpegts", LENGTHS),
        "stdio": ("pipe:1", "mpegts", LENGTHS),
    }.get(a.kind, ("", "", {}))
    if not url:
        raise SettingsError(
            f"{a.name}: cannot be sent to; choose rtmp, rtsp, srt, udp, mjpeg, vcam, -, a file or a folder/"
        )
    return lambda: (av.open(url, "w", format=how, container_options={**PROMPT, **options}), None)


def recording(a: Address, settings: StreamSettings) -> Callable[[], tuple[Any, Any]]:
    """A file beside the stream, or a folder of HLS. OutputError when it cannot be there; checked at once."""
    path = Path(a.url)
    hls = a.url.endswith("/") or path.is_dir() or path.suffix == ".m3u8"
    if hls:
        playlist = path if path.suffix == ".m3u8" else path / "live.m3u8"
        in_folder(playlist.parent if path.suffix != ".m3u8" else playlist, OutputError)
        playlist.parent.mkdir(exist_ok=True)
        segments = {"hls_segment_filename": str(playlist.with_name(f"{playlist.stem}-%05d.ts"))}
        pieces = {**PROMPT, **HLS, **segments}
        return lambda: (av.open(f"file:{playlist}", "w", format="hls", container_options=pieces, io_open=piece), None)
    how = RECORDINGS.get(path.suffix.lower())
    if how is None:
        raise SettingsError(f"{a.name}: unknown kind of output; choose {', '.join(RECORDINGS)}, .m3u8 or a folder/")
    in_folder(path, OutputError)
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a plain file; a pipe or another program is written to by way of -")
    if path.exists() and not settings.overwrite:
        raise OutputError(f"{path}: exists; give --overwrite to replace it")
    options = PROMPT | (FRAGMENTS if how == "mp4" else {})
    return lambda: (av.open(f"file:{path}", "w", format=how, container_options=options), None)


class Piece:
    """A file of HLS, because FFmpeg says nothing of a full disk: its fault comes out of the next ``mux``.

    It is raised once, PyAV keeps no second one; the half piece is emptied, so that there is room for the playlist.
    """

    def __init__(self, url: str) -> None:
        self.file = Path(url.removeprefix("file:")).open("wb", buffering=0)  # noqa: SIM115  FFmpeg closes it
        self.full = False

    def write(self, data: bytes) -> int:
        if not self.full:
            try:
                rest = memoryview(data)
                while rest:  # the last bytes that fit are no fault yet
                    rest = rest[self.file.write(rest) :]
            except OSError:
                self.full = True
                self.file.truncate(0)
                raise
        return len(data)

    def close(self) -> None:
        self.file.close()


def piece(url: str, flags: int, _options: Any) -> Any:
    """What FFmpeg writes of HLS, or reads: the playlist of the connection before."""
    if flags & WRITE:
        return Piece(url)
    path = Path(url.removeprefix("file:"))
    return io.BytesIO(path.read_bytes() if path.exists() else b"")
