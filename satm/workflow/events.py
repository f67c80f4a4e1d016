"""What happens during a run beside its work: metrics named `event.*`, said once when they begin."""

from __future__ import annotations

from collections.abc import Mapping

from satm.progress import Progress

EVENT = "event."


def announce_events(
    step: int, measured: Mapping[str, float], *, before: frozenset[str], progress: Progress
) -> frozenset[str]:
    """Say one line where an event happened that did not happen the step before; returns this step's events."""
    events = {name: value for name, value in measured.items() if name.startswith(EVENT)}
    if not events.keys() <= before:
        told = (f"{name.removeprefix(EVENT).replace('_', ' ')} {value:.4g}" for name, value in events.items())
        progress.say(f"outer step {step + 1}: {', '.join(told)}")
    return frozenset(events)
