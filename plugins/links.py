"""Share links: one file, folder or view, for whoever has an address that nobody can guess."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, quote, urlencode

from app import (
    CONVERTERS,
    LOG,
    PEOPLE,
    Action,
    AppError,
    BadRequest,
    Caller,
    Conflict,
    Delete,
    Exchange,
    Fault,
    Forbidden,
    Grant,
    HttpRunner,
    Insert,
    Invalid,
    Json,
    NotFound,
    Query,
    Record,
    Records,
    Request,
    Response,
    SignInNeeded,
    Token,
    Unauthenticated,
    Update,
    Value,
    compose,
    plugin,
    rfc3339,
    secret_digest,
    split_path,
)

# ==== 1. WISHES ==================================================================================================
# What somebody may ask for when he makes a link, read and judged.
# uses: ERRORS VALUES CONFIG plugin:locale plugin:passwords
# defines: NEVER SHORTEST Wish wish_of

NEVER = 253402300799  # expires_at of a link that does not expire: the last second of the year 9999
SHORTEST = 6  # characters of a password
_MOST_S = 10 * 366 * 86_400
_NAMES = ("action", "expires", "password")


class Wish(NamedTuple):
    """A link to be made: until when, in Unix seconds, by which password ("" is none), and what whoever has it may do."""

    expires_at: int
    password: str
    action: Action = Action.READ


def wish_of(
    data: Json, now: float, *, zone: tzinfo, endless: bool = False, actions: Sequence[Action] = (Action.READ,)
) -> Wish:
    """What the object of a link asks for, of these actions the first if it does not say. A day ends in the zone; with
    `endless` there may be no end. Raises Invalid."""
    if not isinstance(data, dict):
        raise BadRequest('"link" must be an object such as {"action": "read", "expires": "7d"}')
    unknown = "is none of action, expires and password"
    faults = [Fault(f"/link/{name}", "unknown", unknown) for name in data.keys() - {*_NAMES}]
    action = data.get("action", str(actions[0]))
    if action not in actions:
        words = "must be read" if Action.CREATE not in actions else "must be read or create"
        faults.append(Fault("/link/action", "action", f"{words}: only a folder has links for adding files"))
    password = data.get("password")
    if password is not None and (problem := _password_problem(password)):
        faults.append(Fault("/link/password", "password", problem))
    expires_at, problem = _ends_at(data.get("expires"), now, zone, endless=endless)
    if problem:
        faults.append(Fault("/link/expires", "expires", problem))
    if faults:
        told = "; ".join(f"{one.pointer[6:]} {one.detail}" for one in faults)
        raise Invalid(f"the link cannot be made: {told}", faults=faults)
    return Wish(expires_at, password or "", Action(action))


def _password_problem(password: Json) -> str:
    if not isinstance(password, str) or not password.strip():
        return "is empty: write one, or leave it out"
    if not SHORTEST <= len(password) <= plugin("passwords").LONGEST:
        return f"must have at least {SHORTEST} characters"
    return ""


def _ends_at(text: Json, now: float, zone: tzinfo, *, endless: bool) -> tuple[int, str]:
    """When a link ends that is asked for so, and what is wrong with that."""
    if text is None and endless:
        return NEVER, ""
    if not isinstance(text, str) or not text:
        return 0, 'must say until when, such as "7d" or "2026-12-31"'
    try:
        ends_at = _moment(text, now, zone)
    except (ValueError, OverflowError):
        return 0, 'must be a time such as "7d", a day such as "2026-12-31" or a date-time with an offset'
    if ends_at <= now:
        return 0, "is over already"
    return (0, "is too far away: at most ten years") if ends_at > now + _MOST_S else (int(ends_at), "")


def _moment(text: str, now: float, zone: tzinfo) -> float:
    """Raises ValueError."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # to its end
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone).timestamp()
    if "T" in text.upper():
        return float(plugin("locale").parse_rfc3339(text))
    return now + int(CONVERTERS["duration"](text, Path()))


