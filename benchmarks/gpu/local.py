"""Makes the data and the `SATM_HOME` of `.gpu/` usable on the machine they travelled to."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

KIT = Path(__file__).parent.parent.parent / ".gpu"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def places(scratch: Path) -> dict[str, str]:
    """The environment of a process that works in `scratch`: `SATM_DATA` and `SATM_HOME`, a copy of the kit's.

    Without pyarrow the images are unpacked to files. They then come in another order, so the data set has another
    fingerprint, and experts that travelled are not found.
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
