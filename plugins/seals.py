"""The audit trail is sealed: its entries are chained by hash in blocks, so that a change behind Satchel's back shows."""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from decimal import Decimal
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple, cast

from app import (
    LOG,
    AppError,
    Clock,
    Command,
    Condition,
    Config,
    Conflict,
    Delete,
    Forbidden,
    Insert,
    Job,
    Json,
    KeyRing,
    Query,
    Record,
    Records,
    Site,
    StorageFull,
    Update,
    Value,
    Write,
    how_many,
    load_json,
    number_key,
    plugin,
    rfc3339,
)

# ==== 1. SEALS ===================================================================================================
# A seal is a row of _seals, beside the entries that it is about: the id and the digest of each entry of a block, the hash of
# the seal before, and a mac with a sub-key of the key ring. The row "start" stands for the seals that were pruned.
# uses: ERRORS VALUES CONTRACTS AUTH PROVIDERS plugin:disk
# defines: MOST_ENTRIES LATE_S digest_of is_entry_id id_at Seal Start Chain stores_of

MOST_ENTRIES = 1000  # of a seal, which then is a row of 45 kB
LATE_S = 7200.0  # after its own time an entry may be committed, and still be sealed
_TABLE, _START, _PURPOSE = "_seals", "start", "audit seal"
_NUMBERED = Condition("id", "lt", ":")  # of the rows in the table, those of seals: ":" follows the digits
_ENTRY_ID = re.compile("[0-9a-f]{12}7[0-9a-f]{19}")
_ID_BYTES, _DIGEST_BYTES = 16, 16
_HEADS = "seals.json"  # in the data folder: the newest seal of each provider that was seen here
_SEALS_A_COMMIT = 20


def digest_of(entry: Record) -> bytes:
    """Of what an entry says, the same on every provider, whatever way of writing it down that has."""
    text = json.dumps([entry.key, _canonical(entry.value)], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES]


def _canonical(value: Json) -> Json:
    """The value with one way of writing for numbers that are equal. U+0000 stands in no text that is stored."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if isinstance(value, dict):
        return {name: _canonical(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_canonical, value))
    return "\0" + number_key(cast("int | float | Decimal", value))


def is_entry_id(key: str) -> bool:
    """Whether it is a key that Satchel gives to entries."""
    return _ENTRY_ID.fullmatch(key) is not None


def id_at(at_s: float) -> str:
    """What the ids of a moment begin with: those of earlier ones sort before it."""
    return f"{max(0, int(at_s * 1000)):012x}"


def _hash(value: Value) -> str:
    return hashlib.sha256(_text(value)).hexdigest()


def _text(value: Value) -> bytes:
    """As what Satchel writes into a seal it is exact: texts and whole numbers."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "surrogatepass")


def _signed(value: Value, keys: KeyRing) -> Value:
    key = keys.keys[0]
    value = {name: one for name, one in value.items() if name not in ("kid", "mac")} | {"kid": key.kid}
    return value | {"mac": hmac.digest(key.sub_key(_PURPOSE), _text(value), "sha256").hex()}


def _is_signed(value: Value, keys: KeyRing) -> bool | None:
    """Whether its mac is right; None if its key is not in the ring."""
    bare = {name: one for name, one in value.items() if name != "mac"}
    key = next((one for one in keys.keys if one.kid == value.get("kid")), None)
    if key is None:
        return None
    mac = hmac.digest(key.sub_key(_PURPOSE), _text(bare), "sha256").hex()
    return hmac.compare_digest(mac.encode(), str(value.get("mac", "")).encode())


class Seal(NamedTuple):
    """One link of a chain. `looked` is what the ids begin with up to which it was looked for entries, `most` the largest id
    in any seal, `closed` that before which no entry is taken in any more; `trusts`: the seal before it was proved then."""

    number: int
    value: Value

    @property
    def members(self) -> Iterator[tuple[str, bytes]]:
        """Id and digest of each entry, by id."""
        data, size = base64.b64decode(self.value["members"]), _ID_BYTES + _DIGEST_BYTES
        for at in range(0, len(data), size):
            yield data[at : at + _ID_BYTES].hex(), data[at + _ID_BYTES : at + size]

    @property
    def hash(self) -> str:
        return _hash(self.value)

    def text(self, name: str) -> str:
        return str(self.value.get(name, ""))


