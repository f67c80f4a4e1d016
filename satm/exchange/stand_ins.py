"""Runs a pickle of tensors with harmless stand-ins for the functions and classes that it calls.

Each stand-in checks its arguments, and takes no memory for a tensor. A pickle that calls anything else is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from satm.errors import DataError
from satm.exchange.files import shown

# The types of torch's storages, with the number of bytes of one element.
STORAGES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage"), 1),
    **dict.fromkeys(("ShortStorage", "HalfStorage", "BFloat16Storage"), 2),
    **dict.fromkeys(("IntStorage", "FloatStorage"), 4),
    **dict.fromkeys(("LongStorage", "DoubleStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
FLOATS = {"f4": 4, "f8": 8}  # the NumPy types that are allowed, with their number of bytes
MAX_PICKLE = 4 * 2**20  # bytes; the values of the tensors are not inside the pickle


def run_pickle(content: io.BytesIO, path: Path, storage: Callable[[object, int], None]) -> Any:
    """Run the next pickle of `content` with the stand-ins and return the object that it makes.

    `storage(key, size)` is called for each storage. It must raise DataError if the file does not hold `size` bytes
    under `key`. Raises DataError if the pickle is too large, or calls a function that has no stand-in.
    """
    start = content.tell()
    for opcode, argument, at in pickletools.genops(content):
        # An unpickler keeps objects in an array, the memo. To use a high place there takes memory for all lower places.
        wanted = argument if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) else 0
        if max(wanted, (at or 0) - start) > MAX_PICKLE:
            raise DataError(f"{path} holds a pickle of over {MAX_PICKLE >> 20} MiB besides its tensors; refused")
    end = content.tell()
    found = _Reader(io.BytesIO(content.getbuffer()[start:end]), path, storage).load()
    content.seek(end)
    return found


class _Storage(NamedTuple):
    """Stands for a storage that the file holds. It is a tuple, so that a pickle cannot set its attributes."""

    length: int  # the number of elements


class _Float(NamedTuple):
    """Stands for a NumPy float type."""

    size: int  # in bytes

    def __setstate__(self, state: object) -> None:
        if state not in [(3, order, None, None, None, -1, -1, 0) for order in "<>="]:
            raise pickle.UnpicklingError("a NumPy type is not a plain float")


class _Reader(pickle.Unpickler):
    """An unpickler that finds only the stand-ins: any other name in the pickle raises DataError."""

    def __init__(self, content: io.BytesIO, path: Path, storage: Callable[[object, int], None]) -> None:
        super().__init__(content, encoding="utf-8")  # the encoding with which torch reads pickles
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (found := _STAND_INS.get(f"{module}.{name}")) is not None:
            return found
        raise DataError(
            f"{self.path} holds more than tensors ({shown(f'{module}.{name}', 60)}, which could run code or take any "
            "memory); refused, nothing of it was run; save only its tensors"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        what, item, key, _, length, *view = pid
        counts = type(item) is int and type(length) is int and length >= 0
        if what != "storage" or not counts or view not in ([], [None]):
            raise pickle.UnpicklingError("not a storage")
        self.storage(key, item * length)
        return _Storage(length)


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> object:
    """Stands for `torch._utils._rebuild_tensor_v2`.

    torch's function would enlarge the storage to the size that the shape claims. This one refuses such a shape.
    """
    if type(storage) is not _Storage or type(size) is not tuple or type(stride) is not tuple:
        raise pickle.UnpicklingError("a tensor is not made of a storage")
    if any(type(each) is not int or each < 0 for each in (offset, *size, *stride)):
        raise pickle.UnpicklingError("a shape is not made of counts")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if prod(size) and last >= storage.length:
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return object()


def _parameter(data: object, *_: object) -> object:
    """Stands for `torch._utils._rebuild_parameter`. Its tensor has been checked by `_tensor` already."""
    return object()


def _dtype(name: str, *_: object) -> _Float:
    """Stands for `numpy.dtype`. Only float32 and float64 are allowed."""
    if name not in FLOATS:
        raise pickle.UnpicklingError("a NumPy type is not a plain float")
    return _Float(FLOATS[name])


def _scalar(kind: _Float, content: bytes) -> object:
    """Stands for NumPy's `scalar`, which makes a number from its bytes."""
    if type(kind) is not _Float or type(content) is not bytes or len(content) != kind.size:
        raise pickle.UnpicklingError("a NumPy number is not a float")
    return object()


def _encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`. Pickles in a protocol that Python 2 can read use it to store bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another encoding")
    return text.encode("latin1")


_STAND_INS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}
