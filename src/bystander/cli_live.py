"""``bystander live``: wires a live source, the stages and outputs together; prints status, reads keys.

Like ``cli`` it may print. Standard output belongs to the stream (``-``): people are told on standard error. No secret
of an address is ever printed or logged, and they are wiped from this process's arguments.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import secrets as randomness
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bystander.allocator import return_large_blocks
from bystander.errors import BystanderError, LiveError, SettingsError
from bystander.interrupts import held_back
from bystander.media.address import LOOPBACK, NETWORK, Address, first_line, masked, parse, scrub, secrets
from bystander.media.live_sinks import StreamSettings
from bystander.media.live_source import open_live
from bystander.media.live_targets import open_sink
from bystander.models import DEVICES, PRECISIONS, open_model
from bystander.run.control import Control, LiveStatus
from bystander.run.control_http import ControlServer
from bystander.run.keys import HELP, Keys
from bystander.run.live import LiveSettings, LiveStream
from bystander.run.live_meters import LiveMeters
from bystander.run.live_output import Output
from bystander.run.metrics_http import Metrics
from bystander.run.numbered import numbered
from bystander.settings import Settings, load_settings
from bystander.stages.cover import CELLS, weakness
from bystander.stages.detector import Detector, DetectorSettings
from bystander.types import LiveSource

log = logging.getLogger("bystander")
TOKEN = "BYSTANDER_TOKEN"  # noqa: S105  the variable's name
STATUS_S = 1.0


def add_live(sub: Any) -> None:
    """The subcommand's arguments."""
    p = sub.add_parser("live", help="cover the faces in a camera's picture or a stream, as it comes in")
    p.add_argument("source", metavar="IN", help="/dev/video0, 0, rtsp:, rtmp:, srt:, http(s):, udp:, - , a file with "
                   "--realtime; env:NAME takes the address from the environment, @FILE from a file")  # fmt: skip
    p.add_argument("outs", nargs="+", metavar="OUT", help="rtmp(s):, srt:, rtsp:, udp:, a folder/ (HLS), "
                   "a .mkv .mp4 .ts file, mjpeg://:PORT, vcam, - ; env:NAME, @FILE")  # fmt: skip
    p.add_argument("--realtime", action="store_true", help="play a file at its own pace")
    p.add_argument("--lookahead", type=float, default=200, metavar="MS", help="0 to 1000 (default 200): how long "
                   "a new face is covered in the past, and how late picture and sound are")  # fmt: skip
    p.add_argument("--keep", help="none (default), largest, or another rule of: bystander file")
    p.add_argument("--style", choices=("pixelate", "blur", "solid"))
    p.add_argument("--cells", type=int, metavar="N", help="cells across a cover, fewer hide more; not for solid "
                   f"(default {CELLS})")  # fmt: skip
    p.add_argument("--shape", choices=("ellipse", "box"))
    p.add_argument("--grow", type=float, help="factor on the margin around a face, 1 or more")
    p.add_argument("--model", help="shipped model (n, n-face) or path of an ONNX file")
    p.add_argument(
        "--device", metavar="|".join(DEVICES), help="where to compute (default auto: the fastest, measured once)"
    )
    p.add_argument("--precision", metavar="|".join(PRECISIONS), help="how to compute (default auto)")
    p.add_argument("--recalibrate", action="store_true", help="measure again what is fastest here")
    p.add_argument("--imgsz", type=int, help="long side of the detector's picture at best, px (default 640)")
    p.add_argument("--min-score", type=float, help="a face counts from this score on (default 0.2)")
    p.add_argument("--config", type=Path, metavar="FILE.toml", help="settings; flags win over it")
    p.add_argument("--bitrate", type=int, default=0, metavar="K", help="of the picture, kbit/s (default: by its size)")
    p.add_argument("--size", metavar="WxH", help="of the pictures that go out (default: of the first one)")
    p.add_argument("--no-sound", action="store_true", help="leave the sound out")
    p.add_argument("--overwrite", action="store_const", const=True, help="replace a recording that exists")
    p.add_argument("--wait", action="store_true", help="wait for source and outputs that are not there yet")
    p.add_argument("--deadline", type=float, default=500, metavar="MS", help="a detector that takes longer is late")
    p.add_argument(
        "--faults", type=int, default=150, metavar="N", help="frames in a row covered by faults that end the stream"
    )
    p.add_argument(
        "--control", metavar="[HOST]:PORT", help=f"control over HTTP; the token is ${TOKEN} or made up and told"
    )
    p.add_argument("--token-file", type=Path, metavar="FILE", help="its first line is the token of --control")
    p.add_argument("--metrics", metavar="[HOST]:PORT", help="Prometheus metrics over HTTP")
    p.add_argument("--json", action="store_true", help="logs and status as JSON lines on standard error")
    p.add_argument("--quiet", action="store_true", help="no status line")


