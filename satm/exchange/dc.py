"""DatasetCondensation's `res_*.pt` (DC, DSA, DM): several sets in one file, with their accuracies as NumPy scalars.

A file holds {'data': [[images, labels], …], 'accs_all_exps': {architecture: [accuracy, …]}}.
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
    """Set `index` of the file `path`, or of the only `res_*.pt` in the folder `path`.

    Raises ConfigError, which names every set, if there are several and `index` does not choose one. Raises DataError if
    the file cannot be read.
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
    """The callables that unpickle an np.float64, by the module names of NumPy 1 and 2. None of them runs code."""
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
    """Write a `res_*.pt` with this one set."""
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
