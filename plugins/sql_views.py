"""Views that are SQL statements: what is asked of their rows, for SQLite and PostgreSQL, and SQLite's own answers."""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import app
from app import (
    LOG,
    SQL_SIGNS,
    AppError,
    BadRequest,
    Condition,
    ConfigError,
    Json,
    Measure,
    Pool,
    QueryTimeout,
    Rows,
    Select,
    SqliteDatabase,
    TooLarge,
    Unreadable,
    Unsupported,
    check_text,
    dump_json,
    fold_case,
    key_rule,
    nearest,
    plain_cell,
    plugin,
    quote_name,
    sqlite_authorize,
    sqlite_code,
)

if TYPE_CHECKING:
    from plugins.list_filters import Moment
else:
    Moment = app.plugin("list_filters").Moment

# ==== 1. STATEMENTS ==============================================================================================
# A statement that an administrator wrote, and SQL round it for what is asked of its rows.
# uses: ERRORS VALUES CONFIG PROVIDERS plugin:list_filters
# defines: FACET_OF COUNT_OF MOST_SOUGHT SQL_TOKENS NotJustReading unfit facet_of read_statement check_params bindable
#          sought SqlSelect

FACET_OF = "select {0}, count(*) from (\n{{}}\n) as satchel_counted group by {0} order by 2 desc, 1 limit {1}"
COUNT_OF = "select count(*) from (\n{}\n) as satchel_counted"
MOST_SOUGHT = 10_000  # characters, as many as a text parameter has by default
_APART, _MOST_TOGETHER, _SHORT = "\x1f", 100, 100_000  # what stands between columns that are searched as one text
_STATEMENTS = ("select", "values", "table", "insert", "update", "delete", "replace", "merge")
SQL_TOKENS = re.compile(
    r"[eE]'(?:[^'\\]|\\.|'')*'|\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$"  # of PostgreSQL
    r"|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|::"
    r"|:(?P<name>[A-Za-z_]\w*)|(?P<end>;)|(?P<space>\s+)|.",
    re.DOTALL,
)


class NotJustReading(ConfigError):
    """A statement asks for something that a view may not do: whoever asks for the view learns that it does not do that."""

    code, status = Unsupported.code, Unsupported.status


def unfit(label: str, select: Select, said: str) -> AppError:
    """The error of a sound statement that fails at a value: BadRequest if the caller may have given it, otherwise
    Unreadable."""
    if any(value is not None for value in select.params.values()):
        return BadRequest(f"{label}: the statement fails with these parameters: {said}")
    return Unreadable(f"{label}: the view meets a value that its statement cannot work with: {said}")


def facet_of(select: Callable[[Select, str], Rows], asked: Select, column: str, most: int) -> list[tuple[Json, int]]:
    """What Queries.facet_rows promises; `select` runs a statement inside another one."""
    bounds: Any = {"order_by": (), "limit": None, "offset": 0, "max_rows": None}
    around = FACET_OF.format(quote_name(column).replace("{", "{{").replace("}", "}}"), most)
    with closing(select(asked._replace(**bounds), around)) as rows:
        return [(value, int(count)) for value, count in rows.rows]


@lru_cache(maxsize=512)  # of every page of a view it is the same
def read_statement(statement: str) -> tuple[str, frozenset[str]]:
    """A statement without trailing semicolon and comments, and the names of its parameters; ConfigError unless it is one
    SELECT."""
    names, length, ended, bare = set(), 0, False, ""
    for token in SQL_TOKENS.finditer(statement):
        if token["comment"] or token["space"]:
            bare += " "
            continue
        if ended and not token["end"]:
            raise ConfigError(
                "the statement holds two statements, and a view is one SELECT: take out what follows the semicolon"
            )
        ended = ended or bool(token["end"])
        length = length if ended else token.end()
        bare += token.group() if len(token.group()) == 1 else "?"
        if token["name"]:
            names.add(token["name"])
    _expect_select(bare)
    return statement[:length], frozenset(names)


def check_params(label: str, names: Collection[str], params: Mapping[str, Json]) -> None:
    """Raises ConfigError unless these are the parameters that a statement names."""
    for name in sorted(params.keys() ^ set(names)):
        fault = "is not given" if name in names else "is not in the statement" + nearest(name, names)
        raise ConfigError(f"{label}: the parameter :{name} {fault}")


