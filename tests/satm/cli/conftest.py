"""Runs command lines in an empty folder, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from satm.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; commands write `satm.db` there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATM_REGISTRY")
    return tmp_path


@pytest.fixture
def satm(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must succeed. Returns what it printed on stdout."""

    def command(*arguments: str) -> str:
        code = run(arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return command
