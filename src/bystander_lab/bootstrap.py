"""How sure a figure is: percentile intervals from resampling whole groups (Efron 1979), here images or films.

Faces of one image, and images of one film, are alike; resampling them one by one would promise too much.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

ROUNDS, LEVEL, SEED = 1000, 0.95, 0
Interval = tuple[float, float]  # low, high; NaN where nothing can be said


def interval(figure: Callable[[np.ndarray], float], groups: Sequence[Hashable], rounds: int = ROUNDS) -> Interval:
    """Where 95 % of the figures of resampled data lie.

    ``figure(weight)`` computes it with item i counted ``weight[i]`` times; ``groups[i]`` names what item i belongs to.
    """
    names = {name: k for k, name in enumerate(dict.fromkeys(groups))}
    if len(names) < 2:
        return float("nan"), float("nan")
    member = np.array([names[g] for g in groups])
    rng = np.random.default_rng(SEED)
    values = []
    for _ in range(rounds):
        drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        values.append(figure(drawn[member]))
    known = np.array(values)[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
