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

# The files that a data set's folder must hold, for error messages
KNOWN_FILES = "train-*.parquet and test-*.parquet, or train/<class>/*.png and test/<class>/*.png"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that may hold the files of a data set, and the data root under which it is searched."""

    path: Path  # the folder
    root: Path  # the data root


def downloads() -> Path:
    """The folder that keeps torchvision's downloads."""
    return home() / "downloads"


def data_root() -> Path | None:
    """The folder that the environment variable `SATM_DATA` names; None if the variable is not set.

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
    """The folders that may hold data set `name`, in the order of search. `find` takes the first one that exists.

    All folders are under `root`. If `root` is None, they are under `SATM_DATA` and under the folder of earlier
    downloads. A folder has the name of the data set, or the name that unpacking the authors' archive gives. A subset of
    ImageNet is also searched in the folders of `imagenet-1k`, but not in fast.ai's archives of the same classes, which
    are other data sets. The list is empty if a Python package holds the images.

    Raises DataError if `root` is no folder. Raises UnknownName if `name` is neither in the catalogue nor the name of a
    folder under `root`.
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
    """Whether data set `name` needs no download: its folder exists, or a Python package holds the images.

    Always True if `root` is given, because `find` then never downloads: it returns the folder or raises DataError. If
    `root` is None, this raises the same errors as `places`.
    """
    spec = spec_of(name)
    if root is not None or (spec is not None and spec.embedded):
        return True
    return any(place.path.is_dir() for place in places(name))


def _candidates(root: Path, spec: DatasetSpec) -> list[Path]:
    """The folders under `root` that may hold the data set `spec`, in the order of search.

    They are root/name/archive, root/name and root/archive, with the name of the data set and the name of the folder
    that its authors' archive unpacks to. For a subset of ImageNet, the same folders of ImageNet follow.
    """
    own = [
        *(root / spec.name / each for each in spec.folders),
        root / spec.name,
        *(root / each for each in spec.folders),
    ]
    return own + (_candidates(root, CATALOGUE.get("imagenet-1k")) if spec.in_imagenet else [])


def _kin_folders(name: str, root: Path | None) -> list[Path]:
    """The existing folders of the data set that has the same classes as `name` but other images (`DatasetSpec.kin`).

    The list is empty if `name` is not a subset of ImageNet, or if there is no such data set.
    """
    spec = spec_of(name)
    if spec is None or spec.kin is None or not spec.in_imagenet:
        return []
    return [place.path for place in places(spec.kin, root) if place.path.is_dir()]


def split_path(name: str, root: Path | str | None) -> tuple[str, Path | None]:
    """The name of a data set and its data root, if `name` is either a name or the path of a folder.

    A path is split into its last part, which is the name, and the folder above it, which is the data root. With a plain
    name, the data root is `root`; None if `root` is None.

    Raises DataError if the path is no folder. Raises ConfigError if its last part is the name of a data set that is not
    read from files, because a Python package holds its images.
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
    """The first folder of `places` that exists. If none exists and `root` is None, torchvision downloads the data set.

    Raises DataError if the data set is not found. The message names every folder that was tried, and the files to put
    there. Also raises the errors of `places`.
    """
    tried = places(name, root)
    kin = _kin_folders(name, root)
    # Version 0.1 of satm kept the download of `kin` (the same classes, other images) inside a folder with this data
    # set's name. Such a folder does not hold this data set, so it is skipped.
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
