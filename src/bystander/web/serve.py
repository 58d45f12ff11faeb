"""The application behind waitress until a signal ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from waitress.server import create_server

from bystander.errors import SettingsError
from bystander.web.app import create_app, site_of
from bystander.web.settings import WILDCARD, WebSettings

THREADS = 32  # each open event stream holds one


class Server:
    """Listens once it is made. SettingsError when it cannot."""

    def __init__(self, settings: WebSettings, certificate: tuple[Path, Path] | None = None) -> None:
        self.settings = settings
        self.app = create_app(settings)
        try:
            self.http: Any = create_server(
                self.app, host=settings.host, port=settings.port, threads=THREADS, ident="bystander",
                max_request_body_size=settings.chunk_bytes + 1, channel_timeout=60, clear_untrusted_proxy_headers=True,
                channel_request_lookahead=1,
            )  # fmt: skip
        except OSError as e:
            site_of(self.app).close()
            raise SettingsError(f"{settings.host}:{settings.port}: cannot listen there ({e.strerror})") from e

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.settings.host in WILDCARD else self.settings.host
        port = getattr(self.http, "effective_port", self.settings.port)
        return f"{'https' if self.settings.https else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Serve until KeyboardInterrupt (a signal, see ``cli``)."""
        try:
            self.http.run()
        finally:
            site_of(self.app).close()
