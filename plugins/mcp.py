"""The Model Context Protocol at /mcp: programs that assist people read views and files and send forms, with a token."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import app
from app import (
    Action,
    Answer,
    AppError,
    Asked,
    BadRequest,
    Caller,
    Exchange,
    Forbidden,
    Host,
    HttpRunner,
    Json,
    Request,
    Route,
    SignInNeeded,
    Unauthenticated,
    UnsupportedMedia,
    Value,
    check_text,
    dump_json,
    json_answer,
    load_json,
    log_fault,
    new_id,
    problem_details,
)

if TYPE_CHECKING:
    from plugins import mcp_files, mcp_tools
else:
    mcp_files, mcp_tools = app.plugin("mcp_files"), app.plugin("mcp_tools")

# ==== 1. MCP =====================================================================================================
# Streamable HTTP without sessions and streams: each message is answered by itself. Revisions up to 2025-11-25 begin with
# `initialize`; since 2026-07-28 each request says its own revision. What is asked for goes through host.handle.
# uses: ERRORS VALUES RUNNERS plugin:mcp_files plugin:mcp_tools
# defines: Route:mcp REVISIONS RpcError Call Mcp

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
_BATCHES, _BY_HANDSHAKE, _ALONE = "2025-03-26", REVISIONS[:-1], REVISIONS[-1:]  # that know batches; that begin …
_MOST_BATCHED = 20
_PARSE, _REQUEST, _METHOD, _PARAMS = -32700, -32600, -32601, -32602  # JSON-RPC 2.0 section 5.1
_MISMATCH, _REVISION = -32020, -32022
_STATUS = {_PARSE: 400, _REQUEST: 400, _PARAMS: 400, _MISMATCH: 400, _REVISION: 400, _METHOD: 404}  # since 2026-07-28
_META = "io.modelcontextprotocol/"
_NAMED = {"tools/call": "name", "resources/read": "uri"}  # what the header Mcp-Name repeats
_LISTS = ("tools/list", "resources/list", "resources/templates/list", "resources/read", "server/discover")
_CAPABILITIES: Value = {"tools": {"listChanged": False}, "resources": {"subscribe": False, "listChanged": False}}
_INSTRUCTIONS = (
    "Views are reports: each is a tool that reads its rows and takes filters. Forms are tools that make a record; repeat "
    "a call that may have got lost with the same _idempotency_key. Files of the shares are resources."
)


class RpcError(Exception):
    """A message that is answered by an error of the protocol."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Call(NamedTuple):
    """Whoever sends a message, and how what it asks for is done."""

    exchange: Exchange
    host: Host
    caller: Caller
    revision: str

    def handle(self, action: Action, resource: str, path: tuple[str, ...] = (), **facts: Any) -> app.Response:
        """What the resource answers to this caller."""
        request = Request(
            new_id(time.time()), action, resource, path, HttpRunner.kind, credential=self.exchange.authorization, **facts
        )
        return self.host.handle(request)

    def described(self) -> list[Value]:
        """What the caller may open, as Host.describe tells of it."""
        return self.host.describe(self.exchange.authorization)

    def said(self, error: AppError) -> Value:
        """What went wrong, for the log and as problem details."""
        log_fault(self.exchange, error)
        return problem_details(self.exchange.id, error)


