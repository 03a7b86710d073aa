"""The whole sites that `server init --example` writes: each is in order, short, and does what it is there for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import example_data
import pytest
from sites import Site
from test_commands import Shell

import app
from app import Conflict, Forbidden, Invalid, NotFound

EXAMPLES = ("leave", "inventory", "expenses")
FILE = {"name": "taxi.pdf", "base64": "JVBERi0="}


def example(folder: Path, name: str) -> Site:
    return Site(folder, app.bundled_text(f"example_{name}.toml"))


def person(site: Site, subject: str, role: str) -> str:
    site.create("admin/people", {"subject": subject, "name": subject.title(), "roles": [role]})
    return site.token(subject, roles=[role])


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_in_order(name: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.run("server", "init", "site", "--example", name)
    text = (tmp_path / "site" / "app.toml").read_text()
    assert text == app.bundled_text(f"example_{name}.toml")
    assert len(text.splitlines()) <= 80
    out, err = Shell(tmp_path / "site").run("server", "check")
    assert "in order" in out + err
    assert "names nothing" not in err, "every grant allows something"


def test_an_example_that_there_is_not_names_those_that_there_are(tmp_path: Path) -> None:
    _, err = Shell(tmp_path).run("server", "init", "--example", "leaves", code=2)
    assert "leave" in err
    assert not (tmp_path / "app.toml").exists()


SUMS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "leave": ("views/days_off", [("ann", "paid", 1, 5), ("bo", "paid", 1, 2), ("ida", "paid", 1, 10), ("ida", "sick", 1, 3),
                                 ("maria", "paid", 1, 5), ("noor", "sick", 1, 2)]),
    "inventory": ("views/worth", [("Office", 2, 2080), ("Store", 2, 709.9), ("Workshop", 4, 16189)]),
    "expenses": ("views/by_project", [("Harbour", 2, 252.9), ("Moon base", 2, 945.2), ("Office", 1, 26.25)]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_adds_up_and_draws_what_its_team_did(name: str, tmp_path: Path) -> None:
    site = example(tmp_path, name)
    example_data.fill(
        name, lambda to, data: (site.put if to.endswith("/move") else site.create)(to.removeprefix("/"), data).data
    )
    address, sums = SUMS[name]
    assert [tuple(row.values()) for row in site.items(address)] == sums
    config = site.app.resources[address].config
    assert {config.chart["x"], config.chart["y"]} <= set(config.columns)
    assert len(site.read(f"apps/{name}").data["blocks"]) == len(site.app.resources[f"apps/{name}"].config.home)
    site.close()


def test_leave_with_approval(tmp_path: Path) -> None:
    site = example(tmp_path, "leave")
    ann, bo, hr = person(site, "ann", "staff"), person(site, "bo", "staff"), person(site, "hedda", "hr")
    week: dict[str, Any] = {"from_day": "2027-03-01", "to_day": "2027-03-05", "days": 5}
    asked = site.create("forms/leave", week, by=ann).data
    assert asked["status"] == "new"
    for wrong, place in (
        (week | {"status": "approved"}, "/status"), (week | {"to_day": "2027-02-01"}, "/to_day"),
        (week | {"who": "bo"}, "/who"), (week | {"kind": "unpaid"}, "/reason"), (week | {"reason": "x"}, "/reason"),
        (week, "/who"),
    ):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            site.create("forms/leave", wrong, by=ann)
        assert place in [one.pointer for one in refused.value.faults]
    at = f"forms/leave/records/{asked['id']}/move"
    with pytest.raises(Forbidden):
        site.put(at, {"to": "approved"}, by=ann)
    with pytest.raises(NotFound):
        site.read(f"forms/leave/mine/{asked['id']}", by=bo)
    assert [one["who"] for one in site.items("views/open_leave", by=hr)] == ["ann"]
    site.patch(f"forms/leave/mine/{asked['id']}", {"days": 4}, by=ann)
    site.put(at, {"to": "approved", "comment": "Enjoy"}, by=hr)
    for change in (
        lambda: site.patch(f"forms/leave/mine/{asked['id']}", {"days": 60}, by=ann),
        lambda: site.ask(app.Action.DELETE, f"forms/leave/mine/{asked['id']}", by=ann),
        lambda: site.put(f"forms/leave/mine/{asked['id']}/history", {"version": 1}, by=ann),
    ):
        with pytest.raises(Conflict, match="decided"):
            change()
    assert site.read(f"forms/leave/mine/{asked['id']}", by=ann).data["days"] == 4
    assert site.read(f"forms/leave/mine/{asked['id']}", by=ann).data["status"] == "approved"
    assert [one["who"] for one in site.items("views/away", by=hr)] == ["ann"]
    site.close()


def test_inventory(tmp_path: Path) -> None:
    site = example(tmp_path, "inventory")
    ann, keeper = person(site, "ann", "staff"), person(site, "kim", "keeper")
    site.create("forms/rooms", {"code": "B12", "name": "Workshop"}, by=keeper)
    thing = {"tag": "LT-0100", "what": "Lathe", "kind": "machine", "serial": "77", "room": "B12", "price": 1200.5}
    site.create("forms/things", thing, by=keeper)
    for wrong in (thing, thing | {"tag": "LT-0101", "room": "X99"}, thing | {"tag": "LT-0102", "kind": "tool"}):
        with pytest.raises(Invalid):
            site.create("forms/things", wrong, by=keeper)
    assert [one["tag"] for one in site.items("views/machines", by=ann)] == ["LT-0100"]
    fault = site.create("forms/faults", {"thing": "LT-0100", "text": "It squeaks"}, by=ann).data
    assert site.put(f"forms/faults/records/{fault['id']}/move", {"to": "mended"}, by=keeper).data["status"] == "mended"
    with pytest.raises(Conflict):
        site.put(f"forms/faults/records/{fault['id']}/move", {"to": "mended"}, by=keeper)
    site.close()


def test_expenses(tmp_path: Path) -> None:
    site = example(tmp_path, "expenses")
    ann, office = person(site, "ann", "staff"), person(site, "olga", "office")
    site.create("forms/projects", {"code": "P1", "name": "Moon"}, by=office)
    line = {"day": "2027-01-05", "what": "Taxi", "amount": 12.1}
    expense = {"who": "ann", "purpose": "Trip", "project": "P1", "way": "cash", "lines": [line, line | {"amount": 0.2}]}
    sent = site.create("forms/expense", expense | {"receipts": [FILE, FILE]}, by=ann).data
    assert (str(sent["total"]), len(sent["receipts"]), "checked" in sent) == ("12.3", 2, False)
    with pytest.raises(Invalid) as refused:
        site.create("forms/expense", expense | {"total": 1, "checked": "ok", "lines": [line | {"amount": 0}]}, by=ann)
    assert {"/total", "/checked", "/lines/0/amount"} <= {one.pointer for one in refused.value.faults}
    at = f"forms/expense/records/{sent['id']}"
    site.patch(at, {"checked": "fine"}, by=office)
    site.put(f"{at}/move", {"to": "checked"}, by=office)
    assert [one["purpose"] for one in site.items("views/to_pay", by=office)] == ["Trip"]
    assert "checked" not in site.read(f"forms/expense/mine/{sent['id']}", by=ann).data
    site.close()
