"""server copy SOURCE TARGET: all records and files of one provider in another one, compared to the last bit."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import heapq
import itertools
import json
import operator
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from app import (
    AppError,
    BadRequest,
    Blob,
    Blobs,
    Command,
    ConfigError,
    Conflict,
    Delete,
    Fault,
    Insert,
    Invalid,
    Json,
    NotFound,
    Provider,
    Query,
    Record,
    Records,
    Site,
    TooLarge,
    Unseen,
    Unsupported,
    Value,
    damage_of,
    dump_json,
    load_json,
    nearest,
    plugin,
    sort_key,
)

# ==== 1. COPY ====================================================================================================
# Walks both providers side by side in the order of their names, writes what is missing, and compares the digests of all
# that both hold. The target loses nothing: what it has beside the copy is named and stays.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS COMMANDS plugin:file_trees
# defines: Command:server_copy Side Tally Copy Bar ServerCopy


@dataclass(frozen=True, slots=True)
class Side:
    """What a provider holds of a table, or of files: how many, their bytes, and one digest of all of them in order."""

    count: int
    size_bytes: int
    sha256: str


class Tally:
    """A Side in the making."""

    def __init__(self) -> None:
        self.count, self.size_bytes, self.digest = 0, 0, hashlib.sha256()

    def add(self, line: bytes, size_bytes: int) -> None:
        self.count, self.size_bytes = self.count + 1, self.size_bytes + size_bytes
        self.digest.update(line + b"\n")

    def side(self) -> Side:
        return Side(self.count, self.size_bytes, self.digest.hexdigest())


def _canonical(value: Json) -> Json:
    """The value with texts for its numbers, the same for equal ones: one backend keeps 1.50 where another says 1.5."""
    if isinstance(value, Mapping):
        return {name: _canonical(one) for name, one in value.items()}
    return [_canonical(one) for one in value] if isinstance(value, list | tuple) else sort_key(value)


def _record_line(record: Record) -> bytes:
    facts = [record.key, record.version, _canonical(record.value)]
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


_T = TypeVar("_T", Record, Blob)


def _side_by_side(
    ours: Iterator[_T], theirs: Iterator[_T], name: Callable[[_T], str]
) -> Iterator[tuple[_T | None, _T | None]]:
    """What each side has under every name, None if it is missing there; both are sorted by name."""
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and name(one) < name(other)):
            yield one, None
            one = next(ours, None)
        elif one is None or name(other) < name(one):
            yield None, other
            other = next(theirs, None)
        else:
            yield one, other
            one, other = next(ours, None), next(theirs, None)


def _blobs_of(provider: Provider, unseen: Callable[[Unseen], None] = lambda one: None) -> Iterator[Blob]:
    """All files of a provider; what cannot be looked at goes to `unseen`."""
    for one in cast(Blobs, provider).scan():
        if isinstance(one, Blob):
            yield one
        elif isinstance(one, Unseen):
            unseen(one)


class _Compared:
    """What was copied and read back, as JSON Lines in the order of paths: what an interrupted run leaves to the next.

    An entry says that the bytes which had these etags in source and target were the same.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._fresh, merged = path, path.with_suffix(".part"), path.with_suffix(".both")
        place = operator.itemgetter("path")
        if self._fresh.exists():  # left by a run that was interrupted: its entries are newer
            entries = heapq.merge(self._entries(self._fresh), self._entries(path), key=place)
            with merged.open("wb") as file:
                file.writelines(dump_json(next(same)).encode() + b"\n" for _, same in itertools.groupby(entries, place))
            merged.replace(path)
        self._old = self._entries(path)
        self._ahead = next(self._old, None)
        self._file = self._fresh.open("wb")

    @staticmethod
    def _entries(path: Path) -> Iterator[Value]:
        """Those before the first that is broken off: a run that was killed may have ended in the middle of a line."""
        with suppress(FileNotFoundError, BadRequest), path.open("rb") as file:
            for line in file:
                yield load_json(line)

    def find(self, path: str) -> Value:
        """The entry of a path, {} if there is none; paths are asked for in order."""
        while self._ahead and self._ahead["path"] < path:
            self._ahead = next(self._old, None)
        return self._ahead if self._ahead and self._ahead["path"] == path else {}

    def add(self, source: Blob, target: Blob, sha256: str) -> None:
        entry = {"path": source.path, "source": source.etag, "target": target.etag, "sha256": sha256}
        self._file.write(dump_json(entry).encode() + b"\n")
        self._file.flush()  # to be found after the end of this process, whatever ends it

    def close(self, *, done: bool) -> None:
        self._file.close()
        if done:
            self._fresh.replace(self._path)


