"""Films in a real headless Chromium: upload, progress, review, rendering again, download, and what goes wrong."""

import re
import signal
import time
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
import pytest

from web import street
from web.browser import Visitor, running
from web.test_pages import axe
from web.test_words import WORDS

pytest.importorskip("skimage.data", reason="the demo extra is missing")
SECONDS, WIDTH, HEIGHT, FPS = 2, 480, 270, 10
READY_MS = 240_000  # a busy machine covers few pictures a second
CHUNK = 8 << 20  # bytes of one piece of an upload


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "street.mp4"
    street.make_street(path, SECONDS, WIDTH, HEIGHT, FPS)
    return path


@pytest.fixture(scope="module")
def editor(browser, server, clip):
    """A visitor whose film was uploaded through the page and is ready."""
    visitor = Visitor(browser, server)
    page = visitor.go("/#film")
    page.set_input_files("#film-file", clip)
    page.locator(".film[data-state=ready]").wait_for(timeout=READY_MS)
    yield visitor
    visitor.close()


def review(visitor):
    """The film's review, loaded anew; what an earlier test left unrendered is left behind."""
    visitor.go("/privacy")
    page = visitor.go("/#film")
    page.locator(".film-actions a.primary").click()
    page.wait_for_selector("#view-review:not([data-loading])")
    page.wait_for_selector("#review-faces button")
    return page


def downloaded(page, tmp_path):
    """The film's pictures as BGR arrays, from the download that the page's link gives."""
    with page.expect_download() as waiting:
        page.click("#take-film")
    path = tmp_path / "film.mp4"
    waiting.value.save_as(path)
    assert waiting.value.suggested_filename == "street.covered.mp4"
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def detail(picture, progress, person):
    """How much of a face's fine structure a picture has, as a share of the original's."""
    x1, y1, x2, y2 = (round(v) for v in street.face_box(person, progress, WIDTH, HEIGHT))
    original = cv2.cvtColor(street.picture(progress, WIDTH, HEIGHT), cv2.COLOR_RGB2BGR)
    fine = [cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), cv2.CV_32F)[y1:y2, x1:x2] for p in (picture, original)]
    a, b = (f - f.mean() for f in fine)
    return float((a * b).sum() / max(1e-6, (b * b).sum()))


def details(pictures, person):
    """Over all pictures: (least, most)."""
    found = [detail(p, i / (len(pictures) - 1), person) for i, p in enumerate(pictures)]
    return min(found), max(found)


def render(page):
    page.click("#render")
    page.locator("#render:disabled").wait_for()
    page.locator("#review-state").wait_for(state="hidden", timeout=READY_MS)


def test_an_uploaded_film_comes_back_covered(editor, tmp_path):
    """From the file button to the download: as many pictures, and the nearest face in none of them."""
    pictures = downloaded(review(editor), tmp_path)
    assert len(pictures) == SECONDS * FPS
    assert details(pictures, 0)[1] < 0.4


def test_a_change_in_the_review_changes_the_film_and_undo_takes_it_back(editor, tmp_path):
    """A click on the largest face keeps it once the film is rendered again; the others stay covered."""
    page = review(editor)
    assert page.is_disabled("#render")
    boxes = {b.get_attribute("data-key"): b.bounding_box() for b in page.locator("#review-faces button").all()}
    largest = max(boxes, key=lambda k: boxes[k]["height"])
    page.click(f"#review-faces button[data-key='{largest}']")
    page.locator(f"#rows li[data-id='{largest}'].kept").wait_for()
    assert page.is_visible("#take-old")
    render(page)
    pictures = downloaded(page, tmp_path)
    assert details(pictures, 0)[0] > 0.6
    assert details(pictures, 1)[1] < 0.4
    page.click("#undo")
    page.locator(f"#rows li[data-id='{largest}'].covered").wait_for()
    render(page)
    assert details(downloaded(page, tmp_path), 0)[1] < 0.4


def test_what_was_taken_back_needs_no_rendering(editor):
    """Back at what the film holds nothing is asked, and the player goes on with the film that it has."""
    page = review(editor)
    assert page.is_disabled("#render")
    page.locator("#rows .flip").first.click()
    page.locator("#render:enabled").wait_for()
    played = page.evaluate("document.getElementById('covered').src")
    page.click("#undo")
    page.locator("#render:disabled").wait_for()
    assert page.is_hidden("#take-old")
    assert page.evaluate("document.getElementById('covered').src") == played
    page.click(".review-head a")
    page.locator("#view-film").wait_for()
    assert page.is_hidden("#ask")


def test_a_report_that_could_not_be_made_is_told(editor):
    """One sentence, and the button can be pressed again at once."""
    page = review(editor)
    film = page.evaluate("fetch('/api/films').then((answer) => answer.json())")["films"][0]
    page.route("**/audit", lambda route: route.fulfill(status=202, json={**film, "report": "failed"}))
    page.click("#take-report")
    page.locator(".toast.danger").wait_for()
    assert page.inner_text(".toast.danger") == WORDS["en"]["take.report.failed"]
    page.locator("#take-report:not([aria-busy])").wait_for()
    page.unroute("**/audit")


