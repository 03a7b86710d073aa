#!/usr/bin/env python3
"""Satchel: a team's intranet in one file.

Resources (files, forms, views, apps) are described once in app.toml, live on providers (sql, file, and plugins), and
are served over HTTP behind signed tokens with scoped grants.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import threading
import time
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote, unquote

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
    point, case and all. Text is ordered by code point.
    """

    field: str
    op: str
    value: Json


@dataclass(frozen=True, slots=True)
class Query:
    """What `find` looks for. The fields "id" and "version" are the record's key and version.

    order_by names fields, "-" first for descending; missing and null come first ascending, last descending, and the
    key breaks ties ascending. `search` is found, whatever its case, in any of `search_fields`. `after` is the cursor
    of an earlier page of the same query.
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


def check_value(value: Json, pointer: str = "") -> Iterator[Fault]:
    """Every reason why a JSON value cannot be stored exactly."""
    if isinstance(value, str):
        if problem := check_text(value):
            yield Fault(pointer, "text", problem)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            yield Fault(pointer, "integer_size", "does not fit in 64 bits")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            place = pointer + "/" + name.replace("~", "~0").replace("/", "~1")
            yield from (Fault(place, f.code, f.detail) for f in check_value(name, place))
            yield from check_value(item, place)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from check_value(item, f"{pointer}/{index}")


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
# defines: Setting


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

    @abstractmethod
    def commit(self, writes: Sequence[Write]) -> list[Record]:
        """Do all writes, durably, or none; a list of one record a write, in order (of a Delete: version 0, no value).

        Conflict names the index of the first write whose precondition fails. A list longer than one is Unsupported
        where not `atomic`. Of N racing inserts of a key one wins. An empty list does nothing. A key stands at most
        once in a list (Invalid else).
        """

    def scan(self, query: Query) -> Iterator[Record]:
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
# Sign, verify and revoke tokens; sessions and sign-in links. Nothing is committed here, `touch` aside: what must be
# stored is handed back as writes, so that the audit entry is committed with it.
# uses: ERRORS VALUES CONTRACTS
# defines: MAX_TOKEN_BYTES MIN_KEY_BYTES MAX_TOKEN_S KEEP_TOKEN_S Key KeyRing verify_jws encode_jws verify_jwt
#          scope_grants Authority

MAX_TOKEN_BYTES = 8192  # what HTTP servers commonly take as one header line
MIN_KEY_BYTES = 32  # RFC 7518 section 3.2: a key of the hash's size or more
MAX_TOKEN_S = 10 * 366 * 86_400
KEEP_TOKEN_S = 90 * 86_400  # rows of dead tokens stay this long, for who looks into the audit trail
_FUTURE_S = 60  # how far another node's clock may be ahead
_SHORT_MAC_BYTES = 24
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")  # binascii takes half of base64's time
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes: a session id or the code of a link


def _b64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def _unb64(text: str) -> bytes:
    """Bytes of canonical base64url (RFC 7515 section 2): no padding, other characters or spare bits; ValueError else."""
    data = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4))
    if _b64(data) != text:
        raise ValueError("not canonical base64url")
    return data


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _digest(secret: str) -> str:
    """The key under which a random secret is stored, so that who reads the records cannot use it."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key; created_at in Unix seconds, 0 when the ring does not say."""

    kid: str
    secret: bytes = field(repr=False)
    created_at: int = 0

    def sub_key(self, purpose: str) -> bytes:
        """32 bytes for one purpose. U+0000 stands in no text that a JWS signs, so the two uses cannot meet."""
        return _hmac(self.secret, b"satchel\0" + purpose.encode())


def _parse_key(place: str, item: Json) -> Key:
    if not isinstance(item, dict):
        raise ConfigError(f"{place} is not an object")
    if item.get("kty", "oct") != "oct" or item.get("alg", "HS256") != "HS256":
        raise ConfigError(f"{place} is not a key for HS256: kty is oct and alg, if given, HS256")
    kid, encoded, created_at = item.get("kid"), item.get("k"), item.get("created_at", 0)
    if not isinstance(kid, str) or not re.fullmatch(r"[!-~]{1,64}", kid):
        raise ConfigError(f"{place} needs a kid of 1 to 64 visible ASCII characters")
    if type(created_at) is not int:
        raise ConfigError(f"{place}: created_at is not whole Unix seconds")
    try:
        secret = _unb64(encoded) if isinstance(encoded, str) else b""
    except ValueError:
        raise ConfigError(f"{place}: k is not base64url without padding") from None
    if len(secret) < MIN_KEY_BYTES:
        raise ConfigError(f"{place}: k has {len(secret)} bytes and needs at least {MIN_KEY_BYTES}")
    return Key(kid, secret, created_at)


