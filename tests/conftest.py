"""Every test has its own SATM_HOME and registry, and one thread. The fixture `real_data` gives real images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis must not fail a slow test: other processes may use the machine too.
settings.register_profile("satm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("satm")

REAL_DATA = os.environ.get("SATM_DATA")


@pytest.fixture(autouse=True, scope="session")
def _kept_memory():
    """As in the commands: freed memory stays with the process, which makes uncompiled networks twice as fast."""
    from satm.machine.allocator import keep_freed_memory

    keep_freed_memory()


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Results have the same bits only at the same number of threads."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SATM_REGISTRY", str(tmp_path / "satm.db"))
    monkeypatch.delenv("SATM_DATA", raising=False)


@pytest.fixture
def real_data(monkeypatch) -> Path:
    """The folder of real images, with `SATM_DATA` set to it. Skips the test if there is none."""
    if not REAL_DATA:
        pytest.skip("SATM_DATA is not set: no real images here")
    monkeypatch.setenv("SATM_DATA", REAL_DATA)
    return Path(REAL_DATA)
