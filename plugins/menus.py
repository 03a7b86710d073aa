"""Menus as app.toml declares them, and what an application shows first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from app import AppConfig, Fault, Json, nearest

# ==== 1. MENUS ===================================================================================================
# What menus and homes name is declared, built in, or a template that is there.
# uses: ERRORS VALUES CONFIG
# defines: home_faults entries


def home_faults(one: AppConfig, declared: Collection[str], folder: Path) -> Iterator[Fault]:
    """A fault unless the home is nothing, a declared form or view, or a template that is there."""
    detail = ""
    if one.home.startswith(("forms/", "views/")):
        if one.home not in declared:
            detail = f"names {one.home!r}, which is not declared{nearest(one.home, declared)}"
    elif one.home and not one.home.endswith((".html", ".tpl")):
        detail = "must be a form or view such as forms/leave, or a template .html or .tpl"
    elif one.home and not (folder / one.home).is_file():
        detail = f"names the template {one.home}, which does not exist"
    if detail:
        yield Fault(f"apps.{one.name}.home", "configuration", detail)


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
