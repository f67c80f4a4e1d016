"""Outer steps that fail: how a failure is found, rolled back and tried again, and when the run gives up.

An outer step fails if a value in it is not finite or exceeds a limit of `GuardConfig`. A failed try changes nothing.
A retry draws a new segment, new mini-batches, augmentations and noise, and halves the moves of φ, α and labels. If a
move was too long, it halves them so often that this move comes within its limit. If F or its derivative failed, a
smaller move does not help, because φ, α or the draw is at fault. Then each retry also takes back half of what is left
of the last accepted step, momenta included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from satm.errors import ConfigError, Diverged
from satm.rng import Seed

BEFORE = "before."  # prefix, in a saved state, of the state before the last accepted step

MOST_HALVINGS = 20  # of one outer step's moves; if less than a millionth of a move is allowed, the settings are wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """The limits beyond which an outer step fails, and how often it is tried again. Null: no limit."""

    max_loss: float | None = 10_000.0  # matching loss F; 1 at the start, but hundreds if an expert hardly moves
    max_update_ratio: float | None = 10.0  # ‖move of φ‖ / ‖φ‖ of one outer step; healthy first steps reach 2
    max_step_size_growth: float | None = 10.0  # α after an outer step, over the larger of α before it and at the start
    retries: int = 5  # of one outer step; then the run stops. 0: it stops at the first failure

    def __post_init__(self) -> None:
        for name, least in (("max_loss", 0), ("max_update_ratio", 0), ("max_step_size_growth", 1)):
            limit = getattr(self, name)
            if limit is not None and not least < limit < math.inf:
                raise ConfigError(f"guard.{name} {limit}: expected a finite number above {least}, or null for no limit")
        if not 0 <= self.retries <= 30:
            raise ConfigError(f"guard.retries {self.retries}: expected 0 to 30")


@dataclass(frozen=True, slots=True)
class Retry:
    """One try at an outer step."""

    number: int = 0  # of failed tries before it
    halvings: int = 0  # of its moves

    @property
    def scale(self) -> float:
        """The factor of the step's moves: 2^−halvings, exactly 1 in the first try."""
        return 0.5**self.halvings

    def seed(self, seed: Seed) -> Seed:
        """The seed of this try's draws: `seed` itself in the first try."""
        return seed.child("retry", self.number) if self.number else seed


class StepFailed(Exception):
    """One try at an outer step failed, and changed nothing."""

    def __init__(self, what: str, value: float, reason: str, *, at_start: bool, limit: float = math.inf) -> None:
        super().__init__(reason)
        self.what = what  # `not_finite`, `loss`, `update_ratio` or `step_size_growth`
        self.value, self.limit = value, limit
        self.at_start = at_start  # F or its derivative failed, before any move

    @property
    def halvings(self) -> int:
        """How many halvings bring a too long move within its limit; 1 if that is not known."""
        return 1 if self.at_start or math.isinf(self.limit) else max(1, math.ceil(math.log2(self.value / self.limit)))


class Retryable(Protocol):
    """A condensation whose next outer step can be tried."""

    step: int

    def attempt(self, retry: Retry) -> dict[str, float]:
        """Try the next outer step. Returns what was measured. Raises StepFailed, with nothing changed, if it fails."""

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""

    def advice(self, failed: StepFailed, retry: Retry) -> str:
        """Which settings the user can change after this failure, with their values; the end of the message."""


class Guard:
    """The checks of one condensation, and the state before its last accepted step."""

    def __init__(self, config: GuardConfig, *, step_size: float) -> None:
        self.config = config
        self._first_step_size = step_size  # α at the start, so that α may grow again after a projection
        self._before: dict[str, torch.Tensor] = {}  # empty before the first accepted step

    def advance(self, condensation: Retryable) -> dict[str, float]:
        """Take one outer step, in several tries if necessary. Returns what was measured, failures under `event.`.

        Raises Diverged after `retries` retries. The error holds the events, and the state is the one before the step.
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
        """Returns the size of φ's move. Raises StepFailed if φ, α or the labels are not finite after their moves.

        It also raises StepFailed if φ or α moves beyond its limit.
        """
        moves = {"the images": moved_images, "the step size": moved_step_size}
        moves["the labels"] = torch.cat([value.flatten().float() for value in moved_labels.values()])
        bad = [
            f"{name}' update" if name[-1] == "s" else f"{name}'s update" for name, v in moves.items() if not _finite(v)
        ]
        if bad:
            raise StepFailed("not_finite", len(bad), f"{', '.join(bad)} not finite", at_start=False)
        ratio = float(_norm(moved_images - images) / _norm(images))
        if math.isfinite(ratio):  # if φ = 0, there is no size to compare with
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
        """The guard's part of a saved state. The tensors are copies, because a file holds no tensor twice."""
        return {BEFORE + name: value.clone() for name, value in self._before.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the guard's part from `state`. If there is none, there is no earlier state to fall back to."""
        self._before = {n.removeprefix(BEFORE): value for n, value in state.items() if n.startswith(BEFORE)}


def _between(
    before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """The state `share` of the way from `before` to `now`. Integers (the position, classes) are those of `now`."""
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() and name in before else value
        for name, value in now.items()
    }


def _finite(value: torch.Tensor | None) -> bool:
    return value is None or bool(torch.isfinite(value).all())


def _norm(value: torch.Tensor) -> torch.Tensor:
    """In double precision, because the square of a finite float32 may be infinite."""
    norm: torch.Tensor = value.flatten().norm(dtype=torch.float64)
    return norm
