"""Blobs in the tables of a database: what PostgreSQL and SQLite do alike, and SQLite's own part."""

from __future__ import annotations

import functools
import hashlib
import math
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import accumulate
from typing import Any, TypeVar

import app
from app import (
    CHUNK_BYTES,
    STAGED_KEPT_S,
    AppError,
    Blob,
    Clock,
    Conflict,
    Entry,
    Folder,
    NotFound,
    PreconditionFailed,
    Reader,
    SqliteDatabase,
    Staged,
    Unavailable,
    check_blob,
    need_blob,
    new_id,
    rechunk,
)

# ==== 1. FILES ===================================================================================================
# Files in chunks, in SQL that databases share: bytes are staged by several commits, and published by one.
# uses: ERRORS VALUES CONTRACTS PROVIDERS plugin:upload_parts
# defines: STAGE_BYTES REPLACED_KEPT_S REPLACED_KEPT_BYTES SqlFiles

_Result = TypeVar("_Result")

STAGE_BYTES = 4 * 1024 * 1024  # what one commit of an upload into a database holds, and so its memory
REPLACED_KEPT_S = 3_600  # readers of a replaced blob have this long to finish …
REPLACED_KEPT_BYTES = 64 * 1024 * 1024  # … unless they and what was replaced later are more, but for the last


