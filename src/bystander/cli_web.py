"""``bystander web``: the web app on this machine. Prints its address, and the token when it made one; never logs it.

Flask and the server are imported only here and only when used: the extra ``web``.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Any

from bystander.allocator import return_large_blocks
from bystander.errors import SettingsError
from bystander.media.address import first_line
from bystander.models import DEVICES, read_weights
from bystander.models.runtimes import candidates

TOKEN, TOKEN_FILE = "BYSTANDER_TOKEN", "BYSTANDER_TOKEN_FILE"


def add_web(sub: Any) -> None:
    """The subcommand's arguments."""
    p = sub.add_parser("web", help="the web app: go live from the browser, cover and review films")
    p.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine alone)")
    p.add_argument("--port", type=int, default=8080, help="0: any free one (default 8080)")
    p.add_argument("--data", type=Path, metavar="FOLDER", help="where films are kept until they are removed")
    p.add_argument("--token", help=f"what users must know; better ${TOKEN} or a file, which others cannot list")
    p.add_argument("--token-file", type=Path, metavar="FILE", help=f"its first line is the token; or ${TOKEN_FILE}")
    p.add_argument("--https", action="store_true", help="serve HTTPS, with a certificate of its own without --cert")
    p.add_argument("--cert", type=Path, metavar="FILE.pem", help="certificate (chain) for HTTPS")
    p.add_argument("--key", type=Path, metavar="FILE.pem", help="its private key")
    p.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name by which browsers reach it"
    )
    p.add_argument("--model", default="n", help="shipped model (n, n-face) or path of an ONNX file")
    p.add_argument(
        "--device", metavar="|".join(DEVICES), default="auto", help="where to compute (default auto: measured once)"
    )
    p.add_argument("--keep-hours", type=float, default=24, metavar="H", help="films are removed after it (default 24)")
    p.add_argument("--max-gb", type=float, default=4, metavar="GB", help="of one film (default 4)")
    p.add_argument("--max-minutes", type=float, default=60, metavar="MIN", help="of one film (default 60)")
    p.add_argument("--max-films", type=int, default=20, metavar="N", help="of one user at a time (default 20)")
    p.add_argument("--max-live", type=int, default=4, metavar="N", help="live sessions at a time (default 4)")
    p.add_argument("--watch", default="", metavar="URL", help="control address of a running bystander live")
    p.add_argument("--watch-token-file", type=Path, metavar="FILE", help="its first line is that control's token")
    p.add_argument("--open", action="store_true", help="open the page in this machine's browser")


def cmd_web(a: argparse.Namespace) -> int:
    """Serve until a signal ends it. SettingsError when it cannot."""
    return_large_blocks()
    try:
        from bystander.web.live.watch import address
        from bystander.web.serve import Server
        from bystander.web.settings import LOOPBACK, WebSettings
    except ImportError as e:
        raise SettingsError(f"bystander web needs {e.name}: pip install 'bystander[web]'") from e
    if not 0 < a.max_gb < 1e6:
        raise SettingsError(f"max-gb {a.max_gb}: must lie above 0")
    candidates(a.device, "auto", read_weights(a.model))  # what is not there is told now, not with the first film
    token, made = token_of(a, exposed=a.host not in LOOPBACK)
    given = {"data": a.data.resolve()} if a.data else {}
    settings = WebSettings(
        host=a.host, port=a.port, token=token, https=a.https or bool(a.cert), model=a.model,
        device=a.device,
        hosts=frozenset(name.lower() for name in a.allow_host), keep_hours=a.keep_hours,
        max_bytes=round(a.max_gb * 1e9), max_seconds=a.max_minutes * 60, max_films=a.max_films, max_live=a.max_live,
        watch=a.watch, watch_token=first_line(a.watch_token_file) if a.watch_token_file else "", **given,
    )  # fmt: skip
    if settings.watch:
        address(settings)  # one that cannot be is told now
    settings = replace(settings, owner_bytes=max(settings.owner_bytes, settings.max_bytes))
    server = Server(settings, certificate_of(a))
    url = server.url
    print(f"bystander: {url}/", flush=True)
    if made:
        print(f"bystander: log in with the token {token}, or open {url}/?token={token}", flush=True)
    if settings.exposed and not settings.https:
        print("bystander: browsers give no camera to pages without HTTPS; --https serves it", file=sys.stderr)
    if a.open:
        webbrowser.open(f"{url}/?token={token}" if token else f"{url}/")
    server.run()
    return 0


def token_of(a: argparse.Namespace, *, exposed: bool) -> tuple[str, bool]:
    """The token, and whether it was made up here because the server can be reached from elsewhere."""
    if a.token and a.token_file:
        raise SettingsError("give --token or --token-file, not both")
    token = a.token or (first_line(a.token_file) if a.token_file else token_of_environment())
    made = exposed and not token
    return (secrets.token_urlsafe(24), True) if made else (token, False)


def token_of_environment() -> str:
    """Of the variable, or of the file that the other variable names, as container secrets are; empty: of neither."""
    token, path = os.environ.get(TOKEN, ""), os.environ.get(TOKEN_FILE, "")
    if token and path:
        raise SettingsError(f"set ${TOKEN} or ${TOKEN_FILE}, not both")
    return first_line(Path(path)) if path else token


def certificate_of(a: argparse.Namespace) -> tuple[Path, Path] | None:
    """Certificate and key; None where one is to be made or none is needed."""
    if bool(a.cert) != bool(a.key):
        raise SettingsError("--cert and --key belong together")
    return (a.cert, a.key) if a.cert else None
