"""Review edits: what they say about the people, what they change in the painted film, and what is refused."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from bystander.cli import main as bystander
from bystander.web.films import apply
from bystander.web.films.child import End, Stop
from bystander.web.films.edits import read_history
from bystander.web.films.index import stored, turned
from bystander.web.films.steps import Steps
from web_site import User, create_app, faked, ready_film, settings, site_of

DIFFERENT = 2.0  # mean difference of luma; untouched pixels differ by none, as the copy is written without loss


@pytest.fixture
def site(tmp_path, monkeypatch):
    faked(monkeypatch)
    app = create_app(settings(tmp_path / "data"))
    yield app
    site_of(app).close()


@pytest.fixture
def film(site, tmp_path):
    """A covered film of the user: person 2 is kept by the model."""
    return reviewed(site, tmp_path)


class Reviewed:
    """A user and a film of theirs."""

    def __init__(self, app, folder, **how):
        self.user, self.folder = User(app), folder
        first = self.user.announce(5).json["id"]
        owner = site_of(app).films.store.films[first].owner
        self.user.send("DELETE", f"/api/films/{first}")
        self.film = ready_film(site_of(app), owner, folder, **how)
        self.files = site_of(app).films.store.files(self.film)
        self.path = f"/api/films/{self.film.id}"

    def edit(self, op, **values):
        return self.user.post(f"{self.path}/edits", {"op": op, **values})

    def people(self):
        return {p["id"]: p for p in self.user.get(f"{self.path}/people").json["people"]}

    def kept(self):
        return {i for i, p in self.people().items() if p["kept"]}

    def kept_in(self, frame):
        """Who is kept in one frame of the edited tracks."""
        apply.main([str(self.files.folder), str(self.film.inner["rotation"])])
        row = json.loads(self.files.next.read_text().splitlines()[frame + 1])
        return {t["id"] for t in row["tracks"] if t["kept"]}

    def painted(self):
        """(frame, height, width) luma of original and of the film painted by the edits."""
        out = self.folder / "painted.mp4"
        apply.main([str(self.files.folder), str(self.film.inner["rotation"])])
        words = ["render", self.files.source, self.files.next, out, "--overwrite", "--quiet", "--crf", "0"]
        assert bystander([str(w) for w in words]) == 0
        return luma(self.files.source), luma(out)


def reviewed(site, folder, **how):
    return Reviewed(site, folder, **how)


def luma(path):
    with av.open(str(path)) as film:
        return np.array([f.to_ndarray(format="gray").astype(float) for f in film.decode(video=0)])


def covered(films, frame, box):
    x1, y1, x2, y2 = box
    before, after = (f[frame, y1:y2, x1:x2] for f in films)
    return bool(np.abs(before - after).mean() > DIFFERENT)


def code(answer):
    return answer.status_code, answer.json["error"]["code"]


LEFT, RIGHT, LATE = (10, 10, 20, 22), (40, 10, 50, 22), (40, 30, 48, 40)


def test_people_are_told_with_their_times(film):
    """Who, when, how large, kept or not, in the order of their coming; each with a small picture."""
    one, two, three = film.people().values()
    assert [p["name"] for p in (one, two, three)] == ["1", "2", "3"]
    assert (one["kept"], two["kept"], two["auto"], two["choice"]) == (False, True, True, "auto")
    assert (one["spans"], three["spans"]) == ([[0.0, 1.0]], [[0.72, 1.0]])
    assert (one["size"], two["evidence"]) == (0.25, 0.9)
    for p in (one, two, three):
        answer = film.user.get(p["thumbnail"])
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")


def test_doubt_is_told(site, tmp_path):
    """Where a face was not found, found weakly, or its evidence is neither yes nor no, the strip says unsure."""

    def faces(i):
        more = {"unseen_s": 0.1} if 5 <= i < 10 else {"score": 0.25} if 12 <= i < 24 else {}
        return [(1, LEFT, more), (2, RIGHT, {"foreground": 0.7 if i < 10 else 0.95})]

    one, two = reviewed(site, tmp_path, faces=faces).people().values()
    assert one["unsure"] == [[0.2, 0.4], [0.48, 0.96]] or one["unsure"] == [[0.2, 0.96]]
    assert two["unsure"] == [[0.0, 0.4]]


def test_boxes_of_a_span(film):
    """Each frame's faces with who they are; at most 20 s at once."""
    frames = film.user.get(f"{film.path}/boxes?from=0.56&to=0.74").json["frames"]
    assert [len(f["faces"]) for f in frames] == [2, 2, 1, 1, 2]
    assert frames[0]["faces"][1] == {"id": 2, "xyxy": [40, 10, 50, 22], "kept": True}
    for bad in (
        "from=0&to=21",
        "from=2&to=1",
        "from=x&to=1",
        "from=-1&to=1",
        "from=0",
        "from=0&to=nan",
        "from=0&to=inf",
    ):
        assert film.user.get(f"{film.path}/boxes?{bad}").status_code == 422


