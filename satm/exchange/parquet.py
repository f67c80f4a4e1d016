"""Parquet files as data hubs use them: encoded images, which a hub can show, and labels.

A file that this suite writes holds the exact tensors too.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from satm.data.parquet_columns import LABEL_COLUMNS, image_column
from satm.errors import DataError
from satm.exchange.about import KEY, from_text, to_text
from satm.exchange.base import LAYOUTS, Foreign, Layout
from satm.exchange.files import SMALL, check_claim, existing, inside, shown, unreadable
from satm.exchange.imagefolder import decoded, pictures
from satm.exchange.parquet_pages import unpacked_bytes
from satm.exchange.tensors import as_images, as_labels
from satm.parametrisation import PIXELS as SEEN
from satm.synthetic import SyntheticSet

PIXELS, SOFT = "tensor", "soft_label"  # columns of exact float32 values


def read_parquet(path: Path, index: int | None = None) -> Foreign:
    """Read a file of this suite, or any Parquet file with a column of encoded images and a column of integer labels.

    If `path` is a folder, its files `train*.parquet` are joined in the order of their names. If there are none, all its
    files `*.parquet` are joined. Raises DataError if a file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = existing(path)
    files = [path]
    if path.is_dir():
        found = sorted(path.glob("train*.parquet")) or sorted(path.glob("*.parquet"))
        files = [inside(each, path) for each in found]
        if not files:
            raise DataError(f"{path} holds no *.parquet; give the file or folder that does")
    try:
        tables = []
        for file in files:
            with pq.ParquetFile(file) as opened:
                if opened.metadata.num_rows > file.stat().st_size:  # a file of a few bytes can claim billions
                    raise DataError(f"{file} claims {opened.metadata.num_rows} rows, more than its bytes; refused")
                tables.append(_read(opened, file))
        table = pa.concat_tables(tables)
        return _from_table(table, files)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise unreadable(files[0], error) from error


