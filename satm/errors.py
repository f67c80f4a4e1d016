"""The exceptions that this suite raises on purpose.

Each message is one line that names the value, what was expected and the way out. The command line prints it and chooses
the exit code; the library never prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

TRACEBACK = "SATM_TRACEBACK"  # an environment variable: if it is set, an unexpected error is shown with a traceback


class SatmError(Exception):
    """A failure that its message explains (exit code 1)."""

    exit_code = 1


class UsageError(SatmError):
    """A wrong request: an option, a name or a value that makes no sense (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration value outside its range, or a combination that cannot work."""


class UnknownName(UsageError):
    """A name under which nothing is registered. The message offers the nearest names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = get_close_matches(name, self.known, n=3, cutoff=0.5)
        if near:
            advice = f"did you mean {' or '.join(near)}?"
        elif self.known:
            advice = "known: " + ", ".join(self.known[:20]) + (", …" if len(self.known) > 20 else "")
        else:
            advice = "none is known yet"
        super().__init__(f"unknown {kind} '{name}': {advice}{' ' + hint if hint else ''}")


class PluginError(UsageError):
    """A plugin (an entry point of another package) that cannot be loaded or used."""


class ShapeError(SatmError):
    """Tensors with shapes that do not fit their use."""


class DataError(SatmError):
    """A data set that is missing, incomplete or corrupt."""


class ExpertError(SatmError):
    """Expert trajectories that are missing, too short or damaged."""


class DamagedFile(SatmError):
    """A file in `SATM_HOME` with other contents than were written to it.

    Code that can make the file again catches this error and makes the file again.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} is damaged ({reason}); the next command that makes such files makes it again")


class RegistryError(SatmError):
    """A registry file that cannot be opened, read or written, or a reference to something that it does not hold."""


class RegistryBusy(RegistryError):
    """A registry file that another process is writing. The same call may succeed later."""


class Busy(SatmError):
    """Another process does the same work. `lock` is the path of the lock file that the other process holds."""

    def __init__(self, message: str, lock: str) -> None:
        super().__init__(message)
        self.lock = lock


class Diverged(SatmError):
    """A loss or a gradient that is not finite, or is far too large. `measured` holds the measured values by name."""

    def __init__(self, message: str, *, measured: Mapping[str, float] | None = None) -> None:
        self.measured = dict(measured or {})
        super().__init__(message)


class Interrupted(SatmError):
    """Work that was stopped on request. Its state is saved; the message says how to continue it (exit code 130)."""

    exit_code = 130


class Pruned(Interrupted):
    """A trial that a search (`satm tune`) stopped at a point of its validation curve, because other trials do better.

    The state of the trial is saved.
    """


class Shadowed(SatmError):
    """One of our top-level packages is hidden by another package of the same name."""


def spelled(error: Exception) -> str:
    """Return a one-line message for any error. An unexpected error is a fault of this suite, and the line says so."""
    known = explained(error)
    if known is not None:
        return known
    return f"{type(error).__name__}: {error}; this is a fault of satm: set {TRACEBACK}=1 to see where, and report it"


def explained(error: Exception) -> str | None:
    """Return a one-line message for an expected error; None for an unexpected one.

    Three kinds of errors are expected: errors that this suite raises on purpose, errors of the operating system, and a
    lack of memory.
    """
    if isinstance(error, SatmError):
        return str(error)
    if isinstance(error, OSError):  # mostly of a file, and not handled by any part of the library
        return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"
    return _no_room(error) if _out_of_memory(error) else None


def _out_of_memory(error: Exception) -> bool:
    """Whether the error says that Python, or torch on any device, could not get memory.

    torch has an error class of its own for this on CUDA only. Therefore the message is searched for the words that
    torch uses in such an error on every device.
    """
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)


def _no_room(error: Exception) -> str:
    said = str(error).split(". Error code")[0].split("you tried to ")[-1].splitlines()
    return (
        f"out of memory ({said[0] if said else 'not even for a small request'}); give a smaller image_size, "
        "batch or network, or another --device"
    )
