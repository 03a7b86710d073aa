"""The channel mail: notices go out by SMTP."""

from __future__ import annotations

import re
import ssl
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from app import (
    REQUIRED,
    AppError,
    Busy,
    Channel,
    ConfigError,
    Refused,
    Setting,
    Unavailable,
    Value,
    check_text,
    plugin,
)

# ==== 1. MAIL ====================================================================================================
# Each notice is one message (RFC 5322) to one mailbox. It is handed to one server by SMTP (RFC 5321), over TLS from the
# beginning (smtps) or by STARTTLS (smtp), and not at all if the server cannot prove that it is the one.
# uses: ERRORS VALUES CONFIG CONTRACTS plugin:addresses plugin:fields plugin:web_client
# defines: Channel:mail Relay Mailbox mailbox message Mail

_WHOLE_S = 120.0  # that one message may take, however slowly the server goes on
_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")  # dot-atom of RFC 5322 section 3.2.3
_FORGIVEN = ("NonASCIILocalPartDefect", "ObsoleteHeaderDefect")
_DEVIATING = frozenset("ßς\u200c\u200d")  # which the two standards of international names write in different ways


class Relay(NamedTuple):
    """The server that takes the mail, and as whom."""

    host: str
    port: int
    user: str
    tls: bool  # from the beginning

    @classmethod
    def of(cls, url: str) -> Relay:
        """Of smtp://USER@HOST:PORT or smtps://…. Raises ValueError if it is not one."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError('must be like "smtps://intranet@mail.example.org:465", or with smtp:// for STARTTLS')
        if parts.password is not None:
            raise ValueError("must not hold the password: it goes into password, as env:NAME or file:PATH")
        try:
            port = parts.port or (465 if parts.scheme == "smtps" else 587)
        except ValueError:
            raise ValueError("has a port that is no number from 1 to 65535") from None
        return cls(_ascii_domain(parts.hostname), port, unquote(parts.username or ""), parts.scheme == "smtps")

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        address = plugin("addresses").ip(self.host)
        return self.host == "localhost" or (address is not None and bool(address.is_loopback))


def _ascii_domain(name: str) -> str:
    """A domain as DNS has it (RFC 5890). ValueError if it cannot be one."""
    if name.isascii():
        return name
    if _DEVIATING & set(name):
        raise ValueError(f"names {name}, of which DNS may know two: write it as it is there, xn--…")
    return name.encode("idna").decode()


class Mailbox(NamedTuple):
    """An address to send to or from, with the name of whose it is; "" = none."""

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """As it stands in SMTP and in headers (addr-spec of RFC 5322 section 3.4.1)."""
        return f"{self.local if _ATOM.fullmatch(self.local) else _quoted(self.local)}@{self.domain}"

    def __str__(self) -> str:
        return f"{_quoted(self.name)} <{self.address}>" if self.name else self.address


def _quoted(text: str) -> str:
    """A quoted-string (RFC 5322 section 3.2.4)."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def mailbox(text: str) -> Mailbox:
    """One address, alone or as "Name <address>" (RFC 5322 section 3.4, RFC 6532). ValueError if it is not exactly one."""
    from email import policy
    from email.errors import MessageError

    if plugin("fields").FORMATS["email"](
        text
    ):  # as people have them; of which some are none by the letter, such as a..b@example.org
        return Mailbox("", *text.rsplit("@", 1))
    wrong = ValueError('must be one address, such as "ann@example.org" or "Ann Lee <ann@example.org>"')
    if _one_line(text) != text or len(text) > 1000 or check_text(text):
        raise wrong
    try:
        header: Any = policy.default.header_factory("to", text)
        found = header.addresses
        box = Mailbox(found[0].display_name, found[0].username, _ascii_domain(found[0].domain))
        box.address.encode()
    except (MessageError, LookupError, AttributeError, UnicodeError, TypeError):
        raise wrong from None
    # The parser of the standard library forgives much, of which some may be meant in another way.
    defects = [one for one in header.defects if type(one).__name__ not in _FORGIVEN]
    if len(found) != 1 or defects or not box.local or not re.fullmatch(r"[\w-]+(\.[\w-]+)*|\[[0-9A-Za-z.:]+\]", box.domain):
        raise wrong
    if len(box.local.encode()) > 64 or len(box.domain) > 255:  # RFC 5321 section 4.5.3.1
        raise wrong
    return box


def _one_line(text: str) -> str:
    """A text without line breaks and other control characters, as a header can hold it."""
    kept = "".join(" " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one for one in text)
    return " ".join(kept.split())


