"""plugins/search.py and file_names.py: what is found, by whom, where it says that it is, and how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from http_client import Site

import app

MORE = """
[forms.trips]
title = "Business trips"
note = "Where you go for the company."
provider = "main"
name = "{who}: {town}"
[forms.trips.fields]
who  = { type = "string", required = true }
town = { type = "string" }
why  = { type = "string", format = "multiline", title = "Reason" }
days = { type = "integer" }
[forms.staff]
title = "Staff"
provider = "kept"
[forms.staff.fields]
name = { type = "string", required = true }
[apps.travel]
title = "Travel"
menu = ["forms/trips", "files/docs"]
[providers.kept]
kind = "file"
root = "kept"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, edit=lambda toml: toml + MORE)
    yield one
    one.close()


def find(site: Site, text: str, token: str) -> list[tuple[str, str, str, list[str]]]:
    reply = site.get(f"/search?q={quote(text)}", token)
    assert reply.status == 200
    assert reply.json["unsearched"] == []
    return [(one["kind"], one["title"], one["address"], [p["title"] for p in one["place"]]) for one in reply.json["items"]]


def test_pages_of_apps_are_found_by_their_titles_and_by_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "start.md").write_text(
        "---\ntitle: Welcome\n---\n# Hello\n\nAsk **the [porter](x)** for a Badge.\n"
    )
    (tmp_path / "beside" / "badges.md").write_text("# Badges\n\nThey are blue.\n")
    apps = '[apps.guide]\ntitle = "Guide"\npages = "beside"\n[apps.wiki]\ntitle = "Wiki"\npages = "files/docs/wiki"\n'
    site = Site(tmp_path, edit=lambda toml: toml + apps)
    root = site.token("**:*")
    site.put("/files/docs/wiki/keys.md", "# Keys\n\nA badge opens the door.\n", root)

    def pages(token: str, text: str = "BADGE") -> list[tuple[str, str]]:
        reply = site.get(f"/search?q={text}", token)
        assert reply.json["unsearched"] == []
        return [(one["address"], one["text"]) for one in reply.json["items"] if one["kind"] == "page"]

    beside = [("apps/guide/pages/badges", ""), ("apps/guide/pages/start", "Hello Ask the porter for a Badge.")]
    assert pages(root) == [*beside, ("apps/wiki/pages/keys", "Keys A badge opens the door.")]
    assert pages(root, "welcome") == [("apps/guide/pages/start", "")]
    assert pages(site.token("apps/guide:read", "forms/x:read")) == beside
    assert pages(site.token("apps/wiki:read")) == []  # its pages lie in a share that is not theirs to read
    [found] = [one for one in site.get("/search?q=porter", root).json["items"] if one["kind"] == "page"]
    assert (found["title"], [one["title"] for one in found["place"]]) == ("Welcome", ["Guide"])
    page = site.get("/search?q=badge", root, Accept="text/html").text
    assert 'href="/apps/guide/pages/badges"' in page
    assert "<h2>\n    <bdi>Guide</bdi></h2>" in page
    site.close()


def test_resources_records_and_files_are_found_with_their_places(site: Site) -> None:
    root = site.token("**:*")
    first = site.send("/forms/trips", {"who": "Ida", "town": "Århus", "why": "Meet the\nplanners there", "days": 2}, root)
    site.put("/files/docs/2026/q1/plan.txt", "x", root)
    site.put("/files/docs/Planning/x.txt", "x", root)
    trips = ["Travel", "Business trips"]
    assert find(site, "PLAN", root) == [
        ("record", "Ida: Århus", first["Location"][1:], trips),
        ("file", "plan.txt", "files/docs/2026/q1/plan.txt", ["Travel", "Docs", "2026", "q1"]),
        ("folder", "Planning", "files/docs/Planning/", ["Travel", "Docs"]),
    ]
    assert find(site, "århus", root)[0][1] == "Ida: Århus"
    assert find(site, "trips company", root) == [("resource", "Business trips", "forms/trips", ["Travel"])]
    assert find(site, "audit", root)[0] == ("resource", "Audit trail", "admin/audit", ["Administration"])
    assert find(site, "2026", root) == [("folder", "2026", "files/docs/2026/", ["Travel", "Docs"])], "days are no text"
    assert find(site, "nothing at all", root) == []
    assert site.get("/search", root).json == {"q": "", "items": [], "more": [], "unsearched": []}


