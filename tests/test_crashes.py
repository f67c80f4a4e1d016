"""Killed commands lose nothing: a small part of benchmarks/crashes.py here, all of it under `slow`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("cc") or shutil.which("gcc")),
    reason="kills inside a write need Linux and a C compiler",
)

# Writes a file in its place, as a program without care does.
CARELESS = """
import satm.kept

def write(path, write, before=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name("scratch")
    write(scratch)
    with open(path, "wb") as file:
        file.write(scratch.read_bytes())
    scratch.unlink()

satm.kept.write_atomically = write
"""


def crashes(*options: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"{before}\nimport sys\nfrom benchmarks import crashes\nsys.exit(crashes.main())"
    command = [sys.executable, "-c", program] if before else [sys.executable, str(ROOT / "benchmarks" / "crashes.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True)


def row(output: str, name: str) -> list[int]:
    """Kills, kills inside a write, trials, and what was lost."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{name} "))
    return [int(word) for word in line.split()[1:5]]


def test_a_few_kills_lose_nothing() -> None:
    done = crashes("--kills", "4", "--only", "experts,condense", "--no-disasters")
    assert done.returncode == 0, done.stdout + done.stderr
    kills, _, trials, lost = row(done.stdout, "all")
    assert kills >= 4
    assert trials >= 2
    assert all(row(done.stdout, name)[0] >= 1 for name in ("experts", "condense"))
    assert lost == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_kills_and_every_disaster_lose_nothing() -> None:
    done = crashes("--kills", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    kills, inside, _, lost = row(done.stdout, "all")
    assert kills >= 100
    assert inside >= 30
    assert lost == 0
    assert all(row(done.stdout, name)[0] >= 10 for name in ("experts", "condense", "eval", "eval-cl", "import"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_harness_finds_a_careless_write() -> None:
    done = crashes("--kills", "12", "--only", "experts", "--no-disasters", before=CARELESS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert row(done.stdout, "all")[3] > 0
    assert "DamagedFile" in done.stdout
