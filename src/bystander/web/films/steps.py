"""What one job does with one film: which children run, and what their events mean for the film.

Everything that reads the film's bytes happens in those children.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from bystander.web.films.child import End, Limits, Stop, run_child
from bystander.web.films.edits import read_history
from bystander.web.films.film import Files, Film
from bystander.web.films.index import load_index
from bystander.web.films.people import about_kept
from bystander.web.films.store import FilmStore

CHECK_S = 180.0  # a check may take
SPARE_S = 900.0  # a job may take, and so many times the film's length:
TIMES = 60.0
DAMAGED, EXPOSED = 3, 1  # exit codes of bystander file and of its audit
ANALYSED, PAINTED = 0.5, 0.95  # of the whole progress
NO_ROLES = "knows faces but no roles"
NO_ROLES_SAID = "The detector tells no roles apart, so everybody is covered until you choose whom to keep."


class JobError(Exception):
    """``code`` for pages, one sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Steps:
    """``changed`` is called whenever a film has changed, from the thread that runs the job."""

    def __init__(self, store: FilmStore, changed: Callable[[Film], None]) -> None:
        self.store, self.settings, self.changed = store, store.settings, changed

    def run(self, kind: str, film: Film, stop: Stop) -> None:
        """Do the job. JobError when it failed; returns in midst of it once ``stop`` was asked."""
        {"check": self.check, "cover": self.cover, "render": self.render, "audit": self.audit}[kind](film, stop)

    def check(self, film: Film, stop: Stop) -> None:
        files = self.store.files(film)
        found: dict[str, Any] = {}
        end = self._child(film, stop, ["-m", "bystander.web.films.probe", str(files.source),
                                       str(self.settings.max_seconds)], found.update, CHECK_S)  # fmt: skip
        if stop.asked.is_set():
            return
        if found.get("event") == "error" and "code" in found:
            raise JobError(found["code"], found["message"])
        self._judge(end, film)
        film.info, film.inner = found["info"], {**film.inner, **found["inner"]}

    def cover(self, film: Film, stop: Stop) -> None:
        """Look at the whole film, cover it, make what the review needs."""
        files, s = self.store.files(film), film.settings
        clock = Clock(film, self.changed)
        self._room(film)
        end = self._child(film, stop, [
            "-m", "bystander", "file", str(files.source), str(files.covered(film)), "--tracks", str(files.tracks),
            "--json", "--quiet", "--overwrite", "--keep", s["keep"], "--style", s["style"],
            "--grow", str(s["strength"]), "--model", self.settings.model, "--device", self.settings.device,
        ], clock.on_event)  # fmt: skip
        if self._stopped(end, film, stop):
            return
        film.state, film.left_s = "rendering", None
        files.edited.unlink(missing_ok=True)
        files.edits.unlink(missing_ok=True)
        film.edits_version = film.rendered_version = 1
        end = self._child(film, stop, ["-m", "bystander.web.films.prepare", str(files.folder)], clock.on_event)
        if not self._stopped(end, film, stop):
            self._proxies(film, stop)

    def render(self, film: Film, stop: Stop) -> None:
        """Paint again by the edited tracks; nothing is detected. Until all is made the film stays as it was."""
        files, s = self.store.files(film), film.settings
        clock = Clock(film, self.changed, begin=0.0)
        self._room(film)
        painted, copy = files.next_covered(film), files.next_proxy
        version: list[int] = []
        end = self._child(film, stop, ["-m", "bystander.web.films.apply", str(files.folder),
                                       str(film.inner.get("rotation", 0))],
                          lambda e: version.append(e["version"]) if e.get("event") == "edited" else None)  # fmt: skip
        if self._stopped(end, film, stop):
            return
        end = self._child(film, stop, [
            "-m", "bystander", "render", str(files.source), str(files.next), str(painted), "--json",
            "--quiet", "--overwrite", "--style", s["style"], "--grow", str(s["strength"]),
        ], clock.on_event)  # fmt: skip
        if self._stopped(end, film, stop):
            return
        if not film.inner.get("covered_plays"):
            end = self._child(film, stop, ["-m", "bystander.web.films.proxy", str(painted), str(copy)], lambda _e: None)
            if self._stopped(end, film, stop):
                painted.unlink(missing_ok=True)
                return
            copy.replace(files.covered_proxy)
        painted.replace(files.covered(film))
        files.next.replace(files.edited)
        film.rendered_version = version[-1] + 1
        files.report.unlink(missing_ok=True)  # it judged another film
        film.report = ""

    def _proxies(self, film: Film, stop: Stop) -> None:
        """What the player shows, where a browser cannot play the files themselves."""
        files, inner = self.store.files(film), film.inner
        wanted = [(files.source, files.source_proxy)] if not inner.get("source_plays") else []
        wanted += [(files.covered(film), files.covered_proxy)] if not inner.get("covered_plays") else []
        for source, out in wanted:
            if not out.exists():
                end = self._child(film, stop, ["-m", "bystander.web.films.proxy", str(source), str(out)],
                                  lambda _e: None)  # fmt: skip
                if self._stopped(end, film, stop):
                    return

    def audit(self, film: Film, stop: Stop) -> None:
        """An independent look at original and covered film."""
        files = self.store.files(film)
        points = about_kept(load_index(files.index), read_history(files.edits, film.rendered_version - 1))
        keep = [word for x, y, t in points for word in ("--keep", f"{x:.1f},{y:.1f}@{t:.3f}")]
        end = self._child(film, stop, ["-m", "bystander", "audit", str(files.source), str(files.covered(film)),
                                       "--report", str(files.report), "--overwrite", "--quiet", "--model",
                                       self.settings.model, *keep], lambda _e: None)  # fmt: skip
        if not stop.asked.is_set() and not (end.code in {0, EXPOSED} and files.report.exists()):
            self._judge(End(end.code or 2, end.error, end.late), film)

    def _room(self, film: Film) -> None:
        """JobError where the disk cannot hold the result."""
        if self.store.free_bytes() - film.size < self.settings.spare_bytes:
            raise JobError("disk_full", "The server's disk is full; remove films, then try again.")

    def _child(
        self,
        film: Film,
        stop: Stop,
        arguments: list[str],
        on_event: Callable[[dict[str, Any]], None],
        wall_s: float = 0,
    ) -> End:
        length = (film.info or {}).get("duration_s", 0.0)
        limits = Limits(self.settings.job_memory, wall_s or SPARE_S + TIMES * length,
                        max(2 << 30, 6 * film.size))  # fmt: skip
        return run_child(arguments, limits, self.store.files(film).log, on_event, stop)

    def _stopped(self, end: End, film: Film, stop: Stop) -> bool:
        """True when it was cancelled; JobError when it failed."""
        if stop.asked.is_set():
            return True
        if end.code != DAMAGED:
            self._judge(end, film)
        return False

    def _judge(self, end: End, film: Film) -> None:
        """JobError unless the child ended well."""
        if end.late:
            raise JobError("took_too_long", "This film took too long to work on; cut it into shorter parts.")
        if "No space left" in end.error or "File too large" in end.error:
            raise JobError("disk_full", "The server's disk is full; remove films, then try again.")
        if end.error:
            raise JobError("failed", sentence(end.error, self.store.files(film)))
        if end.code in {-signal.SIGKILL, -signal.SIGXCPU, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}:
            raise JobError("crashed", "This film needs more memory or time than it may have; scale it down first.")
        if end.code:
            raise JobError("failed", "This film could not be worked on; the server's log of this film says why.")


