"""What people write in Markdown for the pages of an app: what a text is called."""

from __future__ import annotations

import re
from typing import NamedTuple

# ==== 1. TEXTS ===================================================================================================
# A text may begin with lines between two "---" that say what it is called.
# uses: nothing
# defines: MOST_BYTES Text read_text with_title slug

MOST_BYTES = 1_000_000  # of a text
_HEAD = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FACT = re.compile(r"([\w-]+(?: [\w-]+){0,3}) *:(?:[ \t]+(.*)|)")
_BELOW = re.compile(r"\s.*|- .*|[\]}].*|#.*|")  # lines that go on with the one above, or say nothing
_QUOTED = re.compile(r"([\"'])(.*)\1\s*(?:#.*)?")
_LONGEST_HEAD = 2000


class Text(NamedTuple):
    """A text: its title, "" if it says none, what comes below the lines that say it, how many those are, and all of it."""

    title: str
    body: str
    above: int
    source: str


def read_text(data: str) -> Text:
    """A text, without what stands above it."""
    data = data.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = _HEAD.match(data[:_LONGEST_HEAD])
    if not found:
        return Text(_first_heading(data), data, 0, data)
    facts = _facts((found[1] or "").splitlines())
    if facts is None:  # a text between two lines across the page
        return Text(_first_heading(data), data, 0, data)
    body = data[found.end() :]
    return Text(facts.get("title") or _first_heading(body), body, found[0].count("\n"), data)


def with_title(text: str, title: str) -> str:
    """The text with a line above it that says its title; other lines of that kind stay."""
    for said in (title, "'" + title.replace("'", "''") + "'"):
        line = f"title: {said}\n"
        if read_text(f"---\n{line}---\n").title == title:
            break
    found = _HEAD.match(text[:_LONGEST_HEAD])
    if found is None or _facts((found[1] or "").splitlines()) is None:
        return f"---\n{line}---\n{text}"
    others = re.sub(r"^title *:.*\n(?:[ \t].*\n)*", "", found[1] or "", flags=re.IGNORECASE | re.MULTILINE)
    return f"---\n{line}{others}---\n{text[found.end() :]}"


def _facts(lines: list[str]) -> dict[str, str] | None:
    """What lines such as `title: Trips` say; None if there are others."""
    found: dict[str, str] = {}
    name = ""
    for line in map(str.rstrip, lines):
        if fact := _FACT.fullmatch(line):
            name, found[fact[1].lower()] = fact[1].lower(), _value(fact[2] or "")
        elif not _BELOW.fullmatch(line) or (line and not name and not line.startswith("#")):
            return None
        elif name and line[:1].isspace():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text.strip())
    if quoted:
        return quoted[2].replace("''", "'") if quoted[1] == "'" else quoted[2].replace('\\"', '"')
    return "" if re.fullmatch("[>|][+-]?", text.strip()) else text.strip()


def _first_heading(body: str) -> str:
    """The heading that a text begins with, without signs; "" if it begins with something else."""
    found = re.match(r"\s*# +([^\n]{1,200}?)[ #]*(?:\n|\Z)", body)
    found = found or re.match(r"\s*(?![#>|+*`-])([^\n]{1,200})\n=+[ \t]*(?:\n|\Z)", body)
    return re.sub(r"[*_`\[\]]", "", found[1]).strip() if found else ""


def slug(text: str) -> str:
    """A text as it stands in addresses: "Paid leave" as "paid-leave"."""
    return "-".join(re.findall(r"\w+", text.lower()))[:60] or "page"
