"""Records, files and views in PostgreSQL 13 or newer, by the pure-Python driver pg8000.

A table of records has the columns key, version, data (jsonb, for SQL) and exact: the JSON text as it was written, because
jsonb keeps neither the order of members nor an exponent. `exact` comes back while `data` says the same; when somebody
changes `data` by SQL, `data` is what counts. What is ordered and filtered by is _sort_key(data->'field'), a function beside
the tables that makes app.sort_key's text, with an index on its beginning for declared fields; of date-times _moment_key.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import re
import selectors
import socket
import struct
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import app
from app import ConfigError, Fault, Json, Record, Setting, Unavailable, quote_name

if TYPE_CHECKING:
    import ssl

    from plugins import postgres_groups, postgres_joins, sql_facets, sql_files, sql_records, sql_sums, sql_views
else:
    sql_files, sql_records, sql_views = map(app.plugin, ("sql_files", "sql_records", "sql_views"))
    postgres_groups, postgres_joins, sql_sums = map(app.plugin, ("postgres_groups", "postgres_joins", "sql_sums"))
    sql_facets = app.plugin("sql_facets")

# ==== 1. SERVER ==================================================================================================
# What Satchel makes in a database, where the server is, what its errors mean, and connections to it.
# uses: ERRORS VALUES CONFIG PROVIDERS plugin:postgres_bounds plugin:sql_views plugin:working
# defines: Step Steps KEY_LETTERS DESCRIBED_S MOST_DESCRIBED ROWS_AT_FIRST ROWS_AT_MOST ROWS_LETTERS OLDEST TRIES
#          KEEP_ALIVE TLS_MODES BLOB_TABLES SORT_KEY MOMENT_KEY FUNCTIONS RECORDS_TABLE BLOBS_SCHEMA TABLES EXACT
#          FAULTS fault_of Target read_url Lost causes tls_context reach bytes_cell number_cell json_cell moment_cell
#          CELLS TEXT NUMBERS TEXTS written array positional numbered Answer Link LimitedPool

_Result = TypeVar("_Result")
Step: TypeAlias = tuple[str, Sequence[Json]]  # a statement with $1, $2… and their values
Steps: TypeAlias = Sequence[Step]

KEY_LETTERS = 200  # of a sort key in an index: a row of a B-tree holds 2,704 bytes, and a letter may take 4
DESCRIBED_S, MOST_DESCRIBED = 60, 1000  # how long the columns of a view's statement count as known, and of how many
ROWS_AT_FIRST, ROWS_AT_MOST, ROWS_LETTERS = 50, 500, 1_000_000  # of a view's answer at once
OLDEST = 13  # incremental sorting, normalize()
TRIES = 20  # of a transaction that gave way to another; each time that one has got on
KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}  # seconds, of a server that vanished in a query
TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
BLOB_TABLES = ("_blobs", "_chunks", "_loose")

SORT_KEY = """
create function {schema}._sort_key(value jsonb) returns text language plpgsql immutable parallel safe as $body$
declare
    plain text := value #>> '{{}}';
    digits text;
    power bigint;
begin
    case jsonb_typeof(value)
        when 'string' then return 't' || plain;
        when 'boolean' then return case plain when 'true' then 'b1' else 'b0' end;
        when 'array', 'object' then return 'z';
        when 'number' then
            digits := ltrim(replace(ltrim(plain, '-'), '.', ''), '0');
            if digits = '' then return 'n1'; end if;
            power := length(split_part(ltrim(plain, '-'), '.', 1)) - 1
                - (length(replace(ltrim(plain, '-'), '.', '')) - length(digits));
            digits := rtrim(digits, '0');
            if plain like '-%' then
                return 'n0' || lpad((1000000000000000000 - power)::text, 19, '0')
                    || translate(digits, '0123456789', '9876543210') || '~';
            end if;
            return 'n2' || lpad((1000000000000000000 + power)::text, 19, '0') || digits;
        else return '';
    end case;
end $body$
"""
"""app.sort_key of a jsonb value; a missing one is null."""

MOMENT_KEY = r"""
create function {schema}._moment_key(value jsonb) returns text language plpgsql immutable parallel safe as $body$
declare
    part text[];
    year int; month int; day int; days int;
begin
    if jsonb_typeof(value) = 'string' then
        part := regexp_match(value #>> '{{}}', '^([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})[Tt ]([01][0-9]|2[0-3]):([0-5][0-9])'
            ':([0-5][0-9])(?:[.]([0-9]+))?(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))$');
    end if;
    if part is null then return {schema}._sort_key(value); end if;
    year := part[1]; month := part[2]; day := part[3];
    if year = 0 or month = 0 or month > 12 or day = 0 then return {schema}._sort_key(value); end if;
    days := case when month in (4, 6, 9, 11) then 30 when month <> 2 then 31
        when year % 4 = 0 and (year % 100 <> 0 or year % 400 = 0) then 29 else 28 end;
    if day > days then return {schema}._sort_key(value); end if;
    return 'i' || lpad(((make_date(year, month, day) - make_date(1, 1, 1) + 1)::bigint * 86400
        + part[4]::int * 3600 + part[5]::int * 60 + part[6]::int
        - coalesce((part[8] || '1')::int * (part[9]::int * 3600 + part[10]::int * 60), 0))::text, 12, '0')
        || rtrim(coalesce(part[7], ''), '0');
end $body$
"""
"""app.text_key of a jsonb text, and app.sort_key of every other value."""
FUNCTIONS = {"_sort_key": SORT_KEY, "_moment_key": MOMENT_KEY}

RECORDS_TABLE = (
    'create table if not exists {} (key text collate "C" primary key, version bigint not null,'
    " data jsonb not null, exact text not null)"
)
BLOBS_SCHEMA = (
    'create table if not exists {schema}._blobs (path text collate "C" primary key, parent text collate "C" not null,'
    " content text, size_bytes bigint not null, modified_at float8 not null)",
    "create index if not exists _blobs_parent on {schema}._blobs (parent, path)",
    "create table if not exists {schema}._chunks (content text not null, number bigint not null, bytes bytea not null,"
    " primary key (content, number))",
    "alter table {schema}._chunks alter bytes set storage external",
    "create table if not exists {schema}._loose (content text primary key, size_bytes bigint not null,"
    " expires_at float8 not null)",
)
TABLES = (
    "select c.relname, c.relkind, '{key,version,data,exact}' = (select array_agg(a.attname order by a.attnum)"
    " from pg_attribute a where a.attrelid = c.oid and a.attnum between 1 and 4)"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = ? and c.relkind in ('r', 'p', 'v', 'm', 'f')"
)
"""Name and kind of a schema's tables and views, and whether the columns are those of records."""
EXACT = "case when exact::jsonb = data then exact else data::text end"

