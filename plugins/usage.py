"""What was probably meant by a command line with a mistake in it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import app
from app import nearest

if TYPE_CHECKING:
    from app import UsageParser

# ==== 1. USAGE ===================================================================================================
# For people at the command line: imported only when they made a mistake.
# uses: CONFIG COMMANDS plugin:toml_advice
# defines: unknown_option wrong_choice


def unknown_option(parser: UsageParser, name: str) -> str:
    """What is wrong with an option that the parser does not have."""
    behind = [verb for verb, one in parser.verbs().items() if name in one._option_string_actions]
    if behind:
        return f"{name} stands behind the command: {parser.prog} {behind[0]} {name} …"
    own = {one: [one] for one in parser._option_string_actions}
    other = app.plugin("toml_advice").other_names()["commands"].items()
    meant = {word: [one] for word, one in other if one.partition(" ")[0] in (*own, "[http]")}
    return f"{parser.prog} has no option {name}{_meant(name, meant | own)}"


def wrong_choice(parser: UsageParser, action: argparse.Action, value: str) -> str:
    """What is wrong with a value that is none of an argument's choices; a command may be such a value."""
    choices = list(map(str, action.choices or ()))
    known = ", ".join(choices)
    if not parser.takes_command(action):
        called = (action.option_strings or [str(action.metavar)])[-1]
        return f"{called}: invalid choice: {value!r}, of {known}{nearest(value, choices)}"
    meant = {
        word: [one]
        for word, one in app.plugin("toml_advice").other_names()["commands"].items()
        if one.startswith(parser.prog)
    }
    advice = _meant(value, meant | _commands(parser) | {choice: [choice] for choice in choices})
    return f"{parser.prog}: invalid choice: {value!r}{advice or ', of ' + known}"


def _commands(parser: UsageParser) -> dict[str, list[str]]:
    """The whole commands below a parser by their last word: {"check": ["app.pyz server check", …], …}."""
    found: dict[str, list[str]] = {}
    for one in parser._actions:
        if one.dest in ("topic", "verb"):
            found |= {choice: [f"{parser.prog} {choice}"] for choice in one.choices or ()}
    for verb, below in parser.verbs().items():
        for word, whole in {verb: [below.prog], **_commands(below)}.items():
            found.setdefault(word, []).extend(whole)
    return found


def _meant(word: str, meanings: Mapping[str, Sequence[str]]) -> str:
    """'; did you mean X or Y?' of the word in `meanings` that is nearest; "" if none is near."""
    near = difflib.get_close_matches(word.casefold(), meanings, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(meanings[near[0]])}?" if near else ""
