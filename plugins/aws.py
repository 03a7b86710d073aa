"""Records on DynamoDB and blobs on S3, or on services that are compatible with them.

What it costs and what it does not promise stands with DynamoRecords and S3Blobs. Tables and the bucket are made by
`server check --create` and never silently. boto3 is imported by open(), which makes one client a service and process;
they are shared by all threads. Credentials come from the usual AWS chain (environment, profile, role) and from nowhere
else. botocore repeats nothing by itself: what may be repeated is decided in Service.call.

Rights that are needed: s3:ListBucket, ListBucketMultipartUploads, GetObject, PutObject, DeleteObject and
AbortMultipartUpload; dynamodb:GetItem, BatchGetItem, Query, PutItem, DeleteItem and ListTables. To make what is missing:
s3:CreateBucket, PutBucketPublicAccessBlock and PutLifecycleConfiguration; dynamodb:DescribeTable, CreateTable and
UpdateContinuousBackups.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
import re
import secrets
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import app
from app import Blob, Blobs, CompiledQuery, Delete, Folder, Insert, Page, Query, Record, Records, Setting, Staged, Write

if TYPE_CHECKING:
    from plugins import s3_listing, web_client
else:
    s3_listing, web_client = app.plugin("s3_listing"), app.plugin("web_client")

# ==== 1. AWS =====================================================================================================
# Records on DynamoDB and blobs on S3, over one client of boto3 a service and process; with it the way to boto3 that
# plugins/sqs.py shares: a Session makes clients, a Service calls them, one table says what their errors mean.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS plugin:s3_listing plugin:s3_parts plugin:web_client plugin:working
# defines: Provider:aws Sleep ATTEMPTS RETRY_S PAUSE_S LONGEST_PAUSE_S BREAKS ACTIVE_S SWEEP_AFTER_S MOST_WRITES
#          MOST_ITEM_BYTES MOST_COMMIT_BYTES MOST_SORTED_PAGES PART KEY VERSION DATA TABLE_KEY ALL MIB MOST_ANSWER_BYTES
#          PART_BYTES READ_BYTES HIDDEN STAGED WRITE_ID THROTTLED Denied BadCredentials Missing Rejected REFUSALS
#          EXPLAINED GONE Refused Busy Broken error_code error_status refuse_other_answers Held bound_answers Service Session
#          Aws table_name quoted table_of behind_prefix wanted_keys key_span in_key_order item_version DynamoRecords
#          part_bytes Object NoBytes S3Reader Upload S3Blobs gone AwsProvider

Sleep = Callable[[float], None]
ATTEMPTS = 10
RETRY_S = 15.0  # no attempt begins later than this after the first
PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
BREAKS = 2  # answers that may be lost before it is given up
ACTIVE_S = 120.0  # a new table is usable within this time
SWEEP_AFTER_S = 86_400

MOST_WRITES = 100  # of a transaction of DynamoDB
MOST_ITEM_BYTES = 400 * 1024
MOST_COMMIT_BYTES = 4 * 1024 * 1024
MOST_SORTED_PAGES = 64  # of a megabyte each, held to be sorted for an export
PART, KEY, VERSION, DATA = "part", "key", "version", "data"
TABLE_KEY = [(PART, "HASH"), (KEY, "RANGE")]
ALL = {"S": "r"}  # the one partition key of all records of a table

MIB = 1024 * 1024
MOST_ANSWER_BYTES = 32 * MIB  # of what is no file: a page of DynamoDB has 1 MiB, a listing of S3 some hundred KiB
PART_BYTES = 8 * MIB
READ_BYTES = 256 * 1024
HIDDEN = ".satchel"
STAGED = f"{HIDDEN}/staged/"
WRITE_ID = "satchel-write"  # user metadata: tells this write from others of the same bytes

THROTTLED = frozenset(
    "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException RequestLimitExceeded "
    "ProvisionedThroughputExceededException TooManyRequestsException BandwidthLimitExceeded LimitExceededException "
    "PriorRequestNotComplete TransactionInProgressException ReplicatedWriteConflictException SlowDown ServiceUnavailable "
    "ConditionalRequestConflict OperationAborted OverLimit QueueDeletedRecently 429 503".split()
)
"""Codes that say: not done, come again later."""


class Denied(app.Unavailable):
    """The service does not allow what it was asked."""


class BadCredentials(app.Unavailable):
    """The service does not take the credentials."""


class Missing(app.ConfigError):
    """What was asked for does not exist: a bucket, a table, a queue."""


class Rejected(app.Unavailable):
    """The service refuses the request, by a code that stands nowhere here."""


REFUSALS: tuple[tuple[type[app.AppError], str, str, str], ...] = (
    (
        BadCredentials, "refuses the credentials", "check access key, secret and endpoint",
        "InvalidAccessKeyId InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch "
        "InvalidSignatureException AuthFailure IncompleteSignature InvalidToken MissingAuthenticationToken "
        "MissingAuthenticationTokenException",
    ),
    (
        BadCredentials, "says that the credentials have expired", "renew them",
        "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired",
    ),
    (
        Denied, "denies access", "are the credentials right, and does their policy allow it?",
        "AccessDenied AccessDeniedException AllAccessDisabled UnauthorizedOperation NotAuthorized Forbidden 401 403",
    ),
    (app.Unavailable, "refuses the request without a word", "check bucket, region and credentials", "400"),
    (app.Unavailable, "refuses the time of the request", "set the clock of this machine", "RequestTimeTooSkewed"),
    (app.StorageFull, "has no room", "raise its quota", "QuotaExceeded InsufficientStorage XMinioStorageFull 507"),
    (app.TooLarge, "takes no such size", "make it smaller", "EntityTooLarge KeyTooLongError"),
    (
        app.ConfigError, "has the bucket in another region", "set region",
        "PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301 307",
    ),
    (Missing, "does not have the bucket", "run `server check --create`", "NoSuchBucket"),
    (Missing, "does not have the table", "run `server check --create`", "ResourceNotFoundException"),
    (Missing, "does not have the queue", "make it", "NonExistentQueue QueueDoesNotExist"),
)  # fmt: skip
"""Refusals with a known end: what they are here, what everybody may read, what to do, and the codes that mean it."""
EXPLAINED = {
    code: (kind, f"the service {words}: {check}") for kind, words, check, codes in REFUSALS for code in codes.split()
}


GONE = ("NoSuchKey", "404", "PreconditionFailed", "412")  # what was looked up is there no longer


class Refused(Exception):
    """An answer that the caller of Service.call expected: `code` is the service's, `answer` its body."""

    def __init__(self, code: str, answer: Mapping[str, Any]) -> None:
        super().__init__(code)
        self.code, self.answer = code, answer


class Busy(app.Unavailable):
    """Throttled: the service did nothing and may be asked again."""


class Broken(app.Unavailable):
    """No answer, or none that can be read: it is not known whether the service did what it was asked.

    `late`: it took too long, and asking again would take as long.
    """

    late = False


def error_code(error: Exception) -> str:
    """The code of the service's refusal; of answers without a body the HTTP status, and "" if there was no answer."""
    answer = getattr(error, "response", {})
    code = str(answer.get("Error", {}).get("Code") or error_status(error) or "")
    return code.removeprefix("AWS.SimpleQueueService.")


