"""Compares the numbers of a real run with those of Avalanche's own evaluation loop and metric plugins."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.base import PROTOCOLS, StreamContext
from protocols.metrics import backward_transfer, forward_transfer
from protocols.quiet import avalanche_stream
from satm.examples import TensorExamples
from satm.rng import Seed
from tests.protocols.stage import GROUPS, STREAM, memory, networks, real_images, stream


@pytest.mark.parametrize("name", ["gdumb", "replay", "naive"])
def test_accuracies_and_transfer_are_avalanches(name: str) -> None:
    ours = stream(name)
    protocol, given, test, train = PROTOCOLS.get(name), memory(), real_images(), real_images("train", 0.3)
    pieces = avalanche_stream()
    from avalanche.evaluation.metrics import accuracy_metrics, bwt_metrics, forgetting_metrics, forward_transfer_metrics

    images = TensorExamples(given.images, given.targets)
    source, classes = (images, given.labels) if protocol.reads == "memory" else (train, train.labels)
    benchmark = pieces.incremental(*(pieces.split(*each, GROUPS) for each in ((source, classes), (test, test.labels))))
    arriving = tuple(pieces.split(images, given.labels, GROUPS)) if protocol.memory else ()
    context = StreamContext(networks=networks(), seed=Seed(5), arriving=arriving)
    settings = {} if protocol.reads == "memory" else STREAM
    learner: Any = protocol.begin(context, protocol.config(**settings))
    strategy = learner if name == "gdumb" else learner.strategy
    strategy.evaluator.metrics.extend(accuracy_metrics(experience=True, stream=True))
    strategy.evaluator.metrics.extend(bwt_metrics(stream=True) + forgetting_metrics(stream=True))
    strategy.evaluator.metrics.extend(forward_transfer_metrics(stream=True))
    strategy.eval_every = 0  # the metric of forward transfer needs this; we call the evaluations
    if name == "gdumb":
        strategy.model = context.start
    before = strategy.eval(benchmark.test_stream)
    assert [before[_key(j)] for j in range(len(GROUPS))] == pytest.approx(ours.untrained, abs=1e-12)
    forward = []
    for step, experience in enumerate(benchmark.train_stream):
        with Seed(5).child("avalanche", step).forked():
            learner.learn(experience)
        found = strategy.eval(benchmark.test_stream)
        assert [found[_key(j)] for j in range(len(GROUPS))] == pytest.approx(ours.matrix[step], abs=1e-12)
        forward.append(found.get("StreamForwardTransfer/eval_phase/test_stream"))
    seen = strategy.eval(benchmark.test_stream[:])
    assert seen["Top1_Acc_Stream/eval_phase/test_stream"] == pytest.approx(ours.seen[-1], abs=1e-12)
    moved, transferred = backward_transfer(ours.matrix), forward_transfer(ours.matrix, ours.untrained)
    assert found["StreamBWT/eval_phase/test_stream"] == pytest.approx(moved, abs=1e-12)
    # Avalanche measures forgetting from the accuracy right after learning, not from the best.
    assert found["StreamForgetting/eval_phase/test_stream"] == pytest.approx(-moved, abs=1e-12)
    assert forward[-1] == pytest.approx(transferred, abs=1e-12)
    assert moved != 0 != transferred


def _key(step: int) -> str:
    return f"Top1_Acc_Exp/eval_phase/test_stream/Exp{step:03}"
