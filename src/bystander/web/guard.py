"""Who may do what: hosts, token, owner, cross-site requests, and the headers of every answer.

Runs before and after every view. Everything is refused that is not allowed here; comparisons take constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from bystander.web.errors import ApiError
from bystander.web.failures import Failures
from bystander.web.settings import LOOPBACK, WILDCARD, WebSettings

OWNER, LOGIN = "bystander_owner", "bystander_login"  # cookies
CSRF_HEADER = "X-Bystander-CSRF"
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
OPEN = frozenset(("/login", "/healthz", "/favicon.ico"))  # without a token; and /static/
OWNERLESS = frozenset(("/api/limits", "/api/openapi.json", "/api/docs"))  # say nothing of anybody
YEAR_S = 365 * 24 * 3600
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """``secret`` signs the cookies; whoever keeps it over restarts keeps the owners."""

    def __init__(self, settings: WebSettings, secret: bytes) -> None:
        self.settings, self.secret = settings, secret
        self.failures = Failures()
        own = set(LOOPBACK) | settings.hosts | {settings.host.lower()} - WILDCARD
        self.hosts = own | ({socket.gethostname().lower()} if settings.exposed else set())

    def install(self, app: Flask) -> None:
        app.before_request(self.before)
        app.after_request(self.after)
        app.context_processor(lambda: {"csrf_token": self.csrf(g.get("owner", ""))})

    def sign(self, purpose: str, value: str) -> str:
        return hmac.new(self.secret, f"{purpose}:{value}".encode(), hashlib.sha256).hexdigest()

    def csrf(self, owner: str) -> str:
        """What a page's requests must carry; another owner's does not fit."""
        return self.sign("csrf", owner)

    # --- before a view ---

    def before(self) -> AnyResponse | None:
        """None: go on to the view. ApiError or an answer otherwise."""
        g.owner, g.new_owner = "", False
        if not self.own_host(request.environ.get("HTTP_HOST", "")):
            raise ApiError(403, "bad_host", "This name is not known here; use the address that was printed at start.")
        if request.path.startswith("/static/"):
            return None
        bearer = self.bearer()
        g.owner = self.sign("api", self.settings.token)[:32] if bearer else self.cookie_owner()
        if (refusal := self.without_token(bearer=bearer)) is not None:
            return refusal
        if not bearer:
            self.check_origin()
            self.check_csrf()
        if not g.owner and request.path.startswith("/api") and request.path not in OWNERLESS:
            raise ApiError(401, "no_session", "Open the start page first; it gives this browser its session.")
        if not g.owner:
            g.owner, g.new_owner = secrets.token_urlsafe(18), True
        return None

    def own_host(self, given: str) -> bool:
        """A name from elsewhere that leads here (DNS rebinding) is refused; a number cannot be such a name."""
        try:
            name = (urlsplit(f"//{given}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.hosts:
            return True
        return self.settings.host in WILDCARD and is_number(name)

    def bearer(self) -> bool:
        """Whether the request carries the right token in a header. ApiError for a wrong one."""
        given = request.headers.get("Authorization", "")
        if not self.settings.token or not given:
            return False
        bearer = given[:7].lower() == "bearer "  # the word's case does not count (RFC 9110, 11.1)
        return self.right((given[7:] if bearer else given).strip())

    def right(self, token: str) -> bool:
        """Whether this is the token; constant time. ApiError where it is not, the sooner the more often."""
        client = network(request.remote_addr or "")
        if wait_s := self.failures.wait_s(client):
            raise ApiError(429, "too_many_tries", f"Too many wrong tokens; try again in {wait_s} seconds.",
                           {"Retry-After": str(wait_s)})  # fmt: skip
        if hmac.compare_digest(token.encode(errors="replace"), self.settings.token.encode()):
            return True
        self.failures.add(client)
        raise ApiError(401, "bad_token", "The token is wrong; it was printed when the server started.",
                       {"WWW-Authenticate": "Bearer"})  # fmt: skip

    def logged_in(self) -> bool:
        given = request.cookies.get(LOGIN, "")
        return hmac.compare_digest(given.encode(), self.sign("login", self.settings.token).encode())

    def without_token(self, *, bearer: bool) -> AnyResponse | None:
        """The refusal of a request that has no right to what it asks for; None where it has."""
        path = request.path
        if not self.settings.token or bearer or path in OPEN:
            return None
        if path == "/" and "token" in request.args:  # the printed address; the token leaves the address bar at once
            self.right(request.args["token"])
            return self.let_in(redirect("/", 303))
        if path.startswith(("/whip/", "/whep/")) or not self.logged_in():
            if request.method in SAFE and not path.startswith(("/api/", "/whip/", "/whep/", "/metrics")):
                return redirect("/login", 303)
            raise ApiError(401, "no_token", "A token is needed; log in, or send it as Authorization: Bearer.",
                           {"WWW-Authenticate": "Bearer"})  # fmt: skip
        return None

    def let_in(self, answer: AnyResponse) -> AnyResponse:
        """Logged in from now on; who never was becomes another owner, as somebody else may know the one of before."""
        if OWNER in request.cookies and LOGIN not in request.cookies:
            self.set_owner(answer, secrets.token_urlsafe(18))
        answer.set_cookie(LOGIN, self.sign("login", self.settings.token), YEAR_S, httponly=True, samesite="Strict",
                          secure=self.settings.https)  # fmt: skip
        return answer

    def cookie_owner(self) -> str:
        """The owner of the request's cookie; empty where there is none that we signed."""
        owner, _, signature = request.cookies.get(OWNER, "").partition(".")
        fits = hmac.compare_digest(signature.encode(), self.sign("owner", owner).encode())
        return owner if owner and fits else ""

    def check_origin(self) -> None:
        origin = request.headers.get("Origin")
        if request.method in SAFE or origin is None:
            return
        if origin == "null" and request.path == "/login":
            return  # what browsers send with a form of a page without referrer; the form's secret is looked at
        if host_of(origin) != request.environ.get("HTTP_HOST", "").lower():
            raise ApiError(403, "bad_origin", "Another site's page sent this; use this server's own page.")

    def check_csrf(self) -> None:
        """Whatever changes something must know what only our own page was told."""
        if request.method in SAFE or request.path.startswith(("/whip/", "/whep/")):
            return  # those: no cookie counts there; a page elsewhere fails at the origin
        given = request.headers.get(CSRF_HEADER, "")
        if not given and request.path == "/login":
            given = request.form.get("csrf_token", "")
        if not g.owner or not hmac.compare_digest(given.encode(errors="replace"), self.csrf(g.owner).encode()):
            raise ApiError(403, "bad_csrf", "This page is out of date; reload it and try again.")

    # --- after a view ---

    def after(self, answer: Response) -> Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        static = request.path.startswith("/static/")
        answer.headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
        if g.get("new_owner") and answer.mimetype == "text/html" and answer.status_code == 200:
            self.set_owner(answer, g.owner)
        return answer

    def set_owner(self, answer: AnyResponse, owner: str) -> None:
        value = f"{owner}.{self.sign('owner', owner)}"
        answer.set_cookie(OWNER, value, YEAR_S, httponly=True, samesite="Strict", secure=self.settings.https)


def host_of(origin: str) -> str:
    """Name and port in an Origin header; empty, which is nobody's, for nonsense."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def network(client: str) -> str:
    """Whose wrong tokens are counted together: an IPv6 user has a whole /64 to come from."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped:
        return client
    return str(ipaddress.ip_network((address, 64), strict=False))


def is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
