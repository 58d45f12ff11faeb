"""``bystander audit``: an independent check of a covered film, whoever covered it. Prints, like ``cli``."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bystander.audit.judge import MIN_SIDE, Limits, Verdict, judge, pairing
from bystander.audit.people import Person, link, looks_of, read_truth, with_subjects
from bystander.audit.report import page
from bystander.audit.result import Audit, figures
from bystander.errors import InputError, OutputError, SettingsError
from bystander.media.luma import frame_times, luma_frames
from bystander.media.reader import open_reader
from bystander.models import RuntimeSettings, open_model
from bystander.run.face_filter import Click
from bystander.settings import clicks_of
from bystander.types import SourceInfo
from bystander.types import Verdict as Word

EXPOSED = 1  # exit code: more can be seen than was allowed
MAX_EXPOSED = 0.3  # % of bystanders' face-frames


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a film before its pictures are compared."""

    path: Path
    info: SourceInfo
    times: list[float]  # s, of each frame


def add_audit(sub: Any) -> None:
    p = sub.add_parser("audit", help="check a covered film against the original: who can still be seen?")
    p.add_argument("original", type=Path, metavar="ORIGINAL")
    p.add_argument("covered", type=Path, metavar="COVERED", help="the same film, covered by any program")
    p.add_argument(
        "--tracks", type=Path, metavar="TRUTH.json", help="true tracks (docs/audit.md); else faces are found"
    )
    p.add_argument("--keep", action="append", default=[], metavar="X,Y@SECONDS",
                   help="whoever is there then is a subject, to stay sharp; without --tracks")  # fmt: skip
    p.add_argument("--everybody", action="store_true", help="every face is a bystander's, whatever TRUTH.json says")
    p.add_argument("--max-exposed", type=float, default=MAX_EXPOSED, metavar="PCT",
                   help=f"exit code 1 above so many %% of bystanders' face-frames (default {MAX_EXPOSED})")  # fmt: skip
    p.add_argument("--min-size", type=float, default=MIN_SIDE, metavar="PX",
                   help=f"smaller faces are counted apart (default {MIN_SIDE:g} px)")  # fmt: skip
    p.add_argument("--report", type=Path, metavar="FILE.html|DIR", help="a page with timeline and worst moments")
    p.add_argument("--json", type=Path, dest="json_out", metavar="OUT.json", help="all figures")
    p.add_argument("--overwrite", action="store_true", help="replace the report and the JSON if they exist")
    p.add_argument("--model", default="n-face", help="shipped model (n, n-face) or path of an ONNX file")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def cmd_audit(a: argparse.Namespace) -> int:
    """0: passed, 1: more exposed than allowed."""
    if not 0 <= a.max_exposed <= 100:
        raise SettingsError(f"max-exposed {a.max_exposed}: must lie between 0 and 100 %")
    if not (math.isfinite(a.min_size) and a.min_size >= 0):
        raise SettingsError(f"min-size {a.min_size}: must be 0 px or more")
    if a.keep and a.tracks:
        raise SettingsError("--keep: the tracks file states the roles already; leave one of them out")
    report = a.report / "report.html" if a.report and a.report.suffix.lower() not in (".html", ".htm") else a.report
    for out in filter(None, (report, a.json_out)):
        check_output(a, out)
    audit = audited(a)
    if a.json_out:
        save(a.json_out, json.dumps(audit.as_json(), indent=1) + "\n")
    if report:
        save(report, page(audit))
    tell(audit)
    return 0 if audit.passed else EXPOSED


def audited(a: argparse.Namespace) -> Audit:
    """The whole audit. InputError where nothing can be said."""
    films = film_of(a.original), film_of(a.covered)
    original, covered = films
    people, notes = people_of(a, original)
    width, height, scale = compared_size(original.info, covered.info)
    frame_s = mean_step(covered.times)
    pictures = [luma_frames(f.path, width, height, original.info.rotation_deg) for f in films]
    pairs = pairing(original.times, covered.times)
    with closing(pictures[0]), closing(bar(a, pictures[1], len(covered.times), "compare")) as after:
        verdict = judge(pictures[0], after, scaled(people, scale), pairs, Limits(a.min_size, min(scale), frame_s))
    if verdict.alien:
        raise InputError(f"{a.covered}: does not show the same as {a.original}, or at other times; nothing can be said")
    notes += differences(original, covered) + doubts(verdict)
    duration_s = covered.times[-1] + frame_s
    return Audit(a.original, a.covered, figures(verdict), verdict, frame_s, duration_s, a.max_exposed, a.min_size,
                 tuple(notes))  # fmt: skip


def film_of(path: Path) -> Film:
    with closing(open_reader(path)) as reader:
        info = reader.info
    return Film(path, info, frame_times(path))


