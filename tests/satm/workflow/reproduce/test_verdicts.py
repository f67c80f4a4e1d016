"""Verdicts on claims, from values made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from satm.studies import Claim, Comparison, Study, read_study
from satm.workflow.reproduce.verdicts import Answer, Holds, Judged, answers

SEEDS, NETWORKS = range(5), range(5)


class Given:
    """Values by (condition, arm); each seed and network adds a little."""

    def __init__(self, means: dict[tuple[str, int, str], float]) -> None:
        self.means = means

    def planned(self, each: Comparison) -> int:
        return len(SEEDS)

    def places(self, claim: Claim, each: Comparison, arm: str) -> dict[int, str | None] | None:
        return None

    def of_claim(self, claim: Claim, each: Comparison, arm: str, summary: str) -> Any:
        mean = self.means.get((each.condition.dataset, each.condition.ipc, arm))
        if mean is None:
            return {}
        wave = {"satm-da": 1.0, "datm": -1.0}[arm]  # so that differences vary, by 0 on average
        return {s: {r: mean + 0.001 * wave * ((s + 2 * r) % 3 - 0.96) for r in NETWORKS} for s in SEEDS}


CELLS = [("cifar100", 1), ("cifar100", 10), ("cifar100", 50)] + [("tiny-imagenet", ipc) for ipc in (1, 10, 50)]


def answer(differences: list[float | None], **changes: Any) -> Answer:
    study = read_study("table7")
    study = replace(study, claims=(replace(study.claims[0], **changes),))
    means = {}
    for cell, difference in zip(CELLS, differences, strict=True):
        if difference is not None:
            means |= {(*cell, "satm-da"): 0.5 + difference, (*cell, "datm"): 0.5}
    (found,) = answers(study, Given(means))  # type: ignore[arg-type]
    return found


def test_five_of_six_are_enough() -> None:
    assert answer([0.05] * 5 + [-0.05]).holds is Holds.YES
    assert answer([0.05] * 6).holds is Holds.YES


def test_a_claim_does_not_hold_as_soon_as_it_cannot_any_more() -> None:
    found = answer([-0.05, -0.05, None, None, None, None])
    assert found.holds is Holds.NO
    assert found.counts == "0 of 6 hold, 5 needed; 2 do not, 4 not reached"


def test_what_is_not_reached_leaves_it_open() -> None:
    found = answer([0.05, 0.05, 0.05, 0.05, None, None])
    assert found.holds is Holds.OPEN
    assert [each.spelt for each in found.judged] == ["holds"] * 4 + ["not reached"] * 2


def test_equivalent_is_not_better() -> None:
    assert [each.holds for each in answer([-0.001] * 6).judged] == [Holds.NO] * 6


def test_below_turns_the_difference_round() -> None:
    assert answer([-0.05] * 6, says="below").holds is Holds.YES
    assert answer([0.05] * 6, says="below").holds is Holds.NO


def test_equal_needs_an_interval_inside_delta() -> None:
    assert answer([0.0] * 6, says="equal").holds is Holds.YES
    assert answer([0.05] * 6, says="equal").holds is Holds.NO
    assert answer([0.0] * 6, says="equal", delta=1e-6).holds is Holds.OPEN


def test_a_ratio_is_compared_by_logarithms() -> None:
    ratio = {"says": "below", "scale": "ratio", "delta": 0.05}
    assert answer([-0.3] * 6, times=0.5, **ratio).holds is Holds.YES  # 0.2 against half of 0.5
    assert answer([-0.2] * 6, times=0.5, **ratio).holds is Holds.NO  # 0.3


def test_a_family_counts_the_comparisons_that_are_not_reached() -> None:
    alone = answer([0.05, None, None, None, None, None], family="condition")
    declared = answer([0.05, None, None, None, None, None], family="claim")
    assert (alone.judged[0].size, declared.judged[0].size) == (1, 6)
    p = [each.judged[0].member.p for each in (alone, declared) if each.judged[0].member is not None]
    assert p[1] == pytest.approx(min(1.0, 6 * (p[0] or 0)))


def test_every_answer_of_a_study_without_values_is_open() -> None:
    study: Study = read_study("table2")
    assert {each.holds for each in answers(study, Given({}))} == {Holds.OPEN}  # type: ignore[arg-type]


class Runs(Given):
    """What runs of two arms measured: `first` and `second` by seed, each at a place."""

    def __init__(self, first: list[float], second: list[float], places: tuple[str | None, str | None]) -> None:
        super().__init__({})
        self.values, self.at = {"satm-da": first, "datm": second}, dict(zip(("satm-da", "datm"), places, strict=True))

    def planned(self, each: Comparison) -> int:
        return max(map(len, self.values.values()))

    def of_claim(self, claim: Claim, each: Comparison, arm: str, summary: str) -> Any:
        return {seed: {0: value} for seed, value in enumerate(self.values[arm])}

    def places(self, claim: Claim, each: Comparison, arm: str) -> dict[int, str | None] | None:
        return dict.fromkeys(range(len(self.values[arm])), self.at[arm])


def measured(values: Runs, **changes: Any) -> Judged:
    claim = replace(read_study("table7").claims[0], evaluation=(), metric="run.peak_bytes", scale="ratio", **changes)
    study = replace(read_study("table7"), claims=(claim,))
    return answers(study, values)[0].judged[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "says", "holds"),
    [
        (3e9, "below", "holds"),
        (9e9, "below", "does not hold"),
        (9e9, "equal", "holds"),
        (3e9, "equal", "does not hold"),
    ],
)
def test_measured_values_that_are_the_same_each_time_decide(first: float, says: str, holds: str) -> None:
    found = measured(Runs([first] * 3, [9e9] * 3, ("cuda", "cuda")), says=says, delta=0.05)
    assert (str(found.holds), found.remark) == (holds, "")


@pytest.mark.parametrize("places", [("a, cpu, 2 threads", "b, cpu, 2 threads"), (None, None)])
def test_times_of_two_places_are_not_compared(places: tuple[str | None, str | None]) -> None:
    found = measured(Runs([1.0, 1.1, 1.2], [2.0, 2.1, 2.3], places), says="below")
    assert (found.spelt, found.member) == ("cannot tell", None)
    assert "seeds 0, 1, 2 not compared: measured on " in found.remark


def test_what_is_missing_is_said() -> None:
    found = measured(Runs([1.0, 1.1], [2.0, 2.1], ("a", "a")), says="below")
    assert (found.by_design, found.remark) == (True, "by design: 2 condensations of each arm, and a verdict needs 3")
    found = measured(Runs([1.0, 1.1, 1.2], [2.0, 2.1, 2.2, 2.3], ("a", "a")), says="below")
    assert (found.holds, found.remark) == (Holds.YES, "3 of 4 condensations")


def test_a_half_judged_seed_leaves_the_others_whole() -> None:
    class Half(Given):
        def of_claim(self, claim: Claim, each: Comparison, arm: str, summary: str) -> Any:
            found = super().of_claim(claim, each, arm, summary)
            if arm == "datm":
                found[4] = {0: found[4][0]}
            return found

    study = replace(read_study("table7"), claims=read_study("table7").claims[:1])
    means = {(*cell, arm): 0.5 for cell in CELLS for arm in ("satm-da", "datm")}
    judged = answers(study, Half(means))[0].judged[0]  # type: ignore[arg-type]
    assert judged.member is not None
    difference = judged.member.comparison.difference
    assert (difference.seeds, difference.networks) == (4, 5)
    assert judged.remark == "4 of 5 condensations; seed 4 not judged by all networks"


def test_the_p_of_a_claim_of_equality_is_that_of_equality() -> None:
    judged = answer([0.0] * 6, says="equal").judged[0]
    assert judged.member is not None
    assert judged.member.p == pytest.approx(judged.member.comparison.equivalence_p)
    assert judged.member.p < 0.05 < (judged.member.comparison.difference.p() or 0)
