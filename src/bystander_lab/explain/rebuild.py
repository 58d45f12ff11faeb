"""The torch model inside an exported ONNX file: the same tensors, so that gradients can be asked for.

The exporter keeps parameter names and folds batch norms into convolutions; so a model of the same size, folded the same
way, takes the file's tensors one for one. What cannot be taken exactly is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bystander_lab.export import fuse
from bystander_lab.model import SIZES, YOLOv5, yolov5
from bystander_lab.transfer import open_onnx, tensors_of
from bystander_lab.widerface import DataError


class Logits(nn.Module):
    """A rebuilt model before its sigmoids: images (b, 3, h, w) RGB 0-1 -> (b, n, 5 + classes) raw values.

    Rows in the order of the exported predictions. Gradients flow; nothing is changed in place.
    """

    def __init__(self, model: YOLOv5) -> None:
        super().__init__()
        self.yolo = model
        for m in model.modules():
            if isinstance(m, nn.SiLU):
                m.inplace = False  # a watched layer's output must stay what it was
        for p in model.parameters():
            p.requires_grad_(False)
        # training mode gives the raw heads; a folded model has no layer that otherwise cares
        self.train()

    @property
    def names(self) -> tuple[str, ...]:
        return self.yolo.names

    def forward(self, images: Tensor) -> Tensor:
        heads: Any = self.yolo(images)
        return torch.cat([h.reshape(len(images), -1, h.shape[-1]) for h in heads], 1)

    @torch.no_grad()
    def predictions(self, images: Tensor) -> Tensor:
        """(b, n, 5 + classes) decoded, as the exported file gives them."""
        self.yolo.eval()
        try:
            return self.yolo(images)
        finally:
            self.yolo.train()


def rebuild(path: Path) -> Logits:
    """The model of an exported file. DataError when the file is of another kind or a tensor is not there."""
    exported = open_onnx(path)
    tensors = tensors_of(exported)
    names, anchors = described(path, {p.key: p.value for p in exported.metadata_props})
    for size in SIZES:
        model = fuse(yolov5(size, names, anchors))
        own = dict(model.named_parameters())
        if all(k in tensors and tensors[k].shape == v.shape for k, v in own.items()):
            model.load_state_dict({k: tensors[k] for k in own}, strict=False)
            return Logits(model)
    raise DataError(f"{path}: its tensors are not those of a YOLOv5 {' or '.join(SIZES)} that bystander-lab exported")


def described(path: Path, meta: dict[str, str]) -> tuple[tuple[str, ...], Any]:
    """Class names and anchors (levels, anchors, 2) in px from the file's metadata."""
    try:
        return tuple(str(n) for n in json.loads(meta["names"])), json.loads(meta["anchors"])
    except (KeyError, ValueError) as e:
        raise DataError(f"{path}: says nothing of names and anchors; export it with bystander-lab") from e
