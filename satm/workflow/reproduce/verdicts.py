"""What the stored values say about the claims of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from satm.statistics import LEVEL, FamilyMember, Verdict, common, corrected
from satm.statistics import Comparison as Difference
from satm.statistics import compare as compare_tables
from satm.studies import Claim, Comparison, Study, comparisons
from satm.workflow.grouped import BySeed
from satm.workflow.reproduce.values import Values


class Holds(StrEnum):
    """The verdict on a comparison or a claim."""

    YES = "holds"
    NO = "does not hold"
    OPEN = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A comparison of a claim, and what the stored values say about it."""

    comparison: Comparison
    member: FamilyMember | None  # None: not reached. `first` − `second`, turned round if the claim says "below"
    holds: Holds
    size: int  # comparisons of its family, reached or not

    @property
    def spelt(self) -> str:
        """The verdict in words."""
        return "not reached" if self.member is None else str(self.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A claim with its comparisons, and whether it holds."""

    claim: Claim
    judged: tuple[Judged, ...]
    holds: Holds

    @property
    def counts(self) -> str:
        """How many comparisons hold, and how many are needed: `3 of 8 hold, 8 needed; 2 do not, 1 not reached`."""
        total, need = len(self.judged), self.claim.at_least or len(self.judged)
        yes = sum(each.holds is Holds.YES for each in self.judged)
        no = sum(each.holds is Holds.NO for each in self.judged)
        left = sum(each.member is None for each in self.judged)
        more = [f"{no} do not"] * bool(no) + [f"{left} not reached"] * bool(left)
        return f"{yes} of {total} hold, {need} needed" + (f"; {', '.join(more)}" if more else "")


Key: TypeAlias = tuple[int, Comparison]
"""A comparison of the claim with this index: two claims may ask the same."""


def answers(study: Study, values: Values) -> tuple[Answer, ...]:
    """The verdict on every claim, corrected in the families that the study declares."""
    asked = [(i, each) for i, claim in enumerate(study.claims) for each in comparisons(study, claim)]
    families: dict[object, list[Key]] = {}
    for i, each in asked:
        families.setdefault(_family(study.claims[i], each), []).append((i, each))
    judged: dict[Key, Judged] = {}
    for members in families.values():
        judged |= _judge(study, members, values)
    return tuple(_answer(claim, [judged[key] for key in asked if key[0] == i]) for i, claim in enumerate(study.claims))


def _family(claim: Claim, each: Comparison) -> object:
    """What the members of a family share. Families hold comparisons that are not reached yet, too."""
    if claim.family == "claim":
        return claim.text
    return each.condition, each.evaluation, each.architecture, claim.metric, claim.summary


def _judge(study: Study, members: Sequence[Key], values: Values) -> dict[Key, Judged]:
    found = {key: _difference(study, study.claims[key[0]], key[1], values) for key in members}
    reached = {key: each for key, each in found.items() if each is not None}
    size = len(members)
    one = corrected([(key[1].first, key[1].second, each) for key, each in reached.items()], size)
    by_key = dict(zip(reached, one, strict=True))
    return {
        key: Judged(
            comparison=key[1],
            member=by_key.get(key),
            holds=_holds(study.claims[key[0]], by_key.get(key), size),
            size=size,
        )
        for key in members
    }


def _holds(claim: Claim, member: FamilyMember | None, size: int) -> Holds:
    if member is None:
        return Holds.OPEN
    if claim.says == "equal":
        return _equal(member.comparison, 1 - (1 - LEVEL) / size)
    match member.verdict:
        case Verdict.AT_LEAST | Verdict.HOLDS:
            return Holds.YES
        case Verdict.CANNOT_TELL:
            return Holds.OPEN
        case _:  # worse, or equivalent within δ
            return Holds.NO


def _equal(found: Difference, level: float) -> Holds:
    """Equal: the interval of two one-sided tests lies in (−δ, δ). Not equal: the difference is at least δ."""
    if found.equivalent_at(level):
        return Holds.YES
    ends = found.difference.ends(level)
    apart = found.known and ends is not None and (ends[0] > found.delta or ends[1] < -found.delta)
    return Holds.NO if apart else Holds.OPEN


def _answer(claim: Claim, judged: Sequence[Judged]) -> Answer:
    need = claim.at_least or len(judged)
    yes = sum(each.holds is Holds.YES for each in judged)
    no = sum(each.holds is Holds.NO for each in judged)
    holds = Holds.YES if yes >= need else Holds.NO if len(judged) - no < need else Holds.OPEN
    return Answer(claim=claim, judged=tuple(judged), holds=holds)


def _difference(study: Study, claim: Claim, each: Comparison, values: Values) -> Difference | None:
    """The paired difference; None if the two arms share no seed or no network."""
    first = values.of_claim(claim, each, each.first, claim.summary)
    second = values.of_claim(claim, each, each.second, claim.second_summary or claim.summary)
    if not first or not second or not first.keys() & second.keys():
        return None
    delta = claim.delta or study.head.delta
    if claim.scale == "ratio":
        pair = _logarithms(first, 1.0), _logarithms(second, claim.times)
        if pair[0] is None or pair[1] is None:
            return None
        first, second, delta = pair[0], pair[1], math.log1p(delta)
    if not all(first[seed].keys() & second[seed].keys() for seed in first.keys() & second.keys()):
        return None
    shared = sorted(first.keys() & second.keys())
    table = common({seed: first[seed] for seed in shared}, {seed: second[seed] for seed in shared})
    a, b = table.tables if claim.says != "below" else table.tables[::-1]
    return compare_tables(a, b, delta)


def _logarithms(values: BySeed, times: float) -> dict[int, Mapping[int, float]] | None:
    """ln(times · value); None if a value is not above 0."""
    if any(value <= 0 for each in values.values() for value in each.values()):
        return None
    return {seed: {key: math.log(times * value) for key, value in each.items()} for seed, each in values.items()}
