#!/usr/bin/env python3
"""Satchel: a team's intranet in one file.

Resources (files, forms, views, apps) are described once in app.toml, live on providers (sql, file, and plugins), and
are served over HTTP behind signed tokens with scoped grants.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import difflib
import errno
import functools
import hashlib
import heapq
import itertools
import json
import math
import operator
import os
import re
import secrets
import sqlite3
import threading
import time
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote, unquote

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__version__ = "0.1.0"

# ==== 1. ERRORS ==================================================================================================
# Everything raised on purpose. A class carries code, HTTP status, exit code and whether a repeat may help; an
# instance carries the public message, a hint for the operator and the faults of single fields. Rendered elsewhere.
# uses: nothing
# defines: Fault AppError BadRequest Invalid IdempotencyConflict Unauthenticated Forbidden NotFound UnsupportedAction
#          NotAcceptable Conflict PreconditionFailed TooLarge UnsupportedMedia RangeNotSatisfiable Misdirected
#          RequestTimeout Unsupported Unavailable StorageFull QueryTimeout ConfigError


class Fault(NamedTuple):
    """One thing wrong in one place: pointer is a JSON pointer (RFC 6901) into the data, "" for the whole."""

    pointer: str
    code: str
    detail: str


class AppError(Exception):
    """The root. `message` is for anybody, `hint` is for the operator and never leaves the machine by HTTP."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", faults: Iterable[Fault] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.faults = tuple(faults)


class BadRequest(AppError):
    """What came cannot be parsed, or names something that does not exist in the interface."""

    code, status, exit_code = "bad_request", 400, 6


class Invalid(AppError):
    """It was parsed, and its content breaks a rule; `faults` names every rule."""

    code, status, exit_code = "validation_failed", 422, 6


class IdempotencyConflict(AppError):
    """The idempotency key was used before for another payload."""

    code, status, exit_code = "idempotency_conflict", 422, 5


class Unauthenticated(AppError):
    """The credential is missing, bad, expired or revoked (RFC 6750 section 3.1)."""

    code, status, exit_code = "invalid_token", 401, 3


class Forbidden(AppError):
    """The caller is known and lacks `needed`, a grant such as "forms/leave:create" ("" when it is not about a grant)."""

    code, status, exit_code = "insufficient_scope", 403, 3

    def __init__(self, message: str, *, needed: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.needed = needed


class NotFound(AppError):
    """No such resource, record, file or token."""

    code, status, exit_code = "not_found", 404, 4


class UnsupportedAction(AppError):
    """The resource exists and does not do that; `allowed` lists what it does."""

    code, status, exit_code = "unsupported_action", 405, 6

    def __init__(self, message: str, *, allowed: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class NotAcceptable(AppError):
    """The answer has no such format."""

    code, status, exit_code = "not_acceptable", 406, 6


class Conflict(AppError):
    """The stored state is not what the write expected. `index` is the place of the failing write in its commit."""

    code, status, exit_code = "conflict", 409, 5

    def __init__(self, message: str, *, index: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.index = index


class PreconditionFailed(AppError):
    """If-Match or If-None-Match did not hold (RFC 9110 section 13)."""

    code, status, exit_code = "precondition_failed", 412, 5


class TooLarge(AppError):
    """More bytes, rows or writes than the limit that the message names."""

    code, status, exit_code = "too_large", 413, 6


class UnsupportedMedia(AppError):
    """The body's media type is not one that this resource reads."""

    code, status, exit_code = "unsupported_media_type", 415, 6


class RangeNotSatisfiable(AppError):
    """No byte of the asked range exists; `size_bytes` is the size of the whole."""

    code, status, exit_code = "range_not_satisfiable", 416, 6

    def __init__(self, message: str, *, size_bytes: int) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes


class Misdirected(AppError):
    """The Host header names no host that this server answers for (RFC 9110 section 15.5.20)."""

    code, status, exit_code = "misdirected_request", 421, 6


class RequestTimeout(AppError):
    """The body did not come in time."""

    code, status, exit_code = "request_timeout", 408, 6


class Unsupported(AppError):
    """The provider cannot do that and does not pretend to."""

    code, status, exit_code = "unsupported", 501, 2


class Unavailable(AppError):
    """A provider is away or busy, or the data folder is taken; a repeat after `retry_after_s` may succeed."""

    code, status, exit_code, retry = "unavailable", 503, 7, True
    retry_after_s: ClassVar[int] = 5


class StorageFull(AppError):
    """The medium or the quota has no room."""

    code, status, exit_code, retry = "storage_full", 507, 7, True


class QueryTimeout(AppError):
    """A view took longer than its time limit."""

    code, status, exit_code = "query_timeout", 504, 7


class ConfigError(AppError):
    """app.toml, a plugin or the command line is wrong; `faults` lists every fault, pointer being the setting's place."""

    code, status, exit_code = "configuration", 500, 2


# ==== 2. VALUES ==================================================================================================
# Frozen data that crosses sections, and the pure functions that make, read and compare it. Nothing here does I/O.
# uses: ERRORS
# defines: Json Value Clock Action Grant parse_grant covers Caller Token Conditions Upload Request Reader Content Column
#          Table Response Record Insert Update Delete Write Blob Folder Staged OPERATORS Condition Query Page Select Rows
#          Change load_json dump_json check_text check_value is_key check_writes check_path split_path quote_path new_id
#          rfc3339 parse_rfc3339 encode_cursor decode_cursor nearest page_bounds

Json: TypeAlias = Any  # None, bool, int, float, Decimal, str, list and dict of these
Value: TypeAlias = dict[str, Json]  # a JSON object
Clock: TypeAlias = Callable[[], float]  # Unix seconds UTC


class Action(StrEnum):
    """The four things a caller may do; no other exists at any door."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for `actions` on every address that `pattern` covers."""

    pattern: tuple[str, ...]
    actions: frozenset[Action]

    def __str__(self) -> str:
        actions = "*" if len(self.actions) == len(Action) else ",".join(a for a in Action if a in self.actions)
        return "/".join(self.pattern) + ":" + actions


def parse_grant(text: str) -> Grant:
    """'forms/leave:create,read', 'files/*:*' or '**:read' as a Grant; BadRequest says what is wrong with it."""
    address, colon, actions = text.rpartition(":")
    pattern = tuple(address.split("/"))
    if not colon or not all(pattern):
        raise BadRequest(f"{text!r} is not a grant: write type/name:action[,action], such as forms/leave:create")
    if "**" in pattern[:-1] or any("*" in part and part not in ("*", "**") for part in pattern):
        raise BadRequest(f"{text!r} is not a grant: * stands for one whole segment and ** for the rest, last only")
    if any(c.isspace() or ord(c) < 32 for c in address) or any(p in (".", "..") for p in pattern):
        raise BadRequest(f"{text!r} is not a grant: percent-encode spaces and control characters; no . or .. segment")
    if actions == "*":
        return Grant(pattern, frozenset(Action))
    unknown = [a for a in actions.split(",") if a not in list(Action)]
    if unknown:
        raise BadRequest(f"{text!r} is not a grant: {unknown[0]!r} is none of {', '.join(Action)} or *")
    return Grant(pattern, frozenset(Action(a) for a in actions.split(",")))


def covers(pattern: Sequence[str], address: Sequence[str]) -> bool:
    """Whether a grant's pattern covers an address, both split at "/" and percent-encoded (DESIGN section 4).

    A pattern covers what it names and everything inside; but one of three or more segments that ends in "*" covers
    exactly its own depth: files/docs/* is the entries of docs and not what lies in their folders.
    """
    for wanted, given in zip_longest(pattern, address):
        if wanted == "**":
            return True
        if wanted is None:
            return not (len(pattern) > 2 and pattern[-1] == "*")
        if given is None or wanted not in ("*", given):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. subject "" is the public; token_id "" when no token stands behind it (the public, the command line)."""

    subject: str = ""
    token_id: str = ""
    roles: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    session: bool = False  # signed in by cookie

    def may(self, action: Action, address: str) -> bool:
        """Whether some grant covers the action on the address ("forms/leave/records/0192…", percent-encoded)."""
        parts = address.split("/")
        return any(action in grant.actions and covers(grant.pattern, parts) for grant in self.grants)

    def require(self, action: Action, address: str) -> None:
        """Nothing, or Forbidden naming the missing grant."""
        if not self.may(action, address):
            needed = f"{address}:{action}"
            raise Forbidden(f"this needs the grant {needed}", needed=needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The row kept for every issued token. Times are Unix seconds; revoked_at and used_at are 0 while never."""

    jti: str
    subject: str
    label: str = ""
    grants: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    issued_at: int = 0
    expires_at: int = 0
    used_at: int = 0
    revoked_at: int = 0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold for a write. Entity tags are without quotes; "*" stands for any that exists."""

    if_match: tuple[str, ...] = ()
    if_none_match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came inside a record: file is readable from its start and is closed by the runner."""

    name: str
    file: BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One intent, whatever brought it: nothing here names HTTP, SQS or the command line.

    `decode` reads and parses the body and is called only after the caller is let in; its result becomes `data`.
    """

    id: str  # names this request in logs, problems and the audit trail
    action: Action
    resource: str  # "forms/leave"; "" is the home page
    path: tuple[str, ...] = ()  # decoded segments inside the resource
    door: str = ""  # kind of the runner it came through
    params: Mapping[str, str] = field(default_factory=dict)
    data: Json = None  # object, list of objects, or None for byte streams
    decode: Callable[[], Json] | None = None
    typed: bool = True  # False: the values in data are text as a person typed it; fields read it by their type
    partial: bool = False  # an update that is a merge patch (RFC 7396)
    whole: bool = False  # an export: every row, streamed
    body: Iterable[bytes] | None = None  # byte stream, read once
    body_bytes: int | None = None  # declared length; None = unknown
    conditions: Conditions = Conditions()
    idempotency_key: str = ""  # a repeat carries the same one; "" = none
    credential: str = field(default="", repr=False)  # "Bearer …" or "Session …", unverified

    @property
    def address(self) -> str:
        """Percent-encoded address of what is meant: "files/docs/2026/plan.pdf"."""
        return self.resource + "".join("/" + quote(part, safe="") for part in self.path)


class Reader(Protocol):
    """An iterator of byte chunks. A reader of a plain file also has `fileno()`, `start` and `length`, for sendfile."""

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Content:
    """Stored bytes to be answered, whole or in part: `read(start, length)` gives a reader to be closed."""

    blob: Blob
    name: str  # file name for the person
    read: Callable[[int, int | None], Reader]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: type is a JSON Schema type, format one of its formats or one of a view's."""

    name: str
    title: str = ""
    type: str = "string"
    format: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A tabular answer. `rows` is a list for a page and an iterator for an export; whoever reads it calls close()."""

    columns: tuple[Column, ...]
    rows: Iterable[Mapping[str, Json]]
    next: str | None = None
    count: int | None = None
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a resource answers. Failures are raised, never returned. One of data, table and content is the body."""

    data: Json = None
    table: Table | None = None
    content: Content | None = None
    template: str = ""  # page in templates/; runners that do not render ignore it
    page: Mapping[str, Any] = field(default_factory=dict)  # what the page needs beyond data
    created: bool = False
    location: str = ""  # address of what was created
    etag: str = ""  # without quotes
    replayed: bool = False  # the stored answer to an earlier request with the same idempotency key
    caller: Caller = Caller()  # set by App.handle


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object under a key in a table; version counts from 1."""

    key: str
    version: int
    value: Value


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a record that must be absent; its version becomes 1. Conflict if the key is taken."""

    table: str
    key: str
    value: Value


@dataclass(frozen=True, slots=True)
class Update:
    """Replace a record at `version` (Conflict if it is at another or missing), or with None whatever is there or not."""

    table: str
    key: str
    value: Value
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record at `version` (Conflict if it is at another or missing), or with None whatever is there or not."""

    table: str
    key: str
    version: int | None = None


Write: TypeAlias = Insert | Update | Delete


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes: a strong etag without quotes changes with every write; modified_at in Unix seconds."""

    path: str
    size_bytes: int
    modified_at: float
    etag: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder in a listing that does not descend; path has no trailing slash."""

    path: str


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes that are durable and not yet visible; `id` means something to the provider that made it."""

    id: str
    size_bytes: int
    sha256: str


OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "prefix", "null")


@dataclass(frozen=True, slots=True)
class Condition:
    """`field op value`; every condition of a query must hold.

    Comparing across types, or with a missing or null field, is never true, except ne (everything that is not eq) and
    null (value True: missing or null; False: neither). in takes a list; contains and prefix compare text by code
    point, case and all. Text is ordered by code point, false before true; lists and objects compare with nothing.
    """

    field: str
    op: str
    value: Json


@dataclass(frozen=True, slots=True)
class Query:
    """What `find` looks for. The fields "id" and "version" are the record's key and version.

    order_by names fields, "-" first for descending; missing and null come first ascending, last descending, and the
    key breaks ties ascending; of several types bools come first, then numbers, texts, and lists and objects as equals.
    `search` is found, whatever its case, in any of `search_fields`. `after` is the cursor of an earlier page of the
    same query.
    """

    table: str
    where: tuple[Condition, ...] = ()
    order_by: tuple[str, ...] = ()
    limit: int = 50
    after: str = ""
    search: str = ""
    search_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some records and the cursor of the page that follows; None after the last."""

    items: list[Record]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """A read-only statement with named parameters (:name), and what is asked of its rows. Values are bound, never spliced.

    timeout_s and max_rows bound the work; None is no bound.
    """

    statement: str
    params: Mapping[str, Json] = field(default_factory=dict)
    where: tuple[Condition, ...] = ()
    search: str = ""
    order_by: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    timeout_s: float | None = None
    max_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Column names and streamed tuples; whoever reads them calls close(), also after an error."""

    columns: tuple[str, ...]
    rows: Iterator[Sequence[Json]]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Change:
    """A write and the value it replaces (None: there was none), for the audit trail."""

    write: Write
    before: Value | None = None


def _reject_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _unique_pairs(pairs: list[tuple[str, Json]]) -> Value:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return value


def _exact_number(text: str) -> float | Decimal:
    """A float where it says the same number again, else a Decimal."""
    number = float(text)
    exact = Decimal(text)
    return number if math.isfinite(number) and Decimal(repr(number)) == exact else exact


def load_json(text: str | bytes) -> Json:
    """Parse JSON (RFC 8259) exactly: decimals keep their value, no NaN, no name twice, UTF-8 only. BadRequest else."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(
            decoded, parse_float=_exact_number, parse_constant=_reject_constant, object_pairs_hook=_unique_pairs
        )
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from error
    except (ValueError, ArithmeticError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


_DECIMAL_MARK = re.compile(r'"\\u0000([^"\\]+)"')


def _mark_decimal(value: Any) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return f"\0{value}"
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dump_json(value: Json, *, indent: int | None = None) -> str:
    """Compact JSON text; a Decimal is written as the number it is (its mark, U+0000, occurs in no other text)."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, default=_mark_decimal, separators=separators, indent=indent
    )
    return _DECIMAL_MARK.sub(r"\1", text) if "\\u0000" in text else text


def check_text(text: str) -> str:
    """What keeps a text from being stored, in words; "" when nothing does."""
    if "\0" in text:
        return "contains U+0000, which is not allowed"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "contains half of a surrogate pair, which no encoding can store"
    return ""


def check_value(value: Json, pointer: str = "", depth: int = 0) -> Iterator[Fault]:
    """Every reason why a JSON value cannot be stored exactly; 100 levels of lists and objects are the most."""
    if depth > 100:
        yield Fault(pointer, "depth", "is nested in more than 100 lists and objects")
    elif isinstance(value, str):
        if problem := check_text(value):
            yield Fault(pointer, "text", problem)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            yield Fault(pointer, "integer_size", "does not fit in 64 bits")
    elif isinstance(value, float | Decimal):
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            yield Fault(pointer, "number", "is no finite number")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            place = pointer + "/" + name.replace("~", "~0").replace("/", "~1")
            yield from (Fault(place, f.code, f.detail) for f in check_value(name, place))
            yield from check_value(item, place, depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from check_value(item, f"{pointer}/{index}", depth + 1)


def is_key(key: str) -> bool:
    """Whether it can be a record's key: 1 to 512 UTF-8 bytes and no U+0000."""
    try:
        return 0 < len(key.encode()) <= 512 and "\0" not in key
    except UnicodeEncodeError:
        return False


def check_writes(writes: Sequence[Write]) -> None:
    """Nothing, or Invalid naming every key and value that no provider may store."""
    faults = [Fault("", "key", f"{w.key!r} is not a key: 1 to 512 UTF-8 bytes") for w in writes if not is_key(w.key)]
    for write in writes:
        faults += check_value(getattr(write, "value", None))
    if faults:
        raise Invalid("the record cannot be stored", faults=faults)


_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)( *\..*)?", re.IGNORECASE)


def _segment_problem(part: str) -> str:
    if not part or part in (".", ".."):
        return "has an empty, . or .. segment"
    if "/" in part or "\\" in part:
        return "has a slash or backslash inside a segment"
    if any(unicodedata.category(c) == "Cc" for c in part) or check_text(part):
        return "has a control character or half of a surrogate pair"
    if _DEVICE.fullmatch(part.rstrip(". ")) or part != part.rstrip(". "):
        return "has a segment that Windows cannot store (a device name, or a dot or space at its end)"
    if len(part.encode()) > 255:
        return "has a segment of over 255 bytes"
    return ""


def check_path(parts: Sequence[str]) -> str:
    """Decoded segments as a blob path; BadRequest says what no provider may see. No segments give ""."""
    for part in parts:
        if problem := _segment_problem(part):
            raise BadRequest(f"the path {problem}")
    path = "/".join(parts)
    if len(path.encode()) > 1024:
        raise BadRequest("the path is longer than 1,024 bytes")
    return path


def split_path(path: str) -> tuple[str, ...]:
    """The decoded segments of a percent-encoded path; %2F stays inside its segment. BadRequest on bad UTF-8."""
    try:
        return tuple(unquote(part, errors="strict") for part in path.split("/")) if path else ()
    except UnicodeDecodeError as error:
        raise BadRequest("the address is not UTF-8") from error


def quote_path(path: str) -> str:
    """A blob path percent-encoded for an address."""
    return "/".join(quote(part, safe="") for part in path.split("/"))


_last_id = 0
_id_lock = threading.Lock()


def new_id(now_s: float) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) of this time, as 32 hex digits; later ones of a process sort after earlier ones.

    The 12 bits behind the milliseconds carry the fraction (section 6.2, method 3).
    """
    global _last_id
    with _id_lock:
        _last_id = tick = max(int(now_s * 4096_000), _last_id + 1)
    number = (tick >> 12) << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | secrets.randbits(62)
    return f"{number:032x}"


def rfc3339(at_s: float) -> str:
    """'2026-11-23T08:00:00.123Z'; milliseconds, UTC (RFC 3339)."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(at_s * 1000) % 1000:03d}Z"


