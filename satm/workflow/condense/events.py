"""What happens during a run beside its work: metrics named `event.*`, said when they begin and counted at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from satm.progress import Progress

EVENT = "event."


class Events:
    """Says one line where an event happens that did not happen the step before."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.steps: Counter[str] = Counter()
        self._before: frozenset[str] = frozenset()

    def see(self, step: int, measured: Mapping[str, float]) -> None:
        """What outer step `step`, counted from 0, measured."""
        events = {_spell(name): value for name, value in measured.items() if name.startswith(EVENT)}
        if not events.keys() <= self._before:
            told = ", ".join(f"{name} {value:.4g}" for name, value in events.items())
            self.progress.say(f"outer step {step + 1}: {told}")
        self._before = frozenset(events)
        self.steps.update(events.keys())

    def close(self) -> None:
        """Say at how many outer steps each happened, where any did."""
        if self.steps:
            told = ", ".join(f"{name} at {count}" for name, count in self.steps.items())
            self.progress.say(f"outer steps with events: {told}; they are metrics named event.* (satm query)")


def _spell(name: str) -> str:
    return name.removeprefix(EVENT).replace("_", " ")
