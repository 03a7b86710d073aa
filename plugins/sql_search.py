"""Search in SQLite: beside a table of records what is found in them, case folded, and its trigrams (FTS5)."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import app
from app import (
    LOG,
    CompiledQuery,
    Delete,
    Insert,
    Json,
    Query,
    SqliteDatabase,
    Write,
    fold_case,
    quote_name,
    sqlite_code,
    stored_record,
)

if TYPE_CHECKING:
    from plugins import sql_plans, sql_records
else:
    sql_plans, sql_records = map(app.plugin, ("sql_plans", "sql_records"))

# ==== 1. TABLES ==================================================================================================
# What is kept for searches of a table, and how it is brought up to date. Triggers without a function of ours note which
# records any program wrote; such a record is read itself until its text is taken over.
# uses: VALUES PROVIDERS
# defines: MOST_NOTED PASSING has_trigrams SearchTable drop take_over add

MOST_NOTED = (
    100  # records: with so many, a commit takes their texts over, which costs a fifth of one by one. Of 500 from each
)
# of several processes it took 50 to 160 ms, for which all other writers wait
_ROWS_AT_ONCE = 50  # of an insert
_AT_ONCE = 1_000  # records whose texts one commit takes over
PASSING = frozenset({"FULL", "IOERR", "NOMEM", "BUSY", "INTERRUPT"})  # errors that say nothing of a table


@functools.cache
def has_trigrams() -> bool:
    """Whether this SQLite has FTS5 with trigrams (3.34)."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("create virtual table t using fts5(text, tokenize = 'trigram')")
        except sqlite3.OperationalError:
            return False
    return True


class SearchTable(NamedTuple):
    """What is kept for searches of these fields of a table.

    In the table `name` a record has an id, its key, and the folded text of each field in f0, f1…; in `words` the trigrams of
    these texts are found by the id; in `noted` are the keys of records that were written since: for those the first two do
    not count.
    """

    table: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """It follows from all that the texts depend on: how letters are folded, too."""
        parts = [self.table, self.fields, unicodedata.unidata_version, has_trigrams()]
        return "satchel_search_" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    @property
    def words(self) -> str:
        return f"{self.name}_words"

    @property
    def noted(self) -> str:
        return f"{self.name}_noted"

    @property
    def columns(self) -> list[str]:
        return [f"f{number}" for number in range(len(self.fields))]

    def triggers(self) -> dict[str, str]:
        """The statements that make the triggers, by name."""
        note = f"insert into {self.noted} (key) select {{0}}.key where {{0}}.key is not null{{1}} on conflict do nothing"
        new, old = note.format("new", ""), note.format("old", "")
        moved = note.format("new", " and new.key is not old.key")
        works = {"insert": new, "update": f"{old}; {moved}", "delete": old}
        return {
            f"{self.name}_{event}": f"create trigger {self.name}_{event} after {event} on {quote_name(self.table)} "
            f"begin {work}; end"
            for event, work in works.items()
        }

    def is_usable(self, connection: sqlite3.Connection) -> bool:
        """Whether all is there."""
        sql = "select name from sqlite_master where (type = 'trigger' and tbl_name = ?) or name in (?, ?, ?)"
        return self.is_in({name for (name,) in connection.execute(sql, (self.table, self.name, self.words, self.noted))})

    def is_in(self, names: Collection[str]) -> bool:
        """Whether all is among the names of tables, and of triggers of this table."""
        needed = [self.name, self.noted, *self.triggers(), *([self.words] if has_trigrams() else [])]
        return all(name in names for name in needed)

    def make(self, connection: sqlite3.Connection) -> None:
        """Makes what is kept, with all records noted."""
        drop(self.name, connection)
        columns = "".join(f", {column} text not null" for column in self.columns)
        connection.execute(f"create table {self.name} (id integer primary key, key not null unique{columns})")
        connection.execute(f"create table {self.noted} (id integer primary key, key not null unique)")
        if has_trigrams():
            options = "content = '', columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1'"
            connection.execute(f"create virtual table {self.words} using fts5(text, {options})")
        for trigger in self.triggers().values():
            connection.execute(trigger)
        source = quote_name(self.table)
        connection.execute(f"insert into {self.noted} (key) select key from {source} where key is not null")  # noqa: S608


def drop(name: str, connection: sqlite3.Connection) -> None:
    """Drops what a SearchTable of this name keeps; without FTS5 its trigrams stay."""
    for event in ("insert", "update", "delete"):
        connection.execute(f"drop trigger if exists {name}_{event}")
    connection.execute(f"drop table if exists {name}")
    connection.execute(f"drop table if exists {name}_noted")
    if has_trigrams():
        connection.execute(f"drop table if exists {name}_words")


