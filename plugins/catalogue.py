"""The texts of the pages in each language, from templates/lang/*.toml, and the one of several forms that a number asks for.

How a page gets its texts:

1. Write the English text into templates/lang/en.toml and the German one into de.toml, in the table of the page:
   under [login], `title = "Sign in"` is the key "login.title". What several pages say stands under [common].
2. What is put in is `{name}`: `hello = "Hello {who}"`. Braces mean nothing else.
3. What depends on a number is a table by plural forms, chosen by the argument `n`, which is written as the language
   writes numbers: `rows = { one = "{n} row", other = "{n} rows" }`. English and German have one and other.
4. In a template `{{t("login.hello", who=page.name)}}`; if names of people or things are put in, so that no other script
   turns the sentence around, `{{!t.html("login.hello", who=page.name)}}`: it escapes what is put in, each in a <bdi>.
   `t.tag("strong", name)` and `t.link(href, text)` are for what is put in as HTML.
5. In a plugin `exchange.locale.t("login.title")`. A text that no page of Satchel makes (of a user's plugin) stays as it is.
6. A language without a text has the English one. templates/lang/xx.toml beside app.toml adds and replaces texts; its table
   [own] is for templates beside it. tests/test_languages.py finds letters in a template that are in no catalogue.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from app import BUNDLED, Fault, nearest, plugin

# ==== 1. CATALOGUE ===============================================================================================
# Read once for each language, as one flat table by keys; a page only looks up what it shows.
# uses: ERRORS VALUES CONFIG plugin:zones
# defines: Text PLACEHOLDER Markup flattened placeholders plural_forms plural_of Words english Catalogue

Text: TypeAlias = "str | Mapping[str, str]"  # one of several forms by plural category

_BUNDLED = BUNDLED / "templates" / "lang"
_CATEGORIES = ("zero", "one", "two", "few", "many", "other")
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_A_NUMBER = r"-?[0-9]{1,3}(?:,[0-9]{3})*(?:\.[0-9]{1,15})?|-?[0-9]{1,15}(?:\.[0-9]{1,15})?"  # as messages write it
_OWN = "own."  # keys of templates beside app.toml

# CLDR 46, cardinal rules (unicode.org/cldr/charts/46/supplemental/language_plural_rules.html). n is the number, i its whole
# part, v and f the count and the value of its shown decimals, t those without zeros at the end.
_PLURAL_RULES: Mapping[str, str] = {
    "de en et fi nl sv ur yi": "one: i = 1 and v = 0",
    "af az bg el eu hu ka kk nb nn no sq tr uz": "one: n = 1",
    "ca it gl": "one: i = 1 and v = 0; many: i != 0 and i % 1000000 = 0 and v = 0",
    "es": "one: n = 1; many: i != 0 and i % 1000000 = 0 and v = 0",
    "fr pt": "one: i = 0..1; many: i != 0 and i % 1000000 = 0 and v = 0",
    "pt-PT": "one: i = 1 and v = 0; many: i != 0 and i % 1000000 = 0 and v = 0",
    "hy": "one: i = 0..1",
    "fa hi": "one: i = 0 or n = 1",
    "da": "one: n = 1 or t != 0 and i = 0..1",
    "is": "one: t = 0 and i % 10 = 1 and i % 100 != 11 or t % 10 = 1 and t % 100 != 11",
    "mk": "one: v = 0 and i % 10 = 1 and i % 100 != 11 or f % 10 = 1 and f % 100 != 11",
    "he": "one: i = 1 and v = 0 or i = 0 and v != 0; two: i = 2 and v = 0",
    "ar": "zero: n = 0; one: n = 1; two: n = 2; few: n % 100 = 3..10; many: n % 100 = 11..99",
    "cy": "zero: n = 0; one: n = 1; two: n = 2; few: n = 3; many: n = 6",
    "ga": "one: n = 1; two: n = 2; few: n = 3..6; many: n = 7..10",
    "mt": "one: n = 1; two: n = 2; few: n = 0 or n % 100 = 3..10; many: n % 100 = 11..19",
    "be": "one: n % 10 = 1 and n % 100 != 11; few: n % 10 = 2..4 and n % 100 != 12..14; "
          "many: n % 10 = 0 or n % 10 = 5..9 or n % 100 = 11..14",
    "ru uk": "one: v = 0 and i % 10 = 1 and i % 100 != 11; few: v = 0 and i % 10 = 2..4 and i % 100 != 12..14; "
             "many: v = 0 and i % 10 = 0 or v = 0 and i % 10 = 5..9 or v = 0 and i % 100 = 11..14",
    "bs hr sr": "one: v = 0 and i % 10 = 1 and i % 100 != 11 or f % 10 = 1 and f % 100 != 11; "
                "few: v = 0 and i % 10 = 2..4 and i % 100 != 12..14 or f % 10 = 2..4 and f % 100 != 12..14",
    "cs sk": "one: i = 1 and v = 0; few: i = 2..4 and v = 0; many: v != 0",
    "pl": "one: i = 1 and v = 0; few: v = 0 and i % 10 = 2..4 and i % 100 != 12..14; "
          "many: v = 0 and i != 1 and i % 10 = 0..1 or v = 0 and i % 10 = 5..9 or v = 0 and i % 100 = 12..14",
    "sl": "one: v = 0 and i % 100 = 1; two: v = 0 and i % 100 = 2; few: v = 0 and i % 100 = 3..4 or v != 0",
    "lt": "one: n % 10 = 1 and n % 100 != 11..19; few: n % 10 = 2..9 and n % 100 != 11..19; many: f != 0",
    "lv": "zero: n % 10 = 0 or n % 100 = 11..19 or v = 2 and f % 100 = 11..19; "
          "one: n % 10 = 1 and n % 100 != 11 or v = 2 and f % 10 = 1 and f % 100 != 11 or v != 2 and f % 10 = 1",
    "ro": "one: i = 1 and v = 0; few: v != 0 or n = 0 or n != 1 and n % 100 = 1..19",
    "id ja ko ms th vi zh": "",
}  # fmt: skip
_RELATION = re.compile(r"([nivft])(?: % ([0-9]+))? (!?=) ([0-9]+)(?:\.\.([0-9]+))?")
_Relation: TypeAlias = tuple[str, int, bool, int, int]  # operand, divisor or 0, whether it is "=", from, to


class Markup(str):
    """Text that is HTML already."""


def flattened(tables: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each key such as "login.title" with its text, or with its table of plural forms; what is neither comes as it is."""
    for name, value in tables.items():
        if isinstance(value, dict) and not (value.keys() <= set(_CATEGORIES) and "other" in value):
            yield from flattened(value, f"{before}{name}.")
        else:
            yield before + name, value


