"""Queues of SQS for `server --runner sqs`, and what other services of AWS make of messages: see WRAPPINGS.

Rights that are needed: sqs:GetQueueAttributes, ReceiveMessage, ChangeMessageVisibility and DeleteMessage of a queue that
is worked on; GetQueueUrl and SendMessage of its dead-letter queue; SendMessage of the queues of `replies`; s3:GetObject and
DeleteObject of `buckets`, PutObject of `reply_bucket`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

import app
from app import (
    AppError,
    Attribute,
    BadEnvelope,
    BadRequest,
    ConfigError,
    Forbidden,
    Json,
    Message,
    NotFound,
    PayloadUnavailable,
    Queue,
    Refused,
    SqsConfig,
    TooLarge,
    Unavailable,
    Value,
    bad_envelope,
    check_value,
    dump_json,
    is_credential,
    load_json,
)

aws = app.plugin("aws")
envelopes = app.plugin("envelopes")

# ==== 1. SERVICE =================================================================================================
# SQS and the S3 beside it, over the clients of plugins/aws.py: each call says what it does, and its faults leave as
# NotFound (no such queue or object), Forbidden, Refused or Unavailable.
# uses: ERRORS CONFIG plugin:aws
# defines: ATTEMPTS PASSING SqsService faults translated

ATTEMPTS = 2  # at a call
# Codes of refusals that pass, also where plugins/aws.py does not know them: of a service that is like SQS, say. A key of KMS
# may be denied or disabled for the time being.
PASSING = re.compile(r"^(?i:kms)|Throttl|Limit|TooMany|SlowDown|Timeout|TimeTooSkewed|RequestExpired")


class SqsService:
    """The clients of one process."""

    def __init__(self, config: SqsConfig, connections: int = 10) -> None:
        """ConfigError without a region."""
        first_url = config.queues[0].url if config.queues else ""
        named = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.", first_url)
        session = aws.Session("[sqs]", config.region or (named[1] if named else ""), config.endpoint)
        # Without its checks and the long name of its agent, botocore takes a tenth less time for a call.
        quick = {"parameter_validation": False, "user_agent": f"satchel/{app.__version__}"}
        make = partial(session.service, connections=connections, attempts=ATTEMPTS, connect_timeout=5, **quick)
        self.config = config
        self.calls, self.polls = make("SQS", 10), make("SQS", config.wait_s + 10)
        self._make_s3, self._s3, self._making = partial(make, "S3", 10), None, threading.Lock()

    def close(self) -> None:
        for service in (self.calls, self.polls, self._s3):
            if service is not None:
                service.close()

    @property
    def s3(self) -> Any:
        with self._making:
            if self._s3 is None:
                self._s3 = self._make_s3()
            return self._s3

    def load(self, bucket: str, key: str, most_bytes: int) -> bytes:
        """An object's bytes; TooLarge by its announced size, before anything is read."""
        context = f"the payload in {bucket}"
        with faults(context):
            try:
                answer = self.s3.call(context, "get_object", expect=("NoSuchKey", "404"), Bucket=bucket, Key=key)
            except aws.Refused as error:
                raise NotFound(f"{context}: it does not exist") from error
        with closing(answer["Body"]) as stream:
            if answer["ContentLength"] > most_bytes:
                raise TooLarge(f"the payload has {answer['ContentLength']:,} bytes; at most {most_bytes:,} are taken here")
            with faults(context), self.s3.errors(context):
                return bytes(stream.read())

    def store(self, bucket: str, key: str, data: bytes) -> None:
        context = f"an answer in {bucket}"
        with faults(context):
            self.s3.call(context, "put_object", Bucket=bucket, Key=key, Body=io.BytesIO(data))

    def remove(self, bucket: str, key: str) -> None:
        context = f"removing a payload in {bucket}"
        with faults(context):
            self.s3.call(context, "delete_object", Bucket=bucket, Key=key)


@contextmanager
def faults(context: str) -> Iterator[None]:
    """The errors of plugins/aws.py as the queue runner knows them."""
    try:
        yield
    except (aws.Missing, aws.Denied, aws.BadCredentials, aws.Rejected, Unavailable, ConfigError) as error:
        raise translated(context, error) from error


