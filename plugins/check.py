"""What `server check` finds beyond the faults that stop a start: what providers, statements and grants turn out to be."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from app import (
    RESOURCE_CONFIGS,
    Action,
    App,
    AppConfig,
    AppError,
    Channel,
    Command,
    Config,
    ConfigError,
    Fault,
    Files,
    Form,
    FormConfig,
    Grant,
    NotFound,
    Queries,
    Query,
    Records,
    Resource,
    Select,
    Site,
    SqlProvider,
    Unavailable,
    Unseen,
    Value,
    View,
    covers,
    damage_in,
    damage_of,
    how_many,
    nearest,
    parse_grant,
    plugin,
    stores,
)

if TYPE_CHECKING:
    from plugins.statements import SqlView

# ==== 1. CHECK ===================================================================================================
# Faults that show when things are tried, damage in what is stored, and what an operator should know.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES PROVIDERS ASSEMBLY COMMANDS plugin:app_checks plugin:asking
#       plugin:copy plugin:file_names plugin:folders plugin:notify plugin:options plugin:permissions
#       plugin:quota_count plugin:reading plugin:row_rules plugin:statements plugin:states plugin:tokens
#       plugin:toml_advice plugin:unfit plugin:wsgi_apps
# defines: Command:server_check Inspection ServerCheck

# What has an address of its own below a form, view or app; below files, anything can be.
_PATIENCE_S = 10.0  # with channels


class Inspection:
    """Looks for what an operator should know: faults, damage, and grants that allow nothing."""

    def __init__(self, app: App) -> None:
        self._app, self._config, self._resources = app, app.config, app.resources

    def create(self, bar: Any = None) -> tuple[list[str], list[Fault]]:
        """Make what is never made silently, in every provider: what was made, in words, and what failed."""
        made, faults, needed = [], [], self._app.needed()
        for name, provider in self._app.providers.items():
            try:
                provider.open()
                made += [f"{name}: {what}" for what in provider.create(dict(sorted(needed.get(name, {}).items())), bar)]
            except AppError as error:
                faults.append(Fault(f"providers.{name}", error.code, error.with_hint))
        return made, faults

    def check(self) -> list[Fault]:
        """Every fault: of the configuration, and of what it meets when providers, key ring and statements are tried."""
        faults, needed = list(self._app.faults), self._app.needed() if self._app.state else {}
        away = {name: error for name, error in self._app.health.pings().items() if isinstance(error, AppError)}
        faults += [Fault(f"providers.{name}", Unavailable.code, error.with_hint) for name, error in away.items()]
        for address, config in self._app.declared.items():
            name = self._config.provider_name(getattr(config, "provider", ""))
            if name not in away:
                resource = self._resources.get(address)
                faults += _resource_faults(address.replace("/", "."), resource, needed.get(name, {}))
        for name, program in self._programs():
            faults += _tried(name, partial(plugin("wsgi_apps").load, program, self._config.folder))
        for name, tables in needed.items():
            records = cast(Records, self._app.providers[name])
            own = sorted(table for table in tables if table.startswith("_"))  # Satchel's
            for table in own if name not in away else ():
                faults += _tried(f"providers.{name}", partial(records.get, table, "none"))
        faults += self._channel_faults()
        has_keys = self._config.auth.keys or (self._config.site.data / "keys.json").exists()
        if has_keys and self._app.state:
            faults += _tried("auth.keys", lambda: self._app.authority)
        return faults

    def _channel_faults(self) -> list[Fault]:
        """What keeps channels from sending. Each is tried by an object of its own: a job may be using the App's."""
        kinds: Mapping[str, Any] = self._app.registry.of(Channel)

        def ask(name: str) -> None:
            one = self._config.channels[name]
            with closing(kinds[one.kind](name, one.options, self._config.folder)) as channel:
                channel.check()

        answers = plugin("asking").ask_all(self._app.channels, ask, _PATIENCE_S, "channel").items()
        wrong = {name: error for name, error in answers if isinstance(error, AppError)}
        return [Fault(f"channels.{name}", error.code, error.with_hint) for name, error in wrong.items()]

    def _programs(self) -> Iterator[tuple[str, str]]:
        """The place of each WSGI program in app.toml, and what stands there."""
        for one in self._config.resources:
            if isinstance(one, AppConfig) and one.wsgi:
                yield f"apps.{one.name}.wsgi", one.wsgi

    def warnings(self) -> list[str]:
        """What an operator should know and need not change: of the providers, and grants that allow nothing."""
        written = {id(self._app.state), *(id(one) for r in self._resources.values() for one in stores(r))}
        texts: dict[str, list[str]] = {}
        for name, provider in self._app.providers.items():
            if id(provider) in written or not isinstance(provider, SqlProvider):  # SQLite's are about writing
                for text in provider.warnings():
                    texts.setdefault(text, []).append(f"providers.{name}")
        and_list = plugin("folders").and_list
        found = [f"{and_list(names)}: {text}" for text, names in texts.items()]
        found += plugin("permissions").warnings(self._config, self._app.providers)
        if self._app.channels and not self._config.site.url:
            begin = plugin("tokens").site_url(self._config)
            found.append(f"site.url is not set: links in mails begin with {begin}, as far as can be known")
        found += plugin("row_rules").warnings(self._resources)
        with suppress(AppError):  # which check() finds
            found += plugin("quota_count").warnings(self._app)
        if any(isinstance(one, AppConfig) and one.pages for one in self._config.resources):
            found += plugin("app_checks").dead_links(self._app)
        if any(one.notify or one.digest for one in self._config.resources if isinstance(one, FormConfig)):
            found += plugin("notify").warnings(self._app)
        places = {f"roles.{name}": role.grants for name, role in self._config.roles.items()}
        places |= {f"sqs.queues: allow of {queue.name}": queue.allow or () for queue in self._config.sqs.queues}
        for place, grants in (places | {"public": self._config.public.grants}).items():
            found += [f"{place}: {why}" for why in map(self._why_useless, grants) if why]
        return found

    def expect_declared(self, grants: Iterable[str]) -> None:
        """NotFound if one of the grants allows nothing that app.toml declares."""
        for why in map(self._why_useless, map(parse_grant, grants)):
            if why:
                raise NotFound(why)

    def _why_useless(self, grant: Grant) -> str:
        """Why a grant allows nothing, in words; "" if it allows something that is declared."""
        type_, *below = grant.pattern
        near = [a for a in self._resources if a and covers(grant.pattern[:2], a.split("/"))]
        if not near and type_ in (*RESOURCE_CONFIGS, "admin") and below[:1] in ([], ["*"], ["**"]):
            return ""  # all of a kind, though there is none yet
        if not near:
            addresses = [a for a in self._resources if a]
            types = ", ".join(sorted({a.partition("/")[0] for a in addresses}))
            hint = nearest("/".join(grant.pattern[:2]), addresses) or f": what is declared is in {types}"
            return f"{grant} names nothing that is declared{hint}"
        places = {one.path.partition("/")[0]: None for a in near for one in self._resources[a].endpoints if one.path}
        if type_ in ("forms", "views", "apps") and below[1:2] and below[1] not in ("*", "**", *places):
            meant = nearest(below[1], places) or f"; did you mean {next(iter(places), '')}?"
            meant = meant.replace("mean ", f"mean {near[0]}/").replace("/?", "?")
            return f"{grant} names nothing that is declared{meant}"
        offered = {a: {action for one in self._resources[a].endpoints for action in one.actions} for a in near}
        if not any(map(grant.actions.intersection, offered.values())):
            can = ", ".join(action for action in Action if action in offered[near[0]])
            return f"{grant} allows nothing: the actions of {near[0]} are {can}"
        return ""

    def damage(self, most_s: float = 5.0) -> list[str]:
        """What views and forms hold that cannot be read, in words, as far as it is found in about most_s."""
        places = [(a, one) for a, one in self._resources.items() if isinstance(one, Form | Files) or _is_sql(one)]
        ends_at, found = time.monotonic() + most_s, []
        for left, (address, one) in zip(range(len(places), 0, -1), places, strict=True):
            now = time.monotonic()
            until = now + max((ends_at - now) / left, 0.05)
            seen: dict[str, list[str]] = {}
            if isinstance(one, Form) and one.states:
                found += plugin("states").warnings(one)
            if isinstance(one, Form) and one.type == "forms":
                with suppress(AppError):
                    found += plugin("unfit").warnings(one, self._app.clock(), (now + until) / 2)
            with suppress(AppError):  # which check() finds
                rows = _damage_of_share(one) if isinstance(one, Files) else _damage_of_rows(one, until - now)
                for which, name, reason in rows:
                    if reason:
                        seen.setdefault(f"{name} {reason}", []).append(which)
                    if time.monotonic() > until:
                        break
            for what, rows_ in seen.items():
                more = f" and {len(rows_) - 1:,} more" if len(rows_) > 1 else ""
                found.append(f"{address.replace('/', '.')}: {what} in {rows_[0]}{more}")
        return found