def parse_rfc3339(text: str) -> float:
    """Unix seconds of an RFC 3339 date-time with an offset; ValueError else."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text):
        raise ValueError("not an RFC 3339 date-time")
    return datetime.fromisoformat(text.upper()).timestamp()


def encode_cursor(*parts: Json) -> str:
    """An opaque text for the page that follows."""
    return base64.urlsafe_b64encode(dump_json(list(parts)).encode()).rstrip(b"=").decode()


def decode_cursor(text: str, length: int) -> list[Json]:
    """The `length` parts given to encode_cursor; BadRequest if it is not such a cursor."""
    try:
        parts = load_json(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, BadRequest):
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    return parts


def nearest(name: str, names: Iterable[str]) -> str:
    """', did you mean X?' or '' when nothing is near."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def page_bounds(params: Mapping[str, str], *, default: int = 50, most: int = 1000) -> int:
    """The `_size` of a page; BadRequest if it is not a number from 1 to `most`."""
    text = params.get("_size", str(default))
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise BadRequest(f"_size is {text!r}: a number from 1 to {most:,}")
    return int(text)


# ==== 3. CONFIG ==================================================================================================
# app.toml to checked, frozen settings; every key, default and unit in one table.
# uses: ERRORS VALUES
# defines: REQUIRED Setting

REQUIRED: Any = object()  # the default of a setting that has none


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of app.toml. `kind` names a converter of CONVERTERS; required settings have the default REQUIRED."""

    name: str
    kind: str
    default: Any
    help: str
    unit: str = ""


# ==== 4. CONTRACTS ===============================================================================================
# What a Provider (Records, Blobs, Queries), a Resource, a Runner and the Host of a runner must do. Docstrings are
# promises that tests/test_provider_contract.py asserts of every provider; default methods keep them.
# uses: ERRORS VALUES CONFIG
# defines: Provider Records Blobs Queries Publish Remove BlobStep Plan Scope Resource Host Runner


class Provider(ABC):
    """A place where data is kept. Methods may be called from many threads between open() and close().

    `settings` is what app.toml may say under [providers.NAME]. Driver errors leave as AppError with the cause chained.
    """

    kind: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]] = ()

    @abstractmethod
    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        """Check the options (ConfigError) and open nothing. Relative paths start at folder."""

    @abstractmethod
    def open(self) -> None:
        """Make ready in this process, after any fork; idempotent; Unavailable if the backend is away."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; idempotent, never raises."""

    @abstractmethod
    def ping(self) -> float:
        """Seconds of one round trip to the backend; Unavailable if it is away."""

    def warnings(self) -> list[str]:
        """What an operator should know about this backend; no I/O beyond what ping does."""
        return []


class Records(Provider):
    """JSON objects by key in named tables; a table exists once it is written. Integers of 64 bits and decimals are exact.

    Keys are 1..512 UTF-8 bytes compared byte by byte (no Unicode normalisation); U+0000 is refused everywhere.
    """

    atomic: ClassVar[bool]  # commit() of many writes is all or nothing
    conditional: ClassVar[bool] = True  # preconditions are checked by the backend

    @abstractmethod
    def get(self, table: str, key: str) -> Record | None:
        """The record, or None."""

    @abstractmethod
    def find(self, query: Query) -> Page:
        """At most query.limit records in order, and the cursor of what follows.

        Following the cursors gives no record twice and skips none, whatever is inserted or deleted meanwhile.
        BadRequest on a cursor of another query; Unsupported on what the backend cannot order or filter.
        """

    @abstractmethod
    def count(self, query: Query) -> int:
        """How many records the query selects, its limit and cursor aside."""

    def prepare(self, tables: Iterable[str]) -> None:
        """Make these tables exist where a statement of Queries may name them; elsewhere there is nothing to make."""

    @abstractmethod
    def commit(self, writes: Sequence[Write]) -> list[Record]:
        """Do all writes, durably, or none; a list of one record a write, in order (of a Delete: version 0, no value).

        Conflict names the index of the first write whose precondition fails. A list longer than one is Unsupported
        where not `atomic`. Of N racing inserts of a key one wins. An empty list does nothing. A key stands at most
        once in a list (Invalid else).
        """

    def walk(self, query: Query) -> Iterator[Record]:
        """Every record of the query in order, streamed in pages of 1,000."""
        cursor: str | None = query.after
        while cursor is not None:
            page = self.find(dataclasses.replace(query, limit=1000, after=cursor))
            yield from page.items
            cursor = page.next


