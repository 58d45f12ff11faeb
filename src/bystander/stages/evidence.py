"""Evidence for "this is the subject": how single detections add up over a track. Pure arithmetic.

Evidence is a number 0-1 for each detection, summed as log-odds. Missing evidence is evidence against keeping anybody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bystander.types import F32

LIMIT = 4.0  # log-odds; no single detection is surer than 98 %
RISE_S, FALL_S = 1.0, 0.3  # seconds over which the mean follows better and worse evidence
KEEP_AT, DROP_AT = 0.8, 0.4  # mean evidence needed to become a subject, and to stay one
KEEP_AFTER_S = 0.5  # so long it must have been so
WINDOW_S = 1.0


def log_odds(evidence: float) -> float:
    """0-1 -> -LIMIT..LIMIT."""
    p = min(max(evidence, 1e-6), 1 - 1e-6)
    return min(max(math.log(p / (1 - p)), -LIMIT), LIMIT)


def probability(odds: float) -> float:
    """Log-odds -> 0-1; nothing known (-LIMIT) is 0."""
    return 0.0 if odds <= -LIMIT else 1 / (1 + math.exp(-odds))


def follow(mean: float, new: float, gap_s: float, hits: int) -> float:
    """The running mean of log-odds after one more detection, the ``hits``-th, ``gap_s`` after the one before.

    A plain mean at first, later one that forgets; worse evidence counts sooner than better. Never falls as ``mean`` or
    ``new`` rise, so less evidence never gives more.
    """
    share = max(1 / hits, min(1.0, gap_s / (FALL_S if new < mean else RISE_S)))
    return mean + share * (new - mean)


@dataclass(frozen=True, slots=True)
class Sightings:
    """One track from its first to its last sight: the frames in which the face was found, in order of time."""

    time_s: npt.NDArray[np.float64]  # (n,) rising
    evidence: F32  # (n,) 0-1, of each detection
    steady: npt.NDArray[np.bool_]  # (n,) False: overlapped or found again, may be somebody else; a start is no doubt

    def __post_init__(self) -> None:
        if not len(self.time_s) == len(self.evidence) == len(self.steady):
            raise ValueError("sightings of unequal lengths")


def judge_track(s: Sightings) -> npt.NDArray[np.bool_]:
    """(n,) which sightings may stay sharp, looking ahead over the whole track: all steady ones, or none.

    The track is a subject's when it was steady for ``KEEP_AFTER_S`` in all, its mean evidence reaches ``KEEP_AT``, and
    around no moment the mean over ``WINDOW_S`` falls below ``DROP_AT``: the evidence holds from the first frame to the
    last. Lower evidence or fewer steady sightings never keep more.
    """
    nobody = np.zeros(len(s.time_s), np.bool_)
    if not len(s.time_s) or steady_time(s) < KEEP_AFTER_S:
        return nobody
    odds = np.array([log_odds(float(e)) for e in s.evidence])
    if odds.mean() < log_odds(KEEP_AT):
        return nobody
    total = np.concatenate(([0.0], np.cumsum(odds)))
    first = np.searchsorted(s.time_s, s.time_s - WINDOW_S / 2, "left")
    last = np.searchsorted(s.time_s, s.time_s + WINDOW_S / 2, "right")
    holds = (total[last] - total[first]) / (last - first) >= log_odds(DROP_AT)
    return np.array(s.steady, np.bool_) if holds.all() else nobody


def judge_tracks(tracks: Mapping[int, Sightings], most: int) -> dict[int, npt.NDArray[np.bool_]]:
    """``judge_track`` for all tracks of a file by their ids, at most ``most`` of them kept at any time.

    Where more would be, the surest are kept, each from its first to its last sight.
    """
    verdicts = {i: judge_track(s) for i, s in tracks.items()}
    spans: list[tuple[float, float]] = []  # s, of the tracks kept so far
    for i in sorted((i for i, v in verdicts.items() if v.any()), key=lambda i: (-mean_odds(tracks[i]), i)):
        first, last = float(tracks[i].time_s[0]), float(tracks[i].time_s[-1])
        moments = [first, *(a for a, _ in spans if first <= a <= last)]
        if max(sum(a <= t <= b for a, b in spans) for t in moments) < most:
            spans.append((first, last))
        else:
            verdicts[i][:] = False
    return verdicts


def mean_odds(s: Sightings) -> float:
    """Over the whole track."""
    return float(np.mean([log_odds(float(e)) for e in s.evidence]))


def steady_time(s: Sightings) -> float:
    """Seconds between neighbouring steady sightings, added up."""
    pairs = s.steady[1:] & s.steady[:-1]
    return float(np.diff(s.time_s)[pairs].sum())
