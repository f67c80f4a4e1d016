"""Uses torchvision to read CIFAR's files from the disk, and to download data sets that are missing."""

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

# The names of torchvision's classes for data sets that are stored as arrays and not as encoded images
_ARRAYS = ("CIFAR10", "CIFAR100")
PATIENCE = 10.0  # a download fails if for this many seconds there is no connection, or no byte arrives


def read_arrays(folder: Path, spec: DatasetSpec) -> Raw | None:
    """The images and labels of CIFAR-10 or CIFAR-100 in `folder`; None if `spec` or `folder` is not one of the two.

    The folder must have the name that CIFAR's archive unpacks to (`cifar-10-batches-py` …). It holds pickled arrays.
    torchvision checks the MD5 hash of every file before it unpickles any of them. Raises DataError if a file is missing
    or has the wrong hash.
    """
    if spec.torchvision not in _ARRAYS or folder.name not in spec.folders:
        return None
    import torchvision.datasets

    parts = []
    for train in (True, False):
        try:
            with warnings.catch_warnings():
                # numpy 2.4.0 to 2.4.4 print a warning about a dtype in CIFAR's pickled files. The published files
                # cannot be changed, so the warning is silenced.
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
    """Let torchvision download the data set `spec` into `folder`. If the download fails, `folder` is not made.

    torchvision prints its own progress bar on standard error. Raises DataError if there is no connection within
    `PATIENCE` seconds, or if the download fails.
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
            unpacked = Path(scratch) / folder.name  # a folder with the usual permissions, unlike `scratch`
            unpacked.mkdir()
            socket.setdefaulttimeout(PATIENCE)  # torchvision has no argument for a time limit
            kind(str(unpacked), download=True, **options)
            put_in_place(unpacked, folder)
    except (OSError, RuntimeError) as error:
        raise DataError(f"download of {url} failed ({error})") from error
    finally:
        socket.setdefaulttimeout(before)


def reachable(url: str, seconds: float) -> bool:
    """Whether a server responds at `url` within `seconds`. The time includes the look-up of the server's name.

    The proxies of the system are used.
    """
    answered = threading.Event()

    def knock() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError:
            pass  # the server responded, but with an error; the download will meet the same error and report it
        except OSError:
            return
        answered.set()

    # The look-up of a name has no time limit of its own, so it runs in a thread, and this function waits only `seconds`
    # for the thread. If the look-up takes longer, the thread ends at the latest with the process.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
