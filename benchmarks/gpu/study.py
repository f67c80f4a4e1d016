"""Runs the cells of `benchmarks/radius.py` in several processes at the same time, until the given time is over.

    python benchmarks/gpu/study.py --device cuda --workers 6 --minutes 7 --output OUT [--resume study.tar]

A cell is one condensation and the networks that are trained on its set. The most important cells come first. Each cell
is one process, and at most `--workers` processes run at a time. On a GPU, all processes share the GPU, and each runs
the engine `higher` uncompiled. On an H200, each of four processes made 2.1 outer steps a second. With `--device cpu`,
each process has one core. One process first runs alone and compiles the code, so that the later processes can use it.

OUT/study.tar is written again whenever a cell finishes. Its folder `cells/` holds the finished cells, which
`radius.py --table` reads. When the time is over, the processes get SIGTERM and save their state. Then the file also
gets the registries, checkpoints and experts, so that a later call can continue the unfinished cells. `--resume` unpacks
such a file before the cells start. The default of `--scratch` is a fixed folder, so that the paths are the same on
the next machine.
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
STATE = ("runs", "experts")  # the folders of SATM_HOME that an unfinished run needs to continue
# Each cell is (the number of experts, the seed, the arm). The arms are explained in `benchmarks/radius.py`.
CELLS = [(experts, seed, arm) for experts in (1, 4) for seed in (0, 1, 2) for arm in ARMS]


@dataclass(frozen=True)
class Study:
    """The folders and the sizes that all cells share."""

    scratch: Path  # the folder in which the processes work
    output: Path  # the folder of study.tar
    device: str
    steps: int  # the outer steps of a condensation
    networks: int  # the number of networks that are trained on each set
    dataset: str
    arch: str  # one more architecture to evaluate each set on; "" for none

    def start(self, number: int, cell: tuple[int, int, str], steps: int, networks: int) -> subprocess.Popen[bytes]:
        """Start the process of one cell. `number` distinguishes the registry and the log of the process."""
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
        """Write the finished cells and the logs to study.tar, and return the number of finished cells.

        With `whole`, the file also gets everything that unfinished runs need to continue. In this case no process may
        be running.
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
        """Unpack the study.tar of an earlier call into the scratch folder."""
        with tarfile.open(tar) as file:
            file.extractall(self.scratch, filter="data")


def run(study: Study, workers: int, until: float, wanted: list[tuple[int, int, str]]) -> None:
    """Run the cells `wanted` until all are finished or `time.monotonic` reaches `until`. Then stop all processes."""
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
    """Run a condensation of two steps and delete its results.

    It leaves the ZCA transform, the decoded images and, on a CPU, the compiled code for the cells that follow.
    """
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
    """Prepare the scratch folder, run the cells and write study.tar."""
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
