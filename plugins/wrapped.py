"""A provider of records behind something that sees part of them, or sees them in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from app import Json, Measure, Page, Query, Record, Records, Write

# ==== 1. WRAPPED =================================================================================================
# What reads is for those who build on it to change; commits go to the provider itself, which others open and close.
# uses: VALUES CONTRACTS
# defines: Wrapped


class Wrapped(Records):
    """The records of a provider, all of them and as they are."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.kind = records.kind  # type: ignore[misc]
        self.name, self.atomic, self.most_writes = records.name, records.atomic, records.most_writes
        self.conditional, self.exact_integers = records.conditional, records.exact_integers

    def get(self, table: str, key: str) -> Record | None:
        return self._records.get(table, key)

    def find(self, query: Query) -> Page:
        return self._records.find(query)

    def find_texts(self, query: Query, text_of: Callable[[Record], str]) -> tuple[list[str], str | None]:
        return self._records.find_texts(query, text_of)

    def count(self, query: Query) -> int:
        return self._records.count(query)

    def count_up_to(self, query: Query, most: int, timeout_s: float) -> int | None:
        return self._records.count_up_to(query, most, timeout_s)

    def facet(self, query: Query, field: str, most: int) -> list[tuple[Json, int]]:
        return self._records.facet(query, field, most)

    def groups(self, query: Query, by: Sequence[str], measures: Sequence[Measure], most: int) -> list[Sequence[Json]]:
        return self._records.groups(query, by, measures, most)

    def walk(self, query: Query) -> Iterator[Record]:
        return self._records.walk(query)

    def commit(self, writes: Sequence[Write]) -> list[Record]:
        return self._records.commit(writes)

    def mark(self) -> Any:
        return self._records.mark()

    def open(self) -> None:
        self._records.open()

    def close(self) -> None:
        """The provider is closed by who opened it."""

    def ping(self) -> float:
        return self._records.ping()
