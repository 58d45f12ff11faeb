"""``bystander-lab``: with ``train_cli``, ``eval_cli`` and ``explain_cli`` what reads the lab's arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bystander_lab.eval_cli import add_eval, cmd_eval, models_of
from bystander_lab.explain_cli import add_explain, cmd_explain
from bystander_lab.train_cli import add_average, add_train, cmd_average, cmd_train


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bystander-lab", description="Label, train, evaluate, export, explain: the lab behind the detector."
    )
    sub = p.add_subparsers(dest="command", required=True)
    add_train(sub)
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
    add_average(sub)
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
    q.add_argument("--search", action="store_true", help="also choose how ranges are taken, and further float blocks, "
                   "by how near the predictions on training images come to fp32")  # fmt: skip
    q.add_argument("--max-drop", type=float, default=0.003, help="AP that the search may lose (default 0.003)")


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
    quantize(
        a.model, a.out, QuantizeSettings(a.data, a.operators, a.images, a.trial, thorough=a.search, max_drop=a.max_drop)
    )
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
    "explain": cmd_explain, "average": cmd_average,
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
    except KeyboardInterrupt:
        print(f"bystander-lab: {a.command} interrupted", file=sys.stderr)
        return 130
    return 0
