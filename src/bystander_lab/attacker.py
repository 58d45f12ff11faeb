"""Tries to tell again who is under a cover: small attackers, trained on the spot, to measure how much a cover hides.

Pictures go in as (n, 3, 24, 24) float32 0-1 (planes Y, U, V of the face box), embeddings come out as unit rows
(n, d); the nearest row is the same face. Only ``bench/reidentify.py`` uses this. It is no part of the product,
which computes no biometrics: the runtime cannot import it, and no weights of it are saved, shipped or committed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 24
DIMENSIONS = 128
SHARPNESS = 12.0  # factor on cosines in the contrastive loss, as in CosFace-like recipes for small sets
RIDGE = 30.0  # penalty of the restoration, in squared units of pictures 0-1


def unit(rows: np.ndarray) -> np.ndarray:
    """(n, d) -> rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def halved(pictures: np.ndarray) -> np.ndarray:
    """(n, 3, 24, 24) -> (n, 3 * 12 * 12)."""
    return pictures.reshape(len(pictures), 3, SIDE // 2, 2, SIDE // 2, 2).mean((3, 5)).reshape(len(pictures), -1)


def pixels(pictures: np.ndarray) -> np.ndarray:
    """The plainest embedding: the picture itself, grey being the origin."""
    return unit(halved(pictures) - 0.5)


class Eigenfaces:
    """Turk and Pentland 1991: the coordinates along the main directions of many faces, whitened."""

    def __init__(self, pictures: np.ndarray, keep: int = 96) -> None:
        flat = halved(pictures)
        self.mean = flat.mean(0)
        power, axes = np.linalg.eigh(np.cov(flat, rowvar=False))  # weakest first
        spread = np.sqrt(np.maximum(power[::-1][:keep], 0))
        self.axes = axes[:, ::-1][:, :keep] / (spread + 0.1 * spread[0])  # weak directions are mostly noise

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return unit((halved(pictures) - self.mean) @ self.axes)


class Restoration:
    """Covered picture -> guess of the open one: ridge regression, learned on pairs; classical."""

    def __init__(self, covered: np.ndarray, clear: np.ndarray) -> None:
        x, y = halved(covered), clear.reshape(len(clear), -1)
        self.mean_x, self.mean_y = x.mean(0), y.mean(0)
        x, y = x - self.mean_x, y - self.mean_y
        self.weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1], dtype=x.dtype), x.T @ y)

    def __call__(self, covered: np.ndarray) -> np.ndarray:
        flat = (halved(covered) - self.mean_x) @ self.weights + self.mean_y
        return np.clip(flat, 0, 1).reshape(covered.shape).astype(np.float32)


class FaceNet(nn.Module):
    """Four convolutions and a line: (b, 3, 24, 24) -> unit rows (b, 128)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 2)):
            layers += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(128 * 9, DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.head(self.body(x - 0.5).flatten(1)))  # (b, 128)

    @torch.no_grad()
    def embed(self, pictures: np.ndarray) -> np.ndarray:
        self.eval()
        rows = [self(torch.from_numpy(part)).numpy() for part in np.array_split(pictures, len(pictures) // 256 + 1)]
        return np.concatenate(rows)


def changed(x: Tensor, random: torch.Generator) -> Tensor:
    """Another look at the same faces: moved, turned, another size, light, tint and sharpness. (b, 3, h, w)."""

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(x), *shape, generator=random)

    angle, size = between(-0.2, 0.2), between(0.85, 1.15)
    turn = torch.stack([size * angle.cos(), -angle.sin(), between(-0.12, 0.12),
                        angle.sin(), size * angle.cos(), between(-0.12, 0.12)], 1).view(-1, 2, 3)  # fmt: skip
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    soft = F.interpolate(F.interpolate(x, size=14, mode="area"), size=x.shape[-1], mode="bilinear")
    x = torch.lerp(x, soft, between(0, 1, 1, 1, 1))
    x = (x - 0.5) * between(0.75, 1.3, 1, 1, 1) + 0.5
    light = torch.cat([between(-0.12, 0.12, 1, 1, 1), between(-0.02, 0.02, 2, 1, 1)], 1)
    return (x + light + 0.02 * torch.randn(x.shape, generator=random)).clamp(0, 1)


def contrast(one: Tensor, other: Tensor) -> Tensor:
    """InfoNCE (van den Oord et al. 2018), both ways: row i of one belongs to row i of the other and to no other row."""
    logits, right = SHARPNESS * one @ other.T, torch.arange(len(one))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


@dataclass(frozen=True, slots=True)
class Schedule:
    steps: int
    batch: int = 64
    rate: float = 2e-3


def partners(groups: list[str], random: np.random.Generator) -> np.ndarray:
    """For each picture one of the same person; itself where there is no other."""
    people: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        people.setdefault(group, []).append(i)
    return np.array([random.choice(people[g]) for g in groups])


def optimise(net: FaceNet, schedule: Schedule, loss_of_step) -> FaceNet:  # noqa: ANN001  (step) -> loss
    steps = schedule.steps
    optimiser = torch.optim.AdamW(net.parameters(), schedule.rate, weight_decay=0.01)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    net.train()
    for step in range(steps):
        loss = loss_of_step(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the attacker's loss is {loss.item()} at step {step}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.step()
    return net


def train_on_faces(clear: np.ndarray, groups: list[str], schedule: Schedule, seed: int = 0) -> FaceNet:
    """An embedding of open faces. Those of one group are one person; a batch holds a group once."""
    torch.manual_seed(seed)
    random, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    pictures, net = torch.from_numpy(clear), FaceNet()

    def loss_of_step(_step: int) -> Tensor:
        drawn = random.permutation(len(groups))
        _, first = np.unique([groups[i] for i in drawn], return_index=True)
        one = drawn[random.permutation(first)[: schedule.batch]]
        other = partners(groups, random)[one]
        return contrast(net(changed(pictures[one], noise)), net(changed(pictures[other], noise)))

    return optimise(net, schedule, loss_of_step)


def train_on_cover(net: FaceNet, covered: np.ndarray, clear: np.ndarray, schedule: Schedule, seed: int = 0) -> FaceNet:
    """An embedding of covered faces that lands beside ``net``'s embedding of the same faces, open."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    query = FaceNet()
    query.load_state_dict(net.state_dict())
    hidden, targets = torch.from_numpy(covered), torch.from_numpy(net.embed(clear))

    def loss_of_step(_step: int) -> Tensor:
        drawn = random.choice(len(covered), min(schedule.batch, len(covered)), replace=False)
        return contrast(query(hidden[drawn]), targets[drawn])

    return optimise(query, schedule, loss_of_step)


def rank_rates(query: np.ndarray, gallery: np.ndarray, people: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(n, 2): each query's chance to be first, and among five, when people are sorted by their nearest picture.

    ``people`` (m,) of the gallery's rows, ``true`` (n,) of the queries. Equal scores share a rank by lot, so that a
    cover that shows nothing gives exactly chance.
    """
    names, index = np.unique(people, return_inverse=True)
    cosines = query @ gallery.T  # (n, m)
    best = np.full((len(query), len(names)), -np.inf)
    for k in range(len(names)):
        best[:, k] = cosines[:, index == k].max(1)
    own = best[np.arange(len(query)), np.searchsorted(names, true)][:, None]
    tied = np.isclose(best, own, rtol=0, atol=1e-5)
    ahead, equal = ((best > own) & ~tied).sum(1), tied.sum(1)
    return np.stack([np.clip((n - ahead) / equal, 0, 1) for n in (1, 5)], 1)
