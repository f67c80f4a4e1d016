"""Tests of every protocol: resumption to the same numbers, judging, soft labels, refusals."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from protocols.base import PROTOCOLS
from protocols.order import split_classes
from protocols.quiet import avalanche_stream
from protocols.result import StepResult
from protocols.run import Earlier
from satm.errors import ConfigError, DataError, Interrupted, UnknownName
from satm.examples import TensorExamples
from satm.rng import Seed
from tests.protocols.stage import (
    CLASSES,
    GROUPS,
    IPC,
    Labelled,
    Recorder,
    memory,
    networks,
    real_images,
    soft_memory,
    stream,
)

NAMES = PROTOCOLS.known()
WITH_MEMORY = [name for name in NAMES if PROTOCOLS.get(name).memory]
STREAMING = [name for name in NAMES if PROTOCOLS.get(name).builds_on]
CURVES = [name for name in NAMES if PROTOCOLS.get(name).judged == "every step"]


def test_the_protocols_by_name() -> None:
    wanted = "gdumb gdumb-original gdumb-avalanche idc replay der er-ace naive cumulative joint online-replay scr"
    assert set(NAMES) == set(wanted.split())
    with pytest.raises(UnknownName, match="did you mean er-ace"):
        PROTOCOLS.get("erace")
    online = {"online-replay", "scr"}
    assert {name for name in NAMES if not PROTOCOLS.get(name).memory} == {"naive", "cumulative", "joint", *online}
    assert {name for name in NAMES if PROTOCOLS.get(name).online} == online


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_is_learnt_and_judged_by_its_steps(name: str) -> None:
    result = stream(name)
    assert result.steps == GROUPS
    assert len(result.matrix) == (4 if name in CURVES else 1)
    assert 0 <= min(map(min, result.matrix)) <= max(map(max, result.matrix)) <= 1
    if name in CURVES:
        # The numbers mean something: the network knows the classes of the first step, and not those of the second.
        assert result.matrix[0][0] > 0.5 > result.matrix[0][1]
    sizes = [each.memory_size for each in result.judged]
    held, seen = [6, 12, 16, 20], [14, 24, 32, 43]
    others = {"naive": [0] * 4, "gdumb-original": held[-1:], "cumulative": seen, "joint": seen}
    assert sizes == ([20] * 4 if PROTOCOLS.get(name).online else others.get(name, held))
    assert result.scores()["final_accuracy"] == result.seen[-1]


def test_a_memory_remembers_what_fine_tuning_forgets() -> None:
    scores = {name: stream(name).scores() for name in ("naive", "replay", "cumulative")}
    finals = [scores[name]["final_accuracy"] for name in ("naive", "replay", "cumulative")]
    assert finals == sorted(set(finals))
    assert scores["naive"]["forgetting"] > scores["cumulative"]["forgetting"]


def test_joint_training_starts_every_step_from_a_fresh_network() -> None:
    warm, joint = stream("cumulative"), stream("joint")
    assert joint.judged[0] == warm.judged[0]
    assert joint.judged[1:] != warm.judged[1:]
    again = Recorder()
    # No state is saved or needed: no step builds on another.
    assert stream("joint", earlier=Earlier(steps=joint.judged[:2]), on_step=again.keep) == joint
    assert [result.step for result in again.kept] == [2, 3]
    assert again.state == {}


@pytest.mark.parametrize("name", ["gdumb", "gdumb-avalanche", "replay", "der", "er-ace"])
def test_a_fixed_buffer_holds_its_images_from_the_start(name: str) -> None:
    # Ten images and classes that arrive by 3, 3, 2, 2, two of each: the first step has only 6.
    recorder = Recorder()
    whole = stream(name, buffer=10, on_step=recorder.keep)
    assert [each.memory_size for each in whole.judged] == [6, 10, 10, 10]
    assert whole.judged[0] == stream(name).judged[0]
    halted = Recorder(after=2)
    with pytest.raises(Interrupted):
        stream(name, buffer=10, on_step=halted.keep, progress=halted)
    assert stream(name, buffer=10, earlier=Earlier(steps=tuple(halted.kept), state=halted.state)) == whole
    with pytest.raises(ConfigError, match="buffer 9: less than one image for each of 10 classes"):
        stream(name, buffer=9)


def test_the_replay_weight_is_the_share_of_the_memory() -> None:
    weights = {}
    for weight in (None, 0.0, 0.5):
        recorder = Recorder()
        stream("replay", settings={"replay_weight": weight}, on_step=recorder.keep)
        weights[weight] = recorder.state
    fine_tuned = Recorder()
    stream("naive", on_step=fine_tuned.keep)
    assert not torch.equal(*(weights[each]["network/classifier.weight"] for each in (None, 0.5)))
    # Without weight, the memory is in the batch and not in the loss: the network has no batch norm, so it is naive's.
    assert stream("replay", settings={"replay_weight": 0.0}).judged[0] == stream("replay").judged[0]


@pytest.mark.parametrize("name", NAMES)
def test_stopped_and_continued_gives_the_same_numbers(name: str) -> None:
    whole = stream(name)
    if name not in CURVES:
        continued = stream(name, earlier=Earlier(steps=whole.judged))
        assert continued == whole
        return
    recorder = Recorder(after=2)
    with pytest.raises(Interrupted):
        stream(name, on_step=recorder.keep, progress=recorder)
    assert [result.step for result in recorder.kept] == [0, 1]
    rest = Recorder()
    continued = stream(name, earlier=Earlier(steps=tuple(recorder.kept), state=recorder.state), on_step=rest.keep)
    assert continued == whole
    assert [result.step for result in rest.kept] == [2, 3]


@pytest.mark.parametrize("name", ["naive", "der", "online-replay"])
def test_without_its_state_a_stream_starts_over(name: str) -> None:
    recorder, again = Recorder(), Recorder()
    whole = stream(name, on_step=recorder.keep)
    assert stream(name, earlier=Earlier(steps=tuple(recorder.kept[:2])), on_step=again.keep) == whole
    assert [result.step for result in again.kept] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["replay", "gdumb-avalanche", "naive", "scr"])
def test_a_stop_in_the_middle_of_a_step_is_heard(name: str) -> None:
    class Impatient(Recorder):
        questions = 0

        def stopping(self) -> bool:
            self.questions += 1
            return self.questions > 3  # one before the step, the others between its batches

    recorder = Impatient()
    with pytest.raises(Interrupted):
        stream(name, on_step=recorder.keep, progress=recorder, networks=networks(progress=recorder))
    assert not recorder.kept


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_soft_labels_are_learnt_from(name: str) -> None:
    soft, hard = Recorder(), Recorder()
    stream(name, memory=soft_memory("probabilities"), on_step=soft.keep)
    stream(name, on_step=hard.keep)
    if name in STREAMING:  # compare weights: the real stream decides the accuracies, which may be equal
        assert soft.state.keys() == hard.state.keys()
        assert any(not torch.equal(soft.state[key], hard.state[key]) for key in soft.state)
    else:
        assert soft.kept != hard.kept


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_soft_labels_pass_through_avalanche_unrounded(kind: str) -> None:
    given, rows = soft_memory(kind), avalanche_stream()
    from protocols.memory import GivenMemory

    held = GivenMemory(rows.split(TensorExamples(given.images, given.targets), given.hard_labels, GROUPS))
    for step in range(len(GROUPS)):
        held.take(step)
    images, targets = held.examples().batch(torch.arange(len(given)))
    order = torch.cat([torch.isin(given.hard_labels, torch.tensor(group)).nonzero().flatten() for group in GROUPS])
    assert torch.equal(targets, given.targets[order])
    assert torch.equal(images, given.images[order])
    with pytest.raises(ConfigError, match="memory size 5"):
        held.resize(None, 5)


def test_another_seed_gives_other_numbers() -> None:
    assert stream("gdumb").judged != stream("gdumb", seed=Seed(6)).judged


def test_every_protocol_starts_at_the_same_network() -> None:
    assert len({stream(name).untrained for name in ("gdumb", "naive")}) == 1


@pytest.mark.parametrize("name", ["gdumb", "der"])
def test_global_random_streams_are_left_alone(name: str) -> None:
    before = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()  # noqa: NPY002
    stream(name)
    keys, position = np.random.get_state()[1:3]  # noqa: NPY002
    assert random.getstate() == before[0]
    assert np.array_equal(keys, before[1][0])
    assert position == before[1][1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_class_without_images_is_said_and_a_step_without_images_refused() -> None:
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    gone = GROUPS[0][0]
    labels[labels == gone] = GROUPS[0][1]
    recorder = Recorder()
    result = stream("gdumb", memory=memory(labels=labels), progress=recorder)
    assert recorder.said == [
        f"the memory holds no image of class 'class {gone}'; its test images count all the same",
    ]
    assert [each.memory_size for each in result.judged] == [6, 12, 16, 20]
    groups = split_classes((gone, *(k for k in range(CLASSES) if k != gone)), 10)
    with pytest.raises(DataError, match=r"step 1 of 10.*memory holds no image"):
        stream("gdumb", memory=memory(labels=labels), groups=groups, networks=networks(rates=(0.05,) * 10))


def test_images_that_do_not_fit_are_refused() -> None:
    test = real_images()
    kept = torch.isin(test.labels, torch.tensor(GROUPS[2]), invert=True)
    fewer = Labelled(test.images[kept], test.labels[kept])
    with pytest.raises(DataError, match=r"step 3 of 4.*no test image"):
        stream("gdumb", test=fewer)
    with pytest.raises(DataError, match=r"step 3 of 4.*no training image"):
        stream("naive", train=fewer)
    with pytest.raises(DataError, match="reach from 1 to 10; the networks have 10 classes"):
        stream("gdumb", test=Labelled(test.images, test.labels + 1))


@pytest.mark.parametrize("groups", [((0, 1), (2, 3)), (tuple(range(CLASSES)), (0,))])
def test_groups_that_drop_or_repeat_a_class_are_refused(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ConfigError, match="expected each of 0 to 9 once"):
        stream("gdumb", groups=groups)


def test_a_memory_where_none_belongs_and_none_where_one_does_are_refused() -> None:
    with pytest.raises(ConfigError, match="protocol naive keeps no memory"):
        stream("naive", memory=memory())
    with pytest.raises(ConfigError, match="protocol replay needs a memory"):
        stream("replay", memory=None)


def step(number: int = 0, *, steps: int = 4, size: int = 6) -> StepResult:
    zeros = (0.0,) * steps
    return StepResult(step=number, accuracies=zeros, seen=0.0, masked=0.0, masked_accuracies=zeros, memory_size=size)


@pytest.mark.parametrize(
    "done", [[step(1, size=12)], [step(steps=3)], [step(size=7)], [step(), step(2, size=16)], [step(4)]]
)
def test_steps_of_another_stream_are_refused(done: list[StepResult]) -> None:
    with pytest.raises(ConfigError, match="do not begin this stream of 4"):
        stream("gdumb", earlier=Earlier(steps=tuple(done)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("naive", {"epochs": 0}),
        ("naive", {"learning_rate": float("nan")}),
        ("replay", {"memory_batch_size": 0}),
        ("replay", {"replay_weight": 1.0}),
        ("der", {"alpha": -1.0}),
        ("der", {"batch_size": 0}),
    ],
)
def test_settings_outside_their_range_are_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        PROTOCOLS.get(name).config(**settings)


def test_the_smaller_scales_see_each_step_less_often() -> None:
    # The recipe has the epochs of idc, and an online protocol sees each image once.
    for name in sorted(each for each in STREAMING if each != "idc" and not PROTOCOLS.get(each).online):
        epochs = [PROTOCOLS.get(name).configured(scale).epochs for scale in ("paper", "cpu", "smoke")]
        assert epochs == [50, 5, 1]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_importing_the_protocols_does_not_import_avalanche() -> None:
    ran = run_python("import sys, protocols.run, protocols.base; sys.exit('avalanche' in sys.modules)")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_importing_avalanche_says_nothing_and_draws_nothing() -> None:
    ran = run_python(
        "import sys, random, numpy as np, torch, protocols.quiet as q\n"
        "state = lambda: (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())\n"
        "before = state(); q.avalanche_stream(); sys.exit(not ('avalanche' in sys.modules and before == state()))"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["gdumb", "gdumb-original", "joint", "replay", "der"])
def test_a_network_that_diverges_is_a_guess_and_the_stream_goes_on(name: str) -> None:
    recorder = Recorder()
    if name == "gdumb-original":
        result = stream(name, networks=networks(rates=(1e30,) * 4))
        assert [each.diverged for each in result.judged] == [True]
        assert result.scores()["final_accuracy"] == pytest.approx(1 / 10)
        return
    if name == "gdumb":
        result = stream(name, networks=networks(rates=(0.1, 1e30, 0.1, 0.1)), on_step=recorder.keep, progress=recorder)
        assert [each.diverged for each in result.judged] == [False, True, False, False]
        assert result.judged[2:] == stream(name).judged[2:]  # the other networks are those of a stream without it
    else:
        result = stream(name, settings={"learning_rate": 1e30}, on_step=recorder.keep, progress=recorder)
        assert all(each.diverged for each in result.judged)
    assert result.seen[1] == pytest.approx(1 / 6)
    assert "the network of step 2 diverged; it counts as a guess, 16.7%" in recorder.said
    assert result.judged[0].diverged is (name != "gdumb")
