"""Every page as axe-core sees it, in light and dark, wide and narrow; and what a person with a keyboard alone does.

The pages are found by following the links of the site, so that a new one is looked at as soon as something leads to it.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import backends
import pytest
from conftest import PATIENCE_S
from http_client import Server, serving

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from test_browser import EVERY_WIDGET, SWITCHES, Person, waiting

# Of each a few: long names, another script, German words, more than fits.
MORE = """
[forms.antrag]
title = "Antrag auf Genehmigung einer Dienstreisekostenvorschusszahlung"
note = "Bitte mindestens zwei Arbeitstage vor der Reise."
provider = "main"
opens = "records"
[forms.antrag.states]
field = "stand"
initial = "neu"
moves = ["neu>genehmigt", "neu>abgelehnt", "neu>nachgefragt", "nachgefragt>neu"]
badges = { genehmigt = "good", abgelehnt = "bad", nachgefragt = "warn" }
[forms.antrag.fields]
wer = { type = "string", title = "Reisekostenabrechnungsberechtigte Person", required = true }
[views.towns]
provider = "main"
sql = '''with recursive n(i) as (select 1 union all select i + 1 from n where i < 60)
select 't' || i as code, 'Town ' || i as name from n'''
[forms.choose]
title = "Choose a town"
provider = "main"
[forms.choose.fields]
why = { title = "Why" }
town = { title = "Town", required = true, options = { view = "towns", value = "code", label = "name" } }
towns = { title = "Others", type = "array", options = { view = "towns", value = "code", label = "name" } }
who = { title = "Who", format = "person", default = "$me" }
[forms.auslagen]
title = "Auslagen"
provider = "main"
[forms.auslagen.fields]
wer = { type = "string", title = "Reisekostenabrechnungsberechtigte Person" }
belege = { type = "array", format = "file", title = "Belege", files = "files/papers" }
summe = { type = "number", title = "Summe", sum = "zeilen.betrag" }
[forms.auslagen.fields.zeilen]
type = "array"
title = "Positionen"
description = "Jede Ausgabe in einer Zeile."
[forms.auslagen.fields.zeilen.fields]
was = { type = "string", title = "Verwendungszweck", required = true, description = "Mit dem Namen des Ortes." }
betrag = { type = "number", title = "Betrag" }
art = { type = "string", title = "Art", enum = ["Bahn", "Hotel"] }
bar = { type = "boolean", title = "Bar bezahlt", required = true }
marken = { type = "array", title = "Marken", items = { enum = ["rot", "blau"] } }
[views.open]
title = "كل الطلبات"
from = "forms/every"
[views.drawn]
title = "Squares, drawn"
provider = "main"
sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 30) select i, i * i as square from n"
chart = { kind = "line", x = "i", y = "square" }
columns.i = { link = "views/drawn?i={i}", badge = { 2 = "bad", 3 = "good", 4 = "warn" } }
columns.square = { format = "money:EUR", total = "sum" }
[apps.people]
title = "الموارد البشرية"
note = "طلبات الإجازة وما يتصل بها"
menu = ["forms/antrag", "forms/auslagen", "views/open", "views/drawn", "admin/people"]
[auth]
sign_in = ["mail", "password", "token"]
[channels.mail]
kind = "mail"
smtp = "smtp://127.0.0.1:9"
from = "intranet@example.org"
[apps.templates]
title = "Own page"
home = "templates/own.html"
menu = ["views/squares"]
[apps.board]
title = "Dashboard"
icon = "📊"
note = "All at one glance"
pages = "files/wiki"
home = [
  { number = "views/open", title = "Open" }, { number = "views/squares", title = "Squares" },
  { view = "views/open", limit = 3 },
  { markdown = "files/wiki/start.md" }, { chart = "views/drawn" },
  { form = "forms/antrag" }, { form = "forms/every" },
  { files = "files/papers", limit = 3 }, { view = "views/broken", title = "Broken" },
]
[files.wiki]
provider = "main"
prefix = "wiki/"
[files.drawer]
provider = "main"
prefix = "drawer/"
trash = "30d"
versions = 3
quota = "1kB"
[views.broken]
provider = "main"
sql = "select * from nowhere"
"""
WIKI = """---
title: How it works
---
# Another title
Some [text](forms/every), `code` and **more**.