def placeholders(text: Text) -> set[str]:
    """The names that are put into a text."""
    return set(PLACEHOLDER.findall(" ".join(text.values()) if isinstance(text, Mapping) else text))


@lru_cache
def _rules(lang: str) -> Mapping[str, list[list[_Relation]]]:
    """By category: the alternatives, each of relations that all have to hold."""
    primary = lang.split("-")[0].lower()
    found = {name: text for names, text in _PLURAL_RULES.items() for name in names.split()}
    text, made = found.get(lang, found.get(primary, found["en"])), {}
    for rule in filter(None, text.split("; ")):
        category, _, condition = rule.partition(": ")
        made[category] = [list(map(_relation, one.split(" and "))) for one in condition.split(" or ")]
    return made


def _relation(text: str) -> _Relation:
    found = _RELATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no relation of CLDR")
    return found[1], int(found[2] or 0), found[3] == "=", int(found[4]), int(found[5] or found[4])


def plural_forms(lang: str) -> tuple[str, ...]:
    """The plural categories that a language has, such as ("one", "other")."""
    return (*_rules(lang), "other")


@lru_cache(4096)
def plural_of(lang: str, number: Any) -> str:
    """The plural category of a number, as it is shown; "other" for what is no number."""
    found = re.fullmatch(r"-?([0-9]+)(?:\.([0-9]+))?", str(number))
    if not found:
        return "other"
    shown = found[2] or ""
    trimmed = shown.rstrip("0")
    values: dict[str, float] = {"i": int(found[1]), "v": len(shown), "f": int(shown or 0), "t": int(trimmed or 0)}
    values["n"] = values["i"] if not trimmed else float(f"{found[1]}.{trimmed}")
    for category, alternatives in _rules(lang).items():
        if any(all(_holds(values, one) for one in relations) for relations in alternatives):
            return category
    return "other"


