"""The paired difference between the two arms of a comparison.

It is computed from the condensation seeds and networks that both arms have. A remark says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from satm.statistics import FEWEST, Comparison, Question, compare, fullest
from satm.studies import Claim, Study
from satm.studies import Comparison as Asked
from satm.studies.claims import RUN
from satm.workflow.grouped import BySeed
from satm.workflow.reproduce.values import Values

# The peak memory of a run. It is treated as free of chance on every device, so equal values in all runs are a real
# result (`compare`). On a GPU it is free of chance. On a CPU it varies a little, so all values are hardly ever equal.
PEAK = RUN + "peak_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The result of comparing the stored values of two arms."""

    # The difference `first` − `second`, or `second` − `first` if the claim says "below". None: no values can be paired.
    difference: Comparison | None
    reached: bool  # whether both arms have values for at least one common seed
    by_design: bool  # whether the study plans too few condensations for any verdict
    remark: str  # what is missing or was not compared; "" if nothing


def paired(study: Study, claim: Claim, asked: Asked, values: Values) -> Paired:
    """The difference of a comparison over the condensation seeds and networks that both arms have.

    If not all seeds have the same networks, `fullest` chooses the seeds and networks that give the most values, and
    three or more seeds if this is possible. So a seed whose evaluation is not finished may be left out. For times and
    peak memory, a seed is compared only if both arms were measured on the same hardware (`PLACES`). `asked` is the
    comparison, with its two arms and their condition.
    """
    sides = [
        values.of_claim(claim, asked, asked.first, claim.summary),
        values.of_claim(claim, asked, asked.second, claim.second_summary or claim.summary),
    ]
    planned, shared = values.planned(asked), sorted(sides[0].keys() & sides[1].keys())
    few = planned < FEWEST
    design = f"by design: {_count(planned)} of each arm, and a verdict needs {FEWEST}" if few else ""
    if not shared:
        return Paired(difference=None, reached=False, by_design=few, remark=design)
    places = [values.places(claim, asked, arm) for arm in (asked.first, asked.second)]
    # The seeds whose two values were measured on different or unknown hardware.
    apart = [seed for seed in shared if not _one_place([each[seed] for each in places if each is not None])]
    first, second = (_of_seeds(side, shared, apart) for side in sides)
    delta = claim.delta or study.head.delta
    if claim.scale == "ratio":
        first, second, delta = _logarithms(first, 1.0), _logarithms(second, claim.times), math.log1p(delta)
    table = fullest(first, second)
    kept = () if table is None else table.seeds
    remark = "; ".join(filter(None, (design or _missing(kept, planned, shared, apart), _apart(apart, places))))
    if table is None:
        return Paired(difference=None, reached=True, by_design=few, remark=remark)
    a, b = table.tables if claim.says != "below" else table.tables[::-1]
    asks: Question = "equal" if claim.says == "equal" else "better"
    found = compare(a, b, delta, asks=asks, exact=claim.metric == PEAK)
    return Paired(difference=found, reached=True, by_design=few, remark=remark)


def _of_seeds(values: BySeed, shared: Sequence[int], apart: Sequence[int]) -> BySeed:
    return {seed: values[seed] for seed in shared if seed not in apart}


def _one_place(places: Sequence[str | None]) -> bool:
    """Whether all places are known and the same. If `places` is empty, the hardware does not matter: True."""
    return not places or (len(set(places)) == 1 and places[0] is not None)


def _missing(kept: Sequence[int], planned: int, shared: Sequence[int], apart: Sequence[int]) -> str:
    """The remark on missing seeds, such as `2 of 3 condensations; seed 1 not judged by all networks`.

    It is "" if no seed is missing.
    """
    if len(kept) >= planned:
        return ""
    half = [seed for seed in shared if seed not in kept and seed not in apart]
    more = f"; {_seeds(half)} not judged by all networks" if half else ""
    return f"{len(kept)} of {_count(planned)}{more}"


def _apart(apart: Sequence[int], places: Sequence[Mapping[int, str | None] | None]) -> str:
    """The remark on seeds that were measured on different hardware; "" if there is none.

    Example: `seed 0 not compared: measured on a, cpu, 2 threads and on b, cpu, 2 threads`.
    """
    if not apart:
        return ""
    where = " and ".join(f"on {each[apart[0]] or 'an unknown host'}" for each in places if each is not None)
    return f"{_seeds(apart)} not compared: measured {where}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _count(number: int) -> str:
    return f"{number} condensation{'' if number == 1 else 's'}"


def _logarithms(values: BySeed, times: float) -> BySeed:
    """ln(times · value) of every value. Values of 0 or less are left out, because they have no logarithm."""
    return {seed: {k: math.log(times * v) for k, v in each.items() if v > 0} for seed, each in values.items()}