FAULTS = {
    "28": (Unavailable, "the server refused the account", "check user and password, and the server's pg_hba.conf"),
    "3D": (Unavailable, "there is no such database", "check the name in the url, or create it: createdb NAME"),
    "53100": (app.StorageFull, "the server's disk is full", "make room on the server"),
    "53300": (Unavailable, "the server has no free connections", "lower `connections`, or raise its max_connections"),
    "53": (Unavailable, "the server is out of memory or another resource", "see the server's log"),
    "57014": (Unavailable, "the server took too long", "raise `timeout`, or see what it waits for in pg_stat_activity"),
    "57": (Unavailable, "the server is starting or stopping", "see the server's log"),
    "55": (Unavailable, "something that it needs is in use", "see pg_locks for what holds it"),
    "40": (Unavailable, "too many others write the same", "try again"),
    "25006": (Unavailable, "the server only reads", "is it a standby? The url must name the primary"),
    "42501": (
        app.NotPermitted,
        "the account lacks a right",
        "grant it usage and create on the schema, and all on its tables",
    ),
    "42": (ConfigError, "the tables are not as Satchel makes them", "did somebody change or drop them?"),
    "3F": (ConfigError, "there is no such schema, and the account may not create it", "create schema NAME"),
    "54": (app.TooLarge, "a value is larger than PostgreSQL stores", ""),
    "22003": (app.Invalid, "a number has more digits than jsonb stores: 131,072 before the point, 16,383 behind", ""),
}
"""By the beginning of the SQLSTATE, the longest first that fits: what everybody may read, and what helps the operator."""


def fault_of(state: str) -> tuple[type[app.AppError], str, str]:
    """The entry of FAULTS for an SQLSTATE."""
    for length in (5, 2):
        if state[:length] in FAULTS:
            return FAULTS[state[:length]]
    return Unavailable, "the database failed", "see the server's log"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where the server is and how to get in; `host` beginning with "/" is the folder of its Unix socket."""

    host: str
    port: int
    user: str
    database: str
    password: str = dataclasses.field(repr=False)
    tls: str
    tls_ca: Path | None
    connect_timeout_s: float

    @property
    def is_local(self) -> bool:
        return self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")


def read_url(url: str, *, secret: bool) -> dict[str, Any]:
    """The parts of postgresql://user@host:port/database?sslmode=…; ValueError says what is wrong with it.
    A password may stand in it only if the url itself was given as a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must be postgresql://user@host:port/database")
    if parts.password is not None and not secret:
        raise ValueError('holds a password: take it out and say password = "env:NAME" or "file:PATH"')
    try:
        port = parts.port or 5432
    except ValueError:
        raise ValueError("has a port that is no number below 65536") from None
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in asked:
        if name not in ("host", "sslmode"):
            raise ValueError(f"has the parameter {name}, which is not supported{app.nearest(name, ('host', 'sslmode'))}")
    found = {
        "host": asked.get("host") or unquote(parts.hostname or ""),
        "port": port,
        "user": unquote(parts.username or ""),
        "database": unquote(parts.path.removeprefix("/")) or unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "tls": asked.get("sslmode", "prefer"),
    }
    for name in ("user", "host"):
        if not found[name]:
            raise ValueError(f"names no {name}: postgresql://user@host:port/database, or ?host=/folder of a Unix socket")
    if found["tls"] not in TLS_MODES:
        raise ValueError(f"has sslmode={found['tls']}: it can be {', '.join(TLS_MODES)}")
    return found


class Lost(Exception):
    """The connection broke: what was asked may have been done or not."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The errors that an error was raised from or while handling, the nearest first."""
    while before := error.__cause__ or error.__context__:
        yield before
        error = before


def tls_context(target: Target) -> ssl.SSLContext:
    """As libpq has it: require encrypts and asks nobody, verify-ca checks the signer, verify-full the name too."""
    import ssl

    context = ssl.create_default_context(cafile=str(target.tls_ca) if target.tls_ca else None)
    verifies = target.tls.startswith("verify") or (target.tls == "require" and target.tls_ca)
    context.check_hostname = target.tls == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    return context


