"""``bystander web``: what it prints, how it ends, HTTPS, and what it refuses."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from argparse import Namespace
from contextlib import contextmanager

import pytest

from bystander.cli import main
from bystander.cli_web import token_of
from bystander.errors import SettingsError
from bystander.web import tls
from bystander.web.certificate import own_certificate
from bystander.web.live import server
from bystander.web.serve import Server
from bystander.web.settings import WebSettings
from web_site import SLOW_S, wait


@contextmanager
def running(*args, lines=1):
    """The command as a process; yields it and what it printed at first."""
    command = [sys.executable, "-m", "bystander", "web", "--port", "0", *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        watchdog = threading.Timer(SLOW_S, process.kill)
        watchdog.start()
        try:
            yield process, "".join(process.stdout.readline() for _ in range(lines))
        finally:
            watchdog.cancel()
            process.kill()


def fetch(url, context=None, **headers):
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def test_it_serves_on_loopback_and_ends_on_a_signal(tmp_path):
    """The address is printed; no token is needed; SIGTERM ends it with 0 and nothing more is printed."""
    with running("--data", tmp_path / "data") as (process, told):
        url = re.search(r"http://127\.0\.0\.1:\d+", told)[0]
        status, body = fetch(f"{url}/healthz")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert b"bystander_web_films" in fetch(f"{url}/metrics")[1]
        assert fetch(f"{url}/")[0] == 200
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert (process.wait(SLOW_S), rest) == (0, "")


@pytest.mark.parametrize(("device", "says"), [("abacus", "this machine has cpu fp32"), ("coreml", "it has cpu fp32")])
def test_a_device_that_is_not_there_is_told_before_serving(device, says, tmp_path, capsys):
    """One line with what there is, and exit code 2, instead of a fault in the first film."""
    assert main(["web", "--port", "0", "--data", str(tmp_path), "--device", device]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_live_sessions_compute_where_it_was_asked_for(tmp_path, monkeypatch):
    """``--device`` holds for going live, not for films alone."""
    asked = []
    monkeypatch.setattr(server, "open_model", lambda name, runtime: asked.append((name, runtime.device)) or object())
    live = server.Live(WebSettings(data=tmp_path, model="n-face", device="cpu"))
    live.detectors(640)
    assert asked == [("n-face", "cpu")]


def test_bound_elsewhere_it_makes_a_token_and_serves_https(tmp_path):
    """The token is printed once and needed; the certificate is its own; plain requests get no page."""
    with running("--host", "0.0.0.0", "--https", "--data", tmp_path / "data", lines=2) as (_, told):
        url = re.search(r"https://127\.0\.0\.1:\d+", told)[0]
        token = re.search(r"token (\S+),", told)[1]
        context = ssl.create_default_context(cafile=str(tmp_path / "data" / "certificate.pem"))
        assert fetch(f"{url}/api/films", context)[0] == 401
        assert fetch(f"{url}/api/films", context, Authorization=f"Bearer {token}") == (200, b'{"films":[]}\n')
        with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
            fetch(url.replace("https", "http"))
        assert (tmp_path / "data" / "certificate.key").stat().st_mode & 0o077 == 0


def test_one_server_for_one_data_folder(tmp_path, capsys):
    """A second one says so and ends with 2."""
    with running("--data", tmp_path / "data"):
        assert main(["web", "--port", "0", "--data", str(tmp_path / "data")]) == 2
    assert "another bystander web" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--port", "99999"], "port"),
        (["--keep-hours", "0"], "keep-hours"),
        (["--keep-hours", "nan"], "keep-hours"),
        (["--max-gb", "-1"], "max-gb"),
        (["--max-gb", "nan"], "max-gb"),
        (["--max-minutes", "nan"], "limits"),
        (["--token", "short"], "token"),
        (["--token-file", "/nothing/here"], "cannot be read"),
        (["--cert", "a.pem"], "--key"),
        (["--cert", "/nothing/a.pem", "--key", "/nothing/b.pem"], "certificate"),
        (["--model", "unknown-model"], "model"),
        (["--max-minutes", "inf"], "limits"),
        (["--watch", "http://10.0.0.1:8771"], "control address"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, capsys, monkeypatch, args, word):
    """Each is told in one line before anything is served."""
    monkeypatch.delenv("BYSTANDER_TOKEN", raising=False)
    monkeypatch.delenv("BYSTANDER_TOKEN_FILE", raising=False)
    assert main(["web", "--port", "0", "--data", str(tmp_path / "data"), *args]) == 2
    told = capsys.readouterr().err
    assert word in told
    assert told.count("\n") == 1


def test_where_the_token_comes_from(tmp_path, monkeypatch):
    """Flag, file, environment, a file that the environment names; made up only where others can reach the server."""
    monkeypatch.delenv("BYSTANDER_TOKEN", raising=False)
    monkeypatch.delenv("BYSTANDER_TOKEN_FILE", raising=False)
    file = tmp_path / "token"
    file.write_text("from-the-file\nmore\n")
    none = {"token": None, "token_file": None}
    assert token_of(Namespace(**none), exposed=False) == ("", False)
    made, was_made = token_of(Namespace(**none), exposed=True)
    assert (was_made, len(made) >= 32) == (True, True)
    assert token_of(Namespace(token=None, token_file=file), exposed=True) == ("from-the-file", False)
    with pytest.raises(SettingsError):
        token_of(Namespace(token="a-token-here", token_file=file), exposed=True)
    monkeypatch.setenv("BYSTANDER_TOKEN", "from-the-environment")
    assert token_of(Namespace(**none), exposed=True) == ("from-the-environment", False)
    monkeypatch.setenv("BYSTANDER_TOKEN_FILE", str(file))
    with pytest.raises(SettingsError):
        token_of(Namespace(**none), exposed=True)
    monkeypatch.delenv("BYSTANDER_TOKEN")
    assert token_of(Namespace(**none), exposed=True) == ("from-the-file", False)


def test_the_certificate_is_kept_and_made_anew_for_another_name(tmp_path):
    """Browsers that accepted it are not asked again at each start."""
    first = own_certificate(tmp_path, "films.example")[0].read_bytes()
    assert own_certificate(tmp_path, "films.example")[0].read_bytes() == first
    assert own_certificate(tmp_path, "other.example")[0].read_bytes() != first


def test_one_address_cannot_take_all_connections(tmp_path, monkeypatch):
    """Connections that say nothing are limited for each address; the front goes on with the others."""
    monkeypatch.setattr(tls, "EACH", 3)
    server = Server(WebSettings(port=0, data=tmp_path, https=True, device="cpu"))
    thread = threading.Thread(target=server.http.run, daemon=True)
    thread.start()
    context = ssl._create_unverified_context()  # the certificate is not what is looked at here
    silent = []
    try:
        for _ in range(5):
            raw = socket.create_connection(("127.0.0.1", server.front.port), timeout=30)
            silent.append(context.wrap_socket(raw))
        assert [s.recv(1) for s in silent[3:]] == [b"", b""]
        for s in silent[:1]:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert s.recv(12) == b"HTTP/1.1 200"
        for s in silent:
            s.close()
        wait(lambda: not server.front.clients, 12)  # not held for as long as a handshake may take
        assert fetch(f"{server.url}/healthz", context)[0] == 200
    finally:
        server.http.close()
        thread.join(30)
        server.close()
