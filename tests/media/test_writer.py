"""What a covered copy keeps, what it leaves out, and how a run that fails ends."""

import errno
import json
import os
import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from bystander.errors import OutputError, SettingsError
from bystander.media.reader import open_reader
from bystander.media.writer import FileWriter, WriterSettings, check_target, verify
from bystander.types import CoveredFrame
from media.clips import RATE, make_clip, packets, times

VFR = (0, 40, 55, 130, 131, 300, 301, 340, 341, 400)
PLACES = {"location": "+47.3769+008.5417/", "title": "Market", "comment": "47.3769 N", "artist": "Ann"}


def copy(source, out, **settings):
    """Through reader and writer without painting; returns the writer."""
    reader = open_reader(source)
    writer = FileWriter(reader, out, WriterSettings(**settings))
    for frame in reader:
        writer.write(CoveredFrame(frame, (), whole=False))
    writer.finish()
    reader.close()
    return writer


def litter(folder, *expected):
    return sorted(p.name for p in folder.iterdir() if p.name not in expected)


@pytest.mark.parametrize("name", ["o.mp4", "o.mov", "o.m4v", "o.mkv", "o.webm"])
def test_every_time_is_kept(tmp_path, name):
    """Variable frame rate: each frame's time is the source's, in every container."""
    source = make_clip(tmp_path / "s.mp4", pts=VFR, tick=Fraction(1, 1000))
    copy(source, tmp_path / name)
    assert times(tmp_path / name) == [Fraction(p, 1000) for p in VFR]


@pytest.mark.parametrize("tick", [Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 600)])
def test_time_bases(tmp_path, tick):
    """Times are exact in MP4 for the usual clocks."""
    pts = tuple(i * max(1, int(Fraction(1, 30) / tick)) for i in range(12))
    source = make_clip(tmp_path / "s.mp4", pts=pts, tick=tick)
    copy(source, tmp_path / "o.mp4")
    assert times(tmp_path / "o.mp4") == times(source) == [p * tick for p in pts]


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_sound_is_bit_exact(tmp_path, name):
    """Every sound packet arrives unchanged."""
    source = make_clip(tmp_path / "s.mp4", sound=True)
    copy(source, tmp_path / name)
    assert packets(tmp_path / name, "audio") == packets(source, "audio")
    assert len(packets(source, "audio")) > 30


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_sound_before_time_zero_moves_no_picture(tmp_path, name):
    """Sound's lead-in before time 0 shifts neither picture nor sound."""
    source = make_clip(tmp_path / "s.mp4", sound=True)
    copy(source, tmp_path / name)
    assert times(tmp_path / name) == times(source)
    starts = [first_sound(p) for p in (source, tmp_path / name)]
    assert starts[0] < 0
    assert starts[1] == pytest.approx(starts[0], abs=0.001)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to trim without encoding")
@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_trimmed_source(tmp_path, name):
    """What an edit list hides stays hidden or goes; the rest keeps its times."""
    clip, source = make_clip(tmp_path / "c.mp4", sound=True, pts=tuple(range(75))), tmp_path / "s.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-ss", "0.5", "-i", clip, "-t", "1", "-c", "copy", source], check=True)
    copy(source, tmp_path / name)
    assert times(tmp_path / name) == times(source)
    assert first_sound(source) < -0.4
    assert name == "o.mp4" or first_sound(tmp_path / name) >= -0.1


def first_sound(path):
    with av.open(str(path)) as c:
        return min(float(p.pts * p.time_base) for p in c.demux(audio=0) if p.size)


def test_sound_is_interleaved(tmp_path):
    """Sound lies beside its pictures in the file, not behind all of them."""
    source = make_clip(tmp_path / "s.mp4", sound=True, pts=tuple(range(100)))
    copy(source, tmp_path / "o.mkv")
    with av.open(str(tmp_path / "o.mkv")) as c:
        kinds = "".join(p.stream.type[0] for p in c.demux() if p.size)
    assert "v" * 40 not in kinds
    assert "a" * 80 not in kinds


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to make subtitles")
def test_subtitles_are_kept(tmp_path):
    """Subtitle packets arrive unchanged, with their language."""
    (tmp_path / "s.srt").write_text(
        "1\n00:00:00,100 --> 00:00:00,400\nhello\n\n2\n00:00:00,500 --> 00:00:00,900\nyou\n"
    )
    clip, source = make_clip(tmp_path / "c.mkv"), tmp_path / "s.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-i", tmp_path / "s.srt", "-map", "0", "-map", "1", "-c",
                    "copy", "-metadata:s:s:0", "language=deu", source], check=True)  # fmt: skip
    copy(source, tmp_path / "o.mkv")
    assert packets(tmp_path / "o.mkv", "subtitle") == packets(source, "subtitle")
    with av.open(str(tmp_path / "o.mkv")) as c:
        assert c.streams.subtitles[0].language == "deu"
    with pytest.raises(OutputError, match=r"\.mp4 cannot hold \w+ subtitle; choose \.mkv"):
        copy(source, tmp_path / "o.mp4")
    assert litter(tmp_path, "s.srt", "c.mkv", "s.mkv", "o.mkv") == []


