"""The remaining time in the lines that stand in for bars."""

from __future__ import annotations

import pytest

from satm.cli import _progress
from satm.cli._progress import TerminalProgress


class Kept(TerminalProgress):
    """Keeps the lines that it would print."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_the_remaining_time_is_that_of_units_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first unit may have waited for a compilation or for the choice of a learning rate."""
    now = 0.0
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now)
    progress = Kept()
    with progress.bar("training", 102, done=1) as bar:
        now = 500.0
        bar.advance(loss=0.25)
        assert progress.lines == ["training: 2/102  loss 0.25"]
        now = 520.0
        bar.advance(10)  # too soon for another line
        now = 540.0
        bar.advance(10, loss=0.125)
    assert progress.lines[1:] == ["training: 22/102  2.0 s each  left 3 min  loss 0.125"]


def test_a_name_beside_a_bar_controls_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # bars are drawn, as on a terminal
    monkeypatch.setenv("COLUMNS", "200")
    progress = TerminalProgress()
    with progress, progress.bar("[red]a[/] \x1b]0;mine\x07 [/b]", 3) as bar:
        bar.advance(kind="[blink]x\x1b[2J")
        progress._bars.refresh()
    shown = capsys.readouterr().err
    assert r"[red]a[/] \x1b]0;mine\x07 [/b]" in shown
    assert r"[blink]x\x1b[2J" in shown
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
