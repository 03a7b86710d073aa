"""When a file that is sent was changed last, as clients say it: seconds since 1970 in the header X-OC-Mtime."""

from __future__ import annotations

import re
from datetime import datetime

from app import BadRequest, Exchange, Response

# ==== 1. TIMES ===================================================================================================
# A time before 1970 is kept as 1970, and one in the far future is refused: no file system has it.
# uses: ERRORS VALUES RUNNERS
# defines: HEADER asked told

HEADER = "X-OC-Mtime"
_LATEST_S = 253_402_300_799  # the end of the year 9999


def asked(exchange: Exchange) -> float | None:
    """The time in the header, in Unix seconds; None without one. Raises BadRequest if it is none."""
    said = _said(exchange)
    return None if said is None else max(0.0, said)


def _said(exchange: Exchange) -> float | None:
    """asked() with times before 1970 as they are."""
    text = exchange.header(HEADER).strip()
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,12}(\.\d{1,9})?", text) or float(text) > _LATEST_S:
        raise BadRequest(f"{HEADER} is the seconds since 1970, such as 1767225600")
    return float(text)


def told(exchange: Exchange, response: Response) -> list[tuple[str, str]]:
    """What the answer to a write says of it: "accepted", where the file has the time that was asked for."""
    wanted = _said(exchange)
    kept = response.data.get("modified_at") if isinstance(response.data, dict) else None
    if wanted is None or not isinstance(kept, str):
        return []
    is_kept = abs(datetime.fromisoformat(kept).timestamp() - wanted) < 2
    return [(HEADER, "accepted")] if is_kept else []
