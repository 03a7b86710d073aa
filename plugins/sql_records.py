"""Lists of records as SQL: what is asked of them, for SQLite and PostgreSQL, and SQLite's sort keys and indexes."""

from __future__ import annotations

import functools
import hashlib
import re
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from app import (
    SQL_SIGNS,
    CompiledQuery,
    Condition,
    Json,
    Query,
    SqliteDatabase,
    dump_json,
    field_key,
    fold_case,
    holds_text,
    is_instant,
    key_rule,
    load_json,
    plugin,
    quote_name,
    sort_key,
    stored_record,
)

if TYPE_CHECKING:
    from plugins import record_tests
else:
    record_tests = plugin("record_tests")

# ==== 1. QUERIES =================================================================================================
# A query as a statement over columns that hold sort keys, so that every database orders, filters and pages alike.
# uses: VALUES PROVIDERS plugin:record_tests
# defines: SqlQuery


class SqlQuery(ABC):
    """A CompiledQuery as SQL over columns f0, f1… that hold the sort_key of each field it needs; `values` are bound.

    `table` is the quoted name of the table. What dialects say differently is abstract.
    """

    position = "instr"
    key = "key"  # as it is ordered by
    counted = "count(*)"  # how many records rows stand for
    row: tuple[str, ...] = ("key",)  # the columns that tell rows apart

    def __init__(self, compiled: CompiledQuery, table: str) -> None:
        query = compiled.query
        self.compiled, self._table = compiled, table
        self.values: dict[str, Json] = {}
        self._columns: dict[tuple[str, bool], str] = {}
        self._fields, self.beside = "", list[str]()  # more columns, and tables beside this one
        self.terms = [self._column(name, name in query.instants) for name, _ in compiled.terms[:-1]]  # columns, in order
        tests = [self._condition(condition) for condition in query.where]
        if query.search:
            tests.append(self._search(query.search_fields, compiled.folded))
        where = " and ".join(tests) or "1 = 1"
        self._from = f"satchel_records where {where}"

    def _column(self, name: str, instant: bool) -> str:
        """The column with the sort_key of a field; `instant`: see value_key."""
        if (name, instant) not in self._columns:
            column = f"f{len(self._columns)}"
            self._columns[name, instant] = column
            self._fields += f", {self._field(name, instant)} as {column}"
        return self._columns[name, instant]

    @abstractmethod
    def _field(self, name: str, instant: bool) -> str:
        """A record's field as its sort_key."""

    @abstractmethod
    def _items(self, name: str) -> tuple[str, str]:
        """What has a row for each item of a record's field that is a list, of which `data` is the record, and the item's
        sort_key in it. Neither names a column of the records but `data`."""

    @abstractmethod
    def _search(self, names: Collection[str], text: str) -> str:
        """Whether one of these fields contains what fold_case made of a search; see holds_text."""

    def _bind(self, value: Json) -> str:
        """Bind a value and return its placeholder."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return ":" + name

    def _begin(self) -> str:
        """What every statement begins with: said first, a field may be as deep as SQLite's parser can take, whatever stands
        around the list."""
        return f"with satchel_records as (select *{self._fields} from {self._table}{''.join(self.beside)}) "  # noqa: S608

    def _order(self, column: str, descends: bool) -> str:
        return column + (" desc" if descends else "")

    def _has_item(self, name: str, keys: Sequence[str]) -> str:
        """Whether a field is a list with one of these sort keys among those of its items."""
        if name in ("id", "version") or not keys:
            return "1 = 0"
        source, key = self._items(name)
        return f"exists (select 1 from {source} where {key} in ({', '.join(map(self._bind, keys))}))"  # noqa: S608

    def _condition(self, condition: Condition) -> str:
        if (items := record_tests.items_of(condition)) is not None:
            has_item = self._has_item(condition.field, items)
            return has_item if condition.op == "contains" else f"not {has_item}"
        instant = is_instant(self.compiled.query, condition)
        column = self._column(condition.field, instant)
        op, keys = key_rule(condition, instant)
        bound = list(map(self._bind, keys)) if op != "contains" else []
        if op in ("in", "out"):
            sign = "in" if op == "in" else "not in"
            return f"{column} {sign} ({', '.join(bound)})" if bound else f"1 = {int(op == 'out')}"
        if op == "prefix":
            return f"substr({column}, 1, {len(keys[0])}) = {bound[0]}"
        letter = keys[0][0]
        if op == "contains":
            same_type = f"substr({column}, 1, 1) = {self._bind(letter)}"
            return f"({same_type} and {self.position}(substr({column}, 2), {self._bind(keys[0][1:])}) > 0)"
        end = f"< {self._bind(chr(ord(letter) + 1))}" if op in ("gt", "gte") else f">= {self._bind(letter)}"  # of the type
        test = f"({column} {SQL_SIGNS[op]} {bound[0]} and {column} {end})"
        if condition.field != "id" or letter != "t" or not self.compiled.query.table.startswith("_"):
            return test  # keys in a table of another program may be numbers
        return f"({self.key} {SQL_SIGNS[op]} {self._bind(keys[0][1:])} and {test})"  # which the index of keys answers

    def _behind(self, terms: Sequence[tuple[str, bool]]) -> str:
        """Whether a record comes after the cursor; "" if there is none."""
        behind = ""
        for (column, descends), place in reversed(list(zip(terms, self.compiled.after, strict=False))):
            bound, sign = self._bind(place if behind else place[1:]), "<" if descends else ">"
            equal = f" or ({column} = {bound} and {behind})" if behind else ""
            behind = f"({column} {sign} {bound}{equal})"
        return behind

    def rows(self, columns: str) -> str:
        """Selects these columns of the page's records and of one more."""
        known = [*self.terms, self.key]
        terms = [(column, descends) for column, (_, descends) in zip(known, self.compiled.terms, strict=True)]
        behind = self._behind(terms)
        order = ", ".join(self._order(column, descends) for column, descends in terms)
        limit = self._bind(max(self.compiled.query.limit, 0) + 1)
        where = f"{self._from}{behind and ' and ' + behind}"
        return f"{self._begin()}select {columns} from {where} order by {order} limit {limit}"  # noqa: S608

    def count(self, most: int | None = None) -> str:
        """Selects how many records meet the filter; `most` if there are more."""
        if most is None:
            plain = self._from.removesuffix(" where 1 = 1")  # of all records, SQLite counts pages and reads none
            return f"{self._begin()}select count(*) from {plain}"  # noqa: S608
        some = f"select 1 from {self._from} limit {self._bind(most)}"  # noqa: S608
        return f"{self._begin()}select count(*) from ({some}) as satchel_counted"  # noqa: S608

    def facet(self, field: str, most: int) -> str:
        """Selects the sort keys of a field, lists and objects first and then the most frequent, and how many records that
        meet the filter have each.

        It is one more than `most`, because the caller leaves "z" out: here, that would be asked of every record.
        """
        column = self._column(field, False)
        some = f"select {column}, count(*) from {self._from} group by {column}"  # noqa: S608
        order = f"case when {column} = 'z' then 0 else 1 end, count(*) desc, {column}"
        return f"{self._begin()}{some} order by {order} limit {self._bind(most + 1)}"

    def item_facet(self, field: str, most: int) -> str:
        """The same with the items of lists, each of which counts once for a record, in place of the lists."""
        column, (source, key), count = self._column(field, False), self._items(field), self.counted
        row, needed = ", ".join(self.row), ", ".join(dict.fromkeys(["data", *self.row]))
        names = ", ".join(f"satchel_lists.{one} as {one}" for one in self.row)
        plain = f"select {column} as k, {row} from {self._from} and {column} < 'z'"  # noqa: S608
        lists = f"select {needed} from {self._from} and {column} = 'z'"  # noqa: S608
        items = f"select distinct {key} as k, {names} from ({lists}) as satchel_lists, {source}"  # noqa: S608
        items = f"select * from ({items}) as satchel_items where k not in ('', 'z')"  # noqa: S608
        every = f"select k, {count} from ({plain} union all {items}) as satchel_values group by k"  # noqa: S608
        order = f"{count} is null desc, {count} desc, k limit {self._bind(most)}"
        return f"{self._begin()}{every} having {count} is null or {count} > 0 order by {order}"


