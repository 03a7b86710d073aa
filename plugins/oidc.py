"""[oidc]: signing in with the account of a company, by OpenID Connect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from app import (
    LOG,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Config,
    ConfigError,
    Exchange,
    Fault,
    Host,
    Json,
    NotFound,
    Record,
    Route,
    Setting,
    Unauthenticated,
    Unavailable,
    Value,
    check_text,
    compose,
    dump_json,
    error_headers,
    load_json,
    log_fault,
    plugin,
    see_other,
)  # fmt: skip

elsewhere = plugin("elsewhere")

# ==== 1. ISSUER ==================================================================================================
# What the issuer publishes of itself (OpenID Connect Discovery 1.0), and requests to it: bounded in time and size, few at a
# time, to the hosts that it names and to no other, never to a link-local address.
# uses: ERRORS VALUES plugin:web_client
# defines: MOST_BYTES issuer_fault Issuer

MOST_BYTES = 256 * 1024  # of an answer
_CONNECT_S, _ANSWER_S = 5.0, 10.0
_FRESH_S, _AWAY_S = 3600.0, 15.0  # how long it is remembered what it says of itself, and that it cannot be reached
_AT_ONCE, _SEAT_S = 3, 2.0  # requests of a process, and how long others wait: threads are left for everybody else
_FIRST_LOOK_S = 1.0  # for what a page waits if nothing is known yet
_WELL_KNOWN = "/.well-known/openid-configuration"
_AWAY = "cannot be reached at the moment: sign in another way, or try again in a minute"
_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")


def issuer_fault(url: str) -> str:
    """Why an URL cannot be that of an issuer or of what it offers, in words; "" if it can. Plain http is for tries on one
    machine: in the net anybody on the way could sign in as anybody."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not an URL"
    if not re.fullmatch(r"[!-~]+", url) or not host or parts.fragment or parts.username is not None:
        return 'must be an URL such as "https://login.example.org"'
    if parts.scheme != "https" and not (parts.scheme == "http" and _LOOPBACK.fullmatch(host)):
        return "must begin with https:// (http:// is for localhost alone)"
    return ""


