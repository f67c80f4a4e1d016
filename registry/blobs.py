"""Packs the tensors of a set into blobs, one blob for each class.

A blob is a byte string in the safetensors format. Its name is its sha256.
"""

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
    """Return one blob for each class that has images, in label order.

    A blob holds the images and labels of its class, and the positions of these images in the set.
    """
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
    """Return the images [n, C, H, W] and the labels of a whole set, bit for bit and in the order before `pack`."""
    import torch
    from safetensors.torch import load

    parts = [load(blob.data) for blob in blobs]
    order = torch.cat([part["positions"] for part in parts]).argsort()
    return torch.cat([part["images"] for part in parts])[order], torch.cat([part["labels"] for part in parts])[order]


def check(blob: BlobRow) -> None:
    """Raise RegistryError if the bytes of the blob do not have the sha256 that names them."""
    if not isinstance(blob.data, bytes) or hashlib.sha256(blob.data).hexdigest() != blob.sha256:
        raise RegistryError(f"blob {blob.sha256[:12]} is damaged; restore a copy of the registry")
