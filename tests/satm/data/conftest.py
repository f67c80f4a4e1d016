"""Fixtures of tests that load data sets: an own `SATM_HOME`, and an empty data root."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SATM_DATA", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every line that is said to the user."""
    lines: list[str] = []
    monkeypatch.setattr("satm.progress.NoProgress.say", lambda self, message: lines.append(message))
    return lines
