"""An archive in the ZIP format that is written as a stream: nothing in it is gone back to."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterator
from datetime import datetime, tzinfo
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple, cast

from app import CHUNK_BYTES, AppError

# ==== 1. WRITER ==================================================================================================
# PKWARE's APPNOTE 6.3.10, as far as a stream needs it: sizes and checksums stand behind the bytes of each file, and the list
# of all entries, which comes last, waits in a temporary file. So an archive of any size is made in the same memory.
# uses: ERRORS VALUES
# defines: Writer

_FLAGS = 0x0808  # sizes come behind the bytes (bit 3), names are UTF-8 (bit 11)
_DEFLATED, _STORED = 8, 0
_MADE_BY_UNIX = 3 << 8
_FULL_32, _FULL_16 = 0xFFFFFFFF, 0xFFFF  # what stands where a number is too large, and is in the ZIP64 field instead
_LIST_IN_MEMORY_BYTES = 1 << 18  # of the list of entries; what is larger goes to a temporary file
_FAST, _AS_IT_IS = 1, 0  # levels of compression


class _Entry(NamedTuple):
    """What the list says of an entry; `offset` is where it begins in the archive."""

    name: bytes
    method: int
    modified_at: float
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int


def _stored(name: str) -> bytes:
    """The bytes of a name. Windows would take a backslash for a slash, and so a file to another place."""
    return name.replace("\\", "%5C").encode()


class Writer:
    """The pieces of an archive, one after the other. Times of day are those of the zone."""

    def __init__(self, zone: tzinfo, most_32: int = _FULL_32, most_16: int = _FULL_16) -> None:
        """Numbers of `most_32` or `most_16` and more are written as ZIP64 has them."""
        self._zone, self._most_32, self._most_16 = zone, most_32, most_16
        self._offset = self._count = 0
        self._list: IO[bytes] = cast(IO[bytes], SpooledTemporaryFile(_LIST_IN_MEMORY_BYTES))  # noqa: SIM115

    def close(self) -> None:
        self._list.close()

    def folder(self, name: str, modified_at: float) -> bytes:
        """An empty folder."""
        one = _Entry(_stored(f"{name}/"), _STORED, modified_at, 0, 0, 0, self._offset)
        return self._counted(self._local(one, 0x0800, b"") + self._listed(one, 0x0800, (0o40755 << 16) | 0x10))

    def file(
        self, name: str, modified_at: float, size_bytes: int, chunks: Iterator[bytes], *, is_packed: bool
    ) -> Generator[bytes, None, AppError | None]:
        """A file of about so many bytes, in pieces. Bytes that are compressed already (`is_packed`) stay as they are.
        Returns what broke the bytes off, None if they came to their end."""
        packer = zlib.compressobj(_AS_IT_IS if is_packed else _FAST, zlib.DEFLATED, -zlib.MAX_WBITS)
        is_large = size_bytes + (size_bytes >> 9) + 65536 >= self._most_32  # it may get longer by being packed
        began, crc, seen, packed, broken = self._offset, 0, 0, 0, None
        none_yet = _FULL_32 if is_large else 0
        local = _Entry(_stored(name), _DEFLATED, modified_at, 0, none_yet, none_yet, began)
        yield self._counted(self._local(local, _FLAGS, struct.pack("<HHQQ", 1, 16, 0, 0) if is_large else b""))
        waiting = b""
        try:
            for chunk in chunks:
                crc, seen = zlib.crc32(chunk, crc), seen + len(chunk)
                waiting += packer.compress(chunk)
                if len(waiting) >= CHUNK_BYTES // 4:
                    packed += len(waiting)
                    yield self._counted(waiting)
                    waiting = b""
        except AppError as error:
            broken = error
        waiting += packer.flush()
        packed += len(waiting)
        one = local._replace(crc=crc, packed_bytes=packed, size_bytes=seen)
        sizes = struct.pack("<QQ" if is_large else "<LL", packed, seen)
        yield self._counted(waiting + b"PK\7\x08" + struct.pack("<L", crc) + sizes)
        self._listed(one, _FLAGS, 0o100644 << 16)
        return broken

    def end(self) -> Iterator[bytes]:
        """The list of all entries."""
        began = self._offset
        self._list.seek(0)
        while piece := self._list.read(CHUNK_BYTES // 4):
            yield self._counted(piece)
        size, count, at = self._offset - began, self._count, self._offset
        if count >= self._most_16 or max(size, began) >= self._most_32:
            told = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, _MADE_BY_UNIX | 45, 45, 0, 0, count, count, size, began)
            yield told + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
        few = count if count < self._most_16 else _FULL_16
        size, began = (one if one < self._most_32 else _FULL_32 for one in (size, began))
        yield struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, size, began, 0)

    def _counted(self, piece: bytes) -> bytes:
        self._offset += len(piece)
        return piece

    def _local(self, one: _Entry, flags: int, more: bytes) -> bytes:
        extra = self._times(one) + more
        facts = (45 if more else 20, flags, one.method, *self._clock(one), 0, one.packed_bytes, one.size_bytes)
        return struct.pack("<4s5H3L2H", b"PK\3\4", *facts, len(one.name), len(extra)) + one.name + extra

    def _listed(self, one: _Entry, flags: int, attributes: int) -> bytes:
        """Notes an entry in the list; nothing is sent of that until the end."""
        numbers = (one.size_bytes, one.packed_bytes, one.offset)
        large = [number for number in numbers if number >= self._most_32]
        size, packed, offset = (_FULL_32 if number >= self._most_32 else number for number in numbers)
        more = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        extra, version = self._times(one) + more, 45 if large else 20
        facts = (_MADE_BY_UNIX | version, version, flags, one.method, *self._clock(one), one.crc, packed, size)
        tail = (len(one.name), len(extra), 0, 0, 0, attributes, offset)
        self._list.write(struct.pack("<4s6H3L5H2L", b"PK\1\2", *facts, *tail) + one.name + extra)
        self._count += 1
        return b""

    def _clock(self, one: _Entry) -> tuple[int, int]:
        """Time and date as MS-DOS has them: from 1980 on, in steps of two seconds."""
        at = datetime.fromtimestamp(min(max(one.modified_at, 315_619_200), 4_354_732_800), self._zone)
        year = min(max(at.year, 1980), 2107)
        return (at.hour << 11) | (at.minute << 5) | (at.second // 2), ((year - 1980) << 9) | (at.month << 5) | at.day

    def _times(self, one: _Entry) -> bytes:
        """The moment itself, as Info-ZIP writes it ("UT")."""
        at = int(one.modified_at)
        return struct.pack("<2sHBl", b"UT", 5, 1, at) if 0 <= at < 1 << 31 else b""
