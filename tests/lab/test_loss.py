import torch

from bystander_lab.loss import Targets, assign, ciou, detection_loss, ignored_cells, nwd
from bystander_lab.model import yolov5

NONE = torch.zeros((0, 5))


def heads_of_zeros(size=64):
    return [torch.full((1, 3, size // s, size // s, 6), -4.0, requires_grad=True) for s in (8, 16, 32)]


def test_ciou_of_equal_boxes_is_one_and_falls_with_distance():
    """CIoU is 1 for the same box, lower when shifted, below 0 for boxes far apart."""
    a = torch.tensor([[10.0, 10, 8, 8]]).repeat(3, 1)
    b = torch.tensor([[10.0, 10, 8, 8], [12, 10, 8, 8], [60, 10, 8, 8]])
    same, near, far = ciou(a, b).tolist()
    assert abs(same - 1) < 1e-5
    assert 0 < near < 1
    assert far < 0


def test_a_face_goes_to_its_own_cell_and_two_neighbours():
    """A face that fits one anchor is assigned to three cells: its own and the nearest in x and in y."""
    boxes = torch.tensor([[0, 0, 34.0, 38.0, 16, 16]])  # cell (4.25, 4.75) of stride 8: left and lower neighbours
    image, _, row, col, _, local = assign(boxes, torch.tensor([[2.0, 2.0]]), (8, 8), 8)
    assert sorted(zip(row.tolist(), col.tolist(), strict=True)) == [(4, 3), (4, 4), (5, 4)]
    assert image.tolist() == [0, 0, 0]
    assert (local[:, 2:] == 2).all()


def test_a_face_four_times_off_every_anchor_is_not_assigned():
    """A face whose sides differ from an anchor by the factor 4 or more is left to another level."""
    boxes = torch.tensor([[0, 0, 32.0, 32.0, 64, 64]])
    assert len(assign(boxes, torch.tensor([[2.0, 2.0]]), (8, 8), 8)[0]) == 0


def test_ignore_region_silences_objectness():
    """Predicting a face inside an ignore region costs nothing; outside it costs."""
    detect = yolov5("n").model[-1]
    region = torch.tensor([[0, 0.0, 0, 64, 64]])

    def obj(ignore, logit):
        heads = [torch.full_like(h, logit) for h in heads_of_zeros()]
        return float(detection_loss(heads, Targets(torch.zeros((0, 6)), ignore), detect).obj)

    assert obj(region, 6.0) == 0
    assert obj(NONE, 6.0) > 0


def test_ignored_cells_reach_no_further_than_a_cell():
    """The mask of an ignore region ends within a cell of the region."""
    mask = ignored_cells(torch.tensor([[0, 16.0, 16, 24, 24]]), (1, 8, 8), 8)
    assert mask[0, 2, 2]
    assert not mask[0, :1].any()
    assert not mask[0, 4:].any()


def test_a_positive_inside_an_ignore_region_still_counts():
    """A true face that overlaps an ignore region is still learnt."""
    detect = yolov5("n").model[-1]
    targets = Targets(torch.tensor([[0, 0, 32.0, 32, 10, 12]]), torch.tensor([[0, 0.0, 0, 64, 64]]))
    heads = heads_of_zeros()
    detection_loss(heads, targets, detect).obj.backward()
    assert sum(int((h.grad[..., 4] != 0).sum()) for h in heads) > 0


def test_loss_has_finite_gradients_for_no_face_at_all():
    """A picture without a face gives a finite loss and gradient."""
    heads = heads_of_zeros()
    total = detection_loss(heads, Targets(torch.zeros((0, 6)), NONE), yolov5("n").model[-1]).total
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(h.grad).all() for h in heads)


def test_a_tiny_box_off_by_a_pixel_is_still_close():
    """Where IoU falls to a third, the Wasserstein distance stays high; it falls with distance and never below 0."""
    tiny = torch.tensor([[10.0, 10, 4, 4]])
    near, far = tiny + torch.tensor([[2.0, 0, 0, 0]]), tiny + torch.tensor([[60.0, 0, 0, 0]])
    assert float(ciou(near, tiny)) < 0.35
    assert float(nwd(near, tiny)) > 0.8
    assert 0 < float(nwd(far, tiny)) < 0.01
    assert float(nwd(tiny, tiny)) > 0.999


def test_only_low_faces_are_judged_by_the_wasserstein_distance():
    """The box term of a tiny face changes with the option, that of a large one does not."""
    detect = yolov5("n").model[-1]
    torch.manual_seed(0)
    heads = [torch.randn(1, 3, 64 // s, 64 // s, 6) for s in (8, 16, 32)]
    for side, changes in ((6.0, True), (30.0, False)):
        targets = Targets(torch.tensor([[0, 0, 30.0, 30.0, side, side]]), NONE)
        plain, other = (float(detection_loss(heads, targets, detect, px).box) for px in (0.0, 12.0))
        assert (plain != other) == changes
