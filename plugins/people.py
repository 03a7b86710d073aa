"""The people of a site: rows in the state provider, made by invitation, and what each may do at this moment."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import quote

from app import (
    PASSWORDS,
    PEOPLE,
    Action,
    BadRequest,
    Blob,
    Caller,
    Change,
    Condition,
    Config,
    Conflict,
    Delete,
    Encoded,
    Endpoint,
    Fault,
    Forbidden,
    Form,
    FormConfig,
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
    Unauthenticated,
    Update,
    Value,
    Write,
    compose,
    damage_of,
    is_key,
    line_problem,
    no_params,
    parse_grant,
    plan_of,
    plugin,
    read_config,
    rfc3339,
    secret_digest,
    split_path,
    storable,
)  # fmt: skip

# ==== 1. RIGHTS ==================================================================================================
# What a person holds, in grants and in words, and whether one caller may give or take as much.
# uses: ERRORS VALUES CONFIG AUTH plugin:catalogue
# defines: GIVEN INVITATION_S rights beyond held check_reach telling_roles may_everything
#          lacking holds check_roles in_words

GIVEN = "you cannot give rights that you do not have yourself"
INVITATION_S = 7 * 86_400  # for how long an invitation can be taken up


def rights(person: Value, roles: Mapping[str, Sequence[Grant]]) -> tuple[Grant, ...]:
    """The grants that a row of a person comes to, with those of his roles as app.toml has them now."""
    named = dict.fromkeys((*person.get("roles", ()), *person.get("groups", ())))
    return (*map(parse_grant, person.get("grants", ())), *(one for role in named for one in roles.get(role, ())))


def beyond(caller: Caller, grants: Iterable[Grant]) -> list[Grant]:
    """Those of the grants that allow something which the caller may not do."""
    held = [one for limit in (caller.grants, *caller.ceilings) for one in limit]
    deepest = max((len(one.pattern) for one in held), default=0) + 1
    return [one for one in grants if not all(_may(caller, one, address) for address in _examples(one.pattern, deepest))]


def held(caller: Caller) -> list[Grant]:
    """What a caller may do, as grants: those under a ceiling as far as that allows them."""
    found = list(caller.grants)
    for ceiling in caller.ceilings:
        found = [grant for one in found for other in ceiling for grant in _both(one, other)]
    return list(dict.fromkeys(found))


def _both(one: Grant, other: Grant) -> Iterator[Grant]:
    """What two grants both allow, if the pattern of one of them covers that of the other."""
    actions = one.actions & other.actions
    for narrow, wide in ((one, other), (other, one)) if actions else ():
        if not beyond(Caller(grants=(wide._replace(actions=actions),)), [narrow._replace(actions=actions)]):
            yield narrow._replace(actions=actions)
            return


def check_reach(caller: Caller, grants: Iterable[Grant], titles: Mapping[str, str], why: str) -> None:
    """Raises Forbidden, which says `why` and what it is, if the grants allow something that the caller may not do."""
    if missing := beyond(caller, grants):
        raise Forbidden(f"{why}: {in_words(missing, titles)}", needed=str(missing[0]))


def telling_roles(config: Config) -> frozenset[str]:
    """The roles that allow something by their name, beside their grants: those that rules of forms name, and all of them
    where an app is a program, which is told them."""
    apps = config.raw.get("apps")
    if isinstance(apps, Mapping) and any(isinstance(one, Mapping) and one.get("wsgi") for one in apps.values()):
        return frozenset(config.roles)
    return frozenset(config.roles) & frozenset(_roles_in(config.raw.get("forms", {})))


def _roles_in(rules: Json) -> Iterator[str]:
    """What rules name as app.toml writes them: `unless`, `read_by`, `write_by`, and moves such as "new>approved:hr"."""
    items = rules.items() if isinstance(rules, Mapping) else enumerate(rules) if isinstance(rules, list) else ()
    for name, rule in items:
        texts = [one for one in (rule if isinstance(rule, list) else [rule]) if isinstance(one, str)]
        if name in ("unless", "read_by", "write_by"):
            yield from texts
        if name == "moves":
            yield from (role.strip() for one in texts for role in one.partition(":")[2].split(","))
        yield from _roles_in(rule)


def may_everything(caller: Caller) -> bool:
    """Whether nothing limits a caller: a ceiling that does not allow everything does, whatever his grants are."""
    return all(any(str(one) == "**:*" for one in grants) for grants in (caller.grants, *caller.ceilings))


def lacking(caller: Caller, roles: Iterable[str], telling: frozenset[str]) -> list[str]:
    """Those of the roles that tell and that the caller does not hold; whoever may do everything holds all."""
    return [] if may_everything(caller) else [one for one in roles if one in telling and one not in caller.roles]


def holds(caller: Caller, roles: Sequence[str]) -> bool:
    """Whether a caller holds one of these roles; whoever may do everything holds all."""
    return not {*roles}.isdisjoint(caller.roles) or may_everything(caller)


def check_roles(caller: Caller, roles: Iterable[str], telling: frozenset[str], why: str) -> None:
    """Raises Forbidden, which says `why` and which, if one of the roles tells and the caller does not hold it."""
    if missing := lacking(caller, roles, telling):
        raise Forbidden(f"{why}: the role {missing[0]}", needed="**:*")


def _may(caller: Caller, grant: Grant, address: str) -> bool:
    return all(caller.may(action, address) for action in grant.actions)


def _examples(pattern: Sequence[str], deepest: int) -> Iterator[str]:
    """Addresses that a pattern covers, so that another one which covers them all covers whatever it does: U+0000 stands for
    a name that no grant has."""
    stem = ["\0" if part == "*" else part for part in pattern if part != "**"]
    only_here = pattern[-1] == "*" and len(pattern) > 2
    for depth in range(1 if only_here else max(1, deepest - len(stem) + 1) + 1):
        yield "/".join([*stem, *["\0"] * depth])


def in_words(grants: Iterable[Grant], titles: Mapping[str, str], t: Any = None) -> str:
    """What grants allow, in one sentence for people, such as "see Handbook; fill in Leave request"; in English without the
    words of another language."""
    t = t or plugin("catalogue").english()
    return str(t("rights.and").join(dict.fromkeys(_words(one, titles, t) for one in grants)) or t("rights.nothing"))


def _words(grant: Grant, titles: Mapping[str, str], t: Any) -> str:
    kind, *rest = grant.pattern
    is_all = len(grant.actions) == len(Action)
    if kind in ("*", "**"):
        if is_all:
            return str(t("rights.do_everything"))
        what = t("rights.all.everything")
    elif rest in (["*"], ["**"], []):
        what = t(f"rights.all.{kind}") if t.has(f"rights.all.{kind}") else kind
    else:
        address, inside = "/".join(grant.pattern[:2]), " / ".join(split_path("/".join(grant.pattern[2:])))
        inside = t("rights.mine") if (kind, inside) == ("forms", "mine") else inside
        what = titles.get(address, address) + (f" ({inside})" if inside else "")
    if kind in ("views", "apps"):  # where nothing else can be done
        return str(t("rights.see" if Action.READ in grant.actions else "rights.nothing_with", what=what))
    if is_all:
        return str(t("rights.everything_with", what=what))
    return str(t("rights.some", actions=_actions(grant, kind, t), what=what))


def _actions(grant: Grant, kind: str, t: Any) -> str:
    """The actions of a grant in words, of which two may go together."""
    table, named = kind if kind in ("files", "forms") else "other", [str(one) for one in Action if one in grant.actions]
    together = f"rights.{table}.update_delete"
    if {"update", "delete"} <= set(named) and t.has(together):
        named = [*(one for one in named if one not in ("update", "delete")), "update_delete"]
    return str(t("common.comma").join(t(f"rights.{table}.{one}") for one in named))


# ==== 2. PEOPLE ==================================================================================================
# The list of people as a form of its own, and what may be done with one of them beside changing the row.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES RIGHTS plugin:grant_picker plugin:tokens
# defines: PROGRAMS resource standing first_sign_in invited new_era turn ended_sessions ended_tokens used_up_links names
#          former living subject_problem People

PROGRAMS = re.compile("(cli|service):", re.IGNORECASE)  # as callers that are no people are named


def resource(config: Config, state: Records, titles: Mapping[str, str], locale: Any) -> People:
    """`admin/people` of a site. `titles` are those of what the site has, by address."""
    read = read_config({"forms": {"people": _form(config, titles, locale.t)}}, config.folder, config.origin, {})
    return People(cast(FormConfig, read.resources[0]), state, config, titles, locale)


def _form(config: Config, titles: Mapping[str, str], t: Any) -> Value:
    """How a person is asked for, as app.toml would say it."""
    picker = plugin("grant_picker")
    fields: Value = {
        "subject": {
            "title": t("people.subject"), "required": True, "maxLength": 200, "description": t("people.subject_help"),
        },
        "name": {"title": t("me.name"), "maxLength": 200},
        "email": {"title": t("people.email"), "format": "email"},
        "roles": picker.roles_field(t("people.roles"), config, titles, t),
        "grants": picker.grants_field(t("people.grants"), titles, t),
        "suspended": {"title": t("people.suspended"), "type": "boolean", "description": t("people.suspended_help")},
    }  # fmt: skip
    if not config.roles:
        del fields["roles"]
    return {"title": t("admin.people"), "opens": "records", "fields": fields}


def standing(records: Records, subject: str) -> Record | None:
    """The row of a person; None if there is none of that name. Raises Unauthenticated if the person is suspended."""
    row = records.get(PEOPLE, subject) if is_key(subject) else None
    if row and _is_damaged(row):
        raise Unauthenticated("the row of this person is damaged")
    if row and row.value.get("suspended"):
        raise Unauthenticated("this person is suspended")
    return row


def _is_damaged(row: Record) -> bool:
    """Whether what is stored of a person does not say what he may do."""
    named = [row.value.get(name, []) for name in ("roles", "groups", "grants")]
    if row.damage or not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in named):
        return True
    with suppress(BadRequest):
        _ = rights(row.value, {})
        return False
    return True


def first_sign_in(state: Records, now: float) -> tuple[str, list[Write]]:
    """The code that signs in the first person, who may do everything, for ten minutes; and what stores it in the place of
    the one before."""
    code, link = invited("admin", now, 600)
    writes: list[Write] = [link, Update("_settings", "first_sign_in", {"link": link.key})]
    if before := state.get("_settings", "first_sign_in"):
        writes.append(Delete("_links", before.value["link"]))
        if "jti" in before.value:  # of an older version
            writes.append(Delete("_tokens", before.value["jti"]))
    if state.get(PEOPLE, "admin") is None:
        stamp = {"created_at": rfc3339(now), "created_by": "", "updated_at": rfc3339(now), "updated_by": ""}
        writes.append(Insert(PEOPLE, "admin", {"subject": "admin", "grants": ["**:*"], **stamp, **new_era()}))
    return code, writes


def invited(subject: str, now: float, seconds: int) -> tuple[str, Insert]:
    """The code of a link that signs a person in once, and what stores its digest."""
    code = secrets.token_urlsafe(32)
    return code, Insert("_links", secret_digest(code), {"jti": "", "subject": subject, "expires_at": int(now) + seconds})


def new_era() -> Value:
    """What a row of a person gets whose sessions of before all end, however many they are, and when they were opened."""
    return {"era": secrets.token_urlsafe(6)}


def turn(records: Records) -> Change:
    """What lets one of several changes of the people be first; the others look again at who there is. To be called before
    one looks."""
    row = records.get("_settings", "people")
    value = {"changes": int(row.value.get("changes", 0)) + 1 if row else 1}
    write: Write = Update("_settings", "people", value, row.version) if row else Insert("_settings", "people", value)
    return Change(write, row and row.value)


def ended_sessions(records: Records, subject: str, now: float) -> Iterator[Change]:
    """What ends all sessions of a person."""
    for row in records.walk(Query("_sessions", living(subject, now))):
        yield Change(Update("_sessions", row.key, row.value | {"expires_at": int(now)}, row.version), row.value)


def ended_tokens(records: Records, subject: str, now: float, fact: Value) -> Iterator[Change]:
    """What says so of all tokens of a person that are not revoked: that they are suspended, are not any more, or revoked."""
    for row in records.walk(Query("_tokens", living(subject, now))):
        if not row.value.get("revoked_at"):  # at its version: a revocation meanwhile is not taken back
            yield Change(Update("_tokens", row.key, row.value | fact, row.version), row.value)


def used_up_links(records: Records, subject: str, now: float) -> Iterator[Change]:
    """What takes the links of a person away that are good."""
    for row in records.walk(Query("_links", living(subject, now))):
        if not row.value.get("used_at"):
            yield Change(Delete("_links", row.key, row.version), row.value)


def names(records: Records, subjects: Iterable[str]) -> dict[str, str]:
    """What those of the subjects are called who are people and have a name."""
    found = {}
    for subject in {one for one in subjects if isinstance(one, str) and is_key(one) and not damage_of(one)}:
        row = records.get(PEOPLE, subject)
        if row and isinstance(name := row.value.get("name"), str) and name:
            found[subject] = name
    return found


def former(subject: str) -> str:
    """The key in _settings of what somebody was called who was removed: records that name them go on saying so."""
    return f"former:{subject}"


def living(subject: str, now: float) -> tuple[Condition, ...]:
    """Of a query for the sessions, links or tokens of a subject: those that have not expired."""
    return Condition("subject", "eq", subject), Condition("expires_at", "gt", int(now))


def subject_problem(records: Records, subject: str) -> tuple[str, str] | None:
    """Why somebody new cannot be called so: a code, and words; None if he can."""
    if not is_key(subject) or line_problem(subject, 200):
        return "subject", line_problem(subject, 200) or "must be one name, and not too long"
    if subject in (".", "..") or PROGRAMS.match(subject) or any(map(_is_hidden, subject)):
        return "subject", "cannot be used: not . or .., nothing that begins with cli: or service:, and no hidden characters"
    if any(_alike(one.key) == _alike(subject) for one in records.walk(Query(PEOPLE))):
        return "unique", "is taken: somebody has this name already, or one that looks the same"
    return None


class People(Form):
    """The people of a site. Nobody gives or takes more than he holds himself, or touches whoever holds more."""

    type = "admin"
    endpoints = (
        Endpoint("", (Action.READ, Action.CREATE), choices=True),
        Endpoint("SUBJECT", (Action.READ, Action.UPDATE, Action.DELETE), patches=True),
        Endpoint("SUBJECT/link", (Action.CREATE,)),
        Endpoint("SUBJECT/sign-out", (Action.CREATE,)),
    )

    def __init__(self, form: FormConfig, state: Records, config: Config, titles: Mapping[str, str], locale: Any) -> None:
        super().__init__(form, state, {}, locale)
        self.invited: Any = None  # that of plugins/mailed_links.py; set by the App
        self.site, self.titles, self.roles = config, titles, {name: one.grants for name, one in config.roles.items()}
        self.telling = telling_roles(config)
        self.address = self.records_at = "admin/people"
        self.table = PEOPLE
        self.fields["grants"] = self.taken["grants"] = plugin("grant_picker").Grants(self.fields["grants"], titles)
        self.columns = tuple(one for one in self.columns if one.name not in ("updated_at", "updated_by"))

    def in_language(self, titles: Mapping[str, str], locale: Any) -> People:
        """The same with the words of a language, and titles in it."""
        own = {address: titles.get(address, title) for address, title in self.titles.items()}
        found = resource(self.site, self.store, own, locale)
        found.invited = self.invited
        return found

    @classmethod
    def sufficient(cls, request: Request) -> tuple[Action, ...]:
        return (request.action,)

    @classmethod
    def judged_at(cls, request: Request) -> str:
        return request.address

    def handle(self, request: Request, scope: Scope) -> Plan:
        match request.path, request.action:
            case (), Action.READ if "_new" in request.params:
                params = {name: text for name, text in request.params.items() if name != "_new"}
                answer = self._show(request._replace(params=params), scope).respond(())
                answer.page = {**answer.page, "called": self.locale.t("people.invite")}
                return plan_of(answer)
            case (), Action.READ:
                return self._list(request, scope)
            case (), _:
                return self._invite(request, scope)
            case (subject,), Action.READ:
                return self._person(request, scope, subject)
            case (subject,), _:
                return self._changed_person(request, scope, subject)
        no_params(request)
        row = self._reached(scope, request.path[0])
        return self._new_link(row, request, scope) if request.path[1] == "link" else self._sign_out(row, scope)

    def _page(self, scope: Scope, record: Record | None = None) -> dict[str, Any]:
        t = self.locale.t
        words: Value = {"create": t("people.invite"), "submit": t("people.send"), "list": t("people.list")}
        words |= {
            "new": {"_new": "1"},
            "offers": plugin("grant_picker").offers(self, scope.caller, self.roles, self.telling),
        }
        return super()._page(scope, record) | words

    def _beside(self, value: Value) -> list[str]:
        return []  # what it holds for Satchel itself, such as the roles that groups elsewhere stand for

    def called(self, record: Record) -> str:
        name = record.value.get("name")
        return f"{name} ({record.key})" if name else record.key

    def _readable(self, record: Record) -> Value:
        value = super()._readable(record)
        return value if record.damage else {"roles": [], "grants": [], "suspended": False} | value

    def answered(self, record: Record, text: str = "") -> Encoded:
        return storable(self.flat(record))

    # -- who may do this

    def _rights(self, value: Value) -> tuple[Grant, ...]:
        return rights(value, self.roles)

    def _check_reach(self, caller: Caller, value: Value, why: str) -> None:
        """Raises Forbidden if a person holds what the caller does not."""
        check_reach(caller, self._rights(value), self.titles, why)
        check_roles(caller, (*value.get("roles", ()), *value.get("groups", ())), self.telling, why)

    def _is_in_reach(self, caller: Caller, value: Value) -> bool:
        try:
            self._check_reach(caller, value, "")
        except Forbidden:
            return False
        return True

    def _reached(self, scope: Scope, subject: str) -> Record:
        """The row of a person who holds no more than the caller. Raises NotFound, or Forbidden."""
        row = self.store.get(PEOPLE, subject) if is_key(subject) else None
        if row is None:
            raise NotFound(f"there is no {subject[:255]} among the people")
        if _is_damaged(row):  # nobody knows what he may do
            why = f"the row of {row.key} is damaged, and only somebody with all rights can change it"
            self._check_reach(scope.caller, {"grants": ["**:*"]}, why)
            return row._replace(value={}, damage=row.damage or "does not say what this person may do")
        self._check_reach(scope.caller, row.value, f"{self.called(row)} has rights that you do not have")
        return row

    def _administers(self, value: Value) -> bool:
        """Whether a person may invite and change people."""
        caller = Caller(grants=() if value.get("suspended") else self._rights(value))
        return caller.may(Action.CREATE, self.address) and caller.may(Action.UPDATE, f"{self.address}/x")

    def _guarded(self, row: Record, then: Value) -> list[Change]:
        """What makes sure that somebody is left who administers people; Conflict if nobody is."""
        if not self._administers(row.value) or self._administers(then):
            return []
        turned = turn(self.store)  # of two who remove each other one is first
        others = (one for one in self.store.walk(Query(PEOPLE)) if one.key != row.key and not _is_damaged(one))
        if not any(self._administers(one.value) for one in others):
            raise Conflict(f"{self.called(row)} is the last who administers people: let somebody else do so first")
        return [turned]

    # -- what is done

    def _tidy(self, data: Json) -> Json:
        """What was sent, with names and addresses in the one way in which they are kept."""

        def tidy(name: str, one: Json) -> Json:
            if isinstance(one, list) and name != "grants":
                return [tidy(name, item) for item in one]
            if name == "grants" and isinstance(one, list):
                return [_canonical(text) for text in one]
            return (one.lower() if name == "email" else compose(one.strip())) if isinstance(one, str) else one

        if not isinstance(data, dict):
            return data
        return {key: tidy(key, one) if key in ("subject", "name", "email", "grants") else one for key, one in data.items()}

    def _invite(self, request: Request, scope: Scope) -> Plan:
        if isinstance(request.data, list):
            raise BadRequest("people are invited one by one")
        request, turned = request._replace(data=self._tidy(request.data)), turn(self.store)
        given = request.data.get("subject") if isinstance(request.data, dict) else None
        subject = given if request.typed else next(iter(given or ()), "")
        fits = isinstance(subject, str) and is_key(subject) and not line_problem(subject, 255)
        plan = self.create(request, scope, subject if fits else "-")
        row = plan.changes[0].write.value  # type: ignore[union-attr]
        if faults := list(self._invitation_faults(row, fits=fits and row["subject"] == subject)):
            raise Invalid("the person cannot be invited", faults=faults)
        self._check_reach(scope.caller, row, GIVEN)
        url = plugin("tokens").site_url(self.site, request.reached_at)
        link, writes, mailed_to = self.invited(row, scope, INVITATION_S, "invitation", url)
        return plan._replace(
            respond=lambda blobs: self._with_link(plan.respond(blobs), row["subject"], link, INVITATION_S, mailed_to),
            changes=[_in_new_era(plan.changes[0]), *map(Change, writes), turned],
        )

    def _invitation_faults(self, row: Value, *, fits: bool) -> Iterator[Fault]:
        subject = row["subject"]
        if not fits:
            yield Fault("/subject", "subject", line_problem(subject, 255) or "must be one name, and not too long")
        elif problem := subject_problem(self.store, subject):
            yield Fault("/subject", *problem)
        yield from self._name_faults(row)
        yield from self._email_faults(row.get("email"), subject)

    def _name_faults(self, row: Value) -> Iterator[Fault]:
        """A name stands in mails and in lists: in one line, in which nothing else can pretend to be said."""
        if problem := line_problem(row.get("name") or "", 200):
            yield Fault("/name", "name", problem)

    def _with_link(self, response: Response, subject: str, link: str, seconds: int, mailed_to: str) -> Response:
        """The answer, with a link that stands in it once and is kept nowhere, and the address to which it is mailed."""
        response.template = "invited.tpl"
        person = f"{self.address}/{quote(subject, safe='')}"
        response.page = {
            "title": self.locale.t("invited.title"), "subject": subject, "person": person, "days": seconds // 86_400,
            "address": self.address,
            "once": {"link": link} | ({"mailed_to": mailed_to} if mailed_to else {}),
        }  # fmt: skip
        return response

    def _new_link(self, row: Record, request: Request, scope: Scope) -> Plan:
        if row.damage or row.value.get("suspended"):
            raise Conflict(f"{row.key}: what is stored {row.damage}" if row.damage else f"{self.called(row)} is suspended")
        url = plugin("tokens").site_url(self.site, request.reached_at)
        link, writes, mailed_to = self.invited({"subject": row.key} | row.value, scope, INVITATION_S, "link", url)
        data = {"subject": row.key, "expires_at": rfc3339(writes[0].value["expires_at"])}

        def respond(blobs: Sequence[Blob]) -> Response:
            return self._with_link(Response(data=data, created=True), row.key, link, INVITATION_S, mailed_to)

        return Plan(respond=respond, changes=[*map(Change, writes)])

    def _sign_out(self, row: Record, scope: Scope) -> Plan:
        ended = list(ended_sessions(self.store, row.key, scope.now))
        own = [] if row.damage else [_in_new_era(Change(Update(PEOPLE, row.key, row.value, row.version), row.value))]
        changes = [*own, *self._fitting(ended, len(own))]
        notice = self.locale.t("people.signed_out", name=self.called(row), n=len(ended))
        place = f"{self.address}/{quote(row.key, safe='')}"
        answer = Response(data={"ended": len(ended)}, location=place, page={"notice": notice})
        return Plan(respond=lambda blobs: answer, changes=changes)

    def _changed_person(self, request: Request, scope: Scope, subject: str) -> Plan:
        row, turned = self._reached(scope, subject), turn(self.store)
        plan = self._one(request._replace(data=self._tidy(request.data)), scope, subject)
        if not plan.changes:
            return plan
        write = plan.changes[0].write
        then = {} if isinstance(write, Delete) else write.value
        if faults := list(self._change_faults(row, then)):
            raise Invalid("the person cannot be changed", faults=faults)
        self._check_reach(scope.caller, then, GIVEN)
        is_moved = then and bool(then.get("suspended")) != bool(row.value.get("suspended"))
        own = _in_new_era(plan.changes[0]) if is_moved else plan.changes[0]
        turns = self._guarded(row, then)
        if then.get("email") not in (None, row.value.get("email")):
            turns = [turned]
        sure, effects = [own, *turns], list(self._effects(row, then, scope.now))
        also = (
            [] if then or not row.value.get("name") else [Update("_settings", former(subject), {"name": row.value["name"]})]
        )
        fitting = self._fitting(effects, len(sure) + len(also), whole=not then)
        return plan._replace(changes=[*sure, *fitting], also=[*plan.also, *also])

    def _fitting(self, effects: list[Change], others: int, *, whole: bool = False) -> list[Change]:
        """As many of what ends sessions, links and tokens as go into one commit with `others`, each with its audit entry.
        What is left over is refused for another reason: a session by its era, and the rest while its person is suspended,
        but for tokens of programs; with `whole`, no more than sessions may be left over. Conflict if it is too much."""
        fit = len(effects) if self.store.most_writes is None else (self.store.most_writes - 1) // 2 - others
        needed = [one for one in effects if (whole and one.write.table != "_sessions") or _is_of_program(one.write)]
        if len(needed) > fit:
            raise Conflict("there are too many tokens for one commit: revoke some of them first")
        return [*needed, *(one for one in effects if one not in needed)][:fit]

    def _change_faults(self, row: Record, then: Value) -> Iterator[Fault]:
        if then and then.get("subject") != row.key:
            yield Fault("/subject", "read_only", "cannot be changed")
        if then and _is_damaged(Record(row.key, row.version, then)):
            yield Fault("/grants", "damaged", "cannot be read: send the whole person anew")
        if then.get("name") != row.value.get("name"):
            yield from self._name_faults(then)
        if then.get("email") != row.value.get("email"):
            yield from self._email_faults(then.get("email"), row.key)

    def _email_faults(self, email: str | None, subject: str) -> Iterator[Fault]:
        query = Query(PEOPLE, (Condition("email", "eq", email or ""),), limit=2)
        if email and any(one.key != subject for one in self.store.find(query).items):
            yield Fault("/email", "unique", "is taken: somebody has this address already")

    def _effects(self, row: Record, then: Value, now: float) -> Iterator[Change]:
        """What a change of a person, who is removed if nothing is left, does to sessions, links and tokens."""
        is_out, was_out = not then or bool(then.get("suspended")), bool(row.value.get("suspended"))
        if is_out != was_out:
            yield from ended_sessions(self.store, row.key, now)
        was_mailed_to = row.value.get("email")
        if is_out or (was_mailed_to and then.get("email") != was_mailed_to):  # they may be in the wrong hands
            yield from used_up_links(self.store, row.key, now)
        if not then:
            yield Change(Delete(PASSWORDS, row.key), {})
            yield from ended_tokens(self.store, row.key, now, {"revoked_at": int(now)})
        elif is_out != was_out:
            yield from ended_tokens(self.store, row.key, now, {"suspended": is_out})

    def _person(self, request: Request, scope: Scope, subject: str) -> Plan:
        """A person's row; its page has the sessions and tokens too."""
        plan = self._one(request, scope, subject)
        answer = plan.respond(())
        row = cast(Record, answer.page["record"])
        if not request.params and not _is_damaged(row):
            where = living(subject, scope.now)
            may, out = scope.caller.may, f"{self.address}/{quote(subject, safe='')}/sign-out"
            sees_sessions = may(Action.READ, "admin/sessions") or may(Action.CREATE, out)
            rows = self.store.walk(Query("_tokens", where)) if may(Action.READ, "admin/tokens") else ()
            tokens = [one for one in rows if not one.value.get("revoked_at")]
            answer.template = "person.tpl"
            answer.page = {
                **answer.page, "tokens": tokens,
                "sessions": list(self.store.walk(Query("_sessions", where))) if sees_sessions else None,
                "rights": in_words(self._rights(row.value), self.titles, self.locale.t),
                "suspended": bool(row.value.get("suspended")), "reached": self._is_in_reach(scope.caller, row.value),
            }  # fmt: skip
        return plan_of(answer)


def _is_of_program(write: Write) -> bool:
    """Whether it changes a token that a person did not make for himself."""
    return write.table == "_tokens" and not cast(Update, write).value.get("own")


def _in_new_era(change: Change) -> Change:
    write = cast(Insert | Update, change.write)
    return change._replace(write=write._replace(value=storable({**write.value, **new_era()})))


def _is_hidden(letter: str) -> bool:
    """Whether a character shows nothing, and is none that Persian or Indic words need."""
    return unicodedata.category(letter) == "Cf" and letter not in "\u200c\u200d"


def _alike(subject: str) -> str:
    """The same for names that people take for each other: in another case or Unicode form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", subject).casefold())
    return "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")


def _canonical(text: Json) -> Json:
    """A grant in the one way of writing it; what is none stays as it is."""
    try:
        return str(parse_grant(text)) if isinstance(text, str) else text
    except BadRequest:
        return text
