"""plugins/catalogue.py and languages.py: texts by language, plural forms, and which language a reader has."""

from __future__ import annotations

import io
import re
import time
import tokenize
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from http_client import Site, action, hidden

import app

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / "templates").glob("*.tpl"))
SOURCES = [ROOT / "app.py", *TEMPLATES, *sorted((ROOT / "plugins").glob("*.py"))]
catalogue = app.plugin("catalogue")
preferred = app.plugin("languages").preferred


def read(name: str) -> dict[str, Any]:
    return dict(catalogue.flattened(tomllib.loads((ROOT / "templates" / "lang" / f"{name}.toml").read_text("utf-8"))))


EN, DE = read("en"), read("de")

# Templates whose texts still stand in them. None may be added.
PENDING: set[str] = set()
# Keys that are put together, by how they begin.
PUT_TOGETHER = (
    "access.action", "access.resource", "access.who", "admin.", "asked.", "audit.",
    "column.", "event.", "fault.", "history.did_",
    "index.", "language.name", "link.", "links.expires_", "links.may_", "me.expires_", "new_token.", "own.",
    "picker.", "providers.",
    "record.", "rights.", "files.copy", "files.copied", "files.delete", "files.kinds.", "files.move", "files.rename",
    "files.going_", "said.", "tokens.state_", "units.", "chart.kinds.",
)  # fmt: skip


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
                assert one == one.strip() != "" or key in ("common.comma", "rights.and"), key
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


# ---- what a person chooses on /me


def person(site: Site, subject: str = "bo", **facts: Any) -> str:
    """The cookie of somebody who was invited just now."""
    given = {"subject": subject, "grants": ["forms/leave:*", "forms/times:*", "views/*:read"]} | facts
    invited = site.send("/admin/people", given, site.token("**:*", subject="root"))
    return site.sign_in(invited.json["link"])


def chooses(site: Site, cookie: str, **sent: str) -> Any:
    page = site.get("/me", cookie, Accept="text/html")
    return site.submit("/me", {"_token": hidden(page, "_token"), "do": "profile", **sent}, cookie)


@pytest.fixture
def times(tmp_path: Path) -> Iterator[Site]:
    """A site with a form that asks for a time."""
    form = '[forms.times]\nprovider = "main"\n[forms.times.fields]\nat = { type = "string", format = "date-time" }\n'
    made = Site(tmp_path, edit=lambda text: text + form)
    yield made
    made.close()


def test_a_person_chooses_a_name_a_language_and_a_time_zone_and_the_next_page_has_them(times: Site) -> None:
    cookie = person(times)
    done = chooses(times, cookie, name="Bo Chen", lang="de", timezone="Asia/Kolkata")
    assert (done.status, done["Location"]) == (303, "/me")
    page = times.get("/me", cookie, Accept="text/html", Accept_Language="en")
    assert '<html lang="de"' in page.text, "what is chosen here counts more than what the browser says"
    assert "Bo Chen" in page.text
    assert '<option value="de" lang="de" selected>Deutsch</option>' in page.text
    assert '<option value="Asia/Kolkata" selected>Kolkata</option>' in page.text
    facts = times.get("/me", cookie).json
    assert {name: facts[name] for name in ("name", "lang", "timezone")} == {
        "name": "Bo Chen", "lang": "de", "timezone": "Asia/Kolkata"
    }  # fmt: skip
    entry = next(one for one in times.get("/admin/audit", times.token("**:*")).json["items"] if one["action"] == "update")
    assert (entry["subject"], entry["changes"]["timezone"]) == ("bo", [None, "Asia/Kolkata"])
    chooses(times, cookie, name="", lang="", timezone="")
    assert '<html lang="en"' in times.get("/me", cookie, Accept="text/html", Accept_Language="en").text
    assert times.get("/me", cookie).json["name"] is None