# ==== 2. LINKS ===================================================================================================
# A row of the state provider each, under the digest of its code. What a link shows is read as whoever made it may at that
# moment, narrowed to its one address: with the right, or the person, or the token it was made with, it is dead.
# uses: ERRORS VALUES CONTRACTS RUNNERS AUTH WISHES plugin:passwords plugin:people plugin:tokens
# defines: TABLE GONE ID_LETTERS id_of name_of is_folder place Target target make url_of good maker read of_subject end
#          expired row_of address_with split_address

TABLE = "_shares"
GONE = "this link is not known here, or it has ended"
ID_LETTERS = 16  # of a code's digest: enough to name it, and nothing that opens it
_CODE = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes
_MOST_OF_ONE = 200  # links of one subject that are good
_OF_PAGES = ("_next", "_prev", "_size", "_for", "_count", "_facets")  # parameters of a view that a link does not keep


def id_of(row: Record) -> str:
    return row.key[:ID_LETTERS]


def name_of(row: Record) -> str:
    """Whoever uses a link, as the audit trail calls him."""
    return f"link:{id_of(row)}"


def is_folder(address: str) -> bool:
    """Whether the address of a link is that of a folder of a share."""
    return address.startswith("files/") and address.endswith("/")


def place(address: str, query: Mapping[str, str], request_id: str, **facts: Any) -> Request:
    """The request that reads an address. Raises NotFound if none can be shared there."""
    kind, _, rest = address.partition("/")
    name, *path = split_path(rest) if rest else [""]
    if kind not in ("files", "views") or not name or (kind == "views" and path):
        raise NotFound("links are for files, folders and views")
    params = {one: text for one, text in query.items() if one not in _OF_PAGES} if kind == "views" else {}
    return Request(
        request_id, Action.READ, f"{kind}/{quote(compose(name), safe='')}", tuple(path), HttpRunner.kind, params, **facts
    )


class Target(NamedTuple):
    """What a link is to be made of, who wants it, and what whoever has the link may do there."""

    request: Request
    caller: Caller
    actions: tuple[Action, ...]

    def check(self, wish: Wish) -> None:
        """Raises Forbidden if the one who asks may not do himself what the link is for."""
        address = self.request.address
        self.caller.require(wish.action, address if wish.action == Action.READ else f"{address.rstrip('/')}/x")


def target(site: Any, request: Request) -> Target:
    """What the request names, if whoever asks may do something there. Raises what keeps him from it."""
    is_view = request.resource.startswith("views/")
    params = {**request.params, "_size": "1"} if is_view else {}
    response = site.handle(request._replace(params=params, page=not is_view))
    if response.table is not None:
        response.table.close()
    caller = cast(Caller, response.caller)
    if not caller.subject:
        raise SignInNeeded("sign in, or send a token, to make a link")
    if is_view or response.content:
        return Target(request, caller, (Action.READ,))
    request = request._replace(path=(*[part for part in request.path if part], ""))
    return Target(request, caller, (Action.READ, Action.CREATE))


def make(site: Any, caller: Caller, request: Request, wish: Wish) -> tuple[str, Record]:
    """The code of a new link and its row, stored with an audit entry. Raises Conflict if the caller has too many."""
    now, person = int(site.clock()), plugin("people").standing(site.state, caller.subject)
    if site.state.count(Query(TABLE, plugin("people").living(caller.subject, now))) >= _MOST_OF_ONE:
        raise Conflict(f"you have {_MOST_OF_ONE} links: end those that are not needed")
    code = secrets.token_urlsafe(32)
    value: Value = {
        "address": request.address, "query": dict(request.params), "action": str(wish.action), "subject": caller.subject,
        "jti": caller.token_id, "era": person.value.get("era", "") if person else "", "created_at": now,
        "expires_at": wish.expires_at, "used_at": 0, "uses": 0,
        "password": plugin("passwords").hashed(wish.password) if wish.password else "",
    }  # fmt: skip
    row = Record(secret_digest(code), 1, value)
    told = {name: row_of(row)[name] for name in ("id", "action", "expires_at", "query", "has_password")}
    entry = site.audit.entry(caller, request.door, request.id, request.address, "share") | {"after": told}
    site.state.commit([Insert(TABLE, row.key, value), site.audit.insert(entry)])
    return code, row