def message(notice: Value, sender: Mailbox, to: Mailbox) -> Any:
    """The notice as an EmailMessage with a text part, and one in HTML if there is one. Whatever a notice says, each of its
    parts stays in its place."""
    from datetime import UTC, datetime
    from email.message import EmailMessage
    from email.policy import SMTP, SMTPUTF8

    is_ascii = (sender.address + to.address).isascii()
    found = EmailMessage(policy=(SMTP if is_ascii else SMTPUTF8).clone(cte_type="7bit"))  # which every server takes
    found["From"], found["To"] = str(sender), str(to)
    found["Subject"] = _one_line(notice["title"])
    found["Date"] = datetime.fromtimestamp(notice["at"], UTC)
    found["Message-ID"] = f"<{notice['id']}@{sender.domain.strip('[]')}>"
    found["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5: no out-of-office note comes back
    found.set_content(notice["text"])
    if notice["html"]:
        found.add_alternative(notice["html"], subtype="html")
    return found


def _relay(raw: Any, folder: Path) -> str:
    if not isinstance(raw, str) or _one_line(raw) != raw or " " in raw:
        raise ValueError('must be an address such as "smtps://intranet@mail.example.org:465"')
    Relay.of(raw)
    return raw


def _sender(raw: Any, folder: Path) -> str:
    if not isinstance(raw, str):
        raise ValueError('must be a text in quotes, such as "Intranet <intranet@example.org>"')
    mailbox(raw)
    return raw


class Mail(Channel):
    """Mail by the server of an organisation or of a provider of mail."""

    kind = "mail"
    settings = (
        Setting(
            "smtp", "text", REQUIRED, "the server that takes the mail: smtps://USER@HOST:465, or smtp://USER@HOST:587 with "
            "STARTTLS", convert=_relay,
        ),
        Setting("password", "secret", "", "the password of that user"),
        Setting("from", "text", REQUIRED, 'whom it comes from, such as "Intranet <intranet@example.org>"', convert=_sender),
        Setting("timeout", "duration", "20s", "longest wait for each answer of the server"),
        Setting("plain", "boolean", False, "with smtp: without TLS, for a server on this machine or in your own network"),
        Setting("tls_ca", "file", "", "certificates to trust, in PEM; otherwise those of the system"),
    )  # fmt: skip

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        self.name, self.relay, self.sender = name, Relay.of(options["smtp"]), mailbox(options["from"])
        self._password, self._timeout_s = options["password"], float(options["timeout"])
        self._plain, self._tls_ca = options["plain"], options["tls_ca"]
        self._client: Any = None
        if self._plain and self.relay.tls:
            raise ConfigError("plain goes with smtp://, and smtps:// is TLS from the beginning: take one of them out")
        if bool(self._password) != bool(self.relay.user):
            missing = "password is missing for the user" if self.relay.user else "smtp names no user for the password"
            raise ConfigError(f"{missing}: give both or neither")
        if self._plain and self.relay.user and not self.relay.is_here:
            raise ConfigError("no password is sent over the network without TLS: take plain out, or the user and password")

    def send(self, notice: Value) -> None:
        try:
            to = mailbox(notice["to"])
            made = message(notice, self.sender, to).as_bytes()
        except ValueError as error:
            raise Refused("no mail can be made of it", hint=f"to {notice['to']!r}: {error}") from error
        with self._bounded():
            client = self._connected()
            with self._sending():
                options = ["SMTPUTF8"] if not (self.sender.address + to.address).isascii() else []
                client.sendmail(self.sender.address, [to.address], made, options)

    def check(self) -> None:
        with self._bounded():
            self._connected()

    def close(self) -> None:
        client, self._client = self._client, None
        if client:
            with suppress(Exception), self._watched(client):
                client.quit()
            client.close()

    # -- a connection, which is kept from one message to the next

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """What fails in the block fails as an AppError, and what may be in disorder is closed."""
        import smtplib

        try:
            yield
        except smtplib.SMTPResponseException as error:
            raise self._unavailable(f"{error.smtp_code} {_said(error.smtp_error)}") from error
        except (smtplib.SMTPException, OSError, UnicodeError, ValueError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error

    def _unavailable(self, why: str) -> Unavailable:
        self._drop()
        relay = self.relay
        return Unavailable(f"the mail server {relay.host}:{relay.port} cannot be used at the moment", hint=_one_line(why))

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client:
            client.close()

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """What the server says against one message is about that message alone, if it does not say goodbye (421)."""
        import smtplib

        try:
            with self._watched(self._client):
                yield
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise self._judged(code, said) from error
        except smtplib.SMTPDataError as error:
            raise self._judged(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise Refused("the mail server takes no such address", hint=str(error)) from error

    def _judged(self, code: int, said: bytes | str) -> AppError:
        """A refusal: for good, or for now, as greylisting is (RFC 5321 section 4.2.1)."""
        why = f"{self.relay.host} says {code} {_said(said)}"
        if code == 421:
            return self._unavailable(why)
        if 400 <= code < 500:
            return Busy("the mail server wants it later", hint=why)
        return Refused("the mail server refuses it", hint=why)

    def _connected(self) -> Any:
        if self._client is None:
            client = self._greeted()
            try:
                with self._watched(client):
                    if not (self.relay.tls or self._plain):
                        client.starttls(context=self._tls())
                        client.ehlo()
                    if self.relay.user:
                        client.login(self.relay.user, self._password)
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client

    def _greeted(self) -> Any:
        """A connection to the server, which has said who it is."""
        import smtplib

        relay = self.relay
        # It greets with the domain of the sender: the name of this machine may be none.
        options: dict[str, Any] = {"timeout": self._timeout_s, "local_hostname": self.sender.domain}
        options |= {"context": self._tls()} if relay.tls else {}
        cls: Any = smtplib.SMTP_SSL if relay.tls else smtplib.SMTP
        client = cls.__new__(cls)
        try:
            with self._watched(client):
                client.__init__(relay.host, relay.port, **options)
                client.ehlo_or_helo_if_needed()
        except BaseException:
            client.close()
            raise
        return client

    def _tls(self) -> ssl.SSLContext:
        """As the library makes them: certificates and names are checked."""
        return ssl.create_default_context(cafile=cast(Path | None, self._tls_ca) or None)

    @contextmanager
    def _watched(self, client: Any) -> Iterator[None]:
        """The block ends soon after _WHOLE_S at the latest: a server may answer a letter at a time."""

        def hang_up() -> None:
            with suppress(OSError, AttributeError):  # it has gone already
                plugin("web_client").hang_up(client.sock)

        timer = threading.Timer(_WHOLE_S, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _said(text: bytes | str) -> str:
    """What a server said, in one line that is not too long."""
    return _one_line(text.decode(errors="replace") if isinstance(text, bytes) else str(text))[:300]
