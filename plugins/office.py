"""Whatever changes who may come in: tokens, links, sessions and keys."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any, cast

from app import (
    SECRET_FORM,
    Action,
    Audit,
    Authority,
    Caller,
    Clock,
    Condition,
    Config,
    Conflict,
    Delete,
    Health,
    Insert,
    Json,
    KeyRing,
    Query,
    Record,
    Records,
    Token,
    Unauthenticated,
    Update,
    Value,
    Write,
    new_id,
    plugin,
    rfc3339,
    secret_digest,
)

# ==== 1. SESSIONS ================================================================================================
# What begins and ends sessions. Nothing is committed here: what has to be stored is returned as writes.
# uses: ERRORS VALUES AUTH plugin:reserve
# defines: KEEP_SESSION_S KEEP_TOKEN_S SessionAuthority

KEEP_SESSION_S = 86_400  # after its end: for that long its cookie shows that somebody was signed in
KEEP_TOKEN_S = 90 * 86_400  # rows of dead tokens stay for readers of the audit trail
_LINK_PROBLEMS = {"unknown": "this sign-in link is not known here", "used": "this sign-in link was used already",
                  "expired": "this sign-in link has expired"}  # fmt: skip


class SessionAuthority(Authority):
    """An Authority that knows the life of sessions and sign-in links, too."""

    def link(self, token: Token, expires_s: int = 600) -> tuple[str, list[Write]]:
        """A code that signs in once, and what stores its digest. Raises Unauthenticated if the token is dead."""
        now = self._clock()
        code = secrets.token_urlsafe(32)
        expires_at = min(int(now) + expires_s, self._living(token.jti, now).expires_at)
        return code, [Insert("_links", secret_digest(code), {"jti": token.jti, "expires_at": expires_at})]

    def open_session(self, secret: str, known: Value | None = None, peer: str = "") -> tuple[str, int, Caller, list[Write]]:
        """Session id, its seconds, the caller and the writes, for the code of a link, a token in either form, or what is
        known to be good and has what the row of a link has, and `beside` what the session's row is to have, too. Raises
        Unauthenticated if it is not good. The link is used up at its version: if several commit the same code, one wins and
        the others get a Conflict."""
        now = self._clock()
        row, writes = (known, list[Write]()) if known else self._redeem(secret.strip(), now)
        proof, session_id = self._holder(row, now), secrets.token_urlsafe(32)
        expires_at = int(min(now + self._auth.session_s, proof.until))
        value: Value = {"jti": proof.token.jti, "subject": proof.token.subject, "created_at": int(now), "used_at": int(now)}
        value |= row.get("beside") or ({"by_link": True} if "expires_at" in row and not row["jti"] else {})
        value |= {"expires_at": expires_at} | ({"era": proof.era} if proof.era else {})
        value |= {"client": peer[:100]} if peer else {}
        writes.append(Insert("_sessions", secret_digest(session_id), value))
        caller = self._caller(proof._replace(session=secret_digest(session_id)))
        return session_id, expires_at - int(now), caller, writes

    def _redeem(self, secret: str, now: float) -> tuple[Value, list[Write]]:
        """The row of what a secret stands for, and the writes that use it up. No token is as short as a link's code."""
        if not SECRET_FORM.fullmatch(secret):
            return {"jti": self._bearer(secret, now).token.jti}, []
        link = self._records.get("_links", secret_digest(secret))
        if problem := self._link_problem(link, now):
            raise Unauthenticated(_LINK_PROBLEMS[problem])
        link = cast(Record, link)
        return link.value, [Update("_links", link.key, link.value | {"used_at": int(now)}, link.version)]

    def _link_problem(self, link: Record | None, now: float) -> str:
        if link is None or link.damage:
            return "unknown"
        return "used" if link.value.get("used_at") else "expired" if link.value["expires_at"] <= now else ""

    def link_problem(self, code: str) -> str:
        """Why open_session would not take the code of this link now: "unknown", "used", "expired"; "" if it would."""
        link, now = self._records.get("_links", secret_digest(code)) if SECRET_FORM.fullmatch(code) else None, self._clock()
        if problem := self._link_problem(link, now):
            return problem
        try:
            self._holder(cast(Record, link).value, now)
        except Unauthenticated:
            return "unknown"
        return ""

    def living_session(self, sessions: str) -> Value:
        """The row of the first session that is good; {} if none is. They are separated by spaces."""
        now = self._clock()
        return next((row.value for row in self._session_rows(sessions) if self._session_ends_at(row.value) > now), {})

    def close_session(self, credential: str) -> list[Write]:
        """The writes that end the sessions of "Session …"; none if they are over."""
        scheme, _, sessions = credential.partition(" ")
        if scheme.lower() != "session":
            return []
        now = int(self._clock())
        living = {row.key: row.value for row in self._session_rows(sessions) if row.value["expires_at"] > now}
        return [Update("_sessions", key, value | {"expires_at": now}) for key, value in living.items()]

    def ended_session(self, credential: str) -> Record | None:
        """The row of a session of "Session …" that ended less than KEEP_SESSION_S ago; None if there is none."""
        now = self._clock()
        for row in self._session_rows(credential.partition(" ")[2]):
            token = self._records.get("_tokens", row.value["jti"]) if row.value["jti"] else None
            if row.value["jti"] and (token is None or token.damage):
                continue
            ends = [token.value["expires_at"], token.value["revoked_at"] or math.inf] if token else []
            if now - KEEP_SESSION_S < min([self._session_ends_at(row.value), *ends]) <= now:
                return row
        return None

    def expired(self, now: float, limit: int = 500) -> list[Write]:
        """At most `limit` deletes of links past their time, and of sessions and tokens that were kept after their end."""
        queries = [
            Query("_links", (Condition("expires_at", "lte", now),)),
            Query("_sessions", (Condition("expires_at", "lte", now - KEEP_SESSION_S),)),
            Query("_tokens", (Condition("expires_at", "lte", now - KEEP_TOKEN_S),)),
            Query("_tokens", (Condition("revoked_at", "gt", 0), Condition("revoked_at", "lte", now - KEEP_TOKEN_S))),
        ]  # walked, because a backend may bound what a filter reads for a page
        found = {(q.table, record.key): None for q in queries for record in islice(self._records.walk(q), limit)}
        return [Delete(table, key) for table, key in list(found)[:limit]]


