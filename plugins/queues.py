"""Operating the queues of [sqs]: `info queues`, `server dead-letters`, and what `server check` says of their set-up."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import app
from app import (
    AppError,
    Attribute,
    BadRequest,
    Command,
    Config,
    ConfigError,
    Conflict,
    Fault,
    Json,
    Message,
    NotFound,
    QueueConfig,
    Refused,
    Site,
    SqsConfig,
    TooLarge,
    Unavailable,
    Value,
    dump_json,
    is_credential,
    load_json,
    nearest,
    rfc3339,
)

sqs = app.plugin("sqs")

# ==== 1. DESK ====================================================================================================
# The operator's side of the queues: their state, what is wrong with their set-up, and their dead letters.
# uses: ERRORS VALUES CONFIG RUNNERS plugin:sqs
# defines: LEASE_S REASONS QueueState DeadLetter QueueDesk unwise read_dead_letter unpack resource_of with_key

LEASE_S = 60  # of dead letters that an operator looks at; what dies with its command comes back by then
REASONS = ("x_error", "x_detail", "x_attempts", "x_source", "x_subject", "x_message_id")


@dataclass(frozen=True)
class QueueState:
    """What SQS says of a queue: its attributes by their names there."""

    name: str
    attributes: Mapping[str, str]

    def number(self, attribute: str) -> int:
        return int(self.attributes.get(attribute, 0))

    @property
    def depth(self) -> int:
        """About how many messages are in it, held ones too."""
        return sum(self.number(f"ApproximateNumberOfMessages{kind}") for kind in ("", "NotVisible", "Delayed"))

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def redrive(self) -> Value:
        """deadLetterTargetArn and maxReceiveCount; {} where there is no dead-letter queue."""
        return cast(Value, load_json(self.attributes.get("RedrivePolicy") or "{}"))

    @property
    def dead_letter_name(self) -> str:
        return str(self.redrive.get("deadLetterTargetArn", "")).rpartition(":")[2]


@dataclass(frozen=True)
class DeadLetter:
    """A message of a dead-letter queue: what it says about itself, and its attributes without any token."""

    message: Message = field(repr=False)
    queue: str  # the dead-letter queue
    source: str  # name of the queue that it came from; "" where it does not say
    message_id: str  # of the message that failed
    code: str  # max_receives where SQS gave up on it; "" where it does not say
    detail: str
    subject: str
    attempts: int | None
    attributes: Mapping[str, Attribute] = field(repr=False)

    @property
    def id(self) -> str:
        return self.message.id

    def is_called(self, id_: str) -> bool:
        return bool(id_) and (self.id.startswith(id_) or self.message_id.startswith(id_))

    def row(self) -> Value:
        """Its facts in a line. died_at is when it came here; where SQS moved it, when it was first sent."""
        return {
            "id": self.id, "queue": self.queue, "code": self.code, "resource": resource_of(self.message),
            "subject": self.subject, "died_at": rfc3339(self.message.sent_at), "attempts": self.attempts,
        }  # fmt: skip

    def facts(self) -> Value:
        """Everything; of what looks like a token only that it was there."""
        others = {
            name: one.value if isinstance(one.value, str) else "binary" for name, one in self.attributes.items()
        }  # fmt: skip
        return self.row() | {
            "source": self.source, "message_id": self.message_id, "group": self.message.group,
            "detail": sqs.mask_tokens(self.detail), "body": sqs.mask_tokens(self.message.body),
            "attributes": {name: sqs.mask_tokens(value) for name, value in others.items()},
        }  # fmt: skip


class QueueDesk:
    """It works on no message, and takes none of a queue that is worked on: that would burn one of its receives."""

    def __init__(self, config: SqsConfig) -> None:
        self.config = config

    @cached_property
    def _service(self) -> Any:
        return sqs.SqsService(self.config)

    # -- the queues

    def states(self) -> list[Value]:
        """A row a queue."""
        return [self._row(queue) for queue in self.config.queues]

    def _row(self, queue: QueueConfig) -> Value:
        row: Value = {
            "name": queue.name, "fifo": queue.name.endswith(".fifo"), "waiting": None, "in_flight": None, "delayed": None,
            "dead_letter_queue": "", "dead_letters": None, "faults": [], "warnings": [],
        }  # fmt: skip
        try:
            state = self._state(sqs.SqsQueue(self._service, queue.url))
            row |= {"waiting": state.number("ApproximateNumberOfMessages"), "dead_letter_queue": state.dead_letter_name}
            row |= {"in_flight": state.number("ApproximateNumberOfMessagesNotVisible")}
            row |= {"delayed": state.number("ApproximateNumberOfMessagesDelayed")}
            denied = sqs.SqsQueue(self._service, queue.url).denied()
            row["faults"] += [*self._wrong(state), *(error.message for error in denied)]
            if dead := self._dead(queue.url, state):
                row["dead_letters"] = dead.depth
                if state.fifo != dead.fifo:
                    row["faults"].append(f"{dead.name} is not of its kind: FIFO both, or neither")
                row["warnings"] += unwise(state, dead, self.config)
        except AppError as error:
            row["faults"].append(error.message)
        return row

    def lint(self) -> tuple[list[Fault], list[str]]:
        """What is wrong with the queues, and what is unwise; for `server check`."""
        if not self.config.queues:
            return [], []
        rows = self.states()
        faults = [Fault("sqs.queues", "queue", f"{row['name']}: {text}") for row in rows for text in row["faults"]]
        for name, url in self.config.replies.items():
            try:
                if url in {queue.url for queue in self.config.queues}:
                    raise ConfigError("answers would come to a queue that is worked on, and be taken for requests")
                self._state(sqs.SqsQueue(self._service, url))
            except AppError as error:
                faults.append(Fault("sqs.replies", "queue", f"{name}: {error.message}"))
        return faults, [f"{row['name']}: {text}" for row in rows for text in row["warnings"]]

    def _state(self, queue: Any) -> QueueState:
        return QueueState(queue.name, queue.attributes())

    def _dead(self, url: str, state: QueueState) -> QueueState | None:
        """The dead-letter queue of a queue, if it has one; NotFound if that is gone."""
        if not state.redrive:
            return None
        return self._state(sqs.SqsQueue(self._service, url).queue_of(state.redrive["deadLetterTargetArn"]))

    def _wrong(self, state: QueueState) -> Iterator[str]:
        """What is wrong with the queue beside the others."""
        if not state.redrive:
            yield "it has no dead-letter queue, and is not worked on without: give it a RedrivePolicy"
        elif state.dead_letter_name in {queue.name for queue in self.config.queues}:
            yield f"its dead-letter queue {state.dead_letter_name} is worked on itself: dead letters would be tried again"

    # -- their dead letters

    def dead_letter_queues(self, name: str = "") -> list[Any]:
        """Those of every queue, or of the one so named (itself or its source); NotFound if there is none such."""
        found: dict[str, Any] = {}
        for one in self.config.queues:
            queue = sqs.SqsQueue(self._service, one.url)
            try:
                state = self._state(queue)
            except AppError:
                if name in ("", queue.name):
                    raise
                continue  # another one is meant
            if state.redrive and name in ("", queue.name, state.dead_letter_name):
                dead = queue.queue_of(state.redrive["deadLetterTargetArn"])
                found.setdefault(dead.url, dead)
        if name and not found:
            known = nearest(name, [queue.name for queue in self.config.queues])
            raise NotFound(f"app.toml names no queue {name} with a dead-letter queue{known}")
        return list(found.values())

    def depth(self, queue: Any) -> int:
        """About how many messages are in a queue, held ones too."""
        return self._state(queue).depth

    def visit(self, queue: Any, work: Callable[[DeadLetter], bool], limit: int) -> int:
        """Show up to `limit` messages of a dead-letter queue to `work`, each once, and delete those of which it says True.

        They are held meanwhile, for a minute each, and given back in the end. Of a group of a FIFO queue no more come
        than SQS gives out at once. The answer is how many were seen. Unavailable if some cannot be deleted.
        """
        held: dict[str, str] = {}  # handles by message id
        seen: set[str] = set()
        try:
            while len(seen) < limit and (batch := queue.receive(limit - len(seen), 1, LEASE_S)):
                held |= {message.id: message.handle for message in batch}
                fresh = [message for message in batch if message.id not in seen]
                if not fresh:  # leases end while we look: this is the second round
                    break
                seen |= {message.id for message in fresh}
                done: list[Message] = []
                try:
                    for message in fresh:
                        if work(read_dead_letter(queue.name, message)):
                            done.append(message)  # now, whatever the next one raises
                finally:
                    for id_ in self._delete(queue, done):
                        del held[id_]
        finally:
            self._release(queue, list(held.values()))
        return len(seen)

    def _delete(self, queue: Any, done: Sequence[Message]) -> list[str]:
        """The ids of what is deleted."""
        answers = queue.delete([message.handle for message in done]) if done else []
        if failed := [message.id for message, answer in zip(done, answers, strict=True) if answer]:
            hint = "they were held too long, or the service failed; what was sent back has one effect if it is sent again"
            raise Unavailable(f"not deleted from {queue.name}: {' '.join(failed)}", hint=hint)
        return [message.id for message in done]

    def _release(self, queue: Any, handles: Sequence[str]) -> None:
        """Give back what is held, the last one first (a group begins again with its head); else its minute does it."""
        for start in range(len(handles), 0, -10):
            with suppress(AppError):
                queue.extend([(handle, 0) for handle in handles[max(0, start - 10) : start][::-1]])

    def source(self, letter: DeadLetter) -> QueueConfig:
        """The queue that it is sent back to, one of app.toml: a token must go nowhere else. Conflict if there is none."""
        found = next((queue for queue in self.config.queues if queue.name == letter.source), None)
        if found is None:
            reason = f"it came from {letter.source}" if letter.source else "it does not say where it came from"
            raise Conflict(f"{letter.id} stays: {reason}, and that is no queue of app.toml")
        return found

    def send_back(self, letter: DeadLetter, credential: str) -> str:
        """Send it to its source as a new message under this token, with the idempotency key that it had; the new id.

        Sent again it has one effect: it is to be deleted afterwards, and not before.
        """
        queue, message = sqs.SqsQueue(self._service, self.source(letter).url, None), letter.message
        body = with_key(sqs.without_token(message.body), letter.message_id)
        attributes = {**letter.attributes, "authorization": Attribute(credential)}
        if sqs.has_pointer(message):  # the body is not here to be given a key
            attributes["x_message_id"] = Attribute(letter.message_id)
        if len(attributes) > sqs.MOST_ATTRIBUTES:
            raise Conflict(f"{letter.id} stays: with a token it would have more than {sqs.MOST_ATTRIBUTES} attributes")
        try:
            return str(queue.send(body, attributes, message.group, f"redrive-{letter.id}"))
        except (Refused, TooLarge) as error:
            raise Conflict(f"{letter.id} stays: {error.message}") from error


def unwise(state: QueueState, dead: QueueState, config: SqsConfig) -> Iterator[str]:
    """What works, and will hurt one day."""
    least = config.attempts * config.workers * (2 if state.fifo else 1)  # with each attempt at a head comes its tail
    if int(state.redrive["maxReceiveCount"]) <= least:
        yield (
            f"its maxReceiveCount {state.redrive['maxReceiveCount']} should be above {least}, by [sqs] attempts "
            f"{config.attempts} and workers {config.workers}: SQS moves a message before it is known why it fails"
        )
    if config.visibility_s < 30:
        yield f"[sqs] visibility {config.visibility_s} s is short: one call that hangs loses what is held; 30 s or more"
    kept_s, dead_kept_s = (one.number("MessageRetentionPeriod") for one in (state, dead))
    if dead_kept_s <= kept_s:
        yield (
            f"{dead.name} keeps messages for {dead_kept_s / 3600:g} h and the queue for {kept_s / 3600:g} h, both counted "
            "from when they were first sent: keep them longer there"
        )
    if dead.redrive:
        yield f"{dead.name} has a dead-letter queue itself: looking at dead letters moves them on"
    allowed = load_json(dead.attributes.get("RedriveAllowPolicy") or "{}")
    sources = {"denyAll": [], "byQueue": allowed.get("sourceQueueArns", [])}.get(allowed.get("redrivePermission"))
    if sources is not None and state.attributes.get("QueueArn") not in sources:
        yield f"{dead.name} takes nothing from it, by its RedriveAllowPolicy"


def read_dead_letter(queue: str, message: Message) -> DeadLetter:
    """What dead_letter() of plugins/sqs.py wrote, or what SQS moved by itself."""
    attributes = {name: one for name, one in message.attributes.items() if not is_credential(name)}
    facts = {name: str(attributes.pop(name).value) for name in REASONS if name in attributes}
    for name in ("x_attributes", "x_dead_letter"):
        with suppress(AppError, AttributeError, LookupError, TypeError, ValueError):  # there is none, or it is not ours
            packed = load_json(str(attributes[name].value))
            if name == "x_dead_letter":  # of an older version, where there were many: the reasons, and attributes in them
                reasons = {reason: str(packed[reason]) for reason in REASONS if reason in packed}
                packed, facts = packed.get("attributes", {}), reasons | facts
            unpacked = {inner: unpack(value) for inner, value in packed.items()}
            del attributes[name]
            attributes |= unpacked
    attempts = facts.get("x_attempts", "")
    given_up = "max_receives" if message.moved_from else ""
    return DeadLetter(
        message=message, queue=queue, source=facts.get("x_source") or message.moved_from,
        message_id=facts.get("x_message_id") or message.id, detail=facts.get("x_detail", ""),
        code=facts.get("x_error") or given_up, subject=facts.get("x_subject", ""),
        attempts=int(attempts) if attempts.isdecimal() else None, attributes=attributes,
    )  # fmt: skip


def unpack(value: Json) -> Attribute:
    """The attribute that dead_letter() made JSON of; ValueError, TypeError or KeyError if it was something else. An older
    version wrote both "base64" and "text", and null for one of them."""
    if isinstance(value, str):
        return Attribute(value)
    if value.get("base64") is not None:
        return Attribute(base64.b64decode(value["base64"], validate=True), str(value["type"]))
    return Attribute(str(value["text"]), str(value["type"]))


def resource_of(message: Message) -> str:
    """Resource and action, as far as the body says."""
    try:
        envelope = load_json(sqs.unwrapped(message).body)
        return f"{envelope['resource']}:{envelope['action']}"
    except (AppError, LookupError, TypeError, AttributeError):
        return ""


def with_key(body: str, key: str) -> str:
    """The body with this idempotency key, where it is an envelope that names none."""
    try:
        envelope = load_json(body)
    except AppError:
        return body
    if not isinstance(envelope, dict) or "resource" not in envelope or "id" in envelope:
        return body
    return dump_json(envelope | {"id": key})


# ==== 2. CLI =====================================================================================================
# `info queues` and `server dead-letters`.
# uses: ERRORS VALUES CONFIG CONTRACTS COMMANDS DESK plugin:sqs plugin:tokens
# defines: Command:info_queues Command:server_dead-letters InfoQueues DeadLetters Work chosen_by operator_token
#          fact_lines printable


class InfoQueues(Command):
    """Depth, dead letters and set-up of each queue of [sqs]."""

    kind = "info queues"
    help = "depth, dead letters and set-up of each queue"

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with site.looked_at(may_be_older=True) as found:
            rows = QueueDesk(found.config.sqs).states()
        if args.json:
            site.print_json(rows)
        else:
            site.print(*self._lines(rows))
        return 0

    @staticmethod
    def _lines(rows: Sequence[Value]) -> Iterator[str]:
        """For people; "-" is what is not known."""
        if not rows:
            yield "app.toml names no queues"
        for row in rows:
            shown = {name: "-" if value in ("", None) else value for name, value in row.items()}
            yield (
                "{name}  waiting {waiting}  in flight {in_flight}  delayed {delayed}  "
                "dead letters {dead_letters} in {dead_letter_queue}".format(**shown)
            )
            yield from (f"  fault: {text}" for text in row["faults"])
            yield from (f"  warning: {text}" for text in row["warnings"])

    def check(self, config: Config) -> tuple[list[Fault], list[str]]:
        return QueueDesk(config.sqs).lint()


class DeadLetters(Command):
    """List, show, send back or delete what could not be done. Each is printed; sent before, and listed before, deleted."""

    kind = "server dead-letters"
    help = "list, show, send back or delete messages that failed for good"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        verbs = ["list", "show", "redrive", "drop"]
        parser.add_argument("verb", choices=verbs, metavar=" | ".join(verbs), help="what to do with them")
        known_by = "of a dead letter or of the message that failed; its first 8 characters are enough"
        parser.add_argument("id", nargs="*", metavar="ID", help=known_by)
        code = "only those that failed with this code, such as invalid_token"
        parser.add_argument("--code", metavar="C", default=None, help=code)
        parser.add_argument("--all", action="store_true", default=False, help="redrive, drop: every one")
        parser.add_argument("--queue", metavar="NAME", default="", help="only this queue's, or this dead-letter queue")
        limit = "look at no more than N of each queue; default 1000"
        parser.add_argument("--limit", type=app.option_type("positive"), default=1000, metavar="N", help=limit)
        token = "redrive: your token; default standard input"  # noqa: S105 (a text)
        parser.add_argument("--token-file", metavar="FILE", default="", help=token)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        chosen_by(args)
        desk = QueueDesk(site.config.sqs)
        with ExitStack() as stack:
            opened = stack.enter_context(site.opened()) if args.verb in ("redrive", "drop") else None
            work = Work(args, desk, site, opened)
            try:
                self._visit(args, desk, work)
            except AppError:
                if args.json and opened:  # standard output is for the error
                    site.say(*(f"{row['id']} {row.get('sent_id', '')}" for row in work.rows))
                raise
        if args.json:
            site.print_json(work.rows)
        return self._conclude(args, site, work)

    @staticmethod
    def _visit(args: argparse.Namespace, desk: QueueDesk, work: Work) -> None:
        for queue in desk.dead_letter_queues(args.queue):
            seen = desk.visit(queue, work, args.limit)
            if args.verb == "list" and (more := desk.depth(queue) - seen) > 0:
                why = "a FIFO queue shows only the first of a group" if queue.fifo else "see --limit"
                work.site.say(f"{queue.name}: about {more} more ({why})")

    @staticmethod
    def _conclude(args: argparse.Namespace, site: Site, work: Work) -> int:
        """Say what stayed, and return the exit code."""
        missing = [id_ for id_ in args.id if not any(letter.is_called(id_) for letter in work.met)]
        site.say(
            *(f"error: {error.message}" for error in work.stay), *(f"error: no dead letter is {id_}" for id_ in missing)
        )
        if args.verb in ("redrive", "drop"):
            site.say(f"{len(work.rows) - len(work.stay)} {'sent back' if args.verb == 'redrive' else 'deleted'}")
        if work.stay:
            return Conflict.exit_code
        return NotFound.exit_code if missing else 0


class Work:
    """What the command does with each dead letter, and what came of it."""

    def __init__(self, args: argparse.Namespace, desk: QueueDesk, site: Site, opened: Any) -> None:
        """`opened` is the App where dead letters are sent back or deleted, else None: it checks tokens, and its audit trail
        is told."""
        self.args, self.desk, self.site, self.app = args, desk, site, opened
        self.credential = operator_token(args, site, opened) if opened and args.verb == "redrive" else ""
        self.is_chosen = chosen_by(args)
        self.rows: list[Value] = []
        self.met: list[DeadLetter] = []
        self.stay: list[Conflict] = []
        self.sent_ids: set[str] = set()

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether it is to be deleted."""
        if not self.is_chosen(letter):
            return False
        self.met.append(letter)
        row = letter.facts() if self.args.verb == "show" else letter.row()
        try:
            if self.args.verb == "redrive":
                row |= self._send_back(letter)
        except Conflict as error:
            self.stay.append(error)
            self.rows.append(row | {"error": error.message})
            return False
        self.rows.append(row)
        # What was sent must be deleted even if nobody reads on; what is dropped must have been listed.
        with suppress(OSError) if self.args.verb == "redrive" else nullcontext():
            self._print(row)
        if self.app and self.args.verb == "drop":
            self._audit(row)
        return self.app is not None

    def _audit(self, row: Value) -> None:
        """Store an audit entry of a dead letter that is about to be sent back or deleted."""
        audit, request_id = self.app.audit, app.new_id(self.app.clock())
        entry = audit.entry(self.site.operator(), "cli", request_id, "admin/queues", self.args.verb)
        self.app.state.commit([audit.insert(entry | {"record": row["id"], "after": dict(row)})])

    def _send_back(self, letter: DeadLetter) -> Value:
        if letter.message_id in self.sent_ids:
            raise Conflict(f"{letter.id} stays: it was sent back and failed again ({letter.code})")
        to = self.desk.source(letter).name
        if self.app:
            self._audit(letter.row())
        sent_id = self.desk.send_back(letter, self.credential)
        known_by = letter.message_id if sqs.has_pointer(letter.message) else sent_id  # when it comes back
        self.sent_ids.add(known_by)
        return {"sent_to": to, "sent_id": sent_id}

    def _print(self, row: Value) -> None:
        if self.args.json:
            return
        if self.args.verb == "show":
            self.site.print(*fact_lines(row), "")
        else:
            self.site.print("  ".join(printable(value) for name, value in row.items() if name != "queue"))


