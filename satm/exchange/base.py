"""What a format is, and what can be learnt from a file of one."""

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
"""The space images lie in: normalised, whitened, or pixels in 0..1."""

SPACES: tuple[Space, ...] = ("meanstd", "zca", "none")
LABEL_KINDS: tuple[LabelKind, ...] = ("hard", "probabilities", "logits")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """The contents of a file or folder that was made elsewhere, checked for shape and nothing else."""

    images: Images  # [n, C, H, W] float32 as stored, or uint8 pixels
    labels: torch.Tensor | None  # [n] int64 or [n, K] float32; None: class-major, by position
    step_size: float | None = None  # α, where the file has it
    files: tuple[Path, ...]  # everything that was read
    folders: tuple[str, ...] | None = None  # class folders; hard `labels` count these, not the data set's classes
    soft: torch.Tensor | None = None  # what images teach, a row each, beside the `labels` that say their classes
    notes: tuple[str, ...] = ()  # what a reader of the file should know, a line each
    says: Mapping[str, Any] = field(default_factory=dict)  # what a configuration beside it claims, by `Claims`' names
    whole: SyntheticSet | None = None  # a file of ours: the set with its description


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one kind of file is read and written.

    `read(path, index)` raises DataError for what cannot be read and ConfigError where `index` has to choose among
    several sets; `write(synthetic, path)` makes the file or folder `path` and returns what it could not carry, a line
    each.
    """

    name: str
    summary: str  # one line: whose files these are, and which
    read: Callable[[Path, int | None], Foreign]
    write: Callable[[SyntheticSet, Path], tuple[str, ...]]
    suffix: str = ""  # of the file that `write` makes; none: a folder
    space: Space | None = None  # where the format leaves no doubt, or has a default
    soft: LabelKind | None = None  # what a matrix of labels is where the format says so
    method: str = "imported"  # what made its sets, unless told otherwise
    cifar10_constants: bool = False  # MTT's line normalises CIFAR-100 by CIFAR-10's mean and std
    unit_whitening: bool = False  # "whitened" means images of length 1 (KIP), not the field's whitening


LAYOUTS: Names[Layout] = Names("layout", package="satm.exchange", group="satm.layouts", expects=Layout)

DESCRIPTION_LOST = (
    "data set, preprocessing, method, scale, seed and configuration are not carried: importing it again takes "
    "--dataset and --preprocessing"
)


def lost(
    synthetic: SyntheticSet, *, step_size: bool = False, kind: bool = False, unit_whitening: bool = False
) -> tuple[str, ...]:
    """The usual losses of a format that carries bare tensors, without α (`step_size`) or without the kind (`kind`)."""
    found = [DESCRIPTION_LOST]
    if step_size and synthetic.step_size is not None:
        found.append(f"the step size is not carried: importing it again takes --step-size {synthetic.step_size!r}")
    if kind and synthetic.label_kind != "hard":
        found.append(f"that the labels are {synthetic.label_kind} is not carried: it takes --labels")
    space = synthetic.preprocessing
    if isinstance(space, ZCA) and (space.unit is not None) != unit_whitening:
        whose, fitting = ("KIP's own", "kip") if space.unit else ("the field's", "mtt")
        found.append(f"its whitening is {whose}, and this format's is not: take {fitting}, safetensors or parquet")
    return tuple(found)
