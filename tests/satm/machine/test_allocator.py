"""Freed memory stays with the process: a block that is allocated again has its pages already."""

from __future__ import annotations

import subprocess
import sys

import pytest

from satm.machine.allocator import keep_freed_memory

BLOCKS = """
import resource, torch
from satm.machine.allocator import keep_freed_memory
from satm.machine.ram import measured_peak
if {keep}:
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def block():
    torch.ones(16 * 2**20)  # 64 MB
for _ in range(20):  # the first blocks need new pages, because an aligned block does not fit the place of the last one
    block()
before = faults()
for _ in range(5):
    block()
print(faults() - before)
with measured_peak() as peak:
    block()
print(peak.bytes)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="this system's malloc cannot keep freed memory")
def test_a_block_that_was_freed_is_used_again_and_its_peak_is_still_measured() -> None:
    def run(keep: bool) -> tuple[int, int]:
        code = BLOCKS.format(keep=keep)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        faults, peak = map(int, done.stdout.split())
        return faults, peak

    (with_it, peak), (without, usual) = run(True), run(False)
    assert with_it < 100 < 5 * 64 * 2**20 / 2**21 <= without  # without it, at least a fault for each huge page of 2 MB
    assert abs(peak - usual) < 2 * 2**20
