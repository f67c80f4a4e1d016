"""What it saves that malloc keeps freed memory (satm/machine/allocator.py): seconds, processor time and peak RAM.

    python benchmarks/allocator.py [--rounds 3] [--threads 1] [--json FILE]

Each piece of work runs in processes of its own, in turn without and with `keep_freed_memory`, so a change of the
machine's speed affects both alike. The first repeat of the work is not measured. A ratio is "with" divided by
"without" in the same round, and its median over the rounds is printed. "system" is the part of the processor time that
the kernel takes, here to make pages. The work is uncompiled, on random images of 32×32 pixels and a ConvNet of
width 32:

- train: a gradient of 640 images, ten classes with 64 images each, as an outer step of DM or DC has them.
- expert: a gradient of 256 images, as a step of an expert has them.
- test: the predictions of 10,000 images in batches of 512, as an evaluation makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

REPEATS = {"train": 4, "expert": 10, "test": 1}


def measure(work: str, keep: bool, threads: int) -> dict[str, float]:
    """Do the work in this process. Returns the seconds, the processor seconds and those of the kernel, and the peak."""
    import resource

    import torch

    from satm import networks
    from satm.machine.allocator import keep_freed_memory
    from satm.rng import Seed

    torch.set_num_threads(threads)
    if keep and not keep_freed_memory():
        raise SystemExit("this system's malloc cannot keep freed memory")
    network = networks.create("convnet3_w32", num_classes=10, image_shape=(3, 32, 32), seed=Seed(0))
    images = torch.randn(10_000 if work == "test" else {"train": 640, "expert": 256}[work], 3, 32, 32)

    def train() -> None:
        network(images).square().mean().backward()

    @torch.no_grad()
    def test() -> None:
        for part in images.split(512):
            network(part)

    once: Callable[[], object] = test if work == "test" else train
    once()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(REPEATS[work]):
        once()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    processor = after.ru_utime - before.ru_utime + system
    return {"seconds": seconds, "processor": processor, "system": system, "peak": after.ru_maxrss * 1024.0}


def main() -> None:
    """Run the rounds, print a line for each work, and write the JSON file that `--json` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("WORK", "KEEP"), help="measure one work in this process")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one[0], asked.one[1] == "with", asked.threads)))
        return
    rows: list[dict[str, Any]] = []
    for turn in range(asked.rounds):
        for work in REPEATS:
            for keep in ("without", "with"):
                command = [sys.executable, __file__, "--threads", str(asked.threads), "--one", work, keep]
                environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                rows.append({"round": turn, "work": work, "keep": keep, **json.loads(done.stdout)})
    for work in REPEATS:
        without, with_it = (
            [row for row in rows if (row["work"], row["keep"]) == (work, k)] for k in ("without", "with")
        )
        ratios = {
            name: statistics.median(b[name] / a[name] for a, b in zip(without, with_it, strict=True))
            for name in ("seconds", "processor", "peak")
        }
        shares = [statistics.median(row["system"] / row["processor"] for row in each) for each in (without, with_it)]
        print(
            f"{work:7} time {ratios['seconds']:.2f}  processor {ratios['processor']:.2f}  peak {ratios['peak']:.2f}  "
            f"system {shares[0]:.0%} without, {shares[1]:.0%} with"
        )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
