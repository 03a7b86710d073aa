"""Who is told of what happens to the records of a form: the rows of the outbox that are committed with each write."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app import (
    NAME_PLACE,
    RESERVED_FIELDS,
    Action,
    Caller,
    Change,
    Config,
    Delete,
    Fault,
    Form,
    Insert,
    Request,
    Resource,
    Trigger,
    Update,
    Value,
    Write,
    dump_json,
    nearest,
    new_ids,
    plugin,
    same_json,
    storable,
)

# ==== 1. RULES ===================================================================================================
# What `notify` and `digest` of a form say, as rules, and what is wrong with them beside the rest of app.toml.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:digests plugin:mail
# defines: ROLE EVENTS Rule place_of rule_of rules_of states_of faults warnings

ROLE = "role:"  # what a target begins with that is everybody who has a role
EVENTS = ("create", "update", "delete", "comment")


class Rule(NamedTuple):
    """One of `notify`: after an event, or as a reminder so long after a record came into a state, this place is told."""

    to: str
    channel: str
    target: str  # an address, "{field}", "role:NAME" or a person; "" is the one place of a channel without addresses
    on: str = ""
    after_s: int = 0
    state: str = ""


def place_of(to: str, channels: Collection[str]) -> tuple[str, str]:
    """The channel and the target that a `to` means. An address, {field} or role:NAME alone goes by the channel mail."""
    channel, _, target = to.partition(":")
    if channel not in channels and (to.startswith(ROLE) or NAME_PLACE.fullmatch(to) or "@" in channel):
        return "mail", to
    return channel, target.strip()


def rule_of(one: Value, channels: Collection[str]) -> Rule:
    channel, target = place_of(one["to"], channels)
    return Rule(one["to"], channel, target, one.get("on", ""), one.get("after", 0), one.get("state", ""))


def rules_of(form: Form, channels: Collection[str]) -> list[Rule]:
    """What `notify` of a form says."""
    return [rule_of(one, channels) for one in form.config.notify]


def states_of(form: Form) -> tuple[str, list[str]]:
    """The field that holds the state of a form's records, and all states; "" and [] of a form without states."""
    states = getattr(form, "states", None)
    return (states.field, list(states.names)) if states else ("", [])


def faults(built: Any) -> Iterator[Fault]:
    """What is wrong with the `notify` and `digest` of the forms of a Builder."""
    for form in built.resources.values():
        if isinstance(form, Form) and form.type == "forms":
            place = f"forms.{form.name}"
            for key, detail in _of_form(form, built):
                yield Fault(f"{place}.{key}", "configuration", detail)


def _of_form(form: Form, built: Any) -> Iterator[tuple[str, str]]:
    config = form.config
    if config.notify and not form.store.atomic:
        yield (
            "notify",
            (
                f"needs a provider that stores a record and its notices in one commit, and {form.store.kind} cannot: "
                "move the form to another provider, or take notify out"
            ),
        )
    channels = built.config.raw.get("channels") or {}  # those with a fault too
    for number, one in enumerate(config.notify):
        place = f"notify.{number}"
        yield from ((f"{place}.{key}", why) for key, why in _of_occasion(form, rule_of(one, channels)))
        yield from ((f"{place}.to", why) for why in _of_place(form, one["to"], channels, built))
    if digest := config.digest:
        views = [address for address in built.declared if address.startswith("views/")]
        if digest["view"] not in views:
            yield "digest.view", f"names {digest['view']!r}, which is no view{nearest(digest['view'], views)}"
        try:
            plugin("digests").every(digest["every"])
        except ValueError as error:
            yield "digest.every", str(error)
        yield from (("digest.to", why) for why in _of_place(form, digest["to"], channels, built, is_digest=True))


def warnings(app: Any) -> Iterator[str]:
    """Of notices to roles whose holders may not read what they would be told about, in words."""
    for form in app.resources.values():
        if isinstance(form, Form) and form.type == "forms":
            told = [(f"notify.{n}", one["to"], f"{form.records_at}/x") for n, one in enumerate(form.config.notify)]
            told += [("digest", form.config.digest["to"], form.config.digest["view"])] if form.config.digest else []
            for key, to, address in told:
                role = place_of(to, app.channels)[1].removeprefix(ROLE)
                grants = app.config.roles[role].grants if role in app.config.roles and ROLE in to else None
                if grants is not None and not Caller(grants=grants).may(Action.READ, address):
                    what = address.removesuffix("/x")
                    yield f"forms.{form.name}.{key}: the role {role} may not read {what}, and is told nothing by that alone"


