"""``bystander``: the command line. Wires edges and stages together.

With ``cli_live`` the only place that prints or exits.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import cv2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bystander import __version__
from bystander.cli_audit import add_audit, cmd_audit
from bystander.cli_devices import add_devices, cmd_devices, cmd_engine
from bystander.cli_live import add_live, cmd_live
from bystander.cli_web import add_web, cmd_web
from bystander.errors import BystanderError, InputError, Interrupted, OutputError, SettingsError
from bystander.interrupts import Terminated, held_back, raise_now
from bystander.media.images import IMAGE_SUFFIXES, cover_image
from bystander.media.reader import FileReader, open_reader
from bystander.media.writer import CONTAINERS, FileWriter, check_target
from bystander.models import DEVICES, PRECISIONS, open_model
from bystander.run.batch import make_folder, plan_batch, run_batch
from bystander.run.face_filter import FaceFilter
from bystander.run.job import Job, Repaint, Report, cover_file, repaint_file
from bystander.run.meters import Meters
from bystander.run.preview import Preview
from bystander.settings import Settings, load_settings
from bystander.stages.cover import CELLS, weakness
from bystander.stages.detector import INTERVIEW, Detector
from bystander.types import CoveredFrame, Model

DAMAGED = 3  # exit code: finished, but part of the source was lost
SAME_SUFFIX = frozenset((*CONTAINERS, *IMAGE_SUFFIXES))
PROGRESS_S = 1.0  # between two progress events
OnFrame = Callable[[CoveredFrame, int], None]


@dataclass(frozen=True, slots=True)
class Showing:
    """What a command that covers a film tells, and how."""

    settings: Settings
    preview: Path | None = None
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Task(Showing):
    """One ``bystander file`` command, its flags understood."""

    model: Model = field(kw_only=True)
    tracks: Path | None = field(default=None, kw_only=True)


class Parser(argparse.ArgumentParser):
    """Tells a wrong flag in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bystander: {message}; see {self.prog} --help\n")


