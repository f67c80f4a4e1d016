"""Compares two sets: their tensors by moments, their descriptions key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from satm.synthetic import SyntheticSet


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `a` or `b` is None if that set has no such value. If `b` describes both sets, `a` is None too."""

    what: str  # images.std, config.condense.settings.rho …
    a: Any
    b: Any


def differences(a: SyntheticSet, b: SyntheticSet) -> list[Difference]:
    """The differences of tensors, then of descriptions by dotted key, then of parents. Sets of equal ids have none."""
    return [*_tensors("images", a.images, b.images), *_labels(a, b), *_described(a, b)]


def _tensors(name: str, a: torch.Tensor, b: torch.Tensor) -> Iterator[Difference]:
    """The shape, type and moments that differ, and the largest difference; nothing if the bits are equal."""
    a, b = a.detach().cpu(), b.detach().cpu()
    if a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b):
        return
    facts = {"shape": lambda t: list(t.shape), "dtype": lambda t: str(t.dtype).removeprefix("torch.")} | {
        moment: lambda t, moment=moment: _moment(t, moment) for moment in ("mean", "std", "min", "max")
    }
    for fact, of in facts.items():
        if of(a) != of(b):
            yield Difference(f"{name}.{fact}", of(a), of(b))
    if a.shape == b.shape:
        unequal = (a.double() - b.double()).abs()
        count = f"{int((unequal > 0).sum())} of {a.numel()} values, by at most {float(unequal.max()):.3g}"
        yield Difference(f"{name}.differ_in", None, count)


def _moment(tensor: torch.Tensor, name: str) -> float:
    values = tensor.double()
    return float(values.std(correction=0) if name == "std" else getattr(values, name)())


def _labels(a: SyntheticSet, b: SyntheticSet) -> Iterator[Difference]:
    yield from _tensors("labels", a.labels, b.labels)
    if len(a.labels) == len(b.labels) and a.label_kind != b.label_kind:
        same = int((a.hard_labels.cpu() == b.hard_labels.cpu()).sum())
        yield Difference("labels.same_likeliest_class", None, f"{same} of {len(a.labels)} images")


def _described(a: SyntheticSet, b: SyntheticSet) -> Iterator[Difference]:
    left, right = dict(_flat(a.describe())), dict(_flat(b.describe()))
    for key in dict.fromkeys((*left, *right)):
        if left.get(key) != right.get(key):
            yield Difference(key, left.get(key), right.get(key))
    if a.parents != b.parents:
        yield Difference("parents", list(a.parents), list(b.parents))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
