"""Notices a clock that jumped, so that nothing is swept by it; and ids that never run backwards on a node."""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

import app
from app import LOG, AppError, Clock, Condition, Conflict, Insert, Query, Records, Update, Write, rfc3339

# ==== 1. CLOCK ===================================================================================================
# A time is believed if it is within a day of one that was believed before, which is kept in the state provider. After more
# than that the machine was off for long, or its clock jumped; which of them cannot be seen. So what would be deleted
# for its age waits until the clock has gone on evenly for a day, while the server ran.
# uses: ERRORS VALUES CONTRACTS plugin:locale
# defines: Job:clock MOST_APART_S SURE_AFTER_S ClockWatch watch trouble ClockLook

MOST_APART_S = 86_400.0  # of the clock and the time last believed
SURE_AFTER_S = 86_400.0  # during which a clock in doubt went on evenly
_EVEN_S = 60.0  # how far the clock and time.monotonic() may part between two looks: clocks are set by seconds
_NOTED_S = 3_000.0  # how old the time in the state provider gets


class ClockWatch:
    """What this process knows of the clock of its machine."""

    def __init__(self, site: Any, monotonic: Clock = time.monotonic) -> None:
        """`site` is the App."""
        self._state: Records = site.state
        self._clock, self._began_at, self._monotonic = site.clock, site.began_at, monotonic
        self._believed: tuple[float, float] | None = None  # the last time that was, and time.monotonic() then
        self._looked: tuple[float, float] | None = None  # the same of the last look at a clock in doubt
        self._mutex = threading.Lock()

    def look(self, now: float | None = None) -> str:
        """Why the clock is in doubt at this time of it, "" if it is not: ask before anything is deleted for its age.

        What was seen is noted in the state provider. Raises Unavailable if that is away."""
        now = self._clock() if now is None else now
        with self._mutex:
            row = self._state.get("_settings", "clock")
            value = row.value if row else {"at": self._newest_entry_at(now)}
            known = float(value["at"])
            if self._is_believed(known, now):
                if self._looked:
                    LOG.warning("the clock is right again: what is kept for a time only is swept as usual")
                self._looked = None
                if row is None or value.get("doubt") or abs(now - known) >= _NOTED_S:
                    self._note(row, {"at": now})
                return ""
            return self._doubt(row, value, now)

    def trouble(self) -> str:
        """The same for people, as far as it was noted; "" while the state provider is away."""
        now = self._clock()
        try:
            row = self._state.get("_settings", "clock")
        except AppError:
            return ""
        with self._mutex:
            believed = row is None or self._is_believed(float(row.value["at"]), now)
        return "" if row is None or believed else _words(now, float(row.value["at"]))

    def _is_believed(self, known: float, now: float) -> bool:
        """Whether a time is near the one that is known, or was reached evenly since it was: nobody may have noted it."""
        if abs(now - known) <= MOST_APART_S or self._goes_evenly(self._believed, now):
            self._believed = now, self._monotonic()
        return self._believed is not None and self._believed[0] == now

    def _goes_evenly(self, since: tuple[float, float] | None, now: float) -> bool:
        return since is not None and abs((now - since[0]) - (self._monotonic() - since[1])) <= _EVEN_S

    def _doubt(self, row: Any, value: app.Value, now: float) -> str:
        """Count for how long it has gone evenly; believe it after a day of that."""
        known, doubt, looked = float(value["at"]), value.get("doubt"), self._looked
        self._looked = now, self._monotonic()
        observed_s = 0.0
        if doubt and looked and self._goes_evenly(looked, now):
            observed_s = float(doubt["observed_s"]) + self._monotonic() - looked[1]
        elif doubt and looked is None and 0 <= now - float(doubt["at"]) <= MOST_APART_S:  # this process is new
            observed_s = float(doubt["observed_s"])
        if observed_s >= SURE_AFTER_S:
            LOG.warning("the clock has gone evenly for a day and counts as right: %s", rfc3339(now))
            self._looked, self._believed = None, (now, self._monotonic())
            self._note(row, {"at": now})
            return ""
        if looked is None:
            LOG.warning("%s", _words(now, known))
        self._note(row, {"at": known, "doubt": {"at": now, "observed_s": observed_s}})
        return _words(now, known)

    def _newest_entry_at(self, now: float) -> float:
        """What the newest audit entry of before this process says, on a site that never noted the time; `now` if there is
        none."""
        before = Condition("at", "lt", rfc3339(self._began_at))
        for entry in self._state.find(Query("_audit", (before,), order_by=("-id",), limit=1)).items:
            with suppress(ValueError, TypeError, AppError):  # of another make
                return float(app.plugin("locale").parse_rfc3339(entry.value.get("at")))
        return now

    def _note(self, row: Any, value: app.Value) -> None:
        write: Write = Update("_settings", "clock", value, row.version) if row else Insert("_settings", "clock", value)
        with suppress(Conflict, app.StorageFull, app.NotPermitted):  # another node noted it, or nobody can
            self._state.commit([write])


