import numpy as np
import pytest

from bystander.errors import InputError
from bystander.media.reader import open_reader
from fakes import make_clip


def read(path):
    """Times in s, sizes and the reader, after reading it whole."""
    reader = open_reader(path)
    frames = [(round(f.time_s, 3), f.y.shape, f.u.shape) for f in reader]
    reader.close()
    return frames, reader


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("plain.mp4", {}),
        ("odd.mkv", {"codec": "ffv1", "width": 63, "height": 47}),
        ("tenbit.mkv", {"codec": "ffv1", "pix_fmt": "yuv420p10le"}),
        ("rgb.mkv", {"codec": "ffv1", "pix_fmt": "bgr0"}),
        ("full.mp4", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("vfr.mp4", {"pts": [0, 40, 200, 210, 500, 900]}),
        ("sound.mp4", {"sound": True}),
        ("webm.webm", {"codec": "libvpx", "width": 64, "height": 48}),
    ],
)
def test_every_kind_of_file_gives_all_frames_as_planes(tmp_path, name, how):
    """Frame count, times and plane shapes are the file's, whatever the codec, depth or frame rate."""
    frames, reader = read(make_clip(tmp_path / name, **how))
    stamps = how.get("pts") or [i * 40 for i in range(12)]
    w, h = how.get("width", 64), how.get("height", 48)
    assert [t for t, _, _ in frames] == pytest.approx([s / 1000 for s in stamps], abs=0.002)
    assert {(y, u) for _, y, u in frames} == {((h, w), (-(-h // 2), -(-w // 2)))}
    assert reader.damage == []


def test_painting_a_frame_does_not_damage_later_ones(tmp_path):
    """Frames are the reader's own: blackening each leaves the next as decoded."""
    path = make_clip(tmp_path / "a.mp4", frames=20)
    clean = [f.y.copy() for f in open_reader(path)]
    for f, expected in zip(open_reader(path), clean, strict=True):
        assert np.array_equal(f.y, expected)
        f.y[...] = 0


def test_rotation_is_told_clockwise(tmp_path):
    """A display matrix of 90 degrees counter-clockwise has to be read as 270 clockwise."""
    assert open_reader(make_clip(tmp_path / "r.mp4", rotation=90)).info.rotation_deg == 270


def test_ten_bit_is_told(tmp_path):
    """The loss of depth is in the notes."""
    info = open_reader(make_clip(tmp_path / "t.mkv", codec="ffv1", pix_fmt="yuv420p10le")).info
    assert "8-bit" in info.notes[0]


def test_a_cut_off_file_gives_what_decodes_and_says_so(tmp_path):
    """Of a file cut in the middle the readable frames come, and the loss is told."""
    path = make_clip(tmp_path / "a.mp4", frames=200, width=320, height=240)
    data = path.read_bytes()
    moov_first = tmp_path / "b.mkv"
    make_clip(moov_first, frames=200, width=320, height=240)
    moov_first.write_bytes(moov_first.read_bytes()[: len(data) // 2])
    frames, _ = read(moov_first)
    assert 0 < len(frames) < 200


def test_damaged_packets_are_counted(tmp_path):
    """Zeroed bytes in the middle cost some frames or are reported, never an exception."""
    path = make_clip(tmp_path / "a.mp4", frames=60, width=160, height=120)
    data = bytearray(path.read_bytes())
    start, size = data.index(b"mdat"), int.from_bytes(data[data.index(b"mdat") - 4 : data.index(b"mdat")], "big")
    middle = start + size // 2
    data[middle : middle + size // 8] = bytes(size // 8)
    path.write_bytes(data)
    frames, reader = read(path)
    assert frames
    assert reader.damage or len(frames) == 60


def audio_only(path):
    import av

    with av.open(str(path), "w") as out:
        s = out.add_stream("aac", rate=48_000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        tone.sample_rate = 48_000
        out.mux(s.encode(tone))
        out.mux(s.encode(None))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_text("not a film at all\n" * 50), "not a video"),
        (audio_only, "audio only"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, make, says):
    """Each kind of bad input raises InputError that names the file and the reason."""
    path = tmp_path / "x.mp4"
    make(path)
    with pytest.raises(InputError, match=says) as e:
        open_reader(path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
