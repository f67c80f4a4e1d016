"""Prepares the data and the `SATM_HOME` from the folder `.gpu/` for use on the GPU machine.

`prepare.py` makes `.gpu/` on another machine, and it is then copied to the GPU machine.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

KIT = Path(__file__).parent.parent.parent / ".gpu"
# The class names of CIFAR-10, in the order of the class numbers.
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def places(scratch: Path) -> dict[str, str]:
    """The environment variables `SATM_DATA` and `SATM_HOME` for a process that works in the folder `scratch`.

    `SATM_HOME` is `scratch`/home, a copy of `.gpu/home`. `SATM_DATA` is left out if there are no data.

    Without pyarrow, the Parquet files cannot be read. Then the images are unpacked to one file for each image. In these
    files the images have another order, so the data set has another fingerprint. Experts belong to a fingerprint, so
    experts that were copied with `.gpu/` are not found then.
    """
    home = scratch / "home"
    if (KIT / "home").is_dir() and not home.exists():
        shutil.copytree(KIT / "home", home)
    home.mkdir(parents=True, exist_ok=True)
    data = KIT / "data" if find_spec("pyarrow") else scratch / "data"
    if data == scratch / "data" and not data.exists():
        _unpack(data / "cifar10")
    named = os.environ.get("SATM_DATA") if not data.is_dir() else str(data)
    return {"SATM_HOME": str(home), **({"SATM_DATA": named} if named else {})}


def _unpack(folder: Path) -> None:
    import numpy as np

    kept = np.load(KIT / "images.npz")
    for part in ("train", "test"):
        (file,) = (KIT / "data" / "cifar10").glob(f"{part}-*.parquet")
        raw = file.read_bytes()
        for name in LABELS:
            (folder / part / name).mkdir(parents=True)
        rows = zip(kept[part].tolist(), kept[f"{part}_labels"].tolist(), strict=True)
        for row, ((start, end), label) in enumerate(rows):
            (folder / part / LABELS[label] / f"{row:05d}.jpg").write_bytes(raw[start:end])