class Blobs(Provider):
    """Bytes by path. Paths were checked (check_path); folders exist while something is in them.

    A path is a file or a folder, never both: publishing "a/b" where "a" is a file, or "a" where it is a folder, is a
    Conflict. Paths are listed in UTF-8 byte order.
    """

    @abstractmethod
    def stat(self, path: str) -> Blob | None:
        """The blob, or None; a folder is None."""

    @abstractmethod
    def is_folder(self, path: str) -> bool:
        """Whether something lies below path; "" is the root and always is."""

    @abstractmethod
    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> Reader:
        """Bytes from `start`, `length` of them or all; the same blob to the end even if it is replaced meanwhile.

        NotFound if missing; PreconditionFailed if it is no longer the one that if_match names.
        """

    @abstractmethod
    def stage(self, chunks: Iterable[bytes]) -> Staged:
        """Store bytes durably without making them visible; if `chunks` raises, nothing is left."""

    @abstractmethod
    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        """Make staged bytes the blob at path, whole or not at all, durably.

        PreconditionFailed if the present etag is not if_match, or if_none_match and something is there; the staged
        bytes are then still there. Of N racing publishes with the same condition one wins.
        """

    @abstractmethod
    def discard(self, staged: Staged) -> None:
        """Forget staged bytes; idempotent. Those that nobody published or discarded are swept after a day."""

    @abstractmethod
    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Blob | Folder]:
        """What lies below the folder `prefix` ("" = the root), in order, after the path `after`.

        deep: every blob; else the entries of that folder alone, sub-folders as Folder.
        """

    @abstractmethod
    def remove(self, path: str, *, if_match: str | None = None) -> None:
        """Remove a blob; NotFound if missing, PreconditionFailed if it is another."""

    @abstractmethod
    def move(self, source: str, target: str) -> Blob:
        """Rename a blob in one step; NotFound, or Conflict if the target exists."""

    def write(self, path: str, chunks: Iterable[bytes], *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        """stage and publish in one call; nothing is left behind by a failure."""
        staged = self.stage(chunks)
        try:
            return self.publish(staged, path, if_match=if_match, if_none_match=if_none_match)
        except AppError:
            self.discard(staged)
            raise


class Queries(Provider):
    """Read-only statements in the backend's own language."""

    @abstractmethod
    def select(self, select: Select) -> Rows:
        """Run it and stream its rows. It can write nothing, whatever it says.

        BadRequest on an unknown column in where or order_by, ConfigError on a bad statement, QueryTimeout past
        timeout_s (also while streaming), TooLarge past max_rows. Bytes values come as base64 text.
        """


@dataclass(frozen=True, slots=True)
class Publish:
    """Make staged bytes visible at path, replacing what is there unless a condition forbids it."""

    blobs: Blobs
    staged: Staged
    path: str
    if_match: str | None = None
    if_none_match: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the bytes at path, if they are still the ones that if_match names."""

    blobs: Blobs
    path: str
    if_match: str | None = None


BlobStep: TypeAlias = Publish | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a resource wants done and answered; App.handle does it.

    Steps run first, then `respond` gets the blobs they published, then changes are committed together with the audit
    entries. `cleanup` runs after the commit and may fail without failing the request. If a commit fails, what the
    steps published is removed. A plan with steps and no changes is a file operation and is audited by an intent.
    """

    respond: Callable[[Sequence[Blob]], Response]
    changes: Sequence[Change] = ()
    steps: Sequence[BlobStep] = ()
    cleanup: Sequence[Remove] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a resource may know beside the request: who asks, the time, fresh ids, and other resources as this caller."""

    caller: Caller
    now: float
    new_id: Callable[[], str]
    read: Callable[[str, Mapping[str, str]], Response]  # (address, params); Forbidden and NotFound as for the caller


class Resource(ABC):
    """Something declared in app.toml. It answers a Plan and writes nothing itself, except staged bytes."""

    type: ClassVar[str]
    name: str
    title: str
    actions: ClassVar[frozenset[Action]]
    records: Records | None = None  # where its records, their audit entries and request ids live; None: the state provider

    @classmethod
    def sufficient(cls, request: Request) -> tuple[Action, ...]:
        """The actions any one of which lets the request in; the resource then checks what it turned out to be."""
        return (request.action,)

    @abstractmethod
    def handle(self, request: Request, scope: Scope) -> Plan:
        """What to do and answer; the caller was let in. NotFound, BadRequest, Invalid, PreconditionFailed, Forbidden…"""


class Host(Protocol):
    """What a runner may ask of the application."""

    title: str

    def open(self) -> None:
        """Open the providers, once in each process, after any fork."""

    def close(self) -> None: ...

    def handle(self, request: Request, guard: Callable[[], None] = ...) -> Response:
        """The whole flow. `guard` is called right before the commit; what it raises stops it."""

    def sign_in(self, secret: str, request_id: str) -> tuple[str, int]:
        """A session id and its seconds for a token or the code of a sign-in link; Unauthenticated else."""

    def sign_out(self, credential: str, request_id: str) -> None: ...

    def seal(self, purpose: str, text: str) -> str:
        """`text` signed for `purpose`, to be given to a browser and read back by unseal."""

    def unseal(self, purpose: str, sealed: str) -> str | None:
        """The sealed text, or None if it was not sealed here for this purpose."""

    def limits(self, resource: str) -> int:
        """Most bytes that a record's body with its file fields may have."""

    def ready(self) -> dict[str, str]:
        """Each provider's name and "ok" or what is wrong with it."""


class Runner(ABC):
    """A door. It knows one transport, makes Requests of what comes, and renders Responses and AppErrors."""

    kind: ClassVar[str]

    @abstractmethod
    def run(self) -> None:
        """Serve until stop(); returns after what was in flight is finished."""

    @abstractmethod
    def stop(self) -> None:
        """Let run() return soon; safe from a signal handler."""


# ==== 5. RUNNERS =================================================================================================
# Transports: the only section that knows HTTP.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines:


# ==== 6. AUTH ====================================================================================================
# Sign, verify and revoke tokens; sessions and sign-in links.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines:


# ==== 7. RESOURCES ===============================================================================================
# Files, Forms, Views, Apps.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines:


# ==== 8. PROVIDERS ===============================================================================================
# SqlProvider (SQLite) and FileProvider (a folder): the only section that knows drivers. What both must agree on to the
# letter, the order of values, filters and cursors, is written once as sort_key, Lookup and GroupCommit.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines: CHUNK_BYTES STAGE_BYTES NINES LOOSE_STAGED_S LOOSE_REPLACED_S number_key sort_key fold_case
#          has_text check_condition key_test field_of Lookup check_commit check_version check_blob rechunk Job
#          GroupCommit ProcessLock may_write SQL_SIGNS SQL_TOKENS read_statement quote_name bindable select_condition
#          compose_select has_wal_reset_fault SQLITE_AWAY RECORDS_SCHEMA BLOBS_SCHEMA sqlite_number sqlite_member
#          sqlite_authorize sqlite_field SqliteLookup SqlitePool plain_cell ChunkReader SqlProvider disk_errors
#          sync_folder write_fully FileReader JournalEntry write_journal_line read_journal_line copy_value Journal
#          FileProvider

CHUNK_BYTES = 256 * 1024
STAGE_BYTES = 4 * 1024 * 1024  # what one commit of an upload into a database holds, and so its memory
NINES = str.maketrans("0123456789", "9876543210")
LOOSE_STAGED_S = 86_400
LOOSE_REPLACED_S = 3_600  # readers of a replaced blob have this long to finish


def number_key(number: int | float | Decimal) -> str:
    """Text that sorts as numbers do, exactly; a float is the decimal that its repr says."""
    if not number:
        return "1"
    if isinstance(number, int):
        digits = str(abs(number))
        exponent = len(digits) - 1
    else:
        exact = Decimal(repr(number)) if isinstance(number, float) else number
        digits, _, scale = f"{exact.copy_abs():e}".replace(".", "").partition("e")
        exponent = int(scale)
    if number > 0:
        return f"2{10**18 + exponent:019d}{digits.rstrip('0')}"
    return f"0{10**18 - exponent:019d}{digits.rstrip('0').translate(NINES)}~"


def sort_key(value: Json) -> str:
    """Text that sorts, by code point, as Query orders field values; its first letter is the type.

    "" is null or missing, then b bools, n numbers, t texts, and z for lists and objects, which compare with nothing.
    """
    if isinstance(value, str):
        return "t" + value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "b1" if value else "b0"
    return "n" + number_key(value) if isinstance(value, int | float | Decimal) else "z"


def fold_case(text: str) -> str:
    """Text as it is compared whatever its case (Unicode canonical caseless matching, composed)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def has_text(key: str, folded: str) -> bool:
    """Whether a field whose sort_key is `key` is a text that contains what fold_case made of the search."""
    return key[:1] == "t" and folded in fold_case(key[1:])


def check_condition(condition: Condition) -> None:
    """Nothing, or BadRequest if the operator is none or its value has the wrong shape."""
    if condition.op not in OPERATORS:
        raise BadRequest(f"{condition.op!r} is no operator{nearest(condition.op, OPERATORS)}: {', '.join(OPERATORS)}")
    if condition.op == "in" and not isinstance(condition.value, list | tuple):
        raise BadRequest(f"{condition.field}: in takes a list")
    if condition.op == "null" and not isinstance(condition.value, bool):
        raise BadRequest(f"{condition.field}: null takes true or false")


def key_test(condition: Condition) -> Callable[[str], bool]:
    """The test of a checked condition on the sort_key of its field."""
    op, value, wanted = condition.op, condition.value, sort_key(condition.value)
    kind = wanted[:1] if wanted[:1] in tuple("bnt") else "none"
    if op == "null":
        return lambda key: (key == "") is value
    if op == "in":
        keys = {key for key in map(sort_key, value) if key[:1] in tuple("bnt")}
        return keys.__contains__
    if op == "ne":
        return lambda key: key != wanted or kind == "none"
    if op in ("contains", "prefix"):
        kind = "t" if kind == "t" else "none"
        part = wanted[1:]
        return lambda key: key[:1] == kind and (key.startswith(part, 1) if op == "prefix" else key.find(part, 1) > 0)
    compare = getattr(operator, {"lte": "le", "gte": "ge"}.get(op, op))
    return lambda key: key[:1] == kind and compare(key, wanted)


def field_of(record: Record, name: str) -> Json:
    """A field of a record as Query names it: None if missing."""
    if name in ("id", "version"):
        return record.key if name == "id" else record.version
    return record.value.get(name)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A checked Query: `terms` are (field, descending) down to the key, which breaks the ties.

    `after` is the sort_key of every term and the key of the record that the cursor stands on, or None.
    """

    query: Query
    terms: tuple[tuple[str, bool], ...]
    key_descends: bool
    after: tuple[str, ...] | None
    tests: tuple[tuple[str, Callable[[str], bool]], ...]

    @classmethod
    def of(cls, query: Query) -> Lookup:
        """BadRequest on a bad operator and on the cursor of another query."""
        for condition in query.where:
            check_condition(condition)
        named = [(name.removeprefix("-"), name.startswith("-")) for name in query.order_by]
        upto = next((place for place, (name, _) in enumerate(named) if name == "id"), len(named))
        descends = upto < len(named) and named[upto][1]
        lookup = cls(query, tuple(named[:upto]), descends, None, tuple((c.field, key_test(c)) for c in query.where))
        return dataclasses.replace(lookup, after=lookup._position(query.after)) if query.after else lookup

    def _mark(self) -> str:
        """Tells a cursor of this query from those of others."""
        query = self.query
        where = [[c.field, c.op, c.value] for c in query.where]
        parts = [query.table, where, list(query.order_by), query.search, list(query.search_fields)]
        return hashlib.sha256(dump_json(parts).encode()).hexdigest()[:12]

    def _position(self, cursor: str) -> tuple[str, ...]:
        mark, *position = decode_cursor(cursor, len(self.terms) + 2)
        if mark != self._mark() or not all(isinstance(part, str) and not check_text(part) for part in position):
            raise BadRequest("_next is a cursor of another list: leave it out when the filter or the order changes")
        return tuple(position)

    def position(self, record: Record) -> tuple[str, ...]:
        """Where the record stands in this order."""
        return (*(sort_key(field_of(record, name)) for name, _ in self.terms), record.key)

    def page(self, records: list[Record]) -> Page:
        """A page of the query's first records, of which there is one over the limit if more follow."""
        limit = max(self.query.limit, 0)
        items = records[:limit]
        more = len(records) > limit and bool(items)
        return Page(items, encode_cursor(self._mark(), *self.position(items[-1])) if more else None)

    def selects(self, record: Record) -> bool:
        """Whether the record meets the filter and the search, the cursor aside."""
        query = self.query
        for name, test in self.tests:
            if not test(sort_key(field_of(record, name))):
                return False
        if not query.search:
            return True
        folded = fold_case(query.search)
        return any(has_text(sort_key(field_of(record, f)), folded) for f in query.search_fields)

    def follows(self, record: Record) -> bool:
        """Whether the record stands behind the cursor."""
        if self.after is None:
            return True
        downwards = (*(descends for _, descends in self.terms), self.key_descends)
        for mine, other, descends in zip(self.position(record), self.after, downwards, strict=True):
            if mine != other:
                return (mine < other) is descends
        return False

    def first(self, records: Iterable[Record]) -> list[Record]:
        """Of records in memory those of the page and one more, in order."""
        rows = [r for r in records if self.selects(r) and self.follows(r)]
        wanted = max(self.query.limit, 0) + 1
        if not self.terms:
            take = heapq.nlargest if self.key_descends else heapq.nsmallest
            return take(wanted, rows, key=lambda r: r.key)
        rows.sort(key=lambda r: r.key, reverse=self.key_descends)
        for name, descends in reversed(self.terms):
            rows.sort(key=lambda r: sort_key(field_of(r, name)), reverse=descends)
        return rows[:wanted]


def check_commit(writes: Sequence[Write]) -> None:
    """Nothing, or Invalid if a key or value cannot be stored or a key stands twice."""
    check_writes(writes)
    places = [(w.table, w.key) for w in writes]
    if len(set(places)) < len(places):
        twice = next(key for key in places if places.count(key) > 1)
        raise Invalid(f"the key {twice[1]!r} stands twice in one commit")


def check_version(index: int, write: Write, version: int) -> None:
    """Nothing, or Conflict if the record, at `version` (0 = absent), is not what the write expects."""
    if isinstance(write, Insert) and version:
        raise Conflict(f"{write.table}: there is already a record {write.key}", index=index)
    if not isinstance(write, Insert) and write.version is not None and (write.version != version or not version):
        state = f"is at version {version}" if version else "does not exist"
        raise Conflict(f"{write.table}: record {write.key} {state} and not at version {write.version}", index=index)


def check_blob(path: str, present: Blob | None, if_match: str | None, if_none_match: bool) -> None:
    """Nothing, or PreconditionFailed if what is present at path is not what a caller expects."""
    if if_none_match and present:
        raise PreconditionFailed(f"{path} exists already")
    if if_match is not None and (present is None or present.etag != if_match):
        raise PreconditionFailed(f"{path} was changed meanwhile" if present else f"{path} does not exist")


def rechunk(chunks: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """The same bytes in pieces of exactly size_bytes, but for the last."""
    held = bytearray()
    for chunk in chunks:
        for start in range(0, len(chunk), size_bytes):
            held += chunk[start : start + size_bytes]
            while len(held) >= size_bytes:
                yield bytes(held[:size_bytes])
                del held[:size_bytes]
    if held:
        yield bytes(held)


class Job:
    """Work that waits for its group to be committed; then it has a result or an error."""

    __slots__ = ("done", "error", "result", "wake", "work")

    def __init__(self, work: Any) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.wake = threading.Event()


class GroupCommit:
    """Threads hand in work; one of them, the leader, runs all that is waiting as one commit and wakes the others.

    `run` gets the jobs in order and gives each a result or an error of its own; what it raises fails them all.
    """

    def __init__(self, run: Callable[[list[Job]], None]) -> None:
        self._run = run
        self._mutex = threading.Lock()
        self._waiting: list[Job] = []
        self._led = False

    def submit(self, work: Any) -> Any:
        """The result of the work, once it is durable."""
        job = Job(work)
        with self._mutex:
            self._waiting.append(job)
            leads, self._led = not self._led, True
        if not leads:
            self._await(job)
        if not job.done:
            self._lead()
        if job.error:
            raise job.error
        return job.result

    def _await(self, job: Job) -> None:
        """Until the job is done or chosen to lead."""
        try:
            job.wake.wait()
        except BaseException:
            with self._mutex:
                if job in self._waiting:
                    self._waiting.remove(job)
                    if job.wake.is_set():
                        self._pass_on()
            raise

    def _lead(self) -> None:
        with self._mutex:
            jobs, self._waiting = self._waiting, []
        try:
            self._run(jobs)
        except BaseException as error:
            self._fail(jobs, error)
            if not isinstance(error, Exception):
                raise
        finally:
            with self._mutex:
                self._pass_on()
            for job in jobs:
                job.done = True
                job.wake.set()

    def _pass_on(self) -> None:
        """Choose the next leader; the caller holds the mutex."""
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].wake.set()

    @staticmethod
    def _fail(jobs: list[Job], error: BaseException) -> None:
        """The same error for every job, each its own object: a raised exception belongs to one thread."""
        for job in jobs:
            known = error if isinstance(error, AppError) else Unavailable("the commit was broken off; nothing was stored")
            job.error = copy.copy(known)
            job.error.__cause__ = error.__cause__ or error


class ProcessLock:
    """One holder among all threads and processes that name the same file; not re-entrant.

    Where the system has no flock it holds off the threads of this process only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._descriptor = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits for the lock; OSError if the file cannot be made."""
        with self._threads:
            if fcntl is None:
                yield
                return
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Forget the file; it is made again when needed."""
        with self._threads:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def may_write(folder: Path) -> bool:
    """Whether this account can write in a folder, or make it."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


SQL_SIGNS = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
SQL_TOKENS = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|::"
    r"|:(?P<name>[A-Za-z_]\w*)|(?P<end>;)|(?P<space>\s+)|.",
    re.DOTALL,
)


