"""How much work a live stream may do -> a plan that this machine can keep up with. Pure: time arrives as data.

When it is too slow it lowers, in this order, detector resolution, output frame rate, preview. Cover is never lowered.
"""

from __future__ import annotations

from dataclasses import dataclass

SIZES = (640, 512, 416, 320)  # px, long side of the detector's picture
BUSY, IDLE = 0.9, 0.4  # share of the time between two frames that the stages need
DOWN_S = 1.0  # so long too slow before the plan is lowered
UP_S = 5.0  # so long with slack before it is raised; doubles each time that this was too early
MAX_UP_S = 120.0
MAX_LOAD = 5.0  # one frame that took for ever must not count for minutes
AVERAGE = 0.1  # weight of the newest frame in the running mean


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run with."""

    imgsz: int  # px, long side of the detector's picture
    every: int = 1  # every n-th frame goes out
    preview: bool = True


def ladder(imgsz: int) -> tuple[Plan, ...]:
    """All plans from the best, at the wanted resolution, to the cheapest."""
    sizes = (imgsz, *(s for s in SIZES if s < imgsz))
    full = tuple(Plan(s) for s in sizes)
    return (*full, Plan(sizes[-1], 2), Plan(sizes[-1], 3), Plan(sizes[-1], 3, preview=False))


class Governor:
    """Feed it every frame; it says which plan holds."""

    def __init__(self, imgsz: int) -> None:
        self.plans = ladder(imgsz)
        self.level = 0
        self.load = 0.0
        self.since: float | None = None  # too slow, or with slack, since then
        self.up_s = UP_S
        self.raised_s: float | None = None

    @property
    def plan(self) -> Plan:
        return self.plans[self.level]

    def update(self, load: float, now_s: float) -> bool:
        """``load``: seconds of work per second of stream, for this frame. True when the plan changed."""
        self.load += AVERAGE * (min(load, MAX_LOAD) - self.load)
        busy, idle = self.load > BUSY, self.load < IDLE
        if not (busy and self.level < len(self.plans) - 1) and not (idle and self.level):
            self.since = None
            return False
        self.since = now_s if self.since is None else self.since
        patience_s = DOWN_S / max(1.0, self.load) if busy else self.up_s  # the farther too slow, the sooner
        if now_s - self.since < patience_s:
            return False
        self._step(1 if busy else -1, now_s)
        return True

    def _step(self, by: int, now_s: float) -> None:
        too_early = by > 0 and self.raised_s is not None and now_s - self.raised_s < self.up_s
        if too_early:
            self.up_s = min(2 * self.up_s, MAX_UP_S)
        self.raised_s = now_s if by < 0 else None
        self.level += by
        self.since = None
        self.load = (BUSY + IDLE) / 2  # measure the new plan afresh


def in_words(plan: Plan, best: Plan) -> str:
    """What was lowered, for the status line; empty when nothing was."""
    lowered = []
    if plan.imgsz < best.imgsz:
        lowered.append(f"detector at {plan.imgsz} px")
    if plan.every > 1:
        lowered.append(f"every {plan.every}. frame goes out")
    if not plan.preview:
        lowered.append("no preview")
    return ", ".join(lowered)
