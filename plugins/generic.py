"""Records on any HTTP service of JSON objects, and blobs on any HTTP server that takes GET, PUT and DELETE.

The settings say what the service is like; a preset says it for services that are known. What a service cannot filter or
order is done here, over at most `max_records` records.
"""

from __future__ import annotations

import email.utils
import hashlib
import math
import os
import re
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urljoin, urlsplit

import app
from app import (
    CHUNK_BYTES,
    CONVERTERS,
    REQUIRED,
    RESERVED_FIELDS,
    STAGED_KEPT_S,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    CompiledQuery,
    ConfigError,
    Conflict,
    Delete,
    Fault,
    Folder,
    Insert,
    Invalid,
    Json,
    NotFound,
    NotPermitted,
    Page,
    PreconditionFailed,
    Provider,
    Query,
    Record,
    Records,
    Setting,
    Staged,
    StorageFull,
    TooLarge,
    Unavailable,
    Unsupported,
    Update,
    Value,
    Write,
    check_blob,
    check_commit,
    check_path,
    check_value,
    check_version,
    disk_errors,
    dump_json,
    is_instant,
    is_key,
    load_json,
    member_pointer,
    nearest,
    need_blob,
    next_version,
    plugin,
    rechunk,
    whole_texts,
)

if TYPE_CHECKING:
    from plugins.web_client import HttpAnswer, Texts

web = plugin("web_client")

# ==== 1. SERVICE =================================================================================================
# Asking the service of one provider: what goes into each request, and what the answers mean that nobody hoped for.
# uses: ERRORS VALUES plugin:web_client
# defines: NamedLocks LOCKS at_pointer Service

_Error = TypeVar("_Error", bound=AppError)


class NamedLocks:
    """One holder of each name among the threads of this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(self, names: set[str], wait_s: float) -> Iterator[None]:
        """All the names at once; TimeoutError if others keep one for so long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._held.isdisjoint(names), wait_s):
                raise TimeoutError("others write the same all the while")
            self._held |= names
        try:
            yield
        finally:
            with self._changed:
                self._held -= names
                self._changed.notify_all()


LOCKS = NamedLocks()  # where a service checks no preconditions, this process does


def at_pointer(value: Json, pointer: str) -> Json:
    """What a JSON pointer (RFC 6901) names inside a value; None if nothing is there."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            value = value[int(name)] if re.fullmatch("[0-9]{1,9}", name) and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


class Service:
    """The HTTP service of a provider, as its settings describe it. `context` says in errors what was being done."""

    def __init__(self, name: str, base: SplitResult, options: Mapping[str, Any]) -> None:
        self.name, self.base, self.options = name, base, options
        self.root = base.path.rstrip("/")
        self.secrets = [word for text in options["headers"].values() if len(word := text.rpartition(" ")[2]) > 3]
        self.client = web.HttpClient(
            base, connections=options["connections"], connect_timeout_s=options["connect_timeout"],
            silence_s=options["read_timeout"], answer_timeout_s=options["answer_timeout"], tls_ca=options["tls_ca"],
        )  # fmt: skip

    # -- requests

    def ask(
        self, context: str, method: str, path: str, *, query: Sequence[tuple[str, str]] = (),
        headers: Texts = MappingProxyType({}), body: bytes | Iterable[bytes] | None = None, whole: bool = True,
    ) -> HttpAnswer:  # fmt: skip
        """The head of the answer to one request, whatever its status. Not `whole`: the answer may take its time, as long as
        something comes."""
        target = self.root + path + ("?" + urlencode(query, quote_via=quote) if query else "")
        agent = {"Accept": "application/json, */*;q=0.5", "User-Agent": f"satchel/{app.__version__}"}
        with self.translated(context, unsure=method not in ("GET", "HEAD")):
            sent = {**agent, **self.options["headers"], **headers}
            return cast("HttpAnswer", self.client.exchange(method, target, sent, body, whole=whole))

    def body(self, context: str, answer: HttpAnswer, *, unsure: bool = False) -> bytes:
        """The body of an answer; TooLarge past max_answer, without reading the rest."""
        most, data = self.options["max_answer"], bytearray()
        with self.translated(context, unsure=unsure):
            for chunk in answer.chunks():
                data += chunk
                if len(data) > most:
                    detail = f"the answer has over {most:,} bytes: is url the right service's? If it is, raise max_answer"
                    raise self.error(TooLarge, context, detail)
        return bytes(data)

    def json(self, context: str, answer: HttpAnswer, *, unsure: bool = False) -> Json:
        """The JSON of an answer, None for an empty one."""
        data = self.body(context, answer, unsure=unsure)
        try:
            return load_json(data) if data else None
        except BadRequest as error:
            media = answer.header("content-type").partition(";")[0] or "no media type"
            detail = f"the answer ({media}) is not JSON: does url lead to the service itself, or to a sign-in page or proxy?"
            raise self.error(Unavailable, context, detail, f"{error.message}: {data[:200]!r}") from error

    def ping(self) -> float:
        began = time.perf_counter()
        with closing(self.ask("ping", "HEAD", self.options["ping"])) as answer:
            if answer.status in (401, 403) or (answer.status >= 500 and answer.status != 501):
                raise self.refusal("ping", answer)
        return time.perf_counter() - began

    def condition(self, context: str, etag: str | None) -> dict[str, str]:
        """The header that has the service check what is there: an entity tag, or None for nothing."""
        if etag is None:
            return {"If-None-Match": "*"}
        if not etag:
            raise self.misfit(context, "the service gives no ETag to check by")
        return {"If-Match": etag}

    @contextmanager
    def alone(self, *names: str, unless: bool) -> Iterator[None]:
        """Alone in this process with these records or files, unless the service itself keeps writers apart."""
        places = set() if unless else {f"{self.base.geturl()} {name}" for name in names}
        with ExitStack() as stack:
            with self.translated(f"waiting for {names[0]}"):
                stack.enter_context(LOCKS.held(places, self.options["answer_timeout"]))
            yield

    # -- errors

    def error(self, cls: type[_Error], context: str, detail: str, hint: Any = "") -> _Error:
        """An error of this provider; no secret of its headers is in the hint."""
        said = f"{self.base.scheme}://{self.base.netloc}{self.base.path}: {hint}" if hint else self.base.netloc
        for secret in self.secrets:
            said = said.replace(secret, "…")
        return cls(f"provider {self.name}: {context}: {detail}", hint=said)

    def misfit(self, context: str, detail: str) -> Unavailable:
        """The error of an answer that is not what the settings say."""
        return self.error(Unavailable, context, f"{detail}: do preset and settings fit the service?")

    @contextmanager
    def translated(self, context: str, *, unsure: bool = False) -> Iterator[None]:
        """Errors of sockets and of HTTP leave as Unavailable; `unsure`: the service may have done what was asked."""
        from http.client import HTTPException

        doubt = "; whether it was done is not known" if unsure else ""
        try:
            yield
        except web.NotConnected as error:
            raise self._not_connected(context, error.__cause__) from error
        except TimeoutError as error:
            advice = "is it overloaded? If not, raise read_timeout or answer_timeout"
            detail = f"the service did not answer in time{doubt}: {advice}"
            raise self.error(Unavailable, context, detail, error) from error
        except (OSError, HTTPException) as error:
            detail = f"the connection or the answer broke off ({type(error).__name__}){doubt}: look at the service's log"
            raise self.error(Unavailable, context, detail, error) from error

    def _not_connected(self, context: str, cause: BaseException | None) -> AppError:
        if isinstance(cause, PermissionError):
            detail = "url leads to a link-local address, which is never asked: set it to the service's own"
            return self.error(ConfigError, context, detail, cause)
        detail = f"the service cannot be reached ({type(cause).__name__}): is it running, are url and tls_ca right?"
        return self.error(Unavailable, context, detail, cause)

    def refusal(
        self, context: str, answer: HttpAnswer, *, table: str = "", otherwise: type[AppError] = ConfigError
    ) -> AppError:
        """The error that a status stands for, where the caller has no better one; `otherwise` where the service blames the
        request. The answer is read and closed."""
        status, said = answer.status, self._excerpt(answer)
        if 300 <= status < 400:
            detail = f"the service redirects (status {status}), which is not followed: set url to where it leads"
            return self.error(ConfigError, context, detail, answer.header("location"))
        if status == 403 and context != "ping" and self._is_up():
            detail = "the service does not allow this (status 403): may the credential in headers do it there?"
            return self.error(NotPermitted, context, detail, said)
        if status in (401, 403):
            detail = f"the service refuses the credential (status {status}): check headers, and what it may do there"
            return self.error(Unavailable, context, detail, said)
        if status == 404:
            what = f"no table {table}" if table else "nothing there"
            return self.error(
                ConfigError, context, f"the service has {what} (status 404): make it, or correct the path", said
            )
        if status in (413, 507):
            cls: type[AppError] = TooLarge if status == 413 else StorageFull
            return self.error(cls, context, f"the service has no room (status {status})", said)
        if status == 429 or status >= 500:
            return self._failure(context, answer, said)
        return self.error(otherwise, context, f"the service refuses it (status {status}): do the settings fit it?", said)

    def _failure(self, context: str, answer: HttpAnswer, said: str) -> Unavailable:
        what = "wants fewer requests" if answer.status == 429 else "failed"
        error = self.error(Unavailable, context, f"the service {what} (status {answer.status}): look at its log", said)
        if re.fullmatch("[0-9]{1,5}", after := answer.header("retry-after")):
            error.retry_after_s = max(int(after), 1)
        return error

    def _is_up(self) -> bool:
        """Whether the service as such answers."""
        with suppress(AppError):
            self.ping()
            return True
        return False

    def _excerpt(self, answer: HttpAnswer) -> str:
        """The beginning of a body that explains a status, for the operator; "" if it breaks off."""
        try:
            with self.translated("reading"):
                return next(answer.chunks(), b"")[:500].decode(errors="replace")
        except Unavailable:
            return ""
        finally:
            answer.close()  # another request may need the connection before the caller is done with this answer


# ==== 2. RECORDS =================================================================================================
# Records in a service of JSON objects: what they look like there, how its lists are paged and filtered, and writes that
# others may come between.
# uses: ERRORS VALUES CONTRACTS PROVIDERS SERVICE plugin:web_client
# defines: EXACT_JS PLACEHOLDER fill_query is_double inexact filter_text RecordShape ListPage Paging ByKey ByNumber ByCursor
#          OnePage Pager ServiceRecords

EXACT_JS = 2**53  # JavaScript holds every integer up to here
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def fill_query(pattern: str, values: Texts) -> list[tuple[str, str]]:
    """The parameters of "name=text&…" with a value for each {placeholder}; those that lack a value are left out."""
    pairs = [one.partition("=")[::2] for one in pattern.split("&") if one]
    kept = [pair for pair in pairs if set(PLACEHOLDER.findall("=".join(pair))) <= set(values)]
    return [(PLACEHOLDER.sub(lambda m: values[m[1]], n), PLACEHOLDER.sub(lambda m: values[m[1]], v)) for n, v in kept]


def is_double(number: int | float | Decimal) -> bool:
    """Whether a JSON number is still the same after JavaScript has read and written it."""
    if isinstance(number, Decimal):
        return math.isfinite(float(number)) and Decimal(repr(float(number))) == number
    return not EXACT_JS < abs(number) < 1e21  # between these it writes other digits than it read


def inexact(value: Json, pointer: str = "") -> Iterator[str]:
    """Pointers of the numbers that JavaScript would change."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in inner:
            yield from inexact(item, member_pointer(pointer, str(name)))
    elif isinstance(value, Decimal | int | float) and not is_double(value):
        yield pointer


