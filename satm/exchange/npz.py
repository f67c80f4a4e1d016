"""Reads the arrays of an `.npz` file. It checks the sizes that the file claims before it takes RAM for them."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import torch

from satm.errors import DataError
from satm.exchange.files import check_claim, not_empty, unreadable


def load_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an `.npz` file by name.

    Raises DataError if the file is damaged or holds an array of Python objects.
    """
    import numpy as np

    not_empty(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_claim(path, sum(member.file_size for member in archive.infolist()))
            for member in archive.infolist():
                with archive.open(member) as opened:
                    _check_array(opened, member.file_size, path)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except DataError:
        raise
    except Exception as error:  # zip, zlib and NumPy's header parser each raise errors of their own
        raise unreadable(path, error) from error


def array_tensor(array: Any, path: Path) -> torch.Tensor:
    """Return a NumPy array of the file `path` as a tensor.

    Raises DataError for text, Python objects and other types that a tensor cannot hold.
    """
    import numpy as np

    try:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
    except (TypeError, ValueError) as error:  # text, objects, complex longdouble …
        raise unreadable(path, error) from error


def _check_array(opened: Any, size: int, path: Path) -> None:
    """Raise DataError if the header of an `.npy` file in the archive claims more bytes than this file has (`size`)."""
    import numpy as np

    version = np.lib.format.read_magic(opened)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(opened)
    if math.prod(shape) * dtype.itemsize > size:
        raise DataError(f"{path} holds an array that claims shape {list(shape)}, more than its bytes; refused")
