"""All of the film half that lives as long as the server: store, uploads, queue, events, removal in time."""

from __future__ import annotations

import logging
import threading
from typing import Any

from bystander.errors import SettingsError
from bystander.web.films.film import Film, view
from bystander.web.films.jobs import Jobs
from bystander.web.films.review import Review
from bystander.web.films.steps import Steps
from bystander.web.films.store import FilmStore
from bystander.web.films.uploads import Uploads
from bystander.web.hub import Hub
from bystander.web.settings import WebSettings

log = logging.getLogger("bystander.web")
LOOK_EVERY_S = 60.0  # for films that are due to be removed


class Films:
    """``close`` ends its threads and children."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        try:
            self.store = FilmStore(settings)
        except OSError as e:
            raise SettingsError(f"{settings.data}: cannot keep films there ({e.strerror})") from e
        self.hub = Hub()
        self.uploads, self.review = Uploads(self.store), Review(self.store)
        self.jobs: Jobs | None = None  # until it stands nobody has a place in the queue
        self.jobs = Jobs(self.store, Steps(self.store, self.changed), self.changed, settings.workers)
        self.ending = threading.Event()
        self.janitor = threading.Thread(target=self._tidy, name="bystander-janitor", daemon=True)
        self.janitor.start()

    def alive(self) -> bool:
        return self.queue.alive() and self.janitor.is_alive()

    @property
    def queue(self) -> Jobs:
        assert self.jobs is not None
        return self.jobs

    def view(self, film: Film) -> dict[str, Any]:
        place = self.jobs.place(film) if self.jobs and film.job else 0
        return view(film, self.settings.keep_hours, place)

    def list(self, owner: str) -> list[dict[str, Any]]:
        return [self.view(film) for film in self.store.of(owner)]

    def changed(self, film: Film) -> None:
        """Tell the owner's open pages."""
        if not film.gone:
            self.hub.tell(film.owner, "film", self.view(film))

    def received(self, film: Film) -> None:
        """A piece of the film has come; the last one starts the work."""
        with self.store.lock:
            complete = not film.gone and film.state == "uploading" and film.received == film.size
        if complete:
            self.queue.add(film, "check")
        else:
            self.changed(film)

    def remove(self, film: Film) -> None:
        self.queue.drop(film)
        self.store.remove(film)
        self.review.forget()
        self.hub.tell(film.owner, "gone", {"id": film.id})
        self.queue.tell_waiting()

    def _tidy(self) -> None:
        while not self.ending.wait(LOOK_EVERY_S):
            self.tidy()

    def tidy(self) -> None:
        """Remove what is due."""
        for film in self.store.expired():
            try:
                self.remove(film)
            except Exception:
                log.exception("a film that was due could not be removed")

    def close(self) -> None:
        self.ending.set()
        self.queue.close()
        self.hub.close()
        self.janitor.join(5)
