"""What a Ray worker takes over from the process that started it: the environment, and the command that runs store."""

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
    """The process that started the work."""

    host: str
    folder: str
    arguments: tuple[str, ...]
    folders: Mapping[str, str | None]  # SATM_HOME and SATM_DATA; None: not set

    @classmethod
    def of_this_process(cls) -> Self:
        """This process."""
        named = {name: os.environ.get(name) for name in _FOLDERS}
        folders = {name: None if not path else str(Path(path).expanduser().absolute()) for name, path in named.items()}
        return cls(socket.gethostname(), os.getcwd(), tuple(sys.argv), folders)

    @property
    def is_here(self) -> bool:
        """Whether it is or was on this host."""
        return self.host == socket.gethostname()

    def adopt(self) -> None:
        """Work as that process does. On another host the folders that are set there stay."""
        for name, path in self.folders.items():
            if self.is_here:
                os.environ.pop(name, None)
            if path is not None:
                os.environ.setdefault(name, path)
        sys.argv[:] = self.arguments
        if self.is_here:
            os.chdir(self.folder)
