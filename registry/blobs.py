"""Packs the tensors of a set into blobs: safetensors bytes named by their sha256, one blob a class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry.records import BlobRow
from satm.errors import RegistryError

if TYPE_CHECKING:
    from satm.synthetic import SyntheticSet
    from satm.types import Images, Labels


def pack(synthetic: SyntheticSet) -> list[BlobRow]:
    """One blob for each class that has images, in label order. A blob keeps the positions of its images in the set."""
    from safetensors.torch import save

    images, labels = synthetic.images.detach().cpu(), synthetic.labels.detach().cpu()
    classes = synthetic.hard_labels.cpu()
    blobs = []
    for label in sorted(set(classes.tolist())):
        positions = (classes == label).nonzero().flatten()
        rows = {"images": images[positions], "labels": labels[positions], "positions": positions}
        data = save({name: tensor.contiguous() for name, tensor in rows.items()})
        blobs.append(BlobRow(sha256=hashlib.sha256(data).hexdigest(), size=len(data), data=data))
    return blobs


def unpack(blobs: Sequence[BlobRow]) -> tuple[Images, Labels]:
    """Images [n, C, H, W] and labels of a whole set: the same bits in the same order as before `pack`."""
    import torch
    from safetensors.torch import load

    parts = [load(blob.data) for blob in blobs]
    order = torch.cat([part["positions"] for part in parts]).argsort()
    return torch.cat([part["images"] for part in parts])[order], torch.cat([part["labels"] for part in parts])[order]


def check(blob: BlobRow) -> None:
    """Raise RegistryError if the bytes of the blob do not have the sha256 that names them."""
    if not isinstance(blob.data, bytes) or hashlib.sha256(blob.data).hexdigest() != blob.sha256:
        raise RegistryError(f"blob {blob.sha256[:12]} is damaged; restore a copy of the registry")