def read_statement(statement: str) -> tuple[str, set[str]]:
    """A statement without trailing semicolon and comments, and the names of its parameters; ConfigError if it is two."""
    names, length, ended = set(), 0, False
    for token in SQL_TOKENS.finditer(statement):
        if token["comment"] or token["space"]:
            continue
        if ended and not token["end"]:
            raise ConfigError("the statement holds two statements: a view is one select")
        ended = ended or bool(token["end"])
        length = length if ended else token.end()
        if token["name"]:
            names.add(token["name"])
    return statement[:length], names


def quote_name(name: str) -> str:
    """An SQL identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def bindable(value: Json) -> Json:
    """A value as SQL drivers take it: bool as integer, Decimal as float, lists and objects as JSON text."""
    if isinstance(value, str) and (problem := check_text(value)):
        raise BadRequest(f"a parameter {problem}")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        return float(value)
    return dump_json(value) if isinstance(value, list | dict) else value


def select_condition(condition: Condition, bind: Callable[[Json], str]) -> str:
    """A condition on a column as portable SQL; `bind` keeps a value and answers its placeholder."""
    check_condition(condition)
    column, op, value = quote_name(condition.field), condition.op, condition.value
    text = f"cast({column} as text)"
    if op == "null":
        return f"{column} is {'' if value else 'not '}null"
    if op == "in":
        return f"{column} in ({', '.join(map(bind, value))})" if value else "1 = 0"
    if op == "ne":
        return f"({column} is null or {column} <> {bind(value)})" if value is not None else "1 = 1"
    if value is None or (op in ("contains", "prefix") and not isinstance(value, str)):
        return "1 = 0"
    if op in ("contains", "prefix") and not value:
        return f"{column} is not null"
    if op == "contains":
        return f"length(replace({text}, {bind(value)}, '')) < length({text})"
    if op == "prefix":
        return f"substr({text}, 1, {len(value)}) = {bind(value)}"
    return f"{column} {SQL_SIGNS[op]} {bind(value)}"


def compose_select(select: Select, statement: str, columns: Sequence[str], search_sql: str) -> tuple[str, dict[str, Json]]:
    """The statement with what is asked of its rows around it, and all values to bind by name; portable SQL.

    `columns` are the statement's own; BadRequest on others in where or order_by. `search_sql` is the backend's test of
    whether {text} contains {value}, whatever its case.
    """
    values = dict(select.params)

    def bind(value: Json) -> str:
        values[f"satchel_{len(values)}"] = value
        return f":satchel_{len(values) - 1}"

    for name in [c.field for c in select.where] + [name.removeprefix("-") for name in select.order_by]:
        if name not in columns:
            raise BadRequest(f"there is no column {name!r}{nearest(name, columns)}")
    tests = [select_condition(condition, bind) for condition in select.where]
    if select.search and columns:
        texts = [f"cast({quote_name(name)} as text)" for name in columns]
        value = bind(fold_case(select.search))
        tests.append("(" + " or ".join(search_sql.format(text=text, value=value) for text in texts) + ")")
    terms = [
        quote_name(name.removeprefix("-")) + (" desc nulls last" if name.startswith("-") else " asc nulls first")
        for name in select.order_by
    ]
    sql = f"select * from (\n{statement}\n) as satchel_view"  # noqa: S608 (the statement is the administrator's)
    sql += f" where {' and '.join(tests)}" if tests else ""
    sql += f" order by {', '.join(terms)}" if terms else ""
    if select.limit is not None or select.offset:
        sql += f" limit {bind(2**63 - 1 if select.limit is None else select.limit)} offset {bind(select.offset)}"
    return sql, values


def has_wal_reset_fault(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can corrupt a WAL database when a write and a checkpoint meet (sqlite.org/wal.html)."""
    mended = (version[:2] == (3, 44) and version[2] >= 6) or (version[:2] == (3, 50) and version[2] >= 7)
    return (3, 7, 0) <= version <= (3, 51, 2) and not mended


SQLITE_AWAY = {
    "BUSY": ("is busy", "another program holds the database locked"),
    "LOCKED": ("is busy", "another connection holds the table locked"),
    "PROTOCOL": ("is busy", "the lock protocol of the write-ahead log gave up"),
    "CANTOPEN": ("cannot be opened", "does it exist, and may this account read and write it and its folder?"),
    "PERM": ("cannot be opened", "may this account read and write it and its folder?"),
    "READONLY": ("cannot be written", "may this account write the file and its folder?"),
    "IOERR": ("cannot be read or written", "the disk or the file system reports errors"),
    "CORRUPT": ("is damaged", "restore a backup, or try sqlite3's .recover on a copy"),
    "NOTADB": ("is no SQLite database", "is the url right? else restore a backup"),
}
"""Primary result codes that say the database is away: what everybody may read, and what helps the operator."""

# With a rowid: without one 2 KB rows took twice the time to insert and 2.6 times to get; 600 B rows were alike.
RECORDS_SCHEMA = (
    "create table if not exists {} (key text primary key not null, version integer not null, data text not null)"
)
BLOBS_SCHEMA = """
create table if not exists _blobs (path text primary key not null, parent text not null, content text,
    size_bytes integer not null, modified_at real not null);
create index if not exists _blobs_parent on _blobs (parent, path);
create table if not exists _chunks (content text not null, number integer not null, bytes blob not null,
    primary key (content, number));
create table if not exists _loose (content text primary key not null, size_bytes integer not null, expires_at real not null);
"""
"""A row of _blobs without content is a folder. _loose are contents that no path has: staged, or replaced."""


def sqlite_number(value: int | float | str) -> str:
    """number_key for SQL: of an integer, or of a number as json_extract gives it when asked twice, "[0.1,0.1]"."""
    return number_key(Decimal(value[1 : value.index(",")]) if isinstance(value, str) else value)