def _words(now: float, known: float) -> str:
    return (
        f"the clock says {rfc3339(now)}, but {rfc3339(known)} was the last time seen here: nothing is deleted for its age"
        " until the clock is right, or has gone on evenly for a day"
    )


_watches: WeakKeyDictionary[Any, ClockWatch] = WeakKeyDictionary()


def watch(site: Any) -> ClockWatch:
    """That of an App in this process."""
    if site not in _watches:
        _watches[site] = ClockWatch(site)
    return _watches[site]


def trouble(site: Any, providers: Mapping[str, str]) -> str:
    """Why the clock is in doubt, in words; "" if it is not, or if not all providers are "ok"."""
    return watch(site).trouble() if site.state is not None and set(providers.values()) == {"ok"} else ""


class ClockLook(app.Job):
    """Looks at the clock more often than anything is swept."""

    kind = "clock"
    every_s = 600
    scope = "node"

    def run(self, site: Any, stop: threading.Event) -> None:
        if site.state is not None:
            watch(site).look()


# ==== 2. IDS =====================================================================================================
# The last id of each process of a node stands in a file of the data folder that they all map into memory to read it: a new
# one follows the largest of them, whatever the clock says.
# uses: ERRORS VALUES plugin:disk
# defines: SharedIds share_ids

_IDS_BYTES = 256  # 32 processes
_shared: tuple[Any, ...] = ()  # path, inode and device of the file that is mapped


class SharedIds:
    """The last ids by process, as app.last_ids. They are read from memory and written by a call: that says that a disk is
    full, where a process that writes to memory would be ended."""

    def __init__(self, descriptor: int, own: int) -> None:
        """`own` is the last id of this process so far. The descriptor is this object's from here on."""
        self._descriptor = descriptor
        self._view = memoryview(mmap.mmap(descriptor, _IDS_BYTES, access=mmap.ACCESS_READ)).cast("Q")
        self._own = own  # which the file lacks if it could not be written

    def __iter__(self) -> Iterator[int]:
        yield self._own
        yield from self._view

    def __getitem__(self, slot: int) -> int:
        return self._view[slot]

    def __setitem__(self, slot: int, tick: int) -> None:
        self._own = tick
        with suppress(OSError):
            os.pwrite(self._descriptor, tick.to_bytes(8, sys.byteorder), 8 * slot)

    def __del__(self) -> None:
        os.close(self._descriptor)


def share_ids(site: Any) -> None:
    """Continue after the largest id that this node has made. Where the data folder cannot be written, each process
    goes on from its own."""
    with suppress(OSError, ValueError):
        _map_ids(site.config.site.data / "ids")
    known = max(app.last_ids)
    if not known or site.clock() * 4096_000 < known:  # a power cut may have taken the last of them
        for records in site.audit_stores():
            with suppress(AppError):
                found = records.find(Query("_audit", order_by=("-id",), limit=1)).items
                slot = os.getpid() % 32
                app.last_ids[slot] = max([app.last_ids[slot], *(_tick_of(record.key) for record in found)])


def _map_ids(path: Path) -> None:
    global _shared
    _make_ids(path)
    descriptor = os.open(path, os.O_RDWR)
    state = os.fstat(descriptor)
    if state.st_size < _IDS_BYTES or _shared == (path, state.st_ino, state.st_dev):
        os.close(descriptor)
        return
    known, slot = max(app.last_ids), os.getpid() % 32
    shared = SharedIds(descriptor, known)
    shared[slot] = max(shared[slot], known)
    cast(Any, app).last_ids, _shared = shared, (path, state.st_ino, state.st_dev)


def _make_ids(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.fstat(descriptor).st_size < _IDS_BYTES:
            os.write(descriptor, bytes(_IDS_BYTES))  # appended, as another process may have begun
            app.plugin("disk").sync(descriptor)
    finally:
        os.close(descriptor)


def _tick_of(key: str) -> int:
    """The time in a UUIDv7 as new_ids counts it; 0 if it is none."""
    try:
        return (int(key[:12], 16) << 12 | int(key[13:16], 16)) if len(key) == 32 and key[12] == "7" else 0
    except ValueError:
        return 0
