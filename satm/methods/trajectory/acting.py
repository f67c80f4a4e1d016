"""Watches whether the perturbation of a sharpness-aware rule changes the loss at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from satm.methods.outer import OuterRule

STEPS = 100  # outer steps that are watched, from the end of the ramp on
RISES = ("relative_rise", "relative_rise_linear")  # of `Ascent.rises`
LEAST = 1e-3  # a median relative rise under this means that the rule does nothing; both numbers are ours


class Acting:
    """Says once if the perturbation changes nothing over the first `STEPS` outer steps.

    That is if the medians of `relative_rise` and of `relative_rise_linear` both stay under `LEAST`. The first one alone
    would not do: noise in the first pass lowers it, however long ε is.
    """

    def __init__(self, rule: OuterRule, steps: int) -> None:
        """`steps` is the number of outer steps of the run. A run of fewer than `STEPS` is watched to its end."""
        length = rule.perturbation_length()
        self.length = None if length is None or length.off else length  # None: there is nothing to watch
        self.first = 0 if self.length is None else math.ceil(self.length.ramp * steps)
        self.rises = torch.zeros(len(RISES), min(STEPS, max(0, steps - self.first)))

    def see(self, step: int, measured: Mapping[str, float]) -> str | None:
        """Take in what outer step `step` measured. Returns the message if there is one to say now."""
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
        """What was watched so far, for a saved state; empty if there is nothing to watch."""
        return {"rises": self.rises} if self.length is not None else {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what was watched from `state`, unless another number of steps was watched there."""
        rises = state.get("rises")
        if rises is not None and rises.shape == self.rises.shape:
            self.rises = rises
