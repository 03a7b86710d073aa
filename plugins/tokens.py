"""The commands of the group `auth`: tokens, sign-in links and signing keys, for whoever stands at the machine."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import app
from app import Action, BadRequest, Config, NotFound, Site, Token, Unauthenticated, Value, nearest, rfc3339, split_path

# ==== 1. TOKENS ==================================================================================================
# Each command is one operation of the App with its audit entry, and prints what came of it.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH COMMANDS plugin:admin_access plugin:people
# defines: Command:auth_issue Command:auth_list Command:auth_show Command:auth_revoke Command:auth_check
#          Command:auth_link Command:auth_keys NO_FULL_ID token_row site_url
#          token_on_stdin check_grants Issue List Show Revoke Check Link Keys

NO_FULL_ID = "as auth list prints it, or the first characters of it"


def token_row(token: Token) -> Value:
    """A token as JSON gives it: times as RFC 3339, null while never."""
    row: Value = token._asdict() | {"grants": list(token.grants), "roles": list(token.roles)}
    del row["own"], row["suspended"]
    return row | {name: rfc3339(row[name]) if row[name] else None for name in row if name.endswith("_at")}


def site_url(config: Config, reached_at: str = "") -> str:
    """Where people reach the site: as `[site] url` says, otherwise where the one who asks has just reached it, otherwise as
    far as app.toml tells: behind a proxy it is the first host, at the usual port. A link that goes to somebody else than
    the one who asks, without a credential, is not made of `reached_at`: anybody may send a Host header."""
    if config.site.url or reached_at:
        return config.site.url or reached_at
    http_ = config.http
    named = [host for host in http_.hosts if host != "*"]
    if named and (http_.trusted_proxies or http_.bind.startswith("unix:")):
        return f"https://{named[0]}{config.site.prefix}"
    host, _, port = http_.bind.rpartition(":")
    if named or host in ("", "0.0.0.0", "[::]") or http_.bind.startswith("unix:"):  # noqa: S104 (compared, not bound)
        host = named[0] if named else "localhost"
    at_port = "" if http_.bind.startswith("unix:") else f":{port}"
    return f"{'https' if http_.tls_cert else 'http'}://{host}{at_port}{config.site.prefix}"


def token_on_stdin(site: Site) -> str:
    """The token on the first line of standard input; asked for on a terminal. Raises Unauthenticated if there is none."""
    if sys.stdin.isatty():
        site.say("Paste the token and press Enter:")
    text = sys.stdin.buffer.readline().decode(errors="replace").strip()
    if not text:
        raise Unauthenticated(
            "the token is malformed: standard input is empty, and the token is read from it, as in … < token.txt"
        )
    return text.removeprefix("Bearer ")


def _with_state(site: Site) -> AbstractContextManager[Any]:
    """The App, of which the provider of state alone is open: tokens need no other, and no table until it is written to."""
    return site.opened(only_state=True)


def check_grants(args: argparse.Namespace, site: Any) -> None:
    """A token that can do nothing is a mistake, unless --force says that it will be able to."""
    try:
        site.inspection.expect_declared([] if args.force else args.grant)
    except NotFound as error:
        raise BadRequest(f"{error.message} (--force issues it all the same)") from error


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    """The options of a token to be issued."""
    parser.add_argument("--subject", required=True, metavar="S", help="whose token it is")
    parser.add_argument("--grant", action="append", default=[], metavar="G", help="such as forms/leave:create; repeatable")
    parser.add_argument("--role", action="append", default=[], metavar="R", help="a role of app.toml; repeatable")
    parser.add_argument("--force", action="store_true", help="accept grants that allow nothing in app.toml")
    expires = app.option_type("duration")
    parser.add_argument("--expires", type=expires, default=30 * 86400, metavar="30d", help="default 30d")
    parser.add_argument("--label", default="", metavar="L", help="what it is for")


class Issue(app.Command):
    """Prints a new token and nothing else."""

    kind = "auth issue"
    help = "print a new token"
    epilog = """\
examples:
  app.pyz auth issue --subject ann --role staff
  app.pyz auth issue --subject robot --grant forms/requests:create --grant views/requests:read --expires 90d"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_wishes(parser)
        parser.add_argument("--format", choices=["jwt", "short", "json"], default="jwt", help="default jwt")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with _with_state(site) as opened:
            check_grants(args, opened)
            token = opened.office.issue(site.operator(), args.subject, args.grant, args.role, args.expires, args.label)
            secret = opened.authority.short(token) if args.format == "short" else opened.authority.jwt(token)
        if args.format == "json" or args.json:
            site.print_json(token_row(token) | {"token": secret})
        else:
            site.print(secret)
        return 0


class List(app.Command):
    """The tokens, newest first; without --all only those that still work."""

    kind = "auth list"
    help = "the tokens"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="expired and revoked ones too")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with _with_state(site) as opened:
            now = opened.clock()
            tokens = [one for one in opened.authority.tokens() if args.all or _works(one, now)]
        if args.json:
            site.print_json([token_row(token) for token in tokens])
        else:
            site.print(*map(_line, tokens))
        return 0


def _works(token: Token, now: float) -> bool:
    return not token.revoked_at and token.expires_at > now


def _line(token: Token) -> str:
    state = "revoked" if token.revoked_at else f"until {rfc3339(token.expires_at)[:10]}"
    label = f"  ({token.label})" if token.label else ""
    return f"{token.jti}  {state}  {token.subject}  {' '.join([*token.roles, *token.grants])}{label}"


