"""The settings of every trajectory-matching method, and the values that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from satm.config import LATER
from satm.errors import ConfigError
from satm.experts.segment import start_epochs
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.methods.trajectory.unrolled import default_of as default_of
from satm.methods.trajectory.unrolled import default_outer as default_outer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryConfig(UnrolledConfig):
    """The settings of a method that matches training trajectories of experts.

    A segment is the part of an expert's trajectory from its parameters after epoch t to those after epoch t + M. The
    inner loop starts at the first parameters of a segment. The images are learned so that the inner loop ends near
    the last parameters.
    """

    expert_epochs: int  # M, the number of an expert's epochs from the start to the end of a segment
    max_start_epoch: int  # T, the limit of the start epoch t
    start_epochs: Literal["below", "up_to"] = "below"  # below: t < T, as in MTT's code; up_to: t ≤ T, as in the paper
    # The share of the parameters, from the input side, that the matching loss leaves out (PAD).
    match_from: float = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        if self.expert_epochs < 1:
            raise ConfigError(f"expert_epochs {self.expert_epochs}: expected at least 1")
        # super() would fail here: `slots=True` replaces the class by a new one, and super() refers to the old one.
        UnrolledConfig.__post_init__(self)
        self.starts()  # raises ConfigError if there is no start epoch
        if not 0 <= self.match_from < 1:
            raise ConfigError(f"match_from {self.match_from}: expected a share of the parameters, 0 ≤ match_from < 1")

    def starts(self) -> int:
        """The number of possible start epochs t. The smallest t is 0."""
        return start_epochs(self.max_start_epoch, inclusive=self.start_epochs == "up_to")

    def stored_epochs(self) -> int:
        """The number of epochs that an expert needs: the largest t plus M."""
        return self.starts() - 1 + self.expert_epochs

    def epochs_asked(self) -> str:
        """The settings on which `stored_epochs` depends, with their values, for an error message."""
        return f"max_start_epoch {self.max_start_epoch} and expert_epochs {self.expert_epochs}"

    def first_matched(self, parameters: int) -> int:
        """The index of the first of `parameters` parameters that the matching loss compares.

        The parameters are in the order of the network's layers, which begins at the input.
        """
        return min(int(self.match_from * parameters), parameters - 1)

    def starts_at(self, step: int) -> range:
        """The start epochs t from which outer step `step` draws one: here all of them in every outer step."""
        return range(self.starts())