def given_path(text: str) -> Path:
    """A path; an empty one, as an unset variable gives it, would be the folder one stands in."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="bystander", description="Covers every face but the ones you keep.")
    p.add_argument("--version", action="version", version=f"bystander {__version__}")
    sub = p.add_subparsers(dest="command", required=True)
    f = sub.add_parser("file", help="cover the faces in a video, a picture or a folder of them")
    f.add_argument("source", type=given_path, metavar="IN")
    f.add_argument("out", type=given_path, nargs="?", metavar="OUT", help="default: IN with .covered before the suffix")
    f.add_argument("--keep", action="append", help="auto (default: who the model takes for the subject), none, "
                   "largest, or X,Y@SECONDS: whoever is there then; may be given several times")  # fmt: skip
    f.add_argument("--keep-zone", action="append", metavar="X,Y,W,H", help="keep whoever is in here (px)")
    f.add_argument("--cover", action="append", metavar="X,Y@SECONDS", help="cover this person, whatever keeps them")
    f.add_argument("--max-subjects", type=int, metavar="N", help="auto keeps at most N people at a time (default 3)")
    f.add_argument("--style", choices=("pixelate", "blur", "solid"))
    f.add_argument("--cells", type=int, metavar="N", help="cells across a cover, fewer hide more; not for solid "
                   f"(default {CELLS})")  # fmt: skip
    f.add_argument("--shape", choices=("ellipse", "box"))
    f.add_argument("--grow", type=float, help="factor on the margin around a face, 1 or more")
    f.add_argument("--model", help="shipped model (n, n-face) or path of an ONNX file")
    f.add_argument(
        "--device", metavar="|".join(DEVICES), help="where to compute (default auto: the fastest, measured once)"
    )
    f.add_argument("--precision", metavar="|".join(PRECISIONS), help="how to compute (default auto)")
    f.add_argument("--recalibrate", action="store_true", help="measure again what is fastest here")
    f.add_argument("--imgsz", type=int, help="long side of the detector's picture, px (default 640)")
    f.add_argument("--min-score", type=float, help="a face counts from this score on; lower covers more (default 0.2)")
    f.add_argument("--one-pass", action="store_const", const=True, help="do not look at the whole film first")
    f.add_argument("--crf", type=int, help="quality of the picture, lower is better (default 20)")
    f.add_argument("--keep-metadata", action="store_const", const=True, help="keep title, artist, date; never places")
    f.add_argument("--overwrite", action="store_const", const=True, help="replace OUT if it exists")
    f.add_argument("--config", type=Path, metavar="FILE.toml", help="settings; flags win over it")
    f.add_argument("--tracks", type=Path, metavar="OUT.json", help="also save the tracks (docs/tracks.md)")
    f.add_argument("--preview", type=Path, metavar="DIR", help="also save some covered pictures as JPEG")
    f.add_argument("--json", action="store_true", help="events as JSON lines on stdout instead of sentences")
    f.add_argument("--quiet", action="store_true", help="no progress bar")
    add_render(sub)
    add_audit(sub)
    add_devices(sub)
    add_live(sub)
    add_web(sub)
    d = sub.add_parser("demo", help="make a clip with faces and cover it: needs no input")
    d.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results (default demo)")
    return p


def add_render(sub: Any) -> None:
    r = sub.add_parser("render", help="paint a video again from its saved tracks, without detecting (docs/tracks.md)")
    r.add_argument("source", type=given_path, metavar="IN", help="the film that the tracks were made from")
    r.add_argument(
        "tracks", type=given_path, metavar="TRACKS", help="what bystander file --tracks saved; may be edited"
    )
    r.add_argument("out", type=given_path, metavar="OUT")
    r.add_argument("--style", choices=("pixelate", "blur", "solid"), help="default: as in the tracks file")
    r.add_argument("--cells", type=int, metavar="N", help="cells across a cover, fewer hide more; not for solid "
                   "(default: as in the tracks file)")  # fmt: skip
    r.add_argument("--shape", choices=("ellipse", "box"), help="default: as in the tracks file")
    r.add_argument("--grow", type=float, help="factor on the margin, 1 or more (default: as in the tracks file)")
    r.add_argument("--crf", type=int, help="quality of the picture, lower is better (default 20)")
    r.add_argument("--keep-metadata", action="store_true", help="keep title, artist, date; never places")
    r.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    r.add_argument("--preview", type=Path, metavar="DIR", help="also save some covered pictures as JPEG")
    r.add_argument("--json", action="store_true", help="events as JSON lines on stdout instead of sentences")
    r.add_argument("--quiet", action="store_true", help="no progress bar")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    logging.basicConfig(format="bystander: %(message)s", level=logging.WARNING)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # a damaged picture is told once, by us
    a = parser().parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, raise_now)
    try:
        return run_command(a)
    except BystanderError as e:
        if a.command == "live" and a.json:  # standard output may be the stream itself
            print(json.dumps({"event": "error", "message": str(e)}), file=sys.stderr)
            return e.exit_code
        if getattr(a, "json", False):
            event("error", message=str(e))
        print(f"bystander: {e}", file=sys.stderr)
        return e.exit_code


def run_command(a: argparse.Namespace) -> int:
    """The command itself; a signal becomes ``Interrupted`` once everything was cleaned up."""
    try:
        return COMMANDS[a.command](a)
    except KeyboardInterrupt as e:
        by_system = isinstance(e, Terminated)
        left = "the outputs were closed" if a.command == "live" else "nothing unfinished was left behind"
        error = Interrupted(f"{'terminated' if by_system else 'interrupted'}; {left}")
        error.exit_code = 143 if by_system else 130
        raise error from e


def event(kind: str, **values: object) -> None:
    print(json.dumps({"event": kind, **values}), flush=True)


def warn(task: Showing, message: str, source: Path) -> None:
    """Something the user should know, on stderr or as an event."""
    if task.json:
        event("warning", source=str(source), message=message)
    else:
        print(f"bystander: {message}", file=sys.stderr)


def flags_of(a: argparse.Namespace) -> dict[str, Any]:
    """The flags that are settings; None where not given, what may be given several times in one string."""
    flags = {k: getattr(a, k) for k in Settings.__dataclass_fields__}
    return {k: " ".join(v) if isinstance(v, list) else v for k, v in flags.items()}


def cmd_file(a: argparse.Namespace) -> int:
    settings = load_settings(a.config, flags_of(a))
    settings.filter(), settings.detector(), settings.writer()  # a bad value is told before anything is opened
    if not os.path.exists(a.source):  # noqa: PTH110  Path.exists raises where a folder above may not be read
        raise InputError(f"{a.source}: no such file")
    is_folder, is_image = a.source.is_dir(), a.source.suffix.lower() in IMAGE_SUFFIXES
    if a.tracks and (is_folder or is_image):
        raise SettingsError("--tracks: works for one video, not for a folder or a picture")
    if a.preview and a.preview.exists() and not a.preview.is_dir():
        raise OutputError(f"{a.preview}: is no folder; give one for the previews")
    if is_folder:
        root = a.source.resolve()
        target = a.out or root.with_name(f"{root.name or 'root'}.covered")
        return cover_folder(warned_task(a, settings), a.source, target)
    suffix = a.source.suffix if a.source.suffix.lower() in SAME_SUFFIX else ".mkv"
    out = a.out or a.source.with_name(f"{a.source.stem}.covered{suffix}")
    check_target(a.source, out, settings.overwrite)
    if a.tracks:
        check_target(a.source, a.tracks, settings.overwrite)
        if a.tracks.resolve() == out.resolve():
            raise OutputError(f"{a.tracks}: is OUT as well; give the tracks another name")
    return 0 if cover_one(warned_task(a, settings), a.source, out) else DAMAGED


def warned_task(a: argparse.Namespace, settings: Settings) -> Task:
    """The command, understood; a cover that is too weak is told before the work begins."""
    model = open_model(settings.weights(), replace(settings.runtime(), anew=a.recalibrate))
    task = Task(settings, a.preview, a.json, a.quiet, model=model, tracks=a.tracks)
    if line := weakness(settings.filter().cover):
        warn(task, f"warning: {line}", a.source)
    return task


def role_notes(task: Task) -> tuple[str, ...]:
    """What to say where nobody can be kept as asked."""
    if task.settings.rule() != "auto" or INTERVIEW in task.model.names:
        return ()
    line = f"{task.model.id} knows faces but no roles, so everybody is covered; to keep somebody, give "
    return (line + "--keep X,Y@SECONDS, --keep-zone or --keep largest, or let --model n decide",)


def cover_one(task: Task, source: Path, out: Path, stem: str | None = None) -> bool:
    """Cover a video or a picture and say so in one line. False when part of the source was lost.

    ``stem`` names the previews of a file among several.
    """
    check_target(source, out, task.settings.overwrite)
    if task.json:
        event("start", source=str(source), out=str(out))
    preview = Preview()
    on_frame: OnFrame = preview.add if task.preview else lambda _c, _n: None
    if source.suffix.lower() in IMAGE_SUFFIXES:
        report = cover_picture(task, source, out, on_frame)
    else:
        report = cover_video(task, source, out, on_frame)
    if task.preview:
        preview.save(task.preview, stem or source.stem)
    if stem is None:
        report = replace(report, notes=(*report.notes, *role_notes(task)))
    tell(task, source, out, report)
    return not report.damage


def cover_picture(task: Task, source: Path, out: Path, on_frame: OnFrame) -> Report:
    meters = Meters()
    face_filter = FaceFilter(Detector(task.model, task.settings.detector()), task.settings.filter(still=True), meters)

    def filtered(frame: Any) -> list[CoveredFrame]:
        ready = face_filter.push(frame, face_filter.detect(frame)) + face_filter.flush()
        for covered in ready:
            on_frame(covered, 1)
        return ready

    cover_image(source, out, filtered)
    return Report(meters, (), ())


def cover_video(task: Task, source: Path, out: Path, on_frame: OnFrame) -> Report:
    def open_writer(reader: Any) -> FileWriter:
        assert isinstance(reader, FileReader)
        return FileWriter(reader, out, task.settings.writer())

    s = task.settings
    job = Job(source, open_reader, open_writer, task.model, s.detector(), s.filter(), task.tracks, s.overwrite,
              s.one_pass)  # fmt: skip
    passes = ("cover",) if s.one_pass else ("analyse", "cover")
    return with_progress(task, source, passes, on_frame, lambda each, look: cover_file(job, each, look))


def with_progress(
    task: Showing,
    source: Path,
    names: tuple[str, ...],
    on_frame: OnFrame,
    work: Callable[[OnFrame, Callable[[int, int], None]], Report],
) -> Report:
    """Do the work, showing how far it is. ``names`` of its passes; the work calls what it is given for each frame."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[fps]:.0f} fps"),
               TimeRemainingColumn())  # fmt: skip
    shown = Progress(*columns, console=Console(stderr=True), disable=task.quiet or task.json, transient=True)
    with held_back() as let_through, shown as progress:
        bar = progress.add_task(source.name, total=None, fps=0.0)
        told = time.monotonic()
        passes = dict.fromkeys(names, told)  # and when each began

        def advance(name: str, n: int, total: int) -> None:
            """``n`` frames of ``total`` are done in this pass."""
            nonlocal told
            let_through()
            now = time.monotonic()
            if n == 1:
                passes[name] = now
            fps = (n - 1) / max(now - passes[name], 1e-9)  # the first one only starts the clock
            before = total * list(passes).index(name)
            progress.update(bar, completed=before + n, total=total * len(passes) or None, fps=fps)
            if task.json and now - told >= PROGRESS_S:
                told = now
                event("progress", source=str(source), stage=name, frames=n, total=total, fps=round(fps, 2))

        def each(covered: CoveredFrame, total: int) -> None:
            advance("cover", covered.frame.index + 1, total)
            on_frame(covered, total)

        return work(each, lambda i, total: advance("analyse", i + 1, total))


