"""Finds the folder of a data set by its name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from satm.data.catalogue import CATALOGUE, DatasetSpec, spec_of
from satm.data.torchvision_files import download
from satm.errors import ConfigError, DataError, UnknownName
from satm.home import home
from satm.progress import Progress

# The files that the folder of a data set can hold, in words for error messages
KNOWN_FILES = "train-*.parquet and test-*.parquet, or train/<class>/*.png and test/<class>/*.png"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder where the files of a data set can be, and its data root: a folder in which data sets are searched."""

    path: Path  # the folder; it need not exist
    root: Path  # the data root: `path` is below it


def downloads() -> Path:
    """Return the folder that keeps torchvision's downloads."""
    return home() / "downloads"


def data_root() -> Path | None:
    """Return the folder in the environment variable `SATM_DATA`; None if the variable is not set.

    Raises DataError if there is no such folder.
    """
    named = os.environ.get("SATM_DATA")
    if not named:
        return None
    root = Path(named).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"SATM_DATA is {root}, which is no folder; set it to the one that holds your data sets")
    return root


def places(name: str, root: Path | None = None) -> list[Place]:
    """Return the folders where the files of data set `name` can be, in the order of search.

    The folders are under `root`. If `root` is None, they are under `SATM_DATA` and, after that, under the folder of
    earlier downloads. For a data set in the catalogue, they are the folders of `_candidates`, which need not exist. For
    another data set, they are the existing folders called `name`. The list is empty if a Python package holds the
    images.

    Raises DataError if `root` or `SATM_DATA` is no folder. Raises UnknownName if `name` is neither in the catalogue nor
    the name of an existing folder.
    """
    spec = spec_of(name)
    if spec is not None and spec.embedded:
        return []
    if root is None:
        roots = [place for place in (data_root(), downloads()) if place is not None]
    elif root.is_dir():
        roots = [root]
    else:
        raise DataError(f"data root {root} is no folder; give the one that holds '{name}'")
    if spec is not None:
        return [Place(path, each) for each in roots for path in _candidates(each, spec)]
    # An empty name is refused, because `each / ""` is the root itself.
    if name and (found := [Place(each / name, each) for each in roots if (each / name).is_dir()]):
        return found
    folders = [path.name for each in roots if each.is_dir() for path in each.iterdir() if path.is_dir()]
    hint = f"(or a folder of your own under {roots[0]}, or its path)"
    if name and Path(name).is_dir():
        hint = f"(./{name} is a folder here: say ./{name})"
    raise UnknownName("data set", name, {*CATALOGUE, *folders}, hint=hint)


def at_hand(name: str, root: Path | None) -> bool:
    """Return whether data set `name` needs no download: its folder exists, or a Python package holds the images.

    The result is always True if `root` is given, because `find` then never downloads: it returns the folder or raises
    DataError. If `root` is None, this function raises the same errors as `places`.
    """
    spec = spec_of(name)
    if root is not None or (spec is not None and spec.embedded):
        return True
    return any(place.path.is_dir() for place in places(name))


def _candidates(root: Path, spec: DatasetSpec) -> list[Path]:
    """Return the folders under `root` where the files of data set `spec` can be, in the order of search.

    They are root/NAME/ARCHIVE, root/NAME and root/ARCHIVE. NAME is the name of the data set. ARCHIVE is the folder that
    unpacking the authors' archive gives; `spec.folders` holds its possible names. For a subset of ImageNet, the folders
    of `imagenet-1k` follow. fast.ai's archives of the same classes are not searched, because they are data sets of
    their own (`imagenette2` and `imagewoof2`).
    """
    own = [
        *(root / spec.name / each for each in spec.folders),
        root / spec.name,
        *(root / each for each in spec.folders),
    ]
    return own + (_candidates(root, CATALOGUE.get("imagenet-1k")) if spec.in_imagenet else [])


def _kin_folders(name: str, root: Path | None) -> list[Path]:
    """Return the existing folders of fast.ai's data set with the same classes as `name` (`DatasetSpec.kin`).

    The list is empty if there is no such data set, or if `name` is itself a data set of fast.ai.
    """
    spec = spec_of(name)
    if spec is None or spec.kin is None or not spec.in_imagenet:
        return []
    return [place.path for place in places(spec.kin, root) if place.path.is_dir()]


def split_path(name: str, root: Path | str | None) -> tuple[str, Path | None]:
    """Return the name of a data set and its data root. The argument `name` is a plain name or the path of a folder.

    For a plain name, the data root is `root`, which can be None. For a path, the name is the last part of the path, the
    data root is the folder above, and `root` is not used.

    Raises DataError if the path is no folder. Raises ConfigError if the last part of the path is the name of a data set
    that is not read from files, because a Python package holds its images.
    """
    if "/" not in name and os.sep not in name and not name.startswith((".", "~")):
        return name, (None if root is None else Path(root).expanduser().absolute())
    path = Path(os.path.abspath(Path(name).expanduser()))
    if not path.is_dir():
        raise DataError(f"{path} is no folder; give the name of a data set or the path of its folder")
    spec = spec_of(path.name)
    if spec is not None and spec.embedded:
        raise ConfigError(f"{path}: '{spec.name}' means the embedded images; rename the folder")
    return path.name, path.parent


def find(name: str, root: Path | None, progress: Progress) -> Place:
    """Return the first folder of `places` that exists and does not contain fast.ai's data set instead of `name`.

    If there is none and `root` is None, torchvision downloads the data set if it can. Raises DataError if the data set
    is not found. The message lists every folder that was tried, and says which files to put in which of them. Also
    raises the errors of `places`.
    """
    tried = places(name, root)
    kin = _kin_folders(name, root)
    # Version 0.1 of satm kept a download of fast.ai's data set of the same classes inside a folder with the name of
    # this data set. Such a folder is skipped, because it holds fast.ai's data set and not this one.
    for place in tried:
        if place.path.is_dir() and not any(place.path in folder.parents for folder in kin):
            return place
    spec = CATALOGUE.get(name)
    paths = ", ".join(str(place.path) for place in tried)
    own = f", or {spec.folders[0]} as its authors' archive holds it" if spec.folders else ""
    advice = f"put {KNOWN_FILES}{own} in {tried[0].root / name}"
    if spec.in_imagenet:
        advice += f", or all of ImageNet in {tried[0].root / 'imagenet-1k'}"
    if kin:
        advice += f"; {kin[0]} holds other images of these classes: their name is {spec.kin}"
    if root is not None:
        raise DataError(f"'{name}' is not under data root {root}: tried {paths}; {advice}")
    if data_root() is None:
        advice += ", or set SATM_DATA"
    if spec.torchvision is None:
        raise DataError(f"'{name}' was not found and cannot be downloaded: tried {paths}; {advice}")
    target = downloads() / name
    progress.say(f"downloading {name} to {target}")
    try:
        download(spec, target)
    except DataError as error:
        raise DataError(f"'{name}' was not found: tried {paths}, then torchvision: {error}; {advice}") from error
    return find(name, root, progress)
