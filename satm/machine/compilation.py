"""Compiles functions of tensors with `torch.compile`.

It also checks whether this machine can compile, and chooses the folder in which compiled code is kept.
"""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, TypeAlias, TypeVar

import torch

from satm.home import home

F = TypeVar("F", bound=Callable[..., Any])

Compilation: TypeAlias = Literal["auto", "compiled", "eager"]
"""How steps are run: `auto` compiles them if this is possible and saves time, `compiled` always, `eager` never."""

FORMERLY = {"formerly": {"yes": "compiled", "no": "eager"}}
"""Metadata of a setting of type `Compilation`. Older stored configurations have other words (`yes`, `no`) for its
values; this maps them to the present words."""


_traced: ContextVar[bool] = ContextVar("traced", default=False)


def compiling() -> bool:
    """Whether the code that runs now is being compiled.

    A network may then use operations that are fast in compiled code only.
    """
    return torch.compiler.is_compiling() or _traced.get()


@contextmanager
def traced() -> Iterator[None]:
    """A block whose operations are only recorded, to be compiled later."""
    token = _traced.set(True)
    try:
        yield
    finally:
        _traced.reset(token)


def load_forward_mode() -> None:
    """Load torch's rules of forward-mode differentiation, and silence the warning that torch prints then.

    Torch loads the rules at the first use of forward mode, by a function that is deprecated in torch itself. It cannot
    load them while it traces a function.
    """
    zero = torch.zeros(())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.func.jvp(torch.sin, (zero,), (zero,))


def missing_compiler(device: torch.device | str = "cpu") -> str | None:
    """Return why nothing can be compiled for `device`, as the end of a sentence; None if compilation is possible."""
    if torch.device(device).type == "cuda":
        from importlib.util import find_spec

        return None if find_spec("triton") else "the package triton is not installed"
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if any(shutil.which(name) for name in wanted):
        return None
    return f"no C++ compiler is installed ({' or '.join(wanted)}; set CXX to use another)"


def compiled(function: F, *, notify: Callable[[str], None], otherwise: F | None = None) -> F:
    """Return `function`, a pure function of tensors, compiled by `torch.compile` once for each shape of its arguments.

    The compiled code is kept for later processes, in `SATM_HOME/compiled` or in the folder that
    `TORCHINDUCTOR_CACHE_DIR` names. If the path of `SATM_HOME` has a space or a quote, the code is kept in torch's own
    folder. If a compilation fails, `notify` is called with one line, and `function` is never compiled again: from then
    on `otherwise` runs, which must compute the same. If `otherwise` is None, the uncompiled `function` runs.
    """
    _drop_truncated(_code_folder())
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r}: expected a plain function")
    # Torch limits how many compilations it keeps for a code object. With a code object of its own, this function does
    # not share the limit with other functions.
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
                pass  # too many shapes for torch: this shape runs uncompiled, the earlier shapes stay compiled
            except TorchDynamoException as error:
                failed = True
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                notify(f"running uncompiled: {function.__name__} could not be compiled ({first})")
        return (otherwise or function)(*arguments)

    return call  # type: ignore[return-value]


def _code_folder() -> Path:
    """Choose the folder in which torch keeps compiled code from now on, and return it."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Torch reads this variable at each write. The first compilation of a process, ours or not, sets it to torch's
    # default. Therefore the default value is replaced as if the variable were not set.
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        ours = str(home() / "compiled")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = ours if _is_one_word(ours) else default_cache_dir()
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])


def _is_one_word(path: str) -> bool:
    """Whether the path can be used in the commands of torch's compiler, which torch splits at spaces."""
    try:
        return shlex.split(path) == [path]
    except ValueError:  # a quote without its partner
        return False


def _drop_truncated(folder: Path) -> None:
    """Remove compiled libraries that a killed linker left unfinished. A library that a linker is writing now is kept.

    Torch would load an unfinished library in every later process, and each time this would raise OSError or end the
    process by SIGBUS.
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
    """Whether a 64-bit ELF file is complete: it contains the end of its section table, which linkers write last."""
    header = struct.Struct("<4s36xQ10xHH2x")  # of the ELF header: magic number, e_shoff, e_shentsize, e_shnum
    with library.open("rb") as file:
        start = file.read(header.size)
        size = os.fstat(file.fileno()).st_size
    if len(start) < header.size:
        return False
    magic, table, entry, count = header.unpack(start)
    return bool(magic == b"\x7fELF" and table and size >= table + entry * count)