def cmd_render(a: argparse.Namespace) -> int:
    check_target(a.source, a.out, a.overwrite)
    if a.out.resolve() == a.tracks.resolve():
        raise OutputError(f"{a.out}: is the tracks file; give the film another name")
    given = {k: v for k in ("style", "cells", "shape", "grow", "crf") if (v := getattr(a, k)) is not None}
    settings = Settings(**given, keep_metadata=a.keep_metadata, overwrite=a.overwrite)
    settings.filter(), settings.writer()  # a bad value is told before anything is opened
    task = Showing(settings, a.preview, a.json, a.quiet)

    def open_writer(reader: Any) -> FileWriter:
        assert isinstance(reader, FileReader)
        return FileWriter(reader, a.out, settings.writer())

    job = Repaint(a.source, a.tracks, open_reader, open_writer, a.style, a.shape, a.grow, a.cells)
    if task.json:
        event("start", source=str(a.source), out=str(a.out))
    preview = Preview()
    on_frame: OnFrame = preview.add if a.preview else lambda _c, _n: None
    report = with_progress(task, a.source, ("cover",), on_frame, lambda each, _look: repaint_file(job, each))
    if a.preview:
        preview.save(a.preview, a.source.stem)
    tell(task, a.source, a.out, report)
    return DAMAGED if report.damage else 0