@dataclass(frozen=True, slots=True)
class Wires:
    """The parts of one ``bystander live`` command."""

    stream: LiveStream
    control: Control
    tell: Callable[..., None]  # (event, text, **values)


def cmd_live(a: argparse.Namespace) -> int:
    """Run until the source ends or somebody stops it. BystanderError when it cannot go on."""
    return_large_blocks()
    source, outs = parse(a.source), [parse(o) for o in a.outs]
    hidden = frozenset().union(*(secrets(x.url) for x in (source, *outs)))
    wipe_arguments((source, *outs))
    prepare_logs(hidden, as_json=a.json)
    flags = {k: getattr(a, k, None) for k in Settings.__dataclass_fields__}
    settings = load_settings(a.config, flags)
    wires = wire(a, settings, source, outs)
    if weak := weakness(settings.filter().cover):
        wires.tell("warning", f"warning: {weak}")
    with ExitStack() as stack:
        serve(a, wires, stack)
        if in_front() and source.kind != "stdio":
            stack.enter_context(keys(wires))
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(wires, done, a), daemon=True)
        watcher.start()
        try:
            with held_back(wires.control.stop):
                wires.stream.run()
        except BystanderError as e:
            raise type(e)(scrub(str(e), hidden)) from None
        except Exception as e:  # a defect; its traceback goes the way of the logs, which hides secrets
            log.exception("unexpected fault")
            raise LiveError(f"an unexpected fault ended the stream ({type(e).__name__})") from None
        finally:
            done.set()
            watcher.join(2)
    s = wires.control.status
    wires.tell("end", f"{s.frames} frames went out, {s.drops} dropped, {sum(s.whole.values())} covered whole by faults")
    return 0


def wire(a: argparse.Namespace, settings: Settings, source: Address, outs: list[Address]) -> Wires:
    """Everything that can be wrong in the settings is told here, before anything goes on air."""
    size = size_of(a.size) if a.size else None
    live = LiveSettings(filter=settings.filter(), lookahead_s=a.lookahead / 1000, imgsz=settings.imgsz,
                        deadline_s=a.deadline / 1000, faults_in_row=a.faults, wait=a.wait,
                        slate_size=size or (1280, 720))  # fmt: skip
    if [o.kind for o in outs].count("stdio") > 1:
        raise SettingsError("-: standard output can be given once")
    encoding = StreamSettings(bitrate_k=a.bitrate, size=size, sound=not a.no_sound, overwrite=settings.overwrite)
    outputs = [output_of(o, name, encoding) for o, name in zip(outs, unlike([o.name for o in outs]), strict=True)]
    base, runtime = settings.detector(), replace(settings.runtime(), anew=a.recalibrate, prompt=True)
    model = open_model(settings.weights(), runtime)
    control = Control()

    def make_detector(px: int) -> Detector:
        return Detector(model, DetectorSettings(px, base.min_score, base.nms_iou, base.limit))

    meters = LiveMeters()

    def open_source() -> LiveSource:
        return open_live(source, realtime=a.realtime, tell=meters.told)

    stream = LiveStream(open_source, outputs, make_detector, live, control, meters)
    return Wires(stream, control, teller(as_json=a.json))


def size_of(text: str) -> tuple[int, int]:
    """``1280x720`` -> (1280, 720). SettingsError for what no encoder takes."""
    width, _, height = text.lower().partition("x")
    sides = [int(side) for side in (width, height) if side.isdecimal() and len(side) < 5]
    if len(sides) != 2 or any(side % 2 or not 64 <= side <= 8192 for side in sides):
        raise SettingsError(f"--size {text}: give even numbers of px from 64 to 8192, like 1280x720")
    return sides[0], sides[1]