class Copy:
    """Copies what one provider holds to another one that holds nothing else; done again, it goes on where it stopped.

    Of the target, only older copies are replaced, and nothing else is deleted. What stands in the way, and every difference
    that is left in the end, is in `faults`, by table or path. Raises Unavailable if a provider goes away.
    """

    def __init__(self, source: Provider, target: Provider, step: Callable[[int], None] = lambda done: None) -> None:
        """`step` is called with the number of records, or of bytes of files, that were dealt with."""
        self.source, self.target, self.step = source, target, step
        self.faults: list[Fault] = []
        self.written = 0  # records and files

    def tables(self, known: Iterable[str]) -> list[str]:
        """The tables that hold something; of a backend that cannot list them, those of the `known` that do.

        ConfigError if the target lacks the contract of something that is there.
        """
        found: list[str] = []
        if self.source.has(Records):  # type: ignore[type-abstract]
            records = cast(Records, self.source)
            try:
                found = records.tables()
            except Unsupported:
                found = sorted(known)
            found = [table for table in found if records.find(Query(table, limit=1)).items]
        if found and not self.target.has(Records):  # type: ignore[type-abstract]
            raise ConfigError(
                f"there are records ({found[0]}), and a {self.target.kind} provider like the target keeps none"
            )
        keeps = self.target.has(Blobs)  # type: ignore[type-abstract]
        if self.source.has(Blobs) and not keeps and (blob := next(_blobs_of(self.source), None)):  # type: ignore[type-abstract]
            raise ConfigError(f"there are files ({blob.path}), and the {self.target.kind} provider to copy to keeps none")
        return found

    def _fault(self, place: str, detail: str) -> None:
        if len(self.faults) < 100:  # who named the wrong target need not read of every record
            self.faults.append(Fault(place, Conflict.code, detail))

    @contextmanager
    def _noting(self, place: str) -> Iterator[None]:
        """A refusal becomes a fault and the copy goes on; a provider that is away or wrongly configured ends it."""
        try:
            yield
        except AppError as error:
            if error.retry or isinstance(error, ConfigError):
                raise
            self._fault(place, error.message)

    def _compare(self, place: str, ours: Side, theirs: Side, foreign: Sequence[str]) -> tuple[Side, Side]:
        if foreign:
            self._fault(place, f"the target alone has {foreign[0]!r}" + (" and others" if len(foreign) > 1 else ""))
        elif ours != theirs and not any((fault.pointer + "/").startswith(place + "/") for fault in self.faults):
            self._fault(
                place, f"differs: {ours.count} of digest {ours.sha256}, and in the target {theirs.count} of {theirs.sha256}"
            )
        return ours, theirs

    # -- records

    def records(self, table: str) -> tuple[Side, Side]:
        """Copy a table, every record at its version; returns what source and target then hold of it."""
        source, target = cast(Records, self.source), cast(Records, self.target)
        most, ours, theirs = min(target.most_writes or 100, 100) if target.atomic else 1, Tally(), Tally()
        batch: list[Insert] = []
        batch_bytes = 0
        foreign: list[str] = []
        pairs = _side_by_side(source.walk(Query(table)), target.walk(Query(table)), operator.attrgetter("key"))
        for one, other in pairs:
            if one is None:
                foreign += [cast(Record, other).key] if len(foreign) < 2 else []
                continue
            if reason := one.damage or damage_of(one.value):
                self._fault(f"{table}/{one.key}", f"is damaged and was not copied: it {reason}")
                continue
            line = _record_line(one)
            ours.add(line, len(line))
            if other is None or self._replaces(table, one, line, other):
                batch.append(Insert(table, one.key, one.value, one.version))
                batch_bytes += len(line)
            if len(batch) >= most or batch_bytes > 1_000_000:
                self._insert(batch)
                batch, batch_bytes = [], 0
            self.step(1)
        self._insert(batch)
        for record in target.walk(Query(table)):
            line = _record_line(record)
            theirs.add(line, len(line))
        return self._compare(table, ours.side(), theirs.side(), foreign)

    def _replaces(self, table: str, one: Record, line: bytes, other: Record) -> bool:
        """Whether the record is to be inserted anew, after its older copy was removed here."""
        if line == _record_line(other):
            return False
        if one.version <= other.version:
            self._fault(
                f"{table}/{one.key}", f"the target has another one, at version {other.version}, so it is not an older copy"
            )
            return False
        cast(Records, self.target).commit([Delete(table, other.key, other.version)])
        return True

    def _insert(self, batch: Sequence[Insert]) -> None:
        """Insert them in one commit; if that is refused, one by one, to find the one that it was."""
        target = cast(Records, self.target)
        try:
            self.written += len(target.commit(batch)) if batch else 0
        except (Invalid, TooLarge, Conflict, BadRequest):
            for one in batch:
                with self._noting(f"{one.table}/{one.key}"):
                    self.written += len(target.commit([one]))

    # -- files

    def blobs(self, journal: Path) -> tuple[Side, Side]:
        """Copy every file and read it back; returns what source and target then hold.

        What earlier runs compared is remembered in the journal, and not read again while both etags are the same.
        """
        ours, theirs, compared = Tally(), Tally(), _Compared(journal)
        foreign: list[str] = []
        done = False
        try:
            for one, other in _side_by_side(
                _blobs_of(self.source, self._unseen), _blobs_of(self.target), operator.attrgetter("path")
            ):
                if one is None:
                    foreign += [cast(Blob, other).path] if len(foreign) < 2 else []
                    continue
                sha256, copied, copied_sha256 = "", other, ""
                with self._noting(f"files/{one.path}"):
                    sha256, copied, copied_sha256 = self._blob(one, other, compared.find(one.path))
                ours.add(dump_json([one.path, one.size_bytes, sha256]).encode(), one.size_bytes)
                if copied is not None:
                    theirs.add(dump_json([copied.path, copied.size_bytes, copied_sha256]).encode(), copied.size_bytes)
                if copied is not None and sha256 == copied_sha256 != "":
                    compared.add(one, copied, sha256)
                elif sha256:
                    self._fault(f"files/{one.path}", "the target has other bytes there, which are not an older copy")
            self._folders()
            done = True
        finally:
            compared.close(done=done)
        return self._compare("files", ours.side(), theirs.side(), foreign)

    def _folders(self) -> None:
        """Make the folders in the target that are empty in the source."""
        target = cast(Blobs, self.target)
        for path in plugin("file_trees").empty_folders(cast(Blobs, self.source)):
            with self._noting(f"files/{path}"):
                if not (target.lists and target.is_folder(path)):
                    target.make_folder(path)

    def _unseen(self, one: Unseen) -> None:
        self._fault(f"files/{one.path}", one.problem)

    def _blob(self, one: Blob, other: Blob | None, known: Value) -> tuple[str, Blob, str]:
        """The digest of the source's bytes, the target's blob, and the digest of its bytes; copied unless it is there."""
        if other and (known.get("source"), known.get("target")) == (one.etag, other.etag):
            self.step(one.size_bytes)
            return known["sha256"], other, known["sha256"]
        digest, target = hashlib.sha256(), cast(Blobs, self.target)
        with closing(self._read(self.source, one, digest)) as chunks:
            if other is None:
                other = target.write(one.path, chunks, if_none_match=True)
                self.written += 1
            elif known.get("target") == other.etag:
                other = target.write(one.path, chunks, if_match=other.etag)
                self.written += 1
            else:
                deque(chunks, maxlen=0)
        copied = hashlib.sha256()
        with closing(self._read(self.target, other, copied)) as chunks:
            deque(chunks, maxlen=0)
        self.step(one.size_bytes)
        return digest.hexdigest(), other, copied.hexdigest()

    @staticmethod
    def _read(provider: Provider, blob: Blob, digest: Any) -> Generator[bytes, None, None]:
        """The bytes of that very blob, which also go into the digest."""
        with closing(cast(Blobs, provider).read(blob.path, if_match=blob.etag)) as reader:
            for chunk in reader:
                digest.update(chunk)
                yield chunk


