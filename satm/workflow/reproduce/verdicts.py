"""The verdicts on the claims of a study, from the stored values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from satm.statistics import FamilyMember, Verdict, corrected
from satm.studies import Claim, Comparison, Study, comparisons
from satm.workflow.reproduce.pairing import Paired, paired
from satm.workflow.reproduce.values import Values


class Holds(StrEnum):
    """The verdict on a comparison or a claim."""

    YES = "holds"
    NO = "does not hold"
    OPEN = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One comparison of a claim, with its verdict."""

    comparison: Comparison
    # The difference `first` − `second` (`second` − `first` if the claim says "below"), with its corrected p-value.
    # None: no values can be paired.
    member: FamilyMember | None
    holds: Holds
    size: int  # the number of comparisons in its family; comparisons without values are counted too
    reached: bool  # whether both arms have values
    by_design: bool = False  # whether the study plans too few condensations for any verdict
    remark: str = ""  # what is missing or was not compared

    @property
    def spelt(self) -> str:
        """The verdict in words."""
        return str(self.holds) if self.reached else "not reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A claim with its comparisons, and whether it holds."""

    claim: Claim
    judged: tuple[Judged, ...]
    holds: Holds

    @property
    def spelt(self) -> str:
        """The verdict in words."""
        designed = self.holds is Holds.OPEN and all(each.by_design for each in self.judged)
        return f"{self.holds}, by design" if designed else str(self.holds)

    @property
    def counts(self) -> str:
        """How many comparisons hold and how many must hold: `3 of 8 hold, 8 needed; 2 do not, 1 not reached`."""
        total, need = len(self.judged), self.claim.at_least or len(self.judged)
        yes = sum(each.holds is Holds.YES for each in self.judged)
        no = sum(each.holds is Holds.NO for each in self.judged)
        left = sum(not each.reached for each in self.judged)
        more = [f"{no} do not"] * bool(no) + [f"{left} not reached"] * bool(left)
        return f"{yes} of {total} hold, {need} needed" + (f"; {', '.join(more)}" if more else "")


Key: TypeAlias = tuple[int, Comparison]
"""The index of a claim, and one of its comparisons. The index is needed because two claims may share a comparison."""


def answers(study: Study, values: Values) -> tuple[Answer, ...]:
    """The verdict on every claim.

    The p-values and verdicts of the comparisons of one family are corrected together (Holm's method). The claims of the
    study say which comparisons are one family.
    """
    asked = [(i, each) for i, claim in enumerate(study.claims) for each in comparisons(study, claim)]
    families: dict[object, list[Key]] = {}
    for i, each in asked:
        families.setdefault(_family(study.claims[i], each), []).append((i, each))
    judged: dict[Key, Judged] = {}
    for members in families.values():
        judged |= _judge(study, members, values)
    return tuple(_answer(claim, [judged[key] for key in asked if key[0] == i]) for i, claim in enumerate(study.claims))


def _family(claim: Claim, each: Comparison) -> object:
    """The key of the family that a comparison belongs to.

    It does not depend on stored values, so comparisons without values are members of their families too.
    """
    if claim.family == "claim":
        return claim.text
    return each.condition, each.evaluation, each.architecture, claim.metric, claim.summary


def _judge(study: Study, members: Sequence[Key], values: Values) -> dict[Key, Judged]:
    found: dict[Key, Paired] = {key: paired(study, study.claims[key[0]], key[1], values) for key in members}
    known = {key: each.difference for key, each in found.items() if each.difference is not None}
    size = len(members)
    one = corrected([(key[1].first, key[1].second, each) for key, each in known.items()], size)
    by_key = dict(zip(known, one, strict=True))
    return {
        key: Judged(
            comparison=key[1],
            member=by_key.get(key),
            holds=_holds(study.claims[key[0]], by_key.get(key)),
            size=size,
            reached=found[key].reached,
            by_design=found[key].by_design,
            remark=found[key].remark,
        )
        for key in members
    }


def _holds(claim: Claim, member: FamilyMember | None) -> Holds:
    if member is None or member.verdict is Verdict.CANNOT_TELL:
        return Holds.OPEN
    wanted = {Verdict.EQUIVALENT} if claim.says == "equal" else {Verdict.AT_LEAST, Verdict.HOLDS}
    return Holds.YES if member.verdict in wanted else Holds.NO


def _answer(claim: Claim, judged: Sequence[Judged]) -> Answer:
    need = claim.at_least or len(judged)
    yes = sum(each.holds is Holds.YES for each in judged)
    no = sum(each.holds is Holds.NO for each in judged)
    holds = Holds.YES if yes >= need else Holds.NO if len(judged) - no < need else Holds.OPEN
    return Answer(claim=claim, judged=tuple(judged), holds=holds)
