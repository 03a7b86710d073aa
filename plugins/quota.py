"""How much the files of a share take, exactly, and who is changing which of them at the moment.

A row of _usage counts for each share with a `quota`. A row of _touched stands for each path while it is being changed: it
says how large the file was before, so that the count can be put right if the process ends in the middle.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import app
from app import (
    LOG,
    Act,
    AppError,
    Blobs,
    BlobStep,
    Busy,
    Caller,
    Conflict,
    Delete,
    Files,
    Insert,
    Json,
    Publish,
    Query,
    Record,
    Request,
    StorageFull,
    Update,
    Value,
    Write,
    in_units,
    new_id,
    storable,
)

names = app.plugin("file_names")

# ==== 1. USAGE ===================================================================================================
# What is counted of a share, and what it says to somebody for whom there is no room left.
# uses: ERRORS VALUES CONTRACTS RESOURCES
# defines: USAGE TOUCHED NoRoom Usage path_key usage room refusal

USAGE, TOUCHED = "_usage", "_touched"


class NoRoom(AppError):
    """The quota of a share has no room. To ask again does not help until somebody deletes something."""

    code, status, exit_code = StorageFull.code, StorageFull.status, StorageFull.exit_code


class Usage(NamedTuple):
    """The row of a share: bytes that its files have, and bytes that writes at work may still add. used_bytes None: it was
    never counted. `is_off` asks for a count, and `count` is that which is at work: its id, when it was alive last, and the
    sizes of the files that were changed meanwhile, by path_key()."""

    version: int | None = None
    used_bytes: int | None = None
    reserved_bytes: int = 0
    counted_at: float = 0.0
    is_off: bool = False
    count: Any = None

    def write(self, share: Files) -> Write:
        value = storable({name: one for name, one in self._asdict().items() if name != "version"})
        if self.version is None:
            return Insert(USAGE, share.name, value)
        return Update(USAGE, share.name, value, self.version)

    def plus(self, share: Files, path: str, before: int, after: int) -> Usage:
        """With a file of another size."""
        count = self.count
        if count:
            count = count | {"touched": count["touched"] | {path_key(share.blobs, path): after}}
        used = None if self.used_bytes is None else self.used_bytes + after - before
        return self._replace(used_bytes=used, count=count)


def path_key(blobs: Blobs, path: str) -> str:
    return hashlib.sha256(f"{blobs.name}\0{path}".encode()).hexdigest()[:32]


def usage(share: Files) -> Usage:
    row = share.site.state.get(USAGE, share.name)
    return Usage(row.version, **row.value) if row and not row.damage else Usage(row.version if row else None)


def room(share: Files, path: str = "") -> int | None:
    """Bytes that a file at `path` may have at most; None means no limit is known."""
    if not share.config.quota_bytes:
        return None
    row = usage(share)
    if row.used_bytes is None:
        return None
    there = share.blobs.stat(path) if path and not share.config.versions else None
    old = there.size_bytes if there else 0
    return max(share.config.quota_bytes - row.used_bytes - row.reserved_bytes + old, old)


def refusal(share: Files, row: Usage, wanted: int | None = None) -> NoRoom:
    """`wanted` is how much more would be used, if that is known."""
    limit, used = share.config.quota_bytes, (row.used_bytes or 0) + row.reserved_bytes
    left = max(limit - used, 0)
    what, room_left = f"{share.title} has no room for this", f"{in_units(left)} of {in_units(limit)}"
    if wanted is None:
        error = NoRoom(f"{what}: {room_left} are left")
    else:
        error = NoRoom(f"{what}: {room_left} are left, and this takes {in_units(wanted)}")
    error.hint = f"delete files, or raise quota of files.{share.name}"
    error.report = {"quota": {"used_bytes": used, "limit_bytes": limit, "left_bytes": left}}  # type: ignore[attr-defined]
    return error


# ==== 2. PLACES ==================================================================================================
# The paths that the steps of a request touch, and the shares in which each counts. Of folders with very many files only
# the folders are such places: the files are counted one by one in a Tally, while the step is done.
# uses: CONTRACTS RESOURCES USAGE plugin:file_names
# defines: Place holds places_of Tally

_MOST_PLACES = 40  # with a row each; one request that touches more has a single row, and the shares are counted again


class Place(NamedTuple):
    """A path that is touched. `after` is how large its file is then, if that is known; else it has `more` bytes."""

    blobs: Blobs
    path: str
    after: int | None
    more: int
    shares: tuple[Files, ...]  # with a quota


def holds(share: Files, blobs: Blobs, path: str) -> bool:
    """Whether a file counts as one of the share's; what is kept of a share's deleted and overwritten files is its own."""
    if blobs is not share.blobs:
        return False
    if names.is_kept(path):
        return path.startswith(f"{names.KEPT}/{share.name}/")
    return not share.root or path.startswith(f"{share.root}/")


def places_of(steps: Sequence[BlobStep], guarded: Sequence[Files]) -> list[Place]:
    """Those in shares where it matters what is changed."""
    found: dict[str, Place] = {}
    for blobs, path, after, more in _touched_by(steps):
        of = [share for share in guarded if holds(share, blobs, path)]
        if of:
            counted = tuple(share for share in of if share.config.quota_bytes)
            key = path_key(blobs, path)
            if after is None and (earlier := found.get(key)):  # it is deleted, and then something comes in its place
                after = None if earlier.after is None else earlier.after + more
                more += earlier.more
            found[key] = Place(blobs, path, after, more, counted)
    return list(found.values())


def _touched_by(steps: Sequence[BlobStep]) -> Iterator[tuple[Blobs, str, int | None, int]]:
    for step in steps:
        if isinstance(step, Act):
            yield from ((blobs, path, None, more) for blobs, path, more in step.places)
        elif isinstance(step, Publish):
            yield step.blobs, step.path, step.staged.size_bytes, step.staged.size_bytes
        else:
            yield step.blobs, step.path, 0, 0


class Tally:
    """What a step that touches very many files adds to each share with a quota: `wanted` is known before it, and `done`
    grows while it is done. So it is right too if that ends in the middle with an error."""

    def __init__(self, site: Any) -> None:
        self._counted = [one for one in site.resources.values() if isinstance(one, Files) and one.config.quota_bytes]
        self.shares: dict[str, Files] = {}
        self.wanted: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.is_exact = True

    def want(self, blobs: Blobs, path: str, more: int) -> None:
        """A file at the path will have so many bytes more."""
        for share in self._counted:
            if holds(share, blobs, path):
                self.shares[share.name] = share
                self.wanted[share.name] = self.wanted.get(share.name, 0) + more

    def add(self, blobs: Blobs, path: str, more: int) -> None:
        """A file at the path has so many bytes more."""
        for share in self._counted:
            if holds(share, blobs, path):
                self.done[share.name] = self.done.get(share.name, 0) + more

    def add_all(self) -> None:
        """What was wanted was done in one step; what others did meanwhile is not known where that makes a difference."""
        self.done, self.is_exact = dict(self.wanted), not any(self.wanted.values())

    def check_room(self) -> None:
        """Raises NoRoom if a share has too little for all of it, which may take several steps."""
        for name, more in self.wanted.items():
            share = self.shares[name]
            left = room(share)
            if left is not None and more > left:
                raise refusal(share, usage(share), more)


# ==== 3. HOLD ====================================================================================================
# A request holds the paths that it touches from before its steps until they are counted; others wait. The rows of a process
# that ended are taken over at once on its own node, and after a while by other nodes.
# uses: ERRORS VALUES CONTRACTS RESOURCES USAGE PLACES plugin:quota_count
# defines: Owner owner_of Hold recover

_PATIENCE_S = 15.0  # with another request that changes the same file
_HELD_S = 120.0  # after which the rows of another node count as left
_TRIES = 500  # of a commit that loses against others


class Owner:
    """This process, among those that share its data folder: while it lives it has the lock of a file there."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder / "touched", threading.Lock()
        self._pid, self._id = 0, ""

    def id(self) -> str:
        with self._lock:
            if self._pid != os.getpid():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._id = secrets.token_hex(12)
                descriptor = os.open(self._folder / self._id, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # kept open, and so locked, to the end of the process
                self._pid = os.getpid()
        return self._id

    def has_ended(self, id_: str) -> bool:
        """Whether a process of this node is known to have ended."""
        if id_ == self._id and self._pid == os.getpid():
            return False
        try:
            descriptor = os.open(self._folder / id_, os.O_RDWR)
        except OSError:
            return False  # of another node
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        finally:
            os.close(descriptor)
        return True

    def tidy(self, in_use: set[str]) -> None:
        """Forget processes that have ended and left no row."""
        with suppress(OSError):
            for name in os.listdir(self._folder):
                if name not in in_use and self.has_ended(name):
                    os.unlink(self._folder / name)


_owners: dict[Path, Owner] = {}  # of this process, by data folder


def owner_of(site: Any) -> Owner:
    folder: Path = site.config.site.data
    return _owners.setdefault(folder, Owner(folder))


class Hold:
    """What one request holds."""

    def __init__(self, site: Any, places: Sequence[Place], tallies: Sequence[Tally] = ()) -> None:
        self.site, self.state, self.places, self.tallies = site, site.state, places, tallies
        shares = [*(one for place in places for one in place.shares), *(s for one in tallies for s in one.shares.values())]
        self.shares = list({id(one): one for one in shares}.values())
        self.id, self.owner = new_id(site.clock()), owner_of(site)
        self.is_wide = len(places) > _MOST_PLACES or bool(tallies)
        self.is_exact = len(places) <= _MOST_PLACES  # if it is wide
        self.rows: dict[str, int] = {}  # versions of the rows that are held, by key
        self.reserved: dict[str, int] = {}
        self.before: dict[str, int] = {}

    def take(self) -> None:
        """Wait until nobody else changes any of the paths, and reserve room. Raises NoRoom, or Busy after a while."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            rows = {share.name: _counted_usage(self.site, share) for share in self.shares}
            writes = [*self._reserving(rows), *self._claims()]
            try:
                done = self.state.commit(writes)
            except Conflict as error:
                write = writes[error.index] if 0 <= error.index < len(writes) else None
                if isinstance(write, Insert) and write.table == TOUCHED:
                    self._look_at(write)
                if time.monotonic() > until:
                    raise Busy("another request is changing the same files: try again in a moment") from error
                _pause()
                continue
            self.rows = {row.key: row.version for write, row in zip(writes, done, strict=True) if write.table == TOUCHED}
            return

    def _reserving(self, rows: dict[str, Usage]) -> Iterator[Write]:
        """What reserves room in each share: as much as all steps together may add to it."""
        self.before = {} if self.is_wide else {path_key(p.blobs, p.path): _size(p.blobs, p.path) for p in self.places}
        for share in self.shares:
            more = sum(self._more(place) for place in self.places if share in place.shares)
            more += sum(one.wanted.get(share.name, 0) for one in self.tallies)
            wanted, row = max(more, 0), rows[share.name]
            left = share.config.quota_bytes - (row.used_bytes or 0) - row.reserved_bytes
            if wanted and wanted > left:
                if recover(self.site, share):
                    raise Conflict("there was something left to be counted")
                raise refusal(share, row, wanted)
            self.reserved[share.name] = wanted
            yield row._replace(reserved_bytes=row.reserved_bytes + wanted).write(share)

    def _more(self, place: Place) -> int:
        if place.after is None or self.is_wide:
            return place.more
        return place.after - self.before[path_key(place.blobs, place.path)]

    def _claims(self) -> Iterator[Insert]:
        base: Value = {"id": self.id, "owner": self.owner.id(), "until": self.site.clock() + _HELD_S}
        base |= {"reserved": self.reserved, "shares": [share.name for share in self.shares]}
        if self.is_wide:
            yield Insert(TOUCHED, f"wide-{self.id}", storable(base | {"provider": "", "path": None, "before": 0}))
            return
        for number, place in enumerate(self.places):
            key = path_key(place.blobs, place.path)
            of: Value = {"provider": place.blobs.name, "path": place.path, "before": self.before[key]}
            of["shares"] = [share.name for share in place.shares]
            yield Insert(TOUCHED, key, storable(base | of | ({"reserved": {}} if number else {})))

    def _look_at(self, write: Insert) -> None:
        """At the row of somebody else that is in the way: it may be left."""
        row = self.state.get(TOUCHED, write.key)
        if row and _is_left(self.site, row):
            _settle_left(self.site, [row])

    def give(self, *, is_done: bool) -> None:
        """Count what became of the paths, and let others have them. If that fails, recover() does it later."""
        try:
            after = {} if self.is_wide else dict(self._afters(is_done=is_done))
            for _ in range(_TRIES):
                if self._gave(after, is_done=is_done):
                    return
                _pause()
        except AppError as error:
            LOG.error("what a request did is counted later: %s", error.with_hint)

    def _afters(self, *, is_done: bool) -> Iterator[tuple[str, int]]:
        for place in self.places:
            known = place.after if is_done and place.after else None  # a removal may have failed quietly
            size = _size(place.blobs, place.path) if known is None and place.shares else known or 0
            yield path_key(place.blobs, place.path), size

    def _gave(self, after: dict[str, int], *, is_done: bool) -> bool:
        writes: list[Write] = []
        for share in self.shares:
            row = usage(share)
            row = row._replace(reserved_bytes=max(row.reserved_bytes - self.reserved[share.name], 0))
            if self.is_wide:
                row = self._widely(share, row, is_done=is_done)
            for place in () if self.is_wide else self.places:
                key = path_key(place.blobs, place.path)
                if share in place.shares and key in self.rows:
                    row = row.plus(share, place.path, self.before[key], after[key])
            writes.append(row.write(share))
        writes += [Delete(TOUCHED, key, version) for key, version in self.rows.items()]
        try:
            self.state.commit(writes)
        except Conflict as error:
            write = writes[error.index] if 0 <= error.index < len(writes) else None
            if isinstance(write, Delete):  # it took so long that somebody else counted it
                self.rows.pop(write.key, None)
                self.reserved = dict.fromkeys(self.reserved, 0)
                self.is_wide, self.is_exact, self.tallies = True, False, ()  # so it is counted again
                self.places = [place._replace(more=0) for place in self.places]
            return False
        return True

    def _widely(self, share: Files, row: Usage, *, is_done: bool) -> Usage:
        """With all that was done; what is not known file by file is counted again."""
        more = sum(place.more for place in self.places if share in place.shares)
        is_exact = (
            self.is_exact and row.count is None and (is_done or not more) and all(one.is_exact for one in self.tallies)
        )
        added = (more if is_done else 0) + sum(one.done.get(share.name, 0) for one in self.tallies)
        used = None if row.used_bytes is None else row.used_bytes + added
        return row._replace(used_bytes=used, is_off=row.is_off or not is_exact, count=None)


def _pause() -> None:
    """A little while, of another length in each process."""
    time.sleep(secrets.randbelow(20) / 1000 + 0.001)


def _size(blobs: Blobs, path: str) -> int:
    found = blobs.stat(path)
    return found.size_bytes if found else 0


def _is_left(site: Any, row: Record) -> bool:
    """Whether nobody works on it any more."""
    if row.damage or site.clock() > row.value["until"] or row.value["until"] > site.clock() + 2 * _HELD_S:
        return True
    return owner_of(site).has_ended(row.value["owner"])


def recover(site: Any, share: Files | None = None) -> bool:
    """Counts what requests left that ended in the middle: whether there was any, in a share or in all."""
    rows = [row for row in site.state.walk(Query(TOUCHED)) if share is None or share.name in row.value.get("shares", ())]
    left = [row for row in rows if _is_left(site, row)]
    if left:
        _settle_left(site, left)
    return bool(left)


def _settle_left(site: Any, rows: Iterable[Record]) -> None:
    for row in rows:
        size = 0
        if (blobs := site.providers.get(row.value.get("provider"))) and row.value["path"] is not None:
            size = _size(blobs, row.value["path"])
        for _ in range(_TRIES):
            if _settled(site, row, size):
                break
            _pause()


def _settled(site: Any, row: Record, size: int) -> bool:
    writes: list[Write] = [Delete(TOUCHED, row.key, row.version)]
    value: Json = row.value or {"shares": [], "reserved": {}}
    for name in {*value["shares"], *value["reserved"]}:
        share = site.resources.get(f"files/{name}")
        if not isinstance(share, Files) or (found := usage(share)).version is None:
            continue
        found = found._replace(reserved_bytes=max(found.reserved_bytes - value["reserved"].get(name, 0), 0))
        if value["path"] is None:
            found = found._replace(is_off=True, count=None)
        elif name in value["shares"]:
            found = found.plus(share, value["path"], value["before"], size)
        writes.append(found.write(share))
    try:
        site.state.commit(writes)
    except Conflict as error:
        return error.index == 0  # another one was faster
    return True


def _counted_usage(site: Any, share: Files) -> Usage:
    """The row of a share, which is counted first if it never was. Raises Busy if that takes long."""
    found = usage(share)
    if found.used_bytes is None:
        app.plugin("quota_count").first(site, share)
        found = usage(share)
    return found


# ==== 4. ROOM ====================================================================================================
# How much room there is, for a listing and for a file that is being sent.
# uses: VALUES RESOURCES USAGE HOLD
# defines: facts bounded

_LOOKED_BYTES = 32 * 1024 * 1024  # of an upload, after which it is asked again how much room there is


def facts(share: Files) -> Value:
    """What a listing says of a share's quota: {} if it has none. used_bytes is None until it was counted."""
    if not share.config.quota_bytes:
        return {}
    recover(share.site, share)
    return {"quota": {"used_bytes": usage(share).used_bytes, "limit_bytes": share.config.quota_bytes}}


def bounded(share: Files, chunks: Iterable[bytes], path: str, size_bytes: int | None) -> Iterable[bytes]:
    """The chunks of a file that is sent, refused before its first byte or as soon as there is no room for more."""
    left = room(share, path)
    if left is None:
        return chunks
    if (size_bytes or 0) > left:
        recover(share.site, share)
        left = room(share, path) or 0
        if (size_bytes or 0) > left:
            raise refusal(share, usage(share), size_bytes)
    return _counted(share, chunks, path, left)


def _counted(share: Files, chunks: Iterable[bytes], path: str, left: int) -> Iterator[bytes]:
    seen = looked = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen - looked > _LOOKED_BYTES:
            looked, left = seen, room(share, path) or 0
        if seen > left:
            raise refusal(share, usage(share))
        yield chunk


# ==== 5. TRIGGER =================================================================================================
# Puts a Hold around the steps of every request that touches a share where it matters.
# uses: VALUES CONTRACTS RESOURCES PLACES HOLD
# defines: Trigger:quota held Quota


def held(site: Any, steps: Sequence[BlobStep]) -> AbstractContextManager[None]:
    """What is to be put around steps; they are counted when it is left."""
    guarded = [one for one in site.resources.values() if isinstance(one, Files) and one.is_guarded]
    tallies = [step.tally for step in steps if isinstance(step, Act) and step.tally]
    return _held(site, places_of(steps, guarded), tallies) if guarded else nullcontext()


@contextmanager
def _held(site: Any, places: Sequence[Place], tallies: Sequence[Tally]) -> Iterator[None]:
    if not places and not any(one.shares for one in tallies):
        yield
        return
    site.health.ensure_open(site.state)
    hold = Hold(site, places, tallies)
    hold.take()
    is_done = False
    try:
        yield
        is_done = True
    finally:
        hold.give(is_done=is_done)


class Quota(app.Trigger):
    """Shares with a quota are counted, and those with a trash or versions are changed by one request after the other."""

    kind = "quota"
    site: Any = None  # the App, which sets it

    def around(self, request: Request, caller: Caller, steps: Sequence[BlobStep]) -> AbstractContextManager[None]:
        return held(self.site, steps)
