"""Finds the image column and the label column of a Parquet file, and reads labels and class names."""

from __future__ import annotations

import json
from typing import Any

from satm.errors import DataError

LABEL_COLUMNS = ("label", "labels", "fine_label")  # usual names of the label column; the first that exists is taken
_OTHER_LABELS = ("target", "class", "category")  # less usual names; taken only if the file has exactly one of them
_IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp")  # usual names of the image column


def image_column(schema: Any, where: str) -> str:
    """Return the name of the column that holds encoded images. `where` is the name of the file, for messages.

    Only two kinds of columns are considered: those of bytes, and those of structs with a field `bytes`. If Hugging
    Face's metadata declare some of these columns as images, the others are left out. If more than one column remains,
    the one with a usual name (`_IMAGE_COLUMNS`) is taken. Raises DataError if no column or more than one column fits.
    """
    held = [field.name for field in schema if _is_binary(_bytes_of(field.type))]
    declared = [name for name in held if _declared(schema, name) == "Image"] or held
    chosen = declared if len(declared) == 1 else [name for name in declared if name in _IMAGE_COLUMNS]
    if len(chosen) == 1:
        return str(chosen[0])
    if not held:
        raise DataError(f"{where} has columns {_spelled(schema.names)}; expected one of encoded image bytes")
    raise DataError(
        f"{where} has {len(declared)} columns that may be the image: {_spelled(declared)}; leave one, or call it image"
    )


def label_column(schema: Any, where: str) -> str:
    """Return the name of the column that holds the labels. `where` is the name of the file, for messages.

    The first name of `LABEL_COLUMNS` that exists is taken. If none exists, the column is taken that Hugging Face's
    metadata declare as class labels. If there is no such column either, the column with a name in `_OTHER_LABELS` is
    taken. Raises DataError if no column fits, or if two or more are declared or have a name in `_OTHER_LABELS`.
    """
    for name in LABEL_COLUMNS:
        if name in schema.names:
            return name
    declared = [name for name in schema.names if _declared(schema, name) == "ClassLabel"]
    chosen = declared or [name for name in schema.names if name in _OTHER_LABELS]
    if len(chosen) == 1:
        return str(chosen[0])
    found = f"may have its labels in {_spelled(chosen)}" if chosen else f"has columns {_spelled(schema.names)}"
    raise DataError(
        f"{where} {found}; expected one label column: {', '.join(LABEL_COLUMNS)}, {', '.join(_OTHER_LABELS)}"
    )


def class_names_of(schema: Any, column: str, where: str) -> tuple[str, ...] | None:
    """Return the names of the classes in label order, from the metadata of a Parquet file.

    The metadata hold the names as JSON under the key `class_names`, or under Hugging Face's key `huggingface`, where
    they belong to the label column `column`. Returns None if the metadata hold no class names. Raises DataError if the
    metadata are damaged.
    """
    metadata = schema.metadata or {}
    try:
        if b"class_names" in metadata:
            return tuple(str(name) for name in json.loads(metadata[b"class_names"]))
        if b"huggingface" in metadata:
            feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
            return tuple(str(name) for name in feature["names"]) if "names" in feature else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{where}: the class names in its metadata cannot be read ({error!r})") from error
    return None


def plain_labels(values: Any, column: str, where: str) -> list[int] | list[str]:
    """Return the `values` of the label column `column` as a list of whole numbers or of class names.

    Raises DataError if a value is missing, if a number is too large for a label, or if the column holds neither whole
    numbers (or truth values, which become 0 and 1) nor text.
    """
    import pyarrow as pa

    if values.null_count:
        raise DataError(f"{where}: {values.null_count} rows have no {column}; remove them")
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        numbers = [int(value) for value in values.to_pylist()]
        if numbers and max(map(abs, numbers)) >= 2**31:
            raise DataError(f"{where}: column {column} reaches {max(numbers, key=abs)}; expected class numbers")
        return numbers
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [str(value) for value in values.to_pylist()]
    raise DataError(f"{where}: column {column} is {values.type}; expected whole numbers or class names")


def order_of(names: set[str]) -> tuple[str, ...]:
    """Return the class names in label order: by number if all names are numbers, else in alphabetical order."""
    numbers = all(name.isascii() and name.isdigit() and len(name) < 10 for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else None))


def _spelled(names: list[str]) -> str:
    """Return the names of columns in one printable line, cut off after 200 characters."""
    line = ", ".join(map(str, names))
    return "".join(each if each.isprintable() else "?" for each in line)[:200]


def _bytes_of(kind: Any) -> Any:
    """Return `kind`, the Arrow type of a column. If it is a struct with a field `bytes`, return that field's type."""
    import pyarrow as pa

    nested = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return kind.field("bytes").type if nested else kind


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _declared(schema: Any, name: str) -> str | None:
    """Return the type that Hugging Face's metadata give for a column ("Image", "ClassLabel" …); None if they do not."""
    try:
        kind = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][name]["_type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None
