"""Options of fields: what can be chosen comes from a view, from a form or from the people of the site, at every door."""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import PAGE
from http_client import Site as Pages
from sites import PROVIDERS, REGISTRY, Site, registry_with
from test_drafts import action
from visitor import forms_of

import app
from app import Forbidden, Invalid, NotFound, Query, Unavailable

TEAMS = """
[forms.teams]
[forms.teams.fields]
code = { required = true }
name = { title = "Name" }
size = { type = "integer" }
kind = { oneOf = [{ const = "x", title = "Extern" }, { const = "i", title = "Inner" }] }
lead = { options = { form = "teams", value = "id", label = "name" } }
papers = { type = "array", items = { enum = ["a"] } }
[views.large]
from = "forms/teams"
where = [{ field = "size", gte = 5 }]
columns = { code = {}, name = {} }
order_by = ["-code"]
[views.counted]
sql = "select 7 as code, 'Seven' as name, 'hush' as secret union all select 8, 'Eight', 'hush' order by 1"
[views.asked]
sql = "select :top as code"
params.top = { type = "integer", required = true }
"""
ASSETS = """
[forms.assets]
name = "{what} ({team})"
[forms.assets.fields]
what = { title = "What", required = true }
team = { title = "Team", options = { form = "forms/teams", value = "code", label = "name" } }
large = { title = "Large", options = { view = "large", value = "code", label = "name" } }
counted = { title = "Counted", type = "integer", options = { view = "views/counted", value = "code", label = "name" } }
teams = { title = "Teams", type = "array", options = { form = "teams", value = "code", label = "name" } }
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, PROVIDERS["sql"] + TEAMS + ASSETS)
    fill(one)
    yield one
    one.close()


def fill(site: Site, count: int = 3) -> None:
    for n in range(count):
        site.create("forms/teams", {"code": f"t{n}", "name": f"Team {n}", "size": n * 3})


def faults_of(ask: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        ask()
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


# ---- the declaration


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ('{ form = "teams", view = "large", value = "code" }', "", "names both"),
        ('{ value = "code" }', "", "names neither a view nor a form: write { form ="),
        ('{ form = "teems", value = "code" }', ".form", "names 'teems', which is no form; did you mean forms/teams?"),
        ('{ view = "views/lrge", value = "code" }', ".view", "which is no view; did you mean views/large?"),
        (
            '{ form = "teams", value = "cod" }',
            ".value",
            "names 'cod', which is no column of forms/teams; did you mean code?",
        ),
        ('{ form = "teams", value = "code", label = "nam" }', ".label", "did you mean name?"),
        ('{ view = "large", value = "size" }', ".value", "which is no column of views/large"),
        ('{ view = "asked", value = "code" }', ".view", "whose parameter top must be given"),
        ('{ form = "teams", value = "size" }', ".value", "holds values of type integer, and this field takes"),
        ('{ form = "teams", value = "papers" }', ".value", "holds values of type array"),
        ('{ form = "teams" }', ".value", "is missing"),
        ('{ form = "teams", value = "code", lable = "name" }', ".lable", "did you mean label?"),
    ],
)
def test_a_wrong_declaration_is_a_fault_at_start(tmp_path: Path, options: str, place: str, words: str) -> None:
    toml = TEAMS + f"[forms.assets.fields]\nteam = {{ options = {options} }}\n"
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + toml)
    assert [fault.pointer for fault in caught.value.faults] == [f"forms.assets.fields.team.options{place}"]
    assert words in caught.value.faults[0].detail


@pytest.mark.parametrize(
    ("field", "setting", "words"),
    [
        ('{ enum = ["a"], options = { form = "teams", value = "code" } }', "options", "stands beside other choices"),
        ('{ format = "date", options = { form = "teams", value = "code" } }', "options", 'stands beside format = "date"'),
        ('{ type = "boolean", options = { form = "teams", value = "code" } }', "options", "goes with a text, a number"),
        ('{ placeholder = "x", options = { form = "teams", value = "code" } }', "placeholder", "this one is chosen"),
        ('{ type = "integer", format = "person" }', "format", "type string"),
        ('{ format = "person", default = "$today" }', "default", "goes with format"),
    ],
)
def test_what_does_not_go_with_choices_is_a_fault(tmp_path: Path, field: str, setting: str, words: str) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + TEAMS + f"[forms.assets.fields]\nteam = {field}\n")
    found = {fault.pointer: fault.detail for fault in caught.value.faults}
    assert words in found[f"forms.assets.fields.team.{setting}"]


def test_a_person_is_chosen_in_forms_alone(tmp_path: Path) -> None:
    toml = '[views.of]\nsql = "select :who as who"\nparams.who = { format = "person" }\n'
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + toml)
    [fault] = caught.value.faults
    assert fault.detail == '"person" is for the fields of forms'


def test_fields_whose_options_go_in_a_circle_are_a_fault(tmp_path: Path) -> None:
    toml = """
    [forms.a.fields]
    x = { options = { form = "b", value = "y" } }
    other = { options = { view = "of_a", value = "name", label = "x" } }
    name = {}
    [forms.b.fields]
    y = { options = { form = "c", value = "id", label = "z" } }
    [forms.c.fields]
    z = { options = { view = "of_a", value = "x" } }
    [views.of_a]
    from = "forms/a"
    columns = { name = {}, x = {} }
    """
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, PROVIDERS["sql"] + toml)
    [fault] = caught.value.faults
    assert fault.pointer == "forms.a.fields.x.options"
    assert "goes in a circle: forms/a.x reads forms/b.y reads forms/c.z reads forms/a.x" in fault.detail
    own = '[forms.a.fields]\nx = { options = { form = "a", value = "x" } }\n'
    with pytest.raises(app.ConfigError, match=r"circle|fault"):
        Site(tmp_path, PROVIDERS["sql"] + own)


# ---- values


def test_what_is_chosen_is_checked_at_the_source_when_it_is_written(site: Site) -> None:
    good = {"what": "desk", "team": "t1", "large": "t2", "counted": 7, "teams": ["t0", "t2"]}
    made = site.create("forms/assets", good)
    assert {name: made.data[name] for name in good} == good
    wrong = good | {"team": "T1", "large": "t1", "counted": 9, "teams": ["t0", "no"]}
    expected = [("/team", "options"), ("/large", "options"), ("/counted", "options"), ("/teams/1", "options")]
    assert faults_of(lambda: site.create("forms/assets", wrong)) == expected
    assert faults_of(lambda: site.patch(made.location, wrong)) == expected
    assert faults_of(lambda: site.create("forms/assets", [good, good | {"team": "no"}])) == [("/1/team", "options")]
    assert faults_of(lambda: site.create("forms/assets", {"team": "no"})) == [("/what", "required"), ("/team", "options")]
    assert faults_of(lambda: site.create("forms/assets", good | {"team": 1})) == [("/team", "type")]
    assert len(site.items("forms/assets/records")) == 1


def test_a_batch_asks_for_each_value_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Any]] = []
    named = app.plugin("options").Choices.named

    def counted(self: Any, values: Any, **facts: Any) -> Any:
        asked.append(list(values))
        return named(self, values, **facts)

    monkeypatch.setattr(app.plugin("options").Choices, "named", counted)
    site.create("forms/assets", [{"what": "x", "team": f"t{n % 2}"} for n in range(100)])
    assert asked[:2] == [["t0"], ["t1"]]
    assert [one for one in asked if one not in (["t0"], ["t1"])] == []


def test_a_stored_value_that_the_source_has_no_longer_is_shown_and_kept(site: Site) -> None:
    made = site.create("forms/assets", {"what": "desk", "team": "t1", "teams": ["t1", "t2"]})
    [team] = [row["id"] for row in site.items("forms/teams/records?code=t1")]
    site.delete(f"forms/teams/records/{team}")
    changed = site.patch(made.location, {"what": "chair", "teams": ["t0", "t1"]}).data
    assert (changed["team"], changed["teams"]) == ("t1", ["t0", "t1"])
    assert site.read(made.location).page["called"] == "chair (t1)"
    assert faults_of(lambda: site.patch(made.location, {"teams": ["t1", "t9"]})) == [("/teams/1", "options")]
    site.patch(made.location, {"team": None})
    assert faults_of(lambda: site.patch(made.location, {"team": "t1"})) == [("/team", "options")]


def test_labels_stand_in_names_lists_views_and_spreadsheets_and_values_for_programs(tmp_path: Path) -> None:
    view = '[views.of_assets]\nfrom = "forms/assets"\ncolumns = { team = {}, teams = {}, counted = {} }\n'
    pages = Pages(tmp_path, edit=lambda toml: toml + (TEAMS + ASSETS + view).replace("sql = ", 'provider = "main"\nsql = '))
    token = pages.token("**:*")
    for n in range(3):
        pages.send("/forms/teams", {"code": f"t{n}", "name": f"Team {n}", "size": n}, token)
    sent = {"what": "desk", "team": "t1", "counted": 8, "teams": ["t0", "t2"]}
    record = pages.send("/forms/assets", sent, token).json
    address = f"/forms/assets/records/{record['id']}"
    for at in ("/forms/assets/records", address, "/views/of_assets"):
        page = html.unescape(pages.get(at, token, **PAGE).text)
        assert "Team 1" in page
        assert "Eight" in page
        assert "Team 0, Team 2" in page
        assert "hush" not in page
    assert "<title>desk (Team 1)" in pages.get(address, token, **PAGE).text
    assert pages.get("/forms/assets/records.csv", token).text.splitlines()[1].split(",")[2:4] == ["t1", ""]
    excel = pages.get("/forms/assets/records.csv?_for=excel", token).text
    assert "Team 1" in excel
    assert "Team 0, Team 2" in excel
    assert pages.get(address, token).json["team"] == "t1"
    assert pages.get("/forms/assets/records.ndjson", token).text.count("Team") == 0
    assert pages.get("/forms/assets/records.xlsx", token).status == 200
    pages.close()


def test_labels_of_a_list_are_asked_for_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, 60)
    site.create("forms/assets", [{"what": "x", "team": f"t{n}"} for n in range(60)])
    source = app.plugin("options")._FormSource
    asked: list[int] = []
    named = source.named

    def counted(self: Any, values: Any, locale: Any) -> Any:
        asked.append(len(values))
        return named(self, values, locale)

    monkeypatch.setattr(source, "named", counted)
    table = site.read("forms/assets/records?_size=60").table
    [column] = [one for one in table.columns if one.name == "team"]
    texts = site.app.languages.site.texts(column, [row["team"] for row in table.rows])
    assert texts[0] == "Team 59"
    assert asked == [60]
    rows = site.read("forms/assets/records", whole=True).table
    _, cells, _ = site.app.languages.site.spreadsheet(rows.columns, rows.rows)
    assert sum("Team" in line[2] for line in cells) == 60
    assert len([one for one in asked if one == 60]) == 2


def test_the_label_may_be_a_choice_itself(tmp_path: Path) -> None:
    toml = """
    [forms.desks.fields]
    no = { type = "integer", required = true }
    team = { options = { form = "teams", value = "code", label = "name" } }
    [forms.plugs.fields]
    desk = { type = "integer", options = { form = "desks", value = "no", label = "team" } }
    kind = { options = { form = "teams", value = "code", label = "kind" } }
    """
    site = Site(tmp_path, PROVIDERS["sql"] + TEAMS + toml)
    site.create("forms/teams", {"code": "t0", "name": "Team 0", "kind": "x"})
    site.create("forms/desks", {"no": 4, "team": "t0"})
    assert site.read("forms/plugs/options/desk").data["items"] == [{"value": 4, "label": "Team 0"}]
    assert site.read("forms/plugs/options/kind").data["items"] == [{"value": "t0", "label": "Extern"}]
    assert site.read("forms/plugs/options/kind?_q=EXT").data["items"] == [{"value": "t0", "label": "Extern"}]
    site.close()


# ---- who may ask


def test_choices_are_for_whoever_may_submit_or_change_and_need_no_grant_on_their_source(site: Site) -> None:
    items = [{"value": f"t{n}", "label": f"Team {n}"} for n in range(3)]
    for grant in ("forms/assets:create", "forms/assets/records:update", "forms/*:create", "**:*"):
        by = site.token("ann", grant)
        assert site.read("forms/assets/options/team", by=by).data == {"items": items, "more": False}
    for grants in (["forms/assets:read"], ["forms/teams:*", "views/**:read"], ["forms/assets/records:delete"]):
        with pytest.raises(Forbidden):
            site.read("forms/assets/options/team", by=site.token("ann", *grants))
    for address in ("forms/assets/options/what", "forms/assets/options/nothing", "forms/teams/options/code"):
        with pytest.raises(NotFound):
            site.read(address)
    ann = site.token("ann", "forms/assets:create")
    assert site.create("forms/assets", {"what": "x", "team": "t1"}, by=ann).data["team"] == "t1"
    with pytest.raises(Forbidden):
        site.items("forms/teams/records", by=ann)


def test_a_search_looks_at_labels_alone(site: Site) -> None:
    def found(text: str, field: str = "team") -> list[Any]:
        return [one["value"] for one in site.read(f"forms/assets/options/{field}", params={"_q": text}).data["items"]]

    assert found("team 2") == ["t2"]
    assert found("t1") == ["t1"]  # the very value
    assert found("EIGHT", "counted") == [8]
    assert found("hush", "counted") == []
    assert found("team", "large") == ["t2"]
    assert site.read("forms/assets/options/large").data["items"] == [{"value": "t2", "label": "Team 2"}]
    assert site.read("forms/assets").data["properties"]["team"]["x-options"] == "forms/assets/options/team"


# ---- a source that is away


class _Slow(app.SqlProvider):
    """A database that is away, or takes its time, when a test says so."""

    kind = "slow"
    failing: app.AppError | None = None
    told: list[str] = []  # noqa: RUF012 (of a class that one test has at a time)

    def find(self, query: Query) -> app.Page:
        if self.failing:
            raise self.failing
        return super().find(query)


REST = '[providers.rest]\nkind = "slow"\nurl = "sqlite:///rest.db"\n'


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Site]:
    """A site whose source of choices is in a database of its own."""
    toml = PROVIDERS["sql"] + REST + TEAMS.replace("[forms.teams]", '[forms.teams]\nprovider = "rest"', 1) + ASSETS
    _Slow.failing = None
    one = Site(tmp_path, toml, registry=registry_with(_Slow))
    fill(one)
    yield one
    one.close()


def test_a_write_to_a_form_whose_source_is_away_is_refused_for_now(away: Site) -> None:
    made = away.create("forms/assets", {"what": "desk", "team": "t1"})
    _Slow.failing = Unavailable("main: the database is away")
    for write in (
        lambda: away.create("forms/assets", {"what": "x", "team": "t1"}),
        lambda: away.patch(made.location, {"team": "t2"}),
    ):
        with pytest.raises(Unavailable) as caught:
            write()
        assert caught.value.retry
        assert [fault.pointer for fault in caught.value.faults] == ["/team"]
    assert away.patch(made.location, {"what": "chair"}).data["team"] == "t1"
    assert away.create("forms/assets", {"what": "y"}).created
    assert away.read(made.location).page["called"] == "chair (t1)"
    _Slow.failing = None
    assert away.patch(made.location, {"team": "t2"}).data["team"] == "t2"
    assert away.read(made.location).page["called"] == "chair (Team 2)"


def test_a_source_that_another_machine_keeps_waiting_is_given_up(away: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    options = app.plugin("options")
    monkeypatch.setattr(options, "PATIENCE_S", 0.2)
    monkeypatch.setattr(options, "_SLOW_S", 0.1)
    provider, asked = away.app.providers["rest"], threading.Event()
    monkeypatch.setattr(provider, "places", list)
    monkeypatch.setattr(provider, "find", lambda query: asked.wait(20))
    with pytest.raises(Unavailable):
        away.create("forms/assets", {"what": "x", "team": "t1"})
    assert options.choices(away.app.resources["forms/assets"], "team").is_away
    assert away.create("forms/assets", {"what": "y"}).name == "y"
    asked.set()


def test_a_page_waits_once_for_a_source_that_does_not_answer(away: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    options = app.plugin("options")
    monkeypatch.setattr(options, "PATIENCE_S", 0.2)
    monkeypatch.setattr(options, "_SLOW_S", 0.1)
    provider, asked, count = away.app.providers["rest"], threading.Event(), list[Query]()
    monkeypatch.setattr(provider, "places", list)
    monkeypatch.setattr(provider, "find", lambda query: (count.append(query), asked.wait(20)))
    page = away.read("forms/assets").page
    inputs = page["lookups"].filled(app.plugin("controls").inputs(page["form"]), None)
    said = [one.name for one in inputs if "cannot be shown at the moment" in one.help]
    assert said == ["team", "large", "teams"]
    assert len(count) == 1
    asked.set()


def test_a_site_with_a_fault_in_its_options_can_be_looked_at(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + TEAMS + ASSETS.replace('"forms/teams"', '"forms/teens"').replace('"large"', '"lrge"')
    config = app.read_config(tomllib.loads(toml), tmp_path, "app.toml", REGISTRY.provider_settings)
    looked_at = app.App(config, REGISTRY, strict=False)
    assert len(looked_at.faults) == 2
    assert "teams" in looked_at.needed()["main"]
    looked_at.open()
    assert looked_at.inspection.check() == looked_at.faults
    looked_at.close()


def test_what_is_asked_of_a_source_gets_an_index(site: Site) -> None:
    [needed] = site.app.needed().values()
    asked = {(tuple(one.field for one in query.where), query.order_by) for query in needed["teams"]}
    assert {(("code",), ()), ((), ("name",)), (("size", "code"), ()), (("size",), ("-code",))} <= asked


# ---- people


PERSON = """
[forms.tasks]
name = "{what}: {who}"
[forms.tasks.fields]
what = { required = true }
who = { title = "Who", format = "person", default = "$me" }
"""


def test_a_person_is_one_of_the_people_and_shown_by_name(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + PERSON)
    for subject, name in (("ann", "Ann Blue"), ("bo", "Bo Green"), ("cy", "")):
        site.create("admin/people", {"subject": subject, "name": name})
    ann = site.token("ann", "forms/tasks:create", "forms/tasks/records:*")
    offered = site.read("forms/tasks/options/who", by=ann).data["items"]
    assert sorted(offered, key=str) == [
        {"value": "ann", "label": "Ann Blue"}, {"value": "bo", "label": "Bo Green"}, {"value": "cy", "label": "cy"},
    ]  # fmt: skip
    assert site.read("forms/tasks/options/who?_q=GREEN", by=ann).data["items"] == [{"value": "bo", "label": "Bo Green"}]
    made = site.create("forms/tasks", {"what": "dig"}, by=ann)
    assert (made.data["who"], made.name) == ("ann", "dig: Ann Blue")
    assert faults_of(lambda: site.create("forms/tasks", {"what": "dig", "who": "nobody"}, by=ann)) == [("/who", "options")]
    program = site.token("robot", "forms/tasks:create")
    assert site.create("forms/tasks", {"what": "dig"}, by=program).data["who"] == "robot"
    site.patch("admin/people/bo", {"suspended": True})
    assert faults_of(lambda: site.create("forms/tasks", {"what": "dig", "who": "bo"}, by=ann)) == [("/who", "options")]
    assert site.patch(made.location, {"who": "cy"}, by=ann).name == "dig: cy"
    site.close()


def test_people_who_were_removed_keep_their_name(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + PERSON)
    site.create("admin/people", {"subject": "bo", "name": "Bo Green"})
    made = site.create("forms/tasks", {"what": "dig", "who": "bo"})
    site.delete("admin/people/bo")
    assert site.read(made.location).page["called"] == "dig: Bo Green"
    assert site.patch(made.location, {"what": "plant"}).name == "plant: Bo Green"
    assert faults_of(lambda: site.create("forms/tasks", {"what": "dig", "who": "bo"})) == [("/who", "options")]
    site.create("admin/people", {"subject": "bo", "name": "Bo Black"})
    assert site.read(made.location).page["called"] == "plant: Bo Black"
    site.close()


def test_several_people_are_an_array(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + '[forms.tours.fields]\nwith = { type = "array", format = "person" }\n')
    for subject, name in (("ann", "Ann Blue"), ("bo", "Bo Green")):
        site.create("admin/people", {"subject": subject, "name": name})
    made = site.create("forms/tours", {"with": ["bo", "ann"]})
    assert made.name == "Bo Green, Ann Blue"
    assert faults_of(lambda: site.create("forms/tours", {"with": ["ann", "nobody"]})) == [("/with/1", "options")]
    assert faults_of(lambda: site.create("forms/tours", {"with": ["ann", 5]})) == [("/with/1", "type")]
    assert faults_of(lambda: site.create("forms/tours", {"with": ["ann", "ann"]})) == [("/with", "uniqueItems")]
    schema = site.read("forms/tours").data["properties"]["with"]
    assert (schema["type"], schema["x-format"], schema["x-options"]) == ("array", "person", "forms/tours/options/with")
    site.close()


# ---- pages


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    one = Pages(tmp_path, edit=lambda toml: toml + (TEAMS + ASSETS).replace("sql = ", 'provider = "main"\nsql = '))
    yield one
    one.close()


def fill_pages(pages: Pages, count: int) -> str:
    token = pages.token("**:*")
    teams = [{"code": f"t{n}", "name": f"Team {n:02}", "size": n} for n in range(count)]
    assert pages.send("/forms/teams", teams, token).status == 201
    return token


def options_in(page: str, name: str) -> list[tuple[str, str, bool]]:
    """(value, title, whether it is selected) of what a select offers."""
    inner = re.search(rf'<select[^>]*name="{name}".*?</select>', page, re.DOTALL)
    assert inner
    found = re.findall(r'<option value="([^"]*)"( selected)?>([^<]*)</option>', inner[0])
    return [(value, html.unescape(title), bool(selected)) for value, selected, title in found]


def test_a_page_has_a_select_of_up_to_fifty_choices(pages: Pages) -> None:
    token = fill_pages(pages, 50)
    page = pages.get("/forms/assets?team=t7", token, **PAGE).text
    found = options_in(page, "team")
    assert len(found) == 51
    assert ("t7", "Team 07", True) in found
    assert "_find_team" not in page
    assert len(re.findall(r'<input type="checkbox"[^>]*name="teams"', page)) == 50
    sent = pages.submit(action(pages.get("/forms/assets", token, **PAGE)), {"what": "x", "team": "no"}, token)
    assert sent.status == 422
    assert ("no", "no (no longer offered)", True) in [
        (value, title, chosen) for value, title, chosen in options_in(sent.text, "team") if value == "no"
    ] or any(value == "no" and chosen for value, _, chosen in options_in(sent.text, "team"))


def test_above_fifty_a_button_looks_up_part_of_the_name_and_keeps_what_was_typed(pages: Pages) -> None:
    token = fill_pages(pages, 51)
    page = pages.get("/forms/assets", token, **PAGE)
    assert [value for value, _, _ in options_in(page.text, "team")] == [""]
    assert "There are more than 50 choices" in page.text
    typed = {"what": "desk", "_find_team": "team 4", "_again": "lookup:team"}
    found = pages.submit(action(page), typed, token)
    assert (found.status, action(found)) == (200, action(page))
    assert [title for _, title, _ in options_in(found.text, "team")][1:] == [f"Team {n}" for n in range(40, 50)]
    assert 'value="desk"' in found.text
    assert "10 matches" in found.text
    fields = forms_of(found.text)[-1].fields
    assert fields["_found_team"] == "team 4"
    none = pages.submit(action(page), {"what": "desk", "_find_team": "zzz", "team": "t3"}, token)  # Enter in the search
    assert none.status == 200
    assert "Nothing fits" in none.text
    assert options_in(none.text, "team")[1:] == [("t3", "Team 03", True)]
    done = pages.submit(
        action(page), {"what": "desk", "_find_team": "team 4", "_found_team": "team 4", "team": "t42"}, token
    )
    assert done.status == 303
    [record] = pages.get("/forms/assets/records", token).json["items"]
    assert record["team"] == "t42"
    edit = pages.get(f"/forms/assets/records/{record['id']}?_edit=1", token, **PAGE)
    assert options_in(edit.text, "team")[1:] == [("t42", "Team 42", True)]
    fields = {name: value for name, value in forms_of(edit.text)[-1].fields.items() if not name.startswith("_f")}
    saved = pages.submit(action(edit), fields | {"what": "chair", "team": "t42"}, token)
    assert saved.status == 303
    assert pages.get(f"/forms/assets/records/{record['id']}", token).json["version"] == 2


def test_a_page_whose_source_is_away_comes_with_a_word_and_keeps_what_was_typed(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = fill_pages(pages, 3)
    page = pages.get("/forms/assets", token, **PAGE)
    main, find = pages.app.providers["main"], pages.app.providers["main"].find

    def broken(query: Query) -> app.Page:
        if query.table == "teams":
            raise Unavailable("main is away")
        return find(query)

    monkeypatch.setattr(main, "find", broken)
    again = pages.get("/forms/assets", token, **PAGE)
    assert again.status == 200
    assert "The choices cannot be shown at the moment" in again.text
    refused = pages.submit(action(page), {"what": "desk", "team": "t1", "teams": "t2"}, token)
    assert (refused.status, refused["Retry-After"]) == (503, "5")
    assert "the choices cannot be reached at the moment" in refused.text
    assert 'value="desk"' in refused.text
    assert ("t1", "t1", True) in options_in(refused.text, "team")
    assert pages.get("/forms/assets/records", token).json["items"] == []
    monkeypatch.undo()
    assert pages.submit(action(page), {"what": "desk", "team": "t1", "teams": "t2"}, token).status == 303


def test_a_source_with_a_fault_hides_no_label_of_another_one(tmp_path: Path) -> None:
    broken = '[views.gone]\nsql = "select code from nowhere"\n'
    fields = TEAMS + broken + ASSETS + 'gone = { options = { view = "gone", value = "code" } }\n'
    site = Site(tmp_path, PROVIDERS["sql"] + fields)
    fill(site)
    made = site.create("forms/assets", {"what": "desk", "team": "t1"})
    with pytest.raises(Unavailable):
        site.create("forms/assets", {"what": "x", "gone": "y"})
    assert site.read(made.location).page["called"] == "desk (Team 1)"
    faults = {fault.pointer: fault.detail for fault in site.app.inspection.check()}
    assert "no such table: nowhere" in faults["forms.assets.fields.gone.options"]
    site.close()


def test_a_view_without_the_column_is_told_by_the_check(tmp_path: Path) -> None:
    toml = TEAMS + ASSETS.replace(
        'view = "views/counted", value = "code", label = "name"', 'view = "counted", value = "cod"'
    )
    site = Site(tmp_path, PROVIDERS["sql"] + toml)
    [fault] = site.app.inspection.check()
    assert fault.pointer == "forms.assets.fields.counted.options"
    assert "cod" in fault.detail
    site.close()


def test_an_empty_source_says_so(pages: Pages) -> None:
    page = pages.get("/forms/assets", pages.token("**:*"), **PAGE).text
    assert "There is nothing to choose from yet." in page


# ---- where else values stand


def test_an_import_takes_labels_as_people_write_them_and_values(pages: Pages) -> None:
    token = fill_pages(pages, 3)
    pages.send("/forms/teams", {"code": "twin", "name": "Team 02"}, token)
    rows = "What,Team,Counted,Teams\ndesk,team 01,Eight,Team 00; t1\nlamp,t2,7,\n"
    reply = pages.ask("POST", "/forms/assets/import", rows, {"Content-Type": "text/csv"}, token)
    assert (reply.status, reply.json["created"]) == (200, 2), reply.text
    found = {row["what"]: row for row in pages.get("/forms/assets/records", token).json["items"]}
    assert (found["desk"]["team"], found["desk"]["counted"], found["desk"]["teams"]) == ("t1", 8, ["t0", "t1"])
    assert (found["lamp"]["team"], found["lamp"]["counted"]) == ("t2", 7)
    rows = "What,Team\ndesk,Team 02\n"  # which two are called
    reply = pages.ask("POST", "/forms/assets/import", rows, {"Content-Type": "text/csv"}, token)
    assert [(one["row"], one["pointer"], one["code"]) for one in reply.json["errors"]] == [(2, "/team", "options")]


def test_what_changed_is_told_by_labels(pages: Pages) -> None:
    token = fill_pages(pages, 3)
    made = pages.send("/forms/assets", {"what": "desk", "team": "t1"}, token)
    pages.send(made["Location"], {"team": "t2"}, token, "PATCH")
    page = pages.get(f"{made['Location']}/history", token, **PAGE).text
    assert "Team 01" in page
    assert "Team 02" in page