_NO_SEAL = Seal(0, {})


class Start(NamedTuple):
    """Where a chain begins after the seals up to a number were pruned, with entries whose id is smaller than `pruned`."""

    number: int = 0
    hash: str = ""
    pruned: str = ""
    version: int = 0  # of its row; 0 if there is none
    kid: str = ""
    is_proved: bool = True


class Chain:
    """The seals of one provider."""

    def __init__(self, name: str, records: Records, keys: KeyRing, data: Path) -> None:
        self.name, self.records, self.keys, self._heads = name, records, keys, data / _HEADS

    def start(self) -> Start:
        """As it says itself, proved or not."""
        row = self.records.get(_TABLE, _START)
        if row is None:
            return Start()
        said, is_proved = row.value, not row.damage and _is_signed(row.value, self.keys) is True
        number = said["number"] if type(said.get("number")) is int else 0
        hash_, pruned, kid = (str(said.get(name, "")) for name in ("hash", "pruned", "kid"))
        return Start(number, hash_, pruned, row.version, kid, is_proved)

    def renew_start(self) -> None:
        """Sign it with the newest key, before an older one is retired."""
        start = self.start()
        if start.version and start.is_proved and start.kid != self.keys.keys[0].kid:
            self.records.commit([self._moved(start, start.number, start.hash, start.pruned)])

    def last(self) -> Seal:
        """The newest one; one of number 0 if there is none."""
        found = self.records.find(Query(_TABLE, (_NUMBERED,), ("-id",), 1)).items
        return _seal(found[0]) if found else _NO_SEAL

    def seals(self, *, newest_first: bool = False) -> Iterator[Seal]:
        return map(_seal, self.records.walk(Query(_TABLE, (_NUMBERED,), ("-id" if newest_first else "id",))))

    def head(self) -> tuple[int, str]:
        """Number and hash of the newest seal that this data folder knows of; 0 and "" if it knows none."""
        head = self._all_heads().get(self.name, {})
        return head.get("number", 0), head.get("hash", "")

    def _all_heads(self) -> Value:
        with suppress(OSError, AppError):
            found = load_json(self._heads.read_bytes())
            return found if isinstance(found, dict) else {}
        return {}

    def is_proved(self, seal: Seal) -> bool:
        """Whether a seal was made here, by its mac or by what this data folder knows."""
        return _is_signed(seal.value, self.keys) is True or (seal.number, seal.hash) == self.head()

    def add(self, before: Seal, facts: Value, members: Iterable[tuple[str, bytes]] = ()) -> Seal:
        """A seal behind the newest one. Raises Conflict if another process was first."""
        packed, ids = bytearray(), []
        for key, digest in members:
            packed += bytes.fromhex(key) + digest
            ids.append(key)
        start = self.start() if before.number == 0 else Start()
        value: Value = {
            "first": ids[0] if ids else "", "last": ids[-1] if ids else "", "count": len(ids),
            "members": base64.b64encode(packed).decode(), "most": max([before.text("most"), *ids[-1:]]),
            "number": (before.number or start.number) + 1, "before": before.hash if before.number else start.hash,
            "trusts": before.number == 0 or self.is_proved(before),
        }  # fmt: skip
        seal = Seal(value["number"], _signed(value | facts, self.keys))
        self.records.commit([Insert(_TABLE, _key(seal.number), seal.value)])
        self._note(before, seal)
        return seal

    def _note(self, before: Seal, seal: Seal) -> None:
        """Remember the newest seal, unless the one that is known is not in the chain any more: it shows what is missing."""
        known = self.head()
        if known[0] and known != (before.number, before.hash):
            row = self.records.get(_TABLE, _key(known[0]))
            if known[0] > self.start().number and (row is None or _hash(row.value) != known[1]):
                LOG.error("the audit trail of %s was changed: seal %d is not the one that was made", self.name, known[0])
                return
        heads = self._all_heads() | {self.name: {"number": seal.number, "hash": seal.hash}}
        with suppress(OSError):
            plugin("disk").replace_file(self._heads, [json.dumps(heads).encode()])

    # -- pruning

    def begin_pruning(self, pruned: str) -> None:
        """Before entries whose ids are smaller than that are removed. Raises Conflict if another process does the same."""
        if self.last().number or self.records.get(_TABLE, _START):
            start = self.start()
            if pruned > start.pruned and start.is_proved:
                self.records.commit([self._moved(start, start.number, start.hash, pruned)])

    def forget(self, stop: threading.Event) -> None:
        """Remove the seals whose entries were all removed, but never the newest: the last of them is the new start."""
        start = self.start()
        while start.is_proved and not stop.is_set():
            gone: list[Seal] = []
            for seal in islice(self.seals(), _SEALS_A_COMMIT + 1):
                if not self._is_pruned(seal, start.pruned):
                    break
                gone.append(seal)
            del gone[_SEALS_A_COMMIT:]
            if gone and gone[-1].number == self.last().number:
                gone.pop()
            if not gone:
                return
            writes: list[Write] = [Delete(_TABLE, _key(one.number)) for one in gone]
            found = self.records.commit([self._moved(start, gone[-1].number, gone[-1].hash, start.pruned), *writes])
            start = Start(gone[-1].number, gone[-1].hash, start.pruned, found[0].version)

    def _is_pruned(self, seal: Seal, pruned: str) -> bool:
        if not (seal.text("last") or seal.text("looked")) < pruned:
            return False
        where = Condition("id", "gte", seal.text("first")), Condition("id", "lte", seal.text("last"))
        left = self.records.find(Query("_audit", where, ("id",), 10)).items if seal.value["count"] else []
        return all(one.damage for one in left)

    def _moved(self, start: Start, number: int, hash_: str, pruned: str) -> Write:
        value = _signed({"number": number, "hash": hash_, "pruned": pruned}, self.keys)
        if start.version:
            return Update(_TABLE, _START, value, start.version)
        return Insert(_TABLE, _START, value)


