"""The last of a disk: kept for what makes room, and noticed when it is reached."""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import app
from app import LOG, AppError, Delete, Provider, StorageFull, Unavailable, Write

# ==== 1. RESERVE =================================================================================================
# What uploads and new records leave of a disk, for deleting, signing in and revoking; and a spare file, given up for these
# when the disk is full to the last byte.
# uses: ERRORS VALUES CONTRACTS ASSEMBLY
# defines: Job:reserve UPLOADS_LEAVE_BYTES UPLOADS_LEAVE_FILES RECORDS_LEAVE SPARE_BYTES
#          Left Reserve known given check_scratch guarded is_news reserves low refill Spares

UPLOADS_LEAVE_BYTES = 16 * 1024 * 1024  # of a disk …
UPLOADS_LEAVE_FILES = 1000  # of those that a disk has room for, where they are counted (inodes) …
_SHARE = 8  # … but no more than this part of a small one
RECORDS_LEAVE = 0.5  # of what uploads leave
SPARE_BYTES = 4 * 1024 * 1024  # enough for the log of some dozen deletes; half as much of a small disk as uploads leave
_NEWS_AGAIN_S = 600.0
_PROBE_BYTES = 64 * 1024
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_STILL = "deleting, signing in and revoking still work"
_Result = TypeVar("_Result")


class Left(NamedTuple):
    """Of a disk, in bytes: what may still be written, what uploads leave of that, and its size; and the same in files, all
    0 where the file system does not count them."""

    free_bytes: int
    kept_bytes: int
    size_bytes: int
    free_files: int
    kept_files: int
    most_files: int

    def __str__(self) -> str:
        if self.lacks_files:
            return f"it has room for {self.free_files:,} more files of {self.most_files:,}, however small"
        return f"{self.free_bytes / 1e6:,.1f} MB of {self.size_bytes / 1e6:,.1f} MB are left"

    @property
    def lacks_files(self) -> bool:
        return self.free_files < self.kept_files


