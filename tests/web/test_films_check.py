"""What counts as a film: told by decoding, in a process that cannot be led to other files."""

import json

import av
import numpy as np
import pytest

from bystander.web.films import proxy
from bystander.web.films.film import new_film
from bystander.web.films.probe import NoFilm, main, probe
from bystander.web.films.steps import sentence
from bystander.web.films.store import FilmStore
from bystander.web.films.views_media import shown_name
from fakes import make_clip
from web_site import settings

MIN = 60.0


def refused(path, max_seconds=MIN):
    with pytest.raises(NoFilm) as e:
        probe(path, max_seconds)
    assert str(e.value).endswith(".")
    assert "/" not in str(e.value).replace("MP4, MOV", "")
    return e.value.code


def sound_only(path):
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        tone.sample_rate = 48_000
        out.mux(stream.encode(tone))
        out.mux(stream.encode(None))
    return path


def test_a_film_is_described_as_it_is_shown(tmp_path):
    """Size upright, length and frames as counted, sound, and what the browser can play."""
    path = make_clip(tmp_path / "a.mp4", frames=25, sound=True, rotation=-90).rename(tmp_path / "source.bin")
    found = probe(path, MIN)
    info = found["info"]
    assert (info["width"], info["height"], info["frames"], info["audio"]) == (48, 64, 25, True)
    assert info["duration_s"] == pytest.approx(1.0, abs=0.05)
    assert found["inner"] == {
        "rotation": 90,
        "suffix": ".mp4",
        "sound": ["aac"],
        "source_plays": True,
        "covered_plays": True,
    }


@pytest.mark.parametrize(("name", "codec", "plays"), [("a.mkv", "libx264", False), ("a.webm", "libvpx-vp9", False)])
def test_other_formats_need_a_copy_for_the_player(tmp_path, name, codec, plays):
    """Only an MP4 with H.264 is given to the browser as it is."""
    assert probe(make_clip(tmp_path / name, codec=codec), MIN)["inner"]["source_plays"] is plays


def test_names_say_nothing(tmp_path):
    """A text file called .mp4 is none, a film called .txt is one."""
    text = tmp_path / "film.mp4"
    text.write_text("not a film\n" * 1000)
    assert refused(text) == "not_a_film"
    assert probe(make_clip(tmp_path / "a.mp4").rename(tmp_path / "a.txt"), MIN)["info"]["frames"] == 12


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 10_000, b"<html></html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, bytes(range(256)) * 40]
)
def test_nonsense_is_no_film(tmp_path, data):
    """Empty, zeros, a page, a broken picture, noise."""
    path = tmp_path / "source.bin"
    path.write_bytes(data)
    assert refused(path) in {"not_a_film", "still_picture"}


def test_sound_and_pictures_are_no_films(tmp_path):
    """Each is told as what it is."""
    import cv2

    assert refused(sound_only(tmp_path / "a.m4a")) == "audio_only"
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((40, 40, 3), np.uint8))
    assert refused(picture) == "still_picture"


@pytest.mark.parametrize("kind", ["hls", "concat", "dash"])
def test_lists_of_other_files_are_not_followed(tmp_path, kind):
    """A playlist that names a film, or an address, opens nothing."""
    film = make_clip(tmp_path / "secret.mp4")
    path = tmp_path / "source.bin"
    path.write_text({
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{film}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{film}'\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
    }[kind])  # fmt: skip
    assert refused(path) == "not_a_film"


def test_a_film_that_is_too_long(tmp_path):
    """Measured by its pictures' times, not by what its header states."""
    path = make_clip(tmp_path / "a.mp4", frames=3, pts=[0, 30_000, 61_000])
    assert refused(path) == "too_long"
    assert probe(path, 100)["info"]["duration_s"] > 60


def test_a_cut_off_film_is_still_one(tmp_path):
    """What can be decoded is worked on."""
    whole = make_clip(tmp_path / "a.mkv", frames=60, width=320, height=240).read_bytes()
    path = tmp_path / "source.bin"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert 0 < probe(path, MIN)["info"]["frames"] < 60


def test_the_answer_is_one_line(tmp_path, capsys):
    """What the server reads: one JSON object, also for a refusal."""
    assert main([str(make_clip(tmp_path / "a.mp4")), "60"]) == 0
    assert json.loads(capsys.readouterr().out)["event"] == "info"
    (tmp_path / "b").write_text("x")
    assert main([str(tmp_path / "b"), "60"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "not_a_film"


def test_the_players_copy(tmp_path):
    """H.264 in an MP4, at most 1280 px, AAC sound, the same turn, times and number of frames."""
    source = make_clip(tmp_path / "a.mov", codec="mpeg4", width=1600, height=900, frames=10, sound=True, rotation=-90,
                       pts=[0, 40, 80, 200, 240, 280, 320, 360, 400, 440])  # fmt: skip
    out = tmp_path / "out.mp4"
    assert proxy.main([str(source), str(out)]) == 0
    with av.open(str(out)) as film:
        video = film.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 1280, 720)
        assert film.streams.audio[0].codec_context.name == "aac"
        times = [round(float(f.time), 2) for f in film.decode(video)]
    assert np.diff(times).round(2).tolist() == [0.04, 0.04, 0.12, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04]
    assert probe(out, MIN)["inner"]["rotation"] == 90
    assert probe(out, MIN)["inner"]["source_plays"]


def test_messages_name_no_paths(tmp_path):
    """A command's sentence reaches the user without where the film lies."""
    store = FilmStore(settings(tmp_path))
    film = store.create("me", "a.mp4", 3, {})
    files = store.files(film)
    shown = sentence(f"{files.source}: has no video stream; see {files.tracks}", files)
    assert shown.startswith("Has no video stream")
    assert str(tmp_path) not in shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("My film.MOV", "My film.covered.mp4"),
        ("../../etc/passwd", "passwd.covered.mp4"),
        ("C:\\a\\b.mp4", "b.covered.mp4"),
        ('a"; filename="evil.exe', "a_ filename_evil.covered.mp4"),
        (".hidden", "hidden.covered.mp4"),
        ("..", "film.covered.mp4"),
        ("x" * 500 + ".mp4", "x" * 100 + ".covered.mp4"),
        ("Grüße 😀.mp4", "Grüße.covered.mp4"),
    ],
)
def test_downloads_have_safe_names(tmp_path, name, shown):
    """The film's name without anything that could be a path, a hidden file or another header."""
    got = shown_name(new_film("me", name, 1, {}), "film", tmp_path / "covered.mp4")
    assert got == shown if len(name) < 200 else got.startswith("x" * 100)
