import dataclasses
import json

import numpy as np
import pytest

from bystander.errors import OutputError
from bystander.run.face_filter import (
    Click,
    FaceFilter,
    FilterSettings,
    Planned,
    Zone,
    in_zones,
    reach_back,
    stored_point,
)
from bystander.run.meters import Meters
from bystander.run.preview import Preview
from bystander.run.timeline import TracksFile, fingerprint
from bystander.stages.cover import cover_whole
from bystander.stages.letterbox import letterbox
from bystander.stages.policy import PolicySettings
from bystander.types import Choices, Detections, Verdict
from fakes import faces, noise_frame

BOX = (16, 12, 40, 36)


def face_filter(detect=lambda _: faces(BOX), **settings):
    return FaceFilter(detect, FilterSettings(**settings), Meters())


def one_track():
    f = face_filter()
    frame = noise_frame()
    return f.tracker.update(faces(BOX), frame.time_s, frame.width, frame.height)[0]


def test_the_lookback_is_bounded_at_any_frame_rate():
    """However short the time between frames, no more than the stated number waits."""
    f = face_filter(lookback_frames=10)
    left = 0
    for i in range(100):
        frame = noise_frame(index=i, time_s=i / 10_000)
        left += len(f.push(frame, f.detect(frame)))
        assert len(f.held) <= 10
    assert left + len(f.flush()) == 100


def test_a_face_carried_back_grows_with_the_distance_in_time():
    """The older the frame, the larger the box, around the same centre; it holds the first box."""
    track = one_track()
    boxes = []
    for before in (0.04, 0.2, 0.36):
        (back,) = reach_back(Planned(noise_frame(time_s=1 - before), ()), [track], 1.0)
        boxes.append(back.xyxy)
        assert back.unseen_s == pytest.approx(before)
    widths = [b[2] - b[0] for b in boxes]
    assert BOX[2] - BOX[0] < widths[0] < widths[1] < widths[2]
    assert all(b[0] + b[2] == pytest.approx(BOX[0] + BOX[2], abs=0.01) for b in boxes)


def test_a_frame_covered_whole_stays_so():
    """A face found later does not turn a frame that failed into one that is covered in parts."""
    assert reach_back(Planned(noise_frame(), None), [one_track()], 0.2) is None


def test_a_kept_face_is_not_counted_as_covered():
    """The closing line counts what was painted."""
    f = face_filter()
    f.choices = Choices(keep=frozenset({1}))
    frame = noise_frame()
    f.push(frame, f.detect(frame))
    f.flush()
    assert (f.meters.counts["faces"], f.meters.counts["people"]) == (0, 1)


def test_a_click_after_the_end_is_told(caplog):
    """A point in time that the film does not reach keeps nobody, and a line says so."""
    f = face_filter(clicks=(Click(20, 20, 99),))
    f.push(noise_frame(), faces(BOX))
    f.flush()
    assert "ends before 99.00 s" in caplog.text


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_click_means_the_upright_picture(rotation):
    """A point of the upright picture falls where the detector's inverse map puts it in the stored frame."""
    frame = noise_frame(64, 48, rotation_deg=rotation)
    _, box = letterbox(frame, 64, 32)
    x, y = 10.0, 20.0
    tiny = np.array([[x, y, x, y]], np.float32) + np.array([box.pad_left, box.pad_top] * 2, np.float32)
    assert stored_point(x, y, frame) == pytest.approx(tuple(box.to_frame(tiny)[0][:2]))


def test_a_fault_is_told_once_and_counted_each_time(caplog):
    """The same kind of fault makes one line, however many frames it hits."""

    def broken(_):
        raise RuntimeError("no")

    f = face_filter(broken)
    for i in range(5):
        assert f.detect(noise_frame(index=i)) is None
    assert caplog.text.count("detector failed") == 1
    assert f.meters.whole == {"detector: RuntimeError": 5}


def test_the_tracks_file_appears_only_when_complete(tmp_path):
    """A fault inside leaves neither the file nor a partial one; without a fault the rows are there."""
    path = tmp_path / "t.json"
    covered = cover_whole(noise_frame())

    def fail():
        with TracksFile(path, {}, overwrite=False) as tracks:
            tracks.add(covered, (), frozenset())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with TracksFile(path, {}, overwrite=False) as tracks:
        tracks.add(covered, (one_track(),), frozenset({1}))
    row = json.loads(path.read_text().splitlines()[1])
    assert (row["whole"], row["tracks"][0]["kept"]) == (True, True)
    with pytest.raises(OutputError, match="--overwrite"):
        TracksFile(path, {}, overwrite=False)


