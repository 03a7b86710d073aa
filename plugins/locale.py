"""How people of a language and a time zone write numbers, dates and times, and how what they type is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from app import (
    LOST,
    Column,
    Damaged,
    Json,
    Unread,
    dump_json,
    exact_number,
    plugin,
)

if TYPE_CHECKING:
    from plugins.fields import Field

# ==== 1. LOCALE ==================================================================================================
# One object for a site's language and zone: it writes values for people and reads what they type, with every doubt said.
# uses: VALUES CONTRACTS plugin:catalogue plugin:column_formats plugin:fields plugin:instants plugin:options
# defines: parse_rfc3339 Locale no_formula

# The decimal mark of each language and how it writes a date (CLDR 46); a region that differs has a line of its own. All
# others have the point and the ISO date, and so has English without a region, whose dates are ambiguous.
_DOTS, _SLASHES, _DASHES, _US, _ISO = "{d}.{m}.{y}", "{d}/{m}/{y}", "{d}-{m}-{y}", "{m}/{d}/{y}", "{y}-{m}-{d}"
_CONVENTIONS: Mapping[str, tuple[str, str]] = {
    "en": (".", _ISO), "en-US": (".", _US), "de-CH": (".", _DOTS), "de-LI": (".", _DOTS), "it-CH": (".", _DOTS),
    "es-MX": (".", _SLASHES), "es-US": (".", _SLASHES), "es-419": (".", _SLASHES), "fr-CH": (",", _DOTS),
    "nl": (",", _DASHES), "he": (".", _DOTS),
    **dict.fromkeys("en-AU en-GB en-IE en-IN en-NZ ar cy ga hi ms mt th ur".split(), (".", _SLASHES)),
    **dict.fromkeys("az be bg bs cs da de et fi hr hy is ka kk lv mk nb nn no".split(), (",", _DOTS)),
    **dict.fromkeys("pl ro ru sk sl sq sr tr uk".split(), (",", _DOTS)),
    **dict.fromkeys("ca el es fr gl id it pt uz vi".split(), (",", _SLASHES)),
    **dict.fromkeys("af eu hu lt sv".split(), (",", _ISO)),
}  # fmt: skip
# What stands between groups of three digits (CLDR 46): a comma with the point, a point with the comma, and where a line says
# so something else. `_FROM_FIVE` group numbers of five digits and more alone, and `_BY_TWO` in twos above the first three.
_BETWEEN: Mapping[str, str] = {
    **dict.fromkeys("az be bg cs et fi hu hy ka kk lt lv nb nn no pl pt-PT ru sk sq sv uk uz".split(), "\u00a0"),
    **dict.fromkeys("fr fr-CH".split(), "\u202f"), **dict.fromkeys("de-CH de-LI it-CH".split(), "’"),
    "af": "\u00a0", "de-AT": "\u00a0",
}  # fmt: skip
_FROM_FIVE = frozenset("be bg es et hu hy it ka lv pl pt-PT sq".split())
_BY_TWO = frozenset("hi en-IN".split())
# Where the sign of a currency stands: "before" the amount, "apart" before it with a space, or else after it, with a space.
_MONEY: Mapping[str, str] = {
    **dict.fromkeys("en cy ga hi ms mt th tr ur ja ko zh".split(), "before"),
    **dict.fromkeys("nl de-AT de-CH de-LI it-CH nb no pt-BR".split(), "apart"),
    **dict.fromkeys("es-MX es-US es-419".split(), "before"), "pt": "apart", "pt-PT": "after", "fr-CH": "after",
}  # fmt: skip
_SIGNS: Mapping[str, str] = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "ILS": "₪", "KRW": "₩", "TRY": "₺",
                             "UAH": "₴", "PLN": "zł", "CZK": "Kč", "BRL": "R$", "VND": "₫"}  # fmt: skip
# What stands before and after a percentage: nothing and the sign alone, where no line says something else.
_PERCENT: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys("be bg bs ca cs da de es et fi gl hr hu is lt lv mk nb nn no pl ro".split(), ("", "\u00a0%")),
    **dict.fromkeys("ru sk sl sr sv".split(), ("", "\u00a0%")), **dict.fromkeys("de-CH de-LI it-CH".split(), ("", "%")),
    "fr": ("", "\u202f%"), "tr": ("%", ""), "eu": ("%\u00a0", ""),
}  # fmt: skip
_RIGHT_TO_LEFT = frozenset("ar arab ckb dv fa he hebr iw ks nqo ps sd syr ug ur yi".split())

_SPACES = "\u0020\u00a0\u2007\u2009\u202f"
_GROUPS = re.compile(rf"[1-9][0-9]{{0,2}}([.,'’٬{_SPACES}])(?:[0-9]{{2,3}}\1)*[0-9]{{3}}")
_TYPED_NUMBER = re.compile(r"([+-]?)(.*?)([eE][+-]?[0-9]{1,6})?", re.DOTALL)
_LONGEST_NUMBER = 400
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # what begins one
# What a person or a browser writes for a boolean; an unticked checkbox is not sent at all.
_TRUTHS = dict.fromkeys(("true", "on", "yes", "1"), True) | dict.fromkeys(("", "false", "off", "no", "0"), False)
_OWN_TITLES = {"id": "Id", "version": "Version", "created_at": "Created", "created_by": "Created by"} | {
    "updated_at": "Updated", "updated_by": "Updated by"
}  # of columns that every record has  # fmt: skip
_NUMBERS, _PLAIN_NUMBERS = frozenset({int, float, Decimal}), frozenset({int, float})  # bool is none of them
_TEXTS = frozenset({str, type(None)})
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?")

_V = TypeVar("_V")
_YEAR_1_S = datetime(1970, 1, 1).toordinal() * 86_400


def parse_rfc3339(text: str) -> float:
    """Unix seconds of an RFC 3339 date-time with an offset. Raises ValueError if it is none."""
    key = plugin("instants").instant_key(text)
    if not key:
        raise ValueError("not an RFC 3339 date-time")
    return float(Decimal(f"{int(key[:12]) - _YEAR_1_S}") + Decimal(f"0.{key[12:] or 0}"))


@lru_cache
def _conventions(lang: str) -> tuple[str, str]:
    return _of_language(_CONVENTIONS, lang) or (".", _ISO)


def _of_language(table: Mapping[str, _V], lang: str) -> _V | None:
    """What a table by language has for one, with its region first."""
    subtags = lang.split("-")
    region = f"{subtags[0].lower()}-{subtags[-1].upper()}"
    return table.get(region) or table.get(subtags[0].lower())


@lru_cache
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # needs no database of zones
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


class Locale:
    """How people of a language (a BCP 47 tag) and a time zone (an IANA name) write values, and read them."""

    def __init__(self, lang: str = "en", timezone: str = "UTC", catalogue: Any = None, words: str = "") -> None:
        """`catalogue` has the words of the site, and None those that are bundled (see plugins/catalogue.py). They are of
        another language than everything else if `words` names it."""
        self.lang, self.zone, self._catalogue, self._words = lang, _zone(timezone), catalogue, words or lang
        self.zone_name = timezone.replace("_", " ")  # "America/New York"
        self._mark, self._date = _conventions(lang)
        self._between = _of_language(_BETWEEN, lang) or ("," if self._mark == "." else ".")
        self._least = 2 if _of_language(dict.fromkeys(_FROM_FIVE, "5"), lang) else 1
        self._group = 2 if _of_language(dict.fromkeys(_BY_TWO, "2"), lang) else 3
        # Lists show the same days and moments again and again: when each record was made, on every look at it.
        self.write_date = lru_cache(2048)(self._write_date)
        self.write_date_time = lru_cache(2048)(self._write_date_time)
        self._writers: dict[str, Callable[[Any], str]] = {"": self.write_number}  # of numbers, by the format of a column

    @cached_property
    def t(self) -> Any:
        """The words of the language: `t("common.home")`."""
        catalogue = plugin("catalogue")
        texts = (self._catalogue or catalogue.Catalogue()).texts(self._words)
        return catalogue.Words(self._words, texts, self.write_count)

    @cached_property
    def direction(self) -> str:
        """`dir` of a page: rtl or ltr, by the script in the tag if it has one, otherwise by the language."""
        scripts = [part.lower() for part in self.lang.split("-")[1:] if len(part) == 4 and part.isalpha()]
        return "rtl" if (scripts or [self.lang.split("-")[0].lower()])[0] in _RIGHT_TO_LEFT else "ltr"

    # -- values of columns and fields

    def heading(self, column: Column) -> str:
        """What stands above a column; those that every record has go by the language's words, unless they have a title."""
        key = f"record.{column.name}"
        is_own = column.title in ("", _OWN_TITLES.get(column.name)) and self.t.has(key)
        return str(self.t(key)) if is_own else column.title or column.name

    def show(self, column: Column, value: Json) -> str:
        """A value for people, whole."""
        if type(value) is str and value not in column.titles:
            if column.format in ("date", "date-time"):
                return self.write_date(value) if column.format == "date" else self.write_date_time(value)
            return _on_a_page(value)
        if isinstance(value, list) and column.format == "lines":
            return str(self.t("lines.count", n=len(value)))
        if isinstance(value, list):
            return str(self.t("common.comma")).join(self.show(column, item) for item in value)
        if isinstance(value, bool):
            return str(self.t("common.yes" if value else "common.no"))
        if isinstance(value, dict):
            return str(value.get("name", dump_json(value)))
        if isinstance(value, Damaged):
            return str(self.t("common.damaged", value=value, reason=self.t.said(value.reason)))
        if value in column.titles:
            return column.titles[value]
        return "" if value is None else self._writer(column.format)(value)

    def _writer(self, format_: str) -> Callable[[Any], str]:
        """What writes the numbers of a column with this format."""
        if format_ not in self._writers:
            self._writers[format_] = plugin("column_formats").writer(self, format_) or self.write_number
        return self._writers[format_]

    def texts(self, column: Column, values: Sequence[Json]) -> list[str]:
        """What show() says of each of the values of one column; quick with texts and numbers."""
        if column.titles:
            if learn := getattr(column.titles, "learn", None):  # labels, which are looked up together
                learn(values)
            return [self.show(column, value) for value in values]
        written: Callable[[str], str] = _on_a_page
        if column.format in ("date", "date-time"):
            written = self.write_date if column.format == "date" else self.write_date_time
        number, kinds = self._writer(column.format), set(map(type, values))
        if kinds <= _TEXTS:
            texts = [value or "" for value in values]
            return texts if written is _on_a_page and "\0" not in "".join(texts) else list(map(written, texts))
        if kinds <= _PLAIN_NUMBERS and number == self.write_number:
            return self._numbers(values)

        def write(value: Json) -> str:
            if type(value) is str:
                return written(value)
            return number(value) if type(value) in _NUMBERS else self.show(column, value)

        return list(map(write, values))

    def spreadsheet(
        self, columns: Sequence[Column], rows: Iterable[Mapping[str, Json]], lines: Any = None
    ) -> tuple[list[str], Iterator[list[str]], str]:
        """The heading, the rows and the delimiter of CSV that a spreadsheet shows to people. No cell is a formula; times are
        by the clocks of the zone, which their heading names. `lines` (of plugins/tallies.py) are the totals among them."""
        zone = {column.name: f" ({self.zone_name})" for column in columns if column.format == "date-time"}
        heading = [no_formula(self.heading(column) + zone.get(column.name, "")) for column in columns]
        cells = self._spreadsheet_rows(columns, self.labelled(columns, rows), lines)
        return heading, cells, ";" if "," in self.write_number(0.5) else ","

    def _spreadsheet_rows(
        self, columns: Sequence[Column], rows: Iterable[Mapping[str, Json]], lines: Any
    ) -> Iterator[list[str]]:
        for row, behind in lines.among(rows) if lines else ((row, ()) for row in rows):
            yield [self._spreadsheet_cell(column, row[column.name]) for column in columns]
            for line in behind:
                yield self._spreadsheet_line(columns, line)
        for line in lines.below() if lines else ():
            yield self._spreadsheet_line(columns, line)

    def _spreadsheet_line(self, columns: Sequence[Column], line: Any) -> list[str]:
        """A line of totals."""
        label, words = line.label(self, columns)
        cells = [self._spreadsheet_cell(*line.cell(one)) for one in columns]
        return [no_formula(words) if at == label else cell for at, cell in enumerate(cells)]

    @staticmethod
    def labelled(columns: Sequence[Column], rows: Iterable[Mapping[str, Json]]) -> Iterable[Mapping[str, Json]]:
        """The same rows; of columns whose titles are looked up those of many rows at once."""
        return plugin("options").learned(columns, rows) if any(hasattr(one.titles, "learn") for one in columns) else rows

    def _spreadsheet_cell(self, column: Column, value: Json) -> str:
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and value not in column.titles:
            if column.format not in ("date", "date-time"):
                return self.write_number(value)
            value = plugin("column_formats").moment_of(value) or value
        if column.format == "date" and isinstance(value, str) and len(value) > 10 and (local := self.local(value)):
            return local.date().isoformat()
        if column.format == "date-time" and isinstance(value, str) and (local := self.local(value)):
            return local.strftime("%Y-%m-%d %H:%M:%S")
        return no_formula(value if column.format == "date" and isinstance(value, str) else self.show(column, value))

    def read(self, field: Field, texts: Sequence[str]) -> Json:
        """The value that a person typed into a field; None for nothing. A text that is no such value comes back as it is, or
        Unread if there is more to say about it."""
        config = field.config
        if field.looked_up:
            found = [plugin("fields").of_text(field, text) for text in texts if text]
            return (found if config.type == "array" else found[-1]) if found else None
        if config.type == "array":
            return [field.chosen(text) for text in texts if text] or None
        typed = texts[-1] if texts else ""
        text = typed.strip()
        if config.type == "boolean":
            if not text and field.is_open:
                return None
            return _TRUTHS.get(text.lower(), text)
        if not text:
            return None
        chosen = field.chosen(text)
        if field.choices and (config.type == "string" or not isinstance(chosen, str)):
            return chosen
        if config.type in ("number", "integer"):
            return self.read_number(text, whole=config.type == "integer")
        if config.format in ("date", "date-time"):
            return self.read_date(text) if config.format == "date" else self.read_date_time(text)
        if config.format == "time" and (clock := re.fullmatch(r"([0-9]{1,2})[:.]([0-9]{2})(?:[:.]([0-9]{2}))?", text)):
            return ":".join([clock[1].zfill(2), *filter(None, clock.groups()[1:])])
        lines = re.sub(r"\r\n?", "\n", typed)
        return lines if config.format == "multiline" else lines.strip()

    # -- numbers

    def read_number(self, text: str, *, whole: bool = False, alone: bool = False) -> Json:
        """The number that a person typed, exactly; None for nothing, Unread if it is no number or could be two.

        Both decimal marks are read. A mark with three digits behind it separates thousands in "1,234" on an English page;
        in a language where the point does that, "1.234" could be both, unless the field takes `whole` numbers alone. With
        `alone` it is what the language says and nothing else: there is nobody to ask.
        """
        plain = _plain_digits(text)
        if not plain:
            return None
        sign, body, power = cast(re.Match[str], _TYPED_NUMBER.fullmatch(plain)).groups(default="")
        parts, mark = _number_parts(body.strip(_SPACES)), self._mark
        if parts is None or len(plain) > _LONGEST_NUMBER:
            return Unread(text, self.t("unread.number", example=self.write_number(1234.5)))
        digits, fraction, doubtful = parts
        if doubtful not in ("", mark) and not power and (not alone or mark == "." or doubtful == self._between):
            if not alone and mark == "," and not whole:
                return Unread(text, self.t("unread.two_numbers", one=digits + fraction, other=f"{digits},{fraction}"))
            digits, fraction = digits + fraction, ""
        elif whole and fraction.strip("0") == "" and doubtful and not power:
            if alone:
                return int(sign + digits)
            return Unread(text, self.t("unread.two_numbers", one=digits + fraction, other=digits))
        exact = sign + (digits or "0") + ("." + fraction if fraction else "") + power
        return exact_number(exact) if fraction or power else int(exact)

    def write_number(self, value: Json) -> str:
        """A number for people: no digit is lost, and reading it gives the same number."""
        text = str(value)
        if type(value) is int:
            return text
        text = text.lower()
        if "e" in text and abs(Decimal(text).adjusted()) <= 40 and len(plain := f"{Decimal(text):f}") <= 40:
            text = plain
        if "." in text and "e" not in text:
            text = text.rstrip("0").rstrip(".")
        return text.replace(".", self._mark)

    def _numbers(self, values: Iterable[int | float]) -> list[str]:
        """What write_number() says of each of them, all in one go."""
        text = "".join([f"{value}\0" for value in values])
        if "e" in text:
            return list(map(self.write_number, values))
        return text.replace(".0\0", "\0").replace(".", self._mark).split("\0")[:-1]

    def write_count(self, value: float) -> str:
        """A number that counts or measures, for people: its digits in groups, which write_number never makes."""
        text = self.write_number(value)
        whole, mark, fraction = text.partition(self._mark)
        digits = whole.removeprefix("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) < 3 + self._least:
            return text
        groups, step = [digits[-3:]], self._group
        for end in range(len(digits) - 3, 0, -step):
            groups.insert(0, digits[max(0, end - step) : end])
        return "-" * (whole != digits) + self._between.join(groups) + mark + fraction

    def write_size(self, size_bytes: float) -> str:
        """A number of bytes for people, rounded: "5 MB", "1,2 MB", "1 Byte"."""
        size, units = float(size_bytes), ["bytes", "kilobytes", "megabytes", "gigabytes", "terabytes"]
        while size >= 999.5 and len(units) > 1:
            size, units = size / 1000, units[1:]
        shown = int(size + 0.5) if size >= 99.95 or units[0] == "bytes" else round(size, 1)
        return str(self.t(f"units.{units[0]}", n=int(shown) if shown == int(shown) else shown))

    def write_share(self, share: float | Decimal) -> str:
        """A share of one as a percentage, with at most one decimal: "12.5%", "12,5 %"."""
        text = self.write_count(float(f"{share * 100:.1f}"))
        before, after = _of_language(_PERCENT, self.lang) or ("", "%")
        return f"{before}{text}{after}"

    def write_duration(self, seconds: float) -> str:
        """How long something takes, in its two largest units: "2 hours 5 minutes"."""
        left, found = max(0, int(seconds)), list[tuple[int, str]]()
        for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
            count, left = divmod(left, size)
            if count or found or unit == "seconds":
                found.append((count, unit))
        return " ".join(self.t(f"units.{unit}", n=count) for count, unit in found[:2] if count or len(found) == 1)

    def write_money(self, value: Json, currency: str) -> str:
        """An amount with the sign of its currency (an ISO 4217 code) where the language puts it; no digit is lost."""
        amount = Decimal(str(value))
        digits = plugin("column_formats").DIGITS.get(currency, 2)
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and exponent > -digits:
            amount = amount.quantize(Decimal(1).scaleb(-digits), context=plugin("column_formats").EXACT)
        return "-" * (amount < 0) + self._with_sign(self.write_places(amount.copy_abs()), currency)

    @staticmethod
    def currency_sign(currency: str) -> str:
        """How pages write a currency: by its sign, or else by its code."""
        return _SIGNS.get(currency, currency)

    def _with_sign(self, text: str, currency: str) -> str:
        sign, place = self.currency_sign(currency), _of_language(_MONEY, self.lang) or "after"
        gap = "\u00a0" if place != "before" or sign[-1].isalpha() else ""
        return f"{text}{gap}{sign}" if place == "after" else f"{sign}{gap}{text}"

    def money_pattern(self, digits: str, currency: str) -> str:
        """The number format of a spreadsheet for amounts with such `digits`, whose marks it writes as its reader does."""
        before, _, after = self._with_sign("\0", currency).partition("\0")
        return (before and f'"{before}"') + digits + (after and f'"{after}"')

    def write_places(self, number: Decimal) -> str:
        """A number for people with all the digits that it has behind its mark, and those before it in groups."""
        whole, _, fraction = f"{number.copy_abs():f}".partition(".")
        return "-" * (number < 0) + self.write_count(int(whole)) + (self._mark + fraction if fraction else "")

    # -- dates and times

    def read_date(self, text: str) -> str:
        """The ISO date that a person typed; Unread if it is no date or could be two."""
        found = re.fullmatch(r"([0-9]{1,4})([-./]) ?([0-9]{1,2})\2 ?([0-9]{1,4})\.?", text.strip())
        if not found:
            return Unread(text, self.t("unread.date", example=self.write_date("2026-12-24")))
        first, mark, second, third = found[1], found[2], int(found[3]), found[4]
        dates = {(int(first), second, int(third))} if len(first) == 4 else set()
        if not dates and len(third) == 4:
            dates = {(int(third), second, int(first))}  # the day first, which dots always say
            if mark != "." and self._date == _US:
                dates = {(int(third), int(first), second)}
            elif mark != "." and self._date == _ISO:
                dates.add((int(third), int(first), second))
        real = ["{:04}-{:02}-{:02}".format(*one) for one in sorted(dates) if _is_day(*one)]
        if len(real) > 1:
            return Unread(text, self.t("unread.two_dates", one=real[0], other=real[1]))
        return real[0] if real else Unread(text, self.t("unread.date", example=self.write_date("2026-12-24")))

    def read_date_time(self, text: str) -> str:
        """The RFC 3339 date-time that a person typed, in this zone if it has no offset; Unread if it is none.

        If the clocks go through an hour twice, the first one is meant; a time that they skip is Unread.
        """
        text = text.strip()
        if plugin("instants").instant_key(text):
            return text
        day, _, time_ = re.sub(r"[ T,]+", " ", text).partition(" ")
        date, example = self.read_date(day), self.t("unread.date_time", example=self.write_date("2026-12-24") + " 08:30")
        clock = re.fullmatch(r"([0-9]{1,2})[:.]([0-9]{2})(:[0-9]{2}(?:\.[0-9]{1,6})?)?", time_.strip())
        if isinstance(date, Unread) or not clock:
            return Unread(text, example)
        try:
            naive = datetime.fromisoformat(f"{date}T{int(clock[1]):02}:{clock[2]}{clock[3] or ':00'}")
            local = naive.replace(tzinfo=self.zone)
            there = local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == naive
        except (ValueError, OverflowError):
            return Unread(text, example)
        if not there:
            return Unread(text, self.t("unread.skipped", zone=self.zone_name))
        if cast(timedelta, local.utcoffset()) % timedelta(minutes=1):  # before there was standard time
            local = local.astimezone(UTC)
        return re.sub(r"(\.[0-9]+?)0+(?![0-9])", r"\1", local.isoformat()).replace("+00:00", "Z")

    def local(self, text: str) -> datetime | None:
        """A stored date-time by the clocks of this zone; None if it is not one that they can show. One without an offset, as
        databases give them, is of UTC."""
        try:
            moment = datetime.fromisoformat(text.upper()) if _MOMENT.fullmatch(text) else None
            return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(self.zone)
        except (ValueError, OverflowError):
            return None

    def _write_date(self, text: str) -> str:
        """An ISO date, or the day of a date-time in this zone, for people; any other text as it is."""
        if local := None if _DAY.fullmatch(text) else self.local(text):
            text = local.date().isoformat()
        found = _DAY.fullmatch(text)
        return self._date.format(y=found[1], m=found[2], d=found[3]) if found else text

    def write_time(self, text: str) -> str:
        """The time of day of a stored date-time for people: "08:30"; any other text as it is."""
        local = self.local(text)
        return f"{local:%H:%M}" if local else text

    def _write_date_time(self, text: str) -> str:
        """A stored date-time for people, with the name of the zone: "2026-11-26 17:48 CET"; any other text as it is."""
        local = self.local(text)
        if local is None:
            return text
        day = self._date.format(y=f"{local.year:04}", m=f"{local.month:02}", d=f"{local.day:02}")
        return f"{day} {local.hour:02}:{local.minute:02} {local.tzname()}"


def _on_a_page(text: str) -> str:
    """A text without NUL, which no page can hold."""
    return text.replace("\0", LOST)


def no_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(_FORMULA) else text


def _plain_digits(text: str) -> str:
    """Digits of any script and every minus as ASCII, without spaces around."""
    text = text.strip().replace("٫", ",").translate({0x2212: "-", 0xFE63: "-", 0xFF0D: "-", 0xFF0B: "+"})
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def _number_parts(body: str) -> tuple[str, str, str] | None:
    """(digits, fraction, the mark between them where it could also group) of a number without sign; None if it is none."""
    at = max(body.rfind("."), body.rfind(","))
    if at < 0 or body.count(body[at]) > 1:  # a mark that stands twice groups
        at = len(body)
    whole, fraction = body[:at], body[at + 1 :]
    digits = re.sub(r"[^0-9]", "", whole)
    if not re.fullmatch(r"[0-9]*", fraction) or not digits + fraction or not (whole == digits or _GROUPS.fullmatch(whole)):
        return None
    doubtful = whole == digits and len(fraction) == 3 and re.fullmatch(r"[1-9][0-9]{0,2}", digits)
    return digits, fraction, body[at] if doubtful else ""


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        return bool(datetime(year, month, day, tzinfo=UTC))
    except ValueError:
        return False
