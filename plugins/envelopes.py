"""What stands in a message: the envelope that asks for something, and the answer that goes back to its sender.

An envelope is JSON: { v, resource, action, data, params, id }, with the credential beside it (docs/queues.md).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from urllib.parse import quote

from app import (
    Action,
    BadEnvelope,
    BadRequest,
    Fault,
    Grant,
    Json,
    Message,
    QueueConfig,
    Request,
    Response,
    TooLarge,
    Unauthenticated,
    Value,
    bad_envelope,
    check_text,
    is_credential,
    list_page,
    load_json,
    member_pointer,
    nearest,
    split_path,
)

# ==== 1. ASKED ===================================================================================================
# The requests that a message makes: that of an envelope, or one for each event in a store that it tells of.
# uses: ERRORS VALUES CONFIG RUNNERS
# defines: is_message_key parse_body read_envelope event_requests

_SAID = {"move", "copy", "folder", "modified_at", "restore", "purge"}  # what else than sending a file is done in a share
_MEMBERS = ("v", "resource", "action", "data", "params", "id")


def is_message_key(key: Json) -> bool:
    """Whether it can be an idempotency key."""
    return isinstance(key, str) and 0 < len(key) <= 255 and not check_text(key)


def parse_body(body: str) -> Json:
    """The JSON of a message's body. Raises BadEnvelope if it is not JSON."""
    try:
        return load_json(body)
    except BadRequest as error:
        raise BadEnvelope(error.message, faults=[Fault("", "json", error.message)]) from error


def _envelope_faults(value: Json) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault("", "type", "must be an object { v, resource, action, … }")
        return
    for name in value:
        if name not in _MEMBERS:
            yield Fault(member_pointer("", name), "unknown", f"is no member of an envelope{nearest(name, _MEMBERS)}")
    for name in ("v", "resource", "action"):
        if name not in value:
            yield Fault(f"/{name}", "required", "is missing")
    if "v" in value and (value["v"] != 1 or type(value["v"]) is not int):
        yield Fault("/v", "version", "must be 1")
    resource = value.get("resource", "forms/any")
    if not isinstance(resource, str) or check_text(resource) or not re.fullmatch(r"[a-z]+(/[^/?#\s]+)+/?", resource):
        yield Fault("/resource", "address", "must be an address such as forms/leave")
    if value.get("action", "read") not in list(Action):
        yield Fault("/action", "action", f"must be one of {', '.join(Action)}")
    if not is_message_key(value.get("id", "none")):
        yield Fault("/id", "id", "must be a text of 1 to 255 characters")
    yield from _params_faults(value.get("params", {}))


def _params_faults(params: Json) -> Iterator[Fault]:
    if not isinstance(params, dict):
        yield Fault("/params", "type", "must be an object of texts")
        return
    for name, text in params.items():
        if not isinstance(text, str):
            yield Fault(member_pointer("/params", name), "type", "must be a text")
        elif problem := check_text(name + text):
            yield Fault(member_pointer("/params", name), "text", problem)


def read_envelope(value: Json, message: Message, ceiling: tuple[Grant, ...] | None, request_id: str) -> Request:
    """The request that an envelope makes; without an `id` its idempotency key is the id of the message. Raises BadEnvelope
    with every fault and its pointer, and Unauthenticated if the credential is malformed."""
    if faults := list(dict.fromkeys(_envelope_faults(value))):
        first = "; ".join(f"{fault.pointer} {fault.detail}".strip() for fault in faults[:3])
        raise BadEnvelope(f"the message is no envelope: {first}", faults=faults)
    type_, _, rest = value["resource"].partition("/")
    name, *path = split_path(rest)
    action, data = Action(value["action"]), value.get("data")
    if action in (Action.READ, Action.DELETE) and data is not None:
        raise bad_envelope("/data", "unknown", "goes with create and update")
    is_said = action == Action.CREATE and isinstance(data, dict) and bool(_SAID & {*data})
    is_file = type_ == "files" and action in (Action.CREATE, Action.UPDATE) and not is_said
    content = _file_bytes(data) if is_file else None
    return Request(
        id=request_id, action=action, resource=f"{type_}/{quote(name, safe='')}", path=tuple(path), door="sqs",
        params=value.get("params", {}), data=data if content is None else None,
        body=None if content is None else [content], body_bytes=None if content is None else len(content),
        idempotency_key=value.get("id", message.id), credential=_credential(message), sent_at=message.sent_at,
        ceiling=ceiling,
    )  # fmt: skip


def _credential(message: Message) -> str:
    """The attribute `authorization`, in whatever case; "" if there is none. Raises Unauthenticated if there are two, or it
    is no Bearer token."""
    found = [message.text(name).strip() for name in message.attributes if is_credential(name)]
    if len(found) > 1 or not all(text.lower().startswith("bearer ") for text in found):
        raise Unauthenticated("the credential is malformed: send one attribute with Bearer and a token, as text")
    return found[0] if found else ""


def _file_bytes(data: Json) -> bytes:
    """The bytes of a file, sent as { text } or { base64 }."""
    kind, text = next(iter(data.items())) if isinstance(data, dict) and len(data) == 1 else ("", None)
    if kind not in ("text", "base64") or not isinstance(text, str):
        raise bad_envelope("/data", "file", 'must be { "text": … } or { "base64": … }')
    try:
        return text.encode() if kind == "text" else base64.b64decode(text, validate=True)
    except ValueError:
        problem = check_text(text) if kind == "text" else "is not base64"
        raise bad_envelope(f"/data/{kind}", kind, problem) from None


def event_requests(events: Sequence[tuple[str, Value]], queue: QueueConfig, request_id: str) -> list[Request]:
    """For each event (see Queue.events) a create in the form that the queue's setting `events` names, by its role. Raises
    BadEnvelope if there are any and that is not set."""
    if not events:
        return []
    if queue.events is None:
        raise bad_envelope("/Records", "events", "is an S3 event, and [sqs] queues names no events for this queue")
    resource, role = queue.events.resource, queue.events.role
    return [
        Request(
            id=request_id, action=Action.CREATE, resource=resource, door="sqs", data=data, idempotency_key=key,
            ceiling=queue.allow, role=role,
        )
        for key, data in events
    ]  # fmt: skip


# ==== 2. ANSWERED ================================================================================================
# What goes back to the sender of a message.
# uses: ERRORS VALUES RUNNERS
# defines: MOST_FILE_BYTES answer_of

MOST_FILE_BYTES = 8 * 1024 * 1024  # of a file in an answer


def answer_of(response: Response) -> tuple[int, Json]:
    """The status and JSON that HTTP would answer; a file as { name, base64 }. Raises TooLarge for a large one."""
    status = 201 if response.created else 200
    if response.table:
        with closing(response.table):
            return status, list_page(response.table)
    if response.content is None:
        return 204 if response.data is None else status, response.data
    if response.content.blob.size_bytes > MOST_FILE_BYTES:
        raise TooLarge(f"{response.content.name} is too large for an answer by message")
    with closing(response.content.read(0, None)) as reader:
        return status, {"name": response.content.name, "base64": base64.b64encode(b"".join(reader)).decode()}