def filter_text(op: str, value: Json) -> str:
    """A condition's value for a query; "" if a service might read it more narrowly than it is meant."""
    if isinstance(value, str):
        is_plain = re.fullmatch(r"[\w@:+-][\w .@:+-]*", value) and value == value.strip()
        return value if op == "eq" and is_plain else ""
    if isinstance(value, bool):
        return str(value).lower() if op == "eq" else ""
    is_whole = isinstance(value, int | float | Decimal) and math.isfinite(value) and value == int(value)
    if is_whole and abs(value) < EXACT_JS:
        value = int(value)
    elif op == "eq":
        return ""
    text = str(value)
    return text if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text) else ""


class RecordShape:
    """How the service writes records: under which path, and what their JSON says."""

    def __init__(self, service: Service) -> None:
        self._service, one = service, service.options
        self._key, self._version = one["key"], one["version"]
        self.own_fields = frozenset((one["key"], one["version"], *one["service_fields"]))
        self.counted_there = one["version"] in one["service_fields"]  # versions, by the service and not by this provider

    def path(self, table: str, key: str | None = None) -> str:
        """The path of a table's records, or of one."""
        pattern = str(self._service.options["records"])
        if key is not None:
            pattern = self._service.options["record"] or pattern + "/{key}"
        name = "%2E" * len(key or "") if key in (".", "..") else quote(key or "", safe="")
        return pattern.replace("{table}", quote(table, safe="")).replace("{key}", name)

    def holds(self, key: str) -> bool:
        """Whether the service can have a record under the key."""
        pattern = self._service.options["keys"]
        return is_key(key) and (not pattern or bool(re.fullmatch(pattern, key)))

    def record(self, context: str, item: Json) -> Record:
        """A record as the service gives it."""
        if not isinstance(item, dict):
            raise self._service.misfit(context, "a record is not a JSON object")
        drops_nulls = self._service.options["drop_nulls"]
        value = {name: v for name, v in item.items() if v is not None or not drops_nulls}
        key, version = value.pop(self._key, None), value.pop(self._version, None) or 1
        key = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        if not isinstance(key, str) or not is_key(key):
            raise self._service.misfit(context, f"a record has no key in {self._key}")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            return Record(key, 1, {}, f"has no version in {self._version}")
        codes = {fault.code for fault in check_value(value)}
        if "depth" in codes:
            return Record(key, version, {}, "is nested in more than 100 lists and objects")
        return Record(key, version, whole_texts(value) if codes else value)


# ---- lists


class ListPage(NamedTuple):
    """A page of a list: `following` is the cursor or link of the next one, "" if the answer has none; `total` is how many
    records the service says there are, None if it does not."""

    records: list[Record]
    following: str
    total: int | None


class Paging(ABC):
    """A way in which services give lists in pages: what stands for the placeholders of the query, page by page."""

    def __init__(self, size: int) -> None:
        self.size = size

    def first(self) -> dict[str, str]:
        return {"limit": str(self.size)}

    @abstractmethod
    def after(self, page: ListPage) -> dict[str, str] | None:
        """None if that was the last page."""


