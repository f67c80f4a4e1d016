"""Measures `satm report` on large registries: the seconds of the command and the size of the page.

    python benchmarks/report.py [--sets 500] [--rows 100000] [--shape mixed|single] [--registry FILE]

The registries are those of `registry_size.py`. The page contains its figures; no separate files of figures are written.
The command runs in a new process. Wall-clock seconds and processor seconds include the start of the process. The
numbers of the run with the fewest processor seconds of three are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.registry_size import fill


def measured(registry: Path, output: Path) -> dict[str, float | str]:
    """Run `satm report` once. Returns wall-clock and processor seconds, the megabytes of the page, and its output."""
    program = "from satm.cli import main; main()"
    command = [sys.executable, "-c", program, "report", "--registry", str(registry), "--output", str(output)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "megabytes": round(output.stat().st_size / 1e6, 2),
        "says": done.stdout.strip(),
    }


def main() -> None:
    """Fill a registry or use the one that `--registry` names, measure the report, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shape", choices=("mixed", "single"), default="mixed")
    parser.add_argument("--registry", type=Path, help="measure this registry")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.registry or Path(folder) / "satm.db"
        if given.registry is None:
            fill(path, given.sets, given.rows, single=given.shape == "single")
        found = [measured(path, Path(folder) / "report.html") for _ in range(given.repeats)]
    best = min(found, key=lambda each: each["cpu_seconds"])
    load = round(os.getloadavg()[0], 1)
    about = {"registry": path.name, "shape": given.shape, "sets": given.sets, "rows": given.rows}
    print(json.dumps(about | best | {"load": load}), flush=True)


if __name__ == "__main__":
    main()
