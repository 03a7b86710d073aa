"""forms/F/several: several records of a form are moved on or deleted at once, each by itself, with one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from app import (
    Action,
    AppError,
    BadRequest,
    Conditions,
    Fault,
    Form,
    Invalid,
    Json,
    Plan,
    Request,
    Response,
    Scope,
    SignInNeeded,
    Unavailable,
    Value,
    is_key,
    member_pointer,
    nearest,
    no_params,
    plan_of,
    plugin,
)

# ==== 1. SEVERAL =================================================================================================
# Each row is a request of its own as the same caller: its rules, its audit entry, its notices, all of it or nothing. Another
# one that fails keeps none from being done.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES plugin:row_rules plugin:several_pages
# defines: MOST MOVE DELETE Row Outcome sufficient judged_at handle run

MOST = 1000  # rows of one request, as many as a page of a list has
MOVE, DELETE = "move", "delete"
_MOST_S = 20.0  # after which no further row is begun
_NAMES = ("do", "rows", "to", "comment")
_ROW = 'must be an id, or { "id": …, "version": … }'


class Row(NamedTuple):
    """A record that was chosen. `version` is the one that was seen; "" if any will do."""

    key: str
    version: str = ""


class Outcome(NamedTuple):
    """What became of a row: what it is called, or why nothing was done."""

    row: Row
    name: str
    error: AppError | None = None


def sufficient(request: Request) -> tuple[Action, ...]:
    """Whoever sees the list; what is done with each row is judged there."""
    if _is_mine(request):
        return (Action.CREATE, Action.READ)
    return (Action.READ,) if request.action == Action.READ else (Action.READ, Action.UPDATE, Action.DELETE)


def judged_at(request: Request) -> str:
    return request.resource if _is_mine(request) else f"{request.resource}/records/x"


def _is_mine(request: Request) -> bool:
    return request.params.get("_of") == "mine"


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """For programs the report, for people the page of the next step. Raises BadRequest and Invalid for what it cannot mean,
    SignInNeeded for the public, which has no records of its own."""
    no_params(request, ("_of",))
    if request.params.get("_of", "mine") != "mine":
        raise BadRequest(f"_of is {request.params['_of']!r}: write mine, or leave it out")
    if _is_mine(request):
        if not scope.caller.subject:
            raise SignInNeeded("sign in to see what you have sent")
        form = plugin("row_rules").own(form, scope.caller.subject, f"{form.address}/mine")
    if request.action == Action.READ:
        page = {"act": plugin("several_pages").back_to(form)}
        return plan_of(Response(data={"do": [MOVE, DELETE], "most_rows": MOST}, page=page if request.page else {}))
    if not request.typed:
        return cast(Plan, plugin("several_pages").asked(form, request, scope))
    what, rows, to, comment = _read(request.data)
    return plan_of(Response(data=_report(run(form, request, scope, what, rows, to, comment))))


def run(
    form: Form, request: Request, scope: Scope, what: str, rows: Sequence[Row], to: str = "", comment: str = ""
) -> list[Outcome]:
    """Do it to each row in turn. A repeat with the same key of the request does none of them twice."""
    outcomes, until, away = list[Outcome](), time.monotonic() + _MOST_S, None
    for row in rows:
        if away or time.monotonic() > until:
            outcomes.append(Outcome(row, "", away or Unavailable("there was no time left for it: choose it again")))
            continue
        try:
            outcomes.append(Outcome(row, scope.send(_inner(form, request, what, row, to, comment)).name))
        except AppError as error:
            outcomes.append(Outcome(row, "", error))
            away = error if isinstance(error, Unavailable) else None  # what is away is not waited for a thousand times
    return outcomes


def _inner(form: Form, request: Request, what: str, row: Row, to: str, comment: str) -> Request:
    """The request that does it to one row."""
    place = (form.records_at.rpartition("/")[2], row.key)
    is_move = what == MOVE
    data: Json = {"to": to, **({"comment": comment} if comment else {})} if is_move else None
    return request._replace(
        action=Action.UPDATE if is_move else Action.DELETE, path=(*place, "move") if is_move else place, params={},
        data=data, typed=True, conditions=Conditions((row.version,)) if row.version else Conditions(),
        idempotency_key=f"{request.idempotency_key} {row.key}" if request.idempotency_key else "",
    )  # fmt: skip


def _report(outcomes: Sequence[Outcome]) -> Value:
    """What a program reads."""
    return {
        "asked": len(outcomes), "done": [{"id": one.row.key, "name": one.name} for one in outcomes if not one.error],
        "left": [
            {"id": one.row.key, "status": one.error.status, "code": one.error.code, "detail": one.error.message}
            for one in outcomes if one.error
        ],
    }  # fmt: skip


# ---- what a program sends


def _read(data: Json) -> tuple[str, list[Row], str, str]:
    """What is to be done, to which rows, and for a move where to and the comment."""
    if not isinstance(data, dict):
        raise BadRequest('the body must be a JSON object: { "do": "move", "rows": [ … ], "to": … }')
    rows, faults = _rows(data.get("rows"))
    faults += [
        Fault(member_pointer("", name), "unknown_field", f"is not asked for here{nearest(name, _NAMES)}")
        for name in list(data)[:20] if name not in _NAMES
    ]  # fmt: skip
    what, to, comment = (data.get(name) or "" for name in ("do", "to", "comment"))
    if what not in (MOVE, DELETE):
        faults.append(Fault("/do", "enum", f"must be {MOVE} or {DELETE}"))
    if what == MOVE and not (to and isinstance(to, str)):
        faults.append(Fault("/to", "required", "must name the state that they are moved to"))
    if not isinstance(comment, str):
        faults.append(Fault("/comment", "type", "must be a string"))
    if what == DELETE and (to or comment):
        faults.append(Fault("/to" if to else "/comment", "unknown_field", "is for moves alone"))
    if faults:
        raise Invalid("this cannot be done", faults=faults)
    return str(what), rows, str(to), str(comment)


def _rows(given: Any) -> tuple[list[Row], list[Fault]]:
    """Each once, and what is wrong with them."""
    if not isinstance(given, list) or not 1 <= len(given) <= MOST:
        return [], [Fault("/rows", "type", f"must be a list of 1 to {MOST:,} rows")]
    rows, faults = dict[str, Row](), list[Fault]()
    for at, one in enumerate(given):
        row = one if isinstance(one, dict) else {"id": one}
        key, version = row.get("id"), row.get("version", "")
        is_version = version == "" or (type(version) is int and version > 0)
        if not row.keys() <= {"id", "version"} or not isinstance(key, str) or not is_key(key) or not is_version:
            faults.append(Fault(f"/rows/{at}", "type", _ROW))
        else:
            rows.setdefault(key, Row(key, str(version)))
    return list(rows.values()), faults[:20]
