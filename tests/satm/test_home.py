"""Locks in `SATM_HOME`: one process at a time, also while lock files are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import Timeout

from satm.home import held_now

ROOT = Path(__file__).parents[2]
ADD = """
import sys
from pathlib import Path
from filelock import Timeout
from satm.home import acquire, held_now

lock, number = Path(sys.argv[1]), Path(sys.argv[2])
for turn in range(150):
    while True:
        try:
            with held_now(lock, remove=True):
                number.write_text(str(1 + int(number.read_text())))
            break
        except Timeout:
            pass
"""


def test_processes_that_remove_the_lock_file_still_take_turns(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", ADD, str(tmp_path / "a.lock"), str(tmp_path / "number")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "450"


def test_a_lock_is_removed_only_while_it_is_held(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with held_now(lock):
        with pytest.raises(Timeout), held_now(lock, remove=True):
            pass
        assert lock.exists()
    with held_now(lock, remove=True):
        assert lock.exists()
    assert not lock.exists()
