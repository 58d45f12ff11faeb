"""One file, from its name to the finished copy: opens the edges, runs the filter, reports.

A source and settings in; a covered file and a ``Report`` out. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from bystander.run.face_filter import FaceFilter, FilterSettings
from bystander.run.meters import Meters
from bystander.run.offline import OfflineSettings, looks, run_offline
from bystander.run.plan import Look, Plan, Watch, make_plan
from bystander.run.saved import read_tracks
from bystander.run.timeline import TracksFile, fingerprint
from bystander.stages.close import look_closer
from bystander.stages.cover import CoverSettings, Style, weakness
from bystander.stages.detector import Detector, DetectorSettings
from bystander.stages.follow import Guess
from bystander.types import CoveredFrame, Frame, Model, Reader, Shape, Writer


class TargetFile(Writer, Protocol):
    """A writer that tells what it had to change."""

    notes: tuple[str, ...]


class SourceFile(Reader, Protocol):
    """A reader that tells after the last frame what was lost."""

    damage: list[str]


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with one file. ``open_writer`` is called once the reader stands."""

    source: Path
    open_reader: Callable[[Path], SourceFile]
    open_writer: Callable[[SourceFile], TargetFile]
    model: Model
    detector: DetectorSettings
    filter: FilterSettings
    tracks: Path | None = None
    overwrite: bool = False
    one_pass: bool = False  # decide as the film goes by, as a live run does


@dataclass(frozen=True, slots=True)
class Report:
    """What happened. ``damage``: one line for each kind of loss in the source; ``notes``: what changed on purpose."""

    meters: Meters
    damage: tuple[str, ...]
    notes: tuple[str, ...]


def cover_file(
    job: Job,
    on_frame: Callable[[CoveredFrame, int], None] = lambda _c, _n: None,
    on_look: Callable[[int, int], None] = lambda _i, _n: None,
) -> Report:
    """Run the job: analyse the film, then cover it, unless it is to be done in one pass.

    ``on_look`` gets each analysed frame's number and ``on_frame`` each covered frame, both with the estimated number of
    frames (0: unknown).
    """
    meters = Meters()
    with ExitStack() as stack:
        reader = job.open_reader(job.source)
        stack.callback(reader.close)
        writer = job.open_writer(reader)  # before the analysis: what cannot be written is told at once
        stack.callback(writer.abort)
        record = None
        if job.tracks:
            header = {"source": fingerprint(job.source), "model": job.model.id, "width": reader.info.width,
                      "height": reader.info.height,
                      "settings": {"detector": asdict(job.detector), **asdict(job.filter)}}  # fmt: skip
            record = stack.enter_context(TracksFile(job.tracks, header, overwrite=job.overwrite)).add
        face_filter = FaceFilter(Detector(job.model, job.detector), job.filter, meters, record)
        if not job.one_pass:
            face_filter.script = analyse(job, face_filter, on_look)
        run_offline(reader, writer, face_filter, OfflineSettings(), lambda c: on_frame(c, reader.info.frames))
        return Report(meters, tuple(reader.damage), (*reader.info.notes, *writer.notes))


@dataclass(frozen=True, slots=True)
class Repaint:
    """A file to paint again from its tracks. Settings that are None are those of the run that saved them."""

    source: Path
    tracks: Path
    open_reader: Callable[[Path], SourceFile]
    open_writer: Callable[[SourceFile], TargetFile]
    style: Style | None = None
    shape: Shape | None = None
    grow: float | None = None
    cells: int | None = None


def repaint_file(job: Repaint, on_frame: Callable[[CoveredFrame, int], None] = lambda _c, _n: None) -> Report:
    """Paint the film by what its tracks file says; nothing is detected. ``on_frame`` as in ``cover_file``."""
    meters = Meters()
    with ExitStack() as stack:
        reader = job.open_reader(job.source)
        stack.callback(reader.close)
        saved = read_tracks(job.tracks, job.source)
        policy = replace(saved.policy, shape=job.shape or saved.policy.shape, grow=job.grow or saved.policy.grow)
        painted = CoverSettings(job.style or saved.cover.style, job.cells or saved.cover.cells)
        settings = FilterSettings(policy=policy, cover=painted)
        writer = job.open_writer(reader)
        stack.callback(writer.abort)
        face_filter = FaceFilter(no_detector, settings, meters)
        face_filter.script = saved
        run_offline(reader, writer, face_filter, OfflineSettings(), lambda c: on_frame(c, reader.info.frames))
        weak = weakness(painted)
        notes = (*reader.info.notes, *writer.notes, *saved.notes, *((weak,) if weak else ()))
        return Report(meters, tuple(reader.damage), notes)


def no_detector(_frame: Frame) -> NoReturn:
    """Stands where nothing is to be detected. If it were ever asked, the frame would be covered whole."""
    raise AssertionError("a film that is painted from its tracks needs no detector")


def analyse(job: Job, face_filter: FaceFilter, on_look: Callable[[int, int], None]) -> Plan:
    """The first pass: every frame is looked at, none is kept."""
    reader = job.open_reader(job.source)
    info, watch = reader.info, Watch(job.filter.tracker)
    found: list[Look] = []
    guesses: list[Guess] = []
    closer = partial(look_closer, detect=face_filter.detector, imgsz=job.detector.imgsz)
    try:
        for frame, look in looks(reader, face_filter, closer, OfflineSettings()):
            more = face_filter.guarded("follower", "follow", partial(watch, frame, look))
            found.append(look if more is not None else replace(look, found=None))
            guesses += more or []
            on_look(frame.index, info.frames)
    finally:
        reader.close()
    with face_filter.meters.stage("plan"):
        return make_plan(found, job.filter, info.width, info.height, guesses)
