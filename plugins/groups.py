"""Groups of records and what they add up to, for providers that have no way of their own to find it out."""

from __future__ import annotations

from collections.abc import Sequence

from app import Json, Measure, Query, Records, Unsupported

# ==== 1. GROUPS ==================================================================================================
# Records are read one by one, so there is a bound.
# uses: ERRORS VALUES CONTRACTS
# defines: of_records


def of_records(
    records: Records, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int
) -> list[Sequence[Json]]:
    """What Records.groups() promises, of records that are read."""
    raise Unsupported(f"a {records.kind} provider cannot group records")
