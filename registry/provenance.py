"""Collects facts about the place of a run: the software, the machine and the version of satm. Does not load torch."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (  # the packages, besides torch, whose version can change the results of a run
    "torchvision",
    "timm",
    "higher",
    "avalanche-lib",
    "numpy",
    "pillow",
    "scikit-learn",
    "safetensors",
    "sqlite-utils",
)


def usable_cores() -> int:
    """Return the number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Return the facts that `Registry.add_environment` stores, as a dictionary that JSON can hold.

    Equal environments give equal facts. A fact that is not known is None.
    """
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "satm": _version("satm"),
        "commit": _commit(Path(__file__).parents[1]),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": usable_cores(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """Return the commit of the git checkout in `folder`, followed by `-dirty` if tracked files were changed.

    Returns None if the commit is not known.
    """
    # If `folder` has no `.git`, satm is installed as a package. Git would then search the folders above, and could find
    # a repository that is not the one of satm.
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
