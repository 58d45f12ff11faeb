"""``bystander-lab explain``: the arguments, and which of its three questions is asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from bystander_lab.explain import METHODS, TARGETS

UNCOVERED = "note: this shows faces uncovered; keep it as safe as the original"


def add_explain(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments; imports neither torch nor captum."""
    p = sub.add_parser("explain", help="what in a picture spoke for a face's role: heat maps and figures")
    p.add_argument("source", type=Path, nargs="?", metavar="IMAGE|VIDEO")
    p.add_argument("-o", "--out", type=Path, help="picture or film to write; it shows faces uncovered")
    p.add_argument("--overwrite", action="store_true")
    p.add_argument(
        "--face", type=int, default=0, metavar="N", help="from the left, from 1 (default: all; film: the best)"
    )
    p.add_argument("--target", choices=TARGETS, default="", help="default: what the face was taken for")
    p.add_argument("--layer", default="auto", help="layer of the network, by number (default auto)")
    p.add_argument("--method", choices=METHODS, default="gradcam")
    p.add_argument("--weights", default="n", help="shipped model or exported ONNX file (default n)")
    p.add_argument("--imgsz", type=int, default=640, help="px, long side of the detector's picture")
    p.add_argument("--from", dest="start_s", type=float, default=0.0, metavar="S", help="film: start here")
    p.add_argument("--seconds", type=float, default=10.0, help="film: explain this much of it (default 10)")
    p.add_argument("--fps", type=float, default=8.0, help="film: pictures a second (default 8)")


def cmd_explain(a: argparse.Namespace) -> None:
    """DataError or a BystanderError with one line when something does not fit."""
    from bystander_lab.widerface import DataError

    if a.source is None or a.out is None:
        raise DataError("explain needs IMAGE|VIDEO -o OUT")
    if not 0 < a.fps <= 60 or a.seconds <= 0 or a.start_s < 0:
        raise DataError("--fps must lie between 0 and 60, --seconds above 0, --from at 0 or above")
    explain_source(a)


def explain_source(a: argparse.Namespace) -> None:
    from bystander.media.images import IMAGE_SUFFIXES, read_image
    from bystander.media.writer import check_target
    from bystander_lab.explain.film import FilmSettings, explain_film
    from bystander_lab.explain.scene import open_for_explaining
    from bystander_lab.explain.why import Question, save, why

    check_target(a.source, a.out, a.overwrite)
    question = Question(a.target, a.method, a.layer)
    if a.source.suffix.lower() in IMAGE_SUFFIXES:
        frame = read_image(a.source)
        answer = why(open_for_explaining(a.weights, a.imgsz), frame, a.face, question)
        save(answer.picture, a.out)
        print("\n".join((*answer.lines, *answer.notes, f"{a.out}: {UNCOVERED}")))
        return
    settings = FilmSettings(a.start_s, a.seconds, a.fps)
    opened = open_for_explaining(a.weights, a.imgsz)
    line, count, seen = explain_film(opened, a.source, a.out, a.face, question, settings)
    print(f"{line} when first seen\n{count} pictures, the face seen in {seen} of them\n{a.out}: {UNCOVERED}")