class Bar:
    """How far some long work is, on standard error where that is a terminal."""

    def __init__(self) -> None:
        self.what, self.total, self.done, self.told_at = "", 0, 0, 0.0
        self.shown = sys.stderr.isatty()

    def begin(self, what: str, total: int) -> None:
        self.what, self.total, self.done, self.told_at = what, total, 0, 0.0

    def step(self, done: int) -> None:
        self.done += done
        if self.shown and time.monotonic() - self.told_at > 0.1:
            self.told_at = time.monotonic()
            part = min(self.done / self.total, 1) if self.total else 1
            print(f"\r[{'#' * round(part * 30):30}] {part:4.0%} {self.what[:40]:40}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.shown and self.told_at:
            print(f"\r{'':80}\r", end="", file=sys.stderr, flush=True)


class ServerCopy(Command):
    """The exit code is 5 if source and target do not hold the same afterwards."""

    kind = "server copy"
    help = "copy all records and files of a provider to another"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("source", metavar="SOURCE", help="name of the provider in app.toml")
        parser.add_argument("target", metavar="TARGET", help="name of the provider that receives them")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with site.claimed() as app, closing(Bar()) as bar:
            for name in (args.source, args.target):
                if name not in app.providers:
                    raise NotFound(f"no provider is named {name!r}{nearest(name, app.providers)}")
            if args.source == args.target:
                raise BadRequest("SOURCE and TARGET are the same provider: name two")
            copy = Copy(app.providers[args.source], app.providers[args.target], bar.step)
            copy.source.open()
            copy.target.open()
            known = app.needed().get(args.source, {})
            tables = copy.tables(known)
            # Those that hold nothing too: the target is to replace the source.
            made = copy.target.create(dict.fromkeys(sorted(tables), ()) | dict(sorted(known.items())))
            site.say(*(f"created {args.target}: {what}" for what in made), f"copying {args.source} to {args.target}")
            sides = self._copied(copy, tables, site.config.site.data / f"copy-{args.source}-{args.target}.jsonl", bar)
        if args.json:
            site.print_json(self._facts(copy, sides, made))
        else:
            self._tell(args, site, copy, sides)
        return Conflict.exit_code if copy.faults else 0

    @staticmethod
    def _copied(copy: Copy, tables: Sequence[str], journal: Path, bar: Bar) -> dict[str, tuple[Side, Side]]:
        """What source and target hold in the end, by table, and of files as "files/"."""
        sides = {}
        for table in tables:
            bar.begin(table, cast(Records, copy.source).count(Query(table)) if bar.shown else 0)
            sides[table] = copy.records(table)
        if all(one.has(Blobs) for one in (copy.source, copy.target)):  # type: ignore[type-abstract]
            bar.begin("files", sum(one.size_bytes for one in _blobs_of(copy.source)) if bar.shown else 0)
            sides["files/"] = copy.blobs(journal)
        return sides

    @staticmethod
    def _facts(copy: Copy, sides: Mapping[str, tuple[Side, Side]], made: Sequence[str]) -> Value:
        rows = [
            {"what": what, "source": dataclasses.asdict(ours), "target": dataclasses.asdict(theirs)}
            for what, (ours, theirs) in sides.items()
        ]
        faults = [fault._asdict() for fault in copy.faults]
        return {"ok": not faults, "faults": faults, "created": list(made), "written": copy.written, "copied": rows}

    @staticmethod
    def _tell(args: argparse.Namespace, site: Site, copy: Copy, sides: Mapping[str, tuple[Side, Side]]) -> None:
        for what, (ours, theirs) in sides.items():
            same = f"in both: {ours.sha256}" if ours == theirs else f"DIFFERENT: {ours.sha256} and {theirs.sha256}"
            site.print(f"{what}  {ours.count}  {same}")
        site.say(*(f"{fault.pointer}: {fault.detail}" for fault in copy.faults), f"{copy.written} written anew")
        site.say("the copy is NOT complete" if copy.faults else f"{args.target} holds what {args.source} holds")