def translated(context: str, error: AppError) -> AppError:
    """A refusal that passes, or may be repaired, is told from one that stays."""
    cause = error.__cause__
    code, status = aws.error_code(cause) or type(cause or error).__name__, aws.error_status(cause)
    if isinstance(error, aws.Missing):
        return NotFound(f"{context}: it does not exist")
    if PASSING.search(code) or status in (408, 429):
        return Unavailable(f"{context}: {code}", hint=error.hint)
    is_refused = isinstance(error, aws.Rejected)
    if isinstance(error, aws.Denied | aws.BadCredentials) or (is_refused and status in (401, 403)):
        return Forbidden(f"{context}: access was denied ({code})")
    if is_refused:
        return Refused(f"{context}: refused ({code})", hint=error.hint)
    return Unavailable(f"{context}: {code}", hint=error.hint)


# ==== 2. WRAPPINGS ===============================================================================================
# What other services of AWS make of a message: notifications of SNS, pointers to bodies in S3 as the extended client
# libraries write them, event notifications of S3.
# uses: VALUES RUNNERS plugin:envelopes
# defines: POINTERS POINTER_SIZES unwrapped has_pointer payload_pointer object_events is_event event_data

POINTERS = ("software.amazon.payloadoffloading.PayloadS3Pointer", "com.amazon.sqs.javamessaging.MessageS3Pointer")
POINTER_SIZES = ("ExtendedPayloadSize", "SQSLargePayloadSize")  # attributes of messages whose body is a pointer


def unwrapped(message: Message) -> Message:
    """What an SNS notification carries, under the notification's own id; any other message as it is."""
    if "TopicArn" not in message.body or not message.body.lstrip().startswith("{"):
        return message
    outer = envelopes.parse_body(message.body)
    if outer.get("Type") != "Notification" or not isinstance(outer.get("Message"), str) or "TopicArn" not in outer:
        return message
    given = outer.get("MessageAttributes", {})
    carried = {
        name: Attribute(str(one.get("Value", "")))
        for name, one in (given.items() if isinstance(given, dict) else ())
        if isinstance(one, dict)
    }
    key = outer.get("MessageId")
    if not envelopes.is_message_key(key):
        raise bad_envelope("/MessageId", "id", "must be a text of 1 to 255 characters")
    return message._replace(id=key, body=outer["Message"], attributes={**carried, **message.attributes})


def has_pointer(message: Message) -> bool:
    """Whether the body is a pointer to one in S3, as its attributes announce."""
    return any(name in message.attributes for name in POINTER_SIZES)


def payload_pointer(message: Message) -> tuple[str, str] | None:
    """Bucket and key of a body in S3; None for a body that is here."""
    if not has_pointer(message):
        return None
    match envelopes.parse_body(message.body):
        case [str(kind), {"s3BucketName": str(bucket), "s3Key": str(key)}] if kind in POINTERS:
            return bucket, key
    raise bad_envelope("", "pointer", "is not the S3 pointer that its attributes announce")


def object_events(value: Json) -> list[tuple[str, Value]] | None:
    """The records of an S3 event notification, each a key that its repeats share and data for a form; [] of a test event;
    None for anything else."""
    if not isinstance(value, dict):
        return None
    if value.get("Event") == "s3:TestEvent" and "Bucket" in value and "resource" not in value:
        return []
    records = value.get("Records")
    if not isinstance(records, list) or not records or not all(is_event(one) for one in records):
        return None
    if any(True for record in records for _ in check_value(record)):
        raise bad_envelope("/Records", "text", "holds what cannot be stored")
    return [event_data(one) for one in records]


def is_event(record: Json) -> bool:
    match record:
        case {"eventSource": "aws:s3", "s3": {"bucket": {"name": str()}, "object": {"key": str()}}}:
            return True
    return False


def event_data(record: Value) -> tuple[str, Value]:
    """The key of the object is decoded, which S3 encodes as a form does."""
    stored = record["s3"]["object"]
    data = {
        "bucket": record["s3"]["bucket"]["name"], "key": unquote_plus(stored["key"]), "size_bytes": stored.get("size"),
        "etag": stored.get("eTag"), "event": record.get("eventName"), "at": record.get("eventTime"),
    }  # fmt: skip
    repeat = [data["bucket"], data["key"], data["event"], stored.get("sequencer") or data["at"]]
    return "s3 " + dump_json(repeat), {name: value for name, value in data.items() if value is not None}


# ==== 3. LETTERS =================================================================================================
# What is said of a message that failed for good, and how: never a token, in as many attributes as SQS takes.
# uses: ERRORS VALUES RUNNERS
# defines: MOST_ATTRIBUTES mask_tokens without_token dead_letter packed_attribute

