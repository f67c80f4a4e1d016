from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import Registry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "satm.db"


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    with Registry.open(path) as opened:
        yield opened


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter, and that nobody may write to after the set-up."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Registry.open(folder / "satm.db").close()
        yield folder
        folder.chmod(0o700)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Drop root's right to write everywhere, if the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def locked_away(shared_folder: Path) -> Path:
    (shared_folder / "satm.db").chmod(0o444)
    shared_folder.chmod(0o555)
    return shared_folder