def _drop_all(names: Iterable[str], connection: sqlite3.Connection) -> None:
    for name in names:
        drop(name, connection)


def take_over(one: SearchTable, connection: sqlite3.Connection) -> int:
    """Takes over the texts of some records that are noted. Returns how many."""
    [(encoding,)] = connection.execute("pragma encoding")
    [(last,)] = connection.execute(f"select coalesce(max(id), 0) from {one.name}")  # noqa: S608
    columns = "".join(f", cast(s.{column} as blob)" for column in one.columns)
    sql = (
        f"select n.id, s.id, t.key is null, cast(t.data as blob){columns} from {one.noted} n "  # noqa: S608
        f"left join {one.name} s on s.key = n.key left join {quote_name(one.table)} t on t.key = n.key "
        f"order by n.id limit {_AT_ONCE}"
    )
    rows = connection.execute(sql).fetchall()
    gone: list[tuple[int, str]] = []
    changed: list[tuple[int, int, list[str]]] = []
    made: list[tuple[int, int, list[str]]] = []
    for number, (note, id_, is_gone, data, *old) in enumerate(rows, last + 1):
        texts = [] if is_gone else _texts(one, data, encoding)
        if id_ is not None:
            gone.append((id_, _document(text.decode(encoding, "replace") for text in old)))
        if texts:
            (made if id_ is None else changed).append((note, number if id_ is None else id_, texts))
    connection.executemany(f"delete from {one.name} where id = ?", [(id_,) for id_, _ in gone])  # noqa: S608
    places = ", ?" * len(one.fields)
    sql = f"insert into {one.name} select ?, key{places} from {one.noted} where id = ?"  # noqa: S608
    connection.executemany(sql, [(id_, *texts, note) for note, id_, texts in changed + made])
    if has_trigrams():
        sql = f"insert into {one.words} ({one.words}, rowid, text) values ('delete', ?, ?)"  # noqa: S608
        connection.executemany(sql, [row for row in gone if row[1]])
        sql = f"insert into {one.words} (rowid, text) values (?, ?)"  # noqa: S608
        documents = [(id_, _document(texts)) for _, id_, texts in changed + made]
        connection.executemany(sql, [row for row in documents if row[1]])
    connection.executemany(f"delete from {one.noted} where id = ?", [row[:1] for row in rows])  # noqa: S608
    return len(rows)


def add(one: SearchTable, writes: Sequence[Insert], connection: sqlite3.Connection) -> int:
    """Keeps the texts of records that this transaction has inserted, and which are noted. Returns how many; 0, with some
    rows to be rolled back, if something is kept of one of them."""
    [(last,)] = connection.execute(f"select coalesce(max(id), 0) from {one.name}")  # noqa: S608
    rows = [[last + number, write.key, *_folded(one, write.value)] for number, write in enumerate(writes, 1)]
    places = f"(?, ?{', ?' * len(one.fields)})"
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        sql = f"insert into {one.name} values {', '.join([places] * len(some))} on conflict do nothing"  # noqa: S608
        if connection.execute(sql, list(chain.from_iterable(some))).rowcount < len(some):
            return 0
    if has_trigrams():
        sql = f"insert into {one.words} (rowid, text) values (?, ?)"  # noqa: S608
        connection.executemany(sql, [(row[0], text) for row in rows if (text := _document(row[2:]))])
    sql = f"delete from {one.noted} where key in (select value from json_each(?))"  # noqa: S608
    connection.execute(sql, (json.dumps([write.key for write in writes]),))
    return len(rows)


def _document(texts: Iterable[str]) -> str:
    """What the trigrams of texts are taken of; "" if they have none."""
    return "\n".join(texts).strip("\n")


def _texts(one: SearchTable, data: bytes | None, encoding: str) -> list[str]:
    """The folded texts of a record as it is stored; "" where a field is none."""
    return _folded(one, {} if data is None else stored_record("", 1, data.decode(encoding, "replace")).value)


def _folded(one: SearchTable, value: Mapping[str, Json]) -> list[str]:
    """The folded texts of a record; "" where a field is none."""
    return [fold_case(text) if isinstance(text := value.get(name), str) else "" for name in one.fields]


# ==== 2. QUERIES =================================================================================================
# A query with a search: few hits are looked up, and many are met while records are read in order.
# uses: PROVIDERS TABLES plugin:sql_records
# defines: FEW trigrams SearchQuery

FEW = 1_000  # hits; to look up more takes longer than to read in order until a page is full
_MOST_TRIGRAMS = 12  # that are looked up: each is one more list to be read


