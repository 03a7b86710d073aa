"""Blocks on the page of an app: what each shows and for whom, and that none of them takes the page along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_client import FORM, JSON, PAGE, Site
from visitor import forms_of

import app

HOME = """
[views.total]
provider = "main"
sql = "select 3.5 as days"
[views.endless]
provider = "main"
timeout = "1s"
sql = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) as n from n"
[views.broken]
provider = "main"
sql = "select * from nowhere"
[views.picky]
provider = "main"
sql = "select :year as year"
params.year = { type = "integer", required = true }
[apps.board]
title = "Board"
home = [
  { number = "views/waiting", title = "To decide" }, { number = "views/total", title = "Days" },
  { number = "views/waiting?kind=unpaid", title = "Unpaid" },
  { view = "views/waiting?kind=paid", title = "Paid ones", limit = 2 }, { markdown = "welcome.md" },
  { files = "files/docs/2026", title = "Papers", limit = 2 }, { form = "forms/open", title = "Say it" },
  { form = "forms/leave", title = "Leave" }, { view = "views/broken", title = "Broken" },
]
"""


@pytest.fixture(scope="module", params=["", "/ops"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "welcome.md").write_text("# Welcome\n\nAsk in [the form](forms/leave).\n")
    for number in range(3):
        (folder / "disk" / "docs" / "2026").mkdir(parents=True, exist_ok=True)
        (folder / "disk" / "docs" / "2026" / f"{number}.txt").write_text("x")
    made = Site(folder, prefix=request.param, edit=lambda text: text + HOME)
    token = made.token("forms/leave:*")
    for number in range(1, 5):
        sent = {
            "day": f"2027-01-0{number}",
            "days": number,
            "kind": "unpaid" if number == 4 else "paid",
            "address": "A <b> & c",
        }
        assert made.ask("POST", f"{made.prefix}/forms/leave", json.dumps(sent).encode(), JSON, token).status == 201
    yield made
    made.close()


def blocks(text: str) -> dict[str, str]:
    """The HTML of each block by its title, "" without one."""
    found = re.findall(r'<section class="block.*?</section>', text, re.DOTALL)
    return {words((re.search("<h2.*?</h2>", one, re.DOTALL) or [""])[0]): one for one in found}


def words(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_each_block_shows_what_its_reader_may_see(site: Site) -> None:
    found = blocks(site.ask("GET", f"{site.prefix}/apps/board", headers=PAGE, token=site.token("**:*")).text)
    assert list(found) == ["To decide", "Days", "Unpaid", "Paid ones", "Welcome", "Papers", "Say it", "Leave", "Broken"]
    assert words(found["To decide"]) == "To decide 4"
    assert words(found["Days"]) == "Days 3.5"
    assert words(found["Unpaid"]) == "Unpaid 1"
    assert f'href="{site.prefix}/views/waiting?kind=unpaid"' in found["Unpaid"]
    assert words(found["Paid ones"]).startswith(
        "Paid ones Paid ones First day Days Kind Address 2027-01-01 1 paid A &lt;b&gt; &amp; c"
    )
    assert found["Paid ones"].count("<tr>") == 3
    assert f'href="{site.prefix}/views/waiting?kind=paid"' in found["Paid ones"]
    assert f'<a href="{site.prefix}/forms/leave">the form</a>' in found["Welcome"]
    assert found["Papers"].count("<li>") == 2
    assert f'href="{site.prefix}/files/docs/2026/"' in found["Papers"]
    assert words(found["Leave"]) == "Leave Open the form"
    assert "This could not be shown" in found["Broken"]
    assert f'<a href="{site.prefix}/apps/board">Try again</a>' in found["Broken"]


def test_rows_of_a_block_lead_where_those_of_the_view_do_for_whoever_may_open_that(site: Site) -> None:
    def hrefs(*grants: str) -> list[str]:
        page = site.ask("GET", f"{site.prefix}/apps/board", headers=PAGE, token=site.token("apps/board:read", *grants)).text
        return re.findall(r'<td[^>]*><a href="([^"]*)"', blocks(page)["Paid ones"])

    rows = site.get(f"{site.prefix}/forms/leave/records?kind=paid&_sort=day&_size=2", site.token("**:*")).json["items"]
    assert hrefs("views/waiting:read", "forms/leave:read") == [
        f"{site.prefix}/forms/leave/records/{row['id']}" for row in rows
    ]
    assert hrefs("views/waiting:read", "forms/leave:create") == []


LED = """
[views.led]
from = "forms/leave"
columns = { day = { link = "views/led?kind={kind}" }, days = {}, address = {} }
[apps.led]
home = [
  { view = "views/led?_columns=days,day", title = "Led" }, { view = "views/picky?year=soon", title = "Picky" },
  { view = "views/led?_columns=nothing", title = "Wrong" },
]
"""


def test_a_block_has_the_columns_it_asks_for_and_links_of_those_it_does_not_show(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text + HOME.partition("[apps.board]")[0] + LED)
    token = site.token("**:*")
    sent = {"day": "2027-01-01", "days": 3, "kind": "unpaid", "address": "here"}
    made = site.send("/forms/leave", sent, token).json
    found = blocks(site.get("/apps/led", token, **PAGE).text)
    assert words(found["Led"]) == "Led Led Days First day 3 2027-01-01"
    assert re.findall(r'<td[^>]*><a href="([^"]*)"', found["Led"]) == [
        f"/forms/leave/records/{made['id']}", "/views/led?kind=unpaid",
    ]  # fmt: skip
    assert "This could not be shown" in found["Picky"]  # a parameter is no number
    assert "This could not be shown" in found["Wrong"]
    site.close()


def test_no_two_things_on_a_page_have_one_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text("# Block 2\n## Main\n[up](#main) and[^1] twice[^1]\n\n[^1]: note\n")
    home = '[{ markdown = "a.md" }, { markdown = "b.md" }, { form = "forms/open" }, { number = "views/waiting" }]'
    site = Site(tmp_path, edit=lambda text: text + f"[apps.texts]\nhome = {home}\n")
    try:
        text = site.ask("GET", "/apps/texts", headers=PAGE, token=site.token("**:*")).text
        ids = re.findall(r'\sid="([^"]*)"', text)
        assert len(ids) == len(set(ids)) > 10
        assert set(re.findall(r'href="#([^"]*)"', text)) <= set(ids)
    finally:
        site.close()


def test_what_a_reader_may_not_open_is_not_there(site: Site) -> None:
    token = site.token("apps/board:read", "views/total:read", "forms/open:create", subject="bo")
    answer = site.ask("GET", f"{site.prefix}/apps/board", headers=PAGE, token=token)
    assert answer.status == 200
    assert list(blocks(answer.text)) == ["Days", "Welcome", "Say it"]
    told = site.ask("GET", f"{site.prefix}/apps/board", headers={"Accept": "application/json"}, token=token).json
    assert [one["address"] for one in told["blocks"]] == ["views/total", "", "forms/open"]
    assert site.ask("GET", f"{site.prefix}/apps/board", headers=PAGE, token=site.token("views/**:read")).status == 403


def test_programs_get_the_addresses_of_the_blocks_and_none_of_their_rows(site: Site) -> None:
    told = site.ask(
        "GET", f"{site.prefix}/apps/board", headers={"Accept": "application/json"}, token=site.token("**:*")
    ).json
    assert told["blocks"][2] == {"kind": "number", "address": "views/waiting?kind=unpaid", "title": "Unpaid"}
    assert "2027-" not in json.dumps(told)


def test_a_short_form_is_sent_from_the_page_itself(site: Site) -> None:
    token = site.token("**:*")
    form = next(
        one
        for one in forms_of(site.ask("GET", f"{site.prefix}/apps/board", headers=PAGE, token=token).text)
        if "/forms/open" in one.action
    )
    sent = site.ask("POST", form.action, b"text=hello", {**FORM, **PAGE}, token)
    assert sent.status == 303
    assert sent["Location"].startswith(f"{site.prefix}/forms/open?_sent=")


def test_a_block_that_takes_too_long_says_so_and_is_not_asked_for_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    dashboards, go, asked = app.plugin("dashboards"), threading.Event(), []

    def wait() -> int:
        asked.append(1)
        go.wait()
        return 5

    reading = dashboards.Reading(block_s=0.05, page_s=10)
    with pytest.raises(dashboards.Slow):
        reading.read("views/a", wait)
    with pytest.raises(dashboards.Slow):
        dashboards.Reading().read("views/a", wait)
    assert reading.read("views/b", lambda: 7) == 7
    with pytest.raises(app.NotFound):
        reading.read("views/b", lambda: (_ for _ in ()).throw(app.NotFound("gone")))
    with pytest.raises(dashboards.Slow):
        dashboards.Reading(page_s=0).read("views/b", lambda: 7)
    thread = next(one for one in threading.enumerate() if one.name == "block")
    go.set()
    thread.join()
    assert dashboards.Reading().read("views/a", lambda: 9) == 9
    assert len(asked) == 1


def test_forty_blocks_of_which_half_are_slow_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one slow view costs a page is the time of one block."""
    dashboards = app.plugin("dashboards")
    monkeypatch.setattr(dashboards, "_BLOCK_S", 0.6)
    monkeypatch.setattr(dashboards.Reading.__init__, "__defaults__", (0.6, 8.0))
    home = '{ number = "views/endless" }, { number = "views/numbers" }, ' * 20
    made = Site(tmp_path, edit=lambda text: text + HOME.partition("[apps.board]")[0] + f"[apps.many]\nhome = [{home}]\n")
    try:
        import time

        began = time.monotonic()
        answer = made.ask("GET", "/apps/many", headers=PAGE, token=made.token("**:*"))
        assert answer.status == 200
        assert time.monotonic() - began < 4
        assert answer.text.count("This takes too long to be shown here.") == 20
        assert answer.text.count('<p class="big">') == 20
    finally:
        made.close()


