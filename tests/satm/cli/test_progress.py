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
    monkeypatch.setenv("TERM", "xterm")
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


def pictured(monkeypatch: pytest.MonkeyPatch, **settings: str) -> TerminalProgress:
    """Progress on a terminal of 100 columns and 30 lines, unless `settings` of the environment say otherwise."""
    size = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    for name, value in {**size, **settings}.items():
        monkeypatch.setenv(name, value)
    return TerminalProgress()


def shown(progress: TerminalProgress) -> list[str]:
    """The lines of curves that are on the screen now."""
    return [str(line) for line in [*progress._bars.get_renderables()][1:]]


def test_a_terminal_shows_the_course_of_each_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = pictured(monkeypatch)
    with progress.bar("condense", 8) as bar:
        for step in range(8):
            bar.draw({"loss": 1 - step / 7, "relative sharpness": 0.5} | ({"accuracy": 0.25} if step == 3 else {}))
            bar.advance(loss=1 - step / 7)
        bar.draw({"loss": float("nan"), "accuracy": float("inf")})
        loss, sharpness, accuracy = shown(progress)
        assert loss.split() == ["loss", "0", "█▇▆▅▄▃▂▁", "0", "…", "1"]
        assert sharpness.split()[2:4] == ["0.5", "▄▄▄▄▄▄▄▄"]
        assert accuracy.split()[1:3] == ["0.25", "▄"]
        assert progress._bars.tasks[0].fields["facts"] == ""  # the curves say it
    assert shown(progress) == []


def test_a_long_course_is_drawn_whole_in_a_line_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = pictured(monkeypatch, COLUMNS="80")
    with progress.bar("condense", 100_000) as bar:
        for step in range(10_000):
            bar.draw({"loss": 1.0 if step < 5_000 else 2.0, "hypergradient norm": -1.23456e-12 * step})
        lines = shown(progress)
        spark = lines[0].split()[2]
        assert (spark.count("▁"), spark.count("█")) == (len(spark) // 2, len(spark) // 2)
        assert all(len(line) <= 80 for line in lines)
        assert len(spark) == 80 - 53


@pytest.mark.parametrize(
    "settings", [{"COLUMNS": "60"}, {"LINES": "8"}, {"TERM": "dumb"}], ids=["narrow", "low", "dumb"]
)
def test_where_curves_do_not_fit_the_numbers_stand_beside_the_bar(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    progress = pictured(monkeypatch, **settings)
    with progress.bar("condense", 8) as bar:
        bar.draw({"loss": 0.5})
        bar.advance(loss=0.5)
        assert shown(progress) == []
        assert progress._bars.tasks[0].fields["facts"] == "loss 0.5"


def test_two_condensations_side_by_side_have_bars_only(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = pictured(monkeypatch)
    with progress.bar("one", 8) as one, progress.bar("two", 8) as two:
        one.draw({"loss": 0.5})
        assert len(shown(progress)) == 1
        two.draw({"loss": 0.5})
        assert shown(progress) == []


def test_a_dumb_terminal_is_told_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    progress = pictured(monkeypatch, TERM="dumb")
    monkeypatch.setattr(_progress, "LINE_SECONDS", -1.0)
    with progress, progress.bar("condense", 8) as bar:
        bar.draw({"loss": 0.5})
        bar.advance(loss=0.5)
    assert capsys.readouterr().err == "condense: 1/8  loss 0.5\n"
