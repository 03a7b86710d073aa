"""What a PostgreSQL database holds at one moment, for as long as somebody reads it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import app
from app import Json

if TYPE_CHECKING:
    from plugins.postgres import Answer, Link, PostgresDatabase, Step

# ==== 1. MOMENT ==================================================================================================
# A provider whose only connection is in one transaction that reads: all its tables, and its files, are of one moment.
# uses: VALUES plugin:postgres
# defines: StillLink OneLink frozen

_LIMITS = ("idle_in_transaction_session_timeout", "transaction_timeout")  # which would end it; not every server has both


class StillLink:
    """A connection in a transaction. A statement that fails takes back itself alone."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def execute(self, sql: str, values: Sequence[Json] = (), /) -> Answer:
        return self.run((app.plugin("postgres").numbered(sql), values))

    def run(self, *steps: Step) -> Answer:
        self._link.run(("savepoint statement", ()))
        try:
            return self._link.run(*steps)
        except Exception:
            if not self._link.is_broken:
                self._link.run(("rollback to statement", ()))
            raise


class OneLink:
    """A pool of one connection, which waits until it is given back."""

    is_open = True

    def __init__(self, link: StillLink) -> None:
        self._link, self._free = link, threading.Lock()

    def take(self) -> StillLink:
        self._free.acquire()
        return self._link

    def give_back(self, link: StillLink) -> None:
        self._free.release()

    def close(self) -> None:
        """It belongs to whoever made it."""


@contextmanager
def frozen(provider: PostgresDatabase) -> Iterator[PostgresDatabase]:
    """The provider as it is now, to be read. Writers do not wait for it."""
    settings = f"select set_config(name, '0', true) from pg_settings where name in ('{_LIMITS[0]}', '{_LIMITS[1]}')"  # noqa: S608
    still: Any = copy.copy(provider)
    with still._errors("reading at one moment"):
        link = still._connected()
    try:
        with still._errors("reading at one moment"):
            link.run(("begin isolation level repeatable read, read only", ()), (settings, ()))
        still._pool, still._tables, still._functions = OneLink(StillLink(link)), set(provider._tables), set()
        yield still
    finally:
        link.close()
