"""The guard of a condensation: it finds outer steps that fail, tries them again, and stops the run if all tries fail.

An outer step fails if a value in it is not finite or exceeds a limit of `GuardConfig`. A failed try changes nothing.

A retry draws a new segment, new mini-batches, augmentations and noise. All its moves (of the images φ, the step size α
and the labels) are half as long as they would have been in the try before. If a move exceeded its limit, all moves are
halved as many times as are needed to bring this move to about its limit.

If the loss F or a derivative failed, shorter moves alone do not help, because the failure came before any move: its
cause is the present φ or α, or the random draw. The next retry then also moves the whole state back towards the state
before the last accepted outer step. The first such retry starts from half of the way, and each further one goes half of
the way that is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from satm.errors import ConfigError, Diverged
from satm.rng import Seed

# In a saved state, names with this prefix belong to the tensors of the state before the last accepted outer step.
BEFORE = "before."

MOST_HALVINGS = 20  # the most halvings of a move, to about a millionth; if more are needed, the settings are wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """The limits above which an outer step fails, and the number of retries. A limit of null means no limit."""

    # The limit of the loss F. F is 1 if the inner loop changes nothing, and can be hundreds if the expert hardly moves.
    max_loss: float | None = 10_000.0
    max_update_ratio: float | None = 10.0  # the limit of ‖move of φ‖ / ‖φ‖; successful first outer steps reach 2
    # The limit of (α after the outer step) / max(α before the outer step, α at the start of the run).
    max_step_size_growth: float | None = 10.0
    retries: int = 5  # retries of one outer step, after which the run stops; 0: the run stops at the first failure

    def __post_init__(self) -> None:
        for name, least in (("max_loss", 0), ("max_update_ratio", 0), ("max_step_size_growth", 1)):
            limit = getattr(self, name)
            if limit is not None and not least < limit < math.inf:
                raise ConfigError(f"guard.{name} {limit}: expected a finite number above {least}, or null for no limit")
        if not 0 <= self.retries <= 30:
            raise ConfigError(f"guard.retries {self.retries}: expected 0 to 30")


@dataclass(frozen=True, slots=True)
class Retry:
    """One try at an outer step; the first try, too."""

    number: int = 0  # the number of failed tries before this one; 0: this is the first try
    halvings: int = 0  # how many times the moves of this try are halved

    @property
    def scale(self) -> float:
        """The factor by which all moves are multiplied: 2^−halvings. It is 1 in the first try."""
        return 0.5**self.halvings

    def seed(self, seed: Seed) -> Seed:
        """The seed of this try's random draws. In the first try it is the argument `seed` itself."""
        return seed.child("retry", self.number) if self.number else seed


class StepFailed(Exception):
    """Raised if one try at an outer step fails. The try has changed nothing."""

    def __init__(self, what: str, value: float, reason: str, *, at_start: bool, limit: float = math.inf) -> None:
        super().__init__(reason)
        self.what = what  # the failed check: `not_finite`, `loss`, `update_ratio` or `step_size_growth`
        # The value that exceeds its limit, and the limit. For `not_finite`: the number of results that are not finite,
        # and infinity.
        self.value, self.limit = value, limit
        self.at_start = at_start  # True: F, another measurement or a derivative failed, before any move

    @property
    def halvings(self) -> int:
        """The number of halvings that bring a move that exceeds its limit to about the limit; 1 for other failures."""
        return 1 if self.at_start or math.isinf(self.limit) else max(1, math.ceil(math.log2(self.value / self.limit)))


class Retryable(Protocol):
    """The interface of a condensation that a `Guard` runs: it can try its next outer step."""

    step: int  # the number of outer steps done

    def attempt(self, retry: Retry) -> dict[str, float]:
        """Try the next outer step, and return its metrics.

        Raises StepFailed if the outer step fails. Nothing is changed then.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that `restore` needs; see `Condensation` in satm/methods/base.py."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`; see `Condensation` in satm/methods/base.py."""

    def advice(self, failed: StepFailed, retry: Retry) -> str:
        """The end of the error message: which settings the user can change, with their values.

        `failed` is the last failure of the outer step, and `retry` the last try.
        """