# ==== 2. OFFICE ==================================================================================================
# Each change is committed together with its audit entry.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH ASSEMBLY SESSIONS plugin:key_edits plugin:people plugin:refusals
#       plugin:reserve plugin:throttle
# defines: Office


class Office:
    """Issues and revokes tokens, signs people in and out; each change is committed together with its audit entry."""

    def __init__(self, config: Config, state: Records, audit: Audit, health: Health, clock: Clock) -> None:
        self._config, self._state, self._audit, self._health, self._clock = config, state, audit, health, clock
        self._site_id = ""

    @cached_property
    def authority(self) -> SessionAuthority:
        """With the key ring, which is loaded or made on first use."""
        config = self._config
        keys = KeyRing.load(config.auth.keys, config.site.data / "keys.json")
        roles = {name: role.grants for name, role in config.roles.items()}
        return SessionAuthority(keys, self._state, roles, config.public.grants, config.auth, self._clock)

    def _event(self, action: str, caller: Caller, request_id: str = "", **facts: Json) -> Insert:
        """The audit entry of what a request did, or without its id the command line."""
        door, request_id = ("http", request_id) if request_id else ("cli", new_id(self._clock()))
        entry = self._audit.entry(caller, door, request_id, "admin/tokens", action)
        return self._audit.insert(entry | {"after": facts or None})

    @cached_property
    def refusals(self) -> Any:
        """Sign-ins that failed and tokens that were refused (plugins/refusals.py)."""
        return plugin("refusals").Refusals(self._audit, self._clock)

    @cached_property
    def throttle(self) -> Any:
        """What slows them down, in this process and all that are forked after it was first asked for."""
        return plugin("throttle").Throttle(self._clock)

    def sign_in(
        self, secret: str, request_id: str, client: str = "", former: str = "", prove: Callable[[], Value] | None = None,
    ) -> tuple[str, int]:  # fmt: skip
        """A session id and its seconds, for a token, a sign-in link's code or what `prove` returns (see open_session); the
        sessions of `former` end. `client` is the address that it came from. Raises Unauthenticated if it is not good."""
        self._health.ensure_open(self._state)
        try:
            known = prove() if prove else {}
            session, seconds, caller, writes = self.authority.open_session(secret, known, client)
            writes += self.authority.close_session(former)
            if caller.may(Action.CREATE, "admin/tokens"):
                writes.append(Update("_settings", "administrator", {"signed_in_at": rfc3339(self._clock())}))
            told = {name: one for name, one in known.get("beside", {}).items() if name == "by"}
            try:
                self._state.commit([*writes, self._event("sign_in", caller, request_id, **told)])
            except Conflict as error:
                raise Unauthenticated("this sign-in link was used already") from error
        except Unauthenticated as error:
            self.refusals.note("sign_in", client, error.code, request_id)
            raise
        return session, seconds

    def sign_out(self, credential: str, request_id: str) -> None:
        self._health.ensure_open(self._state)
        try:
            caller = self.authority.identify(credential)
        except Unauthenticated:
            caller = Caller()
        if writes := self.authority.close_session(credential):
            self._state.commit([*writes, self._event("sign_out", caller, request_id)])

    def issue(
        self, by: Caller, subject: str, grants: Sequence[str], roles: Sequence[str], expires_s: int, label: str = "",
        own: bool = False, also: Sequence[Write] = (),
    ) -> Token:  # fmt: skip
        """A new token's row, stored with its audit entry and `also` these. Raises Invalid for what cannot be granted."""
        token, writes = self.authority.issue(subject, grants, roles, expires_s, label, own)
        plugin("people").standing(self._state, subject)  # Unauthenticated if the person is suspended
        facts: Value = {"jti": token.jti, "for": subject, "grants": list(token.grants), "roles": list(token.roles)}
        self._state.commit([*writes, *also, self._event("issue", by, **facts)])
        return token

    def revoke(self, by: Caller, tokens: Sequence[Token]) -> None:
        """Revoke them, each in a commit of its own; a token revoked before stays as it is."""
        for token in tokens:
            if writes := self.authority.revoke(token):
                self._state.commit([*writes, self._event("revoke", by, jti=token.jti)])

    def link(self, by: Caller, whose: Token | str, expires_s: int = 600) -> str:
        """The code of a single-use sign-in link, for a token or for a person."""
        if isinstance(whose, str):
            code, write = plugin("people").invited(whose, self._clock(), expires_s)
            self._state.commit([write, self._event("link", by, subject=whose)])
            return str(code)
        code, writes = self.authority.link(whose, expires_s)
        self._state.commit([*writes, self._event("link", by, jti=whose.jti)])
        return code

    def first_code(self, by: Caller) -> str:
        """A sign-in code for the administrator, until one has signed in once; "" afterwards. It takes the place of the
        one before, and makes the first person: however often a site is started unused, one row of each is there."""
        if self._state.get("_settings", "administrator") is not None:
            return ""
        code, writes = plugin("people").first_sign_in(self._state, self._clock())
        self._state.commit([*writes, self._event("link", by, subject="admin")])
        return str(code)

    def rotate_key(self, by: Caller) -> None:
        """A fresh key signs from now on; what the older ones signed stays good."""
        key = plugin("reserve").given(self._state, lambda: plugin("key_edits").rotate(self.authority.keys, self._clock()))
        self._state.commit([self._event("rotate_key", by, kid=key.kid)])

    def retire_key(self, by: Caller, kid: str) -> None:
        """Forget a key, and with it every token that it signed. Raises NotFound, or Conflict for the one that signs."""
        plugin("reserve").given(self._state, lambda: plugin("key_edits").retire(self.authority.keys, kid))
        self._state.commit([self._event("retire_key", by, kid=kid)])

    def site_id(self) -> str:
        if not self._site_id:
            self._health.ensure_open(self._state)
            with suppress(Conflict):  # another process was first: its id is everybody's
                if self._state.get("_settings", "site") is None:
                    self._state.commit([Insert("_settings", "site", {"id": secrets.token_hex(8)})])
            self._site_id = cast(Record, self._state.get("_settings", "site")).value["id"]
        return self._site_id

    def link_problem(self, code: str) -> str:
        """What is wrong with the code of a sign-in link (see Authority); "" if it is good. It stays unused."""
        self._health.ensure_open(self._state)
        return self.authority.link_problem(code)
