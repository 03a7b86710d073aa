"""admin/access: who may do what, and which grant and role it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from app import (
    PEOPLE,
    Action,
    BadRequest,
    Caller,
    Column,
    Condition,
    Config,
    Exchange,
    Fault,
    Form,
    FormConfig,
    Grant,
    NotFound,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Resource,
    Response,
    Scope,
    Table,
    Value,
    compose,
    covers,
    decode_cursor,
    encode_cursor,
    is_key,
    nearest,
    no_params,
    page_bounds,
    parse_grant,
    plan_of,
    plugin,
    read_config,
    split_path,
)  # fmt: skip

# ==== 1. REASONS =================================================================================================
# Every right comes from a grant: one's own, one of a role, or one that everybody has.
# uses: VALUES CONFIG AUTH
# defines: EVERYBODY Reason reasons_of reasons

EVERYBODY = "[public]"  # in place of a role: the grants that need no credential


class Reason(NamedTuple):
    """A grant, and the role that it comes from; "" for one that somebody has by himself."""

    grant: Grant
    role: str = ""

    def allows(self, action: Action | None, address: str) -> bool:
        """Whether it covers an action there; None stands for any."""
        fits = action in self.grant.actions if action else True
        return fits and (not address or covers(self.grant.pattern, address.split("/")))

    def __str__(self) -> str:
        if self.role == EVERYBODY:
            return f"{self.grant}, which everybody has"
        return f"{self.grant}, by the role {self.role}" if self.role else str(self.grant)


def reasons_of(grants: Iterable[str], roles: Iterable[str], config: Config) -> list[Reason]:
    """Those of somebody with these grants and roles, without those that everybody has."""
    known = [name for name in dict.fromkeys(roles) if name in config.roles]
    return [
        *(Reason(parse_grant(text)) for text in grants),
        *(Reason(one, name) for name in known for one in config.roles[name].grants),
    ]


def reasons(caller: Caller, config: Config, action: Action, address: str) -> list[Reason]:
    """What lets a caller do this there; [] if he may not."""
    if not caller.may(action, address):
        return []
    everybody = [Reason(one, EVERYBODY) for one in config.public.grants]
    of_roles = reasons_of((), caller.roles, config)
    own = caller.grants[: len(caller.grants) - len(of_roles) - len(everybody)]  # they come first, see Authority
    return [one for one in (*map(Reason, own), *of_roles, *everybody) if one.allows(action, address)]


# ==== 2. ACCESS ==================================================================================================
# People and tokens one after another, each with the grants that answer what was asked. A page of them costs what it shows:
# of many who may not, no more than some are looked at.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS AUTH RESOURCES REASONS plugin:admin plugin:people
# defines: Access

_COLUMNS = (
    Column("subject", "Who"), Column("kind", "Kind"), Column("token_id", "Token"), Column("label", "Label"),
    Column("grant", "Grant"), Column("role", "Role"), Column("limit", "Within"),
)  # fmt: skip
_OWN = ("who", "resource", "action")
_MOST_LOOKED_AT = 2000  # holders, for one page
_MOST_NAMED = 200  # that the page offers by name


class _Holder(NamedTuple):
    """Somebody or something that has grants. `place` says where to go on after it."""

    place: tuple[str, str]
    subject: str
    kind: str  # "everybody", "person" or "token"
    reasons: Sequence[Reason]
    token_id: str = ""
    label: str = ""
    limits: Sequence[Reason] | None = None  # of a person's own token: what that person may


class Access(Resource):
    """Who may do what."""

    type, name = "admin", "access"
    address = "admin/access"

    def __init__(self, state: Records, config: Config, titles: Mapping[str, str], locale: Any) -> None:
        self.state, self.config, self.titles, self.providers, self.locale = state, config, titles, [state], locale
        read = read_config({"forms": {"access": {"fields": _fields(titles, locale.t)}}}, config.folder, config.origin, {})
        self.fields = Form(cast(FormConfig, read.resources[0]), state, {}, locale).fields
        self.title = locale.t("admin.access")

    def in_language(self, titles: Mapping[str, str], locale: Any) -> Access:
        """The same with the words of a language, and titles in it."""
        return Access(self.state, self.config, plugin("admin").retitled(self.titles, titles), locale)

    def describe(self) -> Value:
        return {"columns": _COLUMNS, "params": {name: one.schema for name, one in self.fields.items()}}

    def handle(self, request: Request, scope: Scope) -> Plan:
        no_params(request, (*_OWN, "_size", "_next", "_for"))
        page: dict[str, Any] = {
            "title": self.locale.t("admin.access"), "note": "", "search": None,
            "fields": tuple(self.fields.values()), "build": self._page,
        }  # fmt: skip
        try:
            table = self._asked(request, scope.now)
        except (BadRequest, NotFound) as error:
            if not request.page or "_next" in request.params:
                raise
            page["faults"] = [Fault(f"/{getattr(error, 'about', '') or 'who'}", error.code, error.message)]
            table = Table(_COLUMNS, [])
        return plan_of(Response(table=table, template="access.tpl", page=page | {"asked": dict(request.params)}))

    def _asked(self, request: Request, now: float) -> Table:
        """The holders who may do what was asked for, and by which grants."""
        who, action, address = request.params.get("who", "").strip(), self._action(request), self._address(request)
        found = self._holders(who, _after(request), now)
        answers = (list(self._rows(one, action, address)) for one in found)
        if request.whole:
            return Table(_COLUMNS, (row for rows in answers for row in rows))
        rows: list[Value] = []
        size, last, is_person = page_bounds(request.params), None, False
        for holder in islice(self._holders(who, _after(request), now), _MOST_LOOKED_AT):
            rows += self._rows(holder, action, address)
            is_person = is_person or holder.kind == "person"
            last = holder.place
            if len(rows) >= size:
                break
        more = last and next(self._holders(who, last, now), None)
        table = Table(_COLUMNS, rows, encode_cursor(*last) if last and more else None)
        if who and action:
            # A token in somebody's name has rights of its own.
            table.facts = {"allowed": any(row["kind"] != "token" or not is_person for row in rows)}
        return table

    def _action(self, request: Request) -> Action | None:
        text = request.params.get("action", "")
        if text and text not in list(Action):
            raise _about("action", BadRequest(f"action is {text!r}: write {', '.join(Action)}"))
        if text and not request.params.get("resource"):
            raise _about("resource", BadRequest("resource is missing: say where the action is to be done"))
        return Action(text) if text else None

    def _address(self, request: Request) -> str:
        """What was asked about, as addresses are compared; "" for everything."""
        text = request.params.get("resource", "").strip("/")
        address = "/".join(quote(compose(part), safe="") for part in split_path(text))
        place = "/".join(address.split("/")[:2])
        if address and place not in self.titles:
            raise _about("resource", NotFound(f"{text[:200]} is not declared{nearest(place, self.titles)}"))
        return address

    # -- those who have grants

    def _holders(self, who: str, after: tuple[str, str], now: float) -> Iterator[_Holder]:
        """Everybody, then the people, then the tokens that work, newest first; of those `who` names if it is not ""."""
        stage, key = after
        if not stage:
            everybody = [Reason(one, EVERYBODY) for one in self.config.public.grants]
            yield _Holder(("e", ""), "", "everybody", everybody)
        known = False
        if stage in ("", "e", "p"):
            for row in self._people(who, key if stage == "p" else ""):
                known = True
                yield _Holder(("p", row.key), row.key, "person", self._of_person(row))
        for row in self._tokens(who, key if stage == "t" else "", now):
            known = True
            yield self._of_token(row)
        if who and not known and not stage:
            near = nearest(who, [row.key for row in islice(self._people("", ""), _MOST_NAMED)])
            raise _about("who", NotFound(f"nobody is called {who[:100]!r}, and no token that works has that id{near}"))

    def _people(self, who: str, after: str) -> Iterator[Record]:
        if who:
            row = self.state.get(PEOPLE, who) if is_key(who) and not after else None
            return iter([row] if row else [])
        where = (Condition("id", "gt", after),) if after else ()
        return self.state.walk(Query(PEOPLE, where, ("id",)))

    def _tokens(self, who: str, after: str, now: float) -> Iterator[Record]:
        living = (Condition("expires_at", "gt", int(now)),)
        if who and is_key(who) and (row := self.state.get("_tokens", who)) is not None:
            rows: Iterable[Record] = [] if after else [row]
        else:
            where = (*living, *((Condition("subject", "eq", who),) if who else ()))
            where += (Condition("id", "lt", after),) if after else ()
            rows = self.state.walk(Query("_tokens", where, ("-id",)))
        return (row for row in rows if not row.damage and _works(row.value, now))

    def _of_person(self, row: Record) -> list[Reason]:
        """Those of a person; none while he is suspended."""
        value = row.value
        if row.damage or value.get("suspended"):
            return []
        try:
            roles = (*value.get("roles", ()), *value.get("groups", ()))
            return reasons_of(value.get("grants", ()), roles, self.config)
        except (BadRequest, TypeError, AttributeError):  # damaged: it lets nobody in
            return []

    def _of_token(self, row: Record) -> _Holder:
        value, limits = row.value, None
        if value.get("own"):
            person = self.state.get(PEOPLE, value["subject"])
            limits = self._of_person(person) if person else []
        held = reasons_of(value["grants"], value["roles"], self.config)
        return _Holder(("t", row.key), value["subject"], "token", held, row.key, value["label"], limits)

    def _rows(self, holder: _Holder, action: Action | None, address: str) -> Iterator[Value]:
        """A row for each grant that answers what was asked."""
        fitting = [one for one in holder.reasons if one.allows(action, address)]
        limits = holder.limits and [one for one in holder.limits if one.allows(action, address)]
        if holder.limits is not None and not limits:
            return
        limit = f"{holder.subject}: {limits[0]}" if limits and (action or address) else ""
        if limits and not limit:
            limit = f"what {holder.subject} may"
        for one in fitting:
            yield {
                "subject": holder.subject, "kind": holder.kind, "token_id": holder.token_id, "label": holder.label,
                "grant": str(one.grant), "role": "" if one.role == EVERYBODY else one.role, "limit": limit,
            }  # fmt: skip

    # -- the page

    def _page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        people, table, asked = plugin("people"), cast(Table, response.table), response.page["asked"]
        rows = [dict(row) for row in table.rows]
        names = people.names(self.state, [row["subject"] for row in rows])
        lines: list[SimpleNamespace] = []
        for row in rows:
            holder = (row["kind"], row["subject"], row["token_id"])
            if not lines or lines[-1].holder != holder:
                lines.append(self._line(exchange, row, holder, names.get(row["subject"], "")))
            words = people.in_words([parse_grant(row["grant"])], self.titles, exchange.locale.t)
            lines[-1].grants.append(SimpleNamespace(words=words, grant=row["grant"], role=row["role"], limit=row["limit"]))
        known = [row.key for row in islice(self._people("", ""), _MOST_NAMED)]
        return {
            "lines": lines,
            "known": known,
            "answer": self._answer(table, asked, exchange.locale.t),
            "asked": any(asked.get(n) for n in _OWN),
        }

    def _line(self, exchange: Exchange, row: Value, holder: tuple[str, str, str], name: str) -> SimpleNamespace:
        address = {"person": f"admin/people/{quote(row['subject'], safe='')}", "token": f"admin/tokens/{row['token_id']}"}
        return SimpleNamespace(
            holder=holder, name=name, subject=row["subject"], kind=row["kind"], label=row["label"], grants=[],
            href=exchange.url(address[row["kind"]]) if row["kind"] in address else "",
        )  # fmt: skip

    def _answer(self, table: Table, asked: Mapping[str, str], t: Any) -> tuple[bool, str] | None:
        """Whether the one who was asked about may, and that in a sentence; None if nothing as exact was asked."""
        if "allowed" not in table.facts:
            return None
        grant = f"{asked['resource'].strip('/')}:{asked['action']}"
        words = plugin("people").in_words([parse_grant(grant)], self.titles, t)
        if table.facts["allowed"]:
            return True, str(t("access.may", who=asked["who"], what=words))
        return False, str(t("access.may_not", who=asked["who"], what=words, grant=grant))


def _about(name: str, error: Any) -> Any:
    """The error, which says which parameter it is about."""
    error.about = name
    return error


def _after(request: Request) -> tuple[str, str]:
    """Where the page before ended."""
    if not (cursor := request.params.get("_next", "")):
        return "", ""
    stage, key = decode_cursor(cursor, 2)
    if stage not in ("e", "p", "t") or not isinstance(key, str):
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    return stage, key


def _works(token: Value, now: float) -> bool:
    return not token.get("revoked_at") and not token.get("suspended") and token["expires_at"] > now


def _fields(titles: Mapping[str, str], t: Any) -> Value:
    """What the page asks for, as app.toml would say it."""
    actions = [{"const": str(one), "title": t(f"access.action_{one}")} for one in Action]
    return {
        "who": {"title": t("access.who"), "description": t("access.who_help")},
        "resource": {"title": t("access.resource"), "oneOf": [{"const": a, "title": title} for a, title in titles.items()]},
        "action": {"title": t("access.action"), "oneOf": actions},
    }
