"""People whom another system has signed in: who they are here, and the roles that their groups there stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from app import (
    PEOPLE,
    App,
    Caller,
    Condition,
    Config,
    Conflict,
    Fault,
    Insert,
    Query,
    Record,
    Setting,
    Unauthenticated,
    Update,
    Value,
    Write,
    check_text,
    compose,
    line_problem,
    nearest,
    plugin,
    rfc3339,
)  # fmt: skip

# ==== 1. ELSEWHERE ===============================================================================================
# What [oidc] and [proxy] have in common. The roles of groups are kept beside those that were given by hand, and are replaced
# each time.
# uses: ERRORS VALUES CONFIG AUTH ASSEMBLY plugin:people
# defines: ROLES ADMIT MOST_GROUPS Somebody group_faults roles_of admitted

ROLES = Setting("roles", "tables", {}, 'the roles of its values, such as { "hr-team" = "hr" }; "*" = everybody',
                of="text", names="text")  # fmt: skip
ADMIT = Setting("admit", "text", "known", '"known" = only people who were invited; "all" = whoever is signed in there')
MOST_GROUPS = 1000
_ATTEMPTS = 4  # of a write that loses against another one


class Somebody(NamedTuple):
    """Whom another system has signed in, as it says."""

    subject: str
    groups: Sequence[str] = ()
    name: str = ""
    email: str = ""
    by_email: bool = False  # the subject is a mail address, which may stand as such in a person's row


def group_faults(kind: str, options: Mapping[str, Any], config: Config) -> Iterator[Fault]:
    """What is wrong with the settings of a kind that stand for the groups there, and for who is let in."""
    for group, role in options["roles"].items():
        if role not in config.roles:
            detail = f"names role {role!r}, which is not declared in [roles]{nearest(role, config.roles)}"
            yield Fault(f"{kind}.roles.{group}", "configuration", detail)
    if options["admit"] not in ("known", "all"):
        yield Fault(f"{kind}.admit", "configuration", 'must be "known" or "all"')


def roles_of(groups: Iterable[str], roles: Mapping[str, str]) -> list[str]:
    """The roles that groups stand for, in the order of app.toml."""
    held = {*groups, "*"}
    return list(dict.fromkeys(role for group, role in roles.items() if group in held))


def admitted(site: App, who: Somebody, kind: str, options: Mapping[str, Any], request_id: str) -> Record:
    """The person's row, with the roles of his groups; one is made if `admit` is "all". Raises Unauthenticated if nobody
    here is meant, or he is suspended."""
    site.health.ensure_open(site.state)
    roles = roles_of(who.groups, options["roles"])
    for attempt in range(_ATTEMPTS):
        row, others = _found(site, who), list[Write]()
        if row is None and options["admit"] != "all":
            raise Unauthenticated(f"{who.subject[:200]} is not known here", hint=f"[{kind}] admit is known: invite first")
        if row is None:  # a name and a mail address are one person's, whoever else is made just now
            others, row = [plugin("people").turn(site.state).write], _found(site, who)
        if row and row.value.get("groups", []) == roles:
            return row
        write = Update(PEOPLE, row.key, row.value | {"groups": roles}, row.version) if row else _new(site, who, kind, roles)
        try:
            return site.state.commit([write, _entry(site, write, row, request_id), *others])[0]
        except Conflict:  # another request of the same person was first
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError


def _found(site: App, who: Somebody) -> Record | None:
    """The row of the person who is meant."""
    standing = plugin("people").standing
    row = standing(site.state, who.subject)
    if row is None and who.by_email:
        address = who.subject.lower()
        row = standing(site.state, address)
        same = site.state.find(Query(PEOPLE, (Condition("email", "eq", address),), limit=2)).items
        if row is None and len(same) == 1:
            row = standing(site.state, same[0].key)
    return cast(Record | None, row)


def _new(site: App, who: Somebody, kind: str, roles: Sequence[str]) -> Insert:
    """The row of somebody who comes for the first time. Raises Unauthenticated if he cannot be called so."""
    subject = who.subject.lower() if who.by_email else who.subject
    if problem := plugin("people").subject_problem(site.state, subject):
        raise Unauthenticated(f"{subject[:200]} cannot be a name here: it {problem[1]}", hint=f"the subject of [{kind}]")
    now, email = rfc3339(site.clock()), who.email.lower()
    is_taken = bool(email and site.state.find(Query(PEOPLE, (Condition("email", "eq", email),), limit=1)).items)
    facts = {"name": compose(who.name) if not line_problem(who.name, 200) else "", "email": "" if is_taken else email}
    stamps = {"created_at": now, "created_by": subject, "updated_at": now, "updated_by": subject}
    told = {name: text for name, text in facts.items() if text and not check_text(text)}
    row = {"subject": subject, **told, "groups": list(roles), **stamps, **plugin("people").new_era()}
    return Insert(PEOPLE, subject, row)


def _entry(site: App, write: Insert | Update, before: Record | None, request_id: str) -> Write:
    """The audit entry of a row that is new, or has other roles."""
    address, value = f"admin/people/{quote(write.key, safe='')}", write.value
    entry = site.audit.entry(Caller(write.key), "http", request_id, address, "update" if before else "create")
    told: Value = {"changes": {"groups": [before.value.get("groups", []), value["groups"]]}} if before else {"after": value}
    return site.audit.insert(entry | {"record": write.key} | told)
