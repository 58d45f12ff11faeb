"""The attackers of ``bench/reidentify.py`` and the measurement itself, on drawn faces."""

import importlib.util
import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from bystander_lab.attacker import (
    SIDE,
    Eigenfaces,
    Restoration,
    Schedule,
    pixels,
    rank_rates,
    train_on_cover,
    train_on_faces,
)


def bench():
    spec = importlib.util.spec_from_file_location("bench_reidentify", Path(__file__).parents[2] / "bench/reidentify.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for it
    spec.loader.exec_module(module)
    return module


reidentify = bench()


def drawn_face(person, side=64):
    """(side, side, 3) uint8: a head whose colours, eyes and mouth are the person's own."""
    rng = np.random.default_rng(person)
    skin, hair, mouth = (tuple(int(v) for v in rng.integers(30, 226, 3)) for _ in range(3))
    picture = np.full((side, side, 3), hair, np.uint8)
    cv2.ellipse(picture, (side // 2, side // 2), (side * 2 // 5, side // 2), 0, 0, 360, skin, -1)
    eye, gap = int(rng.integers(3, 8)), int(rng.integers(9, 17))
    for x in (side // 2 - gap, side // 2 + gap):
        cv2.circle(picture, (x, int(rng.integers(20, 30))), eye, (20, 20, 20), -1)
    cv2.rectangle(picture, (side // 2 - gap, 42), (side // 2 + gap, 42 + eye), mouth, -1)
    return picture


def pictures_of(people):
    """(n, 3, 24, 24) float32 0-1."""
    small = [cv2.resize(drawn_face(p), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in people]
    return np.stack(small).transpose(0, 3, 1, 2).astype(np.float32) / 255


def hits(embed, query, gallery):
    everybody = np.arange(len(gallery))
    return rank_rates(embed(query), embed(gallery), everybody, everybody)[:, 0].mean()


def noisy(pictures, amount=0.1):
    return (pictures + amount * np.random.default_rng(1).standard_normal(pictures.shape)).astype(np.float32)


def test_a_query_that_shows_nothing_is_chance():
    """Equal scores share the ranks: one in ten is first, five in ten among five."""
    same = np.ones((10, 4), np.float32) / 2
    assert rank_rates(same, same, np.arange(10), np.arange(10)) == pytest.approx(np.tile([0.1, 0.5], (10, 1)))


def test_ranks_go_by_the_nearest_picture_of_a_person():
    """A person with one picture that fits is first, though another picture of theirs does not fit."""
    gallery = np.eye(3, dtype=np.float32)
    people = np.array([0, 1, 0])
    assert rank_rates(gallery[2:], gallery, people, np.array([0]))[0, 0] == 1
    assert rank_rates(gallery[2:], gallery, people, np.array([1]))[0, 0] == 0


def test_classical_attackers_know_faces_again():
    """Eigenfaces and pixels find the person of a noisy picture."""
    gallery = pictures_of(range(30))
    for embed in (Eigenfaces(pictures_of(range(100, 200))), pixels):
        assert hits(embed, noisy(gallery), gallery) > 0.9


def test_the_network_learns_to_know_faces_again():
    """A few steps make it better than it was."""
    gallery, taught = pictures_of(range(30)), pictures_of(range(100, 180))
    groups = [str(k) for k in range(80)]
    rates = [hits(train_on_faces(taught, groups, Schedule(n, batch=32)).embed, noisy(gallery, 0.3), gallery)
             for n in (0, 25)]  # fmt: skip
    assert rates[1] > rates[0]


def test_a_restoration_undoes_what_can_be_undone():
    """Faces seen through a fixed mixing of pixels are restored; where nothing is left, the mean face comes out."""
    taught, faces = pictures_of(range(100, 400)), pictures_of(range(20))
    turned = Restoration(taught[:, :, ::-1].copy(), taught)(faces[:, :, ::-1].copy())
    assert np.abs(turned - faces).mean() < 0.5 * np.abs(faces - taught.mean(0)).mean()
    grey = Restoration(np.full_like(taught, 0.5), taught)(np.full_like(faces, 0.5))
    assert np.allclose(grey, np.clip(taught.mean(0), 0, 1), atol=1e-4)


def test_a_network_learns_a_cover():
    """Trained on upside-down faces it finds them among upright ones more often than before."""
    taught, gallery = pictures_of(range(100, 180)), pictures_of(range(30))
    net = train_on_faces(taught, [str(k) for k in range(80)], Schedule(25, batch=32))
    query = train_on_cover(net, taught[:, :, ::-1].copy(), taught, Schedule(40, batch=32))
    turned, everybody = gallery[:, :, ::-1].copy(), np.arange(30)
    before, after = (
        rank_rates(n.embed(turned), net.embed(gallery), everybody, everybody)[:, 0].mean() for n in (net, query)
    )
    assert after > before


def make_photos(root, split, people):
    """A folder in the WIDER FACE layout: one drawn face a photo."""
    folder = root / "faces" / f"WIDER_{split}" / "images" / "drawn"
    folder.mkdir(parents=True)
    lines = []
    for p in people:
        photo = np.full((160, 160, 3), 90, np.uint8)
        photo[48:112, 48:112] = drawn_face(p)
        cv2.imwrite(str(folder / f"{p}.png"), photo)
        lines += [f"drawn/{p}.png", "1", "48 48 64 64 0 0 0 0 0 0"]
    truth = root / "faces" / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
    truth.parent.mkdir(exist_ok=True)
    truth.write_text("\n".join(lines))


def make_film(root):
    """Four drawn people who walk slowly for 36 frames, and their true tracks."""
    (root / "clips").mkdir()
    tracks = [{"id": k + 1, "role": "background", "boxes": {}} for k in range(4)]
    with av.open(str(root / "clips" / "drawn.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "12"})
        video.width, video.height, video.pix_fmt = 480, 128, "yuv420p"
        for i in range(36):
            scene = np.full((128, 480, 3), 90, np.uint8)
            for k, t in enumerate(tracks):
                x, y = 30 + 110 * k + i // 2, 30 + i // 6
                scene[y : y + 64, x : x + 64] = drawn_face(k)
                t["boxes"][str(i)] = [x, y, x + 64, y + 64]
            frame = av.VideoFrame.from_ndarray(scene, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    truth = {"w": 480, "h": 128, "fps": 25, "frames": 36, "tracks": tracks}
    (root / "clips" / "drawn.json").write_text(json.dumps(truth))


def test_the_whole_measurement_on_drawn_people(tmp_path, monkeypatch, capsys):
    """Open faces are all found again, a solid fill leaves no more than one lucky answer, every attack has a number."""
    make_photos(tmp_path, "train", range(100, 140))
    make_photos(tmp_path, "val", range(200, 212))
    make_film(tmp_path)
    monkeypatch.setenv("BYSTANDER_DATA", str(tmp_path))
    result = tmp_path / "result.json"
    how = ["--steps", "3", "--query-steps", "2", "--only", "open", "solid", "pixelate 4", "--json", str(result)]
    monkeypatch.setattr("sys.argv", ["reidentify.py", *how])
    reidentify.main()
    saved = json.loads(result.read_text())
    assert (saved["people"], saved["gallery"]) == (4, 16)
    assert saved["rows"]["open"]["rank1"] == 100
    assert saved["rows"]["solid"]["rank1"] <= 25
    assert set(reidentify.ATTACKS) <= set(saved["rows"]["pixelate 4"])
    assert "chance: first 6.25 %" in capsys.readouterr().out


def test_a_fixed_grid_stands_still_while_patches_move():
    """The mosaic that simple tools paint: cells belong to the frame, so a moved patch is cut at other places."""
    plane = np.arange(40, dtype=np.uint8)[None].repeat(8, 0)
    cut = []
    for left in (0, 3):
        patch = plane[:, left : left + 20].copy()
        reidentify.fixed_mosaic(patch, 0, left, 8)
        cut.append([left + int(k) + 1 for k in np.flatnonzero(np.diff(patch[0].astype(int)))])
    assert cut == [[8, 16], [8, 16]]


def test_the_interval_holds_the_mean_and_narrows_with_people():
    """Bootstrap over people."""
    few, many = (reidentify.interval(np.tile([0.0, 1.0], n)) for n in (5, 500))
    assert few[0] < many[0] < 50 < many[1] < few[1]
