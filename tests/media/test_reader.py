"""What every reader must hold, on clips of all kinds."""

import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from bystander.errors import InputError
from bystander.media.reader import clockwise, open_reader
from media.clips import make_clip, make_sound

VFR = (0, 40, 55, 130, 131, 300, 301, 340)

CASES = {
    "plain.mp4": {},
    "plain.mkv": {},
    "bframes.avi": {},
    "raw.h264": {},
    "odd.webm": {"codec": "libvpx-vp9", "width": 97, "height": 63},
    "tiny.webm": {"codec": "libvpx-vp9", "width": 1, "height": 1},
    "ten_bit.mkv": {"pix_fmt": "yuv420p10le"},
    "full_range.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "rgb.mov": {"codec": "png", "pix_fmt": "rgb24"},
    "vfr.mp4": {"pts": VFR, "tick": Fraction(1, 1000)},
}


@pytest.mark.parametrize("name", CASES)
def test_contract(tmp_path, name):
    """Every frame arrives once, in order, as writable planes of the stored size, from time 0."""
    case = CASES[name]
    count = len(case.get("pts", range(24)))
    reader = open_reader(make_clip(tmp_path / name, **case))
    stamps = []
    for i, frame in enumerate(reader):
        assert frame.index == i
        assert (frame.width, frame.height) == (case.get("width", 96), case.get("height", 64))
        assert frame.u.shape == frame.v.shape == (-(-frame.height // 2), -(-frame.width // 2))
        assert frame.y.flags.writeable
        assert frame.u.flags.writeable
        stamps.append(frame.time_s)
    reader.close()
    assert len(stamps) == count
    assert stamps[0] == 0
    assert all(np.diff(stamps) > 0)
    assert reader.damage == []


def test_variable_frame_rate(tmp_path):
    """Frames carry the file's own uneven times."""
    frames = list(open_reader(make_clip(tmp_path / "v.mp4", pts=VFR, tick=Fraction(1, 1000))))
    assert [f.pts * f.time_base for f in frames] == [Fraction(p, 1000) for p in VFR]


def test_raw_stream_gets_times(tmp_path):
    """Where the file stores no times, the frame rate gives them."""
    frames = list(open_reader(make_clip(tmp_path / "r.h264")))
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(24)])


def test_avi_with_b_frames_is_even(tmp_path):
    """AVI's decoding times become evenly spaced presentation times, to the last frame."""
    frames = list(open_reader(make_clip(tmp_path / "b.avi")))
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(24)])


def test_avi_without_b_frames_keeps_its_times(tmp_path):
    """Without B-frames an AVI's frame is shown when it is decoded, gaps included; the first is not moved."""
    path = make_clip(tmp_path / "n.avi", pts=(0, 2, 3, 4, 7), options={"bf": "0"})
    assert [f.pts for f in open_reader(path)] == [0, 2, 3, 4, 7]


def test_painting_does_not_reach_later_frames(tmp_path):
    """Painting each frame black leaves the others as they were decoded."""
    path = make_clip(tmp_path / "p.mp4", options={"g": "100"})
    clean = [f.y.copy() for f in open_reader(path)]
    for want, frame in zip(clean, open_reader(path), strict=True):
        assert np.array_equal(frame.y, want)
        frame.y[...] = 0
        frame.u[...] = 0


@pytest.mark.parametrize(("rotation", "degrees"), [((0,), 0), ((-90,), 90), ((180,), 180), ((90,), 270)])
def test_rotation(tmp_path, rotation, degrees):
    """The turn is clockwise and shows the picture upright."""
    assert open_reader(make_clip(tmp_path / "r.mp4", rotation=rotation)).info.rotation_deg == degrees


def test_mirror_is_no_turn(tmp_path):
    """A picture mirrored left to right still has its top on top."""
    assert open_reader(make_clip(tmp_path / "m.mp4", rotation=(0, True))).info.rotation_deg == 0


def test_no_matrix_is_upright():
    """Without a display matrix the picture is upright."""
    assert clockwise(()) == 0


def test_ten_bit_keeps_tags(tmp_path):
    """HDR becomes 8 bit, keeps its tags, and says so."""
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    reader = open_reader(make_clip(tmp_path / "h.mkv", pix_fmt="yuv420p10le", tags=tags))
    native = next(iter(reader)).native
    assert {k: int(getattr(native, k)) for k in tags} == tags
    assert native.format.name == "yuv420p"
    assert any("10-bit" in n for n in reader.info.notes)


