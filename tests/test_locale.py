"""plugins/locale.py: how people of a language and a zone write numbers and times, and what is read from what they type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

import app
from app import Unread

Locale = app.plugin("locale").Locale

NUMBERS: list[tuple[str, str, Any]] = [
    ("en", "12,5", 12.5), ("de", "12,5", 12.5), ("de", "12.5", 12.5), ("en", "1.234", 1.234), ("de", "1,234", 1.234),
    ("en", "1,234", 1234), ("en", "1.234,5", 1234.5), ("de", "1,234.5", 1234.5), ("fr", "1\u202f234,5", 1234.5),
    ("en", "1 234 567", 1234567), ("de-CH", "1’234.50", 1234.5), ("de", "1.234.567", 1234567), ("en", "12,34,567", 1234567),
    ("en", "+7", 7), ("en", "\u22125", -5), ("en", "- 5", -5), ("de", "0.125", 0.125), ("en", "0,125", 0.125),
    ("en", " 3 ", 3), ("en", ",5", 0.5), ("ar", "٣٫٥", 3.5), ("en", "1e400", Decimal("1E+400")), ("de", "1,5e3", 1500.0),
    ("en", "9223372036854775807", 2**63 - 1), ("en", "0.1000000000000000000001", Decimal("0.1000000000000000000001")),
    ("de", "-1.234,50", -1234.5), ("en", "", None),
]  # fmt: skip


@pytest.mark.parametrize(("lang", "text", "value"), NUMBERS)
def test_a_typed_number_is_read_with_either_decimal_mark(lang: str, text: str, value: Any) -> None:
    read = Locale(lang).read_number(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["x", "1,2,3", "12 34", "1.2.3", "1,234.567.8", "0x1", "1_000", "Infinity", "NaN", ".", "-",
                                  "1 2", "5%", "1,23,45", "5-", "1" * 500])  # fmt: skip
def test_what_is_no_number_is_refused_in_words(text: str) -> None:
    read = Locale("en").read_number(text)
    assert isinstance(read, Unread)
    assert (read, read.reason) == (text, "must be a number such as 1234.5")


def test_a_number_that_could_be_two_is_refused_with_both_readings() -> None:
    read = Locale("de", words="en").read_number("1.234")
    assert isinstance(read, Unread)
    assert read.reason == "could be two numbers: write 1234 or 1,234"
    read = Locale("de").read_number("1.234")
    assert isinstance(read, Unread)
    assert read.reason == "könnte zwei Zahlen bedeuten: Schreiben Sie 1234 oder 1,234"
    assert Locale("de").read_number("1.234", whole=True) == 1234  # of a whole number it could be only one
    assert Locale("en").read_number("1,000", whole=True) == 1000
    for lang, text in (("en", "1.000"), ("de", "1,000"), ("fr", "20,000")):  # nobody writes a whole number so to mean 1
        read = Locale(lang, words="en").read_number(text, whole=True)
        assert isinstance(read, Unread)
        assert read.reason == f"could be two numbers: write {text[:-4]}000 or {text[:-4]}"


@pytest.mark.parametrize("lang", ["en", "de", "fr", "de-CH", "xx"])
@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, 0.1, 1.234, 12345.678, 1e16, 1e-7, 1e300, Decimal("1E+400"),
                                   Decimal("12345678901234567890.123456789")])  # fmt: skip
def test_a_written_number_is_read_as_the_same(lang: str, value: Any) -> None:
    locale = Locale(lang)
    assert locale.read_number(locale.write_number(value)) == value


def test_numbers_are_written_with_the_mark_of_the_language_and_without_empty_digits() -> None:
    assert [Locale("de").write_number(v) for v in (12.5, 1008.0, -0.25, 7)] == ["12,5", "1008", "-0,25", "7"]
    assert Locale("en").write_number(16734.88) == "16734.88"


DATES = [
    ("en", "2026-12-24", "2026-12-24"), ("en", "24.12.2026", "2026-12-24"), ("en", "24/12/2026", "2026-12-24"),
    ("en", "12/24/2026", "2026-12-24"), ("en-GB", "5/6/2026", "2026-06-05"), ("en-US", "5/6/2026", "2026-05-06"),
    ("de", "5.6.2026", "2026-06-05"), ("nl", "24-12-2026", "2026-12-24"),
]  # fmt: skip


@pytest.mark.parametrize(("lang", "text", "date"), DATES)
def test_a_typed_date_is_read_as_the_language_writes_it(lang: str, text: str, date: str) -> None:
    read = Locale(lang).read_date(text)
    assert read == date
    assert not isinstance(read, Unread)


@pytest.mark.parametrize("text", ["5/6/2026", "31.2.2026", "24.12.26", "tomorrow", "2026-13-01"])
def test_a_date_that_is_none_or_could_be_two_is_refused(text: str) -> None:
    assert isinstance(Locale("en").read_date(text), Unread)


def test_times_are_typed_and_shown_in_the_zone() -> None:
    here = Locale("en", "Europe/Copenhagen")
    assert here.read_date_time("2026-11-23T08:30") == "2026-11-23T08:30:00+01:00"
    assert here.read_date_time("2026-07-23T08:30:45.12") == "2026-07-23T08:30:45.12+02:00"
    assert here.read_date_time("2026-11-23T08:30:00+05:30") == "2026-11-23T08:30:00+05:30"
    assert Locale("de", "Europe/Copenhagen").read_date_time("24.12.2026 8:30") == "2026-12-24T08:30:00+01:00"
    assert Locale().read_date_time("2026-11-23T08:30") == "2026-11-23T08:30:00Z"
    assert here.write_date_time("2026-11-23T08:30:45.123Z") == "2026-11-23 09:30 CET"
    assert Locale("de", "Europe/Copenhagen").write_date_time("2026-07-01T00:00:00Z") == "01.07.2026 02:00 CEST"
    assert here.write_time("2026-11-23T08:30:45Z") == "09:30"
    assert here.write_date_time("0001-01-01T00:00:00+14:00") == "0001-01-01T00:00:00+14:00"  # no clock shows it


def test_a_time_that_the_clocks_leave_out_is_refused_and_of_one_they_show_twice_the_first_is_meant() -> None:
    here = Locale("en", "Europe/Copenhagen")
    left_out = here.read_date_time("2026-03-29T02:30")
    assert isinstance(left_out, Unread)
    assert "Europe/Copenhagen leave this time out" in left_out.reason
    assert here.read_date_time("2026-10-25T02:30") == "2026-10-25T02:30:00+02:00"


def test_a_number_of_endless_digits_is_written_short() -> None:
    for text in ("1e99999999999", "-1e-99999999999", "1e500000000"):
        assert Locale().write_number(Decimal(text)).lower() == str(Decimal(text)).lower()


def test_a_page_runs_as_its_script_does() -> None:
    read = {lang: Locale(lang).direction for lang in ("en", "ar", "he", "fa-IR", "ar-Latn", "az-Arab", "ur")}
    assert [lang for lang, direction in read.items() if direction == "ltr"] == ["en", "ar-Latn"]


@pytest.mark.parametrize(
    ("lang", "text", "value"),
    [
        ("de", "1.234", 1234), ("de", "1,234", 1.234), ("en", "1.234", 1.234), ("en", "1,234", 1234), ("de", "1.5", 1.5),
        ("fr", "1.234", 1.234),  # which French groups with spaces
        ("de-CH", "1,234", 1234), ("de", "-1.234.567,5", -1234567.5), ("de", "0.125", 0.125),
    ],
)  # fmt: skip
def test_a_language_alone_says_what_a_mark_means(lang: str, text: str, value: float) -> None:
    assert Locale(lang).read_number(text, alone=True) == value
    assert Locale("en").read_number("-1.000", whole=True, alone=True) == -1
