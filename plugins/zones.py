"""Whether a language tag and the name of a time zone in app.toml are right, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from zoneinfo import available_timezones

import app
from app import nearest

# ==== 1. ZONES ===================================================================================================
# Imported only if app.toml names a language other than English or a zone other than UTC, and for people who choose one.
# uses: CONFIG plugin:toml_advice
# defines: language zone by_region


def language(text: str) -> str:
    """The language tag as it is. ValueError says what to write instead."""
    # RFC 5646 section 2.1, without grandfathered tags and those for private use alone
    tag = r"[A-Za-z]{2,3}(-[A-Za-z]{3}){0,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?"
    variants = r"(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*"
    if not re.fullmatch(tag + variants + r"(-[A-WYZa-wyz0-9](-[A-Za-z0-9]{2,8})+)*(-[Xx](-[A-Za-z0-9]{1,8})+)?", text):
        meant = app.plugin("toml_advice").other_names()["languages"].get(text.lower()) or text.replace("_", "-")
        hint = f"; did you mean {meant}?" if re.fullmatch(tag, meant) else ""
        raise ValueError(f'must be a language tag such as "en", "de" or "en-GB"{hint}')
    return text


def zone(text: str) -> str:
    """The name of a time zone of this machine as it is. ValueError says what to write instead."""
    known = available_timezones() - {"localtime", "Factory"}
    if text in known:
        return text
    hint = nearest(text, known)
    if not known:
        hint = "; no time zones are installed here: install the package tzdata"
    for name in known:
        if name.lower() == text.lower():
            hint = f"; did you mean {name}?"
    raise ValueError(f'must be the name of a time zone such as "Europe/Copenhagen"{hint}')


@lru_cache
def by_region(chosen: str = "") -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """(region, its zones with what to call them) to choose from, with the one that is chosen already."""
    regions = "Africa America Antarctica Arctic Asia Atlantic Australia Europe Indian Pacific".split()
    found: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(available_timezones() | {"UTC", chosen or "UTC"}):
        region, _, place = name.partition("/")
        if region in regions or name in ("UTC", chosen):
            found.setdefault(region if place else "UTC", []).append((name, (place or name).replace("_", " ")))
    return sorted(found.items(), key=lambda one: one[0] != "UTC")
