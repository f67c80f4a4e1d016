"""Opens Hub-style Parquet: `<split>-*.parquet` with a column of encoded images and a column of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from satm.data.encoded import TEST_NAMES, Encoded, EncodedSplit, Item
from satm.errors import DataError

LABEL_COLUMNS = ("label", "labels", "fine_label")


def open_parquet(folder: Path) -> Encoded | None:
    """The Parquet files of `folder` or `folder/data`; None if there are none.

    Class names come from the schema's metadata: JSON under `class_names`, or Hugging Face's `huggingface`. A split is
    skipped if all its labels are −1, which means unlabelled. Raises DataError if a split or shard is missing, a file is
    damaged, or the columns are not recognised.
    """
    files = sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))
    if not files:
        return None
    shards: dict[str, list[Path]] = {}
    for file in files:
        shards.setdefault(re.split(r"[-.]", file.name)[0], []).append(file)
    for several in shards.values():
        _check_complete(several)
    if "train" not in shards:
        raise DataError(f"{folder} holds {files[0].name} but no training images; add train-*.parquet")
    train = _open_split(shards["train"])
    for name in TEST_NAMES:
        if name in shards:
            test = _open_split(shards[name])
            if not (test.labels == -1).all():
                return Encoded(
                    where=str(folder),
                    train=train,
                    test=test,
                    classes=_class_names(shards["train"][0]),
                    files=(*shards["train"], *shards[name]),
                )
    raise DataError(f"{folder} holds train but no labelled test images; add test-*.parquet (or valid, validation, val)")


def _check_complete(files: list[Path]) -> None:
    """Raise DataError if a shard is missing. The Hub numbers shards `-00000-of-00003`."""
    counts = [int(found[1]) for file in files if (found := re.search(r"-of-(\d+)\.parquet$", file.name))]
    if counts and len(files) != counts[0]:
        raise DataError(f"{files[0].parent} holds {len(files)} of {counts[0]} files like {files[0].name}; add the rest")


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(file, error) from error


def _corrupt(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as Parquet ({str(error).splitlines()[0]}); copy or download it again")


def _open_split(files: list[Path]) -> EncodedSplit:
    import pyarrow as pa

    labels = []
    for file in files:
        with _open(file) as parquet:
            column = _label_column(parquet.schema_arrow, file)
            try:
                values = parquet.read(columns=[column]).column(column)
            except (pa.ArrowException, OSError) as error:
                raise _corrupt(file, error) from error
        if values.null_count:
            raise DataError(f"{file}: {values.null_count} rows have no {column}; remove them")
        labels.append(torch.tensor(values.to_numpy(), dtype=torch.int64))
    joined = torch.cat(labels)
    if not len(joined):
        raise DataError(f"{files[0]} holds no rows; copy or download it again")
    return EncodedSplit(labels=joined, rows=torch.arange(len(joined)), read=lambda rows: _read(files, rows))


def _label_column(schema: Any, file: Path) -> str:
    import pyarrow as pa

    for name in LABEL_COLUMNS:
        if name in schema.names:
            if not pa.types.is_integer(schema.field(name).type):
                raise DataError(f"{file}: column {name} is {schema.field(name).type}; expected integer class labels")
            return name
    raise DataError(
        f"{file} has columns {', '.join(schema.names)}; expected a label column: {', '.join(LABEL_COLUMNS)}"
    )


def _image_column(schema: Any, file: Path) -> str:
    import pyarrow as pa

    for field in schema:
        nested = pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        if _is_binary(field.type.field("bytes").type if nested else field.type):
            return str(field.name)
    raise DataError(f"{file} has columns {', '.join(schema.names)}; expected one of encoded image bytes")


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read(files: list[Path], rows: torch.Tensor) -> Iterator[Item]:
    """The images at `rows`. Only one row group is in RAM at a time."""
    import pyarrow as pa

    start = 0
    for file in files:
        with _open(file) as parquet:
            column = _image_column(parquet.schema_arrow, file)
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


def _class_names(file: Path) -> tuple[str, ...] | None:
    with _open(file) as parquet:
        schema = parquet.schema_arrow
    metadata = schema.metadata or {}
    try:
        if b"class_names" in metadata:
            return tuple(str(name) for name in json.loads(metadata[b"class_names"]))
        if b"huggingface" in metadata:
            feature = json.loads(metadata[b"huggingface"])["info"]["features"][_label_column(schema, file)]
            return tuple(str(name) for name in feature["names"]) if "names" in feature else None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: the class names in its metadata cannot be read ({error!r})") from error
    return None
