"""Measures RAM: how much a block of code takes, how much is used now, and how much the machine has."""

from __future__ import annotations

import ctypes
import gc
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MACHINE, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


class Peak:
    """The result of `measured_peak`, filled in at the end of its block."""

    bytes: int | None = None  # None if this system cannot tell


@contextmanager
def measured_peak(device: torch.device | str = "cpu") -> Iterator[Peak]:
    """The peak RAM of the block, in bytes above the RAM held at its start.

    It is the memory of the CUDA device or, without one, of this process (on Linux only). Before the block, the
    allocator gives back the memory that it keeps from earlier work. The block would use that memory uncounted.
    """
    peak, device = Peak(), torch.device(device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        CLEAR.write_text("5")  # resets the high-water mark (man 5 proc)
        before = _kilobytes("VmRSS")
    except (OSError, AttributeError):
        yield peak
        return
    yield peak
    peak.bytes = max(0, _kilobytes("VmHWM") - before) * 1024


def resident(device: torch.device | str = "cpu") -> int | None:
    """Bytes used now, on the CUDA device or else by this process; None if this system cannot tell."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return _kilobytes("VmRSS") * 1024 if STATUS.exists() else None


def total_memory(device: torch.device) -> int:
    """Bytes of RAM of the CUDA device, else those of this machine or container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:  # the limit of a container
        return min(machine, int((CONTAINER / "memory.max").read_text()))
    except (OSError, ValueError):
        return machine


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be taken on the CUDA device, else by this process; all of RAM if this system cannot tell."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return int(min(_kilobytes("MemAvailable", MACHINE) * 1024, _left_of_container(), _left_of_process()))
    except (OSError, StopIteration):
        return total_memory(device)


def _left_of_container() -> float:
    """Bytes below the container's limit. The kernel gives back files that it keeps in memory, so these do not count."""
    try:
        limit, used = (int((CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (CONTAINER / "memory.stat").read_text().splitlines()
        return limit - used + sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError):
        return math.inf


def _left_of_process() -> float:
    """Bytes of address space below the process's own limit (ulimit -v)."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit - _kilobytes("VmSize") * 1024


def _kilobytes(name: str, file: Path = STATUS) -> int:
    lines = file.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
