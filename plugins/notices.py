"""What a notice says: who gets it, what of the record he may see at that moment, in his language, with a link."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from app import (
    LOG,
    PEOPLE,
    RESERVED_FIELDS,
    Action,
    AppError,
    Caller,
    Column,
    Condition,
    Form,
    Insert,
    Query,
    Record,
    Refused,
    Unauthenticated,
    Value,
    Write,
    plugin,
    rfc3339,
)

# ==== 1. RECEIVERS ===============================================================================================
# Who stands behind a row of the outbox now, and what he may do now.
# uses: ERRORS VALUES AUTH plugin:people
# defines: Receiver receiver_of caller_of holders

_LONGEST_LINE = 200  # letters of a value in a mail
_MOST_FIELDS = 20  # of a record, in a mail


class Receiver(NamedTuple):
    """Who gets a notice. A program, or an address of nobody, holds no role, and is told because app.toml says so."""

    email: str
    caller: Caller
    locale: Any

    @property
    def is_person(self) -> bool:
        return bool(self.caller.subject)


def receiver_of(site: Any, row: Record) -> Receiver | None:
    """Who is meant by `to` of a row; None if that is nobody, or a person who is suspended or has no address."""
    to = row.value["to"]
    channel = site.channels[row.value["channel"]]
    if not channel.addressed:
        return Receiver("", Caller(), site.languages.site)
    try:
        person = _person(site, to)
    except Unauthenticated:
        return None
    if person is None:
        return Receiver(to, Caller(), site.languages.of("", "")) if "@" in to else None
    email = person.value.get("email") or ""
    return Receiver(email, caller_of(site, person), site.languages.of(person.key, "")) if email else None


def _person(site: Any, to: str) -> Record | None:
    """The person of this name or address; None if there is none. Raises Unauthenticated if he is suspended."""
    people = plugin("people")
    if found := people.standing(site.state, to):
        return cast(Record, found)
    if "@" not in to:
        return None
    where = Condition("email", "in", list({to, to.lower()}))
    rows = site.state.find(Query(PEOPLE, (where,), limit=2)).items
    return cast(Record | None, people.standing(site.state, rows[0].key)) if len(rows) == 1 else None


def caller_of(site: Any, person: Record) -> Caller:
    """A person as one who asks."""
    declared = {name: role.grants for name, role in site.config.roles.items()}
    named = (*person.value.get("roles", ()), *person.value.get("groups", ()))
    grants = (*plugin("people").rights(person.value, declared), *site.config.public.grants)
    return Caller(person.key, "", tuple(role for role in dict.fromkeys(named) if role in declared), grants)


def holders(site: Any, role: str) -> Iterator[Record]:
    """The people who have a role and an address, and are not suspended."""
    for row in site.state.walk(Query(PEOPLE)):
        try:
            person = plugin("people").standing(site.state, row.key)
        except Unauthenticated:
            continue
        named = (*person.value.get("roles", ()), *person.value.get("groups", ())) if person else ()
        if role in named and person.value.get("email"):
            yield person


# ==== 2. SPREAD ==================================================================================================
# Rows whose receivers are only known when they are due: those of a role, and those of a reminder.
# uses: ERRORS VALUES RESOURCES RECEIVERS plugin:notify plugin:outbox plugin:people
# defines: spread failed

_FOR_S = 259_200.0


def spread(site: Any, row: Record) -> list[Insert] | None:
    """The rows that take the place of this one; None if it is sent as it is."""
    role = plugin("notify").ROLE
    if row.value["kind"] == "reminder":
        return list(_reminded(site, row))
    return list(_members(site, row, row.value["to"].removeprefix(role))) if row.value["to"].startswith(role) else None


def _members(site: Any, row: Record, role: str) -> Iterator[Insert]:
    """A row for each holder of a role whom no other row of the same event is for."""
    facts = {name: one for name, one in row.value["facts"].items() if name != "beside"} | {"fixed": False}
    known = row.value["facts"].get("beside", ())
    others = {one.removeprefix("role:") for one in known if one.startswith("role:")}
    for person in holders(site, role):
        has_other = others & {*person.value.get("roles", ()), *person.value.get("groups", ())}
        if person.key in known or person.value["email"] in known or has_other:
            continue
        line = plugin("notify").line_of(row.value["channel"], person.key, facts.get("form", ""), facts.get("record", ""))
        own = {"to": person.key, "line": line if row.value["kind"] == "notice" else "", "facts": facts, "tries": 0, "own": 0}
        yield Insert(plugin("outbox").OUTBOX, f"{row.key}-{_short(person.key)}", row.value | own)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reminded(site: Any, row: Record) -> Iterator[Insert]:
    """The notice of a reminder that is due, if its record still is in that state and app.toml still wants it."""
    facts, notify = row.value["facts"], plugin("notify")
    form = site.resources.get(f"forms/{facts['form']}")
    if not isinstance(form, Form):
        return
    rules = [one for one in notify.rules_of(form, site.channels) if (one.state, one.to) == (facts["state"], facts["rule"])]
    record = form.store.get(form.table, facts["record"])
    field = notify.states_of(form)[0]
    if not rules or record is None or record.damage or record.value.get(field) != facts["state"]:
        return
    to = notify.value_at(rules[0].target, record.value) if rules[0].target else ""
    if rules[0].target and not to:
        return
    told: Value = {
        "form": form.name, "record": record.key, "version": record.version, "event": "reminder", "on": ["reminder"],
        "by": "", "comment": "", "changed": [], "fixed": rules[0].target == to, "since": facts["since"],
        "value": notify.kept(dict(record.value), not rules[0].target),
    }  # fmt: skip
    line = notify.line_of(rules[0].channel, to, form.name, record.key)
    key, now = f"{row.key}-{int(facts['since'] * 1000):x}", site.clock()
    yield plugin("outbox").waiting(key, rules[0].channel, "notice", told, now, _FOR_S, to=to, line=line)


def failed(site: Any, row: Record, error: AppError) -> Sequence[Write]:
    """Nothing more is to be done: the row itself stays."""
    return ()


# ==== 3. WORDS ===================================================================================================
# The notice of a row: for people a mail with the fields that he may read, for programs the same as JSON.
# uses: ERRORS VALUES CONFIG RESOURCES RECEIVERS plugin:digests plugin:notify plugin:people plugin:row_rules
#          plugin:tokens
# defines: page_of_mail notice

_PAGE = """\
<!doctype html>
<html lang="{lang}" dir="{dir}">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; line-height: 1.5">
{body}
<p style="color: #595959; font-size: 0.85em">{foot}</p>
</body>
</html>
"""
_BUTTON = (
    '<p><a href="{link}" style="background: #1d4ed8; color: #ffffff; padding: 0.5em 1em; text-decoration: none">{button}</a>'
    "</p>"
)

_LINE, _QUOTE = "<p>{}</p>", '<blockquote style="white-space: pre-wrap">{}</blockquote>'
_WORDS = {  # title and text, by event
    "create": ("notice.create_title", "notice.create_text"),
    "update": ("notice.update_title", "notice.update_text"),
    "delete": ("notice.delete_title", "notice.delete_text"),
    "comment": ("notice.comment_title", "notice.comment_text"),
    "state": ("notice.state_title", "notice.state_text"),
    "reminder": ("notice.reminder_title", "notice.reminder_text"),
}


def page_of_mail(locale: Any, title: str, blocks: Sequence[str], link: str, button: str, foot: str) -> str:
    """The HTML part of a mail: blocks of HTML, a button that leads to the link if there is one, and small print."""
    shown = [*blocks, *([_BUTTON.format(link=html.escape(link), button=html.escape(button))] if link else [])]
    return _PAGE.format(
        lang=locale.lang, dir=locale.direction, title=html.escape(title), body="\n".join(shown), foot=html.escape(foot)
    )


def _table(lines: Sequence[tuple[str, str]]) -> str:
    cell = '<tr><th style="text-align: start; padding-inline-end: 1em">{}</th><td>{}</td></tr>'
    return "\n".join(["<table>", *(cell.format(*map(html.escape, one)) for one in lines), "</table>"])


def notice(site: Any, row: Record) -> Value | None:
    """What the row says to its receiver; None if there is nobody, or if he may not know."""
    receiver = receiver_of(site, row)
    if receiver is None:
        LOG.warning("the notice %s is dropped: nobody with an address stands behind it, or he is suspended", row.key)
        return None
    if row.value["kind"] == "digest":
        return cast(Value | None, plugin("digests").notice(site, row, receiver))
    found = _Told(site, row, receiver)
    if not found.may_know:
        LOG.info("the notice %s is dropped: its receiver may not read what it is about", row.key)
        return None
    said: Value = {"id": row.key, "at": row.value["at"], "to": receiver.email}
    return said | found.mail() | {"type": found.type, "data": found.data()}


class _Told:
    """What happened to a record, as far as one receiver may know it."""

    def __init__(self, site: Any, row: Record, receiver: Receiver) -> None:
        self.site, self.receiver, self.facts = site, receiver, row.value["facts"]
        self.locale, self.t = receiver.locale, receiver.locale.t
        name, facts = self.facts["form"], self.facts
        found = site.languages.shown(self.locale).get(f"forms/{name}") or site.resources.get(f"forms/{name}")
        if not isinstance(found, Form):
            raise Refused(f"the form {name} is not declared any more")
        form: Any = copy(found)
        form.locale = self.locale
        self.form: Any = form.seen_by(receiver.caller)
        self.record = Record(facts["record"], facts["version"], facts["value"])
        self.event = facts["event"]
        self.names = [one for one in self.form.fields if one not in self.form.hidden]
        self.changed = [one for one in facts["changed"] if one in self.names]
        self.address = self._address()
        self.type = f"forms.{name}.{self.event}"

    @property
    def may_know(self) -> bool:
        """Whether he may read the record, and one of the fields that were changed."""
        hidden = self.event == "update" and self.facts["changed"] and not self.changed
        return not hidden and (bool(self.address) or not self.receiver.is_person)

    def _address(self) -> str:
        """Where the receiver reads the record; "" if he may not. Of one that was deleted, where its list is."""
        caller, key = self.receiver.caller, self.record.key
        records = f"{self.form.records_at}/{quote(key, safe='')}"
        mine = f"{self.form.address}/mine/{quote(key, safe='')}"
        if not self.receiver.is_person:
            return records
        stored = self.form.records.get(self.form.table, key)
        value = stored.value if stored else self.record.value
        if caller.may(Action.READ, records) and (not self.form.owned_by or self.form.store.is_of(value)):
            return records
        is_own = value.get(plugin("row_rules").owner_field(self.form)) == caller.subject
        may_mine = is_own and (caller.may(Action.CREATE, self.form.address) or caller.may(Action.READ, self.form.address))
        return mine if may_mine else ""

    # -- for people

    def mail(self) -> Value:
        """Title, text and HTML."""
        words = self._words()
        title, before = (self.t(key, **words) for key in _WORDS[self.event if self.event in _WORDS else "state"])
        link = f"{plugin('tokens').site_url(self.site.config)}/{self.address}" if self.event != "delete" else ""
        foot = self.t("notice.why", site=self.site.languages.text("site.title", self.site.title, self.locale))
        lines, comment = list(self._lines()), self.facts["comment"]
        told = "\n".join(f"{name}: {text}" for name, text in lines)
        text = "\n\n".join(one for one in (before, comment, told, link, foot) if one) + "\n"
        blocks = [block.format(html.escape(one)) for block, one in ((_LINE, before), (_QUOTE, comment)) if one]
        blocks += [_table(lines)] if lines else []
        page = page_of_mail(self.locale, title, blocks, link, self.t("notice.open"), foot)
        return {"title": title, "text": text, "html": page}

    def _words(self) -> Mapping[str, str]:
        since = self.facts.get("since")
        at = self.locale.write_date_time(rfc3339(since)) if since else ""
        told = {"name": self.form.called(self.record), "form": self.form.title, "state": self._state(), "at": at}
        return told | {"who": self._who()}

    def _who(self) -> str:
        """Who did it, by name."""
        by = self.facts["by"]
        if name := plugin("people").names(self.site.state, [by]).get(by):
            return str(name)
        return by if by and not plugin("people").PROGRAMS.match(by) else str(self.t("notice.somebody"))

    def _state(self) -> str:
        """The state of the record, as it is called."""
        field = plugin("notify").states_of(self.form)[0]
        column = next((one for one in self.form.columns if one.name == field), Column(field))
        return str(self.locale.show(column, self.record.value.get(field))) if field else ""

    def _lines(self) -> Iterator[tuple[str, str]]:
        """The fields that are shown, by title: of an update those that it changed, of a comment none."""
        names = self.changed if self.event == "update" else [] if self.event == "comment" else self.names
        given = [name for name in names if self.event == "update" or self.record.value.get(name) not in (None, "", [])]
        for name in given[:_MOST_FIELDS]:
            [column] = self.form.titled([self.form.fields[name].column])
            yield column.title or name, self._in_a_line(column, self.record.value.get(name))

    def _in_a_line(self, column: Column, value: Any) -> str:
        text = " ".join(self.locale.show(column, value).split()) or "–"
        return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"

    # -- for programs

    def data(self) -> Value:
        """The record as JSON has it, without the fields that some may not read, and what happened to it."""
        value = self.form.shown(self.record)
        flat: Value = {"id": self.record.key, "version": self.record.version}
        flat |= {name: value.get(name) for name in self.names}
        flat |= {name: value.get(name) for name in RESERVED_FIELDS[2:]}
        found: Value = {
            "resource": f"{self.form.records_at}/{quote(self.record.key, safe='')}", "event": self.event,
            "by": self.facts["by"], "comment": self.facts["comment"], "changed": self.changed, "record": flat,
        }  # fmt: skip
        return found | {"url": f"{plugin('tokens').site_url(self.site.config)}/{found['resource']}"}