def _key(number: int) -> str:
    return f"{number:010d}"


def _seal(row: Record) -> Seal:
    number = int(row.key) if row.key.isdecimal() else -1
    blank: Value = {"members": "", "count": 0, "number": number}
    return Seal(number, blank | {"damage": row.damage} if row.damage else blank | row.value)


def stores_of(site: Any) -> Iterator[Chain]:
    """The chain of each provider that keeps audit entries; that of the state provider first."""
    names = {id(one): name for name, one in site.providers.items()}
    for records in site.audit_stores():
        yield Chain(names[id(records)], records, site.authority.keys, site.config.site.data)


# ==== 2. SEALING =================================================================================================
# Entries are sealed in the order of their ids, which is that of time. One that comes late (its commit was slow, or the clock
# of its node is behind) is found by a longer look back, once an hour, and sealed in a block of its own.
# uses: ERRORS VALUES CONFIG CONTRACTS SEALS plugin:archives plugin:clock_watch plugin:locale
# defines: Job:sealing Sealing

_MARGIN_S = 10.0  # entries that are younger may not be committed yet
_AHEAD_S = 60.0  # entries from further in the future are sealed at once: nobody knows when their time comes
_DEEP_S = 3600.0  # between the long looks back
_PAUSE_S = 0.05  # between blocks, for others to write, and at most after a few entries
_FEW = 50  # entries, which take a millisecond or two
_AT_END_S, _ENDS_S = -1.0, 2.0  # the margin at a stop, and how long it may take


