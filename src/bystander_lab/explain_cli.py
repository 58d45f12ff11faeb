"""``bystander-lab explain``: the arguments, and which of its three questions is asked."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from bystander_lab.explain import METHOD, METHODS, TARGETS

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
    p.add_argument("--at", default="", metavar="X,Y", help="picture: the face there, px of the upright picture")
    p.add_argument("--target", choices=TARGETS, default="", help="default: what the face was taken for")
    p.add_argument("--layer", default="auto", help="layer of the network, by number (default auto)")
    p.add_argument("--method", choices=METHODS, default=METHOD, help=f"default {METHOD}")
    p.add_argument("--weights", default="n", help="shipped model or exported ONNX file (default n)")
    p.add_argument("--imgsz", type=int, default=640, help="px, long side of the detector's picture")
    p.add_argument("--from", dest="start_s", type=float, default=0.0, metavar="S", help="film: start here")
    p.add_argument("--seconds", type=float, default=10.0, help="film: explain this much of it (default 10)")
    p.add_argument("--fps", type=float, default=8.0, help="film: pictures a second (default 8)")
    p.add_argument("--counterfactual", action="store_true", help="change the picture and ask again")
    p.add_argument(
        "--mask", metavar="X,Y,W,H", help="with --counterfactual: grey this out too, px of the upright picture"
    )
    p.add_argument("--summary", type=Path, metavar="DIR", help="figures, plots and a page over pictures with roles")
    p.add_argument("--data", type=Path, help="with --summary: folder in the WIDER FACE layout")
    p.add_argument("--roles", type=Path, nargs="+", default=(), metavar="JSONL", help="with --summary: roles per face")
    p.add_argument("--limit", type=int, default=16, help="with --summary: most faces, 0 for all (default 16)")
    p.add_argument("--ways", nargs="+", metavar="METHOD:LAYER", help="with --summary: only these, such as hirescam:9")


def cmd_explain(a: argparse.Namespace) -> None:
    """DataError or a BystanderError with one line when something does not fit."""
    from bystander_lab.widerface import DataError

    if a.summary:
        explain_summary(a)
        return
    if a.source is None or a.out is None:
        raise DataError("explain needs IMAGE|VIDEO -o OUT, or --summary DIR --data DIR --roles FILE.jsonl")
    if not 0 < a.fps <= 60 or a.seconds <= 0 or a.start_s < 0:
        raise DataError("--fps must lie between 0 and 60, --seconds above 0, --from at 0 or above")
    if a.mask and not a.counterfactual:
        raise DataError("--mask belongs to --counterfactual")
    if a.counterfactual:
        explain_counterfactual(a)
    else:
        explain_source(a)


def explain_source(a: argparse.Namespace) -> None:
    from bystander.media.images import IMAGE_SUFFIXES, read_image
    from bystander.media.writer import check_target
    from bystander_lab.explain.film import FilmSettings, explain_film
    from bystander_lab.explain.scene import look, open_for_explaining
    from bystander_lab.explain.why import Question, number_at, save, why

    check_target(a.source, a.out, a.overwrite)
    question = Question(a.target, a.method, a.layer)
    if a.source.suffix.lower() in IMAGE_SUFFIXES:
        frame = read_image(a.source)
        opened = open_for_explaining(a.weights, a.imgsz)
        number = number_at(look(opened, frame), point_of(a.at), frame.width) if a.at else a.face
        answer = why(opened, frame, number, question)
        save(answer.picture, a.out)
        print("\n".join((*answer.lines, *answer.notes, f"{a.out}: {UNCOVERED}")))
        return
    settings = FilmSettings(a.start_s, a.seconds, a.fps)
    opened = open_for_explaining(a.weights, a.imgsz)
    line, count, seen = explain_film(opened, a.source, a.out, a.face, question, settings)
    print(f"{line} when first seen\n{count} pictures, the face seen in {seen} of them\n{a.out}: {UNCOVERED}")


def point_of(words: str) -> tuple[float, float]:
    """X,Y as numbers. DataError when they are not."""
    from bystander_lab.widerface import DataError

    try:
        x, y = (float(v) for v in words.split(","))
    except ValueError as e:
        raise DataError(f"--at {words}: give X,Y as numbers, px of the upright picture") from e
    return x, y


def explain_counterfactual(a: argparse.Namespace) -> None:
    from bystander.errors import InputError
    from bystander.media.images import IMAGE_SUFFIXES, read_image
    from bystander.media.writer import check_target
    from bystander_lab.explain.counterfactual import contact, outcomes, table
    from bystander_lab.explain.draw import describe
    from bystander_lab.explain.scene import look, open_for_explaining
    from bystander_lab.explain.why import face_of, save
    from bystander_lab.widerface import DataError

    if a.source.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{a.source}: --counterfactual takes a picture ({', '.join(IMAGE_SUFFIXES)})")
    check_target(a.source, a.out, a.overwrite)
    region = region_of(a.mask) if a.mask else None
    opened = open_for_explaining(a.weights, a.imgsz)
    scene = look(opened, read_image(a.source))
    if not scene.faces:
        raise InputError("no face was found in the picture; there is nothing to explain")
    number = a.face or 1
    face = face_of(scene, number)
    results = outcomes(opened, scene, face, region)
    save(contact(scene, results), a.out)
    print("\n".join((describe(face, number), *table(results), f"{a.out}: {UNCOVERED}")))


def region_of(words: str) -> tuple[float, ...]:
    """X,Y,W,H as numbers. DataError when they are not."""
    from bystander_lab.widerface import DataError

    try:
        region = tuple(float(v) for v in words.split(","))
    except ValueError:
        region = ()
    if len(region) != 4 or not all(math.isfinite(v) for v in region):
        raise DataError(f"--mask {words}: give X,Y,W,H as numbers, px of the upright picture")
    return region


def explain_summary(a: argparse.Namespace) -> None:
    from bystander_lab.explain.page import findings, write_page
    from bystander_lab.explain.scene import open_for_explaining
    from bystander_lab.explain.summary import WAYS, aggregate, cases, collect
    from bystander_lab.widerface import DataError

    if not a.data or not a.roles:
        raise DataError("--summary needs --data DIR and --roles FILE.jsonl")
    if a.limit < 0:
        raise DataError(f"--limit {a.limit}: must be 0 or above")
    if (a.summary / "summary.json").exists() and not a.overwrite:
        raise DataError(f"{a.summary}: holds a summary; give --overwrite to replace it")
    ways = tuple(way_of(w) for w in a.ways) if a.ways else WAYS
    opened = open_for_explaining(a.weights, a.imgsz)
    a.summary.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is told before the work
    collected = collect(opened, cases(opened, a.roles, a.data, a.limit), ways)
    report = aggregate(collected)
    write_page(a.summary, opened.runtime.id, report, collected.examples)
    print("\n".join((*findings(report), f"{a.summary / 'index.html'}: {UNCOVERED}")))


def way_of(words: str) -> tuple[str, str]:
    """``METHOD:LAYER``, or ``occlusion``. DataError when it is neither."""
    from bystander_lab.explain import LAYERS
    from bystander_lab.widerface import DataError

    method, _, layer = words.partition(":")
    everywhere = [k for k, (_, levels) in LAYERS.items() if len(levels) == 3]
    if words == "occlusion":
        return "occlusion", "-"
    if method not in METHODS or method == "occlusion" or layer not in everywhere:
        raise DataError(f"--ways {words}: give METHOD:LAYER, of {', '.join(METHODS)} and {', '.join(everywhere)}")
    return method, layer