MOST_ATTRIBUTES = 10  # of a message
_TOKEN_LIKE = re.compile(r"(?i)\b(?:bearer\s+[\w.~+/=-]+|stl_[\w-]{20,})")
# What begins like a JWT is taken whole, and is one if it has the dots: to look for them from each place in it would take
# the square of its length.
_JWT_LIKE = re.compile(r"(?i)\beyJ[\w-]+(\.[\w-]+\.[\w-]*)?")


def mask_tokens(text: str) -> str:
    """A text without what looks like a token in it."""
    text = _TOKEN_LIKE.sub("[token]", text)  # first, or "Bearer" would stay in front of a JWT
    return _JWT_LIKE.sub(lambda found: "[token]" if found[1] else found[0], text)


def without_token(body: str) -> str:
    """The body with no token in it, where a wrapping or a mistake has put one."""
    try:
        outer = load_json(body)
    except BadRequest:
        return mask_tokens(body)
    if not isinstance(outer, dict):
        return mask_tokens(body)
    clean = {name: one for name, one in outer.items() if not is_credential(name)}
    carried = clean.get("MessageAttributes")
    if isinstance(carried, dict):
        clean["MessageAttributes"] = {name: one for name, one in carried.items() if not is_credential(name)}
    return body if clean == outer else dump_json(clean)


def dead_letter(message: Message, error: AppError, attempts: int, source: str) -> tuple[str, dict[str, Attribute]]:
    """Body and attributes of a message's copy in the dead-letter queue: without its token, and with why it is there.

    The attributes that it had stay, as far as there is room: the rest is JSON in x_attributes. One place is left free, for
    the size of a body that has to go elsewhere.
    """
    where = [f"{fault.pointer} {fault.detail}".strip() for fault in error.faults[:5]]
    detail = error.message if isinstance(error, BadEnvelope) else "; ".join([error.message, *where])
    reasons = {
        "x_error": error.code, "x_detail": detail[:500], "x_attempts": str(attempts), "x_source": source,
        "x_subject": error.subject, "x_message_id": message.text("x_message_id") or message.id,
    }  # fmt: skip
    own = {
        name: one
        for name, one in message.attributes.items()
        if not is_credential(name) and name not in (*reasons, "x_attributes", "x_dead_letter")
    }
    attributes = {name: Attribute(text) for name, text in reasons.items() if text}
    room = MOST_ATTRIBUTES - len(reasons) - 1
    if len(own) > room:
        packed = {name: packed_attribute(own.pop(name)) for name in list(own)[room - 1 :]}
        attributes["x_attributes"] = Attribute(dump_json(packed))
    return without_token(message.body), own | attributes


def packed_attribute(attribute: Attribute) -> Json:
    """An attribute as JSON: a text as it is, anything else with its type."""
    value, type_ = attribute
    if isinstance(value, bytes):
        return {"type": type_, "base64": base64.b64encode(value).decode()}
    return value if type_ == "String" else {"type": type_, "text": value}


# ==== 4. QUEUE ===================================================================================================
# A queue of SQS, for the queue runner and for plugins/queues.py.
# uses: ERRORS VALUES CONFIG RUNNERS SERVICE WRAPPINGS LETTERS
# defines: MOST_BYTES DEAD_LETTER_KEYS NOBODY SYSTEM_ATTRIBUTES UNSENDABLE queue_name SqsQueue message_bytes group_id
#          connect

MOST_BYTES = 262_144  # of body and attributes, on queues whose limit nobody raised
DEAD_LETTER_KEYS = "dead-letters/"  # of dead letters in S3
NOBODY = "none"  # a handle of no message
SYSTEM_ATTRIBUTES = ["SentTimestamp", "MessageGroupId", "DeadLetterQueueSourceArn", "ApproximateReceiveCount"]
UNSENDABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def queue_name(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]