class Reserve:
    """The last of the disk on which something keeps its data."""

    def __init__(
        self, what: str, place: Path, unused_bytes: Callable[[], int] | None = None, *, awaits: Path | None = None
    ) -> None:
        """`what` names it in messages. `place` is the file that grows: the spare file lies beside it, once `awaits` is
        there, by default the file itself. `unused_bytes`, of one large file that holds everything, is how much more fits
        into what it has of the disk already; without it new files are made."""
        self._what, self._place, self._unused_bytes, self._awaits = what, place, unused_bytes, awaits or place
        self.spare = place.with_name(place.name + ".spare")
        self._was_low = False  # as was logged last

    def left(self) -> Left | None:
        """How much is left of the disk; None if the system does not say."""
        folder = self._place.parent
        while True:
            try:
                state = os.statvfs(folder)
                break
            except FileNotFoundError:  # it is made later
                if folder == folder.parent:
                    return None
                folder = folder.parent
            except OSError:
                return None
        size_bytes = state.f_blocks * state.f_frsize
        kept_bytes = min(UPLOADS_LEAVE_BYTES, size_bytes // _SHARE)
        kept_files = min(UPLOADS_LEAVE_FILES, state.f_files // _SHARE)
        return Left(
            state.f_bavail * state.f_frsize, kept_bytes, size_bytes, state.f_favail, kept_files, state.f_files
        )  # fmt: skip

    def lacks(self, part: float = 1.0, needs_bytes: int = 0) -> Left | None:
        """How much is left, if that is less than `part` of what uploads leave and what is needed; None if it is enough.
        Records take no files of their own."""
        left = self.left()
        if left and left.lacks_files and self._unused_bytes is None and part == 1:
            return left
        if left is None or left.free_bytes >= (wanted_bytes := left.kept_bytes * part + needs_bytes):
            return None
        with suppress(AppError):
            # What is unused inside counts, but its way there is the log, which takes room of the disk.
            if self._unused_bytes and left.free_bytes >= wanted_bytes / 4:
                return None if left.free_bytes + self._unused_bytes() >= wanted_bytes else left
        return left

    def check(self, operation: str, part: float = 1.0, needs_bytes: int = 0) -> None:
        """Raises StorageFull if lacks() says so."""
        if left := self.lacks(part, needs_bytes):
            said = f"the disk is full: {left}, which are kept: {_STILL}"
            raise StorageFull(f"{self._what}: {operation}: {said}", hint=f"make room for {self._place.parent}")

    def may_use_all(self, writes: Sequence[Write]) -> bool:
        """Whether a commit may use the last of the disk: one that makes and changes no record of a form. StorageFull if only
        that is left, and it may not."""
        for write in writes:
            if not isinstance(write, Delete) and not write.table.startswith("_"):
                self.check("storing records", RECORDS_LEAVE)
                return False
        return True

    def give(self, work: Callable[[], _Result]) -> _Result:
        """The result of work that may use the last of the disk; if there is no room, it is done again with that of the spare
        file."""
        try:
            return work()
        except StorageFull:
            self.release()
            return work()

    def release(self) -> None:
        """Give up the spare file."""
        with suppress(OSError):
            self.spare.unlink()
            LOG.warning("%s: the disk is full: its spare file was given up (%s)", self._what, self.spare)

    def refill(self) -> None:
        """Make the spare file if it is missing and the disk has room for more than that."""
        left = self.left()
        if left is None or not self._awaits.exists():
            return
        wanted_bytes = min(SPARE_BYTES, left.kept_bytes // 2)
        with suppress(OSError):  # the next time, then
            if self.spare.stat().st_size >= wanted_bytes:
                return
        if left.free_bytes > left.kept_bytes + wanted_bytes and not left.lacks_files:
            try:
                _allocate(self.spare, wanted_bytes)
            except OSError:
                self.spare.unlink(missing_ok=True)

    def is_full(self) -> bool:
        """Whether a file beside it gets no room either: of a quota or a limit of file sizes SQLite says only that writing
        failed."""
        probe = self.spare.with_suffix(".probe")
        try:
            beside = (self._place, self._place.with_name(self._place.name + "-wal"))
            size_bytes = max(one.stat().st_size for one in beside if one.exists())
            descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.pwrite(descriptor, bytes(_PROBE_BYTES), size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error.errno in StorageFull.errors
        except ValueError:  # neither is there
            return False
        finally:
            with suppress(OSError):
                probe.unlink()
        return False

    def words(self) -> str:
        """What the operator is to know while the disk has no more than is kept; "" otherwise."""
        left = self.lacks()
        then = "" if left and left.lacks_files else ", then records"
        return f"{left}: uploads are refused{then}; {_STILL}" if left else ""

    def log(self) -> None:
        """Log them when they begin to be true, and when they are not any more."""
        words = self.words()
        if bool(words) != self._was_low:
            self._was_low = bool(words)
            LOG.warning("%s: %s (%s)", self._what, words or "the disk has room again", self._place.parent)


def _allocate(path: Path, size_bytes: int) -> None:
    """A new file with so much of the disk; OSError if there is not so much."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for start in range(0, size_bytes, _PROBE_BYTES):  # random: a file system that compresses takes nothing for zeros
            os.pwrite(descriptor, os.urandom(min(_PROBE_BYTES, size_bytes - start)), start)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def known(error: Exception) -> AppError:
    """The error as an AppError if it is one, or if the machine, and nothing in the request, has come to its end. Any other
    is raised again."""
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if isinstance(error, AppError):
        return error
    if isinstance(error, MemoryError) or number in _SHORT or _lacks_thread(error):
        what = "open files" if number in (errno.EMFILE, errno.ENFILE) else "memory"
        return Unavailable(f"the server has no more {what} at this moment; try again later", hint=str(error))
    if number in StorageFull.errors:
        return StorageFull("the disk of temporary files is full", hint=str(error))
    raise error


def _lacks_thread(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "new thread" in str(error)


def given(provider: Any, work: Callable[[], _Result]) -> _Result:
    """The result of work that may use the last of the disk of a provider, if that is on this machine."""
    reserve = getattr(provider, "reserve", None)
    return reserve.give(work) if reserve else work()


def check_scratch(operation: str) -> None:
    """Raises StorageFull before temporary files take the last of their disk, which may be that of a provider."""
    import tempfile

    Reserve("temporary files", Path(tempfile.gettempdir(), "any")).check(operation)


def guarded(folder: Path, step: Callable[[int], None]) -> Callable[[int], None]:
    """The steps of a backup, stopped before it takes the last of the disk of its folder."""
    reserve = Reserve("the backup", folder / "any")

    def checked(done: int) -> None:
        reserve.check("writing")
        step(done)

    checked(0)
    return checked


_logged: dict[str, float] = {}  # when a full disk was logged last, by the beginning of the message, which names the provider


def is_news(error: AppError) -> bool:
    """Whether an error is to be logged: a full disk is once in ten minutes, and not with each request that it refuses."""
    if not isinstance(error, StorageFull):
        return True
    about, now = error.message.partition(":")[0], time.monotonic()
    if now - _logged.get(about, -math.inf) < _NEWS_AGAIN_S:
        return False
    _logged[about] = now
    return True


# ---- of a site


def reserves(providers: Mapping[str, Provider]) -> dict[str, Reserve]:
    """Those of the providers that write to a disk of this machine, by name."""
    found = {name: getattr(one, "reserve", None) for name, one in providers.items()}
    return {name: one for name, one in found.items() if one is not None}


def low(host: Any) -> dict[str, str]:
    """For each provider whose disk has no more than what is kept, how much that is."""
    told = {name: one.words() for name, one in reserves(getattr(host, "providers", {})).items()}
    return {name: words for name, words in told.items() if words}


def refill(site: Any) -> None:
    """Make the spare files of the providers that a site writes to."""
    written = {id(one) for one in site.audit_stores()}
    written |= {id(one) for resource in site.resources.values() for one in app.stores(resource)}
    for name, one in reserves(site.providers).items():
        if id(site.providers[name]) in written:
            one.refill()


class Spares(app.Job):
    """Keeps a spare file on each disk that the site writes to, and says in the log when a disk is nearly full."""

    kind = "reserve"
    every_s = 30
    scope = "node"

    def run(self, site: Any, stop: threading.Event) -> None:
        for one in reserves(site.providers).values():
            one.log()
        refill(site)
