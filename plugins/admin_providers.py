"""admin/providers: where everything is kept, what each place can do, how far away it is, and how much room it has."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from app import (
    Action,
    App,
    Exchange,
    Files,
    Form,
    Plan,
    Provider,
    Request,
    Resource,
    Response,
    Scope,
    Value,
    View,
    in_units,
    no_params,
    plan_of,
    plugin,
)  # fmt: skip

# ==== 1. PLACES ==================================================================================================
# What `info providers` says of each, and what lies on it. Nothing of its settings, which hold secrets and addresses.
# uses: VALUES CONTRACTS RUNNERS RESOURCES ASSEMBLY plugin:info plugin:reserve
# defines: Providers


class Providers(Resource):
    """The providers of the site."""

    type, name, title = "admin", "providers", "Providers"

    def __init__(self, app: App) -> None:
        self._app, self.locale = app, app.languages.site

    def handle(self, request: Request, scope: Scope) -> Plan:
        no_params(request)
        rows = [self._row(row) for row in plugin("info").providers(self._app, hints=False)]
        title = self.locale.t("admin.providers")
        page = {"title": title, "trail": [(title, "")], "build": self._page}
        return plan_of(Response(data={"providers": rows}, template="providers.tpl", page=page))

    def _row(self, row: Value) -> Value:
        provider = self._app.providers[row["name"]]
        reserve = plugin("reserve").reserves({row["name"]: provider}).get(row["name"])
        left = reserve.left() if reserve else None
        disk = {"free_bytes": left.free_bytes, "size_bytes": left.size_bytes} if left else None
        return row | {"holds": self._holds(provider), "disk": disk}

    def _holds(self, provider: Provider) -> list[str]:
        """The addresses of what lies there; "state" stands for people, tokens and sessions."""
        found = ["state"] if provider is self._app.state else []
        for address, one in self._app.resources.items():
            if isinstance(one, Form | Files | View) and one.type != "admin" and provider in _places(one):
                found.append(address)
        return found

    def _page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        return {"providers": [self._shown(exchange, response, row) for row in response.data["providers"]]}

    def _shown(self, exchange: Exchange, response: Response, row: Value) -> SimpleNamespace:
        """A provider for people."""
        holds = []
        for address in row["holds"]:
            one = self._app.resources.get(address)
            leads = exchange.url(address) if response.caller.may(Action.READ, address) else ""
            title = one.title if one else exchange.locale.t("providers.state")
            holds.append(SimpleNamespace(title=title, href=leads if one else ""))
        t = exchange.locale.t
        can = [t(f"providers.keeps_{name.lower()}") for name in row["contracts"]]
        disk = row["disk"]
        room = t("providers.free", free=in_units(disk["free_bytes"]), size=in_units(disk["size_bytes"])) if disk else ""
        ping = "" if row["ping_ms"] is None else f"{exchange.locale.write_number(row['ping_ms'])} ms"
        return SimpleNamespace(
            name=row["name"], kind=row["kind"], can=can, holds=holds, room=room, ping=ping, fault=row["fault"],
            warnings=row["warnings"], capabilities=_capabilities(row["capabilities"], t),
        )  # fmt: skip


def _places(resource: Form | Files | View) -> list[Provider]:
    source = getattr(resource, "source", None)
    return [*resource.providers, *([source] if isinstance(source, Provider) else [])]


def _capabilities(facts: Value, t: Any) -> list[str]:
    """What a provider can do and what it cannot, in words."""
    names = [name for name in facts if name != "most_writes"]
    found = [t(f"providers.{name}" if facts[name] else f"providers.not_{name}") for name in names]
    most = facts.get("most_writes")
    return [*found, t("providers.most_writes", n=most)] if most else found