def trigrams(folded: str) -> str:
    """What FTS5 is asked for texts that contain this, and perhaps for others; "" if it cannot tell."""
    if len(folded) < 3 or set(folded) & {"\n", "\0"}:  # between fields, and where FTS5 stops reading
        return ""
    last = len(folded) - 3
    places = [*range(0, last, 3)[: _MOST_TRIGRAMS - 1], last]
    return " AND ".join('"' + folded[place : place + 3].replace('"', '""') + '"' for place in places)


class SearchQuery(sql_records.SqliteQuery):
    """A query that searches fields of a SearchTable. `is_rare`: it has FEW hits at most."""

    def __init__(self, compiled: CompiledQuery, table: str, kept: SearchTable, *, is_rare: bool) -> None:
        self._kept, self._is_rare = kept, is_rare
        super().__init__(compiled, table)

    def _search(self, names: Collection[str], text: str) -> str:
        kept, bound = self._kept, self._bind(text)
        read = super()._search(names, text)
        holds = " or ".join(f"instr({kept.columns[kept.fields.index(name)]}, {bound})" for name in dict.fromkeys(names))
        among = ""
        if words := trigrams(text) if has_trigrams() else "":
            match = f"select rowid from {kept.words} where {kept.words} match {self._bind(words)}"  # noqa: S608
            among = f"id in ({match}) and"
        noted = f"select key from {kept.noted}"  # noqa: S608
        fresh = f"select key from {kept.name} where {among} ({holds}) and key not in ({noted})"  # noqa: S608
        stale = f"select key from {self._table} where key in ({noted}) and {read}"  # noqa: S608
        self.hits = f"select count(*) from ({fresh} limit {FEW + 1})"  # noqa: S608
        if self._is_rare:
            return f"unlikely(key in ({fresh} union all {stale}))"
        own = f"select {holds} from {kept.name} s where s.key = satchel_records.key and s.key not in ({noted})"  # noqa: S608
        return f"coalesce(({own}), {read})"


# ==== 3. SEARCH ==================================================================================================
# The tables for searches of a database: made where a table is small or the operator asks for it, kept up as records are
# written, dropped when no list is searched so any more.
# uses: VALUES PROVIDERS TABLES QUERIES plugin:sql_joins plugin:sql_plans plugin:sql_records
# defines: SqliteSearch has_one_key

_MOST_FIELDS = 200  # that are looked into one by one; SQLite's expressions end at 1,000


