"""A check during a run: whether the perturbation of a sharpness-aware outer rule changes the loss at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from satm.methods.outer import OuterRule

STEPS = 100  # the number of outer steps that are watched, starting when the ramp of the perturbation's length ends
RISES = ("relative_rise", "relative_rise_linear")  # the metrics that are watched; see `Ascent.rises` in outer/ascent.py
LEAST = 1e-3  # if the medians of both metrics are below this, ε has no effect; we chose this number and `STEPS`


class Acting:
    """Watches `STEPS` outer steps. If the perturbation ε has no effect in them, it returns one message for the user.

    ε has no effect if the medians of the metrics `relative_rise` and `relative_rise_linear` are both below `LEAST`. The
    first metric alone would not be enough: some rules add noise to φ in their first pass only, and this noise can make
    `relative_rise` small even if ε is long.
    """

    def __init__(self, rule: OuterRule, steps: int) -> None:
        """Prepare to watch `rule` in a run of `steps` outer steps.

        If fewer than `STEPS` outer steps follow the ramp, all of these are watched.
        """
        length = rule.perturbation_length()
        self.length = None if length is None or length.off else length  # None: nothing is watched
        self.first = 0 if self.length is None else math.ceil(self.length.ramp * steps)
        self.rises = torch.zeros(len(RISES), min(STEPS, max(0, steps - self.first)))

    def see(self, step: int, measured: Mapping[str, float]) -> str | None:
        """Take the metrics `measured` of outer step `step`.

        Returns the message for the user after the last watched step, if ε had no effect, and otherwise None.
        """
        at, watched = step - self.first, self.rises.shape[1]
        if self.length is None or not measured.keys() >= set(RISES) or not 0 <= at < watched:
            return None
        self.rises = self.rises.clone()
        self.rises[:, at] = torch.tensor([measured[name] for name in RISES])
        median = float(self.rises.median(dim=1).values.max())
        if at < watched - 1 or median >= LEAST:
            return None
        return (
            f"the perturbation does nothing: over {watched} outer steps it raised the loss by {max(median, 0):.2%} "
            f"(median); raise {self.length.setting()}"
        )

    def state(self) -> dict[str, torch.Tensor]:
        """The rises seen so far, for a saved state. The result is empty if nothing is watched."""
        return {"rises": self.rises} if self.length is not None else {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the rises seen so far from `state`. If `state` has none, or of another number of steps, do nothing."""
        rises = state.get("rises")
        if rises is not None and rises.shape == self.rises.shape:
            self.rises = rises