def _tried(place: str, work: Callable[[], Any]) -> list[Fault]:
    """What work() raises, as a fault at that place."""
    try:
        work()
    except AppError as error:
        return [Fault(place, error.code, error.with_hint)]
    return []


def _resource_faults(place: str, resource: Resource | None, tables: Mapping[str, Sequence[Query]]) -> list[Fault]:
    """What it meets in its provider: a table that is somebody else's or missing, no bucket, a bad statement. `tables` are
    those that the provider has to have, with their queries (see Records.prepare)."""
    match resource:
        case Form(store=records, table=table):
            declared = {table: tables[table]} if table in tables else {}
            made = _tried(f"{place}.table", partial(records.prepare, declared))
            made = made or _tried(f"{place}.table", partial(records.get, table, "none"))
            return made or (plugin("options").trouble(resource) if resource.looked_up else [])
        case Files(blobs=blobs) if blobs.lists:
            return _tried(f"{place}.provider", lambda: next(blobs.scan("", deep=False), None))
        case View(source=Queries() as queries):
            return _tried(f"{place}.sql", partial(_try_statement, cast("SqlView", resource), queries))
    return []


def _is_sql(resource: Resource) -> bool:
    return isinstance(resource, View) and isinstance(resource.source, Queries)


def _damage_of_share(share: Files) -> Iterator[tuple[str, str, str]]:
    """Of everything in a share which it is, "a file or folder", and why it cannot be read."""
    for entry in plugin("file_names").scan(share.blobs, share.root) if share.blobs.lists else ():
        yield entry.path, "a file or folder:", entry.problem if isinstance(entry, Unseen) else ""


