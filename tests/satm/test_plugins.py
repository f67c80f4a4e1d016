"""A small installed package with a method, an outer optimiser, a data set and a network, found by entry points."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
import torch

import satm
from satm import networks
from satm.cli import run
from satm.data import CATALOGUE, load
from satm.errors import ConfigError, PluginError, UnknownName
from satm.methods import METHODS
from satm.methods.outer import OuterOptimiser
from satm.presets import CondenseConfig

MODULE = """
    import torch
    from dataclasses import dataclass, replace
    from types import MappingProxyType
    from torch import nn
    from satm.data import DatasetSpec, Raw
    from satm.methods import Outcome, Method, class_major_labels
    from satm.methods.outer import OuterOptimiser, Rule
    from satm.methods.outer.sgd import descend


    @dataclass(frozen=True, kw_only=True)
    class Config:
        shift: float = 0.0


    class Means:
        step = steps = 0
        notes = MappingProxyType({})

        def __init__(self, task, config):
            images, labels = task.data.train.batch(torch.arange(len(task.data.train)))
            means = [images[labels == k].mean(0) + config.shift for k in range(len(task.data.classes))]
            self.images, self.labels = torch.stack(means).repeat_interleave(task.ipc, 0), task.ipc

        def state(self):
            return {}

        def restore(self, state):
            pass

        def result(self):
            labels = class_major_labels(len(self.images) // self.labels, self.labels)
            return Outcome(self.images, labels, "hard", None)


    METHOD = Method(
        name="class-means", summary="means", config=Config, expert_epochs=lambda config: None, begin=Means
    )


    @dataclass(frozen=True, kw_only=True)
    class NeedyConfig:
        strength: float
        shift: float = 0.0


    NEEDY = Method(
        name="needy", summary="asks", config=NeedyConfig, expert_epochs=lambda config: None, begin=Means
    )


    @dataclass(frozen=True, kw_only=True)
    class SignDescent(Rule):
        rule: str = "sign"
        length: float = 0.5

        def __call__(self, problem, generator, redraw, state):
            update = descend(problem, state)
            return replace(update, images=self.length * update.images.sign())


    SIGN = OuterOptimiser(name="sign", summary="descend the sign of the hypergradient", config=SignDescent)


    def read():
        def part(count):
            labels = torch.arange(2).repeat(count)
            images = torch.randint(0, 99, (2 * count, 1, 8, 8), generator=torch.Generator().manual_seed(count))
            images[labels == 1, :, :4] += 150
            return images.to(torch.uint8), labels

        (train, train_labels), (test, test_labels) = part(20), part(6)
        return Raw(
            train_images=train, train_labels=train_labels, test_images=test, test_labels=test_labels,
            classes=("dark", "light"),
        )


    SPEC = DatasetSpec(
        name="halves", image_size=8, channels=1, classes=("dark", "light"), mean=(0.3,), std=(0.2,), read=read,
        source="made up", augment="crop",
    )


    def linear(*, num_classes, image_shape):
        channels, height, width = image_shape
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))


    WRONG = 3
"""

ENTRY_POINTS = """
    [satm.methods]
    class-means = satm_small_plugin:METHOD
    needy = satm_small_plugin:NEEDY
    broken = satm_small_plugin_that_is_not_there:METHOD
    wrong = satm_small_plugin:WRONG
    [satm.outer]
    sign = satm_small_plugin:SIGN
    lost = satm_small_plugin_that_is_not_there:SIGN
    [satm.datasets]
    halves = satm_small_plugin:SPEC
    [satm.networks]
    one-layer = satm_small_plugin:linear