class Show(app.Command):
    """One token's row, never the token itself."""

    kind = "auth show"
    help = "one token's facts"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", metavar="ID", help=NO_FULL_ID)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with _with_state(site) as opened:
            row = token_row(opened.authority.token(args.id))
        if args.json:
            site.print_json(row)
        for name, value in {} if args.json else row.items():
            text = " ".join(value) if isinstance(value, list) else value
            site.print(f"{name + ':':12} {'-' if text is None or text == '' else text}")
        return 0


class Revoke(app.Command):
    """Revokes tokens, and with them their sessions; all ids are looked up before the first is revoked."""

    kind = "auth revoke"
    help = "revoke tokens"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("id", nargs="+", metavar="ID", help=NO_FULL_ID)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with _with_state(site) as opened:
            tokens = [opened.authority.token(one) for one in args.id]
            opened.office.revoke(site.operator(), tokens)
        if args.json:
            site.print_json({"revoked": [token.jti for token in tokens]})
        else:
            site.say(*(f"revoked {token.jti} of {token.subject}" for token in tokens))
        return 0


class Check(app.Command):
    """Says who a token on standard input is, and whether and by which grant it may do something; exit code 3 if it may
    not."""

    kind = "auth check"
    help = "say what the token on standard input may do"
    epilog = """\
The token is read from standard input, so that it does not stand in the shell's history:
  app.pyz auth check < token.txt
  app.pyz auth check forms/requests create < token.txt"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("resource", nargs="?", metavar="RESOURCE", help="such as forms/leave")
        action = "read, create, update or delete"
        parser.add_argument("action", nargs="?", choices=[*Action], metavar="ACTION", help=action)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        if bool(args.resource) != bool(args.action):
            raise BadRequest("give both RESOURCE and ACTION, or neither")
        address = ""
        with _with_state(site) as opened:
            caller = opened.authority.identify(f"Bearer {token_on_stdin(site)}")
            if args.resource:
                address = "/".join(quote(part, safe="") for part in split_path(args.resource.strip("/")))
                caller.require(Action(args.action), address)
                opened.inspection.expect_declared([f"{address}:{args.action}"])
            found = app.plugin("admin_access").reasons(caller, site.config, Action(args.action), address) if address else []
        roles, grants = list(caller.roles), list(map(str, caller.grants))
        if args.json:
            facts = {"subject": caller.subject, "token_id": caller.token_id, "roles": roles, "grants": grants}
            by = [{"grant": str(one.grant), "role": one.role} for one in found]
            site.print_json(facts | ({"allowed": True, "by": by} if address else {}))
        else:
            lines = [f"{address} {args.action}: {one}" for one in found]
            site.print(f"{caller.subject}: {' '.join([*roles, *grants])}", *lines)
        return 0


class Link(app.Command):
    """Prints a single-use sign-in link: for a person, or else for a new token (--grant, --role) or the subject's newest."""

    kind = "auth link"
    help = "print a single-use sign-in link"
    epilog = """\
It signs a person in as himself. For anybody else it opens a session of the grants and roles given, as a token would:
  app.pyz auth link --subject ann
  app.pyz auth link --subject kiosk --grant views/menu:read"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_wishes(parser)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with _with_state(site) as opened:
            check_grants(args, opened)
            is_person = app.plugin("people").standing(opened.state, args.subject) is not None
            if is_person and (args.grant or args.role):
                raise BadRequest(
                    f"{args.subject} is one of the people, whose rights are those of admin/people: leave --grant and --role "
                    "out, or issue a token with auth issue"
                )
            whose = args.subject if is_person else self._token(args, site, opened)
            code = opened.office.link(site.operator(), whose)
        link = f"{site_url(site.config)}/login/{code}"
        if args.json:
            site.print_json({"link": link, "code": code, "subject": args.subject, "expires_s": 600})
        else:
            site.print(link)
        return 0

    def _token(self, args: argparse.Namespace, site: Site, opened: Any) -> Token:
        """The token that the link signs in with; NotFound if the subject has none and none is asked for."""
        if args.grant or args.role:
            label = args.label or "sign-in link"
            made: Token = opened.office.issue(site.operator(), args.subject, args.grant, args.role, args.expires, label)
            return made
        tokens, now = list(opened.authority.tokens()), opened.clock()
        for token in tokens:
            if token.subject == args.subject and _works(token, now):
                found: Token = token
                return found
        near = nearest(args.subject, {token.subject for token in tokens})
        raise NotFound(f"{args.subject} has no valid token: give --grant or --role, or issue one first{near}")


class Keys(app.Command):
    """The signing keys by name, newest first, after making a fresh one or forgetting one."""

    kind = "auth keys"
    help = "list the signing keys, add a new one, or retire one"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        verbs = ["list", "rotate", "retire"]
        parser.add_argument("verb", nargs="?", choices=verbs, default="list", metavar=" | ".join(verbs), help="default list")
        parser.add_argument("kid", nargs="?", metavar="KID", help="retire: the key, whose tokens are refused from then on")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        if (args.verb == "retire") != bool(args.kid):
            raise BadRequest("give a KID with retire, and with nothing else")
        with _with_state(site) as opened:
            if args.verb == "rotate":
                opened.office.rotate_key(site.operator())
            elif args.verb == "retire":
                opened.office.retire_key(site.operator(), args.kid)
            keys = [{"kid": key.kid, "created_at": rfc3339(key.created_at)} for key in opened.authority.keys.keys]
        if args.json:
            site.print_json(keys)
        for number, key in enumerate(() if args.json else keys):
            signs = "  signs" if number == 0 else ""
            site.print(f"{key['kid']}  since {key['created_at'][:10]}{signs}")
        return 0
