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

# What to put in the folder of a data set, for error messages.
KNOWN_FILES = "train-*.parquet and test-*.parquet, or train/<class>/*.png and test/<class>/*.png"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that may hold a data set, and the data root it belongs to."""

    path: Path
    root: Path


def downloads() -> Path:
    """The folder that keeps torchvision's downloads."""
    return home() / "downloads"


def data_root() -> Path | None:
    """`SATM_DATA`; None if it is not set. Raises DataError if it names no folder."""
    named = os.environ.get("SATM_DATA")
    if not named:
        return None
    root = Path(named).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"SATM_DATA is {root}, which is no folder; set it to the one that holds your data sets")
    return root


def places(name: str, root: Path | None = None) -> list[Place]:
    """The folders that may hold data set `name`, in order; `find` takes the first that exists.

    They lie under `root`. If it is None, they lie under `SATM_DATA` and then under our downloads. A folder has the name
    of the data set, or the name that its authors' archive unpacks to. A subset of ImageNet is also looked for in the
    folders of `imagenet-1k`; fast.ai's archives of the same classes are data sets of their own. A data set that brings
    its own images has no places.

    Raises DataError if the root is no folder, UnknownName if `name` is neither in the catalogue nor a folder under the
    root.
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
    # "" would name the root itself
    if name and (found := [Place(each / name, each) for each in roots if (each / name).is_dir()]):
        return found
    folders = [path.name for each in roots if each.is_dir() for path in each.iterdir() if path.is_dir()]
    hint = f"(or a folder of your own under {roots[0]}, or its path)"
    if name and Path(name).is_dir():
        hint = f"(./{name} is a folder here: say ./{name})"
    raise UnknownName("data set", name, {*CATALOGUE, *folders}, hint=hint)


def at_hand(name: str, root: Path | None) -> bool:
    """Whether `find` needs no download for data set `name`.

    With a `root` it never downloads: it finds the folder or raises DataError. Without one, this raises what `places`
    raises.
    """
    spec = spec_of(name)
    if root is not None or (spec is not None and spec.embedded):
        return True
    return any(place.path.is_dir() for place in places(name))


def _candidates(root: Path, spec: DatasetSpec) -> list[Path]:
    """Where `spec` may lie under `root`, in the order of search: root/name/archive folder, root/name, root/archive
    folder; then, for a subset of ImageNet, the same for ImageNet.
    """
    own = [
        *(root / spec.name / each for each in spec.folders),
        root / spec.name,
        *(root / each for each in spec.folders),
    ]
    return own + (_candidates(root, CATALOGUE.get("imagenet-1k")) if spec.in_imagenet else [])


def _kin_folders(name: str, root: Path | None) -> list[Path]:
    """The existing folders of the data set with the same classes but other images (`DatasetSpec.kin`).

    [] unless `name` is a subset read from ImageNet that has one.
    """
    spec = spec_of(name)
    if spec is None or spec.kin is None or not spec.in_imagenet:
        return []
    return [place.path for place in places(spec.kin, root) if place.path.is_dir()]


def split_path(name: str, root: Path | str | None) -> tuple[str, Path | None]:
    """The name and the data root of a data set, from its name or from the path of its folder.

    Raises DataError if a path is no folder, ConfigError if its last part names a data set that brings its own images.
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
    """The first of `places` that exists; if none does and no `root` is given, torchvision downloads the data set.

    Raises DataError if the data set is not found; it names each place tried and what to put there. Also raises what
    `places` raises.
    """
    tried = places(name, root)
    kin = _kin_folders(name, root)
    # A folder that contains a kin's folder is where version 0.1 kept the kin's download; it counts as none of ours.
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
