"""A stream's status as Prometheus metrics, by way of prometheus-client (extra ``live``), imported only when used.

``LiveStatus`` snapshots come in, numbers go out. Labels carry outputs' names without secrets and kinds of faults, never
picture content.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from bystander.errors import SettingsError
from bystander.run.control import Control, LiveStatus

GAUGES: dict[str, tuple[str, Callable[[LiveStatus], float]]] = {
    "bystander_live": ("1 while fresh covered pictures go out, 0 for a slate", lambda s: float(s.state == "live")),
    "bystander_panic": ("1 while everything is covered by hand", lambda s: float(s.panic)),
    "bystander_fps_in": ("frames per second that come in", lambda s: s.fps_in),
    "bystander_fps_out": ("new covered frames per second that go out", lambda s: s.fps_out),
    "bystander_faces": ("faces in the newest picture", lambda s: len(s.faces)),
    "bystander_kept": ("faces that stay sharp in the newest picture", lambda s: sum(f.kept for f in s.faces)),
    "bystander_detector_px": ("long side of the detector's picture", lambda s: s.imgsz),
    "bystander_every": ("every n-th frame goes out", lambda s: s.every),
}
COUNTERS: dict[str, tuple[str, Callable[[LiveStatus], float]]] = {
    "bystander_frames": ("new covered frames that went out", lambda s: s.frames),
    "bystander_drops": ("frames dropped because a newer one was there", lambda s: s.drops),
    "bystander_repeats": ("pictures shown again, and slates", lambda s: s.repeats),
    "bystander_input_reconnects": ("times the input was opened again", lambda s: s.reconnects),
}


class Metrics:
    """An exporter that asks ``control`` whenever it is scraped."""

    def __init__(self, where: tuple[str, int], control: Control) -> None:
        """SettingsError without prometheus-client, or when the port cannot be had."""
        try:
            self.client: Any = importlib.import_module("prometheus_client")
            self.core: Any = importlib.import_module("prometheus_client.core")
        except ImportError as e:
            raise SettingsError("--metrics: needs prometheus-client; pip install 'bystander[live]'") from e
        self.control = control
        registry = self.client.CollectorRegistry()
        registry.register(self)
        try:
            self.http, self.thread = self.client.start_http_server(where[1], where[0], registry)
        except OSError as e:
            raise SettingsError(f"--metrics {where[0]}:{where[1]}: cannot listen there ({e.strerror})") from e

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])

    def collect(self) -> Iterator[Any]:
        """One reading, in prometheus-client's own types."""
        status, core = self.control.status, self.core
        for name, (text, value) in GAUGES.items():
            yield core.GaugeMetricFamily(name, text, value=value(status))
        for name, (text, value) in COUNTERS.items():
            yield core.CounterMetricFamily(name, text, value=value(status))
        whole = core.CounterMetricFamily(
            "bystander_fail_safe_frames", "frames covered whole by a fault", labels=["kind"]
        )
        for kind, n in status.whole.items():
            whole.add_metric([kind], n)
        yield whole
        edges = core.CounterMetricFamily("bystander_edge_faults", "faults of inputs and outputs", labels=["kind"])
        for kind, n in status.edges.items():
            edges.add_metric([kind], n)
        yield edges
        connected = core.GaugeMetricFamily("bystander_output_connected", "1 while it takes pictures", labels=["output"])
        for o in status.outputs:
            connected.add_metric([o.name], float(o.state == "connected"))
        yield connected
        outputs = core.CounterMetricFamily(
            "bystander_output_reconnects", "times an output was opened again", labels=["output"]
        )
        for o in status.outputs:
            outputs.add_metric([o.name], o.reconnects)
        yield outputs
        text = "newest times per stage; total: from glass to glass, without cameras, networks and players"
        latency = core.GaugeMetricFamily("bystander_latency_seconds", text, labels=["stage", "quantile"])
        for stage, values in status.latency_ms.items():
            for quantile, ms in zip(("0.5", "0.95", "0.99"), values, strict=True):
                latency.add_metric([stage, quantile], ms / 1000)
        yield latency

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
