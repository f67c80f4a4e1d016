"""Makes `.gpu/`, the folder that travels to a bare GPU machine: wheels, CIFAR-10 and a `SATM_HOME` (docs/engine.md).

    python benchmarks/gpu/prepare.py /path/to/SATM_DATA

`.gpu/wheels` holds the packages that the machine lacks. Avalanche is not among them, because it needs wandb and a dozen
others; so no class-incremental protocol runs there. `.gpu/data/cifar10` holds the Parquet files, and
`.gpu/images.npz` the place of each image in them, for a machine without pyarrow (`local.py`). `.gpu/home` is empty:
copy trained experts into `.gpu/home/experts`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent.parent / ".gpu"
WHEELS = ("sqlite-utils==4.2.1", "sqlite-fts4", "click-default-group", "platformdirs")
SOURCES = ("higher==0.2.1",)  # only an sdist is published: its wheel is built here
LIMIT = 64 * 2**20 - 3_000_000  # bytes that may travel, less those of the repository


def wheels(folder: Path) -> None:
    """Download or build the missing wheels."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"]
    for_device = ["--only-binary=:all:", "--python-version", "3.12"]
    subprocess.run([*pip, "download", "-q", "--no-deps", *for_device, "-d", str(folder), *WHEELS], check=True)
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), *SOURCES], check=True)


def images(source: Path, folder: Path) -> None:
    """Copy the Parquet files, and note where the bytes of each image lie in them."""
    import pyarrow.parquet as pq

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    places: dict[str, np.ndarray] = {}
    for file in sorted(source.glob("*.parquet")):
        shutil.copyfile(file, folder / file.name)
        table, raw = pq.read_table(file), file.read_bytes()
        part = file.name.partition("-")[0]
        found, end = [], 0
        for row in table.column(0).to_pylist():
            start = raw.find(row["bytes"], end)
            if start < 0:
                raise SystemExit(f"{file}: an image is not stored as plain bytes; expected an uncompressed file")
            end = start + len(row["bytes"])
            found.append((start, end))
        places[part] = np.array(found)
        places[f"{part}_labels"] = table.column(1).to_numpy()
    np.savez_compressed(FOLDER / "images.npz", **places)


def main() -> None:
    """Make the folder, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the data root that holds cifar10/*.parquet")
    data = parser.parse_args().data
    wheels(FOLDER / "wheels")
    images(data / "cifar10", FOLDER / "data" / "cifar10")
    (FOLDER / "home" / "experts").mkdir(parents=True, exist_ok=True)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {size / 1e6:.1f} MB of {LIMIT / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit("too large to travel: remove experts")


if __name__ == "__main__":
    main()
