"""Deleted and overwritten files that can be brought back: the trash of a share, and the versions of its files.

They lie in the provider of the share, in a folder that no share shows; a row of _kept for each says what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import app
from app import (
    Act,
    AppError,
    Blob,
    Blobs,
    BlobStep,
    Caller,
    Condition,
    Delete,
    Files,
    Insert,
    NotFound,
    PreconditionFailed,
    Publish,
    Query,
    Record,
    Records,
    Scope,
    Update,
    Value,
    new_id,
    storable,
)

names = app.plugin("file_names")

# ==== 1. ROWS ====================================================================================================
# A row is there before its bytes are, and is good once they are: whatever ends in between, they lie in one place or in the
# other, and sweep() finds out in which.
# uses: VALUES CONTRACTS RESOURCES plugin:file_names
# defines: TABLE TRASH VERSION ENDING REPLACED Kept state_of place_key kept_row kept_of rows_of versions_of in_trash

TABLE = "_kept"
TRASH, VERSION = "t", "v"
ENDING = "e"  # what was deleted for good, and takes longer to be removed than a request may
REPLACED = "r"  # what a move or copy replaces, until it is ended or comes back (plugins/put_aside.py)


class Kept(NamedTuple):
    """A kept file: `path` is what its path in the provider was, `kept` is what it is, and `at` and `by` say when and by
    whom it was deleted or overwritten. `is_good` is False until its bytes are there. With `folders` it is a folder, which
    is one of them, with so many `files`. Of one that is being replaced `etag` is the process that does it."""

    key: str
    share: str
    path: str
    kept: str
    size_bytes: int
    modified_at: float
    etag: str
    at: float
    by: str
    is_good: bool = True
    files: int = 0
    folders: int = 0

    @property
    def id(self) -> str:
        return self.key.rpartition(":")[2]

    def value(self) -> Value:
        return storable({name: one for name, one in self._asdict().items() if name != "key"})

    def insert(self) -> Insert:
        return Insert(TABLE, self.key, self.value())

    def update(self, **changes: Any) -> Update:
        return Update(TABLE, self.key, self._replace(**changes).value())

    def delete(self) -> Delete:
        return Delete(TABLE, self.key)


def state_of(share: Files) -> Records:
    state: Records = share.site.state
    share.site.health.ensure_open(state)
    return state


def place_key(blobs: Blobs, path: str) -> str:
    return hashlib.sha256(f"{blobs.name}\0{path}".encode()).hexdigest()[:32]


def kept_row(share: Files, kind: str, blob: Blob, by: str, now: float) -> Kept:
    """What is to be kept of a file."""
    of, id_ = place_key(share.blobs, blob.path) if kind == VERSION else share.name, new_id(now)
    kept = f"{names.KEPT}/{share.name}/{'versions' if kind == VERSION else 'trash'}/{id_}"
    facts = (blob.size_bytes, blob.modified_at, blob.etag, now, by, False)
    return Kept(f"{kind}:{of}:{id_}", share.name, blob.path, kept, *facts)


def kept_of(row: Record) -> Kept | None:
    """The file of a row; None if that is damaged."""
    is_whole = not row.damage and {"key", *row.value, "files", "folders"} == {*Kept._fields}
    return Kept(row.key, **row.value) if is_whole else None


def rows_of(state: Records, prefix: str, *, after: str = "") -> Iterator[Kept]:
    """The files whose keys begin so, the newest first, past the key `after`."""
    end = after or f"{prefix};"
    where = (Condition("id", "gt", f"{prefix}:"), Condition("id", "lt", end))
    for row in state.walk(Query(TABLE, where, ("-id",))):
        if found := kept_of(row):
            yield found


def versions_of(share: Files, path: str) -> list[Kept]:
    """The former versions of a file, the newest first."""
    found = rows_of(state_of(share), f"{VERSION}:{place_key(share.blobs, path)}")
    return [one for one in found if one.is_good and one.share == share.name]


def in_trash(share: Files, id_: str) -> Kept | None:
    row = state_of(share).get(TABLE, f"{TRASH}:{share.name}:{id_}"[:500])
    return kept_of(row) if row else None


# ==== 2. KEEPING =================================================================================================
# What is deleted goes to the trash, and what is overwritten to the versions, by acts that stand in the plan of a request.
# uses: ERRORS VALUES CONTRACTS RESOURCES ROWS
# defines: Keeping end_of to_end deleting overwriting deleted replaced followed followed_below


class Keeping:
    """Files of a share that a request is about to remove or to replace. `places` are what that touches beside them."""

    def __init__(self, share: Files, kind: str, blobs: Iterable[Blob], caller: Caller, now: float) -> None:
        self.share = share
        self.rows = {blob.path: kept_row(share, kind, blob, caller.subject, now) for blob in blobs}
        self.places = [(share.blobs, one.kept, one.size_bytes) for one in self.rows.values()]
        self._noted: set[str] = set()

    def throw(self, path: str, etag: str | None = None) -> None:
        """Moves a file to the trash. Raises NotFound if it is gone, PreconditionFailed if it has another etag."""
        row = self._note(path, etag)
        try:
            self.share.blobs.move(path, row.kept)
        except NotFound:
            self._forget(row)
            raise
        state_of(self.share).commit([row.update(is_good=True)])

    def copy(self, path: str) -> None:
        """Keeps a copy of a file that is replaced next, if it is there still."""
        with suppress(NotFound):
            row = self._note(path, None)
            try:
                getattr(self.share.blobs, "twin", self.share.blobs.copy)(path, row.kept)
            except NotFound:
                self._forget(row)
                raise

    def finish(self, path: str) -> None:
        """What was copied is a version by now: it shows, and the oldest beyond their number go."""
        if path in self._noted:
            with suppress(AppError):  # the sweep does it
                state_of(self.share).commit([self.rows[path].update(is_good=True)])
                for old in versions_of(self.share, path)[self.share.config.versions :]:
                    end_of(self.share, old)

    def _note(self, path: str, etag: str | None) -> Kept:
        blob = self.share.blobs.stat(path)
        if blob is None:
            raise NotFound(f"{path} does not exist")
        if etag is not None and blob.etag != etag:
            raise PreconditionFailed("it is no longer what If-Match names: get it again")
        facts = {"size_bytes": blob.size_bytes, "modified_at": blob.modified_at, "etag": blob.etag}
        self.rows[path] = row = self.rows[path]._replace(**facts)  # type: ignore[arg-type]
        state_of(self.share).commit([row.insert()])
        self._noted.add(path)
        return row

    def _forget(self, row: Kept) -> None:
        with suppress(AppError):  # the sweep does it
            state_of(self.share).commit([row.delete()])


def end_of(share: Files, one: Kept) -> None:
    """Ends a kept file for good: its bytes, and then its row. A folder is left to a job."""
    if one.folders:
        to_end(share, one)
        return
    with suppress(NotFound):
        share.blobs.remove(one.kept)
    state_of(share).commit([one.delete()])


def to_end(share: Files, one: Kept) -> Kept:
    """The row of a folder that is ended: it is not in the trash any more."""
    row = one._replace(key=f"{ENDING}:{share.name}:{one.id}")
    state_of(share).commit([row.insert(), one.delete()])
    return row


def deleting(share: Files, blobs: Sequence[Blob], scope: Scope) -> Keeping | None:
    """How files of a share are deleted; None if they are gone at once."""
    return Keeping(share, TRASH, blobs, scope.caller, scope.now) if share.config.trash_s else None


def overwriting(share: Files, blobs: Sequence[Blob], scope: Scope) -> Keeping | None:
    """How files of a share are replaced; None if no versions are kept."""
    if not share.config.versions or not blobs:
        return None
    keeping = Keeping(share, VERSION, blobs, scope.caller, scope.now)
    keeping.places += [place for blob in blobs for place in _that_go(share, blob.path)]
    return keeping


def deleted(share: Files, blob: Blob, etag: str | None, scope: Scope) -> list[BlobStep]:
    """The steps that move a file to the trash."""
    keeping = Keeping(share, TRASH, [blob], scope.caller, scope.now)
    places = [(share.blobs, blob.path, -blob.size_bytes), *keeping.places]
    return [Act(partial(keeping.throw, blob.path, etag), places, {"trash": keeping.rows[blob.path].id})]


def replaced(share: Files, blob: Blob, publish: Publish, scope: Scope) -> list[BlobStep]:
    """The step that replaces a file, between those that keep what it was."""
    keeping, path = Keeping(share, VERSION, [blob], scope.caller, scope.now), publish.path
    finish = Act(partial(keeping.finish, path), _that_go(share, path))
    return [Act(partial(keeping.copy, path), keeping.places), publish, finish]


def _that_go(share: Files, path: str) -> list[tuple[Blobs, str, int]]:
    """The versions that one more of a file is too many for, as places of an Act."""
    old = versions_of(share, path)[share.config.versions - 1 :]
    return [(share.blobs, one.kept, -one.size_bytes) for one in old]


def followed(share: Files, path: str, target: str) -> None:
    """Lets the versions of a file that has another path in its share go with it."""
    if not share.config.versions:
        return
    for one in versions_of(share, path):
        _follow(share, one, target)


def followed_below(share: Files, path: str, target: str) -> None:
    """The same for all files below a folder."""
    if share.config.versions:
        for one in rows_of(state_of(share), VERSION):
            if one.is_good and one.share == share.name and one.path.startswith(f"{path}/"):
                _follow(share, one, target + one.path[len(path) :])


def _follow(share: Files, one: Kept, target: str) -> None:
    there = one._replace(key=f"{VERSION}:{place_key(share.blobs, target)}:{one.id}", path=target)
    state_of(share).commit([there.insert(), one.delete()])
