"""`pluginhost config`: what is set and where, what is wrong with it, and what may be set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pluginhost import config as settings
from pluginhost.cli import output
from pluginhost.cli.options import Host, complete_name, plugin_options
from pluginhost.errors import Finding, PluginLookupError, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pluginhost.entries import Entry
    from pluginhost.manager import PluginManager
    from pluginhost.probe import Report
    from pluginhost.survey import Row
    from pluginhost.validation import Keys

TIMEOUT = 60.0
"""Seconds that the import of a plugin may take, in a process of its own."""


@click.group()
def config() -> None:
    """Shows, checks and describes the configuration."""


@config.command()
@plugin_options
def show(host: Host) -> None:
    """Shows all that is set, and the file that each value comes from."""
    from pluginhost.validation import joined

    layers = host.layers()
    found = [
        (joined("", keys), value, settings.origin(layers, keys).file or "option")
        for keys, value in _leaves(settings.merged(layers), ())
    ]
    if host.as_json:
        output.write_json([{"path": path, "value": value, "file": file} for path, value, file in found])
        return
    for path, value, file in found:
        output.write(escape(f"{path} = {_toml(value)}  # {file}"))
    if not found:
        output.write(f"nothing is set: no {settings.FILE} here, and no {settings.user_file()}", err=True)


def _leaves(table: Mapping[str, object], keys: Keys) -> Iterator[tuple[Keys, object]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*keys, key))
        else:
            yield (*keys, key), value


def _toml(value: object) -> str:
    import tomlkit

    return tomlkit.item(value).as_string()


@config.command()
@plugin_options
def check(host: Host) -> int:
    """Checks the files, and each plugin's `config` against the type that the plugin declares; exits 1 on a fault.

    The types are read in processes of their own, one for each plugin that may run.
    """
    found = list(settings.faults(host.layers()))
    checked: list[str] = []
    if not found:
        manager = host.manager()
        found += _names(manager)
        for row, configs in _configs(manager):
            faults = _faults(_first_load(manager, row, configs))
            found += faults
            checked += [] if faults else [path for path, _ in configs]
    if host.as_json:
        output.write_json({"ok": checked, "findings": [finding.to_dict() for finding in found]})
    else:
        for path in checked:
            output.write(escape(f"ok      {path}"))
        for finding in found:
            output.write(f"{finding.severity:<8}{str(finding).replace(chr(10), chr(10) + ' ' * 8)}")
    return 1 if any(finding.severity == "error" for finding in found) else 0


def _names(manager: PluginManager) -> Iterator[Finding]:
    """Yields what is wrong with the names of plugins and instances; those that are not installed may be mistyped."""
    from pluginhost.entries import name_taken
    from pluginhost.validation import joined, suggestion

    names = sorted({row.name for row in manager.survey()})
    of = manager.configuration
    wanted: list[tuple[Keys, str]] = [(("plugins", name), name) for name in of.plugins]
    wanted += [(("instances", name, "plugin"), each.plugin) for name, each in of.instances.items() if not each.wheel]
    yield from (name_taken(joined("instances", (name,)), name).finding for name in of.instances if name in names)
    for keys, name in wanted:
        if name.partition("@")[0] not in names:
            message = f"{joined('', keys)} is about {name!r}, which is not installed"
            yield Finding("plugin-unknown", message, suggestion(name, names), severity="warning", stage="usage")
    for row in manager.versions().values():
        yield from row.findings


def _configs(manager: PluginManager) -> Iterator[tuple[Row, list[tuple[str, Mapping[str, object]]]]]:
    """Yields the plugins that may run, and the configurations that each of them is run with."""
    from pluginhost.validation import joined

    by_plugin: dict[str, tuple[Row, list[Entry]]] = {}
    of = manager.configuration
    installed = {row.name for row in manager.survey()}
    is_there = {name: each.wheel or each.plugin.partition("@")[0] in installed for name, each in of.instances.items()}
    entries = [manager.entry(name) for name, is_known in is_there.items() if is_known]
    run_as = {each.row.name for each in entries if not of.instances[each.name].wheel}
    entries += [manager.entry(row.name) for row in manager.survey() if row.name not in run_as]
    for entry in entries:
        # What a program takes as its configuration it says itself, in `init`.
        if entry.barred is None and entry.row.state == "ready" and not entry.row.candidate.program:
            by_plugin.setdefault(str(entry.row.candidate), (entry.row, []))[1].append(entry)
    for row, run in by_plugin.values():
        paths = [joined("instances" if each.name in of.instances else "plugins", (each.name, "config")) for each in run]
        yield row, [(path, dict(each.settings.config)) for path, each in zip(paths, run, strict=True)]


def _first_load(manager: PluginManager, row: Row, configs: list[tuple[str, Mapping[str, object]]]) -> Report:
    from pluginhost import probe, store

    if manager.path:
        store.put_on_path(manager.path, row.candidate)
    return probe.first_load(row.candidate, manager.api, [], seconds=TIMEOUT, makes=False, configs=configs)


def _faults(report: Report) -> list[Finding]:
    """Returns what speaks against configurations; where the plugin cannot be imported, against the plugin."""
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if report.reached == "registered":
        return errors
    return [finding for finding in errors if finding.code in ("config-wrong", "configuration-wrong")]


@config.command()
@click.argument("name", required=False, shell_complete=complete_name)
@plugin_options
def schema(host: Host, name: str | None) -> int:
    """Prints the JSON schema of pluginhost.toml, or of what a plugin takes as `config`.

    The plugin is imported for that, in a process of its own.
    """
    if name is None:
        output.write_json(settings.schema())
        return 0
    manager = host.manager()
    row = manager.entry(name).row
    row.require_ready()
    of = row.candidate
    report = None if of.program else _first_load(manager, row, [])
    if report is None or report.schema is None:
        if report and (faults := _faults(report)):
            output.write_findings([(name, finding) for finding in faults])
            return 1
        raise PluginLookupError(
            Finding(
                "symbol-missing",
                f"{of}: {of.program or of.module} declares no type for its configuration",
                "any table will do; its documentation may say more",
                of.distribution.info,
            )
        )
    output.write_json(report.schema)
    return 0
