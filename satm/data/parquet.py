"""Opens data sets in Parquet files as the Hugging Face Hub has them: a column of encoded images and one of labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from satm.data.encoded import TEST_NAMES, Encoded, EncodedSplit, Item
from satm.data.parquet_columns import class_names_of, image_column, label_column, order_of, plain_labels
from satm.data.parquet_files import parquet_splits
from satm.errors import DataError


def open_parquet(folder: Path) -> Encoded | None:
    """Return the training and test images in the Parquet files of `folder`; None if there are no Parquet files.

    `satm.data.parquet_files` describes where the files are searched. Labels are whole numbers or class names. Class
    names are numbered in the order of the first training file's metadata. If the metadata have no names, the order is
    by number if all names are numbers, else alphabetical. The test split is the first of `TEST_NAMES` that exists and
    has labels (a split in which every label is −1 has none).

    Raises DataError if a split or one of its files is missing, if a file is damaged, or if its label column is not
    recognised or holds no usable labels. The images are not read here, so errors in them are raised later.
    """
    found = parquet_splits(folder)
    if found is None:
        return None
    splits, others = found
    if "train" not in splits:
        first = next(iter([file for files in splits.values() for file in files] or others))
        raise DataError(f"{folder} holds {first.name} but no training images; add train-*.parquet")
    train = _Part.read(splits["train"])
    for name in TEST_NAMES:
        if name in splits:
            test = _Part.read(splits[name])
            if set(test.labels) != {-1}:
                break
    else:
        raise DataError(
            f"{folder} holds train but no labelled test images; add test-*.parquet (or valid, validation, val)"
        )
    if len({type(label) for label in (*train.labels, *test.labels)}) > 1:
        raise DataError(f"{folder}: some files hold class names and some hold numbers; expected one kind in all")
    classes = train.classes()
    notes = (f"passed over in {folder}: {len(others)} Parquet files of no split ({others[0].name})",) if others else ()
    return Encoded(
        where=str(folder),
        train=train.split(classes),
        test=test.split(classes),
        classes=classes,
        files=(*train.files, *test.files),
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The files of one split (train or test), and their labels as the files store them."""

    files: list[Path]
    labels: list[int] | list[str]  # the label of each row of all files, as a number or as a class name
    declared: tuple[str, ...] | None  # the class names in the metadata of the first file; None if it has none

    @classmethod
    def read(cls, files: list[Path]) -> _Part:
        import pyarrow as pa

        labels: list[Any] = []
        declared = None
        for file in files:
            with _open(file) as parquet:
                column = label_column(parquet.schema_arrow, str(file))
                if file is files[0]:
                    declared = class_names_of(parquet.schema_arrow, column, str(file))
                try:
                    values = parquet.read(columns=[column]).column(column)
                except (pa.ArrowException, OSError) as error:
                    raise _corrupt(file, error) from error
            labels += plain_labels(values, column, str(file))
        if not labels:
            raise DataError(f"{files[0]} holds no rows; copy or download it again")
        return cls(files, labels, declared)

    def classes(self) -> tuple[str, ...] | None:
        """Return the class names in label order; None if neither the labels nor the metadata hold names."""
        named = {each for each in self.labels if isinstance(each, str)}
        if self.declared is not None or not named:
            return self.declared
        return order_of(named)

    def split(self, classes: tuple[str, ...] | None) -> EncodedSplit:
        label_of: dict[Any, int] = {name: label for label, name in enumerate(classes or ())}
        try:
            numbers = [each if isinstance(each, int) else label_of[each] for each in self.labels]
        except KeyError as error:
            raise DataError(
                f"{self.files[0]} has the class {error}, which the training images have not; remove its rows"
            ) from error
        labels = torch.tensor(numbers, dtype=torch.int64)
        return EncodedSplit(labels=labels, rows=torch.arange(len(labels)), read=lambda rows: _images(self.files, rows))


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(file, error) from error


def _corrupt(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as Parquet ({str(error).splitlines()[0]}); copy or download it again")


def _images(files: list[Path], rows: torch.Tensor) -> Iterator[Item]:
    """Yield the images at `rows` (ascending positions, counted over all `files`), each with a name for error messages.

    Only one row group (a block of rows of a Parquet file) is in RAM at a time. Raises DataError if a file is damaged,
    if its image column is not recognised, or if a row holds no image.
    """
    import pyarrow as pa

    start = 0
    for file in files:
        with _open(file) as parquet:
            column = image_column(parquet.schema_arrow, str(file))
            first = start
            for group in range(parquet.num_row_groups):
                stop = start + parquet.metadata.row_group(group).num_rows
                wanted = rows[(rows >= start) & (rows < stop)] - start
                if len(wanted):
                    try:
                        values = parquet.read_row_group(group, columns=[column]).column(column).combine_chunks()
                    except (pa.ArrowException, OSError) as error:
                        raise _corrupt(file, error) from error
                    if pa.types.is_struct(values.type):
                        values = values.field("bytes")
                    for row in wanted.tolist():
                        image = values[row].as_py()
                        if image is None:
                            raise DataError(f"{file}, row {start - first + row} holds no image bytes")
                        yield f"{file}, row {start - first + row}", image
                start = stop
