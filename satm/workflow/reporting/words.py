"""Writes the numbers of a report as text, with their intervals, their spreads and n.

In the docstrings here, "a fraction" is the mean of a metric with values from 0 to 1, such as the accuracy. It is
written in percent. n is the number of condensations and networks (or class orders) in the mean, such as
"3 condensations × 5 networks".
"""

from __future__ import annotations

from satm.report.page import Value
from satm.report.spreads import spread_text
from satm.workflow.grouped import GroupRow

PERCENT = 100.0


def percent(value: float) -> str:
    """A fraction in percent, with one digit after the decimal point."""
    return f"{PERCENT * value:.1f}"


def ends(row: GroupRow) -> str:
    """The 95% interval of a fraction, in percent; "" if there is none."""
    found = row.interval
    return "" if found is None else f"[{percent(found[0])}, {percent(found[1])}]"


def spreads(row: GroupRow) -> str:
    """Both standard deviations, in percentage points, such as "1.2 / 0.4".

    The first is between condensations, the second between networks or class orders. "–" means that it is not known; for
    "~0" see `spread_text`.
    """
    return " / ".join(spread_text(each, row.estimate) for each in (row.between_condensations, row.between_networks))


def said(row: GroupRow) -> str:
    """A fraction with everything that a reader must know about it: interval, n, spreads, profile and learning rate."""
    cell = row.cell
    parts = [f"{percent(row.estimate.mean)} % {ends(row)}".strip(), row.size, f"spreads {spreads(row)}"]
    parts += [f"profile {cell.profile}", f"rate {cell.policy or 'unknown'}"]
    parts += [f"{row.diverged} diverged and count as chance"] if row.diverged else []
    return ", ".join(parts)


def cell_of(row: GroupRow) -> Value:
    """A fraction as a table cell: its mean and interval, and below them the spreads and n."""
    return Value(
        f"{percent(row.estimate.mean)} {ends(row)}".strip(), row.estimate.mean, note=f"{spreads(row)} · {row.size}"
    )


def arm(row: GroupRow) -> str:
    """How tables and legends name a row: its group, its memory and where its learning rate comes from.

    The memory is left out if it is the whole condensed set.
    """
    memory, policy = row.cell.memory, policy_of(row)
    if memory == "condensed":
        return f"{row.group.name} ({policy})"
    if memory.startswith("condensed"):
        return f"{row.group.name} {memory.removeprefix('condensed')} ({policy})"
    return f"{memory}, as {row.group.name} ({policy})"


def policy_of(row: GroupRow) -> str:
    """Where the learning rate of a row comes from.

    A rate from the user is shown with its number, because rows may differ only in this number.
    """
    if row.cell.policy == "fixed" and row.rate is not None:
        return f"fixed {row.rate:g}"
    return row.cell.policy or "rate unknown"


def card_key(set_id: str) -> str:
    """The anchor (HTML id) of a set's card in the page, for links."""
    return f"set-{set_id[:16]}"


def sized(count: int) -> str:
    """A number of bytes in a unit that is easy to read, such as 1.2 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
