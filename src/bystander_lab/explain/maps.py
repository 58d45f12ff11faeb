"""One number per pixel: how much a place of the picture spoke for a face's class. Five ways to ask.

What is explained is the logit (before the sigmoid) of one row of predictions, the row by which the runtime found the
face: a class score, or objectness for "face". Captum does what it has; the others watch a layer in ``watch``.
Sources: Grad-CAM arxiv.org/abs/1610.02391, Grad-CAM++ 1710.11063, HiResCAM 2011.08891, Eigen-CAM 2008.00299,
occlusion 1311.2901.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation, Occlusion
from torch import Tensor, nn

from bystander.stages.letterbox import GREY
from bystander.types import F32
from bystander_lab.explain import LAYERS, METHOD, METHODS, TARGETS
from bystander_lab.explain.rebuild import Logits
from bystander_lab.explain.scene import Face, Opened, Scene
from bystander_lab.model import FACE_ANCHORS, STRIDES
from bystander_lab.widerface import DataError

AUTO = "9"  # see docs/explain.md
OBJECTNESS = 4  # what the detector finds faces by; classes follow
OCCLUDER, STEP = 64, 32  # px, side of the grey square and how far it moves


@dataclass(frozen=True, slots=True)
class HeatMap:
    values: F32  # (h, w) px of the detector's picture; above 0 speaks for the target; 0 in the padding
    target: str
    method: str
    layer: str  # "-" for occlusion, which needs none


@dataclass
class Watched:
    """What passed a layer in a forward run, and after ``backward`` its gradient: (1, c, h, w) each."""

    activation: Tensor | None = None

    @property
    def gradient(self) -> Tensor:
        assert self.activation is not None
        assert self.activation.grad is not None
        return self.activation.grad


@contextmanager
def watch(layer: nn.Module) -> Iterator[Watched]:
    """Keep a layer's output and its gradient while inside; the hook is gone afterwards, whatever happens."""
    seen = Watched()

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen.activation = output.detach().requires_grad_()
        return seen.activation

    handle = layer.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def explain(
    opened: Opened, scene: Scene, face: Face, target: str = "", method: str = METHOD, layer: str = "auto"
) -> HeatMap:
    """What spoke for ``target`` (default: what the runtime took the face for). DataError for what does not fit."""
    target = target or face.role
    column = column_of(opened.runtime.names, target)
    layer = layer_for(scene, face, method, layer)
    images = torch.from_numpy(scene.images)
    values = raw_map(opened.torch, images, face.row, column, method, layer)
    h, w = scene.images.shape[2:]
    full = cv2.resize(values, (w, h), interpolation=cv2.INTER_LINEAR)
    x1, y1, x2, y2 = scene.inner
    out = np.zeros((h, w), np.float32)
    out[y1:y2, x1:x2] = full[y1:y2, x1:x2]
    return HeatMap(out, target, method, layer)


def column_of(names: tuple[str, ...], target: str) -> int:
    """Where a target stands in a row of predictions. DataError when these weights know no roles."""
    if target not in TARGETS:
        raise DataError(f"--target {target}: choose {', '.join(TARGETS)}")
    if target == "face":
        return OBJECTNESS
    if target not in names:
        raise DataError(f"--target {target}: these weights know no roles, only {', '.join(names)}; ask for face")
    return 5 + names.index(target)


def layer_for(scene: Scene, face: Face, method: str, layer: str) -> str:
    """The layer's number. DataError when it is unknown or has no part in the face's score."""
    if method not in METHODS:
        raise DataError(f"--method {method}: choose {', '.join(METHODS)}")
    if method == "occlusion":
        return "-"
    layer = AUTO if layer == "auto" else layer
    if layer not in LAYERS:
        raise DataError(f"--layer {layer}: choose auto or one of {', '.join(LAYERS)}")
    level = level_of(scene, face.row)
    if level not in LAYERS[layer][1]:
        fits = ", ".join(k for k, (_, levels) in LAYERS.items() if level in levels)
        raise DataError(f"--layer {layer}: comes after what this face was read from; choose {fits}")
    return layer


