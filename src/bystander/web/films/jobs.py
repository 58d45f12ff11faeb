"""Which film is worked on next: a few at a time, one per owner, owners in turn. Jobs that a restart cut off go on.

A film's ``job`` names what is to be done; it is saved, so the queue is made anew from the films themselves.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from bystander.web.errors import ApiError
from bystander.web.films.child import Stop
from bystander.web.films.film import Film
from bystander.web.films.steps import JobError, Steps
from bystander.web.films.store import FilmStore

log = logging.getLogger("bystander.web")
WAITS = {"check": "checking", "cover": "queued", "render": "rendering"}  # job -> state while it waits
DOES = {"check": "checking", "cover": "analysing", "render": "rendering"}  # and while it is done


class Jobs:
    """Every method is safe in several threads."""

    def __init__(self, store: FilmStore, steps: Steps, changed: Callable[[Film], None], workers: int) -> None:
        self.store, self.steps, self.changed = store, steps, changed
        self.news = threading.Condition(store.lock)
        self.waiting: list[Film] = []
        self.running: dict[str, tuple[Film, Stop]] = {}  # film id -> film, how to end its job
        self.served: Counter[str] = Counter()  # owner -> jobs begun
        self.closed = False
        with self.news:
            for film in sorted(store.films.values(), key=lambda f: f.created):
                if film.state == "uploading" and film.size == film.received:
                    film.job = film.job or "check"
                if film.job:
                    self._wait(film, film.job)
        self.threads = [threading.Thread(target=self._work, name="bystander-film", daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def alive(self) -> bool:
        return all(t.is_alive() for t in self.threads)

    def add(self, film: Film, kind: str) -> None:
        """ApiError where something is being done with this film already."""
        with self.news:
            if film.job:
                raise ApiError(409, "busy", "Something is being done with this film; wait for it or cancel it.")
            self._wait(film, kind)
        self.changed(film)

    def _wait(self, film: Film, kind: str) -> None:
        film.job, film.progress, film.fps, film.left_s = kind, 0.0, 0.0, None
        film.state = WAITS.get(kind, film.state)
        film.error = None
        if kind == "audit":
            film.report = "waiting"
        self.waiting.append(film)
        self.store.save(film)
        self.news.notify_all()

    def order(self) -> list[Film]:
        """Those who wait, in the order in which they will be served: each owner's first, then each one's second."""
        turn = Counter(film.owner for film, _ in self.running.values())
        keyed = []
        for i, film in enumerate(self.waiting):
            # a check is short and tells what is wrong while the user still looks
            keyed.append((film.job != "check", turn[film.owner], self.served[film.owner], i, film))
            turn[film.owner] += 1
        return [film for *_, film in sorted(keyed, key=lambda k: k[:4])]

    def place(self, film: Film) -> int:
        """1 for the next; 0 for what does not wait."""
        with self.news:
            return next((n for n, other in enumerate(self.order(), 1) if other is film), 0)

    def cancel(self, film: Film) -> None:
        """End what is done or waits. ApiError where there is nothing to cancel."""
        with self.news:
            if film.state == "uploading":
                film.state, film.inner["again"] = "cancelled", "upload"
            elif film in self.waiting:
                self.waiting.remove(film)
                self._cancelled(film)
            elif film.id in self.running:
                self.running[film.id][1]()
                self.news.wait_for(lambda: film.id not in self.running, 30)
            else:
                raise ApiError(409, "not_running", "Nothing is being done with this film.")
            self.store.save(film)
        self.changed(film)
        self.tell_waiting()

    def drop(self, film: Film) -> None:
        """End whatever is done with a film that is to be removed."""
        with self.news:
            film.gone = True
            if film in self.waiting:
                self.waiting.remove(film)
            if film.id in self.running:
                self.running[film.id][1]()
                self.news.wait_for(lambda: film.id not in self.running, 30)

    def retry(self, film: Film) -> None:
        """Do again what failed or was cancelled. ApiError where nothing was."""
        with self.news:
            kind = film.inner.get("again", "")
            if film.state not in {"failed", "cancelled"} or not kind:
                raise ApiError(409, "nothing_failed", "Nothing failed here; there is nothing to try again.")
            if kind == "upload" and film.received == film.size:  # its last piece came while it was cancelled
                self._wait(film, "check")
            elif kind == "upload":
                film.state = "uploading"
                self.store.save(film)
            else:
                self._wait(film, kind)
        self.changed(film)

    def _cancelled(self, film: Film) -> None:
        """A film that is there stays there; the rest of it can be tried again."""
        kind, film.job = film.job, ""
        film.progress, film.left_s, film.fps = 0.0, None, 0.0
        if kind == "audit":
            film.report = ""
        elif kind == "render":
            film.state = "ready"
        else:
            film.state, film.inner["again"] = "cancelled", kind

    # --- the workers ---

    def _work(self) -> None:
        while True:
            with self.news:
                while not self.closed and (film := self._next()) is None:
                    self.news.wait(5)
                if self.closed or film is None:
                    return
                self.waiting.remove(film)
                stop = Stop()
                self.running[film.id] = (film, stop)
                self.served[film.owner] += 1
                film.state = DOES.get(film.job, film.state)
            self.changed(film)
            self.tell_waiting()
            self._do(film, stop)

    def _next(self) -> Film | None:
        busy = {film.owner for film, _ in self.running.values()}
        return next((film for film in self.order() if film.owner not in busy), None)

    def _do(self, film: Film, stop: Stop) -> None:
        error: JobError | None = None
        try:
            self.steps.run(film.job, film, stop)
        except JobError as e:
            error = e
        except Exception:
            log.exception("a film's job failed")
            error = JobError("fault", "Something went wrong here. It was logged; try again.")
        with self.news:
            del self.running[film.id]
            if not self.closed and not film.gone:
                self._after(film, error, cancelled=stop.asked.is_set())
                self.store.save(film)
            self.news.notify_all()
        self.changed(film)

    def _after(self, film: Film, error: JobError | None, *, cancelled: bool) -> None:
        if cancelled:
            self._cancelled(film)
            return
        kind, film.job = film.job, ""
        film.left_s, film.fps = None, 0.0
        if error is not None:
            film.error = {"code": error.code, "message": error.message}
            if kind == "audit":
                film.report = "failed"
            else:
                film.state, film.inner["again"] = "failed", kind
        elif kind == "check":
            self._wait(film, "cover")
        elif kind == "audit":
            film.report = "ready"
        else:
            film.state, film.progress = "ready", 1.0

    def tell_waiting(self) -> None:
        """Places in the queue have changed."""
        with self.news:
            films = list(self.waiting)
        for film in films:
            self.changed(film)

    def close(self) -> None:
        """End all children; their films go on at the next start."""
        with self.news:
            self.closed = True
            for _, stop in self.running.values():
                stop()
            self.news.notify_all()
        for thread in self.threads:
            thread.join(15)
