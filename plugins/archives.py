"""What an archive of a backup is made of: its checksum, files in tars, and lists of any length in order."""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import io
import itertools
import operator
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from app import (
    CHUNK_BYTES,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    NotFound,
    NotPermitted,
    PreconditionFailed,
    Unseen,
    Value,
    check_path,
    dump_json,
    load_json,
    may_write,
    plugin,
)

# ==== 1. SEALS ===================================================================================================
# The file: a zip whose comment, its last bytes, is the digest of all bytes before: so none of them can change unnoticed.
# uses: ERRORS VALUES PROVIDERS plugin:disk
# defines: SEAL_BYTES STEP_BYTES SteadyFile seal check_seal scratch_in in_use remove_left

SEAL_BYTES = 64  # a sha-256 in hexadecimal
STEP_BYTES = 512 * 1024  # of which a medium writes hundreds a second
_LONGEST_PAUSE_S = 0.1  # after a step


class SteadyFile(io.FileIO):
    """A file whose bytes go to the medium as they come, a few at a time: whoever uses the same medium waits for a step and
    not for all of them, and has it for half of the time. They are to be synced at the end all the same."""

    _at = 0  # up to where they were written out

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size_bytes = len(view)
        while view:
            view = view[super().write(view[:STEP_BYTES]) or 0 :]
            if (end := self.tell()) >= self._at + STEP_BYTES:
                began = time.monotonic()
                plugin("disk").write_out(self.fileno(), self._at, end - self._at)
                time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE_S))
                self._at = end
        return size_bytes


def seal(path: Path) -> None:
    """Put the digest at the end of a new archive, durably."""
    with path.open("r+b") as file:
        end = path.stat().st_size - SEAL_BYTES
        digest = _digest(file, end)
        file.seek(end)
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())


def check_seal(path: Path) -> None:
    """Raises BadRequest if a byte of an archive is not what it was."""
    with path.open("rb") as file:
        if _digest(file, max(0, path.stat().st_size - SEAL_BYTES)) != file.read():
            raise BadRequest(f"{path.name} is damaged, or is not a backup: its checksum does not match")


def _digest(file: IO[bytes], size_bytes: int) -> bytes:
    """The sha-256 of the next bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while size_bytes and (chunk := file.read(min(CHUNK_BYTES, size_bytes))):
        digest.update(chunk)
        size_bytes -= len(chunk)
    return digest.hexdigest().encode()


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """A folder for what is needed for a while, in that folder or, if nothing may be written there, among temporary files."""
    remove_left(folder, ".satchel-scratch-*")
    place = folder if may_write(folder) else None
    with tempfile.TemporaryDirectory(prefix=".satchel-scratch-", dir=place) as made, in_use(Path(made)):
        yield Path(made)


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Says of a file or folder, until the block or this process ends, that it is no leftover."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_left(folder: Path, pattern: str) -> None:
    """Remove what a process that was killed left in a folder."""
    for path in folder.glob(pattern):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another one is at work on it
            continue
        finally:
            os.close(descriptor)
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


# ==== 2. PACKS ===================================================================================================
# Files of any number in few entries of an archive, so that neither its writer nor its reader keeps anything of each file.
# uses: ERRORS VALUES CONTRACTS plugin:copy
# defines: facts_of file_line digested tallied files_of chunks_of Sorted rows_of Pack unpacked

_Row: TypeAlias = list[Any]  # of a list as Sorted has them
_HELD_LINES = 50_000  # that a list keeps in memory, some megabytes
_TRIES = 3  # to read a file that another program is writing


def facts_of(tally: Any) -> Value:
    """What the manifest says of what a Tally of plugins/copy.py counted."""
    side = tally.side()
    return {"count": side.count, "size_bytes": side.size_bytes, "sha256": side.sha256}


def file_line(path: str, size_bytes: int, sha256: str) -> bytes:
    return dump_json([path, size_bytes, sha256]).encode()


def digested(chunks: Iterable[bytes]) -> tuple[int, str]:
    """The size in bytes and the sha-256 of a file."""
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
    return size_bytes, digest.hexdigest()


def tallied(files: Iterable[Sequence[Any]]) -> Value:
    """How many files there are, and one digest of them all: each is path, size and sha-256, in the order of paths."""
    tally = plugin("copy").Tally()
    for path, size_bytes, sha256 in files:
        tally.add(file_line(path, size_bytes, sha256), size_bytes)
    return facts_of(tally)


def files_of(blobs: Blobs) -> Value:
    """The same of all files that are there."""

    def files() -> Iterator[Sequence[Any]]:
        for blob in (one for one in blobs.scan() if isinstance(one, Blob)):
            with closing(blobs.read(blob.path)) as reader:
                yield blob.path, *digested(reader)

    return tallied(files())


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


class Sorted:
    """JSON arrays of which the first item is a text, iterated in its order: what does not fit into memory is in files."""

    def __init__(self, folder: Path) -> None:
        """The folder is made, and is to be this list's own."""
        folder.mkdir()
        self._folder, self._held, self._runs = folder, list[_Row](), 0

    def add(self, *row: Any) -> None:
        self._held.append(list(row))
        if len(self._held) >= _HELD_LINES:
            with (self._folder / str(self._runs)).open("wb") as file:
                file.writelines(dump_json(one).encode() + b"\n" for one in self._in_order())
            self._held, self._runs = [], self._runs + 1

    def _in_order(self) -> list[_Row]:
        return sorted(self._held, key=operator.itemgetter(0))

    def __iter__(self) -> Iterator[_Row]:
        runs = [rows_of(self._folder / str(number)) for number in range(self._runs)]
        return heapq.merge(*runs, self._in_order(), key=operator.itemgetter(0))


