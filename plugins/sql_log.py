"""Keeps the write-ahead log of an SQLite database short."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import app
from app import LOG, Clock, Pool, ProcessLock, SqliteDatabase, rfc3339, sqlite_code

# ==== 1. LOG =====================================================================================================
# SQLite begins its log anew only at a moment at which nobody reads from it, and of 16 connections there is nearly always one
# that does. So once it is long, a writer waits for that moment; new readers do not need the log then. All of this is done
# under the lock of writers.
# uses: VALUES PROVIDERS
# defines: LOG_BYTES QUIET_BYTES Blocked SqliteLog

LOG_BYTES = 64 * 1024 * 1024  # from there on it is emptied; journal_size_limit is the same
QUIET_BYTES = 4 * 1024 * 1024  # of a log to which nobody writes: SQLite's own measure of a short one
_PATIENCE_MS = 100  # for readers, and so what a write may wait in addition; twice as long each time that was too short …
_MOST_PATIENCE_MS = 800
_FIRST_PAUSE_S = 0.5  # after a try that found a reader; twice as long each time that it is the same one
_LONGEST_PAUSE_S = 60.0
_TOLD_AFTER_S = 10.0  # such a reader is told of, by the process that reads …
_TOLD_BY_OTHERS_AFTER_S = 20.0  # … or else by another one
_READ_LOCKS = ("124", "125", "126", "127")  # bytes of the -shm file: WAL_READ_LOCK(1) to (4) of sqlite.org/walformat.html


class Blocked(NamedTuple):
    """That the log could not be emptied: in the lock file, for all processes. Times are of time.monotonic(), which they
    share."""

    since: float
    again_at: float
    pause_s: float
    patience_ms: int
    frames: int  # of the log, up to where readers need it: as long as that stays, it is the same reader
    told: bool = False

    def again(self, frames: int, now: float) -> Blocked:
        """The same after another try."""
        if frames != self.frames:  # that reader has gone, and another one came
            patience_ms = min(max(2 * self.patience_ms, _PATIENCE_MS), _MOST_PATIENCE_MS)
            return Blocked(now, now + _FIRST_PAUSE_S, _FIRST_PAUSE_S, patience_ms, frames, self.told)
        pause_s = min(2 * self.pause_s, _LONGEST_PAUSE_S)
        return self._replace(again_at=now + pause_s, pause_s=pause_s, patience_ms=0)


class SqliteLog:
    """The log of one database. `trim` is called by its writers, after each commit."""

    def __init__(self, name: str, path: Path, lock: ProcessLock, readers: Pool, clock: Clock = time.monotonic) -> None:
        self._name, self._lock, self._readers, self.clock = name, lock, readers, clock
        self._path = f"{path}-wal"
        self.wanted = False  # whether it is to be emptied however short it is, because nobody writes

    def is_ours(self) -> bool:
        """Whether Satchel writes to the database; one of another program is only read."""
        return self._lock.path.exists()

    def seen(self) -> tuple[int, int]:
        """Its bytes, and its time in nanoseconds; zeros if there is none."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def trim(self, connection: sqlite3.Connection) -> None:
        """Empty the log if it is long. What is committed is safe whatever comes of it, so nothing is raised."""
        size = self.seen()[0]
        if not size or (size <= LOG_BYTES and not self.wanted):
            return
        with suppress(OSError):  # the lock file cannot be read or written: another time
            self._trim(connection, size)

    def _trim(self, connection: sqlite3.Connection, size: int) -> None:
        blocked, now, reason = self._blocked(), self.clock(), ""
        if not blocked or now >= blocked.again_at or self.wanted:
            self.wanted = False
            frames, reason = self._empty(connection, blocked.patience_ms if blocked else _PATIENCE_MS)
            if not reason:
                self._was_emptied(size, blocked)
                return
            first = Blocked(now, now + _FIRST_PAUSE_S, _FIRST_PAUSE_S, _PATIENCE_MS, frames)
            blocked = blocked.again(frames, now) if blocked else first
            self._note(blocked)
        if not blocked.told and size > LOG_BYTES and self._tell(blocked, reason, size, now):
            self._note(blocked._replace(told=True))

    def _empty(self, connection: sqlite3.Connection, patience_ms: int) -> tuple[int, str]:
        """Write the log into the database and cut it off. How many frames of it are written, and why not all, or ""."""
        try:
            connection.execute(f"pragma busy_timeout = {patience_ms}")
            try:
                busy, _, frames = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
            finally:
                connection.execute("pragma busy_timeout = 5000")
        except sqlite3.Error as error:
            return -1, "busy" if sqlite_code(error) in ("BUSY", "LOCKED") else str(error)
        return frames, "busy" if busy else ""

    # -- what all processes know

    def _blocked(self) -> Blocked | None:
        try:
            found = Blocked(*json.loads(os.pread(self._lock.descriptor, 200, 0)))
        except (ValueError, TypeError):  # nothing is written there
            return None
        return found if found.again_at - self.clock() <= _LONGEST_PAUSE_S else None  # of before the machine was started

    def _note(self, blocked: Blocked | None) -> None:
        os.ftruncate(self._lock.descriptor, 0)
        if blocked:
            os.pwrite(self._lock.descriptor, json.dumps(blocked).encode(), 0)

    # -- what the operator is told

    def _was_emptied(self, size: int, blocked: Blocked | None) -> None:
        if blocked:
            self._note(None)
        if blocked and blocked.told:
            LOG.info("provider %s: the log of the database was emptied: it was %.0f MB", self._name, size / 1e6)

    def _tell(self, blocked: Blocked, reason: str, size: int, now: float) -> bool:
        """Say what keeps the log, once: which reader it is knows the process that reads."""
        held_s = now - blocked.since
        own = self._own_reader(blocked.since, now)
        if held_s < (_TOLD_AFTER_S if own else _TOLD_BY_OTHERS_AFTER_S) or not (own or reason):
            return False
        why = own or (f"({reason})" if reason != "busy" else _others(self._path))
        LOG.warning(
            "provider %s: the log of the database is %.0f MB long and grows until it can be emptied: %s",
            self._name, size / 1e6, why,
        )  # fmt: skip
        return True

    def _own_reader(self, before: float, now: float) -> str:
        """The longest read of this process that began before a time, in words; "" if there is none."""
        reads = [(since, what) for since, what in list(self._readers.in_use.values()) if since < before]
        if not reads:
            return ""
        since, what = min(reads)
        return f"process {os.getpid()} has been {what} since {rfc3339(time.time() + since - now)}"


