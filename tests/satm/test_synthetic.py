"""The synthetic set: its description and its id."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satm.canonical import canonical_json, digest
from satm.errors import ShapeError
from satm.preprocessing import MeanStd
from satm.rng import Seed
from satm.synthetic import SyntheticSet, tensor_digest
from satm.training import SGDConfig, accuracy, fit
from tests.helpers import CLASSES, NORMALISED, normal

K, IPC, SHAPE = 3, 2, (1, 4, 4)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
jsons = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


def synthetic(**changes):
    settings = {
        "images": normal(K * IPC, *SHAPE, name="images").float(),
        "labels": torch.arange(K).repeat_interleave(IPC),
        "step_size": 0.02,
        "dataset": "bands",
        "classes": ("top", "middle", "bottom"),
        "ipc": IPC,
        "method": "satm",
        "preprocessing": NORMALISED,
        "profile": "smoke",
        "seed": 0,
        "config": {"rho": 0.01},
        "parents": ("data:0",),
    }
    return SyntheticSet(**settings | changes)


def probabilities():
    return normal(K * IPC, K, name="labels").float().softmax(1)


@given(jsons)
def test_canonical_json_is_one_text_for_one_value(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    if isinstance(value, dict):
        assert canonical_json(dict(reversed(value.items()))) == text
    assert digest(value) == digest(json.loads(text))


def test_not_a_number_has_no_digest():
    with pytest.raises(ValueError, match="JSON"):
        digest({"rho": float("nan")})


def test_the_digest_of_a_tensor_sees_values_shape_and_type_and_not_its_layout():
    tensor = normal(2, 6, name="tensor").float()
    others = [tensor.view(6, 2), tensor.double(), tensor + 1e-6, tensor.view(torch.int32), tensor[:1]]
    assert len({tensor_digest(each) for each in (tensor, *others)}) == 6
    assert tensor_digest(tensor.T.contiguous().T) == tensor_digest(tensor)
    assert tensor_digest(tensor.clone().requires_grad_()) == tensor_digest(tensor)


def test_the_id_changes_with_everything_but_the_name():
    base = synthetic()
    assert replace(base, images=base.images.clone(), name="bands/ipc2/satm@1").id == base.id
    changes = [
        {"images": base.images + 1e-6},
        {"labels": base.labels.flip(0)},
        {"labels": probabilities(), "label_kind": "probabilities"},
        {"labels": probabilities(), "label_kind": "logits"},
        {"step_size": 0.03},
        {"step_size": None},
        {"dataset": "other"},
        {"classes": ("top", "middle", "floor")},
        {"ipc": 1},
        {"method": "random"},
        {"preprocessing": MeanStd((0.5,), (0.3,))},
        {"profile": "cpu"},
        {"seed": 1},
        {"config": {"rho": 0.02}},
        {"parents": ()},
    ]
    assert len({base.id, *(synthetic(**change).id for change in changes)}) == len(changes) + 1


def test_items_and_batches_are_images_with_what_to_train_on():
    logits = normal(K * IPC, K, name="logits").float()
    for each, targets in [
        (synthetic(), torch.arange(K).repeat_interleave(IPC)),
        (synthetic(labels=probabilities(), label_kind="probabilities"), probabilities()),
        (synthetic(labels=logits, label_kind="logits"), logits.softmax(1)),
    ]:
        index = torch.tensor([4, 0])
        images, drawn = each.batch(index)
        assert torch.equal(images, each.images[index])
        torch.testing.assert_close(drawn, targets[index])
        image, target = each[4]
        assert torch.equal(image, each.images[4])
        torch.testing.assert_close(target, targets[4])
        assert torch.equal(each.hard_labels, torch.arange(K).repeat_interleave(IPC))
        part = replace(each, images=each.images[:4], labels=each.labels[:4])
        assert torch.equal(part.hard_labels, targets[:4] if targets.ndim == 1 else targets[:4].argmax(1))
        assert (len(each), each.image_shape) == (K * IPC, SHAPE)


@pytest.mark.parametrize("kind", ["hard", "probabilities", "logits"])
def test_a_network_can_be_trained_on_it(kind):
    classes = torch.arange(K).repeat_interleave(IPC)
    labels = classes if kind == "hard" else torch.eye(K)[classes] * (10 if kind == "logits" else 1)
    each = synthetic(labels=labels, label_kind=kind)
    with Seed(0).forked():
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, CLASSES))
    fit(network, each, SGDConfig(epochs=100, lr=0.5, batch_size=4), seed=Seed(0))
    assert accuracy(network, each) == 1


@given(st.sets(st.integers(0, K - 1)))
def test_the_images_of_some_classes_keep_labels_and_order(wanted):
    each = synthetic(labels=torch.tensor([2, 0, 1, 0, 2, 1]))
    chosen = each.of_classes(sorted(wanted))
    kept = [i for i, label in enumerate(each.labels.tolist()) if label in wanted]
    assert torch.equal(chosen.images, each.images[kept])
    assert torch.equal(chosen.labels, each.labels[kept])
    assert chosen.classes == each.classes


def test_its_transform_takes_real_images_into_its_space():
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    expected = (torch.tensor([0, 128 / 255, 1]) - 0.5) / 0.25
    torch.testing.assert_close(synthetic().transform(pixels).flatten(), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(6, 4, 4)}, r"images \(6, 4, 4\) and hard labels \(6,\): expected \[n, C, H, W\]"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"hard labels \(5,\): .* and \[6\]"),
        ({"label_kind": "probabilities"}, r"probabilities labels \(6,\): .* and \[6, 3\]"),
        ({"labels": torch.full((6,), 3)}, "labels reach from 3 to 3; classes: 3"),
        ({"labels": torch.full((6,), -1)}, "labels reach from -1 to -1; classes: 3"),
        ({"images": torch.full((6, *SHAPE), torch.inf)}, "images hold values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_one_line(changes, message):
    with pytest.raises(ShapeError, match=message):
        synthetic(**changes)
