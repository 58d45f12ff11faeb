"""A folder of videos and pictures: what is to be done, what is done already, and one file after the other.

A folder and what counts as a video or a picture go in; names of sources and outputs come out. Prints nothing, and never
lets one bad file end the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bystander.errors import BystanderError, OutputError

# files of these kinds are read, but written as Matroska: H.264 with the old sound does not fit into all of them
READ_ONLY_SUFFIXES = (
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".vob", ".wmv",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """The files of a folder, in order of their names."""

    todo: tuple[tuple[Path, Path], ...]  # source, output
    done: tuple[Path, ...]  # outputs that exist already
    ignored: tuple[Path, ...]  # neither video nor picture, by their names


def plan_batch(root: Path, target: Path, same_suffix: Collection[str], *, overwrite: bool) -> Batch:
    """Every file below ``root``, names mirrored below ``target``; what lies in ``target`` is no source.

    Files with one of ``same_suffix`` keep their suffix; other videos get ``.mkv`` after it, so that names never clash.
    """
    todo: list[tuple[Path, Path]] = []
    done: list[Path] = []
    ignored: list[Path] = []
    inside = target.resolve()
    for source in sorted(p for p in root.rglob("*") if p.is_file() and inside not in p.resolve().parents):
        suffix, out = source.suffix.lower(), target / source.relative_to(root)
        if suffix in READ_ONLY_SUFFIXES:
            out = out.with_name(f"{out.name}.mkv")
        elif suffix not in same_suffix:
            ignored.append(source)
            continue
        if out.exists() and not overwrite:
            done.append(out)
        else:
            todo.append((source, out))
    return Batch(tuple(todo), tuple(done), tuple(ignored))


def run_batch(
    batch: Batch, cover_one: Callable[[Path, Path], bool], on_fault: Callable[[Path, BystanderError], None]
) -> tuple[Path, ...]:
    """Cover one file after the other; the sources that failed, or that ``cover_one`` found damaged (False)."""
    failed = []
    for source, out in batch.todo:
        try:
            make_folder(out.parent)
            whole = cover_one(source, out)
        except BystanderError as e:  # one bad file must not end the run
            on_fault(source, e)
            whole = False
        if not whole:
            failed.append(source)
    return tuple(failed)


def make_folder(path: Path) -> None:
    """The folder and those above it. OutputError when that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{path}: the folder cannot be made ({e.strerror}); choose another one") from e
