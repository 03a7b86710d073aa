"""Bytes of an upload that comes in several requests: where a provider keeps them until they are whole."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

from app import CHUNK_BYTES, Blobs, NotFound, Staged, disk_errors, plugin

# ==== 1. DISK ======================================================================================================
# What is done to a file that grows, wherever it lies.
# uses: ERRORS VALUES
# defines: GONE append_to_file read_file

GONE = "the bytes that were sent before are kept here no longer: begin anew"


def append_to_file(path: Path, at: int, data: bytes | memoryview) -> None:
    """Has a file hold its first `at` bytes and these, durably. Raises NotFound if it has no such bytes."""
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        raise NotFound(GONE) from None
    try:
        if os.fstat(descriptor).st_size < at:
            raise NotFound(GONE)
        os.ftruncate(descriptor, at)
        os.lseek(descriptor, at, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The first bytes of a file. Raises NotFound if it does not have them."""
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        raise NotFound(GONE) from None
    with file:
        left = size_bytes
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise NotFound(GONE)
            left -= len(chunk)
            yield chunk


# ==== 2. PARTS =====================================================================================================
# A provider that can add to what it has staged says so by its attribute `parts`. For any other one the bytes wait in a file
# of this node, and are staged when they are whole, which costs a copy.
# uses: VALUES CONTRACTS PROVIDERS DISK plugin:reserve
# defines: Parts LocalParts parts_of digest_of FileParts TableParts


class Parts(Protocol):
    """Staged bytes that grow. A `place` is a text that says where they are, and may change with every append."""

    slides: bool  # they are kept for a day after the last append; if not, after begin()

    def begin(self, path: str) -> str:
        """The place of no bytes yet. `path` is where they will be published, "" if that is not known."""

    def append(self, place: str, at: int, data: bytes | memoryview) -> str:
        """Adds bytes behind the first `at`, durably, in place of any that an append whose place was forgotten had left
        there; the place of all. A view is good for this call only. Raises NotFound if the first `at` bytes are gone."""

    def read(self, place: str, size_bytes: int) -> Iterator[bytes] | None:
        """The bytes; None if they cannot be read before they are published."""

    def is_bound(self, place: str) -> bool:
        """Whether they can be published at the path of begin() alone."""

    def whole(self, place: str, size_bytes: int, sha256: str) -> Staged:
        """All of them, ready to be published. It may be asked for again."""

    def tidy(self, before: str, after: str) -> None:
        """Forgets what a place had that a later one has no longer; with "", the rest once they are published."""

    def drop(self, place: str) -> None:
        """Forgets the bytes. Idempotent."""


class LocalParts:
    """Parts in files of this node."""

    slides = True

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs, self._folder, self._who = blobs, folder, f"provider {blobs.name}"

    def _file(self, place: str) -> Path:
        return self._folder / os.path.basename(place)

    def begin(self, path: str) -> str:
        name = secrets.token_hex(16)
        with disk_errors(self._who, "staging"):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._file(name).touch(mode=0o600)
        return name

    def append(self, place: str, at: int, data: bytes | memoryview) -> str:
        plugin("reserve").check_scratch("staging")
        with disk_errors(self._who, "staging"):
            append_to_file(self._file(place), at, data)
        return place

    def read(self, place: str, size_bytes: int) -> Iterator[bytes]:
        return read_file(self._file(place), size_bytes)

    def is_bound(self, place: str) -> bool:
        return False

    def whole(self, place: str, size_bytes: int, sha256: str) -> Staged:
        with disk_errors(self._who, "staging"):
            return self._blobs.stage(self.read(place, size_bytes))

    def tidy(self, before: str, after: str) -> None:
        if not after:
            self.drop(before)

    def drop(self, place: str) -> None:
        with suppress(OSError):
            self._file(place).unlink(missing_ok=True)


def parts_of(blobs: Blobs, folder: Path) -> Parts:
    """Where a provider keeps bytes that grow; `folder` is of this node, for one that cannot."""
    return cast(Any, getattr(blobs, "parts", None)) or LocalParts(blobs, folder)


def digest_of(parts: Parts, place: str, size_bytes: int) -> str:
    """The SHA-256 of bytes in hex; "" if they cannot be read."""
    digest = hashlib.sha256()
    chunks = parts.read(place, size_bytes)
    for chunk in chunks or ():
        digest.update(chunk)
    return "" if chunks is None else digest.hexdigest()


class FileParts:
    """Parts of a provider of files: what it stages is a file."""

    slides = True

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs

    def begin(self, path: str) -> str:
        return cast(str, self._blobs.stage(()).id)

    def append(self, place: str, at: int, data: bytes | memoryview) -> str:
        with self._blobs.staging(place) as file:
            append_to_file(file, at, data)
        return place

    def read(self, place: str, size_bytes: int) -> Iterator[bytes]:
        with self._blobs.staging(place) as file:
            yield from read_file(file, size_bytes)

    def is_bound(self, place: str) -> bool:
        return False

    def whole(self, place: str, size_bytes: int, sha256: str) -> Staged:
        with self._blobs.staging(place) as file:
            append_to_file(file, size_bytes, b"")
            self._blobs.stamp(file)
        return Staged(place, size_bytes, sha256)

    def tidy(self, before: str, after: str) -> None: ...

    def drop(self, place: str) -> None:
        self._blobs.discard(Staged(place, 0, ""))


class TableParts:
    """Parts of a provider that keeps files in tables (plugins/sql_files.py)."""

    slides = True

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs

    def begin(self, path: str) -> str:
        return cast(str, self._blobs.stage(()).id)

    def append(self, place: str, at: int, data: bytes | memoryview) -> str:
        self._blobs.append(place, at, data)
        return place

    def read(self, place: str, size_bytes: int) -> Iterator[bytes]:
        return cast(Iterator[bytes], self._blobs.staged_bytes(place, size_bytes))

    def is_bound(self, place: str) -> bool:
        return False

    def whole(self, place: str, size_bytes: int, sha256: str) -> Staged:
        self._blobs.append(place, size_bytes, b"")
        return Staged(place, size_bytes, sha256)

    def tidy(self, before: str, after: str) -> None: ...

    def drop(self, place: str) -> None:
        self._blobs.discard(Staged(place, 0, ""))
