"""Numbers of a report as text: each with its interval, its spreads, and what n counts."""

from __future__ import annotations

from satm.report.page import Value
from satm.workflow.grouped import GroupRow

PERCENT = 100.0


def percent(value: float) -> str:
    """A fraction in percent, with one digit."""
    return f"{PERCENT * value:.1f}"


def ends(row: GroupRow) -> str:
    """The 95% interval of a fraction, in percent; "" if there is none."""
    found = row.interval
    return "" if found is None else f"[{percent(found[0])}, {percent(found[1])}]"


def spreads(row: GroupRow) -> str:
    """Both standard deviations in points: between condensations, then between networks or class orders; – for none."""
    return " / ".join("–" if s is None else percent(s) for s in (row.between_condensations, row.between_networks))


def said(row: GroupRow) -> str:
    """A fraction with all that a reader must know of it."""
    cell = row.cell
    parts = [f"{percent(row.estimate.mean)} % {ends(row)}".strip(), row.size, f"spreads {spreads(row)}"]
    parts += [f"profile {cell.profile}", f"rate {cell.policy or 'unknown'}"]
    parts += [f"{row.diverged} diverged and count as chance"] if row.diverged else []
    return ", ".join(parts)


def cell_of(row: GroupRow) -> Value:
    """A fraction as a cell: mean and interval; below them the spreads, and what n counts."""
    return Value(
        f"{percent(row.estimate.mean)} {ends(row)}".strip(), row.estimate.mean, note=f"{spreads(row)} · {row.size}"
    )


def arm(row: GroupRow) -> str:
    """The method of a row, with its memory unless that is the set itself, and its policy of the learning rate."""
    memory, policy = row.cell.memory, policy_of(row)
    if memory == "condensed":
        return f"{row.group.name} ({policy})"
    if memory.startswith("condensed"):
        return f"{row.group.name} {memory.removeprefix('condensed')} ({policy})"
    return f"{memory}, as {row.group.name} ({policy})"


def policy_of(row: GroupRow) -> str:
    """Where the learning rate comes from; a fixed one by its number, because it tells rows apart."""
    if row.cell.policy == "fixed" and row.rate is not None:
        return f"fixed {row.rate:g}"
    return row.cell.policy or "rate unknown"


def card_key(set_id: str) -> str:
    """The place of a set's card in the page."""
    return f"set-{set_id[:16]}"


def sized(count: int) -> str:
    """Bytes as a reader takes them in: 1.2 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
