import pytest

from bystander.errors import SettingsError
from bystander.media.address import masked, parse, scrub, secrets, shown

ADDRESSES = {
    "rtmp://live.example/app/k3y-0123": ("rtmp://live.example/app/***", {"k3y-0123"}),
    "rtmps://live.example:443/app/k3y-0123?auth=t0ken": (
        "rtmps://live.example:443/app/***?auth=***", {"k3y-0123", "t0ken"}),
    "rtsp://bob:pa%40ss@cam.example:554/h264": ("rtsp://***@cam.example:554/h264", {"pa%40ss", "pa@ss"}),
    "srt://host.example:9000?mode=listener&passphrase=long-secret&streamid=abcd": (
        "srt://host.example:9000?mode=listener&passphrase=***&streamid=***", {"long-secret", "abcd"}),
    "rtmp://live.example/app/k3y-0123/": ("rtmp://live.example/app/***", {"k3y-0123"}),
    "rtmp://live.example/app/inst/k3y-0123?x=1": ("rtmp://live.example/app/inst/***?x=***", {"k3y-0123"}),
    "rtmp://live.example/app playpath=k3y-0123": ("rtmp://live.example/app ***", {"playpath=k3y-0123"}),
    "rtmp://live.example/app/a?k3y-0123": ("rtmp://live.example/app/***?***", {"k3y-0123"}),
    "srt://:9000?streamid=%23%21%3A%3Ar=live%2Fk3y": ("srt://:9000?streamid=***", {"#!::r=live/k3y"}),
    "https://cdn.example/a/live.m3u8?token=t0ken": ("https://cdn.example/a/live.m3u8?token=***", {"t0ken"}),
    "http://[::1]:8080/x": ("http://[::1]:8080/x", set()),
    "rtmp://0.0.0.0:1935/live?listen": ("rtmp://0.0.0.0:1935/live?listen", set()),
}  # fmt: skip


@pytest.mark.parametrize("url", ADDRESSES)
def test_names_hide_every_secret(url):
    """Users, passwords, keys and query values are in no name and no repr."""
    name, hidden = ADDRESSES[url]
    address = parse(url)
    assert address.name == shown(url) == name
    assert hidden <= secrets(url)
    assert not any(s in name or s in repr(address) for s in hidden)


@pytest.mark.parametrize(
    ("url", "seen"),
    [("rtmp://h/app/k", "rtmp://h/app/*"), ("rtsp://u:pw@h:554/x", "rtsp://*:**@h:554/x"),
     ("srt://h:9?passphrase=a&mode=caller", "srt://h:9?************************"),
     ("rtmp://h/app/key?listen", "rtmp://h/app/***?listen"), ("udp://:9000", "udp://:9000"),
     ("https://[::1]:8/a.m3u8?tok", "https://[::1]:8/a.m3u8?***"), ("rtmp://h/app/kéy", "rtmp://h/app/****")],
)  # fmt: skip
def test_a_masked_address_is_as_long_and_tells_no_secret(url, seen):
    """What ps shows: host and path, not the secrets, be they ever so short."""
    assert masked(url) == seen
    assert len(seen) == len(url.encode())


def test_scrubbing_finds_secrets_in_any_text():
    """Whatever a library writes, the secret is gone from it."""
    url = "rtmp://h/app/k3y-0123?auth=t0ken-9"
    text = f"Connection refused: '{url}' (k3y-0123)"
    assert scrub(text, secrets(url)) == "Connection refused: 'rtmp://h/app/***?***' (***)"


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [("0", "device", "/dev/video0"), ("/dev/video2", "device", "/dev/video2"), ("-", "stdio", "-"),
     ("vcam", "vcam", "vcam"), ("a/b.mp4", "file", "a/b.mp4"), ("UDP://:9000", "udp", "udp://:9000")],
)  # fmt: skip
def test_kinds_are_told_apart(text, kind, name):
    """Cameras, pipes, files and addresses are known by how they are written."""
    address = parse(text)
    assert (address.kind, address.name) == (kind, name)


def test_a_listener_without_a_host_is_on_loopback():
    """udp://:9000 is open to this machine only."""
    assert parse("udp://:9000").host == "127.0.0.1"
    assert parse("udp://0.0.0.0:9000").host == "0.0.0.0"


def test_an_address_may_come_from_the_environment(monkeypatch):
    """env:NAME keeps a key out of the arguments."""
    monkeypatch.setenv("OUT", "rtmp://h/a/key-1234")
    assert parse("env:OUT").url == "rtmp://h/a/key-1234"
    with pytest.raises(SettingsError, match="no environment variable"):
        parse("env:NOT_THERE")


def test_an_address_may_come_from_a_file(tmp_path):
    """@FILE keeps a key out of arguments and environment: a container's secret. What lies after the line is no part."""
    file = tmp_path / "platform"
    file.write_text("rtmp://h/a/key-1234\nsecond line\n")
    assert parse(f"@{file}").url == "rtmp://h/a/key-1234"
    assert "key-1234" not in parse(f"@{file}").name


def test_a_file_without_an_address_is_told_without_its_content(tmp_path):
    """Missing, empty, a folder, no text: one line that names the file."""
    (tmp_path / "empty").write_text("\nrtmp://h/a/key-1234\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfekey-1234")
    for name in ("missing", "empty", "bytes", "."):
        with pytest.raises(SettingsError, match=r"cannot be read|is empty") as e:
            parse(f"@{tmp_path / name}")
        assert "key-1234" not in str(e.value)


@pytest.mark.parametrize("text", ["gopher://x/y", "rtsp://[::1", "rtmp://h:99999/a/b"])
def test_unreadable_addresses_are_refused(text):
    """A scheme that nobody knows, or a broken address, is told in one line without its tail."""
    with pytest.raises(SettingsError) as e:
        _ = parse(text).port
    assert "/a/b" not in str(e.value)


def test_a_missing_port_is_told():
    """srt and udp need a port."""
    with pytest.raises(SettingsError, match="give a port"):
        _ = parse("srt://host.example").port
