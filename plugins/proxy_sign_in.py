"""[proxy]: a proxy in front of this site signs people in, and says in headers who they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple, cast

from app import (
    Answer,
    App,
    AppError,
    Asked,
    Config,
    ConfigError,
    Exchange,
    Fault,
    Host,
    Route,
    Setting,
    Unauthenticated,
    check_text,
    compose,
    plugin,
    see_other,
)  # fmt: skip

elsewhere = plugin("elsewhere")

# ==== 1. PROXY ===================================================================================================
# The headers count on every request, of programs too, and only if they come from a proxy that app.toml trusts. What they
# say becomes a credential that is sealed here, so that no request can bring one along by itself.
# uses: ERRORS VALUES CONFIG RUNNERS ASSEMBLY plugin:addresses plugin:elsewhere plugin:pages plugin:sign_in
# defines: Route:proxy faults ProxySignIn

_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_MOST_KNOWN = 1000


class _Known(NamedTuple):
    """Who is meant by headers, while nothing is committed."""

    mark: Any
    subject: str  # of the person; "" if nobody here is meant


def faults(options: Mapping[str, Any], config: Config) -> Iterator[Fault]:
    """What is wrong with [proxy], whose settings are right one by one."""
    trusted = config.http.trusted_proxies
    if not trusted:
        detail = (
            'is missing: name the address of the proxy of [proxy], such as ["127.0.0.1"]; otherwise anybody could send '
            f"{options['subject']} and be whoever he likes"
        )
        yield Fault("http.trusted_proxies", "configuration", detail)
    if any(network.prefixlen == 0 for network in plugin("addresses").parsed(trusted)):
        yield Fault("http.trusted_proxies", "configuration", "trusts everybody: name the address of the proxy of [proxy]")
    for name in ("subject", "groups"):
        if not _HEADER.fullmatch(options[name]):
            yield Fault(f"proxy.{name}", "configuration", 'must be the name of a header, such as "Remote-User"')
    if options["sign_out"] and not re.fullmatch(r"(https?:/)?/[!-~]+", options["sign_out"]):
        yield Fault("proxy.sign_out", "configuration", 'must be an address such as "/oauth2/sign_out" or "https://…"')
    yield from elsewhere.group_faults("proxy", options, config)


class ProxySignIn(Route):
    """Whom the proxy has signed in; and /login/proxy, which leads on whoever is."""

    kind = "proxy"
    settings = (
        Setting("subject", "text", "Remote-User", "the header that names the person"),
        Setting("groups", "text", "Remote-Groups", "the header whose values, between commas, become roles"),
        elsewhere.ROLES,
        elsewhere.ADMIT,
        Setting("sign_out", "text", "", 'where the proxy signs people out, such as "/oauth2/sign_out"'),
    )
    paths: ClassVar[Mapping[str, str]] = {"/login/proxy": "GET"}

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        super().__init__(options, config)
        self.is_declared = "proxy" in config.raw
        self._known: dict[tuple[str, str], _Known] = {}
        if self.is_declared and (wrong := list(faults(options, config))):
            raise ConfigError("[proxy] is not right", faults=wrong)

    def credential(self, exchange: Exchange) -> str:
        """What stands for whom the proxy names; "" if it names nobody, or the request is no proxy's. A token that a program
        sends counts before it, and a session only if nobody here is named. It never raises."""
        if not self.is_declared or not exchange.by_proxy or exchange.authorization.lower().startswith("bearer"):
            return ""
        if not (text := exchange.header(self.options["subject"]).strip()):
            return ""
        site, subject = plugin("pages").site_of(exchange), _decoded(text)
        person = self._person(exchange, site, subject)
        if not person and exchange.session:
            return ""
        return f"Proxy {site.seal('proxy', person or subject)}"

    def _person(self, exchange: Exchange, site: App, subject: str) -> str:
        """The subject of the person who is meant, whose row has the roles of the groups; "" if nobody is."""
        if not subject:
            return ""
        groups = exchange.header(self.options["groups"])
        try:
            site.health.ensure_open(site.state)
            mark, known = site.state.mark(), self._known.get((subject, groups))
            if known and mark is not None and known.mark == mark:
                return known.subject
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            named = [one.strip() for one in _decoded_list(groups)][: elsewhere.MOST_GROUPS]
            who, person = elsewhere.Somebody(subject, named, by_email="@" in subject), ""
            with suppress(Unauthenticated):
                person = elsewhere.admitted(site, who, self.kind, self.options, exchange.id).key
            self._known[subject, groups] = _Known(site.state.mark(), person)
        except AppError:  # the state provider is away, which whoever looks at the credential will find
            return subject
        return person

    def offered(self, exchange: Exchange) -> Mapping[str, Any]:
        """What the sign-in page shows: who somebody is for the proxy, and whether he is known here."""
        name = _decoded(exchange.header(self.options["subject"]).strip()) if exchange.by_proxy else ""
        is_known = False
        if name and exchange.proxied:
            with suppress(AppError):
                is_known = bool(plugin("pages").site_of(exchange).authority.identify(exchange.proxied).subject)
        return {"name": name, "is_known": is_known}

    def leaving(self, exchange: Exchange, session: Mapping[str, Any]) -> str:
        """Where the proxy signs somebody out; "" if app.toml does not say it."""
        return str(self.options["sign_out"])

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        after = self._going_to(exchange)
        if self.offered(exchange)["is_known"]:
            return see_other(after or exchange.url(""))
        return see_other(exchange.url("login", after=after or None))

    def _going_to(self, exchange: Exchange) -> str:
        return str(plugin("sign_in").own_path(exchange, exchange.query.get("after", ""), ""))


def _decoded(text: str) -> str:
    """A header's value as text; "" if it is not one name. A comma says that the header came twice: one of them may be what
    somebody sent past the proxy."""
    try:
        text = text.encode("latin-1").decode()
    except UnicodeError:
        return ""
    return "" if "," in text or check_text(text) else compose(text)


def _decoded_list(text: str) -> list[str]:
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode()
    return [one for one in text.split(",") if one.strip()]
