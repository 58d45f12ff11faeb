"""What Dockerfile, compose files and MediaMTX's settings promise, read as data. docker/test.sh runs the image."""

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import bystander
from bystander.cli import COMMANDS, parser
from bystander.media.address import parse, secrets

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
GPU = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())
MEDIA = yaml.safe_load((ROOT / "docker" / "mediamtx.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("web", "live")
PLAIN = re.compile(r"^[a-zA-Z0-9!$()*+.;<=>\[\]^_\-{}@#&]+$")  # of MediaMTX's passwords, internal/conf/credential.go
HASH = re.compile(r"^sha256:[a-zA-Z0-9+/=]+$")


def instructions():
    """(name, rest) of every instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def runtime():
    """The instructions of the last stage."""
    every = instructions()
    last = max(i for i, (name, _) in enumerate(every) if name == "FROM")
    return every[last:]


def values(stage, name):
    return [rest for found, rest in stage if found == name]


# --- the image ---


def test_the_runtime_stage_is_closed_and_opens_the_web_app():
    """Fixed user, health check, signal, port; nothing but the command's words comes after the entry point."""
    stage = runtime()
    assert values(stage, "USER") == ["1000:1000"]
    assert values(stage, "EXPOSE") == ["8080"]
    assert values(stage, "STOPSIGNAL") == ["SIGTERM"]
    assert values(stage, "ENTRYPOINT") == ['["bystander"]']
    assert yaml.safe_load(values(stage, "CMD")[0]) == ["web", "--host", "0.0.0.0"]
    assert "pip" not in " ".join(values(stage, "RUN"))
    names = [name for name, _ in stage]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))


def test_what_is_installed_is_pinned_and_brings_no_address():
    """Every pip call takes the constraints or an exact version; no registry, proxy or download is named."""
    text = " ; ".join(rest for _, rest in instructions())
    calls = re.findall(r"/build/bin/pip (?:--python \S+ )?(install|download) ([^&;]*)", text)
    assert len(calls) == 4
    for _, arguments in calls:
        assert "-c constraints.txt" in arguments or "==" in arguments or "${ORT}" in arguments
    assert not re.search(r"https?://|curl|wget|--index|trusted-host", text)
    assert not values(instructions(), "ADD")
    assert "--no-build-isolation" in text


