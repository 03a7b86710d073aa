"""Pages of an app in Markdown: what they show and never do, who reads and edits them, and templates that fail."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from http_client import FORM, JSON, PAGE, Reply, Site
from visitor import HtmlForm, forms_of

import app

APPS = """
[apps.hand]
title = "Hand"
pages = "pages"
static = "public"
[apps.wiki]
title = "Wiki"
pages = "files/docs/wiki"
"""
POLICY = """---
title: "Leave & more"
---
# Leave & more

## What counts
[ask](forms/leave) [list](/views/waiting?kind=paid) [other](more.md#deep) ![plan](plan.png) <https://example.org/a>

| what | days |
| --- | ---: |
| paid | 2 |

#### Far too deep
```html
<b>
```
"""
READ = {"Accept": "application/json"}


@pytest.fixture(scope="module", params=["", "/ops"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "pages").mkdir()
    (folder / "pages" / "policy.md").write_text(POLICY)
    (folder / "pages" / "more.md").write_text("# Even *more*\n\nText.\n")
    (folder / "pages" / "latin.md").write_bytes(b"caf\xe9")
    (folder / "pages" / "huge.md").write_text("x" * 1_000_001)
    wiki = folder / "disk" / "docs" / "wiki"
    wiki.mkdir(parents=True)
    (wiki / "start.md").write_text("Hello ![plan](plan.png) [file](sub/a%20b.pdf)\n")
    made = Site(folder, prefix=request.param, edit=lambda text: text + APPS)
    yield made
    made.close()


def shown(site: Site, address: str, *grants: str) -> Reply:
    return site.ask("GET", f"{site.prefix}/{address}", headers=PAGE, token=site.token(*(grants or ("**:*",))))


def read(site: Site, address: str, *grants: str) -> Reply:
    return site.ask("GET", f"{site.prefix}/{address}", headers=READ, token=site.token(*(grants or ("**:*",))))


def test_a_page_is_its_text_with_links_into_the_site(site: Site) -> None:
    text = shown(site, "apps/hand/pages/policy").text
    at = site.prefix
    assert "<title>Leave &amp; more · Ops &amp; &lt;Co&gt;</title>" in text
    assert text.count("Leave &amp; more</") == 2  # the trail and the heading, which the text does not repeat
    assert '<h2 id="what-counts">What counts</h2>' in text
    assert '<h3 id="far-too-deep">' in text
    for href in (
        f"{at}/forms/leave",
        f"{at}/views/waiting?kind=paid",
        f"{at}/apps/hand/pages/more#deep",
        "https://example.org/a",
    ):
        assert f'<a href="{href}">' in text
    assert f'<img src="{at}/apps/hand/static/plan.png" alt="plan" loading="lazy">' in text
    assert '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>' in text
    assert '<th scope="col" class="num">days</th>' in text
    assert '<pre tabindex="0"><code>&lt;b&gt;' in text
    trail = re.findall(r"<bdi[^>]*>([^<]*)</bdi>", re.search('<nav class="crumbs".*?</nav>', text, re.DOTALL)[0])  # type: ignore[index]
    assert trail == ["Home", "Hand", "Pages", "Leave &amp; more"]


@pytest.mark.parametrize(("above", "title"), [
    ("title: Trips", "Trips"), ("Title: 'Jo''s trips'  # ours", "Jo's trips"), ('title: "a \\"b\\": c"', 'a "b": c'),
    ("tags: [a,\n  b]\ntitle: >-\n  Long\n  trips\nauthors:\n- Jo\n# more", "Long trips"), ("title:", "H"), ("", "H"),
    ("title: Ticket #5", "Ticket #5"), ("Only a text between two lines.", None),
    ("- a list", None), ("https://example.org", None),
])  # fmt: skip
@pytest.mark.parametrize("end", ["---", "..."])
def test_lines_above_a_page_say_its_title_and_a_text_between_two_lines_is_not_lost(
    above: str, title: str | None, end: str
) -> None:
    data = f"---\n{above}\n{end}\n# H\n"
    text = app.plugin("markdown").read_text(data)
    assert (text.title, text.body) == (("", data) if title is None else (title, "# H\n"))
    underlined = app.plugin("markdown").read_text("\nHow *we* work\n===\n")
    assert underlined.title == "How we work"


def test_what_lies_in_a_share_is_reached_there(site: Site) -> None:
    text = shown(site, "apps/wiki/pages/start").text
    assert f'<img src="{site.prefix}/files/docs/wiki/plan.png" alt="plan"' in text
    assert f'<a href="{site.prefix}/files/docs/wiki/sub/a%20b.pdf">file</a>' in text


def test_the_list_of_pages_has_their_titles_and_stands_in_the_menu(site: Site) -> None:
    told = read(site, "apps/hand/pages").json
    assert [(one["name"], one["title"]) for one in told["items"]] == [
        ("more", "Even more"), ("huge", "huge"), ("latin", "latin"), ("policy", "Leave & more"),
    ]  # fmt: skip
    assert f'href="{site.prefix}/apps/hand/pages/policy"' in shown(site, "apps/hand/pages").text
    assert {"title": "Pages", "icon": "", "address": "apps/hand/pages"} in read(site, "apps/hand").json["menu"]
    page = read(site, "apps/hand/pages/more.md").json
    assert page == {
        "name": "more",
        "title": "Even more",
        "address": "apps/hand/pages/more",
        "text": "# Even *more*\n\nText.\n",
    }


@pytest.mark.parametrize(("address", "status", "words"), [
    ("apps/hand/pages/latin", 415, "latin.md is not UTF-8 text"), ("apps/hand/pages/huge", 413, "has over 1 MB"),
    ("apps/hand/pages/polici", 404, "there is no page polici; did you mean policy?"),
    ("apps/hand/pages/..%2fapp", 400, "slash"), ("apps/hand/pages/..", 400, "the name is empty, or is . or .."),
    ("apps/desk/pages", 404, "has no pages"),
    ("apps/hand/pages/policy?x=1", 400, "x is no parameter here"), ("apps/wiki/pages/none", 404, ""),
])  # fmt: skip
def test_what_is_no_page_says_why(site: Site, address: str, status: int, words: str) -> None:
    for answer in (read(site, address), shown(site, address)):
        assert answer.status == status
        assert words in answer.text.replace("&#039;", "'")


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<div onclick=x>\n\ntext\n\n</div>",
    "[a](javascript:alert(1))",
    "[a](JaVa&#115;cript:alert(1))", "[a](java%0ascript:x)", "[a]( javascript:x)", "[a](data:text/html;base64,eA==)",
    "[a](vbscript:x)", "[a](//evil.example/x)", "[a](\\\\evil.example)", "<javascript:alert(1)>", "![a](javascript:x)",
    "![a](data:image/svg+xml;base64,eA==)", "![a](https://evil.example/x.png)", '[a](https://a/"onclick="x)',
    '[a](b "\\" onclick=x")',
    '![a" onerror="x](b.png)', "[a]\n\n[a]: javascript:x", "[a](../../app.toml)", "```\"><script>\nx\n```",
    "# <svg onload=x>",
    "| <b onclick=x> |\n| --- |\n| <script> |", "[^1]\n\n[^1]: <script>", "[a](file:///etc/passwd)",
    "[a](forms/leave\"onclick=x)",
    "- [ ] <input onfocus=x autofocus>", "<!-- --><script>x</script>", "&lt;script&gt;", "<a href=\"javascript:x\">y</a>",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_somebody_writes_runs(text: str) -> None:
    from html.parser import HTMLParser

    place = app.plugin("page_sources").place
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    markdown_html = app.plugin("markdown_html")
    Reader().feed(
        markdown_html.html(text, lambda target, image: "/" + (place("hand", "", target, image) or ""), wide="Table")
    )
    for tag, attrs in found:
        assert tag in (
            "p a span img ul ol li h2 pre code div table thead tbody tr th td sup section em strong".split()
        ), (tag, attrs)  # fmt: skip
        assert not {name for name in attrs if name.startswith("on") or name == "style"}, attrs
        for name in ("href", "src"):
            target = attrs.get(name) or "/"
            assert re.match(
                r"/(?![/\\])|#|https://(?!evil\.example/x\.png$)" if name == "src" else r"/(?![/\\])|#|https://", target
            )
            assert not (name == "src" and target.startswith("http"))


@pytest.mark.parametrize("text", ["[" * 100_000, "[a](" * 30_000, "*a **b " * 30_000, "> " * 100_000,
                                  "# a\n\n" * 40_000,
                                  "|a" * 50_000 + "\n" + "|-" * 50_000, "`" * 3000 + " `" * 30_000,
                                  "- " * 100_000])  # fmt: skip
def test_a_text_made_to_take_long_does_not(text: str) -> None:
    import time

    began = time.process_time()
    assert app.plugin("markdown_html").html(text, lambda target, image: "/x")
    assert time.process_time() - began < 3


CELLS = '<th scope="col">a</th>\n<th scope="col" class="mid">b</th>\n<th scope="col" class="num">c</th>'


@pytest.mark.parametrize(("text", "parts"), [
    ("| a | b | c |\n| --- | :-: | --: |\n| 1 |\n| 2 | 3 | 4 | 5 |\n| `x\\|y` | \\| | |", [
        CELLS, '<td>1</td>\n<td class="mid"></td>\n<td class="num"></td>', '<td class="num">4 | 5</td>',
        '<td><code>x|y</code></td>\n<td class="mid">|</td>',
    ]),
    ("a | b | c\n--- | :-: | --:\n1 | 2 | 3\nnot a row", [
        CELLS, '<td class="num">3</td>', "</table></div>\n<p>not a row</p>",
    ]),
    ("- in a list\n\n  | a |\n  | --- |\n  | 1 |\n\n> | a |\n> | --- |\n> | 2 |", ["<td>1</td>", "<td>2</td>"]),
    ("a[^n] b[^n]\n\n[^n]: note", [
        '<sup id="fnref-1"><a href="#fn-1">1</a></sup>', '<sup id="fnref-1--2"><a href="#fn-1">1</a></sup>',
        '<li id="fn-1"><p>note <a href="#fnref-1">↩</a> <a href="#fnref-1--2">↩</a></p></li>',
    ]),
    ("# One\n> # Two\n\n- ## Three", [
        '<h2 id="one">One</h2>', '<blockquote>\n<h2 id="two">Two</h2>', '<li><h3 id="three">Three</h3>',
    ]),
    ("see https://example.org/a?b=c. [as https://x.example](forms/leave)", [
        '<a href="https://example.org/a?b=c">https://example.org/a?b=c</a>.', '<a href="/forms/leave">as https://x.example</a>',
    ]),
    ("- [x] done\n\n- [ ] open", ['<li class="task"><p>☑ done</p>']),
])  # fmt: skip
def test_what_people_write_in_markdown_is_shown_as_it_is_meant(text: str, parts: list[str]) -> None:
    html = app.plugin("markdown_html").html(text, lambda target, image: f"/{target}", wide="Table")
    for part in parts:
        assert part in html, html


def test_headings_have_the_ids_that_links_written_elsewhere_name() -> None:
    text = (
        "# What's new?\n# A & B\n# A & B\n# A  B 1\n# `snake_case` _and_ **more**\n# Über [uns](forms/leave)\n# 🎉\n# Main\n"
    )
    html = app.plugin("markdown_html").html(text, lambda target, image: f"/{target}")
    assert re.findall('id="([^"]*)"', html) == [
        "whats-new", "a--b", "a--b-1", "a--b-1-1", "snake_case-and-more", "über-uns", "part", "p-main",
    ]  # fmt: skip


def test_a_link_without_a_path_stays_on_its_page(site: Site) -> None:
    (site.folder / "pages" / "stays.md").write_text('[a]() [b](?q=1#c) [c](<> "d") ![e]() [f](/) [g](/?q=1)\n')
    try:
        text = shown(site, "apps/hand/pages/stays").text
        assert not [one for one in app.plugin("app_checks").dead_links(site.app) if "stays.md" in one]
    finally:
        (site.folder / "pages" / "stays.md").unlink()
    at = site.prefix
    wanted = '<a href="">a</a> <a href="?q=1#c">b</a> <a href="" title="d">c</a> <span>e</span> '
    assert wanted + f'<a href="{at}/">f</a> <a href="{at}/?q=1">g</a>' in text


def test_a_table_that_would_make_a_page_large_is_text() -> None:
    wide = "|a" * 400 + "|\n" + "|-" * 400 + "|\n"
    html = app.plugin("markdown_html").html
    assert "<table>" in html(wide + "|\n" * 40, lambda target, image: "")
    assert "<table>" not in html(wide + "|\n" * 60, lambda target, image: "")
    assert "<table>" not in html("|a" * 501 + "|\n" + "|-" * 501 + "|\n", lambda target, image: "")


def test_the_ids_of_a_text_begin_as_they_are_told_to_where_there_are_others() -> None:
    text = "# Upload\n[up](#upload) a[^1]\n\n[^1]: note"
    html = app.plugin("markdown_html").html(text, lambda target, image: "", mark="readme-")
    assert re.findall('(?:id="|href="#)([^"]*)', html) == [
        "readme-upload", "readme-upload", "readme-fnref-1", "readme-fn-1", "readme-fn-1", "readme-fnref-1",
    ]  # fmt: skip


def test_pages_are_reached_whatever_their_files_are_called(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    for name in ("x.md", "con", "U\u0308ber uns", "50% #1?", "a\\b", "v1.2"):
        (tmp_path / "pages" / f"{name}.md").write_text(f"[self](<{name}.md>) text of {name}")
    (tmp_path / "pages" / ".md").write_text("no name")
    try:
        (tmp_path / "pages" / os.fsdecode(b"caf\xe9.md")).write_text("latin")
        latin = ["apps.hand.pages: caf?.md: its name is not UTF-8: give it another one"]
    except OSError:  # macOS stores no such names
        latin = []
    site = Site(tmp_path, edit=lambda text: text + '[apps.hand]\npages = "pages"\n')
    try:
        items = read(site, "apps/hand/pages").json["items"]
        assert {one["name"] for one in items} == {"x.md", "con", "U\u0308ber uns", "50% #1?", "a\\b", "v1.2"}
        for one in items:
            assert read(site, one["address"]).json["text"].endswith(f"text of {one['name']}"), one
        assert read(site, f"apps/hand/pages/{quote('Über uns')}").status == 200
        assert f'href="/{items[0]["address"]}"' in shown(site, "apps/hand/pages").text
        dead = app.plugin("app_checks").dead_links(site.app)
        assert [one for one in dead if "line" not in one] == latin
        assert not [one for one in dead if "x.md" in one or "ber uns" in one or "v1.2" in one]
    finally:
        site.close()


# ---- editing


def form_of(site: Site, address: str, token: str) -> HtmlForm:
    answer = site.ask("GET", address, headers=PAGE, token=token)
    assert answer.status == 200, answer.text
    return next(one for one in forms_of(answer.text) if "/pages" in one.action)


def send(site: Site, form: HtmlForm, token: str, **typed: str) -> Reply:
    return site.ask("POST", form.action, urlencode(form.fields | typed).encode(), {**FORM, **PAGE}, token)


def test_a_page_is_written_edited_and_read_again(site: Site) -> None:
    token, at = site.token("**:*"), f"{site.prefix}/apps/wiki/pages"
    done = send(
        site, form_of(site, f"{at}?_new=1", token), token, title="Travel: by train", text="Take the *train*.\r\nOr walk."
    )
    assert (done.status, done["Location"]) == (303, f"{at}/travel-by-train")
    stored = site.folder / "disk" / "docs" / "wiki" / "travel-by-train.md"
    assert stored.read_text() == "---\ntitle: Travel: by train\n---\nTake the *train*.\nOr walk.\n"
    assert "<h1><bdi>Travel: by train</bdi></h1>" in shown(site, "apps/wiki/pages/travel-by-train").text
    done = send(site, form_of(site, f"{at}/travel-by-train?_edit=1", token), token, text="New text")
    assert (done.status, done["Location"]) == (303, f"{at}/travel-by-train")
    assert stored.read_text() == "New text\n"
    again = send(site, form_of(site, f"{at}?_new=1", token), token, title="Travel by train", text="mine")
    assert again.status == 409
    assert "There is a page with this title already" in again.text
    assert "mine</textarea>" in again.text
    assert 'value="Travel by train"' in again.text
    assert stored.read_text() == "New text\n"
    done = send(site, form_of(site, f"{at}?_new=1", token), token, title="Aux", text="Where it is plugged in")
    assert (done.status, done["Location"]) == (303, f"{at}/aux-page")  # Windows has no file aux.md
    entries = site.ask("GET", f"{site.prefix}/admin/audit?_size=20", headers=READ, token=token).json["items"]
    assert {(one["action"], one["outcome"]) for one in entries if "travel-by-train" in str(one)} >= {
        ("create", "ok"),
        ("update", "ok"),
    }


def test_two_who_edit_at_once_are_both_shown_and_neither_is_lost(site: Site) -> None:
    token, at = site.token("**:*"), f"{site.prefix}/apps/wiki/pages"
    send(site, form_of(site, f"{at}?_new=1", token), token, title="Both", text="first")
    mine, theirs = form_of(site, f"{at}/both?_edit=1", token), form_of(site, f"{at}/both?_edit=1", token)
    assert send(site, theirs, token, text="by <them>").status == 303
    refused = send(site, mine, token, text="by me")
    assert refused.status == 412
    assert "Somebody else changed this page in the meantime" in refused.text
    assert "by &lt;them&gt;" in refused.text
    assert "by me</textarea>" in refused.text
    form = next(one for one in forms_of(refused.text) if "/pages" in one.action)
    assert send(site, form, token, text="by both").status == 303
    assert read(site, "apps/wiki/pages/both").json["text"] == "by both\n"
    assert send(site, mine, token, text="by both\n").status == 303  # sent twice, as a browser may


def test_what_was_written_is_not_lost_when_the_session_has_ended(site: Site) -> None:
    token, at = site.token("**:*"), f"{site.prefix}/apps/wiki/pages"
    for form, typed in (
        (form_of(site, f"{at}/start?_edit=1", token), {"text": "Written <late>"}),
        (form_of(site, f"{at}?_new=1", token), {"title": "Late", "text": "Written <late>"}),
    ):
        before = read(site, "apps/wiki/pages/start").json["text"]
        refused = site.ask(
            "POST", form.action, urlencode(form.fields | typed).encode(), {**FORM, **PAGE, "Sec-Fetch-Site": "same-origin"}
        )
        assert refused.status == 401
        carried = next(one for one in forms_of(refused.text) if "draft" in one.fields)
        resumed = site.ask(
            "POST", form.action.partition("?")[0] + "?_resume=1", urlencode({"draft": carried.fields["draft"]}).encode(),
            {**FORM, **PAGE, "Sec-Fetch-Site": "same-origin"}, token,
        )  # fmt: skip
        assert resumed.status == 200
        assert "Written &lt;late&gt;</textarea>" in resumed.text
        assert read(site, "apps/wiki/pages/start").json["text"] == before
        whole = next(one for one in forms_of(resumed.text) if "/pages" in one.action)
        assert ("title" in typed) == (whole.fields.get("title") == "Late")


def test_who_may_do_what_with_pages_of_a_share(site: Site) -> None:
    at = f"{site.prefix}/apps/wiki/pages"

    def status(method: str, address: str, body: Any, *grants: str) -> int:
        data = None if body is None else json.dumps(body).encode()
        return site.ask(method, f"{at}{address}", data, {**JSON, **READ}, site.token(*grants, subject="bo")).status

    reader = ("apps/wiki:read", "files/docs/**:read")
    assert status("GET", "/start", None, *reader) == 200
    assert status("GET", "/start", None, "apps/wiki:read") == 403
    assert status("GET", "/start", None, "files/docs/**:read") == 403
    assert status("POST", "/start", {"text": "x"}, *reader) == 403
    assert status("POST", "", {"title": "New", "text": "x"}, *reader) == 403
    assert status("POST", "/start", {"text": "x"}, "files/docs/**:*") == 403
    assert status("POST", "", {"title": "By bo", "text": "x"}, *reader, "files/docs/wiki/*:create") == 201
    assert status("POST", "/by-bo", {"text": "y"}, *reader, "files/docs/wiki/*:create") == 403
    assert status("POST", "/by-bo", {"text": "y"}, *reader, "files/docs/wiki/*:update") == 200
    shown_to = site.ask("GET", f"{at}/start", headers=PAGE, token=site.token(*reader, subject="bo")).text
    assert "_edit=1" not in shown_to
    assert "_edit=1" in shown(site, "apps/wiki/pages/start").text
    assert "_edit=1" not in shown(site, "apps/hand/pages/policy").text


@pytest.mark.parametrize(("address", "body", "status", "words"), [
    ("wiki/pages", {"text": "x"}, 422, "/title"), ("wiki/pages", {"title": "x"}, 422, "/text"),
    ("wiki/pages", {"title": "x", "text": 5}, 422, "/text"),
    ("wiki/pages", {"title": "x", "text": "y", "txt": ""}, 422, "/txt"),
    ("wiki/pages", {"title": "x" * 201, "text": "y"}, 422, "/title"), ("wiki/pages", [], 422, "object"),
    ("wiki/pages", {"name": "../x", "text": "y"}, 422, "/name"), ("wiki/pages/start", {"text": "a\0b"}, 422, "/text"),
    ("wiki/pages/nosuch", {"text": "x"}, 404, ""), ("hand/pages/more", {"text": "x"}, 405, "beside app.toml"),
    ("wiki/pages/start?x=1", {"text": "x"}, 400, "x is no parameter"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused_in_words(site: Site, address: str, body: Any, status: int, words: str) -> None:
    answer = site.ask(
        "POST", f"{site.prefix}/apps/{address}", json.dumps(body).encode(), {**JSON, **READ}, site.token("**:*")
    )
    assert (answer.status, words in answer.text) == (status, True), answer.text
    assert read(site, "apps/wiki/pages/start").json["text"].startswith("Hello")


def test_an_edit_changes_only_what_was_changed(site: Site) -> None:
    token = site.token("**:*")
    text = "one\u2028two\x0cthree\x85four\n"
    site.ask("PUT", f"{site.prefix}/files/docs/wiki/odd.md", text.encode(), {}, token)
    form = form_of(site, f"{site.prefix}/apps/wiki/pages/odd?_edit=1", token)
    assert send(site, form, token, text=text.replace("\n", "\r\n") + "more").status == 303
    assert read(site, "apps/wiki/pages/odd").json["text"] == text + "more\n"


@pytest.mark.parametrize("title", ['"Quoted"', "> it's", "a: b", "- x", "|", "---", "'q'"])
def test_a_page_has_the_title_that_it_was_given(site: Site, title: str) -> None:
    markdown, above = app.plugin("markdown"), "---\ntitle: >\n  Old\n  one\nauthor: Jo\n---\n"
    for text, kept in (("text\n", ""), (above + "text\n", "author: Jo\n")):
        made = markdown.with_title(text, title)
        assert markdown.read_text(made)[:2] == (title, "text\n")
        assert kept in made
        assert "Old" not in made


def test_a_program_writes_with_if_match(site: Site) -> None:
    token, at = site.token("**:*"), f"{site.prefix}/apps/wiki/pages"
    made = site.ask("POST", at, b'{"title": "Matched", "text": "one"}', {**JSON, **READ}, token)
    assert made.status == 201
    assert made["Location"] == f"{at}/matched"
    old = made["ETag"]
    assert site.ask("POST", f"{at}/matched", b'{"text": "two"}', {**JSON, **READ, "If-Match": old}, token).status == 200
    assert site.ask("POST", f"{at}/matched", b'{"text": "three"}', {**JSON, **READ, "If-Match": old}, token).status == 412
    assert read(site, "apps/wiki/pages/matched").json["text"] == "two\n"


# ---- what is wrong with them


def test_server_check_names_each_dead_link_with_its_page_and_line(site: Site) -> None:
    (site.folder / "pages" / "dead.md").write_text(
        "---\ntitle: Dead\n---\nfine: [a](forms/leave) [b](policy) [s](static/desk.css)\n`[c](forms/none)`\n"
        "[a](views/wating)\n\n```\n[no](views/none)\n```\n[b](polici) ![c](none.png)\n"
        "[d](files/docs/none.txt) [e](forms/leave/nowhere)\n"
    )
    try:
        found = [one for one in app.plugin("app_checks").dead_links(site.app) if "dead.md" in one]
    finally:
        (site.folder / "pages" / "dead.md").unlink()
    assert [one.removeprefix("apps.hand.pages: dead.md, ") for one in found] == [
        "line 6: views/wating names views/wating, which is not declared; did you mean views/waiting?",
        "line 11: polici names the page polici, which is not there; did you mean policy?",
        "line 11: none.png names a file that is not in the static folder",
        "line 12: files/docs/none.txt names a file that is not there",
        "line 12: forms/leave/nowhere names nothing that is in forms/leave",
    ]
    assert any("latin.md: latin.md is not UTF-8" in one for one in app.plugin("app_checks").dead_links(site.app))


def test_server_check_sees_the_links_that_the_page_shows(site: Site) -> None:
    (site.folder / "pages" / "plan (1).md").write_text("")
    (site.folder / "pages" / "odd.md").write_text(
        "[a](<plan (1).md>) [b](plan%20(1).md) [c](apps/wiki/pages/start) [d](apps/wiki/pages/policy)\n\n    [e](none)\n\n"
        "[f][ref] [g\nh](wxyz) [![i](policy)](nothing) [j](apps/desk/pages/x)\n\n[ref]: nobody\n"
    )
    try:
        found = [one for one in app.plugin("app_checks").dead_links(site.app) if "odd.md" in one]
    finally:
        (site.folder / "pages" / "odd.md").unlink()
        (site.folder / "pages" / "plan (1).md").unlink()
    assert [one.removeprefix("apps.hand.pages: odd.md, ").partition("; did you mean")[0] for one in found] == [
        "line 1: apps/wiki/pages/policy names the page policy, which is not there",
        "line 8: nobody names the page nobody, which is not there",
        "line 6: wxyz names the page wxyz, which is not there",
        "line 6: policy names a file that is not in the static folder",
        "line 6: nothing names the page nothing, which is not there",
        "line 6: apps/desk/pages/x names a page of apps/desk, which has none",
    ]


@pytest.mark.parametrize(("pages", "told"), [
    ("nowhere", "names the folder nowhere, which does not exist"),
    ("files/none/pages", "names 'files/none', which is not declared"),
    ("files/pics/pages", "is in files/pics, which does not take such files: add \".md\" to its accept"),
])  # fmt: skip
def test_pages_that_are_nowhere_are_refused_at_start(tmp_path: Path, pages: str, told: str) -> None:
    with pytest.raises(app.ConfigError) as error:
        Site(tmp_path, edit=lambda text: text + f'[apps.hand]\npages = "{pages}"\n')
    assert next(one.detail for one in error.value.faults or () if one.pointer == "apps.hand.pages").startswith(told)


# ---- templates of an app's own


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_a_template_gets_what_the_documentation_says(own: Site) -> None:
    names = "view url subject site params t".split()
    (own.folder / "templates" / "desk.html").write_text(
        f"{{{{sorted(name for name in {names} if defined(name))}}}} {{{{subject}}}} {{{{site}}}} {{{{params['a']}}}} "
        "{{t('common.home')}} {{url('forms/leave')}} {{len(view('waiting', kind='paid'))}}"
    )
    text = own.ask("GET", "/apps/desk?a=b", headers=PAGE, token=own.token("**:*")).text
    assert f"{sorted(names)}".replace("'", "&#039;") + " ann Ops &amp; &lt;Co&gt; b Home /forms/leave 0" in text
    told = (app.BUNDLED / "docs" / "apps-and-templates.md").read_text().partition("## What a page of an app may use")[2]
    documented = set(re.findall(r"`(\w+)[`(]", told.partition("A template is a program")[0]))
    assert set(names) <= documented


@pytest.mark.parametrize(("text", "line", "reason"), [
    ("<p>\n{{nothing}}", 2, "NameError"), ("<p>\n\n% if x\n% end", 3, "SyntaxError"), ("{{1/0}}", 1, "ZeroDivisionError"),
    ("{{params['x']}}", 1, "KeyError"),
])  # fmt: skip
def test_what_is_wrong_with_a_template_is_told_to_whoever_changes_it(
    own: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str, line: int, reason: str
) -> None:
    (own.folder / "templates" / "desk.html").write_text(text)

    def asked(*grants: str) -> Reply:
        return own.ask("GET", "/apps/desk", headers=PAGE, token=own.token(*grants))

    where = f"{reason} in templates/desk.html, line {line}: "
    answer = asked("**:*")
    assert (answer.status, where in answer.text) == (500, False)
    assert where in caplog.text
    monkeypatch.setattr(app.plugin("reload"), "watched", {own.folder / "app.toml"})
    assert where in asked("**:*").text
    answer = asked("apps/**:read", "views/**:read")
    assert (answer.status, where in answer.text) == (500, False)
    assert "Something went wrong" in answer.text


def test_a_template_that_is_no_text_or_makes_none_is_named(
    own: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app.plugin("reload"), "watched", {own.folder / "app.toml"})
    for text, words in (
        (b"caf\xe9", "UnicodeDecodeError in the template templates/desk.html: "),
        (b"{{'\\ud800'}}", "UnicodeEncodeError in the template app.tpl: "),
    ):
        (own.folder / "templates" / "desk.html").write_bytes(text)
        answer = own.ask("GET", "/apps/desk", headers=PAGE, token=own.token("**:*"))
        assert (answer.status, words in answer.text) == (500, True), answer.text


def test_a_template_says_what_it_wants_of_a_view_as_python_has_it(own: Site) -> None:
    token = own.token("**:*")
    for number in range(60):
        leave = {"day": "2027-01-04", "days": number % 3 + 1, "kind": "paid" if number % 2 else "unpaid", "address": "x"}
        assert own.send("/forms/leave", leave, token).status == 201
    (own.folder / "templates" / "desk.html").write_text(
        "{{len(view('waiting'))}} {{len(view('waiting', kind=None))}} "
        "{{len(view('waiting', kind__in=['paid', 'unpaid'], _size=7))}} "
        "{{len(view('waiting', days__gte=2.0))}} "
        "{{len(view('waiting', kind__null=False))}}"
    )
    text = own.ask("GET", "/apps/desk", headers=PAGE, token=token).text
    assert "60 60 7 40 60" in text


def test_a_frame_that_fails_leaves_a_plain_page(own: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (own.folder / "templates" / "layout.tpl").write_text("<p>\n{{1/0}}\n")
    answer = own.ask("GET", "/apps/bare", headers=PAGE, token=own.token("**:*"))
    assert (answer.status, answer["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert "the log says where" in answer.text
    assert "layout.tpl" not in answer.text
    monkeypatch.setattr(app.plugin("reload"), "watched", {own.folder / "app.toml"})
    answer = own.ask("GET", "/apps/bare", headers=PAGE, token=own.token("**:*"))
    assert "ZeroDivisionError in templates/layout.tpl, line 2" in answer.text
