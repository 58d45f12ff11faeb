"""YOLOv5's loss for faces: CIoU for boxes, binary cross-entropy for objectness and classes.

Assignment and weights as published (v6/v7): a face belongs to every anchor whose sides differ by less than a factor
of 4, in its own cell and the two nearest neighbours; objectness learns the IoU reached. Cells inside an ignore
region ("invalid" faces: too small, too blurred, doubtful) are left out of the objectness term, so that a face that
nobody labelled is not taught as background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bystander_lab.model import STRIDES, Detect

BOX_GAIN, OBJ_GAIN, CLS_GAIN = 0.05, 1.0, 0.5
LEVEL_BALANCE = (4.0, 1.0, 0.4)  # strides 8, 16, 32
ANCHOR_RATIO = 4.0
NWD_SCALE_PX = 12.8  # the paper's: the mean size of tiny objects
# Not focal: that bends probabilities towards a half, and they are summed as evidence later. The roles are nearly in
# balance (2,944 subjects, 3,591 others in training); the weight stands for the price of a bystander kept.
LAST_CLASS_WEIGHT = 1.5


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels of a batch. ``boxes`` (n, 6): image index, class (-1: unknown, no class is taught), cx, cy, w, h in input
    px; ``ignore`` (m, 5): image index, x1, y1, x2, y2 in input px.
    """

    boxes: Tensor
    ignore: Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    box: Tensor
    obj: Tensor
    cls: Tensor

    @property
    def total(self) -> Tensor:
        return self.box + self.obj + self.cls


def ciou(a_cxcywh: Tensor, b_cxcywh: Tensor) -> Tensor:
    """(n, 4), (n, 4) -> (n,) complete IoU (Zheng et al. 2020, arXiv:2005.03572)."""
    a_xy, a_wh, b_xy, b_wh = a_cxcywh[:, :2], a_cxcywh[:, 2:], b_cxcywh[:, :2], b_cxcywh[:, 2:]
    a1, a2, b1, b2 = a_xy - a_wh / 2, a_xy + a_wh / 2, b_xy - b_wh / 2, b_xy + b_wh / 2
    inter = (torch.minimum(a2, b2) - torch.maximum(a1, b1)).clamp(0).prod(1)
    iou = inter / (a_wh.prod(1) + b_wh.prod(1) - inter + 1e-7)
    diagonal = (torch.maximum(a2, b2) - torch.minimum(a1, b1)).square().sum(1) + 1e-7
    distance = (a_xy - b_xy).square().sum(1)
    angle = torch.atan(b_wh[:, 0] / (b_wh[:, 1] + 1e-7)) - torch.atan(a_wh[:, 0] / (a_wh[:, 1] + 1e-7))
    v = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        alpha = v / (v - iou + 1 + 1e-7)
    return iou - distance / diagonal - alpha * v


def nwd(a_cxcywh: Tensor, b_cxcywh: Tensor) -> Tensor:
    """(n, 4), (n, 4) px -> (n,) normalised Wasserstein distance of boxes as Gaussians (Wang et al. 2021,
    arXiv:2110.13389): unlike IoU it does not jump where a tiny box is off by a pixel.
    """
    xy, wh = (a_cxcywh - b_cxcywh)[:, :2], (a_cxcywh - b_cxcywh)[:, 2:] / 2
    return torch.exp(-(xy.square().sum(1) + wh.square().sum(1) + 1e-7).sqrt() / NWD_SCALE_PX)


def assign(boxes: Tensor, anchors: Tensor, grid: tuple[int, int], stride: int) -> tuple[Tensor, ...]:
    """Which cells of one level learn which face.

    boxes (n, 6) in px, anchors (a, 2) in cells, grid (h, w) -> image, anchor, row, col, class index, each (k,), and
    the boxes (k, 4) cx, cy, w, h in cells relative to that cell's corner.
    """
    h, w = grid
    cells = boxes[:, 2:6] / stride  # (n, 4)
    ratio = cells[None, :, 2:] / anchors[:, None]  # (a, n, 2)
    fits = torch.maximum(ratio, 1 / ratio).amax(2) < ANCHOR_RATIO
    anchor, face = fits.nonzero(as_tuple=True)
    xy = cells[face, :2]
    far = torch.tensor([w, h], device=boxes.device) - xy
    left, top = ((xy % 1 < 0.5) & (xy > 1)).T
    right, bottom = ((far % 1 < 0.5) & (far > 1)).T
    picks, offsets = (
        [torch.ones_like(left), left, top, right, bottom],
        ((0, 0), (0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)),
    )
    out = []
    for pick, offset in zip(picks, offsets, strict=True):
        i = pick.nonzero()[:, 0]
        corner = (xy[i] - torch.tensor(offset, device=boxes.device)).long()
        corner[:, 0].clamp_(0, w - 1)
        corner[:, 1].clamp_(0, h - 1)
        f = face[i]
        local = torch.cat((xy[i] - corner, cells[f, 2:]), 1)
        out.append((boxes[f, 0].long(), anchor[i], corner[:, 1], corner[:, 0], boxes[f, 1].long(), local))
    return tuple(torch.cat(parts) for parts in zip(*out, strict=True))


