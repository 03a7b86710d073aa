"""Groups of records and what they add up to: the exact rules of it, and groups of records that are read one by one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import NamedTuple, cast

from app import (
    BadRequest,
    Json,
    Measure,
    Query,
    QueryTimeout,
    Record,
    Records,
    TooLarge,
    exact_number,
    field_key,
    nearest,
    sort_key,
    value_of_key,
)

# ==== 1. GROUPS ==================================================================================================
# Everything goes by sort keys, so that each provider groups as it orders: equal numbers are one value, date-times of one
# moment too, null and missing are one, values of several types stay apart; lists and objects are no values of groups.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS
# defines: OPS MOST_READ GROUPS_S within limit_s deadline Total exact_of number_of mean_of shown_value check too_many
#          too_long too_far_apart of_read

OPS = ("count", "sum", "avg", "min", "max")
MOST_READ = 10_000  # records that are read to be grouped
GROUPS_S = 30.0  # in which all of it is done
_EXACT = Context(prec=3000)  # digits of a sum; a number that is sent here has at most 400 on either side of the point
_MOST_DIGITS = 400  # of a sum
_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)
_YEARS_S = (datetime(9999, 12, 31, tzinfo=UTC) - _YEAR_1).total_seconds() + 86_400
_LAST_S = 86_340  # of the offset +23:59


_limits = threading.local()  # within_s: of this thread


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What this thread groups in the block takes so long at most, and otherwise raises QueryTimeout."""
    before, _limits.within_s = getattr(_limits, "within_s", None), seconds
    try:
        yield
    finally:
        _limits.within_s = before


def limit_s() -> float:
    """How long grouping may take."""
    within_s: float | None = getattr(_limits, "within_s", None)
    return GROUPS_S if within_s is None else within_s


def deadline() -> float:
    """When what this thread does in a block of within() has to be done."""
    within_s: float | None = getattr(_limits, "within_s", None)
    return math.inf if within_s is None else time.monotonic() + within_s


class Total:
    """Adds up numbers exactly. Without any, their sum and their mean are None."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[int, int] = {}  # by power of ten

    def add(self, key: str) -> None:
        """The value with this sort key, if it is a number."""
        if key[:1] != "n":
            return
        self.count += 1
        if key[1] == "2":
            power = int(key[2:21]) - 10**18 - len(key) + 22
            self._parts[power] = self._parts.get(power, 0) + int(key[21:])
        elif key[1] == "0":
            self.add_number(cast("int | float | Decimal", value_of_key(key)))

    def add_value(self, value: Json) -> None:
        self.add(sort_key(value))

    def add_number(self, number: int | float | Decimal) -> None:
        sign, digits, power = exact_of(number).as_tuple()
        whole = int("".join(map(str, digits)))
        self._parts[int(power)] = self._parts.get(int(power), 0) + (-whole if sign else whole)

    def exact(self) -> Decimal:
        """Raises TooLarge if that has more digits than a number may have."""
        if any(abs(power) > 2 * _MOST_DIGITS for power in self._parts):
            raise too_far_apart()
        found = Decimal(0)
        for power, whole in self._parts.items():
            found = _EXACT.add(found, _EXACT.scaleb(Decimal(whole), power))
        return found

    def sum(self) -> Json:
        """The exact sum: an integer of any length if it is whole."""
        return number_of(self.exact()) if self.count else None

    def avg(self) -> Json:
        """The double nearest to the exact mean; an integer if it is whole."""
        return mean_of(self.exact(), self.count) if self.count else None


def exact_of(number: Json) -> Decimal:
    """A float counts as the decimal that it is written as."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(cast("int | Decimal", number))


def number_of(exact: Decimal) -> Json:
    """A sum as JSON has it. Raises TooLarge."""
    if exact.adjusted() > _MOST_DIGITS:
        raise TooLarge(f"a sum has more than {_MOST_DIGITS} digits")
    return int(exact) if exact == exact.to_integral_value() else exact_number(f"{exact:f}")


