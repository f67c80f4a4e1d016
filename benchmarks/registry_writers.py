"""Measures how long writes and reads take if several processes write to one registry while another process reads it.

    python benchmarks/registry_writers.py [--processes 8] [--rows 1000] [--folder FOLDER]

A write is one call of `Registry.add_metrics` with one row, which is one transaction and waits for the disk. A read
opens the registry again, as `satm query` does, and counts the rows, at most a hundred times a second. In the table,
`lost` is the number of rows that are missing at the end, and `refused` is the number of writes that raised an error.
`seconds` is the time of all writes, from the moment at which all processes are ready.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from registry import Registry
from satm.errors import RegistryError


def write(path: Path, run: str, name: str, rows: int, ready: Barrier) -> tuple[int, float]:
    """Write `rows` rows, each in its own transaction. Start when all processes have reached the barrier `ready`.

    Returns the number of refused writes, and the seconds of the slowest write.
    """
    refused, slowest = 0, 0.0
    with Registry.open(path) as registry:
        ready.wait()
        for step in range(rows):
            started = time.monotonic()
            try:
                registry.add_metrics(run, [(step, name, 0.0)])
            except RegistryError:
                refused += 1
            slowest = max(slowest, time.monotonic() - started)
    return refused, slowest


def read(path: Path, ready: Barrier, ended: Event) -> tuple[int, float]:
    """Read until `ended` is set. Returns the number of reads, and the seconds of the slowest read."""
    reads, slowest = 0, 0.0
    ready.wait()
    while not ended.is_set():
        started = time.monotonic()
        with Registry.open(path, read_only=True) as registry:
            registry.query("SELECT count(*) FROM metrics")
        slowest = max(slowest, time.monotonic() - started)
        reads += 1
        time.sleep(0.01)
    return reads, slowest


def measure(folder: Path, processes: int, rows: int) -> None:
    """Run the processes on a new registry in `folder`, and print the table."""
    path = folder / "satm.db"
    with Registry.open(path) as registry:
        facts = {"profile": "smoke", "dataset": "digits", "seed": 0, "device": "cpu", "environment": {}, "command": ""}
        run = registry.start_run(key="writers", kind="condense", config={}, **facts)
    with multiprocessing.Manager() as manager, multiprocessing.Pool(processes + 1) as pool:
        ready, ended = manager.Barrier(processes + 2), manager.Event()
        writers = [pool.apply_async(write, (path, run, f"loss{n}", rows, ready)) for n in range(processes)]
        reader = pool.apply_async(read, (path, ready, ended))
        ready.wait()
        started = time.monotonic()
        written = [writer.get() for writer in writers]
        seconds = time.monotonic() - started
        ended.set()
        reads, slowest_read = reader.get()
    with Registry.open(path, read_only=True) as registry:
        ((found,),) = registry.query("SELECT count(*) FROM metrics")[1]
    print("writers  rows  lost  refused  seconds  slowest write s  reads  slowest read s  load")
    print(
        f"{processes:7d} {found:5d} {processes * rows - found:5d} {sum(refused for refused, _ in written):8d} "
        f"{seconds:8.1f} {max(slowest for _, slowest in written):16.2f} {reads:6d} {slowest_read:15.2f}  "
        f"{os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Parse the command line and run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rows", type=int, default=1000, help="one-row transactions of each process")
    parser.add_argument("--folder", type=Path, help="where the registry lies (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        measure(Path(folder), given.processes, given.rows)


if __name__ == "__main__":
    main()
