"""Why was this face kept or covered? The lab's answer as a picture, made in a process of its own.

The runtime never imports the lab: it is asked by its command, where it is installed. The picture shows the face
uncovered, to the film's owner alone; it is removed as soon as it was read.
"""

from __future__ import annotations

import importlib.util
import tempfile
from functools import lru_cache
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any

from bystander.web.asked import number, unfit
from bystander.web.errors import ApiError
from bystander.web.films.child import Limits, Stop, run_child
from bystander.web.films.film import Film

if TYPE_CHECKING:
    from bystander.web.films.service import Films

NEEDS = ("bystander_lab", "torch", "captum", "matplotlib")
INSTALL = "This needs the lab: pip install 'bystander[lab]' on the server, then start it again."
LAB = "from bystander_lab.cli import main; raise SystemExit(main())"  # run by the other process
WALL_S, WAIT_S = 300.0, 90.0
MEMORY = 24 << 30  # bytes of address space; torch maps much of it and uses little
ONE = Lock()  # one at a time: each takes a processor for a while
PLACES = BoundedSemaphore(4)  # who waits holds one of the server's threads


@lru_cache(maxsize=1)
def lab_installed() -> bool:
    """Without importing any of it."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDS)


def ask(films: Films, film: Film, who: Any, at_s: Any) -> bytes:
    """PNG. ApiError where it cannot be said."""
    if not lab_installed():
        raise ApiError(501, "lab_missing", INSTALL)
    at = number(at_s, "at_s")
    x, y, moment = films.review.where(film, who, at)
    if not PLACES.acquire(blocking=False):
        raise busy()
    try:
        return in_turn(films, film, (x, y, moment))
    finally:
        PLACES.release()


def busy() -> ApiError:
    return ApiError(503, "busy", "Others are asking the same; try again in a minute.", {"Retry-After": "30"})


def in_turn(films: Films, film: Film, where: tuple[float, float, float]) -> bytes:
    """The answer, once nobody else is asking."""
    if not ONE.acquire(timeout=WAIT_S):
        raise busy()
    try:
        with tempfile.TemporaryDirectory(prefix=".why-", dir=films.store.files(film).folder) as folder:
            return answer(films, film, Path(folder), where)
    except OSError as e:
        raise ApiError(507, "disk_full", "The server's disk is full; remove films, then try again.") from e
    finally:
        ONE.release()


def answer(films: Films, film: Film, folder: Path, where: tuple[float, float, float]) -> bytes:
    x, y, moment = where
    still, out, log = folder / "still.png", folder / "why.png", films.store.files(film).log
    limits = Limits(MEMORY, WALL_S, 1 << 30)
    steps = (
        ["-m", "bystander.web.films.still", str(films.store.files(film).source), f"{moment:.6f}", str(still)],
        [
            "-c",
            LAB,
            "explain",
            str(still),
            "--at",
            f"{x:.1f},{y:.1f}",
            "--weights",
            films.settings.model,
            "-o",
            str(out),
        ],
    )
    for step in steps:
        end = run_child(step, limits, log, lambda _e: None, Stop())
        if end.late:
            raise ApiError(503, "busy", "The server is too busy to say why; try again in a minute.")
        if end.code:
            raise unfit("the model that is asked why does not find this face here; try another moment", "no_answer")
    return out.read_bytes()
