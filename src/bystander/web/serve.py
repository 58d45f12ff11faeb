"""The application behind waitress until a signal ends it; with HTTPS, a front that speaks TLS stands before it."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

from waitress.server import create_server

from bystander.errors import SettingsError
from bystander.web.app import create_app, site_of
from bystander.web.certificate import own_certificate
from bystander.web.settings import WILDCARD, WebSettings
from bystander.web.tls import MOST, Front

THREADS = 32  # each open event stream holds one


class Server:
    """Listens once it is made. SettingsError when it cannot."""

    def __init__(self, settings: WebSettings, certificate: tuple[Path, Path] | None = None) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)  # that requests wait is no news
        self.settings = settings
        context = tls_context(settings, certificate) if settings.https else None
        self.app = create_app(settings)
        self.front: Front | None = None
        behind = ("127.0.0.1", 0) if context else (settings.host, settings.port)
        application: Any = self.app
        try:
            if context:
                self.front = Front((settings.host, settings.port), context)
                application = self.front.trusting(self.app)
            self.http: Any = create_server(
                application, host=behind[0], port=behind[1], threads=THREADS, ident="bystander",
                max_request_body_size=2 * settings.chunk_bytes, channel_timeout=60, clear_untrusted_proxy_headers=True,
                channel_request_lookahead=1, connection_limit=MOST, asyncore_use_poll=True,
                url_scheme="https" if context else "http",
            )  # fmt: skip
        except OSError as e:
            self.close()
            raise SettingsError(f"{settings.host}:{settings.port}: cannot listen there ({e.strerror})") from e
        if self.front:
            self.front.start(int(self.http.effective_port))

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.settings.host in WILDCARD else self.settings.host
        port = self.front.port if self.front else self.port
        return f"{'https' if self.settings.https else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def port(self) -> int:
        """Of waitress."""
        listening = getattr(self.http, "effective_listen", None)  # several sockets: a name with several addresses
        return int(listening[0][1] if listening else self.http.effective_port)

    def run(self) -> None:
        """Serve until KeyboardInterrupt (a signal, see ``cli``)."""
        try:
            self.http.run()
        finally:
            self.close()

    def close(self) -> None:
        if self.front:
            self.front.close()
        site_of(self.app).close()


def tls_context(settings: WebSettings, given: tuple[Path, Path] | None) -> ssl.SSLContext:
    """SettingsError for a certificate that cannot be used."""
    certificate, key = given or own_certificate(settings.data, settings.host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        raise SettingsError(f"{certificate}, {key}: no certificate and key that fit ({e.strerror or e})") from e
    return context
