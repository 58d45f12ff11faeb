"""Still pictures: what is read, what is written, what is left out."""

import struct

import cv2
import numpy as np
import pytest

from bystander.errors import InputError, OutputError
from bystander.media.images import IMAGE_SUFFIXES, cover_image, read_image, write_image
from bystander.types import CoveredFrame

RED, BLUE = (40, 40, 220), (220, 40, 40)  # BGR


def save(path, width=97, height=63):
    """Left half red, right half blue."""
    picture = np.full((height, width, 3), RED, np.uint8)
    picture[:, width // 2 :] = BLUE
    cv2.imwrite(str(path), picture)
    return path


def with_exif(path, orientation):
    """Insert an EXIF block with an orientation into a JPEG."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    return path


def untouched(frame):
    return [CoveredFrame(frame, (), whole=False)]


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("size", [(97, 63), (64, 48), (1, 1)])
def test_round_trip(tmp_path, suffix, size):
    """Size and colours survive, odd sizes too."""
    source = save(tmp_path / f"i{suffix}", *size)
    cover_image(source, tmp_path / f"o{suffix}", untouched)
    got, want = (cv2.imread(str(tmp_path / f"{n}{suffix}")).astype(int) for n in "oi")
    assert got.shape == want.shape
    assert np.abs(got - want).mean() < 6
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"i{suffix}", f"o{suffix}"]


def test_orientation_is_applied(tmp_path):
    """A picture that EXIF turns comes out upright."""
    frame = read_image(with_exif(save(tmp_path / "i.jpg", 96, 64), 6))
    assert (frame.width, frame.height, frame.rotation_deg) == (64, 96, 0)
    assert frame.v[:20].mean() > frame.v[-20:].mean() + 50  # the red left half is on top now


def test_no_exif_in_the_copy(tmp_path):
    """EXIF, where places and thumbnails live, is not in the copy."""
    source = with_exif(save(tmp_path / "i.jpg"), 1)
    assert b"Exif" in source.read_bytes()
    cover_image(source, tmp_path / "o.jpg", untouched)
    assert b"Exif" not in (tmp_path / "o.jpg").read_bytes()


def test_paint_is_written(tmp_path):
    """What is painted is what the file shows."""
    frame = read_image(save(tmp_path / "i.png"))
    frame.y[...], frame.u[...], frame.v[...] = 128, 128, 128
    write_image(CoveredFrame(frame, (), whole=True), tmp_path / "o.png")
    assert len(np.unique(cv2.imread(str(tmp_path / "o.png")))) == 1


def test_raw_frame_is_refused(tmp_path):
    """Only a covered frame becomes a file."""
    with pytest.raises(TypeError, match="only covered frames may be written"):
        write_image(read_image(save(tmp_path / "i.png")), tmp_path / "o.png")
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize(("data", "message"), [
    (None, "cannot be read (No such file or directory)"),
    (b"", "is not a picture that decodes"),
    (b"words\n" * 50, "is not a picture that decodes"),
])  # fmt: skip
def test_bad_input(tmp_path, data, message):
    """A picture that does not decode ends in one clear line."""
    path = tmp_path / "i.jpg"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError) as e:
        read_image(path)
    assert message in str(e.value)


@pytest.mark.parametrize(("name", "message"), [
    ("none/o.png", "cannot be written (No such file or directory)"),
    ("o.xyz", "cannot be encoded as .xyz; choose .jpg"),
])  # fmt: skip
def test_bad_target(tmp_path, name, message):
    """A target that cannot be written ends in one clear line and leaves nothing."""
    frame = read_image(save(tmp_path / "i.png"))
    with pytest.raises(OutputError) as e:
        write_image(CoveredFrame(frame, (), whole=False), tmp_path / name)
    assert message in str(e.value)
    assert [p.name for p in tmp_path.iterdir()] == ["i.png"]