def test_the_page_shows_where_in_a_record_it_was_found(site: Site) -> None:
    root = site.token("**:*")
    site.send("/forms/trips", {"who": "<b>Ida", "why": "x" * 300 + " to <i>plan</i> " + "y" * 300}, root)
    page = site.get("/search?q=plan", root, Accept="text/html").text
    assert "&lt;b&gt;Ida" in page
    assert "Reason: …" in page
    assert "&lt;i&gt;plan&lt;/i&gt;" in page
    assert 'name="q" value="plan"' in page
    assert "1 found" in page
    assert "Nothing was found" in site.get("/search?q=zzz", root, Accept="text/html").text
    assert "found" not in site.get("/search", root, Accept="text/html").text
    assert '" onx="' not in site.get("/search?q=%22%20onx=%22", root, Accept="text/html").text


def test_nothing_is_found_that_its_list_would_not_show(site: Site) -> None:
    root = site.token("**:*")
    site.send("/forms/trips", {"who": "Ida", "town": "Planby"}, root)
    site.put("/files/docs/plan.txt", "x", root)
    site.put("/files/pics/plan.png", b"\x89PNG\r\n\x1a\n", root)
    assert find(site, "plan", site.token("forms/trips:create", "files/docs:create", subject="bo")) == []
    assert [one[0] for one in find(site, "plan", site.token("forms/trips/records:read"))] == ["record"]
    assert [one[2] for one in find(site, "plan", site.token("files/pics:read"))] == ["files/pics/plan.png"]
    assert find(site, "plan", "") == []
    assert find(site, "trips", site.token("files/pics:read")) == []
    assert site.get("/search?q=plan", "wrong").status == 401


def test_whoever_may_only_submit_finds_his_own_records(site: Site) -> None:
    ann, bo = (site.token("forms/trips:create", subject=one) for one in ("ann", "bo"))
    for by in (ann, bo):
        site.send("/forms/trips", {"who": "Ida", "town": "Oslo"}, by)
    [(kind, title, address, place)] = [one for one in find(site, "oslo", ann) if one[0] == "record"]
    assert (kind, title, [*place]) == ("record", "Ida: Oslo", ["Business trips"])
    assert site.get(f"/{address}", ann).json["created_by"] == "ann"
    assert site.get(f"/{address}", bo).status == 404
    assert [one for one in find(site, "oslo", "") if one[0] == "record"] == []


def test_of_many_hits_the_first_are_shown_and_the_rest_is_a_link(site: Site) -> None:
    root = site.token("**:*")
    site.send("/forms/trips", [{"who": f"Ida {n}"} for n in range(9)], root)
    for n in range(7):
        site.put(f"/files/docs/f/ida{n}.txt", "x", root)
    reply = site.get("/search?q=ida", root).json
    assert [one["kind"] for one in reply["items"]] == ["record"] * 5 + ["file"] * 5
    assert reply["more"] == ["forms/trips/records?_q=ida", "files/docs?_q=ida"]
    page = site.get("/search?q=ida", root, Accept="text/html").text
    for more, count in zip(reply["more"], (9, 7), strict=True):
        assert f'href="/{more}"' in page
        assert len(site.get(f"/{more}", root).json["items"]) == count
        assert site.get(f"/{more}", root, Accept="text/html").status == 200


@pytest.mark.parametrize(
    "target", ["/search?x=1", f"/search?q={'a' * 201}", "/search?q=a&q=b", "/search?q=%ff", "/search?q=%00"]
)
def test_what_cannot_be_searched_for_is_refused(site: Site, target: str) -> None:
    assert site.get(target, site.token("**:*")).status == 400
    assert site.ask("POST", "/search", b"", {"Authorization": f"Bearer {site.token('**:*')}"}).status == 405


