"""Finds the Parquet files of a data set in folders as they are downloaded from data hubs such as Hugging Face."""

from __future__ import annotations

import re
from pathlib import Path

from satm.data.encoded import TEST_NAMES
from satm.data.passed import is_clutter
from satm.errors import DataError

_SPLITS = ("train", *TEST_NAMES)


def parquet_splits(folder: Path) -> tuple[dict[str, list[Path]], tuple[Path, ...]] | None:
    """Return the files of each split by the split's name, and the files of no split; None if no file is found.

    A split is a part of the data set, such as `train` or `test`. First `folder` is searched, and if no file is found,
    `folder/data`. The files of a split have one of these places:
    - directly in the searched folder, with names that begin with the split's (`train-00000-of-00001.parquet`);
    - if no Parquet file is directly in it, in folders inside it that have the names of the splits
      (`train/0000.parquet`).
    If nothing is found and there is no `folder/train`, each folder inside `folder` is searched in the same way. Data
    hubs keep the configurations (variants) of a data set in such folders, for example `plain_text`.

    Raises DataError if there are several configurations, or if a numbered file is missing.
    """
    files = _below(folder)
    if not files and not (folder / "train").is_dir():
        several = {each: found for each in _folders(folder) if (found := _below(each))}
        if len(several) > 1:
            names = ", ".join(each.name for each in several)
            first = next(iter(several))
            raise DataError(f"{folder} holds several configurations, {names}; give the path of one, such as {first}")
        files = next(iter(several.values()), [])
    if not files:
        return None
    splits: dict[str, list[Path]] = {}
    others = []
    for file in files:
        prefix = re.split(r"[-.]", file.name)[0]
        name = prefix if prefix in _SPLITS else file.parent.name
        if name in _SPLITS:
            splits.setdefault(name, []).append(file)
        else:
            others.append(file)
    for each in splits.values():
        _check_complete(each)
    return splits, tuple(others)


def _below(folder: Path) -> list[Path]:
    for place in (folder, folder / "data"):
        if found := _parquet(place):
            return found
        if found := [file for name in _SPLITS for file in _parquet(place / name)]:
            return found
    return []


def _parquet(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("*.parquet") if not is_clutter(each.name))


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not is_clutter(each.name))


def _check_complete(files: list[Path]) -> None:
    """Raise DataError if one of the files of a split is missing. The Hub numbers such files `-00000-of-00003`."""
    counts = [int(found[1]) for file in files if (found := re.search(r"-of-(\d+)(-\w+)?\.parquet$", file.name))]
    if counts and len(files) != counts[0]:
        raise DataError(f"{files[0].parent} holds {len(files)} of {counts[0]} files like {files[0].name}; add the rest")
