"""Records for the three example sites, as a team would have them after some weeks: for pictures and for looking at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Send = Callable[[str, Any], Any]  # posts to an address, and answers what was made

PEOPLE = {"ann": "Ann Bo", "bo": "Bo Chen", "ida": "Ida Dahl", "maria": "Maria Holm", "noor": "Noor Aziz"}
LEAVE = (
    ("ann", "03-01", "03-05", 5, "paid", "approved"), ("bo", "03-08", "03-09", 2, "paid", "approved"),
    ("ida", "03-15", "03-26", 10, "paid", "approved"), ("noor", "02-03", "02-04", 2, "sick", "approved"),
    ("ann", "05-10", "05-14", 5, "paid", "new"), ("bo", "06-01", "06-30", 22, "unpaid", "new"),
    ("maria", "04-01", "04-09", 5, "paid", "approved"), ("ida", "01-11", "01-13", 3, "sick", "approved"),
    ("noor", "07-05", "07-16", 10, "paid", "new"), ("bo", "12-20", "12-31", 8, "paid", "rejected"),
)  # fmt: skip
ROOMS = {"A01": "Office", "B12": "Workshop", "C03": "Store"}
THINGS = (
    ("LT-0100", "Lathe", "machine", "B12", 12499.5), ("LT-0101", "Drill", "tool", "B12", 249.5),
    ("LT-0102", "Ladder", "tool", "C03", 89.9), ("PC-0007", "Laptop", "computer", "A01", 980),
    ("PC-0008", "Laptop", "computer", "A01", 1100), ("LT-0104", "Band saw", "machine", "B12", 3200),
    ("FU-0001", "Bench", "furniture", "B12", 240), ("FU-0002", "Shelf", "furniture", "C03", 620),
)  # fmt: skip
PROJECTS = {"M1": "Moon base", "H2": "Harbour", "O3": "Office"}
EXPENSES = (
    ("ann", "Trip to the harbour", "H2", (("Train", 84.4), ("Hotel", 129.0)), "sent"),
    ("bo", "Screws and glue", "O3", (("Screws", 18.9), ("Glue", 7.35)), "sent"),
    ("ida", "Telescope", "M1", (("Telescope", 899.0),), "checked"),
    ("noor", "Taxi to the launch", "M1", (("Taxi", 46.2),), "paid"), ("ann", "Maps", "H2", (("Maps", 39.5),), "checked"),
)  # fmt: skip


def fill(name: str, send: Send) -> None:
    """Everything of one example."""
    for subject, full in PEOPLE.items():
        send("/admin/people", {"subject": subject, "name": full, "roles": ["staff"]})
    {"leave": _leave, "inventory": _inventory, "expenses": _expenses}[name](send)


def _moved(send: Send, form: str, made: Any, *states: str) -> None:
    for to in states:
        send(f"/forms/{form}/records/{made['id']}/move", {"to": to})


def _leave(send: Send) -> None:
    for who, first, last, days, kind, state in LEAVE:
        asked = {"who": who, "from_day": f"2027-{first}", "to_day": f"2027-{last}", "days": days, "kind": kind}
        made = send("/forms/leave", asked | ({"reason": "To study."} if kind == "unpaid" else {}))
        _moved(send, "leave", made, *([] if state == "new" else [state]))


def _inventory(send: Send) -> None:
    for code, title in ROOMS.items():
        send("/forms/rooms", {"code": code, "name": title})
    for tag, what, kind, room, price in THINGS:
        more = {"serial": f"{tag[-2:]}-77{tag[-3:]}", "holder": "ida"} if kind in ("machine", "computer") else {}
        send("/forms/things", {"tag": tag, "what": what, "kind": kind, "room": room, "price": price, **more})
    send("/forms/faults", {"thing": "LT-0104", "text": "The blade is loose"})


def _expenses(send: Send) -> None:
    for code, title in PROJECTS.items():
        send("/forms/projects", {"code": code, "name": title})
    for who, purpose, project, lines, state in EXPENSES:
        paid = [{"day": "2027-01-05", "what": what, "amount": amount} for what, amount in lines]
        made = send("/forms/expense", {"who": who, "purpose": purpose, "project": project, "way": "cash", "lines": paid})
        _moved(send, "expense", made, *{"sent": (), "checked": ("checked",), "paid": ("checked", "paid")}[state])