class Mcp(Route):
    """Whoever has a token, with what the token may do."""

    kind = "mcp"
    paths: ClassVar[Mapping[str, str]] = {"/mcp": "POST"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        if exchange.door.same_origin(exchange) is False:  # against DNS rebinding
            raise Forbidden(app.ELSEWHERE)
        caller = _let_in(exchange, host)
        exchange.subject = caller.subject
        if exchange.media_type != "application/json":
            raise UnsupportedMedia("a message is application/json")
        try:
            revision = _revision(exchange)
            message = _message(exchange)
        except RpcError as error:
            return json_answer(400, _failed(None, error))
        call = Call(exchange, host, caller, revision)
        return _batch(call, message) if isinstance(message, list) else _one(call, message)


def _let_in(exchange: Exchange, host: Host) -> Caller:
    """Whose token it is. Raises Unauthenticated without a good one: neither cookies nor a proxy count here."""
    if not exchange.authorization:
        raise SignInNeeded("this needs a token: send Authorization: Bearer …")
    if not exchange.authorization.lower().startswith(("bearer ", "basic ")):
        raise Unauthenticated("the credential is malformed: send Bearer")
    home = Request(exchange.id, Action.READ, "", door=HttpRunner.kind, credential=exchange.authorization)
    return host.handle(home).caller


def _revision(exchange: Exchange) -> str:
    """That of the message, by its header; programs from before there was one speak the first."""
    named = exchange.header("mcp-protocol-version").strip() or _BATCHES
    if named not in REVISIONS:
        raise RpcError(_REVISION, "this revision is not spoken here", {"supported": list(REVISIONS), "requested": named})
    return named


def _message(exchange: Exchange) -> Json:
    try:
        message = load_json(b"".join(exchange.body.bounded(exchange.door.config.max_body_bytes)))
    except BadRequest as error:
        raise RpcError(_PARSE, error.message) from error
    if wrong := check_text(dump_json(message)):
        raise RpcError(_PARSE, f"the message {wrong}")
    return message


def _failed(id_: Json, error: RpcError) -> Value:
    data = {} if error.data is None else {"data": error.data}
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": error.code, "message": error.message, **data}}


def _batch(call: Call, messages: list[Json]) -> Answer:
    if call.revision != _BATCHES or not 1 <= len(messages) <= _MOST_BATCHED:
        words = f"a batch has 1 to {_MOST_BATCHED} messages, and only revision {_BATCHES} knows them"
        return json_answer(400, _failed(None, RpcError(_REQUEST, words)))
    answers = [found[0] for one in messages if (found := _told(call, one))]
    return json_answer(200, answers) if answers else Answer(202, [("Content-Type", "application/json")])


def _one(call: Call, message: Json) -> Answer:
    found = _told(call, message)
    if found is None:
        return Answer(202, [("Content-Type", "application/json")])
    answer, code = found
    status = _STATUS.get(code, 200) if call.revision in _ALONE or code in (_PARSE, _REQUEST) else 200
    return json_answer(status, answer)


def _told(call: Call, message: Json) -> tuple[Value, int] | None:
    """The answer to a message and the code of its error, 0 without one; None if it wants no answer."""
    id_ = message.get("id") if isinstance(message, dict) else None
    try:
        _check_message(message)
        if "method" not in message or "id" not in message:
            return None  # an answer, or a notification: neither is waited for here
        if call.revision in _ALONE:
            _check_alone(call.exchange, message)
        return {"jsonrpc": "2.0", "id": id_, "result": _result(call, message)}, 0
    except RpcError as error:
        is_id = isinstance(id_, str | int) and not isinstance(id_, bool)
        return _failed(id_ if is_id else None, error), error.code


def _check_message(message: Json) -> None:
    """Raises RpcError unless it is a request, a notification or an answer of JSON-RPC 2.0."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise RpcError(_REQUEST, 'a message is an object with "jsonrpc": "2.0"')
    if "method" not in message:
        if {"result", "error"} & message.keys():
            return
        raise RpcError(_REQUEST, "method is missing")
    id_ = message.get("id", "")
    if not isinstance(message["method"], str) or isinstance(id_, bool) or not isinstance(id_, str | int):
        raise RpcError(_REQUEST, "method is a text, and id a text or a whole number")
    if not isinstance(message.get("params", {}), dict):
        raise RpcError(_PARAMS, "params must be an object")


def _check_alone(exchange: Exchange, message: Value) -> None:
    """Raises RpcError unless a request says for itself what `initialize` said, and its headers agree with it."""
    meta = message.get("params", {}).get("_meta")
    needed = [f"{_META}protocolVersion", f"{_META}clientCapabilities"]
    missing = [key for key in needed if not isinstance(meta, dict) or key not in meta]
    if missing:
        raise RpcError(_PARAMS, f"params._meta needs {' and '.join(missing)}")
    same = {
        "mcp-protocol-version": meta[needed[0]], "mcp-method": message["method"],
        "mcp-name": message["params"].get(_NAMED.get(message["method"], "")),
    }  # fmt: skip
    for name, said in same.items():
        if said is not None and _plain(exchange.header(name)) != said:
            raise RpcError(_MISMATCH, f"the header {name} does not say what the message says")


def _plain(header: str) -> str | None:
    """The value of a header, which is in base64 where HTTP could not hold it; None if that is damaged."""
    coded = re.fullmatch(r"=\?base64\?(.*)\?=", header)
    if not coded:
        return header
    try:
        return base64.b64decode(coded[1], validate=True).decode()
    except ValueError:
        return None


# ---- methods


def _result(call: Call, message: Value) -> Value:
    method, params = message["method"], message.get("params", {})
    does = _METHODS.get(method)
    if does is None or (method == "server/discover" and call.revision not in _ALONE):
        raise RpcError(_METHOD, f"there is no method {method[:100]!r} here")
    try:
        found = does(call, params)
    except Unauthenticated:
        raise
    except AppError as error:
        raise _as_rpc(call, error, params) from error
    if call.revision in _ALONE:
        found |= {"resultType": "complete"} | ({"ttlMs": 0, "cacheScope": "private"} if method in _LISTS else {})
    return found


def _as_rpc(call: Call, error: AppError, params: Value) -> RpcError:
    """What a method could not do, as an error of the protocol: what is not there has had a code of its own."""
    problem = call.said(error)
    if error.status == 404:
        code = _PARAMS if call.revision in _ALONE else -32002
        return RpcError(code, error.message, {"uri": params.get("uri")})
    return RpcError(_PARAMS if error.status < 500 else -32603, error.message, problem)


def _initialize(call: Call, params: Value) -> Value:
    wanted = params.get("protocolVersion")
    spoken = wanted if wanted in _BY_HANDSHAKE else _BY_HANDSHAKE[-1]
    return {
        "protocolVersion": spoken, "capabilities": _CAPABILITIES, "serverInfo": _about(call), "instructions": _INSTRUCTIONS,
    }  # fmt: skip


def _discover(call: Call, params: Value) -> Value:
    return {
        "supportedVersions": list(REVISIONS), "capabilities": _CAPABILITIES, "instructions": _INSTRUCTIONS,
        "_meta": {f"{_META}serverInfo": _about(call)},
    }  # fmt: skip


def _about(call: Call) -> Value:
    return {"name": "satchel", "title": call.host.title, "version": app.__version__}


def _tools(call: Call, params: Value) -> Value:
    _check_first(params)
    return {"tools": mcp_tools.tools(call)}


def _templates(call: Call, params: Value) -> Value:
    _check_first(params)
    return mcp_files.templates(call)


def _check_first(params: Value) -> None:
    """Raises RpcError for a cursor: a list that is answered whole has given none."""
    if params.get("cursor") is not None:
        raise RpcError(_PARAMS, "cursor is not one of this list, which is answered whole: ask without it")


def _called(call: Call, params: Value) -> Value:
    name, arguments = params.get("name"), params.get("arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise RpcError(_PARAMS, "name is a text, and arguments an object")
    said = params.get("_meta")
    meta: Value = said if isinstance(said, dict) else {}
    try:
        return _content(mcp_tools.called(call, name, arguments, meta))
    except mcp_tools.UnknownTool:
        raise RpcError(_PARAMS, f"there is no tool {name[:150]!r} for this token") from None
    except Unauthenticated:
        raise
    except AppError as error:
        problem = call.said(error)
        lines = [error.message, *(f"{one.pointer}: {one.detail}" for one in error.faults if one.detail not in error.message)]
        told = {"content": [{"type": "text", "text": "\n".join(lines)}], "isError": True}
        return told | {"_meta": {"satchel/problem": problem}}  # clients judge any structuredContent by the outputSchema


def _content(found: Value) -> Value:
    return {"content": [{"type": "text", "text": dump_json(found)}], "structuredContent": found, "isError": False}


_METHODS: Mapping[str, Callable[[Call, Value], Value]] = {
    "initialize": _initialize, "server/discover": _discover, "ping": lambda call, params: {}, "tools/list": _tools,
    "tools/call": _called, "resources/list": lambda call, params: mcp_files.listed(call, params.get("cursor")),
    "resources/templates/list": _templates,
    "resources/read": lambda call, params: mcp_files.read(call, params.get("uri")),
}  # fmt: skip
