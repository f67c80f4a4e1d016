"""DREAM: k-means and the chosen images against their definitions, and clustered batches in every direct method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from satm import networks
from satm.engine import FlatNetwork
from satm.errors import ConfigError, Diverged
from satm.methods import METHODS, Request
from satm.methods.dance import DANCEConfig
from satm.methods.direct.clusters import cluster_centres, representatives
from satm.methods.dream import DREAMConfig
from satm.methods.ncfm import NCFMConfig
from satm.parametrisation import Factor
from satm.presets import CondenseConfig, find_preset
from satm.rng import Seed
from satm.workflow.choosing import choose_preset
from tests.helpers import ARCHITECTURE, EXPERTS, normal, task
from tests.satm.methods.direct.test_direct import DC, DM, DSA
from tests.satm.methods.direct.test_idc import IDC

DREAM = DREAMConfig(
    **{"networks": 2, "updates": 3, "batch_real": 4, "images_between": 8, "cluster_every": 2, "compile": "eager"}
)
BLENDS = {"outer_steps": 4, "batch_real": 4, "expert_epochs": 2, "augment": None, "compile": "eager"}
EVERY = {
    "dc": DC,
    "dsa": DSA,
    "dm": DM,
    "dance": DANCEConfig(**BLENDS, lr_images=0.1),
    "ncfm": NCFMConfig(**BLENDS, frequencies=8),
    "idc": IDC,
    "dream": DREAM,
}
CLUSTERED = {name: replace(config, batch_real=4, cluster_every=2, init="clustered") for name, config in EVERY.items()}


def begin(data, trained, config=DREAM, name="dream", **changes):
    return METHODS.get(name).begin(task(data, trained, **changes), config)


class Flat(nn.Module):
    """Features that are the pixels themselves."""

    def forward(self, images):
        return images.flatten(1)


# k-means and the images that it chooses


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_centres_are_those_of_lloyds_algorithm(count):
    points = normal(60, 5, name="points")
    found = cluster_centres(points, count, Seed(0).generator())
    first = points[torch.randperm(60, generator=Seed(0).generator())[:count]]
    expected = KMeans(count, init=np.asarray(first), n_init=1, max_iter=100, tol=0, algorithm="lloyd").fit(points)
    torch.testing.assert_close(found, torch.from_numpy(expected.cluster_centers_), rtol=1e-9, atol=1e-9)


def test_a_centre_without_points_stays():
    points = torch.tensor([[0.0], [0.0], [4.0], [6.0]])
    for seed in range(20):  # two of the first centres are equal in some of the draws
        centres = cluster_centres(points, 3, Seed(seed).generator()).flatten().sort().values.tolist()
        assert centres in ([0.0, 4.0, 6.0], [0.0, 0.0, 5.0])


def test_the_chosen_images_are_those_nearest_to_the_centres_of_their_class(data):
    chosen = representatives(data, 3, Flat(), Seed(5))
    for label in range(3):
        images = data.train.batch((data.train.labels == label).nonzero().squeeze(1))[0].flatten(1)
        centres = cluster_centres(images, 3, Seed(5).child(label).generator())
        for centre, image in zip(centres, data.train.batch(chosen[label])[0].flatten(1), strict=True):
            least = min(float((each - centre).norm()) for each in images)  # two images may be equally near
            assert float((image - centre).norm()) == pytest.approx(least, rel=1e-5, abs=1e-5)
        assert set(data.train.labels[chosen[label]].tolist()) == {label}
    # as many clusters as images: every image represents itself
    assert all(len(set(each.tolist())) == 12 for each in representatives(data, 12, Flat(), Seed(5)))


# In a condensation


def test_the_images_are_chosen_under_the_present_network_and_kept_until_the_next_clusters(data, trained):
    condensation, used = begin(data, trained), []
    batch = condensation.real_images

    def watched(theta, seed):
        used.append((theta.clone(), seed, batch(theta, seed)))
        return used[-1][2]

    condensation.real_images = watched
    for _ in range(6):
        condensation.advance()
    for number, (theta, seed, real) in enumerate(used):
        found = [used[0], used[0], used[2], used[3], used[3], used[5]][number]  # 3 updates a network, every 2 of them
        assert torch.equal(real, found[2])
        if number in (0, 2, 3, 5):
            network = networks.plan_for(ARCHITECTURE, data).create(Seed(9))
            FlatNetwork(network).load(theta)
            places = representatives(data, 4, networks.features(network), seed)
            assert torch.equal(real.flatten(0, 1), data.train.batch(places.flatten())[0])
    assert not torch.equal(used[0][2], used[2][2])
    assert not torch.equal(used[0][2], used[3][2])


def test_distribution_matching_counts_its_steps(data, trained):
    condensation = begin(data, trained, replace(CLUSTERED["dm"], cluster_every=3), "dm")
    found = []
    for _ in range(6):
        condensation.advance()
        found.append(condensation.clustered)
    assert all(torch.equal(found[n], found[n - n % 3]) for n in range(6))
    assert not torch.equal(found[0], found[3])


def test_images_start_as_those_that_a_fresh_network_chooses(data, trained):
    condensation = begin(data, trained, parametrisation=Factor(2))
    network = networks.plan_for(ARCHITECTURE, data).create(Seed(0).child("net"))
    places = representatives(data, 8, networks.features(network), Seed(0).child("init"))  # IPC 2, 4 smaller images each
    assert torch.equal(condensation.images, Factor(2).encode(data.train.batch(places.flatten())[0]))


def test_dream_on_random_images_is_idc_to_the_bit(data, trained):
    idc = begin(data, trained, IDC, "idc")
    values = {name: getattr(IDC, name) for name in IDC.__dataclass_fields__}
    dream = begin(data, trained, DREAMConfig(**values))
    assert [idc.advance() for _ in range(4)] == [dream.advance() for _ in range(4)]
    assert torch.equal(idc.images, dream.images)


@pytest.mark.parametrize("name", CLUSTERED)
def test_every_direct_method_clusters_and_resumes_to_the_bit(name, data, trained):
    config = CLUSTERED[name]
    before = torch.get_rng_state()
    whole, first, second = (begin(data, trained, config, name) for _ in range(3))
    expected = [whole.advance() for _ in range(4)]
    measured = [first.advance() for _ in range(3)]  # within two steps of the same clusters
    second.restore({key: value.clone() for key, value in first.state().items()})
    measured += [second.advance()]
    assert measured == expected
    assert all(torch.equal(value, second.state()[key]) for key, value in whole.state().items())
    assert torch.equal(torch.get_rng_state(), before)
    random = begin(data, trained, replace(config, cluster_every=None), name)
    assert random.advance() != expected[0]
    assert "clustered" not in random.state()


def test_what_fails_keeps_the_images_that_were_chosen(data, trained):
    condensation = begin(data, trained, CLUSTERED["dm"], "dm")
    kept = condensation.state()
    condensation.move = lambda *arguments: (_ for _ in ()).throw(Diverged("not finite"))
    with pytest.raises(Diverged):
        condensation.advance()
    assert all(torch.equal(value, kept[key]) for key, value in condensation.state().items())


# As a setting


def test_configurations_from_before_the_setting_stay_as_they_are():
    plain, chosen = (
        choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"cluster_every": every}).config
        for every in (None, 5)
    )
    assert "cluster_every" not in plain.to_dict()["settings"]
    assert plain.every_setting()["settings"]["cluster_every"] is None
    assert chosen.to_dict()["settings"]["cluster_every"] == 5
    dream = [
        choose_preset("digits", ipc=1, method="dream", profile="smoke", settings=changed).config
        for changed in ({}, {"cluster_every": None})
    ]
    for config in (plain, chosen, *dream):
        assert CondenseConfig.from_dict(config.to_dict()) == config


def test_what_cannot_work_is_refused(data, monkeypatch):
    with pytest.raises(ConfigError, match="cluster_every 0: expected at least 1 step, or null"):
        replace(DC, cluster_every=0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    monkeypatch.setattr(networks.NetworkPlan, "create", lambda plan, seed: network)
    for name, config in (("dc", replace(DC, cluster_every=2)), ("dc", replace(DC, init="clustered")), ("dream", DREAM)):
        request = Request(method=name, settings=config, architecture=ARCHITECTURE, experts=EXPERTS, data=data, ipc=1)
        with pytest.raises(ConfigError, match="no linear layer"):
            METHODS.get(name).check(request)
    METHODS.get("dc").check(
        Request(method="dc", settings=DC, architecture=ARCHITECTURE, experts=EXPERTS, data=data, ipc=1)
    )


def test_the_time_of_a_step_includes_the_features_of_all_real_images(data):
    def images(config, name):
        return METHODS.get(name).outer_work(config, None, data, 2).seconds(1.0) * 36  # a batch is all 36 images

    assert images(replace(DREAM, cluster_every=None), "dream") + 2 / 3 * 36 / 3 == pytest.approx(images(DREAM, "dream"))
    random = replace(DM, cluster_every=None)
    assert images(random, "dm") + 36 / 3 / 5 == pytest.approx(images(replace(DM, cluster_every=5), "dm"))


def test_its_presets_are_idcs_except_the_real_images():
    dream, idc = (find_preset("cifar10", 10, method=name, profile="paper").config for name in ("dream", "idc"))
    changed = {"batch_real": 128, "init": "clustered", "cluster_every": 10}
    assert {**idc.every_setting()["settings"], **changed} == dream.every_setting()["settings"]
    assert dream.parametrisation == idc.parametrisation == "factor:2"