class _Look(NamedTuple):
    """What this process knows of a chain: up to where it looked for entries, and where earlier long looks ended, by
    time.monotonic()."""

    looked: str = ""
    deep_at: float = float("-inf")
    borders: tuple[tuple[float, str], ...] = ()


class Sealing(Job):
    """Seals what the audit trails have by now."""

    kind = "sealing"
    every_s = 60
    scope = "site"

    def __init__(self, options: Mapping[str, Any], config: Config, monotonic: Clock = time.monotonic) -> None:
        super().__init__(options, config)
        self._monotonic, self._looks = monotonic, dict[str, _Look]()
        self._told: dict[str, str] = {}  # what was wrong with each provider

    def run(self, site: Any, stop: threading.Event) -> None:
        """One provider that fails keeps no other from being sealed; the first failure is raised in the end."""
        self._seal_all(site, stop, _MARGIN_S)

    def end(self, site: Any) -> None:
        """Seal the last entries too, as far as that goes quickly."""
        stop = threading.Event()
        late = threading.Timer(_ENDS_S, stop.set)
        late.daemon = True
        late.start()
        try:
            self._seal_all(site, stop, _AT_END_S)
        finally:
            late.cancel()

    def _seal_all(self, site: Any, stop: threading.Event, margin_s: float) -> None:
        failures = []
        for one in stores_of(site):
            if stop.is_set():
                break
            try:
                with suppress(Conflict, StorageFull):  # another node is at it, or there is no room, which is told elsewhere
                    self._looks[one.name] = self._seal(site, one, stop, margin_s)
                self._told.pop(one.name, None)
            except AppError as error:
                failures += [error] if self._told.get(one.name) != error.message else []  # which is logged once
                self._told[one.name] = error.message
        if failures:
            raise failures[0]

    def _seal(self, site: Any, chained: Chain, stop: threading.Event, margin_s: float) -> _Look:
        """Seal what is new. Returns what is known now."""
        chained.renew_start()
        look, last, now = self._looks.get(chained.name, _Look()), chained.last(), site.clock()
        border = id_at(now - margin_s)
        looked = self._looked(look, last, now)
        is_deep = margin_s > 0 and self._monotonic() - look.deep_at >= _DEEP_S
        if is_deep:
            look = self._deeper(look, min(max(looked, border), last.text("most") or border))
        closed = self._closed(site, look, last, now)
        between = [Condition("id", "gte", looked), Condition("id", "lt", border)]
        ahead = [Condition("id", "gt", max(last.text("most"), id_at(now + _AHEAD_S)))]
        entries = chain(_entries(chained, between), _entries(chained, ahead))
        facts = {"at": rfc3339(now), "looked": max(looked, border), "closed": closed}
        if is_deep:  # after a stop, back to what may have been committed in its last moments
            since = id_at(min(now, _seconds(last.text("at"), now)) - LATE_S)
            entries = chain(self._late(chained, max(closed, since), looked), entries)
        rested = self._rested(entries, stop) if margin_s > 0 else entries
        before, last = last, self._add(chained, last, facts, looked, rested, stop)
        if stop.is_set():
            return look
        is_due = (is_deep or margin_s < 0) and last.text("looked") < id_at(now - _DEEP_S)
        if is_due and last is before and last.number:
            chained.add(last, facts)  # nothing was there
        return look._replace(looked=facts["looked"])

    @staticmethod
    def _looked(look: _Look, last: Seal, now: float) -> str:
        """Up to which id it was looked for entries. What says that this is in the future is not believed: the clock was
        wrong then, and what is sealed again does no harm."""
        known = [one for one in (look.looked, last.text("looked")) if one <= id_at(now + _AHEAD_S)]
        return max(known) if last.number == 0 or any(known) else id_at(now - LATE_S)

    def _deeper(self, look: _Look, border: str) -> _Look:
        now = self._monotonic()
        borders = [*look.borders, (now, border)]
        old = [one for one in borders if one[0] <= now - LATE_S]
        return look._replace(deep_at=now, borders=(*old[-1:], *borders[len(old) :]))

    def _closed(self, site: Any, look: _Look, last: Seal, now: float) -> str:
        """Before which id no entry is taken in any more: it has been as far, by every clock, for as long as entries may
        take."""
        known = min(last.text("closed"), id_at(now - LATE_S))
        old = [border for at, border in look.borders if at <= self._monotonic() - LATE_S]
        if not old or plugin("clock_watch").watch(site).look(now):
            return known
        return max(known, min(old[-1], id_at(now - LATE_S), last.text("most")))

    def _add(
        self, chained: Chain, last: Seal, facts: Value, since: str, entries: Iterable[Record], stop: threading.Event
    ) -> Seal:
        """Seal entries, a block at a time, each behind the one before; returns the newest. Where it is told to stop, the
        rest waits. `since`: it was looked for entries up to there before."""
        members = ((one.key, digest_of(one)) for one in entries if is_entry_id(one.key) and not one.damage)
        while not stop.is_set() and (block := list(islice(members, MOST_ENTRIES))):
            block.sort()
            is_whole = len(block) < MOST_ENTRIES  # there is no more
            # Up to where it was looked is known once all is sealed; "!" makes it the next id.
            looked = facts["looked"] if is_whole else max(since, min(block[-1][0] + "!", facts["looked"]))
            last = chained.add(last, facts | {"looked": looked}, block)
            if not is_whole:
                stop.wait(_PAUSE_S)
        return last

    def _rested(self, entries: Iterable[Record], stop: threading.Event) -> Iterator[Record]:
        """The same, with a rest after each few that is as long as they took: a worker has requests to answer meanwhile."""
        began = self._monotonic()
        for number, one in enumerate(entries, 1):
            yield one
            if number % _FEW == 0:
                stop.wait(min(self._monotonic() - began, _PAUSE_S))
                began = self._monotonic()

    def _late(self, chained: Chain, since: str, until: str) -> Iterator[Record]:
        """The entries between two ids that are in no seal."""
        with TemporaryDirectory() as folder:
            sorted_ids = plugin("archives").Sorted(Path(folder) / "ids")
            for seal in chained.seals(newest_first=True):
                if seal.text("at") < rfc3339(_time_of(since) - _DEEP_S):
                    break
                for key, _ in seal.members:
                    if since <= key < until:
                        sorted_ids.add(key)
            where = [Condition("id", "gte", since), Condition("id", "lt", until)]
            for entry, rows in _joined(_entries(chained, where), iter(sorted_ids)):
                if entry and not rows:
                    yield entry


