"""Folders in the style of RDED: images in `00000/`, `00001/` … by class number, and optionally a file of soft labels.

Source: LINs-lab/RDED, synthesize/main.py (folder and file names). RDED itself stores no labels, because it makes them
during training. Stored labels are in `soft_labels.pt` [n, K], one row for each image, ordered by class and file name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from satm.exchange.base import LAYOUTS, Foreign, Layout
from satm.exchange.files import existing, inside
from satm.exchange.imagefolder import read_imagefolder, write_pictures
from satm.exchange.pickles import load_torch
from satm.exchange.tensors import as_labels
from satm.home import make_folder
from satm.synthetic import SyntheticSet

SOFT_LABELS = ("soft_labels.pt", "labels.pt")  # the names that a file of soft labels may have; we write the first


def read_rded(path: Path, index: int | None = None) -> Foreign:
    """Read the images, and the soft labels if the folder has them. Raises DataError if a file cannot be read."""
    root = existing(path)
    found = read_imagefolder(root)
    for name in SOFT_LABELS:
        if (file := root / name).exists():
            labels = as_labels(load_torch(inside(file, root)), str(file), n=len(found.images))
            return replace(found, soft=labels, files=(*found.files, file))
    return replace(found, notes=(*found.notes, "no soft labels are stored: each image has its folder's class"))


def write_rded(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write PNG files into folders by class number, and `soft_labels.pt` if the set has soft labels.

    Returns the facts that are lost, one line each.
    """
    make_folder(path)
    numbers = [f"{label:05d}" for label in range(len(synthetic.classes))]
    found = write_pictures(synthetic, path, numbers, "class{0:05d}_id{1:05d}")
    if synthetic.label_kind != "hard":
        order = synthetic.hard_labels.cpu().argsort(stable=True)
        torch.save(synthetic.labels.detach().cpu()[order].clone(), path / SOFT_LABELS[0])
        found = (*found, f"that the labels are {synthetic.label_kind} is not carried: it takes --labels")
    return found


LAYOUTS.add(
    Layout(
        name="rded",
        summary="RDED, SRe2L: images in folders by class number, soft_labels.pt if stored",
        read=read_rded,
        write=write_rded,
        space="meanstd",
        method="rded",
    )
)