class SqlFiles(ABC):
    """Blobs in the tables _blobs, _chunks and _loose, in SQL that SQLite and PostgreSQL share.

    A connection of either has execute(sql, values), where values stand for "?" in order; what that returns has fetchone(),
    fetchall() and rowcount.
    """

    clock: Clock
    keeps_times = True
    _replaced_bytes: float = REPLACED_KEPT_BYTES  # by this process, since it last dropped some: a start is like a lot

    @abstractmethod
    def prepare_files(self) -> None:
        """Make the tables of blobs, unless that was done in this process."""

    @abstractmethod
    def reading(self, operation: str) -> AbstractContextManager[Any]:
        """A connection for reading; `operation` is for the message of an error."""

    @abstractmethod
    def submit(self, work: Callable[[Any], _Result]) -> _Result:
        """The result of the work once it is durable; it is one transaction, done or not done as a whole."""

    def make_room(self, work: Callable[[Any], _Result]) -> _Result:
        """The same for what leaves more room than it takes, which may use what is kept for that."""
        return self.submit(work)

    @abstractmethod
    def has_files(self) -> bool:
        """Whether the tables of blobs are there; makes nothing."""

    def hold_tree(self, connection: Any) -> None:  # noqa: B027 (SQLite has one writer)
        """Hold off others that change what lies at which path, to the end of the transaction."""

    def check_room(self) -> None:  # noqa: B027 (not every database can tell)
        """StorageFull before an upload takes the last of the disk."""

    @staticmethod
    def _blob_at(connection: Any, path: str) -> Blob | Folder | None:
        sql = "select size_bytes, modified_at, content from _blobs where path = ?"
        row = connection.execute(sql, (path,)).fetchone()
        if row is None:
            return None
        return Folder(path) if row[2] is None else Blob(path, *row)

    def _look(self, path: str) -> Blob | Folder | None:
        """What is at a path; None if nothing is."""
        if not self.has_files():
            return None
        with self.reading("reading blobs") as connection:
            return self._blob_at(connection, path)

    def stat(self, path: str) -> Blob | None:
        found = self._look(path)
        return found if isinstance(found, Blob) else None

    def is_folder(self, path: str) -> bool:
        return not path or isinstance(self._look(path), Folder)

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> Reader:
        blob = need_blob(path, self.stat(path), if_match)
        return self._pieces(blob, start, blob.size_bytes if length is None else min(blob.size_bytes, start + length))

    def _pieces(self, blob: Blob, at: int, end: int) -> Generator[bytes, None, None]:
        """Bytes of a blob, a chunk at a time, so that a slow client holds no connection and no snapshot."""
        while at < end:
            number, skip = divmod(at, CHUNK_BYTES)
            with self.reading("reading blobs") as connection:
                sql = "select bytes from _chunks where content = ? and number = ?"
                row = connection.execute(sql, (blob.etag, number)).fetchone()
            if row is None:
                raise Unavailable(f"{blob.path} was replaced or removed, and cannot be read to its end: begin anew")
            piece = row[0][skip : skip + end - at]
            at += len(piece)
            yield piece

    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        self.prepare_files()
        content, digest, size = new_id(self.clock()), hashlib.sha256(), 0
        self.check_room()
        try:
            for batch in rechunk(chunks, STAGE_BYTES):
                if size:
                    self.check_room()
                digest.update(batch)
                self.submit(functools.partial(self._store, content, size, batch))
                size += len(batch)
            if not size:
                self.submit(functools.partial(self._store, content, 0, b""))
        except BaseException:
            with suppress(AppError):  # what cannot be removed now is swept later
                self.discard(Staged(content, size, ""))
            raise
        return Staged(content, size, digest.hexdigest())

    def _store(self, content: str, at: int, batch: bytes | memoryview, connection: Any, lead: bytes = b"") -> None:
        """Add a batch to staged bytes, of which `at` are there; `lead` are those of the last chunk, if that is not full."""
        self._loosen(connection, content, at + len(batch), STAGED_KEPT_S)
        for start in range(-len(lead), len(batch), CHUNK_BYTES):
            end = start + CHUNK_BYTES
            piece = bytes(batch[start:end]) if start >= 0 else lead + batch[:end]
            row = (content, (at + start) // CHUNK_BYTES, piece)
            connection.execute("insert into _chunks (content, number, bytes) values (?, ?, ?)", row)

    @functools.cached_property
    def parts(self) -> Any:
        """Staged bytes that grow (plugins/upload_parts.py)."""
        return app.plugin("upload_parts").TableParts(self)

    def append(self, content: str, at: int, data: bytes | memoryview) -> None:
        """Have staged bytes be their first `at` and these. Raises NotFound if the first ones are gone."""
        first, skip = divmod(at, CHUNK_BYTES)

        def work(connection: Any) -> None:
            live = "select 1 from _loose where content = ? and size_bytes >= ? and expires_at >= ?"
            row = connection.execute(
                "select bytes from _chunks where content = ? and number = ?", (content, first)
            ).fetchone()
            lead = row[0][:skip] if row else b""
            if len(lead) < skip or not connection.execute(live, (content, at, self.clock())).fetchone():
                raise NotFound("the bytes that were sent before are kept here no longer: begin anew")
            connection.execute("delete from _chunks where content = ? and number >= ?", (content, first))
            self._store(content, at, data, connection, bytes(lead))

        self.prepare_files()
        self.check_room()
        self.submit(work)

    def staged_bytes(self, content: str, size_bytes: int) -> Iterator[bytes]:
        """The first of staged bytes."""
        return self._pieces(Blob("what was sent", size_bytes, 0.0, content), 0, size_bytes)

    def _loosen(self, connection: Any, content: str, size_bytes: int, keep_s: int) -> None:
        """Keep bytes that are at no path for so long; size_bytes is negative for those that a path had."""
        row = (content, size_bytes, self.clock() + keep_s)
        sql = "insert into _loose (content, size_bytes, expires_at) values (?, ?, ?)"
        after = "on conflict (content) do update set size_bytes = excluded.size_bytes, expires_at = excluded.expires_at"
        connection.execute(f"{sql} {after}", row)

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        self.prepare_files()

        def work(connection: Any) -> Blob:
            self.hold_tree(connection)
            present = self._blob_at(connection, path)
            if isinstance(present, Folder):
                raise Conflict(f"{path} is a folder")
            check_blob(path, present, if_match, if_none_match)
            live = "delete from _loose where content = ? and expires_at >= ?"  # what is expired may be half swept
            if not connection.execute(live, (staged.id, self.clock())).rowcount:
                raise NotFound("the staged bytes are gone: they were published, discarded or left for a day")
            if present:
                connection.execute("delete from _blobs where path = ?", (path,))
                self._replace(connection, present)
            modified_at = self.clock() if staged.modified_at is None else staged.modified_at
            blob = Blob(path, staged.size_bytes, modified_at, staged.id)
            self._place(connection, path, blob.etag, blob.size_bytes, blob.modified_at)
            return blob

        return self._and_drop(self.submit(work))

    def _replace(self, connection: Any, blob: Blob) -> None:
        """Keep the bytes of what is at its path no more, for whoever reads them."""
        self._loosen(connection, blob.etag, -blob.size_bytes, REPLACED_KEPT_S)
        self._replaced_bytes += blob.size_bytes

    def _and_drop(self, result: _Result) -> _Result:
        """The result; after every few replaced megabytes those are dropped before their time that are too much, the oldest
        first. The newest one stays, whatever its size."""
        if self._replaced_bytes >= REPLACED_KEPT_BYTES / 4:
            self._replaced_bytes = 0
            with suppress(AppError):  # the sweep finds them
                self._drop_oldest(REPLACED_KEPT_BYTES)
        return result

    def _drop_oldest(self, keep_bytes: int) -> None:
        """Drop replaced bytes before their time; of them all but so many stay, and with 0 none."""
        with self.reading("looking at replaced blobs") as connection:
            sql = "select content, -size_bytes from _loose where size_bytes < 0 order by expires_at desc, content desc"
            rows = connection.execute(sql, ()).fetchall()
        sums = list(accumulate(size for _, size in rows))
        old = [
            content
            for (content, _), upto in zip(rows, sums, strict=True)
            if upto > keep_bytes and (upto > sums[0] or not keep_bytes)
        ]
        for content in reversed(old):
            self._drop(content, math.inf)

    def _place(self, connection: Any, path: str, content: str | None, size_bytes: int, modified_at: float) -> None:
        """Add a blob, or without content a folder, and the folders above it; Conflict if one of those is a file."""
        sql = "insert into _blobs (path, parent, content, size_bytes, modified_at) values (?, ?, ?, ?, ?)"
        parent = path.rpartition("/")[0]
        connection.execute(sql, (path, parent, content, size_bytes, modified_at))
        while parent and not (present := self._blob_at(connection, parent)):
            folder, parent = parent, parent.rpartition("/")[0]
            connection.execute(sql, (folder, parent, None, 0, 0.0))
        if parent and isinstance(present, Blob):
            raise Conflict(f"{parent} is a file and no folder")

    def _take_away(self, connection: Any, path: str) -> None:
        """Remove a row, and the folders that it leaves empty unless somebody made them."""
        stays = "select 1 from _blobs where parent = ? or path = ? and modified_at > 0 limit 1"
        while path:
            connection.execute("delete from _blobs where path = ?", (path,))
            path = path.rpartition("/")[0]
            if connection.execute(stays, (path, path)).fetchone():
                return

    def discard(self, staged: Staged) -> None:
        def work(connection: Any) -> None:
            if connection.execute("delete from _loose where content = ?", (staged.id,)).rowcount:
                connection.execute("delete from _chunks where content = ?", (staged.id,))

        self.prepare_files()
        self.make_room(work)

    def keep(self, staged: Staged) -> None:
        """Has staged bytes count as staged just now; those that are gone stay gone."""
        sql = "update _loose set expires_at = ? where content = ? and size_bytes >= 0"
        self.prepare_files()
        self.submit(lambda connection: connection.execute(sql, (self.clock() + STAGED_KEPT_S, staged.id)))

    def sweep(self, now: float) -> None:
        """Delete loose contents whose time is over, in small commits."""
        if not self.has_files():
            return
        with self.reading("sweeping") as connection:
            expired = connection.execute("select content from _loose where expires_at < ?", (now,)).fetchall()
        for (content,) in expired:
            self._drop(content, now)

    def _drop(self, content: str, before: float) -> None:
        """Delete loose bytes in small commits, if their time is over before then."""

        def work(connection: Any) -> bool:
            some = "select number from _chunks where content = ? limit 256"
            sql = f"delete from _chunks where content = ? and number in ({some})"  # noqa: S608
            if connection.execute(sql, (content, content)).rowcount:
                return True
            connection.execute("delete from _loose where content = ? and expires_at < ?", (content, before))
            return False

        while self.make_room(work):
            pass

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Entry]:
        if not self.has_files():
            return
        inside = f"{prefix}/" if prefix else ""
        end = f"{prefix}0" if prefix else "\U0010ffff"  # "0" follows "/"
        where, bound = ("content is not null and path < ?", end) if deep else ("parent = ?", prefix)
        columns = "path, size_bytes, modified_at, content"
        sql = f"select {columns} from _blobs where path > ? and {where} order by path limit 1000"  # noqa: S608
        at = max(after, inside)
        while True:
            with self.reading("listing blobs") as connection:
                rows = connection.execute(sql, (at, bound)).fetchall()
            yield from (Folder(row[0]) if row[3] is None else Blob(*row) for row in rows)
            if len(rows) < 1000:
                return
            at = rows[-1][0]

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        def work(connection: Any) -> None:
            self.hold_tree(connection)
            present = need_blob(path, self._blob_at(connection, path), if_match)
            self._take_away(connection, path)
            self._replace(connection, present)

        self.prepare_files()
        self._and_drop(self.make_room(work))

    def make_folder(self, path: str) -> None:
        def work(connection: Any) -> None:
            self.hold_tree(connection)
            if self._blob_at(connection, path):
                raise Conflict(f"{path} exists already")
            self._place(connection, path, None, 0, self.clock())

        self.prepare_files()
        self.submit(work)

    def remove_folder(self, path: str) -> None:
        def work(connection: Any) -> None:
            self.hold_tree(connection)
            if not isinstance(self._blob_at(connection, path), Folder):
                raise NotFound(f"there is no folder {path}")
            if connection.execute("select 1 from _blobs where parent = ? limit 1", (path,)).fetchone():
                raise Conflict(f"{path} is not empty")
            self._take_away(connection, path)

        self.prepare_files()
        self.make_room(work)

    def move(self, source: str, target: str) -> Blob:
        def work(connection: Any) -> Blob:
            self.hold_tree(connection)
            blob = need_blob(source, self._blob_at(connection, source))._replace(path=target)
            if self._blob_at(connection, target):
                raise Conflict(f"{target} exists already")
            self._place(connection, target, blob.etag, blob.size_bytes, blob.modified_at)
            self._take_away(connection, source)
            return blob

        self.prepare_files()
        return self.make_room(work)

    def move_folder(self, source: str, target: str) -> None:
        """Renames a folder with all that is in it. Raises NotFound if it is missing, Conflict if the target exists."""

        def work(connection: Any) -> None:
            self.hold_tree(connection)
            if not isinstance(self._blob_at(connection, source), Folder):
                raise NotFound(f"there is no folder {source}")
            if self._blob_at(connection, target):
                raise Conflict(f"{target} exists already")
            self._place(connection, target, None, 0, self.clock())
            columns = ", ".join(
                f"{one} = cast(? as text) || substr({one}, cast(? as integer))" for one in ("path", "parent")
            )
            sql = f"update _blobs set {columns} where path > ? and path < ?"  # noqa: S608
            renamed = (target, len(source) + 1)
            connection.execute(sql, (*renamed, *renamed, f"{source}/", f"{source}0"))  # "0" follows "/"
            self._take_away(connection, source)

        self.prepare_files()
        self.make_room(work)

    def set_time(self, path: str, modified_at: float, *, if_match: str) -> Blob:
        """Gives a file another time of change. Raises NotFound and PreconditionFailed as remove() does."""

        def work(connection: Any) -> Blob:
            self.hold_tree(connection)
            blob = need_blob(path, self._blob_at(connection, path), if_match)
            connection.execute("update _blobs set modified_at = ? where path = ?", (modified_at, path))
            return blob._replace(modified_at=modified_at)

        self.prepare_files()
        return self.make_room(work)

    def copy(self, source: str, target: str) -> Blob:
        blob = need_blob(source, self.stat(source))
        if self._look(target):
            raise Conflict(f"{target} exists already")
        self.prepare_files()
        staged = Staged(new_id(self.clock()), blob.size_bytes, "", blob.modified_at)
        try:
            for at in range(0, max(blob.size_bytes, 1), STAGE_BYTES):
                self.check_room()
                self.submit(functools.partial(self._duplicate, blob, staged.id, at))
            return self.publish(staged, target, if_none_match=True)
        except BaseException as error:
            with suppress(AppError):  # what cannot be removed now is swept later
                self.discard(staged)
            if isinstance(error, PreconditionFailed):
                raise Conflict(f"{target} exists already") from error
            raise

    def _duplicate(self, blob: Blob, content: str, at: int, connection: Any) -> None:
        """Add as much of a blob to staged bytes, of which `at` are there, as one commit may hold."""
        end = min(blob.size_bytes, at + STAGE_BYTES)
        self._loosen(connection, content, end, STAGED_KEPT_S)
        numbers = (at // CHUNK_BYTES, -(-end // CHUNK_BYTES))
        of_both = "select cast(? as text), number, bytes from _chunks where content = ? and number >= ? and number < ?"
        sql = f"insert into _chunks (content, number, bytes) {of_both}"
        if connection.execute(sql, (content, blob.etag, *numbers)).rowcount < numbers[1] - numbers[0]:
            raise Conflict(f"{blob.path} was changed meanwhile")


# ==== 2. SQLITE ==================================================================================================
# Files in a database of SQLite.
# uses: ERRORS PROVIDERS FILES
# defines: SqliteFiles

_SCHEMA = """
create table if not exists _blobs (path text primary key not null, parent text not null, content text,
    size_bytes integer not null, modified_at real not null);
create index if not exists _blobs_parent on _blobs (parent, path);
create table if not exists _chunks (content text not null, number integer not null, bytes blob not null,
    primary key (content, number));
create table if not exists _loose (content text primary key not null, size_bytes integer not null, expires_at real not null);
"""
"""A row of _blobs without content is a folder; one with a time was made as such, and stays while it is empty. _loose are
contents that no path has: staged, or, if size_bytes is negative, replaced."""


class SqliteFiles(SqlFiles):
    """Blobs of a database; where they were never written, there are no tables of them."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database, self.clock, self._made = database, database.clock, False

    def reading(self, operation: str) -> AbstractContextManager[sqlite3.Connection]:
        return self._database.reading(operation)

    def submit(self, work: Callable[[Any], _Result]) -> _Result:
        return self._database.submit(work)

    def prepare_files(self) -> None:
        if not self._made:
            self.submit(lambda connection: list(map(connection.execute, _SCHEMA.strip().split(";\n"))))
            self._made = True  # not before the commit: others read on connections of their own

    def has_files(self) -> bool:
        if not self._made and self._database.path.exists():
            with self.reading("reading blobs") as connection:
                row = connection.execute("select 1 from sqlite_master where name = '_loose' and type = 'table'").fetchone()
            self._made = row is not None
        return self._made

    def make_room(self, work: Callable[[Any], _Result]) -> _Result:
        return self._database.submit(work, frees=True)

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        super().remove(path, if_match=if_match)
        with suppress(AppError):  # it is removed, whatever comes of this
            self._drop_replaced()

    def check_room(self) -> None:
        """StorageFull before an upload takes the last of the disk: to remove what it staged takes room too."""
        self._drop_replaced()
        with self._database.errors("staging"):
            self._database.reserve.check("staging")

    def _drop_replaced(self) -> None:
        """Wait for no reader of replaced bytes where the disk is nearly full: their pages are used anew. What was staged
        stays: whoever staged it may publish it yet."""
        if self._database.reserve.lacks() and self.has_files():
            self._drop_oldest(0)
