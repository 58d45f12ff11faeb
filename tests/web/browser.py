"""A real ``bystander web`` and a real headless Chromium for tests of the pages.

Both are skipped with a reason where they are missing. A page that logs an error, asks anybody but its own server, or
breaks its content security policy fails the test that opened it.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
PATIENCE_MS = 60_000  # for whatever a busy machine does
LOUD = {"error", "warning"}  # console messages that a page must not give
VIOLATIONS = """window.violations = [];
document.addEventListener('securitypolicyviolation',
  (e) => window.violations.push(`${e.effectiveDirective} ${e.blockedURI}`));"""


class Server:
    """``bystander web`` as a process of its own, which may be killed and started again."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data, self.flags, self.port = data, flags, 0
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Ready once the address is printed; the same port after a restart."""
        command = [sys.executable, "-m", "bystander", "web", "--data", str(self.data), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *self.flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.append(line)
            if match := re.search(r"(https?://[^\s/]+:(\d+))/", line):
                self.url, self.port = match[1], int(match[2])
                return
        pytest.fail(f"bystander web did not start: {''.join(lines)}")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@contextmanager
def running(data: Path, *flags: str) -> Iterator[Server]:
    pytest.importorskip("flask", reason="the web extra is missing")
    pytest.importorskip("waitress", reason="the web extra is missing")
    server = Server(data, *flags)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """A playwright browser. Skips where playwright or Chromium is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    if not CHROMIUM:
        pytest.skip("Chromium is missing")
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One person's browser window: cookies of its own, and a record of what went wrong in it."""

    def __init__(self, browser: Any, server: Server, **options: Any) -> None:
        self.server = server
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options})
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.add_init_script(VIOLATIONS)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.expected: list[str] = []  # patterns of messages that a test provokes
        self.page.on("dialog", lambda d: d.accept())  # the browser's own question before a page is left
        self.page.on("console", lambda m: m.type in LOUD and self.wrong.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.wrong.append(f"uncaught: {e}"))
        self.page.on("request", lambda r: self._asked(r.url))

    def _asked(self, url: str) -> None:
        if not url.startswith((self.server.url, "blob:", "data:")):
            self.wrong.append(f"asked somebody else: {url}")

    def go(self, path: str) -> Any:
        """Open an address of the server; the start page counts as open once its scripts run."""
        self.page.goto(self.server.url + path)
        if path.startswith("/#") or path == "/":
            self.page.wait_for_selector("body[data-ready]")
        else:
            self.page.wait_for_load_state("networkidle")
        return self.page

    def close(self) -> None:
        """AssertionError for whatever was not expected."""
        violations = [] if self.page.is_closed() else self.page.evaluate("window.violations ?? []")
        self.context.close()
        wrong = [w for w in self.wrong if not any(re.search(e, w) for e in self.expected)]
        assert not wrong, wrong
        assert not violations, violations
