"""Notices that a file or folder has gone under a running server, so that nothing is made anew in the empty place."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app import AppError, Unavailable

# ==== 1. PRESENCE ================================================================================================
# What was there once is awaited, and never made again: it was moved, or its disk is not mounted.
# uses: ERRORS
# defines: Presence carry key_trouble


class Presence:
    """A file or folder, as all processes have seen it that were forked since this was made: they share the memory."""

    def __init__(self, path: Path, what: str, *, same: bool = False) -> None:
        """`what` names it in messages; `same` says that no other one may take its place."""
        self._path, self._what, self._same = path, what, same
        self._seen = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")  # inode, device, and 1 once it was seen

    def check(self) -> bool:
        """Whether it is there. Raises Unavailable if it was there before and is gone, or is another one by now."""
        was_seen = self._seen[2]  # before the look: another thread may make it between the two
        try:
            state = os.stat(self._path)
        except OSError as error:
            if not was_seen:
                return False
            raise Unavailable(f"{self._what} is gone", hint=f"put it back: {self._path}") from error
        if not self._seen[2]:
            self._seen[0], self._seen[1] = state.st_ino, state.st_dev
            self._seen[2] = 1
        elif self._same and (state.st_ino, state.st_dev) != (self._seen[0], self._seen[1]):
            hint = f"put back the one that was there, or restart: {self._path}"
            raise Unavailable(f"{self._what} was replaced by another one", hint=hint)
        return True

    def is_there(self) -> bool:
        """Whether it is there, and the one that was there before."""
        try:
            return self.check()
        except Unavailable:
            return False


def carry(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Let the providers of a configuration that was read again know what those before them have seen at the same places."""
    for name, provider in after.items():
        old: Any = before.get(name)
        is_same = type(old) is type(provider) and hasattr(old, "presences")
        if is_same and old.places() == provider.places():
            provider.presences = old.presences


def key_trouble(office: Any) -> dict[str, str]:
    """Beside the states of providers, what is wrong with the key ring; {} if nothing is."""
    try:
        if "authority" in vars(office):  # whoever has not used it yet makes none here
            _ = office.authority.keys.keys
    except AppError as error:
        return {"key ring": error.message}
    return {}
