"""Whatever changes who may come in: tokens, links, sessions and keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, cast

from app import (
    Action,
    Audit,
    Authority,
    Caller,
    Clock,
    Config,
    Conflict,
    Health,
    Insert,
    Json,
    KeyRing,
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
)

# ==== 1. OFFICE ==================================================================================================
# Each change is committed together with its audit entry.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH ASSEMBLY plugin:key_edits plugin:people plugin:refusals plugin:reserve
#          plugin:throttle
# defines: Office


class Office:
    """Issues and revokes tokens, signs people in and out; each change is committed together with its audit entry."""

    def __init__(self, config: Config, state: Records, audit: Audit, health: Health, clock: Clock) -> None:
        self._config, self._state, self._audit, self._health, self._clock = config, state, audit, health, clock
        self._site_id = ""

    @cached_property
    def authority(self) -> Authority:
        """With the key ring, which is loaded or made on first use."""
        config = self._config
        keys = KeyRing.load(config.auth.keys, config.site.data / "keys.json")
        roles = {name: role.grants for name, role in config.roles.items()}
        return Authority(keys, self._state, roles, config.public.grants, config.auth, self._clock)

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
