"""Other people's files, written without our exporters, so that the importers are tested on their own."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file

from satm.rng import Seed

K, SIDE = 10, 8  # CIFAR-10's classes; as small as the field's ConvNet takes


def normal(*shape: int) -> torch.Tensor:
    """float32 N(0, 1), as normalised images are."""
    return torch.randn(shape, generator=Seed(0).child("foreign", *shape).generator())


IMAGES = normal(K, 3, SIDE, SIDE)
LABELS = torch.arange(K)
PIXELS = torch.randint(0, 256, (K, 3, SIDE, SIDE), generator=Seed(1).generator(), dtype=torch.uint8)
PROBABILITIES = normal(K, K).softmax(1)
LOGITS = 3 * normal(K, K)
TARGETS = torch.eye(K) - 1 / K  # what KIP regresses on


def mtt(folder: Path, images: Any = IMAGES, labels: Any = LABELS, step_size: Any = None) -> Path:
    torch.save(images, folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    return folder


def datm(folder: Path, images: Any = IMAGES, labels: Any = LOGITS, step_size: Any = 0.02) -> Path:
    torch.save(torch.tensor(step_size) if type(step_size) is float else step_size, folder / "lr_best.pt")
    return mtt(folder, images, labels)


def dc(folder: Path, images: Any = IMAGES, labels: Any = LABELS, step_size: Any = None) -> Path:
    accuracies = {"ConvNet": [np.float64(0.25), np.float64(0.5)]}
    torch.save({"data": [[images, labels]], "accs_all_exps": accuracies}, folder / "res_DC_CIFAR10_ConvNet_1ipc.pt")
    return folder


def kip(folder: Path, images: Any = IMAGES, labels: Any = TARGETS, step_size: Any = None) -> Path:
    arrays = {"images": array(images), "labels": array(labels)}
    if arrays["images"].ndim == 4:
        arrays["images"] = arrays["images"].transpose(0, 2, 3, 1)
    np.savez(folder / "kip_cifar10.npz", **arrays)
    return folder


def dd_ranking(folder: Path, images: Any = IMAGES, labels: Any = LABELS, step_size: Any = 0.02) -> Path:
    torch.save(images, folder / "images.pt")
    torch.save(labels, folder / "labels.pt")
    torch.save(step_size, folder / "lr.pt")
    return folder


def imagefolder(folder: Path, images: Any = PIXELS, labels: Any = LABELS, step_size: Any = None) -> Path:
    for row, image in enumerate(pictures(images)):
        label = int(labels[row]) if hard(labels) and row < len(labels) else row
        place = folder / f"{label:05d}"[:60]
        place.mkdir(exist_ok=True)
        (place / f"{row}.png").write_bytes(image)
    return folder


def rded(folder: Path, images: Any = PIXELS, labels: Any = PROBABILITIES, step_size: Any = None) -> Path:
    torch.save(labels, folder / "soft_labels.pt")
    return imagefolder(folder, images)


def parquet(folder: Path, images: Any = PIXELS, labels: Any = LABELS, step_size: Any = None) -> Path:
    rows = [{"bytes": image, "path": None} for image in pictures(images)]
    columns = {"img": pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))}
    values = array(labels)
    if values.ndim == 1 and values.dtype.kind in "iufb" and len(values) == len(rows):
        columns["label"] = pa.array(values)
    pq.write_table(pa.table(columns), folder / "train-00000-of-00001.parquet")
    return folder


def safetensors(folder: Path, images: Any = IMAGES, labels: Any = LABELS, step_size: Any = 0.02) -> Path:
    named = {"images": images, "labels": labels, "step_size": torch.tensor(step_size) if numeric(step_size) else None}
    tensors = {name: t.contiguous() for name, t in named.items() if plain(t)}
    save_file(tensors, folder / "set.safetensors")
    return folder


def idc(folder: Path, images: Any = IMAGES, labels: Any = LABELS, step_size: Any = None) -> Path:
    torch.save([images, labels], folder / "data.pt")
    return folder


WRITERS: dict[str, Callable[..., Path]] = {
    "mtt": mtt,
    "datm": datm,
    "dc": dc,
    "kip": kip,
    "rded": rded,
    "dd-ranking": dd_ranking,
    "imagefolder": imagefolder,
    "parquet": parquet,
    "safetensors": safetensors,
}


def hard(labels: Any) -> bool:
    return plain(labels) and labels.ndim == 1 and not labels.is_complex() and bool(torch.isfinite(labels).all())


def numeric(value: Any) -> bool:
    return isinstance(value, int | float | complex)


def plain(value: Any) -> bool:
    """Whether `value` is a tensor that can become an array."""
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        return False
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return False  # only torch.save can claim more than it holds; others would write it out
    return value.device.type == "cpu" and not value.requires_grad


def array(value: Any) -> np.ndarray:
    """`value` as a NumPy array; an array of objects or text if it is no tensor."""
    if not plain(value):
        return np.array([{"not": "a tensor"}], dtype=object) if value is None else np.array(["text"])
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def pictures(images: Any) -> list[bytes]:
    """PNG files of the images. An image that cannot become a PNG file becomes a text."""
    made = []
    for image in images if plain(images) and images.ndim == 4 else [None] * K:
        buffer = io.BytesIO()
        if image is None or not image.numel() or image.is_complex() or len(image) not in (1, 3, 4):
            made.append(b"no picture")
            continue
        pixels = image.double().nan_to_num(0).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(buffer, "PNG")
        made.append(buffer.getvalue())
    return made


def fresh(folder: Path) -> Path:
    """The same folder, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def metadata_of(file: Path) -> dict[str, Any]:
    """The description inside a safetensors file of ours."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        return json.loads(json.loads(opened.read(length))["__metadata__"]["satm"])


def with_metadata(file: Path, text: str) -> None:
    """Give a safetensors file another description; its tensors stay the same."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"satm": text}
    changed = json.dumps(header).encode()
    changed += b" " * (-len(changed) % 8)
    file.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