"""


def install(folder: Path, name: str = "small-plugin") -> None:
    """Write what pip would install: a module, and the description of its distribution."""
    (folder / "satm_small_plugin.py").write_text(textwrap.dedent(MODULE))
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("satm_small_plugin", None)


def test_all_three_work_together_from_condensing_to_the_results(plugin, tmp_path):
    registry = tmp_path / "satm.db"
    preset = satm.choose_preset("halves", ipc=2, method="class-means", profile="smoke", settings={"shift": 0.1})
    made = satm.condense(preset, registry=registry)
    assert made.record.name == "halves/ipc2/class-means@1"
    satm.evaluate(made.record.name, architectures=["one-layer"], repeats=2, registry=registry)
    (row,) = satm.results(registry=registry, metric="accuracy")
    assert (row.architecture, row.method, row.n) == ("one-layer", "class-means", 2)
    assert row.mean > 0.6
    assert satm.load(made.record.name, registry=registry).config["condense"]["settings"] == {"shift": 0.1}


def test_its_data_set_needs_no_data_root_to_be_given_away_and_taken_back(plugin, tmp_path):
    registry = tmp_path / "satm.db"
    preset = satm.choose_preset("halves", ipc=2, method="class-means", profile="smoke", settings={"shift": 0.1})
    made = satm.condense(preset, registry=registry)
    satm.export_set(made.record.name, tmp_path / "out", format="mtt", registry=registry)
    found = satm.import_set(tmp_path / "out", format="mtt", dataset="halves", preprocessing="zca", registry=registry)
    assert found.record.name == "halves/ipc2/mtt@1"
    assert torch.equal(found.synthetic.images, satm.load(made.record.name, registry=registry).images)
    assert f"data:{load('halves').fingerprint}" in found.synthetic.parents  # checked against the images themselves
    assert not [note for note in found.notes if "not on this machine" in note]
    satm.evaluate(found.record.name, recipe="smoke", repeats=1, registry=registry)


def test_a_folder_cannot_be_called_like_its_data_set(plugin, tmp_path):
    (tmp_path / "halves").mkdir()
    with pytest.raises(ConfigError, match="'halves' means the embedded images; rename the folder"):
        load(str(tmp_path / "halves"))


def test_an_outer_optimiser_is_an_option_and_is_read_back_from_what_is_stored(plugin, tmp_path, capsys):
    registry = tmp_path / "satm.db"
    asked = ["condense", "digits", "--profile", "smoke", "--method", "mtt", "--set", "outer_steps=2"]
    assert run([*asked, "--outer", "sign", "--set", "length=0.25", "--registry", str(registry)]) == 0
    stored = satm.load("digits/ipc1/mtt+sign", registry=registry).config["condense"]
    assert stored["settings"]["outer"] == {"rule": "sign", "length": 0.25}
    rule = CondenseConfig.from_dict(stored).settings.outer
    assert (type(rule).__name__, rule.length) == ("SignDescent", 0.25)
    capsys.readouterr()
    assert run([*asked, "--outer", "sgn"]) == 2
    assert "unknown outer optimiser 'sgn': did you mean sign" in capsys.readouterr().err
    assert run([*asked, "--outer", "lost"]) == 2
    assert "outer optimiser 'lost' of package small-plugin cannot be loaded" in capsys.readouterr().err
    stored["settings"]["outer"]["rule"] = "sgn"
    with pytest.raises(UnknownName, match=r"^unknown setting settings\.outer\.rule 'sgn': did you mean sign"):
        CondenseConfig.from_dict(stored)


def test_an_outer_optimiser_whose_field_rule_is_not_its_name_is_refused(plugin):
    import satm_small_plugin

    with pytest.raises(ConfigError, match="outer optimiser 'signs': the field rule of SignDescent holds 'sign'; give"):
        OuterOptimiser(name="signs", summary="", config=satm_small_plugin.SignDescent)


def test_nothing_is_imported_before_it_is_used(plugin):
    assert "class-means" in METHODS
    assert "halves" in CATALOGUE
    assert "class-means" in list(METHODS)
    assert "satm_small_plugin" not in sys.modules
    with pytest.raises(UnknownName, match="did you mean class-means"):
        METHODS.get("class-mean")
    with pytest.raises(UnknownName, match="did you mean one-layer"):
        networks.plan("one-lawyer", num_classes=2, image_shape=(1, 8, 8))
    assert "satm_small_plugin" not in sys.modules
    assert METHODS.get("class-means").summary == "means"


def test_what_cannot_be_loaded_is_one_line_when_it_is_used(plugin, capsys):
    with pytest.raises(PluginError, match=r"^method 'broken' of package small-plugin cannot be loaded \(ModuleNotFou"):
        METHODS.get("broken")
    with pytest.raises(PluginError, match=r"^method 'wrong' of package small-plugin is int, expected Method; repair"):
        METHODS.get("wrong")
    assert run(["condense", "digits", "--method", "broken"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: method 'broken' of package small-plugin cannot be loaded")
    assert error.count("\n") == 1
    assert METHODS.get("satm").name == "satm"  # the others still work


def test_a_setting_that_no_preset_knows_is_one_line_that_names_the_package(plugin, capsys):
    assert run(["condense", "halves", "--method", "needy", "--profile", "smoke"]) == 2
    error = capsys.readouterr().err
    assert "method 'needy' of package small-plugin has no default for strength, which no preset knows" in error
    assert error.count("\n") == 1


def test_another_packages_method_has_no_numbers_of_ours(plugin, capsys):
    preset = satm.choose_preset("halves", ipc=2, method="class-means", profile="smoke")
    assert preset.source == "the defaults of package small-plugin"
    assert not [each for each in preset.departures if "outer steps" in each]
    assert run(["presets", "--method", "class-means"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said == "class-means no numbers [the defaults of package small-plugin]"


def test_doctor_lists_the_things_of_other_packages_and_their_problems(plugin, capsys):
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "architecture one-layer: from package small-plugin" in lines
    assert "data set halves: from package small-plugin" in lines
    problems = [line for line in lines if line.startswith("problem: ") and "SQLite" not in line]
    assert len(problems) == 3
    assert problems[0].startswith("problem: method 'broken' of package small-plugin cannot be loaded")
    assert problems[1].startswith("problem: method 'wrong' of package small-plugin is int, expected Method")
    assert problems[2].startswith("problem: outer optimiser 'lost' of package small-plugin cannot be loaded")


def test_a_name_that_two_packages_offer_is_refused(plugin, monkeypatch, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    install(second, "rival")
    monkeypatch.syspath_prepend(str(second))
    with pytest.raises(PluginError, match="'class-means' is offered by package rival and package small-plugin; unin"):
        METHODS.get("class-means")
