"""Markdown as HTML, where nothing that somebody wrote can run."""

from __future__ import annotations

import html as entities
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import mistune

from app import plugin

# ==== 1. HTML ====================================================================================================
# HTML in a text is shown as text, and an address that could run something is no link. Headings begin below the title of the
# page that shows the text.
# uses: plugin:markdown_tables
# defines: html reader_for is_hard Writer

_MOST_CLOSE = 50_000  # signs such as * and [ between two empty lines: more of them would take too long to pair
_SCHEMES = ("http", "https", "mailto", "tel")
_PLUGINS = ("strikethrough", "task_lists", "footnotes", "url")
_OF_PAGES = re.compile(r"main|mark|waiting|drafts|text|fn(ref)?-\d.*")  # ids that pages have themselves
_SIDES = {"right": "num", "center": "mid"}
_Place = Callable[[str, bool], str]


def html(body: str, place: _Place, title: str = "", level: int = 2, wide: str = "", mark: str = "") -> str:
    """The text as HTML. `place` says where a relative address leads, of an image if the second is true; "" for nowhere.
    Headings begin at `level`, and the first of them is left out if it says `title`. `wide` names the box of a table, and
    every id begins with `mark`, plain letters, where a page has several texts or ids of its own."""
    if is_hard(body):
        return f'<pre tabindex="0">{escape(body)}</pre>'
    reader = reader_for(Writer(place, wide, mark))
    reader.before_render_hooks.append(lambda _, state: _outlined(state.tokens, title, level))
    return cast(str, reader(body))


def reader_for(writer: mistune.HTMLRenderer | None) -> mistune.Markdown:
    """What reads a text, once; without a writer into its parts."""
    reader = mistune.create_markdown(renderer=writer, plugins=list(_PLUGINS))
    plugin("markdown_tables").add(reader)
    return reader


def is_hard(body: str) -> bool:
    """Whether a text would take too long to be read as Markdown, as none does that somebody wrote."""
    return any(len(re.findall(r"[*_`\[\]<>!~|\\(&]", part)) > _MOST_CLOSE for part in re.split(r"\n[ \t]*\n", body))


class Writer(mistune.HTMLRenderer):
    """The HTML of each part of a text, where it has to be other than mistune has it."""

    def __init__(self, place: _Place, wide: str, mark: str) -> None:
        super().__init__(escape=True)
        self._place, self._mark = place, mark
        self._box = f'<div class="scroll" role="region" aria-label="{escape(wide)}" tabindex="0">'
        self._noted = Counter[int]()  # how often each footnote was referred to

    def text(self, text: str) -> str:
        return escape(entities.unescape(text), quote=False)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not url:  # which leads to the page itself, as in any other
            return f'<a href=""{_hint(title)}>{text}</a>'
        href = _target(url, self._place, False)
        href = f"#{self._id(href[1:])}" if href.startswith("#") else href
        return f'<a href="{escape(href)}"{_hint(title)}>{text}</a>' if href else f"<span>{text}</span>"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        source, said = url and _target(url, self._place, True), escape(entities.unescape(re.sub("<[^>]*>", "", text)))
        if not source or urlsplit(source).scheme:  # the policy of pages shows none of other sites
            return f'<a href="{escape(source)}">{said or escape(url)}</a>' if source else f"<span>{said}</span>"
        return f'<img src="{escape(source)}" alt="{said}"{_hint(title)} loading="lazy">'

    def block_code(self, code: str, info: str | None = None) -> str:
        return f'<pre tabindex="0"><code>{escape(code)}</code></pre>\n'

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        if "id" not in attrs:  # in a footnote
            return f"<p><strong>{text}</strong></p>\n"
        return f'<h{level} id="{escape(self._id(attrs["id"]))}">{text}</h{level}>\n'

    def _id(self, name: str) -> str:
        """The id in the page of what has this one in the text."""
        return (self._mark or "p-" * bool(_OF_PAGES.fullmatch(name))) + name

    def table(self, text: str) -> str:
        return f"{self._box}<table>\n{text}</table></div>\n"

    def table_head(self, text: str) -> str:
        return f"<thead><tr>\n{text}</tr></thead>\n"

    def table_body(self, text: str) -> str:
        return f"<tbody>\n{text}</tbody>\n"

    def table_row(self, text: str) -> str:
        return f"<tr>\n{text}</tr>\n"

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        name, mark = ("th", ' scope="col"') if head else ("td", "")
        mark += f' class="{_SIDES[align]}"' if align in _SIDES else ""
        return f"<{name}{mark}>{text}</{name}>\n"

    def task_list_item(self, text: str, checked: bool = False) -> str:
        before = "<p>" if text.startswith("<p>") else ""
        return f'<li class="task">{before}{"☑" if checked else "☐"} {text.removeprefix(before)}</li>\n'

    def footnote_ref(self, key: str, index: int) -> str:
        self._noted[index] += 1
        one, at = f"{self._mark}fn-{index}", f"{self._mark}{_reference(index, self._noted[index])}"
        return f'<sup id="{at}"><a href="#{one}">{index}</a></sup>'

    def footnotes(self, text: str) -> str:
        return f'<section class="footnotes">\n<ol>\n{text}</ol>\n</section>\n'

    def footnote_item(self, text: str, key: str, index: int) -> str:
        times = range(1, self._noted[index] + 1)
        back = "".join(f' <a href="#{self._mark}{_reference(index, each)}">↩</a>' for each in times)
        text = text.rstrip()
        text = text.removesuffix("</p>") + back + "</p>" if text.endswith("</p>") else text + back
        return f'<li id="{self._mark}fn-{index}">{text}</li>\n'


