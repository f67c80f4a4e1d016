import json
import math
from dataclasses import replace

import pytest
import torch

from evaluation import RECIPES, Recipe, recipe_for, stated_learning_rate
from evaluation.recipes import BY_DATASET
from satm.augment import DIGITS_STRATEGY, DSA, CutMix, DSARanges
from satm.errors import ConfigError, UnknownName, UsageError
from satm.rng import Seed
from satm.teachers import TeacherConfig, TeacherLabels, distillation_loss
from satm.training import AdamWConfig
from tests.evaluation.conftest import memory


def test_mtt_is_the_fields_schedule():
    sgd = RECIPES.get("mtt").sgd(0.02)
    rates = [sgd.lr_at(epoch) for epoch in range(sgd.epochs)]
    assert (rates.count(0.02), rates.count(pytest.approx(0.002))) == (502, 499)
    assert (sgd.batch_size, sgd.momentum, sgd.weight_decay) == (256, 0.9, 5e-4)
    assert RECIPES.get("mtt").augmentation == DSA()
    assert RECIPES.get("mtt").repeats == 5


def test_the_other_peers_differ_where_their_code_does():
    dm, datm, ranking = (RECIPES.get(name) for name in ("dm", "datm", "dd-ranking"))
    assert (dm.learning_rate, dm.repeats, dm.epochs, dm.drop_at) == (0.01, 20, 1001, (502,))
    assert (datm.learning_rate, datm.batch_size) == ("learned", 128)
    assert (ranking.epochs, ranking.drop_at, ranking.grid) == (1000, (500,), (0.001, 0.005, 0.01, 0.05, 0.1))


def test_dc_has_its_own_schedule_and_no_augmentation():
    """301 epochs at 0.01, a tenth of it after the epoch of index 300//2 + 1 (main.py:117-121, utils.py:337-361)."""
    dc = RECIPES.get("dc")
    sgd = dc.sgd(0.01)
    rates = [sgd.lr_at(epoch) for epoch in range(sgd.epochs)]
    assert (rates[:152], rates[152:]) == ([0.01] * 152, [pytest.approx(0.001)] * 149)
    assert (dc.augmentation, dc.repeats) == (None, 20)
    assert dc.variant(augment=DIGITS_STRATEGY) == dc


@pytest.mark.parametrize("name", ["dc", "dm", "dc-mnist"])
def test_a_published_learning_rate_needs_no_grid(name):
    for step_size in (None, 0.02):
        assert stated_learning_rate(RECIPES.get(name).learning_rate, memory(step_size=step_size)) == (0.01, "fixed")
    for learned in ("mtt", "tesla", "datm"):
        assert stated_learning_rate(RECIPES.get(learned).learning_rate, memory(step_size=0.02)) == (0.02, "learned")


def test_a_recipe_is_the_one_that_its_source_prints_for_the_data_set():
    mnist, tiny = recipe_for("prabhu2020", "mnist"), recipe_for("prabhu2020", "tiny-imagenet")
    assert (mnist.cutmix, mnist.mixing(10), mnist.epochs, mnist.augment) == (None, None, 128, "crop")
    assert (tiny.cutmix, tiny.epochs) == (RECIPES.get("prabhu2020").cutmix, 128)
    assert recipe_for("prabhu2020", "cifar10") == RECIPES.get("prabhu2020")
    assert recipe_for("mtt", "mnist") == RECIPES.get("mtt")
    dc = recipe_for("dc", "mnist")
    assert dc.augmentation == DSA("crop_scale_rotate", DSARanges(crop=4 / 28, rotate=45.0))
    assert dc.epochs == 1001
    for (base, dataset), name in BY_DATASET.items():
        assert recipe_for(base, dataset) == recipe_for(name, dataset) == RECIPES.get(name)
    with pytest.raises(UnknownName, match="did you mean dc"):
        recipe_for("dcc", "mnist")