def _time_of(entry_id: str) -> float:
    """Unix seconds of what an id begins with; 0.0 of ""."""
    return int(entry_id[:12] or "0", 16) / 1000


def _seconds(at: str, otherwise: float) -> float:
    try:
        return float(plugin("locale").parse_rfc3339(at))
    except (ValueError, TypeError, AppError):
        return otherwise


def _entries(chained: Chain, where: Iterable[Condition]) -> Iterator[Record]:
    return chained.records.walk(Query("_audit", tuple(where), ("id",)))


def _joined(entries: Iterator[Record], rows: Iterator[Any]) -> Iterator[tuple[Record | None, list[Any]]]:
    """Each entry with the rows that begin with its id, and the rows of an id that no entry has; both sorted by id."""
    groups = groupby(rows, itemgetter(0))
    entry, group = next(entries, None), next(groups, None)
    while entry is not None or group is not None:
        if group is None or (entry is not None and entry.key < group[0]):
            yield entry, []
            entry = next(entries, None)
        elif entry is None or group[0] < entry.key:
            yield None, list(group[1])
            group = next(groups, None)
        else:
            yield entry, list(group[1])
            entry, group = next(entries, None), next(groups, None)


# ==== 3. VERIFYING ===============================================================================================
# All seals and all entries of a provider, side by side by their ids: what does not fit lies on the disk meanwhile.
# uses: ERRORS VALUES CONTRACTS COMMANDS SEALING SEALS plugin:archives plugin:copy
# defines: Command:info_audit Finding verify InfoAudit

