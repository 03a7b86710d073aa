"""The commands of the group `info`: what is installed here, what app.toml declares, and how the providers are."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import app
from app import Action, AppError, Blobs, Json, Provider, Queries, Records, Route, Site, Value, bundled_text, load_json

# ==== 1. INFO ====================================================================================================
# Facts of an App as JSON, one function a topic, and their lines for people.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS COMMANDS
# defines: Command:info_resources Command:info_providers Command:info_config Command:info_routes Command:info_systemd
#          Command:info_version resources providers contracts capabilities config routes systemd version TOPICS lines
#          show Topic Resources Providers Settings Routes Systemd Version


def resources(site: Any) -> Json:
    return [
        {"address": address, "title": r.title, "actions": [a for a in Action if any(a in e.actions for e in r.endpoints)]}
        for address, r in site.resources.items()
    ]


def providers(site: Any, *, hints: bool = True) -> Json:
    """Kind, contracts, capabilities, round trip and what is wrong, for each provider; those that are away cost no more
    time than the slowest of them. `hints` are for whoever stands at the machine: they may name paths and addresses."""
    rows = []
    for name, ping in site.health.pings().items():
        one = site.providers[name]
        row: Value = {"name": name, "kind": one.kind, "contracts": contracts(one), "capabilities": capabilities(one)}
        row |= {"ping_ms": None, "fault": ping.with_hint if hints else ping.message} if isinstance(ping, AppError) else {
            "ping_ms": round(ping * 1000, 2), "fault": "",
        }  # fmt: skip
        rows.append(row | {"warnings": one.warnings()})
    return rows


def contracts(provider: Provider) -> list[str]:
    return [contract.__name__ for contract in (Records, Blobs, Queries) if provider.has(contract)]


def capabilities(provider: Provider) -> Value:
    names: list[str] = []
    if "Records" in contracts(provider):
        names += ["atomic", "conditional", "exact_integers", "most_writes"]
    if "Blobs" in contracts(provider):
        names.append("lists")
    return {name: getattr(provider, name) for name in names}


def config(site: Any) -> Json:
    """The settings in force; secrets are left out."""
    facts: Value = {"origin": site.config.origin}
    for table in ("site", "auth", "http"):
        facts[table] = dict(vars(getattr(site.config, table)))
    facts["auth"]["keys"] = "set" if facts["auth"]["keys"] else ""
    facts["roles"] = {name: [str(grant) for grant in role.grants] for name, role in site.config.roles.items()}
    facts["public"] = [str(grant) for grant in site.config.public.grants]
    for kind, values in site.config.extensions.items():
        facts[kind] = _without_secrets(values, site.registry.tables[kind])
    facts["channels"] = {}
    for name, one in site.config.channels.items():
        shown = _without_secrets(one.options, site.registry.channel_settings.get(one.kind, ()))
        facts["channels"][name] = {"kind": one.kind, **shown}
    return load_json(json.dumps(facts, default=str))


def _without_secrets(values: Mapping[str, Any], settings: Sequence[app.Setting]) -> Value:
    secret = {one.name for one in settings if one.kind == "secret"}
    return {name: "set" if value and name in secret else value for name, value in values.items()}


def routes(site: Any) -> Json:
    own = ["/", *(f"/{kind}" for kind in site.indexes), "/healthz", "/readyz"]
    rows = [{"path": path, "methods": "GET"} for path in own]
    extensions: list[Route] = site.extensions(Route)
    for route in extensions:
        rows += [{"path": re.sub("<.*", "…", path), "methods": methods} for path, methods in route.paths.items()]
    for address in filter(None, site.resources):
        of_type = [one for one in extensions if address.partition("/")[0] in one.types]
        for endpoint in site.resources[address].endpoints:
            added = [one.methods for one in of_type if one.inside in ("", endpoint.path.partition("/")[0])]
            path = "/".join(filter(None, (f"/{address}", endpoint.path)))
            methods = [one for one in app.methods_of(endpoint) if one != "HEAD"]
            methods += [name for one in added for name, action in one.items() if action in endpoint.actions]
            rows.append({"path": path, "methods": " ".join(dict.fromkeys(methods))})
    return rows


def systemd(site: Any) -> Json:
    program, folder = Path(sys.argv[0]).resolve(), site.config.folder
    path = folder / site.config.origin
    options = f" --config {path}" if path.exists() else ""
    options += " --runner http --runner sqs" if site.config.sqs.queues else ""
    unit = bundled_text("satchel.service").removesuffix("\n")
    return unit.format(python=sys.executable, program=program, options=options, folder=folder)


def version(site: Any) -> Json:
    return {"version": app.__version__, "python": sys.version.split()[0], "platform": sys.platform}


TOPICS: Mapping[str, Callable[[Any], Json]] = {
    "resources": resources, "providers": providers, "config": config, "routes": routes, "systemd": systemd,
    "version": version,
}  # fmt: skip


def lines(facts: Json, indent: str = "") -> Iterator[str]:
    """JSON as lines for people: a row a line, a table as name and value."""
    if isinstance(facts, dict):
        for name, value in facts.items():
            nested = isinstance(value, dict) and value
            yield f"{indent}{name}:" + ("" if nested else f" {_words(value)}")
            if nested:
                yield from lines(value, indent + "  ")
    else:
        for row in facts:
            yield "  ".join(_words(value) for value in row.values() if value not in ("", None, []))


def _words(value: Json) -> str:
    if isinstance(value, dict):  # capabilities: has it, has it not, or how much
        words = [f"{name}={one}" if type(one) is int else name if one else f"no {name}" for name, one in value.items()]
        return ",".join(word for word in words if word != "no most_writes")
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def show(args: argparse.Namespace, site: Site, topics: Sequence[str]) -> int:
    """Print the facts of one topic, or of several by name."""
    with site.looked_at(may_be_older=True) as found:
        facts = {topic: TOPICS[topic](found) for topic in topics}
    if args.json:
        site.print_json(facts if len(topics) > 1 else facts[topics[0]])
        return 0
    for one in facts.values():
        site.print(one if isinstance(one, str) else "\n".join(lines(one)))
    return 0


class Topic(app.Command):
    """Prints the facts of the topic that its kind names."""

    topic: ClassVar[str]

    def run(self, args: argparse.Namespace, site: Site) -> int:
        return show(args, site, [self.topic])


class Resources(Topic):
    kind = "info resources"
    topic = "resources"
    help = "what app.toml declares, with the actions of each"


class Providers(Topic):
    kind = "info providers"
    topic = "providers"
    help = "what each provider can do, how far away it is, and what is wrong with it"


class Settings(Topic):
    kind = "info config"
    topic = "config"
    help = "the settings in force, without secrets"


class Routes(Topic):
    kind = "info routes"
    topic = "routes"
    help = "the paths of the site and their methods"


class Systemd(Topic):
    kind = "info systemd"
    topic = "systemd"
    help = "a unit file for systemd"


class Version(Topic):
    """Prints the version without reading app.toml, so that nothing in it can get in the way."""

    kind = "info version"
    topic = "version"
    help = "the versions of Satchel and Python"

    def run(self, args: argparse.Namespace, site: Site) -> int:
        if args.json:
            return super().run(args, site)
        site.print(f"satchel {app.__version__}")
        return 0