class SqsQueue(Queue):
    """See Queue. `limit_bytes` is what is taken for its limit; with None that is found out by sending."""

    most_held_s = 12 * 3600
    dead_letters: SqsQueue  # as check() found it

    def __init__(self, service: SqsService, url: str, limit_bytes: int | None = MOST_BYTES) -> None:
        self.url, self.name, self.fifo = url, queue_name(url), url.endswith(".fifo")
        self.service, self.limit_bytes = service, limit_bytes

    def _call(self, context: str, operation: str, **params: Any) -> Any:
        with faults(context):
            return self.service.calls.call(context, operation, **params)

    # -- its set-up

    def attributes(self) -> dict[str, str]:
        """Everything that SQS says of it, by the names there."""
        answer = self._call(
            f"the queue {self.name}", "get_queue_attributes", QueueUrl=self.url, AttributeNames=["All"]
        )  # fmt: skip
        return dict(answer["Attributes"])

    def check(self) -> None:
        redrive = load_json(self.attributes().get("RedrivePolicy") or "{}")
        target = str(redrive.get("deadLetterTargetArn", ""))
        if not target:
            raise ConfigError("it has no dead-letter queue: give it a RedrivePolicy")
        self.dead_letters = self.queue_of(target)
        for denied in self.denied():
            raise denied

    def queue_of(self, arn: str) -> SqsQueue:
        """A dead-letter queue."""
        account, name = arn.split(":")[-2:]
        context = f"the dead-letter queue {name}"
        answer = self._call(context, "get_queue_url", QueueName=name, QueueOwnerAWSAccountId=account)
        found = SqsQueue(self.service, str(answer["QueueUrl"]))
        found.limit_bytes = None
        return found

    def denied(self) -> list[Forbidden]:
        """Of deleting and holding messages, what is not allowed; tried with a handle of no message."""
        found = []
        for attempt in (partial(self.delete, [NOBODY]), partial(self.extend, [(NOBODY, 0)])):
            try:
                with suppress(Unavailable, Refused):
                    attempt()
            except Forbidden as error:
                found.append(error)
        return found

    # -- its messages

    def receive(self, limit: int, wait_s: int, visibility_s: int) -> list[Message]:
        context = f"receiving from {self.name}"
        with faults(context):
            answer = self.service.polls.call(
                context, "receive_message", QueueUrl=self.url, MaxNumberOfMessages=min(10, limit), WaitTimeSeconds=wait_s,
                VisibilityTimeout=visibility_s, AttributeNames=SYSTEM_ATTRIBUTES, MessageAttributeNames=["All"],
            )  # fmt: skip
        return [self._message(raw) for raw in answer.get("Messages", ())]

    def _message(self, raw: Mapping[str, Any]) -> Message:
        """The group of a standard queue's message is for the service's fairness, and is no order."""
        system = raw.get("Attributes", {})
        attributes = {
            name: Attribute(one["StringValue"] if "StringValue" in one else one["BinaryValue"], one["DataType"])
            for name, one in raw.get("MessageAttributes", {}).items()
        }
        return Message(
            id=raw["MessageId"], body=raw["Body"], attributes=attributes, handle=raw["ReceiptHandle"],
            sent_at=int(system.get("SentTimestamp", 0)) / 1000,
            group=system.get("MessageGroupId", "") if self.fifo else "",
            receives=int(system.get("ApproximateReceiveCount", 1)),
            moved_from=system.get("DeadLetterQueueSourceArn", "").rpartition(":")[2],
        )  # fmt: skip

    def extend(self, times: Sequence[tuple[str, int]]) -> list[str]:
        entries = [
            {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": visibility_s}
            for n, (handle, visibility_s) in enumerate(times)
        ]
        context = f"holding messages of {self.name}"
        return _entries(self._call(context, "change_message_visibility_batch", QueueUrl=self.url, Entries=entries), entries)

    def delete(self, handles: Sequence[str]) -> list[str]:
        entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)]
        context = f"deleting from {self.name}"
        return _entries(self._call(context, "delete_message_batch", QueueUrl=self.url, Entries=entries), entries)

    def send(self, body: str, attributes: Mapping[str, Attribute], group: str, key: str, large_key: str = "") -> str:
        """Characters that a message may not have are escaped, as in JSON; in attributes they become "?"."""
        body = UNSENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", body)
        size, bucket = message_bytes(body, attributes), self.service.config.reply_bucket
        by_s3 = bool(bucket and large_key)
        if self.limit_bytes is None or size <= self.limit_bytes:
            try:
                return self._send(body, attributes, group, key)
            except Refused:
                if not by_s3:
                    raise
        elif not by_s3:
            raise TooLarge(f"the message has {size:,} bytes; at most {self.limit_bytes:,} are taken: [sqs] reply_bucket")
        try:
            self.service.store(bucket, large_key, body.encode())
        except (NotFound, Forbidden) as error:
            raise PayloadUnavailable(error.message) from error
        length = Attribute(str(len(body.encode())), "Number")
        pointer = dump_json([POINTERS[0], {"s3BucketName": bucket, "s3Key": large_key}])
        return self._send(pointer, {**attributes, POINTER_SIZES[0]: length}, group, key)

    def _send(self, body: str, attributes: Mapping[str, Attribute], group: str, key: str) -> str:
        order = {}
        if self.fifo:
            order = {"MessageGroupId": group_id(group) or key, "MessageDeduplicationId": key}
        given = {name: _sendable(one) for name, one in attributes.items()}
        context = f"sending to {self.name}"
        sent = self._call(context, "send_message", QueueUrl=self.url, MessageBody=body, MessageAttributes=given, **order)
        return str(sent["MessageId"])

    def send_to_dlq(self, message: Message, error: AppError, attempts: int) -> None:
        """A copy that is too large with all that is said of it says less."""
        body, attributes = dead_letter(message, error, attempts, self.name)

        def send(facts: Mapping[str, Attribute], large_key: str = DEAD_LETTER_KEYS + message.id) -> None:
            self.dead_letters.send(body, facts, message.group, message.id, large_key)

        try:
            for facts in (attributes, {name: attributes[name] for name in ("x_error", "x_message_id")}):
                with suppress(Refused, TooLarge, PayloadUnavailable):
                    send(facts)
                    return
            send({}, large_key="")  # the store was tried: without one too, it must not hold up what is behind this message
        except NotFound:
            self.check()  # it may have another dead-letter queue by now
            raise

    # -- what stands around them

    def unwrap(self, message: Message) -> Message:
        return unwrapped(message)

    def load(self, message: Message) -> tuple[Message, str]:
        pointer = payload_pointer(message)
        if pointer is None:
            return message, ""
        (bucket, key), config = pointer, self.service.config
        is_ours = bucket == config.reply_bucket and key.startswith(DEAD_LETTER_KEYS)
        if bucket not in config.buckets and not is_ours:
            raise bad_envelope("/1/s3BucketName", "bucket", "is none of [sqs] buckets")
        try:
            body = self.service.load(bucket, key, config.max_payload_bytes).decode()
        except UnicodeDecodeError as error:
            raise bad_envelope("", "text", "is not UTF-8") from error
        except Forbidden as error:  # ours to be repaired, or an object that is not there: S3 says the same of both
            raise PayloadUnavailable(error.message) from error
        first_id = message.text("x_message_id") or message.id  # of a dead letter that was sent back
        return unwrapped(message._replace(body=body, id=first_id)), f"{bucket}/{key}"

    def discard(self, payload: str) -> None:
        bucket, _, key = payload.partition("/")
        self.service.remove(bucket, key)

    def events(self, value: Json) -> list[tuple[str, Value]] | None:
        return object_events(value)


