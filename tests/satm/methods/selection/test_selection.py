"""Herding, k-centre and RDED: their choices against the definitions written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from satm import networks
from satm.engine import FlatNetwork
from satm.errors import ConfigError, ExpertError
from satm.methods import METHODS, Request
from satm.methods.herding import herd
from satm.methods.kcenter import spread
from satm.methods.rded import RDEDConfig, assembled, centred, random_crops
from satm.methods.selection.coreset import CoresetConfig
from satm.preprocessing import ZCA
from satm.presets import find_preset
from satm.rng import Seed
from satm.teachers import TeacherConfig, train_teacher
from tests.helpers import ARCHITECTURE, EXPERTS, experts, image_data, normal, task

CORESET = CoresetConfig(expert_epochs=2)
RDED = RDEDConfig(expert_epochs=2)


@pytest.fixture
def data():
    return image_data()


@pytest.fixture
def trajectories(data):
    return experts(data, epochs=2, count=1)


def made(data, trajectories, method, config, **changes):
    condensation = METHODS.get(method).begin(task(data, trajectories, **changes), config)
    assert (condensation.step, condensation.steps) == (0, 3)
    for _ in range(condensation.steps):
        condensation.advance()
    return condensation.result()


def literal_herd(features, count):
    mean, chosen = features.mean(dim=0), []
    for k in range(1, count + 1):
        summed = features[chosen].sum(dim=0)
        free = [i for i in range(len(features)) if i not in chosen]
        chosen.append(min(free, key=lambda i: (mean - (features[i] + summed) / k).norm().item()))
    return chosen


def literal_spread(features, count):
    chosen = [min(range(len(features)), key=lambda i: (features[i] - features.mean(dim=0)).norm().item())]
    while len(chosen) < count:
        free = [i for i in range(len(features)) if i not in chosen]
        chosen.append(max(free, key=lambda i: min((features[i] - features[j]).norm().item() for j in chosen)))
    return chosen


@given(seed=st.integers(0, 10_000), m=st.integers(3, 12), count=st.integers(1, 12))
def test_choices_are_the_definitions(seed, m, count):
    features = normal(m, 3, name=f"features {seed}")
    count = min(count, m)
    assert herd(features, count).tolist() == literal_herd(features, count)
    assert spread(features, count).tolist() == literal_spread(features, count)


@pytest.mark.parametrize("choose", [herd, spread])
def test_equal_images_are_not_chosen_twice(choose):
    assert sorted(choose(torch.ones(4, 3), 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(("method", "choose"), [("herding", literal_herd), ("kcenter", literal_spread)])
def test_a_coreset_is_chosen_by_the_experts_features(data, trajectories, method, choose):
    learnt = made(data, trajectories, method, CORESET, ipc=3)
    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(0))
    FlatNetwork(network).load(trajectories[0].snapshot(2))
    expected = []
    for label in range(3):
        images = data.train.of_classes([label]).batch(torch.arange(12))[0]
        features = network.features(images).flatten(1).detach().double()
        expected.append(images[choose(features, 3)])
    assert torch.equal(learnt.images, torch.cat(expected))
    assert learnt.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (learnt.label_kind, learnt.step_size) == ("hard", None)


@pytest.mark.parametrize("method", ["herding", "kcenter", "rded"])
def test_an_expert_is_needed_and_ipc_is_checked(data, trajectories, method):
    config = RDED if method == "rded" else CORESET
    assert METHODS.get(method).expert_epochs(config) == 2
    with pytest.raises(ExpertError, match="expert of 2 epochs"):
        made(data, (), method, config)
    with pytest.raises(ExpertError, match="epoch 9"):
        made(data, trajectories, method, replace(config, expert_epochs=9))
    with pytest.raises(ConfigError, match="ipc 13: the smallest class"):
        made(data, trajectories, method, config, ipc=13)


@pytest.mark.parametrize(("method", "config"), [("herding", CORESET), ("kcenter", CORESET), ("rded", RDED)])
def test_a_class_a_step_stopped_and_restored_is_uninterrupted_to_the_bit(data, trajectories, method, config):
    whole = made(data, trajectories, method, config)
    for stop in range(4):
        first, second = (METHODS.get(method).begin(task(data, trajectories), config) for _ in range(2))
        for _ in range(stop):
            first.advance()
        second.restore(first.state())
        assert (first.step, second.step) == (stop, stop)
        for _ in range(3 - stop):
            second.advance()
        assert torch.equal(second.result().images, whole.images)
        assert torch.equal(second.result().labels, whole.labels)


# RDED


def teacher(trajectories):
    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(0)).eval()
    FlatNetwork(network).load(trajectories[0].snapshot(2))
    return network


def test_whole_images_as_crops_are_ranked_by_the_teacher_and_labelled_by_it(data, trajectories):
    learnt = made(data, trajectories, "rded", replace(RDED, min_area=1.0, crops=1, temperature=2.0), ipc=4)
    network = teacher(trajectories)
    for label in range(3):
        images = data.train.of_classes([label]).batch(torch.arange(12))[0]
        with torch.no_grad():
            p = network(images).double().softmax(dim=1)[:, label]
        best = images[sorted(range(12), key=lambda i: -p[i].item())[:4]]
        torch.testing.assert_close(learnt.images[4 * label : 4 * label + 4], best)
    with torch.no_grad():
        soft = (network(learnt.images) / 2).softmax(dim=1)
    torch.testing.assert_close(learnt.labels, soft)
    assert learnt.label_kind == "probabilities"


@pytest.mark.parametrize("factor", [1, 2])
def test_the_easiest_crop_of_each_image_written_out(data, trajectories, factor):
    """RDED's selector scores crops with zeros around them, takes the best crop of each image, then the best images."""
    config = replace(RDED, factor=factor, crops=3, candidates=10, labels="hard")
    learnt = made(data, trajectories, "rded", config)
    network = teacher(trajectories)
    for label in range(3):
        generator = Seed(0).child("class", label).generator()
        members = (data.train.labels == label).nonzero().squeeze(1)
        real = data.train.images[members[torch.randperm(12, generator=generator)[:10]]].float() / 255
        found = []
        crops = [data.preprocessing(random_crops(real, 8 // factor, 0.08, generator)) for _ in range(3)]
        for i in range(10):
            losses = []
            for crop in crops:
                canvas = torch.zeros(1, 1, 8, 8)
                at = (8 - 8 // factor) // 2
                canvas[0, :, at : at + 8 // factor, at : at + 8 // factor] = crop[i]
                with torch.no_grad():
                    losses.append(-network(canvas).log_softmax(dim=1)[0, label].item())
            best = min(range(3), key=losses.__getitem__)
            found.append((losses[best], crops[best][i]))
        found.sort(key=lambda pair: pair[0])
        for image in range(2):
            expected = torch.zeros(1, 8, 8)
            for cell in range(factor**2):
                row, column = divmod(cell, factor)
                s = 8 // factor
                expected[:, row * s : row * s + s, column * s : column * s + s] = found[2 * cell + image][1]
            torch.testing.assert_close(learnt.images[2 * label + image], expected)
    assert (learnt.label_kind, learnt.labels.tolist()) == ("hard", [0, 0, 1, 1, 2, 2])


def test_a_batch_normed_teacher_takes_the_place_of_the_expert(data):
    """The crops are those that the teacher finds most real, and the set keeps the classes."""
    training = TeacherConfig(architecture="convnetbn3_w4", epochs=2, lr=0.1, batch_size=16, augment="color_crop")
    judge = train_teacher(data, training)
    config = replace(RDED, teacher=training, min_area=1.0, crops=1, labels="hard")
    assert METHODS.get("rded").expert_epochs(config) is None
    assert METHODS.get("rded").teacher(config) == training
    learnt = made(data, (), "rded", config, teacher=judge)
    for label in range(3):
        images = data.train.of_classes([label]).batch(torch.arange(12))[0]
        p = judge.network(images).double().softmax(dim=1)[:, label]
        best = images[sorted(range(12), key=lambda i: -p[i].item())[:2]]
        torch.testing.assert_close(learnt.images[2 * label : 2 * label + 2], best)
    assert (learnt.label_kind, learnt.labels.tolist()) == ("hard", [0, 0, 1, 1, 2, 2])
    with pytest.raises(ExpertError, match="a teacher is needed"):
        METHODS.get("rded").begin(task(data, ()), config)


def test_patches_fill_the_first_cell_of_every_image_first():
    patches = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 2, 3, 3)
    images = assembled(patches, 2)
    assert images.shape == (2, 2, 6, 6)
    for image in range(2):
        cells = [images[image, 0, 3 * r, 3 * c].item() for r in range(2) for c in range(2)]
        assert cells == [image, 2 + image, 4 + image, 6 + image]
        assert torch.equal(images[image, :, :3, :3], patches[image])
    assert torch.equal(assembled(patches, 1), patches)
    middle = centred(torch.ones(1, 1, 2, 2), 5)
    assert middle.sum() == 4
    assert middle[0, 0, 1:3, 1:3].sum() == 4  # torch's half goes before


def test_crops_stay_inside_and_keep_a_constant_image():
    images = torch.full((50, 1, 9, 9), 0.25)
    crops = random_crops(images, 4, 0.08, Seed(0).generator())
    assert crops.shape == (50, 1, 4, 4)
    torch.testing.assert_close(crops, torch.full_like(crops, 0.25))
    ramp = torch.arange(81.0).view(1, 1, 9, 9).expand(50, 1, 9, 9)
    one, again = (random_crops(ramp, 4, 0.08, Seed(0).generator()) for _ in range(2))
    assert torch.equal(one, again)
    assert len({x.mean().item() for x in one}) > 20


def test_seeds_crop_differently(data, trajectories):
    one, other = (made(data, trajectories, "rded", RDED, seed=Seed(seed)).images for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "ipc", "change", "match"),
    [
        (replace(RDED, factor=3), 1, {}, r"factor 3: images of 8×8.*factor=1"),
        (replace(RDED, factor=2), 4, {}, r"ipc 4 at factor 2: 12 candidates a class make at most 3"),
        (replace(RDED, candidates=5), 6, {}, r"ipc 6 at factor 1: 5 candidates.*raise candidates"),
        (RDED, 1, {"preprocessing": ZCA(key="k", eps=0.1, shape=(1, 8, 8))}, r"zca=false"),
    ],
)
def test_rded_refuses_by_name_before_any_work(data, settings, ipc, change, match):
    request = Request(
        method="rded",
        settings=settings,
        architecture=ARCHITECTURE,
        experts=EXPERTS,
        data=replace(data, **change),
        ipc=ipc,
    )
    with pytest.raises(ConfigError, match=match):
        METHODS.get("rded").check(request)


@pytest.mark.parametrize(
    "change", [{"factor": 0}, {"crops": 0}, {"candidates": 0}, {"min_area": 0.0}, {"temperature": 0.0}]
)
def test_wrong_numbers_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(RDED, **change)


@pytest.mark.parametrize("method", ["herding", "kcenter", "dm", "mdc"])
def test_a_network_without_features_is_refused_before_any_work(data, monkeypatch, method):
    settings = find_preset("digits", 1, method=method, profile="smoke").config.settings
    request = Request(method=method, settings=settings, architecture=ARCHITECTURE, experts=EXPERTS, data=data, ipc=1)
    METHODS.get(method).check(request)
    convolutional = nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())
    monkeypatch.setattr(networks.NetworkPlan, "create", lambda plan, seed: convolutional)
    with pytest.raises(ConfigError, match="Sequential has no linear layer"):
        METHODS.get(method).check(request)