def tell(task: Showing, source: Path, out: Path, report: Report) -> None:
    """The closing line, or the last event of a file."""
    if task.json:
        event("done", source=str(source), out=str(out), **report.meters.summary(), damage=report.damage,
              notes=report.notes)  # fmt: skip
        return
    for line in report.notes:
        warn(task, f"note: {line}", source)
    for line in report.damage:
        warn(task, f"warning: part of the source was lost: {line}", source)
    counts, whole = report.meters.counts, sum(report.meters.whole.values())
    fps = counts["frames"] / max(report.meters.elapsed_s, 1e-9)
    extra = f", {whole} frames covered whole" if whole else ""
    print(f"{counts['frames']} frames, {counts['faces']} faces covered, up to {counts['people']} people{extra}, "
          f"{fps:.0f} fps: {out}")  # fmt: skip


def cover_folder(task: Task, root: Path, target: Path) -> int:
    """Every video and picture below a folder, names mirrored. What exists already is skipped, so a run can go on."""
    batch = plan_batch(root, target, SAME_SUFFIX, overwrite=task.settings.overwrite)
    if not batch.todo and not batch.done:
        raise InputError(f"{root}: no video or picture in it")
    for out in batch.done:
        warn(task, f"{out}: exists, skipped", out)
    if batch.ignored:
        names = ", ".join(str(p.relative_to(root)) for p in batch.ignored[:3])
        more = ", ..." if len(batch.ignored) > 3 else ""
        warn(task, f"{len(batch.ignored)} files are neither video nor picture by name, left out: {names}{more}", root)

    def one(source: Path, out: Path) -> bool:
        # the whole name, so that the pictures of a/x.mp4 and b/x.mp4 do not replace each other
        return cover_one(task, source, out, "_".join(source.relative_to(root).parts))

    failed = run_batch(batch, one, lambda source, e: warn(task, str(e), source))
    for line in role_notes(task):  # once, not for every file
        warn(task, f"note: {line}", root)
    if task.json:
        event("end", files=len(batch.todo), skipped=len(batch.done), failed=[str(p) for p in failed], out=str(target))
    else:
        print(f"{len(batch.todo)} files, {len(batch.done)} skipped, {len(failed)} with faults: {target}")
        for source in failed:
            print(f"  with faults: {source}")
    return DAMAGED if failed else 0


def cmd_demo(a: argparse.Namespace) -> int:
    from bystander.demo import count_covered, make_demo_clip, side_by_side

    folder = a.out
    make_folder(folder)
    original, covered = folder / "original.mp4", folder / "covered.mp4"
    make_demo_clip(original)
    settings = Settings(keep="none", overwrite=True)
    task = Task(settings, model=open_model(settings.weights(), settings.runtime()))
    hits, faces = 0, 0

    def on_frame(frame: CoveredFrame, _total: int) -> None:
        nonlocal hits, faces
        found, true = count_covered(frame)
        hits, faces = hits + found, faces + true

    tell(task, original, covered, cover_video(task, original, covered, on_frame))
    side_by_side(original, covered, folder / "side_by_side.mp4", folder / "side_by_side.png")
    print(f"{hits} of {faces} true face-frames were covered; before and after: {folder / 'side_by_side.mp4'} and .png")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "file": cmd_file, "demo": cmd_demo, "devices": cmd_devices, "engine": cmd_engine,
    "live": cmd_live, "web": cmd_web, "render": cmd_render, "audit": cmd_audit,
}  # fmt: skip