@pytest.mark.parametrize(("home", "told"), [
    ('[{ view = "views/wating" }]', "home.0 names 'views/wating', which is not a view such as views/open; did you"),
    ('[{ view = "forms/leave" }]', "home.0 names 'forms/leave', which is not a view"),
    ('[{ view = "views/waiting/x" }]', "home.0 names 'views/waiting/x', which is not a view"),
    ('[{ form = "views/waiting" }]', "home.0 names 'views/waiting', which is not a form"),
    ('[{ files = "files/none/2026" }]', "home.0 names 'files/none/2026', which is not a share"),
    ('[{ markdown = "none.md" }]', "home.0 names the file none.md, which is not beside app.toml"),
    ('[{ markdown = "../app.toml" }]', "home.0 names the file ../app.toml, which is not beside app.toml"),
    ('[{ markdown = "files/none/x.md" }]', "home.0 names 'files/none/x.md', which is not in a share"),
    ('[{ chart = "views/waiting" }]', "home.0 names views/waiting, which has no chart: declare [views.waiting.chart]"),
    ('[{ number = "views/waiting", limit = 3 }]', "home.0 has a limit, which goes with view or files"),
    ('[{ view = "views/waiting", limit = 1000 }]', "home.0 has the limit 1000; it is at most 100"),
    ('[{ view = "views/waiting?kind" }]', "home.0 has a query that cannot be read"),
    ('[{ view = "views/picky" }]', 'home.0 needs the parameter year of views/picky: write "views/picky?year=…"'),
    ("[{ title = \"x\" }]", "home.0 must name one of view, chart, form, number, files, markdown"),
    ("[" + '{ view = "views/waiting" }, ' * 41 + "]", "home has 41 blocks; a page has at most 40"),
    ('"views"', "home must be a form or view such as forms/leave, a template .html or .tpl, or a list of blocks"),
], ids=lambda one: one[:40] if isinstance(one, str) else None)  # fmt: skip
def test_a_wrong_block_is_refused_at_start(tmp_path: Path, home: str, told: str) -> None:
    declared = HOME.partition("[apps.board]")[0] + f"[apps.board]\nhome = {home}\n"
    with pytest.raises(app.ConfigError) as error:
        Site(tmp_path, edit=lambda text: text + declared)
    found = [f"{one.pointer.removeprefix('apps.board.')} {one.detail}" for one in error.value.faults or ()]
    assert any(one.startswith(told) for one in found), found


