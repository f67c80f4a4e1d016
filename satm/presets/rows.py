"""Chooses the row of hyper-parameters for a data set and an IPC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from satm.data.catalogue import spec_of
from satm.errors import UnknownName
from satm.methods import METHODS
from satm.methods.trajectory.config import default_outer
from satm.presets._types import Numbers, Row
from satm.presets.numbers import NUMBERS

# The standard deviation of a pixel after ZCA whitening: whitened images of CIFAR-10 have a norm of 13.6
# (docs/choices.md).
WHITENED = 0.25


def numbers_of(method: str, numbers: Mapping[str, Numbers] = NUMBERS) -> Numbers:
    """The printed numbers of `method`.

    For a method of a plug-in there are none, so the result is empty except for a source: the method uses its own
    defaults, or SATM's rows if it matches trajectories.
    """
    return numbers[method] if method in numbers else Numbers(source=f"the defaults of {METHODS.owner(method)}")


def own_table(numbers: Mapping[str, Numbers], method: str) -> tuple[Row, ...]:
    """The rows of the method itself. If it has none, the rows of the first method that lends it rows (`stand_ins`)."""
    own = numbers_of(method, numbers)
    return own.rows or numbers_of(own.stand_ins[0], numbers).rows


def all_rows(method: str = "satm", numbers: Mapping[str, Numbers] = NUMBERS) -> dict[str, Row]:
    """Every row that `method` may use, printed or chosen by us. The keys are names such as `cifar10/ipc10`.

    These are the rows of the method itself, and of the methods that lend it rows: the list `stand_ins` of its numbers.
    If two rows have the same name, the row of the method itself is used, then that of the earlier method of the list.
    Raises UnknownName for an unknown method.
    """
    METHODS.get(method)
    own = numbers_of(method, numbers)
    tables = [own.rows, *(numbers_of(name, numbers).rows for name in own.stand_ins)]
    return {f"{row.dataset}/ipc{row.ipc}": row for table in reversed(tables) for row in table}


def choose_row(
    rows: dict[str, Row], dataset: str, ipc: int, *, image_size: int, named: str | None
) -> tuple[Row, tuple[str, ...]]:
    """The row for a request, and the departures: how the row differs from its source and from the request.

    If `named` is given, it is the row with this name. Otherwise it is the data set's own row with the nearest IPC. If
    the data set has no row, it is the nearest row of another data set. Raises UnknownName if no row is called `named`.
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
    """The length of the perturbation of the method's own outer rule, as text: `r 0.02, ρ ≈ 0.88`.

    r is relative to the norm ‖φ‖ of all images φ of a set made by `row`, and ρ = r·‖φ‖. The norm is estimated for real
    images, because φ starts at real images. The estimate takes each pixel as having the standard deviation 1 if the
    images are normalised by mean and std, and `WHITENED` if they are whitened by ZCA.

    The result is "" if the rule has no perturbation, or if the data set of the row is not in the catalogue.
    """
    length = default_outer(METHODS.get(method).config).perturbation_length()
    known = spec_of(row.dataset)
    if length is None or known is None:
        return ""
    pixels = known.num_classes * row.ipc * known.channels * row.image_size**2
    return length.spell(math.sqrt(pixels) * (WHITENED if row.zca else 1.0)).replace("ρ ", "ρ ≈ ")


def nearest_row(rows: Sequence[Row], ipc: int, image_size: int) -> Row:
    """The row with the nearest image size. If several are equally near: the nearest IPC, then the lower IPC."""
    return min(rows, key=lambda row: (abs(row.image_size - image_size), abs(row.ipc - ipc), row.ipc))