def sqlite_member(data: str, name: str) -> str | None:
    """A field of a JSON object as JSON text, for names that no JSON path of SQLite can hold."""
    value = load_json(data)
    return dump_json(value[name]) if name in value else None


def sqlite_authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allows what reads: select, columns, recursion and functions without effects outside."""
    if action == sqlite3.SQLITE_FUNCTION:
        unsafe = second in ("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit")
        return sqlite3.SQLITE_DENY if unsafe else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA:  # full-text tables ask for it by themselves
        return sqlite3.SQLITE_OK if first == "data_version" and second is None else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_UPDATE:  # what virtual tables do while they are set up; by hand SQLite refuses it
        return sqlite3.SQLITE_OK if first == "sqlite_master" else sqlite3.SQLITE_DENY
    reads = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY


def sqlite_field(name: str, number: int, values: dict[str, Json]) -> str:
    """SQL whose value is the sort_key of a record's field; what it binds is added to values."""
    if name in ("id", "version"):
        return "'t' || key" if name == "id" else "'n' || number_key(version)"
    path, document = f":path{number}", "data"
    if set(name) & {'"', "\\"} or any(c < " " for c in name):
        document = f"json_member(data, :name{number})"
        values |= {f"name{number}": name, f"path{number}": "$"}
    else:
        values[f"path{number}"] = f'$."{name}"'
    return (
        f"case json_type({document}, {path}) when 'text' then 't' || json_extract({document}, {path})"
        f" when 'integer' then 'n' || number_key(json_extract({document}, {path}))"
        f" when 'real' then 'n' || number_key(json_extract({document}, {path}, {path}))"
        " when 'true' then 'b1' when 'false' then 'b0' when 'array' then 'z' when 'object' then 'z' else '' end"
    )


