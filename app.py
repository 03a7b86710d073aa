#!/usr/bin/env python3
"""Satchel: a team's intranet in one file.

You describe resources (files, forms, views, apps) once in app.toml and put them on providers (sql, file, and those of
plugins). The same declaration is then a page for people and an interface for programs, behind signed tokens with
scoped grants, with one validator, one authorisation, one audit trail and one error object.

A request flows down this file, and its answer flows back:

    request -> runner -> App.handle -> resource -> plan -> provider -> storage
                         token check, grant           one commit: records, audit entry, idempotency record

A runner knows its transport alone: it makes a Request and renders a Response. A resource knows its declaration alone: it
returns a Plan. A provider knows its driver alone. They meet in App.handle, where the whole flow stands. Contracts come
first and the wiring last, so every name is defined above its use. Each section begins with its charter, what it uses and
what it defines; tests/test_architecture.py keeps that true.

     1 ERRORS       everything raised on purpose: code, HTTP status, exit code, retry
     2 VALUES       frozen data that crosses sections: Action Grant Request Response Record Blob Query Page
     3 CONFIG       app.toml to checked, frozen settings; every key, default and unit in one table
     4 CONTRACTS    what a Provider (Records, Blobs, Queries), a Resource, a Job, a Channel … must do
     5 RUNNERS      transports: the only section that knows HTTP and the messages of queues
     6 AUTH         parse grants; sign, verify and revoke tokens; who is asking
     7 RESOURCES    Files, Form, View, AppPage, and the built-in home page and admin lists
     8 PROVIDERS    what all providers share, and SqlProvider: the only section that knows a driver, sqlite3
     9 PLUGINS      the registry of what plugins/*.py add, by family and kind
    10 ASSEMBLY     App: build, handle, close. The flow stands here and nowhere else
    11 COMMANDS     the argparse tree, server run, init and check, and info; other commands are plugins
    12 MAIN         argv to exit code; the command line's only error rendering

A new feature is a file in plugins/: a class derived from Provider, Format, Route, Job, Trigger, Channel or Command, and its
kind in the file's heading. docs/plugins.md shows how; tests/test_extensions.py and test_provider_contract.py check any.
A new type of resource is a Resource in section 7, built in section 10. A new transport is a Runner in section 5.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import copy
import errno
import fcntl
import functools
import gc
import hashlib
import hmac
import importlib.util
import io
import itertools
import json
import math
import mmap
import os
import random
import re
import secrets
import signal
import sqlite3
import sys
import threading
import time
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, lru_cache, partial
from itertools import chain, islice, pairwise, zip_longest
from json.encoder import encode_basestring
from pathlib import Path
from select import POLLIN, POLLOUT, poll
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple, NoReturn, Protocol, Self, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode, urlsplit
from warnings import simplefilter

if TYPE_CHECKING:
    from logging import Logger
    from socket import socket

    from plugins.deliveries import Delivery
    from plugins.fields import Field
    from plugins.office import SessionAuthority

__version__ = "0.1.0"

# ==== 1. ERRORS ==================================================================================================
# What is raised on purpose: code, status, exit code and whether a repeat may help. Rendered elsewhere. What only messages
# of queues can meet stands with them.
# uses: nothing
# defines: Fault AppError BadRequest Invalid IdempotencyConflict Unauthenticated SignInNeeded Forbidden NotPermitted
#          NotFound UnsupportedAction NotAcceptable Conflict Exists Busy Refused PreconditionFailed TooLarge
#          UnsupportedMedia RangeNotSatisfiable Misdirected RequestTimeout Unsupported Unavailable StorageFull Unreadable
#          QueryTimeout ConfigError


class Fault(NamedTuple):
    """One thing wrong in one place: pointer is a JSON pointer (RFC 6901) into the data, "" for the whole."""

    pointer: str
    code: str
    detail: str


class AppError(Exception):
    """The root. `message` is for anybody, `hint` is for the operator and never leaves the machine by HTTP. A subclass may
    declare more facts, each with its default, which are given by name."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False
    retry_after_s: int = 5  # where `retry` is true

    def __init__(self, message: str, *, hint: str = "", faults: Iterable[Fault] = (), **facts: Any) -> None:
        super().__init__(message)
        self.message, self.hint, self.faults = message, hint, tuple(faults)
        self.subject = ""  # whose request it was, once the caller is known
        for name, fact in facts.items():
            getattr(self, name)  # AttributeError if it is not declared
            setattr(self, name, fact)

    @property
    def with_hint(self) -> str:
        return self.message + (f" ({self.hint})" if self.hint else "")


class BadRequest(AppError):
    """The request cannot be parsed, or names something that the interface does not have."""

    code, status, exit_code = "bad_request", 400, 6


class Invalid(AppError):
    """The content of the request breaks a rule; `faults` lists every rule that it breaks."""

    code, status, exit_code = "validation_failed", 422, 6


class IdempotencyConflict(AppError):
    """The idempotency key was used before for another payload."""

    code, status, exit_code = "idempotency_conflict", 422, 5


class Unauthenticated(AppError):
    """The credential is missing, bad, expired or revoked (RFC 6750 section 3.1)."""

    code, status, exit_code = "invalid_token", 401, 3


class SignInNeeded(Unauthenticated):
    """There is no credential, and the public may not do this (RFC 6750 section 3.1: no error code in the challenge)."""

    code = "sign_in_needed"


class Forbidden(AppError):
    """The caller lacks a grant. `needed` is that grant, such as "forms/leave:create", or "" if no grant would do."""

    code, status, exit_code = "insufficient_scope", 403, 3
    needed: str = ""


class NotPermitted(AppError):
    """The system or a service denies this program a file, folder, record or table; `hint` names the right that it lacks."""

    code, status, exit_code = "not_permitted", 403, 3


class NotFound(AppError):
    """No such resource, record, file or token."""

    code, status, exit_code = "not_found", 404, 4


class UnsupportedAction(AppError):
    """The resource exists and does not do that; `allowed` lists its actions."""

    code, status, exit_code = "unsupported_action", 405, 6
    allowed: Collection[str] = ()


class NotAcceptable(AppError):
    """The answer does not exist in the format that was asked for."""

    code, status, exit_code = "not_acceptable", 406, 6


class Conflict(AppError):
    """The stored state is not what the write expected. `index` is that of the failing write in its commit."""

    code, status, exit_code = "conflict", 409, 5
    index: int = 0


class Exists(Conflict):
    """A file with this name exists already. `staged` are the bytes of the new one, or None if they were not kept."""

    staged: Any = None


class Busy(Conflict):
    """The same request is still running, or other writers were always faster; a repeat after `over_in_s` may succeed."""

    retry, retry_after_s = True, 1
    over_in_s: float = 1.0


class Refused(Conflict):
    """A service that this program uses refused what it was sent, and would refuse it again."""

    code = "refused"


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
    """No byte of the requested range exists; `size_bytes` is the size of the whole."""

    code, status, exit_code = "range_not_satisfiable", 416, 6
    size_bytes: int = 0


class Misdirected(AppError):
    """The Host header names no host that this server answers for (RFC 9110 section 15.5.20)."""

    code, status, exit_code = "misdirected_request", 421, 6


class RequestTimeout(AppError):
    """The head or the body of the request did not arrive in time."""

    code, status, exit_code = "request_timeout", 408, 6


class Unsupported(AppError):
    """The provider cannot do that and does not pretend to."""

    code, status, exit_code = "unsupported", 501, 2


class Unavailable(AppError):
    """A provider is down or busy, or the data folder is in use; a repeat after `retry_after_s` may succeed."""

    code, status, exit_code, retry = "unavailable", 503, 7, True


class StorageFull(AppError):
    """The medium or the quota has no room."""

    code, status, exit_code, retry = "storage_full", 507, 7, True
    errors = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # as the system says it


class Unreadable(AppError):
    """What is stored there is damaged: it cannot be read, now or later. What lies beside it can."""

    code, status, exit_code = "unreadable", 500, 1


class QueryTimeout(AppError):
    """A view took longer than its time limit."""

    code, status, exit_code = "query_timeout", 504, 7


class ConfigError(AppError):
    """app.toml, a plugin or the command line is wrong; `faults` lists every fault, pointer being the setting's place."""

    code, status, exit_code = "configuration", 500, 2


# ==== 2. VALUES ==================================================================================================
# Frozen data that crosses sections, and the pure functions that make, read and compare it. Nothing here does I/O.
# uses: ERRORS
# defines: Json Value Clock Action Grant covers Caller Conditions Request Reader Content Column Table Response Record
#          Insert Update Delete Write Blob Staged OPERATORS Condition Query Measure Page Select Rows exact_number
#          load_json Encoded dump_json check_text member_pointer WHOLE_TYPES Damaged Unread damage_of damage_in
#          check_value storable plain_text is_key check_path compose split_path BUNDLED CHUNK_BYTES LOG last_ids
#          new_ids new_id rfc3339 encode_cursor decode_cursor how_many

Json: TypeAlias = Any  # None, bool, int, float, Decimal, str, list and dict of these
Value: TypeAlias = dict[str, Json]  # a JSON object
Clock: TypeAlias = Callable[[], float]  # Unix seconds UTC


class Action(StrEnum):
    """The four things a caller may do; no other exists at any door."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Grant(NamedTuple):
    """Permission for `actions` on every address that `pattern` covers."""

    pattern: tuple[str, ...]
    actions: frozenset[Action]

    def __str__(self) -> str:
        actions = "*" if len(self.actions) == len(Action) else ",".join(a for a in Action if a in self.actions)
        return "/".join(self.pattern) + ":" + actions


def covers(pattern: Sequence[str], address: Sequence[str]) -> bool:
    """Whether a grant's pattern covers an address, both split at "/" and percent-encoded.
    A pattern covers what it names and everything inside; but one of three or more segments that ends in "*" covers
    exactly its own depth: files/docs/* is the entries of docs and not what lies in their folders."""
    for wanted, given in zip_longest(pattern, address):
        if wanted == "**":
            return True
        if wanted is None:
            return not (len(pattern) > 2 and pattern[-1] == "*")
        if given is None or wanted not in ("*", given):
            return False
    return True


class Caller(NamedTuple):
    """Who asks. subject "" is the public; token_id is "" without a token (the public, the command line)."""

    subject: str = ""
    token_id: str = ""
    roles: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    session: str = ""  # key of the session's row, if signed in by cookie
    ceilings: tuple[tuple[Grant, ...], ...] = ()  # each of which has to allow it too: of the door, of whose token it is

    def may(self, action: Action, address: str) -> bool:
        """Whether some grant covers the action on the address ("forms/leave/records/0192…", percent-encoded), and each
        ceiling does too. A slash at the end of the address, as folders may have, makes no difference."""
        parts, limits = address.removesuffix("/").split("/"), (self.grants, *self.ceilings)
        return all(any(action in one.actions and covers(one.pattern, parts) for one in grants) for grants in limits)

    def opens(self, address: str) -> bool:
        """Whether there is something at the address for this caller: to read, or a form to submit."""
        return self.may(Action.READ, address) or self.may(Action.CREATE, address)

    def require(self, action: Action, address: str) -> None:
        """Raises Forbidden naming the missing grant."""
        if not self.may(action, address):
            needed = f"{address}:{action}"
            raise Forbidden(f"this needs the grant {needed}", needed=needed)


class Conditions(NamedTuple):
    """What must hold for a write. Entity tags are without quotes; "*" stands for any that exists."""

    if_match: tuple[str, ...] = ()
    if_none_match: tuple[str, ...] = ()
    unmodified_since: float | None = None  # Unix seconds; of what has a time, and only without if_match

    @staticmethod
    def name(tags: Collection[str], etag: str | None) -> bool:
        """Whether the tags of a condition name what has this etag; None is what does not exist."""
        return etag is not None and not {"*", etag}.isdisjoint(tags)


class Request(NamedTuple):
    """One intent, whatever brought it: nothing here names HTTP, SQS or the command line. `decode` reads and parses the body
    and is called only after the caller is let in; its result becomes `data`."""

    id: str  # names this request in logs, problems and the audit trail
    action: Action
    resource: str  # "forms/leave"; "" is the home page
    path: tuple[str, ...] = ()  # decoded segments inside the resource
    door: str = ""  # kind of the runner it came through
    params: Mapping[str, str] = MappingProxyType({})
    data: Json = None  # object, list of objects, or None for byte streams
    decode: Callable[[], Json] | None = None
    typed: bool = True  # False: the values in data are text as a person typed it; fields read it by their type
    partial: bool = False  # an update that is a merge patch (RFC 7396)
    whole: bool = False  # an export: every row, streamed
    timed: bool = False  # with it: in the time that a page of a view may take
    encoded: bool = False  # of a page the rows are wanted as JSON: see Table.text
    body: Iterable[bytes] | None = None  # byte stream, read once
    body_bytes: int | None = None  # declared length; None = unknown
    keeps: bool = False  # the bytes of a file whose name is taken are kept staged, and go with Exists
    staged: Staged | None = None  # bytes that an earlier request left so, in place of a body
    modified_at: float | None = None  # when the file that is sent was changed last, in Unix seconds; None = unknown
    page: bool = False  # a person reads the answer: what only pages offer may be answered
    languages: str | None = None  # Accept-Language of a person; None: a program asks
    reached_at: str = ""  # of a write over HTTP: where its client reaches the site, such as https://intranet.local/ops
    conditions: Conditions = Conditions()
    idempotency_key: str = ""  # a repeat carries the same one; "" = none
    credential: str = ""  # "Bearer …" or "Session …", unverified
    sent_at: float | None = None  # when the credential must have been good; None = now
    ceiling: tuple[Grant, ...] | None = None  # the most that its door lets through; None = no limit
    role: str = ""  # of app.toml, as which the runner itself asks, without a credential; never taken from a request

    def __repr__(self) -> str:
        return f"Request({self.id!r}, {self.action} {self.address}, door={self.door!r})"  # without the credential

    @property
    def address(self) -> str:
        """Percent-encoded address of what is meant: "files/docs/2026/plan.pdf"; one text for all Unicode forms of a name."""
        return "/".join([self.resource, *[quote(compose(part), safe="") for part in self.path]])


class Reader(Protocol):
    """An iterator of byte chunks. A reader of a plain file also has `fileno()`, `start` and `length`, for sendfile."""

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class Content(NamedTuple):
    """Stored bytes to be answered, whole or in part: `read(start, length)` gives a reader to be closed."""

    blob: Blob
    name: str  # file name for the person
    read: Callable[[int, int | None], Reader]


class Column(NamedTuple):
    """A column of a table: a JSON Schema type, a format of it or of a view's; titles and badges of values that have one."""

    name: str
    title: str = ""
    type: str = "string"
    format: str = ""
    titles: Mapping[Json, str] = MappingProxyType({})
    badges: Mapping[Json, str] = MappingProxyType({})  # good, bad or warn
    link: str = ""  # where its cells lead, with the row's values in it: "views/sales?region={region}"
    total: str = ""  # what stands below it: sum, avg, min, max or count
    instant: bool = False  # whether it holds date-times, though it is shown in another format

    @property
    def has_instants(self) -> bool:
        return self.instant or self.format == "date-time"


class Table:
    """A tabular answer. `rows` is a list for a page and an iterator for an export; whoever reads it calls close().
    `count` is how many rows there are in all, if asked for; size() the same for people, COUNTED + 1 for more than COUNTED or
    None if it is not known soon; it may raise an AppError. `damaged` has row number, column and why of what is damaged."""

    def __init__(
        self, columns: tuple[Column, ...], rows: Iterable[Mapping[str, Json]], next: str | None = None,
        count: int | None = None, close: Callable[[], None] = lambda: None,
        size: Callable[[], int | None] = lambda: None, damaged: Sequence[tuple[int, str, str]] = (),
    ) -> None:  # fmt: skip
        self.columns, self.rows, self.next, self.count = columns, rows, next, count
        self.close, self.size, self.damaged = close, size, damaged
        self.facts: Value = {}  # what a page in JSON says beside its rows, such as facets
        self.added: Any = None  # what rows that are groups add up to (plugins/tallies.py)
        self.text = ""  # the rows as JSON, a comma between them: then `rows` has none; what is damaged is never here


class Response:
    """What a resource answers. Failures are raised, never returned. One of data, table and content is the body."""

    def __init__(
        self, *, data: Json = None, table: Table | None = None, content: Content | None = None,
        template: str = "",  # page in templates/; runners that do not render ignore it
        page: Mapping[str, Any] = MappingProxyType({}),  # what the page needs beyond data
        created: bool = False,
        location: str = "",  # address of what was created
        etag: str = "",  # without quotes
        name: str = "",  # what a record is called by people, for headings and notices
        replayed: bool = False,  # the stored answer to an earlier request with the same idempotency key
    ) -> None:  # fmt: skip
        self.data, self.table, self.content, self.template, self.page = data, table, content, template, page
        self.created, self.location, self.etag, self.name, self.replayed = created, location, etag, name, replayed
        self.caller = Caller()  # set by App.handle


class Record(NamedTuple):
    """A JSON object under a key in a table; version counts from 1. `damage` is why what is stored is no JSON object, in
    words; then the value is {}."""

    key: str
    version: int
    value: Value
    damage: str = ""


class Insert(NamedTuple):
    """Add a record that must be absent, at its first version (a copy keeps that of the original). Conflict if taken."""

    table: str
    key: str
    value: Value
    version: int = 1


class Update(NamedTuple):
    """Replace a record at `version` (Conflict if it is at another or missing), or with None whatever is there or not."""

    table: str
    key: str
    value: Value
    version: int | None = None


class Delete(NamedTuple):
    """Remove a record at `version` (Conflict if it is at another or missing), or with None whatever is there or not."""

    table: str
    key: str
    version: int | None = None


Write: TypeAlias = Insert | Update | Delete


class Blob(NamedTuple):
    """Stored bytes: a strong etag without quotes, never that of other bytes at the path; modified_at in Unix seconds."""

    path: str
    size_bytes: int
    modified_at: float
    etag: str


class Staged(NamedTuple):
    """Bytes that are durable and not yet visible; `id` means something to the provider that made it."""

    id: str
    size_bytes: int
    sha256: str
    modified_at: float | None = None  # Unix seconds that publish() keeps where the provider can; None = now


OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "prefix", "null")


class Condition(NamedTuple):
    """`field op value`; every condition of a query must hold. Comparing across types, or with a missing or null field, is
    never true, except ne (everything that is not eq) and null (True: missing or null; False: neither). in takes a list.
    contains and prefix compare text by code point, case and all. Text is ordered so, false before true; lists and objects
    compare with nothing. contains with a list asks for lists that have one of its values as an item, ne for all others."""

    field: str
    op: str
    value: Json


class Query(NamedTuple):
    """What `find` looks for. The fields "id" and "version" are the record's key and version.
    order_by names fields, "-" first for descending; missing and null come first ascending, last descending, and the
    key breaks ties ascending; of several types bools come first, then date-times, numbers, texts, and lists and objects
    as equals. Date-times are the RFC 3339 texts of the fields that `instants` names: they compare as moments, whatever
    their offsets, and with nothing else; other texts of such a field are texts. "contains" and "prefix" ask for what was
    written. `search` is found, whatever its case, in any of `search_fields`. `after` is an earlier page's cursor."""

    table: str
    where: tuple[Condition, ...] = ()
    order_by: tuple[str, ...] = ()
    limit: int = 50
    after: str = ""
    search: str = ""
    search_fields: tuple[str, ...] = ()
    instants: frozenset[str] = frozenset()
    joins: tuple[Any, ...] = ()  # fields of other tables (plugins/joins.py), of a provider that has `joins_tables`


class Measure(NamedTuple):
    """What a group of rows is summed up by: `op` of the values that a field has there: count, sum, avg, min or max."""

    op: str
    field: str


class Page(NamedTuple):
    """Some records and the cursor of the page that follows; None after the last."""

    items: list[Record]
    next: str | None = None


class Select(NamedTuple):
    """A read-only statement with named parameters (:name), and what is asked of its rows. Values are bound, never spliced.
    timeout_s and max_rows bound the work; None means no bound."""

    statement: str
    params: Mapping[str, Json] = MappingProxyType({})
    where: tuple[Condition, ...] = ()
    search: str = ""
    order_by: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    timeout_s: float | None = None
    max_rows: int | None = None


class Rows(NamedTuple):
    """Column names and streamed tuples; whoever reads them calls close(), also after an error."""

    columns: tuple[str, ...]
    rows: Iterator[Sequence[Json]]
    close: Callable[[], None]


def _reject_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _unique_pairs(pairs: list[tuple[str, Json]]) -> Value:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return value


def exact_number(text: str) -> float | Decimal:
    """A float where it says the same number again, else a Decimal."""
    number = float(text)
    said = repr(number)
    return number if math.isfinite(number) and (said == text or Decimal(said) == Decimal(text)) else Decimal(text)


def _whole_number(text: str) -> int:
    """An integer of at most 400 digits: longer ones are no use, and slow to convert."""
    if len(text) > 400:
        raise ValueError("a number has over 400 digits")
    return int(text)


_DECODER = json.JSONDecoder(
    parse_float=exact_number, parse_int=_whole_number, parse_constant=_reject_constant, object_pairs_hook=_unique_pairs
)


def load_json(text: str | bytes) -> Json:
    """Parse JSON (RFC 8259) exactly: decimals keep their value, no NaN, no name twice, UTF-8 only. Raises BadRequest."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from error
    except (ValueError, ArithmeticError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


_DECIMAL_MARK = secrets.token_hex(16)  # random, so that it occurs in no text: one of a foreign database may be anything
_MARKED_DECIMAL = re.compile(f'"{_DECIMAL_MARK}([^"]+)"')


def _mark_decimal(value: Any) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return f"{_DECIMAL_MARK}{value}"
    raise TypeError(f"{type(value).__name__} has no JSON form")


@lru_cache
def _encoder(indent: int | None) -> json.JSONEncoder:
    separators = (",", ":") if indent is None else None
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_mark_decimal, separators=separators, indent=indent)


class Encoded(dict[str, Json]):
    """A JSON object in which check_value finds nothing, with its text: checked once, encoded once, and never changed."""

    __slots__ = ("text",)

    def __init__(self, value: Value, text: str = "", /, **more: Json) -> None:
        super().__init__(value, **more)
        self.text = text or dump_json(value | more)


def dump_json(value: Json, *, indent: int | None = None) -> str:
    """Compact JSON text; a Decimal is written as the number it is."""
    if indent is None and (text := plain_text(value)):
        return text
    text = _encoder(indent).encode(value)
    return _MARKED_DECIMAL.sub(r"\1", text) if _DECIMAL_MARK in text else text


def check_text(text: str) -> str:
    """Why a text cannot be stored, in words; "" if it can."""
    if "\0" in text:
        return "contains U+0000, which is not allowed"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair, which no encoding can store"
    return ""


def member_pointer(pointer: str, name: str) -> str:
    """The JSON pointer of a member (RFC 6901 section 3); what cannot be sent in an answer is replaced."""
    sendable = name.encode(errors="replace").decode().replace("\0", "?")
    return pointer + "/" + sendable.replace("~", "~0").replace("/", "~1")


WHOLE_TYPES = frozenset((str, int, float, type(None), bool))  # exactly these: a Damaged is a str, too


class _Faulty(str):
    """A text with the reason, in words, why it is not what it stands for."""

    reason: str

    def __new__(cls, text: str, reason: str = "is not UTF-8") -> Self:
        made = super().__new__(cls, text)
        made.reason = reason
        return made


class Damaged(_Faulty):
    """A text that could not be read as it was stored: U+FFFD stands for what is lost."""


class Unread(_Faulty):
    """A text that a person typed and that is no value of its field: no field takes it."""


def damage_of(value: Json) -> str:
    """Why a value, or one inside it, is Damaged; "" if none is."""
    if isinstance(value, Damaged):
        return value.reason
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(damage_of, inner)), "")


def damage_in(row: Mapping[str, Json]) -> list[tuple[str, str]]:
    """(name, why) of the values of a row that are damaged."""
    return [(name, why) for name, value in row.items() if type(value) not in WHOLE_TYPES and (why := damage_of(value))]


def check_value(value: Json, pointer: str = "", depth: int = 0) -> Iterator[Fault]:
    """Every reason why a JSON value cannot be stored exactly; it may have at most 100 levels of lists and objects."""
    if depth > 100:
        yield Fault(pointer, "depth", "is nested in more than 100 lists and objects")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from check_value(item, f"{pointer}/{index}", depth + 1)
    elif isinstance(value, Mapping) and not isinstance(value, Encoded):
        for name, item in value.items():
            if depth == 100 or not (plain_text(name) and plain_text(item)):
                yield from check_value(name, member_pointer(pointer, name))
                yield from check_value(item, member_pointer(pointer, name), depth + 1)
    elif isinstance(value, str) and (problem := check_text(value)):
        yield Fault(pointer, "text", problem)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield Fault(pointer, "integer_size", "does not fit in 64 bits")
    elif isinstance(value, float | Decimal) and not Decimal(value).is_finite():
        yield Fault(pointer, "number", "is no finite number")


def storable(value: Value) -> Encoded:
    """The value with its text, into which that of a member goes as it is. Raises Invalid if it cannot be stored exactly."""
    members = [f"{plain_text(name)}:{plain_text(one)}" for name, one in value.items()]
    if all(text[0] != ":" != text[-1] for text in members):  # plain_text had one for each name and value
        return Encoded(value, "{" + ",".join(members) + "}")
    if faults := list(check_value(value)):
        raise Invalid("the record cannot be stored", faults=faults)
    return Encoded(value)


def plain_text(value: Json) -> str:
    """The JSON text of a value that can be stored exactly, if it is what values mostly are; "" of all others."""
    kind = type(value)
    if kind is str:
        return "" if "\0" in value or not (value.isascii() or check_text(value) == "") else encode_basestring(value)
    if kind is int or kind is float:
        return repr(value) if -(2**63) <= value < 2**63 else ""
    if kind is bool:
        return "true" if value else "false"
    if kind is Encoded:
        return cast(str, value.text)
    return "null" if value is None else ""


def is_key(key: str) -> bool:
    """Whether it can be a record's key: 1 to 512 UTF-8 bytes and no U+0000."""
    return not check_text(key) and 0 < len(key.encode()) <= 512


_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)( *\..*)?", re.IGNORECASE)


def _segment_problem(part: str, is_there: bool) -> str:
    if not part or part in (".", ".."):
        return "the name is empty, or is . or .."
    if "/" in part or ("\\" in part and not is_there):
        return "the name has a slash or backslash in it"
    if any(unicodedata.category(c) == "Cc" for c in part) or check_text(part):
        return "the name has a control character or half of a surrogate pair"
    if not is_there and (_DEVICE.fullmatch(part) or part != part.rstrip(". ")):
        return "the name is one that Windows cannot store (of a device, as con is, or with a dot or space at its end)"
    if len(compose(part).encode()) > 255:  # as it is stored: NFD takes up to three times as much
        return "the name is longer than 255 bytes"
    return ""


def check_path(parts: Sequence[str], *, is_there: bool = False) -> str:
    """Decoded segments as a blob path, "" if there are none. Raises BadRequest for what none may have; what is there may."""
    for part in parts:
        if problem := _segment_problem(part, is_there):
            raise BadRequest(problem)
    path = "/".join(parts)
    if len(compose(path).encode()) > 1024:
        raise BadRequest("the path is longer than 1,024 bytes")
    return path


def compose(text: str) -> str:
    """The text in NFC, the Unicode form in which names are stored and compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def split_path(path: str) -> tuple[str, ...]:
    """The decoded segments of a percent-encoded path; %2F stays inside its segment. Raises BadRequest on bad UTF-8."""
    try:
        return tuple(unquote(part, errors="strict") for part in path.split("/")) if path else ()
    except UnicodeDecodeError as error:
        raise BadRequest("the address is not UTF-8") from error


BUNDLED = Path(__file__).resolve().parent  # where plugins/, templates/ and static/ are
CHUNK_BYTES = 256 * 1024  # of bytes on their way from one file or connection to another


class _Log:
    """The logger "satchel". Most commands log nothing: the module is imported, which takes long, for the first line."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        import logging

        return getattr(logging.getLogger("satchel"), name)


LOG = cast("Logger", _Log())
last_ids = memoryview(bytearray(256)).cast("Q")  # by process; of all of a node once plugins/clock_watch.py has shared them
_id_lock = threading.Lock()


def new_ids(now_s: float, count: int) -> list[str]:
    """UUIDv7s (RFC 9562 section 5.7) of this time, as 32 hex digits; later ones of a node sort after earlier ones. The 12
    bits behind the milliseconds carry the fraction (section 6.2, method 3)."""
    with _id_lock:
        first = max(int(now_s * 4096_000), max(last_ids) + 1)
        last_ids[os.getpid() % 32] = first + count - 1
    chances = enumerate(memoryview(os.urandom(8 * count)).cast("Q"), first)
    return [f"{(tick >> 12) << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | bits >> 2:032x}" for tick, bits in chances]


def new_id(now_s: float) -> str:
    return new_ids(now_s, 1)[0]


def rfc3339(at_s: float) -> str:
    """'2026-11-23T08:00:00.123Z'; milliseconds, UTC (RFC 3339)."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_cursor(*parts: Json) -> str:
    """An opaque text for the page that follows."""
    return base64.urlsafe_b64encode(dump_json(list(parts)).encode()).rstrip(b"=").decode()


def decode_cursor(text: str, length: int) -> list[Json]:
    """The `length` parts given to encode_cursor. Raises BadRequest if it is not such a cursor."""
    try:
        parts = load_json(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, BadRequest):
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    return parts


def how_many(count: int, what: str = "byte") -> str:
    """'1 byte', '1,234 bytes'."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


# ==== 3. CONFIG ==================================================================================================
# app.toml to checked, frozen settings: classes declare every key, default and help, nested tables too, and a reader collects
# every fault. Extensions bring their own. Beside that, how a file that comes with app.py is read or imported.
# uses: ERRORS VALUES
# defines: REQUIRED Setting Settings Shape setting settings_of Options LINK SiteConfig AuthConfig HttpConfig EventsConfig
#          QueueConfig SqsConfig RoleConfig PublicConfig ProviderConfig ChannelConfig FilesConfig CHOICE ITEMS SHOW_IF
#          REQUIRED_IF Comparisons FieldConfig STATES NOTICE DIGEST OPTIONS FormFieldConfig CHECK OwnerConfig FormConfig
#          CONDITION COLUMN CHART CALENDAR ViewConfig BLOCK AppConfig ResourceConfig RESOURCE_CONFIGS Config SETTINGS
#          RESERVED_FIELDS bundled_text plugin import_file plugin_bytes nearest CONVERTERS read_config

REQUIRED: Any = object()  # the default of a setting that has none


class Setting:
    """One key of app.toml. `kind` names its converter in CONVERTERS, or says for people what its own one, `convert`, takes.
    A "duration" becomes seconds, a "size" bytes; `unit` is for readers of the declaration.
    What is inside a setting is declared too: `table` is the shape of a single table, and `each` that of the tables in a
    list, or of tables by name if the default is {} or `names` is given. `of` is the kind of each item, `names` that of each
    name. The converter gets what they became.
    A "pattern" is refused if a text of `longest` characters could keep it busy; None leaves that to who knows its texts."""

    attribute = ""  # of the Settings that declare it

    def __init__(
        self,
        name: str,
        kind: str,
        default: Any,
        help: str,
        unit: str = "",
        *,
        table: Shape = (),
        each: Shape = (),
        of: str = "",
        names: str = "name",
        convert: Callable[[Any, Path], Any] | None = None,
        longest: int | None = 10_000,
    ) -> None:
        self.name, self.kind, self.default, self.help, self.unit = name, kind, default, help, unit
        self.table, self.each, self.of, self.names, self.convert, self.longest = table, each, of, names, convert, longest

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        self.name = self.name or attribute.removesuffix(_UNIT_OF.get(self.kind, ""))

    def read(self, raw: Any, folder: Path) -> Any:
        """The value that app.toml in `folder` gives it; ValueError says what to write instead."""
        value = (self.convert or CONVERTERS[self.kind])(raw, folder)
        is_judged = self.kind == "pattern" and value and self.longest
        if is_judged and (slow := plugin("patterns").pattern_fault(value, self.longest)):
            raise ValueError(slow)
        return value

    @property
    def is_secret(self) -> bool:
        """Whether its value may hold a secret, as that of any converter of its own may."""
        return self.kind == "secret" or self.convert is not None


_UNIT_OF: Mapping[str, str] = {"duration": "_s", "size": "_bytes"}


class Settings:
    """A table of app.toml, checked. Subclasses declare its keys as attributes."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} is a setting of app.toml: it does not change")

    def __repr__(self) -> str:
        shown = [one.attribute for one in settings_of(type(self)) if not one.is_secret]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def replaced(self, **values: Any) -> Self:
        return type(self)(**{**vars(self), **values})


# What a table may hold: either it becomes an instance of the class, or a Value of those of the settings that are given.
Shape: TypeAlias = type[Settings] | tuple[Setting, ...]


def setting(kind: str, default: Any, help: str, *, name: str = "", **inside: Any) -> Any:
    """An attribute of Settings. Its key in app.toml is `name`, or else the attribute's name without its unit."""
    return Setting(name, kind, default, help, longest=None, **inside)


def settings_of(shape: Shape) -> tuple[Setting, ...]:
    """The settings that a table may hold, in order, those of a base class first, unless the class has them anew."""
    if isinstance(shape, tuple):
        return shape
    found = (one for cls in shape.__mro__[-3::-1] for one in vars(cls).values() if isinstance(one, Setting))
    return tuple({one.name: one for one in found}.values())


class Options(dict[str, Any]):
    """The settings of an extension by their names, converted."""

    def __init__(self, values: Value, settings: Sequence[Setting]) -> None:
        super().__init__(values)
        self._secrets = {one.name for one in settings if one.is_secret}

    def __repr__(self) -> str:
        return f"Options({ {name: value for name, value in self.items() if name not in self._secrets} })"


LINK = (
    Setting("title", "text", None, "what people see"),
    Setting("href", "link", REQUIRED, "views/open?kind=paid or the like, or with https://, mailto: or / at its beginning"),
    Setting("icon", "text", None, "one character or emoji"),
)


class SiteConfig(Settings):
    """[site]"""

    title: str = setting("text", "Satchel", "name of the site, shown on every page")
    data: Path = setting("folder", "data", "folder for everything Satchel writes by itself, mode 0700")
    state: str = setting("text", "", 'provider that keeps tokens and sessions; "" = the one named main, else the only one')
    prefix: str = setting("prefix", "", 'path such as "/ops" under which a proxy passes the site')
    url: str = setting("site", "", 'what printed links begin with: "https://intranet.example.org"; "" = the bind address')
    lang: str = setting("lang", "en", "language of readers who name none that is there, and of app.toml")
    timezone: str = setting("timezone", "UTC", "zone of those who chose none, in which times are shown and typed")
    menu: tuple[Json, ...] = setting("menu", [], "the top bar, as an app's menu; [] = all apps", each=LINK, of="menu item")
    contact: str = setting("text", "", "whom sign-in and error pages name for help")


class AuthConfig(Settings):
    """[auth]"""

    keys: str = setting("secret", "", 'the key ring as "file:PATH" or "env:NAME"; "" = keys.json in the data folder')
    issuer: str = setting("text", "satchel", "iss and aud of the tokens")
    sign_in: tuple[str, ...] = setting("texts", ["password", "token"], "beside links: password, token, mail, oidc, proxy")
    session_s: int = setting("duration", "90d", "how long a sign-in lasts at most")
    session_idle_s: int = setting("duration", "14d", "how long a sign-in lasts without a request")


class HttpConfig(Settings):
    """[http]"""

    bind: str = setting("address", "127.0.0.1:8080", "HOST:PORT or unix:PATH to listen on; port 0 takes a free one")
    hosts: tuple[str, ...] = setting("hosts", [], "Host names answered besides loopback and the bind address")
    trusted_proxies: tuple[str, ...] = setting("networks", [], "addresses whose X-Forwarded-For, -Proto and -Host count")
    max_body_bytes: int = setting("size", "10MB", "largest body that is not a file")
    body_timeout_s: int = setting("duration", "30s", "longest silence inside a request or answer")
    workers: int = setting("count", 0, "worker processes; 0 = one a CPU")
    threads: int = setting("positive", 8, "threads of each worker")
    access_log: bool = setting("boolean", False, "a JSON line on standard error for each request")
    tls_cert: Path | None = setting("file", "", "certificate chain in PEM")
    tls_key: Path | None = setting("file", "", "private key in PEM")


class EventsConfig(Settings):
    """`events` of a queue: what becomes of S3 event notifications."""

    resource: str = setting("text", REQUIRED, "the form that takes each notification as a record")
    role: str = setting("text", REQUIRED, "the role as which that is done")


class QueueConfig(Settings):
    """One of [sqs] queues. `allow` is a ceiling over the grants of the tokens in its messages; None means no ceiling."""

    url: str = setting("queue", REQUIRED, 'URL of the queue, or "env:NAME" or "file:PATH"')
    allow: tuple[Grant, ...] | None = setting("grants", None, "the most that tokens in its messages may do")
    events: EventsConfig | None = setting("table", None, "what becomes of S3 event notifications", table=EventsConfig)

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]


class SqsConfig(Settings):
    """[sqs]"""

    queues: tuple[QueueConfig, ...] = setting("queues", [], "queues to work on: { url, allow, events }", each=QueueConfig)
    replies: Mapping[str, str] = setting("replies", {}, "queues for answers, by the names that reply_to may say", of="queue")
    region: str = setting("text", "", 'AWS region; "" = the usual AWS chain')
    endpoint: str = setting("text", "", "URL of a service that is compatible with SQS (and S3)")
    workers: int = setting("positive", 1, "processes that work on the queues; each counts attempts by itself")
    threads: int = setting("positive", 10, "messages of each queue that a process works on at once")
    attempts: int = setting("positive", 5, "attempts at a message that fails transiently, before it becomes a dead letter")
    visibility_s: int = setting("duration", "60s", "visibility timeout: how long a message is held without a heartbeat")
    wait_s: int = setting("duration", "20s", "longest wait of a poll, at most 20s")
    drain_timeout_s: int = setting("duration", "25s", "how long running work may take to end after SIGTERM")
    buckets: tuple[str, ...] = setting("texts", [], "S3 buckets from which large payloads are read")
    max_payload_bytes: int = setting("size", "10MB", "largest payload in S3")
    reply_bucket: str = setting("text", "", 'S3 bucket for answers and dead letters too large for a message; "" = none')


class RoleConfig(Settings):
    """[roles.NAME]"""

    grants: tuple[Grant, ...] = setting("grants", [], "what the role may do, such as forms/leave:create")


class PublicConfig(Settings):
    """[public]"""

    grants: tuple[Grant, ...] = setting("grants", [], "what a request without a credential may do")
    hourly: int = setting("count", 60, "how many forms an address may send in an hour without signing in; 0 = any number")
    max_daily_bytes: int = setting("size", "100MB", "what may be sent to forms in a day without signing in")
    frames: tuple[str, ...] = setting("texts", [], "sites that may show public forms in a frame: https://www.example.org")


class ProviderConfig(Settings):
    """[providers.NAME]; `options` are the kind's own settings, converted."""

    name: str
    options: Mapping[str, Any]
    kind: str = setting("text", REQUIRED, "sql, file, generic, or the kind of a plugin")


class ChannelConfig(ProviderConfig):
    """[channels.NAME]; likewise."""

    kind: str = setting("text", REQUIRED, "mail, or the kind of a plugin")


class FilesConfig(Settings):
    """[files.NAME]: a file share."""

    name: str
    provider: str = setting("text", "", 'provider with Blobs; "" = the one named main, else the only one')
    title: str = setting("text", "", "name for people")
    note: str = setting("text", "", "a line under the title")
    prefix: str = setting("inside", "", 'folder inside the provider, such as "handbook/"')
    accept: tuple[str, ...] = setting("media", [], "media types or .endings that may be uploaded; [] = all")
    max_file_bytes: int = setting("size", "2GB", "largest file")
    quota_bytes: int = setting("room", "", 'what its files may take together, such as "50GB"; "" = no limit', name="quota")
    trash_s: int = setting("age", "", 'how long deleted files can be brought back: "30d"; "" = they are gone', name="trash")
    versions: int = setting("count", 0, "so many overwritten versions of each file are kept")


CHOICE = (
    Setting("const", "any", REQUIRED, "the value, a text or number"),
    Setting("title", "text", None, "what people see instead of the value"),
)
ITEMS = (
    Setting("type", "type", None, "string, number or integer"),
    Setting("enum", "values", None, "the allowed values"),
    Setting("oneOf", "choices", None, "the allowed values as { const, title }", each=CHOICE),
)


SHOW_IF = "the field is asked for only while other fields have these values: { field = VALUE, [VALUE, …] or { OP = VALUE } }"
REQUIRED_IF = "the field must be given while other fields have these values, written likewise"
Comparisons: TypeAlias = tuple[tuple[str, Json], ...]  # each an operator of find and a value; all of them hold


class FieldConfig(Settings):
    """[forms.NAME.fields] and the params of views: one field, in JSON Schema keywords."""

    name: str
    type: str = setting("type", "string", "string, number, integer, boolean or array")
    format: str = setting("text", "", "of a string: date, date-time, time, email, uri, tel, multiline, person or file")
    title: str = setting("text", "", "label for people")
    description: str = setting("text", "", "help under the field")
    placeholder: str = setting("text", "", "an example, shown in the control while nothing is typed")
    required: bool = setting("boolean", False, "whether it must be given")
    message: str = setting("text", "", "what is said instead of our own words when a value is refused or missing")
    default: Json = setting(
        "any", None, 'value when nothing is given, and the one first shown; or "$today", "$now" or "$me"'
    )
    enum: tuple[Json, ...] = setting("values", [], "the allowed values")
    one_of: tuple[Value, ...] = setting("choices", [], "the allowed values as { const, title }", name="oneOf", each=CHOICE)
    items: Value = setting("table", {}, "of an array: { type, enum } or { type, oneOf }", table=ITEMS)
    minimum: Json = setting("number", None, "smallest number")
    maximum: Json = setting("number", None, "largest number")
    exclusive_minimum: Json = setting("number", None, "the number must be larger", name="exclusiveMinimum")
    exclusive_maximum: Json = setting("number", None, "the number must be smaller", name="exclusiveMaximum")
    multiple_of: Json = setting("number", None, "the number must be a multiple", name="multipleOf")
    min_length: Json = setting("count", None, "fewest characters", name="minLength")
    max_length: Json = setting(
        "count", None, "most characters; else 10,000, multiline 100,000, email 254, uri 2,000", name="maxLength"
    )
    pattern: str = setting("pattern", "", "regular expression that the whole text must match")
    min_items: Json = setting("count", None, "fewest items of an array", name="minItems")
    max_items: Json = setting("count", None, "most items of an array", name="maxItems")
    files: str = setting("text", "", 'format "file": the share that keeps the files, such as files/handbook')
    accept: tuple[str, ...] = setting("media", [], 'format "file": media types or .endings; [] = all')
    max_file_bytes: int = setting("size", "10MB", 'format "file": largest file')


STATES = (
    Setting("field", "word", REQUIRED, "name of the field that it adds"),
    Setting("initial", "text", REQUIRED, "the state of a new record"),
    Setting("moves", "texts", REQUIRED, '"FROM>TO:ROLE,ROLE"; without a role for whoever may update the record'),
    Setting("title", "text", None, "label of the field"),
    Setting("titles", "table", {}, "what people see instead of a state", of="text", names="text"),
    Setting("badges", "table", {}, "their colours: good, bad, warn or none", of="text", names="text"),
)
NOTICE = (
    Setting("to", "text", REQUIRED, 'who is told: a channel, or "mail:hr@example.org", "mail:{created_by}", "mail:role:hr"'),
    Setting("on", "text", None, "after what: create, update, delete, comment, a state, or * for all of them"),
    Setting("after", "duration", None, "reminds so long after it came into"), Setting("state", "text", None, "this state"),
)  # fmt: skip
DIGEST = (
    Setting("view", "text", REQUIRED, "the view that is sent, such as views/open_leave"), NOTICE[0],
    Setting("every", "text", REQUIRED, 'when, such as "monday 08:00"; also weekday, day, and month for its first day'),
)  # fmt: skip


OPTIONS = (
    Setting("view", "text", None, "a view whose rows are the choices, such as views/teams"),
    Setting("form", "text", None, "or a form whose records are"),
    Setting("value", "text", REQUIRED, 'the column that is stored; of a form also "id"'),
    Setting("label", "text", None, "the column that people see; else the value, or what a record of the form is called"),
)


class FormFieldConfig(FieldConfig):
    """[forms.NAME.fields]: what only the fields of forms can say."""

    options: Value = setting("table", {}, "choices from elsewhere: { form = …, value = …, label = … }", table=OPTIONS)
    was: str = setting("word", "", "the name that it had before; what records have under that is kept")
    show_if: Mapping[str, Comparisons] = setting("tables", {}, SHOW_IF, of="comparisons", names="field")
    required_if: Mapping[str, Comparisons] = setting("tables", {}, REQUIRED_IF, of="comparisons", names="field")
    read_by: tuple[str, ...] | None = setting("roles", None, "the role, or a list of roles, for whom it is there")
    write_by: tuple[str, ...] | None = setting("roles", None, "who may fill it in, likewise; otherwise who may read it")
    fields: tuple[FieldConfig, ...] = setting("fields", {}, "the fields of its lines", each=FieldConfig, names="field")
    sum: str = setting("text", "", 'of a number: what it is the sum of, such as "lines.amount"')

    @property
    def has_rules(self) -> bool:
        """Whether plugins/form_rules.py has to look at whole records because of it."""
        asks = self.show_if or self.required_if
        return bool(asks or self.sum or self.options or self.format == "person")


CHECK = (
    Setting("left", "text", REQUIRED, "the field that is judged"),
    Setting("op", "text", REQUIRED, "eq, ne, lt, lte, gt or gte; with value also in, contains or prefix"),
    Setting("right", "text", None, "the field that it is compared with"),
    Setting("value", "any", None, 'or a constant, "$today" or "$now"'),
    Setting("message", "text", None, "what is said where it does not hold"),
)


class OwnerConfig(Settings):
    """`owner` of a form: everybody sees and touches the records that are his, and no others."""

    field: str = setting("text", REQUIRED, "created_by, or the field that says whose a record is, by subject")
    unless: tuple[str, ...] | None = setting("roles", None, "the role, or a list of roles, for whom all records are there")


class FormConfig(Settings):
    """[forms.NAME]: a form and the records that it makes."""

    name: str
    fields: tuple[FormFieldConfig, ...] = setting("fields", {}, "its fields", each=FormFieldConfig, names="field")
    provider: str = setting("text", "", 'provider with Records; "" = the one named main, else the only one')
    table: str = setting("word", "", 'table of the records; "" = the name of the form')
    title: str = setting("text", "", "name for people")
    note: str = setting("text", "", "a line under the title")
    opens: str = setting("opens", "form", 'where links lead: "form", or "records" where the list is what people look up')
    owner: OwnerConfig | None = setting("table", None, "whose records are there for whom", table=OwnerConfig)
    called: str = setting("text", "", 'what a record is called, as "{name}: {from_day}"; "" = its first field', name="name")
    keep_s: int = setting("age", "", 'records older than "2y" are deleted, once a backup has them; "" = never', name="keep")
    unique: tuple[tuple[str, ...], ...] = setting("unique", [], 'what no two records share: [["name", "from_day"]]')
    states: Value = setting("table", {}, "its states, and who moves a record from one to another", table=STATES)
    comments: bool = setting("boolean", False, "whether people who read a record may say something about it there")
    notify: tuple[Value, ...] = setting("tables", [], "who is told of what", each=NOTICE, of="notice")
    digest: Value = setting("table", {}, "a view that is sent now and then; nothing while it is empty", table=DIGEST)
    checks: tuple[Value, ...] = setting("tables", [], "what must hold between its fields", each=CHECK, of="check")
    sections: Mapping[str, tuple[str, ...]] = setting(
        "tables", {}, "groups of its fields on pages: { TITLE = [field, …] }", of="texts", names="text"
    )

    @property
    def has_rules(self) -> bool:
        """Whether there are rules about more than a single field."""
        return bool(self.checks or any(one.has_rules for one in self.fields))


CONDITION = (
    Setting("field", "text", REQUIRED, "the field that is compared"),
    *(Setting(op, "any", None, help_) for op, help_ in (
        ("eq", "equal to"), ("ne", "not equal to"), ("lt", "less than"), ("lte", "at most"), ("gt", "more than"),
        ("gte", "at least"),
    )),
    Setting("in", "list", None, "one of"),
    Setting("contains", "text", None, "a text with this in it"),
    Setting("prefix", "text", None, "a text that begins with this"),
    Setting("null", "boolean", None, "whether it is empty"),
)  # fmt: skip
COLUMN = (
    *(Setting(name, "text", None, help_) for name, help_ in (
        ("title", "heading of the column"), ("format", 'such as "number:2", "money:EUR", percent, bytes, date or duration'),
        ("link", 'where its cells lead: "views/sales?region={region}"'), ("total", "below it: sum, avg, min, max or count"),
        ("count", "with group_by: the field that is counted"), ("sum", "likewise: the field that is added up"),
        ("avg", "likewise: its mean"), ("min", "likewise: its least value"), ("max", "likewise: its greatest value"),
    )),
    Setting("badge", "tables", None, "values that stand out: { overdue = \"bad\" }; good, bad, warn or none", of="text",
            names="text"),
)  # fmt: skip
CHART = tuple(Setting(name, "text", default, help_) for name, default, help_ in (
    ("kind", REQUIRED, "bar, stacked, line, area, pie or scatter"), ("x", REQUIRED, "the column along the axis"),
    ("y", REQUIRED, "the column of numbers that is drawn"), ("series", None, "a column: each of its values is drawn apart"),
))  # fmt: skip
CALENDAR = tuple(Setting(name, "text", default, help_) for name, default, help_ in (
    ("start", REQUIRED, "the column with the day or moment of an entry"), ("end", None, "that with its last day or end"),
    ("title", REQUIRED, "the column that says what it is"),
))  # fmt: skip


class ViewConfig(Settings):
    """[views.NAME]: a report, either `sql` on a provider with Queries or `from` a form."""

    name: str
    params: tuple[FieldConfig, ...] = setting("fields", {}, "with sql: its parameters", each=FieldConfig, names="field")
    provider: str = setting("text", "", 'with sql: the provider; "" = the one named main, else the only one')
    title: str = setting("text", "", "name for people")
    note: str = setting("text", "", "a line under the title")
    sql: str = setting("text", "", "one SELECT with :name parameters")
    source: str = setting("text", "", "a form such as forms/leave, instead of sql", name="from")
    where: tuple[Condition, ...] = setting("conditions", [], "with from: which records", each=CONDITION, of="condition")
    columns: Mapping[str, Value] = setting(
        "tables", {}, "how each is shown: { name = { title = … } }; with from, also which", each=COLUMN, names="text"
    )
    order_by: tuple[str, ...] = setting("texts", [], 'columns, "-" first for descending')
    group_by: tuple[str, ...] = setting("texts", [], "with from: columns of which each row has values of its own")
    facets: tuple[str, ...] = setting("texts", [], "columns whose values `_facets=1` counts")
    chart: Value = setting("table", {}, "its rows as a picture", table=CHART)
    calendar: Value = setting("table", {}, "its rows as entries of a calendar, which can be subscribed to", table=CALENDAR)
    refresh_s: int = setting("age", "", 'how often a page asks for its rows again: "30s"; "" = never', name="refresh")
    timeout_s: int = setting("duration", "10s", "longest time for a page")


BLOCK = (
    *(Setting(name, "text", None, help_) for name, help_ in (
        ("view", "a view such as views/open_leave"), ("chart", "a view that has a chart"), ("form", "a form to fill in"),
        ("number", "a view: its only value, or how many rows it has"), ("files", "a folder of a share"),
        ("markdown", "a file with a text"), ("title", "heading of the block"),
    )),
    Setting("limit", "positive", None, "so many rows, at most"),
)  # fmt: skip


class AppConfig(Settings):
    """[apps.NAME]: a page of its own with a menu."""

    name: str
    title: str = setting("text", "", "name for people")
    icon: str = setting("text", "", "one character or emoji")
    note: str = setting("text", "", "a line under the title")
    home: Any = setting("home", "", "blocks, one below the other; or a template, a form or a view", each=BLOCK, of="block")
    pages: str = setting("pages", "", "folder of Markdown pages, or one in a share: files/handbook/pages")
    menu: tuple[Json, ...] = setting("menu", [], "addresses, or { title, href } tables", each=LINK, of="menu item")
    static: Path | None = setting("path", "", "folder served at apps/NAME/static/")
    wsgi: str = setting("callable", "", "a WSGI program, served at apps/NAME/app/ to whoever may read the app")


ResourceConfig: TypeAlias = FilesConfig | FormConfig | ViewConfig | AppConfig
RESOURCE_CONFIGS: Mapping[str, type[Settings]] = {
    "files": FilesConfig, "forms": FormConfig, "views": ViewConfig, "apps": AppConfig,
}  # fmt: skip


class Config(NamedTuple):
    """Everything app.toml says, `raw` as it is parsed. `folder` is where relative paths start; `origin` names the source.

    A setting with one of the `faults` has its default, or None if it has none; nothing is built from such a table.
    """

    raw: Mapping[str, Any]
    folder: Path
    origin: str
    site: SiteConfig
    auth: AuthConfig
    http: HttpConfig
    sqs: SqsConfig
    public: PublicConfig
    extensions: Mapping[str, Mapping[str, Any]]  # what the tables of extensions say, by kind
    roles: Mapping[str, RoleConfig]
    providers: Mapping[str, ProviderConfig]
    channels: Mapping[str, ChannelConfig]
    resources: tuple[ResourceConfig, ...]
    lines: Callable[[], Mapping[str, int]] = dict  # of app.toml, by the place that begins there
    faults: tuple[Fault, ...] = ()

    def __repr__(self) -> str:  # `raw` may hold what should have been kept elsewhere as a secret
        return f"Config({self.origin!r})"

    def is_sound(self, place: str) -> bool:
        """Whether nothing is wrong at a place such as "forms.leave", nor inside it."""
        return not any((fault.pointer + ".").startswith(place + ".") for fault in self.faults)

    def provider_name(self, wanted: str) -> str:
        """The provider that a `provider` or `state` setting means; "" if it is empty and there is no obvious one."""
        if wanted or "main" in self.providers:
            return wanted or "main"
        return next(iter(self.providers)) if len(self.providers) == 1 else ""


_TABLES: Mapping[str, type[Settings]] = {"site": SiteConfig, "auth": AuthConfig, "http": HttpConfig, "sqs": SqsConfig,
                               "public": PublicConfig}  # fmt: skip


def _shapes(place: str, shape: Shape) -> Iterator[tuple[str, tuple[Setting, ...]]]:
    """The table at a place with its settings, and those inside it."""
    yield place, settings_of(shape)
    for one in settings_of(shape):
        if one.table:
            yield from _shapes(f"{place}.{one.name}", one.table)
        elif one.each:
            yield from _shapes(f"{place}.{one.name}.{'*' if one.default == {} else 'N'}", one.each)


# The settings of each table of app.toml by its place; * is a name that the user chooses, N the place in a list.
SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    place: settings
    for top, cls in {
        **_TABLES, "roles.*": RoleConfig, "providers.*": ProviderConfig, "channels.*": ChannelConfig,
        **{f"{type_}.*": cls for type_, cls in RESOURCE_CONFIGS.items()},
    }.items()
    for place, settings in _shapes(top, cls)
}  # fmt: skip
RESERVED_FIELDS = ("id", "version", "created_at", "created_by", "updated_at", "updated_by")


def bundled_text(name: str) -> str:
    """A text file of templates/."""
    return (BUNDLED / "templates" / name).read_text("utf-8")


_import_lock = threading.RLock()  # sys.modules has a module before it is whole; reentrant as plugins build on others


def plugin(name: str) -> ModuleType:
    """The bundled plugins/NAME.py, imported once. Raises ConfigError if it does not load."""
    module_name = f"satchel_plugin_{name}"
    with _import_lock:
        return sys.modules.get(module_name) or import_file(BUNDLED / "plugins" / f"{name}.py", module_name)


def import_file(path: Path, module_name: str) -> ModuleType:
    """Imports a plugin's file. Raises ConfigError naming it if it does not load."""
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugins/{path.name} cannot be loaded", hint=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a plugin raises, the operator must learn which file it was
        del sys.modules[module_name]
        raise ConfigError(f"plugins/{path.name} failed to load: {type(error).__name__}: {error}", hint=str(path)) from error
    return module


def plugin_bytes(path: Path) -> bytes:
    """A plugin's file. Raises ConfigError naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"plugins/{path.name} cannot be read: {error.strerror}", hint=str(path)) from error


def nearest(name: str, names: Iterable[str]) -> str:
    """'; did you mean X?', or '' if nothing is near; case does not count."""
    import difflib

    known = {one.casefold(): one for one in names}
    found = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
    return f"; did you mean {known[found[0]]}?" if found else ""


class _Converters(dict[str, Callable[[Any, Path], Any]]):
    """By kind what makes a setting's value of what app.toml says and the folder where relative paths start, or raises a
    ValueError that says what to write. They stand in plugins/converters.py, which is imported when the first is needed."""

    def __missing__(self, kind: str) -> Callable[[Any, Path], Any]:
        known: Mapping[str, Callable[[Any, Path], Any]] = plugin("converters").BY_KIND
        self.update(known)
        return known[kind]


CONVERTERS = _Converters()
_Declared: TypeAlias = Mapping[str, Sequence[Setting]]
_OfKind = TypeVar("_OfKind", bound=ProviderConfig)


class _Reader:
    """Walks the parsed file beside the settings and collects every fault."""

    def __init__(
        self, raw: Mapping[str, Any], folder: Path, kinds: _Declared, tables: _Declared, channels: _Declared
    ) -> None:
        self.raw, self.folder, self.kinds, self.tables, self.channels = raw, folder, kinds, tables, channels
        self.faults: list[Fault] = []

    def fault(self, place: str, detail: str) -> None:
        self.faults.append(Fault(place, "configuration", detail))

    def unknown(self, place: str, names: Collection[str]) -> None:
        """Report a key that no setting has."""
        self.fault(place, plugin("toml_advice").unknown_key(place.rpartition(".")[2], names))

    def value(self, place: str, shape: str, one: Setting, table: Value) -> Any:
        """The value of a setting in its table; after a fault, the default's."""
        at, before = f"{place}.{one.name}", len(self.faults)
        if one.name not in table:
            if one.default is REQUIRED and not plugin("toml_advice").misnamed(self.faults, place, one.name):
                self.fault(at, f"is missing: {one.help}")
            return self.default(one)
        try:
            raw = self.inside(at, f"{shape}.{one.name}", one, table[one.name])
            if len(self.faults) == before or one.kind in ("fields", "menu"):  # of which the others are judged all the same
                return one.read(raw, self.folder)
        except ValueError as error:
            self.fault(at, str(error))
        return self.default(one)

    def default(self, one: Setting) -> Any:
        if one.default in (REQUIRED, None):
            return None
        if one.kind == "folder":  # which may be what is wrong
            return CONVERTERS["path"](one.default, self.folder)
        return one.read(one.default, self.folder)

    def inside(self, place: str, shape: str, one: Setting, raw: Any) -> Any:
        """What a setting says, with what is inside it built and converted; items with a fault are left out."""
        if one.table:
            return self.build(one.table, place, shape, raw)
        if not (one.each or one.of) or (one.kind == "home" and isinstance(raw, str)):
            return raw
        by_name = one.default == {} or one.names != "name"
        if not isinstance(raw, dict if by_name else list):
            raise ValueError(plugin("toml_advice").as_tables(one))
        made = {}
        for key, item in raw.items() if isinstance(raw, dict) else enumerate(raw):
            before = len(self.faults)
            value = self.item(f"{place}.{key}", f"{shape}.{'*' if by_name else 'N'}", one, key, item)
            if len(self.faults) == before or (one.kind == "fields" and value is not None):
                made[key] = value
        return made if by_name else list(made.values())

    def item(self, place: str, shape: str, one: Setting, key: Any, raw: Any) -> Any:
        """One of the items of a list, or one of a table by names."""
        before, name = len(self.faults), key if isinstance(key, str) else None
        try:
            if name is not None:
                CONVERTERS[one.names](name, self.folder)
            if one.each and (isinstance(raw, dict) or one.kind != "menu"):  # of which the others may be texts
                raw = self.build(one.each, place, shape, raw, name)
            return CONVERTERS[one.of](raw, self.folder) if one.of and len(self.faults) == before else raw
        except ValueError as error:
            self.fault(place, str(error))
        return None

    def build(self, shape: Shape, place: str, where: str, raw: Any, name: str | None = None) -> Any:
        """What a table becomes (see Shape)."""
        values = self.table(place, where, settings_of(shape), raw)
        if isinstance(shape, tuple):
            return {key: value for key, value in values.items() if value is not None}
        facts = {} if name is None else {"name": name}
        return shape(**facts, **{one.attribute: values[one.name] for one in settings_of(shape)})

    def table(self, place: str, shape: str, settings: Sequence[Setting], raw: Any) -> Value:
        """The converted values by setting name."""
        if not isinstance(raw, dict):
            self.fault(place, f"must be a table: write {plugin('toml_advice').as_table(place, shape, settings, raw)}")
            return {one.name: self.default(one) for one in settings}
        names = [one.name for one in settings]
        for key in [key for key in raw if key not in names]:
            self.unknown(f"{place}.{key}", names)
        return {one.name: self.value(place, shape, one, raw) for one in settings}

    def named(self, place: str) -> Iterator[tuple[str, str, Any]]:
        """(name, place, table) of every [place.NAME]."""
        tables = self.raw.get(place, {})
        if not isinstance(tables, dict):
            self.fault(place, f"must hold tables: write [{place}.NAME]")
            return
        for name, raw in tables.items():
            try:
                yield CONVERTERS["name"](name, self.folder), f"{place}.{name}", raw
            except ValueError as error:
                self.fault(f"{place}.{name}", str(error))

    def of_kind(self, cls: type[_OfKind], table: str, kinds: _Declared) -> dict[str, _OfKind]:
        """Every [table.NAME] of which `kind` says what else may stand there."""
        found = {}
        for name, place, raw in self.named(table):
            kind = raw.get("kind") if isinstance(raw, dict) else None
            own = kinds.get(kind) if isinstance(kind, str) else None
            if own is None and isinstance(raw, dict):
                raw = {key: value for key, value in raw.items() if key == "kind"}  # whose the other keys are is not known
                if isinstance(kind, str):
                    near = nearest(kind, kinds)
                    self.fault(f"{place}.kind", f"{kind!r} is not a kind of {table.removesuffix('s')}{near}")
            settings = (*settings_of(cls), *(own or ()))
            options = Options(self.table(place, f"{table}.*", settings, raw), settings)
            found[name] = cls(name=name, options=options, kind=options.pop("kind"))
        return found

    def config(self, origin: str) -> Config:
        """Everything app.toml says; the faults are in `faults`."""
        known = {shape.split(".")[0] for shape in SETTINGS} | set(self.tables) | {"i18n"}  # see plugins/translations.py
        for key in [key for key in self.raw if key not in known]:
            self.unknown(key, known)
        own = {name: self.build(cls, name, name, self.raw.get(name, {})) for name, cls in _TABLES.items()}
        return Config(
            raw=self.raw,
            folder=self.folder,
            origin=origin,
            **own,
            extensions={
                kind: Options(self.table(kind, kind, settings, self.raw.get(kind, {})), settings)
                for kind, settings in self.tables.items()
            },
            roles={name: self.build(RoleConfig, place, "roles.*", raw) for name, place, raw in self.named("roles")},
            providers=self.of_kind(ProviderConfig, "providers", self.kinds),
            channels=self.of_kind(ChannelConfig, "channels", self.channels),
            resources=tuple(
                self.build(cls, place, f"{type_}.*", raw, name)
                for type_, cls in RESOURCE_CONFIGS.items()
                for name, place, raw in self.named(type_)
            ),
        )


def read_config(
    raw: Mapping[str, Any], folder: Path, origin: str, kinds: _Declared, tables: _Declared = MappingProxyType({}),
    channels: _Declared = MappingProxyType({}),
) -> Config:  # fmt: skip
    """A Config of parsed TOML, with every fault by its place. `kinds` are the kinds of providers and their settings,
    `channels` those of channels, `tables` those of other extensions, which have a table of their own."""
    reader = _Reader(raw, folder, kinds, tables, channels)
    config = reader.config(origin)
    return config._replace(faults=tuple(plugin("cross_checks").cross_checked(config, reader.faults)))


# ==== 4. CONTRACTS ===============================================================================================
# What a Provider (Records, Blobs, Queries), a Resource and each family of extensions must do; what only HTTP knows, and what
# runners ask of the application, stands in RUNNERS. Docstrings are promises: default methods keep them, and the contract
# suites check every kind.
# uses: ERRORS VALUES CONFIG
# defines: Extension Provider Records Folder Unseen Entry LOST Blobs Queries Publish Remove Act BlobStep Change Plan
#          Scope Endpoint Resource Configured Job Trigger Channel Command


class Extension:
    """Something that a file in plugins/ adds to a site. The base class is its family; `kind` is its name there. `settings`
    are its keys in app.toml: under [providers.NAME] or [channels.NAME], or in the table [KIND] for all others."""

    kind: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]] = ()


class Provider(Extension, ABC):
    """A place where data is kept. Between open() and close(), methods may be called from many threads. A driver's errors
    leave as AppErrors with their cause chained."""

    name: str
    serves_places: bool = False  # the files in places() are the blobs that it serves

    @abstractmethod
    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        """Opens nothing. Relative paths start at `folder`. Raises ConfigError if an option is wrong."""

    @abstractmethod
    def open(self) -> None:
        """Makes it ready in this process, after any fork. Idempotent. Raises Unavailable if the backend is away."""

    @abstractmethod
    def close(self) -> None:
        """Releases everything. Idempotent; never raises."""

    @abstractmethod
    def ping(self) -> float:
        """Seconds of one round trip to the backend. Raises Unavailable if it is away."""

    def warnings(self) -> list[str]:
        """What an operator should know about this backend. No more I/O than ping() does."""
        return []

    def places(self) -> list[Path]:
        """Files and folders on this machine that hold its data, which no file share may show."""
        return []

    def sweep(self, now: float) -> None:
        """Removes what interrupted work left, such as bytes staged over a day before `now` (Unix seconds). May take long."""

    def has(self, contract: type[Provider]) -> bool:
        """Whether it keeps a contract as configured: an HTTP service may have records and no blobs."""
        return isinstance(self, contract)

    def create(self, tables: Mapping[str, Sequence[Query]], bar: Any = None) -> list[str]:
        """Makes what first use does not (these tables, a bucket, slow indexes), for `server check --create`; returns what in
        words. `bar` is that of plugins/copy.py."""
        return []


class Records(Provider):
    """JSON objects by key in named tables. A table exists once it is written to. Keys have 1 to 512 bytes of UTF-8 and are
    compared byte by byte, without Unicode normalisation. U+0000 is refused."""

    atomic: bool  # a commit of many writes is all or nothing
    conditional: bool = True  # the backend checks preconditions; if not, this process does, under its own lock
    exact_integers: bool = True  # 64-bit integers and decimals come back exactly as they were
    most_writes: int | None = None  # in one commit, which raises TooLarge beyond it; None means no limit

    @abstractmethod
    def get(self, table: str, key: str) -> Record | None:
        """The record, or None."""

    @abstractmethod
    def find(self, query: Query) -> Page:
        """At most query.limit records in order, fewer if they fill PAGE_BYTES, and the cursor of what follows.
        Following the cursors repeats and skips no record, whatever is inserted or deleted meanwhile. Raises BadRequest if
        the cursor is another query's, Unsupported if the backend cannot order or filter so."""

    def find_texts(self, query: Query, text_of: Callable[[Record], Any]) -> tuple[list[Any], str | None]:
        """What `text_of` makes of the records that find() gives, and its cursor. Nobody changes it: it is remembered."""
        return list(map(text_of, (page := self.find(query)).items)), page.next

    @abstractmethod
    def count(self, query: Query) -> int:
        """How many records the query selects, ignoring its limit and cursor."""

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        """The same, or `most` if there are more. None if this provider cannot tell within about timeout_s."""
        return None

    def facet(self, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
        """The most frequent values of a field, or plain items of lists, and how many of the records that count() counts have
        each. None is null or missing. Raises Unsupported if the backend would have to hand out all records."""
        raise Unsupported(f"a {self.kind} provider cannot count values")

    def groups(self, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int) -> list[Sequence[Json]]:
        """For each group of the records that count() counts its values of the fields `by`, then its measures, in any order;
        without `by` one for all. Raises TooLarge beyond `most`. Here they are read, and refused beyond 10,000."""
        return cast("list[Sequence[Json]]", plugin("groups").of_read(self, query, by, measures, most))

    def prepare(self, tables: Mapping[str, Sequence[Query]]) -> None:
        """Makes these tables, if statements of Queries may name them. Each comes with all queries that are declared: what
        they filter and order by is worth an index, and what one with limit 0 orders by is worth counts of its values."""

    def tables(self) -> list[str]:
        """The names of all tables that were written to, in order. Raises Unsupported if the backend cannot tell."""
        raise Unsupported(f"a {self.kind} provider cannot list its tables")

    @abstractmethod
    def commit(self, writes: Sequence[Write]) -> list[Record]:
        """Does all writes durably, or none. Returns a record for each, in order; of a Delete with version 0 and no value.
        Of N racing inserts of a key one wins. An empty list does nothing. Raises Conflict with the index of the first write
        whose precondition fails, Invalid if a key occurs twice, Unsupported for several writes if it is not `atomic`."""

    def mark(self) -> Any:
        """What differs after every commit, whichever process made it; None if that is not known more cheaply than get()."""
        return None

    def walk(self, query: Query) -> Iterator[Record]:
        """Every record of the query in order, fetched in pages of at most 1,000."""
        cursor: str | None = query.after
        while cursor is not None:
            page = self.find(query._replace(limit=1000, after=cursor))
            yield from page.items
            cursor = page.next


class Folder(NamedTuple):
    """A folder in a listing that does not descend; path has no trailing slash."""

    path: str


class Unseen(NamedTuple):
    """Something in a listing that cannot be looked at: `path` names it as well as it can, `problem` says why."""

    path: str
    problem: str


Entry: TypeAlias = Blob | Folder | Unseen
LOST = "\ufffd"  # stands in a path or a text for what could not be read


class Blobs(Provider):
    """Bytes by path. Callers have checked the paths (check_path). A folder exists while something is in it. A path is a file
    or a folder, never both: publishing "a/b" where "a" is a file, or "a" where it is a folder, raises Conflict. Paths are
    listed in the order of their UTF-8 bytes."""

    lists: bool = True  # scan() and is_folder() work; if not, they raise Unsupported
    renames: bool = True  # move() is one step that keeps the etag; if not, it copies and removes
    makes_folders: bool = True  # make_folder() and remove_folder() work; if not, they raise Unsupported
    keeps_folders: bool = False  # a folder that another program made stays, and is listed, while it is empty
    frees_folders: bool = True  # an emptied folder's path may become a file; if not, publishing there raises Conflict
    keeps_times: bool = False  # publish() keeps Staged.modified_at, to the millisecond; if not, the time is when it came

    @abstractmethod
    def stat(self, path: str) -> Blob | None:
        """The blob; None if there is none, or a folder."""

    @abstractmethod
    def is_folder(self, path: str) -> bool:
        """Whether something lies below `path`. "" is the root, which always is a folder."""

    def is_link(self, path: str) -> bool:
        """Whether a folder's path leads to another folder of the provider, whose files it shows once more."""
        return False

    @abstractmethod
    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> Reader:
        """`length` bytes from `start`, or all; of the same blob to the end, even if it is replaced meanwhile.
        Raises NotFound if it is missing, PreconditionFailed if its etag is not `if_match`."""

    @abstractmethod
    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        """Stores bytes durably without making them visible. If `chunks` raises, nothing is left. A chunk may be kept.
        `path` is where they will be published, if that is known: a store that builds objects in place may begin there."""

    @abstractmethod
    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        """Makes staged bytes the blob at `path`, durably, whole or not at all.
        Of N racing publishes with the same condition one wins. Raises PreconditionFailed, leaving the bytes staged, if the
        present etag is not `if_match`, or with `if_none_match` if something is there."""

    @abstractmethod
    def discard(self, staged: Staged) -> None:
        """Forgets staged bytes. Idempotent. sweep() removes those that were neither published nor discarded in a day."""

    @abstractmethod
    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Entry]:
        """What lies below the folder `prefix` ("" is the root), in order, after the path `after`: with `deep` every blob,
        else the entries of that one folder, sub-folders as Folder. What cannot be read is Unseen; the rest still follows."""

    @abstractmethod
    def remove(self, path: str, *, if_match: str | None = None) -> None:
        """Removes a blob. Raises NotFound if it is missing, PreconditionFailed if its etag is not `if_match`."""

    @abstractmethod
    def make_folder(self, path: str) -> None:
        """Makes an empty folder, which stays until remove_folder(). Raises Conflict if it is there or below a file."""

    @abstractmethod
    def remove_folder(self, path: str) -> None:
        """Removes an empty folder, whoever made it. Raises NotFound if there is none, Conflict if something is in it."""

    @abstractmethod
    def move(self, source: str, target: str) -> Blob:
        """Renames a blob; see `renames`. Raises NotFound if it is missing, Conflict if the target exists."""

    def copy(self, source: str, target: str) -> Blob:
        """The same bytes at another path, with their time where it can be kept. Raises as move() does."""
        return cast(Blob, plugin("file_copies").within(self, source, target))

    def write(self, path: str, chunks: Iterable[bytes], *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        """Stages and publishes in one call. A failure leaves nothing behind."""
        staged = self.stage(chunks, path)
        try:
            return self.publish(staged, path, if_match=if_match, if_none_match=if_none_match)
        except AppError:
            self.discard(staged)
            raise


class Queries(Provider):
    """Read-only statements in the backend's own language."""

    @abstractmethod
    def select(self, select: Select) -> Rows:
        """Runs the statement, which cannot write whatever it says, and streams its rows. Bytes become base64 text.
        Raises BadRequest if where or order_by names an unknown column, ConfigError if the statement is wrong; also while
        streaming, QueryTimeout after timeout_s and TooLarge beyond max_rows."""

    def count_rows(self, select: Select, most: int | None = None) -> int:
        """How many rows select() would give without its limit and offset, or `most` if there are more."""
        with closing(self.select(select._replace(order_by=(), limit=most, offset=0, max_rows=None))) as rows:
            return sum(1 for _ in rows.rows)

    def facet_rows(self, select: Select, column: str, most: int) -> list[tuple[Json, int]]:
        """How many of these rows have each value of a column: the most frequent `most` values first."""
        raise Unsupported(f"a {self.kind} provider cannot count values")

    def sums(self, select: Select, measures: Sequence[Measure], by: str = "", most: int = 1) -> list[Sequence[Json]]:
        """The measures of all rows, or of those with each of `most` values of `by`, behind that value."""
        raise Unsupported(f"a {self.kind} provider cannot add up rows")


class Publish(NamedTuple):
    """Makes staged bytes visible at `path`, replacing what is there unless a condition forbids it."""

    blobs: Blobs
    staged: Staged
    path: str
    if_match: str | None = None
    if_none_match: bool = False
    held: Any = None  # the Held that they were: if the commit fails, they are staged again for another try
    waits: bool = False  # if this fails, the bytes stay staged for another try


class Remove(NamedTuple):
    """Removes the blob at `path` if its etag is still `if_match`. With `or_gone` nothing need be there."""

    blobs: Blobs
    path: str
    if_match: str | None = None
    or_gone: bool = False


class Act(NamedTuple):
    """Whatever else is done to blobs: `places` are all it touches, each with how many bytes it has more afterwards."""

    run: Callable[[], Blob | None]
    places: Sequence[tuple[Blobs, str, int]]
    told: Mapping[str, Json] = MappingProxyType({})  # what its audit entries say, to which run() may add
    tally: Any = None  # counts what is below the places (plugins/quota.py)


BlobStep: TypeAlias = Publish | Remove | Act


class Change(NamedTuple):
    """A write and the value it replaces (None: there was none), for the audit trail."""

    write: Write
    before: Value | None = None


class Plan(NamedTuple):
    """What a resource wants done and answered; App.handle does it. The steps run first. `respond` then gets the blobs that
    they published, and the changes are committed together with their audit entries, which keep the `comment`; if that fails,
    what the steps published is removed. `cleanup` comes last; it may fail without failing the request. Steps without changes
    are a file operation, audited by an intent and an outcome. `action` is what an update turned out to be, if it is another.
    `also` are writes of the site's own tables, without audit entries. With `beside` all tables lie with audit entries."""

    respond: Callable[[Sequence[Blob]], Response]
    changes: Sequence[Change] = ()
    steps: Sequence[BlobStep] = ()
    cleanup: Sequence[Remove] = ()
    action: Action | None = None
    also: Sequence[Write] = ()
    comment: str = ""
    beside: bool = False


class Scope(NamedTuple):
    """What a resource may use beside the request."""

    caller: Caller
    now: float
    new_ids: Callable[[int], list[str]]  # so many new ones
    read: Callable[..., Response]  # reads (address, params) as the caller; with page=True as a page does
    again: bool = False  # the same request began earlier and did not end: what it asks for may have been done
    send: Any = None  # does another request as the same caller, and takes a guard for it as Host.handle does


class Endpoint(NamedTuple):
    """A path inside a resource, and what may be done there. A word in capitals stands for any segment, PATH for many."""

    path: str
    actions: tuple[Action, ...] = (Action.READ,)
    patches: bool = False  # an update may be a merge patch
    posts: Action = Action.CREATE  # what a POST does; where it is an update, there is no PUT
    choices: bool = False  # a page's parameter may be given several times: its texts arrive joined by commas

    def fits(self, path: Sequence[str]) -> bool:
        """Whether this is the endpoint of a path inside a resource."""
        parts = self.path.split("/") if self.path else []
        path = path[: len(parts)] if parts[-1:] == ["PATH"] else path
        return len(parts) == len(path) and all(p.isupper() or p == given for p, given in zip(parts, path, strict=True))


class Resource(ABC):
    """Something declared in app.toml. It returns a Plan and writes nothing itself but staged bytes."""

    type: ClassVar[str]
    name: str
    title: str
    endpoints: ClassVar[tuple[Endpoint, ...]] = (Endpoint(""),)  # routes, Allow, info routes and OpenAPI follow from them
    records: Records | None = None  # keep its records, audit entries and request ids; None means the state provider
    providers: Sequence[Provider] = ()  # that it reads, or writes to

    @classmethod
    def endpoint(cls, path: Sequence[str]) -> Endpoint | None:
        """The endpoint of a path inside such a resource, or None."""
        return next((one for one in cls.endpoints if one.fits(path)), None)

    @classmethod
    def sufficient(cls, request: Request) -> tuple[Action, ...]:
        """Any one of these actions lets the request in; the resource then checks what it turned out to be."""
        return (request.action,)

    @classmethod
    def judged_at(cls, request: Request) -> str:
        """The address that a grant must cover."""
        return request.address

    def describe(self) -> Value:
        """What programs must know beyond its address, such as JSON Schemas of what it takes."""
        return {}

    def seen_by(self, caller: Caller) -> Resource:
        """The resource as far as it is there for a caller: without rows and fields that he may not see."""
        return self

    def seen_again(self, answer: Response) -> Response:
        """What was answered to an earlier request, as far as it is there for the caller of seen_by()."""
        return answer

    @abstractmethod
    def handle(self, request: Request, scope: Scope) -> Plan:
        """What to do and answer, once the caller was let in. Raises NotFound, BadRequest, Invalid, PreconditionFailed …"""


class Configured(Extension):
    """An extension of which each process makes one object, which serves many threads."""

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        """`options` are its settings in app.toml. Raises ConfigError if they are wrong."""
        self.options, self.config = options, config


class Job(Configured, ABC):
    """Work that is due now and then, outside any request. What it raises is logged, and it runs again at its next time."""

    every_s: ClassVar[float]
    scope: ClassVar[str]  # "node": one process of each data folder runs it; "site": one process of all nodes

    @abstractmethod
    def run(self, app: Any, stop: threading.Event) -> None:
        """Does what is due and returns, soon once `stop` is set. `app` is the open App."""

    def end(self, app: Any) -> None:
        """What else is to be done when the server stops, in a few seconds; the App is open still."""


class Trigger(Configured, ABC):
    """Adds writes to those of a request: they are committed with its changes, in the provider of its records."""

    def writes(
        self, request: Request, caller: Caller, changes: Sequence[Change], resource: Resource, now: float
    ) -> Sequence[Write]:
        """What else is to be committed. An AppError that it raises refuses the whole request. It may be asked several times
        for one request, of which one is committed."""
        return ()

    def around(self, request: Request, caller: Caller, steps: Sequence[BlobStep]) -> AbstractContextManager[None]:
        """Entered before the steps of a request, left after them: it may refuse them (Locked, StorageFull) as above."""
        return nullcontext()


class Channel(Extension, ABC):
    """A way on which notices leave the site. One thread at a time uses it, and closes it after each round of notices."""

    addressed: ClassVar[bool] = True  # each notice goes to somebody; if not, all of them to one place

    @abstractmethod
    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        """Connects to nothing. Relative paths start at `folder`. Raises ConfigError if an option is wrong."""

    @abstractmethod
    def send(self, notice: Value) -> None:
        """Hands over what has an `id`, the same at every try, `at` (Unix seconds), `to`, `title`, `text` and `html`, or "";
        for programs also its `type` and `data`.
        Raises Refused if it never will be taken, Busy if it alone has to wait, Unavailable if nothing can be sent now."""

    def check(self) -> None:
        """Raises what keeps it from sending anything. It sends nothing."""

    def close(self) -> None:
        """Ends what send() and check() kept open. Idempotent; never raises."""


class Command(Extension, ABC):
    """A command of the command line; `kind` is its words, such as "server copy". It has no settings."""

    help: ClassVar[str]  # one line, without a full stop
    epilog: ClassVar[str] = ""  # what --help ends with, such as examples

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its arguments; all commands have --config, --data and --json."""

    @abstractmethod
    def run(self, args: argparse.Namespace, site: Any) -> int:
        """Does it and returns the exit code. `site` is a Site. AppErrors that it raises are rendered as everywhere."""

    def check(self, config: Config) -> tuple[list[Fault], list[str]]:
        """Faults and warnings that `server check` reports beside its own."""
        return [], []


# ==== 5. RUNNERS =================================================================================================
# Transports: the only section that knows HTTP and how messages are worked on. A runner makes Requests of what comes in,
# hands them to its Host, and renders Responses and AppErrors as pages, JSON, CSV, NDJSON, bytes or messages.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines: Runner Host Asked Answer Format Route HTTP_METHODS PAGE_POLICY BodyReader Exchange json_answer see_other
#          head_bytes problem_details list_page error_headers methods_of problem_answer JsonFormat CsvFormat NdjsonFormat
#          send_content HttpDoor ELSEWHERE log_fault Head parse_head Limits DEFAULT_LIMITS Gone Connection Seats
#          SharedText HttpServer HttpRunner Attribute Message is_credential BadEnvelope PayloadUnavailable ReplyFailed
#          bad_envelope Queue LEASE_MARGIN_S RetryPolicy DEFAULT_RETRIES LeaseLost Stopping OUTCOMES Outcome Consumer
#          SqsRunner Generation Supervisor


_Extension = TypeVar("_Extension", bound=Extension)


class Runner(ABC):
    """Knows one transport: it makes Requests of what comes in, and renders Responses and AppErrors."""

    kind: ClassVar[str]

    @abstractmethod
    def run(self) -> None:
        """Serves until stop(), and returns when what was in flight is finished."""

    @abstractmethod
    def stop(self) -> None:
        """Lets run() return soon. Safe in a signal handler."""


class Host(Protocol):
    """What runners and routes may ask of the application."""

    title: str
    languages: Any  # see plugins/languages.py

    def extensions(self, family: type[_Extension]) -> list[_Extension]:
        """One object of each kind of a family (Route, Job), with its settings."""

    def open(self) -> None: ...  # the providers, once in each process, after any fork
    def close(self) -> None: ...

    def handle(self, request: Request, guard: Callable[[], None] = ...) -> Response:
        """The whole flow. `guard` is called just before the commit; if it raises, nothing is committed."""

    def site_id(self) -> str: ...  # among others on its host: the same on all nodes, after restarts and with new keys
    def seal(self, purpose: str, text: str) -> str: ...  # signed for `purpose`, for a browser to keep
    def unseal(self, purpose: str, sealed: str) -> str | None: ...  # that text; None if it was not sealed here for this
    def ready(self) -> dict[str, str]: ...  # for each provider's name "ok" or what is wrong with it
    def endpoint(self, kind: str, path: Sequence[str], name: str = "") -> Endpoint | None: ...  # of a type; of admin by name

    def describe(self, credential: str | None) -> list[Value]:
        """Type, address, title, whether it is public, and declared shapes of what the credential may open; None: all."""

    def count(self, name: str, *labels: str, by: float = 1) -> None: ...  # a label not known beforehand is "other"
    def observe(self, name: str, *labels: str, value: float) -> None: ...  # of a histogram


# ---- HTTP: what a plugin sees of it


class Asked(Protocol):
    """One HTTP request, as a Route sees it."""

    id: str
    method: str
    resource: str  # that the address names, declared or not, such as "forms/leave"; "" at a path of the Route's own
    path_inside: tuple[str, ...]  # of that resource
    subject: str  # who was let in, for the log; the Route sets it

    @property
    def inner(self) -> str:
        """The path below the site's prefix, percent-encoded, without its first slash."""

    @property
    def query(self) -> dict[str, str]:
        """The parameters by name. Raises BadRequest if one occurs twice or is not UTF-8."""

    @property
    def credential(self) -> str:
        """The Authorization header, or the session in the cookie; "" if there is neither."""

    def header(self, name: str) -> str:
        """The value of a header; "" if it is missing."""

    def url(self, address: str, /, **params: Any) -> str:
        """The path of an address on this site, with its query."""


class Answer:
    """An answer over HTTP. `body` is bytes, an iterator of bytes, or a file object for sendfile."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: Any = b"") -> None:
        self.status, self.headers, self.body = status, headers, body


class Format(Configured, ABC):
    """How answers over HTTP are written, and bodies read. `kind` is the suffix of its addresses. A method that returns None
    leaves the answer to JSON."""

    media: ClassVar[str]  # the media type that Accept names
    subjects: ClassVar[frozenset[str]]  # what it writes, of "table" (lists), "record" and "chart"
    whole: ClassVar[bool] = False  # it writes every row that was asked for, not a page of them, as a file to keep
    reads: ClassVar[frozenset[str]] = frozenset()  # media types of the bodies that load() takes
    for_people: ClassVar[bool] = False  # people read it: answers may hold what only pages offer (Request.page)

    @abstractmethod
    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        """The body of what was read. The status is sent with its first piece: what fails before is answered as an error."""

    def answer(self, exchange: Exchange, response: Response) -> Answer | None:
        """The whole answer to what was read; None means that dump() is its body."""
        return None

    def written(self, exchange: Exchange, response: Response) -> Answer | None:
        """The answer to a write."""
        return None

    def fault(self, exchange: Exchange, error: AppError) -> Answer | None:
        """The answer to an error."""
        return None

    def load(self, exchange: Exchange, resource: str) -> Json:
        """The data of a Request, from a body of one of the types in `reads`; the caller was let in."""
        raise Unsupported(f"the format {self.kind} is not read here")

    def submitted(self, exchange: Exchange, resource: str, path: tuple[str, ...], work: Callable[[], Answer]) -> Answer:
        """The answer to an HTML form sent to an address. work() does what it asks for, or raises."""
        return work()


class Route(Configured, ABC):
    """Answers HTTP paths of its own, or methods of resource types. It touches data through host.handle alone, with the
    credential of the request."""

    paths: ClassVar[Mapping[str, str]] = MappingProxyType({})  # {"/openapi.json": "GET"}: methods between spaces
    methods: ClassVar[Mapping[str, Action]] = MappingProxyType({})  # {"PROPFIND": Action.READ}: where that is offered …
    types: ClassVar[frozenset[str]] = frozenset()  # … by resources of these types …
    inside: ClassVar[str] = ""  # … at their paths that begin with this segment, if it is not ""

    def open(self) -> None:
        """Called in each process that serves, before its first request. ConfigError ends that process."""

    @abstractmethod
    def answer(self, asked: Asked, host: Host) -> Answer:
        """The answer. AppErrors that it raises are rendered as everywhere."""


# ---- HTTP: requests and answers

_PROBLEM_MEDIA = "application/problem+json"
_ACTIONS = {
    "GET": Action.READ, "HEAD": Action.READ, "POST": Action.CREATE, "PUT": Action.UPDATE, "PATCH": Action.UPDATE,
    "DELETE": Action.DELETE,
}  # fmt: skip
HTTP_METHODS = (*_ACTIONS, "OPTIONS")  # that every site knows; its Routes may add others
_CONTROLS = ("_method", "_version", "_submission", "_resume", "_list", "_back", "_embed")  # of a page's form
_COOKIE = "satchel_session_"  # and the id of the site, so that two sites on one host do not sign each other out
_ENDED_COOKIE = "satchel_ended_"  # the session that has ended: a form page that is still open may need it
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; sandbox"
_INLINE = re.compile(r"image/(png|apng|jpeg|gif|webp|avif|bmp|heic|heif|jxl)|audio/.+|video/.+|application/pdf|text/plain.*")
_SCRIPTABLE = re.compile(r".*(html|xml|svg).*")
_BODY_S, _BODY_RATE = 30.0, 1000  # to send a body: this, and a second more for so many bytes
_PIECE_BYTES = 1024 * 1024  # of a body, as much as has come: threads that pass on larger pieces wait less for each other
_ABSOLUTE = re.compile(r"https?://([^/?]*)", re.IGNORECASE)
_ETAG = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')
_Headers: TypeAlias = list[tuple[str, str]]
_Ranges: TypeAlias = list[tuple[int, int]]  # (start, length) in bytes
_encoded = lru_cache(256)(urlencode)  # the pages of a list are asked for with the same parameters


class BodyReader:
    """The bytes of a request, once, in chunks. Raises BadRequest if they end early or do not have the announced digest,
    RequestTimeout if they arrive too slowly, and TooLarge past `most`."""

    def __init__(self, fields: Mapping[str, str], source: Any, clock: Clock = time.monotonic) -> None:
        """`source` has `size_bytes`, None if that is not known, and `read(size, until_s)`, b"" at the end."""
        self.fields, self.source, self.clock = fields, source, clock
        self.size_bytes: int | None = source.size_bytes
        self.most: int | None = None
        self.rate = _BODY_RATE  # bytes a second, past which it may take no longer
        self.seen = 0  # bytes read

    def _promised(self) -> set[bytes]:
        """The SHA-256 in Content-Digest and Repr-Digest (RFC 9530); other algorithms are ignored."""
        digests = set()
        for name in ("content-digest", "repr-digest"):
            if match := re.search(r"(?:^|,)\s*sha-256=:([^:]*):", self.fields.get(name, "")):
                try:
                    digests.add(base64.b64decode(match[1], validate=True))
                except ValueError:
                    raise BadRequest("the sha-256 digest is not base64") from None
        return digests

    def bounded(self, most: int) -> BodyReader:
        """This reader, with a limit: TooLarge at once if more bytes are announced."""
        if (self.size_bytes or 0) > most:
            raise TooLarge(f"the body has {how_many(self.size_bytes or 0)}; at most {most:,} are taken here")
        self.most = most
        return self

    def __iter__(self) -> Iterator[bytes]:
        promised, began, digest = self._promised(), self.clock(), hashlib.sha256()
        while self.size_bytes is None or self.seen < self.size_bytes:
            left = _PIECE_BYTES if self.size_bytes is None else min(_PIECE_BYTES, self.size_bytes - self.seen)
            chunk = self._read(left, began + _BODY_S + self.seen / self.rate)
            if not chunk:
                break
            self.seen += len(chunk)
            if self.most is not None and self.seen > self.most:
                raise TooLarge(f"the body is larger than {how_many(self.most)}, the most that is taken here")
            if promised:
                digest.update(chunk)
            yield chunk
        if self.size_bytes is not None and self.seen < self.size_bytes:
            raise BadRequest(f"the body ended after {self.seen:,} of {how_many(self.size_bytes)}")
        if promised - {digest.digest()}:
            raise BadRequest("the body does not have the sha-256 digest that was sent with it")

    def _read(self, size: int, until_s: float) -> bytes:
        try:
            chunk: bytes = self.source.read(size, until_s)
        except TimeoutError:
            raise RequestTimeout("the body did not come in time") from None
        except Gone as error:
            raise BadRequest("the body was cut off") from error
        if self.clock() > until_s:
            raise RequestTimeout("the body came too slowly")
        return chunk


class Exchange:
    """One HTTP request while it is being answered. Paths stay percent-encoded until they are split."""

    def __init__(self, head: Head, connection: Any, door: HttpDoor, request_id: str) -> None:
        """`connection` is a Connection, or what stands for one: `peer`, `scheme` and `body`."""
        self.head, self.connection, self.door, self.id, self.prefix = head, connection, door, request_id, door.prefix
        self.method, target, self._named_host = head.method, head.target, head.fields.get("host", "")
        if not target.startswith("/") and (absolute := _ABSOLUTE.match(target)):  # its host wins (RFC 9112 section 3.2.2)
            self._named_host, target = absolute[1], target[absolute.end() :]
        path, _, self._query = target.partition("?")
        self.own_path = self.path = path or "/"  # self.path loses a suffix that names a format
        self.resource = ""  # that the path names, once it is routed, such as "forms/leave"
        self.path_inside: tuple[str, ...] = ()
        self.endpoint: Endpoint | None = None
        self.repeated: set[str] = set()  # parameters that are given several times
        self.authorization = head.fields.get("authorization", "").strip()
        self.subject = ""  # who was let in, for the page's frame and the log
        self.form: Any = None  # what was read of an HTML form: a SentForm of plugins/html_forms.py
        self.files: list[BinaryIO] = []  # temporary ones, closed after the answer
        self.cookies: list[str] = []
        self.language = ""  # of the page that answers it
        self._locales: dict[str, Any] = {}  # by subject

    def header(self, name: str) -> str:
        return self.head.fields.get(name.lower(), "")

    # -- where it comes from

    @property
    def peer(self) -> str:
        """The address of the other end of the connection: a client or a proxy; "unix" for a Unix socket."""
        return str(self.connection.peer)

    @property
    def by_proxy(self) -> bool:
        return self.door.trusts(self.peer)

    @cached_property
    def client(self) -> str:
        """The nearest address that is no trusted proxy; the farthest if all are."""
        forwarded = [hop.strip() for hop in self.header("x-forwarded-for").split(",")]
        hops = [self.peer, *(hop for hop in reversed(forwarded) if hop)]
        return next((hop for hop in hops if not self.door.trusts(hop)), hops[-1])

    @cached_property
    def scheme(self) -> str:
        """http or https, as the client uses it."""
        forwarded = self.header("x-forwarded-proto").strip().lower() if self.by_proxy else ""
        return forwarded if forwarded in ("http", "https") else str(self.connection.scheme)

    @property
    def host(self) -> str:
        """The host that the client asked for, with its port."""
        forwarded = self.header("x-forwarded-host").strip() if self.by_proxy else ""
        return forwarded or self._named_host

    @property
    def languages(self) -> str | None:
        """Accept-Language of a person; None if a program asks, which gets what the site has."""
        is_program = not self.page and (bool(self.authorization) or type(self.format) is JsonFormat)
        return None if is_program else self.header("accept-language")

    @property
    def locale(self) -> Any:
        """How its reader writes values, and the words of the pages (plugins/locale.py)."""
        if self.subject not in self._locales:
            self._locales[self.subject] = self.door.host.languages.of(self.subject, self.languages, self.id)
        return self._locales[self.subject]

    # -- its credential

    def cookie_name(self, kind: str = _COOKIE) -> str:
        """A name that no other site on this host has. Under TLS its prefix forbids browsers to take it from http, or from
        another host of the domain (RFC 6265bis section 4.1.3)."""
        secure = ("__Secure-" if self.prefix else "__Host-") if self.scheme == "https" else ""
        return f"{secure}{kind}{self.door.host.site_id()}"

    def cookie_values(self, kind: str) -> str:
        """The values of this site's cookies of this kind, between spaces."""
        header = self.header("cookie")
        if kind not in header:
            return ""
        try:
            name = self.cookie_name(kind)
        except AppError:  # the state provider is away: so is whatever a session could open
            name = r"(?:__\w+-)?" + kind + r"\w+"
        found = re.findall(rf"(?:^|;)\s*{name}=([^;\s]+)", header)
        return " ".join([one for one in found if re.fullmatch(r"[\w-]{43}", one)][:40] or found[:1])

    @cached_property
    def session(self) -> str:
        """The values of this site's session cookies: one, or several between spaces, of which one may be good."""
        return self.cookie_values(_COOKIE)

    @property
    def former(self) -> str:
        """The sessions in cookies, also those that have ended, as a credential that lets nobody in."""
        return f"Session {self.session} {self.cookie_values(_ENDED_COOKIE)}"

    @property
    def by_cookie(self) -> bool:
        return bool(self.session) and not self.authorization

    @property
    def by_browser(self) -> bool:
        """Whether the credential is one that a browser sends by itself, whatever page made it do so."""
        return self.by_cookie or bool(self.proxied) or self.authorization.lower().startswith("basic")

    @cached_property
    def proxied(self) -> str:
        """The credential of whom a trusted proxy names (plugins/proxy_sign_in.py); "" if it names nobody."""
        proxy: Any = self.door.routes.get("proxy")
        return str(proxy.credential(self)) if proxy else ""

    @cached_property
    def credential(self) -> str:
        """Whom a proxy names, the Authorization header, the session cookie, or ""; Unauthenticated for one of ours."""
        if self.authorization.lower().startswith(("session", "proxy")):  # which come only where the checks on them hold
            raise Unauthenticated("the credential is malformed: send Bearer or Basic")
        return self.proxied or self.authorization or (f"Session {self.session}" if self.session else "")

    # -- its address

    @property
    def own_address(self) -> str:
        """The path as it was asked for, with its query."""
        return self.own_path + ("?" + self._query if self._query else "")

    @property
    def inner(self) -> str:
        """The path below the site's prefix, without the first slash."""
        return self.path.removeprefix(self.prefix).removeprefix("/")

    def url(self, address: str, /, **params: Any) -> str:
        """The path of an address on this site, with its query."""
        given = {name: value for name, value in params.items() if value is not None}
        return f"{self.prefix}/{address}?{urlencode(given)}" if given else f"{self.prefix}/{address}"

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters by name. Raises BadRequest if they are not UTF-8, or if one is given twice. What a page sends once
        for each of several choices is joined by commas, and names (`_name`), which may have some, by U+0000."""
        try:
            pairs = parse_qsl(self._query, keep_blank_values=True, errors="strict", max_num_fields=200)
        except ValueError:
            raise BadRequest("the query is not UTF-8, or has over 200 parameters") from None
        found: dict[str, str] = {}
        for name, value in pairs:
            if problem := check_text(name + value):
                raise BadRequest(f"the parameter {name!r} {problem}")
            has_many = name.endswith(("__in", "_columns")) or name == "_name"  # a page sends one for each choice
            if name in found and not has_many:
                self.repeated.add(name)
            found[name] = found[name] + ("\0" if name == "_name" else ",") + value if name in found else value
        has_choices = self.endpoint and self.endpoint.choices and self.page and self.method in ("GET", "HEAD")
        if self.repeated and not has_choices:
            raise BadRequest(f"the parameter {min(self.repeated)} is given twice")
        return found

    # -- its body, and how it is to be answered

    @cached_property
    def body(self) -> BodyReader:
        return BodyReader(self.head.fields, self.connection.body)

    @property
    def content_type(self) -> str:
        return self.header("content-type")

    @cached_property
    def media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def is_form(self) -> bool:
        return self.media_type in ("application/x-www-form-urlencoded", "multipart/form-data")

    @cached_property
    def format(self) -> Format:
        """The format of the answer, by Accept; a suffix of the address replaces it, and `_zip` of a folder."""
        zips = self.resource[:6] == "files/" and re.search("(?:^|&)_zip=", self._query)
        return self.door.formats["zip" if zips else self.door.accepted(self.header("accept").strip() or "*/*")]

    @property
    def page(self) -> bool:
        """Whether a person reads the answer."""
        return self.format.for_people

    def conditions(self) -> Conditions:
        """If-Match by strong comparison, If-None-Match by weak (RFC 9110 section 13.1), dates; BadRequest on a bad list."""
        if self.head.fields.keys().isdisjoint(("if-match", "if-none-match", "if-unmodified-since")):
            return Conditions()
        strong = [("W/" if weak else "") + tag for weak, tag in _etags("If-Match", self.header("if-match"))]
        weak = [tag for _, tag in _etags("If-None-Match", self.header("if-none-match"))]
        return Conditions(tuple(strong), tuple(weak), plugin("file_times").http_date(self.header("if-unmodified-since")))


def _media_range(part: str) -> tuple[str, float]:
    """A media range of Accept with its quality (RFC 9110 section 12.5.1)."""
    media, *params = [one.strip().lower() for one in part.split(";")]
    quality = next((one[2:].strip() for one in params if one.startswith("q=")), "1")
    return "*/*" if media == "*" else media, float(quality) if re.fullmatch(r"[01]|[01]?\.[0-9]{1,3}", quality) else 0.0


def _quality(ranges: Sequence[tuple[str, float]], media: str) -> float:
    """The quality that the most specific of the ranges gives to a media type."""
    for wanted in (media, media.partition("/")[0] + "/*", "*/*"):
        if found := [quality for text, quality in ranges if text == wanted]:
            return max(found)
    return 0.0


def _etags(name: str, header: str) -> list[tuple[str, str]]:
    """(W/ or "", tag) of a list of entity tags; ("", "*") for the star."""
    if header.strip() == "*":
        return [("", "*")]
    found, end = [], 0
    while end < len(header):
        match = _ETAG.match(header, end)
        if not match:
            raise BadRequest(f"{name} is not a list of entity tags in quotes")
        found.append(match)
        end = match.end()
    return [(match[1] or "", match[2]) for match in found]


# ---- answers


def json_answer(status: int, data: Json, headers: Sequence[tuple[str, str]] = (), media: str = "application/json") -> Answer:
    """JSON as UTF-8; half of a surrogate pair, which a fault may quote, as its escape."""
    return Answer(status, [("Content-Type", media), *headers], dump_json(data).encode(errors="backslashreplace"))


def see_other(location: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    return Answer(303, [*headers, ("Location", location), ("Content-Type", "text/plain; charset=utf-8")])


@lru_cache
def _phrase(status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


def head_bytes(answer: Answer, *more: str) -> bytes:
    """The head of an answer, with more lines. Raises ValueError if one would become two."""
    dated = [*answer.headers, ("Date", _date(int(time.time())))]
    headers = [f"{name}: {value}" for name, value in dated]
    lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}", *headers, *more, "", ""]
    text = "\n".join(lines)
    if text.count("\n") != len(lines) - 1 or "\r" in text or "\0" in text:
        raise ValueError("a header of the answer has a line break in it")
    return text.replace("\n", "\r\n").encode("latin-1")


@lru_cache
def _date(second: int) -> str:
    from email.utils import formatdate

    return formatdate(second, usegmt=True)


def problem_details(request_id: str, error: AppError) -> Value:
    """RFC 9457 problem details; the same object at every door."""
    problem: Value = {
        "type": "about:blank", "title": _phrase(error.status), "status": error.status, "detail": error.message,
        "code": error.code, "request_id": request_id,
    }  # fmt: skip
    if error.faults:
        problem["errors"] = [fault._asdict() for fault in error.faults]
    return problem | getattr(error, "report", {})


def list_page(table: Table) -> Value:
    """A page of a list as JSON; the same object at every door."""
    found: Value = {"items": list(table.rows), "next": table.next}
    if table.damaged:
        found["damaged"] = [{"item": row, "column": name, "detail": reason} for row, name, reason in table.damaged]
    return found | ({"count": table.count} if table.count is not None else {}) | table.facts


def error_headers(error: AppError) -> _Headers:
    challenge = 'Bearer realm="satchel"'
    if isinstance(error, SignInNeeded):
        return [("WWW-Authenticate", challenge)]
    if isinstance(error, Unauthenticated):
        described = f'error="invalid_token", error_description="{_quotable(error.message)}"'
        return [("WWW-Authenticate", f"{challenge}, {described}")]
    if isinstance(error, Forbidden) and error.needed:
        needed = f'error="insufficient_scope", scope="{_quotable(error.needed)}"'
        return [("WWW-Authenticate", f"{challenge}, {needed}")]
    if isinstance(error, RangeNotSatisfiable):
        return [("Content-Range", f"bytes */{error.size_bytes}")]
    return [("Retry-After", str(error.retry_after_s))] if error.retry else []


def methods_of(one: Endpoint) -> list[str]:
    """The methods that every site knows and this endpoint takes."""
    done = {**_ACTIONS, "POST": one.posts}
    left = {*(() if one.patches else ("PATCH",)), *(("PUT",) if one.posts == Action.UPDATE else ())}
    return [name for name, action in done.items() if action in one.actions and name not in left]


def _quotable(text: str, other: str = "?") -> str:
    """Printable ASCII without quotes and backslashes, as RFC 6750 section 3 wants it; `other` stands for the rest."""
    return re.sub(r"[^ !#-\[\]-~]", other, text)


class _Stream:
    """A streamed body that closes what it reads from, also when the client goes away."""

    def __init__(self, chunks: Iterator[bytes], source: Any = None) -> None:
        self.chunks, self.source = chunks, source
        try:
            self.first = next(chunks, b"")  # a fault before the first row is still answered with its status
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.source is not None:
            self.source.close()

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain([self.first], self.chunks)


# ---- formats


def _dumped(exchange: Exchange, response: Response) -> Answer:
    """What was read, as the format's dump() writes it; NotAcceptable if the format cannot write this."""
    one = exchange.format
    subject = "table" if response.table else "record"
    if subject not in one.subjects:
        known = [other.media.partition(";")[0] for other in exchange.door.formats.values() if subject in other.subjects]
        raise NotAcceptable(f"the formats here are {', '.join(known)}")
    headers = [("Content-Type", one.media)]
    if one.whole:
        name = quote(split_path(exchange.path.rstrip("/"))[-1], safe="")
        headers.append(("Content-Disposition", f"attachment; filename*=UTF-8''{name}.{one.kind}"))
    return Answer(200, headers, _Stream(one.dump(exchange, response), response.table))


def _written(exchange: Exchange, response: Response) -> Answer:
    """What a write answers to programs."""
    headers = []
    if response.replayed:
        headers.append(("Idempotency-Replayed", "true"))
    if response.etag:
        headers.append(("ETag", f'"{response.etag}"'))
    if response.created and response.location:
        headers.append(("Location", exchange.url(response.location)))
    if response.data is None:
        return Answer(204, headers)
    data = response.data | response.page["once"] if "once" in response.page else response.data
    return json_answer(201 if response.created else 200, data, headers + plugin("file_times").told(exchange, response))


def problem_answer(request_id: str, error: AppError) -> Answer:
    """What a request that failed answers to programs."""
    return json_answer(error.status, problem_details(request_id, error), error_headers(error), _PROBLEM_MEDIA)


class _NoFormat(Format):
    """For requests that accept none of the formats: stored files are sent as they are, faults and writes answer in JSON."""

    kind = media = ""
    subjects = frozenset()

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        raise NotAcceptable("there is no such format here")


class JsonFormat(Format):
    kind = "json"
    media = "application/json"
    subjects = frozenset({"table", "record"})
    reads = frozenset({media})

    def load(self, exchange: Exchange, resource: str) -> Json:
        return load_json(b"".join(exchange.body.bounded(exchange.door.config.max_body_bytes)))

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        yield self.answer(exchange, response).body

    def answer(self, exchange: Exchange, response: Response) -> Answer:
        if response.table:
            return self._list(exchange, response.table)
        headers = []
        if response.etag:
            headers.append(("ETag", f'"{response.etag}"'))
            if damaged := [quote(name) for name, _ in damage_in(response.data)]:
                headers.append(("Satchel-Damaged", ", ".join(damaged)))
            if Conditions.name(exchange.conditions().if_none_match, response.etag):
                return Answer(304, headers)
        return json_answer(200, response.data, headers)

    def _list(self, exchange: Exchange, table: Table) -> Answer:
        """A page of a list, with the address of the next one (RFC 8288)."""
        headers = []
        if table.next:
            query = _encoded(tuple(pair for pair in exchange.query.items() if pair[0] != "_next"))
            link = f"{exchange.own_path}?{query and query + '&'}_next={quote_plus(table.next)}"
            headers.append(("Link", f'<{link}>; rel="next"'))
        text, start = dump_json(list_page(table)), len('{"items":[')
        return json_answer(200, Encoded({}, text[:start] + table.text + text[start:]), headers)


class CsvFormat(Format):
    """RFC 4180, for programs; with `_for=excel` for people."""

    kind = "csv"
    media = "text/csv; charset=utf-8"
    subjects = frozenset({"table"})
    whole = True
    reads = frozenset({"text/csv"})

    def load(self, exchange: Exchange, resource: str) -> Json:
        return cast(Json, plugin("import_files").received(exchange))

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        table = cast(Table, response.table)
        if exchange.query.get("_for"):
            return _excel_csv(table, exchange.locale)
        names = [column.name for column in table.columns]
        return _csv_lines(names, ([_cell(row[name]) for name in names] for row in table.rows))


class NdjsonFormat(Format):
    """A JSON object a line."""

    kind = "ndjson"
    media = "application/x-ndjson"
    subjects = frozenset({"table"})
    whole = True

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        lines: list[bytes] = []
        size = 0
        for row in cast(Table, response.table).rows:
            lines.append(dump_json(row).encode(errors="replace") + b"\n")
            size += len(lines[-1])
            if size > CHUNK_BYTES // 4:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)


def _cell(value: Json) -> str:
    """A value in a cell of CSV."""
    if value is None or isinstance(value, str):
        return value or ""
    if type(value) in (int, float):
        return repr(value)
    if isinstance(value, dict) and "address" in value:
        return str(value["address"])
    return dump_json(value)


def _csv_lines(heading: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> Iterator[bytes]:
    """RFC 4180."""
    import csv

    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(heading)
    for row in rows:
        writer.writerow(row)
        if buffer.tell() > CHUNK_BYTES // 4:
            yield buffer.getvalue().encode(errors="replace")
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode(errors="replace")


def _excel_csv(table: Table, locale: Any) -> Iterator[bytes]:
    """CSV that Excel opens as it is: UTF-8 with a mark, and cells as people of the site's language write them."""
    heading, rows, delimiter = locale.spreadsheet(table.columns, table.rows, plugin("tallies").Lines(table))
    lines = _csv_lines(heading, rows, delimiter)
    yield b"\xef\xbb\xbf" + next(lines)  # not before the first rows: what fails there has a status of its own
    yield from lines


# ---- the file responder


def _ranges(header: str, size: int) -> _Ranges | None:
    """The ranges of a header (RFC 9110 section 14.2). Raises RangeNotSatisfiable if none lies inside the file. None if the
    header is to be ignored, as with over 20 ranges or with ranges that overlap."""
    unit, _, specs = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    found = []
    for spec in specs.split(","):
        match = re.fullmatch(r"\s*(\d{0,99})-(\d{0,99})\s*", spec)
        if not match or match[1] + match[2] == "" or (match[1] and match[2] and int(match[2]) < int(match[1])):
            return None
        start = int(match[1]) if match[1] else max(0, size - int(match[2]))
        stop = min(int(match[2]) + 1, size) if match[1] and match[2] else size
        if start < stop:
            found.append((start, stop - start))
    if not found:
        raise RangeNotSatisfiable(f"the file has {how_many(size)}", size_bytes=size)
    apart = all(a + length <= b for (a, length), (b, _) in pairwise(sorted(found)))
    return found if len(found) <= 20 and apart else None


def _not_modified(exchange: Exchange, blob: Blob) -> bool:
    """Whether If-None-Match or If-Modified-Since says that the client has it, in the order of RFC 9110 section 13.2.2.
    Raises PreconditionFailed if If-Match or If-Unmodified-Since does not hold."""
    conditions = exchange.conditions()
    if conditions.if_match and not conditions.name(conditions.if_match, blob.etag):
        raise PreconditionFailed("the file is no longer the one that If-Match names")
    plugin("file_times").check_unmodified(conditions, blob.modified_at)
    if exchange.header("if-none-match"):
        return conditions.name(conditions.if_none_match, blob.etag)
    since = plugin("file_times").http_date(exchange.header("if-modified-since"))
    return since is not None and int(blob.modified_at) <= since


def _wanted_ranges(exchange: Exchange, blob: Blob) -> _Ranges | None:
    """The ranges to send, or None for the whole file; If-Range by strong comparison or exact date (RFC 9110, 13.1.5)."""
    header, condition = exchange.header("range"), exchange.header("if-range").strip()
    if not header or exchange.method != "GET":  # RFC 9110 section 14.2: no other method has ranges
        return None
    if condition not in ("", f'"{blob.etag}"') and plugin("file_times").http_date(condition) != int(blob.modified_at):
        return None
    return _ranges(header, blob.size_bytes)


@lru_cache(1024)
def _media_headers(name: str) -> Sequence[tuple[str, str]]:
    """Type, disposition and policy of an uploaded file: nothing in it ever runs in this site's name."""
    media: str = plugin("media_types").media_type(name)
    scriptable = _SCRIPTABLE.fullmatch(media)
    keeps_type = scriptable or media in ("text/csv", "text/css", "text/calendar")
    if "script" in media or (media.startswith("text/") and not keeps_type):
        media = "text/plain; charset=utf-8"
    shown = "inline" if _INLINE.fullmatch(media) and not scriptable else "attachment"
    disposition = f"{shown}; filename=\"{_quotable(name, '_')}\"; filename*=UTF-8''{quote(name, safe='')}"
    policy = "frame-ancestors 'self'" if media == "application/pdf" else _FILE_POLICY  # viewers of PDF need no sandbox
    return [("Content-Type", media), ("Content-Disposition", disposition), ("Content-Security-Policy", policy)]


def _own_headers(name: str) -> _Headers:
    media: str = plugin("media_types").media_type(name)
    charset = "; charset=utf-8" if media.startswith("text/") else ""
    return [("Content-Type", media + charset), ("Content-Security-Policy", PAGE_POLICY)]


def send_content(exchange: Exchange, content: Content, *, trusted: bool = False) -> Answer:
    """Stored bytes, the operator's own if `trusted`, with validators, conditions, ranges (RFC 9110 sections 13, 14)."""
    blob = content.blob
    headers = [
        ("ETag", f'"{blob.etag}"'), ("Last-Modified", _date(int(min(blob.modified_at, time.time())))),
        ("Accept-Ranges", "bytes"), ("Cache-Control", "private, no-cache"),
    ]  # fmt: skip
    own = _own_headers(content.name) if trusted else _media_headers(content.name)
    if _not_modified(exchange, blob):
        return Answer(304, [*headers, own[-1]])  # the policy of the file: browsers put it in the place of the one they have
    ranges, headers = _wanted_ranges(exchange, blob), [*headers, *own]
    if ranges and len(ranges) > 1:
        headers, parts = plugin("byte_ranges").several(content, ranges, headers)
        return Answer(206, headers, _Stream(parts, parts))
    start, length = ranges[0] if ranges else (0, blob.size_bytes)
    headers.append(("Content-Length", str(length)))
    if ranges:
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{blob.size_bytes}"))
    return Answer(206 if ranges else 200, headers, _stretch(exchange, content, start, length))


def _stretch(exchange: Exchange, content: Content, start: int, length: int) -> Any:
    """A body of one stretch; a reader of a real file goes to the server, which uses sendfile."""
    if exchange.method == "HEAD" or not length:
        return b""
    reader = content.read(start, length)
    return reader if hasattr(reader, "fileno") else _Stream(iter(reader), reader)


# ---- the door


class HttpDoor:
    """What every request passes on its way in: hosts, proxies, cookies, the proof that a browser's request comes from this
    site's own pages; and how it becomes a Request. Formats and routes work with it too."""

    def __init__(self, config: Config, host: Host) -> None:
        self.config, self.site, self.host, self.prefix = config.http, config.site, host, config.site.prefix
        own = urlsplit(self.site.url.lower())
        default = {"http": 80, "https": 443}.get(own.scheme)
        self.origin = f"{own.scheme}://{own.netloc.removesuffix(f':{default}')}" if self.site.url else ""
        bound = self.config.bind.rpartition(":")[0].strip("[]").lower()
        named = map(str.lower, self.config.hosts)
        self._hosts = {"localhost", urlsplit(self.site.url).hostname or "", bound, *named} - {""}
        self._networks = plugin("addresses").parsed(self.config.trusted_proxies)
        # Those that are shown come before those that are kept as files: the first one wins where Accept likes both.
        known = sorted(host.extensions(Format), key=lambda one: one.whole)  # type: ignore[type-abstract]
        self.formats: dict[str, Format] = {one.kind: one for one in [*known, _NoFormat({}, config)]}
        self.accepted, self.host_fault = lru_cache(200)(self._accepted), lru_cache(200)(self._host_fault)
        self.routes: dict[str, Route] = {}  # that answer here, by kind
        self.fault = SharedText()  # of a later app.toml, a line each: administrators see it if it is read when it is saved

    def _accepted(self, header: str) -> str:
        """The kind of the format that an Accept header likes best, the first of equals; "" if it accepts none."""
        ranges = [_media_range(part) for part in header.split(",")]
        best, chosen = 0.0, ""
        for kind, one in self.formats.items():
            quality = _quality(ranges, one.media.partition(";")[0])
            if kind == JsonFormat.kind:
                quality = max(quality, _quality(ranges, _PROBLEM_MEDIA))
            if quality > best:
                best, chosen = quality, kind
        return chosen

    # -- where a request may come from

    def trusts(self, peer: str) -> bool:
        """Whether this is a proxy whose headers count."""
        if peer == "unix":
            return "unix" in self.config.trusted_proxies
        address = plugin("addresses").ip(peer) if self._networks else None
        return bool(address) and any(address in network for network in self._networks)

    def check_host(self, exchange: Exchange) -> None:
        """Raises Misdirected unless the host is a configured one, loopback or an IP address: against DNS rebinding."""
        if not exchange.host and exchange.head.version == "1.0":
            return  # no browser is that old
        if fault := self.host_fault(exchange.host):
            raise Misdirected(fault)

    def _host_fault(self, text: str) -> str:
        """Why this server does not answer for a host; "" if it does."""
        host = re.sub(r":[0-9]*$", "", text).strip("[]").removesuffix(".").lower()
        if host in self._hosts or "*" in self._hosts or plugin("addresses").ip(host):
            return ""
        return f"this server does not answer for the host {host[:100]!r}: name it in [http] hosts"

    def same_origin(self, exchange: Exchange) -> bool | None:
        """Whether a browser says that the request comes from this site's own pages; None if it does not say. The origin
        that app.toml names counts too, which a proxy need not pass on as the host."""
        site, origin = exchange.header("sec-fetch-site"), exchange.header("origin")
        if site:
            return site in ("same-origin", "none")
        if origin and (origin != "null" or exchange.authorization or not exchange.is_form):  # which no form's token proves
            return origin.lower() == self.origin or origin.partition("://")[2].lower() == exchange.host.lower()
        return None

    def check_origin(self, exchange: Exchange, *, form: bool) -> None:
        """Forbidden if the browser adds the credential by itself and says (Sec-Fetch-Site, or Origin) that an unsafe
        request came from elsewhere, or says nothing where no form can carry the token that check_token reads later."""
        verdict = self.same_origin(exchange)
        if (exchange.by_browser and verdict is False) or (exchange.by_cookie and verdict is None and not form):
            raise Forbidden(ELSEWHERE)

    def form_token(self, exchange: Exchange) -> str:
        """What the forms of a page carry, to be checked by check_token."""
        return self.host.seal("form", _session_digest(exchange.proxied or exchange.session))

    def check_token(self, exchange: Exchange, token: str) -> None:
        """Raises Forbidden if neither the headers nor this token prove that the request comes from this site's pages."""
        is_doubtful = (exchange.by_cookie or (exchange.proxied and exchange.is_form)) and self.same_origin(exchange) is None
        if is_doubtful and self.host.unseal("form", token) != _session_digest(exchange.proxied or exchange.session):
            raise Forbidden("the form's token is missing or old; open the page again and resend it")

    # -- cookies

    def cookie(self, exchange: Exchange, value: str, seconds: int, kind: str = _COOKIE) -> str:
        secure = "; Secure" if exchange.scheme == "https" else ""
        scope = f"Path={self.prefix or '/'}; Max-Age={seconds}"
        return f"{exchange.cookie_name(kind)}={value}; {scope}; HttpOnly; SameSite=Lax{secure}"

    def ended_session(self, exchange: Exchange) -> list[str]:
        """The cookies that end a session: a form page that is still open keeps what is typed by the second one."""
        sessions = re.findall(r"(?<!\S)[\w-]{43}(?!\S)", exchange.session)[:1]
        ended = [self.cookie(exchange, one, 86_400, _ENDED_COOKIE) for one in sessions]
        return [self.cookie(exchange, "", 0), *ended]

    # -- what it asks for

    def request(self, exchange: Exchange, resource: str, path: tuple[str, ...], action: Action) -> Request:
        """The transport-free request. The body is read later, by `decode`."""
        controls = _CONTROLS if exchange.method == "POST" else ("_list", "_embed", "_typed") if exchange.page else ()
        version = exchange.query.get("_version", "") if controls else ""
        is_write = action != Action.READ
        is_bytes = is_write and action == Action.UPDATE and resource.startswith("files/")
        if is_write:
            self._check_write(exchange, is_bytes)
            if not exchange.credential:
                plugin("public_forms").admit(exchange, resource)
        return Request(
            exchange.id, action, resource, path, HttpRunner.kind,
            {name: text for name, text in exchange.query.items() if name not in controls},
            conditions=Conditions((version,)) if version else exchange.conditions(),
            decode=partial(self._decode, exchange, resource) if is_write and not is_bytes else None,
            typed=not (is_write and exchange.is_form), partial=exchange.method == "PATCH",
            whole=exchange.format.whole and not is_write, credential=exchange.credential,
            encoded=type(exchange.format) is JsonFormat, timed="table" not in exchange.format.subjects,
            idempotency_key=self._idempotency_key(exchange) if is_write else "",
            body=exchange.body if is_bytes else None, body_bytes=exchange.body.size_bytes if is_bytes else None,
            modified_at=plugin("file_times").asked(exchange) if is_bytes else None,
            page=exchange.page and not is_write, languages=exchange.languages,
            reached_at=f"{exchange.scheme}://{exchange.host}{self.prefix}" if is_write and exchange.host else "",
        )  # fmt: skip

    def _check_write(self, exchange: Exchange, is_bytes: bool) -> None:
        self.check_origin(exchange, form=not is_bytes)
        if exchange.header("content-encoding").lower() not in ("", "identity"):
            raise UnsupportedMedia("Content-Encoding is not supported: send the bytes as they are")
        for name in ("Content-Range", "X-Update-Range"):  # RFC 9110 section 14.5
            if name.lower() in exchange.head.fields:
                raise BadRequest(f"{name} is not supported: a write replaces the whole, so send all of its bytes")

    def _idempotency_key(self, exchange: Exchange) -> str:
        """The header's key, or the signed id of the page that was submitted."""
        key = exchange.header("idempotency-key").strip()
        key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
        if len(key) > 255:
            raise BadRequest("Idempotency-Key is longer than 255 characters")
        sealed = exchange.query.get("_submission", "") if exchange.method == "POST" else ""
        if not sealed or key:
            return key
        opened = self.host.unseal("submission", sealed)
        if opened is None:
            raise BadRequest("the page's submission id is not from here: open the form again")
        return "page " + opened

    def _decode(self, exchange: Exchange, resource: str) -> Json:
        """The data in the body, read once the caller is let in."""
        if not exchange.is_form:
            self.check_token(exchange, "")
            if exchange.body.size_bytes == 0:
                return None
        media = JsonFormat.media if exchange.media_type.endswith("+json") else exchange.media_type
        for one in self.formats.values():
            if media in one.reads:
                return one.load(exchange, resource)
        raise UnsupportedMedia(f"{media or 'a body without Content-Type'} is not read here: send application/json")


ELSEWHERE = "this request came from another site; open the page here and try again"


def _session_digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()[:32]


def log_fault(exchange: Exchange, error: AppError) -> None:
    """Log a fault that the operator has to know about."""
    if (error.status >= 500 or isinstance(error, NotPermitted)) and plugin("reserve").is_news(error):
        is_known = error.retry or error.status != AppError.status  # others say all that there is to know
        LOG.error("request %s: %s", exchange.id, error.with_hint, exc_info=None if is_known else error)


# ---- heads of requests
# RFC 9112 sections 2 to 6, without line folding, bare line ends and other controls.

_LINE_BYTES, _HEAD_BYTES, _MOST_FIELDS = 8190, 32_768, 100
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_VALUE = r"[\t -~\x80-\xff]*"
_HEAD = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n((?:{_TOKEN}:{_VALUE}\r\n)*)\r\n")
_FIELD = re.compile(rf"({_TOKEN}):[\t ]*({_VALUE})\r\n")
_TARGET = re.compile(r"/[^#]*|https?://[^/?#@]+(?:[/?][^#]*)?", re.IGNORECASE)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[!$%&'()*+,;=._~0-9A-Za-z-]*)(?::[0-9]*)?")
_CHUNK = re.compile(rf"([0-9A-Fa-f]{{1,15}})(?:;{_VALUE}|[\t ]*)\r\n")
_NEVER_HEAD = re.compile(rb"[^!#-'*+.0-9A-Z^-z|~-]|.*?(?:(?<!\r)\n|\r(?!\n|\Z)|\0)", re.DOTALL)  # however it goes on


class Head(NamedTuple):
    """The head of a request. Names of fields are in lower case; the values of repeated ones are joined."""

    method: str
    target: str
    version: str  # "1.1"
    fields: Mapping[str, str]

    @property
    def body_bytes(self) -> int | None:
        """The length of its body, None if that is chunked (RFC 9112 section 6.3). Raises BadRequest or Unsupported if it
        cannot be known for sure."""
        coding, length = self.fields.get("transfer-encoding"), self.fields.get("content-length", "0")
        if coding is None:
            if not re.fullmatch("[0-9]{1,18}", length):
                raise BadRequest("Content-Length is not a number")
            return int(length)
        codings = [one.strip("\t ").lower() for one in coding.split(",")]
        if "content-length" in self.fields or self.version == "1.0":
            raise BadRequest("Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0")
        if codings[-1] != "chunked" or "chunked" in codings[:-1]:
            raise BadRequest("Transfer-Encoding must end with chunked")
        if len(codings) > 1:
            raise Unsupported("of transfer codings only chunked is supported")
        return None

    @property
    def keeps(self) -> bool:
        """Whether the client wants to keep the connection (RFC 9112 section 9.3)."""
        options = [one.strip("\t ") for one in self.fields.get("connection", "").lower().split(",")]
        return "close" not in options and (self.version != "1.0" or "keep-alive" in options)


def parse_head(data: bytes) -> Head:
    """The head of a request, of its bytes up to the empty line. Raises an AppError with the status of the answer."""
    _check_lengths(data)
    found = _HEAD.fullmatch(data.decode("latin-1"))
    if not found:
        raise BadRequest("the request line or a field of the head is not well-formed")
    method, target, version, lines = found.groups()
    if version[0] != "1":
        raise BadRequest(f"HTTP {version} is not spoken here", status=505, code="version_not_supported")
    pairs = _FIELD.findall(lines)
    if len(pairs) > _MOST_FIELDS:
        raise BadRequest(f"a head has {_MOST_FIELDS} fields at most", status=431, code="head_too_large")
    fields: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.lower(), value.rstrip("\t ")
        if key in fields:
            if key in ("host", "content-length"):
                raise BadRequest(f"{name} is given twice")
            text = fields[key] + ("; " if key == "cookie" else ", ") + text
        fields[key] = text
    head = Head(method, target, version, fields)
    _check_target(head)
    _ = head.body_bytes
    return head


def _check_target(head: Head) -> None:
    """Raises BadRequest unless target and Host are as RFC 9112 section 3.2 wants them."""
    host = head.fields.get("host")
    if head.method == "CONNECT":
        raise Unsupported("CONNECT is for proxies")
    if not _TARGET.fullmatch(head.target) and (head.method, head.target) != ("OPTIONS", "*"):
        raise BadRequest("the address is neither a path nor an http URL, percent-encoded and without a fragment")
    if host is None and head.version != "1.0":
        raise BadRequest("Host is missing")
    if not _HOST.fullmatch(host or ""):
        raise BadRequest("Host is not the name of a host")


def _check_lengths(data: bytes) -> None:
    """Raises BadRequest if a head, or what there is of it, is too long."""
    if len(data) <= _LINE_BYTES:
        return
    line, *fields = data.split(b"\r\n")
    if len(line) > _LINE_BYTES:
        raise BadRequest(f"a request line has {_LINE_BYTES:,} bytes at most", status=414, code="uri_too_long")
    if len(data) > _HEAD_BYTES or max(map(len, fields)) > _LINE_BYTES:
        limits = f"a head has {_HEAD_BYTES:,} bytes at most, and a line of it {_LINE_BYTES:,}"
        raise BadRequest(limits, status=431, code="head_too_large")


# ---- the server
# Workers share one listening socket. In each a few threads share a poller, which gives a connection that can go on to one of
# them; that thread goes on with it as far as the client lets it, so that no request is handed from thread to thread. A head
# is read whole before it is served, and what a client does not take of its answer waits in the poller and not in a thread.

_READ, _WRITE, _ENDED = POLLIN, POLLOUT, 0  # what a connection waits for; one that has ended waits for nothing
_WANTS_WRITE = 3  # ssl.SSL_ERROR_WANT_WRITE
_MORE = 0x8000 if sys.platform == "linux" else 0  # MSG_MORE: a head leaves together with the first bytes of its file
_MORE_FOR = 4 * 1024 * 1024  # bytes of a file at most: a larger one gains nothing by it
_SMALL_BYTES = 65_536  # a rest of a body that is skipped if nobody wanted it; a file that goes out with its head at once
_STAY_S = 0.02  # how long a thread waits for the next request of a client, while others have nothing to do
_PATIENCE_S = 0.005  # how long a thread waits for a client before another one works in its place
_TICK_S = 0.1  # between looks at deadlines


class Limits(NamedTuple):
    """What the clients of one worker may take."""

    head_s: float = 10.0  # to send a head from its first byte on, and on a new connection from the start
    idle_s: float = 15.0  # between two requests
    silence_s: float = 30.0  # without a byte of a body or an answer
    linger_s: float = 5.0  # to read the last answer
    drain_s: float = 25.0  # for what is under way when the worker is told to stop
    waiting_threads: int = 256  # that wait for slow clients, beside those that work
    connections: int = 2000  # where another one comes, those end that have waited for their clients for longest
    per_address: int = 250  # of those, from an address that does not stand for many clients


DEFAULT_LIMITS = Limits()


class Gone(Exception):
    """The client has gone, or takes nothing more."""


class _Body:
    """The body of a request as it comes off the connection, without its framing."""

    def __init__(self, connection: Connection, size_bytes: int | None, is_awaited: bool) -> None:
        self.connection, self.size_bytes = connection, size_bytes
        self.is_awaited = is_awaited  # the client sends nothing until it is asked to (RFC 9110 section 10.1.1)
        self.left = size_bytes or 0  # of the whole, or of this chunk
        self.is_over, self.is_broken = size_bytes == 0, False

    def read(self, size: int, until_s: float) -> bytes:
        """At most `size` bytes as soon as there are any; b"" after the last, or if the connection was cut. Raises
        TimeoutError at `until_s` of time.monotonic(), BadRequest if a chunk is not well-formed, and Unavailable."""
        if self.is_awaited:
            self.is_awaited = False
            self.connection.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        is_chunked = self.size_bytes is None
        self.is_broken = True  # unless this comes to its end
        if is_chunked and not self.left and not self.is_over:
            self._begin_chunk(until_s)
        data = self.connection.read(min(size, self.left), until_s) if self.left else b""
        self.left -= len(data)
        if is_chunked and not self.is_over:
            if not data:
                raise BadRequest("the body was cut off")
            if not self.left and self._line(until_s) != "\r\n":
                raise BadRequest("a chunk of the body is longer than it says")
        self.is_over = self.is_over or (not is_chunked and not (data and self.left))
        self.is_broken = False
        return data

    def _begin_chunk(self, until_s: float) -> None:
        """Read the size of the next chunk; after the last one its trailers (RFC 9112 section 7.1), which are dropped."""
        found = _CHUNK.fullmatch(self._line(until_s))
        if not found:
            raise BadRequest("a chunk of the body does not begin with its size")
        self.left = int(found[1], 16)
        if self.left:
            return
        for _ in range(_MOST_FIELDS):
            if (line := self._line(until_s)) == "\r\n":
                self.is_over = True
                return
            if not _FIELD.fullmatch(line):
                break
        raise BadRequest("the trailers of the body are not well-formed, or too many")

    def _line(self, until_s: float) -> str:
        connection = self.connection
        while (end := connection.buffer.find(b"\n", 0, _LINE_BYTES) + 1) == 0:
            more = connection.wait_for_bytes(_LINE_BYTES, until_s) if len(connection.buffer) < _LINE_BYTES else b""
            if not more:
                raise BadRequest("the body was cut off, or a line between its chunks is too long")
            connection.buffer += more
        return connection.read(end, until_s).decode("latin-1")

    def may_stay(self) -> bool:
        """Whether the connection can go on after the answer; what was not read of the body is skipped if it is little."""
        if self.is_over or self.is_broken or self.is_awaited or self.size_bytes is None or self.left > _SMALL_BYTES:
            return self.is_over and not self.is_broken
        self.connection.skip = self.left
        return True


class Connection:
    """A client's connection. Either one thread goes on with it or it is in the poller.

    A step goes on as far as it can without waiting. It returns what it waits for, or None if the next one can go on."""

    def __init__(self, server: HttpServer, sock: Any, peer: str) -> None:
        self.server, self.sock, self.limits = server, sock, server.limits
        self.peer = peer  # the address of the other end, "unix" for a Unix socket
        self.scheme = "https" if server.tls else "http"
        self.body: Any = None  # of the request that is being served
        self.work = plugin("working").Work(self)  # on that request
        self.request_id = ""  # which the application gave that, for the log
        self.step: Callable[[], int | None] = self._shake if server.tls else self._hear
        self.deadline = time.monotonic() + self.limits.head_s
        self.buffer = b""  # what was read and belongs to no request yet
        self.skip = 0  # bytes of a body that come before the next request
        self.out = memoryview(b"")  # what is left of the answer …
        self.file: Any = None  # … and then of a file, from `offset` on
        self.offset = self.left = 0
        self.is_idle = True  # no byte of the next request has come
        self.is_new, self.keeps = True, False
        self.moved, self.waited_s = 0, 0.0  # bytes of this request, and how long a thread has waited for them

    def proceed(self) -> int:
        """Go on. Returns what it waits for then."""
        try:
            while (wanted := self.step()) is None:
                pass
            return wanted
        except Gone:
            return _ENDED
        except Exception:
            LOG.exception("a connection failed")
            return _ENDED

    def expire(self) -> int:
        """End what did not come in time."""
        if self.step != self._hear or self.is_idle:
            return _ENDED
        self._refuse(RequestTimeout("the head of the request did not come in time"))
        return self.proceed()

    def close(self) -> None:
        self._drop_file()
        self.sock.close()

    # -- bytes in and out

    def _receive(self, size: int) -> bytes | None:
        """What has come, b"" at the end; None if nothing has."""
        try:
            return cast(bytes, self.sock.recv(size))
        except self.server.blocked:
            return None
        except OSError as error:
            raise Gone from error

    def read(self, size: int, until_s: float) -> bytes:
        """At most `size` bytes as soon as there are any; b"" at the end. Raises TimeoutError, and Unavailable."""
        if not self.buffer:
            return self.wait_for_bytes(size, until_s)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def wait_for_bytes(self, size: int, until_s: float) -> bytes:
        """The same, of what is not in the buffer."""
        while (data := self._receive(size)) is None:
            self.server.wait(self, _READ, until_s)
        self.moved += len(data)
        return data

    def send_some(self, data: memoryview) -> int:
        """How many bytes the client takes at once."""
        try:
            return cast(int, self.sock.send(data, _MORE if 0 < self.left < _MORE_FOR and not self.server.tls else 0))
        except self.server.blocked:
            return 0
        except OSError as error:
            raise Gone from error

    def send_all(self, data: bytes) -> None:
        """Send it, waiting for the client. Raises Unavailable."""
        left = memoryview(self.work.claim(data))
        while left := left[(sent := self.send_some(left)) :]:
            self.moved += sent
            try:
                self.server.wait(self, _WRITE, math.inf)
            except TimeoutError as error:
                raise Gone from error

    # -- steps of a request

    def _shake(self) -> int | None:
        """The handshake of TLS."""
        try:
            self.sock.do_handshake()
        except self.server.blocked as error:
            return _WRITE if error.errno == _WANTS_WRITE else _READ
        except OSError as error:
            raise Gone from error
        self.step = self._hear
        return None

    def _hear(self) -> int | None:
        """Read a head, and serve its request."""
        while True:
            head = None
            try:
                if head := self._next_head():
                    return self._serve(head)
            except AppError as error:
                return self._refuse(error, head)
            data = self._receive(CHUNK_BYTES if self.skip else _HEAD_BYTES)
            if data:
                self.buffer += data
            elif data == b"":
                return _ENDED
            elif self.is_new or not self.is_idle or not self.server.stays(self):
                return _READ

    def _next_head(self) -> Head | None:
        """The head that is in the buffer; None if it is not whole. Raises AppError if it can never be one."""
        dropped = min(self.skip, len(self.buffer))
        self.buffer, self.skip = self.buffer[dropped:], self.skip - dropped
        while self.buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2
            self.buffer = self.buffer[2:]
        if self.buffer in (b"", b"\r"):
            return None
        if self.is_idle:
            self.is_idle, self.request_id, self.deadline = False, "", time.monotonic() + self.limits.head_s
        if end := self.buffer.find(b"\r\n\r\n") + 1:
            head = parse_head(self.buffer[: end + 3])
            self.buffer = self.buffer[end + 3 :]
            return head
        if _NEVER_HEAD.match(self.buffer):
            raise BadRequest("this is not the head of a request")
        _check_lengths(self.buffer)
        return None

    def _serve(self, head: Head) -> int | None:
        expected = head.fields.get("expect", "").lower() if head.version != "1.0" else ""
        self.body, self.request_id = _Body(self, head.body_bytes, bool(expected) and not self.buffer), ""
        self.moved, self.waited_s = 0, 0.0
        if expected not in ("", "100-continue"):
            raise BadRequest("of expectations only 100-continue is met", status=417, code="expectation_failed")
        try:
            with self.work.of(head):
                return self._answer(head, self.server.application(head, self))
        except (Gone, AppError):
            raise
        except BaseException as error:  # a plugin that exits must not end the thread
            LOG.exception("request %s failed", self.request_id)
            raise AppError("something went wrong here; the operator finds it in the log") from error

    def _refuse(self, error: AppError, head: Head | None = None) -> int | None:
        """Answer what cannot be served, as the last answer."""
        self._drop_file()
        self.keeps = False
        return self._begin(plugin("unserved").refusal(self, error, head))

    def _answer(self, head: Head, answer: Answer) -> int | None:
        """Begin an answer; its body is bytes, an iterable of bytes, or a Reader of a plain file."""
        body, more = answer.body, []
        is_bare = head.method == "HEAD" or answer.status in (204, 304)
        size = next((int(value) for name, value in answer.headers if name.lower() == "content-length"), None)
        if isinstance(body, bytes) and size is None and answer.status not in (204, 304):
            more.append(f"Content-Length: {len(body)}")
        is_sized = size is not None or is_bare or isinstance(body, bytes)
        is_chunked = not is_sized and head.version != "1.0"
        if is_chunked:
            more.append("Transfer-Encoding: chunked")
        self.keeps = head.keeps and not self.server.is_stopping and (is_sized or is_chunked) and self.body.may_stay()
        if not self.keeps or head.version == "1.0":
            more.append("Connection: keep-alive" if self.keeps else "Connection: close")
        lead = head_bytes(answer, *more)
        if isinstance(body, bytes):
            return self._begin(lead if is_bare else lead + body)
        if is_bare:
            self._close_body(body)
            return self._begin(lead)
        if hasattr(body, "fileno"):
            self.file, self.offset, self.left = body, body.start, body.length
            return self._begin(lead + self._next_of_file() if body.length <= _SMALL_BYTES else lead)
        return self._stream(lead, body, size, is_chunked)

    def _stream(self, lead: bytes, body: Any, size: int | None, is_chunked: bool) -> int | None:
        """Send a body while it is made; `size` is what its head says, None if that says nothing."""
        seen, self.body.is_awaited = 0, False
        try:
            for chunk in filter(None, body):
                seen += len(chunk)
                if size is not None and seen > size:
                    break
                self.send_all(lead + (b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk))
                lead = b""
                self.work.waits(is_chunked)
            if size not in (None, seen):
                raise AppError(f"the body does not have the {size:,} bytes that were announced")
        except Gone:
            raise
        except BaseException as error:  # the client must neither take what it has for the whole nor get another head
            self.work.cut(error, reset=size is None and not is_chunked)
            return _ENDED
        finally:
            self._close_body(body)
        self.skip = min(self.skip, self.body.left)  # what is made may read what came
        return self._begin(lead + b"0\r\n\r\n" if is_chunked else lead)

    def _begin(self, data: bytes) -> int | None:
        self.out, self.step = memoryview(self.work.claim(data)), self._flush
        return None

    def _flush(self) -> int | None:
        """Send what is left of the answer; what the client does not take at once waits in the poller."""
        while self.out or self.left:
            try:
                if not self.out and self.server.tls:  # which sendfile does not speak
                    self.out = memoryview(self._next_of_file())
                wanted = len(self.out) or self.left
                sent = self.send_some(self.out) if self.out else self._send_file()
            except Unavailable as error:
                self.work.cut(error, reset=False)
                return _ENDED
            self.out = self.out[sent:]
            if sent < wanted:
                self.deadline = time.monotonic() + self.limits.silence_s
                return _WRITE
        self._drop_file()
        if self.keeps:
            self.step, self.is_new, self.is_idle = self._hear, False, True
            self.deadline = time.monotonic() + self.limits.idle_s
            if self.server.is_wanted():  # whoever asks again at once waits for his turn; what he sent may be here already
                return _WRITE if self.buffer or self.server.tls else _READ
        else:
            self._part()
        return None

    def _send_file(self) -> int:
        """How many bytes of the file the client takes at once. Raises Unavailable if it has become shorter."""
        try:
            sent = os.sendfile(self.sock.fileno(), self.file.fileno(), self.offset, min(self.left, 1 << 30))
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Gone from error
        if not sent:
            raise Unavailable("the file became shorter while it was read")
        self.offset, self.left = self.offset + sent, self.left - sent
        return sent

    def _next_of_file(self) -> bytes:
        data = os.pread(self.file.fileno(), min(CHUNK_BYTES, self.left), self.offset)
        if self.left and not data:
            raise Unavailable("the file became shorter while it was read")
        self.offset, self.left = self.offset + len(data), self.left - len(data)
        return data

    def _drop_file(self) -> None:
        self._close_body(self.file)
        self.file, self.left = None, 0

    def _close_body(self, body: Any) -> None:
        """Its answer has gone out or been given up: what close() raises changes nothing of that."""
        try:
            if hasattr(body, "close"):
                body.close()
        except BaseException:
            LOG.exception("request %s: close() of its answer failed", self.request_id)

    def _part(self) -> None:
        """Say goodbye, and read away what still comes: closing at once would reset the connection before the client has
        read its answer (RFC 9112 section 9.6)."""
        with suppress(OSError, ValueError):
            if self.server.tls:
                self.sock.unwrap()
        from socket import SHUT_WR

        with suppress(OSError):
            self.sock.shutdown(SHUT_WR)
        self.step, self.deadline = self._linger, time.monotonic() + self.limits.linger_s

    def _linger(self) -> int:
        return _ENDED if self._receive(CHUNK_BYTES) == b"" else _READ


class Seats:
    """What the workers of a server know of each other, in memory that they share: how many connections each has, and when
    it was last seen alive. `own` is the seat of this worker, set before its fork."""

    def __init__(self, count: int) -> None:
        self.own = 0
        # Of each seat: connections, and time.monotonic(), which is 0.0 before it serves and when it leaves.
        self._cells = memoryview(mmap.mmap(-1, 16 * count)).cast("d")

    def beat(self, connections: int) -> None:
        self._cells[2 * self.own], self._cells[2 * self.own + 1] = connections, time.monotonic()

    def leave(self, seat: int) -> None:
        self._cells[2 * seat + 1] = 0.0

    def beaten_at(self, seat: int) -> float:
        return self._cells[2 * seat + 1]

    def are_uneven(self) -> bool:
        """Whether another worker has fewer connections than this one, by more than one."""
        alive = time.monotonic() - 2
        counts = [count for count, beaten_at in zip(self._cells[::2], self._cells[1::2], strict=True) if beaten_at > alive]
        return self._cells[2 * self.own] > min(counts, default=math.inf) + 1


class SharedText:
    """A short text that a process shares with those that it forks."""

    def __init__(self) -> None:
        self._cells = mmap.mmap(-1, 4096)

    def set(self, text: str) -> None:
        self._cells[:] = text.encode()[:4096].ljust(4096, b"\0")

    def get(self) -> str:
        return self._cells[:].rstrip(b"\0").decode(errors="ignore")


class HttpServer:
    """Answers on listening sockets until stop(). `application` makes an Answer of a Head and its Connection, whose `body` it
    may read; `refused` answers what is not served; `tls` is of ssl; `is_many`: an address may stand for many clients."""

    def __init__(
        self,
        listeners: Sequence[socket],
        application: Callable[[Head, Connection], Answer],
        *,
        threads: int = 8,
        limits: Limits = DEFAULT_LIMITS,
        tls: Any = None,
        seats: Seats | None = None,
        is_many: Callable[[str], bool] = lambda peer: False,
        refused: Callable[[Head, Connection, AppError], Answer] | None = None,
    ) -> None:
        self.application, self.threads, self.limits, self.tls, self.is_many = application, threads, limits, tls, is_many
        self.refused = refused
        self.blocked: tuple[type[OSError], ...] = (BlockingIOError,)
        if tls:
            import ssl

            self.blocked += (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self.seats, self.watch = seats or Seats(1), plugin("working").Watch()
        self.is_stopping = self._is_patient = self._is_over = False
        self._until, self._hurried_until = math.inf, 0.0
        self._listeners = {one.fileno(): one for one in listeners}
        self._lock = threading.Lock()  # of what is counted below
        self.held: dict[str, int] = {}  # connections by peer
        self._count = self._live = self._waiting = 0  # connections; threads, and those of them that wait for a client
        self._slow: dict[Connection, tuple[float, int]] = {}  # since when threads wait for their clients, and for what
        self.parked: dict[int, Any] = {}  # connections by descriptor; whoever takes one out goes on with it
        self._idle: list[None] = []  # one for each thread that has nothing to do

    def stop(self, grace_s: float, *, patient: bool = False) -> None:
        """Take no more connections, and let run() return when what is under way is finished, at the latest after grace_s.
        Idle connections end within a second, or if `patient` with their next answer. Safe in a signal handler."""
        self._until, self._is_patient, self.is_stopping = time.monotonic() + grace_s, patient, True

    def run(self) -> None:
        self._poller: Any = plugin("epoll" if sys.platform == "linux" else "kqueue").Poller()
        self._bell, self._ringer = os.pipe()  # to wake the threads at the end
        for descriptor, listener in self._listeners.items():
            listener.setblocking(False)
            self._poller.watch(descriptor, _READ)
        self._fill_up()
        parent = os.getppid()
        while not self.is_stopping:
            self.seats.beat(self._count)
            self._expire()
            self.watch.look()
            time.sleep(_TICK_S)
            if os.getppid() != parent:  # nobody is left who could ask to stop
                self.stop(self.limits.drain_s)
        self._drain()

    def _work(self) -> None:
        """What each thread does."""
        while not self._is_over:
            self._idle.append(None)
            descriptor = self._poller.next()
            self._idle.pop()
            try:
                if connection := self.parked.pop(descriptor, None):
                    self.park(connection, connection.proceed())
                elif descriptor in self._listeners:
                    self._accept(self._listeners[descriptor])
            except Exception:
                LOG.exception("a thread of the HTTP server failed")
            if not self._is_over and self._is_surplus():
                return
        self._poller.watch(self._bell, _READ)  # for the next one
        with self._lock:
            self._live -= 1

    # -- connections

    def _accept(self, listener: socket) -> None:
        """Take one connection, or leave it to a worker that has fewer, unless that takes none either."""
        from socket import IPPROTO_TCP, TCP_NODELAY

        waited_ms = 0
        while self.seats.are_uneven() and time.monotonic() > self._hurried_until:
            time.sleep(0.001)
            waited_ms += 1
            if waited_ms == 20:
                self._hurried_until = time.monotonic() + 0.05
        try:
            sock, address = listener.accept()
            sock.setblocking(False)
            if address:
                sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(_TICK_S)
            return
        finally:
            if not self.is_stopping:
                self._poller.watch(listener.fileno(), _READ)
        peer = address[0] if address else "unix"
        if self._admit(peer) or (plugin("slow_clients").make_room(self, peer) and self._admit(peer)):
            connection = Connection(self, sock, peer)
            self.park(connection, connection.proceed())
            return
        with closing(sock), suppress(OSError):
            sock.send(plugin("unserved").no_room(sock))
            sock.recv(_HEAD_BYTES)  # what it has sent already: to close on that would reset the connection

    def _admit(self, peer: str) -> bool:
        with self._lock:
            held = self.held.get(peer, 0)
            if self._count >= self.limits.connections or (held >= self.limits.per_address and not self.is_many(peer)):
                return False
            self.held[peer] = held + 1
            self._count += 1
            self.seats.beat(self._count)
            return True

    def park(self, connection: Connection, wanted: int) -> None:
        """Leave it to the poller until it can go on, or close it."""
        if wanted != _ENDED:
            descriptor = connection.sock.fileno()
            self.parked[descriptor] = connection
            with suppress(OSError):  # it may be over by now: who looks at deadlines has it, too
                self._poller.watch(descriptor, wanted)
            return
        with self._lock:
            self._count -= 1
            if held := self.held.pop(connection.peer) - 1:
                self.held[connection.peer] = held
            self.seats.beat(self._count)
        connection.close()

    def _expire(self) -> None:
        """End the connections whose deadline has passed."""
        now = time.monotonic()
        for descriptor, connection in self.parked.copy().items():
            if connection.deadline < now and (late := self.parked.pop(descriptor, None)):  # or another one by now
                self.park(late, late.expire() if late.deadline < now else _WRITE)

    # -- threads

    def _fill_up(self) -> None:
        """Start the threads that are missing. Raises Unavailable if the system gives no more."""
        while True:
            with self._lock:
                if self._live - self._waiting >= self.threads:
                    return
                self._live += 1
            try:
                threading.Thread(target=self._work, name="http", daemon=True).start()
            except RuntimeError as error:
                with self._lock:
                    self._live -= 1
                raise Unavailable("there are no more threads at this moment; try again later") from error

    def _is_surplus(self) -> bool:
        """Whether this thread ends, because enough others work."""
        with self._lock:
            if self._live - self._waiting <= self.threads:
                return False
            self._live -= 1
            return True

    def is_wanted(self) -> bool:
        """Whether connections wait for a thread that has time for them."""
        if self._idle:
            return False
        waiter = poll()
        waiter.register(self._poller, _READ)
        return bool(waiter.poll(0))

    def stays(self, connection: Connection) -> bool:
        """Whether the next request comes at once. Its thread waits for it unless it is needed elsewhere."""
        if self.is_stopping:
            return False
        waiter = poll()
        waiter.register(connection.sock, _READ)
        if not self._idle:
            waiter.register(self._poller, _READ)
        ready = waiter.poll(_STAY_S * 1000)
        return len(ready) == 1 and ready[0][0] == connection.sock.fileno()

    def wait(self, connection: Connection, wanted: int, until_s: float) -> None:
        """Until a client has sent or taken bytes; another thread works meanwhile. Raises TimeoutError at `until_s`, after
        the longest silence, or in favour of a quicker one, and Unavailable if too many wait already."""
        now = time.monotonic()
        until_s = min(until_s, now + self.limits.silence_s)
        waiter = poll()
        waiter.register(connection.sock, wanted)
        if waiter.poll(_PATIENCE_S * 1000):
            return
        with self._lock:
            if len(self._slow) >= self.limits.waiting_threads and not plugin("slow_clients").give_up_slowest(self._slow):
                raise Unavailable("too many clients are slow at this moment; try again later")
            self._slow[connection] = now, wanted
            self._waiting += 1
        try:
            self._fill_up()
            if not waiter.poll(max(0.0, until_s - time.monotonic()) * 1000) or connection not in self._slow:
                raise TimeoutError
        finally:
            with self._lock:
                connection.waited_s += time.monotonic() - now
                self._slow.pop(connection, None)
                self._waiting -= 1

    # -- the end

    def _drain(self) -> None:
        """Until what is under way is finished."""
        for listener in self._listeners.values():
            listener.close()
        self.seats.leave(self.seats.own)
        self.seats = Seats(1)  # connections that end from here on are no sign of life
        soon = time.monotonic() + 1
        while self._count and time.monotonic() < self._until:
            for connection in self.parked.copy().values():
                if connection.is_idle and not self._is_patient:
                    connection.deadline = min(connection.deadline, soon)
            self._expire()
            self.watch.look()
            time.sleep(0.02)
        self._is_over = True
        self.watch.break_off("the server is stopping; try again soon")
        os.close(self._ringer)
        self._poller.watch(self._bell, _READ)
        until = time.monotonic() + 1  # a thread that is still at work then is left behind
        while self._live and time.monotonic() < until:
            time.sleep(0.005)
        for descriptor in list(self.parked):
            if connection := self.parked.pop(descriptor, None):
                self.park(connection, _ENDED)
        if not self._live:
            self._poller.close()
            os.close(self._bell)


# ---- the runner of HTTP


_RESOURCES = "files|forms|views|apps|admin"  # of resources
_INSIDE = re.compile(rf"({_RESOURCES})/(.+)")
_COMMON_HEADERS = {
    pair[0].lower(): pair for pair in (
        ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"), ("X-Frame-Options", "DENY"),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"), ("Cache-Control", "no-store"),
        ("Vary", "Accept, Accept-Language, Cookie"),  # what Authorization lets see is stored by nobody, or asked for anew
    )
}  # fmt: skip


class HttpRunner(Runner):
    """Serves a site over HTTP: `run` is one of its worker processes, `answer` its application."""

    kind = "http"
    limits = DEFAULT_LIMITS

    def __init__(
        self,
        config: Config,
        host: Host,
        queues: Callable[[], Mapping[str, str]] = dict,
        on_ready: Callable[[str], Any] = str,
    ) -> None:
        """`queues` are the states of queues that a runner beside this one works on; on_ready gets the site's address once
        its workers answer."""
        from bottle import Router

        self.config, self.prefix, self.host = config.http, config.site.prefix, host
        self.door, self.queues, self.on_ready = HttpDoor(config, host), queues, on_ready
        self.seats = Seats(self.workers)
        self.trouble = SharedText()  # with a later app.toml, which is not in force
        self.methods = dict.fromkeys(HTTP_METHODS)  # that this site knows
        self.router = Router()
        self.named = lru_cache(256)(self._named)  # of an address
        self.masked = partial(re.sub, rf"^({self.prefix}/(login|s|tus))/.*", r"\1/…")  # the code of a link is a secret
        self._routes: dict[tuple[str, str], Route] = {}  # by type of resource or path, and method
        for path in ("/", f"/<kind:re:{_RESOURCES}>", f"/<kind:re:{_RESOURCES}>/"):
            self.router.add(path, "GET", self._index)
        self.router.add("/healthz", "GET", lambda exchange: json_answer(200, {"status": "ok"}))
        self.router.add("/readyz", "GET", self._readyz)
        for route in host.extensions(Route):  # type: ignore[type-abstract]
            self.add(route)

    # -- its processes

    @property
    def workers(self) -> int:
        return self.config.workers or os.cpu_count() or 1

    def listen(self, listener: socket | None = None) -> None:
        """Take the address, before any fork, unless `listener` has it. Raises Unavailable if it is taken, ConfigError for a
        bad certificate."""
        self._tls()
        self.listener = listener or plugin("listeners").listen(self.config.bind)

    def close(self) -> None:
        """Leave the address to others, but for the workers, which go on listening until they are told to stop."""
        plugin("listeners").close(self.listener)

    @property
    def address(self) -> str:
        """The site's own address, for people."""
        scheme = "https" if self.config.tls_cert else "http"
        return f"{plugin('listeners').address_of(self.listener, scheme)}{self.prefix}"

    def _tls(self) -> Any:
        """The context for TLS, None without; its files are read anew by each worker."""
        if not self.config.tls_cert:
            return None
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.config.tls_cert, self.config.tls_key)
        except OSError as error:
            raise ConfigError(f"[http] tls_cert and tls_key cannot be used: {error.strerror or error}") from error
        return context

    def run(self) -> None:
        """A worker, until SIGTERM; after SIGHUP it ends when its clients have been answered once more."""
        connections = min(self.limits.connections, plugin("listeners").most_files() // 2)  # a request opens files too
        self.server = HttpServer(
            [self.listener], self.answer, threads=self.config.threads, tls=self._tls(), seats=self.seats,
            limits=self.limits._replace(silence_s=float(self.config.body_timeout_s), connections=connections),
            is_many=lru_cache(1000)(self._is_many), refused=self.answer,
        )  # fmt: skip
        self.server.watch.on_gone = partial(self.host.count, "satchel_http_abandoned_total")
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        signal.signal(signal.SIGHUP, lambda *_: self.server.stop(self.limits.drain_s, patient=True))
        signal.signal(signal.SIGQUIT, lambda *_: self.server.stop(0))
        self.host.open()
        try:
            for route in dict.fromkeys(self._routes.values()):
                route.open()
            self.server.run()
        finally:
            self.host.close()

    def stop(self) -> None:
        self.server.stop(self.limits.drain_s)

    def _is_many(self, peer: str) -> bool:
        """Whether this address stands for many clients."""
        address = plugin("addresses").ip(peer)
        return address is None or address.is_loopback or self.door.trusts(peer)

    # -- its routes

    def add(self, route: Route) -> None:
        """Lets a Route answer. Raises ConfigError if another one answers the same."""
        self.door.routes[route.kind] = route
        own = [(path, method) for path, methods in route.paths.items() for method in methods.split()]
        places = [f"{one}/{route.inside}" for one in sorted(route.types)]
        for place, method in [*own, *itertools.product(places, route.methods)]:
            other = self._routes.setdefault((place, method), route)
            if other.kind != route.kind:
                what = f"{method} {place}" if place.startswith("/") else f"{method} of {place.removesuffix('/')}"
                raise ConfigError(f"the routes {other.kind} and {route.kind} both answer {what}: remove one of them")
            self.methods[method] = None
        for path, method in own:
            self.router.add(path, method, partial(self._extension, route))

    def _extension(self, route: Route, exchange: Exchange, **parts: str) -> Answer:
        if exchange.method not in ("GET", "HEAD", "OPTIONS"):
            self.door.check_origin(exchange, form=exchange.method == "POST")  # the one method that a form can send
        return route.answer(exchange, self.host)

    # -- one request

    def answer(self, head: Head, connection: Any, refusal: AppError | None = None) -> Answer:
        """The site's answer to a request that has come by a connection (see Exchange), or to what the server refuses."""
        began = time.monotonic()
        exchange = Exchange(head, connection, self.door, new_id(time.time()))
        connection.request_id = exchange.id
        answer = self._told(exchange, refusal) if refusal else self._answered(exchange)
        for file in exchange.files:
            file.close()
        took_s = time.monotonic() - began
        self.host.count("satchel_http_responses_total", exchange.method, str(answer.status))
        self.host.observe("satchel_http_request_seconds", exchange.method, value=took_s)
        if self.config.access_log:
            self._log_access(exchange, answer, took_s)
        return Answer(answer.status, self._common_headers(exchange, answer), answer.body)

    def _answered(self, exchange: Exchange) -> Answer:
        try:
            try:
                return self._route(exchange)
            except Exception as error:
                if broken_off := plugin("working").reason():
                    return problem_answer(exchange.id, broken_off)
                return self._fault(exchange, plugin("reserve").known(error))
        except BaseException:  # a program that exits ends no server
            LOG.exception("request %s failed", exchange.id)
        fault = AppError("something went wrong here; the operator finds it in the log by the request id")
        with suppress(Exception):  # the templates may be what is broken
            if answer := exchange.format.fault(exchange, fault):
                return answer
        return problem_answer(exchange.id, fault)

    def _fault(self, exchange: Exchange, error: AppError) -> Answer:
        log_fault(exchange, error)
        plugin("refusals").note_token(exchange, error)
        exchange.subject = exchange.subject or error.subject
        if isinstance(error, Unauthenticated) and exchange.by_cookie:
            exchange.cookies = self.door.ended_session(exchange)
        answer = self._told(exchange, error)
        if isinstance(error, UnsupportedAction):
            answer.headers.append(self._allow(exchange))
        return answer

    def _told(self, exchange: Exchange, error: AppError) -> Answer:
        return exchange.format.fault(exchange, error) or problem_answer(exchange.id, error)

    def _common_headers(self, exchange: Exchange, answer: Answer) -> _Headers:
        present = {name.lower() for name, _ in answer.headers}
        own = [pair for name, pair in _COMMON_HEADERS.items() if name not in present]
        version = [("Tus-Resumable", "1.0.0")] if "tus-resumable" in exchange.head.fields else []
        own += [("X-Request-Id", exchange.id), *version]
        own += [("Content-Language", exchange.language)] if exchange.language else []
        if exchange.scheme == "https" and self.door.origin.startswith("https:"):
            own.append(("Strict-Transport-Security", "max-age=31536000"))
        if isinstance(answer.body, bytes) and answer.status not in (204, 304) and "content-length" not in present:
            own.append(("Content-Length", str(len(answer.body))))
        return [*answer.headers, *own, *[("Set-Cookie", cookie) for cookie in exchange.cookies]]

    def _log_access(self, exchange: Exchange, answer: Answer, took_s: float) -> None:
        LOG.info(dump_json({
            "at": rfc3339(time.time()), "request_id": exchange.id, "client": exchange.client, "subject": exchange.subject,
            "method": exchange.method, "path": self.masked(exchange.path), "status": answer.status,
            "took_ms": round(took_s * 1000, 1),
        }))  # fmt: skip

    # -- routing

    def _route(self, exchange: Exchange) -> Answer:
        self.door.check_host(exchange)
        if exchange.method == "OPTIONS" and exchange.path == "*":
            return Answer(204, [("Allow", ", ".join(self.methods))])
        if not (exchange.path + "/").startswith(self.prefix + "/"):
            raise NotFound(f"this site is below {self.prefix or '/'}")
        self._find_resource(exchange)
        if answer := self._answered_by(exchange, exchange.method):
            return answer(exchange)
        if not self._methods_at(exchange):
            raise NotFound(f"there is nothing at {self.masked(exchange.own_path)[:200]}")
        if exchange.method == "OPTIONS":
            return Answer(204, [self._allow(exchange), *plugin("tus").offered(exchange)])
        raise UnsupportedAction(f"{self.masked(exchange.own_path)[:200]} does not take {exchange.method[:20]}")

    def _find_resource(self, exchange: Exchange) -> None:
        """Sets what the address names. A suffix such as .csv chooses the format instead of Accept."""
        if found := self.named(exchange.inner):
            exchange.resource, exchange.path_inside, exchange.endpoint, ending = found
            if ending:
                exchange.format, exchange.path = self.door.formats[ending], exchange.path.removesuffix("." + ending)

    def _named(self, inner: str) -> tuple[str, tuple[str, ...], Endpoint | None, str] | None:
        """Resource, path inside it, its endpoint and a format's suffix; None if the address is in no resource."""
        match = _INSIDE.fullmatch(inner)
        if not match:
            return None
        kind, (name, *path), ending = match[1], split_path(match[2]), ""
        if kind != "files":
            name, path, ending = self._suffix(kind, name, path)
        return f"{kind}/{quote(name, safe='')}", tuple(path), self.host.endpoint(kind, path, name), ending

    def _suffix(self, kind: str, name: str, path: list[str]) -> tuple[str, list[str], str]:
        """The name and the path without a suffix, and the suffix."""
        if len(path) > 1 or (path and kind != "forms"):  # the id of a record may have a dot, and a file of an app
            return name, path, ""
        stem, dot, ending = (path[0] if path else name).rpartition(".")
        if not (dot and ending) or ending not in self.door.formats:
            return name, path, ""
        return (name, [stem], ending) if path else (stem, path, ending)

    def _answered_by(self, exchange: Exchange, method: str) -> Callable[[Exchange], Answer] | None:
        """What answers a method at the address; None if nothing does."""
        from bottle import HTTPError

        if method not in self.methods:
            return None
        if exchange.resource:
            route = self._own_route(exchange, method)
            if route and route.inside:
                return partial(self._extension, route)
            of_page = not exchange.query.keys().isdisjoint(("_method", "_resume"))
            usual = methods_of(exchange.endpoint) if exchange.endpoint and not of_page else _ACTIONS
            return self._resource if route or method in usual else None
        with suppress(HTTPError):
            target, parts = self.router.match({"REQUEST_METHOD": method, "PATH_INFO": "/" + exchange.inner})
            return partial(target, **parts)
        return None

    def _own_route(self, exchange: Exchange, method: str) -> Route | None:
        """The Route that answers a method of the resource that the address names."""
        place, endpoint = exchange.resource.partition("/")[0] + "/", exchange.endpoint
        route = self._routes.get((place + "".join(exchange.path_inside[:1]), method)) or self._routes.get((place, method))
        return route if route and endpoint and route.methods[method] in endpoint.actions else None

    def _methods_at(self, exchange: Exchange) -> list[str]:
        """The methods that the address takes, whoever asks; [] if there is nothing there."""
        if not exchange.resource:
            return [method for method in self.methods if self._answered_by(exchange, method)]
        usual = methods_of(exchange.endpoint) if exchange.endpoint else []
        return [method for method in self.methods if method in usual or self._own_route(exchange, method)]

    def _allow(self, exchange: Exchange) -> tuple[str, str]:
        return "Allow", ", ".join(dict.fromkeys([*self._methods_at(exchange), "OPTIONS"]))

    # -- resources

    def _index(self, exchange: Exchange, kind: str = "") -> Answer:
        """Home, or what the caller may open of one type."""
        return self._serve(exchange, self.door.request(exchange, kind, (), Action.READ))

    def _resource(self, exchange: Exchange) -> Answer:
        if exchange.method == "POST" and exchange.is_form:
            work = partial(self._work, exchange)
            return exchange.format.submitted(exchange, exchange.resource, exchange.path_inside, work)
        return self._work(exchange)

    def _method(self, exchange: Exchange) -> str:
        """The method that is meant: the forms of pages have only POST, and say PUT and DELETE in their address."""
        wanted = exchange.query.get("_method") if exchange.method == "POST" else None
        if wanted not in (None, "PUT", "DELETE") or (wanted == "PUT" and exchange.resource[:6] not in ("forms/", "admin/")):
            raise BadRequest("_method must be PUT, of a record, or DELETE")
        return wanted or exchange.method

    def _work(self, exchange: Exchange) -> Answer:
        method = self._method(exchange)
        if route := self._own_route(exchange, method):
            return self._extension(route, exchange)
        action = exchange.endpoint.posts if exchange.endpoint and method == "POST" else _ACTIONS[method]
        request = self.door.request(exchange, exchange.resource, exchange.path_inside, action)
        if request.action == Action.READ and exchange.resource.startswith(("files/", "forms/")):
            return self._steady(exchange, request)
        return self._serve(exchange, request)

    def _steady(self, exchange: Exchange, request: Request) -> Answer:
        """The answer. If a file is replaced between its look-up and its reading, it is looked up again."""
        if not (exchange.header("if-match") or exchange.header("if-unmodified-since")):
            for _ in range(4):
                with suppress(PreconditionFailed):
                    return self._serve(exchange, request)
        return self._serve(exchange, request)

    def _serve(self, exchange: Exchange, request: Request) -> Answer:
        response = self.host.handle(request)
        exchange.subject = response.caller.subject
        if response.content:
            return send_content(exchange, response.content, trusted=request.resource.startswith("apps/"))
        if exchange.method in ("GET", "HEAD"):
            return exchange.format.answer(exchange, response) or _dumped(exchange, response)
        return exchange.format.written(exchange, response) or _written(exchange, response)

    def _readyz(self, exchange: Exchange) -> Answer:
        return json_answer(*plugin("readiness").told(self.host, dict(self.queues()), self.trouble.get()))


# ---- queues: what a queue does


class Attribute(NamedTuple):
    """A named value beside a message's body. `type` is the queue service's word for what it is."""

    value: str | bytes
    type: str = "String"


class Message(NamedTuple):
    """A message as it was received, or what lay inside its wrapping. `group` is "" on a standard queue."""

    id: str
    body: str
    attributes: Mapping[str, Attribute] = MappingProxyType({})
    sent_at: float = 0.0
    group: str = ""
    handle: str = ""  # of this receive, for extend() and delete()
    receives: int = 1  # how often it was received, even if it was given back at once
    moved_from: str = ""  # the queue from which the service itself moved it to this dead-letter queue

    def __repr__(self) -> str:
        return f"Message({self.id!r})"  # without the credential

    def text(self, name: str) -> str:
        """The text of an attribute; "" if there is none."""
        value = self.attributes[name].value if name in self.attributes else ""
        return value if isinstance(value, str) else ""


def is_credential(name: str) -> bool:
    """Whether an attribute of this name holds a credential, which no copy of the message may have."""
    return name.lower() == "authorization"


class BadEnvelope(BadRequest):
    """A message in a queue is not an envelope; `faults` point into its body, or at /attributes/NAME."""

    code = "bad_envelope"


class PayloadUnavailable(AppError):
    """The payload of a message cannot be read at present."""

    code, status, exit_code, retry = "payload_unavailable", 503, 7, True


class ReplyFailed(AppError):
    """What a message asked for was done, but the reply to it cannot be sent."""

    code, status, exit_code = "reply_failed", 422, 5


def bad_envelope(pointer: str, code: str, detail: str) -> BadEnvelope:
    return BadEnvelope(f"the message is no envelope: {pointer} {detail}", faults=[Fault(pointer, code, detail)])


class Queue(ABC):
    """A queue, used from many threads. Every method may raise NotFound if there is no such queue, Forbidden, Unavailable, or
    Refused if the service will never take what is sent."""

    name: str
    fifo: bool  # messages of a group come one after another, in the order in which they were sent
    most_held_s: int  # since a message was received, however often it is extended

    @abstractmethod
    def check(self) -> None:
        """Finds its dead-letter queue, and tries whether messages may be deleted and extended. Raises ConfigError if it has
        no dead-letter queue."""

    @abstractmethod
    def receive(self, limit: int, wait_s: int, visibility_s: int) -> list[Message]:
        """At most `limit` messages, never more than ten, as soon as there are any; [] after wait_s seconds."""

    @abstractmethod
    def extend(self, times: Sequence[tuple[str, int]]) -> list[str]:
        """Holds at most ten messages, by handle, for so many seconds from now; 0 gives one back. Returns for each "" if that
        was done, "lost" if the handle no longer holds the message, or "failed"."""

    @abstractmethod
    def delete(self, handles: Sequence[str]) -> list[str]:
        """Deletes at most ten messages. Returns the same as extend()."""

    @abstractmethod
    def send(self, body: str, attributes: Mapping[str, Attribute], group: str, key: str, large_key: str = "") -> str:
        """Sends a message and returns its id. A FIFO queue takes it in `group`, once for each `key`. The body of one that is
        too large is stored elsewhere under `large_key`. Raises PayloadUnavailable if that store cannot be used now, and
        TooLarge or Refused if there is none."""

    @abstractmethod
    def send_to_dlq(self, message: Message, error: AppError, attempts: int) -> None:
        """Copies a message to the dead-letter queue, without its credential and with why it is there."""

    def unwrap(self, message: Message) -> Message:
        """What a message carries, if another service has wrapped it on its way here, or else the message itself. Raises
        BadEnvelope if the wrapping cannot be read."""
        return message

    def load(self, message: Message) -> tuple[Message, str]:
        """The message with its body, and where that was stored; "" if the body came with the message. Raises BadEnvelope,
        TooLarge, NotFound or PayloadUnavailable."""
        return message, ""

    def discard(self, payload: str) -> None:  # noqa: B027
        """Removes a body from where load() found it."""

    def events(self, value: Json) -> list[tuple[str, Value]] | None:
        """If a body tells what has happened in a store of files: for each event a key, which is the same when it is told
        again, and the data of a record. None for any other body."""
        return None


# ---- queues: how long, and how often

LEASE_MARGIN_S = 60  # before the end of the time that a message may be held: no extension is to go beyond that


class RetryPolicy(NamedTuple):
    """Times and randomness of the queue runner; tests pass others, and need not wait."""

    backoff_s: float = 5  # before the second attempt, at most; doubles with each
    most_backoff_s: float = 900
    probe_s: float = 5  # between looks whether a provider is back
    retry_s: float = 10  # between looks at a queue that is missing or denied
    linger_s: float = 0.05  # how long a delete or a receive waits for others
    chance: Callable[[], float] = random.random

    def backoff(self, attempt: int, left_s: float) -> int:
        """Seconds before the next attempt: with full jitter, and within the time that the message may still be held."""
        ceiling_s = min(self.most_backoff_s, self.backoff_s * 2.0 ** min(attempt - 1, 20))
        return max(0, min(math.ceil(self.chance() * ceiling_s), int(left_s) - LEASE_MARGIN_S))


DEFAULT_RETRIES = RetryPolicy()


class LeaseLost(Exception):
    """Somebody else may have the message by now: nothing may be committed for it."""

    code = "lease_lost"  # of a request that it stopped, in the metrics


class Stopping(Exception):
    """The runner stops while a message waits for a provider or a queue: the message is given back."""


# ---- queues: the runner

# What the metrics count of the messages of a queue.
OUTCOMES = ("received", "done", "replayed", "dead", "retry", "released", "lost", "deleted", "undeleted")


class Outcome(NamedTuple):
    """What becomes of a message: done, replayed, dead, retry, released, lost or undeleted; the status and JSON that its
    sender gets; and if it is to come again, in how many seconds."""

    word: str
    status: int = 0
    body: Json = None
    error: AppError | None = None
    delay_s: int | None = None

    @property
    def may_pass(self) -> bool:
        """Whether the same message may succeed later."""
        error = self.error
        return error is not None and not isinstance(error, Unsupported) and (error.retry or error.status >= 500)


class Consumer:
    """One queue: a thread that receives, a few that work, one that deletes. A message is received, decoded, handled and
    settled, and then its group goes on.

    plugins/envelopes.py knows what stands in a message. plugins/deliveries.py knows whose turn it is, extends the leases
    and carries out the deletes."""

    def __init__(self, config: QueueConfig, queue: Queue, replies: Mapping[str, Queue], runner: SqsRunner) -> None:
        self.config, self.queue, self.replies, self.name = config, queue, replies, config.name
        self.sqs, self.host, self.policy, self.leases = runner.config, runner.host, runner.policy, runner.leases
        self.status, self.health, self.failures = runner.status, runner.health, runner.failures
        self.envelopes = plugin("envelopes")
        deliveries = plugin("deliveries")
        self.scheduler: Any = deliveries.Scheduler(self.sqs.threads)
        self.stopping = threading.Event()
        self.paused: set[Delivery] = set()  # they wait for a provider, or for a queue of answers or dead letters
        self.trouble: AppError | None = None
        linger_s = self.policy.linger_s / 10 if queue.fifo else self.policy.linger_s  # the next of a group waits for it
        self.deletes: Any = deliveries.DeleteBatcher(queue, self._deleted, self.report, self.policy, linger_s)
        self.receiver = threading.Thread(target=self._receive, name=f"receive {self.name}", daemon=True)
        work = partial(threading.Thread, target=self._work, name=f"work {self.name}", daemon=True)
        self.workers = [work() for _ in range(self.sqs.threads)]

    def start(self) -> None:
        self.deletes.start()
        for thread in (self.receiver, *self.workers):
            thread.start()

    def stop(self) -> None:
        """No new receives; give back what has not been started."""
        self.stopping.set()
        self.deletes.hurry()
        self._give_back(self.scheduler.close())

    def report(self, trouble: AppError) -> None:
        """Pause because the queue is missing or denied, until a look at its set-up shows that this is over."""
        self.trouble = trouble

    def busy(self) -> bool:
        return self.receiver.is_alive() or any(thread.is_alive() for thread in self.workers)

    def abandon(self) -> None:
        """Give back what is still at work: it may commit nothing from here on. It is seen again at once, unless the last
        poll is still open: that would receive it, and nobody would be there to give it back."""
        delay_s = self.sqs.wait_s if self.receiver.is_alive() else 0
        self.leases.release([delivery for delivery in self.scheduler.at_work() if not delivery.is_done], delay_s)

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Give back deliveries that nobody has started."""
        self._count("released", len(deliveries))
        self.leases.release(deliveries, 0)

    def _count(self, outcome: str, messages: int = 1) -> None:
        self.host.count("satchel_queue_messages_total", self.name, outcome, by=messages)

    # -- receive

    def _receive(self) -> None:
        while not self.stopping.is_set():
            try:
                self.queue.check()
                self.status.begin(self.name)
                while not self.stopping.is_set():
                    self._poll()
            except AppError as error:
                self.status.set(self.name, f"paused: {error.message}")
                self.stopping.wait(self.policy.retry_s * (0.5 + self.policy.chance()))
            except Exception:
                LOG.exception("queue %s: receiving failed", self.name)
                self.stopping.wait(self.policy.retry_s)

    def _poll(self) -> None:
        """Receive as many messages as there is room for. A poll that has begun is never cut off, or what arrives
        in it would be stranded."""
        if trouble := self.trouble:
            self.trouble = None
            raise trouble
        room = self.scheduler.room(1, self.policy.linger_s)
        if not room or self.paused:
            self.stopping.wait(0.05 if self.paused else 0)
            return
        messages = self.queue.receive(room, self.sqs.wait_s, self.sqs.visibility_s)
        deliveries = self.leases.hold(self.queue, messages)
        if not self.paused:
            self.status.set(self.name, "ok")
        self._count("received", len(deliveries))
        self._give_back(self.scheduler.put(deliveries))

    # -- work on a message

    def _work(self) -> None:
        while (delivery := self.scheduler.take()) is not None:
            began = time.monotonic()
            delivery.attempt = self.failures.get(delivery.message.id, 0) + 1
            outcome = self._outcome(delivery)
            try:
                outcome = self._finish(delivery, outcome)
            except Exception:  # the message is left to its time-out
                LOG.exception("message %s could not be given back", delivery.message.id)
                self.leases.drop(delivery)
            took_s = time.monotonic() - began
            self.host.observe("satchel_queue_message_seconds", self.name, value=took_s)
            if outcome.word != "undeleted":  # which _deleted has counted
                self._count(outcome.word)
            LOG.info(self._line(delivery, outcome, took_s))
            self.scheduler.done(delivery)

    def _outcome(self, delivery: Delivery) -> Outcome:
        """Handle and settle a message. One that ends without an answer is given back, which uses up no attempt."""
        try:
            return self._settle(delivery, self._handle(delivery))
        except (LeaseLost, Stopping):
            return Outcome("lost" if delivery.lost or not self.stopping.is_set() else "released", delay_s=0)
        except Exception as problem:  # the copy for the dead-letter queue could not be sent, or something is wrong here
            error = problem if isinstance(problem, AppError) else AppError("something went wrong here")
            if error is not problem:
                LOG.exception("message %s (request %s) failed", delivery.message.id, delivery.request_id)
            delay_s = self.policy.backoff(delivery.message.receives, delivery.left_s)
            return Outcome("retry", error.status, error=error, delay_s=delay_s)
        finally:
            self._resume(delivery)

    # -- decode

    def _decode(self, delivery: Delivery) -> list[Request]:
        """What the message asks for: one request, or those of a notification of events."""
        delivery.request_id = new_id(time.time())
        inner = delivery.inner = self.queue.unwrap(delivery.message)
        name = inner.text("reply_to")
        if name and name not in self.replies:
            detail = f"is {name[:80]!r}, which [sqs] replies does not name{nearest(name, self.replies)}"
            raise bad_envelope("/attributes/reply_to", "reply_to", detail)
        inner, delivery.payload = self.queue.load(inner)
        value = self.envelopes.parse_body(inner.body)
        events = self.queue.events(value)
        if events is None:
            return [self.envelopes.read_envelope(value, inner, self.config.allow, delivery.request_id)]
        return list(self.envelopes.event_requests(events, self.config, delivery.request_id))

    # -- handle

    def _handle(self, delivery: Delivery) -> Outcome:
        """Have it done; while a provider is away or a disk is full the message is held and then tried again."""
        tries = 0
        while True:
            try:
                return self._answer(delivery)
            except (LeaseLost, Stopping, MemoryError, OSError):  # the last two are the machine's: later it may be done
                raise
            except StorageFull as error:
                self._pause(delivery, error.message, self.policy.probe_s)
            except Unavailable as error:
                away = self.health.away(time.monotonic())
                if not away and tries >= self.sqs.attempts:
                    return self._failed(delivery, error)
                reason = f"{', '.join(sorted(away))} is away" if away else error.message
                self._pause(delivery, reason, self.policy.probe_s * 2**tries, away)
            except AppError as error:
                return self._failed(delivery, error)
            except Exception:
                LOG.exception("message %s (request %s) failed", delivery.message.id, delivery.request_id)
                return self._failed(delivery, AppError("something went wrong here; the operator finds it in the log"))
            tries += 1

    def _answer(self, delivery: Delivery) -> Outcome:
        """Have the application do what the message asks for, once. Of several requests one that is refused keeps no other
        from being done."""
        requests = self._decode(delivery)
        responses, refused = [], []
        for request in requests:
            delivery.what = f"{request.action} {request.address}"
            try:
                responses.append(self.host.handle(request, delivery.guard))
            except AppError as error:
                if error.retry or error.status >= 500:
                    raise
                refused.append(error)
        if refused:
            raise refused[0]
        for response in responses:
            delivery.subject = response.caller.subject
        if len(requests) == 1:
            return Outcome("replayed" if responses[0].replayed else "done", *self.envelopes.answer_of(responses[0]))
        return Outcome("done", 200, [self.envelopes.answer_of(response)[1] for response in responses])

    def _failed(self, delivery: Delivery, error: AppError) -> Outcome:
        """The outcome of an error. The subject is told in the log and in the dead letter."""
        error.subject = delivery.subject = error.subject or delivery.subject
        plugin("refusals").note_message(self.host, self.name, error, delivery.request_id)
        return Outcome("dead", error.status, problem_details(delivery.request_id, error), error)

    def _pause(self, delivery: Delivery, reason: str, wait_s: float, away: frozenset[str] = frozenset()) -> None:
        """Hold the message and receive no others: until one of the providers in `away` is back, or for wait_s if there are
        none. Raises Stopping if the runner stops first. The queue goes on after _resume()."""
        self.paused.add(delivery)
        self.status.set(self.name, f"paused: {reason}")
        while not self.stopping.wait(self.policy.probe_s if away else wait_s):
            if not away or away - self.health.away(time.monotonic() - self.policy.probe_s / 2):
                return
        raise Stopping

    def _resume(self, delivery: Delivery) -> None:
        if delivery in self.paused:
            self.paused.discard(delivery)
            if not self.paused and not self.stopping.is_set():
                self.status.set(self.name, "ok")

    # -- settle

    def _settle(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """Either have it come again later; or reply, copy it to the dead-letter queue if it failed, and have it deleted."""
        if isinstance(outcome.error, Busy):  # which uses up no attempt
            return outcome._replace(word="retry", delay_s=math.ceil(outcome.error.over_in_s))
        if outcome.may_pass and delivery.attempt < self.sqs.attempts:
            self.failures[delivery.message.id] = delivery.attempt
            return outcome._replace(word="retry", delay_s=self.policy.backoff(delivery.attempt, delivery.left_s))
        delivery.guard()
        if replies := self.replies.get(delivery.inner.text("reply_to")):
            try:
                self._send(delivery, lambda: self._reply(replies, delivery, outcome))
            except Refused as refused:  # what is done stays done, and its sender must hear of it in another way
                if not outcome.error:
                    reason = f"it was done, and its answer could not be sent: {refused.message}"
                    outcome = self._failed(delivery, ReplyFailed(reason))
        if error := outcome.error:
            delivery.payload = ""  # it stays for whoever looks at the dead letter
            self._send(delivery, lambda: self.queue.send_to_dlq(delivery.message, error, delivery.attempt))
        self.failures.pop(delivery.message.id, None)
        self.deletes.put(delivery)
        return outcome

    def _send(self, delivery: Delivery, send: Callable[[], None]) -> None:
        """Send an answer or a dead letter. While its queue is away, missing or denied the message is held, and this is tried
        again. Raises Refused if it will never be taken, and LeaseLost if the message is no longer ours."""
        while True:
            delivery.guard()
            try:
                send()
                return
            except (Unavailable, PayloadUnavailable, NotFound, Forbidden, ConfigError) as error:
                self._pause(delivery, error.message, self.policy.probe_s)

    def _reply(self, replies: Queue, delivery: Delivery, outcome: Outcome) -> None:
        """Send the answer or problem; if the answer is too large, a problem that says so."""
        correlation_id, key = delivery.inner.text("correlation_id"), delivery.message.id
        attributes = {"correlation_id": Attribute(correlation_id)} if correlation_id else {}

        def send(status: int, body: str) -> None:
            given = attributes | {"status": Attribute(str(status), "Number")}
            replies.send(body, given, correlation_id, key, f"replies/{key}")

        body = dump_json(outcome.body)
        try:
            send(outcome.status, body)
        except TooLarge:
            size = len(body.encode(errors="replace"))
            error = TooLarge(f"the answer has {size:,} bytes, too many for a message: [sqs] reply_bucket")
            send(error.status, dump_json(problem_details(delivery.request_id, error)))

    # -- finish

    def _finish(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """On a FIFO queue, wait until it is deleted before the next of its group starts. One that is to come again is given
        back, after those behind it in its group."""
        if delivery.is_done and self.queue.fifo:
            delivery.settled.wait()
            if not delivery.deleted:
                outcome = outcome._replace(word="undeleted", delay_s=0)
        if outcome.delay_s is not None:
            self._give_back(self.scheduler.tail(delivery))
            self.leases.release([delivery], outcome.delay_s)
        return outcome

    def _deleted(self, delivery: Delivery) -> None:
        """After the delete: its lease is extended no more, and its body is removed from where load() found it."""
        self.leases.drop(delivery)
        self._count("deleted" if delivery.deleted else "undeleted")
        if not delivery.deleted:
            LOG.error("message %s could not be deleted from %s; it will come again", delivery.message.id, self.name)
        elif delivery.payload:
            try:
                self.queue.discard(delivery.payload)
            except AppError as error:
                LOG.error("message %s: %s", delivery.message.id, error.message)

    def _line(self, delivery: Delivery, outcome: Outcome, took_s: float) -> str:
        """What the log says of the message."""
        error = outcome.error
        facts = {
            "at": rfc3339(time.time()), "queue": self.name, "message_id": delivery.message.id,
            "request_id": delivery.request_id, "subject": delivery.subject, "what": delivery.what,
            "outcome": outcome.word, "status": outcome.status, "code": error.code if error else "",
            "attempt": delivery.attempt, "took_ms": round(took_s * 1000, 1),
        }  # fmt: skip
        if error and (error.status >= 500 or isinstance(error, Refused | NotPermitted)):
            facts["detail"] = error.with_hint
        return dump_json(facts)


class SqsRunner(Runner):
    """Queues: the same requests as by HTTP, each done once though messages may come again and again."""

    kind = "sqs"
    plugins = ("sqs", "envelopes", "deliveries", "queue_states", "refusals")  # which it asks for in its own process

    def __init__(
        self,
        config: SqsConfig,
        host: Host,
        connect: Callable[[SqsConfig, int], AbstractContextManager[Callable[[str], Queue]]],
        states: Path,
        on_ready: Callable[[str], None],
        *,
        alone: bool = True,
        policy: RetryPolicy = DEFAULT_RETRIES,
    ) -> None:
        """`connect` gives what makes a queue of its URL, over so many connections. `states` is the file for /readyz;
        on_ready gets a line for people once the polls begin.

        Unless `alone`, a parent supervises it: it ends when the parent is gone. SIGTERM may come twice, from the parent and
        from whoever stops the whole group, so only SIGQUIT hurries it.
        """
        self.config, self.host, self.connect, self.on_ready = config, host, connect, on_ready
        self.alone, self.policy, self.is_to_renew = alone, policy, False  # SIGHUP has come, which a parent sees to
        self.status: Any = plugin("queue_states").StatusFile(states)
        self.health: Any = plugin("queue_states").HealthCache(host.ready)
        self.failures: dict[str, int] = plugin("deliveries").Failures()
        self.consumers: dict[Queue, Consumer] = {}
        self.leases: Any = plugin("deliveries").Leases(
            config.visibility_s, on_trouble=lambda queue, error: self.consumers[queue].report(error)
        )
        self.stops = 0  # how often it was asked to stop

    def stop(self) -> None:
        """Drain; a second time, hurry."""
        self.stops += 1

    def run(self) -> None:
        parent = None if self.alone else os.getppid()
        if threading.current_thread() is threading.main_thread():
            for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(sign) != signal.SIG_IGN:
                    signal.signal(sign, self._on_signal)
            if not self.alone:  # the parent's own word, though a script that starts it in the background ignores it
                signal.signal(signal.SIGQUIT, self._on_signal)
        self.host.open()
        try:
            connections = len(self.config.queues) * (self.config.threads + 2) + 2
            with self.connect(self.config, connections) as queue_at:
                self._serve(queue_at, parent)
        finally:
            self.status.clear()
            self.host.close()

    def _on_signal(self, sign: int, _frame: object) -> None:
        self.is_to_renew = sign == signal.SIGHUP and (self.is_to_renew or not self.stops)
        if (self.alone and sign != signal.SIGHUP) or not self.stops:
            self.stop()
        elif sign == signal.SIGQUIT:
            self.stops = 2

    def _serve(self, queue_at: Callable[[str], Queue], parent: int | None) -> None:
        replies = {name: queue_at(url) for name, url in self.config.replies.items()}
        for config in self.config.queues:
            queue = queue_at(config.url)
            self.consumers[queue] = Consumer(config, queue, replies, self)
        self.leases.start()
        for consumer in self.consumers.values():
            consumer.start()
        self.on_ready(how_many(len(self.consumers), "queue"))
        while not self.stops and parent in (None, os.getppid()):  # a parent that was killed asks nobody to stop
            time.sleep(0.05)
        self._drain(list(self.consumers.values()))
        self.leases.end()

    def _drain(self, consumers: Sequence[Consumer]) -> None:
        """Let what runs come to its end, give everything else back, and flush the deletes."""
        until = time.monotonic() + self.config.drain_timeout_s
        for consumer in consumers:
            consumer.stop()
        while any(consumer.busy() for consumer in consumers) and time.monotonic() < until and self.stops < 2:
            time.sleep(0.02)
        for consumer in consumers:
            consumer.abandon()
        for consumer in consumers:
            consumer.deletes.end()
        until = time.monotonic() + 5
        for consumer in consumers:
            consumer.deletes.join(max(0.0, until - time.monotonic()))


# ---- several runners under one parent


_HUNG_S = 60.0  # without a sign of life, after which a worker is killed
_END_S = 30.0  # for a worker to end: its own bound and a little
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0  # before a part is started again: twice as long each time
_LAST_TRY_S = 2.0  # the delay before the last try to start anything at all


class Generation(NamedTuple):
    """What a Supervisor runs, of one reading of app.toml."""

    parts: Mapping[str, Callable[[], Any]]  # by name, in the order in which they are told to stop
    on_death: Callable[[str], None]  # gets the name of a part that died
    http: HttpRunner | None = None  # what the parts named "http 1" and so on run; it listens


class _Child(NamedTuple):
    """A process that the supervisor has forked; a worker of HTTP has a seat."""

    name: str
    pid: int
    began: float
    seat: int | None


class Supervisor(Runner):
    """Runs each part in a child of its own and starts again what dies. It opens nothing, and holds the listening socket of
    the workers of HTTP. After SIGHUP a Renewal starts new ones beside them, which take over when they answer."""

    kind = "supervisor"

    def __init__(
        self,
        parts: Mapping[str, Callable[[], Any]],
        on_death: Callable[[str], None],
        http: HttpRunner | None = None,
        renewal: Any = None,
    ) -> None:
        """The first Generation; a Renewal of plugins/reload.py makes the next ones."""
        self.now, self.renewal = Generation(parts, on_death, http), renewal
        self.children: dict[str, _Child] = {}  # by name
        self.leaving: dict[int, tuple[_Child, float]] = {}  # by process id: replaced ones, and when they are killed
        self.again = dict.fromkeys(parts, 0.0)  # name -> when to start it
        self.delays_s: dict[str, float] = {}  # of those that have ended before
        self.stops = 0
        self.is_first, self.is_up, self.has_served = True, False, False  # nothing replaced; all begun; something ever worked
        self.looked_at = self.awake_at = 0.0  # when it last looked at its workers, and when they could run again
        self.failed = 0  # the exit code of a part that could not even begin
        self.last_words = SharedText()  # why a part ended

    def stop(self) -> None:
        self.stops += 1

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C. Raises Unavailable, or AppError for a bug, if a part cannot begin."""
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: self.stop())
        signal.signal(signal.SIGHUP, lambda *_: self.renewal and self.renewal.ask())
        while not self.stops and not self.failed:
            self._reap()
            self._start_due()
            if not self.is_up:
                self._see_whether_up()
            elif self.renewal:
                self.renewal.go_on(self)
            self._watch_workers()
            time.sleep(0.05 if self.is_up else 0.005)
        if self.renewal:
            self.renewal.end(self)
        self._end()
        if self.failed:
            raise (Unavailable if self.failed > 1 else AppError)("a runner could not start; its reason stands above")

    def _see_whether_up(self) -> None:
        """Tell the address once each worker answers, or has failed while another one answers."""
        http = self.now.http
        if http:
            beats = [http.seats.beaten_at(seat) for seat in range(http.workers)]
            if not any(beats) or not all(beat or f"http {seat}" in self.delays_s for seat, beat in enumerate(beats, 1)):
                return
            http.on_ready(http.address)
        self.is_up = True

    def _start_due(self) -> None:
        going = {child.name for child, _ in self.leaving.values() if child.seat is None}  # states of queues have one writer
        for name in [name for name, at in self.again.items() if time.monotonic() >= at and name not in going]:
            del self.again[name]
            self.children[name] = self.start(self.now, name)

    def start(self, generation: Generation, name: str) -> _Child:
        """Fork it. Signals wait until the child has its own handlers, so that none is taken for the parent's."""
        kind, _, number = name.partition(" ")
        seat = int(number) - 1 if generation.http and kind == HttpRunner.kind else None
        if generation.http and seat is not None:
            generation.http.seats.own = seat
            generation.http.seats.leave(seat)
        signs, parent = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}, os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, signs)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for sign in (signal.SIGINT, signal.SIGHUP):  # of a terminal, which tells the parent too
                signal.signal(sign, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signs)
            plugin("listeners").end_with_parent()
            if os.getppid() != parent:
                os._exit(0)
            os._exit(_exit_code(generation.parts[name], self.last_words))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signs)
        return _Child(name, pid, time.monotonic(), seat)

    def _reap(self) -> None:
        """See who has died."""
        for pid, (child, _) in list(self.leaving.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self.leaving[pid]
                if child.seat is None:
                    self.now.on_death(child.name)
        for name, child in list(self.children.items()):
            ended, status = os.waitpid(child.pid, os.WNOHANG)
            if ended:
                del self.children[name]
                self.now.on_death(name)
                if not self.stops:
                    self._judge(child, os.waitstatus_to_exitcode(status))

    def _judge(self, child: _Child, code: int) -> None:
        """Start it again, later each time unless it had lived for a while; or give up if nothing has ever worked."""
        name, lived_s = child.name, time.monotonic() - child.began
        self.has_served = self.has_served or lived_s > 10 or any(map(self._beaten_at, (child, *self.children.values())))
        delay_s = _FIRST_DELAY_S if lived_s > 60 else self.delays_s.get(name, _FIRST_DELAY_S)
        words = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        is_hopeless = code > 1 and lived_s < 10 and name not in self.delays_s and self.is_first
        if is_hopeless or (not self.has_served and delay_s > _LAST_TRY_S):
            self.failed = max(code, 1)
            LOG.error("the %s runner cannot start (%s)%s", name, words, self.words())
            return
        LOG.error("the %s runner ended (%s)%s; it starts again in %g s", name, words, self.words(), delay_s)
        self.again[name] = time.monotonic() + delay_s
        self.delays_s[name] = min(_LONGEST_DELAY_S, delay_s * 2)

    def words(self) -> str:
        """Why the last one that failed did, behind ": "; "" if it did not say."""
        said = self.last_words.get()
        self.last_words.set("")
        return f": {said}" if said else ""

    def take_over(self, generation: Generation, children: Mapping[str, _Child]) -> None:
        """Put another generation, whose workers of HTTP answer, in the place of this one."""
        for child in self.children.values():
            is_serving = child.seat is not None and self._beaten_at(child)
            self.leaving[child.pid] = child, math.inf if child.seat is None else time.monotonic() + _END_S
            os.kill(child.pid, signal.SIGHUP if is_serving else signal.SIGTERM)
        self.now, self.children, self.delays_s = generation, dict(children), {}
        self.again = {name: 0.0 for name in generation.parts if name not in children}
        self.is_first = False

    def dismiss(self, children: Iterable[_Child]) -> None:
        """Have them end, at once or soon."""
        for child in children:
            self.leaving[child.pid] = child, time.monotonic() + _END_S
            os.kill(child.pid, signal.SIGTERM)

    # -- signs of life, and the end

    def _watch_workers(self) -> None:
        """Kill those that do not go or show no sign of life."""
        now = time.monotonic()
        if now > self.looked_at + 5:  # all stood still, as with Ctrl-Z or in a paused container
            self.awake_at = now
        self.looked_at = now
        for pid, (_, until) in self.leaving.items():
            if now > until:
                os.kill(pid, signal.SIGKILL)
        for child in self.children.values():
            beaten_at = self._beaten_at(child)
            if beaten_at and max(beaten_at, self.awake_at) < now - _HUNG_S:
                LOG.error("the %s runner has shown no sign of life for a minute and is killed", child.name)
                os.kill(child.pid, signal.SIGKILL)

    def _beaten_at(self, child: _Child) -> float:
        return self.now.http.seats.beaten_at(child.seat) if self.now.http and child.seat is not None else 0.0

    def _end(self) -> None:
        """Stop the parts in order, all of a kind at a time and each kind a moment after the one before; hurry when asked
        again."""
        asked = self.stops = max(1, self.stops)
        if self.now.http:
            self.now.http.close()
        self.dismiss([child for child, _ in self.leaving.values()])
        until = time.monotonic() + _END_S
        for _, names in itertools.groupby(self.now.parts, lambda name: name.partition(" ")[0]):
            told, soon = set(names), time.monotonic() + 1
            for name in told:
                self._signal(name, signal.SIGTERM)
            while self.children.keys() & told and time.monotonic() < soon:
                self._reap()
                time.sleep(0.02)
        while self.children or self.leaving:
            if self.stops > asked:
                asked = self.stops
                for child in [*self.children.values(), *(child for child, _ in self.leaving.values())]:
                    os.kill(child.pid, signal.SIGQUIT)
            for child in self.children.values():
                if child.seat is not None and time.monotonic() > until:
                    os.kill(child.pid, signal.SIGKILL)
            self._watch_workers()
            self._reap()
            time.sleep(0.02)

    def _signal(self, name: str, sign: signal.Signals) -> None:
        if name in self.children:
            with suppress(ProcessLookupError):
                os.kill(self.children[name].pid, sign)


def _exit_code(part: Callable[[], Any], last_words: SharedText) -> int:
    """Run a part in its own process; what it raises is told here, for there is nobody above."""
    try:
        part()
        return 0
    except AppError as error:
        LOG.error("error: %s", error.with_hint)
        last_words.set(error.message)
        return error.exit_code
    except SystemExit as end:
        return int(end.code) if isinstance(end.code, int) else bool(end.code)
    except BaseException as error:
        LOG.exception("a runner failed")
        last_words.set(f"{type(error).__name__}: {error}")
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()


# ==== 6. AUTH ====================================================================================================
# Parse grants; sign, verify and revoke tokens; who is asking. Apart from `touch` nothing is committed here: what has to be
# stored is returned as writes, so that the audit entry is committed with it.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines: MAX_TOKEN_BYTES MIN_KEY_BYTES MAX_TOKEN_S PEOPLE PASSWORDS SECRET_FORM secret_digest Token Key dump_keys
#          new_key key_file_errors KeyRing verify_jws encode_jws verify_jwt parse_grant scope_grants line_problem
#          Authority

MAX_TOKEN_BYTES = 8192  # what HTTP servers commonly take as one header line
MIN_KEY_BYTES = 32  # RFC 7518 section 3.2: a key of the hash's size or more
MAX_TOKEN_S = 10 * 366 * 86_400
PEOPLE, PASSWORDS = "_people", "_passwords"  # the tables of plugins/people.py and plugins/passwords.py
_FUTURE_S = 60  # how far another node's clock may be ahead
_SHORT_MAC_BYTES = 24
_MOST_KNOWN = 1000  # callers that an Authority remembers
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")  # binascii takes half of base64's time
SECRET_FORM = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes: a session id or the code of a link


def _b64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def _unb64(text: str) -> bytes:
    """Bytes of canonical base64url (RFC 7515 section 2): no padding, other characters or spare bits. Raises
    ValueError if it is not."""
    data = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4))
    if _b64(data) != text:
        raise ValueError("not canonical base64url")
    return data


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def secret_digest(secret: str) -> str:
    """The key under which a random secret is stored, so that nobody who reads the records can use it."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Token(NamedTuple):
    """The row kept for every issued token. Times are Unix seconds; in revoked_at and used_at 0 means never."""

    jti: str
    subject: str
    label: str = ""
    grants: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    issued_at: int = 0
    expires_at: int = 0
    used_at: int = 0
    revoked_at: int = 0
    suspended: bool = False  # as the person whose it is
    own: bool = False  # made by the subject for himself: it never allows more than that person may do


class Key(NamedTuple):
    """A signing key; created_at in Unix seconds, 0 when the ring does not say."""

    kid: str
    secret: bytes
    created_at: int = 0

    def __repr__(self) -> str:
        return f"Key({self.kid!r})"  # and not the secret

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


def dump_keys(keys: Sequence[Key]) -> str:
    items = [{"kid": key.kid, "k": _b64(key.secret), "created_at": key.created_at} for key in reversed(keys)]
    return dump_json({"keys": items}, indent=2) + "\n"


def new_key(at: int) -> Key:
    return Key(secrets.token_hex(4), secrets.token_bytes(MIN_KEY_BYTES), at)


def _stamp(file: Path | int) -> tuple[int, int, int]:
    """Changes whenever the file is replaced; (0, 0, 0) if it is missing."""
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
def key_file_errors(path: Path, *, was_good: bool = False) -> Iterator[None]:  # `was_good`: it may be so again
    try:
        yield
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        kind: type[AppError] = Unavailable if was_good else ConfigError
        kind = StorageFull if getattr(error, "errno", None) in StorageFull.errors else kind
        hint = getattr(error, "hint", "") or f"{path}: {error}"
        raise kind(getattr(error, "message", "the key file cannot be used"), hint=hint) from error


class KeyRing:
    """The signing keys: the newest signs, all verify. A ring's file is read again when it was replaced, so that a rotation
    reaches running servers."""

    def __init__(self, keys: Sequence[Key] = (), path: Path | None = None) -> None:
        """Fixed keys, newest first, or the path of a ring's file."""
        self.path = path
        self._read: tuple[tuple[int, int, int], tuple[Key, ...]] = (-1, 0, 0), tuple(keys)  # no file's stamp

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(key.kid for key in self._read[1])})"

    @classmethod
    def load(cls, source: str, path: Path, clock: Clock = time.time) -> KeyRing:
        """The ring whose JSON text is `source`; if that is "", of the file at path, made with one fresh key at first use.
        ConfigError says what is wrong with it and never shows it."""
        if source:
            return cls(_parse_keys(source))
        with key_file_errors(path):
            if not path.exists():
                plugin("disk").make_folder(path.parent)
                made = dump_keys([new_key(int(clock()))]).encode()
                # The ring of another process that was first is everybody's.
                plugin("disk").replace_file(path, [made], replace=False)
        ring = cls(path=path)
        _ = ring.keys  # a bad file is found here and not at the first request
        return ring

    @property
    def keys(self) -> tuple[Key, ...]:
        """Newest first."""
        if self.path is not None and self._read[0] != _stamp(self.path):
            with key_file_errors(self.path, was_good=bool(self._read[1])):
                stamp, text = _read_private(self.path)
                self._read = stamp, _parse_keys(text)  # one assignment: no thread sees halves of two rings
        return self._read[1]

    def sub_key(self, purpose: str) -> bytes:
        """32 bytes to sign with for this purpose."""
        return self.keys[0].sub_key(purpose)

    def sub_keys(self, purpose: str) -> list[bytes]:
        """The sub-keys that may have signed for this purpose, newest first."""
        return [key.sub_key(purpose) for key in self.keys]


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
        raise _malformed(f"{how_many(len(parts), 'part')} instead of three")
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
    """The payload of a compact JWS (RFC 7515 section 5.2). Raises Unauthenticated if its HS256 mac is wrong; other header
    parameters are judged by verify_jwt."""
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
    """The kid of a header that has exactly alg, typ and kid: so jwk, jku, x5u, x5c and all others are refused."""
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
    """Raises Unauthenticated if a claim is missing or of another type (RFC 7519 section 4.1, RFC 9068 section 2.2)."""
    for name, value in (("iat", claims.get("iat")), ("exp", claims.get("exp")), ("nbf", claims.get("nbf", 0))):
        if type(value) is not int:
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
    """Raises Unauthenticated if it was issued by or for somebody else (RFC 8725 sections 3.8 and 3.9)."""
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


def verify_jwt(keys: KeyRing, text: str, issuer: str, at: float) -> Value:
    """The claims of a token that a key of the ring signed and that is good at that time, by the checklist of RFC 8725.
    Raises Unauthenticated if it is not. No claim is looked at before the signature was found right."""
    claims = _signed_claims(keys.keys, text, issuer)
    _check_times(claims, at)
    return claims


@lru_cache(maxsize=512)  # signature and claims depend on nothing but these; what is refused is judged each time
def _signed_claims(keys: tuple[Key, ...], text: str, issuer: str) -> Value:
    """The claims of a token, whenever it is good."""
    jws = _split_jws(text)
    kid = _kid(jws.header)
    key = next((key for key in keys if key.kid == kid), None)
    if key is None:
        raise _foreign("kid names no key of the ring")
    claims = _parse_object(_authentic(key.secret, jws), "the payload")
    _check_claims(claims)
    _check_issuer(claims, issuer)
    return claims


def parse_grant(text: str) -> Grant:
    """'forms/leave:create,read', 'files/*:*' or '**:read' as a Grant. Raises BadRequest that says what is wrong with it.
    A segment may be percent-encoded in any way, or not at all, in any Unicode form; a literal star is %2A."""
    address, _, actions = text.rpartition(":")
    pattern = tuple(address.split("/"))
    if not all(pattern):
        raise BadRequest(f"{text!r} is not a grant: write type/name:action[,action], such as forms/leave:create")
    if "**" in pattern[:-1] or any("*" in part and part not in ("*", "**") for part in pattern):
        raise BadRequest(f"{text!r} is not a grant: * stands for one whole segment and ** for the rest, last only")
    names = split_path(address)
    if any(c.isspace() or ord(c) < 32 for c in address) or {".", ".."} & set(names):
        raise BadRequest(f"{text!r} is not a grant: percent-encode spaces and control characters; no . or .. segment")
    pattern = tuple(p if p in ("*", "**") else quote(compose(name), safe="") for p, name in zip(pattern, names, strict=True))
    named = list(Action) if actions == "*" else actions.split(",")
    if unknown := [one for one in named if one not in list(Action)]:
        raise BadRequest(f"{text!r} is not a grant: {unknown[0]!r} is none of {', '.join(Action)} or *")
    return Grant(pattern, frozenset(map(Action, named)))


@lru_cache(maxsize=1024)  # grants depend on nothing but their text
def scope_grants(scope: str) -> tuple[Grant, ...]:
    """The grants of a scope, separated by single spaces. Raises Unauthenticated if one of them is not a grant."""
    try:
        return tuple(parse_grant(text) for text in scope.split(" ")) if scope else ()
    except BadRequest as error:
        raise _malformed(f"scope: {error.message}") from None


def _basic_password(text: str) -> str:
    """The password of Basic credentials (RFC 7617); any user name goes with it."""
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except ValueError:
        raise Unauthenticated("the credential is malformed", hint="Basic: not base64 of user:password") from None


def line_problem(text: str, most: int) -> str:
    """Why a text cannot be a subject or label, in words; "" if it can."""
    if len(text) > most:
        return f"is longer than {most} characters"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        return "contains a control character or a line break"
    return "starts or ends with a space" if text != text.strip() else ""


def _to_token(record: Record) -> Token:
    if record.damage:
        raise Unreadable(f"the row of token {record.key} is damaged: what is stored {record.damage}")
    value = dict(record.value)
    grants, roles = tuple(value.pop("grants")), tuple(value.pop("roles"))
    return Token(jti=record.key, grants=grants, roles=roles, **value)


def _to_value(token: Token) -> Value:
    value = token._asdict()
    del value["jti"]
    for name in ("own", "suspended"):  # which older versions do not know
        if not value[name]:
            del value[name]
    return value | {"grants": list(token.grants), "roles": list(token.roles)}


class _Proof(NamedTuple):
    """What a credential that was found good proves, until a time, if nothing is committed and no key changes."""

    token: Token
    scope: str
    roles: Sequence[str]
    until: float
    session: str = ""  # key of its row
    most: tuple[Grant, ...] | None = None  # what the person may do whose own token it is, …
    held: Sequence[str] | None = None  # … and his roles; None if they do not matter
    era: str = ""  # of the person: sessions of an earlier one have ended


class Authority:
    """Who is asking, and the life of tokens; that of sessions is in plugins/office.py. Every answer follows from the token's
    row as it is, so a revocation works on the next request: the row is read anew unless nothing was committed since."""

    def __init__(
        self,
        keys: KeyRing,
        records: Records,
        roles: Mapping[str, tuple[Grant, ...]],
        public: tuple[Grant, ...],
        auth: AuthConfig,
        clock: Clock,
    ) -> None:
        self.keys, self._records, self._roles, self._public = keys, records, roles, public
        self._issuer, self._auth, self._clock = auth.issuer, auth, clock
        self._anybody = Caller(grants=public)
        self._known: tuple[Any, dict[str, tuple[float, _Proof]]] = None, {}  # see _all_known
        self._touched: dict[str, int] = {}  # the minute in which each token and session was last looked at
        self._touch_lock = threading.Lock()

    # -- who is asking

    def identify(self, credential: str, at: float | None = None) -> Caller:
        """The caller behind "Bearer …", "Basic …", "Session …" or "" (the public). Raises Unauthenticated if it is not good.

        It must not have expired `at` that time, such as when a message was sent (None means now). Revocation and roles are
        as they are now. Everybody may do what the public may.
        """
        if not credential:
            return self._anybody
        at = self._clock() if at is None else at
        known = self._all_known()
        since, proof = known.get(credential) or (math.inf, None)
        if proof is None or not since <= at < proof.until:
            proof = self._proof(credential, at)
            known[credential] = at, proof
        return self._caller(proof)

    def _all_known(self) -> dict[str, tuple[float, _Proof]]:
        """What was proved since when, by credential, since the last commit and with this ring of keys. It is taken before a
        row is read, so that what is put into it is no older than it says."""
        mark = self._records.mark()
        if mark is None:
            return {}
        known, moment = self._known, (mark, self.keys.keys)
        if known[0] != moment or len(known[1]) >= _MOST_KNOWN:
            known = self._known = moment, {}
        return known[1]

    def _proof(self, credential: str, at: float) -> _Proof:
        scheme, _, secret = credential.partition(" ")
        match scheme.lower():  # RFC 9110 section 11.1
            case "bearer":
                return self._bearer(secret.strip(" "), at)
            case "basic":
                return self._bearer(_basic_password(secret.strip(" ")), at)
            case "session":
                return self._session(secret, at)
            case "proxy":  # sealed by plugins/proxy_sign_in.py, whatever the name
                subject = self.unseal("proxy", secret) or ""
                if plugin("people").standing(self._records, subject) is None:
                    raise Unauthenticated(f"{subject[:200] or 'whom the proxy names'} is not known here")
                return self._holder({"jti": "", "subject": subject}, at)._replace(session="proxy")
        raise Unauthenticated("the credential is malformed", hint="not Bearer, Basic or Session")

    def service(self, role: str) -> Caller:
        """The program itself in a role of app.toml, with that role's grants alone."""
        return Caller(f"service:{role}", "", (role,), self._roles[role])

    def _bearer(self, text: str, at: float) -> _Proof:
        if text.startswith("stl_"):
            return self._proved(self._living(self._short_jti(text), at))
        claims = verify_jwt(self.keys, text, self._issuer, at)
        token = self._living(claims["jti"], at)
        if token.subject != claims["sub"]:
            raise _foreign("sub is not the subject of the token's row")
        if at + _FUTURE_S < claims["iat"] != token.issued_at:  # its own was issued, whatever the clock says by now
            raise Unauthenticated("the token is not valid yet", hint="iat is in the future: compare the clocks")
        proof = self._proved(token, until=min(claims["exp"], token.expires_at))
        return proof._replace(scope=claims.get("scope", ""), roles=claims.get("roles", ()))

    def _session(self, sessions: str, at: float) -> _Proof:
        """That of the first session that is good; they are separated by spaces."""
        refused = Unauthenticated("the session has ended: sign in again")
        for row in self._session_rows(sessions):
            try:
                if self._session_ends_at(row.value) > at:
                    return self._holder(row.value, at, self._session_ends_at(row.value))._replace(session=row.key)
            except Unauthenticated as error:
                refused = error
        raise refused

    def _session_ends_at(self, row: Value) -> float:
        """It ends after so long without a request, too; a row of an older version does not say when the last one was."""
        return cast(float, min(row["expires_at"], row.get("used_at", math.inf) + self._auth.session_idle_s))

    def _holder(self, row: Value, at: float, until: float = math.inf) -> _Proof:
        """What the row of a session or link proves: by its token, or else by its person as he is now."""
        if row["jti"]:
            token = self._living(row["jti"], at)
            return self._proved(token, until=min(until, token.expires_at))
        if (person := plugin("people").standing(self._records, row["subject"])) is None:
            raise Unauthenticated("this person was removed")
        era = person.value.get("era", "")
        if "created_at" in row and row.get("era", "") != era:  # of a session
            raise Unauthenticated("the session has ended: sign in again")
        roles = (*person.value.get("roles", ()), *person.value.get("groups", ()))
        return _Proof(Token("", person.key), " ".join(person.value.get("grants", ())), roles, until, era=era)

    def _proved(self, token: Token, until: float | None = None) -> _Proof:
        """What a living token proves. Raises Unauthenticated if the person who made it is suspended or gone."""
        most = held = None
        if token.own:
            if (person := plugin("people").standing(self._records, token.subject)) is None:
                raise Unauthenticated("the person who made this token was removed")
            most = (*plugin("people").rights(person.value, self._roles), *self._public)
            if all(str(one) != "**:*" for one in most):  # else he holds every role
                held = (*person.value.get("roles", ()), *person.value.get("groups", ()))
        ends_at = token.expires_at if until is None else until
        return _Proof(token, " ".join(token.grants), token.roles, ends_at, "", most, held)

    def _session_rows(self, sessions: str) -> Iterator[Record]:
        for secret in filter(SECRET_FORM.fullmatch, sessions.split(" ")):
            row = self._records.get("_sessions", secret_digest(secret))
            if row and not row.damage:
                yield row

    def _living(self, jti: str, at: float) -> Token:
        """The token of that row. Raises Unauthenticated if it is missing, damaged, revoked or expired."""
        record = self._records.get("_tokens", jti)
        if record is None or record.damage:
            raise _foreign("no token has this jti" if record is None else "the token's row is damaged")
        token = _to_token(record)
        if token.revoked_at or token.suspended:
            raise Unauthenticated("the token was revoked" if token.revoked_at else "this person is suspended")
        if token.expires_at <= at:
            raise Unauthenticated("the token has expired")
        return token

    def _caller(self, proof: _Proof) -> Caller:
        known = tuple(role for role in proof.roles if role in self._roles)
        grants = scope_grants(proof.scope) + tuple(grant for role in known for grant in self._roles[role]) + self._public
        ceilings = () if proof.most is None else (proof.most,)
        held = tuple(role for role in known if proof.held is None or role in proof.held)
        return Caller(proof.token.subject, proof.token.jti, held, grants, proof.session, ceilings)

    # -- tokens

    def issue(
        self, subject: str, grants: Sequence[str], roles: Sequence[str], expires_s: int, label: str = "", own: bool = False
    ) -> tuple[Token, list[Write]]:
        """A fresh token and what stores it. BadRequest if a text is not a grant, Invalid for all other faults."""
        texts = tuple(dict.fromkeys(str(parse_grant(text)) for text in grants))
        if faults := list(self._issue_faults(subject, texts, roles, expires_s, label)):
            raise Invalid("; ".join(fault.detail for fault in faults), faults=faults)
        now = self._clock()
        token = Token(
            jti=new_id(now), subject=subject, label=label, grants=texts, roles=tuple(dict.fromkeys(roles)),
            issued_at=int(now), expires_at=int(now) + expires_s, own=own,
        )  # fmt: skip
        if len(self.jwt(token)) > MAX_TOKEN_BYTES:
            raise Invalid(f"the token would be longer than {MAX_TOKEN_BYTES:,} bytes: put its grants into a role")
        return token, [Insert("_tokens", token.jti, _to_value(token))]

    def _issue_faults(
        self, subject: str, grants: Sequence[str], roles: Sequence[str], expires_s: int, label: str
    ) -> Iterator[Fault]:
        if problem := line_problem(subject, 255) if subject else "is empty":
            yield Fault("/subject", "subject", f"the subject {problem}")
        if problem := line_problem(label, 255):
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
        claims: Value = {
            "iss": self._issuer, "aud": self._issuer, "sub": token.subject, "iat": token.issued_at, "exp": token.expires_at,
            "jti": token.jti,
        }  # fmt: skip
        if token.grants:
            claims["scope"] = " ".join(token.grants)
        if token.roles:
            claims["roles"] = list(token.roles)
        return encode_jws(self.keys.keys[0], claims)

    def short(self, token: Token) -> str:
        """The token as 58 characters: "stl_" and base64url of its jti and a mac. What it may do is in its row."""
        jti = bytes.fromhex(token.jti)
        return "stl_" + _b64(jti + _hmac(self.keys.sub_key("short token"), jti)[:_SHORT_MAC_BYTES])

    def _short_jti(self, text: str) -> str:
        try:
            data = _unb64(text.removeprefix("stl_")) if len(text) <= 64 else b""
        except ValueError:
            data = b""
        if len(data) != 16 + _SHORT_MAC_BYTES:
            raise _malformed("not a short token")
        jti, mac = data[:16], data[16:]
        for key in self.keys.sub_keys("short token"):
            if hmac.compare_digest(_hmac(key, jti)[:_SHORT_MAC_BYTES], mac):
                return jti.hex()
        raise _foreign("the signature does not match")

    def tokens(self) -> Iterator[Token]:
        """All that can be read, newest first, dead ones too until they are swept."""
        found = self._records.walk(Query("_tokens", order_by=("-id",)))
        return (_to_token(record) for record in found if not record.damage)

    def token(self, jti: str) -> Token:
        """The token of a jti or of at least 8 first characters of it. NotFound if none has it, BadRequest if several do."""
        exact = self._records.get("_tokens", jti) if is_key(jti) else None
        found = [exact] if exact else []
        if not found and len(jti) >= 8 and is_key(jti):
            found = self._records.find(Query("_tokens", where=(Condition("id", "prefix", jti),), limit=2)).items
        if len(found) > 1:
            raise BadRequest(f"several tokens start with {jti!r}: write more of it")
        if not found:
            may_be_secret = len(jti) > 32 or jti.startswith(("stl_", "eyJ"))
            problem = "there is no token with the id given" if may_be_secret else f"no token has the id {jti}"
            raise NotFound(f"{problem}: write its id, as auth list prints it, or at least the first 8 characters of it")
        return _to_token(found[0])

    def revoke(self, token: Token) -> list[Write]:
        """The writes that revoke it and its sessions; none if it is revoked already or gone."""
        record = self._records.get("_tokens", token.jti)
        if record is None or record.value["revoked_at"]:
            return []
        value = record.value | {"revoked_at": int(self._clock())}
        return [Update("_tokens", token.jti, value)]  # at any version: a racing `touch` must not make it fail

    def touch(self, caller: Caller) -> None:
        """Note when the token was last used, to the minute, and the session, to ten: at most one write in that time each,
        and never an error."""
        minute = int(self._clock() // 60)
        for table, key, minutes in (("_tokens", caller.token_id, 1), ("_sessions", caller.session, 10)):
            with self._touch_lock:
                if not key or abs(minute - self._touched.get(key, -minutes)) < minutes:
                    continue
                if len(self._touched) >= _MOST_KNOWN:
                    self._touched.clear()
                self._touched[key] = minute
            with suppress(Conflict, Unavailable, NotPermitted, StorageFull):  # another node wrote it, or the next will
                record = self._records.get(table, key)
                if record is not None and abs(record.value.get("used_at", 0) - minute * 60) >= minutes * 60:
                    value = record.value | {"used_at": minute * 60}
                    self._records.commit([Update(table, key, value, record.version)])

    # -- sealed texts

    def seal(self, purpose: str, text: str) -> str:
        """The text, readable, with a mac for this purpose, in characters that any header or form carries."""
        data = text.encode()
        return _b64(data) + "." + _b64(_hmac(self.keys.sub_key("seal " + purpose), data))

    def unseal(self, purpose: str, sealed: str) -> str | None:
        """The sealed text, or None if no key of the ring sealed it for this purpose."""
        encoded, _, mac_text = sealed.partition(".")
        try:
            data, mac = _unb64(encoded), _unb64(mac_text)
        except ValueError:
            return None
        keys = self.keys.sub_keys("seal " + purpose)
        return data.decode() if any(hmac.compare_digest(_hmac(key, data), mac) for key in keys) else None


# ==== 7. RESOURCES ===============================================================================================
# Files, Forms, Views, Apps, and the built-in home page. They check what was asked against what is declared, and answer a
# Plan; bytes and records go through the contracts only.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines: MOST_FAULTS MOST_RECORD_BYTES COUNTED COUNT_S same_json Held Upload ListQuery LIST_PARAMS read_list
#          page_bounds no_params text_cursor watched plan_of paged text_page as_stored Files in_units NAME_PLACE leads_to
#          part_of_record Form HELD_IS_GONE upload_chunks View AppPage Home RESOURCE_TYPES

MOST_FAULTS = 100  # of the records of a batch, after which the others are not looked at
MOST_RECORD_BYTES = 1_000_000  # of a record's fields as JSON, their files aside
COUNTED = 10_000  # up to how many rows a page says how many there are …
COUNT_S = 0.25  # … and how long it may take to count them


def same_json(one: Json, other: Json) -> bool:
    """Whether two values are one as JSON writes them: 1 is neither 1.0 nor true."""
    return one is other or (type(one) is type(other) and dump_json(one) == dump_json(other))


class Held:
    """A file chosen for a form's field, staged in a share until the form is sent again by `subject`; None means anybody."""

    def __init__(self, field: str, share: str, subject: str | None, name: str, staged: Staged) -> None:
        self.field, self.share, self.subject, self.name, self.staged = field, share, subject, name, staged


class Upload:
    """A file that came inside a record, readable from its start; the runner closes it. One over its limit has no bytes and
    says how many they were; one that was sent before is `held` instead."""

    def __init__(self, name: str, file: BinaryIO, dropped_bytes: int = 0, held: Held | None = None) -> None:
        self.name, self.file, self.dropped_bytes, self.held = name, file, dropped_bytes, held


# ---- lists: the query parameters that every list has


class ListQuery(NamedTuple):
    """What the parameters of a list ask for; order_by () when they do not say."""

    where: tuple[Condition, ...]
    order_by: tuple[str, ...]
    size: int
    after: str
    search: str
    wants_count: bool


_MOST_VALUES = 100  # of a facet: the most frequent ones
LIST_PARAMS = ("_sort", "_size", "_next", "_q", "_count", "_for", "_columns", "_prev")


def read_list(params: Mapping[str, str], columns: Sequence[Column], locale: Any, own: Sequence[str] = ()) -> ListQuery:
    """The list parameters of a request; `own` are read by the caller. BadRequest names those that do not exist."""
    by_name = {column.name: column for column in columns}
    where = []
    for name, text in params.items():
        if name in LIST_PARAMS or name in own:
            continue
        column, _, op = name.partition("__")
        if column not in by_name or (op or "eq") not in OPERATORS or name.endswith("__"):
            raise BadRequest(f"{name} is no parameter here{nearest(name, [*own, *by_name, *LIST_PARAMS])}")
        where += plugin("list_filters").conditions(name, text, by_name[column], locale)
    order_by = tuple(part for part in params.get("_sort", "").split(",") if part)
    for part in order_by:
        if part.removeprefix("-") not in by_name:
            raise BadRequest(f"_sort names {part!r}, which is no column{nearest(part, by_name)}")
    if params.get("_count", "0") not in ("0", "1"):
        raise BadRequest("_count must be 0 or 1")
    _check_for(params)
    search = params.get("_q", "").strip()
    return ListQuery(
        tuple(where), order_by, page_bounds(params), params.get("_next", ""), search, params.get("_count") == "1"
    )


def _check_for(params: Mapping[str, str]) -> None:
    if params.get("_for", "excel") != "excel":
        raise BadRequest(f"_for is {params['_for']!r}: write excel, or leave it out")


def page_bounds(params: Mapping[str, str], *, default: int = 50) -> int:
    """The `_size` of a page. Raises BadRequest if it is not a number from 1 to 1,000."""
    text = params.get("_size", str(default))
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= 1000:
        raise BadRequest(f"_size is {text!r}: a number from 1 to 1,000")
    return int(text)


def no_params(request: Request, own: Sequence[str] = ()) -> None:
    for name in request.params:
        if name not in own:
            raise BadRequest(f"{name} is no parameter here{nearest(name, own)}")


def text_cursor(cursor: str) -> str:
    """The text that a cursor holds; "" if there is no cursor."""
    text = decode_cursor(cursor, 1)[0] if cursor else ""
    if not isinstance(text, str) or check_text(text):
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    return text


_damage_logged: set[tuple[str, str]] = set()  # places and columns, of this process


def _log_damage(place: str, row: Value, name: str, reason: str) -> None:
    """Once for each column."""
    which = f" (id {row['id']})" if "id" in row and name != "id" else ""
    what = "every column" if which and row[name] == LOST else f"column {name}"
    if (place, what) not in _damage_logged:
        _damage_logged.add((place, what))
        words = "%s: %s holds what %s%s: it is served with U+FFFD for what is lost"
        LOG.warning(words, place, what, reason, which)


def watched(place: str, rows: Iterable[Value]) -> Iterator[Value]:
    """The same rows, with what is damaged in them logged."""
    for row in rows:
        for name, reason in damage_in(row):
            _log_damage(place, row, name, reason)
        yield row


def plan_of(response: Response) -> Plan:
    """A plan that answers and changes nothing."""
    return Plan(respond=lambda blobs: response)


def paged(
    columns: tuple[Column, ...],
    found: Iterable[Value],
    following: str | None,
    *,
    place: str = "",
    before: int | None = None,
    count: int | None = None,
    size: Callable[[], int | None] = lambda: None,
) -> Table:
    """A page of a list; damage in it is logged under `place`. `before` is how many rows came before it, None if that is not
    known: with those of the last page it is their number in all. Otherwise `size` counts them, when it is asked to."""
    rows = list(found)
    is_whole = WHOLE_TYPES.issuperset({type(value) for row in rows for value in row.values()})
    damaged = [] if is_whole else [(number, *what) for number, row in enumerate(rows) for what in damage_in(row)]
    for number, name, reason in damaged if place else ():
        _log_damage(place, rows[number], name, reason)
    if before is not None and not following and (rows or not before):
        size = partial(int, before + len(rows))
    return Table(columns, rows, following, count, size=size, damaged=damaged)


def text_page(columns: tuple[Column, ...], texts: Iterable[str], following: str | None, **facts: Any) -> Table:
    """A page of a list whose rows are known as JSON. `facts` are a Table's."""
    table = Table(columns, (), following, **facts)
    table.text = ",".join(texts)
    return table


# ---- files


def as_stored(blobs: Blobs, path: str) -> str:
    """A path in the Unicode form in which it is stored: exactly as given if that exists, otherwise in NFC or NFD, part by
    part, and NFC if there is none. So "é" has one file, whichever form a client sends (macOS: NFD), and twins that another
    program made are reached by their exact names. File systems that ignore case or form find a file by any of them."""
    if path.isascii() or _is_there(blobs, path):
        return path
    for whole in (compose(path), unicodedata.normalize("NFD", path)):
        if whole != path and _is_there(blobs, whole):
            return whole
    found: list[str] = []
    for part in path.split("/"):
        forms = dict.fromkeys((part, compose(part), unicodedata.normalize("NFD", part)))
        places = ["/".join([*found, form]) for form in forms] if len(forms) > 1 and blobs.lists else ()
        found.append(next((one.rpartition("/")[2] for one in places if _is_there(blobs, one)), compose(part)))
    return "/".join(found)


def _is_there(blobs: Blobs, path: str) -> bool:
    if len(path.encode()) > 1024 or max(len(part.encode()) for part in path.split("/")) > 255:
        return False
    return blobs.stat(path) is not None or (blobs.lists and blobs.is_folder(path))


_ENTRY = (
    Column("name"), Column("type"), Column("size_bytes", type="integer"), Column("modified_at", format="date-time"),
    Column("etag"), Column("address"),
)  # fmt: skip


# Plugins that answer what a parameter asks of a folder or a file, by its name. Each has read(share, request, scope, path,
# parts), which returns a Plan: `path` is the place in the provider, `parts` are the names that lead there in the share.
_FILE_PARTS: Mapping[str, str] = {
    "_do": "file_pages", "_zip": "zip", "_view": "file_view", "_trash": "kept_asked", "_versions": "kept_asked",
    "_version": "kept_asked",
}  # fmt: skip


class Files(Resource):
    """A file share: a folder of a provider with Blobs."""

    type = "files"
    site: Any = None  # the App, once it is there
    endpoints = (Endpoint("", (Action.READ, Action.CREATE)), Endpoint("PATH", tuple(Action)))

    def __init__(self, config: FilesConfig, blobs: Blobs, others: Mapping[str, Resource] = MappingProxyType({})) -> None:
        """`others` are all resources by address, among them where files can be moved to; they may be there later."""
        self.config, self.name, self.blobs, self.providers, self.others = config, config.name, blobs, [blobs], others
        self.title = config.title or config.name.capitalize()
        self.root = config.prefix.rstrip("/")
        self.is_guarded = bool(config.quota_bytes or config.trash_s or config.versions)
        if config.quota_bytes and not blobs.lists:
            raise ConfigError(f"files.{self.name}.quota needs a provider that can list: what is there has to be counted")

    @classmethod
    def sufficient(cls, request: Request) -> tuple[Action, ...]:
        """An update overwrites a file or creates it; which of the two is seen later. A caller who may only create sees the
        page of a folder as a drop box, without what is in it. Data says what else is to be done there, such as a move."""
        if request.action == Action.READ and request.page:
            return (Action.READ, Action.CREATE)
        if request.action == Action.CREATE and (request.decode or request.data):
            return (Action.CREATE, Action.READ, Action.UPDATE, Action.DELETE)
        return (Action.UPDATE, Action.CREATE) if request.action == Action.UPDATE else (request.action,)

    def handle(self, request: Request, scope: Scope) -> Plan:
        parts = request.path[:-1] if request.path and request.path[-1] == "" else request.path
        path = self.path_of(parts)
        if request.action == Action.READ:
            return self._read(request, scope, path, parts)
        if request.action == Action.CREATE and request.data is not None:
            return cast(Plan, plugin("file_moves").plan(self, request, scope))
        if request.action == Action.DELETE and "_tree" in request.params:
            return cast(Plan, plugin("file_trees").without_tree(self, request, scope))
        if request.action == Action.DELETE and {"_trash", "_version"} & request.params.keys():
            return cast(Plan, plugin("kept_asked").ended(self, request, scope))
        no_params(request)
        if not parts or request.path[-1] == "":
            raise BadRequest("this needs the name of a file, not of a folder")
        if request.action == Action.DELETE:
            return self._delete(request, scope, path)
        return self._write(request, scope, path)

    def path_of(self, parts: Sequence[str]) -> str:
        """place() of decoded segments. Raises BadRequest for what none may have; but what is there already is served."""
        try:
            return self.place(check_path(parts))
        except BadRequest as error:
            return cast(str, plugin("file_names").path_that_is_there(self, parts, error))

    def place(self, inner: str) -> str:
        """Where a path of the share is in the provider: as it is stored there. NotFound for what no share shows."""
        if not self.root and plugin("file_names").is_kept(inner):
            raise NotFound(f"files/{self.name} has no {inner}")
        return as_stored(self.blobs, "/".join(part for part in (self.root, inner) if part))

    def _read(self, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
        if not scope.caller.may(Action.READ, request.address):
            return self._drop_box(request, scope, path, parts)
        if asked := next((name for name in _FILE_PARTS if name in request.params), ""):
            return cast(Plan, plugin(_FILE_PARTS[asked]).read(self, request, scope, path, parts))
        blob = self.blobs.stat(path) if parts else None
        if blob and request.path[-1] != "":
            no_params(request)
            return plan_of(Response(content=Content(blob, parts[-1], partial(self.reader, blob)), etag=blob.etag))
        if parts and not self.is_folder(path) and (self.blobs.lists or request.path[-1] != ""):
            raise NotFound(f"files/{self.name} has no {'/'.join(parts)}")
        return self._list(request, scope, path, parts)

    def _drop_box(self, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
        """The page to upload into a folder for somebody who may not see what is in it. Raises Forbidden for a file."""
        no_params(request)
        if parts and request.path[-1] != "" and not self.is_folder(path):
            scope.caller.require(Action.READ, request.address)
        return plan_of(Response(template="files.tpl", page=self._page(request, scope, parts)))

    def _page(self, request: Request, scope: Scope, parts: Sequence[str]) -> dict[str, Any]:
        may = [action for action in Action if scope.caller.may(action, f"{request.address.rstrip('/')}/x")]
        page = {"title": self.title, "note": self.config.note, "parts": tuple(parts), "accept": self.config.accept}
        return page | {
            "may": may, "most_bytes": self.config.max_file_bytes, "lists": self.blobs.lists,
            "makes_folders": self.blobs.makes_folders,
        }  # fmt: skip

    def is_folder(self, path: str) -> bool:
        """Whether a folder is known to be there: a provider that cannot list shows files alone."""
        return self.blobs.lists and self.blobs.is_folder(path)

    def reader(self, blob: Blob, start: int = 0, length: int | None = None) -> Reader:
        with plugin("share_words").told_by(self):
            return self.blobs.read(blob.path, start, length, if_match=blob.etag)

    def _list(self, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
        """The entries of a folder, or with `_q` what fits below it: a page of them, or all."""
        no_params(request, ("_size", "_next", "_for", "_q", "_sort", *(("_prev",) if request.page else ())))
        _check_for(request.params)
        table = cast(Table, plugin("file_lists").table(self, request, path, _ENTRY))
        table.facts |= plugin("quota").facts(self)
        page = self._page(request, scope, parts) | {"search": request.params.get("_q", "").strip()}
        return plan_of(Response(table=table, template="files.tpl", page=page))

    def entry(self, item: Entry) -> Value:
        """A row of a listing; size, time and etag are None unless it is a file."""
        inner = "/".join(item.path.split("/")[self.root.count("/") + 1 if self.root else 0 :])
        facts: tuple[Json, ...] = ("unreadable" if isinstance(item, Unseen) else "folder", None, None, None)
        if isinstance(item, Blob):
            facts = ("file", item.size_bytes, rfc3339(item.modified_at), item.etag)
        values = (inner.rpartition("/")[2], *facts, f"files/{self.name}/{quote(inner)}")
        return {column.name: value for column, value in zip(_ENTRY, values, strict=True)}

    def _delete(self, request: Request, scope: Scope, path: str) -> Plan:
        blob = self.blobs.stat(path)
        if blob is None and self.is_folder(path):
            raise Conflict("this is a folder: with _tree=1 it is deleted with all that is in it")
        if blob is None and not scope.again:
            raise NotFound(f"{request.address} does not exist")
        wanted = _wanted_etag(request.conditions, blob.etag, blob.modified_at) if blob else ""  # which none has: it is gone
        steps: list[BlobStep] = [Remove(self.blobs, path, wanted, or_gone=scope.again)]
        if self.config.trash_s and blob:
            steps = plugin("kept_files").deleted(self, blob, wanted, scope)
        return Plan(respond=lambda blobs: Response(), steps=steps)

    def _write(self, request: Request, scope: Scope, path: str) -> Plan:
        blob, is_create = self.blobs.stat(path), request.action == Action.CREATE
        must_be_new = is_create or "*" in request.conditions.if_none_match
        must_be_new = must_be_new or not scope.caller.may(Action.UPDATE, request.address)
        if must_be_new and blob and scope.again:
            return self._written_before(request, blob)
        if is_create and (blob or plugin("uploads").meets_folder(self, request, path)):
            raise self._taken(request)
        scope.caller.require(Action.UPDATE if blob else Action.CREATE, request.address)
        wanted = _wanted_etag(request.conditions, blob and blob.etag, blob and blob.modified_at)
        if blob and not scope.caller.may(Action.CREATE, request.address):
            wanted = blob.etag  # should it vanish meanwhile, this caller may not make it anew
        self.check_name(request.path[-1])
        staged = request.staged or self.stage(request.body or (), path, request.body_bytes)
        staged = staged if request.modified_at is None else staged._replace(modified_at=request.modified_at)
        step = Publish(self.blobs, staged, path, wanted, must_be_new, waits=request.staged is not None)
        done = Action.UPDATE if blob else Action.CREATE
        steps = plugin("kept_files").replaced(self, blob, step, scope) if blob and self.config.versions else [step]
        return Plan(respond=partial(self._written, staged, blob is None), steps=steps, action=done)

    def _taken(self, request: Request) -> Exists:
        staged = request.staged
        if request.keeps and staged is None:
            self.check_name(request.path[-1])
            staged = self.stage(request.body or (), "", request.body_bytes, name=request.path[-1])
        return Exists(f"{request.address} exists", staged=staged)

    def _written_before(self, request: Request, blob: Blob) -> Plan:
        """The same bytes once more in their own place. Raises Conflict if others are there."""
        staged, digest = self.stage(request.body or (), blob.path, request.body_bytes), hashlib.sha256()
        try:
            with closing(self.reader(blob)) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
            if digest.hexdigest() != staged.sha256:
                raise Conflict(f"{request.address} exists")
        except BaseException:
            self.blobs.discard(staged)
            raise
        step = Publish(self.blobs, staged, blob.path, blob.etag)
        return Plan(respond=partial(self._written, staged, True), steps=[step])

    def _written(self, staged: Staged, created: bool, blobs: Sequence[Blob]) -> Response:
        [blob] = [one for one in blobs if one.path]
        data = self.entry(blob) | {"sha256": staged.sha256}
        return Response(data=data, created=created, location=data["address"], etag=blob.etag)

    def check_name(self, name: str) -> None:
        """Raises UnsupportedMedia if the share does not take such files."""
        if not plugin("media_types").accepts(self.config.accept, name):
            raise UnsupportedMedia(f"{name} is not accepted here: {', '.join(self.config.accept)}")

    def hold(self, name: str, upload: Upload, subject: str | None) -> Held:
        """A chosen file, staged until its sender has signed in. Whether this share takes it shows when it is stored."""
        return Held(name, self.name, subject, upload.name, self.stage(upload_chunks(upload), "", name=upload.name))

    def stage(
        self, chunks: Iterable[bytes], path: str, size_bytes: int | None = None, most: int | None = None, name: str = ""
    ) -> Staged:
        """Staged bytes for a path of the provider, or for one to come that ends in `name`. Raises TooLarge as soon as they
        are over the limit, UnsupportedMedia if they do not fit the name where kinds matter."""
        limit = min(most or self.config.max_file_bytes, self.config.max_file_bytes)
        if (size_bytes or 0) > limit:
            raise TooLarge(f"the file has {in_units(size_bytes or 0)}; at most {in_units(limit)} are taken here")
        chunks = _bounded(chunks, limit)  # first: what is over the limit has no place, however much room there is
        if self.config.accept:
            chunks = plugin("file_kinds").checked(chunks, name or path.rpartition("/")[2])
        if self.config.quota_bytes:
            chunks = plugin("quota").bounded(self, chunks, path, size_bytes)
        return self.blobs.stage(chunks, path)


def _bounded(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > limit:
            raise TooLarge(f"the file is too large: at most {in_units(limit)} are taken here")
        yield chunk


def in_units(size_bytes: int) -> str:
    """'5 MB', '1.2 MB', '1 byte': a size for people."""
    size, units = float(size_bytes), ["byte" if size_bytes == 1 else "bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if size >= 99.95 or units[0][0] == "b" else f"{size:.1f} {units[0]}".replace(".0 ", " ")


def _wanted_etag(conditions: Conditions, present: str | None, modified_at: float | None = None) -> str | None:
    """The etag that a write must still find, None for any. Raises PreconditionFailed if the conditions do not hold."""
    if conditions.if_match:
        if not conditions.name(conditions.if_match, present):
            raise PreconditionFailed("it is no longer what If-Match names: get it again")
        return present
    if conditions.name(conditions.if_none_match, present):
        raise PreconditionFailed("it exists already")
    if conditions.unmodified_since is None:
        return None
    plugin("file_times").check_unmodified(conditions, modified_at)
    return present


# ---- forms


_META = (
    Column("version", "Version", "integer"),
    Column("created_at", "Created", "string", "date-time"),
    Column("created_by", "Created by"),
    Column("updated_at", "Updated", "string", "date-time"),
    Column("updated_by", "Updated by"),
)


def _fields_of(configs: Iterable[FieldConfig], place: str) -> tuple[dict[str, Field], list[Fault]]:
    """The valid fields by name, and the faults of the others."""
    fields: dict[str, Field] = {}
    faults: list[Fault] = []
    for config in configs:
        try:
            made = plugin("lines").Lines if getattr(config, "fields", ()) else plugin("fields").Field
            fields[config.name] = made(config, f"{place}.{config.name}")
        except ConfigError as error:
            faults += error.faults
    return fields, faults


NAME_PLACE = re.compile(r"\{([A-Za-z0-9_]*)\}")  # of a field in the name of a record


def leads_to(address: str, opens: Collection[str], caller: Caller) -> str:
    """Where a link to a resource leads a caller: of a form to its records, where they come first (`opens` has the addresses
    of such forms) or where he may not submit."""
    records = f"{address}/records"
    if not re.fullmatch("forms/[^/]+", address) or not caller.may(Action.READ, records):
        return address
    return records if address in opens or not caller.may(Action.CREATE, address) else address


# Plugins that answer what is at addresses inside a form, by its first segment or, of a record, by the third. Each has
# sufficient(request) and judged_at(request), as a Resource has them, and handle(form, request, scope).
_FORM_PARTS: Mapping[str, str] = {
    "drafts": "form_drafts",
    "import": "form_import",
    "mine": "mine",
    "options": "option_controls",
    "several": "several",
}
_RECORD_PARTS: Mapping[str, str] = {"move": "moves", "history": "history", "comments": "comments"}


def part_of_record(path: Sequence[str]) -> Any:
    """The plugin that answers at this path of a record; None if the form itself does."""
    name = _RECORD_PARTS.get(path[2], "") if len(path) > 2 else ""
    return plugin(name) if name else None


def _part(path: Sequence[str]) -> Any:
    """The plugin that answers at this path inside a form; None if the form itself does."""
    name = _FORM_PARTS.get(path[0], "") if path else ""
    return part_of_record(path) if path[:1] == ("records",) else plugin(name) if name else None


class Form(Resource):
    """A form and the records that it makes."""

    type = "forms"
    state: Records  # keeps what the site has beside its forms; set by Builder
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("", (Action.READ, Action.CREATE), choices=True),
        Endpoint("import", (Action.READ, Action.CREATE)),
        Endpoint("import/ID", (Action.READ, Action.CREATE), choices=True),  # a file that a page has staged
        Endpoint("records", (Action.READ, Action.CREATE)),
        Endpoint("options/FIELD"),  # what can be chosen in it
        Endpoint("several", (Action.READ, Action.UPDATE), posts=Action.UPDATE),  # of its records at once
        Endpoint("drafts", (Action.READ, Action.CREATE)),
        Endpoint("drafts/ID", (Action.READ, Action.UPDATE, Action.DELETE), posts=Action.UPDATE),
        Endpoint("records/ID", (Action.READ, Action.UPDATE, Action.DELETE), patches=True),
        Endpoint("records/ID/move", (Action.UPDATE,), posts=Action.UPDATE),
        Endpoint("records/ID/history", (Action.READ, Action.UPDATE), posts=Action.UPDATE),
        Endpoint("records/ID/comments", (Action.READ, Action.CREATE)),
        Endpoint("records/ID/FIELD"),  # of a field that takes a file
        Endpoint("records/ID/FIELD/N"),  # or several
    )
    endpoints += (  # and the same of one's own records
        Endpoint("mine"), *(x._replace(path="mine" + x.path[7:]) for x in endpoints if x.path.startswith("records/ID")),
    )  # fmt: skip

    def __init__(
        self, config: FormConfig, records: Records, shares: Mapping[str, Files], locale: Any,
        sources: Mapping[str, Resource] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """`sources` are all resources by address, from which the choices of its fields come; they may be there later."""
        self.config, self.name, self.locale, self.sources = config, config.name, locale, sources
        self.address, self.records_at = f"forms/{config.name}", f"forms/{config.name}/records"
        self.records = records
        self.table = config.table or config.name.replace("-", "_")
        renamed = any(one.was for one in config.fields)
        self.store: Records = plugin("renames").store_of(config, self.table, records) if renamed else records
        self.title = config.title or config.name.capitalize()
        self.fields, wrong = _fields_of(config.fields, f"forms.{config.name}.fields")
        self.states: Any = plugin("states").States(config, self.fields) if config.states else None
        files = [one for one in self.fields.values() if one.is_file]
        for one in files:
            if one.config.files not in shares:
                detail = f"names {one.config.files!r}, which is no share{nearest(one.config.files, shares)}"
                wrong.append(Fault(f"{one.place}.files", "configuration", detail))
        self.looked_up = frozenset(name for name, one in self.fields.items() if one.looked_up)
        self.columns = (Column("id", "Id"), *(f.column for f in self.fields.values()), *_META)
        wrong += [*plugin("declarations").of_name(self), *plugin("declarations").of_sections(self)]
        wrong += plugin("unique").faults(self) if config.unique else ()
        self.rules: Any = plugin("form_rules").FormRules(self, wrong) if config.has_rules else None
        if wrong:
            raise ConfigError(f"forms.{config.name} is not valid", faults=wrong)
        self.instants = frozenset(column.name for column in self.columns if column.format == "date-time")
        self.shares = {one.name: shares[one.config.files] for one in files}
        self.providers = [records, *(share.blobs for share in self.shares.values())]
        self.files: Any = plugin("form_files").FormFiles(self) if self.shares else None
        self.opens = frozenset([self.address] if config.opens == "records" else [])
        self._known: dict[tuple[str, ...], tuple[Any, Any]] = {}  # _row() and _text() of the columns of each list
        self.taken = {name: one for name, one in self.fields.items() if not one.made}  # what a body may have
        self.asked = [(n, f'"{n}":', f.default, f.config.required, f.text_of) for n, f in self.fields.items()]
        self.fills = any(one.fill for one in self.fields.values())
        self.has_lines = any(one.inner for one in self.fields.values())
        self.nulls = _members(dict.fromkeys(self.fields))
        self.empty = dict.fromkeys((*self.fields, *RESERVED_FIELDS[2:]))
        self._called = config.called or f"{{{next(iter(self.fields))}}}"
        self.called_by = [column for column in self.columns if column.name in NAME_PLACE.findall(self._called)]
        self.is_guarded = bool(config.owner) or any(one.read_by or one.write_by for one in config.fields)
        self.hidden, self.owned_by = frozenset[str](), ""  # fields not to be read; whose records alone are there
        self.whole: Form | None = None  # that of everybody, of which this is what one caller sees
        self.seen: dict[Any, Form] = {}  # those of callers

    @classmethod
    def sufficient(cls, request: Request) -> tuple[Action, ...]:
        """Who may submit may also see the form itself; a record that must not be there yet is made, not changed."""
        if part := _part(request.path):
            return cast(tuple[Action, ...], part.sufficient(request))
        if request.action == Action.READ and not request.path:
            return (Action.READ, Action.CREATE)
        return (Action.CREATE,) if cls._makes(request) else (request.action,)

    @classmethod
    def judged_at(cls, request: Request) -> str:
        """Whoever may read a record may read the files in it."""
        if part := _part(request.path):
            return str(part.judged_at(request))
        return request._replace(path=request.path[:2]).address

    @staticmethod
    def _makes(request: Request) -> bool:
        """Whether a request is to make a record under the id that it names: a PUT with If-None-Match: *."""
        alone = request.conditions.if_none_match == ("*",) and not request.conditions.if_match
        return request.action == Action.UPDATE and request.path[:1] == ("records",) and alone and not request.partial

    def seen_by(self, caller: Caller) -> Form:
        return cast(Form, plugin("row_rules").seen(self, caller)) if self.is_guarded else self

    def seen_again(self, answer: Response) -> Response:
        return cast(Response, plugin("row_rules").shown_again(self, answer)) if self.hidden else answer

    def handle(self, request: Request, scope: Scope) -> Plan:
        part = _part(request.path)
        return cast(Plan, part.handle(self, request, scope)) if part else self.within(request, scope)

    def within(self, request: Request, scope: Scope) -> Plan:
        """handle() of what no plugin answers, whatever the first part of its path is called."""
        if len(request.path) > 2 and (request.path[2] not in self.shares or request.path[2] in self.hidden):
            raise NotFound(f"{self.address} has no {'/'.join(request.path)}")
        match request.path, request.action:
            case (_, _, _, *_), _:
                return cast(Plan, self.files.read(request))
            case (_, key), _:
                return self._one(request, scope, key)
            case _, Action.CREATE:
                return self.create(request, scope)
            case (), _:
                return self._show(request, scope)
        return self._list(request, scope)

    # -- what records are called, and where links lead

    def called(self, record: Record) -> str:
        """What a record is called, in one line of at most 80 characters; the beginning of its id if its fields are empty."""
        flat = self.flat(record)
        columns = self.titled(self.called_by)
        shown = dict.fromkeys(self.hidden, "")
        shown |= {column.name: self.locale.show(column, flat[column.name]).strip() for column in columns}
        text = " ".join(NAME_PLACE.sub(lambda found: shown[found[1]], self._called).split())
        if not all(shown.values()):  # without the marks around an empty one
            text = re.sub(r"\( *\)|\[ *\]", "", text).strip(" ,:;/|·–—")
        if not text or (shown and not any(shown.values())):
            text = record.key[:13]
        return text if len(text) <= 80 else text[:79].rstrip() + "…"

    def describe(self) -> Value:
        states, lookups = list(self.states.names) if self.states else [], sorted(self.looked_up & self.taken.keys())
        return {
            "schema": self.schema(),
            "files": [name for name in self.shares if name not in self.hidden],
            "columns": self.columns,
            "states": states,
            "lookups": lookups,
            "comments": self.config.comments,
        }

    def shown(self, record: Record) -> Value:
        """What a record holds, with its files at the record's own address instead of theirs in the share."""
        return self.open_part(cast(Value, self.files.shown(record)) if self.files else record.value)

    def open_part(self, value: Value) -> Value:
        """What a record holds without the fields that are hidden."""
        return {name: one for name, one in value.items() if name not in self.hidden} if self.hidden else value

    def _readable(self, record: Record) -> Value:
        """The same; if what is stored cannot be read, all of it is damaged."""
        if record.damage:
            return dict.fromkeys((*self.empty, *RESERVED_FIELDS), Damaged(LOST, record.damage))
        return self.shown(record)

    def titled(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        """The same columns, with the labels of what was chosen from elsewhere."""
        return cast(tuple[Column, ...], plugin("options").titled(self, columns)) if self.looked_up else tuple(columns)

    def hold(self, name: str, upload: Upload, subject: str | None) -> Held | None:
        """A chosen file, staged until the form is sent again; None if the field does not take it."""
        return cast(Held | None, self.files.hold(name, upload, subject)) if self.files else None

    def schema(self) -> Value:
        """The form as a JSON Schema."""
        found = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": self.title,
            "type": "object",
            "properties": {name: one.published() | self._one_way(name) for name, one in self.fields.items()},
            "required": [name for name, one in self.fields.items() if one.required],
            "additionalProperties": False,
            **({"x-unique": [list(names) for names in self.config.unique]} if self.config.unique else {}),
        }
        ruled = self.rules or self.config.sections
        return cast(Value, plugin("form_schema").with_rules(self, found)) if ruled else found

    def _one_way(self, name: str) -> Value:
        """What JSON Schema says of a field that is only read, or only written."""
        return {"writeOnly": True} if name in self.hidden else {} if name in self.taken else {"readOnly": True}

    def _page(self, scope: Scope, record: Record | None = None) -> dict[str, Any]:
        columns = [*self.titled([one.column for one in self.fields.values() if one.name not in self.hidden])]
        beside: dict[str, Any] = {"lookups": plugin("option_controls").Lookups(self)} if self.looked_up else {}
        if record:
            value = self.open_part(record.value)
            columns += [Column(name, self.locale.t("form.not_asked", name=name)) for name in self._beside(value)]
            beside |= {"values": value, "called": self.called(record)}
        may = [action for action in Action if scope.caller.may(action, f"{self.records_at}/x")]
        if record and self.owned_by and self.states and not self.states.is_open(record.value):
            may = [action for action in may if action not in (Action.UPDATE, Action.DELETE)]
        return {
            "title": self.title, "note": self.config.note, "form": self, "columns": tuple(columns), "called": "",
            "record": record and record._replace(value=self.shown(record)), "address": self.address,
            "records_at": self.records_at, "leads": leads_to(self.address, self.opens, scope.caller),
            "may": may, "scope": scope, **beside,
        }  # fmt: skip

    def _beside(self, value: Value) -> list[str]:
        """Names of what a record that was made here holds beside its fields."""
        own = "created_by" in value
        return [name for name in value if own and name not in self.fields and name not in RESERVED_FIELDS]

    def _show(self, request: Request, scope: Scope) -> Plan:
        """The form; parameters that are named like fields fill it in, and store nothing."""
        no_params(request, ("_sent", *self.taken))
        sent = request.params.get("_sent", "")
        page = self._page(scope) | {"sent": sent if re.fullmatch(r"[0-9a-f]{32}", sent) else "", "params": request.params}
        page["made"] = plugin("field_defaults").shown(self, scope) if self.fills else {}
        return plan_of(Response(data=self.schema(), template="form.tpl", page=page))

    # -- lists

    def query(self, asked: ListQuery, order_by: Sequence[str], columns: Iterable[Column]) -> Query:
        """A list's parameters as a query of this form's records, searched in the fields among its columns."""
        texts, order = self._texts(columns), asked.order_by or tuple(order_by)
        return Query(self.table, asked.where, order, asked.size, asked.after, asked.search, texts, self.instants)

    def _texts(self, columns: Iterable[Column]) -> tuple[str, ...]:
        """The fields among these columns that are searched."""
        shown = [self.fields[column.name] for column in columns if column.name in self.fields]
        return tuple(one.name for one in shown if one.config.type == "string" and not one.is_file)

    def declared(self) -> list[Query]:
        """What a form's lists ask for by themselves, and its rules."""
        found = [Query(self.table, search_fields=self._texts(self.columns))]
        if self.config.owner:
            found.append(Query(self.table, (Condition(self.config.owner.field, "eq", ""),), ("-id",)))
        if any(isinstance(one, Form) and one.looked_up for one in self.sources.values()):
            found += plugin("options").queries(self)
        return [*found, *(plugin("unique").queries(self) if self.config.unique else ())]

    def _list(self, request: Request, scope: Scope) -> Plan:
        if "_unfit" in request.params:
            return cast(Plan, plugin("unfit").listed(self, request, scope))
        asked = read_list(request.params, self.columns, self.locale)
        table = self.listing(self.query(asked, ("-id",), self.columns), asked, request, self.columns)
        page = self._page(scope) | {"search": asked.search, "key": "id"}
        return plan_of(Response(table=table, template="table.tpl", page=page))

    def listing(self, query: Query, asked: ListQuery, request: Request, columns: tuple[Column, ...]) -> Table:
        """The records of a query as a table: a page, or every row streamed."""
        names, columns = plugin("reading").needed(columns, request.page), self.titled(columns)
        row, text = self._known.setdefault(names, (partial(self._row, names), partial(self._text, names)))
        place, before = self.address, None if query.after else 0
        count = self.store.count(query) if asked.wants_count else None
        if request.whole:
            return Table(columns, watched(place, map(row, self.store.walk(query))), count=count)
        size = partial(self.store.count_up_to, query, COUNTED + 1, COUNT_S)
        if request.encoded:
            texts, following = self.store.find_texts(query, text)
            if all(texts):
                return text_page(columns, texts, following, count=count, size=size)
        if request.page:  # which changes no row
            rows, following = self.store.find_texts(query, row)
        else:
            found = self.store.find(query)
            rows, following = list(map(row, found.items)), found.next
        return paged(columns, rows, following, place=place, before=before, count=count, size=size)

    def _row(self, names: Sequence[str], record: Record) -> Value:
        """Columns of a record in a list."""
        value = self._readable(record)
        row = {name: value.get(name) for name in names}
        if "id" in row:
            row["id"] = record.key
        if "version" in row:
            row["version"] = record.version
        return row

    def _text(self, names: Sequence[str], record: Record) -> str:
        """The same as JSON; "" if something in it is damaged."""
        row = self._row(names, record)
        return "" if damage_in(row) else dump_json(row)

    def flat(self, record: Record) -> Value:
        """A record in JSON: id and version, its fields (None if missing), what it holds beside them, and the rest."""
        value = self._readable(record)
        if value.keys() <= self.empty.keys():
            return {"id": record.key, "version": record.version} | self.empty | value
        names = (*(name for name in self.empty if name not in RESERVED_FIELDS), *self._beside(value))
        flat: Value = {"id": record.key, "version": record.version} | {name: value.get(name) for name in names}
        return flat | {name: value.get(name) for name in RESERVED_FIELDS[2:]}

    # -- one record

    def _one(self, request: Request, scope: Scope, key: str) -> Plan:
        record = self.store.get(self.table, key) if is_key(key) else None
        if record is None and self._makes(request):
            if self.owned_by and cast(Records, self.records).get(self.table, key):
                raise PreconditionFailed("it exists already")  # as it does for whom it is there
            return self.create(request, scope, key)
        if record is None:
            raise NotFound(f"{request.address} does not exist")
        if record.damage and (request.action == Action.READ or request.partial):
            hint = f"table {self.table}; it can be replaced (PUT), deleted, or mended in the database"
            raise Unreadable(f"{request.address} is damaged: what is stored {record.damage}", hint=hint)
        if request.action == Action.READ:
            no_params(request, ("_edit",))
            page = self._page(scope, record) | {"edit": "_edit" in request.params}
            return plan_of(Response(data=self.flat(record), template="record.tpl", page=page, etag=str(record.version)))
        no_params(request)
        _wanted_etag(request.conditions, str(record.version))
        if self.owned_by and self.states:
            self.states.check_open(self, record)
        return self._delete(record) if request.action == Action.DELETE else self.update(request, scope, record)

    def _delete(self, record: Record) -> Plan:
        change = Change(Delete(self.table, record.key, record.version), record.value)
        answer = Response(name=self.called(record))
        cleanup = self.files.removed(record.value, {}) if self.files else ()
        also = plugin("comments").removed(self, record.key) if self.config.comments else ()
        return Plan(respond=lambda blobs: answer, changes=[change], cleanup=cleanup, also=also)

    def answered(self, record: Record, text: str = "") -> Encoded:
        """flat() of a record that is written. `text` is that of its members, those that are None too, if it is known."""
        head = f'{{"id":{dump_json(record.key)},"version":{record.version},'
        if text:
            known: Value = {"id": record.key, "version": record.version}
            return Encoded(known, f"{head}{text}}}", **self.empty | record.value)
        flat, value = self.flat(record), cast(Encoded, record.value)
        is_same = not self.hidden and not self.shares.keys() & value.keys()  # the addresses of files are others
        if len(flat) == len(value) + 2 and is_same:
            return Encoded(flat, head + value.text[1:])
        return Encoded(flat, head + ",".join(islice(_members(flat).values(), 2, None)) + "}")

    def create(self, request: Request, scope: Scope, key: str | None = None) -> Plan:
        """New records, or one under a given key."""
        return _Writing(self, request, scope).create(key)

    def update(self, request: Request, scope: Scope, record: Record) -> Plan:
        """A record with other values."""
        return _Writing(self, request, scope).update(record)


_PAGE_OWN = ("_shown", "_gone", "_asked")  # what a page says beside its fields


class _Writing:
    """The changes of records that a request to a form asks for: checked, stamped and encoded."""

    def __init__(self, form: Form, request: Request, scope: Scope) -> None:
        if form.has_lines and not request.typed:
            request = request._replace(data=plugin("lines").nested(form, request.data))
        self.form, self.request, self.scope = form, request, scope
        # What a new record holds whatever is sent, and what is watched in it; None if the form is the whole one.
        self._settled: Value | None = plugin("row_rules").settled(form, scope) if form.whole else None

    def create(self, key: str | None = None) -> Plan:
        """New records, or one under a given key."""
        request, scope = self.request, self.scope
        no_params(request)
        if key is not None and not is_key(key):
            raise BadRequest("an id has 1 to 512 bytes, and no U+0000")
        batch = isinstance(request.data, list) and key is None
        if batch:
            self._check_batch(request)
        items = request.data if batch else [request.data]
        if not 1 <= len(items) <= 1000:
            raise BadRequest("a batch has 1 to 1,000 records")
        if not batch and not isinstance(request.data, dict):
            raise BadRequest("the body must be a JSON object, or a list of objects")
        if self.form.fills:
            items = plugin("field_defaults").filled(self.form, items, request.typed, scope)
        drafts = self._valid([(f"/{i}" if batch else "", item) for i, item in enumerate(items)], request.typed)
        stamp = {"created_at": rfc3339(scope.now), "created_by": scope.caller.subject}
        stamp |= {"updated_at": stamp["created_at"], "updated_by": scope.caller.subject}
        places = scope.new_ids(len(drafts))  # of files, too: a given key may be anything
        steps = self.form.files.stage(zip(places, (value for value, _ in drafts), strict=True)) if self.form.files else ()
        stamps, changes, answers = ",".join(_members(stamp).values()), [], []
        for place, (value, quick) in zip(places, drafts, strict=True):
            members = quick or _members(value)
            text = ",".join([*members.values(), stamps])
            record = Record(place if key is None else key, 1, Encoded(value, f"{{{text}}}", **stamp))
            changes.append(Change(Insert(self.form.table, record.key, record.value)))
            if len(members) < len(self.form.fields):
                text = ",".join([*(self.form.nulls | members).values(), stamps])
            is_other = self.form.hidden or self.form.shares.keys() & value.keys()
            answers.append(self.form.answered(record, "" if is_other else text))
        if batch:
            data = Encoded({"items": answers}, '{"items":[' + ",".join([one.text for one in answers]) + "]}")
            answer = Response(data=data, created=True)
        else:
            location = f"{self.form.records_at}/{quote(record.key, safe='')}"
            answer = Response(data=answers[0], created=True, location=location, etag="1", name=self.form.called(record))
        also = plugin("form_drafts").sent(self.form, request, scope) if request.idempotency_key and not request.typed else ()
        return Plan(respond=lambda blobs: answer, changes=changes, steps=steps, action=Action.CREATE, also=also)

    def _check_batch(self, request: Request) -> None:
        """Raises Unsupported or TooLarge if the provider cannot do a batch and its audit entries in one commit."""
        records, size = self.form.store, len(request.data)
        if not records.atomic and size > 1:
            raise Unsupported(f"{request.resource} takes one record a request: its provider cannot store several as one")
        keys = 1 if request.idempotency_key else 0
        each = 2 + len(self.form.config.unique)  # writes of a record
        fit = size if records.most_writes is None else (records.most_writes - keys) // each
        if size > fit and records.atomic:
            why = f"its provider does at most {records.most_writes} writes at once, and each record has an audit entry"
            why += " and a row for each rule of unique" if each > 2 else ""
            raise TooLarge(f"{request.resource} takes at most {fit} records a request, and this has {size}: {why}")

    def update(self, record: Record) -> Plan:
        """What changes is checked, and nothing else: a value that was stored under other rules stays as it is."""
        request, scope = self.request, self.scope
        stored = {name: value for name, value in record.value.items() if name not in RESERVED_FIELDS}
        changed = self._changed(request, record, stored)
        if not request.typed and not changed:
            return plan_of(Response(data=self.form.flat(record), etag=str(record.version), name=self.form.called(record)))
        present = {name: one for name, one in (stored | changed).items() if name not in changed or one is not None}
        order = (*(self.form.whole or self.form).fields, *stored)
        value = {name: present[name] for name in order if name in present}
        kept = {name: one for name, one in value.items() if name not in changed}
        if changed and not self._size_faults(kept, "") and (faults := self._size_faults(value, "")):
            raise Invalid(f"the data for {self.form.address} is not valid", faults=faults)
        if lost := [Fault(f"/{name}", "damaged", f"{why}: write it anew") for name, why in damage_in(value)]:
            raise Invalid(f"{request.address} holds what could not be read", faults=lost)
        steps: Sequence[BlobStep] = ()
        if files := {name: value[name] for name in self.form.shares if name in changed and name in value}:
            steps = self.form.files.stage([(scope.new_ids(1)[0], files)])
            value |= files
        stamp = {name: record.value.get(name) for name in ("created_at", "created_by")}
        value |= stamp | {"updated_at": rfc3339(scope.now), "updated_by": scope.caller.subject}
        updated = Record(record.key, record.version + 1, storable(value))
        change = Change(Update(self.form.table, record.key, updated.value, record.version), record.value)
        answer = Response(data=self.form.answered(updated), etag=str(updated.version), name=self.form.called(updated))
        cleanup = self.form.files.removed(record.value, value) if self.form.files else ()
        return Plan(respond=lambda blobs: answer, changes=[change], steps=steps, cleanup=cleanup)

    def _changed(self, request: Request, record: Record, stored: Value) -> Value:
        """The valid new values by field, None where one is taken away. Raises Invalid with every fault of every field."""
        data = request.data
        if not isinstance(data, dict):
            raise BadRequest("the body must be a JSON object")
        seen = self.form.open_part(stored)
        faults = [*self._unknown(data, seen), *self._meta_faults(data, self.form.flat(record))]
        if request.typed:
            stays = self.form.taken if request.partial else self.form.hidden  # what is left out: RFC 7396
            names = [name for name in self.form.taken if name in data or name not in stays]
            same = (seen, self.form.shown(record))  # a file may come back as either has it
            news = [name for name in names if not any(same_json(data.get(name), held.get(name)) for held in same)]
            given = {name: (one, one) for name in news for one in [self._sent(name, data.get(name), *same)]}
        else:
            given = plugin("controls").edits(self.form, data, seen)
        if self._settled is not None:
            faults += plugin("row_rules").of_owner(self.form, {name: value for name, (value, _) in given.items()}, "")
        for name, (value, fresh) in given.items():
            if value is None or fresh is not None:
                faults += self._field_faults(self.form.fields[name], fresh, member_pointer("", name))
        changed: Value = {name: self.form.fields[name].normal(value) for name, (value, _) in given.items()}
        whole = {name: one for name, one in (stored | changed).items() if one is not None}
        if faults := self._ruled(faults, data, "", whole, stored):
            raise Invalid(f"the data for {self.form.address} is not valid", faults=faults)
        if self.form.rules:
            was = stored | changed
            changed |= {name: whole.get(name) for name in was | whole if not same_json(whole.get(name), was.get(name))}
        return changed

    def _sent(self, name: str, given: Json, stored: Value, shown: Value) -> Json:
        """What is sent for a field of a record, where parts of it may come back as they are stored or shown."""
        if self.form.fields[name].is_many:
            return cast(Json, self.form.files.sent(name, given, stored.get(name), shown.get(name)))
        one: Any = self.form.fields[name]
        return cast(Json, one.against(given, stored.get(name))) if one.inner else given

    def _unknown(self, data: Value, stored: Value) -> list[Fault]:
        """A fault for each name that is no field, unless it comes back as it is stored."""
        known = {*self.form.fields, *RESERVED_FIELDS, *([] if self.request.typed else _PAGE_OWN)}
        names = [name for name in data if name not in known and not (name in stored and same_json(data[name], stored[name]))]
        detail = "is not a field of this form"
        return [Fault(member_pointer("", n), "unknown_field", detail + nearest(n, self.form.fields)) for n in names[:20]]

    def _meta_faults(self, data: Value, flat: Value) -> list[Fault]:
        """A fault for each that is set here (id, version, stamps, a state), unless it comes back as it is."""
        made = {name: one.made for name, one in self.form.fields.items() if one.made}
        words = dict.fromkeys(RESERVED_FIELDS, "is set by Satchel; leave it out or as it is") | made
        return [Fault(f"/{name}", "read_only", words[name]) for name in words if name in data and data[name] != flat[name]]

    def _valid(self, items: Sequence[tuple[str, Json]], typed: bool) -> list[tuple[Value, dict[str, str]]]:
        """The valid fields of each (pointer, data) of a new record, in declared order, and their _members(), or {} if they
        are still to be encoded. Raises Invalid with every fault."""
        quick = [found for _, data in items if (found := self._quick(data))] if typed and not self.form.rules else []
        if len(quick) == len(items):
            return quick
        values, faults = list[Value](), list[Fault]()
        for pointer, data in items:
            value: Value = {}
            wrong = self._ruled(list(self._read(data, pointer, typed, value)), data, pointer, value)
            faults += wrong or self._size_faults(value, pointer)
            values.append(value)
            if len(faults) > MOST_FAULTS:
                break
        if faults:
            raise Invalid(f"the data for {self.form.address} is not valid", faults=faults)
        return [(value, {}) for value in values]

    def _ruled(
        self, faults: list[Fault], data: Json, pointer: str, value: Value, stored: Value | None = None
    ) -> list[Fault]:
        """The faults of a record's fields and those that the form's rules find in the whole, which is `value`: there they
        put and take away what is for them to decide. `stored` is None for a new record."""
        if not self.form.rules or not isinstance(data, dict):
            return faults
        whole, typed = self.form.whole or self.form, self.request.typed
        filled = plugin("form_rules").Filled(whole, self.scope, data, typed, value, stored, pointer, faults)
        found = cast(list[Fault], self.form.rules.judge(filled))
        return found if self._settled is None else cast(list[Fault], plugin("row_rules").spared(self.form, found, pointer))

    def _quick(self, data: Json) -> tuple[Value, dict[str, str]] | None:
        """The valid fields of a new record and their _members(), if all of it is as it mostly comes; None if _read has
        to look at it."""
        if type(data) is not dict or not data.keys() <= self.form.taken.keys() or self._settled is not None:
            return None
        value: Value = {}
        members: dict[str, str] = {}
        for name, mark, default, is_required, text_of in self.form.asked:
            given = data.get(name, default)
            if given is not None and (text := text_of(given)):
                value[name] = given
                members[name] = mark + text
            elif given is not None or is_required:
                return None
        return (value, members) if sum(map(len, members.values())) < MOST_RECORD_BYTES // 4 else None

    def _read(self, data: Json, pointer: str, typed: bool, value: Value) -> Iterator[Fault]:
        """Put the valid fields of one new record into `value`; the faults of the others."""
        if not isinstance(data, dict):
            yield Fault(pointer, "type", "must be a JSON object")
            return
        known = self.form.fields.keys() | ([] if typed else _PAGE_OWN)
        for name in islice((name for name in data if name not in known), 20):  # to look for near ones takes time
            detail = f"is not a field of this form{nearest(name, self.form.fields)}"
            yield Fault(member_pointer(pointer, name), "unknown_field", detail)
        for name, one in self.form.fields.items():
            if one.made and name in data:
                yield Fault(member_pointer(pointer, name), "read_only", one.made)
            given = self._given(one, data, typed)
            if one.text_of(given):
                value[name] = given
                continue
            found = self._field_faults(one, given, member_pointer(pointer, name))
            if given is not None and not found:
                value[name] = one.normal(given)
            yield from found
        if self._settled is not None:
            yield from plugin("row_rules").settle(self.form, self._settled, value, pointer)

    def _given(self, one: Field, data: Value, typed: bool) -> Json:
        """What was given for a field of a new record; None when nothing was."""
        if one.made:
            return one.default
        if typed:
            return data.get(one.name, one.default)
        given = data.get(one.name)
        given = given if isinstance(given, list) else []
        if one.is_file:
            uploads = [item for item in given if isinstance(item, Upload) and item.name]
            return (uploads if one.is_many else uploads[-1]) if uploads else None
        if one.inner:
            return cast(Json, cast(Any, one).read(given, self.form.locale))
        return self.form.locale.read(one, [item for item in given if isinstance(item, str)])

    def _size_faults(self, value: Value, pointer: str) -> list[Fault]:
        """A fault if a record is too large as a whole; only long texts can make it so, and the rest is not even encoded."""
        value = {name: one for name, one in value.items() if name not in self.form.shares}
        if _letters(value) < MOST_RECORD_BYTES // 10:
            return []
        size = len(dump_json(value).encode())
        most = f"as a whole; a record has at most {MOST_RECORD_BYTES:,}, files aside: shorten its texts"
        return [Fault(pointer, "record_size", f"has {how_many(size)} {most}")] if size > MOST_RECORD_BYTES else []

    def _field_faults(self, one: Field, given: Json, pointer: str) -> list[Fault]:
        if given is None:
            return one.missing(pointer) if one.required else []
        return one.worded(self.form.files.faults(one, given, pointer)) if one.is_file else one.faults(given, pointer)


def _letters(value: Json) -> int:
    """Of the texts in a value."""
    if isinstance(value, list | dict):
        return sum(map(_letters, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 0


def _members(value: Value) -> dict[str, str]:
    """Those of a JSON object by name, each as JSON."""
    return {name: f"{dump_json(name)}:{dump_json(one)}" for name, one in value.items()}


HELD_IS_GONE = ("gone", "is no longer kept here: choose the file again")


def upload_chunks(given: Json) -> Iterator[bytes]:
    """The bytes of an Upload or of {"base64": …}; ValueError if that is not base64."""
    if isinstance(given, Upload):
        given.file.seek(0)
        yield from iter(partial(given.file.read, 65536), b"")
    else:
        yield base64.b64decode(given["base64"], validate=True)


# ---- views


class View(Resource):
    """A report: chosen columns of a form's records, or (SqlView of plugins/statements.py) the rows of an SQL statement."""

    type = "views"
    endpoints = (Endpoint("", choices=True),)

    def __init__(self, config: ViewConfig, source: Any, locale: Any) -> None:
        """`source` is the Form, or the Queries of an SqlView."""
        self.config, self.name, self.source, self.locale = config, config.name, source, locale
        self.providers = source.providers if isinstance(source, Form) else [source]
        self.title = config.title or config.name.capitalize()
        self.params, wrong = _fields_of(config.params, f"views.{config.name}.params")
        files = [one for one in self.params.values() if one.is_file]
        wrong += [Fault(f"{one.place}.format", "configuration", "a parameter cannot be a file") for one in files]
        if isinstance(source, Form):
            wrong += plugin("declarations").of_columns(self, source)
        if wrong:
            raise ConfigError(f"views.{config.name} is not valid", faults=wrong)
        self.columns = self._form_columns(source) if isinstance(source, Form) else ()

    def _form_columns(self, form: Form) -> tuple[Column, ...]:
        known = {column.name: column for column in form.columns}
        chosen = self.config.columns or {name: {} for name in known if name != "version"}
        return tuple(plugin("reading").dressed(known[name], one) for name, one in chosen.items())

    def seen_by(self, caller: Caller) -> View:
        form = plugin("row_rules").of_view(self, caller) if isinstance(self.source, Form) else self.source
        return self if form is self.source else cast(View, plugin("row_rules").seen_view(self, form))

    def handle(self, request: Request, scope: Scope) -> Plan:
        page = {
            "title": self.title, "note": self.config.note, "fields": tuple(self.params.values()),
            "search": request.params.get("_q", ""), "view": self, "request": request,
        }  # fmt: skip
        try:
            table = self.rows(request)
        except BadRequest as error:
            if not (request.page and error.faults) or error.faults[0].code == "filter":  # which its control says
                raise
            table, page["faults"] = Table((), []), error.faults  # the filter, to be filled in or mended
        plugin("totals").answer(self, request, table)
        return plan_of(Response(table=table, template="table.tpl", page=page))

    def rows(self, request: Request) -> Table:
        """What the request asks for."""
        asked = read_list(request.params, self.columns, self.locale, self.own_params())
        query = self.source.query(asked, self.config.order_by or ("-id",), self.columns)
        query = query._replace(where=(*query.where, *self.config.where))
        table: Table = self.source.listing(query, asked, request, self.columns)
        table.facts = self.facets(request, partial(self.source.store.facet, query))
        return table

    def own_params(self) -> list[str]:
        """The parameters that not every list has."""
        return [*self.params, *(["_facets"] if self.config.facets else []), *plugin("totals").params(self.config)]

    def facets(self, request: Request, count: Callable[[str, int], list[tuple[Json, int]]]) -> Value:
        """Table.facts of a page: of each column in `facets` what count() says of it, if that is asked for."""
        if request.params.get("_facets", "0") not in ("0", "1"):
            raise BadRequest("_facets must be 0 or 1")
        if request.page:  # which counts them itself, if it is soon done
            return {"count": count}
        if request.params.get("_facets") != "1" or request.whole:
            return {}
        counted = {name: count(name, _MOST_VALUES) for name in self.config.facets}
        return {"facets": {name: [{"value": v, "count": n} for v, n in values] for name, values in counted.items()}}

    def declared(self) -> list[Query]:
        """What a view of records asks for by itself."""
        query = Query(self.source.table, self.config.where, self.config.order_by or ("-id",), instants=self.source.instants)
        return [query, *(query._replace(order_by=(name,), limit=0) for name in self.config.facets)]

    def describe(self) -> Value:
        """Schemas of the parameters by name, which must be given, the columns, those to count and to add up, whether it has
        sub-totals and a chart."""
        required = [name for name, one in self.params.items() if one.config.required]
        params = {name: one.schema for name, one in self.params.items()}
        found = {"params": params, "required": required, "facets": list(self.config.facets), "columns": self.columns}
        return {**found, **plugin("totals").described(self.config), "chart": bool(self.config.chart)}


# ---- apps, home, administration


class AppPage(Resource):
    """An app: a page with a menu, a home of its own, a folder of static files, and a WSGI program, which HTTP alone reaches
    (plugins/wsgi_apps.py)."""

    type = "apps"
    endpoints = (
        Endpoint(""), Endpoint("static/PATH"), Endpoint("app"), Endpoint("app/PATH"),
        Endpoint("pages", (Action.READ, Action.CREATE)),
        Endpoint("pages/NAME", (Action.READ, Action.UPDATE), posts=Action.UPDATE),
    )  # fmt: skip

    def __init__(
        self, config: AppConfig, menu: Sequence[Mapping[str, str]], static: Blobs | None, opens: Collection[str] = ()
    ) -> None:
        """`menu` has a title, an icon and either an address or an href in each entry; `opens` is that of leads_to."""
        self.opens, self.config, self.name, self.menu, self.static = opens, config, config.name, tuple(menu), static
        self.title = config.title or config.name.capitalize()

    @classmethod
    def sufficient(cls, request: Request) -> tuple[Action, ...]:
        """Who may write its pages is for the share to say that has them."""
        return (Action.READ,)

    def handle(self, request: Request, scope: Scope) -> Plan:
        if request.path[:1] == ("app",):
            if not self.config.wsgi or request.door != "http":
                raise NotFound(f"apps/{self.name} has no program that is served here")
            return plan_of(Response())
        if request.path[:1] == ("static",):
            return self._file(self.static, check_path(request.path[1:]))
        return cast(Plan, plugin("app_pages" if request.path else "app_home").handle(self, request, scope))

    def _file(self, static: Blobs | None, path: str) -> Plan:
        path = as_stored(static, path) if static else path
        blob = static.stat(path) if static else None
        if static is None or blob is None:
            raise NotFound(f"apps/{self.name}/static has no {path}")
        read = partial(static.read, path, if_match=blob.etag)
        return plan_of(Response(content=Content(blob, path.rpartition("/")[2], read), etag=blob.etag))


class Home(Resource):
    """The page at /, or of one type such as forms: what this caller may open. `entries` have type, address, title, icon and
    note."""

    type, name = "", ""

    def __init__(self, entries: Sequence[Mapping[str, str]], opens: Collection[str] = (), kind: str = "") -> None:
        self.entries, self.opens, self.kind = [one for one in entries if kind in ("", one["type"])], opens, kind
        self.title = {"": "Home", "admin": "Administration"}.get(kind, kind.capitalize())

    def handle(self, request: Request, scope: Scope) -> Plan:
        no_params(request)
        mine = [dict(entry) for entry in self.entries if scope.caller.opens(entry["address"])]
        leads = {one["address"]: leads_to(one["address"], self.opens, scope.caller) for one in mine}
        page = {"leads": leads, "title": self.title if self.kind else ""}
        return plan_of(Response(data={"resources": mine}, template="home.tpl", page=page))


RESOURCE_TYPES: Mapping[str, type[Resource]] = {
    "files": Files,
    "forms": Form,
    "views": View,
    "apps": AppPage,
    "admin": Home,  # as which the lists of plugins/admin.py are asked for
}


# ==== 8. PROVIDERS ===============================================================================================
# What all providers share, and SqlProvider (SQLite): the only section that knows drivers. What all must agree on to the
# letter, the order of values, filters and cursors, is written once as sort_key and CompiledQuery.
# uses: ERRORS VALUES CONFIG CONTRACTS
# defines: STAGED_KEPT_S number_key sort_key value_of_key text_key fold_case has_text value_key key_rule
#          field_key holds_text is_instant list_mark CompiledQuery PAGE_BYTES weigh page_of stored_key stored_version
#          stored_weight whole_texts stored_record listed_record stored_text check_commit check_version next_version
#          check_blob rechunk PendingCommit GroupCommit ProcessLock Pool may_write SQL_SIGNS quote_name
#          has_wal_reset_fault DENIED_ERRORS sqlite_code sqlite_authorize plain_cell need_blob SqliteDatabase
#          SqlProvider ITEM_ERRORS disk_errors

_Result = TypeVar("_Result")
_Row = TypeVar("_Row")

_NINES = str.maketrans("0123456789", "9876543210")
STAGED_KEPT_S = 86_400  # bytes that nobody published or discarded


def number_key(number: int | float | Decimal) -> str:
    """Text that sorts as the numbers do, exactly; a float counts as the decimal of its repr."""
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
    return f"0{10**18 - exponent:019d}{digits.rstrip('0').translate(_NINES)}~"


def sort_key(value: Json) -> str:
    """Text that sorts, by code point, as Query orders field values; its first letter is the type.

    "" is null or missing, then b bools, n numbers, t texts, and z for lists and objects, which compare with nothing;
    i are the date-times of Query.instants (see text_key).
    """
    if isinstance(value, str):
        return "t" + value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "b1" if value else "b0"
    return "n" + number_key(value) if isinstance(value, int | float | Decimal) else "z"


def value_of_key(key: str) -> Json:
    """The value that sort_key makes this of; of numbers that are equal always the same one."""
    if key[:1] in ("", "b"):
        return key == "b1" if key else None
    if key[0] != "n":
        return key[1:]
    if key == "n1":
        return 0
    power, digits = int(key[2:21]) - 10**18, key[21:]
    if key[1] == "0":
        power, digits = -power, "-" + digits.rstrip("~").translate(_NINES)
    number = Decimal(digits).scaleb(power + 1 - len(digits.lstrip("-")))
    return int(number) if number == number.to_integral_value() and abs(number) < 2**63 else exact_number(str(number))


def text_key(text: str) -> str:
    """The sort_key of a text in a field of date-times: its instant, or the text itself if it is not a date-time."""
    moment = plugin("instants").instant_key(text)
    return "i" + moment if moment else "t" + text


def fold_case(text: str) -> str:
    """Text as it is compared when case does not count (Unicode canonical caseless matching, composed)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def has_text(key: str, folded: str) -> bool:
    """Whether a field with the sort_key `key` is a text that contains what fold_case made of a search."""
    return key[:1] == "t" and folded in fold_case(key[1:])


def value_key(value: Json, instant: bool) -> str:
    """The sort_key of a value; `instant`: in a field of date-times."""
    return text_key(value) if instant and isinstance(value, str) else sort_key(value)


def key_rule(condition: Condition, instant: bool = False) -> tuple[str, list[str]]:
    """What a condition asks of its field's sort_key: to be "in" or "out" of keys, or to compare with one key.

    BadRequest on an unknown operator or a value of the wrong shape. `instant`: see value_key.
    """
    op, value = condition.op, condition.value
    if op not in OPERATORS:
        raise BadRequest(f"{op!r} is no operator{nearest(op, OPERATORS)}: {', '.join(OPERATORS)}")
    if op == "in" and not isinstance(value, list | tuple):
        raise BadRequest(f"{condition.field}: in takes a list")
    if op == "null":
        if not isinstance(value, bool):
            raise BadRequest(f"{condition.field}: null takes true or false")
        return "in" if value else "out", [""]
    found = [value_key(one, instant) for one in (value if op == "in" else [value])]
    keys = [key for key in found if key[:1] in ("b", "i", "n", "t")]
    if op in ("eq", "ne", "in"):
        return "out" if op == "ne" else "in", keys
    if op in ("contains", "prefix") and not isinstance(value, str):
        keys = []
    return (op, keys) if keys else ("in", [])


def field_key(record: Record, name: str, instant: bool = False) -> str:
    """The sort_key of a record's field as Query names it; `instant`: see value_key."""
    if name in ("id", "version"):
        return sort_key(record.key if name == "id" else record.version)
    return value_key(record.value.get(name), instant)


def holds_text(record: Record, fields: Iterable[str], folded: str) -> bool:
    """Whether one of the record's fields is a text that contains what fold_case made of a search."""
    return any(has_text(field_key(record, name), folded) for name in fields)


def is_instant(query: Query, condition: Condition) -> bool:
    """Whether a condition compares instants; "contains" and "prefix" look at the text as it was written."""
    return condition.field in query.instants and condition.op not in ("contains", "prefix")


def list_mark(query: Query) -> str:
    """A digest that tells the cursors of this query from those of others."""
    where = [[c.field, c.op, c.value] for c in query.where]
    parts = [query.table, where, list(query.order_by), query.search, list(query.search_fields)]
    if moments := query.instants.intersection(name.removeprefix("-") for name in query.order_by):
        parts.append(sorted(moments))
    return hashlib.sha256(dump_json(parts).encode()).hexdigest()[:12]


class CompiledQuery:
    """A checked Query: `terms` are (field, descending) up to the key ("id"), which breaks ties.

    `tests` are those of a record. `after` is the sort_key of every term of the record that the cursor stands on; [] at the
    beginning.
    """

    __slots__ = ("after", "folded", "query", "terms", "tests")

    def __init__(self, query: Query) -> None:
        """BadRequest on a bad operator and on the cursor of another query."""
        self.query, self.folded = query, fold_case(query.search)
        names = [*query.order_by, "id"]
        names = names[: [name.removeprefix("-") for name in names].index("id") + 1]
        self.terms = [(name.removeprefix("-"), name.startswith("-")) for name in names]
        self.tests = [plugin("record_tests").of(query, c) for c in query.where]
        self.after: list[str] = []
        if query.after:
            mark, *self.after = decode_cursor(query.after, len(self.terms) + 1)
            if mark != list_mark(query) or not all(isinstance(key, str) and not check_text(key) for key in self.after):
                raise BadRequest("_next is a cursor of another list: leave it out when the filter or the order changes")

    def key(self, record: Record, name: str) -> str:
        """The sort_key of a field that the query orders by."""
        return field_key(record, name, name in self.query.instants)

    def page(self, records: Iterable[Record]) -> Page:
        """The page that these records begin; one beyond the limit says that there are more."""
        items, more = page_of(records, self.query.limit)
        return Page(items, self.cursor([self.key(items[-1], name) for name, _ in self.terms]) if items and more else None)

    def cursor(self, last: Sequence[str]) -> str:
        """That of what follows a record with these sort keys."""
        return encode_cursor(list_mark(self.query), *last)

    def selects(self, record: Record) -> bool:
        """Whether the record meets the filter and the search, the cursor aside."""
        if not all(test(record) for test in self.tests):
            return False
        return not self.folded or holds_text(record, self.query.search_fields, self.folded)

    def follows(self, record: Record) -> bool:
        """Whether the record comes after the cursor."""
        for (name, descends), bound in zip(self.terms, self.after, strict=True):
            if (key := self.key(record, name)) != bound:
                return (key < bound) is descends
        return False

    def first(self, records: Iterable[Record]) -> list[Record]:
        """The records of the page and one more, in order, out of records in memory."""
        rows = [r for r in records if self.selects(r) and (not self.after or self.follows(r))]
        wanted = max(self.query.limit, 0) + 1
        if len(self.terms) == 1:  # quicker than to sort them all
            import heapq

            take = heapq.nlargest if self.terms[0][1] else heapq.nsmallest
            return take(wanted, rows, key=lambda r: r.key)
        for name, descends in reversed(self.terms):
            rows.sort(key=lambda r: self.key(r, name), reverse=descends)
        return rows[:wanted]


PAGE_BYTES = 4_000_000  # of the rows of a page, roughly: it ends before the row that would make it larger


def weigh(value: Json | Record) -> int:
    """Roughly the bytes of a value, or of a record's, as JSON."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(weigh, value.values()), 16 * len(value))
    if isinstance(value, Record):
        return weigh(value.value)
    return sum(map(weigh, value), len(value)) if isinstance(value, list | tuple) else 8


def page_of(rows: Iterable[_Row], limit: int, weight: Callable[[_Row], int] = weigh) -> tuple[list[_Row], bool]:
    """The first rows, at most `limit` and PAGE_BYTES (a first row may be larger), and whether there are more. No row is read
    after the first row that is left out."""
    taken: list[_Row] = []
    room = PAGE_BYTES
    for row in rows:
        room -= weight(row)
        if len(taken) >= limit or (taken and room < 0):
            return taken, True
        taken.append(row)
    return taken, False


def stored_key(key: Json) -> str:
    """A record's key as a backend keeps it."""
    return key if isinstance(key, str) else str(plain_cell(key))


def stored_version(version: Json) -> int:
    """A record's version as a backend keeps it; what is not a version counts as 1."""
    return version if isinstance(version, int) and not isinstance(version, bool) and version > 0 else 1


def stored_weight(row: Sequence[Any]) -> int:
    """What weigh() says of a row (key, version, data) before stored_record reads it."""
    return len(row[2]) if isinstance(row[2], str | bytes) else 8


def whole_texts(value: Json, of_damaged: bool = False) -> Json:
    """A JSON value in which texts that no encoding can store are Damaged; with `of_damaged` those that hold U+FFFD, too."""
    if isinstance(value, dict):
        return {str(whole_texts(name)): whole_texts(one, of_damaged) for name, one in value.items()}
    if isinstance(value, list):
        return [whole_texts(one, of_damaged) for one in value]
    if not isinstance(value, str):
        return value
    text = re.sub("[\ud800-\udfff]", "\ufffd", value)
    if text != value:
        return Damaged(text, "has half of a surrogate pair")
    return Damaged(text) if of_damaged and "\ufffd" in text else value


def stored_record(key: Json, version: Json, data: Json) -> Record:
    """The record that a backend keeps so; one that another program damaged is marked, and raises nothing."""
    name, counted = stored_key(key), stored_version(version)
    if not isinstance(data, str):
        return Record(name, counted, {}, "is not text")
    try:
        value = load_json(data)
    except BadRequest:
        return Record(name, counted, {}, "is not JSON")
    if not isinstance(value, dict):
        return Record(name, counted, {}, "is not a JSON object")
    of_damaged = isinstance(data, Damaged)
    return Record(name, counted, whole_texts(value, of_damaged) if of_damaged or "\\u" in data else value)


_known_record = lru_cache(maxsize=4000, typed=True)(stored_record)  # typed: Damaged is another type


def listed_record(key: Json, version: Json, data: Json) -> Record:
    """A stored_record() for a list. Short ones without anything nested are remembered, and their values copied: see
    stored_text()."""
    if not isinstance(data, str) or len(data) > 1000 or "[" in data or "{" in data[1:]:
        return stored_record(key, version, data)
    known = _known_record(key, version, data)
    return Record(known.key, known.version, {**known.value}, known.damage)


@lru_cache(maxsize=4000, typed=True)  # Damaged is another type
def _known_text(text_of: Callable[[Record], Any], key: Json, version: Json, data: Json) -> Any:
    return text_of(stored_record(key, version, data))


def stored_text(text_of: Callable[[Record], _Result], key: Json, version: Json, data: Json) -> _Result:
    """What text_of makes of a stored_record(): its text, or a row. Of short ones it is remembered: the same pages are read
    again and again, and most of what one costs is to parse records and to write them as JSON."""
    short = isinstance(data, str) and len(data) <= 1000
    made: _Result = (_known_text if short else _known_text.__wrapped__)(text_of, key, version, data)
    return made


def check_commit(writes: Sequence[Write]) -> list[str]:
    """The values as JSON, one a write ("null" for a Delete). Raises Invalid if keys or values cannot be stored, naming each
    of them, or if a key stands twice."""
    faults = [Fault("", "key", f"{w.key!r} is not a key: 1 to 512 UTF-8 bytes") for w in writes if not is_key(w.key)]
    values = [None if isinstance(write, Delete) else write.value for write in writes]
    for value in values:
        if type(value) is not Encoded:
            faults += check_value(value)
    if faults:
        raise Invalid("the record cannot be stored", faults=faults)
    places = [(w.table, w.key) for w in writes]
    if len(set(places)) < len(places):
        twice = next(key for key in places if places.count(key) > 1)
        raise Invalid(f"the key {twice[1]!r} stands twice in one commit")
    return list(map(dump_json, values))


def check_version(index: int, write: Write, version: int) -> None:
    """Raises Conflict if the record, at `version` (0 = absent), is not what the write expects."""
    if isinstance(write, Insert) and version:
        raise Conflict(f"{write.table}: there is already a record {write.key}", index=index)
    if not isinstance(write, Insert) and write.version is not None and (write.version != version or not version):
        state = f"is at version {version}" if version else "does not exist"
        raise Conflict(f"{write.table}: record {write.key} {state} and not at version {write.version}", index=index)


def next_version(write: Insert | Update, version: int) -> int:
    """The version of a record after the write, if it was at `version` before (0 = absent)."""
    return write.version if isinstance(write, Insert) else version + 1


def check_blob(path: str, present: Blob | None, if_match: str | None, if_none_match: bool) -> None:
    """Raises PreconditionFailed if what is present at path is not what the caller expects."""
    if if_none_match and present:
        raise PreconditionFailed(f"{path} exists already")
    if if_match is not None and (present is None or present.etag != if_match):
        raise PreconditionFailed(f"{path} was changed meanwhile" if present else f"{path} does not exist")


def rechunk(chunks: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """The same bytes in pieces of exactly size_bytes; the last may be shorter. A chunk of that size goes on as it is."""
    held = bytearray()
    for chunk in chunks:
        at = 0
        while len(held) + len(chunk) - at >= size_bytes:
            if len(chunk) == size_bytes and not held:
                yield chunk
                at = size_bytes
                continue
            end = at + size_bytes - len(held)
            held += memoryview(chunk)[at:end]
            yield bytes(held)
            at, held = end, bytearray()
        held += memoryview(chunk)[at:]
    if held:
        yield bytes(held)


class PendingCommit:
    """Work that waits for its group to be committed; then it has a result or an error."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.leads = False
        self.turn = threading.Lock()  # held until it has one of them, or leads
        self.turn.acquire()


class GroupCommit:
    """Threads submit work; one of them, the leader, runs all that is waiting as one commit while the others wait.

    `run` gets the jobs in order and sets the result or the error of each; what it raises fails all of them.
    """

    def __init__(self, run: Callable[[list[PendingCommit]], None]) -> None:
        self._run = run
        self._mutex = threading.Lock()
        self._waiting: list[PendingCommit] = []
        self._is_led = False

    def submit(self, work: Any) -> Any:
        """The result of the work, once it is durable."""
        job = PendingCommit(work)
        with self._mutex:
            self._waiting.append(job)
            if not self._is_led:
                self._choose_leader()
        try:
            job.turn.acquire()
        except BaseException:
            with self._mutex:
                self._waiting = [other for other in self._waiting if other is not job]
                if job.leads:
                    self._choose_leader()
            raise
        if job.leads:
            self._lead()
        if job.error:
            raise job.error
        return job.result

    def _choose_leader(self) -> None:
        """Whoever waits longest: nobody else is woken for it. The caller holds the mutex."""
        self._is_led = bool(self._waiting)
        for job in self._waiting[:1]:
            job.leads = True
            job.turn.release()

    def _lead(self) -> None:
        with self._mutex:
            jobs, self._waiting = self._waiting, []
        try:
            self._run(jobs)
        except BaseException as error:
            known = error if isinstance(error, AppError) else Unavailable("the commit was broken off; nothing was stored")
            for job in jobs:  # each its own object: a raised exception belongs to one thread
                job.error = copy.copy(known)
                job.error.__cause__ = error.__cause__ or error
            if not isinstance(error, Exception):
                raise
        finally:
            with self._mutex:
                self._choose_leader()
            for job in jobs:
                if not job.leads:
                    job.turn.release()


class ProcessLock:
    """One holder among all threads and processes that name the same file; not re-entrant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.Lock()
        self.descriptor = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits for the lock; OSError if the file cannot be made."""
        with self._threads:
            if self.descriptor < 0:
                self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Forget the file; it is made again when needed."""
        with self._threads:
            if self.descriptor >= 0:
                os.close(self.descriptor)
                self.descriptor = -1


class Pool:
    """Connections, each used by one thread at a time; as many as are asked for, of which at most `keep` stay open when idle.

    The one used last is taken first, if `is_alive` says that it can still be used.
    """

    def __init__(
        self, label: str, connect: Callable[[], Any], *, keep: int, is_alive: Callable[[Any], bool] = lambda _: True
    ) -> None:
        self._label, self._connect, self._keep, self._is_alive = label, connect, keep, is_alive
        self._mutex = threading.Lock()
        self._idle: list[Any] = []
        self.in_use: dict[Any, tuple[float, str]] = {}  # since when (time.monotonic()) and what for, if that is said
        self.is_open = False

    def take(self) -> Any:
        """A connection, until it is given back; Unavailable if the pool is not open."""
        if not self.is_open:
            raise Unavailable(f"{self._label} is not open")
        while (connection := self._popped()) is not None:
            if self._is_alive(connection):
                return connection
            connection.close()
        return self._connect()

    def _popped(self) -> Any:
        with self._mutex:
            return self._idle.pop() if self._idle else None

    def give_back(self, connection: Any, *, reusable: bool = True) -> None:
        """End the use of a connection on which nothing is going on."""
        self.in_use.pop(connection, None)
        with self._mutex:
            kept = reusable and self.is_open and len(self._idle) < self._keep
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()

    def close(self) -> None:
        """Close what is idle, and what is in use when it is given back."""
        self.is_open = False
        while (connection := self._popped()) is not None:
            connection.close()


def may_write(folder: Path) -> bool:
    """Whether this account may write in a folder, or make it if it is missing."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    as_who = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK, **as_who)


SQL_SIGNS = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def quote_name(name: str) -> str:
    """An SQL identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def has_wal_reset_fault(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can corrupt a WAL database when a write and a checkpoint meet (sqlite.org/wal.html)."""
    mended = (version[:2] == (3, 44) and version[2] >= 6) or (version[:2] == (3, 50) and version[2] >= 7)
    return (3, 7, 0) <= version <= (3, 51, 2) and not mended


DENIED_ERRORS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})  # what the system says to an account without the right


def sqlite_code(error: Exception) -> str:
    """The primary result code, such as "BUSY"; "" if SQLite gave none."""
    return str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_").split("_")[0]


# With a rowid: without one 2 KB rows took twice the time to insert and 2.6 times to get; 600 B rows were alike.
_RECORDS_SCHEMA = "create table {} (key text primary key not null, version integer not null, data text not null)"
_WRITER_SETTINGS = """
pragma synchronous = {}; pragma journal_mode = wal; pragma secure_delete = fast; pragma journal_size_limit = 67108864;
pragma temp_store = memory;
"""


def _sqlite_text(data: bytes) -> str:
    """A text from SQLite, which keeps any bytes as text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Damaged(data.decode(errors="replace"))


def sqlite_authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allows what only reads: select, columns, recursion, and functions without outside effects."""
    reads = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
    if action == sqlite3.SQLITE_READ:  # pragmas as tables tell of files, and would be refused only when they are asked
        reads = not str(first).lower().startswith("pragma_")
    if action == sqlite3.SQLITE_FUNCTION:
        reads = second not in ("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit")
    elif action == sqlite3.SQLITE_PRAGMA:  # full-text tables ask for it by themselves
        reads = first in ("data_version", "schema_version") and second is None
    elif action == sqlite3.SQLITE_UPDATE:  # what virtual tables do while they are set up; by hand SQLite refuses it
        reads = first == "sqlite_master"
    return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY


def _sqlite_reader(path: Path) -> sqlite3.Connection:
    """A connection that can neither write nor checkpoint, with the functions that lists and views call."""
    uri = path.absolute().as_uri() + "?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("pragma query_only = on")
        plugin("sql_records").add_functions(connection)
        connection.text_factory = _sqlite_text
        connection.set_authorizer(sqlite_authorize)
    except BaseException:
        connection.close()
        raise
    return connection


def plain_cell(value: Json) -> Json:
    """A value of a row as JSON can hold it: bytes as base64 text, infinity as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def need_blob(path: str, present: Blob | Folder | None, if_match: str | None = None) -> Blob:
    """The blob that is present at path; NotFound if it is missing, PreconditionFailed if it is not the one of if_match."""
    if not isinstance(present, Blob):
        raise NotFound(f"there is no file {path}")
    check_blob(path, present, if_match, False)
    return present


_ROWS_AT_ONCE = 50  # of an insert: of fewer the statement's own beginning counts, of more its memory


class SqliteDatabase(Provider):
    """The connections to an SQLite database, and what its errors mean.

    Writes go through one connection of a process, grouped, under a lock that is held between processes for every
    write and checkpoint. Reads have connections of their own. A database that only queries use is never altered.
    """

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path, *, clock: Clock = time.time) -> None:
        path = str(options.get("url")).partition("sqlite:///")
        if path[0] or path[2] in ("", ":memory:"):
            detail = "sqlite:///path is supported, such as sqlite:///data/app.db; other databases are kinds of plugins"
            faults = [Fault(f"providers.{name}.url", "url", detail)]
            raise ConfigError(f"provider {name}: url is not of SQLite: {detail}", faults=faults)
        self.path = folder / path[2]
        self.name, self.clock = name, clock
        self._lock = ProcessLock(self.path.with_name(self.path.name + ".lock"))
        self._group = GroupCommit(self._commit_jobs)
        self.presences = [plugin("presence").Presence(self.path, f"provider {name}: the database", same=True)]
        unused_bytes = partial(plugin("sql_database").unused_bytes, self)
        self.reserve = plugin("reserve").Reserve(f"provider {name}", self.path, unused_bytes)
        self._lasts = plugin("disk").lasts()
        self._pool = Pool(f"provider {name}", self.connected, keep=8, is_alive=lambda _: self.presences[0].is_there())
        self._watching = threading.Lock()
        self._watcher: sqlite3.Connection | None = None  # which sees the commits of all other connections
        self._writer: sqlite3.Connection | None = None
        self._tables: set[str] = set()  # known to be there and to be ours
        self._written: set[str] = set()  # found by the transaction at work, which may be rolled back

    def open(self) -> None:
        """Creates nothing."""
        self._pool.is_open = True
        self.ping()

    def close(self) -> None:
        """The writer goes last and inside the lock, because its close is a checkpoint."""
        self._pool.close()
        with self._watching:
            self._end_watching()
        writer, self._writer = self._writer, None
        self._forget()
        with suppress(OSError, sqlite3.Error):
            if writer:
                with self._lock.held():
                    writer.close()
        self._lock.close()

    def ping(self) -> float:
        """Reads from the database if there is one, else looks at the folder that would hold it."""
        began = time.perf_counter()
        if self.presences[0].check():
            with self.reading("ping") as connection:
                connection.execute("select count(*) from sqlite_master").fetchone()
        elif not may_write(self.path.parent):
            hint = f"no right to write {self.path}"
            raise Unavailable(f"provider {self.name}: the database cannot be created", hint=hint)
        return time.perf_counter() - began

    def warnings(self) -> list[str]:
        found = []
        if has_wal_reset_fault(sqlite3.sqlite_version_info[:3]):
            found.append(
                f"SQLite {sqlite3.sqlite_version} can corrupt a database when a write and a checkpoint of two programs meet."
                " Satchel's lock keeps its own processes apart; let no other program write while it runs, or use 3.51.3."
            )
        return found

    def places(self) -> list[Path]:
        return [self.path]

    # -- errors and connections

    @contextmanager
    def errors(self, operation: str) -> Iterator[None]:
        """Driver errors leave as AppErrors."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._tables.clear()
            raise plugin("sql_database").explain(self, error, operation) from error

    @contextmanager
    def reading(self, operation: str, *, alone: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection of the pool; `alone`: one that may use every statement, and is closed afterwards."""
        with self.errors(operation):
            connection = self._pool.take()
            self._pool.in_use[connection] = time.monotonic(), operation
            if alone:
                connection.set_authorizer(None)
            try:
                with plugin("working").breakable(connection.interrupt):
                    yield connection
            finally:
                connection.set_progress_handler(None, 0)
                self._pool.give_back(connection, reusable=not alone)

    def connected(self) -> sqlite3.Connection:
        """A new connection for reading. Unavailable if the database was there and is not any more."""
        self.presences[0].check()
        return _sqlite_reader(self.path)

    def _end_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher:
            watcher.close()

    def _opened_writer(self) -> sqlite3.Connection:
        """The writing connection; made, with the database, at its first use. The caller holds the lock."""
        if self._writer is None:
            with suppress(FileExistsError):  # an existing one is left alone: closing it would drop the locks of its readers
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(self.path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                connection.executescript(_WRITER_SETTINGS.format("full" if self._lasts else "off"))
            except BaseException:
                connection.close()
                raise
            self._writer = connection
        return self._writer

    def submit(self, work: Callable[[sqlite3.Connection], _Result], *, frees: bool = False) -> _Result:
        """The result of the work, once it is committed together with that of other threads. `frees`: it may use the last of
        the disk."""
        submit = partial(self._group.submit, work)
        return cast(_Result, self.reserve.give(submit) if frees else submit())

    def _forget(self) -> None:
        """Look again at what tables there are."""
        self._tables.clear()
        self._written.clear()
        self.__dict__.pop("_files", None)

    def _commit_jobs(self, jobs: list[PendingCommit]) -> None:
        """One transaction for all jobs, each in a savepoint if they are several."""
        with self.errors("writing"):
            if not self._pool.is_open:
                raise Unavailable("the provider is not open")
            if not self.presences[0].check():
                plugin("disk").make_folder(self.path.parent)
            with self._lock.held():
                connection = self._opened_writer()
                self.presences[0].check()
                connection.execute("begin immediate")
                self._written.clear()
                try:
                    for job in jobs:
                        self._run_job(connection, job, alone=len(jobs) == 1)
                    if connection.in_transaction:
                        connection.execute("commit")
                    self._tables |= self._written
                except BaseException:
                    self._forget()
                    with suppress(sqlite3.Error):  # SQLite has rolled back by itself, or does at the next open
                        connection.execute("rollback")
                    raise
                self.log.trim(connection)

    @cached_property
    def log(self) -> Any:
        """Its write-ahead log (plugins/sql_log.py)."""
        return plugin("sql_log").SqliteLog(self.name, self.path, self._lock, self._pool)

    def _run_job(self, connection: sqlite3.Connection, job: PendingCommit, *, alone: bool) -> None:
        """One job's work; its own failure undoes it alone, that of the database fails all."""
        if not alone:
            connection.execute("savepoint job")
        try:
            with self.errors("writing"):
                job.result = job.work(connection)
        except (Unavailable, StorageFull):
            raise
        except Exception as error:
            connection.execute("rollback" if alone else "rollback to job")
            self._tables.clear()
            self._written.clear()
            job.error = error
        if not alone:
            connection.execute("release job")


class _SqliteBlobs(SqliteDatabase, Blobs):
    """The blobs of a database, which plugins/sql_files.py keeps."""

    @cached_property
    def _files(self) -> Blobs:
        return cast(Blobs, plugin("sql_files").SqliteFiles(self))

    def stat(self, path: str) -> Blob | None:
        return self._files.stat(path)

    def is_folder(self, path: str) -> bool:
        return self._files.is_folder(path)

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> Reader:
        return self._files.read(path, start, length, if_match)

    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        return self._files.stage(chunks, path)

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        return self._files.publish(staged, path, if_match=if_match, if_none_match=if_none_match)

    def discard(self, staged: Staged) -> None:
        self._files.discard(staged)

    keep = cached_property(lambda self: self._files.keep)  # of plugins/sql_files.py
    parts = cached_property(lambda self: self._files.parts)
    copy = cached_property(lambda self: self._files.copy)
    move_folder = cached_property(lambda self: self._files.move_folder)
    set_time = cached_property(lambda self: self._files.set_time)

    def make_folder(self, path: str) -> None:
        self._files.make_folder(path)

    def remove_folder(self, path: str) -> None:
        self._files.remove_folder(path)

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Entry]:
        return self._files.scan(prefix, deep=deep, after=after)

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        self._files.remove(path, if_match=if_match)

    def move(self, source: str, target: str) -> Blob:
        return self._files.move(source, target)

    def sweep(self, now: float) -> None:
        self._files.sweep(now)


class SqlProvider(_SqliteBlobs, Records, Queries):
    """An SQLite database with a table of key, version and data for each table of records.

    How it answers statements stands in plugins/sql_views.py, imported when needed.
    """

    kind = "sql"
    atomic = joins_tables = keeps_times = True
    _unindexed: Sequence[str] = ()  # in words, the indexes that are missing
    settings = (
        Setting("url", "text", REQUIRED, "where the database is: sqlite:///path, relative to app.toml, or sqlite:////path"),
    )

    def _prepare(self) -> None:
        """Make the database, unless that was done in this process."""
        if self._writer is None:
            self.submit(lambda connection: None)

    # -- records

    def _has_table(self, connection: sqlite3.Connection, table: str) -> bool:
        """Whether the table exists; ConfigError if it is not one that Satchel made."""
        if table in self._tables or (connection is self._writer and table in self._written):
            return True
        found = connection.execute("select name, type from sqlite_master where name = ? collate nocase", (table,)).fetchone()
        problem = ""
        if table.startswith("sqlite_") or table in ("_blobs", "_chunks", "_loose") or check_text(table) or not table:
            problem = "is a name that the database keeps for itself"
        elif found and found != (table, "table"):
            problem = f"is taken by the {found[1]} {found[0]}"
        elif found and not self._is_records(connection, table):
            problem = "exists and was not made by Satchel: records need the columns key, version and data"
        if problem:
            raise ConfigError(f"provider {self.name}: the table {table} {problem}; choose another name for it")
        if found:
            (self._written if connection is self._writer else self._tables).add(table)
        return bool(found)

    @staticmethod
    def _is_records(connection: sqlite3.Connection, table: str) -> bool:
        try:
            columns = connection.execute(f"select * from {quote_name(table)} limit 0").description  # noqa: S608
        except UnicodeDecodeError:  # the name of a column of another program
            return False
        return [column[0] for column in columns][:3] == ["key", "version", "data"]

    def _make_tables(self, tables: Iterable[str], connection: sqlite3.Connection) -> None:
        for table in tables:
            if not self._has_table(connection, table):
                connection.execute(_RECORDS_SCHEMA.format(quote_name(table)))

    @cached_property
    def _search(self) -> Any:
        return plugin("sql_search").SqliteSearch(self)

    @cached_property
    def _counts(self) -> Any:
        return plugin("sql_counts").SqliteCounts(self)

    def prepare(self, tables: Mapping[str, Sequence[Query]]) -> None:
        self.submit(functools.partial(self._make_tables, list(tables)))
        kept = (plugin("sql_records").SqliteIndexes(self), self._search, self._counts)
        self._unindexed = [words for one in kept for words in one.prepare(tables)]

    def create(self, tables: Mapping[str, Sequence[Query]], bar: Any = None) -> list[str]:
        self.submit(functools.partial(self._make_tables, list(tables)))
        kept = (plugin("sql_records").SqliteIndexes(self), self._search, self._counts)
        made, self._unindexed = [words for one in kept for words in one.create(tables, bar)], ()
        return made

    def warnings(self) -> list[str]:
        found = super().warnings()
        if self._unindexed:
            found.append(f"lists are slow without indexes of {'; '.join(self._unindexed)}: server check --create makes them")
        return found

    def tables(self) -> list[str]:
        self._prepare()
        with self.reading("listing tables") as connection:
            sql = "select name from sqlite_master where type = 'table' and sql not like 'create virtual %' order by name"
            names = [name for (name,) in connection.execute(sql) if not name.startswith("sqlite_")]
            return [name for name in names if not damage_of(name) and self._is_records(connection, name)]

    def get(self, table: str, key: str) -> Record | None:
        if not is_key(key):
            return None
        self._prepare()
        with self.reading("reading records") as connection:
            if not self._has_table(connection, table):
                return None
            sql = f"select version, data from {quote_name(table)} where key = ?"  # noqa: S608
            row = connection.execute(sql, (key,)).fetchone()
        return stored_record(key, *row) if row else None

    def find(self, query: Query) -> Page:
        found, following = self._stored_page(query)
        return Page([listed_record(*row[:3]) for row in found], following)

    def find_texts(self, query: Query, text_of: Callable[[Record], Any]) -> tuple[list[Any], str | None]:
        found, following = self._stored_page(query)
        return [stored_text(text_of, *row[:3]) for row in found], following

    def _stored_page(self, query: Query) -> tuple[Sequence[Sequence[Json]], str | None]:
        """The rows of a page as they are stored, and the cursor of what follows."""
        compiled = CompiledQuery(query)
        page = partial(page_of, limit=query.limit, weight=stored_weight)
        columns = "key, version, data"
        found, more = self._rows(compiled, lambda sql: sql.rows(", ".join([columns, *sql.terms])), take=page) or ([], False)
        last = found[-1] if found and more else None
        keys = [*(key or "" for key in last[3:]), f"t{stored_key(last[0])}"] if last else []
        return found, compiled.cursor(keys) if last else None

    def walk(self, query: Query) -> Iterator[Record]:
        """Except in key order, only the keys are sorted, once; the records are then read one by one."""
        compiled = CompiledQuery(query._replace(limit=2**31))
        keys = [] if len(compiled.terms) == 1 else [key for (key,) in self._rows(compiled, lambda sql: sql.rows("key"))]
        if not keys or not all(isinstance(key, str) for key in keys):  # what is damaged is marked, and not left out
            yield from super().walk(query)
            return
        for key in keys:
            if record := self.get(query.table, key):
                yield record

    def mark(self) -> Any:
        with self._watching:
            try:
                self.presences[0].check()
                self._watcher = self._watcher or self._pool.take()
                return self._watcher, self._watcher.execute("pragma data_version").fetchone()[0]  # counted by connection
            except (Unavailable, sqlite3.Error):
                self._end_watching()
                return None

    def count(self, query: Query) -> int:
        return self._count(query, None, math.inf)

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        try:
            return self._count(query, most, time.monotonic() + timeout_s)
        except QueryTimeout:
            return None

    def _count(self, query: Query, most: int | None, deadline: float) -> int:
        known: int | None = self._counts.count(query)
        if known is not None:
            return known if most is None else min(known, most)
        rows = self._rows(CompiledQuery(query._replace(after="")), lambda sql: sql.count(most), deadline)
        return int(rows[0][0]) if rows else 0

    def facet(self, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
        return cast("list[tuple[Json, int]]", plugin("sql_facets").of_sqlite(self, query, field, most))

    def _rows(
        self,
        compiled: CompiledQuery,
        make: Callable[[Any], str],
        deadline: float = math.inf,
        take: Callable[[Iterable[Any]], Any] = list,
    ) -> Any:
        """What take() makes of the rows of a statement over a table, which `make` gets from an SqliteQuery; [] if the table
        is missing, QueryTimeout past the deadline."""
        self._prepare()
        table = compiled.query.table
        if compiled.query.joins:
            deadline = min(deadline, plugin("groups").deadline())
        with self.reading("reading records") as connection:
            if not self._has_table(connection, table):
                return []
            if deadline < math.inf:
                connection.set_progress_handler(lambda: time.monotonic() > deadline, 5000)
            try:
                sql = self._search.query(compiled, connection)
                return self._taken(connection, make(sql), sql.values, take)
            except sqlite3.OperationalError as error:
                if sqlite_code(error) == "INTERRUPT":
                    raise QueryTimeout("the query took too long") from error
                raise

    @staticmethod
    def _taken(connection: sqlite3.Connection, sql: str, values: Any, take: Callable[[Iterable[Any]], Any]) -> Any:
        """What take() makes of the rows of a statement. SQLite itself decodes texts in a fifth of the time, and none that is
        not UTF-8: then they are read anew."""
        connection.text_factory, lenient = str, connection.text_factory
        try:
            with closing(connection.execute(sql, values)) as rows:
                return take(rows)
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
        finally:
            connection.text_factory = lenient
        with closing(connection.execute(sql, values)) as rows:
            return take(rows)

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        texts = check_commit(writes)
        return self.submit(self._work(writes, texts), frees=self.reserve.may_use_all(writes)) if writes else []

    def _work(self, writes: Sequence[Write], texts: Sequence[str]) -> Callable[[sqlite3.Connection], list[Record]]:
        def work(connection: sqlite3.Connection) -> list[Record]:
            self._make_tables({write.table for write in writes}, connection)
            records: list[Record] = []
            for first in range(0, len(writes), _ROWS_AT_ONCE):
                some = writes[first : first + _ROWS_AT_ONCE]
                records += self._insert_many(connection, some, texts[first:]) or [
                    self._write_one(connection, i, write, texts[i]) for i, write in enumerate(some, first)
                ]
            self._search.wrote(writes, connection)
            self._counts.wrote(writes, connection)
            return records

        return work

    @staticmethod
    def _insert_many(connection: sqlite3.Connection, writes: Sequence[Write], texts: Sequence[str]) -> list[Record]:
        """The records, inserted by one statement. [], and nothing is inserted, if the writes are too few or not all of them
        Inserts into one table, or if a key is taken."""
        table = writes[0].table
        new = [write for write in writes if isinstance(write, Insert) and write.table == table]
        if len(new) < _ROWS_AT_ONCE:
            return []
        rows = [(write.version, text, write.key) for write, text in zip(new, texts, strict=False)]
        places = ", ".join(["(?, ?, ?)"] * _ROWS_AT_ONCE)
        sql = f"insert into {quote_name(table)} (version, data, key) values {places} on conflict do nothing"  # noqa: S608
        connection.execute("savepoint rows")
        is_whole = connection.execute(sql, list(chain.from_iterable(rows))).rowcount == len(rows)
        if not is_whole:
            connection.execute("rollback to rows")
        connection.execute("release rows")
        return [Record(write.key, write.version, write.value) for write in new] if is_whole else []

    def _write_one(self, connection: sqlite3.Connection, index: int, write: Write, text: str) -> Record:
        table = quote_name(write.table)
        if isinstance(write, Insert):
            sql = f"insert into {table} (version, data, key) values (?, ?, ?) on conflict do nothing"  # noqa: S608
            made = connection.execute(sql, (write.version, text, write.key)).rowcount
            check_version(index, write, version=1 - made)
            return Record(write.key, write.version, write.value)
        row = connection.execute(f"select version from {table} where key = ?", (write.key,)).fetchone()  # noqa: S608
        version = stored_version(row[0]) if row else 0
        check_version(index, write, version)
        if isinstance(write, Delete):
            connection.execute(f"delete from {table} where key = ?", (write.key,))  # noqa: S608
            return Record(write.key, 0, {})
        sql = f"update {table} set version = ?, data = ? where key = ?"  # noqa: S608
        if not version:
            sql = f"insert into {table} (version, data, key) values (?, ?, ?)"  # noqa: S608
        after = next_version(write, version)
        connection.execute(sql, (after, text, write.key))
        return Record(write.key, after, write.value)

    def groups(self, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int) -> list[Sequence[Json]]:
        return cast("list[Sequence[Json]]", plugin("sql_groups").groups(self, query, by, measures, most))

    # -- queries

    @cached_property
    def _views(self) -> Queries:
        return cast(Queries, plugin("sql_views").SqliteViews(self, self._pool))

    def select(self, select: Select) -> Rows:
        return self._views.select(select)

    def count_rows(self, select: Select, most: int | None = None) -> int:
        return self._views.count_rows(select, most)

    def facet_rows(self, select: Select, column: str, most: int) -> list[tuple[Json, int]]:
        return self._views.facet_rows(select, column, most)

    def sums(self, select: Select, measures: Sequence[Measure], by: str = "", most: int = 1) -> list[Sequence[Json]]:
        return self._views.sums(select, measures, by, most)


ITEM_ERRORS = DENIED_ERRORS | {
    errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ETXTBSY, errno.EBUSY, errno.ENXIO, errno.ENODEV, errno.EXDEV,
}  # fmt: skip
"""What the system says when the account may not use one file or folder, or it is not of the right kind."""


@contextmanager
def disk_errors(who: str, operation: str, is_item: Callable[[OSError], bool] = lambda error: False) -> Iterator[None]:
    """Errors of the file system leave as AppErrors; only the hint names the path.

    `is_item` says whether a refusal concerns one file or folder, and not the place that holds them all.
    """
    try:
        yield
    except OSError as error:
        if error.errno in StorageFull.errors:
            raise StorageFull(f"{who}: {operation}: the disk is full", hint=str(error)) from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise BadRequest(f"{who}: {operation}: the file system cannot store this name", hint=str(error)) from error
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if error.errno in ITEM_ERRORS and is_item(error):
            words = "the account that the server runs as may not use this file or folder"
            raise NotPermitted(f"{who}: {operation}: {words} ({reason})", hint=str(error)) from error
        raise Unavailable(f"{who}: {operation}: {reason}", hint=str(error)) from error


# ==== 9. PLUGINS =================================================================================================
# One registry of all kinds of all families: built in, of bundled plugins, which are imported when they are needed, and of
# plugins/*.py beside app.toml. A file that does not load stops the start and is named.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS PROVIDERS
# defines: FAMILIES BUILT_IN Registry load_registry

FAMILIES: tuple[type[Extension], ...] = (Provider, Format, Route, Job, Trigger, Channel, Command)
_WITHOUT_TABLE = (Provider, Channel, Command)  # none of their kinds has a table [KIND]
BUILT_IN: tuple[type[Extension], ...] = (SqlProvider, JsonFormat, CsvFormat, NdjsonFormat)
_Family = TypeVar("_Family", bound=Extension)
_Found = TypeVar("_Found")
_OWN_TABLES = frozenset(shape.partition(".")[0] for shape in SETTINGS)
_HEADING_WORDS = re.compile(r"\n# defines:(.*(?:\n#  +.*)*)")  # "^" in place of "\n" would be tried at every letter
_HEADING_KIND = re.compile(r"\b([A-Z]\w+):(\S+)")  # Provider:aws, Command:server_copy


class _Origin(NamedTuple):
    path: Path
    has_settings: bool
    cls: type[Extension] | None = None  # None until the file is imported


class _Lazy(Mapping[str, _Found]):
    """Something for each kind of a family, looked up when it is needed."""

    def __init__(self, kinds: Sequence[str], find: Callable[[str], _Found]) -> None:
        self._kinds, self._find = kinds, find

    def __getitem__(self, kind: str) -> _Found:
        return self._find(kind)

    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


class Registry:
    """The kinds of extensions, by family."""

    def __init__(self, folder: Path) -> None:
        """See load_registry."""
        self.folder = folder
        self._origins: dict[tuple[str, str], _Origin] = {}
        for cls in BUILT_IN:
            self.add(cls, Path(__file__))
        bundled = {path: path.read_bytes() for path in sorted((BUNDLED / "plugins").glob("[!_]*.py"))}
        for path, text in bundled.items():
            for words in _HEADING_WORDS.findall(text.decode()):
                for family, kind in _HEADING_KIND.findall(words):
                    self._add(family, kind.replace("_", " "), _Origin(path, b"\n    settings" in text))
        for path in sorted((folder / "plugins").glob("[!_]*.py")):
            if plugin_bytes(path) not in bundled.values():
                for cls in _extensions_of(import_file(path, f"satchel_site_plugin_{path.stem}"), path):
                    self.add(cls, path)

    def add(self, cls: type[Extension], path: Path) -> None:
        """Adds a class whose file `path` is imported already. Raises ConfigError if its family has that kind."""
        family = next(family for family in FAMILIES if issubclass(cls, family))
        self._add(family.__name__, cls.kind, _Origin(path, bool(cls.settings), cls))

    def _add(self, family: str, kind: str, origin: _Origin) -> None:
        if other := self._origins.get((family, kind)):
            raise ConfigError(
                f"plugins/{origin.path.name} defines the {family.lower()} {kind!r}, which exists already: it is in "
                f"{other.path} and in {origin.path}; remove one of the two, or give its kind another name"
            )
        if family not in [one.__name__ for one in _WITHOUT_TABLE] and kind in _OWN_TABLES:
            raise ConfigError(
                f"plugins/{origin.path.name}: the kind {kind!r} is a table of Satchel's own: give it another name"
            )
        self._origins[family, kind] = origin

    def kinds(self, family: type[Extension]) -> list[str]:
        return [kind for name, kind in self._origins if name == family.__name__]

    def find(self, family: type[_Family], kind: str) -> type[_Family]:
        """The class of a kind. Raises KeyError if there is none, ConfigError if its file does not load."""
        path, has_settings, cls = self._origins[family.__name__, kind]
        if cls is None:
            classes = _extensions_of(plugin(path.stem), path)
            cls = next(each for each in classes if issubclass(each, family) and each.kind == kind)
            self._origins[family.__name__, kind] = _Origin(path, has_settings, cls)
        return cast(type[_Family], cls)

    def of(self, family: type[_Family]) -> Mapping[str, type[_Family]]:
        """The classes of a family by kind. A bundled file is imported when one of its kinds is looked up."""
        return _Lazy(self.kinds(family), partial(self.find, family))

    @property
    def provider_settings(self) -> Mapping[str, Sequence[Setting]]:
        """What app.toml may say under [providers.NAME], by kind."""
        return _Lazy(self.kinds(Provider), lambda kind: self.find(Provider, kind).settings)  # type: ignore[type-abstract]

    @property
    def channel_settings(self) -> Mapping[str, Sequence[Setting]]:
        """The same under [channels.NAME]."""
        return _Lazy(self.kinds(Channel), lambda kind: self.find(Channel, kind).settings)  # type: ignore[type-abstract]

    @property
    def tables(self) -> Mapping[str, Sequence[Setting]]:
        """What app.toml may say in the table [KIND] of an extension that is neither a provider nor a channel."""
        families: dict[str, Any] = {one.__name__: self.of(one) for one in FAMILIES if one not in _WITHOUT_TABLE}
        with_settings = [of_kind for of_kind, origin in self._origins.items() if origin.has_settings]
        found = {kind: families[family][kind].settings for family, kind in with_settings if family in families}
        return {kind: settings for kind, settings in found.items() if settings}


def load_registry(folder: Path) -> Registry:
    """Every kind that the app.toml in `folder` may name. A file in the folder's plugins/ that is byte for byte a bundled one
    counts as that one. Raises ConfigError naming the file that does not load, or both files that define one kind."""
    return Registry(folder.resolve())


def _extensions_of(module: ModuleType, path: Path) -> list[type[Extension]]:
    """The extensions with a kind that a plugin's module defines. Raises ConfigError if it defines none."""
    own = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__]
    found = [cls for cls in own if issubclass(cls, FAMILIES) and isinstance(getattr(cls, "kind", None), str)]
    if not found:
        names = ", ".join(family.__name__ for family in FAMILIES)
        raise ConfigError(f"plugins/{path.name} defines no extension with a kind ({names})", hint=str(path))
    return found


# ==== 10. ASSEMBLY ===============================================================================================
# App and its parts: Builder makes everything from a Config, Health opens it, and Flow takes a request from token check to
# commit, which Audit and Replay add to. The flow stands here and nowhere else; plugins/office.py lets people in and out.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES PLUGINS
# defines: Audit Replay audit_store stores Builder Health Flow App

_BESIDE_TABLES: Mapping[str, tuple[str, ...]] = {
    "_audit": ("at", "subject", "resource", "record"), "_requests": ("at",), "_seals": (), "_comments": (),
    "_drafts": ("at",),
}  # with what is asked of each  # fmt: skip
_STATE_TABLES: Mapping[str, tuple[str, ...]] = {
    "_tokens": ("expires_at", "revoked_at", "subject"), "_sessions": ("expires_at", "subject"),
    "_links": ("expires_at",), "_outbox": ("next_at", "line"), "_settings": (), PASSWORDS: (), "_imports": ("at", "subject"),
    "_filters": ("subject",), "_shares": ("expires_at", "subject"), "_usage": (), "_touched": (),
    "_locks": (), "_properties": ("at", "folder"), "_uploads": ("expires_at", "subject"), "_kept": (),
}  # fmt: skip
_REMEMBERED = ("data", "created", "location", "etag", "name")  # of a Response
_KEY_USED = "this idempotency key was used before for another request; take a new one"
_AT_WORK_S = 60  # a request at work that is silent for so long counts as dead
_PING_S = 10.0  # a provider that has not answered by then counts as away, whatever its own timeouts are
_P = TypeVar("_P", bound=Provider)
_Guard: TypeAlias = Callable[[], None]  # raises what stops a commit
_Triggers: TypeAlias = Callable[[], Sequence[Trigger]]
_Kind = TypeVar("_Kind", bound=Extension)
_ATTEMPTS = 8  # of an update without If-Match that loses against another one


# ---- audit entries and idempotency records


class Audit:
    """Builds audit entries. Those that no commit of a request takes along go to the state provider by themselves."""

    def __init__(self, state: Records, clock: Clock) -> None:
        self._state, self._clock = state, clock

    def entry(
        self, caller: Caller, door: str, request_id: str, resource: str, action: str, outcome: str = "ok", code: str = ""
    ) -> Value:
        """An entry that speaks of no record yet."""
        return {
            "at": rfc3339(self._clock()), "subject": caller.subject, "token_id": caller.token_id, "door": door,
            "request_id": request_id, "resource": resource, "action": str(action), "outcome": outcome, "code": code,
            "record": "",
        }  # fmt: skip

    def insert(self, entry: Value) -> Insert:
        return Insert("_audit", new_id(self._clock()), storable(entry))

    def best_effort(self, entry: Value, *writes: Write) -> None:
        """Store an entry about what is done or has failed: losing it must not change the answer, so a loss is logged."""
        try:
            self._state.commit([self.insert(entry), *writes])
        except AppError as error:
            facts = {name: entry[name] for name in ("request_id", "subject", "resource", "action", "outcome")}
            LOG.error("an audit entry was lost (%s): %s", error.message, dump_json(facts))


def _of_changes(entry: Value, changes: Iterable[Change]) -> Iterator[Encoded]:
    """The entry as those of changes: what was made or is gone, or [before, after] of an update, also among what is made."""
    own = storable({name: one for name, one in entry.items() if name != "record"})
    other = storable(own | {"action": str(Action.UPDATE)}) if own["action"] == Action.CREATE else own
    for change in changes:
        shared = own if change.before is None else other
        write, name, told = change.write, "before", cast(Value, change.before)
        if not isinstance(write, Delete):
            new = write.value
            name, told = ("after", new) if change.before is None else ("changes", _differences(told, new))
        text = f'{shared.text[:-1]},"record":{dump_json(write.key)},"{name}":{plain_text(told) or storable(told).text}}}'
        yield Encoded(shared, text, **{"record": write.key, name: told})


def _differences(before: Value, after: Value) -> Value:
    """[before, after] of each field that is not the same in both; None stands for one that is missing."""
    pairs = ((name, before.get(name), after.get(name)) for name in before | after if name not in RESERVED_FIELDS)
    return {name: [old, new] for name, old, new in pairs if not same_json(old, new)}


class Replay:
    """The idempotency record of one request: what was answered to its first try, for its repeats.

    It is kept in `store`, beside the audit entry of the request. Without a key there is none, and nothing to write.
    """

    def __init__(self, request: Request, caller: Caller, store: Records, clock: Clock) -> None:
        self._request, self._store, self._clock = request, store, clock
        self._key = ""
        self.stored: Record | None = None  # as of the last look
        if request.idempotency_key and request.action != Action.READ:
            parts = [caller.subject, request.resource, request.action, request.idempotency_key]
            self._key = hashlib.sha256(dump_json(parts).encode()).hexdigest()

    def look_up(self, plan: Plan | None = None) -> Response | None:
        """The first answer; None if the request has still to be done, Busy while that is being done.

        IdempotencyConflict if the first request had another payload. `plan` is what the request came to, if it was read.
        """
        self.stored = self._store.get("_requests", self._key) if self._key else None
        if self.stored is None or (plan is None and self._was_given_up()):  # to be done anew, so the body stays unread
            return None
        digest = _body_digest(self._request.body) if plan is None else _staged_sha256(self._request, plan)
        if self.stored.value["digest"] != _payload_digest(self._request, digest):
            raise IdempotencyConflict(_KEY_USED)
        if self.stored.value["answer"] is not None:
            return Response(**self.stored.value["answer"], replayed=True)
        if not self._was_given_up():
            over_in_s = self.stored.value["at"] + _AT_WORK_S - self._clock()
            raise Busy("the same request is at work already; ask again in a moment", over_in_s=max(1, over_in_s))
        return None

    def begin(self, plan: Plan) -> list[Write]:
        """What says that the request is at work."""
        return self._write(plan, None)

    def prolong(self) -> None:
        """Says once more that the request is at work."""
        old = cast(Record, self.stored)
        value = storable(old.value | {"at": self._clock()})
        [self.stored] = self._store.commit([Update("_requests", self._key, value, old.version)])

    def finish(self, plan: Plan, response: Response) -> list[Write]:
        """What remembers the answer."""
        return self._write(plan, storable({name: getattr(response, name) for name in _REMEMBERED})) if self._key else []

    def forget(self) -> list[Write]:
        """What lets a repeat do it anew."""
        return [Delete("_requests", self._key)] if self._key else []

    def _write(self, plan: Plan, answer: Value | None) -> list[Write]:
        """It takes the place of what is stored: of this request at work, or of one whose server died."""
        if not self._key:
            return []
        digest = _payload_digest(self._request, _staged_sha256(self._request, plan))
        value = storable({"at": self._clock(), "digest": digest, "answer": answer})
        if self.stored is None:
            return [Insert("_requests", self._key, value)]
        if self.stored.value["digest"] != digest:
            raise IdempotencyConflict(_KEY_USED)
        return [Update("_requests", self._key, value, self.stored.version)]

    def _was_given_up(self) -> bool:
        """Whether the first try has not ended and will not."""
        value = cast(Record, self.stored).value
        return value["answer"] is None and abs(self._clock() - value["at"]) >= _AT_WORK_S


def _staged(plan: Plan) -> Staged | None:
    """The bytes that a plan publishes, of several files the first; None if it publishes none."""
    return next((step.staged for step in plan.steps if isinstance(step, Publish)), None)


def _staged_sha256(request: Request, plan: Plan) -> str:
    """The digest of the request's own byte stream, "" when it has none."""
    staged = _staged(plan)
    return staged.sha256 if staged and request.body is not None else ""


def _body_digest(body: Iterable[bytes] | None) -> str:
    digest = hashlib.sha256()
    for chunk in body or ():
        digest.update(chunk)
    return digest.hexdigest() if body is not None else ""


def _payload_digest(request: Request, body_sha256: str) -> str:
    """One digest of everything that makes two requests the same; file uploads count by their content."""
    payload = [list(request.path), dict(request.params), _digestible(request.data), request.partial, body_sha256]
    return hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()


def _digestible(data: Json) -> Json:
    if isinstance(data, Upload) and data.held:
        return [data.name, data.held.staged.sha256]
    if isinstance(data, Upload):
        data.file.seek(0)
        return [data.name, _body_digest(iter(partial(data.file.read, 65536), b""))]
    if isinstance(data, dict):
        return {name: _digestible(value) for name, value in data.items()}
    return [_digestible(item) for item in data] if isinstance(data, list) else data


# ---- building


def audit_store(resource: Resource, state: Records) -> Records:
    """Where audit entries and idempotency records of a resource are: beside its records, if one commit can hold both."""
    return resource.records if resource.records is not None and resource.records.atomic else state


def stores(resource: Resource) -> list[Provider]:
    """The providers that a resource writes to."""
    return list(resource.providers) if isinstance(resource, Files | Form) else []


class Builder:
    """Providers and resources as app.toml declares them, and every fault met on the way. It opens nothing.

    `state` is None if there is a fault in it; then the built-in resources are missing, too.
    """

    def __init__(self, config: Config, registry: Registry) -> None:
        self.config, self._kinds = config, registry.of(Provider)  # type: ignore[type-abstract]
        self.languages: Any = plugin("languages").Languages(config)
        self.faults: list[Fault] = [*config.faults, *self.languages.faults]
        self.declared = {
            f"{t}/{r.name}": r for t, cls in RESOURCE_CONFIGS.items() for r in config.resources if isinstance(r, cls)
        }
        self._opens = frozenset(
            f"forms/{r.name}" for r in config.resources if isinstance(r, FormConfig) and r.opens == "records"
        )
        self.providers: dict[str, Provider] = self._named("providers", config.providers, self._kinds)
        self.channels: dict[str, Channel] = self._named("channels", config.channels, registry.of(Channel))
        self.statics: list[Blobs] = []
        self.resources: dict[str, Resource] = {}
        self.indexes: dict[str, Resource] = {}
        self._tables: dict[tuple[int, str], str] = {}  # (provider, table) of each form
        for address, resource_config in self.declared.items():
            self._add_resource(address, resource_config)
        self.faults += plugin("declarations").of_options(self.resources, self.declared)
        self.menu = plugin("menus").entries(config.site.menu, "site", self.declared, plugin("admin").TITLES, self.faults)
        self.state = self.languages.people = self._state_provider()
        self.faults += plugin("declarations").of_state(self)
        self.faults += plugin("folders").folder_faults(config, self.providers, self.statics)
        if any(one.notify or one.digest for one in config.resources if isinstance(one, FormConfig)):
            self.faults += plugin("notify").faults(self)
        if self.state is not None:
            self._add_built_in(self.state)

    def _fault(self, place: str, detail: str) -> None:
        self.faults.append(Fault(place, "configuration", detail))

    @contextmanager
    def _faults_kept(self, place: str) -> Iterator[None]:
        """A ConfigError of the block is kept among the faults."""
        try:
            yield
        except ConfigError as error:
            self.faults += error.faults or [Fault(place, error.code, error.message)]

    def _named(self, table: str, declared: Mapping[str, ProviderConfig], kinds: Mapping[str, Any]) -> dict[str, Any]:
        """What the tables [table.NAME] declare, by name; those with a fault are left out."""
        made = {}
        for name, one in declared.items():
            if self.config.is_sound(place := f"{table}.{name}"):
                with self._faults_kept(place):
                    made[name] = kinds[one.kind](name, one.options, self.config.folder)
        return made

    def _add_resource(self, address: str, one: ResourceConfig) -> None:
        place, resource = address.replace("/", "."), None
        slow = list(plugin("declarations").slow_patterns(one, place))
        self.faults += slow
        if slow or not self.config.is_sound(place):
            return
        with self._faults_kept(place):
            match one:
                case FilesConfig():
                    resource = self._files(one, place)
                case FormConfig():
                    resource = self._form(one, place)
                case ViewConfig():
                    resource = self._view(one, place)
                case AppConfig():
                    resource = self._launcher(one, place)
        if resource is not None:
            self.resources[address] = resource

    def _provider_with(self, contract: type[_P], wanted: str, place: str) -> _P | None:
        """The provider that is meant, if it has the contract; otherwise None, with a fault if it is there."""
        name = self.config.provider_name(wanted)
        provider = self.providers.get(name)
        if provider is None or provider.has(contract):
            return cast(_P | None, provider)
        able = [n for n, p in self.providers.items() if p.has(contract)]
        needs = f"it needs one of: {', '.join(able) or 'none declared'}"
        self._fault(place, f"names {name}, a {provider.kind} provider, which has no {contract.__name__} ({needs})")
        return None

    def _files(self, one: FilesConfig, place: str) -> Resource | None:
        blobs = self._provider_with(Blobs, one.provider, f"{place}.provider")  # type: ignore[type-abstract]
        return Files(one, blobs, self.resources) if blobs else None

    def _form(self, one: FormConfig, place: str) -> Resource | None:
        records = self._provider_with(Records, one.provider, f"{place}.provider")  # type: ignore[type-abstract]
        shares = {address: r for address, r in self.resources.items() if isinstance(r, Files)}
        if records is None or any(f.files in self.declared and f.files not in shares for f in one.fields):
            return None
        form = Form(one, records, shares, self.languages.site, self.resources)
        other = self._tables.setdefault((id(records), form.table.casefold()), place)
        if other != place:
            self._fault(f"{place}.table", f"is {form.table}, which {other} has already: name another")
        return form

    def _view(self, one: ViewConfig, place: str) -> Resource | None:
        if one.source:
            form = self.resources.get(one.source)
            make = plugin("form_views").of
            return cast(View, make(one, form, self.languages.site)) if isinstance(form, Form) else None
        queries = self._provider_with(Queries, one.provider, f"{place}.provider")  # type: ignore[type-abstract]
        return cast(View, plugin("statements").SqlView(one, queries, self.languages.site)) if queries else None

    def _launcher(self, one: AppConfig, place: str) -> Resource:
        static = None
        if one.static and not one.static.is_dir():
            self._fault(f"{place}.static", f"names the folder {one.static.name}, which does not exist")
        elif one.static:
            static = cast(Blobs, self._kinds["file"](f"apps.{one.name}.static", {"root": one.static}, self.config.folder))
            self.statics.append(static)
        self.faults += plugin("app_checks").faults(one, self.declared, self.config.folder)
        menu = plugin("menus").entries(one.menu, place, self.declared, plugin("admin").TITLES, self.faults)
        if one.pages and f"apps/{one.name}/pages" not in one.menu:
            menu.append({"title": "Pages", "icon": "", "address": f"apps/{one.name}/pages"})
        return AppPage(one, menu, static, self._opens)

    def _state_provider(self) -> Records | None:
        """The provider of `[site] state`; a fault if it cannot keep what belongs together in one commit."""
        named = self.config.site.state
        state = self._provider_with(Records, named, "site.state")  # type: ignore[type-abstract]
        if state is None or state.atomic:
            return state
        able = [name for name, one in self.providers.items() if isinstance(one, Records) and one.has(Records) and one.atomic]  # type: ignore[type-abstract]
        why = "writes one record at a time, and a token and its audit entry are two"
        needs = f"name one of: {', '.join(able)}" if able else "declare an sql provider for it"
        begin = "names" if named else "is missing:"
        self._fault("site.state", f"{begin} {self.config.provider_name(named)}, a {state.kind} provider, {why}; {needs}")
        return None

    def _add_built_in(self, state: Records) -> None:
        """The home pages and the admin lists."""
        entries = [
            {
                "type": one.type, "address": address, "title": one.title, "icon": getattr(one.config, "icon", ""),
                "note": one.config.note,
            }
            for address, one in self.resources.items()
            if isinstance(one, Files | Form | View | AppPage)
        ]  # fmt: skip
        for address, title in plugin("admin").TITLES.items():
            entries.append({"type": "admin", "address": address, "title": title, "icon": "", "note": ""})
        for form in self.resources.values():
            if isinstance(form, Form):
                form.state = state
        self.resources[""] = Home(entries, self._opens)
        self.indexes = {kind: Home(entries, self._opens, kind) for kind in RESOURCE_TYPES}
        titles = {one["address"]: one["title"] for one in entries}
        lists: list[Resource] = plugin("admin").lists(state, self.audit_stores(), self.config, titles, self.languages.site)
        self.resources |= {f"admin/{one.name}": one for one in lists}
        self.languages.learn(self)

    def audit_stores(self) -> list[Records]:
        """Each place of audit entries and idempotency records once, the state provider first."""
        state = cast(Records, self.state)
        found = (state, *(audit_store(one, state) for one in self.resources.values()))
        return list({id(records): records for records in found}.values())

    def needed(self) -> dict[str, dict[str, list[Query]]]:
        """By provider: the tables that it has to have, each with the queries that are declared (see Records.prepare)."""
        names = {id(provider): name for name, provider in self.providers.items()}
        found: dict[str, dict[str, list[Query]]] = {}
        for one in self.resources.values():
            form = one.source if isinstance(one, View) else one
            if isinstance(form, Form) and isinstance(one, Form | View):
                found.setdefault(names[id(form.records)], {}).setdefault(form.table, []).extend(one.declared())
                if form.config.unique:
                    found[names[id(form.records)]]["_unique"] = [Query("_unique")]
        for store in self.audit_stores():
            own = _STATE_TABLES if store is self.state else plugin("outbox").beside(self, store, _STATE_TABLES)
            for table, fields in {**_BESIDE_TABLES, **own}.items():
                instants = frozenset({"at"} if table == "_audit" else ())
                found.setdefault(names[id(store)], {})[table] = [Query(table, (), (n,), instants=instants) for n in fields]
        return found


# ---- are the providers there?


class Health:
    """Opens the providers, knows which of them could not be opened yet, and asks them how they are."""

    def __init__(self, providers: Mapping[str, Provider], needed: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        """`needed` is that of Builder."""
        self._providers, self._needed = providers, needed
        self._not_open: set[str] = set()

    def open(self) -> None:
        """Open all at once. One that is away is opened by the first request that finds it back; the others work."""
        self._not_open = set(self._providers)
        for answer in plugin("asking").ask_all(self._providers, self._open, None).values():
            if isinstance(answer, AppError) and not isinstance(answer, Unavailable | NotPermitted):
                raise answer

    def _open(self, name: str) -> None:
        """Open one and make the tables that statements of views may name; Unavailable while it is away."""
        provider, tables = self._providers[name], self._needed().get(name, {})
        provider.open()
        with suppress(StorageFull):  # it can be read, and writes will say that it is full
            if tables and isinstance(provider, Records):
                provider.prepare(tables)
            self._not_open.discard(name)

    def ensure_open(self, *wanted: Provider) -> None:
        """Open those of them that are not open yet, and no others: to try one that is still away takes its time."""
        if self._not_open:
            for name, provider in self._providers.items():
                if name in self._not_open and provider in wanted:
                    self._open(name)

    def ensure_open_for(self, resource: Resource, action: Action, state: Records) -> None:
        """ensure_open of what such a request needs."""
        if self._not_open:
            audit = [] if action == Action.READ else [audit_store(resource, state)]
            self.ensure_open(*audit, *resource.providers)

    def pings(self, patience_s: float | None = None) -> dict[str, float | AppError]:
        """Each provider's round trip in seconds, or what is wrong with it."""

        def ping(name: str) -> float:
            if name in self._not_open:
                self._open(name)
            self._providers[name].open()
            return self._providers[name].ping()

        return cast(dict[str, float | AppError], plugin("asking").ask_all(self._providers, ping, patience_s or _PING_S))

    def ready(self) -> dict[str, str]:
        return {name: one.message if isinstance(one, AppError) else "ok" for name, one in self.pings().items()}


# ---- the flow


def _check_endpoint(resource: Resource, request: Request) -> None:
    """Raises NotFound if the path has no endpoint, UnsupportedAction if that does not take the action, or no patch."""
    endpoint = resource.endpoint(request.path)
    if endpoint is None:
        raise NotFound(f"{request.resource} has no {'/'.join(request.path)}")
    if request.action not in endpoint.actions:
        message = f"{request.address} has no {request.action}, only {', '.join(endpoint.actions)}"
        raise UnsupportedAction(message, allowed=endpoint.actions)
    if request.partial and not endpoint.patches:
        raise UnsupportedAction(f"{request.address} cannot be patched: send it whole", allowed=endpoint.actions)


class Flow:
    """What becomes of a request, whatever door it came through. Each method stands above those that it calls."""

    def __init__(self, built: Builder, office: Any, audit: Audit, health: Health, clock: Clock, triggers: _Triggers) -> None:
        self._triggers = triggers
        self._resources, self._indexes, self._state = built.resources, built.indexes, cast(Records, built.state)
        self._office, self._audit, self._health, self._clock = office, audit, health, clock
        self._languages = built.languages

    def handle(self, request: Request, guard: _Guard) -> Response:
        """Identify, admit, decode, replay, plan, commit, respond; an AppError that is raised is the answer."""
        if request.credential or request.role:
            self._health.ensure_open(self._state)
        return self.handle_as(self._caller(request), request, guard)

    def handle_as(self, caller: Caller, request: Request, guard: _Guard = lambda: None) -> Response:
        """The same for a caller who is known."""
        try:
            resource = self._let_in(request, caller)
            if request.decode is not None:
                data = request.decode()
                if not request.typed:  # from a page, which may name files that are held
                    data = plugin("held_files").own_files(data, caller)
                request = request._replace(data=data, decode=None)
            response = self._execute(request, caller, resource, guard)
            if response.table and "_columns" in request.params:
                plugin("list_columns").narrow(request, response.table)
        except AppError as error:
            self._note(request, caller, error)
            raise
        self._office.authority.touch(caller)
        response.caller = caller
        return response

    def enter(self, request: Request) -> tuple[Caller, Resource]:
        """The caller and the resource of something that takes several requests, each of which has to be let in."""
        self._health.ensure_open(self._state)
        caller = self._caller(request)
        try:
            return caller, self._let_in(request, caller)
        except AppError as error:
            self._note(request, caller, error)
            raise

    def _let_in(self, request: Request, caller: Caller) -> Resource:
        resource = self._admit(request, caller)
        self._health.ensure_open_for(resource, request.action, self._state)
        return resource

    def _note(self, request: Request, caller: Caller, error: AppError) -> None:
        error.subject = caller.subject
        plugin("share_words").tell(self._resources, request, error)
        if isinstance(error, Forbidden) and request.action != Action.READ:
            needed = error.needed.rpartition(":")[2] or request.action
            self._audit.best_effort(self._entry(request, caller, needed, "denied", error.code))

    def _caller(self, request: Request) -> Caller:
        authority: Authority = self._office.authority
        caller = authority.service(request.role) if request.role else authority.identify(request.credential, request.sent_at)
        return caller if request.ceiling is None else caller._replace(ceilings=(*caller.ceilings, request.ceiling))

    def _admit(self, request: Request, caller: Caller) -> Resource:
        """The resource, if the caller may do this to it. Authorised before it is looked up, so that a stranger cannot
        tell what is missing from what is forbidden."""
        kind = RESOURCE_TYPES.get(request.resource.partition("/")[0])
        wanted = kind.sufficient(request) if kind else (request.action,)
        place = kind.judged_at(request) if kind else request.address
        open_to_all = request.resource in ("", *self._indexes)
        may_enter = open_to_all or any(caller.may(action, place) for action in wanted)
        if not may_enter and not any(caller.may(action, request.address) for action in wanted):
            self._refuse(request, caller, wanted[0], place)
        resource = self._resources.get(request.resource) or self._indexes.get(request.resource)
        if resource is None:
            seen = [address for address in self._resources if address and caller.opens(address)]
            raise NotFound(f"there is no {request.resource}{nearest(request.resource, seen)}")
        _check_endpoint(resource, request)
        return cast(Resource, self._languages.read_by(resource, request, caller)).seen_by(caller)

    def _refuse(self, request: Request, caller: Caller, action: Action, place: str) -> NoReturn:
        needed = f"{place}:{action}"
        if request.ceiling is not None and caller._replace(ceilings=caller.ceilings[:-1]).may(action, place):
            raise Forbidden(f"the {request.door} door it came through does not allow {needed}", needed=needed)
        if not caller.subject:
            raise SignInNeeded(f"sign in, or send a token with the grant {needed}")
        raise Forbidden(f"this needs the grant {needed}", needed=needed)

    def _read_as(
        self, caller: Caller, request: Request, address: str, params: Mapping[str, str], page: bool = False
    ) -> Response:
        """Another resource, read as the same caller for the same request."""
        type_, _, rest = address.partition("/")
        name, *path = split_path(rest) or ("",)
        inner = Request(
            id=request.id, action=Action.READ, resource=f"{type_}/{quote(name, safe='')}", path=tuple(path),
            door=request.door, params=params, credential=request.credential, sent_at=request.sent_at,
            ceiling=request.ceiling, role=request.role, languages=request.languages, page=page,
        )  # fmt: skip
        return self.handle_as(caller, inner)  # there is no commit to guard

    def _execute(self, request: Request, caller: Caller, resource: Resource, guard: _Guard) -> Response:
        """Plan and commit; again when another writer came between and the caller set no condition."""
        replay, send = (
            Replay(request, caller, audit_store(resource, self._state), self._clock),
            partial(self.handle_as, caller),
        )
        attempts_left = _ATTEMPTS
        while True:
            attempts_left -= 1
            if answer := replay.look_up():
                return resource.seen_again(answer)
            now, read, plan = self._clock(), partial(self._read_as, caller, request), None
            scope = Scope(caller, now, partial(new_ids, now), read, replay.stored is not None, send)
            try:
                plan = resource.handle(request, scope)
                joined = self._joined(request, caller, resource, plan, now)
                records = audit_store(resource, self._state) if plan.beside else resource.records
                return self._carry_out(request, caller, records, joined, replay, guard)
            except (Conflict, PreconditionFailed, Invalid) as error:
                if answer := replay.look_up(plan):
                    return resource.seen_again(answer)
                if not isinstance(error, Conflict) or not (plan and plan.changes) or not attempts_left:
                    raise
                is_own = error.index < len(plan.changes)
                if is_own and request.conditions.if_match and request.action != Action.CREATE:
                    raise PreconditionFailed("it was changed meanwhile: get it again") from error

    def _joined(self, request: Request, caller: Caller, resource: Resource, plan: Plan, now: float) -> Plan:
        """The plan with what triggers add to it. One that refuses it has its staged bytes discarded."""
        try:
            triggers = self._triggers() if plan.changes else ()
            added = [one.writes(request, caller, plan.changes, resource, now) for one in triggers]
        except AppError:
            _discard(plan)
            raise
        return plan._replace(also=[*plan.also, *chain(*added)]) if added else plan

    def _carry_out(
        self, request: Request, caller: Caller, records: Records | None, plan: Plan, replay: Replay, guard: _Guard
    ) -> Response:
        if not plan.changes and not plan.steps and not plan.also:
            return plan.respond(())
        entry = self._entry(request, caller, plan.action or request.action)
        entry |= {"comment": plan.comment} if plan.comment else {}
        with self._around(request, caller, plan):
            if records is not None and records.atomic and (plan.changes or plan.also):
                response = self._commit_together(entry, plan, records, replay, guard)
            else:
                response = self._commit_apart(entry, plan, records, replay, guard)
            for remove in plan.cleanup:
                with suppress(AppError):  # the record is committed; a file that stays is found by its unreferenced name
                    remove.blobs.remove(remove.path)
        return response

    @contextmanager
    def _around(self, request: Request, caller: Caller, plan: Plan) -> Iterator[None]:
        """What triggers put around all steps of a plan. One that refuses them has their staged bytes discarded."""
        steps = [*plan.steps, *plan.cleanup]
        with ExitStack() as stack:
            try:
                for one in self._triggers() if steps else ():
                    stack.enter_context(one.around(request, caller, steps))
            except BaseException:
                _discard(plan)
                raise
            yield

    def _commit_together(self, entry: Value, plan: Plan, records: Records, replay: Replay, guard: _Guard) -> Response:
        """Publish, then records, audit entries and the answer for repeats in one commit; unpublish if that fails."""
        with self._undone_on_failure(plan) as published:
            response = plan.respond([self._step(step, published) for step in plan.steps])
            ids, told = new_ids(self._clock(), len(plan.changes)), _of_changes(entry, plan.changes)
            audit = map(partial(Insert, "_audit"), ids, told)
            guard()
            writes = [change.write for change in plan.changes]
            records.commit([*writes, *audit, *plan.also, *replay.finish(plan, response)])
        return response

    def _commit_apart(self, entry: Value, plan: Plan, records: Records | None, replay: Replay, guard: _Guard) -> Response:
        """Where the work and its audit entry cannot be one commit: an intent, the work, an outcome. Intent and work are
        durable before this returns; an outcome that is lost is logged."""
        if plan.changes:
            [entry] = _of_changes(entry, plan.changes)  # of one: _Writing._check_batch
        elif staged := _staged(plan):
            entry["after"] = {"size_bytes": staged.size_bytes, "sha256": staged.sha256}
        elif told := next((step.told for step in plan.steps if isinstance(step, Act)), None):
            entry["after"] = told
        with self._undone_on_failure(plan) as published:
            intent = self._audit.insert(entry | {"outcome": "intent"})
            done = self._state.commit([intent, *replay.begin(plan)])
            if len(done) > 1:
                replay.stored = done[1]
            try:
                guard()
                with plugin("at_work").said(replay):
                    blobs = [self._step(step, published) for step in plan.steps]
                    for change in plan.changes:
                        cast(Records, records).commit([change.write])
            except BaseException as error:
                failed = {"outcome": "failed", "code": getattr(error, "code", AppError.code)}
                self._audit.best_effort(entry | {"at": rfc3339(self._clock())} | failed, *replay.forget())
                raise
        response = plan.respond(blobs)
        self._audit.best_effort(entry | {"at": rfc3339(self._clock())}, *plan.also, *replay.finish(plan, response))
        return response

    @contextmanager
    def _undone_on_failure(self, plan: Plan) -> Iterator[list[Publish]]:
        """A list for the steps that were done; if the block fails and records hang on them, they are undone."""
        published: list[Publish] = []
        try:
            yield published
        except BaseException:
            for step in published if plan.changes else ():
                with suppress(AppError):  # the first failure is the one to tell
                    if step.held:
                        with closing(step.blobs.read(step.path)) as chunks:
                            step.held.staged = step.blobs.stage(chunks)
                    step.blobs.remove(step.path)
            _discard(plan)
            raise

    def _step(self, step: BlobStep, published: list[Publish]) -> Blob:
        if isinstance(step, Act):
            return step.run() or Blob("", 0, 0.0, "")
        if isinstance(step, Remove):
            with suppress(NotFound) if step.or_gone else nullcontext():
                step.blobs.remove(step.path, if_match=step.if_match)
            return Blob(step.path, 0, 0.0, "")
        try:
            blob = step.blobs.publish(step.staged, step.path, if_match=step.if_match, if_none_match=step.if_none_match)
        except NotFound as error:
            if not step.held:
                raise
            (code, detail), step.held.share = HELD_IS_GONE, ""
            raise Invalid(f"{step.held.name} {detail}", faults=[Fault(f"/{step.held.field}", code, detail)]) from error
        published.append(step)
        return blob

    def _entry(self, request: Request, caller: Caller, action: str, outcome: str = "ok", code: str = "") -> Value:
        return self._audit.entry(caller, request.door, request.id, request.address, action, outcome, code)


def _discard(plan: Plan) -> None:
    for step in plan.steps:
        if isinstance(step, Publish) and not step.held and not step.waits:
            with suppress(AppError):  # a sweep finds what stays
                step.blobs.discard(step.staged)


# ---- the application


class App:
    """The application behind every door (see Host): its parts, and what a runner asks of them."""

    def __init__(self, config: Config, registry: Registry, clock: Clock = time.time, *, strict: bool = True) -> None:
        """Build providers and resources and open nothing. ConfigError lists every fault; without `strict` they are kept
        in `faults`, for an App that is only looked at."""
        built = Builder(config, registry)
        if strict and built.faults:
            count = how_many(len(built.faults), "fault")
            raise ConfigError(f"{config.origin} has {count}", faults=plugin("toml_advice").located(config, built.faults))
        self.config, self.title, self.clock, self.registry = config, config.site.title, clock, registry
        self.runs_jobs = False  # a server sets it before it opens the App in its workers
        self._jobs: Any = None
        self.faults, self.providers, self.statics = built.faults, built.providers, built.statics
        self.resources, self.indexes, self.declared = built.resources, built.indexes, built.declared
        self.menu: Sequence[Mapping[str, str]] = built.menu  # of the top bar; empty means all apps
        self.state = cast(Records, built.state)
        self.health, self.audit = Health(built.providers, built.needed), Audit(self.state, clock)
        self.office = plugin("office").Office(config, self.state, self.audit, self.health, clock)
        self.flow = Flow(built, self.office, self.audit, self.health, clock, lambda: self.triggers)
        self.needed, self.audit_stores, self.languages = built.needed, built.audit_stores, built.languages
        self.channels = built.channels
        self.began_at = clock()
        self.queues: Callable[[], Mapping[str, str]] = dict  # states of the queues that this server works on, by name
        if built.state is not None:
            plugin("admin").join(self)

    @property
    def authority(self) -> SessionAuthority:
        return cast("SessionAuthority", self.office.authority)

    @cached_property
    def triggers(self) -> list[Trigger]:
        found = self.extensions(Trigger)
        for one in found:
            cast(Any, one).site = self
        return found

    @cached_property
    def inspection(self) -> Any:
        """What `server check` looks for (plugins/check.py)."""
        return plugin("check").Inspection(self)

    def open(self) -> None:
        """Open the providers and make what they need. One that is away answers 503 until it is back; the others work."""
        for static in self.statics:
            with suppress(Unavailable, NotPermitted):
                static.open()
        self.health.open()
        plugin("clock_watch").share_ids(self)
        if self.runs_jobs and self._jobs is None:
            jobs = self.extensions(Job)  # type: ignore[type-abstract]
            self._jobs = plugin("jobs").Jobs(self, jobs, self.config.site.data / "jobs.lock")
            self._jobs.start()

    def close(self) -> None:
        if "refusals" in vars(self.office):
            self.office.refusals.flush()
        if self._jobs:
            self._jobs.stop()
            self._jobs = None
        for provider in (*self.providers.values(), *self.statics):
            provider.close()

    def handle(self, request: Request, guard: _Guard = lambda: None) -> Response:
        """The flow, counted by what came of it."""
        code, action = AppError.code, request.action
        try:
            response = self.flow.handle(request, guard)
            code = "ok"
            if response.created:  # by an update, too
                action = Action.CREATE
            return response
        except Exception as error:
            said = getattr(plugin("working").reason() or error, "code", None)  # what a guard raises may have one, too
            code = said if isinstance(said, str) else AppError.code
            raise
        finally:
            self.count("satchel_requests_total", request.door, request.resource or "/", action.value, code)

    def endpoint(self, kind: str, path: Sequence[str], name: str = "") -> Endpoint | None:
        own = self.resources.get(f"admin/{name}") if kind == "admin" else None
        return (own or RESOURCE_TYPES[kind]).endpoint(path)

    def describe(self, credential: str | None) -> list[Value]:
        caller, anybody = None if credential is None else self.authority.identify(credential), self.authority.identify("")
        return [
            {"type": one.type, "address": address, "title": one.title, "public": anybody.opens(address)}
            | (one.seen_by(caller) if caller else one).describe()
            for address, one in self.resources.items()
            if (address in self.declared or one.type == "admin") and (caller is None or caller.opens(address))
        ]

    @cached_property
    def held(self) -> Any:
        """Files that were chosen in pages which were refused (plugins/held_files.py)."""
        return plugin("held_files").HeldFiles(self)

    def ready(self) -> dict[str, str]:
        return {**self.health.ready(), **plugin("presence").key_trouble(self.office)}

    def site_id(self) -> str:
        return str(self.office.site_id())

    def seal(self, purpose: str, text: str) -> str:
        return self.authority.seal(purpose, text)

    def unseal(self, purpose: str, sealed: str) -> str | None:
        return self.authority.unseal(purpose, sealed)

    def extensions(self, family: type[_Kind]) -> list[_Kind]:
        """One object of each kind of a family, with its settings."""
        own: Mapping[str, Mapping[str, Any]] = self.config.extensions
        return [cast(Any, cls)(own.get(kind, {}), self.config) for kind, cls in self.registry.of(family).items()]

    @cached_property
    def meters(self) -> Any:
        """The counters of this process and of all that are forked after they were first asked for (plugins/metrics.py)."""
        workers = (self.config.http.workers or os.cpu_count() or 1) + self.config.sqs.workers
        processes = 2 * workers + 8  # twice: new workers may begin before the old ones have ended
        return plugin("metrics").Meters(processes, plugin("metrics").label_values(self))

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        self.meters.count(name, *labels, by=by)

    def observe(self, name: str, *labels: str, value: float) -> None:
        self.meters.observe(name, *labels, value=value)


# ==== 11. COMMANDS ===============================================================================================
# The argparse tree: server, auth, info; one cmd_* each. Results go to standard output, words for people to standard
# error; --json wherever a program might read.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS PLUGINS ASSEMBLY
# defines: Site read_toml load_site claim_data cmd_server_run cmd_server_init cmd_info UsageParser
#          option_type build_parser parse_arguments


class Site:
    """What a command works on and with. app.toml is read, and its plugins imported, when it is first needed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    @cached_property
    def _loaded(self) -> tuple[Config, Registry]:
        return load_site(self._args)

    @property
    def config(self) -> Config:
        return self._loaded[0]

    @property
    def registry(self) -> Registry:
        return self._loaded[1]

    def app(self, *, strict: bool = True) -> App:
        """The App, not open; ConfigError lists every fault of app.toml if `strict`."""
        return App(self.config, self.registry, strict=strict)

    @contextmanager
    def opened(self, *, only_state: bool = False) -> Iterator[App]:
        """As looked_at(), and its providers, or that of state alone, are open until the block ends."""
        with self.looked_at() as app:
            (app.state if only_state else app).open()
            yield app

    def looked_at(self, *, strict: bool = True, may_be_older: bool = False) -> AbstractContextManager[App]:
        """The App, not open. ConfigError with every fault of app.toml if `strict`; if data is older, but `may_be_older`: of
        commands that write nothing to it."""
        if not may_be_older:
            plugin("data_mark").refuse_older(self.config.site.data)
        return closing(self.app(strict=strict))

    @contextmanager
    def claimed(self) -> Iterator[App]:
        with claim_data(self.config.site.data), closing(self.app()) as app:
            plugin("data_mark").bring_up(app)
            yield app

    def operator(self) -> Caller:
        """Who runs the command."""
        return _operator()

    def say(self, *lines: str) -> None:
        """Prints lines for people, to standard error."""
        _say(*lines)

    def print(self, *lines: str) -> None:
        """Prints lines of the result, to standard output."""
        for line in lines:
            print(line, flush=True)

    def print_json(self, value: Json) -> None:
        print(dump_json(value, indent=2))


def read_toml(path: Path) -> tuple[Value, str]:
    """What app.toml says, and its text. ConfigError says where its syntax is wrong. Decimals stay exact."""
    import tomllib

    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}", hint=str(path)) from error
    except UnicodeDecodeError as error:
        detail = "it is not text in UTF-8, so save it as UTF-8"
        raise ConfigError(f"{path.name} is not TOML: {detail}", hint=str(path)) from error
    try:
        return tomllib.loads(text, parse_float=exact_number), text
    except (ValueError, ArithmeticError, RecursionError) as error:
        advice = plugin("toml_advice").toml_advice(text, str(error))
        raise ConfigError(f"{path.name} is not TOML: {error}{advice}", hint=str(path)) from error


def load_site(args: argparse.Namespace) -> tuple[Config, Registry]:
    """Configuration and plugins: --config, else ./app.toml, else the built-in starter."""
    path = Path(args.config or "app.toml")
    folder = path.absolute().parent
    if args.config or os.path.lexists(path):
        (raw, text), origin = read_toml(path), path.name
    else:
        raw, text, origin = read_toml(BUNDLED / "templates" / "starter.toml")[0], "", "the built-in starter"
    for option, place, key in (("data", "site", "data"), ("bind", "http", "bind"), ("workers", "http", "workers")):
        value = getattr(args, option)
        if value is not None and isinstance(raw.setdefault(place, {}), dict):
            raw[place][key] = str(Path(value).absolute()) if option == "data" else value
    registry = args.registry if args.registry.folder == folder.resolve() else load_registry(folder)
    config = read_config(raw, folder, origin, registry.provider_settings, registry.tables, registry.channel_settings)
    plugin("data_mark").check(config.site.data)
    return config._replace(lines=lambda: plugin("toml_advice").toml_lines(text)), registry


def _operator() -> Caller:
    """Whoever runs a command; standing at the machine is all the permission it takes."""
    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or os.environ.get("USERNAME") or "operator"
    return Caller(subject=f"cli:{name}")


def _say(*lines: str) -> None:
    """Prints lines for people, to standard error."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


# ---- server


@contextmanager
def claim_data(folder: Path) -> Iterator[None]:
    """Holds the data folder for one server. Workers that it forks do not hold it. Raises Unavailable if another has it."""
    try:
        plugin("disk").make_folder(folder)
        held = [os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)]
    except OSError as error:
        raise Unavailable(f"the data folder cannot be used: {error.strerror}", hint=str(folder)) from error

    def release() -> None:
        while held:
            os.close(held.pop())

    try:
        try:
            fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "another server runs on this data folder; stop it, or give this one its own with --data"
            raise Unavailable(problem, hint=str(folder)) from None
        os.register_at_fork(after_in_child=release)  # a worker that outlives a killed server must not keep it
        yield
    finally:
        release()


def _states_file(config: Config, number: int) -> Path:
    """Where the queue runner of this number, counted from 1, says how its queues are."""
    return config.site.data / f"queues-{number}.json"


def _keep_to_one_processor(number: int) -> None:
    """Lets this process run on one processor alone, another one for each number. Its threads take turns at the interpreter,
    and a change of turns between two processors costs more than most turns last: a third of the rate of a queue."""
    if sys.platform == "linux":
        allowed = sorted(os.sched_getaffinity(0))
        chosen = allowed[(os.getppid() + number) % len(allowed)]  # not the first one for each site of a machine
        os.sched_setaffinity(0, {chosen})


def _serve_sqs(app: App, states: Path, number: int, *, alone: bool) -> bool:
    """Whether it ended to begin anew."""

    def on_ready(queues: str) -> None:
        _say(f"{app.config.site.title} works on {queues} ({app.config.origin})")

    _keep_to_one_processor(number)
    app.runs_jobs = True
    runner = SqsRunner(app.config.sqs, app, plugin("sqs").connect, states, on_ready, alone=alone)
    runner.run()
    return runner.is_to_renew


# Plugins that the parent does not need, and its workers may.
_ASKED_FOR_LATE = tuple(
    """
    byte_ranges controls held_files jobs listeners passwords people refusals slow_clients file_times sql_counts
    sql_database sql_files sql_log sql_search sql_views sweeps unserved working around_record comments form_drafts
    form_import form_layout form_schema history import_files import_pages links mine move_pages moves option_controls
    row_rules saved_filters sql_joins several several_pages share_pages totals unfit view_extras waiting xlsx zip_writer
    file_copies file_moves file_trees app_home app_pages dashboards list_facts sql_groups sql_sums template_faults
    file_view quota_count share_folders tus upload_parts file_kinds kept_asked kept_files kept_pages file_steps
    at_work mailed_links readiness share_words tokens instants resumed_digest markdown_html markdown_tables zones
    choice_counts record_tests sql_facets big_folders put_aside
    """.split()
)


class _Serving:
    """What `server run` serves, of app.toml as it was read last."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.app = args, Site(args).app()
        self.wanted = set(args.runner or [HttpRunner.kind])
        self.listener: socket | None = None  # once the first generation has been made
        self.is_alone = True  # one runner of queues, which needs no parent
        self._check()

    def _check(self) -> None:
        if SqsRunner.kind in self.wanted and not self.app.config.sqs.queues:
            raise ConfigError("[sqs] queues is empty: name the queues that --runner sqs is to work on")

    def generation(self) -> Generation:
        """The processes that serve it."""
        app = self.app
        queue_workers = app.config.sqs.workers if SqsRunner.kind in self.wanted else 0
        states = {f"{SqsRunner.kind} {number}": _states_file(app.config, number) for number in range(1, queue_workers + 1)}
        if states:
            app.queues = partial(plugin("queue_states").read_states, list(states.values()))
        # Made before the first fork, so that all processes count in one place:
        _ = app.meters, app.office.throttle, plugin("public_forms").counters(app), app.triggers
        _ = app.authority  # likewise the keys: no process makes new ones in a folder whose disk is not mounted any more
        late = _ASKED_FOR_LATE + (SqsRunner.plugins if queue_workers else ())
        for name in late:  # now: another version may have taken the place of its files by then
            plugin(name)
        self.is_alone = self.is_alone and self.wanted == {SqsRunner.kind} and queue_workers == 1
        parts: dict[str, Callable[[], Any]] = {
            name: partial(_serve_sqs, app, path, number, alone=self.is_alone)
            for number, (name, path) in enumerate(states.items())
        }
        http = self._http() if HttpRunner.kind in self.wanted else None
        plugin("reserve").refill(app)
        if http:
            parts = {f"{HttpRunner.kind} {number}": http.run for number in range(1, http.workers + 1)} | parts

        def on_death(name: str) -> None:
            if name in states:
                states[name].unlink(missing_ok=True)

        gc.unfreeze()
        gc.collect()
        gc.freeze()  # what was made for all workers is not looked through for garbage again and again
        return Generation(parts, on_death, http)

    def _http(self) -> HttpRunner:
        """What serves HTTP; it listens."""
        config, app = self.app.config, self.app
        code = trouble = ""
        if not self.listener:
            app.open()
            code, trouble = _first_code(app)
            app.close()

        def on_ready(bound: str) -> None:
            address = config.site.url or bound
            people = f", for people {address}/" if address != bound else ""
            _say(f"{config.site.title} is at {bound}/ ({config.origin}{people})")
            if code:
                _say(f"Sign in as administrator within ten minutes: {address}/login/{code}")
            if trouble:
                _say(f"There is no sign-in link: {trouble}")

        app.runs_jobs = True
        runner = HttpRunner(config, app, app.queues, on_ready)
        runner.listen(self.listener)
        self.listener = runner.listener
        return runner

    def renewed(self) -> Generation:
        """The same of app.toml, plugins and templates as they are now. Raises AppError, and what plugins raise; then all is
        as it was."""
        before, folder = self.app, Path(self.args.config or "app.toml").absolute().parent
        plugin("reload").forget_modules(folder)
        self.args.registry = load_registry(folder)
        fixed = {"data": str(before.config.site.data), "bind": before.config.http.bind}
        config = Site(self.args).config
        said = {"data": str(config.site.data), "bind": config.http.bind}
        for name in [name for name in fixed if said[name] != fixed[name]]:
            LOG.warning("%s stays %s until the server is stopped and started again", name, fixed[name])
        self.app = Site(argparse.Namespace(**vars(self.args) | fixed)).app()
        try:
            self._check()
            self._keep_counting(before)
            return self.generation()
        except BaseException:
            self.app = before
            raise

    def _keep_counting(self, before: App) -> None:
        """In the same meters, if they fit."""
        plugin("presence").carry(before.providers, self.app.providers)
        known, needed = map(plugin("metrics").label_values, (before, self.app))
        config, of_old = self.app.config, before.config
        processes = (config.http.workers, config.sqs.workers) == (of_old.http.workers, of_old.sqs.workers)
        if processes and all(set(needed[label]) <= set(known[label]) for label in needed):
            self.app.meters = before.meters


def cmd_server_run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; several runners are children of this process, which opens nothing."""
    import logging

    serving, own = _Serving(args), os.getpid()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    LOG.setLevel(logging.INFO)  # libraries tell of warnings and errors alone
    reload = plugin("reload")
    watch = reload.Watch(Path(args.config or "app.toml").absolute()) if getattr(args, "reload", False) else None
    with claim_data(serving.app.config.site.data):
        for warning in plugin("permissions").warnings(serving.app.config, serving.app.providers):
            LOG.warning("warning: %s", warning)
        plugin("data_mark").bring_up(serving.app)
        first = serving.generation()
        for name in first.parts:
            first.on_death(name)  # of a server that was killed
        renewal = reload.Renewal(serving.renewed, watch)
        if several := renewal.run_alone(first) if serving.is_alone else first:
            Supervisor(several.parts, several.on_death, several.http, renewal).run()
    if os.getpid() == own and sys.stderr.isatty():  # workers come here too; a log needs no such line
        _say(f"{serving.app.title} has stopped")
    return 0


def _first_code(app: App) -> tuple[str, str]:
    """The administrator's first sign-in code, "" where none is needed; and why there is none while state is away."""
    try:
        return app.office.first_code(_operator()), ""
    except (Unavailable, NotPermitted) as error:
        return "", error.with_hint


def cmd_server_init(args: argparse.Namespace) -> int:
    """Write the starter, or an example, as a commented app.toml; an existing one is left alone."""
    path = Path(args.dir) / "app.toml"
    if path.exists():
        raise Conflict("app.toml exists here already; it was left as it is", hint=str(path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(bundled_text(f"example_{args.example}.toml" if args.example else "starter.toml"))
    except OSError as error:
        raise Unavailable(f"app.toml cannot be written there: {error.strerror}", hint=str(path)) from error
    if args.json:
        Site(args).print_json({"path": str(path)})
    else:
        print(path)
    return 0


# ---- info


def cmd_info(args: argparse.Namespace) -> int:
    """Facts about this installation: its version, resources and providers."""
    return cast(int, plugin("info").show(args, Site(args), ("version", "resources", "providers")))


# ---- the tree


_EXAMPLES = """\
examples:
  app.pyz server                                   serve; in an empty folder, a starter to look at
  app.pyz server init                              write that starter as app.toml, to change it
  app.pyz server init hr --example leave           write a whole site, with approval, into the folder hr
  app.pyz auth issue --subject ann --role staff    print a token for a program
  app.pyz auth link --subject ann --role staff     print a link with which a person signs in
README.md leads to the documentation of every command and every key of app.toml."""
_SERVER_EXAMPLES = """\
examples:
  app.pyz server --bind 127.0.0.1:9000
  app.pyz server --runner http --runner sqs
  app.pyz server check"""


def _help_width() -> int:
    """As argparse finds it for each argument by itself, for which it imports shutil."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given) - 2
    try:
        return (os.get_terminal_size().columns or 80) - 2
    except OSError:  # standard output is no terminal
        return 78


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=_help_width())


class UsageParser(argparse.ArgumentParser):
    """argparse whose mistakes are ConfigErrors that name what was probably meant; MAIN renders them like all others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": _help_formatter, **kwargs})

    def error(self, message: str) -> NoReturn:
        problem = re.sub(r"^argument (?:.*/)?(\S+): ", r"\1: ", message).replace(": must ", " must ", 1)
        raise ConfigError(problem, hint=f"{self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Finds unknown options before argparse does, which would take the word after one for a command."""
        words = list(sys.argv[1:] if args is None else args)
        if words == ["version"] and "--version" in self._option_string_actions:
            words = ["--version"]
        if words[:1] == ["help"] and any(map(self.takes_command, self._actions)):
            words = [*words[1:], "--help"]
        for word in words:
            name = word.partition("=")[0]
            if word == "--" or word in self.verbs():
                break
            if re.match(r"-[^0-9]", name) and not any(one.startswith(name) for one in self._option_string_actions):
                self.error(plugin("usage").unknown_option(self, name))
        return super().parse_known_args(words, namespace)

    def verbs(self) -> Mapping[str, UsageParser]:
        """The parsers of the commands below it."""
        found = [one.choices for one in self._actions if isinstance(one, argparse._SubParsersAction)]
        return cast(Mapping[str, UsageParser], found[0]) if found else {}

    @staticmethod
    def takes_command(action: argparse.Action) -> bool:
        """Whether an argument is a command, or the part of one that the command reads itself."""
        return isinstance(action, argparse._SubParsersAction) or action.dest in ("topic", "verb")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            self.error(plugin("usage").wrong_choice(self, action, value))


def option_type(kind: str) -> Callable[[str], Any]:
    """A `type` for argparse: reads an option as app.toml's converter of this kind reads a setting."""

    def convert(text: str) -> Any:
        try:
            found = CONVERTERS[kind](int(text) if kind in ("count", "positive") and text.isdecimal() else text, Path.cwd())
            return text if isinstance(found, Path) else found
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _show_help(parser: UsageParser, args: argparse.Namespace) -> int:
    """What a group of commands does by itself, such as `auth`."""
    parser.print_help(sys.stderr)
    return ConfigError.exit_code


def build_parser(registry: Registry, words: Collection[str] | None = None) -> UsageParser:
    """Every command with its options; `run` in the parsed namespace is the function to call. With `words`, the verbs of
    `server` and the commands of plugins are only named, and no file imported, unless they name them.

    Options that may stand before and after a verb are absent where they are not given: a verb's own default would
    overwrite what stood before it. The defaults are the root's.
    """
    common = UsageParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--config", metavar="FILE", help="configuration; default ./app.toml, else the built-in starter")
    common.add_argument("--data", type=option_type("folder"), metavar="DIR", help="data folder, instead of [site] data")
    common.add_argument("--json", action="store_true", help="print JSON")
    parser = UsageParser(prog="app.pyz", description="Satchel: a team's intranet in one file.", epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"satchel {__version__}")
    parser.set_defaults(config=None, data=None, json=False, bind=None, workers=None, runner=None)
    parser.set_defaults(run=partial(_show_help, parser), registry=registry)
    groups = parser.add_subparsers(title="commands", metavar="server | auth | info", parser_class=UsageParser)
    verbs = {
        "server": _add_server(groups, common, registry, is_named=words is None or "server" in words),
        "auth": _add_auth(groups, common),
        "info": _add_info(groups, common),
    }
    for kind in registry.kinds(Command):
        group, _, verb = kind.partition(" ")
        if words is not None and verb not in words:
            verbs[group].choices[verb] = common  # any parser does, as no word asks it; making one takes long
            continue
        command = registry.find(Command, kind)()  # type: ignore[type-abstract]
        below = verbs[group].add_parser(verb, parents=[common], help=command.help, epilog=command.epilog)
        command.arguments(below)
        below.set_defaults(run=partial(_run_command, command))
    for one in verbs.values():
        one.metavar = " | ".join(one.choices)
    return parser


def _run_command(command: Command, args: argparse.Namespace) -> int:
    return command.run(args, Site(args))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line; ConfigError says what is wrong with it. Plugins beside app.toml may bring commands; one that
    does not load stops the command that was typed, and not the help."""
    words = list(sys.argv[1:] if argv is None else argv)
    named = [""]  # by --config, which argparse knows by its first letters too; the last one counts
    for word, after in pairwise([*words, ""]):
        option, _, value = word.partition("=")
        if len(option) > 2 and "--config".startswith(option):
            named.append(value or after)
    try:
        registry = load_registry(Path(named[-1] or "app.toml").absolute().parent)
    except ConfigError:
        registry = load_registry(BUNDLED / "plugins")  # without those; load_site says what is wrong with them
    try:
        if not {"-h", "--help", "help"} & set(words) or len(words) == 1:  # the program's own help names groups alone
            args = build_parser(registry, words).parse_args(words)
            if getattr(args.run, "func", None) is not _show_help:  # which says what each command is for
                return args
    except ConfigError:
        pass  # what is meant may be a command that was not built
    return build_parser(registry).parse_args(words)


def _add_info(groups: Any, common: UsageParser) -> Any:
    info = groups.add_parser("info", parents=[common], help="facts about this installation")
    info.set_defaults(run=cmd_info)
    return info.add_subparsers(parser_class=UsageParser)


def _add_server(groups: Any, common: UsageParser, registry: Registry, *, is_named: bool) -> Any:
    others = [kind.removeprefix("server ") for kind in registry.kinds(Command) if kind.startswith("server ")]
    help_ = f"serve; or {', '.join(['run', 'init', *others])}"
    if not is_named:
        return groups.add_parser("server", help=help_).add_subparsers(parser_class=UsageParser)
    serving = UsageParser(add_help=False, argument_default=argparse.SUPPRESS)
    serving.add_argument(
        "--bind", type=option_type("address"), metavar="HOST:PORT", help="where to listen, instead of [http] bind"
    )
    serving.add_argument(
        "--runner", action="append", choices=["http", "sqs"], help="http (the default) or sqs; twice for both"
    )
    serving.add_argument(
        "--workers", type=option_type("count"), metavar="N", help="HTTP's worker processes, instead of [http] workers"
    )
    serving.add_argument(
        "--reload", action="store_true", help="take over what changes in app.toml, plugins and templates, as SIGHUP does"
    )
    server = groups.add_parser("server", parents=[common, serving], help=help_)
    server.set_defaults(run=cmd_server_run)
    server.epilog = _SERVER_EXAMPLES
    verbs = server.add_subparsers(parser_class=UsageParser)
    verbs.add_parser("run", parents=[common, serving], help="serve (the default)").set_defaults(run=cmd_server_run)
    init = verbs.add_parser("init", help="write the starter, or an example, as app.toml", argument_default=argparse.SUPPRESS)
    init.add_argument("--json", action="store_true", help="print JSON")
    names = ("leave", "inventory", "expenses")
    init.add_argument("--example", choices=names, default="", metavar="E", help=f"a whole site: {', '.join(names)}")
    init.add_argument("dir", nargs="?", default=".", metavar="DIR", help="folder to write it in; default .")
    init.set_defaults(run=cmd_server_init)
    return verbs


def _add_auth(groups: Any, common: UsageParser) -> Any:
    auth = groups.add_parser("auth", parents=[common], help="issue, list, show, revoke and check tokens; sign-in links")
    auth.set_defaults(run=partial(_show_help, auth))
    return auth.add_subparsers(parser_class=UsageParser)


# ==== 12. MAIN ===================================================================================================
# argv to exit code; the command line's only error rendering.
# uses: ERRORS VALUES COMMANDS
# defines: main


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 ok, 1 bug, 2 usage or configuration, 3 denied, 4 not found, 5 conflict,
    6 bad input, 7 unavailable, 130 interrupted."""
    wants_json = "--json" in (sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    simplefilter("ignore", FutureWarning)  # of re, about patterns in app.toml
    try:
        args = parse_arguments(argv)
        code = int(args.run(args))
        sys.stdout.flush()  # so that a reader that has gone is noticed here, and not after main
        return code
    except AppError as error:
        _report(error, wants_json)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: say nothing more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # of standard output: those of providers left as AppErrors
        if error.errno not in StorageFull.errors:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        full = StorageFull("the result cannot be written: the disk is full")
        _report(full, wants_json=False)
        return full.exit_code


def _prepare_streams() -> None:
    """Writes UTF-8 whatever the locale. A closed stream leads to /dev/null: a file that is opened later must not get its
    number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (for as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _report(error: AppError, wants_json: bool) -> None:
    """Prints the error to standard error, and with --json also as an object to standard output."""
    if wants_json:
        problem = {"code": error.code, "detail": error.message, "errors": [fault._asdict() for fault in error.faults]}
        print(dump_json(problem, indent=2))
    print(f"error: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
    for fault in error.faults:
        if fault.detail not in error.message:
            print(f"  {fault.pointer}: {fault.detail}" if fault.pointer else f"  {fault.detail}", file=sys.stderr)


if __name__ == "__main__":
    sys.modules["app"] = sys.modules["__main__"]  # a plugin's `import app` must find this module, not load it again
    sys.exit(main())