def _others(path: str) -> str:
    """Which processes read from the log, in words, as far as the system tells (Linux, proc_locks(5))."""
    pids: set[str] = set()
    with suppress(OSError):
        inode = os.stat(path.removesuffix("-wal") + "-shm").st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.replace("-> ", "").split()
            if words[3:4] == ["READ"] and words[5].endswith(f":{inode}") and words[6] in _READ_LOCKS:
                pids.add(words[4])
    pids.discard(str(os.getpid()))
    return f"process {', '.join(sorted(pids))} reads what was there before" if pids else "another program uses the database"


# ==== 2. QUIET ===================================================================================================
# Where nobody writes any more, no writer empties the log.
# uses: CONTRACTS PROVIDERS LOG
# defines: Job:checkpoints Checkpoints


class Checkpoints(app.Job):
    """Empties the logs of databases that nobody has written to for a while."""

    kind = "checkpoints"
    every_s = 60
    scope = "node"

    def __init__(self, given: Any, config: Any) -> None:
        super().__init__(given, config)
        self._seen: dict[str, tuple[int, int]] = {}  # size and time of each log, as of the last look

    def run(self, site: Any, stop: threading.Event) -> None:
        for name, provider in site.providers.items():
            if isinstance(provider, SqliteDatabase) and not stop.is_set():
                self._look(name, provider)

    def _look(self, name: str, database: SqliteDatabase) -> None:
        found = database.log.seen()
        if found[0] > QUIET_BYTES and self._seen.get(name) == found and database.log.is_ours():
            database.log.wanted = True
            database.submit(lambda connection: None)
        self._seen[name] = found
