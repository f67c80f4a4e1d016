"""Chooses the row of hyper-parameters that a data set takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from satm.data.catalogue import spec_of
from satm.errors import UnknownName
from satm.methods import METHODS
from satm.methods.trajectory.config import default_outer
from satm.presets._types import Numbers, Row
from satm.presets.numbers import NUMBERS

WHITENED = 0.25  # standard deviation of a whitened pixel: CIFAR-10's images have a norm of 13.6 (docs/choices.md)


def numbers_of(method: str, numbers: Mapping[str, Numbers] = NUMBERS) -> Numbers:
    """The numbers of a method. A plug-in's method has its own defaults, or SATM's rows if it matches trajectories."""
    return numbers[method] if method in numbers else Numbers(source=f"the defaults of {METHODS.owner(method)}")


def own_table(numbers: Mapping[str, Numbers], method: str) -> tuple[Row, ...]:
    """The method's own rows, or those of the first method that stands in for it if it has none."""
    own = numbers_of(method, numbers)
    return own.rows or numbers_of(own.stand_ins[0], numbers).rows


def all_rows(method: str = "satm", numbers: Mapping[str, Numbers] = NUMBERS) -> dict[str, Row]:
    """Every printed or chosen row that a method may take, by name, `cifar10/ipc10`. Raises UnknownName.

    A row of the method's own comes before one of the same name that stands in for it.
    """
    METHODS.get(method)
    own = numbers_of(method, numbers)
    tables = [own.rows, *(numbers_of(name, numbers).rows for name in own.stand_ins)]
    return {f"{row.dataset}/ipc{row.ipc}": row for table in reversed(tables) for row in table}


def choose_row(
    rows: dict[str, Row], dataset: str, ipc: int, *, image_size: int, named: str | None
) -> tuple[Row, tuple[str, ...]]:
    """The row for a request, and its departures from the request.

    It is the row called `named`, if given. Otherwise it is the data set's own row of the nearest IPC. If the data set
    has none, it is the nearest row of another data set. Raises UnknownName if there is no row called `named`.
    """
    if named is not None:
        if named not in rows:
            raise UnknownName("preset", named, rows)
        return rows[named], (*rows[named].departures, f"the numbers of {named}, as asked")
    own = [row for row in rows.values() if row.dataset == dataset]
    if own:
        row = min(own, key=lambda row: (abs(row.ipc - ipc), row.ipc))
        nearest = () if row.ipc == ipc else (f"no numbers for IPC {ipc}: those of IPC {row.ipc}",)
        return row, row.departures + nearest
    row = nearest_row([row for row in rows.values() if row.donor], ipc, image_size)
    return row, (*row.departures, f"no numbers for {dataset}: those of {row.dataset} IPC {row.ipc}")


def perturbation(method: str, row: Row) -> str:
    """The length of the perturbation of the method's own outer rule on a set of `row`: `r 0.02, ρ ≈ 0.88`.

    ‖φ‖ is estimated for real images, at which φ starts: a pixel of standard deviation 1 by mean/std, `WHITENED` by
    ZCA. Empty if the rule has no perturbation.
    """
    length = default_outer(METHODS.get(method).config).perturbation_length()
    known = spec_of(row.dataset)
    if length is None or known is None:
        return ""
    pixels = known.num_classes * row.ipc * known.channels * row.image_size**2
    return length.spell(math.sqrt(pixels) * (WHITENED if row.zca else 1.0)).replace("ρ ", "ρ ≈ ")


def nearest_row(rows: Sequence[Row], ipc: int, image_size: int) -> Row:
    """The row of the nearest image size. Ties go to the nearest IPC, then to the lower IPC."""
    return min(rows, key=lambda row: (abs(row.image_size - image_size), abs(row.ipc - ipc), row.ipc))