def test_times_are_shown_and_typed_by_the_clocks_of_the_person(times: Site) -> None:
    cookie = person(times)
    chooses(times, cookie, timezone="Asia/Kolkata")
    form = times.get("/forms/times", cookie, Accept="text/html")
    assert "Time in Asia/Kolkata." in form.text
    sent = times.submit(action(form), {"_token": hidden(form, "_token"), "at": "2026-07-01T12:00"}, cookie)
    assert sent.status == 303
    [record] = times.get("/forms/times/records", cookie).json["items"]
    assert record["at"] == "2026-07-01T12:00:00+05:30"
    address = f"/forms/times/records/{record['id']}"
    assert "2026-07-01 12:00 IST" in times.get(address, cookie, Accept="text/html").text
    chooses(times, cookie, timezone="America/New_York")
    assert "2026-07-01 02:30 EDT" in times.get(address, cookie, Accept="text/html").text
    assert "2026-07-01 06:30 UTC" in times.get(address, times.token("**:*", subject="kim"), Accept="text/html").text
    edit = times.get(f"{address}?_edit=1", cookie, Accept="text/html")
    assert 'value="2026-07-01T02:30"' in edit.text
    same = {name: hidden(edit, name) for name in ("_token", "_shown")}
    times.submit(action(edit), {**same, "at": "2026-07-01T02:30"}, cookie)
    assert times.get(address, cookie).json["at"] == "2026-07-01T12:00:00+05:30", "nothing was changed, in another zone"
    found = times.get("/forms/times/records.csv?_for=excel", cookie).text
    assert "2026-07-01 02:30:00" in found
    assert "At (America/New York)" in found
    typed = times.get("/forms/times/records?at__gte=2026-07-01T02:31", cookie, Accept="text/html")
    assert address not in typed.text, "what is typed into a filter is meant by the same clocks"


@pytest.mark.parametrize(("sent", "name", "words"), [
    ({"lang": "fr"}, "lang", "must be one of en, de"),
    ({"timezone": "Europe/Belin"}, "timezone", "did you mean Europe/Berlin?"),
    ({"timezone": "../../etc/passwd"}, "timezone", "must be the name of a time zone"), ({"name": "x" * 201}, "name", "200"),
    ({"name": "a\nb"}, "name", "line"),
])  # fmt: skip
def test_what_cannot_be_chosen_is_refused_beside_its_field_and_changes_nothing(
    times: Site, sent: dict[str, str], name: str, words: str
) -> None:
    cookie = person(times)
    refused = times.send("/me", {"do": "profile", **sent}, cookie, Sec_Fetch_Site="same-origin")
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, f"/{name}")
    assert words in refused.json["errors"][0]["detail"]
    facts = times.get("/me", cookie).json
    assert (facts["name"], facts["lang"], facts["timezone"]) == (None, "", "")
    assert chooses(times, cookie, **sent).status == 422


def test_only_a_person_who_is_signed_in_as_himself_changes_the_profile(times: Site) -> None:
    cookie = person(times)
    made = times.send("/me", {"do": "make_token"}, cookie, Sec_Fetch_Site="same-origin").json["token"]
    for token in (made, times.token("**:*", subject="bo"), times.token("**:*", subject="nobody")):
        assert times.send("/me", {"do": "profile", "name": "X"}, token).status == 403
    assert times.get("/me", cookie).json["name"] is None


def test_an_administrators_change_of_a_person_keeps_what_he_chose(times: Site) -> None:
    cookie = person(times)
    chooses(times, cookie, lang="de", timezone="Asia/Kolkata")
    root = times.token("**:*", subject="root")
    assert times.send("/admin/people/bo", {"name": "Bo"}, root, "PATCH").status == 200
    facts = times.get("/me", cookie).json
    assert (facts["name"], facts["lang"], facts["timezone"]) == ("Bo", "de", "Asia/Kolkata")


# ---- [i18n.LANG]

I18N = """
[i18n.de]
"site.title" = "Betrieb"
"forms.leave.title" = "Urlaub"
"forms.leave.fields.day.title" = "Erster Tag"
"forms.leave.fields.day.description" = "Ab wann?"
"forms.leave.fields.kind.enum.paid" = "Bezahlt"
"views.waiting.note" = "Noch offen"
"views.waiting.columns.days.title" = "Tage"
"views.numbers.columns.label.title" = "Zeile"
"apps.bare.menu.Policy" = "Richtlinie"
[i18n.de.apps.desk]
title = "Schreibtisch"
"""


@pytest.fixture
def translated(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, edit=lambda text: text + I18N)
    yield made
    made.close()


