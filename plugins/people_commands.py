"""The commands of the group `auth` that speak of people: inviting them, and what may be done with one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import app
from app import Action, BadRequest, Json, Request, Response, Site, Value, dump_json, how_many, new_id, parse_grant

# ==== 1. PEOPLE ==================================================================================================
# Each is one request for admin/people, as whoever stands at the machine.
# uses: ERRORS VALUES CONTRACTS AUTH COMMANDS plugin:personal_data plugin:tokens
# defines: Command:auth_invite Command:auth_people Invite People

_VERBS = ("list", "show", "link", "suspend", "resume", "sign-out", "remove", "export", "erase")


@contextmanager
def _asking(site: Site) -> Iterator[Any]:
    """The App, of which the provider of state alone is open, and what asks it for something of admin/people."""
    with site.opened(only_state=True) as opened:
        operator = site.operator()._replace(grants=(parse_grant("**:*"),))

        def ask(action: Action, *path: str, data: Json = None, partial: bool = False, whole: bool = False) -> Response:
            request = Request(
                id=new_id(opened.clock()), action=action, resource="admin/people", path=path, door="cli", data=data,
                partial=partial, whole=whole,
            )  # fmt: skip
            return opened.flow.handle_as(operator, request)

        yield opened, ask


def _shown(response: Response, args: argparse.Namespace, site: Site) -> int:
    """The link that stands in an answer once."""
    once = response.page["once"]
    if args.json:
        site.print_json(response.data | once)
        return 0
    site.print(once["link"])
    if "mailed_to" in once:
        site.say(f"It goes to {once['mailed_to']} by mail, too, while a server runs.")
    return 0


class Invite(app.Command):
    """Prints a link with which somebody signs in once and belongs to the people of the site from then on."""

    kind = "auth invite"
    help = "invite somebody: print a sign-in link that is good for seven days"
    epilog = """\
examples:
  app.pyz auth invite --subject ann --name "Ann Lee" --role staff
  app.pyz auth invite --subject bo --email bo@example.org --grant forms/requests:create"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--subject", required=True, metavar="S", help="the name to sign in with, such as ann")
        parser.add_argument("--name", default="", metavar="N", help="the full name")
        parser.add_argument("--email", default="", metavar="E", help="the mail address")
        parser.add_argument("--role", action="append", default=[], metavar="R", help="a role of app.toml; repeatable")
        parser.add_argument("--grant", action="append", default=[], metavar="G", help="a grant; repeatable")
        parser.add_argument("--force", action="store_true", help="accept grants that allow nothing in app.toml")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        given = {"name": args.name, "email": args.email, "roles": args.role, "grants": args.grant}
        data = {"subject": args.subject} | {name: value for name, value in given.items() if value}
        with _asking(site) as (opened, ask):
            app.plugin("tokens").check_grants(args, opened)
            response = ask(Action.CREATE, data=data)
        return _shown(response, args, site)


class People(app.Command):
    """The people of the site; with a verb, one of them: shown, suspended, let in again, signed out everywhere, removed."""

    kind = "auth people"
    help = "the people of the site"
    epilog = """\
examples:
  app.pyz auth people
  app.pyz auth people show ann
  app.pyz auth people suspend ann      and resume ann, to let ann in again
  app.pyz auth people link ann         a new sign-in link
  app.pyz auth people export ann       everything that the site holds of ann, one JSON object a line
  app.pyz auth people erase ann        take all of it away: the person, records with files, entries of the audit trail"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("verb", nargs="?", choices=_VERBS, default="list", metavar="VERB", help=" | ".join(_VERBS))
        parser.add_argument("subject", nargs="?", metavar="S", help="who is meant")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        if (args.verb == "list") != (args.subject is None):
            raise BadRequest(f"name the person: auth people {args.verb} S" if args.subject is None else "list names nobody")
        if args.verb in ("export", "erase"):
            return self._data(args, site)
        with _asking(site) as (_, ask):
            if args.verb == "list":
                return self._list(args, site, ask)
            response = self._done(args, ask)
        if args.verb == "link":
            return _shown(response, args, site)
        if args.json:
            site.print_json(response.data or {"removed": args.subject})
        elif args.verb == "show":
            site.print(*(f"{name + ':':12} {_text(value)}" for name, value in response.data.items()))
        else:
            site.say(f"{args.subject}: {_DONE[args.verb]}")
        return 0

    def _data(self, args: argparse.Namespace, site: Site) -> int:
        """What the site holds of a person goes out, or away."""
        with site.opened() as opened:
            if args.verb == "export":
                for one in app.plugin("personal_data").exported(opened, args.subject):
                    site.print(dump_json(one))
                return 0
            counts = app.plugin("personal_data").erase(opened, args.subject, site.operator())
        if args.json:
            site.print_json({"erased": args.subject} | counts)
        else:
            entries = f"{counts['entries']:,} {'entry' if counts['entries'] == 1 else 'entries'}"
            gone = f"{how_many(counts['records'], 'record')} and {entries} of the audit trail"
            site.say(f"{args.subject}: erased, with {gone}. Older backups have them still.")
        return 0

    def _list(self, args: argparse.Namespace, site: Site, ask: Any) -> int:
        rows = list(ask(Action.READ, whole=True).table.rows)
        if args.json:
            site.print_json(rows)
        else:
            site.print(*map(_line, rows))
        return 0

    def _done(self, args: argparse.Namespace, ask: Any) -> Response:
        match args.verb:
            case "show":
                response = ask(Action.READ, args.subject)
            case "remove":
                response = ask(Action.DELETE, args.subject)
            case "suspend" | "resume":
                response = ask(Action.UPDATE, args.subject, data={"suspended": args.verb == "suspend"}, partial=True)
            case _:
                response = ask(Action.CREATE, args.subject, args.verb)
        return cast(Response, response)


_DONE: Mapping[str, str] = {
    "suspend": "suspended, and signed out everywhere", "resume": "let in again", "sign-out": "signed out everywhere",
    "remove": "removed, and signed out everywhere",
}  # fmt: skip


def _text(value: Json) -> str:
    return " ".join(value) if isinstance(value, list) else "-" if value in (None, "") else str(value)


def _line(row: Value) -> str:
    name = f"  {row['name']}" if row["name"] else ""
    state = "  (suspended)" if row["suspended"] else ""
    return f"{row['subject']}{name}  {' '.join([*row['roles'], *row['grants']])}{state}"