def sentence(message: str, files: Files) -> str:
    """A command's message without our paths."""
    for path in (files.source, *(p for p in files.folder.iterdir())):
        message = message.replace(f"{path}: ", "").replace(str(path), "the film")
    text = message.replace(str(files.folder), "").strip()
    return text[:1].upper() + text[1:300]


class Clock:
    """A command's progress events -> the film's progress, speed and time left. Told at most four times a second."""

    def __init__(self, film: Film, changed: Callable[[Film], None], begin: float = ANALYSED) -> None:
        self.film, self.changed, self.begin, self.told = film, changed, begin, 0.0

    def on_event(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self.advance(event)
        elif kind == "warning":
            self.warn(str(event.get("message", "")))
        elif kind == "done":
            for line in (*event.get("damage", ()), *event.get("notes", ())):
                self.warn(str(line))
        elif kind == "people":
            self.film.people = int(event["people"])

    def warn(self, text: str) -> None:
        text = NO_ROLES_SAID if NO_ROLES in text else text
        if text not in self.film.warnings and len(self.film.warnings) < 20:
            self.film.warnings.append(text[:300])

    def advance(self, event: dict[str, Any]) -> None:
        film, total = self.film, max(event.get("total") or 0, event["frames"], 1)
        share, painting = event["frames"] / total, event.get("stage") != "analyse"
        film.state = "rendering" if painting else "analysing"
        film.progress = self.begin + share * (PAINTED - self.begin) if painting else share * ANALYSED
        film.fps = float(event.get("fps", 0.0))
        left = total - event["frames"] + (0 if painting else total / 3)  # painting is faster than looking
        film.left_s = round(left / film.fps, 1) if film.fps else None
        now = time.monotonic()
        if now - self.told >= 0.25:
            self.told = now
            self.changed(film)