def test_unfit_sound_names_a_way_out(tmp_path):
    """Sound that the kind of file cannot hold is named, with a container that can."""
    source = make_clip(tmp_path / "s.mp4", sound=True)
    with pytest.raises(OutputError, match=r"\.webm cannot hold aac audio; choose \.mkv"):
        copy(source, tmp_path / "o.webm")
    assert litter(tmp_path, "s.mp4") == []


def test_chapters_are_kept(tmp_path):
    """Chapters keep start, end and title."""
    marks = ((0.0, 0.4, "Opening"), (0.4, 0.96, "Talk"))
    copy(make_clip(tmp_path / "s.mkv", chapters=marks), tmp_path / "o.mkv")
    with av.open(str(tmp_path / "o.mkv")) as c:
        seen = [(float(m["start"] * m["time_base"]), float(m["end"] * m["time_base"]), m["metadata"]["title"])
                for m in c.chapters()]  # fmt: skip
    assert seen == list(marks)


def test_metadata_is_dropped(tmp_path):
    """Neither the place nor any other text of the source is found in the copy, byte for byte."""
    copy(make_clip(tmp_path / "s.mp4", metadata=PLACES), tmp_path / "o.mp4")
    data = (tmp_path / "o.mp4").read_bytes()
    assert b"47.37" in (tmp_path / "s.mp4").read_bytes()
    assert not any(word in data for word in (b"47.37", b"Market", b"Ann"))


def test_keep_metadata_never_keeps_places(tmp_path):
    """Asked to keep metadata, the copy has title and artist, never the place."""
    copy(make_clip(tmp_path / "s.mp4", metadata=PLACES), tmp_path / "o.mp4", keep_metadata=True)
    with av.open(str(tmp_path / "o.mp4")) as c:
        assert (c.metadata["title"], c.metadata["artist"]) == ("Market", "Ann")
    assert b"47.37" not in (tmp_path / "o.mp4").read_bytes()


def test_cover_picture_is_dropped(tmp_path):
    """A cover picture shows faces; the copy has one video stream only."""
    source = make_clip(tmp_path / "s.mp4", cover_picture=True)
    with av.open(str(source)) as c:
        assert len(c.streams.video) == 2
    copy(source, tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as c:
        assert len(c.streams) == 1


@pytest.mark.parametrize("name", ["o.mp4", "o.mov", "o.mkv", "o.webm"])
@pytest.mark.parametrize("rotation", [(-90,), (180,), (0, True)])
def test_rotation_is_kept(tmp_path, name, rotation):
    """The display matrix is the source's, mirrors too."""
    source = make_clip(tmp_path / "s.mp4", rotation=rotation)
    copy(source, tmp_path / name)
    assert open_reader(tmp_path / name).matrix == open_reader(source).matrix != ()


TAGS = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.webm"])
def test_colour_tags_are_kept(tmp_path, name):
    """A 10-bit HDR source comes out as 8 bit with its own primaries, transfer, matrix and range."""
    copy(make_clip(tmp_path / "s.mkv", pix_fmt="yuv420p10le", tags=TAGS), tmp_path / name)
    frame = next(iter(open_reader(tmp_path / name))).native
    assert {k: int(getattr(frame, k)) for k in TAGS} == TAGS


def test_rgb_is_tagged_as_it_is_stored(tmp_path):
    """RGB becomes BT.601 limited range and says so; the colours survive."""
    copy(make_clip(tmp_path / "s.mov", codec="png", pix_fmt="rgb24"), tmp_path / "o.mkv", crf=1)
    frame = next(iter(open_reader(tmp_path / "o.mkv"))).native
    assert (frame.colorspace, frame.color_range) == (6, 1)
    with av.open(str(tmp_path / "s.mov")) as c:
        want = next(c.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - want).mean() < 12  # chroma was halved


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="the second opinion needs the ffprobe program")
def test_second_opinion(tmp_path):
    """ffprobe, another program, sees the same frame count, turn, shape of pixels and colours."""
    source = make_clip(tmp_path / "s.mp4", rotation=(-90,), tags={**TAGS, "sample_aspect_ratio": Fraction(4, 3)})
    copy(source, tmp_path / "o.mp4")
    shown = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json",
                            tmp_path / "o.mp4"], check=True, capture_output=True)  # fmt: skip
    stream = json.loads(shown.stdout)["streams"][0]
    assert stream["nb_read_frames"] == "24"
    assert stream["side_data_list"][0]["rotation"] == -90
    assert stream["sample_aspect_ratio"] == "4:3"
    assert (stream["color_primaries"], stream["color_transfer"]) == ("bt2020", "smpte2084")


