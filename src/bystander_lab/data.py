"""Batches for training: weighted draws from several data sets, augmented in worker processes."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from bystander_lab.augment import UNKNOWN, Example, augment, whole
from bystander_lab.cache import ImageCache, open_cache
from bystander_lab.copy_paste import paste_faces
from bystander_lab.loss import Targets
from bystander_lab.roles import load_faces, load_roles
from bystander_lab.widerface import DataError, Sample

Labelled = tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]  # picture, xyxy, ignore, role: see augment.Example
# How often an image is drawn, by event prefix; others 1. Up: varied scenes with several true faces. Down: dense tiny
# crowds, squashed thumbnails, and a webcam set that was augmented before.
EVENT_WEIGHTS = (
    ("news", 3.0), ("press", 2.0), ("groups", 2.0), ("crowdB", 1.5), ("clip", 1.5), ("masks", 1.5),
    ("actions", 0.8), ("webcam", 0.6), ("flickr", 0.5), ("crowdA", 0.4),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DataSettings:
    roots: tuple[Path, ...]  # folders in the WIDER FACE layout, all of their training split is used
    imgsz: int = 416  # px, side of a training picture
    cache: Path = Path("~/.cache/bystander-lab")
    cache_long: int = 512  # px, long side of the cached copy
    mosaic: float = 0.75  # share of mosaics among the training pictures
    event_weights: tuple[tuple[str, float], ...] = EVENT_WEIGHTS
    root_weights: tuple[float, ...] = ()  # how often a root's images are drawn, relative to the others; empty: 1 each
    roles: tuple[Path, ...] = ()  # JSONL files with a role per face; empty: faces only
    role_long: int = 640  # px, long side of their cached copy: as sharp as the detector sees them in use
    copy_paste: float = 0.0  # share of pictures in which small faces are pasted once more


def event_weight(sample: Sample, weights: tuple[tuple[str, float], ...]) -> float:
    """How often an image is drawn relative to others: by event, and half as often where it has no face."""
    by_event = next((w for prefix, w in weights if sample.event.startswith(prefix)), 1.0)
    return by_event * (1.0 if (~sample.invalid).any() else 0.5)


def role_weights(samples: list[Sample]) -> np.ndarray:
    """(n,) how often an image with roles is drawn: less where its group has many alike, twice with both roles in it."""
    size = Counter(s.group for s in samples)
    both = [len({int(r) for r in s.role if r >= 0}) > 1 for s in samples if s.role is not None]
    return np.array([(2 if b else 1) / math.sqrt(size[s.group]) for s, b in zip(samples, both, strict=True)])


def root_weight(sample: Sample, settings: DataSettings) -> float:
    pairs = zip(settings.roots, settings.root_weights, strict=True)
    return next((w for root, w in pairs if sample.path.is_relative_to(root)), 1.0)


def check_boxes(samples: list[Sample], cache: ImageCache) -> None:
    """DataError for a box that lies outside its picture: the labels are then of another one, or in another unit."""
    for s, image in zip(samples, cache.index, strict=True):
        width, height = image.width / image.scale, image.height / image.scale
        outside = (s.xyxy[:, :2] >= (width, height)).any(1) | (s.xyxy[:, 2:] <= 0).any(1)
        if outside.any():
            box = ", ".join(f"{v:g}" for v in s.xyxy[outside][0])
            raise DataError(f"{s.path}: the face {box} (x1, y1, x2, y2) lies outside the {width:.0f}x{height:.0f} px")


class Pool:
    """Images to draw from, shrunk and cached. DataError when labels and pictures do not belong together."""

    def __init__(self, samples: list[Sample], weights: np.ndarray, cache: ImageCache) -> None:
        check_boxes(samples, cache)
        self.samples, self.cache = samples, cache
        self.cumulative = np.cumsum(weights) / weights.sum()

    def pick(self, rng: np.random.Generator) -> Example:
        i = int(np.searchsorted(self.cumulative, rng.random()))
        s = self.samples[i]
        role = np.full(len(s.xyxy), UNKNOWN) if s.role is None else s.role
        return Example(self.cache[i], s.xyxy * np.float32(self.cache.index[i].scale), s.invalid, role)


class Pictures(IterableDataset):
    """An endless stream of examples; each worker has its own random stream, derived from ``seed``."""

    def __init__(self, pool: Pool, settings: DataSettings, seed: int) -> None:
        self.pool, self.settings, self.seed = pool, settings, seed

    def example(self, rng: np.random.Generator) -> Example:
        s = self.settings
        if s.roles:
            return whole(self.pool.pick(rng), s.imgsz, rng)
        more = paste_faces if s.copy_paste and rng.random() < s.copy_paste else None
        return augment(lambda: self.pool.pick(rng), s.imgsz, rng, s.mosaic, more)

    def __iter__(self) -> Iterator[Labelled]:
        worker = get_worker_info()
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        while True:
            e = self.example(rng)
            yield torch.from_numpy(e.image), e.xyxy, e.ignore, e.role


def collate(batch: list[Labelled]) -> tuple[Tensor, Targets]:
    """Examples -> images (b, 3, s, s) uint8 in channels_last memory, and Targets."""
    images = torch.stack([image for image, *_ in batch]).permute(0, 3, 1, 2)  # (b, 3, s, s)
    boxes, ignore = [np.zeros((0, 6), np.float32)], [np.zeros((0, 5), np.float32)]
    for i, (_, xyxy, flags, role) in enumerate(batch):
        good, bad = xyxy[~flags], xyxy[flags]
        centre, side = (good[:, :2] + good[:, 2:]) / 2, good[:, 2:] - good[:, :2]
        head = np.stack((np.full(len(good), i), role[~flags]), 1).astype(np.float32)
        boxes.append(np.concatenate((head, centre, side), 1))
        ignore.append(np.concatenate((np.full((len(bad), 1), i, np.float32), bad), 1))
    return images, Targets(torch.from_numpy(np.concatenate(boxes)), torch.from_numpy(np.concatenate(ignore)))


def training_samples(settings: DataSettings) -> list[Sample]:
    """All training images of all roots, or those with roles. DataError when there is nothing to learn from."""
    samples = [s for root in settings.roots for s in load_faces(root, "train")]
    if settings.roles:
        samples = [s for path in settings.roles for s in load_roles(path, settings.roots, samples)]
    if not any((~s.invalid).any() for s in samples):
        raise DataError(f"{', '.join(map(str, settings.roots))}: no labelled face in the training split")
    return samples


def training_batches(settings: DataSettings, batch: int, workers: int, seed: int) -> Iterator[tuple[Tensor, Targets]]:
    samples = training_samples(settings)
    if settings.roles:
        weights, long_side = role_weights(samples), settings.role_long
    else:
        weights = np.array([event_weight(s, settings.event_weights) for s in samples])
        if settings.root_weights:
            weights = weights * [root_weight(s, settings) for s in samples]
        long_side = settings.cache_long
    pool = Pool(samples, weights, open_cache(samples, long_side, settings.cache.expanduser()))
    loader = DataLoader(
        Pictures(pool, settings, seed), batch, num_workers=workers, collate_fn=collate,
        prefetch_factor=4 if workers else None, worker_init_fn=lambda _: torch.set_num_threads(1),
        generator=torch.Generator(),  # of its own, so that the program's random state is training's alone
    )  # fmt: skip
    return iter(loader)


def some_pictures(settings: DataSettings, batch: int, seed: int, many: int) -> Iterator[Tensor]:
    """``many`` batches (b, 3, h, w) RGB 0-1 of training pictures, as the model sees them, to take statistics on."""
    for images, _ in itertools.islice(training_batches(settings, batch, 0, seed), many):
        yield images.float().div_(255)