class ByKey(Paging):
    """Each page begins behind the last key of the one before: no record comes twice and none is skipped."""

    def __init__(self, size: int, begin: str, *, names_next: bool) -> None:
        super().__init__(size)
        self._begin, self._names_next = begin, names_next

    def first(self) -> dict[str, str]:
        return super().first() | ({"key": self._begin} if self._begin else {})

    def after(self, page: ListPage) -> dict[str, str] | None:
        is_last = not page.records or (self._names_next and not page.following)
        return None if is_last else super().first() | {"key": page.records[-1].key}


class ByNumber(Paging):
    """By the number of the page, or of the records before it, until a page has none."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._number, self._read = 1, 0

    def first(self) -> dict[str, str]:
        return super().first() | {"page": str(self._number), "offset": str(self._read)}

    def after(self, page: ListPage) -> dict[str, str] | None:
        self._number, self._read = self._number + 1, self._read + len(page.records)
        return self.first() if page.records else None


class ByCursor(ByNumber):
    """By the cursor or link that each page but the last has of the next one."""

    def after(self, page: ListPage) -> dict[str, str] | None:
        super().after(page)
        name = "link" if re.match(r"https?://|[/?]", page.following) else "cursor"
        return self.first() | {name: page.following} if page.following else None


class OnePage(Paging):
    """The whole list in one answer."""

    def after(self, page: ListPage) -> None:
        return None


class Pager:
    """Reads the lists of a service, whichever way it pages them."""

    def __init__(self, service: Service, shape: RecordShape) -> None:
        self._service, self._shape, self._options = service, shape, service.options

    def records(self, query: Query, begin: str = "", descends: bool = False, wanted: int = 0) -> Iterator[Record]:
        """The records that the service selects, each once; in the order of keys, behind `begin`, if it can page by keys.

        `wanted`: how many will do, 0 if nobody knows. TooLarge past max_records.
        """
        context, most = f"reading {query.table}", self._options["max_records"]
        pattern = self._options["backward" if descends else "forward"]
        if pattern:
            found = self._ordered(query, pattern, begin, descends, wanted)
        elif self._options["next"] or {"page", "offset"} & set(PLACEHOLDER.findall(self._options["query"])):
            found = self._settled(query)
        else:
            found = self._whole(query)
        for number, record in enumerate(found):
            if number == most:
                detail = f"over {most:,} records would have to be read: narrow the filter, or raise max_records"
                raise self._service.error(TooLarge, context, detail)
            yield record

    def count(self, table: str) -> int:
        """The number of a table's records by the query that `count` sets."""
        context = f"counting {table}"
        pairs = fill_query(self._options["count"], {})
        with closing(self._service.ask(context, "GET", self._shape.path(table), query=pairs)) as answer:
            if answer.status != 200:
                raise self._service.refusal(context, answer, table=table)
            total = self._total(answer, self._service.json(context, answer))
        if total is None:
            raise self._service.misfit(context, "the answer has no number at total")
        return total

    def _ordered(self, query: Query, pattern: str, begin: str, descends: bool, wanted: int) -> Iterator[Record]:
        size = min(wanted or self._options["page_size"], self._options["page_size"])
        paging = ByKey(size, begin if self._shape.holds(begin) else "", names_next=bool(self._options["next"]))
        last = begin
        for page in self._pages(query, pattern, paging):
            for record in page.records:
                if last and (record.key >= last if descends else record.key <= last):
                    detail = "the records do not come in the order of their keys"
                    raise self._service.misfit(f"reading {query.table}", detail)
                last = record.key
                yield record

    def _settled(self, query: Query) -> Iterator[Record]:
        """All pages are read before any record is given, and read again if the total changed meanwhile."""
        most = self._options["max_records"]
        for _ in range(3):
            records, totals = dict[str, Record](), set[int | None]()
            size = min(most + 1, self._options["page_size"])
            paging = ByCursor(size) if self._options["next"] else ByNumber(size)
            for page in islice(self._pages(query, self._options["query"], paging), most + 1):
                records |= {record.key: record for record in page.records}
                totals.add(page.total)
                if len(records) > most:
                    break
            if len(totals - {None}) <= 1:
                return iter(records.values())
        detail = "the list changed all the while it was read: try again"
        raise self._service.error(Unavailable, f"reading {query.table}", detail)

    def _whole(self, query: Query) -> Iterator[Record]:
        most = self._options["max_records"]
        [page] = self._pages(query, self._options["query"], OnePage(most + 1))
        read, total = len(page.records), page.total or 0
        if read < total and read <= most:
            detail = f"the service gives {read:,} of {total:,} records: set query to page"
            raise self._service.error(TooLarge, f"reading {query.table}", detail)
        return iter({record.key: record for record in page.records}.values())

    def _pages(self, query: Query, pattern: str, paging: Paging) -> Iterator[ListPage]:
        filters = self._filters(query)
        values: dict[str, str] | None = paging.first()
        while values is not None:
            page = self._page(query.table, pattern, values, filters)
            if page is None:  # it does not know such a field, say: all is filtered here
                filters = []
                continue
            yield page
            values = paging.after(page)

    def _page(self, table: str, pattern: str, values: Texts, filters: Sequence[tuple[str, str]]) -> ListPage | None:
        """One page; None if the service refuses the filters."""
        context, path = f"reading {table}", self._shape.path(table)
        pairs = self._parameters(fill_query(pattern, values), filters)
        if "link" in values:
            path, pairs = self._followed(context, values["link"], path)
        with closing(self._service.ask(context, "GET", path, query=pairs)) as answer:
            if answer.status in (400, 422) and filters:
                return None
            if answer.status != 200:
                raise self._service.refusal(context, answer, table=table)
            data = self._service.json(context, answer)
            return ListPage(self._items(context, data), self._following(answer, data), self._total(answer, data))

    def _items(self, context: str, data: Json) -> list[Record]:
        items = at_pointer(data, self._options["items"])
        if not isinstance(items, list):
            raise self._service.misfit(context, f"the answer has no list at {self._options['items'] or 'its top'}")
        records = [self._shape.record(context, item) for item in items]
        if records and all(record.damage for record in records):  # then it is the settings that do not fit
            raise self._service.misfit(context, f"record {records[0].key} {records[0].damage}")
        return records

    def _total(self, answer: HttpAnswer, data: Json) -> int | None:
        place = self._options["total"]
        if place.startswith("header:"):
            text = answer.header(place.removeprefix("header:"))
        else:
            found = at_pointer(data, place) if place else None
            text = "" if isinstance(found, bool) else str(found)
        return int(text) if re.fullmatch("[0-9]{1,15}", text) else None

    def _following(self, answer: HttpAnswer, data: Json) -> str:
        """The cursor or link of the page that follows; "" at the end."""
        place = self._options["next"]
        if place == "header:Link":
            match = re.search(r'<([^<>]*)>[^,<]*;\s*rel="?next"?', answer.header("link"))
            return match[1] if match else ""
        found = at_pointer(data, place) if place else None
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""

    def _followed(self, context: str, link: str, path: str) -> tuple[str, list[tuple[str, str]]]:
        """Path and query of a page that the service links to; ConfigError if that is not below url."""
        base, root = self._service.base, self._service.root
        target = urlsplit(urljoin(base._replace(path=root + path).geturl(), link))
        same_host = (target.scheme, target.netloc) == (base.scheme, base.netloc)
        if not same_host or not target.path.startswith(root + "/"):
            advice = "is url what the service calls itself?"
            detail = f"the next page is at another place than url, where nothing is asked: {advice}"
            raise self._service.error(ConfigError, context, detail, link)
        return target.path.removeprefix(root), parse_qsl(target.query, keep_blank_values=True)

    # -- filters

    def _filters(self, query: Query) -> list[tuple[str, str]]:
        """Parameters for those conditions that the service is certain not to read more narrowly than they are meant."""
        found = []
        for condition in query.where:
            op = {"gt": "gte", "lt": "lte"}.get(condition.op, condition.op)
            text, pattern = filter_text(op, condition.value), self._options["filters"].get(op)
            if not text or not pattern or not self._may_filter(condition.field):
                continue
            if is_instant(query, condition):  # a service that compares texts would leave out what is the same moment
                continue
            quoted = dump_json(text) if isinstance(condition.value, str) else text
            found += fill_query(pattern, {"field": condition.field, "value": text, "json": quoted})
        return found

    def _may_filter(self, field: str) -> bool:
        is_plain = re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", field)
        return bool(is_plain) and field not in self._shape.own_fields and field not in ("id", "version")

    def _parameters(self, pairs: Sequence[tuple[str, str]], filters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The query of a page: of several filters with one name, which the service may not take, the first will do, unless
        it takes them joined into one."""
        join = self._options["join"]
        if not join:
            first: dict[str, str] = {}
            for name, value in filters:
                first.setdefault(name, value)
            return [*pairs, *first.items()]
        found: dict[str, list[str]] = {}
        for name, value in (*pairs, *filters):
            found.setdefault(name, []).append(value)
        return [(name, v[0] if len(v) == 1 else join.join(f"({one})" for one in v)) for name, v in found.items()]


# ---- the contract


class ServiceRecords(Records):
    """Records of a service. What it cannot filter or order is done here over at most `max_records` records."""

    atomic = False
    most_writes = 1
    service: Service
    shape: RecordShape
    pager: Pager

    @property
    def own_fields(self) -> frozenset[str]:
        """The fields that the service or this provider keep for themselves."""
        return self.shape.own_fields

    def holds(self, key: str) -> bool:
        """Whether the service can have a record under the key."""
        return self.shape.holds(key)

    def get(self, table: str, key: str) -> Record | None:
        return self._look(table, key)[0] if self.holds(key) else None

    def _look(self, table: str, key: str) -> tuple[Record | None, str]:
        """The record and its entity tag as the service writes it; (None, "") if there is none."""
        context = f"reading {table}/{key}"
        with closing(self.service.ask(context, "GET", self.shape.path(table, key))) as answer:
            if answer.is_missing:
                return None, ""
            if answer.status != 200:
                raise self.service.refusal(context, answer, table=table)
            record = self.shape.record(context, self.service.json(context, answer))
            if record.key != key:
                raise self.service.misfit(context, f"the service answers with record {record.key}")
            return record, answer.header("etag")

    def find(self, query: Query) -> Page:
        compiled = CompiledQuery(query)
        descends = compiled.terms[0][1]
        if len(compiled.terms) > 1 or not self.service.options["backward" if descends else "forward"]:
            return compiled.page(compiled.first(self.pager.records(query)))
        begin = compiled.after[0][1:] if compiled.after else ""
        wanted = 0 if query.where or query.search else query.limit + 1
        found = self.pager.records(query, begin, descends, wanted)
        return compiled.page(r for r in found if compiled.selects(r) and (not compiled.after or compiled.follows(r)))

    def count(self, query: Query) -> int:
        if self._is_counted_there(query):
            return self.pager.count(query.table)
        compiled = CompiledQuery(query._replace(after=""))
        return sum(map(compiled.selects, self.pager.records(query)))

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        """By the one request that tells it; a count of what is filtered here would read everything."""
        return min(self.count(query), most) if self._is_counted_there(query) else None

    def _is_counted_there(self, query: Query) -> bool:
        return bool(self.service.options["count"]) and not query.where and not query.search

    # -- writing

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        check_commit(writes)
        if len(writes) > 1:
            raise Unsupported(f"provider {self.name} writes one record at a time, and not {len(writes)} together")
        return [self._commit_one(write) for write in writes]

    def _commit_one(self, write: Write) -> Record:
        if not isinstance(write, Delete):
            self._check(write)
        with self.service.alone(f"{write.table}/{write.key}", unless=self.conditional):
            for _ in range(8):  # an unconditional write goes on until nobody comes between
                present, etag = self._look(write.table, write.key) if self.holds(write.key) else (None, "")
                check_version(0, write, present.version if present else 0)
                if done := self._try(write, present, etag):
                    return done
        raise Conflict(f"{write.table}: record {write.key} is changed by others all the time")

    def _try(self, write: Write, present: Record | None, etag: str) -> Record | None:
        """What commit() answers for the write; None if another writer came between."""
        if not isinstance(write, Delete):
            return self._store(write, present, etag)
        if present is None or self._delete(write, etag):
            return Record(write.key, 0, {})
        return None

    def _check(self, write: Insert | Update) -> None:
        """Raises Invalid if the service cannot hold the record, Unsupported if it cannot begin at the version of a copy."""
        faults = []
        if not self.holds(write.key):
            faults.append(Fault("", "key", f"the service of provider {self.name} cannot hold the key {write.key!r}"))
        reserved = {self.service.options["key"]}
        if not self.shape.counted_there:
            reserved.add(self.service.options["version"])
        for name in reserved & set(write.value):
            faults.append(Fault(member_pointer("", name), "read_only", f"is kept by provider {self.name} for itself"))
        for pointer in () if self.exact_integers else inexact(write.value):
            faults.append(Fault(pointer, "inexact", f"is a number that the service of provider {self.name} would change"))
        if faults:
            raise Invalid("the record cannot be stored", faults=faults)
        if self.shape.counted_there and isinstance(write, Insert) and write.version != 1:
            detail = f"the service counts versions itself, and cannot begin at {write.version}"
            raise Unsupported(f"provider {self.name}: {detail}")

    def _delete(self, write: Delete, etag: str) -> bool:
        """Whether it is gone; False if another writer came between."""
        context = f"deleting {write.table}/{write.key}"
        headers = self.service.condition(context, etag) if self.conditional else {}
        with closing(
            self.service.ask(context, "DELETE", self.shape.path(write.table, write.key), headers=headers)
        ) as answer:
            if answer.is_missing:
                return write.version is None
            if answer.status in (409, 412):
                return False
            if not answer.is_success:
                raise self.service.refusal(context, answer, table=write.table)
        return True

    def _store(self, write: Insert | Update, present: Record | None, etag: str) -> Record | None:
        """The record as the service has stored it; None if another writer came between."""
        one, context = self.service.options, f"writing {write.table}/{write.key}"
        fields = {name: value for name, value in write.value.items() if name not in one["service_fields"]}
        if not self.shape.counted_there:
            fields[one["version"]] = next_version(write, present.version if present else 0)
        method = one["update"] if present else one["create"]
        data = dump_json(self._body(write.key, fields, present if method == "PATCH" else None)).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        if self.conditional:
            headers |= self.service.condition(context, etag if present else None)
        path = self.shape.path(write.table, None if method == "POST" else write.key)
        with closing(self.service.ask(context, method, path, headers=headers, body=data)) as answer:
            if answer.status in (409, 412) or (present and answer.is_missing):
                return None
            if answer.is_success:
                return self._stored(context, write, fields, self.service.json(context, answer, unsure=True))
            error = self.service.refusal(context, answer, table=write.table, otherwise=Invalid)
        if present is None and self._was_first(write, error):
            return None
        raise error

    def _body(self, key: str, fields: Value, patched: Record | None) -> Value:
        """What is sent; to a record that is patched, null for those of its fields that are to go."""
        body = fields
        if patched:
            body = {name: None for name in patched.value if name not in self.shape.own_fields} | body
        key_field = self.service.options["key"]
        return body if key_field in self.service.options["service_fields"] else body | {key_field: key}

    def _was_first(self, write: Insert | Update, error: AppError) -> bool:
        """Whether the service refused to create a record because another writer was first: some say it with 400 or 500."""
        if not isinstance(error, Invalid | Unavailable):
            return False
        there = self._look(write.table, write.key)[0]
        if there is None:
            return False
        sent = {name: value for name, value in write.value.items() if name not in self.shape.own_fields}
        return any(there.value.get(name) != value for name, value in sent.items())

    def _stored(self, context: str, write: Insert | Update, fields: Value, data: Json) -> Record:
        """The record; `data` is what the service says that it has stored, if anything. ConfigError if it dropped fields."""
        if data is not None and not isinstance(data, dict):
            raise self.service.misfit(context, "the answer to a write is not a JSON object")
        version, said = self.service.options["version"], data or fields
        lost = [name for name, value in fields.items() if value is not None and name not in said]
        if not lost and not self.shape.counted_there and said[version] != fields[version]:
            lost = [version]
        if lost:
            detail = f"the service did not keep {', '.join(lost)}: its table must have such fields"
            raise self.service.error(ConfigError, context, detail)
        if not self.shape.counted_there:
            return Record(write.key, fields[version], write.value)
        record = self.shape.record(context, data) if data else self._look(write.table, write.key)[0]
        if record is None or record.key != write.key:
            raise self.service.misfit(context, "the service does not have the record that it took")
        return record


# ==== 3. BLOBS ===================================================================================================
# Files on a server that answers GET, HEAD, PUT and DELETE. A folder is listed as nginx, another Satchel or a page of links
# lists it. Staged bytes are a temporary file of this machine until they are published.
# uses: ERRORS VALUES CONTRACTS PROVIDERS SERVICE plugin:web_client plugin:locale plugin:reserve
# defines: HttpReader ListedName linked_names ServiceBlobs


class HttpReader:
    """Part of the body of an answer: `length` bytes (None: all) after the first `skip`."""

    def __init__(self, service: Service, path: str, answer: HttpAnswer, skip: int, length: int | None) -> None:
        self._service, self._path, self._answer = service, path, answer
        self._skip, self._left = skip, length

    def __iter__(self) -> Iterator[bytes]:
        with self._service.translated(f"reading {self._path}"):
            chunks = self._answer.chunks()
            while self._left != 0 and (chunk := next(chunks, b"")):
                chunk, self._skip = chunk[self._skip :], max(self._skip - len(chunk), 0)
                if self._left is not None:
                    chunk = chunk[: self._left]
                    self._left -= len(chunk)
                if chunk:
                    yield chunk

    def close(self) -> None:
        self._answer.close()


class ListedName(NamedTuple):
    """What a listing says of a name in a folder; `blob` is None if it is a folder, or a file that is not described."""

    name: str
    is_folder: bool
    blob: Blob | None = None

    def at(self, path: str) -> Blob | Folder | None:
        """The entry at its path; None if it has to be looked at."""
        if self.is_folder:
            return Folder(path)
        return self.blob and self.blob._replace(path=path)


def linked_names(page: str) -> list[ListedName]:
    """The links of a page to one segment below it."""
    from html.parser import HTMLParser

    targets: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: targets.extend(  # type: ignore[method-assign]
        text or "" for name, text in attrs if (tag, name) == ("a", "href")
    )
    parser.feed(page)
    links = dict.fromkeys(target.removeprefix("./") for target in targets)
    below = [link for link in links if re.fullmatch(r"[^/?#:]+/?", link) and link not in (".", "..", "../")]
    return [ListedName(unquote(link.rstrip("/")), link.endswith("/")) for link in below]


class ServiceBlobs(Blobs):
    """Files of a service. Preconditions that it does not check are checked here, among the threads of this process."""

    makes_folders = False
    service: Service

    @property
    def _checked_there(self) -> bool:
        return bool(self.service.options["blob_preconditions"])

    def _path(self, path: str, end: str = "") -> str:
        """The path of a file for the service; of a folder with "/" as its end."""
        whole = str(self.service.options["blobs"]).replace("{path}", quote(path))
        return whole.rstrip("/") + end

    # -- reading

    def stat(self, path: str) -> Blob | None:
        context = f"looking at {path}"
        with closing(self.service.ask(context, "HEAD", self._path(path))) as answer:
            return self._blob(context, path, answer)

    def _blob(self, context: str, path: str, answer: HttpAnswer) -> Blob | None:
        """The blob that the head of an answer describes; None if there is none, or a folder."""
        if answer.is_missing or self._is_folder_answer(path, answer):
            return None
        if answer.status not in (200, 206):
            raise self.service.refusal(context, answer)
        if answer.status == 206:
            whole = answer.header("content-range").rpartition("/")[2]
        else:
            whole = answer.header("content-length")
        if not re.fullmatch("[0-9]{1,18}", whole):
            raise self.service.misfit(context, "the service does not say how large the file is")
        changed = email.utils.parsedate_tz(answer.header("last-modified"))
        modified_at = email.utils.mktime_tz(changed) if changed else 0
        return Blob(path, int(whole), float(modified_at), answer.etag or f"{int(modified_at):x}-{int(whole):x}")

    def _is_folder_answer(self, path: str, answer: HttpAnswer) -> bool:
        """Whether the service says that there is a folder: by a redirect to the same path and a slash, or a listing."""
        if 300 <= answer.status < 400:
            place = urlsplit(answer.header("location")).path
            return unquote(place) == unquote(self.service.root + self._path(path, "/"))
        return self.service.options["listing"] == "satchel" and answer.status == 200 and not answer.header("etag")

    def seems_folder(self, path: str) -> bool:
        """Whether the service says so; some cannot tell."""
        with closing(self.service.ask(f"looking at {path}", "HEAD", self._path(path))) as answer:
            return self._is_folder_answer(path, answer)

    def is_folder(self, path: str) -> bool:
        self._need_listing()
        return not path or next(iter(self.scan(path)), None) is not None

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> HttpReader:
        context, end = f"reading {path}", "" if length is None else start + max(length, 1) - 1
        headers = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        answer = self.service.ask(context, "GET", self._path(path), headers=headers, whole=False)
        try:
            if answer.status == 416:
                need_blob(path, self.stat(path), if_match)
                return HttpReader(self.service, path, answer, 0, 0)
            need_blob(path, self._blob(context, path, answer), if_match)
            if answer.status == 206 and not answer.header("content-range").startswith(f"bytes {start}-"):
                raise self.service.misfit(context, "the service sends another range than was asked for")
            return HttpReader(self.service, path, answer, start if answer.status == 200 else 0, length)
        except BaseException:
            answer.close()
            raise

    # -- staged bytes

    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        digest, size = hashlib.sha256(), 0
        with disk_errors(f"provider {self.name}", "staging"):
            descriptor, place = tempfile.mkstemp(prefix="satchel-", suffix=".staged")
        try:
            with open(descriptor, "wb", buffering=0) as file:
                for chunk in rechunk(chunks, CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    plugin("reserve").check_scratch("staging")
                    with disk_errors(f"provider {self.name}", "staging"):
                        left = memoryview(chunk)
                        while left:
                            left = left[file.write(left) :]
        except BaseException:
            os.unlink(place)
            raise
        return Staged(os.path.basename(place), size, digest.hexdigest())

    @staticmethod
    def _staged(name: str) -> Path | None:
        """The file of staged bytes; None if they are gone, or were never staged by this account."""
        place = Path(tempfile.gettempdir(), name)
        if not re.fullmatch(r"satchel-\w+\.staged", name) or not place.is_file() or place.is_symlink():
            return None
        return place if place.stat().st_uid == os.geteuid() else None

    def keep(self, staged: Staged) -> None:
        """Has staged bytes count as staged just now."""
        with suppress(OSError):
            if place := self._staged(staged.id):
                os.utime(place)

    def sweep(self, now: float) -> None:
        """Remove staged files that nobody wanted for a day."""
        for place in Path(tempfile.gettempdir()).glob("satchel-*.staged"):
            with suppress(OSError):
                if self._staged(place.name) and place.stat().st_mtime < now - STAGED_KEPT_S:
                    place.unlink()

    def discard(self, staged: Staged) -> None:
        with suppress(OSError):
            if place := self._staged(staged.id):
                place.unlink()

    # -- writing

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        source = self._staged(staged.id)
        if source is None:
            raise NotFound("the staged bytes are gone: they were published, discarded or left for a day")
        condition: dict[str, str] = {}
        if self._checked_there and if_match is not None:
            condition = {"If-Match": f'"{if_match}"'}
        elif self._checked_there and if_none_match:
            condition = {"If-None-Match": "*"}
        with self.service.alone(f"file {path}", unless=self._checked_there):
            present = self.stat(path)
            check_blob(path, present, if_match, if_none_match)
            stamp = max(time.time(), present.modified_at + 1 if present else 0)
            blob = self._upload(source, staged.size_bytes, path, condition, stamp)
        self.discard(staged)
        return blob

    def _upload(self, source: Path, size_bytes: int, path: str, condition: Texts, stamp: float) -> Blob:
        """PUT a file of this machine; PreconditionFailed, or Conflict if no file can be at this path."""
        context = f"writing {path}"
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream", **condition}
        if self.service.options["put_date"]:
            headers["Date"] = email.utils.formatdate(stamp, usegmt=True)
        with disk_errors(f"provider {self.name}", "staging"), open(source, "rb") as file:
            chunks = iter(partial(file.read, CHUNK_BYTES), b"")
            answer = self.service.ask(context, "PUT", self._path(path), headers=headers, body=chunks, whole=False)
        with closing(answer):
            if answer.status == 412:
                raise PreconditionFailed(f"{path} was changed meanwhile")
            if not answer.is_success:
                error = self.service.refusal(context, answer, otherwise=Invalid)
                raise self._clash(path) or error
            etag = answer.etag
        blob = self.stat(path)
        if etag and (blob is None or blob.etag != etag):  # somebody replaced it already
            return Blob(path, size_bytes, float(int(stamp)), etag)
        if blob is None:
            detail = "the service took the file and does not have it: look at its log"
            raise self.service.error(Unavailable, context, detail)
        return blob

    def _clash(self, path: str) -> Conflict | None:
        """The Conflict there is if a folder has the path, or a file is above it."""
        parts = path.split("/")
        for above in ("/".join(parts[:n]) for n in range(1, len(parts))):
            if self.stat(above):
                return Conflict(f"a part of {path} is a file and no folder")
        return Conflict(f"{path} is a folder") if self.seems_folder(path) else None

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        with self.service.alone(f"file {path}", unless=self._checked_there):
            blob = need_blob(path, self.stat(path), if_match)
            self._remove(path, blob.etag if if_match is not None else None)

    def _remove(self, path: str, etag: str | None) -> None:
        context = f"removing {path}"
        headers = {"If-Match": f'"{etag}"'} if etag and self._checked_there else {}
        with closing(self.service.ask(context, "DELETE", self._path(path), headers=headers)) as answer:
            if answer.status == 412:
                raise PreconditionFailed(f"{path} was changed meanwhile")
            if answer.is_missing:
                raise NotFound(f"there is no file {path}")
            if not answer.is_success:
                raise self.service.refusal(context, answer)

    def make_folder(self, path: str) -> None:
        raise Unsupported(f"{self.service.name}: no folders are made there: put a file into one")

    def remove_folder(self, path: str) -> None:
        raise Unsupported(f"{self.service.name}: no folders are removed there: one goes with its last file")

    def move(self, source: str, target: str) -> Blob:
        """In one step with MOVE. Without it, the copy is there before the original goes, and is removed if that does not."""
        kept_apart = self._checked_there and not self.renames
        with self.service.alone(f"file {source}", f"file {target}", unless=kept_apart):
            blob = need_blob(source, self.stat(source))
            if self.stat(target):
                raise Conflict(f"{target} exists already")
            if self.renames:
                return self._rename(source, target)
            copied = self._copy(blob, target)
            try:
                self._remove(source, blob.etag)
            except AppError:
                with suppress(AppError):  # the first failure is the one to report
                    self._remove(target, copied.etag)
                raise
            return copied

    def _copy(self, blob: Blob, target: str) -> Blob:
        with closing(self.read(blob.path, if_match=blob.etag)) as reader:
            staged = self.stage(reader)
        condition = {"If-None-Match": "*"} if self._checked_there else {}
        try:
            return self._upload(cast(Path, self._staged(staged.id)), staged.size_bytes, target, condition, blob.modified_at)
        except PreconditionFailed as error:
            raise Conflict(f"{target} exists already") from error
        finally:
            self.discard(staged)

    def _rename(self, source: str, target: str) -> Blob:
        context = f"moving {source}"
        destination = self.service.base._replace(path=self.service.root + self._path(target)).geturl()
        headers = {"Destination": destination, "Overwrite": "F"}
        with closing(self.service.ask(context, "MOVE", self._path(source), headers=headers)) as answer:
            if answer.status == 412:
                raise Conflict(f"{target} exists already")
            if not answer.is_success:
                error = self.service.refusal(context, answer)
                raise self._clash(target) or error
        return need_blob(target, self.stat(target))

    # -- listings

    def _need_listing(self) -> None:
        if not self.lists:
            raise Unsupported(f"provider {self.name} cannot list its files: name them, or set listing")

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Blob | Folder]:
        self._need_listing()
        return self._walk_folder(prefix, deep, after)

    def _walk_folder(self, folder: str, deep: bool, after: str) -> Iterator[Blob | Folder]:
        """Entries in order; of folders only those in which something is."""
        found = self._entries(folder)

        def place(path: str) -> str:
            """Where a path stands in the order: what is in a folder is sorted by its own path."""
            return path + "/" if deep and isinstance(found[path], Folder) else path

        for path in sorted(found, key=place):
            entry = found[path]
            if deep and isinstance(entry, Folder):
                if after < path + "0":  # what lies in it sorts before this
                    yield from self._walk_folder(path, deep, after)
            elif path > after:
                entry = entry or self.stat(path)
                if entry and not self._is_empty(entry):
                    yield entry

    def _is_empty(self, entry: Blob | Folder) -> bool:
        """Whether it is a folder in which nothing is; another Satchel lists none."""
        may_be = isinstance(entry, Folder) and self.service.options["listing"] != "satchel"
        return may_be and not self.is_folder(entry.path)

    def _entries(self, folder: str) -> dict[str, Blob | Folder | None]:
        """What a listing says of a folder by path; None if it names a file and does not describe it."""
        found = {}
        for one in self._listed(f"listing {folder or 'the files'}", folder):
            path = f"{folder}/{one.name}" if folder else one.name
            with suppress(BadRequest):  # a name that nobody could ask for
                check_path(path.split("/"), is_there=True)
                found[path] = one.at(path)
        return found

    def _listed(self, context: str, folder: str) -> list[ListedName]:
        """The names in a folder; [] if there is no such folder."""
        listing, most = self.service.options["listing"], self.service.options["max_records"]
        headers = {"Accept": "text/html" if listing == "html" else "application/json"}
        query = [("_size", "1000")] if listing == "satchel" else []
        found: list[ListedName] = []
        following: str | None = ""
        while following is not None:
            pairs = [*query, ("_next", following)] if following else query
            with closing(self.service.ask(context, "GET", self._path(folder, "/"), query=pairs, headers=headers)) as answer:
                if answer.is_missing:
                    return []
                if answer.status != 200:
                    raise self.service.refusal(context, answer)
                names, following = self._listing_page(context, answer)
            found += names
            if len(found) > most:
                raise self.service.error(TooLarge, context, f"over {most:,} files are in one folder: raise max_records")
        return found

    def _listing_page(self, context: str, answer: HttpAnswer) -> tuple[list[ListedName], str | None]:
        """The names of a page of a listing, and the cursor of the next page."""
        listing = self.service.options["listing"]
        if listing == "html":
            return linked_names(self.service.body(context, answer).decode(errors="replace")), None
        data = self.service.json(context, answer)
        try:
            if listing == "nginx":
                return [self._nginx_name(item) for item in data if item["type"] in ("file", "directory")], None
            return [self._satchel_name(item) for item in data["items"] if item["type"] in ("file", "folder")], data["next"]
        except (KeyError, TypeError, ValueError) as error:
            raise self.service.misfit(context, "the answer is not a list of files") from error

    @staticmethod
    def _nginx_name(item: Value) -> ListedName:
        """autoindex_format json; nginx's entity tags are time and size."""
        if item["type"] == "directory":
            return ListedName(item["name"], True)
        changed, size_bytes = email.utils.parsedate_tz(item["mtime"]), int(item["size"])
        modified_at = email.utils.mktime_tz(changed) if changed else 0
        return ListedName(item["name"], False, Blob("", size_bytes, float(modified_at), f"{modified_at:x}-{size_bytes:x}"))

    @staticmethod
    def _satchel_name(item: Value) -> ListedName:
        if item["type"] == "folder":
            return ListedName(item["name"], True)
        modified_at = plugin("locale").parse_rfc3339(item["modified_at"]) // 1  # as Last-Modified says it
        return ListedName(item["name"], False, Blob("", item["size_bytes"], modified_at, item["etag"]))


# ==== 4. GENERIC =================================================================================================
# The provider: its settings, what the presets say of them, and faults that are found at the start.
# uses: ERRORS CONFIG CONTRACTS SERVICE RECORDS BLOBS plugin:web_client
# defines: Provider:generic PRESETS GenericProvider

_OWN_HEADERS = ("host", "connection", "content-length", "transfer-encoding", "range", "expect", "if-match", "if-none-match")


def _texts_of(raw: Any, folder: Path) -> Texts:
    if not isinstance(raw, dict):
        raise ValueError("must be a table { … }")
    return {name: CONVERTERS["text"](value, folder) for name, value in raw.items()}


def _headers(raw: Any, folder: Path) -> Texts:
    """Header fields with the secrets that they name in place: "env:NAME", or behind a word as in "Bearer env:NAME"."""
    found = {}
    for name, value in _texts_of(raw, folder).items():
        word, space, secret = value.rpartition(" ")
        is_secret = secret.startswith(("env:", "file:"))
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower() in _OWN_HEADERS:
            raise ValueError(f"has the header {name}, which cannot be set here")
        if not is_secret and re.search("auth|cookie|key|token|secret|pass", name.lower()):
            raise ValueError(f'{name} must be "env:NAME" or "Bearer env:NAME", so that no secret stands in app.toml')
        try:
            found[name] = word + space + CONVERTERS["secret"](secret, folder) if is_secret else value
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
        if not re.fullmatch(r"[ -~]*", found[name]):
            raise ValueError(f"{name} has a character that a header cannot hold")
    return found


def _patterns(raw: Any, folder: Path) -> Texts:
    for op, pattern in _texts_of(raw, folder).items():
        if op not in ("eq", "gte", "lte") or "=" not in pattern:
            raise ValueError('must be queries for eq, gte and lte, such as { eq = "{field}={value}" }')
    return dict(raw)


# What a setting is where app.toml does not say: PRESETS[""], and over it the preset that app.toml names.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {
        "ping": "/", "records": "", "record": "", "items": "", "next": "", "count": "", "total": "", "key": "id",
        "version": "_version", "service_fields": (), "drop_nulls": False, "keys": "", "query": "", "forward": "",
        "backward": "", "page_size": 500, "filters": {}, "join": "", "create": "POST", "update": "PUT",
        "preconditions": False, "exact_integers": False, "blobs": "", "listing": "", "blob_preconditions": False,
        "put_date": False, "move": "copy",
    },
    "satchel": {
        "ping": "/healthz", "records": "/forms/{table}/records", "items": "/items", "next": "/next",
        "count": "_count=1&_size=1", "total": "/count", "version": "version", "service_fields": RESERVED_FIELDS,
        "drop_nulls": True, "forward": "_sort=id&_size={limit}&id__gt={key}",
        "backward": "_sort=-id&_size={limit}&id__lt={key}", "page_size": 1000,
        "filters": {"eq": "{field}={value}", "gte": "{field}__gte={value}", "lte": "{field}__lte={value}"},
        "create": "PUT", "preconditions": True, "exact_integers": True, "listing": "satchel",
        "blob_preconditions": True,
    },
    "json-server": {
        "records": "/{table}", "query": "_limit={limit}", "count": "_limit=1", "total": "header:X-Total-Count",
        "keys": r"(?s:(?!\.\.?\Z).+)",
        "filters": {"gte": "{field}_gte={value}", "lte": "{field}_lte={value}"},
    },
    "pocketbase": {
        "ping": "/api/health", "records": "/api/collections/{table}/records", "items": "/items",
        "count": "page=1&perPage=1", "total": "/totalItems", "version": "version",
        "service_fields": ("collectionId", "collectionName", "created", "updated"), "drop_nulls": True,
        "keys": "[a-z0-9]{1,100}", "forward": "page=1&perPage={limit}&skipTotal=1&sort=id&filter=id>'{key}'",
        "backward": "page=1&perPage={limit}&skipTotal=1&sort=-id&filter=id<'{key}'",
        "filters": {"eq": "filter={field}={json}", "gte": "filter={field}>={json}", "lte": "filter={field}<={json}"},
        "join": " && ", "update": "PATCH",
    },
}  # fmt: skip