def people_of(a: argparse.Namespace, film: Film) -> tuple[list[Person], list[str]]:
    """Who is in the original, in its luma px, and what is to be said about that."""
    if a.tracks:
        people, size = read_truth(a.tracks)
        if size != (film.info.width, film.info.height):
            raise InputError(f"{a.tracks}: was drawn for {size[0]}x{size[1]} px, {a.original} is "
                             f"{film.info.width}x{film.info.height}")  # fmt: skip
        if a.everybody:
            people = [p if p.role == "ignore" else Person(p.id, "background", p.boxes) for p in people]
        return people, []
    model = open_model(a.model, RuntimeSettings())
    clicks: Sequence[Click] = clicks_of("keep", a.keep, Word.KEEP)
    with (
        closing(open_reader(a.original)) as reader,
        closing(bar(a, reader, len(film.times), "find faces")) as frames,
    ):
        found, clicks = looks_of(frames, model, clicks)
    people = with_subjects(link(found, (film.info.width, film.info.height)), clicks, film.times)
    return people, [f"faces found by {model.id}, not by a person; whom it misses is not in these figures"]


def compared_size(original: SourceInfo, covered: SourceInfo) -> tuple[int, int, tuple[float, float]]:
    """The size at which two films are compared, and its scale to the original: never enlarged, that adds no detail."""
    turned = (original.rotation_deg - covered.rotation_deg) % 180 != 0
    size = (covered.height, covered.width) if turned else (covered.width, covered.height)
    width, height = min(original.width, size[0]), min(original.height, size[1])
    return width, height, (width / original.width, height / original.height)


def scaled(people: Sequence[Person], scale: tuple[float, float]) -> list[Person]:
    sx, sy = scale
    if scale == (1, 1):
        return list(people)
    return [
        Person(p.id, p.role, {i: (b[0] * sx, b[1] * sy, b[2] * sx, b[3] * sy) for i, b in p.boxes.items()})
        for p in people
    ]


def mean_step(times: Sequence[float]) -> float:
    return times[-1] / (len(times) - 1) if len(times) > 1 else 0.04


def differences(original: Film, covered: Film) -> list[str]:
    """How the covered film differs, one line each."""
    lines = []
    if compared_size(original.info, covered.info)[2] != (1, 1):
        size = f"{covered.info.width}x{covered.info.height}"
        lines.append(
            f"the covered film is smaller ({size} px): compared at its size; what is tiny there cannot be told"
        )
    if len(original.times) != len(covered.times):
        lines.append(f"{len(covered.times)} frames instead of {len(original.times)}: compared by time")
    if abs(original.times[-1] - covered.times[-1]) > 0.5:
        lines.append(f"the covered film ends at {covered.times[-1]:.1f} s, the original at {original.times[-1]:.1f} s")
    return lines


def doubts(verdict: Verdict) -> list[str]:
    if any(s.steps for s in verdict.stories):
        return []
    return ["no face was large and sharp enough to be judged: the figures say nothing about this film"]


def bar(a: argparse.Namespace, items: Any, total: int, name: str) -> Generator[Any, None, None]:
    """The items, with a progress bar on stderr."""
    with Progress(console=Console(stderr=True), disable=a.quiet, transient=True) as progress:
        yield from progress.track(items, total=total, description=name)


def check_output(a: argparse.Namespace, out: Path) -> None:
    """OutputError where ``out`` would replace a film, the tracks or, unasked, anything else."""
    for taken in filter(None, (a.original, a.covered, a.tracks)):
        if out.resolve() == taken.resolve():
            raise OutputError(f"{out}: is an input; give it another name")
    if out.exists() and not a.overwrite:
        raise OutputError(f"{out}: exists; give --overwrite to replace it")


def save(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    finally:
        part.unlink(missing_ok=True)


def tell(audit: Audit) -> None:
    f = audit.figures
    for line in audit.notes:
        print(f"bystander: note: {line}", file=sys.stderr)
    print(f"bystanders exposed: {f.exposed_pct:.2f} % ({f.exposed} of {f.faces} face-frames), longest "
          f"{f.longest_ms:.0f} ms, {f.people_exposed} of {f.people} people")  # fmt: skip
    if f.subject_faces:
        print(f"subjects covered: {f.subject_covered_pct:.2f} % ({f.subject_covered} of {f.subject_faces} face-frames)")
    print(f"covered without a face near: {f.stray_pct:.2f} % of the picture")
    if f.small_faces:
        print(f"under {audit.min_side:g} px, counted apart: {f.small_exposed} of {f.small_faces} face-frames exposed")
    print(f"{'passed' if audit.passed else 'not passed'} (allowed: {audit.max_exposed_pct:g} %)")
