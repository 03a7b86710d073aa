"""What the pages of tokens show: the list, one of them, and a new one with how to try it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

from app import (
    Action,
    BadRequest,
    Caller,
    Column,
    Exchange,
    Grant,
    Json,
    Records,
    Response,
    Table,
    Value,
    parse_grant,
    plugin,
    rfc3339,
)

# ==== 1. SHOWN ===================================================================================================
# Rows of tokens in the words of a reader's language. A new token is shown once, in a field that can be selected.
# uses: ERRORS VALUES CONTRACTS RUNNERS AUTH plugin:people
# defines: STATES TokenPages

STATES = ("working", "ended", "all")
_TIMES = ("issued_at", "expires_at", "used_at", "revoked_at")


class TokenPages:
    """The pages of admin/tokens."""

    def __init__(
        self, records: Records, roles: Mapping[str, Sequence[Grant]], titles: Mapping[str, str], address: str
    ) -> None:
        self._records, self._roles, self._titles, self._address = records, roles, titles, address

    def listing(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        rows, page = [dict(row) for row in cast(Table, response.table).rows], response.page
        names = plugin("people").names(self._records, [row["subject"] for row in rows])
        return {
            "lines": [self._line(exchange, row, page, names) for row in rows],
            "states": {one: exchange.locale.t(f"tokens.state_{one}") for one in STATES},
            "state": page["state"], "subject": page["subject"], "may_create": Action.CREATE in page["may"],
            "search": page["search"], "new_href": exchange.url(self._address, _new=1),
            "all_action": exchange.url(self._address, subject=page["subject"], _method="DELETE")
            if page["subject"] and Action.DELETE in page["may"] and rows else "",
        }  # fmt: skip

    def _line(self, exchange: Exchange, row: Value, page: Mapping[str, Any], names: Mapping[str, str]) -> SimpleNamespace:
        """A row for people."""
        at = Column("", "", "string", "date-time")
        address, now = f"{self._address}/{quote(str(row['id']), safe='')}", rfc3339(page["now"])
        is_over = row["revoked_at"] or not isinstance(row["expires_at"], str) or row["expires_at"] <= now
        return SimpleNamespace(
            label=row["label"] or "", subject=row["subject"], name=names.get(row["subject"], ""), href=exchange.url(address),
            roles=row["roles"] if isinstance(row["roles"], list) else [],
            may=self._in_words(row["grants"], exchange.locale.t),
            **{name: exchange.locale.show(at, row[name]) for name in _TIMES},
            state=exchange.locale.t("token.is_revoked" if row["revoked_at"] else "token.is_expired") if is_over else "",
            revoke_action=exchange.url(address, _method="DELETE") if Action.DELETE in page["may"] and not is_over else "",
        )  # fmt: skip

    def _in_words(self, grants: Json, t: Any) -> str:
        try:
            return str(plugin("people").in_words(map(parse_grant, grants or ()), self._titles, t)) if grants else ""
        except (BadRequest, TypeError, AttributeError):
            return str(grants)

    def token(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        may = [action for action in Action if response.caller.may(action, f"{self._address}/x")]
        names = plugin("people").names(self._records, [response.data["subject"]])
        page = {**response.page, "may": may}
        line = self._line(exchange, response.data, page, names)
        roles = [
            (name, plugin("people").in_words(self._roles.get(name, ()), self._titles, exchange.locale.t))
            for name in line.roles
        ]
        return {"line": line, "roles": roles, "grants": response.data["grants"]}

    def issued(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        """The token, this once, and how to try it: with something that it may read."""
        token, secret = response.page["token"], response.page["once"]["token"]
        held = Caller(grants=(*map(parse_grant, token.grants), *(g for r in token.roles for g in self._roles.get(r, ()))))
        open_to = [one for one in self._titles if held.may(Action.READ, one)]
        tried = next((one for kind in ("views", "forms", "") for one in open_to if one.startswith(kind)), "")
        tried += "/records" if tried.startswith("forms/") else ""
        return {
            "secret": secret, "label": token.label, "subject": token.subject,
            "curl": f"curl -H 'Authorization: Bearer {secret}' {response.page['url']}/{tried or 'me'}",
            "token_href": exchange.url(f"{self._address}/{token.jti}"), "list_href": exchange.url(self._address),
            "new_href": exchange.url(self._address, _new=1),
        }  # fmt: skip
