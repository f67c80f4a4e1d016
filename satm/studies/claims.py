"""Claims about the cells of a study, and the comparisons that each of them is."""

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
"""How a metric begins that the outer steps of a condensation measured: `run.sharpness`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`first` is above, below or equal to `second`, in every cell that has both and that `where` allows.

    Each comparison is paired by condensation seed and network, and gets a verdict at δ. The claim holds if at least
    `at_least` comparisons hold, and does not hold as soon as that cannot be any more.
    """

    text: str  # one sentence
    first: tuple[str, ...]  # arms
    second: tuple[str, ...]
    says: Says = "above"
    evaluation: tuple[str, ...] = ()  # names; none: the metric is one of the runs
    metric: str = "accuracy"
    summary: Summary = "mean"  # of a metric of the run, over its outer steps; early, late: their first and last fifth
    second_summary: Summary | None = None  # of `second`; null: the same
    scale: Literal["difference", "ratio"] = "difference"  # ratio: of the logarithms, for times, memory and norms
    times: float = 1.0  # for a ratio: `first` is compared with this many times `second`
    delta: float | None = None  # the smallest difference that matters, or ratio − 1; null: the study's
    family: Literal["condition", "claim"] = "condition"  # which comparisons are corrected together by Holm's method
    where: object = field(default_factory=dict)  # a table: only where dataset, ipc, architecture … have these values
    without: object = ()  # tables, as `where`: not there
    at_least: int | None = None  # comparisons that must hold; null: all

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
        """Whether it is about what condensations measured, and not about networks that learned from the sets."""
        return self.metric.startswith(RUN)

    def allows(self, facts: Mapping[str, Any]) -> bool:
        """Whether a comparison with these facts belongs to the claim."""
        return _matches(check_table(self.where, "where"), facts) and not any(
            _matches(check_table(each, "without"), facts) for each in _tables(self.without)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison of a claim: two arms under one condition, by one evaluation on one architecture."""

    first: str
    second: str
    condition: Condition
    evaluation: str  # "" for a metric of the runs
    architecture: str  # "" for the sets' own

    @property
    def where(self) -> str:
        """Everything that the two arms share, in words."""
        return ", ".join(filter(None, [str(self.condition), self.architecture, self.evaluation]))


def comparisons(study: Study, claim: Claim) -> tuple[Comparison, ...]:
    """The comparisons of a claim, in the order of the study's cells.

    Raises ConfigError if there is none, or fewer than must hold.
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
    """(evaluation, architecture) of the claim, as far as both arms have them."""
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
