"""The cost of an outer step of trajectory matching, found by timing a few short ones.

The cost is linear in the number of inner steps N and in the window w, under every engine:

    time T(N, w) = a + b N + c w        peak memory M(w) = m + k w

An inner step costs a gradient. A differentiated one also costs its Hessian-vector products, twice if the outer rule has
a second pass. Only the steps of the window are kept in memory.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from satm.machine.ram import measured_peak
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.guard import GuardConfig

SHORT, LONG = 2, 6  # inner steps of the timed loops; the long one grows if its time allows
SECONDS = 1.5  # a long loop takes about this; the longer it is, the less the noise of a slope is multiplied
ROUNDS = 3  # timed, after one that is not
NO_LIMITS = GuardConfig(max_loss=None, max_update_ratio=None, max_step_size_growth=None, retries=0)


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The coefficients of the model, in seconds and bytes. Memory is None if this system cannot measure it."""

    fixed: float  # a
    step: float  # b
    taped: float  # c
    diagnosis: float  # seconds per inner step, for an outer step that measures sharpness and α's derivative
    memory_fixed: float | None  # m
    memory_taped: float | None  # k
    memory_diagnosis: float | None  # peak of such a measurement

    def seconds(self, steps: float, window: int, diagnostics_every: int = 0) -> float:
        """Mean time of an outer step with N = `steps` inner steps."""
        share = 1 / diagnostics_every if diagnostics_every else 0.0
        return self.fixed + steps * (self.step + share * self.diagnosis) + self.taped * window

    def memory(self, window: int, *, diagnosed: bool = False) -> float | None:
        """Peak bytes above those of the loaded process."""
        if self.memory_fixed is None or self.memory_taped is None:
            return None
        peak = self.memory_fixed + self.memory_taped * window
        return max(peak, self.memory_diagnosis or 0.0) if diagnosed else peak

    def largest_window(self, steps: int, available: float, *, diagnosed: bool = False) -> int | None:
        """The longest window of at most `steps` whose peak is at most `available` bytes; 0 if none fits."""
        if self.memory_fixed is None or self.memory_taped is None:
            return None
        if diagnosed and (self.memory_diagnosis or 0.0) > available:
            return 0
        left = available - self.memory_fixed
        if self.memory_taped <= 0:
            return steps if left >= 0 else 0
        return max(0, min(steps, int(left / self.memory_taped)))


def calibrate(condensation: TrajectoryCondensation) -> StepCost:
    """Run a few outer steps with short inner loops. `condensation` stays unchanged.

    Code that has to be compiled is compiled first and not counted.
    """
    config = condensation.config
    window = config.inner_steps - config.iota
    whole = window == config.inner_steps  # then the window grows with the inner loop
    short = min(SHORT, config.inner_steps)
    points = [(short, short if whole else 1)]  # (inner steps, window) of the timed loops
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
    memory_fixed, memory_taped = _memory(condensation, peaks, [w for _, w in points])
    return StepCost(
        fixed=max(0.0, fixed),
        step=step,
        taped=taped,
        diagnosis=max(0.0, share * diagnosing.seconds() - times[-1]) / long,
        memory_fixed=memory_fixed,
        memory_taped=memory_taped,
        memory_diagnosis=diagnosed.peak(),
    )


def _memory(
    condensation: TrajectoryCondensation, peaks: list[int | None], windows: list[int]
) -> tuple[float | None, float | None]:
    """m and k in bytes, from the peaks measured at each of `windows`; None if one could not be measured."""
    measured = [float(peak) for peak in peaks if peak is not None]
    if len(measured) < len(peaks):
        return None, None
    if condensation.engine.engine == "higher":
        kept = _slope(measured[-2:], windows[-2:])
    else:  # a step of the window keeps a few vectors like θ, too little for a slope between peaks of many megabytes
        theta = sum(p.nbytes for p in condensation.network.parameters())
        kept = float(condensation.config.update_rule().kept * theta)
    return max(m - kept * w for m, w in zip(measured, windows, strict=True)), kept


def _mean_batch(condensation: TrajectoryCondensation, point: tuple[int, int], full: float) -> float:
    """The mean time of a mini-batch over that of a full one.

    The timed loops use full mini-batches only, but a pass over the images may end with a smaller one. `full` is the
    time of a loop at `point` (inner steps, window) with full ones.
    """
    images = condensation.seen_count
    count, rest = divmod(images, min(condensation.config.batch_syn or images, images))
    if not rest:
        return 1.0
    return (count + _Run(condensation, *point, batch=rest).seconds() / full) / (count + 1)


def _slope(values: list[float], at: list[int]) -> float:
    """Of the line through two points. Never negative: a negative one is noise."""
    return max(0.0, (values[1] - values[0]) / (at[1] - at[0])) if at[1] > at[0] else 0.0


class _Run:
    """The next outer step with an inner loop of another size, as often as it is called, always from the same state."""

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
        config = condensation.config
        self.config = config.resized(
            steps,
            window,
            batch_syn=batch or config.batch_syn,
            outer=config.outer.for_any_loop(),
            diagnostics_every=1 if diagnosed else 0,
            guard=NO_LIMITS,
        )

    def __call__(self) -> None:
        """Raises Diverged, with advice, if the step is not finite."""
        shortened = self.condensation.under(self.config, full_batches_only=True)
        shortened.guard.advance(shortened)

    def seconds(self) -> float:
        """Median time."""
        self()
        found = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self()
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    def peak(self) -> int | None:
        """Peak memory in bytes; None if this system cannot measure it."""
        with measured_peak(self.condensation.task.device) as peak:
            for _ in range(ROUNDS):  # the allocator's peak still grows after the first
                self()
        return peak.bytes
