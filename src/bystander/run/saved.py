"""A tracks file -> the script of a film that is painted again. Nothing is detected. Format: docs/tracks.md.

The file may have been edited by hand, so every value is checked: a line that cannot be true ends the run before
anything is painted. A frame without a line, or that is not the one the line was made for, is covered whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bystander.errors import InputError, SettingsError
from bystander.run.plan import pack, unpack
from bystander.run.timeline import FORMAT, VERSION, fingerprint
from bystander.stages.cover import CoverSettings
from bystander.stages.policy import MAX_SPEED_MARGIN, REACTION_S, PolicySettings
from bystander.types import F32, Frame, Track

UNKNOWN_SPEED = MAX_SPEED_MARGIN / REACTION_S  # face heights a second: a track without one gets the widest margin
MAX_ID = 1 << 24  # packed as float32


@dataclass(frozen=True, slots=True)
class SavedFrame:
    pts: int
    packed: F32 | None  # None: cover it whole
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class SavedTracks:
    """What the file says, by frame index, and how its run covered."""

    frames: dict[int, SavedFrame]
    policy: PolicySettings
    cover: CoverSettings

    def at(self, frame: Frame) -> tuple[tuple[Track, ...], frozenset[int]] | None:
        """Tracks and ids kept, None where the frame is to be covered whole. ValueError where nothing is known of it."""
        saved = self.frames.get(frame.index)
        if saved is None:
            raise ValueError(f"the tracks file has no line for frame {frame.index}")
        if saved.pts != frame.pts:
            raise ValueError(f"frame {frame.index} is not the one that was analysed")
        return None if saved.packed is None else (unpack(saved.packed), saved.kept)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file asks for that a viewer may wonder about, one line each."""
        whole = sum(f.packed is None for f in self.frames.values())
        return (f"{whole} frames are covered whole, as the tracks file says",) if whole else ()


def read_tracks(path: Path, source: Path) -> SavedTracks:
    """The tracks of ``source``. InputError for another source, another kind of file, or a line that makes no sense."""
    lines = lines_of(path)
    header: Any = next(lines, (0, {}))[1]
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path}: is no tracks file; bystander file --tracks makes one")
    if not isinstance(version := header.get("version"), int) or version < 1:
        raise InputError(f"{path}: states no version; take the first line from the file as it was saved")
    if version > VERSION:
        raise InputError(f"{path}: version {version} is newer than this bystander knows ({VERSION}); update bystander")
    if header.get("source") != fingerprint(source):
        raise InputError(f"{path}: was made from another file than {source}; give the one it was made from")
    policy, cover = settings_of(header, path)
    frames: dict[int, SavedFrame] = {}
    for number, row in lines:
        try:
            index, saved = frame_of(row)
            if index in frames:
                raise ValueError(f"frame {index} has a line already")
        except (KeyError, TypeError, ValueError) as e:
            what = f"{e} is missing" if isinstance(e, KeyError) else str(e)
            raise InputError(f"{path}: line {number}: {what} (docs/tracks.md has the format)") from e
        frames[index] = saved
    return SavedTracks(frames, policy, cover)


def lines_of(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of a file of JSON lines; empty lines are skipped."""
    number = 1
    try:
        with path.open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield number, json.loads(line)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from e
    except (ValueError, RecursionError) as e:
        kind = "is no tracks file" if number == 1 else f"line {number} is no JSON; it may be cut off"
        raise InputError(f"{path}: {kind}") from e


def settings_of(header: dict[str, Any], path: Path) -> tuple[PolicySettings, CoverSettings]:
    """How the run covered. Who is kept stands in the lines, so that no rule has a say."""
    try:
        policy, cover = header["settings"]["policy"], header["settings"]["cover"]
        return PolicySettings("auto", policy["grow"], policy["shape"]), CoverSettings(**cover)
    except (KeyError, TypeError, SettingsError) as e:
        raise InputError(f"{path}: line 1: the settings of policy and cover make no sense ({e})") from e


def frame_of(row: Any) -> tuple[int, SavedFrame]:
    """A line -> the frame's index and what is known of it. KeyError, TypeError or ValueError for nonsense."""
    index, pts, whole, tracks = (row[k] for k in ("frame", "pts", "whole", "tracks"))
    if not is_whole_number(index) or index < 0 or not is_whole_number(pts):
        raise ValueError("frame and pts must be whole numbers")
    if not isinstance(whole, bool) or not isinstance(tracks, list):
        raise TypeError("whole must be true or false, and tracks a list")
    found = [track_of(t) for t in tracks]
    kept = frozenset(t["id"] for t in tracks if t.get("kept", False))
    covered = {t["id"] for t in tracks if not t.get("kept", False)}  # one id may have two boxes; a doubt covers
    return index, SavedFrame(pts, None if whole else pack(found), kept - covered)


def track_of(row: Any) -> Track:
    """One track of a line. What a person who adds one may leave out gets the value that covers most."""
    name, xyxy, kept = row["id"], row["xyxy"], row.get("kept", False)
    if not is_whole_number(name) or not -MAX_ID < name < MAX_ID:
        raise ValueError(f"id {name!r}: must be a whole number between {-MAX_ID} and {MAX_ID}")
    if not isinstance(kept, bool):
        raise TypeError(f"kept {kept!r}: must be true or false")
    if not isinstance(xyxy, list) or len(xyxy) != 4:
        raise ValueError("xyxy must be four numbers")
    x1, y1, x2, y2 = (number(v, "xyxy") for v in xyxy)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"xyxy {xyxy}: a box without area")
    score, unseen_s, speed = (
        number(row.get(k, v), k) for k, v in (("score", 1.0), ("unseen_s", 0.0), ("speed", UNKNOWN_SPEED))
    )
    if unseen_s < 0 or speed < 0:
        raise ValueError("unseen_s and speed must not be negative")
    return Track(name, (x1, y1, x2, y2), score, 0.0, 0.0, unseen_s, speed, steady=False)


def number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e7:
        raise ValueError(f"{name}: {value!r} is no number that can be true")
    return float(value)


def is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