class Issuer:
    """One issuer, as far as this process knows it. Thread-safe."""

    patience_s = _ANSWER_S  # for a whole answer

    def __init__(self, url: str, tls_ca: Path | None) -> None:
        self.url, self._tls_ca = url, tls_ca
        self._known: tuple[float, Value | Unavailable] = -_FRESH_S, {}  # since when
        self._learning, self._seats, self._lock = threading.Lock(), threading.BoundedSemaphore(_AT_ONCE), threading.Lock()
        self._clients: dict[str, Any] = {}  # by scheme, host and port
        self._looker: threading.Thread | None = None

    # -- what it says of itself

    def facts(self) -> Value:
        """Its endpoints and what it supports. Raises Unavailable if it cannot be reached, or says what cannot be right."""
        if (known := self._remembered()) is None:
            if not self._learning.acquire(timeout=_SEAT_S):
                raise Unavailable(_AWAY, hint=f"{self.url} has not said yet what it is")
            try:
                if (known := self._remembered()) is None:
                    known = self._learnt()
                    self._known = time.monotonic(), known
            finally:
                self._learning.release()
        if isinstance(known, Unavailable):
            raise Unavailable(known.message, hint=known.hint)
        return known

    def trouble(self) -> str:
        """Why nobody can sign in by it, as far as is known without waiting for it; "" if nothing is known against it."""
        if self._remembered() is None:
            with self._lock:
                if self._looker is None or not self._looker.is_alive():
                    self._looker = threading.Thread(target=self._look, daemon=True)
                    self._looker.start()
                looker = self._looker
            if self._known[1] == {}:
                looker.join(_FIRST_LOOK_S)
        known = self._known[1]
        return known.message if isinstance(known, Unavailable) else ""

    def _look(self) -> None:
        with suppress(Unavailable):
            self.facts()

    def _remembered(self) -> Value | Unavailable | None:
        since, known = self._known
        lasts_s = _AWAY_S if isinstance(known, Unavailable) else _FRESH_S
        return known if known and time.monotonic() - since < lasts_s else None

    def _learnt(self) -> Value | Unavailable:
        try:
            status, found = self.ask("GET", self.url.rstrip("/") + _WELL_KNOWN)
            if fault := self._fault(status, found):
                raise Unavailable(_AWAY, hint=f"{self.url}{_WELL_KNOWN}: {fault}")
        except Unavailable as error:
            LOG.error("nobody can sign in with %s: %s", self.url, error.hint or error.message)
            return error
        return cast(Value, found)

    def _fault(self, status: int, found: Json) -> str:
        """What is wrong with what it publishes; the issuer must be the very one that was asked (Discovery section 4.3)."""
        if status != 200 or not isinstance(found, dict):
            return f"status {status}" + (", and redirects are not followed" if 300 <= status < 400 else " or no JSON object")
        if found.get("issuer") != self.url:
            return f"it says that its issuer is {str(found.get('issuer'))[:200]!r}: write that one, or correct the other"
        for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "end_session_endpoint"):
            url = found.get(name, "")
            if not isinstance(url, str) or (url and issuer_fault(url)) or (not url and name[0] in "at"):
                return f"{name} {issuer_fault(url) if isinstance(url, str) else 'is no text'}"
        methods = found.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            return "code_challenge_methods_supported has no S256"
        return ""

    # -- requests

    def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, Json]:
        """Status and JSON of an answer, None if it is none. Raises Unavailable if there is none in time."""
        if not self._seats.acquire(timeout=_SEAT_S):
            raise Unavailable(_AWAY, hint=f"{_AT_ONCE} requests to {self.url} wait for their answers already")
        try:
            with _errors_of(url):
                return self._asked(method, url, headers or {}, body)
        finally:
            self._seats.release()

    def _asked(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, Json]:
        parts, found = urlsplit(url), bytearray()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        answer = self._client(url).exchange(method, target, {"Accept": "application/json", **headers}, body, whole=True)
        try:
            for chunk in answer.chunks():
                found += chunk
                if len(found) > MOST_BYTES:
                    raise Unavailable(_AWAY, hint=f"{url}: the answer has more than {MOST_BYTES:,} bytes")
        finally:
            answer.close()
        try:
            return answer.status, load_json(bytes(found))
        except BadRequest:
            return answer.status, None

    def _client(self, url: str) -> Any:
        parts = urlsplit(url)
        with self._lock:
            if (host := f"{parts.scheme}://{parts.netloc}") not in self._clients:
                self._clients[host] = plugin("web_client").HttpClient(
                    parts, connections=_AT_ONCE, connect_timeout_s=min(_CONNECT_S, self.patience_s),
                    silence_s=self.patience_s, answer_timeout_s=self.patience_s, tls_ca=self._tls_ca,
                )  # fmt: skip
                self._clients[host].open()
            return self._clients[host]


@contextmanager
def _errors_of(url: str) -> Iterator[None]:
    """What goes wrong in asking leaves as Unavailable, which says to the operator what it was."""
    from http.client import HTTPException

    try:
        yield
    except plugin("web_client").NotConnected as error:
        raise Unavailable(_AWAY, hint=f"{url}: {error.__cause__}") from error
    except (OSError, HTTPException) as error:
        raise Unavailable(_AWAY, hint=f"{url}: {type(error).__name__}: {error}") from error


# ==== 2. TOKENS ==================================================================================================
# From the code that the browser brings to what the issuer says of a person (OpenID Connect Core 1.0).
# uses: ERRORS VALUES ISSUER plugin:elsewhere
# defines: NOT_SO Flow read_id_token check_claims Client

_SKEW_S, _OLDEST_S = 60, 600  # how far clocks may differ, and how long ago an id_token may have been made
_LATEST_S = 600  # for signing in at the issuer
_LONGEST_HINT = 4096  # of an id_token that is kept, to sign out with
NOT_SO = "signing in with {} did not work: start again"


