"""The states of records: who moves them, at which door, and what happens when two people do it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import queue_site
from sites import PROVIDERS, Site

import app
from app import (
    AppError,
    ConfigError,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    parse_grant,
)

ROLES = '[roles.hr]\ngrants = ["forms/leave/records:read", "forms/leave:create"]\n[roles.boss]\ngrants = []\n'
STATES = 'states = { field = "status", initial = "new", moves = ["new>approved:hr", "new>rejected:hr,boss", "rejected>new"]'
FIELDS = '[forms.leave.fields]\nname = { type = "string", required = true }\n'


def leave(states: str = STATES + " }", more: str = "") -> str:
    return ROLES + "[forms.leave]\n" + states + "\n" + more + FIELDS


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, PROVIDERS["sql"] + leave())
    yield made
    made.close()


@pytest.fixture
def hr(site: Site) -> str:
    return site.token("maria", roles=["hr"])


def submitted(site: Site, **facts: Any) -> Any:
    return site.create("forms/leave", {"name": "Ann"}, **facts).data


def move(site: Site, record: Any, to: str, comment: str | None = None, **facts: Any) -> Any:
    data = {"to": to} | ({} if comment is None else {"comment": comment})
    return site.put(f"forms/leave/records/{record['id']}/move", data, **facts)


# ---- moves


def test_a_new_record_is_in_the_initial_state_and_a_move_changes_that(site: Site, hr: str) -> None:
    made = submitted(site)
    assert made["status"] == "new"
    response = move(site, made, "approved", by=hr)
    assert (response.data["status"], response.data["version"], response.etag) == ("approved", 2, "2")
    assert response.data["updated_by"] == "maria"
    assert response.data["created_by"] == "root"
    assert response.location == f"forms/leave/records/{made['id']}"
    assert site.read(f"forms/leave/records/{made['id']}").data == response.data
    assert [row["status"] for row in site.items("forms/leave/records?status=approved")] == ["approved"]


def test_the_audit_entry_of_a_move_has_the_comment_and_what_changed(site: Site, hr: str) -> None:
    made = submitted(site)
    move(site, made, "approved", "Enjoy\r\nit ", by=hr)
    [entry] = site.audit(action="update")
    assert entry["comment"] == "Enjoy\nit"
    assert entry["changes"] == {"status": ["new", "approved"]}
    assert (entry["subject"], entry["record"], entry["resource"]) == (
        "maria", made["id"], f"forms/leave/records/{made['id']}/move"
    )  # fmt: skip
    assert site.audit(action="create")[0]["comment"] is None


@pytest.mark.parametrize("data", [{}, {"to": 3}, {"to": ""}, {"to": "approved", "comment": 3}, {"to": "approved", "x": 1}])
def test_a_move_that_asks_for_something_else_is_refused_with_the_place(site: Site, hr: str, data: Any) -> None:
    made = submitted(site)
    with pytest.raises(Invalid) as refused:
        site.put(f"forms/leave/records/{made['id']}/move", data, by=hr)
    assert refused.value.faults
    assert all(fault.pointer for fault in refused.value.faults)
    for comment in ("x" * 2001, "a\0b"):
        with pytest.raises(Invalid):
            move(site, made, "approved", comment, by=hr)
    assert site.read(f"forms/leave/records/{made['id']}").data["version"] == 1


def test_who_may_not_move_is_refused_and_the_refusal_is_audited(site: Site, hr: str) -> None:
    made = submitted(site)
    address = f"forms/leave/records/{made['id']}"
    reader = site.token("rita", "forms/leave/records:read")
    writer = site.token("will", "forms/leave/records:read,update")
    boss = site.token("bo", "forms/leave/records:read", roles=["boss"])
    for by, to in ((reader, "approved"), (writer, "approved"), (boss, "approved"), (reader, "nonsense")):
        with pytest.raises(Forbidden):
            move(site, made, to, by=by)
    with pytest.raises(Forbidden):
        move(site, made, "approved", by=site.token("ann", "forms/leave:create"))
    assert [one["action"] for one in site.audit(outcome="denied")] == ["update"] * 4 + ["read"]
    assert move(site, made, "rejected", by=boss).data["status"] == "rejected"
    with pytest.raises(Forbidden) as refused:  # a move without a role needs update
        move(site, made, "new", by=hr)
    assert refused.value.needed == f"{address}:update"
    assert move(site, made, "new", by=writer).data["status"] == "new"
    move(site, made, "rejected", by=boss)
    mover = site.token("mo", "forms/leave/records/*/move:update")  # and nothing else
    with pytest.raises(Forbidden):
        site.patch(address, {"name": "B"}, by=mover)
    assert move(site, made, "new", by=mover).data["status"] == "new"
    assert move(site, made, "approved").data["status"] == "approved"  # whoever may do everything has every role


def test_a_move_that_does_not_exist_is_a_conflict_that_says_what_is_so(site: Site, hr: str) -> None:
    made = submitted(site)
    move(site, made, "approved", by=hr)
    with pytest.raises(Conflict) as refused:
        move(site, made, "rejected", by=hr)
    assert "it is approved, last changed by maria" in refused.value.message
    with pytest.raises(Conflict) as refused:
        move(site, submitted(site), "aproved", by=hr)
    assert "did you mean approved?" in refused.value.message


def test_what_is_not_there_or_has_no_states_is_not_found(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        move(site, {"id": "none"}, "approved")
    (tmp_path / "plain").mkdir()
    plain = Site(tmp_path / "plain", PROVIDERS["sql"] + leave(""))
    try:
        with pytest.raises(NotFound, match="has no states"):
            move(plain, submitted(plain), "approved")
    finally:
        plain.close()


def test_if_match_is_honoured(site: Site, hr: str) -> None:
    made = submitted(site)
    site.patch(f"forms/leave/records/{made['id']}", {"name": "Anna"})
    with pytest.raises(PreconditionFailed, match="it is new, last changed by root"):
        move(site, made, "approved", by=hr, if_match="1")
    assert move(site, made, "approved", by=hr, if_match="2").data["name"] == "Anna"


def test_the_same_move_twice_is_one(site: Site, hr: str) -> None:
    made = submitted(site)
    first = move(site, made, "approved", by=hr, idempotency_key="k")
    again = move(site, made, "approved", by=hr, idempotency_key="k")
    assert again.replayed
    assert again.data == first.data
    with pytest.raises(IdempotencyConflict):
        move(site, made, "rejected", by=hr, idempotency_key="k")
    assert len(site.audit(action="update")) == 1


@pytest.mark.parametrize("facts", [{}, {"if_match": "1"}, {"idempotency_key": "k"}])
def test_of_eight_who_move_at_once_one_wins(site: Site, hr: str, facts: dict[str, str]) -> None:
    made, start = submitted(site), threading.Barrier(8)

    def run(number: int) -> Any:
        start.wait()
        try:
            return move(site, made, "approved" if facts.get("idempotency_key") or number % 2 else "rejected", by=hr, **facts)
        except AppError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(8)))
    if "idempotency_key" in facts:
        assert {one.data["version"] for one in found} == {2}
    else:
        assert [isinstance(one, AppError) for one in found].count(False) == 1
        wanted = PreconditionFailed if facts else Conflict
        assert all(isinstance(one, wanted) for one in found if isinstance(one, AppError))
    assert len(site.audit(action="update")) == 1
    assert site.read(f"forms/leave/records/{made['id']}").data["version"] == 2


def test_a_door_that_lets_no_updates_through_lets_no_moves_through(site: Site, hr: str) -> None:
    made = submitted(site)
    narrow = (parse_grant("forms/leave/records:read"),)
    with pytest.raises(Forbidden):
        move(site, made, "approved", by=hr, ceiling=narrow)
    wide = (parse_grant("forms/leave/records:read,update"),)
    assert move(site, made, "approved", by=hr, ceiling=wide).data["status"] == "approved"


# ---- the field


def refusal(work: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(Invalid) as refused:
        work()
    [fault] = refused.value.faults
    return fault.pointer, fault.code


def test_no_body_sets_the_state(site: Site) -> None:
    made = submitted(site)
    address = f"forms/leave/records/{made['id']}"
    for value in ("approved", "new", None, 3):
        data = {"name": "B", "status": value}
        assert refusal(partial(site.create, "forms/leave", data)) == ("/status", "read_only")
    batch = [{"name": "B"}, {"name": "C", "status": "new"}]
    assert refusal(lambda: site.create("forms/leave", batch)) == ("/1/status", "read_only")
    page = {"name": ["B"], "status": ["approved"]}
    assert refusal(lambda: site.create("forms/leave", page, typed=False)) == ("/status", "read_only")
    assert refusal(lambda: site.put(address, page, typed=False)) == ("/status", "read_only")
    for value in ("approved", None):
        assert refusal(partial(site.put, address, {"name": "B", "status": value})) == ("/status", "read_only")
        assert refusal(partial(site.patch, address, {"status": value})) == ("/status", "read_only")
    made_new = "forms/leave/records/own"
    assert refusal(lambda: site.put(made_new, {"name": "B", "status": "new"}, if_none_match="*")) == ("/status", "read_only")
    assert len(site.items("forms/leave/records")) == 1
    assert site.read(address).data["version"] == 1


def test_what_was_read_may_be_written_back_and_the_state_stays(site: Site, hr: str) -> None:
    made = submitted(site)
    address = f"forms/leave/records/{made['id']}"
    whole = move(site, made, "approved", by=hr).data
    assert site.put(address, whole | {"name": "B"}).data["status"] == "approved"
    assert site.put(address, {"name": "C"}).data["status"] == "approved"
    assert site.patch(address, {"name": "D", "status": "approved"}).data["name"] == "D"


def test_the_schema_says_that_it_is_read_only_and_pages_do_not_ask_for_it(site: Site) -> None:
    schema = site.read("forms/leave").data
    assert schema["properties"]["status"]["readOnly"] is True
    assert [one["const"] for one in schema["properties"]["status"]["oneOf"]] == ["new", "approved", "rejected"]
    assert "status" not in schema["required"]
    with pytest.raises(AppError, match="status is no parameter here"):
        site.read("forms/leave?status=approved")


# ---- what was stored before


def test_a_state_that_is_no_longer_known_stays_and_leads_nowhere(tmp_path: Path) -> None:
    old = Site(tmp_path, PROVIDERS["sql"] + leave(STATES.replace("rejected>new", "approved>paid:hr") + " }"))
    made, kept = submitted(old), submitted(old)
    for to in ("approved", "paid"):
        move(old, made, to)
    old.close()
    site = Site(tmp_path, PROVIDERS["sql"] + leave())
    try:
        address = f"forms/leave/records/{made['id']}"
        assert site.read(address).data["status"] == "paid"
        assert site.put(address, {"name": "B"}).data["status"] == "paid"
        assert [row["status"] for row in site.items("forms/leave/records")] == ["new", "paid"]
        with pytest.raises(Conflict, match="no move leads on"):
            move(site, made, "new")
        assert move(site, kept, "approved").data["status"] == "approved"
        [told] = [one for one in site.app.inspection.damage() if "states" in one]
        assert told == (
            "forms.leave.states: 1 record of a state that it does not name, such as 'paid': no move leads on from there"
        )
    finally:
        site.close()


def test_a_state_that_no_move_leads_to_is_warned_of(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + leave(STATES.replace(">rejected", ">rejectd") + " }"))
    told = "forms.leave.states.moves.2: begins at 'rejected', to which no move leads; did you mean rejectd?"
    assert [one for one in site.app.inspection.damage() if "states" in one] == [told]
    site.close()


def test_records_from_before_there_were_states_are_in_the_initial_one(tmp_path: Path) -> None:
    old = Site(tmp_path, PROVIDERS["sql"] + leave(""))
    made = submitted(old)
    old.close()
    site = Site(tmp_path, PROVIDERS["sql"] + leave())
    try:
        assert site.read(f"forms/leave/records/{made['id']}").data["status"] is None
        assert move(site, made, "approved").data["status"] == "approved"
    finally:
        site.close()


# ---- declarations

TABLE = 'states = { field = "status", initial = "new", moves = [%s]%s }'
WRONG = {
    STATES.replace('"new",', '"nwe",') + " }": ("initial", "is 'nwe', from which no move leads; did you mean new?"),
    STATES.replace(":hr,boss", ":hr,bos") + " }": ("moves.1", "did you mean boss?"),
    STATES.replace('"status"', '"name"') + " }": ("field", "which fields declares too"),
    STATES.replace('"status"', '"version"') + " }": ("field", "is not a field name"),
    STATES.replace('"status"', '"move"') + " }": ("field", "has an address of that name"),
    'states = { initial = "new", moves = ["new>done"] }': ("field", "is missing"),
    'states = { field = "status", initial = "new", moves = [] }': ("moves", "is empty"),
    TABLE % ('"new>new"', ""): ("moves.0", "leads nowhere"),
    TABLE % ('"new-done"', ""): ("moves.0", "is no move"),
    TABLE % ('"new>done:"', ""): ("moves.0", "names no role"),
    TABLE % ('"new>done", "new>done:hr"', ""): ("moves.1", "is the same move as moves.0"),
    TABLE % ('"new>update"', ""): ("moves.0", "cannot be a state"),
    TABLE % ('"new>do/ne"', ""): ("moves.0", "is no state"),
    TABLE % ('"new>done"', ', titles = { don = "Done" }'): ("titles.don", "did you mean done?"),
    TABLE % ('"new>done"', ', badges = { done = "god" }'): ("badges.done", "did you mean good?"),
    TABLE % ('"new>done"', ', title = 3'): ("title", "must be a text"),
    TABLE % ('"new>done"', ', badge = {}'): ("badge", "did you mean badges?"),
    'states = "status"': ("", "must be a table"),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_declaration_that_is_wrong_stops_the_start_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Site(tmp_path, PROVIDERS["sql"] + leave(text))
    found = [(fault.pointer, fault.detail) for fault in refused.value.faults]
    place, words = WRONG[text]
    assert [words in detail for pointer, detail in found if pointer == f"forms.leave.states.{place}".rstrip(".")] == [True]
    assert len(found) == 1


@pytest.mark.parametrize("name", ["history", "move", "mine", "comments", "drafts", "import"])
def test_fields_have_no_name_that_an_address_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Site(tmp_path, PROVIDERS["sql"] + leave() + f"{name} = {{}}\n")
    assert refused.value.faults[0].pointer == f"forms.leave.fields.{name}"


def test_a_circle_of_moves_is_fine(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + leave(TABLE % ('"new>lent", "lent>new"', "")))
    made = submitted(site)
    for to in ("lent", "new", "lent"):
        assert move(site, made, to).data["status"] == to
    site.close()


@pytest.mark.parametrize(
    ("moves", "waits"),
    [
        (["a>b:hr", "b>c:hr"], {"a": ["b"], "b": ["c"]}),  # each step is work, whoever made the one before
        (["a>b:hr", "b>a:hr", "a>c:hr", "b>c:hr"], {"a": ["b", "c"]}),  # who decided may take it back
        (["a>b:hr", "b>c:boss", "c>b:hr"], {"a": ["b"], "b": ["c"], "c": ["b"]}),  # it was given back to others
    ],
)
def test_a_decision_that_can_be_taken_back_waits_for_nobody(moves: list[str], waits: dict[str, list[str]]) -> None:
    said = {"field": "status", "initial": "a", "moves": moves, "titles": {}, "badges": {}}
    states = app.plugin("states").States(SimpleNamespace(name="x", states=said), {})
    found: dict[str, list[str]] = {}
    for one in states.moves:
        if states.leads_on(one):
            found.setdefault(one.source, []).append(one.target)
    assert found == waits


def test_the_description_for_programs_has_the_move_where_there_are_states(site: Site, tmp_path: Path) -> None:
    described = app.plugin("openapi").describe("T", "", site.app.describe(None))
    move = described["paths"]["/forms/leave/records/{id}/move"]["post"]
    name = move["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schemas = described["components"]["schemas"]
    assert schemas[name]["properties"]["to"]["enum"] == ["new", "approved", "rejected"]
    assert "status" in schemas["LeaveRecord"]["properties"]
    assert "status" not in schemas["LeaveInput"]["properties"]


# ---- one's own records

OWN = 'owner = { field = "created_by", unless = "hr" }\n'


def test_one_moves_ones_own_record_where_that_is_open_to_one(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + leave(more=OWN))
    hr, ann, bo = site.token("maria", roles=["hr"]), *(site.token(one, "forms/leave:create") for one in ("ann", "bo"))
    made = submitted(site, by=ann)
    place = f"forms/leave/mine/{made['id']}"
    with pytest.raises(Forbidden):
        site.put(f"{place}/move", {"to": "approved"}, by=ann)
    move(site, made, "rejected", by=hr)
    with pytest.raises(Forbidden) as refused:
        site.put(f"{place}/move", {"to": "new"}, by=ann)
    assert refused.value.needed == f"{place}:update"
    may = site.token("ann", "forms/leave:create", "forms/leave/mine:update")
    moved = site.put(f"{place}/move", {"to": "new", "comment": "please"}, by=may)
    assert (moved.data["status"], moved.location) == ("new", place)
    assert site.audit(action="update")[-1]["comment"] == "please"
    others = site.token("bo", "forms/leave:create", "forms/leave/mine:update", "forms/leave/records:read,update")
    for at in ("mine", "records"):
        with pytest.raises(NotFound):
            site.put(f"forms/leave/{at}/{made['id']}/move", {"to": "approved"}, by=others)
    with pytest.raises(NotFound):
        site.put(f"{place}/move", {"to": "approved"}, by=site.token("bo", "forms/leave:create", roles=["hr"]))
    with pytest.raises(AppError):
        site.put(f"{place}/move", {"to": "approved"}, by=bo)
    site.close()


# ---- messages

MOVING = leave().replace("forms.leave", "forms.moving").replace("forms/leave", "forms/moving")


def test_messages_move_records_and_what_they_may_not_is_a_dead_letter(tmp_path: Path, fake: Any, queue: Any) -> None:
    door = queue_site.Door(tmp_path, fake.url, [queue], more=MOVING)
    hr = door.site.token("maria", roles=["hr"])
    first, second = (door.site.create("forms/moving", {"name": "Ann"}).data for _ in range(2))

    def send(record: Any, to: str, token: str, **more: Any) -> None:
        address = f"forms/moving/records/{record['id']}/move"
        queue.send(queue_site.envelope(address, "update", {"to": to, "comment": "by queue"}, **more), token=token)

    with door.opened():
        for _ in range(2):  # of one message that comes twice
            send(first, "approved", hr, id="k")
        send(second, "approved", door.site.token("rita", "forms/moving/records:read"))
        queue_site.until(queue.empty, "an empty queue")
    assert door.site.read(f"forms/moving/records/{first['id']}").data["status"] == "approved"
    assert door.site.read(f"forms/moving/records/{second['id']}").data["status"] == "new"
    [entry] = door.site.audit(action="update", outcome="ok")
    assert (entry["door"], entry["subject"], entry["comment"]) == ("sqs", "maria", "by queue")
    [dead] = queue.dead()
    assert queue_site.texts(dead)["x_error"] == "insufficient_scope"
