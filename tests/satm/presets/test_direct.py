"""Presets of methods without trajectories: printed numbers at `paper`, limits and departures at `cpu` and `smoke`."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from evaluation import RECIPES
from satm.augment import within
from satm.cli import run
from satm.data.catalogue import CATALOGUE
from satm.errors import ConfigError
from satm.methods import METHODS
from satm.presets import NUMBERS, PROFILES, CondenseConfig, find_preset, spell_printed
from satm.teachers import TEACHERS

DIRECT = [name for name in METHODS.known() if not METHODS.get(name).matches_trajectories]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("method", [*DIRECT, "mdc"])  # mdc matches trajectories, but takes the numbers of its base
@pytest.mark.parametrize(
    ("dataset", "size"),
    [
        ("cifar10", 32),
        ("imagenette", 128),
        ("my-birds", 48),  # not in the catalogue
    ],
)
def test_every_preset_builds_round_trips_and_has_a_source(dataset, size, method, profile):
    preset = find_preset(dataset, 10, method=method, profile=profile, image_size=size)
    assert CondenseConfig.from_dict(json.loads(json.dumps(preset.config.to_dict()))) == preset.config
    assert preset.source
    assert preset.name == f"{preset.config.set_method}/{dataset}/ipc10"
    assert preset.config.set_method in (method, f"{method}+factor2")
    assert preset.profile == profile
    assert RECIPES.get(preset.config.recipe).scale == profile


@pytest.mark.parametrize(
    ("ipc", "updates", "inner_epochs"), [(1, 1, 1), (10, 10, 50), (20, 20, 25), (30, 30, 20), (50, 50, 10)]
)
@pytest.mark.parametrize(("method", "init"), [("dc", "noise"), ("dsa", "real")])
def test_dc_and_dsa_have_the_numbers_of_their_code(method, init, ipc, updates, inner_epochs):
    preset = find_preset("cifar10", ipc, method=method, profile="paper")
    settings = preset.config.settings
    assert (settings.updates, settings.inner_epochs) == (updates, inner_epochs)
    assert (settings.networks, settings.lr_images, settings.momentum_images) == (1000, 0.1, 0.5)
    assert (settings.lr_network, settings.batch_real, settings.batch_syn) == (0.01, 256, 256)
    assert settings.init == init
    assert (preset.config.zca, preset.config.architecture) == (False, "convnet3")
    assert not [each for each in preset.departures if "instead of" in each]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("method", METHODS.known())
def test_digits_are_not_flipped_nor_cut_out(method, profile):
    settings = find_preset("digits", 1, method=method, profile=profile).config.settings
    allowed = CATALOGUE.get("digits").augment
    for each in fields(settings):
        strategy = getattr(settings, each.name)
        if each.name.startswith("augment") and strategy is not None:
            assert within(strategy, allowed) == strategy
    assert not getattr(settings, "flip", False)


@pytest.mark.parametrize(
    ("method", "augment"),
    [("idc", "color+crop+cutout"), ("dance", "color_crop_cutout"), ("rat-bptt", "flip_rotate")],
)
def test_where_everything_is_allowed_the_augmentation_is_that_of_the_code(method, augment):
    assert find_preset("cifar10", 10, method=method, profile="cpu").config.settings.augment == augment


def test_dm_has_the_numbers_of_its_code():
    settings = find_preset("cifar10", 10, method="dm", profile="paper").config.settings
    assert (settings.outer_steps, settings.lr_images, settings.batch_real, settings.init) == (20_000, 1.0, 256, "real")


@pytest.mark.parametrize(
    ("dataset", "size", "factor"), [("cifar10", 32, 1), ("tiny-imagenet", 64, 1), ("imagenette", 128, 2)]
)
def test_the_factor_of_rded_depends_on_the_resolution(dataset, size, factor):
    settings = find_preset(dataset, 10, method="rded", profile="paper", image_size=size).config.settings
    assert (settings.factor, settings.candidates, settings.crops) == (factor, 300, 5)


@pytest.mark.parametrize(("profile", "recipe"), [("paper", "rded"), ("cpu", "rded-cpu"), ("smoke", "rded-smoke")])
def test_rded_has_a_batch_normed_teacher_and_its_own_recipe(profile, recipe):
    config = find_preset("cifar10", 10, method="rded", profile=profile).config
    assert config.architecture.startswith("convnetbn3")
    assert (config.recipe, config.settings.labels) == (recipe, "hard")
    assert config.settings.teacher == TEACHERS[profile] == RECIPES.get(recipe).labels.teacher
    # no expert is trained: the teacher takes its place
    assert METHODS.get("rded").expert_epochs(config.settings) is None


def test_rded_without_a_teacher_is_now_called_rded_static():
    config = find_preset("cifar10", 10, method="rded-static", profile="paper").config
    settings = config.settings
    assert (settings.teacher, settings.expert_epochs, settings.labels, settings.temperature) == (None, 50, "soft", 1.0)
    assert (config.architecture, config.recipe) == ("convnet3", "mtt")
    assert (config.experts.momentum, config.experts.weight_decay) == (0.9, 5e-4)


def test_a_set_of_rded_without_a_teacher_still_loads():
    now = find_preset("cifar10", 10, method="rded-static", profile="paper").config.to_dict()
    before = {**now, "method": "rded", "settings": {k: v for k, v in now["settings"].items() if k != "teacher"}}
    config = CondenseConfig.from_dict(before)
    assert (config.settings.teacher, METHODS.get("rded").expert_epochs(config.settings)) == (None, 50)


def test_digits_are_not_mirrored():
    preset = find_preset("digits", 3, method="dsa", profile="paper", image_size=16)
    assert "flip" not in preset.config.settings.augment


def test_numbers_of_another_ipc_are_a_departure():
    preset = find_preset("digits", 3, method="dsa", profile="paper", image_size=16)
    assert "no numbers for IPC 3: those of IPC 1 (updates, inner_epochs)" in preset.departures


def test_row_names_the_numbers_to_take():
    assert find_preset("cifar10", 3, method="dc", row="cifar10/ipc10").config.settings.updates == 10


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
@pytest.mark.parametrize("ipc", [1, 10, 50])
@pytest.mark.parametrize("method", ["dc", "dsa", "dm"])
def test_a_scale_bounds_the_images_and_says_what_it_changes(method, ipc, profile):
    preset = find_preset("cifar10", ipc, method=method, profile=profile)
    settings, said = preset.config.settings, " ".join(preset.departures)
    images = settings.images_a_step(10, ipc)  # 10 classes
    assert 1 <= settings.steps * images <= PROFILES[profile].max_images
    assert f"batch_real {settings.batch_real} instead of 256" in said
    assert f"width of the ConvNet {PROFILES[profile].width} instead of 128" in said


def test_herding_needs_one_expert_with_the_settings_of_the_trajectory_methods():
    satm = find_preset("cifar10", 1, profile="cpu").config
    herding = find_preset("cifar10", 1, method="herding", profile="cpu").config
    assert herding.experts.count == 1
    assert (herding.zca, herding.architecture) == (satm.zca, satm.architecture)
    for name in ("lr", "batch_size", "augment", "momentum", "flat"):
        assert getattr(herding.experts, name) == getattr(satm.experts, name), name


def test_what_is_printed_can_be_listed():
    assert "lr_images 0.1" in spell_printed("dc")[0]
    assert any("IPC 10" in line and "inner_epochs 50" in line for line in spell_printed("dsa"))


def test_a_row_is_listed_with_the_settings_of_its_method(capsys):
    assert run(["presets", "--method", "ftd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = [n for n, line in enumerate(lines) if line.startswith("cifar10/ipc10 ")]
    assert "N 30  M 2  T 20  batch all  lr 100  λ 1e-05  α 0.001  steps 5000  ZCA  [FTD" in lines[first]
    assert "outer.spans 2.5" in lines[first + 1]
    assert "experts.flat.gap_weight 0.3" in lines[first + 1]


def test_random_lists_only_the_departures_that_concern_it(capsys):
    preset = find_preset("cifar10", 1, method="random", profile="cpu")
    assert len(preset.departures) == 4
    said = " ".join(preset.departures)
    for fact in ("outer steps", "experts", "learning rate", " T ", " N "):
        assert fact not in said
    assert preset.config.zca == find_preset("cifar10", 1, profile="cpu").config.zca
    assert run(["presets", "--method", "random"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == ["random", "no", "numbers", "[real", "images:", "nothing", "is", "printed]"]


def test_an_outer_optimiser_is_refused_where_there_is_no_outer_loop():
    with pytest.raises(ConfigError, match=r"--outer sam.*method dc"):
        find_preset("cifar10", 1, method="dc", outer="sam")


def test_every_method_has_its_numbers_once():
    assert set(NUMBERS) == set(METHODS.known())
