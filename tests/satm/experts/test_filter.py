"""The images that PAD's experts train on: the schedule, the order by difficulty, and the training itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satm import networks
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError, Interrupted
from satm.experts import FilterConfig
from satm.experts.filter import Filter, el2n
from satm.experts.train import ExpertConfig, expert_store, image_filter
from satm.rng import Seed
from satm.training import fit
from tests.helpers import ARCHITECTURE, EXPERTS, StopAfter, experts, image_data

SMALL = FilterConfig(
    initial_share=0.5,
    **{"added_until": 2, "removed_after": 3, "removed_share": 0.25},
    **{"more_removed_after": 4, "more_removed_share": 0.5, "scorers": 2, "scorer_epochs": 1},
)

data = pytest.fixture(image_data)


def test_the_schedule_is_that_of_its_code_epoch_by_epoch():
    """5,000 images a class, with the numbers of PAD's README: 75% at first, all from 20 on, 10% and then 20% less."""
    config = FilterConfig()
    expected = {0: (0, 3750), 10: (0, 4375), 19: (0, 4937), 20: (0, 5000), 40: (0, 5000), 41: (500, 5000)}
    expected |= {60: (500, 5000), 61: (1000, 5000), 99: (1000, 5000)}
    assert {
        epoch: (config.places(epoch, 5000).start, config.places(epoch, 5000).stop) for epoch in expected
    } == expected
    assert config.places(0, 1) == config.places(99, 1) == range(1)
    assert replace(config, added_until=0).places(0, 8) == range(8)


@given(st.integers(0, 120), st.integers(1, 300), st.floats(0.01, 1), st.floats(0, 0.99))
def test_every_class_keeps_images_and_none_twice(epoch, images, share, removed):
    config = FilterConfig(initial_share=share, removed_share=removed)
    places = config.places(epoch, images)
    assert 0 <= places.start < places.stop <= images


def test_a_difficulty_is_its_definition():
    logits = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[2.0, 2.0], [5.0, 1.0]]], dtype=torch.float64)
    labels, expected = torch.tensor([0, 1]), [0.0, 0.0]
    for network in logits:
        for image, label in enumerate(labels):
            p = network[image].exp() / network[image].exp().sum()
            expected[image] += float(sum((p[k] - float(k == label)) ** 2 for k in range(2)).sqrt()) / 2
    torch.testing.assert_close(
        el2n(logits, labels), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10
    )


def test_an_epoch_uses_each_class_from_easy_to_hard():
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    chosen = Filter(SMALL, torch.tensor([6, 7, 4, 5, 2, 3, 0, 1]), labels)
    assert [chosen.indices(epoch).tolist() for epoch in (0, 1, 2, 4, 5)] == [
        [4, 5, 6, 7],
        [2, 3, 4, 5, 6, 7],
        list(range(8)),
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3],
    ]


def test_a_filtered_expert_is_plain_training_on_each_epochs_images(data):
    """Each epoch is trained alone, on a data set that holds only its images."""
    trajectory = experts(data, epochs=6, filter=SMALL)[1]
    scores = torch.zeros(len(data.train))
    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(9))
    images, labels = data.train.batch(torch.arange(len(data.train)))
    for scorer in experts(data, epochs=1):
        FlatNetwork(network).load(scorer.snapshot(1))
        wrong = network(images).softmax(1) - torch.eye(3)[labels]
        scores += wrong.square().sum(1).sqrt().detach()
    seed = Seed(0).child("expert", 1)
    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=seed.child("init"))
    for epoch, kept in enumerate([(0, 6), (0, 9), (0, 12), (0, 12), (3, 12), (6, 12)]):
        members = [sorted((labels == k).nonzero()[:, 0].tolist(), key=lambda i: float(scores[i])) for k in range(3)]
        index = torch.tensor(sorted(i for each in members for i in each[slice(*kept)]))
        fit(
            network,
            data.train.subset(index),
            EXPERTS.sgd(epoch + 1),
            seed=seed.child("training"),
            augment=EXPERTS.transform(),
            first_epoch=epoch,
        )
        torch.testing.assert_close(trajectory.snapshot(epoch + 1), flatten(network.parameters()), rtol=1e-5, atol=1e-6)


def test_experts_with_a_filter_are_others_and_those_without_keep_their_key(data):
    plain, filtered = (expert_store(data, ARCHITECTURE, replace(EXPERTS, filter=each)) for each in (None, SMALL))
    assert "filter" not in plain.facts["training"]  # as in the files of experts that were stored before filters existed
    assert filtered.facts["training"]["filter"]["initial_share"] == 0.5
    other = replace(SMALL, scorer_epochs=2)
    assert len({plain.key, filtered.key, expert_store(data, ARCHITECTURE, replace(EXPERTS, filter=other)).key}) == 3


def test_a_filter_that_leaves_nothing_out_is_no_filter_to_the_bit(data):
    idle = replace(SMALL, initial_share=1.0, removed_share=0.0, more_removed_share=0.0)
    for plain, filtered in zip(experts(data, epochs=3), experts(data, epochs=3, filter=idle), strict=True):
        assert torch.equal(plain.snapshot(3), filtered.snapshot(3))


def test_a_stopped_training_continues_to_the_same_bits(data, tmp_path, monkeypatch):
    whole = experts(data, epochs=5, filter=SMALL)
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "again"))
    with pytest.raises(Interrupted):
        experts(data, epochs=5, filter=SMALL, progress=StopAfter(20))
    for one, other in zip(whole, experts(data, epochs=5, filter=SMALL), strict=True):
        assert all(torch.equal(one.snapshot(epoch), other.snapshot(epoch)) for epoch in range(6))


def test_the_experts_that_score_are_the_plain_ones(data):
    chosen = image_filter(data, ARCHITECTURE, replace(EXPERTS, filter=SMALL))
    assert sorted(chosen.order.tolist()) == list(range(len(data.train)))
    assert image_filter(data, ARCHITECTURE, EXPERTS) is None
    store = expert_store(data, ARCHITECTURE, EXPERTS)
    assert [store.epochs(index) for index in range(3)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_share": 0.0}, "initial_share 0.0: expected 0 < share ≤ 1"),
        ({"removed_share": 1.0}, "removed_share 1.0, more_removed_share 0.2: expected 0 ≤ share < 1"),
        ({"added_until": 50}, "epochs 50, 40, 60: expected 0 ≤ added_until ≤ removed_after ≤ more_removed_after"),
        ({"scorers": 0}, "scorers 0, scorer_epochs 20: expected at least 1 network"),
    ],
)
def test_settings_that_cannot_work_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=rf"^experts\.filter.*{message}"):
        ExpertConfig(filter=FilterConfig(**changes))
