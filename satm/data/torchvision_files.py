"""torchvision's data sets: reads files that are already on disk, and downloads those that are not."""

from __future__ import annotations

import socket
import tempfile
import threading
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from satm.data.catalogue import DatasetSpec
from satm.data.raw import Raw
from satm.errors import DataError
from satm.home import make_folder, put_in_place

_ARRAYS = ("CIFAR10", "CIFAR100")  # their files hold arrays, not encoded images
PATIENCE = 10.0  # a download gives up after this many seconds without a connection or a byte


def read_arrays(folder: Path, spec: DatasetSpec) -> Raw | None:
    """CIFAR's pickled arrays in `folder` (`cifar-10-batches-py` …); None if the folder is not CIFAR's.

    torchvision checks the MD5 of every file before it unpickles it. Raises DataError if a file is missing or differs.
    """
    if spec.torchvision not in _ARRAYS or folder.name not in spec.folders:
        return None
    import torchvision.datasets

    parts = []
    for train in (True, False):
        try:
            with warnings.catch_warnings():
                # numpy 2.4.0 to 2.4.4 warn about a dtype in the published pickles, which we cannot change.
                warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
                part: Any = getattr(torchvision.datasets, spec.torchvision)(folder.parent, train=train)
        except RuntimeError as error:
            raise DataError(f"{folder} is incomplete or corrupt; unpack its archive again, or remove it") from error
        parts.append((torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets)))
    return Raw(
        train_images=parts[0][0],
        train_labels=parts[0][1],
        test_images=parts[1][0],
        test_labels=parts[1][1],
        classes=tuple(part.classes),
    )


def download(spec: DatasetSpec, folder: Path) -> None:
    """Let torchvision download `spec` into `folder`. If the download fails, `folder` is not made.

    torchvision draws its own bar on standard error. Raises DataError if there is no connection within `PATIENCE`
    seconds or the download fails.
    """
    import torchvision.datasets

    kind: Any = getattr(torchvision.datasets, spec.torchvision or "")
    options = {"size": "320px"} if spec.torchvision == "Imagenette" else {}
    url = kind._ARCHIVES["320px"][0] if options else kind.url
    if not reachable(url, PATIENCE):
        raise DataError(f"no connection to {url} within {PATIENCE:g} s")
    before = socket.getdefaulttimeout()
    make_folder(folder.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=folder.name + ".", suffix=".tmp", dir=folder.parent) as scratch:
            unpacked = Path(scratch) / folder.name  # its mode follows the umask, that of `scratch` does not
            unpacked.mkdir()
            socket.setdefaulttimeout(PATIENCE)  # torchvision has no argument for a time limit
            kind(str(unpacked), download=True, **options)
            put_in_place(unpacked, folder)
    except (OSError, RuntimeError) as error:
        raise DataError(f"download of {url} failed ({error})") from error
    finally:
        socket.setdefaulttimeout(before)


def reachable(url: str, seconds: float) -> bool:
    """Whether a server answers at `url` within `seconds`, including the name look-up. Uses the system's proxies."""
    answered = threading.Event()

    def knock() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError:
            pass  # a refusal is an answer; the download will report the reason
        except OSError:
            return
        answered.set()

    # A name look-up has no time limit, so it runs in a thread. A slow one ends with the process.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
