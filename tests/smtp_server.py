"""A mail server for tests, run by the Python of .venv/tools/aiosmtpd: smtp_server.py FOLDER PORT [smtps|starttls].

What it took is in mails.jsonl, a line each. script.json says what it answers instead, by command: {"RCPT": ["451 later"]}
makes the first recipient wait, and takes whatever follows.
"""

from __future__ import annotations

import json
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

FOLDER, PORT, SECURITY = Path(sys.argv[1]), int(sys.argv[2]), (sys.argv[3:] or [""])[0]


class Handler:
    def __init__(self) -> None:
        self.script: dict[str, list[str]] = {}
        self.text = ""

    def answer(self, command: str) -> str:
        """What the script says to this one; "" if it is taken."""
        path = FOLDER / "script.json"
        text = path.read_text() if path.exists() else "{}"
        if text != self.text:
            self.text, self.script = text, json.loads(text)
        answers = self.script.get(command, [])
        return answers.pop(0) if answers else ""

    def note(self, **facts: Any) -> None:
        with (FOLDER / "mails.jsonl").open("a") as file:
            file.write(json.dumps(facts) + "\n")

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if answer := self.answer("MAIL"):
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        answer = self.answer("RCPT")
        self.note(tried=address, answer=answer)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if answer := self.answer("DATA"):
            return answer
        self.note(
            sender=envelope.mail_from, to=envelope.rcpt_tos, options=envelope.mail_options, greeted=session.host_name,
            tls=session.ssl is not None or SECURITY == "smtps", user=getattr(session.auth_data, "login", b"").decode(),
            peer=session.peer[1], data=envelope.original_content.decode("utf-8", "surrogateescape"),
        )  # fmt: skip
        return "250 OK"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    is_right = isinstance(given, LoginPassword) and given.password == b"secret of the mail server"
    return AuthResult(success=is_right, handled=False, auth_data=given)


def main() -> None:
    context = None
    if SECURITY:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(FOLDER / "cert", FOLDER / "key")
    options: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": SECURITY == "starttls"}
    if SECURITY == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    elif SECURITY == "smtps":
        options["ssl_context"] = context
    controller = Controller(Handler(), hostname="127.0.0.1", port=PORT, enable_SMTPUTF8=True, **options)
    controller.start()
    (FOLDER / "ready").touch()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