def _of_occasion(form: Form, rule: Rule) -> Iterator[tuple[str, str]]:
    states = states_of(form)[1]
    if rule.on not in ("", "*", *EVENTS, *states):
        known = ["*", *EVENTS, *states]
        yield "on", f"is {rule.on!r}, which is none of {', '.join(known)}{nearest(rule.on, known)}"
    if rule.on == "comment" and not getattr(form.config, "comments", True):
        yield "on", "is comment, and this form takes none: write comments = true too"
    if rule.state and rule.state not in states:
        declared = f"is none of {', '.join(states)}{nearest(rule.state, states)}" if states else "needs states in this form"
        yield "state", f"is {rule.state!r}, which {declared}"


def _of_place(form: Form, to: str, channels: Mapping[str, Any], built: Any, *, is_digest: bool = False) -> Iterator[str]:
    """What is wrong with a `to`, in words."""
    name, target = place_of(to, channels)
    if name not in channels:
        hint = nearest(name, channels) or f": declare [channels.{name}]"
        yield f"is {to!r}: no channel is named {name}{hint}"
        return
    channel = built.channels.get(name)
    if channel is None:
        return  # which has a fault already
    if channel.addressed != bool(target):
        such = f'"{name}:hr@example.org", "{name}:role:hr" or "{name}:{{created_by}}"'
        yield (
            f"is {to!r}: say to whom, as {such}" if channel.addressed else f"is {to!r}: {name} has one place, write {name!r}"
        )
    elif target:
        yield from (f"is {to!r}: {why}" for why in _of_target(form, target, built.config, is_digest))


def _of_target(form: Form, target: str, config: Config, is_digest: bool) -> Iterator[str]:
    role = target.removeprefix(ROLE)
    if target.startswith(ROLE) and role not in config.roles:
        yield f"the role {role} is not declared in [roles]{nearest(role, config.roles)}"
    elif found := NAME_PLACE.fullmatch(target):
        known = [column.name for column in form.columns if column.type == "string" and column.name != "id"]
        if is_digest:
            yield "a digest is of no single record: name an address, a person or a role"
        elif found[1] not in known:
            yield f"{target} is no text field of this form{nearest(found[1], known)}"
    elif "{" in target or "}" in target:
        yield 'a field stands alone, as "{email}"'
    elif "@" in target:
        try:
            plugin("mail").mailbox(target)
        except ValueError as error:
            yield str(error)


# ==== 2. TRIGGER =================================================================================================
# A row says what happened, and holds the record as it was then: what of it the receiver may see is judged when it is sent.
# uses: VALUES CONFIG CONTRACTS RESOURCES RULES plugin:comments plugin:outbox
# defines: Trigger:notify Event line_of value_at kept Notify

_LONGEST_TEXT = 2_000  # letters of a field that are kept for a mail
_FIRST_S = 259_200.0  # for how long a notice is tried to be sent: three days


class Event(NamedTuple):
    """What happened to a record, as all rows of the outbox tell it."""

    names: tuple[str, ...]  # that `on` may say: create, and the state that a record came into
    record: str
    version: int
    value: Value  # after it, or before a delete
    changed: Sequence[str] = ()
    comment: str = ""


def line_of(channel: str, to: str, form: str, record: str) -> str:
    """What notices share that leave in order: one receiver's of one record."""
    return hashlib.sha256(dump_json([channel, to, form, record]).encode()).hexdigest()[:32]


def value_at(target: str, value: Value) -> str:
    """The target itself, or what stands in the field that it names; "" if nothing does."""
    found = NAME_PLACE.fullmatch(target)
    told = value.get(found[1]) if found else target
    return told.strip() if isinstance(told, str) else ""


def kept(value: Value, whole: bool) -> Value:
    """What a row keeps of a record: all of it for programs, without the rest of long texts for mails."""
    if whole:
        return value
    return {name: one[:_LONGEST_TEXT] if isinstance(one, str) else one for name, one in value.items()}