def test_labels_name_licence_source_and_the_packages_version():
    """A release that forgets the label's version fails here."""
    labels = " ".join(values(runtime(), "LABEL"))
    for name in ("licenses=Apache-2.0", "source=", "version=", "revision="):
        assert f"org.opencontainers.image.{name}" in labels
    assert f"VERSION={bystander.__version__}" in values(runtime(), "ARG")


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)])
def test_the_health_check_asks_healthz_whatever_proxies_are_set(status, code):
    """The very line of the Dockerfile: 0 for 200, 1 for anything else and where nobody listens."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    check = yaml.safe_load(values(runtime(), "HEALTHCHECK")[0].partition("CMD ")[2])
    server = HTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    if status is None:
        server.server_close()
    else:
        thread.start()
    line = check[2].replace("8080", str(port)).replace("timeout=4", "timeout=60")
    proxies = {**os.environ, "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", line], env=proxies, stderr=subprocess.DEVNULL, check=False)
    if status is not None:
        server.shutdown()
        thread.join()
        server.server_close()
    assert check[:2] == ["python", "-c"]
    assert done.returncode == code
    assert asked == ([] if status is None else ["/healthz"])


def test_the_builder_sees_only_what_it_needs():
    """Everything is shut out first: no secret, film, environment or history can be copied into a layer."""
    lines = [x for x in (ROOT / ".dockerignore").read_text().splitlines() if x and not x.startswith("#")]
    assert lines[0] == "*"
    allowed = {x[1:] for x in lines if x.startswith("!")}
    assert allowed == {"LICENSE", "README.md", "constraints.txt", "pyproject.toml", "docs/model-card.md",
                       "docker/wheels", "src"}  # fmt: skip


# --- compose ---


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_closed_and_limited(name):
    """No capability, no new privileges, read-only, limits on processors, memory and processes, a pinned image."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert "docker.sock" not in str(service)
    if name in OURS:
        assert service["user"] == "1000:1000"
    else:
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_raw_pictures_have_no_way_out():
    """Only worker and media server are in the network of raw pictures; the worker has neither ports nor a way out."""
    assert COMPOSE["networks"]["raw"]["internal"] is COMPOSE["networks"]["control"]["internal"] is True
    assert {n for n, s in SERVICES.items() if "raw" in s["networks"]} == {"live", "mediamtx"}
    assert "ports" not in SERVICES["live"]
    assert all(COMPOSE["networks"][n].get("internal") for n in SERVICES["live"]["networks"])
    assert not any(str(p).rpartition(":")[2].startswith("9998") for p in SERVICES["mediamtx"]["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_files_and_in_no_argument(name):
    """What a service is given it declares; arguments and environment hold the files' names only."""
    service = SERVICES[name]
    for secret in service.get("secrets", ()):
        assert COMPOSE["secrets"][secret]["file"].startswith("${BYSTANDER_SECRETS")
    words = [*service["command"], *service.get("environment", {}).values()]
    assert not any(re.search(r"://[^/]*@|[Pp]ass|KEY|token=\w{16}", w) for w in words)
    used = {w for word in words for w in re.findall(r"/run/secrets/(\w+)", word)}
    assert used == set(service.get("secrets", ()))


@pytest.mark.parametrize("name", OURS)
def test_commands_are_ones_that_this_version_knows(name):
    """A flag that is renamed breaks here and not at the first start."""
    command = SERVICES[name]["command"]
    if command[0] not in COMMANDS:
        pytest.skip(f"bystander {command[0]} is not in this version")
    assert parser().parse_args(command).command == command[0]


def test_without_its_secrets_compose_says_what_to_do():
    """The first file that is wanted names the script; it exists."""
    first = next(iter(COMPOSE["secrets"].values()))["file"]
    assert "run this once: sh docker/secrets.sh" in first
    assert (ROOT / "docker" / "secrets.sh").exists()


def test_the_overlay_changes_services_that_exist_and_pins_what_it_brings():
    """GPU: the same two services; base and library with exact versions."""
    assert set(GPU["services"]) == set(OURS)
    for service in GPU["services"].values():
        arguments = service["build"]["args"]
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w.-]+", arguments["BASE"])
        assert re.fullmatch(r"onnxruntime-gpu==\d+\.\d+\.\d+", arguments["ORT"])
        names = {rest.partition("=")[0] for name, rest in instructions() if name == "ARG"}
        assert set(arguments) <= names
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_every_published_port_is_in_the_docs():
    """Whoever reads docs/docker.md knows what is open."""
    docs = (ROOT / "docs" / "docker.md").read_text()
    for service in SERVICES.values():
        for published in service.get("ports", ()):
            port = published.partition("/")[0].split(":")[-2]
            assert re.search(rf"\b{port}\b", docs), published


def test_the_docs_own_examples_are_commands_that_work():
    """Each compose.override.yaml in docs/docker.md: a command that parses, files that are declared or inherited."""
    blocks = re.findall(r"(?s)```yaml\n(.*?)```", (ROOT / "docs" / "docker.md").read_text())
    assert len(blocks) == 2
    for block in map(yaml.safe_load, blocks):
        for service in block["services"].values():
            parser().parse_args(service["command"])
            used = {w for word in service["command"] for w in re.findall(r"/run/secrets/(\w+)", word)}
            assert used <= {*service["secrets"], *SERVICES["live"]["secrets"]}
            assert set(service["secrets"]) <= {*block["secrets"], *COMPOSE["secrets"]}


# --- the media server ---


def may(user, action, path):
    """MediaMTX's own rule (internal/auth/manager.go): a permission fits by action and by path, exact or ``~regex``."""
    found = [u for u in MEDIA["authInternalUsers"] if u["user"] in (user, "any")]
    for permission in (p for u in found for p in u["permissions"]):
        where = permission.get("path") or ""
        fits = not where or (re.search(where[1:], path) if where.startswith("~") else where == path)
        if permission["action"] == action and fits:
            return True
    return False


@pytest.mark.parametrize(
    ("user", "action", "path", "allowed"),
    [
        ("nobody", "read", "covered/one", True),
        ("nobody", "read", "raw/one", False),
        ("nobody", "read", "raw/covered/one", False),
        ("nobody", "read", "covered/one/../../raw/one", False),
        ("nobody", "publish", "raw/one", False),
        ("nobody", "publish", "covered/one", False),
        ("nobody", "api", "", False),
        ("nobody", "playback", "covered/one", False),
        ("publisher", "publish", "raw/one", True),
        ("publisher", "read", "raw/one", False),
        ("publisher", "publish", "covered/one", False),
        ("worker", "read", "raw/one", True),
        ("worker", "publish", "covered/one", True),
        ("worker", "publish", "raw/one", False),
    ],
)
def test_who_may_read_and_publish_what(user, action, path, allowed):
    """Viewers get covered pictures only; cameras send and see nothing; the worker alone reads raw ones."""
    assert may(user, action, path) is allowed


def test_the_media_server_keeps_nothing_and_starts_only_with_keys():
    """No recording, no API, no open path; as committed, its passwords are ones that it refuses."""
    assert MEDIA["authMethod"] == "internal"
    assert MEDIA["pathDefaults"]["record"] is MEDIA["api"] is MEDIA["playback"] is MEDIA["pprof"] is False
    assert "all_others" not in MEDIA["paths"]
    for user in (u for u in MEDIA["authInternalUsers"] if u["user"] != "any"):
        assert user["pass"].startswith("sha256:")
        assert not HASH.match(user["pass"])


# --- keys ---


@pytest.fixture
def project(tmp_path):
    """A copy of what the script needs, in a folder of its own."""
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    return tmp_path


def make_secrets(project, *channels):
    return subprocess.run(["sh", "docker/secrets.sh", *channels], cwd=project, capture_output=True, text=True,
                          check=False)  # fmt: skip


def test_keys_are_made_once_and_fit_together(project):
    """Long, all different, readable by the container below a folder that is not; addresses hide the worker's key."""
    first = make_secrets(project)
    assert first.returncode == 0, first.stderr
    folder = project / "secrets"
    keys = {n: (folder / n).read_text().strip() for n in ("web_token", "control_token", "publish_key", "worker_key")}
    assert len(set(keys.values())) == 4
    assert all(len(k) == 32 and PLAIN.match(k) for k in keys.values())
    assert not any(k in first.stdout for k in keys.values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o644}
    wanted = {Path(s["file"]).name for s in COMPOSE["secrets"].values()}
    assert wanted <= {f.name for f in folder.iterdir()}
    users = {u["user"]: u["pass"] for u in yaml.safe_load((folder / "mediamtx.yml").read_text())["authInternalUsers"]}
    assert users == {"publisher": keys["publish_key"], "worker": keys["worker_key"], "any": None}
    source = parse(f"@{folder / 'one_in'}")
    assert source.name == "rtsp://***@mediamtx:8554/raw/one"
    assert keys["worker_key"] in secrets(source.url)
    assert parse(f"@{folder / 'one_out'}").name == "rtsp://***@mediamtx:8554/covered/one"
    assert (project / ".env").read_text() == "BYSTANDER_SECRETS=./secrets\n"


def test_a_second_run_adds_a_channel_and_keeps_the_keys(project):
    """Nobody who publishes already has to change a thing."""
    (project / ".env").write_text("BYSTANDER_HOST=192.0.2.7")  # no line's end, as editors may leave it
    make_secrets(project)
    before = (project / "secrets" / "publish_key").read_text()
    assert make_secrets(project, "two").returncode == 0
    assert (project / "secrets" / "publish_key").read_text() == before
    assert (project / "secrets" / "two_in").read_text().endswith("/raw/two\n")
    assert (project / ".env").read_text() == "BYSTANDER_HOST=192.0.2.7\nBYSTANDER_SECRETS=./secrets\n"


@pytest.mark.parametrize("name", ["../x", "Two", "a b"])
def test_channels_that_would_be_other_paths_are_refused(project, name):
    """Before anything is written."""
    done = make_secrets(project, name)
    assert done.returncode == 2
    assert "channel" in done.stderr
    assert not (project / "secrets").exists()


def test_keys_are_ignored_by_git():
    """Neither folder nor .env can be committed by accident."""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/.env"} <= set(lines)


def test_scripts_are_well_formed():
    """Both parse; the make target runs the test of the image."""
    for shell, script in (("sh", "secrets.sh"), ("bash", "test.sh")):
        subprocess.run([shell, "-n", ROOT / "docker" / script], check=True)
    assert "\tbash docker/test.sh\n" in (ROOT / "Makefile").read_text()