class Flow:
    """One way to the issuer and back. All that is sent there follows from one secret, which only the browser has that set
    out: so state and nonce are bound to it (Core sections 3.1.2.1 and 15.5.2), and so is the verifier (RFC 7636)."""

    def __init__(self, secret: str, after: str, at: float) -> None:
        self.secret, self.after, self.at = secret, after, at

    def _derived(self, purpose: str) -> str:
        made = hmac.digest(self.secret.encode(), purpose.encode(), "sha256")
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def read_id_token(text: Json) -> Value:
    """The claims of an id_token that came from the token endpoint itself. Raises Unauthenticated if it is none.

    Its signature need not be checked: the TLS connection to the token endpoint, whose host the issuer's own document names,
    says who made it (Core section 3.1.3.7, step 6). It has never been in the hands of a browser. No other id_token is taken.
    """
    if not isinstance(text, str) or text.count(".") != 2:
        raise _refused("the token endpoint gave no id_token that is signed and not encrypted")
    try:
        encoded = text.split(".")[1]
        claims = load_json(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, BadRequest) as error:
        raise _refused(f"the id_token is malformed: {error}") from error
    if not isinstance(claims, dict):
        raise _refused("the id_token holds no claims")
    return claims


def check_claims(claims: Value, issuer: str, client_id: str, nonce: str, now: float) -> None:
    """Raises Unauthenticated unless an id_token was made by this issuer, for this client, just now, for this browser (Core
    section 3.1.3.7)."""
    times: list[Any] = [claims.get(name) for name in ("exp", "iat", "nbf")]
    (exp, iat, nbf), audience = times, claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != issuer:
        raise _refused(f"iss is {claims.get('iss')!r}, which is another issuer")
    if client_id not in audiences:
        raise _refused(f"aud is {audience!r}, in which this client is not")
    if claims.get("azp", client_id if len(audiences) == 1 else None) != client_id:
        raise _refused(f"azp is {claims.get('azp')!r}, which is another client than this")
    if not _is_time(exp) or exp <= now - _SKEW_S:
        raise _refused(f"exp is {exp!r}, which is over: compare the clocks")
    if not _is_time(iat) or not now - _OLDEST_S < iat <= now + _SKEW_S:
        raise _refused(f"iat is {iat!r}, which is not now: compare the clocks")
    if nbf is not None and (not _is_time(nbf) or nbf > now + _SKEW_S):
        raise _refused(f"nbf is {nbf!r}, which is later: compare the clocks")
    if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
        raise _refused("the nonce is not that of this browser")
    if not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255:
        raise _refused("sub is not a text of 1 to 255 characters")


def _is_time(value: Json) -> Any:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _refused(hint: str) -> Unauthenticated:
    return Unauthenticated(NOT_SO, hint=hint[:500])


