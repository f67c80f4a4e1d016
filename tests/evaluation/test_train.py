from dataclasses import replace

import pytest
import torch

from evaluation import RECIPES, check_batches, train_network
from satm.errors import ConfigError
from satm.networks import plan
from satm.rng import Seed
from satm.training import accuracy
from tests.evaluation.conftest import SHAPE, memory


def plan_of(name):
    return plan(name, num_classes=3, image_shape=SHAPE)


PLAN = plan_of("convnet3_w16")


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("architecture", ["convnet3_w16", "timm/ghostnet_050"])  # the second has dropout
def test_a_network_depends_on_its_seed_alone(recipe, architecture):
    short = replace(recipe, epochs=2, drop_at=())
    trained = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        network = train_network(memory(), plan_of(architecture), short, learning_rate=0.05, seed=Seed(seed))
        trained.append(weights(network))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


@pytest.mark.parametrize("kind", ["hard", "probabilities", "logits"])
def test_it_learns_from_labels_of_every_kind(patterns, recipe, kind):
    hard = memory().labels
    one_hot = torch.nn.functional.one_hot(hard, 3).float()
    labels = {"hard": hard, "probabilities": 0.9 * one_hot + 0.1 / 3, "logits": 5 * one_hot}[kind]
    seen = []
    network = train_network(
        memory(labels=labels, label_kind=kind),
        PLAN,
        recipe,
        learning_rate=0.05,
        seed=Seed(0),
        on_epoch=seen.append,
    )
    assert accuracy(network, patterns.test) > 0.9
    assert [stats.epoch for stats in seen] == list(range(recipe.epochs))


def test_the_recipe_is_followed(recipe):
    # One epoch of one batch without momentum and decay: θ₁ = θ₀ − lr ∇L(θ₀), with θ₀ from the same seed at lr → 0.
    plain = replace(recipe, epochs=1, drop_at=(), batch_size=100, momentum=0.0, weight_decay=0.0, augment=None)

    def trained(rate, **changes):
        return train_network(memory(), PLAN, replace(plain, **changes), learning_rate=rate, seed=Seed(0))

    start = weights(trained(1e-30))
    one, two = weights(trained(0.01)) - start, weights(trained(0.02)) - start
    torch.testing.assert_close(two, 2 * one, rtol=1e-3, atol=1e-6)
    decayed = weights(trained(0.01, weight_decay=0.5)) - start
    torch.testing.assert_close(decayed - one, -0.01 * 0.5 * start, rtol=1e-2, atol=1e-6)
    assert not torch.equal(weights(trained(0.01, augment="color")) - start, one)
    assert not torch.equal(weights(trained(0.01, batch_size=4)) - start, one)


def test_what_cannot_be_trained_is_one_line(recipe):
    with pytest.raises(ConfigError, match=r"last batch of one image \(9 images in batches of 8\)"):
        train_network(memory(3), plan_of("timm/resnet18"), recipe, learning_rate=0.05, seed=Seed(0))


def test_a_last_batch_of_one_is_seen_before_anything_is_trained(recipe):
    with pytest.raises(ConfigError, match=r"timm/resnet18 has batch .* one image \(9 images in batches of 8\)"):
        check_batches(plan_of("timm/resnet18"), recipe, examples=9)
    check_batches(plan_of("timm/resnet18"), recipe, examples=10)
    with pytest.raises(ConfigError, match=r"\(10 images in batches of 1\); change the batch size or the architecture"):
        check_batches(plan_of("timm/resnet18"), replace(recipe, batch_size=1), examples=10)
    check_batches(plan_of("convnetbn3_w4"), recipe, examples=9)  # the variance is over the 2×2 pixels of its last maps


def test_gdumbs_own_recipe_trains(patterns):
    gdumb = replace(RECIPES.get("prabhu2020"), epochs=16, batch_size=8)
    network = train_network(memory(), PLAN, gdumb, learning_rate=0.05, seed=Seed(0))
    assert accuracy(network, patterns.test) > 0.8
    plain = replace(gdumb, cutmix=None)
    other = train_network(memory(), PLAN, plain, learning_rate=0.05, seed=Seed(0))
    assert not torch.equal(weights(network), weights(other))
