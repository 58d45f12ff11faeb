"""``bystander``: the command line. Wires edges and stages together; the only place that prints or exits."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bystander import __version__
from bystander.errors import BystanderError, InputError, Interrupted, SettingsError
from bystander.media.images import IMAGE_SUFFIXES, cover_image
from bystander.media.reader import FileReader, open_reader
from bystander.media.writer import CONTAINERS, FileWriter, check_target
from bystander.models import open_model
from bystander.run.face_filter import FaceFilter
from bystander.run.job import Job, Report, cover_file
from bystander.run.meters import Meters
from bystander.settings import Settings, load_settings
from bystander.stages.detector import Detector
from bystander.types import CoveredFrame, Model

DAMAGED = 3  # exit code: finished, but part of the source was lost


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bystander", description="Covers every face but the ones you keep.")
    p.add_argument("--version", action="version", version=f"bystander {__version__}")
    sub = p.add_subparsers(dest="command", required=True)
    f = sub.add_parser("file", help="cover the faces in a video, a picture or a folder of them")
    f.add_argument("source", type=Path, metavar="IN")
    f.add_argument("out", type=Path, nargs="?", metavar="OUT", help="default: IN with .covered before the suffix")
    f.add_argument("--keep", help="none (default), largest, or X,Y@SECONDS: whoever is under that point then")
    f.add_argument("--style", choices=("pixelate", "blur", "solid"))
    f.add_argument("--shape", choices=("ellipse", "box"))
    f.add_argument("--grow", type=float, help="factor on the margin around a face, 1 or more")
    f.add_argument("--model", help="shipped model (n) or path of an ONNX file")
    f.add_argument("--imgsz", type=int, help="long side of the detector's picture, px (default 640)")
    f.add_argument("--crf", type=int, help="quality of the picture, lower is better (default 20)")
    f.add_argument("--keep-metadata", action="store_const", const=True, help="keep title, artist, date; never places")
    f.add_argument("--overwrite", action="store_const", const=True, help="replace OUT if it exists")
    f.add_argument("--config", type=Path, help="TOML file with the same keys")
    f.add_argument("--tracks", type=Path, metavar="OUT.jsonl", help="also save the tracks (docs/tracks.md)")
    f.add_argument("--json", action="store_true", help="one JSON line on stdout at the end instead of a sentence")
    f.add_argument("--quiet", action="store_true", help="no progress bar")
    d = sub.add_parser("demo", help="make a clip with faces and cover it: needs no input")
    d.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results (default demo)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    logging.basicConfig(format="bystander: %(message)s", level=logging.WARNING)
    a = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        return cmd_demo(a.out) if a.command == "demo" else cmd_file(a)
    except KeyboardInterrupt:
        print("bystander: interrupted; nothing was left behind", file=sys.stderr)
        return 130
    except BystanderError as e:
        print(f"bystander: {e}", file=sys.stderr)
        return e.exit_code


def on_sigterm(_number: int, _frame: FrameType | None) -> None:
    error = Interrupted("terminated; nothing was left behind")
    error.exit_code = 143
    raise error


def cmd_file(a: argparse.Namespace) -> int:
    flags = {k: getattr(a, k) for k in Settings.__dataclass_fields__}
    settings = load_settings(a.config, flags)
    settings.filter()  # a bad value is told before anything is opened
    if not a.source.exists():
        raise InputError(f"{a.source}: no such file")
    if a.source.is_dir():
        return cover_folder(a, settings)
    suffix = a.source.suffix if a.source.suffix.lower() in {*CONTAINERS, *IMAGE_SUFFIXES} else ".mkv"
    out = a.out or a.source.with_name(f"{a.source.stem}.covered{suffix}")
    check_target(a.source, out, settings.overwrite)
    return cover_one(a, a.source, out, settings)


def cover_one(a: argparse.Namespace, source: Path, out: Path, settings: Settings) -> int:
    """Cover a video or a picture; says so in one line."""
    model = open_model(settings.model)
    if source.suffix.lower() in IMAGE_SUFFIXES:
        meters = Meters()
        face_filter = FaceFilter(Detector(model, settings.detector()), settings.filter(), meters)
        cover_image(source, out, lambda frame: face_filter.push(frame, face_filter.detect(frame)) + face_filter.flush())
        report = Report(meters, (), ())
    else:
        report = cover_video(a, source, out, settings, model)
    tell(a, out, report)
    return DAMAGED if report.damage else 0


def cover_video(a: argparse.Namespace, source: Path, out: Path, settings: Settings, model: Model) -> Report:
    def open_writer(reader: Any) -> FileWriter:
        assert isinstance(reader, FileReader)
        return FileWriter(reader, out, settings.writer())

    job = Job(source, open_reader, open_writer, model, settings.detector(), settings.filter(), a.tracks,
              settings.overwrite)  # fmt: skip
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[fps]:.0f} fps"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=a.quiet or a.json, transient=True) as progress:
        task = progress.add_task(source.name, total=None, fps=0.0)

        def on_frame(covered: CoveredFrame, total: int) -> None:
            n = covered.frame.index + 1
            elapsed = progress.tasks[0].elapsed or 0
            progress.update(task, completed=n, total=total or None, fps=n / elapsed if elapsed else 0)

        return cover_file(job, on_frame)


def tell(a: argparse.Namespace, out: Path, report: Report) -> None:
    """The closing line, or one JSON object."""
    if a.json:
        print(json.dumps({"out": str(out), **report.meters.summary(), "damage": report.damage, "notes": report.notes}))
        return
    for line in report.notes:
        print(f"bystander: note: {line}", file=sys.stderr)
    for line in report.damage:
        print(f"bystander: warning: part of the source was lost: {line}", file=sys.stderr)
    counts, whole = report.meters.counts, sum(report.meters.whole.values())
    fps = counts["frames"] / max(report.meters.elapsed_s, 1e-9)
    extra = f", {whole} frames covered whole" if whole else ""
    print(f"{counts['frames']} frames, {counts['faces']} faces of {counts['people']} people covered{extra}, "
          f"{fps:.0f} fps: {out}")  # fmt: skip


def cover_folder(a: argparse.Namespace, settings: Settings) -> int:
    """Every video and picture below a folder, names mirrored. What exists already is skipped, so a run can go on."""
    target = a.out or a.source.with_name(f"{a.source.name}.covered")
    if a.tracks:
        raise SettingsError("--tracks: works for one file, not for a folder")
    known = {*CONTAINERS, *IMAGE_SUFFIXES}
    inside = target.resolve()
    files = [p for p in sorted(a.source.rglob("*")) if p.suffix.lower() in known and p.is_file()
             and inside not in p.resolve().parents]  # fmt: skip
    if not files:
        raise InputError(f"{a.source}: no video or picture in it")
    failed = 0
    for source in files:
        out = target / source.relative_to(a.source)
        if out.exists() and not settings.overwrite:
            print(f"bystander: {out}: exists, skipped", file=sys.stderr)
            continue
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            failed += cover_one(a, source, out, settings) != 0
        except Interrupted:
            raise
        except BystanderError as e:  # one bad file must not end the run
            failed += 1
            print(f"bystander: {e}", file=sys.stderr)
    print(f"{len(files)} files, {failed} with faults: {target}")
    return DAMAGED if failed else 0


def cmd_demo(folder: Path) -> int:
    from bystander.demo import make_demo_clip, side_by_side

    folder.mkdir(parents=True, exist_ok=True)
    original, covered = folder / "original.mp4", folder / "covered.mp4"
    make_demo_clip(original)
    code = main(["file", str(original), str(covered), "--overwrite"])
    if code == 0:
        side_by_side(original, covered, folder / "side_by_side.mp4", folder / "side_by_side.png")
        print(f"before and after: {folder / 'side_by_side.mp4'} and .png")
    return code