def ignored_cells(ignore: Tensor, shape: tuple[int, ...], stride: int) -> Tensor:
    """(m, 5) regions in px -> (b, h, w) True where a cell's centre lies within a cell's width of an ignore region."""
    b, h, w = shape
    mask = torch.zeros((b, h, w), dtype=torch.bool, device=ignore.device)
    for image, x1, y1, x2, y2 in ignore.tolist():
        left, top = max(0, math.floor(x1 / stride - 0.5)), max(0, math.floor(y1 / stride - 0.5))
        right, bottom = min(w, math.ceil(x2 / stride + 0.5)), min(h, math.ceil(y2 / stride + 0.5))
        mask[int(image), top:bottom, left:right] = True
    return mask


def class_loss(logits: Tensor, label: Tensor) -> Tensor:
    """(k, classes) logits, (k,) class indices -> mean cross-entropy over the cells whose class is known; 0 without any.

    The last class ("background") weighs more: to keep somebody who should be covered is the worse mistake.
    """
    known = label >= 0
    if not known.any():
        return logits.sum() * 0
    logits, label = logits[known], label[known]
    bce = F.binary_cross_entropy_with_logits(logits, F.one_hot(label, logits.shape[1]).float(), reduction="none")
    weight = torch.where(label == logits.shape[1] - 1, LAST_CLASS_WEIGHT, 1.0)
    return (bce.mean(1) * weight).sum() / weight.sum()


def decode_cells(raw: Tensor, anchors: Tensor) -> Tensor:
    """(k, 4 or more) logits and their anchors (k, 2) -> (k, 4) cx, cy, w, h in cells relative to the cell's corner."""
    y = raw[:, :4].sigmoid()
    return torch.cat((y[:, :2] * 2 - 0.5, (y[:, 2:] * 2) ** 2 * anchors), 1)


def detection_loss(heads: list[Tensor], targets: Targets, detect: Detect, nwd_under_px: float = 0.0) -> Losses:
    """Raw heads (b, a, h, w, 5 + classes) and labels -> losses summed over the batch, as published.

    Faces lower than ``nwd_under_px`` are judged by ``nwd`` instead of CIoU.
    """
    device = heads[0].device
    box, obj, cls = (torch.zeros((), device=device) for _ in range(3))
    classes = heads[0].shape[-1] - 5
    for level, raw in enumerate(heads):
        p = raw.float()
        b, _, h, w, _ = p.shape
        image, anchor, row, col, label, local = assign(targets.boxes, detect.anchors[level], (h, w), STRIDES[level])
        want = torch.zeros(p.shape[:4], device=device)
        weight = (~ignored_cells(targets.ignore, (b, h, w), STRIDES[level]))[:, None].expand_as(want).float()
        if len(image):
            chosen = p[image, anchor, row, col]  # (k, 5 + classes)
            found = decode_cells(chosen, detect.anchors[level][anchor])
            quality = ciou(found, local)
            if nwd_under_px:
                tiny = local[:, 3] * STRIDES[level] < nwd_under_px
                quality = torch.where(tiny, nwd(found * STRIDES[level], local * STRIDES[level]), quality)
            box = box + (1 - quality).mean()
            order = quality.detach().argsort()  # where two faces share a cell, the better fit writes last
            where = (image[order], anchor[order], row[order], col[order])
            want[where] = quality.detach()[order].clamp(0)
            weight = weight.clone()
            weight[where] = 1.0
            if classes > 1:
                cls = cls + class_loss(chosen[:, 5:], label)
        bce = F.binary_cross_entropy_with_logits(p[..., 4], want, reduction="none")
        obj = obj + LEVEL_BALANCE[level] * (bce * weight).mean()
    batch = heads[0].shape[0]
    return Losses(box * BOX_GAIN * batch, obj * OBJ_GAIN * batch, cls * CLS_GAIN * batch)