def rows_of(path: Path) -> Iterator[_Row]:
    """The lines of a file of JSON; none if there is no such file."""
    if path.exists():
        with path.open("rb") as file:
            yield from cast(Iterator[_Row], map(load_json, file))


class Pack:
    """The files of a provider in an archive: tars, and a list of what counts of them.

    fill() may be called again: it adds what is new or was changed, and what is gone no longer counts. A row of the list is
    [path, etag, size_bytes, sha256, modified_at, number], the last that of its member, counted from 0 through all tars.
    """

    def __init__(
        self,
        name: str,
        archive: zipfile.ZipFile,
        scratch: Path,
        step: Callable[[int], None],
        is_skipped: Callable[[str], bool] = lambda path: False,
    ) -> None:
        """`scratch` is a folder to be made, and this pack's own; `step` is called with numbers of bytes. Files at paths that
        are skipped are not taken in."""
        scratch.mkdir()
        self._is_skipped = is_skipped
        self._at, self._archive, self._scratch, self._step = f"providers/{name}/files", archive, scratch, step
        self._count, self._list, self._tars = 0, scratch / "list", list[str]()

    def fill(self, blobs: Blobs, wanted: Iterable[_Row], leave_out: Callable[[str, str], None]) -> Iterator[str]:
        """Take in all files; those `wanted`, rows in the order of paths, even if they are gone by now and were taken in
        before. Yields the path of each of them that cannot be had; `leave_out` gets paths that cannot be looked at, and why.
        """
        fresh = self._scratch / "fresh"
        self._tars.append(f"{self._at}/{len(self._tars)}.tar")
        with self._archive.open(self._tars[-1], "w", force_zip64=True) as tar, fresh.open("wb") as listing:
            for path, found in self._beside(blobs, wanted, leave_out):
                row, blob = found.get("row"), found.get("blob")
                if "wanted" in found and not blob and not row:
                    with suppress(NotPermitted):  # which the listing has named
                        blob = blobs.stat(path)  # published after the listing had passed it
                if blob and not (row and row[1] == blob.etag):
                    row = self._add(tar, blobs, blob, leave_out) or row
                elif not blob and "wanted" not in found:
                    continue
                if row:
                    listing.write(dump_json(row).encode() + b"\n")
                elif "wanted" in found:
                    yield path
            tar.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar
        fresh.replace(self._list)

    def _beside(
        self, blobs: Blobs, wanted: Iterable[_Row], leave_out: Callable[[str, str], None]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """By path, in order: the "row" of it, the "blob" there, and whether it is "wanted"."""
        rows = ((row[0], "row", row) for row in rows_of(self._list))
        needed = ((path, "wanted", True) for path, *_ in wanted)
        there = ((one.path, "blob", one) for one in self._seen(blobs, leave_out))
        merged = heapq.merge(rows, there, needed, key=operator.itemgetter(0))
        for path, found in itertools.groupby(merged, operator.itemgetter(0)):
            yield path, {what: one for _, what, one in found}

    def _seen(self, blobs: Blobs, leave_out: Callable[[str, str], None]) -> Iterator[Blob]:
        for one in blobs.scan():
            if isinstance(one, Unseen):
                leave_out(one.path, one.problem)
            elif isinstance(one, Blob) and not self._is_skipped(one.path):
                yield one

    def _add(self, tar: IO[bytes], blobs: Blobs, blob: Blob, leave_out: Callable[[str, str], None]) -> _Row | None:
        """The row of a file that was written to the tar; None if it was removed meanwhile, or is never the same twice."""
        found: Blob | None = blob
        for _ in range(_TRIES):
            try:
                if found is None:
                    return None
                reader = blobs.read(found.path, if_match=found.etag)
            except NotFound:
                return None
            except NotPermitted as error:
                leave_out(blob.path, error.message)
                return None
            except PreconditionFailed:  # it was replaced
                found = blobs.stat(blob.path)
                continue
            sha256 = self._write(tar, found, reader, lambda before: blobs.stat(before.path) != before)
            self._count += 1
            if sha256:
                return [found.path, found.etag, found.size_bytes, sha256, found.modified_at, self._count - 1]
            found = blobs.stat(blob.path)
        leave_out(blob.path, "another program was writing it all the time")
        return None

    def _write(self, tar: IO[bytes], blob: Blob, reader: Any, is_changed: Callable[[Blob], bool]) -> str:
        """Add a member; returns its digest, or "" if it became another file meanwhile and has the size alone."""
        head = tarfile.TarInfo(blob.path)
        head.size, head.mtime, head.mode = blob.size_bytes, blob.modified_at, 0o600
        tar.write(head.tobuf(tarfile.PAX_FORMAT))
        digest, left = hashlib.sha256(), blob.size_bytes
        try:
            with closing(reader):
                for chunk in reader:
                    digest.update(chunk)
                    tar.write(chunk)
                    left -= len(chunk)
                    self._step(len(chunk))
        except AppError:
            if not is_changed(blob):
                raise
        whole = not left
        while left:
            left -= tar.write(bytes(min(left, CHUNK_BYTES)))
        tar.write(bytes(-blob.size_bytes % tarfile.BLOCKSIZE))
        return digest.hexdigest() if whole else ""

    def close(self) -> Value:
        """Write the list, by number, into the archive; returns what the manifest says of the files."""
        tally, by_number = plugin("copy").Tally(), Sorted(self._scratch / "numbers")
        for path, _, size_bytes, sha256, modified_at, number in rows_of(self._list):
            tally.add(file_line(path, size_bytes, sha256), size_bytes)
            by_number.add(f"{number:020}", path, modified_at)
        with self._archive.open(f"{self._at}.jsonl", "w", force_zip64=True) as listing:
            for number, *facts in by_number:
                listing.write(dump_json([int(number), *facts]).encode() + b"\n")
        return facts_of(tally) | {"entry": f"{self._at}.jsonl", "tars": self._tars}


def unpacked(archive: zipfile.ZipFile, facts: Value) -> Iterator[tuple[str, float, Iterator[bytes]]]:
    """The files that the manifest's `facts` are about: path, time of change, and bytes that are read before the next one."""
    number = -1
    with archive.open(facts["entry"]) as listing:
        rows = cast(Iterator[_Row], map(load_json, listing))
        row = next(rows, None)
        for entry in facts["tars"]:
            try:
                with archive.open(entry) as file, tarfile.open(fileobj=file, mode="r|", bufsize=CHUNK_BYTES) as tar:
                    while member := tar.next():
                        cast(Any, tar).members.clear()  # which it would all remember
                        number += 1
                        if row and row[0] == number:
                            content = tar.extractfile(member)
                            if content is None:
                                raise BadRequest(f"{entry} has something else than a file: {member.name}")
                            yield check_path(row[1].split("/"), is_there=True), float(row[2]), chunks_of(content)
                            row = next(rows, None)
            except tarfile.TarError as error:
                raise BadRequest(f"the backup is damaged: {entry} is no tar: {error}") from error
        if row:
            raise BadRequest(f"the backup is not whole: it has no bytes of {row[1]}")