class SqliteLookup:
    """A Lookup as SQL over the columns f0, f1… that hold the sort_key of every field it needs."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.values: dict[str, Json] = {}
        query = lookup.query
        searched = query.search_fields if query.search else ()
        names = dict.fromkeys([c.field for c in query.where] + [name for name, _ in lookup.terms] + list(searched))
        self._columns = {name: f"f{number}" for number, name in enumerate(names)}
        tests = [self._condition(c) for c in query.where] + ([self._search(searched)] if query.search else [])
        fields = [f", {sqlite_field(name, n, self.values)} as f{n}" for n, name in enumerate(names)]
        self._inner = f"(select key, version, data{''.join(fields)} from {quote_name(query.table)})"  # noqa: S608
        self._tests = tests

    def _bind(self, value: Json) -> str:
        self.values[f"v{len(self.values)}"] = value
        return f":v{len(self.values) - 1}"

    def _condition(self, condition: Condition) -> str:
        column, op = self._columns[condition.field], condition.op
        if op == "null":
            return f"{column} {'=' if condition.value else '<>'} ''"
        if op == "in":
            keys = [key for key in map(sort_key, condition.value) if key[:1] in tuple("bnt")]
            return f"{column} in ({', '.join(map(self._bind, keys))})"
        key = sort_key(condition.value)
        if key[:1] not in tuple("bnt") or (op in ("contains", "prefix") and key[0] != "t"):
            return "1" if op == "ne" else "0"
        if op in ("contains", "prefix"):
            starts = (
                f"substr({column}, 1, {len(key) if op == 'prefix' else 1}) = {self._bind(key if op == 'prefix' else 't')}"
            )
            return starts if op == "prefix" else f"({starts} and instr(substr({column}, 2), {self._bind(key[1:])}) > 0)"
        if op in ("eq", "ne"):
            return f"{column} {'=' if op == 'eq' else '<>'} {self._bind(key)}"
        bound = f"{column} >= {self._bind(key[0])}" if op[0] == "l" else f"{column} < {self._bind(chr(ord(key[0]) + 1))}"
        return f"({column} {SQL_SIGNS[op]} {self._bind(key)} and {bound})"

    def _search(self, names: Iterable[str]) -> str:
        folded = self._bind(fold_case(self._lookup.query.search))
        return "(" + (" or ".join(f"has_text({self._columns[name]}, {folded})" for name in names) or "0") + ")"

    def _behind(self) -> str:
        """The keyset condition of what follows the cursor."""
        lookup = self._lookup
        assert lookup.after is not None
        *places, key = (self._bind(part) for part in lookup.after)
        sql = f"key {'<' if lookup.key_descends else '>'} {key}"
        for (name, descends), place in reversed(list(zip(lookup.terms, places, strict=True))):
            column = self._columns[name]
            sql = f"({column} {'<' if descends else '>'} {place} or ({column} = {place} and {sql}))"
        return sql

    def rows(self) -> str:
        """Selects key, version and data of the page and one more."""
        lookup = self._lookup
        tests = self._tests + ([self._behind()] if lookup.after else [])
        where = f" where {' and '.join(tests)}" if tests else ""
        terms = [f"{self._columns[name]}{' desc' if descends else ''}" for name, descends in lookup.terms]
        order = ", ".join([*terms, "key desc" if lookup.key_descends else "key"])
        limit = self._bind(max(lookup.query.limit, 0) + 1)
        return f"select key, version, data from {self._inner}{where} order by {order} limit {limit}"  # noqa: S608

    def count(self) -> str:
        """Selects how many records meet the filter."""
        where = f" where {' and '.join(self._tests)}" if self._tests else ""
        return f"select count(*) from {self._inner}{where}"  # noqa: S608


class SqlitePool:
    """Read-only connections to one database, the one used last first. They can neither write nor checkpoint."""

    def __init__(self, path: Path, keep: int = 8) -> None:
        self._path = path
        self._keep = keep
        self._mutex = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self.is_open = False

    def open(self) -> None:
        """Let connections be taken."""
        self.is_open = True

    def take(self) -> sqlite3.Connection:
        """A connection that nobody else uses until it is given back; sqlite3.Error if the database is away."""
        with self._mutex:
            if not self.is_open:
                raise Unavailable("the provider is not open")
            if self._idle:
                return self._idle.pop()
        uri = self._path.absolute().as_uri() + "?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("pragma query_only = on")
            connection.create_function("number_key", 1, sqlite_number, deterministic=True)
            connection.create_function("json_member", 2, sqlite_member, deterministic=True)
            connection.create_function("has_text", 2, has_text, deterministic=True)
            connection.create_function("fold_case", 1, lambda text: text and fold_case(text), deterministic=True)
            connection.set_authorizer(sqlite_authorize)
        except BaseException:
            connection.close()
            raise
        return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """End the use of a connection, whose cursors are closed."""
        connection.set_progress_handler(None, 0)
        with self._mutex:
            if self.is_open and len(self._idle) < self._keep:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle, and what is in use when it is given back."""
        with self._mutex:
            self.is_open = False
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def plain_cell(value: Json) -> Json:
    """A value of a row as JSON can say it: bytes as base64 text, infinity as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class ChunkReader:
    """Bytes of a blob kept in chunks, fetched one at a time, so that a slow client holds no snapshot."""

    def __init__(self, fetch: Callable[[int], bytes], start: int, end: int) -> None:
        self._fetch = fetch
        self._at = start
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        while self._at < self._end:
            number, skip = divmod(self._at, CHUNK_BYTES)
            piece = self._fetch(number)[skip : skip + self._end - self._at]
            self._at += len(piece)
            yield piece

    def close(self) -> None:
        """Give nothing more."""
        self._end = 0


class SqlProvider(Records, Blobs, Queries):
    """An SQLite database: a table of key, version and data for each table of records, and blobs in chunks.

    Writes go through one connection of a process, grouped, under a lock that is held between processes for every
    write and checkpoint. Reads have connections of their own. A database that only queries use is never altered.
    """

    kind = "sql"
    atomic = True
    busy_s: ClassVar[float] = 5  # how long another program may hold the database before a write is given up
    settings = (
        Setting("url", "text", REQUIRED, "where the database is: sqlite:///path, relative to app.toml, or sqlite:////path"),
    )

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path, *, clock: Clock = time.time) -> None:
        url = options.get("url")
        place = f"/providers/{name}/url"
        if (
            not isinstance(url, str)
            or not url.startswith("sqlite:///")
            or url.removeprefix("sqlite:///") in ("", ":memory:")
        ):
            detail = "sqlite:///path is supported, such as sqlite:///data/app.db; other databases are kinds of plugins"
            raise ConfigError(f"provider {name}: url is not of SQLite: {detail}", faults=[Fault(place, "url", detail)])
        self.name = name
        self._clock = clock
        self._path = folder / url.removeprefix("sqlite:///")
        self._lock = ProcessLock(self._path.with_name(self._path.name + ".lock"))
        self._pool = SqlitePool(self._path)
        self._group = GroupCommit(self._commit_jobs)
        self._writer: sqlite3.Connection | None = None
        self._tables: set[str] = set()  # known to be there and to be ours
        self._blobs_made = False
        self._swept_at = -math.inf

    def open(self) -> None:
        """Creates nothing."""
        self._pool.open()
        self.ping()

    def close(self) -> None:
        """The writer goes last and inside the lock, because its close is a checkpoint."""
        self._pool.close()
        writer, self._writer = self._writer, None
        self._tables.clear()
        self._blobs_made = False
        with suppress(OSError, sqlite3.Error):
            if writer:
                with self._lock.held():
                    writer.close()
        self._lock.close()

    def ping(self) -> float:
        """Reads from the database if there is one, else looks at the folder that would hold it."""
        began = time.perf_counter()
        if self._path.exists():
            with self._reading("ping") as connection:
                connection.execute("select count(*) from sqlite_master").fetchone()
        elif not may_write(self._path.parent):
            raise Unavailable(
                f"provider {self.name}: the database cannot be created", hint=f"no right to write {self._path}"
            )
        return time.perf_counter() - began

    def warnings(self) -> list[str]:
        """About the SQLite library and the system's locks."""
        found = []
        if has_wal_reset_fault(sqlite3.sqlite_version_info[:3]):
            found.append(
                f"SQLite {sqlite3.sqlite_version} can corrupt a database when a write and a checkpoint of two programs meet."
                " Satchel's lock keeps its own processes apart; let no other program write while it runs, or use 3.51.3."
            )
        if fcntl is None:
            found.append("this system has no flock: processes that write at once wait for each other badly")
        return found

    # -- errors and connections

    def _explain(self, error: sqlite3.Error | OSError, doing: str) -> AppError:
        """The AppError for a driver's error. The message names no path; the hint does."""
        code = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]
        who = f"provider {self.name}: {doing}: "
        if code == "FULL" or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull(who + "the disk is full", hint=f"make room for {self._path}")
        if code == "TOOBIG":
            return TooLarge(who + "the value is larger than SQLite stores")
        what, hint = SQLITE_AWAY.get(code, ("failed", ""))
        return Unavailable(f"{who}the database {what}", hint=f"{self._path}: {error}" + (f" ({hint})" if hint else ""))

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Driver errors leave as AppErrors."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._tables.clear()
            raise self._explain(error, doing) from error

    @contextmanager
    def _reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        """A connection of the pool."""
        with self._errors(doing):
            connection = self._pool.take()
            try:
                yield connection
            finally:
                self._pool.give_back(connection)

    def _prepare(self, *, blobs: bool = False) -> None:
        """Make the database and, when asked, the tables of blobs, unless that was done in this process."""
        if self._writer is None or (blobs and not self._blobs_made):
            self._submit(self._make_blobs if blobs else lambda _: None)

    def _make_blobs(self, connection: sqlite3.Connection) -> None:
        for statement in BLOBS_SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        self._blobs_made = True

    def _opened_writer(self) -> sqlite3.Connection:
        """The writing connection; made, with the database, at its first use. The caller holds the lock."""
        if self._writer is None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, timeout=self.busy_s, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("pragma journal_mode = wal")
                connection.execute("pragma synchronous = full")
                connection.execute("pragma secure_delete = fast")
                connection.execute("pragma journal_size_limit = 67108864")
            except BaseException:
                connection.close()
                raise
            self._writer = connection
        return self._writer

    def _submit(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """The result of the work, after it was committed together with what other threads wanted then."""
        return self._group.submit(work)

    def _commit_jobs(self, jobs: list[Job]) -> None:
        """One transaction for all jobs, each in a savepoint."""
        with self._errors("writing"):
            if not self._pool.is_open:
                raise Unavailable("the provider is not open")
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock.held():
                connection = self._opened_writer()
                connection.execute("begin immediate")
                try:
                    for job in jobs:
                        self._run_job(connection, job)
                    connection.execute("commit")
                except BaseException:
                    self._tables.clear()
                    self._blobs_made = False
                    with suppress(sqlite3.Error):  # SQLite has rolled back by itself, or does at the next open
                        connection.execute("rollback")
                    raise

    def _run_job(self, connection: sqlite3.Connection, job: Job) -> None:
        """One job's work; its own failure undoes it alone, that of the database fails all."""
        connection.execute("savepoint job")
        try:
            with self._errors("writing"):
                job.result = job.work(connection)
        except (Unavailable, StorageFull):
            raise
        except Exception as error:
            connection.execute("rollback to job")
            self._tables.clear()
            job.error = error
        connection.execute("release job")

    # -- records

    def _has_table(self, connection: sqlite3.Connection, table: str) -> bool:
        """Whether the table is there; ConfigError if it is another than Satchel makes."""
        if table in self._tables:
            return True
        found = connection.execute("select name, type from sqlite_master where name = ? collate nocase", (table,)).fetchone()
        problem = ""
        if table.startswith("sqlite_") or table in ("_blobs", "_chunks", "_loose") or check_text(table) or not table:
            problem = "is a name that the database keeps for itself"
        elif found and found != (table, "table"):
            problem = f"is taken by the {found[1]} {found[0]}"
        elif found:
            columns = connection.execute(f"select * from {quote_name(table)} limit 0").description  # noqa: S608
            if [column[0] for column in columns][:3] != ["key", "version", "data"]:
                problem = "exists and was not made by Satchel: records need the columns key, version and data"
        if problem:
            raise ConfigError(f"provider {self.name}: the table {table} {problem}; choose another name for it")
        if found:
            self._tables.add(table)
        return bool(found)

    def _make_tables(self, tables: Iterable[str], connection: sqlite3.Connection) -> None:
        for table in tables:
            if not self._has_table(connection, table):
                connection.execute(RECORDS_SCHEMA.format(quote_name(table)))

    def prepare(self, tables: Iterable[str]) -> None:
        self._submit(functools.partial(self._make_tables, list(tables)))

    def get(self, table: str, key: str) -> Record | None:
        if not is_key(key):
            return None
        self._prepare()
        with self._reading("reading records") as connection:
            if not self._has_table(connection, table):
                return None
            sql = f"select version, data from {quote_name(table)} where key = ?"  # noqa: S608
            row = connection.execute(sql, (key,)).fetchone()
        return Record(key, row[0], load_json(row[1])) if row else None

    def find(self, query: Query) -> Page:
        lookup = Lookup.of(query)
        sql = SqliteLookup(lookup)
        rows = self._lookup(query.table, sql.rows(), sql.values)
        return lookup.page([Record(key, version, load_json(data)) for key, version, data in rows])

    def count(self, query: Query) -> int:
        sql = SqliteLookup(Lookup.of(dataclasses.replace(query, after="")))
        rows = self._lookup(query.table, sql.count(), sql.values)
        return int(rows[0][0]) if rows else 0

    def _lookup(self, table: str, sql: str, values: dict[str, Json]) -> list[Any]:
        """Rows of a statement over a table, none if there is no such table."""
        self._prepare()
        with self._reading("reading records") as connection:
            return connection.execute(sql, values).fetchall() if self._has_table(connection, table) else []

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        check_commit(writes)
        if not writes:
            return []
        texts = [dump_json(getattr(write, "value", None)) for write in writes]
        answer: list[Record] = self._submit(lambda connection: self._write_all(connection, writes, texts))
        return answer

    def _write_all(self, connection: sqlite3.Connection, writes: Sequence[Write], texts: list[str]) -> list[Record]:
        self._make_tables({write.table for write in writes}, connection)
        return [self._write_one(connection, i, write, texts[i]) for i, write in enumerate(writes)]

    def _write_one(self, connection: sqlite3.Connection, index: int, write: Write, text: str) -> Record:
        table = quote_name(write.table)
        row = connection.execute(f"select version from {table} where key = ?", (write.key,)).fetchone()  # noqa: S608
        version = row[0] if row else 0
        check_version(index, write, version)
        if isinstance(write, Delete):
            connection.execute(f"delete from {table} where key = ?", (write.key,))  # noqa: S608
            return Record(write.key, 0, {})
        sql = f"update {table} set version = ?2, data = ?3 where key = ?1"  # noqa: S608
        if not version:
            sql = f"insert into {table} (key, version, data) values (?1, ?2, ?3)"  # noqa: S608
        connection.execute(sql, (write.key, version + 1, text))
        return Record(write.key, version + 1, write.value)

    # -- blobs

    @staticmethod
    def _blob_at(connection: sqlite3.Connection, path: str) -> Blob | Folder | None:
        sql = "select size_bytes, modified_at, content from _blobs where path = ?"
        row = connection.execute(sql, (path,)).fetchone()
        if row is None:
            return None
        return Folder(path) if row[2] is None else Blob(path, *row)

    def _entry(self, path: str) -> Blob | Folder | None:
        self._prepare(blobs=True)
        with self._reading("reading blobs") as connection:
            return self._blob_at(connection, path)

    def stat(self, path: str) -> Blob | None:
        found = self._entry(path)
        return found if isinstance(found, Blob) else None

    def is_folder(self, path: str) -> bool:
        return not path or isinstance(self._entry(path), Folder)

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> ChunkReader:
        blob = self.stat(path)
        if blob is None:
            raise NotFound(f"there is no file {path}")
        check_blob(path, blob, if_match, False)
        end = blob.size_bytes if length is None else min(blob.size_bytes, start + length)
        return ChunkReader(functools.partial(self._chunk, blob), start, end)

    def _chunk(self, blob: Blob, number: int) -> bytes:
        with self._reading("reading blobs") as connection:
            sql = "select bytes from _chunks where content = ? and number = ?"
            row = connection.execute(sql, (blob.etag, number)).fetchone()
        if row is None:
            raise Unavailable(f"{blob.path} was replaced or removed too long ago to be read to its end")
        return bytes(row[0])

    def stage(self, chunks: Iterable[bytes]) -> Staged:
        self._prepare(blobs=True)
        content, digest, size = new_id(self._clock()), hashlib.sha256(), 0
        try:
            for batch in rechunk(chunks, STAGE_BYTES):
                digest.update(batch)
                self._submit(functools.partial(self._store, content, size, batch))
                size += len(batch)
            if not size:
                self._submit(functools.partial(self._store, content, 0, b""))
        except BaseException:
            with suppress(AppError):  # what cannot be removed now is swept later
                self.discard(Staged(content, size, ""))
            raise
        return Staged(content, size, digest.hexdigest())

    def _store(self, content: str, at: int, batch: bytes, connection: sqlite3.Connection) -> None:
        """Add a batch to staged bytes, of which `at` are there."""
        self._loosen(connection, content, at + len(batch), LOOSE_STAGED_S)
        pieces = [(content, (at + i) // CHUNK_BYTES, batch[i : i + CHUNK_BYTES]) for i in range(0, len(batch), CHUNK_BYTES)]
        connection.executemany("insert into _chunks (content, number, bytes) values (?, ?, ?)", pieces)

    def _loosen(self, connection: sqlite3.Connection, content: str, size_bytes: int, keep_s: int) -> None:
        """Keep bytes that no path has for that long."""
        row = (content, size_bytes, self._clock() + keep_s)
        connection.execute("insert or replace into _loose (content, size_bytes, expires_at) values (?, ?, ?)", row)

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        self._prepare(blobs=True)
        self._sweep()

        def work(connection: sqlite3.Connection) -> Blob:
            present = self._blob_at(connection, path)
            if isinstance(present, Folder):
                raise Conflict(f"{path} is a folder")
            check_blob(path, present, if_match, if_none_match)
            if not connection.execute("delete from _loose where content = ?", (staged.id,)).rowcount:
                raise NotFound("the staged bytes are gone: they were published, discarded or left for a day")
            if present:
                connection.execute("delete from _blobs where path = ?", (path,))
                self._loosen(connection, present.etag, present.size_bytes, LOOSE_REPLACED_S)
            blob = Blob(path, staged.size_bytes, self._clock(), staged.id)
            self._place(connection, blob)
            return blob

        answer: Blob = self._submit(work)
        return answer

    def _place(self, connection: sqlite3.Connection, blob: Blob) -> None:
        """Add the blob and the folders above it; Conflict if one of those is a file."""
        sql = "insert into _blobs (path, parent, content, size_bytes, modified_at) values (?, ?, ?, ?, ?)"
        parent = blob.path.rpartition("/")[0]
        connection.execute(sql, (blob.path, parent, blob.etag, blob.size_bytes, blob.modified_at))
        while parent:
            above = parent.rpartition("/")[0]
            present = self._blob_at(connection, parent)
            if isinstance(present, Blob):
                raise Conflict(f"{parent} is a file and no folder")
            if present:
                return
            connection.execute(sql, (parent, above, None, 0, 0.0))
            parent = above

    def _take_away(self, connection: sqlite3.Connection, path: str) -> None:
        """Remove a blob's row and the folders that it leaves empty."""
        while path:
            connection.execute("delete from _blobs where path = ?", (path,))
            path = path.rpartition("/")[0]
            if connection.execute("select 1 from _blobs where parent = ? limit 1", (path,)).fetchone():
                return

    def discard(self, staged: Staged) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("delete from _loose where content = ?", (staged.id,)).rowcount:
                connection.execute("delete from _chunks where content = ?", (staged.id,))

        self._prepare(blobs=True)
        self._submit(work)

    def _sweep(self) -> None:
        """Drop loose contents whose time is over, in small commits; looks at most once a minute."""
        now = self._clock()
        if now < self._swept_at + 60:
            return
        self._swept_at = now
        with self._reading("sweeping") as connection:
            expired = connection.execute("select content from _loose where expires_at < ?", (now,)).fetchall()

        def work(connection: sqlite3.Connection, content: str) -> bool:
            slice_ = "select rowid from _chunks where content = ? limit 256"
            if connection.execute(f"delete from _chunks where rowid in ({slice_})", (content,)).rowcount:  # noqa: S608
                return True
            connection.execute("delete from _loose where content = ? and expires_at < ?", (content, now))
            return False

        for (content,) in expired:
            while self._submit(functools.partial(work, content=content)):
                pass

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Blob | Folder]:
        self._prepare(blobs=True)
        inside = f"{prefix}/" if prefix else ""
        end = f"{prefix}0" if prefix else "\U0010ffff"  # "0" follows "/"
        where = "content is not null and path < :end" if deep else "parent = :prefix"
        columns = "path, size_bytes, modified_at, content"
        sql = f"select {columns} from _blobs where path > :at and {where} order by path limit 1000"  # noqa: S608
        values = {"at": max(after, inside), "end": end, "prefix": prefix}
        while True:
            with self._reading("listing blobs") as connection:
                rows = connection.execute(sql, values).fetchall()
            yield from (Folder(row[0]) if row[3] is None else Blob(*row) for row in rows)
            if len(rows) < 1000:
                return
            values["at"] = rows[-1][0]

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        def work(connection: sqlite3.Connection) -> None:
            present = self._file_at(connection, path)
            check_blob(path, present, if_match, False)
            self._take_away(connection, path)
            self._loosen(connection, present.etag, present.size_bytes, LOOSE_REPLACED_S)

        self._prepare(blobs=True)
        self._submit(work)

    def _file_at(self, connection: sqlite3.Connection, path: str) -> Blob:
        present = self._blob_at(connection, path)
        if not isinstance(present, Blob):
            raise NotFound(f"there is no file {path}")
        return present

    def move(self, source: str, target: str) -> Blob:
        def work(connection: sqlite3.Connection) -> Blob:
            blob = dataclasses.replace(self._file_at(connection, source), path=target)
            if self._blob_at(connection, target):
                raise Conflict(f"{target} exists already")
            self._place(connection, blob)
            self._take_away(connection, source)
            return blob

        self._prepare(blobs=True)
        answer: Blob = self._submit(work)
        return answer

    # -- queries

    @contextmanager
    def _query_errors(self, select: Select) -> Iterator[None]:
        """Errors of a statement that an administrator wrote."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            code = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]
            if code == "INTERRUPT":
                raise QueryTimeout(f"the query took longer than {select.timeout_s:g} s") from error
            if code in ("AUTH", "READONLY") or "prohibited" in str(error):
                raise ConfigError(f"provider {self.name}: the statement does more than read: {error}") from error
            if code in SQLITE_AWAY or code == "FULL":
                raise self._explain(error, "running a query") from error  # type: ignore[arg-type]
            raise ConfigError(f"provider {self.name}: the statement is wrong: {error}") from error

    def select(self, select: Select) -> Rows:
        statement, names = read_statement(select.statement)
        if names != set(select.params):
            name = min(names ^ set(select.params))
            fault = "is not given" if name in names else "is not in the statement" + nearest(name, names)
            raise ConfigError(f"provider {self.name}: the parameter :{name} {fault}")
        deadline = time.monotonic() + (math.inf if select.timeout_s is None else select.timeout_s)
        with self._query_errors(select):
            connection = self._pool.take()
        try:
            with self._query_errors(select):
                if select.timeout_s is not None:
                    connection.set_progress_handler(lambda: time.monotonic() > deadline, 5000)
                cursor = connection.execute(*self._composed(connection, select, statement))
                if cursor.description is None:
                    raise ConfigError(f"provider {self.name}: the statement gives no rows: a view is one select")
        except BaseException:
            self._pool.give_back(connection)
            raise
        columns = tuple(column[0] for column in cursor.description)
        done = functools.partial(self._end_query, cursor, connection, threading.Lock())
        return Rows(columns, self._stream(cursor, select, deadline, done), done)

    def _composed(self, connection: sqlite3.Connection, select: Select, statement: str) -> tuple[str, dict[str, Json]]:
        """The statement and its values, wrapped if anything is asked of its rows."""
        values: Mapping[str, Json] = select.params
        if select.where or select.search or select.order_by or select.limit is not None or select.offset:
            bound = {name: bindable(value) for name, value in values.items()}
            found = connection.execute(f"select * from (\n{statement}\n) limit 0", bound)  # noqa: S608
            columns = [column[0] for column in found.description]
            statement, values = compose_select(select, statement, columns, "instr(fold_case({text}), {value}) > 0")
        return statement, {name: bindable(value) for name, value in values.items()}

    def _end_query(self, cursor: sqlite3.Cursor, connection: sqlite3.Connection, once: threading.Lock) -> None:
        if once.acquire(blocking=False):
            cursor.close()
            self._pool.give_back(connection)

    def _stream(
        self, cursor: sqlite3.Cursor, select: Select, deadline: float, done: Callable[[], None]
    ) -> Iterator[Sequence[Json]]:
        count = 0
        try:
            with self._query_errors(select):
                while batch := cursor.fetchmany(500):
                    if time.monotonic() > deadline:
                        raise QueryTimeout(f"the query took longer than {select.timeout_s:g} s")
                    for row in batch:
                        count += 1
                        if select.max_rows is not None and count > select.max_rows:
                            raise TooLarge(f"the query gives more than {select.max_rows:,} rows: narrow it")
                        yield tuple(map(plain_cell, row)) if bytes in map(type, row) or float in map(type, row) else row
        finally:
            done()


@contextmanager
def disk_errors(who: str, doing: str) -> Iterator[None]:
    """Errors of the file system leave as AppErrors; the path stands in the hint alone."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{who}: {doing}: the disk is full", hint=str(error)) from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise BadRequest(f"{who}: {doing}: the file system cannot store this name", hint=str(error)) from error
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise Unavailable(f"{who}: {doing}: {reason}", hint=str(error)) from error


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_fully(descriptor: int, data: bytes) -> None:
    """All of data at the descriptor's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class FileReader:
    """Part of a plain file: `fileno()`, `start` and `length` let a runner send it by itself."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.start = start
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self.start)
        left = self.length
        while left:
            chunk = self._file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise Unavailable("the file became shorter while it was read")
            left -= len(chunk)
            yield chunk

    def fileno(self) -> int:
        """The descriptor; its position means nothing."""
        return self._file.fileno()

    def close(self) -> None:
        """Idempotent."""
        self._file.close()


