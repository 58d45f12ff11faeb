"""Make the pictures of the web app that the docs show: ``PYTHONPATH=src python docs/pictures/make.py``.

Needs Chromium, playwright and the extras web and demo. The film is made of the public-domain portrait that
scikit-image ships; pictures come out beside this file, as JPEG.
"""

# ruff: noqa: INP001  a script, no package
from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from web import street  # noqa: E402  found through the line above
from web.browser import Server, Visitor, chromium, running  # noqa: E402

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
READY_MS = 300_000
LARGEST = 150_000  # bytes of a picture


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        film, camera = Path(folder) / "market-interview.mp4", Path(folder) / "camera.mjpeg"
        street.make_street(film, 6, 960, 540, 12)
        street.make_camera(camera)
        with (
            running(Path(folder) / "data") as server,
            chromium(f"--use-file-for-fake-video-capture={camera}") as browser,
        ):
            live(browser, server)
            films(browser, server, film)


def save(page: Any, name: str) -> None:
    """Write NAME.jpg, as good as fits."""
    for quality in (82, 70, 58, 46):
        data = page.screenshot(type="jpeg", quality=quality, animations="disabled")
        if len(data) <= LARGEST:
            break
    (HERE / f"{name}.jpg").write_bytes(data)
    sys.stdout.write(f"{name}.jpg: {len(data) // 1000} kB\n")


def shot(browser: Any, server: Server, path: str, what: Callable[[Any], None], **options: Any) -> None:
    visitor = Visitor(browser, server, **options)
    what(visitor.go(path))
    visitor.close()


def live(browser: Any, server: Server) -> None:
    shot(browser, server, "/#live", lambda page: save(page, "live-start"), viewport=DESKTOP, color_scheme="light")
    shot(browser, server, "/#live", on_air("live", "live-panic"), viewport=DESKTOP, color_scheme="dark")
    shot(browser, server, "/#live", on_air("live-phone"), viewport=PHONE, color_scheme="light", locale="de-DE")


def on_air(name: str, panic: str = "") -> Callable[[Any], None]:
    """Go live, keep the largest face, and, if named, hit panic."""

    def do(page: Any) -> None:
        page.click("#live-start")
        page.wait_for_selector("#view-live[data-state=live]")
        page.locator("#live-faces button").first.wait_for()
        page.locator("#view-live input[value=none]").check(force=True)  # nobody but who is clicked
        page.wait_for_timeout(4000)
        boxes = [b.bounding_box() for b in page.locator("#live-faces button").all()]
        largest = max((b for b in boxes if b), key=lambda b: b["height"])
        page.mouse.click(largest["x"] + largest["width"] / 2, largest["y"] + largest["height"] / 2)
        page.locator("#live-faces button.kept").wait_for()
        page.wait_for_timeout(1500)
        page.evaluate("document.querySelector('#live-camera option').textContent = 'Webcam'")  # the fake one has a path
        save(page, name)
        if panic:
            page.keyboard.press("p")
            page.wait_for_timeout(500)
            save(page, panic)

    return do


def films(browser: Any, server: Server, film: Path) -> None:
    visitor = Visitor(browser, server, viewport=DESKTOP, color_scheme="light")
    page = visitor.go("/#film")
    page.set_input_files("#film-file", film)
    page.locator(".film[data-state=ready]").wait_for(timeout=READY_MS)
    page.set_input_files("#film-file", copy_of(film, "press-conference.mp4"))
    page.locator(".film[data-state=analysing]").wait_for(timeout=READY_MS)
    page.wait_for_timeout(1500)
    save(page, "films")
    page.locator(".film:not([data-state=ready])").wait_for(state="detached", timeout=READY_MS)
    page.locator(".film-actions a.primary").last.click()
    page.wait_for_selector("#review-faces button")
    page.wait_for_timeout(1500)
    largest = max(page.locator("#review-faces button").all(), key=lambda b: b.bounding_box()["height"])
    largest.click()
    page.locator("#rows li.kept").wait_for()
    page.wait_for_timeout(500)
    save(page, "review")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(800)
    save(page, "review-phone")
    visitor.close()


def copy_of(film: Path, name: str) -> Path:
    path = film.with_name(name)
    path.write_bytes(film.read_bytes())
    return path


if __name__ == "__main__":
    main()
