"""Measures memory: how much a block of code takes, how much is used now, and how much the machine has.

For a CUDA device it is the memory of the device, for any other device it is RAM.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Files of Linux about this process: its memory use; and a file to which "5" is written to reset the peak of this use.
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MACHINE, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")  # the memory of the machine and of the container


class Peak:
    """The result of `measured_peak`, filled in at the end of its block."""

    bytes: int | None = None  # None if this system does not report it


@contextmanager
def measured_peak(device: torch.device | str = "cpu") -> Iterator[Peak]:
    """Measure the peak memory of a `with` block, in bytes above the memory that is used at its start.

    For a CUDA device it is the memory of the device. For another device it is the RAM of this process, which only Linux
    reports. Before RAM is measured, the allocator returns to the system the memory that it keeps from earlier work: the
    block could use this memory again, and the measurement would not count it.
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
    """Return the bytes used now, on the CUDA device or else by this process; None if the system does not report it."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return _kilobytes("VmRSS") * 1024 if STATUS.exists() else None


def total_memory(device: torch.device) -> int:
    """Return the bytes of memory of the CUDA device, else the bytes of RAM of this machine or container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:  # the limit of a container
        return min(machine, int((CONTAINER / "memory.max").read_text()))
    except (OSError, ValueError):
        return machine


def free_memory(device: torch.device | str = "cpu") -> int:
    """Return the bytes that are still free, on the CUDA device or else for this process.

    If the system does not report the free RAM, the result is all of its RAM.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return int(min(_kilobytes("MemAvailable", MACHINE) * 1024, _left_of_container(), _left_of_process()))
    except (OSError, StopIteration):
        return total_memory(device)


def _left_of_container() -> float:
    """Return the bytes that are left below the container's limit; infinity if there is no limit.

    Files that the kernel keeps in memory count as free, because the kernel drops them when the memory is needed.
    """
    try:
        limit, used = (int((CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (CONTAINER / "memory.stat").read_text().splitlines()
        return limit - used + sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError):
        return math.inf


def _left_of_process() -> float:
    """Return the bytes of address space left below the limit of this process (ulimit -v); infinity without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit - _kilobytes("VmSize") * 1024


def _kilobytes(name: str, file: Path = STATUS) -> int:
    lines = file.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