class Notify(Trigger):
    """Puts what is to be told of a write into the outbox."""

    kind = "notify"

    def writes(
        self, request: Request, caller: Caller, changes: Sequence[Change], resource: Resource, now: float
    ) -> Sequence[Write]:
        if not isinstance(resource, Form) or not resource.config.notify or request.path[:1] == ("import",):
            return ()
        rules, made = rules_of(resource, self.config.channels), list[Write]()
        events = [event for change in changes if (event := _event(request, change, resource))]
        for key, event in zip(new_ids(now, len(events)), events, strict=True):
            made += _rows(resource, rules, key, event, caller.subject, now)
            made += _reminders(resource, rules, event, now)
        return made


def _event(request: Request, change: Change, form: Form) -> Event | None:
    """What a change comes to; None if it is of another table, or of nothing that anybody is told."""
    write, before, inside = change.write, change.before, request.path[2:3]
    told = request.data.get("comment") if inside == ("move",) and isinstance(request.data, dict) else ""
    comment = told[-1] if isinstance(told, list) and told else told  # as a page sends it
    if write.table == plugin("comments").TABLE and isinstance(write, Insert):
        return _commented(form, write.value)
    if write.table != form.table:
        return None
    if isinstance(write, Delete):
        return Event(("delete",), write.key, write.version or 0, before or {})
    value, field = write.value, states_of(form)[0]
    state = value.get(field) if field else None
    entered = (state,) if isinstance(state, str) and (before is None or before.get(field) != state) else ()
    if before is None:
        return Event(("create", *entered), write.key, 1, value)
    names = [name for name in before | value if name not in RESERVED_FIELDS and name != field]
    changed = [name for name in names if not same_json(before.get(name), value.get(name))]
    if not changed and not entered:
        return None
    version = (write.version or 0) + 1 if isinstance(write, Update) else 1
    said = comment.strip() if isinstance(comment, str) else ""
    return Event(entered or ("update",), write.key, version, value, changed, said)


def _commented(form: Form, said: Value) -> Event | None:
    """That somebody said something about a record."""
    record = form.records.get(form.table, said["record"]) if form.records else None
    return Event(("comment",), record.key, record.version, record.value, (), said["text"]) if record else None


def _rows(form: Form, rules: Sequence[Rule], key: str, event: Event, by: str, now: float) -> Iterator[Insert]:
    """A row for each receiver once, whichever rules name him."""
    known: dict[tuple[str, str], Rule] = {}
    for rule in rules:
        if rule.on and rule.on in ("*", *event.names):
            known.setdefault((rule.channel, value_at(rule.target, event.value) if rule.target else ""), rule)
    beside = [to for _, to in known]
    for number, ((channel, to), rule) in enumerate(known.items()):
        if rule.target and not to:
            continue  # nobody stands in the field
        facts: Value = {
            "form": form.name, "record": event.record, "version": event.version, "event": event.names[0], "by": by,
            "on": list(event.names), "comment": event.comment, "changed": list(event.changed),
            "fixed": rule.target == to, "value": kept(dict(event.value), not rule.target),
        }  # fmt: skip
        if to.startswith(ROLE):
            facts["beside"] = beside[:number] + [one for one in beside[number:] if not one.startswith(ROLE)]
        line = line_of(channel, to, form.name, event.record)
        yield plugin("outbox").waiting(f"{key}-{number}", channel, "notice", facts, now, _FIRST_S, to=to, line=line)


def _reminders(form: Form, rules: Sequence[Rule], event: Event, now: float) -> Iterator[Write]:
    """What reminds of a record that came into a state. The one of an earlier time in it is replaced."""
    for rule in rules:
        if rule.state and rule.state in event.names and event.names != ("delete",):
            key = hashlib.sha256(dump_json([form.name, event.record, rule.state, rule.to]).encode()).hexdigest()[:32]
            facts: Value = {"form": form.name, "record": event.record, "state": rule.state, "rule": rule.to, "since": now}
            due = plugin("outbox").waiting(f"r{key}", rule.channel, "reminder", facts, now, _FIRST_S, to=rule.target)
            value: Value = due.value | {"state": "planned", "next_at": now + rule.after_s}
            yield Update(due.table, due.key, storable(value))
