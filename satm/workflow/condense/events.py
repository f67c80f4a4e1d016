"""Events of a run: metrics named `event.*`, such as a roll-back. They are said when they begin, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from satm.progress import Progress

EVENT = "event."


class Events:
    """Says one line for each step with an event that the step before did not have."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.steps: Counter[str] = Counter()
        self._before: frozenset[str] = frozenset()

    def see(self, step: int, measured: Mapping[str, float]) -> None:
        """Take in what outer step `step` has measured. Steps count from 0."""
        events = {_spell(name): value for name, value in measured.items() if name.startswith(EVENT)}
        if not events.keys() <= self._before:
            said = ", ".join(f"{name} {value:.4g}" for name, value in events.items())
            self.progress.say(f"outer step {step + 1}: {said}")
        self._before = frozenset(events)
        self.steps.update(events.keys())

    def close(self) -> None:
        """If there were events, say at how many outer steps each of them happened."""
        if self.steps:
            said = ", ".join(f"{name} at {count}" for name, count in self.steps.items())
            self.progress.say(f"outer steps with events: {said}; they are metrics named event.* (satm query)")


def _spell(name: str) -> str:
    return name.removeprefix(EVENT).replace("_", " ")
