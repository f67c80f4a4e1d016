"""The interface of all outer optimisers (`OuterRule`), its default methods (`Rule`), and the table `OUTER`.

To add an outer optimiser, write a file in this folder with a subclass of `Rule`. End the file with `OUTER.add(…)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self, TypeAlias

import torch

from satm.config import Choice
from satm.engine import InnerLoop
from satm.errors import ConfigError
from satm.methods.outer.length import Length
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.names import Names
from satm.types import Images

Redraw: TypeAlias = Callable[[], InnerLoop]
"""A function that returns the same inner loop with newly drawn mini-batches and augmentations."""


class OuterRule(Protocol):
    """One way to compute, from hypergradients, the direction that the images φ descend.

    A rule is a frozen dataclass of its settings. The class `Rule` has a default for every method except `rule` and
    `__call__`. A rule object never changes. If a rule keeps tensors from one outer step to the next, it receives them
    as the argument `state` and returns the new ones. `state` is a dictionary that is saved with the condensation.
    """

    @property
    def rule(self) -> str:
        """The rule's name in `OUTER`. When a stored configuration is read, the name selects the class."""

    @property
    def passes(self) -> int:
        """The number of hypergradients that one call computes.

        The choice of the engine and the estimate of the time depend on it.
        """

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the directions in which φ, the labels and α move in the outer step `problem`.

        All random draws of the rule come from `generator`. `redraw` returns an inner loop with new draws, for a rule
        that does not use the draws of the first pass in the second pass. `state` is the rule's state before this outer
        step.
        """

    def init(self, images: Images) -> State:
        """The state before the first outer step, for a set that starts at `images` [n, C, H, W]."""

    def moved(self, state: State, images: Images) -> State:
        """The state after φ has moved to `images`. `state` is the state that the last call of the rule returned.

        If an outer step is skipped or fails, this method is not called, and the state that the rule returned in that
        step is dropped.
        """

    def part(self, state: State, rows: torch.Tensor, images: Images) -> State:
        """The part of the state that belongs to some of the images.

        `rows` [m] int64 are the indices of these images among all `images` [n, C, H, W]. The method MDC calls
        this for its second loss, which uses only the first images of each class.
        """

    def averaged(self, state: State) -> Images | None:
        """The images that the condensation returns instead of φ; None: it returns φ itself."""

    def over(self, steps: int) -> OuterRule:
        """This rule for a run of `steps` outer steps, with a value for each setting that depends on this number."""

    def for_any_loop(self) -> OuterRule:
        """This rule with the default for each setting that fits only one number of inner steps, such as τ."""

    def second_start(self, iota: int) -> int | None:
        """The inner step at which the second pass and all later passes start; None: they start at inner step 0.

        `iota` is ι, the first differentiated inner step.
        """

    def perturbation_length(self) -> Length | None:
        """The length of the perturbation ε; None: the rule has no perturbation."""

    def check(self, inner_steps: int, iota: int) -> None:
        """Raise ConfigError if the rule does not fit an inner loop of `inner_steps` steps, differentiated from ι on."""


class Rule:
    """The default methods of `OuterRule`, for a rule without state, with one pass and with no limits on the loop."""

    __slots__ = ()

    @property
    def passes(self) -> int:
        """The number of passes, one; see `OuterRule`."""
        return 1

    def init(self, images: Images) -> State:
        """The state before the first outer step, which is empty; see `OuterRule`."""
        return {}

    def moved(self, state: State, images: Images) -> State:
        """Return `state` unchanged, because it does not depend on the moved images; see `OuterRule`."""
        return state

    def part(self, state: State, rows: torch.Tensor, images: Images) -> State:
        """The part of the state that belongs to the images `rows`; see `OuterRule`.

        A tensor with the shape of the images is reduced to `rows`. Every other tensor is returned whole. A rule must
        override this if its state holds tensors of another shape with one entry for each image ([n] or [n, K]).
        """
        return {name: value[rows] if value.shape == images.shape else value for name, value in state.items()}

    def averaged(self, state: State) -> Images | None:
        """None, because the condensation returns φ itself; see `OuterRule`."""
        return None

    def over(self, steps: int) -> Self:
        """The rule itself, because no setting depends on the number of outer steps; see `OuterRule`."""
        return self

    def for_any_loop(self) -> Self:
        """The rule itself, because no setting depends on the number of inner steps; see `OuterRule`."""
        return self

    def second_start(self, iota: int) -> int | None:
        """None, because every pass is a whole inner loop; see `OuterRule`."""
        return None

    def perturbation_length(self) -> Length | None:
        """None, because the rule has no perturbation; see `OuterRule`."""
        return None

    def check(self, inner_steps: int, iota: int) -> None:
        """Accept every inner loop; see `OuterRule`."""


@dataclass(frozen=True, kw_only=True)
class OuterOptimiser:
    """An entry of `OUTER`. Raises ConfigError if the field `rule` of the rule's class does not hold `name`."""

    name: str
    summary: str  # one line about the rule, with its paper
    config: type[Any]  # the rule's class: a frozen dataclass in which every field has a default
    cite: tuple[str, ...] = ()  # the papers that users of the rule cite: keys of references.bib, or BibTeX entries

    def __post_init__(self) -> None:
        tag = self.config().rule
        if tag != self.name:
            raise ConfigError(
                f"outer optimiser '{self.name}': the field rule of {self.config.__name__} holds '{tag}'; give it the "
                "entry's name, by which stored configurations find the class"
            )


OUTER: Names[OuterOptimiser] = Names(
    "outer optimiser", package="satm.methods.outer", group="satm.outer", expects=OuterOptimiser
)


def _rule_class(name: str) -> type[Any]:
    return OUTER.get(name).config


AnyOuter: TypeAlias = Annotated[OuterRule, Choice(tag="rule", names=OUTER, find=_rule_class)]
"""The type of a field that can hold any rule of `OUTER`, including the rules that other packages add."""