class Guard:
    """The guard of one condensation. It checks the outer steps, and keeps the state before the last accepted one."""

    def __init__(self, config: GuardConfig, *, step_size: float) -> None:
        self.config = config
        self._first_step_size = step_size  # α at the start of the run; if α has shrunk, its growth counts from here
        self._before: dict[str, torch.Tensor] = {}  # the state before the last accepted step; empty: there is none

    def advance(self, condensation: Retryable) -> dict[str, float]:
        """Do one outer step, in several tries if necessary.

        Returns the metrics of the outer step. If tries failed, further metrics tell about them; their names start with
        `event.`. Raises Diverged if the first try and all retries fail. The error holds the metrics about the failed
        tries, and the condensation is again in the state before the outer step.
        """
        saved, previous = condensation.state(), self._before
        now = start = {name: value for name, value in saved.items() if not name.startswith(BEFORE)}
        events: dict[str, float] = {}
        taken_back = halvings = 0
        for number in range(self.config.retries + 1):
            retry = Retry(number, halvings)
            try:
                measured = condensation.attempt(retry)
            except StepFailed as failure:
                failed = failure
            else:
                self._before = start
                return measured | events | ({} if retry.scale == 1 else {"event.moves_scaled_by": retry.scale})
            events |= {f"event.rolled_back_at_{failed.what}": failed.value, "event.failed_tries": number + 1.0}
            halvings = min(halvings + failed.halvings, MOST_HALVINGS)
            if failed.at_start and previous and number < self.config.retries:
                taken_back += 1
                start = _between(previous, now, 0.5**taken_back)
                condensation.restore(start)
        condensation.restore(saved)
        tries = f" in {number + 1} tries, each from a new draw and with a smaller step" if number else ""
        raise Diverged(
            f"outer step {condensation.step + 1}: {failed}{tries}; {condensation.advice(failed, retry)}",
            measured=events,
        )

    def check_start(self, measured: Mapping[str, float], derivatives: Mapping[str, torch.Tensor | None]) -> None:
        """Raise StepFailed if a measured value or a derivative is not finite, or if F is above its limit."""
        bad = [name for name, value in measured.items() if not math.isfinite(value)]
        bad += [f"the derivative of {name}" for name, value in derivatives.items() if not _finite(value)]
        if bad:
            raise StepFailed("not_finite", len(bad), f"{', '.join(bad)} not finite", at_start=True)
        self._limit("loss", measured["loss"], at_start=True)

    def check_move(
        self,
        images: torch.Tensor,
        moved_images: torch.Tensor,
        step_size: torch.Tensor,
        moved_step_size: torch.Tensor,
        moved_labels: Mapping[str, torch.Tensor],
    ) -> dict[str, float]:
        """Check the moves of φ (`images`), of α (`step_size`) and of the labels.

        Returns the metric `update_ratio`, which is ‖move of φ‖ / ‖φ‖. The result is empty if φ is zero. Raises
        StepFailed if φ, α or the labels are not finite after their moves, or if φ or α moves further than its limit
        allows.
        """
        moves = {"the images": moved_images, "the step size": moved_step_size}
        moves["the labels"] = torch.cat([value.flatten().float() for value in moved_labels.values()])
        bad = [
            f"{name}' update" if name[-1] == "s" else f"{name}'s update" for name, v in moves.items() if not _finite(v)
        ]
        if bad:
            raise StepFailed("not_finite", len(bad), f"{', '.join(bad)} not finite", at_start=False)
        ratio = float(_norm(moved_images - images) / _norm(images))
        if math.isfinite(ratio):  # it is infinite or NaN if φ = 0, and is not checked then
            self._limit("update_ratio", ratio, at_start=False)
        least = step_size.double().clamp(min=self._first_step_size)
        growth = float((moved_step_size.double() / least).max())
        self._limit("step_size_growth", growth, at_start=False)
        return {"update_ratio": ratio} if math.isfinite(ratio) else {}

    def _limit(self, what: str, value: float, *, at_start: bool) -> None:
        limit: float | None = getattr(self.config, f"max_{what}")
        if limit is not None and value > limit:
            reason = f"{what} {value:.3g} is above guard.max_{what} {limit:g}"
            raise StepFailed(what, value, reason, at_start=at_start, limit=limit)

    def state(self) -> dict[str, torch.Tensor]:
        """The guard's part of a saved state.

        The tensors are copies, because the file format does not allow the same tensor under two names.
        """
        return {BEFORE + name: value.clone() for name, value in self._before.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the guard's part from `state`. If `state` has no such part, no earlier state is kept."""
        self._before = {n.removeprefix(BEFORE): value for n, value in state.items() if n.startswith(BEFORE)}


def _between(
    before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """A state on the way from `before` to `now`: `before` if `share` is 0, `now` if `share` is 1.

    Tensors of integers, such as the number of steps and the classes, are taken from `now`. So are tensors that `before`
    does not have.
    """
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() and name in before else value
        for name, value in now.items()
    }


def _finite(value: torch.Tensor | None) -> bool:
    return value is None or bool(torch.isfinite(value).all())


def _norm(value: torch.Tensor) -> torch.Tensor:
    """The norm of all entries, in double precision because the square of a finite float32 may be infinite."""
    norm: torch.Tensor = value.flatten().norm(dtype=torch.float64)
    return norm
