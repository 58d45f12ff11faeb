import http.client
import json
import threading

import cv2
import numpy as np
import pytest

from bystander.errors import InputError
from bystander.types import Detections
from bystander_lab.dataset import Dataset, Picture, checked, frames_of, gather
from bystander_lab.label import Session, open_server
from bystander_lab.roles import load_roles
from bystander_lab.widerface import DataError
from fakes import make_clip

BOX = [10.0, 12.0, 40.0, 44.0]


def find(frame):
    """One sure face, told as interview, and one too weak to propose."""
    boxes = np.array([BOX, [50, 5, 60, 15]], np.float32)
    return Detections(boxes, np.array([0.9, 0.1], np.float32), np.array([0.8, 0.2], np.float32))


@pytest.fixture
def film(tmp_path):
    return make_clip(tmp_path / "walk.mp4", frames=50)  # 2 s


@pytest.fixture
def session(film, tmp_path):
    return Session(list(gather([film], 0.5, 99, find)), Dataset(tmp_path / "set", "train"))


@pytest.fixture
def ask(session):
    """Sends a request to a running server; (status, body)."""
    with open_server(session, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        port = server.server_address[1]

        def request(method, path, body=None, **headers):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                c.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
                answer = c.getresponse()
                return answer.status, answer.read()
            finally:
                c.close()

        request.address = server.server_address[0]
        yield request
        server.shutdown()
        thread.join()


def post(ask, number, faces, **headers):
    body = json.dumps({"faces": faces, "complete": True})
    return ask("POST", f"/pictures/{number}", body, **{"Content_Type": "application/json", **headers})


def test_a_film_becomes_pictures_at_even_times_with_proposals(film):
    """Two seconds give four pictures half a second apart, with the sure face and its role, and no weak one."""
    pictures = list(gather([film], 0.5, 99, find))
    assert [p.file for p in pictures] == [f"images/walk-{i:06d}.jpg" for i in (0, 13, 25, 38)]
    assert pictures[0].faces == ({"xyxy": BOX, "role": "interview"},)
    assert len(list(gather([film], 0.5, 3, find))) == 3


def test_a_turned_film_is_shown_upright(tmp_path):
    """Boxes belong to the picture as a player shows it, so the picture is turned."""
    turned = make_clip(tmp_path / "t.mp4", width=64, height=48, rotation=90)
    (_, rgb), *_ = frames_of(turned, 1)
    assert rgb.shape == (64, 48, 3)


def test_sources_of_one_name_are_refused(film, tmp_path):
    """Their pictures could not be told apart."""
    with pytest.raises(DataError, match="walk"):
        list(gather([film, tmp_path / "other/walk.mov"], 1, 9, find))


def test_a_missing_source_is_told(tmp_path):
    """A name that is no file is an error, not an empty data set."""
    with pytest.raises(InputError, match="no such file"):
        list(frames_of(tmp_path / "none.mp4", 1))


def test_what_is_saved_is_what_training_reads(session, tmp_path):
    """A saved picture comes back from the role loader with its boxes and roles, and decodes."""
    faces = [{"xyxy": BOX, "role": "background"}, {"xyxy": [-5, 2, 9, 60], "role": "interview"}]
    session.save(1, {"faces": faces, "complete": True})
    (s,) = load_roles(tmp_path / "set/train.jsonl", ())
    assert s.xyxy.tolist() == [BOX, [0, 2, 9, 48]]
    assert s.role.tolist() == [1, 0]
    assert s.group == "walk"
    assert cv2.imread(str(s.path)).shape == (48, 64, 3)


def test_labelling_goes_on_where_it_stopped(session, film, tmp_path):
    """A second session finds the saved labels, even where all faces were removed, and saving again adds no row."""
    session.save(0, {"faces": [], "complete": False})
    again = Session(list(gather([film], 0.5, 99, find)), Dataset(tmp_path / "set", "train"))
    assert [p.saved for p in again.pictures] == [True, False, False, False]
    assert (again.pictures[0].faces, again.pictures[0].complete) == ((), False)
    again.save(0, {"faces": [], "complete": True})
    assert len((tmp_path / "set/train.jsonl").read_text().splitlines()) == 1


def test_a_film_is_in_one_split_only(session, film, tmp_path):
    """Frames of a film that was labelled for training are refused for validation."""
    session.save(0, {"faces": [], "complete": True})
    with pytest.raises(DataError, match="other split"):
        Session(list(gather([film], 0.5, 9, find)), Dataset(tmp_path / "set", "val"))


def test_a_failed_save_leaves_the_rows_as_they_were(session, tmp_path, monkeypatch):
    """When the disk says no in the middle, the file of labels is the one before, and no partial file is left."""
    session.save(0, {"faces": [], "complete": True})
    before = (tmp_path / "set/train.jsonl").read_bytes()
    replace = type(tmp_path).replace

    def full(self, target):
        if target.suffix == ".jsonl":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(OSError, match="space"):
        session.save(1, {"faces": [], "complete": True})
    monkeypatch.undo()
    assert (tmp_path / "set/train.jsonl").read_bytes() == before
    assert not list((tmp_path / "set").rglob("*partial*"))
    assert not session.pictures[1].saved


@pytest.mark.parametrize(
    "faces",
    [None, {}, [1], [{"xyxy": BOX, "role": "star"}], [{"xyxy": [1, 2, 3], "role": "interview"}],
     [{"xyxy": [1, 2, float("nan"), 4], "role": "interview"}], [{"xyxy": [5, 5, 5, 9], "role": "interview"}],
     [{"xyxy": [70, 5, 90, 9], "role": "interview"}], [{"xyxy": BOX, "role": "interview"}] * 501],
)  # fmt: skip
def test_labels_that_do_not_fit_are_refused(faces):
    """Wrong types, roles, numbers and boxes outside the picture end in one line."""
    with pytest.raises(DataError):
        checked(faces, 64, 48)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    """A file of that name in another format stops the command."""
    (tmp_path / "train.jsonl").write_text('{"text": "mine"}\n')
    with pytest.raises(DataError, match="another folder"):
        Dataset(tmp_path, "train")


def test_the_page_shows_pictures_and_takes_labels(ask, session, tmp_path):
    """Page, list and picture are served; posted labels are saved; only the loopback address listens."""
    assert ask.address == "127.0.0.1"
    assert b"<svg" in ask("GET", "/")[1]
    assert len(json.loads(ask("GET", "/pictures")[1])) == 4
    assert ask("GET", "/pictures/2.jpg")[1] == session.pictures[2].jpeg
    assert post(ask, 2, [{"xyxy": BOX, "role": "background"}])[0] == 200
    assert session.pictures[2].saved
    assert json.loads((tmp_path / "set/train.jsonl").read_text())["faces"][0]["role"] == "background"


@pytest.mark.parametrize("path", ["/pictures/4.jpg", "/pictures/-1.jpg", "/pictures/../etc.jpg", "/x", "/pictures/²"])
def test_there_is_nothing_else(ask, path):
    """Other paths, also those of other files, are not found."""
    assert ask("GET", path.replace("²", "%C2%B2"))[0] == 404


def test_a_foreign_page_is_refused(ask, session):
    """Another host name, another origin and a form's content type change nothing."""
    assert ask("GET", "/pictures", Host="evil.example")[0] == 403
    assert post(ask, 0, [], Host="evil.example")[0] == 403
    assert post(ask, 0, [], Origin="http://evil.example")[0] == 403
    assert post(ask, 0, [], Content_Type="text/plain")[0] == 415
    assert not session.pictures[0].saved


def test_bad_labels_are_told_to_the_page(ask):
    """What cannot be saved answers with the reason; too much is not read."""
    status, body = post(ask, 0, [{"xyxy": BOX, "role": "star"}])
    assert status == 400
    assert "role" in json.loads(body)["error"]
    assert ask("POST", "/pictures/0", "{", Content_Type="application/json")[0] == 400
    assert ask("POST", "/pictures/0", b"x", Content_Type="application/json", Content_Length="9999999")[0] == 413


def test_a_taken_port_is_told(session):
    """A second server on the same port ends in one line."""
    with open_server(session, 0) as server, pytest.raises(DataError, match="--port"):
        open_server(session, server.server_address[1])


def test_a_picture_without_labels_keeps_its_proposals(tmp_path):
    """What was never saved starts from the model's proposals."""
    p = Picture("images/a-000000.jpg", "a", 64, 48, b"", ({"xyxy": BOX, "role": "interview"},))
    assert Dataset(tmp_path, "train").known(p) == p
