"""An outer step leaks no RAM. `higher` has had leaks (its issues 6 and 37)."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from satm.engine import InnerLoop, LastSteps, OuterVariables, ReplayPolicy, flatten, make_step
from satm.machine.ram import measured_peak
from satm.methods import METHODS
from satm.networks import plan
from satm.rng import Seed
from tests.helpers import EXACT, SATM, experts, image_data, task, tiny_case


def live_tensors():
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


@pytest.mark.parametrize("policy", EXACT, ids=lambda policy: policy.name)
def test_a_pass_leaves_no_tensor_behind(policy):
    """The garbage collector is off, so a reference cycle is found at once."""
    case = tiny_case()

    def run():
        policy(case.loop, case.at, case.theta, case.loss, LastSteps(3), keep=3)

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
from tests.satm.methods.trajectory.test_leaks import condensation
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
    """The resident memory of a separate process grows by less than 3%.

    That is about 25 MB over 180 outer steps. If each step kept the graph of one inner step, it would be more.
    """
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    early, late = map(int, ran.stdout.split())
    assert late < 1.03 * early, f"{early} pages after step 20, {late} after step 200"


GROWTH = """
import torch
torch.set_num_threads(1)
from tests.satm.methods.trajectory.test_leaks import peak
peak(10)
pairs = [(peak(10), peak(100)) for _ in range(5)]
print(*map(min, zip(*pairs)))
"""


def peak(steps):
    """Peak bytes of a replayed hypergradient over `steps` inner steps, of which the last 5 are differentiated."""
    network = plan("convnet3_w16", num_classes=10, image_shape=(3, 32, 32)).create(Seed(0))
    theta = flatten(network.parameters()).detach()
    loop = InnerLoop(network=network, batches=(None,) * steps, transforms=(torch.nn.Identity(),) * steps)
    at = OuterVariables(torch.randn(40, 3, 32, 32), torch.arange(40) % 10, torch.tensor(0.01))
    with measured_peak() as found:
        ReplayPolicy(make_step(network))(loop, at, theta, lambda end: (end - 1).square().mean(), LastSteps(5))
    return found.bytes


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_the_memory_of_a_replay_does_not_grow_with_the_inner_steps():
    """From N = 10 to N = 100 at a fixed window, it grows by less than 10%; kept graphs would make it tenfold.

    A single peak varies by 5% from one measurement to the next, so each is the smallest of five.
    """
    ran = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    few, many = map(int, ran.stdout.split())
    assert few > 10e6  # the graph of one step; with less, nothing was measured
    assert many < 1.1 * few, f"{few} bytes at 10 steps, {many} at 100"
