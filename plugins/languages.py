"""Which language and time zone a reader has: chosen on /me, or named by the browser, or the site's."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import lru_cache
from typing import Any, cast

from app import PEOPLE, AppError, Caller, Config, Records, Request, Resource, is_key, plugin

# ==== 1. LANGUAGES ===============================================================================================
# The languages that a site has, and for each reader one Locale of them.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH plugin:catalogue plugin:locale plugin:translations
# defines: preferred Languages

_RANGE = re.compile(r"\s*(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
_HEADER = 1000  # letters of Accept-Language that are looked at, and …
_MOST_READ_BY = 2000  # resources as readers have them
_RANGES = 30  # … how many languages; no browser names more


@lru_cache(500)
def preferred(header: str, offered: Sequence[str]) -> str:
    """The tag of `offered` that an Accept-Language header likes best; the first one if it likes none, or all the same.

    RFC 4647 section 3.4: "de-AT" finds "de"; and as a site writes a language in one way, "de" and "de-AT" find "de-CH", too.
    Parts that are no language range are left out.
    """
    parts = header[:_HEADER].split(",")
    parts = parts[:-1] if len(header) > _HEADER else parts
    ranges = [(found[1].lower(), float(found[2] or 1)) for part in parts[:_RANGES] if (found := _RANGE.fullmatch(part))]
    unwanted = {name for name, quality in ranges if not quality}
    wanted = sorted((one for one in ranges if one[1]), key=lambda one: -one[1])
    for name, _ in wanted:
        for tag in offered:
            if name == "*" and tag.lower() not in unwanted and _primary(tag) not in unwanted:
                return tag
        if fitting := _fitting(name, [tag for tag in offered if tag.lower() not in unwanted]):
            return fitting
    return offered[0]


def _fitting(name: str, offered: Sequence[str]) -> str:
    """The offered tag that a range means; "" if there is none."""
    by_name = {tag.lower(): tag for tag in reversed(offered)}
    subtags = name.split("-")
    for count in range(len(subtags), 0, -1):
        if found := by_name.get("-".join(subtags[:count])):
            return found
    return next((tag for tag in offered if _primary(tag) == subtags[0]), "")


def _primary(tag: str) -> str:
    return tag.split("-")[0].lower()


class Languages:
    """Those of a site. `site` is the Locale of programs, which are told everything in English."""

    def __init__(self, config: Config) -> None:
        self._config = config.site
        self.catalogue = plugin("catalogue").Catalogue(config.folder)
        own, tables = config.site.lang, config.raw.get(plugin("translations").TABLE, {})
        others = [*self.catalogue.languages, *(tag for tag in tables if tag not in self.catalogue.languages)]
        names = {own.lower(), _primary(own)}
        self.offered = (own, *(one for one in others if one.lower() not in names))
        self.site = plugin("locale").Locale(own, config.site.timezone, self.catalogue, words="en")
        self.people: Records | None = None  # the state provider, where there is one
        self.faults = [*self.catalogue.faults(), *plugin("translations").faults(config)]
        self._whole, self._built = config, cast(Any, None)  # the Builder, once it has built
        self._named: dict[str, Mapping[str, Any]] = {}  # what it built as each language names it
        self._known: tuple[Any, dict[str, tuple[str, str]]] = None, {}  # what people chose, at a mark of their records
        self._made: dict[tuple[str, str], Any] = {}
        self._now = threading.local()  # the request that each thread is at, its subject and Locale
        self._translated: dict[str, Mapping[str, str]] = {}  # texts by place and language
        self._read_by: dict[tuple[Resource, Any], Resource] = {}

    def of(self, subject: str, accepted: str | None, request_id: str = "") -> Any:
        """The Locale of a reader, who may be nobody (""), by what Accept-Language says; None if a program asks. It stays
        the same within a request."""
        if accepted is None:
            return self.site
        known = getattr(self._now, "known", None)
        if known and request_id and known[:2] == (request_id, subject):
            return known[2]
        found = self._found(subject, accepted)
        self._now.known = request_id, subject, found
        return found

    def _found(self, subject: str, accepted: str) -> Any:
        lang, zone = self._chosen(subject) if subject else ("", "")
        if lang not in self.offered:
            lang = preferred(accepted, self.offered) if accepted else self.offered[0]
        return self._locale(lang, zone or self._config.timezone)

    def named(self) -> list[tuple[str, str]]:
        """The tags that people can choose, each with its name in its own language."""
        texts = [(tag, self.catalogue.texts(tag)["language.name"]) for tag in self.offered]
        english = self.catalogue.texts("en")["language.name"]
        return [(tag, str(name) if name != english or _primary(tag) == "en" else tag) for tag, name in texts]

    def read_by(self, resource: Resource, request: Request, caller: Caller) -> Resource:
        """The resource as it is for who asks: it reads what is typed, and writes what is shown, by the reader's Locale."""
        if request.languages is None:
            return resource
        locale = self.of(caller.subject, request.languages, request.id)
        resource = self.shown(locale).get(request.resource, resource)
        if not hasattr(resource, "locale"):
            return resource
        found = self._read_by.get((resource, locale))
        if found is None:
            if len(self._read_by) >= _MOST_READ_BY:
                self._read_by = {}
            found = self._read_by[resource, locale] = copy(resource)
            cast(Any, found).locale = locale
        return found

    def learn(self, built: Any) -> None:
        """Take the resources of a Builder, of which those in other languages are made once they are asked for."""
        self._built = built

    def shown(self, locale: Any) -> Mapping[str, Any]:
        """The resources and indexes by address, with titles and notes in a language."""
        if locale.lang not in self._named:
            made = plugin("translations").named(self._whole, self._built.resources, self._built.indexes, locale)
            self._named[locale.lang] = made
        return self._named[locale.lang]

    def menu(self, entries: Sequence[Mapping[str, str]], locale: Any) -> list[Mapping[str, str]]:
        """The menu of the site with titles in a language."""
        titles = {address: one.title for address, one in self.shown(locale).items()}
        made: list[Mapping[str, str]] = plugin("translations").menu(entries, self._texts(locale), "site", titles, locale)
        return made

    def text(self, place: str, text: str, locale: Any) -> str:
        """What stands at a place such as "site.title" in a language, or else the text that app.toml has there."""
        return self._texts(locale).get(place, text)

    def _texts(self, locale: Any) -> Mapping[str, str]:
        if locale.lang not in self._translated:
            self._translated[locale.lang] = plugin("translations").texts_of(self._whole, locale.lang)
        return self._translated[locale.lang]

    def _locale(self, lang: str, zone: str) -> Any:
        found = self._made.get((lang, zone))
        if found is None:
            with suppress(KeyError, ValueError, OSError):  # a zone that this machine does not know any more
                found = plugin("locale").Locale(lang, zone, self.catalogue)
            found = self._made[lang, zone] = found or self._locale(lang, self._config.timezone)
        return found

    def _chosen(self, subject: str) -> tuple[str, str]:
        """The language and the zone that a person chose; "" for what was not chosen."""
        if self.people is None or not is_key(subject):
            return "", ""
        try:
            mark = self.people.mark()
            if mark is None:
                return self._read(self.people, subject)
            if self._known[0] != mark or len(self._known[1]) > 1000:
                self._known = mark, {}
            known = self._known[1]
            if subject not in known:
                known[subject] = self._read(self.people, subject)
            return known[subject]
        except AppError:  # the state provider is away: the page is whole without it
            return "", ""

    def _read(self, people: Records, subject: str) -> tuple[str, str]:
        row = people.get(PEOPLE, subject)
        lang, zone = (row.value.get(name) for name in ("lang", "timezone")) if row else ("", "")
        return lang if isinstance(lang, str) else "", zone if isinstance(zone, str) else ""
