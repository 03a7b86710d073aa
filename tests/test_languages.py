"""plugins/catalogue.py and languages.py: texts by language, plural forms, and which language a reader has."""

from __future__ import annotations

import io
import re
import time
import tokenize
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import app
from tests.http_client import Site

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / "templates").glob("*.tpl"))
SOURCES = [ROOT / "app.py", *TEMPLATES, *sorted((ROOT / "plugins").glob("*.py"))]
catalogue = app.plugin("catalogue")
preferred = app.plugin("languages").preferred


def read(name: str) -> dict[str, Any]:
    return dict(catalogue.flattened(tomllib.loads((ROOT / "templates" / "lang" / f"{name}.toml").read_text("utf-8"))))


EN, DE = read("en"), read("de")

# Templates whose texts still stand in them. None may be added.
PENDING = {
    "_by_password.tpl", "_by_token.tpl", "login.tpl",
}  # fmt: skip
# Keys that are put together, by how they begin.
PUT_TOGETHER = ("fault.", "index.", "language.name", "me.expires_", "own.", "record.", "said.", "units.")


# ---- nothing is said that is not in the catalogue


class _Texts(HTMLParser):
    """The letters that a page shows or reads out."""

    spoken = ("title", "aria-label", "placeholder", "alt", "data-done")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in self.spoken]


def literals(source: str) -> list[str]:
    """What stands in a template in words: outside of tags and expressions, in attributes that are read out, and in the
    expressions as a text."""
    code = "\n".join(re.findall(r"<%(.*?)%>", source, re.DOTALL))
    html = re.sub(r"<%.*?%>", "", source, flags=re.DOTALL)
    lines = html.splitlines()
    code += "\n" + "\n".join(line.strip().lstrip("%").strip() for line in lines if re.match(r"\s*%", line))
    html = "\n".join(line for line in lines if not re.match(r"\s*%", line))
    expressions = re.findall(r"\{\{!?(.*?)\}\}", html, re.DOTALL)
    parser = _Texts()
    parser.feed(re.sub(r"\{\{.*?\}\}", "", html, flags=re.DOTALL))
    said = [text for one in parser.found if re.search(r"[^\W\d_]", text := " ".join(one.replace("\\", " ").split()))]
    for one in [*expressions, *code.splitlines()]:
        said += [text for text in texts_in(one) if re.search(r"[^\W\d_] [^\W\d_]|^[A-Z][a-z]|[a-z] $", text)]
    return said


def texts_in(expression: str) -> Iterator[str]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(expression).readline):
            if token.type == tokenize.STRING:
                yield token.string.lstrip("rfbu").strip("'\"")
    except (tokenize.TokenError, SyntaxError):
        pass  # a line such as "if x:" ends early; its texts came before


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda one: one.name)
def test_a_template_says_nothing_that_is_not_in_the_catalogue(path: Path) -> None:
    said = literals(path.read_text("utf-8"))
    if path.name in PENDING:
        assert said, f"{path.name} says nothing by itself any more: take it out of PENDING"
    else:
        assert said == []


def test_the_search_for_texts_finds_them() -> None:
    for one in (
        "<p>Hello</p>", '<a title="Hello">x</a>'.replace("x", ""), '<input placeholder="Your name">',
        "{{'Sign in' if x else ''}}",
        "% label = 'The name'\n", '<%\nlabel = "Name"\n%>', '<b aria-label="Go {{x}}"></b>', "<p>{{x}} за</p>",
    ):  # fmt: skip
        assert literals(one), one
    for one in (
        "<p>{{t('a.b')}}</p>", '<a class="visually-hidden" href="{{url(\'me\')}}"></a>', "% include('_token.tpl')\n",
        "<p>—</p>", '<b aria-label="{{t("x.y", name=z)}}"></b>', "% # a comment in words\n",
        "<td class=\"{{'num' if x else ''}}\">",
    ):  # fmt: skip
        assert literals(one) == [], one


def test_every_key_that_is_used_exists_and_every_key_is_used() -> None:
    used: set[str] = set()
    said = ""
    for path in SOURCES:
        text = path.read_text("utf-8") if path.name != "catalogue.py" else ""
        used |= set(re.findall(r'\bt(?:\.html)?\(\s*"([a-z_0-9]+(?:\.[a-z_0-9]+)+)"\s*[,)]', text))
        said += text
    assert used - set(EN) == set()
    unused = [key for key in EN if not key.startswith(PUT_TOGETHER) and f'"{key}"' not in said and f"'{key}'" not in said]
    assert unused == []