def unlike(names: list[str]) -> list[str]:
    """The names, numbered where two are the same: two keys of one platform."""
    return [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def output_of(address: Address, name: str, encoding: StreamSettings) -> Output:
    once = address.kind in ("file", "stdio") and not address.url.endswith(("/", ".m3u8"))
    return Output(name, open_sink(address, encoding), once=once, preview=address.kind == "mjpeg")


def serve(a: argparse.Namespace, wires: Wires, stack: ExitStack) -> None:
    """Start the HTTP sides that were asked for."""
    if a.control:
        given = first_line(a.token_file) if a.token_file else os.environ.get(TOKEN)
        token = given or randomness.token_urlsafe(16)
        server = ControlServer(host_port("--control", a.control), token, wires.control, lambda: preview(wires.stream))
        stack.callback(server.close)
        told = "" if given else f" with token {token}"
        wires.tell("control", f"control on port {server.port}{told}", port=server.port)
    if a.metrics:
        stack.callback(Metrics(host_port("--metrics", a.metrics), wires.control).close)


def preview(stream: LiveStream) -> bytes | None:
    """The newest covered picture; None without one, when the governor saves it, and after panic until it shows."""
    shown = stream.shown
    if shown is None or not stream.control.status.preview or (stream.control.panic and not shown.whole):
        return None
    return numbered(shown, stream.faces)


def host_port(flag: str, text: str) -> tuple[str, int]:
    """``9090``, ``:9090`` or ``HOST:9090``; loopback where no host is given."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"{flag} {text}: give a port, like :9090")
    return host.strip("[]") or LOOPBACK, int(port)


def teller(*, as_json: bool) -> Callable[..., None]:
    def tell(event: str, text: str, **values: object) -> None:
        line = json.dumps({"event": event, "message": text, **values}) if as_json else f"bystander: {text}"
        print(line, file=sys.stderr, flush=True)

    return tell


def watch(wires: Wires, done: threading.Event, a: argparse.Namespace) -> None:
    """Tell once a second how the stream does."""
    started = time.monotonic()
    while not done.wait(STATUS_S):
        status = wires.control.status
        if a.json:
            total = [round(v) for v in status.latency_ms.get("total", ())]
            outputs = [[o.name, o.state, o.reconnects] for o in status.outputs]
            wires.tell("status", status.state, fps_in=status.fps_in, fps_out=status.fps_out, drops=status.drops,
                       latency_ms=total, whole=status.whole, faces=len(status.faces), slow=status.slow,
                       panic=status.panic, outputs=outputs)  # fmt: skip
        elif not a.quiet and sys.stderr.isatty():
            print(f"\r\x1b[K{line(status, time.monotonic() - started)}", end="", file=sys.stderr, flush=True)


def line(s: LiveStatus, seconds: float) -> str:
    """The status in one line."""
    minutes, rest = divmod(int(seconds), 60)
    _, p95, _ = s.latency_ms.get("total", (0.0, 0.0, 0.0))
    faces = " ".join(f"[{f.id}{' kept' if f.kept else ''}]" for f in s.faces[:8])
    parts = [f"{minutes}:{rest:02d} {'PANIC' if s.panic else s.state}", f"{s.fps_in:.0f} -> {s.fps_out:.0f} fps",
             f"{p95:.0f} ms", f"{s.drops} drops", f"{sum(s.whole.values())} covered whole"]  # fmt: skip
    parts += [f"{o.name}: {o.state}" for o in s.outputs if o.state != "connected"]
    return "  ".join(p for p in (*parts, s.slow, faces) if p)


def in_front() -> bool:
    """Whether somebody can type to this process; touching the terminal from the background would suspend it."""
    if sys.stdin is None or not sys.stdin.isatty() or not hasattr(os, "tcgetpgrp"):  # the latter: Windows
        return False
    try:
        return os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno())
    except OSError:
        return True  # a terminal without jobs


@contextmanager
def keys(wires: Wires) -> Iterator[None]:
    """Single keys from the terminal, without waiting for Enter; the terminal is put back at the end."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    done = threading.Event()

    def read() -> None:
        hand = Keys(wires.control)
        while not done.is_set():
            if select.select([sys.stdin], [], [], 0.2)[0] and in_front():
                try:
                    key = os.read(sys.stdin.fileno(), 1)
                except OSError:
                    key = b""
                if not key:
                    return  # the terminal is gone
                said = hand.press(key.decode(errors="ignore"))
                if said:
                    print(f"\r\x1b[K{said}", file=sys.stderr)

    print(HELP, file=sys.stderr)
    thread = threading.Thread(target=read, name="bystander-keys", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(1)
        if in_front():
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class Scrubbing(logging.Formatter):
    """Log lines without secrets, as text or JSON."""

    def __init__(self, hidden: frozenset[str], *, as_json: bool) -> None:
        super().__init__("bystander: %(message)s")
        self.hidden, self.as_json = hidden, as_json

    def format(self, record: logging.LogRecord) -> str:
        if not self.as_json:
            return scrub(super().format(record), self.hidden)
        values = {"event": "log", "time": round(record.created, 3), "level": record.levelname.lower(),
                  "message": record.getMessage()}  # fmt: skip
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps({k: scrub(v, self.hidden) if isinstance(v, str) else v for k, v in values.items()})


def prepare_logs(hidden: frozenset[str], *, as_json: bool) -> None:
    for h in logging.getLogger().handlers:
        h.setFormatter(Scrubbing(hidden, as_json=as_json))


def wipe_arguments(addresses: Sequence[Address]) -> None:
    """Overwrite secrets in what other users see of this process (Linux: ps, /proc/PID/cmdline)."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5), counted from the state
        known = Path("/proc/self/cmdline").read_bytes()
    except (OSError, IndexError, ValueError):
        return  # not Linux
    wiped = known
    for a in addresses:
        if a.kind in NETWORK:
            wiped = wiped.replace(os.fsencode(a.url), os.fsencode(masked(a.url)))
    if wiped != known and len(known) == end - start:
        ctypes.memmove(start, wiped, len(wiped))