class GenericProvider(ServiceRecords, ServiceBlobs):
    """An HTTP service of JSON objects as Records, or a store of files as Blobs, or both, as its settings describe it."""

    kind = "generic"
    settings = (
        Setting("url", "text", REQUIRED, "where the service is: http(s)://host[:port][/path]; no other host is ever asked"),
        Setting("preset", "text", "", "satchel, json-server or pocketbase: what the settings without a default are there"),
        Setting(
            "headers", "headers", {}, 'sent with every request: { Authorization = "Bearer env:NAME" }', convert=_headers
        ),
        Setting("tls_ca", "file", "", "certificates in PEM to trust instead of the system's"),
        Setting("connect_timeout", "duration", "5s", "longest time to connect", "seconds"),
        Setting("read_timeout", "duration", "10s", "longest silence of the service", "seconds"),
        Setting("answer_timeout", "duration", "30s", "longest time for a whole answer that is not a file", "seconds"),
        Setting("connections", "positive", 16, "most connections of a process at once"),
        Setting("max_answer", "size", "16MB", "largest answer that is not a file", "bytes"),
        Setting("max_records", "positive", 10_000, "most records read, or files listed, for one answer of Satchel's"),
        Setting("ping", "text", None, "path that tells whether the service is there"),
        Setting("records", "text", None, 'path of a table\'s records, such as "/{table}"; "" = it keeps no records'),
        Setting("record", "text", None, 'path of one record; "" = that of the records and /{key}'),
        Setting("items", "text", None, "JSON pointer to the records in the answer to a list"),
        Setting("next", "text", None, 'JSON pointer to the cursor or link of the next page, or "header:Link"'),
        Setting("count", "text", None, "query of a list that says how many records there are, at total"),
        Setting("total", "text", None, 'JSON pointer to that number, or "header:NAME"'),
        Setting("key", "text", None, "field with the record's key"),
        Setting("version", "text", None, "field with the record's version; Satchel's own unless it is in service_fields"),
        Setting("service_fields", "texts", None, "fields that the service sets itself: read, never sent"),
        Setting("drop_nulls", "boolean", None, "whether a null in its answers is a field that is missing"),
        Setting("keys", "pattern", None, 'which keys the service can hold, as a regular expression; "" = all', longest=512),
        Setting("query", "text", None, 'query of a list, with {limit} and {page}, {offset} or {cursor}: "page={page}"'),
        Setting("forward", "text", None, 'instead: query of what follows a {key}, ordered by keys: "_sort=id&id__gt={key}"'),
        Setting("backward", "text", None, "the same with the keys descending"),
        Setting("page_size", "positive", None, "largest {limit}"),
        Setting(
            "filters",
            "patterns",
            None,
            'queries for eq, gte and lte: { eq = "{field}={value}" }, or {json} of the value',
            convert=_patterns,
        ),
        Setting("join", "text", None, 'what joins several filters in one parameter, such as " && "; "" = each is its own'),
        Setting("create", "text", None, "POST to the list, or PUT to the record"),
        Setting("update", "text", None, "PUT the whole record, or PATCH what changes"),
        Setting("preconditions", "boolean", None, "whether it honours If-Match and If-None-Match for records"),
        Setting("exact_integers", "boolean", None, "whether integers of 64 bits and decimals come back exact"),
        Setting("blobs", "text", None, 'path of a file, such as "/{path}"; "" = it keeps no files'),
        Setting(
            "listing", "text", None, "how folders are listed: nginx (autoindex_format json), html, satchel, or not at all"
        ),
        Setting("blob_preconditions", "boolean", None, "whether it honours If-Match and If-None-Match for files"),
        Setting("put_date", "boolean", None, "send files with a Date that never repeats, for nginx to stamp them with"),
        Setting("move", "text", None, "how a file is renamed: copy, or webdav for MOVE"),
    )

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        self.name = name
        defaults = {one.name: one.read(one.default, folder) for one in self.settings if one.default not in (None, REQUIRED)}
        preset = self._one_of("preset", str(options.get("preset") or ""), PRESETS)
        given = {key: value for key, value in options.items() if value is not None}
        one: dict[str, Any] = {**defaults, **PRESETS[""], **PRESETS[preset], **given}
        base = self._checked_url(str(one.get("url") or ""))
        self._check_settings(one)
        self.conditional, self.exact_integers = one["preconditions"], one["exact_integers"]
        self.lists, self.renames = bool(one["listing"]), one["move"] == "webdav"
        self.frees_folders = one["listing"] == "satchel"
        self.service = Service(name, base, one)
        self.shape = RecordShape(self.service)
        self.pager = Pager(self.service, self.shape)

    def _check_settings(self, one: Mapping[str, Any]) -> None:
        """ConfigError names the first setting that cannot be."""
        self._one_of("create", one["create"], ("POST", "PUT"))
        self._one_of("update", one["update"], ("PUT", "PATCH"))
        self._one_of("move", one["move"], ("copy", "webdav"))
        self._one_of("listing", one["listing"], ("", "nginx", "html", "satchel"))
        if not one["records"] and not one["blobs"]:
            self._fault("records", "is missing, and so is blobs: say what the service keeps, or name a preset")
        for key, place in (("records", "{table}"), ("record", "{key}"), ("blobs", "{path}")):
            if one[key] and (place not in one[key] or not one[key].startswith("/")):
                self._fault(key, f"must be a path with {place} in it")

    def _fault(self, key: str, detail: str) -> NoReturn:
        fault = Fault(f"providers.{self.name}.{key}", "configuration", detail)
        raise ConfigError(f"provider {self.name}: {key} {detail}", faults=[fault])

    def _one_of(self, key: str, word: str, words: Collection[str]) -> str:
        if word not in words:
            self._fault(key, f"is {word!r}, and can be {', '.join(filter(None, words))}{nearest(word, words)}")
        return word

    def _checked_url(self, url: str) -> SplitResult:
        if not url:
            self._fault("url", "is missing, such as https://tickets.internal/api")
        try:
            base = urlsplit(url)
            _ = base.port, (base.hostname or "").encode("idna")
        except ValueError:
            self._fault("url", "is not a URL")
        if base.scheme not in ("http", "https") or not base.hostname or not re.fullmatch(r"[!-~]+", url):
            self._fault("url", "must be http://host[:port][/path] or https://…")
        if base.query or base.fragment or "@" in base.netloc:
            self._fault("url", "has a user, a query or a fragment: credentials go into headers, as env:NAME or file:PATH")
        return base

    def has(self, contract: type[Provider]) -> bool:
        if contract.__name__ in ("Records", "Blobs"):
            return bool(self.service.options[contract.__name__.lower()])
        return isinstance(self, contract)

    def open(self) -> None:
        """Connects to nothing."""
        self.service.client.open()

    def close(self) -> None:
        self.service.client.close()

    def ping(self) -> float:
        return self.service.ping()

    def warnings(self) -> list[str]:
        found = []
        base, one = self.service.base, self.service.options
        if self.service.secrets and base.scheme == "http" and base.hostname not in ("localhost", "127.0.0.1", "::1"):
            found.append("its headers go over the network unencrypted: use https")
        unsafe = []
        if one["records"] and not one["preconditions"]:
            unsafe.append("records")
        if one["blobs"] and not one["blob_preconditions"]:
            unsafe.append("files")
        if unsafe:
            found.append(
                f"the service checks no preconditions for {' and '.join(unsafe)}, so only writes of one process exclude "
                "each other: let one worker write there (http.workers = 1)"
            )
        return found