def test_choose(film):
    """A person's word keeps and covers; "auto" takes it back."""
    assert film.edit("choose", person=1, verdict="keep").json["choices"] == {"1": "keep"}
    assert film.kept() == {1, 2}
    film.edit("choose", person="2", verdict="cover")
    assert film.kept() == {1}
    film.edit("choose", person=2, verdict="auto")
    film.edit("choose", person=1, verdict="auto")
    assert film.kept() == {2}
    assert film.user.film(film.film.id)["edits_version"] == 5


def test_a_chosen_face_is_covered_where_it_was_not_found(site, tmp_path):
    """Keep means: where the face is seen. Where it was only guessed, or a stage failed, it stays covered."""
    film = reviewed(site, tmp_path, faces=lambda i: [(1, LEFT, {"unseen_s": 0.2 if i == 3 else 0.0})], whole={5})
    film.edit("choose", person=1, verdict="keep")
    assert [film.kept_in(i) for i in (2, 3, 4, 5)] == [{1}, set(), {1}, set()]


def test_edits_change_the_painted_film(film):
    """Kept: the pixels of the original. Covered, and under a box: not. Nothing else changes."""
    films = film.painted()
    assert [covered(films, 5, b) for b in (LEFT, RIGHT)] == [True, False]
    film.edit("choose", person=1, verdict="keep")
    film.edit("choose", person=2, verdict="cover")
    film.edit("add_box", from_s=0.3, to_s=0.4, x=5, y=30, w=12, h=12)
    films = film.painted()
    box = (5, 30, 17, 42)
    assert [covered(films, 5, b) for b in (LEFT, RIGHT, box)] == [False, True, False]
    assert [covered(films, i, box) for i in (7, 8, 10, 12)] == [True, True, True, False]


def test_a_box_covers_whoever_is_kept(film):
    """A hand-drawn box always covers, whatever else says keep; to its very corners."""
    film.edit("choose", person=1, verdict="keep")
    film.edit("add_zone", from_s=0, to_s=1, x=0, y=0, w=64, h=48)
    film.edit("add_box", from_s=0, to_s=1, x=8, y=8, w=14, h=16)
    films = film.painted()
    assert covered(films, 10, LEFT)
    for x, y in ((8, 8), (20, 8), (8, 22), (20, 22)):
        assert covered(films, 10, (x, y, x + 2, y + 2))


def test_a_box_covers_each_frame_that_its_span_touches(site, tmp_path):
    """A span between two frames covers the frame that is shown then."""
    film = reviewed(site, tmp_path)
    film.edit("add_box", from_s=0.21, to_s=0.22, x=5, y=30, w=12, h=12)
    films = film.painted()
    assert [covered(films, i, (5, 30, 17, 42)) for i in (4, 5, 6)] == [False, True, False]


def test_a_zone_keeps_the_steady_only(site, tmp_path):
    """In a zone a face stays sharp while it is steady and found; outside of its time and place nothing changes."""

    def faces(i):
        return [(1, LEFT, {"steady": i >= 5, "unseen_s": 0.1 if i == 8 else 0.0}), (2, RIGHT, {})]

    film = reviewed(site, tmp_path, faces=faces)
    film.edit("add_zone", from_s=0, to_s=0.5, x=5, y=5, w=20, h=20)
    assert [film.kept_in(i) for i in (3, 5, 8, 9, 12, 13)] == [set(), {1}, set(), {1}, {1}, set()]


