"""The header If of WebDAV: what must hold of files and their locks before a request is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app import BadRequest

# ==== 1. CONDITIONS ==============================================================================================
# RFC 4918 section 10.4: lists of conditions, for the request's own place or for one that a tag names. It is enough that all
# of one list hold. Every lock token in it is submitted, whichever list holds.
# uses: ERRORS
# defines: Test Alternative State parsed holds tokens

_TOKEN = re.compile(
    r"[ \t]*(?:<([^<>\s]*)>|(\()|(\))|(not)(?=[\s<\[])|\[[ \t]*((?:W/)?\"[^\"]*\")[ \t]*\])[ \t]*", re.IGNORECASE
)
_MOST_CHARACTERS = 8000


class Test(NamedTuple):
    """One condition: that a lock or an etag (with its quotes) is there, or is not."""

    wanted: str
    is_etag: bool
    negated: bool


class Alternative(NamedTuple):
    """A list of conditions of the place that `tag` names by URL; "" is that of the request."""

    tag: str
    tests: Sequence[Test]


class State(NamedTuple):
    """What there is at a place."""

    etag: str | None  # without quotes; None if there is no file
    tokens: frozenset[str]  # of the locks that hold there


def parsed(header: str) -> list[Alternative]:
    """The lists of a header, [] for "". Raises BadRequest if it is not well-formed."""
    found: list[Alternative] = []
    tests: list[Test] | None = None  # of the list that is open
    tag, negated, at, is_tagged = "", False, 0, header.lstrip().startswith("<")
    while at < len(header):
        match = _TOKEN.match(header, at)
        if not match or len(header) > _MOST_CHARACTERS:
            raise BadRequest("If is not a list of conditions as RFC 4918 section 10.4 has them")
        coded, opens, closes, negation, etag = match.groups()
        at = match.end()
        if tests is None:
            if opens:
                tests = []
            elif coded is not None and is_tagged:
                tag = coded
            else:
                raise BadRequest("If has a condition outside of a list")
        elif closes and tests and not negated:
            found.append(Alternative(tag, tests))
            tests = None
        elif negation and not negated:
            negated = True
        elif coded or etag:
            tests.append(Test(coded or etag, etag is not None, negated))
            negated = False
        else:
            raise BadRequest("If has a list that is empty or not well-formed")
    if tests is not None or (header and not found) or (is_tagged and header.rstrip().endswith(">")):
        raise BadRequest("If ends in the middle of a list")
    return found


def holds(alternatives: Sequence[Alternative], state_of: Callable[[str], State | None]) -> bool:
    """Whether all of one list hold; of no lists nothing is wanted. `state_of` a tag is None if it names no place here."""
    states: dict[str, State | None] = {}
    for one in alternatives:
        if one.tag not in states:
            states[one.tag] = state_of(one.tag)
        state = states[one.tag]
        if state is not None and all(_is_true(test, state) for test in one.tests):
            return True
    return not alternatives


def _is_true(test: Test, state: State) -> bool:
    there = f'"{state.etag}"' == test.wanted if test.is_etag else test.wanted in state.tokens
    return there != test.negated


def tokens(alternatives: Sequence[Alternative]) -> frozenset[str]:
    """All lock tokens in them."""
    return frozenset(test.wanted for one in alternatives for test in one.tests if not test.is_etag)
