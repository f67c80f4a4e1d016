"""Compiling a function of tensors with `torch.compile`: whether it can be done, how, and where the code is kept."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, TypeAlias, TypeVar

import torch

from satm.home import home

F = TypeVar("F", bound=Callable[..., Any])

Compilation: TypeAlias = Literal["auto", "compiled", "eager"]
"""How steps are run: `auto` compiles what is worth it, the others force it."""

FORMERLY = {"formerly": {"yes": "compiled", "no": "eager"}}
"""Metadata of a setting of `Compilation`: the words that stored configurations may have for it."""


def missing_compiler(device: torch.device | str = "cpu") -> str | None:
    """Why nothing can be compiled for `device`, as the end of a sentence; None where it can."""
    if torch.device(device).type == "cuda":
        from importlib.util import find_spec

        return None if find_spec("triton") else "the package triton is not installed"
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if any(shutil.which(name) for name in wanted):
        return None
    return f"no C++ compiler is installed ({' or '.join(wanted)}; set CXX to use another)"


def compiled(function: F, *, notify: Callable[[str], None], otherwise: F | None = None) -> F:
    """`function`, a pure function of tensors, fused by `torch.compile`; one compilation for each shape it meets.

    Code lies in `SATM_HOME/compiled` (`TORCHINDUCTOR_CACHE_DIR` names another place), so that a later process finds
    it. A function that cannot be compiled after all runs as it is, or as `otherwise`, which computes the same:
    `notify` is told so, once.
    """
    _drop_truncated(_code_folder())
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r}: expected a plain function")
    # Torch keeps compiled code by code object, with a limit to how much: one of its own lets no other function fill it.
    own = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    fast = torch.compile(own, fullgraph=True, dynamic=False)
    failed = False

    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException  # the latter is any failure to compile

    def call(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            try:
                return fast(*arguments)
            except FailOnRecompileLimitHit:
                pass  # more shapes than torch keeps code for: this one runs as it is, the others stay compiled
            except TorchDynamoException as error:
                failed = True
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                notify(f"running uncompiled: {function.__name__} could not be compiled ({first})")
        return (otherwise or function)(*arguments)

    return call  # type: ignore[return-value]


def _code_folder() -> Path:
    """Where torch keeps compiled code from now on."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Torch reads the variable whenever it writes, and the first compilation of all, whosoever, sets it to the default.
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(home() / "compiled")
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])


def _drop_truncated(folder: Path) -> None:
    """Remove the libraries that a killed linker left unfinished; one that is being linked is left alone.

    Torch would load them for ever: a library without its end raises OSError at best, and SIGBUS ends the process at
    worst, so they are found before they are loaded.
    """
    from filelock import FileLock

    for library in folder.glob("*/*.so") if sys.platform == "linux" else ():
        lock = FileLock(folder / "locks" / f"{library.name.partition('.')[0]}.lock")  # whoever links it holds this
        try:
            if not _whole(library):
                with lock.acquire(timeout=0):
                    library.unlink(missing_ok=True)
        except OSError:  # it is gone, the lock is held (filelock's Timeout is one), or the folder is not ours to write
            continue


def _whole(library: Path) -> bool:
    """Whether a 64-bit ELF file reaches the end of its section table, which linkers put last."""
    header = struct.Struct("<4s36xQ10xHH2x")  # e_ident's magic, e_shoff, e_shentsize, e_shnum
    with library.open("rb") as file:
        start = file.read(header.size)
        size = os.fstat(file.fileno()).st_size
    if len(start) < header.size:
        return False
    magic, table, entry, count = header.unpack(start)
    return bool(magic == b"\x7fELF" and table and size >= table + entry * count)