def test_titles_of_app_toml_are_shown_in_the_language_of_the_reader(translated: Site) -> None:
    root = translated.token("**:*")
    translated.send("/forms/leave", {"day": "2026-01-31", "days": 2, "kind": "paid"}, root)

    def seen(target: str, lang: str) -> str:
        return translated.get(target, root, Accept="text/html", Accept_Language=lang).text

    for target, german, english in (
        ("/", ["Betrieb", "Schreibtisch", "Urlaub"], ["Desk", "Leave"]),
        ("/forms/leave", ["Urlaub · Betrieb", "Erster Tag", "Ab wann?", "<bdi>Bezahlt</bdi>"], ["First day", "<bdi>paid<"]),
        ("/forms/leave/records", ["Urlaub", "Erster Tag", "Bezahlt", "Angelegt"], ["First day", "Created"]),
        ("/views/waiting", ["Noch offen", "Tage", "Erster Tag", "Bezahlt"], ["Days", "First day"]),
        ("/views/numbers", ["Zeile"], ["Label"]), ("/apps/bare", ["Richtlinie", "Urlaub"], ["Policy", "Leave"]),
    ):  # fmt: skip
        texts = {lang: seen(target, lang) for lang in ("de", "en")}
        assert [one for one in german if one not in texts["de"] or one in texts["en"]] == [], target
        assert [one for one in english if one not in texts["en"]] == [], target
    excel = translated.ask(
        "GET", "/views/waiting.csv?_for=excel", None, {"Accept-Language": "de", "Cookie": translated.sign_in(root)}
    )
    assert excel.text.lstrip("\ufeff").startswith("Erster Tag;Tage;"), excel.text


def test_programs_never_see_a_translated_title(translated: Site) -> None:
    root = translated.token("**:*")
    for target in ("/", "/forms/leave", "/views/waiting", "/apps/bare", "/openapi.json"):
        text = translated.get(target, root, Accept="application/json", Accept_Language="de").text
        assert not re.search("Urlaub|Erster Tag|Bezahlt|Richtlinie|Betrieb", text), target


@pytest.mark.parametrize(("toml", "place", "detail"), [
    ('[i18n.de]\n"forms.leav.title" = "x"', "i18n.de.forms.leav.title", "file; did you mean forms.leave.title?"),
    ('[i18n.de]\n"forms.leave.fields.day.titel" = "x"', "i18n.de.forms.leave.fields.day.titel", "fields.day.title?"),
    ('[i18n.de]\n"forms.leave.fields.kind.enum.payd" = "x"', "i18n.de.forms.leave.fields.kind.enum.payd", "enum.paid?"),
    ('[i18n.de]\n"views.waiting.columns.nothing.title" = "x"', "i18n.de.views.waiting.columns.nothing.title", "is no text"),
    ('[i18n.de]\n"forms.leave.provider" = "x"', "i18n.de.forms.leave.provider", "is no text"),
    ('[i18n.de]\n"forms.leave.title" = 3', "i18n.de.forms.leave.title", "must be one line"),
    ('[i18n.de]\n"forms.leave.title" = " "', "i18n.de.forms.leave.title", "must be one line"),
    ('[i18n.german]\n"forms.leave.title" = "x"', "i18n.german", "did you mean de?"),
    ('[i18n.en]\n"forms.leave.title" = "x"', "i18n.en", "is the language of [site] lang"),
    ("[i18n]\nde = 3", "i18n", "must hold tables"),
])  # fmt: skip
def test_a_translation_of_what_is_not_there_is_a_fault_that_names_the_nearest_place(
    tmp_path: Path, toml: str, place: str, detail: str
) -> None:
    with pytest.raises(app.ConfigError) as raised:
        Site(tmp_path, edit=lambda text: text + toml + "\n")
    [fault] = raised.value.faults
    assert fault.pointer == place
    assert detail in fault.detail


def test_a_language_of_titles_alone_can_be_chosen_with_english_words(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text + '[i18n.fr]\n"forms.leave.title" = "Congé"\n')
    try:
        page = site.get("/forms/leave", site.token("**:*"), Accept="text/html", Accept_Language="fr-BE").text
        assert [one for one in ('<html lang="fr"', "Congé", ">Send<") if one not in page] == []
    finally:
        site.close()


def test_a_right_to_left_language_turns_the_page_and_keeps_what_is_put_in_apart(tmp_path: Path) -> None:
    folder = tmp_path / "templates" / "lang"
    folder.mkdir(parents=True)
    (folder / "ar.toml").write_text('[language]\nname = "العربية"\n[delete]\nquestion = "حذف {name}؟"\n', "utf-8")
    site = Site(tmp_path, edit=lambda text: text + '[i18n.ar]\n"forms.leave.title" = "طلب إجازة"\n')
    try:
        root = site.token("**:*")
        address = site.send("/forms/papers", {"name": "LT-0100 <b>"}, root)["Location"]
        page = site.get(address, root, Accept="text/html", Accept_Language="ar").text
        assert '<html lang="ar" dir="rtl">' in page
        assert "حذف <strong><bdi>LT-0100 &lt;b&gt;</bdi></strong>؟" in page
        assert "طلب إجازة" in site.get("/", root, Accept="text/html", Accept_Language="ar").text
        assert ">العربية</option>" in site.get("/me", person(site), Accept="text/html").text
    finally:
        site.close()