def test_a_drawn_box_covers_what_it_holds_for_its_time(editor, tmp_path):
    """Drawn with the mouse and given a time it is in the film after rendering, and its row can remove it."""
    page = review(editor)
    page.click("#tool-box")
    area = page.locator("#drawing").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.02, area["y"] + area["height"] * 0.02)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.2, area["y"] + area["height"] * 0.5, steps=4)
    page.mouse.up()
    page.fill("[name=from_s]", "0")
    page.fill("[name=to_s]", "1")
    assert not axe(page)
    page.click("#draw-form [type=submit]")
    page.locator("#rows li[data-kind=drawn]").wait_for()
    render(page)
    pictures = downloaded(page, tmp_path)
    where = (slice(round(HEIGHT * 0.06), round(HEIGHT * 0.45)), slice(round(WIDTH * 0.04), round(WIDTH * 0.17)))
    original = [street.picture(i / (SECONDS * FPS - 1), WIDTH, HEIGHT)[..., ::-1] for i in range(SECONDS * FPS)]
    changed = [np.abs(pictures[i][where].astype(int) - original[i][where]).mean() for i in (4, 16)]
    assert changed[0] > 2 * changed[1]
    page.locator("#rows li[data-kind=drawn] button").click()
    page.locator("#rows li[data-kind=drawn]").wait_for(state="detached")


def test_the_review_works_by_keyboard_alone(editor):
    """Arrows walk through time and people, c and k decide, Ctrl+Z takes back, the divider moves, space plays."""
    page = review(editor)
    page.focus("#ruler")
    before = page.get_attribute("#ruler", "aria-valuenow")
    page.keyboard.press("Shift+ArrowRight")
    assert page.get_attribute("#ruler", "aria-valuenow") != before
    page.keyboard.press("ArrowDown")
    chosen = page.locator("#rows li.selected")
    number = chosen.get_attribute("data-id")
    page.keyboard.press("k")
    page.locator(f"#rows li[data-id='{number}'].kept.selected").wait_for()
    page.keyboard.press("c")
    page.locator(f"#rows li[data-id='{number}'].covered.selected").wait_for()
    page.keyboard.press("Control+z")
    page.locator(f"#rows li[data-id='{number}'].kept.selected").wait_for()
    page.keyboard.press("Control+z")
    page.locator(f"#rows li[data-id='{number}'].covered.selected").wait_for()
    page.focus("#divider")
    page.keyboard.press("Home")
    assert page.get_attribute("#divider", "aria-valuenow") == "0"
    page.keyboard.press(" ")
    page.locator("#play[data-playing=true]").wait_for()


def test_a_person_can_be_split_and_merged_again(editor):
    """One strip becomes two at the playhead, and one again."""
    page = review(editor)
    rows = page.locator("#rows li[data-kind=person]")
    before = {row.get_attribute("data-id") for row in rows.all()}
    count = len(before)
    page.focus("#ruler")
    page.keyboard.press("Shift+ArrowRight")
    page.click("#person-split")
    page.locator(f"#rows li[data-kind=person] >> nth={count}").wait_for()
    (new,) = {row.get_attribute("data-id") for row in rows.all()} - before
    editor.expected.append("status of 422")
    page.select_option("#person-merge", next(iter(before - {page.get_attribute("#rows li.selected", "data-id")})))
    page.get_by_text(WORDS["en"]["person.merge.together"]).wait_for()
    page.select_option("#person-merge", new)
    page.locator(f"#rows li[data-kind=person] >> nth={count}").wait_for(state="detached")
    page.keyboard.press("Control+z")
    page.locator(f"#rows li[data-kind=person] >> nth={count}").wait_for()


def test_leaving_with_changes_that_are_not_in_the_film_asks_first(editor):
    """No leaves one in the review; yes goes."""
    page = review(editor)
    page.locator("#rows .flip").first.click()
    page.locator("#render:enabled").wait_for()
    page.click(".review-head a")
    page.locator("#ask").wait_for()
    assert page.inner_text("#ask-title") == WORDS["en"]["leave.title"]
    page.click("#ask [data-answer=no]")
    assert page.locator("#view-review").is_visible()
    page.click("#undo")
    page.locator("#rows li.kept").wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_list_and_review(editor, scheme):
    """With a film, a person selected, and the question whether to remove it."""
    editor.page.emulate_media(color_scheme=scheme)
    page = review(editor)
    assert not axe(page)
    page.click("#review-remove")
    assert not axe(page)
    page.click("#ask [data-answer=no]")
    editor.go("/privacy")
    page = editor.go("/#film")
    page.locator(".film").wait_for()
    assert not axe(page)


