"""Keeps decoded images in `SATM_HOME/data`, so that each data set is decoded only once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from satm.data.raw import Raw
from satm.errors import SatmError
from satm.home import home, write_atomically
from satm.progress import Progress
from satm.synthetic import digest

_VERSION = 1  # of the decoding and of the kept file's contents
_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def cache_path(files: Sequence[Path], about: dict[str, object]) -> Path:
    """The file that keeps the images decoded from `files`.

    The path depends on the names, sizes and modification times of `files` and on `about`, the options of the decoding.
    """
    found = [(path, path.stat()) for path in files]
    stats = [(path.parent.name, path.name, stat.st_size, stat.st_mtime_ns) for path, stat in found]
    return home() / "data" / f"{digest({'files': stats, 'about': about, 'version': _VERSION})}.safetensors"


def read_cache(path: Path) -> tuple[Raw, str] | None:
    """The images (memory-mapped) and their digest; None if the file is missing or damaged.

    The digest is the one stored with the images. It is not checked again.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
            return Raw(**tensors, classes=tuple(json.loads(metadata["classes"]))), metadata["digest"]
    except (OSError, SafetensorError):
        return None


def write_cache(path: Path, raw: Raw, raw_digest: str, progress: Progress) -> None:
    """Keep `raw` in `path`. If the disk is full or read-only, `progress` says so and the run continues."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: getattr(raw, name) for name in _TENSORS}
    metadata = {"classes": json.dumps(raw.classes), "digest": raw_digest}
    try:
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))
    except (SatmError, SafetensorError) as error:
        progress.say(f"decoded images are not kept: {error}")
