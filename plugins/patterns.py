"""What matching a text with a regular expression can cost, so that no pattern of app.toml can keep a server busy."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

# ==== 1. PATTERNS ================================================================================================
# Judges an expression by Glushkov's automaton: where its loops give a text more than one path, and what the worst text
# of some length costs. Imported only if app.toml has a pattern.
# uses: nothing
# defines: pattern_fault

_MATCH_STEPS = 3_000_000  # that one text may cost: some 50 ms
_MOST_PLACES = 400  # of an expression, its counted repeats written out
_MOST_LOOKS = 2_000_000  # while one expression is judged
_Ways = dict[int, int]  # place -> in how many ways it is come to: 1, or 2 for several
_Portion = tuple[int, _Ways, _Ways]  # ways to match nothing, where it can begin, where it can end
_CHARACTERS = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
_KINDS = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
_SAMPLES = "aZ0_ \n-\u00e9\u0663\u2028\u20ac\U0001f4a5"


class _Slow(Exception):
    """An expression cannot be judged, and why."""


class _Exploding(Exception):
    """Each character more can multiply the work."""


def _more(ways: _Ways, others: _Ways, times: int = 1) -> _Ways:
    return ways | {place: min(2, ways.get(place, 0) + n * times) for place, n in others.items() if times}


class _Places:
    """Glushkov's automaton of a parsed expression: a place for each character that it asks for, and in how many ways one
    follows another. Each way of trying a text is a path in it; place 0 is the start."""

    def __init__(self, tree: Any, flags: int, copies: int = 255) -> None:
        self.copies = copies  # of one character; a larger count is as good as a loop
        self.asked: list[Any] = [None]
        self.follow: list[_Ways] = [{}]
        self.looks: list[tuple[float, Any, int]] = []  # (paths, tree, flags) of each look-ahead and look-behind
        self.paths = 1.0  # of one text, at most, to what is being read; infinite behind a loop
        self.widths: dict[int, int] = {}  # of the groups that match so many characters each time
        self.work = [4]  # of a step to each place, by measurement: one character repeated is quick, empty rounds are not
        self._join({0: 1}, self._all(tree, flags)[1])

    def _join(self, ends: _Ways, begins: _Ways) -> None:
        for place, ways in ends.items():
            self.follow[place] = _more(self.follow[place], begins, ways)

    def _place(self, op: str, arg: Any, flags: int) -> _Portion:
        if len(self.asked) > _MOST_PLACES:
            raise _Slow("its counted repeats are too large to be judged: write smaller ones")
        self.asked.append((op, arg, flags))
        self.follow.append({})
        self.work.append(4)
        place = {len(self.asked) - 1: 1}
        return 0, place, place

    def _all(self, items: Iterable[Any], flags: int) -> _Portion:
        whole: _Portion = (1, {}, {})
        for op, arg in items:
            whole = self._after(whole, self._one(str(op), arg, flags))
        return whole

    def _after(self, left: _Portion, right: _Portion) -> _Portion:
        self._join(left[2], right[1])
        return min(2, left[0] * right[0]), _more(left[1], right[1], left[0]), _more(right[2], left[2], right[0])

    def _one(self, op: str, arg: Any, flags: int) -> _Portion:
        match op:
            case _ if op in _CHARACTERS:
                return self._place(op, arg, flags)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeat(arg, flags)
            case "SUBPATTERN":
                shortest, longest = arg[3].getwidth()
                if arg[0] and shortest == longest:
                    self.widths[arg[0]] = shortest
                return self._all(arg[3], flags & ~arg[2] | arg[1])
            case "ATOMIC_GROUP":
                return self._all(arg, flags)
            case "BRANCH":
                return self._either(arg[1], flags)
            case "GROUPREF_EXISTS":
                return self._either([arg[1], arg[2] or ()], flags)
            case "ASSERT" | "ASSERT_NOT":
                self.looks.append((self.paths, arg[1], flags))
                return 1, {}, {}
            case "GROUPREF" if arg in self.widths:  # as if it were so many dots
                return self._all([("ANY", None)] * self.widths[arg], flags | re.DOTALL)
            case "GROUPREF":  # as if it were .*
                _, begin, end = self._place("ANY", None, re.DOTALL)
                self._join(end, begin)
                return 1, begin, end
            case "AT":
                return 1, {}, {}
            case "FAILURE":
                return 0, {}, {}
        raise _Slow(f"it has {op}, which cannot be judged")

    def _either(self, branches: Sequence[Any], flags: int) -> _Portion:
        null, begins, ends = 0, _Ways(), _Ways()
        self.paths *= len(branches)
        for branch in branches:
            part = self._all(branch, flags)
            null, begins, ends = min(2, null + part[0]), _more(begins, part[1]), _more(ends, part[2])
        return null, begins, ends

    def _repeat(self, asked: tuple[int, Any, Any], flags: int) -> _Portion:
        """The copies that must be there, then a loop, or as many as may be there, each inside the one before it: what
        matched nothing is not repeated."""
        low, high, body = asked
        if high == 0:
            return 1, {}, {}
        before, single = len(self.asked), len(body) == 1 and str(body[0][0]) in _CHARACTERS
        if high > 1 and not (single and low == high):
            self.paths = math.inf
        self.paths *= 2
        whole = last = self._all(body, flags)
        if len(self.asked) > before:
            if single and int(high) > self.copies:
                low, high = min(low, 1), 2**31
            for _ in range(low - 1):
                last = self._all(body, flags)
                whole = self._after(whole, last)
            if int(high) > 2**30:
                self._join(last[2], last[1])
                self.work[before:] = [1 if single else 16 if last[0] else 4] * (len(self.asked) - before)
            else:
                whole = self._after(whole, self._optional(int(high) - max(low, 1), body, flags))
        return min(2, whole[0] + (low == 0)), whole[1], whole[2]

    def _optional(self, count: int, body: Any, flags: int) -> _Portion:
        rest: _Portion = (1, {}, {})
        for part in reversed([self._all(body, flags) for _ in range(count)]):
            rest = (1, *self._after((0, *part[1:]), rest)[1:])
        return rest


def _takes(op: str, arg: Any, flags: int, code: int) -> bool:
    """Whether a place takes a character."""
    if op == "ANY":
        return code != 10 or bool(flags & re.DOTALL)
    if op == "CATEGORY":
        kind = str(arg).removeprefix("CATEGORY_").removeprefix("NOT_")
        return bool(re.match(_KINDS[kind], chr(code), flags & re.ASCII)) == ("NOT_" not in str(arg))
    if op == "IN":
        negated, items = str(arg[0][0]) == "NEGATE", [(str(one), given) for one, given in arg]
        return negated != any(_takes(one, given, flags, code) for one, given in items if one != "NEGATE")
    cases = {code, *_cases(code)} if flags & re.IGNORECASE else {code}
    low, high = arg if op == "RANGE" else (arg, arg)
    return any(low <= one <= high for one in cases) == (op != "NOT_LITERAL")


def _cases(code: int) -> Iterator[int]:
    yield from (ord(text) for text in (chr(code).lower(), chr(code).upper()) if len(text) == 1)


@lru_cache(maxsize=1)
def _kind_borders() -> frozenset[int]:
    every = "".join(map(chr, range(0x30000)))
    return frozenset(at for kind in _KINDS.values() for found in re.finditer(kind + "+", every) for at in found.span())


def _letters(asked: Sequence[Any]) -> list[int]:
    """For each place the set of the characters that it takes, as bits: a character stands for all that are taken alike."""
    points: set[int] = set()
    for op, arg, _ in asked:
        for kind, given in arg if op == "IN" else [(op, arg)]:
            if str(kind) in ("LITERAL", "NOT_LITERAL", "RANGE"):
                ends = given if str(kind) == "RANGE" else (given, given)
                for code in {*ends, *_cases(ends[0]), *_cases(ends[1])}:
                    points |= {code, min(code + 1, 0x10FFFF)}
    points |= {*map(ord, _SAMPLES)} | (_kind_borders() if any(code > 127 for code in points) else frozenset())
    distinct = {repr(one): one for one in asked}
    alike = {tuple(_takes(op, arg, flags, code) for op, arg, flags in distinct.values()) for code in points}
    bits = {kind: sum(1 << at for at, taken in enumerate(alike) if taken[i]) for i, kind in enumerate(distinct)}
    return [bits[repr(one)] for one in asked]


class _Loops:
    """Where an automaton's loops give a text more than one path: inside one loop (each character multiplies the work), or
    from one loop to the next (each such pair gives the work one more power of the length)."""

    def __init__(self, places: _Places) -> None:
        self.follow, self.letters, self.looked = places.follow, [0, *_letters(places.asked[1:])], 0
        self.before = [[place for place, ways in enumerate(self.follow) if to in ways] for to in range(len(self.follow))]
        self.reach = [sum(1 << to for to in ways) for ways in self.follow]
        for middle in range(len(self.reach)):
            through = self.reach[middle]
            self.reach = [seen | through if seen >> middle & 1 else seen for seen in self.reach]
        rings: dict[int, set[int]] = {}
        for place, seen in enumerate(self.reach):
            if seen >> place & 1:
                rings.setdefault(next(one for one in range(place + 1) if self._same(one, place)), set()).add(place)
        self.rings = list(rings.values())
        self.exponential = any(map(self._branches, self.rings))
        self.power = lru_cache(maxsize=None)(self._power)

    def _same(self, one: int, other: int) -> bool:
        return bool(self.reach[one] >> other & 1 and self.reach[other] >> one & 1)

    def _met(
        self, starts: Iterable[tuple[int, ...]], inside: Callable[[tuple[int, ...]], bool], ways: Sequence[Iterable[int]]
    ) -> set[tuple[int, ...]]:
        """The states, of those that are inside, to which several paths come at once by the same text."""
        met: set[tuple[int, ...]] = set()
        waiting = list(starts)
        while waiting:
            for state in itertools.product(*(ways[place] for place in waiting.pop())):
                self.looked += 1
                if self.looked > _MOST_LOOKS:
                    raise _Slow("it is too large to be judged: write a simpler one")
                if state not in met and functools.reduce(int.__and__, (self.letters[p] for p in state)) and inside(state):
                    met.add(state)
                    waiting.append(state)
        return met

    def _between(self, starts: Sequence[tuple[int, ...]], inside: Callable[[tuple[int, ...]], bool]) -> set[tuple[int, ...]]:
        """The states on ways from one of the starts to one of them."""
        return self._met(starts, inside, self.follow) & self._met(starts, inside, self.before)

    def _branches(self, ring: set[int]) -> bool:
        """Whether a text leads a place of a loop back to itself on two paths."""
        if any(ways > 1 for place in ring for to, ways in self.follow[place].items() if to in ring):
            return True
        return any(len({*state}) > 1 for state in self._between([(p, p) for p in ring], lambda state: ring >= {*state}))

    def _power(self, ring: int) -> int:
        """The power of the length with which the work from this loop on can grow."""
        onward = [
            at
            for at in range(len(self.rings))
            if at != ring and self.reach[min(self.rings[ring])] >> min(self.rings[at]) & 1
        ]
        return max((self.power(at) + self._chained(self.rings[ring], self.rings[at]) for at in onward), default=1)

    def _chained(self, ring: set[int], other: set[int]) -> bool:
        """Whether a text goes round in both loops and also leads from the one to the other."""
        seen: set[tuple[int, ...]] = set()
        for one, two in itertools.product(ring, other):
            if (one, two) in seen:
                continue
            alike = self._between([(one, two)], lambda state: state[0] in ring and state[1] in other)
            seen |= alike | {(one, two)}  # what holds for one of them holds for all
            inside = partial(lambda alike, state: (state[0], state[2]) in alike, alike)
            if (one, two) in alike and (one, two, two) in self._met([(one, one, two)], inside, self.follow):
                return True
        return False


def _search(places: _Places, letters: Sequence[int], most: int) -> tuple[float, int]:
    """The work of the worst text that is found by making bad ones longer, and its length: at most so many characters."""
    worst, texts = 0.0, [(0.0, {0: 1})]
    for length in range(1, most + 1):
        longer: dict[frozenset[int], tuple[float, dict[int, int]]] = {}
        for done, paths in texts:
            reached: dict[int, dict[int, int]] = {}
            for place, count in paths.items():
                for to, ways in places.follow[place].items():
                    for bit in _bits(letters[to]):
                        counts = reached.setdefault(bit, {})
                        counts[to] = counts.get(to, 0) + count * ways
            for counts in reached.values():
                work = done + sum(count * places.work[to] for to, count in counts.items())
                key = frozenset(counts)
                if key not in longer or longer[key][0] < work:
                    longer[key] = work, counts
        texts = sorted(longer.values(), key=lambda text: -sum(text[1].values()))[:8]
        worst = max([worst, *(work for work, _ in texts)])
        if not texts or worst > _MATCH_STEPS:
            return worst, length
    return worst, most


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield mask & -mask
        mask &= mask - 1


def _steps(tree: Any, flags: int) -> Callable[[int], float]:
    """The steps that matching a text of so many characters can take; raises _Exploding if each one multiplies them."""
    try:
        places = _Places(tree, flags)
    except _Slow:
        places = _Places(tree, flags, copies=16)
    loops = _Loops(places)
    if loops.exponential:
        raise _Exploding
    power = max(map(loops.power, range(len(loops.rings))), default=0)
    work, tried = _search(places, loops.letters, min(max(48, 2 * len(places.asked)), 400))
    power = max(power, int(work > _MATCH_STEPS))
    looks = [(paths, _steps(tree, flags)) for paths, tree, flags in places.looks]

    def steps(length: int) -> float:
        own: float = work * math.exp(min(300, power * math.log(max(length, 1) / tried)))
        for paths, look in looks:
            own = own + paths * look(length) if paths < 100 else own * look(length)
        return own

    return steps


@lru_cache(maxsize=1024)
def _most_characters(pattern: str) -> int:
    """How long a text may be that is matched with a pattern; 0 if even short ones can take too long."""
    try:
        from re import _parser  # type: ignore[attr-defined]

        tree = _parser.parse(pattern)
        steps = _steps(tree, tree.state.flags)
    except ImportError:
        raise _Slow("this Python cannot say what it costs: leave it out") from None
    except _Exploding:
        return 0
    lowest, highest = 0, 10**9
    while lowest < highest:
        middle = (lowest + highest + 1) // 2
        lowest, highest = (middle, highest) if steps(middle) <= _MATCH_STEPS else (lowest, middle - 1)
    return lowest


_PIECE = re.compile(r"(?P<quantifier>(?:[*+?]|\{[0-9]*,?[0-9]*\})[?+]?)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)


def _pieces(pattern: str) -> list[str]:
    """The pieces of an expression that follow one another, each with its quantifier."""
    pieces, depth = [""], 0
    for found in _PIECE.finditer(pattern):
        if depth == 0 and pieces[-1] and not found["quantifier"]:
            pieces.append("")
        pieces[-1] += found[0]
        depth += (found[0] == "(") - (found[0] == ")")
    return pieces


def _slow_part(pattern: str, most: int) -> str:
    """The smallest part of a pattern that is too slow for so many characters by itself."""

    def is_slow(part: str) -> bool:
        with suppress(re.error, _Slow, RecursionError):
            return _most_characters(part) < most
        return False

    while True:
        pieces = _pieces(pattern)
        inner = re.fullmatch(r"\((?:\?[a-z]*[:=!>])?(.*)\)[^()]*", pattern, re.DOTALL) if len(pieces) == 1 else None
        half = len(pieces) // 2  # tried first: each try takes its time
        smaller = [inner[1]] if inner else ["".join(pieces[cut]) for cut in (
            slice(half), slice(half, None), slice(1, None), slice(-1)
        )]  # fmt: skip
        part = next(filter(is_slow, smaller), "")
        if not part:
            return pattern
        pattern = part


def pattern_fault(pattern: str, most: int) -> str:
    """What is wrong with a pattern for texts of at most so many characters: that matching one can take longer than some
    50 ms, whatever it says; "" if it cannot."""
    try:
        enough = _most_characters(pattern)
    except (_Slow, RecursionError) as error:
        return f"cannot be used: {error or 'it is too deep'}"
    if enough >= most:
        return ""
    if enough < 20:
        return (
            f'is too slow: a short text could keep the server busy for hours, because "{_slow_part(pattern, 20)}" can match'
            " the same characters in many ways; let no two parts of a repeat take the same characters, such as"
            ' "[a-z]+(-[a-z]+)*" in place of "([a-z]+-?)+"'
        )
    return (
        f'is too slow for {most:,} characters, because "{_slow_part(pattern, most)}" can be divided in many ways; let a'
        ' repeat not take what follows it, such as "[^@]+@[^@]+" in place of ".+@.+", have look-aheads at the beginning, or'
        f" give the field a maxLength of at most {enough}"
    )