# ---- what faults say


def test_a_message_of_a_fault_is_said_in_the_language_of_the_reader_with_its_numbers() -> None:
    t = app.plugin("locale").Locale("de").t
    for english, german in (
        ("is missing", "fehlt"), ("must be 1234.5 or more", "muss mindestens 1.234,5 sein"),
        ("must have at most 10,000 characters", "darf höchstens 10.000 Zeichen haben"),
        ("must be one of a, b", "muss eines davon sein: a, b"), ("must be a number", "muss eine Zahl sein"),
        ("there is no forms/leav; did you mean forms/leave?", "forms/leav gibt es nicht; meinten Sie forms/leave?"),
        ("A has no room for this: 6 kB of 9 MB are left", "A hat dafür keinen Platz: Von 9 MB sind 6 kB übrig"),
        ("nothing that anybody translated", "nothing that anybody translated"),
    ):  # fmt: skip
        assert t.said(english) == german
    assert app.plugin("locale").Locale("en").t.said("must be 1234.5 or more") == "must be 1234.5 or more"


def test_every_message_that_is_translated_is_one_that_the_program_says() -> None:
    said = "".join(path.read_text("utf-8") for path in [ROOT / "app.py", *(ROOT / "plugins").glob("*.py")])
    said = re.sub(r'"\s*\n\s*f?"', "", said)
    for key, text in EN.items():
        if key.startswith("said."):
            for part in catalogue.PLACEHOLDER.split(text if isinstance(text, str) else text["other"])[::2]:
                seams = r": wait a minute, and|; did you mean|must be an? |: $| characters?$| choices?$| digits?$"
                words = re.split(seams, part)  # where the program puts them together
                assert [one for one in words if one.strip() and one.strip() not in said] == [], key


def test_a_form_that_is_filled_in_wrong_comes_back_in_the_language_of_the_reader(site: Site) -> None:
    page = site.get("/forms/leave", site.token("**:*"), Accept="text/html", Accept_Language="de")
    cookie = site.sign_in(site.token("**:*"))
    sent = {"day": "31.02.2026", "days": "0,25", "kind": "paid", "reason": "x" * 2001}
    wrong = site.submit(action(page), sent, cookie, Accept_Language="de", Sec_Fetch_Site="same-origin")
    assert wrong.status == 422
    for text in (
        "<title>Fehler: Leave", "3 Angaben stimmen noch nicht", "First day: muss ein Datum sein, zum Beispiel 24.12.2026",
        "Days: muss mindestens 0,5 sein", "Reason: darf höchstens 2.000 Zeichen haben", ">Absenden<",
    ):  # fmt: skip
        assert text in wrong.text, text
    program = site.send(
        "/forms/leave", {"day": "x", "days": 0.25}, cookie, Accept_Language="de", Sec_Fetch_Site="same-origin"
    )
    details = [one["detail"] for one in program.json["errors"]]
    assert details == ["must be a date such as 2026-11-23", "must be 0.5 or more", "must be a multiple of 0.5"]


# ---- amounts, shares, sizes and times


@pytest.mark.parametrize(("lang", "amount", "currency", "text"), [
    ("en", "1234.5", "EUR", "€1,234.50"), ("de", "1234.5", "EUR", "1.234,50\u00a0€"),
    ("de-AT", "1234.5", "EUR", "€\u00a01\u00a0234,50"),
    ("de-CH", "1234.5", "CHF", "CHF\u00a01’234.50"), ("fr", "1234567.8", "EUR", "1\u202f234\u202f567,80\u00a0€"),
    ("nl", "-12", "EUR", "-€\u00a012,00"), ("en", "12", "JPY", "¥12"), ("ja", "1200", "JPY", "¥1,200"),
    ("en", "-0.125", "USD", "-$0.125"),
    ("pl", "1234", "PLN", "1234,00\u00a0zł"), ("sv", "1234", "SEK", "1\u00a0234,00\u00a0SEK"),
    ("en", "1", "CHF", "CHF\u00a01.00"),
    ("hi", "1234567", "INR", "₹12,34,567.00"), ("tr", "1.5", "TRY", "₺1,50"), ("es", "1234", "EUR", "1234,00\u00a0€"),
    ("en", "12345678901234567890.12", "EUR", "€12,345,678,901,234,567,890.12"), ("en", "1.5", "KWD", "KWD\u00a01.500"),
])  # fmt: skip
def test_an_amount_has_the_sign_of_its_currency_where_the_language_puts_it(
    lang: str, amount: str, currency: str, text: str
) -> None:
    assert app.plugin("locale").Locale(lang).write_money(Decimal(amount), currency) == text