def reach(target: Target) -> socket.socket:
    """A connected socket, encrypted as the mode wants; OSError."""
    if target.host.startswith("/"):
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(target.connect_timeout_s)
        try:
            plain.connect(f"{target.host}/.s.PGSQL.{target.port}")
        except BaseException:
            plain.close()
            raise
        return plain
    plain = socket.create_connection((target.host, target.port), target.connect_timeout_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if target.tls == "disable":
            return plain
        plain.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
        if plain.recv(1) == b"S":
            return tls_context(target).wrap_socket(plain, server_hostname=target.host)
        if target.tls != "prefer":
            raise ConnectionError(f"the server has no TLS, and sslmode is {target.tls}")
    except BaseException:
        plain.close()
        raise
    return plain


def bytes_cell(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def number_cell(text: str) -> Json:
    """An integer where it is one, else exact; NaN and infinities are text."""
    if text in ("NaN", "Infinity", "-Infinity"):
        return text
    return app.exact_number(text) if "." in text or len(text) > 400 else int(text)


def json_cell(text: str) -> Json:
    """Parsed, or as it is: the type json may hold a name twice, and numbers of any length."""
    try:
        return app.whole_texts(app.load_json(text)) if "\\u" in text else app.load_json(text)
    except app.BadRequest:
        return text


def moment_cell(text: str) -> str:
    """ISO 8601; the connection's time zone is UTC."""
    return text.replace(" ", "T", 1).replace("+00", "Z")


CELLS: dict[int, Callable[[str], Json]] = {
    16: lambda text: text == "t",
    17: bytes_cell,
    20: int,
    21: int,
    23: int,
    26: int,
    114: json_cell,
    700: float,
    701: float,
    1114: moment_cell,
    1184: moment_cell,
    1700: number_cell,
    3802: json_cell,
}
"""By the type's OID in pg_type, what its text means; all others, such as dates and UUIDs, are that text."""

TEXT = 25
NUMBERS, TEXTS = frozenset({20, 21, 23, 26, 700, 701, 1700}), frozenset({19, TEXT, 705, 1042, 1043})


def written(value: Json) -> str | None:
    """A parameter as PostgreSQL reads it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return app.dump_json(value) if isinstance(value, list | dict) else str(value)


def array(values: Iterable[Any]) -> str:
    """Texts and numbers as an array that PostgreSQL reads."""
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


@functools.lru_cache(maxsize=500)
def positional(sql: str, apart: bool) -> tuple[str, tuple[str, ...]]:
    """A statement with $1, $2… in place of its :names, and the name of each; `apart`: another number at every place."""
    names: list[str] = []

    def place(token: Any) -> str:
        name = token["name"]
        if not name:
            return str(token[0])
        if apart or name not in names:
            names.append(name)
        return f"${len(names) if apart else names.index(name) + 1}"

    return sql_views.SQL_TOKENS.sub(place, sql), tuple(names)


@functools.lru_cache(maxsize=500)
def numbered(sql: str) -> str:
    """A statement of ours with $1, $2… in place of "?", which occurs in none of its texts."""
    pieces = sql.split("?")
    return pieces[0] + "".join(f"${number}{piece}" for number, piece in enumerate(pieces[1:], 1))


@dataclasses.dataclass(slots=True)
class Answer:
    """What statements gave: rows of all of them, the columns of the last, and how many rows were touched."""

    rows: list[list[Json]]
    columns: list[dict[str, Any]]
    rowcount: int

    def fetchone(self) -> list[Json] | None:
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[list[Json]]:
        return self.rows


class Link:
    """One connection, used by one thread at a time. The driver's errors leave it as they are, or as Lost."""

    def __init__(self, target: Target, settings: Mapping[str, str]) -> None:
        from pg8000 import core, exceptions

        self._core, self._exceptions = core, exceptions
        self.is_broken = False
        self._socket = reach(target)
        try:
            with self._driver():
                self._driven = core.CoreConnection(
                    user=target.user, password=target.password, host=target.host, database=target.database,
                    sock=self._socket, ssl_context=False, application_name="satchel",
                )  # fmt: skip
                self._driven.pg_types = defaultdict(lambda: str, CELLS)
                self._driven.execute_simple("; ".join(f"set {name} = {value}" for name, value in settings.items()))
                self._give_up = app.plugin("postgres_bounds").bound(self._driven, self._socket, lambda: reach(target))
        except BaseException:
            self._socket.close()
            raise
        self._selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        self._selector.register(self._socket, selectors.EVENT_READ)

    @contextmanager
    def _driver(self) -> Iterator[None]:
        """Whatever breaks the protocol breaks the connection."""
        try:
            yield
        except self._exceptions.DatabaseError:
            raise
        except (self._exceptions.InterfaceError, OSError, struct.error, ValueError, AttributeError) as error:
            self.is_broken = True
            for before in causes(error):
                if isinstance(before, self._exceptions.DatabaseError):  # what the server said when it hung up
                    raise before from None
            raise Lost(str(error)) from error
        except BaseException:
            self.is_broken = True
            raise

    def fact(self, name: str) -> str:
        """What the server said of itself at the beginning, such as server_version."""
        return str(self._driven.parameter_statuses.get(name, ""))

    def is_fresh(self) -> bool:
        """Whether an idle connection is still there: one that the server has closed can be read from."""
        return not self.is_broken and not self._selector.select(0)

    def wait_at_most(self, timeout_s: float | None) -> None:
        """How long an answer may take before the connection counts as lost."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        self.is_broken = True
        with suppress(Exception):  # it may be closed already, or be out of order
            self._driven.close()
        self._selector.close()
        self._socket.close()

    def execute(self, sql: str, values: Sequence[Json] = (), /) -> Answer:
        """One statement with "?" for its values."""
        return self.run((numbered(sql), values))

    def run(self, *steps: Step) -> Answer:
        """Statements with $1, $2… in one round trip; the first that fails is the last that runs."""
        context = self._core.Context(steps[0][0])  # the driver expects that what follows a failure is a rollback
        with self._driver():
            for sql, values in steps:
                self._driven.send_PARSE(b"\0", sql)
                self._send_run(b"", values, 0)
            self._finish(context)
        return Answer(context.rows or [], context.columns or [], max(context.row_count, 0))

    def describe(self, sql: str, types: Sequence[int], *before: str) -> list[dict[str, Any]]:
        """Run what comes before, parse the statement, and answer its columns; [] if it gives no rows."""
        context = self._core.Context(sql)
        with self._driver():
            self._send_steps(before)
            self._driven.send_PARSE(b"\0", sql, types)
            self._driven.send_DESCRIBE_STATEMENT(b"\0")
            self._finish(context)
        return context.columns or []

    def start(self, sql: str, values: Sequence[Json], types: Sequence[int], *before: str) -> Answer:
        """Run what comes before, and a statement up to its first rows; inside a transaction."""
        context = self._core.Context(sql)
        with self._driver():
            self._send_steps(before, describe=False)
            self._driven.send_PARSE(b"\0", sql, types)
            self._send_run(b"rows", values, ROWS_AT_FIRST)
            self._finish(context)
        return Answer(context.rows or [], context.columns or [], 0)

    def more(self, answer: Answer, most: int, before: str) -> list[list[Json]]:
        """The next rows of what was started, after a statement that comes before."""
        context = self._core.Context(before, columns=answer.columns)
        context.input_funcs = [self._driven.pg_types[column["type_oid"]] for column in answer.columns]
        with self._driver():
            self._send_steps([before], describe=False)
            self._send(b"E", b"rows\0" + struct.pack("!i", most))
            self._finish(context)
        return list(context.rows or [])

    def _send_steps(self, statements: Iterable[str], *, describe: bool = True) -> None:
        for statement in statements:
            self._driven.send_PARSE(b"\0", statement)
            self._send_run(b"", (), 0, describe=describe)

    def _send_run(self, portal: bytes, values: Sequence[Json], most: int, *, describe: bool = True) -> None:
        """Bind the statement parsed last to a portal and run it."""
        data = [portal, b"\0\0", struct.pack("!HH", 0, len(values))]
        for text in map(written, values):
            encoded = b"" if text is None else text.encode()
            data += [struct.pack("!i", -1 if text is None else len(encoded)), encoded]
        self._send(b"B", b"".join(data) + b"\0\0")
        if describe:
            self._send(b"D", b"P" + portal + b"\0")
        self._send(b"E", portal + b"\0" + struct.pack("!i", most))

    def _send(self, code: bytes, data: bytes) -> None:
        self._driven._send_message(code, data)

    def _finish(self, context: Any) -> None:
        """Ask for the answers and read them."""
        self._send(b"S", b"")
        self._core._flush(self._driven._sock)
        with app.plugin("working").breakable(self._give_up):
            self._driven.handle_messages(context)


class LimitedPool(app.Pool):
    """At most `limit` connections, for which callers wait up to wait_s; an answer may take patience_s."""

    def __init__(self, label: str, connect: Callable[[], Link], limit: int, wait_s: float, patience_s: float) -> None:
        super().__init__(label, connect, keep=limit, is_alive=Link.is_fresh)
        self._limit, self._wait_s, self._patience_s = limit, wait_s, patience_s
        self._free = threading.BoundedSemaphore(limit)

    def take(self) -> Link:
        """Unavailable if none gets free in time."""
        if not self._free.acquire(timeout=self._wait_s):
            hint = "raise `connections`, or see which exports and uploads hold them"
            raise Unavailable(f"{self._label}: all {self._limit} connections are in use", hint=hint)
        try:
            link: Link = super().take()
        except BaseException:
            self._free.release()
            raise
        link.wait_at_most(self._patience_s)
        return link

    def give_back(self, connection: Link, *, reusable: bool = True) -> None:
        super().give_back(connection, reusable=reusable and not connection.is_broken)
        self._free.release()


# ==== 2. SQL =====================================================================================================
# Queries and views in the words of PostgreSQL, and the rows of a view as they are read.
# uses: ERRORS VALUES PROVIDERS SERVER plugin:postgres_joins plugin:postgres_times plugin:sql_facets
#       plugin:sql_records plugin:sql_views
# defines: folds folded literal field_of PostgresQuery PostgresSelect type_of told_apart Description Descriptions
#          Stream milliseconds too_long roll_back state_of facts_of


@functools.cache
def folds() -> str:
    """A JSON object of what each letter becomes when its case does not count."""
    letters = (chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n < 0xE000)
    return json.dumps({c: c.casefold() for c in letters if c.casefold() != c}, ensure_ascii=False)


def folded(text: str, bound: str) -> str:
    """SQL for app.fold_case of a text; `bound` stands for folds()."""
    split = "regexp_split_to_table(normalize(whole, nfd), '') with ordinality as letters(letter, place)"
    changed = f"coalesce(cast({bound} as jsonb)->>letter, letter)"
    letters = f"select string_agg({changed}, '' order by place) from {split}"  # noqa: S608
    whole = f"select {text} as whole offset 0"
    cases = f'when octet_length(whole) = length(whole) then lower(whole collate "C") else normalize(({letters}), nfc)'
    return f"(select case {cases} end from ({whole}) as one)"  # noqa: S608


def literal(text: str) -> str:
    """A text constant."""
    return "'" + text.replace("'", "''") + "'"


def field_of(schema: str, name: str, instant: bool) -> str:
    """A record's field as its sort key (see app.value_key); an index is made on its beginning."""
    value = "null" if app.check_text(name) else f"data->{literal(name)}"
    return f'({quote_name(schema)}.{"_moment_key" if instant else "_sort_key"}({value}) collate "C")'


class PostgresQuery(sql_records.SqlQuery):
    """Over a table of PostgreSQL. What is asked of a field is also asked of its beginning, which may have an index."""

    position = "strpos"

    def __init__(self, compiled: app.CompiledQuery, table: str, schema: str) -> None:
        self._schema = schema
        super().__init__(compiled, table)

    def _field(self, name: str, instant: bool) -> str:
        if name == "id":
            return "('t' || key)"
        if name == "version":
            return f'({quote_name(self._schema)}._sort_key(to_jsonb(version)) collate "C")'
        return postgres_joins.field(self, name, instant) or field_of(self._schema, name, instant)

    def _items(self, name: str) -> tuple[str, str]:
        return sql_facets.postgres_items(self._schema, "null::jsonb" if app.check_text(name) else f"data->{literal(name)}")

    def _bind(self, value: Json) -> str:
        placeholder = f"${len(self.values) + 1}"
        self.values[placeholder] = value
        return f"cast({placeholder} as {'bigint' if isinstance(value, int) else 'text'})"

    def _search(self, names: Collection[str], text: str) -> str:
        bound = self._bind(text) if names else ""
        tests = [self._holds_folded(self._column(name, False), bound) for name in names]
        return f"({' or '.join(tests) or '1 = 0'})"

    def _holds_folded(self, column: str, bound: str) -> str:
        return f"({column} like 't%' and strpos({folded(f'substr({column}, 2)', self._bind(folds()))}, {bound}) > 0)"

    def _order(self, column: str, descends: bool) -> str:
        terms = [column] if column == "key" else [f"left({column}, {KEY_LETTERS})", column]
        return ", ".join(term + (" desc" if descends else "") for term in terms)

    def _condition(self, condition: app.Condition) -> str:
        instant = app.is_instant(self.compiled.query, condition)
        whole, (op, keys) = super()._condition(condition), app.key_rule(condition, instant)
        sign = {"in": "=", "prefix": ">=", "gt": ">=", "gte": ">=", "lt": "<=", "lte": "<="}.get(op, "")
        if not sign or not keys or condition.field in ("id", "version"):
            return whole
        start = f"left({self._column(condition.field, instant)}, {KEY_LETTERS})"
        bounds = ", ".join(self._bind(key[:KEY_LETTERS]) for key in keys)
        return f"({start} in ({bounds}) and {whole})" if op == "in" else f"({start} {sign} {bounds} and {whole})"

    def _behind(self, terms: Sequence[tuple[str, bool]]) -> str:
        behind = super()._behind(terms)
        if not behind or len(terms) == 1:
            return behind
        (column, descends), place = terms[0], self.compiled.after[0]
        sign = "<=" if descends else ">="
        return f"(left({column}, {KEY_LETTERS}) {sign} {self._bind(place[:KEY_LETTERS])} and {behind})"


class PostgresSelect(sql_views.SqlSelect):
    """Round a statement of PostgreSQL, whose columns have types: a value of another type compares with none of them."""

    position = "strpos"

    def __init__(self, select: app.Select, statement: str, types: Mapping[str, int]) -> None:
        self._types = types
        super().__init__(select, statement, types)

    def _sorted(self, name: str) -> str:
        is_text = self._types[name] in TEXTS or self._types[name] not in (*NUMBERS, *CELLS, 1082, 1083, 2950)
        return f'{self._text(name)} collate "C"' if is_text or self._types[name] in (114, 3802) else quote_name(name)

    def _compared(self, name: str) -> str:
        return quote_name(name) if self._types[name] in (16, *NUMBERS) else f'{self._text(name)} collate "C"'

    def _comparable(self, name: str, value: Json) -> bool:
        is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        if self._types[name] in NUMBERS:
            return is_number
        return isinstance(value, bool if self._types[name] == 16 else str)

    def _test(self, condition: app.Condition) -> str:
        """Date-times are moments to a timestamptz; any other text is compared with the cell as it is shown."""
        return app.plugin("postgres_times").of_moments(self, condition) or super()._test(condition)

    def _test_moment(self, name: str, sign: str, moment: Any) -> str:
        return str(app.plugin("postgres_times").compared(self, name, sign, moment))

    def _text(self, name: str) -> str:
        """As the cell is shown."""
        column, type_ = quote_name(name), self._types[name]
        if type_ == 17:
            return f"translate(encode({column}, 'base64'), e'\\n', '')"
        text = f"cast({column} as text)"
        return f"replace(replace({text}, ' ', 'T'), '+00', 'Z')" if type_ in (1114, 1184) else text

    _holds_any = sql_views.SqlSelect._holds_each

    def _holds_folded(self, name: str, bound: str) -> str:
        return f"strpos({folded(self._text(name), self._bind(folds()))}, {bound}) > 0"


def type_of(value: Json) -> int:
    """The OID of a parameter's type; 0 lets the server tell it from where it stands."""
    if isinstance(value, bool):
        return 16
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return 23 if -(2**31) <= value < 2**31 else 20
    return 1700 if isinstance(value, int | float | Decimal) else 0


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, a repeated one with its number behind it as SQLite does it: a, a:1."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        number = seen[name] = seen.get(name, -1) + 1
        found.append(f"{name}:{number}" if number else name)
    return tuple(found)


class Description(NamedTuple):
    """What the server says of a statement: its columns, the types of its parameters, and whether each place of a parameter
    has its own number."""

    columns: list[dict[str, Any]]
    types: list[int]
    apart: bool


class Descriptions:
    """Those of the statements of views, each kept for DESCRIBED_S: what they read may be given other columns."""

    def __init__(self, clock: app.Clock = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Any, tuple[float, Description]] = {}

    def get(self, key: Any) -> Description | None:
        until, found = self._kept.get(key, (0.0, None))
        return found if self._clock() < until else None

    def keep(self, key: Any, found: Description) -> None:
        if len(self._kept) >= MOST_DESCRIBED:
            self._kept.clear()
        self._kept[key] = self._clock() + DESCRIBED_S, found

    def forget(self, key: Any) -> None:
        self._kept.pop(key, None)


class Stream:
    """One statement and its rows, on a connection of its own in a transaction that can only read, rolled back at the end."""

    def __init__(
        self, pool: LimitedPool, who: str, select: app.Select, descriptions: Descriptions, errors: Callable[[], Any]
    ) -> None:
        self._pool, self._who, self._select, self._errors = pool, who, select, errors
        self._descriptions = descriptions
        self._deadline = math.inf if select.timeout_s is None else time.monotonic() + select.timeout_s
        self._link: Link | None = pool.take()
        self._link.wait_at_most(None if select.timeout_s is None else select.timeout_s + 5)

    def close(self) -> None:
        """Give the connection back; idempotent."""
        link, self._link = self._link, None
        if link:
            roll_back(link, "select pg_advisory_unlock_all()")
            self._pool.give_back(link)

    def begin(self, statement: str, around: str = "{}") -> Answer:
        """Its first rows, or those of the statement `around` it; ConfigError if it gives none."""
        link = self._need()
        key = statement, tuple((name, type_of(value)) for name, value in sorted(self._select.params.items()))
        if kept := self._descriptions.get(key):
            try:
                return self._start(link, statement, around, kept, "begin read only", self._limit())
            except Exception as error:
                self._descriptions.forget(key)
                if state_of(error)[:2] != "42":  # else what it reads was changed meanwhile
                    raise
            roll_back(link)
        found = self._described(link, statement)
        if not found.columns:
            raise ConfigError(f"{self._who}: the statement gives no rows: a view is one select")
        self._descriptions.keep(key, found)
        return self._start(link, statement, around, found)

    def _start(self, link: Link, statement: str, around: str, description: Description, *before: str) -> Answer:
        """The same with its description, after statements that come before."""
        wrapped = PostgresSelect(self._select, statement, {c["name"]: c["type_oid"] for c in description.columns})
        values, types = wrapped.values, description.types
        sql, places = positional(around.format(wrapped.sql), description.apart)
        types = [*types, *(type_of(values[name]) or TEXT for name in places[len(types) :])]  # behind those of the statement
        return link.start(sql, [values[name] for name in places], types, *before)

    def _described(self, link: Link, statement: str) -> Description:
        """What the server says of a statement, in the transaction that it is run in. A place of a parameter has its own
        number where one number gets no type, such as in ":day is null or day = :day"; what still has none is a text."""
        apart, known = False, dict[int, int]()
        while True:
            sql, names = positional(statement, apart)
            types = [known.get(place, type_of(self._select.params[name])) for place, name in enumerate(names)]
            try:
                columns = link.describe(sql, types, "begin read only", self._limit())
                return Description(columns, types, apart)
            except Exception as error:
                found = re.search(r"\$(\d+)", facts_of(error).get("M", ""))
                if state_of(error) not in ("42P08", "42P18") or not found or int(found[1]) - 1 in known:
                    raise
                if apart:
                    known[int(found[1]) - 1] = TEXT
                apart = True
            roll_back(link)

    def _limit(self) -> str:
        """A statement after which the server gives up when the time is over."""
        left = 0 if self._deadline == math.inf else milliseconds(self._deadline - time.monotonic())
        return f"set local statement_timeout = {left}"

    def _need(self) -> Link:
        if self._link is None:
            raise Unavailable(f"{self._who}: the rows were closed")
        return self._link

    def rows(self, answer: Answer) -> Iterator[Sequence[Json]]:
        left = math.inf if self._select.max_rows is None else self._select.max_rows
        batch, most = answer.rows, ROWS_AT_FIRST
        try:
            while batch:
                for row in batch:
                    if (left := left - 1) < 0:
                        raise app.TooLarge(f"the query gives more than {self._select.max_rows:,} rows: narrow it")
                    yield tuple(map(app.plain_cell, row))
                if len(batch) < most:
                    return
                letters = sum(len(cell) for row in batch for cell in row if isinstance(cell, str | bytes))
                most = max(1, min(ROWS_AT_MOST, ROWS_LETTERS * len(batch) // (letters + 1)))
                with self._errors():
                    if time.monotonic() > self._deadline:
                        raise too_long(self._select)
                    batch = self._need().more(answer, most, self._limit())
        finally:
            self.close()


def milliseconds(seconds: float) -> int:
    """A limit as the server takes it; 0 would be none."""
    return max(1, min(2**31 - 1, math.ceil(seconds * 1000)))


def too_long(select: app.Select) -> app.QueryTimeout:
    return app.QueryTimeout(f"the query took longer than {select.timeout_s:g} s")


def roll_back(link: Link, *after: str) -> None:
    """End a transaction without it; where that fails the connection is not used again."""
    try:
        if not link.is_broken:
            link.run(("rollback", ()), *((step, ()) for step in after))
    except Exception:  # the error that led here counts
        link.is_broken = True


def state_of(error: Exception) -> str:
    """The SQLSTATE of a driver's error; "" if it has none."""
    return str(facts_of(error).get("C", ""))


def facts_of(error: Exception) -> Mapping[str, str]:
    """What the server said in an error, by the letters of its protocol; nothing if it is not the server's."""
    return error.args[0] if error.args and isinstance(error.args[0], dict) else {}


# ==== 3. POSTGRES ================================================================================================
# The provider: its connections and transactions, its tables, and records, blobs and views on them.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS SERVER SQL plugin:postgres_groups plugin:postgres_joins
#       plugin:postgres_moment plugin:sql_facets plugin:sql_files plugin:sql_sums plugin:sql_views
# defines: Provider:postgres PostgresDatabase PostgresTables PostgresProvider


class PostgresDatabase(app.Provider):
    """The connections to a PostgreSQL database, its transactions, and what its errors mean."""

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path, *, clock: app.Clock = time.time) -> None:
        self.name, self.clock = name, clock
        given = {s.name: options[s.name] if s.name in options else self._default(s, folder) for s in self.settings}
        self._schema, self._timeout_s = given["schema"], given["timeout"]
        if not self._schema or len(self._schema.encode()) > 63 or app.check_text(self._schema):
            raise self._fault("schema", "must be a name of 1 to 63 bytes")
        try:
            self._target = self._read_target(given, folder)
        except ValueError as error:
            raise self._fault("url", str(error)) from None
        waits = given["connect_timeout"], self._timeout_s + 5  # the server is to say first that it took too long
        self._pool = LimitedPool(f"provider {name}", self._connected, given["connections"], *waits)
        self._descriptions = Descriptions()
        self._tables: set[str] = set()  # known to be there and to be ours
        self._fields: dict[str, dict[str, str]] = {}  # worth an index, and their format
        self._unprepared: set[str] = set()
        self._blobs_made = False
        self._unindexed = ""  # why indexes are missing
        self._functions: set[str] = set()  # known to be there
        self._unmade = ""  # why functions are missing

    @staticmethod
    def _default(one: Setting, folder: Path) -> Any:
        return None if one.default is app.REQUIRED else one.read(one.default, folder)

    def _fault(self, setting: str, detail: str) -> ConfigError:
        faults = [Fault(f"providers.{self.name}.{setting}", setting, detail)]
        return ConfigError(f"provider {self.name}: {setting} {detail}", faults=faults)

    @staticmethod
    def _read_target(given: Mapping[str, Any], folder: Path) -> Target:
        url = given["url"] or ""
        secret = url.partition(":")[0] in ("env", "file")
        parts = read_url(app.CONVERTERS["secret"](url, folder) if secret else url, secret=secret)
        parts["password"] = given["password"] or parts["password"]
        return Target(**parts, tls_ca=given["tls_ca"], connect_timeout_s=given["connect_timeout"])

    # -- life

    def open(self) -> None:
        """Creates nothing."""
        self._pool.is_open = True
        self.ping()

    def close(self) -> None:
        self._pool.close()
        self._forget()

    def frozen(self) -> Any:
        return app.plugin("postgres_moment").frozen(self)

    def ping(self) -> float:
        began = time.perf_counter()
        with self.reading("ping") as link:
            link.execute("select 1")
        return time.perf_counter() - began

    def warnings(self) -> list[str]:
        sql = "select current_setting('fsync'), (select ssl from pg_stat_ssl where pid = pg_backend_pid())"
        try:
            with self.reading("looking at its settings") as link:
                [(fsync, encrypted)], version = link.execute(sql).rows, link.fact("server_version")
        except app.AppError:  # which ping tells
            return []
        found = [f"indexes of declared fields are missing: {self._unindexed}"] if self._unindexed else []
        if self._unmade:
            found.append(f"every list by date-times reads all records, for want of the function _moment_key: {self._unmade}")
        if fsync != "on":
            found.append("the server runs with fsync off: what it has acknowledged can be lost when its machine fails")
        if (major := re.match(r"\d+", version)) and int(major[0]) < OLDEST:
            found.append(f"the server is PostgreSQL {version}: Satchel needs {OLDEST} or newer")
        if not self._target.is_local and not encrypted:
            found.append("the connection is not encrypted: add ?sslmode=verify-full to the url")
        return found

    # -- errors and connections

    def _connected(self) -> Link:
        """A new connection; the driver's errors."""
        settings = {
            "client_encoding": "'UTF8'",
            "timezone": "'UTC'",
            "datestyle": "'ISO, YMD'",
            "intervalstyle": "'iso_8601'",
            "bytea_output": "'hex'",
            "synchronous_commit": "on",
            "standard_conforming_strings": "on",
            "search_path": f"{quote_name(self._schema)}, public",
            "default_transaction_isolation": "'read committed'",
            "statement_timeout": str(milliseconds(self._timeout_s)),
        }
        link = Link(self._target, settings)
        if link.fact("server_encoding") != "UTF8":
            link.close()
            raise ConfigError(f"provider {self.name}: the database is not in UTF8: create it with encoding 'UTF8'")
        return link

    def _explain(self, error: Exception, operation: str) -> app.AppError:
        """A driver's error as everybody may read it; host and the server's words stand in the hint alone."""
        who, place = f"provider {self.name}: {operation}: ", f"{self._target.host}:{self._target.port}"
        facts = facts_of(error)
        if not facts:
            what = "the server cannot be reached" if isinstance(error, OSError) else "the connection broke"
            hint = f"{place}: {error}: is it running, and are host, port and TLS right?"
            return Unavailable(who + what, hint=hint)
        cls, what, hint = fault_of(facts.get("C", ""))
        return cls(who + what, hint=f"{place}: {facts.get('M', '')} ({facts.get('C', '')})" + (f": {hint}" if hint else ""))

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        """Driver errors leave as AppErrors."""
        try:
            yield
        except (Lost, OSError) as error:
            raise self._explain(error, operation) from error
        except Exception as error:
            if not facts_of(error):
                raise
            self._forget()
            raise self._explain(error, operation) from error

    def _forget(self) -> None:
        """Look again at what tables there are."""
        self._tables.clear()
        self._functions.clear()
        self._blobs_made = False

    @contextmanager
    def reading(self, operation: str) -> Iterator[Link]:
        """A connection of the pool, each statement its own transaction."""
        with self._errors(operation):
            link = self._pool.take()
            try:
                yield link
            finally:
                self._pool.give_back(link)

    @contextmanager
    def _transaction(self, link: Link, begin: Steps) -> Iterator[None]:
        """Committed at the end, or rolled back; Unavailable if nobody can tell which."""
        try:
            link.run(*begin)
            yield
        except BaseException:
            roll_back(link)
            raise
        self._commit_steps(link)

    def _commit_steps(self, link: Link, *steps: Step) -> None:
        """Run the last statements of a transaction and commit it."""
        try:
            link.run(*steps, ("commit", ()))
        except Lost as error:
            what = "the connection broke during the commit: it is not known whether it was stored"
            raise Unavailable(f"provider {self.name}: writing: {what}", hint=str(error)) from error
        except BaseException:
            roll_back(link)
            raise

    def _tried(self, operation: str, work: Callable[[Link, Steps], _Result]) -> _Result:
        """The result of a transaction that begins with the steps, tried again when it had to give way to another.

        Those that try again do so one after the other, so that each soon meets nobody.
        """
        begin: Steps = [("begin", ())]
        for left in reversed(range(TRIES)):
            with self.reading(operation) as link:
                try:
                    return work(link, begin)
                except Exception as error:
                    if not left or not (state_of(error).startswith("40") or state_of(error) == "23505"):
                        raise
            begin = [("begin", ()), self._lock("again")]
        raise Unavailable(f"provider {self.name}: {operation}: too many others write the same")

    def submit(self, work: Callable[[Any], _Result]) -> _Result:
        def whole(link: Link, begin: Steps) -> _Result:
            with self._transaction(link, begin):
                return work(link)

        return self._tried("writing", whole)

    def _lock(self, what: str) -> Step:
        """A step without rows that holds off others that do the same, to the end of the transaction."""
        digest = hashlib.sha256(f"satchel {self._schema} {what}".encode()).digest()
        return "select 1 where pg_advisory_xact_lock($1) is null", [int.from_bytes(digest[:8], signed=True)]


class PostgresTables(PostgresDatabase):
    """The tables of records in a schema, with the functions and indexes that they are ordered and filtered by."""

    def _named(self, table: str) -> str:
        return f"{quote_name(self._schema)}.{quote_name(table)}"

    def _has_table(self, link: Link, table: str) -> bool:
        """Whether the table is there; ConfigError if it is another than Satchel makes."""
        if table in self._tables:
            return True
        problem = ""
        if table in BLOB_TABLES or not table or app.check_text(table):
            problem = "is a name that the database keeps for itself"
        elif len(table.encode()) > 63:
            problem = "has a name of over 63 bytes, which PostgreSQL would cut"
        else:
            found = link.execute(f"{TABLES} and c.relname = ?", (self._schema, table)).fetchone()
            if found is None:
                return False
            if found[1:] != ["r", True]:
                problem = "exists and was not made by Satchel: records need the columns key, version, data and exact"
        if problem:
            raise ConfigError(f"provider {self.name}: the table {table} {problem}; choose another name for it")
        self._tables.add(table)
        return True

    def _make_tables(self, tables: Iterable[str]) -> None:
        """Tables of records that are missing, with the indexes of their declared fields."""

        def work(link: Link) -> None:
            missing = [table for table in tables if not self._has_table(link, table)]
            if not missing:
                return
            link.run(self._lock("tables"))
            self._make_schema(link)
            self._make_functions(link)
            for table in missing:
                link.run((RECORDS_TABLE.format(self._named(table)), ()))
                for field, format_ in self._fields.get(table, {}).items():
                    link.run((self._index(table, field, format_), ()))

        if not self._tables.issuperset(tables):
            self.submit(work)

    def _find_functions(self, link: Link) -> set[str]:
        function = "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = ?"
        function += " and p.proname in ('_sort_key', '_moment_key')"
        return {name for (name,) in link.execute(function, (self._schema,)).rows}

    def _make_functions(self, link: Link) -> None:
        there = self._find_functions(link)
        for name, text in FUNCTIONS.items():
            if name not in there:
                link.run((text.format(schema=quote_name(self._schema)), ()))

    def _has_moments(self) -> bool:
        """Whether _moment_key is there, made where an older Satchel made the tables; False if this account may not."""
        if not self._functions:
            with self.reading("reading records") as link:
                there = self._find_functions(link)
            if "_sort_key" in there and "_moment_key" not in there:

                def work(link: Link) -> None:
                    link.run(self._lock("tables"))
                    self._make_functions(link)

                try:
                    self.submit(work)
                    there = {*FUNCTIONS}
                except Unavailable:
                    return False  # asked again by the next one
                except (ConfigError, app.NotPermitted) as error:
                    self._unmade = f"{error.message} ({error.hint})"
            self._functions = there
        return "_moment_key" in self._functions

    def _make_schema(self, link: Link) -> None:
        """Not by `if not exists` alone, which needs the right to create one that is there."""
        if not link.execute("select 1 from pg_namespace where nspname = ?", (self._schema,)).rows:
            link.run((f"create schema {quote_name(self._schema)}", ()))

    def _index_name(self, table: str, field: str, format_: str) -> str:
        begin = "_moment_" if format_ == "date-time" else "_sort_"
        return begin + hashlib.sha256(f"{table}\0{field}".encode()).hexdigest()[:24]

    def _index(self, table: str, field: str, format_: str, how: str = "") -> str:
        key = f"left({field_of(self._schema, field, format_ == 'date-time')}, {KEY_LETTERS})"
        name = quote_name(self._index_name(table, field, format_))
        return f"create index {how} if not exists {name} on {self._named(table)} ({key})"

    def prepare(self, tables: Mapping[str, Sequence[app.Query]]) -> None:
        for table, queries in tables.items():
            fields = self._fields.setdefault(table, {})
            for query in queries:
                names = {*(c.field for c in query.where), *(name.removeprefix("-") for name in query.order_by)}
                fields |= {n: "date-time" if n in query.instants else "" for n in sorted(names - {"id", "version"})}
        self._unprepared.update(tables)
        self._make_tables(list(tables))
        self._unprepared.difference_update(tables)
        wanted = [(table, *field) for table in tables for field in self._fields[table].items()]
        if any(format_ == "date-time" for *_, format_ in wanted) and not self._has_moments():
            wanted = [one for one in wanted if one[2] != "date-time"]
        try:
            self._make_indexes({self._index_name(*one): one for one in wanted})
            self._unindexed = ""
        except app.AppError as error:  # all works without them, and slower
            self._unindexed = f"{error.message} ({error.hint})"

    def _make_indexes(self, wanted: Mapping[str, tuple[str, str, str]]) -> None:
        """Those that are missing, while others read and write; none while another process makes some."""
        sql = (
            "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
            " join pg_namespace n on n.oid = c.relnamespace where n.nspname = ? and c.relname = any(cast(? as text[]))"
        )
        with self.reading("making indexes") as link:
            there = dict(link.execute(sql, (self._schema, array(wanted))).rows) if wanted else {}
            todo = [name for name in wanted if not there.get(name)]
            if not todo or not link.execute("select pg_try_advisory_lock(?)", self._lock("indexes")[1]).rows[0][0]:
                return
            link.wait_at_most(None)
            try:
                link.run(("set statement_timeout = 0", ()), ("set lock_timeout = '10s'", ()))  # for who holds the table long
                for name in todo:
                    if name in there:  # an earlier attempt was broken off
                        link.execute(f"drop index concurrently if exists {self._named(name)}")
                    link.execute(self._index(*wanted[name], "concurrently"))
                    if name.startswith("_moment_"):  # before, date-times were sorted as texts
                        link.execute(f"drop index concurrently if exists {self._named(name.replace('_moment_', '_sort_'))}")
            finally:
                link.is_broken = True  # its settings and its lock go with it

    def tables(self) -> list[str]:
        with self.reading("listing tables") as link:
            rows = link.execute(f'{TABLES} order by c.relname collate "C"', (self._schema,)).rows
        return [name for name, kind, ours in rows if kind == "r" and ours]


class PostgresProvider(PostgresTables, app.Records, sql_files.SqlFiles, app.Blobs, app.Queries):
    """A PostgreSQL database: a table of key, version and data for each table of records, and blobs in chunks."""

    kind = "postgres"
    atomic = True
    joins_tables, walk = True, postgres_joins.walk
    groups, facet, sums = postgres_groups.groups, sql_facets.of_postgres, sql_sums.of_postgres
    settings = (
        Setting(
            "url", "text", app.REQUIRED, 'postgresql://user@host:port/database, or "env:NAME"; ?sslmode= as libpq has it'
        ),
        Setting("password", "secret", "", 'the password as "env:NAME" or "file:PATH"'),
        Setting("schema", "text", "public", "the schema that holds the tables; made if it is missing"),
        Setting("tls_ca", "file", "", "certificates in PEM that may sign the server's; else those of the system"),
        Setting("connections", "positive", 10, "most connections of a worker process, shared by its threads"),
        Setting("connect_timeout", "duration", "5s", "longest wait for a connection", "seconds"),
        Setting("timeout", "duration", "30s", "longest time of one statement; views have their own", "seconds"),
    )

    def get(self, table: str, key: str) -> Record | None:
        if not app.is_key(key):
            return None
        rows = self._rows(table, f"select version, {EXACT} from {self._named(table)} where key = $1", [key])  # noqa: S608
        return app.stored_record(key, *rows[0]) if rows else None

    def find(self, query: app.Query) -> app.Page:
        if self._compares_here(query):
            return (asked := app.CompiledQuery(query)).page(asked.first(self.walk(app.Query(query.table))))
        return app.Page(*self._page(query, app.stored_record))

    def find_texts(self, query: app.Query, text_of: Callable[[Record], str]) -> tuple[list[str], str | None]:
        if self._compares_here(query):
            return super().find_texts(query, text_of)
        return self._page(query, functools.partial(app.stored_text, text_of))

    def _page(self, query: app.Query, make: Callable[[Json, Json, Json], _Result]) -> tuple[list[_Result], str | None]:
        """What it makes of key, version and data of each row of a page, and the cursor of what follows."""
        sql = PostgresQuery(app.CompiledQuery(query), self._named(query.table), self._schema)
        columns = ", ".join([f"key, version, {EXACT} as sent", *sql.terms])
        # The first row that no longer fits is sent too: it says that there is more.
        sized = "select *, sum(length(sent)) over (rows between unbounded preceding and 2 preceding) as before"
        text = f"select * from ({sized} from ({sql.rows(columns)}) as found) as sized"  # noqa: S608
        rows = self._rows(query.table, f"{text} where coalesce(before, 0) <= {app.PAGE_BYTES}", [*sql.values.values()])
        found, more = app.page_of(rows, query.limit, app.stored_weight)
        following = sql.compiled.cursor([*found[-1][3:-1], f"t{found[-1][0]}"]) if found and more else None
        return [make(*row[:3]) for row in found], following

    def count(self, query: app.Query) -> int:
        compiled = app.CompiledQuery(query._replace(after=""))
        if self._compares_here(query):
            return sum(map(compiled.selects, self.walk(app.Query(query.table))))
        sql = PostgresQuery(compiled, self._named(query.table), self._schema)
        return sum(int(row[0]) for row in self._rows(query.table, sql.count(), list(sql.values.values())))

    def count_up_to(self, query: app.Query, most: int, timeout_s: float) -> int | None:
        if self._compares_here(query):
            return None
        sql = PostgresQuery(app.CompiledQuery(query._replace(after="")), self._named(query.table), self._schema)
        count, limit = sql.count(most), f"set local statement_timeout = {milliseconds(timeout_s)}"
        with self.reading("counting records") as link:
            if not self._has_table(link, query.table):
                return 0
            try:
                steps = (("begin read only", ()), (limit, ()), (count, list(sql.values.values())), ("commit", ()))
                return int(link.run(*steps).rows[0][0])
            except Exception as error:
                roll_back(link)
                if state_of(error) != "57014":
                    raise
                return None

    def _compares_here(self, query: app.Query) -> bool:
        """Whether moments are asked for that the database cannot compare, because the account may not make _moment_key."""
        asked = {name.removeprefix("-") for name in query.order_by}
        asked |= {c.field for c in query.where if app.is_instant(query, c)}
        return bool(query.instants & asked) and not self._has_moments()

    def _rows(self, table: str, sql: str, values: Sequence[Json]) -> list[list[Json]]:
        """Rows of a statement over a table, none if there is no such table."""
        with self.reading("reading records") as link:
            if not self._has_table(link, table):
                return []
            try:
                return link.run((sql, values)).rows
            except Exception as error:
                if EXACT not in sql or not state_of(error).startswith("22"):
                    raise
                return link.run((sql.replace(EXACT, "data::text"), values)).rows  # an exact of another program is no JSON

    def commit(self, writes: Sequence[app.Write]) -> list[Record]:
        """Two round trips: lock the records and read their versions; write and commit."""
        app.check_commit(writes)
        tables = sorted({write.table for write in writes})
        if not writes:
            return []
        self._make_tables(tables)
        return self._tried("writing", functools.partial(self._write, writes, tables))

    def _write(self, writes: Sequence[app.Write], tables: Sequence[str], link: Link, begin: Steps) -> list[Record]:
        """Records are locked and added in one order everywhere, so that no two commits wait for each other."""
        steps = list(begin)
        for number, table in enumerate(tables):
            keys = sorted(write.key for write in writes if write.table == table)
            sql = f"select {number}, key, version from {self._named(table)} where key = any(cast($1 as text[]))"  # noqa: S608
            steps.append((f"{sql} order by key for update", [array(keys)]))
        try:
            present = {(tables[number], key): version for number, key, version in link.run(*steps).rows}
            records = [self._record_after(i, write, present) for i, write in enumerate(writes)]
        except BaseException:
            roll_back(link)
            raise
        self._commit_steps(link, *self._write_steps(writes, records, present))
        return records

    @staticmethod
    def _record_after(index: int, write: app.Write, present: Mapping[tuple[str, str], int]) -> Record:
        """The record after the write; Conflict."""
        version = present.get((write.table, write.key), 0)
        app.check_version(index, write, version)
        if isinstance(write, app.Delete):
            return Record(write.key, 0, {})
        return Record(write.key, app.next_version(write, version), write.value)

    def _write_steps(
        self, writes: Sequence[app.Write], records: Sequence[Record], present: Collection[tuple[str, str]]
    ) -> Steps:
        """Statements for all writes. What is new comes first: it alone may have to wait, and then holds up nobody else's."""
        new: list[Step] = []
        old: list[Step] = []
        done = sorted(zip(writes, records, strict=True), key=lambda pair: (pair[0].table, pair[0].key))
        rows = "unnest(cast($1 as text[]), cast($2 as bigint[]), cast($3 as text[])) as n(k, v, d)"
        for table, group in itertools.groupby(done, key=lambda pair: pair[0].table):
            pairs, name = list(group), self._named(table)
            gone = [w.key for w, _ in pairs if isinstance(w, app.Delete) and (table, w.key) in present]  # and so locked
            kept = [record for write, record in pairs if not isinstance(write, app.Delete)]
            if added := [record for record in kept if (table, record.key) not in present]:
                sql = f"insert into {name} (key, version, data, exact) select k, v, cast(d as jsonb), d from {rows}"  # noqa: S608
                new.append((sql, self._columns(added)))
            if changed := [record for record in kept if (table, record.key) in present]:
                sql = f"update {name} as t set version = n.v, data = cast(n.d as jsonb), exact = n.d from {rows}"  # noqa: S608
                old.append((f"{sql} where t.key = n.k", self._columns(changed)))
            if gone:
                old.append((f"delete from {name} where key = any(cast($1 as text[]))", [array(gone)]))  # noqa: S608
        return new + old

    @staticmethod
    def _columns(records: Sequence[Record]) -> list[str]:
        texts = [app.dump_json(record.value) for record in records]
        return [array(r.key for r in records), array(r.version for r in records), array(texts)]

    # -- blobs

    def has_files(self) -> bool:
        if not self._blobs_made:
            with self.reading("reading blobs") as link:
                self._blobs_made = bool(link.execute(f"{TABLES} and c.relname = '_loose'", (self._schema,)).rows)
        return self._blobs_made

    def prepare_files(self) -> None:
        if not self.has_files():
            self.submit(self._make_blobs)
            self._blobs_made = True

    def _make_blobs(self, link: Link) -> None:
        link.run(self._lock("tables"))
        self._make_schema(link)
        for statement in BLOBS_SCHEMA:
            link.run((statement.format(schema=quote_name(self._schema)), ()))

    def hold_tree(self, connection: Link) -> None:
        sql, values = self._lock("blobs")
        connection.execute(sql.replace("$1", "?"), values)

    # -- queries

    @contextmanager
    def _query_errors(self, select: app.Select) -> Iterator[None]:
        """Errors of a statement that an administrator wrote."""
        try:
            yield
        except (Lost, OSError) as error:
            raise self._explain(error, "running a query") from error
        except Exception as error:
            facts = facts_of(error)
            state, said = facts.get("C", ""), ": ".join(filter(None, (facts.get("M"), facts.get("H"))))
            if not facts or isinstance(error, app.AppError):
                raise
            if state == "57014" and select.timeout_s is not None:
                raise too_long(select) from error
            if state == "25006":
                raise sql_views.NotJustReading(f"provider {self.name}: the statement does more than read: {said}") from error
            if state[:2] in ("28", "3D", "40", "53", "55", "57", "58", "XX"):
                raise self._explain(error, "running a query") from error
            if state[:2] == "22":
                raise sql_views.unfit(f"provider {self.name}", select, said) from error
            raise ConfigError(f"provider {self.name}: the statement is wrong: {said}") from error

    def select(self, select: app.Select) -> app.Rows:
        return self._select(select)

    def count_rows(self, select: app.Select, most: int | None = None) -> int:
        bounds: Any = {"order_by": (), "limit": most, "offset": 0, "max_rows": None}
        with closing(self._select(select._replace(**bounds), sql_views.COUNT_OF)) as rows:
            return int(next(iter(rows.rows))[0])

    def facet_rows(self, select: app.Select, column: str, most: int) -> list[tuple[Json, int]]:
        return sql_views.facet_of(self._select, select, column, most)

    def _select(self, select: app.Select, around: str = "{}") -> app.Rows:
        statement, names = sql_views.read_statement(select.statement)
        sql_views.check_params(f"provider {self.name}", names, select.params)
        for value in select.params.values():
            if isinstance(value, str) and (problem := app.check_text(value)):
                raise app.BadRequest(f"a parameter {problem}")
        if self._unprepared:  # the server was away when the program began
            self.prepare(dict.fromkeys(tuple(self._unprepared), ()))
        with self._query_errors(select):
            errors = functools.partial(self._query_errors, select)
            stream = Stream(self._pool, f"provider {self.name}", select, self._descriptions, errors)
            try:
                answer = stream.begin(statement, around)
            except BaseException:
                stream.close()
                raise
        return app.Rows(told_apart([one["name"] for one in answer.columns]), stream.rows(answer), stream.close)
