"""A layout: how files of one kind hold a synthetic set, and how they are read and written.

To add a layout, write one file with a `read` and a `write` function and one `LAYOUTS.add(Layout(...))`; nothing else
has to change. Its `name` and `summary` must be literals, because `satm.names` reads them from the text of the file.

`read` returns a `Foreign`, which holds only the facts that the files state. The user states all other facts with the
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
"""The space of images: normalised by mean and std, whitened by ZCA, or pixels in 0..1."""

SPACES: tuple[Space, ...] = ("meanstd", "zca", "none")
LABEL_KINDS: tuple[LabelKind, ...] = ("hard", "probabilities", "logits")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """The contents of an imported file or folder.

    The `read` function of a layout has checked that shapes and types are right and that all values are finite. It has
    not checked what the values mean. If there are no labels, the images are assumed to be class-major: first all images
    of class 0, then all images of class 1, and so on.
    """

    images: Images  # [n, C, H, W] float32 as stored, or uint8 pixels
    labels: torch.Tensor | None  # [n] int64 or [n, K] float32; None if the files hold no labels
    step_size: float | None = None  # the step size α; None if the files hold none
    files: tuple[Path, ...]  # all files that were read
    folders: tuple[str, ...] | None = None  # names of class folders, into which hard `labels` are indices; None: none
    pixels: bool = False  # whether float `images` are pixels in 0..1 (uint8 images are always pixels in 0..255)
    enlarged: bool = False  # whether the images were stored smaller and then enlarged: they are smoother than real ones
    soft: torch.Tensor | None = None  # soft labels [n, K], if the files hold them in addition to the hard `labels`
    notes: tuple[str, ...] = ()  # facts that are shown to the user, one line each
    says: Mapping[str, Any] = field(default_factory=dict)  # facts that the files state; keys are fields of `Claims`
    whole: SyntheticSet | None = None  # the set with its whole description; None if the file holds no description


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How files of one kind are read and written.

    `read(path, index)` returns the contents of the file or folder `path`. It raises DataError if the files cannot be
    read, and ConfigError if they hold several sets and `index` does not choose one of them. `write(synthetic, path)`
    makes the file or folder `path` and returns the facts about the set that the layout cannot hold, one line each.
    """

    name: str
    summary: str  # one line for the help: which projects have such files, and what the files are
    read: Callable[[Path, int | None], Foreign]
    write: Callable[[SyntheticSet, Path], tuple[str, ...]]
    suffix: str = ""  # the suffix of the file that `write` makes; "" if `write` makes a folder
    space: Space | None = None  # the space of the images if the user states none; None: the user must state one
    soft: LabelKind | None = None  # the kind of a label matrix [n, K] if the user states none; None: the user must
    method: str = "imported"  # the name of the method that made the sets, unless the user states another
    cifar10_constants: bool = (
        False  # whether CIFAR-100 is normalised by CIFAR-10's mean and std, as in the code of MTT and its successors
    )
    unit_whitening: bool = False  # whether the whitening is KIP's, which scales each image to length 1
    factor: bool = False  # whether a stored image may be a grid of smaller images; the user then gives --factor
    keeps: Callable[[SyntheticSet], bool] = lambda synthetic: False
    """Whether `write` gets the set as it is stored. If not, `write` gets the decoded set, which holds the images that
    networks are trained on. The two differ only if the set's `parametrisation` computes these images from the stored
    ones."""


LAYOUTS: Names[Layout] = Names("layout", package="satm.exchange", group="satm.layouts", expects=Layout)

DESCRIPTION_LOST = (
    "data set, preprocessing, method, scale, seed and configuration are not carried: to import the file again, give "
    "--dataset and --preprocessing"
)


def lost(
    synthetic: SyntheticSet, *, step_size: bool = False, kind: bool = False, unit_whitening: bool = False
) -> tuple[str, ...]:
    """Return the facts about a set that are lost in a layout that holds only tensors, one line each.

    Args:
        step_size: whether the layout loses the step size α.
        kind: whether the layout loses the kind of the labels.
        unit_whitening: whether the layout's whitening is KIP's, which scales each image to length 1.
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
