"""Saved filters (plugins/saved_filters.py): one's own, under a name; and menu entries with a query, for everybody."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from http_client import PAGE, Reply, Site
from visitor import HtmlForm, forms_of

TOML = """
[site]
title = "Operations"
MENU
[http]
hosts = ["localhost"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[roles.hr]
grants = ["forms/leave:*", "views/*:read"]
[roles.staff]
grants = ["forms/leave:create"]
[forms.leave]
title = "Leave"
[forms.leave.fields]
who = { type = "string", title = "Who", required = true }
days = { type = "number" }
kind = { type = "string", enum = ["paid", "unpaid"] }
[views.open]
title = "Open leave"
from = "forms/leave"
order_by = ["who"]
"""
LIST = "/forms/leave/records?kind=paid&_sort=-days"


def made(folder: Path, menu: str = "", edit: tuple[str, str] = ("", "")) -> Site:
    return Site(folder, edit=lambda _: TOML.replace("MENU", menu).replace(*edit))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = made(tmp_path)
    yield found
    found.close()


def person(site: Site, subject: str = "maria", role: str = "hr") -> str:
    """The cookie of somebody who was invited and has signed in."""
    invited = site.send("/admin/people", {"subject": subject, "roles": [role]}, site.token("**:*", subject="root"))
    return site.sign_in(invited.json["link"])


def forms(reply: Reply, place: str) -> list[HtmlForm]:
    return [one for one in forms_of(reply.text) if one.action.startswith(f"/me/filters{place}")]


def press(site: Site, form: HtmlForm, cookie: str, **typed: str) -> Reply:
    return site.submit(form.action, form.fields | typed, cookie, Sec_Fetch_Site="same-origin")


def keep(site: Site, cookie: str, title: str = "Paid leave", address: str = LIST) -> Reply:
    return press(site, forms(site.get(address, cookie, **PAGE), "")[0], cookie, title=title)


def tabs(reply: Reply) -> list[str]:
    """What stands above a list, the one that is seen with a star."""
    found = re.search(r'<nav aria-label="Saved filters">(.*?)</nav>', reply.text, re.DOTALL)
    links = re.findall(r"<a [^>]*?(aria-current)?[^>]*>(?:<bdi>)?(.*?)(?:</bdi>)?</a>", found[1], re.DOTALL) if found else []
    current = re.findall(r'<a [^>]*aria-current="page"[^>]*>(?:<bdi>)?(.*?)(?:</bdi>)?</a>', found[1]) if found else []
    return [html.unescape(text) + "*" * (text in current) for _, text in links]


def send(site: Site, cookie: str, value: object, place: str = "", method: str = "POST") -> Reply:
    return site.send(f"/me/filters{place}", value, cookie, method, Sec_Fetch_Site="same-origin")


def test_a_filter_is_saved_found_again_renamed_and_deleted(site: Site) -> None:
    cookie = person(site)
    assert tabs(site.get("/forms/leave/records", cookie, **PAGE)) == []
    kept = keep(site, cookie)
    assert (kept.status, kept["Location"]) == (303, LIST)
    assert tabs(site.get("/forms/leave/records", cookie, **PAGE)) == ["All*", "Paid leave"]
    here = site.get(LIST, cookie, **PAGE)
    assert tabs(here) == ["All", "Paid leave*"]
    renamed = press(site, forms(here, "/")[0], cookie, title="Paid")
    assert renamed["Location"] == LIST
    assert tabs(site.get(LIST, cookie, **PAGE)) == ["All", "Paid*"]
    mine = site.get("/me", cookie, **PAGE)
    assert "Saved filters" in mine.text
    opened = site.get(re.search(r'href="(/me/filters/\w+)"', mine.text)[1], cookie, **PAGE)
    assert (opened.status, opened["Location"]) == (303, LIST)
    gone = press(site, forms(mine, "/")[0], cookie, do="delete")
    assert gone["Location"] == "/me"
    assert tabs(site.get(LIST, cookie, **PAGE)) == []


def test_a_filter_is_there_for_its_owner_alone_and_not_for_tokens(site: Site) -> None:
    cookie, other = person(site), person(site, "bo")
    keep(site, cookie)
    id_ = site.get("/me/filters", cookie).json["items"][0]["id"]
    assert tabs(site.get(LIST, other, **PAGE)) == []
    for method, value in (("GET", None), ("POST", {"title": "x"}), ("DELETE", None)):
        assert send(site, other, value, f"/{id_}", method).status == 404
    token = site.token("**:*", subject="maria")
    assert site.get("/me/filters", token).status == 403
    assert site.get("/me/filters").status == 401
    assert "/me/filters" not in site.get(LIST, token, **PAGE).text
    assert "/me/filters" not in site.get(LIST, site.sign_in(token), **PAGE).text
    assert site.get("/me", token).json["filters"] == []
    assert site.get("/me", cookie).json["filters"][0]["title"] == "Paid leave"


def test_what_is_saved_twice_under_a_name_is_there_once(site: Site) -> None:
    cookie = person(site)
    form = forms(site.get(LIST, cookie, **PAGE), "")[0]
    assert [press(site, form, cookie, title="Paid").status for _ in range(2)] == [303, 303]
    keep(site, cookie, "PAID", "/forms/leave/records?kind=unpaid")
    [one] = site.get("/me/filters", cookie).json["items"]
    assert (one["title"], one["query"], one["list"]) == ("PAID", "kind=unpaid", "forms/leave/records")


def test_a_filter_outlives_a_column_and_says_what_it_does_without(site: Site, tmp_path: Path) -> None:
    cookie = person(site)
    keep(site, cookie, address="/forms/leave/records?kind=paid&days__gte=2&_sort=-days&_q=ann")
    site.close()
    later = made(tmp_path, edit=('days = { type = "number" }\n', ""))
    shown = later.get("/forms/leave/records", cookie, **PAGE)
    assert tabs(shown) == ["All*", "Paid leave"]
    place = re.search(r'href="(/me/filters/\w+)"', shown.text)[1]
    opened = later.get(place, cookie, **PAGE)
    assert opened["Location"] == "/forms/leave/records?kind=paid&_q=ann"
    said = re.search(r"satchel_notice_\w+=[\w.-]+", opened["Set-Cookie"])[0]
    words = html.unescape(later.get(opened["Location"], **PAGE, Cookie=f"{cookie}; {said}").text)
    assert "this list does not take days__gte, _sort any more" in words
    later.close()


def test_a_filter_of_a_list_that_is_gone_can_still_be_deleted(site: Site, tmp_path: Path) -> None:
    cookie = person(site)
    keep(site, cookie, address="/views/open?days__gte=2")
    site.close()
    later = made(tmp_path, edit=("[views.open]", "[views.other]"))
    mine = later.get("/me", cookie, **PAGE)
    assert "views/open" in mine.text
    assert later.get(re.search(r'href="(/me/filters/\w+)"', mine.text)[1], cookie, **PAGE).status == 404
    assert press(later, forms(mine, "/")[0], cookie, do="delete").status == 303
    assert later.get("/me/filters", cookie).json["items"] == []
    later.close()


def test_programs_of_a_page_keep_filters_as_json_and_hear_what_is_wrong(site: Site) -> None:
    cookie = person(site)
    good = {"title": "Two days", "list": "views/open", "query": "?days__gte=2&_next=abc"}
    first, again = send(site, cookie, good), send(site, cookie, good)
    assert (first.status, again.status) == (201, 200)
    assert (first.json["query"], first.json["href"]) == ("days__gte=2", "/views/open?days__gte=2")
    assert send(site, cookie, {"title": "2"}, f"/{first.json['id']}").json["title"] == "2"
    [one] = site.get("/me/filters", cookie).json["items"]
    for wrong, place in (
        ({"title": ""}, "/title"), ({"title": "x" * 61}, "/title"), ({"title": 7}, "/title"),
        ({"list": "views/gone"}, "/list"), ({"list": "files/x"}, "/list"), ({"list": "https://evil.example"}, "/list"),
        ({"list": "admin/people"}, "/list"), ({"query": ""}, "/query"), ({"query": "_next=x"}, "/query"),
        ({"query": "x=" + "y" * 2000}, "/query"), ({"query": "x=\ud800"}, "/query"),
    ):  # fmt: skip
        refused = send(site, cookie, good | wrong)
        assert (refused.status, [fault["pointer"] for fault in refused.json["errors"]]) == (422, [place]), wrong
    assert send(site, cookie, good | {"query": "&".join(f"a{n}=1" for n in range(40))}).status == 400
    assert send(site, cookie, [1]).status == 400
    assert send(site, cookie, None, f"/{one['id']}", "DELETE").status == 204
    assert site.get("/me/filters", cookie).json["items"] == []
    for number in range(50):
        assert send(site, cookie, good | {"title": f"F{number}"}).status == 201
    assert send(site, cookie, good).status == 409
    assert send(site, cookie, good | {"title": "F7"}).status == 200


def test_a_page_elsewhere_saves_nothing(site: Site) -> None:
    cookie = person(site)
    form = forms(site.get(LIST, cookie, **PAGE), "")[0]
    sent = form.fields | {"title": "x"}
    assert site.submit(form.action, sent, cookie, Sec_Fetch_Site="cross-site").status == 403
    assert site.submit(form.action, sent | {"_token": "x"}, cookie).status == 403
    assert site.get("/me/filters", cookie).json["items"] == []


def test_for_everybody_an_administrator_gets_a_line_that_app_toml_takes(site: Site, tmp_path: Path) -> None:
    cookie, root = person(site), person(site, "boss", "hr")
    assert "For everybody" not in site.get(LIST, cookie, **PAGE).text
    changed = site.send("/admin/people/boss", {"grants": ["**:*"]}, site.token("**:*", subject="root"), "PATCH")
    assert changed.status == 200
    form = forms(site.get(LIST, root, **PAGE), "")[0]
    shown = press(site, form, root, title='Paid "x"', do="line")
    line = html.unescape(re.search(r"<code>(\{.*?\})</code>", shown.text)[1])
    assert line == '{ title = "Paid \\"x\\"", href = "forms/leave/records?kind=paid&_sort=-days" }'
    assert press(site, form, cookie, title="x", do="line").status == 403
    site.close()
    later = made(tmp_path, f"menu = [{line}]")
    menu = later.get("/", cookie, **PAGE).text
    assert 'href="/forms/leave/records?kind=paid&amp;_sort=-days"' in menu
    assert "Paid &quot;x&quot;" in menu
    assert later.get("/", person(later, "eve", "staff"), **PAGE).text.count("Paid &quot;x&quot;") == 0
    later.close()
