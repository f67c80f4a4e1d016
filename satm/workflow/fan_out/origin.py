"""What a Ray worker copies from the process that started the work: its folders, and its command line.

The command line is needed because each run stores the command that started it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FOLDERS = ("SATM_HOME", "SATM_DATA")


@dataclass(frozen=True)
class Origin:
    """The process that started the work: where it runs, and with what settings."""

    host: str  # the name of its machine
    folder: str  # its working directory
    arguments: tuple[str, ...]  # its command line, sys.argv
    folders: Mapping[str, str | None]  # its variables SATM_HOME and SATM_DATA as absolute paths; None if not set

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the description of this process."""
        named = {name: os.environ.get(name) for name in _FOLDERS}
        folders = {name: None if not path else str(Path(path).expanduser().absolute()) for name, path in named.items()}
        return cls(socket.gethostname(), os.getcwd(), tuple(sys.argv), folders)

    @property
    def is_here(self) -> bool:
        """Whether the described process runs, or ran, on the host of this process."""
        return self.host == socket.gethostname()

    def adopt(self) -> None:
        """Give this process the command line, the folders and the working directory of the described process.

        On another host the working directory stays, and so do SATM_HOME and SATM_DATA if they are set there.
        """
        for name, path in self.folders.items():
            if self.is_here:
                os.environ.pop(name, None)
            if path is not None:
                os.environ.setdefault(name, path)
        sys.argv[:] = self.arguments
        if self.is_here:
            os.chdir(self.folder)
