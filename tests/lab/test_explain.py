import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam

from bystander.media.images import read_image
from bystander.models import read_weights
from bystander.stages.detector import Detector, DetectorSettings
from bystander.stages.letterbox import letterbox
from bystander_lab.cli import main
from bystander_lab.evaluate import still_frame
from bystander_lab.explain import LAYERS, METHODS
from bystander_lab.explain.counterfactual import edits, outcomes
from bystander_lab.explain.faithful import area_under, curves, random_map, randomised
from bystander_lab.explain.maps import (
    OBJECTNESS,
    column_of,
    explain,
    layer_map,
    level_of,
    modules_at,
    raw_map,
    watch,
)
from bystander_lab.explain.page import findings
from bystander_lab.explain.rebuild import rebuild
from bystander_lab.explain.regions import REGIONS, areas, masks, points_at, shares
from bystander_lab.explain.scene import FOUND, Face, Opened, Scene, look, open_for_explaining
from bystander_lab.explain.summary import marked_in
from bystander_lab.explain.why import Question, why
from bystander_lab.export import anchors_px, write_onnx
from bystander_lab.model import Conv, yolov5
from bystander_lab.roles import ROLES
from bystander_lab.transfer import read_onnx
from bystander_lab.widerface import DataError

torch.set_num_threads(1)


def role_model(seed=1):
    """The shipped face detector with role layers of random weights: it finds faces and guesses their roles."""
    torch.manual_seed(seed)
    model = yolov5("n", ROLES).eval()
    face = read_onnx(read_weights("n").path)
    own = model.state_dict()
    model.load_state_dict({**own, **{k: v for k, v in face.items() if k in own and own[k].shape == v.shape}})
    for name, block in [(n, m) for n, m in model.named_modules() if isinstance(m, Conv)]:
        if f"{name}.conv.weight" in face:  # folded already: a norm that changes nothing
            block.bn.running_var.fill_(1 - block.bn.eps)
    for role in model.model[-1].role:
        torch.nn.init.normal_(role.last.weight, std=0.3)
        torch.nn.init.normal_(role.last.bias, std=0.1)
    return model


@pytest.fixture(scope="module")
def role_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "roles.onnx"
    model = role_model()
    meta = {"names": json.dumps(ROLES), "stride": "32", "anchors": json.dumps(anchors_px(model))}
    write_onnx(model, path, meta)
    return path


@pytest.fixture(scope="module")
def opened(role_file):
    return open_for_explaining(role_file, 256)


