"""`pluginhost ps`, `reload`, `restart`, `stop` and `rollback`: what runs, and what an operator does to it."""

from __future__ import annotations

from datetime import datetime
from os.path import basename
from typing import TYPE_CHECKING

import click

from pluginhost.cli import output
from pluginhost.cli.options import complete_name
from pluginhost.errors import PluginHostError, escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pluginhost.cli.answers import Change, Done, State
    from pluginhost.cli.hosts import RunningHost

host_option = click.option(
    "--host", metavar="PID", help="The host that is meant, where there are several: as ps shows it."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name = click.argument("name", shell_complete=complete_name)


@click.command()
@host_option
@json_option
def ps(host: str | None, as_json: bool) -> None:
    """Lists the running hosts that can be asked, and their plugins."""
    from pluginhost.cli import hosts  # the other subcommands start without what only these need

    known, silent = hosts.states(hosts.hosts(host))
    if as_json:
        import msgspec

        listed = [{"host": each.name, **msgspec.to_builtins(state)} for each, state in known.items()]
        output.write_json({"hosts": listed, "findings": [finding.to_dict() for finding in silent.values()]})
        return
    if known:
        output.write_columns(
            ("HOST", "PLUGIN", "VERSION", "STATE", "GENERATION", "ISOLATION", "SINCE", "APPLICATION"),
            [row for each, state in known.items() for row in _rows(each, state)],
        )
    elif not silent:
        output.write(str(hosts.unknown(host).finding), err=True)
    for state in known.values():
        for plugin in state.plugins:
            for error in (plugin.error, plugin.reload_error):
                if error:
                    output.write(escape(f"\n{plugin.plugin}: {error}", keep="\n"), err=True)
    output.write_findings(("", finding) for finding in silent.values())


def _rows(host: RunningHost, state: State) -> list[tuple[str, ...]]:
    since = datetime.fromtimestamp(state.since).isoformat(timespec="seconds")
    application = basename(state.title)
    plugins = [
        (each.plugin, each.version, each.state, str(each.generation), each.isolation or "") for each in state.plugins
    ]
    return [(host.name, *plugin, since, application) for plugin in plugins or [("",) * 5]]


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_name)
@host_option
@json_option
def reload(names: tuple[str, ...], host: str | None, as_json: bool) -> None:
    """Has a running host serve the installed version of plugins, all of them or none; what runs there goes on."""
    _act("reload", names, host, as_json=as_json)


@click.command()
@_name
@host_option
@json_option
def restart(name: str, host: str | None, as_json: bool) -> None:
    """Stops a plugin of a running host, and those that use it, and starts them again."""
    _act("restart", [name], host, as_json=as_json)


@click.command()
@_name
@host_option
@json_option
def stop(name: str, host: str | None, as_json: bool) -> None:
    """Stops a plugin of a running host, and those that use it; its calls are refused until a restart."""
    _act("stop", [name], host, as_json=as_json)


@click.command()
@_name
@host_option
@json_option
def rollback(name: str, host: str | None, as_json: bool) -> None:
    """Has a running host serve the version of a plugin that served before its last reload."""
    _act("rollback", [name], host, as_json=as_json)


def _act(do: str, names: Sequence[str], only: str | None, *, as_json: bool) -> None:
    from pluginhost.cli import hosts

    host = hosts.host_of(names, only)
    try:
        done = host.act(do, names)
    except PluginHostError:
        _tell_who_serves(host, names)
        raise
    if as_json:
        output.write_json(done)
    else:
        _write(names, done)
        output.write_findings(("", hosts.finding(each)) for each in done.findings)


def _tell_who_serves(host: RunningHost, names: Sequence[str]) -> None:
    """Says which generations go on serving, since what was wanted failed."""
    from pluginhost.cli import hosts

    known, _ = hosts.states([host])
    for state in known.values():
        for plugin in state.plugins:
            if plugin.state == "running" and any(plugin.goes_by(name) for name in names):
                what = f"{plugin.plugin} {plugin.version}, generation {plugin.generation}, goes on serving"
                output.write(escape(what), err=True)


def _write(names: Sequence[str], done: Done) -> None:
    for each in done.plugins:
        if each.state == "running":
            output.write(escape(f"{_change(each)}, generation {each.generation}, in {done.seconds * 1000:.0f} ms"))
        else:
            output.write(escape(f"{_change(each)}: {each.state}"))
    if not done.plugins:
        output.write(escape(f"nothing to do: {', '.join(names)} did not run"))


def _change(each: Change) -> str:
    is_other = each.before not in (None, each.version)
    return f"{each.plugin} {each.before} → {each.version}" if is_other else f"{each.plugin} {each.version}"