# ==== 2. SQLITE ==================================================================================================
# The sort key of a field in SQLite's own functions: an index on it can be read and kept up by every program.
# uses: VALUES PROVIDERS QUERIES plugin:record_tests plugin:sql_groups plugin:sql_sums
# defines: is_plain field_sql items_sql SqliteQuery add_functions

_SWAPPED = (("0", "9"), ("1", "8"), ("2", "7"), ("3", "6"), ("4", "5"))
_UNIX_YEAR_1_S = 62_135_683_200  # what instant_key counts from, a day before the year 1


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def is_plain(name: str) -> bool:
    """Whether a path of SQLite can name the field."""
    return not set(name) & {'"', "\\"} and all(c >= " " for c in name)


def _nines(digits: str) -> str:
    """Digits whose order is the other way round: 0 becomes 9, 1 becomes 8."""
    for low, high in _SWAPPED:
        digits = f"replace(replace(replace({digits}, '{low}', 'x'), '{high}', '{low}'), 'x', '{high}')"
    return digits


def _positive_integer(value: str) -> str:
    """number_key of an integer above 0."""
    return f"'2' || (999999999999999999 + length({value})) || rtrim({value}, '0')"


def _number_cases(twice: str) -> str:
    """number_key of any number, as the last cases. `twice` is its text as json_extract gives it when asked twice,
    "[0.1,0.1]": it is never made a float."""
    exponent = f"instr(lower({twice}), 'e')"
    start = f"iif({twice} like '[-%', 3, 2)"
    end = f"iif({exponent}, {exponent}, instr({twice}, ','))"
    digits = f"replace(substr({twice}, {start}, {end} - {start}), '.', '')"
    led = f"ltrim({digits}, '0')"
    kept = f"rtrim({led}, '0')"
    whole_digits = f"iif(instr({twice}, '.'), instr({twice}, '.'), {end}) - {start}"
    written_power = f"iif({exponent}, cast(substr({twice}, {exponent} + 1) as integer), 0)"
    power = f"({whole_digits} - 1 - length({digits}) + length({led}) + {written_power})"
    below = f"printf('n0%019d', 1000000000000000000 - {power}) || {_nines(kept)} || '~'"
    above = f"printf('n2%019d', 1000000000000000000 + {power}) || {kept}"
    return f" when {led} = '' then 'n1' when {twice} like '[-%' then {below} else {above}"


