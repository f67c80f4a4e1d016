"""A small installed package offers a method, a data set and a network by entry points."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

import satm
from satm import networks
from satm.cli import run
from satm.data import CATALOGUE
from satm.errors import PluginError, UnknownName
from satm.methods import METHODS

MODULE = """
    import torch
    from dataclasses import dataclass
    from types import MappingProxyType
    from torch import nn
    from satm.data import DatasetSpec, Raw
    from satm.methods import Outcome, Method, class_major_labels


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
    with pytest.raises(PluginError, match=r"^method 'wrong' of package small-plugin is int, expected Method; mend"):
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
    problems = [line for line in lines if line.startswith("problem: ")]
    assert len(problems) == 2
    assert problems[0].startswith("problem: method 'broken' of package small-plugin cannot be loaded")


def test_a_name_that_two_packages_offer_is_refused(plugin, monkeypatch, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    install(second, "rival")
    monkeypatch.syspath_prepend(str(second))
    with pytest.raises(PluginError, match="'class-means' is offered by package rival and package small-plugin; unin"):
        METHODS.get("class-means")
