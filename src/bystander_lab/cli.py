"""``bystander-lab``: label, train, evaluate, export, explain. With ``eval_cli`` and ``explain_cli`` what reads the lab's arguments."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from bystander_lab.eval_cli import add_eval, cmd_eval, models_of, task_names
from bystander_lab.explain_cli import add_explain, cmd_explain


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bystander-lab", description=__doc__)
    sub = p.add_subparsers(dest="command", required=True)
    t = sub.add_parser("train", help="train a detector on data in the WIDER FACE layout")
    t.add_argument("--task", choices=("face", "roles"), default="face", help="roles: tell subjects from others")
    t.add_argument("--roles", type=Path, nargs="+", default=(), metavar="JSONL", help="images with a role per face")
    t.add_argument("--data", type=Path, nargs="+", required=True, help="folders in the WIDER FACE layout")
    t.add_argument(
        "--data-weight", type=float, nargs="+", default=(), metavar="W", help="how often each folder is drawn"
    )
    t.add_argument("--run", type=Path, default=Path("runs/face"), help="run folder (default runs/face)")
    t.add_argument("--model", choices=("p", "n", "s"), default="n", help="p: half of n's channels, untried")
    t.add_argument("--imgsz", type=int, default=416)
    t.add_argument("--epochs", type=float, default=100, help="passes over the images, each a quarter of a mosaic")
    t.add_argument("--minutes", type=float, default=0, help="end the schedule after this much training instead")
    t.add_argument("--batch", type=int, default=32)
    t.add_argument("--lr", type=float, default=2e-3)
    t.add_argument("--mosaic", type=float, default=0.75, help="share of mosaics")
    t.add_argument("--workers", type=int, default=1)
    t.add_argument("--device", default="cpu")
    t.add_argument("--weights", type=Path, help="start from this checkpoint or exported ONNX file")
    t.add_argument("--cache", type=Path, default=Path("~/.cache/bystander-lab"), help="folder for the shrunk images")
    t.add_argument("--cache-long", type=int, default=512, help="long side of the shrunk images")
    t.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    add_eval(sub)
    b = sub.add_parser("label", help="a page on this machine to label faces and roles in one's own videos")
    b.add_argument("sources", type=Path, nargs="+", metavar="IN", help="videos and pictures")
    b.add_argument("--out", type=Path, default=Path("dataset"), help="folder of the data set (default dataset)")
    b.add_argument("--split", choices=("train", "val"), default="train", help="a film belongs to one of them only")
    b.add_argument("--every", type=float, default=2.0, metavar="S", help="seconds between two pictures (default 2)")
    b.add_argument("--limit", type=int, default=200, help="most pictures at once (default 200)")
    b.add_argument("--weights", type=Path, help="checkpoint or ONNX that proposes labels; default: the shipped one")
    b.add_argument("--port", type=int, default=0, help="default: a free one")
    x = sub.add_parser("export", help="checkpoint to ONNX, with a parity check")
    x.add_argument("checkpoint", type=Path)
    x.add_argument("out", type=Path)
    add_quantize(sub)
    add_explain(sub)
    return p


def add_quantize(sub: Any) -> None:
    q = sub.add_parser("quantize", help="the same network in 8-bit integers, with what that costs and gains")
    q.add_argument("model", type=Path, help="exported ONNX file in fp32")
    q.add_argument("out", type=Path, help="name it NAME.int8.onnx beside NAME.onnx, where the runtime looks for it")
    q.add_argument("--data", type=Path, required=True, help="folder in the WIDER FACE layout: training images give the "
                   "ranges and the search, evaluation images the verdict")  # fmt: skip
    q.add_argument("--operators", choices=("all", "conv"), default="all", help="what becomes int8 (default all)")
    q.add_argument("--images", type=int, default=64, help="training images for the ranges (default 64)")
    q.add_argument("--trial", type=int, default=200, help="others for the search (default 200)")
    q.add_argument("--max-drop", type=float, default=0.003, help="AP that the search may lose (default 0.003)")


def cmd_train(a: argparse.Namespace) -> None:
    from bystander_lab.data import DataSettings, training_samples
    from bystander_lab.train import TrainSettings, train
    from bystander_lab.widerface import DataError

    names = task_names(a)
    weights = tuple(a.data_weight)
    if weights and (len(weights) != len(a.data) or not all(0 < w < math.inf for w in weights)):
        raise DataError(f"--data-weight: give one number above 0 for each of the {len(a.data)} --data folders")
    data = DataSettings(
        tuple(a.data), a.imgsz, a.cache, a.cache_long, a.mosaic, root_weights=weights, roles=tuple(a.roles)
    )
    steps = max(1, round(a.epochs * len(training_samples(data)) / a.batch))
    print(train(TrainSettings(
        data, a.run, size=a.model, names=names, weights=a.weights, batch=a.batch, steps=steps, minutes=a.minutes,
        lr=a.lr, workers=a.workers, device=a.device, resume=a.resume,
    )))  # fmt: skip


def cmd_label(a: argparse.Namespace) -> None:
    from bystander_lab.dataset import Dataset, gather
    from bystander_lab.evaluate import detector
    from bystander_lab.label import Session, open_server
    from bystander_lab.widerface import DataError

    if a.every <= 0 or a.limit < 1:
        raise DataError("--every must be above 0 and --limit at least 1")
    dataset = Dataset(a.out, a.split)
    pictures = list(gather(a.sources, a.every, a.limit, detector(models_of(a.weights)[-1])))
    with open_server(Session(pictures, dataset), a.port) as server:
        print(f"{len(pictures)} pictures: open http://127.0.0.1:{server.server_address[1]} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"{len(dataset.rows)} pictures are in {dataset.path}")


def cmd_export(a: argparse.Namespace) -> None:
    from bystander_lab.export import export

    print(f"{a.out}: agrees with {a.checkpoint} within {export(a.checkpoint, a.out):.2g} px")


def cmd_quantize(a: argparse.Namespace) -> None:
    """Make the file, judge it on the evaluation split, keep it only where it is worth it. DataError when it is not."""
    import torch

    from bystander_lab.evaluate import detector, evaluate
    from bystander_lab.export import write_sum
    from bystander_lab.quantize import QuantizeSettings, opened, quantize, verdict
    from bystander_lab.widerface import DataError

    torch.set_num_threads(1)
    if min(a.images, a.trial) < 1:
        raise DataError("--images and --trial must be at least 1")
    quantize(a.model, a.out, QuantizeSettings(a.data, a.operators, a.images, a.trial, a.max_drop))
    before, after = (evaluate(a.data, detector(opened(path))) for path in (a.model, a.out))
    lines, worth = verdict(a.model, a.out, (before, after))
    print("\n".join(lines))
    with a.out.with_suffix(".log").open("a", encoding="utf-8") as log:
        log.write("\n".join(lines) + "\n")
    if not worth:
        rejected = a.out.replace(a.out.with_suffix(".rejected"))  # beside the model under its name it would be used
        raise DataError(f"{rejected}: not worth shipping by these figures; try --images, --trial or --max-drop")
    write_sum(a.out)


COMMANDS = {
    "train": cmd_train, "eval": cmd_eval, "export": cmd_export, "label": cmd_label, "quantize": cmd_quantize,
    "explain": cmd_explain,
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run a command; known faults become one line and exit code 2."""
    a = parser().parse_args(argv)
    try:
        if a.command == "explain":
            import captum  # noqa: F401
        import onnx  # noqa: F401
        import torch  # noqa: F401

        from bystander.errors import BystanderError
        from bystander_lab.widerface import DataError
    except ImportError as e:
        print(
            f"bystander-lab: {e.name} is missing; install the lab with: pip install 'bystander[lab]'", file=sys.stderr
        )
        return 2
    try:
        COMMANDS[a.command](a)
    except (DataError, BystanderError, FloatingPointError) as e:
        print(f"bystander-lab: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"bystander-lab: {e.filename or a.command}: {e.strerror or e}", file=sys.stderr)
        return 2
    return 0
