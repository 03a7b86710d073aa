"""A fresh key for a key ring's file, and one less."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app import ConfigError, Conflict, Key, KeyRing, NotFound, dump_keys, key_file_errors, nearest, new_key, plugin

# ==== 1. EDITS ===================================================================================================
# A ring's file is replaced whole, under a lock of its folder. Running servers see that it was, and read it again.
# uses: ERRORS CONFIG AUTH plugin:disk
# defines: rotate retire


def rotate(ring: KeyRing, now: float) -> Key:
    """The fresh key that signs from now on; the others still verify. ConfigError if the ring is not in a file."""
    fresh = new_key(max(int(now), ring.keys[0].created_at))
    _edit(ring, lambda keys: (fresh, *keys))
    return fresh


def retire(ring: KeyRing, kid: str) -> None:
    """Forget a key: what it signed is refused. NotFound if unknown, Conflict if it is the one that signs."""

    def without(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        if kid not in [key.kid for key in keys]:
            raise NotFound(f"no key is named {kid!r}{nearest(kid, [key.kid for key in keys])}")
        if keys[0].kid == kid:
            raise Conflict(f"the key {kid} is the one that signs", hint="rotate first, then retire it")
        return tuple(key for key in keys if key.kid != kid)

    _edit(ring, without)


def _edit(ring: KeyRing, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
    if ring.path is None:
        raise ConfigError("the key ring comes from the setting auth.keys: change it there")
    with key_file_errors(ring.path), _folder(ring.path) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two rotations at once must keep both keys
        plugin("disk").replace_file(ring.path, [dump_keys(change(ring.keys)).encode()])


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
