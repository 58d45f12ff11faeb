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
from bystander.media.writer import FileWriter, WriterSettings
from bystander.stages.cover import CoverSettings, cover, cover_whole
from fakes import make_clip, packets

PLACE = {"location": "+48.2082+016.3738/", "title": "A walk", "comment": "at home"}


def copy(source, out, settings=None):
    """Write every frame of ``source`` uncovered-by-nobody (no region) to ``out``."""
    reader = open_reader(source)
    writer = FileWriter(reader, out, settings or WriterSettings())
    for frame in reader:
        writer.write(cover(frame, (), CoverSettings()))
    writer.finish()
    reader.close()
    return out


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("stamps", [None, [0, 40, 200, 210, 500, 900]])
def test_every_frame_keeps_its_time(tmp_path, suffix, stamps):
    """The output has the source's frames at the source's times, variable frame rate too."""
    source = make_clip(tmp_path / f"a{suffix}", pts=stamps)
    out = copy(source, tmp_path / f"b{suffix}")
    assert [t for t, _ in packets(out, "video")] == pytest.approx([t for t, _ in packets(source, "video")], abs=1e-6)


def test_sound_is_copied_to_the_bit(tmp_path):
    """Every audio packet and its time is the source's."""
    source = make_clip(tmp_path / "a.mp4", sound=True, frames=30)
    out = copy(source, tmp_path / "b.mp4")
    assert packets(out, "audio") == packets(source, "audio")


def test_look_is_kept(tmp_path):
    """Turn and colour tags are the source's."""
    first = open_reader(copy(make_clip(tmp_path / "a.mp4", rotation=90), tmp_path / "b.mp4")).first
    assert first.rotation == 90
    assert (first.colorspace, first.color_primaries, first.color_trc) == (1, 1, 1)


def test_ffprobe_agrees(tmp_path):
    """FFmpeg's own program sees the same stream: frames, colour space and turn."""
    if shutil.which("ffprobe") is None:
        pytest.skip("the ffprobe program is not installed")
    out = copy(make_clip(tmp_path / "a.mp4", rotation=90, sound=True), tmp_path / "b.mp4")
    text = subprocess.check_output(["ffprobe", "-v", "error", "-show_streams", "-count_frames", "-of", "json", out])
    video, sound = json.loads(text)["streams"]
    assert (video["nb_read_frames"], video["color_space"]) == ("12", "bt709")
    assert video["side_data_list"][0]["rotation"] == 90
    assert sound["codec_name"] == "aac"


def test_places_are_dropped_and_titles_on_request(tmp_path):
    """Location tags never survive; a title does with keep_metadata, nothing does without."""
    source = make_clip(tmp_path / "a.mp4", metadata=PLACE)
    for keep in (False, True):
        with av.open(str(copy(source, tmp_path / f"b{keep}.mp4", WriterSettings(keep_metadata=keep)))) as c:
            assert ("title" in c.metadata) is keep
            assert not {"location", "comment"} & set(c.metadata)


def test_chapters_are_kept(tmp_path):
    """Chapters keep their times and titles."""
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    out = copy(make_clip(tmp_path / "a.mkv", chapters=[chapter]), tmp_path / "b.mkv")
    with av.open(str(out)) as c:
        (found,) = c.chapters()
    assert found["metadata"]["title"] == "One"
    assert float(found["end"] * found["time_base"]) == pytest.approx(0.2)


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (641, 359)])
def test_odd_sizes_are_padded_by_one(tmp_path, size):
    """A picture of odd size comes out whole, its last column and row repeated."""
    w, h = size
    source = make_clip(tmp_path / "a.mkv", codec="ffv1", width=w, height=h, frames=2)
    first = open_reader(copy(source, tmp_path / "b.mkv")).first
    assert (first.width, first.height) == (w + w % 2, h + h % 2)


def test_only_covered_frames_may_be_written(tmp_path):
    """A raw frame is a TypeError, and nothing is left behind."""
    reader = open_reader(make_clip(tmp_path / "a.mp4"))
    writer = FileWriter(reader, tmp_path / "b.mp4", WriterSettings())
    with pytest.raises(TypeError, match="covered"):
        writer.write(reader.first)
    writer.abort()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_what_is_painted_is_what_is_written(tmp_path):
    """A covered frame is grey in the file, its uncovered neighbour is not."""
    reader = open_reader(make_clip(tmp_path / "a.mp4"))
    writer = FileWriter(reader, tmp_path / "b.mp4", WriterSettings())
    for frame in reader:
        writer.write(cover_whole(frame) if frame.index % 2 else cover(frame, (), CoverSettings()))
    writer.finish()
    spread = [float(np.std(f.y)) for f in open_reader(tmp_path / "b.mp4")]
    assert max(spread[1::2]) < 3
    assert min(spread[::2]) > 20


def test_abort_leaves_nothing(tmp_path):
    """After an abort in mid-file there is neither output nor litter; a second abort does no harm."""
    reader = open_reader(make_clip(tmp_path / "a.mp4"))
    writer = FileWriter(reader, tmp_path / "b.mp4", WriterSettings())
    writer.write(cover_whole(next(iter(reader))))
    writer.abort()
    writer.abort()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def bad_targets(tmp_path):
    (tmp_path / "exists.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    says = {"exists.mp4": "--overwrite", "link.mp4": "source itself"}
    return says | {"none/b.mp4": "no such folder", "b.xyz": "unknown kind"}


def test_bad_targets_are_clear_and_lose_nothing(tmp_path):
    """Each bad target raises OutputError with the way out, and leaves the folder as it was."""
    source = make_clip(tmp_path / "a.mp4")
    targets = bad_targets(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    for name, says in targets.items():
        with pytest.raises(OutputError, match=says):
            FileWriter(open_reader(source), tmp_path / name, WriterSettings())
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "exists.mp4").read_bytes() == b"x"


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    """Running out of space ends with a clear error and no litter."""
    reader = open_reader(make_clip(tmp_path / "a.mp4"))
    writer = FileWriter(reader, tmp_path / "b.mp4", WriterSettings())
    monkeypatch.setattr(writer, "_mux", lambda _: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
    with pytest.raises(OutputError, match="disk is full"):
        writer.finish()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_quality_out_of_range_is_refused():
    """A quality that the encoder does not know is a settings error."""
    with pytest.raises(SettingsError):
        WriterSettings(crf=99)
