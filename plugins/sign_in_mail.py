"""Signing in by a link that is mailed: the part of the sign-in page, and what it sends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from app import (
    ELSEWHERE,
    PEOPLE,
    Answer,
    App,
    AppError,
    Asked,
    Config,
    Exchange,
    Fault,
    Forbidden,
    Host,
    Invalid,
    NotFound,
    Route,
    compose,
    error_headers,
    is_key,
    json_answer,
    new_id,
    plugin,
    see_other,
)

html_forms = plugin("html_forms")
pages = plugin("pages")
sign_in = plugin("sign_in")
throttle = plugin("throttle")
unsent = plugin("unsent")

# ==== 1. MAIL ====================================================================================================
# Whoever gives an address gets the same answer after the same work: a row is put into the outbox, and the job that sends it
# finds out whether the address is somebody's.
# uses: ERRORS VALUES CONFIG RUNNERS AUTH ASSEMBLY plugin:fields plugin:html_forms plugin:mailed_links plugin:pages
#       plugin:refusals plugin:sign_in plugin:throttle plugin:unsent
# defines: Route:mail SignInMail

_WINDOW_S = 3600.0
_MOST = {"address": 5, "client": 30}  # links an hour, for one mail address and from one network address
_TOO_MANY = "too many sign-in links were asked for"
_LETTERS = 65536
_NO_ADDRESS = Fault("/email", "format", plugin("fields").FORMAT_HELP["email"])


class SignInMail(Route):
    """/login/mail."""

    kind = "mail"
    paths: ClassVar[Mapping[str, str]] = {"/login/mail": "GET POST"}

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        super().__init__(options, config)
        self.is_offered = self.kind in config.auth.sign_in
        # Made before the workers are forked, so that all of them count in one place.
        self._counts = {
            what: throttle.Throttle(time.time, _WINDOW_S, most, _TOO_MANY) for what, most in _MOST.items() if self.is_offered
        }

    def offered(self, exchange: Exchange) -> Mapping[str, Any]:
        """For the part of the sign-in page."""
        return {"email": html_forms.form_of(exchange).text("email")[:254]}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        if not self.is_offered:
            raise NotFound("this site sends no sign-in links by mail")
        if exchange.method == "POST":
            return self._ask(exchange, pages.site_of(exchange))
        after = sign_in.own_path(exchange, exchange.query.get("after", ""), "")
        if "sent" not in exchange.query:
            return see_other(exchange.url("login", after=after or None))
        return self._sent(exchange, after)

    def _ask(self, exchange: Exchange, site: App) -> Answer:
        if exchange.door.same_origin(exchange) is False or exchange.header("origin") == "null":
            raise Forbidden(ELSEWHERE)
        form = html_forms.read_form(exchange, _LETTERS + 3 * unsent.CARRIED_BYTES)
        email, drafts = (
            compose(form.text("email").strip()).lower(),
            unsent.Drafts(exchange, pages.pages_of(exchange)),
        )
        after, draft = sign_in.own_path(exchange, form.text("after"), ""), drafts.opened(form.text("draft"))
        site.health.ensure_open(site.state)
        try:
            if len(email) > 254 or not plugin("fields").FORMATS["email"](email):
                raise Invalid(exchange.locale.t("login_mail.no_address"), faults=[_NO_ADDRESS])
            self._count(exchange, site, email)
        except (Invalid, throttle.TooManyTries) as error:
            if not exchange.page:
                raise
            return self._again(exchange, error, after, drafts.kept(draft) if draft else None)
        now = site.clock()
        row = plugin("mailed_links").asked(email, after, (exchange.languages or "")[:200], new_id(now), now)
        site.state.commit([row])
        if not exchange.page:
            return json_answer(202, {"done": "if the address belongs to somebody here, a link is on its way to it"})
        if draft:
            return self._sent(exchange, after, drafts.kept(draft))
        return see_other(exchange.url("login/mail", sent="1", after=after or None))

    def _count(self, exchange: Exchange, site: App, email: str) -> None:
        """Raises TooManyTries after too many links in an hour. Others use up none of those of a browser in which the person
        with this address has signed in."""
        self._counts["client"].failed(plugin("refusals").address_of(exchange.client))
        known = sign_in.known_browser(exchange)
        subject = known.partition(" ")[2]
        row = site.state.get(PEOPLE, subject) if is_key(subject) else None
        is_own = row is not None and not row.damage and row.value.get("email") == email
        self._counts["address"].failed(f"browser {known}" if is_own else f"address {email}")

    def _again(self, exchange: Exchange, error: AppError, after: str, kept: SimpleNamespace | None) -> Answer:
        words = error.message[:1].upper() + error.message[1:]
        body = pages.pages_of(exchange).login(exchange, "", after, words, kept, "mail")
        return cast(Answer, pages.page_answer(error.status, body, error_headers(error)))

    def _sent(self, exchange: Exchange, after: str, kept: SimpleNamespace | None = None) -> Answer:
        title = exchange.locale.t("login_mail.sent_title")
        page = {"after": after, "kept": kept}
        return cast(Answer, pages.page_answer(200, pages.pages_of(exchange).render(exchange, "login_mail.tpl", title, page)))
