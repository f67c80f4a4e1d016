"""GDumb on Avalanche, with ten easily told classes of 8×8 images and a linear network in float64."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from protocols.gdumb import _avalanche, gdumb
from protocols.metrics import backward_transfer
from protocols.order import class_order, split_classes
from protocols.result import StepResult
from satm.errors import ConfigError, DataError, Interrupted
from satm.preprocessing import MeanStd
from satm.progress import NoProgress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.training import SGDConfig, fit, predict
from satm.types import Examples

CLASSES, IPC, SHAPE = 10, 2, (1, 8, 8)
GROUPS = split_classes(class_order(CLASSES, Seed(1)), 4)  # 3, 3, 2, 2: the steps do not divide the classes


@dataclass(frozen=True)
class Labelled:
    """Test images with labels: what a split of real data looks like to the protocol."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]


def drawn(labels: torch.Tensor, name: str, noise: float) -> torch.Tensor:
    prototypes = torch.randn(CLASSES, *SHAPE, generator=Seed(7).generator(), dtype=torch.float64)
    wobble = torch.randn(len(labels), *SHAPE, generator=Seed(7).child(name).generator(), dtype=torch.float64)
    return prototypes[labels] + noise * wobble


def condensed(**changes: object) -> SyntheticSet:
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    facts = {
        "images": drawn(labels, "memory", 0.5),
        "labels": labels,
        "step_size": 0.05,
        "dataset": "toy",
        "classes": tuple(f"class {k}" for k in range(CLASSES)),
        "ipc": IPC,
        "method": "random",
        "preprocessing": MeanStd((0.5,), (0.5,)),
        "profile": "smoke",
        "seed": 0,
    }
    return SyntheticSet(**(facts | changes))  # type: ignore[arg-type]


def real_images() -> Labelled:
    # Class k has 3 + k % 4 images, so that a mean over classes or steps differs from one over images.
    labels = torch.cat([torch.full((3 + k % 4,), k) for k in range(CLASSES)])
    labels = labels[torch.randperm(len(labels), generator=Seed(2).generator())]
    return Labelled(drawn(labels, "test", 1.5), labels)


class Trainer:
    """The `train` a caller hands in; remembers what it was given and what it made."""

    def __init__(self) -> None:
        self.stored: list[Examples] = []
        self.seeds: list[Seed] = []
        self.networks: list[nn.Module] = []

    def __call__(self, examples: Examples, seed: Seed) -> nn.Module:
        with seed.child("init").forked():
            network = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES, dtype=torch.float64))
        fit(network, examples, SGDConfig(epochs=3, lr=0.05, batch_size=8), seed=seed)
        self.stored.append(examples)
        self.seeds.append(seed)
        self.networks.append(network)
        return network


