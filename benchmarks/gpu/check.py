"""Tests and measures the suite on a GPU in three separate parts: `engine`, `tests` and `paper` (docs/engine.md).

    python benchmarks/gpu/check.py --device cuda --output OUT [--parts engine,tests,paper] [--minutes 8]

`engine` runs benchmarks/engine.py, `tests` runs the tests that are marked `gpu`, and `paper` runs
benchmarks/gpu/paper.py. Each part is a process with its own time limit. If a part fails, the next part still runs. When
a part starts, it gets its share of the time that is left, so time that a part does not use goes to the later parts.

The folder OUT gets the results `engine.json` and `paper.json`, the output of each part in a text file, and
`check.json`, which says how each part ended. `check.json` is written again after every part. With
`--device cpu --toy`, the program can be tried without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu.local import places  # noqa: E402

# The minutes of each part if all parts together have 7.5 minutes. On an H200 the tests take 1.6 minutes.
SHARES = {"engine": 4.0, "tests": 2.0, "paper": 1.5}
ORDER = ("T6", "A", "C", "B", "D")  # the cases of benchmarks/engine.py, the most important first


@dataclass(frozen=True)
class Kit:
    """The options that all parts share."""

    device: str
    toy: bool  # whether everything is as small as possible, to try the program
    output: Path  # the folder OUT

    def command(self, part: str, minutes: float) -> list[str]:
        """The command line of a part that may take `minutes`."""
        toy = ["--toy"] if self.toy else []
        on = ["--device", self.device, *toy]
        if part == "tests":
            # The GPU machine may have another version of torch. Its warnings must not become errors, so that the tests
            # are judged by their own checks.
            options = ["-m", "gpu", "-q", "-x" if self.toy else "-rA", "-W", "default", "-p", "no:cacheprovider"]
            return [sys.executable, "-m", "pytest", *options, "--timeout", str(60 * minutes), "tests"]
        if part == "engine":
            cases = [word for name in (ORDER[:1] if self.toy else ORDER) for word in ("--case", name)]
            # Only 0.8 of the time, because a compilation or a round that has started runs on to its end.
            limits = ["--rounds", "2" if self.toy else "7", "--minutes", f"{0.8 * minutes:.2f}"]
            mode = ["--mode", "eager"] if self.toy else []
            into = ["--json", str(self.output / "engine.json")]
            return [sys.executable, str(ROOT / "benchmarks/engine.py"), *on, *cases, *limits, *mode, *into]
        into = ["--output", str(self.output / "paper.json"), "--seconds", f"{60 * minutes - 15:.0f}"]
        return [sys.executable, str(ROOT / "benchmarks/gpu/paper.py"), *on, *into]


def run_part(command: list[str], log: Path, minutes: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run one part and write its output to `log`. Returns its exit code, seconds and command.

    If it takes more than `minutes`, it gets SIGTERM. If it has not ended 10 seconds later, it is killed.
    """
    started = time.monotonic()
    with log.open("w") as file:
        part = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        for number, patience in ((signal.SIGTERM, 60 * minutes), (signal.SIGKILL, 10.0), (None, 10.0)):
            try:
                part.wait(patience)
                break
            except subprocess.TimeoutExpired:
                if number is not None:
                    os.killpg(part.pid, number)
            except BaseException:
                os.killpg(part.pid, signal.SIGKILL)
                raise
    return {"returned": part.returncode, "seconds": time.monotonic() - started, "command": command}


def machine(device: str) -> dict[str, Any]:
    """The names of the graphics card and the processor, and the versions of Python, torch and CUDA."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = [line for line in lines if line.startswith(("model name", "flags"))]
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "card": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "processor": flags[0].partition(":")[2].strip() if flags else None,
        "flags": [flag for flag in wanted if any(flag in line.split() for line in flags)],
    }


def summary(output: Path) -> Iterator[str]:
    """The lines that are printed at the end: the results of each part in short form."""
    tests = output / "tests.txt"
    if tests.exists():
        lines = tests.read_text(errors="replace").splitlines()
        yield from (line[:200] for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED")))
        yield from lines[-1:]
    engine = output / "engine.json"
    if engine.exists():
        from benchmarks.engine import table

        yield from table(json.loads(engine.read_text()))
    paper = output / "paper.json"
    if paper.exists():
        yield json.dumps({k: v for k, v in json.loads(paper.read_text()).items() if k != "step_seconds"}, indent=1)


def main() -> int:
    """Run the parts one after another. Returns the exit code: 1 if a part failed, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="as small as it runs")
    parser.add_argument("--parts", default=",".join(SHARES))
    parser.add_argument("--minutes", type=float, default=7.5, help="of all parts together")
    parser.add_argument("--output", type=Path, default=os.environ.get("OUT"), help="folder; by default $OUT")
    given = parser.parse_args()
    if given.output is None:
        parser.error("give --output, or set OUT")
    output = Path(given.output).absolute()
    output.mkdir(parents=True, exist_ok=True)
    kit, end = Kit(given.device, given.toy, output), time.monotonic() + 60 * given.minutes
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    found: dict[str, Any] = {"machine": machine(given.device), "parts": {}}
    print(json.dumps(found["machine"]), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), str(ROOT)]))
        environment = {**os.environ, **places(Path(scratch)), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        parts = given.parts.split(",")
        for place, part in enumerate(parts):
            minutes = (end - time.monotonic()) / 60 * SHARES[part] / sum(SHARES[each] for each in parts[place:])
            if minutes < 0.4:
                found["parts"][part] = {"returned": None, "why": "no time left"}
            else:
                command, log = kit.command(part, minutes), output / f"{part}.txt"
                found["parts"][part] = run_part(command, log, minutes, environment)
                tail = log.read_text(errors="replace").splitlines()[-15:]
                print(f"== {part}: {found['parts'][part]['returned']}", *tail, sep="\n", flush=True)
            (output / "check.json").write_text(json.dumps(found, indent=1))
    print("\n".join(summary(output)))
    return int(any(part["returned"] != 0 for part in found["parts"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
