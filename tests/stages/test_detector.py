import numpy as np
import pytest

from bystander.errors import ModelError, SettingsError
from bystander.stages.detector import Detector, DetectorSettings, decode
from fakes import noise_frame


class FakeModel:
    stride, id = 32, "fake"

    def __init__(self, rows, names=("face",)):
        self.rows, self.names = np.array([rows], np.float32), names

    def __call__(self, images):
        return self.rows


def test_boxes_arrive_in_frame_pixels():
    """A prediction in the middle of the detector's picture is a box in the middle of the frame."""
    found = Detector(FakeModel([[320, 192, 64, 36, 0.9, 1]]))(noise_frame(1280, 720))
    assert np.allclose(found.xyxy, [[576, 324, 704, 396]], atol=2)


@pytest.mark.parametrize(("interview", "background", "evidence"), [(0.9, 0.3, 0.75), (0.3, 0.1, 0.3), (0, 0, 0)])
def test_roles_are_evidence_and_do_not_move_the_score(interview, background, evidence):
    """Objectness alone is the score; "interview" is evidence as far as it is sure and nothing else is."""
    rows = np.array([[50, 50, 20, 20, 0.8, interview, background]], np.float32)
    found = decode(rows, ("interview", "background"), DetectorSettings())
    assert found.score.tolist() == pytest.approx([0.8])
    assert found.foreground.tolist() == pytest.approx([evidence])


def test_a_model_without_roles_gives_no_evidence_to_keep():
    """A face model's detections have no foreground evidence."""
    assert decode(np.array([[50, 50, 20, 20, 0.8, 1]], np.float32), ("face",), DetectorSettings()).foreground == [0]


@pytest.mark.parametrize(
    "row", [[np.nan, 1, 1, 1, 0.9, 1], [1, 1, np.inf, 1, 0.9, 1], [9, 9, -5, 5, 0.9, 1], [9, 9, 5, 5, 7, 1]]
)
def test_nonsense_from_the_model_is_an_error(row):
    """Values that are not finite or out of range raise, so that the caller covers the whole frame."""
    with pytest.raises(ModelError):
        Detector(FakeModel([row]))(noise_frame())


@pytest.mark.parametrize("row", [[5000, 100, 50, 50, 0.9, 1], [100, -300, 50, 50, 0.9, 1]])
def test_a_face_far_outside_of_the_picture_is_an_error(row):
    """It is not clipped away: where a box is nonsense a face is somewhere else."""
    with pytest.raises(ModelError, match="outside"):
        Detector(FakeModel([row]))(noise_frame(1280, 720))


def test_no_face_is_left_out_in_silence():
    """Of very many faces all are told; whoever runs the stages judges their number."""
    rows = [[8 + 8 * (i % 78), 24 + 8 * (i // 78), 6, 6, 0.9, 1] for i in range(2400)]
    assert len(Detector(FakeModel(rows))(noise_frame(1280, 720))) == 2400


def test_predictions_of_another_shape_are_an_error():
    """A model whose rows do not fit its class names is refused."""
    with pytest.raises(ModelError, match="do not fit"):
        Detector(FakeModel([[9, 9, 5, 5, 0.9]]))(noise_frame())


def test_boxes_are_clipped_to_the_frame():
    """A box that sticks out ends at the edge; one just outside, in the padding, is not reported."""
    found = Detector(FakeModel([[0, 24, 40, 40, 0.9, 1], [-20, 0, 20, 20, 0.9, 1]]))(noise_frame(64, 48))
    assert len(found) == 1
    assert found.xyxy.min() >= 0


@pytest.mark.parametrize("bad", [{"imgsz": 10}, {"min_score": 0}])
def test_settings_out_of_range_are_refused(bad):
    """A detector setting without sense is a settings error."""
    with pytest.raises(SettingsError):
        DetectorSettings(**bad)
