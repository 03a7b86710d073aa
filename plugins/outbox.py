"""The outbox: what the site must send stands beside what caused it until it was handed over, or cannot be."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    Form,
    Insert,
    NotFound,
    Query,
    Record,
    Records,
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
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES
# defines: Job:outbox OUTBOX GIVEN_UP waiting again stores beside dead_of of_person condition Outbox

OUTBOX = "_outbox"
_FIRST_RETRY_S, _LAST_RETRY_S = 15.0, 3600.0  # after a failure; it doubles, and a quarter of it is left to chance
_LONGEST_REST_S = 86_400.0  # that the other side may ask for
_AT_ONCE = 100  # rows that are looked at together
_COMMITTED_AT_ONCE = 50
_LOOK_S = 1.0  # how soon what has come meanwhile is sent while another channel is slow
_STOP_S = 3.0  # that a stop waits for what is being sent
# By kind of row the plugin that says it: its notice(app, record) returns what Channel.send() takes, or None if there is
# nothing to say any more; failed(app, record, why) returns writes that go with the end of a row that could not be sent.
# Where it has spread(app, record), that returns the rows that take the place of one whose receivers are only known when it
# is due, or None for one that is sent as it is.
_SAID_BY: Mapping[str, str] = {
    **dict.fromkeys(("sign_in", "invitation", "link"), "mailed_links"),
    **dict.fromkeys(("notice", "reminder", "digest"), "notices"),
}
_STAYING = ("notice", "reminder", "digest")  # what stays as dead when it is given up, until somebody looks
GIVEN_UP = "dead"  # the state of such a row


def waiting(
    key: str, channel: str, kind: str, facts: Value, now: float, seconds: float, *, to: str = "", line: str = ""
) -> Insert:
    """What puts something into the outbox: what it says is for the plugin of its kind to tell by `facts`. It is given up
    after so many seconds. Rows of one `line` leave in the order of their keys; those of "" have none."""
    times: Value = {"at": now, "next_at": now, "until": now + seconds, "tries": 0}
    said: Value = {"channel": channel, "kind": kind, "to": to, "line": line, "state": "waiting", "facts": facts}
    return Insert(OUTBOX, key, said | times)


def again(row: Record, now: float) -> Value:
    """A row of the outbox that is tried at once, and as long again as at first."""
    lasts_s = row.value.get("until", now) - row.value.get("at", now)
    return row.value | {"state": "waiting", "next_at": now, "until": now + lasts_s, "tries": 0, "own": 0, "why": ""}


def stores(built: Any) -> list[Records]:
    """Where the outboxes of a site are, or of its Builder: in the state provider, and beside the records of each form that
    tells of them."""
    found = {id(built.state): built.state}
    for one in built.resources.values():
        if isinstance(one, Form) and one.config.notify and one.records is not None and one.records.atomic:
            found[id(one.records)] = one.records
    return list(found.values())


def beside(built: Any, store: Records, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Which of the tables of the state provider another one has to have, too."""
    return {OUTBOX: tables[OUTBOX]} if any(store is one for one in stores(built)) else {}


def dead_of(records: Records) -> int:
    """How many rows of an outbox were given up."""
    return records.count(Query(OUTBOX, (Condition("state", "eq", GIVEN_UP),)))


def of_person(records: Records, subject: str, email: str, owned: Collection[tuple[str, str]]) -> list[Write]:
    """What takes out of an outbox all that is for a person, by him, or about his records (address of the form, key)."""
    found: list[Write] = []
    for row in records.walk(Query(OUTBOX)):
        facts = cast(Value, row.value.get("facts") or {})
        named = [row.value.get("to"), facts.get("by"), facts.get("subject"), facts.get("email")]
        is_about = (f"forms/{facts.get('form')}", facts.get("record")) in owned
        if is_about or subject in named or (email and email in named):
            found.append(Delete(OUTBOX, row.key))
    return found


def condition(site: Any, states: Mapping[str, str] | None = None) -> Value:
    """How many rows are `dead` and how many `waiting`, as far as providers are there; {} if there can be none."""
    if not getattr(site, "channels", None) or site.state is None:
        return {}
    names = {id(one): name for name, one in site.providers.items()}
    found: Value = {"dead": 0, "waiting": 0}
    for records in stores(site):
        if not states or states.get(names.get(id(records), ""), "ok") == "ok":
            with suppress(AppError):
                found["dead"] += dead_of(records)
                found["waiting"] += records.count(Query(OUTBOX, (Condition("state", "eq", "waiting"),)))
    return found