def test_odd_size_is_padded(tmp_path):
    """H.264 knows only even sizes: the last column and row are repeated, and a note says so."""
    source = make_clip(tmp_path / "s.webm", codec="libvpx-vp9", width=97, height=63)
    writer = copy(source, tmp_path / "o.mp4", crf=1)
    assert writer.notes == ("H.264 knows only even sizes: 97x63 becomes 98x64, the last column or row repeated",)
    y = next(iter(open_reader(tmp_path / "o.mp4"))).y.astype(int)
    assert y.shape == (64, 98)
    assert np.abs(y[:, 97] - y[:, 96]).mean() < 4
    assert np.abs(y[63] - y[62]).mean() < 4


@pytest.mark.parametrize(("width", "height"), [(97, 63), (1, 1)])
def test_webm_keeps_odd_sizes(tmp_path, width, height):
    """VP9 stores odd sizes as they are."""
    source = make_clip(tmp_path / "s.webm", codec="libvpx-vp9", width=width, height=height)
    assert copy(source, tmp_path / "o.webm").notes == ()
    assert next(iter(open_reader(tmp_path / "o.webm"))).y.shape == (height, width)


def test_one_pixel_as_h264(tmp_path):
    """A 1x1 picture becomes 2x2."""
    source = make_clip(tmp_path / "s.webm", codec="libvpx-vp9", width=1, height=1)
    copy(source, tmp_path / "o.mp4")
    assert next(iter(open_reader(tmp_path / "o.mp4"))).y.shape == (2, 2)


def test_paint_reaches_the_file(tmp_path):
    """What is painted on one frame is in that frame of the file and in no other."""
    reader = open_reader(make_clip(tmp_path / "s.mp4"))
    writer = FileWriter(reader, tmp_path / "o.mp4", WriterSettings(crf=5))
    for frame in reader:
        if frame.index == 10:
            frame.y[...] = 16
        writer.write(CoveredFrame(frame, (), whole=False))
    writer.finish()
    means = [f.y.mean() for f in open_reader(tmp_path / "o.mp4")]
    assert means[10] < 20
    assert min(means[:10] + means[11:]) > 80


def test_raw_frames_are_refused(tmp_path):
    """The writer accepts covered frames and nothing else."""
    reader = open_reader(make_clip(tmp_path / "s.mp4"))
    writer = FileWriter(reader, tmp_path / "o.mp4", WriterSettings())
    frame = next(iter(reader))
    for raw in (frame, frame.native, frame.y):
        with pytest.raises(TypeError, match="only covered frames may be written"):
            writer.write(raw)
    writer.abort()


@pytest.mark.parametrize("frames", [0, 5])
def test_abort_leaves_no_litter(tmp_path, frames):
    """A run that is stopped leaves nothing but the source, and may be stopped twice."""
    reader = open_reader(make_clip(tmp_path / "s.mp4", sound=True))
    writer = FileWriter(reader, tmp_path / "o.mp4", WriterSettings())
    for frame, _ in zip(reader, range(frames), strict=False):
        writer.write(CoveredFrame(frame, (), whole=False))
    assert litter(tmp_path, "s.mp4") == [f".o.partial-{os.getpid()}.mp4"] or frames == 0
    writer.abort()
    writer.abort()
    assert litter(tmp_path, "s.mp4") == []


