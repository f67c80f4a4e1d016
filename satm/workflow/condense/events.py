"""Shows and counts the events of a run: metrics called `event.*`, such as a step that was rolled back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from satm.progress import Progress

EVENT = "event."


class Events:
    """Counts the outer steps that have each event, and shows a line for a step with a new event.

    An event is new if the outer step just before did not have it.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.steps: Counter[str] = Counter()
        self._before: frozenset[str] = frozenset()

    def see(self, step: int, measured: Mapping[str, float]) -> None:
        """Find the events among `measured`, the metrics of outer step `step`. The first step is 0."""
        events = {_spell(name): value for name, value in measured.items() if name.startswith(EVENT)}
        if not events.keys() <= self._before:
            said = ", ".join(f"{name} {value:.4g}" for name, value in events.items())
            self.progress.say(f"outer step {step + 1}: {said}")
        self._before = frozenset(events)
        self.steps.update(events.keys())

    def close(self) -> None:
        """Show how many outer steps had each event. Shows nothing if there were no events."""
        if self.steps:
            said = ", ".join(f"{name} at {count}" for name, count in self.steps.items())
            self.progress.say(f"outer steps with events: {said}; they are metrics named event.* (satm query)")


def _spell(name: str) -> str:
    return name.removeprefix(EVENT).replace("_", " ")