def test_prabhu2020_is_gdumbs_own():
    """The rates of its loop: a tenth, the highest, then torch's scheduler (src/main.py:18-29 at 4f412d7)."""
    recipe = RECIPES.get("prabhu2020")
    sgd = recipe.sgd(0.05)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=1, T_mult=2, eta_min=0.0005)
    for epoch in range(recipe.epochs):
        if epoch < 2:
            optimizer.param_groups[0]["lr"] = 0.005 if epoch == 0 else 0.05
            optimizer.step()
        else:
            scheduler.step()
        assert sgd.lr_at(epoch) == pytest.approx(optimizer.param_groups[0]["lr"]), epoch
    assert (sgd.epochs, sgd.batch_size, sgd.momentum, sgd.weight_decay, sgd.clip_norm) == (256, 16, 0.9, 1e-6, 10)
    images = torch.rand(6, 3, 32, 32, generator=Seed(0).generator())
    mix = recipe.mixing(10)
    softened = [mix(images, torch.arange(6), Seed(seed).generator())[1].max() < 1 for seed in range(20)]
    assert any(softened)
    assert not all(softened)
    assert recipe.variant(augment=DIGITS_STRATEGY).augment == "crop"  # a mirrored digit is not a digit


def test_rdeds_recipe_is_that_of_its_code():
    """argument.py and validation/main.py of RDED at 3f6453d; the numbers are also rows of the golden table."""
    recipe = RECIPES.get("rded")
    config = recipe.on("convnetbn3").optimisation(0.001)
    assert isinstance(config, AdamWConfig)
    assert (config.epochs, config.batch_size, config.weight_decay) == (300, 50, 0.01)
    assert (config.beta1, config.beta2) == (0.9, 0.999)
    rates = [config.lr_at(epoch) for epoch in range(300)]
    assert rates == pytest.approx([0.0005 * (1 + math.cos(math.pi * epoch / 300 / 2)) for epoch in range(300)])
    assert (recipe.labels.temperature, recipe.cutmix) == (20.0, CutMix(probability=1.0, alpha=1.0))
    assert (recipe.learning_rate, recipe.augment, recipe.repeats) == (0.001, "flip", 5)
    sizes = {
        (name, ipc): recipe.for_set(name, classes, ipc).batch_size
        for name, classes in (("cifar10", 10), ("cifar100", 100), ("tiny-imagenet", 200), ("imagenet-1k", 1000))
        for ipc in (1, 10, 50)
    }
    assert list(sizes.values()) == [10, 50, 100, 20, 100, 200, 100, 100, 100, 20, 100, 200]
    special = recipe.for_set("cifar100", 100, 10)
    assert (special.on("convnetbn3").batch_size, special.on("convnetbn3").learning_rate) == (25, 0.002)
    assert (special.on("resnet18bn").batch_size, special.on("resnet18bn").learning_rate) == (100, 0.001)
    printed = {"vgg11": 0.0005, "alexnet": 0.0001, "resnet18bn": 0.001, "timm/efficientnet_b0": 0.002}
    printed |= {"timm/mobilenetv2_100": 0.0025, "timm/vit_base_patch16_224": 0.0001}
    assert {name: recipe.on(name).learning_rate for name in printed} == printed
    given = special.variant(learning_rate=0.01).on("convnetbn3")
    assert (given.learning_rate, given.batch_size) == (0.01, 25)  # a stated rate counts for every network