def error_status(error: BaseException | None) -> int:
    """The HTTP status of the service's answer; 0 if there was none."""
    return int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def refuse_other_answers(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """botocore reads a page of a proxy, or half an answer of DynamoDB, as an empty answer: here it is an error."""
    from botocore.parsers import ResponseParserError

    if response_dict["status_code"] >= 300:
        return
    kind = str(response_dict["headers"].get("content-type", ""))
    if not kind.startswith("application/x-amz-json"):
        raise ResponseParserError(f"the answer to {operation_model.name} is {kind or 'of no kind'} and not of DynamoDB")
    try:
        json.loads(response_dict["body"])
    except ValueError as error:
        raise ResponseParserError(f"the answer to {operation_model.name} is not JSON") from error


@dataclass(frozen=True, slots=True)
class Held:
    """The body of an answer, read, as botocore asks for it."""

    body: bytes

    def stream(self) -> list[bytes]:
        return [self.body]


def bound_answers(client: Any) -> None:
    """Let a client read no more than MOST_ANSWER_BYTES of an answer that it holds in memory; files are streamed.

    botocore reads such an answer whole and offers no bound, so what it sends with is wrapped.
    """
    from botocore import exceptions, parsers
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    session = client._endpoint.http_session  # botocore has no public name for it
    send, kinds = session.send, session._manager.pool_classes_by_scheme
    for scheme, kind in kinds.items():
        connection = type("Connection", (web_client.WantedAnswers, kind.ConnectionCls), {})
        kinds[scheme] = type("Pool", (kind,), {"ConnectionCls": connection})

    def send_bounded(request: Any) -> Any:
        streams, request.stream_output = request.stream_output, True
        response = send(request)
        if streams and response.status_code < 300:
            return response
        body = bytearray()
        try:
            with web_client.wanted(response.raw):
                while len(body) <= MOST_ANSWER_BYTES and (chunk := response.raw.read(READ_BYTES, decode_content=False)):
                    body += chunk
        except ReadTimeoutError as error:
            raise exceptions.ReadTimeoutError(endpoint_url=request.url, error=error) from error
        except HTTPError as error:
            raise exceptions.ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
        if len(body) > MOST_ANSWER_BYTES:
            response.raw.close()
            body.clear()  # the error that follows may live for long
            raise parsers.ResponseParserError(f"the answer has over {MOST_ANSWER_BYTES:,} bytes")
        response.raw.release_conn()
        response.raw = Held(bytes(body))
        return response

    session.send = send_bounded


class Service:
    """One service and its client. Errors of the driver become AppErrors here and nowhere else."""

    def __init__(self, who: str, title: str, client: Any, sleep: Sleep = time.sleep, attempts: int = ATTEMPTS) -> None:
        self._who, self._title, self._client, self._sleep, self._attempts = who, title, client, sleep, attempts

    def close(self) -> None:
        self._client.close()

    def region(self) -> str:
        return str(self._client.meta.region_name)

    def call(
        self,
        context: str,
        operation: str,
        *,
        expect: Collection[str] = (),
        needs: Collection[str] = (),
        outcome: bool = False,
        once: bool = False,
        **params: Any,
    ) -> Any:
        """The answer, which has what it `needs`; Refused where its code is among those expected.

        What was throttled is repeated with full jitter. What broke off is repeated unless `once`, so it must be safe to
        do twice; with `outcome` also after a timeout, because the repeat is how to learn what became of the first.
        """
        began, attempt, lost = time.monotonic(), 0, list[Broken]()
        while True:
            attempt += 1
            if "Body" in params:
                params["Body"].seek(0)
            try:
                with self.errors(context, expect):
                    answer = getattr(self._client, operation)(**params)
                if not all(answer.get(name) for name in needs):
                    raise self.garbled(context)
                return answer
            except app.Unavailable as error:
                lost += [error] if isinstance(error, Broken) else []
                again = isinstance(error, Busy) or (isinstance(error, Broken) and not once and (outcome or not error.late))
                late = app.plugin("working").reason() or attempt == self._attempts or time.monotonic() - began > RETRY_S
                if late or not again or len(lost) > BREAKS:
                    raise (lost[0] if lost else error) from error.__cause__
            self.pause(attempt)

    def pause(self, attempt: int) -> None:
        """Wait before the attempt that follows: full jitter, so that those who collided spread out."""
        self._sleep(random.random() * min(LONGEST_PAUSE_S, PAUSE_S * 2**attempt))  # noqa: S311

    @contextmanager
    def errors(self, context: str, expect: Collection[str] = ()) -> Iterator[None]:
        """Errors of the driver leave as AppErrors, or as Refused where expected."""
        from botocore import exceptions, parsers
        from urllib3.exceptions import HTTPError

        try:
            yield
        except exceptions.ClientError as error:
            if error_code(error) in expect:
                raise Refused(error_code(error), error.response) from error
            raise self._refusal(error, context) from error
        except (exceptions.BotoCoreError, parsers.ResponseParserError, HTTPError) as error:
            raise self._failure(error, context) from error

    def _refusal(self, error: Any, context: str) -> app.AppError:
        """What a refusal of the service means; its own words are for the operator."""
        code, status = error_code(error), error_status(error)
        place, hint = f"{self._who}: {self._title}: {context}", str(error)
        if code in THROTTLED:
            return Busy(f"{place}: the service is busy and asks to come again later", hint=hint)
        if code in EXPLAINED:
            kind, words = EXPLAINED[code]
            return kind(f"{place}: {words}", hint=hint)
        if status >= 500:
            return Broken(f"{place}: the service fails ({status}): check the endpoint, and its health", hint=hint)
        return Rejected(f"{place}: the service refuses it ({code})", hint=hint)

    def _failure(self, error: Exception, context: str) -> app.AppError:
        """What it means that there was no answer, or none that can be read."""
        from botocore import exceptions

        place, hint = f"{self._who}: {self._title}: {context}", str(error)
        credentials = (
            exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError,
            exceptions.TokenRetrievalError, exceptions.SSOError,
        )  # fmt: skip
        if isinstance(error, credentials):
            check = "set them in the environment, a profile or a role"
            return app.Unavailable(f"{place}: no credentials were found: {check}", hint=hint)
        if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
            return app.Unavailable(f"{place}: the service cannot be reached: check endpoint, region and network", hint=hint)
        if isinstance(error, exceptions.SSLError | exceptions.ProxyConnectionError):
            return app.Unavailable(f"{place}: no secure connection: check endpoint, certificates and proxy", hint=hint)
        if isinstance(error, exceptions.ReadTimeoutError):
            late = Broken(f"{place}: the service did not answer in time", hint=hint)
            late.late = True
            return late
        if isinstance(error, exceptions.ParamValidationError | exceptions.NoRegionError | exceptions.InvalidRegionError):
            return app.ConfigError(f"{place}: a setting is wrong: check bucket, tables and region", hint=hint)
        return Broken(f"{place}: the answer broke off or is not one of this service: check the endpoint", hint=hint)

    def garbled(self, context: str) -> Broken:
        """The error for an answer that reads well and is not what this service answers."""
        return Broken(f"{self._who}: {self._title}: {context}: the answer is not one of this service: check the endpoint")


class Session:
    """Makes a Service for each of the services that one set of settings reaches."""

    def __init__(self, who: str, region: str, endpoint: str, sleep: Sleep = time.sleep) -> None:
        """`who` these settings are, for messages; "" is the region of the usual AWS chain, and no endpoint."""
        import boto3

        self._who, self._endpoint, self._sleep = who, endpoint, sleep
        with self._set_up():
            self._session = boto3.Session(region_name=region or None)
        self._region = self._session.region_name or ("us-east-1" if endpoint else None)

    def service(self, title: str, timeout_s: float, connections: int, attempts: int = ATTEMPTS, **more: Any) -> Service:
        """The service of this title, such as DynamoDB; `more` are options of botocore."""
        from botocore.config import Config

        options = {
            "connect_timeout": min(3, timeout_s),
            "read_timeout": timeout_s,
            "max_pool_connections": connections,
            "retries": {"mode": "standard", "total_max_attempts": 1},  # see Service.call
            "tcp_keepalive": True,
            "request_checksum_calculation": "when_required",  # each part has its MD5, which all compatible stores know
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path" if self._endpoint else "auto"},
        }
        config, url = Config(**options | more), self._endpoint or None
        with self._set_up():
            client = self._session.client(title.lower(), region_name=self._region, endpoint_url=url, config=config)
            client.meta.events.register("before-parse.dynamodb", refuse_other_answers)
            bound_answers(client)
        return Service(self._who, title, client, self._sleep, attempts)

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError

        try:
            yield
        except (BotoCoreError, ValueError) as error:
            check = "check endpoint, region, profile and credentials of the AWS configuration"
            raise app.ConfigError(f"{self._who}: cannot be set up: {check}", hint=str(error)) from error


class Aws(app.Provider):
    """What the two halves of the provider share: settings, and one client a service, made in each process."""

    settings = (
        Setting("bucket", "text", "", 'the bucket of S3 that keeps files; "" = no files'),
        Setting("tables", "text", None, 'beginning of the names of the DynamoDB tables, "" too; not given = no records'),
        Setting("region", "text", "", 'such as "eu-central-1"; "" = the one of the usual AWS chain'),
        Setting("endpoint", "text", "", "address of services that are compatible with S3 and DynamoDB"),
        Setting("timeout", "duration", "10s", "longest silence of a service before a request fails", unit="seconds"),
        Setting("connections", "positive", 16, "connections kept for reuse, a service and process; at least http.threads"),
        Setting("scan_limit", "positive", 10_000, "most records that a filter or an order may read"),
    )

    def __init__(
        self, name: str, options: Mapping[str, Any], folder: Path, *, clock: app.Clock = time.time, sleep: Sleep = time.sleep
    ) -> None:
        options = {one.name: one.default for one in Aws.settings} | {"timeout": 10} | dict(options)
        self.name, self._who, self._options, self._clock, self._sleep = name, f"provider {name}", options, clock, sleep
        self._bucket: str = options["bucket"]
        self._tables_prefix: str | None = options["tables"]
        self._scan_limit: int = options["scan_limit"]
        uses = {"S3": bool(self._bucket), "DynamoDB": self._tables_prefix is not None}
        self._uses = tuple(title for title, wanted in uses.items() if wanted)
        self._opening = threading.Lock()
        self._services: dict[str, Service] = {}
        faults = [app.Fault(f"providers.{name}.{place}", "aws", words) for place, words in self._faults()]
        if faults:
            raise app.ConfigError(f"{self._who}: {faults[0].pointer.split('.')[-1]} {faults[0].detail}", faults=faults)

    def _faults(self) -> Iterator[tuple[str, str]]:
        if not self._bucket and self._tables_prefix is None:
            yield "bucket", "is missing, and so is tables: give one of them or both"
        if self._bucket and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|arn:[^\s/]+(/[^\s/]+)*", self._bucket):
            yield "bucket", "is no name of a bucket: 3 to 63 of a-z, 0-9, . and -"
        if not re.fullmatch(r"[A-Za-z0-9_.-]{0,150}", self._tables_prefix or ""):
            yield "tables", "must be letters, digits, _, . and -, at most 150"
        if self._options["endpoint"] and not re.fullmatch(r"https?://[^\s/?#@]+/?", self._options["endpoint"]):
            yield "endpoint", "must be http://HOST:PORT or https://HOST, without credentials and path"

    def has(self, contract: type[app.Provider]) -> bool:
        if contract is Records or contract is Blobs:
            return {Records: "DynamoDB", Blobs: "S3"}[contract] in self._uses
        return isinstance(self, contract)

    def open(self) -> None:
        """Asks no service, only for credentials: a service that is away fails the requests that need it."""
        if "S3" in self._uses:
            app.plugin("s3_parts")  # now: another version may have taken the place of its file by then
        with self._opening:
            if not self._services:
                self._services = self._connect()

    def _connect(self) -> dict[str, Service]:
        session = Session(self._who, self._options["region"], self._options["endpoint"], self._sleep)
        timeout_s, connections = self._options["timeout"], self._options["connections"]
        return {title: session.service(title, timeout_s, connections) for title in self._uses}

    def close(self) -> None:
        with self._opening:
            services, self._services = self._services, {}
        for service in services.values():
            with suppress(Exception):
                service.close()

    def _service(self, title: str) -> Service:
        try:
            return self._services[title]
        except KeyError:
            raise app.Unavailable(f"{self._who} is not open") from None

    def warnings(self) -> list[str]:
        address = urlsplit(self._options["endpoint"])  # was checked
        if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
            return ["endpoint is http: everything stored travels unencrypted"]
        return []


# ---- records


def table_name(prefix: str, table: str) -> str:
    """The DynamoDB table of a table of records: what is no letter, digit, _ or - is .XX, and short ones end in dots."""
    name = prefix + "".join(c if re.fullmatch(r"[A-Za-z0-9_-]", c) else quoted(c) for c in table)
    if len(name) > 255 or not table:
        raise app.BadRequest(f"{table!r} cannot be the name of a table")
    return name.ljust(3, ".")


def quoted(character: str) -> str:
    return "".join(f".{byte:02x}" for byte in character.encode(errors="replace"))


def table_of(prefix: str, name: str) -> str | None:
    """What table_name made the name of; None if it did not."""
    with suppress(UnicodeDecodeError, app.BadRequest):
        table = unquote(name.removeprefix(prefix).rstrip(".").replace(".", "%"), errors="strict")
        if table_name(prefix, table) == name:
            return table
    return None


def behind_prefix(prefix: str) -> str:
    """The first text that follows all that begin with prefix; "" if nothing does."""
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return ""
    after = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if 0xD800 <= after < 0xE000 else after)


