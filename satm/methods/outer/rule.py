"""What every outer optimiser implements (`OuterRule`), the defaults (`Rule`), and the table of them (`OUTER`).

To add one, write one file in this folder with a `Rule` that ends with `OUTER.add(…)`.
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
"""Gives the same inner loop with fresh mini-batches and augmentations."""


class OuterRule(Protocol):
    """One way to turn hypergradients into the direction that φ descends.

    A rule is a frozen dataclass of its settings. `Rule` has a default for everything except `rule` and `__call__`.
    What a rule remembers goes in and out as `state`, a dictionary of tensors that is saved with the condensation.
    """

    @property
    def rule(self) -> str:
        """The rule's name in `OUTER`. Stored configurations find the class by it."""

    @property
    def passes(self) -> int:
        """How many hypergradients the rule asks a problem for. The engine is chosen and the time estimated by it."""

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """The direction at `problem`.

        Random draws come from `generator` only. `redraw` gives a loop for rules that want fresh draws in a second pass.
        """

    def init(self, images: Images) -> State:
        """The state before the first outer step, for a set that starts at `images` [n, C, H, W]."""

    def moved(self, state: State, images: Images) -> State:
        """The state after φ has moved to `images`.

        If a step is skipped or fails, this is not called, and the state that the rule answered with is dropped.
        """

    def part(self, state: State, rows: torch.Tensor, images: Images) -> State:
        """The state for a problem on the images `rows` [m] int64 of all `images` [n, C, H, W]; MDC calls this."""

    def averaged(self, state: State) -> Images | None:
        """The images that the condensation returns instead of φ; None: φ itself."""

    def over(self, steps: int) -> OuterRule:
        """This rule for `steps` outer steps: settings that depend on their number get a value."""

    def for_any_loop(self) -> OuterRule:
        """This rule without settings that fit only one number of inner steps, such as τ."""

    def second_start(self, iota: int) -> int | None:
        """The inner step at which the passes after the first start, given ι; None: at the first inner step."""

    def perturbation_length(self) -> Length | None:
        """How long the perturbation ε is; None: the rule does not ascend."""

    def check(self, inner_steps: int, iota: int) -> None:
        """Raise ConfigError if the rule does not fit an inner loop of N = `inner_steps` with first taped step ι."""


class Rule:
    """The defaults of `OuterRule`: no state, one pass, nothing to check."""

    __slots__ = ()

    @property
    def passes(self) -> int:
        """See `OuterRule`: one pass."""
        return 1

    def init(self, images: Images) -> State:
        """See `OuterRule`: no state."""
        return {}

    def moved(self, state: State, images: Images) -> State:
        """See `OuterRule`: the state does not follow φ."""
        return state

    def part(self, state: State, rows: torch.Tensor, images: Images) -> State:
        """See `OuterRule`: `rows` of every tensor that is shaped like the images, and every other tensor whole.

        A rule whose state holds other tensors with one entry for each image ([n] or [n, K]) overrides this.
        """
        return {name: value[rows] if value.shape == images.shape else value for name, value in state.items()}

    def averaged(self, state: State) -> Images | None:
        """See `OuterRule`: φ itself."""
        return None

    def over(self, steps: int) -> Self:
        """See `OuterRule`: no setting depends on the number of outer steps."""
        return self

    def for_any_loop(self) -> Self:
        """See `OuterRule`: no setting depends on the number of inner steps."""
        return self

    def second_start(self, iota: int) -> int | None:
        """See `OuterRule`: every pass is a whole inner loop."""
        return None

    def perturbation_length(self) -> Length | None:
        """See `OuterRule`: no ascent."""
        return None

    def check(self, inner_steps: int, iota: int) -> None:
        """See `OuterRule`: fits every inner loop."""


@dataclass(frozen=True, kw_only=True)
class OuterOptimiser:
    """An entry of `OUTER`. Raises ConfigError unless the rule's field `rule` holds the entry's name."""

    name: str
    summary: str  # one line, with the paper
    config: type[Any]  # the rule's class: a frozen dataclass whose fields all have defaults
    cite: tuple[str, ...] = ()  # what a user of it cites: keys of references.bib, or whole BibTeX entries

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
"""The type of a configuration's field that holds any rule of `OUTER`, another package's included."""
