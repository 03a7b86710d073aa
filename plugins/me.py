"""The page /me: who somebody is, and what is one's own to change: name, language, zone, password, sessions, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple, cast
from urllib.parse import quote

from app import (
    PASSWORDS,
    PEOPLE,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Caller,
    Column,
    Exchange,
    Fault,
    Forbidden,
    Host,
    Invalid,
    Json,
    JsonFormat,
    NotFound,
    Query,
    Record,
    Route,
    SignInNeeded,
    Unauthenticated,
    Update,
    Value,
    Write,
    compose,
    is_key,
    json_answer,
    line_problem,
    plugin,
    rfc3339,
    see_other,
)  # fmt: skip

# ==== 1. ME ======================================================================================================
# What a person sees and changes of himself. A program may read it, and send the same as JSON.
# uses: ERRORS VALUES RUNNERS AUTH ASSEMBLY plugin:form_drafts plugin:html_forms plugin:links plugin:pages
#       plugin:passwords plugin:people plugin:saved_filters plugin:share_pages plugin:zones
# defines: Route:me Me

_MOST_BYTES = 65536
_TOKEN_S = {"30d": 30 * 86_400, "90d": 90 * 86_400, "1y": 365 * 86_400}
_MOST_TOKENS = 100  # of one person's own that are good
_FRESH_S = 3600  # for so long after it signed somebody in a link stands for a password that was forgotten
_TIMES = ("created_at", "issued_at", "used_at", "expires_at")


class _Own(NamedTuple):
    """What one has made, as it is stored."""

    links: list[Record]
    drafts: list[Record]
    filters: list[Record]


class Me(Route):
    """/me for whoever is signed in."""

    kind = "me"
    paths: ClassVar[Mapping[str, str]] = {"/me": "GET POST"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        site.health.ensure_open(site.state)
        caller = site.authority.identify(exchange.credential)
        if not caller.subject:
            raise SignInNeeded("sign in, to see who you are")
        exchange.subject = caller.subject
        person = plugin("people").standing(site.state, caller.subject)
        if exchange.method != "POST":
            site.authority.touch(caller)
            return self._shown(exchange, site, caller, person)
        if person is None:
            raise Forbidden("only people who were invited can change anything here")
        if not _is_oneself(caller):
            raise Forbidden("only you can change this, signed in as yourself and not with a token")
        sent = self._sent(exchange)
        try:
            done = self._do(str(sent.get("do", "")), sent, exchange, site, caller, person)
        except Invalid as error:
            if not exchange.is_form:
                raise
            return self._shown(exchange, site, caller, person, error=error, sent=sent)
        if not exchange.is_form:
            return json_answer(200, done)
        if "token" in done:
            return self._shown(exchange, site, caller, person, token=str(done["token"]))
        plugin("pages").give_notice(exchange, exchange.path, str(done["done"]))
        return see_other(exchange.path)

    def _sent(self, exchange: Exchange) -> Value:
        if not exchange.is_form:
            exchange.door.check_token(exchange, "")
            sent = exchange.door.formats[JsonFormat.kind].load(exchange, "me")
            if not isinstance(sent, dict):
                raise BadRequest("the body must be a JSON object")
            return sent
        form = plugin("html_forms").read_form(exchange, _MOST_BYTES)
        exchange.door.check_token(exchange, form.text("_token"))
        return {name: values[0] for name, values in form.fields.items()}

    # -- what is shown

    def _facts(self, site: App, caller: Caller, person: Record | None, own: _Own) -> Value:
        """What a program reads."""
        row = person.value if person else {}
        sessions, tokens = (self._mine(site, caller, table) for table in ("_sessions", "_tokens"))
        return {
            "subject": caller.subject, "name": row.get("name"), "email": row.get("email"), "roles": list(caller.roles),
            "grants": list(map(str, plugin("people").held(caller))),
            "sessions": [
                _timed(one, {"id": one.key, "current": one.key == caller.session, "client": one.value.get("client", "")})
                for one in sessions
            ],
            "tokens": [_timed(one, {"jti": one.key, "label": one.value["label"]}) for one in tokens],
            "links": list(map(plugin("links").row_of, own.links)),
            "drafts": [
                {name: one.value[name] for name in ("form", "id")} | {"updated_at": rfc3339(one.value["at"])}
                for one in own.drafts
            ],
            "filters": list(map(_filter, own.filters)),
            "lang": row.get("lang", ""), "timezone": row.get("timezone", ""),
            "has_password": person is not None and site.state.get(PASSWORDS, caller.subject) is not None,
        }  # fmt: skip

    def _drafts(self, site: App, caller: Caller) -> list[Record]:
        """What one has begun to fill in, wherever it is kept."""
        found = list[Record]()
        for records in site.audit_stores():
            with suppress(AppError):  # a provider that is away, or has no table for them yet
                found += plugin("form_drafts").of_person(records, caller.subject)
        return found

    def _filters(self, site: App, caller: Caller) -> list[Record]:
        """What one has saved of lists, for oneself alone."""
        return plugin("saved_filters").of_person(site.state, caller.subject) if _is_oneself(caller) else []

    def _mine(self, site: App, caller: Caller, table: str) -> list[Record]:
        """Those of one's sessions or tokens that are good."""
        where = plugin("people").living(caller.subject, site.clock())
        return [one for one in site.state.walk(Query(table, where)) if not one.damage and not one.value.get("revoked_at")]

    def _shown(
        self,
        exchange: Exchange,
        site: App,
        caller: Caller,
        person: Record | None,
        *,
        token: str = "",
        error: Invalid | None = None,
        sent: Value = MappingProxyType({}),  # type: ignore[assignment]
    ) -> Answer:
        links = plugin("links").of_subject(site, caller.subject)
        own = _Own(links, self._drafts(site, caller), self._filters(site, caller))
        facts = self._facts(site, caller, person, own)
        if not exchange.page:
            return json_answer(200, facts)
        pages, at, locale = plugin("pages"), Column("", "", "string", "date-time"), exchange.locale

        def in_words(row: Value) -> SimpleNamespace:
            times = {name: locale.show(at, row[name]) if row.get(name) else "" for name in _TIMES}
            return SimpleNamespace(**row | times)

        rows = {kind: list(map(in_words, facts[kind])) for kind in ("sessions", "tokens")}
        forms = site.languages.shown(locale)
        titles = cast(Any, forms["admin/people"]).titles
        page = {
            **facts, **rows, "links": plugin("share_pages").lines(exchange, site, links) if links else [],
            "drafts": plugin("form_drafts").lines(exchange, forms, own.drafts),
            "filters": plugin("saved_filters").lines(exchange, forms, own.filters),
            "crumbs": [], "is_person": person is not None and _is_oneself(caller),
            "asks_old": self._asks_old(site, caller), "token": token, "action": exchange.path,
            "rights": plugin("people").in_words(plugin("people").held(caller), titles, locale.t), "expires": list(_TOKEN_S),
            "errors": {one.pointer.removeprefix("/"): locale.t.said(one.detail) for one in error.faults} if error else {},
            "sent_name": _text(sent.get("name")) if sent.get("do") == "profile" else facts["name"] or "",
            "langs": site.languages.named(), "zones": plugin("zones").by_region(facts["timezone"]),
            "site_zone": site.config.site.timezone.replace("_", " "), "now": locale.show(at, rfc3339(site.clock())),
        }  # fmt: skip
        notice = pages.take_notice(exchange)
        body = pages.pages_of(exchange).render(exchange, "me.tpl", locale.t("me.title"), page, notice)
        return cast(Answer, pages.page_answer(422 if error else 200, body))

    # -- what is done

    def _do(self, what: str, sent: Value, exchange: Exchange, site: App, caller: Caller, person: Record) -> Value:
        """What a person asked for, committed with its audit entry."""
        t = exchange.locale.t if exchange.is_form else site.languages.site.t
        match what:
            case "profile":
                return self._profile(sent, exchange, site, caller, person)
            case "password":
                self._new_password(sent, exchange, site, caller, person)
                return {"done": t("me.password_done")}
            case "sign_out_others" | "sign_out":
                others = [one for one in self._mine(site, caller, "_sessions") if one.key != caller.session]
                if what == "sign_out":
                    others = [one for one in others if one.key == sent.get("id")]
                    if not others:
                        raise NotFound("you have no such session elsewhere")
                self._commit(site, exchange, caller, "sign_out", _ended(others, site.clock()))
                return {"done": t("me.signed_out"), "ended": len(others)}
            case "make_token":
                return self._new_token(sent, site, caller, person)
            case "revoke":
                self._revoke(sent, exchange, site, caller)
                return {"done": t("me.token_revoked")}
            case "end_link":
                plugin("links").end(site, caller, _text(sent.get("id")), exchange.id)
                return {"done": t("links.ended")}
        raise BadRequest("do must be profile, password, sign_out, sign_out_others, make_token, revoke or end_link")

    def _profile(self, sent: Value, exchange: Exchange, site: App, caller: Caller, person: Record) -> Value:
        """Take over the name, the language and the time zone, of which those stay that are not sent; "" is none."""
        given = {name: compose(_text(sent[name]).strip()) for name in ("name", "lang", "timezone") if name in sent}
        faults = [
            Fault(f"/{name}", name, wrong) for name, text in given.items() if (wrong := _profile_fault(site, name, text))
        ]
        if faults:
            raise Invalid("the profile cannot be changed", faults=faults)
        stamp = {"updated_at": rfc3339(site.clock()), "updated_by": caller.subject}
        value = {name: one for name, one in (person.value | given | stamp).items() if name not in given or one}
        pairs = {name: [person.value.get(name), value.get(name)] for name in given}
        changes: Value = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if changes:
            write = Update(PEOPLE, person.key, value, person.version)
            self._commit(site, exchange, caller, "update", [write], {"changes": changes})
        words = site.languages.of(caller.subject, exchange.languages).t  # in the language that was just chosen
        return {"done": words("me.saved")}

    def _new_password(self, sent: Value, exchange: Exchange, site: App, caller: Caller, person: Record) -> None:
        """Set or change the password; the person's other sessions end."""
        passwords, old, new = plugin("passwords"), _text(sent.get("old")), _text(sent.get("new"))
        faults = [fault._replace(pointer="/new") for fault in passwords.faults(new, [*_about(person), site.title])]
        if "again" in sent and sent["again"] != new:
            faults.append(Fault("/again", "again", "is not the same"))
        if self._asks_old(site, caller):
            try:
                with site.office.throttle.reserved(f"password {caller.subject}"):
                    passwords.proved(site.state, caller.subject, old)
            except Unauthenticated:
                faults.append(Fault("/old", "password", "is wrong"))
        if faults:
            raise Invalid("the password cannot be set", faults=faults)
        others = [one for one in self._mine(site, caller, "_sessions") if one.key != caller.session]
        kept = passwords.kept(site.state, caller.subject, new, site.clock())
        self._commit(site, exchange, caller, "password", [kept, *_ended(others, site.clock())])

    def _asks_old(self, site: App, caller: Caller) -> bool:
        """Whether the old password is asked for: not if it was forgotten, and a newer link has just signed the person in."""
        kept = site.state.get(PASSWORDS, caller.subject) if is_key(caller.subject) else None
        session = site.state.get("_sessions", caller.session) if kept and caller.session else None
        if kept is None or session is None or not session.value.get("by_link"):
            return kept is not None
        since = session.value["created_at"]
        return not (since > kept.value.get("changed_at", 0) and site.clock() - since < _FRESH_S)

    def _new_token(self, sent: Value, site: App, caller: Caller, person: Record) -> Value:
        """A token for a program of one's own, shown once: it never allows more than its person may at that moment."""
        label, expires = _text(sent.get("label")), _text(sent.get("expires", "90d"))
        if expires not in _TOKEN_S:
            fault = Fault("/expires", "expires", f"must be one of {', '.join(_TOKEN_S)}")
            raise Invalid("the token cannot be made", faults=[fault])
        grants = ["**:read"] if sent.get("read_only") in (True, "true") else ["**:*"]
        if len([one for one in self._mine(site, caller, "_tokens") if one.value.get("own")]) >= _MOST_TOKENS:
            fault = Fault("/label", "too_many", f"you have {_MOST_TOKENS} tokens: revoke those that you do not need")
            raise Invalid("the token cannot be made", faults=[fault])
        # The row is written again as it is: of several tokens at once, or of one and the person's end, only one is made.
        same = Update(PEOPLE, person.key, person.value, person.version)
        made = site.office.issue(caller, caller.subject, grants, [], _TOKEN_S[expires], label, own=True, also=[same])
        short = _text(sent.get("format", "short")) != "jwt"
        return {"jti": made.jti, "token": site.authority.short(made) if short else site.authority.jwt(made)}

    def _revoke(self, sent: Value, exchange: Exchange, site: App, caller: Caller) -> None:
        found = [one for one in self._mine(site, caller, "_tokens") if one.key == sent.get("jti")]
        if not found:
            raise NotFound("you have no such token")
        revoked = {"revoked_at": int(site.clock())}
        self._commit(site, exchange, caller, "revoke", [Update("_tokens", one.key, one.value | revoked) for one in found])

    def _commit(
        self, site: App, exchange: Exchange, caller: Caller, action: str, writes: Sequence[Write], facts: Value | None = None
    ) -> None:
        """In one commit, or where that has few writes in several, the first of them first; each with an audit entry, which
        has the facts."""
        size = (site.state.most_writes or len(writes) + 1) - 1
        for at in range(0, max(1, len(writes)), max(1, size)):
            entry = site.audit.entry(caller, "http", exchange.id, f"admin/people/{quote(caller.subject, safe='')}", action)
            site.state.commit([*writes[at : at + size], site.audit.insert(entry | (facts or {}))])