_MOST_FAULTS = 100  # of a provider, that are named


class Finding:
    """What came of a look at one provider. `faults` has [what, place, words] of the first of each kind: an entry or a seal
    was "changed", is "missing" or was "put in", or a seal is "unproved"."""

    def __init__(self, name: str) -> None:
        self.name, self.entries, self.seals, self.waiting, self.erased = name, 0, 0, 0, 0
        self.sealed_at = self.hash = ""
        self.faults: list[tuple[str, str, str]] = []
        self.counts: dict[str, int] = {}

    def fault(self, what: str, place: str, words: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        if self.counts[what] <= _MOST_FAULTS:
            self.faults.append((what, place, words))

    def facts(self) -> Value:
        faults = [{"what": what, "place": place, "detail": words} for what, place, words in self.faults]
        return {
            "provider": self.name, "ok": not self.counts, "entries": self.entries, "waiting": self.waiting,
            "erased": self.erased,
            "seals": self.seals, "sealed_at": self.sealed_at or None, "newest": self.hash or None, "counts": self.counts,
            "faults": faults,
        }  # fmt: skip


def verify(chained: Chain, step: Any = lambda done: None) -> Finding:
    """Compare all entries of a provider with its seals. `step` is called with the number of entries that were looked at."""
    found = Finding(chained.name)
    start = chained.start()
    if not start.is_proved:
        found.fault("changed", f"{_TABLE}/{_START}", "the row that says where the trail begins is not one of this site's")
        start = Start()
    with TemporaryDirectory() as folder:
        all_members = plugin("archives").Sorted(Path(folder) / "members")
        last = _look_at_seals(chained, start, found, all_members)
        for entry, sealed in _joined(_entries(chained, ()), iter(all_members)):
            step(1)
            found.entries += entry is not None
            if entry is None and not sealed[0][0] < start.pruned and (again := chained.start()).is_proved:
                start = again  # it may have been pruned meanwhile
            _look_at_entry(entry, sealed, start, last, found)
    return found


def _look_at_seals(chained: Chain, start: Start, found: Finding, rows: Any) -> Seal:
    """Whether the chain is whole; each member goes to `rows`. Returns the newest seal."""
    number, hash_, head = start.number, start.hash, chained.head()
    last, unproved = _NO_SEAL, list[int]()
    for seal in chained.seals():
        found.seals += 1
        if seal.number != number + 1:
            found.fault("missing", f"seal {number + 1}", f"seals {number + 1} to {seal.number - 1} are gone")
        elif seal.text("before") != hash_:
            found.fault("changed", f"seal {seal.number}", f"does not follow seal {number}, or that one was changed")
        is_signed = _is_signed(seal.value, chained.keys)
        if is_signed is False or seal.value.get("number") != seal.number:
            found.fault("changed", f"seal {seal.number}", "its signature is wrong")
        if seal.number == head[0] and seal.hash != head[1]:
            found.fault("changed", f"seal {seal.number}", "is not the one that was made here")
        is_proved = is_signed or (seal.number, seal.hash) == head
        if is_proved and seal.value.get("trusts"):
            unproved = []
        elif not is_proved and is_signed is None:
            unproved.append(seal.number)
        for key, digest in _members_of(seal):
            rows.add(key, digest, seal.number)
        last, number, hash_ = seal, seal.number, seal.hash
    if head[0] > number:
        found.fault("missing", f"seal {head[0]}", f"seals {number + 1} to {head[0]} were made here, and are gone")
    if unproved:
        words = "were made with a key that is not in the key ring: they fit the entries, which proves nothing"
        found.fault("unproved", f"seal {unproved[0]}", f"seals {unproved[0]} to {unproved[-1]} {words}")
    found.sealed_at, found.hash = last.text("at"), last.hash if last.number else ""
    return last


def _members_of(seal: Seal) -> Iterator[tuple[str, str]]:
    with suppress(ValueError, TypeError):  # it was changed, which is told
        for key, digest in seal.members:
            yield key, digest.hex()


def _look_at_entry(entry: Record | None, sealed: list[Any], start: Start, last: Seal, found: Finding) -> None:
    """Note what is wrong with an entry, and with the seals that have its id."""
    if entry is None:
        key, _, number = sealed[0]
        if not key < start.pruned:
            found.fault("missing", key, f"an entry of {rfc3339(_time_of(key))}, in seal {number}, is gone")
        return
    if sealed:
        found.erased += bool(entry.value.get("erased"))
        if entry.damage or not _is_as_sealed(entry, sealed):
            found.fault("changed", entry.key, f"is not what was sealed in seal {sealed[0][2]}: {_summary(entry)}")
    elif entry.key < start.pruned and entry.damage:
        return  # pruning leaves what no backup has
    elif not is_entry_id(entry.key) or entry.key < max(start.pruned, last.text("closed")):
        found.fault("put in", entry.key, f"is in no seal, and older than what may come late: {_summary(entry)}")
    else:
        found.waiting += 1


def _is_as_sealed(entry: Record, sealed: list[Any]) -> bool:
    """Whether it is what each seal has that names it; of one that was erased since (plugins/personal_data.py), the last."""
    digest = digest_of(entry).hex()
    _, newest, _ = max(sealed, key=itemgetter(2))
    return newest == digest if entry.value.get("erased") else all(one == digest for _, one, _ in sealed)


def _summary(entry: Record) -> str:
    if entry.damage:
        return f"what is stored {entry.damage}"
    return " ".join(str(entry.value.get(name, "")) for name in ("at", "subject", "action", "resource", "record")).strip()


class InfoAudit(Command):
    """The exit code is 3 if an entry or a seal was changed, is missing or was put in."""

    kind: ClassVar[str] = "info audit"
    help = "up to when the audit trail is sealed, and with --verify whether it is what was sealed"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--verify", action="store_true", help="compare every entry with its seal (exit code 3 if one differs)"
        )

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with site.opened() as opened, closing(plugin("copy").Bar()) as bar:
            findings = []
            for chained in stores_of(opened):
                bar.begin(chained.name, chained.records.count(Query("_audit")) if bar.shown and args.verify else 0)
                findings.append(verify(chained, bar.step) if args.verify else _glance(chained))
        if args.json:
            site.print_json({"ok": not any(one.counts for one in findings), "providers": [one.facts() for one in findings]})
        else:
            for one in findings:
                site.print(*(f"{one.name}: {what}: {place}: {words}" for what, place, words in one.faults))
                site.print(_line(one, verified=args.verify))
        return Forbidden.exit_code if any(one.counts for one in findings) else 0


def _glance(chained: Chain) -> Finding:
    found, last = Finding(chained.name), chained.last()
    found.entries, found.seals = chained.records.count(Query("_audit")), last.number
    found.sealed_at, found.hash = last.text("at"), last.hash if last.number else ""
    return found


def _line(one: Finding, *, verified: bool) -> str:
    """One line for people."""
    if not one.sealed_at and not one.counts:
        return f"{one.name}: nothing is sealed yet; a running server does it every minute"
    told = f"{one.name}: {one.entries:,} {'entry' if one.entries == 1 else 'entries'}"
    told += f", sealed up to {one.sealed_at}, seal {one.seals}" if not verified else f", {how_many(one.seals, 'seal')}"
    if not verified:
        return told
    if one.counts:
        return told + ": NOT what was sealed: " + ", ".join(f"{count} {what}" for what, count in one.counts.items())
    waiting = f"; {one.waiting} not sealed yet" if one.waiting else ""
    erased = f"; {one.erased} erased with the data of people" if one.erased else ""
    return f"{told}: all is as it was sealed, up to {one.sealed_at}{waiting}{erased}"
