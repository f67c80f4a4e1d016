"""The part of the registry for predictions: the classes that networks predict for test images, and the true classes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from registry.results import Results
from satm.errors import RegistryError

if TYPE_CHECKING:
    import numpy as np

LARGEST = {1: 2**8, 2: 2**16}  # for each number of bytes of a stored class, the largest possible number of classes


class PredictionFilters(TypedDict, total=False):
    """Conditions for the predictions to return. A filter that is None or left out allows any value."""

    dataset: str | None
    method: str | None
    ipc: int | None
    protocol: str | None
    architecture: str | None
    memory: str | None
    set: str | None  # a reference, as for `Registry.find`
    recipe_id: str | None
    steps: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionRow:
    """The predictions of one network on n test images.

    The fields up to `step` mean the same as in `registry.records.ResultRow`.
    """

    set_id: str
    protocol: str
    architecture: str
    memory: str
    recipe_id: str
    steps: int = 1
    repeat: int
    step: int = 1
    test: str  # a hash of the test images and their classes; the same images in the same order have the same hash
    num_classes: int  # the number of classes K
    predicted: np.ndarray  # [n] unsigned integers, the predicted classes in 0..K − 1
    targets: np.ndarray  # [n] unsigned integers, the true classes
    run_id: str | None = None  # the run that made the predictions

    @property
    def accuracy(self) -> float:
        """The fraction of the test images that are classified correctly."""
        return float((self.predicted == self.targets).mean())


_KEY = ("set_id", "protocol", "architecture", "memory", "recipe_id", "steps", "repeat", "step", "test", "run_id")


class Predictions(Results):
    """The part of the registry that stores predictions."""

    def add_predictions(self, rows: Sequence[PredictionRow]) -> None:
        """Store predictions, compressed. Each uses one byte before compression, or two if there are over 256 classes.

        A new row replaces a stored row with the same values in the fields up to `step`. The true classes are stored
        once for all networks that were tested on the same images.

        Raises RegistryError if a row has different numbers of predictions and true classes, if a class is not in
        0..K − 1, or if there are more than 65,536 classes. Then nothing is stored.
        """
        packed = [(row, _pack(row, row.predicted), _pack(row, row.targets)) for row in rows]
        with self._writing() as db:
            for row, predicted, targets in packed:
                test = {"id": row.test, "num_classes": row.num_classes, "images": len(row.targets), "targets": targets}
                db["tests"].insert(test, ignore=True)
                db["predictions"].insert(
                    {name: getattr(row, name) for name in _KEY} | {"predicted": predicted}, replace=True
                )

    def predictions(self, **filters: Unpack[PredictionFilters]) -> list[PredictionRow]:
        """Return stored predictions with the true classes, ordered by the columns that identify them.

        If two rows have the same `test`, their networks were tested on the same images in the same order. So the
        predictions of the two rows can be compared image by image.
        """
        clause, values = self._wanted(filters)
        found = self._mappings(
            "SELECT predictions.*, tests.num_classes, tests.images, tests.targets FROM predictions "
            "JOIN (SELECT id AS set_id, dataset, method, ipc FROM sets) USING (set_id) "
            f"JOIN tests ON tests.id = predictions.test {clause} "
            "ORDER BY set_id, protocol, architecture, memory, recipe_id, steps, repeat, step",
            values,
        )
        return [
            PredictionRow(
                **{name: row[name] for name in _KEY},
                num_classes=row["num_classes"],
                predicted=_unpack(row, "predicted"),
                targets=_unpack(row, "targets"),
            )
            for row in found
        ]

    def test_images(self, set_id: str) -> dict[tuple[str, str, str, str], int]:
        """Return on how many test images the networks of a set were tested.

        The keys are (protocol, architecture, memory, recipe id). Networks without stored predictions are left out.
        """
        found = self._mappings(
            "SELECT DISTINCT protocol, architecture, memory, recipe_id, images FROM predictions "
            "JOIN tests ON tests.id = predictions.test WHERE set_id = ?",
            [set_id],
        )
        return {(row["protocol"], row["architecture"], row["memory"], row["recipe_id"]): row["images"] for row in found}


def images_digest(images: np.ndarray, targets: np.ndarray) -> str:
    """Return the id of test images [n, …] uint8 and their classes [n].

    The id is the sha256, as hex digits, of the shape and bytes of the images and the bytes of the classes.
    """
    found = hashlib.sha256(repr(images.shape).encode())
    found.update(images.tobytes())
    found.update(targets.astype("<i8").tobytes())
    return found.hexdigest()


def _itemsize(num_classes: int) -> int:
    size = next((size for size, most in LARGEST.items() if num_classes <= most), None)
    if size is None:
        raise RegistryError(f"predictions of {num_classes} classes cannot be stored: expected at most 65536 classes")
    return size


def _pack(row: PredictionRow, classes: np.ndarray) -> bytes:
    if len(row.predicted) != len(row.targets):
        raise RegistryError(
            f"{len(row.predicted)} predictions for {len(row.targets)} test images: expected one for each"
        )
    if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < row.num_classes:
        raise RegistryError(
            f"predictions of classes {int(classes.min())} to {int(classes.max())}: expected 0 to {row.num_classes - 1}"
        )
    return zlib.compress(classes.astype(f"<u{_itemsize(row.num_classes)}").tobytes(), 9)


def _unpack(row: Mapping[str, Any], column: str) -> np.ndarray:
    import numpy as np

    size = _itemsize(row["num_classes"])
    try:
        data = zlib.decompress(row[column])
    except zlib.error as error:
        raise RegistryError(f"stored predictions are damaged ({error}); restore a copy of the registry") from None
    if len(data) != size * row["images"]:
        raise RegistryError(f"stored predictions of {row['images']} images have {len(data)} bytes; restore a copy")
    return np.frombuffer(data, dtype=f"<u{size}")
