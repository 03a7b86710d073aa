"""A form changes: renamed fields keep what was stored, and nothing that app.toml no longer knows is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import test_matrix as matrix
from sites import Site
from test_backup_job import made

import app
from app import ConfigError, Query

renames = app.plugin("renames")
MAIN = '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n'
OLD = '[forms.stock.fields]\nname = {}\nhow_many = { type = "integer" }\nshelf = {}\n'
ITEM = 'item = { was = "name", required = true }\n'
NEW = f'[forms.stock.fields]\n{ITEM}count = {{ was = "how_many", type = "integer" }}\nshelf = {{}}\n'
VIEW = '[views.many]\nfrom = "forms/stock"\nwhere = [{ field = "count", gt = 2 }]\ncolumns = { item = {} }\n'
LIST = "forms/stock/records"


def moved(site: Site) -> None:
    renames.Renames({}, site.app.config).run(site.app, threading.Event())


def stored(site: Site) -> list[dict[str, object]]:
    form = site.app.resources["forms/stock"]
    return [one.value for one in form.records.walk(Query("stock"))]  # type: ignore[union-attr]


def reopened(folder: Path, site: Site, toml: str) -> Site:
    site.close()
    return Site(folder, toml)


@pytest.mark.parametrize("kind", ["sql", "file", "postgres", "aws"])
def test_what_was_stored_is_read_under_the_new_name_and_then_stored_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renames, "_BATCH", 2)
    provider = matrix.PROVIDERS[kind](tmp_path)
    site = made(tmp_path, provider + OLD)
    keys = [site.create("forms/stock", {"name": f"n{n}", "how_many": n, "shelf": "a"}).data["id"] for n in range(5)]
    site = reopened(tmp_path, site, provider + NEW + VIEW)
    shown = site.read(f"{LIST}/{keys[3]}").data
    assert (shown["item"], shown["count"], "name" in shown) == ("n3", 3, False)
    assert [one["item"] for one in site.items(f"{LIST}?_sort=id")] == [f"n{n}" for n in range(5)]
    site.patch(f"{LIST}/{keys[0]}", {"shelf": "b"})
    [change] = site.audit(action="update", record=keys[0])
    assert change["changes"] == {"shelf": ["a", "b"]}, "a new name is no change"
    moved(site)
    assert all(one.keys().isdisjoint(("name", "how_many")) for one in stored(site))
    assert [one["item"] for one in site.items(f"{LIST}?count__gt=2&_sort=count")] == ["n3", "n4"]
    assert sorted(one["item"] for one in site.items("views/many")) == ["n3", "n4"]
    [told] = site.audit(subject="job:renames")
    assert told["after"] == {"renamed": {"name": "item", "how_many": "count"}, "records": 4}
    moved(site)
    assert len(site.audit(subject="job:renames")) == 1, "once"
    site.close()


def test_a_value_under_the_new_name_stays_and_the_old_one_beside_it(tmp_path: Path) -> None:
    site = Site(tmp_path, MAIN + OLD + "item = {}\n")
    key = site.create("forms/stock", {"name": "old", "item": "new"}).data["id"]
    site = reopened(tmp_path, site, MAIN + NEW)
    moved(site)
    shown = site.read(f"{LIST}/{key}").data
    assert (shown["item"], shown["name"]) == ("new", "old")
    site.close()


def test_the_record_of_an_owner_and_a_field_of_a_role_are_found_by_their_new_names(tmp_path: Path) -> None:
    rules = 'owner = { field = "by" }\n'
    site = Site(tmp_path, MAIN + "[forms.stock.fields]\nwho = {}\npay = {}\n")
    site.create("forms/stock", {"who": "ann", "pay": "5"})
    site.create("forms/stock", {"who": "bo", "pay": "7"})
    roles = "[roles.hr]\ngrants = []\n"
    fields = '[forms.stock.fields]\nby = { was = "who" }\nwage = { was = "pay", read_by = "hr" }\n'
    site = reopened(tmp_path, site, MAIN + roles + "[forms.stock]\n" + rules + fields)
    moved(site)
    ann = site.token("ann", "forms/stock:*")
    [mine] = site.items(LIST, by=ann)
    assert mine["by"] == "ann"
    assert mine.keys().isdisjoint(("wage", "pay"))
    site.close()


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ('a = { was = "b" }\nb = {}\n', "forms.stock.fields.a.was"),
        ('a = { was = "c" }\nb = { was = "c" }\n', "forms.stock.fields.b.was"),
        ('a = { was = "created_by" }\n', "forms.stock.fields.a.was"),
        ("a = { was = 5 }\n", "forms.stock.fields.a.was"),
    ],
)
def test_old_names_that_cannot_be_are_faults(fields: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        Site(tmp_path, MAIN + "[forms.stock.fields]\n" + fields)
    assert place in [one.pointer for one in refused.value.faults]
