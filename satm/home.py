"""Where rebuildable files lie on a user's disk (`SATM_HOME`), and how a file is written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from satm.errors import SatmError


def home() -> Path:
    """`SATM_HOME`, by default the user's data folder: expert trajectories, ZCA transforms, checkpoints."""
    named = os.environ.get("SATM_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("satm"))


def make_folder(path: Path) -> None:
    """Make `path` and what leads to it; raises SatmError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SatmError(f"cannot make folder {path}: {error.strerror}; set SATM_HOME to a folder of yours") from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary file beside `path`, then move it into place.

    A reader sees the old file or the whole new one; a crash leaves at most a stray `.tmp` file.
    Raises SatmError when the folder cannot be written or is full.
    """
    from safetensors import SafetensorError

    make_folder(path.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise SatmError(f"cannot write {path}: {error}; free some space or set SATM_HOME elsewhere") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