def test_a_persons_cover_beats_a_zone_and_whoever_may_be_them(site, tmp_path):
    """Cover beats keep; and who came close to a covered person is kept by no rule from then on, only by name."""

    def faces(i):
        beside = (48, 10, 58, 22) if i >= 10 else (54, 30, 64, 42)
        return [(1, RIGHT, {}), (2, beside, {"kept": True}), (3, LEFT, {})]

    film = reviewed(site, tmp_path, faces=faces)
    film.edit("add_zone", from_s=0, to_s=1, x=0, y=0, w=64, h=48)
    assert film.kept_in(12) == {1, 2, 3}
    film.edit("choose", person=1, verdict="cover")
    assert film.kept_in(5) == {2, 3}
    assert film.kept_in(12) == {3}
    film.edit("choose", person=2, verdict="keep")
    assert film.kept_in(12) == {2, 3}


def test_split(film):
    """From that moment on it is somebody else, who is covered until chosen."""
    film.edit("choose", person=2, verdict="keep")
    answer = film.edit("split", person=2, at_s=0.4).json
    (split,) = answer["splits"]
    assert (split["person"], split["at_s"]) == (2, 0.4)
    people = film.people()
    assert people[2]["spans"] == [[0.0, 0.4]]
    assert people[split["new"]]["spans"] == [[0.4, 0.64]]
    assert (people[2]["kept"], people[split["new"]]["kept"]) == (True, False)
    assert [film.kept_in(i) for i in (9, 10)] == [{2}, set()]
    film.edit("choose", person=split["new"], verdict="keep")
    assert film.kept_in(10) == {2}
    assert film.user.get(people[split["new"]]["thumbnail"]).status_code == 200
    again = film.edit("split", person=1, at_s=0.5).json["splits"]
    assert len({s["new"] for s in again}) == 2


def test_merge(film):
    """Two who are one share one number and one decision; a cover among theirs wins."""
    assert code(film.edit("merge", people=[1, 2])) == (422, "bad_edit")  # both are seen in one frame
    film.edit("choose", person=2, verdict="keep")
    assert film.edit("merge", people=[3, 2]).json["merges"] == [[2, 3]]
    assert set(film.people()) == {1, 2}
    assert film.people()[2]["spans"] == [[0.0, 1.0]]  # a gap as short as a blink is none
    assert film.kept_in(20) == {3}
    film.edit("undo")
    film.edit("choose", person=3, verdict="cover")
    film.edit("merge", people=[2, 3])
    assert film.people()[2]["choice"] == "cover"
    assert film.kept_in(5) == set()


def test_undo_and_redo(film):
    """Each step goes back and forth; a new edit forgets what was undone."""
    assert code(film.edit("undo")) == (409, "nothing_to_undo")
    film.edit("choose", person=1, verdict="keep")
    film.edit("add_box", from_s=0, to_s=1, x=0, y=0, w=9, h=9)
    answer = film.edit("undo").json
    assert (answer["boxes"], answer["can_undo"], answer["can_redo"]) == ([], True, True)
    assert len(film.edit("redo").json["boxes"]) == 1
    film.edit("undo")
    film.edit("choose", person=1, verdict="cover")
    assert code(film.edit("redo")) == (409, "nothing_to_redo")
    assert [film.edit("undo").status_code for _ in range(3)] == [200, 200, 409]
    assert film.kept() == {2}


def test_remove(film):
    """A box or zone goes by its id; one that is not there is told."""
    box = film.edit("add_box", from_s=0, to_s=1, x=0, y=0, w=9, h=9).json["boxes"][0]
    zone = film.edit("add_zone", from_s=0, to_s=1, x=0, y=0, w=9, h=9).json["zones"][0]
    assert (box["verdict"], zone["verdict"]) == ("cover", "keep")
    assert film.edit("remove", id=zone["id"]).json["zones"] == []
    assert code(film.edit("remove", id=zone["id"])) == (422, "bad_edit")
    assert len(film.user.get(f"{film.path}/edits").json["boxes"]) == 1