def _expect_select(bare: str) -> None:
    """ConfigError unless a statement, here without texts and comments, is a SELECT by its words."""
    words: list[str] = []
    depth = 0
    for part in re.findall(r"[()]|\w+", bare.lower()):
        depth += (part == "(") - (part == ")")
        if part not in "()" and (depth == 0 or not words):
            words.append(part)
    first = words[0] if words else "nothing"
    if first == "with":  # after what it names
        first = next((word for word in words[1:] if word in _STATEMENTS), "select")
    if first not in ("select", "values", "table"):
        raise ConfigError(
            f"the statement begins with {first.upper()}, and a view is one SELECT: it reads, and changes nothing"
        )


def bindable(value: Json) -> Json:
    """A value as SQLite takes it: a bool as integer, a Decimal as float, lists and objects as JSON text."""
    if isinstance(value, str) and (problem := check_text(value)):
        raise BadRequest(f"a parameter {problem}")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        return float(value)
    return dump_json(value) if isinstance(value, list | dict) else value


def sought(param: str, text: str) -> str:
    """A text to look for in others. BadRequest if it is so long that looking for it in a single one might take seconds,
    which no timeout ends."""
    if len(text) > MOST_SOUGHT:
        raise BadRequest(f"{param} has {len(text):,} characters to look for, and may have {MOST_SOUGHT:,}")
    return text


class SqlSelect:
    """SQL round a statement for what is asked of its rows, in the words of SQLite; `values` are bound by name.

    `columns` are the statement's own; BadRequest on others in where or order_by.
    """

    position = "instr"  # the function that says where a text contains another

    def __init__(self, select: Select, statement: str, columns: Collection[str]) -> None:
        self.values = dict(select.params)
        order = [(name.removeprefix("-"), name.startswith("-")) for name in select.order_by]
        for name in [c.field for c in select.where] + [name for name, _ in order]:
            if name not in columns:
                if name in ("_facets", "_totals", "_typed") and name in {one.field for one in select.where}:
                    raise BadRequest(f"{name} is no parameter here")  # of a view that has none
                raise BadRequest(f"there is no column {name!r}{nearest(name, columns)}")
        tests = [self._test(condition) for condition in select.where]
        if select.search and columns:
            folded = fold_case(sought("_q", select.search))
            tests.append(self._holds_any(list(columns), folded, self._bind(folded)))
        terms = [self._sorted(name) + (" desc nulls last" if down else " asc nulls first") for name, down in order]
        self.sql = f"select * from (\n{statement}\n) as satchel_view"  # noqa: S608 (the statement is the administrator's)
        self.sql += f" where {' and '.join(tests)}" if tests else ""
        self.sql += f" order by {', '.join(terms)}" if terms else ""
        if select.limit is not None or select.offset:
            limit = 2**63 - 1 if select.limit is None else select.limit
            self.sql += f" limit {self._bind(limit)} offset {self._bind(select.offset)}"

    def _bind(self, value: Json) -> str:
        """Bind a value and return its placeholder."""
        name = f"satchel_{len(self.values)}"
        while name in self.values:  # a parameter may be called so
            name += "_"
        self.values[name] = value
        return ":" + name

    def _sorted(self, name: str) -> str:
        """A column, as rows are ordered by it."""
        return quote_name(name)

    def _compared(self, name: str) -> str:
        """A column, as it is compared with values."""
        return quote_name(name)

    def _comparable(self, name: str, value: Json) -> bool:
        """Whether a value can be compared with those of the column."""
        return value is not None

    def _text(self, name: str) -> str:
        """A column as text."""
        return f"cast({quote_name(name)} as text)"

    def _holds_any(self, names: Sequence[str], folded: str, bound: str) -> str:
        """Whether one of the columns contains the text `folded`, which is `bound`. What SQLite asks of Python takes longest:
        it asks once for all columns of a row that are short together."""
        each = self._holds_each(names, folded, bound)
        if _APART in folded or len(names) > _MOST_TOGETHER:
            return each
        texts = [f"coalesce(cast({quote_name(name)} as text), '')" for name in names]
        size, together = " + ".join(f"length({text})" for text in texts), f" || char({ord(_APART)}) || ".join(texts)
        found = f"instr(fold_case(cast({together} as blob)), {bound}) > 0"
        return f"iif({size} < {_SHORT}, {found}, {each})"

    def _holds_each(self, names: Sequence[str], folded: str, bound: str) -> str:
        return "(" + " or ".join(self._holds_folded(name, bound) for name in names) + ")"

    def _holds_folded(self, name: str, bound: str) -> str:
        """Whether a column as text contains another when case does not count."""
        return f"instr(fold_case(cast({self._text(name)} as blob)), {bound}) > 0"

    def _test(self, condition: Condition) -> str:
        key_rule(condition)
        name, op, value = condition.field, condition.op, condition.value
        if op == "null":
            return f"{quote_name(name)} is {'' if value else 'not '}null"
        if op in ("contains", "prefix"):
            if not isinstance(value, str):
                return "1 = 0"
            text, bound = self._text(name), self._bind(sought(f"{condition.field}__{op}", value))
            return (
                f"{self.position}({text}, {bound}) > 0" if op == "contains" else f"substr({text}, 1, {len(value)}) = {bound}"
            )
        if isinstance(value, Moment):
            return self._test_moment(name, SQL_SIGNS[op], value)
        values = [one for one in (value if op == "in" else [value]) if self._comparable(name, one)]
        if not values:
            return "1 = 1" if op == "ne" else "1 = 0"
        bounds, column = ", ".join(map(self._bind, values)), self._compared(name)
        if op == "ne":
            return f"({quote_name(name)} is null or {column} <> {bounds})"
        return f"{column} in ({bounds})" if op == "in" else f"{column} {SQL_SIGNS[op]} {bounds}"

    def _test_moment(self, name: str, sign: str, moment: Moment) -> str:
        """Whether a column's day, moment or number of Unix seconds compares so; other texts do as texts."""
        column, at = quote_name(name), f"strftime('%Y-%m-%dT%H:%M:%f', {quote_name(name)})"
        day, there = f"{column} {sign} {self._bind(moment.day)}", f"{at} {sign} {self._bind(moment.in_utc)}"
        texts = f"iif(length({column}) = 10, {day}, coalesce({there}, {day}))"
        numbers = f"{column} {sign} {self._bind(moment.unix_s)}"
        return f"case typeof({column}) when 'text' then {texts} when 'blob' then 0 else {numbers} end"


