"""Does a map explain? Three checks that a map which explains nothing fails.

Deletion: the places that the map names first are painted grey, a few at a time; the class's probability should fall
soon. Insertion: the same places are put back first into a blurred picture; it should rise soon. Both against a random
map of the same smoothness and against "nearest to the face first" (RISE, arxiv.org/abs/1806.07421). Randomisation:
with the network's weights shuffled from the head down, a map that depends on them should change (1810.03292).
"""

from __future__ import annotations

import copy

import cv2
import numpy as np
import torch

from bystander.stages.letterbox import GREY
from bystander.types import F32
from bystander_lab.explain.maps import HeatMap, column_of, raw_map
from bystander_lab.explain.rebuild import Logits
from bystander_lab.explain.scene import Face, Opened, Scene

FRACTIONS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of the picture's area
BLUR = 24.0  # px, sigma of the picture that insertion starts from
STAGES = {"head": ("model.24.",), "neck and head": tuple(f"model.{i}." for i in range(10, 25)), "all": ("model.",)}


def curves(opened: Opened, scene: Scene, face: Face, target: str, values: F32) -> tuple[F32, F32]:
    """The class's probability for each of ``FRACTIONS``: (deletion, insertion), (9,) each."""
    column = column_of(opened.runtime.names, target)
    ranks = ranked(values, scene)
    image = scene.images[0]
    blurred = blurred_picture(scene)
    gone = [np.where(ranks < f, np.float32(GREY / 255), image) for f in FRACTIONS]
    back = [np.where(ranks < f, image, blurred) for f in FRACTIONS]
    p = []
    for step in (gone, back):
        with torch.no_grad():
            logits = opened.torch(torch.from_numpy(np.stack(step)))[:, face.row, column]
        p.append(logits.sigmoid().numpy())
    return p[0], p[1]


def ranked(values: F32, scene: Scene) -> F32:
    """(h, w) 0-1: the share of the picture that comes before this place, strongest first; 2 in the padding.

    Places of equal strength are ordered at random, or the top left would come first.
    """
    x1, y1, x2, y2 = scene.inner
    inner = values[y1:y2, x1:x2]
    ties = np.random.default_rng(0).permutation(inner.size)
    order = np.lexsort((ties, -inner.ravel()))
    ranks = np.empty(inner.size, np.float32)
    ranks[order] = np.arange(inner.size, dtype=np.float32) / inner.size
    out = np.full(values.shape, 2, np.float32)
    out[y1:y2, x1:x2] = ranks.reshape(inner.shape)
    return out


def blurred_picture(scene: Scene) -> F32:
    """(3, h, w): the picture without detail, its padding as it is."""
    x1, y1, x2, y2 = scene.inner
    out = scene.images[0].copy()
    inner = np.ascontiguousarray(out[:, y1:y2, x1:x2].transpose(1, 2, 0))
    out[:, y1:y2, x1:x2] = cv2.GaussianBlur(inner, (0, 0), BLUR).transpose(2, 0, 1)
    return out


def area_under(curve: F32) -> float:
    """0-1, over the share of the picture."""
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(FRACTIONS)).sum())


def random_map(scene: Scene, seed: int) -> F32:
    """Noise as smooth as a map of stride 32."""
    h, w = scene.images.shape[2:]
    coarse = np.random.default_rng(seed).random((h // 32, w // 32), np.float32)
    return np.asarray(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)


def near_map(scene: Scene, face: Face) -> F32:
    """Nearest to the face first: what is to be beaten by a map that knows more than where the face is."""
    h, w = scene.images.shape[2:]
    x1, y1, x2, y2 = face.xyxy
    dx = np.maximum(np.abs(np.arange(w) + 0.5 - (x1 + x2) / 2) - (x2 - x1) / 2, 0)
    dy = np.maximum(np.abs(np.arange(h) + 0.5 - (y1 + y2) / 2) - (y2 - y1) / 2, 0)
    return np.asarray(1 / (1 + np.hypot(dx[None], dy[:, None])), np.float32)


def shuffled(model: Logits, prefixes: tuple[str, ...], seed: int) -> Logits:
    """A copy with the values of each named tensor in random order: the same spread, nothing learnt."""
    other = copy.deepcopy(model)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in other.yolo.named_parameters():
            if name.startswith(prefixes):
                p.copy_(p.flatten()[torch.randperm(p.numel(), generator=random)].view_as(p))
    return other


def randomised(opened: Opened, scene: Scene, face: Face, heat: HeatMap, seed: int = 0) -> dict[str, float]:
    """Stage -> rank correlation (-1 to 1) of the map with that of a network shuffled from the head down to there."""
    images = torch.from_numpy(scene.images)
    column = column_of(opened.runtime.names, heat.target)

    def of(model: Logits) -> F32:
        return raw_map(model, images, face.row, column, heat.method, heat.layer)

    before = of(opened.torch)
    return {stage: rank_correlation(before, of(shuffled(opened.torch, p, seed))) for stage, p in STAGES.items()}


def rank_correlation(a: F32, b: F32) -> float:
    """Spearman's, with ties by position; 0 where one of them is flat."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(v.ravel(), kind="stable"), kind="stable") for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])
