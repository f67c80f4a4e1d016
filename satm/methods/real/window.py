"""Where the window of an outer step lies: the interface `WindowRule`, and `RandomPlace`, a window at a random place.

The window is the part of the inner loop that is differentiated. The inner loop ends after the last step of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from satm.methods.outer import State
from satm.rng import Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The window of one outer step: the inner steps ι … ι + w − 1."""

    place: int  # ι, the first inner step of the window
    size: int  # w, the number of inner steps of the window
    state: State = field(default_factory=dict)  # the state of the rule in this outer step
    measured: Mapping[str, float]  # metrics of this outer step, by name


class WindowRule(Protocol):
    """The rule that chooses the window of each outer step. A rule object never changes; its state is a dictionary."""

    @property
    def largest(self) -> int:
        """The largest w of all outer steps."""

    @property
    def fixed(self) -> bool:
        """Whether ι and w are the same in all outer steps."""

    @property
    def judges(self) -> bool:
        """Whether the rule needs the accuracy on the real batch of each outer step; see `judged`."""

    def mean_steps(self) -> float:
        """The mean number of inner steps of an outer step, ι + w, and of the probes that the rule asks for."""

    def init(self) -> State:
        """The state before the first outer step. All its tensors hold integers."""

    def draw(self, state: State, seed: Seed, norms: Callable[[], torch.Tensor]) -> Window:
        """Choose the window of an outer step. All random draws come from `seed`.

        `norms` runs a probe: a whole inner loop from a network of its own on the present images. It returns the norms
        ‖g_i‖ [N] of the gradients of its N steps.
        """

    def judged(self, state: State, hits: int, images: int) -> State:
        """The state after an outer step that had the state `state`. Called only if `judges` is true.

        The network at the end of the inner loop classified `hits` of the `images` real images of this outer step
        correctly.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPlace:
    """A `WindowRule`: w = `size`, and ι is uniform in `first` … `last`. If these two are equal, ι is fixed."""

    first: int  # the smallest ι
    last: int  # the largest ι
    size: int  # w
    judges: bool = False

    @property
    def fixed(self) -> bool:
        """See `WindowRule`."""
        return self.first == self.last

    @property
    def largest(self) -> int:
        """See `WindowRule`."""
        return self.size

    def mean_steps(self) -> float:
        """See `WindowRule`."""
        return (self.first + self.last) / 2 + self.size

    def init(self) -> State:
        """The state, which is empty; see `WindowRule`."""
        return {}

    def draw(self, state: State, seed: Seed, norms: Callable[[], torch.Tensor]) -> Window:
        """Draw ι; see `WindowRule`."""
        place = int(torch.randint(self.first, self.last + 1, (), generator=seed.generator()))
        return Window(place=place, size=self.size, measured={"window_start": float(place)})

    def judged(self, state: State, hits: int, images: int) -> State:
        """Return `state` unchanged; see `WindowRule`."""
        return state
