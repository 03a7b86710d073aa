"""The states of a form's records: what `states` in app.toml declares, and the field that keeps them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app import (
    CONVERTERS,
    Action,
    AppError,
    Caller,
    Condition,
    Conflict,
    Fault,
    FieldConfig,
    FormConfig,
    Query,
    Record,
    Value,
    how_many,
    nearest,
    plugin,
    settings_of,
)

if TYPE_CHECKING:
    from app import Form
    from plugins.fields import Field

# ==== 1. STATES ==================================================================================================
# What states a form has, which moves lead from one to another, and who may make them. Moves are made in plugins/moves.py.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:fields plugin:people
# defines: BADGES Move States state_names faults warnings

BADGES = ("good", "bad", "warn", "none")
_OTHERS = ("create", "update", "delete", "comment")  # what notices are sent on, beside states
_MOVE = re.compile(r"\s*([^\s>:,]+)\s*>\s*([^\s>:,]+)\s*(?::(.*))?", re.DOTALL)
_STATE = re.compile(r"\w[\w-]{0,63}")
_MADE = "is a state, which moves alone change: leave it out, and POST to the record's move"


class Move(NamedTuple):
    """A way from one state to another. Without roles it is open to whoever may update the record."""

    source: str
    target: str
    roles: tuple[str, ...] = ()

    def is_open_to(self, caller: Caller, address: str) -> bool:
        """Whether a caller may make this move of the record at the address."""
        if not self.roles:
            return caller.may(Action.UPDATE, address) or caller.may(Action.UPDATE, f"{address}/move")
        return len(plugin("people").lacking(caller, self.roles, frozenset(self.roles))) < len(self.roles)


def _parsed(text: str) -> Move | None:
    found = _MOVE.fullmatch(text)
    if not found:
        return None
    roles = tuple(role.strip() for role in found[3].split(",")) if found[3] is not None else ()
    return Move(found[1], found[2], roles)


class States:
    """Those of a form. `field` is the one that keeps them, `initial` the state of a new record."""

    def __init__(self, config: FormConfig, fields: dict[str, Field]) -> None:
        """Adds its field behind these."""
        said = config.states
        self.field, self.initial = said["field"], said["initial"]
        self.moves = tuple(filter(None, map(_parsed, said["moves"])))
        self.names = state_names(said)
        self._steps = _steps(self.initial, self.moves)
        self.titles = {one: said["titles"].get(one) or _as_words(one) for one in self.names}
        self.badges = {one: badge for one, badge in said["badges"].items() if badge != "none"}
        own = FieldConfig(**_usual() | {
            "name": self.field, "title": said.get("title", ""), "default": self.initial,
            "one_of": tuple({"const": one, "title": title} for one, title in self.titles.items()),
        })  # fmt: skip
        made = plugin("fields").Field(own, f"forms.{config.name}.states")
        made.made = _MADE
        made.schema["readOnly"] = True
        made.column = made.column._replace(format="state", badges=self.badges)
        fields[self.field] = made

    def of(self, value: Value) -> Any:
        """The state of a record: one that was stored before the form had states is in the initial one."""
        found = value.get(self.field)
        return self.initial if found is None else found

    def is_open(self, value: Value) -> bool:
        """Whether a record is still its owner's to change: in the initial state, or in one from which a move without a role
        leads. What others have decided on stays as it was then."""
        state = self.of(value)
        return state == self.initial or any(not one.roles for one in self.from_(state))

    def check_open(self, form: Form, record: Record) -> None:
        """Raises Conflict if it is not."""
        if not self.is_open(record.value):
            state = self.of(record.value)
            raise Conflict(
                f"{form.called(record)} was decided on ({self.titles.get(state, state)}): it is not changed any more"
            )

    def from_(self, state: Any) -> list[Move]:
        """The moves that lead from a state; [] if it is none that app.toml knows."""
        return [one for one in self.moves if one.source == state]

    def open_to(self, caller: Caller, state: Any, address: str) -> list[Move]:
        """The moves from a state that a caller may make of the record at the address."""
        return [one for one in self.from_(state) if one.is_open_to(caller, address)]

    def is_final(self, state: Any) -> bool:
        return not self.from_(state)

    def leads_on(self, move: Move) -> bool:
        """Whether a move is work that waits: it leads further from the beginning, or is for others than those who brought
        the record there. Who decided may take it back, and need not."""
        if self._steps.get(move.target, 0) > self._steps.get(move.source, 0):
            return True
        brought = {role for one in self.moves if one.target == move.source for role in one.roles}
        return not brought.issuperset(move.roles)


def _usual() -> Value:
    """The settings of a field that says nothing."""
    usual, folder = settings_of(FieldConfig), Path()
    return {one.attribute: None if one.default is None else one.read(one.default, folder) for one in usual}


def _steps(initial: str, moves: Sequence[Move]) -> dict[str, int]:
    """How many moves each state is from the initial one, by the shortest way."""
    steps = {initial: 0}
    for source in (reached := [initial]):  # which grows
        for one in moves:
            if one.source == source and one.target not in steps:
                steps[one.target] = steps[source] + 1
                reached.append(one.target)
    return steps


def _as_words(state: str) -> str:
    return state.replace("_", " ").capitalize()


def state_names(said: Value) -> tuple[str, ...]:
    """Every state, the initial one first, then as the moves name them."""
    moves = filter(None, map(_parsed, said.get("moves") or ()))
    return tuple(dict.fromkeys([said.get("initial") or "", *(name for one in moves for name in one[:2])]))


# ---- what is wrong with a declaration


def faults(config: FormConfig, roles: Collection[str]) -> Iterator[Fault]:
    """What is wrong with the states of a form whose settings are right by themselves. `roles` are those of app.toml."""
    place = f"forms.{config.name}.states"
    of_moves = _of_moves(config.states["moves"], roles)
    for key, detail in (*_of_field(config), *of_moves, *_of_initial(config.states), *_of_names(config.states)):
        yield Fault(f"{place}.{key}", "configuration", detail)


def _of_field(config: FormConfig) -> Iterator[tuple[str, str]]:
    name = config.states["field"]
    if name in {one.name for one in config.fields}:
        yield "field", f"is {name}, which fields declares too: take it out there, states adds it by itself"
    try:
        CONVERTERS["field"](name, Path())
    except ValueError as error:
        yield "field", str(error)


def _of_moves(moves: Sequence[str], roles: Collection[str]) -> Iterator[tuple[str, str]]:
    if not moves:
        yield "moves", 'is empty: write who moves a record on, such as ["new>approved:hr"]'
    seen: dict[tuple[str, str], int] = {}
    for at, text in enumerate(moves):
        place, move = f"moves.{at}", _parsed(text)
        if move is None:
            yield place, f'{text!r} is no move: write "FROM>TO" or "FROM>TO:ROLE", such as "new>approved:hr"'
            continue
        for name in dict.fromkeys(move[:2]):
            yield from ((place, detail) for detail in _of_name(name))
        if move.source == move.target:
            yield place, f"{text!r} leads nowhere: the two states are the same"
        if move[:2] in seen:
            yield place, f'is the same move as moves.{seen[move[:2]]}: name all roles in one, "FROM>TO:ROLE,ROLE"'
        seen.setdefault((move.source, move.target), at)
        for role in move.roles:
            if not role:
                yield place, f"{text!r} names no role behind the colon: write one, or leave the colon out"
            elif role not in roles:
                yield place, f"names role {role!r}, which is not declared in [roles]{nearest(role, roles)}"


def _of_name(name: str) -> Iterator[str]:
    if not _STATE.fullmatch(name):
        yield f"{name!r} is no state: letters, digits, _ and -, at most 64"
    elif name in _OTHERS:
        yield f"{name!r} cannot be a state: notices are sent on {', '.join(_OTHERS)}, too; write {name}d or the like"


def _of_initial(said: Value) -> Iterator[tuple[str, str]]:
    moves = [move for move in map(_parsed, said["moves"]) if move]
    sources = dict.fromkeys(move.source for move in moves)
    if moves and said["initial"] not in sources:
        yield "initial", f"is {said['initial']!r}, from which no move leads{nearest(said['initial'], sources)}"


def _of_names(said: Value) -> Iterator[tuple[str, str]]:
    """Of titles and badges: states that do not exist, and colours."""
    known = state_names(said)
    for key in ("titles", "badges"):
        for name, text in said[key].items():
            if name not in known:
                yield f"{key}.{name}", f"{name!r} is no state of this form{nearest(name, known)}"
            elif key == "titles" and not text.strip():
                yield f"{key}.{name}", "is empty: write what people see, or leave it out"
            elif key == "badges" and text not in BADGES:
                yield f"{key}.{name}", f"{text!r} is none of {', '.join(BADGES)}{nearest(text, BADGES)}"


# ---- what is stored


def warnings(form: Form) -> Iterator[str]:
    """States that no record ever gets to, which a slip of the pen makes, and how many records are in a state that app.toml
    does not know, in words."""
    states = form.states
    reached = {states.initial, *(one.target for one in states.moves)}
    for at, one in enumerate(states.moves):
        if one.source not in reached:
            near = nearest(one.source, reached)
            yield f"forms.{form.name}.states.moves.{at}: begins at {one.source!r}, to which no move leads{near}"
    where = (Condition(states.field, "null", False), *(Condition(states.field, "ne", one) for one in states.names))
    query = Query(form.table, where, limit=1)
    with suppress(AppError):  # which server check finds by itself
        if found := form.store.find(query).items:
            records, one = how_many(form.store.count(query), "record"), str(found[0].value.get(states.field))
            of = f"forms.{form.name}.states: {records} of a state that it does not name, such as {one!r}"
            yield f"{of}: no move leads on from there"
