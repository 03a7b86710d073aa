"""Records that a form would not take any more: counted by server check, shown with what is wrong, and never lost."""

from __future__ import annotations

from pathlib import Path

from http_client import Site as Browsed
from sites import Site
from test_commands import Shell

import app

MAIN = '[providers.main]\nkind = "sql"\nurl = "sqlite:///data/app.db"\n'
OLD = """
[forms.trips.fields]
who = {}
kind = { enum = ["bus", "taxi", "train"] }
why = {}
days = { type = "integer" }
"""
NEW = """
[forms.trips]
checks = [{ left = "days", op = "gt", value = 0, message = "At least one day" }]
[forms.trips.fields]
who = { title = "Who", required = true }
kind = { title = "Kind", enum = ["bus", "train"] }
why = { title = "Why", show_if = { kind = "train" }, maxLength = 5 }
days = { type = "integer" }
"""
LIST = "forms/trips/records"


def changed(folder: Path) -> Site:
    site = Site(folder, MAIN + OLD)
    for trip in (
        {"who": "fits", "kind": "train", "why": "far"}, {"kind": "bus"}, {"who": "taxi", "kind": "taxi"},
        {"who": "hidden", "kind": "bus", "why": "x"}, {"who": "days", "days": 0},
        {"who": "long", "kind": "train", "why": "123456"},
    ):  # fmt: skip
        site.create("forms/trips", trip)
    site.close()
    return Site(folder, MAIN + NEW)


def test_they_are_counted_and_shown_with_what_is_wrong(tmp_path: Path) -> None:
    site = changed(tmp_path)
    [warning] = [one for one in site.app.inspection.damage() if one.startswith("forms.trips")]
    assert "5 records would not be taken any more" in warning
    assert f"{LIST}?_unfit=1" in warning
    shown = {one["who"]: one["faults"] for one in site.items(f"{LIST}?_unfit=1")}
    assert shown.keys() == {None, "taxi", "hidden", "days", "long"}
    assert "Who: is missing" in shown[None]
    assert shown["taxi"].startswith("Kind: must be one of")
    assert shown["days"] == "Days: At least one day"
    assert "at most 5" in shown["long"]
    assert len(site.items(LIST)) == 6, "all of them are still there"
    site.close()


def test_whoever_sees_only_his_own_sees_only_his_own_here(tmp_path: Path) -> None:
    site = changed(tmp_path)
    site.close()
    site = Site(tmp_path, MAIN + NEW.replace("[forms.trips]\n", '[forms.trips]\nowner = { field = "created_by" }\n'))
    assert site.items(f"{LIST}?_unfit=1", by=site.token("ann", "forms/trips:read")) == []
    site.close()


def test_the_page_and_the_command(tmp_path: Path) -> None:
    changed(tmp_path).close()
    shell = Shell(tmp_path)
    shell.write(MAIN + NEW)
    assert "5 records would not be taken any more" in "".join(shell.run("server", "check"))


def test_they_are_a_page(tmp_path: Path) -> None:
    site = Browsed(tmp_path, edit=lambda toml: toml + NEW)
    root = site.token("**:*")
    form = site.app.resources["forms/trips"]
    site.app.state.commit([app.Insert(form.table, "k1", {"who": "old", "kind": "taxi"})])  # type: ignore[attr-defined]
    page = site.get(f"/{LIST}?_unfit=1", root, Accept="text/html")
    assert page.status == 200
    assert "Why it does not fit" in page.text
    assert f'href="/{LIST}/k1' in page.text
    site.close()
