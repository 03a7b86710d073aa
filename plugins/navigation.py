"""Finding one's way: the menus of the top bar, the app that a page belongs to, the trail, home and the indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import app
from app import App, AppError, AppPage, Caller, Exchange, leads_to

# ==== 1. PLACES ==================================================================================================
# What one caller may open, by app, and what every page shows of it: menus, the trail, and which app it belongs to.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY plugin:menus
# defines: Entry Places Navigation caller_of

# A page belongs to the app whose menu holds its resource. Where several do, it is the one through which this browser came:
# a cookie has the app that the last page belonged to. It is no parameter of the addresses, so that a link which is passed on
# shows everybody his own way, and it needs no script. Without it, or if that app does not hold the resource, the first one
# in app.toml counts. What it cannot tell apart are two windows in which one goes two ways at the same time.
_APP_COOKIE = "satchel_app_"
_APP_S = 86_400
_ADMIN = "admin"  # whose lists go together as those of an app do
_BAR_LETTERS = 52  # of the entries of the top bar, before the others are folded into one …
_LONGEST, _BESIDE = 18, 3  # … as many as a title shows of itself at most, and what is round it
_MANY = 30  # links at home, from which on it is folded closer
_SEEN_OF_FEW, _SEEN_OF_MANY = 10, 5  # links of a group before it is unfolded …
_SPARED = 2  # … unless this few would be hidden
_LONGEST_KNOWN = 300  # letters of an address by which the menus are chosen
_INDEXES = ("apps", "forms", "views", "files")
_SIGNS = {"files": "folder", "forms": "text", "views": "sheet"}  # symbols of static/icon.svg


class Entry(NamedTuple):
    """A link of a menu, as its caller sees it."""

    title: str
    icon: str
    href: str  # a path on this site below its prefix, or an address elsewhere
    address: str = ""  # of what is meant here; "" elsewhere

    @property
    def is_away(self) -> bool:
        return not self.address and self.href.startswith(("http://", "https://"))


class Places:
    """What a caller may open, as his language names it: the top bar; the menu of each app by its address, where the
    administration counts as one; titles by address; and the apps in whose menus a resource is."""

    def __init__(
        self,
        bar: Sequence[Entry],
        menus: Mapping[str, Sequence[Entry]],
        titles: Mapping[str, str],
        holders: Mapping[str, Sequence[str]],
        t: Any,
    ) -> None:
        self.bar, self.menus, self.titles, self.holders, self.t = bar, menus, titles, holders, t
        self.foot = ""  # of every page, as HTML
        # Apps that hold a resource which another one holds too.
        self.shared = frozenset(name for names in holders.values() if len(names) > 1 for name in names)

    @property
    def administers(self) -> bool:
        return _ADMIN in self.menus


class Navigation:
    """The menus of a site, and where in it a page is."""

    def __init__(self, site: App, part: Callable[[str, Mapping[str, Any]], str]) -> None:
        """`part` renders a template with these names."""
        self._site, self._part = site, part
        self._apps = {address: one for address, one in site.resources.items() if isinstance(one, AppPage)}
        self._places, self._menus = lru_cache(256)(self._places_of), lru_cache(512)(self._rendered)
        self._known = lru_cache(1024)(self._menu)  # of addresses, of which several have the same menus

    def places(self, exchange: Exchange, caller: Caller) -> Places:
        # What of a caller decides, and nothing else: all members of a role share one.
        return self._places(Caller(grants=caller.grants, ceilings=caller.ceilings), exchange.locale)

    def _places_of(self, caller: Caller, locale: Any) -> Places:
        languages = self._site.languages
        resources = languages.shown(locale)
        titles = {address: one.title for address, one in resources.items() if "/" in address and caller.opens(address)}
        menus = {address: self._entries(resources[address].menu, caller) for address in self._apps if address in titles}
        holders: dict[str, list[str]] = {}
        for address in menus:
            held, home = [entry.address for entry in menus[address]], self._apps[address].config.home
            for one in dict.fromkeys(map(_resource, [*held, *([home] if isinstance(home, str) else ())])):
                if one in titles and one not in menus:
                    holders.setdefault(one, []).append(address)
        known = [one["address"] for one in cast(Any, self._site.resources[""]).entries]  # in the order of the indexes
        if lists := [Entry(titles[one], "", one, one) for one in known if _type(one) == _ADMIN and one in titles]:
            menus[_ADMIN], titles[_ADMIN] = tuple(lists), locale.t("index.admin")
            for entry in lists:
                holders.setdefault(entry.address, [_ADMIN])
        bar = list(self._entries(languages.menu(self._site.menu, locale), caller))
        if not self._site.menu:
            icons = {address: one.config.icon for address, one in self._apps.items()}
            bar = [Entry(titles[one], icons[one], one, one) for one in menus if one != _ADMIN]
        if lists and all(_type(entry.address) != _ADMIN for entry in bar):
            bar.append(Entry(titles[_ADMIN], "", _ADMIN, _ADMIN))
        places = Places(bar, menus, titles, holders, locale.t)
        types = set(map(_type, titles))
        places.foot = self._part("_foot.tpl", {
            "t": locale.t, "prefix": self._site.config.site.prefix, "contact": self._site.config.site.contact,
            "indexes": {kind: locale.t(f"index.{kind}") for kind in _INDEXES if kind in types},
            "version": f"Satchel {app.__version__}" if places.administers else "",
        })  # fmt: skip
        return places

    def _entries(self, menu: Sequence[Mapping[str, str]], caller: Caller) -> tuple[Entry, ...]:
        """Those that the caller may open, each where it leads for him."""
        found, of_menus = [], app.plugin("menus")
        for one in menu:
            if "address" not in one:
                found.append(Entry(one["title"], one["icon"], one["href"]))
            elif of_menus.is_open(one, caller):
                href = of_menus.leads(one, self._opens, caller)
                found.append(Entry(one["title"], one["icon"], href, one["address"]))
        return tuple(found)

    @property
    def _opens(self) -> frozenset[str]:
        return frozenset(cast(Any, self._site.resources[""]).opens)

    # -- what every page shows

    def around(
        self, exchange: Exchange, caller: Caller, title: str, given: Sequence[SimpleNamespace] = ()
    ) -> dict[str, Any]:
        """Names for the layout. `given` is the trail as the page knows it, from Home to itself."""
        places = self.places(exchange, caller)
        belongs_to = self._app_of(exchange, places)
        return {
            "menu": self._known(places, belongs_to, exchange.inner.strip("/")[:_LONGEST_KNOWN]),
            "crumbs": self._trail(exchange, places, belongs_to, title, given),
            "foot": places.foot, "at_me": exchange.inner == "me",
        }  # fmt: skip

    def _app_of(self, exchange: Exchange, places: Places) -> str:
        """The address of the app that a page belongs to; "" if it is in none."""
        here = _resource(exchange.inner)
        found = [here] if here in places.menus else places.holders.get(here, [])
        if not places.shared or not found:
            return found[0] if found else ""
        came = "apps/" + exchange.cookie_values(_APP_COOKIE).partition(" ")[0]
        if len(found) == 1 and found[0] in places.shared and found[0] != came and exchange.method in ("GET", "HEAD"):
            name = found[0].removeprefix("apps/")
            exchange.cookies.append(exchange.door.cookie(exchange, name, _APP_S, _APP_COOKIE))
        return came if came in found else found[0]

    def _menu(self, places: Places, belongs_to: str, inner: str) -> str:
        """The menus, as HTML. They depend on few things, by which they are kept."""
        menu = places.menus.get(belongs_to, ())
        in_bar, in_menu = _nearest(places.bar, inner, belongs_to), _nearest(menu, inner)
        return self._menus(places, belongs_to, inner == "", inner == "search", in_bar, in_menu)

    def _rendered(
        self,
        places: Places,
        belongs_to: str,
        at_home: bool,
        is_searching: bool,
        in_bar: tuple[int, str],
        in_menu: tuple[int, str],
    ) -> str:
        prefix = self._site.config.site.prefix
        bar = _linked(prefix, places.bar, in_bar)
        most = _fitting(places.bar)
        # The one where one is is not hidden.
        seen = [one for at, one in enumerate(bar) if at < most or one.current]
        rest = [one for at, one in enumerate(bar) if at >= most and not one.current]
        own = places.menus.get(belongs_to, ())
        is_own_page = belongs_to in self._apps and in_menu[0] < 0 and in_bar[1] == "page"
        if is_own_page and not self._apps[belongs_to].config.home:
            own = ()  # the menu is the page
        return self._part(
            "_menu.tpl",
            {
                "t": places.t, "url": lambda address: f"{prefix}/{address}", "at_home": at_home, "searching": is_searching,
                "seen": seen, "rest": rest, "own": _linked(prefix, own, in_menu),
                "own_title": places.titles.get(belongs_to, ""),
            },
        )  # fmt: skip

    def _trail(
        self, exchange: Exchange, places: Places, belongs_to: str, title: str, given: Sequence[SimpleNamespace]
    ) -> list[SimpleNamespace]:
        """Home, the app that the page belongs to, and what the page says of itself; the last one is the page."""
        inner = exchange.inner.strip("/")
        home = SimpleNamespace(title=places.t("common.home"), href=exchange.url("") if inner else "")
        if not inner:
            return [home]
        own = list(given[1:]) or [SimpleNamespace(title=title, href="")]
        if belongs_to and inner != belongs_to and own[0].href != exchange.url(belongs_to):
            own.insert(0, SimpleNamespace(title=places.titles[belongs_to], href=exchange.url(belongs_to)))
        return [home, *own]

    def trail_of_fault(self, exchange: Exchange, caller: Caller, happened: str) -> list[SimpleNamespace]:
        """The trail of a page that says what went wrong: with the resource, if the caller may open it."""
        here, titles = _resource(exchange.inner), self.places(exchange, caller).titles
        above = [SimpleNamespace(title=titles[here], href=exchange.url(here))] if here in titles else []
        return [SimpleNamespace(title="", href=""), *above, SimpleNamespace(title=happened, href="")]

    # -- home

    def groups(self, exchange: Exchange, caller: Caller, entries: Sequence[SimpleNamespace]) -> list[SimpleNamespace]:
        """What home shows below the apps: the resources of each app, those of none, and the administration."""
        places, found = self.places(exchange, caller), []
        known = {one.address: one for one in entries if one.type != "apps"}
        for address, menu in places.menus.items():
            held = dict.fromkeys(_resource(entry.address) for entry in menu)
            if items := [known[one] for one in held if one in known]:
                found.append((address, places.titles[address], items))
        found.sort(key=lambda one: one[0] == _ADMIN)
        loose = [one for one in known.values() if one.address not in places.holders]
        if loose:
            found.insert(len(places.menus) - places.administers, ("", places.t("home.others") if self._apps else "", loose))
        seen = _SEEN_OF_MANY if sum(len(one[2]) for one in found) > _MANY else _SEEN_OF_FEW
        groups = []
        for address, title, items in found:
            most = len(items) if len(items) <= seen + _SPARED else seen
            links = [self.item(exchange, caller, one) for one in items]
            href = exchange.url(address) if address else ""
            groups.append(SimpleNamespace(title=title, href=href, items=links[:most], rest=links[most:]))
        return groups

    def item(self, exchange: Exchange, caller: Caller, one: SimpleNamespace) -> SimpleNamespace:
        """A resource in a list of them; a form that one may fill in and look up has a link for either."""
        leads = leads_to(one.address, self._opens, caller)
        records = f"{one.address}/records"
        may_look = one.type == "forms" and leads != records and caller.may(app.Action.READ, records)
        t, found = exchange.locale.t, SimpleNamespace(list_href="")
        if may_look:
            of = t("home.records_of", title=one.title)
            found = SimpleNamespace(list_href=exchange.url(records), list=t("home.records"), list_of=of)
        elif one.type == "forms" and leads != records and caller.subject and caller.may(app.Action.CREATE, one.address):
            of = t("trail.mine_of", title=one.title)
            found = SimpleNamespace(list_href=exchange.url(f"{one.address}/mine"), list=t("trail.mine"), list_of=of)
        note, sign = _noted(one.address, one.note, t), _SIGNS.get(one.type, "")
        return SimpleNamespace(title=one.title, note=note, href=exchange.url(leads), sign=sign, **vars(found))


def _noted(address: str, note: str, t: Any) -> str:
    """The line under a title; those of the administration have one in each language."""
    key = address.replace("/", ".") + "_note"
    return str(t(key)) if _type(address) == _ADMIN and t.has(key) else note


def _type(address: str) -> str:
    return address.partition("/")[0]


def _resource(inner: str) -> str:
    """The address of the resource that a path is in: its first two parts, without a format's ending."""
    kind, slash, rest = inner.partition("/")
    name = rest.partition("/")[0]
    return f"{kind}/{name}" if slash and name else kind