def _damage_of_rows(resource: Resource, timeout_s: float) -> Iterator[tuple[str, str, str]]:
    return _records_of(resource) if isinstance(resource, Form) else _rows_of(cast("SqlView", resource), timeout_s)


def _records_of(form: Form) -> Iterator[tuple[str, str, str]]:
    """Of every record which it is, a field, and what is damaged about it; "" where nothing is."""
    for record in form.store.walk(Query(form.table)):
        found = [(f"field {name}", reason) for name, reason in damage_in(record.value)]
        faults = [("the whole record", record.damage), *found]
        yield from ((f"record {record.key}", name, reason) for name, reason in faults)


def _rows_of(view: SqlView, timeout_s: float) -> Iterator[tuple[str, str, str]]:
    """The same of the rows of a SQL view."""
    with closing(view.source.select(view.statement(timeout_s=timeout_s))) as rows:
        for number, row in enumerate(rows.rows, 1):
            for name, value in zip(rows.columns, row, strict=True):
                yield f"row {number:,}", f"column {name}", damage_of(value)


def _try_statement(view: SqlView, queries: Queries) -> None:
    """Run a view's statement with its defaults for no rows; ConfigError or what the provider raises."""
    order_by = view.config.order_by
    rows = queries.select(Select(statement=view.config.sql, params=view.defaults(), order_by=order_by, limit=0))
    with closing(rows):
        for name in view.config.columns:
            if name not in rows.columns:
                raise ConfigError(f"has no column {name!r}, which columns names{nearest(name, rows.columns)}")
        for name in view.config.facets:
            if name not in rows.columns:
                raise ConfigError(f"has no column {name!r}, which facets names{nearest(name, rows.columns)}")
        for column, said in view.config.columns.items():
            for name in plugin("reading").places(said.get("link") or ""):
                if name not in rows.columns:
                    where = f"the link of {column} names{nearest(name, rows.columns)}"
                    raise ConfigError(f"has no column {name!r}, which {where}: its cells lead nowhere")


class ServerCheck(Command):
    """Checks app.toml, the providers and the views' statements, and lists every fault, not the first. --create makes tables,
    buckets and indexes before that, if app.toml itself is in order."""

    kind = "server check"
    help = "list every fault of app.toml and the providers"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        create = "make the tables, buckets and indexes that are missing"
        parser.add_argument("--create", action="store_true", default=False, help=create)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        made: list[str] = []
        config: Config | None = None
        try:
            with site.looked_at(strict=False, may_be_older=not args.create) as found:
                failed: list[Fault] = []
                if args.create and not found.faults:
                    with closing(plugin("copy").Bar()) as bar:
                        made, failed = found.inspection.create(bar)
                config, faults = found.config, list(dict.fromkeys([*failed, *found.inspection.check()]))
                warnings = [*found.inspection.warnings(), *found.inspection.damage()]
                for command in found.registry.of(Command).values():  # type: ignore[type-abstract]
                    more_faults, more_warnings = command().check(config)
                    faults += more_faults
                    warnings += more_warnings
        except ConfigError as error:  # not even TOML, or a plugin that does not load
            faults, warnings = list(error.faults) or [Fault("", error.code, error.message)], []
        if args.json:
            rows = [
                fault._asdict() | {"line": plugin("toml_advice").line_of(config, fault) if config else None}
                for fault in faults
            ]
            report: Value = {"ok": not faults, "faults": rows, "warnings": warnings}
            site.print_json(report | ({"created": made} if args.create else {}))
        else:
            site.say(*(f"created {what}" for what in made))
            site.say(*_report(plugin("toml_advice").located(config, faults) if config else faults, warnings))
        return ConfigError.exit_code if faults else 0


def _report(faults: Sequence[Fault], warnings: Sequence[str]) -> Iterator[str]:
    """The lines for people; the last one sums up."""
    yield from (f"{fault.pointer or 'app.toml'}: {fault.detail}" for fault in faults)
    yield from (f"warning: {text}" for text in warnings)
    grave = [text for text in warnings if not text.startswith(("providers.", "site.data:"))]
    if faults:
        yield how_many(len(faults), "fault")
    elif grave:
        yield f"no fault, but {how_many(len(grave), 'warning')}"
    else:
        yield "everything is in order"
