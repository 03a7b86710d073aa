"""Sign-ins that failed and tokens that were refused, in the audit trail: who tries is seen, and no flood fills the disk."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from app import Audit, Caller, Clock, Exchange, SignInNeeded, Unauthenticated, plugin

if TYPE_CHECKING:
    from app import AppError

# ==== 1. REFUSALS ================================================================================================
# The first of an address in an hour have an entry each; the rest are counted, and an entry says how many they were since
# the one before. A process remembers a limited number of addresses, and what comes from further ones as one.
# uses: ERRORS VALUES RUNNERS ASSEMBLY plugin:addresses
# defines: FIRST MOST_ADDRESSES OTHERS HOUR_S SOONEST_S LATEST_S Refusals note_token note_message address_of

FIRST, MOST_ADDRESSES = 5, 100
OTHERS = "other addresses"
HOUR_S, SOONEST_S, LATEST_S = 3600.0, 2.0, 600.0  # an entry with a count comes after these: the more, the later
_Kind = tuple[str, str, str, str]  # client, action, code, door


class Refusals:
    """Those of this process. Thread-safe."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit, self._clock = audit, clock
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._seen: Counter[str] = Counter()  # by client, in this hour
        self._untold: Counter[_Kind] = Counter()
        self._hour, self._wait_s = -1, SOONEST_S

    def note(self, action: str, client: str, code: str, request_id: str, door: str = "http") -> None:
        """One more from an address, or from a queue by its name."""
        client = address_of(client)
        with self._lock:
            if self._hour != (hour := int(self._clock() // HOUR_S)):
                self._hour, self._wait_s = hour, SOONEST_S
                self._seen.clear()
            if client not in self._seen and len(self._seen) >= MOST_ADDRESSES:
                client = OTHERS
            self._seen[client] += 1
            is_told = self._seen[client] <= FIRST
            if not is_told:
                self._untold[client, action, code, door] += 1
                self._tell_later()
        if is_told:
            self._tell((client, action, code, door), 1, request_id)

    def _tell_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._wait_s, self.flush)
            self._timer.daemon = True
            self._timer.start()
            self._wait_s = min(2 * self._wait_s, LATEST_S)

    def flush(self) -> None:
        """Store what was only counted up to here."""
        with self._lock:
            untold, self._untold, timer, self._timer = self._untold, Counter(), self._timer, None
        if timer:
            timer.cancel()
        for kind, count in untold.items():
            self._tell(kind, count, "")

    def _tell(self, kind: _Kind, count: int, request_id: str) -> None:
        client, action, code, door = kind
        entry = self._audit.entry(Caller(), door, request_id, "admin/tokens", action, "denied", code)
        self._audit.best_effort(entry | {"client": client, "count": count})


def note_token(exchange: Exchange, error: AppError) -> None:
    """The same of a request whose Authorization header was refused; other errors are left alone."""
    office = getattr(exchange.door.host, "office", None)
    if _is_refused(error) and office and exchange.authorization and exchange.inner != "login":
        office.refusals.note("use", exchange.client, error.code, exchange.id)


def note_message(host: Any, queue: str, error: AppError, request_id: str) -> None:
    """The same of a message whose token was refused."""
    office = getattr(host, "office", None)
    if _is_refused(error) and office:
        office.refusals.note("use", f"queue {queue}", error.code, request_id, "sqs")


def _is_refused(error: AppError) -> bool:
    return isinstance(error, Unauthenticated) and not isinstance(error, SignInNeeded)


def address_of(client: str) -> str:
    """A client as it is counted: of IPv6 its network of 64 bits, which one customer has; what is no address is cut."""
    address = plugin("addresses").ip(client)
    if address is None:
        return "".join(letter for letter in client[:40] if " " <= letter <= "~")
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))