def mean_of(exact: Decimal, count: int) -> Json:
    """The mean of so many numbers with this sum."""
    quotient = Fraction(exact) / count
    if quotient.denominator == 1:
        return number_of(Decimal(quotient.numerator))
    try:
        return float(quotient)
    except OverflowError:
        return round(quotient)


def shown_value(key: str) -> Json:
    """The value with a sort key: of equal numbers always the same one, a moment in UTC."""
    if key[:1] != "i":
        return value_of_key(key)
    at_s, fraction = int(key[1:13]) - 86_400, key[13:] and f".{key[13:]}"
    offset_s, offset = 0, "Z"
    if not 0 <= at_s < _YEARS_S:  # written with an offset, and in a year that there is not in UTC
        offset_s, offset = (_LAST_S, "+23:59") if at_s < 0 else (-_LAST_S, "-23:59")
    moment = _YEAR_1 + timedelta(seconds=at_s + offset_s)
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + offset


def check(measures: Sequence[Measure]) -> None:
    """Raises BadRequest for a measure that there is not."""
    for one in measures:
        if one.op not in (*OPS, "numbers"):  # how many of the values are numbers, for those who make one mean of several
            raise BadRequest(f"{one.op!r} is no measure{nearest(one.op, OPS)}: {', '.join(OPS)}")


def too_many(most: int) -> TooLarge:
    return TooLarge(f"there are more than {most:,} groups: narrow the list by a filter, or group by fewer columns")


def too_long() -> QueryTimeout:
    return QueryTimeout(f"grouping took longer than {limit_s():g} seconds: narrow the list by a filter")


def too_far_apart() -> TooLarge:
    return TooLarge("the numbers are too far apart to be added up exactly")


class _Measured:
    """One measure of one group, of the sort keys of a field."""

    def __init__(self, op: str) -> None:
        self.op, self.count, self.total = op, 0, Total()
        self.least = self.greatest = ""

    def add(self, key: str) -> None:
        self.count += bool(key)
        if self.op in ("sum", "avg", "numbers"):
            self.total.add(key)
        elif key and key != "z":
            self.least = min(self.least or key, key)
            self.greatest = max(self.greatest, key)

    def result(self) -> Json:
        made: dict[str, Callable[[], Json]] = {
            "count": lambda: self.count, "numbers": lambda: self.total.count, "sum": self.total.sum, "avg": self.total.avg,
            "min": lambda: shown_value(self.least), "max": lambda: shown_value(self.greatest),
        }  # fmt: skip
        return made[self.op]()


class _Field(NamedTuple):
    name: str
    instant: bool


def of_read(
    records: Records, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int
) -> list[Sequence[Json]]:
    """What Records.groups() promises, of records that are read one by one."""
    check(measures)
    fields = [_Field(name, name in query.instants) for name in by]
    summed = [_Field(one.field, one.field in query.instants) for one in measures]
    found: dict[tuple[str, ...], list[_Measured]] = {} if by else {(): [_Measured(one.op) for one in measures]}
    for record in _read(records, query):
        key = tuple(field_key(record, *one) for one in fields)
        if "z" in key:
            continue
        if key not in found:
            if len(found) >= most:
                raise too_many(most)
            found[key] = [_Measured(one.op) for one in measures]
        for measured, one in zip(found[key], summed, strict=True):
            measured.add(field_key(record, *one))
    return [(*map(shown_value, key), *(one.result() for one in group)) for key, group in found.items()]


def _read(records: Records, query: Query) -> Iterator[Record]:
    """The records of a query in any order. Raises TooLarge if they are too many, QueryTimeout."""
    until = time.monotonic() + limit_s()
    for number, record in enumerate(records.walk(query._replace(order_by=(), after=""))):
        if number >= MOST_READ:
            what = f"provider {records.name} hands out the records to be grouped, {MOST_READ:,} at most"
            raise TooLarge(f"{what}: narrow the list by a filter")
        if number % 100 == 0 and time.monotonic() > until:
            raise too_long()
        yield record