# ==== 2. LIMITS ==================================================================================================
# What a statement of a view may take in SQLite: its timeout is looked at between steps of the database, so that no single
# step may be long, nor make what fills the memory.
# uses: nothing
# defines: MOST_VALUE_BYTES LIMITS bounded has_wide_format widest_place add_formats gathers

MOST_VALUE_BYTES = 5_000_000
LIMITS: Mapping[str, int] = {  # by the ending of SQLite's name
    "LENGTH": MOST_VALUE_BYTES,
    "SQL_LENGTH": 1_000_000,
    "COLUMN": 2000,
    "EXPR_DEPTH": 1000,
    "COMPOUND_SELECT": 500,
    "VDBE_OP": 1_000_000,
    "FUNCTION_ARG": 127,
    "ATTACHED": 0,
    "LIKE_PATTERN_LENGTH": 200,
    "VARIABLE_NUMBER": 32_766,
    "TRIGGER_DEPTH": 10,
    "WORKER_THREADS": 0,
}
_NARROW = r"'(?:[^'%]|''|%%|%[-+ 0#!,]*\d{0,3}(?:\.\d{0,3})?[A-Za-z])*'(?=\s*[,)])"  # a format without wide places
_CALL_OF_FORMAT = re.compile(rf"\b(?:printf|format)\s*\(\s*({_NARROW})?", re.IGNORECASE)
_PLACE = re.compile(r"%[-+ 0#!,]*(\*|\d*)(?:\.(\*|\d*))?l{0,2}(.)", re.DOTALL)
_NUMBER = re.compile(r"\s*[-+]?\d*\.?\d*(?:e\d{1,3})?", re.IGNORECASE)


@contextmanager
def bounded(connection: sqlite3.Connection) -> Iterator[None]:
    """A connection under these limits; never above those that SQLite was built with."""
    numbers = {getattr(sqlite3, f"SQLITE_LIMIT_{name}"): most for name, most in LIMITS.items()}
    before = {number: connection.setlimit(number, most) for number, most in numbers.items()}
    try:
        yield
    finally:
        for number, most in before.items():
            connection.setlimit(number, most)


def has_wide_format(statement: str) -> bool:
    """Whether printf() or format() may be asked for more than 999 characters in one place: SQLite counts through them all,
    however many are too many, and then answers null."""
    return any(found[1] is None for found in _CALL_OF_FORMAT.finditer(statement))