def test_german_has_every_text_with_the_same_placeholders_and_the_forms_of_german() -> None:
    assert set(DE) == set(EN)
    for lang, texts in (("en", EN), ("de", DE)):
        for key, text in texts.items():
            assert catalogue.placeholders(text) == catalogue.placeholders(EN[key]), key
            if not isinstance(text, str):
                assert set(text) == set(catalogue.plural_forms(lang)), key
            for one in [text] if isinstance(text, str) else text.values():
                assert one == one.strip() != "" or key == "common.comma", key
                assert not re.search(r"[{}]", re.sub(r"\{[a-z][a-z0-9_]*\}", "", one)), key
    assert "ß" in str(DE), "it is the German of Germany"


# ---- plural forms


@pytest.mark.parametrize(("lang", "expected"), [  # numbers by category, from the samples of CLDR
    ("en", "one 1; other 0 2 5 1.0 1.5 1000000"), ("de", "one 1; other 0 2 1.0"),
    ("fr", "one 0 1 1.5; many 1000000; other 2 17 2.0"), ("pt", "one 0 1 1.5; other 2"), ("pt-PT", "one 1; other 0 1.5 2"),
    ("da", "one 1 0.1 1.6; other 0 2 2.0"), ("ja", "other 0 1 2"), ("he", "one 1 0.5; two 2; other 0 3 2.0"),
    ("ar", "zero 0; one 1; two 2; few 3 10 103; many 11 99 111; other 100 102 0.1"),
    ("ru", "one 1 21 101; few 2 4 22; many 0 5 11 14 100; other 1.5"), ("uk", "one 1 31; few 3; many 12"),
    ("pl", "one 1; few 2 4 22; many 0 5 11 21 112; other 1.5"), ("cs", "one 1; few 2 4; many 0.5; other 0 5"),
    ("sl", "one 1 101; two 2 102; few 3 4 1.5; other 0 5"), ("lt", "one 1 21; few 2 9; many 0.1; other 0 10 11"),
    ("lv", "zero 0 10 11 20; one 1 21 1.1; other 2 9"), ("ro", "one 1; few 0 2 19 101 1.5; other 20 100"),
    ("hr", "one 1 21 0.1; few 2 4 0.2; other 0 5 11"), ("is", "one 1 21 0.1; other 0 11"),
    ("ga", "one 1; two 2; few 3; many 7; other 0 11"),
    ("cy", "zero 0; one 1; two 2; few 3; many 6; other 4 7"), ("mt", "one 1; two 2; few 0 3 10; many 11 19; other 20 100"),
    ("hi", "one 0 1 0.5; other 2"), ("mk", "one 1 21 0.1; other 11 2"), ("be", "one 1 21; few 2; many 0 5 11"),
    ("xx", "one 1; other 2"),
    ("de-CH", "one 1; other 2"), ("es", "one 1 1.0; many 1000000; other 0 2"),
])  # fmt: skip
def test_the_plural_form_of_a_number_is_that_of_the_language(lang: str, expected: str) -> None:
    for part in expected.split("; "):
        category, *numbers = part.split()
        assert {catalogue.plural_of(lang, number) for number in numbers} == {category}


# ---- texts


def words(lang: str, **texts: Any) -> Any:
    return app.plugin("locale").Locale(lang, "UTC", type("Texts", (), {"texts": lambda self, lang: texts})()).t


def test_a_text_gets_what_is_put_in_and_its_numbers_as_the_language_writes_them() -> None:
    t = words("de", rows={"one": "{n} Zeile", "other": "{n} Zeilen"}, hello="Hallo {who}, {what}")
    assert [t("rows", n=n) for n in (0, 1, 1234567)] == ["0 Zeilen", "1 Zeile", "1.234.567 Zeilen"]
    assert t("hello", who="<b>", what=1.5) == "Hallo <b>, 1,5"
    assert t("hello", who="{what}") == "Hallo {what}, {what}", "what is put in is not looked at again"
    assert t("nothing.such") == "nothing.such"


def test_what_is_put_into_html_is_escaped_and_stands_for_itself_in_any_script() -> None:
    t = words("en", hello="Hi & {who}: {n}")
    assert t.html("hello", who="<b>אב", n=2000) == "Hi &amp; <bdi>&lt;b&gt;אב</bdi>: 2,000"
    assert t.html("hello", who=t.tag("strong", "<i>"), n=1) == "Hi &amp; <strong><bdi>&lt;i&gt;</bdi></strong>: 1"
    assert t.html("hello", who=t.link('/x?a="&b', "y"), n=1) == 'Hi &amp; <a href="/x?a=&quot;&amp;b"><bdi>y</bdi></a>: 1'


