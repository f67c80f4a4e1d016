import json
from dataclasses import replace

import pytest

from evaluation import RECIPES, Recipe
from satm.augment import DIGITS_STRATEGY, DSA
from satm.errors import ConfigError, UnknownName


def test_mtt_is_the_fields_schedule():
    sgd = RECIPES.get("mtt").sgd(0.02)
    rates = [sgd.lr_at(epoch) for epoch in range(sgd.epochs)]
    assert (rates.count(0.02), rates.count(pytest.approx(0.002))) == (502, 499)
    assert (sgd.batch_size, sgd.momentum, sgd.weight_decay) == (256, 0.9, 5e-4)
    assert RECIPES.get("mtt").augmentation == DSA()
    assert RECIPES.get("mtt").repeats == 5


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json_and_say_where_they_come_from(name):
    recipe = RECIPES.get(name)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert recipe.name == name
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
        ({"learning_rate": "best"}, "learning rate 'best': expected learned, grid or a number"),
        ({"learning_rate": -1.0}, "learning rate -1.0"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"epoch": 3}, "recipe has no setting epoch"),
        ({"epochs": "3"}, "cannot be read"),
    ],
)
def test_bad_settings_are_refused(recipe, change, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict(recipe.to_dict() | change)


def test_missing_settings_and_unknown_names(recipe):
    with pytest.raises(ConfigError, match="source"):
        Recipe.from_dict({"name": "half", "epochs": 3})
    with pytest.raises(UnknownName, match="unknown augmentation 'colour'"):
        Recipe.from_dict(recipe.to_dict() | {"augment": "colour"})
    with pytest.raises(UnknownName, match="unknown recipe 'mt': did you mean mtt"):
        RECIPES.get("mt")
