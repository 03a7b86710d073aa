"""Menus as app.toml declares them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from app import Action, Caller, Fault, Json, leads_to, nearest

# ==== 1. MENUS ===================================================================================================
# What menus name is declared or built in.
# uses: ERRORS VALUES CONFIG RESOURCES
# defines: entries is_open leads


_HERE = re.compile(r"(forms|views|files|apps|admin)/[^?#]+(\?[^#]*)?")  # an address of this site, with a query or without


def entries(
    menu: Collection[Json], place: str, declared: Mapping[str, Any], built_in: Mapping[str, str], faults: list[Fault]
) -> list[dict[str, str]]:
    """The entries of a menu. One that leads away has { title, icon, href }, one of this site { title, icon, address }, with
    a `query` if it has one and an `href` if its title is its own. An entry with a fault is left out. `built_in` has the
    titles of the administration's addresses; what lies inside a resource goes by the name of the resource."""
    made = []
    for entry in menu:
        said = entry if isinstance(entry, dict) else {}
        href = str(said.get("href", entry))
        if said and not _HERE.fullmatch(href):
            made.append({"title": said.get("title", href), "icon": said.get("icon", ""), "href": href})
            continue
        address, _, query = href.partition("?")
        if found := _titled(address, declared, built_in):
            one = {"title": found[0], "icon": said.get("icon") or found[1], "address": address}
            one |= {"query": query} if query else {}
            made.append(one | ({"title": said["title"], "href": href} if said.get("title") else {}))
        else:
            near = nearest("/".join(address.split("/")[:2]), declared)
            faults.append(Fault(f"{place}.menu", "configuration", f"names {href!r}, which is not declared{near}"))
    return made


def _titled(address: str, declared: Mapping[str, Any], built_in: Mapping[str, str]) -> tuple[str, str] | None:
    """The title and the icon of the resource that an address is in; None if there is none."""
    resource = "/".join(address.split("/")[:2])
    if resource in built_in:
        return built_in[resource], ""
    one = declared.get(resource)
    return (one.title or one.name.capitalize(), getattr(one, "icon", "")) if one else None


def is_open(entry: Mapping[str, str], caller: Caller) -> bool:
    """Whether an entry of a menu is there for a caller."""
    address = entry.get("address", "")
    if address.split("/")[2:] == ["records"]:  # which whoever may submit there does not see for that
        return caller.may(Action.READ, address)
    return not address or caller.opens(address)


def leads(entry: Mapping[str, str], opens: Collection[str], caller: Caller) -> str:
    """Where an entry of this site leads a caller."""
    address = entry["address"]
    return f"{address}?{entry['query']}" if entry.get("query") else leads_to(address, opens, caller)