def _reference(index: int, time: int) -> str:
    """The id of the place that refers to a footnote for the first time, or once more."""
    return f"fnref-{index}" + (f"--{time}" if time > 1 else "")


def _hint(title: str | None) -> str:
    return f' title="{escape(entities.unescape(title))}"' if title else ""


def _target(url: str, place: _Place, is_image: bool) -> str:
    """Where an address of a text leads; "" if it is no address that a browser may follow."""
    plain = re.sub(r"[\0-\x20\x7f-\xa0]", "", unquote(entities.unescape(url)))
    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", plain)
    if scheme:
        return url if scheme[1].lower() in _SCHEMES and not (is_image and scheme[1].lower() == "mailto") else ""
    if plain.startswith(("//", "\\", "/\\")) or ":" in re.split("[/?#]", plain)[0]:
        return ""
    return url if url.startswith("#") else place(url, is_image)


def _outlined(tokens: list[dict[str, Any]], title: str, level: int) -> None:
    """Gives headings their levels, none left out on the way down, and ids by what they say."""
    heads = list(_heads(tokens))
    first = next((one for one in tokens if one["type"] != "blank_line"), None)
    if heads and first is heads[0] and first["attrs"]["level"] == 1 and title and _said(first) == title:
        tokens.remove(heads.pop(0))
    least, before, taken = min((one["attrs"]["level"] for one in heads), default=1), level - 1, dict[str, int]()
    for one in heads:
        before = min(one["attrs"]["level"] - least + level, before + 1, 6)
        one["attrs"] = {"level": before, "id": _fresh(_anchor(str(one.get("text", ""))), taken)}


def _heads(tokens: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The headings among parts of a text, those in lists and quotations with them."""
    for one in tokens:
        if one["type"] == "heading":
            yield one
        else:
            yield from _heads(one.get("children", []))


def _said(token: Mapping[str, Any]) -> str:
    """The text of a heading, without signs."""
    return re.sub(r"[*_`\[\]]", "", str(token.get("text", ""))).strip()


def _anchor(text: str) -> str:
    """The id of a heading, as GitHub and others make it: what is written elsewhere has links to those."""
    plain = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)|(?<!\w)_+|_+(?!\w)", r"\1", text.lower())
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")[:100] or "part"


def _fresh(name: str, taken: dict[str, int]) -> str:
    """The id, with a number behind it if it is taken."""
    found = name
    while found in taken:
        taken[name] += 1
        found = f"{name}-{taken[name]}"
    taken[found] = 0
    return found