def content(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    return examples.batch(torch.arange(len(examples)))


def test_the_memory_grows_by_each_steps_classes_and_trains_a_fresh_network() -> None:
    memory, trainer = condensed(), Trainer()
    result = gdumb(memory, real_images(), groups=GROUPS, train=trainer, seed=Seed(5), learning_rate=0.05)
    assert result.steps == GROUPS
    assert result.learning_rate == 0.05
    assert result.memory_sizes == (3 * IPC, 6 * IPC, 8 * IPC, 10 * IPC)
    for step, stored in enumerate(trainer.stored):
        arrived = [memory.of_classes(list(group)) for group in GROUPS[: step + 1]]
        images, targets = content(stored)
        assert torch.equal(images, torch.cat([part.images for part in arrived]))
        assert torch.equal(targets, torch.cat([part.labels for part in arrived]))
    assert trainer.seeds == [Seed(5).child("step", step) for step in range(4)]
    assert len(set(map(id, trainer.networks))) == 4


def test_the_matrix_is_what_each_steps_network_predicts() -> None:
    test, trainer = real_images(), Trainer()
    result = gdumb(condensed(), test, groups=GROUPS, train=trainer, seed=Seed(5))
    for step, network in enumerate(trainer.networks):
        right = predict(network, test).argmax(1) == test.labels
        for column, group in enumerate(GROUPS):
            chosen = right[torch.isin(test.labels, torch.tensor(group))]
            assert result.matrix[step][column] == pytest.approx(float(chosen.double().mean()), abs=1e-12)
        seen = torch.tensor([label for group in GROUPS[: step + 1] for label in group])
        chosen = right[torch.isin(test.labels, seen)]
        assert result.seen[step] == pytest.approx(float(chosen.double().mean()), abs=1e-12)
    # The numbers say something: classes seen are learnt, classes to come are not.
    assert result.seen[-1] > 0.5
    assert result.matrix[0][0] > 0.5 > result.matrix[0][1]


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_soft_labels_reach_the_training_unrounded(kind: str) -> None:
    hard = torch.arange(CLASSES).repeat_interleave(IPC)
    logits = 4 * nn.functional.one_hot(hard, CLASSES).double()
    logits += torch.randn(logits.shape, generator=Seed(3).generator(), dtype=torch.float64) / 4
    labels = logits if kind == "logits" else logits.softmax(1)
    trainer = Trainer()
    result = gdumb(condensed(labels=labels, label_kind=kind), real_images(), groups=GROUPS, train=trainer, seed=Seed(5))
    assert result.memory_sizes == (6, 12, 16, 20)
    order = torch.cat([(torch.isin(hard, torch.tensor(group))).nonzero().flatten() for group in GROUPS])
    assert torch.equal(content(trainer.stored[-1])[1], logits.softmax(1)[order])
    assert result.seen[-1] > 0.5


class Told(NoProgress):
    """Asks to stop once `after` steps were announced, and keeps what is said."""

    def __init__(self, after: int = 99) -> None:
        self.after, self.said, self.steps = after, [], 0

    def on_step(self, result: StepResult) -> None:
        self.steps += 1

    def say(self, message: str) -> None:
        self.said.append(message)

    def stopping(self) -> bool:
        return self.steps >= self.after


def test_stopped_and_continued_gives_the_same_numbers() -> None:
    whole = gdumb(condensed(), real_images(), groups=GROUPS, train=Trainer(), seed=Seed(5))
    kept: list[StepResult] = []
    told = Told(after=2)

    def keep(result: StepResult) -> None:
        kept.append(result)
        told.on_step(result)

    with pytest.raises(Interrupted, match="after step 2 of 4"):
        gdumb(condensed(), real_images(), groups=GROUPS, train=Trainer(), seed=Seed(5), on_step=keep, progress=told)
    assert [result.step for result in kept] == [0, 1]
    rest = Trainer()
    continued = gdumb(condensed(), real_images(), groups=GROUPS, train=rest, seed=Seed(5), done=kept)
    assert continued == whole
    assert [len(stored) for stored in rest.stored] == [16, 20]


def test_another_seed_gives_other_networks() -> None:
    first, second = Trainer(), Trainer()
    for trainer, root in ((first, 5), (second, 6)):
        gdumb(condensed(), real_images(), groups=GROUPS, train=trainer, seed=Seed(root))
    assert not torch.equal(first.networks[0][1].weight, second.networks[0][1].weight)


def test_global_random_streams_are_left_alone() -> None:
    before = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()  # noqa: NPY002
    gdumb(condensed(), real_images(), groups=GROUPS, train=Trainer(), seed=Seed(5))
    keys, position = np.random.get_state()[1:3]  # noqa: NPY002
    assert random.getstate() == before[0]
    assert np.array_equal(keys, before[1][0])
    assert position == before[1][1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_class_without_images_is_said_and_a_step_without_images_refused() -> None:
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    gone = GROUPS[0][0]
    labels[labels == gone] = GROUPS[0][1]
    told = Told()
    result = gdumb(condensed(labels=labels), real_images(), groups=GROUPS, train=Trainer(), seed=Seed(5), progress=told)
    assert told.said == [
        f"the memory holds no image of class 'class {gone}'; its test images count all the same",
    ]
    assert result.memory_sizes == (6, 12, 16, 20)
    with pytest.raises(DataError, match=r"step 1 of 10.*holds no image"):
        gdumb(
            condensed(labels=labels),
            real_images(),
            groups=split_classes((gone, *(k for k in range(CLASSES) if k != gone)), 10),
            train=Trainer(),
            seed=Seed(5),
        )


def test_test_images_that_do_not_fit_are_refused() -> None:
    test = real_images()
    kept = torch.isin(test.labels, torch.tensor(GROUPS[2]), invert=True)
    with pytest.raises(DataError, match=r"step 3 of 4.*no test image"):
        gdumb(
            condensed(),
            Labelled(test.images[kept], test.labels[kept]),
            groups=GROUPS,
            train=Trainer(),
            seed=Seed(5),
        )
    with pytest.raises(DataError, match="reach from 1 to 10; the memory was made for 10 classes"):
        gdumb(condensed(), Labelled(test.images, test.labels + 1), groups=GROUPS, train=Trainer(), seed=Seed(5))


@pytest.mark.parametrize("groups", [((0, 1), (2, 3)), (tuple(range(CLASSES)), (0,))])
def test_groups_that_drop_or_repeat_a_class_are_refused(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ConfigError, match="expected each of 0 to 9 once"):
        gdumb(condensed(), real_images(), groups=groups, train=Trainer(), seed=Seed(5))


@pytest.mark.parametrize(
    "done",
    [
        [StepResult(step=1, accuracies=(0.0,) * 4, seen=0.0, memory_size=12)],
        [StepResult(step=0, accuracies=(0.0,) * 3, seen=0.0, memory_size=6)],
        [StepResult(step=0, accuracies=(0.0,) * 4, seen=0.0, memory_size=7)],
        [StepResult(step=k, accuracies=(0.0,) * 4, seen=0.0, memory_size=6) for k in range(5)],
    ],
)
def test_steps_of_another_stream_are_refused(done: list[StepResult]) -> None:
    with pytest.raises(ConfigError, match="do not begin this stream of 4"):
        gdumb(condensed(), real_images(), groups=GROUPS, train=Trainer(), seed=Seed(5), done=done)


def test_the_benchmark_is_an_avalanche_stream_of_the_groups() -> None:
    stream, strategy = _avalanche()
    memory, test = condensed(), real_images()
    benchmark = stream.class_incremental(memory, memory.labels, test, test.labels, GROUPS)
    for groups_of in (benchmark.train_stream, benchmark.test_stream):
        assert [set(e.classes_in_this_experience) for e in groups_of] == [set(group) for group in GROUPS]
        assert [set(e.classes_seen_so_far) for e in groups_of][-1] == set(range(CLASSES))
    assert sum(len(experience.dataset) for experience in benchmark.test_stream) == len(test)
    learner = strategy.CondensedGDumb(memory_size=20, train_fresh=lambda step, stored: Trainer()(stored, Seed(step)))
    with pytest.raises(ConfigError, match="memory size 5"):
        learner.memory.resize(learner, 5)


def test_backward_transfer_is_avalanches() -> None:
    """Avalanche's own stream metric, recorded during the very same run."""
    stream, strategy = _avalanche()
    from avalanche.evaluation.metrics import bwt_metrics

    memory, test = condensed(), real_images()
    benchmark = stream.class_incremental(memory, memory.labels, test, test.labels, GROUPS)
    learner = strategy.CondensedGDumb(memory_size=20, train_fresh=lambda step, stored: Trainer()(stored, Seed(step)))
    learner.evaluator.metrics.extend(bwt_metrics(stream=True))
    rows = []
    with Seed(0).forked():
        for experience in benchmark.train_stream:
            learner.train(experience, eval_streams=[])
            rows.append(learner.accuracies(benchmark.test_stream))
    found = learner.evaluator.get_last_metrics()["StreamBWT/eval_phase/test_stream"]
    assert backward_transfer(rows) == pytest.approx(found, abs=1e-12)
    assert found != 0


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_importing_the_protocol_does_not_import_avalanche() -> None:
    ran = run_python("import sys, protocols.gdumb, protocols.order; sys.exit('avalanche' in sys.modules)")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_importing_avalanche_says_nothing_and_draws_nothing() -> None:
    ran = run_python(
        "import sys, random, numpy as np, torch, protocols.gdumb as g\n"
        "state = lambda: (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())\n"
        "before = state(); g._avalanche(); sys.exit(not ('avalanche' in sys.modules and before == state()))"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