class SqliteSearch:
    """What searches of the tables of a database need."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._plans = sql_plans.Plans()
        self._kept: dict[str, SearchTable] = {}  # by table
        self._usable: dict[str, tuple[int, str, bool]] = {}  # by table, with the version of the schema and the name
        self._written: dict[str, int] = {}  # records of a table since this process last took over texts

    # -- making

    def prepare(self, tables: Mapping[str, Sequence[Query]]) -> list[str]:
        """Makes what is missing for small tables and drops what no query needs. Returns the others, in words."""
        if old := self._look(tables):
            self._database.submit(partial(_drop_all, old))
        behind = self._behind(tables)
        for kept, count in behind:
            if count <= sql_records.SMALL_TABLE:
                self._make(kept)
        return [f"{kept.table} for searches" for kept, count in behind if count > sql_records.SMALL_TABLE]

    def create(self, tables: Mapping[str, Sequence[Query]], bar: Any = None) -> list[str]:
        """Makes all that is missing, in commits between which others write. Returns it, in words."""
        self._look(tables)
        behind = self._behind(tables)
        if bar and behind:
            bar.begin("making what searches need", sum(count for _, count in behind))
        for kept, _ in behind:
            self._make(kept, bar)
        return [f"index of {kept.table} for searches" for kept, _ in behind]

    def _look(self, tables: Mapping[str, Sequence[Query]]) -> list[str]:
        """Finds out what the tables need. Returns the names of what they have and do not need."""
        old: list[str] = []
        with self._database.reading("looking at what searches need") as connection:
            there = sql_records.names_by_table(connection, "trigger", "satchel_search_*_insert")
            for table, queries in tables.items():
                fields = sorted({name for query in queries for name in query.search_fields})
                self._kept.pop(table, None)
                if 0 < len(fields) <= _MOST_FIELDS and has_one_key(table, connection):
                    self._kept[table] = SearchTable(table, tuple(fields))
                names = {name.removesuffix("_insert") for name in there.get(table, ())}
                old += sorted(names - {self._kept[table].name if table in self._kept else ""})
        return old

    def _behind(self, tables: Collection[str]) -> list[tuple[SearchTable, int]]:
        """What is missing or has many noted records, and how many; SMALL_TABLE + 1 of more."""
        behind = []
        with self._database.reading("looking at what searches need") as connection:
            made = sql_records.names_by_table(connection, "table", "satchel_search_*")
            triggers = sql_records.names_by_table(connection, "trigger", "satchel_search_*")
            for kept in (self._kept[table] for table in tables if table in self._kept):
                is_usable = kept.is_in(made.keys() | triggers.get(kept.table, set()))
                source = kept.noted if is_usable else quote_name(kept.table)
                sql = f"select count(*) from (select 1 from {source} limit {sql_records.SMALL_TABLE + 1})"  # noqa: S608
                [(count,)] = connection.execute(sql)
                if not is_usable or count > MOST_NOTED:
                    behind.append((kept, count))
        return behind

    def _make(self, kept: SearchTable, bar: Any = None) -> None:
        self._database.submit(lambda connection: kept.is_usable(connection) or kept.make(connection))
        while done := self._database.submit(partial(take_over, kept)):
            if bar:
                bar.step(done)

    # -- using

    def wrote(self, writes: Sequence[Write], connection: sqlite3.Connection) -> None:
        """Takes texts over when records are deleted or many were written, in the commit of these writes; of many new records
        those that were just written."""
        for table in {write.table for write in writes} & self._kept.keys():
            own = [write for write in writes if write.table == table]
            new = [write for write in own if isinstance(write, Insert)]
            is_batch = len(own) == len(new) >= _ROWS_AT_ONCE and not _has_other_triggers(table, connection)
            if is_batch and self._take_over(self._kept[table], partial(add, writes=new), connection):
                continue
            self._written[table] = self._written.get(table, 0) + len(own)
            if self._written[table] >= MOST_NOTED or any(isinstance(write, Delete) for write in own):
                self._written[table] = 0
                self._take_over(self._kept[table], take_over, connection)

    def _take_over(self, kept: SearchTable, work: Callable[..., int], connection: sqlite3.Connection) -> int:
        """What the work returns; if that is 0, it is undone. Damage of what is kept for searches fails no write: without a
        trigger nothing of it is used."""
        done = 0
        connection.execute("savepoint search")
        try:
            if kept.is_usable(connection) and not (done := work(kept, connection=connection)):
                connection.execute("rollback to search")
        except sqlite3.DatabaseError as error:
            if sqlite_code(error) in PASSING:
                raise
            connection.execute("rollback to search")
            connection.execute(f"drop trigger {kept.name}_insert")
            words = "provider %s: what searches of %s need is damaged and no longer used; server check --create makes it: %s"
            LOG.warning(words, self._database.name, kept.table, error)
        connection.execute("release search")
        return done

    def query(self, compiled: CompiledQuery, connection: sqlite3.Connection) -> sql_records.SqliteQuery:
        """The query as a statement."""
        asked = compiled.query
        kept, table = self._kept.get(asked.table), quote_name(asked.table)
        if asked.joins:
            return cast(sql_records.SqliteQuery, app.plugin("sql_joins").JoinedQuery(compiled, table, connection))
        is_ours = kept and compiled.folded and asked.search_fields and set(asked.search_fields) <= set(kept.fields)
        if not kept or not is_ours or not self._is_usable(kept, connection):
            return self._plans.query(compiled, table, connection)
        rare = SearchQuery(compiled, table, kept, is_rare=True)
        [(hits,)] = connection.execute(rare.hits, rare.values)
        return rare if hits <= FEW else SearchQuery(compiled, table, kept, is_rare=False)

    def _is_usable(self, kept: SearchTable, connection: sqlite3.Connection) -> bool:
        """SearchTable.is_usable, remembered as long as the schema stays the same. Not for a connection that writes: what it
        sees may be rolled back, and another schema have the same number."""
        [(version,)] = connection.execute("pragma schema_version")
        known = self._usable.get(kept.table)
        if known is None or known[:2] != (version, kept.name):
            known = self._usable[kept.table] = version, kept.name, kept.is_usable(connection)
        return known[2]


def _has_other_triggers(table: str, connection: sqlite3.Connection) -> bool:
    """Whether what was inserted may no longer be what is stored."""
    sql = "select 1 from sqlite_master where type = 'trigger' and tbl_name = ? collate nocase and name not glob 'satchel_*'"
    return connection.execute(sql, (table,)).fetchone() is not None


def has_one_key(table: str, connection: sqlite3.Connection) -> bool:
    """Whether no key stands twice in a table, which another program may have made."""
    sql = "select count(*) from sqlite_master where name = ? and sql like '% (key text primary key not null, %'"
    return bool(connection.execute(sql, (table,)).fetchone()[0])
