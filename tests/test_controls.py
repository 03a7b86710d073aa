"""plugins/controls.py: how fields are asked in pages, and that what comes back untouched is no change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from test_resources import field

import app

controls = app.plugin("controls")
Locale = app.plugin("locale").Locale
LOCALE = Locale()


def test_a_field_asks_a_person_with_the_fitting_control() -> None:
    widgets = {
        "text": {},
        "email": {"format": "email"},
        "url": {"format": "uri"},
        "date": {"format": "date"},
        "datetime-local": {"format": "date-time"},
        "textarea": {"format": "multiline"},
        "number": {"type": "integer"},
        "checkbox": {"type": "boolean", "required": True},
        "radio": {"enum": ["a", "b"]},
        "select": {"enum": list("abcde")},
        "checkboxes": {"type": "array", "items": {"enum": ["a"]}},
        "file": {"format": "file", "files": "files/x"},
    }
    for widget, settings in widgets.items():
        assert controls.control(field(**settings), LOCALE).widget == widget  # type: ignore[arg-type]
    assert controls.control(field(type="number", minimum=0, multipleOf=0.5), LOCALE).attrs == {"inputmode": "decimal"}


STORED: list[tuple[dict[str, Any], list[Any]]] = [
    ({}, ["x", " x ", "\n x", "a\nb", "a\r\nb", "a\rb", "\tx", "", None, 5, True, ["a"], {"a": 1}, "\u2028\x0b", "a" * 300]),
    ({"format": "multiline"}, ["\n\n a\r\n", "\r", " ", "a\n", 1.5, None]),
    ({"maxLength": 3, "minLength": 2, "pattern": "[a-z]+"}, ["longer than it may be", "A", " b"]),
    ({"type": "number"}, [0, -0.0, 1.0, 1e300, Decimal("1E+400"), Decimal("0.1000000000000000000001"), 2**63 - 1]),
    ({"type": "number"}, ["12,5", True]),
    ({"type": "integer", "minimum": 5}, [3, -(2**63), 1.5, "x"]),
    ({"type": "boolean"}, [True, False, None, "maybe", "true", 1, 0]),
    ({"type": "boolean", "required": True}, [True, False, None, "maybe", "true", 1, 0]),
    ({"format": "date"}, ["2026-12-24", "0001-01-01", "soon", "2026-13-45", "24.12.2026", 20261224]),
    ({"format": "date-time"}, [
        "2026-11-23T08:30:45.123Z", "2026-11-23T08:30:00Z", "2026-11-23T08:30:45.123456789+05:30",
        "2026-11-23t08:30:00.100z",
        "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
        "1800-01-01T00:00:00Z", "2026-11-23T08:30", "2026-11-23", "next week", 5,
    ]),
    ({"format": "email"}, ["a@b.example", " a@b.example ", "no address", "a@bücher.example"]),
    ({"format": "uri"}, ["https://a.example/ü", "a b", "a\nb"]),
    ({"enum": ["a", "b"]}, ["a", "gone", "", None, " a", "=\"a\"", 1, ["a"]]),
    ({"enum": list("abcde")}, ["a", "gone", None, "a\r\nb"]),
    ({"type": "number", "enum": [1, 2.5]}, [1, 1.0, "1", True, 3, Decimal("2.50")]),
    ({"oneOf": [{"const": "a", "title": "A"}]}, ["a", "A"]),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, [["b", "a"], ["a", "a"], ["gone"], ["gone", "b", 5], [], None]),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, ["a", "x", "a,b"]),
]  # fmt: skip


def as_a_browser_sends(widget: str, texts: Sequence[str]) -> list[str]:
    """What HTML says that a control makes of its value (4.10.5.1, 4.10.11 and 4.10.22)."""
    match widget:
        case "textarea":
            return [re.sub("\r\n?|\n", "\r\n", texts[0] if texts else "")]
        case "radio" | "checkboxes" | "select" | "checkbox":
            shown = dict.fromkeys(texts) if widget == "checkboxes" else texts[-1:]
            return [re.sub("\r\n?|\n", "\r\n", text) for text in shown] or [""] * (widget in ("select", "radio"))
        case "email" | "url":
            return [re.sub("[\r\n]", "", texts[0]).strip() if texts else ""]
        case "date":
            return [texts[0] if texts and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", texts[0]) else ""]
        case "datetime-local":
            return [
                re.sub("(T.....):00$", r"\1", texts[0])
                if texts and re.fullmatch("[0-9-]{10}T[0-9:]{5}([0-9:.]*)", texts[0])
                else ""
            ]
    return [re.sub("[\r\n]", "", texts[0]) if texts else ""]


@pytest.mark.parametrize("locale", [LOCALE, Locale("de", "Europe/Copenhagen")])
@pytest.mark.parametrize(("settings", "values"), STORED)
def test_what_a_browser_sends_back_untouched_is_no_change(settings: dict[str, Any], values: list[Any], locale: Any) -> None:
    one = field(**settings)
    for value in values:
        shown = controls.control(one, locale, value)
        assert controls.mark(one, as_a_browser_sends(shown.widget, shown.texts)) == controls.mark(one, shown.texts), (
            value,
            shown,
        )
        options = [text for text, _ in shown.choices]
        assert len(options) == len(set(options))
        if value not in (None, "", [], False):
            assert any(shown.texts), f"{value!r} is not shown"


def test_what_a_control_cannot_hold_stands_in_another_one() -> None:
    widget = {
        str(value): controls.control(field(**settings), LOCALE, value).widget
        for settings, values in STORED for value in values if settings in ({}, {"format": "date"}, {"format": "date-time"})
    }  # fmt: skip
    assert widget["a\nb"] == widget["a\rb"] == "textarea"
    assert widget["soon"] == widget["2026-13-45"] == widget["next week"] == widget["0001-01-01T00:00:00+14:00"] == "text"
    assert (widget["x"], widget["2026-12-24"], widget["2026-11-23T08:30:45.123Z"]) == ("text", "date", "datetime-local")
    assert controls.control(field(type="boolean"), LOCALE, "maybe").choices[-1] == ("maybe", "maybe (no longer offered)")


def test_an_item_that_is_no_longer_offered_stays_in_a_set_of_choices_while_it_is_ticked() -> None:
    one = field(type="array", items={"type": "integer", "enum": [1, 2]})
    assert controls.edited(one, ["7", "2"], [7, 1], LOCALE) == ([7, 2], [2])
    assert controls.edited(one, ["2"], [7, 1], LOCALE) == ([2], [2])
    assert controls.edited(one, ["7"], [7, 1], LOCALE) == ([7], None)
