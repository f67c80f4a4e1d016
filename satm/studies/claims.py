"""The claims of a study about its cells, and the comparisons that a claim consists of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from satm.errors import ConfigError
from satm.studies.study import Condition, check_table

if TYPE_CHECKING:
    from satm.studies.study import Study

Says: TypeAlias = Literal["above", "below", "equal"]
Summary: TypeAlias = Literal["mean", "variance", "last", "early", "late"]
RUN = "run."
"""The start of the name of a metric that a condensation measures at its outer steps: `run.sharpness`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of a study about arms (ways to make a set): `first` is above, below or equal to `second`.

    It is judged by comparisons of two arms. There is a comparison for each condition (data set, IPC, varied settings,
    profile) under which the study has both arms, and for each evaluation and architecture. `where` and `without` leave
    some comparisons out. A comparison is paired by condensation seed and network, and gets a verdict at δ. The claim
    holds if at least `at_least` comparisons hold. It does not hold as soon as so many comparisons have failed that this
    number cannot be reached.
    """

    text: str  # the claim in one sentence
    first: tuple[str, ...]  # the names of arms; each is compared with each of `second`
    second: tuple[str, ...]  # the names of arms
    says: Says = "above"
    evaluation: tuple[str, ...] = ()  # the names of evaluations; empty if the metric is one of the runs (`run.…`)
    metric: str = "accuracy"
    # How one number is computed from the values that a run's metric has over the outer steps. `early` and `late` use
    # the first and the last fifth of the outer steps.
    summary: Summary = "mean"
    second_summary: Summary | None = None  # the summary of `second`; None: the same as for `first`
    scale: Literal["difference", "ratio"] = "difference"  # ratio: compares logarithms; for times, memory and norms
    times: float = 1.0  # only for a ratio: `first` is compared with this many times `second`
    delta: float | None = None  # the smallest difference that matters (of a ratio: ratio − 1); None: the study's δ
    # Which comparisons Holm's method corrects together: those of one condition, or all comparisons of the claim.
    family: Literal["condition", "claim"] = "condition"
    where: object = field(default_factory=dict)  # a table of the values that dataset, ipc, architecture … must have
    without: object = ()  # tables like `where`; a comparison that fits one of them is left out
    at_least: int | None = None  # the number of comparisons that must hold; None: all of them

    def __post_init__(self) -> None:
        check_table(self.where, "where")
        for each in _tables(self.without):
            check_table(each, "without")
        if self.of_runs == bool(self.evaluation):
            raise ConfigError(f"metric {self.metric}: a metric of results needs an evaluation, one of runs has none")
        if self.times != 1.0 and self.scale != "ratio":
            raise ConfigError(f"times {self.times:g}: expected with scale = 'ratio'")
        if not 0 < self.times < float("inf"):
            raise ConfigError(f"times {self.times:g}: expected a number above 0")
        if self.at_least is not None and self.at_least < 1:
            raise ConfigError(f"at_least {self.at_least}: expected 1 or more; leave it out if all must hold")
        if self.delta is not None and not 0 < self.delta < float("inf"):
            raise ConfigError(f"delta {self.delta:g}: expected a number above 0")

    @property
    def of_runs(self) -> bool:
        """Whether the metric was measured during condensations, and not on networks that learned from the sets."""
        return self.metric.startswith(RUN)

    def allows(self, facts: Mapping[str, Any]) -> bool:
        """Whether a comparison belongs to the claim. `facts` holds its dataset, ipc, architecture … by name."""
        return _matches(check_table(self.where, "where"), facts) and not any(
            _matches(check_table(each, "without"), facts) for each in _tables(self.without)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison of a claim: two arms under one condition, in one evaluation on one architecture."""

    first: str  # the name of an arm
    second: str  # the name of an arm
    condition: Condition
    evaluation: str  # the name of an evaluation; "" if the metric is one of the runs
    architecture: str  # "" for the architecture that the sets were made with

    @property
    def where(self) -> str:
        """What the two arms have in common, in words: condition, architecture and evaluation."""
        return ", ".join(filter(None, [str(self.condition), self.architecture, self.evaluation]))


def comparisons(study: Study, claim: Claim) -> tuple[Comparison, ...]:
    """The comparisons of a claim, in the order of the study's cells.

    Raises ConfigError if there are none, or fewer than the claim needs to hold.
    """
    cells: dict[Condition, dict[str, set[str]]] = {}
    for cell in study.cells():
        cells.setdefault(cell.condition, {}).setdefault(cell.name, set()).update(cell.evaluations)
    found = []
    for condition, arms in cells.items():
        for first, second in product(claim.first, claim.second):
            if first in arms and second in arms and (first != second or claim.second_summary):
                both = arms[first] & arms[second]
                for evaluation, architecture in _judged(study, claim, both):
                    facts = {
                        "dataset": condition.dataset,
                        "ipc": condition.ipc,
                        "architecture": architecture or "own",
                        "evaluation": evaluation,
                        "first": first,
                        "second": second,
                        "varied": bool(condition.variant),
                        **dict(condition.variant),
                    }
                    if claim.allows(facts):
                        found.append(
                            Comparison(
                                first=first,
                                second=second,
                                condition=condition,
                                evaluation=evaluation,
                                architecture=architecture,
                            )
                        )
    if len(found) < (claim.at_least or 1):
        raise ConfigError(f"claim '{claim.text}' has {len(found)} comparisons; name cells that the study has")
    return tuple(found)


def _judged(study: Study, claim: Claim, both: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs (evaluation, architecture) of the claim. `both` are the evaluations that both arms have."""
    if claim.of_runs:
        return [("", "")]
    there = set(both)
    return [
        (name, architecture)
        for name in claim.evaluation
        if name in there
        for architecture in study.evaluations[name].architectures or ("",)
    ]


def _matches(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    listed = {key: value if isinstance(value, list | tuple) else [value] for key, value in wanted.items()}
    return all(facts.get(key) in values for key, values in listed.items())


def _tables(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
