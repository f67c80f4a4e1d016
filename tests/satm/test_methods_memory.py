"""An outer step leaves nothing behind: `higher` has had leaks (its issues 6 and 37)."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from satm.engine import HigherPolicy, LastSteps
from satm.methods import METHODS
from tests.helpers import SATM, experts, image_data, task, tiny_case


def live_tensors():
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def test_a_pass_leaves_no_tensor_behind():
    """With the garbage collector off, so that a reference cycle would show itself at once."""
    case = tiny_case()

    def run():
        HigherPolicy()(case.loop, case.at, case.theta, case.loss, LastSteps(3), keep=3)

    run()
    gc.collect()
    gc.disable()
    try:
        before = live_tensors()
        for _ in range(5):
            run()
        assert live_tensors() == before
    finally:
        gc.enable()


SCRIPT = """
import torch
torch.set_num_threads(1)
from tests.satm.test_methods_memory import condensation
outer = condensation()
for step in range(1, 201):
    outer.advance()
    if step in (20, 200):
        print(open("/proc/self/statm").read().split()[1])
"""


def condensation():
    data = image_data()
    return METHODS.get("satm").begin(task(data, experts(data), ipc=8), replace(SATM, diagnostics_every=10))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_resident_memory_stays_from_outer_step_20_to_200():
    """Pages resident in a process of its own grow by less than 3%.

    That is some 25 MB over 180 outer steps; one inner step's graph kept from each would be more.
    """
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    early, late = map(int, ran.stdout.split())
    assert late < 1.03 * early, f"{early} pages after step 20, {late} after step 200"