def drawn_face(width=320, height=240, centres=((90, 90), (230, 100)), side=60):
    """An RGB picture with faces that the detector takes for faces."""
    from skimage import data

    face = data.astronaut()[0:200, 130:330]
    picture = np.full((height, width, 3), 90, np.uint8)
    for x, y in centres:
        small = cv2.resize(face, (side * 2, side * 2), interpolation=cv2.INTER_AREA)
        picture[y - side : y + side, x - side : x + side] = small
    return picture


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "two.png"
    cv2.imwrite(str(path), cv2.cvtColor(drawn_face(), cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture(scope="module")
def scene(opened, photo):
    return look(opened, read_image(photo))


def lines_of(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("weights", ["shipped", "roles"])
@pytest.mark.parametrize("shape", [(384, 640), (192, 320)])
def test_the_rebuilt_model_predicts_what_the_runtime_does(weights, shape, role_file):
    """Boxes agree to 0.05 px and scores to 1e-4 at two sizes; the logits are what the scores come from."""
    opened = open_for_explaining("n" if weights == "shipped" else role_file)
    images = np.random.default_rng(0).random((1, 3, *shape), np.float32)
    want = opened.runtime(images)
    got = opened.torch.predictions(torch.from_numpy(images)).numpy()
    assert np.abs(got - want)[..., :4].max() <= 0.05
    assert np.abs(got - want)[..., 4:].max() <= 1e-4
    logits = opened.torch(torch.from_numpy(images)).sigmoid().detach().numpy()
    assert np.abs(logits[..., 4:] - want[..., 4:]).max() <= 1e-4


def test_a_file_of_another_kind_is_refused(role_file, tmp_path):
    """A tensor that is missing or of another shape, and a file without names, are told in one error each."""
    import onnx

    graph = onnx.load(str(role_file))
    for t in graph.graph.initializer:
        if t.name == "model.24.m.0.bias":
            t.name = "other"
    onnx.save(graph, str(tmp_path / "other.onnx"))
    with pytest.raises(DataError, match="tensors"):
        rebuild(tmp_path / "other.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, str(tmp_path / "nameless.onnx"))
    with pytest.raises(DataError, match="names"):
        rebuild(tmp_path / "nameless.onnx")


def test_what_is_explained_is_what_the_detector_found(opened, scene, photo):
    """The scene's faces are the detector's own, in its order of score, with the same boxes, scores and evidence."""
    frame = read_image(photo)
    found = Detector(opened.runtime, DetectorSettings(256, FOUND))(frame)
    assert len(found) == len(scene.faces) == 2
    box = letterbox(frame, 256, 32)[1]
    for face, xyxy, score, evidence in zip(
        sorted(scene.faces, key=lambda f: -f.score), found.xyxy, found.score, found.foreground, strict=True
    ):
        assert np.allclose(box.to_frame(face.xyxy)[0], xyxy, atol=0.01)
        assert (face.score, face.evidence) == (score, evidence)
    assert scene.faces[0].xyxy[0] < scene.faces[1].xyxy[0]


def test_a_turned_frame_is_explained_upright(opened, photo):
    """A frame stored on its side gives the same faces, boxes and picture as the upright one."""
    frame = read_image(photo)
    sideways = replace(frame, y=np.rot90(frame.y), u=np.rot90(frame.u), v=np.rot90(frame.v), rotation_deg=90)
    a, b = look(opened, frame), look(opened, sideways)
    assert a.inner == b.inner
    assert np.allclose(a.faces[0].xyxy, b.faces[0].xyxy, atol=0.5)
    assert np.abs(a.picture.astype(int) - b.picture).mean() < 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_of_the_picture_alone(method, opened, scene):
    """A finite map of the detector's size, with some evidence in it and nothing in the padding."""
    heat = explain(opened, scene, scene.faces[0], "background", method)
    assert heat.values.shape == scene.images.shape[2:]
    assert np.isfinite(heat.values).all()
    assert (heat.values > 0).any()
    x1, y1, x2, y2 = scene.inner
    outside = np.ones(heat.values.shape, bool)
    outside[y1:y2, x1:x2] = False
    assert (heat.values[outside] == 0).all()


def test_gradients_are_those_of_the_chosen_row(opened, scene):
    """HiResCAM of the left face's own level and of the right one's peak nearer to the face that was asked for."""
    for face in scene.faces:
        layer = {0: "17", 1: "20", 2: "23"}[level_of(scene, face.row)]
        heat = explain(opened, scene, face, "interview", "hirescam", layer).values
        y, x = np.unravel_index(np.abs(heat).argmax(), heat.shape)
        gaps = [np.hypot(*((f.xyxy[:2] + f.xyxy[2:]) / 2 - (x, y))) for f in scene.faces]
        assert scene.faces[int(np.argmin(gaps))] is face


def test_a_role_s_map_sums_both_networks_that_it_is_read_from(opened, scene):
    """HiResCAM of a class adds the context's part at the same depth; objectness is read from the detector alone."""
    face = scene.faces[0]
    images = torch.from_numpy(scene.images)
    interview, model = column_of(opened.runtime.names, "interview"), opened.torch
    whole = raw_map(model, images, face.row, interview, "hirescam", "9")
    parts = [layer_map(lambda x: model(x)[:, face.row, interview], images, m.model[9], "hirescam")
             for m in (model.yolo, model.yolo.context)]  # fmt: skip
    assert all(np.abs(p).max() > 0 for p in parts)
    assert parts[1].size < parts[0].size  # the context looks at half the picture's size
    assert np.isclose(whole.sum(), parts[0].sum() + parts[1].sum(), rtol=0.1)
    assert len(modules_at(model, OBJECTNESS, 9)) == 1


def test_occlusion_sees_what_the_score_hangs_on(opened, scene):
    """Hiding the face costs its face score more than hiding any place that does not touch it."""
    face = scene.faces[0]
    heat = explain(opened, scene, face, "face", "occlusion").values
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    x1, y1, x2, y2 = face.xyxy + np.array([-32, -32, 32, 32])
    assert x1 <= x <= x2
    assert y1 <= y <= y2


def test_the_watched_layer_agrees_with_captum_and_no_hook_stays(opened, scene):
    """Grad-CAM from the watched activations and gradients is Captum's; afterwards the layer has no hook, even after
    a fault.
    """
    row, column = scene.faces[0].row, column_of(ROLES, "interview")
    images = torch.from_numpy(scene.images)
    layer = opened.torch.yolo.model[9]
    with watch(layer) as seen:
        opened.torch(images)[:, row, column].sum().backward()
    mine = (seen.gradient.mean((2, 3), keepdim=True) * seen.activation.detach()).sum(1)[0]
    theirs = LayerGradCam(lambda x: opened.torch(x)[:, row, column], layer).attribute(images)[0, 0]
    assert torch.allclose(mine, theirs, atol=1e-6)
    with pytest.raises(ZeroDivisionError), watch(layer):
        raise ZeroDivisionError
    assert not layer._forward_hooks


def test_a_layer_behind_the_face_s_level_is_refused(opened, scene):
    """A face read at stride 8 or 16 owes nothing to layer 23; asking for it names the layers that fit."""
    face = next(f for f in scene.faces if level_of(scene, f.row) < 2)
    with pytest.raises(DataError, match="choose 4, 6, 9"):
        explain(opened, scene, face, layer="23")
    assert LAYERS["23"][1] == (2,)


def test_the_function_behind_the_command_answers_with_a_picture(opened):
    """One face gives its picture, all faces a sheet with both; the lines name role and figures."""
    frame = still_frame(drawn_face())
    alone, both = why(opened, frame, 2), why(opened, frame)
    assert alone.picture.dtype == np.uint8
    assert alone.picture.std() > 10
    assert len(both.lines) == 2
    assert both.lines[1] == alone.lines[0]
    assert "interview 0." in alone.lines[0]
    assert both.picture.shape[1] > alone.picture.shape[1]
    other = why(opened, frame, 2, Question("face", "hirescam", "6"))
    assert np.abs(other.picture.astype(int) - alone.picture).mean() > 1


def test_the_command_writes_a_picture_and_says_that_it_shows_faces(role_file, photo, tmp_path, capsys):
    """The file is the function's picture; stdout warns that it is uncovered."""
    out = tmp_path / "why.png"
    args = ["explain", str(photo), "--face", "1", "--weights", str(role_file), "--imgsz", "256", "-o", str(out)]
    assert main(args) == 0
    assert "shows faces uncovered" in capsys.readouterr().out
    want = why(open_for_explaining(role_file, 256), read_image(photo), 1).picture
    assert np.array_equal(cv2.cvtColor(cv2.imread(str(out)), cv2.COLOR_BGR2RGB), want)
    assert main(args) == 2
    assert "--overwrite" in lines_of(capsys)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One second: a face on the left; a second one, on the right, comes later."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(10):
            rgb = drawn_face(centres=((90 + i, 90),) if i < 4 else ((90 + i, 90), (230, 100)))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        out.mux(stream.encode(None))
    return path


def test_a_film_gives_a_film_of_the_same_face(film, role_file, tmp_path, capsys):
    """Five pictures a second of one second, in each of which the face was followed."""
    out = tmp_path / "why.mp4"
    args = ["explain", str(film), "--face", "1", "--fps", "5", "--weights", str(role_file), "--imgsz", "256"]
    assert main([*args, "-o", str(out)]) == 0
    assert "5 pictures, the face seen in 5" in capsys.readouterr().out
    with av.open(str(out)) as c:
        assert sum(1 for _ in c.decode(video=0)) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["why.mp4"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--face", "3"], "has 2 found faces"),
        (["--face", "-1"], "has 2 found faces"),
        (["--layer", "12"], "choose auto or one of"),
        (["--layer", "x"], "choose auto or one of"),
        (["--target", "interview", "--weights", "n-face"], "know no roles"),
        (["--target", "background", "--weights", "n-face"], "know no roles"),
        (["--weights", "nowhere.onnx"], "no such model"),
        (["--imgsz", "1"], "between 64 and 4096"),
    ],
)
def test_what_cannot_be_explained_is_told_in_one_line(args, says, photo, role_file, tmp_path, capsys):
    """Exit code 2, one line, no file."""
    out = tmp_path / "o.png"
    assert main(["explain", str(photo), "--weights", str(role_file), "--imgsz", "256", "-o", str(out), *args]) == 2
    assert says in lines_of(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: cv2.imwrite(str(p), np.full((200, 300, 3), 128, np.uint8)), "no face was found"),
        (lambda p: p.write_bytes(b"hello"), "not a picture that decodes"),
        (lambda p: None, "cannot be read"),
    ],
)
def test_a_source_without_a_face_or_picture_is_told_in_one_line(make, says, tmp_path, capsys):
    """An empty scene, a file of something else and no file end in one line and exit code 2."""
    source = tmp_path / "in.png"
    make(source)
    assert main(["explain", str(source), "-o", str(tmp_path / "o.png")]) == 2
    assert says in lines_of(capsys)
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize("name", ["why.txt", "why.png"])
def test_a_film_is_written_under_a_film_s_name(name, film, tmp_path, capsys):
    """Another ending is refused before the work, naming those that fit."""
    assert main(["explain", str(film), "-o", str(tmp_path / name), "--imgsz", "96"]) == 2
    assert ".mp4" in lines_of(capsys)


def test_a_film_without_a_face_is_told_in_one_line(tmp_path, capsys):
    """Nothing is left behind."""
    from media.clips import make_clip

    source = make_clip(tmp_path / "texture.mp4")
    assert main(["explain", str(source), "-o", str(tmp_path / "o.mp4"), "--imgsz", "96"]) == 2
    assert "no face was found" in lines_of(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["texture.mp4"]


@pytest.mark.parametrize("library", ["torch", "captum"])
def test_a_missing_library_is_told_with_its_cure(library, photo, tmp_path, monkeypatch, capsys):
    """Without the lab extra the command says what to install."""
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["explain", str(photo), "-o", str(tmp_path / "o.png")]) == 2
    err = lines_of(capsys)
    assert f"{library} is missing" in err
    assert "bystander[lab]" in err


def box_scene(inner=(0, 0, 100, 80), faces=((40, 20, 50, 32),)):
    made = tuple(Face(i, np.array(f, np.float32), 0.9, 0.5, {}) for i, f in enumerate(faces))
    return Scene(np.zeros((1, 3, 96, 128), np.float32), inner, np.zeros((80, 100, 3), np.uint8), made)


def test_every_place_belongs_to_one_region():
    """Regions cover the picture once; the face beats a marked microphone, that the body, that the edge."""
    s = box_scene(faces=((40, 20, 50, 32), (70, 20, 80, 32)))
    marked = [{"kind": "microphone", "xyxy": [44, 30, 48, 40]}]
    regions = masks(s, s.faces[0], marked)
    assert tuple(regions) == REGIONS
    total = sum(m.astype(int) for m in regions.values())
    assert (total[:80, :100] == 1).all()
    assert total.sum() == 80 * 100
    at = {(31, 45): "face", (35, 45): "microphone", (35, 42): "body", (25, 75): "other faces", (79, 45): "body",
          (2, 45): "edge", (40, 90): "rest"}  # fmt: skip
    assert {k: next(n for n, m in regions.items() if m[k]) for k in at} == at


def test_evidence_is_shared_out_by_where_it_lies():
    """Only positive evidence counts; three quarters on the face are 0.75, and the strongest place decides the game."""
    s = box_scene()
    regions = masks(s, s.faces[0])
    values = np.zeros((96, 128), np.float32)
    values[25, 45], values[40, 90], values[2, 2] = 3, 1, -9
    share = shares(values, regions)
    assert (share["face"], share["rest"], share["edge"]) == pytest.approx((0.75, 0.25, 0), abs=1e-6)
    assert points_at(values, regions["face"])
    assert not points_at(-values, regions["face"])
    assert sum(areas(regions).values()) == pytest.approx(1)


class OnePlace(torch.nn.Module):
    """Stands for a network that sees the green of one place and nothing else; row 0, objectness in column 4."""

    def __init__(self):
        super().__init__()
        self.yolo = torch.nn.Module()
        self.yolo.weight = torch.nn.Parameter(torch.tensor([8.0, 0.0]))

    def forward(self, images):
        seen = images[:, 1, 20:36, 40:56].mean((1, 2)) * self.yolo.weight[0] - 4
        return seen[:, None, None].expand(-1, 1, 6)


def test_a_true_map_beats_a_random_one_and_a_false_one_does_not():
    """Where one place alone decides, naming it gives low deletion and high insertion; naming the rest the reverse."""
    images = np.full((1, 3, 96, 128), 0.1, np.float32)
    images[0, 1, 20:36, 40:56] = 1
    s = replace(box_scene((0, 0, 128, 96)), images=images)
    opened = Opened(SimpleNamespace(names=("face",)), OnePlace())
    true = np.zeros((96, 128), np.float32)
    true[20:36, 40:56] = 1

    def both(values):
        return [area_under(c) for c in curves(opened, s, s.faces[0], "face", values)]

    chance = [both(random_map(s, i)) for i in range(4)]
    assert both(true)[0] < min(d for d, _ in chance)
    assert both(true)[1] > max(i for _, i in chance)
    assert both(-true)[0] > both(true)[0] + 0.3
    gone, back = curves(opened, s, s.faces[0], "face", true)
    assert gone[0] == pytest.approx(back[-1])  # nothing gone, all back: the picture as it is


def test_shuffling_the_weights_spoils_a_map_that_needs_them_and_not_one_that_does_not(opened, scene):
    """HiResCAM changes when the head is shuffled; Eigen-CAM of a layer before the head cannot, and is found out."""
    face = scene.faces[0]
    needs = randomised(opened, scene, face, explain(opened, scene, face, "interview", "hirescam", "9"))
    blind = randomised(opened, scene, face, explain(opened, scene, face, "interview", "eigencam", "9"))
    assert blind["head"] == pytest.approx(1)
    assert needs["head"] < 0.9
    assert abs(needs["all"]) < 0.9


@pytest.fixture(scope="module")
def role_set(tmp_path_factory, photo, scene):
    """Two pictures of one film, their boxes those that are found; in the first a microphone is marked."""
    folder = tmp_path_factory.mktemp("set")
    for name in "ab":
        (folder / f"{name}.png").write_bytes(photo.read_bytes())
    boxes = [scene.to_picture(f.xyxy).tolist() for f in scene.faces]  # the picture is not shrunk: px of the file
    faces = [{"xyxy": xyxy, "role": role} for xyxy, role in zip(boxes, ROLES, strict=True)]
    row = {"width": 320, "height": 240, "group": "g", "source": "s", "complete": True, "faces": faces}
    rows = [{**row, "file": "a.png", "regions": [{"kind": "microphone", "xyxy": [220, 120, 240, 160]}]},
            {**row, "file": "b.png"}]  # fmt: skip
    path = folder / "val.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_the_summary_writes_figures_plots_and_a_page(role_set, role_file, tmp_path, capsys):
    """Every way and target has its row, shares add up, the page needs no other file and warns of faces."""
    out = tmp_path / "summary"
    args = ["explain", "--summary", str(out), "--data", str(tmp_path), "--roles", str(role_set), "--limit", "3",
            "--weights", str(role_file), "--imgsz", "256", "--ways", "hirescam:9", "gradcam:9"]  # fmt: skip
    assert main(args) == 0
    report = json.loads((out / "summary.json").read_text())
    assert report["faces"] == 3
    assert 1 <= report["faces_with_marked_regions"] <= 2
    assert {(r["target"], r["method"]) for r in report["evidence"]} == {
        (t, m) for t in ROLES for m in ("hirescam", "gradcam")
    }
    for row in report["evidence"]:
        assert sum(row["share"].values()) == pytest.approx(1, abs=0.001)
    assert {r["method"] for r in report["faithfulness"]} == {"hirescam", "gradcam", "random", "near the face"}
    page = (out / "index.html").read_text()
    assert "shows faces uncovered" in page
    assert 'src="data:image/png;base64' in page
    assert "http" not in page
    assert {p.name for p in out.glob("*.png")} == {"evidence.png", "curves.png", "randomisation.png"}
    assert "faces uncovered" in capsys.readouterr().out
    assert main(args) == 2
    assert "--overwrite" in lines_of(capsys)


def test_the_summary_says_no_more_than_its_figures():
    """Without a map that beats a random one nothing is said of what the model looks at."""
    row = {"method": "gradcam", "layer": "9", "faces": 3, "deletion": {"better_than_random_by": -0.1},
           "insertion": {"better_than_random_by": 0.2}}  # fmt: skip
    (line,) = findings({"faithfulness": [row], "faces": 3, "told_right": 3, "evidence": []})
    assert "nothing is said" in line


@pytest.mark.parametrize("regions", [[{"kind": "lamp", "xyxy": [0, 0, 1, 1]}], [{"kind": "hand", "xyxy": [1]}], 3])
def test_marked_regions_that_do_not_fit_are_named(regions, role_set, tmp_path):
    """An unknown kind, a box of one number and something that is no list end in one error with file and line."""
    path = tmp_path / "bad.jsonl"
    row = json.loads(role_set.read_text().splitlines()[0])
    path.write_text(json.dumps({**row, "regions": regions}) + "\n")
    with pytest.raises(DataError, match=r"bad\.jsonl: line 1"):
        marked_in(path)


def test_counterfactuals_change_what_they_say(opened, scene):
    """Each edit changes the pixels of its own region alone, and the masked region is the one given."""
    face = scene.faces[0]
    before = scene.images[0]
    done = {name: image for name, image, _ in edits(scene, face, (10, 150, 40, 30))}
    regions = {n: (np.abs(image - before) > 1e-6).any(0) for n, image in done.items()}
    x1, y1, x2, y2 = (round(float(v)) for v in face.xyxy)
    at_face = np.s_[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
    assert regions["subject blurred"][at_face].mean() > 0.9
    assert not regions["background grey"][at_face].any()
    assert not regions["body grey"][at_face].any()
    assert regions["background grey"].sum() > regions["body grey"].sum()
    ys, xs = np.nonzero(regions["region grey"])
    w = scene.inner[2] / 320
    assert np.allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.array([10, 150, 50, 180]) * w, atol=1)
    with pytest.raises(DataError, match="outside of the picture"):
        list(edits(scene, face, (300, 0, 40, 30)))


def test_a_shrunk_subject_is_found_where_it_was_put(opened, scene):
    """The face of half the size is found at the expected place; what the model says of it may differ."""
    done = {o.edit: o for o in outcomes(opened, scene, scene.faces[0])}
    small = done["subject at 50%"].face
    assert small is not None
    assert small.xyxy[2] - small.xyxy[0] < 0.7 * (scene.faces[0].xyxy[2] - scene.faces[0].xyxy[0])
    assert done["as it is"].face is scene.faces[0]


def test_the_counterfactual_command_reports_how_the_evidence_moves(role_file, photo, tmp_path, capsys):
    """A line an edit with its move, a contact sheet, and a warning; a region that is no region is one line."""
    out = tmp_path / "what-if.png"
    args = ["explain", str(photo), "--counterfactual", "--face", "2", "--weights", str(role_file), "--imgsz", "256",
            "-o", str(out)]  # fmt: skip
    assert main([*args, "--mask", "0,0,50,50"]) == 0
    text = capsys.readouterr().out
    assert all(w in text for w in ("subject blurred", "body grey", "region grey", "+0.000", "shows faces uncovered"))
    assert cv2.imread(str(out)).std() > 10
    assert main([*args, "--overwrite", "--mask", "0,0,50"]) == 2
    assert "X,Y,W,H" in lines_of(capsys)
