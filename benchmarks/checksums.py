"""Measures the checksums of kept files: their speed in GB/s, and the seconds to check files of usual sizes.

    python benchmarks/checksums.py [--megabytes 400]

A kept file is a safetensors file with checksums, in which satm stores experts, decoded images and the like
(satm/kept.py). satm/kept.py uses the checksum XXH3. SHA-256 and BLAKE2b are measured only to compare. All files are in
the page cache of the operating system, so the time to read them from the disk is not included.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import xxhash

from satm.home import sync
from satm.kept import keep, opened

USUAL = (  # (what the file holds, its size in bytes)
    ("one snapshot of convnet3", 4 * 320_010),
    ("CIFAR-10, decoded", 60_000 * 3 * 32 * 32),
    ("Tiny ImageNet, decoded", 110_000 * 3 * 64 * 64),
    ("ZCA at 64×64", 2 * 4 * 12288**2),
    ("100 experts of 50 epochs (convnet3)", 100 * 51 * 4 * 320_010),
)


def seconds(work: Callable[[], object]) -> float:
    """Run `work` three times, and return the seconds of the fastest run."""
    found = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    """Print the speeds, and the seconds for files of usual sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    size = parser.parse_args().megabytes * 10**6
    data = os.urandom(size)
    for name, make in (("xxh3_128", xxhash.xxh3_128), ("sha256", hashlib.sha256), ("blake2b", hashlib.blake2b)):
        print(f"{name:10} {size / 1e9 / seconds(lambda make=make: make(data).digest()):6.2f} GB/s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kept"
        tensors = {"data": torch.frombuffer(bytearray(data), dtype=torch.uint8)}
        writing = seconds(lambda: keep(path, tensors))

        def check() -> None:
            with opened(path) as file:
                assert file is not None
                file.check()

        checking, syncing = seconds(check), seconds(lambda: sync(path))
    print(f"{'a file':10} {size / 1e9 / checking:6.2f} GB/s checked, {size / 1e9 / writing:.2f} GB/s written durably")
    print(f"{'':10} {1000 * syncing:6.2f} ms to sync a file that is on the disk already")
    for what, number in USUAL:
        print(f"{what:38} {number / 1e6:8.1f} MB {checking * number / size:8.3f} s")


if __name__ == "__main__":
    main()