class Client:
    """This site, as the issuer knows it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options, self.issuer = options, Issuer(options["issuer"], options["tls_ca"])
        self.title = options["title"] or urlsplit(options["issuer"]).hostname or ""

    def address(self, flow: Flow, redirect_uri: str) -> str:
        """Where the browser goes to sign in. Raises Unavailable."""
        facts = self.issuer.facts()
        params = {
            "response_type": "code", "client_id": self.options["client_id"], "redirect_uri": redirect_uri,
            "scope": " ".join(self._scopes(facts)), "state": flow.state, "nonce": flow.nonce,
            "code_challenge": flow.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return _with_params(facts["authorization_endpoint"], params)

    def _scopes(self, facts: Value) -> list[str]:
        """Those that are usual, of which some issuers refuse what they do not know."""
        supported = facts.get("scopes_supported")
        wanted = dict.fromkeys(("email", "profile", "groups", self.options["groups"]))
        known = supported if isinstance(supported, list) else ["email", "profile"]
        return ["openid", *(one for one in wanted if one in known)]

    def leaving(self, id_token: str, back: str) -> str:
        """Where the browser goes to sign out (RP-Initiated Logout 1.0); "" if the issuer has no such place."""
        try:
            endpoint = str(self.issuer.facts().get("end_session_endpoint") or "")
        except Unavailable:
            return ""
        params = {"client_id": self.options["client_id"], "post_logout_redirect_uri": back}
        return endpoint and _with_params(endpoint, params | ({"id_token_hint": id_token} if id_token else {}))

    def claims(self, flow: Flow, code: str, redirect_uri: str, now: float) -> tuple[Value, str]:
        """What the issuer says of whoever brought the code, and its id_token. Raises Unauthenticated if that is not good,
        Unavailable if the issuer cannot be reached."""
        facts = self.issuer.facts()
        tokens = self._redeemed(facts, flow, code, redirect_uri)
        claims = read_id_token(tokens.get("id_token"))
        check_claims(claims, self.options["issuer"], self.options["client_id"], flow.nonce, now)
        wanted = {self.options["subject"], self.options["groups"], "email_verified"} - claims.keys()
        access = tokens.get("access_token")
        if wanted and facts.get("userinfo_endpoint") and isinstance(access, str) and re.fullmatch(r"[!-~]+", access):
            claims = {**self._userinfo(facts["userinfo_endpoint"], access, claims["sub"]), **claims}
        return claims, tokens["id_token"]

    def _redeemed(self, facts: Value, flow: Flow, code: str, redirect_uri: str) -> Value:
        """What the token endpoint gives for a code (Core section 3.1.3)."""
        options, endpoint = self.options, facts["token_endpoint"]
        sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        sent |= {"code_verifier": flow.verifier}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        methods = facts.get("token_endpoint_auth_methods_supported")
        if not options["client_secret"]:
            sent["client_id"] = options["client_id"]
        elif isinstance(methods, list) and "client_secret_basic" not in methods:
            sent |= {"client_id": options["client_id"], "client_secret": options["client_secret"]}
        else:  # RFC 6749 section 2.3.1
            pair = f"{quote_plus(options['client_id'])}:{quote_plus(options['client_secret'])}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, found = self.issuer.ask("POST", endpoint, headers, urlencode(sent).encode())
        if status >= 500 or status == 429:
            raise Unavailable(_AWAY, hint=f"{endpoint}: status {status}")
        if status != 200 or not isinstance(found, dict):
            told = [found.get("error"), found.get("error_description")] if isinstance(found, dict) else "no JSON object"
            raise _refused(f"{endpoint}: status {status}, {_quoted(told)}")
        return found

    def _userinfo(self, endpoint: str, access: str, sub: str) -> Value:
        """The claims that are not in the id_token (Core section 5.3), of the same person."""
        status, found = self.issuer.ask("GET", endpoint, {"Authorization": f"Bearer {access}"})
        if status != 200 or not isinstance(found, dict):
            raise _refused(f"{endpoint}: status {status} or no JSON object")
        if found.get("sub") != sub:
            raise _refused(f"{endpoint}: sub is {_quoted(found.get('sub'))}, which is another person's")
        return found

    def somebody(self, claims: Value) -> Any:
        """Who that is. Raises Unauthenticated if the claims do not say it."""
        claim, subject = self.options["subject"], claims.get(self.options["subject"])
        if not isinstance(subject, str) or not subject.strip() or check_text(subject):
            raise _refused(f"there is no {claim} among the claims {', '.join(sorted(claims))[:300]}: see [oidc] subject")
        if claim == "email" and "@" not in subject:  # which could be the name of somebody here
            raise _refused(f"the claim email is {_quoted(subject)}, which is no mail address")
        if claims.get("email_verified", True) not in (True, "true"):
            message = "your mail address is not confirmed with {}: confirm it there, and sign in again"
            raise Unauthenticated(message, hint=f"email_verified of {_quoted(subject)} is not true")
        groups = claims.get(self.options["groups"], [])
        groups = [groups] if isinstance(groups, str) else groups
        known = [one for one in groups if isinstance(one, str)] if isinstance(groups, list) else []
        name, email = (text if isinstance(text := claims.get(key), str) else "" for key in ("name", "email"))
        return elsewhere.Somebody(compose(subject.strip()), known[: elsewhere.MOST_GROUPS], name, email, claim == "email")


def _with_params(url: str, params: Mapping[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(params)}"


def _quoted(told: Json) -> str:
    """What somebody else says, for one line of the log."""
    return repr(told)[:300]


# ==== 3. ROUTE ===================================================================================================
# The way out and back, and what the sign-in page offers.
# uses: ERRORS VALUES CONFIG RUNNERS ASSEMBLY ISSUER TOKENS plugin:elsewhere plugin:pages plugin:refusals
#       plugin:sign_in plugin:throttle
# defines: Route:oidc faults Oidc

_FLOW_COOKIE = "satchel_oidc_"  # and some of the state, so that two tabs do not meet
_MOST_FLOWS = 4  # of a browser at once
_ELSEWHERE = "this sign-in was begun in another browser, has been used, or took too long: start again"


def faults(options: Mapping[str, Any], config: Config) -> Iterator[Fault]:
    """What is wrong with [oidc], whose settings are right one by one."""
    if not options["issuer"]:
        yield Fault("oidc.issuer", "configuration", "is missing: the URL of whoever signs people in")
    elif fault := issuer_fault(options["issuer"]):
        yield Fault("oidc.issuer", "configuration", fault)
    if not options["client_id"]:
        yield Fault("oidc.client_id", "configuration", "is missing: what the issuer calls this site")
    yield from elsewhere.group_faults("oidc", options, config)


class Oidc(Route):
    """/login/oidc, which leads to the issuer, and /login/oidc/back, to which it leads back."""

    kind = "oidc"
    settings = (
        Setting("issuer", "text", "", 'URL of whoever signs people in, such as "https://login.example.org"'),
        Setting("client_id", "text", "", "what the issuer calls this site"),
        Setting("client_secret", "secret", "", 'as "env:NAME" or "file:PATH"; "" if the issuer asks for none'),
        Setting("title", "text", "", 'what the button says: Sign in with …; "" = the issuer\'s host'),
        Setting("subject", "text", "email", "the claim that names the person"),
        Setting("groups", "text", "groups", "the claim whose values become roles"),
        elsewhere.ROLES,
        elsewhere.ADMIT,
        Setting("tls_ca", "file", "", "certificates in PEM to trust, if the issuer has none that everybody trusts"),
    )
    paths: ClassVar[Mapping[str, str]] = {"/login/oidc": "GET", "/login/oidc/back": "GET"}

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        super().__init__(options, config)
        self.client: Client | None = None
        if options.get("issuer"):
            if wrong := list(faults(options, config)):
                raise ConfigError("[oidc] is not right", faults=wrong)
            self.client = Client(options)

    def offered(self, exchange: Exchange) -> Mapping[str, Any] | None:
        """What the sign-in page shows."""
        if self.client is None:
            return None
        return {"title": self.client.title, "is_away": bool(self.client.issuer.trouble())}

    def leaving(self, exchange: Exchange, session: Value) -> str:
        """Where a browser goes on to whose session, that was begun here, has ended; "" if nowhere."""
        back = self._base(exchange) + "/login"
        return self.client.leaving(session.get("id_token", ""), back) if self.client else ""

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        if self.client is None:
            raise NotFound("nobody signs in by [oidc] here")
        flow = None
        try:
            if not exchange.inner.endswith("/back"):
                flow = Flow(secrets.token_urlsafe(32), self._going_to(exchange), site.clock())
                return self._begin(exchange, site, self.client, flow)
            flow = self._flow(exchange, site)
            return self._signed_in(exchange, site, self.client, flow)
        except (Unauthenticated, Unavailable, plugin("throttle").TooManyTries) as error:
            return self._failed(exchange, error, flow.after if flow else "")

    def _going_to(self, exchange: Exchange) -> str:
        return str(plugin("sign_in").own_path(exchange, exchange.query.get("after", "")[:1000], ""))

    def _begin(self, exchange: Exchange, site: App, client: Client, flow: Flow) -> Answer:
        address = client.address(flow, self._redirect_uri(exchange))
        if exchange.method == "GET":
            sealed = site.seal("oidc", dump_json([flow.secret, flow.after, int(flow.at)]))
            exchange.cookies += [
                *self._forgotten(exchange),
                exchange.door.cookie(exchange, sealed, _LATEST_S, _kind(flow.state)),
            ]
        return see_other(address)

    def _forgotten(self, exchange: Exchange) -> list[str]:
        """What ends the flows of this browser that are too many: those that were begun and left."""
        begun = re.findall(rf"(?:^|;)\s*({_FLOW_COOKIE}[\w-]{{8}}_)", exchange.header("cookie"))
        return [exchange.door.cookie(exchange, "", 0, kind) for kind in dict.fromkeys(begun[_MOST_FLOWS - 1 :])]

    def _flow(self, exchange: Exchange, site: App) -> Flow:
        """The flow that this browser has begun with this state. It ends here, whatever comes of it."""
        state = exchange.query.get("state", "")
        kind = _kind(state)
        sealed = exchange.cookie_values(kind).partition(" ")[0] if re.fullmatch(r"[\w-]{43}", state) else ""
        facts = load_json((sealed and site.unseal("oidc", sealed)) or "null")
        flow = Flow(*facts) if facts else None
        if flow is None or not hmac.compare_digest(flow.state, state) or not 0 <= site.clock() - flow.at < _LATEST_S:
            raise Unauthenticated(_ELSEWHERE, hint="there is no cookie that belongs to the state in the address")
        exchange.cookies.append(exchange.door.cookie(exchange, "", 0, kind))
        return flow

    def _signed_in(self, exchange: Exchange, site: App, client: Client, flow: Flow) -> Answer:
        """What the issuer sent back is redeemed, checked, and becomes a session."""
        redirect_uri, client_address = self._redirect_uri(exchange), plugin("refusals").address_of(exchange.client)

        def proved() -> Value:
            self._check_answer(exchange, client)
            claims, id_token = client.claims(flow, exchange.query["code"], redirect_uri, site.clock())
            row: Record = elsewhere.admitted(site, client.somebody(claims), self.kind, self.options, exchange.id)
            kept = {"by": self.kind} | ({"id_token": id_token} if len(id_token) <= _LONGEST_HINT else {})
            return {"jti": "", "subject": row.key, "beside": kept}

        with site.office.throttle.reserved(f"oidc {client_address}"):
            sign_in = site.office.sign_in
            session, seconds = sign_in("", exchange.id, exchange.client, f"Session {exchange.session}", proved)
        exchange.cookies.insert(0, exchange.door.cookie(exchange, session, seconds + 86_400))
        return see_other(plugin("sign_in").own_path(exchange, flow.after, exchange.url("")))

    def _check_answer(self, exchange: Exchange, client: Client) -> None:
        """Raises Unauthenticated if it is another issuer's answer (RFC 9207, against mix-up), an error, or has no code."""
        asked, facts = exchange.query, client.issuer.facts()
        is_promised = facts.get("authorization_response_iss_parameter_supported") is True
        if asked.get("iss", None if is_promised else client.options["issuer"]) != client.options["issuer"]:
            raise _refused(f"iss in the address is {_quoted(asked.get('iss'))}, which is another issuer")
        if error := asked.get("error"):
            told = f"the issuer says {_quoted(error)}: {_quoted(asked.get('error_description'))}"
            message = "you were not signed in with {}" if error == "access_denied" else NOT_SO
            raise Unauthenticated(message, hint=told)
        if not re.fullmatch(r"[ -~]{1,4096}", asked.get("code", "")):
            raise _refused("there is no code in the address")

    def _failed(self, exchange: Exchange, error: AppError, after: str) -> Answer:
        """The sign-in page, which says what happened; what the operator needs to know is in the log."""
        title = cast(Client, self.client).title
        if isinstance(error, Unavailable):
            error = Unavailable(f"{title} {error.message}", hint=error.hint)
            log_fault(exchange, error)
        else:
            error.message = error.message.replace("{}", title)
            if error.hint:
                LOG.warning("request %s: signing in with %s failed: %s", exchange.id, title, error.hint)
        if not exchange.page:
            raise error
        words, pages = exchange.locale.t.said(error.message), plugin("pages")
        words = f"{words[:1].upper()}{words[1:]}."
        body = pages.pages_of(exchange).login(exchange, "", after, words, None, self.kind)
        return cast(Answer, pages.page_answer(error.status, body, error_headers(error)))

    def _base(self, exchange: Exchange) -> str:
        return str(self.config.site.url or f"{exchange.scheme}://{exchange.host}{exchange.prefix}")

    def _redirect_uri(self, exchange: Exchange) -> str:
        return self._base(exchange) + "/login/oidc/back"


def _kind(state: str) -> str:
    return f"{_FLOW_COOKIE}{state[:8]}_"
