"""Counts the bytes that a Parquet file unpacks to, from the headers of its pages.

The footer of the file states sizes too, but they may be false. A page header is a struct in Thrift's compact protocol
(`PageHeader` in parquet-format). Field 2 is the size of the unpacked page, field 3 is the size of the page in the file.
The page follows its header directly, and the header of the next page follows the page.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from satm.errors import DataError

_DEPTH = 8  # how deep structs may be nested; a real header has 3 levels


def unpacked_bytes(metadata: Any, file: Path) -> int:
    """Return the unpacked bytes of all pages of all columns. `metadata` is the file's metadata as pyarrow reads it.

    Raises DataError if the bytes of a column are not a series of pages.
    """
    total = 0
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                starts = [chunk.data_page_offset, chunk.dictionary_page_offset or 0]
                at = min(start for start in starts if start > 0) if max(starts) > 0 else -1
                end = at + chunk.total_compressed_size
                while at < end:
                    header = _Header(content, at, file)
                    at = header.end + header.size
                    total += header.unpacked
    return total


class _Header:
    """The page header at position `at` of `content`.

    `unpacked` is the size of the unpacked page, and `size` is the size of the page in the file, both in bytes. `end` is
    the position after the header.
    """

    def __init__(self, content: mmap.mmap, at: int, file: Path) -> None:
        self.content, self.end = content, at
        found: dict[int, int] = {}
        try:
            if at < 0:
                raise IndexError
            self._struct(found, _DEPTH)
            self.unpacked, self.size = found[2], found[3]
        except (IndexError, KeyError) as error:
            raise DataError(f"{file}: the page at byte {at} has no header that can be read; copy it again") from error
        if self.unpacked < 0 or self.size < 0:
            raise DataError(f"{file}: the page at byte {at} claims {min(self.unpacked, self.size)} bytes; refused")

    def _byte(self) -> int:
        self.end += 1
        return self.content[self.end - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise IndexError

    def _struct(self, numbers: dict[int, int], depth: int) -> None:
        """Read a struct to its end. Put its whole numbers into `numbers`, with the field number as the key."""
        name = 0
        while head := self._byte():
            zigzag = head >> 4 or self._varint()
            # The upper 4 bits are the distance to the last field number. If they are 0, the field number follows.
            name = name + zigzag if head >> 4 else (zigzag >> 1) ^ -(zigzag & 1)
            kind = head & 0xF
            if kind in (4, 5, 6):  # whole numbers of 16, 32 or 64 bits
                value = self._varint()
                numbers[name] = (value >> 1) ^ -(value & 1)
            elif kind not in (1, 2):  # kinds 1 and 2 are the booleans; they have no bytes of their own
                self._skip(kind, depth)

    def _skip(self, kind: int, depth: int) -> None:
        if not depth:
            raise IndexError
        match kind:
            case 1 | 2 | 3:  # a boolean in a list, or a byte
                self.end += 1
            case 4 | 5 | 6:  # whole numbers
                self._varint()
            case 7:  # a float of 64 bits
                self.end += 8
            case 8:  # bytes or text
                size = self._varint()
                self.end += size
            case 9 | 10:  # a list or a set
                head = self._byte()
                for _ in range(head >> 4 if head >> 4 < 15 else self._varint()):
                    self._skip(head & 0xF, depth - 1)
                    self.content[self.end - 1]  # IndexError at the end of the file, however large the count is
            case 12:  # a struct
                self._struct({}, depth - 1)
            case _:  # maps and other types, which a page header does not contain
                raise IndexError