JournalEntry: TypeAlias = tuple[str, str, int, Value | None]  # table, key, version (0 = removed), value


def write_journal_line(commits: Sequence[Sequence[JournalEntry]]) -> bytes:
    """A line of the journal: a JSON array of a checksum (CRC-32 of the rest, in hex) and commits that are one write."""
    body = dump_json(commits).encode()
    return b'["%08x",%s]\n' % (zlib.crc32(body), body)


def read_journal_line(line: bytes) -> list[list[JournalEntry]] | None:
    """The commits of a line, None if it is not whole."""
    body = line[12:-2]
    if line[:12] != b'["%08x",' % zlib.crc32(body) or line[-2:] != b"]\n":
        return None
    commits: list[list[JournalEntry]] = load_json(body)
    return commits


def copy_value(value: Json) -> Json:
    """A JSON value of which nothing is shared with the original."""
    if isinstance(value, dict):
        return {name: copy_value(item) for name, item in value.items()}
    return [copy_value(item) for item in value] if isinstance(value, list | tuple) else value


class Journal:
    """Records in memory and in an append-only file, of which one line is one write, durable when append returns.

    refresh and append are called under a lock that all processes share. A last line that is not whole was never
    acknowledged: refresh passes it over and the next append cuts it off.
    """

    def __init__(self, path: Path, who: str, *, floor: int = 1000) -> None:
        self.problem = ""  # why it could not be compacted
        self.tables: dict[str, dict[str, Record]] = {}
        self.mutex = threading.RLock()  # guards tables
        self._path = path
        self._who = who
        self._floor = floor  # dead entries that are not worth a compaction
        self._descriptor = -1
        self._seen = (0, 0, 0)  # the file's state when it was read
        self._reset()

    def _reset(self) -> None:
        self._size = self._lines = self._entries = 0
        self._synced = False  # whether the name of the file is durable
        with self.mutex:
            self.tables.clear()

    def close(self) -> None:
        """Forget everything; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._seen = -1, (0, 0, 0)
        self._reset()

    def is_fresh(self) -> bool:
        """Whether the file is the one that was read, to its end; one stat call and no lock."""
        try:
            return self._state(os.stat(self._path)) == self._seen
        except FileNotFoundError:
            return self._descriptor < 0

    @staticmethod
    def _state(there: os.stat_result) -> tuple[int, int, int]:
        """What changes with every append: the time too, for a torn end may be replaced by a line of its length."""
        return there.st_ino, there.st_size, there.st_mtime_ns

    def refresh(self) -> None:
        """Read what other processes appended; everything, if they replaced the file."""
        if self.is_fresh():
            return
        if not self._path.exists():
            raise Unavailable(
                f"{self._who}: its journal is gone", hint=f"{self._path} was removed: restore it, then restart"
            )
        with self.mutex, open(self._path, "rb") as file:
            there = os.fstat(file.fileno())
            if self._descriptor < 0 or there.st_ino != self._seen[0] or there.st_size < self._size:
                self.close()
                self._descriptor = os.open(self._path, os.O_RDWR)
            file.seek(self._size)
            for line in file:
                if not self._take(line, file):
                    break
            self._seen = self._state(there)

    def _take(self, line: bytes, file: BinaryIO) -> bool:
        """Apply a line that was read; False if it is the torn end of the file."""
        commits = read_journal_line(line)
        if commits is None:
            if not line.endswith(b"\n") or (b"\0" in line and not file.read(1)):
                return False
            message = f"{self._who}: line {self._lines + 1} of its journal is damaged"
            raise Unavailable(message, hint=f"{self._path}: restore a backup, or remove the line to lose what it says")
        self._apply(commits, len(line))
        return True

    def _apply(self, commits: Iterable[Iterable[JournalEntry]], size_bytes: int) -> None:
        with self.mutex:
            for table, key, version, value in itertools.chain.from_iterable(commits):
                self._entries += 1
                if version:
                    self.tables.setdefault(table, {})[key] = Record(key, version, value or {})
                else:
                    self.tables.get(table, {}).pop(key, None)
        self._size += size_bytes
        self._lines += 1

    def append(self, commits: Sequence[Sequence[JournalEntry]]) -> None:
        """Write one line durably, then apply it; after an OSError everything is as it was."""
        line = write_journal_line(commits)
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not self._synced:
            sync_folder(self._path.parent)
            self._synced = True
        if os.fstat(self._descriptor).st_size != self._size:
            os.ftruncate(self._descriptor, self._size)
        try:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            write_fully(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._apply(load_json(line[12:-2]), len(line))
        self._seen = self._state(os.fstat(self._descriptor))
        self._tidy()

    def _tidy(self) -> None:
        """Compact the journal when more of it is dead than alive; a failure is kept for the operator, the data is safe."""
        live = sum(map(len, self.tables.values()))
        if self._entries - live <= max(live, self._floor):
            return
        try:
            self._compact()
            self.problem = ""
        except OSError as error:
            self.problem = f"its journal could not be compacted: {os.strerror(error.errno or 0)}"
            self._floor *= 2

    def _compact(self) -> None:
        """Write what is alive to a new file and put it in place of the journal."""
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        size = lines = entries = 0
        try:
            rows = ((table, r.key, r.version, r.value) for table, records in self.tables.items() for r in records.values())
            while batch := list(itertools.islice(rows, 500)):
                line = write_journal_line([batch])
                write_fully(descriptor, line)
                size, lines, entries = size + len(line), lines + 1, entries + len(batch)
            os.fsync(descriptor)
            os.replace(fresh, self._path)
        except BaseException:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._descriptor, self._size, self._lines, self._entries = descriptor, size, lines, entries
        self._seen, self._synced = self._state(os.fstat(descriptor)), False


class FileProvider(Records, Blobs):
    """A folder: its files are the blobs, usable by other programs too, and root/.satchel keeps records and uploads.

    Records live in the memory of each process. A folder made from outside counts as one even while it is empty.
    """

    kind = "file"
    atomic = True
    settings = (Setting("root", "path", REQUIRED, "the folder, relative to app.toml; made when first written"),)

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path, *, clock: Clock = time.time) -> None:
        root = options.get("root")
        if not root or not isinstance(root, str | Path):
            detail = "the folder is missing, such as data/files"
            raise ConfigError(f"provider {name}: root: {detail}", faults=[Fault(f"/providers/{name}/root", "root", detail)])
        self.name = name
        self._clock = clock
        self._root = (folder / root).absolute()
        self._own = self._root / ".satchel"
        self._staged = self._own / "staged"
        self._lock = ProcessLock(self._own / "lock")
        self._journal = Journal(self._own / "journal.jsonl", f"provider {name}")
        self._group = GroupCommit(self._commit_jobs)
        self._open = False
        self._swept_at = -math.inf
        self._modified_ns = 0

    def open(self) -> None:
        """Creates nothing."""
        self._open = True
        self.ping()

    def close(self) -> None:
        self._open = False
        with suppress(OSError):
            self._journal.close()
            self._lock.close()

    def ping(self) -> float:
        """Looks at the folder, or at the one that it would be made in."""
        began = time.perf_counter()
        with self._errors("ping"):
            if not may_write(self._root):
                raise PermissionError(errno.EACCES, "not a folder that this account may write", str(self._root))
        return time.perf_counter() - began

    def warnings(self) -> list[str]:
        """About the journal and the system's locks."""
        found = [self._journal.problem] if self._journal.problem else []
        return found + (["this system has no flock: let one process alone use this folder"] if fcntl is None else [])

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        if not self._open:
            raise Unavailable(f"provider {self.name} is not open")
        with disk_errors(f"provider {self.name}", doing):
            yield

    @contextmanager
    def _locked(self, doing: str) -> Iterator[None]:
        """Alone among all processes; makes the folders at first use."""
        with self._errors(doing):
            if not self._staged.is_dir():
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._own.mkdir(mode=0o700, exist_ok=True)
                self._staged.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._root.parent)
                sync_folder(self._root)
            with self._lock.held():
                yield

    # -- records

    @contextmanager
    def _table(self, table: str) -> Iterator[Mapping[str, Record]]:
        """A table's records as all processes have committed them, for as long as the block."""
        with self._errors("reading records"):
            fresh = self._journal.is_fresh()
        if not fresh:
            with self._locked("reading records"):
                self._journal.refresh()
        with self._journal.mutex:
            yield self._journal.tables.get(table, {})

    def get(self, table: str, key: str) -> Record | None:
        with self._table(table) as records:
            record = records.get(key)
            return record and dataclasses.replace(record, value=copy_value(record.value))

    def find(self, query: Query) -> Page:
        lookup = Lookup.of(query)
        with self._table(query.table) as records:
            page = lookup.page(lookup.first(records.values()))
        return Page([Record(r.key, r.version, copy_value(r.value)) for r in page.items], page.next)

    def count(self, query: Query) -> int:
        lookup = Lookup.of(dataclasses.replace(query, after=""))
        with self._table(query.table) as records:
            return sum(map(lookup.selects, records.values()))

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        check_commit(writes)
        if not writes:
            return []
        answer: list[Record] = self._group.submit(writes)
        return answer

    def _commit_jobs(self, jobs: list[Job]) -> None:
        """One line of the journal for all jobs that meet no conflict."""
        with self._locked("writing records"):
            self._journal.refresh()
            ahead: dict[tuple[str, str], int] = {}
            commits = []
            for job in jobs:
                try:
                    entries = self._judge(job.work, ahead)
                except Conflict as error:
                    job.error = error
                    continue
                ahead |= {(table, key): version for table, key, version, _ in entries}
                commits.append(entries)
                job.result = [Record(key, version, value or {}) for _, key, version, value in entries]
            if commits:
                self._journal.append(commits)

    def _judge(self, writes: Sequence[Write], ahead: Mapping[tuple[str, str], int]) -> list[JournalEntry]:
        """What the writes come to, after those that stand ahead in the same line; Conflict if they cannot be done."""
        entries: list[JournalEntry] = []
        for index, write in enumerate(writes):
            present = self._journal.tables.get(write.table, {}).get(write.key)
            version = ahead.get((write.table, write.key), present.version if present else 0)
            check_version(index, write, version)
            after = (0, None) if isinstance(write, Delete) else (version + 1, write.value)
            entries.append((write.table, write.key, *after))
        return entries

    # -- blobs

    def _place(self, path: str, *, last_link: bool = True) -> str:
        """Where a path is on disk, links followed (the last one if last_link); BadRequest if that is not in the share."""
        root, wanted = os.path.realpath(self._root), os.path.join(self._root, path)
        real = os.path.realpath(wanted)
        inside = real == root or real.startswith(root + os.sep)
        first = (path if not inside else os.path.relpath(real, root)).replace(os.sep, "/").split("/")[0]
        if ".satchel" in (path.split("/")[0].casefold(), first.casefold()):
            raise BadRequest(f"{path}: .satchel is kept for the provider itself")
        if not inside:
            raise BadRequest(f"{path} is a link that leads out of the share")
        return real if last_link else os.path.join(os.path.realpath(os.path.dirname(wanted)), os.path.basename(wanted))

    def _look(self, path: str) -> os.stat_result | None:
        """The state of what is at a path; None if nothing is, or nothing that may be seen."""
        try:
            with self._errors("looking at files"):
                return os.stat(self._place(path))
        except BadRequest:
            return None
        except Unavailable as error:
            if getattr(error.__cause__, "errno", None) in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    @staticmethod
    def _blob(path: str, state: os.stat_result) -> Blob:
        etag = f"{state.st_mtime_ns:x}-{state.st_size:x}-{state.st_ino:x}"
        return Blob(path, state.st_size, state.st_mtime_ns / 1e9, etag)

    def stat(self, path: str) -> Blob | None:
        state = self._look(path)
        return self._blob(path, state) if state and S_ISREG(state.st_mode) else None

    def is_folder(self, path: str) -> bool:
        state = self._look(path) if path else None
        return not path or (state is not None and S_ISDIR(state.st_mode))

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> FileReader:
        place = self._place(path)
        if self.stat(path) is None:
            raise NotFound(f"there is no file {path}")
        with self._errors("reading files"):
            try:
                descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            except FileNotFoundError as error:
                raise NotFound(f"there is no file {path}") from error
        try:
            state = os.fstat(descriptor)
            if not S_ISREG(state.st_mode):
                raise NotFound(f"there is no file {path}")
            check_blob(path, self._blob(path, state), if_match, False)
        except BaseException:
            os.close(descriptor)
            raise
        rest = max(state.st_size - start, 0)
        return FileReader(descriptor, start, rest if length is None else min(rest, length))

    def stage(self, chunks: Iterable[bytes]) -> Staged:
        with self._locked("staging"):
            self._sweep()
        name = new_id(self._clock())
        place = self._staged / name
        digest, size = hashlib.sha256(), 0
        with self._errors("staging"):
            file = open(place, "xb", buffering=0)  # noqa: SIM115 (closed below, where errors of `chunks` stay what they are)
        try:
            with file:
                for chunk in rechunk(chunks, CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    with self._errors("staging"):
                        write_fully(file.fileno(), chunk)
                with self._errors("staging"):
                    self._stamp(place)
                    os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                place.unlink()
            raise
        return Staged(name, size, digest.hexdigest())

    def _stamp(self, place: Path) -> None:
        """A time of change that no earlier file of this process has, for the etag; clocks of file systems are coarse."""
        with self._journal.mutex:
            self._modified_ns = max(int(self._clock() * 1e9), self._modified_ns + 1)
            os.utime(place, ns=(self._modified_ns, self._modified_ns))

    def _sweep(self) -> None:
        """Remove staged files that nobody wanted for a day; looks at most once a minute."""
        now = self._clock()
        if now < self._swept_at + 60:
            return
        self._swept_at = now
        for item in os.scandir(self._staged):
            with suppress(FileNotFoundError):
                if item.stat().st_mtime < now - LOOSE_STAGED_S:
                    os.unlink(item)

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        with self._locked("publishing"):
            place = self._place(path)
            source = self._staged / staged.id
            present = self.stat(path)
            if os.path.lexists(place) and not present:
                raise Conflict(f"{path} is a folder" if os.path.isdir(place) else f"{path} is no file")
            check_blob(path, present, if_match, if_none_match)
            if not source.is_file():
                raise NotFound("the staged bytes are gone: they were published, discarded or left for a day")
            made = self._make_folders(path, place)
            try:
                self._put(source, place, path, alone=if_none_match)
            except BaseException:
                self._prune(os.path.dirname(place))
                raise
            for folder in {os.path.dirname(place), *made}:
                sync_folder(folder)
            return self._blob(path, os.stat(place))

    @staticmethod
    def _put(source: Path, place: str, path: str, *, alone: bool) -> None:
        """Rename staged bytes to their place; alone: PreconditionFailed if another program put something there."""
        if alone:
            try:
                os.link(source, place)
            except FileExistsError as error:
                raise PreconditionFailed(f"{path} exists already") from error
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                    raise
            else:
                os.unlink(source)
                return
        os.replace(source, place)

    def _make_folders(self, path: str, place: str) -> list[str]:
        """Make the folders above a place; answers those that got an entry. Conflict if one of them is a file."""
        missing = []
        folder = os.path.dirname(place)
        while not os.path.isdir(folder):
            if os.path.lexists(folder):
                raise Conflict(f"a part of {path} is a file and no folder")
            missing.append(folder)
            folder = os.path.dirname(folder)
        for name in reversed(missing):
            os.mkdir(name)
        return [os.path.dirname(name) for name in missing]

    def _prune(self, folder: str) -> str:
        """Remove a folder and those above it while they are empty; the one that stays."""
        root = os.path.realpath(self._root)
        while folder != root:
            try:
                os.rmdir(folder)
            except OSError:
                break
            folder = os.path.dirname(folder)
        return folder

    def discard(self, staged: Staged) -> None:
        with self._errors("discarding"):
            (self._staged / staged.id).unlink(missing_ok=True)

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        with self._locked("removing"):
            self._place(path)
            present = self.stat(path)
            if present is None:
                raise NotFound(f"there is no file {path}")
            check_blob(path, present, if_match, False)
            place = self._place(path, last_link=False)
            os.unlink(place)
            sync_folder(self._prune(os.path.dirname(place)))

    def move(self, source: str, target: str) -> Blob:
        with self._locked("moving"):
            place, goal = self._place(source, last_link=False), self._place(target)
            if self.stat(source) is None:
                raise NotFound(f"there is no file {source}")
            if os.path.lexists(goal):
                raise Conflict(f"{target} exists already")
            made = self._make_folders(target, goal)
            os.rename(place, goal)
            for folder in {os.path.dirname(goal), *made, self._prune(os.path.dirname(place))}:
                sync_folder(folder)
            return self._blob(target, os.stat(goal))

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Blob | Folder]:
        places = [""]
        levels = [iter(self._entries(prefix, deep, places))]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                places.pop()
            elif deep and isinstance(entry, Folder):
                if after < entry.path + "0":  # what lies in it sorts before this
                    places.append("")
                    levels.append(iter(self._entries(entry.path, deep, places)))
            elif entry.path > after:
                yield entry

    def _entries(self, folder: str, deep: bool, places: list[str]) -> list[Blob | Folder]:
        """What lies in a folder, in order; nothing if it is one of `places`, to which a link led back."""
        try:
            place = self._place(folder)
            with self._errors("listing files"), os.scandir(place) as items:
                names = [item.name for item in items]
        except BadRequest:
            return []
        except Unavailable as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return []
            raise
        if place in places:
            return []
        places[-1] = place
        found = [entry for name in names if (entry := self._seen(f"{folder}/{name}" if folder else name))]
        return sorted(found, key=lambda e: e.path + "/" if deep and isinstance(e, Folder) else e.path)

    def _seen(self, path: str) -> Blob | Folder | None:
        """The entry at a path of a listing; None if a caller could not name it or may not see it."""
        try:
            check_path(path.split("/"))
        except BadRequest:
            return None
        state = self._look(path)
        if state and S_ISDIR(state.st_mode):
            return Folder(path)
        return self._blob(path, state) if state and S_ISREG(state.st_mode) else None


# ==== 9. PLUGINS =================================================================================================
# Kinds by name; loads plugins/*.py and fails loudly naming the file.
# uses: ERRORS CONFIG CONTRACTS PROVIDERS
# defines:


# ==== 10. ASSEMBLY ===============================================================================================
# App: build, handle, close. The auth flow stands here and nowhere else.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS AUTH RESOURCES PROVIDERS PLUGINS
# defines:


# ==== 11. COMMANDS ===============================================================================================
# The argparse tree: server, auth, info; one cmd_* each.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS AUTH ASSEMBLY PLUGINS
# defines:


# ==== 12. MAIN ===================================================================================================
# argv to exit code; the command line's only error rendering.
# uses: ERRORS COMMANDS
# defines:
