"""If a compilation fails, the stored results say so."""

from __future__ import annotations

import pytest

import satm
from evaluation import RECIPES, Trainer, evaluate
from registry import Registry
from satm.experts import ExpertConfig, train_experts
from satm.rng import Seed
from satm.workflow.choosing import with_settings
from tests.helpers import image_data, refuse_compiling

ARCHITECTURE = "convnet3_w4"


@pytest.fixture(autouse=True)
def _nothing_compiles(monkeypatch):
    refuse_compiling(monkeypatch)


def test_experts():
    config = ExpertConfig(count=1, augment=None)
    (expert,) = train_experts(image_data(), ARCHITECTURE, config, epochs=2, compilation="compiled")
    assert [record.compiled for record in expert.records] == [False, False]


def test_evaluations():
    data = image_data()
    recipe = RECIPES.get("smoke").variant(learning_rate=0.1)
    trainer = Trainer(compilation="compiled")
    results = evaluate(data.train, data, [ARCHITECTURE], recipe, seed=Seed(0), repeats=2, trainer=trainer)
    assert [result.training for result in results] == ["eager", "eager"]


@pytest.mark.parametrize(
    ("method", "changes", "step"),
    [
        ("mtt", {"outer_steps": 2, "engine": "replay", "compile": "compiled", "experts.count": 1}, "gradient"),
        ("dm", {"outer_steps": 2, "compile": "compiled"}, "mean_embedding"),
    ],
)
def test_condensations(method, changes, step, tmp_path):
    preset = with_settings(satm.choose_preset("digits", ipc=1, method=method, profile="smoke"), changes)
    made = satm.condense(preset, registry=tmp_path / "satm.db")
    with Registry.open(tmp_path / "satm.db") as store:
        (note,) = store.run(made.record.run_id).config["notes"].values()
    assert f"; running uncompiled: {step} could not be compiled (" in note