def test_abort_after_finish_keeps_the_file(tmp_path):
    """Stopping after the end changes nothing."""
    writer = copy(make_clip(tmp_path / "s.mp4"), tmp_path / "o.mp4")
    writer.abort()
    assert len(times(tmp_path / "o.mp4")) == 24


def test_no_frame_no_file(tmp_path):
    """A copy without any frame fails verification and is not left behind."""
    writer = FileWriter(open_reader(make_clip(tmp_path / "s.mp4")), tmp_path / "o.mp4", WriterSettings())
    with pytest.raises(OutputError):
        writer.finish()
    assert litter(tmp_path, "s.mp4") == []


def test_verification_finds_lost_frames(tmp_path):
    """A finished file with other packets than were written is told from a good one."""
    path = make_clip(tmp_path / "s.mp4", sound=True)
    sound, span = {1: len(packets(path, "audio"))}, [Fraction(0), Fraction(23, RATE)]
    verify(path, 24, sound, span)
    with pytest.raises(OutputError, match="24 of 25 frames"):
        verify(path, 25, sound, span)
    with pytest.raises(OutputError, match="sound or subtitles incomplete"):
        verify(path, 24, {1: sound[1] + 1}, span)
    with pytest.raises(OutputError, match="the length changed"):
        verify(path, 24, sound, [Fraction(0), Fraction(24, RATE)])


def test_full_disk(tmp_path, monkeypatch):
    """A full disk ends in one clear line and no litter."""
    reader = open_reader(make_clip(tmp_path / "s.mp4"))
    writer = FileWriter(reader, tmp_path / "o.mp4", WriterSettings())

    def full(_packets):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "_mux", full)
    covered = CoveredFrame(next(iter(reader)), (), whole=False)
    with pytest.raises(OutputError, match="the disk is full; nothing was written"):
        writer.write(covered)
    writer.abort()
    assert litter(tmp_path, "s.mp4") == []


def test_target_appears_meanwhile(tmp_path):
    """A file that came into being during the run is not replaced unasked."""
    reader = open_reader(make_clip(tmp_path / "s.mp4"))
    writer = FileWriter(reader, tmp_path / "o.mp4", WriterSettings())
    for frame in reader:
        writer.write(CoveredFrame(frame, (), whole=False))
    (tmp_path / "o.mp4").write_text("precious")
    with pytest.raises(OutputError, match="came into being meanwhile"):
        writer.finish()
    assert (tmp_path / "o.mp4").read_text() == "precious"
    assert litter(tmp_path, "s.mp4", "o.mp4") == []


def test_overwrite(tmp_path):
    """Asked to overwrite, the old file is replaced."""
    (tmp_path / "o.mp4").write_text("old")
    copy(make_clip(tmp_path / "s.mp4"), tmp_path / "o.mp4", overwrite=True)
    assert len(times(tmp_path / "o.mp4")) == 24


def folder(path):
    path.mkdir()


@pytest.mark.parametrize(("name", "make", "message"), [
    ("o.mp4", lambda p: p.write_text("x"), "exists; give --overwrite"),
    ("s.mp4", lambda _: None, "is the source itself"),
    ("link.mp4", lambda p: p.symlink_to(p.with_name("s.mp4")), "is the source itself"),
    ("none/o.mp4", lambda _: None, "no such folder; create it first"),
    ("dir.mp4", folder, "is a folder; give a file name"),
    ("o.xyz", lambda _: None, "unknown kind of video file; choose .mp4, .m4v, .mov, .mkv, .webm"),
])  # fmt: skip
def test_bad_target(tmp_path, name, make, message):
    """Each target that cannot or must not be written ends in one clear line; the source stays."""
    source = make_clip(tmp_path / "s.mp4")
    before = source.read_bytes()
    make(tmp_path / name)
    with pytest.raises(OutputError) as e:
        FileWriter(open_reader(source), tmp_path / name, WriterSettings())
    assert message in str(e.value)
    assert "\n" not in str(e.value)
    assert source.read_bytes() == before


def test_folder_not_writable(tmp_path, monkeypatch):
    """A folder that cannot be written is told before anything is read."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="the folder is not writable"):
        check_target(tmp_path / "s.mp4", tmp_path / "o.mp4", overwrite=False)


@pytest.mark.parametrize("crf", [-1, 41])
def test_crf_range(crf):
    """A quality that is out of range is refused."""
    with pytest.raises(SettingsError, match="must lie between 0 and 40"):
        WriterSettings(crf=crf)