def url_of(site: Any, exchange: Exchange, code: str) -> str:
    """The address of a link, as whoever made it reaches the site."""
    reached = f"{exchange.scheme}://{exchange.host}{exchange.prefix}"
    return f"{plugin('tokens').site_url(site.config, reached if exchange.host else '')}/s/{code}"


def good(site: Any, code: str) -> Record:
    """The row of a link that has not ended. Raises NotFound, in the same words whatever is wrong."""
    row = site.state.get(TABLE, secret_digest(code)) if _CODE.fullmatch(code) else None
    if row is None or row.damage or row.value["expires_at"] <= site.clock():
        raise NotFound(GONE)
    return cast(Record, row)


def maker(site: Any, row: Record) -> Caller:
    """Who made a link, with his rights of this moment, narrowed to what it shows. Raises NotFound if he may it no more."""
    value, authority = row.value, site.authority
    try:
        if value["jti"]:
            caller = authority.identify(f"Bearer {authority.short(Token(value['jti'], value['subject']))}")
        else:
            caller = authority.identify(f"Proxy {authority.seal('proxy', value['subject'])}")  # the person, whatever session
        person = plugin("people").standing(site.state, value["subject"])
    except Unauthenticated:
        raise NotFound(GONE) from None
    if caller.subject != value["subject"] or (person.value.get("era", "") if person else "") != value["era"]:
        raise NotFound(GONE)
    action, address = Action(value["action"]), value["address"].removesuffix("/")
    only = (Grant(tuple(address.split("/")), frozenset({action})),)
    caller = cast(Caller, caller._replace(session="", ceilings=(*caller.ceilings, only)))
    if not caller.may(action, address if action == Action.READ else f"{address}/x"):
        raise NotFound(GONE)
    return caller


def read(
    site: Any, row: Record, request_id: str, params: Mapping[str, str], inside: Sequence[str] = (), **facts: Any
) -> Response:
    """What a link shows, of a view or a folder with these parameters of its pages; `inside` is the way from its folder.
    Raises NotFound if it is there no more."""
    caller, wanted = maker(site, row), place(row.value["address"], row.value["query"], request_id, **facts)
    path = (*wanted.path[:-1], *inside) if inside else wanted.path
    wanted = wanted._replace(params={**wanted.params, **params}, path=path)
    try:
        return cast(Response, site.flow.handle_as(caller, wanted))
    except (NotFound, Forbidden):
        raise NotFound("this is not here" if inside else "what this link leads to is no longer there") from None


def of_subject(site: Any, subject: str, address: str = "") -> list[Record]:
    """The good links of somebody, of one address or of all, the newest first."""
    found = site.state.walk(Query(TABLE, plugin("people").living(subject, site.clock())))
    kept = [one for one in found if not one.damage and address in ("", one.value["address"])]
    return sorted(kept, key=lambda one: -int(one.value["created_at"]))


def end(site: Any, caller: Caller, id_: str, request_id: str) -> None:
    """End a link of one's own. Raises NotFound if there is none."""
    row = next((one for one in of_subject(site, caller.subject) if id_of(one) == id_), None)
    if row is None:
        raise NotFound("you have no such link")
    entry = site.audit.entry(caller, HttpRunner.kind, request_id, row.value["address"], "end_share")
    site.state.commit([Delete(TABLE, row.key), site.audit.insert(entry | {"before": {"id": id_}})])


def expired(records: Records, now: float) -> list[Delete]:
    """What removes links that are over, and those whose person or token is there no more."""
    found = (one for one in records.walk(Query(TABLE)) if not one.damage and _is_over(records, one.value, now))
    return [Delete(TABLE, one.key) for one in islice(found, 500)]