def _instant_cases(is_text: str, text: str) -> str:
    """text_key of a text that is a date-time, as cases: of those without a fraction or with milliseconds, in UTC, and of all
    others."""
    moment = f"substr({text}, 1, 10) || 'T' || substr({text}, 12, 8)"  # no "now", which no index may ask for
    # "+0 days" makes SQLite reckon: else February 30 would be one.
    is_moment = f"strftime('%Y-%m-%dT%H:%M:%S', {moment}, '+0 days') = {moment} and {text} >= '0001'"
    at_s = f"strftime('%s', {moment}) + {_UNIX_YEAR_1_S}"
    begin = f"{is_text} and {text} glob '??????????[Tt ]????????"
    offset = f"substr({text}, -6)"
    is_offset = f"{offset} glob '[-+][0-2][0-9]:[0-5][0-9]' and substr({offset}, 2, 2) < '24'"
    offset_s = f"(substr({offset}, 2, 2) * 3600 + substr({offset}, 5, 2) * 60) * iif({offset} like '-%', -1, 1)"
    fraction = f"substr({text}, 20, length({text}) - 19 - iif({text} like '%z', 1, 6))"
    is_fraction = f"({fraction} = '' or {fraction} glob '.[0-9]*' and not {fraction} glob '.*[^0-9]*')"
    utc = f"printf('i%012d', {at_s})"
    other = f"printf('i%012d', {at_s} - iif({text} like '%z', 0, {offset_s})) || rtrim(ltrim({fraction}, '.'), '0')"
    return (
        f" when {begin}[Zz]' and {is_moment} then {utc}"
        f" when {begin}.[0-9][0-9][0-9][Zz]' and {is_moment} then {utc} || rtrim(substr({text}, 21, 3), '0')"
        f" when {begin}*' and {is_moment} and ({text} glob '*[Zz]' or {is_offset}) and {is_fraction} then {other}"
    )