def widest_place(form: str, values: Sequence[Any]) -> float:
    """The largest width or precision that a format asks for, with the values for it."""
    left, found = iter(values), 0.0
    for width, precision, kind in _PLACE.findall(form):
        for size in (width, precision):
            known = _NUMBER.match(str(next(left, 0)) if size == "*" else size)
            with suppress(ValueError):
                found = max(found, abs(float(known[0] if known else 0)))
        if kind not in "%n":
            next(left, None)
    return found


def add_formats(connection: sqlite3.Connection) -> None:
    """Have printf() and format() refuse what is longer than a value may be, for as long as the connection is open."""
    inner = sqlite3.connect(":memory:", check_same_thread=False)
    inner.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE_BYTES)

    def formatted(form: Any = None, *values: Any) -> Any:
        if isinstance(form, str) and widest_place(form, values) > MOST_VALUE_BYTES:
            raise OverflowError  # which SQLite gives back as TOOBIG
        marks = ", ".join("?" * (len(values) + 1))
        [(text,)] = inner.execute(f"select printf({marks})", (form, *values))
        if text is None and form:
            raise OverflowError
        return text

    for name in ("printf", "format"):
        connection.create_function(name, -1, formatted, deterministic=True)


def gathers(statement: str) -> bool:
    """Whether it calls json_group_array() or the like, whose memory no limit of SQLite bounds."""
    return "_group_" in statement.lower()


# ==== 3. SQLITE ==================================================================================================
# The rows of such a statement in SQLite, read as they are asked for.
# uses: ERRORS VALUES PROVIDERS STATEMENTS LIMITS plugin:sql_database plugin:sql_sums plugin:working
# defines: SqliteViews


_TOO_BIG = f"the query makes or reads a value of more than {MOST_VALUE_BYTES:,} bytes: have it take a part of that"
_TOO_MUCH = "the query takes too much memory: have it gather less in one value"


