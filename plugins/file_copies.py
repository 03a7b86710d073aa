"""A file once more at another path: of providers that cannot copy by themselves, and of plain files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

from app import (
    CHUNK_BYTES,
    BadRequest,
    Blob,
    Blobs,
    Conflict,
    NotFound,
    PreconditionFailed,
    Staged,
    Unsupported,
    need_blob,
    new_id,
    plugin,
)

# ==== 1. COPIES ==================================================================================================
# The bytes are read and staged again. A file that is replaced meanwhile is copied as it was.
# uses: ERRORS VALUES CONTRACTS
# defines: within together


def within(blobs: Blobs, source: str, target: str) -> Blob:
    """Copies a blob inside a provider, with its time. Raises NotFound if it is missing, Conflict if the target exists."""
    blob = blobs.stat(source)
    if blob is None:
        raise NotFound(f"{source} does not exist")
    with closing(blobs.read(source, if_match=blob.etag)) as chunks:
        staged = blobs.stage(chunks, target)
    try:
        return blobs.publish(staged._replace(modified_at=blob.modified_at), target, if_none_match=True)
    except PreconditionFailed as error:
        blobs.discard(staged)
        raise Conflict(f"{target} exists") from error
    except BaseException:
        blobs.discard(staged)
        raise


def together(*several: Blobs) -> ExitStack:
    """A block in which many files are copied, moved or removed, and made durable together where a provider can."""
    stack = ExitStack()
    for blobs in dict.fromkeys(several):
        stack.enter_context(getattr(blobs, "together", nullcontext)())
    return stack


# ==== 2. PLAIN ===================================================================================================
# Bytes of plain files, copied by the system where it can: on some file systems both then share them. And their times.
# uses: ERRORS VALUES PROVIDERS plugin:disk
# defines: duplicate plain set_time retimed stamp_ns

_AT_ONCE = 64 * 1024 * 1024  # copied by one call


def duplicate(source: int, target: int, size_bytes: int, check: Callable[[], None]) -> None:
    """Appends so many bytes from the start of one open file to another one. `check` is called now and then. Raises OSError,
    and EOFError if there are fewer."""
    done, by_system = 0, getattr(os, "copy_file_range", None)
    while done < size_bytes:
        check()
        count = min(size_bytes - done, _AT_ONCE)
        try:
            copied = by_system(source, target, count, done) if by_system else 0
        except OSError:  # not between these two, or not at all
            copied = 0
        if not copied:
            by_system = None
            chunk = os.pread(source, min(count, CHUNK_BYTES), done)
            copied = os.write(target, chunk) if chunk else 0
        if not copied:
            raise EOFError
        done += copied


def plain(blobs: Any, source: str, target: str) -> Blob:
    """Copies a file of a FileProvider. Raises as Blobs.copy() does."""
    blob = blobs.stat(source)
    if blob is None:
        raise NotFound(f"there is no file {source}")
    if blobs.stat(target) or blobs.is_folder(target):
        raise Conflict(f"{target} exists already")
    with plugin("disk").for_a_while():  # nothing is in it yet
        staged: Staged = blobs.stage(())
    try:
        with (
            closing(blobs.read(source, if_match=blob.etag)) as reader,
            blobs.staging(staged.id) as place,
            place.open("r+b", buffering=0) as file,
        ):
            duplicate(reader.fileno(), file.fileno(), blob.size_bytes, partial(blobs.reserve.check, "copying"))
            set_time(place, staged._replace(modified_at=blob.modified_at))  # which makes the bytes durable, too
        whole = Staged(staged.id, blob.size_bytes, "")
        return cast(Blob, blobs.publish(whole, target, if_none_match=True))
    except BaseException as error:
        blobs.discard(staged)
        if isinstance(error, EOFError | PreconditionFailed):
            raise Conflict(f"{target} was made, or {source} was changed meanwhile") from error
        raise


def set_time(place: Path, staged: Staged) -> None:
    """Gives staged bytes, durably, the time that they are published with. Raises BadRequest if none can have it."""
    try:
        at_ns = stamp_ns(cast(float, staged.modified_at), staged.sha256 or staged.id)
        os.utime(place, ns=(at_ns, at_ns))
    except (OverflowError, ValueError) as error:
        raise BadRequest("a file here cannot have that time") from error
    with place.open("rb") as file:
        plugin("disk").sync(file.fileno())


def retimed(blobs: Any, path: str, modified_at: float, *, if_match: str) -> Blob:
    """Gives a file of a FileProvider another time. Raises Unsupported if only its owner can, or if it shares its bytes with
    another file, such as a version of it; NotFound and PreconditionFailed as Blobs.remove() does."""
    with blobs._locked("setting a time"):
        need_blob(path, blobs.stat(path), if_match)
        place = Path(blobs._place(path))
        if place.stat().st_nlink > 1:
            raise Unsupported(f"{path} has its bytes in common with another file")
        try:
            set_time(place, Staged(new_id(blobs._clock()), 0, "", modified_at))
        except PermissionError as error:
            raise Unsupported(f"{path} belongs to somebody else") from error
        return need_blob(path, blobs.stat(path))


def stamp_ns(modified_at: float, what: str) -> int:
    """A modification time in nanoseconds: to the millisecond the one that is given, and below that what other bytes of the
    same time and size do not have, for their etags. `what` differs where the bytes do."""
    own = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8]) % 900_000
    return int(modified_at * 1000 + 0.001) * 1_000_000 + own
