"""Expert trajectories: snapshots are copies, training continues to the same bits, and files are checked."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from satm import networks
from satm.config import to_dict
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError, DamagedFile, ExpertError, Interrupted, UnknownName
from satm.experts import ExpertConfig, TrajectoryStore, draw_segment, train_experts
from satm.experts.flat import FlatConfig
from satm.experts.segment import start_epochs
from satm.experts.train import expert_store
from satm.matching import TrajectoryLoss
from satm.preprocessing import MeanStd
from satm.progress import NoProgress
from satm.rng import Seed
from satm.training import accuracy, fit
from tests.helpers import ARCHITECTURE, EXPERTS, StopAfter, experts, image_data

data = pytest.fixture(image_data)


def snapshots(trajectory):
    return torch.stack([trajectory.snapshot(epoch) for epoch in range(trajectory.epochs + 1)])


def everything(trajectories):
    return torch.stack([snapshots(each) for each in trajectories])


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """`elsewhere(name)` moves SATM_HOME to an empty folder, so that experts are trained again."""
    return lambda name: monkeypatch.setenv("SATM_HOME", str(tmp_path / name))


def test_snapshots_are_copies_of_every_epoch(data):
    first, second = experts(data)
    for each in (first, second):
        theta = snapshots(each)
        assert each.epochs == 4
        steps = (theta[1:] - theta[:-1]).norm(dim=1)
        assert steps.min() > 1e-3  # aliases of live weights would all be equal
    assert not torch.equal(first.snapshot(0), second.snapshot(0))
    mine = first.snapshot(1)
    mine += 1
    assert not torch.equal(first.snapshot(1), mine)


@pytest.mark.parametrize("architecture", [ARCHITECTURE, "timm/ghostnet_050"])  # the second has BatchNorm and dropout
def test_a_trajectory_is_plain_training_from_its_initial_weights(data, architecture):
    """θ_0 is the untrained network. Each snapshot and record is what the training loop gives after that epoch."""
    trajectory = experts(data, architecture=architecture, epochs=2, momentum=0.9)[1]
    seed = Seed(0).child("expert", 1)
    network = networks.create(architecture, num_classes=3, image_shape=(1, 8, 8), seed=seed.child("init"))
    assert torch.equal(trajectory.snapshot(0), flatten(network.parameters()))
    expected = []

    def keep(stats):
        expected.append((flatten(network.parameters()).detach(), stats, accuracy(network, data.validation)))
        network.train()

    config = replace(EXPERTS, momentum=0.9)
    fit(
        network,
        data.train,
        config.sgd(2),
        seed=seed.child("training"),
        augment=config.transform(),
        on_epoch=keep,
    )
    for epoch, (theta, stats, validation) in enumerate(expected):
        record = trajectory.records[epoch]
        assert torch.equal(trajectory.snapshot(epoch + 1), theta)
        assert (record.loss, record.train, record.validation) == (stats.loss, stats.accuracy, validation)


def test_they_learn(data):
    trajectory = experts(data, epochs=30, count=1, momentum=0.9)[0]
    assert trajectory.records[-1].validation > 0.9
    assert trajectory.records[-1].loss < trajectory.records[0].loss


def test_same_seed_same_bits_and_the_global_stream_is_untouched(data, elsewhere):
    results = []
    for home, noise, seed in (("a", 0, 0), ("b", 1, 0), ("c", 1, 1)):
        elsewhere(home)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        results.append(everything(experts(data, epochs=2, seed=seed)))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_on_gives_the_bits_of_training_at_once(data, elsewhere, momentum):
    two = everything(experts(data, epochs=2, momentum=momentum))
    four = everything(experts(data, epochs=4, momentum=momentum))
    assert torch.equal(four[:, :3], two)  # what was stored is unchanged
    elsewhere("at once")
    at_once = experts(data, epochs=4, momentum=momentum)
    assert torch.equal(four, everything(at_once))
    assert [len(each.records) for each in at_once] == [4, 4]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("batches", "stored"), [(0, 0), (5, 1), (16, 5)])  # three batches an epoch
def test_interrupted_training_continues_to_the_same_bits(data, elsewhere, momentum, batches, stored):
    elsewhere("at once")
    at_once = experts(data, momentum=momentum)
    elsewhere("interrupted")
    with pytest.raises(Interrupted, match="the same command continues from there"):
        experts(data, momentum=momentum, progress=StopAfter(batches))
    store = expert_store(data, ARCHITECTURE, replace(EXPERTS, momentum=momentum))
    assert sum(each.epochs for each in map(store.find, (0, 1)) if each) == stored
    again = experts(data, momentum=momentum)
    assert torch.equal(everything(again), everything(at_once))
    assert [each.records for each in again] == [each.records for each in at_once]


@pytest.mark.slow
def test_compiled_experts_are_the_plain_ones_and_continue_to_the_same_bits(data, elsewhere):
    def trained(epochs=3, **changes):
        return train_experts(data, ARCHITECTURE, replace(EXPERTS, momentum=0.9), epochs=epochs, **changes)

    elsewhere("plain")
    plain = trained(compilation="eager")
    elsewhere("at once")
    at_once = trained(compilation="compiled")
    torch.testing.assert_close(everything(at_once), everything(plain), rtol=1e-3, atol=1e-4)
    assert {record.compiled for each in at_once for record in each.records} == {True}
    assert {record.compiled for each in plain for record in each.records} == {False}
    assert at_once[0].path.parent.name == plain[0].path.parent.name  # one key, because they differ in round-off only
    elsewhere("interrupted")
    with pytest.raises(Interrupted):
        trained(compilation="compiled", progress=StopAfter(5))
    assert torch.equal(everything(trained(compilation="compiled")), everything(at_once))


class Listening(NoProgress):
    def __init__(self):
        self.said, self.epochs = [], 0

    def say(self, message):
        self.said.append(message)

    def bar(self, name, total, *, done=0):
        if name == "check experts":
            return super().bar(name, total, done=done)
        self.total, self.done = total, done
        return Counting(self)


class Counting:
    def __init__(self, listening):
        self.listening = listening

    def advance(self, steps=1, **facts):
        self.listening.epochs += steps

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_only_what_the_store_lacks_is_trained_and_it_says_so(data):
    first, second, third = Listening(), Listening(), Listening()
    experts(data, epochs=2, count=1, progress=first)
    experts(data, epochs=3, count=2, progress=second)
    enough = experts(data, epochs=2, count=2, progress=third)
    assert (first.total, first.done, first.epochs) == (2, 0, 2)
    assert (second.total, second.done, second.epochs) == (6, 2, 4)
    assert (third.said, third.epochs) == ([], 0)
    assert [each.epochs for each in enough] == [3, 3]
    assert second.said[0].startswith(f"training 2 of 2 experts ({ARCHITECTURE}, 3 epochs)")


def test_no_epochs_is_the_initial_weights_only(data):
    (trajectory,) = experts(data, epochs=0, count=1)
    assert (trajectory.epochs, trajectory.records, trajectory.momentum()) == (0, (), None)
    assert torch.isfinite(trajectory.snapshot(0)).all()


def test_the_key_hashes_everything_that_shapes_a_trajectory(data):
    def key(data=data, architecture=ARCHITECTURE, **changes):
        return expert_store(data, architecture, replace(EXPERTS, **changes)).key

    different = [
        key(),
        key(replace(data, fingerprint="other")),
        key(data.with_preprocessing(MeanStd((0.4,), (0.25,)))),
        key(architecture="convnet3_w8"),
        *(
            key(**change)
            for change in (
                {"lr": 0.1},
                {"momentum": 0.5},
                {"weight_decay": 0.1},
                {"batch_size": 8},
                {"augment": None},
                {"seed": 1},
                {"flat": FlatConfig()},
            )
        ),
    ]
    assert len(set(different)) == len(different)
    # Every setting except the count is in the key: more experts can be added to the stored ones.
    assert len(to_dict(EXPERTS)) == 7 + 1
    assert key(count=5) == key()


# Files on disk are checked.


def damaged(store, change):
    path = store.path(0)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["satm"])
    metadata = change(tensors, about)
    save_file(tensors, path, metadata={"satm": json.dumps(about)} if metadata is None else metadata)


def without_an_epoch(tensors, about):
    del tensors["epoch/0001"]


def with_other_facts(tensors, about):
    about["facts"]["training"]["lr"] = 1.0


def without_facts(tensors, about):
    del about["facts"]


def without_metadata(tensors, about):
    return {}


def of_something_else(tensors, about):
    return {"satm": "[1, 2]"}


def with_garbage(tensors, about):
    return {"satm": "{"}


@pytest.mark.parametrize(
    "change",
    [without_an_epoch, with_other_facts, without_facts, without_metadata, of_something_else, with_garbage],
    ids=lambda change: change.__name__,
)
def test_a_file_that_is_not_what_its_place_says_is_trained_again(data, change):
    experts(data, epochs=2)
    store = expert_store(data, ARCHITECTURE, EXPERTS)
    damaged(store, change)
    assert store.epochs(0) == 0
    listening = Listening()
    assert [each.epochs for each in experts(data, epochs=2, progress=listening)] == [2, 2]
    assert any(re.search(r"0000\.safetensors is damaged .* training expert 0 again", line) for line in listening.said)
    assert listening.epochs == 2


@pytest.mark.parametrize("bytes_left", [0, 4, 5000])
def test_a_truncated_file_is_one_line_and_trained_again(data, bytes_left):
    (trajectory,) = experts(data, epochs=2, count=1)
    before, whole = snapshots(trajectory), trajectory.path.read_bytes()
    assert bytes_left < len(whole)
    trajectory.path.write_bytes(whole[:bytes_left])
    for read in (lambda: trajectory.snapshot(1), lambda: trajectory.momentum(), trajectory.check):
        with pytest.raises(DamagedFile, match=r"0000\.safetensors is damaged \([^\n]*makes it again$"):
            read()
    (again,) = experts(data, epochs=2, count=1)
    assert torch.equal(snapshots(again), before)


def test_two_overwritten_bytes_never_reach_a_segment(data):
    """Without the checksums, they made a wrong set in silence."""
    (trajectory,) = experts(data, epochs=2, count=1)
    before, changed = snapshots(trajectory), bytearray(trajectory.path.read_bytes())
    place = bytes(changed).index(before[1].numpy().tobytes())
    changed[place + 100] ^= 1
    changed[place + 101] ^= 64
    trajectory.path.write_bytes(changed)
    assert torch.isfinite(trajectory.snapshot(0)).all()
    with pytest.raises(DamagedFile, match="checksum of epoch/0001 differs"):
        trajectory.snapshot(1)
    listening = Listening()
    (again,) = experts(data, epochs=2, count=1, progress=listening)
    assert "checksum of epoch/0001 differs" in listening.said[1]
    assert torch.equal(snapshots(again), before)


def test_an_expert_from_before_the_checksums_is_still_read(data):
    (trajectory,) = experts(data, epochs=2, count=1)
    before = snapshots(trajectory)
    damaged(expert_store(data, ARCHITECTURE, EXPERTS), lambda tensors, about: None)  # writes it as version 0.1 did
    with safe_open(trajectory.path, framework="pt") as file:
        assert set(file.metadata()) == {"satm"}
    listening = Listening()
    (again,) = experts(data, epochs=2, count=1, progress=listening)
    assert torch.equal(snapshots(again), before)
    assert listening.said == []


def test_aliased_snapshots_are_refused_when_a_segment_of_them_is_matched(data):
    """MTT's own code stores live weights on a CPU run, so every epoch of such a file equals the last one."""
    (trajectory,) = experts(data, epochs=2, count=1)

    def alias(tensors, about):
        for epoch in (0, 1):
            tensors[f"epoch/{epoch:04d}"] = tensors["epoch/0002"].clone()

    damaged(expert_store(data, ARCHITECTURE, EXPERTS), alias)
    segment = draw_segment([trajectory], epochs=1, starts=2, generator=Seed(0).generator())
    with pytest.raises(ExpertError, match=r"starts where it ends: its snapshots are damaged; train it again"):
        TrajectoryLoss(segment.start, segment.target)