def test_the_fingerprint_tells_sources_apart(tmp_path):
    """Another end, another beginning or another size is another source."""
    path, seen = tmp_path / "a", set()
    body = bytearray(3 << 20)
    for change in (None, 0, len(body) - 1):
        data = bytearray(body)
        if change is not None:
            data[change] = 1
        path.write_bytes(data)
        seen.add(fingerprint(path))
    path.write_bytes(body + b"\0")
    assert len({*seen, fingerprint(path)}) == 4


@pytest.mark.parametrize(("frames", "total"), [(20, 20), (500, 500), (500, 0), (500, 40)])
def test_previews_are_few_and_spread(frames, total):
    """At most eight pictures, whatever was estimated; with a true estimate the last comes from the last quarter."""
    preview = Preview()
    for i in range(frames):
        preview.add(cover_whole(noise_frame(index=i, time_s=i * 1.0)), total)
    assert 0 < len(preview.pictures) <= 8
    assert total != frames or max(preview.pictures) >= 0.75 * frames


def test_a_raw_frame_is_never_shown():
    """The preview refuses what is not covered."""
    with pytest.raises(TypeError, match="covered"):
        Preview().add(noise_frame(), 1)


def test_settings_of_the_filter_cannot_be_changed():
    """A run's settings stay what they were when it began."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        FilterSettings().lookback_s = 0  # type: ignore[misc]


def test_nothing_found_covers_nothing():
    """Without a face the frame leaves as it came, not covered whole."""
    f = face_filter(lambda _: Detections.none())
    frame = noise_frame()
    before = frame.y.copy()
    (covered,) = f.push(frame, f.detect(frame)) + f.flush()
    assert not covered.whole
    assert np.array_equal(covered.frame.y, before)


def play(f, count, found=lambda _: faces(BOX, evidence=0.98), picture=noise_frame):
    """Run frames through; whether the face's middle left each of them as it was."""
    out = []
    for i in range(count):
        frame = picture(index=i)
        out.append((frame, frame.y[18:30, 22:34].copy()))
        f.push(frame, found(i))
    f.flush()
    return [np.array_equal(frame.y[18:30, 22:34], before) for frame, before in out]


AUTO = {"policy": PolicySettings(keep="auto")}


def test_the_model_alone_keeps_its_subject():
    """With evidence for it the face is covered at first and then sharp to the end, without flicker."""
    shown = play(face_filter(**AUTO), 50)
    assert not any(shown[:12])
    assert all(shown[25:])


def test_a_cut_covers_everybody_until_they_are_known():
    """The first half second of another shot is covered; the shot before stays sharp to its last frame."""

    def picture(index):
        frame = noise_frame(index=index)
        if index >= 40:
            frame.y[...] = 255 - frame.y // 2
        return frame

    shown = play(face_filter(**AUTO), 80, picture=picture)
    assert all(shown[25:40])
    assert not any(shown[40:53])
    assert all(shown[66:])


def test_a_click_to_cover_holds_from_the_first_frame():
    """A person's word to cover beats the evidence, and before its time it may be anybody, so nobody is kept."""
    shown = play(face_filter(clicks=(Click(28, 24, 1.2, Verdict.COVER),), **AUTO), 60)
    assert not any(shown)


def test_a_click_to_cover_that_finds_nobody_keeps_nobody(caplog):
    """Whoever was meant may be anybody: the model keeps no one, and one line says why."""
    shown = play(face_filter(clicks=(Click(60, 4, 0.2, Verdict.COVER),), **AUTO), 50)
    assert not any(shown)
    assert caplog.text.count("no rule keeps anybody") == 1


def test_keep_and_cover_may_come_in_any_order():
    """Clicks are taken by their time, and the person's keep stands beside the cover of somebody else."""
    clicks = (Click(28, 24, 1.0), Click(55, 40, 0.2, Verdict.COVER))
    shown = play(face_filter(clicks=clicks), 50, lambda _: faces(BOX, (50, 36, 60, 46)))
    assert not any(shown[:14])  # what still waits in the look-back profits from the click, too
    assert all(shown[26:])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_zone_means_the_upright_picture(rotation):
    """Of two faces only the one whose middle lies in the zone of the upright picture is in it."""
    frame = noise_frame(64, 48, rotation_deg=rotation)
    tracks = face_filter().tracker.update(faces(BOX, (48, 30, 60, 44)), 0.0, 64, 48)
    middle = {0: (28, 24), 90: (24, 28), 180: (36, 24), 270: (24, 36)}[rotation]
    zone = Zone(middle[0] - 4, middle[1] - 4, 8, 8)
    assert in_zones(Planned(frame, tracks), (zone,)) == {tracks[0].id}
