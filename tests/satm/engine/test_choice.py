"""The engine that a job gets, from its size and the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from satm import networks
from satm.engine import HigherPolicy, InnerWork, ReplayPolicy, TeslaPolicy, choose_engine
from satm.engine import choice as module
from satm.errors import ConfigError
from satm.machine import compilation
from satm.machine.pieces import images_at_once
from satm.rng import Seed

SHAPE = (3, 16, 16)
SMALL = InnerWork(flops=1e6, activation_bytes=10**5, batch=10, steps=20, taped=10, window=5, outer_steps=10)
LARGE = replace(SMALL, outer_steps=10**6)


@pytest.fixture
def network():
    return networks.create("convnet3_w4", num_classes=3, image_shape=SHAPE, seed=Seed(0))


@pytest.fixture(autouse=True)
def _compiler(monkeypatch):
    monkeypatch.setattr(module, "missing_compiler", lambda device: None)
    monkeypatch.setattr(module, "missing_bf16", lambda device: None)


def choose(network, work, *, engine="auto", compile="auto", precision="float32"):
    return choose_engine(engine, compile, precision, network=network, image_shape=SHAPE, work=work)


def test_little_work_is_not_compiled_and_gets_higher_the_faster_uncompiled_engine(network):
    chosen = choose(network, SMALL)
    assert (chosen.engine, chosen.compiled) == ("higher", False)
    assert isinstance(chosen.policy(network, pytest.fail), HigherPolicy)
    assert "too few to compile" in str(chosen)


def test_much_work_is_replayed_compiled(network):
    chosen = choose(network, LARGE)
    assert (chosen.engine, chosen.compiled) == ("replay", True)
    assert isinstance(chosen.policy(network, pytest.fail), ReplayPolicy)
    assert str(chosen).startswith("engine replay, compiled (")
    assert chosen.at_once == images_at_once(network, SHAPE) > 1
    assert chosen.policy(network, pytest.fail).step.at_once == chosen.at_once
    assert choose(network, LARGE, engine="higher").at_once is None  # its tape holds whole batches


def test_compiled_steps_keep_their_activations_as_far_as_a_fiftieth_of_the_memory_holds_them(network, monkeypatch):
    step = LARGE.batch * LARGE.activation_bytes
    for memory, expected in ((50 * 3 * step, 3), (50 * 3 * step - 1, 2), (50 * 100 * step, LARGE.window)):
        monkeypatch.setattr(module, "total_memory", lambda device, memory=memory: memory)
        chosen = choose(network, LARGE, engine="replay")
        assert chosen.kept_steps == chosen.policy(network, pytest.fail).kept_steps == expected
    assert choose(network, LARGE, engine="replay", compile="eager").kept_steps == 0
    assert choose(network, LARGE, engine="tesla").kept_steps == 0


def test_kept_activations_save_a_fifth_of_the_foreseen_time_of_a_differentiated_step(network):
    chosen = choose(network, LARGE, engine="replay")
    keeps, forgets = (replace(chosen, kept_steps=n).seconds(1.0, LARGE) for n in (LARGE.window, 0))
    assert keeps == pytest.approx(0.6 * LARGE.steps + 0.8 * 2.0 * LARGE.taped)
    assert forgets == pytest.approx(0.6 * LARGE.steps + 2.0 * LARGE.taped)


def test_a_job_whose_tape_does_not_fit_is_replayed(network, monkeypatch):
    monkeypatch.setattr(module, "total_memory", lambda device: SMALL.tape)
    for engine in ("auto", "prefer-higher"):
        chosen = choose(network, SMALL, engine=engine)
        assert (chosen.engine, chosen.compiled) == ("replay", False)
        assert "memory" in chosen.reason
    assert choose(network, SMALL, engine="higher").engine == "higher"  # as asked


def test_the_reference_is_preferred_for_any_amount_of_work(network):
    assert choose(network, LARGE, engine="prefer-higher").engine == "higher"


def test_without_a_compiler_the_reason_says_so(network, monkeypatch):
    monkeypatch.setattr(module, "missing_compiler", lambda device: "no C++ compiler is installed")
    chosen = choose(network, LARGE)
    assert (chosen.engine, chosen.compiled) == ("higher", False)
    assert "no C++ compiler" in str(chosen)
    asked = choose(network, LARGE, engine="replay")
    assert not asked.compiled
    assert "uncompiled: no C++ compiler" in str(asked)
    with pytest.raises(ConfigError, match="compile=compiled: no C"):
        choose(network, LARGE, compile="compiled")


def test_a_missing_compiler_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in str(compilation.missing_compiler())


def test_a_network_that_draws_random_numbers_is_never_replayed():
    drops = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 16 * 16, 3))
    before = torch.random.get_rng_state()
    assert choose(drops, LARGE).engine == "higher"
    with pytest.raises(ConfigError, match="dropout"):
        choose(drops, LARGE, engine="replay")
    assert torch.equal(before, torch.random.get_rng_state())


def test_bf16_needs_replay_and_the_units(network, monkeypatch):
    assert choose(network, SMALL, precision="bf16").engine == "replay"
    with pytest.raises(ConfigError, match="engine higher runs in float32"):
        choose(network, SMALL, engine="higher", precision="bf16")
    monkeypatch.setattr(module, "missing_bf16", lambda device: "this CPU has no bfloat16 instructions")
    with pytest.raises(ConfigError, match="no bfloat16 instructions"):
        choose(network, SMALL, precision="bf16")


def test_tesla_is_chosen_by_name(network):
    chosen = choose(network, SMALL, engine="tesla")
    assert isinstance(chosen.policy(network, pytest.fail), TeslaPolicy)
    assert "as asked" in str(chosen)