def _is_over(records: Records, value: Value, now: float) -> bool:
    made_by = ("_tokens", value["jti"]) if value["jti"] else (PEOPLE, value["subject"])
    return value["expires_at"] <= now or records.get(*made_by) is None


def row_of(row: Record) -> Value:
    """A link as programs get it."""
    value = row.value
    times = {name: value[name] for name in ("created_at", "expires_at", "used_at")}
    return {
        "id": id_of(row), "address": value["address"], "query": value["query"], "action": value["action"],
        **{name: rfc3339(at) if 0 < at < NEVER else None for name, at in times.items()},
        "uses": value["uses"], "has_password": bool(value["password"]),
    }  # fmt: skip


def address_with(row: Value) -> str:
    """The address of a link's row with its query, for people."""
    return str(row["address"]) + ("?" + urlencode(row["query"]) if row["query"] else "")


def split_address(text: str) -> tuple[str, dict[str, str]]:
    """An address and its query. Raises BadRequest."""
    address, _, query = text.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise BadRequest("of is not an address of this site") from None
    return address, dict(pairs)


# ==== 3. USES ====================================================================================================
# Each use of a link is in the audit trail: of one link and one client the first in a minute has an entry, and those that
# follow are counted in the next one. So a flood through one link writes an entry a minute for each of a few clients.
# uses: ERRORS VALUES LINKS plugin:refusals
# defines: Uses

_APART_S = 60.0
_MOST_CLIENTS, _MOST_PAIRS = 20, 2000  # of one link; of all links that one process remembers
_OTHERS = "other addresses"


class Uses:
    """Those of this process. Thread-safe."""

    def __init__(self, site: Any) -> None:
        self._site, self._lock = site, threading.Lock()
        self._timer: threading.Timer | None = None
        self._told: dict[tuple[str, str], float] = {}  # when the last entry of (link, client) was written
        self._untold: dict[tuple[str, str], int] = {}

    def note(self, row: Record, client: str, request_id: str) -> None:
        pair = row.key, plugin("refusals").address_of(client)
        with self._lock:
            now = self._site.clock()
            self._forget(now)
            if pair not in self._told and sum(key == row.key for key, _ in self._told) >= _MOST_CLIENTS:
                pair = row.key, _OTHERS
            is_told = pair not in self._told
            if is_told:
                self._told[pair] = now
            else:
                self._untold[pair] = self._untold.get(pair, 0) + 1
                self._tell_later()
        if is_told:
            self._tell(pair, 1, request_id)

    def _forget(self, now: float) -> None:
        """What is older than a minute; of too many the oldest."""
        kept = {pair: at for pair, at in self._told.items() if pair in self._untold or 0 <= now - at < _APART_S}
        self._told = dict(list(kept.items())[-_MOST_PAIRS:])

    def _tell_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_APART_S, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Store what was only counted up to here."""
        with self._lock:
            untold, self._untold, timer, self._timer = self._untold, {}, self._timer, None
            self._told |= dict.fromkeys(untold, self._site.clock())
        if timer:
            timer.cancel()
        for pair, count in untold.items():
            self._tell(pair, count, "")

    def _tell(self, pair: tuple[str, str], count: int, request_id: str) -> None:
        """An entry, and the count in the link's row. What cannot be stored is logged: the answer stays as it is."""
        site, (key, client) = self._site, pair
        for _ in range(3):  # another process may count at the same time
            try:
                row = site.state.get(TABLE, key)
                if row is None or row.damage:
                    return
                value = row.value
                entry = site.audit.entry(Caller(name_of(row)), "http", request_id, value["address"], value["action"])
                entry |= {"client": client, "count": count, "after": {"made_by": row.value["subject"]}}
                used = row.value | {"used_at": int(site.clock()), "uses": row.value["uses"] + count}
                site.state.commit([Update(TABLE, key, used, row.version), site.audit.insert(entry)])
                return
            except Conflict:
                continue
            except AppError as error:
                LOG.error("the use of link %s was not noted: %s", key[:ID_LETTERS], error.message)
                return
        LOG.error("the use of link %s was not noted: it was busy", key[:ID_LETTERS])