def wanted_keys(query: Query) -> list[str] | None:
    """The only keys that the query can select, in order; None if it names none."""
    named = [
        {v for v in (c.value if c.op == "in" else [c.value]) if isinstance(v, str) and app.is_key(v)}
        for c in query.where
        if c.field == "id" and c.op in ("eq", "in")
    ]
    return sorted(set.intersection(*named)) if named else None


def key_span(compiled: CompiledQuery) -> tuple[str, str]:
    """The lowest and the highest key worth reading, "" = open; what lies between still has to be tested."""
    low, high = "", ""
    limits = [(c.op, c.value) for c in compiled.query.where if c.field == "id"]
    if in_key_order(compiled) and compiled.after:
        limits.append(("lt" if compiled.terms[0][1] else "gt", compiled.after[0][1:]))
    for op, value in limits:
        if not isinstance(value, str) or not app.is_key(value):
            continue
        if op in ("gt", "gte", "prefix"):
            low = max(low, value)
        if op in ("lt", "lte", "prefix"):
            top = behind_prefix(value) if op == "prefix" else value
            high = min(high or top, top) if top else high
    return low, high


def in_key_order(compiled: CompiledQuery) -> bool:
    return len(compiled.terms) == 1


def item_version(item: Mapping[str, Any]) -> int:
    """The version that an item says; 1 if another program wrote it without."""
    text = item.get(VERSION, {}).get("N", "")
    return app.stored_version(int(text) if re.fullmatch("[0-9]{1,18}", text) else None)


