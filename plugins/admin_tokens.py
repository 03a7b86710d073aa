"""admin/tokens: what programs and scripts send in place of a password, looked through, issued and revoked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from app import (
    CONVERTERS,
    Action,
    Authority,
    BadRequest,
    Blob,
    Caller,
    Change,
    Condition,
    Config,
    Endpoint,
    Fault,
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
    Token,
    Unauthenticated,
    Unread,
    Update,
    Value,
    how_many,
    is_key,
    no_params,
    parse_grant,
    plan_of,
    plugin,
    read_config,
)

if TYPE_CHECKING:
    from plugins import admin
else:
    admin = plugin("admin")

# ==== 1. TOKENS ==================================================================================================
# Nobody issues a token that allows more than he may himself. A token is in the answer once and kept nowhere.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES plugin:admin plugin:grant_picker plugin:people
#       plugin:token_pages plugin:tokens
# defines: Tokens

_COLUMNS = ("subject", "label", "grants", "roles", "issued_at", "expires_at", "used_at", "revoked_at")
_TAKEN = ("subject", "grants", "roles", "expires", "label", "format")
_LIVES = ("1d", "7d", "30d", "90d", "365d")


class Tokens(admin.AdminTable):
    """The tokens."""

    endpoints = (
        Endpoint("", (Action.READ, Action.CREATE, Action.DELETE), choices=True),
        Endpoint("JTI", (Action.READ, Action.DELETE)),
    )
    own: ClassVar[Sequence[str]] = ("state",)
    typed = ("subject",)
    asked = ("label", "issued_at", "expires_at", "used_at")
    template = "tokens.tpl"

    def __init__(self, state: Records, config: Config, titles: Mapping[str, str], locale: Any) -> None:
        super().__init__("tokens", _COLUMNS, [state], locale)
        self.records, self.config, self.titles = state, config, titles
        self.roles: Mapping[str, tuple[Grant, ...]] = {name: one.grants for name, one in config.roles.items()}
        self.telling = plugin("people").telling_roles(config)
        self.title = locale.t("admin.tokens")
        self.pages = plugin("token_pages").TokenPages(state, self.roles, titles, self.address)
        self.authority: Callable[[], Authority]  # set by the App

    @cached_property
    def form(self) -> Form:
        """In which a token is asked for."""
        asked = {"forms": {"token": _form(self.config, self.titles, self.locale.t)}}
        read = read_config(asked, self.config.folder, self.config.origin, {})
        form = Form(cast(FormConfig, read.resources[0]), cast(Records, self.records), {}, self.locale)
        form.address = form.records_at = self.address
        form.fields["grants"] = form.taken["grants"] = plugin("grant_picker").Grants(form.fields["grants"], self.titles)
        return form

    def in_language(self, titles: Mapping[str, str], locale: Any) -> Tokens:
        """The same with the words of a language, and titles in it."""
        made = Tokens(cast(Records, self.records), self.config, admin.retitled(self.titles, titles), locale)
        made.authority = self.authority
        return made

    def describe(self) -> Value:
        """Its columns, and what may be asked beside them."""
        return {"columns": self.columns, "params": {"state": {"type": "string", "enum": list(plugin("token_pages").STATES)}}}

    def handle(self, request: Request, scope: Scope) -> Plan:
        match request.path, request.action:
            case (), Action.READ if "_new" in request.params:
                return self._asking(request, scope)
            case (), Action.READ:
                return super().handle(request, scope)
            case (), Action.CREATE:
                return self._issued(request, scope)
            case (), _:
                return self._revoked_of(request, scope)
        no_params(request)
        [jti] = request.path
        row = cast(Records, self.records).get("_tokens", jti) if is_key(jti) else None
        if row is None or row.damage:
            raise NotFound(f"there is no token {jti[:64]}")
        if request.action == Action.READ:
            title = row.value["label"] or self.locale.t("token.one")
            page = {"title": title, "build": self.pages.token, "row": row, "now": scope.now}
            page["trail"] = [(self.locale.t("admin.tokens"), self.address), (title, "")]
            return plan_of(Response(data=self.row(row, scope.caller), template="token.tpl", page=page))
        changes = [] if row.value["revoked_at"] else [_revoked(row, scope.now)]
        name = row.value["label"] or self.locale.t("token.unlabelled")
        notice = self.locale.t("token.revoked", name=name, subject=row.value["subject"])
        return Plan(respond=lambda blobs: Response(page={"notice": notice}), changes=changes)

    # -- issued

    def _asking(self, request: Request, scope: Scope) -> Plan:
        """The form in which a token is asked for."""
        params = {name: text for name, text in request.params.items() if name != "_new"}
        form = copy(self.form)
        form.locale = self.locale
        answer = form.handle(request._replace(params=params), scope).respond(())
        offers = plugin("grant_picker").offers(self.form, scope.caller, self.roles, self.telling)
        may = [action for action in Action if scope.caller.may(action, self.address)]
        words = {name: self.locale.t(f"new_token.{name}") for name in ("submit", "list", "title")}
        words |= {"title": self.locale.t("admin.tokens"), "called": words["title"], "create": words["title"]}
        answer.page = {**answer.page, **words, "offers": offers, "may": may}
        return plan_of(answer)

    def _issued(self, request: Request, scope: Scope) -> Plan:
        no_params(request)
        asked = _asked(request.data if request.typed else self._typed(request.data))
        grants = [parse_grant(text) for text in asked["grants"]]
        held = (*grants, *(one for role in asked["roles"] for one in self.roles.get(role, ())))
        people = plugin("people")
        people.check_reach(scope.caller, held, self.titles, people.GIVEN)
        people.check_roles(scope.caller, asked["roles"], self.telling, people.GIVEN)
        self._check_subject(scope.caller, asked["subject"])
        authority = self.authority()
        token, writes = authority.issue(
            asked["subject"], asked["grants"], asked["roles"], asked["expires_s"], asked["label"]
        )
        secret = authority.short(token) if asked["format"] == "short" else authority.jwt(token)
        answered = self._answered(token, secret, scope.caller)
        return Plan(respond=answered, changes=[Change(cast(Insert, one)) for one in writes])

    def _typed(self, data: Json) -> Value:
        """What a page's form says, as a program would. Raises Invalid with each fault."""
        found: Value = {}
        for name, field in self.form.fields.items():
            found[name] = self.locale.read(field, [one for one in data.get(name, ()) if isinstance(one, str)])
        faults = [Fault(f"/{name}", "type", one.reason) for name, one in found.items() if isinstance(one, Unread)]
        faults += [Fault("/subject", "required", "is required")] * (not found["subject"])
        if faults:
            raise Invalid(f"the token has {how_many(len(faults), 'fault')}", faults=faults)
        return {name: one for name, one in found.items() if one is not None}

    def _answered(self, token: Token, secret: str, caller: Caller) -> Callable[[Sequence[Blob]], Response]:
        data = plugin("tokens").token_row(token)
        url, t = plugin("tokens").site_url(self.config), self.locale.t
        page = {
            "title": t("token.issued"), "trail": [(t("admin.tokens"), self.address), (t("token.issued"), "")], "url": url,
            "build": self.pages.issued, "once": {"token": secret}, "token": token,
        }  # fmt: skip

        def respond(blobs: Sequence[Blob]) -> Response:
            location = f"{self.address}/{token.jti}"
            return Response(data=data, created=True, location=location, page=page, template="issued.tpl")

        return respond

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
        if person is None and subject and (problem := people.subject_problem(self.records, subject)):
            raise Invalid("the token has 1 fault", faults=[Fault("/subject", *problem)])
        if person and subject != caller.subject:
            why = f"{subject} has rights that you do not have"
            people.check_reach(caller, people.rights(person.value, self.roles), self.titles, why)
            roles = (*person.value.get("roles", ()), *person.value.get("groups", ()))
            people.check_roles(caller, roles, self.telling, why)

    # -- revoked

    def _revoked_of(self, request: Request, scope: Scope) -> Plan:
        """All tokens of one subject that work, as many as go into one commit; the answer says how many are left."""
        no_params(request, ("subject",))
        if not (subject := request.params.get("subject", "")):
            raise BadRequest("subject is missing: say whose tokens are to be revoked, as in ?subject=ann")
        state = cast(Records, self.records)
        living = Condition("subject", "eq", subject), Condition("expires_at", "gt", int(scope.now))
        found = [one for one in state.walk(Query("_tokens", living)) if not one.value.get("revoked_at")]
        most = len(found) if state.most_writes is None else (state.most_writes - 1) // 2
        told = {"revoked": len(found[:most]), "left": len(found[most:])}
        notice = self.locale.t("token.revoked_all", n=told["revoked"], subject=subject)
        notice += " " + self.locale.t("token.left", n=told["left"]) if told["left"] else ""
        answer = Response(data=told, location=self.address, page={"notice": notice})
        return Plan(respond=lambda blobs: answer, changes=[_revoked(one, scope.now) for one in found[:most]])

    # -- the list and the pages

    def queries(self, query: Query, request: Request, scope: Scope) -> list[Query]:
        state = request.params.get("state") or ("working" if request.page else "all")
        if state not in (known := plugin("token_pages").STATES):
            raise BadRequest(f"state is {state!r}: write {', '.join(known)}")
        works = Condition("revoked_at", "eq", 0), Condition("expires_at", "gt", int(scope.now))
        ended = Condition("revoked_at", "gt", 0), Condition("expires_at", "lte", int(scope.now))
        if state == "working":
            return [query._replace(where=(*query.where, *works))]
        if state == "ended":
            expired = (works[0], ended[1])
            return [query._replace(where=(*query.where, ended[0])), query._replace(where=(*query.where, *expired))]
        return [query]

    def shown(self, request: Request, scope: Scope) -> Value:
        may = [action for action in Action if scope.caller.may(action, f"{self.address}/x")]
        state = request.params.get("state") or "working"
        return {
            "build": self.pages.listing,
            "may": may,
            "now": scope.now,
            "state": state,
            "subject": request.params.get("subject", ""),
        }


def _form(config: Config, titles: Mapping[str, str], t: Any) -> Value:
    """How a token is asked for, as app.toml would say it."""
    picker = plugin("grant_picker")
    fields: Value = {
        "label": {"title": t("new_token.label"), "description": t("new_token.label_help")},
        "subject": {"title": t("new_token.subject"), "required": True, "description": t("new_token.subject_help")},
        "roles": picker.roles_field(t("new_token.roles"), config, titles, t),
        "grants": picker.grants_field(t("new_token.grants"), titles, t),
        "expires": {"title": t("new_token.expires"), "default": "90d", "oneOf": _choices("expires", _LIVES, t)},
        "format": {
            "title": t("new_token.format"), "oneOf": _choices("format", ("short", "jwt"), t), "default": "short",
            "required": True,
        },
    }  # fmt: skip
    if not config.roles:
        del fields["roles"]
    return {"title": t("new_token.title"), "fields": fields}


def _choices(name: str, values: Sequence[str], t: Any) -> list[Value]:
    return [{"const": one, "title": t(f"new_token.{name}_{one}")} for one in values]


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
