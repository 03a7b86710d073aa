"""Slows failed sign-ins down: what has failed five times within a minute has to wait, in whichever worker it is asked."""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import secrets
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app import AppError, Clock, plugin

# ==== 1. THROTTLE ================================================================================================
# A table of fixed size in memory that all workers share, made before they are forked. Each row has the digest of a key, such
# as an address or a person, and when it last failed; if there is no room, the row that has rested longest goes.
# uses: ERRORS VALUES plugin:metrics
# defines: WINDOW_S MOST_FAILURES TooManyTries Throttle

WINDOW_S, MOST_FAILURES = 60.0, 5
_ROWS, _NEAR = 8192, 8  # a key is in one of so many rows that follow each other
_ROW = struct.Struct(f"8s{MOST_FAILURES}d")  # digest; the times, oldest first, 0 = none


class TooManyTries(AppError):
    """Too many sign-ins have failed, from an address or in a name."""

    code, status, exit_code, retry = "too_many_tries", 429, 7, True

    def __init__(self, wait_s: float) -> None:
        super().__init__("there were too many tries: wait a minute, and try again")
        self.retry_after_s = max(1, math.ceil(wait_s))


class Throttle:
    """What has failed lately, by keys of any text. Thread-safe, and among processes that were forked after it was made."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._salt, self._lock = clock, secrets.token_bytes(16), threading.Lock()
        self._table, self._locks = mmap.mmap(-1, _ROWS * _ROW.size), plugin("metrics").nameless_file()
        weakref.finalize(self, os.close, self._locks).atexit = False

    def check(self, *keys: str) -> None:
        """Raises TooManyTries if one of the keys has to wait."""
        now = self._clock()
        with self._locked():
            wait_s = max((self._left_s(self._times(self._row(key)), now) for key in keys), default=0.0)
        if wait_s:
            raise TooManyTries(wait_s)

    def failed(self, *keys: str) -> None:
        """Note one more failure of each key. Raises TooManyTries if one of them had to wait."""
        now = self._clock()
        with self._locked():
            waits = []
            for key in keys:
                before = self._times(place := self._row(key))
                waits.append(self._left_s(before, now))
                if not waits[-1]:  # what has to wait anyway waits no longer because of it
                    times = [*before, now][-MOST_FAILURES:]
                    padded = [0.0] * (MOST_FAILURES - len(times)) + times
                    place = self._oldest(key) if place is None else place
                    _ROW.pack_into(self._table, place * _ROW.size, self._digest(key), *padded)
        if any(waits):
            raise TooManyTries(max(waits))

    def _left_s(self, times: list[float], now: float) -> float:
        lately = [at for at in times if 0 <= now - at < WINDOW_S]
        return WINDOW_S - (now - lately[0]) if len(lately) >= MOST_FAILURES else 0.0

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(errors="replace"), digest_size=8, salt=self._salt).digest()

    def _near(self, key: str) -> list[int]:
        """The rows where a key may be."""
        first = int.from_bytes(self._digest(key)[:4], "big")
        return [(first + step) % _ROWS for step in range(_NEAR)]

    def _row(self, key: str) -> int | None:
        """The row of a key; None if it has none."""
        digest = self._digest(key)
        return next((place for place in self._near(key) if self._unpacked(place)[0] == digest), None)

    def _oldest(self, key: str) -> int:
        """The row that a key may have: of those where it may be the one that has rested longest."""
        return min(self._near(key), key=lambda place: self._unpacked(place)[-1])

    def _unpacked(self, place: int) -> tuple[Any, ...]:
        return _ROW.unpack_from(self._table, place * _ROW.size)

    def _times(self, place: int | None) -> list[float]:
        return [] if place is None else [at for at in self._unpacked(place)[1:] if at]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._locks, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._locks, fcntl.LOCK_UN)