def test_full_range_stays_full(tmp_path):
    """Full-range luma is not squeezed."""
    path = make_clip(tmp_path / "f.avi", codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as c:
        raw = next(c.decode(video=0))
        want = np.frombuffer(raw.planes[0], np.uint8).reshape(64, -1)[:, :96]
        frame = next(iter(open_reader(path)))
        assert frame.full_range
        assert np.array_equal(frame.y, want)


def test_cut_off_file(tmp_path):
    """From a file cut in the middle, what decodes arrives, and the loss is told."""
    whole = make_clip(tmp_path / "w.mkv", pts=tuple(range(75))).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    reader = open_reader(cut)
    assert 10 < len(list(reader)) < 75
    assert "cut off" in reader.damage[0]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to move the index to the front")
def test_cut_off_mp4(tmp_path):
    """An MP4 with its index in front, cut in the middle, tells how many frames are missing."""
    clip, front = make_clip(tmp_path / "w.mp4", pts=tuple(range(75))), tmp_path / "front.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-c", "copy", "-movflags", "faststart", front], check=True)
    data = front.read_bytes()
    front.write_bytes(data[: len(data) * 2 // 3])
    reader = open_reader(front)
    assert 10 < len(list(reader)) < 75
    assert "of 75 frames are missing" in " ".join(reader.damage)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to trim without encoding")
def test_trimmed_file_is_not_damaged(tmp_path):
    """A file trimmed by an edit list is whole: what the edit hides is not missing."""
    clip, trimmed = make_clip(tmp_path / "w.mp4", pts=tuple(range(75))), tmp_path / "t.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-ss", "0.5", "-i", clip, "-t", "1", "-c", "copy", trimmed], check=True)
    reader = open_reader(trimmed)
    assert len(list(reader)) in range(20, 40)
    assert reader.damage == []


def test_corrupt_packets(tmp_path):
    """Noise in the middle costs some frames, not the run, and is told."""
    path = make_clip(tmp_path / "c.mp4", pts=tuple(range(75)))
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : third + 600] = np.random.default_rng(1).integers(0, 256, 600, np.uint8).tobytes()
    path.write_bytes(data)
    reader = open_reader(path)
    assert len(list(reader)) > 20
    assert reader.damage


def test_picture_changes_size(tmp_path):
    """A stream that changes its size goes on in the first size, and says so."""
    first, second = (make_clip(tmp_path / f"{w}.h264", width=w, height=48, options={"bf": "0"}) for w in (96, 64))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    reader = open_reader(joined)
    frames = list(reader)
    assert len(frames) == 48
    assert {f.y.shape for f in frames} == {(48, 96)}
    assert "24 x picture of another size, scaled to 96x48" in reader.damage


def test_cover_picture_is_not_the_video(tmp_path):
    """An attached picture is never taken for the video, even if the file has no other."""
    path = make_clip(tmp_path / "t.mp4", cover_picture=True, width=16, height=16)
    assert open_reader(path).info.width == 16


def text(path):
    path.write_text("just words\n" * 40)


def unknown_codec(path):
    make_clip(path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))


def no_frames(path):
    make_clip(path)
    data = path.read_bytes()
    at = data.index(b"mdat") + 4
    path.write_bytes(data[:at] + bytes(data.index(b"moov") - 4 - at) + data[data.index(b"moov") - 4 :])


@pytest.mark.parametrize(("name", "make", "message"), [
    ("missing.mp4", lambda p: None, "no such file"),
    ("folder.mp4", lambda p: p.mkdir(), "is a folder, not a video"),
    ("empty.mp4", lambda p: p.touch(), "is empty (0 bytes)"),
    ("notes.mp4", text, "is not a video that FFmpeg can read"),
    ("notes.txt", text, "is not a video but text"),
    ("sound.m4a", make_sound, "has no video stream (audio only)"),
    ("strange.mp4", unknown_codec, "its video codec is unknown"),
    ("zero.mp4", no_frames, "not one video frame decodes"),
])  # fmt: skip
def test_bad_input(tmp_path, name, make, message):
    """Each kind of bad input ends in one clear line with the file's name."""
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError) as e:
        open_reader(path)
    assert message in str(e.value)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_no_permission(tmp_path, monkeypatch):
    """A file that may not be read is told as such."""
    path = make_clip(tmp_path / "p.mp4")

    def refuse(*_a, **_k):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(InputError, match="no permission to read it"):
        open_reader(path)


def test_colon_in_the_name(tmp_path):
    """A colon in the name is not taken for an address."""
    assert len(list(open_reader(make_clip(tmp_path / "a.mp4").rename(tmp_path / "12:30.mp4")))) == 24