AREA = {"from_s": 0, "to_s": 1, "x": 0, "y": 0, "w": 10, "h": 10}
BAD = [
    {},
    {"op": "explode"},
    {"op": ["choose"]},
    {"op": "choose", "person": 1},
    {"op": "choose", "person": 99, "verdict": "keep"},
    {"op": "choose", "person": True, "verdict": "keep"},
    {"op": "choose", "person": 1.0, "verdict": "keep"},
    {"op": "choose", "person": 1 << 70, "verdict": "keep"},
    {"op": "choose", "person": 1, "verdict": "KEEP"},
    {"op": "choose", "person": 1, "verdict": ["keep"]},
    {"op": "choose", "person": 1, "verdict": "keep", "more": 1},
    {"op": "undo", "person": 1},
    {"op": "add_box", **AREA, "to_s": 0},
    {"op": "add_box", **AREA, "from_s": -1},
    {"op": "add_box", **AREA, "from_s": 5, "to_s": 6},
    {"op": "add_box", **AREA, "w": 0},
    {"op": "add_box", **AREA, "w": -5},
    {"op": "add_box", **AREA, "x": 64},
    {"op": "add_box", **AREA, "y": -10},
    {"op": "add_box", **AREA, "h": float("nan")},
    {"op": "add_box", **AREA, "h": float("inf")},
    {"op": "add_box", **AREA, "x": "0"},
    {"op": "add_zone", **AREA, "verdict": "cover"},
    {"op": "split", "person": 1, "at_s": 0},
    {"op": "split", "person": 1, "at_s": 5},
    {"op": "split", "person": 3, "at_s": 0.5},
    {"op": "merge", "people": [1]},
    {"op": "merge", "people": [1, 1]},
    {"op": "merge", "people": [3, 99]},
    {"op": "merge", "people": "13"},
    {"op": "remove", "id": 1},
    {"op": "remove", "id": "b1"},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_edits_are_refused(film, bad):
    """Whatever is unknown or cannot be true is told, and nothing changes."""
    answer = film.user.post(f"{film.path}/edits", bad)
    assert answer.status_code == 422
    assert answer.json["error"]["code"] in {"bad_edit", "bad_request"}
    assert read_history(film.files.edits).version == 0


def test_edits_survive_a_restart_and_a_crash(site, tmp_path):
    """The history is on the disk; a line that was cut off is as if it had not been."""
    film = reviewed(site, tmp_path)
    film.edit("choose", person=1, verdict="keep")
    with film.files.edits.open("ab") as f:
        f.write(b'{"op": "choose", "per')
    site_of(site).close()
    again = create_app(settings(tmp_path / "data"))
    try:
        film.user.http = again.test_client()
        owner = site_of(again).films.store.films[film.film.id].owner
        film.user.http.set_cookie("bystander_owner", f"{owner}.{site_of(again).guard.sign('owner', owner)}")
        assert film.kept() == {1, 2}
        assert film.edit("choose", person=2, verdict="cover").json["version"] == 3
        assert read_history(film.files.edits).version == 2
    finally:
        site_of(again).close()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_films_are_reviewed_upright(site, tmp_path, rotation):
    """Boxes are told, drawn and painted in px of the upright picture, whichever way the film is stored."""
    film = reviewed(site, tmp_path, rotation=rotation)
    shown = turned(np.array([LEFT], float), rotation, 64, 48)[0]
    face = film.user.get(f"{film.path}/boxes?from=0&to=0").json["frames"]
    assert face == []
    face = film.user.get(f"{film.path}/boxes?from=0&to=0.04").json["frames"][0]["faces"][0]
    assert face["xyxy"] == shown.tolist()
    x1, y1, x2, y2 = (float(v) for v in turned(np.array([(4, 28, 16, 40)], float), rotation, 64, 48)[0])
    film.edit("add_box", from_s=0, to_s=1, x=x1, y=y1, w=x2 - x1, h=y2 - y1)
    films = film.painted()
    assert covered(films, 10, (4, 28, 16, 40))
    assert not covered(films, 10, (24, 28, 34, 40))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_turning_there_and_back(rotation):
    """Upright and stored boxes are each other's inverse."""
    size = (48, 64) if rotation % 180 else (64, 48)
    there = turned(np.array([(1, 2, 13, 24)], float), rotation, 64, 48)[0]
    assert stored(tuple(there.tolist()), rotation, size) == (1, 2, 13, 24)
    assert there.min() >= 0
    assert (there[2:] <= size).all()


def audited(film):
    """Where the audit is told that somebody may be seen."""
    steps = Steps(site_of(film.user.http.application).films.store, lambda _f: None)
    asked = []

    def child(_film, _stop, arguments, _on_event, _wall_s=0):
        asked.extend(arguments)
        film.files.report.write_text("report")
        return type("End", (), {"code": 1, "error": "", "late": False})

    steps._child = child
    steps.audit(film.film, Stop())
    return [asked[i + 1].partition("@")[0] for i, word in enumerate(asked) if word == "--keep"]


def test_the_audit_is_told_who_is_kept(film):
    """Each kept person is named to the audit by a point and a time of a sure sight."""
    film.edit("choose", person=1, verdict="keep")
    film.film.rendered_version = 2
    assert audited(film) == ["15.0,16.0", "45.0,16.0"]


def versions(film):
    told = film.user.get(film.path).json
    return told["edits_version"], told["rendered_version"]


def test_what_comes_to_the_same_needs_no_rendering(film):
    """Edits that were taken back leave the film as it is: it holds the newest ones."""
    assert film.edit("choose", person=1, verdict="keep").json["rendered_version"] == 1
    assert versions(film) == (2, 1)
    assert film.edit("undo").json["rendered_version"] == 3
    assert versions(film) == (3, 3)
    film.edit("choose", person=1, verdict="keep")
    film.edit("choose", person=1, verdict="auto")
    assert versions(film) == (5, 5)
    film.edit("add_box", from_s=0, to_s=1, x=0, y=0, w=9, h=9)
    film.edit("choose", person=1, verdict="cover")
    film.edit("undo")
    assert versions(film) == (8, 5)


@pytest.mark.parametrize(("job", "rendered"), [("render", 1), ("audit", 3)])
def test_while_it_is_rendered_nothing_counts_as_rendered(film, job, rendered):
    """The film that is being made may be another one by then; an audit makes none."""
    film.film.job = job
    film.edit("choose", person=1, verdict="keep")
    film.edit("undo")
    assert versions(film) == (3, rendered)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_cancelled_rendering_leaves_the_film_as_it_was(film, cancelled):
    """Film, tracks and the player's copy change together, once all of them are made."""
    steps = Steps(site_of(film.user.http.application).films.store, lambda _f: None)
    film.film.inner["covered_plays"] = False
    film.files.covered_proxy.write_bytes(b"copy")
    film.edit("choose", person=1, verdict="keep")
    stop = Stop()

    def child(_film, _stop, arguments, on_event, _wall_s=0):
        if "bystander.web.films.apply" in arguments:
            film.files.next.write_text("edited")
            on_event({"event": "edited", "version": 1})
        elif "render" in arguments:
            Path(arguments[arguments.index("render") + 3]).write_bytes(b"painted")
        elif cancelled:
            stop.asked.set()
        else:
            Path(arguments[-1]).write_bytes(Path(arguments[-2]).read_bytes())
        return End(0)

    steps._child = child
    steps.render(film.film, stop)
    files = (film.files.covered(film.film), film.files.covered_proxy)
    assert [f.read_bytes() for f in files] == ([b"covered", b"copy"] if cancelled else [b"painted", b"painted"])
    assert film.film.rendered_version == (1 if cancelled else 2)
    assert not film.files.next_covered(film.film).exists()
    assert film.files.edited.exists() is not cancelled


def test_the_audit_is_asked_about_the_film_as_it_was_rendered(film):
    """Choices that are not in the film yet say nothing about who is to be seen in it."""
    asked = audited(film)
    film.edit("choose", person=1, verdict="keep")
    assert audited(film) == asked == ["45.0,16.0"]
