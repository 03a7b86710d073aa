"""The page for signing in, what it sends, and the way out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import unquote

from app import (
    ELSEWHERE,
    Answer,
    App,
    AppError,
    Asked,
    Exchange,
    Forbidden,
    Host,
    Route,
    TooLarge,
    Unauthenticated,
    compose,
    error_headers,
    plugin,
    see_other,
)

if TYPE_CHECKING:
    from plugins.html_forms import SentForm
    from plugins.unsent import Draft

html_forms, pages, unsent = plugin("html_forms"), plugin("pages"), plugin("unsent")

# ==== 1. SIGNIN ==================================================================================================
# By a link, and in the ways that app.toml names; what was typed into a form before goes through it unharmed. A pasted token
# and a password are taken here. Each other way is a Route of that kind, with a method `offered(exchange)` that returns what
# its part of the page, _by_KIND.tpl, shows as `way`; None if it has nothing to offer at the moment.
# uses: ERRORS VALUES RUNNERS ASSEMBLY plugin:html_forms plugin:passwords plugin:refusals plugin:throttle
#       plugin:unsent
# defines: Route:sign-in ways own_path known_browser SignIn

_LETTERS_OF_TOKENS = 65536
_KNOWN_COOKIE = "satchel_known_"  # of a browser in which somebody has signed in: others cannot lock it out
_KNOWN_S = 365 * 86_400
_LINK = re.compile(r"[A-Za-z0-9_-]{43}")  # the code of one, which no token is as short as


def ways(exchange: Exchange) -> list[SimpleNamespace]:
    """What the sign-in page offers, in the order of app.toml."""
    found = []
    for kind in pages.site_of(exchange).config.auth.sign_in:
        route: Any = exchange.door.routes.get(kind)
        facts = route.offered(exchange) if route else {}
        if facts is not None:
            found.append(SimpleNamespace(**facts, kind=kind))
    return found


def own_path(exchange: Exchange, after: str, default: str) -> str:
    """A path on this site to go on to; never another site."""
    dots = {".", ".."} & {unquote(part) for part in after.partition("?")[0].split("/")}
    inside = (after + "/").startswith(exchange.prefix + "/") and not after.startswith("//") and not dots
    return after if inside and re.fullmatch(r"/[!-\[\]-~]*", after) else default


def known_browser(exchange: Exchange) -> str:
    """Of a browser in which somebody has signed in: what this site gave it, a random text, a space and the name; or ""."""
    sealed = exchange.cookie_values(_KNOWN_COOKIE).partition(" ")[0]
    return (sealed and exchange.door.host.unseal("known browser", sealed)) or ""


class SignIn(Route):
    """/login, the links below it, and /logout."""

    kind = "sign-in"
    paths: ClassVar[Mapping[str, str]] = {"/login": "GET POST", "/login/<code>": "GET", "/logout": "POST"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        if exchange.method in ("GET", "HEAD"):
            return self._page(exchange, exchange.inner.partition("/")[2])
        if exchange.inner == "logout":
            return self._sign_out(exchange)
        return self._sign_in(exchange)

    def _dead_link(self, exchange: Exchange, problem: str) -> str:
        """What is the matter with a link (see Authority.link_problem), and how to get another one."""
        t, contact = exchange.locale.t, self.config.site.contact
        another = t("link.again") if "mail" in self.config.auth.sign_in else t("link.ask", who=contact or t("link.sender"))
        return f"{t(f'link.{problem}')} {another}"

    def _page(self, exchange: Exchange, code: str) -> Answer:
        after = own_path(exchange, exchange.query.get("after", ""), "")
        if code and (problem := pages.site_of(exchange).office.link_problem(code)):
            return self._shown(200, exchange, "", after, self._dead_link(exchange, problem))
        return self._shown(200, exchange, code, after)

    def _shown(self, status: int, exchange: Exchange, *facts: Any, headers: Sequence[tuple[str, str]] = ()) -> Answer:
        return cast(Answer, pages.page_answer(status, pages.pages_of(exchange).login(exchange, *facts), headers))

    def _sign_in(self, exchange: Exchange) -> Answer:
        if exchange.door.same_origin(exchange) is False or exchange.header("origin") == "null":
            raise Forbidden(ELSEWHERE)
        # A letter of a draft may be three bytes long here.
        form = html_forms.read_form(exchange, _LETTERS_OF_TOKENS + 3 * unsent.CARRIED_BYTES)
        code, token, after, subject = (form.text(name).strip() for name in ("code", "token", "after", "subject"))
        if "/login/" in token:  # the whole link, pasted
            code = token.rpartition("/login/")[2].partition("?")[0]
        if len(code) + len(token) + len(after) + len(subject) + len(form.text("password")) > _LETTERS_OF_TOKENS:
            raise TooLarge("a token has at most 64 kB")
        drafts = unsent.Drafts(exchange, pages.pages_of(exchange))
        draft = drafts.opened(form.text("draft"))
        subject = "" if code or token else compose(subject)
        try:
            if not (code or token or subject) and "subject" in form.fields:
                raise Unauthenticated("the name or the password is wrong")
            session, seconds = self._session(exchange, code or token or form.text("password"), subject)
        except (Unauthenticated, plugin("throttle").TooManyTries) as error:
            return self._failed(exchange, form, error, draft, after, code, subject)
        # It outlives the session: a form that is sent too late shows by it whose it was (has_ended).
        exchange.cookies.insert(0, exchange.door.cookie(exchange, session, seconds + 86_400))
        if draft:
            exchange.session, exchange.authorization = session, ""
            exchange.credential = f"Session {session}"
            return cast(Answer, drafts.filled(draft))
        return see_other(own_path(exchange, after, exchange.url("")))

    def _session(self, exchange: Exchange, secret: str, subject: str) -> tuple[str, int]:
        """A session id and its seconds. A browser in which somebody has signed in has tries of its own with a password."""
        site: App = pages.site_of(exchange)
        self._check_way(secret, subject)
        tries, known = [f"address {plugin('refusals').address_of(exchange.client)}"], ""
        if subject:
            known = known_browser(exchange)
            own = known.partition(" ")[2] == subject
            tries = [f"browser {known}"] if own else [*tries, f"subject {subject}"]
            known = known if own else f"{secrets.token_urlsafe(16)} {subject}"
        found: tuple[str, int]
        sign_in = partial(site.office.sign_in, secret, exchange.id, exchange.client, f"Session {exchange.session}")
        if subject:
            with site.office.throttle.reserved(*tries):
                found = sign_in(partial(plugin("passwords").proved, site.state, subject, secret))
        else:  # which is looked at all the same, however many have failed
            try:
                found = sign_in()
            except Unauthenticated:
                site.office.throttle.failed(*tries)
                raise
        if _LINK.fullmatch(secret):
            subject, known = site.authority.identify(f"Session {found[0]}").subject, known_browser(exchange)
            known = known if known.partition(" ")[2] == subject else f"{secrets.token_urlsafe(16)} {subject}"
        if known:
            sealed = site.seal("known browser", known)
            exchange.cookies.append(exchange.door.cookie(exchange, sealed, _KNOWN_S, _KNOWN_COOKIE))
        return found

    def _check_way(self, secret: str, subject: str) -> None:
        """Raises Unauthenticated if app.toml does not let people sign in so, whatever was sent."""
        if subject and "password" not in self.config.auth.sign_in:
            raise Unauthenticated("this site takes no password: sign in another way")
        if not subject and "token" not in self.config.auth.sign_in and not _LINK.fullmatch(secret):
            raise Unauthenticated("this site takes no token: sign in another way")

    def _failed(
        self, exchange: Exchange, form: SentForm, error: AppError, draft: Draft | None, after: str, code: str, subject: str
    ) -> Answer:
        if isinstance(error, Unauthenticated) and code:
            error.message = self._dead_link(exchange, pages.site_of(exchange).office.link_problem(code) or "used")
        if not exchange.page:
            raise error
        if draft:
            return cast(
                Answer,
                unsent.Drafts(exchange, pages.pages_of(exchange)).sign_in_first(draft, error, error.message),
            )
        words = exchange.locale.t.said(error.message)
        words = words[:1].upper() + words[1:]
        tried = next((way for way, name in (("token", "token"), ("password", "subject")) if name in form.fields), "")
        facts = "", own_path(exchange, after, ""), words, None, tried, subject
        return self._shown(error.status, exchange, *facts, headers=error_headers(error))

    def _sign_out(self, exchange: Exchange) -> Answer:
        exchange.door.check_origin(exchange, form=True)
        has_body = exchange.body.size_bytes
        form = html_forms.read_form(exchange, _LETTERS_OF_TOKENS) if has_body else html_forms.form_of(exchange)
        exchange.door.check_token(exchange, form.text("_token"))
        leads = self._leads_out(exchange)
        if exchange.session:
            pages.site_of(exchange).office.sign_out(f"Session {exchange.session}", exchange.id)
        exchange.cookies = exchange.door.ended_session(exchange)
        if not leads or not exchange.page:
            return see_other(exchange.url("login"))
        exchange.session = ""
        body = pages.pages_of(exchange).render(exchange, "signed_out.tpl", exchange.locale.t("login.out"), {"href": leads})
        # The policy of a page's forms lets none of them lead to another host.
        return cast(Answer, pages.page_answer(200, body, [("Refresh", f"0; url={leads}")]))

    def _leads_out(self, exchange: Exchange) -> str:
        """Where whoever is signed in goes on to sign out there, too; "" if nowhere."""
        row = pages.site_of(exchange).authority.living_session(exchange.session)
        route: Any = exchange.door.routes.get("proxy" if exchange.proxied else row.get("by", ""))
        return str(route.leaving(exchange, row)) if route else ""
