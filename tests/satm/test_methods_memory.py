"""`higher` has leaked: its patched modules and every step's weights hang in reference cycles (its issues 6 and 37)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import gc, sys
from dataclasses import replace
import torch
from satm.methods import METHODS
from tests.helpers import SATM, experts, image_data, task

torch.set_num_threads(1)
if sys.argv[1] == "without collection":
    gc.disable()
data = image_data()
config = replace(SATM, inner_steps=12, window=8, diagnostics_every=10)
condensation = METHODS.get("satm").begin(task(data, experts(data), ipc=8), config)
for step in range(1, 201):
    condensation.advance()
    if step in (20, 200):
        print(int(open("/proc/self/statm").read().split()[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
@pytest.mark.parametrize("mode", ["with collection", "without collection"])
def test_resident_memory_stays_from_outer_step_20_to_200(mode):
    """Pages resident in a process of its own, after steps 20 and 200: they grow by less than 3%.

    Without the garbage collector nothing but reference counting frees a graph, so a cycle shows itself at once.
    """
    ran = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    early, late = map(int, ran.stdout.split())
    assert late < 1.03 * early, f"{early} pages after step 20, {late} after step 200"