def _entries(answer: Mapping[str, Any], entries: Sequence[Any]) -> list[str]:
    """Of each entry of a batch what Queue.extend() says of it; one that the answer does not name has failed too."""
    codes = {str(one["Id"]): str(one.get("Code") or "") for one in answer.get("Failed", ())}
    done = {str(one["Id"]) for one in answer.get("Successful", ())}

    def said(id_: str) -> str:
        if id_ in codes:
            is_lost = re.search(r"NotInflight|ReceiptHandle|InvalidParameterValue|NotFound", codes[id_])
            return "lost" if is_lost else "failed"
        return "" if id_ in done else "failed"

    return [said(entry["Id"]) for entry in entries]


def _sendable(attribute: Attribute) -> dict[str, Any]:
    value, type_ = attribute
    if isinstance(value, bytes):
        return {"DataType": type_, "BinaryValue": value}
    return {"DataType": type_, "StringValue": UNSENDABLE.sub("?", value)}


def message_bytes(body: str, attributes: Mapping[str, Attribute]) -> int:
    """The size that counts against a queue's limit: body, and names, types and values of the attributes."""
    size = len(body.encode(errors="replace"))
    for name, (value, type_) in attributes.items():
        size += len((name + type_).encode()) + len(value if isinstance(value, bytes) else value.encode(errors="replace"))
    return size


def group_id(text: str) -> str:
    """A MessageGroupId for those that belong together by this text, of the characters and the length that SQS takes."""
    return text if re.fullmatch(r"[!-~]{0,128}", text) else hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def connect(config: SqsConfig, connections: int) -> Iterator[Callable[[str], Queue]]:
    """What makes queues of their URLs, until the block ends."""
    with closing(SqsService(config, connections)) as service:
        yield partial(SqsQueue, service)