class DynamoRecords(Aws, Records):
    """A DynamoDB table for each table of records: `part` (always "r") and `key` are its key, `version` and `data` the rest.

    Key order is native, because all records of a table share one partition key. The price: DynamoDB keeps what shares a
    partition key together, so a table takes about 1,000 KB of writes and 12 MB of consistent reads a second (half as many
    writes, because every commit is a transaction) until DynamoDB itself splits it; it is for a team, not for a crowd.
    Pages in key order and what names keys reads what it answers. Every other filter and every other order reads the
    whole span of keys, at most `scan_limit` records, and is TooLarge beyond; an export (walk) in key order has no bound.

    Every read is strongly consistent and every commit a transaction with a token, so a repeat after a lost answer does
    nothing twice. get sees a commit whole or not at all; a page that is read while a commit is made may hold some of its
    records old and others new (DynamoDB's Query is read-committed).
    """

    atomic = True
    most_writes = MOST_WRITES

    def _dynamo(self, context: str, operation: str, **params: Any) -> Any:
        try:
            return self._service("DynamoDB").call(context, operation, **params)
        except Denied as error:
            if operation != "list_tables" and self._may_list_tables():
                raise app.NotPermitted(error.message, hint=error.hint) from error
            raise

    def _may_list_tables(self) -> bool:
        """Whether the service as such may be used, so that a refusal is that of one table."""
        with suppress(app.AppError):
            self._dynamo("looking at the tables", "list_tables", Limit=1)
            return True
        return False

    def _place(self, table: str) -> str:
        return table_name(self._tables_prefix or "", table)

    @staticmethod
    def _record(item: Mapping[str, Any]) -> Record:
        return app.stored_record(item[KEY]["S"], item_version(item), item.get(DATA, {}).get("S"))

    def get(self, table: str, key: str) -> Record | None:
        if not app.is_key(key):
            return None
        item_key = {PART: ALL, KEY: {"S": key}}
        found = self._dynamo(f"reading {table}", "get_item", TableName=self._place(table), Key=item_key, ConsistentRead=True)
        return self._record(found["Item"]) if "Item" in found else None

    def _fetch(self, context: str, wanted: Mapping[str, Collection[str]], **more: Any) -> Iterator[tuple[str, Any]]:
        """(table, item) of every record that is there, of wanted keys by table; those that come late are asked for again."""
        pairs = [(table, key) for table, keys in wanted.items() for key in keys]
        tables = {self._place(table): table for table in wanted}
        for start in range(0, len(pairs), 100):
            asked: dict[str, Any] = {}
            for table, key in pairs[start : start + 100]:
                place = asked.setdefault(self._place(table), {"Keys": [], "ConsistentRead": True, **more})
                place["Keys"].append({PART: ALL, KEY: {"S": key}})
            for attempt in itertools.count(1):
                found = self._dynamo(context, "batch_get_item", RequestItems=asked)
                yield from ((tables[name], item) for name, items in found["Responses"].items() for item in items)
                asked = found.get("UnprocessedKeys")
                if not asked:
                    break
                if attempt == ATTEMPTS:
                    raise Busy(f"{self._who}: DynamoDB: {context}: the service is busy and asks to come again later")
                self._service("DynamoDB").pause(attempt)

    def _pages(self, compiled: CompiledQuery, limit: int | None = None, **more: Any) -> Iterator[Any]:
        """The answers of Query over the query's span of keys; `limit` is that of the first, and doubles."""
        table, (low, high) = compiled.query.table, key_span(compiled)
        if low and high and low > high:
            return
        condition = {(True, True): " and #k between :low and :high", (True, False): " and #k >= :low",
                     (False, True): " and #k <= :high", (False, False): ""}[bool(low), bool(high)]  # fmt: skip
        values = {":p": ALL} | {name: {"S": key} for name, key in ((":low", low), (":high", high)) if key}
        params: dict[str, Any] = {
            "TableName": self._place(table),
            "KeyConditionExpression": "#p = :p" + condition,
            "ExpressionAttributeNames": {"#p": PART} | ({"#k": KEY} if condition else {}),
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not (in_key_order(compiled) and compiled.terms[0][1]),
            "ConsistentRead": True,
            **more,
        }
        while True:
            page = self._dynamo(f"reading {table}", "query", **params, **({"Limit": limit} if limit else {}))
            yield page
            if "LastEvaluatedKey" not in page:
                return
            params["ExclusiveStartKey"], limit = page["LastEvaluatedKey"], limit and limit * 2

    def _rows(self, compiled: CompiledQuery, *, limit: int | None = None, bounded: bool = True) -> Iterator[list[Record]]:
        """Records of the query's span in lists of at most a megabyte; TooLarge where bounded and past the scan limit."""
        left = self._scan_limit if bounded else None
        for page in self._pages(compiled, limit):
            items = page["Items"]
            yield [self._record(item) for item in items[:left]]
            if left is not None and len(items) > left:
                raise self._too_far(compiled.query)
            left = None if left is None else left - len(items)

    def _too_far(self, query: Query) -> app.TooLarge:
        can = "narrow it by id, raise scan_limit, or move the table to a provider that filters and sorts"
        return app.TooLarge(
            f"{self._who}: {query.table}: this filter or order reads over {self._scan_limit:,} records: {can}"
        )

    def _selected(self, compiled: CompiledQuery, *, bounded: bool) -> Iterator[Record]:
        """What a query in key order selects, in order, read as it is asked for."""
        filters = bool(compiled.tests or compiled.query.search)
        limit = None if compiled.query.limit > 1000 or not bounded else compiled.query.limit + 2  # it begins on the cursor
        for rows in self._rows(compiled, limit=limit, bounded=bounded and filters):
            yield from (r for r in rows if compiled.selects(r) and (not compiled.after or compiled.follows(r)))

    def _named(self, query: Query) -> list[Record] | None:
        """The records that the query names by key; None if it names none."""
        keys = wanted_keys(query)
        if keys is None:
            return None
        if len(keys) > self._scan_limit:
            raise self._too_far(query)
        found = self._fetch(f"reading {query.table}", {query.table: keys})
        return [self._record(item) for _, item in found]

    def find(self, query: Query) -> Page:
        compiled = CompiledQuery(query)
        if query.limit <= 0:
            return Page([], None)
        named = self._named(query)
        if named is not None:
            return compiled.page(compiled.first(named))
        if in_key_order(compiled):
            return compiled.page(islice(self._selected(compiled, bounded=True), query.limit + 1))
        first: list[Record] = []
        for rows in self._rows(compiled):
            first = compiled.first([*first, *rows])
        return compiled.page(first)

    def count(self, query: Query) -> int:
        compiled = CompiledQuery(query._replace(after=""))
        named = self._named(query)
        if named is not None:
            return sum(map(compiled.selects, named))
        if not (query.where or query.search):
            return sum(page["Count"] for page in self._pages(compiled, Select="COUNT"))
        return sum(sum(map(compiled.selects, rows)) for rows in self._rows(compiled))

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        """From the first megabyte, which costs little; None if there is more to read."""
        compiled = CompiledQuery(query._replace(after=""))
        named = self._named(query)
        if named is not None:
            return min(sum(map(compiled.selects, named)), most)
        is_plain = not (query.where or query.search)
        more: Any = {"Select": "COUNT"} if is_plain else {}
        page: Any = next(self._pages(compiled, most if is_plain else None, **more), {"Count": 0})
        records = [self._record(item) for item in page.get("Items", ())]
        found = min(page["Count"] if is_plain else sum(map(compiled.selects, records)), most)
        return found if found == most or "LastEvaluatedKey" not in page else None

    def walk(self, query: Query) -> Iterator[Record]:
        """Streamed without a bound in key order; in another order what is selected is held, so that is bounded."""
        compiled = CompiledQuery(query._replace(limit=2**31))
        named = self._named(query)
        if named is None and in_key_order(compiled):
            yield from self._selected(compiled, bounded=False)
            return
        held = named or []
        for number, rows in enumerate(() if named is not None else self._rows(compiled), 1):
            held += filter(compiled.selects, rows)
            if held and number > MOST_SORTED_PAGES:
                raise app.TooLarge(f"{self._who}: {query.table}: over {MOST_SORTED_PAGES} MB to sort: leave out the order")
        yield from compiled.first(held)

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        texts = app.check_commit(writes)
        self._check_sizes(writes, texts)
        began, items, token = time.monotonic(), None, ""
        for attempt in itertools.count(1 if writes else ATTEMPTS):
            versions = self._versions(writes)
            fresh = [self._item(*one) for one in zip(writes, texts, versions, strict=True)]
            if fresh != items:  # the same token for the same writes, for as long as it is not known what became of them
                items, token = fresh, secrets.token_hex(16)
            reasons = self._transact(items, token) if writes else []
            if not any(reasons):
                return [self._after(write, version) for write, version in zip(writes, versions, strict=True)]
            self._judge(writes, reasons)
            if attempt >= ATTEMPTS or time.monotonic() - began > RETRY_S:
                break
            self._service("DynamoDB").pause(attempt)
        raise app.Unavailable(f"{self._who}: DynamoDB: committing: others write the same records all the time")

    def _check_sizes(self, writes: Sequence[Write], texts: Sequence[str]) -> None:
        """TooLarge where DynamoDB would refuse the commit for its size."""
        if len(writes) > MOST_WRITES:
            raise app.TooLarge(
                f"{self._who}: a commit has at most {MOST_WRITES} writes, not {len(writes):,}: make it shorter"
            )
        fixed = sum(map(len, (PART, KEY, VERSION, DATA, ALL["S"]))) + 21  # and the version
        sizes = [fixed + len(write.key.encode()) + len(text.encode()) for write, text in zip(writes, texts, strict=True)]
        for write, size in zip(writes, sizes, strict=True):
            if size > MOST_ITEM_BYTES:
                raise app.TooLarge(
                    f"{self._who}: {write.table}: record {write.key} has {size:,} bytes: at most 400 KB are taken"
                )
        if sum(sizes) > MOST_COMMIT_BYTES:
            raise app.TooLarge(f"{self._who}: the commit has {sum(sizes):,} bytes: at most 4 MB are taken, make it shorter")

    def _versions(self, writes: Sequence[Write]) -> list[int | None]:
        """The version that each write must find (0 = absent); None = any."""
        asked = [(w.table, w.key) for w in writes if isinstance(w, app.Update) and w.version is None]
        wanted = {table: [key for t, key in asked if t == table] for table, _ in asked}
        more = {"ProjectionExpression": "#k, #v", "ExpressionAttributeNames": {"#k": KEY, "#v": VERSION}}
        found = self._fetch("reading versions", wanted, **more)
        present = {(table, item[KEY]["S"]): item_version(item) for table, item in found}
        return [present.get(at, 0) if (at := (w.table, w.key)) in asked else 0 if isinstance(w, Insert) else w.version
                for w in writes]  # fmt: skip

    def _item(self, write: Write, text: str, version: int | None) -> dict[str, Any]:
        """The write as TransactWriteItems takes it."""
        key = {PART: ALL, KEY: {"S": write.key}}
        item: dict[str, Any] = {"TableName": self._place(write.table)}
        absent = version == 0 and (isinstance(write, Insert) or write.version is None)
        if absent:
            item |= {"ConditionExpression": "attribute_not_exists(#k)", "ExpressionAttributeNames": {"#k": KEY}}
        elif version is not None:
            item |= {"ConditionExpression": "#v = :v", "ExpressionAttributeNames": {"#v": VERSION}}
            item["ExpressionAttributeValues"] = {":v": {"N": str(version)}}
            if version == 1:  # as which one without counts
                item["ConditionExpression"] += " or (attribute_exists(#k) and not attribute_type(#v, :n))"
                item["ExpressionAttributeNames"] |= {"#k": KEY}
                item["ExpressionAttributeValues"] |= {":n": {"S": "N"}}
        if "ConditionExpression" in item:
            item["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if isinstance(write, Delete):
            return {"Delete": item | {"Key": key}}
        after = self._after(write, version).version
        return {"Put": item | {"Item": key | {VERSION: {"N": str(after)}, DATA: {"S": text}}}}

    def _after(self, write: Write, version: int | None) -> Record:
        if isinstance(write, Delete):
            return Record(write.key, 0, {})
        return Record(write.key, app.next_version(write, version or 0), write.value)

    def _transact(self, items: list[Any], token: str) -> list[Any]:
        """Why each write was cancelled (None: it was not the reason); all None when they were done."""
        try:
            self._dynamo(
                "committing", "transact_write_items", expect=("TransactionCanceledException",), outcome=True,
                TransactItems=items, ClientRequestToken=token,
            )  # fmt: skip
        except Refused as refused:
            reasons = refused.answer.get("CancellationReasons", [])
            return [None if one.get("Code") in (None, "None") else one for one in reasons] or [{"Code": "unknown"}]
        except Broken as error:
            words = error.message + "; it is not known whether the commit was done"
            raise app.Unavailable(words, hint=error.hint) from error
        return []

    def _judge(self, writes: Sequence[Write], reasons: Sequence[Any]) -> None:
        """Nothing if the commit may succeed later; Conflict or another error if it cannot."""
        for index, (write, reason) in enumerate(zip(writes, reasons, strict=False)):
            was_read = isinstance(write, app.Update) and write.version is None
            if reason and reason["Code"] == "ConditionalCheckFailed" and not was_read:
                app.check_version(index, write, item_version(reason["Item"]) if "Item" in reason else 0)
                raise app.Conflict(f"{write.table}: record {write.key} was changed meanwhile", index=index)
        passing = ("ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
        for reason in reasons:
            if reason and reason["Code"] not in passing:
                hint = f"{reason['Code']}: {reason.get('Message', '')}"
                raise app.Unavailable(f"{self._who}: DynamoDB refuses the commit ({reason['Code']})", hint=hint)

    def tables(self) -> list[str]:
        """Those with records in them; of other programs' tables under the same prefix none that is made otherwise."""
        prefix, names, start = self._tables_prefix or "", list[str](), dict[str, str]()
        while True:
            page = self._dynamo("listing tables", "list_tables", **start)
            names += page["TableNames"]
            if "LastEvaluatedTableName" not in page:
                break
            start = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}
        ours = {name: table_of(prefix, name) for name in names if name.startswith(prefix)}
        return sorted((table for name, table in ours.items() if table and self._has_records(name, table)), key=str.encode)

    def _has_records(self, name: str, table: str) -> bool:
        try:
            found = self._dynamo(
                f"reading {table}", "query", expect=("ValidationException", "ResourceNotFoundException"), TableName=name,
                KeyConditionExpression="#p = :p", ExpressionAttributeNames={"#p": PART},
                ExpressionAttributeValues={":p": ALL}, Limit=1, ConsistentRead=True, Select="COUNT",
            )  # fmt: skip
        except Refused:
            return False
        return bool(found["Count"])

    def create_tables(self, tables: Iterable[str]) -> list[str]:
        """Make those that are missing and wait until they can be used; what was made, in words."""
        places = [self._place(table) for table in dict.fromkeys(tables)]
        states = {place: self._describe(place) for place in places}
        made = [place for place in places if states[place] is None and self._create_table(place)]
        for place in places:
            self._await_table(place, states[place])
        return [f"DynamoDB table {place}{self._protect(place)}" for place in made]

    def _describe(self, place: str) -> Any:
        missing = ("ResourceNotFoundException",)
        try:
            return self._dynamo("looking at tables", "describe_table", TableName=place, expect=missing)["Table"]
        except Refused:
            return None

    def _create_table(self, place: str) -> bool:
        """False where another makes it at this moment."""
        schema = [{"AttributeName": name, "KeyType": kind} for name, kind in TABLE_KEY]
        types = [{"AttributeName": name, "AttributeType": "S"} for name in (PART, KEY)]
        try:
            self._dynamo(
                "making a table", "create_table", expect=("ResourceInUseException",), TableName=place, KeySchema=schema,
                AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST",
            )  # fmt: skip
        except Refused:
            return False
        return True

    def _await_table(self, place: str, found: Any) -> None:
        """Unavailable if it takes too long, ConfigError if the table is not made for records."""
        began = time.monotonic()
        while True:
            found = found or self._describe(place)
            if found and [(one["AttributeName"], one["KeyType"]) for one in found["KeySchema"]] != TABLE_KEY:
                detail = "is there and is not made for records: choose another value for tables"
                raise app.ConfigError(f"{self._who}: DynamoDB: the table {place} {detail}")
            if found and found["TableStatus"] in ("ACTIVE", "UPDATING"):
                return
            if time.monotonic() - began > ACTIVE_S:
                raise app.Unavailable(f"{self._who}: DynamoDB: the table {place} is still not ready: run it again")
            self._sleep(0.5)
            found = None

    def _protect(self, place: str) -> str:
        """Switch point-in-time recovery on; what to add where the service does not have it, or not at once."""
        recovery = {"PointInTimeRecoveryEnabled": True}
        for attempt in range(1, 4):
            try:
                self._dynamo(
                    "protecting a table", "update_continuous_backups", expect=("ContinuousBackupsUnavailableException",),
                    TableName=place, PointInTimeRecoverySpecification=recovery,
                )  # fmt: skip
                return ""
            except Refused:
                self._service("DynamoDB").pause(attempt + 4)
            except app.AppError:
                break
        return " (without point-in-time recovery: switch it on)"


# ---- blobs


def part_bytes(number: int) -> int:
    """The size of a part: 10,000 of them, the most that S3 takes, hold more than its largest object."""
    return int(PART_BYTES << (number - 1) // 1000)


@dataclass(frozen=True, slots=True)
class Object:
    """A blob as S3 tells it, and the id of the write that made it ("" = not one of ours)."""

    blob: Blob
    write_id: str


class NoBytes:
    """A reader that gives none."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None: ...


class S3Reader:
    """The bytes of one answer, so of one version, whatever happens to the object meanwhile."""

    def __init__(self, service: Service, path: str, body: Any) -> None:
        self._service, self._path, self._body = service, path, body

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._service.errors(f"reading {self._path}"), web_client.wanted(self._body._raw_stream):
                chunk = self._body.read(READ_BYTES)
            if not chunk:
                return
            yield chunk

    def close(self) -> None:
        self._body.close()


class Upload:
    """A multipart upload in the making: bytes go to it in pieces of at most 1 MiB, and wait in a part's file."""

    def __init__(self, call: Callable[..., Any], key: str) -> None:
        self._call, self.key, self.write_id = call, key, secrets.token_hex(16)
        facts = {"Key": key, "Metadata": {WRITE_ID: self.write_id}}
        self.id: str = call("staging", "create_multipart_upload", needs=("UploadId",), **facts)["UploadId"]
        self.parts: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self._file: Any = None
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def write(self, piece: bytes) -> None:
        if self._size >= part_bytes(len(self.parts) + 1):
            self.send()
        self._file = self._file or tempfile.SpooledTemporaryFile(PART_BYTES)  # noqa: SIM115 (closed by send and abort)
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def finish(self) -> None:
        """Send the rest; of nothing at all, a part without bytes."""
        if self._file or not self.parts:
            self.write(b"")
            self.send()

    def send(self) -> None:
        """Send what waits as the next part."""
        params = {"Key": self.key, "UploadId": self.id, "PartNumber": len(self.parts) + 1, "Body": self._file}
        digest = b64encode(self._digest.digest()).decode()
        done = self._call("staging", "upload_part", needs=("ETag",), ContentMD5=digest, **params)
        self.parts.append(done["ETag"])
        self._file.close()
        self._begin()

    def copy(self, source: Mapping[str, str], etag: str, size_bytes: int) -> None:
        """Let the store copy an object that is larger than a part, cut as if it had been sent."""
        at = 0
        while at < size_bytes:
            number = len(self.parts) + 1
            end = min(at + part_bytes(number), size_bytes)
            params = {"Key": self.key, "UploadId": self.id, "PartNumber": number, "CopySource": source}
            span = {"CopySourceRange": f"bytes={at}-{end - 1}", "CopySourceIfMatch": f'"{etag}"'}
            done = self._call("copying", "upload_part_copy", needs=("CopyPartResult",), expect=GONE, **params, **span)
            self.parts.append(done["CopyPartResult"]["ETag"])
            at = end

    def abort(self) -> None:
        """Forget all of it; what cannot be removed now is swept later."""
        if self._file:
            self._file.close()
        with suppress(app.AppError, Refused):
            self._call(
                "discarding", "abort_multipart_upload", Key=self.key, UploadId=self.id, expect=("NoSuchUpload", "404")
            )


class S3Blobs(Aws, Blobs):
    """Objects of a bucket, by their paths. Their ETag is S3's, so the same bytes written again have the same one.

    Bytes are staged as a multipart upload, begun at the path where that is known: durable, invisible, and published by
    the one request that completes it, on its condition. Staged without a path, they are an object under .satchel/staged/
    that is copied. What is left behind is removed after a day, by an upload that comes along or by the bucket's own rule;
    so is every unfinished upload of that age, whoever began it: give Satchel a bucket of its own. modified_at is the time
    at which the upload began (so S3).

    S3 knows no folders. That a path is never a file and a folder is looked up before publishing: two writers at the same
    moment can make it both; then both can be read, and removed. move is a copy and a delete: between them both are there.
    """

    def _s3(self, context: str, operation: str, **params: Any) -> Any:
        try:
            return self._service("S3").call(context, operation, Bucket=self._bucket, **params)
        except Denied as error:
            if "Key" in params and self._may_look():
                raise app.NotPermitted(error.message, hint=error.hint) from error
            raise

    def _may_look(self) -> bool:
        """Whether the bucket as such may be used, so that a refusal is that of one object."""
        with suppress(app.AppError):
            self._s3("looking at the bucket", "head_bucket")
            return True
        return False

    def _key(self, path: str) -> str:
        """The key of a path that may be written."""
        if path.split("/")[0].casefold() == HIDDEN:
            raise app.BadRequest(f"{path}: {HIDDEN} is kept for the provider itself")
        if len(path.encode()) > 1024:
            raise app.BadRequest(f"{path[:40]}…: the path has over 1,024 bytes")
        return path

    @staticmethod
    def _is_hidden(path: str) -> bool:
        return path.split("/")[0].casefold() == HIDDEN

    def _head(self, key: str) -> Object | None:
        """What is at a key; a bucket that is missing is found out by the first thing that is."""
        try:
            found = self._s3(
                "looking at files", "head_object", Key=key, expect=("404", "NoSuchKey"), needs=("ETag", "LastModified")
            )
        except Refused:
            self._check_bucket()
            return None
        blob = Blob(key, found["ContentLength"], int(found["LastModified"].timestamp()), found["ETag"].strip('"'))
        return Object(blob, found.get("Metadata", {}).get(WRITE_ID, ""))

    _bucket_seen = False

    def _check_bucket(self) -> None:
        """Once in each process: an answer without a body does not say whether the bucket or the object is missing."""
        if not self._bucket_seen:
            self._head_bucket("looking at files")
        self._bucket_seen = True

    def _head_bucket(self, context: str) -> None:
        try:
            self._s3(context, "head_bucket", expect=("404", "NoSuchBucket"))
        except Refused as refused:
            kind, words = EXPLAINED["NoSuchBucket"]
            raise kind(f"{self._who}: S3: {context}: {words}", hint=self._bucket) from refused

    def stat(self, path: str) -> Blob | None:
        if self._is_hidden(path) or len(path.encode()) > 1024:
            return None
        found = self._head(path)
        return found.blob if found else None

    def is_folder(self, path: str) -> bool:
        if not path or self._is_hidden(path):
            return not path
        return self._holds(path) if len(path.encode()) < 1024 else False

    def _holds(self, path: str) -> bool:
        return bool(next(self._listed(path + "/", MaxKeys=1)).get("KeyCount"))

    def read(self, path: str, start: int = 0, length: int | None = None, if_match: str | None = None) -> app.Reader:
        if length == 0 or self._is_hidden(path):
            app.need_blob(path, self.stat(path), if_match)
            return NoBytes()
        asked: dict[str, Any] = {"IfMatch": f'"{if_match}"'} if if_match is not None else {}
        if start or length is not None:
            asked["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        context = f"reading {path}"
        try:
            found = self._s3(
                context,
                "get_object",
                Key=path,
                expect=("NoSuchKey", "404", "InvalidRange", "416", "PreconditionFailed", "412"),
                **asked,
            )
        except Refused as refused:
            return self._unread(refused.code, path, if_match)
        partial = found["ResponseMetadata"]["HTTPStatusCode"] == 206
        etag = found.get("ETag", "").strip('"')
        if not etag or (if_match is not None and etag != if_match) or ("Range" in asked) != partial:
            found["Body"].close()
            raise self._service("S3").garbled(context)
        return S3Reader(self._service("S3"), path, found["Body"])

    def _unread(self, code: str, path: str, if_match: str | None) -> app.Reader:
        """What it means that the bytes were refused: there are none at that place, or none of that blob."""
        if code in ("InvalidRange", "416"):
            app.need_blob(path, self.stat(path), if_match)
            return NoBytes()
        if code in ("PreconditionFailed", "412"):
            raise app.PreconditionFailed(f"{path} was changed meanwhile")
        self._check_bucket()
        raise (
            app.PreconditionFailed(f"{path} does not exist")
            if if_match is not None
            else app.NotFound(f"there is no file {path}")
        )

    @property
    def parts(self) -> Any:
        """Staged bytes that grow (plugins/s3_parts.py)."""
        return app.plugin("s3_parts").S3Parts(self)

    def stage(self, chunks: Iterable[bytes], path: str = "") -> Staged:
        upload = Upload(self._s3, self._key(path) if path else STAGED + secrets.token_hex(16))
        digest, size = hashlib.sha256(), 0
        try:
            for piece in app.rechunk(chunks, MIB):
                with app.disk_errors(self._who, "staging"):  # a part of over 8 MiB waits in a file
                    upload.write(piece)
                digest.update(piece)
                size += len(piece)
            upload.finish()
            if not path:
                self._complete(upload.key, upload.id, upload.parts)
        except BaseException:
            upload.abort()
            raise
        known = ["", upload.key] if not path else [upload.id, upload.key, upload.write_id, *upload.parts]
        return Staged(app.dump_json(known), size, digest.hexdigest())

    def _complete(
        self, key: str, upload_id: str, etags: Sequence[str], expect: Collection[str] = (), **condition: Any
    ) -> str:
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        done = self._s3(
            "publishing", "complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts},
            outcome=True, expect=expect, needs=("ETag",), **condition,
        )  # fmt: skip
        return str(done["ETag"].strip('"'))

    def _put(
        self,
        path: str,
        upload_id: str,
        write_id: str,
        etags: Sequence[str],
        size: int,
        if_match: str | None,
        if_none_match: bool,
    ) -> Blob:
        """Complete an upload at its path on a condition."""
        condition = {"IfNoneMatch": "*"} if if_none_match else {"IfMatch": f'"{if_match}"'} if if_match is not None else {}
        expect = ("PreconditionFailed", "412", "NoSuchKey", "NoSuchUpload", "404")
        try:
            etag = self._complete(path, upload_id, etags, expect, **condition)
        except Refused as refused:
            found = self._head(path)
            if found and found.write_id == write_id:  # done by an attempt whose answer was lost
                return found.blob
            app.check_blob(path, found.blob if found else None, if_match, if_none_match)
            if refused.code == "NoSuchUpload":
                raise gone() from refused
            raise app.PreconditionFailed(f"{path} was changed meanwhile") from refused
        found = self._head(path)
        return found.blob if found and found.blob.etag == etag else Blob(path, size, int(self._clock()), etag)

    def publish(self, staged: Staged, path: str, *, if_match: str | None = None, if_none_match: bool = False) -> Blob:
        upload_id, key, *rest = json.loads(staged.id)
        present = self._head(self._key(path))
        if upload_id and present and present.write_id == rest[0]:
            raise gone()
        if present is None:
            self._check_place(path)
        app.check_blob(path, present.blob if present else None, if_match, if_none_match)
        if upload_id and key == path:
            return self._put(path, upload_id, rest[0], rest[1:], staged.size_bytes, if_match, if_none_match)
        source = None if upload_id else self._head(key)
        if source is None:
            raise gone()
        blob = self._copy(source, path, if_match, if_none_match)
        self.discard(staged)
        return blob

    def _copy(self, source: Object, path: str, if_match: str | None, if_none_match: bool) -> Blob:
        """The same bytes at another path; NotFound if the source is gone meanwhile."""
        upload, blob = Upload(self._s3, path), source.blob
        try:
            if blob.size_bytes > PART_BYTES:
                upload.copy({"Bucket": self._bucket, "Key": blob.path}, blob.etag, blob.size_bytes)
            else:
                for piece in app.rechunk(self._bytes_of(blob), MIB):
                    upload.write(piece)
                upload.finish()
            return self._put(path, upload.id, upload.write_id, upload.parts, blob.size_bytes, if_match, if_none_match)
        except BaseException as error:
            upload.abort()
            if isinstance(error, Refused):
                raise app.NotFound(f"{blob.path} was removed or replaced meanwhile") from error
            raise

    def _bytes_of(self, blob: Blob) -> Iterator[bytes]:
        """Of any object, hidden ones too."""
        found = self._s3("copying", "get_object", Key=blob.path, IfMatch=f'"{blob.etag}"', expect=GONE)
        with closing(S3Reader(self._service("S3"), blob.path, found["Body"])) as reader:
            yield from reader

    def _check_place(self, path: str) -> None:
        """Nothing, or Conflict where a folder is at the path or a file above it."""
        if self._holds(path):
            raise app.Conflict(f"{path} is a folder")
        parts = path.split("/")
        for above in ("/".join(parts[:count]) for count in range(1, len(parts))):
            if self._head(above):
                raise app.Conflict(f"{above} is a file and no folder")

    def discard(self, staged: Staged) -> None:
        upload_id, key, *_ = json.loads(staged.id)
        if not upload_id:
            self._s3("discarding", "delete_object", Key=key)
            return
        with suppress(Refused):
            self._s3("discarding", "abort_multipart_upload", Key=key, UploadId=upload_id, expect=("NoSuchUpload", "404"))

    def keep(self, staged: Staged) -> None:
        upload_id, key, *_ = json.loads(staged.id)
        if not upload_id and (found := self._head(key)):
            self._copy(found, key, None, False)  # so that it counts as staged just now

    def sweep(self, now: float) -> None:
        """End uploads that are older than a day, and remove staged objects of that age."""
        if not self.has(Blobs):  # type: ignore[type-abstract]
            return
        for upload in self._s3("sweeping", "list_multipart_uploads").get("Uploads", []):
            if upload["Initiated"].timestamp() < now - SWEEP_AFTER_S:
                place = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                with suppress(Refused):
                    self._s3("sweeping", "abort_multipart_upload", **place, expect=("NoSuchUpload", "404"))
        for item in (item for page in self._listed(STAGED) for item in page.get("Contents", [])):
            if item["LastModified"].timestamp() < now - SWEEP_AFTER_S:
                self._s3("sweeping", "delete_object", Key=item["Key"])

    def _listed(self, prefix: str, **params: Any) -> Iterator[Any]:
        """The pages of a listing."""
        while True:
            page = self._s3("listing files", "list_objects_v2", Prefix=prefix, needs=("Name",), **params)
            yield page
            if not page.get("IsTruncated"):
                return
            params["ContinuationToken"] = page["NextContinuationToken"]

    def scan(self, prefix: str = "", *, deep: bool = True, after: str = "") -> Iterator[Blob | Folder]:
        inside = f"{prefix}/" if prefix else ""
        start = {"StartAfter": after} if after > inside else {}
        pages = self._listed(inside, **start, **({} if deep else {"Delimiter": "/"}))
        found = (entry for page in pages for entry in s3_listing.page_entries(page))
        entries = found if deep else s3_listing.by_path(found, len(inside), self._holds)
        return (entry for entry in entries if entry.path > after and not self._is_hidden(entry.path))

    def remove(self, path: str, *, if_match: str | None = None) -> None:
        blob = app.need_blob(path, self.stat(path), if_match)
        condition = {"IfMatch": f'"{blob.etag}"'} if if_match is not None else {}
        try:
            self._s3(
                f"removing {path}",
                "delete_object",
                Key=path,
                once=True,
                expect=("PreconditionFailed", "412", "404", "NoSuchKey"),
                **condition,
            )
        except Refused as refused:
            app.need_blob(path, self.stat(path))
            raise app.PreconditionFailed(f"{path} was changed meanwhile") from refused

    def make_folder(self, path: str) -> None:
        """As the console of S3 makes one: an object without bytes, whose key ends in a slash."""
        if self._head(self._key(path)):
            raise app.Conflict(f"{path} exists already")
        self._check_place(path)
        self._s3("making a folder", "put_object", Key=path + "/", Body=io.BytesIO())

    def remove_folder(self, path: str) -> None:
        keys = [item["Key"] for item in next(self._listed(self._key(path) + "/", MaxKeys=2)).get("Contents", ())]
        if not keys:
            raise app.NotFound(f"there is no folder {path}")
        if keys != [path + "/"]:
            raise app.Conflict(f"{path} is not empty")
        self._s3("removing a folder", "delete_object", Key=path + "/")

    def move(self, source: str, target: str) -> Blob:
        blob = app.need_blob(source, self.stat(source))
        moved = self._copied(blob, target)
        try:
            self.remove(source, if_match=blob.etag)
        except (app.PreconditionFailed, app.NotFound) as error:
            with suppress(app.AppError):
                self.remove(target, if_match=moved.etag)
            raise app.Conflict(f"{source} was changed meanwhile") from error
        return moved

    def copy(self, source: str, target: str) -> Blob:
        return self._copied(app.need_blob(source, self.stat(source)), target)

    def _copied(self, blob: Blob, target: str) -> Blob:
        """The same bytes at another path, where nothing may be."""
        if self._head(self._key(target)):
            raise app.Conflict(f"{target} exists already")
        self._check_place(target)
        try:
            return self._copy(Object(blob, ""), target, None, True)
        except app.PreconditionFailed as error:
            raise app.Conflict(f"{target} exists already") from error

    def create_bucket(self) -> list[str]:
        """Make the bucket if it is missing, closed to the public, with a rule against leftovers; what was made, in words."""
        try:
            self._s3("looking at the bucket", "head_bucket", expect=("404", "NoSuchBucket"))
            return []
        except Refused:
            pass
        region = self._service("S3").region()
        elsewhere = region not in ("us-east-1", "aws-global")  # where S3 wants no word about it
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}} if elsewhere else {}
        with suppress(Refused):
            self._s3("making the bucket", "create_bucket", expect=("BucketAlreadyOwnedByYou",), **where)
        block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
        left = {
            "ID": "satchel-unfinished",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            "Filter": {"Prefix": ""},
        }
        old = {"ID": "satchel-staged", "Expiration": {"Days": 1}, "Filter": {"Prefix": STAGED}}
        rules = {"Rules": [rule | {"Status": "Enabled"} for rule in (left, old)]}
        without = [
            words
            for words, operation, params in (
                ("a block of public access", "put_public_access_block", {"PublicAccessBlockConfiguration": block}),
                ("a rule that removes leftovers", "put_bucket_lifecycle_configuration", {"LifecycleConfiguration": rules}),
            )
            if not self._can(operation, params)
        ]
        return [f"S3 bucket {self._bucket}" + (f" (the service refused {' and '.join(without)})" if without else "")]

    def _can(self, operation: str, params: Mapping[str, Any]) -> bool:
        """Whether the service did what some compatible ones cannot do."""
        try:
            self._s3("setting up the bucket", operation, **params)
        except app.AppError:
            return False
        return True


def gone() -> app.NotFound:
    return app.NotFound("the staged bytes are gone: they were published, discarded or left for a day")


class AwsProvider(DynamoRecords, S3Blobs):
    """Records on DynamoDB where `tables` is given, blobs on S3 where `bucket` is."""

    kind = "aws"
    keeps_folders = True

    def ping(self) -> float:
        """Of the slower one where both services are used."""
        times = []
        for title in self._uses:
            began = time.perf_counter()
            self._head_bucket("ping") if title == "S3" else self._dynamo("ping", "list_tables", Limit=1)
            times.append(time.perf_counter() - began)
        return max(times)

    def create(self, tables: Iterable[str], bar: Any = None) -> list[str]:
        bucket = self.create_bucket() if "S3" in self._uses else []
        return bucket + (self.create_tables(tables) if "DynamoDB" in self._uses else [])
