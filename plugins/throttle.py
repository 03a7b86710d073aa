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
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from app import AppError, Clock, Unauthenticated, plugin

# ==== 1. THROTTLE ================================================================================================
# A table of fixed size in memory that all workers share, made before they are forked. Each row has the digest of a key, such
# as an address or a person, and when it last failed; if there is no room, the row that has rested longest goes.
# uses: ERRORS VALUES plugin:metrics
# defines: WINDOW_S MOST_FAILURES TooManyTries Throttle

WINDOW_S, MOST_FAILURES = 60.0, 5
_ROWS, _NEAR = 8192, 8  # a key is in one of so many rows that follow each other
_PATIENCE_S, _LOOK_S = 5.0, 0.02  # for others that are under way, and between looks at them
_UNDER_WAY_S = 15.0  # no try takes as long


class TooManyTries(AppError):
    """Too many sign-ins have failed, from an address or in a name."""

    code, status, exit_code, retry = "too_many_tries", 429, 7, True

    def __init__(self, wait_s: float, what: str = "there were too many tries") -> None:
        wait = "a minute" if wait_s <= 60 else f"{math.ceil(wait_s / 60)} minutes"
        super().__init__(f"{what}: wait {wait}, and try again")
        self.retry_after_s = max(1, math.ceil(wait_s))


class Throttle:
    """What has failed lately, by keys of any text. Thread-safe, and among processes that were forked after it was made."""

    def __init__(
        self, clock: Clock, window_s: float = WINDOW_S, most: int = MOST_FAILURES, what: str = "there were too many tries"
    ) -> None:
        """A key has to wait after `most` failures within `window_s`; `what` says so."""
        self._clock, self._salt, self._lock = clock, secrets.token_bytes(16), threading.Lock()
        self._window_s, self._most, self._what = window_s, most, what
        self._row_form = struct.Struct(f"8s{most}d")  # digest; times, oldest first, 0 = none, below zero = still under way
        self._table, self._locks = mmap.mmap(-1, _ROWS * self._row_form.size), plugin("metrics").nameless_file()
        weakref.finalize(self, os.close, self._locks).atexit = False

    @contextmanager
    def reserved(self, *keys: str) -> Iterator[None]:
        """A try, which counts as failed from the start: so no burst gets further than one try after the other. It is given
        back unless the block raises Unauthenticated. Raises TooManyTries, and counts nothing, if a key has to wait; if it is
        only others under way that may fail, it waits for a moment for what comes of them."""
        until = time.monotonic() + _PATIENCE_S
        while (at := self._reserve(keys, time.monotonic() >= until)) is None:
            time.sleep(_LOOK_S)
        failed = False
        try:
            yield
        except Unauthenticated:
            failed = True
            raise
        finally:
            self._settle(keys, at, failed=failed)

    def failed(self, *keys: str) -> None:
        """Note one more failure of each key. Raises TooManyTries if one of them had to wait."""
        with self._locked():
            now, waits = self._clock(), []
            for key in keys:
                before = self._tries(key)
                waits.append(self._left_s(before, now))
                if not waits[-1]:  # what has to wait anyway waits no longer because of it
                    self._keep(key, [*before, now])
        if any(waits):
            raise TooManyTries(max(waits), self._what)

    def _reserve(self, keys: Sequence[str], is_late: bool) -> float | None:
        """The time under which the try is noted as one under way, in all rows or in none. None if those under way have to
        be waited for, which is over when it `is_late`. Raises TooManyTries."""
        with self._locked():
            now = self._clock()  # and not before: what others noted meanwhile would be in the future
            tries = {key: self._tries(key) for key in dict.fromkeys(keys)}
            if wait_s := max((self._left_s(_done(one, now), now) for one in tries.values()), default=0.0):
                raise TooManyTries(wait_s, self._what)
            if any(self._left_s(_counted(one), now) for one in tries.values()):
                if is_late:
                    raise TooManyTries(1, self._what)
                return None
            for key, before in tries.items():
                self._keep(key, [*before, -now])
        return now

    def _settle(self, keys: Sequence[str], at: float, *, failed: bool) -> None:
        """Make of a try that was under way one that has failed, or none."""
        with self._locked():
            for key in dict.fromkeys(keys):
                tries = self._tries(key)
                if -at in tries:
                    tries.remove(-at)
                    self._keep(key, [*tries, at] if failed else tries)

    def _left_s(self, times: list[float], now: float) -> float:
        lately = sorted(at for at in times if 0 <= now - at < self._window_s)
        return self._window_s - (now - lately[0]) if len(lately) >= self._most else 0.0

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
        return min(self._near(key), key=lambda place: abs(self._unpacked(place)[-1]))

    def _unpacked(self, place: int) -> tuple[Any, ...]:
        return self._row_form.unpack_from(self._table, place * self._row_form.size)

    def _tries(self, key: str) -> list[float]:
        """When those of a key were, below zero what is under way."""
        place = self._row(key)
        return [] if place is None else [at for at in self._unpacked(place)[1:] if at]

    def _keep(self, key: str, tries: list[float]) -> None:
        """The latest of them, in the row of the key or in one that it takes over."""
        latest = sorted(tries, key=abs)[-self._most :]
        place = self._row(key)
        place = self._oldest(key) if place is None else place
        padded = [0.0] * (self._most - len(latest)) + latest
        self._row_form.pack_into(self._table, place * self._row_form.size, self._digest(key), *padded)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._locks, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._locks, fcntl.LOCK_UN)


def _counted(tries: list[float]) -> list[float]:
    """The times of all tries, those under way too."""
    return [abs(at) for at in tries]


def _done(tries: list[float], now: float) -> list[float]:
    """The times of those that have failed. One that has been under way for too long has, too: its process has died."""
    return [abs(at) for at in tries if at > 0 or now + at > _UNDER_WAY_S]
