"""What the settings of app.toml say about one another: names that are not declared, and settings that do not go together."""

from __future__ import annotations

import re
from typing import cast
from urllib.parse import urlsplit

from app import RESOURCE_CONFIGS, AppConfig, Config, Fault, FormConfig, ResourceConfig, ViewConfig, nearest, plugin

# ==== 1. CHECKS ==================================================================================================
# Each setting is right by itself when this runs, or has a fault already, of which no second one follows here.
# uses: ERRORS CONFIG plugin:charts plugin:form_views plugin:oidc plugin:proxy_sign_in plugin:reading plugin:renames
#          plugin:row_rules plugin:states plugin:toml_advice
# defines: cross_checked

_TAKEN = ("history", "move", "mine", "comments", "drafts", "import")  # no names of fields
_WAYS = ("password", "token", "mail", "oidc", "proxy")  # of [auth] sign_in


def cross_checked(config: Config, faults: list[Fault]) -> list[Fault]:
    """The faults of single settings and, behind them, those of settings that do not agree."""
    checks = _Checks(config, faults)
    checks.check_names()
    return checks.faults


class _Checks:
    def __init__(self, config: Config, faults: list[Fault]) -> None:
        self.config, self.faults = config, list(faults)

    def fault(self, place: str, detail: str) -> None:
        self.faults.append(Fault(place, "configuration", detail))

    def check_names(self) -> None:
        """Faults of settings that name something that is not declared."""
        tables = self.config.raw.get("forms")
        forms = {f"forms/{name}" for name in tables} if isinstance(tables, dict) else set()  # those with a fault too
        for one in self.config.resources:
            place = _address_of(one).replace("/", ".")
            self.check_needed(place)
            if isinstance(one, ViewConfig) and one.chart:
                self.faults += plugin("charts").faults(one)
            if isinstance(one, ViewConfig) and one.source:
                if one.source not in forms:
                    self.fault(f"{place}.from", f"names {one.source!r}, which is not a form{nearest(one.source, forms)}")
            elif not isinstance(one, AppConfig):
                self.check_provider(f"{place}.provider", one.provider)
            if isinstance(one, FormConfig):
                self.check_form(one, place)
            if isinstance(one, ViewConfig) and one.columns:
                self.faults += plugin("reading").faults(one, self.config)
            if isinstance(one, ViewConfig):
                self.faults += plugin("form_views").settings_faults(one)
        self.check_provider("site.state", self.config.site.state)
        self.check_site()
        self.check_sign_in()
        self.check_queues()

    def check_form(self, one: FormConfig, place: str) -> None:
        """Faults of names that addresses inside a form have, of its states, and of who sees it."""
        names = {f"fields.{each.name}": each.name for each in one.fields} | {"states.field": one.states.get("field")}
        for at in [at for at, name in names.items() if name in _TAKEN]:
            self.fault(f"{place}.{at}", f"cannot be a field: {place.replace('.', '/')} has an address of that name")
        if any(each.was for each in one.fields):
            self.faults += plugin("renames").faults(one)
        if one.keep_s:
            self.check_keep(one, f"{place}.keep")
        if one.states and not any((fault.pointer + ".").startswith(f"{place}.states.") for fault in self.faults):
            self.faults += plugin("states").faults(one, self.config.roles)
        if one.owner or any(each.read_by or each.write_by for each in one.fields):
            self.faults += plugin("row_rules").faults(one, self.config.roles)

    def check_keep(self, one: FormConfig, place: str) -> None:
        """Faults of a form whose records are deleted by age without being in a backup."""
        provider = self.config.providers.get(self.config.provider_name(one.provider))
        if one.keep_s < 86_400:
            self.fault(place, 'must be at least one day, such as "2y"')
        elif not self.config.extensions.get("backup", {}).get("to"):
            self.fault(place, "needs [backup] to: records are in a backup before they are deleted")
        elif provider and provider.kind == "generic":
            self.fault(place, "goes with a provider that is backed up, and a generic one is not")

    def check_needed(self, place: str) -> None:
        """Faults of a form without fields, of a view without a source, and of what goes with another source."""
        type_, _, name = place.partition(".")
        table = self.config.raw[type_][name]
        if not isinstance(table, dict):
            return  # which is a fault already
        if type_ == "forms" and not table.get("fields") and not self.misnamed(place, "fields"):
            self.fault(f"{place}.fields", "is missing: a form needs at least one field")
        if type_ != "views":
            return
        for key, needs in (("provider", "sql"), ("params", "sql"), ("timeout", "sql"), ("where", "from")):
            if key in table and not table.get(needs) and not (key == "timeout" and table.get("group_by")):
                self.fault(f"{place}.{key}", f"goes with {needs}, which this view does not have: take it out")
        if bool(table.get("sql")) == bool(table.get("from")) and not any(
            self.misnamed(place, one) for one in ("sql", "from")
        ):
            self.fault(place, "needs either sql or from, and not both")

    def misnamed(self, place: str, name: str) -> bool:
        return cast(bool, plugin("toml_advice").misnamed(self.faults, place, name))

    def check_site(self) -> None:
        """Faults of settings in [site] and [http] that contradict each other."""
        wrong = {fault.pointer for fault in self.faults}
        site, http_ = self.config.site, self.config.http
        if site.url and urlsplit(site.url).path != site.prefix and not wrong & {"site.url", "site.prefix"}:
            end = f"{site.prefix!r}, as site.prefix says" if site.prefix else 'its host, as site.prefix is ""'
            self.fault("site.url", f"must end with {end}")
        for index, frame in enumerate(self.config.public.frames):
            if not re.fullmatch(r"https?://[a-zA-Z0-9.:\[\]-]+", frame):
                self.fault(f"public.frames.{index}", 'must be a site such as "https://www.example.org", without a path')
        if bool(http_.tls_cert) != bool(http_.tls_key) and not wrong & {"http.tls_cert", "http.tls_key"}:
            self.fault("http.tls_cert", "goes with tls_key: give both or neither")

    def check_sign_in(self) -> None:
        """Faults of ways to sign in that are not known, or lack what they need."""
        ways, raw = self.config.auth.sign_in, self.config.raw
        channels = raw.get("channels")
        has_mail = isinstance(channels, dict) and "mail" in channels
        there = {"mail": has_mail, "oidc": bool(raw.get("oidc")), "proxy": "proxy" in raw}
        needed = {"mail": "a channel: declare [channels.mail]", "oidc": "the table [oidc]", "proxy": "the table [proxy]"}
        for index, way in enumerate(ways):
            place = f"auth.sign_in.{index}"
            if way not in _WAYS:
                near = nearest(way, _WAYS) or f": name some of {', '.join(_WAYS)}"
                self.fault(place, f"names {way!r}, which is no way to sign in{near}")
            elif way in ways[:index]:
                self.fault(place, f"names {way!r} twice")
            elif not there.get(way, True):
                self.fault(place, f"names {way!r}, which needs {needed[way]}")
        if raw.get("oidc") and "oidc" in self.config.extensions and not self.has_fault("oidc"):
            self.faults += plugin("oidc").faults(self.config.extensions["oidc"], self.config)
        if "proxy" in raw and "proxy" in self.config.extensions and not self.has_fault("proxy"):
            self.faults += plugin("proxy_sign_in").faults(self.config.extensions["proxy"], self.config)

    def has_fault(self, table: str) -> bool:
        return any(fault.pointer.partition(".")[0] == table for fault in self.faults)

    def check_queues(self) -> None:
        """Faults of [sqs]: names that are not declared, and times that do not fit SQS or one another."""
        sqs, declared = self.config.sqs, [_address_of(one) for one in self.config.resources]
        urls = [queue.url for queue in sqs.queues]
        for index, queue in enumerate(sqs.queues):
            if queue.url in urls[:index]:
                self.fault(f"sqs.queues.{index}", "is the same queue as one before it")
            place, events = f"sqs.queues.{index}.events", queue.events
            if events and events.resource not in declared:
                near = nearest(events.resource, declared)
                self.fault(f"{place}.resource", f"names {events.resource!r}, which is not declared{near}")
            if events and events.role not in self.config.roles:
                near = nearest(events.role, self.config.roles)
                self.fault(f"{place}.role", f"names role {events.role!r}, which is not declared in [roles]{near}")
        if sqs.wait_s > 20:
            self.fault("sqs.wait", "must be at most 20s")
        if sqs.wait_s >= sqs.drain_timeout_s:
            self.fault("sqs.drain_timeout", "must be longer than wait: a poll that has begun is not cut short")
        if not 2 <= sqs.visibility_s <= 12 * 3600:
            self.fault("sqs.visibility", "must be from 2s to 12h")

    def check_provider(self, place: str, wanted: str) -> None:
        name, declared = self.config.provider_name(wanted), self.config.raw.get("providers") or {}
        if not isinstance(declared, dict):
            return  # which is a fault already
        if not declared:
            if not self.faults:  # they may be about it
                such = '[providers.main] with kind = "sql" and url = "sqlite:///data/app.db"'
                self.fault(place, f"is missing, and no provider is declared: write {such}")
        elif not name and self.config.providers:
            self.fault(place, f"is missing: name one of the providers {', '.join(self.config.providers)}")
        elif name and name not in declared:
            self.fault(place, f"names {name!r}, which is not a provider{nearest(name, self.config.providers)}")


def _address_of(one: ResourceConfig) -> str:
    return next(type_ for type_, cls in RESOURCE_CONFIGS.items() if isinstance(one, cls)) + f"/{one.name}"