def _parse_keys(text: str) -> tuple[Key, ...]:
    """The keys of a ring's JSON or of a JWK set (RFC 7517), newest first; of equally old ones the last listed first."""
    try:
        ring = load_json(text)
    except BadRequest:
        raise ConfigError("the key ring is not JSON") from None  # the cause would carry the secret text
    items = ring.get("keys") if isinstance(ring, dict) else None
    if not isinstance(items, list) or not items:
        raise ConfigError('the key ring has no keys: write {"keys": [{"kid": …, "k": …, "created_at": …}]}')
    keys = [_parse_key(f"key {number} of the key ring", item) for number, item in enumerate(items, 1)]
    if len({key.kid for key in keys}) < len(keys):
        raise ConfigError("two keys of the key ring have the same kid")
    keys.sort(key=lambda key: key.created_at)
    return tuple(reversed(keys))


def _dump_keys(keys: Sequence[Key]) -> str:
    items = [{"kid": key.kid, "k": _b64(key.secret), "created_at": key.created_at} for key in reversed(keys)]
    return dump_json({"keys": items}, indent=2) + "\n"


def _new_key(at: int) -> Key:
    return Key(secrets.token_hex(4), secrets.token_bytes(MIN_KEY_BYTES), at)


def _stamp(file: Path | int) -> tuple[int, int, int]:
    """Changes whenever the file is replaced; zeros while there is none."""
    try:
        info = os.stat(file)
    except OSError:
        return 0, 0, 0
    return info.st_ino, info.st_mtime_ns, info.st_size


