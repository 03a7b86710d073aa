"""Formats of columns: numbers, money, percentages, sizes and durations, as people and spreadsheets show them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING, NamedTuple

from app import Json, exact_number, nearest

if TYPE_CHECKING:
    from plugins.locale import Locale

# ==== 1. FORMATS =================================================================================================
# A format rounds what is shown and nothing else: JSON and CSV have the values as they are. What is no number is shown as if
# the column had no format, and so is a number that no column has room for.
# uses: VALUES CONFIG plugin:locale
# defines: NUMERIC EXACT DIGITS Shown shown_as is_numeric fault moment_of rounded writer typed number_code

NUMERIC = ("number", "money", "percent", "bytes", "duration")  # kinds of formats that are for numbers
_FORMATS = (*NUMERIC, "date", "date-time")
_MOST_PLACES = 10  # behind the decimal mark
_LONGEST = 40  # digits of a number that is written in a format
EXACT = Context(prec=2 * _LONGEST)  # Python's usual one has 28 digits
_YEARS = -62_135_596_800, 253_402_300_799  # Unix seconds from the year 1 to 9999
_BYTES = '[<1000]0" B";[<1000000]0.0," kB";0.0,," MB"'  # the most that a spreadsheet tells apart
DIGITS = {  # behind the mark of a currency, where they are not two (ISO 4217)
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}  # fmt: skip


class Shown(NamedTuple):
    """A format of app.toml in its parts: "money:EUR" is of kind money and of EUR."""

    kind: str
    detail: str = ""


def shown_as(format_: str) -> Shown:
    kind, _, detail = format_.partition(":")
    return Shown(kind, detail)


def is_numeric(format_: str) -> bool:
    """Whether it is a format for numbers."""
    return shown_as(format_).kind in NUMERIC


def fault(format_: str) -> str:
    """What is wrong with a format of app.toml, and what to write; "" if nothing is."""
    kind, colon, detail = format_.partition(":")
    if kind not in _FORMATS:
        known = ("number:2", "money:EUR", "percent", "bytes", "date", "date-time", "duration")
        return f"{format_!r} is no format" + (nearest(format_, known) or f": write one of {', '.join(known)}")
    if kind == "money" and not re.fullmatch("[A-Z]{3}", detail):
        code = detail.upper() if re.fullmatch("[A-Za-z]{3}", detail) else "EUR"
        return f'{format_!r} needs the three letters of its currency: write "money:{code}"'
    if kind == "number" and not (re.fullmatch("[0-9]{1,2}", detail) and int(detail) <= _MOST_PLACES):
        return f'{format_!r} needs how many digits stand behind the mark, from 0 to {_MOST_PLACES}: write "number:2"'
    if colon and kind not in ("money", "number"):
        return f'{format_!r} has more than it needs: write "{kind}"'
    return ""


def moment_of(seconds: float | Decimal) -> str:
    """A number of Unix seconds as an RFC 3339 date-time; "" if it is none."""
    if not _YEARS[0] <= seconds <= _YEARS[1]:
        return ""
    return datetime.fromtimestamp(math.floor(seconds), UTC).isoformat().replace("+00:00", "Z")


def rounded(value: float | Decimal, places: int) -> Decimal | None:
    """A number with so many digits behind its mark, half up as people round; None if it is too large or too long to show."""
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite() or number.adjusted() + places > _LONGEST:
        return None
    with_places = number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, EXACT)
    return with_places if with_places else with_places.copy_abs()  # never "-0.00"


def writer(locale: Locale, format_: str) -> Callable[[float | Decimal], str] | None:
    """What writes a number in this format, a date-time as Unix seconds; None for one that says nothing of numbers."""
    kind, detail = shown_as(format_)
    if kind == "number":
        return lambda value: _fixed(locale, value, int(detail or 0))
    if kind == "money":
        return lambda value: _money(locale, value, detail)
    if kind == "percent":
        return lambda value: _share(locale, value)
    if kind == "bytes":
        return lambda value: _signed(locale, value, locale.write_size)
    if kind == "duration":
        return lambda value: _signed(locale, value, lambda size: _duration(locale, size))
    if kind in ("date", "date-time"):
        write = locale.write_date if kind == "date" else locale.write_date_time
        return lambda value: write(moment_of(value)) or locale.write_number(value)
    return None


def _fixed(locale: Locale, value: float | Decimal, places: int) -> str:
    number = rounded(value, places)
    return locale.write_number(value) if number is None else locale.write_places(number)


def _money(locale: Locale, value: float | Decimal, currency: str) -> str:
    amount = rounded(value, DIGITS.get(currency, 2))
    return f"{locale.write_number(value)}\u00a0{currency}" if amount is None else locale.write_money(amount, currency)


def _share(locale: Locale, value: float | Decimal) -> str:
    number = rounded(value, 3)
    return locale.write_number(value) if number is None else locale.write_share(number)


def _signed(locale: Locale, value: float | Decimal, write: Callable[[float], str]) -> str:
    """A size of either sign."""
    size = float(value)
    if not abs(size) < 1e18:
        return locale.write_number(value)
    text = write(abs(size))
    return "-" * (size < 0 and text != write(0.0)) + text


def _duration(locale: Locale, seconds: float) -> str:
    """In the two largest units; of less than ten seconds also tenths."""
    if seconds < 9.95 and (tenths := round(seconds, 1)) != int(tenths):
        return str(locale.t("units.seconds", n=tenths))
    return locale.write_duration(seconds + 0.5)


def typed(locale: Locale, format_: str, text: str, *, whole: bool = False, alone: bool = False) -> Json:
    """The number that somebody typed as a column of this format shows it, or without its sign: "12.5 %", "€ 5", "5 MB",
    "1:30:00". Otherwise what Locale.read_number says."""
    kind, detail = shown_as(format_)
    bare, times = text.strip(), Decimal(1)
    if kind == "percent" and "%" in bare:
        bare, times, whole = bare.replace("%", ""), Decimal("0.01"), False
    elif kind == "money":
        bare = re.sub(rf"{detail}|{re.escape(locale.currency_sign(detail))}", "", bare, count=1, flags=re.IGNORECASE)
    elif kind == "bytes" and (size := re.fullmatch(r"(.*[0-9])\s*([kmgt]?)(b|bytes?)", bare, re.IGNORECASE)):
        bare, times, whole = size[1], Decimal(1000) ** " kmgt".index(size[2].lower() or " "), False
    elif kind == "duration" and (clock := re.fullmatch(r"(-?)([0-9]{1,7}):([0-5][0-9])(?::([0-5][0-9]))?", bare)):
        return int(clock[1] + "1") * (int(clock[2]) * 3600 + int(clock[3]) * 60 + int(clock[4] or 0))
    number = locale.read_number(bare, whole=whole, alone=alone)
    if number is None or isinstance(number, str) or times == 1:
        return number
    exact = Decimal(str(number)) * times
    return int(exact) if exact == exact.to_integral_value() else exact_number(f"{exact.normalize():f}")


def number_code(locale: Locale, format_: str) -> tuple[str, int]:
    """The number format of a spreadsheet's cells for a format of a column, or "", and by what their values are divided."""
    kind, detail = shown_as(format_)
    places = {"number": int(detail or 0) if kind == "number" else 0, "money": DIGITS.get(detail, 2)}.get(kind, 0)
    plain = "#,##0" + ("." + "0" * places if places else "")
    codes = {"number": plain, "percent": "0.0%", "bytes": _BYTES, "duration": "[h]:mm:ss"}
    code = locale.money_pattern(plain, detail) if kind == "money" else codes.get(kind, "")
    return code, 86_400 if kind == "duration" else 1
