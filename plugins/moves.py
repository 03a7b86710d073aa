"""A record moves from one state to another: POST forms/F/records/ID/move {"to": "approved", "comment": …}."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from app import (
    Action,
    BadRequest,
    Change,
    Conditions,
    Conflict,
    Fault,
    Forbidden,
    Form,
    Invalid,
    Json,
    NotFound,
    Plan,
    PreconditionFailed,
    Record,
    Request,
    Response,
    Scope,
    Unreadable,
    Update,
    check_text,
    covers,
    damage_in,
    is_key,
    member_pointer,
    nearest,
    no_params,
    rfc3339,
    storable,
)

if TYPE_CHECKING:
    from plugins.states import Move, States

# ==== 1. MOVES ===================================================================================================
# Every door comes here: JSON, the buttons of pages, and messages. The state alone changes, whatever else the record holds.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES plugin:states
# defines: LONGEST_COMMENT sufficient judged_at handle

LONGEST_COMMENT = 2000


def sufficient(request: Request) -> tuple[Action, ...]:
    """Whoever reads the record may have the role of a move; whoever updates it may make those without one."""
    return (Action.READ, Action.UPDATE)


def judged_at(request: Request) -> str:
    """The record itself."""
    return request._replace(path=request.path[:2]).address


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """Raises NotFound, Forbidden, PreconditionFailed and Invalid; Conflict if no move leads there from the present state."""
    states: States | None = form.states
    if states is None:
        raise NotFound(f"{form.address} has no states, and no moves")
    no_params(request)
    place, key = judged_at(request), request.path[1]
    record = form.store.get(form.table, key) if is_key(key) else None
    if record is None:
        raise NotFound(f"{place} does not exist")
    if not any(one.is_open_to(scope.caller, place) for one in states.moves):
        raise _closed(states.moves, place)
    target, comment = _asked(request.data, states)
    if record.damage or (lost := dict(damage_in(record.value))):
        why = record.damage or "; ".join(f"{name} {reason}" for name, reason in lost.items())
        raise Unreadable(f"{place} is damaged: what is stored {why}", hint=f"table {form.table}, key {key}")
    _check_conditions(request.conditions, record, states)
    move = _move(states, record, target, place)
    if not move.is_open_to(scope.caller, place) or not _is_let_through(request, place):
        raise _closed([move], place)
    stamp = {states.field: target, "updated_at": rfc3339(scope.now), "updated_by": scope.caller.subject}
    moved = Record(key, record.version + 1, storable({**record.value, **stamp}))
    change = Change(Update(form.table, key, moved.value, record.version), record.value)
    answer = Response(data=form.answered(moved), etag=str(moved.version), name=form.called(moved), location=place)
    return Plan(respond=lambda blobs: answer, changes=[change], comment=comment)


def _asked(data: Json, states: States) -> tuple[str, str]:
    """The state that is asked for, and the comment."""
    if not isinstance(data, dict):
        raise BadRequest('the body must be a JSON object: { "to": …, "comment": … }')
    given = {name: _last(value) for name, value in data.items()}
    faults = [
        Fault(member_pointer("", name), "unknown_field", f"is not asked for here{nearest(name, ('to', 'comment'))}")
        for name in list(given)[:20] if name not in ("to", "comment")
    ]  # fmt: skip
    target, comment = given.get("to"), given.get("comment")
    if not isinstance(target, str) or not target:
        code, detail = ("required", "is missing") if target in (None, "") else ("type", "must be a string")
        faults.append(Fault("/to", code, f"{detail}: name a state, such as {states.moves[0].target}"))
    faults += _comment_faults(comment)
    if faults:
        raise Invalid("the move is not valid", faults=faults)
    return cast(str, target), "\n".join((comment or "").strip().splitlines())


def _last(value: Json) -> Json:
    """A page sends a list of texts by each name."""
    return value[-1] if isinstance(value, list) and value else value


def _comment_faults(comment: Json) -> list[Fault]:
    if comment is None:
        return []
    if not isinstance(comment, str):
        return [Fault("/comment", "type", "must be a string")]
    if len(comment) > LONGEST_COMMENT:
        return [Fault("/comment", "maxLength", f"must have at most {LONGEST_COMMENT:,} characters")]
    return [Fault("/comment", "text", "holds a character that cannot be stored")] if check_text(comment) else []


def _check_conditions(conditions: Conditions, record: Record, states: States) -> None:
    present = str(record.version)
    if conditions.if_match and not conditions.name(conditions.if_match, present):
        raise PreconditionFailed(f"it was changed meanwhile: {_since(record, states)}; get it again")
    if conditions.name(conditions.if_none_match, present):
        raise PreconditionFailed("it has the version that If-None-Match names")


def _since(record: Record, states: States) -> str:
    """The present state of a record, and who wrote it last."""
    by, at = record.value.get("updated_by"), record.value.get("updated_at")
    return f"it is {states.of(record.value)}" + (f", last changed by {by} at {at}" if by and at else "")


def _move(states: States, record: Record, target: str, place: str) -> Move:
    """The move that leads from the record's state to another one. Raises Conflict if there is none."""
    state = states.of(record.value)
    there = {one.target: one for one in states.from_(state)}
    if target in there:
        return there[target]
    known = "" if target in states.names else nearest(target, states.names)
    onward = f"moves lead to {', '.join(there)}" if there else "no move leads on from there"
    raise Conflict(f"{place} cannot be moved to {target}: {_since(record, states)}, and {onward}{known}")


def _is_let_through(request: Request, place: str) -> bool:
    """Whether the door it came through lets moves of the record pass: a role is no way around it."""
    places = [address.split("/") for address in (place, f"{place}/move")]
    return request.ceiling is None or any(
        Action.UPDATE in one.actions and covers(one.pattern, parts) for one in request.ceiling for parts in places
    )


def _closed(moves: Iterable[Move], place: str) -> Forbidden:
    """Why none of these moves is open to the caller."""
    roles = dict.fromkeys(role for one in moves for role in one.roles)
    needed = "" if all(one.roles for one in moves) else f"{place}:{Action.UPDATE}"
    ways = [*([f"the role {' or '.join(roles)}"] if roles else []), *([f"the grant {needed}"] if needed else [])]
    return Forbidden(f"this move needs {', or '.join(ways)}", needed=needed)
