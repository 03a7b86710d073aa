"""admin/tokens and admin/sessions: lists that a program may change, too: tokens are issued and revoked, sessions ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from app import (
    CONVERTERS,
    Action,
    Authority,
    BadRequest,
    Blob,
    Caller,
    Change,
    Column,
    Condition,
    Config,
    Endpoint,
    Fault,
    Grant,
    Insert,
    Invalid,
    Json,
    NotFound,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Response,
    Scope,
    Token,
    Unauthenticated,
    Update,
    Value,
    how_many,
    is_key,
    no_params,
    parse_grant,
    plan_of,
    plugin,
)

if TYPE_CHECKING:
    from plugins import admin
else:
    admin = plugin("admin")

# ==== 1. TOKENS ==================================================================================================
# Nobody issues a token that allows more than he may himself. A token is in the answer once and kept nowhere.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES plugin:admin plugin:people plugin:tokens
# defines: Tokens Sessions

_TAKEN = ("subject", "grants", "roles", "expires", "label", "format")
_ID_LETTERS = 16  # of a session's digest: enough to name it, and nothing that signs in


class Tokens(admin.AdminTable):
    """The tokens."""

    endpoints = (Endpoint("", (Action.READ, Action.CREATE)), Endpoint("JTI", (Action.READ, Action.DELETE)))

    def __init__(self, state: Records, config: Config, titles: Mapping[str, str], locale: Any) -> None:
        super().__init__("tokens", admin.TOKENS, [state], locale)
        self.records, self.titles = state, titles
        self.roles: Mapping[str, tuple[Grant, ...]] = {name: one.grants for name, one in config.roles.items()}
        self.authority: Callable[[], Authority]  # set by the App

    def handle(self, request: Request, scope: Scope) -> Plan:
        match request.path, request.action:
            case (), Action.READ:
                return super().handle(request, scope)
            case (), _:
                return self._issued(request, scope)
        no_params(request)
        [jti] = request.path
        row = self.records.get("_tokens", jti) if self.records and is_key(jti) else None
        if row is None or row.damage:
            raise NotFound(f"there is no token {jti[:64]}")
        if request.action == Action.READ:
            return plan_of(Response(data=self._row(row)))
        changes = [] if row.value["revoked_at"] else [_revoked(row, scope.now)]
        return Plan(respond=lambda blobs: Response(), changes=changes)

    def _issued(self, request: Request, scope: Scope) -> Plan:
        no_params(request)
        asked = _asked(request.data)
        grants = [parse_grant(text) for text in asked["grants"]]
        held = (*grants, *(one for role in asked["roles"] for one in self.roles.get(role, ())))
        people = plugin("people")
        people.check_reach(scope.caller, held, self.titles, people.GIVEN)
        self._check_subject(scope.caller, asked["subject"])
        authority = self.authority()
        token, writes = authority.issue(
            asked["subject"], asked["grants"], asked["roles"], asked["expires_s"], asked["label"]
        )
        secret = authority.short(token) if asked["format"] == "short" else authority.jwt(token)
        return Plan(respond=_answered(token, secret), changes=[Change(cast(Insert, one)) for one in writes])

    def _check_subject(self, caller: Caller, subject: str) -> None:
        """Raises Forbidden if what the token does would stand under the name of somebody who may do more, or of Satchel."""
        people = plugin("people")
        try:
            person = people.standing(self.records, subject)
        except Unauthenticated as error:
            raise Invalid(error.message, faults=[Fault("/subject", "suspended", "is suspended")]) from error
        if people.PROGRAMS.match(subject):
            fault = Fault("/subject", "subject", "cannot be used: Satchel itself has such names")
            raise Invalid("the token has 1 fault", faults=[fault])
        if person and subject != caller.subject:
            why = f"{subject} has rights that you do not have"
            people.check_reach(caller, people.rights(person.value, self.roles), self.titles, why)


def _answered(token: Token, secret: str) -> Callable[[Sequence[Blob]], Response]:
    data = plugin("tokens").token_row(token)

    def respond(blobs: Sequence[Blob]) -> Response:
        return Response(data=data, created=True, location=f"admin/tokens/{token.jti}", page={"once": {"token": secret}})

    return respond


def _revoked(row: Record, now: float) -> Change:
    return Change(Update("_tokens", row.key, row.value | {"revoked_at": int(now)}), row.value)


def _asked(data: Json) -> Value:
    """What a token is to be. Raises BadRequest, or Invalid with each fault."""
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object")
    asked: Value = {"label": "", "grants": [], "roles": [], "expires": "30d", "format": "jwt", "subject": ""} | data
    faults = [Fault(f"/{name}", "unknown_field", "is no field of a token") for name in data if name not in _TAKEN]
    for name in ("grants", "roles"):
        if not isinstance(asked[name], list) or not all(isinstance(one, str) for one in asked[name]):
            faults.append(Fault(f"/{name}", "type", "must be a list of texts"))
    faults += [
        Fault(f"/{name}", "type", "must be a text") for name in ("subject", "label") if not isinstance(asked[name], str)
    ]
    if asked["format"] not in ("jwt", "short"):
        faults.append(Fault("/format", "enum", "must be jwt or short"))
    try:
        asked["expires_s"] = CONVERTERS["duration"](asked["expires"], Path())
    except ValueError as error:
        faults.append(Fault("/expires", "duration", str(error)))
    if faults:
        raise Invalid(f"the token has {how_many(len(faults), 'fault')}", faults=faults)
    return asked


class Sessions(admin.AdminTable):
    """The sessions that have not ended."""

    endpoints = (Endpoint(""), Endpoint("ID", (Action.DELETE,)))

    def __init__(self, state: Records, locale: Any) -> None:
        super().__init__("sessions", admin.SESSIONS, [state], locale, secret=True)
        self.columns = (*self.columns, Column("id", "Id"))
        self.records = state

    def handle(self, request: Request, scope: Scope) -> Plan:
        if not request.path:
            return super().handle(request, scope)
        no_params(request)
        wanted = Query("_sessions", (Condition("id", "prefix", request.path[0]),), limit=2)
        found = self.records.find(wanted).items if self.records and len(request.path[0]) >= _ID_LETTERS else []
        if len(found) != 1:
            raise NotFound(f"there is no session {request.path[0][:64]}")
        [row] = found
        ended = Change(Update("_sessions", row.key, row.value | {"expires_at": int(scope.now)}, row.version), row.value)
        return Plan(respond=lambda blobs: Response(), changes=[ended])

    def _row(self, record: Record) -> Value:
        return super()._row(record) | {"id": record.key[:_ID_LETTERS]}
