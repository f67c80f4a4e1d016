"""Measures the cost of an outer step of trajectory matching, by timing a few outer steps with short inner loops.

The cost is linear in the number of inner steps N and in the window w, under every engine:

    time T(N, w) = a + b N + c w        peak memory M(w) = m + k w

`calibrate` finds a, b, c, m and k. The window is the last w inner steps, which are differentiated. Every inner step
computes a gradient. A differentiated inner step also computes Hessian-vector products, and computes them again if the
outer rule has a second pass. Only the steps of the window are kept in memory.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from satm.machine.ram import measured_peak
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.guard import GuardConfig

SHORT, LONG = 2, 6  # the numbers of inner steps of the timed loops; the long loop gets more steps if they are fast
SECONDS = 1.5  # the long loop gets so many steps that it takes about this time; a longer loop has less noise per step
ROUNDS = 3  # the number of timed runs of each loop; one run that is not timed precedes them
NO_LIMITS = GuardConfig(max_loss=None, max_update_ratio=None, max_step_size_growth=None, retries=0)


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The coefficients of the linear model of the cost, in seconds and bytes (see the start of this file).

    An outer step with diagnostics also measures the sharpness and the derivative with respect to α. If every inner step
    is differentiated, N and w are equal, and only b + c can be measured: `step` is then b + c, and `taped` is 0. The
    memory fields are None if this system cannot measure memory.
    """

    fixed: float  # a, the seconds of an outer step that do not depend on N and w
    step: float  # b, the seconds of an inner step
    taped: float  # c, the additional seconds of a differentiated inner step
    diagnosis: float  # the additional seconds per inner step, in an outer step with diagnostics
    memory_fixed: float | None  # m, the bytes that do not depend on w
    memory_taped: float | None  # k, the bytes of a differentiated inner step
    memory_diagnosis: float | None  # the peak in bytes of an outer step with diagnostics, for a short inner loop

    def seconds(self, steps: float, window: int, diagnostics_every: int = 0) -> float:
        """The mean time in seconds of an outer step with N = `steps` inner steps and w = `window`.

        Every `diagnostics_every`-th outer step has diagnostics; 0: none has.
        """
        share = 1 / diagnostics_every if diagnostics_every else 0.0
        return self.fixed + steps * (self.step + share * self.diagnosis) + self.taped * window

    def memory(self, window: int, *, diagnosed: bool = False) -> float | None:
        """The peak memory in bytes, in addition to the memory of the process before the outer step.

        If `diagnosed` is true, the result is the larger one of the peaks with and without diagnostics. The result is
        None if the memory could not be measured.
        """
        if self.memory_fixed is None or self.memory_taped is None:
            return None
        peak = self.memory_fixed + self.memory_taped * window
        return max(peak, self.memory_diagnosis or 0.0) if diagnosed else peak

    def largest_window(self, steps: int, available: float, *, diagnosed: bool = False) -> int | None:
        """The longest window of at most `steps` inner steps with a peak memory of at most `available` bytes.

        The result is 0 if no window fits, and None if the memory could not be measured.
        """
        if self.memory_fixed is None or self.memory_taped is None:
            return None
        if diagnosed and (self.memory_diagnosis or 0.0) > available:
            return 0
        left = available - self.memory_fixed
        if self.memory_taped <= 0:
            return steps if left >= 0 else 0
        return max(0, min(steps, int(left / self.memory_taped)))


def calibrate(condensation: TrajectoryCondensation) -> StepCost:
    """Measure the cost of an outer step of `condensation` by a few outer steps with short inner loops.

    `condensation` stays unchanged. If its inner steps are compiled, this happens before the timing starts.
    """
    config = condensation.config
    window = config.inner_steps - config.iota
    whole = window == config.inner_steps  # True: every inner step is differentiated, in the timed loops too
    short = min(SHORT, config.inner_steps)
    points = [(short, short if whole else 1)]  # the pairs (inner steps, window) of the timed loops
    runs = [_Run(condensation, *points[0])]
    full = [runs[0].seconds()]
    long = min(max(LONG, int(SECONDS / full[0] * short)), config.inner_steps)
    points += [(long, long)] if whole else [(long, 1), (long, min(max(LONG - 1, window), long - 1))]
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
    """The coefficients m and k in bytes. `peaks` are the peaks in bytes, one for each of `windows`.

    Both results are None if a peak could not be measured.
    """
    measured = [float(peak) for peak in peaks if peak is not None]
    if len(measured) < len(peaks):
        return None, None
    if condensation.engine.engine == "higher":
        kept = _slope(measured[-2:], windows[-2:])
        return max(m - kept * w for m, w in zip(measured, windows, strict=True)), kept
    # k is computed: a step keeps only a few vectors of θ's size, too little to measure in peaks of megabytes, and its
    # activations if it is one of the last `steps` steps.
    config, steps = condensation.config, condensation.engine.kept_steps
    vectors = float(config.update_rule().kept * sum(p.nbytes for p in condensation.network.parameters()))
    activations = condensation.kept_activations()
    fixed = max(m - vectors * w - activations * min(w, steps) for m, w in zip(measured, windows, strict=True))
    if steps < config.inner_steps - config.iota:
        return fixed + activations * steps, vectors
    return fixed, vectors + activations


def _mean_batch(condensation: TrajectoryCondensation, point: tuple[int, int], full: float) -> float:
    """The mean time of a mini-batch, divided by the time of a full mini-batch.

    The timed loops use full mini-batches only, but in a real run a pass over the images may end with a smaller one.
    `point` is the pair (inner steps, window) of a timed loop, and `full` is the time of this loop in seconds.
    """
    images = condensation.seen_count
    count, rest = divmod(images, min(condensation.config.batch_syn or images, images))
    if not rest:
        return 1.0
    return (count + _Run(condensation, *point, batch=rest).seconds() / full) / (count + 1)


def _slope(values: list[float], at: list[int]) -> float:
    """The slope of the line through two points with the x-values `at` and the y-values `values`.

    A negative slope can only be noise of the measurement, so 0 is returned for it.
    """
    return max(0.0, (values[1] - values[0]) / (at[1] - at[0])) if at[1] > at[0] else 0.0


class _Run:
    """A callable object. A call runs the next outer step of `condensation` with another number of inner steps.

    `window` and `batch` also replace the window and the size of a mini-batch; None keeps the size. Every call starts
    from the same state, and leaves the condensation unchanged.
    """

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
        """Run the outer step. Raises Diverged, with advice for the user, if a value in it is not finite."""
        shortened = self.condensation.under(self.config, full_batches_only=True)
        shortened.guard.advance(shortened)

    def seconds(self) -> float:
        """The median time of the outer step in seconds."""
        self()
        found = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self()
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    def peak(self) -> int | None:
        """The peak memory of the outer step in bytes; None if this system cannot measure it."""
        with measured_peak(self.condensation.task.device) as peak:
            for _ in range(ROUNDS):  # more than one run, because the allocator's peak still grows after the first
                self()
        return peak.bytes