def test_a_recipe_says_whose_labels_it_has():
    smoke, rded = RECIPES.get("smoke"), RECIPES.get("rded-smoke")
    labels = TeacherLabels(temperature=4.0, teacher=TeacherConfig(architecture="convnetbn3"))
    assert smoke.labelled(labels).name == "smoke, teacher convnetbn3, T 4"
    assert smoke.labelled(None) == smoke
    assert (rded.labelled(None).name, rded.labelled(None).labels) == ("rded-smoke, own labels", None)
    assert "labels" not in smoke.to_dict()
    logits, targets = torch.randn(4, 3, generator=Seed(0).generator()), torch.full((4, 3), 1 / 3)
    plain = distillation_loss(logits, targets, temperature=4.0)
    torch.testing.assert_close(smoke.labelled(labels).criterion(logits, targets), 16 * plain)  # SGD: T² times
    torch.testing.assert_close(rded.labelled(labels).criterion(logits, targets), plain)
    with pytest.raises(ConfigError, match="rded-smoke trains by adamw, not by SGD"):
        rded.sgd(0.1)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("mtt", "3cdee6d10b543b5f96ec20a20f5dc8bb6eb18dd4d8297d43d588f814ecb7a57f"),
        ("cpu", "f1a8a016aeb722f92ce576498f23f8818e08a9c4ed83927b08af1194e4d8c574"),
        ("smoke", "609fc5357a063e25d1f9753e53e60cd41438aa57fd6f3b4a2bd8f85559c6962d"),
    ],
)
def test_results_of_version_0_1_are_still_of_these_recipes(name, digest):
    assert RECIPES.get(name).digest == digest


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json_and_say_where_they_come_from(name):
    recipe = RECIPES.get(name)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert replace(again, rate_networks=recipe.rate_networks) == recipe  # not stored unless rates come from the grid
    assert again.digest == recipe.digest
    assert recipe.name == name
    assert recipe.summary
    assert "summary" not in recipe.to_dict()
    assert recipe.source
    assert recipe.departures


def test_digest_tells_recipes_apart(recipe):
    other = Recipe.from_dict(recipe.to_dict() | {"epochs": recipe.epochs + 1})
    assert other.digest != recipe.digest
    assert len({RECIPES.get(name).digest for name in RECIPES}) == len(RECIPES)


def test_a_variant_says_in_its_name_what_it_changes():
    smoke = RECIPES.get("smoke")
    varied = smoke.variant(augment=DIGITS_STRATEGY, learning_rate=0.3)
    assert (varied.augment, varied.learning_rate) == (DIGITS_STRATEGY, 0.3)
    assert varied.name == f"smoke, {DIGITS_STRATEGY}, lr 0.3"
    assert smoke.variant(augment=smoke.augment, learning_rate="learned") == smoke
    plain = replace(smoke, augment=None)
    assert plain.variant(augment=DIGITS_STRATEGY) == plain
    mirrored = replace(smoke, augment="flip").variant(augment=DIGITS_STRATEGY)
    assert (mirrored.augment, mirrored.name) == (None, "smoke, no augmentation")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "recipe of 0 epochs"),
        ({"repeats": 0}, "0 repeats"),
        ({"drop_at": (10,)}, r"drop_at \(10,\): expected rising epochs between 1 and 9"),
        ({"drop_at": (3, 2)}, "rising"),
        ({"decay": 0.0}, "decay 0.0"),
        ({"grid": ()}, "grid"),
        ({"grid": (0.1, -0.1)}, "above 0"),
        ({"learning_rate": "best"}, "learning_rate is 'best': expected 'learned' or 'grid' or a number"),
        ({"learning_rate": -1.0}, "learning rate -1.0"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"epoch": 3}, "unknown setting 'recipe.epoch': did you mean recipe.epochs"),
        ({"epochs": "3"}, "setting recipe.epochs is '3': expected a whole number"),
        ({"clip_norm": -1.0}, "clip norm -1.0"),
        ({"optimizer": "adamw"}, "AdamW follows half a cosine: leave drop_at"),
        ({"optimizer": "adam"}, "recipe.optimizer is 'adam'"),
        ({"labels": {"temperature": 0.0}}, "temperature 0 of the teacher's labels"),
        ({"cutmix": {"alpha": -1.0}}, "CutMix alpha -1.0"),
        ({"drop_at": [3], "restarts": {}}, "drops at milestones and one with warm restarts"),
    ],
)
def test_bad_settings_are_refused(recipe, change, message):
    with pytest.raises(UsageError, match=message):
        Recipe.from_dict(recipe.to_dict() | change)


def test_missing_settings_and_unknown_names(recipe):
    with pytest.raises(ConfigError, match="source"):
        Recipe.from_dict({"name": "half", "epochs": 3})
    with pytest.raises(UnknownName, match="unknown augmentation 'colour'"):
        Recipe.from_dict(recipe.to_dict() | {"augment": "colour"})
    with pytest.raises(UnknownName, match="unknown recipe 'mt': did you mean mtt"):
        RECIPES.get("mt")
