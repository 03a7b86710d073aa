"""[i18n.LANG] of app.toml: titles and notes in other languages, and the resources of a site as a language names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, cast

from app import (
    AppConfig,
    AppPage,
    Column,
    Config,
    Fault,
    FieldConfig,
    Files,
    FilesConfig,
    Form,
    FormConfig,
    Home,
    Json,
    Resource,
    ResourceConfig,
    Value,
    View,
    ViewConfig,
    line_problem,
    nearest,
    plugin,
)

# ==== 1. PLACES ==================================================================================================
# What can be translated: each text for people that app.toml declares, by its place there.
# uses: ERRORS VALUES CONFIG AUTH plugin:states plugin:zones
# defines: TABLE texts_of faults

TABLE = "i18n"
_TEXTS = ("title", "description", "placeholder", "message")  # of fields
_LONGEST = 2000


def texts_of(config: Config, lang: str) -> dict[str, str]:
    """The translated texts for a language by place: those of "de", then those of "de-CH"."""
    found: dict[str, str] = {}
    tables, subtags = config.raw.get(TABLE, {}), lang.lower().split("-")
    for count in range(1, len(subtags) + 1):
        for tag, table in tables.items():
            if tag.lower() == "-".join(subtags[:count]):
                found.update((place, text) for place, text in _flat(table) if isinstance(text, str))
    return found


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each text with its place, which may be written as one key in quotes or as tables."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def faults(config: Config) -> Iterator[Fault]:
    """What is wrong in the tables [i18n.LANG]."""
    tables = config.raw.get(TABLE, {})
    if not isinstance(tables, dict) or not all(isinstance(one, dict) for one in tables.values()):
        yield Fault(TABLE, "configuration", 'must hold tables: write [i18n.de] and in it "forms.leave.title" = "…"')
        return
    known = set(_places(config)) if tables else set()
    for tag, table in tables.items():
        at = f"{TABLE}.{tag}"
        try:
            plugin("zones").language(tag)
        except ValueError as error:
            yield Fault(at, "configuration", str(error))
        if tag.lower() == config.site.lang.lower():
            detail = "is the language of [site] lang: write its titles where they are declared"
            yield Fault(at, "configuration", detail)
        for place, text in _flat(table):
            if not isinstance(text, str) or not text.strip() or line_problem(text, _LONGEST):
                yield Fault(f"{at}.{place}", "configuration", f"must be one line of at most {_LONGEST:,} characters")
            elif place not in known and not _is_sql_column(config, place):
                yield Fault(f"{at}.{place}", "configuration", f"is no text of this file{nearest(place, known)}")


def _is_sql_column(config: Config, place: str) -> bool:
    """Whether it is the title of a column that a statement may have: which it has shows only when it runs."""
    kind, _, rest = place.partition(".")
    name, _, column = rest.partition(".columns.")
    views = [one.name for one in config.resources if isinstance(one, ViewConfig) and one.sql]
    return kind == "views" and name in views and column.endswith(".title") and column != ".title"


def _places(config: Config) -> Iterator[str]:
    """Every place of a text that can be translated."""
    yield from ("site.title", "site.contact")
    yield from (f"site.menu.{one['title']}" for one in config.site.menu if isinstance(one, dict) and one.get("title"))
    for one in config.resources:
        place = f"{_kind(one)}.{one.name}"
        yield from (f"{place}.title", f"{place}.note")
        match one:
            case FormConfig():
                yield from (f"{place}.checks.{n}.message" for n, each in enumerate(one.checks) if each.get("message"))
                yield from (f"{place}.sections.{title}" for title in one.sections)
                for each in one.fields:
                    yield from _places_of_field(each, f"{place}.fields.{each.name}")
                if one.states:
                    yield f"{place}.states.title"
                    yield from (f"{place}.states.titles.{state}" for state in plugin("states").state_names(one.states))
            case ViewConfig():
                for param in one.params:
                    yield from _places_of_field(param, f"{place}.params.{param.name}")
                yield from (f"{place}.columns.{name}.title" for name in one.columns)
            case AppConfig():
                yield from (f"{place}.menu.{e['title']}" for e in one.menu if isinstance(e, dict) and e.get("title"))
                yield from (f"{place}.home.{e['title']}" for e in _blocks(one) if e.get("title"))


def _blocks(one: AppConfig) -> Sequence[Value]:
    """The blocks of an app's home."""
    return () if isinstance(one.home, str) else one.home


