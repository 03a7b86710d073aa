"""Counts in SQLite: beside a table of records how many there are of each value that its views count or filter by."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import app
from app import LOG, CompiledQuery, Query, SqliteDatabase, Write, is_instant, quote_name, sqlite_code

if TYPE_CHECKING:
    from plugins import sql_records, sql_search
else:
    sql_records, sql_search = map(app.plugin, ("sql_records", "sql_search"))

# ==== 1. TABLES ==================================================================================================
# What is kept of a table, and how: triggers without a function of ours count what any program writes, in its own commit.
# uses: PROVIDERS
# defines: MOST_KEPT CountTable drop_triggers drop

MOST_KEPT = 1_000  # rows with counts: they are summed in less than a millisecond
_EVENTS = ("insert", "update", "delete", "taken", "moved")
_AT_ONCE = 10_000  # records that are read between two steps of a bar
_SUM = "iif(count(*) = count(n), coalesce(sum(n), 0), null)"  # null if one of them is
_Key = tuple[bytes, ...]  # of each field the value twice, as an array in JSON


class CountTable(NamedTuple):
    """What is kept of a table: for each combination of values of some of these fields, how many records have it.

    In the table `name` the values of fields 0 and 2 are in d_0_2, as an array in JSON as they were written, and the number
    of records in n. Every n is null once a program replaced records in a way that fires no trigger for what it removed
    (INSERT OR REPLACE): then the numbers are not known. Triggers are short, because each connection parses them all.
    """

    table: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """It follows from what is kept."""
        return _name_of(self)

    def values(self, kept: Sequence[int], row: str = "") -> str:
        """The values of these fields, by number, in SQL: an array, "" of a record that another program damaged; of one field
        twice, which makes an array of it."""
        if not kept:
            return "''"
        paths = ", ".join(map(self.path, [*kept, *kept] if len(kept) == 1 else kept))
        return f"iif(typeof({row}data) = 'text' and json_valid({row}data), json_extract({row}data, {paths}), '')"

    def path(self, number: int) -> str:
        """Where a field is in a record, in SQL."""
        return "'" + f'$."{self.fields[number]}"'.replace("'", "''") + "'"

    def triggers(self, kept: Sequence[int]) -> dict[str, str]:
        """The statements that make the triggers, by name."""
        table, more, less = quote_name(self.table), self._adds(kept, "new.", 1), self._adds(kept, "old.", -1)
        unknown = f"update {self.name} set n = null"  # noqa: S608
        works = {
            "insert": f"after insert on {table} begin {more}",
            "update": f"after update of data on {table} begin {less}; {more}",
            "delete": f"after delete on {table} begin {less}",
            "taken": f"before insert on {table} when exists (select 1 from {table} where key = new.key) begin {unknown}",  # noqa: S608
            "moved": f"after update of key on {table} when new.key is not old.key begin {unknown}",
        }
        return {f"{self.name}_{event}": f"create trigger {self.name}_{event} {work}; end" for event, work in works.items()}

    def _adds(self, kept: Sequence[int], row: str, number: int) -> str:
        """What a trigger does to count one of its rows. Before 3.35, SQLite asks for the column of a conflict."""
        values = f"({self.values(kept, row)}, {number})"
        return f"insert into {self.name} values {values} on conflict ({_column(kept)}) do update set n = n + {number}"  # noqa: S608

    def kept(self, connection: sqlite3.Connection) -> list[int] | None:
        """The fields by which records are counted, by number; None if not all is there."""
        sql = "select name from sqlite_master where (type = 'trigger' and tbl_name = ?) or name = ?"
        if not self.is_in({name for (name,) in connection.execute(sql, (self.table, self.name))}):
            return None
        [column, *_] = connection.execute(f"select * from {self.name} limit 0").description  # noqa: S608
        return [int(number) for number in column[0].split("_")[1:]]

    def is_in(self, names: Collection[str]) -> bool:
        """Whether all is among the names of tables, and of triggers of this table."""
        return all(name in names for name in [self.name, *(f"{self.name}_{event}" for event in _EVENTS)])

    def is_known(self, connection: sqlite3.Connection) -> bool:
        """Whether all is there and no number is unknown."""
        return self.kept(connection) is not None and self.has_no_gap(connection)

    def has_no_gap(self, connection: sqlite3.Connection) -> bool:
        """Whether no number is unknown."""
        return connection.execute(f"select 1 from {self.name} where n is null").fetchone() is None  # noqa: S608

    def is_right(self, connection: sqlite3.Connection) -> bool:
        """Whether all is there and says of as many records as there are."""
        sql = f"select (select coalesce(sum(n), 0) from {self.name}) = (select count(*) from {quote_name(self.table)})"  # noqa: S608
        return self.is_known(connection) and bool(connection.execute(sql).fetchone()[0])

    def make(self, connection: sqlite3.Connection, bar: Any = None) -> None:
        """Counts all records anew."""
        every = range(len(self.fields))
        keys = ", ".join(f"cast({self.values([number])} as blob)" for number in every) or "1"
        rows = connection.execute(f"select {keys} from {quote_name(self.table)}")  # noqa: S608
        kept, counts = list(every), Counter[_Key]()
        while some := list(islice(rows, _AT_ONCE)):
            counts.update(tuple(row[number] for number in kept) for row in some)
            kept, counts = _fewer(kept, counts)
            if bar:
                bar.step(len(some))
        self._store(kept, counts, connection)

    def _store(self, kept: Sequence[int], counts: Mapping[_Key, int], connection: sqlite3.Connection) -> None:
        drop(self.name, connection)
        sql = f"create table {self.name} ({_column(kept)} text unique, n integer)"
        connection.execute(sql)
        rows = [(_array(key), count) for key, count in counts.items()]
        connection.executemany(f"insert into {self.name} values (cast(? as text), ?)", rows)  # noqa: S608
        for trigger in self.triggers(kept).values():
            connection.execute(trigger)

    def lessen(self, connection: sqlite3.Connection) -> None:
        """Counts by fewer fields if they have too many values by now."""
        kept = self.kept(connection)
        if not kept:
            return
        [(count,)] = connection.execute(f"select count(*) from (select 1 from {self.name} limit {MOST_KEPT + 1})")  # noqa: S608
        if count <= MOST_KEPT or not self.is_known(connection):
            return
        column = _column(kept)
        keys = ", ".join(
            f"cast(iif(json_valid({column}), json_extract({column}, '$[{n}]', '$[{n}]'), '') as blob)"
            for n in range(len(kept))
        )
        rows = connection.execute(f"select {keys}, n from {self.name} where n <> 0")  # noqa: S608
        self._store(*_fewer(kept, Counter({row[:-1]: row[-1] for row in rows})), connection)


@lru_cache
def _name_of(kept: CountTable) -> str:
    return "satchel_counts_" + hashlib.sha256(json.dumps(["arrays by column", *kept]).encode()).hexdigest()[:24]


def _column(kept: Iterable[int]) -> str:
    return "_".join(["d", *map(str, kept)])


def _array(key: _Key) -> bytes:
    """The values of several fields as one array."""
    if len(key) < 2 or not all(key):
        return b"".join(key[:1])
    return b"[" + b",".join(pair[1 : len(pair) // 2] for pair in key) + b"]"


def _fewer(kept: Sequence[int], counts: Counter[_Key]) -> tuple[list[int], Counter[_Key]]:
    """Counts by these fields as counts by those of them that have at most MOST_KEPT combinations of values; of many fields
    those with few values go first."""
    places = [] if len(counts) > MOST_KEPT else list(range(len(kept)))
    for place in sorted(range(len(kept)), key=lambda place: len({key[place] for key in counts})):
        if place not in places and len({tuple(key[one] for one in (*places, place)) for key in counts}) <= MOST_KEPT:
            places.append(place)
    places.sort()
    found = Counter[_Key]()
    for key, count in counts.items():
        found[tuple(key[place] for place in places)] += count
    return [kept[place] for place in places], found


def drop_triggers(name: str, connection: sqlite3.Connection) -> None:
    """Drops the triggers of a CountTable of this name."""
    for event in _EVENTS:
        connection.execute(f"drop trigger if exists {name}_{event}")


def drop(name: str, connection: sqlite3.Connection) -> None:
    """Drops what a CountTable of this name keeps."""
    drop_triggers(name, connection)
    connection.execute(f"drop table if exists {name}")


# ==== 2. QUERIES =================================================================================================
# A query over what is kept, which orders, filters and counts sort keys as one over the records does.
# uses: VALUES PROVIDERS TABLES plugin:sql_records
# defines: CountQuery


class CountQuery(sql_records.SqliteQuery):
    """The numbers of the records that a query selects. LookupError if it asks for a field by which none are counted.

    A number is null if it is not known.
    """

    counted, row = _SUM, ("data", "n")

    def __init__(self, query: Query, kept: CountTable, numbers: Sequence[int]) -> None:
        self._places = {kept.fields[number]: (kept.path(number), f"'$[{place}]'") for place, number in enumerate(numbers)}
        table = f"(select {_column(numbers)} as data, n from {kept.name})"  # noqa: S608
        super().__init__(CompiledQuery(query._replace(after="", order_by=())), table)

    def _field(self, name: str, instant: bool) -> str:
        if instant:
            raise LookupError(name)
        return sql_records.field_sql(name, False).replace(*self._places[name])

    def _items(self, name: str) -> tuple[str, str]:
        source, key = sql_records.items_sql(name)
        return source.replace(*self._places[name]), key.replace(*self._places[name])

    def _search(self, names: Collection[str], text: str) -> str:
        raise LookupError(text)

    def count(self, most: int | None = None) -> str:
        """Selects how many records meet the filter."""
        return f"{self._begin()}select {_SUM} from {self._from}"  # noqa: S608

    def facet(self, field: str, most: int) -> str:
        """Selects the sort keys of a field, lists and objects first and then the most frequent, and how many records that
        meet the filter have each."""
        column = self._column(field, False)
        some = f"select {column}, {_SUM} as number from {self._from} group by {column} having number is not 0"  # noqa: S608
        order = f"number is null desc, {column} = 'z' desc, number desc, {column}"
        return f"{self._begin()}{some} order by {order} limit {self._bind(most + 1)}"

    def groups(self, fields: Sequence[str], most: int) -> str:
        """Selects the sort keys of each combination of values, and how many records that meet the filter have it."""
        columns = [self._column(field, False) for field in fields]
        listed, kept = ", ".join(columns), " and ".join(f"{column} <> 'z'" for column in columns)
        some = f"select {listed}, {_SUM} as number from {self._from} group by {listed}"  # noqa: S608
        return f"{self._begin()}{some} having number is not 0 and {kept} limit {self._bind(most + 1)}"


# ==== 3. COUNTS ==================================================================================================
# What is kept for the tables of a database: made where a table is small or the operator asks for it, dropped when no view
# needs it any more.
# uses: VALUES PROVIDERS TABLES QUERIES plugin:sql_records plugin:sql_search
# defines: SqliteCounts

_MOST_FIELDS = 6  # by which records are counted: each makes a write slower
_LOOKS = 1_000  # writes between two looks at how much is kept


class SqliteCounts:
    """What is kept to count the records of the tables of a database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._kept: dict[str, CountTable] = {}  # by table
        self._numbers: dict[str, tuple[int, str, list[int] | None]] = {}  # see _numbers_of
        self._written = 0  # since this process last looked at how much is kept

    # -- making

    def prepare(self, tables: Mapping[str, Sequence[Query]]) -> list[str]:
        """Makes what is missing for small tables and drops what no query needs. Returns the others, in words."""
        missing, old = self._todo(tables)
        return self._database.submit(partial(_make, missing, old)) if missing or old else []

    def create(self, tables: Mapping[str, Sequence[Query]], bar: Any = None) -> list[str]:
        """Makes all that is missing or wrong, each in a commit of its own, for which other writes wait. Returns it, in
        words."""
        self._todo(tables)
        wanted = [self._kept[table] for table in tables if table in self._kept]
        with self._database.reading("comparing counts") as connection:
            missing = [kept for kept in wanted if not kept.is_right(connection)]
            total = sum(_count(kept.table, connection) for kept in missing) if bar else 0
        if bar and missing:
            bar.begin("counting records", total)
        for kept in missing:
            self._database.submit(partial(kept.make, bar=bar))
        return [f"index of {kept.table} for counts" for kept in missing]

    def _todo(self, tables: Mapping[str, Sequence[Query]]) -> tuple[list[CountTable], list[str]]:
        """What is missing, and the names of what is there and not needed."""
        missing, old = [], []
        with self._database.reading("looking at what is counted") as connection:
            # Texts of another encoding than UTF-8 are not taken apart here.
            [(letter,)] = connection.execute("select cast('a' as blob)")
            triggers = sql_records.names_by_table(connection, "trigger", "satchel_counts_*")
            names = sql_records.names_by_table(connection, "table", "satchel_counts_*").keys()
            for table, queries in tables.items():
                self._kept.pop(table, None)
                own = triggers.get(table, set())
                there = {name.removesuffix("_insert") for name in own if name.endswith("_insert")}
                is_own = table.startswith("_")  # Satchel's
                if queries and not is_own and letter == b"a" and sql_search.has_one_key(table, connection):
                    kept = self._kept[table] = CountTable(table, tuple(_fields(queries)))
                    there.discard(kept.name)
                    missing += [] if kept.is_in(names | own) and kept.has_no_gap(connection) else [kept]
                old += sorted(there)
        return missing, old

    # -- using

    def wrote(self, writes: Sequence[Write], connection: sqlite3.Connection) -> None:
        """Looks now and then whether more is kept than should be, in the commit of these writes."""
        self._written += len(writes)
        if self._written >= _LOOKS:
            self._written = 0
            for kept in self._kept.values():
                self._lessen(kept, connection)

    def _lessen(self, kept: CountTable, connection: sqlite3.Connection) -> None:
        """Damage of what is kept fails no write: without its triggers nothing of it is used."""
        connection.execute("savepoint counts")
        try:
            kept.lessen(connection)
        except sqlite3.DatabaseError as error:
            if sqlite_code(error) in sql_search.PASSING:
                raise
            connection.execute("rollback to counts")
            drop_triggers(kept.name, connection)
            words = "provider %s: the counts of %s are damaged and no longer used; server check --create makes them: %s"
            LOG.warning(words, self._database.name, kept.table, error)
        connection.execute("release counts")

    def count(self, query: Query) -> int | None:
        """How many records the query selects; None if what is kept does not tell."""
        found = self._ask(query, (), lambda sql: sql.count())
        return found[0][0] if found else None

    def facet(self, query: Query, field: str, most: int, *, items: bool = False) -> list[tuple[str, int]] | None:
        """What SqlQuery.facet selects, or item_facet with `items`; None if what is kept does not tell."""
        found = self._ask(query, (field,), lambda sql: (sql.item_facet if items else sql.facet)(field, most))
        return None if found is None or any(number is None for _, number in found) else found

    def groups(self, query: Query, fields: Sequence[str], most: int) -> list[Sequence[Any]] | None:
        """What CountQuery.groups selects; None if what is kept does not tell."""
        found = self._ask(query, fields, lambda sql: sql.groups(fields, most))
        return None if found is None or any(row[-1] is None for row in found) else found

    def _ask(self, query: Query, fields: Collection[str], make: Callable[[CountQuery], str]) -> Any:
        """The rows of a statement over what is kept; None if it is not kept."""
        kept = self._kept.get(query.table)
        if kept is None or query.search:
            return None
        with self._database.reading("counting records") as connection:
            numbers = self._numbers_of(kept, connection)
            if numbers is None or not {kept.fields[number] for number in numbers} >= set(fields):
                return None
            try:
                sql = CountQuery(query, kept, numbers)
                return connection.execute(make(sql), sql.values).fetchall()
            except (LookupError, sqlite3.DatabaseError):  # another process dropped it just now, or it is damaged
                return None

    def _numbers_of(self, kept: CountTable, connection: sqlite3.Connection) -> list[int] | None:
        """CountTable.kept, remembered as long as the schema stays the same. Not for a connection that writes: what it sees
        may be rolled back, and another schema have the same number."""
        [(version,)] = connection.execute("pragma schema_version")
        known = self._numbers.get(kept.table)
        if known is None or known[:2] != (version, kept.name):
            known = self._numbers[kept.table] = version, kept.name, kept.kept(connection)
        return known[2]


