"""What is seldom asked of an SQLite database: a copy, a check, what an error of it means, how much room is unused in it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from app import (
    DENIED_ERRORS,
    AppError,
    NotPermitted,
    SqliteDatabase,
    StorageFull,
    TooLarge,
    Unavailable,
    plugin,
    sqlite_code,
)

# ==== 1. DATABASE ================================================================================================
# A database as a whole: for backups, for the operator, and for whoever meets an error of it.
# uses: ERRORS PROVIDERS plugin:reserve
# defines: SQLITE_AWAY snapshot integrity unused_bytes explain

SQLITE_AWAY = {
    "BUSY": ("is busy", "another program holds the database locked"),
    "LOCKED": ("is busy", "another connection holds the table locked"),
    "PROTOCOL": ("is busy", "the lock protocol of the write-ahead log gave up"),
    "CANTOPEN": ("cannot be opened", "does it exist, and may this account read and write it and its folder?"),
    "PERM": ("cannot be opened", "may this account read and write it and its folder?"),
    "AUTH": ("cannot be used", "may this account read and write it?"),
    "READONLY": ("cannot be written", "may this account write the file and its folder?"),
    "IOERR": ("cannot be read or written", "the disk or the file system reports errors"),
    "CORRUPT": ("is damaged", "restore a backup, or try sqlite3's .recover on a copy"),
    "NOTADB": ("is no SQLite database", "is the url right? else restore a backup"),
}
"""Primary result codes that say the database is away: what everybody may read, and what helps the operator."""
_DENIED = ("SQLITE_PERM", "SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY", "SQLITE_AUTH")
"""Extended result codes that end only when somebody gives this account a right."""


def snapshot(database: SqliteDatabase, path: Path) -> None:
    """Copies the database, as it is at one moment, to a new file that is kept for a while and not durable. No writer waits
    for it, but the log of the database grows meanwhile."""
    plugin("reserve").Reserve("the backup", path).check("copying", needs_bytes=database.path.stat().st_size)
    with database.reading("copying the database", alone=True) as source, closing(_new_database(path)) as target:
        source.execute("begin")  # that moment; without a transaction each commit would make the copy begin anew
        source.execute("select count(*) from sqlite_master").fetchall()
        source.backup(target, pages=1000, sleep=0)
        target.execute("pragma journal_mode = delete")  # one file, without a log beside it


def _new_database(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma synchronous = off")
    return connection


def integrity(database: SqliteDatabase) -> str:
    """What SQLite's own look at the whole database finds; "" if all is well."""
    with database.reading("checking the database", alone=True) as connection:
        found = [row[0] for row in connection.execute("pragma integrity_check(3)")]
        return "" if found == ["ok"] else "; ".join(found)


def unused_bytes(database: SqliteDatabase) -> int:
    """What fits into the pages of the database that hold nothing."""
    with database.errors("looking for room"), closing(database.connected()) as connection:
        connection.set_authorizer(None)
        [(pages,)], [(size_bytes,)] = map(connection.execute, ("pragma freelist_count", "pragma page_size"))
        return int(pages * size_bytes)


def explain(database: SqliteDatabase, error: Exception, operation: str) -> AppError:
    """A driver's error in public words; only the hint names the path."""
    code, number = sqlite_code(error), getattr(error, "errno", None)
    who = f"provider {database.name}: {operation}: "
    if code == "FULL" or number in StorageFull.errors or (code == "IOERR" and database.reserve.is_full()):
        return StorageFull(who + "the disk is full", hint=f"make room for {database.path}")
    if code == "TOOBIG":
        return TooLarge(who + "the value is larger than SQLite stores")
    what, advice = SQLITE_AWAY.get(code, ("failed", ""))
    hint = f"{database.path}: {error}" + (f" ({advice})" if advice else "")
    if getattr(error, "sqlite_errorname", "") in _DENIED or number in DENIED_ERRORS:
        return NotPermitted(f"{who}the database may not be used so by the account that the server runs as", hint=hint)
    return Unavailable(f"{who}the database {what}", hint=hint)
