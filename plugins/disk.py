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
# defines: sync for_a_while sync_folder sync_tree make_folder replace_file

_lasts: ContextVar[bool] = ContextVar("lasts", default=True)


def sync(descriptor: int) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    if _lasts.get():
        os.fsync(descriptor)


@contextmanager
def for_a_while() -> Iterator[None]:
    """What this thread writes in the block is removed at its end: nothing is made durable, so that nobody who uses the same
    disk waits for it, and most of it never gets there."""
    token = _lasts.set(False)
    try:
        yield
    finally:
        _lasts.reset(token)


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable; of a file, its bytes."""
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