def _places_of_field(one: FieldConfig, place: str) -> Iterator[str]:
    yield from (f"{place}.{name}" for name in _TEXTS)
    for each in getattr(one, "fields", ()):  # of its lines
        yield from _places_of_field(each, f"{place}.fields.{each.name}")
    for key, values in _choices(one):
        yield from (f"{place}.{key}.{value}" for value in values)


def _choices(one: FieldConfig) -> Iterator[tuple[str, list[Json]]]:
    """Where a field declares its choices, and their values."""
    source = one.items if one.type == "array" else {"enum": one.enum, "oneOf": one.one_of}
    before = "items." if one.type == "array" else ""
    yield f"{before}enum", list(source.get("enum", ()))
    yield f"{before}oneOf", [choice["const"] for choice in source.get("oneOf", ())]


def _kind(one: ResourceConfig) -> str:
    kinds: Mapping[type, str] = {FilesConfig: "files", FormConfig: "forms", ViewConfig: "views", AppConfig: "apps"}
    return kinds[type(one)]


# ==== 2. NAMED ===================================================================================================
# The same declarations with translated texts, and resources that are made of them on the same providers.
# uses: VALUES CONFIG CONTRACTS RESOURCES PLACES
# defines: named menu


def named(config: Config, resources: Mapping[str, Resource], indexes: Mapping[str, Resource], locale: Any) -> dict[str, Any]:
    """The resources and indexes by address, as a language names them; what has no text in it is the same object."""
    texts, made = texts_of(config, locale.lang), dict[str, Any]()
    for address, one in resources.items():
        if isinstance(one, Files | Form | View | AppPage) and address.partition("/")[0] != "admin":
            inside = address.replace("/", ".") + "."
            own = {place.removeprefix(inside): text for place, text in texts.items() if place.startswith(inside)}
            made[address] = _resource(one, own, made, locale)
    titles = {address: one.title for address, one in made.items()}
    lists = {address: one for address, one in resources.items() if address.startswith("admin/")}
    titles |= {address: _title(one, locale.t) for address, one in lists.items()}
    made |= {address: _built_in(one, titles, locale) for address, one in lists.items()}
    for one in made.values():
        if isinstance(one, AppPage):
            own = {place: text for place, text in texts.items() if place.startswith(f"apps.{one.name}.menu.")}
            one.menu = tuple(menu(one.menu, own, f"apps.{one.name}", titles, locale))
    for address, home in {"": resources.get(""), **indexes}.items():
        if isinstance(home, Home):
            made[address] = own_home = copy(home)
            own_home.entries = [_entry(entry, made) for entry in home.entries]
            own_home.title = locale.t(f"index.{home.kind}") if locale.t.has(f"index.{home.kind}") else home.title
    return made


def menu(
    entries: Sequence[Mapping[str, str]], texts: Mapping[str, str], place: str, titles: Mapping[str, str], locale: Any
) -> list[Mapping[str, str]]:
    """The entries of a menu with titles in the language."""
    found = list[Mapping[str, str]]()
    for one in entries:
        address = "/".join(one.get("address", "").split("/")[:2])
        is_own = "href" in one
        title = texts.get(f"{place}.menu.{one['title']}", one["title"]) if is_own else titles.get(address, one["title"])
        if not is_own and one["address"] == f"{address}/mine":
            title = locale.t("trail.mine_of", title=title)
        if address and one["address"] == f"{address}/pages":
            title = locale.t("app_pages.title")
        found.append({**one, "title": title})
    return found


def _entry(entry: Mapping[str, str], made: Mapping[str, Any]) -> Mapping[str, str]:
    """An entry of the home page."""
    one = made.get(entry["address"])
    note = getattr(getattr(one, "config", None), "note", entry["note"])
    return {**entry, "title": one.title, "note": note} if one else entry


def _built_in(one: Resource, titles: Mapping[str, str], locale: Any) -> Resource:
    """A list of the administration, whose texts are in the catalogue."""
    if hasattr(one, "in_language"):
        return cast(Resource, one.in_language(titles, locale))
    made = cast(Any, copy(one))
    made.title = titles[f"admin/{one.name}"]
    if hasattr(one, "titles"):
        made.titles = {address: titles.get(address, title) for address, title in one.titles.items()}
    if hasattr(one, "columns"):
        made.columns = tuple(_column(each, locale.t) for each in made.columns)
    return cast(Resource, made)