def _usual_instant(text: str) -> str:
    """text_key of a text that is a date-time as most are, in UTC and before the 29th, as a case. It asks SQLite for the time
    once and not four times, which is most of what an index of date-times costs."""
    day, second = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-2][0-9]", "T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    shape = f"({text} glob '{day}{second}.[0-9][0-9][0-9]Z' or {text} glob '{day}{second}Z')"
    is_day = (
        f"{text} >= '0001' and substr({text}, 6, 2) between '01' and '12' and substr({text}, 9, 2) between '01' and '28'"
    )
    at_s = f"substr('000000' || (strftime('%s', substr({text}, 1, 19)) + {_UNIX_YEAR_1_S}), -12)"
    whole = f"'i' || {at_s} || rtrim(substr({text}, 21, 3), '0')"
    return f" when {shape} and {is_day} and substr({text}, 12, 2) < '24' then {whole}"


@functools.lru_cache(maxsize=1024)
def field_sql(name: str, instant: bool, row: str = "") -> str:
    """The sort_key of a field in SQL over a table of records, or of the row of a trigger ("new."); `instant`: see value_key.
    The name must be a plain one.

    No parameters, because an index has none; nested as little as can be, because SQLite's parser is not deep; and with the
    usual cases first, because an index of it is computed with every write.
    """
    if name == "id":
        return f"'t' || {row}key"
    if name == "version":
        one, version = _literal(sort_key(1)), f"{row}version"  # what stored_version makes of a version that is none
        return f"iif(typeof({version}) = 'integer' and {version} > 0, 'n' || {_positive_integer(version)}, {one})"
    path, data = _literal(f'$."{name}"'), f"{row}data"
    broken = f"typeof({data}) <> 'text' or not json_valid({data})"  # by another program: such a record has no fields
    kind, value = f"json_type({data}, {path})", f"json_extract({data}, {path})"
    twice = f"json_extract({data}, {path}, {path})"
    usual = f"{twice} glob '[[][1-9]*' and not instr(lower({twice}), 'e')"  # a decimal of at least 1
    digits = f"rtrim(replace(substr({twice}, 2, instr({twice}, ',') - 2), '.', ''), '0')"
    return (
        f"case when {broken} then ''"
        + (_usual_instant(value) + _instant_cases(f"{kind} = 'text'", value) if instant else "")
        + f" when {kind} = 'text' then 't' || {value} when {value} is null then ''"
        f" when {kind} = 'integer' and {value} between 1 and 999999999999999999 then 'n' || {_positive_integer(value)}"
        f" when {kind} = 'real' and {usual} then 'n2' || (999999999999999997 + instr({twice}, '.')) || {digits}"
        f" when {kind} = 'true' then 'b1' when {kind} = 'false' then 'b0' when {kind} in ('array', 'object') then 'z'"
        f"{_number_cases(twice)} end"
    )


@functools.lru_cache(maxsize=1024)
def items_sql(name: str) -> tuple[str, str]:
    """What SqlQuery._items promises, of a field with a plain name. A number is taken as it is written, and never made a
    float."""
    path, place = _literal(f'$."{name}"'), "'$[' || item.key || ']'"
    is_list = f"iif(typeof(data) = 'text' and json_valid(data), json_type(data, {path}), '') = 'array'"
    twice = f"json_extract(item.json, {place}, {place})"
    key = (
        "case item.type when 'text' then 't' || item.value when 'true' then 'b1' when 'false' then 'b0'"
        f" when 'null' then '' when 'array' then 'z' when 'object' then 'z' else item_key({twice}) end"
    )
    return f"json_each(iif({is_list}, json_extract(data, {path}), '[]')) as item", key


def _behind_prefix(text: str) -> str:
    """The least text, by code point, behind all that begin with `text`, whose first letter is not the last of all."""
    known = text.rstrip(chr(sys.maxunicode))
    following = ord(known[-1]) + 1
    return known[:-1] + chr(0xE000 if following == 0xD800 else following)