def _is_oneself(caller: Caller) -> bool:
    """Whether a person is signed in, and neither a token asks nor a session that was opened with one: those may do less."""
    return cast(bool, plugin("saved_filters").is_oneself(caller))


def _filter(row: Record) -> Value:
    """What a program reads of a filter."""
    return {name: row.value[name] for name in ("title", "list", "query")}


def _ended(sessions: Sequence[Record], now: float) -> list[Write]:
    return [Update("_sessions", one.key, one.value | {"expires_at": int(now)}) for one in sessions]


def _profile_fault(site: App, name: str, text: str) -> str:
    """What is wrong with a name, a language or a time zone that a person chose; "" if nothing is."""
    if name == "lang":
        tags = site.languages.offered
        return "" if text in ("", *tags) else f"must be one of {', '.join(tags)}"
    if name == "timezone":
        try:
            return text and plugin("zones").zone(text) and ""
        except ValueError as error:
            return str(error)
    return (text and line_problem(text, 200)) or ""


def _about(person: Record) -> list[str]:
    """Texts that everybody knows of a person."""
    email = str(person.value.get("email") or "")
    return [person.key, str(person.value.get("name") or ""), email, email.partition("@")[0]]


def _timed(row: Record, facts: Value) -> Value:
    return facts | {name: rfc3339(row.value[name]) for name in _TIMES if row.value.get(name)}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
