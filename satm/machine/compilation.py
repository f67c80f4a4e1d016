"""Compiles a function of tensors with `torch.compile`, and says whether this machine can and where the code is kept."""

from __future__ import annotations

import os
import shlex
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
"""How steps are run: `auto` compiles if that saves time, `compiled` and `eager` decide by hand."""

FORMERLY = {"formerly": {"yes": "compiled", "no": "eager"}}
"""Metadata of a setting of type `Compilation`: the words that older stored configurations have for its values."""


def missing_compiler(device: torch.device | str = "cpu") -> str | None:
    """Why nothing can be compiled for `device`, as the end of a sentence; None if it can."""
    if torch.device(device).type == "cuda":
        from importlib.util import find_spec

        return None if find_spec("triton") else "the package triton is not installed"
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if any(shutil.which(name) for name in wanted):
        return None
    return f"no C++ compiler is installed ({' or '.join(wanted)}; set CXX to use another)"


def compiled(function: F, *, notify: Callable[[str], None], otherwise: F | None = None) -> F:
    """`function`, a pure function of tensors, compiled by `torch.compile` once for each shape of its arguments.

    The code is kept for later processes, in `SATM_HOME/compiled` or the folder that `TORCHINDUCTOR_CACHE_DIR` names.
    If the path of `SATM_HOME` has a space, it is kept in torch's own folder. If the compilation fails, `notify` gets
    one line, once. Then `otherwise` runs, which computes the same, or the uncompiled `function` if there is no
    `otherwise`.
    """
    _drop_truncated(_code_folder())
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r}: expected a plain function")
    # Torch limits how many compilations it keeps for a code object. With its own code object, this function shares the
    # limit with no other.
    own = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    fast = torch.compile(own, fullgraph=True, dynamic=False)
    failed = False

    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException  # the second: any failure to compile

    def call(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            try:
                return fast(*arguments)
            except FailOnRecompileLimitHit:
                pass  # too many shapes for torch: this one runs uncompiled, the others stay compiled
            except TorchDynamoException as error:
                failed = True
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                notify(f"running uncompiled: {function.__name__} could not be compiled ({first})")
        return (otherwise or function)(*arguments)

    return call  # type: ignore[return-value]


def _code_folder() -> Path:
    """The folder in which torch keeps compiled code from now on."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Torch reads this variable at each write. The first compilation of a process, ours or not, sets it to the default.
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        ours = str(home() / "compiled")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = ours if _is_one_word(ours) else default_cache_dir()
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])


def _is_one_word(path: str) -> bool:
    """Whether a path stays whole in the commands that torch gives the compiler: it splits them at spaces."""
    try:
        return shlex.split(path) == [path]
    except ValueError:  # a quote without its partner
        return False


def _drop_truncated(folder: Path) -> None:
    """Remove libraries that a killed linker left unfinished, but not one that a linker is writing now.

    Torch would load such a library in every later process. Loading it raises OSError, or SIGBUS ends the process.
    """
    from filelock import FileLock

    for library in folder.glob("*/*.so") if sys.platform == "linux" else ():
        lock = FileLock(folder / "locks" / f"{library.name.partition('.')[0]}.lock")  # its linker holds this lock
        try:
            if not _whole(library):
                with lock.acquire(timeout=0):
                    library.unlink(missing_ok=True)
        except OSError:  # the file is gone, the lock is held (Timeout is an OSError), or we may not write
            continue


def _whole(library: Path) -> bool:
    """Whether a 64-bit ELF file contains the end of its section table, which linkers write last."""
    header = struct.Struct("<4s36xQ10xHH2x")  # e_ident's magic, e_shoff, e_shentsize, e_shnum
    with library.open("rb") as file:
        start = file.read(header.size)
        size = os.fstat(file.fileno()).st_size
    if len(start) < header.size:
        return False
    magic, table, entry, count = header.unpack(start)
    return bool(magic == b"\x7fELF" and table and size >= table + entry * count)
