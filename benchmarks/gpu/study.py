"""Runs cells of `benchmarks/radius.py` side by side, until the time is up.

    python benchmarks/gpu/study.py --device cuda --workers 6 --minutes 7 --output OUT [--resume study.tar]

The cells come in order of priority; the next one starts when a worker is free. On a GPU the workers share it, and each
runs the engine `higher` uncompiled: on an H200 four of them made 2.1 outer steps a second each. With `--device cpu` a
worker has one core; there one process first compiles, so that the others find the code.

OUT/study.tar is made anew whenever a cell finishes. It has the finished cells in `cells/`, where `radius.py --table`
reads them. Past the time the processes get SIGTERM and save; then the file also gets what an unfinished run needs to
go on: registries, checkpoints and experts. `--resume` unpacks such a file first. `--scratch` has a fixed default, so
that the paths are the same on the next machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu.local import places  # noqa: E402

ARMS = ("r = 0", "default", "3 × default", "r alone", "γ alone", "mtt")
STATE = ("runs", "experts")  # the folders of SATM_HOME from which a run goes on
CELLS = [(experts, seed, arm) for experts in (1, 4) for seed in (0, 1, 2) for arm in ARMS]


@dataclass(frozen=True)
class Study:
    """Where the cells are made and how large they are."""

    scratch: Path
    output: Path
    device: str
    steps: int
    networks: int
    dataset: str
    arch: str

    def start(self, number: int, cell: tuple[int, int, str], steps: int, networks: int) -> subprocess.Popen[bytes]:
        """The process of one cell."""
        experts, seed, arm = cell
        kind = "smoke" if self.dataset == "digits" else "cpu"
        command = [sys.executable, str(ROOT / "benchmarks/radius.py"), self.dataset, "--ipc", "1", "--profile", kind]
        command += ["--device", self.device]
        command += ["--steps", str(steps), "--experts", str(experts), "--seeds", str(seed), "--arms", arm]
        command += ["--networks", str(networks), "--threads", "1", "--registry", str(self.scratch / f"{number}.db")]
        command += [*(["--arch", self.arch] if self.arch else []), "--into", str(self.scratch / "cells")]
        environment = {
            **os.environ,
            **places(self.scratch),
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), str(ROOT)])),
            **({"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}),
            "OMP_NUM_THREADS": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        with (self.scratch / f"{number}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)

    def collect(self, *, whole: bool) -> int:
        """Put the finished cells and the logs into one file, and return how many cells there are.

        `whole`: also what unfinished runs need. No process may be running then.
        """
        kept = [*self.scratch.glob("cells/*.json"), *self.scratch.glob("*.log")]
        if whole:
            state = [self.scratch / "home" / name for name in STATE]
            kept += [*self.scratch.glob("*.db"), *(folder for folder in state if folder.exists())]
        temporary = self.output / "study.tar.tmp"
        with tarfile.open(temporary, "w") as tar:
            for path in kept:
                tar.add(path, arcname=str(path.relative_to(self.scratch)))
        temporary.replace(self.output / "study.tar")
        return len(list(self.scratch.glob("cells/*.json")))

    def resume(self, tar: Path) -> None:
        """Unpack what an earlier call collected."""
        with tarfile.open(tar) as file:
            file.extractall(self.scratch, filter="data")


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
            study.collect(whole=False)
    for process in running.values():
        process.terminate()
    for process in running.values():
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def warm(study: Study, until: float) -> None:
    """A condensation of two steps: ZCA, decoded images and, on a CPU, compiled code are then there."""
    first = study.start(-1, (1, 0, "default"), 2, 1)
    try:
        first.wait(max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        first.kill()
    for path in (study.scratch / "cells").glob("*-2-e*.json"):
        path.unlink()
    for path in study.scratch.glob("-1.db*"):
        path.unlink()


def main() -> None:
    """Warm up, run, collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--workers", type=int, default=6, help="processes; with --device cpu as many as cores")
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--toy", action="store_true", help="digits, few steps and cells")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/satm-study"), help="folder that the runs live in")
    parser.add_argument("--resume", type=Path, help="the study.tar of an earlier call")
    parser.add_argument("--output", type=Path, default=os.environ.get("OUT"), help="folder; by default $OUT")
    given = parser.parse_args()
    if given.output is None:
        parser.error("give --output, or set OUT")
    until = time.monotonic() + 60 * given.minutes
    output = Path(given.output).absolute()
    output.mkdir(parents=True, exist_ok=True)
    (given.scratch / "cells").mkdir(parents=True, exist_ok=True)
    sizes = (3, 1, "digits", "") if given.toy else (given.steps, given.networks, "cifar10", "convnet4_w32")
    study = Study(given.scratch.absolute(), output, given.device, *sizes)
    if given.resume:
        study.resume(given.resume)
    warm(study, until)
    print(f"warm with {until - time.monotonic():.0f} s left", flush=True)
    run(study, given.workers, until, CELLS[:3] if given.toy else CELLS)
    print(f"{study.collect(whole=True)} cells in {output / 'study.tar'}")


if __name__ == "__main__":
    main()