def _read(opened: Any, file: Path) -> Any:
    """Return the table of an open ParquetFile. Raises DataError if it unpacks to more than `check_claim` allows.

    The sizes of the pages are read from the headers of the pages, because the sizes in the footer may be false. If a
    column has a dictionary, every row can repeat one long value, and no size in the file includes these repeats.
    Therefore the decoded bytes are counted too. Rows are decoded in small batches: even if every row of a batch is the
    longest value, the batch takes at most `SMALL` bytes.
    """
    import pyarrow as pa

    claimed = unpacked_bytes(opened.metadata, file)
    check_claim(file, claimed)
    batches, decoded_bytes = [], 0
    for batch in opened.iter_batches(batch_size=min(1024, max(1, SMALL // max(1, claimed)))):
        decoded_bytes += batch.nbytes
        check_claim(file, decoded_bytes)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=opened.schema_arrow)


def _from_table(table: Any, files: list[Path]) -> Foreign:
    where = str(files[0])
    if not table.num_rows:
        raise DataError(f"{where} holds no rows; copy or download it again")
    metadata = table.schema.metadata or {}
    if KEY.encode() in metadata and PIXELS in table.column_names:
        text = metadata[KEY.encode()]
        shape = json.loads(metadata[b"shape"]) if b"shape" in metadata else None
        if not isinstance(shape, list) or not all(type(side) is int and 0 < side < 2**20 for side in shape):
            raise DataError(f"{where}: its metadata give no shape of the images; export the set again")
        images = as_images(_matrix(table, PIXELS, where).view(-1, *shape), where)
        labels = _matrix(table, SOFT, where) if SOFT in table.column_names else _classes(table, where)
        labels = as_labels(labels, where, n=len(images))
        whole = from_text(text, images, labels, where)
        return Foreign(images=images, labels=labels, files=tuple(files), whole=whole)
    labels = as_labels(_classes(table, where), where, n=table.num_rows)
    encoded = _image_bytes(table, where)
    images, notes = decoded([(f"{where}, row {row}", image) for row, image in enumerate(encoded)])
    return Foreign(images=images, labels=labels, files=tuple(files), notes=notes)


def _matrix(table: Any, name: str, where: str) -> torch.Tensor:
    """Return a column of fixed-size lists of float32 as a tensor [rows, size]."""
    import pyarrow as pa

    column = table.column(name).combine_chunks()
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32() or column.null_count:
        raise DataError(
            f"{where}: column {name} is {shown(str(kind), 60)}; expected lists of float32 of one size, none missing"
        )
    values = column.flatten()
    if values.null_count:
        raise DataError(f"{where}: column {name} has missing values")
    return torch.tensor(values.to_numpy()).view(len(column), kind.list_size)


def _classes(table: Any, where: str) -> torch.Tensor:
    import pyarrow as pa

    name = next((each for each in LABEL_COLUMNS if each in table.column_names), None)
    if name is None:
        raise DataError(
            f"{where} has columns {', '.join(table.column_names)[:80]}; expected one of {', '.join(LABEL_COLUMNS)}"
        )
    column = table.column(name)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(
            f"{where}: column {name} is {shown(str(column.type), 60)}; expected a whole number in every row"
        )
    return torch.tensor(column.cast(pa.int64()).to_numpy())


def _image_bytes(table: Any, where: str) -> list[bytes]:
    import pyarrow as pa

    name = image_column(table.schema, where)
    values = table.column(name).combine_chunks()
    if pa.types.is_struct(values.type):
        values = values.field("bytes")
    if values.null_count:
        raise DataError(f"{where}: {values.null_count} rows of column {shown(name, 40)} hold no image")
    return list(values.to_pylist())


def write_parquet(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write one row for each image, and the description of the set as metadata.

    The columns are `image` (PNG; left out if the images cannot be PNG), `label`, `tensor` (the exact values) and, for
    soft labels, `soft_label`. Returns the facts that are lost, one line each.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    images, labels = synthetic.images.detach().cpu(), synthetic.labels.detach().cpu()
    columns: dict[str, Any] = {}
    features: dict[str, Any] = {}
    found: tuple[str, ...] = ()
    try:
        # A row is a stored image. Its PNG is what networks see, unless they see several images of it.
        shown = synthetic.decoded if synthetic.parametrisation.each == 1 else synthetic
        rows = [{"bytes": each, "path": None} for each in _pngs(pictures(shown)[0])]
        columns["image"] = pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        features["image"] = {"_type": "Image"}
    except DataError as error:
        found = (f"there is no PNG of each image beside the exact values: {error}",)
    columns["label"] = pa.array(synthetic.hard_labels.cpu().numpy())
    features["label"] = {"_type": "ClassLabel", "names": list(synthetic.classes)}
    columns[PIXELS] = _lists(images.flatten(1))
    if synthetic.label_kind != "hard":
        columns[SOFT] = _lists(labels)
    for name in (PIXELS, SOFT):
        if name in columns:
            size = columns[name].type.list_size
            features[name] = {"_type": "Sequence", "length": size, "feature": {"_type": "Value", "dtype": "float32"}}
    metadata = {
        KEY: to_text(synthetic),
        "shape": json.dumps(list(images.shape[1:])),
        "class_names": json.dumps(list(synthetic.classes)),
        "huggingface": json.dumps({"info": {"features": features}}),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    stored = synthetic.parametrisation
    if stored != SEEN:
        seen = "networks see what it decodes to" if stored.each == 1 else f"networks see {stored.each} of each"
        found = (*found, f"the exact values are those of each stored image; {seen} ({stored.spell()})")
    return found


def _lists(values: torch.Tensor) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values.contiguous().view(-1).numpy()), values.shape[1])


def _pngs(pixels: torch.Tensor) -> list[bytes]:
    from PIL import Image

    made = []
    for image in pixels:
        buffer = io.BytesIO()
        array = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(array.contiguous().numpy()).save(buffer, "PNG")
        made.append(buffer.getvalue())
    return made


LAYOUTS.add(
    Layout(
        name="parquet",
        summary="Hub-style Parquet; ours carries the whole set",
        read=read_parquet,
        write=write_parquet,
        suffix=".parquet",
        space="meanstd",
        keeps=lambda synthetic: True,
    )
)