@pytest.mark.parametrize(("lang", "count", "text"), [
    ("en", 1234567, "1,234,567"), ("de", 1234, "1.234"), ("es", 1234, "1234"), ("es", 12345, "12.345"),
    ("fr", 1234, "1\u202f234"),
    ("pl", 12345, "12\u00a0345"), ("de-CH", 1234.5, "1’234.5"), ("hi", 12345678, "1,23,45,678"),
    ("en", -1234, "-1,234"), ("en", 999, "999"),
    ("en", 1e300, "1e+300"), ("sv", 1234, "1\u00a0234"), ("en", 0.5, "0.5"), ("pt-PT", 1234, "1234"), ("xx", 1234, "1,234"),
])  # fmt: skip
def test_a_count_has_its_digits_in_groups_as_the_language_writes_them(lang: str, count: float, text: str) -> None:
    assert app.plugin("locale").Locale(lang).write_count(count) == text


def test_shares_sizes_and_durations_are_in_the_words_of_the_language() -> None:
    english, german = (app.plugin("locale").Locale(lang) for lang in ("en", "de"))
    assert [english.write_share(one) for one in (0.125, 1, Decimal("0.5"))] == ["12.5%", "100%", "50%"]
    assert [german.write_share(0.125), app.plugin("locale").Locale("tr").write_share(0.5)] == ["12,5\u00a0%", "%50"]
    assert [english.write_size(one) for one in (0, 1, 999, 1000, 1234, 99_949, 99_960, 10**15)] == [
        "0 bytes", "1 byte", "999 bytes", "1 kB", "1.2 kB", "99.9 kB", "100 kB", "1,000 TB"
    ]  # fmt: skip
    assert [german.write_size(one) for one in (1, 1234)] == ["1 Byte", "1,2 kB"]
    assert [english.write_size(one) for one in (1, 1234, 5_000_000)] == [app.in_units(one) for one in (1, 1234, 5_000_000)]
    assert [german.write_duration(one) for one in (0, 1, 59, 60, 3661, 90_000, 86_400, 86_460)] == [
        "0 Sekunden", "1 Sekunde", "59 Sekunden", "1 Minute", "1 Stunde 1 Minute", "1 Tag 1 Stunde", "1 Tag", "1 Tag"
    ]  # fmt: skip


def test_the_script_says_nothing_by_itself() -> None:
    script = re.sub(r"^\s*//.*$", "", (ROOT / "static" / "app.js").read_text("utf-8"), flags=re.MULTILINE)
    texts = re.findall(r'"([^"\n]*)"|`([^`]*)`|\'([^\'\n]*)\'', script)
    said = [text for found in texts for text in found if re.search(r"^[A-Z][a-z]|[a-z] [a-z]+ [a-z]", text)]
    headers = {text for text in said if text.startswith(("Upload-", "Tus-", "Content-")) or text == "Location"}
    assert set(said) - headers == {"Enter", "Escape", "Files"}, "keys, headers, and what a browser calls files"


def test_an_address_that_is_nowhere_is_told_in_the_language_that_the_person_chose(times: Site) -> None:
    cookie = person(times)
    chooses(times, cookie, lang="de")
    page = times.get("/nothing", cookie, Accept="text/html", Accept_Language="en").text
    assert "Hier gibt es nichts" in page
    assert "Abmelden" in page, "whoever is signed in is not asked to sign in"
    assert "Unter /nothing gibt es nichts" in page


def test_a_wrong_file_of_texts_stops_the_start_with_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "templates" / "lang"
    folder.mkdir(parents=True)
    (folder / "fr.toml").write_text('[comon]\nhome = "x"\n', "utf-8")
    with pytest.raises(app.ConfigError) as raised:
        Site(tmp_path)
    assert [one.pointer for one in raised.value.faults] == ["templates/lang/fr.toml: comon.home"]


def test_readers_of_two_languages_at_the_same_time_each_get_their_own(site: Site) -> None:
    root, words = site.token("**:*"), {"de": "Absenden", "en": "Send"}

    def ask(number: int) -> bool:
        lang = ("de", "en")[number % 2]
        page = site.get("/forms/leave", root, Accept="text/html", Accept_Language=lang)
        return page["Content-Language"] == lang and f">{words[lang]}<" in page.text and f'<html lang="{lang}"' in page.text

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))