def _holds(values: Mapping[str, float], relation: _Relation) -> bool:
    operand, divisor, is_equal, least, most = relation
    value = values[operand] % divisor if divisor else values[operand]
    return (value == int(value) and least <= value <= most) == is_equal


class Words:
    """The texts of one language by their keys. A key that no language has stands for itself."""

    def __init__(self, lang: str, texts: Mapping[str, Text], write: Callable[[Any], str] = str) -> None:
        """`write` writes the numbers that are put into the texts."""
        self.lang, self._texts, self._write = lang, texts, write

    def __call__(self, key: str, /, **given: Any) -> str:
        """A text with what is given put in, as plain text."""
        text = self._texts.get(key, key)
        if type(text) is str and not given:
            return text
        return self._filled(self._chosen(text, given), {name: self._plain(one) for name, one in given.items()})

    def html(self, key: str, /, **given: Any) -> Markup:
        """The same as HTML: the text escaped, and what is put in too, each text in a <bdi>; Markup stays as it is."""
        text = html.escape(self._chosen(self._texts.get(key, key), given))
        return Markup(self._filled(text, {name: self._marked_up(one) for name, one in given.items()}))

    def has(self, key: str) -> bool:
        return key in self._texts

    def said(self, text: str) -> str:
        """What an English message of a fault, which programs get as it is, says in this language: one whose English is under
        "said." with the same words. Any other message stays as it is."""
        if self.lang != "en":
            for pattern, key in _messages():
                if found := pattern.fullmatch(text):
                    return self(key, **{name: _number(one) for name, one in found.groupdict().items()})
        return text

    def tag(self, name: str, text: Any) -> Markup:
        """An element such as <strong> around a text that may be in any script."""
        return Markup(f"<{name}><bdi>{html.escape(self._plain(text))}</bdi></{name}>")

    def link(self, href: str, text: Any) -> Markup:
        return Markup(f'<a href="{html.escape(href)}"><bdi>{html.escape(self._plain(text))}</bdi></a>')

    def _chosen(self, text: Text, given: Mapping[str, Any]) -> str:
        if isinstance(text, str):
            return text
        return text.get(plural_of(self.lang, given.get("n"))) or text["other"]

    def _filled(self, text: str, given: Mapping[str, str]) -> str:
        return PLACEHOLDER.sub(lambda found: given.get(found[1], found[0]), text)

    def _plain(self, value: Any) -> str:
        return self._write(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

    def _marked_up(self, value: Any) -> str:
        if isinstance(value, Markup):
            return value
        text = html.escape(self._plain(value))
        return text if isinstance(value, int | float) else f"<bdi>{text}</bdi>"


@lru_cache
def english() -> Words:
    """The words that programs are told."""
    return Words("en", Catalogue().texts("en"), lambda number: f"{number:,}")


@lru_cache
def _messages() -> list[tuple[re.Pattern[str], str]]:
    """What English messages look like, with their keys; those with the most letters of their own first."""
    found = list[tuple[int, re.Pattern[str], str]]()
    for key, text in _bundled("en").items():
        if key.startswith("said."):
            for one in text.values() if isinstance(text, Mapping) else [text]:
                parts = PLACEHOLDER.split(one)
                parts[::2] = map(re.escape, parts[::2])
                parts[1::2] = [f"(?P<{name}>{_A_NUMBER if name == 'n' else '.+?'})" for name in parts[1::2]]
                letters = len(PLACEHOLDER.sub("", one))
                found.append((letters, re.compile("".join(parts), re.DOTALL), key))
    return [(pattern, key) for _, pattern, key in sorted(found, key=lambda each: -each[0])]


def _number(text: str) -> Any:
    """The number that an English text is, or else the text itself."""
    plain = text.replace(",", "")
    if not re.fullmatch(_A_NUMBER, text):
        return text
    return float(plain) if "." in plain else int(plain)


@lru_cache
def _bundled(name: str) -> Mapping[str, Text]:
    """The bundled texts of a language by their keys, none of one that is not bundled."""
    path = _BUNDLED / f"{name}.toml"
    return dict(flattened(tomllib.loads(path.read_text("utf-8")))) if path.is_file() else {}


class Catalogue:
    """The languages of a site: the bundled ones, and those of templates/lang beside app.toml."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where app.toml is; None for the bundled ones alone."""
        own = sorted((folder / "templates" / "lang").glob("*.toml")) if folder else []
        self._own = {path.stem: path for path in own if path.parent.resolve() != _BUNDLED}
        self.languages = tuple(dict.fromkeys([*sorted(path.stem for path in _BUNDLED.glob("*.toml")), *self._own]))
        self._known: dict[str, Mapping[str, Text]] = {}

    def texts(self, lang: str) -> Mapping[str, Text]:
        """All texts for a language: its own, then those of "de" for "de-CH", then English."""
        if lang not in self._known:
            found, subtags = dict(self._read("en")), lang.split("-")
            for count in range(1, len(subtags) + 1):
                name = "-".join(subtags[:count])
                own = next((one for one in self.languages if one.lower() == name.lower()), "")
                found.update(self._read(own) if own != "en" else ())
            self._known[lang] = found
        return self._known[lang]

    def _read(self, name: str) -> Iterable[tuple[str, Text]]:
        """The texts of a language's own files; what is wrong with one of a site, `faults` has said."""
        yield from _bundled(name).items()
        path = self._own.get(name)
        if path and path.is_file():
            yield from flattened(tomllib.loads(path.read_text("utf-8")))

    def faults(self) -> list[Fault]:
        """What is wrong with the site's own files, by their places such as "templates/lang/fr.toml: login.title"."""
        return [
            Fault(f"templates/lang/{name}.toml" + (f": {key}" if key else ""), "configuration", detail)
            for name, path in self._own.items()
            for key, detail in _file_faults(name, path)
        ]


def _file_faults(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) of a site's own file."""
    try:
        plugin("zones").language(name)
    except ValueError as error:
        yield "", f"the name {error}"
    try:
        found = dict(flattened(tomllib.loads(path.read_text("utf-8"))))
    except (OSError, ValueError) as error:
        yield "", f"cannot be read: {error}"
        return
    known = Catalogue().texts("en")
    for key, text in found.items():
        if wrong := _text_fault(name, text) or _key_fault(key, text, known):
            yield key, wrong


def _text_fault(lang: str, text: Any) -> str:
    if isinstance(text, Mapping):
        forms = plural_forms(lang)
        if more := [one for one in text if one not in forms]:
            return f"has the form {more[0]}, which {lang} does not have: it has {', '.join(forms)}"
        return "" if all(isinstance(one, str) for one in text.values()) else "must have a text for each form"
    return "" if isinstance(text, str) else "must be a text"


def _key_fault(key: str, text: Text, known: Mapping[str, Text]) -> str:
    if key.startswith(_OWN):
        return ""
    if key not in known:
        return f"is no text of the pages{nearest(key, known)}"
    more = sorted(placeholders(text) - placeholders(known[key]))
    return f"puts in {{{more[0]}}}, which this text does not have" if more else ""