def _read_private(path: Path) -> tuple[tuple[int, int, int], str]:
    """The file's stamp and text; ConfigError if group or others may touch it."""
    with open(path, encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigError("the key file is open to group or others", hint=f"chmod 600 {path}; if it was read, rotate")
        return _stamp(file.fileno()), file.read()


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_private(path: Path, text: str, *, replace: bool) -> None:
    """Put a whole file at path, 0600 and durable. Without replace a file that is already there is kept."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(draft, path)
        else:
            with suppress(FileExistsError):  # another process was first: its ring is everybody's
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    with _folder(path) as folder:
        os.fsync(folder)


@contextmanager
def _key_file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the key file cannot be used", hint=f"{path}: {error}") from error


class KeyRing:
    """The signing keys: the newest signs, all verify. A ring in a file is read again when the file was replaced, so that
    a rotation reaches running servers."""

    def __init__(self, keys: Sequence[Key] = (), path: Path | None = None) -> None:
        """Fixed keys, newest first, or the path of a ring's file."""
        self._path = path
        self._read: tuple[tuple[int, int, int], tuple[Key, ...]] = (-1, 0, 0), tuple(keys)  # no file's stamp

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(key.kid for key in self._read[1])})"

    @classmethod
    def load(cls, source: str, path: Path, clock: Clock = time.time) -> KeyRing:
        """The ring whose JSON text is `source`; "" is the file at path, made with one fresh key at first use.

        ConfigError says what is wrong with it and never shows it.
        """
        if source:
            return cls(_parse_keys(source))
        with _key_file_errors(path):
            if not path.exists():
                _write_private(path, _dump_keys([_new_key(int(clock()))]), replace=False)
        ring = cls(path=path)
        _ = ring.keys  # a bad file is found here and not at the first request
        return ring

    @property
    def keys(self) -> tuple[Key, ...]:
        """Newest first."""
        if self._path is not None and self._read[0] != _stamp(self._path):
            with _key_file_errors(self._path):
                stamp, text = _read_private(self._path)
            self._read = stamp, _parse_keys(text)  # one assignment: no thread sees halves of two rings
        return self._read[1]

    def find(self, kid: str) -> Key | None:
        """The key of that name, or None."""
        return next((key for key in self.keys if key.kid == kid), None)

    def sub_key(self, purpose: str) -> bytes:
        """32 bytes to sign with for this purpose."""
        return self.keys[0].sub_key(purpose)

    def sub_keys(self, purpose: str) -> list[bytes]:
        """What may have signed for this purpose, newest first."""
        return [key.sub_key(purpose) for key in self.keys]

    def rotate(self, now: float) -> Key:
        """The fresh key that signs from now on; the others still verify. ConfigError where the ring is not a file's."""
        fresh = _new_key(max(int(now), self.keys[0].created_at))
        self._edit(lambda keys: (fresh, *keys))
        return fresh

    def retire(self, kid: str) -> None:
        """Forget a key: what it signed is refused. NotFound if unknown, Conflict if it is the one that signs."""

        def without(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            if kid not in [key.kid for key in keys]:
                raise NotFound(f"no key is named {kid!r}{nearest(kid, [key.kid for key in keys])}")
            if keys[0].kid == kid:
                raise Conflict(f"the key {kid} is the one that signs", hint="rotate first, then retire it")
            return tuple(key for key in keys if key.kid != kid)

        self._edit(without)

    def _edit(self, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
        if self._path is None:
            raise ConfigError("the key ring comes from the setting auth.keys: change it there")
        with _key_file_errors(self._path), _folder(self._path) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two rotations at once must keep both keys
            _write_private(self._path, _dump_keys(change(self.keys)), replace=True)


def _malformed(reason: str) -> Unauthenticated:
    return Unauthenticated("the token is malformed", hint=reason)


def _foreign(reason: str) -> Unauthenticated:
    return Unauthenticated("the token is not one of this server's", hint=reason)


class _Jws(NamedTuple):
    header: str  # still base64url
    payload: bytes
    mac: bytes
    signed: bytes  # what the mac is over


def _parse_object(data: bytes, what: str) -> Value:
    try:
        value = load_json(data)
    except BadRequest as error:
        raise _malformed(f"{what}: {error.message}") from None
    if not isinstance(value, dict):
        raise _malformed(f"{what} is not a JSON object")
    return value


def _split_jws(text: str) -> _Jws:
    """The parts of a compact JWS (RFC 7515 section 7.1); nothing is verified."""
    if len(text) > MAX_TOKEN_BYTES:
        raise _malformed(f"longer than {MAX_TOKEN_BYTES} bytes")
    parts = text.split(".")
    if len(parts) != 3:
        raise _malformed(f"{len(parts)} parts instead of three")
    try:
        return _Jws(parts[0], _unb64(parts[1]), _unb64(parts[2]), text.rpartition(".")[0].encode("ascii"))
    except ValueError:
        raise _malformed("a part is not canonical base64url") from None


def _parse_header(text: str) -> Value:
    """The JOSE header; its alg is HS256 and nothing in it is critical (RFC 8725 sections 3.1 and 3.2)."""
    try:
        header = _parse_object(_unb64(text), "the header")
    except ValueError:
        raise _malformed("the header is not canonical base64url") from None
    if header.get("alg") != "HS256":
        raise _malformed("alg is not HS256")
    if "crit" in header:
        raise _malformed("crit: no extension is understood")
    return header


def _authentic(key: bytes, jws: _Jws) -> bytes:
    if not hmac.compare_digest(_hmac(key, jws.signed), jws.mac):
        raise _foreign("the signature does not match")
    return jws.payload


def verify_jws(key: bytes, text: str) -> bytes:
    """The payload of a compact JWS whose HS256 mac is right (RFC 7515 section 5.2); Unauthenticated else.

    Which other header parameters it has is not judged: verify_jwt does.
    """
    jws = _split_jws(text)
    _parse_header(jws.header)
    return _authentic(key, jws)


def encode_jws(key: Key, claims: Mapping[str, Json]) -> str:
    """The claims as a compact JWS with the one header that verify_jwt takes."""
    header = {"alg": "HS256", "typ": "at+jwt", "kid": key.kid}
    signed = _b64(dump_json(header).encode()) + "." + _b64(dump_json(claims).encode())
    return signed + "." + _b64(_hmac(key.secret, signed.encode()))


@lru_cache(maxsize=64)  # a header depends on nothing but its text, and a ring has few
def _kid(text: str) -> str:
    """The kid of a header that says exactly alg, typ and kid: so jwk, jku, x5u, x5c and whatever comes are refused."""
    header = _parse_header(text)
    if header.keys() != {"alg", "typ", "kid"}:
        raise _malformed("the header is not exactly alg, typ and kid")
    typ, kid = header["typ"], header["kid"]
    if not isinstance(kid, str) or not isinstance(typ, str):
        raise _malformed("typ or kid is not text")
    if typ.lower() not in ("at+jwt", "application/at+jwt"):
        raise _malformed("typ is not at+jwt (RFC 9068 section 4)")
    return kid


def _check_claims(claims: Value) -> None:
    """Nothing, or Unauthenticated if a claim is missing or of another type (RFC 7519 section 4.1, RFC 9068 section 2.2)."""
    for name in ("iat", "exp", "nbf"):
        if type(claims.get(name, 0 if name == "nbf" else None)) is not int:
            raise _malformed(f"{name} is not whole Unix seconds")
    subject, jti = claims.get("sub"), claims.get("jti")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise _malformed("sub is not text of 1 to 255 characters")
    if not isinstance(jti, str) or not is_key(jti):
        raise _malformed("jti is not a key")
    if not isinstance(claims.get("scope", ""), str):
        raise _malformed("scope is not text")
    roles = claims.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise _malformed("roles is not a list of text")


def _check_issuer(claims: Value, issuer: str) -> None:
    """Nothing, or Unauthenticated if it was issued by or for somebody else (RFC 8725 sections 3.8 and 3.9)."""
    audience = claims.get("aud")
    if claims.get("iss") != issuer:
        raise _foreign("iss is another issuer")
    if audience != issuer and not (isinstance(audience, list) and issuer in audience):
        raise _foreign("aud is another audience")


def _check_times(claims: Value, at: float) -> None:
    if claims["exp"] <= at:
        raise Unauthenticated("the token has expired")
    if claims.get("nbf", 0) > at:
        raise Unauthenticated("the token is not valid yet")
    if claims["iat"] > at + _FUTURE_S:
        raise Unauthenticated("the token is not valid yet", hint="iat is in the future: compare the clocks")


def verify_jwt(keys: KeyRing, text: str, issuer: str, at: float) -> Value:
    """The claims of a token that a ring key signed and that is good at that time, by the checklist of RFC 8725.

    Unauthenticated else; no claim is looked at before the signature was found right.
    """
    jws = _split_jws(text)
    key = keys.find(_kid(jws.header))
    if key is None:
        raise _foreign("kid names no key of the ring")
    claims = _parse_object(_authentic(key.secret, jws), "the payload")
    _check_claims(claims)
    _check_issuer(claims, issuer)
    _check_times(claims, at)
    return claims


@lru_cache(maxsize=1024)  # grants depend on nothing but their text
def scope_grants(scope: str) -> tuple[Grant, ...]:
    """The grants of a scope, which are separated by single spaces; Unauthenticated if one is none."""
    try:
        return tuple(parse_grant(text) for text in scope.split(" ")) if scope else ()
    except BadRequest as error:
        raise _malformed(f"scope: {error.message}") from None


def _basic_password(text: str) -> str:
    """The password of Basic credentials (RFC 7617); the user name says nothing."""
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except ValueError:
        raise Unauthenticated("the credential is malformed", hint="Basic: not base64 of user:password") from None


def _line_problem(text: str, most: int) -> str:
    """What keeps a text from being a subject or label, in words; "" when nothing does."""
    if len(text) > most:
        return f"is longer than {most} characters"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        return "contains a control character or a line break"
    return "starts or ends with a space" if text != text.strip() else ""


def _to_token(record: Record) -> Token:
    value = dict(record.value)
    grants, roles = tuple(value.pop("grants")), tuple(value.pop("roles"))
    return Token(jti=record.key, grants=grants, roles=roles, **value)


def _to_value(token: Token) -> Value:
    value = dataclasses.asdict(token)
    del value["jti"]
    return value | {"grants": list(token.grants), "roles": list(token.roles)}


class Authority:
    """Who is asking, and the life of tokens, sessions and sign-in links. Every answer reads the token's row anew, so a
    revocation works on the next request."""

    def __init__(
        self,
        keys: KeyRing,
        records: Records,
        roles: Mapping[str, tuple[Grant, ...]],
        public: tuple[Grant, ...],
        issuer: str,
        session_s: int,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._records = records
        self._roles = roles
        self._public = public
        self._issuer = issuer
        self._session_s = session_s
        self._clock = clock
        self._touched: tuple[int, set[str]] = (0, set())  # a minute and the tokens seen used in it
        self._touch_lock = threading.Lock()

    # -- who is asking

    def identify(self, credential: str, at: float | None = None) -> Caller:
        """The caller behind "Bearer …", "Basic …", "Session …" or "" (the public); Unauthenticated if it is not good.

        Whether it has expired is judged `at` a time, such as the one when a message was sent; None is now. Revocation
        and roles are as they are now. Everybody may do what the public may.
        """
        if not credential:
            return Caller(grants=self._public)
        at = self._clock() if at is None else at
        scheme, _, secret = credential.partition(" ")
        match scheme.lower():  # RFC 9110 section 11.1
            case "bearer":
                return self._bearer(secret.strip(" "), at)
            case "basic":
                return self._bearer(_basic_password(secret.strip(" ")), at)
            case "session":
                return self._session(secret, at)
        raise Unauthenticated("the credential is malformed", hint="not Bearer, Basic or Session")

    def _bearer(self, text: str, at: float) -> Caller:
        if text.startswith("stl_"):
            return self._row_caller(self._living(self._short_jti(text), at))
        claims = verify_jwt(self._keys, text, self._issuer, at)
        token = self._living(claims["jti"], at)
        if token.subject != claims["sub"]:
            raise _foreign("sub is not the subject of the token's row")
        return self._caller(token, claims.get("scope", ""), claims.get("roles", ()))

    def _session(self, secret: str, at: float) -> Caller:
        row = self._records.get("_sessions", _digest(secret)) if _SECRET.fullmatch(secret) else None
        if row is None or row.value["expires_at"] <= at:
            raise Unauthenticated("the session has ended: sign in again")
        return self._row_caller(self._living(row.value["jti"], at), session=True)

    def _living(self, jti: str, at: float) -> Token:
        """The token of that row; Unauthenticated if there is none, or it is revoked or expired."""
        record = self._records.get("_tokens", jti)
        if record is None:
            raise _foreign("no token has this jti")
        token = _to_token(record)
        if token.revoked_at:
            raise Unauthenticated("the token was revoked")
        if token.expires_at <= at:
            raise Unauthenticated("the token has expired")
        return token

    def _row_caller(self, token: Token, *, session: bool = False) -> Caller:
        return self._caller(token, " ".join(token.grants), token.roles, session=session)

    def _caller(self, token: Token, scope: str, roles: Sequence[str], *, session: bool = False) -> Caller:
        known = tuple(role for role in roles if role in self._roles)
        grants = scope_grants(scope) + tuple(grant for role in known for grant in self._roles[role]) + self._public
        return Caller(token.subject, token.jti, known, grants, session)

    # -- tokens

    def issue(
        self, subject: str, grants: Sequence[str], roles: Sequence[str], expires_s: int, label: str = ""
    ) -> tuple[Token, list[Write]]:
        """A fresh token and what stores it. BadRequest on a text that is no grant, Invalid on everything else."""
        texts = tuple(dict.fromkeys(str(parse_grant(text)) for text in grants))
        if faults := list(self._issue_faults(subject, texts, roles, expires_s, label)):
            raise Invalid("; ".join(fault.detail for fault in faults), faults=faults)
        now = self._clock()
        token = Token(
            jti=new_id(now),
            subject=subject,
            label=label,
            grants=texts,
            roles=tuple(dict.fromkeys(roles)),
            issued_at=int(now),
            expires_at=int(now) + expires_s,
        )
        if len(self.jwt(token)) > MAX_TOKEN_BYTES:
            raise Invalid(f"the token would be longer than {MAX_TOKEN_BYTES:,} bytes: put its grants into a role")
        return token, [Insert("_tokens", token.jti, _to_value(token))]

    def _issue_faults(
        self, subject: str, grants: Sequence[str], roles: Sequence[str], expires_s: int, label: str
    ) -> Iterator[Fault]:
        if problem := _line_problem(subject, 255) if subject else "is empty":
            yield Fault("/subject", "subject", f"the subject {problem}")
        if problem := _line_problem(label, 255):
            yield Fault("/label", "label", f"the label {problem}")
        if not grants and not roles:
            yield Fault("", "grants", "a token needs at least one grant or role")
        for index, role in enumerate(roles):
            if role not in self._roles:
                yield Fault(f"/roles/{index}", "role", f"no role is named {role!r}{nearest(role, self._roles)}")
        if not 0 < expires_s <= MAX_TOKEN_S:
            yield Fault("/expires_s", "expires", "a token lives from one second to ten years")

    def jwt(self, token: Token) -> str:
        """The token as a JWT (RFC 9068), signed with the newest key."""
        claims: Value = {"iss": self._issuer, "aud": self._issuer, "sub": token.subject}
        claims |= {"iat": token.issued_at, "exp": token.expires_at, "jti": token.jti}
        claims |= {"scope": " ".join(token.grants)} if token.grants else {}
        claims |= {"roles": list(token.roles)} if token.roles else {}
        return encode_jws(self._keys.keys[0], claims)

    def short(self, token: Token) -> str:
        """The token as 58 characters: "stl_" and base64url of its jti and a mac; what it may do stands in its row."""
        jti = bytes.fromhex(token.jti)
        return "stl_" + _b64(jti + _hmac(self._keys.sub_key("short token"), jti)[:_SHORT_MAC_BYTES])

    def _short_jti(self, text: str) -> str:
        try:
            data = _unb64(text.removeprefix("stl_")) if len(text) <= 64 else b""
        except ValueError:
            data = b""
        if len(data) != 16 + _SHORT_MAC_BYTES:
            raise _malformed("not a short token")
        jti, mac = data[:16], data[16:]
        for key in self._keys.sub_keys("short token"):
            if hmac.compare_digest(_hmac(key, jti)[:_SHORT_MAC_BYTES], mac):
                return jti.hex()
        raise _foreign("the signature does not match")

    def tokens(self) -> Iterator[Token]:
        """All of them, newest first; dead ones until they are swept."""
        return (_to_token(record) for record in self._records.scan(Query("_tokens", order_by=("-id",))))

    def token(self, jti: str) -> Token:
        """By its jti or at least 8 first characters of it; NotFound, or BadRequest if they fit several."""
        exact = self._records.get("_tokens", jti) if is_key(jti) else None
        found = [exact] if exact else []
        if not found and len(jti) >= 8 and is_key(jti):
            found = self._records.find(Query("_tokens", where=(Condition("id", "prefix", jti),), limit=2)).items
        if len(found) > 1:
            raise BadRequest(f"several tokens start with {jti!r}: write more of it")
        if not found:
            shown = f" {jti}" if re.fullmatch("[0-9a-f]{1,32}", jti) else ""  # else it may be a token itself
            raise NotFound(f"there is no token{shown}: write its jti or at least the first 8 characters of it")
        return _to_token(found[0])

    def revoke(self, token: Token) -> list[Write]:
        """What revokes it and with it its sessions; nothing if it is revoked already or gone."""
        record = self._records.get("_tokens", token.jti)
        if record is None or record.value["revoked_at"]:
            return []
        value = record.value | {"revoked_at": int(self._clock())}
        return [Update("_tokens", token.jti, value)]  # at any version: a racing `touch` must not make it fail

    def touch(self, caller: Caller) -> None:
        """Remember to the minute when the token was last used; at most one write a minute, and never an error."""
        minute = int(self._clock() // 60)
        with self._touch_lock:
            if self._touched[0] != minute:
                self._touched = minute, set()
            if not caller.token_id or caller.token_id in self._touched[1]:
                return
            self._touched[1].add(caller.token_id)
        try:
            record = self._records.get("_tokens", caller.token_id)
            if record is not None and record.value["used_at"] < minute * 60:
                value = record.value | {"used_at": minute * 60}
                self._records.commit([Update("_tokens", record.key, value, record.version)])
        except (Conflict, Unavailable, StorageFull):
            pass  # another node wrote it, or the request is about to fail by itself; reads go on where the disk is full

    # -- sessions and sign-in links

    def link(self, token: Token, expires_s: int = 600) -> tuple[str, list[Write]]:
        """A code that signs in once, and what stores its digest; Unauthenticated if the token is dead."""
        now = self._clock()
        code = secrets.token_urlsafe(32)
        expires_at = min(int(now) + expires_s, self._living(token.jti, now).expires_at)
        return code, [Insert("_links", _digest(code), {"jti": token.jti, "expires_at": expires_at})]

    def open_session(self, secret: str) -> tuple[str, int, Caller, list[Write]]:
        """Session id, its seconds, the caller and the writes, for the code of a link or a token in either form.

        Unauthenticated else. The link is deleted at its version: of those who commit the same code one wins, the
        others get a Conflict.
        """
        now = self._clock()
        jti, writes = self._redeem(secret.strip(), now)
        token = self._living(jti, now)
        session_id = secrets.token_urlsafe(32)
        expires_at = min(int(now) + self._session_s, token.expires_at)
        value = {"jti": jti, "subject": token.subject, "created_at": int(now), "expires_at": expires_at}
        writes.append(Insert("_sessions", _digest(session_id), value))
        return session_id, expires_at - int(now), self._row_caller(token, session=True), writes

    def _redeem(self, secret: str, now: float) -> tuple[str, list[Write]]:
        """The jti behind a secret and the writes that use it up; a token is never as short as a link's code."""
        if not _SECRET.fullmatch(secret):
            return self._bearer(secret, now).token_id, []
        link = self._records.get("_links", _digest(secret))
        if link is None or link.value["expires_at"] <= now:
            raise Unauthenticated("the sign-in link was used or has expired: ask for another")
        return link.value["jti"], [Delete("_links", link.key, link.version)]

    def close_session(self, credential: str) -> list[Write]:
        """What ends the session of "Session …"; nothing if it is none or over."""
        scheme, _, secret = credential.partition(" ")
        if scheme.lower() != "session" or not _SECRET.fullmatch(secret):
            return []
        row = self._records.get("_sessions", _digest(secret))
        return [Delete("_sessions", row.key)] if row else []

    def expired(self, limit: int = 500) -> list[Write]:
        """At most `limit` deletes of links and sessions past their time and of tokens dead for KEEP_TOKEN_S."""
        now = int(self._clock())
        old = now - KEEP_TOKEN_S
        over = (Condition("expires_at", "lte", now),)
        queries = [
            Query("_links", over, limit=limit),
            Query("_sessions", over, limit=limit),
            Query("_tokens", (Condition("expires_at", "lte", old),), limit=limit),
            Query("_tokens", (Condition("revoked_at", "gt", 0), Condition("revoked_at", "lte", old)), limit=limit),
        ]
        found = {(query.table, record.key): None for query in queries for record in self._records.find(query).items}
        return [Delete(table, key) for table, key in list(found)[:limit]]

    # -- sealed texts

    def seal(self, purpose: str, text: str) -> str:
        """The text, readable, with a mac for this purpose, in characters that any header or form carries."""
        data = text.encode()
        return _b64(data) + "." + _b64(_hmac(self._keys.sub_key("seal " + purpose), data))

    def unseal(self, purpose: str, sealed: str) -> str | None:
        """The sealed text, or None if no key of the ring sealed it for this purpose."""
        encoded, _, mac_text = sealed.partition(".")
        try:
            data, mac = _unb64(encoded), _unb64(mac_text)
        except ValueError:
            return None
        keys = self._keys.sub_keys("seal " + purpose)
        return data.decode() if any(hmac.compare_digest(_hmac(key, data), mac) for key in keys) else None


# ==== 7. RESOURCES ===============================================================================================
# Files, Forms, Views, Apps.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines:


# ==== 8. PROVIDERS ===============================================================================================
# SqlProvider and FileProvider: the only section that knows drivers.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines:


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