def level_of(scene: Scene, row: int) -> int:
    """Which of the head's levels a row is of: 0 for stride 8."""
    h, w = scene.images.shape[2:]
    sizes = [len(FACE_ANCHORS[0]) * (h // s) * (w // s) for s in STRIDES]
    return int(np.searchsorted(np.cumsum(sizes), row, side="right"))


def raw_map(model: Logits, images: Tensor, row: int, column: int, method: str, layer: str) -> F32:
    """The signed map at the layer's own resolution; at the picture's for occlusion.

    Roles are read from two networks side by side: their maps at the same depth add up to one.
    """

    def logit(x: Tensor) -> Tensor:
        return model(x)[:, row, column]

    if method == "occlusion":
        return occlusion(logit, images)
    first, *rest = (layer_map(logit, images, module, method) for module in modules_at(model, column, int(layer)))
    for other in rest:
        first = first + spread(other, first.shape)
    return first


def modules_at(model: Logits, column: int, layer: int) -> list[nn.Module]:
    """The detector's layer and, for a role, that of the context, which ends at layer 17."""
    modules = [model.yolo.model[layer]]
    if column > OBJECTNESS and model.yolo.context is not None:
        modules.append(model.yolo.context.model[min(layer, 17)])
    return modules


def spread(values: F32, shape: tuple[int, ...]) -> F32:
    """A map over another grid; its sum stays."""
    wide = cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide * (values.size / wide.size), np.float32)


def layer_map(logit: Callable[[Tensor], Tensor], images: Tensor, module: nn.Module, method: str) -> F32:
    if method == "gradcam":
        return plain(LayerGradCam(logit, module).attribute(images)[0, 0])
    if method == "hirescam":
        return plain(LayerGradientXActivation(logit, module).attribute(images)[0].sum(0))
    with watch(module) as seen:
        score = logit(images)
        if method == "gradcam++":
            score.sum().backward()
    assert seen.activation is not None
    activation = seen.activation.detach()[0]
    return plain(eigen(activation) if method == "eigencam" else plusplus(activation, seen.gradient[0]))


def plain(values: Tensor) -> F32:
    return values.detach().numpy().astype(np.float32)


def plusplus(a: Tensor, g: Tensor) -> Tensor:
    """(c, h, w) activations and gradients -> (h, w), each place's gradient weighed as in Grad-CAM++."""
    below = 2 * g**2 + a.sum((1, 2), keepdim=True) * g**3
    alpha = torch.where(below.abs() > 1e-12, g**2 / torch.where(below == 0, 1, below), 0)
    weights = (alpha * g.clamp(min=0)).sum((1, 2), keepdim=True)
    return (weights * a).sum(0)


def eigen(a: Tensor) -> Tensor:
    """(c, h, w) -> (h, w): the activations along their first principal component, whatever the class."""
    flat = a.flatten(1).T  # (places, c)
    flat = flat - flat.mean(0)
    u, s, _ = torch.linalg.svd(flat, full_matrices=False)
    values = u[:, 0] * s[0]
    if (values * flat.norm(dim=1)).sum() < 0:  # a component's sign is arbitrary: the strong places count as positive
        values = -values
    return values.view(a.shape[1:])


def occlusion(logit: Callable[[Tensor], Tensor], images: Tensor) -> F32:
    """(h, w): how far the logit falls when a grey square lies there."""
    with torch.no_grad():
        fall = Occlusion(logit).attribute(
            images, sliding_window_shapes=(3, OCCLUDER, OCCLUDER), strides=(3, STEP, STEP), baselines=GREY / 255,
            perturbations_per_eval=8,
        )  # fmt: skip
    return plain(fall[0, 0])
