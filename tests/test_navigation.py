"""plugins/navigation.py: the top bar, the app that a page belongs to, the trail, home and the indexes, through HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from http_client import PAGE, Reply, Site

import app

MORE = """
[views.away]
title = "Who is away"
from = "forms/leave"
[forms.order]
title = "Order"
provider = "main"
name = "{what}"
[forms.order.fields]
what = { type = "string", required = true }
[apps.shop]
title = "Shop"
icon = "S"
menu = ["forms/order", "files/docs/2026", "views/away"]
[apps.hr]
title = "HR"
note = "Leave and the like."
menu = ["forms/leave", "views/away", { title = "Policy", href = "https://example.org/policy" }]
"""


def with_apps(toml: str) -> str:
    toml = toml[: toml.index("[apps.desk]")] if "[apps.desk]" in toml else toml
    return toml.replace("[site]\n", '[site]\ncontact = "the front desk"\n') + MORE


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, edit=with_apps)
    yield one
    one.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def one(edit: Callable[[str], str], **facts: str) -> Site:
        folder = tmp_path / f"site{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        made.append(Site(folder, edit=edit, **facts))
        return made[-1]

    yield one
    for each in made:
        each.close()


class Page(HTMLParser):
    """What a person makes of a page's frame: its menus, its trail, and the headings and links of its content."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.navs: dict[str, list[tuple[str, str, str]]] = {}  # links as (text, href, aria-current), by the nav's name
        self.groups: list[tuple[str, list[str]]] = []  # below main: each heading with the links after it
        self._nav, self._in, self._text = "", "", ""
        self._attrs: dict[str, str] = {}
        self.landmarks: list[str] = []
        self.feed(reply.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "nav":
            self._nav = given["aria-label"]
            self.navs[self._nav] = []
        if tag in ("header", "main", "footer"):
            self._in = tag
        if tag in ("a", "h1", "h2", "bdi") and not self._attrs:
            self._attrs, self._text = given | {"tag": tag}, ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "nav":
            self._nav = ""
        if not self._attrs or tag != self._attrs["tag"]:
            return
        found, text = self._attrs, " ".join(self._text.split())
        self._attrs = {}
        if self._nav and (tag == "a" or "aria-current" in found):
            self.navs[self._nav].append((text, found.get("href", ""), found.get("aria-current", "")))
        elif self._in == "main" and tag in ("h1", "h2"):
            self.groups.append((text, []))
        elif self._in == "main" and tag == "a" and self.groups:
            self.groups[-1][1].append(found["href"])

    @property
    def trail(self) -> list[tuple[str, str]]:
        return [(text, href) for text, href, _ in self.navs["Breadcrumb"]]

    @property
    def bar(self) -> list[str]:
        return [text for text, _, _ in self.navs["Site"]]

    def current(self, nav: str = "Site") -> dict[str, str]:
        return {text: mark for text, _, mark in self.navs[nav] if mark}


def look(site: Site, target: str, token: str = "", **headers: str) -> Page:
    return Page(site.get(site.prefix + target, token, Accept="text/html", **headers))


# ---- the top bar


def test_the_bar_has_all_apps_that_one_may_open_and_marks_where_one_is(site: Site) -> None:
    root, staff = site.token("**:*"), site.token("apps/hr:read", "forms/leave:create")
    assert look(site, "/", root).bar == ["Home", "S Shop", "HR", "Administration"]
    page = look(site, "/", staff)
    assert (page.bar, page.current()) == (["Home", "HR"], {"Home": "page"})
    assert look(site, "/apps/hr", staff).current() == {"HR": "page"}
    page = look(site, "/forms/leave", staff)
    assert page.current() == {"HR": "true"}
    assert page.navs["HR"] == [
        ("Leave", "/forms/leave", "page"),
        ("Policy ↗(another site)", "https://example.org/policy", ""),
    ]
    assert look(site, "/").bar == ["Home"], "who may open nothing is shown nothing"
    assert look(site, "/", site.token("admin/audit:read")).bar == ["Home", "Administration"]


def test_the_menu_of_the_site_says_what_the_bar_has(make: Callable[..., Site]) -> None:
    menu = 'menu = ["apps/hr", "files/docs", { title = "Wiki", href = "https://example.org/" }, "admin/people"]\n'
    site = make(lambda toml: with_apps(toml).replace("[site]\n", f"[site]\n{menu}"), prefix="/ops")
    page = look(site, "/files/docs/", site.token("**:*"))
    assert page.navs["Site"] == [
        ("Home", "/ops/", ""), ("HR", "/ops/apps/hr", ""), ("Docs", "/ops/files/docs", "page"),
        ("Wiki ↗(another site)", "https://example.org/", ""), ("People", "/ops/admin/people", ""),
    ]  # fmt: skip
    assert look(site, "/", site.token("files/docs:read")).bar == ["Home", "Docs", "Wiki ↗(another site)"]


def test_a_menu_of_the_site_that_names_what_is_not_there_stops_the_start(make: Callable[..., Site]) -> None:
    for wrong, words in (('"apps/hrr"', "did you mean apps/hr"), ('{ title = "x" }', "href")):
        with pytest.raises(app.ConfigError) as caught:
            make(lambda toml, wrong=wrong: with_apps(toml).replace("[site]\n", f"[site]\nmenu = [{wrong}]\n"))
        [fault] = caught.value.faults
        assert fault.pointer.startswith("site.menu")
        assert words in f"{fault.pointer} {fault.detail}"


def test_a_form_leads_where_its_reader_can_go(site: Site) -> None:
    reader = site.token("apps/hr:read", "forms/leave/records:read")
    assert look(site, "/apps/hr", reader).bar == ["Home", "HR"]
    looker = site.token("apps/hr:read", "forms/leave:read")
    page = look(site, "/forms/leave/records", looker)
    assert page.navs["HR"][0] == ("Leave", "/forms/leave/records", "page")
    assert page.current() == {"HR": "true"}


def test_what_is_left_of_a_long_bar_is_folded_and_the_current_place_is_not(make: Callable[..., Site]) -> None:
    apps = "".join(f'[apps.a{n}]\ntitle = "Application {n}"\nmenu = ["files/docs"]\n' for n in range(12))
    site = make(lambda toml: with_apps(toml) + apps)
    root = site.token("**:*")
    for target, name in (("/", "Home"), ("/apps/a11", "Application 11")):
        text = site.get(target, root, Accept="text/html").text
        seen = text[: text.index('<details class="more">')]
        assert "Application 0</bdi>" in seen
        assert ("Application 11" in seen) == (target == "/apps/a11")
        page = look(site, target, root)
        assert page.current() == {name: "page"}
        assert sorted(page.bar) == sorted(
            ["Home", "S Shop", "HR", "Administration", *(f"Application {n}" for n in range(12))]
        )


# ---- the app that a page belongs to


def test_a_page_stays_in_the_app_whose_menu_holds_it(site: Site) -> None:
    root = site.token("**:*")
    record = site.send("/forms/order", {"what": "Screws"}, root)["Location"]
    for target in (
        "/forms/order",
        "/forms/order/records",
        record,
        record + "?_edit=1",
        "/forms/order/records/none",
        "/files/docs/",
    ):
        page = look(site, target, root)
        assert page.current() == {"S Shop": "true"}, target
        assert "Shop" in page.navs
        assert page.trail[:2] == [("Home", "/"), ("Shop", "/apps/shop")]
    assert set(look(site, "/files/pics/", root).navs) == {"Site", "Breadcrumb"}, "which is in no app"
    assert set(look(site, "/", root).navs) == {"Site", "Breadcrumb"}
    assert look(site, "/admin/people", root).navs["Administration"][0][1].startswith("/admin/")


def test_what_several_apps_hold_belongs_to_the_one_that_it_was_reached_through(site: Site) -> None:
    root = site.token("**:*")
    came: dict[str, str] = {}

    def go(target: str) -> Page:
        reply = site.get(target, root, Accept="text/html", Cookie="; ".join(f"{k}={v}" for k, v in came.items()))
        came.update(re.findall(r"(satchel_app_\w+)=([^;]*)", reply["Set-Cookie"]))
        return Page(reply)

    assert go("/views/away").current() == {"S Shop": "true"}, "without having come from anywhere: the first one"
    assert came == {}
    go("/apps/hr")
    assert list(came.values()) == ["hr"]
    assert go("/views/away").current() == {"HR": "true"}
    assert go("/views/away.csv?_for=excel")
    assert go("/files/pics/").current() == {}
    assert go("/views/away").trail == [("Home", "/"), ("HR", "/apps/hr"), ("Who is away", "")]
    go("/forms/order")
    assert list(came.values()) == ["shop"], "any page of another app leads there"
    assert go("/views/away").current() == {"S Shop": "true"}
    came.update(dict.fromkeys(came, 'none"><script>'))
    assert go("/views/away").current() == {"S Shop": "true"}
    only_hr = site.token("apps/hr:read", "views/away:read")
    assert look(site, "/views/away", only_hr).current() == {"HR": "true"}, "an app that one may not open does not count"


# ---- the trail


def test_every_page_says_where_it_is(site: Site) -> None:
    root = site.token("**:*")
    record = site.send("/forms/order", {"what": "Screws"}, root)["Location"]
    site.put("/files/pics/2026/a.png", b"\x89PNG\r\n\x1a\n", root)
    order = [("Home", "/"), ("Shop", "/apps/shop"), ("Order", "/forms/order")]
    admin = [("Home", "/"), ("Administration", "/admin")]
    for target, trail in {
        "/": [("Home", "")],
        "/forms": [("Home", "/"), ("Forms", "")],
        "/apps/hr": [("Home", "/"), ("HR", "")],
        "/forms/order": [*order[:2], ("Order", "")],
        "/forms/order/records": [*order, ("Records", "")],
        record: [*order, ("Records", "/forms/order/records"), ("Screws", "")],
        record + "?_edit=1": [*order, ("Records", "/forms/order/records"), ("Screws", record), ("Edit", "")],
        "/files/pics/2026/": [("Home", "/"), ("Pics", "/files/pics/"), ("2026", "")],
        "/views/numbers": [("Home", "/"), ("Numbers", "")],
        "/admin": [("Home", "/"), ("Administration", "")],
        "/admin/audit": [*admin, ("Audit trail", "")],
        "/admin/metrics": [*admin, ("Metrics", "")],
        "/me": [("Home", "/"), ("Me", "")],
        "/forms/order/records/none": [*order, ("There is nothing here", "")],
        "/views/numbers?x=1": [("Home", "/"), ("Numbers", "/views/numbers"), ("This could not be understood", "")],
        "/nothing/here": [("Home", "/"), ("There is nothing here", "")],
        "/login": [("Home", "/"), ("Sign in", "")],
    }.items():  # fmt: skip
        assert look(site, target, root).trail == trail, target
    wrong = Page(site.submit("/forms/order", {"what": ""}, root))
    assert wrong.trail == [*order[:2], ("Order", "")]
    stranger = look(site, "/forms/order/records/none", site.token("views/away:read"))
    assert stranger.trail == [("Home", "/"), ("This is not open to you", "")], "what one may not open is not named"


def test_the_frame_stands_when_the_place_of_sessions_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    root = site.token("**:*")

    def away(*_: object, **__: object) -> None:
        raise app.Unavailable("provider main is away")

    monkeypatch.setattr(site.app.authority, "identify", away)
    reply = site.get("/forms/order", root, Accept="text/html")
    assert reply.status == 503
    assert Page(reply).bar == ["Home"]


# ---- home and the indexes


def test_home_has_the_apps_then_the_rest_by_app(site: Site) -> None:
    page = look(site, "/", site.token("**:*"))
    named = [name for name, _ in page.groups]
    assert named == ["Ops & <Co>", "Applications", "Shop", "HR", "Everything else", "Administration"]
    groups = dict(page.groups)
    assert groups["Applications"] == ["/apps/shop", "/apps/hr"]
    assert groups["Shop"] == ["/forms/order", "/forms/order/records", "/files/docs", "/views/away"]
    assert groups["HR"] == ["/forms/leave", "/forms/leave/records", "/views/away"]
    assert set(groups["Everything else"]) >= {"/files/pics", "/views/numbers", "/forms/open"}
    assert not {"/forms/order", "/forms/leave", "/files/docs"} & set(groups["Everything else"])
    less = look(site, "/", site.token("forms/leave:create", "views/numbers:read"))
    found = ["/forms/leave", "/forms/leave/mine", "/forms/open", "/forms/open/mine", "/views/numbers"]
    assert dict(less.groups)["Everything else"] == found
    reader = look(site, "/", site.token("forms/leave:read"))
    assert "/forms/leave/records" in dict(reader.groups)["Everything else"], "who cannot submit is led to the list"
    assert "/forms/leave" not in dict(reader.groups)["Everything else"]


def test_long_lists_at_home_are_folded_and_nothing_is_lost(make: Callable[..., Site]) -> None:
    views = "".join(f'[views.v{n}]\ntitle = "View {n}"\nfrom = "forms/leave"\n' for n in range(80))
    site = make(lambda toml: with_apps(toml) + views)
    root = site.token("**:*")
    text = site.get("/", root, Accept="text/html").text
    for n in range(80):
        assert f'href="/views/v{n}"' in text
    loose = text[text.index("Everything else") :]
    seen = loose[: loose.index("<details")]
    assert seen.count("<li>") == 5
    assert re.search(r"<summary>8\d more</summary>", loose)
    index = site.get("/views", root, Accept="text/html").text
    assert all(f'href="/views/v{n}"' in index for n in range(80))
    assert "<summary>" not in index[index.index("<main") :], "an index shows everything"


def test_where_nothing_is_open_the_page_says_what_to_do(site: Site) -> None:
    nothing = site.get("/views", site.token("forms/leave:create"), Accept="text/html").text
    assert "Nothing of this kind is open to you. Ask <bdi>the front desk</bdi> for access." in nothing
    stranger = site.get("/", Accept="text/html").text
    assert "There may be more for you here once you have signed in." in stranger


def test_the_footer_has_the_version_for_administrators_alone(site: Site) -> None:
    for token, is_shown in ((site.token("**:*"), True), (site.token("forms/**:*"), False), ("", False)):
        page = site.ask("GET", "/", None, PAGE, token).text
        footer = page[page.index("<footer") :]
        assert (f"Satchel {app.__version__}" in footer) == is_shown
        assert "the front desk" in footer
    assert re.findall(r'<a href="([^"]+)">', footer) == ["/forms"], "indexes of what there is for whoever looks"
