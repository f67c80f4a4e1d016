"""What a file of `torch.save` says it holds, worked out before torch reads it and without believing it.

torch's weights-only reader runs no code of the file, but it calls any tensor class, rebuild function and bytearray with
sizes out of it, and takes the length of a storage on trust: a few hundred bytes become gigabytes of memory that nothing
was written to. Here the pickle is run first with stand-ins for the few callables that tensors need; each
checks its arguments against the bytes that are there.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from satm.errors import DataError
from satm.exchange.files import check_claim, not_empty, shown, unreadable

# Bytes of an element.
STORAGES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage"), 1),
    **dict.fromkeys(("ShortStorage", "HalfStorage", "BFloat16Storage"), 2),
    **dict.fromkeys(("IntStorage", "FloatStorage"), 4),
    **dict.fromkeys(("LongStorage", "DoubleStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
FLOATS = {"f4": 4, "f8": 8}
MAX_PICKLE = 4 * 2**20  # the tensors' bytes lie outside it
ZIP = b"PK\x03\x04"  # by these torch decides; zipfile looks at the end


def load_torch(path: Path, *, also: Iterable[Any] = ()) -> Any:
    """What `torch.save` wrote, weights-only: tensors and plain containers, and the callables in `also`.

    Raises DataError for a damaged file and for a pickle that asks for anything else, or for more memory than its
    tensors have bytes in the file; none of its code is run.
    """
    not_empty(path)
    try:
        content = _checked(path)
        with torch.serialization.safe_globals(list(also)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations while it reads old files
            return torch.load(content, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} is no file that torch.save wrote, or a damaged one ({shown(str(error), 60)}); copy or download it "
            "again"
        ) from error
    except Exception as error:  # zipfile's and torch's readers raise nearly anything on damaged bytes
        raise unreadable(path, error) from error


def _checked(path: Path) -> io.BytesIO:
    """The contents of `path` for `torch.load`, once nothing in them claims more than is there.

    What is loaded is what was checked: a zip archive is packed anew from the records that torch reads. Raises DataError
    for what is refused, and whatever `pickle` and `zipfile` raise on damaged bytes.
    """
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if zipped != zipfile.is_zipfile(path):
        raise DataError(f"{path} is a zip archive at one end only; refused; copy or download it again")
    return _archive(path) if zipped else _legacy(path)


def _archive(path: Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_claim(path, sum(member.file_size for member in members))
        root = members[0].filename.partition("/")[0] + "/"
        records = {each.filename.removeprefix(root): each for each in members if each.filename.startswith(root)}
        if "data.pkl" not in records:
            raise DataError(f"{path} is no file that torch.save wrote (it has no data.pkl); save its tensors with that")
        room = {
            name.removeprefix("data/"): each.file_size for name, each in records.items() if name.startswith("data/")
        }

        def storage(key: object, size: int) -> None:
            if room.get(str(key)) != size:
                raise DataError(f"{path} claims {size} bytes for tensor {shown(str(key), 20)}, which it does not hold")

        _run(io.BytesIO(archive.read(records["data.pkl"])), path, storage)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as clean:
            for name, member in records.items():
                if name in ("data.pkl", "byteorder", "version") or name.startswith("data/"):
                    clean.writestr("archive/" + name, archive.read(member))
    packed.seek(0)
    return packed


def _legacy(path: Path) -> io.BytesIO:
    """Before torch 1.6: pickles one after another (a number, a version, a system, the object, its storages' keys)."""
    content = io.BytesIO(path.read_bytes())
    claimed: dict[str, int] = {}

    def storage(key: object, size: int) -> None:
        if claimed.setdefault(str(key), size) != size or sum(claimed.values()) > path.stat().st_size:
            raise DataError(f"{path} claims {size} bytes for tensor {shown(str(key), 20)}, which it does not hold")

    for _ in range(4):
        _run(content, path, storage)
    keys = _run(content, path, storage)
    if sorted(map(str, keys)) != sorted(claimed):
        raise DataError(f"{path} names tensors that it does not hold; copy or download it again")
    for key in keys:
        size = claimed[str(key)]
        content.seek(8 + size, io.SEEK_CUR)  # a count of elements, then they
    if content.tell() > path.stat().st_size:
        raise DataError(f"{path} ends before its tensors do; copy or download it again")
    content.seek(0)
    return content


def _run(content: io.BytesIO, path: Path, storage: Callable[[object, int], None]) -> Any:
    """The next pickle of `content` with stand-ins for what it calls; raises DataError for anything else it calls."""
    start = content.tell()
    for opcode, argument, at in pickletools.genops(content):
        # A place in the memo is memory up to there.
        wanted = argument if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) else 0
        if max(wanted, (at or 0) - start) > MAX_PICKLE:
            raise DataError(f"{path} holds a pickle of over {MAX_PICKLE >> 20} MiB besides its tensors; refused")
    end = content.tell()
    found = _Reader(io.BytesIO(content.getbuffer()[start:end]), path, storage).load()
    content.seek(end)
    return found


class _Storage(NamedTuple):
    """Stands for a storage that is there; as a tuple it has no attributes that a pickle could set."""

    length: int


class _Float(NamedTuple):
    """Stands for a NumPy float type."""

    size: int

    def __setstate__(self, state: object) -> None:
        if state not in [(3, order, None, None, None, -1, -1, 0) for order in "<>="]:
            raise pickle.UnpicklingError("a NumPy type is not a plain float")


class _Reader(pickle.Unpickler):
    """Finds stand-ins by name, and nothing else."""

    def __init__(self, content: io.BytesIO, path: Path, storage: Callable[[object, int], None]) -> None:
        super().__init__(content, encoding="utf-8")  # as torch reads
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (found := _STAND_INS.get(f"{module}.{name}")) is not None:
            return found
        raise DataError(
            f"{self.path} holds more than tensors ({shown(f'{module}.{name}', 60)}, which could run code or take any "
            "memory); refused, nothing of it was run; save its tensors alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        what, item, key, _, length, *view = pid
        counts = type(item) is int and type(length) is int and length >= 0
        if what != "storage" or not counts or view not in ([], [None]):
            raise pickle.UnpicklingError("not a storage")
        self.storage(key, item * length)
        return _Storage(length)


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> object:
    """`torch._utils._rebuild_tensor_v2`, which would let a storage grow to what the shape asks for."""
    if type(storage) is not _Storage or type(size) is not tuple or type(stride) is not tuple:
        raise pickle.UnpicklingError("a tensor is not made of a storage")
    if any(type(each) is not int or each < 0 for each in (offset, *size, *stride)):
        raise pickle.UnpicklingError("a shape is not made of counts")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if prod(size) and last >= storage.length:
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return object()


def _parameter(data: object, *_: object) -> object:
    return object()


def _dtype(name: str, *_: object) -> _Float:
    if name not in FLOATS:
        raise pickle.UnpicklingError("a NumPy type is not a plain float")
    return _Float(FLOATS[name])


def _scalar(kind: _Float, content: bytes) -> object:
    if type(kind) is not _Float or type(content) is not bytes or len(content) != kind.size:
        raise pickle.UnpicklingError("a NumPy number is not a float")
    return object()


def _encode(text: str, encoding: str) -> bytes:
    """How bytes are written by pickles that Python 2 can read."""
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
