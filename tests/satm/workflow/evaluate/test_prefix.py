"""Prefixes: the first images of each class of a set, used as a smaller set. The method MDC trains sets for this."""

from __future__ import annotations

import pytest
import torch

import satm
from satm.errors import ConfigError, ShapeError
from satm.preprocessing import MeanStd
from satm.synthetic import SyntheticSet


def made(ipc=3, classes=2, n=None):
    count = ipc * classes if n is None else n
    return SyntheticSet(
        images=torch.arange(count * 4.0).view(count, 1, 2, 2),
        labels=torch.arange(classes).repeat_interleave(ipc)[:count],
        step_size=0.1,
        dataset="digits",
        classes=tuple("abcdef"[:classes]),
        ipc=ipc,
        method="mdc",
        preprocessing=MeanStd((0.5,), (0.25,)),
        profile="smoke",
        seed=0,
    )


def test_a_prefix_is_the_first_images_of_each_class():
    whole = made()
    for ipc in (1, 2, 3):
        cut = whole.prefix(ipc)
        rows = [label * 3 + j for label in range(2) for j in range(ipc)]
        assert torch.equal(cut.images, whole.images[rows])
        assert cut.labels.tolist() == [label for label in range(2) for _ in range(ipc)]
        assert (cut.ipc, cut.step_size) == (ipc, 0.1)
    assert whole.prefix(3).id == whole.id
    assert torch.equal(whole.prefix(2).prefix(1).images, whole.prefix(1).images)


@pytest.mark.parametrize("ipc", [0, 4])
def test_a_prefix_the_set_does_not_have_is_refused(ipc):
    with pytest.raises(ConfigError, match=f"prefix {ipc}: the set has 3 images a class; choose 1 to 3"):
        made().prefix(ipc)


def test_a_set_of_unequal_classes_has_no_prefix():
    with pytest.raises(ShapeError, match="no prefix"):
        made(n=5).prefix(1)


def test_a_condensed_set_is_evaluated_whole_and_cut_side_by_side(tmp_path):
    registry = tmp_path / "sets.db"
    settings = {"outer_steps": 2, "batch_real": 8, "architecture": "convnet3_w4"}
    preset = satm.choose_preset("digits", ipc=2, method="dm", profile="smoke", settings=settings)
    record = satm.condense(preset, registry=registry).record
    assert (record.method, record.step_size) == ("dm", None)
    for prefix in (None, 1):
        satm.evaluate(record.name, prefix=prefix, repeats=1, learning_rate=0.05, baseline="random", registry=registry)
    rows = satm.results(registry=registry, metric="accuracy")
    assert sorted(row.memory for row in rows) == ["condensed", "condensed[:1]", "random", "random[:1]"]
    assert all(row.n == 1 for row in rows)
    with pytest.raises(ConfigError, match="prefix 3: the set has 2"):
        satm.evaluate(record.name, prefix=3, registry=registry)