def test_nobody_sees_somebody_elses_film(browser, server, editor):
    """Another browser has an empty list, and the address of the review leads to nothing."""
    review(editor)
    path = urlsplit(editor.page.url).fragment
    other = Visitor(browser, server)
    other.expected.append("status of 404")
    page = other.go("/#film")
    assert page.locator(".film").count() == 0
    page = other.go(f"/#{path}")
    page.locator("#review-error:visible").wait_for()
    assert page.inner_text("#review-error") == WORDS["en"]["review.gone"]
    for part in ("", "/people", "/media/original.mp4", "/download/film"):
        assert page.context.request.get(f"{server.url}/api/films/{path.split('/')[1]}{part}").status == 404
    other.close()


def test_what_cannot_be_taken_is_told_before_and_after_the_upload(browser, server, tmp_path):
    """Too large: before a byte travels. No film at all: by the server, in the user's language."""
    visitor = Visitor(browser, server, locale="de-DE")
    page = visitor.go("/#film")
    (tmp_path / "notes.mp4").write_text("no film " * 100)
    page.set_input_files("#film-file", tmp_path / "notes.mp4")
    page.locator(".film[data-state=failed]").wait_for(timeout=READY_MS)
    assert page.inner_text(".film .wrong") == WORDS["de"]["error.not_a_film"]
    assert not axe(page)
    page.click(".film .danger-text")
    page.click("#ask-yes")
    page.locator(".film").wait_for(state="detached")
    limits = page.context.request.get(f"{server.url}/api/limits").json()
    page.route("**/api/limits", lambda route: route.fulfill(json={**limits, "max_bytes": 500}))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.set_input_files("#film-file", tmp_path / "notes.mp4")
    page.locator("#film-refused:visible").wait_for()
    told = page.inner_text("#film-refused")
    assert re.search(r"notes\.mp4.*800 B.*500 B", told), told
    assert not axe(page)
    visitor.close()


@pytest.fixture(scope="module")
def large_clip(tmp_path_factory):
    """Noise, which needs two pieces."""
    path = tmp_path_factory.mktemp("large") / "noise.mp4"
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"qp": "4", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        for _ in range(36):
            noise = rng.integers(0, 256, (360, 640, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(video.encode(None))
    assert CHUNK < path.stat().st_size < 2 * CHUNK
    return path


def test_an_upload_outlives_the_server_and_the_page(browser, tmp_path, large_clip):
    """Killed in mid-upload and started again: the page goes on by itself. Reloaded: when the file is chosen again."""
    with running(tmp_path / "web") as server:
        visitor = Visitor(browser, server)
        visitor.expected += ["Failed to load resource", "ERR_", "net::"]
        page, pieces = visitor.page, []

        def piece(route):
            pieces.append(int(route.request.headers["upload-offset"]))
            if len(pieces) == 2:
                server.stop(signal.SIGKILL)
            route.continue_()

        page.route("**/upload", lambda route: piece(route) if route.request.method == "PATCH" else route.continue_())
        visitor.go("/#film")
        page.set_input_files("#film-file", large_clip)
        page.locator("#film-offline:visible").wait_for()
        assert not axe(page)
        server.start()
        page.locator("#film-offline").wait_for(state="hidden")
        page.locator(".film:not([data-state=uploading], [data-state=paused])").wait_for()
        assert pieces == [0, CHUNK, CHUNK]
        page.unroute("**/upload")
        again(page, large_clip)
        visitor.close()


def again(page, path):
    """The second half of an upload after a reload of the page."""
    page.route(
        "**/upload",
        lambda route: route.abort() if route.request.headers.get("upload-offset") == str(CHUNK) else route.continue_(),
    )
    copy = path.with_name("again.mp4")
    copy.write_bytes(path.read_bytes())
    page.set_input_files("#film-file", copy)
    card = page.locator(".film", has_text="again.mp4")
    card.get_by_text("50 %").or_(card.get_by_text(re.compile(r"[5-9]\d %"))).first.wait_for()
    page.unroute("**/upload")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.locator(".film[data-state=paused]").wait_for()
    page.set_input_files("#film-file", copy)
    page.locator(".film[data-state=paused], .film[data-state=uploading]").first.wait_for(state="detached")
    assert page.locator(".film", has_text="again.mp4").count() == 1


def test_a_removed_film_is_gone_from_the_disk(browser, server, tmp_path, clip):
    """Remove now means now: nothing of it is left in the data folder."""
    visitor = Visitor(browser, server)
    page = visitor.go("/#film")
    before = {p for p in server.data.rglob("*") if p.is_file()}
    page.set_input_files("#film-file", clip)
    page.locator(".film").wait_for()
    page.click(".film .danger-text")
    page.click("#ask-yes")
    page.locator(".film").wait_for(state="detached")
    end = time.monotonic() + 60
    while {p for p in server.data.rglob("*") if p.is_file()} - before and time.monotonic() < end:
        time.sleep(0.2)
    assert not {p for p in server.data.rglob("*") if p.is_file()} - before
    visitor.close()
