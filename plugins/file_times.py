"""When a file was changed last, as clients say it: of one that is sent seconds since 1970 in the header X-OC-Mtime."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import lru_cache

from app import BadRequest, Blob, Blobs, Conditions, Exchange, PreconditionFailed, Response, Unsupported, plugin

# ==== 1. CONDITIONS ==============================================================================================
# Dates of HTTP, and what is said by them of a file that is to be changed.
# uses: ERRORS VALUES
# defines: http_date check_unmodified


@lru_cache
def http_date(text: str) -> float | None:
    """Unix seconds of an HTTP date in any of its three forms; None if it is not one."""
    import email.utils

    try:
        found = email.utils.parsedate_to_datetime(text)
        return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def check_unmodified(conditions: Conditions, modified_at: float | None) -> None:
    """Raises PreconditionFailed if a file was modified since a date that they name. What has no time was not (RFC 9110
    section 13.1.4)."""
    since = conditions.unmodified_since
    if modified_at is not None and since is not None and not conditions.if_match and int(modified_at) > since:
        raise PreconditionFailed("the file was modified since")


# ==== 2. TIMES ===================================================================================================
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


# ==== 3. SET =====================================================================================================
# A file that is there already gets another time, and keeps its bytes: no version of it is kept.
# uses: ERRORS VALUES CONTRACTS TIMES plugin:instants
# defines: moment set_time


def moment(text: str) -> float | None:
    """The Unix seconds of an RFC 3339 date-time; None if it is none that a file can have."""
    if not plugin("instants").instant_key(text):
        return None
    at = datetime.fromisoformat(text.upper()).timestamp()
    return at if 0 <= at <= _LATEST_S else None


def set_time(blobs: Blobs, blob: Blob, at: float) -> Blob:
    """The file with that time, where its provider keeps times. One that cannot change it alone stores the bytes anew. Raises
    PreconditionFailed or NotFound if it is another file by now."""
    alone = getattr(blobs, "set_time", None)
    if alone:
        with suppress(Unsupported):
            found: Blob = alone(blob.path, at, if_match=blob.etag)
            return found
    with closing(blobs.read(blob.path, if_match=blob.etag)) as chunks:
        staged = blobs.stage(chunks, blob.path)
    try:
        return blobs.publish(staged._replace(modified_at=at), blob.path, if_match=blob.etag)
    except BaseException:
        blobs.discard(staged)
        raise
