"""Experts and images from all of train (`validation=0`): what is said of it, and that nothing is selected then."""

from __future__ import annotations

from dataclasses import replace

import pytest

import satm
from evaluation import RECIPES
from registry import Registry
from satm.data import load
from satm.errors import ConfigError
from satm.experts import ExpertConfig
from satm.experts.train import expert_store
from satm.progress import NoProgress
from satm.workflow.condense.inputs import load_data, prepare_experts
from satm.workflow.incremental.run import evaluate_incremental

ALL = {"validation": 0, "architecture": "convnet3_w4", "experts.count": 1, "outer_steps": 1}


class Heard(NoProgress):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set with a step size of its own and one without, both made of all training images."""
    folder = tmp_path_factory.mktemp("all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(folder / "home"))
        for method in ("mtt", "random"):
            settings = ALL if method == "mtt" else {"validation": 0, "architecture": "convnet3_w4"}
            preset = satm.choose_preset("digits", ipc=1, method=method, profile="smoke", settings=settings)
            satm.condense(preset, registry=folder / "satm.db")
        yield folder


@pytest.fixture
def registry(made, monkeypatch):
    monkeypatch.setenv("SATM_HOME", str(made / "home"))
    monkeypatch.setitem(RECIPES._items, "brief", replace(RECIPES.get("smoke"), name="brief", epochs=2, drop_at=()))
    return made / "satm.db"


def test_all_of_train_is_used_and_the_preset_departs_in_one_way_less():
    held_out = satm.choose_preset("digits", ipc=1, method="mtt", profile="paper")
    preset = satm.choose_preset("digits", ipc=1, method="mtt", profile="paper", settings={"validation": 0})
    assert set(held_out.departures) - set(preset.departures) == {
        "90% of train: a validation split is held out (validation=0 holds out none)"
    }
    assert set(preset.departures) < set(held_out.departures)
    assert preset.profile == "paper"
    data = load_data(preset.config, data_root=None)
    assert len(data.validation) == 0
    assert len(data.train) == len(load("digits").train) + len(load("digits").validation)
    fifth = satm.choose_preset("digits", ipc=1, method="mtt", profile="paper", settings={"validation": 0.2})
    assert any(line.startswith("80% of train") for line in fifth.departures)
    assert fifth.profile == "custom"
    for wrong in (-0.1, 1):
        with pytest.raises(ConfigError, match=r"validation .*: expected a fraction of train below 1"):
            satm.choose_preset("digits", ipc=1, settings={"validation": wrong})


def test_experts_of_all_images_are_other_experts_without_a_validation_accuracy():
    config = satm.choose_preset("digits", ipc=1, method="mtt", profile="smoke", settings=ALL).config
    data = load_data(config, data_root=None)
    keys = {expert_store(load("digits", validation=v), "convnet3_w4", ExpertConfig()).key for v in (0, 0.1)}
    assert len(keys) == 2
    (expert,) = prepare_experts(config, data)
    assert [record.validation for record in expert.records] == [None] * expert.epochs


def test_results_say_that_nothing_was_held_out(registry):
    heard = Heard()
    (record,) = satm.evaluate("digits/ipc1/mtt", recipe="brief", repeats=1, registry=registry, progress=heard).sets
    assert any("all training images used and nothing selected (validation=0)" in line for line in heard.lines)
    assert record.about["config"]["condense"]["validation"] == 0
    with Registry.open(registry, read_only=True) as store:
        assert {row.detail["validation"] for row in store.results(set=record.id)} == {0}


@pytest.mark.parametrize(
    ("reference", "options", "images"),
    [
        ("digits/ipc1/mtt", {"learning_rate": "grid"}, "condensed"),
        ("digits/ipc1/mtt", {"baseline": "random"}, "random"),
        ("digits/ipc1/random", {}, "condensed"),
    ],
)
def test_what_would_be_selected_is_refused_before_work_starts(registry, reference, options, images):
    said = rf"holds out no images \(validation=0\), and the learning rate for its {images} .* --learning-rate"
    for dry_run in (True, False):
        request = {"recipe": "brief", "registry": registry, "dry_run": dry_run, **options}
        with pytest.raises(ConfigError, match=said):
            satm.evaluate(reference, **request)
        with pytest.raises(ConfigError, match=said):
            satm.evaluate_matrix([reference], architectures=["convnet3_w4"], **request)
    with Registry.open(registry, read_only=True) as store:
        assert not [row for row in store.results(set=store.find(reference).id) if row.memory == images == "random"]


def test_a_class_incremental_grid_is_refused_too(registry):
    for memory in ("random", "herding"):
        with pytest.raises(ConfigError, match=rf"the learning rate for its {memory} images"):
            evaluate_incremental(
                "digits/ipc1/mtt", steps=2, memory=memory, recipe="brief", registry=registry, dry_run=True
            )


def test_a_number_in_place_of_the_grid_is_enough(registry):
    found = satm.evaluate("digits/ipc1/random", recipe="brief", repeats=1, learning_rate=0.05, registry=registry)
    (record,) = found.sets
    assert record.method == "random"
