"""``bystander-lab eval``: reads its arguments and prints."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

AGREEMENT = 0.002  # AP; torch and the exported model may differ by this much
KEEP = 0.8  # evidence from which the product keeps somebody, and of which the tables by kind of face speak


def add_eval(sub: Any) -> None:
    e = sub.add_parser("eval", help="AP on the validation split, on torch and on the shipped runtime")
    e.add_argument(
        "--data", type=Path, required=True, help="folder in the WIDER FACE layout, or of bystander-lab label"
    )
    e.add_argument(
        "--weights", type=Path, help="checkpoint (compared with its export) or ONNX; default: the shipped one"
    )
    e.add_argument("--json", type=Path, help="write the numbers here too")
    e.add_argument("--intervals", action="store_true", help="how sure the numbers are, by drawing the images anew")
    e.add_argument("--by", action="store_true", help="by set, height, light, sharpness, symmetry, tone and labels")
    e.add_argument("--worst", type=Path, metavar="DIR", help="the twenty worst mistakes of each kind as pictures there")
    e.add_argument("--task", choices=("face", "roles"), default="face", help="roles: how well subjects are told")
    e.add_argument("--roles", type=Path, nargs="+", default=(), metavar="JSONL", help="images with a role per face")
    e.add_argument("--against", type=Path, help="with --task roles: face model whose AP may not be undercut")


def task_names(a: argparse.Namespace) -> tuple[str, ...]:
    """The class names of a task. DataError when the arguments do not belong to it."""
    from bystander_lab.model import FACE
    from bystander_lab.roles import ROLES
    from bystander_lab.widerface import DataError

    if (a.task == "roles") != bool(a.roles):
        raise DataError("--task roles needs --roles FILE.jsonl, and --roles needs --task roles")
    return ROLES if a.task == "roles" else FACE


def cmd_eval(a: argparse.Namespace) -> None:
    import torch

    from bystander_lab.widerface import DataError

    names = task_names(a)
    if a.json and not a.json.absolute().parent.is_dir():  # told now, not after the work
        raise DataError(f"{a.json}: its folder does not exist; make it first")
    if a.worst and a.worst.exists() and not a.worst.is_dir():
        raise DataError(f"{a.worst}: --worst names a folder, this is a file")
    torch.set_num_threads(1)  # two images at a time are faster than two threads on one
    if len(names) > 1:
        cmd_eval_roles(a)
    else:
        cmd_eval_faces(a)


def cmd_eval_faces(a: argparse.Namespace) -> None:
    from bystander_lab.breakdown import faces_found, render_breakdown, shares
    from bystander_lab.checkpoint import write_text
    from bystander_lab.evaluate import detector, intervals, largest_difference, render, render_intervals, run, tables
    from bystander_lab.roles import load_faces
    from bystander_lab.widerface import DataError
    from bystander_lab.worst import false_alarms, missed, write_sheet

    samples = load_faces(a.data, "val")
    results = {model.id: run(samples, detector(model)) for model in models_of(a.weights)}
    aps = {name: tables(a.data, samples, r) for name, r in results.items()}
    print(render(aps))
    report: dict[str, Any] = {"ap": aps}
    apart = largest_difference(*aps.values()) if len(aps) == 2 else 0.0
    if len(aps) == 2:
        report["largest_difference"] = apart
        print(f"torch and exported model differ by {apart:.4f} AP at most")
    last = list(results.values())[-1]  # the exported model's
    if a.intervals:
        found = intervals(samples, last)
        report["intervals"] = found
        print(f"\n{render_intervals(found)}")
    if a.by:
        rows = shares(faces_found(samples, last))
        report["by"] = [asdict(r) for r in rows]
        print(f"\n{render_breakdown(rows)}")
    if a.worst:
        for name, mistakes in (("missed", missed), ("false_alarms", false_alarms)):
            print("\n".join(write_sheet(mistakes(samples, last), a.worst / f"{name}.png")))
    if a.json:
        write_text(a.json, json.dumps(finite(report), indent=1))
    if apart > AGREEMENT:
        raise DataError(f"{a.weights}: the exported model differs from torch by {apart:.4f} AP, over {AGREEMENT}")


def cmd_eval_roles(a: argparse.Namespace) -> None:
    """Roles on the exported model; with ``--against`` its face AP beside the face model's. DataError when it fell."""
    from bystander_lab import role_eval
    from bystander_lab.breakdown import faces_kept, render_roles_breakdown, shares
    from bystander_lab.checkpoint import write_text
    from bystander_lab.evaluate import MAX_DROP, detector, drops, evaluate, render
    from bystander_lab.widerface import DataError
    from bystander_lab.worst import write_sheet, wrong_roles

    model = models_of(a.weights)[-1]
    samples, found = role_eval.look(a.roles, a.data, detector(model))
    report = {"model": model.id, **role_eval.evaluate_roles(samples, found)}
    print(role_eval.render_roles(model.id, report))
    if a.intervals:
        report["intervals"] = sure = role_eval.role_intervals(role_eval.judge_all(samples, found))
        print(f"\n{role_eval.render_role_intervals(sure)}")
    if a.by:
        subjects, bystanders = (shares(faces) for faces in faces_kept(samples, found, KEEP))
        report["by"] = {"subjects": [asdict(r) for r in subjects], "bystanders": [asdict(r) for r in bystanders]}
        print(f"\n{render_roles_breakdown(subjects, bystanders, KEEP)}")
    if a.worst:
        for name, mistakes in zip(("lost_subjects", "kept_bystanders"), wrong_roles(samples, found), strict=True):
            print("\n".join(write_sheet(mistakes, a.worst / f"{name}.png")))
    fell: dict[str, float] = {}
    if a.against:
        before = models_of(a.against)[-1]
        aps = {m.id: evaluate(a.data, detector(m)) for m in (model, before)}
        print(render(aps))
        fell = drops(aps[before.id], aps[model.id])
        report["face_ap"] = aps
    if a.json:
        write_text(a.json, json.dumps(finite(report), indent=1))
    if fell:
        lost = ", ".join(f"{name} by {by:.3f}" for name, by in fell.items())
        raise DataError(f"face AP fell by more than {MAX_DROP}: {lost}")


def models_of(weights: Path | None) -> list[Any]:
    """The models to evaluate: of a checkpoint the torch model and its fresh export, else the one ONNX model."""
    from bystander.models import open_model
    from bystander_lab.evaluate import TorchModel
    from bystander_lab.export import export
    from bystander_lab.model import open_checkpoint

    if not weights or weights.suffix != ".pt":
        return [open_model(weights or "n")]
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / f"{weights.stem}.onnx"
        export(weights, exported)
        return [TorchModel(open_checkpoint(weights)[0]), open_model(exported)]


def finite(value: Any) -> Any:
    """The same with None for what is not a number, which JSON does not know."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
