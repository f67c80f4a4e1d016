"""Keeps memory that torch frees in this process, so that the next tensor does not have to wait for new pages."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # the numbers of two parameters of glibc's malloc (man 3 mallopt)
KEPT = 2**30
"""The most free bytes at the end of the heap that stay with this process. More than this goes back to the system.

Free bytes before a block that is still used stay with the process, however many they are.
"""


def keep_freed_memory() -> bool:
    """Let malloc keep freed memory. Returns whether this system's malloc can do this (glibc can).

    By default, glibc gets each block of more than 32 MB from the system and gives it back when it is freed. The system
    then fills the pages with zeros again for each new block. For uncompiled networks, this takes as long as their
    arithmetic (docs/engine.md, "Memory that is kept"). The process keeps more memory than it needs at the moment: up
    to its peak. The peak itself hardly changes.

    The effect is on the whole process. The command and its workers call this function; a program that uses the library
    calls it itself. `measured_peak` gives the kept memory back before it measures.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system, or another C library
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, KEPT))