class SqliteViews:
    """Answers Queries for a database of SQLite: `pool` holds its connections for reading."""

    def __init__(self, database: SqliteDatabase, pool: Pool) -> None:
        self._label, self._pool = f"provider {database.name}", pool
        self._explain = partial(plugin("sql_database").explain, database)
        self._columns_of: dict[str, tuple[Any, list[str]]] = {}  # by statement, with the version of the schema

    def _give_back(self, connection: sqlite3.Connection, is_as_before: bool) -> None:
        connection.set_progress_handler(None, 0)
        self._pool.give_back(connection, reusable=is_as_before)

    def _interrupted(self, select: Select, deadline: float) -> AppError:
        if broken_off := plugin("working").reason():
            return cast(AppError, broken_off)
        if time.monotonic() > deadline:
            return QueryTimeout(f"the query took longer than {select.timeout_s:g} s")
        return TooLarge(f"{self._label}: {_TOO_MUCH}")

    @contextmanager
    def _query_errors(self, select: Select, deadline: float, is_sound: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Errors of a statement that an administrator wrote; of one that is sound they are errors of values."""
        try:
            yield
        except MemoryError as error:
            raise TooLarge(f"{self._label}: {_TOO_MUCH}") from error
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            code = sqlite_code(error)
            if code == "INTERRUPT":
                raise self._interrupted(select, deadline) from error
            if code == "TOOBIG":
                raise TooLarge(f"{self._label}: {_TOO_BIG}") from error
            if "pattern too complex" in str(error):
                raise TooLarge(f"{self._label}: a pattern of LIKE or GLOB has more than 200 bytes: shorten it") from error
            if code in ("AUTH", "READONLY") or "prohibited" in str(error):
                raise NotJustReading(f"{self._label}: the statement does more than read: {error}") from error
            if code in plugin("sql_database").SQLITE_AWAY or code == "FULL":
                raise self._explain(error, "running a query") from error
            if is_sound():
                raise unfit(self._label, select, str(error)) from error
            raise ConfigError(f"{self._label}: the statement is wrong: {error}") from error

    def select(self, select: Select) -> Rows:
        return self._select(select)

    def count_rows(self, select: Select, most: int | None = None) -> int:
        bounds: Any = {"order_by": (), "limit": most, "offset": 0, "max_rows": None}
        with closing(self._select(select._replace(**bounds), COUNT_OF)) as rows:
            return int(next(iter(rows.rows))[0])

    def facet_rows(self, select: Select, column: str, most: int) -> list[tuple[Json, int]]:
        return facet_of(self._select, select, column, most)

    def sums(self, select: Select, measures: Sequence[Measure], by: str, most: int) -> list[Sequence[Json]]:
        return cast("list[Sequence[Json]]", plugin("sql_sums").of_sqlite(self, select, measures, by, most))

    def _select(self, select: Select, around: str = "{}") -> Rows:
        """Runs the statement with what is asked of its rows, inside the statement `around`."""
        statement, names = read_statement(select.statement)
        check_params(self._label, names, select.params)
        deadline = math.inf if select.timeout_s is None else time.monotonic() + select.timeout_s
        is_sound = False  # once SQLite has read it
        with self._query_errors(select, deadline, lambda: is_sound), ExitStack() as stack:
            connection = self._pool.take()
            is_wide = has_wide_format(statement)
            stack.callback(self._give_back, connection, not is_wide)
            self._pool.in_use[connection] = time.monotonic(), f"reading rows of {select.statement[:60]!r}"
            stack.enter_context(bounded(connection))
            if is_wide:
                add_formats(connection)
            breakable = plugin("working").breakable
            stack.enter_context(breakable(connection.interrupt, deadline, gathers=gathers(statement)))
            if select.timeout_s is not None:
                connection.set_progress_handler(lambda: time.monotonic() > deadline, 5000)
            try:
                composed, values = self._composed(connection, select, statement)
                is_sound = True
                cursor = connection.execute(around.format(composed), values)
            except UnicodeDecodeError:  # the name of a column, which would not reach the authorizer
                connection.set_authorizer(None)
                stack.callback(connection.set_authorizer, sqlite_authorize)
                composed, values = self._composed(connection, select, self._renamed(connection, select, statement))
                cursor = connection.execute(around.format(composed), values)
            stack.callback(cursor.close)
            if cursor.description is None:
                raise ConfigError(f"{self._label}: the statement gives no rows: a view is one SELECT")
            done = stack.pop_all().close
        columns = tuple(column[0] for column in cursor.description)
        return Rows(columns, self._stream(cursor, select, deadline, done), done)

    def _composed(self, connection: sqlite3.Connection, select: Select, statement: str) -> tuple[str, dict[str, Json]]:
        """The statement with what is asked of its rows, and the values for it."""
        composed = SqlSelect(select, statement, self._columns(connection, select, statement))
        return composed.sql, {name: bindable(value) for name, value in composed.values.items()}

    def _columns(self, connection: sqlite3.Connection, select: Select, statement: str) -> Sequence[str]:
        """The statement's columns, remembered as long as the schema stays the same."""
        version = connection.execute("pragma schema_version").fetchone()
        known = self._columns_of.get(statement)
        if known is None or known[0] != version:
            bound = {name: bindable(value) for name, value in select.params.items()}
            found = connection.execute(f"select * from (\n{statement}\n) limit 0", bound)  # noqa: S608
            known = self._columns_of[statement] = version, [column[0] for column in found.description]
        return known[1]

    def _renamed(self, connection: sqlite3.Connection, select: Select, statement: str) -> str:
        """The statement with columns called column_1, column_2…, because the name of one of its own is not UTF-8.

        Where it stands in the new statement, it can only be a select.
        """
        bound = {name: bindable(value) for name, value in select.params.items()}
        begin = f"with satchel_renamed({{}}) as (\n{statement}\n) select "
        count = 1
        try:
            connection.execute(begin.format("column_1") + "1 from satchel_renamed limit 0", bound)
        except sqlite3.OperationalError as error:
            found = re.search(r"has ([0-9]+) values for", str(error))
            count = int(found[1]) if found else 1
        words = "%s: a view has a column whose name is not UTF-8: its columns are called column_1, column_2 …"
        LOG.warning(words, self._label)
        names = [f"column_{number + 1}" for number in range(count)]
        columns = ", ".join(f"{name} as {name}" for name in names)  # else SQLite may go on with the names of the table
        return begin.format(", ".join(names)) + columns + " from satchel_renamed"

    def _stream(
        self, cursor: sqlite3.Cursor, select: Select, deadline: float, done: Callable[[], None]
    ) -> Iterator[Sequence[Json]]:
        left = math.inf if select.max_rows is None else select.max_rows
        try:
            with self._query_errors(select, deadline):
                for number, row in enumerate(cursor):  # one by one: a row can have any size
                    if number % 500 == 0 and time.monotonic() > deadline:
                        raise self._interrupted(select, deadline)
                    if number >= left:
                        raise TooLarge(f"the query gives more than {select.max_rows:,} rows: narrow it")
                    odd = [
                        one for one in row if type(one) is bytes or (type(one) is float and not -math.inf < one < math.inf)
                    ]
                    yield tuple(map(plain_cell, row)) if odd else row
        finally:
            done()
