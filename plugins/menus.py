"""Menus as app.toml declares them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from app import Fault, Json, nearest

# ==== 1. MENUS ===================================================================================================
# What menus name is declared or built in.
# uses: ERRORS VALUES CONFIG
# defines: entries


def entries(
    menu: Collection[Json], place: str, declared: Mapping[str, Any], built_in: Mapping[str, str], faults: list[Fault]
) -> list[dict[str, str]]:
    """The entries of a menu: { title, icon } and { address } or { href }. An entry with a fault is left out. `built_in` has
    the titles of the administration's addresses; what lies inside a resource goes by the name of the resource."""
    made = []
    for entry in menu:
        address = "/".join(str(entry).split("/")[:2])
        if isinstance(entry, dict):
            made.append({"title": entry.get("title", entry["href"]), "icon": entry.get("icon", ""), "href": entry["href"]})
        elif address in built_in:
            made.append({"title": built_in[address], "icon": "", "address": str(entry)})
        elif one := declared.get(address):
            title = one.title or one.name.capitalize()
            made.append({"title": title, "icon": getattr(one, "icon", ""), "address": str(entry)})
        else:
            detail = f"names {entry!r}, which is not declared{nearest(address, declared)}"
            faults.append(Fault(f"{place}.menu", "configuration", detail))
    return made
