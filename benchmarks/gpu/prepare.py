"""Makes the folder `.gpu/`, which is copied to a GPU machine without network access (docs/engine.md).

    python benchmarks/gpu/prepare.py /path/to/SATM_DATA

`.gpu/wheels` holds the Python packages that the GPU machine lacks. Avalanche is not included, because it needs wandb
and a dozen other packages. So class-incremental protocols cannot run on the GPU machine. `.gpu/data/cifar10` holds the
Parquet files of CIFAR-10. `.gpu/images.npz` holds the position of each image in these files, so that `local.py` can
read the images without pyarrow. `.gpu/home` becomes the `SATM_HOME` of the GPU machine. It holds no experts at first:
to use trained experts there, copy them into `.gpu/home/experts`.
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
SOURCES = ("higher==0.2.1",)  # published as source only, so the wheel is built on this machine
LIMIT = 64 * 2**20 - 3_000_000  # the largest size of the folder in bytes: 64 MiB minus 3 MB for the repository


def wheels(folder: Path) -> None:
    """Download or build the wheels of the packages that the GPU machine lacks."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"]
    for_device = ["--only-binary=:all:", "--python-version", "3.12"]
    subprocess.run([*pip, "download", "-q", "--no-deps", *for_device, "-d", str(folder), *WHEELS], check=True)
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), *SOURCES], check=True)


def images(source: Path, folder: Path) -> None:
    """Copy the Parquet files, and store the position of each image's bytes in its file."""
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
    """Make the folder and print its size. Exits with an error if the folder is too large."""
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