class Outbox(app.Job):
    """Sends what waits in the outboxes of a site, each channel in a thread of its own."""

    kind = "outbox"
    every_s = 2
    scope = "site"

    def __init__(self, options: Mapping[str, Any], config: app.Config) -> None:
        super().__init__(options, config)
        self._nothing_at: dict[int, Any] = {}  # by outbox the mark of its provider at which nothing waited
        self._away: set[int] = set()  # outboxes of providers that are away, which is said once

    def run(self, site: Any, stop: threading.Event) -> None:
        if stop.is_set():
            return
        busy: dict[str, threading.Thread] = {}
        failures: list[Exception] = []
        while not stop.is_set():
            for name in self._due(site, failures):
                if name not in busy:
                    work = threading.Thread(target=self._tried, args=[name, site, stop, failures], daemon=True)
                    busy[name] = work
                    work.start()
            self._wait(busy, stop)
            busy = {name: thread for name, thread in busy.items() if thread.is_alive()}
            if not busy:
                break
        until = time.monotonic() + _STOP_S
        for thread in busy.values():
            thread.join(max(until - time.monotonic(), 0))
        if failures:
            raise failures[0]

    def _wait(self, busy: Mapping[str, threading.Thread], stop: threading.Event) -> None:
        """Until all channels are done, or soon, so that others begin meanwhile."""
        until = time.monotonic() + _LOOK_S
        for thread in busy.values():
            while thread.is_alive() and time.monotonic() < until and not stop.is_set():
                thread.join(0.05)

    def _due(self, site: Any, failures: list[Exception]) -> list[str]:
        """The channels for which something is due."""
        names: dict[str, None] = {}
        for records in stores(site):
            try:
                names |= dict.fromkeys(self._due_in(records, site))
                self._away.discard(id(records))
            except Unavailable as error:
                if id(records) not in self._away:
                    LOG.warning("what waits in one outbox is sent once its provider is back: %s", error.with_hint)
                self._away.add(id(records))
            except Exception as error:
                failures.append(error)
        return list(names)

    def _due_in(self, records: Records, site: Any) -> list[str]:
        mark = records.mark()
        if mark is not None and mark == self._nothing_at.get(id(records)):
            return []
        page = records.find(_of_due(site.clock()))
        if not page.items and not records.find(Query(OUTBOX, (Condition("next_at", "gt", 0),), limit=1)).items:
            self._nothing_at[id(records)] = mark
        names = [str(row.value.get("channel")) for row in page.items]
        return [*names, *site.channels] if page.next else names  # of so many, others may not be seen among them

    def _tried(self, name: str, site: Any, stop: threading.Event, failures: list[Exception]) -> None:
        channel = cast(Channel | None, site.channels.get(name))
        try:
            for records in stores(site):
                with _kept(failures):
                    _Round(name, channel, records, site, stop).run()
        finally:
            if channel:
                channel.close()


class _kept:
    """What the block raises is kept for later."""

    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception):
            self._failures.append(error)
        return isinstance(error, Exception)


def _of_due(now: float, *more: Condition) -> Query:
    return Query(OUTBOX, (Condition("next_at", "gt", 0), Condition("next_at", "lte", now), *more), limit=_AT_ONCE)


