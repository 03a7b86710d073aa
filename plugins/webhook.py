"""The channel webhook: notices go to one URL, signed as Standard Webhooks are (standardwebhooks.com, version 1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app import (
    CONVERTERS,
    REQUIRED,
    AppError,
    Busy,
    Channel,
    Refused,
    Setting,
    Unavailable,
    Value,
    __version__,
    dump_json,
    plugin,
    rfc3339,
)

# ==== 1. WEBHOOK =================================================================================================
# Each notice is one POST of JSON with the headers webhook-id, -timestamp and -signature. Only an answer of 2xx takes it; no
# redirect is followed, and nobody is asked at a link-local address.
# uses: ERRORS VALUES CONFIG CONTRACTS plugin:web_client
# defines: Channel:webhook TYPE payload signature Webhook

TYPE = "notice"  # of one that is about no record
_PREFIX, _KEY_BYTES = "whsec_", (24, 64)  # of a secret
_MOST_ANSWER_BYTES = 65_536  # that are read, so that the connection can be kept
_LONGEST_REST_S = 86_400.0


def payload(notice: Value) -> Value:
    """What programs are told: {"type", "timestamp", "data"}."""
    data = notice.get("data") or {name: notice[name] for name in ("title", "text", "to")}
    return {"type": notice.get("type") or TYPE, "timestamp": rfc3339(notice["at"]), "data": data}


def signature(keys: list[bytes], id_: str, at_s: int, body: bytes) -> str:
    """The signatures by each key, the first one first, separated by spaces."""
    signed = f"{id_}.{at_s}.".encode() + body
    made = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in made)


def _url(raw: Any, folder: Path) -> str:
    text = str(CONVERTERS["text"](raw, folder))
    url = str(CONVERTERS["secret"](text, folder)) if text.startswith(("env:", "file:")) else text
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or re.search(r"[^!-~]", url) or parts.fragment:
        raise ValueError('must be the URL of the receiver, or "env:NAME" or "file:PATH" that holds it')
    if parts.username is not None:
        raise ValueError("must not hold a user or a password: the signature proves who sends")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is no number from 1 to 65535") from None
    return url


def _keys(raw: Any, folder: Path) -> list[bytes]:
    """The keys of a secret; several are separated by spaces, while one takes the place of another."""
    found = []
    for text in str(CONVERTERS["secret"](raw, folder)).split():
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError('must hold "whsec_" and a key in base64, as the receiver has it') from None
        if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
            raise ValueError(f"must hold a key of 24 to 64 bytes behind whsec_, and this one has {len(key)}")
        found.append(key)
    return found


class Webhook(Channel):
    """POST to the URL of a program."""

    kind = "webhook"
    addressed = False
    settings = (
        Setting("url", "text", REQUIRED, "where notices are sent to; env:NAME or file:PATH if it is a secret", convert=_url),
        Setting(
            "secret", "secret", REQUIRED, 'the signing key as "whsec_…"; two, with a space between them, '
            "while it is changed", convert=_keys,
        ),
        Setting("timeout", "duration", "20s", "longest wait for the whole answer"),
        Setting("tls_ca", "file", "", "certificates to trust, in PEM; otherwise those of the system"),
    )  # fmt: skip

    def __init__(self, name: str, options: Mapping[str, Any], folder: Path) -> None:
        self.name, self._url, self._keys = name, urlsplit(options["url"]), options["secret"]
        timeout_s = float(options["timeout"])
        self._client = plugin("web_client").HttpClient(
            self._url, connections=1, connect_timeout_s=timeout_s, silence_s=timeout_s, answer_timeout_s=timeout_s,
            tls_ca=options["tls_ca"],
        )  # fmt: skip

    @property
    def _host(self) -> str:
        return str(self._url.netloc)

    def send(self, notice: Value) -> None:
        body, at_s = dump_json(payload(notice)).encode(), int(time.time())
        headers = {
            "Content-Type": "application/json", "User-Agent": f"satchel/{__version__}", "webhook-id": notice["id"],
            "webhook-timestamp": str(at_s), "webhook-signature": signature(self._keys, notice["id"], at_s, body),
        }  # fmt: skip
        status, rest_s = self._asked("POST", headers, body)
        if error := self._judged(status, rest_s):
            raise error

    def check(self) -> None:
        """Asks for the methods: whatever is answered, somebody is there."""
        self._asked("OPTIONS", {"User-Agent": f"satchel/{__version__}"}, None)

    def close(self) -> None:
        self._client.close()

    def _asked(self, method: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, float]:
        """The status of the answer, and how many seconds it wants to have rest; 0 if it does not say."""
        self._client.open()
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        with self._errors():
            answer = self._client.exchange(method, target, headers, body, whole=True)
            try:
                seen = 0
                for chunk in answer.chunks():
                    seen += len(chunk)
                    if seen > _MOST_ANSWER_BYTES:
                        break
                return answer.status, _rest_s(answer.header("retry-after"))
            finally:
                answer.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What keeps the receiver from being reached leaves as Unavailable, and where nobody may be asked as Refused."""
        from http.client import HTTPException

        away = f"the receiver {self._host} cannot be reached at the moment"
        try:
            yield
        except plugin("web_client").NotConnected as error:
            if isinstance(error.__cause__, PermissionError):
                why = f"{error.__cause__}: nothing is sent to link-local addresses"
                raise Refused("the receiver is at an address of the link", hint=why) from error
            raise Unavailable(away, hint=str(error.__cause__)) from error
        except (OSError, HTTPException) as error:
            raise Unavailable(away, hint=f"{type(error).__name__}: {error}") from error

    def _judged(self, status: int, rest_s: float) -> AppError | None:
        """What an answer means for the notice: None if it was taken."""
        why = f"{self._host} answers {status}"
        if 200 <= status < 300:
            return None
        if status == 410:  # the receiver wants no more of them
            return Refused("the receiver is gone", hint=why)
        if status == 429:
            return Unavailable("the receiver wants fewer requests", hint=why, retry_after_s=int(rest_s))
        if 300 <= status < 400:
            why += ", and no redirect is followed: write the address that it leads to into url"
        return Busy("the receiver did not take it", hint=why, over_in_s=rest_s)


def _rest_s(text: str) -> float:
    """The seconds of a Retry-After (RFC 9110 section 10.2.3); 0 if it is none."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), _LONGEST_REST_S)
    try:
        return min(max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0), _LONGEST_REST_S)
    except (ValueError, TypeError, OverflowError):
        return 0.0