def _fields(queries: Collection[Query]) -> list[str]:
    """By what the records of a table are counted: fields whose values are counted, and such as views filter by. No
    date-times: they have many values."""
    found = [name.removeprefix("-") for query in queries if query.limit == 0 for name in query.order_by]
    found += [one.field for query in queries for one in query.where if not is_instant(query, one)]
    plain = [name for name in dict.fromkeys(found) if name not in ("id", "version") and sql_records.is_plain(name)]
    return plain[:_MOST_FIELDS]


def _count(table: str, connection: sqlite3.Connection) -> int:
    return int(connection.execute(f"select count(*) from {quote_name(table)}").fetchone()[0])  # noqa: S608


def _make(missing: Iterable[CountTable], old: Iterable[str], connection: sqlite3.Connection) -> list[str]:
    """Makes and drops what is kept, but makes nothing of a table that is not small: returns those, in words."""
    for name in old:
        drop(name, connection)
    left = []
    for kept in missing:
        if kept.is_known(connection):  # made by another process meanwhile
            continue
        count = f"select count(*) from (select 1 from {quote_name(kept.table)} limit ?)"  # noqa: S608
        if connection.execute(count, (sql_records.SMALL_TABLE + 1,)).fetchone()[0] <= sql_records.SMALL_TABLE:
            kept.make(connection)
        else:
            left.append(f"{kept.table} for counts")
    return left
