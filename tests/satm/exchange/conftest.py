"""Fixtures for tests of the importers, for example a limit on the RAM that a false claim can take."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import Registry
from satm.synthetic import SyntheticSet
from tests.satm.exchange import files


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    """Allow 4 GiB more address space than the process has: a false claim fails the test, not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return files.fresh(tmp_path / "foreign")


@pytest.fixture
def stored(tmp_path: Path):
    """A function that stores a set in a new registry and returns the set's name and the registry's path."""

    def store(synthetic: SyntheticSet) -> tuple[str, Path]:
        path = tmp_path / "own.db"
        with Registry.open(path) as registry:
            return registry.add_set(synthetic, run=None).name, path

    return store