class SqliteQuery(SqlQuery):
    """Over a table of SQLite."""

    def _field(self, name: str, instant: bool) -> str:
        if is_plain(name):
            return field_sql(name, instant)
        return f"field_key(cast(data as blob), {self._bind(name)}, {int(instant)})"

    def _items(self, name: str) -> tuple[str, str]:
        if is_plain(name):
            return items_sql(name)
        return f"json_each(item_keys(cast(data as blob), {self._bind(name)})) as item", "item.value"

    def _search(self, names: Collection[str], text: str) -> str:
        """One look into a record for all its fields: to take each out of a large one costs as much as to read it whole."""
        bound = f"{self._bind(dump_json(list(names)))}, {self._bind(text)}"
        return f"holds_text(cast(data as blob), cast(key as blob), {bound})"

    def _condition(self, condition: Condition) -> str:
        whole = super()._condition(condition)
        if condition.op != "prefix" or not isinstance(condition.value, str):
            return whole
        column, end = self._column(condition.field, False), _behind_prefix("t" + condition.value)
        return f"({column} >= {self._bind('t' + condition.value)} and {column} < {self._bind(end)} and {whole})"


def _sqlite_key(data: str, name: str, instant: int) -> str:
    """field_key for SQL, of a record as it is stored."""
    return field_key(stored_record("", 1, data), name, bool(instant))


def _sqlite_items(data: str, name: str) -> str:
    """item_keys for SQL, of a record as it is stored, as JSON."""
    return dump_json(cast(Json, record_tests.item_keys(stored_record("", 1, data).value.get(name))))


def _sqlite_item(twice: str) -> str:
    """The sort_key of a number, for SQL, of an array of it and it again."""
    return sort_key(load_json(twice)[0])


def _sqlite_search(data: str, key: str, names: str, folded: str) -> bool:
    """holds_text for SQL, of a record as it is stored."""
    # JSON holds it as it is: a mark behind the letter of an escape would be taken for that letter's.
    is_plain = not re.search(r'["\\\x00-\x1f]', folded) and not re.search(r"\\(?:[u/]|[bfnrt][^\x00-\x7f])", data)
    if is_plain and folded not in fold_case(data + key):
        return False
    return holds_text(stored_record(key, 1, data), load_json(names), folded)


def _of_bytes(function: Callable[..., Any], encoding: str) -> Callable[..., Any]:
    """A function for SQL that takes texts cast to blobs, since SQLite does not pass every text on as one."""

    def of_bytes(*given: Any) -> Any:
        if given[0] is None:
            return None
        return function(*(one.decode(encoding, "replace") if isinstance(one, bytes) else one for one in given))

    return of_bytes


class _GroupSum:
    """group_sum(key), which plugins/sql_groups.py has."""

    def __new__(cls) -> Any:
        return plugin("sql_groups").GroupSum()


class _ViewSum:
    """view_sum(value), which plugins/sql_sums.py has."""

    def __new__(cls) -> Any:
        return plugin("sql_sums").ViewSum()


def add_functions(connection: sqlite3.Connection) -> None:
    """What statements of lists and views may call beside SQLite's own functions."""
    [(encoding,)] = connection.execute("pragma encoding")
    for name, count, function in (
        ("field_key", 3, _sqlite_key),
        ("item_keys", 2, _sqlite_items),
        ("item_key", 1, _sqlite_item),
        ("holds_text", 4, _sqlite_search),
        ("fold_case", 1, fold_case),
    ):
        connection.create_function(name, count, _of_bytes(function, encoding), deterministic=True)
    connection.create_aggregate("group_sum", 1, _GroupSum)
    connection.create_aggregate("view_sum", 1, _ViewSum)


# ==== 3. INDEXES =================================================================================================
# Indexes in SQLite for the queries that are declared: made where a table is small or the operator asks for it, dropped when
# no query needs them any more.
# uses: VALUES PROVIDERS SQLITE
# defines: SMALL_TABLE Index indexes_of names_by_table SqliteIndexes

SMALL_TABLE = 20_000  # records: indexes of such a table take less than a second, and are made when the server starts
_Terms = tuple[tuple[str, bool], ...]


def _terms_of(query: Query) -> Iterator[_Terms]:
    """(field, descending) of the indexes from which a query is answered without reading the whole table: one for all of it,
    and one for each field alone, for those who filter or sort otherwise."""
    equal = [c.field for c in query.where if c.op in ("eq", "null") or (c.op == "in" and len(c.value) == 1)]
    order = CompiledQuery(query._replace(after="")).terms
    whole = (*((name, False) for name in dict.fromkeys(equal)), *(term for term in order if term[0] not in equal))
    yield whole
    for name in dict.fromkeys([*(c.field for c in query.where), *(name for name, _ in order)]):
        if whole[0][0] != name:
            yield (name, False), ("id", False)


