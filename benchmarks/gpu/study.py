"""Runs cells of `benchmarks/radius.py` side by side, one core each and on the CPU, until the time is up.

    python benchmarks/gpu/study.py --workers 15 --minutes 7 --output OUT

The cells come in order of priority; the next one starts when a core is free. The finished ones are in OUT/cells.tar,
made anew whenever a cell finishes, and `radius.py --table` reads the unpacked folder. Past the time the processes get
SIGTERM. One process first fits the ZCA whitening and compiles, so that the others find both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu.local import places  # noqa: E402

ARMS = ("r = 0", "default", "3 × default", "r alone", "γ alone", "mtt")
CELLS = [(experts, seed, arm) for experts in (1, 4) for seed in (0, 1, 2) for arm in ARMS]


@dataclass(frozen=True)
class Study:
    """Where the cells are made and how large they are."""

    scratch: Path
    output: Path
    steps: int
    networks: int
    dataset: str
    arch: str

    def start(self, number: int, cell: tuple[int, int, str], steps: int, networks: int) -> subprocess.Popen[bytes]:
        """The process of one cell."""
        experts, seed, arm = cell
        kind = "smoke" if self.dataset == "digits" else "cpu"
        command = [sys.executable, str(ROOT / "benchmarks/radius.py"), self.dataset, "--ipc", "1", "--profile", kind]
        command += ["--steps", str(steps), "--experts", str(experts), "--seeds", str(seed), "--arms", arm]
        command += ["--networks", str(networks), "--threads", "1", "--registry", str(self.scratch / f"{number}.db")]
        command += [*(["--arch", self.arch] if self.arch else []), "--into", str(self.scratch / "cells")]
        environment = {
            **os.environ,
            **places(self.scratch),
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), str(ROOT)])),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        with (self.scratch / f"{number}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)

    def collect(self) -> int:
        """Put the finished cells and the logs into one file; returns how many cells there are."""
        cells = sorted((self.scratch / "cells").glob("*.json"))
        temporary = self.output / "cells.tar.tmp"
        with tarfile.open(temporary, "w") as tar:
            for path in [*cells, *self.scratch.glob("*.log")]:
                tar.add(path, arcname=f"{path.parent.name if path.suffix == '.json' else 'logs'}/{path.name}")
        temporary.replace(self.output / "cells.tar")
        return len(cells)


def run(study: Study, workers: int, until: float, wanted: list[tuple[int, int, str]]) -> None:
    """Run the cells until all are finished or the time is up."""
    running: dict[int, subprocess.Popen[bytes]] = {}
    waiting = list(enumerate(wanted))
    while (running or waiting) and time.monotonic() < until:
        while waiting and len(running) < workers:
            number, cell = waiting.pop(0)
            running[number] = study.start(number, cell, study.steps, study.networks)
        time.sleep(0.5)
        over = [number for number, process in running.items() if process.poll() is not None]
        for number in over:
            code = running.pop(number).returncode
            print(f"{wanted[number]}: {'finished' if code == 0 else f'failed ({code})'}", flush=True)
        if over:
            study.collect()
    for process in running.values():
        process.terminate()
    for process in running.values():
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def warm(study: Study, until: float) -> None:
    """A condensation of two steps in a folder of its own: ZCA, decoded images and compiled code are then there."""
    first = study.start(-1, (1, 0, "default"), 2, 1)
    try:
        first.wait(max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        first.kill()
    for path in (study.scratch / "cells").glob("*-2-e*.json"):
        path.unlink()


def main() -> None:
    """Warm up, run, collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--toy", action="store_true", help="digits, few steps and cells")
    parser.add_argument("--output", type=Path, default=os.environ.get("OUT"), help="folder; by default $OUT")
    given = parser.parse_args()
    if given.output is None:
        parser.error("give --output, or set OUT")
    until = time.monotonic() + 60 * given.minutes
    output = Path(given.output).absolute()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "cells").mkdir()
        sizes = (3, 1, "digits", "") if given.toy else (given.steps, given.networks, "cifar10", "convnet4_w32")
        study = Study(Path(scratch), output, *sizes)
        warm(study, until)
        print(f"warm with {until - time.monotonic():.0f} s left", flush=True)
        run(study, given.workers, until, CELLS[:3] if given.toy else CELLS)
        print(f"{study.collect()} cells in {output / 'cells.tar'}")


if __name__ == "__main__":
    main()