def _nearest(entries: Sequence[Entry], inner: str, otherwise: str = "") -> tuple[int, str]:
    """The entry that leads to a page or the nearest place above it, and what it is marked with: "page" if it is the page
    itself; (-1, "") if there is none. `otherwise` is the address of an app that the page belongs to."""
    best, length = -1, 0
    for at, one in enumerate(entries):
        for address in {one.address.rstrip("/"), one.href.rstrip("/")} if one.address else ():
            if f"{inner}/".startswith(f"{address}/") and len(address) > length:
                best, length = at, len(address)
    if best < 0 and otherwise:
        best = next((at for at, one in enumerate(entries) if one.address == otherwise), -1)
    if best < 0:
        return -1, ""
    is_page = inner in (entries[best].address.rstrip("/"), entries[best].href.rstrip("/"))
    return best, "page" if is_page else "true"


def _fitting(entries: Sequence[Entry]) -> int:
    """How many of the entries the top bar has room for."""
    letters = 0
    for at, one in enumerate(entries):
        letters += min(len(one.title), _LONGEST) + _BESIDE + 2 * bool(one.icon)
        if letters > _BAR_LETTERS:
            return at if at < len(entries) - 1 else len(entries)
    return len(entries)


def _linked(prefix: str, entries: Sequence[Entry], marked: tuple[int, str]) -> list[SimpleNamespace]:
    found = []
    for at, one in enumerate(entries):
        href = f"{prefix}/{one.href}" if one.address else one.href
        current = marked[1] if at == marked[0] else ""
        found.append(SimpleNamespace(title=one.title, icon=one.icon, href=href, current=current, is_away=one.is_away))
    return found


def caller_of(exchange: Exchange, site: App) -> Caller:
    """Who asks, for a page that is shown without having asked for a resource, or after a fault; nobody if that cannot be
    found out."""
    with suppress(AppError):
        return site.authority.identify(exchange.credential)
    return Caller()
