"""What an outer step of trajectory matching costs, from a few short ones: time is linear in N and in the window.

T(N, w) = a + b N + c w and peak memory M(w) = m + k w hold for every policy: an inner step costs a gradient, a
differentiated one its product (twice where the outer rule runs the window again), and only the window is kept.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace

from satm.machine.ram import measured_peak
from satm.methods.outer.problem import TwoPasses
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.guard import Guard, GuardConfig

SHORT, LONG = 2, 6  # inner steps of the loops that are timed; the long one is longer where its time allows
SECONDS = 1.5  # of a long loop, about: the less is extrapolated, the less a slope's noise is multiplied
ROUNDS = 3  # timed, after one that is not


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The coefficients, in seconds and bytes; memory is None where this system cannot tell."""

    fixed: float  # a
    step: float  # b
    taped: float  # c
    diagnosis: float  # of one inner step, where sharpness and α's derivative are measured
    memory_fixed: float | None  # m
    memory_taped: float | None  # k
    memory_diagnosis: float | None  # peak of a measurement

    def seconds(self, steps: int, window: int, diagnostics_every: int = 0) -> float:
        """Mean time of an outer step of N = `steps` inner steps."""
        share = 1 / diagnostics_every if diagnostics_every else 0.0
        return self.fixed + steps * (self.step + share * self.diagnosis) + self.taped * window

    def memory(self, window: int, *, diagnosed: bool = False) -> float | None:
        """Peak bytes above the loaded process."""
        if self.memory_fixed is None or self.memory_taped is None:
            return None
        peak = self.memory_fixed + self.memory_taped * window
        return max(peak, self.memory_diagnosis or 0.0) if diagnosed else peak

    def largest_window(self, steps: int, available: float, *, diagnosed: bool = False) -> int | None:
        """The longest window of at most `steps` whose peak stays below `available` bytes; 0 where none does."""
        if self.memory_fixed is None or self.memory_taped is None:
            return None
        if diagnosed and (self.memory_diagnosis or 0.0) > available:
            return 0
        left = available - self.memory_fixed
        if self.memory_taped <= 0:
            return steps if left >= 0 else 0
        return max(0, min(steps, int(left / self.memory_taped)))


def calibrate(condensation: TrajectoryCondensation) -> StepCost:
    """Run a few outer steps of shortened inner loops; `condensation` is as before afterwards.

    What has to be compiled is compiled on the way, and not counted.
    """
    config = condensation.config
    window = config.inner_steps - config.iota
    whole = window == config.inner_steps  # the whole loop is differentiated, whatever its length
    short = min(SHORT, config.inner_steps)
    points = [(short, short if whole else 1)]
    runs = [_Run(condensation, *points[0])]
    full = [runs[0].seconds()]
    long = min(max(LONG, int(SECONDS / full[0] * short)), config.inner_steps)
    points += [(long, long)] if whole else [(long, 1), (long, min(max(2, window), long - 1))]
    runs += [_Run(condensation, *point) for point in points[1:]]
    full += [run.seconds() for run in runs[1:]]
    share = _mean_batch(condensation, points[-1], full[-1])
    times, peaks = [share * each for each in full], [run.peak() for run in runs]
    if len(points) == 2:
        slope = _slope(times, [n for n, _ in points])
        fixed, step, taped = times[0] - slope * short, slope, 0.0
    else:
        step = _slope(times[:2], [short, long])
        taped = _slope(times[1:], [w for _, w in points[1:]])
        fixed = times[0] - step * short - taped
    diagnosing, diagnosed = (_Run(condensation, *point, diagnosed=True) for point in (points[-1], points[0]))
    taped_at = [w for _, w in points]
    measured = [float(peak) for peak in peaks if peak is not None]
    if len(measured) < len(peaks):
        kept = None
    elif condensation.engine.engine == "higher":
        kept = _slope(measured[-2:], taped_at[-2:])
    else:  # a step of the window is its θ, which a slope of megabytes would drown in noise
        kept = float(sum(p.nbytes for p in condensation.network.parameters()))
    return StepCost(
        fixed=max(0.0, fixed),
        step=step,
        taped=taped,
        diagnosis=max(0.0, share * diagnosing.seconds() - times[-1]) / long,
        memory_fixed=None if kept is None else max(m - kept * w for m, w in zip(measured, taped_at, strict=True)),
        memory_taped=kept,
        memory_diagnosis=diagnosed.peak(),
    )


def _mean_batch(condensation: TrajectoryCondensation, point: tuple[int, int], full: float) -> float:
    """The mean mini-batch's time over a full one's: what is timed are full ones, a pass may end with a smaller one.

    `full` is the time of a loop at `point` (steps, window) of full ones.
    """
    images = len(condensation.images)
    count, rest = divmod(images, min(condensation.config.batch_syn or images, images))
    if not rest:
        return 1.0
    return (count + _Run(condensation, *point, batch=rest).seconds() / full) / (count + 1)


def _slope(values: list[float], at: list[int]) -> float:
    """Never negative: what is smaller than the noise counts as nothing."""
    return max(0.0, (values[1] - values[0]) / (at[1] - at[0])) if at[1] > at[0] else 0.0


class _Run:
    """An outer step with another inner loop, taken again and again from the same state."""

    def __init__(
        self,
        condensation: TrajectoryCondensation,
        steps: int,
        window: int,
        *,
        diagnosed: bool = False,
        batch: int | None = None,
    ) -> None:
        self.condensation = condensation
        outer = condensation.config.outer
        self.config = replace(
            condensation.config,
            inner_steps=steps,
            window=window,
            batch_syn=batch or condensation.config.batch_syn,
            outer=replace(outer, tau=None) if isinstance(outer, TwoPasses) else outer,
            diagnostics_every=1 if diagnosed else 0,
            guard=GuardConfig(max_loss=None, max_update_ratio=None, max_step_size_growth=None, retries=0),
        )

    def __call__(self) -> None:
        condensation = self.condensation
        config, rule, guard = condensation.config, condensation.rule, condensation.guard
        saved = {name: value.clone() for name, value in condensation.state().items()}
        condensation.config, condensation.rule = self.config, self.config.outer.over(self.config.outer_steps)
        condensation.guard = Guard(self.config.guard, step_size=self.config.step_size)
        condensation.only_full_batches = True
        try:
            condensation.guard.advance(condensation)  # Diverged, with advice, where not even one step is finite
        finally:
            condensation.config, condensation.rule, condensation.guard = config, rule, guard
            condensation.only_full_batches = False
            condensation.restore(saved)

    def seconds(self) -> float:
        self()
        found = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self()
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    def peak(self) -> int | None:
        with measured_peak(self.condensation.task.device) as peak:
            for _ in range(ROUNDS):  # the allocator's peak still grows after the first
                self()
        return peak.bytes