def _title(one: Resource, t: Any) -> str:
    """What a list of the administration is called."""
    key = f"admin.{one.name}"
    return str(t(key)) if t.has(key) else one.title


def _column(one: Column, t: Any) -> Column:
    key = f"column.{one.name}"
    return one._replace(title=t(key)) if t.has(key) else one


def _resource(one: Any, texts: Mapping[str, str], made: Mapping[str, Any], locale: Any) -> Any:
    """A resource with these texts by their places inside it; views of a form name its fields as it does itself."""
    source = made.get(one.config.source) if isinstance(one, View) and isinstance(one.source, Form) else None
    if not texts and (source is None or source is one.source):
        return copy(one) if isinstance(one, AppPage) else one
    config = _config(one.config, texts)
    match one:
        case Files():
            return Files(config, one.blobs, one.others)
        case Form():
            shares = {one.fields[name].config.files: share for name, share in one.shares.items()}
            named_form = Form(config, one.store, shares, locale, one.sources)
            named_form.state = one.state
            if named_form.rules:
                named_form.rules.zone = one.rules.zone  # of the site, not of the reader
            return named_form
        case View():
            return type(one)(config, source or one.source, locale)
    return AppPage(config, one.menu, one.static, one.opens)


def _config(one: Any, texts: Mapping[str, str]) -> Any:
    """A declaration with these texts."""
    values: Value = {name: texts[name] for name in ("title", "note") if name in texts}
    if isinstance(one, FormConfig):
        values["fields"] = tuple(_field(each, _inside(texts, f"fields.{each.name}")) for each in one.fields)
        said = _inside(texts, "checks")
        values["checks"] = tuple(
            each | ({"message": said[f"{n}.message"]} if f"{n}.message" in said else {}) for n, each in enumerate(one.checks)
        )
        values["sections"] = {texts.get(f"sections.{title}", title): names for title, names in one.sections.items()}
    if isinstance(one, FormConfig) and (of_states := _inside(texts, "states")):
        values["states"] = {**one.states, "titles": {**one.states["titles"], **_inside(of_states, "titles")}}
        values["states"] |= {"title": of_states["title"]} if "title" in of_states else {}
    if isinstance(one, ViewConfig):
        values["params"] = tuple(_field(each, _inside(texts, f"params.{each.name}")) for each in one.params)
        columns = {name: dict(column) for name, column in one.columns.items()}
        for place, text in _inside(texts, "columns").items():
            name = place.removesuffix(".title")
            if name in columns or not one.source:
                columns.setdefault(name, {})["title"] = text
        values["columns"] = columns
    if isinstance(one, AppConfig) and (own := _inside(texts, "home")):
        values["home"] = [each | {"title": own.get(each.get("title", ""), each.get("title", ""))} for each in _blocks(one)]
    return one.replaced(**values)


def _inside(texts: Mapping[str, str], place: str) -> dict[str, str]:
    return {name.removeprefix(f"{place}."): text for name, text in texts.items() if name.startswith(f"{place}.")}


def _field(one: FieldConfig, texts: Mapping[str, str]) -> FieldConfig:
    if not texts:
        return one
    values: Value = {name: texts[name] for name in _TEXTS if name in texts}
    if inner := getattr(one, "fields", ()):
        values["fields"] = tuple(_field(each, _inside(texts, f"fields.{each.name}")) for each in inner)
    source = one.items if one.type == "array" else {"enum": one.enum, "oneOf": one.one_of}
    before = "items." if one.type == "array" else ""
    choices = [{"const": value} for value in source.get("enum", ())] or [dict(choice) for choice in source.get("oneOf", ())]
    key = "enum" if source.get("enum") else "oneOf"
    titled = [
        {**choice, "title": texts[place]} if (place := f"{before}{key}.{choice['const']}") in texts else choice
        for choice in choices
    ]
    if titled != choices and one.type == "array":
        values["items"] = {name: value for name, value in one.items.items() if name != "enum"} | {"oneOf": titled}
    elif titled != choices:
        values |= {"enum": (), "one_of": tuple(titled)}
    return one.replaced(**values)
