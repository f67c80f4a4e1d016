"""A layout: how files of one kind hold a synthetic set, and how they are read and written.

To add a layout, write one file with a `read` and a `write` function and one `LAYOUTS.add(Layout(...))`; nothing else
has to change. Its `name` and `summary` must be literals, because `satm.names` reads them from the text of the file.

`read` turns files into a `Foreign`, which holds only the facts that the files state. The user states the others as
options of the import (`Claims`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from satm.names import Names
from satm.preprocessing import ZCA
from satm.synthetic import SyntheticSet
from satm.types import Images, LabelKind

Space: TypeAlias = Literal["meanstd", "zca", "none"]
"""The space of images: normalised by mean and std, whitened, or pixels in 0..1."""

SPACES: tuple[Space, ...] = ("meanstd", "zca", "none")
LABEL_KINDS: tuple[LabelKind, ...] = ("hard", "probabilities", "logits")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """The contents of an imported file or folder. Shapes, types and finite values are checked, not what they mean."""

    images: Images  # [n, C, H, W] float32 as stored, or uint8 pixels
    labels: torch.Tensor | None  # [n] int64 or [n, K] float32; None: class-major
    step_size: float | None = None  # α, if the file has it
    files: tuple[Path, ...]  # all files that were read
    folders: tuple[str, ...] | None = None  # names of class folders; then hard `labels` are indices into these names
    pixels: bool = False  # float `images` are pixels in 0..1, as uint8 ones are in 0..255
    enlarged: bool = False  # they were stored smaller, so they are smoother than real ones
    soft: torch.Tensor | None = None  # [n, K] soft labels beside the hard `labels`
    notes: tuple[str, ...] = ()  # facts for the user, a line each
    says: Mapping[str, Any] = field(default_factory=dict)  # facts that the files state, by the names of `Claims`
    whole: SyntheticSet | None = None  # the set with its description, from a file that this suite exported


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How files of one kind are read and written.

    `read(path, index)` raises DataError if the files cannot be read, and ConfigError if there are several sets and
    `index` does not choose one. `write(synthetic, path)` makes the file or folder `path` and returns the facts that are
    lost, a line each.
    """

    name: str
    summary: str  # one line: whose files these are, and which
    read: Callable[[Path, int | None], Foreign]
    write: Callable[[SyntheticSet, Path], tuple[str, ...]]
    suffix: str = ""  # of the file that `write` makes; "" if it makes a folder
    space: Space | None = None  # of the images, if the user states none; None: it must be stated
    soft: LabelKind | None = None  # the kind of a label matrix [n, K], if the layout fixes it
    method: str = "imported"  # the method that made the sets, unless the user claims another
    cifar10_constants: bool = (
        False  # CIFAR-100 is normalised by CIFAR-10's mean and std, as MTT and the methods built on its code do
    )
    unit_whitening: bool = False  # the whitening is KIP's, which scales each image to length 1
    factor: bool = False  # an image may hold several smaller ones, as --factor says
    keeps: Callable[[SyntheticSet], bool] = lambda synthetic: False
    """Whether `write` takes the stored images of a set whose networks see others. If not, it gets what networks see."""


LAYOUTS: Names[Layout] = Names("layout", package="satm.exchange", group="satm.layouts", expects=Layout)

DESCRIPTION_LOST = (
    "data set, preprocessing, method, scale, seed and configuration are not carried: to import the file again, give "
    "--dataset and --preprocessing"
)


def lost(
    synthetic: SyntheticSet, *, step_size: bool = False, kind: bool = False, unit_whitening: bool = False
) -> tuple[str, ...]:
    """The facts about a set that a layout of bare tensors loses, a line each.

    Args:
        step_size: whether the layout loses the step size α.
        kind: whether it loses the kind of the labels.
        unit_whitening: whether its whitening is KIP's, which scales each image to length 1.
    """
    found = [DESCRIPTION_LOST]
    if step_size and synthetic.step_size is not None:
        found.append(
            f"the step size is not carried: to import the file again, give --step-size {synthetic.step_size!r}"
        )
    if kind and synthetic.label_kind != "hard":
        found.append(
            f"that the labels are {synthetic.label_kind} is not carried: to import the file again, give --labels"
        )
    space = synthetic.preprocessing
    if isinstance(space, ZCA) and (space.unit is not None) != unit_whitening:
        whose, fitting = ("KIP's", "kip") if space.unit else ("plain ZCA", "mtt")
        found.append(
            f"the set's whitening is {whose}, which this format does not hold: take {fitting}, safetensors or parquet"
        )
    return tuple(found)
