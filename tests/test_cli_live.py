"""``bystander live`` as a person uses it."""

import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from subprocess import PIPE

import av
import pytest

from bystander.cli import main
from bystander.cli_live import Scrubbing, host_port, line
from bystander.errors import SettingsError
from bystander.run.control import FaceStatus, LiveStatus, OutputStatus
from bystander.stages.cover import SAFE_CELLS
from fakes import make_clip

COMMAND = [sys.executable, "-m", "bystander", "live"]


def pictures(path):
    with av.open(str(path)) as c:
        return sum(1 for _ in c.decode(video=0))


def test_a_file_is_recorded_live(tmp_path, capsys):
    """One command plays a file in real time and records the covered stream with sound."""
    clip = make_clip(tmp_path / "a.mp4", frames=50, sound=True)
    assert main(["live", str(clip), str(tmp_path / "b.mkv"), "--realtime", "--lookahead", "40"]) == 0
    assert pictures(tmp_path / "b.mkv") > 5
    with av.open(str(tmp_path / "b.mkv")) as c:
        assert [s.type for s in c.streams] == ["video", "audio"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "frames went out" in err


def test_a_cover_that_is_too_weak_is_told_before_going_on_air(tmp_path, capsys):
    """One warning on standard error, and the stream runs."""
    clip = make_clip(tmp_path / "a.mp4", frames=25)
    how = ["--realtime", "--style", "blur", "--cells", str(SAFE_CELLS + 1), "--quiet"]
    assert main(["live", str(clip), str(tmp_path / "b.mkv"), *how]) == 0
    told = [text for text in capsys.readouterr().err.splitlines() if "--cells" in text]
    assert len(told) == 1
    assert "warning: blur with" in told[0]


def test_standard_input_to_standard_output(tmp_path):
    """A pipe in, a transport stream out, with nothing else on standard output, JSON on standard error."""
    clip = make_clip(tmp_path / "a.ts", frames=100)
    with clip.open("rb") as source, (tmp_path / "b.ts").open("wb") as out:
        done = subprocess.run(
            [*COMMAND, "-", "-", "--json", "--realtime"], stdin=source, stdout=out, stderr=PIPE, check=True
        )
    assert pictures(tmp_path / "b.ts") > 0
    events = [json.loads(text) for text in done.stderr.decode().splitlines()]
    assert events[-1]["event"] == "end"


@pytest.mark.parametrize(
    ("args", "says"),
    [(["a.mp4", "b.mkv"], "--realtime"), (["none.mp4", "b.mkv", "--realtime"], "no such file"),
     (["a.mp4", "b.xyz", "--realtime"], "unknown kind of output"), (["a.mp4", "-", "-", "--realtime"], "given once"),
     (["a.mp4", "b.mkv", "--realtime", "--lookahead", "2000"], "between 0 and 1000"),
     (["a.mp4", "b.mkv", "--realtime", "--metrics", "x"], "give a port"),
     (["a.mp4", "@none", "--realtime"], "none: cannot be read"),
     (["a.mp4", "b.mkv", "--realtime", "--control", "0", "--token-file", "none"], "none: cannot be read"),
     (["gopher://x", "b.mkv"], "unknown kind of address"), (["env:NOT_THERE", "b.mkv"], "environment"),
     (["a.mp4", "rtmp://127.0.0.1:1/live/s3cret-key", "--realtime"], "cannot be opened"),
     (["a.mp4", "b.mkv", "--realtime", "--keep", "somebody"], "somebody")],
)  # fmt: skip
def test_mistakes_are_one_line_without_secrets(tmp_path, monkeypatch, capsys, args, says):
    """Exit code 2, what was wrong, nothing on standard output."""
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", frames=100)
    assert main(["live", *args, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "s3cret" not in err


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="/proc is Linux's")
def test_secrets_are_wiped_from_the_process_title_and_absent_from_all_output(tmp_path):
    """ps shows stars where the key was; neither output nor log has it, though the platform cannot be reached."""
    clip = make_clip(tmp_path / "a.mp4", frames=2000)
    url = "rtmp://bob:passw0rd@127.0.0.1:1/live/s3cret-key"
    command = [*COMMAND, str(clip), url, "--realtime", "--wait", "--json"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as child:
        title, end = b"", time.monotonic() + 30
        while b"/live/**********" not in title and time.monotonic() < end:
            title = Path(f"/proc/{child.pid}/cmdline").read_bytes()
            time.sleep(0.05)
        assert b"/live/**********" in title
        assert b"passw0rd" not in title
        patience = threading.Timer(60, child.kill)
        patience.start()
        err = b""
        while b"next try" not in err and (line := child.stderr.readline()):
            err += line
        child.send_signal(signal.SIGTERM)
        out, rest = child.communicate(timeout=30)
        patience.cancel()
        err += rest
    assert child.returncode == 143
    assert b"next try" in err
    for secret in (b"s3cret", b"passw0rd"):
        assert secret not in out + err


def test_addresses_and_token_from_files_are_in_no_argument_and_no_output(tmp_path):
    """As in a container: /proc/PID/cmdline shows the files' names from the start; the control takes their token."""
    clip = make_clip(tmp_path / "a.mp4", frames=1000)
    (tmp_path / "out").write_text("rtmp://127.0.0.1:1/live/s3cret-key\n")
    (tmp_path / "token").write_text("s3cret-token\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*COMMAND, str(clip), f"@{tmp_path / 'out'}", "--realtime", "--wait", "--json", "--control", str(port),
               "--token-file", str(tmp_path / "token"), "--faults", "100000", "--device", "cpu"]  # fmt: skip
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/status", headers={"Authorization": "Bearer s3cret-token"})
    with subprocess.Popen(command, stderr=PIPE) as child:
        status, end = None, time.monotonic() + 60
        while status is None and child.poll() is None and time.monotonic() < end:
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    status = json.load(answer)
            except OSError:
                time.sleep(0.1)
        title = Path(f"/proc/{child.pid}/cmdline").read_bytes() if Path("/proc/self").exists() else b""
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=30)
    assert status is not None
    for secret in (b"s3cret-key", b"s3cret-token"):
        assert secret not in title + err + json.dumps(status).encode()


def test_ctrl_c_closes_the_recording(tmp_path):
    """An interrupted stream leaves a recording that plays, and exit code 130."""
    clip, out = make_clip(tmp_path / "a.mp4", frames=1000), tmp_path / "b.mkv"
    with subprocess.Popen([*COMMAND, str(clip), str(out), "--realtime"], stderr=PIPE) as child:
        end = time.monotonic() + 30
        while not (out.exists() and out.stat().st_size > 2000) and time.monotonic() < end:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert b"the outputs were closed" in err
    assert pictures(out) > 0


def test_keys_work_in_a_terminal(tmp_path):
    """p and q typed into the terminal: panic is shown, then the stream ends in order."""
    clip = make_clip(tmp_path / "a.mp4", frames=1000)
    mine, theirs = pty.openpty()
    command = [*COMMAND, str(clip), str(tmp_path / "b.mkv"), "--realtime"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        text = b""
        for key, sign in ((b"p", b"keys:"), (b"q", b"PANIC"), (b"", b"frames went out")):
            while sign not in text:
                text += os.read(mine, 4096)
            os.write(mine, key)
        assert child.wait(30) == 0
    os.close(mine)
    os.close(theirs)


def test_the_status_line_says_what_matters():
    """Rates, delay, drops, whole covers, an output that is away, what was lowered, the faces' numbers."""
    status = LiveStatus(
        state="live", fps_in=30.0, fps_out=24.6, drops=3, whole={"detector: late": 2}, slow="detector at 320 px",
        latency_ms={"total": (10.0, 70.4, 90.0)}, faces=(FaceStatus(4, (0, 0, 1, 1), kept=True),),
        outputs=(OutputStatus("rtmp://h/a/***", "waiting"),),
    )  # fmt: skip
    assert line(status, 65) == ("1:05 live  30 -> 25 fps  70 ms  3 drops  2 covered whole  rtmp://h/a/***: waiting  "
                                "detector at 320 px  [4 kept]")  # fmt: skip


def test_listeners_are_on_loopback_unless_told_otherwise():
    """:9090 is this machine only; a host opens it."""
    assert host_port("--metrics", ":9090") == host_port("--metrics", "9090") == ("127.0.0.1", 9090)
    assert host_port("--metrics", "0.0.0.0:9090") == ("0.0.0.0", 9090)
    with pytest.raises(SettingsError):
        host_port("--metrics", ":99999")


@pytest.mark.parametrize("as_json", [False, True])
def test_logs_are_scrubbed_even_in_tracebacks(as_json):
    """A library's message with the key in it leaves without it."""
    try:
        raise OSError("rtmp://h/a/s3cret-key refused")
    except OSError:
        record = logging.LogRecord("x", 40, "f", 1, "lost s3cret-key", (), sys.exc_info())
    text = Scrubbing(frozenset({"s3cret-key"}), as_json=as_json).format(record)
    assert "s3cret-key" not in text
    assert "***" in text