def chosen_by(args: argparse.Namespace) -> Callable[[DeadLetter], bool]:
    """Which dead letters are meant; BadRequest where that would be all of them by mistake."""
    if args.verb == "show" and not args.id:
        raise BadRequest("show needs the ID of at least one dead letter")
    if args.verb in ("redrive", "drop") and not (args.id or args.code is not None or args.all):
        raise BadRequest(f"say which: {args.verb} takes IDs, --code C or --all")
    if short := [id_ for id_ in args.id if len(id_) < 8]:
        raise BadRequest(f"{short[0]!r} is too short for an ID: give at least its first 8 characters")

    def is_chosen(letter: DeadLetter) -> bool:
        return (not args.id or any(map(letter.is_called, args.id))) and args.code in (None, letter.code)

    return is_chosen


def operator_token(args: argparse.Namespace, site: Site, opened: Any) -> str:
    """The credential under which dead letters are done again, checked before any is touched."""
    if args.token_file:
        try:
            text = Path(args.token_file).read_text(encoding="utf-8", errors="replace").strip().removeprefix("Bearer ")
        except OSError as error:
            raise BadRequest(f"the token cannot be read: {error.strerror}", hint=args.token_file) from error
    else:
        read_token = app.plugin("tokens").token_on_stdin
        text = read_token(site)
    opened.authority.identify(f"Bearer {text}")
    return f"Bearer {text}"


def fact_lines(facts: Value, indent: str = "") -> Iterator[str]:
    """A fact a line."""
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from fact_lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {printable(value)}"


def printable(value: Json) -> str:
    """For a terminal: what others wrote may hold control characters."""
    text = "-" if value in ("", None) else str(value)
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
