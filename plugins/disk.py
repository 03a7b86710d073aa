"""Small files that are replaced whole, and names in folders that last."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

# ==== 1. DISK ====================================================================================================
# What a caller was told is on the disk: the bytes of a file by themselves, and its name with its folder.
# uses: nothing
# defines: lasts sync for_a_while write_out at_the_end sync_folder sync_tree make_folder replace_file

_lasts: ContextVar[bool] = ContextVar("lasts", default=True)
_later: ContextVar[dict[str, None] | None] = ContextVar("later", default=None)  # folders that wait to be made durable


def lasts() -> bool:
    """Whether what this thread writes is to be durable, as it always is outside of for_a_while()."""
    return _lasts.get()


def sync(descriptor: int) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    if lasts():
        os.fsync(descriptor)


@contextmanager
def for_a_while() -> Iterator[None]:
    """What this thread writes in the block is removed soon: nothing is made durable, nor what databases write ever that are
    made in it. So nobody who uses the same disk waits for that, and most of it never gets there."""
    token = _lasts.set(False)
    try:
        yield
    finally:
        _lasts.reset(token)


def write_out(descriptor: int, start: int, size_bytes: int) -> None:
    """Have the medium write so many bytes of a file, and wait for that. Linux does this without making the file durable,
    for which all that others have changed in the file system would have to be written, too."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):  # another system, or a C library without it
        call = ctypes.CDLL(None).sync_file_range
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        if call(descriptor, start, size_bytes, 7) == 0:  # wait before, write, wait after: sync_file_range(2)
            return
    sync(descriptor)


@contextmanager
def at_the_end() -> Iterator[None]:
    """Folders that this thread makes durable in the block are made so once each, when it ends: before it is said that any of
    what was done in it is done. One that is gone by then has nothing to lose."""
    folders: dict[str, None] = {}
    token = _later.set(folders)
    is_done = False
    try:
        yield
        is_done = True
    finally:
        _later.reset(token)
        for path in folders:
            with suppress(FileNotFoundError if is_done else OSError):  # what failed before is the one to tell
                sync_folder(path)


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable; of a file, its bytes."""
    later = _later.get()
    if later is not None:
        later[str(path)] = None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make everything in a folder durable, but for its own name."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync_folder(os.path.join(place, name))
        sync_folder(place)


def make_folder(path: str | Path) -> None:
    """Make a folder (mode 0700) and those above it that are missing, durably; one that is there stays as it is."""
    path = Path(path).absolute()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def replace_file(path: Path, chunks: Iterable[bytes], *, replace: bool = True) -> None:
    """Put a whole file (mode 0600) at path, durably: nobody ever reads a part of it, and a failure leaves what was there.

    Unless `replace`, a file that is already there stays.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(chunks)
            file.flush()
            sync(file.fileno())
        if replace:
            os.replace(draft, path)
        else:
            with suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
