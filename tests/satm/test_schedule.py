"""Warm restarts, against torch's own scheduler and GDumb's loop."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from satm.errors import ConfigError
from satm.schedule import WarmRestarts


@pytest.mark.parametrize(("first", "growth"), [(1, 2), (5, 1), (3, 3)])
def test_it_is_torchs_cosine_annealing_with_warm_restarts(first, growth):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=first, T_mult=growth, eta_min=0.0005
    )
    ours = WarmRestarts(first=first, growth=growth, floor=0.01)
    for epoch in range(60):
        assert 0.05 * ours.factor(epoch) == pytest.approx(scheduler.get_last_lr()[0]), epoch
        optimizer.step()
        scheduler.step()


def test_gdumb_has_one_epoch_at_a_tenth_and_then_restarts_at_every_power_of_two():
    schedule = WarmRestarts(warmup=1, warmup_factor=0.1)
    assert schedule.factor(0) == 0.1
    assert [epoch for epoch in range(256) if schedule.factor(epoch) == 1] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert schedule.factor(3) == pytest.approx(0.505)
    assert schedule.factor(255) == pytest.approx(0.01, abs=2e-4)  # 256 epochs end with a cycle


def test_the_defaults_are_gdumbs_without_its_first_epoch():
    assert asdict(WarmRestarts()) == {"first": 1, "growth": 2, "floor": 0.01, "warmup": 0, "warmup_factor": 0.1}


@pytest.mark.parametrize("change", [{"first": 0}, {"growth": 0}, {"warmup": -1}, {"floor": 1.5}, {"warmup_factor": -1}])
def test_impossible_values_are_refused(change):
    with pytest.raises(ConfigError, match="expected"):
        WarmRestarts(**change)
