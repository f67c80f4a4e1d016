"""The orders in which classes arrive in a class-incremental stream, and their division into steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch

from satm.canonical import digest
from satm.errors import ConfigError
from satm.rng import Seed

ICARL = 1993
"""NumPy's seed for iCaRL's class order on CIFAR-100 (srebuffi/iCaRL, iCaRL-TheanoLasagne/main_cifar_100_theano.py)."""

LARGEST = 2**24  # bytes of a file with a class order


@dataclass(frozen=True, kw_only=True)
class ClassOrders:
    """Where class orders come from. `name` goes into results; "" is the suite's own, by seed."""

    name: str = ""
    seeds: bool = False  # whether order number n is NumPy's shuffle at seed n
    fixed: tuple[int, ...] | None = None  # the only order

    def order(self, number: int, num_classes: int, seed: Seed) -> tuple[int, ...]:
        """Order `number`, counted from 0: a permutation of 0..num_classes − 1. `seed` is for the suite's own."""
        if self.fixed is not None:
            return self.fixed
        return numpy_order(num_classes, number) if self.seeds else class_order(num_classes, seed)


def class_orders(kind: str | None, classes: Sequence[str]) -> ClassOrders:
    """The class orders that `kind` names, for a data set with these class names.

    None: by the suite's seed. `field`: NumPy's shuffles at seeds 0, 1, 2, …, as DM has them (CL_DM.py:59-62). `icarl`:
    one order, NumPy's shuffle at seed 1993, which on CIFAR-100 is iCaRL's. Otherwise a file with one order.

    Raises ConfigError as `read_order`.
    """
    if kind is None:
        return ClassOrders()
    if kind == "field":
        return ClassOrders(name="field", seeds=True)
    if kind == "icarl":
        return ClassOrders(name="icarl", fixed=numpy_order(len(classes), ICARL))
    order = read_order(Path(kind), classes)
    return ClassOrders(name=f"file {digest({'order': list(order)})[:8]}", fixed=order)


def class_order(num_classes: int, seed: Seed) -> tuple[int, ...]:
    """A permutation of 0..num_classes − 1 that depends only on `seed`: the suite's own.

    Other projects reseed NumPy's global stream for this (`numpy_order`), so at equal seeds their orders differ.
    """
    generator = seed.child("class order").generator()
    return tuple(torch.randperm(num_classes, generator=generator).tolist())


def numpy_order(num_classes: int, seed: int) -> tuple[int, ...]:
    """The permutation that `np.random.seed(seed); np.random.permutation(num_classes)` gives."""
    return tuple(np.random.RandomState(seed).permutation(num_classes).tolist())


def read_order(path: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """A class order from a file: a JSON list, or one class a line. A class is its name, or its number from 0.

    A name counts before a number, for data sets whose classes have numbers as their names.

    Raises ConfigError if there is no such file, or if it does not hold every class once.
    """
    try:
        # A device or pipe may never end, and a name may not be what the system takes.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError("it is a device or a pipe")
        if path.is_file() and path.stat().st_size > LARGEST:
            raise OSError(f"it has {path.stat().st_size:,} bytes, more than {LARGEST:,}")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"order '{path}': expected field, icarl or a file with one class a line ({error})") from error
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        found = None
    entries = found if isinstance(found, list) else [line.strip() for line in text.splitlines() if line.strip()]
    numbers = {name: label for label, name in reversed(list(enumerate(classes)))}
    numbers = {str(label): label for label in range(len(classes))} | numbers
    unknown = [str(entry) for entry in entries if str(entry) not in numbers]
    if unknown:
        raise ConfigError(
            f"order {path}: class '{unknown[0][:80]}' is not in the data set; expected numbers from 0 to "
            f"{len(classes) - 1} or names such as '{classes[0]}'"
        )
    order = tuple(numbers[str(entry)] for entry in entries)
    repeated = [classes[label] for label in order if order.count(label) > 1]
    if repeated:
        raise ConfigError(f"order {path}: class '{repeated[0]}' is there twice; name every class once")
    missing = [name for label, name in enumerate(classes) if label not in order]
    if missing:
        raise ConfigError(f"order {path}: {len(missing)} classes are missing, the first is '{missing[0]}'; name all")
    return order


def split_classes(order: Sequence[int], steps: int, base: int | None = None) -> tuple[tuple[int, ...], ...]:
    """`order` cut into `steps` consecutive groups: the first of `base` classes, the others of equal size.

    Without `base` the first is as the others. Equal sizes differ by at most one, and the larger ones come first. No
    class is dropped if the steps do not divide their number (Avalanche's own generator drops the remainder).

    Raises ConfigError if there are more steps than classes, no step, or a base that leaves too few classes.
    """
    count = len(order)
    if not 1 <= steps <= count:
        raise ConfigError(f"steps {steps}: expected 1 to {count}, as there are {count} classes")
    if base is None:
        sizes = _even(count, steps)
    elif steps == 1 or not 1 <= base <= count - (steps - 1):
        raise ConfigError(
            f"base {base} of {count} classes in {steps} steps: expected at least 2 steps, and a base of 1 to "
            f"{max(count - steps + 1, 1)} so that every later step has a class"
        )
    else:
        sizes = [base, *_even(count - base, steps - 1)]
    return tuple(tuple(order[start:stop]) for start, stop in pairwise([0, *accumulate(sizes)]))


def _even(count: int, parts: int) -> list[int]:
    """`parts` sizes with the sum `count`, equal to within one, the larger ones first."""
    size, larger = divmod(count, parts)
    return [size + (part < larger) for part in range(parts)]
