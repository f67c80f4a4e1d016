"""Estimates, verdicts and families of comparisons as short lines of text. Accuracies are fractions, shown as points."""

from __future__ import annotations

from collections.abc import Sequence

from satm.report.spreads import spread_text
from satm.statistics import FEWEST, Comparison, Crossed, FamilyMember, Verdict, accuracy_interval

POINTS = 100.0  # the factor from a fraction to points, which are hundredths

# The two ends (low, high) of an interval, as fractions.
Ends = tuple[float, float]


def crossed_line(found: Crossed, ends: Ends | None = None, *, unit: str = "network") -> str:
    """A mean accuracy: "70.5 [66.1, 74.5], 3 condensations × 5 networks, between condensations 4.0, networks 1.8".

    The last two numbers are standard deviations. `ends` is the interval that is shown, for example an interval for new
    test images. If `ends` is None, the interval of `accuracy_interval` is shown. From a single set no interval can be
    computed that is about the method; the line then has no interval and says "this set only".

    `found` comes from a table of condensations × networks. `unit` is the name of the table's columns: "network", or
    "order" if they are class orders.
    """
    size = _size(found, unit)
    stds = {"condensations": found.between_condensations, f"{unit}s": found.between_networks}
    spreads = [f"{name} {spread_text(std, found)}" for name, std in stds.items() if std is not None]
    return _line(found, ends, size, spreads)


def comparison_line(first: str, second: str, found: Comparison, *, unit: str = "network") -> str:
    """A comparison: "A − B: +1.3 [0.2, 2.5], 3 condensations × 5 networks: holds at δ = 1".

    `first` and `second` are the names of A and B. `unit` is as in `crossed_line`.
    """
    return f"{_difference(first, second, found, unit)}: {_verdict(found, found.verdict)}"


def family_lines(members: Sequence[FamilyMember], *, unit: str = "network") -> list[str]:
    """One line for each comparison of a family.

    The verdicts and the p-values are corrected for the number of comparisons in the family. The interval, the power and
    the number of condensations in a line are not corrected: they are those of this comparison alone.
    """
    lines = []
    for member in members:
        p = "" if member.p is None else f", Holm p {_p(member.p)}"
        text = _verdict(member.comparison, member.verdict)
        lines.append(f"{_difference(member.first, member.second, member.comparison, unit)}{p}: {text}")
    return lines


def best_line(names: Sequence[str], methods: int) -> str:
    """The methods that may be the best: "may be best of 5 methods (95%): datm, satm".

    `names` is the result of `may_be_best`, and `methods` the number of all methods.
    """
    return f"may be best of {_count(methods, 'method')} (95%): {', '.join(names)}"


def scope(found: Comparison, unit: str = "network") -> str:
    """What the interval of a comparison is about, such as "this set only". `unit` is as in `crossed_line`."""
    return found.difference.scope.replace("networks", "class orders" if unit == "order" else "networks")


def _line(found: Crossed, ends: Ends | None, size: str, spreads: Sequence[str]) -> str:
    shown = (ends or accuracy_interval(found)) if found.counts == "condensations" else None
    between = f", between {', '.join(spreads)}" if spreads else ""
    only = f" ({found.scope})" if found.scope.endswith("only") else ""
    return f"{POINTS * found.mean:.1f}{_ends(shown)}, {size}{only}{between}"


def _difference(first: str, second: str, found: Comparison, unit: str) -> str:
    d = found.difference
    ends = d.ends() if found.known else None
    only = f" ({scope(found, unit)})" if found.known and d.scope.endswith("only") else ""
    return f"{first} − {second}: {POINTS * d.mean:+.1f}{_ends(ends)}, {_size(d, unit)}{only}"


def _size(found: Crossed, unit: str) -> str:
    return f"{_count(found.seeds, 'condensation')} × {_count(found.networks, unit)}"


def _verdict(found: Comparison, verdict: Verdict) -> str:
    delta = f"δ = {POINTS * found.delta:g}"
    if found.difference.seeds == 1:
        return f"{verdict} ({found.difference.scope})"
    if not found.known:
        lacking = "3 condensations" if found.difference.seeds < FEWEST else "differences that vary"
        return f"{verdict} (an interval needs {lacking})"
    if verdict is Verdict.AT_LEAST:
        return f"holds, by at least {delta}"
    if verdict is Verdict.CANNOT_TELL:
        power = f"power {100 * (found.power or 0):.0f}%; 80% needs about {found.seeds_needed} condensations"
        return f"{verdict} at {delta} ({power})"
    return f"{verdict} at {delta}"


def _ends(ends: Ends | None) -> str:
    return "" if ends is None else f" [{POINTS * ends[0]:.1f}, {POINTS * ends[1]:.1f}]"


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "s")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
