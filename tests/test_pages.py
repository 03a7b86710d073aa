"""RUNNERS, pages: indexes, forms filled in by a link, filters, faults in words, small things that a validator looks at."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_client import Reply, Site

import app

LEAVE = '[forms.leave]\ntitle = "Leave"\nprovider = "main"\n[forms.leave.fields]\n'
FIELDS = """\
tags = { type = "array", items = { enum = ["a", "b", "c"] } }
due = { type = "string", format = "date-time" }
level = { type = "string", oneOf = [{ const = "1", title = "First" }, { const = "2", title = "Second" }], required = true }
size = { type = "string", enum = ["xs", "s", "m", "l", "xl"], default = "m", required = true }
vat = { type = "number", enum = [0, 7, 19] }
link = { type = "string", format = "uri" }
lines = { type = "string", format = "multiline" }
"""
VIEW = """
[views.picked]
provider = "main"
sql = "select :kind as kind, :open as open, :must as must"
params.kind = { type = "string", enum = ["a", "b"] }
params.open = { type = "boolean", default = true }
params.must = { type = "string", enum = ["x", "y"], required = true, default = "x" }
[views.asked]
provider = "main"
sql = "select :least as least, :kinds as kinds"
params.least = { type = "integer", title = "At least", required = true, minimum = 3 }
params.kinds = { type = "array", title = "Kinds", items = { enum = ["a", "b", "c"] } }
"""


def more(toml: str) -> str:
    assert LEAVE in toml
    toml = toml.replace(LEAVE, LEAVE + FIELDS)
    return toml.replace("[site]\n", '[site]\ncontact = "the front desk"\n') + VIEW


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, edit=more)
    yield one
    one.close()


@pytest.fixture
def staff(site: Site) -> str:
    return site.token(roles=["staff"])


def shown(page: str, name: str) -> str:
    """What stands in the input, the textarea or the chosen options of a field."""
    field = re.search(rf'<(?:input|textarea|select)[^>]*name="{name}"[^>]*>', page)
    assert field
    if field[0].startswith("<textarea"):
        return page[field.end() :].partition("</textarea>")[0].strip("\n")
    if field[0].startswith("<select"):
        options = re.findall(r'<option value="([^"]*)"( selected)?', page[field.end() :].partition("</select>")[0])
        return next((value for value, selected in options if selected), options[0][0])
    boxes = re.findall(rf'<input type="(?:radio|checkbox)"[^>]*name="{name}" value="([^"]*)"\s*(checked)?', page)
    if boxes:
        return ",".join(value for value, checked in boxes if checked)
    found = re.search(r'value="([^"]*)"', field[0])
    assert found
    return found[1]


# ---- indexes


@pytest.mark.parametrize("kind", ["apps", "forms", "views", "files", "admin"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_each_type_has_an_index_of_what_the_caller_may_open(site: Site, kind: str, slash: str) -> None:
    root = site.token("**:*")
    reply = site.get(f"/{kind}{slash}", root)
    assert reply.status == 200
    addresses = [one["address"] for one in reply.json["resources"]]
    declared = [one for one in (*site.app.resources,) if one.startswith(kind + "/")]
    assert sorted(addresses) == sorted(declared)
    assert len(addresses) >= 2
    one = addresses[-1]
    less = site.get(f"/{kind}{slash}", site.token(f"{one}:read"))
    assert {entry["address"] for entry in less.json["resources"]} == {one} | ({"forms/open"} if kind == "forms" else set())
    page = site.get(f"/{kind}{slash}", root, Accept="text/html").text
    assert all(f'href="/{address}' in page for address in addresses)
    assert f'<h1 class="home"><bdi>{"Administration" if kind == "admin" else kind.capitalize()}</bdi></h1>' in page
    assert 'aria-label="Breadcrumb"' in page
    refused = site.ask(
        "POST", f"/{kind}{slash}", b"{}", {"Authorization": f"Bearer {root}", "Content-Type": "application/json"}
    )
    assert (refused.status, refused["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert site.ask("DELETE", f"/{kind}{slash}", None, {"Authorization": f"Bearer {root}"}).status == 405
    assert site.get(f"/{kind}{slash}?x=1", root).status == 400
    stranger = site.get(f"/{kind}{slash}", Accept="text/html")
    assert stranger.status == 200
    assert ("forms/open" in stranger.text) == (kind == "forms")
    assert "Sign in" in stranger.text


def test_indexes_are_among_the_routes(site: Site) -> None:
    paths = [row["path"] for row in app.plugin("info").routes(site.app)]
    assert {"/apps", "/forms", "/views", "/files", "/admin"} <= set(paths)


# ---- a form that a link fills in


def test_a_link_fills_in_a_form_and_stores_nothing(site: Site, staff: str) -> None:
    query = (
        "days=3.5&kind=unpaid&reason=a%0Ab%3Cb%3E&urgent=true&tags=a&tags=c&size=xl&vat=7&level=2&day=2026-11-23&lines=x%0Ay"
    )
    page = site.get(f"/forms/leave?{query}&due=2026-11-23T08:30:00Z", staff, Accept="text/html")
    assert page.status == 200
    for name, text in {
        "days": "3.5", "kind": "unpaid", "urgent": "true", "tags": "a,c", "size": "xl", "vat": "7", "level": "2",
        "day": "2026-11-23", "due": "2026-11-23T08:30", "lines": "x\ny", "address": "",
    }.items():  # fmt: skip
        assert shown(page.text, name) == text, name
    assert "a\nb&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert "Not filled in" not in page.text
    assert shown(site.get("/forms/leave?tags=a,b", staff, Accept="text/html").text, "tags") == "a,b"
    assert shown(site.get("/forms/leave?size=", staff, Accept="text/html").text, "size") == ""
    assert (
        shown(site.get("/forms/leave?days=2", staff, Accept="text/html").text, "size") == "m"
    )  # the others have their defaults
    assert site.get("/forms/leave/records", staff).json["items"] == []
    assert site.get("/forms/leave?days=3", staff).json["properties"]["days"]


def test_a_value_that_does_not_fit_is_said_and_left_out_and_an_unknown_name_is_refused(site: Site, staff: str) -> None:
    page = site.get("/forms/leave?days=99&kind=nope&tags=z&day=soon&address=%22%3E%3Cscript%3E", staff, Accept="text/html")
    assert page.status == 200
    assert shown(page.text, "days") == ""
    assert shown(page.text, "tags") == ""
    said = re.search(r"Not filled in from the link: (.*?)</bdi>", page.text)
    assert said
    assert [part.split(" ")[0] for part in said[1].split("; ")] == ["Days", "Kind", "Tags", "First"]
    assert "&quot;&gt;&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert site.get("/forms/leave?dayss=3", staff, Accept="text/html").status == 400
    files = site.get("/forms/papers?paper=x&name=abc", staff, Accept="text/html")
    assert shown(files.text, "name") == "abc"
    assert "Paper is a file, which a link cannot choose" in files.text
    assert site.get("/forms/leave/records?days=1&days=2", staff).status == 400


def test_who_may_read_and_not_submit_is_led_to_the_records(site: Site, staff: str) -> None:
    reader, writer = site.token("forms/leave:read"), site.token("forms/leave:create")
    for address in ("/forms/leave", "/forms/leave?days=3"):
        reply = site.get(address, reader, Accept="text/html")
        assert (reply.status, reply["Location"]) == (303, "/forms/leave/records")
    assert site.get("/forms/leave", reader).json["title"] == "Leave"
    assert "<form" in site.get("/forms/leave", writer, Accept="text/html").text
    neither = site.get("/forms/leave", site.token("forms/leave:update"), Accept="text/html")
    assert neither.status == 403
    made = site.send("/forms/leave", {"day": "2026-11-23", "level": "1"}, staff).json["id"]
    reply = site.get(f"/forms/leave/records/{made}?_edit=1", reader, Accept="text/html")
    assert (reply.status, reply["Location"]) == (303, f"/forms/leave/records/{made}")
    assert 'name="reason"' in site.get(f"/forms/leave/records/{made}?_edit=1", staff, Accept="text/html").text


def test_a_choice_that_is_not_required_can_be_taken_back(site: Site, staff: str) -> None:
    def buttons(page: str, name: str) -> list[tuple[str, str]]:
        return re.findall(rf'<input type="radio"[^>]*name="{name}" value="([^"]*)"\s*(checked)?', page)

    blank = site.get("/forms/leave", staff, Accept="text/html").text
    assert buttons(blank, "vat") == [("0", ""), ("7", ""), ("19", ""), ("", "checked")]
    assert "none</bdi>" in blank
    assert [value for value, _ in buttons(blank, "level")] == ["1", "2"], "it is required"
    address = site.send("/forms/leave", {"day": "2026-11-23", "level": "1", "vat": 7}, staff)["Location"]
    edit = site.get(address + "?_edit=1", staff, Accept="text/html").text
    assert shown(edit, "vat") == "7"
    to = html.unescape(re.findall(r'<form class="form"[^>]*action="([^"]*)"', edit)[0])
    assert site.submit(to, {"vat": ""}, staff).status == 303
    assert (site.get(address, staff).json["vat"], site.get(address, staff).json["version"]) == (None, 2)
    assert shown(site.get(address + "?_edit=1", staff, Accept="text/html").text, "vat") == ""


# ---- filters


def test_choices_of_a_filter_can_be_taken_back(site: Site, staff: str) -> None:
    page = site.get("/views/picked", staff, Accept="text/html").text
    assert 'type="radio"' not in page
    assert not re.search('type="checkbox"[^>]* name="(?!_columns)', page)
    kind = page[page.index('name="kind"') :].partition("</select>")[0]
    assert re.findall(r'<option value="([^"]*)"[^>]*>([^<]*)', kind) == [("", "any"), ("a", "a"), ("b", "b")]
    assert shown(page, "open") == "true"
    assert shown(page, "must") == "x"
    asked = site.get("/views/picked?kind=b&open=&must=y", staff, Accept="text/html").text
    assert [shown(asked, name) for name in ("kind", "open", "must")] == ["b", "", "y"]
    assert site.get("/views/picked?kind=&open=false", staff).json["items"] == [{"kind": None, "open": 0, "must": "x"}]
    assert site.get("/views/picked?open=", staff).json["items"][0]["open"] is None


# ---- faults

FAULTS = {cls.status: cls for cls in vars(app).values() if isinstance(cls, type) and issubclass(cls, app.AppError)}


def test_a_filter_that_cannot_be_read_comes_back_with_what_was_typed(site: Site, staff: str) -> None:
    def page(query: str, status: int) -> str:
        answer = site.get(f"/views/asked{query}", staff, accept="text/html")
        assert answer.status == status
        return answer.text

    first = page("", 200)
    assert "Fill in At least, and press Show." in first
    assert 'role="alert"' not in first
    assert "Also as" not in first, "what would be refused"
    wrong = page("?least=2&kinds=b", 400)
    assert 'href="#f-least"' in wrong
    assert "must be 3 or more" in wrong
    assert shown(wrong, "least") == "2"
    assert shown(wrong, "kinds") == "b"
    assert ">3</bdi>" in page("?least=3", 200)
    refused = site.get("/views/asked?least=2", staff, accept="application/json")
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, "/least")


def test_several_choices_of_a_filter_are_one_parameter(site: Site, staff: str) -> None:
    assert site.get("/views/asked?least=3&kinds=a,c", staff).json["items"] == [{"least": 3, "kinds": '["a","c"]'}]
    assert site.get("/views/asked?least=3&kinds=a&kinds=c", staff).status == 400, "to programs it is a mistake"
    page = site.get("/views/asked?least=3&kinds=a&kinds=c", staff, accept="text/html").text
    assert shown(page, "kinds") == "a,c"
    assert "<bdi>[&quot;a&quot;,&quot;c&quot;]</bdi>" in page


@pytest.mark.parametrize("status", sorted({*FAULTS} - {401}))  # 401 is the sign-in page
def test_the_page_of_a_fault_speaks_to_a_person_first(site: Site, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"size_bytes": 1} if status == 416 else {}
    cls = {403: app.Forbidden, 409: app.Conflict, 422: app.Invalid, 503: app.Unavailable, 400: app.BadRequest}.get(
        status, FAULTS[status]
    )
    error = cls("the detail of If-Match", **({"needed": "forms/leave:read"} if status == 403 else facts))

    def fail(request: app.Request, guard: object = None) -> app.Response:
        raise error

    monkeypatch.setattr(site.app, "handle", fail)
    method = "POST" if status == 401 else "GET"
    reply = site.ask(
        method, "/views/waiting", None, {"Accept": "text/html", "Authorization": f"Bearer {site.token('views/**:read')}"}
    )
    assert reply.status == status
    page = reply.text
    first, _, facts_below = page.partition('<details class="facts">')
    heading = re.search(r"<h1>([^<]+)</h1>", first)
    assert heading
    said = first[heading.start() :]
    assert not re.search(
        r"[0-9]{3}|insufficient|scope|token|grant|precondition|Match|entity|media type", heading[1], re.IGNORECASE
    )
    assert "insufficient_scope" not in first
    assert len(re.sub(r"<[^>]*>|\s+", " ", said).split()) > 10
    assert "Home" in said
    for fact in (str(status), error.code, "the detail of If-Match", reply["X-Request-Id"]):
        assert fact in facts_below
    assert ("the front desk" in said) == (status in (403, 421, 500, 501, 503, 507))
    assert ("Sign in" in said) == (status == 403)
    assert ("forms/leave:read" in facts_below) == (status == 403)
    assert ("Try again</a>" in said) == (status in (408, 429, 500, 503, 504))


def test_a_fault_leads_back_to_the_page_that_was_meant(site: Site, staff: str) -> None:
    def ways(reply: Reply) -> dict[str, str]:
        inner = reply.text.partition('<p class="actions">')[2].partition("</p>")[0]
        return {text: html.unescape(href) for href, text in re.findall(r'href="([^"]*)">([^<]*)</a>', inner)}

    for target in (
        "/views/picked?_sort=no_column", "/views/picked?kind=%FF", "/forms/leave/records?days__of=x",
        "/forms/leave/records?kind=paid&kind=unpaid", "/forms/leave?no_field=1",
    ):  # fmt: skip
        reply = site.get(target, staff, Accept="text/html")
        assert (reply.status, ways(reply)["Reload the page"]) == (400, target.partition("?")[0])
    assert list(ways(site.get("/files/docs/%00", staff, Accept="text/html"))) == ["Home"]
    address = site.send("/forms/leave", {"day": "2026-11-23", "level": "1"}, staff)["Location"]
    site.send(address, {"level": "2"}, staff, "PATCH")
    reply = site.submit(f"{address}?_method=DELETE&_version=1&_list=_q%3Da", {}, staff)
    assert (reply.status, ways(reply)["Open it again"]) == (412, f"{address}?_list=_q%3Da")


def test_a_request_from_elsewhere_is_not_said_to_lack_access(site: Site, staff: str) -> None:
    cookie = site.sign_in(staff)
    reply = site.ask("POST", "/forms/leave", b"day=2026-01-01", {
        "Accept": "text/html", "Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded",
        "Origin": "https://elsewhere.example"})  # fmt: skip
    assert reply.status == 403
    assert "<h1>This is not open to you" not in reply.text


# ---- small things


def test_pages_have_what_a_validator_asks_for(site: Site, staff: str) -> None:
    site.put("/files/docs/sub/a.txt", b"x", staff)
    listing = site.get("/files/docs/", staff, Accept="text/html").text
    assert 'datetime=""' not in listing
    inner = site.get("/files/docs/sub/", staff, Accept="text/html").text
    assert '<time datetime="20' in inner
    assert "1 byte<" in inner
    form = site.get("/forms/leave", staff, Accept="text/html").text
    for tag in re.findall(r'<input type="(?:radio|checkbox)"[^>]*>', form):
        assert not re.search(r"\b(step|min|max|minlength|maxlength|inputmode|pattern)=", tag)
    for tag, inside in re.findall(r"<select([^>]*)>(.*?)</select>", form, re.DOTALL):
        assert inside.strip().startswith('<option value="">')
        assert "length=" not in tag


def test_wide_parts_of_an_apps_page_can_be_scrolled_by_keys(site: Site, staff: str) -> None:
    page = "<table><tr><td>1</td></tr></table><pre>x</pre><pre tabindex='0'>y</pre>"
    (site.folder / "templates" / "desk.html").write_text(page)
    html = site.get("/apps/desk", staff, Accept="text/html").text
    assert '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>' in html
    assert "</table></div>" in html
    assert '<pre tabindex="0">x' in html
    assert "<pre tabindex='0'>y" in html


def test_one_of_something_is_said_in_the_singular(site: Site, staff: str) -> None:
    assert app.how_many(1) == "1 byte"
    assert app.how_many(1200, "file") == "1,200 files"
    site.put("/files/docs/a.txt", b"x", staff)
    reply = site.ask("GET", "/files/docs/a.txt", None, {"Authorization": f"Bearer {staff}", "Range": "bytes=5-9"})
    assert (reply.status, reply.json["detail"]) == (416, "the file has 1 byte")


def test_long_texts_are_short_in_lists_and_whole_on_the_page_of_their_record(site: Site, staff: str) -> None:
    text = "word " * 1000
    made = site.send("/forms/open", {"text": text}, staff).json["id"]
    listing = site.get("/forms/open/records", staff, Accept="text/html").text
    assert "word …" in listing or "word…" in listing
    assert len(listing) < 20_000
    assert text.strip() in site.get(f"/forms/open/records/{made}", staff, Accept="text/html").text
    audit = site.get("/admin/audit", staff, Accept="text/html").text
    assert len(audit) < 20_000
    assert site.get("/admin/audit", staff).json["items"][0]["after"]["text"].startswith("word word")
