"""The files `res_*.pt` of the project DatasetCondensation (DC, DSA, DM): several sets in one file.

A file holds {'data': [[images, labels], …], 'accs_all_exps': {architecture: [accuracy, …]}}. The accuracies are NumPy
scalars.
Source: docs/field.md, "Files people have" (main.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from satm.errors import ConfigError, DataError
from satm.exchange.base import LAYOUTS, Foreign, Layout, lost
from satm.exchange.files import existing, one_of
from satm.exchange.pickles import load_torch
from satm.exchange.tensors import as_images, as_labels
from satm.synthetic import SyntheticSet


def read_dc(path: Path, index: int | None = None) -> Foreign:
    """Read set `index` of the file `path`, or of the only `res_*.pt` in the folder `path`.

    `index` may be None if the file holds one set. Raises ConfigError with a list of the sets if `index` does not choose
    one of them. Raises DataError if the file cannot be read.
    """
    path = existing(path)
    file = one_of(path, "res_*.pt") if path.is_dir() else path
    content = load_torch(file, also=_numpy_scalars())
    sets = content.get("data") if isinstance(content, dict) else None
    if not isinstance(sets, list) or not sets or not all(isinstance(s, list | tuple) and len(s) == 2 for s in sets):
        raise DataError(f"{file} does not hold {{'data': [[images, labels], …]}}; is it of another format?")
    if index is None and len(sets) == 1:
        index = 0
    if index is None or not 0 <= index < len(sets):
        listing = ", ".join(f"{number}: {_shape(images)}" for number, (images, _) in enumerate(sets[:20]))
        raise ConfigError(f"{file.name} holds {len(sets)} sets ({listing}); choose one with --index")
    images, labels = sets[index]
    found = as_images(images, f"{file}, set {index}")
    notes = (f"set {index} of {len(sets)}: {', '.join(map(str, range(len(sets))))}",) if len(sets) > 1 else ()
    return Foreign(
        images=found, labels=as_labels(labels, f"{file}, set {index}", n=len(found)), files=(file,), notes=notes
    )


def _shape(images: Any) -> str:
    return "×".join(map(str, images.shape)) if isinstance(images, torch.Tensor) else type(images).__name__


def _numpy_scalars() -> list[Any]:
    """Return the callables that unpickling an np.float64 needs, under the module names of NumPy 1 and of NumPy 2.

    None of them runs code of the file.
    """
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32)]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]


def write_dc(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write a `res_*.pt` that holds only this set. Returns the facts that are lost, one line each."""
    pair = [synthetic.images.detach().cpu().clone(), synthetic.labels.detach().cpu().clone()]
    torch.save({"data": [pair], "accs_all_exps": {}}, path)
    return lost(synthetic, step_size=True, kind=True)


LAYOUTS.add(
    Layout(
        name="dc",
        summary="DC, DSA, DM: res_*.pt with several sets",
        read=read_dc,
        write=write_dc,
        suffix=".pt",
        space="meanstd",
        method="dc",
    )
)
