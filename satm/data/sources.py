"""Opens the folder of a data set, in any of the layouts that satm knows, without decoding the images."""

from __future__ import annotations

from pathlib import Path

from satm.data.encoded import Encoded
from satm.data.folder import open_folder
from satm.data.lookup import KNOWN_FILES
from satm.data.parquet import open_parquet
from satm.data.passed import is_clutter
from satm.errors import DataError


def open_source(folder: Path) -> Encoded:
    """The encoded images in `folder`, which holds Parquet files or folders of images.

    Raises DataError if the files are in no layout that satm knows, if a part is missing, or if a file is damaged.
    """
    source = open_parquet(folder) or open_folder(folder)
    if source is not None:
        return source
    names = sorted(each.name for each in folder.iterdir() if not is_clutter(each.name))
    held = f"it holds {', '.join(names[:4])}{', …' if len(names) > 4 else ''}" if names else "it is empty"
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        held += ", as save_to_disk writes them: write each split with to_parquet"
    raise DataError(f"{folder} holds no data set that can be read ({held}); put {KNOWN_FILES} there")