def test_a_provider_that_does_not_answer_keeps_the_others_from_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    root = site.token("**:*")
    site.send("/forms/trips", {"who": "Ida"}, root)
    site.send("/forms/staff", {"name": "Ida"}, root)
    search, answers = app.plugin("search"), threading.Event()
    monkeypatch.setattr(search, "_TIME_S", 1.0)  # which the others keep on a busy machine, too
    kept = site.app.providers["kept"]
    asked = []

    def find_later(query: app.Query) -> app.Page:
        asked.append(query)
        answers.wait(20)
        return type(kept).find(kept, query)  # type: ignore[attr-defined,no-any-return]

    monkeypatch.setattr(kept, "find", find_later)

    def waiting() -> int:
        return sum(thread.name == "search" for thread in threading.enumerate())

    def until(is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.01)

    began = time.monotonic()
    for _ in range(app.plugin("asking").AT_ONCE + 1):
        reply = site.get("/search?q=ida", root).json
        assert [one["title"] for one in reply["items"]] == ["Ida"]
        assert "forms/staff/records" in reply["unsearched"]
    assert time.monotonic() - began < 15
    assert len(asked) == app.plugin("asking").AT_ONCE
    until(lambda: waiting() == app.plugin("asking").AT_ONCE)  # no more wait for it than that
    page = site.get("/search?q=ida", root, Accept="text/html").text
    assert '<a href="/forms/staff/records?_q=ida"><bdi>Staff</bdi></a>' in page
    answers.set()
    until(lambda: waiting() == 0)
    monkeypatch.undo()
    assert len(site.get("/search?q=ida", root).json["items"]) == 2, "it is asked again"


def test_a_provider_that_is_away_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise app.Unavailable("provider kept is away")

    monkeypatch.setattr(site.app.providers["kept"], "find", away)
    assert site.get("/search?q=ida", site.token("**:*")).json["unsearched"] == ["forms/staff/records"]


# ---- names in a folder


def test_a_folder_is_searched_with_all_that_is_below_it(site: Site) -> None:
    root = site.token("**:*")
    for share in ("docs", "blobs"):
        for name in ("a/plan.txt", "a/plans/x.txt", "a/plans/y.txt", "a/plans.txt", "b/z.txt", "plan Ä.txt"):
            site.put(f"/files/{share}/{quote(name)}", "x", root)

        def names(query: str, share: str = share) -> list[str]:
            found, following = [], ""
            while True:
                reply = site.get(f"/files/{share}/{query}{following}", root)
                assert reply.status == 200
                found += [one["address"].removeprefix(f"files/{share}/") for one in reply.json["items"]]
                if not reply.json["next"]:
                    return found
                following = f"&_next={quote(reply.json['next'])}"

        wanted = ["a/plan.txt", "a/plans.txt", "a/plans", "plan%20%C3%84.txt"]
        assert names("?_q=PLAN") == wanted
        for size in (1, 2, 3):
            assert names(f"?_q=plan&_size={size}") == wanted, "pages have all of it, once"
        assert names("?_q=%C3%A4.") == ["plan%20%C3%84.txt"]
        assert names("a/?_q=plans") == ["a/plans.txt", "a/plans"]
        assert names("?_q=") == ["a", "b", "plan%20%C3%84.txt"]
        page = site.get(f"/files/{share}/?_q=plan", root, Accept="text/html").text
        assert "<bdi>a/plans.txt</bdi>" in page
        assert "Nothing fits." in site.get(f"/files/{share}/?_q=zz", root, Accept="text/html").text
        csv = site.get(f"/files/{share}/?_q=plan", root, Accept="text/csv").text
        assert csv.count("\n") == 5


def test_a_page_of_a_long_search_ends_in_time_and_goes_on(site: Site) -> None:
    names, ticks = app.plugin("file_names"), iter(range(10_000))
    blobs = site.app.resources["files/docs"].blobs  # type: ignore[attr-defined]
    root = site.token("**:*")
    for n in range(250):
        site.put(f"/files/docs/many/{n:03d}.txt", "x", root)
    found, pages, after = [], 0, ""
    while True:
        items, following = names.page(blobs, "docs", "49", after, 1000, clock=lambda: next(ticks))
        found += [item.path for item in items]
        pages += 1
        if not following:
            break
        after = app.text_cursor(following)
    assert found == ["docs/many/049.txt", "docs/many/149.txt", "docs/many/249.txt"]
    assert pages > 1


def test_a_drop_box_is_not_searched(site: Site) -> None:
    site.put("/files/docs/plan.txt", "x", site.token("**:*"))
    drops = site.token("files/docs:create")
    assert site.get("/files/docs/?_q=plan", drops).status == 403
    assert site.get("/files/docs/?_q=plan", drops, Accept="text/html").status == 400
