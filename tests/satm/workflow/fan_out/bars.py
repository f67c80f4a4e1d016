"""A progress that keeps what it is shown."""

from __future__ import annotations

from collections.abc import Mapping

from satm.progress import Bar, NoProgress


class Bars(NoProgress):
    """Keeps what is said and which bars there were, and asks to stop when a bar has got to `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, list[int]] = {}  # by name: total, done, and a 0 when it is closed
        self._stop_at, self._stopping = stop_at, False

    def say(self, message: str) -> None:
        self.lines.append(message)

    def stopping(self) -> bool:
        return self._stopping

    def bar(self, name: str, total: int, *, done: int = 0) -> Bar:
        seen = self.bars.setdefault(name, [total, done])
        outer = self

        class KeptBar:
            def advance(self, steps: int = 1, **facts: float | str) -> None:
                seen[1] += steps
                outer._stopping = outer._stopping or (outer._stop_at is not None and seen[1] >= outer._stop_at)

            def draw(self, values: Mapping[str, float]) -> None:
                pass

            def __enter__(self) -> KeptBar:
                return self

            def __exit__(self, *_: object) -> None:
                seen.append(0)

        return KeptBar()
