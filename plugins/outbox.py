"""The outbox: what the site must send stands in the state provider until it was handed over, or cannot be."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import app
from app import (
    LOG,
    AppError,
    Busy,
    Channel,
    Condition,
    Conflict,
    Delete,
    Insert,
    Query,
    Record,
    Unavailable,
    Update,
    Value,
    Write,
    how_many,
    plugin,
)

# ==== 1. OUTBOX ==================================================================================================
# A row is committed together with what caused it. The process that runs the jobs of the site makes a notice of it, in the
# words of the plugin that its kind names, and hands that to its channel: at least once, always with the same id. What fails
# is tried again, later each time, until the row's time is over. No row holds a secret.
# uses: ERRORS VALUES CONTRACTS
# defines: Job:outbox OUTBOX waiting Outbox

OUTBOX = "_outbox"
_FIRST_RETRY_S, _LAST_RETRY_S = 15.0, 3600.0  # after a failure; it doubles, and a quarter of it is left to chance
_AT_ONCE = 100  # rows a round
# By kind of row the plugin that says it: its notice(app, record) returns what Channel.send() takes, or None if there is
# nothing to say any more; failed(app, record, why) returns writes that go with the end of a row that could not be sent.
_SAID_BY: Mapping[str, str] = {"sign_in": "mailed_links", "invitation": "mailed_links", "link": "mailed_links"}


def waiting(key: str, channel: str, kind: str, facts: Value, now: float, seconds: float) -> Insert:
    """What puts something into the outbox: whom it is for, and what it says, is for the plugin of its kind to tell by
    `facts`. It is given up after so many seconds."""
    times: Value = {"at": now, "next_at": now, "until": now + seconds, "tries": 0}
    return Insert(OUTBOX, key, {"channel": channel, "kind": kind, "facts": facts, **times})


class Outbox(app.Job):
    """Sends what waits in the outbox."""

    kind = "outbox"
    every_s = 2
    scope = "site"
    _nothing_at: Any = None  # the mark of the state provider at which nothing waited

    def run(self, site: Any, stop: threading.Event) -> None:
        mark = site.state.mark()
        if mark is not None and mark == self._nothing_at:
            return
        due = Query(OUTBOX, (Condition("next_at", "lte", site.clock()),), limit=_AT_ONCE)
        rows = site.state.find(due).items
        if not rows and not site.state.find(Query(OUTBOX, limit=1)).items:
            self._nothing_at = mark
            return
        try:
            for name in dict.fromkeys(str(row.value.get("channel")) for row in rows):
                self._send([row for row in rows if row.value.get("channel") == name], name, site, stop)
        finally:
            for channel in site.channels.values():
                channel.close()

    def _send(self, rows: Sequence[Record], name: str, site: Any, stop: threading.Event) -> None:
        """Send what is due on one channel. Once that cannot be used at all, the rest waits as long as what failed."""
        channel = cast(Channel | None, site.channels.get(name))
        for number, row in enumerate(rows):
            if stop.is_set():
                return
            try:
                self._send_one(row, channel, site)
            except Unavailable as error:
                self._put_off(rows[number:], site, error)
                return
            except AppError as error:
                self._put_off([row], site, error)
            except Exception as error:  # one that cannot be said keeps no other one from being sent
                LOG.error("%s was not sent, and is given up: no notice can be made of it", _named(row), exc_info=error)
                site.state.commit([Delete(OUTBOX, row.key)])

    def _send_one(self, row: Record, channel: Channel | None, site: Any) -> None:
        if row.damage or row.value.get("kind") not in _SAID_BY:
            raise AppError(f"its row {row.damage}" if row.damage else f"nobody knows the kind {row.value.get('kind')!r}")
        if channel is None:
            raise Busy(f"no channel is named {row.value['channel']}")
        notice = plugin(_SAID_BY[row.value["kind"]]).notice(site, row)
        if notice is not None:
            channel.send(notice)
            LOG.info("%s was sent", _named(row))
        site.state.commit([Delete(OUTBOX, row.key)])

    def _put_off(self, rows: Iterable[Record], site: Any, error: AppError) -> None:
        """Wait for the next try, or give up what was refused for good or whose time is over."""
        now, chance = site.clock(), random.uniform(0.75, 1.0)  # noqa: S311 (no secret)
        for row in rows:
            tries = row.value.get("tries", 0) + 1
            wait_s = min(_FIRST_RETRY_S * 2 ** min(tries - 1, 20), _LAST_RETRY_S) * chance
            if error.retry and now + wait_s < row.value.get("until", 0):
                LOG.warning("%s was not sent, and is tried again in %d seconds: %s", _named(row), wait_s, error.with_hint)
                later = row.value | {"tries": tries, "next_at": now + wait_s}
                writes: list[Write] = [Update(OUTBOX, row.key, later, row.version)]
            else:
                attempts = how_many(tries, "attempt")
                LOG.error("%s was not sent, and is given up after %s: %s", _named(row), attempts, error.with_hint)
                writes = [Delete(OUTBOX, row.key), *_afterwards(row, site, error)]
            with suppress(Conflict):  # somebody else was first
                site.state.commit(writes)


def _named(row: Record) -> str:
    """What a row is, for the log: no address, and nothing that a notice says."""
    return f"{row.value.get('kind')} {row.key} on the channel {row.value.get('channel')}"


def _afterwards(row: Record, site: Any, error: AppError) -> Sequence[Write]:
    said_by = _SAID_BY.get(str(row.value.get("kind")))
    return cast(Sequence[Write], plugin(said_by).failed(site, row, error)) if said_by and not row.damage else ()
