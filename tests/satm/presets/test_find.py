"""Presets: the paper's numbers as printed, and a departure for everything that differs."""

from __future__ import annotations

import pytest

from evaluation import RECIPES
from satm.data import CATALOGUE
from satm.errors import UnknownName
from satm.presets import PROFILES, CondenseConfig, all_rows, find_preset, weaker

# Gao et al. 2025, Table 11: N, M, T, mini-batch, learning rate of the images, λ.
TABLE_11 = {
    "cifar10/ipc1": (50, 2, 2, None, 1000, 1e-6),
    "cifar10/ipc3": (50, 2, 2, None, 100, 1e-5),
    "cifar10/ipc10": (30, 2, 20, None, 50, 1e-5),
    "cifar10/ipc50": (30, 2, 40, None, 100, 1e-5),
    "cifar100/ipc1": (40, 3, 20, None, 500, 1e-5),
    "cifar100/ipc3": (45, 3, 20, None, 1000, 5e-5),
    "cifar100/ipc10": (20, 2, 20, 500, 1000, 1e-5),
    "cifar100/ipc50": (80, 2, 40, 500, 1000, 1e-5),
    "tiny-imagenet/ipc1": (30, 2, 10, 200, 1000, 1e-4),
    "tiny-imagenet/ipc3": (30, 2, 15, 200, 1000, 1e-4),
    "tiny-imagenet/ipc10": (20, 2, 40, 200, 10000, 1e-4),
}
OURS = {"tiny-imagenet/ipc50", *(f"imagenet-1k/ipc{k}" for k in (1, 10, 50)), "digits/ipc1", "digits/ipc10"} | {
    f"image{name}/ipc10" for name in ("nette", "woof", "fruit", "meow")
}
# Table 11 prints no α; for these rows MTT starts at another one than its experts' learning rate.
STEP_SIZE_CHOSEN = {"cifar10/ipc10", "cifar10/ipc50"}


def test_the_rows_are_the_papers_and_ours_are_marked() -> None:
    rows = all_rows()
    assert set(rows) == set(TABLE_11) | OURS
    for name, row in rows.items():
        assert row.source.startswith("ours" if name in OURS else "Gao et al. 2025, Table 11")
        assert bool(row.departures) == (name in OURS or name in STEP_SIZE_CHOSEN)


@pytest.mark.parametrize("name", TABLE_11)
def test_a_paper_preset_runs_the_printed_numbers(name: str) -> None:
    dataset, ipc = name.split("/ipc")
    preset = find_preset(dataset, int(ipc), profile="paper", image_size=CATALOGUE.get(dataset).image_size)
    settings = preset.config.settings
    found = (
        settings.inner_steps,
        settings.expert_epochs,
        settings.max_start_epoch,
        settings.batch_syn,
        settings.lr_images,
        settings.lr_step_size,
    )
    assert found == TABLE_11[name]
    assert preset.config.zca
    assert preset.config.architecture == ("convnet4" if dataset == "tiny-imagenet" else "convnet3")
    assert settings.outer_steps == 10_000
    assert settings.truncation().window == settings.inner_steps // 3
    assert (
        settings.outer.second_start(settings.iota) == settings.iota == settings.inner_steps - settings.inner_steps // 3
    )
    assert not settings.log_step_size
    assert preset.config.experts.count == 100
    assert not [each for each in preset.departures if "instead of" in each]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("method", ["satm", "random"])
@pytest.mark.parametrize("name", all_rows())
def test_every_preset_builds_and_round_trips(name: str, method: str, profile: str) -> None:
    dataset, ipc = name.split("/ipc")
    size = CATALOGUE.get(dataset).image_size
    preset = find_preset(dataset, int(ipc), method=method, profile=profile, image_size=size)
    assert CondenseConfig.from_dict(preset.config.to_dict()) == preset.config
    assert preset.source
    assert RECIPES.get(preset.config.recipe).scale == profile


def test_a_scale_says_everything_it_changes() -> None:
    paper = find_preset("cifar10", 50, profile="paper").config
    preset = find_preset("cifar10", 50, profile="cpu")
    cpu = preset.config
    said = " ".join(preset.departures)
    assert (cpu.settings.batch_syn, cpu.settings.max_start_epoch, cpu.settings.outer_steps) == (50, 4, 160)
    for fact in (
        "50 instead of all",
        "T 4 instead of 40",
        "outer steps 160 instead of 10000",
        "experts 4 instead of 100",
    ):
        assert fact in said
    unchanged = ("inner_steps", "expert_epochs", "lr_step_size", "outer", "window")
    assert all(getattr(cpu.settings, name) == getattr(paper.settings, name) for name in unchanged)


def test_a_folder_of_a_users_own_takes_the_nearest_printed_row_and_says_so() -> None:
    preset = find_preset("my-birds", 1, profile="paper", image_size=48)
    assert preset.config.architecture == "convnet4"
    assert preset.config.image_size == 48
    said = " ".join(preset.departures)
    assert "no numbers for my-birds: those of" in said
    assert "pixels a side 48 instead of" in said
    # The rows of digits are only for digits.
    assert "flip" in find_preset("icons", 1, profile="paper", image_size=16).config.settings.augment


def test_borrowed_numbers_are_gentler_at_cpu_scale_and_say_so() -> None:
    own, borrowed = (
        find_preset(name, 3, profile="cpu", image_size=64) for name in ("tiny-imagenet", "tiny-imagenet-20")
    )
    assert (own.config.experts.batch_size, own.config.settings.lr_step_size) == (256, 1e-4)
    assert (borrowed.config.experts.batch_size, borrowed.config.settings.lr_step_size) == (32, 1e-5)
    assert "cpu: mini-batch of the experts 32 instead of 256" in borrowed.departures
    assert "cpu: learning rate of α 1e-05 instead of 0.0001" in borrowed.departures
    asked = find_preset("tiny-imagenet-20", 3, profile="cpu", image_size=64, row="tiny-imagenet/ipc3")
    assert asked.config.experts.batch_size == 256


def test_an_ipc_that_is_not_printed_takes_the_nearest_and_says_so() -> None:
    preset = find_preset("cifar10", 4, profile="paper")
    assert preset.config.ipc == 4
    assert preset.config.settings.lr_images == 100
    assert "no numbers for IPC 4: those of IPC 3" in preset.departures


def test_a_row_can_be_named() -> None:
    assert find_preset("cifar100", 1, row="cifar10/ipc1").config.settings.lr_step_size == 1e-6
    with pytest.raises(UnknownName, match="did you mean cifar10/ipc1"):
        find_preset("cifar100", 1, row="cifar10/ipc11")
    with pytest.raises(UnknownName, match="paper"):
        find_preset("cifar100", 1, profile="papr")


def test_the_weaker_of_two_labels() -> None:
    assert weaker("paper", "cpu") == "cpu"
    assert weaker("cpu", "smoke", "paper") == "smoke"
    assert weaker("custom", "paper") == "custom"


@pytest.mark.parametrize(("word", "today"), [("yes", "compiled"), ("no", "eager"), ("auto", "auto")])
def test_settings_stored_under_words_of_before_are_read_and_may_be_typed(word, today):
    for method in ("satm", "dm"):
        stored = find_preset("digits", 1, method=method, profile="smoke").config.to_dict()
        stored["settings"]["compile"] = word
        assert CondenseConfig.from_dict(stored).settings.compile == today
