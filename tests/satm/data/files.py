"""Tiny data sets on disk, in the layouts that people use."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets
from PIL import Image

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def picture(seed: int, size: tuple[int, int] = (6, 6), mode: str = "RGB") -> Image.Image:
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def png(side: int) -> bytes:
    """A picture that claims `side` pixels a side but holds almost none."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def write_parquet(
    path: Path,
    images: list[bytes | None],
    labels: Sequence[int | str | None] | None,
    *,
    label: str = "label",
    plain: bool = False,
    metadata: dict[str, str] | None = None,
) -> None:
    kind = pa.binary() if plain else pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = images if plain else [{"bytes": image, "path": None} for image in images]
    columns = {"id": pa.array(range(len(images))), "img": pa.array(rows, kind)}
    if labels is not None:
        columns[label] = pa.array(labels, None if "x" in labels else pa.int64())
    table = pa.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=3)


def parquet_set(folder: Path, *, per_class: int = 4, classes: int = 2, size: int = 6, test: str = "test") -> Path:
    """`classes` × `per_class` training images and one test image a class, with names a, b, …"""
    names = {"class_names": json.dumps([chr(97 + label) for label in range(classes)])}
    labels = [label for _ in range(per_class) for label in range(classes)]
    images = [encoded(picture(row, (size, size))) for row in range(len(labels))]
    write_parquet(folder / "train-00000-of-00001.parquet", images, labels, metadata=names)
    images = [encoded(picture(1000 + label, (size, size))) for label in range(classes)]
    write_parquet(folder / f"{test}-00000-of-00001.parquet", images, list(range(classes)), metadata=names)
    return folder


def image_folder(folder: Path, classes: list[str], *, per_class: int = 3, size: int = 6, test: str = "test") -> Path:
    for number, name in enumerate(classes):
        for part, count in (("train", per_class), (test, 1)):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for each in range(count):
                image = picture(100 * number + each + (50 if part == test else 0), (size, size))
                image.save(folder / part / name / f"{each}.png")
    return folder


def cifar10_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write CIFAR-10's own files with 20 images each, and give torchvision their MD5s. Returns the test images."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(name: str, value: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(value))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch() -> dict[str, object]:
        data = generator.integers(0, 256, (20, 3072), dtype=np.uint8)
        return {"data": data, "labels": [row % 10 for row in range(20)]}

    last = batch()
    train = [write(f"data_batch_{number}", batch()) for number in range(1, 6)]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [write("test_batch", last)])
    name, md5 = write("batches.meta", {"label_names": CIFAR10})
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return np.asarray(last["data"]).reshape(20, 3, 32, 32)
