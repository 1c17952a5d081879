"""`pluginhost watch`: how the plugins of running hosts are, again and again."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from pluginhost.cli import output, route
from pluginhost.cli.control import host_option
from pluginhost.errors import escape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from rich.console import Group

    from pluginhost.cli.answers import Plugin, State

    Row = tuple[str, ...]

PAUSE: Final = 0.5
"""Seconds between two looks."""

_HEADER: Final = (
    "HOST", "PLUGIN", "VERSION", "STATE", "GEN", "CALLS", "FAILED", "P50", "P99", "RELOAD", "LAST-ERROR",
)  # fmt: skip
_COUNTS: Final = slice(5, 9)
"""The columns that change with each call."""


@click.command()
@host_option
def watch(host: str | None) -> None:
    """Shows the plugins of running hosts as they are, and their routes, until Ctrl-C.

    In a pipe, it prints them each time that more has changed than counts and times of calls.
    """
    from pluginhost.cli import hosts  # the other subcommands start without what only these need

    if not any(hosts.states(hosts.hosts(host))):
        raise hosts.unknown(host)
    try:
        if sys.stdout.isatty():
            _show(host)
        else:
            _print(host)
    except KeyboardInterrupt:
        pass  # which is how it ends


def _show(only: str | None) -> None:
    from rich.console import Console  # a pipe does without it
    from rich.live import Live

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for plugins, routes in _looks(only):
            live.update(_view(plugins, routes), refresh=True)


def _view(plugins: list[Row], routes: list[Row]) -> Group:
    """Returns tables that a narrow terminal has room for too, and the errors and verdicts beneath them."""
    from rich.console import Group
    from rich.text import Text

    errors = [Text(escape(f"\n{row[1] or row[0]}: {row[-1]}", keep="\n")) for row in plugins if row[-1]]
    table = output.table(_HEADER[:-1], [row[:-1] for row in plugins])
    return Group(table, *errors, *([Text(), route.view(routes)] if routes else ()))


def _print(only: str | None) -> None:
    before = None
    for plugins, routes in _looks(only):
        now = _without(plugins, _COUNTS), _without(routes, route.COUNTS)
        if now != before:
            output.write_columns(_HEADER, plugins)
            output.write("")
            if routes:
                output.write_columns(route.HEADER, routes)
                output.write("")
        before = now


def _without(rows: list[Row], columns: slice) -> list[Row]:
    return [(*row[: columns.start], *row[columns.stop :]) for row in rows]


def _looks(only: str | None) -> Iterator[tuple[list[Row], list[Row]]]:
    """Yields the rows of all plugins and of all routes, again and again.

    Of a host that has ended, the last plugins stay until another host appears.
    """
    from pluginhost.cli import hosts

    seen: dict[str, list[Row]] = {}
    while True:
        known, silent = hosts.states(hosts.hosts(only))
        now = {host.name: _rows(host.name, state) for host, state in known.items()}
        for host, finding in silent.items():
            now[host.name] = _as("silent", seen.get(host.name, [(host.name, *[""] * 9, finding.message)]))
        gone = {name: _as("gone", rows) for name, rows in seen.items() if name not in now}
        seen = now if now.keys() - seen.keys() else {**gone, **now}
        routes = [row for host, state in known.items() for row in route.rows(host.name, state)]
        yield [row for plugins in seen.values() for row in plugins], routes
        time.sleep(PAUSE)


def _rows(host: str, state: State) -> list[Row]:
    return [_row(host, plugin) for plugin in state.plugins] or [(host, *[""] * 10)]


def _row(host: str, plugin: Plugin) -> Row:
    numbers = (plugin.generation, plugin.calls, plugin.failures)
    times = (output.short_time(seconds) for seconds in (plugin.p50, plugin.p99, plugin.reload_seconds))
    error = (plugin.error or plugin.reload_error or "").partition("\n")[0]
    return (host, plugin.plugin, plugin.version, plugin.state, *map(str, numbers), *times, error)


def _as(state: str, rows: list[Row]) -> list[Row]:
    """Returns rows of a host that says nothing any more."""
    return [(*row[:3], state, *row[4:]) for row in rows]
