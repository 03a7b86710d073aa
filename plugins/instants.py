"""The order of date-times, whatever their offsets."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache

# ==== 1. INSTANTS ================================================================================================
# Imported when a field of date-times is checked, compared or ordered.
# uses: nothing
# defines: instant_key

_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)


@lru_cache(maxsize=4096)
def _day_s(day: str) -> int:
    """The second since the year 1 at which a day begins; far below 0 if there is no such day."""
    try:
        return datetime.fromisoformat(day).toordinal() * 86_400
    except ValueError:
        return -(10**9)


def instant_key(text: str) -> str:
    """Text that sorts, by code point, as the moments of RFC 3339 date-times do, exactly; "" if the text is none.

    It is the second since the year 1, of 12 digits, and the fraction without zeros at its end. There are no leap seconds.
    """
    found = _DATE_TIME.fullmatch(text)
    if not found:
        return ""
    day, hour, minute, second, fraction, sign, offset_h, offset_min = found.groups()
    at_s = _day_s(day) + int(hour) * 3600 + int(minute) * 60 + int(second)
    if at_s < 0:
        return ""
    if sign:
        at_s -= int(sign + "1") * (int(offset_h) * 3600 + int(offset_min) * 60)
    return f"{at_s:012d}{(fraction or '').rstrip('0')}"
