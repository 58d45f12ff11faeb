"""``/healthz`` for whoever watches over the server, ``/metrics`` for Prometheus. No names, no owners."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, jsonify

from bystander.errors import BystanderError
from bystander.models import read_weights
from bystander.web.errors import ApiError
from bystander.web.films.service import Films
from bystander.web.live.server import live_of
from bystander.web.settings import WebSettings
from bystander.web.site import site_of

blueprint = Blueprint("health", __name__)
STATES = ("uploading", "checking", "queued", "analysing", "rendering", "ready", "failed", "cancelled")


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 where films can be worked on, 503 where not; ``checks`` says what is amiss."""
    site = site_of()
    checks = {
        "worker": site.films.alive(),
        "disk": site.films.store.free_bytes() >= site.settings.spare_bytes,
        "model": model_loads(site.settings),
    }
    answer = jsonify(status="ok" if all(checks.values()) else "degraded", checks=checks)
    answer.status_code = 200 if all(checks.values()) else 503
    return answer


def model_loads(settings: WebSettings) -> bool:
    """Whether the weights are there and unaltered."""
    try:
        read_weights(settings.model)
    except (BystanderError, OSError):
        return False
    return True


@blueprint.get("/metrics")
def metrics() -> Response:
    try:
        client: Any = importlib.import_module("prometheus_client")
    except ImportError as e:
        raise ApiError(501, "metrics_missing", "This needs prometheus-client: pip install 'bystander[web]'.") from e
    registry = client.CollectorRegistry()
    registry.register(Readings(site_of().films, importlib.import_module("prometheus_client.core")))
    return Response(client.generate_latest(registry), content_type=client.CONTENT_TYPE_LATEST)


class Readings:
    """One reading in prometheus-client's types."""

    def __init__(self, films: Films, core: Any) -> None:
        self.films, self.core = films, core

    def collect(self) -> Iterator[Any]:
        gauge, store = self.core.GaugeMetricFamily, self.films.store
        with store.lock:
            states = Counter(f.state for f in store.films.values())
            held = sum(f.received for f in store.films.values())
            waiting, running = len(self.films.queue.waiting), len(self.films.queue.running)
        films = gauge("bystander_web_films", "films kept, by state", labels=["state"])
        for state in STATES:
            films.add_metric([state], states[state])
        yield films
        yield gauge("bystander_web_film_bytes", "bytes of films as uploaded", value=held)
        yield gauge("bystander_web_jobs_waiting", "jobs that wait", value=waiting)
        yield gauge("bystander_web_jobs_running", "jobs that are done now", value=running)
        yield gauge("bystander_web_disk_free_bytes", "free disk space of the data folder", value=store.free_bytes())
        for name, text, value in live_of().readings():
            yield gauge(f"bystander_web_live_{name}", text, value=value)
        yield gauge("bystander_web_event_streams", "open event streams", value=self.films.hub.count())
