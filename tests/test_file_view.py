"""The page of a file: what each kind of file is shown as, what never runs, and what a folder says of itself."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

import pytest
from http_client import PAGE, Reply, Site

import app

view = app.plugin("file_view")


@pytest.fixture
def root(site: Site) -> str:
    return site.token("**:*")


def put(site: Site, root: str, name: str, content: bytes | str, share: str = "/files/docs") -> str:
    target = f"{share}/{quote(name)}"
    assert site.put(target, content, root).status in (200, 201)
    return target


def shown(site: Site, root: str, target: str, query: str = "_view=1") -> Reply:
    reply = site.get(f"{target}?{query}", root, **PAGE)
    assert reply.status == 200, reply.text
    return reply


# ---- kinds

FIRST_BYTES = {"a.png": b"\x89PNG\r\n\x1a\n", "a.JPG": b"\xff\xd8\xff", "a.pdf": b"%PDF-1.7"}


@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("a.png", '<img src="{0}" alt="a.png" '), ("a.svg", '<img src="{0}" alt="a.svg" '),
        ("a.JPG", '<img src="{0}" alt="a.JPG" '),
        ("a.pdf", '<iframe src="{0}" title="a.pdf"></iframe>'), ("a.mp3", '<audio controls preload="metadata" src="{0}"'),
        ("a.mp4", '<video controls preload="metadata" src="{0}"'),
        ("a.bin", "There is no preview"), ("a.docx", "There is no preview"),
    ],
)  # fmt: skip
def test_media_are_shown_from_their_own_addresses(site: Site, share: str, root: str, name: str, element: str) -> None:
    body = FIRST_BYTES.get(name, b"") + b"\x89\0\1\2"
    target = put(site, root, name, body, share)
    page = shown(site, root, target)
    assert element.format(target) in page.text
    assert f'href="{target}" download' in page.text
    assert "script-src 'self'" in page["Content-Security-Policy"]
    assert "unsafe" not in page["Content-Security-Policy"]
    own = site.get(target, root)
    assert own.body == body
    assert own["X-Content-Type-Options"] == "nosniff"
    if name == "a.pdf":
        assert own["Content-Security-Policy"] == "frame-ancestors 'self'"
    else:
        assert own["Content-Security-Policy"].endswith("sandbox")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.pdf"])
def test_what_is_no_picture_by_its_first_bytes_is_not_shown_as_one(site: Site, root: str, name: str) -> None:
    page = shown(site, root, put(site, root, name, b"just text")).text
    assert "There is no preview of such files" in page
    assert "<img" not in page.partition("<main")[2]
    assert "<iframe" not in page


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.md", "a.png", "a.mp4", "a"])
def test_a_file_with_nothing_in_it_says_so(site: Site, root: str, name: str) -> None:
    assert "There is nothing in this file" in shown(site, root, put(site, root, name, b"")).text


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"eins\nzwei\n", ["eins", "zwei"]), (b"\xef\xbb\xbfb\xc3\xa4r", ["bär"]),
        ("bär\r\nX".encode("utf-16"), ["bär", "X"]),
        ("bar\nfoo".encode("utf-16-le"), ["bar", "foo"]), ("bar".encode("utf-16-be"), ["bar"]), (b"b\xe4r \x80", ["bär €"]),
        (b"<script>alert(1)</script>", ["&lt;script&gt;alert(1)&lt;/script&gt;"]),
    ],
)  # fmt: skip
def test_a_text_is_shown_by_lines_whatever_it_was_written_in(
    site: Site, root: str, content: bytes, lines: list[str]
) -> None:
    page = shown(site, root, put(site, root, "a.log", content))
    numbers, code = re.findall(r'<pre class="(?:numbers|code)"[^>]*>(.*?)</pre>', page.text, re.DOTALL)
    assert numbers.split("\n") == [str(n + 1) for n in range(len(lines))]
    assert code.removeprefix("\n").split("\n") == lines


OFFERED = r'<option value="([^"]*)"( selected)?>'


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis", "日本語のメモ"), ("euc-jp", "日本語のメモ"), ("koi8-r", "Привет мир"),
        ("windows-1251", "Привет мир"), ("windows-1250", "Zażółć gęślą"),
        ("gb18030", "你好"), ("euc-kr", "안녕하세요"), ("windows-1252", "Müller"),
    ],
)  # fmt: skip
def test_letters_that_are_guessed_are_said_to_be_and_others_are_chosen(
    site: Site, share: str, root: str, encoding: str, text: str
) -> None:
    for name, content in (("a.txt", text), ("a.csv", f"a,b\n{text},2\n"), ("README.md", f"# {text}\n")):
        target = put(site, root, name, content.encode(view.ENCODINGS[encoding][0]), share)
        guessed = shown(site, root, target, "_view=1&_list=_sort%3D-name").text
        assert "so these are a guess" in guessed
        assert [one for one, chosen in re.findall(OFFERED, guessed) if chosen] == ["windows-1252"]
        assert '<input type="hidden" name="_list" value="_sort=-name">' in guessed
        read = shown(site, root, target, f"_view=1&_encoding={encoding}").text
        assert text in read, name
        assert "so these are a guess" not in read
        assert [one for one, chosen in re.findall(OFFERED, read) if chosen] == [encoding]
    assert "so these are a guess" in site.get(f"{share}/", root, **PAGE).text


def test_letters_that_are_known_are_not_asked_about_and_unknown_ones_are_refused(site: Site, root: str) -> None:
    for content in ("plain", "bär", "bär".encode("utf-16")):
        assert not re.search(OFFERED, shown(site, root, put(site, root, "a.txt", content)).text)
    target = put(site, root, "a.txt", "日本語".encode("shift_jis"))
    for wrong in ("rot13", "unicode_escape", "shift-jis"):
        reply = site.get(f"{target}?_view=1&_encoding={wrong}", root)
        assert reply.status == 400
        assert "shift_jis, euc-jp" in reply.json["detail"]
    url = site.send("/files/docs/", {"link": {"expires": "1d"}}, root).json["url"]
    link = "/s/" + url.rpartition("/")[2]
    assert "日本語" in site.get(f"{link}/a.txt?_view=1&_encoding=shift_jis", **PAGE).text


def test_a_chosen_letter_that_is_cut_is_left_out(site: Site, root: str) -> None:
    target = put(site, root, "long.txt", ("x" + "語" * 200_000).encode("shift_jis"))
    page = shown(site, root, target, "_view=1&_encoding=shift_jis").text
    assert "Only the beginning" in page
    assert "\ufffd" not in page


def test_html_and_programs_are_texts_and_bytes_are_not(site: Site, root: str) -> None:
    for name in ("a.html", "a.py", "Makefile", "a.json", "a.unknownkind"):
        page = shown(site, root, put(site, root, name, "<b>x</b>"))
        assert "&lt;b&gt;x&lt;/b&gt;" in page.text, name
    for name in ("b.txt", "b.unknownkind"):
        assert "There is no preview" in shown(site, root, put(site, root, name, bytes(range(256)) * 20)).text


def test_a_long_text_is_cut_and_says_so(site: Site, root: str) -> None:
    target = put(site, root, "long.txt", "é" * 200_000)
    page = shown(site, root, target)
    assert "Only the beginning" in page.text
    assert "\ufffd" not in page.text
    assert len(page.body) < 300_000
    many = shown(site, root, put(site, root, "many.txt", "x\n" * 6000))
    assert "Only the beginning" in many.text
    assert "Only the beginning" not in shown(site, root, put(site, root, "few.txt", "x\n" * 4000)).text


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_is_a_table_whatever_is_between_its_cells(site: Site, root: str, mark: str) -> None:
    text = "\r\n".join(mark.join(row) for row in (["name", "sum"], ['"a;b,c\td"', "1.5"], ["<i>", "20"], ["short"]))
    page = shown(site, root, put(site, root, "a.csv", text)).text
    assert re.findall(r'<th scope="col" class="(\w*)">(.*?)</th>', page) == [("", "name"), ("num", "sum")]
    cells = re.findall(r"<td[^>]*><bdi>(.*?)</bdi></td>", page, re.DOTALL)
    assert cells == ["a;b,c\td", "1.5", "&lt;i&gt;", "20", "short", ""]


def test_a_table_is_bounded(site: Site, root: str) -> None:
    page = shown(site, root, put(site, root, "a.csv", "a,b\n" + "1,2\n" * 2000)).text
    assert page.count("<tr>") == 1001
    assert "Only the beginning" in page
    wide = shown(site, root, put(site, root, "w.csv", ",".join(map(str, range(300))) + "\n" + "1," * 299)).text
    assert wide.count('scope="col"') == 100


def test_markdown_is_shown_and_nothing_in_it_runs(site: Site, root: str) -> None:
    text = "# Plan\n\n[x](javascript:alert(1)) <script>alert(2)</script>\n\n![p](p.png) ![q](../q.png) "
    text += "[t](sub/t.md#top) [f](sub/) [up](../../../x)"
    page = shown(site, root, put(site, root, "in/a b/plan.md", text)).text
    assert re.search(r"<h2[^>]*>Plan</h2>", page)
    assert "javascript:" not in page
    assert "&lt;script&gt;" in page
    for one in ("in/a%20b/p.png", "in/q.png"):
        assert f'<img src="/files/docs/{one}"' in page
    assert 'href="/files/docs/in/a%20b/sub/t.md?_view=1#top"' in page
    assert 'href="/files/docs/in/a%20b/sub/"' in page
    assert "<span>up</span>" in page


# ---- around it


def test_the_files_before_and_after_come_in_the_order_of_the_list(site: Site, share: str, root: str) -> None:
    for name, size in (("a 10.txt", 1), ("a 9.txt", 3), ("b.png", 2), ("z/inner.txt", 9)):
        put(site, root, name, b"x" * size, share)

    def around(name: str, state: str = "") -> tuple[str, str]:
        page = shown(site, root, f"{share}/{quote(name)}", "_view=1" + (f"&_list={quote(state)}" if state else "")).text
        found = [re.search(rf'href="([^"?]*)[^"]*" rel="{rel}"', page) for rel in ("prev", "next")]
        return tuple(one[1].rpartition("/")[2] if one else "" for one in found)  # type: ignore[return-value]

    assert around("a 9.txt") == ("", "a%2010.txt")
    assert around("a 10.txt") == ("a%209.txt", "b.png")
    assert around("b.png") == ("a%2010.txt", "")
    assert around("b.png", "_sort=-name") == ("", "a%2010.txt")
    assert around("b.png", "_sort=size_bytes") == ("a%2010.txt", "a%209.txt")
    assert around("b.png", "_sort=-size_bytes") == ("a%209.txt", "a%2010.txt")
    assert "_list=_sort%3D-name" in shown(site, root, f"{share}/b.png", "_view=1&_list=_sort%3D-name").text


def test_buttons_are_there_for_who_may_press_them(site: Site, root: str) -> None:
    target = put(site, root, "in/plan.txt", "x")
    page = shown(site, root, target).text
    assert 'href="/share?of=files%2Fdocs%2Fin%2Fplan.txt"' in page
    for what in ("rename", "move", "copy", "delete"):
        assert f'href="{target}?_do={what}"' in page
    assert 'href="/files/docs/in/"' in page
    reader = shown(site, site.token("files/docs:read"), target).text
    assert "_do=delete" not in reader
    assert site.get(f"{target}?_view=1", site.token("files/docs:create"), **PAGE).status in (400, 403)


def test_where_there_are_too_many_to_sort_they_come_in_path_order(
    site: Site, share: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = app.plugin("file_lists")
    monkeypatch.setattr(lists, "MOST_SORTED", 20)
    monkeypatch.setattr(lists, "_PROBED", 16)
    others = ["a", "b.tar.gz", "part 00", "part 010-x.txt", "part 034ü.txt", "part 02"]
    names = others + [f"part {n:03}.txt" for n in range(35)]
    names = sorted(names, key=str.encode)
    for name in (*names, "part 011/inside", "z/inside"):
        put(site, root, name, b"x", share)
    found = [
        re.findall(r'href="([^"?]+)[^"]*" rel="(prev|next)"', shown(site, root, f"{share}/{quote(x)}").text) for x in names
    ]
    steps = [{rel: unquote(href.rpartition("/")[2]) for href, rel in one} for one in found]
    wanted = [
        ({"prev": names[at - 1]} if at else {}) | ({"next": names[at + 1]} if at + 1 < len(names) else {})
        for at in range(len(names))
    ]
    assert steps == wanted


def test_programs_get_facts_and_files_as_before(site: Site, root: str) -> None:
    target = put(site, root, "plan.txt", "x")
    facts = site.get(f"{target}?_view=1", root).json
    assert (facts["name"], facts["size_bytes"], facts["media"], facts["address"]) == (
        "plan.txt",
        1,
        "text/plain",
        target[1:],
    )
    assert site.get(target, root, **PAGE).body == b"x"
    for query, where, status in (
        ("_view=2", target, 400),
        ("_view=1&x=1", target, 400),
        ("_view=1", "/files/docs/", 400),
        ("_view=1", "/files/docs/none", 404),
    ):
        assert site.get(f"{where}?{query}", root).status == status, (query, where)


# ---- folders


def test_a_list_leads_to_the_pages_of_files_that_have_one(site: Site, share: str, root: str) -> None:
    for name in ("a.txt", "b.docx", "c.pdf"):
        put(site, root, name, "x", share)
    page = site.get(f"{share}/", root, **PAGE).text
    assert f'href="{share}/a.txt?_view=1' in page
    assert f'href="{share}/c.pdf?_view=1' in page
    assert f'href="{share}/b.docx"' in page
    assert site.get(f"{share}/", root).json["items"][0]["address"] == f"{share[1:]}/a.txt"


@pytest.mark.parametrize("name", ["README.md", "ReadMe.MD", "readme.txt", "README"])
def test_a_readme_stands_below_its_list(site: Site, share: str, root: str, name: str) -> None:
    put(site, root, f"sub/{name}", "Hello **you** [see](plan.txt) <b>", share)
    page = site.get(f"{share}/sub/", root, **PAGE).text
    assert '<section class="readme"' in page
    if name.lower().endswith(".md"):
        assert "<strong>you</strong>" in page
        assert f'href="{share}/sub/plan.txt?_view=1"' in page
    else:
        assert "Hello **you** [see](plan.txt) &lt;b&gt;" in page
    assert "readme" not in site.get(f"{share}/", root, **PAGE).text
    assert '<section class="readme"' not in site.get(f"{share}/sub/?_q=read", root, **PAGE).text


def test_a_readme_that_is_long_or_no_text_spoils_no_list(site: Site, root: str) -> None:
    put(site, root, "README.txt", "x" * 200_000)
    page = site.get("/files/docs/", root, **PAGE)
    assert "Only the beginning" in page.text
    assert len(page.body) < 100_000
    put(site, root, "README.txt", bytes(range(256)) * 9)
    assert '<section class="readme"' not in site.get("/files/docs/", root, **PAGE).text


# ---- by a link


def test_pages_of_files_and_a_readme_stay_below_their_link(site: Site, root: str) -> None:
    put(site, root, "in/README.md", "[a](a.txt) [up](../secret.txt) ![p](sub/p.png)")
    put(site, root, "in/a.txt", "inner")
    put(site, root, "in/sub/b.md", "[back](../a.txt) [out](../../secret.txt)")
    put(site, root, "secret.txt", "no")
    url = site.send("/files/docs/in/", {"link": {"expires": "1d"}}, root).json["url"]
    link = "/s/" + url.rpartition("/")[2]
    page = site.get(f"{link}/", **PAGE).text
    assert f'href="{link}/a.txt?_view=1' in page
    assert f'<img src="{link}/sub/p.png"' in page
    assert "<span>up</span>" in page
    inner = site.get(f"{link}/sub/b.md?_view=1", **PAGE)
    assert inner.status == 200
    assert f'href="{link}/a.txt?_view=1"' in inner.text
    assert "<span>out</span>" in inner.text
    assert f'href="{link}/sub/"' in inner.text
    for reply in (inner, site.get(f"{link}/a.txt?_view=1", **PAGE)):
        assert not re.search(r"/files/|/share\?|_do=|secret\.txt\"", reply.text.replace("<code>", ""))
        assert reply["Referrer-Policy"] == "no-referrer"
    assert site.get(f"{link}/a.txt?_view=1").json["address"].startswith(link[1:])


def text_cases() -> list[Any]:
    cut = "aé€😀".encode()
    return [(cut[:end], cut[:end].decode(errors="ignore")) for end in range(1, len(cut) + 1)]


@pytest.mark.parametrize(("data", "text"), text_cases())
def test_a_letter_that_is_cut_is_left_out(data: bytes, text: str) -> None:
    assert view.decoded(data, "utf-8", is_cut=True) == text