class Index(NamedTuple):
    """An index to be made or dropped: of a table, what it is by in words, and the statement."""

    table: str
    words: str
    sql: str
    drops: bool = False


def indexes_of(table: str, queries: Sequence[Query]) -> dict[str, Index]:
    """The indexes for queries of a table by name. The name follows from all that the index is made of."""
    moments = frozenset[str]().union(*(query.instants for query in queries))
    found = list(dict.fromkeys(terms for query in queries for terms in _terms_of(query)))
    found.sort(key=len, reverse=True)
    starts: set[str] = set()
    indexes = {}
    for terms in found:
        is_spare = len(terms) == 2 and terms[1] == ("id", False) and terms[0][0] in starts  # a longer one begins with it
        if terms[0][0] == "id" or is_spare or not all(is_plain(name) for name, _ in terms):
            continue
        starts.add(terms[0][0])
        columns = ["key" if name == "id" else field_sql(name, name in moments) for name, _ in terms]
        text = ", ".join(column + (" desc" if down else "") for column, (_, down) in zip(columns, terms, strict=True))
        name = "satchel_" + hashlib.sha256(f"{table}\0{text}".encode()).hexdigest()[:24]
        words = ", ".join(("-" if down else "") + field for field, down in terms if field != "id")
        indexes[name] = Index(
            table, f"{table} by {words}", f"create index if not exists {name} on {quote_name(table)} ({text})"
        )
    return indexes


def names_by_table(connection: sqlite3.Connection, kind: str, pattern: str) -> dict[str, set[str]]:
    """The names of all indexes or triggers that match a GLOB pattern, by table. A table without one is missing."""
    found: dict[str, set[str]] = {}
    sql = "select tbl_name, name from sqlite_master where type = ? and name glob ?"
    for table, name in connection.execute(sql, (kind, pattern)):
        found.setdefault(table, set()).add(name)
    return found


class SqliteIndexes:
    """The indexes of the tables of a database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def prepare(self, tables: Mapping[str, Sequence[Query]]) -> list[str]:
        """Makes the missing indexes of small tables and drops those that no query needs. Returns the others, in words."""
        todo = self._todo(tables)
        return self._database.submit(partial(_make, todo, SMALL_TABLE)) if todo else []

    def create(self, tables: Mapping[str, Sequence[Query]], bar: Any = None) -> list[str]:
        """Makes all that are missing, each in a commit of its own, for which other writes wait. Returns them, in words."""
        made = [one for one in self._todo(tables) if not one.drops]
        if bar:
            bar.begin("making indexes", len(made))
        if made:  # what is sorted for them may be larger than the memory
            self._database.submit(lambda connection: connection.execute("pragma temp_store = file"))
        for one in made:
            self._database.submit(partial(_make, [one], None))
            if bar:
                bar.step(1)
        return [f"index of {one.words}" for one in made]

    def _todo(self, tables: Mapping[str, Sequence[Query]]) -> list[Index]:
        todo: list[Index] = []
        with self._database.reading("looking at indexes") as connection:
            made = names_by_table(connection, "index", "satchel_*")
            for table, queries in tables.items():
                wanted, there = indexes_of(table, queries), made.get(table, set())
                todo += [one for name, one in wanted.items() if name not in there]
                todo += [Index(table, name, f"drop index if exists {name}", drops=True) for name in there - set(wanted)]
        return todo


def _make(todo: Sequence[Index], most: int | None, connection: sqlite3.Connection) -> list[str]:
    """Makes and drops indexes, but makes none of a table of more than `most` records: returns those, in words."""
    left = []
    for one in todo:
        count = f"select count(*) from (select 1 from {quote_name(one.table)} limit ?)"  # noqa: S608
        if one.drops or most is None or connection.execute(count, (most + 1,)).fetchone()[0] <= most:
            connection.execute(one.sql)
        else:
            left.append(one.words)
    return left