class _Round:
    """What is due on one channel in one outbox, sent."""

    def __init__(self, name: str, channel: Channel | None, records: Records, site: Any, stop: threading.Event) -> None:
        self.channel, self.records, self.site, self.stop = channel, records, site, stop
        self.due, self.chance = Condition("channel", "eq", name), random.uniform(0.75, 1.0)  # noqa: S311 (no secret)

    def run(self) -> None:
        while self._sends_some() and not self.stop.is_set():
            pass

    def _sends_some(self) -> bool:
        """One pass; whether something went out that others waited for. Once the channel cannot be used at all, the rest
        waits as long as what failed. Those that nobody has tried yet come first, so that one that brings the other side
        down is not what is tried in each pass."""
        rows, sent, waits = self.records.find(_of_due(self.site.clock(), self.due)).items, 0, 0
        for row in sorted(rows, key=lambda row: row.value.get("own") or 0):  # which keeps the order of keys otherwise
            if self.stop.is_set():
                return False
            try:
                if self._is_first(row):
                    self._send(row)
                    sent += 1
                else:
                    waits += 1
            except Unavailable as error:
                self._put_off([row], error, own=1)
                self._all_wait(row, error)
                return False
            except AppError as error:
                self._put_off([row], error, own=1)
            except Exception as error:  # one that cannot be said keeps no other one from being sent
                LOG.error("%s was not sent, and is given up: no notice can be made of it", _named(row), exc_info=error)
                self._end(row, AppError("no notice can be made of it"), is_said=False)
        return bool(sent and waits)

    def _is_first(self, row: Record) -> bool:
        """Whether nothing before it in its line waits; otherwise it waits for that."""
        line = row.value.get("line")
        if row.damage or not line:
            return True
        where = Condition("line", "eq", line), Condition("next_at", "gt", 0)
        [first] = self.records.find(Query(OUTBOX, where, ("id",), limit=1)).items or [row]
        if first.key == row.key:
            return True
        if first.value["next_at"] > self.site.clock():
            self._commit([Update(OUTBOX, row.key, row.value | {"next_at": first.value["next_at"]}, row.version)])
        return False

    def _send(self, row: Record) -> None:
        kind = str(row.value.get("kind"))
        if row.damage or kind not in _SAID_BY:
            raise AppError(f"its row {row.damage}" if row.damage else f"nobody knows the kind {kind!r}")
        if self.channel is None:
            raise Busy(f"no channel is named {row.value['channel']}")
        said_by = plugin(_SAID_BY[kind])
        spread = said_by.spread(self.site, row) if hasattr(said_by, "spread") else None
        if spread is not None:
            self._replace(row, spread)
            return
        notice = said_by.notice(self.site, row)
        if notice is not None:
            self.channel.send(notice)
            LOG.info("%s was sent", _named(row))
            self.site.count("satchel_notices_total", row.value["channel"], "sent")
        self._commit([Delete(OUTBOX, row.key)])
        self._release(row)

    def _replace(self, row: Record, spread: Sequence[Insert]) -> None:
        """Put others in its place. Of those that are there already, because an earlier try ended here, none comes twice."""
        missing = [one for one in spread if self.records.get(OUTBOX, one.key) is None]
        for at in range(0, len(missing), _COMMITTED_AT_ONCE):
            self.records.commit(missing[at : at + _COMMITTED_AT_ONCE])
        self._commit([Delete(OUTBOX, row.key)])
        self._release(row)

    def _release(self, row: Record) -> None:
        """Let what waits for it go on."""
        if (line := row.value.get("line")) and row.value.get("tries"):
            where = Condition("line", "eq", line), Condition("next_at", "gt", 0)
            for first in self.records.find(Query(OUTBOX, where, ("id",), limit=1)).items:
                self._commit([Update(OUTBOX, first.key, first.value | {"next_at": self.site.clock()}, first.version)])

    def _all_wait(self, failed: Record, error: Unavailable) -> None:
        """What else is due on the channel waits, too."""
        while rows := self.records.find(_of_due(self.site.clock(), self.due)).items:
            LOG.warning("%s wait on the channel %s as long", how_many(len(rows), "other"), failed.value.get("channel"))
            self._put_off([row for row in rows if row.key != failed.key], error)
            if len(rows) < _AT_ONCE:
                return

    def _put_off(self, rows: Sequence[Record], error: AppError, own: int = 0) -> None:
        """Wait for the next try, or give up what was refused for good or whose time is over."""
        now = self.site.clock()
        told = vars(error)  # what this one says, and not its class
        asked_s = min(max(float(told.get("over_in_s", 0)), float(told.get("retry_after_s", 0))), _LONGEST_REST_S)
        writes: list[Write] = []
        for row in rows:
            tries = row.value.get("tries", 0) + 1
            wait_s = max(min(_FIRST_RETRY_S * 2 ** min(tries - 1, 20), _LAST_RETRY_S) * self.chance, asked_s)
            if error.retry and now + wait_s < row.value.get("until", 0):
                if own:
                    words = "%s was not sent, and is tried again in %d seconds: %s"
                    LOG.warning(words, _named(row), wait_s, error.with_hint)
                tried: Value = {"tries": tries, "own": (row.value.get("own") or 0) + own, "next_at": now + wait_s}
                writes.append(Update(OUTBOX, row.key, row.value | tried | {"why": error.with_hint[:500]}, row.version))
            else:
                attempts = how_many(tries, "attempt")
                LOG.error("%s was not sent, and is given up after %s: %s", _named(row), attempts, error.with_hint)
                self._end(row, error, tries)
        for at in range(0, len(writes), _COMMITTED_AT_ONCE):
            self._commit(writes[at : at + _COMMITTED_AT_ONCE])

    def _end(self, row: Record, error: AppError, tries: int = 0, *, is_said: bool = True) -> None:
        """Give a row up: as dead it stays until somebody looks, or it goes."""
        kind = str(row.value.get("kind"))
        if kind in _STAYING:
            over: Value = {"state": GIVEN_UP, "next_at": 0, "tries": tries or row.value.get("tries", 0) + 1}
            over |= {"why": error.with_hint[:500], "line": ""}
            self._commit([Update(OUTBOX, row.key, row.value | over, row.version)])
            self.site.count("satchel_notices_total", str(row.value.get("channel")), GIVEN_UP)
        else:
            self._commit([Delete(OUTBOX, row.key), *(_afterwards(row, self.site, error) if is_said else ())])
        self._release(row)

    def _commit(self, writes: Sequence[Write]) -> None:
        if writes:
            with suppress(Conflict, NotFound):  # somebody else was first
                self.records.commit(writes)


def _named(row: Record) -> str:
    """What a row is, for the log: no address, and nothing that a notice says."""
    return f"{row.value.get('kind')} {row.key} on the channel {row.value.get('channel')}"


def _afterwards(row: Record, site: Any, error: AppError) -> Iterator[Write]:
    said_by = _SAID_BY.get(str(row.value.get("kind")))
    if said_by and not row.damage:
        yield from plugin(said_by).failed(site, row, error)