#### Deep
- [x] done
- [ ] to do

| what | many |
| --- | ---: |
| a very long text in a cell of a table which is wide | 1 |

```
a long line of code that is wider than any phone is, and goes on and on and on and on
```

> quoted[^1]

[^1]: A note.
"""
OWN = "<h2>By team</h2><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table><pre>x</pre>"
EXTRA = (
    "/files/papers/?_do=folder", "/files/papers/2026?_do=details", "/files/papers/b.txt?_do=rename",
    "/files/papers/b.txt?_do=move", "/files/papers/2026?_do=delete",
    "/files/drawer/", "/files/drawer/?_trash=1", "/files/drawer/b.txt?_versions=1", "/files/drawer/b.txt?_do=details",
    "/search", "/search?q=one", "/search?q=zzzz", "/nothing", "/forms/every/records/none", "/files/papers/?_q=a",
    "/forms/every?size=XXL", "/views/squares?least=x", "/views/squares?least=1000", "/forms/antrag", "/login", "/me",
    "/login/mail?sent=1", "/login/x", "/apps/board/pages?_new=1", "/apps/board/pages/start?_edit=1",
)  # fmt: skip
NO_PAGE = (
    r"\.(csv|json|ndjson|txt|xlsx|svg|ics)(\?|$)|^/metrics|^/files/.*[^/]$"
    r"|^/files/papers/uploads/|/(records|mine)/[^/]+/(?!history|comments|move)[^/?]+"  # files of records
)
LONG = "a%20plan%20with%20a%20long%20name%20of%20many%20words.txt"
HTML_RULES = {"root": True, "extends": ["html-validate:standard"]}
SIZES = ((1280, 900), (360, 740))
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
AXE = """
const [rules, done] = arguments;
const said = (one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`;
axe.run(document, {resultTypes: ["violations"], runOnly: rules, selectors: false})
  .then((found) => done(found.violations.map(said))).catch((error) => done([String(error)]));
"""


@pytest.fixture(scope="module")
def axe() -> str:
    return backends.tool("axe", "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("accessible")
    (folder / "templates").mkdir()
    (folder / "templates" / "own.html").write_text(OWN)
    apps = "".join(f'[apps.more{n}]\ntitle = "Application {n}"\nmenu = ["views/squares"]\n' for n in range(6))
    (folder / "app.toml").write_text(EVERY_WIDGET + MORE + apps, encoding="utf-8")
    with serving(folder, "--workers", "1") as server:
        fill(server)
        yield server


def fill(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token()}"}

    def send(target: str, value: Any) -> None:
        answer = server.ask("POST", target, json.dumps(value), headers | {"Content-Type": "application/json"})
        assert answer.status == 201, answer.text

    send(
        "/forms/every", [{"name": f"One {n}", "town": "Ant", "words": "many words " * 30, "agreed": True} for n in range(12)]
    )
    send("/forms/antrag", {"wer": "Donaudampfschifffahrtsgesellschaftskapitän"})
    file = {"name": "a.txt", "base64": "eA=="}
    line = {"was": "Übernachtung im Hotel " * 4, "betrag": 12.5, "bar": True, "marken": ["rot", "blau"]}
    send("/forms/auslagen", {"wer": "Ann", "belege": [file, file], "zeilen": [line, line | {"bar": False}]})
    for state in ("genehmigt", "abgelehnt", "nachgefragt"):
        made = server.ask("POST", "/forms/antrag", json.dumps({"wer": "x"}), headers | {"Content-Type": "application/json"})
        move = f"/forms/antrag/records/{made.json['id']}/move"
        body = json.dumps({"to": state, "comment": "Weil es so ist. " * 20})
        assert server.ask("POST", move, body, headers | {"Content-Type": "application/json"}).status == 200
    send("/admin/people", {"subject": "bo", "name": "Bo Chen", "grants": ["forms/**:*"]})
    assert server.ask("PUT", "/files/wiki/start.md", WIKI.encode(), headers).status == 201
    for name in (LONG, "b.txt", "b.txt"):
        assert server.ask("PUT", f"/files/drawer/{name}", b"x" * 250, headers).status in (200, 201)
    assert server.ask("DELETE", f"/files/drawer/{LONG}", None, headers).status == 204
    for name in ("2026/a%20plan.txt", "b.txt"):
        assert server.ask("PUT", f"/files/papers/{name}", b"x", headers).status == 201


@pytest.fixture(scope="module")
def person(site: Server, axe: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Somebody who is signed in as administrator, at the one browser of these tests."""
    programs = [backends.program("chromium"), backends.program("chromedriver", "chromium-driver")]
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    driver.set_page_load_timeout(PATIENCE_S)
    driver.set_script_timeout(PATIENCE_S)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": axe})  # sent once, and not for each page
    one = Person(driver, "http://{}:{}".format(*site.tcp))
    one.go(f"/login/{site.code}")
    one.press(one.button("Sign in"))
    yield one
    driver.quit()


def shape(address: str) -> str:
    """What addresses of one kind of page have in common: ids and names stand for each other."""
    parts = urlsplit(address)
    path = re.sub(r"(/records|/mine|/drafts|/import|/admin/[a-z]+)/[^/]+", r"\1/ID", parts.path)
    path = re.sub(r"^/forms/\w+(?=/(import|mine|records/ID/history))", "/forms/F", path)
    path = re.sub(r"^/apps/more\d", "/apps/more", path)
    return path + "?" + ",".join(sorted(re.findall(r"(?:^|&)(_(?!list|sort|next)\w+)=", parts.query)))


def links(person: Person) -> list[str]:
    """Addresses of pages of this site that the page leads to."""
    found = person.driver.execute_script("return [...document.querySelectorAll('a[href]')].map((one) => one.href)")
    inside = [one.removeprefix(person.base_url).partition("#")[0] for one in found if one.startswith(person.base_url)]
    return [one for one in inside if not re.search(NO_PAGE, one)]


def dress(person: Person, scheme: str, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    person.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


LOOKS = (  # width and height, colours, folded up or opened, by which rules; of two looks at a width colours alone differ
    (SIZES[0], "light", True, RULES), (SIZES[0], "dark", False, ("color-contrast",)),
    (SIZES[1], "dark", True, RULES), (SIZES[1], "light", False, ("color-contrast",)),
)  # fmt: skip
# What lies over others when it is opened is left folded, unless a phone shows it in the row.
OPEN = """
const [isOpen, isWide] = arguments;
const lies = (one) => one.matches(".saved-tabs *") || (isWide && one.matches(".more, .pick, .columns"));
for (const one of document.querySelectorAll("details")) one.open = isOpen && !lies(one);
"""


def is_too_wide(person: Person) -> bool:
    return bool(person.driver.execute_script("return document.documentElement.scrollWidth > window.innerWidth"))


def too_wide(person: Person) -> list[str]:
    """At which sizes the page that is open is wider than the window."""
    wrong = []
    for width, height in SIZES:
        dress(person, "light", width, height)
        wrong += [f"{width} px: it is wider than the window"] * is_too_wide(person)
    return wrong


def wrong_with(person: Person, axe: str) -> list[str]:
    """What is wrong with the page that is open, however it is looked at."""
    if not person.driver.execute_script("return !!window.axe"):
        person.driver.execute_script(axe)
    wrong = []
    for (width, height), scheme, is_open, rules in LOOKS:
        dress(person, scheme, width, height)
        person.driver.execute_script(OPEN, is_open, width == SIZES[0][0])
        found = person.driver.execute_async_script(AXE, list(rules))
        if is_too_wide(person):
            found.append("it is wider than the window")
        wrong += [f"{width} px, {scheme}: {one}" for one in found]
    return wrong


# Each element with what it stands in, classes and the names of attributes, and each step from a heading to the next: what
# looks the same in all of them, axe-core judges the same.
PARTS = """
const named = (one) => [one.localName, ...one.classList].join(".");
const inside = (one) => one.parentElement ? inside(one.parentElement) + ">" + named(one) : named(one);
const kinds = ["type", "role", "rel", "lang", "dir", "tabindex", "aria-hidden", "aria-invalid", "aria-current"];
const said = (one) => kinds.filter((name) => one.hasAttribute(name)).map((name) => one.getAttribute(name));
const refers = (one) => ["aria-labelledby", "aria-describedby", "aria-controls"].map((name) =>
  (one.getAttribute(name) || "").split(/\\s+/).every((id) => !id || document.getElementById(id)));
const parts = [...document.body.querySelectorAll("*")].map((one) => [
  inside(one), one.getAttributeNames().sort(), said(one), refers(one), !!one.labels?.length, one.textContent.trim() === "",
].join(" "));
const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => one.localName);
return [...new Set([...parts, ...levels.map((one, place) => `${levels[place - 1]} before ${one}`)])];
"""


def test_no_page_breaks_a_rule_of_accessibility(site: Server, person: Person, axe: str) -> None:
    """Of pages that have nothing in them that was not in those before, only the width is looked at."""
    waiting, seen, parts, wrong = ["/", *EXTRA], set[str](), set[str](), list[str]()
    for address in waiting:  # which grows
        seen.add(shape(address))
        person.go(address)
        before = len(parts)
        parts.update(person.driver.execute_script(PARTS))
        found = wrong_with(person, axe) if len(parts) > before else too_wide(person)
        wrong += [f"{address} at {one}" for one in found]
        for one in links(person):
            if shape(one) not in seen:
                seen.add(shape(one))
                waiting.append(one)
    assert wrong == [], waiting
    assert {"/?", "/forms/every?", "/forms/every/records/ID?_edit", "/admin/people?", "/apps/templates?"} <= seen
    assert person.complaints() == []


def sources(site: Server, person: Person) -> dict[str, str]:
    """The page of each kind by its address, as it is sent to whoever the person is."""
    headers = {"Accept": "text/html", "Accept-Language": "en"}
    headers["Cookie"] = "; ".join(f"{one['name']}={one['value']}" for one in person.driver.get_cookies())
    waiting, seen, found = ["/", *EXTRA], {shape(one) for one in ("/", *EXTRA)}, {}
    for address in waiting:  # which grows
        found[address] = site.ask("GET", address, headers=headers).text
        for link in re.findall(r'<a [^>]*href="(/[^"#]*)', found[address]):
            one = html.unescape(link)
            if shape(one) not in seen and not re.search(NO_PAGE, one):
                seen.add(shape(one))
                waiting.append(one)
    return found


def test_every_page_is_valid_html(site: Server, person: Person, tmp_path: Path) -> None:
    program = backends.tool("html-validate", "node_modules/html-validate/bin/html-validate.mjs")
    person.go("/")
    pages = sources(site, person)
    assert len(pages) > 30
    names = {f"{number}.html": address for number, address in enumerate(pages)}
    for name, address in names.items():
        (tmp_path / name).write_text(pages[address], encoding="utf-8")
    (tmp_path / ".htmlvalidate.json").write_text(json.dumps(HTML_RULES), encoding="utf-8")
    command = [backends.program("node", "nodejs"), str(program), "--formatter", "json"]
    done = subprocess.run([*command, *names], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    wrong = [
        f"{names[Path(page['filePath']).name]} line {one['line']}: {one['ruleId']}: {one['message']}"
        for page in json.loads(done.stdout)
        for one in page["messages"]
    ]
    assert wrong == [], done.stderr
    first = tmp_path / next(iter(names))
    first.write_text(first.read_text(encoding="utf-8").replace("</main>", "<ul><p>x</ul></main>"), encoding="utf-8")
    broken = subprocess.run([*command, first.name], cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert broken.returncode == 1


def test_the_rules_are_applied(person: Person, axe: str) -> None:
    person.go("/search")
    person.driver.execute_script("document.querySelector('main').append(document.createElement('button'))")
    person.driver.execute_script("document.querySelector('h1').style.minWidth = '500px'")
    person.driver.execute_script("document.querySelector('h1').style.color = '#222'")
    found = [re.sub(r"(?<=button-name).*|(?<=contrast: ).*", "", one) for one in wrong_with(person, axe)]
    assert sorted(found) == [
        "1280 px, dark: color-contrast: ",
        "1280 px, light: button-name",
        "360 px, dark: button-name",
        "360 px, dark: color-contrast: ",
        "360 px, dark: it is wider than the window",
        "360 px, light: it is wider than the window",
    ]


def test_pages_that_only_an_answer_shows_break_none_either(site: Server, person: Person, axe: str) -> None:
    dress(person, "light", *SIZES[0])
    person.go("/forms/every")
    person.press(person.button("Send"))
    assert "problems" in person.words
    assert wrong_with(person, axe) == []
    dress(person, "light", *SIZES[0])
    person.go("/forms/every")
    person.type("name", "Ida")
    person.driver.execute_script("document.querySelector('#f-town').value = 'Bee'")
    person.press(person.button("Send"))
    assert "Sent." in person.words
    assert wrong_with(person, axe) == []


def test_the_steps_of_an_import_break_none_either(site: Server, person: Person, axe: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes("Name;Town;Days;Worte\nZoë;Bee;3;viele\nx;Zoo;viel;\n".encode("cp1252"))
    dress(person, "light", *SIZES[0])
    person.go("/forms/every/import")
    person.see("#file").send_keys(str(table))
    person.press(person.button("Go on"))
    assert "can be read in more than one way" in person.words
    assert wrong_with(person, axe) == []
    dress(person, "light", *SIZES[0])
    person.press(person.button("Only check all rows"))
    assert "All rows were checked" in person.words
    assert wrong_with(person, axe) == []


def test_trash_and_versions_are_cards_on_a_phone(site: Server, person: Person) -> None:
    dress(person, "light", *SIZES[1])
    for address in ("/files/drawer/?_trash=1", "/files/drawer/b.txt?_versions=1"):
        person.go(address)
        wide = "const one = document.querySelector('main .scroll'); return one.scrollWidth - one.clientWidth"
        assert person.driver.execute_script(wide) <= 0, address
        for shown in (".does button", "td.num", "td:last-child"):
            assert person.see(f"tbody tr:last-child {shown}").is_displayed(), (address, shown)


def test_what_the_trash_and_versions_ask_breaks_none_either(site: Server, person: Person, axe: str) -> None:
    def ask(page: str, button: str, words: str) -> None:
        dress(person, "light", *SIZES[0])
        person.go(page)
        person.press(person.see(button))
        assert words in person.words
        assert wrong_with(person, axe) == []

    ask("/files/drawer/b.txt?_versions=1", "button[name=purge]", "Delete this version?")
    ask("/files/drawer/?_trash=1", "button[value=empty]", "Empty the trash?")
    ask("/files/drawer/?_trash=1", "button[name=purge]", "Delete 1 entry for good?")
    headers = {"Authorization": f"Bearer {site.token()}"}
    assert site.ask("PUT", f"/files/drawer/{LONG}", b"x", headers).status == 201
    ask("/files/drawer/?_trash=1", "button[name=restore]", "1 name is taken")


def test_several_rows_at_once_and_saved_filters_break_none_either(site: Server, person: Person, axe: str) -> None:
    def choose(what: str) -> None:
        dress(person, "light", *SIZES[0])
        person.go("/forms/antrag/records")
        person.see("[data-all]").click()
        person.press(person.see(f".several button[value={what}]"))

    dress(person, "light", *SIZES[0])
    person.go("/forms/antrag/records?_sort=wer")
    person.see(".saved-tabs summary").click()
    person.see("#saved-name").send_keys("Nach Namen")
    person.press(person.see(".saved-tabs .button.solid"))
    assert "“Nach Namen” is saved." in person.words
    for page in ("/forms/antrag/records?_sort=wer", "/forms/antrag/records", "/me"):
        person.go(page)
        assert wrong_with(person, axe) == [], page
    choose("move")
    assert "There is no move that all of these can make" in person.words
    assert wrong_with(person, axe) == []
    choose("delete")
    assert wrong_with(person, axe) == []
    dress(person, "light", *SIZES[0])
    first, *others = person.driver.find_elements("css selector", ".several-rows input")
    for one in others:
        one.click()
    key = first.get_attribute("value").partition(".")[2]
    site.ask("DELETE", f"/forms/antrag/records/{key}", headers={"Authorization": f"Bearer {site.token()}"})
    person.press(person.see("button[name=sure]"))
    assert "1 of 1 was not done" in person.words
    assert wrong_with(person, axe) == []


# ---- by keys alone


def focused(person: Person) -> str:
    """What the keys go to, by its words or name."""
    one = person.driver.switch_to.active_element
    return " ".join((one.text or one.get_attribute("aria-label") or one.get_attribute("name") or one.tag_name).split())


def press(person: Person, *keys: str) -> None:
    person.driver.switch_to.active_element.send_keys(*keys)


def test_the_page_is_gone_through_by_keys(site: Server, person: Person) -> None:
    dress(person, "light", *SIZES[0])
    person.go("/forms/antrag/records")
    stops = []
    for _ in range(4):
        press(person, Keys.TAB)
        stops.append(focused(person))
    assert stops[0] == "Skip to content"
    assert stops[2:] == ["Home", "🗂 Desk"]
    assert person.driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid", (
        "one sees where one is"
    )
    person.go("/forms/antrag/records")
    press(person, Keys.TAB)
    press(person, Keys.ENTER)
    press(person, Keys.TAB)
    assert person.driver.switch_to.active_element == person.see("main :is(a, input, button, summary)")


def test_the_menu_and_the_search_answer_to_keys(site: Server, person: Person) -> None:
    dress(person, "light", *SIZES[0])
    person.go("/")
    more = person.see("details.more summary")
    more.send_keys(Keys.ENTER)
    assert person.see("details.more a").is_displayed()
    press(person, Keys.ESCAPE)
    assert not person.see("details.more a").is_displayed()
    assert person.driver.switch_to.active_element == more
    press(person, "/")
    assert focused(person) == "Search"
    press(person, "a/b")
    assert person.see("[data-search]").get_attribute("value") == "a/b", "a slash that is typed is a slash"
    press(person, Keys.BACKSPACE * 3, "donau", Keys.ENTER)
    waiting(person.driver).until(lambda driver: "/search?q=donau" in driver.current_url)
    assert "Donaudampfschifffahrtsgesellschaftskapitän" in person.words
    person.go("/forms/antrag")
    person.see("#f-wer").send_keys("Ida", Keys.ENTER)
    waiting(person.driver).until(lambda driver: "Sent." in person.words)


def test_on_a_phone_the_menu_opens_by_a_press_without_scripts(site: Server, person: Person) -> None:
    dress(person, "light", *SIZES[1])
    person.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        person.go("/views/open")
        inside = ("nav.menu a", "nav.own a", ".find input", ".who a")
        assert not any(person.see(one).is_displayed() for one in inside)
        summary = person.see("details.opener summary")
        summary.click()
        assert all(person.see(one).is_displayed() for one in inside)
        assert person.see("nav.own [aria-current=page]").text == "كل الطلبات"
        person.see(".find input").send_keys("one", Keys.ENTER)
        waiting(person.driver).until(lambda driver: "/search?q=one" in driver.current_url)
        assert person.see("#search-text").is_displayed()
    finally:
        person.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_what_is_searched_by_typing_is_chosen_and_sent(site: Server, person: Person) -> None:
    """With scripts: matches come while one types, and Enter in the search sends nothing."""
    person.go("/forms/choose")
    person.type("why", "near")
    search = person.see("#f-town-find")
    search.send_keys("town 5")
    search.send_keys(Keys.ENTER)
    options = "return [...document.querySelectorAll('#f-town option')].map((one) => one.textContent)"
    waiting(person.driver).until(lambda driver: "Town 57" in driver.execute_script(options))
    assert len(person.driver.execute_script(options)) == 12
    assert "What fits is below" in person.see("#f-town-find-said").text
    person.see("#f-town").send_keys("Town 57")
    search.clear()
    search.send_keys("town 3")
    waiting(person.driver).until(lambda driver: "Town 3" in driver.execute_script(options))
    assert person.value("town") == "t57"
    person.press(person.button("Send"))
    headers = {"Authorization": f"Bearer {site.token()}"}
    [record] = site.ask("GET", "/forms/choose/records", None, headers).json["items"]
    assert (record["town"], record["why"], record["who"]) == ("t57", "near", "admin")
    person.go(f"/forms/choose/records/{record['id']}?_edit=1")
    assert person.driver.execute_script(options) == ["Choose…", "Town 57"]
    assert person.complaints() == []