def test_titles_of_blocks_are_said_in_the_readers_language(tmp_path: Path) -> None:
    words_ = '[i18n.de]\n"apps.board.home.Days" = "Tage"\n"apps.board.title" = "Tafel"\n'
    (tmp_path / "welcome.md").write_text("x")
    made = Site(tmp_path, edit=lambda text: text + HOME + words_)
    try:
        german = {**PAGE, "Accept-Language": "de"}
        found = blocks(made.ask("GET", "/apps/board", headers=german, token=made.token("**:*")).text)
        assert words(found["Tage"]) == "Tage 3,5"
        assert "Das konnte nicht gezeigt werden" in found["Broken"]
    finally:
        made.close()


HIDDEN = """
[roles.hr]
[forms.pay.fields]
who = { type = "string" }
salary = { type = "number", read_by = "hr" }
[views.sum]
from = "forms/pay"
columns = { paid = { sum = "salary" } }
[views.pays]
from = "forms/pay"
columns = { who = {}, salary = {} }
[views.salaries]
from = "forms/pay"
columns = { salary = {} }
[apps.pay]
home = [
  { number = "views/sum", title = "Paid" }, { number = "views/pays?salary__gt=1", title = "Many" },
  { view = "views/salaries", title = "Salaries" }, { view = "views/pays?_sort=-salary", title = "Highest" },
  { view = "views/pays", title = "All" },
]
"""


def test_a_block_of_hidden_columns_alone_is_not_there_and_says_no_number(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text + HIDDEN)
    assert site.send("/forms/pay", {"who": "Ann", "salary": 4711}, site.token("**:*")).status == 201
    shown = {
        role: list(
            blocks(site.ask("GET", "/apps/pay", None, PAGE, site.token("apps/*:read", "views/*:read", roles=role)).text)
        )
        for role in ((), ("hr",))
    }
    site.close()
    assert shown == {(): ["All"], ("hr",): ["Paid", "Many", "Salaries", "Highest", "All"]}
