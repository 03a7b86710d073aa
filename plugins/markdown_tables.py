"""Tables in Markdown, as most programs read them that people write it for (GitHub Flavored Markdown)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# ==== 1. TABLES ==================================================================================================
# A row may have too few cells or too many, so that one slip leaves the table whole; \| is a sign in a cell, in code too; and
# a table may stand in a list or a quotation.
# uses: nothing
# defines: add

_TABLE = r"^ {0,3}(?=[^\n]*\|)\S[^\n]*\n {0,3}[|:-][|:\- \t]*(?:\n|$)"
_ELSE = re.compile(r" {0,3}(?:>|#{1,6}[ \t]|`{3}|~{3})|[^|]*$")  # a line that is no row
_ALIGNED = {(True, True): "center", (False, True): "right", (True, False): "left", (False, False): None}
_MOST_COLUMNS, _MOST_MISSING = 500, 20_000  # more would be a way to make a page large


def add(reader: Any) -> None:
    """Has a reader of mistune know tables."""
    block = reader.block
    block.register("table", _TABLE, _read, before="paragraph")
    for rules in (block.list_rules, block.block_quote_rules):
        block.insert_rule(rules, "table", before="paragraph")


def _read(block: Any, found: re.Match[str], state: Any) -> int | None:
    """Where the table ends that begins here; None if it is none."""
    head, line = (_cells(one) for one in found[0].split("\n")[:2])
    if not 1 <= len(head) == len(line) <= _MOST_COLUMNS or not all(re.fullmatch(":?-+:?", one) for one in line):
        return None
    aligned = [_ALIGNED[one[0] == ":", one[-1] == ":"] for one in line]
    at, rows, missing = found.end(), list[Any](), 0
    while at < state.cursor_max and not _ELSE.match(text := state.get_line(at)):
        cells = _cells(text)
        cells[len(head) - 1 :] = [" | ".join(cells[len(head) - 1 :])]  # what is too many is not lost
        missing += len(head) - len(cells)
        if missing > _MOST_MISSING:
            return None
        rows.append(_part("table_row", _row([*cells, *[""] * (len(head) - len(cells))], aligned)))
        at += len(text)
    parts = [_part("table_head", _row(head, aligned, head=True)), _part("table_body", rows)]
    state.append_token(_part("table", parts))
    return at


def _part(kind: str, parts: Iterable[Any]) -> Any:
    return {"type": kind, "children": list(parts)}


def _row(cells: Sequence[str], aligned: Sequence[str | None], *, head: bool = False) -> Iterator[Any]:
    for text, side in zip(cells, aligned, strict=True):
        yield {"type": "table_cell", "text": text, "attrs": {"align": side, "head": head}}


def _cells(line: str) -> list[str]:
    """What stands between the bars of a line."""
    text = line.strip().removeprefix("|")
    found = re.findall(r"((?:[^|\\]|\\.)*+\\?)(?:\||$)", text)[:-1]  # the last stands behind the end
    return [re.sub(r"\\\|", "|", one).strip() for one in found]