def test_a_language_without_a_text_has_the_english_one(tmp_path: Path) -> None:
    folder = tmp_path / "templates" / "lang"
    folder.mkdir(parents=True)
    (folder / "fr.toml").write_text('[common]\nhome = "Accueil"\n', "utf-8")
    (folder / "de.toml").write_text('[common]\nhome = "Übersicht"\n[own]\nhello = "Guten Tag"\n', "utf-8")
    made = catalogue.Catalogue(tmp_path)
    assert made.languages == ("de", "en", "fr")
    assert (made.texts("fr")["common.home"], made.texts("fr")["delete.button"]) == ("Accueil", EN["delete.button"])
    german = made.texts("de-CH")
    assert (german["common.home"], german["delete.button"], german["own.hello"]) == (
        "Übersicht",
        DE["delete.button"],
        "Guten Tag",
    )
    assert made.texts("xx") == EN
    assert made.faults() == []


@pytest.mark.parametrize(("name", "text", "place", "detail"), [
    ("fr", '[comon]\nhome = "x"', "fr.toml: comon.home", "is no text of the pages; did you mean common.home?"),
    ("fr", '[delete]\nquestion = "{nom} ?"', "fr.toml: delete.question",
     "puts in {nom}, which this text does not have"),
    ("fr", "[delete]\nquestion = 3", "fr.toml: delete.question", "must be a text"),
    ("en", '[delete]\nbutton = { other = "x", few = "y" }', "en.toml: delete.button",
     "has the form few, which en does not have: it has one, other"),
    ("fr", "[delete", "fr.toml", "cannot be read: "),
    ("french", '[delete]\nbutton = "x"', "french.toml", "the name must be a language tag"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_of_texts_is_a_fault_with_its_place(
    tmp_path: Path, name: str, text: str, place: str, detail: str
) -> None:
    folder = tmp_path / "templates" / "lang"
    folder.mkdir(parents=True)
    (folder / f"{name}.toml").write_text(text + "\n", "utf-8")
    faults = catalogue.Catalogue(tmp_path).faults()
    assert faults[0].pointer == f"templates/lang/{place}"
    assert faults[0].detail.startswith(detail)


# ---- whose language


@pytest.mark.parametrize(("header", "tag"), [
    ("de", "de"), ("DE-at, en;q=0.5", "de"), ("fr, de;q=0.3, en;q=0.2", "de"), ("en-US,en;q=0.9,de;q=0.8", "en"),
    ("de;q=0.2, en-GB;q=0.8", "en"), ("*", "en"), ("de;q=0, *", "en"), ("en;q=0, *;q=0.1", "de"), ("en;q=0", "en"),
    ("", "en"), ("fr", "en"),
    ("de;q=2", "en"), ("de;q=x, ,;;, =, de", "de"), ("\x00ü, de", "de"),
    ("de; Q=0.5 , en ; q=0.6", "en"), ("deutsch-x", "en"),
    ("en;q=0.1, de;q=0.1", "en"), ("x" * 10_000, "en"), ("de," * 3000, "de"), ("xx;q=0.1, " * 40 + "de", "en"),
])  # fmt: skip
def test_the_language_that_the_browser_likes_best_is_taken(header: str, tag: str) -> None:
    assert preferred(header, ("en", "de")) == tag


def test_a_site_writes_a_language_in_one_way() -> None:
    assert [preferred(one, ("de-CH", "en")) for one in ("de", "de-AT", "de-CH", "en-US", "fr")] == ["de-CH"] * 3 + [
        "en",
        "de-CH",
    ]
    assert [preferred(one, ("en", "pt", "pt-BR")) for one in ("pt-BR", "pt-PT", "pt")] == ["pt-BR", "pt", "pt"]


def test_a_header_of_ten_kilobytes_costs_nothing() -> None:
    began = time.perf_counter()
    for number in range(100):
        preferred(f"x{number:05}-" + "a-" * 5000, ("en", "de"))
        preferred(f"x{number:05}," * 1500, ("en", "de"))
    assert time.perf_counter() - began < 1.0


def test_a_page_is_in_the_language_of_the_reader_and_says_so(site: Site) -> None:
    german = site.get("/nothing", Accept="text/html", Accept_Language="de-AT,en;q=0.5")
    assert '<html lang="de" dir="ltr">' in german.text
    assert german["Content-Language"] == "de"
    assert "Accept-Language" in german["Vary"]
    assert "Hier gibt es nichts" in german.text
    english = site.get("/nothing", Accept="text/html")
    assert ("There is nothing here" in english.text, english["Content-Language"]) == (True, "en")
    programs = site.get("/nothing", Accept_Language="de")
    assert "Content-Language" not in dict(programs.headers)
    assert programs.json["detail"].startswith("there is nothing at")