def test_epochs_that_are_not_stored_are_one_line(data):
    (trajectory,) = experts(data, epochs=2, count=1)
    for epoch in (-1, 3):
        with pytest.raises(ExpertError, match=rf"holds epochs 0 to 2, not epoch {epoch}; train the expert on"):
            trajectory.snapshot(epoch)
    assert TrajectoryStore({"never": "trained"}).find(0) is None


def test_nothing_half_written_stays(data, monkeypatch):
    (trajectory,) = experts(data, epochs=1, count=1)
    before = snapshots(trajectory)

    def no_space(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", no_space)
    with pytest.raises(Exception, match="No space left on device"):
        experts(data, epochs=2, count=1)
    assert torch.equal(snapshots(trajectory), before)
    assert not list(trajectory.path.parent.glob("*.tmp"))


# Segments


def test_segments_are_drawn_uniformly_over_experts_and_starts(data):
    trajectories = experts(data, epochs=4)
    generator = Seed(0).generator()
    drawn = [draw_segment(trajectories, epochs=2, starts=3, generator=generator) for _ in range(300)]
    counts = {(e, t): sum((d.expert, d.epoch) == (e, t) for d in drawn) for e in range(2) for t in range(3)}
    assert sum(counts.values()) == 300  # no other segment was drawn
    assert max(abs(count - 50) for count in counts.values()) < 4 * math.sqrt(50)
    for segment in drawn[:10]:
        assert torch.equal(segment.start, trajectories[segment.expert].snapshot(segment.epoch))
        assert torch.equal(segment.target, trajectories[segment.expert].snapshot(segment.epoch + 2))


def test_start_epochs_as_mtt_draws_and_as_the_paper_writes():
    assert [start_epochs(5, inclusive=inclusive) for inclusive in (False, True)] == [5, 6]
    assert start_epochs(0, inclusive=True) == 1
    with pytest.raises(ConfigError, match="max_start_epoch 0: no start epoch is left; expected at least 1"):
        start_epochs(0, inclusive=False)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"count": 0}, ConfigError, r"experts\.count 0: expected at least 1 expert"),
        ({"lr": -1.0}, ConfigError, "learning rate -1.0"),
        ({"momentum": 1.0}, ConfigError, "momentum 1.0"),
        ({"batch_size": 0}, ConfigError, "batch size 0"),
        ({"augment": "colour"}, UnknownName, "unknown augmentation 'colour': did you mean color"),
    ],
)
def test_settings_outside_their_range_are_one_line(changes, error, message):
    with pytest.raises(error, match=message):
        ExpertConfig(**changes)


def test_a_loaded_snapshot_is_the_network_of_that_epoch(data):
    (trajectory,) = experts(data, epochs=2, count=1)
    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(9))
    FlatNetwork(network).load(trajectory.snapshot(2))
    assert accuracy(network, data.validation) == trajectory.records[1].validation
