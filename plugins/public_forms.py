"""Forms that are open to strangers: how much is taken, a field that only programs fill in, and pages inside others."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app import PAGE_POLICY, Action, Clock, Exchange, Fault, Invalid, in_units, plugin

if TYPE_CHECKING:
    from plugins import throttle
else:
    throttle = plugin("throttle")

# ==== 1. STRANGERS ===============================================================================================
# Whoever sends a form without signing in is counted by address, and what all of them send by its bytes: in one place for
# all workers of a node, and from the start of the server on.
# uses: ERRORS VALUES RUNNERS RESOURCES plugin:metrics plugin:refusals plugin:throttle
# defines: Counters counters admit admit_files check_trap policy

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_TOO_OFTEN = "that is more than is taken from one address in an hour"
_TOO_MUCH = "more than is taken in a day was sent without signing in"


class Counters:
    """What strangers have sent lately. Thread-safe, and among processes that were forked after it was made."""

    def __init__(self, clock: Clock, most_hourly: int, most_daily_bytes: int) -> None:
        self._clock, self._most_bytes, self._lock = clock, most_daily_bytes, threading.Lock()
        self._by_address = throttle.Throttle(clock, _HOUR_S, most_hourly, _TOO_OFTEN) if most_hourly else None
        self._day = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")  # number of the day, bytes
        self._locks = plugin("metrics").nameless_file()
        weakref.finalize(self, os.close, self._locks).atexit = False

    def note(self, client: str, size_bytes: int) -> None:
        """One more form. Raises TooManyTries if its address, or everybody together, sent too much."""
        self.note_one(client)
        now = self._clock()
        with self._locked():
            if self._day[0] != int(now // _DAY_S):
                self._day[0], self._day[1] = int(now // _DAY_S), 0
            if self._day[1] + size_bytes > self._most_bytes:
                raise throttle.TooManyTries(math.ceil(_DAY_S - now % _DAY_S), f"{_TOO_MUCH} ({in_units(self._most_bytes)})")
            self._day[1] += size_bytes

    def note_one(self, client: str) -> None:
        """One more request that stores something. Raises TooManyTries if its address sent too many."""
        if self._by_address:
            self._by_address.failed(f"form {plugin('refusals').address_of(client)}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._locks, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._locks, fcntl.LOCK_UN)


_made: weakref.WeakKeyDictionary[Any, Counters] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def counters(site: Any) -> Counters:
    """Those of a site; a server asks for them before its workers are forked."""
    with _making:
        if site not in _made:
            public = site.config.public
            _made[site] = Counters(site.clock, public.hourly, public.max_daily_bytes)
        return _made[site]


def admit(exchange: Exchange, resource: str) -> None:
    """Count what a stranger sends to a form. Raises TooManyTries if it is too much."""
    if exchange.credential or not resource.startswith("forms/"):
        return
    site: Any = exchange.door.host
    if site.authority.identify("").may(Action.CREATE, resource):  # what is refused anyway counts for nothing
        size = exchange.body.size_bytes
        counters(site).note(exchange.client, exchange.door.config.max_body_bytes if size is None else size)


def admit_files(exchange: Exchange) -> None:
    """Count what a stranger sends to a link that takes files: how often, as their sizes have limits of the share's own.
    Raises TooManyTries if it is too often."""
    if not exchange.credential:
        counters(exchange.door.host).note_one(exchange.client)


def check_trap(exchange: Exchange, text: str) -> None:
    """Raises Invalid if the field was filled in that no person sees. The form comes back without that, ready to be sent."""
    if text and not exchange.credential:
        detail = "was filled in where nobody sees a field, as programs do: send it once more"
        raise Invalid("this looks as if a program had sent it", faults=[Fault("", "trap", detail)])


# ---- pages inside others


def policy(exchange: Exchange, frames: tuple[str, ...]) -> str:
    """The policy of a page that is asked for inside another one: these sites may show a form as it is for strangers, and
    nothing else."""
    if not frames or not exchange.resource.startswith("forms/") or exchange.credential:
        return PAGE_POLICY
    return PAGE_POLICY.replace("frame-ancestors 'none'", f"frame-ancestors {' '.join(frames)}")
